//! Who is owed how much of the farm: virtual time by weight, what nodes and
//! scenes are worth, and what waiting adds to a priority.
//!
//! **Virtual time** is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM
//! 1996): stride scheduling (Waldspurger and Weihl, MIT 1995) of requests of
//! unequal size. Each job has a *pass*, the work that it was given divided by
//! its weight, and among jobs of one level the one with the smallest pass is
//! served first. A job that had nothing to grant for a while goes on at the
//! pass that is being served now: what it did not use is not owed to it.
//!
//! **Work** is time on an adapter times the power of that adapter, so that a
//! share of a farm of unequal nodes is a share of what gets done. Powers and
//! the costs of scenes follow from each other: a node's speed on a job is its
//! power divided by the job's cost for a sample. Both are estimated from every
//! result, the node's by the job and the job's by the node. The first node
//! that delivers anything has power 1; a scene of which nothing is known costs
//! what the latest one did.
//!
//! **Ageing.** A job that has something to grant and no node on it rises by a
//! priority every [`Limits::ageing_step`](crate::Limits::ageing_step), until it is level with the highest
//! job that has something to grant; it never passes that. It keeps what it rose:
//! from then on it has its weight's share of that level.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::ratio::mul_div;
use crate::id::{JobId, NodeId};
use crate::time::Timestamp;

/// Higher level first, then the smaller pass, then older.
pub(super) type ReadyKey = (Reverse<i32>, u128, JobId);

/// Power 1, of which a second is [`UNIT`] of work.
pub(super) const UNIT: u64 = 1 << 20;

/// Costs are those of this many samples, so that a petasample a second still
/// has one that is not 0.
const COST_SHIFT: u32 = 30;

/// Largest power and cost: products with the largest speed stay below 2^128.
const MOST: u64 = 1 << 50;

/// Passes are kept with this many binary places more than work, so that work
/// divided by the largest weight keeps 10 bits.
const PASS_SHIFT: u32 = 20;

/// Results that a node's power is the mean of; older ones fade.
const POWER_RESULTS: u32 = 16;

/// Results that a job's cost is the mean of: of several nodes and rectangles.
const COST_RESULTS: u32 = 64;

/// A mean of the latest measurements, the plain one at first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Estimate {
    value: u64,
    results: u32,
}

impl Estimate {
    /// The mean, if anything was measured.
    pub(super) fn known(&self) -> Option<u64> {
        (self.results > 0).then_some(self.value)
    }

    fn take(&mut self, measured: u128, results: u32) {
        self.results = (self.results + 1).min(results);
        // At most 64 times 2^50.
        let measured = u64::try_from(measured).map_or(MOST, |measured| measured.min(MOST));
        let count = u64::from(self.results);
        self.value = ((self.value * (count - 1) + measured) / count).max(1);
    }
}

/// Takes a result into the power of its node's lanes and the cost of its job's
/// samples; the work that it was. Of a job that only this node has rendered
/// (`is_alone`), all that is known of its cost is by the node's power, so that
/// nothing new is learned of that.
pub(super) fn measure(
    power: &mut Estimate,
    cost: &mut Estimate,
    usual_cost: Option<u64>,
    samples: u64,
    render_us: u64,
    is_alone: bool,
) -> u64 {
    let (samples, render_us) = (samples.max(1), render_us.max(1));
    // Of a power, the cost that the result shows, and the other way around.
    let cost_by = |power: u64| {
        let work = (u128::from(power) << COST_SHIFT) * u128::from(render_us);
        quotient(work, u128::from(samples) * 1_000_000)
    };
    let power_by = |cost: u64| {
        let work = u128::from(cost) * u128::from(samples) * 1_000_000;
        quotient(work, u128::from(render_us)) >> COST_SHIFT
    };
    match (power.known(), cost.known().or(usual_cost)) {
        (None, None) => {
            power.take(UNIT.into(), POWER_RESULTS);
            cost.take(cost_by(UNIT), COST_RESULTS);
        }
        (Some(known), None) => cost.take(cost_by(known), COST_RESULTS),
        (None, Some(known)) => {
            power.take(power_by(known), POWER_RESULTS);
            cost.take(known.into(), COST_RESULTS);
        }
        (Some(known_power), Some(known_cost)) => {
            if !is_alone {
                power.take(power_by(known_cost), POWER_RESULTS);
            }
            cost.take(cost_by(known_power), COST_RESULTS);
        }
    }
    mul_div(power.value, render_us, 1_000_000).min(MOST)
}

/// A quotient, by words where both fit one.
fn quotient(dividend: u128, divisor: u128) -> u128 {
    match (u64::try_from(dividend), u64::try_from(divisor)) {
        (Ok(dividend), Ok(divisor)) => (dividend / divisor).into(),
        _ => dividend / divisor,
    }
}

