//! The master's end.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::admission::{Greeting, serve_join};
use crate::codec::{JOIN_LIMIT, REQUEST_LIMIT, RESPONSE_LIMIT};
use crate::endpoint::{self, GOODBYE_TIMEOUT, HANDSHAKE_TIMEOUT, JOIN_TIMEOUT};
use crate::error::CloseCode;
use crate::network::{Network, SystemNetwork};
use crate::rates::{Rates, Share};
use crate::stream::{RecvStream, SendStream};
use crate::{CertificateAuthority, Identity, Role, WireError, tls};

/// Handshakes and joins at once; each may hold some 100 KiB.
const MAX_ADMISSIONS: usize = 256;
/// From so many on, a peer must first show that it receives at the address that
/// it sends from (one more round trip for it, no state for us).
const ADMISSIONS_BEFORE_RETRY: usize = 32;
/// Joins at once, apart from handshakes: each costs a signature and a write.
pub(crate) const MAX_JOINS: usize = 16;
/// Connections in all.
const MAX_CONNECTIONS: usize = 16_384;
/// Joins of one address: a rack of machines behind one address at once, and after
/// that one a second.
pub(crate) const JOIN_SHARE: Share =
    Share { burst: NonZeroU32::new(64).unwrap(), pause: Duration::from_secs(1) };
/// Handshakes of one address while there are many: all nodes of a large studio come
/// back at once through its one address, and each then takes seconds.
const HANDSHAKE_SHARE: Share =
    Share { burst: NonZeroU32::new(512).unwrap(), pause: Duration::from_millis(10) };
/// Admitted peers that the driver has not taken yet.
const PEERS_AHEAD: usize = 64;

/// Asks the master's ticket book whether a join is allowed. Its methods may
/// block for a disk: they are called where that harms nobody.
pub trait TicketBook: Send + Sync + 'static {
    /// Redeems a ticket: compares the secret in constant time, checks expiry
    /// and role.
    ///
    /// # Errors
    /// Why it is refused, for people.
    fn redeem(&self, ticket: u64, secret: &[u8; 32], role: Role) -> Result<(), String>;

    /// Writes down who is about to get a certificate.
    ///
    /// # Errors
    /// Why it cannot be written down, for people: the certificate is not given.
    fn joined(&self, identity: &Identity) -> Result<(), String> {
        let _ = identity;
        Ok(())
    }

    /// Whether somebody with a good certificate may connect (still).
    ///
    /// # Errors
    /// Why not, for people: revoked, say.
    fn admit(&self, identity: &Identity) -> Result<(), String> {
        let _ = identity;
        Ok(())
    }
}

/// A listening endpoint. Dropping it closes every connection.
pub struct Server {
    endpoint: quinn::Endpoint,
    address: SocketAddr,
    peers: Mutex<mpsc::Receiver<Peer>>,
    accepting: AbortOnDropHandle<()>,
}

