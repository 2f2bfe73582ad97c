//! The farm end to end under blows: real programs, a real job, and a seed that says
//! which of them are killed, stopped and cut off, and when.
//!
//! What must hold whatever happens: the picture has the same bits, no tile that was
//! accepted is rendered again, and few samples are rendered twice. The last two are
//! read from the nodes' own logs, see [`account`].

pub mod account;
mod artist;
mod network;
mod process;

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use farm_core::scheduler::{JobStatus, JobView};
use farm_core::{BlobDigest, FrameNumber, FrameRange, JobSpec, PixelFilter, RenderSettings, Resolution};
use farm_scene::{LoadOptions, PackedScene};

use self::account::Account;
use self::artist::Artist;
use self::network::Place;
use self::process::{Master, Node};
use crate::simulation::random::Random;

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
    let mut farm = Farm::start(plan).await?;
    let mut artist = Artist::join(farm.master.artist_ticket()).await?;
    artist.upload(&scene).await?;
    let job = artist.submit(spec(plan, &scene)).await?;
    let began = Instant::now();
    let mut blows = Blows::new(weather, plan.nodes);
    let view = loop {
        let view = artist.next_view(job).await?;
        match view.status {
            JobStatus::Done => break view,
            JobStatus::Failed | JobStatus::Cancelled => {
                return Err(format!("the job ended otherwise: {}", view.explanation).into());
            }
            _ => blows.strike(&mut farm, &view).await?,
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    let [(FrameNumber(1), pixel_digest)] = view.delivered[..] else {
        return Err(format!("not one frame: {:?}", view.delivered).into());
    };
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
    async fn start(plan: &Plan) -> Result<Self, Failed> {
        let places = Place::all(plan.nodes + 1, plan.in_namespaces)?;
        let mut places = places.into_iter();
        let first = places.next().ok_or("no place for the master")?;
        let master = Master::start(first).await?;
        let mut nodes = Vec::new();
        for (number, place) in (1..).zip(places) {
            nodes.push(Some(Node::join(&master, &format!("node-{number}"), place).await?));
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
    /// For [`Weather::Killed`]: at which share of the samples, in thousandths, whom.
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
    fn new(weather: Weather, nodes: usize) -> Self {
        let seed = match weather {
            Weather::Calm => 0,
            Weather::Killed(seed) | Weather::Storm(seed) => seed,
        };
        let mut random = Random::new(seed);
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
        Self { random, weather, due, next_at: Instant::now(), done: Vec::new() }
    }

    /// Whatever is due now that the job got so far.
    async fn strike(&mut self, farm: &mut Farm, view: &JobView) -> Result<(), Failed> {
        match self.weather {
            Weather::Calm => Ok(()),
            Weather::Killed(_) => self.kill_those_due(farm, view).await,
            Weather::Storm(_) => self.storm(farm).await,
        }
    }

    async fn kill_those_due(&mut self, farm: &mut Farm, view: &JobView) -> Result<(), Failed> {
        let share = view.samples_done * 1_000 / view.samples.max(1);
        while let Some((at, target)) = self.due.first().copied().filter(|(at, _)| *at <= share) {
            self.due.remove(0);
            self.done.push(format!("{target:?} killed at {share} ‰ (due at {at} ‰)"));
            match target {
                Target::Master => farm.master.kill_and_restart().await?,
                Target::Node(place) => drop(farm.kill_node(place).await?),
            }
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
