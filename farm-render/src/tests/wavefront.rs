//! On the first adapter of a graphics API, by the wavefront; where there is none,
//! on the processor at the narrowest width of more than one lane.

use std::sync::OnceLock;

use super::*;
use crate::class::{probe_scene, probe_task};

/// One renderer for all tests: compiling the kernels takes a while.
fn renderer() -> &'static Renderer {
    static RENDERER: OnceLock<Renderer> = OnceLock::new();
    RENDERER.get_or_init(|| {
        let narrow = Width::available().into_iter().find(|width| width.lanes() > 1).unwrap_or(Width::ONE);
        open_graphics(Checks::of_this_build(), Variant::Wavefront).unwrap_or_else(|| open_processor(narrow))
    })
}

fn render(scene: &Scene, task: &RenderTask) -> TileImage {
    render_on(renderer(), scene, task)
}

#[path = "bits.rs"]
mod bits;
#[path = "light.rs"]
mod light;
#[path = "material.rs"]
mod material;
#[path = "scene.rs"]
mod scene;

/// The variants run the same functions, but a driver may round them differently
/// where it has inlined them elsewhere.
#[test]
fn variants_agree_on_most_pixels() {
    let Some(megakernel) = open_graphics(Checks::of_this_build(), Variant::Megakernel) else { return };
    let (scene, task) = (probe_scene(), probe_task());
    let (one, many) = (render_on(&megakernel, &scene, &task), render(&scene, &task));
    let pairs = one.pixels.iter().zip(&many.pixels);
    let differing = pairs.filter(|(a, b)| a.map(f32::to_bits) != b.map(f32::to_bits)).count();
    assert!(differing * 20 <= one.pixels.len(), "{differing} of {} pixels", one.pixels.len());
    assert_near(mean(&many), mean(&one), 2e-3);
}
