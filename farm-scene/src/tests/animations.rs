//! Animations of nodes against values found by hand, and what is wrong with them.

use glam::{Affine3A, Vec3, Vec3A};
use serde_json::{Value, json};

use super::deformations::{morphed, skinned};
use super::glb::{Glb, load_bytes_with, png};
use crate::error::LoadError;
use crate::limits::SceneLimits;
use crate::load::{AnimationSummary, LoadOptions, Loaded, SceneFile};
use crate::pack::pack;
use crate::read::Files;
use crate::scene::Environment;

/// Moves one property of node 0; returns the file with its animation, called
/// `move`.
pub(super) fn animated(
    mut glb: Glb,
    path: &str,
    interpolation: &str,
    times: &[f32],
    kind: &str,
    values: &[f32],
) -> Glb {
    let input = glb.floats("SCALAR", times);
    let output = glb.floats(kind, values);
    glb.json["animations"] = json!([{
        "name": "move",
        "samplers": [{"input": input, "output": output, "interpolation": interpolation}],
        "channels": [{"sampler": 0, "target": {"node": 0, "path": path}}],
    }]);
    glb
}

fn at(time: f64) -> LoadOptions {
    LoadOptions { time: Some(time), ..LoadOptions::default() }
}

pub(super) fn load_at(glb: &Glb, time: f64) -> Loaded {
    load_bytes_with(&glb.bytes(), &at(time)).unwrap_or_else(|error| panic!("it should load: {error}"))
}

fn transform_at(glb: &Glb, time: f64) -> Affine3A {
    load_at(glb, time).scene.instances[0].transform
}

/// Checks the message of a file that must not load at a time.
#[track_caller]
pub(super) fn check_fault(glb: &Glb, message: &str) {
    let error =
        load_bytes_with(&glb.bytes(), &at(0.5)).err().unwrap_or_else(|| panic!("it loaded: {message}"));
    assert_eq!(error.to_string(), format!("scene `test.glb`: {message}"));
}

#[test]
fn nodes_move_and_stand_still_before_and_after() {
    let keys = [0.0, 0.0, 0.0, 4.0, 0.0, 0.0];
    let glb = animated(Glb::triangle(), "translation", "LINEAR", &[1.0, 3.0], "VEC3", &keys);
    for (time, x) in [(0.0, 0.0), (1.0, 0.0), (1.5, 1.0), (3.0, 4.0), (100.0, 4.0), (-1.0, 0.0)] {
        assert_eq!(transform_at(&glb, time), Affine3A::from_translation(Vec3::X * x), "at {time}");
    }
}

#[test]
fn files_without_a_time_are_at_rest() {
    let mut glb = animated(Glb::triangle(), "translation", "STEP", &[0.0], "VEC3", &[5.0, 0.0, 0.0]);
    glb.json["nodes"][0]["translation"] = json!([1, 2, 3]);
    let loaded = glb.loaded();
    assert_eq!(loaded.scene.instances[0].transform.translation, Vec3A::new(1.0, 2.0, 3.0));
    assert!(!loaded.warnings.iter().any(|warning| warning.0.contains("anim")), "{:?}", loaded.warnings);
}

#[test]
fn properties_that_are_not_moved_keep_their_values() {
    let mut glb =
        animated(Glb::triangle(), "scale", "LINEAR", &[0.0, 1.0], "VEC3", &[1.0, 1.0, 1.0, 3.0, 1.0, 1.0]);
    glb.json["nodes"][0]["translation"] = json!([0, 7, 0]);
    let found = transform_at(&glb, 0.5);
    let expected = Affine3A::from_scale_rotation_translation(
        Vec3::new(2.0, 1.0, 1.0),
        glam::Quat::IDENTITY,
        Vec3::Y * 7.0,
    );
    assert_eq!(found, expected);
}

/// A quarter turn about z as shorts, from none: half of it is 45°.
#[test]
fn quantised_rotations_turn_children_about_their_parents() {
    let mut glb = Glb::triangle();
    let input = glb.floats("SCALAR", &[0.0, 2.0]);
    let half = 23170_i16; // 32767 × sin 45°
    let shorts: Vec<u8> =
        [0, 0, 0, 32767, 0, 0, half, half].iter().flat_map(|x: &i16| x.to_le_bytes()).collect();
    let output = glb.accessor(&shorts, json!({"componentType": 5122, "normalized": true, "type": "VEC4"}));
    glb.json["animations"] = json!([{
        "samplers": [{"input": input, "output": output}],
        "channels": [{"sampler": 0, "target": {"node": 0, "path": "rotation"}}],
    }]);
    glb.json["nodes"] = json!([{"children": [1]}, {"mesh": 0, "translation": [1, 0, 0]}]);
    let found = transform_at(&glb, 1.0);
    let half = std::f32::consts::FRAC_1_SQRT_2;
    assert!((found.translation - Vec3A::new(half, half, 0.0)).length() < 1e-6, "{found}");
    assert!((found.matrix3.x_axis - Vec3A::new(half, half, 0.0)).length() < 1e-6, "{found}");
}

