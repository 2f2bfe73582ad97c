//! Rendering a task in slices of measured time, two of them in flight. Their
//! buffers, and how large a slice should be, are kept from one task of a scene to
//! the next.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use farm_core::RenderTask;

use crate::device::{Device, Kernels, PROGRESS_BYTES, Wavefront};
use crate::film::{Film, samples_done};
use crate::layout::{Params, Record};
use crate::upload::Array;
use crate::{Progress, RenderError, Rendered};

/// The time that one slice should take: long enough to keep the device busy,
/// short enough for drivers that reset it after 2 s and for people who stop it.
const SLICE_TIME: Duration = Duration::from_millis(75);

/// Slices in flight, so that the device does not wait for the host.
const SLICES_IN_FLIGHT: usize = 2;

/// Records of one slice at most: 16 MiB of them, and 8,192 workgroups.
const MOST_RECORDS: u64 = 1 << 19;

/// Records of a scene's first slice on a software adapter, and on others: a
/// million and a half rays, which take the slowest of GPUs some 75 ms.
const FIRST_RECORDS_ON_CPU: u64 = 256;
const FIRST_RECORDS_ON_GPU: u64 = 1 << 14;

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

/// Work items that are in flight at once in a slice of the wavefront, at most:
/// some for every lane of the largest adapters.
const MOST_SLOTS: u64 = 1 << 18;

/// Steps that the wavefront takes between two looks at how far it is: a path has
/// some five segments, and a base block 16 paths.
const STEPS_AT_A_TIME: u32 = 32;

/// What the tasks of a scene leave to those that come after them.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Buffers that no slice is using; at most [`SLICES_IN_FLIGHT`].
    slots: Mutex<Vec<Slot>>,
    /// Records that a slice should have; 0 before any was measured.
    pace: AtomicU64,
}

impl Kept {
    /// Buffers with room for so many records.
    fn slot(&self, scene: &Bound<'_>, records: u64) -> Result<Slot, RenderError> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(slot) = slots.pop() {
            if slot.capacity >= records {
                return Ok(slot);
            }
        }
        drop(slots);
        Slot::new(scene, records)
    }

    /// Takes buffers back.
    fn put(&self, returned: impl IntoIterator<Item = Slot>) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.extend(returned);
        slots.truncate(SLICES_IN_FLIGHT);
    }
}

/// Buffers of one slice.
#[derive(Debug)]
struct Slot {
    /// Records that there is room for.
    capacity: u64,
    params: wgpu::Buffer,
    records: wgpu::Buffer,
    readback: wgpu::Buffer,
    bind_group: wgpu::BindGroup,
    /// What only the wavefront needs.
    waves: Option<Waves>,
}

/// Buffers of the work items in flight.
#[derive(Debug)]
struct Waves {
    /// Work items that there is room for.
    slots: u64,
    progress: wgpu::Buffer,
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

/// A scene on a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound<'a> {
    pub(crate) device: &'a Device,
    pub(crate) kernels: &'a Kernels,
    pub(crate) bindings: &'a wgpu::BindGroupLayout,
    pub(crate) arrays: &'a [(u32, Array)],
    pub(crate) kept: &'a Kept,
    pub(crate) one_at_a_time: bool,
}

