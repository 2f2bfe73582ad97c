//! `farm render`: the straight line from a scene file to a picture, in one
//! process.

use std::sync::Arc;
use std::time::Instant;

use etcetera::BaseStrategy as _;
use farm_core::BlobDigest;
use farm_node::DiskCache;
use serde::Serialize;

use crate::adapters;
use crate::args::RenderCommand;
use crate::embed::{EmbeddedFarm, Lanes};
use crate::fetch::{Collector, FetchedFrame};
use crate::follow::{Followed, Patience, follow};
use crate::frames::FramePattern;
use crate::interrupt::interrupted;
use crate::output::{Failure, float, human_count, print_json, print_text};
use crate::prepare::{JobOptions, Prepared, next_aside, open_aside};
use crate::progress::Progress;
use crate::requests::Link;
use crate::submit::send_job;

/// An adapter that worked on the job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Adapter {
    adapter: String,
    backend: String,
    numeric_class: String,
}

/// What `farm render --json` prints. Times are in seconds.
#[derive(Debug, Serialize)]
struct Report {
    /// The EXR; of several frames, the first one's.
    output: String,
    /// The PNG likewise.
    png: Option<String>,
    frames: u64,
    frames_detail: Vec<FetchedFrame>,
    width: u32,
    height: u32,
    samples_per_pixel: u32,
    /// Samples over all pixels and frames.
    samples: u64,
    /// Camera, bounce and shadow rays.
    rays: u64,
    seconds_total: f64,
    seconds_load: f64,
    /// From the moment that the job was submitted and a node stood ready to the
    /// last frame's files.
    seconds_render: f64,
    /// From the start of the process to the first accepted samples.
    seconds_to_first_samples: Option<f64>,
    /// Time on adapters, summed over all of them.
    seconds_adapters: f64,
    samples_per_second: f64,
    /// Names of the adapters, joined by commas.
    adapter: String,
    /// Their numeric classes likewise; one for adapters that give equal bits.
    numeric_class: String,
    adapters: Vec<Adapter>,
    /// BLAKE3 of the final f32 pixels; of several frames, BLAKE3 of their digests
    /// one after the other.
    pixel_digest: BlobDigest,
    /// Rectangles over all frames.
    tiles: u64,
    /// Results that were accepted for them.
    results: u64,
    tile_size: u32,
    nodes: u32,
    /// Digest of the scene's manifest.
    scene: BlobDigest,
    shader_digest: BlobDigest,
    scene_bytes: u64,
    warnings: Vec<String>,
}

/// Where the pictures go.
struct Outputs {
    exr: FramePattern,
    png: Option<FramePattern>,
}

/// A job that was rendered, and what was noted on the way.
struct Rendered {
    prepared: PreparedNotes,
    followed: Followed,
    frames: Vec<FetchedFrame>,
    scene_bytes: u64,
    began: Instant,
    ended: Instant,
}

/// What is left of a prepared scene once its blobs are sent.
struct PreparedNotes {
    spec: farm_core::JobSpec,
    warnings: Vec<String>,
    seconds_load: f64,
}

/// `farm render`. `started` is when the process began.
pub(crate) async fn run(command: RenderCommand, started: Instant) -> Result<(), Failure> {
    let outputs = check_outputs(&command)?;
    let progress = Progress::new(command.output_args.quiet);
    let folder = tempfile::Builder::new()
        .prefix("farm-render-")
        .tempdir()
        .map_err(|error| Failure::job_failed(format!("cannot make a temporary folder: {error}")))?;
    let mut farm = None;
    let outcome = tokio::select! {
        outcome = render(&command, outputs, folder.path(), &mut farm, &progress) => outcome,
        failure = interrupted() => Err(failure),
    };
    if let Some(farm) = farm {
        farm.stop().await;
    }
    if let Err(error) = folder.close() {
        progress.warn(&format!("a temporary folder could not be removed: {error}"));
    }
    let report = report(outcome?, &command, started)?;
    if command.output_args.json {
        return print_json(&report);
    }
    progress.note(&format!(
        "{} samples in {:.2} s ({} samples/s) on {}",
        human_count(float(report.samples)),
        report.seconds_render,
        human_count(report.samples_per_second),
        report.adapter,
    ));
    print_text(&report.frames_detail.iter().map(FetchedFrame::lines).collect::<String>())
}

