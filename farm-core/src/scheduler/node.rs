//! What the floor keeps of a connected node: its leases and its measured speed.

use std::collections::{BTreeMap, BTreeSet};

use super::command::Equipment;
use super::fit::Fit;
use super::ratio::mul_div;
use super::share::{self, Estimate};
use super::state::Hold;
use crate::id::{BlobDigest, JobId, LeaseId};
use crate::limits::Limits;
use crate::tile::{BlockRange, TileId};
use crate::time::Timestamp;

/// A connected node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) lanes: u32,
    pub(super) equipment: Equipment,
    /// What it has of what open jobs need.
    pub(super) fit: Fit,
    /// The power of each of its lanes.
    pub(super) power: Estimate,
    /// Whether it said itself that it takes nothing more.
    pub(super) draining: bool,
    /// Whether it said that it takes nothing for now.
    pub(super) resting: bool,
    /// How people hold it back, as recorded.
    pub(super) hold: Hold,
    /// Whether it is on probation, and until when in quarantine, as its conduct has
    /// it.
    pub(super) probation: bool,
    pub(super) quarantined_until: Option<Timestamp>,
    pub(super) paused_until: Option<Timestamp>,
    /// Failures in a row.
    pub(super) setbacks: u32,
    pub(super) leases: BTreeMap<LeaseId, Held>,
    /// When a lease of it last ended.
    pub(super) freed_at: Timestamp,
    /// What is left of leases of which a part was accepted.
    pub(super) parted: BTreeMap<LeaseId, Vec<BlockRange>>,
    /// How many of them are of which job.
    pub(super) held_jobs: Vec<(JobId, u32)>,
    /// The predicted time of all its leases, in microseconds of one lane.
    pub(super) queued_us: u64,
    /// The job that it works on.
    pub(super) job: Option<JobId>,
    /// Samples per second of one lane, by job; the latest last, a few.
    pub(super) speeds: Vec<(JobId, u64)>,
    /// Jobs that it cannot take.
    pub(super) excluded: BTreeSet<JobId>,
    pub(super) tiles: u64,
    pub(super) failures: u64,
    /// Its key in `Floor::hungry`.
    pub(super) hunger: Option<u32>,
    /// Its entry in the timers, not after its first deadline.
    pub(super) deadline_timer: Option<Timestamp>,
}

/// A lease that a node holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) tile: TileId,
    pub(super) samples: u64,
    pub(super) predicted_us: u64,
    /// The work that its job was charged for.
    pub(super) charge: u64,
    pub(super) deadline: Timestamp,
    /// Whether rendering began.
    pub(super) started: bool,
    pub(super) granted_at: Timestamp,
    /// The first and the latest report of progress: when, and samples done.
    pub(super) progress: Option<[(Timestamp, u64); 2]>,
    /// Whether another node holds the range, and this is a copy.
    pub(super) is_backup: bool,
}

impl Node {
    pub(super) fn new(lanes: u32, equipment: Equipment, fit: Fit, hold: Hold) -> Self {
        Self {
            lanes,
            equipment,
            fit,
            power: Estimate::default(),
            draining: false,
            resting: false,
            hold,
            probation: false,
            quarantined_until: None,
            paused_until: None,
            setbacks: 0,
            leases: BTreeMap::new(),
            freed_at: Timestamp(0),
            parted: BTreeMap::new(),
            held_jobs: Vec::new(),
            queued_us: 0,
            job: None,
            speeds: Vec::new(),
            excluded: BTreeSet::new(),
            tiles: 0,
            failures: 0,
            hunger: None,
            deadline_timer: None,
        }
    }

    /// Whether it may be granted leases at all.
    pub(super) fn is_active(&self) -> bool {
        !self.draining && !self.resting && self.quarantined_until.is_none() && self.hold == Hold::default()
    }

    /// What its lanes have of power together, if that is known.
    pub(super) fn total_power(&self) -> u64 {
        self.power.known().unwrap_or(0).saturating_mul(self.lanes.into())
    }

    /// Its lanes, if their power is known.
    pub(super) fn measured_lanes(&self) -> u64 {
        self.power.known().map_or(0, |_| self.lanes.into())
    }

    /// Whether it said, or was seen, to hold a scene.
    pub(super) fn holds(&self, scene: &BlobDigest) -> bool {
        self.equipment.scenes.contains(scene)
    }

    /// Notes that it holds a scene, latest last.
    pub(super) fn note_scene(&mut self, scene: BlobDigest, limits: &Limits) {
        let scenes = &mut self.equipment.scenes;
        if scenes.last() == Some(&scene) {
            return;
        }
        scenes.retain(|held| *held != scene);
        if scenes.len() >= limits.scenes_per_node.max(1) {
            scenes.remove(0);
        }
        scenes.push(scene);
    }

    /// Counts a lease of a job; whether it is the only one.
    pub(super) fn count_lease(&mut self, job: JobId) -> bool {
        if let Some((_, count)) = self.held_jobs.iter_mut().find(|(held, _)| *held == job) {
            *count += 1;
            return false;
        }
        self.held_jobs.push((job, 1));
        true
    }

    /// Counts a lease of a job no longer; whether it was the last.
    pub(super) fn discount_lease(&mut self, job: JobId) -> bool {
        let Some(at) = self.held_jobs.iter().position(|(held, _)| *held == job) else { return false };
        self.held_jobs[at].1 -= 1;
        let last = self.held_jobs[at].1 == 0;
        if last {
            self.held_jobs.swap_remove(at);
        }
        last
    }

    /// Samples per second of one lane on a job, if measured.
    pub(super) fn speed(&self, job: JobId) -> Option<u64> {
        self.speeds.iter().rev().find(|(measured, _)| *measured == job).map(|(_, speed)| *speed)
    }

    /// Samples per second of one lane on a job: measured, or as its power and
    /// the cost of the job's samples foretell it.
    pub(super) fn speed_on(&self, job: JobId, cost: Option<u64>) -> Option<u64> {
        let foretold = || Some(share::speed_of(self.power.known()?, cost?));
        self.speed(job).or_else(foretold)
    }

    /// Takes a measurement into the job's speed: an exponential average of
    /// weight 1/4, begun with the first.
    pub(super) fn measure(&mut self, job: JobId, samples: u64, render_us: u64, limits: &Limits) {
        let measured = mul_div(samples, 1_000_000, render_us).clamp(1, MAX_SPEED);
        if let Some((_, speed)) = self.speeds.iter_mut().find(|(other, _)| *other == job) {
            *speed = (*speed * 3 + measured) / 4;
            return;
        }
        if self.speeds.len() >= limits.speeds_per_node.max(1) {
            self.speeds.remove(0);
        }
        self.speeds.push((job, measured));
    }
}

/// A petasample per second: sums and products of speeds stay far from 2^64.
const MAX_SPEED: u64 = 1 << 50;