/// Renders a task of a scene; `params` are its parameters but for the number of
/// records.
pub(crate) fn render(
    scene: &Bound<'_>,
    params: Params,
    task: &RenderTask,
    slicing: Slicing,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Rendered, RenderError> {
    let device = scene.device;
    device.check("the film", 0)?;
    let mut film = Film::new(task.rect, task.range, task.settings.samples_per_pixel);
    let total = film.items();
    let mut pace = Pace::new(scene, slicing, total);
    let mut free = VecDeque::new();
    let mut flights: VecDeque<Flight> = VecDeque::new();
    let (mut begun, mut done) = (0, 0);
    let in_flight = if scene.one_at_a_time { 1 } else { SLICES_IN_FLIGHT };
    while done < total {
        while flights.len() < in_flight && begun < total {
            let slot = match free.pop_front() {
                Some(slot) => slot,
                None => scene.kept.slot(scene, pace.most)?,
            };
            let items: Vec<Record> =
                (begun..total.min(begun + pace.slice())).map(|index| film.item(index)).collect();
            begun += items.len() as u64;
            flights.push_back(slot.submit(scene, params, &items));
        }
        let Some(mut flight) = flights.pop_front() else { break };
        flight.wait(scene)?;
        pace.measure(&flight, scene.kept);
        flight.read(device, &mut film)?;
        done += flight.items;
        free.push_back(flight.slot);
        if progress(Progress { samples: samples_done(task, done) }).is_break() && done < total {
            // What the device is at is nearly done, and perhaps the end of a block.
            for mut flight in flights {
                flight.wait(scene)?;
                flight.read(device, &mut film)?;
                free.push_back(flight.slot);
            }
            scene.kept.put(free);
            return Ok(if begun < total {
                Rendered::Stopped(film.into_parts())
            } else {
                Rendered::Done(film.finish(task))
            });
        }
    }
    scene.kept.put(free);
    Ok(Rendered::Done(film.finish(task)))
}

/// How many records the next slice gets.
struct Pace {
    slicing: Slicing,
    /// Records that take [`SLICE_TIME`], as far as that is known.
    records: u64,
    /// Records that a slice of this task may have.
    most: u64,
    last_finished: Option<Instant>,
}

impl Pace {
    fn new(scene: &Bound<'_>, slicing: Slicing, total: u64) -> Self {
        let device = scene.device;
        let groups = u64::from(device.limits.max_compute_workgroups_per_dimension);
        let most = MOST_RECORDS
            .min(groups * u64::from(shaders::WORKGROUP_SIZE))
            .min(device.max_binding_bytes() / RECORD_BYTES)
            .min(total)
            .max(1);
        let records = match slicing {
            Slicing::Measured => match scene.kept.pace.load(Ordering::Relaxed) {
                0 if device.kind == wgpu::DeviceType::Cpu => FIRST_RECORDS_ON_CPU,
                0 => FIRST_RECORDS_ON_GPU,
                known => known,
            },
            #[cfg(test)]
            Slicing::Fixed(records) => records,
        };
        Self { slicing, records, most, last_finished: None }
    }

    /// Records of the next slice.
    fn slice(&self) -> u64 {
        self.records.min(self.most)
    }

    /// Learns from a slice that has just finished. It began when it was
    /// submitted or when the one before it ended, whichever was later.
    fn measure(&mut self, flight: &Flight, kept: &Kept) {
        let now = Instant::now();
        let began = self.last_finished.map_or(flight.submitted, |last| last.max(flight.submitted));
        self.last_finished = Some(now);
        match self.slicing {
            Slicing::Measured => {
                self.records = next_slice(flight.items, self.records, now - began);
                kept.pace.store(self.records, Ordering::Relaxed);
            }
            #[cfg(test)]
            Slicing::Fixed(_) => {}
        }
    }
}

/// Records of the next slice, after one of `items` took `taken` where there could
/// have been `records`. One that was cut short by the end of its task tells only
/// whether it took too long: few records do not fill the device.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the number of records before it is used"
)]
fn next_slice(items: u64, records: u64, taken: Duration) -> u64 {
    let wanted = (items as f64 * SLICE_TIME.as_secs_f64() / taken.as_secs_f64().max(1e-6)) as u64;
    if items < records && wanted > items {
        return records;
    }
    let group = u64::from(shaders::WORKGROUP_SIZE);
    wanted.clamp(records / GROWTH, records * GROWTH).next_multiple_of(group).clamp(group, MOST_RECORDS)
}

