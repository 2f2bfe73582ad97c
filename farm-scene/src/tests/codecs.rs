//! Compressed buffer views, primitives and images, against what the codecs'
//! reference decoders make of the same streams (`codecs/make.mjs`).

use std::collections::BTreeMap;

use glam::Vec3;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

use super::glb::Glb;
use super::hostile::{broken, changes, cut};
use crate::limits::SceneLimits;
use crate::load::{LoadOptions, Loaded, load_bytes};
use crate::scene::{Mesh, Texels};
use crate::validate::validate;

#[derive(Deserialize)]
struct Streams {
    meshopt: BTreeMap<String, View>,
    draco: BTreeMap<String, Primitive>,
    ktx2: BTreeMap<String, Picture>,
}

#[derive(Deserialize)]
struct View {
    mode: String,
    filter: String,
    count: usize,
    stride: usize,
    stream: Base64,
    decoded: Base64,
}

#[derive(Deserialize)]
struct Primitive {
    count: usize,
    stream: Base64,
    positions: Base64,
    normals: Base64,
    colors: Base64,
    indices: Base64,
}

#[derive(Deserialize)]
struct Picture {
    width: u32,
    height: u32,
    stream: Base64,
    decoded: Base64,
}

struct Base64(Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        data_encoding::BASE64.decode(text.as_bytes()).map(Self).map_err(serde::de::Error::custom)
    }
}

fn streams() -> Streams {
    serde_json::from_str(include_str!("codecs/streams.json")).expect("the script writes this form")
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().expect("four bytes"))).collect()
}

/// A file whose buffer 1 has no bytes, and in which views are compressed.
fn compressed() -> Glb {
    let mut glb = Glb::new();
    glb.json["extensionsRequired"] =
        json!(["EXT_meshopt_compression", "KHR_meshopt_compression", "KHR_mesh_quantization",]);
    let fallback = json!({"EXT_meshopt_compression": {"fallback": true}});
    glb.push("buffers", json!({"byteLength": 4096, "extensions": fallback}));
    glb
}

/// An accessor of a compressed view.
fn accessor(glb: &mut Glb, view: &View, mut description: serde_json::Value) -> usize {
    let plain = glb.view(&view.stream.0);
    let plain = glb.json["bufferViews"][plain].clone();
    let extension = json!({
        "buffer": 0,
        "byteOffset": plain["byteOffset"],
        "byteLength": plain["byteLength"],
        "byteStride": view.stride,
        "count": view.count,
        "mode": view.mode,
        "filter": view.filter,
    });
    // The filter for colours came with the second name.
    let name = if view.filter == "COLOR" { "KHR_meshopt_compression" } else { "EXT_meshopt_compression" };
    let mut compressed = json!({
        "buffer": 1,
        "byteLength": view.count * view.stride,
        "extensions": {name: extension},
    });
    if view.mode == "ATTRIBUTES" {
        compressed["byteStride"] = json!(view.stride);
    }
    description["bufferView"] = json!(glb.push("bufferViews", compressed));
    description["count"] = json!(view.count);
    glb.push("accessors", description)
}

/// A file with compressed positions, indices and one more attribute.
fn grid(positions: &str, triangles: &str, more: Option<(&str, &str, serde_json::Value)>) -> Glb {
    let streams = streams().meshopt;
    let mut glb = compressed();
    let vec3 = json!({"componentType": 5126, "type": "VEC3"});
    let positions = accessor(&mut glb, &streams[positions], vec3);
    let kind = if streams[triangles].stride == 2 { 5123 } else { 5125 };
    let indices = accessor(&mut glb, &streams[triangles], json!({"componentType": kind, "type": "SCALAR"}));
    let mut primitive = json!({"attributes": {"POSITION": positions}, "indices": indices});
    if let Some((semantic, stream, description)) = more {
        primitive["attributes"][semantic] = json!(accessor(&mut glb, &streams[stream], description));
    }
    glb.primitive(primitive);
    glb
}

fn only_mesh(loaded: &Loaded) -> &Mesh {
    assert_eq!(loaded.scene.meshes.len(), 1);
    &loaded.scene.meshes[0]
}

/// What the reference decoder made of a view of indices.
fn indices(view: &View) -> Vec<u32> {
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte));
    view.decoded.0.chunks_exact(view.stride).map(word).collect()
}

#[test]
fn compressed_positions_and_indices_are_the_reference_decoders() {
    let streams = streams().meshopt;
    for positions in ["positions", "positions_1", "exponents"] {
        for triangles in ["triangles", "wide_triangles", "indices"] {
            let loaded = grid(positions, triangles, None).loaded();
            let mesh = only_mesh(&loaded);
            let found: Vec<f32> = mesh.positions.iter().flat_map(|position| position.to_array()).collect();
            assert!(found == floats(&streams[positions].decoded.0), "{positions}, {triangles}");
            assert_eq!(
                mesh.triangles.as_flattened(),
                indices(&streams[triangles]),
                "{positions}, {triangles}"
            );
        }
    }
}

