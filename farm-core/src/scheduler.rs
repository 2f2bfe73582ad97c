//! The master's half of the farm as a closed state machine.
//!
//! [`Scheduler::handle`] takes one [`Command`] at a time; `decide` turns it into
//! [`Fact`]s, `State::apply` records them, and what must happen in the world is
//! queued as [`Effect`]s. The driver commits every [`Effect::Record`] before it
//! performs any effect that follows it: persist, then send.

mod audit;
mod backup;
mod blocklist;
mod command;
mod conduct;
mod cost;
mod decide;
mod desk;
mod effect;
mod fact;
mod fit;
mod floor;
mod follow;
mod grant;
mod node;
mod part;
mod pool;
mod ratio;
mod share;
mod stakes;
mod state;
#[cfg(test)]
mod tests;
mod unfit;
mod view;

use std::collections::VecDeque;

pub use command::{Command, Equipment, FailureKind, HeldLease, NodeChange, Quota};
pub use effect::{Answer, Effect, Lease, RefusedReason, Verdict};
pub use fact::Fact;
pub use state::{
    Entry, FailureCountPart, HoldPart, JobPart, SNAPSHOT_VERSION, SnapshotError, SnapshotPart, State,
    StrikePart, TilePart,
};
pub use view::{AcceptedTile, BlockedJob, JobShare, JobStatus, JobView, NodeStanding, NodeView};

use crate::id::{FrameNumber, JobId, NodeId};
use crate::job::JobSpec;
use crate::limits::Limits;
use crate::tile::RectIndex;
use crate::time::Timestamp;
use decide::{Reply, decide};
use floor::Floor;
use grant::Round;

/// The scheduler; see the module's documentation.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    state: State,
    floor: Floor,
    effects: VecDeque<Effect>,
    opening: Opening,
}

/// Whether leases are granted yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// Open jobs were restored, and the clock was not seen yet.
    Restored,
    /// Not before then: until then nodes come back with the leases that they hold,
    /// and what they hold would be granted twice.
    At(Timestamp),
    Open,
}

impl Scheduler {
    /// Builds the state that `facts` describe. Leases are volatile: nodes say
    /// on joining what they still hold. `epoch` is different in each life of
    /// the master (only its lower 24 bits count), so that lease numbers never
    /// repeat. Frames that are complete but not delivered are assembled again,
    /// so poll effects at once.
    #[must_use]
    pub fn restore(facts: impl IntoIterator<Item = Fact>, limits: Limits, epoch: u32) -> Self {
        let mut state = State::new(&limits);
        for fact in facts {
            state.apply(&fact);
        }
        Self::resume(state, limits, epoch)
    }

    /// As [`Scheduler::restore`], from a state that [`State::restore`] built
    /// with the same limits.
    #[must_use]
    pub fn resume(state: State, limits: Limits, epoch: u32) -> Self {
        let floor = Floor::new(epoch, &limits);
        let opening = Opening::Restored;
        let mut scheduler = Self { limits, state, floor, effects: VecDeque::new(), opening };
        scheduler.open_restored_jobs();
        if scheduler.floor.jobs.is_empty() {
            scheduler.opening = Opening::Open;
        }
        scheduler
    }

    /// Takes one command at the time `now`, which never goes back.
    pub fn handle(&mut self, now: Timestamp, command: Command) {
        self.floor.begin_time(now);
        if let Command::JoinNode { node, .. } | Command::LeaveNode(node) = &command {
            self.withhold_grants(*node);
        }
        let decision = decide(&self.state, &self.floor, &self.limits, now, &command);
        for fact in &decision.facts {
            self.state.apply(fact);
            self.effects.push_back(Effect::Record(fact.clone()));
        }
        self.effects.extend(decision.reply.as_ref().map(Reply::effect));
        for fact in &decision.facts {
            self.follow_fact(fact);
        }
        self.follow_command(now, command, &decision);
        if !self.is_open(now) {
            return;
        }
        let mut round = Round { state: &self.state, floor: &mut self.floor, limits: &self.limits, now };
        round.grant(|effect| self.effects.push_back(effect));
    }

