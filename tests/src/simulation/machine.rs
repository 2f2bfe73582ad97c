//! The simulated node's driver: it does what the agent asks, in virtual time.

use farm_core::agent::{AgentCommand, AgentEffect, LaneIndex};
use farm_core::scheduler::FailureKind;
use farm_core::{
    BASE_BLOCK_SAMPLES, BlobDigest, BlockRange, JobId, LeaseId, RectIndex, RenderTask, TileId, Timestamp,
};

use super::check::{Checked, Violation, ensure, honest_blob};
use super::node::{Kept, Process, Run};
use super::plant::Plant;
use super::world::{ConnectionId, Event, ToMaster, ToNode, World};

/// How long a disk keeps what it was given in memory alone.
const UNSYNCED: std::time::Duration = std::time::Duration::from_secs(5);

impl World {
    pub(super) fn node_up(&mut self, node: usize) -> Checked {
        if self.nodes[node].process.is_some() {
            return Ok(());
        }
        self.nodes[node].start(&self.plan.limits);
        let life = self.nodes[node].life;
        self.schedule(0, Event::Connect { node, life });
        Ok(())
    }

    /// Kills a node's process; only its disk survives.
    pub(super) fn kill_node(&mut self, node: usize) {
        self.excuse_holdings(node);
        let Some(process) = self.nodes[node].process.take() else { return };
        self.lose_connection(process.connection);
        self.schedule_within(20_000, Event::NodeUp { node });
    }

    fn lose_connection(&mut self, connection: Option<ConnectionId>) {
        let Some(connection) = connection else { return };
        self.connections[connection.0].alive = false;
        self.open_connections.remove(&connection);
        self.schedule_within(3_000, Event::MasterSeesDown(connection));
    }

    /// Kills a node's machine: what its disk had not synchronised is gone, or not.
    pub(super) fn lose_power(&mut self, node: usize) {
        let unsynced = std::mem::take(&mut self.nodes[node].unsynced);
        for (written_at, digest) in unsynced {
            if self.now.since(written_at) < UNSYNCED && self.random.chance(500) {
                self.nodes[node].cache.remove(&digest);
            }
        }
        self.kill_node(node);
    }

    /// Something else uses the adapter for a while.
    pub(super) fn slow_down(&mut self, node: usize) {
        let slow_ms = self.random.between(1_000, 30_000);
        self.nodes[node].slow_until = Timestamp(self.now.0 + slow_ms);
    }

    /// A node comes back as it was when it was last remembered: with leases and
    /// tiles that are settled long since, and without what it got after that.
    pub(super) fn come_back(&mut self, node: usize) -> Checked {
        let Some(remembered) = self.nodes[node].remembered.take() else { return Ok(()) };
        self.excuse_holdings(node);
        if let Some(process) = self.nodes[node].process.take() {
            self.lose_connection(process.connection);
        }
        let (process, cache) = *remembered;
        let runs: Vec<_> =
            (0..).zip(&process.lanes).filter_map(|(lane, run)| Some((lane, run.as_ref()?.run))).collect();
        let fetching: Vec<_> = process.fetching.iter().copied().collect();
        let simulated = &mut self.nodes[node];
        simulated.life += 1;
        simulated.cache = cache;
        simulated.unsynced.clear();
        simulated.process = Some(Process { connection: None, tick_at: None, ..process });
        let life = simulated.life;
        self.excuse_holdings(node);
        for (lane, run) in runs {
            self.schedule_slice(node, life, lane, run);
        }
        for digest in fetching {
            self.schedule_within(2_000, Event::BlobDone { node, life, digest });
        }
        self.schedule(0, Event::Connect { node, life });
        // It may have rested, and what was to wake it went to another life.
        self.schedule_within(10_000, Event::Resume { node, life });
        self.tell_agent(node, AgentCommand::Disconnect)
    }

    /// Someone asks a node to leave, some of them more than once. Only who does so a
    /// third time has it drop what renders.
    pub(super) fn drain(&mut self, node: usize) -> Checked {
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        process.drains += 1;
        if process.drains > 2 {
            self.excuse_holdings(node);
        }
        self.tell_agent(node, AgentCommand::Drain)?;
        if self.random.chance(300) { self.drain(node) } else { Ok(()) }
    }

