//! What follows from facts and commands on the floor: leases that end, nodes
//! that come and go, timers; no choice is made here, and nothing is recorded.

use super::command::{Command, Equipment, FailureKind, HeldLease, NodeChange};
use super::decide::{Decision, Reply, cut};
use super::desk::Assembling;
use super::effect::{Effect, Verdict};
use super::fact::Fact;
use super::floor::{Timer, backoff};
use super::node::Held;
use super::{Round, Scheduler};
use crate::id::{FrameNumber, JobId, LeaseId, NodeId};
use crate::tile::TileId;
use crate::time::Timestamp;

impl Scheduler {
    /// Opens the books of every job that is not over, and has the frames
    /// assembled that are complete.
    pub(super) fn open_restored_jobs(&mut self) {
        let open: Vec<_> = self.state.jobs.iter().filter(|(_, record)| !record.is_over()).collect();
        let open: Vec<_> = open.into_iter().map(|(job, _)| *job).collect();
        for job in open {
            self.floor.open_job(&self.state, job);
            self.floor.refresh_blocks(&self.state, &self.limits, job);
            let frames = self.state.jobs.get(&job).map(|record| &record.frames);
            let frames: Vec<_> = frames.into_iter().flat_map(|frames| frames.keys().copied()).collect();
            for frame in frames {
                self.assemble_if_complete(job, frame);
            }
        }
    }

    /// What follows from a fact alone.
    pub(super) fn follow_fact(&mut self, fact: &Fact) {
        match fact {
            Fact::JobSubmitted { job, .. } => self.floor.open_job(&self.state, *job),
            Fact::JobPaused { job } => self.floor.refresh(&self.state, *job),
            Fact::JobResumed { job } | Fact::JobRetried { job } => {
                self.floor.refresh(&self.state, *job);
                self.floor.offer = true;
            }
            Fact::JobCancelled { job } => self.close_job(*job),
            Fact::JobPrioritized { job, .. } => self.floor.reprioritize(&self.state, *job),
            Fact::JobWeighted { job, .. } => self.floor.reweigh(&self.state, *job),
            Fact::TilesForgotten { job, frames, .. } => {
                self.floor.reopen_frames(&self.state, *job, *frames);
            }
            Fact::NodeDrained { node } | Fact::NodeUndrained { node } | Fact::NodeForgiven { node } => {
                self.floor.hold_node(&self.state, *node);
            }
            Fact::NodeBanned { node } => {
                self.floor.hold_node(&self.state, *node);
                self.take_back(*node);
            }
            // The lease is ended by the command that reported the tile.
            Fact::TileAccepted { .. } => {}
            Fact::TileFailed { tile, node, .. } => {
                self.floor.refresh(&self.state, tile.job);
                self.floor.refresh_block(&self.state, &self.limits, *node, tile.job);
            }
            Fact::FrameDelivered { job, frame, .. } => {
                if let Some(floor) = self.floor.jobs.get_mut(job) {
                    floor.assembling.remove(frame);
                }
                if self.state.jobs.get(job).is_some_and(|record| record.is_over()) {
                    self.close_job(*job);
                }
            }
        }
    }

