//! The plan of a job: a pure function of its spec.

use crate::job::Resolution;
use crate::tile::{Rect, RectIndex};

/// Number of rectangles that a frame is cut into.
#[must_use]
pub fn rect_count(resolution: Resolution, tile_size: u32) -> u32 {
    resolution.width.div_ceil(tile_size) * resolution.height.div_ceil(tile_size)
}

/// The rectangle at `index`, row by row from the top left; those at the right
/// and bottom edges are cut off. `None` beyond the last.
#[must_use]
pub fn rect_at(resolution: Resolution, tile_size: u32, index: RectIndex) -> Option<Rect> {
    let columns = resolution.width.div_ceil(tile_size);
    if index.0 >= rect_count(resolution, tile_size) {
        return None;
    }
    let (x, y) = (index.0 % columns * tile_size, index.0 / columns * tile_size);
    Some(Rect {
        x,
        y,
        width: tile_size.min(resolution.width - x),
        height: tile_size.min(resolution.height - y),
    })
}
