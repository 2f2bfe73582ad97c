//! What a member of a farm keeps: its key, its certificate, the CA to trust and
//! where the master is.
//!
//! The file is PEM with a heading: lines `address: HOST:PORT`, then the
//! member's certificate, the CA's, and the key. `openssl x509 -text` reads it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pem::Pem;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use serde_bytes::{ByteArray, ByteBuf};
use zeroize::Zeroizing;

use crate::admission::{JoinRequest, JoinResponse};
use crate::client::{Attempts, dial, resolve};
use crate::codec::JOIN_LIMIT;
use crate::endpoint::{GOODBYE_TIMEOUT, JOIN_TIMEOUT};
use crate::error::{CloseCode, printable};
use crate::identity::check_name;
use crate::network::{Network, SystemNetwork};
use crate::stream::{RecvStream, SendStream};
use crate::{Identity, Ticket, WireError, secret_file, tls};

const HEADING: &str = "Tessera credentials, version 1. Whoever reads this file is this member of the farm.";
const ADDRESS: &str = "address: ";

/// A key, its certificate, the CA to trust and where the master is: what a
/// ticket is exchanged for. Kept in one file of mode 0600.
pub struct Credentials {
    identity: Identity,
    addresses: Vec<String>,
    certificate: CertificateDer<'static>,
    authority: CertificateDer<'static>,
    /// PKCS #8, DER.
    key: Zeroizing<Vec<u8>>,
    /// By which the master is reached.
    network: Arc<dyn Network>,
    /// Where they are kept.
    file: Option<PathBuf>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("identity", &self.identity)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Joins: pins the CA's fingerprint before anything secret is sent, makes a
    /// key that never leaves this machine and has the master certify it. Tries
    /// the ticket's addresses in turn.
    ///
    /// # Errors
    /// No master at any address, another CA, or the ticket refused.
    pub async fn join(ticket: &Ticket, name: &str) -> Result<Self, WireError> {
        Self::join_over(Arc::new(SystemNetwork), ticket, name).await
    }

    /// As [`Credentials::join`], by this network, which later connections take too.
    ///
    /// # Errors
    /// As for [`Credentials::join`].
    pub async fn join_over(
        network: Arc<dyn Network>,
        ticket: &Ticket,
        name: &str,
    ) -> Result<Self, WireError> {
        check_name(name)?;
        check_expiry(ticket)?;
        let key = KeyPair::generate().map_err(unmade)?;
        let signing_request = CertificateParams::default().serialize_request(&key).map_err(unmade)?;
        let request = JoinRequest {
            ticket: ticket.id,
            secret: ByteArray::new(ticket.secret),
            role: ticket.role,
            name: name.to_owned(),
            signing_request: ByteBuf::from(signing_request.der().to_vec()),
        };
        let (certificate, authority) = exchange(&*network, ticket, &request).await?;
        let identity = Identity::from_certificate(&certificate)?;
        if (identity.role, identity.name.as_str()) != (ticket.role, name) {
            return Err(WireError::Protocol("the master certified somebody else".into()));
        }
        let key = Zeroizing::new(key.serialize_der());
        Ok(Self {
            identity,
            addresses: ticket.addresses.clone(),
            certificate,
            authority,
            key,
            network,
            file: None,
        })
    }

