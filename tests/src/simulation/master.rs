//! The simulated master: a real scheduler and a driver that commits facts
//! before it performs what follows them, and that can be killed in between.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use farm_core::scheduler::{Answer, Command, Effect, Fact, Verdict};
use farm_core::{BlobDigest, FrameNumber, JobId, LeaseId, NodeId, Scheduler, TileId, Timestamp};

use super::check::{Checked, ensure, honest_blob};
use super::plant::Plant;
use super::world::{ConnectionId, Event, ToMaster, ToNode, World};

/// What survives the master's death.
#[derive(Debug, Default)]
pub(super) struct Safe {
    pub(super) journal: Vec<Fact>,
    pub(super) lives: u32,
}

/// What dies with it.
#[derive(Debug)]
pub(super) struct Master {
    pub(super) scheduler: Scheduler,
    life: u32,
    /// Effects that wait for the next commit, in order.
    pub(super) pending: VecDeque<Effect>,
    commit_scheduled: bool,
    tick_at: Option<Timestamp>,
    /// The connection of each node that joined.
    connections: BTreeMap<NodeId, ConnectionId>,
    specs_sent: BTreeSet<(ConnectionId, JobId)>,
    /// Tiles that were delivered and not settled, in order.
    delivered: BTreeMap<(NodeId, LeaseId), VecDeque<TileId>>,
    /// The plan's job of each submission.
    requests: BTreeMap<u64, usize>,
}

impl World {
    pub(super) fn master_up(&mut self) -> Checked {
        if self.master.is_some() {
            return Ok(());
        }
        self.safe.lives += 1;
        let journal = self.safe.journal.iter().cloned();
        let scheduler = Scheduler::restore(journal, self.plan.limits.clone(), self.safe.lives);
        self.presence.restore(self.ledger.held_back());
        self.leases.clear();
        self.stuck_until = self.now;
        self.master = Some(Master {
            scheduler,
            life: self.safe.lives,
            pending: VecDeque::new(),
            commit_scheduled: false,
            tick_at: None,
            connections: BTreeMap::new(),
            specs_sent: BTreeSet::new(),
            delivered: BTreeMap::new(),
            requests: BTreeMap::new(),
        });
        self.collect_effects()
    }

    /// Gives the scheduler a command and keeps what it wants done for the next
    /// commit.
    pub(super) fn command(&mut self, command: Command) -> Checked {
        if self.master.is_none() {
            return Ok(());
        }
        match &command {
            Command::JoinNode { node, .. } => {
                self.presence.join(*node);
                self.withhold_grants(*node);
            }
            Command::LeaveNode(node) => {
                self.presence.leave(*node);
                self.withhold_grants(*node);
            }
            Command::DrainNode(node) => self.presence.leave(*node),
            Command::RestNode(node) => self.presence.rest(*node),
            Command::ResumeNode(node) => self.presence.resume(*node),
            _ => {}
        }
        self.leases.hear(self.now, &command, self.plan.limits.lease_timeout);
        self.commands += 1;
        if self.trace {
            self.note(&command);
        }
        let command = self.plant_in_command(command);
        if let (Some(master), Some(command)) = (&mut self.master, command) {
            master.scheduler.handle(self.now, command);
        }
        self.collect_effects()?;
        // An audit walks everything, so a large farm is audited at its end.
        let is_small = self.nodes.len() < 100 && self.safe.journal.len() < 10_000;
        if is_small && self.commands.is_multiple_of(16) { self.check_books() } else { Ok(()) }
    }

    /// The scheduler takes back the leases of a lost connection that nobody has sent.
    /// Here they were taken from it at once, for the checkers.
    fn withhold_grants(&mut self, id: NodeId) {
        let Some(master) = &mut self.master else { return };
        master.pending.retain(|effect| !matches!(effect, Effect::Grant { node, .. } if *node == id));
    }

    fn note_copied(&mut self, job: JobId) -> Checked {
        let Some(master) = &self.master else { return Ok(()) };
        let (copied, spec) = (master.scheduler.copied_samples(job), master.scheduler.spec(job));
        self.waste.note_copied(job, copied, spec, &self.plan.limits)
    }

