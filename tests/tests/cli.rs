//! The artist's door: what `farm` prints, how it ends, and that no bad input
//! makes it panic. Runs the built binary.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use assert_cmd::Command;
use farm_master::{Master, MasterConfig};
use farm_node::{AdapterChoice, NodeConfig, OpenNode};
use farm_wire::{Credentials, Role, Ticket};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Far beyond what any of these commands takes; a hang must not last for ever.
const TIMEOUT: Duration = Duration::from_secs(180);

/// The built `farm`, beside the folder of the test executables.
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
    let binary = profile.join(format!("farm{}", std::env::consts::EXE_SUFFIX));
    assert!(binary.is_file(), "{} is not there: build the workspace first", binary.display());
    binary
}

/// A folder of one test: its home, its temporary folder and its files.
struct Studio {
    folder: TempDir,
}

impl Studio {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("tmp")).expect("a folder");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("the studio can be written");
        path
    }

    /// `farm` with this studio as its whole world.
    fn farm(&self, line: &str) -> Command {
        let mut command = Command::new(binary());
        command
            .args(line.split_whitespace())
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("TMPDIR", self.path("tmp"))
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("TESSERA_CACHE")
            .env_remove("TESSERA_CREDENTIALS")
            .env_remove("TESSERA_LOG")
            .timeout(TIMEOUT);
        command
    }

    /// Runs a command that must succeed and returns its JSON object.
    fn json(&self, line: &str) -> Value {
        let output = self.farm(line).output().expect("farm runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "farm {line}: {:?}\n{stderr}", output.status);
        serde_json::from_slice(&output.stdout).expect("stdout is exactly one JSON object")
    }

    /// Runs a command that must fail with one of `codes`, and checks that it
    /// says why like a good program: `error:` with `telling` in it, and no panic.
    fn refuses(&self, line: &str, codes: &[i32], telling: &str) {
        let output = self.farm(line).output().expect("farm runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let context = format!("farm {line}: {:?}\n{stderr}", output.status);
        assert!(output.status.code().is_some_and(|code| codes.contains(&code)), "{context}");
        assert!(stderr.lines().any(|line| line.starts_with("error: ")), "{context}");
        assert!(!stderr.contains("panicked"), "{context}");
        assert!(stderr.to_lowercase().contains(&telling.to_lowercase()), "no `{telling}` in: {context}");
    }
}

/// A glTF document of one emissive quad, and the bytes of its buffer.
fn quad() -> (Value, Vec<u8>) {
    let corners = [[-1.0_f32, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]];
    let mut buffer: Vec<u8> = corners.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    buffer.extend([0_u16, 1, 2, 0, 2, 3].iter().flat_map(|index| index.to_le_bytes()));
    let document = json!({
        "asset": { "version": "2.0" },
        "scene": 0,
        "scenes": [{ "nodes": [0] }],
        "nodes": [{ "mesh": 0 }],
        "meshes": [{ "primitives": [{ "attributes": { "POSITION": 0 }, "indices": 1, "material": 0 }] }],
        "materials": [{
            "doubleSided": true,
            "pbrMetallicRoughness": { "baseColorFactor": [0.8, 0.4, 0.2, 1.0], "metallicFactor": 0.0 },
        }],
        "accessors": [
            { "bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3",
              "min": [-1, -1, 0], "max": [1, 1, 0] },
            { "bufferView": 1, "componentType": 5123, "count": 6, "type": "SCALAR" },
        ],
        "bufferViews": [
            { "buffer": 0, "byteOffset": 0, "byteLength": 48 },
            { "buffer": 0, "byteOffset": 48, "byteLength": 12 },
        ],
        "buffers": [{ "byteLength": 60 }],
    });
    (document, buffer)
}

/// Packs a document and its buffer as binary glTF (glTF 2.0, section 4.4).
fn glb(document: &Value, buffer: &[u8]) -> Vec<u8> {
    let mut text = serde_json::to_vec(document).expect("a value is JSON");
    text.resize(text.len().next_multiple_of(4), b' ');
    let mut binary = buffer.to_vec();
    binary.resize(binary.len().next_multiple_of(4), 0);
    let size = |length: usize| u32::try_from(length).expect("test files are small").to_le_bytes();
    let mut bytes = b"glTF".to_vec();
    bytes.extend(2_u32.to_le_bytes());
    bytes.extend(size(12 + 8 + text.len() + 8 + binary.len()));
    bytes.extend(size(text.len()));
    bytes.extend(b"JSON");
    bytes.extend(text);
    bytes.extend(size(binary.len()));
    bytes.extend(b"BIN\0");
    bytes.extend(binary);
    bytes
}

/// The quad with a texture of these encoded bytes, as binary glTF.
fn textured_quad(image: &[u8]) -> Vec<u8> {
    let (mut document, mut buffer) = quad();
    let (offset, length) = (buffer.len(), image.len());
    buffer.extend(image);
    document["buffers"][0]["byteLength"] = json!(buffer.len());
    let view = json!({ "buffer": 0, "byteOffset": offset, "byteLength": length });
    document["bufferViews"].as_array_mut().expect("an array").push(view);
    document["images"] = json!([{ "bufferView": 2, "mimeType": "image/png" }]);
    document["textures"] = json!([{ "source": 0 }]);
    document["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] = json!({ "index": 0 });
    glb(&document, &buffer)
}

/// A PNG whose header says that it is 0×0.
fn empty_png() -> Vec<u8> {
    let chunk = |name: &[u8; 4], content: &[u8]| {
        let length = u32::try_from(content.len()).expect("test chunks are small");
        let body = [&name[..], content].concat();
        [&length.to_be_bytes()[..], &body[..], &crc32(&body).to_be_bytes()[..]].concat()
    };
    let header = [0, 0, 0, 0, 0, 0, 0, 0, 8, 6, 0, 0, 0];
    let signature: &[u8] = b"\x89PNG\r\n\x1a\n";
    [signature, &chunk(b"IHDR", &header)[..], &chunk(b"IEND", &[])[..]].concat()
}

/// The checksum of PNG chunks (PNG specification, annex D), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

/// A file of a scene that must be refused: its name, its bytes and a word of the error.
fn broken_scenes() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let (good, buffer) = quad();
    let whole = glb(&good, &buffer);
    let with = |change: fn(&mut Value)| {
        let mut document = good.clone();
        change(&mut document);
        glb(&document, &buffer)
    };
    let mut wrong_magic = whole.clone();
    wrong_magic[..4].copy_from_slice(b"GLTF");
    let mut not_a_number = buffer.clone();
    not_a_number[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut wild_index = buffer.clone();
    wild_index[50..52].copy_from_slice(&99_u16.to_le_bytes());
    vec![
        ("truncated.glb", whole[..whole.len() / 2].to_vec(), "truncated.glb"),
        ("headless.glb", whole[..7].to_vec(), "headless.glb"),
        ("empty.glb", Vec::new(), "empty.glb"),
        ("magic.glb", wrong_magic, "magic.glb"),
        ("not-json.gltf", b"{ \"asset\": ".to_vec(), "not-json.gltf"),
        ("beyond.glb", with(|it| it["accessors"][0]["count"] = json!(1000)), "accessor"),
        ("huge.glb", with(|it| it["accessors"][0]["count"] = json!(u64::from(u32::MAX))), "accessor"),
        ("nan.glb", glb(&good, &not_a_number), "NaN"),
        ("index.glb", glb(&good, &wild_index), "99"),
        ("required.glb", with(|it| it["extensionsRequired"] = json!(["EXT_nonsense"])), "EXT_nonsense"),
        ("image.glb", textured_quad(&empty_png()), "image"),
        ("noise.glb", textured_quad(b"this is no picture"), "image"),
    ]
}

#[test]
fn broken_scenes_are_refused_without_a_panic() {
    let studio = Studio::new();
    for (name, bytes, telling) in broken_scenes() {
        studio.write(name, bytes);
        studio.refuses(&format!("inspect {name}"), &[2], telling);
        studio.refuses(&format!("render {name} -o out.exr --size 16x16 --spp 1"), &[2], telling);
        assert!(!studio.path("out.exr").exists(), "{name} left a picture");
    }
    let (mut document, buffer) = quad();
    studio.write("quad.bin", &buffer);
    document["buffers"][0]["uri"] = json!("quad.bin");
    document["images"] = json!([{ "uri": "textures/wood.png" }]);
    document["textures"] = json!([{ "source": 0 }]);
    document["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] = json!({ "index": 0 });
    studio.write("missing.gltf", document.to_string());
    studio.refuses("inspect missing.gltf", &[2], "textures/wood.png");
    studio.refuses("render missing.gltf -o out.exr", &[2], "textures/wood.png");
    studio.refuses("inspect nothing.glb", &[2], "nothing.glb");
}

#[test]
fn wrong_options_are_refused() {
    let studio = Studio::new();
    let (document, buffer) = quad();
    studio.write("quad.glb", glb(&document, &buffer));
    studio.write("zero.hdr", "#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 0 +X 0\n");
    for (line, telling) in [
        ("render quad.glb", "--output"),
        ("render quad.glb -o out.png", ".exr"),
        ("render quad.glb -o none/out.exr", "none"),
        ("render quad.glb -o out.exr --png out.jpg", ".png"),
        ("render quad.glb -o out.exr --size 0x10", "width"),
        ("render quad.glb -o out.exr --spp 0", "samples"),
        ("render quad.glb -o out.exr --frames 5-2", "before"),
        ("render quad.glb -o out.exr --sky 1,-1,1", "negative"),
        ("render quad.glb -o out.exr --env none.hdr", "none.hdr"),
        ("render quad.glb -o out.exr --env zero.hdr", "zero.hdr"),
        ("render quad.glb -o out.exr --camera side", "no camera `side`"),
        ("render quad.glb -o out.exr --tile 4", "tile"),
        ("render quad.glb -o out.exr --filter lanczos", "gaussian"),
        ("jobs --credentials none", "credentials"),
        ("jobs --credentials quad.glb", "quad.glb"),
        ("watch zero", "number"),
        ("diff quad.glb quad.glb", "EXR"),
        ("diff none.exr none.exr", "none.exr"),
        ("paint", "paint"),
    ] {
        studio.refuses(line, &[2], telling);
    }
}

#[test]
fn failures_are_one_json_object_too() {
    let studio = Studio::new();
    let output = studio.farm("inspect none.glb --json").output().expect("farm runs");
    assert_eq!(output.status.code(), Some(2));
    let report: Value = serde_json::from_slice(&output.stdout).expect("exactly one JSON object");
    assert_eq!(report["exit_code"], 2);
    assert!(report["error"].as_str().is_some_and(|text| text.contains("none.glb")), "{report}");
}

#[test]
fn every_command_explains_itself() {
    let studio = Studio::new();
    let commands = "render login submit jobs watch fetch pause resume cancel retry nodes inspect diff \
                    adapters bench completions man";
    for command in commands.split_whitespace() {
        let output = studio.farm(&format!("{command} --help")).output().expect("farm runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("Exit codes:"), "{command}: {text}");
    }
    studio.farm("man pages").assert().success();
    for command in commands.split_whitespace() {
        assert!(studio.path("pages").join(format!("farm-{command}.1")).is_file(), "no page of {command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let output = studio.farm(&format!("completions {shell}")).output().expect("farm runs");
        assert!(String::from_utf8_lossy(&output.stdout).contains("env-rotation"), "{shell}");
    }
}

#[test]
fn bench_dispatches_tiles_through_a_whole_farm() {
    let studio = Studio::new();
    let empty = studio.json("bench dispatch --tiles 5000 --nodes 3 --lanes 2 --json");
    assert_eq!((&empty["tiles"], &empty["frames"]), (&8192.into(), &2.into()), "whole frames: {empty}");
    assert!(empty["stages"].is_null() && empty["tile_pixels"].is_null(), "{empty}");
    let noise = studio.json("bench dispatch --pixels --tiles 256 --nodes 2 --lanes 1 --json");
    assert_eq!((&noise["tiles"], &noise["tile_pixels"]), (&256.into(), &64.into()), "{noise}");
    for key in ["encode_us", "check_us", "store_us", "assemble_us"] {
        assert!(noise["stages"][key].as_f64().is_some_and(|value| value > 0.0), "{key} in {noise}");
    }
}

#[test]
fn bench_measures_the_processor_and_compares_with_an_earlier_report() {
    let studio = Studio::new();
    let (document, buffer) = quad();
    studio.write("quad.glb", glb(&document, &buffer));
    let bench = "bench quad.glb --adapter cpu --size 32x32 --rounds 2 --json";
    let report = studio.json(bench);
    let lane = &report["scenes"][0]["lanes"][0];
    assert_eq!(lane["backend"], "native", "{report}");
    for key in ["samples_per_second", "rays_per_second", "seconds_trees", "seconds_first_block"] {
        assert!(lane[key].as_f64().is_some_and(|value| value > 0.0), "{key} in {report}");
    }
    for key in ["seconds_load", "seconds_hash", "seconds_encode", "seconds_stitch"] {
        assert!(report["scenes"][0][key].as_f64().is_some_and(|value| value > 0.0), "{key} in {report}");
    }
    assert!(lane["ratio"].is_null());

    studio.write("earlier.json", report.to_string());
    let again = studio.json(&format!("{bench} --compare earlier.json"));
    assert!(again["scenes"][0]["lanes"][0]["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{again}");
    for (line, says) in [
        ("bench quad.glb --adapter nowhere", "nowhere"),
        ("bench quad.glb --compare quad.glb", "farm bench --json"),
        ("bench tmp", "no scene"),
    ] {
        let output = studio.farm(line).output().expect("farm runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}: {stderr}");
        assert!(stderr.contains(says), "{line}: {stderr}");
    }
}

#[test]
fn inspect_says_what_a_scene_holds() {
    let studio = Studio::new();
    let (document, buffer) = quad();
    studio.write("quad.glb", glb(&document, &buffer));
    let report = studio.json("inspect quad.glb --json");
    assert_eq!(report["triangles"], 2);
    assert_eq!(report["instances"], 1);
    assert_eq!(report["cameras"].as_array().map(Vec::len), Some(1));
    assert_eq!(report["environment"]["kind"], "constant");
    assert_eq!(report["bounds"]["high"], json!([1.0, 1.0, 0.0]));
    // No light and no environment: the program says that it lit the scene itself.
    assert!(!report["warnings"].as_array().expect("a list").is_empty());
    let blue = studio.json("inspect quad.glb --sky 0,0,1 --json");
    assert_eq!(blue["environment"]["radiance"], json!([0.0, 0.0, 1.0]));
    assert_ne!(blue["scene"], report["scene"]);
    assert_eq!(studio.json("inspect quad.glb --json")["scene"], report["scene"]);
}

/// Renders the quad and returns the report.
fn render_quad(studio: &Studio, options: &str) -> Value {
    let (document, buffer) = quad();
    studio.write("quad.glb", glb(&document, &buffer));
    studio.json(&format!("render quad.glb --size 96x64 --spp 40 --json {options}"))
}

/// BLAKE3 of an EXR's pixels as f32 RGBA, row by row.
fn digest_of_pixels(path: &Path) -> String {
    let image = exr::prelude::read_first_rgba_layer_from_file(
        path,
        |size, _| (size.width(), vec![[0.0_f32; 4]; size.area()]),
        |(width, pixels), position, (r, g, b, a): (f32, f32, f32, f32)| {
            pixels[position.y() * *width + position.x()] = [r, g, b, a];
        },
    )
    .expect("the picture is an EXR");
    let (_, pixels) = image.layer_data.channel_data.pixels;
    let bytes: Vec<u8> = pixels.as_flattened().iter().flat_map(|value| value.to_le_bytes()).collect();
    blake3::hash(&bytes).to_string()
}

#[test]
fn render_reports_what_it_made() {
    let studio = Studio::new();
    let report = render_quad(&studio, "-o out.exr --png out.png");
    let output = studio.farm("adapters").output().expect("farm runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !stderr.contains("XDG_RUNTIME_DIR"), "a driver complains: {stderr}");
    for key in [
        "output",
        "png",
        "frames",
        "samples",
        "rays",
        "seconds_total",
        "seconds_render",
        "seconds_load",
        "samples_per_second",
        "adapter",
        "numeric_class",
        "pixel_digest",
        "tiles",
        "nodes",
        "scene_bytes",
        "warnings",
        "frames_detail",
    ] {
        assert!(!report[key].is_null(), "no `{key}` in {report}");
    }
    assert_eq!(report["samples"], 96 * 64 * 40);
    assert!(report["rays"].as_u64() >= report["samples"].as_u64());
    assert_eq!(report["pixel_digest"], digest_of_pixels(&studio.path("out.exr")));
    let png = image::open(studio.path("out.png")).expect("the PNG can be read");
    assert_eq!((png.width(), png.height()), (96, 64));
    // A white sky, and the quad in the middle reflects red the most.
    let [r, g, b] = png.to_rgb8().get_pixel(48, 32).0;
    assert!(r > g && g > b, "the middle is {r}, {g}, {b}");
    let left: Vec<_> = std::fs::read_dir(studio.path("tmp")).expect("readable").collect();
    assert!(left.is_empty(), "left behind: {left:?}");

    let same = studio.json("diff out.exr out.exr --require-equal --json");
    assert_eq!((&same["equal_share"], &same["max_difference"]), (&json!(1.0), &json!(0.0)));
    render_quad(&studio, "-o other.exr --seed 1");
    let other = studio.farm("diff other.exr out.exr --require-equal --json").output().expect("farm runs");
    assert_eq!(other.status.code(), Some(1));
    let other: Value = serde_json::from_slice(&other.stdout).expect("exactly one JSON object");
    assert!(other["equal_share"].as_f64().is_some_and(|share| share < 1.0), "{other}");
    studio.json("render quad.glb --size 32x32 --spp 1 --json -o small.exr");
    studio.refuses("diff small.exr out.exr", &[2], "different sizes");
}

#[test]
fn pixels_do_not_depend_on_nodes_or_tiles() {
    let studio = Studio::new();
    let digest = |options: &str| {
        let report = render_quad(&studio, &format!("-o out.exr {options}"));
        assert_eq!(report["pixel_digest"], digest_of_pixels(&studio.path("out.exr")), "{options}");
        report["pixel_digest"].clone()
    };
    let first = digest("--nodes 1 --tile 32");
    for options in ["--nodes 2 --tile 32", "--nodes 4 --tile 64", "--nodes 1 --tile 128"] {
        assert_eq!(digest(options), first, "{options}");
    }
    assert_ne!(digest("--nodes 1 --seed 9"), first);
}

#[test]
fn several_frames_have_several_files() {
    let studio = Studio::new();
    let report = render_quad(&studio, "-o out.exr --png view-##.png --frames 3-4 --half");
    assert_eq!(report["frames"], 2);
    for name in ["out.0003.exr", "out.0004.exr", "view-03.png", "view-04.png"] {
        assert!(studio.path(name).is_file(), "no {name}");
    }
    assert_eq!(report["frames_detail"][1]["output"], "out.0004.exr");
}

/// The quad, glowing and small before an orthographic camera, whose edges lie
/// between pixels of a picture of 32×32, so that it is without noise; at x, or
/// where it slides from −0.5 to 0.5 within a second. A second one stands still.
fn sliding_quad(x: Option<f32>) -> Vec<u8> {
    let (mut document, mut buffer) = quad();
    document["materials"][0]["emissiveFactor"] = json!([1.0, 0.5, 0.25]);
    document["cameras"] = json!([{
        "type": "orthographic", "orthographic": { "xmag": 1, "ymag": 1, "znear": 0.1, "zfar": 10 },
    }]);
    document["scenes"][0]["nodes"] = json!([0, 1, 2]);
    document["nodes"] = json!([
        { "mesh": 0, "scale": [0.25, 0.25, 1], "translation": [x.unwrap_or(0.75), 0, 0] },
        { "mesh": 0, "scale": [0.125, 0.125, 1], "translation": [0, 0.75, 0] },
        { "camera": 0, "translation": [0, 0, 5] },
    ]);
    if x.is_some() {
        return glb(&document, &buffer);
    }
    let keys = [0.0_f32, 1.0, -0.5, 0.0, 0.0, 0.5, 0.0, 0.0];
    buffer.extend(keys.iter().flat_map(|value| value.to_le_bytes()));
    document["buffers"][0]["byteLength"] = json!(buffer.len());
    let mut push = |list: &str, value: Value| document[list].as_array_mut().expect("an array").push(value);
    push("bufferViews", json!({ "buffer": 0, "byteOffset": 60, "byteLength": 8 }));
    push("bufferViews", json!({ "buffer": 0, "byteOffset": 68, "byteLength": 24 }));
    push("accessors", json!({ "bufferView": 2, "componentType": 5126, "count": 2, "type": "SCALAR" }));
    push("accessors", json!({ "bufferView": 3, "componentType": 5126, "count": 2, "type": "VEC3" }));
    document["animations"] = json!([{
        "name": "slide",
        "samplers": [{ "input": 2, "output": 3 }],
        "channels": [{ "sampler": 0, "target": { "node": 0, "path": "translation" } }],
    }]);
    glb(&document, &buffer)
}

const NOISELESS: &str = "--size 32x32 --spp 16 --max-depth 1 --filter box --sky 0,0,0 --json";

/// The digests of the pixels of a command's frames.
fn frame_digests(report: &Value) -> Vec<String> {
    let frames = report["frames_detail"].as_array().expect("a list");
    frames.iter().map(|frame| frame["pixel_digest"].as_str().expect("a digest").to_owned()).collect()
}

/// The quad slides for a second and is still after that.
#[test]
fn an_open_shutter_blurs_what_moves_and_nothing_else() {
    let studio = Studio::new();
    studio.write("slide.glb", sliding_quad(None));
    let render = format!("render slide.glb -o out.exr {NOISELESS} --fps 1");
    let sharp = studio.json(&format!("{render} --frames 0-3"));
    let blurred = studio.json(&format!("{render} --frames 0-3 --shutter 0.5 --nodes 2"));
    let (sharp, frames) = (frame_digests(&sharp), frame_digests(&blurred));
    // The slide ends after a second.
    assert!(frames[0] != sharp[0]);
    assert_eq!(frames[1..], sharp[1..]);
    assert_eq!(blurred["warnings"], serde_json::json!([]));
    let alone = studio.json(&format!("{render} --frames 0 --shutter 0.5"));
    assert_eq!(alone["pixel_digest"], frames[0]);
    let coarse = studio.json(&format!("{render} --frames 0 --shutter 0.5 --shutter-parts 1"));
    assert_ne!(coarse["scene"], alone["scene"]);

    let still = studio.json(&format!("{render} --frames 2 --shutter 0.5"));
    let warning = |report: &Value| report["warnings"][0].as_str().unwrap_or_default().to_owned();
    assert!(warning(&still).contains("nothing moves while the shutter is open"), "{still}");
    studio.write("still.glb", sliding_quad(Some(0.0)));
    let still = studio.json(&format!("render still.glb -o o.exr {NOISELESS} --frames 2 --shutter 1"));
    assert!(warning(&still).contains("the scene has no animation"), "{still}");
}

#[test]
fn frames_of_an_animation_are_pictures_of_their_times() {
    let studio = Studio::new();
    studio.write("slide.glb", sliding_quad(None));
    let render = format!("render slide.glb -o out.exr {NOISELESS}");
    let moving = studio.json(&format!("{render} --frames 0-3 --fps 2 --animation slide --nodes 2"));
    let frames = frame_digests(&moving);
    for (frame, x) in [-0.5, 0.0, 0.5, 0.5].into_iter().enumerate() {
        studio.write("still.glb", sliding_quad(Some(x)));
        let still = studio.json(&format!("render still.glb -o still.exr {NOISELESS}"));
        assert_eq!(frames[frame], still["pixel_digest"], "frame {frame}");
        assert_eq!(digest_of_pixels(&studio.path(&format!("out.000{frame}.exr"))), frames[frame]);
    }
    assert!(frames[0] != frames[1] && frames[1] != frames[2]);
    let one = studio.json(&format!("{render} --frames 2 --fps 2"));
    assert_eq!(one["pixel_digest"], frames[2], "one frame alone is the same");

    studio.write("still.glb", sliding_quad(Some(0.75)));
    let (rest, still) =
        (studio.json(&render), studio.json(&format!("render still.glb -o o.exr {NOISELESS}")));
    assert_eq!(rest["pixel_digest"], still["pixel_digest"], "without frames it is at rest");
    assert_eq!(rest["scene"], still["scene"]);

    let report = studio.json("inspect slide.glb --json");
    assert_eq!(report["animations"][0]["name"], "slide");
    assert_eq!(report["animations"][0]["duration_seconds"], 1.0);
    let text = studio.farm("inspect slide.glb").output().expect("farm runs").stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains("`slide`, 1.000 s, 1 channels on 1 nodes: 1 translations"), "{text}");
    studio.refuses(&format!("{render} --frames 1 --animation jump"), &[2], "it has `slide`");
    studio.refuses(&format!("{render} --animation slide"), &[2], "--frames");
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_a_render_in_order() {
    let studio = Studio::new();
    let (document, buffer) = quad();
    studio.write("quad.glb", glb(&document, &buffer));
    let mut child = std::process::Command::new(binary())
        .args("render quad.glb -o out.exr --size 4096x4096 --spp 65536".split_whitespace())
        .current_dir(studio.folder.path())
        .env("TMPDIR", studio.path("tmp"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("farm runs");
    let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
    let mut line = String::new();
    // The first line of progress says that the job is under way.
    while !line.contains("of the samples") {
        line.clear();
        let length = stderr.read_line(&mut line).expect("stderr can be read");
        assert_ne!(length, 0, "farm ended by itself: {:?}", child.wait());
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .expect("it is running");
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("stderr can be read");
    assert_eq!(child.wait().expect("farm ends").code(), Some(130), "{rest}");
    assert!(rest.contains("error: stopped") && !rest.contains("panicked"), "{rest}");
    assert!(!studio.path("out.exr").exists());
    let left: Vec<_> = std::fs::read_dir(studio.path("tmp")).expect("readable").collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// A master of this process on loopback.
async fn start_master(studio: &Studio) -> Master {
    let config = MasterConfig::new(studio.path("master"), ([127, 0, 0, 1], 0).into());
    Master::start(config).await.expect("a master starts")
}

fn ticket(master: &Master, role: Role, life: Duration) -> Ticket {
    master.create_ticket("test", role, life, None).expect("a ticket")
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_tickets_and_absent_masters_are_refused() {
    let studio = Studio::new();
    let master = start_master(&studio).await;
    let artist = ticket(&master, Role::Artist, HOUR);
    let run = |line: String, codes: &'static [i32], telling: &'static str| {
        tokio::task::block_in_place(|| studio.refuses(&line, codes, telling));
    };
    run("login tessera-nonsense".into(), &[2], "ticket");
    run(format!("login {}", ticket(&master, Role::Node, HOUR)), &[2], "farm-node join");
    let forged = Ticket { secret: [7; 32], ..artist.clone() };
    run(format!("login {forged}"), &[2, 3], "ticket");
    let stranger = Ticket { ca_fingerprint: [7; 32], ..artist.clone() };
    run(format!("login {stranger}"), &[2, 3], "error");
    let expired = ticket(&master, Role::Artist, Duration::ZERO);
    run(format!("login {expired}"), &[2, 3], "expired");
    assert!(!studio.path("config").join("tessera").join("credentials").exists());

    // Good credentials whose master is gone.
    let login = tokio::task::block_in_place(|| studio.json(&format!("login {artist} --json")));
    assert_eq!(login["credentials"], studio.path("config/tessera/credentials").display().to_string());
    master.shutdown().await;
    run("jobs".into(), &[3], "master");
    run(format!("login {artist} --farm other"), &[3], "master");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn submitted_jobs_are_rendered_once_and_uploaded_once() {
    let studio = Studio::new();
    let master = start_master(&studio).await;
    let node_ticket = ticket(&master, Role::Node, HOUR);
    let credentials = Credentials::join(&node_ticket, "box").await.expect("the node may join");
    let config = NodeConfig { adapter: AdapterChoice::Best, ..NodeConfig::new(studio.path("cache")) };
    let node = OpenNode::open(config).await.expect("the adapter opens").connect(credentials);
    let login = format!("login {} --name ada", ticket(&master, Role::Artist, HOUR));
    let there = tokio::task::block_in_place(|| {
        studio.farm(&login).assert().success();
        check_submitting(&studio);
        studio.json("nodes --json")
    });
    assert_eq!(there["nodes"][0]["name"], "box");
    node.leave_at_once();
    node.wait().await.expect("the node leaves in order");
    master.shutdown().await;
}

/// Submits, fetches and changes jobs, with a node at work.
fn check_submitting(studio: &Studio) {
    let alone = render_quad(studio, "-o alone.exr");
    let options = "--size 96x64 --spp 40";
    let first = studio.json(&format!("submit quad.glb {options} --wait --out out --json"));
    assert!(first["uploaded_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{first}");
    assert_eq!(first["uploaded_bytes"], first["scene_bytes"]);
    assert_eq!(first["frames_detail"][0]["pixel_digest"], alone["pixel_digest"]);
    assert_eq!(json!(digest_of_pixels(&studio.path("out/quad.exr"))), alone["pixel_digest"]);
    assert!(studio.path("out/quad.png").is_file());

    let again = studio.json(&format!("submit quad.glb {options} --json --name again --priority -1"));
    assert_eq!(again["uploaded_bytes"], 0);
    let job = again["job"].as_u64().expect("a number");
    assert_eq!(studio.json(&format!("watch {job} --json"))["status"], "done");
    let fetched = studio.json(&format!("fetch {job} --out out --json"));
    assert_eq!(fetched["frames"][0]["pixel_digest"], alone["pixel_digest"]);
    assert!(studio.path("out/again.exr").is_file());

    // Of four frames two are alike, and their one mesh is the quad's.
    studio.write("slide.glb", sliding_quad(None));
    let moving = studio.json(&format!("submit slide.glb {NOISELESS} --frames 0-3 --fps 2 --wait --out out"));
    assert_eq!(moving["blobs"], 4, "{moving}");
    assert!(moving["uploaded_bytes"].as_u64() < moving["scene_bytes"].as_u64(), "{moving}");
    let alone = studio.json(&format!("render slide.glb -o o.exr {NOISELESS} --frames 0-3 --fps 2"));
    assert_eq!(frame_digests(&moving), frame_digests(&alone));

    // More work than a test lasts for, given up at once.
    let long = studio.json("submit quad.glb --size 4096x4096 --spp 65536 --json --name long");
    let long = long["job"].as_u64().expect("a number");
    assert_eq!(studio.json(&format!("pause {long} --json"))["status"], "paused");
    studio.refuses(&format!("fetch {long}"), &[2], "no finished frame");
    assert_ne!(studio.json(&format!("resume {long} --json"))["status"], "paused");
    assert_eq!(studio.json(&format!("cancel {long} --json"))["status"], "cancelled");
    studio.refuses(&format!("watch {long}"), &[1], "cancelled");
    studio.refuses("watch 999", &[2], "999");
    studio.refuses("fetch 999", &[2], "999");
    let jobs = studio.json("jobs --json");
    let names: Vec<_> = jobs["jobs"].as_array().expect("a list").iter().map(|job| &job["name"]).collect();
    assert_eq!(names, ["quad", "again", "slide", "long"]);
}