/// What so many samples of a cost are worth.
pub(super) fn work_of(cost: u64, samples: u64) -> u64 {
    let work = (u128::from(cost) * u128::from(samples)) >> COST_SHIFT;
    u64::try_from(work).unwrap_or(MOST).min(MOST)
}

/// Samples a second of a lane of this power on a job of this cost.
pub(super) fn speed_of(power: u64, cost: u64) -> u64 {
    mul_div(power, 1 << COST_SHIFT, cost).clamp(1, MOST)
}

/// How many microseconds `work` takes where `power` does a second's worth in a
/// second.
pub(super) fn time_of(work: u64, power: u64) -> u64 {
    mul_div(work, 1_000_000, power)
}

/// How many lanes there are of which power, by its power of two.
#[derive(Debug)]
pub(super) struct Powers {
    nodes: [u32; 64],
}

impl Default for Powers {
    fn default() -> Self {
        Self { nodes: [0; 64] }
    }
}

impl Powers {
    fn slot(&mut self, power: &Estimate) -> Option<&mut u32> {
        let place = power.known()?.checked_ilog2()?;
        self.nodes.get_mut(place as usize)
    }

    pub(super) fn add(&mut self, power: &Estimate) {
        if let Some(nodes) = self.slot(power) {
            *nodes += 1;
        }
    }

    pub(super) fn remove(&mut self, power: &Estimate) {
        if let Some(nodes) = self.slot(power) {
            *nodes -= 1;
        }
    }

    /// The power of the fastest lane, rounded down to a power of two.
    pub(super) fn fastest(&self) -> Option<u64> {
        self.nodes.iter().rposition(|nodes| *nodes > 0).map(|place| 1 << place)
    }
}

/// A job's part in the farm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stake {
    /// Its priority and what it rose.
    pub(super) level: i32,
    pub(super) risen: i32,
    pub(super) weight: u32,
    /// The work that it was given, by its weight; see the file's documentation.
    pub(super) pass: u128,
    /// Work that is still to be charged, or given back.
    correction: i128,
    /// The work that was accepted of it in this life of the scheduler.
    pub(super) delivered: u64,
    pub(super) cost: Estimate,
    /// The node that its results are of, as long as they are of one.
    pub(super) only: Option<NodeId>,
    /// Since when it waits, if it does.
    pub(super) waiting_since: Option<Timestamp>,
    /// How long it had waited before, beyond what made it rise.
    waited_ms: u64,
    /// Its entry in the timers.
    pub(super) rise_timer: Option<Timestamp>,
}

impl Stake {
    pub(super) fn new(priority: i32, weight: u32) -> Self {
        Self {
            level: priority,
            risen: 0,
            weight: weight.max(1),
            pass: 0,
            correction: 0,
            delivered: 0,
            cost: Estimate::default(),
            only: None,
            waiting_since: None,
            waited_ms: 0,
            rise_timer: None,
        }
    }

    pub(super) fn key(&self, job: JobId) -> ReadyKey {
        (Reverse(self.level), self.pass, job)
    }

    /// Charges the job for work that it is given.
    pub(super) fn charge(&mut self, work: u64) {
        self.correction += i128::from(work);
        self.settle();
    }

    /// Takes a charge back, when it is next charged or settled.
    pub(super) fn refund(&mut self, work: u64) {
        self.correction -= i128::from(work);
    }

    /// A result was worth so much: charged when it is next charged or settled. What
    /// was foretold and what it was differ little, and a pass that does not
    /// change needs no new place in the order.
    pub(super) fn deliver(&mut self, work: u64) {
        self.correction += i128::from(work);
        self.delivered = self.delivered.saturating_add(work);
    }

    /// Makes the pass what it should be.
    pub(super) fn settle(&mut self) {
        let correction = std::mem::take(&mut self.correction);
        let passes = self.pass_of(correction.unsigned_abs());
        self.pass = match correction {
            0.. => self.pass.saturating_add(passes),
            _ => self.pass.saturating_sub(passes),
        };
    }

    fn pass_of(&self, work: u128) -> u128 {
        // The usual weight needs no division.
        if self.weight == 1 { work << PASS_SHIFT } else { (work << PASS_SHIFT) / u128::from(self.weight) }
    }

    /// Notes whether it waits; when to look at it next.
    pub(super) fn wait(&mut self, now: Timestamp, waits: bool, step_ms: u64) -> Option<Timestamp> {
        match (self.waiting_since, waits) {
            (None, true) => self.waiting_since = Some(now),
            (Some(since), false) => {
                self.waited_ms = self.waited_ms.saturating_add(millis(now.since(since)));
                self.waiting_since = None;
            }
            (Some(_), true) | (None, false) => {}
        }
        let since = self.waiting_since.filter(|_| self.rise_timer.is_none())?;
        let left = step_ms.saturating_sub(self.waited_ms);
        self.rise_timer = Some(Timestamp(since.0.saturating_add(left)));
        self.rise_timer
    }

