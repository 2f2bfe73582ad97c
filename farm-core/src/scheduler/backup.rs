//! Backup copies at the tail: when nothing of a job is free any more, what is
//! predicted to end late is granted once more, to a faster node without work.
//!
//! **What is copied.** As in LATE (Zaharia, Konwinski, Joseph, Katz and Stoica,
//! "Improving MapReduce performance in heterogeneous environments", OSDI 2008),
//! the lease that will end last goes first, to the fastest node that is idle;
//! but only where the copy will take at most half of the time that the lease
//! still needs, so that a copy is not overtaken.
//!
//! **Books.** A pool knows one holder of each lent range. The copies are in a
//! book beside it, at most one for each lent range, so that free, lent and
//! accepted ranges stay a partition. Whichever result comes first is the tile's
//! and the other lease is revoked. A holder that fails leaves its range to the
//! copy, which then is the holder; a copy that fails leaves no trace.
//!
//! **Bound.** Of a job, at most [`Limits::backup_per_mille`] of its samples are
//! granted as copies. A copy that became the holder was no copy.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::Scheduler;
use super::desk::Desk;
use super::effect::{Effect, Lease};
use super::floor::{Floor, Timer};
use super::grant::Round;
use super::node::{Held, Node};
use super::pool::Lent;
use super::share;
use super::state::{JobRecord, State};
use crate::id::{FrameNumber, JobId, NodeId};
use crate::limits::Limits;
use crate::tile::{RectIndex, TileId};
use crate::time::Timestamp;

/// A lent range's place: frame, rectangle, first block.
pub(super) type Place = (FrameNumber, RectIndex, u32);

/// Where a tile is in the book of copies.
pub(super) fn place_of(tile: &TileId) -> Place {
    (tile.frame, tile.rect, tile.range.start())
}

/// A lease that could be copied.
struct Late {
    /// How long it still takes, in microseconds.
    left_us: u64,
    holder: NodeId,
    tile: TileId,
    samples: u64,
}

/// A node without work, with its speed on the job and its idle lanes.
struct Idle {
    speed: u64,
    node: NodeId,
    lanes: usize,
}

impl Desk {
    /// The copy of a lent range.
    pub(super) fn backup_of(&self, tile: &TileId) -> Option<Lent> {
        self.backups.get(&place_of(tile)).copied().filter(|backup| backup.range == tile.range)
    }
}

impl Floor {
    /// Has a job surveyed if all of it is lent.
    pub(super) fn note_tail(&mut self, job: JobId) {
        let (Some(now), Some(desk)) = (self.now, self.jobs.get_mut(&job)) else { return };
        let is_tail = desk.ready.is_none() && desk.leases > 0;
        if is_tail && desk.survey_timer.is_none() && self.backup_interval_ms > 0 {
            let at = Timestamp(now.0.saturating_add(self.backup_interval_ms));
            desk.survey_timer = Some(at);
            self.timers.insert((at, Timer::Survey(job)));
        }
    }

    /// Ends the copy of a lent range, if there is one; its lease, to be revoked.
    pub(super) fn drop_backup(&mut self, state: &State, tile: &TileId) -> Option<Lent> {
        let backup = self.jobs.get(&tile.job)?.backup_of(tile)?;
        self.finish(state, backup.node, backup.lease)?;
        Some(backup)
    }

    /// Makes the copy of a range, whose holder just failed, its holder; false if
    /// there is none.
    pub(super) fn promote_backup(&mut self, tile: &TileId) -> bool {
        let Some(desk) = self.jobs.get_mut(&tile.job) else { return false };
        let Some(backup) = desk.backup_of(tile) else { return false };
        desk.backups.remove(&place_of(tile));
        let Some(held) = self.nodes.get_mut(&backup.node).and_then(|node| node.leases.get_mut(&backup.lease))
        else {
            return false;
        };
        held.is_backup = false;
        desk.leases += 1;
        desk.leased_samples += held.samples;
        desk.backup_samples = desk.backup_samples.saturating_sub(held.samples);
        if let Some(pool) = desk.pools.get_mut(&tile.frame) {
            pool.lend(tile.rect, backup);
        }
        true
    }
}

