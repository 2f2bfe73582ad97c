//! Rendering a task in slices of measured time, two of them in flight.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use farm_core::{RenderTask, TileImage};

use crate::device::Device;
use crate::film::{Film, samples_done};
use crate::layout::{Params, Record};
use crate::{Progress, RenderError};

/// The time that one slice should take: long enough to keep the device busy,
/// short enough for drivers that reset it after 2 s and for people who stop it.
const SLICE_TIME: Duration = Duration::from_millis(75);

/// Slices in flight, so that the device does not wait for the host.
const SLICES_IN_FLIGHT: usize = 2;

/// Records of one slice at most: 16 MiB of them, and 8,192 workgroups.
const MOST_RECORDS: u64 = 1 << 19;

/// Records of the first slice on a software adapter and on others.
const FIRST_RECORDS_ON_CPU: u64 = 256;
const FIRST_RECORDS_ON_GPU: u64 = 4096;

/// Growth from one slice to the next at most.
const GROWTH: u64 = 4;

/// A slice that takes this long means that the driver hangs.
const PATIENCE: Duration = Duration::from_secs(120);

const RECORD_BYTES: u64 = size_of::<Record>() as u64;

/// How a render is cut into slices.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slicing {
    /// By measured time.
    Measured,
    /// So many records each.
    #[cfg(test)]
    Fixed(u64),
}

impl Slicing {
    pub(crate) fn is_measured(self) -> bool {
        match self {
            Self::Measured => true,
            #[cfg(test)]
            Self::Fixed(_) => false,
        }
    }
}

/// Buffers of one slice.
struct Slot {
    params: wgpu::Buffer,
    records: wgpu::Buffer,
    readback: wgpu::Buffer,
    bind_group: wgpu::BindGroup,
}

/// A slice that the device is working on.
struct Flight {
    slot: Slot,
    items: u64,
    submission: wgpu::SubmissionIndex,
    mapped: Arc<AtomicBool>,
    submitted: Instant,
}

/// Renders a task of the scene in `buffers`; `params` are its parameters but for
/// the number of records.
pub(crate) fn render(
    device: &Device,
    buffers: &[wgpu::Buffer],
    params: Params,
    task: &RenderTask,
    slicing: Slicing,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<TileImage, RenderError> {
    device.check("the film", 0)?;
    let mut film = Film::new(task.rect, task.range, task.settings.samples_per_pixel);
    let total = film.items();
    let mut pace = Pace::new(device, slicing, total);
    let mut free = VecDeque::new();
    let mut flights: VecDeque<Flight> = VecDeque::new();
    let (mut begun, mut done) = (0, 0);
    while done < total {
        while flights.len() < SLICES_IN_FLIGHT && begun < total {
            let slot = match free.pop_front() {
                Some(slot) => slot,
                None => Slot::new(device, buffers, pace.most)?,
            };
            let items: Vec<Record> =
                (begun..total.min(begun + pace.records)).map(|index| film.item(index)).collect();
            begun += items.len() as u64;
            flights.push_back(slot.submit(device, params, &items));
        }
        let Some(flight) = flights.pop_front() else { break };
        flight.wait(device)?;
        pace.measure(&flight);
        flight.read(device, &mut film)?;
        done += flight.items;
        free.push_back(flight.slot);
        if progress(Progress { samples: samples_done(task, done) }).is_break() {
            return Err(RenderError::Stopped);
        }
    }
    Ok(film.finish(task))
}

/// How many records the next slice gets.
struct Pace {
    slicing: Slicing,
    records: u64,
    most: u64,
    last_finished: Option<Instant>,
}

impl Pace {
    fn new(device: &Device, slicing: Slicing, total: u64) -> Self {
        let first =
            if device.kind == wgpu::DeviceType::Cpu { FIRST_RECORDS_ON_CPU } else { FIRST_RECORDS_ON_GPU };
        let groups = u64::from(device.limits.max_compute_workgroups_per_dimension);
        let most = MOST_RECORDS
            .min(groups * u64::from(shaders::WORKGROUP_SIZE))
            .min(device.max_binding_bytes() / RECORD_BYTES)
            .min(total)
            .max(1);
        let records = match slicing {
            Slicing::Measured => first,
            #[cfg(test)]
            Slicing::Fixed(records) => records,
        };
        Self { slicing, records: records.min(most), most, last_finished: None }
    }

    /// Learns from a slice that has just finished. It began when it was
    /// submitted or when the one before it ended, whichever was later.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the number of records before it is used"
    )]
    fn measure(&mut self, flight: &Flight) {
        let now = Instant::now();
        let began = self.last_finished.map_or(flight.submitted, |last| last.max(flight.submitted));
        self.last_finished = Some(now);
        match self.slicing {
            Slicing::Measured => {
                let taken = (now - began).as_secs_f64().max(1e-6);
                let wanted = flight.items as f64 * SLICE_TIME.as_secs_f64() / taken;
                let next = (wanted as u64).clamp(self.records / GROWTH, self.records * GROWTH);
                let group = u64::from(shaders::WORKGROUP_SIZE);
                self.records = next.next_multiple_of(group).clamp(group, self.most.max(group)).min(self.most);
            }
            #[cfg(test)]
            Slicing::Fixed(_) => {}
        }
    }
}

