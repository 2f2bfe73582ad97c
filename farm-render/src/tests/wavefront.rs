//! On the first adapter of a graphics API, by the wavefront; where there is none,
//! on the processor at the narrowest width of more than one lane.

use std::sync::{Arc, OnceLock};

use super::*;
use crate::class::{probe_scene, probe_task};
use crate::{DiskCache, calibrate};

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
fn the_choice_between_variants_is_measured_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = Arc::new(DiskCache::open(folder.path(), 1 << 30).expect("it is made"));
    let Some((info, adapter)) = graphics_adapter(Variant::Wavefront) else { return };
    let open = || calibrate::open(&info, &adapter, Checks::of_this_build(), Some(&cache)).expect("it opens");
    let kept = || {
        cache.flush();
        let files = std::fs::read_dir(folder.path()).expect("it is there");
        let paths = files.map(|file| file.expect("it can be read").path());
        paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "variant"))
            .collect::<Vec<_>>()
    };
    let measured = open();
    let [choice] = &kept()[..] else { panic!("one choice is kept") };
    assert_eq!(open().kernels(), measured.kernels());
    // A choice that is there is believed, whatever it is.
    let other = Variant::ALL.into_iter().find(|variant| variant.name() != measured.kernels());
    let other = other.expect("there are two").name();
    let mut bytes = (other.len() as u64).to_le_bytes().to_vec();
    bytes.extend(other.as_bytes());
    bytes.extend(blake3::hash(&bytes.clone()).as_bytes());
    std::fs::write(choice, bytes).expect("the folder can be written");
    assert_eq!(open().kernels(), other);
}

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