/// Makes sure that the pictures can be written before anything is rendered.
fn check_outputs(command: &RenderCommand) -> Result<Outputs, Failure> {
    let frames = command.settings.frames();
    let numbered = frames.count() > 1;
    let exr = FramePattern::parse(&command.output, "-o", "exr", numbered)?;
    let png = command.png.as_ref().map(|path| FramePattern::parse(path, "--png", "png", numbered));
    let outputs = Outputs { exr, png: png.transpose()? };
    for pattern in [Some(&outputs.exr), outputs.png.as_ref()].into_iter().flatten() {
        pattern.check_writable(frames.first)?;
    }
    Ok(outputs)
}

/// Loads the scene while the farm starts, then sends it through.
async fn render(
    command: &RenderCommand,
    outputs: Outputs,
    folder: &std::path::Path,
    farm: &mut Option<EmbeddedFarm>,
    progress: &Progress,
) -> Result<Rendered, Failure> {
    let step = progress.step("reading the scene and starting the farm");
    let lanes = Lanes {
        adapter: adapters::choose(command.adapter.as_deref()),
        cpu: command.cpu.map(|threads| farm_node::CpuLane { threads }),
        disk_cache: open_cache(command, progress),
    };
    let starting = EmbeddedFarm::start(folder, command.nodes, lanes);
    let shader_digest = farm_node::shader_digest();
    let job_options = JobOptions { name: None, priority: 0, weight: 1, tags: Vec::new(), shader_digest };
    let reading = open_aside(command.scene.clone(), command.settings.clone(), job_options);
    let ((mut preparation, mut next), started) = tokio::try_join!(reading, starting)?;
    let farm = farm.insert(started);
    let storing = async {
        while let Some(packed) = next {
            // While a scene is stored, the next one is read.
            let store = farm.store(Arc::new(packed));
            ((preparation, next), ()) = tokio::try_join!(next_aside(preparation), store)?;
        }
        Ok(preparation)
    };
    let (mut link, preparation) = tokio::try_join!(farm.connect(), storing)?;
    let Prepared { spec, warnings, load_time, scene_bytes, .. } = preparation.finish()?;
    step.finish();
    warnings.iter().for_each(|warning| progress.warn(warning));

    let job = send_job(&link, spec.clone()).await?;
    let submitted = Instant::now();
    let mut collector = Collector::new(job, outputs.exr, outputs.png, command.half);
    let following = follow(&mut link, job, progress, Some(&mut collector), Patience::Embedded);
    let followed = tokio::select! {
        followed = following => followed?,
        failure = farm.fail_with_nodes() => return Err(failure),
    };
    let ended = Instant::now();
    close(&link).await;
    Ok(Rendered {
        prepared: PreparedNotes { spec, warnings, seconds_load: load_time.as_secs_f64() },
        followed,
        frames: collector.into_frames(),
        scene_bytes,
        began: farm.first_ready().map_or(submitted, |ready| ready.max(submitted)),
        ended,
    })
}

/// Opens the folder of prepared scenes; without one they are prepared every time.
fn open_cache(command: &RenderCommand, progress: &Progress) -> Option<Arc<DiskCache>> {
    if command.no_cache {
        return None;
    }
    let named = command.cache.clone();
    let folder = named.or_else(|| {
        let strategy = etcetera::choose_base_strategy().ok()?;
        Some(strategy.cache_dir().join("tessera").join("prepared"))
    })?;
    match DiskCache::open(&folder, DiskCache::LIMIT_BYTES) {
        Ok(cache) => Some(Arc::new(cache)),
        Err(error) => {
            progress.warn(&format!("prepared scenes cannot be kept in {}: {error}", folder.display()));
            None
        }
    }
}