impl Scheduler {
    /// Looks for late leases of a job of which nothing is free.
    pub(super) fn survey(&mut self, now: Timestamp, job: JobId) {
        if let Some(desk) = self.floor.jobs.get_mut(&job) {
            desk.survey_timer = None;
        }
        let mut round = Round { state: &self.state, floor: &mut self.floor, limits: &self.limits, now };
        round.copy_late(job, |effect| self.effects.push_back(effect));
        self.floor.note_tail(job);
    }
}

impl Round<'_> {
    fn copy_late(&mut self, job: JobId, mut emit: impl FnMut(Effect)) {
        let (Some(record), Some(desk)) = (self.state.jobs.get(&job), self.floor.jobs.get(&job)) else {
            return;
        };
        if !record.is_grantable() || desk.ready.is_some() {
            return;
        }
        let most = record.samples() / 1000 * self.limits.backup_per_mille;
        let mut budget = most.saturating_sub(desk.backup_samples);
        if budget == 0 {
            return;
        }
        let mut late = late_leases(self.floor, desk, job, self.now);
        // What ends before the next look needs no copy.
        late.retain(|late| late.left_us > self.floor.backup_interval_ms * 1000);
        let mut idle =
            if late.is_empty() { Vec::new() } else { idle_nodes(self.floor, desk, job, self.limits) };
        let mut granted = 0;
        for late in late {
            if granted >= self.limits.backups_per_survey || idle.is_empty() {
                return;
            }
            let Some(at) = idle.iter().position(|idle| suits(record, &late, idle)) else { continue };
            let copy_us = late.samples.saturating_mul(1_000_000) / idle[at].speed;
            if late.samples > budget || copy_us.saturating_mul(2) > late.left_us {
                continue;
            }
            let node = idle[at].node;
            if self.copy(node, record, &late, &mut emit) {
                budget -= late.samples;
                granted += 1;
            }
            idle[at].lanes -= 1;
            if idle[at].lanes == 0 {
                idle.remove(at);
            }
        }
    }

    fn copy(&mut self, id: NodeId, record: &JobRecord, late: &Late, emit: &mut impl FnMut(Effect)) -> bool {
        let tile = late.tile;
        let Some(rect) = record.rect(tile.rect) else {
            return false;
        };
        self.floor.assign(id, tile.job);
        let lease = self.new_lease_id(id);
        let held = Held { is_backup: true, ..self.hold(id, record, tile) };
        self.floor.lend(self.state, id, lease, held);
        emit(Effect::Grant { node: id, lease: Lease { id: lease, tile, rect } });
        self.update_hunger(id);
        true
    }
}

/// Whether a node may take a copy of a lease.
fn suits(record: &JobRecord, late: &Late, idle: &Idle) -> bool {
    let strikes = record.strikes.get(&(late.tile.frame, late.tile.rect));
    idle.node != late.holder && strikes.is_none_or(|strikes| !strikes.nodes.contains(&idle.node))
}

/// The nodes that could take copies at once, the fastest first. Idle at the tail
/// are above all the slow ones, and a range is copied but once: so a copy goes to
/// no node of less than half the power of those on the job.
fn idle_nodes(floor: &Floor, desk: &Desk, job: JobId, limits: &Limits) -> Vec<Idle> {
    let cost = desk.stake.cost.known();
    let mean = desk.power / u64::from(desk.assigned.max(1));
    let idle = |id: NodeId| {
        let node = floor.nodes.get(&id).filter(|node| !node.excluded.contains(&job) && !node.probation)?;
        if desk.blocked.contains(&id) {
            return None;
        }
        let is_fast = node.total_power().saturating_mul(2) >= mean;
        let lanes =
            (node.lanes as usize).checked_sub(node.leases.len()).filter(|lanes| *lanes > 0 && is_fast)?;
        Some(Idle { speed: node.speed_on(job, cost)?, node: id, lanes })
    };
    let hungry = floor.hungry.suiting(desk.profile).take(limits.backup_candidates);
    let mut idle: Vec<_> = hungry.filter_map(idle).collect();
    idle.sort_by_key(|idle| (Reverse(idle.speed), idle.node));
    idle
}

