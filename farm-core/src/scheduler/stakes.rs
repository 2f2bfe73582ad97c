//! The floor's books of the fair share and of the pools: jobs that join, rise
//! and are served, nodes that count with their power and their tags.

use std::cmp::Reverse;

use super::command::Equipment;
use super::desk::Desk;
use super::fit::{Fit, Profile};
use super::floor::{Floor, Timer};
use super::node::Node;
use super::ratio::mul_div;
use super::share::{self, UNIT};
use super::state::{JobRecord, State};
use crate::id::{JobId, NodeId};
use crate::limits::Limits;
use crate::tile::TileId;
use crate::time::Timestamp;

impl Floor {
    /// Brings a job's place among the ready ones up to date.
    pub(super) fn refresh(&mut self, state: &State, job: JobId) {
        let Some(record) = state.jobs.get(&job) else { return };
        let Some(floor) = self.jobs.get_mut(&job) else { return };
        floor.pass_begun_frames(record);
        let has_free = !floor.free_frames.is_empty() || floor.next_frame <= record.spec.frames.last.0.into();
        let ready = record.is_grantable() && has_free;
        match (floor.ready.is_some(), ready) {
            (false, true) => self.classes.begin(&mut floor.stake),
            (true, false) => self.classes.end(&floor.stake),
            (true, true) | (false, false) => {}
        }
        let key = ready.then(|| floor.stake.key(job));
        if key != floor.ready {
            if let Some(old) = std::mem::replace(&mut floor.ready, key) {
                self.ready.remove(floor.profile, &old);
            }
            if let Some(key) = key {
                self.ready.insert(floor.profile, key);
            }
        }
        self.note_waiting(job);
        self.note_tail(job);
    }

    /// Brings every order that a job is in up to date after its priority changed.
    pub(super) fn reprioritize(&mut self, state: &State, job: JobId) {
        if self.jobs.get(&job).is_some_and(|desk| desk.busy_nodes > 0) {
            self.busy.retain(|(_, busy)| *busy != job);
            self.busy.insert((state.priority(job), job));
        }
        self.move_to_priority(state, job);
        self.refresh(state, job);
        self.offer = true;
    }

    /// What a job that is being opened needs; its tags are counted.
    pub(super) fn profile_of(&mut self, record: &JobRecord) -> Profile {
        let needs = &record.spec.needs;
        let (tags, is_new) = self.tags.require(&needs.tags);
        if is_new {
            self.refit_nodes();
        }
        Profile::new(tags, needs.memory_bytes)
    }

    /// What a node has of what open jobs need.
    pub(super) fn fit_of(&self, equipment: &Equipment) -> Fit {
        Fit::new(self.tags.bits_of(&equipment.tags), equipment.memory_bytes)
    }

    fn refit_nodes(&mut self) {
        for (id, node) in &mut self.nodes {
            let fit = Fit::new(self.tags.bits_of(&node.equipment.tags), node.equipment.memory_bytes);
            let old = std::mem::replace(&mut node.fit, fit);
            if let Some(load) = node.hunger {
                self.hungry.remove(old, load, *id);
                self.hungry.insert(fit, load, *id);
            }
            if node.is_active() {
                self.crew.remove(old);
                self.crew.add(fit);
            }
        }
    }

    /// Counts a node that may be granted leases.
    pub(super) fn count_in(&mut self, node: &Node) {
        self.active_nodes += 1;
        self.active_lanes += u64::from(node.lanes);
        self.active_power += node.total_power();
        self.measured_lanes += node.measured_lanes();
        self.powers.add(&node.power);
        self.crew.add(node.fit);
        if let Some(desk) = node.job.and_then(|job| self.jobs.get_mut(&job)) {
            desk.power += node.total_power();
        }
    }

    /// Counts a node no longer.
    pub(super) fn count_out(&mut self, node: &Node) {
        self.active_nodes -= 1;
        self.active_lanes -= u64::from(node.lanes);
        self.active_power -= node.total_power();
        self.measured_lanes -= node.measured_lanes();
        self.powers.remove(&node.power);
        self.crew.remove(node.fit);
        if let Some(desk) = node.job.and_then(|job| self.jobs.get_mut(&job)) {
            desk.power -= node.total_power();
        }
    }

    /// The power of the farm. Lanes that were not measured yet count as much as the
    /// others do in the mean; as long as none was, each has 1.
    pub(super) fn power(&self) -> u64 {
        if self.measured_lanes == 0 {
            return self.active_lanes.saturating_mul(UNIT);
        }
        mul_div(self.active_power, self.active_lanes, self.measured_lanes)
    }

    /// Removes a job that is over from the share.
    pub(super) fn leave_share(&mut self, state: &State, job: JobId, desk: &Desk) {
        if let Some(key) = desk.ready {
            self.ready.remove(desk.profile, &key);
            self.classes.end(&desk.stake);
        }
        self.ready.tidy(desk.profile);
        self.classes.leave(&desk.stake);
        if let Some(at) = desk.stake.rise_timer {
            self.timers.remove(&(at, Timer::Rise(job)));
        }
        if let Some(at) = desk.survey_timer {
            self.timers.remove(&(at, Timer::Survey(job)));
        }
        if let Some(record) = state.jobs.get(&job) {
            self.tags.release(&record.spec.needs.tags);
        }
    }

