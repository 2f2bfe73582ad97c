//! An audit of the scheduler's books, for simulators and tests.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::Scheduler;
use super::backup;
use super::conduct::Conduct;
use super::desk::Desk;
use super::fit::Crew;
use super::node::Node;
use super::pool::Pool;
use super::state::JobRecord;
use crate::id::{FrameNumber, JobId, NodeId};
use crate::tile::{BlockRange, RectIndex};

impl Scheduler {
    /// Checks that the books agree with each other: of every frame that was
    /// begun, each base block of each rectangle is free, lent or accepted, and
    /// one of them only; every lease is in its node's book and in its frame's;
    /// every counter is what it counts. Walks everything: not for production.
    ///
    /// # Errors
    /// Says in words what does not agree.
    pub fn audit(&self) -> Result<(), String> {
        let (mut lent, mut copies) = (0, 0);
        for (job, floor) in &self.floor.jobs {
            let record = self.state.jobs.get(job).ok_or(format!("job {job} has books but no record"))?;
            let mut leases = 0;
            for (frame, pool) in &floor.pools {
                pool.audit()?;
                audit_partition(record, *frame, pool)
                    .map_err(|error| format!("job {job}, frame {frame}: {error}"))?;
                if pool.is_exhausted() == floor.free_frames.contains(frame) {
                    return Err(format!("job {job}, frame {frame} is listed as free wrongly"));
                }
                leases += self.audit_lent(*job, *frame, pool)?;
            }
            copies += backup::audit(&self.floor, *job, floor)?;
            if leases != floor.leases as usize {
                return Err(format!("job {job} has {leases} leases but counts {}", floor.leases));
            }
            if record.is_over() {
                return Err(format!("job {job} is over but has books"));
            }
            lent += leases;
        }
        let held: usize = self.floor.nodes.values().map(|node| node.leases.len()).sum();
        if held != lent + copies {
            return Err(format!("nodes hold {held} leases but {lent} are lent, {copies} of them twice"));
        }
        self.audit_orders()?;
        self.audit_nodes()
    }

    /// Checks that the orders of ready and of busy jobs name each with its priority.
    fn audit_orders(&self) -> Result<(), String> {
        let desks = || self.floor.jobs.iter();
        let priority =
            |job: &JobId| Reverse(self.state.jobs.get(job).map_or(0, |record| record.spec.priority));
        let busy = desks().filter(|(_, desk)| desk.busy_nodes > 0).map(|(job, _)| (priority(job), *job));
        if busy.collect::<BTreeSet<_>>() != self.floor.busy {
            return Err("the order of busy jobs is wrong".into());
        }
        let key = |(job, desk): (&JobId, &Desk)| {
            desk.ready.is_none_or(|key| key == desk.stake.key(*job)).then_some((desk.profile, desk.ready))
        };
        let ready = desks().map(key).collect::<Option<BTreeSet<_>>>();
        let ready: Option<BTreeSet<_>> =
            ready.map(|ready| ready.into_iter().filter_map(|(profile, key)| Some((profile, key?))).collect());
        if ready != Some(self.floor.ready.iter().collect()) {
            return Err("the order of ready jobs is wrong".into());
        }
        let level = |(job, desk): (&JobId, &Desk)| {
            i64::from(priority(job).0) + i64::from(desk.stake.risen) == i64::from(desk.stake.level)
        };
        if !desks().all(level) {
            return Err("a job's level is not its priority and what it rose".into());
        }
        let stakes = desks().map(|(_, desk)| (desk.stake, desk.ready.is_some()));
        let stakes = stakes.map(|(stake, ready)| (stake.level, ready.then_some(stake.weight)));
        self.floor.classes.audit(stakes)
    }

    /// Checks that every lent range is in its node's book; the number of leases.
    fn audit_lent(&self, job: JobId, frame: FrameNumber, pool: &Pool) -> Result<usize, String> {
        for (rect, lent) in pool.lent() {
            let tile = self.floor.tile_of(lent.node, lent.lease);
            let lent_ranges = self.floor.lent_ranges(lent.node, lent.lease);
            let matches = tile.is_some_and(|tile| {
                (tile.job, tile.frame, tile.rect) == (job, frame, rect) && lent_ranges.contains(&lent.range)
            });
            if !matches {
                return Err(format!("lease {} of node {} is lent but not held", lent.lease, lent.node));
            }
        }
        let leases: BTreeSet<_> = pool.lent().map(|(_, lent)| (lent.node, lent.lease)).collect();
        let ranges = leases.iter().map(|(node, lease)| self.floor.lent_ranges(*node, *lease).len());
        if ranges.sum::<usize>() != pool.lent().count() {
            return Err("a part of a lease is not lent".into());
        }
        Ok(leases.len())
    }

