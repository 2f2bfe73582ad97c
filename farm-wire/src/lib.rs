//! What travels between the farm's processes: messages and their codec, tiles
//! as EXR, identities and tickets, and QUIC endpoints.
//!
//! Goals: every peer is authenticated in both directions from the first byte,
//! every message is bounded, a slow bulk transfer never delays control.
//! Not goals: relaying between nodes, anonymous peers, datagrams.

pub mod client;
pub mod codec;
pub mod error;
pub mod identity;
pub mod message;
pub mod server;
pub mod ticket;
pub mod tile;
pub mod transfer;

pub use client::{Client, Credentials};
pub use error::WireError;
pub use identity::{CertificateAuthority, Identity, Role};
pub use server::{Peer, Server};
pub use ticket::Ticket;
