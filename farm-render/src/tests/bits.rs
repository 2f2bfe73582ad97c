//! The same bits however the work is cut.

use super::*;
use crate::class::{probe_scene, probe_task};
use crate::device::Checks;
use crate::dispatch::{self, Slicing};

fn bits(image: &TileImage) -> Vec<[u32; 4]> {
    image.pixels.iter().map(|pixel| pixel.map(f32::to_bits)).collect()
}

/// The rectangles of a frame cut into squares, each with the place of its
/// pixels in the frame.
fn tiles(task: &RenderTask, edge: u32) -> Vec<RenderTask> {
    let Resolution { width, height } = task.resolution;
    let mut tasks = Vec::new();
    for y in (0..height).step_by(edge as usize) {
        for x in (0..width).step_by(edge as usize) {
            let rect = Rect { x, y, width: edge.min(width - x), height: edge.min(height - y) };
            tasks.push(RenderTask { rect, ..task.clone() });
        }
    }
    tasks
}

#[test]
fn bits_do_not_depend_on_tiles_ranges_slices_or_checks() {
    let scene = probe_scene();
    let mut task = probe_task();
    // A range whose last block is short and whose tree is lopsided.
    task.settings.samples_per_pixel = 40;
    task.range = BlockRange::root(3);
    let whole = render(&scene, &task);
    assert_eq!(whole.samples, task.samples());

    let mut stitched = vec![[0; 4]; whole.pixels.len()];
    for tile in tiles(&task, 20) {
        let image = render(&scene, &tile);
        let rows = image.pixels.chunks(tile.rect.width as usize);
        for (y, row) in (tile.rect.y..).zip(rows) {
            for (x, pixel) in (tile.rect.x..).zip(row) {
                stitched[(y * task.resolution.width + x) as usize] = pixel.map(f32::to_bits);
            }
        }
    }
    assert!(stitched == bits(&whole), "tiles");

    let [early, late] = task.range.halves().expect("the root of three blocks");
    let part = |range| render(&scene, &RenderTask { range, ..task.clone() });
    let merged = part(early).merge(&part(late)).expect("siblings").finish(40).expect("whole");
    assert!(bits(&merged) == bits(&whole), "ranges");
    assert_eq!(merged.rays, whole.rays);

    let sliced = |renderer: &Renderer, records| {
        let uploaded = renderer.upload(&scene).expect("small");
        let slicing = Slicing::Fixed(records);
        dispatch::render(&renderer.device, &uploaded, &task, slicing, &mut |_| ControlFlow::Continue(()))
            .expect("rendered")
    };
    assert!(bits(&sliced(renderer(), 1000)) == bits(&whole), "slices");
    let unchecked = Renderer::open_with(None, Checks::Least).expect("the adapter opens twice");
    assert!(bits(&sliced(&unchecked, 4096)) == bits(&whole), "run-time checks");
}

#[test]
fn numeric_class_is_stable() {
    let again = Renderer::open(None).expect("the adapter opens twice");
    let class = renderer().numeric_class().expect("the probe renders");
    assert_eq!(again.numeric_class().expect("the probe renders"), class);
}
