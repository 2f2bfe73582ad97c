//! Which nodes get no more of a job, because they failed on it too often.
//!
//! Failures are counted for each job, node and kind. Kinds that may be the job's
//! fault are recorded, so their counts are part of the recorded state and follow
//! from the facts; the others are the node's own trouble, of which nothing is
//! recorded, and are counted on the floor, where they outlive the connection but
//! not the scheduler. Who is blocked follows from both counts and the limit and
//! is recorded nowhere, as with rectangles that failed too often: a life with
//! another limit judges anew.
//!
//! A block holds only while some other active node could take the job. So it
//! needs nobody to leave it, and where every node fails it is the tiles'
//! attempts that decide, which name the failures.

use std::collections::{BTreeMap, BTreeSet};

use super::command::FailureKind;
use super::floor::Floor;
use super::node::Node;
use super::state::State;
use crate::id::{JobId, NodeId};
use crate::limits::Limits;

/// What a failure weighs against tiles that were accepted: each of them takes one
/// off. A node that fails less than one lease in nine is never blocked, however
/// long the job; one that fails more is, in the end.
const FAILURE_WEIGHT: u32 = 8;

/// How often nodes failed on one job, by kind, less what they did well.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FailureCounts {
    weights: BTreeMap<(NodeId, FailureKind), u32>,
}

impl FailureCounts {
    /// Counts a failure.
    pub(super) fn fail(&mut self, node: NodeId, kind: FailureKind) {
        let weight = self.weights.entry((node, kind)).or_default();
        *weight = weight.saturating_add(FAILURE_WEIGHT);
    }

    /// Counts an accepted tile.
    pub(super) fn deliver(&mut self, node: NodeId) {
        // Nobody failed on most jobs, and this is done for every tile.
        if self.weights.is_empty() {
            return;
        }
        let weights = self.weights.range_mut(kinds_of(node));
        let lighter = weights.map(|(key, weight)| {
            *weight = weight.saturating_sub(1);
            (*key, *weight)
        });
        let made_good: Vec<_> = lighter.filter(|(_, weight)| *weight == 0).collect();
        for (key, _) in made_good {
            self.weights.remove(&key);
        }
    }

    /// Forgets a node; whether there was anything to forget.
    pub(super) fn forget(&mut self, node: NodeId) -> bool {
        let before = self.weights.len();
        self.weights.retain(|(failed, _), _| *failed != node);
        self.weights.len() < before
    }

    pub(super) fn clear(&mut self) {
        self.weights.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// Whether a node failed and has not made good for it.
    pub(super) fn names(&self, node: NodeId) -> bool {
        self.weights.range(kinds_of(node)).next().is_some()
    }

    /// What is counted, by node and kind.
    pub(super) fn weights(&self) -> impl ExactSizeIterator<Item = (NodeId, FailureKind, u32)> + '_ {
        self.weights.iter().map(|((node, kind), weight)| (*node, *kind, *weight))
    }

    /// Puts back what [`FailureCounts::weights`] gave.
    pub(super) fn put(&mut self, node: NodeId, kind: FailureKind, weight: u32) {
        if weight > 0 {
            self.weights.insert((node, kind), weight);
        }
    }

    /// The kinds that a node failed by too often.
    fn too_often(&self, node: NodeId, limits: &Limits) -> impl Iterator<Item = FailureKind> + '_ {
        let most = limits.failures_per_block.max(1).saturating_mul(FAILURE_WEIGHT);
        let weights = self.weights.range(kinds_of(node));
        weights.filter(move |(_, weight)| **weight >= most).map(|((_, kind), _)| *kind)
    }

    fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.weights.keys().map(|(node, _)| *node)
    }
}

fn kinds_of(node: NodeId) -> std::ops::RangeInclusive<(NodeId, FailureKind)> {
    (node, FailureKind::FIRST)..=(node, FailureKind::LAST)
}

impl Floor {
    /// The kinds that a node failed by too often on a job.
    pub(super) fn blocking_kinds(
        &self,
        state: &State,
        limits: &Limits,
        node: NodeId,
        job: JobId,
    ) -> BTreeSet<FailureKind> {
        let recorded = state.jobs.get(&job).map(|record| &record.failed_on);
        let own = self.jobs.get(&job).map(|desk| &desk.troubled);
        recorded.into_iter().chain(own).flat_map(|counts| counts.too_often(node, limits)).collect()
    }

