//! Pixels between the renderer and the picture, and the fixed tree they are
//! summed along.

use crate::tile::{BlockRange, Rect};

/// The rendered pixels of a tile.
///
/// A tile whose range is the root of the tree holds finished pixels, that is
/// the sum divided by the samples per pixel; any other holds plain sums.
/// [`TileImage::finish`] makes the one from the other and is the only place
/// where that division happens, so a picture has the same bits either way.
#[derive(Clone, Debug, PartialEq)]
pub struct TileImage {
    /// The pixels' place in the frame.
    pub rect: Rect,
    /// The samples that were taken of each.
    pub range: BlockRange,
    /// Linear RGB (sRGB primaries) and alpha, row by row; `rect.area()` of them.
    pub pixels: Vec<[f32; 4]>,
    /// Samples taken, over all pixels.
    pub samples: u64,
    /// Rays traced, over all samples: camera, bounce and shadow rays.
    pub rays: u64,
}

/// Two images that cannot be summed, or one that cannot be finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileImageError {
    /// The rectangles differ.
    #[error("the two images cover different rectangles")]
    DifferentRects,
    /// The ranges are not the two halves of one range, first the earlier.
    #[error("the two images are not the halves of one range")]
    NotSiblings,
    /// The number of pixels is not the rectangle's area.
    #[error("the image does not hold as many pixels as its rectangle")]
    WrongLength,
    /// The image is not the sum over the whole tree.
    #[error("the image is not the sum over all samples")]
    NotWhole,
}

impl TileImage {
    /// Sums the two halves of a range into the range: one step up the tree.
    ///
    /// # Errors
    /// When the images are not the two halves, in order, over one rectangle.
    pub fn merge(mut self, later: &Self) -> Result<Self, TileImageError> {
        if self.rect != later.rect {
            return Err(TileImageError::DifferentRects);
        }
        if self.range.sibling() != later.range || self.range.index > later.range.index {
            return Err(TileImageError::NotSiblings);
        }
        if self.pixels.len() != later.pixels.len() {
            return Err(TileImageError::WrongLength);
        }
        for (sum, addend) in self.pixels.iter_mut().zip(&later.pixels) {
            for (sum, addend) in sum.iter_mut().zip(addend) {
                *sum += addend;
            }
        }
        self.range = self.range.parent();
        self.samples += later.samples;
        self.rays += later.rays;
        Ok(self)
    }

    /// Moves a sum one step up the tree where the later half is empty because
    /// the number of blocks is not a power of two. The bits do not change.
    #[must_use]
    pub fn promote(mut self) -> Self {
        self.range = self.range.parent();
        self
    }

    /// Divides the sum over all samples by their number: finished pixels.
    ///
    /// # Errors
    /// When the image is not the sum over the root of the tree.
    pub fn finish(mut self, samples_per_pixel: u32) -> Result<Self, TileImageError> {
        let blocks = samples_per_pixel.div_ceil(crate::tile::BASE_BLOCK_SAMPLES);
        if self.range != BlockRange::root(blocks) {
            return Err(TileImageError::NotWhole);
        }
        #[expect(clippy::cast_precision_loss, reason = "limits keep sample counts below 2^24")]
        let count = samples_per_pixel as f32;
        for channel in self.pixels.as_flattened_mut() {
            *channel /= count;
        }
        Ok(self)
    }
}
