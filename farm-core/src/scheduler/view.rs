//! Read-only views, shared by the CLI, the API and the dashboard.

use serde::{Deserialize, Serialize};

use crate::id::{BlobDigest, FrameNumber, JobId, NodeId};
use crate::tile::{Rect, TileId};
use crate::time::Timestamp;

/// A tile and its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedTile {
    /// The tile.
    pub tile: TileId,
    /// Its pixels.
    pub rect: Rect,
    /// Its EXR.
    pub blob: BlobDigest,
    /// Who rendered it.
    pub node: NodeId,
}

/// Where a job stands; computed, never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobStatus {
    /// No tile leased or accepted yet.
    Waiting,
    /// Tiles are leased or accepted.
    Running,
    /// Paused by a person.
    Paused,
    /// Every frame is delivered.
    Done,
    /// A tile failed on too many distinct nodes.
    Failed,
    /// Cancelled by a person.
    Cancelled,
}

/// A read-only view of a job, for the CLI, the API and the dashboard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Its number.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: JobStatus,
    /// Why it stands there, in words.
    pub explanation: String,
    /// Its priority.
    pub priority: i32,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// Frames delivered.
    pub frames_done: u64,
    /// Frames in all.
    pub frames: u64,
    /// Rectangles whose samples are all accepted, over all frames.
    pub tiles_done: u64,
    /// Rectangles over all frames.
    pub tiles: u64,
    /// Samples accepted.
    pub samples_done: u64,
    /// Samples in all.
    pub samples: u64,
    /// Rays traced in accepted tiles.
    pub rays: u64,
    /// Time on adapters in accepted tiles, in microseconds.
    pub render_us: u64,
    /// Results accepted (a rectangle may take several).
    pub results: u64,
    /// The pixel digest of each delivered frame.
    pub delivered: Vec<(FrameNumber, BlobDigest)>,
    /// Messages of the nodes on which tiles failed, latest last, a few.
    pub failures: Vec<String>,
}

/// A read-only view of a connected node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its identity.
    pub node: NodeId,
    /// Its lanes.
    pub lanes: u32,
    /// Leases that it holds.
    pub leases: u32,
    /// Whether it is draining.
    pub draining: bool,
    /// Measured speed in samples per second; 0 until measured.
    pub samples_per_second: f64,
    /// Tiles accepted from it since it joined.
    pub tiles: u64,
    /// Failures since it joined.
    pub failures: u64,
}