#[test]
fn cubic_splines_scale_their_tangents_by_the_interval() {
    // One unit a second at both ends over two seconds: from 0 to 2 a line.
    let keys = [[0.0; 3], [0.0; 3], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0; 3]].concat();
    let glb = animated(Glb::triangle(), "translation", "CUBICSPLINE", &[0.0, 2.0], "VEC3", &keys);
    for time in [0.0, 0.5, 1.25, 2.0] {
        assert!((f64::from(transform_at(&glb, time).translation.x) - time).abs() < 1e-6, "at {time}");
    }
}

#[test]
fn cameras_and_lights_move_with_their_nodes() {
    let mut glb = Glb::triangle();
    glb.json["nodes"] = json!([{"camera": 0, "children": [1]}, {"mesh": 0}]);
    glb.json["cameras"] = json!([{"type": "perspective", "perspective": {"yfov": 1, "znear": 0.1}}]);
    let glb = animated(glb, "translation", "LINEAR", &[0.0, 1.0], "VEC3", &[0.0, 0.0, 0.0, 0.0, 0.0, 8.0]);
    assert_eq!(load_at(&glb, 0.25).scene.cameras[0].transform.translation, Vec3A::Z * 2.0);
}

#[test]
fn automatic_camera_stands_still() {
    let glb = animated(
        Glb::triangle(),
        "translation",
        "LINEAR",
        &[0.0, 1.0],
        "VEC3",
        &[0.0, 0.0, 0.0, 9.0, 0.0, 0.0],
    );
    let rest = glb.loaded().scene.cameras[0].clone();
    for time in [0.0, 0.5, 1.0] {
        assert_eq!(load_at(&glb, time).scene.cameras[0], rest);
    }
}

/// A lamp that an animation shrinks to nothing leaves the dark, not a white sky.
#[test]
fn surroundings_stay_while_lights_come_and_go() {
    let keys = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0];
    let mut glb = animated(Glb::triangle(), "scale", "STEP", &[0.0, 1.0], "VEC3", &keys);
    glb.json["materials"] = json!([{"emissiveFactor": [1, 1, 1]}]);
    glb.push("meshes", glb.json["meshes"][0].clone());
    glb.json["meshes"][0]["primitives"][0]["material"] = json!(0);
    glb.push("nodes", json!({"mesh": 1}));
    glb.json["scenes"][0]["nodes"] = json!([0, 1]);
    for (time, instances) in [(0.0, 2), (1.0, 1)] {
        let scene = load_at(&glb, time).scene;
        assert_eq!(scene.instances.len(), instances);
        assert_eq!(scene.environment, Environment::Constant(Vec3::ZERO));
    }
}

/// A channel without a node is an extension's.
#[test]
fn channels_without_a_node_are_left_out() {
    let mut glb = two_animations();
    glb.json["animations"][0]["channels"].as_array_mut().expect("a list").insert(0, json!({
        "sampler": 0,
        "target": {"path": "pointer", "extensions": {"KHR_animation_pointer": {"pointer": "/materials/0"}}},
    }));
    glb.json["extensionsUsed"] = json!(["KHR_animation_pointer"]);
    let loaded = load_at(&glb, 0.0);
    assert_eq!(loaded.scene.instances[0].transform.translation.x.to_bits(), 1.0_f32.to_bits());
    assert!(loaded.warnings.iter().any(|warning| warning.0.contains("KHR_animation_pointer")));
}

/// Two animations, of which one has no name.
fn two_animations() -> Glb {
    let mut glb = animated(
        Glb::triangle(),
        "translation",
        "STEP",
        &[0.0, 2.5],
        "VEC3",
        &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
    );
    let output = glb.floats("VEC3", &[2.0, 0.0, 0.0]);
    let input = glb.floats("SCALAR", &[0.5]);
    glb.json["animations"].as_array_mut().expect("a list").push(json!({
        "samplers": [{"input": input, "output": output}],
        "channels": [{"sampler": 0, "target": {"node": 0, "path": "translation"}}],
    }));
    glb
}