impl Server {
    /// Binds and serves joins in the background from then on. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(
        address: SocketAddr,
        authority: &CertificateAuthority,
        tickets: Arc<dyn TicketBook>,
    ) -> Result<Self, WireError> {
        Self::bind_over(&SystemNetwork, address, authority, tickets)
    }

    /// As [`Server::bind`], on a socket of this network.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind_over(
        network: &dyn Network,
        address: SocketAddr,
        authority: &CertificateAuthority,
        tickets: Arc<dyn TicketBook>,
    ) -> Result<Self, WireError> {
        let mut config = tls::server(authority)?;
        config.transport_config(endpoint::master_transport());
        let unbound = |source| WireError::Bind { address, source };
        let endpoint = endpoint::listen(network, address, config).map_err(unbound)?;
        let address = endpoint.local_addr().map_err(unbound)?;
        let (sender, receiver) = mpsc::channel(PEERS_AHEAD);
        let gate = Arc::new(Gate {
            authority: Arc::new(authority.clone()),
            book: tickets,
            joins: Semaphore::new(MAX_JOINS),
            join_rates: Rates::new(JOIN_SHARE),
            peers: sender,
        });
        let accepting = AbortOnDropHandle::new(tokio::spawn(accept(endpoint.clone(), gate)));
        Ok(Self { endpoint, address, peers: Mutex::new(receiver), accepting })
    }

    /// The bound address.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// The next authenticated peer; `None` when the endpoint is closed.
    pub async fn accept(&self) -> Option<Peer> {
        self.peers.lock().await.recv().await
    }

    /// Says goodbye to every peer and stops.
    pub async fn close(&self) {
        self.accepting.abort();
        self.endpoint.close(quinn::VarInt::from_u32(CloseCode::Goodbye as u32), b"the master stops");
        // The connections are closed for us whether or not the wait ended well.
        let _ = timeout(GOODBYE_TIMEOUT, self.endpoint.wait_idle()).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.endpoint.close(quinn::VarInt::from_u32(CloseCode::Goodbye as u32), b"the master stops");
    }
}

/// What an arriving connection needs.
struct Gate {
    authority: Arc<CertificateAuthority>,
    book: Arc<dyn TicketBook>,
    joins: Semaphore,
    join_rates: Rates,
    peers: mpsc::Sender<Peer>,
}

/// Takes connections until the endpoint closes. The admissions under way end
/// with this task.
async fn accept(endpoint: quinn::Endpoint, gate: Arc<Gate>) {
    let mut admissions = JoinSet::new();
    let handshake_rates = Rates::new(HANDSHAKE_SHARE);
    while let Some(incoming) = endpoint.accept().await {
        while admissions.try_join_next().is_some() {}
        let is_rush = admissions.len() >= ADMISSIONS_BEFORE_RETRY;
        if admissions.len() >= MAX_ADMISSIONS || endpoint.open_connections() >= MAX_CONNECTIONS {
            tracing::warn!(address = %incoming.remote_address(), "refused a connection: too many at once");
            incoming.refuse();
        } else if is_rush && !incoming.remote_address_validated() {
            // An unvalidated address may always be asked to retry.
            let _ = incoming.retry();
        } else if is_rush && !handshake_rates.allow(incoming.remote_address().ip()) {
            tracing::debug!(address = %incoming.remote_address(), "refused a connection: too many of its address");
            incoming.refuse();
        } else {
            admissions.spawn(admit(incoming, gate.clone()));
        }
    }
}

/// From the first packet to a joined or an admitted peer.
async fn admit(incoming: quinn::Incoming, gate: Arc<Gate>) {
    let address = incoming.remote_address();
    let connection = match timeout(HANDSHAKE_TIMEOUT, async { incoming.accept()?.await }).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::info!(%address, %error, "a handshake failed"),
        Err(_) => return tracing::info!(%address, "a handshake took too long"),
    };
    let done = if tls::protocol(&connection).as_deref() == Some(tls::JOIN) {
        join(&connection, &gate).await
    } else {
        enter(&connection, &gate).await
    };
    if let Err(error) = done {
        tracing::info!(%address, %error, "a peer was not admitted");
        CloseCode::Refused.close(&connection, &error.to_string());
    }
}

async fn join(connection: &quinn::Connection, gate: &Gate) -> Result<(), WireError> {
    // The handshake showed that it receives there.
    if !gate.join_rates.allow(connection.remote_address().ip()) {
        CloseCode::Busy.close(connection, "too many join from this address; try again in some seconds");
        return Ok(());
    }
    let Ok(_permit) = gate.joins.try_acquire() else {
        CloseCode::Busy.close(connection, "too many join at once; try again in a moment");
        return Ok(());
    };
    let exchange = serve_join(connection, gate.authority.clone(), gate.book.clone());
    let exchange = timeout(JOIN_TIMEOUT, exchange).await;
    let identity = exchange.map_err(|_| WireError::Protocol("the join took too long".into()))??;
    tracing::info!(%identity, address = %connection.remote_address(), "joined");
    Ok(())
}