    /// What follows from a command beside its facts.
    pub(super) fn follow_command(&mut self, now: Timestamp, command: Command, decision: &Decision) {
        match command {
            Command::SubmitJob { .. }
            | Command::PauseJob { .. }
            | Command::ResumeJob { .. }
            | Command::CancelJob { .. }
            | Command::PrioritizeJob { .. }
            | Command::WeighJob { .. }
            | Command::RerenderJob { .. }
            | Command::ReportFrame { .. } => {}
            Command::RetryJob { job, .. } => {
                self.floor.readmit(job);
                if let Some(desk) = self.floor.jobs.get_mut(&job) {
                    desk.troubled.clear();
                }
                self.floor.refresh_blocks(&self.state, &self.limits, job);
            }
            Command::ChangeNode { node, change, .. } => match change {
                NodeChange::Forgive => {
                    self.floor.forgive(node);
                    self.floor.readmit_node(node);
                    self.floor.unblock(&self.state, &self.limits, node);
                }
                NodeChange::Drain | NodeChange::Undrain | NodeChange::Ban => {}
            },
            Command::JoinNode { node, lanes, equipment, holding } => {
                self.join_node(now, node, lanes, equipment, &holding);
            }
            Command::LeaveNode(node) => self.floor.remove_node(&self.state, node),
            Command::DrainNode(node) => self.floor.drain_node(node),
            Command::RestNode(node) => self.floor.rest_node(node, true),
            Command::ResumeNode(node) => self.floor.rest_node(node, false),
            Command::ReportProgress { node, lease, samples } => {
                self.floor.extend(now, node, lease, samples, &self.limits);
            }
            Command::ReportTile { node, lease, tile, render_us, .. } => match &decision.reply {
                Some(Reply::Verdict(_, _, Verdict::Accepted)) => {
                    self.follow_accepted(now, node, lease, &tile, render_us)
                }
                Some(Reply::Verdict(_, _, Verdict::Rejected { .. })) => {
                    self.follow_failure(now, node, lease, FailureKind::Render, "");
                }
                _ => drop(self.floor.release(&self.state, node, lease)),
            },
            Command::RejectTile { node, lease, reason } => {
                self.follow_failure(now, node, lease, FailureKind::Render, &reason);
            }
            Command::ReportFailure { node, lease, kind, message } => {
                self.follow_failure(now, node, lease, kind, &message);
            }
            Command::ReportFrameFailure { job, frame, message } => {
                self.follow_frame_failure(now, job, frame, &message);
            }
            Command::Tick => self.follow_time(now),
        }
    }

    /// Revokes what is still lent of a job that is over, and closes its books.
    fn close_job(&mut self, job: JobId) {
        for lent in self.floor.close_job(&self.state, job) {
            self.effects.push_back(Effect::Revoke { node: lent.node, lease: lent.lease });
        }
        self.floor.offer = true;
    }

    /// Takes back whatever a node holds.
    fn take_back(&mut self, id: NodeId) {
        let leases = self.floor.nodes.get(&id).map(|node| node.leases.keys().copied().collect());
        let leases: Vec<LeaseId> = leases.unwrap_or_default();
        for lease in leases {
            self.floor.release(&self.state, id, lease);
            self.effects.push_back(Effect::Revoke { node: id, lease });
        }
    }

    fn join_node(
        &mut self,
        now: Timestamp,
        node: NodeId,
        lanes: u32,
        equipment: Equipment,
        holding: &[HeldLease],
    ) {
        self.floor.remove_node(&self.state, node);
        self.floor.add_node(&self.state, node, lanes, equipment, &self.limits);
        for held in holding {
            if !self.adopt(now, node, held) {
                self.effects.push_back(Effect::Revoke { node, lease: held.lease });
            }
        }
    }

    /// Takes over a lease that a node brings along; false if its samples are
    /// accepted or lent by now, or if nobody wants them.
    fn adopt(&mut self, now: Timestamp, id: NodeId, held: &HeldLease) -> bool {
        let tile = held.tile;
        let Some(record) = self.state.jobs.get(&tile.job) else { return false };
        let Some(node) = self.floor.nodes.get(&id) else { return false };
        let most = (node.lanes as usize)
            .saturating_mul(self.limits.leases_per_lane_max as usize)
            .saturating_add(self.limits.unsent_tiles);
        let wanted =
            !node.hold.banned && !record.is_over() && record.plans(&tile) && !record.has_part_of(&tile);
        let is_new = !node.leases.contains_key(&held.lease) && node.leases.len() < most;
        if !wanted || !is_new || !self.floor.carve(&self.state, &tile) {
            return false;
        }
        let round = Round { state: &self.state, floor: &mut self.floor, limits: &self.limits, now };
        let entry = round.hold(id, record, tile);
        self.floor.lend(&self.state, id, held.lease, entry);
        self.floor.assign(id, tile.job);
        true
    }

