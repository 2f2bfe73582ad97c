//! What the agent is told and what it asks for.

use crate::id::{BlobDigest, JobId, LeaseId};
use crate::job::JobSpec;
use crate::scheduler::{FailureKind, Lease};
use crate::tile::RenderTask;

/// A lane of the node: one adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneIndex(pub u32);

/// What the world tells the agent.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentCommand {
    /// The control stream to the master is up.
    Connect,
    /// It is down; finished tiles are kept and sent on the next connection.
    Disconnect,
    /// The master described a job; comes before its first lease.
    OpenJob {
        /// The job.
        job: JobId,
        /// What it is.
        spec: Box<JobSpec>,
    },
    /// The master granted a lease.
    TakeLease(Lease),
    /// The master wants a lease dropped.
    DropLease(LeaseId),
    /// A blob is in the cache.
    StoreBlob(BlobDigest),
    /// The cache gave a blob up; never one that [`Agent::pinned`](super::Agent::pinned) names.
    EvictBlob(BlobDigest),
    /// A blob could not be had.
    MissBlob {
        /// The blob.
        digest: BlobDigest,
        /// Why it matters to the scheduler.
        kind: FailureKind,
        /// For people.
        message: String,
    },
    /// A lane got this far with its lease.
    ReportProgress {
        /// The lane.
        lane: LaneIndex,
        /// The lease.
        lease: LeaseId,
        /// Samples done.
        samples: u64,
    },
    /// A lane finished its lease; the driver keeps the encoded tile until the
    /// master answered.
    FinishRender {
        /// The lane.
        lane: LaneIndex,
        /// The lease.
        lease: LeaseId,
    },
    /// A lane could not render its lease.
    FailRender {
        /// The lane.
        lane: LaneIndex,
        /// The lease.
        lease: LeaseId,
        /// Why it matters to the scheduler.
        kind: FailureKind,
        /// For people.
        message: String,
    },
    /// A lane stopped as [`AgentEffect::YieldRender`] asked, and had whole ranges of
    /// its lease's samples: the driver keeps them as tiles of their own, this many.
    YieldRender {
        /// The lane.
        lane: LaneIndex,
        /// The lease.
        lease: LeaseId,
        /// How many, at least one.
        tiles: u32,
    },
    /// A finished tile cannot be sent after all.
    LoseTile {
        /// Its lease.
        lease: LeaseId,
        /// Why it matters to the scheduler.
        kind: FailureKind,
        /// For people.
        message: String,
    },
    /// The master answered a delivered tile of this lease (accepted, duplicate or
    /// rejected): it need not be kept.
    SettleTile(LeaseId),
    /// Finish what is rendering, hand back the rest, take nothing new, and
    /// leave when every tile is settled. After
    /// [`Limits::drain_patience`](crate::Limits::drain_patience), or said a second
    /// time: hand back what is rendering as well, less what is whole of it. Said a
    /// third time: do not wait for that either.
    Drain,
    /// Hand back everything, less what is whole of it, and take nothing new for now.
    Rest,
    /// Take leases again.
    Resume,
    /// Time passed.
    Tick,
}

/// What the driver must do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentEffect {
    /// Fetch a blob into the cache, then say `StoreBlob` or `MissBlob`.
    FetchBlob(BlobDigest),
    /// Render on a lane; every blob of the job is in the cache.
    StartRender {
        /// The lane.
        lane: LaneIndex,
        /// The lease.
        lease: LeaseId,
        /// The job, for its scene.
        job: JobId,
        /// What to render.
        task: Box<RenderTask>,
    },
    /// Stop rendering a lease that nobody wants any more. The agent takes the
    /// lane to be free at once, so the lane must take its work in order; a
    /// report about the lease that crosses this effect is harmless.
    StopRender {
        /// The lane.
        lane: LaneIndex,
        /// The lease.
        lease: LeaseId,
    },
    /// Stop rendering a lease and report what is whole of it
    /// ([`AgentCommand::YieldRender`]), or that nothing is
    /// ([`AgentCommand::FailRender`]); or that it was just finished.
    YieldRender {
        /// The lane.
        lane: LaneIndex,
        /// The lease.
        lease: LeaseId,
    },
    /// Send the finished tiles of a lease, of which there is one unless it yielded.
    SendTile(LeaseId),
    /// Forget the encoded tiles of a lease.
    ForgetTile(LeaseId),
    /// Tell the master how far a lease is; at most one each
    /// [`Limits::progress_interval`](crate::Limits::progress_interval) for a lease.
    SendProgress {
        /// The lease.
        lease: LeaseId,
        /// Samples done: 0 while blobs are fetched, then at least 1.
        samples: u64,
    },
    /// Tell the master that a lease failed or is handed back.
    SendFailure {
        /// The lease.
        lease: LeaseId,
        /// The kind.
        kind: FailureKind,
        /// For people.
        message: String,
    },
    /// Tell the master to grant nothing more (it says `DrainNode`); said again
    /// on every new connection while the node drains.
    SendDrain,
    /// Tell the master to grant nothing for now (it says `RestNode`); said again on
    /// every new connection while the node rests.
    SendRest,
    /// Tell the master that the node takes leases again.
    SendResume,
    /// The drain is over: close the connection and leave.
    Leave,
}
