//! A whole farm on simulated hosts: the real master, real nodes whose lanes take
//! time and render nothing, and an artist.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use farm_core::scheduler::{JobStatus, JobView};
use farm_core::{
    BlobDigest, BlockRange, FrameNumber, FrameRange, JobId, JobSpec, PixelFilter, Rect, RenderSettings,
    RenderTask, Resolution,
};
use farm_master::journal::SqliteJournal;
use farm_master::{Master, MasterConfig};
use farm_node::{Filling, NodeConfig, OpenNode, noise};
use farm_wire::message::{Request, Response};
use farm_wire::{Client, Credentials, Role, Ticket, WireError, transfer};
use tempfile::TempDir;
use turmoil::Sim;

use crate::journal::OutOfTime;
use crate::socket::SimulatedNetwork;

pub(crate) const MASTER: &str = "master";
const PORT: u16 = 7400;
/// How long tickets are good, by the wall clock.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// What every node fetches: some hundred datagrams.
const SCENE_BYTES: usize = 300_000;
/// How long a simulated farm may take for its job.
const LONGEST: Duration = Duration::from_secs(600);
/// A lane takes a second for a block of a tile of 32 × 32 pixels.
const SAMPLES_PER_SECOND: u32 = 32 * 32 * 16;

/// How a network is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) seed: u64,
    /// Longest time that a datagram takes; the shortest is 1 ms, so that they
    /// overtake one another.
    pub(crate) latency: Duration,
    /// The share of datagrams after which nothing passes between two hosts, until
    /// as many as the reciprocal of [`REPAIR`] have been lost.
    pub(crate) loss: f64,
    /// Every such datagram arrives twice, and none if 0.
    pub(crate) duplicate_every: u32,
}

/// How often a broken link mends with the next datagram.
const REPAIR: f64 = 0.5;

impl Weather {
    pub(crate) fn fair(seed: u64) -> Self {
        Self { seed, latency: Duration::from_millis(5), loss: 0.0, duplicate_every: 0 }
    }

    pub(crate) fn foul(seed: u64) -> Self {
        Self { latency: Duration::from_millis(200), loss: 0.02, duplicate_every: 20, ..Self::fair(seed) }
    }
}

/// What happens to a farm.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A host dies with all that it has in memory.
    Crash(String),
    /// It starts again, on the same disk.
    Start(String),
    /// Nothing passes between a host and the master.
    Cut(String),
    /// It passes again.
    Mend(String),
    /// What is sent between a host and the master waits.
    Hold(String),
    /// It arrives, all at once.
    Release(String),
}

impl Fault {
    fn happen(&self, sim: &mut Sim<'_>) {
        match self {
            Self::Crash(host) => sim.crash(host.as_str()),
            Self::Start(host) => sim.bounce(host.as_str()),
            Self::Cut(host) => sim.partition(host.as_str(), MASTER),
            Self::Mend(host) => sim.repair(host.as_str(), MASTER),
            Self::Hold(host) => sim.hold(host.as_str(), MASTER),
            Self::Release(host) => sim.release(host.as_str(), MASTER),
        }
    }
}

/// What an artist saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    /// When the job was submitted, on the simulation's clock.
    pub(crate) submitted: Duration,
    /// When it was done.
    pub(crate) done: Duration,
    /// The job at its end.
    pub(crate) view: Option<JobView>,
    /// How many nodes were connected, whenever that changed.
    pub(crate) connected: Vec<(Duration, usize)>,
}

impl Account {
    /// The picture's digest.
    pub(crate) fn picture(&self) -> Option<BlobDigest> {
        let view = self.view.as_ref().filter(|view| view.samples_done == view.samples)?;
        match view.delivered[..] {
            [(FrameNumber(1), digest)] => Some(digest),
            _ => None,
        }
    }

    /// When there first were this many nodes, at or after some time.
    pub(crate) fn first(&self, nodes: usize, from: Duration) -> Option<Duration> {
        let mut since = self.connected.iter().filter(|(at, count)| *at >= from && *count == nodes);
        since.next().map(|(at, _)| *at)
    }
}

pub(crate) fn node(number: usize) -> String {
    format!("node-{number}")
}

