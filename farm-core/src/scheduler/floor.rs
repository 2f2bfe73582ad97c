//! The floor: which nodes are here, what each of them holds, and what is free.
//!
//! All of it is volatile. After a restart the nodes come back and say what they
//! hold, and the free ranges follow from the recorded state. Who gets what is
//! in `grant`; this file keeps the books, each of which is updated in place so
//! that no command walks all tiles, nodes or leases.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::desk::Desk;
use super::node::{Held, Node};
use super::pool::{Lent, Pool};
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
    pub(super) ready: BTreeSet<ReadyKey>,
    /// Jobs that nodes hold leases of, by priority.
    pub(super) busy: BTreeSet<(Reverse<i32>, JobId)>,
    /// Nodes with room for a lease, those with the fewest per lane first.
    pub(super) hungry: BTreeSet<(u32, NodeId)>,
    /// Nodes that may be granted leases, and their lanes.
    pub(super) active_nodes: u32,
    pub(super) active_lanes: u64,
    timers: BTreeSet<(Timestamp, Timer)>,
    /// Whether something became free that a hungry node may want.
    pub(super) offer: bool,
    /// Nodes whose room for leases this command changed.
    pub(super) touched: Vec<NodeId>,
    pub(super) next_lease: u64,
}

/// Higher priority first, then fewer nodes on it, then older.
pub(super) type ReadyKey = (Reverse<i32>, u32, JobId);

/// Something to be done at a certain time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Look for leases of this node that are past their deadline.
    Deadline(NodeId),
    /// A node's pause after a failure is over.
    Wake(NodeId),
    /// Try again to assemble a frame.
    Assemble(JobId, FrameNumber),
}

/// A lease past its deadline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expired {
    pub(super) node: NodeId,
    pub(super) lease: LeaseId,
    pub(super) started: bool,
}