    /// A node's owner wants the machine for a while.
    pub(super) fn rest(&mut self, node: usize) -> Checked {
        let life = self.nodes[node].life;
        self.schedule_within(10_000, Event::Resume { node, life });
        self.tell_agent(node, AgentCommand::Rest)
    }

    pub(super) fn resume(&mut self, node: usize, life: u32) -> Checked {
        if self.nodes[node].life != life {
            return Ok(());
        }
        self.tell_agent(node, AgentCommand::Resume)
    }

    pub(super) fn node_sees_down(&mut self, id: ConnectionId) -> Checked {
        let node = self.connections[id.0].node;
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        if process.connection != Some(id) {
            return Ok(());
        }
        process.connection = None;
        self.schedule_within(2_000, Event::Connect { node, life });
        self.tell_agent(node, AgentCommand::Disconnect)
    }

    pub(super) fn node_receives(&mut self, id: ConnectionId, message: ToNode) -> Checked {
        let connection = &self.connections[id.0];
        let node = connection.node;
        let Some(process) = self.nodes[node].process.as_mut().filter(|_| connection.alive) else {
            return Ok(());
        };
        if process.connection != Some(id) {
            return Ok(());
        }
        let command = match message {
            ToNode::Job { job, spec } => {
                process.specs.insert(job, spec.clone());
                AgentCommand::OpenJob { job, spec }
            }
            ToNode::Granted(lease) => {
                process.leases.insert(lease.id, lease.clone());
                AgentCommand::TakeLease(lease)
            }
            ToNode::Revoked(lease) => AgentCommand::DropLease(lease),
            ToNode::Settled(lease) => AgentCommand::SettleTile(lease),
        };
        self.tell_agent(node, command)
    }

    pub(super) fn node_tick(&mut self, node: usize, life: u32) -> Checked {
        let is_current = self.nodes[node].life == life;
        let Some(process) = self.nodes[node].process.as_mut().filter(|_| is_current) else { return Ok(()) };
        process.tick_at = None;
        self.tell_agent(node, AgentCommand::Tick)
    }

    /// Gives the agent a command and does what it asks for.
    pub(super) fn tell_agent(&mut self, node: usize, command: AgentCommand) -> Checked {
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        process.agent.handle(self.now, command);
        while let Some(effect) =
            self.nodes[node].process.as_mut().and_then(|process| process.agent.poll_effect())
        {
            for effect in self.plant_in_agent_effect(node, effect) {
                self.do_for_agent(node, effect)?;
            }
        }
        self.nodes[node].check_bounds(&self.plan.limits)?;
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        let due = process.agent.poll_timeout().filter(|at| process.tick_at.is_none_or(|tick| *at < tick));
        if let Some(at) = due {
            process.tick_at = Some(at);
            self.schedule_at(at, Event::NodeTick { node, life });
        }
        Ok(())
    }

    fn do_for_agent(&mut self, node: usize, effect: AgentEffect) -> Checked {
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        match effect {
            AgentEffect::FetchBlob(digest) if self.plant == Some(Plant::StartBlind) => {
                process.agent.handle(self.now, AgentCommand::StoreBlob(digest));
            }
            AgentEffect::FetchBlob(digest) => {
                process.fetching.insert(digest);
                self.schedule_within(2_000, Event::BlobDone { node, life, digest })
            }
            AgentEffect::StartRender { lane, lease, job, task } => {
                self.start_render(node, lane, lease, job, &task)?
            }
            AgentEffect::StopRender { lane, lease } => {
                let lane = &mut process.lanes[lane.0 as usize];
                let renders = lane.as_ref().is_some_and(|run| run.lease == lease);
                ensure(renders, "only what renders is stopped", || format!("lease {lease}"))?;
                *lane = None;
            }
            AgentEffect::YieldRender { lane, lease } => {
                let run = process.lanes[lane.0 as usize].as_mut().filter(|run| run.lease == lease);
                let renders = run.map(|run| run.yields = true).is_some();
                ensure(renders, "only what renders gives way", || format!("lease {lease}"))?;
            }
            AgentEffect::SendTile(lease) => {
                let kept = process.kept.get(&lease).cloned();
                let violation =
                    || Violation { property: "only kept tiles are sent", what: format!("lease {lease}") };
                for kept in kept.ok_or_else(violation)? {
                    self.send_from(node, ToMaster::Tile { lease, kept });
                }
            }
            AgentEffect::ForgetTile(lease) => drop(process.kept.remove(&lease)),
            AgentEffect::SendProgress { lease, samples } => {
                self.send_from(node, ToMaster::Progress { lease, samples })
            }
            AgentEffect::SendFailure { lease, kind, message } => {
                self.send_from(node, ToMaster::Failed { lease, kind, message });
            }
            AgentEffect::SendDrain => self.send_from(node, ToMaster::Draining),
            AgentEffect::SendRest => self.send_from(node, ToMaster::Resting),
            AgentEffect::SendResume => self.send_from(node, ToMaster::Resumed),
            AgentEffect::Leave => {
                self.nodes[node].check_leave()?;
                self.kill_node(node);
            }
        }
        Ok(())
    }

