//! What the tests of this crate share: an adapter that does what a task's seed
//! says, and scenes that cost nothing.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use farm_core::agent::LaneIndex;
use farm_core::{
    BlobDigest, BlockRange, FrameNumber, FrameRange, JobId, JobSpec, LeaseId, NodeId, PixelFilter, Rect,
    RectIndex, RenderSettings, RenderTask, Resolution, TileId, TileImage,
};
use farm_render::{Progress, RenderError, Rendered};
use farm_scene::Scene;
use farm_wire::message::LaneDescription;
use farm_wire::tile::TileAttributes;
use tokio::sync::mpsc;

use crate::lane::{Adapter, Lane, LaneEvent, LoadScene, Order, Share, Stop};
use crate::limits::NodeLimits;

/// Renders at once.
pub(crate) const RENDER: u32 = 0;
/// Panics.
pub(crate) const PANIC: u32 = 1;
/// Loses the adapter.
pub(crate) const LOSE: u32 = 2;
/// Renders when the gate is open, or stops.
pub(crate) const WAIT: u32 = 3;

pub(crate) const SHADERS: BlobDigest = BlobDigest([7; 32]);
pub(crate) const TILE_SIZE: u32 = 16;
pub(crate) const RESOLUTION: Resolution = Resolution { width: 64, height: 16 };
/// What a false adapter makes of every pixel.
pub(crate) const PIXEL: [f32; 4] = [0.25, 0.5, 0.75, 1.0];

/// What the tests see of their false adapters and steer them by.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    /// Whether a [`WAIT`] task was begun.
    pub(crate) waits: AtomicBool,
    /// Opens [`WAIT`] tasks.
    pub(crate) gate: AtomicBool,
    /// Blocks of a [`WAIT`] task that are whole when it stops.
    pub(crate) whole_blocks: AtomicU32,
    /// Tries to open the adapter so far.
    pub(crate) opened: AtomicUsize,
    /// Tries that succeed; later ones find no adapter. 0 means all.
    pub(crate) openable: AtomicUsize,
    /// Scenes loaded so far.
    pub(crate) loaded: AtomicUsize,
    /// Scenes in adapters' memory now.
    pub(crate) resident: Arc<AtomicUsize>,
    /// Scenes that fit into it. 0 means any number.
    pub(crate) capacity: AtomicUsize,
    /// Whether prepared scenes are kept.
    pub(crate) keeps: AtomicBool,
    /// Those that were.
    pub(crate) kept: Mutex<BTreeSet<BlobDigest>>,
}

pub(crate) struct FalseAdapter(Arc<Stage>);

pub(crate) struct FalseScene(Arc<AtomicUsize>);

impl Drop for FalseScene {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Adapter for FalseAdapter {
    type Scene = FalseScene;
    type Prepared = ();

    fn describe(&self) -> Result<LaneDescription, RenderError> {
        Ok(LaneDescription {
            adapter: "false".into(),
            backend: "none".into(),
            numeric_class: BlobDigest([3; 32]),
            memory_bytes: None,
        })
    }

    fn recall(&self, scene: BlobDigest) -> Option<()> {
        let kept = self.0.kept.lock().expect("no test panics while it holds this");
        kept.contains(&scene).then_some(())
    }

    fn prepare(&self, digest: BlobDigest, _: &Scene) -> Result<(), RenderError> {
        if self.0.keeps.load(Ordering::SeqCst) {
            self.0.kept.lock().expect("no test panics while it holds this").insert(digest);
        }
        Ok(())
    }

    fn upload(&self, (): &()) -> Result<FalseScene, RenderError> {
        let capacity = self.0.capacity.load(Ordering::SeqCst);
        if capacity > 0 && self.0.resident.load(Ordering::SeqCst) >= capacity {
            return Err(RenderError::OutOfMemory { what: "the scene".into(), needed: 2, available: 1 });
        }
        self.0.resident.fetch_add(1, Ordering::SeqCst);
        Ok(FalseScene(Arc::clone(&self.0.resident)))
    }

