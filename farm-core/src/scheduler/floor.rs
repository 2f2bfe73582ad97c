//! The floor: which nodes are here, what each of them holds, and what is free.
//!
//! All of it is volatile. After a restart the nodes come back and say what they
//! hold, and the free ranges follow from the recorded state. Who gets what is
//! in `grant`; this file keeps the books, each of which is updated in place so
//! that no command walks all tiles, nodes or leases.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::backup::{self, place_of};
use super::command::Equipment;
use super::conduct::Conduct;
use super::desk::Desk;
use super::fit::{Crew, Hungry, Ready, TagBook};
use super::node::{Held, Node};
use super::pool::{Lent, Pool};
use super::share::{Classes, Powers, millis};
use super::state::State;
use crate::id::{FrameNumber, JobId, LeaseId, NodeId};
use crate::job::FrameRange;
use crate::limits::Limits;
use crate::tile::TileId;
use crate::time::Timestamp;

/// See the file's documentation.
#[derive(Debug)]
pub(super) struct Floor {
    pub(super) nodes: BTreeMap<NodeId, Node>,
    /// The jobs that are not over.
    pub(super) jobs: BTreeMap<JobId, Desk>,
    /// Jobs with something to grant, in the order in which a node asks them.
    pub(super) ready: Ready,
    pub(super) classes: Classes,
    pub(super) ageing_step_ms: u64,
    /// Never where it is 0.
    pub(super) backup_interval_ms: u64,
    pub(super) tags: TagBook,
    /// Jobs that nodes hold leases of, by priority.
    pub(super) busy: BTreeSet<(Reverse<i32>, JobId)>,
    /// Nodes with room for a lease.
    pub(super) hungry: Hungry,
    /// Nodes that may be granted leases, and their lanes.
    pub(super) active_nodes: u32,
    pub(super) active_lanes: u64,
    pub(super) crew: Crew,
    /// What their lanes have of power, where it is known.
    pub(super) active_power: u64,
    /// The lanes of which it is known.
    pub(super) measured_lanes: u64,
    pub(super) powers: Powers,
    /// The latest cost of a job's samples that is known.
    pub(super) usual_cost: Option<u64>,
    /// The time of the command that is being followed; none before the first.
    pub(super) now: Option<Timestamp>,
    /// What is remembered of nodes that failed lately, connected or not.
    pub(super) conducts: BTreeMap<NodeId, Conduct>,
    /// Which nodes are blocked from which jobs, as the jobs' desks have it.
    pub(super) blocks: BTreeSet<(NodeId, JobId)>,
    pub(super) timers: BTreeSet<(Timestamp, Timer)>,
    /// Whether something became free that a hungry node may want.
    pub(super) offer: bool,
    /// Nodes whose room for leases this command changed.
    pub(super) touched: Vec<NodeId>,
    pub(super) next_lease: u64,
}

/// Something to be done at a certain time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Look for leases of this node that are past their deadline.
    Deadline(NodeId),
    /// A node's pause after a failure is over.
    Wake(NodeId),
    /// A node's quarantine is over.
    Release(NodeId),
    /// Try again to assemble a frame.
    Assemble(JobId, FrameNumber),
    /// A job that waits may rise.
    Rise(JobId),
    /// Look for late leases of a job of which nothing is free.
    Survey(JobId),
}

/// A lease past its deadline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expired {
    pub(super) node: NodeId,
    pub(super) lease: LeaseId,
    pub(super) started: bool,
}

impl Floor {
    pub(super) fn new(epoch: u32, limits: &Limits) -> Self {
        Self {
            ageing_step_ms: millis(limits.ageing_step).max(1),
            backup_interval_ms: backup::interval_ms(limits),
            nodes: BTreeMap::new(),
            jobs: BTreeMap::new(),
            ready: Ready::default(),
            classes: Classes::default(),
            tags: TagBook::default(),
            busy: BTreeSet::new(),
            hungry: Hungry::default(),
            active_nodes: 0,
            active_lanes: 0,
            crew: Crew::default(),
            active_power: 0,
            measured_lanes: 0,
            powers: Powers::default(),
            usual_cost: None,
            now: None,
            conducts: BTreeMap::new(),
            blocks: BTreeSet::new(),
            timers: BTreeSet::new(),
            offer: false,
            touched: Vec::new(),
            // 2^40 leases in a life are 12 days at a million a second, and
            // 2^24 lives come before a number is used again.
            next_lease: u64::from(epoch) << 40,
        }
    }