/// Runs a farm of `nodes` nodes until its job is done. `faults` happen so long
/// after the simulation's start, in their order.
///
/// # Panics
/// When the job is not done in time, or anybody fails.
pub(crate) fn run(weather: Weather, nodes: usize, faults: &[(Duration, Fault)]) -> Account {
    let (mut sim, shared) = master_alone(weather);
    let account = Rc::new(RefCell::new(Account::default()));
    for number in 1..=nodes {
        let at_node = shared.clone();
        sim.host(node(number), move || render(at_node.clone(), node(number)));
    }
    sim.client("artist", submit(shared.clone(), nodes, Rc::clone(&account)));
    let mut faults = faults.iter().peekable();
    loop {
        while let Some((_, fault)) = faults.next_if(|(at, _)| *at <= sim.elapsed()) {
            fault.happen(&mut sim);
        }
        let done = sim.step().unwrap_or_else(|error| {
            panic!("{weather:?}: {error}; the artist saw {:?}", account.borrow());
        });
        if done {
            break;
        }
    }
    drop(sim);
    account.take()
}

/// A network with no more on it than a master.
pub(crate) fn master_alone<'a>(weather: Weather) -> (Sim<'a>, Shared) {
    let mut sim = turmoil::Builder::new()
        .rng_seed(weather.seed)
        .simulation_duration(LONGEST)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(weather.latency)
        .fail_rate(weather.loss)
        .repair_rate(REPAIR)
        .udp_capacity(1 << 14)
        .enable_random_order()
        .build();
    let shared = Shared::new(weather);
    let at_master = shared.clone();
    sim.host(MASTER, move || serve(at_master.clone()));
    (sim, shared)
}

/// What every host knows.
#[derive(Clone)]
pub(crate) struct Shared {
    folder: Rc<TempDir>,
    network: Arc<SimulatedNetwork>,
    /// A node's and the artist's, once the master has made them.
    tickets: Rc<RefCell<Option<(Ticket, Ticket)>>>,
}

impl Shared {
    fn new(weather: Weather) -> Self {
        let folder = Rc::new(tempfile::tempdir().expect("a temporary folder"));
        let network = Arc::new(SimulatedNetwork { duplicate_every: weather.duplicate_every });
        Self { folder, network, tickets: Rc::default() }
    }

    fn at(&self, host: &str) -> PathBuf {
        self.folder.path().join(host)
    }

