//! `farm bench dispatch`: what a farm does for tiles beside rendering them.
//!
//! A real master and real nodes in this process, over QUIC on loopback with mutual
//! TLS, the journal and the blobs on the disk of the temporary folder. Only the
//! adapters are missing: a lease is done when it begins. An empty tile has no
//! pixels, so of a tile's way only that of its EXR is left out; with `--pixels`
//! each tile is 64 times 64 pixels of noise, and takes the whole way.

use std::path::Path;
use std::time::{Duration, Instant};

use farm_core::scheduler::{AcceptedTile, JobStatus};
use farm_core::{
    BlobDigest, FrameNumber, FrameRange, JobId, JobSpec, Limits, NodeId, PixelFilter, RectIndex,
    RenderSettings, RenderTask, Resolution, TileId, plan,
};
use farm_master::assemble::{Frame, FrameFolder, assemble};
use farm_master::blobs::BlobStore;
use farm_master::{Master, MasterConfig};
use farm_node::cache::Cache;
use farm_node::{Filling, Node, NodeConfig, NodeLimits, OpenNode, noise};
use farm_wire::tile::{TileAttributes, decode_tile, encode_tile};
use farm_wire::{Credentials, Role};
use serde::Serialize;

use crate::args::DispatchCommand;
use crate::embed::ticket;
use crate::output::{Failure, describe, human_count, print_json, print_text};
use crate::progress::Progress;
use crate::requests::{self, Link, Watch};

/// Stands for a scene: nobody reads it, but it is stored and fetched like one.
const SCENE: &[u8] = b"a scene that nobody reads";

/// Tiles on which each stage is timed by itself.
const STAGE_TILES: u32 = 128;

/// How long the nodes may take to connect.
const CONNECT_TIME: Duration = Duration::from_secs(30);

/// What `farm bench dispatch --json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Version of the program.
    version: String,
    nodes: u32,
    lanes_per_node: u32,
    /// Edge of a tile in pixels; none where tiles are empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    tile_pixels: Option<u32>,
    tiles: u64,
    frames: u64,
    /// From the job's submission to the delivery of its last frame.
    seconds: f64,
    tiles_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stages: Option<Stages>,
}

/// What one tile costs in each stage, by itself on one core, in microseconds.
#[derive(Debug, Serialize)]
struct Stages {
    /// Pixels to EXR, on the node.
    encode_us: f64,
    /// Digest, layout, finite and non-negative values, on the master.
    check_us: f64,
    /// To a file, synchronised and renamed.
    store_us: f64,
    /// The frame's EXR and PNG, divided by its tiles.
    assemble_us: f64,
}

/// The shape of the job.
struct Shape {
    resolution: Resolution,
    tile_size: u32,
    frames: u32,
}

impl Shape {
    fn of(command: &DispatchCommand) -> Self {
        let (width, height, tile_size, usual) =
            if command.pixels { (1024, 1024, 64, 4096) } else { (512, 512, 8, 500_000) };
        let resolution = Resolution { width, height };
        let frames = command.tiles.unwrap_or(usual).div_ceil(plan::rect_count(resolution, tile_size));
        Self { resolution, tile_size, frames }
    }

    fn tiles(&self) -> u64 {
        u64::from(plan::rect_count(self.resolution, self.tile_size)) * u64::from(self.frames)
    }