    fn render(
        &self,
        _: &FalseScene,
        task: &RenderTask,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Rendered, RenderError> {
        match task.settings.seed {
            PANIC => panic!("as the seed says"),
            LOSE => return Err(RenderError::DeviceLost("as the seed says".into())),
            WAIT => {
                self.0.waits.store(true, Ordering::SeqCst);
                while !self.0.gate.load(Ordering::SeqCst) {
                    if progress(Progress { samples: 1 }).is_break() {
                        let whole = self.0.whole_blocks.load(Ordering::SeqCst);
                        return Ok(Rendered::Stopped(parts(task, whole)));
                    }
                    std::thread::yield_now();
                }
            }
            _ => {}
        }
        Ok(Rendered::Done(image(task, task.range)))
    }
}

fn image(task: &RenderTask, range: BlockRange) -> TileImage {
    let pixels = vec![PIXEL; usize::try_from(task.rect.area()).expect("test tiles are small")];
    let samples = task.rect.area() * u64::from(range.samples(task.settings.samples_per_pixel));
    TileImage { rect: task.rect, range, pixels, samples, rays: 5 }
}

/// The first `blocks` of a task as dyadic ranges.
fn parts(task: &RenderTask, blocks: u32) -> Vec<TileImage> {
    task.range.first_blocks(blocks).into_iter().map(|range| image(task, range)).collect()
}

/// Limits under which nothing waits for long.
pub(crate) fn quick_limits() -> NodeLimits {
    NodeLimits {
        lane_progress_interval: std::time::Duration::ZERO,
        reopen_pause: std::time::Duration::ZERO,
        reconnect_min: std::time::Duration::from_millis(1),
        reconnect_max: std::time::Duration::from_millis(10),
        ..NodeLimits::default()
    }
}

/// A lane on a false adapter.
pub(crate) async fn lane(stage: &Arc<Stage>, load: LoadScene, events: mpsc::Sender<LaneEvent>) -> Lane {
    let opener = Arc::clone(stage);
    let open = move || {
        let tries = opener.opened.fetch_add(1, Ordering::SeqCst) + 1;
        let openable = opener.openable.load(Ordering::SeqCst);
        if openable > 0 && tries > openable {
            return Err(RenderError::NoAdapter);
        }
        Ok(FalseAdapter(Arc::clone(&opener)))
    };
    Lane::start(LaneIndex(0), open, load, Share::ALL, &quick_limits(), events)
        .await
        .expect("the first try succeeds")
}

/// Loads an empty scene, whatever its digest.
pub(crate) fn any_scene(stage: &Arc<Stage>) -> LoadScene {
    let stage = Arc::clone(stage);
    Box::new(move |_| {
        stage.loaded.fetch_add(1, Ordering::SeqCst);
        Ok(Scene::default())
    })
}

/// A job of four rectangles and 64 samples per pixel.
pub(crate) fn spec(scene: BlobDigest, seed: u32) -> JobSpec {
    JobSpec {
        name: "teapot".into(),
        scene,
        blobs: Vec::new(),
        frame_scenes: Vec::new(),
        shader_digest: SHADERS,
        resolution: RESOLUTION,
        frames: FrameRange { first: FrameNumber(1), last: FrameNumber(1) },
        tile_size: TILE_SIZE,
        settings: RenderSettings {
            samples_per_pixel: 64,
            seed,
            max_depth: 4,
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

/// The whole range of the rectangle at `place` of [`spec`]'s only frame.
pub(crate) fn tile(job: u64, place: u32) -> (TileId, Rect) {
    let tile =
        TileId { job: JobId(job), frame: FrameNumber(1), rect: RectIndex(place), range: BlockRange::root(4) };
    (tile, Rect { x: place * TILE_SIZE, y: 0, width: TILE_SIZE, height: TILE_SIZE })
}

/// An order of the first rectangle of a job of `scene`.
pub(crate) fn order(lease: u64, scene: u8, seed: u32) -> Order {
    let scene = BlobDigest([scene; 32]);
    let (tile, rect) = tile(1, 0);
    let settings = spec(scene, seed).settings;
    Order {
        lease: LeaseId(lease),
        task: RenderTask { resolution: RESOLUTION, frame: tile.frame, rect, range: tile.range, settings },
        attributes: attributes(tile, scene, NodeId(1)),
        tile_size: TILE_SIZE,
        stop: Arc::new(Stop::default()),
    }
}

/// What a whole tile of [`spec`] says of itself.
pub(crate) fn attributes(tile: TileId, scene: BlobDigest, node: NodeId) -> TileAttributes {
    TileAttributes { tile, node, scene, shader_digest: SHADERS, samples_per_pixel: 64, finished: true }
}
