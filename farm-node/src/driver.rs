//! The driver: one task that owns the agent and everything that it decides
//! about. The agent says what to do; the link, the fetches, the lanes and the
//! sends do it and say how it went.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use farm_core::agent::{AgentCommand, AgentEffect, LaneIndex};
use farm_core::scheduler::{FailureKind, Lease};
use farm_core::{Agent, BlobDigest, JobId, LeaseId, Limits, NodeId, RenderTask, Timestamp};
use farm_wire::message::{FromNode, LaneDescription, ToNode, Verdict};
use farm_wire::tile::TileAttributes;
use farm_wire::{WireError, transfer};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::cache::Cache;
use crate::error::NodeError;
use crate::fetch::{FetchFailure, fetch};
use crate::job::KnownJob;
use crate::lane::{EncodedTile, Lane, LaneEvent, LaneFailure, Order};
use crate::limits::NodeLimits;
use crate::link::{Link, LinkEvent};

/// How far a node is on its way out; only ever grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leaving {
    /// It stays.
    #[default]
    Not,
    /// It finishes what is rendering and hands back the rest.
    Drained,
    /// It hands back everything and does not wait.
    AtOnce,
}

/// What a driver is given.
pub(crate) struct Setup {
    /// Who the node is.
    pub(crate) node: NodeId,
    /// What it renders with.
    pub(crate) shader_digest: BlobDigest,
    /// Its blobs.
    pub(crate) cache: Arc<Cache>,
    /// Its lanes.
    pub(crate) lanes: Vec<Lane>,
    /// What they say.
    pub(crate) lane_events: mpsc::Receiver<LaneEvent>,
    /// What the link says.
    pub(crate) link_events: mpsc::Receiver<LinkEvent>,
    /// Whether to leave.
    pub(crate) leaving: watch::Receiver<Leaving>,
    /// The farm's bounds.
    pub(crate) limits: Limits,
    /// The node's own.
    pub(crate) node_limits: NodeLimits,
}

/// A finished tile that the master has not yet answered.
enum KeptTile {
    /// Its lane's encoder is at it.
    Encoding {
        /// Whether the agent has asked to send it meanwhile.
        wanted: bool,
    },
    /// It can be sent.
    Ready(Arc<EncodedTile>),
}

/// How a background task went, and on which connection.
struct Done<K, E> {
    connection: u64,
    subject: K,
    outcome: Result<(), E>,
}

pub(crate) struct Driver {
    agent: Agent,
    /// Zero of the agent's clock, which never goes back.
    origin: Instant,
    node: NodeId,
    shader_digest: BlobDigest,
    node_limits: NodeLimits,
    cache: Arc<Cache>,
    lanes: Vec<Lane>,
    lane_events: mpsc::Receiver<LaneEvent>,
    link_events: mpsc::Receiver<LinkEvent>,
    leaving: watch::Receiver<Leaving>,
    /// What the agent was told of that.
    told: Leaving,
    link: Option<Link>,
    /// Between `Hello` and `Welcome` the agent is told nothing, so that what
    /// the hello says it holds stays true.
    greeting: bool,
    /// Counts connections, so that news of an earlier one is known as such.
    connection: u64,
    jobs: BTreeMap<JobId, KnownJob>,
    stops: BTreeMap<LeaseId, Arc<AtomicBool>>,
    tiles: BTreeMap<LeaseId, KeptTile>,
    sends: JoinSet<Done<LeaseId, WireError>>,
    fetches: JoinSet<Done<BlobDigest, FetchFailure>>,
    /// Every blob that was asked for and not answered; the agent bounds it.
    fetching: BTreeSet<BlobDigest>,
    /// Those of them that wait for a connection.
    unconnected: BTreeSet<BlobDigest>,
    left: bool,
}

