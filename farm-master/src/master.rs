//! A running master: everything started in order, and stopped in order.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use farm_wire::server::TicketBook;
use farm_wire::{CertificateAuthority, Role, Server, Ticket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::assemble::{self, FrameFolder};
use crate::audit::AuditLog;
use crate::blobs::{BlobStore, Keep};
use crate::config::{default_listen, ticket_addresses};
use crate::driver::{Assembler, Driver};
use crate::farm::Farm;
use crate::folder::{DataFolder, FolderLock};
use crate::journal::{Journal, JournalError, SqliteJournal};
use crate::revocations::Revocations;
use crate::tickets::Tickets;
use crate::{MasterConfig, MasterError, gc, peers};

/// A running master. Dropping it stops it, abruptly but safely; call
/// [`Master::shutdown`] to say goodbye to its peers.
pub struct Master {
    server: Arc<Server>,
    fingerprint: [u8; 32],
    addresses: Vec<String>,
    tickets: Tickets,
    blobs: Arc<BlobStore>,
    driver: Option<JoinHandle<()>>,
    peers: JoinHandle<()>,
    collector: JoinHandle<()>,
    stop: CancellationToken,
    _lock: FolderLock,
}

impl Master {
    /// Starts a master: takes the data folder, replays the journal, listens.
    ///
    /// # Errors
    /// Names what is wrong with the folder, the journal or the address.
    pub async fn start(config: MasterConfig) -> Result<Self, MasterError> {
        Self::start_with(config, async |path| SqliteJournal::open(path).await).await
    }

    /// As [`Master::start`], with another journal than the data folder's usual one.
    /// `open` is given the path of that, when nobody else has the folder.
    ///
    /// # Errors
    /// As for [`Master::start`].
    pub async fn start_with<J: Journal>(
        config: MasterConfig,
        open: impl AsyncFnOnce(&Path) -> Result<J, JournalError>,
    ) -> Result<Self, MasterError> {
        let folder = DataFolder::open(&config.data)?;
        let lock = folder.lock()?;
        let blobs = Arc::new(BlobStore::open(&folder.blobs(), config.bounds.blob_bytes)?);
        let frames = FrameFolder::new(folder.frames());
        assemble::sweep(&folder.frames())
            .map_err(|source| MasterError::Folder { path: folder.frames(), source })?;
        let tickets = Tickets::open(&folder.tickets())?;
        let journal = open(&folder.journal()).await?;
        let stop = CancellationToken::new();
        let assembler = Assembler {
            blobs: Arc::clone(&blobs),
            frames: frames.clone(),
            at_once: config.bounds.assemblies,
            takes_empty_tiles: config.takes_empty_tiles,
        };
        let facts = config.bounds.facts_per_snapshot;
        let restored = Driver::restore(journal, config.limits, assembler, facts, stop.clone());
        let (driver, handle) = restored.await?;

        let authority = match CertificateAuthority::open(&folder.authority(), config.passphrase.as_ref())? {
            Some(authority) => authority,
            None => CertificateAuthority::open_or_create(&folder.authority())?,
        };
        let authority = authority.certifying_for(config.certificate_life);
        let book: Arc<dyn TicketBook> = Arc::new(tickets.clone());
        let server = Arc::new(Server::bind_over(&*config.network, config.listen, &authority, book)?);
        let addresses = ticket_addresses(&config.advertise, server.local_address());
        note_addresses(&folder.addresses(), &addresses)?;
        let keep = Keep::from(&config.bounds);
        let collector = tokio::spawn(gc::run(handle.clone(), Arc::clone(&blobs), keep));
        let revocations = Revocations::watch(tickets.clone());
        let (bounds, takes_empty_tiles) = (config.bounds, config.takes_empty_tiles);
        let audit = AuditLog::new(folder.audit());
        let farm =
            Farm::new(handle, Arc::clone(&blobs), frames, bounds, revocations, audit, takes_empty_tiles);
        let farm = Arc::new(farm);
        let driver = tokio::spawn(driver.run());
        let peers = tokio::spawn(peers::serve(farm, Arc::clone(&server)));
        Ok(Self {
            server,
            fingerprint: authority.fingerprint(),
            addresses,
            tickets,
            blobs,
            driver: Some(driver),
            peers,
            collector,
            stop,
            _lock: lock,
        })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.server.local_address()
    }

    /// Makes a ticket that names this master.
    ///
    /// # Errors
    /// The name is not usable or the ticket book cannot be written.
    pub fn create_ticket(
        &self,
        name: &str,
        role: Role,
        valid_for: Duration,
        uses: Option<u32>,
    ) -> Result<Ticket, MasterError> {
        let made = self.tickets.create(name, role, valid_for, uses)?;
        Ok(Ticket {
            addresses: self.addresses.clone(),
            ca_fingerprint: self.fingerprint,
            role,
            id: made.id,
            secret: made.secret,
            expires_at_ms: made.expires_at_ms,
        })
    }

    /// Whether nobody was ever given a ticket.
    ///
    /// # Errors
    /// The ticket book cannot be read.
    pub fn has_no_tickets(&self) -> Result<bool, MasterError> {
        Ok(self.tickets.list()?.is_empty())
    }

    /// Its blobs, where a program that embeds it can store what it has at hand.
    #[must_use]
    pub fn blobs(&self) -> Arc<BlobStore> {
        Arc::clone(&self.blobs)
    }

    /// Stops: says goodbye to every peer, commits, frees the data folder.
    pub async fn shutdown(mut self) {
        self.server.close().await;
        self.stop.cancel();
        if let Some(driver) = self.driver.take()
            && let Err(error) = driver.await
        {
            tracing::error!(%error, "the driver broke off");
        }
    }

    /// Resolves when the driver ends, which without [`Master::shutdown`] means
    /// that it broke off.
    pub async fn broken(&mut self) {
        if let Some(driver) = self.driver.as_mut() {
            let outcome = driver.await;
            self.driver = None;
            tracing::error!(?outcome, "the driver broke off");
        }
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.stop.cancel();
        self.peers.abort();
        self.collector.abort();
    }
}

/// Makes a ticket for the master of a data folder, running or not.
///
/// # Errors
/// Names what is wrong with the folder, its certificate authority or its
/// ticket book.
pub fn create_ticket(
    data: &Path,
    advertise: &[String],
    name: &str,
    role: Role,
    valid_for: Duration,
    uses: Option<u32>,
) -> Result<Ticket, MasterError> {
    let folder = DataFolder::open(data)?;
    let fingerprint = match CertificateAuthority::fingerprint_in(&folder.authority())? {
        Some(fingerprint) => fingerprint,
        None => CertificateAuthority::open_or_create(&folder.authority())?.fingerprint(),
    };
    let made = Tickets::open(&folder.tickets())?.create(name, role, valid_for, uses)?;
    let addresses = match advertise {
        [] => noted_addresses(&folder.addresses()).unwrap_or_else(|| ticket_addresses(&[], default_listen())),
        _ => advertise.to_vec(),
    };
    Ok(Ticket {
        addresses,
        ca_fingerprint: fingerprint,
        role,
        id: made.id,
        secret: made.secret,
        expires_at_ms: made.expires_at_ms,
    })
}

/// Notes where the master can be reached, for tickets made by other processes.
fn note_addresses(path: &Path, addresses: &[String]) -> Result<(), MasterError> {
    fs::write(path, addresses.join("\n"))
        .map_err(|source| MasterError::Folder { path: path.to_owned(), source })
}

fn noted_addresses(path: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(path).ok()?;
    let addresses: Vec<String> = text.lines().map(str::to_owned).collect();
    (!addresses.is_empty()).then_some(addresses)
}

#[cfg(test)]
mod tests;