    /// Notes whether a job waits: it has something to grant and no node on it.
    pub(super) fn note_waiting(&mut self, job: JobId) {
        let (Some(now), Some(desk)) = (self.now, self.jobs.get_mut(&job)) else { return };
        let waits = desk.ready.is_some() && desk.leases == 0;
        if let Some(at) = desk.stake.wait(now, waits, self.ageing_step_ms) {
            self.timers.insert((at, Timer::Rise(job)));
        }
    }

    /// The first command of this life says what time it is: jobs that wait do
    /// so from now on.
    pub(super) fn begin_time(&mut self, now: Timestamp) {
        if self.now.replace(now).is_none() {
            let jobs: Vec<_> = self.jobs.keys().copied().collect();
            jobs.into_iter().for_each(|job| self.note_waiting(job));
        }
    }

    /// Takes a job's entry out of the ready ones; `refresh` puts it back.
    fn withdraw(&mut self, job: JobId) -> Option<&mut Desk> {
        let desk = self.jobs.get_mut(&job)?;
        if let Some(key) = desk.ready.take() {
            self.ready.remove(desk.profile, &key);
            self.classes.end(&desk.stake);
        }
        Some(desk)
    }

    /// Moves a job to the level of its recorded priority, whatever it rose.
    pub(super) fn move_to_priority(&mut self, state: &State, job: JobId) {
        let now = self.now.unwrap_or_default();
        let Some(desk) = self.withdraw(job) else { return };
        desk.stake.forget_waiting(now);
        let Reverse(priority) = state.priority(job);
        self.move_to_level(job, priority);
    }

    fn move_to_level(&mut self, job: JobId, level: i32) {
        let Some(desk) = self.jobs.get_mut(&job) else { return };
        let lag = self.classes.leave(&desk.stake);
        self.classes.enter(&mut desk.stake, level, lag);
    }

    /// Gives a job its recorded weight.
    pub(super) fn reweigh(&mut self, state: &State, job: JobId) {
        let weight = state.jobs.get(&job).map_or(1, |record| record.spec.weight.max(1));
        let Some(desk) = self.withdraw(job) else { return };
        desk.stake.weight = weight;
        self.refresh(state, job);
    }

    /// Lets a job rise for as long as it has waited.
    pub(super) fn rise(&mut self, state: &State, now: Timestamp, job: JobId) {
        let top = self.ready.first().map_or(i32::MIN, |(Reverse(level), ..)| level);
        let step_ms = self.ageing_step_ms;
        let Some(desk) = self.jobs.get_mut(&job) else { return };
        let steps = desk.stake.rise(now, top, step_ms);
        if steps > 0
            && let Some(desk) = self.withdraw(job)
        {
            desk.stake.risen = desk.stake.risen.saturating_add(steps);
            let level = desk.stake.level.saturating_add(steps);
            self.move_to_level(job, level);
            self.offer = true;
        }
        self.refresh(state, job);
    }

    /// A job is about to be granted a lease.
    pub(super) fn serve(&mut self, job: JobId, limits: &Limits) {
        let power = self.power();
        let Some(desk) = self.jobs.get_mut(&job) else { return };
        self.classes.serve(&mut desk.stake, limits.share_memory, power);
    }

    /// A result was accepted: what it cost is delivered to its job, and both the
    /// node and the job are known better.
    pub(super) fn settle(&mut self, state: &State, id: NodeId, tile: &TileId, samples: u64, render_us: u64) {
        let job = tile.job;
        let (Some(node), Some(desk)) = (self.nodes.get_mut(&id), self.jobs.get_mut(&job)) else { return };
        let stake = &mut desk.stake;
        let (before, power, measured) = (node.total_power(), node.power, node.measured_lanes());
        let is_first = stake.cost.known().is_none();
        let is_alone = stake.only == Some(id);
        stake.only = Some(id).filter(|_| is_first || is_alone);
        let (power_known, cost, usual) = (&mut node.power, &mut stake.cost, self.usual_cost);
        let work = share::measure(power_known, cost, usual, samples, render_us, is_alone);
        self.usual_cost = stake.cost.known();
        stake.deliver(work);
        let ended = desk.leases == 0;
        if let Some(record) = state.jobs.get(&job) {
            desk.note_cost(record, tile, work);
        }
        if node.is_active() {
            let after = node.total_power();
            self.active_power = self.active_power - before + after;
            self.measured_lanes = self.measured_lanes - measured + node.measured_lanes();
            self.powers.remove(&power);
            self.powers.add(&node.power);
            if let Some(desk) = node.job.and_then(|job| self.jobs.get_mut(&job)) {
                desk.power = desk.power - before + after;
            }
        }
        if ended {
            self.resettle(state, job);
        }
    }

    /// Brings a job's pass and its place up to date.
    pub(super) fn resettle(&mut self, state: &State, job: JobId) {
        if let Some(desk) = self.jobs.get_mut(&job) {
            desk.stake.settle();
        }
        self.refresh(state, job);
    }
}