/// The leases of a job that have no copy, those that end last first.
fn late_leases(floor: &Floor, desk: &Desk, job: JobId, now: Timestamp) -> Vec<Late> {
    let cost = desk.stake.cost.known();
    let holders: BTreeSet<_> =
        desk.pools.values().flat_map(|pool| pool.lent().map(|(_, lent)| lent.node)).collect();
    let mut late = Vec::new();
    for holder in holders {
        let Some(node) = floor.nodes.get(&holder) else { continue };
        let mut ahead_us = 0u64;
        for (place, (lease, held)) in node.leases.iter().enumerate() {
            let waits = place >= node.lanes as usize;
            let own_us = time_left(node, held, waits, cost, now);
            let waiting_us = if waits { ahead_us / u64::from(node.lanes.max(1)) } else { 0 };
            ahead_us = ahead_us.saturating_add(own_us);
            let is_whole = !held.is_backup && !node.parted.contains_key(lease);
            if held.tile.job == job && is_whole && desk.backup_of(&held.tile).is_none() {
                let left_us = waiting_us.saturating_add(own_us);
                late.push(Late { left_us, holder, tile: held.tile, samples: held.samples });
            }
        }
    }
    late.sort_by_key(|late| (Reverse(late.left_us), late.tile));
    late
}

/// How long a lease still takes on a lane, in microseconds. One that is overdue
/// is taken to need as long again as it is overdue: so what stands still is
/// noticed, the sooner the faster its node was.
fn time_left(node: &Node, held: &Held, waits: bool, cost: Option<u64>, now: Timestamp) -> u64 {
    let since_us = |from: Timestamp| share::millis(now.since(from)).saturating_mul(1000);
    let (elapsed, expected) = match (held.progress, node.speed_on(held.tile.job, cost)) {
        // By its own progress, from the first report of it.
        (Some([(first_at, first), (last_at, last)]), _) if last > first => {
            let took = u128::from(share::millis(last_at.since(first_at))) * 1000;
            let all = took * u128::from(held.samples.saturating_sub(first)) / u128::from(last - first);
            (since_us(first_at), u64::try_from(all).unwrap_or(u64::MAX))
        }
        (progress, Some(speed)) => {
            let begun = progress.map_or(held.granted_at.max(node.freed_at), |[(first_at, _), _]| first_at);
            let begun = if waits { now } else { begun };
            (since_us(begun), held.samples.saturating_mul(1_000_000) / speed.max(1))
        }
        // As long again as it was out.
        (_, None) => return since_us(held.granted_at).max(held.predicted_us),
    };
    elapsed.abs_diff(expected)
}

/// See [`Limits::backup_interval`].
pub(super) fn interval_ms(limits: &Limits) -> u64 {
    if limits.backup_per_mille == 0 { 0 } else { share::millis(limits.backup_interval).max(1) }
}

/// Checks the book of copies: each is of a lent range, held by another node.
pub(super) fn audit(floor: &Floor, job: JobId, desk: &Desk) -> Result<usize, String> {
    for ((frame, rect, _), backup) in &desk.backups {
        let tile = TileId { job, frame: *frame, rect: *rect, range: backup.range };
        let pool = desk.pools.get(frame);
        let lent = pool.map(|pool| pool.lent_overlapping(*rect, backup.range)).unwrap_or_default();
        let [lent] = lent[..] else { return Err(format!("the copy of {tile:?} is of nothing lent")) };
        if lent.range != backup.range || lent.node == backup.node {
            return Err(format!("the copy of {tile:?} is not one of {lent:?}"));
        }
        let held = floor.nodes.get(&backup.node).and_then(|node| node.leases.get(&backup.lease));
        if held.is_none_or(|held| held.tile != tile || !held.is_backup) {
            return Err(format!("lease {} of node {} is a copy but not held", backup.lease, backup.node));
        }
    }
    Ok(desk.backups.len())
}