    fn spec(&self) -> JobSpec {
        JobSpec {
            name: "dispatch".into(),
            scene: digest(SCENE),
            blobs: Vec::new(),
            frame_scenes: Vec::new(),
            shader_digest: farm_node::shader_digest(),
            resolution: self.resolution,
            frames: FrameRange { first: FrameNumber(1), last: FrameNumber(self.frames) },
            tile_size: self.tile_size,
            settings: RenderSettings {
                samples_per_pixel: 16,
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
}

/// `farm bench dispatch`.
pub(crate) async fn run(command: DispatchCommand) -> Result<(), Failure> {
    let shape = Shape::of(&command);
    let folder = tempfile::tempdir().map_err(|error| failed(&error))?;
    let progress = Progress::new(command.output_args.quiet);
    progress.note("starting a master and its nodes");
    let master = start_master(folder.path(), &command).await?;
    let nodes = start_nodes(&master, folder.path(), &command).await?;
    let link = Link::connect(Credentials::join(&ticket(&master, "artist", Role::Artist)?, "artist").await?);
    let link = link.await?;
    wait_for_nodes(&link, command.nodes as usize).await?;
    progress.note(&format!("dispatching {} tiles", shape.tiles()));
    let began = Instant::now();
    let job = requests::submit_job(link.client(), shape.spec()).await?;
    finish(&link, job).await?;
    let seconds = began.elapsed().as_secs_f64();
    link.close().await;
    nodes.iter().for_each(Node::leave_at_once);
    for node in nodes {
        node.wait().await.map_err(|error| failed(&error))?;
    }
    master.shutdown().await;
    let stages = match command.pixels {
        true => Some(time_stages(&shape, folder.path())?),
        false => None,
    };
    let report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        nodes: command.nodes,
        lanes_per_node: command.lanes,
        tile_pixels: command.pixels.then_some(shape.tile_size),
        tiles: shape.tiles(),
        frames: shape.frames.into(),
        seconds,
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        tiles_per_second: shape.tiles() as f64 / seconds,
        stages,
    };
    if command.output_args.json { print_json(&report) } else { print_text(&as_text(&report)) }
}

/// Bounds under which empty tiles are as many in flight as a lane's leases: they
/// take no memory, and a commit of the journal takes longer than a tile.
fn limits() -> Limits {
    let leases_per_lane_max = 64;
    Limits { leases_per_lane_max, unsent_tiles: 64 * 64, ..Limits::default() }
}

async fn start_master(folder: &Path, command: &DispatchCommand) -> Result<Master, Failure> {
    let mut config = MasterConfig::new(folder.join("master"), ([127, 0, 0, 1], 0).into());
    config.takes_empty_tiles = !command.pixels;
    if !command.pixels {
        config.limits = limits();
    }
    let master = Master::start(config).await.map_err(|error| failed(&error))?;
    master.blobs().store(digest(SCENE), SCENE).map_err(|error| failed(&error))?;
    Ok(master)
}

async fn start_nodes(
    master: &Master,
    folder: &Path,
    command: &DispatchCommand,
) -> Result<Vec<Node>, Failure> {
    let cache = folder.join("cache");
    let stored = Cache::open(&cache, u64::MAX).and_then(|cache| cache.store(digest(SCENE), SCENE));
    stored.map_err(|error| failed(&error))?;
    let filling = if command.pixels { Filling::Noise } else { Filling::Nothing };
    let mut nodes = Vec::new();
    for number in 1..=command.nodes {
        let mut config = NodeConfig { cache_bytes: u64::MAX, ..NodeConfig::new(cache.clone()) };
        if !command.pixels {
            config.limits = limits();
            // As many as the tiles that may be unsettled.
            config.node_limits =
                NodeLimits { outgoing_messages: 2 * limits().unsent_tiles, ..NodeLimits::default() };
        }
        let name = format!("node-{number}");
        let credentials = Credentials::join(&ticket(master, &name, Role::Node)?, &name).await?;
        let node = OpenNode::without_adapters(config, command.lanes, filling).await;
        nodes.push(node.map_err(|error| failed(&error))?.connect(credentials));
    }
    Ok(nodes)
}

/// Waits until all nodes are connected.
async fn wait_for_nodes(link: &Link, count: usize) -> Result<(), Failure> {
    let connected = async {
        while requests::list_nodes(link.client()).await?.0.len() < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok::<_, requests::RequestError>(())
    };
    let late = |_| Failure::job_failed(format!("not all of {count} nodes connected in time"));
    Ok(tokio::time::timeout(CONNECT_TIME, connected).await.map_err(late)??)
}

/// Watches the job until it is done.
async fn finish(link: &Link, job: JobId) -> Result<(), Failure> {
    let mut watch = Watch::open(link.client(), job).await?;
    loop {
        let view = watch.next().await?.view;
        match view.status {
            JobStatus::Done => return Ok(()),
            JobStatus::Failed | JobStatus::Cancelled => {
                return Err(Failure::job_failed(format!("the job ended otherwise: {}", view.explanation)));
            }
            JobStatus::Waiting | JobStatus::Running | JobStatus::Stranded | JobStatus::Paused => {}
        }
    }
}

/// Times what a tile with pixels goes through, stage by stage, on one core.
fn time_stages(shape: &Shape, folder: &Path) -> Result<Stages, Failure> {
    let blobs = BlobStore::open(&folder.join("blobs"), 1 << 30).map_err(|error| failed(&error))?;
    let frames = folder.join("frames");
    std::fs::create_dir_all(&frames).map_err(|error| failed(&error))?;
    let edge = shape.tile_size * 8;
    let rows = STAGE_TILES / 8;
    let resolution = Resolution { width: edge, height: shape.tile_size * rows };
    let spec = JobSpec { resolution, ..shape.spec() };
    let (mut encode, mut check, mut store) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (job, frame, node) = (JobId(1), FrameNumber(1), NodeId(1));
    let mut tiles = Vec::new();
    for index in (0..STAGE_TILES).map(RectIndex) {
        let Some(rect) = plan::rect_at(spec.resolution, spec.tile_size, index) else { continue };
        let range = farm_core::BlockRange::root(spec.settings.blocks());
        let tile = TileId { job, frame, rect: index, range };
        let task = RenderTask { resolution, frame, rect, range, settings: spec.settings.clone() };
        let attributes = TileAttributes {
            tile,
            node,
            scene: spec.scene,
            shader_digest: spec.shader_digest,
            samples_per_pixel: spec.settings.samples_per_pixel,
            finished: true,
        };
        let image = noise(&task);
        let bytes = timed(&mut encode, || encode_tile(&image, &attributes, resolution, spec.tile_size));
        let blob = digest(&bytes);
        let checked = timed(&mut check, || {
            (digest(&bytes) == blob).then(|| decode_tile(&bytes, &attributes, &task, spec.tile_size))
        });
        checked.transpose().map_err(|error| failed(&error))?;
        timed(&mut store, || blobs.store(blob, &bytes)).map_err(|error| failed(&error))?;
        tiles.push(AcceptedTile { tile, rect, blob, node });
    }
    let count = f64::from(STAGE_TILES);
    let frame = Frame { job, number: frame, spec, tiles, kept: Vec::new() };
    let mut stitch = Duration::ZERO;
    timed(&mut stitch, || assemble(&frame, &blobs, &FrameFolder::new(frames)))
        .map_err(|error| failed(&error))?;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count;
    Ok(Stages {
        encode_us: each(encode),
        check_us: each(check),
        store_us: each(store),
        assemble_us: each(stitch),
    })
}

fn timed<T>(sum: &mut Duration, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let outcome = work();
    *sum += began.elapsed();
    outcome
}

fn digest(bytes: &[u8]) -> BlobDigest {
    BlobDigest(*blake3::hash(bytes).as_bytes())
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::job_failed(describe(error))
}

fn as_text(report: &Report) -> String {
    let kind = match report.tile_pixels {
        Some(edge) => format!("tiles of {edge}×{edge} pixels"),
        None => "empty tiles".to_owned(),
    };
    let mut text = format!(
        "{} {kind} through a master and {} nodes of {} lanes in {:.2} s: {} tiles/s",
        report.tiles,
        report.nodes,
        report.lanes_per_node,
        report.seconds,
        human_count(report.tiles_per_second),
    );
    if let Some(stages) = &report.stages {
        let Stages { encode_us, check_us, store_us, assemble_us } = stages;
        text.push_str(&format!(
            "\neach by itself: encode {encode_us:.0} µs, check {check_us:.0} µs, store {store_us:.0} µs, \
             assemble {assemble_us:.0} µs"
        ));
    }
    text
}
