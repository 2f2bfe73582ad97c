//! Facts: what happened, in the past tense, as the journal keeps it.

use serde::{Deserialize, Serialize};

use super::command::FailureKind;
use crate::id::{BlobDigest, FrameNumber, JobId, NodeId, OwnerId};
use crate::job::{FrameRange, JobSpec};
use crate::tile::{Rect, TileId};
use crate::time::Timestamp;

/// What happened, in the past tense: the journal is a list of these.
///
/// A fact is only ever added to, never changed in meaning: an old journal must
/// replay under new code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "kebab-case")]
pub enum Fact {
    /// A job was accepted.
    JobSubmitted {
        /// Its number.
        job: JobId,
        /// When.
        at: Timestamp,
        /// What it is.
        spec: Box<JobSpec>,
        /// Who submitted it; unknown of jobs from before owners were recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<OwnerId>,
    },
    /// A job was paused.
    JobPaused {
        /// The job.
        job: JobId,
    },
    /// A paused job was resumed.
    JobResumed {
        /// The job.
        job: JobId,
    },
    /// A job was cancelled.
    JobCancelled {
        /// The job.
        job: JobId,
    },
    /// A failed job was given another chance: its strikes are forgotten.
    JobRetried {
        /// The job.
        job: JobId,
    },
    /// A job was given another priority.
    JobPrioritized {
        /// The job.
        job: JobId,
        /// Higher goes first.
        priority: i32,
    },
    /// A job was given another weight.
    JobWeighted {
        /// The job.
        job: JobId,
        /// Its share beside jobs of the same priority.
        weight: u32,
    },
    /// The tiles of some frames that touch a region were forgotten, to be rendered
    /// again. Of a frame that was delivered, the rectangles outside of the region
    /// are kept in its file.
    TilesForgotten {
        /// The job.
        job: JobId,
        /// The frames.
        frames: FrameRange,
        /// The pixels; all where there is none.
        region: Option<Rect>,
    },
    /// A person drained a node.
    NodeDrained {
        /// The node.
        node: NodeId,
    },
    /// A drained node may work again.
    NodeUndrained {
        /// The node.
        node: NodeId,
    },
    /// A person banned a node.
    NodeBanned {
        /// The node.
        node: NodeId,
    },
    /// A banned node may work again.
    NodeForgiven {
        /// The node.
        node: NodeId,
    },
    /// A tile was accepted: this blob is its result, for ever.
    TileAccepted {
        /// The tile.
        tile: TileId,
        /// Who rendered it.
        node: NodeId,
        /// Its EXR.
        blob: BlobDigest,
        /// Rays traced.
        rays: u64,
        /// Time on the adapter, in microseconds.
        render_us: u64,
    },
    /// A tile failed on a node in a way that may be the job's fault.
    TileFailed {
        /// The tile.
        tile: TileId,
        /// The node.
        node: NodeId,
        /// The kind.
        kind: FailureKind,
        /// What went wrong, for people.
        message: String,
    },
    /// A frame's files were written.
    FrameDelivered {
        /// The job.
        job: JobId,
        /// The frame.
        frame: FrameNumber,
        /// BLAKE3 of the final pixels.
        pixel_digest: BlobDigest,
    },
}
