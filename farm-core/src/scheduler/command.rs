//! Commands: what the world asks of the scheduler or tells it, in the imperative.

use serde::{Deserialize, Serialize};

use crate::id::{BlobDigest, FrameNumber, JobId, LeaseId, NodeId, OwnerId};
use crate::job::{FrameRange, JobSpec, is_tag};
use crate::limits::Limits;
use crate::tile::{Rect, TileId};

/// How much of a farm one owner may have for its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Jobs that are neither delivered nor cancelled.
    pub open_jobs: u64,
    /// Samples of the jobs that it submitted within an hour.
    pub samples_per_hour: u64,
}

/// What the world asks of the scheduler or tells it.
///
/// Commands with a `request` are answered by exactly one
/// [`Effect::Answer`](super::Effect::Answer) with the same number; asking for
/// what is already so is answered with success and changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// An artist submits a job whose blobs are all stored.
    SubmitJob {
        /// Chosen by the driver to match the answer to the request.
        request: u64,
        /// The job.
        spec: Box<JobSpec>,
        /// Who submits it.
        owner: Option<OwnerId>,
        /// How much that owner may have, if it is held to anything.
        quota: Option<Quota>,
    },
    /// Stop granting tiles of a job; leases in flight may finish.
    PauseJob {
        /// Chosen by the driver to match the answer to the request.
        request: u64,
        /// The job.
        job: JobId,
    },
    /// Grant tiles of a paused job again.
    ResumeJob {
        /// Chosen by the driver to match the answer to the request.
        request: u64,
        /// The job.
        job: JobId,
    },
    /// Give a job up for good.
    CancelJob {
        /// Chosen by the driver to match the answer to the request.
        request: u64,
        /// The job.
        job: JobId,
    },
    /// Forget the strikes of a failed job, which nodes ran out of memory on it and
    /// which failed on it too often, and go on with it.
    RetryJob {
        /// Chosen by the driver to match the answer to the request.
        request: u64,
        /// The job.
        job: JobId,
    },
    /// Give a job another priority. Leases in flight may finish.
    PrioritizeJob {
        /// Chosen by the driver to match the answer to the request.
        request: u64,
        /// The job.
        job: JobId,
        /// Higher goes first.
        priority: i32,
    },
    /// Give a job another weight. Leases in flight may finish.
    WeighJob {
        /// Chosen by the driver to match the answer to the request.
        request: u64,
        /// The job.
        job: JobId,
        /// Its share beside jobs of the same priority.
        weight: u32,
    },
    /// Forget the accepted tiles that touch a region of some frames, and render
    /// them again; frames that were delivered are assembled anew. A job that is
    /// done is opened again.
    RerenderJob {
        /// Chosen by the driver to match the answer to the request.
        request: u64,
        /// The job.
        job: JobId,
        /// The frames; those that the job does not have are passed over.
        frames: FrameRange,
        /// The pixels; all where there is none.
        region: Option<Rect>,
    },
    /// Hold a node back or let it work again.
    ChangeNode {
        /// Chosen by the driver to match the answer to the request.
        request: u64,
        /// The node; it need not be connected.
        node: NodeId,
        /// How.
        change: NodeChange,
    },
    /// A node connected (again); it holds the leases named here, of this or of
    /// an earlier life of the scheduler. Joining again replaces the node's
    /// earlier connection.
    JoinNode {
        /// The node.
        node: NodeId,
        /// Its lanes, one for each adapter.
        lanes: u32,
        /// What it says that it has.
        equipment: Equipment,
        /// What it is still working on.
        holding: Vec<HeldLease>,
    },
    /// A node is gone: disconnected or silent for too long. The driver must not
    /// say this of a connection that a later [`Command::JoinNode`] replaced.
    LeaveNode(NodeId),
    /// A node takes no further leases but finishes those it holds.
    DrainNode(NodeId),
    /// A node takes no leases for now.
    RestNode(NodeId),
    /// A node that rested takes leases again.
    ResumeNode(NodeId),
    /// A node is alive and got this far with a lease.
    ReportProgress {
        /// The node.
        node: NodeId,
        /// The lease.
        lease: LeaseId,
        /// Samples done, of the whole task: 0 while blobs are still fetched, at
        /// least 1 once rendering has begun.
        samples: u64,
    },
    /// A node delivered a tile; its blob is stored and passed every check.
    /// Answered by [`Effect::Settle`](super::Effect::Settle).
    ReportTile {
        /// The node.
        node: NodeId,
        /// The lease that it was rendered under.
        lease: LeaseId,
        /// The tile, as its attributes name it: the lease's or, where the node gave
        /// way before it was done, a part of its samples.
        tile: TileId,
        /// The stored EXR.
        blob: BlobDigest,
        /// Rays traced.
        rays: u64,
        /// Time on the adapter, in microseconds.
        render_us: u64,
    },
    /// A node delivered something that did not pass the checks.
    /// Answered by [`Effect::Settle`](super::Effect::Settle).
    RejectTile {
        /// The node.
        node: NodeId,
        /// The lease.
        lease: LeaseId,
        /// What was wrong, for people.
        reason: String,
    },
    /// A node could not render a tile.
    ReportFailure {
        /// The node.
        node: NodeId,
        /// The lease.
        lease: LeaseId,
        /// The kind decides who is to blame.
        kind: FailureKind,
        /// What went wrong, for people.
        message: String,
    },
    /// The assembler wrote a frame's files.
    ReportFrame {
        /// The job.
        job: JobId,
        /// The frame.
        frame: FrameNumber,
        /// BLAKE3 of the final pixels: f32 RGBA little-endian, row by row.
        pixel_digest: BlobDigest,
    },
    /// The assembler could not write a frame (disk full, say); tried again
    /// after a pause.
    ReportFrameFailure {
        /// The job.
        job: JobId,
        /// The frame.
        frame: FrameNumber,
        /// What went wrong, for people.
        message: String,
    },
    /// Time passed: call when
    /// [`Scheduler::poll_timeout`](super::Scheduler::poll_timeout) says so.
    Tick,
}

