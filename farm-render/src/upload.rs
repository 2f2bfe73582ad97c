//! A scene in an adapter's memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytemuck::{NoUninit, Zeroable};
use farm_core::{RenderSettings, RenderTask};
use farm_scene::{Camera, Projection};

use crate::device::{Device, Kernels, TEXEL_BYTES};
use crate::dispatch::Kept;
use crate::layout::{NONE, Params, SCENE_BUFFERS};
use crate::pack::{PackedScene, camera_vectors, camera_words, to_f32, word_index};
use crate::prepared::{Form, PreparedScene};
use crate::tables;
use crate::{Engine, RenderError};

/// A scene in an adapter's memory.
#[derive(Debug)]
pub struct DeviceScene {
    pub(crate) place: ScenePlace,
    params: Params,
    cameras: Arc<[Camera]>,
    bytes: u64,
    upload_time: Duration,
}

/// Where a scene's arrays are.
#[derive(Debug)]
pub(crate) enum ScenePlace {
    /// In the order of their bindings from 2 on, with the kernels for what it has.
    Gpu {
        /// The arrays.
        arrays: Vec<Array>,
        /// The kernels.
        kernels: Arc<Kernels>,
        /// What its tasks leave to each other.
        kept: Kept,
    },
    /// Where they were prepared.
    Cpu(Arc<Form>),
}

/// An array in an adapter's memory.
#[derive(Debug)]
pub(crate) enum Array {
    Buffer(wgpu::Buffer),
    Image(wgpu::TextureView),
}

impl Array {
    pub(crate) fn binding(&self) -> wgpu::BindingResource<'_> {
        match self {
            Self::Buffer(buffer) => buffer.as_entire_binding(),
            Self::Image(view) => wgpu::BindingResource::TextureView(view),
        }
    }
}

impl DeviceScene {
    /// Uploads a scene.
    pub(crate) fn upload(engine: &Engine, scene: &PreparedScene) -> Result<Self, RenderError> {
        let began = Instant::now();
        let (place, bytes) = match (engine, &*scene.form) {
            (Engine::Gpu(device), Form::Gpu(packed)) => upload_arrays(device, packed)?,
            (Engine::Cpu(_), Form::Cpu(cpu)) => (ScenePlace::Cpu(Arc::clone(&scene.form)), cpu.bytes()),
            _ => return Err(RenderError::WrongScene),
        };
        let cameras = Arc::clone(&scene.cameras);
        Ok(Self { place, params: scene.params(), cameras, bytes, upload_time: began.elapsed() })
    }

    /// Bytes that the scene takes on the adapter.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How long it took to copy it there.
    #[must_use]
    pub fn upload_time(&self) -> Duration {
        self.upload_time
    }

    /// The parameters of a task's dispatches, but for the number of records.
    pub(crate) fn params(&self, task: &RenderTask) -> Result<Params, RenderError> {
        let RenderSettings { samples_per_pixel, seed, max_depth, filter, camera, transparent } =
            task.settings;
        let count = self.cameras.len();
        let found = usize::try_from(camera).ok().and_then(|index| Some((index, self.cameras.get(index)?)));
        let (index, camera) = found.ok_or(RenderError::NoCamera { index: camera, count })?;
        let (filter_kind, filter_table) = tables::filter(filter);
        let mut params = Params {
            width: task.resolution.width,
            height: task.resolution.height,
            seed,
            frame: task.frame.0,
            samples_per_pixel,
            max_depth,
            filter_kind,
            filter_table,
            transparent: transparent.into(),
            ..self.params
        };
        if params.camera_keys != NONE {
            params.camera_keys += word_index(index) * camera_words(params.motion_parts);
        }
        aim(&mut params, camera);
        Ok(params)
    }
}