impl Slot {
    fn new(scene: &Bound<'_>, records: u64) -> Result<Self, RenderError> {
        use wgpu::BufferUsages as Usage;
        let device = scene.device;
        let (capacity, bytes) = (records, records * RECORD_BYTES);
        let params =
            device.buffer("the parameters", size_of::<Params>() as u64, Usage::UNIFORM | Usage::COPY_DST)?;
        let waves = match scene.kernels {
            Kernels::Megakernel(_) => None,
            Kernels::Wavefront(_) => Some(Waves::new(device, records)?),
        };
        let storage = Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC;
        let records = device.buffer("the film", bytes, storage)?;
        let readback = device.buffer("the film's copy", bytes, Usage::MAP_READ | Usage::COPY_DST)?;
        let mut entries = vec![
            wgpu::BindGroupEntry { binding: 0, resource: params.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 1, resource: records.as_entire_binding() },
        ];
        for (binding, array) in scene.arrays {
            entries.push(wgpu::BindGroupEntry { binding: *binding, resource: array.binding() });
        }
        let bind_group = device.wgpu.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("slice"),
            layout: scene.bindings,
            entries: &entries,
        });
        Ok(Self { capacity, params, records, readback, bind_group, waves })
    }

    /// Sends a slice to the device.
    fn submit(self, scene: &Bound<'_>, params: Params, items: &[Record]) -> Flight {
        let device = scene.device;
        let count = u32::try_from(items.len()).expect("a slice has at most 2^19 records");
        let slots = self.waves.as_ref().map_or(0, |waves| waves.slots_for(count));
        let params = Params { record_count: count, slot_count: slots, ..params };
        device.queue.write_buffer(&self.params, 0, bytemuck::bytes_of(&params));
        device.queue.write_buffer(&self.records, 0, bytemuck::cast_slice(items));
        if let Some(waves) = &self.waves {
            device.queue.write_buffer(&waves.progress, 0, bytemuck::bytes_of(&[0_u32; 2]));
        }
        let (items, submitted) = (items.len() as u64, Instant::now());
        let (submission, mapped) = self.run(scene, count, true);
        Flight { slot: self, items, submission, mapped, submitted }
    }

    /// Runs the megakernel, or some steps of the wavefront, and copies what came
    /// of it.
    fn run(&self, scene: &Bound<'_>, count: u32, is_first: bool) -> (wgpu::SubmissionIndex, Arc<AtomicBool>) {
        let device = scene.device;
        let mut encoder = device.wgpu.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_bind_group(0, &self.bind_group, &[]);
            match (scene.kernels, &self.waves) {
                (Kernels::Wavefront(kernels), Some(waves)) => {
                    waves.encode(kernels, &mut pass, count, is_first)
                }
                (Kernels::Megakernel(pipeline), _) => dispatch(&mut pass, pipeline, count),
                (Kernels::Wavefront(_), None) => unreachable!("slots are made for the scene's kernels"),
            }
        }
        let bytes = u64::from(count) * RECORD_BYTES;
        encoder.copy_buffer_to_buffer(&self.records, 0, &self.readback, 0, bytes);
        if let Some(waves) = &self.waves {
            encoder.copy_buffer_to_buffer(&waves.progress, 0, &waves.readback, 0, PROGRESS_BYTES);
        }
        let submission = device.queue.submit([encoder.finish()]);
        let mapped = Arc::new(AtomicBool::new(true));
        map(&self.readback, bytes, &mapped);
        if let Some(waves) = &self.waves {
            map(&waves.readback, PROGRESS_BYTES, &mapped);
        }
        (submission, mapped)
    }
}

/// Runs a kernel for so many invocations.
fn dispatch(pass: &mut wgpu::ComputePass<'_>, pipeline: &wgpu::ComputePipeline, count: u32) {
    pass.set_pipeline(pipeline);
    pass.dispatch_workgroups(count.div_ceil(shaders::WORKGROUP_SIZE), 1, 1);
}

/// Maps a buffer when the device is done with it; clears `mapped` if it cannot.
fn map(buffer: &wgpu::Buffer, bytes: u64, mapped: &Arc<AtomicBool>) {
    let mapped = Arc::clone(mapped);
    buffer.map_async(wgpu::MapMode::Read, ..bytes, move |result| {
        mapped.fetch_and(result.is_ok(), Ordering::AcqRel);
    });
}

