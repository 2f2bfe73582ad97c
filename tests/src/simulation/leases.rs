//! Property: no lease lives past its deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use farm_core::scheduler::{Command, Effect, HeldLease};
use farm_core::{LeaseId, NodeId, Timestamp};

use super::check::{Checked, ensure};

/// The leases that are out, from what the scheduler was told and what it asked
/// for: a lease lives for the timeout after it was granted, and after each sign of
/// life of it or, while it has not begun, of an earlier one of its node.
#[derive(Debug, Default)]
pub(super) struct Leases {
    out: BTreeMap<(NodeId, LeaseId), Life>,
    by_deadline: BTreeSet<(Timestamp, NodeId, LeaseId)>,
}

#[derive(Clone, Copy, Debug)]
struct Life {
    deadline: Timestamp,
    has_begun: bool,
}

impl Leases {
    /// What a command says of leases, before the scheduler hears it.
    pub(super) fn hear(&mut self, now: Timestamp, command: &Command, timeout: Duration) {
        match command {
            Command::JoinNode { node, holding, .. } => {
                self.end_all(*node);
                // Those that the scheduler does not take over it revokes.
                for HeldLease { lease, .. } in holding {
                    self.begin(now.after(timeout), *node, *lease);
                }
            }
            Command::LeaveNode(node) => self.end_all(*node),
            Command::ReportFailure { node, lease, .. } => self.end(*node, *lease),
            Command::ReportProgress { node, lease, samples } => {
                self.extend(now.after(timeout), *node, *lease, *samples > 0);
            }
            _ => {}
        }
    }

    /// What the scheduler asks for.
    pub(super) fn see(&mut self, now: Timestamp, effect: &Effect, timeout: Duration) {
        match effect {
            Effect::Grant { node, lease } => self.begin(now.after(timeout), *node, lease.id),
            Effect::Revoke { node, lease } | Effect::Settle { node, lease, .. } => self.end(*node, *lease),
            Effect::Record(_) | Effect::Answer { .. } | Effect::Assemble { .. } => {}
        }
    }

    /// The master died, and all leases with it.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// No lease is out whose deadline was before `now`.
    pub(super) fn check(&self, now: Timestamp) -> Checked {
        let first = self.by_deadline.first();
        let late = first.filter(|(deadline, ..)| *deadline < now);
        ensure(late.is_none(), "no lease lives past its deadline", || format!("{late:?} at {now:?}"))
    }

    fn begin(&mut self, deadline: Timestamp, node: NodeId, lease: LeaseId) {
        self.end(node, lease);
        self.out.insert((node, lease), Life { deadline, has_begun: false });
        self.by_deadline.insert((deadline, node, lease));
    }

    fn end(&mut self, node: NodeId, lease: LeaseId) {
        if let Some(life) = self.out.remove(&(node, lease)) {
            self.by_deadline.remove(&(life.deadline, node, lease));
        }
    }

    fn end_all(&mut self, node: NodeId) {
        let leases = self.out.range((node, LeaseId(0))..=(node, LeaseId(u64::MAX)));
        for lease in leases.map(|((_, lease), _)| *lease).collect::<Vec<_>>() {
            self.end(node, lease);
        }
    }

    fn extend(&mut self, deadline: Timestamp, node: NodeId, reported: LeaseId, begins: bool) {
        for ((_, lease), life) in self.out.range_mut((node, reported)..=(node, LeaseId(u64::MAX))) {
            let is_reported = *lease == reported;
            life.has_begun |= is_reported && begins;
            if is_reported || !life.has_begun {
                self.by_deadline.remove(&(life.deadline, node, *lease));
                life.deadline = deadline;
                self.by_deadline.insert((deadline, node, *lease));
            }
        }
    }
}