async fn enter(connection: &quinn::Connection, gate: &Gate) -> Result<(), WireError> {
    let chain = tls::peer_chain(connection);
    let certificate =
        chain.first().ok_or_else(|| WireError::Refused("this needs a certificate: join first".into()))?;
    let identity = Identity::from_certificate(certificate)?;
    let (book, candidate) = (gate.book.clone(), identity.clone());
    let judged = tokio::task::spawn_blocking(move || book.admit(&candidate)).await;
    judged.map_err(|error| WireError::Lost(error.to_string()))?.map_err(WireError::Refused)?;
    let greeting = timeout(HANDSHAKE_TIMEOUT, greet(connection)).await;
    greeting.map_err(|_| WireError::Lost("the peer does not listen".into()))??;
    let peer = Peer {
        connection: connection.clone(),
        identity: Arc::new(identity),
        authority: Arc::clone(&gate.authority),
    };
    tokio::select! {
        // Fails only when the server is gone, and with it the connection.
        _ = gate.peers.send(peer) => Ok(()),
        error = connection.closed() => Err(WireError::from_connection(error)),
    }
}

async fn greet(connection: &quinn::Connection) -> Result<(), WireError> {
    let stream = connection.open_uni().await.map_err(WireError::from_connection)?;
    let greeting = Greeting { version: env!("CARGO_PKG_VERSION").to_owned() };
    // Dropping the stream finishes it; the peer's next message proves receipt.
    SendStream::control(stream, JOIN_LIMIT).send(&greeting).await
}

/// An authenticated connection to a node, an artist or an admin. Cheap to clone; it
/// closes with its last clone and stream.
#[derive(Clone)]
pub struct Peer {
    connection: quinn::Connection,
    identity: Arc<Identity>,
    authority: Arc<CertificateAuthority>,
}

impl Peer {
    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where it is now; may change during the connection's life.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// The next bidirectional stream that the peer opens.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn accept_stream(&self) -> Result<(SendStream, RecvStream), WireError> {
        let (send, recv) = self.connection.accept_bi().await.map_err(WireError::from_connection)?;
        Ok((SendStream::control(send, RESPONSE_LIMIT), RecvStream::new(recv, REQUEST_LIMIT)))
    }

    /// The next unidirectional stream that the peer opens: a tile.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn accept_tile(&self) -> Result<RecvStream, WireError> {
        let stream = self.connection.accept_uni().await.map_err(WireError::from_connection)?;
        Ok(RecvStream::new(stream, REQUEST_LIMIT))
    }

    /// Certifies another key for the same identity. Returns the certificate, DER.
    ///
    /// # Errors
    /// The signing request is not right.
    pub async fn certify(&self, signing_request: Vec<u8>) -> Result<Vec<u8>, WireError> {
        let (authority, identity) = (Arc::clone(&self.authority), Arc::clone(&self.identity));
        // A signature takes a while.
        let signing = move || authority.certify_peer(&signing_request, &identity);
        let signed = tokio::task::spawn_blocking(signing).await;
        let certificate = signed.map_err(|error| WireError::Lost(error.to_string()))??;
        Ok(certificate.to_vec())
    }

    /// Resolves when the connection ends, with the reason.
    pub async fn closed(&self) -> WireError {
        WireError::from_connection(self.connection.closed().await)
    }

    /// Closes the connection for good, with a reason that the peer is told: it
    /// may not do this, and need not try again.
    pub fn refuse(&self, reason: &str) {
        CloseCode::Refused.close(&self.connection, reason);
    }

    /// Closes the connection, with a reason that the peer's log will show. For
    /// the peer it is lost, not refused: it may connect again.
    pub fn close(&self, reason: &str) {
        CloseCode::Ended.close(&self.connection, reason);
    }
}
