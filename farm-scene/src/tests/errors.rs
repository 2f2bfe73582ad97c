//! Every bad file has its message.

use std::fs;

use serde_json::json;

use super::glb::{Glb, container, load_bytes, png};
use crate::error::LoadError;
use crate::load::{LoadOptions, load};

/// Checks message and hint of a file that must not load.
fn check(bytes: &[u8], message: &str, hint: Option<&str>) {
    let error = load_bytes(bytes).err().unwrap_or_else(|| panic!("the file loaded; expected: {message}"));
    assert_eq!(error.to_string(), message);
    assert_eq!(error.hint().as_deref(), hint);
}

const NOT_WHOLE: Option<&str> = Some("export or copy the file again; it did not arrive whole");

#[test]
fn empty_file() {
    check(b"", "scene `test.glb` is empty", NOT_WHOLE);
}

#[test]
fn wrong_magic() {
    check(
        b"PK\x03\x04, which is a zip file",
        r"scene `test.glb` is not glTF: it begins with `PK\x03\x04`, not with `glTF` or a JSON object",
        Some("export the scene as glTF 2.0 (.glb or .gltf)"),
    );
}

#[test]
fn truncated_glb() {
    let whole = Glb::triangle().bytes();
    let message = format!(
        "scene `test.glb` is cut off: the file should have {} bytes and has {}",
        whole.len(),
        whole.len() - 5
    );
    check(&whole[..whole.len() - 5], &message, NOT_WHOLE);
    check(&whole[..9], "scene `test.glb` is cut off: the header should have 12 bytes and has 9", NOT_WHOLE);
}

#[test]
fn chunk_beyond_the_file() {
    let mut bytes = Glb::triangle().bytes();
    bytes[12..16].copy_from_slice(&1_000_000_u32.to_le_bytes());
    let has = bytes.len() - 20;
    let message =
        format!("scene `test.glb` is cut off: the JSON chunk should have 1000000 bytes and has {has}");
    check(&bytes, &message, NOT_WHOLE);
}

#[test]
fn glb_without_json() {
    let bytes = b"glTF\x02\0\0\0\x0c\0\0\0";
    check(bytes, "scene `test.glb` is not a valid .glb file: it has no JSON chunk", None);
}

#[test]
fn other_versions() {
    let mut bytes = Glb::triangle().bytes();
    bytes[4] = 1;
    let hint = Some("export the scene again as glTF 2.0");
    check(&bytes, "scene `test.glb` is glTF 1; only glTF 2.0 is supported", hint);
    let mut glb = Glb::triangle();
    glb.json["asset"]["version"] = json!("3.1");
    check(&glb.bytes(), "scene `test.glb` is glTF 3.1; only glTF 2.0 is supported", hint);
}

#[test]
fn json_that_is_not_utf8() {
    check(
        &container(b"{\"asset\": \"\xff\"}", &[]),
        "scene `test.glb` holds JSON that is not UTF-8: byte 11 is not text",
        Some("export the scene again as glTF 2.0"),
    );
}

#[test]
fn json_that_is_not_gltf() {
    check(
        &container(b"{\"asset\": 5}    ", &[]),
        "scene `test.glb` holds JSON that is not glTF 2.0: \
         invalid type: integer `5`, expected struct Asset at line 1 column 11",
        Some("export the scene again as glTF 2.0"),
    );
}

const BUFFER: Option<&str> = Some("export the scene again; a buffer did not arrive whole");

#[test]
fn accessor_beyond_its_buffer() {
    let mut glb = Glb::triangle();
    glb.json["accessors"][0]["count"] = json!(4);
    check(
        &glb.bytes(),
        "scene `test.glb`: meshes[0].primitives[0].attributes.POSITION (accessor 0): \
         reaches byte 48 of buffer view 0, which has only 36 bytes",
        BUFFER,
    );
}

#[test]
fn view_beyond_its_buffer() {
    let mut glb = Glb::triangle();
    glb.json["bufferViews"][0]["byteOffset"] = json!(4);
    let message = "scene `test.glb`: bufferViews[0]: reaches byte 40 of buffer 0, which has only 36 bytes";
    check(&glb.bytes(), message, BUFFER);
}

#[test]
fn buffer_beyond_the_chunk() {
    let mut glb = Glb::triangle();
    glb.json["buffers"][0]["byteLength"] = json!(37);
    let message =
        "scene `test.glb`: buffers[0]: reaches byte 37 of the binary chunk, which has only 36 bytes";
    check(&glb.bytes(), message, BUFFER);
}

