//! Both ends over loopback.

mod bulk;
mod joining;
mod messages;
mod seeds;
mod streams;
mod tiles;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use farm_core::BlobDigest;
use tempfile::TempDir;

use crate::{CertificateAuthority, Client, Credentials, Identity, Peer, Role, Server, Ticket, TicketBook};

const TICKET: u64 = 7;
const SECRET: [u8; 32] = [42; 32];

/// A book with one ticket for every role, that remembers who joined.
#[derive(Default)]
struct Book {
    redeemed: Mutex<u32>,
    joined: Mutex<Vec<Identity>>,
    revoked: Mutex<BTreeSet<u64>>,
    /// Whoever holds this keeps joins waiting.
    gate: Mutex<()>,
}

impl TicketBook for Book {
    fn redeem(&self, ticket: u64, secret: &[u8; 32], _: Role) -> Result<(), String> {
        *self.redeemed.lock().expect("no test panics with it") += 1;
        drop(self.gate.lock().expect("no test panics with it"));
        match (ticket, secret) {
            (TICKET, &SECRET) => Ok(()),
            _ => Err("the ticket is not known here".into()),
        }
    }

    fn joined(&self, identity: &Identity) -> Result<(), String> {
        self.joined.lock().expect("no test panics with it").push(identity.clone());
        Ok(())
    }

    fn admit(&self, identity: &Identity) -> Result<(), String> {
        match self.revoked.lock().expect("no test panics with it").contains(&identity.id) {
            true => Err("the certificate was revoked".into()),
            false => Ok(()),
        }
    }
}

/// A master's endpoint on loopback.
struct Farm {
    server: Server,
    book: Arc<Book>,
    authority: CertificateAuthority,
    _folder: TempDir,
}

impl Farm {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = CertificateAuthority::open_or_create(folder.path()).expect("made");
        let book = Arc::new(Book::default());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::bind(address, &authority, book.clone()).expect("a free port");
        Self { server, book, authority, _folder: folder }
    }

    fn address(&self) -> SocketAddr {
        self.server.local_address()
    }

    fn ticket(&self, role: Role) -> Ticket {
        Ticket {
            addresses: vec![self.address().to_string()],
            ca_fingerprint: self.authority.fingerprint(),
            role,
            id: TICKET,
            secret: SECRET,
            expires_at_ms: u64::MAX,
        }
    }

    async fn credentials(&self, role: Role) -> Credentials {
        Credentials::join(&self.ticket(role), "somebody").await.expect("joined")
    }

    /// A connection, both ends.
    async fn connect(&self, credentials: &Credentials) -> (Client, Peer) {
        let (client, peer) = tokio::join!(Client::connect(credentials), self.server.accept());
        (client.expect("connected"), peer.expect("the server listens"))
    }

    async fn member(&self) -> (Client, Peer) {
        self.connect(&self.credentials(Role::Node).await).await
    }
}

fn digest_of(bytes: &[u8]) -> BlobDigest {
    BlobDigest(*blake3::hash(bytes).as_bytes())
}

/// Bytes without a pattern, the same each time.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}
