//! Writing `.glb` files.

use glam::{DMat3, DQuat, DVec3};
use serde_json::{Value, json};

use super::shapes::Shape;

/// A glTF document in the making.
pub struct Model {
    json: Value,
    bin: Vec<u8>,
}

/// Accessors of a shape, for any number of meshes.
#[derive(Clone)]
pub struct Geometry {
    attributes: Value,
    indices: usize,
}

impl Model {
    /// An empty scene of the given name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let json = json!({
            "asset": {"version": "2.0", "generator": "make-scenes", "copyright": "CC0 1.0"},
            "scene": 0,
            "scenes": [{"name": name, "nodes": []}],
        });
        Self { json, bin: Vec::new() }
    }

    fn push(&mut self, list: &str, value: Value) -> usize {
        let list = &mut self.json[list];
        if list.is_null() {
            *list = json!([]);
        }
        let list = list.as_array_mut().expect("the property is a list");
        list.push(value);
        list.len() - 1
    }

    fn view(&mut self, bytes: &[u8]) -> usize {
        self.bin.resize(self.bin.len().next_multiple_of(4), 0);
        let view = json!({"buffer": 0, "byteOffset": self.bin.len(), "byteLength": bytes.len()});
        self.bin.extend(bytes);
        self.push("bufferViews", view)
    }

    fn floats<const N: usize>(&mut self, values: &[[f32; N]]) -> usize {
        let bytes: Vec<u8> = values.as_flattened().iter().flat_map(|value| value.to_le_bytes()).collect();
        let view = self.view(&bytes);
        let kind = ["SCALAR", "VEC2", "VEC3", "VEC4"][N - 1];
        let accessor =
            json!({"bufferView": view, "componentType": 5126, "count": values.len(), "type": kind});
        self.push("accessors", accessor)
    }

    /// Stores a shape.
    pub fn geometry(&mut self, shape: &Shape) -> Geometry {
        let positions = self.floats(&shape.positions);
        let bound = |pick: fn(f32, f32) -> f32, start: f32| -> Vec<f32> {
            let along = |axis: usize| shape.positions.iter().map(|p| p[axis]).fold(start, pick);
            (0..3).map(along).collect()
        };
        self.json["accessors"][positions]["min"] = json!(bound(f32::min, f32::INFINITY));
        self.json["accessors"][positions]["max"] = json!(bound(f32::max, f32::NEG_INFINITY));
        let mut attributes = json!({"POSITION": positions, "NORMAL": self.floats(&shape.normals)});
        if !shape.uvs.is_empty() {
            attributes["TEXCOORD_0"] = json!(self.floats(&shape.uvs));
        }
        if !shape.colors.is_empty() {
            let view = self.view(shape.colors.as_flattened());
            let accessor = json!({
                "bufferView": view, "componentType": 5121, "normalized": true,
                "count": shape.colors.len(), "type": "VEC4",
            });
            attributes["COLOR_0"] = json!(self.push("accessors", accessor));
        }
        let narrow: Vec<u8> = shape
            .indices
            .iter()
            .flat_map(|&index| {
                u16::try_from(index).expect("shapes have fewer than 65,536 vertices").to_le_bytes()
            })
            .collect();
        let view = self.view(&narrow);
        let count = shape.indices.len();
        let accessor = json!({"bufferView": view, "componentType": 5123, "count": count, "type": "SCALAR"});
        Geometry { attributes, indices: self.push("accessors", accessor) }
    }

    /// A material, as glTF writes it.
    pub fn material(&mut self, material: Value) -> usize {
        if let Some(extensions) = material["extensions"].as_object() {
            for name in extensions.keys() {
                self.uses(name);
            }
        }
        self.push("materials", material)
    }

    /// A metallic-roughness material of one colour (linear).
    pub fn plain(&mut self, name: &str, color: [f64; 3], metallic: f64, roughness: f64) -> usize {
        let [r, g, b] = color;
        self.material(json!({
            "name": name,
            "pbrMetallicRoughness": {
                "baseColorFactor": [r, g, b, 1.0],
                "metallicFactor": metallic,
                "roughnessFactor": roughness,
            },
        }))
    }

    /// A black material that emits a colour (linear) with a strength.
    pub fn emitter(&mut self, name: &str, color: [f64; 3], strength: f64) -> usize {
        self.material(json!({
            "name": name,
            "pbrMetallicRoughness": {"baseColorFactor": [0, 0, 0, 1], "metallicFactor": 0, "roughnessFactor": 1},
            "emissiveFactor": color,
            "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": strength}},
        }))
    }

    fn uses(&mut self, extension: &str) {
        let used =
            self.json["extensionsUsed"].as_array().is_some_and(|list| list.contains(&json!(extension)));
        if !used {
            self.push("extensionsUsed", json!(extension));
        }
    }

    /// A texture of an embedded PNG.
    pub fn texture(&mut self, name: &str, png: &[u8]) -> usize {
        let view = self.view(png);
        let source = self.push("images", json!({"name": name, "bufferView": view, "mimeType": "image/png"}));
        self.push("textures", json!({"source": source}))
    }

    /// A mesh of geometries and their materials.
    pub fn mesh(&mut self, name: &str, parts: &[(&Geometry, usize)]) -> usize {
        let primitive = |&(geometry, material): &(&Geometry, usize)| {
            json!({
                "attributes": geometry.attributes, "indices": geometry.indices, "material": material,
            })
        };
        let primitives: Vec<Value> = parts.iter().map(primitive).collect();
        self.push("meshes", json!({"name": name, "primitives": primitives}))
    }

    /// Places a node of the scene.
    pub fn node(&mut self, node: Value) {
        let node = self.push("nodes", node);
        let roots = self.json["scenes"][0]["nodes"].as_array_mut().expect("the scene has a list");
        roots.push(json!(node));
    }

    /// Places a mesh: turned about +Y, then scaled alike along all axes.
    pub fn place(&mut self, mesh: usize, at: DVec3, turn: f64, scale: f64) {
        let mut node = json!({"mesh": mesh, "translation": short(at.to_array())});
        if turn != 0.0 {
            node["rotation"] = json!(short(DQuat::from_rotation_y(turn).to_array()));
        }
        if scale != 1.0 {
            node["scale"] = json!(short([scale; 3]));
        }
        self.node(node);
    }

    /// Places a perspective camera that looks from `eye` at `target`.
    pub fn camera(&mut self, name: &str, eye: DVec3, target: DVec3, vertical_fov_degrees: f64) {
        let perspective = json!({"yfov": vertical_fov_degrees.to_radians(), "znear": 0.01});
        let camera =
            self.push("cameras", json!({"name": name, "type": "perspective", "perspective": perspective}));
        let backward = (eye - target).normalize();
        let right = DVec3::Y.cross(backward).normalize();
        let axes = DMat3::from_cols(right, backward.cross(right), backward);
        let rotation = DQuat::from_mat3(&axes).to_array().map(|x| (x * 1e7).round() / 1e7);
        self.node(json!({
            "name": name, "camera": camera, "translation": short(eye.to_array()), "rotation": rotation,
        }));
    }

    /// The `.glb` file.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.bin.resize(self.bin.len().next_multiple_of(4), 0);
        self.json["buffers"] = json!([{"byteLength": self.bin.len()}]);
        let mut json = serde_json::to_vec(&self.json).expect("finite numbers are text");
        json.resize(json.len().next_multiple_of(4), b' ');
        let word = |value: usize| u32::try_from(value).expect("scenes are small").to_le_bytes();
        let mut bytes = b"glTF\x02\0\0\0".to_vec();
        bytes.extend(word(12 + 8 + json.len() + 8 + self.bin.len()));
        bytes.extend(word(json.len()));
        bytes.extend(b"JSON");
        bytes.extend(json);
        bytes.extend(word(self.bin.len()));
        bytes.extend(b"BIN\0");
        bytes.extend(self.bin);
        bytes
    }
}

/// Numbers to a tenth of a millimetre, which keeps the JSON short.
fn short<const N: usize>(values: [f64; N]) -> Vec<f64> {
    values.iter().map(|value| (value * 1e4).round() / 1e4 + 0.0).collect()
}
