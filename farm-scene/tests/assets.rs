//! Scenes made by others, found in `../shared/assets` where they are there.

use std::path::{Path, PathBuf};

use glam::Vec3;

use farm_scene::summary::EnvironmentSummary;
use farm_scene::{Environment, LoadOptions, Loaded, Mesh, Scene, SceneSummary, load, pack, unpack};

/// Where an asset is; the checkout may lie one folder deeper than usual.
fn asset(name: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let places = ["../shared/assets", "../../shared/assets"].map(|place| workspace.join(place).join(name));
    places.into_iter().find(|path| path.exists())
}

#[expect(clippy::print_stderr, reason = "a skipped test must say that it was")]
fn load_asset(name: &str) -> Option<Loaded> {
    let Some(path) = asset(name) else {
        eprintln!("skipped: {name} is not there");
        return None;
    };
    Some(load(&path, &LoadOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Packs, unpacks, and checks that nothing changed.
fn round_trip(scene: &Scene) {
    let packed = pack(scene);
    let unpacked = unpack(&packed.manifest.bytes, |digest| {
        let blob = packed.blobs.iter().find(|blob| blob.digest == *digest);
        blob.map(|blob| blob.bytes.clone()).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    });
    assert!(unpacked.expect("a packed scene is valid") == *scene, "the scene changed");
}

fn check(name: &str, holds: impl FnOnce(&SceneSummary, &Loaded)) {
    if let Some(loaded) = load_asset(name) {
        holds(&loaded.summary(), &loaded);
        round_trip(&loaded.scene);
    }
}

#[test]
fn box_textured_has_its_texture() {
    check("BoxTextured.glb", |summary, loaded| {
        assert_eq!((summary.instanced_triangles, summary.images.len()), (12, 1));
        assert!(summary.images[0].srgb);
        assert_eq!(loaded.warnings.len(), 2, "no camera, no light: {:?}", loaded.warnings);
    });
}

#[test]
fn interleaved_box_is_a_unit_box() {
    check("BoxInterleaved.glb", |summary, _| {
        assert_eq!((summary.instanced_triangles, summary.vertices), (12, 24));
        let [low, high] = summary.bounds;
        assert!(low.iter().zip(high).all(|(low, high)| high - low > 0.99 && high - low < 1.01));
    });
}

#[test]
fn box_with_vertex_colors_keeps_them() {
    check("BoxVertexColors.glb", |_, loaded| {
        let mesh = &loaded.scene.meshes[0];
        assert_eq!(mesh.colors.len(), mesh.positions.len());
    });
}

#[test]
fn sparse_accessor_moves_three_vertices() {
    check("SimpleSparseAccessor/SimpleSparseAccessor.gltf", |_, loaded| {
        let raised = |mesh: &Mesh| mesh.positions.iter().filter(|p| p.y > 1.0).count();
        assert!(raised(&loaded.scene.meshes[0]) > 0);
    });
}

#[test]
fn milk_truck_shares_its_wheels() {
    check("CesiumMilkTruck.glb", |summary, loaded| {
        assert_eq!((summary.meshes, summary.instances), (4, 5));
        assert_eq!(loaded.animations.len(), 1, "its wheels turn");
    });
}

#[test]
fn animations_are_named_and_move_what_they_should() {
    let animations = [
        ("Fox.glb", ["Survey", "Walk", "Run"].as_slice()),
        ("RiggedSimple.glb", &["0"]),
        ("AnimatedMorphCube.glb", &["Square"]),
    ];
    for (name, animations) in animations {
        check(name, |_, loaded| {
            assert!(!loaded.warnings.iter().any(|warning| warning.0.contains("animation")), "{name}");
            let names: Vec<&str> =
                loaded.animations.iter().map(|animation| animation.name.as_str()).collect();
            assert_eq!(names, animations, "{name}");
            let moved = at_half_a_second(name);
            let positions =
                |scene: &Scene| scene.meshes.iter().flat_map(|mesh| mesh.positions.clone()).collect();
            let (still, moved): (Vec<_>, Vec<_>) = (positions(&loaded.scene), positions(&moved));
            assert_eq!(still.len(), moved.len(), "{name}");
            assert_ne!(still, moved, "{name} is bent");
        });
    }
}

fn at_half_a_second(name: &str) -> Scene {
    let options = LoadOptions { time: Some(0.5), ..LoadOptions::default() };
    load(&asset(name).expect("it was there before"), &options).expect("it was read before").scene
}

#[test]
fn flight_helmet_loads_with_its_files() {
    check("FlightHelmet/FlightHelmet.gltf", |summary, loaded| {
        assert_eq!((summary.meshes, summary.materials.len()), (6, 6));
        assert_eq!(summary.images.len(), 15);
        assert!(loaded.scene.meshes.iter().all(|mesh| mesh.tangents.len() == mesh.positions.len()));
    });
}

#[test]
fn environment_map_is_read() {
    let (Some(scene), Some(map)) = (asset("BoxTextured.glb"), asset("spiaggia_di_mondello_1k.hdr")) else {
        return;
    };
    let options = LoadOptions {
        environment: Some(map),
        environment_strength: 2.0,
        environment_rotation: 0.5,
        ..LoadOptions::default()
    };
    let loaded = load(&scene, &options).expect("scene and map are valid");
    let map = EnvironmentSummary::Map { width: 1024, height: 512, strength: 2.0, rotation: 0.5 };
    assert_eq!(loaded.summary().environment, map);
    let Environment::Map(map) = &loaded.scene.environment else { unreachable!("the summary says so") };
    let mean = map.radiance.iter().sum::<Vec3>() / 524_288.0;
    assert!(mean.min_element() > 0.01, "the sky shines: {mean}");
    round_trip(&loaded.scene);
}
