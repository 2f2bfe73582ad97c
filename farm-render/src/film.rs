//! Block records to pixels, along the fixed tree.

use farm_core::{BlockRange, Rect, RenderTask, TileImage};

use crate::layout::Record;

/// Samples in the first `items` work items of a task; the last block of a
/// pixel may be short, so they are counted down from the task's.
pub(crate) fn samples_done(task: &RenderTask, items: u64) -> u64 {
    (items * u64::from(farm_core::BASE_BLOCK_SAMPLES)).min(task.samples())
}

/// Sums the blocks of a range as they arrive, block by block and in each block
/// pixel by pixel in Morton order. It holds one image for each level of the
/// tree at most.
pub(crate) struct Film {
    rect: Rect,
    range: BlockRange,
    blocks: u32,
    samples_per_pixel: u32,
    /// Row-by-row places of the pixels in Morton order.
    places: Vec<usize>,
    /// Finished sums, each of a smaller range than the one before.
    sums: Vec<TileImage>,
    /// The block that is arriving, and how many of its pixels have.
    current: TileImage,
    arrived: usize,
}

impl Film {
    /// An empty film for the samples of `range`.
    pub(crate) fn new(rect: Rect, range: BlockRange, samples_per_pixel: u32) -> Self {
        let places = morton_order(rect.width, rect.height);
        let blocks = samples_per_pixel.div_ceil(farm_core::BASE_BLOCK_SAMPLES);
        let current = empty_image(rect, BlockRange { level: 0, index: range.start() });
        Self { rect, range, blocks, samples_per_pixel, places, sums: Vec::new(), current, arrived: 0 }
    }

    /// Work items of the whole range.
    pub(crate) fn items(&self) -> u64 {
        let blocks = self.range.end(self.blocks).saturating_sub(self.range.start());
        u64::from(blocks) * self.rect.area()
    }

    /// The work item at a place in the order: a record with pixel and block.
    pub(crate) fn item(&self, index: u64) -> Record {
        let area = self.rect.area().max(1);
        let to_u32 = |value: u64| u32::try_from(value).expect("below the number of blocks or of pixels");
        let block = self.range.start() + to_u32(index / area);
        let place = self.places[usize::try_from(index % area).expect("below the number of pixels")];
        let place = u64::try_from(place).expect("below the number of pixels");
        let x = self.rect.x + to_u32(place % u64::from(self.rect.width));
        let y = self.rect.y + to_u32(place / u64::from(self.rect.width));
        Record { pixel: x | y << 16, item: block, rays: 0, luminance_squares: 0.0, sum: [0.0; 4] }
    }

    /// Takes the results of the next items.
    pub(crate) fn add(&mut self, records: &[Record]) {
        for record in records {
            self.current.pixels[self.places[self.arrived]] = record.sum;
            self.current.rays += u64::from(record.rays);
            self.arrived += 1;
            if self.arrived == self.places.len() {
                self.finish_block();
            }
        }
    }

    fn finish_block(&mut self) {
        let range = self.current.range;
        let next = BlockRange { level: 0, index: range.index + 1 };
        let mut sum = std::mem::replace(&mut self.current, empty_image(self.rect, next));
        self.arrived = 0;
        sum.samples = u64::from(range.samples(self.samples_per_pixel)) * self.rect.area();
        // Two halves make a whole: one step up the tree as often as it goes.
        while let Some(earlier) = self.sums.pop_if(|earlier| earlier.range == sum.range.sibling()) {
            sum = earlier.merge(&sum).expect("siblings over one rectangle");
        }
        self.sums.push(sum);
    }

    /// What is whole of the range so far: sums of as few dyadic ranges as its blocks
    /// make, in order. Pixels of a block that had not all arrived are lost.
    pub(crate) fn into_parts(self) -> Vec<TileImage> {
        self.sums
    }

    /// What a task returns: finished pixels where its range is whole, else sums.
    pub(crate) fn finish(self, task: &RenderTask) -> TileImage {
        let sum = self.into_sum();
        if task.is_whole() {
            return sum.finish(task.settings.samples_per_pixel).expect("the range is the root");
        }
        sum
    }

    /// The sum over the range. Where blocks end before the range does, what is
    /// there moves up the tree unchanged.
    pub(crate) fn into_sum(mut self) -> TileImage {
        let Some(mut sum) = self.sums.pop() else { return empty_image(self.rect, self.range) };
        while sum.range.level < self.range.level {
            let earlier = self.sums.pop_if(|earlier| earlier.range == sum.range.sibling());
            sum = match earlier {
                Some(earlier) => earlier.merge(&sum).expect("siblings over one rectangle"),
                None => sum.promote(),
            };
        }
        sum
    }
}

