//! The world around the state machines: the clock, the queue of events, the
//! network and the blows of fate.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use farm_core::scheduler::{HeldLease, Lease};
use farm_core::{BlobDigest, FrameNumber, JobId, JobSpec, LeaseId, NodeId, TileId, Timestamp};

use super::check::{Checked, Ledger, Presence, Violation, Waste, check_shares, ensure};
use super::leases::Leases;
use super::master::{Master, Safe};
use super::network::Connection;
use super::node::{Kept, SimulatedNode};
use super::plant::Plant;
use super::scenario::{Plan, Scenario};
use crate::random::Random;

/// A connection of a node, by order of establishment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionId(pub(super) usize);

/// From a node to the master.
#[derive(Clone, Debug)]
pub(super) enum ToMaster {
    Hello { lanes: u32, holding: Vec<HeldLease> },
    Progress { lease: LeaseId, samples: u64 },
    Failed { lease: LeaseId, kind: farm_core::scheduler::FailureKind, message: String },
    Draining,
    Resting,
    Resumed,
    Tile { lease: LeaseId, kept: Kept },
}

/// From the master to a node.
#[derive(Clone, Debug)]
pub(super) enum ToNode {
    Job { job: JobId, spec: Box<JobSpec> },
    Granted(Lease),
    Revoked(LeaseId),
    Settled(LeaseId),
}

/// Something that happens at a certain time. `life` names the process that it
/// is meant for; a later one does not get it.
#[derive(Debug)]
pub(super) enum Event {
    ToMaster(ConnectionId, ToMaster),
    ToNode(ConnectionId, ToNode),
    MasterSeesDown(ConnectionId),
    NodeSeesDown(ConnectionId),
    Connect { node: usize, life: u32 },
    NodeUp { node: usize },
    NodeTick { node: usize, life: u32 },
    Resume { node: usize, life: u32 },
    Slice { node: usize, life: u32, lane: u32, run: u64, samples: u64 },
    BlobDone { node: usize, life: u32, digest: BlobDigest },
    MasterUp,
    MasterTick { life: u32 },
    Commit { life: u32 },
    AssemblyDone { life: u32, job: JobId, frame: FrameNumber },
    Submit(usize),
    Cut(ConnectionId),
    Blow,
    Lie { node: usize },
    Nurse,
}

/// An event in the queue: by time, then by the order in which it was scheduled.
#[derive(Debug)]
struct Scheduled {
    at: Timestamp,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// What a run was like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Events that happened.
    pub events: u64,
    /// Commands that the scheduler was given.
    pub commands: u64,
    /// Virtual time, in milliseconds.
    pub virtual_ms: u64,
    /// Jobs that were submitted.
    pub jobs: usize,
    /// Facts in the journal.
    pub facts: usize,
    /// BLAKE3 of the journal: the same seed gives the same.
    pub journal_digest: BlobDigest,
    /// Samples that were rendered.
    pub samples_rendered: u64,
    /// Samples that were rendered in vain.
    pub samples_wasted: u64,
    /// Samples that were granted twice, as copies of late leases.
    pub samples_copied: u64,
    /// Lives of the master.
    pub master_lives: u32,
    /// Samples accepted of each job by the time that the first of them was over.
    pub shares: BTreeMap<JobId, u64>,
}

/// Runs a scenario to its end.
///
/// # Errors
/// Names the property that did not hold and what was seen.
pub fn simulate(scenario: &Scenario) -> Result<Report, Violation> {
    simulate_with(scenario, None)
}

