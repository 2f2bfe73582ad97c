//! A node's or an artist's end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::ConnectionError;
use tokio::time::timeout;

use crate::admission::Greeting;
use crate::codec::{JOIN_LIMIT, REQUEST_LIMIT, RESPONSE_LIMIT};
use crate::endpoint::{self, GOODBYE_TIMEOUT, HANDSHAKE_TIMEOUT};
use crate::error::{CloseCode, WireError, printable};
use crate::message::{Request, Response};
use crate::network::Network;
use crate::tls::MASTER_NAME;

pub use crate::credentials::Credentials;
pub use crate::stream::{RecvStream, SendStream};

/// Socket addresses tried for one `host:port`: a name may have several.
const ADDRESSES_PER_NAME: usize = 4;
/// Longest wait for a name to be looked up.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection to the master. Cheap to clone; it closes with its last clone
/// and stream.
#[derive(Clone)]
pub struct Client {
    endpoint: quinn::Endpoint,
    connection: quinn::Connection,
    master_version: Arc<str>,
}

impl Client {
    /// Connects with mutual TLS; tries the master's addresses in turn.
    ///
    /// # Errors
    /// [`WireError::Unreachable`] if no master answers at any address,
    /// [`WireError::Refused`] if either side refused the other.
    pub async fn connect(credentials: &Credentials) -> Result<Self, WireError> {
        let config = credentials.client_config()?;
        let mut attempts = Attempts::default();
        for address in resolve(credentials.addresses(), &mut attempts).await {
            match Self::connect_to(credentials.network(), address, config.clone()).await {
                Ok(client) => return Ok(client),
                Err(error) => attempts.failed(error),
            }
        }
        Err(attempts.into_error(credentials.addresses()))
    }

    async fn connect_to(
        network: &dyn Network,
        address: SocketAddr,
        config: quinn::ClientConfig,
    ) -> Result<Self, WireError> {
        let (endpoint, connection) = dial(network, address, config, "certificate").await?;
        let greeting = timeout(HANDSHAKE_TIMEOUT, greeting(&connection, address)).await;
        let greeting = greeting.map_err(|elapsed| unreachable(address, elapsed))??;
        let master_version = printable(greeting.version.as_bytes()).into();
        Ok(Self { endpoint, connection, master_version })
    }

    /// Opens a bidirectional stream of control priority. (Raw bytes sent on it
    /// go below control.)
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn open_stream(&self) -> Result<(SendStream, RecvStream), WireError> {
        let (send, recv) = self.connection.open_bi().await.map_err(WireError::from_connection)?;
        Ok((SendStream::control(send, REQUEST_LIMIT), RecvStream::new(recv, RESPONSE_LIMIT)))
    }

    /// Opens a unidirectional stream for a tile, below control in priority.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn open_tile(&self) -> Result<SendStream, WireError> {
        let send = self.connection.open_uni().await.map_err(WireError::from_connection)?;
        Ok(SendStream::tile(send, REQUEST_LIMIT))
    }

    /// Sends a request on a stream of its own and reads the one answer
    /// (including [`Response::Refused`]).
    ///
    /// # Errors
    /// When the connection is lost or the answer is not of the protocol.
    pub async fn request(&self, request: &Request) -> Result<Response, WireError> {
        let (mut send, mut recv) = self.open_stream().await?;
        send.send(request).await?;
        let response = recv.receive().await?;
        response.ok_or_else(|| WireError::Protocol("the master did not answer".into()))
    }

    /// Where the master is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// The version of the master's software.
    #[must_use]
    pub fn master_version(&self) -> &str {
        &self.master_version
    }

    /// Resolves when the connection ends, with the reason.
    pub async fn closed(&self) -> WireError {
        WireError::from_connection(self.connection.closed().await)
    }

    /// Says goodbye and waits until the master heard it (bounded).
    pub async fn close(&self) {
        CloseCode::Goodbye.close(&self.connection, "");
        // The connection is closed for us whether or not the wait ended well.
        let _ = timeout(GOODBYE_TIMEOUT, self.endpoint.wait_idle()).await;
    }
}

async fn greeting(connection: &quinn::Connection, address: SocketAddr) -> Result<Greeting, WireError> {
    let stream = connection.accept_uni().await;
    let stream = stream.map_err(|error| refusal(error, address, "certificate"))?;
    let greeting = RecvStream::new(stream, JOIN_LIMIT).receive().await?;
    greeting.ok_or_else(|| WireError::Protocol("the master did not greet".into()))
}

