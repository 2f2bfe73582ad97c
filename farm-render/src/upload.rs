//! A scene in an adapter's memory.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytemuck::{NoUninit, Zeroable};
use farm_core::{RenderSettings, RenderTask};
use farm_scene::{Camera, Projection};

use crate::device::{Device, Kernels, TEXEL_BYTES};
use crate::dispatch::Kept;
use crate::layout::{NONE, Params, SCENE_BUFFERS};
use crate::memory;
use crate::pack::{PackedScene, camera_vectors, camera_words, to_f32, word_index};
use crate::pages::{self, Bindings, Paging, Room, lay_out};
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
    /// On the device, with the kernels for what it has.
    Gpu {
        /// The arrays, by their bindings.
        arrays: Vec<(u32, Array)>,
        /// Whether some are in pages.
        is_paged: bool,
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

    /// Uploads a scene to a graphics adapter in the smallest pages.
    #[cfg(test)]
    pub(crate) fn upload_in_smallest_pages(
        device: &Device,
        scene: &PreparedScene,
    ) -> Result<Self, RenderError> {
        let Form::Gpu(packed) = &*scene.form else { return Err(RenderError::WrongScene) };
        let paging = Paging::tightest(counts(packed));
        let (place, bytes) = upload_in_pages(device, packed, Some(paging))?;
        let cameras = Arc::clone(&scene.cameras);
        Ok(Self { place, params: scene.params(), cameras, bytes, upload_time: Duration::ZERO })
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
        task_params(self.params, &self.cameras, task)
    }
}

/// What holds for a task of a scene, but for the number of records.
pub(crate) fn task_params(
    scene: Params,
    cameras: &[Camera],
    task: &RenderTask,
) -> Result<Params, RenderError> {
    let RenderSettings { samples_per_pixel, seed, max_depth, filter, camera, transparent, film } =
        task.settings;
    let count = cameras.len();
    let found = usize::try_from(camera).ok().and_then(|index| Some((index, cameras.get(index)?)));
    let (index, camera) = found.ok_or(RenderError::NoCamera { index: camera, count })?;
    let (filter_kind, filter_table) = tables::filter(filter);
    let mut params = Params {
        width: task.resolution.width,
        height: task.resolution.height,
        seed,
        frame: task.frame.0,
        samples_per_pixel,
        item_samples: farm_core::BASE_BLOCK_SAMPLES,
        max_depth,
        filter_kind,
        filter_table,
        transparent: transparent.into(),
        exposure: film.exposure_factor(),
        clamp_direct: bound(film.clamp_direct_milli),
        clamp_indirect: bound(film.clamp_indirect_milli),
        ..scene
    };
    if params.camera_keys != NONE {
        params.camera_keys += word_index(index) * camera_words(params.motion_parts);
    }
    aim(&mut params, camera);
    Ok(params)
}

/// The bound of a clamp as the kernel reads it.
fn bound(milli: Option<NonZeroU32>) -> f32 {
    milli.map_or(f32::MAX, |milli| to_f32(f64::from(milli.get()) / 1000.0))
}

/// Uploads everything; returns the bytes that it takes too.
fn upload_arrays(device: &Device, packed: &PackedScene) -> Result<(ScenePlace, u64), RenderError> {
    let room = Room {
        binding: device.max_binding_bytes(),
        can_page: device.can_page(),
        image_rows: device.reads_images().then_some(device.limits.max_texture_dimension_2d),
    };
    let paging = lay_out(counts(packed), &room)?;
    upload_in_pages(device, packed, paging)
}

/// Uploads everything, as `paging` lays it out.
fn upload_in_pages(
    device: &Device,
    packed: &PackedScene,
    paging: Option<Paging>,
) -> Result<(ScenePlace, u64), RenderError> {
    let sizes = counts(packed).into_iter().zip(SCENE_BUFFERS);
    let bytes = sizes.map(|(count, (_, element))| count.max(1) * element).sum();
    if device.kind == wgpu::DeviceType::Cpu {
        memory::check("the scene's copy for the driver", bytes)?;
    }
    let mut upload = Upload { device, paging, arrays: Vec::new() };
    upload.add(0, &packed.nodes)?;
    upload.add(1, &packed.triangles)?;
    upload.add(2, &packed.attributes)?;
    upload.add(3, &packed.instances)?;
    upload.add(4, &packed.materials)?;
    upload.add(5, &packed.lights)?;
    upload.add(6, &packed.texels)?;
    let arrays = upload.arrays;
    tracing::debug!(
        bytes,
        ?paging,
        nodes = packed.nodes.len(),
        triangles = packed.triangles.len(),
        instances = packed.instances.len(),
        lights = packed.lights.len(),
        "scene uploaded"
    );
    let kernels = device.kernels_for(packed.features(), paging)?;
    Ok((ScenePlace::Gpu { arrays, is_paged: paging.is_some(), kernels, kept: Kept::default() }, bytes))
}

/// Elements of each array, in the order of [`SCENE_BUFFERS`].
fn counts(packed: &PackedScene) -> [u64; SCENE_BUFFERS.len()] {
    [
        packed.nodes.len(),
        packed.triangles.len(),
        packed.attributes.len(),
        packed.instances.len(),
        packed.materials.len(),
        packed.lights.len(),
        packed.texels.len(),
    ]
    .map(|count| u64::try_from(count).unwrap_or(u64::MAX))
}

/// A scene's arrays on their way to a device.
struct Upload<'a> {
    device: &'a Device,
    paging: Option<Paging>,
    /// By their bindings.
    arrays: Vec<(u32, Array)>,
}

impl Upload<'_> {
    /// Uploads an array, by its place in [`SCENE_BUFFERS`], to where the device's
    /// kernels read it.
    fn add<T: NoUninit + Zeroable>(&mut self, array: usize, values: &[T]) -> Result<(), RenderError> {
        let (device, what) = (self.device, SCENE_BUFFERS[array].0);
        match pages::bindings(array, device.reads_images(), self.paging.is_some()) {
            Bindings::Image(binding) => {
                let width = word_index(size_of::<T>() / TEXEL_BYTES) * shaders::IMAGE_ROW;
                let image = device.image_with(what, width, bytemuck::cast_slice(values))?;
                self.arrays.push((binding, Array::Image(image)));
            }
            Bindings::Buffers(bindings) => {
                let page = self.paging.and_then(|paging| paging.page_elements(array));
                let page = page.map_or(usize::MAX, |page| usize::try_from(page).unwrap_or(usize::MAX));
                let mut pages = values.chunks(page);
                for binding in bindings {
                    self.arrays.push((binding, upload_array(device, what, pages.next().unwrap_or(&[]))?));
                }
            }
        }
        Ok(())
    }
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