/// What a person does to a node. It outlives the node's connection and the
/// scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeChange {
    /// Grant it nothing more; what it holds it finishes.
    Drain,
    /// Let a drained node work again.
    Undrain,
    /// Take back what it holds, take no result from it and grant it nothing.
    Ban,
    /// Let a banned node work again, and forget its failures: it is blocked from no
    /// job, on no probation and in no quarantine.
    Forgive,
}

/// What a node says of itself when it joins: claims, which cost it work and
/// nobody else anything when they are wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Equipment {
    /// Its tags, as whoever runs it chose them.
    pub tags: Vec<String>,
    /// The memory of its smallest lane; `None` where it is not known, which is
    /// taken to be enough.
    pub memory_bytes: Option<u64>,
    /// Manifests of scenes of which it holds every blob, latest used last.
    pub scenes: Vec<BlobDigest>,
}

impl Equipment {
    /// What the limits allow of it: the first tags, the latest scenes.
    pub(super) fn bounded(mut self, limits: &Limits) -> Self {
        self.tags.retain(|tag| is_tag(tag, limits));
        self.tags.truncate(limits.tags_per_node);
        let too_many = self.scenes.len().saturating_sub(limits.scenes_per_node);
        self.scenes.drain(..too_many);
        self
    }
}

/// A lease that a node says it holds when it joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldLease {
    /// Its number.
    pub lease: LeaseId,
    /// Its tile.
    pub tile: TileId,
}

/// Why a node could not render a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The adapter or the machine has too little memory: the node's limit.
    OutOfMemory,
    /// The node's renderer is not the one that the job is pinned to: the node's
    /// limit.
    Incompatible,
    /// The adapter went away: the node's trouble.
    DeviceLost,
    /// The node's disk is full: the node's trouble.
    DiskFull,
    /// A blob could not be had: the network's trouble.
    BlobUnavailable,
    /// The node is draining and hands the lease back: nobody's trouble.
    HandedBack,
    /// The scene is invalid or the renderer failed on it: after enough distinct
    /// nodes, the job's fault.
    Render,
    /// The node began to render and then made no progress until the deadline.
    /// Found by the scheduler itself; counts like [`FailureKind::Render`].
    TimedOut,
}

impl FailureKind {
    /// The first and the last kind in their order.
    pub(super) const FIRST: Self = Self::OutOfMemory;
    pub(super) const LAST: Self = Self::TimedOut;

    /// In words, after "failed by".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::OutOfMemory => "too little memory",
            Self::Incompatible => "another renderer",
            Self::DeviceLost => "a lost device",
            Self::DiskFull => "a full disk",
            Self::BlobUnavailable => "a missing blob",
            Self::HandedBack => "handing back",
            Self::Render => "a failed render",
            Self::TimedOut => "no progress",
        }
    }
}