#[test]
fn filtered_normals_are_the_reference_decoders() {
    let streams = streams().meshopt;
    for (stream, kind, step) in [("normals_8", 5120, 127.0_f32), ("normals_16", 5122, 32767.0)] {
        let description = json!({"componentType": kind, "type": "VEC3", "normalized": true});
        let loaded = grid("positions", "triangles", Some(("NORMAL", stream, description))).loaded();
        let view = &streams[stream];
        let expected = integers(view).map(|n| Vec3::new(n[0], n[1], n[2]) / step);
        for (found, expected) in only_mesh(&loaded).normals.iter().zip(expected) {
            assert!((*found - expected.normalize()).length() < 1e-6, "{stream}: {found} for {expected}");
        }
    }
}

#[test]
fn filtered_colors_and_quaternions_are_the_reference_decoders() {
    let streams = streams().meshopt;
    for (stream, kind, step) in [("colors", 5121, 255.0_f32), ("turns", 5122, 32767.0)] {
        let description = json!({"componentType": kind, "type": "VEC4", "normalized": true});
        let loaded = grid("positions", "triangles", Some(("COLOR_0", stream, description))).loaded();
        let expected = integers(&streams[stream]).map(|values| {
            let values = if stream == "colors" { values.map(|v| v.rem_euclid(256.0)) } else { values };
            values.map(|value| (value / step).clamp(0.0, 1.0))
        });
        let found: Vec<[f32; 4]> = only_mesh(&loaded).colors.iter().map(|color| color.to_array()).collect();
        assert_eq!(found, expected.collect::<Vec<_>>(), "{stream}");
    }
}

/// The elements of a view, of four signed integers each.
fn integers(view: &View) -> impl Iterator<Item = [f32; 4]> {
    let size = view.stride / 4;
    view.decoded.0.chunks_exact(view.stride).map(move |element| {
        let value = |bytes: &[u8]| match *bytes {
            [low, high] => f32::from(i16::from_le_bytes([low, high])),
            _ => f32::from(i8::from_le_bytes([bytes[0]])),
        };
        std::array::from_fn(|i| value(&element[i * size..(i + 1) * size]))
    })
}

/// Checks the error of a file.
fn check(glb: &Glb, message: &str) {
    let error = glb.load().err().unwrap_or_else(|| panic!("the file loaded; expected: {message}"));
    assert_eq!(error.to_string(), format!("scene `test.glb`: {message}"));
}

#[test]
fn broken_compressed_views_are_named() {
    let place = "bufferViews[1].extensions.EXT_meshopt_compression";
    let broken = |key: &str, value: serde_json::Value| {
        let mut glb = grid("positions", "triangles", None);
        glb.json["bufferViews"][1]["extensions"]["EXT_meshopt_compression"][key] = value;
        glb
    };
    check(&broken("mode", json!("POINTS")), &format!("{place}: the mode POINTS is not supported"));
    check(&broken("filter", json!("SHARP")), &format!("{place}: the filter SHARP is not supported"));
    check(&broken("count", json!(-1)), &format!("{place}: invalid value: integer `-1`, expected u64"));
    check(&broken("buffer", json!(1)), &format!("{place}: the buffer of the compressed bytes is missing"));
    check(&broken("buffer", json!(7)), &format!("{place}: names buffer 7, but there are only 2"));
    let message = "reaches byte 9000 of buffer 0, which has only 308 bytes";
    check(&broken("byteLength", json!(9000)), &format!("{place}: {message}"));
    let message = "vertex stream is truncated";
    check(&broken("byteLength", json!(20)), &format!("{place}: {message}"));
}

#[test]
fn compressed_views_do_not_read_what_others_decoded_to() {
    let mut glb = grid("positions", "triangles", None);
    glb.json["bufferViews"][3]["extensions"]["EXT_meshopt_compression"]["buffer"] = json!(2);
    let place = "bufferViews[3].extensions.EXT_meshopt_compression";
    check(&glb, &format!("{place}: names buffer 2, but there are only 2"));
}

#[test]
fn compressed_views_too_large_are_refused_before_they_are_decoded() {
    let place = "bufferViews[1].extensions.EXT_meshopt_compression";
    let bomb = |count: u64| {
        let mut glb = grid("positions", "triangles", None);
        glb.json["bufferViews"][1]["extensions"]["EXT_meshopt_compression"]["count"] = json!(count);
        glb
    };
    let message = "12000000 bytes from a stream that is too short for them; the limit is 218112";
    check(&bomb(1_000_000), &format!("{place}: {message}"));
    let message = "18446744073709551615 bytes in all compressed buffer views; the limit is 5637144576";
    check(&bomb(u64::MAX), &format!("{place}: {message}"));
}

