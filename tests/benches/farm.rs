//! What the farm costs over the bare kernel: the same tiles of the same scene,
//! rendered by the renderer alone and by a master and one node over QUIC on
//! loopback, taking turns. The farm's time runs from submission to the delivered
//! frame, EXR and PNG included.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use farm_core::plan::{rect_at, rect_count};
use farm_core::scheduler::JobStatus;
use farm_core::{
    BlobDigest, BlockRange, FrameNumber, FrameRange, JobSpec, PixelFilter, RectIndex, RenderSettings,
    RenderTask, Resolution,
};
use farm_master::{Master, MasterConfig};
use farm_node::bench::median;
use farm_node::{AdapterChoice, Node, NodeConfig, OpenNode};
use farm_render::{DeviceScene, OpenOptions, Renderer};
use farm_scene::{LoadOptions, PackedScene, load, pack};
use farm_wire::message::{Request, Response};
use farm_wire::transfer::store_blob;
use farm_wire::{Client, Credentials, Role};

const SCENE: &str = "../scenes/cornell-box.glb";
const RESOLUTION: Resolution = Resolution { width: 256, height: 256 };
const TILE_SIZE: u32 = 64;
/// Two base blocks of each pixel.
const SAMPLES_PER_PIXEL: u32 = 32;
/// Measurements of each; on a machine with other work their ratio differs from
/// pair to pair by more than what is looked for, the median does not.
const PAIRS: u32 = 11;

fn settings(seed: u32) -> RenderSettings {
    RenderSettings {
        samples_per_pixel: SAMPLES_PER_PIXEL,
        seed,
        max_depth: 8,
        filter: PixelFilter::BlackmanHarris,
        camera: 0,
        transparent: false,
        film: Default::default(),
    }
}

fn spec(packed: &PackedScene, seed: u32) -> JobSpec {
    let frame = FrameNumber(1);
    JobSpec {
        name: format!("bench {seed}"),
        scene: BlobDigest(*packed.manifest.digest.as_bytes()),
        blobs: packed.blobs.iter().map(|blob| BlobDigest(*blob.digest.as_bytes())).collect(),
        frame_scenes: Vec::new(),
        shader_digest: farm_node::shader_digest(),
        resolution: RESOLUTION,
        frames: FrameRange { first: frame, last: frame },
        tile_size: TILE_SIZE,
        settings: settings(seed),
        priority: 0,
        weight: 1,
        needs: Default::default(),
    }
}

/// A master, one node and an artist in this process.
struct Farm {
    client: Client,
    _master: Master,
    _node: Node,
    _folder: tempfile::TempDir,
}

async fn start_farm(packed: &PackedScene) -> Farm {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let loopback = ([127, 0, 0, 1], 0).into();
    let master =
        Master::start(MasterConfig::new(folder.path().join("master"), loopback)).await.expect("it starts");
    let life = Duration::from_secs(60);
    let ticket = |name, role| master.create_ticket(name, role, life, Some(1)).expect("tickets can be made");
    let node = Credentials::join(&ticket("node", Role::Node), "node").await.expect("the node joins");
    let config = NodeConfig { adapter: AdapterChoice::Best, ..NodeConfig::new(folder.path().join("cache")) };
    let node = OpenNode::open(config).await.expect("the adapter opens").connect(node);
    let artist =
        Credentials::join(&ticket("artist", Role::Artist), "artist").await.expect("the artist joins");
    let client = Client::connect(&artist).await.expect("the artist connects");
    for blob in packed.blobs.iter().chain([&packed.manifest]) {
        let digest = BlobDigest(*blob.digest.as_bytes());
        store_blob(&client, digest, &blob.bytes, |_| {}).await.expect("the master stores blobs");
    }
    Farm { client, _master: master, _node: node, _folder: folder }
}

/// From submission to the delivered frame.
async fn time_job(client: &Client, spec: JobSpec) -> Duration {
    let started = Instant::now();
    let (mut send, mut receive) = client.open_stream().await.expect("the master is there");
    send.send(&Request::SubmitJob { spec: Box::new(spec) }).await.expect("the request leaves");
    let Ok(Some(Response::Submitted { job })) = receive.receive().await else {
        panic!("the job was refused");
    };
    let (mut send, mut receive) = client.open_stream().await.expect("the master is there");
    send.send(&Request::WatchJob { job }).await.expect("the request leaves");
    while let Ok(Some(Response::Job { job, .. })) = receive.receive().await {
        match job.status {
            JobStatus::Done => return started.elapsed(),
            JobStatus::Failed | JobStatus::Cancelled | JobStatus::Stranded => panic!("{}", job.explanation),
            JobStatus::Waiting | JobStatus::Running | JobStatus::Paused => {}
        }
    }
    panic!("the master went away");
}

/// The same tiles by the renderer alone, as a farm leases them: the first base
/// block of every rectangle, then the rest.
fn time_kernel(renderer: &Renderer, scene: &DeviceScene, seed: u32) -> Duration {
    let ranges = BlockRange::root(settings(seed).blocks()).halves().expect("a pixel has two blocks");
    let started = Instant::now();
    let every_rect = || 0..rect_count(RESOLUTION, TILE_SIZE);
    for (range, index) in ranges.into_iter().flat_map(|range| every_rect().map(move |index| (range, index))) {
        let task = RenderTask {
            resolution: RESOLUTION,
            frame: FrameNumber(1),
            rect: rect_at(RESOLUTION, TILE_SIZE, RectIndex(index)).expect("the plan has this rectangle"),
            range,
            settings: settings(seed),
        };
        renderer.render(scene, &task, &mut |_| ControlFlow::Continue(())).expect("the adapter renders");
    }
    started.elapsed()
}

#[expect(clippy::print_stdout, reason = "the measurements are data")]
fn main() {
    // Cargo names the mode: tests run everything that has a `main`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(SCENE);
    let scene = load(&path, &LoadOptions::default()).expect("the scene is one of ours").scene;
    let packed = pack(&scene);
    let renderer = Renderer::open(&OpenOptions::default()).expect("there is an adapter");
    let on_device = renderer.load(&scene).expect("the scene fits");
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let farm = runtime.block_on(start_farm(&packed));
    // The node fetches and uploads the scene once, outside the measurement.
    let time_farm = |seed| runtime.block_on(time_job(&farm.client, spec(&packed, seed)));
    time_farm(0);
    time_kernel(&renderer, &on_device, 0);

    println!("pair  kernel s  farm of one node s  ratio");
    let (mut kernels, mut farms, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 1..=PAIRS {
        // Taking turns: what a machine gains or loses by and by favours neither.
        let kernel_first = (pair % 2 == 1).then(|| time_kernel(&renderer, &on_device, pair));
        let farm = time_farm(pair).as_secs_f64();
        let kernel = kernel_first.unwrap_or_else(|| time_kernel(&renderer, &on_device, pair)).as_secs_f64();
        println!("{pair:4}  {kernel:8.3}  {farm:18.3}  {:5.3}", farm / kernel);
        kernels.push(kernel);
        farms.push(farm);
        ratios.push(farm / kernel);
    }
    println!("median {:7.3}  {:18.3}  {:5.3}", median(&mut kernels), median(&mut farms), median(&mut ratios));
}
