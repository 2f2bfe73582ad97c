//! Small scene files, built in memory.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::LoadError;
use crate::limits::SceneLimits;
use crate::load::{LoadOptions, Loaded, load_from_bytes};
use crate::read::Files;

/// A scene file in the making.
#[derive(Clone)]
pub(super) struct Glb {
    pub(super) json: Value,
    pub(super) bin: Vec<u8>,
}

impl Glb {
    /// A file with one node, one mesh and no primitive.
    pub(super) fn new() -> Self {
        let json = json!({
            "asset": {"version": "2.0"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": []}],
            "buffers": [{"byteLength": 0}],
            "bufferViews": [],
            "accessors": [],
        });
        Self { json, bin: Vec::new() }
    }

    /// A triangle in the plane z = 0, without normals or indices.
    pub(super) fn triangle() -> Self {
        let mut glb = Self::new();
        let positions = glb.floats("VEC3", &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        glb.primitive(json!({"attributes": {"POSITION": positions}}));
        glb
    }

    /// A unit square with normals, texture coordinates and indices.
    pub(super) fn square() -> Self {
        let mut glb = Self::new();
        let positions = glb.floats("VEC3", &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0]);
        let normals = glb.floats("VEC3", &[0.0, 0.0, 1.0].repeat(4));
        let uvs = glb.floats("VEC2", &[0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
        let indices = glb.accessor(&[0, 1, 2, 0, 2, 3], json!({"componentType": 5121, "type": "SCALAR"}));
        glb.primitive(json!({
            "attributes": {"POSITION": positions, "NORMAL": normals, "TEXCOORD_0": uvs},
            "indices": indices,
        }));
        glb
    }

    pub(super) fn push(&mut self, list: &str, value: Value) -> usize {
        let list = &mut self.json[list];
        if list.is_null() {
            *list = json!([]);
        }
        let list = list.as_array_mut().expect("the property is a list");
        list.push(value);
        list.len() - 1
    }

    pub(super) fn primitive(&mut self, primitive: Value) {
        let primitives = &mut self.json["meshes"][0]["primitives"];
        primitives.as_array_mut().expect("primitives are a list").push(primitive);
    }

    /// A buffer view of new bytes, aligned to four.
    pub(super) fn view(&mut self, bytes: &[u8]) -> usize {
        self.bin.resize(self.bin.len().next_multiple_of(4), 0);
        let offset = self.bin.len();
        self.bin.extend(bytes);
        self.json["buffers"][0]["byteLength"] = json!(self.bin.len());
        self.push("bufferViews", json!({"buffer": 0, "byteOffset": offset, "byteLength": bytes.len()}))
    }

    /// An accessor of new bytes; the count follows from the type.
    pub(super) fn accessor(&mut self, bytes: &[u8], mut description: Value) -> usize {
        let component = match description["componentType"].as_u64() {
            Some(5120 | 5121) => 1,
            Some(5122 | 5123) => 2,
            _ => 4,
        };
        let components = match description["type"].as_str() {
            Some("VEC2") => 2,
            Some("VEC3") => 3,
            Some("VEC4") => 4,
            Some("MAT4") => 16,
            _ => 1,
        };
        description["bufferView"] = json!(self.view(bytes));
        description["count"] = json!(bytes.len() / (component * components));
        self.push("accessors", description)
    }

    pub(super) fn floats(&mut self, kind: &str, values: &[f32]) -> usize {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.accessor(&bytes, json!({"componentType": 5126, "type": kind}))
    }

    /// An image of the given encoded bytes, a texture of it, and its index.
    pub(super) fn texture(&mut self, encoded: &[u8]) -> usize {
        let view = self.view(encoded);
        let image = self.push("images", json!({"bufferView": view, "mimeType": "image/png"}));
        self.push("textures", json!({"source": image}))
    }

    /// The `.glb` file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(&self.json).expect("JSON of finite numbers is text");
        json.resize(json.len().next_multiple_of(4), b' ');
        let mut bin = self.bin.clone();
        bin.resize(bin.len().next_multiple_of(4), 0);
        container(&json, &bin)
    }

    pub(super) fn load(&self) -> Result<Loaded, LoadError> {
        load_bytes(&self.bytes())
    }

    /// The loaded scene; the file must be valid.
    pub(super) fn loaded(&self) -> Loaded {
        let loaded = self.load().unwrap_or_else(|error| panic!("the scene should load: {error}"));
        if let Some(folder) = std::env::var_os("TESSERA_FUZZ_SEEDS") {
            super::seeds::write(Path::new(&folder), self, &loaded.scene);
        }
        loaded
    }
}

/// A `.glb` file of the two chunks.
pub(super) fn container(json: &[u8], bin: &[u8]) -> Vec<u8> {
    let word = |value: usize| u32::try_from(value).expect("test files are small").to_le_bytes();
    let mut bytes = b"glTF\x02\0\0\0".to_vec();
    bytes.extend(word(12 + 8 + json.len() + 8 + bin.len()));
    bytes.extend(word(json.len()));
    bytes.extend(b"JSON");
    bytes.extend(json);
    bytes.extend(word(bin.len()));
    bytes.extend(b"BIN\0");
    bytes.extend(bin);
    bytes
}

/// Loads a file from memory, as `test.glb`, within limits that a test can reach.
pub(super) fn load_bytes(bytes: &[u8]) -> Result<Loaded, LoadError> {
    load_bytes_with(bytes, &LoadOptions::default())
}

/// Loads a file from memory with options.
pub(super) fn load_bytes_with(bytes: &[u8], options: &LoadOptions) -> Result<Loaded, LoadError> {
    let limits = SceneLimits::default();
    let files = Files::new("test.glb".to_owned(), Some(PathBuf::from("/nowhere")), &limits);
    load_from_bytes(bytes, files, options, &limits)
}

/// A PNG of one colour.
pub(super) fn png(width: u32, height: u32, color: [u8; 4]) -> Vec<u8> {
    let image = image::RgbaImage::from_pixel(width, height, image::Rgba(color));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).expect("memory does not fail");
    bytes.into_inner()
}
