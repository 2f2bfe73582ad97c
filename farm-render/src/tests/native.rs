//! On the processor, and what only it promises.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::OnceLock;

use farm_scene::LoadOptions;
use shaders::native::lanes1::Mask;
use shaders::native::{Width, scalar, vector};

use super::*;
use crate::class::probe_scene;
use crate::film::Film;
use crate::layout::{Params, Record};
use crate::{cpu, pack};

/// One renderer for all tests.
fn renderer() -> &'static Renderer {
    static RENDERER: OnceLock<Renderer> = OnceLock::new();
    RENDERER.get_or_init(|| open(cpu::all_threads(), Width::widest()))
}

fn open(threads: NonZeroUsize, width: Width) -> Renderer {
    Renderer::open_cpu(0, Some(threads), None, width).expect("threads start")
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

/// Our own scenes, those of the extensions among them, and the probe.
fn scenes() -> Vec<(String, Scene)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a member").join("scenes");
    let mut scenes = vec![("the probe".to_owned(), probe_scene())];
    let entries = |folder: &Path| std::fs::read_dir(folder).expect("the folder is there");
    for entry in entries(&folder).chain(entries(&folder.join("extensions"))) {
        let path = entry.expect("it can be read").path();
        if path.extension().is_some_and(|extension| extension == "glb") {
            let options = LoadOptions { environment: Some(folder.join("sky.hdr")), ..LoadOptions::default() };
            let loaded = farm_scene::load(&path, &options).expect("our own scenes load");
            scenes.push((path.display().to_string(), loaded.scene));
        }
    }
    assert!(scenes.len() >= 18, "the scenes are there");
    scenes
}

#[test]
fn bits_of_every_scene_are_the_same_however_it_is_cut() {
    for (name, scene) in scenes() {
        bits::check_cuts(&name, &scene, &frame(33, 40, 8));
    }
}

#[test]
fn bits_depend_neither_on_the_width_nor_on_the_number_of_threads() {
    let task = frame(24, 20, 8);
    for (name, scene) in scenes() {
        let expected = bits(&render_on(&open(NonZeroUsize::MIN, Width::ONE), &scene, &task));
        for width in Width::available() {
            for threads in [1, 2, 5] {
                let renderer = open(NonZeroUsize::new(threads).expect("not 0"), width);
                let image = render_on(&renderer, &scene, &task);
                assert!(bits(&image) == expected, "{name}: {} lanes on {threads} threads", width.lanes());
            }
        }
    }
}

#[test]
fn the_kernel_as_it_is_written_gives_the_same_bits() {
    let task = frame(16, 20, 8);
    for scene in [probe_scene(), still(probe_scene())] {
        let packed = pack::pack(&scene).expect("small");
        let params = renderer().load(&scene).expect("small").params(&task).expect("it has a camera");
        let mut film = Film::new(task.rect, task.range, task.settings.samples_per_pixel);
        let mut records: Vec<Record> = (0..film.items()).map(|index| film.item(index)).collect();
        let count = u32::try_from(records.len()).expect("hundreds");
        let params = Params { record_count: count, ..params };
        let mut bindings = cpu::bindings(
            &packed,
            packed.features().overrides(),
            &params,
            bytemuck::cast_slice_mut(&mut records),
        );
        for id in 0..count {
            let id = vector::Vec3::new(id.into(), 0.into(), 0.into());
            scalar::render_block(Mask::splat(true), &mut bindings, id);
        }
        film.add(&records);
        let expected = film.finish(&task);
        let image = render(&scene, &task);
        // How many translucent surfaces a shadow ray passes through before it meets
        // what stops it depends on the tree, so the numbers of rays need not agree.
        assert!(bits(&image) == bits(&expected));
    }
}

/// A scene as it is when the shutter opens.
fn still(mut scene: Scene) -> Scene {
    scene.meshes.iter_mut().for_each(|mesh| mesh.motion.clear());
    Scene { motion: farm_scene::Motion::default(), ..scene }
}

#[test]
fn numeric_class_is_one_for_all_processors() {
    let narrow = open(NonZeroUsize::MIN, Width::ONE);
    let class = |renderer: &Renderer| renderer.numeric_class().expect("the probe renders");
    assert_eq!(class(&narrow), class(renderer()));
}