/// What became of the addresses that were tried.
#[derive(Default)]
pub(crate) struct Attempts {
    refused: Option<WireError>,
    failed: Option<WireError>,
}

impl Attempts {
    pub(crate) fn failed(&mut self, error: WireError) {
        tracing::debug!(%error, "an address of the master did not do");
        match error {
            WireError::Unreachable { .. } => self.failed = Some(error),
            // Somebody was there: more telling than the silence elsewhere.
            _ => self.refused = self.refused.take().or(Some(error)),
        }
    }

    pub(crate) fn into_error(self, addresses: &[String]) -> WireError {
        let address = addresses.join(", ");
        match (self.refused, self.failed) {
            (Some(refused), _) => refused,
            (None, Some(WireError::Unreachable { source, .. })) => WireError::Unreachable { address, source },
            (None, _) => WireError::Unreachable { address, source: "there is no address to try".into() },
        }
    }
}

/// Looks the addresses up, in order; failures are noted.
pub(crate) async fn resolve(addresses: &[String], attempts: &mut Attempts) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for address in addresses.iter().take(crate::ticket::MAX_ADDRESSES) {
        match timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host(address.as_str())).await {
            Ok(Ok(resolved)) => {
                for address in resolved.take(ADDRESSES_PER_NAME) {
                    if !found.contains(&address) {
                        found.push(address);
                    }
                }
            }
            Ok(Err(source)) => attempts.failed(unreachable(address, source)),
            Err(elapsed) => attempts.failed(unreachable(address, elapsed)),
        }
    }
    found
}

/// A handshake with whoever is at the address. `proof` is what says which
/// master is the right one, for people.
pub(crate) async fn dial(
    network: &dyn Network,
    address: SocketAddr,
    mut config: quinn::ClientConfig,
    proof: &'static str,
) -> Result<(quinn::Endpoint, quinn::Connection), WireError> {
    config.transport_config(endpoint::member_transport());
    let endpoint = endpoint::towards(network, address).map_err(|source| unreachable(address, source))?;
    let connecting =
        endpoint.connect_with(config, address, MASTER_NAME).map_err(|error| unreachable(address, error))?;
    match timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => Ok((endpoint, connection)),
        Ok(Err(error)) => Err(refusal(error, address, proof)),
        Err(elapsed) => Err(unreachable(address, elapsed)),
    }
}

fn unreachable(
    address: impl ToString,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> WireError {
    WireError::Unreachable { address: address.to_string(), source: source.into() }
}

/// TLS alerts (RFC 8446, section 6) as QUIC carries them (RFC 9001, 4.8).
const CRYPTO_ERRORS: std::ops::Range<u64> = 0x100..0x200;
const CERTIFICATE_EXPIRED: u64 = 0x100 + 45;
const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;
/// RFC 9000, section 20.1.
const CONNECTION_REFUSED: u64 = 2;

/// What the end of a connection means before we were let in.
fn refusal(error: ConnectionError, address: SocketAddr, proof: &'static str) -> WireError {
    let (code, ours) = match &error {
        ConnectionError::TransportError(error) => (u64::from(error.code), true),
        ConnectionError::ConnectionClosed(close) => (u64::from(close.error_code), false),
        ConnectionError::ApplicationClosed(_) => return WireError::from_connection(error),
        _ => return unreachable(address, error),
    };
    WireError::Refused(match (code, ours) {
        // For now only: whoever waits and tries again may get in.
        (CONNECTION_REFUSED, _) => return unreachable(address, "it is too busy; try again in a moment"),
        (NO_APPLICATION_PROTOCOL, _) => {
            format!(
                "what answers at {address} does not speak our protocol; are both programs of one version?"
            )
        }
        (CERTIFICATE_EXPIRED, true) => {
            format!(
                "the master's certificate is not valid at this time; is this machine's clock right? ({error})"
            )
        }
        (CERTIFICATE_EXPIRED, false) => {
            "the master says that our certificate has expired; join again with a new ticket".into()
        }
        (code, true) if CRYPTO_ERRORS.contains(&code) => {
            format!("what answers at {address} is not the master of our {proof} ({error})")
        }
        (code, false) if CRYPTO_ERRORS.contains(&code) => format!(
            "the master at {address} does not know our certificate; join again with a new ticket ({error})"
        ),
        _ => return unreachable(address, error),
    })
}
