//! How scenes move while the shutter is open.

use std::path::Path;

use glam::{Affine3A, Vec3, Vec4};
use serde_json::{Value, json};

use super::animations::animated;
use super::deformations::{morphed, skinned};
use super::glb::{Glb, load_bytes_with, png};
use super::packing::round_trip;
use super::scenes::textured_quad;
use crate::error::LoadError;
use crate::limits::SceneLimits;
use crate::load::{LoadOptions, Loaded, Shutter, load_bytes};
use crate::pack::pack;
use crate::scene::{LightKind, Motion, Scene, Shape, Track};
use crate::validate::validate;

/// A file at a time, with the shutter open for half a second in two parts.
fn load_over(glb: &Glb, time: f64) -> Loaded {
    let loaded = load_with(glb, time, Some(Shutter { seconds: 0.5, parts: 2 }));
    if let Some(folder) = std::env::var_os("TESSERA_FUZZ_SEEDS") {
        super::seeds::write(Path::new(&folder), glb, &loaded.scene);
    }
    loaded
}

fn load_with(glb: &Glb, time: f64, shutter: Option<Shutter>) -> Loaded {
    let options = LoadOptions { time: Some(time), shutter, ..LoadOptions::default() };
    load_bytes_with(&glb.bytes(), &options).unwrap_or_else(|error| panic!("it should load: {error}"))
}

/// A node that goes a metre a second along x, from second 0 to 2.
fn sliding(glb: Glb) -> Glb {
    animated(glb, "translation", "LINEAR", &[0.0, 2.0], "VEC3", &[0.0, 0.0, 0.0, 2.0, 0.0, 0.0])
}

fn at(x: f32) -> Affine3A {
    Affine3A::from_translation(Vec3::X * x)
}

#[test]
fn what_moves_is_known_at_the_ends_of_all_parts() {
    let scene = load_over(&sliding(Glb::triangle()), 1.0).scene;
    assert_eq!(scene.instances[0].transform, at(1.0));
    let track = Track { index: 0, transforms: vec![at(1.25), at(1.5)] };
    assert_eq!(scene.motion, Motion { parts: 2, instances: vec![track], cameras: Vec::new() });
    assert_eq!(scene.motion.of_instance(0), Some(&[at(1.25), at(1.5)][..]));
    assert_eq!(scene.motion.of_instance(1), None);
    round_trip(&scene);
    // The end of the motion is within the time.
    let scene = load_over(&sliding(Glb::triangle()), 1.75).scene;
    assert_eq!(scene.motion.instances[0].transforms, [at(2.0), at(2.0)]);
}

#[test]
fn what_is_still_keeps_its_digest_with_the_shutter_open() {
    let mut glb = sliding(Glb::triangle());
    for time in [2.0, 7.0, -3.0] {
        let (blurred, sharp) = (load_over(&glb, time).scene, load_with(&glb, time, None).scene);
        assert_eq!(blurred.motion, Motion::default(), "at {time}");
        assert_eq!(pack(&blurred).manifest.digest, pack(&sharp).manifest.digest);
    }
    glb.json["animations"] = json!([]);
    assert_eq!(load_over(&glb, 0.0).scene, load_with(&glb, 0.0, None).scene);
}

#[test]
fn what_keeps_its_shape_keeps_its_blobs() {
    let glb = sliding(Glb::square());
    let (blurred, sharp) = (pack(&load_over(&glb, 0.5).scene), pack(&load_with(&glb, 0.0, None).scene));
    let digests =
        |packed: &crate::PackedScene| packed.blobs.iter().map(|blob| blob.digest).collect::<Vec<_>>();
    assert_eq!(digests(&blurred), digests(&sharp));
    assert_ne!(blurred.manifest.digest, sharp.manifest.digest);
}

#[test]
fn morphed_meshes_have_their_shapes_at_the_ends_of_all_parts() {
    let mut glb = animated(morphed(), "weights", "LINEAR", &[0.0, 1.0], "SCALAR", &[0.0, 0.0, 1.0, 0.5]);
    // Another node shows the mesh, and is still.
    let second = glb.push("nodes", json!({"mesh": 0}));
    glb.json["scenes"][0]["nodes"] = json!([0, second]);
    let scene = load_over(&glb, 0.0).scene;
    round_trip(&scene);
    assert_eq!((scene.motion.parts, scene.motion.instances.len()), (2, 0));
    assert_eq!(scene.instances.iter().map(|instance| instance.mesh).collect::<Vec<_>>(), [0, 1]);
    let heights = |positions: &[Vec3]| positions.iter().map(|position| position.z).collect::<Vec<_>>();
    let [moving, still] = &scene.meshes[..] else { panic!("two meshes") };
    assert_eq!(heights(&moving.positions), [0.0; 4]);
    assert_eq!(heights(&moving.motion[0].positions), [0.25, 0.0, 0.5, 0.0]);
    assert_eq!(heights(&moving.motion[1].positions), [0.5, 0.0, 1.0, 0.0]);
    let leaning = Vec3::new(0.5, 0.0, 1.0).normalize();
    assert!((moving.motion[1].normals[0] - leaning).length() < 1e-6);
    assert_eq!(still.motion, []);
    assert_eq!(still.positions, moving.positions);
}

