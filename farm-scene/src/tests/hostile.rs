//! Files and blobs broken at random: whatever comes, nothing panics, and what
//! loads is valid.

use proptest::prelude::*;
use serde_json::json;

use super::glb::{Glb, load_bytes, load_bytes_with, png};
use super::scenes::textured_quad;
use crate::limits::SceneLimits;
use crate::load::{LoadOptions, Warnings};
use crate::pack::pack;
use crate::unpack::unpack;
use crate::validate::validate;

/// A small file that uses most of what the reader knows.
fn rich() -> Glb {
    let mut glb = Glb::square();
    let texture = glb.texture(&png(3, 2, [200, 100, 50, 255]));
    glb.json["materials"] = json!([{
        "pbrMetallicRoughness": {"baseColorTexture": {"index": texture}, "metallicFactor": 0.5},
        "normalTexture": {"index": texture, "extensions": {"KHR_texture_transform": {"scale": [2, 2]}}},
        "emissiveFactor": [1, 0.5, 0],
        "alphaMode": "MASK",
        "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": 3}},
    }]);
    glb.json["meshes"][0]["primitives"][0]["material"] = json!(0);
    let indices = glb.view(&[0, 2]);
    let values = glb.view(&[0; 24]);
    let sparse = json!({
        "count": 2,
        "indices": {"bufferView": indices, "componentType": 5121},
        "values": {"bufferView": values},
    });
    let positions = glb.push(
        "accessors",
        json!({"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3", "sparse": sparse}),
    );
    glb.primitive(json!({"attributes": {"POSITION": positions}, "mode": 5}));
    glb.json["cameras"] = json!([{"type": "perspective", "perspective": {"yfov": 1, "znear": 0.1}}]);
    glb.json["extensions"] =
        json!({"KHR_lights_punctual": {"lights": [{"type": "spot", "spot": {}, "range": 5}]}});
    glb.json["nodes"] = json!([
        {"mesh": 0, "children": [1], "scale": [-1, 1, 1]},
        {"mesh": 0, "camera": 0, "translation": [0, 0, 4], "rotation": [0, 0.6, 0, 0.8],
         "extensions": {"KHR_lights_punctual": {"light": 0}}},
    ]);
    glb
}

#[test]
fn rich_file_is_valid() {
    let loaded = rich().loaded();
    assert_eq!((loaded.scene.instances.len(), loaded.scene.lights.len()), (4, 1));
}

/// A small file with an animation, a skin and a morph target.
fn moving() -> Glb {
    let mut glb = super::animations::half_animated();
    glb.json["meshes"][0]["primitives"][0]["targets"] = json!([{"POSITION": 0, "NORMAL": 1}]);
    glb.json["meshes"][0]["weights"] = json!([0.5]);
    let input = glb.floats("SCALAR", &[0.0, 0.25, 1.0]);
    let turns =
        glb.floats("VEC4", &[[0.0, 0.0, 0.0, 1.0], [0.6, 0.0, 0.8, 0.0], [0.0, 0.0, 0.0, -1.0]].concat());
    let weights = glb.floats("SCALAR", &[0.0, 1.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.5, 1.0]);
    let animation = &mut glb.json["animations"][0];
    let mut add = |list: &str, value: serde_json::Value| {
        animation[list].as_array_mut().expect("a list").push(value);
    };
    add("samplers", json!({"input": input, "output": turns}));
    add("samplers", json!({"input": input, "output": weights, "interpolation": "CUBICSPLINE"}));
    add("channels", json!({"sampler": 1, "target": {"node": 1, "path": "rotation"}}));
    add("channels", json!({"sampler": 2, "target": {"node": 0, "path": "weights"}}));
    glb
}

fn middle() -> LoadOptions {
    LoadOptions { time: Some(0.3), ..LoadOptions::default() }
}

#[test]
fn moving_file_is_valid() {
    let loaded = load_bytes_with(&moving().bytes(), &middle()).expect("the file is valid");
    assert_eq!((loaded.scene.instances.len(), loaded.animations[0].channels), (2, 3));
}

/// Overwrites bytes, then cuts the end off.
pub(super) fn broken(
    mut bytes: Vec<u8>,
    changes: &[(prop::sample::Index, u8)],
    cut: Option<usize>,
) -> Vec<u8> {
    for (at, value) in changes {
        let at = at.index(bytes.len());
        bytes[at] = *value;
    }
    if let Some(cut) = cut {
        bytes.truncate(bytes.len().saturating_sub(cut));
    }
    bytes
}

pub(super) fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)
}

pub(super) fn cut() -> impl Strategy<Value = Option<usize>> {
    prop::option::weighted(0.2, 0..2000_usize)
}

