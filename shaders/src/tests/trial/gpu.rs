//! A trial on the first graphics adapter of this machine.

/// A device with the trial's kernel.
pub(super) struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::ComputePipeline,
}

impl Gpu {
    /// Opens the first adapter that has compute shaders, if there is one.
    pub(super) fn open(source: &str, entry_point: &str) -> Option<Self> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12,
            flags: wgpu::InstanceFlags::empty(),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let request = instance.request_adapter(&wgpu::RequestAdapterOptions::default());
        let adapter = pollster::block_on(request).ok()?;
        let descriptor = wgpu::DeviceDescriptor {
            required_limits: wgpu::Limits::downlevel_defaults(),
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&descriptor)).expect("the adapter opens");
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        Some(Self { device, queue, pipeline })
    }

    /// Runs a trial on all pairs.
    pub(super) fn run(&self, which: u32, pairs: &[[u32; 2]]) -> Vec<u32> {
        use wgpu::BufferUsages as Usage;
        let count = u32::try_from(pairs.len()).expect("thousands");
        let answer_bytes = u64::from(count) * 4;
        let buffer = |size, usage| {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let choice = buffer(16, Usage::UNIFORM | Usage::COPY_DST);
        let inputs = buffer(answer_bytes * 2, Usage::STORAGE | Usage::COPY_DST);
        let answers = buffer(answer_bytes, Usage::STORAGE | Usage::COPY_SRC);
        let readback = buffer(answer_bytes, Usage::MAP_READ | Usage::COPY_DST);
        self.queue.write_buffer(&choice, 0, bytemuck::cast_slice(&[which, count, 0, 0]));
        self.queue.write_buffer(&inputs, 0, bytemuck::cast_slice(pairs));
        let entries: Vec<_> = (0..)
            .zip([&choice, &inputs, &answers])
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &self.pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(count.div_ceil(64), 1, 1);
        }
        encoder.copy_buffer_to_buffer(&answers, 0, &readback, 0, answer_bytes);
        self.queue.submit([encoder.finish()]);
        readback.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("the answers can be read"));
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the trial ends");
        let view = readback.get_mapped_range(..).expect("it was mapped");
        bytemuck::cast_slice(&view).to_vec()
    }
}
