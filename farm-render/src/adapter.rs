//! The adapters of this machine.

use shaders::native::Width;

use crate::device::{self, Variant};
use crate::{AdapterInfo, cpu};

/// The least storage binding that is worth opening an adapter for.
const LEAST_BINDING: u64 = 64 << 20;

/// What an adapter is opened by.
pub(crate) enum Hardware {
    Gpu(wgpu::Adapter),
    Cpu,
}

/// An adapter with its description.
pub(crate) struct Found {
    pub(crate) hardware: Hardware,
    pub(crate) info: AdapterInfo,
}

/// Every adapter that can run the kernel, best first: discrete before
/// integrated before virtual before the processor before drivers that are
/// programs on it, and among equals in the order of the backends and of the
/// driver. Environment variables play no part.
pub(crate) fn enumerate() -> Vec<Found> {
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        flags: wgpu::InstanceFlags::empty(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let mut adapters = pollster::block_on(instance.enumerate_adapters(backends));
    adapters.retain(can_run_the_kernel);
    adapters.sort_by_key(|adapter| {
        let info = adapter.get_info();
        (kind_rank(info.device_type), backend_rank(info.backend))
    });
    let processor = adapters.partition_point(|adapter| !is_software(adapter));
    let mut hardware: Vec<Hardware> = adapters.into_iter().map(Hardware::Gpu).collect();
    hardware.insert(processor, Hardware::Cpu);
    hardware
        .into_iter()
        .enumerate()
        .map(|(index, hardware)| {
            let info = match &hardware {
                Hardware::Gpu(adapter) => describe(index, adapter),
                Hardware::Cpu => cpu::describe(index, cpu::all_threads(), Width::widest()),
            };
            Found { hardware, info }
        })
        .collect()
}

fn is_software(adapter: &wgpu::Adapter) -> bool {
    adapter.get_info().device_type == wgpu::DeviceType::Cpu
}

fn can_run_the_kernel(adapter: &wgpu::Adapter) -> bool {
    let limits = adapter.limits();
    let compute = adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS);
    compute
        && limits.max_storage_buffer_binding_size >= LEAST_BINDING
        && device::can_run(adapter, Variant::Megakernel)
}

fn describe(index: usize, adapter: &wgpu::Adapter) -> AdapterInfo {
    let info = adapter.get_info();
    let limits = adapter.limits();
    AdapterInfo {
        index,
        backend: info.backend.to_str().to_owned(),
        kind: kind_name(info.device_type).to_owned(),
        driver: [info.driver, info.driver_info].join(" ").trim().to_owned(),
        name: info.name,
        bus_address: info.device_pci_bus_id,
        max_binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
    }
}

fn kind_name(kind: wgpu::DeviceType) -> &'static str {
    match kind {
        wgpu::DeviceType::DiscreteGpu => "discrete-gpu",
        wgpu::DeviceType::IntegratedGpu => "integrated-gpu",
        wgpu::DeviceType::VirtualGpu => "virtual-gpu",
        wgpu::DeviceType::Cpu => "cpu",
        wgpu::DeviceType::Other => "other",
    }
}

fn kind_rank(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

fn backend_rank(backend: wgpu::Backend) -> u8 {
    match backend {
        wgpu::Backend::Vulkan | wgpu::Backend::Metal => 0,
        _ => 1,
    }
}
