//! The environment as the kernel reads it: radiance, and a grid of cells by
//! which it is sampled.

use std::f64::consts::PI;

use farm_scene::EnvironmentMap;

use crate::alias;
use crate::pack::word_index;

/// Most cells of the sampling grid along each axis: a cell of a larger map
/// holds several texels, which costs a little noise and saves the table.
const MOST_COLUMNS: u32 = 1024;
const MOST_ROWS: u32 = 512;

/// Where a map lies among the texels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackedSky {
    pub(crate) texels: u32,
    pub(crate) cells: u32,
    pub(crate) columns: u32,
    pub(crate) rows: u32,
}

/// Appends a map's radiance and its grid to `words`; `None` where it is black.
pub(crate) fn pack_sky(map: &EnvironmentMap, words: &mut Vec<u32>) -> Option<PackedSky> {
    if map.strength <= 0.0 {
        return None;
    }
    let (columns, rows) = (map.width.min(MOST_COLUMNS), map.height.min(MOST_ROWS));
    let table = alias::table(&cell_weights(map, columns, rows))?;
    let texels = word_index(words.len());
    words.extend(map.radiance.iter().flat_map(|texel| texel.to_array().map(f32::to_bits)));
    let cells = word_index(words.len());
    words.extend(table.iter().flat_map(|entry| [entry.alias, entry.threshold, entry.probability.to_bits()]));
    Some(PackedSky { texels, cells, columns, rows })
}

/// Mean luminance of each cell and of the texels around it, which bilinear
/// filtering lets into it, times the cell's solid angle.
fn cell_weights(map: &EnvironmentMap, columns: u32, rows: u32) -> Vec<f64> {
    let luminance = |x: u32, y: u32| {
        let texel = map.radiance[y as usize * map.width as usize + x as usize];
        0.2126 * f64::from(texel.x) + 0.7152 * f64::from(texel.y) + 0.0722 * f64::from(texel.z)
    };
    // The texels from one before a cell's first to one after its last.
    let span = |cell: u32, cells: u32, size: u32| {
        let bound = |edge: u64| edge * u64::from(size) / u64::from(cells);
        let first = i64::try_from(bound(cell.into())).unwrap_or(0) - 1;
        let last = i64::try_from(bound(u64::from(cell) + 1)).unwrap_or(0) + 1;
        (first..last).map(move |i| (i, i64::from(size)))
    };
    let texel = |i: i64| u32::try_from(i).unwrap_or(0);
    let mut weights = Vec::new();
    for row in 0..rows {
        let band = |edge: u32| (PI * f64::from(edge) / f64::from(rows)).cos();
        let solid_angle = band(row) - band(row + 1);
        for column in 0..columns {
            let (mut sum, mut count) = (0.0, 0.0);
            for (y, height) in span(row, rows, map.height) {
                for (x, width) in span(column, columns, map.width) {
                    sum += luminance(texel(x.rem_euclid(width)), texel(y.clamp(0, height - 1)));
                    count += 1.0;
                }
            }
            weights.push(sum / count * solid_angle);
        }
    }
    weights
}
