//! Who gets what: the choice of job, frame, rectangle and size for a node.
//!
//! **Jobs.** The highest priority first. Among equals, nodes are shared evenly:
//! a node stays with its job, so that it need not load another scene, unless
//! some other job has at least two nodes fewer; then the older job first.
//!
//! **Frames** go first to last, and in a frame the first block of every
//! rectangle comes first, so that the whole picture is soon visible.
//!
//! **Sizes.** A node whose speed on the job is not known yet is given single
//! blocks. After that a lease is what takes [`Limits::lease_target`] there. If
//! that is enough for a whole rectangle, the whole range is leased at once,
//! first block and all: the picture is then complete nearly as soon, and the
//! result need not be summed with others. Towards the end of a job a lease is
//! at most a fair part of what is left, `left / (2 × lanes × leases_per_lane)`:
//! the leases that a lane holds together are then at most half its even share,
//! so no node works on alone for long (guided self-scheduling).
//!
//! **Tiles that failed** on a node are not given to it again as long as some
//! other connected node could take them. When all of them failed, they are
//! tried again, after each node's pause, until `attempts_per_tile`.

use std::ops::Bound;

use super::desk::Desk;
use super::effect::{Effect, Lease};
use super::floor::Floor;
use super::node::{Held, Node};
use super::pool::Appetite;
use super::state::{JobRecord, State};
use crate::id::{FrameNumber, JobId, LeaseId, NodeId};
use crate::limits::Limits;
use crate::plan;
use crate::tile::{BASE_BLOCK_SAMPLES, BlockRange, RectIndex, TileId};
use crate::time::Timestamp;

/// One round of granting.
pub(super) struct Round<'a> {
    pub(super) state: &'a State,
    pub(super) floor: &'a mut Floor,
    pub(super) limits: &'a Limits,
    pub(super) now: Timestamp,
}

