//! The node's half of the farm, of the same shape as the scheduler.
//!
//! The agent decides what a node does next: which blobs to fetch, which lease
//! to render on which lane, what to send and what to keep while the master is
//! out of reach. Its driver owns the sockets, the disk and the adapters.

use std::collections::BTreeSet;

use crate::id::{BlobDigest, JobId, LeaseId};
use crate::job::JobSpec;
use crate::limits::Limits;
use crate::scheduler::{FailureKind, HeldLease, Lease};
use crate::tile::RenderTask;
use crate::time::Timestamp;

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
    /// The cache gave a blob up; never one that [`Agent::pinned`] names.
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
    /// The master answered a delivered tile (accepted, duplicate or rejected):
    /// it need not be kept.
    SettleTile(LeaseId),
    /// Finish what is rendering, hand back the rest, take nothing new, and
    /// leave when every tile is settled. Said a second time: hand back what is
    /// rendering as well.
    Drain,
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
    /// Stop rendering a lease that nobody wants any more.
    StopRender {
        /// The lane.
        lane: LaneIndex,
        /// The lease.
        lease: LeaseId,
    },
    /// Send a finished tile.
    SendTile(LeaseId),
    /// Forget the encoded tile of a lease.
    ForgetTile(LeaseId),
    /// Tell the master how far a lease is; at most one each
    /// [`Limits::progress_interval`] for a lease.
    SendProgress {
        /// The lease.
        lease: LeaseId,
        /// Samples done.
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
    /// The drain is over: close the connection and leave.
    Leave,
}

/// The agent; see the module's documentation.
#[derive(Debug)]
pub struct Agent {
    _todo: (),
}

impl Agent {
    /// An agent of `lanes` lanes whose cache holds `cached`.
    #[must_use]
    pub fn new(lanes: u32, cached: BTreeSet<BlobDigest>, limits: Limits) -> Self {
        let _ = (lanes, cached, limits);
        todo!()
    }

    /// Takes one command at the time `now`, which never goes back.
    pub fn handle(&mut self, now: Timestamp, command: AgentCommand) {
        let _ = (now, command);
        todo!()
    }

    /// The next effect to perform, until `None`.
    pub fn poll_effect(&mut self) -> Option<AgentEffect> {
        todo!()
    }

    /// When to call [`Agent::handle`] with [`AgentCommand::Tick`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        todo!()
    }

    /// What the agent holds, for the greeting on (re)connection: leases queued,
    /// rendering, or finished and not yet settled.
    #[must_use]
    pub fn holding(&self) -> Vec<HeldLease> {
        todo!()
    }

    /// Blobs that queued or rendering work needs: the cache must not evict them.
    #[must_use]
    pub fn pinned(&self) -> BTreeSet<BlobDigest> {
        todo!()
    }
}