/// Says goodbye to the embedded master.
async fn close(link: &Link) {
    link.close().await;
}

/// What is told about a rendered job.
fn report(rendered: Rendered, command: &RenderCommand, started: Instant) -> Result<Report, Failure> {
    let Rendered { prepared, followed, frames, scene_bytes, began, ended } = rendered;
    let first = frames.first().ok_or_else(|| Failure::job_failed("the job is done but has no frames"))?;
    let view = followed.last.view;
    let adapters = distinct_adapters(&followed.last.lanes);
    let seconds_render = ended.saturating_duration_since(began).as_secs_f64();
    let join = |part: fn(&Adapter) -> &String| {
        let mut parts: Vec<&str> = adapters.iter().map(|adapter| part(adapter).as_str()).collect();
        parts.dedup();
        parts.join(", ")
    };
    Ok(Report {
        output: first.output.clone(),
        png: first.png.clone(),
        frames: view.frames,
        width: prepared.spec.resolution.width,
        height: prepared.spec.resolution.height,
        samples_per_pixel: prepared.spec.settings.samples_per_pixel,
        samples: view.samples_done,
        rays: view.rays,
        seconds_total: started.elapsed().as_secs_f64(),
        seconds_load: prepared.seconds_load,
        seconds_render,
        seconds_to_first_samples: followed
            .first_samples
            .map(|first| first.saturating_duration_since(started).as_secs_f64()),
        seconds_adapters: float(view.render_us) / 1e6,
        samples_per_second: float(view.samples_done) / seconds_render.max(f64::MIN_POSITIVE),
        adapter: join(|adapter| &adapter.adapter),
        numeric_class: join(|adapter| &adapter.numeric_class),
        pixel_digest: combined_digest(&frames),
        tiles: view.tiles,
        results: view.results,
        tile_size: prepared.spec.tile_size,
        nodes: command.nodes,
        scene: prepared.spec.scene,
        shader_digest: prepared.spec.shader_digest,
        scene_bytes,
        warnings: prepared.warnings,
        frames_detail: frames,
        adapters,
    })
}

/// The adapters of all nodes, each once.
fn distinct_adapters(lanes: &[farm_wire::message::LaneDescription]) -> Vec<Adapter> {
    let adapter = |lane: &farm_wire::message::LaneDescription| Adapter {
        adapter: lane.adapter.clone(),
        backend: lane.backend.clone(),
        numeric_class: lane.numeric_class.to_string(),
    };
    let mut adapters: Vec<Adapter> = lanes.iter().map(adapter).collect();
    adapters.sort();
    adapters.dedup();
    adapters
}

/// A frame's own digest, or one over the digests of several.
fn combined_digest(frames: &[FetchedFrame]) -> BlobDigest {
    if let [frame] = frames {
        return frame.pixel_digest;
    }
    let mut hasher = blake3::Hasher::new();
    for frame in frames {
        hasher.update(&frame.pixel_digest.0);
    }
    BlobDigest(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use farm_core::FrameNumber;

    #[test]
    fn one_frame_keeps_its_digest_and_several_have_their_own() {
        let frame = |number: u32, byte: u8| FetchedFrame {
            frame: FrameNumber(number),
            output: String::new(),
            png: None,
            pixel_digest: BlobDigest([byte; 32]),
            bytes: 0,
        };
        assert_eq!(combined_digest(&[frame(1, 7)]), BlobDigest([7; 32]));
        let both = combined_digest(&[frame(1, 7), frame(2, 8)]);
        assert_ne!(both, combined_digest(&[frame(1, 8), frame(2, 7)]));
        assert_eq!(both, BlobDigest(*blake3::hash(&[[7; 32], [8; 32]].concat()).as_bytes()));
    }
}
