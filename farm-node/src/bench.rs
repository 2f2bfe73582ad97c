//! How fast adapters render a scene, side by side: rounds go from adapter to
//! adapter, so that what else the machine does meets all of them alike.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use farm_core::{
    BlobDigest, BlockRange, FrameNumber, Rect, RenderSettings, RenderTask, Resolution, TileImage,
};
use farm_render::{
    AdapterInfo, DeviceScene, DiskCache, OpenOptions, PreparationTimes, RenderError, Renderer, Variant,
};
use farm_scene::Scene;

/// Renders of one pixel whose median is the cost of a dispatch.
const DISPATCHES: usize = 9;

/// What is rendered in each round.
#[derive(Clone, Debug)]
pub struct BenchTask {
    /// Size of the frame.
    pub resolution: Resolution,
    /// How to sample; its samples per pixel are those of a round.
    pub settings: RenderSettings,
    /// Rounds, of which the median counts.
    pub rounds: u32,
}

/// Open adapters.
pub struct Bench {
    /// Where they keep prepared scenes.
    cache: Arc<DiskCache>,
    renderers: Vec<Renderer>,
    /// Time that opening each took.
    open_times: Vec<Duration>,
}

/// How fast one adapter rendered a scene.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// The adapter.
    pub adapter: AdapterInfo,
    /// The kernels that it ran.
    pub kernels: &'static str,
    /// Time to open it, its kernel compiled.
    pub open: Duration,
    /// Time to prepare the scene.
    pub prepare: PreparationTimes,
    /// Time to read it as it was prepared, where that was kept.
    pub recall: Option<Duration>,
    /// Time to copy it to the adapter.
    pub upload: Duration,
    /// Time to render the first block of samples of the whole frame.
    pub first_block: Duration,
    /// Time to render one sample of one pixel: what a dispatch costs.
    pub dispatch: Duration,
    /// Median over the rounds.
    pub samples_per_second: f64,
    /// Likewise; camera, shadow and scattered rays.
    pub rays_per_second: f64,
}

impl Bench {
    /// Opens adapters, which are from [`crate::list_adapters`], with each variant
    /// of the kernels that they can run; `threads`
    /// are those of the processor, and `cache` is an empty one.
    ///
    /// # Errors
    /// When one refuses.
    pub fn open(
        adapters: &[AdapterInfo],
        threads: Option<NonZeroUsize>,
        cache: Arc<DiskCache>,
    ) -> Result<Self, RenderError> {
        let mut bench = Self { cache, renderers: Vec::new(), open_times: Vec::new() };
        for adapter in adapters {
            let variants = Variant::ALL.map(Some);
            for &variant in if adapter.is_native() { &[None] } else { &variants[..] } {
                bench.add(adapter, threads, variant)?;
            }
        }
        Ok(bench)
    }