/// Runs a scenario with a bug planted.
///
/// # Errors
/// Names the property that did not hold and what was seen: the bug was caught.
pub fn simulate_with(scenario: &Scenario, plant: Option<Plant>) -> Result<Report, Violation> {
    let mut world = World::new(scenario);
    world.plant = plant;
    world.run()?;
    world.check_end()?;
    Ok(world.report())
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) random: Random,
    pub(super) plan: Plan,
    queue: BinaryHeap<Reverse<Scheduled>>,
    sequence: u64,
    events: u64,
    pub(super) commands: u64,
    pub(super) connections: Vec<Connection>,
    /// Those of them that are alive.
    pub(super) open_connections: BTreeSet<ConnectionId>,
    pub(super) nodes: Vec<SimulatedNode>,
    pub(super) master: Option<Master>,
    pub(super) safe: Safe,
    /// The plan's jobs whose submission was answered.
    pub(super) submitted: Vec<bool>,
    pub(super) granted: BTreeMap<(NodeId, LeaseId), TileId>,
    pub(super) ledger: Ledger,
    pub(super) presence: Presence,
    pub(super) leases: Leases,
    pub(super) waste: Waste,
    pub(super) plant: Option<Plant>,
    pub(super) trace: bool,
    /// Whether the jobs are equal, and so must be their shares.
    is_fair: bool,
    /// The place of each node by its number.
    pub(super) places: BTreeMap<NodeId, usize>,
    /// The master's disk takes nothing until then.
    pub(super) disk_full_until: Timestamp,
    /// The master waits for its disk until then.
    pub(super) stuck_until: Timestamp,
    finished_at: Option<Timestamp>,
    pub(super) shares: BTreeMap<JobId, u64>,
}

impl World {
    fn new(scenario: &Scenario) -> Self {
        let mut random = Random::new(scenario.seed);
        let plan = scenario.plan(&mut random);
        let nodes: Vec<_> =
            (0u64..).zip(&plan.nodes).map(|(index, plan)| SimulatedNode::new(index, plan)).collect();
        let mut world = Self {
            now: Timestamp(0),
            submitted: vec![false; plan.jobs.len()],
            nodes,
            random,
            plan,
            queue: BinaryHeap::new(),
            sequence: 0,
            events: 0,
            commands: 0,
            connections: Vec::new(),
            open_connections: BTreeSet::new(),
            master: None,
            safe: Safe::default(),
            granted: BTreeMap::new(),
            ledger: Ledger::default(),
            presence: Presence::default(),
            leases: Leases::default(),
            waste: Waste::default(),
            plant: None,
            trace: scenario.trace,
            is_fair: scenario.equal_jobs.is_some() && !scenario.faults,
            places: BTreeMap::new(),
            disk_full_until: Timestamp(0),
            stuck_until: Timestamp(0),
            finished_at: None,
            shares: BTreeMap::new(),
        };
        world.places = world.nodes.iter().enumerate().map(|(place, node)| (node.id, place)).collect();
        world.schedule(0, Event::MasterUp);
        for node in 0..world.nodes.len() {
            world.schedule_within(5_000, Event::NodeUp { node });
            if world.nodes[node].plan.lies {
                world.schedule_within(10_000, Event::Lie { node });
            }
        }
        for job in 0..world.plan.jobs.len() {
            world.schedule_within(world.plan.submit_within_ms, Event::Submit(job));
        }
        if world.plan.faults.blow_interval_ms > 0 {
            world.schedule(1_000, Event::Blow);
        }
        world.schedule(world.plan.faults.heal_at_ms, Event::Nurse);
        world
    }

    /// Schedules an event after a number of milliseconds.
    pub(super) fn schedule(&mut self, delay_ms: u64, event: Event) {
        self.schedule_at(Timestamp(self.now.0 + delay_ms), event);
    }

