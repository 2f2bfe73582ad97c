//! An open device: the kernel's pipeline, and errors as values.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::RenderError;
use crate::disk_cache::{DiskCache, Input, Key, write_array};
use crate::layout::{Params, Record, SCENE_BUFFERS};
use crate::pack::{Features, word_index};
use crate::pages::{self, Bindings, Paging};

/// Bytes of the wavefront's two counters.
pub(crate) const PROGRESS_BYTES: u64 = 8;

/// How much of the kernel the driver is made to check while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checks {
    /// Every index and loop.
    All,
    /// None, but loops on software adapters.
    Least,
}

impl Checks {
    /// All in debug builds, least in release builds.
    pub(crate) fn of_this_build() -> Self {
        if cfg!(debug_assertions) { Self::All } else { Self::Least }
    }

    fn of_runtime(self, kind: wgpu::DeviceType) -> wgpu::ShaderRuntimeChecks {
        match self {
            Self::All => wgpu::ShaderRuntimeChecks::checked(),
            // Mesa 22.3's software adapter renders wrong images where a path
            // begins anew inside a loop that nothing bounds.
            Self::Least => wgpu::ShaderRuntimeChecks {
                force_loop_bounding: kind == wgpu::DeviceType::Cpu,
                ..wgpu::ShaderRuntimeChecks::unchecked()
            },
        }
    }
}

/// What went wrong outside any call that could have said so.
#[derive(Clone, Debug)]
enum Fault {
    OutOfMemory,
    Lost(String),
}

/// The first fault of a device. Nothing that waits for the device goes on
/// without asking here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Mutex<Option<Fault>>>);

impl Faults {
    fn note(&self, fault: Fault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
    }

    /// The fault as an error; a lack of memory is forgotten, a lost device
    /// stays lost.
    fn take(&self, what: &str, needed: u64, available: u64) -> Result<(), RenderError> {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match first.clone() {
            None => Ok(()),
            Some(Fault::Lost(reason)) => Err(RenderError::DeviceLost(reason)),
            Some(Fault::OutOfMemory) => {
                *first = None;
                Err(RenderError::OutOfMemory { what: what.to_owned(), needed, available })
            }
        }
    }
}

/// How the path tracer is cut into kernels. Both give the same picture; which is
/// faster depends on the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// One kernel that does everything.
    Megakernel,
    /// Kernels for tracing and for shading, in turns.
    Wavefront,
}

impl Variant {
    /// Every variant.
    pub const ALL: [Self; 2] = [Self::Megakernel, Self::Wavefront];

    /// Its name, for people and for keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Megakernel => "megakernel",
            Self::Wavefront => "wavefront",
        }
    }
}

/// The compiled kernels.
#[derive(Debug)]
pub(crate) enum Kernels {
    /// `main.wgsl`.
    Megakernel(wgpu::ComputePipeline),
    /// `wavefront.wgsl`.
    Wavefront(Box<Wavefront>),
}

/// The kernels of `wavefront.wgsl`.
#[derive(Debug)]
pub(crate) struct Wavefront {
    pub(crate) begin: wgpu::ComputePipeline,
    pub(crate) trace: wgpu::ComputePipeline,
    pub(crate) advance: wgpu::ComputePipeline,
}

/// The text of the kernels on a device, and the layout of what they bind.
#[derive(Debug)]
struct Program {
    module: wgpu::ShaderModule,
    /// Layout of the scene's arrays and its records.
    bindings: wgpu::BindGroupLayout,
}

/// Kernels by what the scenes have that they are compiled for, and by how those lie.
type CompiledKernels = HashMap<(Features, Option<Paging>), Arc<Kernels>>;

/// A device and the kernels on it.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) wgpu: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    /// The kernels' text for scenes whose arrays are in one binding each.
    whole: Program,
    /// The same for scenes with arrays in pages, once there was one.
    paged: OnceLock<Program>,
    checks: wgpu::ShaderRuntimeChecks,
    /// Layout of the wavefront's own buffers.
    pub(crate) slots: wgpu::BindGroupLayout,
    pub(crate) limits: wgpu::Limits,
    pub(crate) kind: wgpu::DeviceType,
    pub(crate) variant: Variant,
    /// The kernels that were compiled so far.
    kernels: Mutex<CompiledKernels>,
    cache: Option<Arc<DiskCache>>,
    info: wgpu::AdapterInfo,
    /// Vendor, device, driver, backend and variant, for the numeric class.
    pub(crate) identity: String,
    faults: Faults,
}