#[test]
fn skinned_meshes_follow_their_joints_through_the_time() {
    let mut glb = skinned(Value::Null);
    glb = sliding(glb);
    glb.json["animations"][0]["channels"][0]["target"]["node"] = json!(1);
    let scene = load_over(&glb, 0.0).scene;
    let mesh = &scene.meshes[0];
    assert_eq!(scene.instances[0].transform, Affine3A::IDENTITY);
    for (shape, x) in mesh.motion.iter().zip([0.25, 0.5]) {
        for (moved, rest) in shape.positions.iter().zip(&mesh.positions) {
            assert!((*moved - *rest - Vec3::X * x).length() < 1e-6, "{moved} from {rest}");
        }
    }
    assert_eq!(mesh.motion.len(), 2);
}

/// Where a file brings no tangents, they are generated shape by shape, and part
/// vertices where they differ.
#[test]
fn shapes_have_the_same_triangles_whatever_their_tangents_are() {
    let mut glb = animated(morphed(), "weights", "LINEAR", &[0.0, 1.0], "SCALAR", &[0.0, 0.0, 1.0, 0.5]);
    let texture = glb.texture(&png(1, 1, [128, 128, 255, 255]));
    glb.json["materials"] = json!([{"normalTexture": {"index": texture}}]);
    glb.json["meshes"][0]["primitives"][0]["material"] = json!(0);
    let scene = load_over(&glb, 0.0).scene;
    let mesh = &scene.meshes[0];
    assert_eq!(mesh.motion.len(), 2);
    round_trip(&scene);
    // Corner by corner they are those of the file at that time.
    let later = load_with(&glb, 0.5, None).scene;
    let later = &later.meshes[0];
    let end = &mesh.motion[1];
    for (ours, theirs) in mesh.triangles.as_flattened().iter().zip(later.triangles.as_flattened()) {
        let (ours, theirs) = (*ours as usize, *theirs as usize);
        assert_eq!(end.positions[ours], later.positions[theirs]);
        assert_eq!(end.normals[ours], later.normals[theirs]);
        assert_eq!(end.tangents[ours], later.tangents[theirs]);
    }
}

#[test]
fn cameras_have_tracks_and_lights_stand_in_the_middle_of_their_way() {
    let mut glb = Glb::triangle();
    glb.json["nodes"] = json!([
        {"camera": 0, "children": [1], "extensions": {"KHR_lights_punctual": {"light": 0}}},
        {"mesh": 0},
        {"camera": 0},
    ]);
    glb.json["scenes"][0]["nodes"] = json!([2, 0]);
    glb.json["cameras"] = json!([{"type": "perspective", "perspective": {"yfov": 1, "znear": 0.1}}]);
    glb.json["extensionsUsed"] = json!(["KHR_lights_punctual"]);
    glb.json["extensions"] = json!({"KHR_lights_punctual": {"lights": [{"type": "point"}]}});
    let loaded = load_over(&sliding(glb), 1.0);
    let motion = &loaded.scene.motion;
    assert_eq!(motion.cameras, [Track { index: 1, transforms: vec![at(1.25), at(1.5)] }]);
    assert_eq!(motion.of_camera(0), None);
    let LightKind::Point { position, .. } = loaded.scene.lights[0].kind else { panic!("a point") };
    assert_eq!(position, Vec3::X * 1.25);
    assert!(loaded.warnings.iter().any(|warning| warning.0.contains("light moves")), "{:?}", loaded.warnings);
}

#[test]
fn what_vanishes_is_shown_as_it_was_until_the_shutter_closes() {
    // Gone at 0.4 s, between the ends of the parts at 0.25 and at 0.5 s.
    let mut glb = animated(
        Glb::triangle(),
        "scale",
        "STEP",
        &[0.0, 0.2, 0.4],
        "VEC3",
        &[1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0],
    );
    let second = glb.push("nodes", json!({"mesh": 0}));
    glb.json["scenes"][0]["nodes"] = json!([0, second]);
    let loaded = load_over(&glb, 0.0);
    let double = Affine3A::from_scale(Vec3::splat(2.0));
    assert_eq!(loaded.scene.motion.of_instance(0), Some(&[double, double][..]));
    assert!(loaded.warnings.iter().any(|warning| warning.0.contains("vanishes")), "{:?}", loaded.warnings);
}

