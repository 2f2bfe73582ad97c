//! The node's half of the farm, of the same shape as the scheduler.
//!
//! The agent decides what a node does next: which blobs to fetch, which lease
//! to render on which lane, what to send and what to keep while the master is
//! out of reach. Its driver owns the sockets, the disk and the adapters.
//!
//! A lease goes from queued to rendering to finished, and is forgotten when the
//! master has settled it. A finished tile is sent at once, and again on every
//! new connection until it is settled; so a lost connection costs nothing that
//! was rendered. A lane that must stop before the end yields: the ranges of its
//! lease's samples that are whole become tiles of their own, and only the rest is
//! handed back. What the agent holds is bounded by [`Limits`]: leases in its
//! queue, tiles not settled, job specs, blobs being fetched.

mod command;
mod spec;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use command::{AgentCommand, AgentEffect, LaneIndex};

use crate::id::{BlobDigest, LeaseId};
use crate::limits::Limits;
use crate::scheduler::{FailureKind, HeldLease, Lease};
use crate::tile::TileId;
use crate::time::Timestamp;
use spec::Specs;

/// The agent; see the module's documentation.
#[derive(Clone, Debug)]
pub struct Agent {
    limits: Limits,
    lanes: Vec<Option<Rendering>>,
    specs: Specs,
    leases: BTreeMap<LeaseId, Held>,
    /// Leases that wait for a lane, in the order in which they came.
    queue: VecDeque<LeaseId>,
    /// Leases with finished tiles that are not settled.
    finished: BTreeMap<LeaseId, Finished>,
    fetching: BTreeSet<BlobDigest>,
    connected: bool,
    drain: Drain,
    /// Whether the node takes nothing for now.
    resting: bool,
    effects: VecDeque<AgentEffect>,
}

/// A lease that the agent holds.
#[derive(Clone, Debug)]
struct Held {
    lease: Lease,
    /// When the master last heard of it, if it did.
    reported_at: Option<Timestamp>,
}

/// What a lane does.
#[derive(Clone, Copy, Debug)]
struct Rendering {
    lease: LeaseId,
    since: Timestamp,
    /// Whether it was asked to stop and report what is whole.
    yields: bool,
}

/// The finished tiles of a lease.
#[derive(Clone, Copy, Debug)]
struct Finished {
    tiles: u32,
    /// Those that the master has not answered on this connection.
    unsettled: u32,
    /// Whether they are all of the lease; else the rest is handed back once they are
    /// settled, and not before: while the master takes them in, nobody else is to be
    /// lent the same.
    whole: bool,
}

/// How far the node is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    No,
    /// Finishing what renders, until then at the latest.
    Finishing {
        until: Timestamp,
    },
    /// Nothing renders any more; waiting for the last verdicts.
    HandingBack,
    Left,
}

impl Agent {
    /// An agent of `lanes` lanes whose cache holds `cached`.
    #[must_use]
    pub fn new(lanes: u32, cached: BTreeSet<BlobDigest>, limits: Limits) -> Self {
        let lanes = lanes.min(limits.lanes_per_node);
        Self {
            specs: Specs::new(cached),
            limits,
            lanes: vec![None; lanes as usize],
            leases: BTreeMap::new(),
            queue: VecDeque::new(),
            finished: BTreeMap::new(),
            fetching: BTreeSet::new(),
            connected: false,
            drain: Drain::No,
            resting: false,
            effects: VecDeque::new(),
        }
    }

    /// Takes one command at the time `now`, which never goes back.
    pub fn handle(&mut self, now: Timestamp, command: AgentCommand) {
        match command {
            AgentCommand::Connect => self.connect(),
            AgentCommand::Disconnect => {
                self.connected = false;
                self.specs.forget_unused();
            }
            AgentCommand::OpenJob { job, spec } => self.specs.open(job, spec, &self.limits),
            AgentCommand::TakeLease(lease) => self.take_lease(lease),
            AgentCommand::DropLease(lease) => self.drop_lease(lease),
            AgentCommand::StoreBlob(digest) => self.store_blob(now, digest),
            AgentCommand::EvictBlob(digest) => self.specs.evict(digest),
            AgentCommand::MissBlob { digest, kind, message } => self.miss_blob(digest, kind, &message),
            AgentCommand::ReportProgress { lane, lease, samples } => {
                if self.renders(lane, lease) {
                    self.report_progress(now, lease, samples.max(1));
                }
            }
            AgentCommand::FinishRender { lane, lease } => self.finish_render(lane, lease),
            AgentCommand::FailRender { lane, lease, kind, message } => {
                if self.renders(lane, lease) {
                    self.fail(lease, kind, message);
                }
            }
            AgentCommand::YieldRender { lane, lease, tiles } => self.yield_render(lane, lease, tiles),
            AgentCommand::LoseTile { lease, kind, message } => {
                if self.finished.contains_key(&lease) {
                    self.effects.push_back(AgentEffect::ForgetTile(lease));
                    self.fail(lease, kind, message);
                }
            }
            AgentCommand::SettleTile(lease) => self.settle_tile(lease),
            AgentCommand::Drain => self.drain(now),
            AgentCommand::Rest => self.rest(),
            AgentCommand::Resume => self.resume(),
            AgentCommand::Tick => {}
        }
        if matches!(self.drain, Drain::Finishing { until } if until <= now) {
            self.yield_lanes();
        }
        self.announce_slow_starts(now);
        self.fetch_blobs();
        self.start_renders(now);
        self.leave_if_done();
    }

