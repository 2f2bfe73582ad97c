//! Rectangles, dyadic sample ranges, and the task that a renderer is given.

use serde::{Deserialize, Serialize};

use crate::id::{FrameNumber, JobId};
use crate::job::{RenderSettings, Resolution};

/// Samples of each pixel in one base block, the smallest unit of sampling work
/// that is leased. The last block of a pixel may hold fewer.
pub const BASE_BLOCK_SAMPLES: u32 = 16;

/// A rectangle of pixels; `x` grows to the right and `y` downwards from the
/// frame's top-left corner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rect {
    /// Left edge in pixels.
    pub x: u32,
    /// Top edge in pixels.
    pub y: u32,
    /// Width in pixels, at least 1.
    pub width: u32,
    /// Height in pixels, at least 1.
    pub height: u32,
}

impl Rect {
    /// Number of pixels.
    #[must_use]
    pub fn area(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// The place of a rectangle in its frame, counted row by row from the top left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RectIndex(pub u32);

/// A dyadic range of base blocks: `[index·2^level, (index+1)·2^level)`, cut off
/// at the number of blocks that the job has.
///
/// Ranges form a binary tree; every pixel's samples are summed along it, so the
/// merged sum has the same bits however the work was split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockRange {
    /// Height of the range in the tree; 0 is a single base block.
    pub level: u8,
    /// Position among the ranges of this level.
    pub index: u32,
}

impl BlockRange {
    /// The tree's root for a pixel of `blocks` base blocks (at least 1).
    #[must_use]
    pub fn root(blocks: u32) -> Self {
        let level = blocks.max(1).next_power_of_two().trailing_zeros();
        Self { level: u8::try_from(level).expect("a u32 has at most 32 bits"), index: 0 }
    }

    /// First base block.
    #[must_use]
    pub fn start(&self) -> u32 {
        u32::try_from(u64::from(self.index) << self.level).unwrap_or(u32::MAX)
    }

    /// One past the last base block, for a pixel of `blocks` base blocks.
    #[must_use]
    pub fn end(&self, blocks: u32) -> u32 {
        let end = (u64::from(self.index) + 1) << self.level;
        u32::try_from(end).unwrap_or(u32::MAX).min(blocks)
    }

    /// Whether the range holds none of `blocks` base blocks.
    #[must_use]
    pub fn is_empty(&self, blocks: u32) -> bool {
        self.start() >= blocks
    }

    /// Samples of one pixel in this range, for a pixel of `samples_per_pixel`.
    #[must_use]
    pub fn samples(&self, samples_per_pixel: u32) -> u32 {
        let blocks = samples_per_pixel.div_ceil(BASE_BLOCK_SAMPLES);
        let bound = |block: u32| block.saturating_mul(BASE_BLOCK_SAMPLES).min(samples_per_pixel);
        bound(self.end(blocks)).saturating_sub(bound(self.start()))
    }

    /// The two halves, first the earlier one; `None` for a single base block.
    #[must_use]
    pub fn halves(&self) -> Option<[Self; 2]> {
        let level = self.level.checked_sub(1)?;
        let index = self.index.checked_mul(2)?;
        Some([Self { level, index }, Self { level, index: index + 1 }])
    }

    /// The first `blocks` of its base blocks (at most as many as it has) as dyadic
    /// ranges: as few as make them up, in order.
    #[must_use]
    pub fn first_blocks(&self, blocks: u32) -> Vec<Self> {
        let mut start = self.start();
        let end = start.saturating_add(blocks).min(self.end(u32::MAX));
        let mut ranges = Vec::new();
        for level in (0..=self.level).rev() {
            if u64::from(start) + (1 << level) <= u64::from(end) {
                ranges.push(Self { level, index: start >> level });
                start += 1 << level;
            }
        }
        ranges
    }

    /// The range that this one is a half of.
    #[must_use]
    pub fn parent(&self) -> Self {
        Self { level: self.level + 1, index: self.index / 2 }
    }

    /// The other half of the parent.
    #[must_use]
    pub fn sibling(&self) -> Self {
        Self { level: self.level, index: self.index ^ 1 }
    }

    /// Whether `other` lies inside this range (or is it).
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.level <= self.level && (other.index >> (self.level - other.level)) == self.index
    }
}

/// A tile: one rectangle of one frame of one job, times a range of its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TileId {
    /// The job.
    pub job: JobId,
    /// The frame.
    pub frame: FrameNumber,
    /// The rectangle's place in the frame.
    pub rect: RectIndex,
    /// The base blocks.
    pub range: BlockRange,
}

impl TileId {
    /// Whether `other` is this tile or holds a part of its samples.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        (self.job, self.frame, self.rect) == (other.job, other.frame, other.rect)
            && self.range.contains(&other.range)
    }
}

/// All that a renderer needs beside the scene to render a tile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RenderTask {
    /// Size of the whole frame.
    pub resolution: Resolution,
    /// The frame.
    pub frame: FrameNumber,
    /// The pixels.
    pub rect: Rect,
    /// The samples of each pixel.
    pub range: BlockRange,
    /// How to sample.
    pub settings: RenderSettings,
}

impl RenderTask {
    /// Samples that the whole task takes, over all its pixels.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.rect.area() * u64::from(self.range.samples(self.settings.samples_per_pixel))
    }

    /// Whether the range is the whole of each pixel's samples, so that the
    /// image holds finished pixels and not a partial sum.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.range == BlockRange::root(self.settings.blocks())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_covers_every_block() {
        for blocks in [1, 2, 3, 7, 8, 9, 1000] {
            let root = BlockRange::root(blocks);
            assert_eq!((root.start(), root.end(blocks)), (0, blocks));
        }
    }

    #[test]
    fn halves_split_samples_without_loss() {
        for samples_per_pixel in [1u32, 15, 16, 17, 100, 4096] {
            let root = BlockRange::root(samples_per_pixel.div_ceil(BASE_BLOCK_SAMPLES));
            assert_eq!(root.samples(samples_per_pixel), samples_per_pixel);
            if let Some(halves) = root.halves() {
                let sum: u32 = halves.iter().map(|half| half.samples(samples_per_pixel)).sum();
                assert_eq!(sum, samples_per_pixel);
            }
        }
    }

    #[test]
    fn first_blocks_are_a_prefix_in_as_few_ranges_as_can_be() {
        let range = BlockRange { level: 3, index: 2 };
        for blocks in 0..=9_u32 {
            let ranges = range.first_blocks(blocks);
            assert_eq!(ranges.len(), blocks.min(8).count_ones() as usize, "{blocks}");
            let mut next = range.start();
            for part in &ranges {
                assert!(range.contains(part), "{part:?}");
                assert_eq!(part.start(), next, "{ranges:?}");
                next = part.end(u32::MAX);
            }
            assert_eq!(next, range.start() + blocks.min(8));
        }
    }

    #[test]
    fn family_relations_agree() {
        let range = BlockRange { level: 2, index: 5 };
        let [left, right] = range.halves().expect("level 2 has halves");
        assert_eq!(left.sibling(), right);
        assert_eq!(left.parent(), range);
        assert!(range.contains(&right) && !right.contains(&range) && !left.contains(&right));
    }
}