    /// How far it rises for having waited until now, to `top` at most.
    pub(super) fn rise(&mut self, now: Timestamp, top: i32, step_ms: u64) -> i32 {
        self.rise_timer = None;
        let Some(since) = self.waiting_since else { return 0 };
        let waited = self.waited_ms.saturating_add(millis(now.since(since)));
        self.waiting_since = Some(now);
        self.waited_ms = waited % step_ms;
        let steps = i64::try_from(waited / step_ms).unwrap_or(i64::MAX);
        let room = (i64::from(top) - i64::from(self.level)).max(0);
        i32::try_from(steps.min(room)).unwrap_or(i32::MAX)
    }

    /// Forgets what it rose, for a person gave it another priority.
    pub(super) fn forget_waiting(&mut self, now: Timestamp) {
        self.risen = 0;
        self.waited_ms = 0;
        self.waiting_since = self.waiting_since.map(|_| now);
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The jobs of each level: how many, the weight of those with something to
/// grant, and the pass that is being served.
#[derive(Debug, Default)]
pub(super) struct Classes {
    by_level: BTreeMap<i32, Class>,
}

#[derive(Debug, Default)]
struct Class {
    jobs: u32,
    ready_weight: u64,
    time: u128,
}

impl Classes {
    /// A job joins a level, `lag` ahead of what is being served there.
    pub(super) fn enter(&mut self, stake: &mut Stake, level: i32, lag: u128) {
        let class = self.by_level.entry(level).or_default();
        class.jobs += 1;
        stake.level = level;
        stake.pass = class.time.saturating_add(lag);
    }

    /// A job leaves its level; how far ahead it was.
    pub(super) fn leave(&mut self, stake: &Stake) -> u128 {
        let Some(class) = self.by_level.get_mut(&stake.level) else { return 0 };
        let lag = stake.pass.saturating_sub(class.time);
        class.jobs -= 1;
        if class.jobs == 0 {
            self.by_level.remove(&stake.level);
        }
        lag
    }

    /// A job of this level has something to grant from now on.
    pub(super) fn begin(&mut self, stake: &mut Stake) {
        let Some(class) = self.by_level.get_mut(&stake.level) else { return };
        class.ready_weight += u64::from(stake.weight);
        stake.pass = stake.pass.max(class.time);
    }

    /// A job has nothing to grant any more.
    pub(super) fn end(&mut self, stake: &Stake) {
        if let Some(class) = self.by_level.get_mut(&stake.level) {
            class.ready_weight -= u64::from(stake.weight);
        }
    }

    /// A job is served. One that could not be for long is owed at most what its
    /// share of a farm of this power does in the time `memory`.
    pub(super) fn serve(&mut self, stake: &mut Stake, memory: Duration, power: u64) {
        let time = self.by_level.get(&stake.level).map_or(0, |class| class.time);
        if stake.pass < time {
            let owed = self.passes_in(stake.level, memory, power);
            stake.pass = stake.pass.max(time.saturating_sub(owed));
        } else if let Some(class) = self.by_level.get_mut(&stake.level) {
            class.time = stake.pass;
        }
    }

    /// How far passes of a level move while the farm, of `power`, works on it
    /// for a time.
    pub(super) fn passes_in(&self, level: i32, time: Duration, power: u64) -> u128 {
        let weight = self.ready_weight(level).max(1);
        let work = u128::from(power).saturating_mul(time.as_micros()) / 1_000_000;
        (work << PASS_SHIFT) / u128::from(weight)
    }

    /// The weight of the jobs of a level that have something to grant.
    pub(super) fn ready_weight(&self, level: i32) -> u64 {
        self.by_level.get(&level).map_or(0, |class| class.ready_weight)
    }

    /// Checks the counts against the jobs: level, weight if ready.
    pub(super) fn audit(&self, jobs: impl Iterator<Item = (i32, Option<u32>)>) -> Result<(), String> {
        let mut counted: BTreeMap<i32, (u32, u64)> = BTreeMap::new();
        for (level, weight) in jobs {
            let class = counted.entry(level).or_default();
            class.0 += 1;
            class.1 += u64::from(weight.unwrap_or(0));
        }
        let kept = self.by_level.iter().map(|(level, class)| (*level, (class.jobs, class.ready_weight)));
        let kept: BTreeMap<_, _> = kept.collect();
        if kept == counted { Ok(()) } else { Err(format!("the levels hold {kept:?}, not {counted:?}")) }
    }
}