    /// A tile was accepted: its lease ends, unless it is only a part of it, and so do
    /// all others that share samples with it; what they had beyond it is free again.
    fn follow_accepted(&mut self, now: Timestamp, id: NodeId, lease: LeaseId, tile: &TileId, render_us: u64) {
        let samples = self.state.jobs.get(&tile.job).map_or(0, |record| record.samples_of(tile));
        if !self.take_part(id, lease, tile) {
            match self.floor.finish_exactly(&self.state, id, lease, tile) {
                Some(held) => self.end_twin(&held),
                None => self.make_way(tile),
            }
        }
        if let Some(node) = self.floor.nodes.get_mut(&id) {
            node.measure(tile.job, samples, render_us, &self.limits);
            node.tiles += 1;
            node.setbacks = 0;
        }
        self.floor.settle(&self.state, id, tile, samples, render_us);
        self.floor.note_delivery(now, id, &self.limits);
        if let Some(desk) = self.floor.jobs.get_mut(&tile.job) {
            desk.troubled.deliver(id);
            if desk.blocked.contains(&id) {
                self.floor.refresh_block(&self.state, &self.limits, id, tile.job);
            }
        }
        self.assemble_if_complete(tile.job, tile.frame);
    }

    /// A node gave way and delivered a part of what it was lent: the rest stays lent
    /// to it, and whoever had a copy of it all has it no longer. False if the tile is
    /// no such part.
    fn take_part(&mut self, id: NodeId, lease: LeaseId, part: &TileId) -> bool {
        let leased = self.floor.tile_of(id, lease);
        if !self.floor.part(&self.state, id, lease, part) {
            return false;
        }
        if let Some(copy) = leased.and_then(|leased| self.floor.drop_backup(&self.state, &leased)) {
            self.effects.push_back(Effect::Revoke { node: copy.node, lease: copy.lease });
        }
        true
    }

    /// A tile was accepted from somebody who does not hold it: whoever does gives it
    /// up.
    fn make_way(&mut self, tile: &TileId) {
        for lent in self.floor.lent_overlapping(tile) {
            let backup = self.floor.drop_backup(&self.state, &TileId { range: lent.range, ..*tile });
            self.floor.release(&self.state, lent.node, lent.lease);
            for lent in std::iter::once(lent).chain(backup) {
                self.effects.push_back(Effect::Revoke { node: lent.node, lease: lent.lease });
            }
        }
        self.floor.carve(&self.state, tile);
    }

    /// Of two leases of a range, one was accepted: the other ends.
    fn end_twin(&mut self, held: &Held) {
        let holder = held.is_backup.then(|| self.floor.lent_overlapping(&held.tile));
        let twin = match holder {
            Some(holder) => holder.first().copied(),
            None => self.floor.drop_backup(&self.state, &held.tile),
        };
        let Some(twin) = twin else { return };
        self.floor.finish(&self.state, twin.node, twin.lease);
        self.effects.push_back(Effect::Revoke { node: twin.node, lease: twin.lease });
    }

