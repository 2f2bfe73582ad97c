//! What is remembered of nodes that failed lately: probation and quarantine.
//!
//! A node that fails repeatedly is put on **probation**: it is lent one lease at a
//! time for each lane, single blocks, until it has delivered some without a
//! failure between. If it fails as often again it is in **quarantine**, where it
//! is lent nothing, each time for longer, and after that on probation again.
//!
//! Only what speaks against the node counts: a lost device and a full disk always,
//! a failed render or a silent one once for each job, because the job may be at
//! fault. Too little memory is between the node and one job, and a blob that cannot
//! be had is the network's trouble; neither counts.
//!
//! This outlives the node's connection and not the scheduler: after a restart a
//! bad node fails a few more leases before it is where it was.

use std::collections::VecDeque;
use std::time::Duration;

use super::command::FailureKind;
use super::floor::{Floor, Timer};
use super::node::Node;
use crate::id::{JobId, NodeId};
use crate::limits::Limits;
use crate::time::Timestamp;

/// See the file's documentation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Conduct {
    /// Failures of the last while that have led to nothing yet, and on which job,
    /// where that may be at fault.
    failures: VecDeque<(Timestamp, Option<JobId>)>,
    stage: Stage,
    /// Quarantines since the node was last in good standing.
    quarantines: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Good,
    Probation {
        /// Tiles to deliver.
        left: u32,
    },
    Quarantine {
        until: Timestamp,
    },
}

impl Conduct {
    /// Takes note of a failure; of which job, if that may be at fault.
    fn fail(&mut self, now: Timestamp, job: Option<JobId>, limits: &Limits) {
        if matches!(self.stage, Stage::Quarantine { .. }) {
            // What it still held when that began.
            return;
        }
        self.forget_old(now, limits);
        self.failures.retain(|(_, failed)| failed.is_none() || *failed != job);
        self.failures.push_back((now, job));
        if let Stage::Probation { left } = &mut self.stage {
            *left = limits.probation_tiles.max(1);
        }
        if self.failures.len() < limits.failures_to_probation.max(1) {
            return;
        }
        self.failures.clear();
        self.stage = match self.stage {
            Stage::Good => Stage::Probation { left: limits.probation_tiles.max(1) },
            Stage::Probation { .. } | Stage::Quarantine { .. } => {
                let until = now.after(quarantine(self.quarantines, limits));
                self.quarantines = self.quarantines.saturating_add(1);
                Stage::Quarantine { until }
            }
        };
    }

    /// Takes note of an accepted tile.
    fn deliver(&mut self, now: Timestamp, limits: &Limits) {
        self.forget_old(now, limits);
        if let Stage::Probation { left } = &mut self.stage {
            *left = left.saturating_sub(1);
            if *left == 0 {
                *self = Self::default();
            }
        }
    }

    /// Ends a quarantine.
    fn release(&mut self, limits: &Limits) {
        if matches!(self.stage, Stage::Quarantine { .. }) {
            self.stage = Stage::Probation { left: limits.probation_tiles.max(1) };
        }
    }

    fn forget_old(&mut self, now: Timestamp, limits: &Limits) {
        self.failures.retain(|(at, _)| now.since(*at) < limits.probation_window);
    }

    pub(super) fn is_probation(&self) -> bool {
        matches!(self.stage, Stage::Probation { .. })
    }

    /// When its quarantine ends, if it is in one.
    pub(super) fn quarantined_until(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Quarantine { until } => Some(until),
            Stage::Good | Stage::Probation { .. } => None,
        }
    }

    fn is_spotless(&self) -> bool {
        *self == Self::default()
    }
}

/// How long the quarantine after `earlier` others is.
fn quarantine(earlier: u32, limits: &Limits) -> Duration {
    let factor = 1u32.checked_shl(earlier).unwrap_or(u32::MAX);
    limits.quarantine_min.saturating_mul(factor).min(limits.quarantine_max)
}

impl Floor {
    /// A node failed on a job by this kind.
    pub(super) fn note_failure(
        &mut self,
        now: Timestamp,
        id: NodeId,
        job: JobId,
        kind: FailureKind,
        limits: &Limits,
    ) {
        let job = match kind {
            FailureKind::DeviceLost | FailureKind::DiskFull => None,
            FailureKind::Render | FailureKind::TimedOut => Some(job),
            FailureKind::OutOfMemory
            | FailureKind::Incompatible
            | FailureKind::BlobUnavailable
            | FailureKind::HandedBack => return,
        };
        if !self.conducts.contains_key(&id) && self.conducts.len() >= limits.nodes_remembered {
            // Those whose failures are long ago make room, else this one is not
            // remembered: many others are worse.
            self.conducts.retain(|_, conduct| {
                conduct.forget_old(now, limits);
                !conduct.is_spotless()
            });
            if self.conducts.len() >= limits.nodes_remembered {
                return;
            }
        }
        let conduct = self.conducts.entry(id).or_default();
        let before = conduct.quarantined_until();
        conduct.fail(now, job, limits);
        let until = conduct.quarantined_until();
        if until != before {
            self.set_release_timer(until, id);
        }
        self.judge(id);
    }