fn empty_image(rect: Rect, range: BlockRange) -> TileImage {
    let area = usize::try_from(rect.area()).expect("a tile's pixels fit in memory");
    TileImage { rect, range, pixels: vec![[0.0; 4]; area], samples: 0, rays: 0 }
}

/// The row-by-row places of a rectangle's pixels along the Morton curve, which
/// keeps neighbours in lockstep near one another.
fn morton_order(width: u32, height: u32) -> Vec<usize> {
    let spread = |value: u32| (0..32).fold(0_u64, |sum, bit| sum | u64::from(value >> bit & 1) << (2 * bit));
    let mut coded: Vec<(u64, usize)> = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .enumerate()
        .map(|(place, (x, y))| (spread(x) | spread(y) << 1, place))
        .collect();
    coded.sort_unstable();
    coded.into_iter().map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECT: Rect = Rect { x: 3, y: 5, width: 3, height: 2 };

    /// The sum over a range of records whose every value tells pixel and block.
    fn sum(range: BlockRange, samples_per_pixel: u32) -> TileImage {
        let mut film = Film::new(RECT, range, samples_per_pixel);
        for index in 0..film.items() {
            let mut record = film.item(index);
            let x = f32::from(u16::try_from(record.pixel & 0xffff).expect("16 bits"));
            let value = 0.1 * x + 1.0 / (1.0 + record.item as f32);
            record.sum = [value, value * 1e7, value * 1e-7, 1.0];
            record.rays = 1;
            film.add(&[record]);
        }
        film.into_sum()
    }

    #[test]
    fn any_split_of_a_range_sums_to_the_same_bits() {
        for samples_per_pixel in [1_u32, 16, 17, 48, 80, 100, 256] {
            let root = BlockRange::root(samples_per_pixel.div_ceil(16));
            let whole = sum(root, samples_per_pixel);
            assert_eq!(whole.range, root);
            assert_eq!(whole.samples, u64::from(samples_per_pixel) * RECT.area());
            let Some([early, late]) = root.halves() else { continue };
            let merged = sum(early, samples_per_pixel)
                .merge(&sum(late, samples_per_pixel))
                .expect("halves of one range");
            assert_eq!(merged, whole);
        }
    }

    #[test]
    fn parts_are_the_whole_blocks_and_merge_with_the_rest_to_the_same_bits() {
        let samples_per_pixel = 16 * 11;
        let root = BlockRange::root(11);
        let whole = sum(root, samples_per_pixel);
        let area = RECT.area();
        for items in 0..11 * area {
            let mut film = Film::new(RECT, root, samples_per_pixel);
            for index in 0..items {
                let block = film.item(index).item;
                let lone = BlockRange { level: 0, index: block };
                let place = film.places[usize::try_from(index % area).expect("a small number")];
                let pixel = sum(lone, samples_per_pixel).pixels[place];
                film.add(&[Record { sum: pixel, rays: 1, ..film.item(index) }]);
            }
            let mut parts = film.into_parts();
            let blocks = items / area;
            let ends = parts.iter().map(|part| u64::from(part.range.end(11)));
            assert_eq!(ends.max().unwrap_or(0), blocks, "all whole blocks and no other");
            assert_eq!(parts.len(), blocks.count_ones() as usize, "as few ranges as there can be");
            let mut rest = blocks;
            while rest < 11 {
                parts.push(sum(
                    BlockRange { level: 0, index: u32::try_from(rest).expect("small") },
                    samples_per_pixel,
                ));
                rest += 1;
            }
            let mut tree = Film::new(RECT, root, samples_per_pixel);
            for part in parts {
                let mut part = part;
                while let Some(earlier) = tree.sums.pop_if(|earlier| earlier.range == part.range.sibling()) {
                    part = earlier.merge(&part).expect("siblings");
                }
                tree.sums.push(part);
            }
            let merged = tree.into_sum();
            assert_eq!(merged.pixels, whole.pixels);
        }
    }

    #[test]
    fn a_range_beyond_the_samples_is_empty() {
        let image = sum(BlockRange { level: 1, index: 3 }, 64);
        assert_eq!((image.samples, image.rays), (0, 0));
    }

    #[test]
    fn morton_order_names_every_pixel_once() {
        let mut order = morton_order(13, 7);
        assert_eq!(&order[..4], [0, 1, 13, 14]);
        order.sort_unstable();
        assert_eq!(order, (0..91).collect::<Vec<_>>());
    }
}
