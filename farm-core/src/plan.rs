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
    let is_there = index.0 < rect_count(resolution, tile_size);
    is_there.then(|| rect_in(resolution, tile_size, columns, index))
}

/// As [`rect_at`], of a rectangle that is there, where the number of columns is known
/// already: dividing is most of the work.
pub(crate) fn rect_in(resolution: Resolution, tile_size: u32, columns: u32, index: RectIndex) -> Rect {
    let (x, y) = (index.0 % columns * tile_size, index.0 / columns * tile_size);
    Rect { x, y, width: tile_size.min(resolution.width - x), height: tile_size.min(resolution.height - y) }
}

/// The rectangles that share a pixel with `region`, in increasing order.
pub fn rects_in(
    resolution: Resolution,
    tile_size: u32,
    region: Rect,
) -> impl Iterator<Item = RectIndex> + use<> {
    let columns = resolution.width.div_ceil(tile_size);
    // The tiles along an edge of the frame that `length` pixels from `start` touch.
    let along = move |start: u32, length: u32, edge: u32| {
        let end = start.saturating_add(length).min(edge);
        if start < end { start / tile_size..end.div_ceil(tile_size) } else { 0..0 }
    };
    let across = along(region.x, region.width, resolution.width);
    let down = along(region.y, region.height, resolution.height);
    down.flat_map(move |row| across.clone().map(move |column| RectIndex(row * columns + column)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_in_a_region_are_those_that_share_a_pixel_with_it() {
        let resolution = Resolution { width: 100, height: 60 };
        let all = || (0..rect_count(resolution, 32)).map(RectIndex);
        for (x, y, width, height) in [
            (0, 0, 100, 60),
            (31, 31, 2, 2),
            (32, 0, 1, 1),
            (96, 32, 4, 28),
            (99, 59, u32::MAX, u32::MAX),
            (100, 0, 5, 5),
            (0, 60, 5, 5),
            (10, 10, 0, 7),
        ] {
            let shares = |index: &RectIndex| {
                let rect = rect_at(resolution, 32, *index).expect("it is in the plan");
                let meet = |a: u32, b: u32, c: u32, d: u32| {
                    u64::from(a.max(c)) < (u64::from(a) + u64::from(b)).min(u64::from(c) + u64::from(d))
                };
                meet(rect.x, rect.width, x, width) && meet(rect.y, rect.height, y, height)
            };
            let expected: Vec<_> = all().filter(shares).collect();
            let found: Vec<_> = rects_in(resolution, 32, Rect { x, y, width, height }).collect();
            assert_eq!(found, expected, "{width}×{height} at {x}, {y}");
        }
    }
}