    fn send_from(&mut self, node: usize, message: ToMaster) {
        let connection = self.nodes[node].process.as_ref().and_then(|process| process.connection);
        if let Some(connection) = connection {
            self.send_to_master(connection, message);
        }
    }

    fn start_render(
        &mut self,
        node: usize,
        lane: LaneIndex,
        lease: LeaseId,
        job: JobId,
        task: &RenderTask,
    ) -> Checked {
        let hangs = !self.is_healed() && self.random.chance(self.plan.faults.hang_per_mille);
        self.nodes[node].check_task(lane, lease, job, task)?;
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        let run = process.next_run;
        process.next_run += 1;
        process.lanes[lane.0 as usize] =
            Some(Run { run, lease, job, done: 0, yields: false, samples: task.samples() });
        if hangs {
            process.hung = true;
            return Ok(());
        }
        self.schedule_slice(node, life, lane.0, run);
        Ok(())
    }

    /// Half a second of rendering, or what is left of the lease.
    fn schedule_slice(&mut self, node: usize, life: u32, lane: u32, run: u64) {
        let speed = self.nodes[node].speed(self.now);
        let Some(process) = &self.nodes[node].process else { return };
        let Some(current) = &process.lanes[lane as usize] else { return };
        let samples = (current.samples - current.done).min(speed / 2);
        let at = Timestamp(self.now.0 + (samples * 1_000).div_ceil(speed));
        self.schedule_at(at, Event::Slice { node, life, lane, run, samples });
    }

    pub(super) fn slice(&mut self, node: usize, life: u32, lane: u32, run: u64, samples: u64) -> Checked {
        let is_current = self.nodes[node].life == life;
        let Some(process) = self.nodes[node].process.as_mut().filter(|_| is_current) else { return Ok(()) };
        let Some(current) = process.lanes[lane as usize].as_mut().filter(|current| current.run == run) else {
            return Ok(());
        };
        current.done += samples;
        let current = current.clone();
        self.waste.render(samples);
        if let Some(kind) = self.draw_failure(node, &current) {
            return self.fail_render(node, lane, &current, kind);
        }
        if current.done >= current.samples {
            return self.finish_render(node, lane, &current);
        }
        if current.yields {
            return self.give_way(node, lane, &current);
        }
        self.evict_some_blob(node)?;
        self.schedule_slice(node, life, lane, run);
        let (lane, lease) = (LaneIndex(lane), current.lease);
        self.tell_agent(node, AgentCommand::ReportProgress { lane, lease, samples: current.done })
    }

    fn draw_failure(&mut self, node: usize, run: &Run) -> Option<FailureKind> {
        if self.nodes[node].plan.too_large.contains(&run.job) {
            return Some(FailureKind::OutOfMemory);
        }
        if self.is_healed() {
            return None;
        }
        let process = self.nodes[node].process.as_ref()?;
        let rect = process.leases.get(&run.lease)?.tile.rect;
        if self.plan.faults.poison && rect == RectIndex(0) {
            return Some(FailureKind::Render);
        }
        if self.random.chance(self.plan.faults.device_lost_per_mille) {
            return Some(FailureKind::DeviceLost);
        }
        self.random.chance(self.plan.faults.fail_render_per_mille).then_some(FailureKind::Render)
    }

    fn fail_render(&mut self, node: usize, lane: u32, run: &Run, kind: FailureKind) -> Checked {
        self.excuse_lease(node, run);
        if let Some(process) = &mut self.nodes[node].process {
            process.lanes[lane as usize] = None;
        }
        let (lane, lease, message) = (LaneIndex(lane), run.lease, "a simulated failure".into());
        self.tell_agent(node, AgentCommand::FailRender { lane, lease, kind, message })
    }

