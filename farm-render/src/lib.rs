//! (Scene, [`RenderTask`]) to [`TileImage`], on wgpu or on the processor.
//!
//! The shading is the WGSL of the `shaders` crate; here is what surrounds it:
//! `pack` turns a scene into the arrays that the kernel reads (`bvh`, `texture`,
//! `light`, `sky` and `tables` each have their part), `upload` puts them on an
//! adapter, `dispatch` runs the kernel in slices there, `cpu` its native version on
//! threads, and `film` sums what comes back
//! along the fixed tree. The picture's bits depend on the scene, the task and
//! the adapter's numeric class alone.
//!
//! Calls block the thread that makes them, for as long as the device works.

#![cfg_attr(test, expect(clippy::duplicate_mod, reason = "the tests run on every backend"))]

mod adapter;
mod alias;
mod bvh;
mod class;
mod cpu;
mod device;
mod dispatch;
mod film;
mod geometry;
mod layout;
mod light;
mod pack;
mod sky;
mod tables;
mod texture;
mod upload;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use farm_core::{BlobDigest, RenderTask, TileImage};
use farm_scene::Scene;

use adapter::Hardware;
use cpu::Cpu;
use device::{Checks, Device};
use dispatch::Slicing;
use shaders::native::Width;
use upload::ScenePlace;

pub use upload::{DeviceScene, UploadTimes};

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
    /// Largest storage buffer binding, in bytes.
    pub max_binding_bytes: u64,
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

/// An open adapter.
///
/// After [`RenderError::DeviceLost`] every call fails alike and opening anew is
/// what helps; after [`RenderError::OutOfMemory`] it can go on.
#[derive(Debug)]
pub struct Renderer {
    info: AdapterInfo,
    engine: Engine,
    class: OnceLock<BlobDigest>,
}

/// What renders.
#[derive(Debug)]
enum Engine {
    /// The kernel on a device of a graphics API.
    Gpu(Box<Device>),
    /// The kernel's native version on threads.
    Cpu(Cpu),
}

impl Engine {
    /// What the numeric class depends on besides shaders and bits.
    fn identity(&self) -> &str {
        match self {
            Self::Gpu(device) => &device.identity,
            // Every processor computes alike.
            Self::Cpu(_) => "native",
        }
    }
}

/// How far a task is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Samples done, of [`RenderTask::samples`].
    pub samples: u64,
}

impl Renderer {
    /// Opens the adapter at `index` of [`adapters`]; `None` takes the best. Where
    /// that is the processor, so many `threads` of it; `None` takes all.
    ///
    /// # Errors
    /// When there is none, or it refuses a device.
    pub fn open(index: Option<usize>, threads: Option<NonZeroUsize>) -> Result<Self, RenderError> {
        let found = adapter::enumerate().into_iter().nth(index.unwrap_or(0)).ok_or(RenderError::NoAdapter)?;
        match found.hardware {
            Hardware::Gpu(adapter) => Self::open_gpu(found.info, &adapter, Checks::of_this_build()),
            Hardware::Cpu => Self::open_cpu(found.info, threads, Width::widest()),
        }
    }

    fn open_gpu(info: AdapterInfo, adapter: &wgpu::Adapter, checks: Checks) -> Result<Self, RenderError> {
        let device = Device::open(adapter, checks)?;
        tracing::debug!(adapter = info.name, driver = info.driver, "adapter opened");
        Ok(Self { info, engine: Engine::Gpu(Box::new(device)), class: OnceLock::new() })
    }

    fn open_cpu(info: AdapterInfo, threads: Option<NonZeroUsize>, width: Width) -> Result<Self, RenderError> {
        let threads = threads.unwrap_or_else(cpu::all_threads);
        let info = cpu::describe(info.index, threads, width);
        tracing::debug!(processor = info.name, driver = info.driver, "processor opened");
        Ok(Self { info, engine: Engine::Cpu(Cpu::open(threads, width)?), class: OnceLock::new() })
    }

    /// The adapter.
    #[must_use]
    pub fn adapter(&self) -> &AdapterInfo {
        &self.info
    }

    /// Hash of vendor, device, driver, backend, shader digest and the bits of a
    /// probe render: renderers of one class give equal bits. The probe is
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

    /// Builds the acceleration structures and uploads a scene.
    ///
    /// # Errors
    /// When it does not fit, with both sizes.
    pub fn upload(&self, scene: &Scene) -> Result<DeviceScene, RenderError> {
        DeviceScene::upload(&self.engine, scene)
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
        self.render_sliced(scene, task, Slicing::Measured, progress)
    }

    fn render_sliced(
        &self,
        scene: &DeviceScene,
        task: &RenderTask,
        slicing: Slicing,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<TileImage, RenderError> {
        let params = scene.params(task)?;
        match (&self.engine, &scene.place) {
            (Engine::Gpu(device), ScenePlace::Gpu(buffers)) => {
                dispatch::render(device, buffers, params, task, slicing, progress)
            }
            (Engine::Cpu(cpu), ScenePlace::Cpu(scene)) => cpu.render(scene, params, task, slicing, progress),
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
