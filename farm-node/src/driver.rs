//! The driver: one task that owns the agent and everything that it decides
//! about. The agent says what to do; the link, the fetches, the lanes and the
//! sends do it and say how it went. Here are the loop and the way out of it;
//! `conversation`, `blobs` and `work` each have one side of the traffic.

mod blobs;
mod conversation;
mod room;
#[cfg(test)]
mod tests;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use farm_core::agent::{AgentCommand, AgentEffect};
use farm_core::{Agent, BlobDigest, JobId, LeaseId, Limits, NodeId, TileId, Timestamp};
use farm_wire::WireError;
use farm_wire::message::FromNode;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::cache::Cache;
use crate::error::NodeError;
use crate::fetch::FetchFailure;
use crate::job::KnownJob;
use crate::lane::{EncodedTile, Lane, LaneEvent, Stop};
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
    /// Its tags.
    pub(crate) tags: Vec<String>,
    /// Whether to rest.
    pub(crate) resting: watch::Receiver<bool>,
    /// The farm's bounds.
    pub(crate) limits: Limits,
    /// The node's own.
    pub(crate) node_limits: NodeLimits,
}

/// The finished tiles of a lease that the master has not yet answered.
struct KeptTiles {
    ready: Vec<Arc<EncodedTile>>,
    /// How many its lane's encoder still has to do.
    awaited: usize,
    /// Whether the agent has asked to send them meanwhile.
    wanted: bool,
    /// A tile without pixels, to which there is no more than this.
    empty: Option<TileId>,
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
    resting: watch::Receiver<bool>,
    /// What the agent was told of that.
    told_to_rest: bool,
    link: Option<Link>,
    /// Between `Hello` and `Welcome` the agent is told nothing, so that what
    /// the hello says it holds stays true.
    greeting: bool,
    /// Counts connections, so that news of an earlier one is known as such.
    connection: u64,
    jobs: BTreeMap<JobId, KnownJob>,
    tags: Vec<String>,
    /// Manifests of scenes that were rendered, latest last, a few.
    scenes: Vec<BlobDigest>,
    scenes_kept: usize,
    stops: BTreeMap<LeaseId, Arc<Stop>>,
    tiles: BTreeMap<LeaseId, KeptTiles>,
    sends: JoinSet<Done<LeaseId, WireError>>,
    fetches: JoinSet<Done<BlobDigest, FetchFailure>>,
    /// Every blob that was asked for and not answered; the agent bounds it.
    fetching: BTreeSet<BlobDigest>,
    /// Those of them that wait for a connection.
    unconnected: BTreeSet<BlobDigest>,
    /// While the cache's disk is full: resolves when it may be tried again.
    no_room: Option<BoxFuture<'static, ()>>,
    left: bool,
}

impl Driver {
    pub(crate) fn new(setup: Setup) -> Self {
        let lane_count = u32::try_from(setup.lanes.len()).expect("a machine has a handful of adapters");
        let scenes_kept = setup.limits.scenes_per_node;
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
            resting: setup.resting,
            told_to_rest: false,
            link: None,
            greeting: false,
            connection: 0,
            jobs: BTreeMap::new(),
            tags: setup.tags,
            scenes: Vec::new(),
            scenes_kept,
            stops: BTreeMap::new(),
            tiles: BTreeMap::new(),
            sends: JoinSet::new(),
            fetches: JoinSet::new(),
            fetching: BTreeSet::new(),
            unconnected: BTreeSet::new(),
            no_room: None,
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
                Ok(()) = self.resting.changed() => {}
                () = resolve(&mut self.no_room) => {
                    tracing::info!("trying whether there is room on the cache's disk");
                    self.no_room = None;
                }
                event = self.link_events.recv() => match event {
                    Some(event) => self.take_link_events(event)?,
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
            self.pass_on_resting();
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

    /// Tells the agent to rest or to work again, unless what it holds is being told
    /// just now.
    fn pass_on_resting(&mut self) {
        let asked = *self.resting.borrow() || self.no_room.is_some();
        if self.greeting || self.told_to_rest == asked {
            return;
        }
        self.told_to_rest = asked;
        self.tell(if asked { AgentCommand::Rest } else { AgentCommand::Resume });
    }

    /// Hands back everything. The second `Drain` makes the agent give up what
    /// is rendering too; what is whole of it and finished tiles get `leave_timeout`
    /// to reach the master.
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
        stops.values().for_each(|stop| stop.drop_it());
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
                    stop.drop_it();
                }
            }
            AgentEffect::YieldRender { lease, .. } => {
                if let Some(stop) = self.stops.get(&lease) {
                    stop.give_way();
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
            AgentEffect::SendRest => self.send(FromNode::Resting),
            AgentEffect::SendResume => self.send(FromNode::Resumed),
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

/// Resolves when it does, and never where there is none.
async fn resolve(future: &mut Option<BoxFuture<'static, ()>>) {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Resolves at the deadline, or never.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
