//! Who gets what: the choice of job, frame, rectangle and size for a node.
//!
//! **Jobs.** Of those whose tags and memory the node has (`fit`), the highest
//! level first, which is the priority and what waiting added to it; among equals
//! the one that was served least for its weight (`share`). A node stays with its
//! job, so that it need not load another scene, until that is
//! [`Limits::share_slack`] ahead of the one that is served least. When it does
//! change, it takes of the jobs within half of that the one for which it has
//! the least to download.
//!
//! **Frames** go first to last, and in a frame the first block of every
//! rectangle comes first, so that the whole picture is soon visible.
//!
//! **Sizes.** A node whose speed on the job is not known yet is given single
//! blocks. After that a lease is what takes [`Limits::lease_target`] there. If
//! that is enough for a whole rectangle, the whole range is leased at once,
//! first block and all: the picture is then complete nearly as soon, and the
//! result need not be summed with others. Towards the end of a job a lease is
//! at most a fair part of what is left, `left × power / (2 × leases_per_lane)`,
//! where `power` is the lane's part of what the nodes on the job have: the
//! leases that a lane holds together are then at most half its share, so no node
//! works on alone for long (guided self-scheduling: Polychronopoulos and Kuck,
//! 1987). A node that would need longer for one block than the others for all
//! the rest is left out.
//!
//! **Tiles that failed** on a node are not given to it again as long as some
//! other connected node could take them. When all of them failed, they are
//! tried again, after each node's pause, until `attempts_per_tile`.

use std::cmp::Reverse;
use std::ops::Bound;

