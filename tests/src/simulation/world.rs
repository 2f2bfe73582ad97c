//! The world around the state machines: the clock, the queue of events, the
//! network and the blows of fate.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use farm_core::agent::AgentCommand;
use farm_core::scheduler::{Command, HeldLease, JobStatus, Lease};
use farm_core::{BlobDigest, FrameNumber, JobId, JobSpec, LeaseId, NodeId, TileId, Timestamp};

use super::check::{Checked, Ledger, Presence, Violation, Waste, ensure};
use super::master::{Master, Safe};
use super::node::{Kept, SimulatedNode};
use super::random::Random;
use super::scenario::{Plan, Scenario};

/// A connection of a node, by order of establishment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionId(pub(super) usize);

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) node: usize,
    pub(super) alive: bool,
    /// When the greeting arrives.
    greeting_at: Timestamp,
    /// When the last message of each control stream arrives.
    to_master_at: Timestamp,
    to_node_at: Timestamp,
}

/// From a node to the master.
#[derive(Debug)]
pub(super) enum ToMaster {
    Hello { lanes: u32, holding: Vec<HeldLease> },
    Progress { lease: LeaseId, samples: u64 },
    Failed { lease: LeaseId, kind: farm_core::scheduler::FailureKind, message: String },
    Draining,
    Tile { lease: LeaseId, kept: Kept },
}

/// From the master to a node.
#[derive(Debug)]
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
    Slice { node: usize, life: u32, lane: u32, run: u64, samples: u64 },
    BlobDone { node: usize, life: u32, digest: BlobDigest },
    MasterUp,
    MasterTick { life: u32 },
    Commit { life: u32 },
    AssemblyDone { life: u32, job: JobId, frame: FrameNumber },
    Submit(usize),
    Cut(ConnectionId),
    Blow,
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
    /// Lives of the master.
    pub master_lives: u32,
}

