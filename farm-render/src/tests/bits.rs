//! The same bits however the work is cut.

use std::sync::Arc;

use farm_core::BlobDigest;

use super::*;
use crate::class::{probe_scene, probe_task};
use crate::dispatch::Slicing;
use crate::{DiskCache, PreparedScene, Rendered};

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
fn a_scene_that_was_kept_has_the_same_bits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = Arc::new(DiskCache::open(folder.path(), 1 << 30).expect("it is made"));
    let engine = &renderer().engine;
    let (scene, digest) = (probe_scene(), BlobDigest([1; 32]));
    let prepared = renderer().prepare(&scene).expect("small");
    assert!(PreparedScene::recall(&cache, engine, digest).is_none());
    prepared.keep_anyway(&cache, engine, digest);
    cache.flush();
    let recalled = PreparedScene::recall(&cache, engine, digest).expect("it was kept");
    assert!(PreparedScene::recall(&cache, engine, BlobDigest([2; 32])).is_none());
    let [made, kept] = [prepared, recalled].map(|prepared| {
        let uploaded = renderer().upload(&prepared).expect("small");
        let image = renderer().render(&uploaded, &probe_task(), &mut |_| ControlFlow::Continue(()));
        (bits(&image.expect("rendered")), uploaded.bytes())
    });
    assert!(made == kept);
}

#[test]
fn bits_do_not_depend_on_tiles_ranges_or_slices() {
    check_cuts("the probe", &probe_scene(), &probe_task());
}

/// Cuts a frame into tiles, into ranges and into slices.
pub(super) fn check_cuts(name: &str, scene: &Scene, task: &RenderTask) {
    let mut task = task.clone();
    // A range whose last block is short and whose tree is lopsided.
    task.settings.samples_per_pixel = 40;
    task.range = BlockRange::root(3);
    let whole = render(scene, &task);
    assert_eq!(whole.samples, task.samples());

    let mut stitched = vec![[0; 4]; whole.pixels.len()];
    for tile in tiles(&task, 20) {
        let image = render(scene, &tile);
        let rows = image.pixels.chunks(tile.rect.width as usize);
        for (y, row) in (tile.rect.y..).zip(rows) {
            for (x, pixel) in (tile.rect.x..).zip(row) {
                stitched[(y * task.resolution.width + x) as usize] = pixel.map(f32::to_bits);
            }
        }
    }
    assert!(stitched == bits(&whole), "{name}: tiles");

    let [early, late] = task.range.halves().expect("the root of three blocks");
    let part = |range| render(scene, &RenderTask { range, ..task.clone() });
    let merged = part(early).merge(&part(late)).expect("siblings").finish(40).expect("whole");
    assert!(bits(&merged) == bits(&whole), "{name}: ranges");
    assert_eq!(merged.rays, whole.rays, "{name}");

    let uploaded = renderer().load(scene).expect("small");
    for records in [1000, 4096] {
        let sliced = renderer()
            .render_sliced(&uploaded, &task, Slicing::Fixed(records), &mut |_| ControlFlow::Continue(()))
            .expect("rendered");
        let Rendered::Done(sliced) = sliced else { panic!("nobody stopped it") };
        assert!(bits(&sliced) == bits(&whole), "{name}: slices of {records}");
    }
}

#[test]
fn what_is_whole_of_a_stopped_task_is_summed_with_the_rest_to_the_same_bits() {
    let scene = probe_scene();
    let mut task = probe_task();
    task.settings.samples_per_pixel = 7 * 16 - 5;
    task.range = BlockRange::root(7);
    let whole = render(&scene, &task);
    let uploaded = renderer().load(&scene).expect("small");
    // A slice is most of a block, so the work stops between the ends of two.
    let records = task.rect.area() - 7;
    for (slices, finished) in [(1, 0), (2, 1), (3, 2), (4, 3)] {
        let mut done = 0;
        let stopped = renderer().render_sliced(&uploaded, &task, Slicing::Fixed(records), &mut |_| {
            done += 1;
            if done < slices { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let Ok(Rendered::Stopped(mut parts)) = stopped else { panic!("it was not done: {stopped:?}") };
        let end = parts.last().map_or(0, |part| part.range.end(7));
        // A graphics adapter finishes what it is at.
        assert!((finished..=finished + 2).contains(&end), "{end} blocks after {slices} slices");
        assert_eq!(parts.len(), end.count_ones() as usize, "as few ranges as there can be");
        for block in end..7 {
            parts.push(render(
                &scene,
                &RenderTask { range: BlockRange { level: 0, index: block }, ..task.clone() },
            ));
        }
        let mut sums: Vec<TileImage> = Vec::new();
        for mut part in parts {
            while let Some(earlier) = sums.pop_if(|earlier| earlier.range == part.range.sibling()) {
                part = earlier.merge(&part).expect("siblings");
            }
            sums.push(part);
        }
        // The tree of seven blocks: the last one has no sibling.
        let mut sum = sums.pop().expect("the last block").promote();
        while let Some(earlier) = sums.pop() {
            sum = earlier.merge(&sum).expect("siblings");
        }
        let merged = sum.finish(task.settings.samples_per_pixel).expect("whole");
        assert!(bits(&merged) == bits(&whole), "stopped after {slices} slices");
        assert_eq!((merged.samples, merged.rays), (whole.samples, whole.rays));
    }
}

#[test]
fn exposure_is_a_factor_on_the_radiance_alone_however_the_work_is_cut() {
    let scene = probe_scene();
    let mut task = probe_task();
    task.settings.samples_per_pixel = 32;
    task.settings.transparent = true;
    task.range = BlockRange::root(2);
    let plain = render(&scene, &task);
    let exposed = |milli, range| {
        let mut task = RenderTask { range, ..task.clone() };
        task.settings.film.exposure_milli_ev = milli;
        render(&scene, &task)
    };
    // Powers of two are exact in every sum.
    for (milli, factor) in [(0, 1.0), (3000, 8.0), (-1000, 0.5)] {
        let wanted = plain.pixels.iter().map(|&[r, g, b, a]| [r * factor, g * factor, b * factor, a]);
        let wanted: Vec<_> = wanted.map(|pixel| pixel.map(f32::to_bits)).collect();
        assert!(bits(&exposed(milli, task.range)) == wanted, "{milli}");
    }
    let [early, late] = task.range.halves().expect("two blocks");
    let whole = exposed(777, task.range);
    let merged = exposed(777, early).merge(&exposed(777, late)).expect("siblings").finish(32);
    assert!(bits(&merged.expect("whole")) == bits(&whole));
    assert_near(mean(&whole), mean(&plain) * 0.777_f64.exp2(), 1e-6);
}