/// Uploads everything; returns the bytes that it takes too.
fn upload_arrays(device: &Device, packed: &PackedScene) -> Result<(ScenePlace, u64), RenderError> {
    let sizes = check_sizes(packed, device.max_binding_bytes())?;
    let mut names = SCENE_BUFFERS.iter().map(|(name, _)| *name);
    let mut name = || names.next().unwrap_or("the scene");
    let arrays = vec![
        upload_tree_array(device, name(), &packed.nodes)?,
        upload_tree_array(device, name(), &packed.triangles)?,
        upload_array(device, name(), &packed.attributes)?,
        upload_array(device, name(), &packed.instances)?,
        upload_array(device, name(), &packed.materials)?,
        upload_array(device, name(), &packed.lights)?,
        upload_array(device, name(), &packed.texels)?,
    ];
    let bytes = sizes.iter().sum();
    tracing::debug!(
        bytes,
        nodes = packed.nodes.len(),
        triangles = packed.triangles.len(),
        instances = packed.instances.len(),
        lights = packed.lights.len(),
        "scene uploaded"
    );
    let kernels = device.kernels_for(packed.features())?;
    Ok((ScenePlace::Gpu { arrays, kernels, kept: Kept::default() }, bytes))
}

/// Bytes of each scene buffer; an error where one is more than the adapter can
/// bind. An empty array takes one element.
fn check_sizes(packed: &PackedScene, available: u64) -> Result<[u64; 7], RenderError> {
    let counts = [
        packed.nodes.len(),
        packed.triangles.len(),
        packed.attributes.len(),
        packed.instances.len(),
        packed.materials.len(),
        packed.lights.len(),
        packed.texels.len(),
    ];
    let mut sizes = [0; 7];
    for ((size, count), (what, element)) in sizes.iter_mut().zip(counts).zip(SCENE_BUFFERS) {
        *size = u64::try_from(count.max(1)).unwrap_or(u64::MAX).saturating_mul(element);
        if *size > available {
            return Err(RenderError::OutOfMemory { what: what.to_owned(), needed: *size, available });
        }
    }
    Ok(sizes)
}

fn upload_array<T: NoUninit + Zeroable>(
    device: &Device,
    what: &str,
    values: &[T],
) -> Result<Array, RenderError> {
    let buffer = if values.is_empty() {
        device.storage_with(what, bytemuck::bytes_of(&T::zeroed()))
    } else {
        device.storage_with(what, bytemuck::cast_slice(values))
    };
    buffer.map(Array::Buffer)
}

/// Uploads nodes or triangles to where the device's kernels read them.
fn upload_tree_array<T: NoUninit + Zeroable>(
    device: &Device,
    what: &str,
    values: &[T],
) -> Result<Array, RenderError> {
    if !device.reads_images() {
        return upload_array(device, what, values);
    }
    let width = word_index(size_of::<T>() / TEXEL_BYTES) * shaders::IMAGE_ROW;
    device.image_with(what, width, bytemuck::cast_slice(values)).map(Array::Image)
}

/// Sets the camera's axes and extents.
fn aim(params: &mut Params, camera: &Camera) {
    #[expect(clippy::cast_precision_loss, reason = "frames are at most 32,768 pixels wide")]
    let aspect = params.width as f32 / params.height as f32;
    let (half_height, perspective, lens_radius, focus_distance) = match camera.projection {
        Projection::Perspective { vertical_fov, lens } => {
            let half_height = to_f32((f64::from(vertical_fov) * 0.5).tan());
            let (radius, distance) =
                lens.map_or((0.0, 0.0), |lens| (lens.radius(vertical_fov), lens.focus_distance));
            (half_height, 1.0, radius, distance)
        }
        Projection::Orthographic { half_height } => (half_height, 0.0, 0.0, 0.0),
    };
    let [right, up, back, position] = camera_vectors(&camera.transform);
    let with = |[x, y, z]: [f32; 3], w: f32| [x, y, z, w];
    params.camera_right = with(right, half_height * aspect);
    params.camera_up = with(up, half_height);
    params.camera_back = with(back, perspective);
    params.camera_position = with(position, lens_radius);
    params.focus_distance = focus_distance;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::probe_scene;

    #[test]
    fn a_scene_too_large_for_the_adapter_is_refused_with_both_sizes() {
        let packed = crate::pack::pack(&probe_scene()).expect("the probe is small");
        let sizes = check_sizes(&packed, u64::MAX).expect("it fits");
        let largest = sizes.iter().copied().max().unwrap_or(0);
        assert!(check_sizes(&packed, largest).is_ok());
        let Err(RenderError::OutOfMemory { needed, available, .. }) = check_sizes(&packed, largest - 1)
        else {
            panic!("it does not fit");
        };
        assert_eq!((needed, available), (largest, largest - 1));
    }
}