    /// The next effect to perform, until `None`.
    pub fn poll_effect(&mut self) -> Option<AgentEffect> {
        self.effects.pop_front()
    }

    /// When to call [`Agent::handle`] with [`AgentCommand::Tick`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let goes_on = self.lanes.iter().flatten().any(|rendering| !rendering.yields);
        let patience = match self.drain {
            Drain::Finishing { until } if goes_on => Some(until),
            Drain::No | Drain::Finishing { .. } | Drain::HandingBack | Drain::Left => None,
        };
        self.unannounced().map(|(at, _)| at).chain(patience).min()
    }

    /// What the agent holds, for the greeting on (re)connection: leases queued,
    /// rendering, or finished and not yet settled.
    #[must_use]
    pub fn holding(&self) -> Vec<HeldLease> {
        let leases = self.leases.values();
        leases.map(|held| HeldLease { lease: held.lease.id, tile: held.lease.tile }).collect()
    }

    /// The tile of a lease that the agent holds.
    #[must_use]
    pub fn tile_of(&self, lease: LeaseId) -> Option<TileId> {
        self.leases.get(&lease).map(|held| held.lease.tile)
    }

    /// Blobs that queued or rendering work needs: the cache must not evict them.
    #[must_use]
    pub fn pinned(&self) -> BTreeSet<BlobDigest> {
        self.specs.pinned()
    }

    /// The greeting has been sent; so are the tiles that wait for a verdict.
    fn connect(&mut self) {
        self.connected = true;
        for held in self.leases.values_mut() {
            held.reported_at = None;
        }
        if self.drain != Drain::No {
            self.effects.push_back(AgentEffect::SendDrain);
        } else if self.resting {
            self.effects.push_back(AgentEffect::SendRest);
        }
        for (lease, finished) in &mut self.finished {
            finished.unsettled = finished.tiles;
            self.effects.push_back(AgentEffect::SendTile(*lease));
        }
    }

    fn take_lease(&mut self, lease: Lease) {
        if self.leases.contains_key(&lease.id) {
            return;
        }
        let id = lease.id;
        let most = self.lanes.len().saturating_mul(self.limits.leases_per_lane_max as usize);
        if self.drain != Drain::No {
            self.send_failure(id, FailureKind::HandedBack, "the node is draining".into());
        } else if self.resting {
            self.send_failure(id, FailureKind::HandedBack, "the node is resting".into());
        } else if self.queue.len() >= most {
            self.send_failure(
                id,
                FailureKind::HandedBack,
                format!("the node already has {most} leases in its queue"),
            );
        } else if let Err(unfit) = self.specs.take(&lease) {
            self.send_failure(id, unfit.kind, unfit.message);
        } else {
            self.queue.push_back(id);
            self.leases.insert(id, Held { lease, reported_at: None });
        }
    }

    /// Drops a lease that is queued or rendering. A finished tile is on its way
    /// to the master, who will settle it.
    fn drop_lease(&mut self, lease: LeaseId) {
        if self.finished.contains_key(&lease) || !self.leases.contains_key(&lease) {
            return;
        }
        self.stop(lease);
        self.forget(lease);
    }

    fn store_blob(&mut self, now: Timestamp, digest: BlobDigest) {
        self.fetching.remove(&digest);
        let jobs = self.specs.store(digest);
        // A sign of life for what waits for the rest of a large scene. The
        // master extends every later lease with the earliest.
        let waiting = self.queue.iter().copied();
        let waiting = waiting
            .filter(|lease| self.leases.get(lease).is_some_and(|held| jobs.contains(&held.lease.tile.job)));
        if let Some(lease) = waiting.min() {
            self.report_progress(now, lease, 0);
        }
    }

    /// Gives up the queued leases that need a blob which cannot be had.
    fn miss_blob(&mut self, digest: BlobDigest, kind: FailureKind, message: &str) {
        self.fetching.remove(&digest);
        let needs = |lease: &&LeaseId| {
            self.leases.get(lease).is_some_and(|held| self.specs.lacks(held.lease.tile, digest))
        };
        let unfit: Vec<_> = self.queue.iter().filter(needs).copied().collect();
        for lease in unfit {
            self.fail(lease, kind, message.to_owned());
        }
    }

    fn finish_render(&mut self, lane: LaneIndex, lease: LeaseId) {
        self.take_finished(lane, lease, Finished { tiles: 1, unsettled: 1, whole: true });
    }

    fn yield_render(&mut self, lane: LaneIndex, lease: LeaseId, tiles: u32) {
        let tiles = tiles.max(1);
        self.take_finished(lane, lease, Finished { tiles, unsettled: tiles, whole: false });
    }

    fn take_finished(&mut self, lane: LaneIndex, lease: LeaseId, finished: Finished) {
        if !self.renders(lane, lease) {
            // It was dropped while the report was on its way.
            if !self.finished.contains_key(&lease) {
                self.effects.push_back(AgentEffect::ForgetTile(lease));
            }
            return;
        }
        self.lanes[lane.0 as usize] = None;
        self.finished.insert(lease, finished);
        if let Some(held) = self.leases.get(&lease) {
            self.specs.release(held.lease.tile);
        }
        if self.connected {
            self.effects.push_back(AgentEffect::SendTile(lease));
        }
    }

    /// The master has answered a tile of a lease.
    fn settle_tile(&mut self, lease: LeaseId) {
        let Some(finished) = self.finished.get_mut(&lease) else { return };
        finished.unsettled = finished.unsettled.saturating_sub(1);
        if finished.unsettled > 0 {
            return;
        }
        let whole = finished.whole;
        self.forget(lease);
        self.effects.push_back(AgentEffect::ForgetTile(lease));
        if !whole {
            self.send_failure(lease, FailureKind::HandedBack, "the node gave way".into());
        }
    }

    fn rest(&mut self) {
        if self.drain != Drain::No || std::mem::replace(&mut self.resting, true) {
            return;
        }
        if self.connected {
            self.effects.push_back(AgentEffect::SendRest);
        }
        for lease in self.queue.clone() {
            self.fail(lease, FailureKind::HandedBack, "the node is resting".into());
        }
        self.yield_lanes();
    }

    fn resume(&mut self) {
        let rested = std::mem::take(&mut self.resting);
        if rested && self.connected && self.drain == Drain::No {
            self.effects.push_back(AgentEffect::SendResume);
        }
    }

    /// Asks every lane to stop and report what is whole of its lease.
    fn yield_lanes(&mut self) {
        for (lane, rendering) in (0..).map(LaneIndex).zip(&mut self.lanes) {
            let Some(rendering) = rendering else { continue };
            if !std::mem::replace(&mut rendering.yields, true) {
                self.effects.push_back(AgentEffect::YieldRender { lane, lease: rendering.lease });
            }
        }
    }

    fn drain(&mut self, now: Timestamp) {
        match self.drain {
            Drain::No => {
                self.drain = Drain::Finishing { until: now.after(self.limits.drain_patience) };
                if self.connected {
                    self.effects.push_back(AgentEffect::SendDrain);
                }
                for lease in self.queue.clone() {
                    self.fail(lease, FailureKind::HandedBack, "the node is draining".into());
                }
            }
            Drain::Finishing { .. } => {
                self.drain = Drain::HandingBack;
                self.yield_lanes();
            }
            Drain::HandingBack => {
                for lease in self.lanes.clone().into_iter().flatten().map(|rendering| rendering.lease) {
                    self.stop(lease);
                    self.fail(lease, FailureKind::HandedBack, "the node is leaving".into());
                }
            }
            Drain::Left => {}
        }
    }

    /// Leaves when nothing is held; told twice to, also when no master is there
    /// to settle what is finished.
    fn leave_if_done(&mut self) {
        let done = match self.drain {
            Drain::No | Drain::Left => false,
            Drain::Finishing { .. } => self.leases.is_empty(),
            Drain::HandingBack => self.leases.is_empty() || !self.connected,
        };
        if done {
            self.drain = Drain::Left;
            self.effects.push_back(AgentEffect::Leave);
        }
    }

    /// Fetches what the leases in the queue need, in their order.
    fn fetch_blobs(&mut self) {
        // Most of the time nothing is missing, and the queue need not be walked.
        if !self.connected || self.drain != Drain::No || self.resting || !self.specs.lack_any() {
            return;
        }
        let mut seen = None;
        for lease in &self.queue {
            let Some(tile) = self.leases.get(lease).map(|held| held.lease.tile) else { continue };
            let frame = (tile.job, tile.frame);
            if seen.replace(frame) == Some(frame) {
                continue;
            }
            while self.fetching.len() < self.limits.blob_fetches.max(1) {
                let Some(digest) = self.specs.next_missing(tile, &self.fetching) else { break };
                self.fetching.insert(digest);
                self.effects.push_back(AgentEffect::FetchBlob(digest));
            }
        }
    }

    /// Gives every free lane the first lease of the queue whose blobs are here,
    /// as long as the tiles to be kept are not too many.
    fn start_renders(&mut self, now: Timestamp) {
        let mut rendering = self.lanes.iter().flatten().count();
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].is_some()
                || rendering + self.finished.len() >= self.limits.unsent_tiles.max(1)
            {
                continue;
            }
            let Some((at, task)) = self.first_ready() else { return };
            let Some(lease) = self.queue.remove(at) else { return };
            self.lanes[lane] = Some(Rendering { lease, since: now, yields: false });
            rendering += 1;
            let lane = LaneIndex(u32::try_from(lane).expect("lanes are counted by a u32"));
            let Some(job) = self.leases.get(&lease).map(|held| held.lease.tile.job) else { continue };
            self.effects.push_back(AgentEffect::StartRender { lane, lease, job, task: Box::new(task) });
        }
    }

    /// The place in the queue of the first lease whose blobs are here.
    fn first_ready(&self) -> Option<(usize, crate::tile::RenderTask)> {
        self.queue.iter().enumerate().find_map(|(at, lease)| {
            let task = self.specs.task(&self.leases.get(lease)?.lease)?;
            Some((at, task))
        })
    }

    fn renders(&self, lane: LaneIndex, lease: LeaseId) -> bool {
        let lane = self.lanes.get(lane.0 as usize).copied().flatten();
        lane.is_some_and(|rendering| rendering.lease == lease)
    }

    /// Stops a lease if a lane renders it.
    fn stop(&mut self, lease: LeaseId) {
        let renders = |lane: &Option<Rendering>| lane.is_some_and(|rendering| rendering.lease == lease);
        if let Some(lane) = self.lanes.iter().position(renders) {
            let lane = LaneIndex(u32::try_from(lane).expect("lanes are counted by a u32"));
            self.effects.push_back(AgentEffect::StopRender { lane, lease });
        }
    }

    fn fail(&mut self, lease: LeaseId, kind: FailureKind, message: String) {
        self.forget(lease);
        self.send_failure(lease, kind, message);
    }

    /// Without a connection nothing is said: the next greeting will not name
    /// the lease, and so the master learns that it is free.
    fn send_failure(&mut self, lease: LeaseId, kind: FailureKind, message: String) {
        if self.connected {
            self.effects.push_back(AgentEffect::SendFailure { lease, kind, message });
        }
    }

    /// Removes a lease from wherever it is.
    fn forget(&mut self, lease: LeaseId) {
        let Some(held) = self.leases.remove(&lease) else { return };
        if self.finished.remove(&lease).is_some() {
            return;
        }
        self.specs.release(held.lease.tile);
        self.queue.retain(|queued| *queued != lease);
        for lane in &mut self.lanes {
            if lane.is_some_and(|rendering| rendering.lease == lease) {
                *lane = None;
            }
        }
    }

    fn report_progress(&mut self, now: Timestamp, lease: LeaseId, samples: u64) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        let early = held.reported_at.is_some_and(|at| now < at.after(self.limits.progress_interval));
        if self.connected && !early {
            held.reported_at = Some(now);
            self.effects.push_back(AgentEffect::SendProgress { lease, samples });
        }
    }

    /// Says of a lease whose rendering began a while ago, and of which nothing
    /// was said yet, that it began. Short leases are done before.
    fn announce_slow_starts(&mut self, now: Timestamp) {
        let due: Vec<_> = self.unannounced().filter(|(at, _)| *at <= now).map(|(_, lease)| lease).collect();
        for lease in due {
            self.report_progress(now, lease, 1);
        }
    }

    /// Leases that render and of which nothing was said since, with when to.
    fn unannounced(&self) -> impl Iterator<Item = (Timestamp, LeaseId)> + '_ {
        let rendering = self.lanes.iter().flatten().filter(|_| self.connected);
        rendering.filter_map(|rendering| {
            let reported_at = self.leases.get(&rendering.lease)?.reported_at;
            let silent = reported_at.is_none_or(|at| at <= rendering.since);
            silent.then(|| (rendering.since.after(self.limits.progress_interval), rendering.lease))
        })
    }
}
