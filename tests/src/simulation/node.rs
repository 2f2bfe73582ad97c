//! A simulated node: a real agent, a driver in a few lines, lanes that take
//! virtual time, and a disk that survives the process.

use std::collections::{BTreeMap, BTreeSet};

use farm_core::agent::LaneIndex;
use farm_core::scheduler::Lease;
use farm_core::{Agent, BlobDigest, JobId, JobSpec, LeaseId, Limits, NodeId, RenderTask, TileId, Timestamp};

use super::check::{Checked, ensure};
use super::scenario::NodePlan;
use super::world::ConnectionId;
use crate::random::Random;

#[derive(Debug)]
pub(super) struct SimulatedNode {
    pub(super) id: NodeId,
    pub(super) plan: NodePlan,
    /// Blobs on its disk.
    pub(super) cache: BTreeSet<BlobDigest>,
    /// Counts its processes, so that what was meant for an earlier one is told.
    pub(super) life: u32,
    pub(super) process: Option<Process>,
    pub(super) stalled_until: Timestamp,
    /// No packet passes until then.
    pub(super) cut_off_until: Timestamp,
    /// It renders at an eighth of its speed until then.
    pub(super) slow_until: Timestamp,
    /// Blobs that were written lately, and when.
    pub(super) unsynced: Vec<(Timestamp, BlobDigest)>,
    /// Its process and its disk as they were once: a machine that is restored from
    /// a backup comes back with them.
    pub(super) remembered: Option<Box<(Process, BTreeSet<BlobDigest>)>>,
    /// Whether it ever said that it holds what it was not given.
    pub(super) invents_leases: bool,
}

/// What dies with the process.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) agent: Agent,
    pub(super) connection: Option<ConnectionId>,
    pub(super) lanes: Vec<Option<Run>>,
    pub(super) next_run: u64,
    /// Leases as the master sent them.
    pub(super) leases: BTreeMap<LeaseId, Lease>,
    /// Encoded tiles that the agent has not told to forget.
    pub(super) kept: BTreeMap<LeaseId, Vec<Kept>>,
    pub(super) specs: BTreeMap<JobId, Box<JobSpec>>,
    pub(super) tick_at: Option<Timestamp>,
    /// Blobs that it waits for.
    pub(super) fetching: BTreeSet<BlobDigest>,
    /// Whether a lane hung in this process.
    pub(super) hung: bool,
    /// How often it was told to leave.
    pub(super) drains: u32,
    /// Tiles that a plant has seen sent.
    pub(super) sent: BTreeSet<LeaseId>,
}

/// A lane at work.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) run: u64,
    pub(super) lease: LeaseId,
    pub(super) job: JobId,
    pub(super) done: u64,
    /// Whether it is to stop after this slice.
    pub(super) yields: bool,
    pub(super) samples: u64,
}

/// A finished tile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) tile: TileId,
    pub(super) blob: BlobDigest,
    pub(super) render_us: u64,
}

impl SimulatedNode {
    pub(super) fn new(index: u64, plan: &NodePlan) -> Self {
        Self {
            id: NodeId(Random::new(index).next()),
            plan: plan.clone(),
            cache: BTreeSet::new(),
            life: 0,
            process: None,
            stalled_until: Timestamp(0),
            cut_off_until: Timestamp(0),
            slow_until: Timestamp(0),
            unsynced: Vec::new(),
            remembered: None,
            invents_leases: false,
        }
    }

    pub(super) fn start(&mut self, limits: &Limits) {
        self.life += 1;
        self.process = Some(Process {
            agent: Agent::new(self.plan.lanes, self.cache.clone(), limits.clone()),
            connection: None,
            lanes: vec![None; self.plan.lanes as usize],
            next_run: 0,
            leases: BTreeMap::new(),
            kept: BTreeMap::new(),
            specs: BTreeMap::new(),
            tick_at: None,
            fetching: BTreeSet::new(),
            hung: false,
            drains: 0,
            sent: BTreeSet::new(),
        });
    }

    /// Keeps a copy of process and disk.
    pub(super) fn remember(&mut self) {
        let process = self.process.clone();
        self.remembered = process.map(|process| Box::new((process, self.cache.clone())));
    }

    /// Samples per second of a lane at a time.
    pub(super) fn speed(&self, now: Timestamp) -> u64 {
        if self.slow_until > now { self.plan.speed / 8 } else { self.plan.speed }
    }

    /// Property: a lane is given one task at a time, of a lease that was
    /// granted, as it was granted, with every blob of its job on disk.
    pub(super) fn check_task(
        &self,
        lane: LaneIndex,
        lease: LeaseId,
        job: JobId,
        task: &RenderTask,
    ) -> Checked {
        let property = "a lane is given what was granted, and can render it";
        let Some(process) = &self.process else { return Ok(()) };
        let idle = process.lanes.get(lane.0 as usize).is_some_and(Option::is_none);
        ensure(idle, property, || format!("{lane:?} is not free for {lease}"))?;
        let granted = process.leases.get(&lease).is_some_and(|granted| {
            (granted.tile.job, granted.tile.frame, granted.tile.range, granted.rect)
                == (job, task.frame, task.range, task.rect)
        });
        ensure(granted, property, || format!("{task:?} is not lease {lease}"))?;
        let spec = process.specs.get(&job);
        let here = spec.is_some_and(|spec| spec.blobs_of(task.frame).all(|blob| self.cache.contains(&blob)));
        ensure(here, property, || format!("blobs of job {job} are missing"))
    }

    /// Property: a node that was told to leave, once, loses nothing.
    pub(super) fn check_leave(&self) -> Checked {
        let Some(process) = &self.process else { return Ok(()) };
        let left = process.agent.holding().len() + process.kept.len();
        let lossless = left == 0 || process.drains > 1;
        ensure(lossless, "a drained node loses nothing", || {
            format!("node {} held {left} leases and tiles", self.id)
        })
    }

    /// Property: a lease expires only where a lane hangs: with an honest link and
    /// a live node, progress comes long before the deadline.
    pub(super) fn check_expiry(&self, lease: LeaseId) -> Checked {
        let hung = self.process.as_ref().is_some_and(|process| process.hung);
        ensure(hung || self.invents_leases, "only leases of hung lanes expire", || {
            format!("lease {lease} of node {}", self.id)
        })
    }

    /// Property: what a node holds is bounded.
    pub(super) fn check_bounds(&self, limits: &Limits) -> Checked {
        let Some(process) = &self.process else { return Ok(()) };
        let lanes = self.plan.lanes as usize;
        let most = lanes * (limits.leases_per_lane_max as usize + 1) + limits.unsent_tiles;
        let holding = process.agent.holding().len();
        ensure(holding <= most, "what a node holds is bounded", || format!("{holding} leases"))?;
        // Each lane may have given way, with a tile for each level of its lease's tree.
        let kept = process.kept.len();
        ensure(kept <= limits.unsent_tiles + lanes, "what a node holds is bounded", || {
            format!("{kept} tiles")
        })
    }
}
