//! The farm end to end under blows: real programs, a real job, and a seed that says
//! which of them are killed, stopped and cut off, and when.
//!
//! What must hold whatever happens: the picture has the same bits, no tile that was
//! accepted is rendered again, and few samples are rendered twice. The last two are
//! read from the nodes' own logs, see [`account`].

pub mod account;
mod artist;
mod disk;
mod network;
mod process;
mod siege;

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use farm_core::job::Needs;
use farm_core::scheduler::{JobStatus, JobView};
use farm_core::{BlobDigest, FrameNumber, FrameRange, JobSpec, PixelFilter, RenderSettings, Resolution};
use farm_scene::{LoadOptions, PackedScene};
use farm_wire::message::{Request, Response};

use self::account::Account;
use self::artist::Artist;
use self::network::Place;
use self::process::{Master, Node};
use self::siege::Siege;
use crate::random::Random;

/// Room for the job's tiles in a small data folder, several times over.
const MASTER_DISK_BYTES: u64 = 128 << 20;

/// Room for the scene in a small cache.
const NODE_DISK_BYTES: u64 = 16 << 20;

/// What the system calls a full disk, and what SQLite does.
const NO_SPACE: &str = "No space left on device";
const FULL: &str = "full";

/// What a node says when it begins to render.
const BEGINS: &str = "lease begins";

/// How long a master may take to notice that its disk is full.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// Why a run could not be made or what it found.
pub type Failed = Box<dyn Error + Send + Sync>;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes, of one thread each.
    pub nodes: usize,
    /// Width and height of the picture in pixels.
    pub edge: u32,
    /// Samples of each pixel.
    pub samples_per_pixel: u32,
    /// Whether each program has a network namespace of its own, which needs root.
    pub in_namespaces: bool,
}

/// What happens to a farm during a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Nothing.
    Calm,
    /// A quarter of the nodes and the master are killed between 30 % and 70 % of the
    /// samples; the master is started again, the nodes are not.
    Killed(u64),
    /// For as long as the job takes, about twice a second, a program is killed and
    /// started again, or stopped for a while, or cut off where it has a namespace.
    Storm(u64),
    /// Every node in turn is asked to leave, and when it has left in order, started
    /// again.
    Renewed(u64),
    /// The disk of a node is full until half of the samples are there, and the
    /// master's for some seconds in between. Needs root.
    FullDisks(u64),
    /// A thousand peers that mean ill are at the master for as long as the job takes.
    Besieged,
}