    /// The tile of a lease that a node holds.
    pub(super) fn tile_of(&self, node: NodeId, lease: LeaseId) -> Option<TileId> {
        Some(self.nodes.get(&node)?.leases.get(&lease)?.tile)
    }

    /// Opens a job's books.
    pub(super) fn open_job(&mut self, state: &State, job: JobId) {
        let Some(record) = state.jobs.get(&job) else { return };
        let profile = self.profile_of(record);
        let mut desk = Desk::new(record, profile);
        if record.results == 0 {
            desk.stake.waiting_since = Some(record.submitted_at);
        }
        self.classes.enter(&mut desk.stake, record.spec.priority, 0);
        self.jobs.insert(job, desk);
        self.refresh(state, job);
        self.offer = true;
    }

    /// Closes the books of a job that is over; the leases of it that were still
    /// out, for the driver to revoke.
    pub(super) fn close_job(&mut self, state: &State, job: JobId) -> Vec<Lent> {
        let Some(floor) = self.jobs.get(&job) else { return Vec::new() };
        let lent = floor.pools.values().flat_map(Pool::lent).map(|(_, lent)| lent);
        let mut lent: Vec<_> = lent.chain(floor.backups.values().copied()).collect();
        // A lease of which a part was accepted may be lent in several ranges.
        lent.retain(|lent| self.drop_lease(lent.node, lent.lease).is_some());
        let Some(floor) = self.jobs.remove(&job) else { return lent };
        self.busy.remove(&(state.priority(job), job));
        self.leave_share(state, job, &floor);
        for node in &floor.excluded {
            if let Some(node) = self.nodes.get_mut(node) {
                node.excluded.remove(&job);
            }
        }
        for node in &floor.blocked {
            self.blocks.remove(&(*node, job));
        }
        lent
    }

    /// Makes free again what was forgotten of some frames; opens the books of a
    /// job that was over.
    pub(super) fn reopen_frames(&mut self, state: &State, job: JobId, frames: FrameRange) {
        let Some(record) = state.jobs.get(&job) else { return };
        match self.jobs.get_mut(&job) {
            Some(desk) => record.frames_in(frames).for_each(|frame| desk.reopen_frame(record, frame)),
            None => {
                self.open_job(state, job);
                // Nodes without other work since are still with it.
                let assigned = || self.nodes.values().filter(|node| node.job == Some(job));
                let (count, active) = (assigned().count(), assigned().filter(|node| node.is_active()));
                let power = active.map(Node::total_power).sum();
                if let Some(desk) = self.jobs.get_mut(&job) {
                    desk.assigned = u32::try_from(count).unwrap_or(u32::MAX);
                    desk.power = power;
                }
            }
        }
        self.refresh(state, job);
        self.offer = true;
    }

    /// Adds a node that holds nothing yet.
    pub(super) fn add_node(
        &mut self,
        state: &State,
        id: NodeId,
        lanes: u32,
        equipment: Equipment,
        limits: &Limits,
    ) {
        let equipment = equipment.bounded(limits);
        let fit = self.fit_of(&equipment);
        let mut node = Node::new(lanes.min(limits.lanes_per_node), equipment, fit, state.hold_of(id));
        let conduct = self.conducts.get(&id);
        node.probation = conduct.is_some_and(Conduct::is_probation);
        node.quarantined_until = conduct.and_then(Conduct::quarantined_until);
        if node.is_active() {
            self.count_in(&node);
        }
        self.nodes.insert(id, node);
        self.touched.push(id);
    }