    fn collect_effects(&mut self) -> Checked {
        while let Some(effect) = self.master.as_mut().and_then(|master| master.scheduler.poll_effect()) {
            match &effect {
                Effect::Grant { node, lease } => {
                    self.presence.check_grant(*node, lease)?;
                    self.note_copied(lease.tile.job)?;
                }
                Effect::Record(fact) => self.presence.record(fact),
                _ => {}
            }
            if self.trace {
                self.note(&effect);
            }
            self.leases.see(self.now, &effect, self.plan.limits.lease_timeout);
            for effect in self.plant_in_effect(effect) {
                if self.is_hasty(&effect) {
                    self.perform(effect)?;
                } else if let Some(master) = &mut self.master {
                    master.pending.push_back(effect);
                }
            }
        }
        let Some(master) = &mut self.master else { return Ok(()) };
        let life = master.life;
        let ignores_time = self.plant == Some(Plant::IgnoreTime);
        let due = master
            .scheduler
            .poll_timeout()
            .filter(|_| !ignores_time)
            .filter(|at| master.tick_at.is_none_or(|tick| *at < tick));
        let commits = !master.pending.is_empty() && !std::mem::replace(&mut master.commit_scheduled, true);
        if let Some(at) = due {
            master.tick_at = Some(at);
            self.schedule_at(at, Event::MasterTick { life });
        }
        if commits {
            self.schedule_within(self.plan.commit_ms, Event::Commit { life });
        } else if let Some(master) = &mut self.master
            && master.pending.is_empty()
        {
            master.commit_scheduled = false;
        }
        Ok(())
    }

    pub(super) fn master_tick(&mut self, life: u32) -> Checked {
        let Some(master) = self.master.as_mut().filter(|master| master.life == life) else { return Ok(()) };
        master.tick_at = None;
        let pending = master.pending.len();
        self.command(Command::Tick)?;
        self.leases.check(Timestamp(self.now.0 + 1))?;
        let revoked = self.master.iter().flat_map(|master| master.pending.iter().skip(pending));
        let expired = revoked.filter_map(|effect| match effect {
            Effect::Revoke { node, lease } => Some((*node, *lease)),
            _ => None,
        });
        for (node, lease) in expired.collect::<Vec<_>>() {
            if let Some(place) = self.places.get(&node) {
                self.nodes[*place].check_expiry(lease)?;
            }
            self.excuse_granted(node, lease);
        }
        Ok(())
    }

    pub(super) fn commit(&mut self, life: u32) -> Checked {
        let Some(master) = self.master.as_mut().filter(|master| master.life == life) else { return Ok(()) };
        let records = master.pending.iter().any(|effect| matches!(effect, Effect::Record(_)));
        if records && self.disk_full_until > self.now {
            // Nothing else happens to the master until it is tried again.
            self.stuck_until = self.disk_full_until;
            self.schedule_at(self.stuck_until, Event::Commit { life });
            return Ok(());
        }
        master.commit_scheduled = false;
        let pending = std::mem::take(&mut master.pending);
        let effects = self.commit_records(pending)?;
        for effect in effects {
            self.perform(effect)?;
        }
        Ok(())
    }

    /// Commits the facts in one transaction; the other effects, in order.
    fn commit_records(&mut self, pending: VecDeque<Effect>) -> Result<Vec<Effect>, super::Violation> {
        let mut effects = Vec::new();
        for effect in pending {
            if let Effect::Record(fact) = effect {
                self.ledger.commit(&fact)?;
                match &fact {
                    Fact::NodeBanned { node } => self.excuse_all_granted(*node),
                    Fact::FrameDelivered { job, .. }
                        if self.shares.is_empty() && self.ledger.is_done(*job) =>
                    {
                        self.shares.clone_from(self.ledger.accepted_samples_by_job());
                    }
                    _ => {}
                }
                self.safe.journal.push(fact);
            } else {
                effects.push(effect);
            }
        }
        Ok(effects)
    }