use super::desk::Desk;
use super::effect::{Effect, Lease};
use super::floor::Floor;
use super::node::{Held, Node};
use super::pool::Appetite;
use super::ratio::mul_div;
use super::share::{self, ReadyKey};
use super::state::{JobRecord, State};
use crate::id::{FrameNumber, JobId, LeaseId, NodeId};
use crate::limits::Limits;
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
        while let Some((load, node)) = self.floor.hungry.pop_for(&self.floor.ready) {
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
                self.floor.hungry.insert(node.fit, load, id);
            }
        }
    }

    /// Whether a node has room for another lease.
    fn wants_more(&self, id: NodeId) -> bool {
        let Some(node) = self.floor.nodes.get(&id) else { return false };
        if !node.is_active() || node.paused_until.is_some() {
            return false;
        }
        // Of a node of which nothing is known, on a farm of which something is, it
        // may well be that one block takes longer than all the rest.
        let is_probed = self.floor.usual_cost.is_none() || node.power.known().is_some();
        let few = node.most_leases(if is_probed { self.limits.leases_per_lane } else { 1 });
        let many = node.most_leases(self.limits.leases_per_lane_max);
        let target_us = micros(self.limits.queue_target).saturating_mul(u64::from(node.lanes));
        let held = node.leases.len();
        held < few || (held < many && node.queued_us < target_us)
    }

    /// Brings a node's place among the hungry ones up to date.
    pub(super) fn update_hunger(&mut self, id: NodeId) {
        let wants = self.wants_more(id);
        let Some(node) = self.floor.nodes.get_mut(&id) else { return };
        let held = u32::try_from(node.leases.len()).unwrap_or(u32::MAX);
        let hunger = wants.then(|| held / node.lanes.max(1));
        if hunger != node.hunger {
            if let Some(old) = std::mem::replace(&mut node.hunger, hunger) {
                self.floor.hungry.remove(node.fit, old, id);
            }
            if let Some(load) = hunger {
                self.floor.hungry.insert(node.fit, load, id);
            }
        }
    }

    /// Grants one lease to a node, of the first job that has one for it.
    fn grant_one(&mut self, id: NodeId, emit: &mut impl FnMut(Effect)) -> bool {
        let Some(fit) = self.floor.nodes.get(&id).map(|node| node.fit) else { return false };
        let Some(first) = self.floor.ready.next_for(&fit, None) else { return false };
        if let Some(job) = self.stay_with(id, first).or_else(|| self.nearest_to(id, first))
            && self.grant_of(id, job, emit)
        {
            return true;
        }
        let mut next = Some(first);
        while let Some(key) = next {
            if self.grant_of(id, key.2, emit) {
                return true;
            }
            next = self.floor.ready.next_for(&fit, Some(key));
        }
        false
    }

    /// The job that a node works on, if it may go on with it although `first`
    /// would come first.
    fn stay_with(&self, id: NodeId, first: ReadyKey) -> Option<JobId> {
        let job = self.floor.nodes.get(&id)?.job?;
        let key = self.floor.jobs.get(&job)?.ready?;
        let is_due = key == first || (key.0 == first.0 && key.1 <= first.1 + self.slack(first.0));
        is_due.then_some(job)
    }

    /// The job for which a node has the least to download, of those that come
    /// soon after `first`; of equals the one with the fewest nodes for its weight.
    fn nearest_to(&self, id: NodeId, first: ReadyKey) -> Option<JobId> {
        let node = self.floor.nodes.get(&id)?;
        let within = first.1 + self.slack(first.0) / 2;
        let keys = std::iter::successors(Some(first), |key| self.floor.ready.next_for(&node.fit, Some(*key)));
        let keys = keys.take(self.limits.affinity_choices.max(1));
        let keys = keys.take_while(|key| key.0 == first.0 && key.1 <= within);
        keys.map(|key| key.2).min_by_key(|job| (self.download_bytes(node, *job), self.crowd(*job)))
    }

    /// What a node would fetch for a job. Of a scene in parts for each frame,
    /// the one of the next frame counts.
    fn download_bytes(&self, node: &Node, job: JobId) -> u64 {
        let (Some(record), Some(desk)) = (self.state.jobs.get(&job), self.floor.jobs.get(&job)) else {
            return 0;
        };
        let begun = desk.free_frames.first().copied();
        let frame = begun.or_else(|| Some(FrameNumber(u32::try_from(desk.next_frame).ok()?)));
        let scene = frame.map_or(record.spec.scene, |frame| record.spec.scene_of(frame));
        if node.holds(&scene) { 0 } else { record.spec.needs.download_bytes.max(1) }
    }

    /// Nodes on a job for its weight, in 2^16ths: where they keep to the weights,
    /// passes keep level by themselves.
    fn crowd(&self, job: JobId) -> u64 {
        let desk = self.floor.jobs.get(&job);
        desk.map_or(0, |desk| (u64::from(desk.assigned) << 16) / u64::from(desk.stake.weight))
    }

    /// How far passes of a level may differ before a node changes jobs.
    fn slack(&self, level: Reverse<i32>) -> u128 {
        self.floor.classes.passes_in(level.0, self.limits.share_slack, self.floor.power())
    }

    /// Grants a lease of this job, if it has one for the node.
    fn grant_of(&mut self, id: NodeId, job: JobId, emit: &mut impl FnMut(Effect)) -> bool {
        if self.would_end_last(id, job) {
            return false;
        }
        let Some(tile) = self.take_tile(id, job) else { return false };
        let Some(record) = self.state.jobs.get(&job) else { return false };
        let Some(rect) = record.rect(tile.rect) else {
            return false;
        };
        self.floor.assign(id, job);
        self.floor.serve(job, self.limits);
        let lease = self.new_lease_id(id);
        let held = self.hold(id, record, tile);
        self.floor.lend(self.state, id, lease, held);
        if let Some(node) = self.floor.nodes.get_mut(&id) {
            node.note_scene(record.spec.scene_of(tile.frame), self.limits);
        }
        emit(Effect::Grant { node: id, lease: Lease { id: lease, tile, rect } });
        true
    }

    /// Whether even a single block would take a node so long that all the others
    /// would wait for it: more than twice what they need for all that is left,
    /// and more than the fastest lane needs for four. It waits until nobody
    /// works on the job any more, or does something else.
    fn would_end_last(&self, id: NodeId, job: JobId) -> bool {
        let will = || {
            let (record, desk) = (self.state.jobs.get(&job)?, self.floor.jobs.get(&job)?);
            let node = self.floor.nodes.get(&id).filter(|_| desk.leases > 0)?;
            let cost = desk.stake.cost.known()?;
            let block = block_samples(record);
            let block_us = block.saturating_mul(1_000_000) / node.speed_on(job, Some(cost))?.max(1);
            // Leases in its queue are blocks at the least.
            let queued = node.leases.len() as u64 / u64::from(node.lanes.max(1));
            let own_us = block_us.saturating_mul(queued + 1);
            let left = record.samples().saturating_sub(record.samples_done);
            // Whether `power` does so much work in less than that, without a division.
            let done_by = |power: u64, samples: u64| {
                let work = u128::from(share::work_of(cost, samples));
                u128::from(own_us) * u128::from(power) > work * 1_000_000
            };
            let is_late = done_by(desk.power, left.saturating_mul(2));
            Some(is_late && done_by(self.floor.powers.fastest()?, block * 4))
        };
        will().unwrap_or(false)
    }

    /// A lease's entry in the books, with its first deadline.
    pub(super) fn hold(&self, id: NodeId, record: &JobRecord, tile: TileId) -> Held {
        let samples = record.samples_of(&tile);
        let node = self.floor.nodes.get(&id);
        let cost = self.floor.jobs.get(&tile.job).and_then(|desk| desk.stake.cost.known());
        let unknown = micros(self.limits.queue_target);
        let speed = node.and_then(|node| node.speed_on(tile.job, cost));
        let predicted_us = speed.map_or(unknown, |speed| samples.saturating_mul(1_000_000) / speed.max(1));
        let charge = match cost.or(self.floor.usual_cost) {
            Some(cost) => share::work_of(cost, samples),
            // Where nothing is known at all, what the node does meanwhile.
            None => {
                let power = node.and_then(|node| node.power.known()).unwrap_or(share::UNIT);
                power.saturating_mul(unknown) / 1_000_000
            }
        };
        let deadline = self.now.after(self.limits.lease_timeout);
        Held {
            tile,
            samples,
            predicted_us: predicted_us.min(1 << 40),
            charge,
            deadline,
            started: false,
            granted_at: self.now,
            progress: None,
            is_backup: false,
        }
    }

    /// A number that no lease of this node has: those of an earlier life are
    /// numbered by it, and one that invents numbers hurts nobody.
    pub(super) fn new_lease_id(&mut self, id: NodeId) -> LeaseId {
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
        if node.excluded.contains(&job) || self.floor.is_passed_over(id, job) {
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
        let takers = self.floor.takers(job);
        let Floor { nodes, jobs, .. } = &mut *self.floor;
        let Desk { pools, excluded, blocked, profile, .. } = jobs.get_mut(&job)?;
        let suits = |node: &Node| node.is_active() && node.fit.suits(profile);
        let could_take =
            |id: &NodeId| nodes.get(id).is_some_and(suits) && !excluded.contains(id) && !blocked.contains(id);
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
    // What is foretold is trusted by half.
    let foretold = || Some(node.speed_on(job, floor.stake.cost.known())? / 2);
    let speed = node.speed(job).or_else(foretold).filter(|_| !node.probation);
    let Some(speed) = speed else {
        return Appetite { level: 0, whole: false };
    };
    let mut target = mul_div(speed, micros(limits.lease_target), 1_000_000);
    if lanes > 1 {
        let left = record.samples().saturating_sub(record.samples_done).saturating_sub(floor.leased_samples);
        let fair = match node.power.known().filter(|power| floor.power >= *power) {
            Some(power) => mul_div(left, power, floor.power),
            None => left / lanes,
        };
        target = target.min(fair / (2 * u64::from(limits.leases_per_lane.max(1))));
    }
    let blocks = target / block_samples(record);
    let area = block_samples(record) / u64::from(BASE_BLOCK_SAMPLES);
    Appetite {
        level: u8::try_from(blocks.checked_ilog2().unwrap_or(0)).expect("a logarithm of a u64 is below 64"),
        whole: target >= area.saturating_mul(record.spec.settings.samples_per_pixel.into()),
    }
}

/// Samples of one base block of a rectangle.
fn block_samples(record: &JobRecord) -> u64 {
    let edge = u64::from(record.spec.tile_size);
    (edge * edge).min(record.spec.resolution.area()) * u64::from(BASE_BLOCK_SAMPLES)
}

/// Whole microseconds of a duration.
fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