    /// Removes a node; all that it held is free again.
    pub(super) fn remove_node(&mut self, state: &State, id: NodeId) {
        let leases: Vec<_> =
            self.nodes.get(&id).into_iter().flat_map(|node| node.leases.keys().copied()).collect();
        for lease in leases {
            self.release(state, id, lease);
        }
        let Some(node) = self.nodes.remove(&id) else { return };
        if node.is_active() {
            self.count_out(&node);
        }
        if let Some(load) = node.hunger {
            self.hungry.remove(node.fit, load, id);
        }
        if let Some(at) = node.deadline_timer {
            self.timers.remove(&(at, Timer::Deadline(id)));
        }
        if let Some(at) = node.paused_until {
            self.timers.remove(&(at, Timer::Wake(id)));
        }
        for job in &node.excluded {
            if let Some(floor) = self.jobs.get_mut(job) {
                floor.excluded.remove(&id);
            }
        }
        if let Some(desk) = node.job.and_then(|job| self.jobs.get_mut(&job)) {
            desk.assigned -= 1;
        }
        // Who is left may now be the only one for a tile that it failed.
        self.offer = true;
    }

    /// Notes that a node takes nothing more.
    pub(super) fn drain_node(&mut self, id: NodeId) {
        self.change_node(id, |node| node.draining = true);
    }

    /// Notes whether a node takes nothing for now.
    pub(super) fn rest_node(&mut self, id: NodeId, resting: bool) {
        self.change_node(id, |node| node.resting = resting);
    }

    /// Notes how people hold a node back.
    pub(super) fn hold_node(&mut self, state: &State, id: NodeId) {
        self.change_node(id, |node| node.hold = state.hold_of(id));
    }

    pub(super) fn change_node(&mut self, id: NodeId, change: impl FnOnce(&mut Node)) {
        let Some(mut node) = self.nodes.remove(&id) else { return };
        let was_active = node.is_active();
        change(&mut node);
        match (was_active, node.is_active()) {
            (true, false) => self.count_out(&node),
            (false, true) => self.count_in(&node),
            (true, true) | (false, false) => {}
        }
        let changed = was_active != node.is_active();
        self.nodes.insert(id, node);
        if !changed {
            return;
        }
        self.touched.push(id);
        // Who is left may now be the only one for a tile that it failed.
        self.offer = true;
    }

    /// Notes that a node cannot take a job.
    pub(super) fn exclude(&mut self, id: NodeId, job: JobId) {
        let (Some(node), Some(floor)) = (self.nodes.get_mut(&id), self.jobs.get_mut(&job)) else { return };
        node.excluded.insert(job);
        floor.excluded.insert(id);
        self.offer = true;
    }

    /// Lets a node try every job again.
    pub(super) fn readmit_node(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        for job in std::mem::take(&mut node.excluded) {
            if let Some(floor) = self.jobs.get_mut(&job) {
                floor.excluded.remove(&id);
            }
        }
        self.offer = true;
    }

