//! On the first adapter of a graphics API, by the megakernel; where there is
//! none, on the processor one lane at a time.

use std::sync::OnceLock;

use shaders::native::Width;

use super::*;
use crate::class::{probe_scene, probe_task};
use crate::device::{Checks, Variant};

/// One renderer for all tests: compiling the kernel takes a while.
fn renderer() -> &'static Renderer {
    static RENDERER: OnceLock<Renderer> = OnceLock::new();
    RENDERER.get_or_init(|| open(Checks::of_this_build()))
}

fn open(checks: Checks) -> Renderer {
    open_graphics(checks, Variant::Megakernel).unwrap_or_else(|| open_processor(Width::ONE))
}

fn render(scene: &Scene, task: &RenderTask) -> TileImage {
    render_on(renderer(), scene, task)
}

#[path = "bits.rs"]
mod bits;
#[path = "clamp.rs"]
mod clamp;
#[path = "layers.rs"]
mod layers;
#[path = "light.rs"]
mod light;
#[path = "material.rs"]
mod material;
#[path = "motion.rs"]
mod motion;
#[path = "scene.rs"]
mod scene;

#[test]
fn bits_do_not_depend_on_run_time_checks() {
    let (scene, task) = (probe_scene(), probe_task());
    let unchecked = render_on(&open(Checks::Least), &scene, &task);
    assert!(bits(&unchecked) == bits(&render_on(&open(Checks::All), &scene, &task)));
}

/// WGSL lets a driver fuse and reorder, so that a few samples take another
/// branch; at 16 samples a pixel those show as pixels that differ by more than
/// rounding. The probe has every feature on little room, which is the worst case.
#[test]
fn adapters_and_the_processor_agree_on_most_pixels() {
    let (scene, task) = (probe_scene(), probe_task());
    let native = Renderer::open_cpu(0, None, None, Width::widest()).expect("threads start");
    let (ours, theirs) = (render_on(&native, &scene, &task), render(&scene, &task));
    let close = |(a, b): (&[f32; 4], &[f32; 4])| {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-3 * a.abs().max(b.abs()).max(1e-3))
    };
    let agreeing = ours.pixels.iter().zip(&theirs.pixels).filter(|pair| close(*pair)).count();
    assert!(agreeing * 100 >= ours.pixels.len() * 95, "{agreeing} of {} pixels", ours.pixels.len());
    assert_near(mean(&theirs), mean(&ours), 2e-3);
}
