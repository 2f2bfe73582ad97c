//! A running node, as its embedder sees it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use farm_core::agent::LaneIndex;
use farm_core::{BlobDigest, Limits, NodeId};
use farm_render::{AdapterInfo, DiskCache, OpenOptions, Renderer, numa_nodes};
use farm_wire::Credentials;
use farm_wire::message::LaneDescription;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::adapters::{AdapterChoice, CpuLane, choose, list_for, processor_lanes, shader_digest};
use crate::cache::Cache;
use crate::driver::{Driver, Leaving, Setup};
use crate::error::NodeError;
use crate::lane::{Lane, LaneEvent, Share};
use crate::limits::NodeLimits;
use crate::{link, scene};

/// What a node needs to know, but for its master.
pub struct NodeConfig {
    /// Folder of its cache; several nodes may share one.
    pub cache: PathBuf,
    /// Bytes that the cache may hold.
    pub cache_bytes: u64,
    /// Where scenes are kept in the form that adapters read; `None` keeps none.
    pub disk_cache: Option<Arc<DiskCache>>,
    /// The adapters to render on.
    pub adapter: AdapterChoice,
    /// Its tags: jobs may require some.
    pub tags: Vec<String>,
    /// Bytes of memory of each lane, where the machine does not tell or less is
    /// to be used.
    pub memory_bytes: Option<u64>,
    /// The processor as well, or how much of it where it renders anyway.
    pub cpu: Option<CpuLane>,
    /// How much of a graphics adapter's time to take.
    pub gpu_share: Share,
    /// How much of the processor's time to take where it renders.
    pub cpu_share: Share,
    /// The farm's bounds.
    pub limits: Limits,
    /// The node's own bounds.
    pub node_limits: NodeLimits,
}

impl NodeConfig {
    /// 20 GB: several film shots' worth of scenes, and what a workstation's
    /// disk can spare.
    pub const CACHE_BYTES: u64 = 20_000_000_000;

    /// A node with the usual bounds, on every hardware adapter.
    #[must_use]
    pub fn new(cache: PathBuf) -> Self {
        Self {
            cache,
            cache_bytes: Self::CACHE_BYTES,
            disk_cache: None,
            adapter: AdapterChoice::default(),
            tags: Vec::new(),
            memory_bytes: None,
            cpu: None,
            gpu_share: Share::ALL,
            cpu_share: Share::ALL,
            limits: Limits::default(),
            node_limits: NodeLimits::default(),
        }
    }
}

/// A node whose adapters are open, and which has no master yet: nobody's ticket is
/// used up for a machine that cannot render.
pub struct OpenNode {
    pub(crate) shader_digest: BlobDigest,
    pub(crate) cache: Arc<Cache>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) lane_events: mpsc::Receiver<LaneEvent>,
    pub(crate) tags: Vec<String>,
    /// Where its graphics adapters are on the bus, if that is known.
    pub(crate) bus_addresses: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) node_limits: NodeLimits,
}

impl OpenNode {
    /// Opens the adapters.
    ///
    /// # Errors
    /// No adapter could be opened, or the cache could not.
    pub async fn open(config: NodeConfig) -> Result<Self, NodeError> {
        let cache = open_cache(config.cache.clone(), config.cache_bytes).await?;
        let (events, lane_events) = mpsc::channel(config.node_limits.lane_events);
        let (lanes, bus_addresses) = open_lanes(&config, &cache, &events).await?;
        let NodeConfig { tags, limits, node_limits, .. } = config;
        let shader_digest = shader_digest();
        Ok(Self { shader_digest, cache, lanes, lane_events, tags, bus_addresses, limits, node_limits })
    }

    /// Starts to connect to the master that the credentials name. From then on the
    /// node connects by itself whenever it is disconnected, for ever.
    #[must_use]
    pub fn connect(self, credentials: Credentials) -> Node {
        let Self { shader_digest, cache, lanes, lane_events, tags, limits, node_limits, .. } = self;
        let descriptions = lanes.iter().map(|lane| lane.description.clone()).collect();
        let (link_sender, link_events) = mpsc::channel(node_limits.incoming_messages);
        let (leaving, asked) = watch::channel(Leaving::Not);
        let (resting, asked_to_rest) = watch::channel(false);
        let setup = Setup {
            node: NodeId(credentials.identity().id),
            shader_digest,
            cache,
            lanes,
            lane_events,
            link_events,
            leaving: asked,
            tags,
            resting: asked_to_rest,
            limits,
            node_limits: node_limits.clone(),
        };
        tokio::spawn(link::keep(credentials, node_limits, link_sender));
        let driver = tokio::spawn(Driver::new(setup).run());
        Node { lanes: descriptions, door: Door { leaving, resting }, driver }
    }
}

/// A running node. Dropping it (and every [`Door`] of it) stops it without
/// handing anything back; see [`Node::drain`] and [`Node::wait`].
pub struct Node {
    lanes: Vec<LaneDescription>,
    door: Door,
    driver: JoinHandle<Result<(), NodeError>>,
}

impl Node {
    /// Its lanes, one for each adapter.
    #[must_use]
    pub fn lanes(&self) -> &[LaneDescription] {
        &self.lanes
    }

    /// Makes the node finish what is rendering, hand back the rest and leave
    /// when the master has answered every tile.
    pub fn drain(&self) {
        self.door.drain();
    }

