//! The master's half of the farm as a closed state machine.
//!
//! [`Scheduler::handle`] takes one [`Command`] at a time; `decide` turns it into
//! [`Fact`]s, `State::apply` records them, and what must happen in the world is
//! queued as [`Effect`]s. The driver commits every [`Effect::Record`] before it
//! performs any effect that follows it: persist, then send.

mod command;
mod effect;
mod fact;
mod view;

pub use command::{Command, FailureKind, HeldLease};
pub use effect::{Answer, Effect, Lease, RefusedReason, Verdict};
pub use fact::Fact;
pub use view::{AcceptedTile, JobStatus, JobView, NodeView};

use crate::id::{FrameNumber, JobId};
use crate::job::JobSpec;
use crate::limits::Limits;
use crate::time::Timestamp;

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
