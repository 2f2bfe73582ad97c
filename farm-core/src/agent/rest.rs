//! How an agent gives way and rests: all of the node, or one lane of it.
//!
//! A lane that pauses delivers what is whole of its lease and begins no other; what
//! waits in the queue goes to the other lanes. When every lane pauses, the node
//! rests, just as if it had been told to.

use super::{Agent, AgentEffect, Drain, LaneIndex};
use crate::scheduler::FailureKind;

impl Agent {
    /// Whether the node takes nothing for now.
    pub(super) fn rests(&self) -> bool {
        self.told_to_rest || self.paused.iter().all(|paused| *paused)
    }

    pub(super) fn rest(&mut self, rests: bool) {
        let rested = self.rests();
        self.told_to_rest = rests;
        self.follow_rest(rested);
    }

    pub(super) fn pause_lane(&mut self, lane: LaneIndex, pauses: bool) {
        let rested = self.rests();
        let Some(paused) = self.paused.get_mut(lane.0 as usize) else { return };
        *paused = pauses;
        self.follow_rest(rested);
        if pauses {
            self.yield_lane(lane);
        }
    }

    /// What follows when the node begins to rest, or ends it.
    fn follow_rest(&mut self, rested: bool) {
        if self.drain != Drain::No || rested == self.rests() {
            return;
        }
        if self.connected {
            self.effects.push_back(if rested { AgentEffect::SendResume } else { AgentEffect::SendRest });
        }
        if rested {
            return;
        }
        for lease in self.queue.clone() {
            self.fail(lease, FailureKind::HandedBack, "the node is resting".into());
        }
        self.yield_lanes();
    }

    /// Asks every lane to stop and report what is whole of its lease.
    pub(super) fn yield_lanes(&mut self) {
        let lanes = u32::try_from(self.lanes.len()).expect("lanes are counted by a u32");
        (0..lanes).map(LaneIndex).for_each(|lane| self.yield_lane(lane));
    }

    fn yield_lane(&mut self, lane: LaneIndex) {
        let Some(Some(rendering)) = self.lanes.get_mut(lane.0 as usize) else { return };
        if !std::mem::replace(&mut rendering.yields, true) {
            self.effects.push_back(AgentEffect::YieldRender { lane, lease: rendering.lease });
        }
    }
}