    fn perform(&mut self, effect: Effect) -> Checked {
        let Some(master) = &mut self.master else { return Ok(()) };
        match effect {
            Effect::Record(_) => {}
            Effect::Answer { request, answer } => {
                if let (Some(job), Ok(Answer::Submitted(_))) = (master.requests.get(&request), &answer) {
                    self.submitted[*job] = true;
                }
            }
            Effect::Settle { node, lease, verdict } => {
                let delivered = master.delivered.get_mut(&(node, lease));
                let tile = delivered.and_then(VecDeque::pop_front);
                if let (Verdict::Accepted, Some(tile)) = (&verdict, tile) {
                    self.ledger.check_settled(&tile)?;
                }
                // Of a lease that gave way some is still to be handed back.
                if self.granted.get(&(node, lease)) == tile.as_ref() {
                    self.granted.remove(&(node, lease));
                }
                self.send_current(node, ToNode::Settled(lease));
            }
            Effect::Grant { node, lease } => {
                self.ledger.check_grant(&lease)?;
                let job = lease.tile.job;
                if let Some(connection) = master.connections.get(&node).copied() {
                    self.granted.insert((node, lease.id), lease.tile);
                    let spec = master.scheduler.spec(job).cloned();
                    if let Some(spec) = spec.filter(|_| master.specs_sent.insert((connection, job))) {
                        self.send_to_node(connection, ToNode::Job { job, spec: Box::new(spec) });
                    }
                    self.send_to_node(connection, ToNode::Granted(lease));
                }
            }
            Effect::Revoke { node, lease } => {
                let tile = self.granted.get(&(node, lease));
                let cancelled = tile.is_some_and(|tile| self.ledger.is_cancelled(tile.job));
                if cancelled || self.presence.was_banned(node) {
                    self.excuse_granted(node, lease);
                }
                self.granted.remove(&(node, lease));
                self.send_current(node, ToNode::Revoked(lease));
            }
            Effect::Assemble { job, frame } => {
                let life = master.life;
                self.schedule_within(2_000, Event::AssemblyDone { life, job, frame });
            }
        }
        Ok(())
    }

    /// What is rendered under a lease may be rendered in vain.
    fn excuse_granted(&mut self, node: NodeId, lease: LeaseId) {
        if let Some(tile) = self.granted.get(&(node, lease)).copied() {
            self.excuse_tile(&tile);
        }
    }

    /// The same of all leases of a node.
    fn excuse_all_granted(&mut self, node: NodeId) {
        let leases = self.granted.range((node, LeaseId(0))..=(node, LeaseId(u64::MAX)));
        for tile in leases.map(|(_, tile)| *tile).collect::<Vec<_>>() {
            self.excuse_tile(&tile);
        }
    }

    /// The master's disk takes nothing for a while.
    pub(super) fn fill_disk(&mut self) {
        let full_ms = self.random.between(100, 15_000);
        self.disk_full_until = Timestamp(self.now.0 + full_ms);
    }

    fn send_current(&mut self, node: NodeId, message: ToNode) {
        let Some(master) = &self.master else { return };
        if let Some(connection) = master.connections.get(&node).copied() {
            self.send_to_node(connection, message);
        }
    }

