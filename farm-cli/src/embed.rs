//! The whole farm in one process: a master and its nodes over QUIC on loopback,
//! with real tickets and certificates, in a private temporary folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use farm_master::blobs::BlobError;
use farm_master::{Master, MasterConfig, MasterError};
use farm_node::cache::{Cache, CacheError};
use farm_node::{AdapterChoice, CpuLane, DiskCache, Door, NodeConfig, NodeError, OpenNode};
use farm_scene::PackedScene;
use farm_wire::{Credentials, Role, Ticket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::output::{Failure, describe};
use crate::requests::Link;
use crate::spec::digest_of;
use crate::submit::all_blobs;

/// Tickets of an embedded farm are used within its first seconds.
const TICKET_LIFE: Duration = Duration::from_secs(600);

/// How long each part of the farm may take to stop: a node finishes the slice
/// that it is rendering, which is short by design.
const STOP_TIME: Duration = Duration::from_secs(5);

/// What the nodes render on.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    /// The adapters.
    pub(crate) adapter: AdapterChoice,
    /// The processor beside them.
    pub(crate) cpu: Option<CpuLane>,
    /// Where they keep prepared scenes.
    pub(crate) disk_cache: Option<Arc<DiskCache>>,
}

/// A master and its nodes.
pub(crate) struct EmbeddedFarm {
    master: Master,
    /// The nodes' folder of blobs.
    cache: PathBuf,
    /// One task for each node, from its start to its end.
    nodes: JoinSet<Result<(), Failure>>,
    /// The doors of nodes as they stand ready.
    ready: mpsc::Receiver<Door>,
    doors: Vec<Door>,
    first_ready: Option<Instant>,
}

impl EmbeddedFarm {
    /// Starts a master in `folder` and begins to start `count` nodes, which
    /// share one cache there.
    pub(crate) async fn start(folder: &Path, count: u32, lanes: Lanes) -> Result<Self, Failure> {
        let loopback = ([127, 0, 0, 1], 0).into();
        let config = MasterConfig::new(folder.join("master"), loopback);
        let master = Master::start(config).await.map_err(|error| master_failure(&error))?;
        // One place is enough: nodes that stand ready while nobody looks wait.
        let (said_ready, ready) = mpsc::channel(1);
        let mut nodes = JoinSet::new();
        let cache = folder.join("cache");
        for number in 1..=count {
            let name = format!("node-{number}");
            let ticket = ticket(&master, &name, Role::Node)?;
            nodes.spawn(run_node(ticket, name, cache.clone(), lanes.clone(), said_ready.clone()));
        }
        Ok(Self { master, cache, nodes, ready, doors: Vec::new(), first_ready: None })
    }

    /// Puts a scene's blobs where the master and the nodes keep them, which is
    /// quicker than sending them from this process to itself.
    pub(crate) async fn store(&self, packed: Arc<PackedScene>) -> Result<(), Failure> {
        let (store, scene) = (self.master.blobs(), Arc::clone(&packed));
        let storing = tokio::task::spawn_blocking(move || {
            let mut blobs = all_blobs(&scene);
            blobs.try_for_each(|blob| store.store(digest_of(blob), &blob.bytes))
        });
        let folder = self.cache.clone();
        let caching = tokio::task::spawn_blocking(move || {
            let cache = Cache::open(&folder, u64::MAX)?;
            let mut blobs = all_blobs(&packed);
            blobs.try_for_each(|blob| cache.store(digest_of(blob), &blob.bytes))
        });
        let broke = |error| Failure::job_failed(format!("storing the scene failed: {error}"));
        let (stored, cached) = tokio::try_join!(storing, caching).map_err(broke)?;
        stored.map_err(|error: BlobError| Failure::job_failed(describe(&error)))?;
        cached.map_err(|error: CacheError| Failure::job_failed(describe(&error)))
    }

    /// Connects to the master with every right: the farm is this process's own.
    pub(crate) async fn connect(&self) -> Result<Link, Failure> {
        let ticket = ticket(&self.master, "artist", Role::Admin)?;
        Link::connect(Credentials::join(&ticket, "artist").await?).await
    }

    /// Looks after the nodes; resolves only when one could not start or broke
    /// down.
    pub(crate) async fn fail_with_nodes(&mut self) -> Failure {
        loop {
            tokio::select! {
                Some(door) = self.ready.recv() => {
                    self.first_ready.get_or_insert_with(Instant::now);
                    self.doors.push(door);
                }
                Some(ended) = self.nodes.join_next() => match ended {
                    Ok(Ok(())) => return Failure::job_failed("a node left in the middle of the work"),
                    Ok(Err(failure)) => return failure,
                    Err(error) => return Failure::job_failed(format!("a node broke down: {error}")),
                },
            }
        }
    }

    /// When the first node stood ready.
    pub(crate) fn first_ready(&self) -> Option<Instant> {
        self.first_ready
    }

    /// Stops the nodes and then the master; each gets a bounded time.
    pub(crate) async fn stop(mut self) {
        // Nodes that stand ready from now on find nobody to tell, and end.
        self.ready.close();
        while let Some(door) = self.ready.recv().await {
            self.doors.push(door);
        }
        self.doors.iter().for_each(Door::leave_at_once);
        let leaving = async { while self.nodes.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIME, leaving).await.is_err() {
            tracing::debug!("a node did not stop in time");
        }
        if tokio::time::timeout(STOP_TIME, self.master.shutdown()).await.is_err() {
            tracing::debug!("the master did not stop in time");
        }
    }
}

/// A node from its start to its end.
async fn run_node(
    ticket: Ticket,
    name: String,
    cache: PathBuf,
    lanes: Lanes,
    ready: mpsc::Sender<Door>,
) -> Result<(), Failure> {
    // The cache is private to this process and gone with it: it holds the one
    // scene that is rendered, however large.
    let Lanes { adapter, cpu, disk_cache } = lanes;
    let cache_bytes = u64::MAX;
    let config = NodeConfig { adapter, cpu, disk_cache, cache_bytes, ..NodeConfig::new(cache) };
    let opening = async { OpenNode::open(config).await.map_err(|error| node_failure(&error)) };
    let joining = async { Ok(Credentials::join(&ticket, &name).await?) };
    let (node, credentials) = tokio::try_join!(opening, joining)?;
    let node = node.connect(credentials);
    if ready.send(node.door()).await.is_err() {
        node.leave_at_once();
    }
    node.wait().await.map_err(|error| node_failure(&error))
}

/// A ticket for one joiner of this process.
pub(crate) fn ticket(master: &Master, name: &str, role: Role) -> Result<Ticket, Failure> {
    master.create_ticket(name, role, TICKET_LIFE, Some(1)).map_err(|error| master_failure(&error))
}

/// Why the master could not start, for the artist.
fn master_failure(error: &MasterError) -> Failure {
    let failure = Failure::job_failed(describe(error));
    match error.hint() {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// Why a node could not start, for the artist.
fn node_failure(error: &NodeError) -> Failure {
    let message = describe(error);
    let failure = match error {
        NodeError::UnknownAdapter { .. } => {
            return Failure::wrong_use(message).with_hint("`farm adapters` lists them");
        }
        NodeError::NoAdapter | NodeError::Open { .. } => Failure::out_of_reach(message),
        _ => Failure::job_failed(message),
    };
    match error.hint() {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}
