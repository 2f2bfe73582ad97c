//! `farm bench`: this machine's adapters side by side, and what surrounds them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use farm_core::scheduler::AcceptedTile;
use farm_core::{
    BlobDigest, FrameNumber, FrameRange, JobId, JobSpec, NodeId, PixelFilter, Rect, RectIndex,
    RenderSettings, TileId, TileImage, plan,
};
use farm_master::assemble::{Frame, FrameFolder, assemble};
use farm_master::blobs::BlobStore;
use farm_node::bench::{Bench, BenchTask, Measurement};
use farm_node::{AdapterInfo, DiskCache};
use farm_wire::tile::{TileAttributes, encode_tile};
use serde::{Deserialize, Serialize};

use crate::args::{BenchCommand, SceneArgs};
use crate::output::{Failure, describe, human_count, print_json, print_text, printable, table};
use crate::progress::Progress;
use crate::spec::{digest_of, load_scene};

/// Edge of the tiles that a picture is stitched from.
const TILE: u32 = 64;

/// What `farm bench --json` prints and `--compare` reads. Times are seconds.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    /// Version of the program.
    version: String,
    width: u32,
    height: u32,
    samples_per_pixel: u32,
    max_depth: u32,
    rounds: u32,
    scenes: Vec<SceneReport>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SceneReport {
    scene: String,
    /// Bytes of its blobs.
    packed_bytes: u64,
    /// Reading, decoding and validating the file.
    seconds_load: f64,
    /// BLAKE3 of all blobs.
    seconds_hash: f64,
    /// The picture's tiles to EXR.
    seconds_encode: f64,
    /// Tiles to the frame's EXR and PNG on disk.
    seconds_stitch: f64,
    lanes: Vec<LaneReport>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LaneReport {
    adapter: String,
    backend: String,
    /// `megakernel`, `wavefront` or `native`; reports of old have none.
    #[serde(default)]
    kernels: String,
    driver: String,
    /// Opening the adapter and compiling the kernel.
    seconds_open: f64,
    /// Bringing the scene into the form that the adapter reads.
    seconds_pack: f64,
    /// Building the trees.
    seconds_trees: f64,
    /// Reading both from the disk instead; absent where they are made in less than
    /// 0.1 s and not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seconds_recall: Option<f64>,
    /// Copying it to the adapter.
    seconds_upload: f64,
    /// The first block of samples of the whole frame.
    seconds_first_block: f64,
    /// One sample of one pixel.
    seconds_dispatch: f64,
    samples_per_second: f64,
    rays_per_second: f64,
    /// This rate over that of the report that `--compare` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
}

/// `farm bench`.
pub(crate) fn run(command: &BenchCommand) -> Result<(), Failure> {
    let before = command.compare.as_deref().map(read_report).transpose()?;
    let files = scene_files(&command.scenes)?;
    let progress = Progress::new(command.output_args.quiet);
    let step = progress.step("opening the adapters");
    let adapters = wanted_adapters(command)?;
    let folder = tempfile::tempdir().map_err(|error| Failure::job_failed(describe(&error)))?;
    let cache = DiskCache::open(folder.path(), DiskCache::LIMIT_BYTES)
        .map_err(|error| Failure::job_failed(describe(&error)))?;
    let bench = Bench::open(&adapters, command.threads, Arc::new(cache))
        .map_err(|error| Failure::out_of_reach(describe(&error)))?;
    step.finish();
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        width: command.size.width,
        height: command.size.height,
        samples_per_pixel: command.spp,
        max_depth: command.max_depth,
        rounds: command.rounds,
        scenes: Vec::new(),
    };
    for file in &files {
        progress.note(&format!("measuring {}", printable(&file.to_string_lossy())));
        let mut scene = measure(command, file, &bench, &progress)?;
        if let Some(before) = &before {
            compare(&mut scene, before);
        }
        report.scenes.push(scene);
    }
    if command.output_args.json { print_json(&report) } else { print_text(&as_table(&report)) }
}

/// The adapters that the options name; all of them where they name none.
fn wanted_adapters(command: &BenchCommand) -> Result<Vec<AdapterInfo>, Failure> {
    let known = farm_node::list_adapters();
    if command.adapters.is_empty() {
        return Ok(known);
    }
    let find = |wanted: &String| {
        let by_number = wanted.parse().ok().and_then(|index: usize| known.get(index));
        let lower = wanted.to_lowercase();
        let found = match wanted.as_str() {
            "cpu" => known.iter().find(|adapter| adapter.is_native()),
            _ => by_number.or_else(|| known.iter().find(|a| a.name.to_lowercase().contains(&lower))),
        };
        found.cloned().ok_or_else(|| {
            Failure::wrong_use(format!("there is no adapter `{}`", printable(wanted)))
                .with_hint("`farm adapters` lists them")
        })
    };
    command.adapters.iter().map(find).collect()
}

