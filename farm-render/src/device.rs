//! An open device: the kernel's pipeline, and errors as values.

use std::sync::{Arc, Mutex, PoisonError};

use crate::RenderError;
use crate::layout::{Params, Record, SCENE_BUFFERS};

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

/// A device and the kernel on it.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) wgpu: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) bindings: wgpu::BindGroupLayout,
    pub(crate) limits: wgpu::Limits,
    pub(crate) kind: wgpu::DeviceType,
    /// Vendor, device, driver and backend, for the numeric class.
    pub(crate) identity: String,
    faults: Faults,
}

impl Device {
    /// Opens an adapter with all that it has to offer and compiles the kernel.
    pub(crate) fn open(adapter: &wgpu::Adapter, checks: Checks) -> Result<Self, RenderError> {
        let info = adapter.get_info();
        let limits = adapter.limits();
        let request = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("tessera"),
            required_features: wgpu::Features::empty(),
            required_limits: limits.clone(),
            memory_hints: wgpu::MemoryHints::Performance,
            ..wgpu::DeviceDescriptor::default()
        });
        let (wgpu, queue) =
            pollster::block_on(request).map_err(|error| RenderError::DeviceLost(error.to_string()))?;
        let faults = Faults::default();
        watch(&wgpu, &faults);
        let bindings = bind_group_layout(&wgpu);
        let pipeline = compile(&wgpu, &bindings, checks.of_runtime(info.device_type));
        let identity = format!(
            "{:x}:{:x} {} {} {} {}",
            info.vendor, info.device, info.name, info.driver, info.driver_info, info.backend
        );
        let device =
            Self { wgpu, queue, pipeline, bindings, limits, kind: info.device_type, identity, faults };
        device.check("the kernel", 0)?;
        Ok(device)
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

fn bind_group_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
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
    for (binding, (_, element)) in (2..).zip(SCENE_BUFFERS) {
        entries.push(entry(binding, wgpu::BufferBindingType::Storage { read_only: true }, element));
    }
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("the scene and its records"),
        entries: &entries,
    })
}

#[expect(unsafe_code, reason = "wgpu has no safe way to leave run-time checks out")]
fn compile(
    device: &wgpu::Device,
    bindings: &wgpu::BindGroupLayout,
    checks: wgpu::ShaderRuntimeChecks,
) -> wgpu::ComputePipeline {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some("path tracer"),
        source: wgpu::ShaderSource::Wgsl(shaders::PATH_TRACER.into()),
    };
    // SAFETY: every loop of the kernel is capped, every divisor is positive,
    // and every index comes from arrays that `pack` filled from a validated
    // scene or is clamped where it is used.
    let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some("path tracer"),
        bind_group_layouts: &[Some(bindings)],
        immediate_size: 0,
    });
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("path tracer"),
        layout: Some(&layout),
        module: &module,
        entry_point: Some(shaders::ENTRY_POINT),
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: false,
            ..wgpu::PipelineCompilationOptions::default()
        },
        cache: None,
    })
}