#[test]
fn animations_are_chosen_by_name_or_number() {
    let glb = two_animations();
    for (wanted, x) in [(None, 1.0), (Some("move"), 1.0), (Some("0"), 1.0), (Some("1"), 2.0)] {
        let options = LoadOptions { animation: wanted.map(str::to_owned), ..at(0.0) };
        let loaded = load_bytes_with(&glb.bytes(), &options).expect("the animation is there");
        assert_eq!(loaded.scene.instances[0].transform.translation.x.to_bits(), f32::to_bits(x));
    }
    for wanted in ["Move", "2", "-1", ""] {
        let options = LoadOptions { animation: Some(wanted.to_owned()), ..LoadOptions::default() };
        let error = load_bytes_with(&glb.bytes(), &options).expect_err("there is none of that name");
        let message = format!("scene `test.glb` has no animation `{wanted}`; it has `move`, `1`");
        assert_eq!(error.to_string(), message);
    }
    let options = LoadOptions { animation: Some("run".to_owned()), ..LoadOptions::default() };
    let error = load_bytes_with(&Glb::triangle().bytes(), &options).expect_err("it is still");
    assert_eq!(error.to_string(), "scene `test.glb` has no animation `run`; it has none");
}

#[test]
fn animations_are_summed_up() {
    let summary = |name: &str, duration_seconds| AnimationSummary {
        name: name.to_owned(),
        duration_seconds,
        channels: 1,
        nodes: 1,
        translations: 1,
        rotations: 0,
        scales: 0,
        weights: 0,
    };
    assert_eq!(two_animations().loaded().animations, [summary("move", 2.5), summary("1", 0.5)]);
}

#[test]
fn times_that_are_not_numbers_are_refused() {
    for time in [f64::NAN, f64::INFINITY] {
        let error = load_bytes_with(&two_animations().bytes(), &at(time)).expect_err("no such time");
        assert!(matches!(error, LoadError::Options(_)), "{error}");
    }
}

fn index(value: &Value) -> usize {
    value.as_u64().and_then(|index| usize::try_from(index).ok()).expect("an index")
}

/// A file whose skinned strip moves beside a square that does not.
pub(super) fn half_animated() -> Glb {
    let mut glb = skinned(Value::Null);
    let texture = glb.texture(&png(2, 2, [9, 8, 7, 255]));
    let square = Glb::square();
    let offset = glb.view(&square.bin);
    let base = glb.json["accessors"].as_array().expect("a list").len();
    for mut accessor in square.json["accessors"].as_array().expect("a list").clone() {
        let view = &square.json["bufferViews"][index(&accessor["bufferView"])];
        accessor["byteOffset"] = view["byteOffset"].clone();
        accessor["bufferView"] = json!(offset);
        glb.push("accessors", accessor);
    }
    glb.json["materials"] = json!([{"pbrMetallicRoughness": {"baseColorTexture": {"index": texture}}}]);
    glb.push(
        "meshes",
        json!({"primitives": [{
            "attributes": {"POSITION": base, "NORMAL": base + 1, "TEXCOORD_0": base + 2},
            "indices": base + 3, "material": 0,
        }]}),
    );
    glb.push("nodes", json!({"mesh": 1, "translation": [4, 0, 0]}));
    glb.json["scenes"][0]["nodes"] = json!([0, 1, 3]);
    let input = glb.floats("SCALAR", &[0.0, 1.0]);
    let output = glb.floats("VEC3", &[0.0, 1.0, 0.0, 0.0, 2.0, 0.0]);
    glb.json["animations"] = json!([{
        "samplers": [{"input": input, "output": output}],
        "channels": [{"sampler": 0, "target": {"node": 2, "path": "translation"}}],
    }]);
    glb
}

#[test]
fn what_does_not_move_has_the_same_blobs_at_all_times() {
    let bytes = half_animated().bytes();
    let limits = SceneLimits::default();
    let files = || Files::new("test.glb".to_owned(), None, &limits);
    let mut file = SceneFile::from_bytes(bytes.clone(), files(), &LoadOptions::default(), &limits)
        .expect("the file is valid");
    let mut manifests = Vec::new();
    for time in [Some(0.0), Some(0.5), Some(1.0), Some(0.5), None] {
        let loaded = file.at(time).expect("any time is good");
        let options = LoadOptions { time, ..LoadOptions::default() };
        let alone = SceneFile::from_bytes(bytes.clone(), files(), &options, &limits)
            .and_then(|file| file.once(time))
            .expect("any time is good");
        assert_eq!(loaded.scene, alone.scene, "what is kept changes nothing");
        let packed = pack(&loaded.scene);
        let digests: Vec<_> = packed.blobs.iter().map(|blob| blob.digest).collect();
        manifests.push((packed.manifest.digest, digests));
    }
    let [first, second, third, again, rest] = manifests.try_into().expect("five times");
    assert_eq!(second, again);
    assert_eq!(first, rest, "the first key is where the nodes rest");
    assert_ne!(first.0, second.0);
    let common =
        |a: &[blake3::Hash], b: &[blake3::Hash]| a.iter().filter(|digest| b.contains(digest)).count();
    // The strip's geometry is new each time; the square's and the image are not.
    assert_eq!((first.1.len(), common(&first.1, &second.1), common(&first.1, &third.1)), (3, 2, 2));
}

