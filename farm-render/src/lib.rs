//! (Scene, [`RenderTask`]) to [`TileImage`], on wgpu or on the processor.
//!
//! The shading is the WGSL of the `shaders` crate; here is what surrounds it:
//! `pack` turns a scene into the arrays that the kernels read (`bvh`, `texture`,
//! `light`, `sky` and `tables` each have their part), `prepared` keeps that for the
//! next time (on disk, in a `disk_cache`), `upload` puts it on an adapter (in `pages`
//! where it is large), `dispatch` runs the kernels in slices there (those that
//! `calibrate` found to be the faster), `cpu` their native version on threads, and
//! `film` sums what comes back along the fixed tree; a `stage` calls single functions
//! of the kernels. The picture's bits depend on the scene, the task and the adapter's
//! numeric class alone.
//!
//! Calls block the thread that makes them, for as long as the device works.

#![cfg_attr(test, expect(clippy::duplicate_mod, reason = "the tests run on every backend"))]

mod adapter;
mod alias;
mod bvh;
mod calibrate;
mod class;
mod cpu;
mod device;
mod disk_cache;
mod dispatch;
mod film;
mod geometry;
mod layout;
mod light;
mod light_tree;
mod memory;
mod pack;
mod pages;
mod prepared;
#[cfg(test)]
mod random;
mod sky;
mod stage;
mod tables;
mod texture;
mod upload;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use farm_core::{BlobDigest, RenderTask, TileImage};
use farm_scene::Scene;

use adapter::{Found, Hardware};
use cpu::Cpu;
use device::{Checks, Device};
use dispatch::Slicing;
use prepared::Form;
use shaders::native::Width;
use upload::ScenePlace;

pub use cpu::{NumaNode, numa_nodes};
pub use device::Variant;
pub use disk_cache::DiskCache;
pub use memory::{machine_memory, needed_to_prepare};
pub use prepared::{PreparationTimes, PreparedScene};
pub use stage::Stage;
pub use upload::DeviceScene;

/// The backend that is no graphics API.
const NATIVE: &str = "native";

/// An adapter of this machine.
#[derive(Clone, Debug)]
pub struct AdapterInfo {
    /// Place in [`adapters`].
    pub index: usize,
    /// Name given by the driver.
    pub name: String,
    /// Graphics API: `vulkan`, `metal`, `dx12`; `native` for the processor
    /// without any.
    pub backend: String,
    /// `discrete-gpu`, `integrated-gpu`, `virtual-gpu`, `cpu` or `other`.
    pub kind: String,
    /// Driver name and version.
    pub driver: String,
    /// Where it is on the PCI bus, as `0000:03:00.0`; empty where that is not known.
    pub bus_address: String,
    /// Largest storage buffer binding, in bytes.
    pub max_binding_bytes: u64,
}

impl AdapterInfo {
    /// Whether it is the processor without a driver in between.
    #[must_use]
    pub fn is_native(&self) -> bool {
        self.backend == NATIVE
    }
}

/// What went wrong while rendering.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// No adapter that could render.
    #[error("no adapter was found")]
    NoAdapter,
    /// The scene or its film does not fit.
    #[error("{what} needs {needed} bytes and the adapter has {available}")]
    OutOfMemory {
        /// What did not fit.
        what: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes to be had.
        available: u64,
    },
    /// A tree of the scene is deeper than the kernel can walk.
    #[error("{what} has more than the {levels} levels that can be walked")]
    TooDeep {
        /// The tree.
        what: String,
        /// Levels that can be walked.
        levels: u32,
    },
    /// The task names a camera that the scene does not have.
    #[error("the task wants camera {index} and the scene has {count}")]
    NoCamera {
        /// The camera wanted.
        index: u32,
        /// Cameras in the scene.
        count: usize,
    },
    /// The scene was uploaded to an adapter of another kind.
    #[error("the scene lies on an adapter of another kind")]
    WrongScene,
    /// The adapter offers too few storage buffers for these kernels.
    #[error("the adapter cannot run the {}", .0.name())]
    NoVariant(Variant),
    /// The adapter went away; open the renderer again.
    #[error("the adapter was lost: {0}")]
    DeviceLost(String),
    /// The caller asked to stop.
    #[error("rendering was stopped")]
    Stopped,
}

/// Every adapter that can render, best first; the last but the software drivers
/// is the processor, which is always there.
#[must_use]
pub fn adapters() -> Vec<AdapterInfo> {
    adapter::enumerate().into_iter().map(|found| found.info).collect()
}

/// The processor as [`adapters`] describes it, without asking any driver.
#[must_use]
pub fn processor() -> AdapterInfo {
    cpu::describe(0, cpu::all_threads(), Width::widest())
}