    fn finish_render(&mut self, node: usize, lane: u32, run: &Run) -> Checked {
        let corrupt = !self.is_healed() && self.random.chance(self.plan.faults.corrupt_per_mille);
        if corrupt {
            self.excuse_lease(node, run);
        }
        let render_us = run.samples * 1_000_000 / self.nodes[node].plan.speed;
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        process.lanes[lane as usize] = None;
        if let Some(lease) = process.leases.remove(&run.lease) {
            let blob = if corrupt { BlobDigest([0xff; 32]) } else { honest_blob(&lease.tile) };
            process.kept.insert(run.lease, vec![Kept { tile: lease.tile, blob, render_us }]);
        }
        self.tell_agent(node, AgentCommand::FinishRender { lane: LaneIndex(lane), lease: run.lease })
    }

    /// A lane stops: the blocks that are whole become tiles of as few ranges as they
    /// make.
    fn give_way(&mut self, node: usize, lane: u32, run: &Run) -> Checked {
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        let Some(lease) = process.leases.get(&run.lease).cloned() else { return Ok(()) };
        let block = lease.rect.area() * u64::from(BASE_BLOCK_SAMPLES);
        let (mut start, whole) = (lease.tile.range.start(), run.done / block);
        let end = start + u32::try_from(whole).expect("a lease has few blocks");
        let mut kept = Vec::new();
        for level in (0..lease.tile.range.level).rev() {
            if start + (1 << level) <= end {
                let range = BlockRange { level, index: start >> level };
                let tile = TileId { range, ..lease.tile };
                let render_us = (block << level) * 1_000_000 / self.nodes[node].plan.speed;
                kept.push(Kept { tile, blob: honest_blob(&tile), render_us });
                start += 1 << level;
            }
        }
        self.waste.give_way(run.done - whole * block, block)?;
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        process.lanes[lane as usize] = None;
        let (lane, lease, tiles) = (LaneIndex(lane), run.lease, kept.len());
        if kept.is_empty() {
            let (kind, message) = (FailureKind::HandedBack, "stopped".into());
            return self.tell_agent(node, AgentCommand::FailRender { lane, lease, kind, message });
        }
        process.kept.insert(lease, kept);
        let tiles = u32::try_from(tiles).expect("one for each level");
        self.tell_agent(node, AgentCommand::YieldRender { lane, lease, tiles })
    }

    fn excuse_lease(&mut self, node: usize, run: &Run) {
        let lease = self.nodes[node].process.as_ref().and_then(|process| process.leases.get(&run.lease));
        if let (Some(lease), Some(spec)) = (lease, self.ledger.specs.get(&run.job)) {
            self.waste.excuse(spec, &lease.tile);
        }
    }

    pub(super) fn blob_done(&mut self, node: usize, life: u32, digest: BlobDigest) -> Checked {
        if self.nodes[node].life != life || self.nodes[node].process.is_none() {
            return Ok(());
        }
        if let Some(process) = &mut self.nodes[node].process {
            process.fetching.remove(&digest);
        }
        if !self.is_healed() && self.random.chance(self.plan.faults.miss_blob_per_mille) {
            let kind = [FailureKind::BlobUnavailable, FailureKind::DiskFull][self.random.index(2)];
            let message = "a simulated lack".into();
            return self.tell_agent(node, AgentCommand::MissBlob { digest, kind, message });
        }
        self.nodes[node].cache.insert(digest);
        let now = self.now;
        self.nodes[node].unsynced.retain(|(at, _)| now.since(*at) < UNSYNCED);
        self.nodes[node].unsynced.push((now, digest));
        self.tell_agent(node, AgentCommand::StoreBlob(digest))
    }

    /// The cache makes room now and then, but not with what is pinned.
    fn evict_some_blob(&mut self, node: usize) -> Checked {
        if self.is_healed() || !self.random.chance(100) {
            return Ok(());
        }
        let Some(process) = &self.nodes[node].process else { return Ok(()) };
        let pinned = process.agent.pinned();
        let victim = self.nodes[node].cache.iter().find(|digest| !pinned.contains(digest)).copied();
        let Some(victim) = victim else { return Ok(()) };
        self.nodes[node].cache.remove(&victim);
        self.tell_agent(node, AgentCommand::EvictBlob(victim))
    }
}
