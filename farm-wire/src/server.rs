//! The master's end.

use std::net::SocketAddr;

use crate::client::{RecvStream, SendStream};
use crate::{CertificateAuthority, Identity, Role, WireError};

/// Asks the master's ticket book whether a join is allowed.
pub trait TicketBook: Send + Sync + 'static {
    /// Redeems a ticket: compares the secret in constant time, checks expiry
    /// and role.
    ///
    /// # Errors
    /// Why it is refused, for people.
    fn redeem(&self, ticket: u64, secret: &[u8; 32], role: Role) -> Result<(), String>;
}

/// A listening endpoint.
pub struct Server {
    _todo: (),
}

impl Server {
    /// Binds and serves joins in the background from then on.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(
        address: SocketAddr,
        authority: &CertificateAuthority,
        tickets: std::sync::Arc<dyn TicketBook>,
    ) -> Result<Self, WireError> {
        let _ = (address, authority, tickets);
        todo!()
    }

    /// The bound address.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        todo!()
    }

    /// The next authenticated peer; `None` when the endpoint is closed.
    pub async fn accept(&self) -> Option<Peer> {
        todo!()
    }

    /// Says goodbye to every peer and stops.
    pub async fn close(&self) {
        todo!()
    }
}

/// An authenticated connection to a node or an artist. Cheap to clone.
#[derive(Clone)]
pub struct Peer {
    _todo: (),
}

impl Peer {
    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        todo!()
    }

    /// Where it is now; may change during the connection's life.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        todo!()
    }

    /// The next bidirectional stream that the peer opens.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn accept_stream(&self) -> Result<(SendStream, RecvStream), WireError> {
        todo!()
    }

    /// The next unidirectional stream that the peer opens: a tile.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn accept_tile(&self) -> Result<RecvStream, WireError> {
        todo!()
    }

    /// Closes the connection, with a reason that the peer's log will show.
    pub fn close(&self, reason: &str) {
        let _ = reason;
        todo!()
    }
}