    /// Brings the list of a job's blocked nodes up to date with regard to one.
    pub(super) fn refresh_block(&mut self, state: &State, limits: &Limits, node: NodeId, job: JobId) {
        let is_blocked = !self.blocking_kinds(state, limits, node, job).is_empty();
        let Some(desk) = self.jobs.get_mut(&job) else { return };
        let changed = match is_blocked {
            true => desk.blocked.insert(node),
            false => desk.blocked.remove(&node),
        };
        if changed {
            match is_blocked {
                true => self.blocks.insert((node, job)),
                false => self.blocks.remove(&(node, job)),
            };
            // A node that was blocked before may now be the only one left.
            self.offer = true;
        }
    }

    /// Brings a job's list of blocked nodes up to date.
    pub(super) fn refresh_blocks(&mut self, state: &State, limits: &Limits, job: JobId) {
        let Some(desk) = self.jobs.get(&job) else { return };
        let mut nodes = desk.blocked.clone();
        nodes.extend(desk.troubled.nodes());
        nodes.extend(state.jobs.get(&job).into_iter().flat_map(|record| record.failed_on.nodes()));
        for node in nodes {
            self.refresh_block(state, limits, node, job);
        }
    }

    /// Forgets what a node did on every job.
    pub(super) fn unblock(&mut self, state: &State, limits: &Limits, node: NodeId) {
        let blocked: Vec<JobId> = self.blocked_jobs(node).collect();
        for desk in self.jobs.values_mut() {
            desk.troubled.forget(node);
        }
        for job in blocked {
            self.refresh_block(state, limits, node, job);
        }
    }

    /// The jobs that a node is blocked from.
    pub(super) fn blocked_jobs(&self, node: NodeId) -> impl Iterator<Item = JobId> + '_ {
        self.blocks.range((node, JobId(0))..=(node, JobId(u64::MAX))).map(|(_, job)| *job)
    }

    /// Whether a node is to be passed over for a job: blocked, while some other
    /// could take it.
    pub(super) fn is_passed_over(&self, node: NodeId, job: JobId) -> bool {
        self.blocks.contains(&(node, job)) && self.takers(job) > 0
    }

    /// Active nodes that can take a job and are not blocked from it.
    pub(super) fn takers(&self, job: JobId) -> usize {
        let Some(desk) = self.jobs.get(&job) else { return 0 };
        let suits = |node: &Node| node.is_active() && node.fit.suits(&desk.profile);
        let unfit = desk.excluded.union(&desk.blocked);
        let unfit = unfit.filter(|node| self.nodes.get(node).is_some_and(suits));
        (self.crew.suiting(&desk.profile) as usize).saturating_sub(unfit.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(5);

    fn blocked_after(failures: u32, tiles_between: u32) -> bool {
        let mut counts = FailureCounts::default();
        for _ in 0..failures {
            counts.fail(NODE, FailureKind::Render);
            (0..tiles_between).for_each(|_| counts.deliver(NODE));
        }
        counts.too_often(NODE, &Limits { failures_per_block: 5, ..Limits::default() }).next().is_some()
    }

    #[test]
    fn failures_weigh_as_much_as_eight_tiles() {
        assert_eq!((blocked_after(4, 0), blocked_after(5, 0)), (false, true));
        assert_eq!((blocked_after(32, 7), blocked_after(40, 7)), (false, true), "one lease in eight");
        assert!(!blocked_after(10_000, 8), "one lease in nine");
    }

    #[test]
    fn kinds_and_nodes_are_counted_apart() {
        let mut counts = FailureCounts::default();
        for kind in [FailureKind::OutOfMemory, FailureKind::TimedOut] {
            (0..4).for_each(|_| counts.fail(NODE, kind));
            (0..5).for_each(|_| counts.fail(NodeId(6), kind));
        }
        let too_often = |node| counts.too_often(node, &Limits::default()).collect::<Vec<_>>();
        assert_eq!(too_often(NODE), []);
        assert_eq!(too_often(NodeId(6)), [FailureKind::OutOfMemory, FailureKind::TimedOut]);
        assert!(counts.forget(NodeId(6)) && !counts.forget(NodeId(6)));
        assert!(counts.names(NODE) && !counts.names(NodeId(6)));
    }
}