impl Waves {
    fn new(device: &Device, records: u64) -> Result<Self, RenderError> {
        use wgpu::BufferUsages as Usage;
        let slots = records.min(MOST_SLOTS);
        let [work, ray, hit] = shaders::WAVEFRONT_SLOT_BYTES;
        let buffers = [
            device.buffer("the paths in flight", slots * work, Usage::STORAGE)?,
            device.buffer("the rays in flight", slots * 2 * ray, Usage::STORAGE)?,
            device.buffer("their hits", slots * 2 * hit, Usage::STORAGE)?,
        ];
        let counters = Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC;
        let progress = device.buffer("the progress", PROGRESS_BYTES, counters)?;
        let readback =
            device.buffer("the progress's copy", PROGRESS_BYTES, Usage::MAP_READ | Usage::COPY_DST)?;
        let entries: Vec<_> = (0..)
            .zip(buffers.iter().chain([&progress]))
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let bind_group = device.wgpu.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("the wavefront's slots"),
            layout: &device.slots,
            entries: &entries,
        });
        Ok(Self { slots, progress, readback, bind_group })
    }

    /// Slots that a slice of so many records uses.
    fn slots_for(&self, records: u32) -> u32 {
        u32::try_from(self.slots).map_or(records, |slots| slots.min(records))
    }

    /// Encodes some steps; the first time, after all slots have got their work.
    fn encode(&self, kernels: &Wavefront, pass: &mut wgpu::ComputePass<'_>, records: u32, is_first: bool) {
        let slots = self.slots_for(records);
        pass.set_bind_group(1, &self.bind_group, &[]);
        if is_first {
            dispatch(pass, &kernels.begin, slots);
        }
        for _ in 0..STEPS_AT_A_TIME {
            dispatch(pass, &kernels.trace, 2 * slots);
            dispatch(pass, &kernels.advance, slots);
        }
    }

    /// Records that are finished, from the counters' copy.
    fn finished(&self, device: &Device) -> Result<u64, RenderError> {
        let view = self
            .readback
            .get_mapped_range(..PROGRESS_BYTES)
            .map_err(|error| device.lose(error.to_string()))?;
        let counters: [u32; 2] = bytemuck::pod_read_unaligned(&view);
        Ok(u64::from(counters[1]))
    }
}

impl Flight {
    /// Waits on the calling thread until the slice has been rendered.
    fn wait(&mut self, scene: &Bound<'_>) -> Result<(), RenderError> {
        let device = scene.device;
        let mut progress = (0, Instant::now());
        loop {
            self.wait_for_submission(device)?;
            let Some(waves) = &self.slot.waves else { return Ok(()) };
            let finished = waves.finished(device)?;
            waves.readback.unmap();
            if finished >= self.items {
                return Ok(());
            }
            if finished > progress.0 {
                progress = (finished, Instant::now());
            }
            if progress.1.elapsed() > PATIENCE {
                return Err(device.lose("a slice stands still"));
            }
            self.slot.readback.unmap();
            let count = u32::try_from(self.items).expect("a slice has at most 2^19 records");
            (self.submission, self.mapped) = self.slot.run(scene, count, false);
        }
    }

    fn wait_for_submission(&self, device: &Device) -> Result<(), RenderError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_come_to_take_their_time() {
        let records = 1 << 16;
        assert_eq!(next_slice(records, records, SLICE_TIME), records);
        assert_eq!(next_slice(records, records, SLICE_TIME * 2), records / 2);
        assert_eq!(next_slice(records, records, SLICE_TIME / 100), records * GROWTH);
        assert_eq!(next_slice(records, records, SLICE_TIME * 100), records / GROWTH);
        assert_eq!(next_slice(MOST_RECORDS, MOST_RECORDS, Duration::ZERO), MOST_RECORDS);
    }

    #[test]
    fn a_slice_that_was_cut_short_tells_only_that_it_took_too_long() {
        let records = 1 << 16;
        assert_eq!(next_slice(1, records, SLICE_TIME / 2), records);
        assert_eq!(next_slice(records / 2, records, SLICE_TIME * 4), records / GROWTH);
    }
}
