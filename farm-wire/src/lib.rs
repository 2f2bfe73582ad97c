//! What travels between the farm's processes: messages and their codec, tiles
//! as EXR, identities and tickets, and QUIC endpoints.
//!
//! Goals: every peer is authenticated in both directions from the first byte,
//! every message is bounded, a slow bulk transfer never delays control.
//! Not goals: relaying between nodes, anonymous peers, datagrams.

mod admission;
mod authority;
pub mod client;
pub mod codec;
mod credentials;
mod endpoint;
pub mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod identity;
pub mod message;
pub mod network;
mod part_file;
mod rates;
mod renewal;
mod secret_file;
pub mod server;
pub mod stream;
pub mod ticket;
pub mod tile;
mod tls;
pub mod transfer;

pub use authority::{CertificateAuthority, PEER_LIFE, Passphrase};
pub use client::{Client, Credentials};
pub use error::WireError;
pub use identity::{Identity, Role};
pub use network::{Network, SystemNetwork};
pub use server::{Peer, Server, TicketBook};
pub use stream::{RecvStream, SendStream};
pub use ticket::Ticket;

#[cfg(test)]
mod tests;
