//! The renderer on the processor: the kernel's native version on threads of its
//! own, with a traversal written by hand.
//!
//! The native version is generated from the same WGSL as the kernel, so nothing
//! here shades. Bits depend neither on the width nor on the number of threads:
//! every record is computed alone.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod batch;
mod beam;
mod hit;
#[cfg(target_arch = "x86_64")]
mod lanes16;
mod level;
mod numa;
mod portable;
mod quad;
mod share;
mod stack;
mod traverse;
mod tree;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use farm_core::RenderTask;
use shaders::native::{Bindings, Overrides, RECORD_WORDS, Width, render_blocks};

use crate::dispatch::Slicing;
use crate::film::{Film, samples_done};
use crate::layout::{Params, Record};
use crate::pack::PackedScene;
use crate::{AdapterInfo, NATIVE, Progress, RenderError, Rendered};
pub use numa::{NumaNode, numa_nodes};
use share::Share;
use traverse::Traversal;
pub(crate) use tree::WideTree;

/// Paths that are in flight on a thread, at most: those who trace many rays at
/// once are seldom short of them, and they stay in the second-level cache (about
/// 250 bytes each).
const IN_FLIGHT: usize = 1024;

/// Samples of a record.
const BLOCK: usize = farm_core::BASE_BLOCK_SAMPLES as usize;

/// At most this part of a thread's share of a slice is in flight at once, so that
/// threads that are done early find something left.
const SHARES: usize = 2;

/// What numbers of paths in flight are a multiple of, and numbers of lanes
/// divide.
const GROUP: usize = 16;

/// The time after which progress is told: short enough for people who stop it,
/// long enough that threads seldom wait for the last of them.
const SLICE_TIME: Duration = Duration::from_millis(150);

/// Records of the first slice for each thread, and growth from one slice to the
/// next at most.
const FIRST_RECORDS: u64 = 256;
const GROWTH: u64 = 4;

/// Records of one slice at most: 64 MiB of them.
const MOST_RECORDS: u64 = 1 << 21;

/// A scene as the processor reads it.
#[derive(Debug)]
pub(crate) struct CpuScene {
    packed: PackedScene,
    overrides: Overrides,
    tree: WideTree,
    /// Records of the last slice, by which the next task's first is measured; 0
    /// before any.
    pace: AtomicU64,
}

impl CpuScene {
    /// Gives a scene the tree that suits the processor, in place of the kernel's.
    pub(crate) fn new(mut packed: PackedScene) -> Result<Self, RenderError> {
        let began = Instant::now();
        let nodes = std::mem::take(&mut packed.nodes);
        let params = &packed.params;
        let (root, parts) = (params.root, params.motion_parts);
        let tree =
            WideTree::build(&nodes, &packed.triangles, &packed.instances, root, parts).ok_or_else(|| {
                RenderError::OutOfMemory {
                    what: "the scene's tree".into(),
                    needed: nodes.len().max(packed.triangles.len()) as u64 * WideTree::NODE_BYTES,
                    available: u64::from(tree::MOST_NODES) * WideTree::NODE_BYTES,
                }
            })?;
        let tree = tree.with_quads(&packed.instances);
        packed.tree_time += began.elapsed();
        Ok(Self::with_tree(packed, tree))
    }

    /// Puts together what [`CpuScene::new`] made.
    pub(crate) fn with_tree(packed: PackedScene, tree: WideTree) -> Self {
        let overrides = packed.features().overrides();
        Self { packed, overrides, tree, pace: AtomicU64::new(0) }
    }

    /// The scene's arrays, without the kernel's trees.
    pub(crate) fn arrays(&self) -> &PackedScene {
        &self.packed
    }

    /// The processor's trees.
    pub(crate) fn tree(&self) -> &WideTree {
        &self.tree
    }

    /// Bytes that the scene takes in memory.
    pub(crate) fn bytes(&self) -> u64 {
        let packed = &self.packed;
        let sizes = [
            self.tree.bytes(),
            size_of_val(&*packed.triangles),
            size_of_val(&*packed.attributes),
            size_of_val(&*packed.instances),
            size_of_val(&*packed.materials),
            size_of_val(&*packed.lights),
            size_of_val(&*packed.texels),
        ];
        sizes.into_iter().map(|size| size as u64).sum()
    }
}

/// The processor as an adapter.
#[derive(Debug)]
pub(crate) struct Cpu {
    pool: rayon::ThreadPool,
    width: Width,
}

/// Describes the processor as the adapter at a place of the list.
pub(crate) fn describe(index: usize, threads: NonZeroUsize, width: Width) -> AdapterInfo {
    AdapterInfo {
        index,
        name: processor_name(),
        backend: NATIVE.into(),
        kind: "cpu".into(),
        driver: format!("{} threads, {}", threads, width.name()),
        bus_address: String::new(),
        max_binding_bytes: u64::from(u32::MAX) * 4,
    }
}

/// The form that prepared scenes have on this processor.
pub(crate) fn form() -> &'static str {
    if batch::is_here() { "cpu with quads" } else { "cpu" }
}