    /// Whether leases are granted at this time.
    fn is_open(&mut self, now: Timestamp) -> bool {
        if self.opening == Opening::Restored {
            self.opening = Opening::At(now.after(self.limits.rejoin_grace));
        }
        if let Opening::At(at) = self.opening
            && at <= now
        {
            self.opening = Opening::Open;
            self.floor.offer = true;
        }
        self.opening == Opening::Open
    }

    /// How long nothing is granted yet because nodes of an earlier life may come back.
    fn rejoin_left(&self) -> Option<std::time::Duration> {
        let left = match self.opening {
            Opening::Restored => self.limits.rejoin_grace,
            Opening::At(at) => at.since(self.floor.now.unwrap_or_default()),
            Opening::Open => std::time::Duration::ZERO,
        };
        (!left.is_zero()).then_some(left)
    }

    /// Takes back the leases for a node that nobody has sent: they end with its
    /// connection, and the next one must not get them.
    fn withhold_grants(&mut self, id: NodeId) {
        self.effects.retain(|effect| !matches!(effect, Effect::Grant { node, .. } if *node == id));
    }

    /// The next effect to perform, until `None`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call [`Scheduler::handle`] with [`Command::Tick`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let opens_at = match self.opening {
            Opening::At(at) => Some(at),
            Opening::Restored | Opening::Open => None,
        };
        opens_at.into_iter().chain(self.floor.next_timer()).min()
    }

    /// What the recorded facts add up to, for comparison with a restored one.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Every job, by number.
    pub fn jobs(&self) -> impl Iterator<Item = JobView> + '_ {
        let rejoin = self.rejoin_left();
        self.state.jobs.iter().map(move |(job, record)| view::job_view(&self.floor, rejoin, *job, record))
    }

    /// One job.
    #[must_use]
    pub fn job(&self, job: JobId) -> Option<JobView> {
        let record = self.state.jobs.get(&job)?;
        Some(view::job_view(&self.floor, self.rejoin_left(), job, record))
    }

    /// The spec of a job.
    #[must_use]
    pub fn spec(&self, job: JobId) -> Option<&JobSpec> {
        self.state.jobs.get(&job).map(|record| &*record.spec)
    }

    /// Samples of a job that were granted a second time, as copies of late leases
    /// that are not holders by now; for simulators, as [`JobView::backup_samples`].
    #[must_use]
    pub fn copied_samples(&self, job: JobId) -> u64 {
        self.floor.jobs.get(&job).map_or(0, |desk| desk.backup_samples)
    }

    /// Every connected node, by number.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView> + '_ {
        let nodes = self.floor.nodes.iter();
        nodes.map(|(id, node)| view::node_view(&self.state, &self.floor, &self.limits, *id, node))
    }

    /// The nodes that people hold back and that are not connected, by number.
    pub fn absent_nodes(&self) -> impl Iterator<Item = (NodeId, NodeStanding)> + '_ {
        view::absent_nodes(&self.state, &self.floor)
    }

    /// The accepted tiles of a frame, in plan order (by rectangle, then by
    /// first block): what the assembler sums. The ranges of each rectangle are
    /// disjoint; the frame is complete when they cover it. Empty once the frame
    /// is delivered or the job cancelled. The rectangles of [`Scheduler::kept`]
    /// are not among them.
    #[must_use]
    pub fn accepted(&self, job: JobId, frame: FrameNumber) -> Vec<AcceptedTile> {
        let record = self.state.jobs.get(&job);
        record.map_or_else(Vec::new, |record| view::accepted_tiles(job, record, frame))
    }

    /// The rectangles of a frame that are in the file that it was delivered in
    /// before others of it were asked for again.
    #[must_use]
    pub fn kept(&self, job: JobId, frame: FrameNumber) -> Vec<RectIndex> {
        let frame = self.state.jobs.get(&job).and_then(|record| record.frames.get(&frame));
        frame.map_or_else(Vec::new, |frame| frame.kept.iter().copied().collect())
    }
}