impl Weather {
    fn seed(self) -> u64 {
        match self {
            Self::Calm | Self::Besieged => 0,
            Self::Killed(seed) | Self::Storm(seed) | Self::Renewed(seed) | Self::FullDisks(seed) => seed,
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// BLAKE3 of the picture's pixels.
    pub pixel_digest: BlobDigest,
    /// From the submission to the delivery.
    pub seconds: f64,
    /// What was done to it, in order.
    pub blows: Vec<String>,
    /// Samples of the job.
    pub samples: u64,
    /// Samples that the nodes rendered, by their logs.
    pub rendered: u64,
    /// Tiles that were begun although they were accepted.
    pub rendered_again: Vec<String>,
    /// The most memory that the master had, in bytes, where the system tells.
    pub master_peak_bytes: Option<u64>,
}

impl Outcome {
    /// Samples that were rendered more than once, as a share of the job's.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    pub fn twice(&self) -> f64 {
        self.rendered.saturating_sub(self.samples) as f64 / self.samples as f64
    }
}

/// Starts a farm, renders a job in this weather, and stops the farm.
///
/// # Errors
/// The farm could not be started, or the job did not end as it must.
pub async fn run(plan: &Plan, weather: Weather) -> Result<Outcome, Failed> {
    let scene = scene()?;
    let mut farm = Farm::start(plan, weather).await?;
    let mut artist = Artist::join(farm.master.artist_ticket()).await?;
    artist.upload(&scene).await?;
    let spec = spec(plan, &scene);
    let _siege = match weather {
        Weather::Besieged => Some(Siege::begin(farm.master.artist_ticket()).await?),
        _ => None,
    };
    let job = artist.submit(spec.clone()).await?;
    let began = Instant::now();
    let mut blows = Blows::new(weather, plan.nodes, spec);
    let view = loop {
        let view = artist.next_view(job).await?;
        match view.status {
            JobStatus::Done => break view,
            JobStatus::Failed | JobStatus::Cancelled => {
                return Err(format!("the job ended otherwise: {}", view.explanation).into());
            }
            _ => blows.strike(&mut farm, &view, &artist).await?,
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    let [(FrameNumber(1), pixel_digest)] = view.delivered[..] else {
        return Err(format!("not one frame: {:?}", view.delivered).into());
    };
    if let (Weather::FullDisks(_), [Some(node), ..]) = (weather, &farm.nodes[..])
        && !node.has_said(BEGINS)
    {
        return Err("the node did not work when its disk had room again".into());
    }
    let master_peak_bytes = farm.master.peak_bytes();
    let mut account = Account::default();
    for log in farm.stop().await {
        account.add_process(&log);
    }
    Ok(Outcome {
        pixel_digest,
        seconds,
        blows: blows.done,
        samples: view.samples,
        rendered: account.rendered(),
        rendered_again: account.rendered_again(),
        master_peak_bytes,
    })
}

/// The programs of a farm.
struct Farm {
    master: Master,
    /// `None` where one is dead for good.
    nodes: Vec<Option<Node>>,
    /// Logs of the processes that were killed.
    logs: Vec<Vec<String>>,
}

impl Farm {
    async fn start(plan: &Plan, weather: Weather) -> Result<Self, Failed> {
        let small = matches!(weather, Weather::FullDisks(_));
        let places = Place::all(plan.nodes + 1, plan.in_namespaces)?;
        let mut places = places.into_iter();
        let first = places.next().ok_or("no place for the master")?;
        let master = Master::start(first, small.then_some(MASTER_DISK_BYTES)).await?;
        let mut nodes = Vec::new();
        for (number, place) in (1..).zip(places) {
            let disk_bytes = (small && number == 1).then_some(NODE_DISK_BYTES);
            let name = format!("node-{number}");
            nodes.push(Some(Node::join(&master, &name, place, disk_bytes).await?));
        }
        Ok(Self { master, nodes, logs: Vec::new() })
    }

    async fn kill_node(&mut self, place: usize) -> Result<Option<Node>, Failed> {
        let Some(mut node) = self.nodes[place].take() else { return Ok(None) };
        self.logs.push(node.kill().await?);
        Ok(Some(node))
    }

    async fn restart_node(&mut self, place: usize) -> Result<(), Failed> {
        if let Some(mut node) = self.kill_node(place).await? {
            node.run_again()?;
            self.nodes[place] = Some(node);
        }
        Ok(())
    }

    /// Asks a node to leave, waits until it has, and starts it again.
    async fn renew_node(&mut self, place: usize) -> Result<(), Failed> {
        let Some(node) = &mut self.nodes[place] else { return Ok(()) };
        self.logs.push(node.terminate().await?);
        node.run_again()
    }

    /// Stops everything; the logs of all processes of nodes.
    async fn stop(mut self) -> Vec<Vec<String>> {
        for node in self.nodes.iter_mut().flatten() {
            if let Ok(log) = node.kill().await {
                self.logs.push(log);
            }
        }
        self.logs
    }
}

/// The blows of a seed.
struct Blows {
    random: Random,
    weather: Weather,
    /// What is rendered.
    spec: JobSpec,
    /// Of all but the storm: at which share of the samples, in thousandths, whom.
    due: Vec<(u64, Target)>,
    next_at: Instant,
    done: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Master,
    Node(usize),
}

impl Blows {
    fn new(weather: Weather, nodes: usize, spec: JobSpec) -> Self {
        let mut random = Random::new(weather.seed());
        let mut due = Vec::new();
        if let Weather::Killed(_) = weather {
            due.push((random.between(300, 700), Target::Master));
            let mut alive: Vec<usize> = (0..nodes).collect();
            for _ in 0..nodes.div_ceil(4) {
                let victim = alive.swap_remove(random.index(alive.len()));
                due.push((random.between(300, 700), Target::Node(victim)));
            }
            due.sort_by_key(|(share, _)| *share);
        }
        if let Weather::Renewed(_) = weather {
            // From 150 to 750 ‰, evenly but for the seed's part.
            let step = 600 / nodes as u64;
            due.extend(
                (0..nodes)
                    .map(|node| (150 + step * node as u64 + random.between(0, step / 2), Target::Node(node))),
            );
        }
        if let Weather::FullDisks(_) = weather {
            due.push((random.between(200, 400), Target::Master));
            due.push((500, Target::Node(0)));
        }
        Self { random, weather, spec, due, next_at: Instant::now(), done: Vec::new() }
    }

    /// Whatever is due now that the job got so far.
    async fn strike(&mut self, farm: &mut Farm, view: &JobView, artist: &Artist) -> Result<(), Failed> {
        if let Weather::Storm(_) = self.weather {
            return self.storm(farm).await;
        }
        let share = view.samples_done * 1_000 / view.samples.max(1);
        while let Some((at, target)) = self.due.first().copied().filter(|(at, _)| *at <= share) {
            self.due.remove(0);
            let what = match (self.weather, target) {
                (Weather::FullDisks(_), Target::Master) => fill_master(farm, &self.spec, artist).await?,
                (Weather::FullDisks(_), Target::Node(place)) => free_node(farm, place)?,
                (Weather::Renewed(_), Target::Node(place)) => {
                    farm.renew_node(place).await?;
                    format!("node {place} left and was started again")
                }
                (_, Target::Node(place)) => {
                    drop(farm.kill_node(place).await?);
                    format!("node {place} killed")
                }
                (_, Target::Master) => {
                    farm.master.kill_and_restart().await?;
                    "master killed and started".to_owned()
                }
            };
            self.done.push(format!("{what} at {share} ‰ (due at {at} ‰)"));
        }
        Ok(())
    }

    async fn storm(&mut self, farm: &mut Farm) -> Result<(), Failed> {
        if self.next_at > Instant::now() {
            return Ok(());
        }
        self.next_at = Instant::now() + Duration::from_millis(self.random.between(100, 900));
        let place = self.random.index(farm.nodes.len());
        let pause = Duration::from_millis(self.random.between(50, 5_000));
        let Some(node) = &mut farm.nodes[place] else { return Ok(()) };
        let what = match self.random.between(0, 9) {
            0 => {
                farm.master.kill_and_restart().await?;
                "the master is killed and started".to_owned()
            }
            1 => {
                farm.master.stop_for(pause)?;
                format!("the master stands still for {pause:?}")
            }
            2..5 => {
                farm.restart_node(place).await?;
                format!("node {place} is killed and started")
            }
            5..8 => {
                node.stop_for(pause)?;
                format!("node {place} stands still for {pause:?}")
            }
            _ => match node.cut_off_for(pause)? {
                true => format!("node {place} is cut off for {pause:?}"),
                false => return Ok(()),
            },
        };
        self.done.push(what);
        Ok(())
    }
}

/// Fills the master's disk until it has refused a job for that reason, and frees it
/// again.
async fn fill_master(farm: &Farm, spec: &JobSpec, artist: &Artist) -> Result<String, Failed> {
    let disk = farm.master.disk().ok_or("the master's disk is not a small one")?;
    // Connecting and asking need no room.
    let client = artist.again().await?;
    disk.fill()?;
    // Nobody renders it, should it be taken.
    let needs = Needs { tags: vec!["nobody".into()], ..Needs::default() };
    let probe = Request::SubmitJob { spec: Box::new(JobSpec { needs, ..spec.clone() }) };
    let refusal = async {
        loop {
            // The one by which the master notices waits until there is room.
            let answer = tokio::time::timeout(Duration::from_secs(1), client.request(&probe)).await;
            if let Ok(Ok(Response::Refused { reason, .. })) = answer {
                return reason;
            }
        }
    };
    let silent = |_| format!("the master refused no job for {} s", LONGEST_SILENCE.as_secs());
    let reason = tokio::time::timeout(LONGEST_SILENCE, refusal).await.map_err(silent)?;
    client.close().await;
    disk.free()?;
    match reason.contains(FULL) {
        true => Ok(format!("the master's disk was full (\"{reason}\")")),
        false => Err(format!("the master does not say that its disk is full: {reason}").into()),
    }
}

/// Frees the disk of a node, which must have said that it is full.
fn free_node(farm: &Farm, place: usize) -> Result<String, Failed> {
    let node = farm.nodes[place].as_ref().ok_or("the node is dead")?;
    let disk = node.disk().ok_or("the node's disk is not a small one")?;
    if !node.has_said(NO_SPACE) || node.has_said(BEGINS) {
        return Err(format!("node {place} worked, or did not say why not, on a full disk").into());
    }
    disk.free()?;
    Ok(format!("the disk of node {place} has room again"))
}

/// The scene, packed.
fn scene() -> Result<PackedScene, Failed> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scenes/cornell-box.glb");
    Ok(farm_scene::pack(&farm_scene::load(&path, &LoadOptions::default())?.scene))
}

fn spec(plan: &Plan, scene: &PackedScene) -> JobSpec {
    JobSpec {
        name: "chaos".into(),
        scene: digest(&scene.manifest.digest),
        blobs: scene.blobs.iter().map(|blob| digest(&blob.digest)).collect(),
        frame_scenes: Vec::new(),
        shader_digest: farm_node::shader_digest(),
        resolution: Resolution { width: plan.edge, height: plan.edge },
        frames: FrameRange { first: FrameNumber(1), last: FrameNumber(1) },
        tile_size: 32,
        settings: RenderSettings {
            samples_per_pixel: plan.samples_per_pixel,
            seed: 0,
            max_depth: 6,
            filter: PixelFilter::BlackmanHarris,
            camera: 0,
            transparent: false,
            film: Default::default(),
        },
        priority: 0,
        weight: 1,
        needs: Default::default(),
    }
}

/// A packed blob's digest in the farm's own type.
fn digest(hash: &blake3::Hash) -> BlobDigest {
    BlobDigest(*hash.as_bytes())
}
