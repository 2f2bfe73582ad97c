//! The master's half of the farm as a closed state machine.
//!
//! [`Scheduler::handle`] takes one [`Command`] at a time; `decide` turns it into
//! [`Fact`]s, `State::apply` records them, and what must happen in the world is
//! queued as [`Effect`]s. The driver commits every [`Effect::Record`] before it
//! performs any effect that follows it: persist, then send.

use crate::id::{BlobDigest, FrameNumber, JobId, LeaseId, NodeId};
use crate::job::{JobSpec, JobSpecError};
use crate::limits::Limits;
use crate::tile::{Rect, TileId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What the world asks of the scheduler or tells it.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// An artist submits a job whose blobs are all stored.
    /// Answered by [`Effect::Submitted`] or [`Effect::Refused`].
    SubmitJob {
        /// Chosen by the driver to match the answer to the request.
        request: u64,
        /// The job.
        spec: Box<JobSpec>,
    },
    /// Stop granting tiles of a job; leases in flight may finish.
    PauseJob(JobId),
    /// Grant tiles of a paused job again.
    ResumeJob(JobId),
    /// Give a job up for good.
    CancelJob(JobId),
    /// Forget the strikes of a failed job and go on with it.
    RetryJob(JobId),
    /// A node connected (again); it holds the leases named here, of this or of
    /// an earlier life of the scheduler.
    JoinNode {
        /// The node.
        node: NodeId,
        /// Its lanes, one for each adapter.
        lanes: u32,
        /// What it is still working on.
        holding: Vec<HeldLease>,
    },
    /// A node is gone: disconnected or silent for too long.
    LeaveNode(NodeId),
    /// A node takes no further leases but finishes those it holds.
    DrainNode(NodeId),
    /// A node is alive and got this far with a lease.
    ReportProgress {
        /// The node.
        node: NodeId,
        /// The lease.
        lease: LeaseId,
        /// Samples done, of the whole task.
        samples: u64,
    },
    /// A node delivered a tile; its blob is stored and passed every check.
    ReportTile {
        /// The node.
        node: NodeId,
        /// The lease that it was rendered under.
        lease: LeaseId,
        /// The tile, as its attributes name it.
        tile: TileId,
        /// The stored EXR.
        blob: BlobDigest,
        /// Rays traced.
        rays: u64,
        /// Time on the adapter, in microseconds.
        render_us: u64,
    },
    /// A node delivered something that did not pass the checks.
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
    /// Time passed: call when [`Scheduler::poll_timeout`] says so.
    Tick,
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
}

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

/// A tile lent to a node until a deadline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its number.
    pub id: LeaseId,
    /// The tile.
    pub tile: TileId,
    /// The pixels, as the plan has them.
    pub rect: Rect,
}

/// What the driver must do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Commit to the journal before performing any later effect.
    Record(Fact),
    /// Answer a submission: accepted under this number.
    Submitted {
        /// As in the command.
        request: u64,
        /// The new job.
        job: JobId,
    },
    /// Answer a submission: refused.
    Refused {
        /// As in the command.
        request: u64,
        /// Why.
        reason: RefusedReason,
    },
    /// Send a lease to a node (and its job's spec first, once).
    Grant {
        /// The node.
        node: NodeId,
        /// The lease.
        lease: Lease,
    },
    /// Tell a node to drop a lease; nothing happens if it is already done.
    Revoke {
        /// The node.
        node: NodeId,
        /// The lease.
        lease: LeaseId,
    },
    /// Sum a complete frame's tiles and write its files; then report.
    Assemble {
        /// The job.
        job: JobId,
        /// The frame.
        frame: FrameNumber,
    },
}

/// Why a job was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedReason {
    /// The spec is out of bounds.
    #[error(transparent)]
    Spec(#[from] JobSpecError),
    /// The farm is full.
    #[error("the farm already has {0} open jobs, its limit")]
    TooManyJobs(u64),
}

/// The scheduler; see the module's documentation.
#[derive(Debug)]
pub struct Scheduler {
    _todo: (),
}

impl Scheduler {
    /// Builds the state that `facts` describe. Leases are volatile: nodes say
    /// on joining what they still hold. `epoch` is different in each life of
    /// the master, so that lease numbers never repeat.
    #[must_use]
    pub fn restore(facts: impl IntoIterator<Item = Fact>, limits: Limits, epoch: u32) -> Self {
        let _ = (facts.into_iter().count(), limits, epoch);
        todo!()
    }

    /// Takes one command at the time `now`, which never goes back.
    pub fn handle(&mut self, now: Timestamp, command: Command) {
        let _ = (now, command);
        todo!()
    }

    /// The next effect to perform, until `None`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        todo!()
    }

    /// When to call [`Scheduler::handle`] with [`Command::Tick`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        todo!()
    }

    /// Every job, by number.
    pub fn jobs(&self) -> impl Iterator<Item = JobView> + '_ {
        std::iter::empty()
    }

    /// One job.
    #[must_use]
    pub fn job(&self, job: JobId) -> Option<JobView> {
        let _ = job;
        todo!()
    }

    /// The spec of a job.
    #[must_use]
    pub fn spec(&self, job: JobId) -> Option<&JobSpec> {
        let _ = job;
        todo!()
    }

    /// Every connected node, by number.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView> + '_ {
        std::iter::empty()
    }

    /// The accepted tiles of a frame, in plan order: what the assembler sums.
    /// The ranges of each rectangle are disjoint; the frame is complete when
    /// they cover it.
    #[must_use]
    pub fn accepted(&self, job: JobId, frame: FrameNumber) -> Vec<AcceptedTile> {
        let _ = (job, frame);
        todo!()
    }
}

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
