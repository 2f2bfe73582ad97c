//! A thread's share of a slice: records, which it renders sample by sample.
//!
//! The samples of a record are in flight at the same time, so that their rays begin
//! together; they end in any order, and are added up in their own.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytemuck::Zeroable as _;
use shaders::native::Records;

use super::BLOCK;
use crate::layout::Record;

/// A record whose samples are being rendered.
#[derive(Clone, Copy)]
struct Open {
    /// Its place in the queue.
    index: usize,
    /// Samples that are not finished.
    unfinished: usize,
    samples: [Record; BLOCK],
}

/// Which sample is in a slot: of which of the open records, and which of its own.
#[derive(Clone, Copy, Default)]
struct Place {
    open: usize,
    sample: usize,
}

pub(super) struct Share<'a> {
    queue: &'a [Record],
    /// The first record that no thread has taken.
    next: &'a AtomicUsize,
    samples_per_pixel: usize,
    open: Vec<Open>,
    /// Places in `open` that are free.
    free: Vec<usize>,
    /// The record that samples are taken from, and those that are left of it.
    current: usize,
    left: std::ops::Range<usize>,
    taken: Vec<Place>,
    pub(super) finished: Vec<(usize, Record)>,
}

impl<'a> Share<'a> {
    pub(super) fn new(
        queue: &'a [Record],
        next: &'a AtomicUsize,
        samples_per_pixel: u32,
        in_flight: usize,
    ) -> Self {
        Self {
            queue,
            next,
            samples_per_pixel: samples_per_pixel as usize,
            open: Vec::new(),
            free: Vec::new(),
            current: 0,
            left: 0..0,
            taken: vec![Place::default(); in_flight],
            finished: Vec::new(),
        }
    }

    /// Slots for samples.
    pub(super) fn in_flight(&self) -> usize {
        self.taken.len()
    }

    /// Opens the next record; false where there is none.
    fn open_next(&mut self) -> bool {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(record) = self.queue.get(index) else { return false };
        let first = record.item as usize * BLOCK;
        let count = self.samples_per_pixel.saturating_sub(first).min(BLOCK);
        let opened = Open { index, unfinished: count, samples: [Record::zeroed(); BLOCK] };
        self.current = match self.free.pop() {
            Some(place) => {
                self.open[place] = opened;
                place
            }
            None => {
                self.open.push(opened);
                self.open.len() - 1
            }
        };
        self.left = 0..count;
        true
    }

    /// Adds up the samples of a record, in the order in which one path after the
    /// other would be.
    fn close(&mut self, place: usize) {
        let Open { index, samples, .. } = &self.open[place];
        let mut record = self.queue[*index];
        for sample in samples {
            record.rays += sample.rays;
            record.luminance_squares += sample.luminance_squares;
            for (sum, part) in record.sum.iter_mut().zip(sample.sum) {
                *sum += part;
            }
        }
        self.finished.push((*index, record));
        self.free.push(place);
    }
}

impl Records for Share<'_> {
    fn take(&mut self, slot: usize, record: &mut [u32]) -> bool {
        let sample = loop {
            match self.left.next() {
                Some(sample) => break sample,
                None if self.open_next() => {}
                None => return false,
            }
        };
        self.taken[slot] = Place { open: self.current, sample };
        let of = &self.queue[self.open[self.current].index];
        let item = of.item * farm_core::BASE_BLOCK_SAMPLES + u32::try_from(sample).expect("below 16");
        record.copy_from_slice(bytemuck::cast_slice(&[Record { item, ..*of }]));
        true
    }

    fn finish(&mut self, slot: usize, record: &[u32]) {
        let Place { open: place, sample } = self.taken[slot];
        let open = &mut self.open[place];
        open.samples[sample] = bytemuck::pod_read_unaligned(bytemuck::cast_slice(record));
        open.unfinished -= 1;
        if open.unfinished == 0 {
            self.close(place);
        }
    }
}