    pub(super) fn schedule_at(&mut self, at: Timestamp, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Scheduled { at: at.max(self.now), sequence: self.sequence, event }));
    }

    /// Schedules an event after 0 to `most_ms` milliseconds.
    pub(super) fn schedule_within(&mut self, most_ms: u64, event: Event) {
        let delay_ms = self.random.between(0, most_ms);
        self.schedule(delay_ms, event);
    }

    pub(super) fn is_healed(&self) -> bool {
        self.now.0 >= self.plan.faults.heal_at_ms
    }

    fn run(&mut self) -> Checked {
        let end = self.deadline();
        while let Some(Reverse(scheduled)) = self.queue.pop() {
            self.now = scheduled.at;
            self.events += 1;
            ensure(self.now <= end, "every job ends in time", || self.describe_jobs())?;
            if self.finished_at.is_some_and(|at| self.now.since(at) > AFTERMATH) {
                return Ok(());
            }
            self.happen(scheduled.event)?;
        }
        Ok(())
    }

    /// When every job must have ended: all of its samples on one lane of the
    /// slowest node, after two expired leases, two longest pauses and a quarantine.
    fn deadline(&self) -> Timestamp {
        let pixels = self.plan.jobs.iter().map(|job| job.resolution.area() * job.frames.count());
        let per_pixel = self.plan.jobs.iter().map(|job| u64::from(job.settings.samples_per_pixel));
        let samples: u64 = pixels.zip(per_pixel).map(|(pixels, per_pixel)| pixels * per_pixel).sum();
        let slowest = self.plan.nodes.iter().map(|node| node.speed).min().unwrap_or(1);
        let limits = &self.plan.limits;
        let start = Timestamp(self.plan.faults.heal_at_ms.max(20_000) + samples * 1_000 / slowest);
        let pauses = limits.backoff_max * 2 + limits.quarantine_max;
        start.after(limits.lease_timeout * 2).after(pauses).after(AFTERMATH)
    }

    fn describe_jobs(&self) -> String {
        let Some(master) = &self.master else { return "the master is down".into() };
        let jobs = master.scheduler.jobs();
        jobs.map(|job| format!("job {} is {:?}: {}; ", job.job, job.status, job.explanation)).collect()
    }

    fn happen(&mut self, event: Event) -> Checked {
        if let Some(node) = self.meant_for(&event)
            && self.nodes[node].stalled_until > self.now
        {
            self.schedule_at(self.nodes[node].stalled_until, event);
            return Ok(());
        }
        if let Some(held_up_until) = self.held_up_until(&event) {
            self.schedule_at(held_up_until, event);
            return Ok(());
        }
        if self.trace && !matches!(event, Event::Slice { .. }) {
            self.note(&event);
        }
        match event {
            Event::ToMaster(connection, message) => self.master_receives(connection, message),
            Event::ToNode(connection, message) => self.node_receives(connection, message),
            Event::MasterSeesDown(connection) => self.master_sees_down(connection),
            Event::NodeSeesDown(connection) => self.node_sees_down(connection),
            Event::Connect { node, life } => self.connect(node, life),
            Event::NodeUp { node } => self.node_up(node),
            Event::NodeTick { node, life } => self.node_tick(node, life),
            Event::Resume { node, life } => self.resume(node, life),
            Event::Slice { node, life, lane, run, samples } => self.slice(node, life, lane, run, samples),
            Event::BlobDone { node, life, digest } => self.blob_done(node, life, digest),
            Event::MasterUp => self.master_up(),
            Event::MasterTick { life } => self.master_tick(life),
            Event::Commit { life } => self.commit(life),
            Event::AssemblyDone { life, job, frame } => self.assembly_done(life, job, frame),
            Event::Submit(job) => self.submit(job),
            Event::Cut(connection) => {
                self.cut(connection);
                Ok(())
            }
            Event::Blow => self.blow(),
            Event::Lie { node } => {
                self.lie(node);
                self.schedule_within(10_000, Event::Lie { node });
                Ok(())
            }
            Event::Nurse => self.nurse(),
        }
    }

    /// Tells what happens, for whoever replays a seed.
    #[expect(clippy::print_stderr, reason = "asked for by `--trace`")]
    pub(super) fn note(&self, what: &impl std::fmt::Debug) {
        eprintln!("{:>9} ms  {what:?}", self.now.0);
    }

    /// Until when a message waits for a way through the network, or anything for a
    /// master that waits for its disk.
    fn held_up_until(&self, event: &Event) -> Option<Timestamp> {
        let link = |id: &ConnectionId| self.nodes[self.connections[id.0].node].cut_off_until;
        let until = match event {
            Event::ToMaster(id, _) => link(id).max(self.stuck_until),
            Event::ToNode(id, _) => link(id),
            Event::MasterSeesDown(_)
            | Event::MasterTick { .. }
            | Event::AssemblyDone { .. }
            | Event::Submit(_)
            | Event::Nurse => self.stuck_until,
            Event::NodeSeesDown(_)
            | Event::Connect { .. }
            | Event::NodeUp { .. }
            | Event::NodeTick { .. }
            | Event::Resume { .. }
            | Event::Slice { .. }
            | Event::BlobDone { .. }
            | Event::MasterUp
            | Event::Commit { .. }
            | Event::Cut(_)
            | Event::Blow
            | Event::Lie { .. } => return None,
        };
        (until > self.now).then_some(until)
    }

    /// The node whose process an event needs.
    fn meant_for(&self, event: &Event) -> Option<usize> {
        match event {
            Event::ToNode(connection, _) | Event::NodeSeesDown(connection) => {
                Some(self.connections[connection.0].node)
            }
            Event::Connect { node, .. }
            | Event::NodeTick { node, .. }
            | Event::Resume { node, .. }
            | Event::Slice { node, .. }
            | Event::BlobDone { node, .. } => Some(*node),
            Event::ToMaster(..)
            | Event::MasterSeesDown(_)
            | Event::NodeUp { .. }
            | Event::MasterUp
            | Event::MasterTick { .. }
            | Event::Commit { .. }
            | Event::AssemblyDone { .. }
            | Event::Submit(_)
            | Event::Cut(_)
            | Event::Blow
            | Event::Lie { .. }
            | Event::Nurse => None,
        }
    }

    /// What a node holds may be rendered twice from here on, or in vain.
    pub(super) fn excuse_holdings(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else { return };
        for held in process.agent.holding() {
            self.excuse_tile(&held.tile);
        }
    }

    /// Some of a tile's samples may be rendered twice, or in vain.
    pub(super) fn excuse_tile(&mut self, tile: &TileId) {
        if let Some(spec) = self.ledger.specs.get(&tile.job) {
            self.waste.excuse(spec, tile);
        }
    }

    fn blow(&mut self) -> Checked {
        if self.is_healed() {
            return Ok(());
        }
        self.schedule_within(2 * self.plan.faults.blow_interval_ms, Event::Blow);
        if self.random.chance(self.plan.faults.kill_master_per_mille) {
            return self.kill_master();
        }
        let node = self.random.index(self.nodes.len());
        match self.random.between(0, 12) {
            0 => self.kill_node(node),
            1 => {
                let connection = self.nodes[node].process.as_ref().and_then(|process| process.connection);
                if let Some(connection) = connection {
                    self.cut(connection);
                }
            }
            2 => self.stall(node),
            3 => return self.drain(node),
            4 => self.partition(),
            5 => self.fill_disk(),
            6 => self.slow_down(node),
            7 => self.nodes[node].remember(),
            8 => return self.come_back(node),
            9 => self.lose_power(node),
            10 => return self.rest(node),
            _ => return self.person(),
        }
        Ok(())
    }

    /// Notes that all jobs are over, once.
    pub(super) fn note_finished(&mut self) {
        self.finished_at.get_or_insert(self.now);
    }

    fn check_end(&self) -> Checked {
        ensure(self.finished_at.is_some(), "every job ends in time", || self.describe_jobs())?;
        self.ledger.check_end()?;
        self.waste.check_end(self.ledger.accepted_samples())?;
        if self.is_fair {
            check_shares(&self.shares)?;
        }
        self.check_restored()?;
        self.check_books()?;
        for node in &self.nodes {
            let Some(process) = &node.process else { continue };
            let left = process.agent.holding().len() + process.kept.len();
            ensure(left == 0, "nothing is left over", || {
                format!("node {} holds {left} leases and tiles", node.id)
            })?;
        }
        Ok(())
    }

    fn report(&self) -> Report {
        let mut hasher = blake3::Hasher::new();
        for fact in &self.safe.journal {
            hasher.update(format!("{fact:?}").as_bytes());
        }
        let accepted = self.ledger.accepted_samples();
        let samples_wasted = self.waste.wasted(accepted);
        Report {
            events: self.events,
            commands: self.commands,
            virtual_ms: self.now.0,
            jobs: self.ledger.specs.len(),
            facts: self.safe.journal.len(),
            journal_digest: BlobDigest(*hasher.finalize().as_bytes()),
            samples_rendered: accepted + samples_wasted,
            samples_wasted,
            samples_copied: self.waste.copied(),
            master_lives: self.safe.lives,
            shares: self.shares.clone(),
        }
    }
}

/// How long a run goes on after the last job ended, for the last messages: more
/// than a reconnection and two deliveries.
const AFTERMATH: std::time::Duration = std::time::Duration::from_secs(30);