/// A file with a compressed primitive.
fn draco(primitive: &Primitive) -> Glb {
    let mut glb = Glb::new();
    glb.json["extensionsRequired"] = json!(["KHR_draco_mesh_compression"]);
    let view = glb.view(&primitive.stream.0);
    let mut bare = |kind: &str, component: u32, count: usize| {
        let normalized = component == 5121;
        glb.push(
            "accessors",
            json!({"componentType": component, "type": kind, "count": count, "normalized": normalized}),
        )
    };
    let count = primitive.count;
    let attributes = json!({
        "POSITION": bare("VEC3", 5126, count),
        "NORMAL": bare("VEC3", 5126, count),
        "COLOR_0": bare("VEC4", 5121, count),
    });
    let indices = bare("SCALAR", 5125, primitive.indices.0.len() / 4);
    let ids = json!({"POSITION": 0, "NORMAL": 1, "COLOR_0": 2, "_OTHER": 7});
    let extension = json!({"KHR_draco_mesh_compression": {"bufferView": view, "attributes": ids}});
    glb.primitive(json!({"attributes": attributes, "indices": indices, "extensions": extension}));
    glb
}

#[test]
fn draco_primitives_are_the_reference_decoders() {
    for (name, primitive) in &streams().draco {
        let loaded = draco(primitive).loaded();
        let mesh = only_mesh(&loaded);
        let found: Vec<f32> = mesh.positions.iter().flat_map(|position| position.to_array()).collect();
        assert!(found == floats(&primitive.positions.0), "{name}: positions");
        let found: Vec<f32> =
            mesh.colors.iter().flat_map(|color| (color * 255.0).round().to_array()).collect();
        assert_eq!(found, floats(&primitive.colors.0), "{name}: colours");
        let normals = floats(&primitive.normals.0);
        for (found, expected) in mesh.normals.iter().zip(normals.chunks_exact(3)) {
            assert!(
                (*found - Vec3::from_slice(expected)).length() < 1e-6,
                "{name}: {found} for {expected:?}"
            );
        }
        let words = primitive.indices.0.chunks_exact(4);
        let expected: Vec<u32> =
            words.map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))).collect();
        assert_eq!(mesh.triangles.as_flattened(), expected, "{name}: indices");
    }
}

#[test]
fn broken_draco_primitives_are_named() {
    let place = "meshes[0].primitives[0].extensions.KHR_draco_mesh_compression";
    let primitive = &streams().draco["edgebreaker"];
    let broken = |key: &str, value: serde_json::Value| {
        let mut glb = draco(primitive);
        glb.json["meshes"][0]["primitives"][0]["extensions"]["KHR_draco_mesh_compression"][key] = value;
        glb
    };
    check(&broken("bufferView", json!(9)), &format!("{place}: names buffer view 9, but there are only 1"));
    let error = broken("attributes", json!({"POSITION": 5})).load().expect_err("there is no attribute 5");
    assert!(error.to_string().contains(&format!("{place}: ")), "{error}");
    let mut cut = draco(primitive);
    cut.json["bufferViews"][0]["byteLength"] = json!(100);
    let error = cut.load().expect_err("the stream is cut off");
    assert!(error.to_string().contains(&format!("{place}: ")), "{error}");
}

#[test]
fn draco_primitives_beyond_the_limits_are_refused() {
    let primitive = &streams().draco["edgebreaker"];
    let within = |limits: SceneLimits| {
        load_bytes("test.glb", &draco(primitive).bytes(), &LoadOptions::default(), &limits)
    };
    let default = SceneLimits::default();
    assert!(within(SceneLimits { triangles: 32, vertices: 25, ..default.clone() }).is_ok());
    assert!(within(SceneLimits { triangles: 31, ..default.clone() }).is_err());
    assert!(within(SceneLimits { vertices: 24, ..default.clone() }).is_err());
    assert!(within(SceneLimits { decoded_bytes: 100, ..default }).is_err());
}

/// A textured square whose texture is a KTX2 file.
fn textured(file: &[u8]) -> Glb {
    let mut glb = Glb::square();
    glb.json["extensionsRequired"] = json!(["KHR_texture_basisu"]);
    let texture = glb.texture(file);
    let source = glb.json["textures"][texture]["source"].take();
    glb.json["textures"][texture] = json!({"extensions": {"KHR_texture_basisu": {"source": source}}});
    glb.json["materials"] = json!([{"pbrMetallicRoughness": {"baseColorTexture": {"index": texture}}}]);
    glb.json["meshes"][0]["primitives"][0]["material"] = json!(0);
    glb
}