/// Bytes of a texel of the images.
pub(crate) const TEXEL_BYTES: usize = 16;

/// Bytes of a scene that are on their way to the device at once, besides where they
/// come from: a buffer has all of its own on the way.
const STAGED_BYTES: u64 = 1 << 26;

/// Storage buffers that a variant binds.
const MEGAKERNEL_BUFFERS: u32 = 8;
const WAVEFRONT_BUFFERS: u32 = 12;

/// Whether an adapter can run the kernels of a variant.
pub(crate) fn can_run(adapter: &wgpu::Adapter, variant: Variant) -> bool {
    let buffers = match variant {
        Variant::Megakernel => MEGAKERNEL_BUFFERS,
        Variant::Wavefront => WAVEFRONT_BUFFERS,
    };
    let limits = adapter.limits();
    limits.max_storage_buffers_per_shader_stage >= buffers
        && limits.max_compute_invocations_per_workgroup >= shaders::WORKGROUP_SIZE
}

/// What tells an adapter from others: vendor, device, driver and backend.
pub(crate) fn identity_of(info: &wgpu::AdapterInfo) -> String {
    format!(
        "{:x}:{:x} {} {} {} {}",
        info.vendor, info.device, info.name, info.driver, info.driver_info, info.backend
    )
}

impl Device {
    /// Opens an adapter with all that it has to offer; with a `cache`, kernels are
    /// compiled from what the driver made of them before.
    pub(crate) fn open(
        adapter: &wgpu::Adapter,
        checks: Checks,
        variant: Variant,
        cache: Option<&Arc<DiskCache>>,
    ) -> Result<Self, RenderError> {
        let info = adapter.get_info();
        let limits = adapter.limits();
        let request = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("tessera"),
            required_features: adapter.features() & wgpu::Features::PIPELINE_CACHE,
            required_limits: limits.clone(),
            memory_hints: wgpu::MemoryHints::Performance,
            ..wgpu::DeviceDescriptor::default()
        });
        let (wgpu, queue) =
            pollster::block_on(request).map_err(|error| RenderError::DeviceLost(error.to_string()))?;
        let faults = Faults::default();
        watch(&wgpu, &faults);
        let images = reads_images(info.device_type, variant);
        let checks = checks.of_runtime(info.device_type);
        let device = Self {
            whole: Program::new(&wgpu, variant, images, false, checks),
            paged: OnceLock::new(),
            checks,
            slots: slot_layout(&wgpu),
            wgpu,
            queue,
            limits,
            kind: info.device_type,
            variant,
            kernels: Mutex::default(),
            cache: cache.cloned(),
            identity: format!("{} {}", identity_of(&info), variant.name()),
            info,
            faults,
        };
        device.check("the kernel", 0)?;
        Ok(device)
    }

    fn program(&self, is_paged: bool) -> &Program {
        if !is_paged {
            return &self.whole;
        }
        let images = self.reads_images();
        self.paged.get_or_init(|| Program::new(&self.wgpu, self.variant, images, true, self.checks))
    }

    /// Layout of a scene's arrays and its records.
    pub(crate) fn bindings(&self, is_paged: bool) -> &wgpu::BindGroupLayout {
        &self.program(is_paged).bindings
    }

    /// Whether it has the bindings for arrays in pages.
    pub(crate) fn can_page(&self) -> bool {
        let (unpaged, paged) = match self.variant {
            Variant::Megakernel if self.reads_images() => (MEGAKERNEL_BUFFERS - 4, 2),
            Variant::Megakernel => (MEGAKERNEL_BUFFERS - 4, 4),
            Variant::Wavefront => (WAVEFRONT_BUFFERS - 4, 4),
        };
        self.limits.max_storage_buffers_per_shader_stage >= unpaged + paged * shaders::PAGES
    }

    /// The kernels for a scene that has these features and lies in such pages.
    pub(crate) fn kernels_for(
        &self,
        features: Features,
        paging: Option<Paging>,
    ) -> Result<Arc<Kernels>, RenderError> {
        let mut known = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernels) = known.get(&(features, paging)) {
            return Ok(Arc::clone(kernels));
        }
        let pipelines = PipelineCache::open(self, features, paging);
        let mut constants = features.constants().to_vec();
        constants.extend(paging.iter().flat_map(|paging| paging.constants(self.reads_images())));
        let program = self.program(paging.is_some());
        let compile = |name: &str, layouts: &[Option<&wgpu::BindGroupLayout>]| {
            self.pipeline(&program.module, name, layouts, &constants, pipelines.as_ref())
        };
        let kernels = match self.variant {
            Variant::Megakernel => {
                Kernels::Megakernel(compile(shaders::ENTRY_POINT, &[Some(&program.bindings)]))
            }
            Variant::Wavefront => {
                let layouts = [Some(&program.bindings), Some(&self.slots)];
                let [begin, trace, advance] =
                    ["begin_works", "trace_rays", "advance_works"].map(|name| compile(name, &layouts));
                Kernels::Wavefront(Box::new(Wavefront { begin, trace, advance }))
            }
        };
        self.check("the kernel", 0)?;
        if let Some(pipelines) = pipelines {
            pipelines.keep();
        }
        let kernels = Arc::new(kernels);
        known.insert((features, paging), Arc::clone(&kernels));
        Ok(kernels)
    }

    fn pipeline(
        &self,
        module: &wgpu::ShaderModule,
        entry_point: &str,
        layouts: &[Option<&wgpu::BindGroupLayout>],
        constants: &[(&str, f64)],
        cache: Option<&PipelineCache>,
    ) -> wgpu::ComputePipeline {
        let layout = self.wgpu.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("path tracer"),
            bind_group_layouts: layouts,
            immediate_size: 0,
        });
        self.wgpu.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry_point),
            layout: Some(&layout),
            module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants,
                zero_initialize_workgroup_memory: false,
            },
            cache: cache.map(|cache| &cache.pipelines),
        })
    }

    /// Whether the device is still there, and had the memory for `what`.
    pub(crate) fn check(&self, what: &str, needed: u64) -> Result<(), RenderError> {
        self.faults.take(what, needed, self.limits.max_buffer_size)
    }

    /// Notes that the device cannot be relied on any more.
    pub(crate) fn lose(&self, reason: impl Into<String>) -> RenderError {
        let reason = reason.into();
        self.faults.note(Fault::Lost(reason.clone()));
        RenderError::DeviceLost(reason)
    }

    /// Bytes that one storage buffer may have.
    pub(crate) fn max_binding_bytes(&self) -> u64 {
        self.limits.max_storage_buffer_binding_size.min(self.limits.max_buffer_size)
    }

    /// Creates a buffer; lack of memory is an error that names `what`.
    pub(crate) fn buffer(
        &self,
        what: &str,
        size: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, RenderError> {
        let descriptor = wgpu::BufferDescriptor { label: Some(what), size, usage, mapped_at_creation: false };
        let buffer = self.wgpu.create_buffer(&descriptor);
        self.check(what, size)?;
        Ok(buffer)
    }

    /// Whether its kernels read nodes and triangles from images.
    pub(crate) fn reads_images(&self) -> bool {
        reads_images(self.kind, self.variant)
    }

    /// Creates a storage image that holds `bytes` in rows of so many texels of 16
    /// bytes.
    pub(crate) fn image_with(
        &self,
        what: &str,
        width: u32,
        bytes: &[u8],
    ) -> Result<wgpu::TextureView, RenderError> {
        let row = u64::from(width) * TEXEL_BYTES as u64;
        let needed = (bytes.len() as u64).next_multiple_of(row).max(row);
        let available = row * u64::from(self.limits.max_texture_dimension_2d);
        if needed > available {
            return Err(RenderError::OutOfMemory { what: what.to_owned(), needed, available });
        }
        let height = u32::try_from(needed / row).unwrap_or(u32::MAX);
        let image = self.wgpu.create_texture(&wgpu::TextureDescriptor {
            label: Some(what),
            size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba32Uint,
            usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        });
        self.check(what, needed)?;
        let rows = (STAGED_BYTES / row).max(1);
        let slice_bytes = usize::try_from(rows * row).unwrap_or(usize::MAX);
        for (y, slice) in
            (0..).step_by(usize::try_from(rows).unwrap_or(usize::MAX)).zip(bytes.chunks(slice_bytes))
        {
            self.write_rows(&image, y, row, slice);
            self.drain()?;
            self.check(what, needed)?;
        }
        Ok(image.create_view(&wgpu::TextureViewDescriptor::default()))
    }

    /// Writes rows of an image from row `y` on; the last is padded.
    fn write_rows(&self, image: &wgpu::Texture, y: u32, row: u64, bytes: &[u8]) {
        let row = usize::try_from(row).unwrap_or(usize::MAX);
        let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % row);
        let mut padded = rest.to_vec();
        padded.resize(if rest.is_empty() { 0 } else { row }, 0);
        let after = y + word_index(whole.len() / row);
        for (y, rows) in [(y, whole), (after, &padded)] {
            if rows.is_empty() {
                continue;
            }
            let mut place = image.as_image_copy();
            place.origin.y = y;
            let layout = wgpu::TexelCopyBufferLayout {
                offset: 0,
                bytes_per_row: u32::try_from(row).ok(),
                rows_per_image: None,
            };
            let height = word_index(rows.len() / row);
            self.queue.write_texture(place, rows, layout, wgpu::Extent3d { height, ..image.size() });
        }
    }

    /// Waits until what was written has arrived, so that its copy is let go.
    fn drain(&self) -> Result<(), RenderError> {
        self.queue.submit([]);
        let polled = self.wgpu.poll(wgpu::PollType::wait_indefinitely());
        polled.map(|_| ()).map_err(|error| self.lose(error.to_string()))
    }

    /// Creates a storage buffer that holds `bytes`, whose size is a positive
    /// multiple of 4.
    pub(crate) fn storage_with(&self, what: &str, bytes: &[u8]) -> Result<wgpu::Buffer, RenderError> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let available = self.max_binding_bytes();
        if size > available {
            return Err(RenderError::OutOfMemory { what: what.to_owned(), needed: size, available });
        }
        let buffer = self.wgpu.create_buffer(&wgpu::BufferDescriptor {
            label: Some(what),
            size,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: true,
        });
        self.check(what, size)?;
        match buffer.get_mapped_range_mut(..) {
            Ok(mut view) => view.copy_from_slice(bytes),
            Err(error) => return Err(self.lose(error.to_string())),
        }
        buffer.unmap();
        if size >= STAGED_BYTES {
            self.drain()?;
        }
        self.check(what, size)?;
        Ok(buffer)
    }
}