    /// A tile of a node was accepted.
    pub(super) fn note_delivery(&mut self, now: Timestamp, id: NodeId, limits: &Limits) {
        let Some(conduct) = self.conducts.get_mut(&id) else { return };
        conduct.deliver(now, limits);
        if conduct.is_spotless() {
            self.conducts.remove(&id);
        }
        self.judge(id);
    }

    /// A quarantine's time is over.
    pub(super) fn release_node(&mut self, id: NodeId, limits: &Limits) {
        if let Some(conduct) = self.conducts.get_mut(&id) {
            conduct.release(limits);
        }
        self.judge(id);
    }

    /// Forgets what a node did.
    pub(super) fn forgive(&mut self, id: NodeId) {
        let Some(conduct) = self.conducts.remove(&id) else { return };
        if let Some(until) = conduct.quarantined_until() {
            self.remove_release_timer(until, id);
        }
        self.judge(id);
    }

    /// Brings a connected node in line with what is remembered of it.
    pub(super) fn judge(&mut self, id: NodeId) {
        let conduct = self.conducts.get(&id);
        let probation = conduct.is_some_and(Conduct::is_probation);
        let quarantined_until = conduct.and_then(Conduct::quarantined_until);
        self.change_node(id, |node| {
            node.probation = probation;
            node.quarantined_until = quarantined_until;
        });
        self.touched.push(id);
    }

    fn set_release_timer(&mut self, until: Option<Timestamp>, id: NodeId) {
        self.timers.extend(until.map(|at| (at, Timer::Release(id))));
    }

    fn remove_release_timer(&mut self, at: Timestamp, id: NodeId) {
        self.timers.remove(&(at, Timer::Release(id)));
    }
}

impl Node {
    /// Leases that a node may hold at once: on probation one for each lane.
    pub(super) fn most_leases(&self, per_lane: u32) -> usize {
        let per_lane = if self.probation { 1 } else { per_lane };
        (self.lanes as usize).saturating_mul(per_lane as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOBS: [Option<JobId>; 4] = [None, Some(JobId(1)), Some(JobId(2)), Some(JobId(3))];

    #[derive(Default)]
    struct Case {
        conduct: Conduct,
        limits: Limits,
        now: Timestamp,
    }

    impl Case {
        fn fail(&mut self, failures: impl IntoIterator<Item = Option<JobId>>) -> &mut Self {
            failures.into_iter().for_each(|job| self.conduct.fail(self.now, job, &self.limits));
            self
        }

        fn deliver(&mut self, tiles: u32) -> &mut Self {
            (0..tiles).for_each(|_| self.conduct.deliver(self.now, &self.limits));
            self
        }

        /// Seconds until the quarantine's end, which then passes.
        fn sit_out(&mut self) -> Option<u64> {
            let until = self.conduct.quarantined_until()?;
            let seconds = until.since(self.now).as_secs();
            self.now = until;
            self.conduct.release(&self.limits);
            Some(seconds)
        }
    }

    #[test]
    fn three_failures_within_the_window_put_a_node_on_probation() {
        let mut case = Case::default();
        assert!(!case.fail([JOBS[0], JOBS[1]]).conduct.is_probation());
        assert!(case.fail([JOBS[2]]).conduct.is_probation());
        let mut slow = Case::default();
        for _ in 0..100 {
            slow.fail([JOBS[0], JOBS[0]]);
            slow.now = slow.now.after(slow.limits.probation_window);
        }
        assert!(!slow.conduct.is_probation(), "two within any window");
    }

    #[test]
    fn one_bad_job_says_nothing_against_a_node() {
        let mut case = Case::default();
        case.fail([JOBS[1]; 1000]);
        assert_eq!(case.conduct.stage, Stage::Good);
        case.fail([JOBS[2], JOBS[1], JOBS[2]]);
        assert_eq!(case.conduct.stage, Stage::Good, "nor do two");
    }

    #[test]
    fn quarantines_grow_to_their_limit_until_the_node_does_well() {
        let mut case = Case::default();
        case.fail([None; 3]);
        assert_eq!(case.sit_out(), None, "probation comes first");
        for seconds in [30, 60, 120, 240, 480, 900, 900] {
            assert_eq!(case.fail([None; 3]).sit_out(), Some(seconds));
            assert!(case.conduct.is_probation(), "and comes again");
        }
        case.deliver(7).fail([None]).deliver(7);
        assert!(case.conduct.is_probation(), "eight in a row are asked for");
        case.deliver(1);
        assert!(case.conduct.is_spotless());
        case.fail([None; 3]);
        assert_eq!(case.fail([None; 3]).sit_out(), Some(30), "it begins anew");
    }

    #[test]
    fn failures_in_quarantine_do_not_prolong_it() {
        let mut case = Case::default();
        case.fail([None; 6]).fail([None; 50]);
        assert_eq!(case.sit_out(), Some(30));
        assert_eq!(case.fail([None; 2]).sit_out(), None);
    }
}
