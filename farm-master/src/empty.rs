//! Tiles without pixels: all that a farm does for a tile but its picture.
//!
//! Only for a master that was started to measure this
//! ([`MasterConfig::takes_empty_tiles`](crate::MasterConfig)). Such a tile is
//! leased, reported, judged, journaled and settled like any other. What it has
//! not is an EXR: nothing is checked, stored or written for it.

use std::sync::LazyLock;

use farm_core::scheduler::Command;
use farm_core::{BlobDigest, LeaseId, NodeId, TileId};
use farm_wire::WireError;

use crate::assemble::Frame;
use crate::farm::Farm;

/// The digest of no bytes.
static NOTHING: LazyLock<BlobDigest> = LazyLock::new(|| BlobDigest(*blake3::hash(&[]).as_bytes()));

/// What a node's empty tile tells the scheduler.
///
/// # Errors
/// This master renders pictures: the node breaks the protocol.
pub(crate) fn report(farm: &Farm, node: NodeId, lease: LeaseId, tile: TileId) -> Result<Command, WireError> {
    if !farm.takes_empty_tiles {
        return Err(WireError::Protocol("a tile without pixels".into()));
    }
    Ok(Command::ReportTile { node, lease, tile, blob: *NOTHING, rays: 0, render_us: 0 })
}

/// The pixel digest of a frame that has no pixels; `None` if it has some.
pub(crate) fn pixel_digest(frame: &Frame) -> Option<BlobDigest> {
    let is_empty = frame.kept.is_empty() && frame.tiles.iter().all(|tile| tile.blob == *NOTHING);
    is_empty.then_some(*NOTHING)
}