#[test]
fn huge_counts_in_a_small_file() {
    let mut glb = Glb::triangle();
    let place = "scene `test.glb`: meshes[0].primitives[0].attributes.POSITION (accessor 0)";
    glb.json["accessors"][0]["count"] = json!(u64::MAX);
    let hint = Some("simplify the scene, or split it over several");
    let message = format!("{place}: 18446744073709551615 elements; the limit is 201326592");
    check(&glb.bytes(), &message, hint);
    glb.json["accessors"][0] = json!({"componentType": 5126, "type": "VEC3", "count": 50_000_000});
    let message = format!("{place}: 50000000 elements without a buffer view; the limit is 4194304");
    check(&glb.bytes(), &message, hint);
}

#[test]
fn nan_positions() {
    let mut glb = Glb::triangle();
    glb.bin[16..20].copy_from_slice(&f32::NAN.to_le_bytes());
    check(
        &glb.bytes(),
        "scene `test.glb`: meshes[0].primitives[0].attributes.POSITION (accessor 0): \
         element 1 is NaN; every number must be finite",
        Some("repair the mesh in the program that made it and export again"),
    );
}

#[test]
fn vertex_index_out_of_range() {
    let mut glb = Glb::square();
    *glb.bin.last_mut().expect("the file has indices") = 9;
    check(
        &glb.bytes(),
        "scene `test.glb`: meshes[0].primitives[0].indices: names vertex 9, but there are only 4",
        None,
    );
}

#[test]
fn other_indices_out_of_range() {
    let mut glb = Glb::triangle();
    glb.json["nodes"][0]["mesh"] = json!(3);
    check(&glb.bytes(), "scene `test.glb`: nodes[0]: names mesh 3, but there are only 1", None);
    glb.json["scenes"][0]["nodes"] = json!([7]);
    check(&glb.bytes(), "scene `test.glb`: scenes[0].nodes: names node 7, but there are only 1", None);
    glb.json["scene"] = json!(2);
    check(&glb.bytes(), "scene `test.glb`: scene: names scene 2, but there are only 1", None);
}

#[test]
fn missing_position() {
    let mut glb = Glb::triangle();
    glb.json["meshes"][0]["primitives"][0]["attributes"] = json!({});
    let message = "scene `test.glb`: meshes[0].primitives[0].attributes: the attribute POSITION is missing";
    check(&glb.bytes(), message, None);
}

#[test]
fn attribute_of_another_count() {
    let mut glb = Glb::square();
    let normals = glb.floats("VEC3", &[0.0, 0.0, 1.0]);
    glb.json["meshes"][0]["primitives"][0]["attributes"]["NORMAL"] = json!(normals);
    check(
        &glb.bytes(),
        "scene `test.glb`: meshes[0].primitives[0].attributes.NORMAL: 1 normals for 4 vertices",
        None,
    );
}

#[test]
fn accessor_of_another_type() {
    let mut glb = Glb::square();
    let normals = glb.floats("VEC2", &[0.0; 8]);
    glb.json["meshes"][0]["primitives"][0]["attributes"]["NORMAL"] = json!(normals);
    check(
        &glb.bytes(),
        "scene `test.glb`: meshes[0].primitives[0].attributes.NORMAL (accessor 4): \
         has type VEC2; expected VEC3",
        None,
    );
}

#[test]
fn cyclic_nodes() {
    let mut glb = Glb::triangle();
    glb.json["nodes"] = json!([{"mesh": 0, "children": [1]}, {"children": [0]}]);
    let message = "scene `test.glb`: nodes[1].children: node 0 is reached twice; the nodes must form trees";
    check(&glb.bytes(), message, None);
    glb.json["scenes"] = json!([]);
    glb.json["scene"] = json!(null);
    let message = "scene `test.glb`: nodes: node 0 is reached twice; the nodes must form trees";
    check(&glb.bytes(), message, None);
}

#[test]
fn unknown_required_extension() {
    let mut glb = Glb::triangle();
    glb.json["extensionsUsed"] = json!(["KHR_animation_pointer"]);
    glb.json["extensionsRequired"] = json!(["KHR_animation_pointer"]);
    check(
        &glb.bytes(),
        "scene `test.glb` requires the extension KHR_animation_pointer, which is not supported",
        Some("export the scene without KHR_animation_pointer"),
    );
}

/// A square with a base colour texture of these bytes.
fn textured(encoded: &[u8]) -> Glb {
    let mut glb = Glb::square();
    let texture = glb.texture(encoded);
    glb.json["materials"] = json!([{"pbrMetallicRoughness": {"baseColorTexture": {"index": texture}}}]);
    glb.json["meshes"][0]["primitives"][0]["material"] = json!(0);
    glb
}