    /// A lease failed: its range is free again, and the node is treated as the
    /// kind of failure asks.
    fn follow_failure(
        &mut self,
        now: Timestamp,
        id: NodeId,
        lease: LeaseId,
        kind: FailureKind,
        message: &str,
    ) {
        let Some(held) = self.floor.release(&self.state, id, lease) else { return };
        let Some(node) = self.floor.nodes.get_mut(&id) else { return };
        let is_active = node.is_active();
        node.failures += u64::from(kind != FailureKind::HandedBack);
        // Who had not begun to render is not to blame for making no progress.
        if kind != FailureKind::TimedOut || held.started {
            self.count_failure(now, id, held.tile.job, kind);
        }
        match kind {
            FailureKind::OutOfMemory | FailureKind::Incompatible => self.floor.exclude(id, held.tile.job),
            FailureKind::DeviceLost | FailureKind::DiskFull | FailureKind::BlobUnavailable => {
                self.floor.pause_node(now, id, true, &self.limits);
            }
            FailureKind::Render | FailureKind::TimedOut => {
                self.floor.pause_node(now, id, true, &self.limits);
                return;
            }
            FailureKind::HandedBack => {
                // One that hands back without draining must not be offered the
                // same again at once, for ever.
                if is_active {
                    self.floor.pause_node(now, id, false, &self.limits);
                }
                return;
            }
        }
        let message = cut(message, self.limits.failure_message_bytes);
        if let Some(floor) = self.floor.jobs.get_mut(&held.tile.job) {
            floor.trouble = Some(format!("node {id}: {message}"));
        }
    }

    /// Counts a failure against the node: on this job, unless it is recorded and
    /// counted there, and in general.
    fn count_failure(&mut self, now: Timestamp, id: NodeId, job: JobId, kind: FailureKind) {
        match kind {
            FailureKind::OutOfMemory
            | FailureKind::Incompatible
            | FailureKind::DeviceLost
            | FailureKind::DiskFull
            | FailureKind::BlobUnavailable => {
                if let Some(desk) = self.floor.jobs.get_mut(&job) {
                    desk.troubled.fail(id, kind);
                    self.floor.refresh_block(&self.state, &self.limits, id, job);
                }
            }
            FailureKind::Render | FailureKind::TimedOut | FailureKind::HandedBack => {}
        }
        self.floor.note_failure(now, id, job, kind, &self.limits);
    }

    fn assemble_if_complete(&mut self, job: JobId, frame: FrameNumber) {
        let Some(record) = self.state.jobs.get(&job) else { return };
        if !record.is_complete(frame) || record.delivered.contains_key(&frame) {
            return;
        }
        self.floor.end_frame(&self.state, job, frame);
        let Some(floor) = self.floor.jobs.get_mut(&job) else { return };
        if floor.assembling.insert(frame, Assembling::default()).is_none() {
            self.effects.push_back(Effect::Assemble { job, frame });
        }
    }

    fn follow_frame_failure(&mut self, now: Timestamp, job: JobId, frame: FrameNumber, message: &str) {
        let Some(floor) = self.floor.jobs.get_mut(&job) else { return };
        let Some(assembling) = floor.assembling.get_mut(&frame) else { return };
        if std::mem::replace(&mut assembling.waiting, true) {
            return;
        }
        let at = now.after(backoff(assembling.failures, &self.limits));
        assembling.failures = assembling.failures.saturating_add(1);
        let message = cut(message, self.limits.failure_message_bytes);
        floor.trouble = Some(format!("frame {frame} could not be written: {message}"));
        self.floor.set_assembly_timer(at, job, frame);
    }

    fn follow_time(&mut self, now: Timestamp) {
        let expired: Vec<_> = self.floor.expired(now).collect();
        for expired in expired {
            self.effects.push_back(Effect::Revoke { node: expired.node, lease: expired.lease });
            self.follow_failure(now, expired.node, expired.lease, FailureKind::TimedOut, "");
        }
        while let Some(timer) = self.floor.pop_timer(now) {
            match timer {
                Timer::Deadline(node) => self.floor.rearm_deadline(node),
                Timer::Wake(node) => self.floor.touched.push(node),
                Timer::Rise(job) => self.floor.rise(&self.state, now, job),
                Timer::Survey(job) => self.survey(now, job),
                Timer::Release(node) => self.floor.release_node(node, &self.limits),
                Timer::Assemble(job, frame) => {
                    let floor = self.floor.jobs.get_mut(&job);
                    if let Some(assembling) = floor.and_then(|floor| floor.assembling.get_mut(&frame)) {
                        assembling.waiting = false;
                        self.effects.push_back(Effect::Assemble { job, frame });
                    }
                }
            }
        }
    }
}