impl Slot {
    fn new(device: &Device, scene: &[wgpu::Buffer], records: u64) -> Result<Self, RenderError> {
        use wgpu::BufferUsages as Usage;
        let bytes = records * RECORD_BYTES;
        let params =
            device.buffer("the parameters", size_of::<Params>() as u64, Usage::UNIFORM | Usage::COPY_DST)?;
        let storage = Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC;
        let records = device.buffer("the film", bytes, storage)?;
        let readback = device.buffer("the film's copy", bytes, Usage::MAP_READ | Usage::COPY_DST)?;
        let mut entries = vec![
            wgpu::BindGroupEntry { binding: 0, resource: params.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 1, resource: records.as_entire_binding() },
        ];
        for (binding, buffer) in (2..).zip(scene) {
            entries.push(wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() });
        }
        let bind_group = device.wgpu.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("slice"),
            layout: &device.bindings,
            entries: &entries,
        });
        Ok(Self { params, records, readback, bind_group })
    }

    /// Sends a slice to the device.
    fn submit(self, device: &Device, params: Params, items: &[Record]) -> Flight {
        let count = u32::try_from(items.len()).expect("a slice has at most 2^19 records");
        let bytes = items.len() as u64 * RECORD_BYTES;
        let params = Params { record_count: count, ..params };
        device.queue.write_buffer(&self.params, 0, bytemuck::bytes_of(&params));
        device.queue.write_buffer(&self.records, 0, bytemuck::cast_slice(items));
        let mut encoder = device.wgpu.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&device.pipeline);
            pass.set_bind_group(0, &self.bind_group, &[]);
            pass.dispatch_workgroups(count.div_ceil(shaders::WORKGROUP_SIZE), 1, 1);
        }
        encoder.copy_buffer_to_buffer(&self.records, 0, &self.readback, 0, bytes);
        let submission = device.queue.submit([encoder.finish()]);
        let mapped = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&mapped);
        self.readback.map_async(wgpu::MapMode::Read, ..bytes, move |result| {
            flag.store(result.is_ok(), Ordering::Release);
        });
        Flight { slot: self, items: items.len() as u64, submission, mapped, submitted: Instant::now() }
    }
}

impl Flight {
    /// Waits on the calling thread until the slice has been rendered.
    fn wait(&self, device: &Device) -> Result<(), RenderError> {
        let wait =
            wgpu::PollType::Wait { submission_index: Some(self.submission.clone()), timeout: Some(PATIENCE) };
        let polled = device.wgpu.poll(wait);
        device.check("the film", self.items * RECORD_BYTES)?;
        polled.map_err(|error| device.lose(format!("a slice did not finish: {error}")))?;
        if !self.mapped.load(Ordering::Acquire) {
            return Err(device.lose("a slice's film could not be read"));
        }
        Ok(())
    }

    /// Adds the slice's records to the film.
    fn read(&self, device: &Device, film: &mut Film) -> Result<(), RenderError> {
        let bytes = self.items * RECORD_BYTES;
        let view =
            self.slot.readback.get_mapped_range(..bytes).map_err(|error| device.lose(error.to_string()))?;
        film.add(bytemuck::cast_slice(&view));
        drop(view);
        self.slot.readback.unmap();
        Ok(())
    }
}