/// Threads that the processor can run at once, as this process may use it.
pub(crate) fn all_threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// The name that the maker gave the processor, where the system tells it.
fn processor_name() -> String {
    let told = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    told.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("{} processor", std::env::consts::ARCH))
}

impl Cpu {
    /// Starts the threads, on the processors of a NUMA node where one is given.
    pub(crate) fn open(
        threads: NonZeroUsize,
        numa_node: Option<NumaNode>,
        width: Width,
    ) -> Result<Self, RenderError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.get())
            .thread_name(|index| format!("render {index}"))
            .start_handler(move |_| {
                if let Some(node) = &numa_node
                    && let Err(error) = node.bind_thread()
                {
                    tracing::warn!("a thread is not bound to NUMA node {}: {error}", node.index);
                }
            })
            .build()
            .map_err(|error| RenderError::DeviceLost(error.to_string()))?;
        Ok(Self { pool, width })
    }

    /// Runs what can be cut into pieces on the threads.
    pub(crate) fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(work)
    }

    /// Renders a task; `params` are its parameters but for the number of records.
    pub(crate) fn render(
        &self,
        scene: &CpuScene,
        params: Params,
        task: &RenderTask,
        slicing: Slicing,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Rendered, RenderError> {
        let mut film = Film::new(task.rect, task.range, task.settings.samples_per_pixel);
        let total = film.items();
        let threads = self.pool.current_num_threads() as u64;
        let mut records = match slicing {
            Slicing::Measured => match scene.pace.load(Ordering::Relaxed) {
                0 => FIRST_RECORDS * threads,
                pace => pace,
            },
            #[cfg(test)]
            Slicing::Fixed(records) => records,
        };
        let mut done = 0;
        while done < total {
            let end = total.min(done + records);
            let mut slice: Vec<Record> = (done..end).map(|index| film.item(index)).collect();
            let began = Instant::now();
            self.render_slice(scene, params, &mut slice);
            if slicing.is_measured() {
                records = next_slice(end - done, records, began.elapsed());
                scene.pace.store(records, Ordering::Relaxed);
            }
            film.add(&slice);
            done = end;
            let is_stopped = progress(Progress { samples: samples_done(task, done) }).is_break();
            if is_stopped && done < total {
                return Ok(Rendered::Stopped(film.into_parts()));
            }
        }
        Ok(Rendered::Done(film.finish(task)))
    }

    /// Renders some records on all threads, which take them one by one.
    fn render_slice(&self, scene: &CpuScene, params: Params, slice: &mut [Record]) {
        let samples = slice.len() * BLOCK;
        let share = samples.div_ceil(self.pool.current_num_threads() * SHARES);
        let in_flight = share.min(IN_FLIGHT).next_multiple_of(GROUP);
        let (queue, next) = (&*slice, AtomicUsize::new(0));
        let finished = self.pool.broadcast(|_| {
            let mut share = Share::new(queue, &next, params.samples_per_pixel, in_flight);
            render_share(self.width, scene, params, &mut share);
            share.finished
        });
        for (index, record) in finished.into_iter().flatten() {
            slice[index] = record;
        }
    }
}

/// How many records the next slice gets where the last one was to have so many,
/// had `rendered` and took so long.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the number of records before it is used"
)]
fn next_slice(rendered: u64, records: u64, taken: Duration) -> u64 {
    let wanted = rendered as f64 * SLICE_TIME.as_secs_f64() / taken.as_secs_f64().max(1e-6);
    let group = GROUP as u64;
    (wanted as u64)
        .clamp(records / GROWTH, records * GROWTH)
        .next_multiple_of(group)
        .clamp(group, MOST_RECORDS)
}

/// A scene's arrays as the native version binds them. The kernel's trees are not
/// there where the tracer has its own.
pub(crate) fn bindings<'a>(
    packed: &'a PackedScene,
    overrides: Overrides,
    params: &'a Params,
    records: &'a mut [u32],
) -> Bindings<'a> {
    Bindings {
        params: bytemuck::cast_ref(params),
        records,
        nodes: bytemuck::cast_slice(&packed.nodes),
        triangles: bytemuck::cast_slice(&packed.triangles),
        attributes: &packed.attributes,
        instances: bytemuck::cast_slice(&packed.instances),
        materials: bytemuck::cast_slice(&packed.materials),
        lights: bytemuck::cast_slice(&packed.lights),
        texels: &packed.texels,
        overrides,
    }
}

/// Renders a share of the records on the calling thread.
fn render_share(width: Width, scene: &CpuScene, params: Params, share: &mut Share<'_>) {
    let room = share.in_flight();
    let record_count = u32::try_from(room).expect("at most IN_FLIGHT, rounded up to a group");
    let params = Params { record_count, item_samples: 1, ..params };
    let packed = &scene.packed;
    let mut records = vec![0; room * RECORD_WORDS];
    let mut bindings = bindings(packed, scene.overrides, &params, &mut records);
    let traversal = Traversal::new(&scene.tree, &packed.triangles, &packed.instances, params.motion_parts);
    render_blocks(width, &mut bindings, share, &traversal);
}