/// Turns what wgpu would panic on into faults.
fn watch(device: &wgpu::Device, faults: &Faults) {
    let on_error = faults.clone();
    device.on_uncaptured_error(Arc::new(move |error| {
        tracing::warn!(%error, "the device reported an error");
        on_error.note(match error {
            wgpu::Error::OutOfMemory { .. } => Fault::OutOfMemory,
            other => Fault::Lost(other.to_string()),
        });
    }));
    let on_loss = faults.clone();
    device.set_device_lost_callback(move |reason, message| {
        if reason != wgpu::DeviceLostReason::Destroyed {
            on_loss.note(Fault::Lost(message));
        }
    });
}

/// Drivers that are programs on the processor read images for all lanes at once,
/// and buffers for one after the other.
fn reads_images(kind: wgpu::DeviceType, variant: Variant) -> bool {
    kind == wgpu::DeviceType::Cpu && variant == Variant::Megakernel
}

impl Program {
    fn new(
        device: &wgpu::Device,
        variant: Variant,
        images: bool,
        paged: bool,
        checks: wgpu::ShaderRuntimeChecks,
    ) -> Self {
        let module = compile(device, variant, images, paged, checks);
        Self { module, bindings: bind_group_layout(device, images, paged) }
    }
}

fn bind_group_layout(device: &wgpu::Device, images: bool, paged: bool) -> wgpu::BindGroupLayout {
    let entry = |binding: u32, ty: wgpu::BufferBindingType, size: u64| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: false,
            min_binding_size: std::num::NonZeroU64::new(size),
        },
        count: None,
    };
    let mut entries = vec![
        entry(0, wgpu::BufferBindingType::Uniform, size_of::<Params>() as u64),
        entry(1, wgpu::BufferBindingType::Storage { read_only: false }, size_of::<Record>() as u64),
    ];
    let scene =
        |binding, element| entry(binding, wgpu::BufferBindingType::Storage { read_only: true }, element);
    for (array, (_, element)) in SCENE_BUFFERS.into_iter().enumerate() {
        match pages::bindings(array, images, paged) {
            Bindings::Image(binding) => {
                let ty = wgpu::BindingType::StorageTexture {
                    access: wgpu::StorageTextureAccess::ReadOnly,
                    format: wgpu::TextureFormat::Rgba32Uint,
                    view_dimension: wgpu::TextureViewDimension::D2,
                };
                entries.push(wgpu::BindGroupLayoutEntry { ty, ..scene(binding, element) });
            }
            Bindings::Buffers(bindings) => {
                entries.extend(bindings.map(|binding| scene(binding, element)));
            }
        }
    }
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("the scene and its records"),
        entries: &entries,
    })
}