    /// Opens an adapter with one variant of the kernels, if it can run that.
    fn add(
        &mut self,
        adapter: &AdapterInfo,
        threads: Option<NonZeroUsize>,
        variant: Option<Variant>,
    ) -> Result<(), RenderError> {
        let cache = Some(Arc::clone(&self.cache));
        let began = Instant::now();
        let adapter = Some(adapter.clone());
        match Renderer::open(&OpenOptions { adapter, threads, cache, variant, ..OpenOptions::default() }) {
            Ok(renderer) => {
                self.renderers.push(renderer);
                self.open_times.push(began.elapsed());
                Ok(())
            }
            Err(RenderError::NoVariant(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Measures a scene, and its digest's place in the cache, on every adapter;
    /// returns a picture of it too. `progress` is told how many renders are done,
    /// and of how many.
    ///
    /// # Errors
    /// When the scene does not fit an adapter, or one breaks down.
    pub fn measure(
        &self,
        digest: BlobDigest,
        scene: &Scene,
        task: &BenchTask,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Vec<Measurement>, TileImage), RenderError> {
        let rounds = task.rounds.max(1);
        let renders = self.renderers.len() as u64 * (u64::from(rounds) + 1);
        let mut done = 0;
        let mut tell = || {
            done += 1;
            progress(done, renders);
        };
        let mut scenes = Vec::with_capacity(self.renderers.len());
        let mut measurements = Vec::with_capacity(self.renderers.len());
        for (renderer, open) in self.renderers.iter().zip(&self.open_times) {
            let (prepare, recall, scene) = self.load(renderer, digest, scene)?;
            measurements.push(Measurement {
                adapter: renderer.adapter().clone(),
                kernels: renderer.kernels(),
                open: *open,
                prepare,
                recall,
                upload: scene.upload_time(),
                first_block: time(renderer, &scene, &first_block_of(task))?.0,
                dispatch: dispatch_time(renderer, &scene, task)?,
                samples_per_second: 0.0,
                rays_per_second: 0.0,
            });
            scenes.push(scene);
            tell();
        }
        let lanes: Vec<(&Renderer, &DeviceScene)> = self.renderers.iter().zip(&scenes).collect();
        let mut rates = vec![(Vec::new(), Vec::new()); lanes.len()];
        let mut picture = None;
        for seed in 0..rounds {
            let round = round_of(task, seed);
            for (&(renderer, scene), (samples, rays)) in lanes.iter().zip(&mut rates) {
                let (taken, image) = time(renderer, scene, &round)?;
                samples.push(per_second(image.samples, taken));
                rays.push(per_second(image.rays, taken));
                picture.get_or_insert(image);
                tell();
            }
        }
        for (measurement, (samples, rays)) in measurements.iter_mut().zip(&mut rates) {
            measurement.samples_per_second = median(samples);
            measurement.rays_per_second = median(rays);
        }
        picture.map(|picture| (measurements, picture)).ok_or(RenderError::NoAdapter)
    }
}

impl Bench {
    /// Prepares a scene, keeps and recalls it, and uploads it.
    fn load(
        &self,
        renderer: &Renderer,
        digest: BlobDigest,
        scene: &Scene,
    ) -> Result<(PreparationTimes, Option<Duration>, DeviceScene), RenderError> {
        let prepared = renderer.prepare(scene)?;
        renderer.keep(digest, &prepared);
        self.cache.flush();
        let recall = renderer.recall(digest).map(|recalled| recalled.times().recall);
        Ok((prepared.times(), recall, renderer.upload(&prepared)?))
    }
}

/// A round renders the whole frame; each has its own seed.
fn round_of(task: &BenchTask, seed: u32) -> RenderTask {
    let Resolution { width, height } = task.resolution;
    RenderTask {
        resolution: task.resolution,
        frame: FrameNumber(1),
        rect: Rect { x: 0, y: 0, width, height },
        range: BlockRange::root(task.settings.blocks()),
        settings: RenderSettings { seed, ..task.settings.clone() },
    }
}

fn first_block_of(task: &BenchTask) -> RenderTask {
    let whole = round_of(task, u32::MAX);
    RenderTask { range: BlockRange { level: 0, index: 0 }, ..whole }
}

fn dispatch_time(
    renderer: &Renderer,
    scene: &DeviceScene,
    task: &BenchTask,
) -> Result<Duration, RenderError> {
    let mut settings = task.settings.clone();
    settings.samples_per_pixel = 1;
    let rect = Rect { x: 0, y: 0, width: 1, height: 1 };
    let pixel = RenderTask { rect, range: BlockRange::root(1), settings, ..round_of(task, 0) };
    let times: Result<Vec<Duration>, RenderError> =
        (0..DISPATCHES).map(|_| Ok(time(renderer, scene, &pixel)?.0)).collect();
    let mut times = times?;
    times.sort_unstable();
    Ok(times[DISPATCHES / 2])
}

fn time(
    renderer: &Renderer,
    scene: &DeviceScene,
    task: &RenderTask,
) -> Result<(Duration, TileImage), RenderError> {
    let began = Instant::now();
    let image = renderer.render(scene, task, &mut |_| ControlFlow::Continue(()))?;
    Ok((began.elapsed(), image))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn per_second(count: u64, taken: Duration) -> f64 {
    count as f64 / taken.as_secs_f64().max(f64::MIN_POSITIVE)
}

/// The median; of an even number, the middle of the two in the middle.
#[must_use]
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}