/// An open adapter.
///
/// After [`RenderError::DeviceLost`] every call fails alike and opening anew is
/// what helps; after [`RenderError::OutOfMemory`] it can go on.
#[derive(Debug)]
pub struct Renderer {
    info: AdapterInfo,
    engine: Engine,
    cache: Option<Arc<DiskCache>>,
    one_at_a_time: bool,
    class: OnceLock<BlobDigest>,
}

/// How an adapter is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// One of [`adapters`]; `None` takes the best.
    pub adapter: Option<AdapterInfo>,
    /// Threads to render on where the adapter is the processor; `None` takes
    /// all that this process may use, or all of the NUMA node.
    pub threads: Option<NonZeroUsize>,
    /// The NUMA node to stay on where the adapter is the processor; `None` leaves
    /// the threads to the system.
    pub numa_node: Option<NumaNode>,
    /// Where to keep what is costly to make.
    pub cache: Option<Arc<DiskCache>>,
    /// Whether to give a graphics adapter one slice at a time, so that it rests while
    /// the caller does between slices; else the next one waits behind it.
    pub one_at_a_time: bool,
    /// The kernels that a graphics adapter is to run; `None` takes those that
    /// were found to suit it, or the megakernel where there is no cache.
    pub variant: Option<Variant>,
}

/// What renders.
#[derive(Debug)]
enum Engine {
    /// The kernel on a device of a graphics API.
    Gpu(Box<Device>),
    /// The kernel's native version on threads.
    Cpu(Cpu),
}

/// How far a task is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Samples done, of [`RenderTask::samples`].
    pub samples: u64,
}

/// What became of a task.
#[derive(Debug)]
pub enum Rendered {
    /// It is done: finished pixels where its range is whole, else sums.
    Done(TileImage),
    /// It was stopped. What is whole of its range, in order: sums of as few dyadic
    /// ranges as its finished blocks make, perhaps none. They may be merged with the
    /// rest, whoever renders that.
    Stopped(Vec<TileImage>),
}

impl Renderer {
    /// Opens an adapter.
    ///
    /// # Errors
    /// When there is none, or it refuses a device.
    pub fn open(options: &OpenOptions) -> Result<Self, RenderError> {
        let found = match &options.adapter {
            // Drivers that are not needed are not asked.
            Some(info) if info.is_native() => Found { hardware: Hardware::Cpu, info: info.clone() },
            wanted => {
                let index = wanted.as_ref().map_or(0, |info| info.index);
                adapter::enumerate().into_iter().nth(index).ok_or(RenderError::NoAdapter)?
            }
        };
        let opened = match found.hardware {
            Hardware::Gpu(adapter) => {
                let (checks, cache) = (Checks::of_this_build(), options.cache.as_ref());
                match options.variant {
                    Some(variant) if !device::can_run(&adapter, variant) => {
                        return Err(RenderError::NoVariant(variant));
                    }
                    Some(variant) => Self::open_gpu(found.info, &adapter, checks, variant, cache),
                    None => calibrate::open(&found.info, &adapter, checks, cache),
                }
            }
            Hardware::Cpu => {
                let node = options.numa_node.clone();
                Self::open_cpu(found.info.index, options.threads, node, Width::widest())
            }
        };
        Ok(Self { cache: options.cache.clone(), one_at_a_time: options.one_at_a_time, ..opened? })
    }

    fn open_gpu(
        info: AdapterInfo,
        adapter: &wgpu::Adapter,
        checks: Checks,
        variant: Variant,
        cache: Option<&Arc<DiskCache>>,
    ) -> Result<Self, RenderError> {
        let device = Device::open(adapter, checks, variant, cache)?;
        tracing::debug!(adapter = info.name, driver = info.driver, "adapter opened");
        let engine = Engine::Gpu(Box::new(device));
        Ok(Self { info, engine, cache: None, one_at_a_time: false, class: OnceLock::new() })
    }

    fn open_cpu(
        index: usize,
        threads: Option<NonZeroUsize>,
        numa_node: Option<NumaNode>,
        width: Width,
    ) -> Result<Self, RenderError> {
        let all = || numa_node.as_ref().map_or_else(cpu::all_threads, NumaNode::threads);
        let threads = threads.unwrap_or_else(all);
        let info = cpu::describe(index, threads, width);
        tracing::debug!(processor = info.name, driver = info.driver, ?numa_node, "processor opened");
        Ok(Self {
            info,
            engine: Engine::Cpu(Cpu::open(threads, numa_node, width)?),
            cache: None,
            one_at_a_time: false,
            class: OnceLock::new(),
        })
    }