    /// Checks that the lists of blocked nodes follow from what is counted.
    fn audit_blocks(&self) -> Result<(), String> {
        let by_desk = self.floor.jobs.iter();
        let by_desk = by_desk.flat_map(|(job, desk)| desk.blocked.iter().map(move |node| (*node, *job)));
        if by_desk.collect::<BTreeSet<_>>() != self.floor.blocks {
            return Err("the list of blocked nodes is wrong".into());
        }
        let counted = self.floor.jobs.iter().flat_map(|(job, desk)| {
            let recorded = self.state.jobs.get(job).map(|record| &record.failed_on);
            let counts = recorded.into_iter().chain([&desk.troubled]);
            counts.flat_map(|counts| counts.weights()).map(move |(node, _, _)| (node, *job))
        });
        let is_blocked = |(node, job): &(NodeId, JobId)| {
            !self.floor.blocking_kinds(&self.state, &self.limits, *node, *job).is_empty()
        };
        if counted.filter(is_blocked).collect::<BTreeSet<_>>() != self.floor.blocks {
            return Err("some node is blocked wrongly".into());
        }
        Ok(())
    }

    fn audit_nodes(&self) -> Result<(), String> {
        let active = self.floor.nodes.values().filter(|node| node.is_active());
        if active.clone().count() != self.floor.active_nodes as usize {
            return Err("the number of active nodes is wrong".into());
        }
        if active.clone().map(|node| u64::from(node.lanes)).sum::<u64>() != self.floor.active_lanes {
            return Err("the number of active lanes is wrong".into());
        }
        if active.clone().map(Node::total_power).sum::<u64>() != self.floor.active_power {
            return Err("the power of active nodes is wrong".into());
        }
        if active.clone().map(Node::measured_lanes).sum::<u64>() != self.floor.measured_lanes {
            return Err("the number of measured lanes is wrong".into());
        }
        let mut crew = Crew::default();
        active.for_each(|node| crew.add(node.fit));
        if crew != self.floor.crew {
            return Err("the fits of active nodes are counted wrongly".into());
        }
        for (id, node) in &self.floor.nodes {
            let queued: u64 = node.leases.values().map(|held| held.predicted_us).sum();
            if queued != node.queued_us {
                return Err(format!("node {id} has {queued} µs queued but counts {}", node.queued_us));
            }
            if node.hunger.is_some_and(|load| !self.floor.hungry.contains(node.fit, load, *id)) {
                return Err(format!("node {id} is hungry but not listed"));
            }
        }
        self.audit_blocks()?;
        for (id, node) in &self.floor.nodes {
            let conduct = self.floor.conducts.get(id);
            let probation = conduct.is_some_and(Conduct::is_probation);
            let until = conduct.and_then(Conduct::quarantined_until);
            if (node.probation, node.quarantined_until) != (probation, until) {
                return Err(format!("node {id} is not treated as its conduct has it"));
            }
        }
        for (job, floor) in &self.floor.jobs {
            let assigned = || self.floor.nodes.values().filter(|node| node.job == Some(*job));
            let power: u64 = assigned().filter(|node| node.is_active()).map(Node::total_power).sum();
            if power != floor.power {
                return Err(format!("job {job} counts the power of its nodes wrongly"));
            }
            let assigned = assigned().count();
            let busy =
                self.floor.nodes.values().filter(|node| node.held_jobs.iter().any(|(held, _)| held == job));
            if assigned != floor.assigned as usize || busy.count() != floor.busy_nodes as usize {
                return Err(format!("job {job} counts its nodes wrongly"));
            }
        }
        Ok(())
    }
}

/// Checks that free, lent, accepted and kept ranges cover each rectangle once.
fn audit_partition(record: &JobRecord, frame: FrameNumber, pool: &Pool) -> Result<(), String> {
    let blocks = record.blocks as usize;
    let mut seen = vec![0u8; record.rects as usize * blocks];
    let accepted = record.frames.get(&frame).into_iter().flat_map(|frame| &frame.tiles);
    let accepted = accepted.map(|((rect, _), accepted)| (*rect, accepted.range));
    let lent = pool.lent().map(|(rect, lent)| (rect, lent.range));
    let kept = record.frames.get(&frame).into_iter().flat_map(|frame| &frame.kept);
    let kept = kept.map(|rect| (*rect, BlockRange::root(record.blocks)));
    for (RectIndex(rect), range) in pool.free().chain(lent).chain(accepted).chain(kept) {
        for block in range.start()..range.end(record.blocks) {
            seen[rect as usize * blocks + block as usize] += 1;
        }
    }
    match seen.iter().position(|count| *count != 1) {
        Some(at) => {
            Err(format!("block {} of rectangle {} is held {} times", at % blocks, at / blocks, seen[at]))
        }
        None => Ok(()),
    }
}
