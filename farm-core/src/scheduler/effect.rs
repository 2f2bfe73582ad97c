//! Effects: what the driver must do in the world, in the imperative.

use serde::{Deserialize, Serialize};

use super::fact::Fact;
use crate::id::{FrameNumber, JobId, LeaseId, NodeId};
use crate::job::JobSpecError;
use crate::tile::{Rect, TileId};

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
    /// Answer a person's command.
    Answer {
        /// As in the command.
        request: u64,
        /// Done, or why not.
        answer: Result<Answer, RefusedReason>,
    },
    /// Answer a delivered tile: the node need not keep it any longer.
    Settle {
        /// The node.
        node: NodeId,
        /// The lease that the tile was delivered under.
        lease: LeaseId,
        /// What became of it.
        verdict: Verdict,
    },
    /// Send a lease to a node (and its job's spec first, once per connection).
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

/// The answer to a person's command that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The job was accepted under this number.
    Submitted(JobId),
    /// It is as the command wants it, perhaps already before.
    Done,
}

/// Why a person's command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedReason {
    /// The spec is out of bounds.
    #[error(transparent)]
    Spec(#[from] JobSpecError),
    /// The farm is full.
    #[error("the farm already has {0} open jobs, its limit; cancel one or wait until one is done")]
    TooManyJobs(u64),
    /// One of its users has too many.
    #[error("you already have {0} open jobs, the most that you may; cancel one or wait until one is done")]
    OpenJobsOfOwner(u64),
    /// One of its users asks for too much.
    #[error(
        "with this job you would have submitted {samples} samples within an hour, and you may {most}; wait, \
         or ask for fewer samples or pixels"
    )]
    SamplesOfOwner {
        /// Samples of the jobs of the last hour, and of this one.
        samples: u64,
        /// The most.
        most: u64,
    },
    /// Somebody invents tags.
    #[error(
        "open jobs already require {0} distinct tags, the most that there may be; use one of theirs, \
         or wait until some of them are done"
    )]
    TooManyTags(usize),
    /// No job has this number.
    #[error("there is no job {0}")]
    UnknownJob(JobId),
    /// A region beside the picture, or frames of another job.
    #[error("job {0} has no such frames, or nothing in that region")]
    NothingThere(JobId),
    /// Somebody invents nodes.
    #[error("{0} nodes are drained or banned, the most that are remembered; undrain or forgive some")]
    TooManyHeldBack(usize),
    /// The job is done or cancelled.
    #[error("job {0} is over: it is done or was cancelled")]
    JobOver(JobId),
}

/// What became of a delivered tile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is the tile's result, for ever.
    Accepted,
    /// Harmless: some of its samples were already there, or nobody wants them
    /// any more because the job was cancelled.
    Duplicate,
    /// It did not pass a check.
    Rejected {
        /// What was wrong, for people.
        reason: String,
    },
}