/// The layout of the buffers that only the wavefront has.
fn slot_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let entry = |binding: u32, size: u64| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only: false },
            has_dynamic_offset: false,
            min_binding_size: std::num::NonZeroU64::new(size),
        },
        count: None,
    };
    let [works, rays, hits] = shaders::WAVEFRONT_SLOT_BYTES;
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("the wavefront's slots"),
        entries: &[entry(0, works), entry(1, rays), entry(2, hits), entry(3, PROGRESS_BYTES)],
    })
}

#[expect(unsafe_code, reason = "wgpu has no safe way to leave run-time checks out")]
fn compile(
    device: &wgpu::Device,
    variant: Variant,
    images: bool,
    paged: bool,
    checks: wgpu::ShaderRuntimeChecks,
) -> wgpu::ShaderModule {
    let text = match (variant, images, paged) {
        (Variant::Megakernel, true, false) => shaders::PATH_TRACER_IMAGES,
        (Variant::Megakernel, true, true) => shaders::PATH_TRACER_IMAGES_PAGED,
        (Variant::Megakernel, false, false) => shaders::PATH_TRACER,
        (Variant::Megakernel, false, true) => shaders::PATH_TRACER_PAGED,
        (Variant::Wavefront, _, false) => shaders::WAVEFRONT,
        (Variant::Wavefront, _, true) => shaders::WAVEFRONT_PAGED,
    };
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(variant.name()),
        source: wgpu::ShaderSource::Wgsl(text.into()),
    };
    // SAFETY: every loop of the kernels is capped, every divisor is positive,
    // and every index comes from arrays that `pack` filled from a validated
    // scene or is clamped where it is used.
    unsafe { device.create_shader_module_trusted(descriptor, checks) }
}