/// The scenes that are named, and those in folders that are.
fn scene_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let failed = |error| Failure::wrong_use(format!("{}: {error}", path.display()));
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if file.extension().is_some_and(|extension| extension == "glb" || extension == "gltf") {
                inside.push(file);
            }
        }
        inside.sort();
        files.extend(inside);
    }
    if files.is_empty() {
        return Err(Failure::wrong_use("there is no scene to measure").with_hint("name .glb or .gltf files"));
    }
    Ok(files)
}

fn measure(
    command: &BenchCommand,
    file: &Path,
    bench: &Bench,
    progress: &Progress,
) -> Result<SceneReport, Failure> {
    let began = Instant::now();
    let loaded = load_scene(&SceneArgs::alone(file.to_path_buf()), command.size)?;
    let seconds_load = began.elapsed().as_secs_f64();
    let packed = farm_scene::pack(&loaded.scene);
    let packed_bytes = packed.blobs.iter().map(|blob| blob.bytes.len() as u64).sum();
    let began = Instant::now();
    packed.blobs.iter().for_each(|blob| {
        std::hint::black_box(blake3::hash(&blob.bytes));
    });
    let seconds_hash = began.elapsed().as_secs_f64();

    let settings = RenderSettings {
        samples_per_pixel: command.spp,
        seed: 0,
        max_depth: command.max_depth,
        filter: PixelFilter::default(),
        camera: 0,
        transparent: false,
        film: Default::default(),
    };
    let task = BenchTask { resolution: command.size, settings, rounds: command.rounds };
    let scene = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let renders = progress.bench(&scene);
    let (measurements, picture) = bench
        .measure(digest_of(&packed.manifest), &loaded.scene, &task, &mut |done, total| {
            renders.update(done, total);
        })
        .map_err(|error| Failure::job_failed(format!("{}: {}", file.display(), describe(&error))))?;
    let spec = JobSpec {
        name: "bench".into(),
        scene: digest_of(&packed.manifest),
        blobs: packed.blobs.iter().map(digest_of).collect(),
        frame_scenes: Vec::new(),
        shader_digest: farm_node::shader_digest(),
        resolution: command.size,
        frames: FrameRange { first: FrameNumber(1), last: FrameNumber(1) },
        tile_size: TILE,
        settings: task.settings.clone(),
        priority: 0,
        weight: 1,
        needs: Default::default(),
    };
    let (seconds_encode, seconds_stitch) = stitch(&spec, &picture)?;
    let lanes = measurements.iter().map(LaneReport::of).collect();
    Ok(SceneReport { scene, packed_bytes, seconds_load, seconds_hash, seconds_encode, seconds_stitch, lanes })
}

/// Encodes a picture's tiles and assembles them, as nodes and master do; returns
/// the seconds of both.
fn stitch(spec: &JobSpec, picture: &TileImage) -> Result<(f64, f64), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::job_failed(describe(error));
    let folder = tempfile::tempdir().map_err(|error| failed(&error))?;
    let blobs = BlobStore::open(&folder.path().join("blobs"), 1 << 30).map_err(|error| failed(&error))?;
    let frames = folder.path().join("frames");
    fs::create_dir_all(&frames).map_err(|error| failed(&error))?;
    let (job, number, node) = (JobId(1), FrameNumber(1), NodeId(0));
    let mut tiles = Vec::new();
    let mut seconds_encode = 0.0;
    for index in 0..plan::rect_count(spec.resolution, spec.tile_size) {
        let index = RectIndex(index);
        let Some(rect) = plan::rect_at(spec.resolution, spec.tile_size, index) else { continue };
        let tile = TileId { job, frame: number, rect: index, range: picture.range };
        let image = cut(picture, rect);
        let attributes = TileAttributes {
            tile,
            node,
            scene: spec.scene,
            shader_digest: spec.shader_digest,
            samples_per_pixel: spec.settings.samples_per_pixel,
            finished: true,
        };
        let began = Instant::now();
        let bytes = encode_tile(&image, &attributes, spec.resolution, spec.tile_size);
        seconds_encode += began.elapsed().as_secs_f64();
        let blob = BlobDigest(*blake3::hash(&bytes).as_bytes());
        blobs.store(blob, &bytes).map_err(|error| failed(&error))?;
        tiles.push(AcceptedTile { tile, rect, blob, node });
    }
    let frame = Frame { job, number, spec: spec.clone(), tiles, kept: Vec::new() };
    let began = Instant::now();
    assemble(&frame, &blobs, &FrameFolder::new(frames)).map_err(|error| failed(&error))?;
    Ok((seconds_encode, began.elapsed().as_secs_f64()))
}