    pub(super) fn master_receives(&mut self, id: ConnectionId, message: ToMaster) -> Checked {
        let connection = &self.connections[id.0];
        let (place, node) = (connection.node, self.nodes[connection.node].id);
        if matches!(message, ToMaster::Hello { .. }) && self.nodes[place].invents_leases {
            self.excuse_all_granted(node);
        }
        let connection = &self.connections[id.0];
        let Some(master) = self.master.as_mut().filter(|_| connection.alive) else { return Ok(()) };
        let command = match message {
            ToMaster::Hello { lanes, holding } => {
                master.connections.insert(node, id);
                Command::JoinNode { node, lanes, equipment: Default::default(), holding }
            }
            ToMaster::Progress { lease, samples } => Command::ReportProgress { node, lease, samples },
            ToMaster::Failed { lease, kind, message } => {
                Command::ReportFailure { node, lease, kind, message }
            }
            ToMaster::Draining => Command::DrainNode(node),
            ToMaster::Resting => Command::RestNode(node),
            ToMaster::Resumed => Command::ResumeNode(node),
            ToMaster::Tile { lease, kept } => {
                let (tile, blob, render_us) = (kept.tile, kept.blob, kept.render_us);
                master.delivered.entry((node, lease)).or_default().push_back(tile);
                if blob == honest_blob(&tile) {
                    Command::ReportTile { node, lease, tile, blob, rays: 0, render_us }
                } else {
                    Command::RejectTile { node, lease, reason: "not an honest result".into() }
                }
            }
        };
        self.command(command)
    }

    pub(super) fn master_sees_down(&mut self, id: ConnectionId) -> Checked {
        let node = self.nodes[self.connections[id.0].node].id;
        let Some(master) = &mut self.master else { return Ok(()) };
        if master.connections.get(&node) != Some(&id) {
            return Ok(());
        }
        master.connections.remove(&node);
        self.command(Command::LeaveNode(node))
    }

    pub(super) fn assembly_done(&mut self, life: u32, job: JobId, frame: FrameNumber) -> Checked {
        if self.master.as_ref().is_none_or(|master| master.life != life) {
            return Ok(());
        }
        let fails = !self.is_healed() && self.random.chance(self.plan.faults.fail_assembly_per_mille);
        self.command(if fails {
            Command::ReportFrameFailure { job, frame, message: "disk full".into() }
        } else {
            Command::ReportFrame { job, frame, pixel_digest: BlobDigest([0; 32]) }
        })
    }

    /// Submits a job of the plan, again and again until that is answered.
    pub(super) fn submit(&mut self, job: usize) -> Checked {
        if self.submitted[job] {
            return Ok(());
        }
        self.schedule(5_000, Event::Submit(job));
        let request = self.now.0 * 64 + job as u64;
        let Some(master) = &mut self.master else { return Ok(()) };
        master.requests.insert(request, job);
        let spec = Box::new(self.plan.jobs[job].clone());
        self.command(Command::SubmitJob { request, spec, owner: None, quota: None })
    }

    /// Kills the master: before its commit, between the commit and what follows
    /// it, or in the middle of that.
    pub(super) fn kill_master(&mut self) -> Checked {
        self.check_restored()?;
        self.check_books()?;
        let Some(master) = &mut self.master else { return Ok(()) };
        let pending = std::mem::take(&mut master.pending);
        if self.random.chance(500) {
            let effects = self.commit_records(pending)?;
            let performed = self.random.index(effects.len() + 1);
            for effect in effects.into_iter().take(performed) {
                self.perform(effect)?;
            }
        }
        self.master = None;
        for node in 0..self.nodes.len() {
            self.excuse_holdings(node);
        }
        for id in self.open_connections.clone() {
            self.cut(id);
        }
        self.schedule_within(10_000, Event::MasterUp);
        Ok(())
    }

    /// Property: what the journal restores is what the scheduler has recorded.
    pub(super) fn check_restored(&self) -> Checked {
        let Some(master) = &self.master else { return Ok(()) };
        let pending = master.pending.iter().filter_map(|effect| match effect {
            Effect::Record(fact) => Some(fact),
            _ => None,
        });
        let facts = self.safe.journal.iter().chain(pending).cloned();
        let restored = Scheduler::restore(facts, self.plan.limits.clone(), u32::MAX);
        ensure(restored.state() == master.scheduler.state(), "restored state equals recorded state", || {
            format!("after {} facts", self.safe.journal.len())
        })
    }

    /// Property: the scheduler's books balance.
    pub(super) fn check_books(&self) -> Checked {
        let Some(master) = &self.master else { return Ok(()) };
        let audit = master.scheduler.audit();
        ensure(audit.is_ok(), "the books balance", || audit.err().unwrap_or_default())
    }
}