impl Driver {
    pub(crate) fn new(setup: Setup) -> Self {
        let lane_count = u32::try_from(setup.lanes.len()).expect("a machine has a handful of adapters");
        let agent = Agent::new(lane_count, setup.cache.digests(), setup.limits);
        Self {
            agent,
            origin: Instant::now(),
            node: setup.node,
            shader_digest: setup.shader_digest,
            node_limits: setup.node_limits,
            cache: setup.cache,
            lanes: setup.lanes,
            lane_events: setup.lane_events,
            link_events: setup.link_events,
            leaving: setup.leaving,
            told: Leaving::Not,
            link: None,
            greeting: false,
            connection: 0,
            jobs: BTreeMap::new(),
            stops: BTreeMap::new(),
            tiles: BTreeMap::new(),
            sends: JoinSet::new(),
            fetches: JoinSet::new(),
            fetching: BTreeSet::new(),
            unconnected: BTreeSet::new(),
            left: false,
        }
    }

    /// Drives the agent until it leaves or the master refuses it for good.
    ///
    /// # Errors
    /// Refused, or every lane broke down.
    pub(crate) async fn run(mut self) -> Result<(), NodeError> {
        let outcome = self.drive().await;
        self.close().await;
        outcome
    }

    async fn drive(&mut self) -> Result<(), NodeError> {
        while !self.left {
            let deadline = self.agent.poll_timeout().map(|at| self.origin + Duration::from_millis(at.0));
            let settled = !self.greeting;
            tokio::select! {
                biased;
                asked = self.leaving.changed() => {
                    if asked.is_err() {
                        // Nobody holds the node any more.
                        return Ok(());
                    }
                    if self.is_asked_to_leave_at_once() {
                        return self.leave_at_once().await;
                    }
                }
                event = self.link_events.recv() => match event {
                    Some(event) => self.take_link_event(event)?,
                    None => return Err(NodeError::Panicked("connection")),
                },
                event = self.lane_events.recv(), if settled => match event {
                    Some(event) => self.take_lane_event(event),
                    None => return Err(NodeError::Panicked("lanes")),
                },
                Some(done) = self.fetches.join_next(), if settled => {
                    if let Some(done) = unless_aborted(done)? {
                        self.take_fetched(done);
                    }
                }
                Some(done) = self.sends.join_next(), if settled => {
                    if let Some(done) = unless_aborted(done)? {
                        self.take_sent(&done);
                    }
                }
                () = until(deadline), if settled => self.tell(AgentCommand::Tick),
            }
            self.pass_on_leaving();
            self.perform_effects();
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        Timestamp(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn tell(&mut self, command: AgentCommand) {
        let now = self.now();
        self.agent.handle(now, command);
    }

    // Leaving.

    fn is_asked_to_leave_at_once(&self) -> bool {
        *self.leaving.borrow() == Leaving::AtOnce
    }

    /// Tells the agent to drain, unless what it holds is being told just now.
    fn pass_on_leaving(&mut self) {
        let asked = *self.leaving.borrow();
        if self.greeting || self.told >= asked {
            return;
        }
        self.told = asked;
        tracing::debug!("draining");
        self.tell(AgentCommand::Drain);
    }

    /// Hands back everything. The second `Drain` makes the agent give up what
    /// is rendering too; finished tiles get `leave_timeout` to reach the master.
    async fn leave_at_once(&mut self) -> Result<(), NodeError> {
        if self.link.is_none() || self.greeting {
            return Ok(());
        }
        tracing::info!("handing back everything");
        if self.told == Leaving::Not {
            self.tell(AgentCommand::Drain);
        }
        self.told = Leaving::AtOnce;
        self.tell(AgentCommand::Drain);
        self.perform_effects();
        let within = self.node_limits.leave_timeout;
        // Not to have left in time is all right: the leases are handed back.
        let _ = tokio::time::timeout(within, self.settle_tiles()).await;
        Ok(())
    }

    async fn settle_tiles(&mut self) {
        while !self.left {
            tokio::select! {
                event = self.link_events.recv() => match event {
                    Some(LinkEvent::Received(message)) => self.take_message(message),
                    Some(_) | None => return,
                },
                event = self.lane_events.recv() => match event {
                    Some(event) => self.take_lane_event(event),
                    None => return,
                },
            }
            self.perform_effects();
        }
    }

    /// Stops the lanes, says goodbye and waits until the adapters are closed:
    /// a driver that still works when the process ends may crash it.
    async fn close(self) {
        let Self {
            lanes, stops, lane_events, link_events, link, mut sends, mut fetches, node_limits, ..
        } = self;
        for stop in stops.values() {
            stop.store(true, Ordering::Relaxed);
        }
        // Lanes that wait to report something stop waiting, and the end of the
        // connection is no news to anybody.
        drop((lane_events, link_events));
        sends.abort_all();
        fetches.abort_all();
        if let Some(link) = link {
            link.close(node_limits.leave_timeout).await;
        }
        let threads: Vec<_> = lanes.into_iter().flat_map(Lane::close).collect();
        let joining =
            tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
        if !matches!(joining.await, Ok(true)) {
            tracing::warn!("a lane's thread ended by a panic");
        }
    }

    // The link.

    fn take_link_event(&mut self, event: LinkEvent) -> Result<(), NodeError> {
        match event {
            LinkEvent::Opened(link) => self.greet(link),
            LinkEvent::Received(message) => self.take_message(message),
            LinkEvent::Closed => self.take_closed(),
            LinkEvent::Refused(reason) => return Err(NodeError::Refused(reason)),
        }
        Ok(())
    }

    fn greet(&mut self, link: Link) {
        let holding = self.agent.holding();
        let lanes: Vec<LaneDescription> = self.lanes.iter().map(|lane| lane.description.clone()).collect();
        let held: BTreeSet<JobId> = holding.iter().map(|held| held.tile.job).collect();
        // The master describes every job anew on each connection.
        self.jobs.retain(|job, _| held.contains(job));
        let version = env!("CARGO_PKG_VERSION").to_owned();
        link.send(FromNode::Hello { version, shader_digest: self.shader_digest, lanes, holding });
        self.link = Some(link);
        self.greeting = true;
        self.connection += 1;
    }

    fn take_closed(&mut self) {
        self.link = None;
        self.sends.abort_all();
        for tile in self.tiles.values_mut() {
            if let KeptTile::Encoding { wanted } = tile {
                *wanted = false;
            }
        }
        if std::mem::take(&mut self.greeting) {
            return;
        }
        self.tell(AgentCommand::Disconnect);
    }

    /// Gives up a connection on which something went wrong; the next one
    /// begins with a hello that puts both sides right.
    fn break_link(&mut self, why: &str) {
        if let Some(link) = self.link.take() {
            tracing::warn!("giving up the connection: {why}");
            tokio::spawn(link.close(self.node_limits.leave_timeout));
        }
    }

    fn send(&mut self, message: FromNode) {
        let sent = self.link.as_ref().is_none_or(|link| link.send(message));
        if !sent {
            self.break_link("the master does not read what it is told");
        }
    }

    fn take_message(&mut self, message: ToNode) {
        match message {
            ToNode::Welcome { version, node } => {
                if !std::mem::take(&mut self.greeting) {
                    return self.break_link("the master said welcome twice");
                }
                tracing::info!("connected as node {node} to a master of version {version}");
                self.tell(AgentCommand::Connect);
                for digest in std::mem::take(&mut self.unconnected) {
                    self.start_fetch(digest);
                }
            }
            ToNode::Job { job, spec } => {
                tracing::info!(
                    "job {job} `{}`: scene {} in {} blobs",
                    spec.name,
                    spec.scene,
                    spec.blobs.len() + 1
                );
                self.remember_job(job, KnownJob::new(&spec));
                self.tell(AgentCommand::OpenJob { job, spec });
            }
            ToNode::Granted { lease } => self.take_lease(lease),
            ToNode::Revoked { lease } => self.tell(AgentCommand::DropLease(lease)),
            ToNode::Settled { lease, verdict } => {
                if let Verdict::Rejected { reason } = &verdict {
                    tracing::warn!("the master rejected the tile of lease {lease}: {reason}");
                }
                self.tell(AgentCommand::SettleTile(lease));
            }
        }
    }

    fn remember_job(&mut self, job: JobId, known: KnownJob) {
        if self.jobs.len() >= self.node_limits.jobs {
            let held: BTreeSet<JobId> = self.agent.holding().iter().map(|held| held.tile.job).collect();
            self.jobs.retain(|job, _| held.contains(job));
        }
        self.jobs.insert(job, known);
    }

    /// Passes a lease on to the agent, which compares it with the job's plan,
    /// unless its job is pinned to other shaders.
    fn take_lease(&mut self, lease: Lease) {
        let known = self.jobs.get(&lease.tile.job);
        match known.map_or(Ok(()), |known| known.check_shaders(self.shader_digest)) {
            Ok(()) => self.tell(AgentCommand::TakeLease(lease)),
            Err(message) => {
                tracing::warn!("lease {} of job {}: {message}", lease.id, lease.tile.job);
                self.send(FromNode::Failed { lease: lease.id, kind: FailureKind::Render, message });
            }
        }
    }

    // Fetches.

    fn start_fetch(&mut self, digest: BlobDigest) {
        self.fetching.insert(digest);
        let Some(link) = self.link.as_ref().filter(|_| !self.greeting) else {
            self.unconnected.insert(digest);
            return;
        };
        let (client, cache, limits) =
            (link.client.clone(), Arc::clone(&self.cache), self.node_limits.clone());
        let connection = self.connection;
        self.fetches.spawn(async move {
            let outcome = fetch(client, cache, digest, limits).await;
            Done { connection, subject: digest, outcome }
        });
    }

    fn take_fetched(&mut self, done: Done<BlobDigest, FetchFailure>) {
        let digest = done.subject;
        match done.outcome {
            Ok(()) => {
                self.fetching.remove(&digest);
                let kept = self.make_room(digest);
                self.tell(kept);
            }
            Err(FetchFailure::Lost) if done.connection == self.connection => {
                self.unconnected.insert(digest);
            }
            Err(FetchFailure::Lost) => self.start_fetch(digest),
            Err(FetchFailure::Missed { kind, message }) => {
                self.fetching.remove(&digest);
                tracing::warn!("{message}");
                self.tell(AgentCommand::MissBlob { digest, kind, message });
            }
        }
    }

    /// Keeps the cache within its limit after `digest` came, and says what
    /// became of that blob.
    fn make_room(&mut self, digest: BlobDigest) -> AgentCommand {
        if !self.cache.is_over_limit() {
            return AgentCommand::StoreBlob(digest);
        }
        let victims = self.cache.evict(&self.agent.pinned());
        let is_kept = !victims.contains(&digest);
        for victim in victims.into_iter().filter(|&victim| victim != digest) {
            self.tell(AgentCommand::EvictBlob(victim));
        }
        if is_kept && !self.cache.is_over_limit() {
            return AgentCommand::StoreBlob(digest);
        }
        self.cache.delete(digest);
        let limit_bytes = self.cache.limit_bytes();
        let message = format!("the node's cache of {limit_bytes} bytes is full of blobs in use");
        AgentCommand::MissBlob { digest, kind: FailureKind::DiskFull, message }
    }

    // Lanes.

    fn take_lane_event(&mut self, event: LaneEvent) {
        match event {
            LaneEvent::Progressed { lane, lease, samples } => {
                self.tell(AgentCommand::ReportProgress { lane, lease, samples });
            }
            LaneEvent::Rendered { lane, lease } => {
                self.stops.remove(&lease);
                self.tiles.insert(lease, KeptTile::Encoding { wanted: false });
                self.tell(AgentCommand::FinishRender { lane, lease });
            }
            LaneEvent::Encoded { lease, tile } => self.take_encoded(lease, tile),
            LaneEvent::Failed { lane, lease, failure } => self.take_failure(lane, lease, failure),
        }
    }

    fn take_encoded(&mut self, lease: LeaseId, tile: EncodedTile) {
        let Some(kept) = self.tiles.get_mut(&lease) else {
            // Nobody wants it any more.
            return;
        };
        let is_wanted = matches!(kept, KeptTile::Encoding { wanted: true });
        *kept = KeptTile::Ready(Arc::new(tile));
        if is_wanted {
            self.send_tile(lease);
        }
    }

    fn take_failure(&mut self, lane: LaneIndex, lease: LeaseId, failure: LaneFailure) {
        self.stops.remove(&lease);
        let LaneFailure { kind, message, missing } = failure;
        if kind != FailureKind::HandedBack {
            tracing::warn!("lane {}, lease {lease}: {message}", lane.0);
        }
        if self.tiles.remove(&lease).is_some() {
            // Rendered but not encoded: for the agent it is finished, so the
            // lease is given up as a settled one and the master told here.
            self.tell(AgentCommand::SettleTile(lease));
            self.send(FromNode::Failed { lease, kind, message });
            return;
        }
        self.tell(AgentCommand::FailRender { lane, lease, kind, message });
        if let Some(digest) = missing {
            // The agent fetches it again for the next lease that needs it.
            self.tell(AgentCommand::EvictBlob(digest));
        }
    }

    fn start_render(&mut self, lane: LaneIndex, lease: LeaseId, job: JobId, task: RenderTask) {
        let order = self.make_order(lease, job, task);
        let refused = match order {
            Some(order) => {
                self.stops.insert(lease, Arc::clone(&order.stop));
                let lane = self.lanes.get(usize::try_from(lane.0).unwrap_or(usize::MAX));
                !lane.is_some_and(|lane| lane.order(order))
            }
            None => true,
        };
        if refused {
            let failure = LaneFailure::new(FailureKind::HandedBack, "the lane cannot take it");
            self.take_failure(lane, lease, failure);
        }
    }

    fn make_order(&self, lease: LeaseId, job: JobId, task: RenderTask) -> Option<Order> {
        let known = self.jobs.get(&job)?;
        let held = self.agent.holding().into_iter().find(|held| held.lease == lease)?;
        let attributes = TileAttributes {
            tile: held.tile,
            node: self.node,
            scene: known.scene,
            shader_digest: self.shader_digest,
            samples_per_pixel: task.range.samples(task.settings.samples_per_pixel),
            finished: task.is_whole(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        Some(Order { lease, task, attributes, tile_size: known.tile_size, stop })
    }

    // Tiles.

    fn send_tile(&mut self, lease: LeaseId) {
        let tile = match self.tiles.get_mut(&lease) {
            Some(KeptTile::Ready(tile)) => Arc::clone(tile),
            Some(KeptTile::Encoding { wanted }) => {
                *wanted = true;
                return;
            }
            None => return,
        };
        let Some(link) = &self.link else {
            return;
        };
        let (client, connection) = (link.client.clone(), self.connection);
        self.sends.spawn(async move {
            let outcome = transfer::send_tile(&client, &tile.header, &tile.bytes).await;
            Done { connection, subject: lease, outcome }
        });
    }

    fn take_sent(&mut self, done: &Done<LeaseId, WireError>) {
        if let Err(error) = &done.outcome
            && done.connection == self.connection
        {
            self.break_link(&format!("the tile of lease {} could not be sent: {error}", done.subject));
        }
    }

    // Effects.

    fn perform_effects(&mut self) {
        while let Some(effect) = self.agent.poll_effect() {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: AgentEffect) {
        match effect {
            AgentEffect::FetchBlob(digest) => {
                if !self.fetching.contains(&digest) {
                    self.start_fetch(digest);
                }
            }
            AgentEffect::StartRender { lane, lease, job, task } => {
                self.start_render(lane, lease, job, *task);
            }
            AgentEffect::StopRender { lease, .. } => {
                if let Some(stop) = self.stops.get(&lease) {
                    stop.store(true, Ordering::Relaxed);
                }
            }
            AgentEffect::SendTile(lease) => self.send_tile(lease),
            AgentEffect::ForgetTile(lease) => {
                self.tiles.remove(&lease);
            }
            AgentEffect::SendProgress { lease, samples } => {
                if self.link.as_ref().is_some_and(|link| !link.is_crowded()) {
                    self.send(FromNode::Progress { lease, samples });
                }
            }
            AgentEffect::SendFailure { lease, kind, message } => {
                self.send(FromNode::Failed { lease, kind, message });
            }
            AgentEffect::SendDrain => self.send(FromNode::Draining),
            AgentEffect::Leave => self.left = true,
        }
    }
}

/// What a task came to; nothing if it was aborted with its connection.
fn unless_aborted<T>(done: Result<T, JoinError>) -> Result<Option<T>, NodeError> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.is_panic() => Err(NodeError::Panicked("transfer")),
        Err(_) => Ok(None),
    }
}

/// Resolves at the deadline, or never.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