impl Round<'_> {
    /// Grants whatever can be granted after a command, as effects.
    ///
    /// Only nodes whose own room changed are looked at, unless something became
    /// free that any hungry node may want: a node that found nothing before
    /// finds nothing now either.
    pub(super) fn grant(&mut self, mut emit: impl FnMut(Effect)) {
        let touched = std::mem::take(&mut self.floor.touched);
        if !std::mem::take(&mut self.floor.offer) {
            for node in &touched {
                while self.wants_more(*node) && self.grant_one(*node, &mut emit) {}
                self.update_hunger(*node);
            }
            return;
        }
        for node in &touched {
            self.update_hunger(*node);
        }
        let mut refused = Vec::new();
        while !self.floor.ready.is_empty()
            && let Some((load, node)) = self.floor.hungry.pop_first()
        {
            if let Some(node) = self.floor.nodes.get_mut(&node) {
                node.hunger = None;
            }
            if self.grant_one(node, &mut emit) {
                self.update_hunger(node);
            } else {
                refused.push((load, node));
            }
        }
        for (load, id) in refused {
            if let Some(node) = self.floor.nodes.get_mut(&id) {
                node.hunger = Some(load);
                self.floor.hungry.insert((load, id));
            }
        }
    }

    /// Whether a node has room for another lease.
    fn wants_more(&self, id: NodeId) -> bool {
        let Some(node) = self.floor.nodes.get(&id) else { return false };
        if !node.is_active() || node.paused_until.is_some() {
            return false;
        }
        let lanes = node.lanes as usize;
        let few = lanes.saturating_mul(self.limits.leases_per_lane as usize);
        let many = lanes.saturating_mul(self.limits.leases_per_lane_max as usize);
        let target_us = micros(self.limits.queue_target).saturating_mul(u64::from(node.lanes));
        let held = node.leases.len();
        held < few || (held < many && node.queued_us < target_us)
    }

    /// Brings a node's place among the hungry ones up to date.
    fn update_hunger(&mut self, id: NodeId) {
        let wants = self.wants_more(id);
        let Some(node) = self.floor.nodes.get_mut(&id) else { return };
        let held = u32::try_from(node.leases.len()).unwrap_or(u32::MAX);
        let hunger = wants.then(|| held / node.lanes.max(1));
        if hunger != node.hunger {
            if let Some(old) = std::mem::replace(&mut node.hunger, hunger) {
                self.floor.hungry.remove(&(old, id));
            }
            self.floor.hungry.extend(hunger.map(|load| (load, id)));
        }
    }

    /// Grants one lease to a node, of the first job that has one for it.
    fn grant_one(&mut self, node: NodeId, emit: &mut impl FnMut(Effect)) -> bool {
        if let Some(job) = self.stay_with(node)
            && self.grant_of(node, job, emit)
        {
            return true;
        }
        let mut next = self.floor.ready.first().copied();
        while let Some(key) = next {
            if self.grant_of(node, key.2, emit) {
                return true;
            }
            next = self.floor.ready.range((Bound::Excluded(key), Bound::Unbounded)).next().copied();
        }
        false
    }

    /// The job that a node works on, if it may go on with it.
    fn stay_with(&self, node: NodeId) -> Option<JobId> {
        let job = self.floor.nodes.get(&node)?.job?;
        let (priority, nodes, _) = self.floor.jobs.get(&job)?.ready?;
        let (best_priority, fewest_nodes, _) = *self.floor.ready.first()?;
        (priority == best_priority && nodes <= fewest_nodes + 1).then_some(job)
    }

    /// Grants a lease of this job, if it has one for the node.
    fn grant_of(&mut self, id: NodeId, job: JobId, emit: &mut impl FnMut(Effect)) -> bool {
        let Some(tile) = self.take_tile(id, job) else { return false };
        let Some(record) = self.state.jobs.get(&job) else { return false };
        let Some(rect) = plan::rect_at(record.spec.resolution, record.spec.tile_size, tile.rect) else {
            return false;
        };
        self.floor.assign(self.state, id, job);
        let lease = self.new_lease_id(id);
        let held = self.hold(id, record, tile);
        self.floor.lend(self.state, id, lease, held);
        emit(Effect::Grant { node: id, lease: Lease { id: lease, tile, rect } });
        true
    }

    /// A lease's entry in the books, with its first deadline.
    pub(super) fn hold(&self, id: NodeId, record: &JobRecord, tile: TileId) -> Held {
        let samples = record.samples_of(&tile);
        let speed = self.floor.nodes.get(&id).and_then(|node| node.speed(tile.job));
        let unknown = micros(self.limits.queue_target);
        let predicted_us = speed.map_or(unknown, |speed| samples.saturating_mul(1_000_000) / speed.max(1));
        let deadline = self.now.after(self.limits.lease_timeout);
        Held { tile, samples, predicted_us: predicted_us.min(1 << 40), deadline, started: false }
    }

    /// A number that no lease of this node has: those of an earlier life are
    /// numbered by it, and one that invents numbers hurts nobody.
    fn new_lease_id(&mut self, id: NodeId) -> LeaseId {
        loop {
            let lease = LeaseId(self.floor.next_lease);
            self.floor.next_lease = self.floor.next_lease.wrapping_add(1);
            if !self.floor.nodes.get(&id).is_some_and(|node| node.leases.contains_key(&lease)) {
                return lease;
            }
        }
    }

    /// Takes a free tile of this job that suits the node.
    fn take_tile(&mut self, id: NodeId, job: JobId) -> Option<TileId> {
        let record = self.state.jobs.get(&job)?;
        let node = self.floor.nodes.get(&id)?;
        if node.excluded.contains(&job) {
            return None;
        }
        let floor = self.floor.jobs.get(&job)?;
        let appetite = appetite(node, job, record, floor, self.floor.active_lanes, self.limits);
        let mut after = Bound::Unbounded;
        loop {
            let floor = self.floor.jobs.get(&job)?;
            let begun = floor.free_frames.range((after, Bound::Unbounded)).next().copied();
            let frame = match begun {
                Some(frame) => frame,
                None => self.floor.jobs.get_mut(&job)?.begin_next_frame(record)?,
            };
            if let Some((rect, range)) = self.take_of_frame(id, job, record, frame, appetite) {
                return Some(TileId { job, frame, rect, range });
            }
            after = Bound::Excluded(frame);
        }
    }

    fn take_of_frame(
        &mut self,
        id: NodeId,
        job: JobId,
        record: &JobRecord,
        frame: FrameNumber,
        appetite: Appetite,
    ) -> Option<(RectIndex, BlockRange)> {
        let Floor { nodes, jobs, active_nodes, .. } = &mut *self.floor;
        let Desk { pools, excluded, .. } = jobs.get_mut(&job)?;
        let takers = (*active_nodes as usize).saturating_sub(excluded.len());
        let could_take =
            |id: &NodeId| nodes.get(id).is_some_and(|node| node.is_active() && !excluded.contains(id));
        // A rectangle that failed on this node, while another could take it.
        let is_barred = |rect: RectIndex| {
            let strikes = record.strikes.get(&(frame, rect));
            strikes.is_some_and(|strikes| {
                let struck = strikes.nodes.iter().filter(|id| could_take(id)).count();
                strikes.nodes.contains(&id) && takers > struck
            })
        };
        pools.get_mut(&frame)?.take(appetite, is_barred)
    }
}

/// How much of a job a node should be lent at once.
fn appetite(
    node: &Node,
    job: JobId,
    record: &JobRecord,
    floor: &Desk,
    lanes: u64,
    limits: &Limits,
) -> Appetite {
    let Some(speed) = node.speed(job) else { return Appetite { level: 0, whole: false } };
    let target = u128::from(speed) * u128::from(micros(limits.lease_target)) / 1_000_000;
    let mut target = u64::try_from(target).unwrap_or(u64::MAX);
    if lanes > 1 {
        let left = record.samples().saturating_sub(record.samples_done).saturating_sub(floor.leased_samples);
        target = target.min(left / (2 * lanes * u64::from(limits.leases_per_lane.max(1))));
    }
    let edge = u64::from(record.spec.tile_size);
    let area = (edge * edge).min(record.spec.resolution.area());
    let blocks = target / (area * u64::from(BASE_BLOCK_SAMPLES));
    Appetite {
        level: u8::try_from(blocks.checked_ilog2().unwrap_or(0)).expect("a logarithm of a u64 is below 64"),
        whole: target >= area.saturating_mul(record.spec.settings.samples_per_pixel.into()),
    }
}

/// Whole microseconds of a duration.
fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