impl Floor {
    pub(super) fn new(epoch: u32) -> Self {
        Self {
            nodes: BTreeMap::new(),
            jobs: BTreeMap::new(),
            ready: BTreeSet::new(),
            busy: BTreeSet::new(),
            hungry: BTreeSet::new(),
            active_nodes: 0,
            active_lanes: 0,
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
        self.jobs.insert(job, Desk::new(record));
        self.refresh(state, job);
        self.offer = true;
    }

    /// Closes the books of a job that is over; the leases of it that were still
    /// out, for the driver to revoke.
    pub(super) fn close_job(&mut self, state: &State, job: JobId) -> Vec<Lent> {
        let Some(floor) = self.jobs.get(&job) else { return Vec::new() };
        let lent: Vec<_> = floor.pools.values().flat_map(Pool::lent).map(|(_, lent)| lent).collect();
        for lent in &lent {
            self.drop_lease(lent.node, lent.lease);
        }
        let Some(floor) = self.jobs.remove(&job) else { return lent };
        self.busy.remove(&(state.priority(job), job));
        if let Some(key) = floor.ready {
            self.ready.remove(&key);
        }
        for node in &floor.excluded {
            if let Some(node) = self.nodes.get_mut(node) {
                node.excluded.remove(&job);
            }
        }
        lent
    }

    /// Brings a job's place among the ready ones up to date.
    pub(super) fn refresh(&mut self, state: &State, job: JobId) {
        let Some(record) = state.jobs.get(&job) else { return };
        let Some(floor) = self.jobs.get_mut(&job) else { return };
        floor.pass_begun_frames(record);
        let has_free = !floor.free_frames.is_empty() || floor.next_frame <= record.spec.frames.last.0.into();
        let ready = record.is_grantable() && has_free;
        let key = ready.then_some((Reverse(record.spec.priority), floor.assigned, job));
        if key != floor.ready {
            if let Some(old) = std::mem::replace(&mut floor.ready, key) {
                self.ready.remove(&old);
            }
            self.ready.extend(key);
        }
    }

    /// Brings every order that a job is in up to date after its priority changed.
    pub(super) fn reprioritize(&mut self, state: &State, job: JobId) {
        if self.jobs.get(&job).is_some_and(|desk| desk.busy_nodes > 0) {
            self.busy.retain(|(_, busy)| *busy != job);
            self.busy.insert((state.priority(job), job));
        }
        self.refresh(state, job);
        self.offer = true;
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
                let assigned = self.nodes.values().filter(|node| node.job == Some(job)).count();
                if let Some(desk) = self.jobs.get_mut(&job) {
                    desk.assigned = u32::try_from(assigned).unwrap_or(u32::MAX);
                }
            }
        }
        self.refresh(state, job);
        self.offer = true;
    }

    /// Adds a node that holds nothing yet.
    pub(super) fn add_node(&mut self, state: &State, id: NodeId, lanes: u32, limits: &Limits) {
        let node = Node::new(lanes.min(limits.lanes_per_node), state.hold_of(id));
        if node.is_active() {
            self.active_nodes += 1;
            self.active_lanes += u64::from(node.lanes);
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
            self.active_nodes -= 1;
            self.active_lanes -= u64::from(node.lanes);
        }
        if let Some(load) = node.hunger {
            self.hungry.remove(&(load, id));
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
        if let Some(job) = node.job {
            self.assign_away(state, job);
        }
        // Who is left may now be the only one for a tile that it failed.
        self.offer = true;
    }

    /// Notes that a node takes nothing more.
    pub(super) fn drain_node(&mut self, id: NodeId) {
        self.change_node(id, |node| node.draining = true);
    }

    /// Notes how people hold a node back.
    pub(super) fn hold_node(&mut self, state: &State, id: NodeId) {
        self.change_node(id, |node| node.hold = state.hold_of(id));
    }

    fn change_node(&mut self, id: NodeId, change: impl FnOnce(&mut Node)) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let was_active = node.is_active();
        change(node);
        match (was_active, node.is_active()) {
            (true, false) => {
                self.active_nodes -= 1;
                self.active_lanes -= u64::from(node.lanes);
            }
            (false, true) => {
                self.active_nodes += 1;
                self.active_lanes += u64::from(node.lanes);
            }
            (true, true) | (false, false) => return,
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
    pub(super) fn assign(&mut self, state: &State, id: NodeId, job: JobId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.job == Some(job) {
            return;
        }
        if let Some(old) = node.job.replace(job) {
            self.assign_away(state, old);
        }
        if let Some(floor) = self.jobs.get_mut(&job) {
            floor.assigned += 1;
        }
        self.refresh(state, job);
    }

    fn assign_away(&mut self, state: &State, job: JobId) {
        if let Some(floor) = self.jobs.get_mut(&job) {
            floor.assigned -= 1;
        }
        self.refresh(state, job);
    }

    /// Writes a lease, whose range is not free any more, into every book.
    pub(super) fn lend(&mut self, state: &State, id: NodeId, lease: LeaseId, held: Held) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let tile = held.tile;
        let Some(floor) = self.jobs.get_mut(&tile.job) else { return };
        if let Some(pool) = floor.pools.get_mut(&tile.frame) {
            pool.lend(tile.rect, Lent { range: tile.range, node: id, lease });
            if pool.is_exhausted() {
                floor.free_frames.remove(&tile.frame);
            }
        }
        node.leases.insert(lease, held);
        node.queued_us += held.predicted_us;
        floor.leases += 1;
        floor.leased_samples += held.samples;
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

    /// Ends a lease; its range is neither free nor lent after this.
    pub(super) fn finish(&mut self, state: &State, id: NodeId, lease: LeaseId) -> Option<Held> {
        let held = self.drop_lease(id, lease)?;
        let tile = held.tile;
        let floor = self.jobs.get_mut(&tile.job)?;
        if let Some(pool) = floor.pools.get_mut(&tile.frame) {
            pool.take_home(tile.rect, tile.range);
        }
        if floor.busy_nodes == 0 {
            self.busy.remove(&(state.priority(tile.job), tile.job));
        }
        Some(held)
    }

    /// Ends a lease; its range is free again.
    pub(super) fn release(&mut self, state: &State, id: NodeId, lease: LeaseId) -> Option<Held> {
        let held = self.finish(state, id, lease)?;
        let tile = held.tile;
        if let Some(floor) = self.jobs.get_mut(&tile.job)
            && let Some(pool) = floor.pools.get_mut(&tile.frame)
        {
            pool.give_back(tile.rect, tile.range);
            floor.free_frames.insert(tile.frame);
        }
        self.refresh(state, tile.job);
        self.offer = true;
        Some(held)
    }

    /// Removes a lease from its node's and its job's counters.
    fn drop_lease(&mut self, id: NodeId, lease: LeaseId) -> Option<Held> {
        let node = self.nodes.get_mut(&id)?;
        let held = node.leases.remove(&lease)?;
        node.queued_us -= held.predicted_us;
        let last = node.discount_lease(held.tile.job);
        self.touched.push(id);
        if let Some(floor) = self.jobs.get_mut(&held.tile.job) {
            floor.leases -= 1;
            floor.leased_samples -= held.samples;
            floor.busy_nodes -= u32::from(last);
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
            Timer::Wake(_) | Timer::Assemble(..) => None,
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
    fn priority(&self, job: JobId) -> Reverse<i32> {
        Reverse(self.jobs.get(&job).map_or(0, |record| record.spec.priority))
    }
}
