//! (Scene, [`RenderTask`]) to [`TileImage`], on wgpu.

use farm_core::{BlobDigest, RenderTask, TileImage};
use farm_scene::Scene;
use std::ops::ControlFlow;

/// An adapter of this machine.
#[derive(Clone, Debug)]
pub struct AdapterInfo {
    /// Place in [`adapters`].
    pub index: usize,
    /// Name given by the driver.
    pub name: String,
    /// Graphics API: `vulkan`, `metal`, `dx12`.
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
    /// The adapter went away; open the renderer again.
    #[error("the adapter was lost: {0}")]
    DeviceLost(String),
    /// The caller asked to stop.
    #[error("rendering was stopped")]
    Stopped,
}

/// Every adapter that can render, best first.
#[must_use]
pub fn adapters() -> Vec<AdapterInfo> {
    todo!()
}

/// An open adapter.
pub struct Renderer {
    _todo: (),
}

/// A scene in an adapter's memory.
pub struct DeviceScene {
    _todo: (),
}

/// How far a task is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Samples done, of [`RenderTask::samples`].
    pub samples: u64,
}

impl Renderer {
    /// Opens the adapter at `index` of [`adapters`]; `None` takes the best.
    ///
    /// # Errors
    /// When there is none, or it refuses a device.
    pub fn open(index: Option<usize>) -> Result<Self, RenderError> {
        let _ = index;
        todo!()
    }

    /// The adapter.
    #[must_use]
    pub fn adapter(&self) -> &AdapterInfo {
        todo!()
    }

    /// Hash of vendor, device, driver, backend, shader digest and the bits of a
    /// probe render: renderers of one class give equal bits.
    ///
    /// # Errors
    /// When the probe cannot be rendered.
    pub fn numeric_class(&self) -> Result<BlobDigest, RenderError> {
        todo!()
    }

    /// Builds the acceleration structures and uploads a scene.
    ///
    /// # Errors
    /// When it does not fit, with both sizes.
    pub fn upload(&self, scene: &Scene) -> Result<DeviceScene, RenderError> {
        let _ = scene;
        todo!()
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
        let _ = (scene, task, progress);
        todo!()
    }
}

/// The digest of the shaders that this build renders with; a job is pinned to it.
#[must_use]
pub fn shader_digest() -> BlobDigest {
    BlobDigest(shaders::DIGEST)
}
