//! What every connection shares: the way to the driver, the stores, the bounds,
//! and who is connected.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use farm_core::NodeId;
use farm_wire::message::LaneDescription;
use tokio::sync::Semaphore;

use crate::assemble::FrameFolder;
use crate::audit::AuditLog;
use crate::blobs::BlobStore;
use crate::config::Bounds;
use crate::driver::DriverHandle;
use crate::quotas::Uploads;
use crate::revocations::Revocations;

/// Bytes that one permit of [`Farm::tile_memory`] stands for.
const MEMORY_UNIT_BYTES: u64 = 64 << 10;

/// What every connection shares.
pub(crate) struct Farm {
    pub(crate) driver: DriverHandle,
    pub(crate) blobs: Arc<BlobStore>,
    pub(crate) frames: FrameFolder,
    pub(crate) bounds: Bounds,
    /// See [`crate::empty`].
    pub(crate) takes_empty_tiles: bool,
    pub(crate) roster: Roster,
    pub(crate) revocations: Revocations,
    pub(crate) uploads: Uploads,
    pub(crate) audit: AuditLog,
    /// Bytes of tiles that are on their way to the disk.
    tile_memory: Arc<Semaphore>,
    /// Tiles that are being decoded and checked: one for each core.
    pub(crate) decoders: Semaphore,
    connections: AtomicU64,
}

impl Farm {
    pub(crate) fn new(
        driver: DriverHandle,
        blobs: Arc<BlobStore>,
        frames: FrameFolder,
        bounds: Bounds,
        revocations: Revocations,
        audit: AuditLog,
        takes_empty_tiles: bool,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let units = memory_units(bounds.tile_bytes_in_flight);
        Self {
            driver,
            blobs,
            frames,
            roster: Roster::default(),
            revocations,
            uploads: Uploads::default(),
            audit,
            tile_memory: Arc::new(Semaphore::new(units as usize)),
            decoders: Semaphore::new(cores),
            connections: AtomicU64::new(0),
            takes_empty_tiles,
            bounds,
        }
    }

    /// A number that no other connection of this life has.
    pub(crate) fn number_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until `bytes` of a tile may be taken into memory.
    pub(crate) async fn reserve(&self, bytes: u64) -> tokio::sync::OwnedSemaphorePermit {
        let units = memory_units(bytes).min(memory_units(self.bounds.tile_bytes_in_flight));
        let permit = Arc::clone(&self.tile_memory).acquire_many_owned(units).await;
        permit.expect("the semaphore is never closed")
    }
}

fn memory_units(bytes: u64) -> u32 {
    const MOST: u64 = u32::MAX as u64 / 16;
    let units = bytes.div_ceil(MEMORY_UNIT_BYTES).clamp(1, MOST);
    u32::try_from(units).expect("it was bounded above")
}

/// Who is connected, as they said of themselves.
#[derive(Default)]
pub(crate) struct Roster {
    entries: Mutex<BTreeMap<NodeId, RosterEntry>>,
}

/// A connected node.
#[derive(Clone)]
pub(crate) struct RosterEntry {
    pub(crate) connection: u64,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) lanes: Vec<LaneDescription>,
    pub(crate) address: String,
}

impl Roster {
    pub(crate) fn enter(&self, node: NodeId, entry: RosterEntry) {
        self.lock().insert(node, entry);
    }

    /// Strikes a node off, unless a later connection of it is there.
    pub(crate) fn leave(&self, node: NodeId, connection: u64) {
        let mut entries = self.lock();
        if entries.get(&node).is_some_and(|entry| entry.connection == connection) {
            entries.remove(&node);
        }
    }

    pub(crate) fn entries(&self) -> BTreeMap<NodeId, RosterEntry> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, RosterEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