/// What the driver made of the kernels, kept on disk. Drivers that keep such
/// things by themselves lose nothing by it.
struct PipelineCache {
    pipelines: wgpu::PipelineCache,
    cache: Arc<DiskCache>,
    key: Key,
}

impl PipelineCache {
    /// `None` where there is no cache on disk or the driver offers none.
    #[expect(unsafe_code, reason = "wgpu cannot check what drivers read from a cache")]
    fn open(device: &Device, features: Features, paging: Option<Paging>) -> Option<Self> {
        let cache = device.cache.as_ref()?;
        if !device.wgpu.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let adapter = wgpu::util::pipeline_cache_key(&device.info)?;
        let features = format!("{features:?} {paging:?}");
        let parts = [adapter.as_bytes(), device.identity.as_bytes(), features.as_bytes(), &shaders::DIGEST];
        let key = Key::of("pipelines", &parts);
        let kept: Option<Vec<u8>> = cache.read(key, Input::array);
        // SAFETY: the data is what the same driver returned, which the digest of
        // the entry and the adapter in its key make sure of.
        let pipelines = unsafe {
            device.wgpu.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                label: Some("path tracer"),
                data: kept.as_deref(),
                fallback: true,
            })
        };
        Some(Self { pipelines, cache: Arc::clone(cache), key })
    }

    /// Keeps it for the next time, unless it was there.
    fn keep(self) {
        if let Some(bytes) = self.pipelines.get_data() {
            self.cache.write_aside(self.key, move |output| write_array(output, &bytes));
        }
    }
}
