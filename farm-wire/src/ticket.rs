//! Tickets: one copyable string that lets a machine or a person join a farm.

use std::fmt;
use std::str::FromStr;

use crate::Role;

/// Where the master is, how to recognise it, and a secret that it exchanges
/// once or more for a client certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// `host:port`, most useful first.
    pub addresses: Vec<String>,
    /// SHA-256 of the CA's certificate.
    pub ca_fingerprint: [u8; 32],
    /// What the joiner will be.
    pub role: Role,
    /// Names the ticket on the master.
    pub id: u64,
    /// Proves the ticket; never logged.
    pub secret: [u8; 32],
    /// Milliseconds since the Unix epoch after which it is void.
    pub expires_at_ms: u64,
}

impl fmt::Display for Ticket {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

/// A text that is not a ticket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a ticket: {0}")]
pub struct ParseTicketError(pub String);

impl FromStr for Ticket {
    type Err = ParseTicketError;

    fn from_str(_: &str) -> Result<Self, Self::Err> {
        todo!()
    }
}