#[test]
fn channels_that_move_one_property_twice() {
    let mut glb = two_animations();
    let channel = glb.json["animations"][0]["channels"][0].clone();
    glb.json["animations"][0]["channels"].as_array_mut().expect("a list").push(channel);
    check_fault(
        &glb,
        "animations[0].channels[1]: the same property of node 0 is moved by another channel too",
    );
}

#[test]
fn times_that_fall() {
    let glb = animated(Glb::triangle(), "translation", "STEP", &[0.0, 2.0, 1.0], "VEC3", &[0.0; 9]);
    check_fault(&glb, "animations[0].samplers[0].input: key 2 is at 1 s, after one at 2 s");
    let rest = glb.loaded();
    let text = "animations[0].samplers[0].input: key 2 is at 1 s, after one at 2 s; the length of the animation is not known";
    assert!(rest.warnings.iter().any(|warning| warning.0 == text), "{:?}", rest.warnings);
}

#[test]
fn times_that_are_not_finite() {
    let glb = animated(Glb::triangle(), "translation", "STEP", &[0.0, f32::NAN], "VEC3", &[0.0; 6]);
    let error = load_bytes_with(&glb.bytes(), &at(0.5)).expect_err("a time is no number").to_string();
    assert!(error.ends_with("element 1 is NaN; every number must be finite"), "{error}");
}

#[test]
fn samplers_without_keys() {
    let mut glb = animated(Glb::triangle(), "translation", "STEP", &[0.0], "VEC3", &[0.0; 3]);
    let sampler = index(&glb.json["animations"][0]["samplers"][0]["input"]);
    glb.json["accessors"][sampler]["count"] = json!(0);
    check_fault(&glb, "animations[0].samplers[0].input: a key is missing");
}

#[test]
fn values_that_do_not_match_their_keys() {
    let glb = animated(Glb::triangle(), "translation", "CUBICSPLINE", &[0.0, 1.0], "VEC3", &[0.0; 6]);
    check_fault(&glb, "animations[0].samplers[0].output: 6 numbers for 2 keys; expected 3 × 3 for each");
    let glb = animated(morphed(), "weights", "LINEAR", &[0.0, 1.0], "SCALAR", &[0.0; 3]);
    check_fault(&glb, "animations[0].samplers[0].output: 3 numbers for 2 keys; expected 1 × 2 for each");
}

#[test]
fn rotations_that_are_none() {
    let glb = animated(
        Glb::triangle(),
        "rotation",
        "LINEAR",
        &[0.0, 1.0],
        "VEC4",
        &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
    );
    check_fault(
        &glb,
        "animations[0].samplers[0].output: the rotation of key 1 is not a quaternion of unit length",
    );
}

#[test]
fn channels_that_name_nothing() {
    let mut glb = animated(Glb::triangle(), "translation", "STEP", &[0.0], "VEC3", &[0.0; 3]);
    glb.json["animations"][0]["channels"][0]["target"]["node"] = json!(9);
    check_fault(&glb, "animations[0].channels[0]: names node 9, but there are only 1");
    glb.json["animations"][0]["channels"][0] = json!({"sampler": 5, "target": {"node": 0, "path": "scale"}});
    check_fault(&glb, "animations[0].channels[0]: names sampler 5, but there are only 1");
    glb.json["animations"][0]["channels"][0]["sampler"] = json!(0);
    glb.json["animations"][0]["samplers"][0]["output"] = json!(77);
    check_fault(&glb, "animations[0].samplers[0].output: names accessor 77, but there are only 3");
}

#[test]
fn channels_that_move_a_matrix() {
    let mut glb = animated(Glb::triangle(), "translation", "STEP", &[0.0], "VEC3", &[0.0; 3]);
    glb.json["nodes"][0]["matrix"] = json!([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
    check_fault(
        &glb,
        "animations[0].channels[0]: it moves node 0, which has a matrix; expected separate properties",
    );
}

#[test]
fn more_keys_than_the_limit() {
    let limits = SceneLimits { key_numbers: 7, ..SceneLimits::default() };
    let glb = animated(Glb::triangle(), "translation", "STEP", &[0.0, 1.0], "VEC3", &[0.0; 6]);
    let files = Files::new("test.glb".to_owned(), None, &limits);
    let error =
        crate::load::load_from_bytes(&glb.bytes(), files, &at(0.0), &limits).expect_err("eight numbers");
    let text = "animations[0].samplers[0].output: 8 numbers in the animation's keys; the limit is 7";
    assert_eq!(error.to_string(), format!("scene `test.glb`: {text}"));
}