#[test]
fn basis_textures_are_the_reference_decoders() {
    for (name, picture) in &streams().ktx2 {
        let loaded = textured(&picture.stream.0).loaded();
        let image = &loaded.scene.images[0];
        assert_eq!((image.width, image.height, image.srgb), (picture.width, picture.height, true), "{name}");
        assert_eq!(image.texels, Texels::Rgba8(picture.decoded.0.clone()), "{name}");
    }
}

/// A KTX2 file of plain texels.
fn plain_ktx2(width: u32, height: u32, scheme: u32, level: &[u8]) -> Vec<u8> {
    let mut file = b"\xABKTX 20\xBB\r\n\x1A\n".to_vec();
    let length = u32::try_from(level.len()).expect("test files are small");
    let header = [37, 1, width, height, 0, 0, 1, 1, scheme, 104, 0, 0, 0, 0, 0, 0, 0];
    let index = [104, 0, length, 0, width * height * 4, 0];
    file.extend(header.iter().chain(&index).flat_map(|word: &u32| word.to_le_bytes()));
    file.extend(level);
    file
}

#[test]
fn plain_ktx2_texels_are_read() {
    let texels: Vec<u8> = (0..24).collect();
    let load = |file: &[u8]| textured(file).loaded().scene.images[0].texels.clone();
    assert_eq!(load(&plain_ktx2(3, 2, 0, &texels)), Texels::Rgba8(texels.clone()));
    // A frame of one raw block (RFC 8878, section 3.1.1).
    let mut frame = b"\x28\xB5\x2F\xFD\x20\x18\xC1\0\0".to_vec();
    frame.extend(&texels);
    assert_eq!(load(&plain_ktx2(3, 2, 2, &frame)), Texels::Rgba8(texels));
}

#[test]
fn broken_ktx2_files_are_named() {
    let with = |file: &[u8], message: &str| check(&textured(file), &format!("images[0]: {message}"));
    let file = plain_ktx2(3, 2, 0, &[0; 24]);
    let word = |at: usize, value: u32| {
        let mut file = file.clone();
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        file
    };
    with(&file[..40], "reaches byte 44 of the KTX2 file, which has only 40 bytes");
    with(&file[..120], "reaches byte 128 of the KTX2 file, which has only 120 bytes");
    with(&word(12, 9), "a KTX2 texture of Vulkan format 9 is not supported");
    with(&word(20, 0), "the image is 0×2; it needs at least one texel");
    with(&word(20, 99_999), "99999 texels along an edge; the limit is 16384");
    with(&word(20, 4), "level 0 has 24 bytes; 4×2 texels of Rgba8 have 32");
    with(&word(36, 6), "a KTX2 texture of faces 6 (at most 1 is) is not supported");
    with(&word(40, 99), "99 levels; the limit is 32");
    with(&word(44, 1), "Rgba8 texels cannot be packed as BasisLz");
    with(&word(44, 2), "the image cannot be decoded: BadMagicNumber(0)");
    let far = word(84, 1);
    with(&far, "reaches byte 4294967424 of the KTX2 file, which has only 128 bytes");
}

/// A file for each stream.
fn files() -> Vec<Glb> {
    let streams = streams();
    let color = |kind: u32| json!({"componentType": kind, "type": "VEC4", "normalized": true});
    let normal = |kind: u32| json!({"componentType": kind, "type": "VEC3", "normalized": true});
    let mut files = vec![
        grid("positions", "triangles", Some(("NORMAL", "normals_8", normal(5120)))),
        grid("positions_1", "indices", Some(("NORMAL", "normals_16", normal(5122)))),
        grid("exponents", "wide_triangles", Some(("COLOR_0", "colors", color(5121)))),
        grid("exponents", "wide_triangles", Some(("COLOR_0", "turns", color(5122)))),
    ];
    files.extend(streams.draco.values().map(draco));
    files.extend(streams.ktx2.values().map(|picture| textured(&picture.stream.0)));
    files
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn broken_streams_never_panic(which in any::<prop::sample::Index>(), changes in changes(), cut in cut()) {
        let files = files();
        let mut glb = files[which.index(files.len())].clone();
        let length = glb.bin.len();
        glb.bin = broken(glb.bin, &changes, cut.map(|cut| cut / 4));
        glb.bin.resize(length, 0);
        let limits = SceneLimits { texels: 1 << 20, ..SceneLimits::default() };
        if let Ok(loaded) = load_bytes("test.glb", &glb.bytes(), &LoadOptions::default(), &limits) {
            prop_assert!(validate(&loaded.scene, &limits).is_ok());
        }
    }
}