fn wrong_number() -> impl Strategy<Value = serde_json::Value> {
    let numbers = [
        json!(-1),
        json!(0),
        json!(1),
        json!(2),
        json!(7),
        json!(255),
        json!(u32::MAX),
        json!(u64::MAX),
        json!(1e300),
        json!(1e38),
        json!(-1e38),
        json!(0.5),
        json!(1e-40),
    ];
    prop::sample::select(numbers.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn broken_files_never_panic(changes in changes(), cut in cut()) {
        if let Ok(loaded) = load_bytes(&broken(rich().bytes(), &changes, cut)) {
            prop_assert!(validate(&loaded.scene, &SceneLimits::default()).is_ok());
        }
    }

    /// Numbers of the JSON replaced: indices, counts, offsets and factors that
    /// byte flips seldom reach.
    #[test]
    fn wrong_numbers_never_panic(at in any::<prop::sample::Index>(), value in wrong_number()) {
        let mut glb = rich();
        let mut numbers = Vec::new();
        numbers_of(&mut glb.json, &mut numbers);
        let chosen = at.index(numbers.len());
        *numbers.swap_remove(chosen) = value;
        if let Ok(loaded) = glb.load() {
            prop_assert!(validate(&loaded.scene, &SceneLimits::default()).is_ok());
        }
    }

    #[test]
    fn broken_moving_files_never_panic(changes in changes(), cut in cut()) {
        if let Ok(loaded) = load_bytes_with(&broken(moving().bytes(), &changes, cut), &middle()) {
            prop_assert!(validate(&loaded.scene, &SceneLimits::default()).is_ok());
        }
    }

    #[test]
    fn wrong_numbers_of_moving_files_never_panic(at in any::<prop::sample::Index>(), value in wrong_number()) {
        let mut glb = moving();
        let mut numbers = Vec::new();
        numbers_of(&mut glb.json, &mut numbers);
        let chosen = at.index(numbers.len());
        *numbers.swap_remove(chosen) = value;
        if let Ok(loaded) = load_bytes_with(&glb.bytes(), &middle()) {
            prop_assert!(validate(&loaded.scene, &SceneLimits::default()).is_ok());
        }
    }

    #[test]
    fn broken_manifests_never_panic(changes in changes(), cut in cut()) {
        let packed = pack(&textured_quad());
        let manifest = broken(packed.manifest.bytes, &changes, cut);
        let scene = unpack(&manifest, |digest| {
            let blob = packed.blobs.iter().find(|blob| blob.digest == *digest);
            blob.map(|blob| blob.bytes.clone()).ok_or_else(|| std::io::ErrorKind::NotFound.into())
        });
        if let Ok(scene) = scene {
            prop_assert!(validate(&scene, &SceneLimits::default()).is_ok());
        }
    }

    /// A blob broken by whoever names it by the digest of the broken bytes.
    #[test]
    fn broken_blobs_never_panic(which in 0..2_usize, changes in changes(), cut in cut()) {
        let packed = pack(&textured_quad());
        let old = &packed.blobs[which];
        let new = broken(old.bytes.clone(), &changes, cut);
        let (from, to) = (old.digest, blake3::hash(&new));
        let at = packed.manifest.bytes.windows(32).position(|bytes| bytes == from.as_bytes());
        let at = at.expect("the manifest names its blobs");
        let mut manifest = packed.manifest.bytes.clone();
        manifest[at..at + 32].copy_from_slice(to.as_bytes());
        let scene = unpack(&manifest, |digest| {
            if *digest == to {
                return Ok(new.clone());
            }
            let blob = packed.blobs.iter().find(|blob| blob.digest == *digest);
            blob.map(|blob| blob.bytes.clone()).ok_or_else(|| std::io::ErrorKind::NotFound.into())
        });
        if let Ok(scene) = scene {
            prop_assert!(validate(&scene, &SceneLimits::default()).is_ok());
        }
    }

    #[test]
    fn broken_environment_maps_never_panic(exr in any::<bool>(), changes in changes(), cut in cut()) {
        let whole = if exr { super::features::exr_map() } else { super::features::hdr_map() };
        let bytes = broken(whole, &changes, cut.map(|cut| cut / 10));
        let limits = SceneLimits { environment_texels: 10_000, ..SceneLimits::default() };
        let _ = crate::environment::decode(&bytes, &limits, &mut Warnings::new(1));
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = load_bytes(&bytes);
        let _ = load_bytes(&super::glb::container(&bytes, &[]));
        let _ = crate::unpack::manifest_blobs(&bytes);
    }
}

fn numbers_of<'a>(value: &'a mut serde_json::Value, numbers: &mut Vec<&'a mut serde_json::Value>) {
    match value {
        serde_json::Value::Number(_) => numbers.push(value),
        serde_json::Value::Array(values) => values.iter_mut().for_each(|value| numbers_of(value, numbers)),
        serde_json::Value::Object(values) => {
            values.values_mut().for_each(|value| numbers_of(value, numbers));
        }
        _ => {}
    }
}