#[test]
fn shutters_that_no_camera_has_are_refused() {
    for (seconds, parts, text) in
        [(0.0, 2, "more than 0"), (f64::NAN, 2, "more than 0"), (0.1, 0, "1 to 16"), (0.1, 17, "1 to 16")]
    {
        let options = LoadOptions { shutter: Some(Shutter { seconds, parts }), ..LoadOptions::default() };
        let error = load_bytes("a.glb", &[], &options, &SceneLimits::default()).expect_err("it is refused");
        assert!(matches!(&error, LoadError::Options(message) if message.contains(text)), "{error}");
    }
}

/// A square that is carried off and bent, seen by a camera that is carried along.
fn moving_quad() -> Scene {
    let mut scene = textured_quad();
    let shape = |z: f32| Shape {
        positions: scene.meshes[0].positions.iter().map(|&p| p + Vec3::Z * (z * p.x)).collect(),
        normals: vec![Vec3::new(0.6, 0.0, 0.8); 4],
        tangents: vec![Vec4::new(0.8, 0.0, -0.6, 1.0); 4],
    };
    let motion = vec![shape(0.5), shape(1.0), shape(0.0)];
    let track = |from: Affine3A| {
        let transforms = [0.5, 0.75, 4.0].map(|x| at(x) * from).to_vec();
        vec![Track { index: 0, transforms }]
    };
    scene.motion =
        Motion { parts: 3, instances: track(Affine3A::IDENTITY), cameras: track(scene.cameras[0].transform) };
    scene.meshes[0].motion = motion;
    scene
}

#[test]
fn packing_loses_no_motion() {
    round_trip(&moving_quad());
}

#[test]
fn every_broken_motion_is_found() {
    let check = |place: &str, break_it: fn(&mut Scene)| {
        let mut scene = moving_quad();
        validate(&scene, &SceneLimits::default()).expect("the scene is valid before it is broken");
        break_it(&mut scene);
        let fault = validate(&scene, &SceneLimits::default()).expect_err("the broken scene passed");
        assert!(fault.place.starts_with(place), "{fault}");
    };
    check("meshes[0]", |scene| scene.motion.parts = 2);
    check("meshes[0]", |scene| scene.meshes[0].motion.truncate(2));
    check("meshes[0]", |scene| scene.meshes[0].motion[1].positions.truncate(3));
    check("meshes[0]", |scene| scene.meshes[0].motion[1].normals.clear());
    check("meshes[0]", |scene| scene.meshes[0].motion[1].tangents.clear());
    check("meshes[0]", |scene| scene.meshes[0].motion[2].positions[0].y = f32::NAN);
    check("meshes[0]", |scene| scene.meshes[0].motion[2].positions[0].y = 2e9);
    check("meshes[0]", |scene| scene.meshes[0].motion[2].normals[3] *= 1.1);
    check("meshes[0]", |scene| scene.meshes[0].motion[2].tangents[3].w = 0.0);
    check("motion", |scene| scene.motion.instances[0].index = 1);
    check("motion", |scene| scene.motion.cameras[0].index = 1);
    check("motion", |scene| scene.motion.instances[0].transforms.truncate(2));
    check("motion", |scene| scene.motion.instances[0].transforms[2].translation.x = 1e10);
    check("motion", |scene| scene.motion.instances[0].transforms[0].matrix3.x_axis *= -1.0);
    check("motion", |scene| scene.motion.cameras[0].transforms[1].matrix3 *= 2.0);
    check("motion", |scene| scene.motion.cameras[0].transforms[1].translation.y = f32::INFINITY);
    check("motion", |scene| {
        let twice = scene.motion.instances[0].clone();
        scene.motion.instances.push(twice);
    });
    check("motion", |scene| {
        scene.meshes[0].motion.clear();
        scene.motion.parts = 0;
    });
    check("motion", |scene| {
        scene.meshes[0].motion.clear();
        scene.motion = Motion { parts: 17, ..Motion::default() };
    });
}

#[test]
fn shapes_count_as_vertices() {
    let scene = moving_quad();
    let limits = |vertices| SceneLimits { vertices, ..SceneLimits::default() };
    assert!(validate(&scene, &limits(16)).is_ok());
    assert!(validate(&scene, &limits(15)).is_err());
}