/// Runs a scenario to its end.
///
/// # Errors
/// Names the property that did not hold and what was seen.
pub fn simulate(scenario: &Scenario) -> Result<Report, Violation> {
    let mut world = World::new(scenario);
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
    pub(super) nodes: Vec<SimulatedNode>,
    pub(super) master: Option<Master>,
    pub(super) safe: Safe,
    /// The plan's jobs whose submission was answered.
    pub(super) submitted: Vec<bool>,
    pub(super) granted: BTreeMap<(NodeId, LeaseId), TileId>,
    pub(super) ledger: Ledger,
    pub(super) presence: Presence,
    pub(super) waste: Waste,
    finished_at: Option<Timestamp>,
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
            master: None,
            safe: Safe::default(),
            granted: BTreeMap::new(),
            ledger: Ledger::default(),
            presence: Presence::default(),
            waste: Waste::default(),
            finished_at: None,
        };
        world.schedule(0, Event::MasterUp);
        for node in 0..world.nodes.len() {
            world.schedule_within(5_000, Event::NodeUp { node });
        }
        for job in 0..world.plan.jobs.len() {
            world.schedule_within(20_000, Event::Submit(job));
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
    /// slowest node, after two expired leases and two longest pauses.
    fn deadline(&self) -> Timestamp {
        let pixels = self.plan.jobs.iter().map(|job| job.resolution.area() * job.frames.count());
        let per_pixel = self.plan.jobs.iter().map(|job| u64::from(job.settings.samples_per_pixel));
        let samples: u64 = pixels.zip(per_pixel).map(|(pixels, per_pixel)| pixels * per_pixel).sum();
        let slowest = self.plan.nodes.iter().map(|node| node.speed).min().unwrap_or(1);
        let limits = &self.plan.limits;
        let start = Timestamp(self.plan.faults.heal_at_ms.max(20_000) + samples * 1_000 / slowest);
        start.after(limits.lease_timeout * 2).after(limits.backoff_max * 2).after(AFTERMATH)
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
        match event {
            Event::ToMaster(connection, message) => self.master_receives(connection, message),
            Event::ToNode(connection, message) => self.node_receives(connection, message),
            Event::MasterSeesDown(connection) => self.master_sees_down(connection),
            Event::NodeSeesDown(connection) => self.node_sees_down(connection),
            Event::Connect { node, life } => self.connect(node, life),
            Event::NodeUp { node } => self.node_up(node),
            Event::NodeTick { node, life } => self.node_tick(node, life),
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
            Event::Nurse => self.nurse(),
        }
    }

    /// The node whose process an event needs.
    fn meant_for(&self, event: &Event) -> Option<usize> {
        match event {
            Event::ToNode(connection, _) | Event::NodeSeesDown(connection) => {
                Some(self.connections[connection.0].node)
            }
            Event::Connect { node, .. }
            | Event::NodeTick { node, .. }
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
            | Event::Nurse => None,
        }
    }

    /// Establishes a connection if there is a master to connect to.
    fn connect(&mut self, node: usize, life: u32) -> Checked {
        let simulated = &self.nodes[node];
        let waits = simulated.life == life
            && simulated.process.as_ref().is_some_and(|process| process.connection.is_none());
        if !waits {
            return Ok(());
        }
        if self.master.is_none() {
            self.schedule(1_000, Event::Connect { node, life });
            return Ok(());
        }
        let id = ConnectionId(self.connections.len());
        self.connections.push(Connection {
            node,
            alive: true,
            greeting_at: self.now,
            to_master_at: self.now,
            to_node_at: self.now,
        });
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        process.connection = Some(id);
        let hello = ToMaster::Hello {
            lanes: u32::try_from(process.lanes.len()).expect("a few"),
            holding: process.agent.holding(),
        };
        self.send_to_master(id, hello);
        self.tell_agent(node, AgentCommand::Connect)
    }

    /// Control messages arrive in order. A tile has a stream of its own, which
    /// the master's driver reads only once the greeting has come.
    pub(super) fn send_to_master(&mut self, id: ConnectionId, message: ToMaster) {
        let delayed = Timestamp(self.now.0 + self.random.between(0, self.plan.delay_ms));
        let connection = &mut self.connections[id.0];
        let at = match &message {
            ToMaster::Tile { .. } => delayed.max(connection.greeting_at),
            _ => delayed.max(connection.to_master_at),
        };
        match &message {
            ToMaster::Tile { .. } => {}
            ToMaster::Hello { .. } => (connection.greeting_at, connection.to_master_at) = (at, at),
            _ => connection.to_master_at = at,
        }
        self.schedule_at(at, Event::ToMaster(id, message));
    }

    pub(super) fn send_to_node(&mut self, id: ConnectionId, message: ToNode) {
        let delay = self.random.between(0, self.plan.delay_ms);
        let connection = &mut self.connections[id.0];
        connection.to_node_at = connection.to_node_at.max(Timestamp(self.now.0 + delay));
        let at = connection.to_node_at;
        self.schedule_at(at, Event::ToNode(id, message));
    }

    /// Breaks a connection; what is under way is lost, and each end notices in
    /// its own time.
    pub(super) fn cut(&mut self, id: ConnectionId) {
        if !std::mem::replace(&mut self.connections[id.0].alive, false) {
            return;
        }
        self.excuse_holdings(self.connections[id.0].node);
        self.schedule_within(3_000, Event::NodeSeesDown(id));
        self.schedule_within(3_000, Event::MasterSeesDown(id));
    }

    /// What a node holds may be rendered twice from here on, or in vain.
    pub(super) fn excuse_holdings(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else { return };
        for held in process.agent.holding() {
            if let Some(spec) = self.ledger.specs.get(&held.tile.job) {
                self.waste.excuse(spec, &held.tile);
            }
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
        match self.random.between(0, 4) {
            0 => self.kill_node(node),
            1 => {
                let connection = self.nodes[node].process.as_ref().and_then(|process| process.connection);
                if let Some(connection) = connection {
                    self.cut(connection);
                }
            }
            2 => self.stall(node),
            3 => return self.drain(node),
            _ => return self.person(),
        }
        Ok(())
    }

    /// A node does nothing for a while; beyond the connection's idle timeout
    /// its connection breaks.
    fn stall(&mut self, node: usize) {
        let stall_ms = self.random.between(100, 10_000);
        self.nodes[node].stalled_until = Timestamp(self.now.0 + stall_ms);
        let connection = self.nodes[node].process.as_ref().and_then(|process| process.connection);
        if let Some(connection) = connection.filter(|_| stall_ms > 3_000) {
            self.schedule(3_000, Event::Cut(connection));
        }
    }

    /// A person changes their mind about some job.
    fn person(&mut self) -> Checked {
        let Some(master) = &self.master else { return Ok(()) };
        let jobs = master.scheduler.jobs().count();
        if jobs == 0 {
            return Ok(());
        }
        let (request, job) = (u64::MAX, JobId(self.random.index(jobs) as u64 + 1));
        let command = match self.random.between(0, 15) {
            0..6 => Command::PauseJob { request, job },
            6..12 => Command::ResumeJob { request, job },
            12..15 => Command::RetryJob { request, job },
            _ => Command::CancelJob { request, job },
        };
        self.command(command)
    }

    /// After the faults: people resume and retry what stopped, until all is over.
    fn nurse(&mut self) -> Checked {
        self.schedule(5_000, Event::Nurse);
        let Some(master) = &self.master else { return Ok(()) };
        let open = master
            .scheduler
            .jobs()
            .filter(|job| !matches!(job.status, JobStatus::Done | JobStatus::Cancelled));
        let open: Vec<_> = open.map(|job| (job.job, job.status)).collect();
        if open.is_empty() && self.submitted.iter().all(|answered| *answered) && self.finished_at.is_none() {
            self.finished_at = Some(self.now);
        }
        let request = u64::MAX;
        for (job, status) in open {
            match status {
                JobStatus::Paused => self.command(Command::ResumeJob { request, job })?,
                JobStatus::Failed => self.command(Command::RetryJob { request, job })?,
                JobStatus::Waiting
                | JobStatus::Running
                | JobStatus::Stranded
                | JobStatus::Done
                | JobStatus::Cancelled => {}
            }
        }
        Ok(())
    }

    fn check_end(&self) -> Checked {
        ensure(self.finished_at.is_some(), "every job ends in time", || self.describe_jobs())?;
        self.ledger.check_end()?;
        self.waste.check_end(self.ledger.accepted_samples())?;
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
            master_lives: self.safe.lives,
        }
    }
}

/// How long a run goes on after the last job ended, for the last messages: more
/// than a reconnection and two deliveries.
const AFTERMATH: std::time::Duration = std::time::Duration::from_secs(30);