/// A rectangle of a finished picture.
fn cut(picture: &TileImage, rect: Rect) -> TileImage {
    let row = |y: u32| {
        let start = (y * picture.rect.width + rect.x) as usize;
        picture.pixels[start..start + rect.width as usize].iter().copied()
    };
    let pixels = (rect.y..rect.y + rect.height).flat_map(row).collect();
    let samples = picture.samples / picture.rect.area().max(1) * rect.area();
    TileImage { rect, range: picture.range, pixels, samples, rays: 0 }
}

impl LaneReport {
    fn of(measured: &Measurement) -> Self {
        Self {
            adapter: measured.adapter.name.clone(),
            backend: measured.adapter.backend.clone(),
            kernels: measured.kernels.to_owned(),
            driver: measured.adapter.driver.clone(),
            seconds_open: measured.open.as_secs_f64(),
            seconds_pack: measured.prepare.pack.as_secs_f64(),
            seconds_trees: measured.prepare.trees.as_secs_f64(),
            seconds_recall: measured.recall.map(|recall| recall.as_secs_f64()),
            seconds_upload: measured.upload.as_secs_f64(),
            seconds_first_block: measured.first_block.as_secs_f64(),
            seconds_dispatch: measured.dispatch.as_secs_f64(),
            samples_per_second: measured.samples_per_second,
            rays_per_second: measured.rays_per_second,
            ratio: None,
        }
    }
}

fn read_report(path: &Path) -> Result<Report, Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::wrong_use(format!("{}: {}", path.display(), describe(error)))
            .with_hint("it must be what `farm bench --json` printed")
    };
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    serde_json::from_str(&text).map_err(|error| failed(&error))
}

/// Fills in the ratios to an earlier report, of the same scenes on the same
/// adapters.
fn compare(scene: &mut SceneReport, before: &Report) {
    let Some(earlier) = before.scenes.iter().find(|earlier| earlier.scene == scene.scene) else { return };
    for lane in &mut scene.lanes {
        let name = |lane: &LaneReport| [&lane.adapter, &lane.backend, &lane.kernels].map(Clone::clone);
        let wanted = name(lane);
        let same = |other: &&LaneReport| name(other) == wanted;
        lane.ratio =
            earlier.lanes.iter().find(same).map(|other| lane.samples_per_second / other.samples_per_second);
    }
}

fn as_table(report: &Report) -> String {
    let mut rows = vec![
        [
            "SCENE",
            "ADAPTER",
            "KERNELS",
            "SAMPLES/S",
            "RAYS/S",
            "LOAD",
            "TREES",
            "RECALL",
            "UPLOAD",
            "FIRST BLOCK",
            "DISPATCH",
            "RATIO",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let seconds =
        |value: f64| if value < 0.1 { format!("{:.1} ms", value * 1e3) } else { format!("{value:.2} s") };
    for scene in &report.scenes {
        for lane in &scene.lanes {
            rows.push(vec![
                printable(&scene.scene),
                format!("{} ({})", printable(&lane.adapter), lane.backend),
                lane.kernels.clone(),
                human_count(lane.samples_per_second),
                human_count(lane.rays_per_second),
                seconds(scene.seconds_load),
                seconds(lane.seconds_trees),
                lane.seconds_recall.map_or_else(|| "-".to_owned(), seconds),
                seconds(lane.seconds_upload),
                seconds(lane.seconds_first_block),
                seconds(lane.seconds_dispatch),
                lane.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}")),
            ]);
        }
        rows.push(vec![
            printable(&scene.scene),
            format!(
                "hash {}, encode {}, stitch {}",
                seconds(scene.seconds_hash),
                seconds(scene.seconds_encode),
                seconds(scene.seconds_stitch)
            ),
        ]);
    }
    table(&rows)
}