    /// Lets every node try a job again.
    pub(super) fn readmit(&mut self, job: JobId) {
        let Some(floor) = self.jobs.get_mut(&job) else { return };
        for id in std::mem::take(&mut floor.excluded) {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.excluded.remove(&job);
            }
        }
        self.offer = true;
    }

    /// Moves a node from the job that it worked on to another.
    pub(super) fn assign(&mut self, id: NodeId, job: JobId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.job == Some(job) {
            return;
        }
        let power = if node.is_active() { node.total_power() } else { 0 };
        if let Some(old) = node.job.replace(job)
            && let Some(old) = self.jobs.get_mut(&old)
        {
            old.assigned -= 1;
            old.power -= power;
        }
        if let Some(floor) = self.jobs.get_mut(&job) {
            floor.assigned += 1;
            floor.power += power;
        }
    }

    /// Writes a lease, whose range is not free any more, into every book.
    pub(super) fn lend(&mut self, state: &State, id: NodeId, lease: LeaseId, held: Held) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let tile = held.tile;
        let Some(floor) = self.jobs.get_mut(&tile.job) else { return };
        let lent = Lent { range: tile.range, node: id, lease };
        if held.is_backup {
            floor.backups.insert(place_of(&tile), lent);
            floor.backup_samples += held.samples;
        } else if let Some(pool) = floor.pools.get_mut(&tile.frame) {
            pool.lend(tile.rect, lent);
            if pool.is_exhausted() {
                floor.free_frames.remove(&tile.frame);
            }
        }
        node.leases.insert(lease, held);
        node.queued_us += held.predicted_us;
        if !held.is_backup {
            floor.leases += 1;
            floor.leased_samples += held.samples;
        }
        floor.stake.charge(held.charge);
        if node.count_lease(tile.job) {
            floor.busy_nodes += 1;
            if floor.busy_nodes == 1 {
                self.busy.insert((state.priority(tile.job), tile.job));
            }
        }
        if node.deadline_timer.is_none() {
            node.deadline_timer = Some(held.deadline);
            self.timers.insert((held.deadline, Timer::Deadline(id)));
        }
        self.refresh(state, tile.job);
    }

    /// Ends a lease; its ranges are neither free nor lent after this.
    pub(super) fn finish(&mut self, state: &State, id: NodeId, lease: LeaseId) -> Option<Held> {
        let ranges = self.lent_ranges(id, lease);
        let held = self.drop_lease(id, lease)?;
        let tile = held.tile;
        let floor = self.jobs.get_mut(&tile.job)?;
        if held.is_backup {
            floor.backups.remove(&place_of(&tile));
        } else if let Some(pool) = floor.pools.get_mut(&tile.frame) {
            ranges.iter().for_each(|range| pool.take_home(tile.rect, *range));
        }
        if floor.busy_nodes == 0 {
            self.busy.remove(&(state.priority(tile.job), tile.job));
        }
        Some(held)
    }

    /// Ends a lease; what was lent by it is free again, unless another node holds it too.
    pub(super) fn release(&mut self, state: &State, id: NodeId, lease: LeaseId) -> Option<Held> {
        let ranges = self.lent_ranges(id, lease);
        let held = self.finish(state, id, lease)?;
        let tile = held.tile;
        if held.is_backup || self.promote_backup(&tile) {
            self.resettle(state, tile.job);
            return Some(held);
        }
        if let Some(floor) = self.jobs.get_mut(&tile.job)
            && let Some(pool) = floor.pools.get_mut(&tile.frame)
        {
            ranges.iter().for_each(|range| pool.give_back(tile.rect, *range));
            floor.free_frames.insert(tile.frame);
        }
        self.resettle(state, tile.job);
        self.offer = true;
        Some(held)
    }

    /// Removes a lease from its node's and its job's counters.
    fn drop_lease(&mut self, id: NodeId, lease: LeaseId) -> Option<Held> {
        let node = self.nodes.get_mut(&id)?;
        let held = node.leases.remove(&lease)?;
        node.parted.remove(&lease);
        node.queued_us -= held.predicted_us;
        node.freed_at = self.now.unwrap_or_default();
        let last = node.discount_lease(held.tile.job);
        self.touched.push(id);
        if let Some(floor) = self.jobs.get_mut(&held.tile.job) {
            if !held.is_backup {
                floor.leases -= 1;
                floor.leased_samples -= held.samples;
            }
            floor.stake.refund(held.charge);
            floor.busy_nodes -= u32::from(last);
            // Whoever left it to faster nodes may take what these do not.
            self.offer |= floor.leases == 0 && floor.ready.is_some();
        }
        Some(held)
    }

    /// Takes exactly this tile from what is free, beginning its frame if need
    /// be; false if not all of it is free.
    pub(super) fn carve(&mut self, state: &State, tile: &TileId) -> bool {
        let Some(record) = state.jobs.get(&tile.job) else { return false };
        let Some(floor) = self.jobs.get_mut(&tile.job) else { return false };
        let Some(pool) = floor.begin_frame(record, tile.frame) else { return false };
        let carved = pool.carve(tile.rect, tile.range);
        if pool.is_exhausted() {
            floor.free_frames.remove(&tile.frame);
        }
        self.refresh(state, tile.job);
        carved
    }

    /// Forgets what was free and lent of a frame that is complete.
    pub(super) fn end_frame(&mut self, state: &State, job: JobId, frame: FrameNumber) {
        let Some(floor) = self.jobs.get_mut(&job) else { return };
        floor.pools.remove(&frame);
        floor.free_frames.remove(&frame);
        floor.costs.remove(&frame);
        self.refresh(state, job);
    }

    /// Leases that share samples with a tile.
    pub(super) fn lent_overlapping(&self, tile: &TileId) -> Vec<Lent> {
        let pool = self.jobs.get(&tile.job).and_then(|floor| floor.pools.get(&tile.frame));
        pool.map_or_else(Vec::new, |pool| pool.lent_overlapping(tile.rect, tile.range))
    }

    /// Progress on a lease: its deadline begins anew, and so does that of the
    /// leases that were granted after it and wait behind it.
    pub(super) fn extend(
        &mut self,
        now: Timestamp,
        id: NodeId,
        lease: LeaseId,
        samples: u64,
        limits: &Limits,
    ) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let deadline = now.after(limits.lease_timeout);
        for (other, held) in node.leases.range_mut(lease..) {
            if *other == lease {
                held.started |= samples > 0;
                if samples > 0 {
                    let first = held.progress.map_or((now, samples), |[first, _]| first);
                    held.progress = Some([first, (now, samples)]);
                }
                held.deadline = deadline;
            } else if !held.started {
                held.deadline = deadline;
            }
        }
    }

    /// Leases past their deadline, of nodes whose deadline timer is due.
    pub(super) fn expired(&self, now: Timestamp) -> impl Iterator<Item = Expired> + '_ {
        let due = self.timers.iter().take_while(move |(at, _)| *at <= now);
        let nodes = due.filter_map(|(_, timer)| match timer {
            Timer::Deadline(node) => Some(*node),
            Timer::Wake(_) | Timer::Release(_) | Timer::Assemble(..) | Timer::Rise(_) | Timer::Survey(_) => {
                None
            }
        });
        nodes.flat_map(move |id| {
            let leases = self.nodes.get(&id).into_iter().flat_map(|node| &node.leases);
            let expired = leases.filter(move |(_, held)| held.deadline <= now);
            expired.map(move |(lease, held)| Expired { node: id, lease: *lease, started: held.started })
        })
    }

    /// When the next timer is due.
    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Sets a timer for a frame's assembly.
    pub(super) fn set_assembly_timer(&mut self, at: Timestamp, job: JobId, frame: FrameNumber) {
        self.timers.insert((at, Timer::Assemble(job, frame)));
    }

    /// Removes the first timer that is due.
    pub(super) fn pop_timer(&mut self, now: Timestamp) -> Option<Timer> {
        let (at, timer) = *self.timers.first().filter(|(at, _)| *at <= now)?;
        self.timers.remove(&(at, timer));
        if let Timer::Wake(node) = timer
            && let Some(node) = self.nodes.get_mut(&node)
        {
            node.paused_until = None;
        }
        Some(timer)
    }

    /// Sets a node's deadline timer, which was popped, to its first deadline.
    pub(super) fn rearm_deadline(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.deadline_timer = node.leases.values().map(|held| held.deadline).min();
        self.timers.extend(node.deadline_timer.map(|at| (at, Timer::Deadline(id))));
    }

    /// Pauses a node after a failure, each time twice as long when `growing`.
    pub(super) fn pause_node(&mut self, now: Timestamp, id: NodeId, growing: bool, limits: &Limits) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let until = now.after(backoff(if growing { node.setbacks } else { 0 }, limits));
        node.setbacks = node.setbacks.saturating_add(u32::from(growing));
        if node.paused_until.is_none_or(|paused| paused < until) {
            if let Some(earlier) = node.paused_until.replace(until) {
                self.timers.remove(&(earlier, Timer::Wake(id)));
            }
            self.timers.insert((until, Timer::Wake(id)));
        }
        self.touched.push(id);
    }
}

/// The pause after `failures` earlier ones in a row.
pub(super) fn backoff(failures: u32, limits: &Limits) -> std::time::Duration {
    let factor = 1u32.checked_shl(failures).unwrap_or(u32::MAX);
    limits.backoff_min.saturating_mul(factor).min(limits.backoff_max)
}

impl State {
    pub(super) fn priority(&self, job: JobId) -> Reverse<i32> {
        Reverse(self.jobs.get(&job).map_or(0, |record| record.spec.priority))
    }
}