    /// The adapter.
    #[must_use]
    pub fn adapter(&self) -> &AdapterInfo {
        &self.info
    }

    /// The kernels that it runs: `megakernel` or `wavefront` on a graphics
    /// adapter, `native` on the processor.
    #[must_use]
    pub fn kernels(&self) -> &'static str {
        match &self.engine {
            Engine::Gpu(device) => device.variant.name(),
            Engine::Cpu(_) => NATIVE,
        }
    }

    /// Hash of the shader digest, the bits of a probe render, and on a graphics
    /// adapter vendor, device, driver, backend and kernels, on the processor the
    /// code that renders: renderers of one class give equal bits. The probe is
    /// rendered once.
    ///
    /// # Errors
    /// When the probe cannot be rendered.
    pub fn numeric_class(&self) -> Result<BlobDigest, RenderError> {
        if let Some(class) = self.class.get() {
            return Ok(*class);
        }
        let class = class::numeric_class(self)?;
        Ok(*self.class.get_or_init(|| class))
    }

    /// The scene of this digest as it was kept on disk in the adapter's form; none
    /// without a cache.
    #[must_use]
    pub fn recall(&self, scene: BlobDigest) -> Option<PreparedScene> {
        PreparedScene::recall(self.cache.as_deref()?, &self.engine, scene)
    }

    /// Brings a scene into the adapter's form: packs its arrays and builds its
    /// trees.
    ///
    /// # Errors
    /// When it is larger than any adapter could hold.
    pub fn prepare(&self, scene: &Scene) -> Result<PreparedScene, RenderError> {
        PreparedScene::new(&self.engine, scene)
    }

    /// Keeps a prepared scene on disk for [`Renderer::recall`], in the background,
    /// where there is a cache and it took time to prepare.
    pub fn keep(&self, digest: BlobDigest, scene: &PreparedScene) {
        if let Some(cache) = &self.cache {
            scene.keep(cache, &self.engine, digest);
        }
    }

    /// Brings a prepared scene into the adapter's memory.
    ///
    /// # Errors
    /// When it does not fit, with both sizes, or was prepared for an adapter of
    /// another kind.
    pub fn upload(&self, scene: &PreparedScene) -> Result<DeviceScene, RenderError> {
        DeviceScene::upload(&self.engine, scene)
    }

    /// Prepares and uploads a scene.
    ///
    /// # Errors
    /// When it does not fit, with both sizes.
    pub fn load(&self, scene: &Scene) -> Result<DeviceScene, RenderError> {
        self.upload(&self.prepare(scene)?)
    }

    /// Renders a task: finished pixels where its range is whole, else sums.
    /// `progress` is called after every slice and may stop the work.
    ///
    /// # Errors
    /// Out of memory and a lost device are values; nothing panics.
    pub fn render(
        &self,
        scene: &DeviceScene,
        task: &RenderTask,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<TileImage, RenderError> {
        match self.render_until_stopped(scene, task, progress)? {
            Rendered::Done(image) => Ok(image),
            Rendered::Stopped(_) => Err(RenderError::Stopped),
        }
    }

    /// As [`Renderer::render`], and says what is whole where `progress` stopped it.
    ///
    /// # Errors
    /// Out of memory and a lost device are values; nothing panics.
    pub fn render_until_stopped(
        &self,
        scene: &DeviceScene,
        task: &RenderTask,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Rendered, RenderError> {
        self.render_sliced(scene, task, Slicing::Measured, progress)
    }

    fn render_sliced(
        &self,
        scene: &DeviceScene,
        task: &RenderTask,
        slicing: Slicing,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Rendered, RenderError> {
        let params = scene.params(task)?;
        match (&self.engine, &scene.place) {
            (Engine::Gpu(device), ScenePlace::Gpu { arrays, is_paged, kernels, kept }) => {
                let bindings = device.bindings(*is_paged);
                let scene = dispatch::Bound {
                    device,
                    kernels,
                    bindings,
                    arrays,
                    kept,
                    one_at_a_time: self.one_at_a_time,
                };
                dispatch::render(&scene, params, task, slicing, progress)
            }
            (Engine::Cpu(cpu), ScenePlace::Cpu(form)) => match &**form {
                Form::Cpu(scene) => cpu.render(scene, params, task, slicing, progress),
                Form::Gpu(_) => Err(RenderError::WrongScene),
            },
            _ => Err(RenderError::WrongScene),
        }
    }
}

/// The digest of the shaders that this build renders with; a job is pinned to it.
#[must_use]
pub fn shader_digest() -> BlobDigest {
    BlobDigest(shaders::DIGEST)
}

#[cfg(test)]
mod tests;