    /// Joins by a ticket, for as long as it takes; who joined before has kept the
    /// credentials.
    pub(crate) async fn join(&self, host: &str, role: Role) -> Result<Credentials, WireError> {
        let path = self.at(host).join("credentials");
        if path.exists() {
            return Ok(Credentials::load(&path)?.over(self.network.clone()));
        }
        loop {
            let tickets = self.tickets.borrow().clone();
            if let Some((node, artist)) = tickets {
                let ticket = if role == Role::Node { node } else { artist };
                if let Ok(mut joined) = Credentials::join_over(self.network.clone(), &ticket, host).await {
                    std::fs::create_dir_all(self.at(host))
                        .map_err(|source| WireError::File { path: self.at(host), source })?;
                    joined.save(&path)?;
                    return Ok(joined);
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The master's host.
async fn serve(shared: Shared) -> turmoil::Result {
    let mut config = MasterConfig::new(shared.at(MASTER), (Ipv4Addr::UNSPECIFIED, PORT).into());
    config.advertise = vec![SocketAddr::new(turmoil::lookup(MASTER), PORT).to_string()];
    config.network = shared.network.clone();
    let open = async |path: &Path| SqliteJournal::open(path).await.map(OutOfTime);
    let master = Master::start_with(config, open).await?;
    if shared.tickets.borrow().is_none() {
        let ticket = |name: &str, role| master.create_ticket(name, role, DAY, None);
        *shared.tickets.borrow_mut() = Some((ticket("node", Role::Node)?, ticket("artist", Role::Artist)?));
    }
    std::future::pending().await
}

/// A node's host.
async fn render(shared: Shared, host: String) -> turmoil::Result {
    let credentials = shared.join(&host, Role::Node).await?;
    let config = NodeConfig::new(shared.at(&host).join("cache"));
    let samples_per_second = NonZeroU32::new(SAMPLES_PER_SECOND).expect("it is not 0");
    let node = OpenNode::without_adapters(config, 1, Filling::Paced { samples_per_second }).await?;
    node.connect(credentials).wait().await?;
    Ok(())
}

/// The artist: submits the job when all nodes are there, and watches it.
async fn submit(shared: Shared, nodes: usize, account: Rc<RefCell<Account>>) -> turmoil::Result {
    let credentials = shared.join("artist", Role::Artist).await?;
    let scene = scene();
    let mut job = None;
    loop {
        let seen = look(&credentials, &account, nodes, &scene, &mut job).await;
        match seen {
            Ok(view) if view.status == JobStatus::Done => {
                account.borrow_mut().done = turmoil::sim_elapsed().unwrap_or_default();
                account.borrow_mut().view = Some(view);
                return Ok(());
            }
            Ok(view) => return Err(format!("the job ended otherwise: {view:?}").into()),
            // Whatever broke the connection, another one is made.
            Err(WireError::Refused(reason)) => return Err(reason.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Looks at the farm over one connection, until the job has ended.
async fn look(
    credentials: &Credentials,
    account: &RefCell<Account>,
    nodes: usize,
    scene: &[u8],
    job: &mut Option<JobId>,
) -> Result<JobView, WireError> {
    let client = Client::connect(credentials).await?;
    loop {
        let connected = match client.request(&Request::ListNodes).await? {
            Response::Nodes { nodes, .. } => nodes.len(),
            other => return Err(WireError::Protocol(format!("not a list of nodes: {other:?}"))),
        };
        let now = turmoil::sim_elapsed().unwrap_or_default();
        let changed = account.borrow().connected.last().is_none_or(|(_, last)| *last != connected);
        if changed {
            account.borrow_mut().connected.push((now, connected));
        }
        match *job {
            None if connected == nodes => {
                *job = Some(order(&client, scene).await?);
                account.borrow_mut().submitted = now;
            }
            None => {}
            Some(job) => match client.request(&Request::ListJobs).await? {
                Response::Jobs { jobs, .. } => {
                    let view = jobs.into_iter().find(|view| view.job == job).expect("it was acknowledged");
                    if matches!(view.status, JobStatus::Done | JobStatus::Failed | JobStatus::Cancelled) {
                        return Ok(view);
                    }
                }
                other => return Err(WireError::Protocol(format!("not a list of jobs: {other:?}"))),
            },
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Stores the scene and submits the job.
async fn order(client: &Client, scene: &[u8]) -> Result<JobId, WireError> {
    transfer::store_blob(client, digest(scene), scene, |_| ()).await?;
    match client.request(&Request::SubmitJob { spec: Box::new(spec(scene)) }).await? {
        Response::Submitted { job } => Ok(job),
        other => Err(WireError::Protocol(format!("the job was not taken: {other:?}"))),
    }
}

/// Bytes that no lane here looks at, but every node fetches.
fn scene() -> Vec<u8> {
    let mut bytes = vec![0; SCENE_BYTES];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn digest(bytes: &[u8]) -> BlobDigest {
    BlobDigest(*blake3::hash(bytes).as_bytes())
}

/// 24 rectangles of 4 blocks each: 96 seconds of one lane.
fn spec(scene: &[u8]) -> JobSpec {
    JobSpec {
        name: "noise".into(),
        scene: digest(scene),
        blobs: Vec::new(),
        frame_scenes: Vec::new(),
        shader_digest: farm_node::shader_digest(),
        resolution: Resolution { width: 192, height: 128 },
        frames: FrameRange { first: FrameNumber(1), last: FrameNumber(1) },
        tile_size: 32,
        settings: RenderSettings {
            samples_per_pixel: 64,
            seed: 0,
            max_depth: 1,
            filter: PixelFilter::Box,
            camera: 0,
            transparent: false,
            film: Default::default(),
        },
        priority: 0,
        weight: 1,
        needs: Default::default(),
    }
}

/// The digest of the picture that [`run`]'s job is of.
pub(crate) fn expected_picture() -> BlobDigest {
    let JobSpec { resolution, settings, .. } = spec(&[]);
    let Resolution { width, height } = resolution;
    let range = BlockRange::root(settings.blocks());
    let rect = Rect { x: 0, y: 0, width, height };
    let image = noise(&RenderTask { resolution, frame: FrameNumber(1), rect, range, settings });
    let bytes: Vec<u8> = image.pixels.as_flattened().iter().flat_map(|value| value.to_le_bytes()).collect();
    digest(&bytes)
}