    /// Makes the node leave without finishing; see [`Door::leave_at_once`].
    pub fn leave_at_once(&self) {
        self.door.leave_at_once();
    }

    /// What makes the node leave while somebody waits for it.
    #[must_use]
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// Waits until the node has left.
    ///
    /// # Errors
    /// The master refuses the node for good, or the node broke down.
    pub async fn wait(self) -> Result<(), NodeError> {
        let Self { driver, door, .. } = self;
        let outcome = driver.await.unwrap_or(Err(NodeError::Panicked("driver")));
        drop(door);
        outcome
    }
}

/// The way out of a [`Node`]. Cheap to clone; the node stops when it and all
/// of its doors are dropped.
#[derive(Clone, Debug)]
pub struct Door {
    leaving: watch::Sender<Leaving>,
    resting: watch::Sender<bool>,
}

impl Door {
    /// See [`Node::drain`].
    pub fn drain(&self) {
        self.ask(Leaving::Drained);
    }

    /// Makes the node hand back everything and leave, waiting for no more than
    /// the finished tiles on their way, and for these only shortly.
    pub fn leave_at_once(&self) {
        self.ask(Leaving::AtOnce);
    }

    /// Makes the node hand back what it has, less what is whole of it, and take nothing
    /// for now, or take leases again. It stays connected.
    pub fn rest(&self, rests: bool) {
        self.resting.send_if_modified(|asked| std::mem::replace(asked, rests) != rests);
    }

    /// Resolves when nobody drives the node any more.
    pub async fn closed(&self) {
        self.leaving.closed().await;
    }

    fn ask(&self, leaving: Leaving) {
        self.leaving.send_if_modified(|asked| {
            let is_more = leaving > *asked;
            *asked = leaving.max(*asked);
            is_more
        });
    }
}

/// Opens the cache and brings it within its limit while nothing is in use.
pub(crate) async fn open_cache(folder: PathBuf, limit_bytes: u64) -> Result<Arc<Cache>, NodeError> {
    let opening = tokio::task::spawn_blocking(move || {
        let cache = Cache::open(&folder, limit_bytes)?;
        cache.evict(&BTreeSet::new());
        Ok(Arc::new(cache))
    });
    opening.await.unwrap_or(Err(NodeError::Panicked("cache")))
}

/// Opens a lane for each adapter; also says where those are on the bus.
async fn open_lanes(
    config: &NodeConfig,
    cache: &Arc<Cache>,
    events: &mpsc::Sender<LaneEvent>,
) -> Result<(Vec<Lane>, Vec<String>), NodeError> {
    let choice = config.adapter.clone();
    let listing = tokio::task::spawn_blocking(move || list_for(&choice));
    let adapters = listing.await.map_err(|_| NodeError::Panicked("list of adapters"))?;
    let (mut lanes, mut bus_addresses) = (Vec::new(), Vec::new());
    let mut trouble = None;
    let most = usize::try_from(config.limits.lanes_per_node).unwrap_or(usize::MAX);
    let chosen = choose(&adapters, &config.adapter, config.cpu.is_some())?;
    for (adapter, options) in chosen.iter().flat_map(|adapter| ways_to_open(adapter, config)).take(most) {
        // A lane is numbered by its place among those that opened.
        let index = u32::try_from(lanes.len()).expect("a machine has a handful of adapters");
        let open = move || Renderer::open(&options);
        let load = scene::loader(Arc::clone(cache));
        let share = share_of(adapter, config);
        match Lane::start(LaneIndex(index), open, load, share, &config.node_limits, events.clone()).await {
            Ok(mut lane) => {
                lane.description.memory_bytes = config.memory_bytes.or(lane.description.memory_bytes);
                let LaneDescription { adapter: name, backend, .. } = &lane.description;
                tracing::info!("lane {index}: {name} ({backend})");
                lanes.push(lane);
                bus_addresses.push(adapter.bus_address.clone());
            }
            Err(source) => {
                tracing::warn!("adapter {} `{}` is left out: {source}", adapter.index, adapter.name);
                trouble.get_or_insert(NodeError::Open { name: adapter.name.clone(), source });
            }
        }
    }
    match (lanes.is_empty(), trouble) {
        (true, Some(trouble)) => Err(trouble),
        (true, None) => Err(NodeError::NoAdapter),
        (false, _) => Ok((lanes, bus_addresses)),
    }
}

/// How much of an adapter's time its lane takes.
fn share_of(adapter: &AdapterInfo, config: &NodeConfig) -> Share {
    if adapter.is_native() { config.cpu_share } else { config.gpu_share }
}

/// How an adapter is opened: the processor once for each of its lanes.
fn ways_to_open<'a>(
    adapter: &'a AdapterInfo,
    config: &NodeConfig,
) -> impl Iterator<Item = (&'a AdapterInfo, OpenOptions)> {
    let ways = if adapter.is_native() {
        processor_lanes(numa_nodes(), config.cpu.and_then(|cpu| cpu.threads))
    } else {
        vec![(None, None)]
    };
    let cache = config.disk_cache.clone();
    ways.into_iter().map(move |(numa_node, threads)| {
        let options = OpenOptions {
            adapter: Some(adapter.clone()),
            threads,
            numa_node,
            one_at_a_time: !share_of(adapter, config).is_all(),
            cache: cache.clone(),
            variant: None,
        };
        (adapter, options)
    })
}