const SAVE_AGAIN: Option<&str> = Some("save the texture again as PNG, JPEG or WebP");

#[test]
fn image_without_texels() {
    let mut empty = png(1, 1, [0; 4]);
    empty[16..24].fill(0);
    let message = "scene `test.glb`: images[0]: the image is 0×0; it needs at least one texel";
    check(&textured(&empty).bytes(), message, SAVE_AGAIN);
}

#[test]
fn image_of_an_unknown_format() {
    let message = "scene `test.glb`: images[0]: the image cannot be decoded: \
                   it is none of PNG, JPEG, WebP and KTX2";
    check(&textured(b"nothing that anyone knows").bytes(), message, SAVE_AGAIN);
    let message = "scene `test.glb`: images[0]: the image cannot be decoded: \
                   it is Bmp, none of PNG, JPEG, WebP and KTX2";
    check(&textured(b"BM, a format that glTF does not know").bytes(), message, SAVE_AGAIN);
}

#[test]
fn texture_of_a_higher_set() {
    let mut glb = textured(&png(1, 1, [0; 4]));
    glb.json["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]["texCoord"] = json!(2);
    check(
        &glb.bytes(),
        "scene `test.glb`: materials[0].pbrMetallicRoughness.baseColorTexture: \
         TEXCOORD_2 (only sets 0 and 1 are) is not supported",
        None,
    );
}

#[test]
fn nothing_to_render() {
    let mut glb = Glb::triangle();
    glb.json["meshes"][0]["primitives"][0]["mode"] = json!(0);
    check(
        &glb.bytes(),
        "scene `test.glb` has no triangles to render",
        Some("export at least one triangle mesh; points and lines are not rendered"),
    );
}

#[test]
fn missing_texture_names_where_it_was_looked_for() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut glb = textured(&png(1, 1, [0; 4]));
    glb.json["images"][0] = json!({"uri": "textures/old%20wood.png"});
    let path = directory.path().join("kitchen.glb");
    fs::write(&path, glb.bytes()).expect("the directory is writable");
    let error = load(&path, &LoadOptions::default()).expect_err("the texture is missing");
    assert_eq!(
        error.to_string(),
        "scene `kitchen.glb` names a texture that is not there: textures/old wood.png"
    );
    let looked_in = directory.path().join("textures");
    let hint = format!("put it beside the scene; looked in {}", looked_in.display());
    assert_eq!(error.hint(), Some(hint));
    fs::create_dir(&looked_in).expect("the directory is writable");
    fs::write(looked_in.join("old wood.png"), png(1, 1, [9; 4])).expect("the directory is writable");
    load(&path, &LoadOptions::default()).expect("the texture is there now");
}

#[test]
fn files_are_named_by_relative_paths_only() {
    for (uri, message) in [
        ("/etc/hostname", "the absolute path `/etc/hostname` is not supported"),
        (
            "http://example.org/a.png",
            "`http://example.org/a.png`, which is neither a relative path nor data, is not supported",
        ),
    ] {
        let mut glb = textured(&png(1, 1, [0; 4]));
        glb.json["images"][0] = json!({ "uri": uri });
        check(&glb.bytes(), &format!("scene `test.glb`: images[0]: {message}"), None);
    }
}

#[test]
fn missing_scene_and_directory() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let options = LoadOptions::default();
    let error = load(&directory.path().join("no.glb"), &options).expect_err("it is not there");
    assert_eq!(error.to_string(), "there is no scene file `no.glb`");
    let scene = directory.path().join("house");
    fs::create_dir(&scene).expect("the directory is writable");
    let error = load(&scene, &options).expect_err("it is a directory");
    assert_eq!(error.to_string(), "scene `house` is a directory");
    assert_eq!(error.hint().as_deref(), Some("name the .gltf or .glb file inside it"));
}

#[test]
fn options_that_exclude_each_other() {
    let options = LoadOptions {
        sky: Some(glam::Vec3::ONE),
        environment: Some("sky.hdr".into()),
        ..LoadOptions::default()
    };
    let error = load("scene.glb".as_ref(), &options).expect_err("there are two skies");
    assert!(matches!(error, LoadError::Options(_)), "{error}");
    let options = LoadOptions { sky: Some(glam::Vec3::NEG_ONE), ..LoadOptions::default() };
    let error = load("scene.glb".as_ref(), &options).expect_err("the sky is negative");
    assert_eq!(error.to_string(), "the sky's radiance is [-1, -1, -1]; expected finite numbers of 0 or more");
}