    /// Reads a credentials file.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, WireError> {
        let missing = || WireError::file(path, std::io::ErrorKind::NotFound.into());
        let text = secret_file::read(path)?.ok_or_else(missing)?;
        let read = Self::parse(&text).map_err(|problem| WireError::bad_file(path, problem))?;
        Ok(Self { file: Some(path.to_owned()), ..read })
    }

    /// Writes a credentials file, atomically, mode 0600; it is where they are kept
    /// from then on.
    ///
    /// # Errors
    /// Names the file and the cause.
    pub fn save(&mut self, path: &Path) -> Result<(), WireError> {
        secret_file::write(path, &self.to_text())?;
        self.file = Some(path.to_owned());
        Ok(())
    }

    /// The same member with another certificate and its key, also where they are kept.
    pub(crate) fn replaced(
        &self,
        certificate: CertificateDer<'static>,
        key: Vec<u8>,
    ) -> Result<Self, WireError> {
        let replaced = Self {
            identity: self.identity.clone(),
            addresses: self.addresses.clone(),
            certificate,
            authority: self.authority.clone(),
            key: Zeroizing::new(key),
            network: Arc::clone(&self.network),
            file: self.file.clone(),
        };
        if let Some(file) = &replaced.file {
            secret_file::write(file, &replaced.to_text())?;
        }
        Ok(replaced)
    }

    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Who these credentials make us.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where the master was when we joined, `host:port`, most useful first.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The same credentials for a master that moved.
    #[must_use]
    pub fn at(mut self, addresses: Vec<String>) -> Self {
        self.addresses = addresses;
        self
    }

    /// The same credentials for a master that another network leads to.
    #[must_use]
    pub fn over(mut self, network: Arc<dyn Network>) -> Self {
        self.network = network;
        self
    }

    pub(crate) fn network(&self) -> &dyn Network {
        &*self.network
    }

    /// TLS with these credentials.
    pub(crate) fn client_config(&self) -> Result<quinn::ClientConfig, WireError> {
        self.client_config_for(tls::FARM)
    }

    pub(crate) fn client_config_for(&self, protocol: &[u8]) -> Result<quinn::ClientConfig, WireError> {
        tls::member(&self.authority, &self.certificate, &self.key, protocol)
    }

    fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!("{HEADING}\n"));
        for address in &self.addresses {
            text.push_str(ADDRESS);
            text.push_str(address);
            text.push('\n');
        }
        let pem = |tag, bytes: &[u8]| Zeroizing::new(pem::encode(&Pem::new(tag, bytes)));
        text.push_str(&pem("CERTIFICATE", &self.certificate));
        text.push_str(&pem("CERTIFICATE", &self.authority));
        text.push_str(&pem("PRIVATE KEY", &self.key));
        text
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (heading, _) = text.split_once("-----BEGIN").ok_or("it holds no certificate")?;
        let mut lines = heading.lines();
        if lines.next() != Some(HEADING) {
            return Err("it is not a credentials file of version 1".into());
        }
        let addresses: Vec<String> =
            lines.filter_map(|line| line.strip_prefix(ADDRESS)).map(str::to_owned).collect();
        if addresses.is_empty() {
            return Err("it does not say where the master is".into());
        }
        let sections = pem::parse_many(text).map_err(|error| error.to_string())?;
        let tags: Vec<&str> = sections.iter().map(Pem::tag).collect();
        if tags != ["CERTIFICATE", "CERTIFICATE", "PRIVATE KEY"] {
            return Err("it must hold our certificate, the authority's and our key, in this order".into());
        }
        let [certificate, authority, key] = [0, 1, 2].map(|i: usize| sections[i].contents().to_vec());
        let identity = Identity::from_certificate(&certificate).map_err(|error| error.to_string())?;
        let (certificate, authority) = (certificate.into(), CertificateDer::from(authority));
        let (key, network) = (Zeroizing::new(key), Arc::new(SystemNetwork));
        Ok(Self { identity, addresses, certificate, authority, key, network, file: None })
    }
}

fn unmade(error: rcgen::Error) -> WireError {
    WireError::Certificate(format!("a key could not be made: {error}"))
}

/// The master judges by its own clock; this saves a person the way there.
fn check_expiry(ticket: &Ticket) -> Result<(), WireError> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
    if now_ms <= ticket.expires_at_ms {
        return Ok(());
    }
    let ago = humane((now_ms - ticket.expires_at_ms) / 1000);
    Err(WireError::Refused(format!(
        "this ticket expired {ago} ago by this machine's clock; ask for a new one"
    )))
}

fn humane(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
impl Credentials {
    /// The same member, deceived about the authority.
    pub(crate) fn trusting(mut self, authority: &CertificateDer<'static>) -> Self {
        self.authority = authority.clone();
        self
    }
}

type Certificates = (CertificateDer<'static>, CertificateDer<'static>);

/// Sends the request to the first address where the ticket's master answers.
/// Returns our certificate and the CA's.
pub(crate) async fn exchange(
    network: &dyn Network,
    ticket: &Ticket,
    request: &JoinRequest,
) -> Result<Certificates, WireError> {
    let config = tls::joiner(ticket.ca_fingerprint)?;
    let mut attempts = Attempts::default();
    for address in resolve(&ticket.addresses, &mut attempts).await {
        let (endpoint, connection) = match dial(network, address, config.clone(), "ticket").await {
            Ok(dialled) => dialled,
            Err(error) => {
                attempts.failed(error);
                continue;
            }
        };
        // From here on it is the right master: what it says is final.
        let answer = tokio::time::timeout(JOIN_TIMEOUT, ask(&connection, request)).await;
        let silent = |_| WireError::Lost("the master did not answer in time".into());
        let certificate = answer.map_err(silent)??;
        let chain = tls::peer_chain(&connection);
        let authority = tls::pinned(&chain, &ticket.ca_fingerprint)
            .cloned()
            .ok_or_else(|| WireError::Protocol("the master's certificates vanished".into()))?;
        CloseCode::Goodbye.close(&connection, "");
        // The socket stays until the goodbye is out; who joins need not wait for
        // it. A process that ends before leaves the master to notice by itself.
        tokio::spawn(async move { tokio::time::timeout(GOODBYE_TIMEOUT, endpoint.wait_idle()).await });
        return Ok((certificate, authority));
    }
    Err(attempts.into_error(&ticket.addresses))
}

async fn ask(
    connection: &quinn::Connection,
    request: &JoinRequest,
) -> Result<CertificateDer<'static>, WireError> {
    let (send, recv) = connection.open_bi().await.map_err(WireError::from_connection)?;
    let (mut send, mut recv) = (SendStream::control(send, JOIN_LIMIT), RecvStream::new(recv, JOIN_LIMIT));
    send.send(request).await?;
    match recv.receive().await? {
        Some(JoinResponse::Joined { certificate }) => Ok(certificate.into_vec().into()),
        Some(JoinResponse::Refused { reason }) => Err(WireError::Refused(printable(reason.as_bytes()))),
        None => Err(WireError::Protocol("the master did not answer".into())),
    }
}
