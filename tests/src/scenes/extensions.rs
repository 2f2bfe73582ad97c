//! `extensions/`: one small scene for each extension of a material, three balls
//! of it in the same room: a little, more, and most of it.

use glam::{DMat3, DVec3};
use serde_json::{Map, Value, json};

use super::model::Model;
use super::shapes::{Shape, cuboid, quad, sphere};
use super::textures::png;

/// The scenes' names under `scenes/` and what the three balls are made of.
pub(super) fn build() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("extensions/anisotropy.glb", balls("anisotropy", anisotropy)),
        ("extensions/clearcoat.glb", balls("clearcoat", clearcoat)),
        ("extensions/diffuse-transmission.glb", balls("diffuse transmission", diffuse_transmission)),
        ("extensions/dispersion.glb", balls("dispersion", dispersion)),
        ("extensions/emissive-strength.glb", balls("emissive strength", emissive_strength)),
        ("extensions/ior.glb", balls("ior", ior)),
        ("extensions/iridescence.glb", balls("iridescence", iridescence)),
        ("extensions/sheen.glb", balls("sheen", sheen)),
        ("extensions/specular.glb", balls("specular", specular)),
        ("extensions/transmission.glb", balls("transmission", transmission)),
        ("extensions/unlit.glb", balls("unlit", unlit)),
        ("extensions/volume.glb", balls("volume", volume)),
    ]
}

/// What a ball is made of, by its place from left to right, 0 to 2.
type Ball = fn(&mut Model, usize) -> Value;

/// The room, and in it three balls.
fn balls(name: &str, ball: Ball) -> Vec<u8> {
    let mut model = Model::new(name);
    room(&mut model);
    let shape = model.geometry(&sphere(48, 24));
    for place in 0..3 {
        let mut material = ball(&mut model, place);
        material["name"] = json!(format!("{name} {place}"));
        let material = model.material(material);
        let mesh = model.mesh(name, &[(&shape, material)]);
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let x = (place as f64 - 1.0) * 2.3;
        model.place(mesh, DVec3::new(x, 1.0, 0.0), 0.0, 1.0);
    }
    model.camera("camera", DVec3::new(0.0, 2.6, 9.0), DVec3::new(0.0, 1.05, 0.0), 26.0);
    model.finish()
}

/// A floor in squares, two walls, a bar behind the balls, and lamps above, aside
/// and behind.
fn room(model: &mut Model) {
    let v = DVec3::new;
    let light = model.plain("light tiles", [0.62, 0.60, 0.56], 0.0, 0.9);
    let dark = model.plain("dark tiles", [0.12, 0.13, 0.16], 0.0, 0.9);
    let wall = model.plain("wall", [0.55, 0.57, 0.60], 0.0, 1.0);
    let bar = model.plain("bar", [0.62, 0.10, 0.05], 0.0, 0.6);
    let (mut lights, mut darks) = (Shape::default(), Shape::default());
    for (x, z) in (-5..5).flat_map(|x| (-3..4).map(move |z| (x, z))) {
        let tile = quad(v(f64::from(x), 0.0, f64::from(z) + 1.0), v(1.0, 0.0, 0.0), v(0.0, 0.0, -1.0));
        if (x + z) % 2 == 0 {
            lights.join(&tile)
        } else {
            darks.join(&tile)
        };
    }
    add(model, "light tiles", &lights, light);
    add(model, "dark tiles", &darks, dark);
    add(model, "wall", &quad(v(-5.0, 0.0, -3.0), v(10.0, 0.0, 0.0), v(0.0, 5.0, 0.0)), wall);
    let rod = cuboid(v(9.0, 0.25, 0.25)).moved(DMat3::IDENTITY, v(0.0, 1.5, -1.9));
    add(model, "bar", &rod, bar);
    let above = model.emitter("lamp above", [1.0, 0.95, 0.88], 11.0);
    let aside = model.emitter("lamp aside", [0.75, 0.87, 1.0], 5.0);
    let lamp = quad(v(-1.6, 4.9, -0.8), v(3.2, 0.0, 0.0), v(0.0, 0.0, 1.6));
    add(model, "lamp above", &lamp, above);
    let lamp = quad(v(-4.9, 0.8, 2.2), v(0.0, 0.0, -2.4), v(0.0, 2.4, 0.0));
    add(model, "lamp aside", &lamp, aside);
}

fn add(model: &mut Model, name: &str, shape: &Shape, material: usize) {
    let geometry = model.geometry(&shape.clone().without_uvs());
    let mesh = model.mesh(name, &[(&geometry, material)]);
    model.place(mesh, DVec3::ZERO, 0.0, 1.0);
}

/// A metallic-roughness material with one extension.
fn material(color: [f64; 3], metallic: f64, roughness: f64, name: &str, extension: Value) -> Value {
    let [r, g, b] = color;
    let mut extensions = Map::new();
    extensions.insert(name.to_owned(), extension);
    json!({
        "pbrMetallicRoughness": {
            "baseColorFactor": [r, g, b, 1.0], "metallicFactor": metallic, "roughnessFactor": roughness,
        },
        "extensions": extensions,
    })
}

fn anisotropy(model: &mut Model, place: usize) -> Value {
    // The whole strength along the tangent; the texture says where that is.
    let along = model.texture("along", &png(1, |_, _| [1.0, 0.5, 1.0]));
    let extension = json!({
        "anisotropyStrength": ([0.3, 0.6, 0.9][place]),
        "anisotropyRotation": ([0.0, 0.0, std::f64::consts::FRAC_PI_2][place]),
        "anisotropyTexture": {"index": along},
    });
    material([0.95, 0.78, 0.55], 1.0, 0.3, "KHR_materials_anisotropy", extension)
}

fn clearcoat(_: &mut Model, place: usize) -> Value {
    let extension = json!({
        "clearcoatFactor": ([0.5, 1.0, 1.0][place]), "clearcoatRoughnessFactor": ([0.0, 0.0, 0.3][place]),
    });
    material([0.45, 0.02, 0.03], [0.0, 0.0, 1.0][place], 0.6, "KHR_materials_clearcoat", extension)
}

fn diffuse_transmission(_: &mut Model, place: usize) -> Value {
    let extension = json!({
        "diffuseTransmissionFactor": ([0.25, 0.6, 1.0][place]),
        "diffuseTransmissionColorFactor": [0.9, 0.55, 0.25],
    });
    let mut material = material([0.8, 0.8, 0.75], 0.0, 0.7, "KHR_materials_diffuse_transmission", extension);
    material["doubleSided"] = json!(true);
    material
}

/// Clear glass that absorbs nothing.
fn glass(ior: f64, roughness: f64) -> Value {
    let mut glass = material([1.0; 3], 0.0, roughness, "KHR_materials_ior", json!({"ior": ior}));
    glass["extensions"]["KHR_materials_transmission"] = json!({"transmissionFactor": 1});
    glass["extensions"]["KHR_materials_volume"] = json!({"thicknessFactor": 1});
    glass
}

fn dispersion(_: &mut Model, place: usize) -> Value {
    let mut glass = glass(1.6, 0.0);
    glass["extensions"]["KHR_materials_dispersion"] = json!({"dispersion": ([0.5, 2.0, 8.0][place])});
    glass
}

fn emissive_strength(_: &mut Model, place: usize) -> Value {
    let extension = json!({"emissiveStrength": ([0.5, 2.0, 8.0][place])});
    let mut material = material([0.1; 3], 0.0, 0.8, "KHR_materials_emissive_strength", extension);
    material["emissiveFactor"] = json!([1.0, 0.55, 0.2]);
    material
}

fn ior(_: &mut Model, place: usize) -> Value {
    let extension = json!({"ior": ([1.0, 1.33, 2.4][place])});
    material([0.05, 0.12, 0.3], 0.0, 0.15, "KHR_materials_ior", extension)
}

fn iridescence(_: &mut Model, place: usize) -> Value {
    let extension = json!({
        "iridescenceFactor": 1, "iridescenceIor": 1.35,
        "iridescenceThicknessMaximum": ([250, 400, 600][place]),
    });
    material([0.9, 0.9, 0.92], [0.0, 1.0, 1.0][place], 0.2, "KHR_materials_iridescence", extension)
}

fn sheen(_: &mut Model, place: usize) -> Value {
    let extension =
        json!({"sheenColorFactor": [0.6, 0.65, 0.9], "sheenRoughnessFactor": ([0.25, 0.5, 0.9][place])});
    material([0.08, 0.02, 0.05], 0.0, 1.0, "KHR_materials_sheen", extension)
}

fn specular(_: &mut Model, place: usize) -> Value {
    let extension = json!({
        "specularFactor": ([0.0, 1.0, 1.0][place]),
        "specularColorFactor": ([[1.0; 3], [1.0; 3], [5.0, 3.0, 0.5]][place]),
    });
    material([0.08, 0.05, 0.03], 0.0, 0.25, "KHR_materials_specular", extension)
}

fn transmission(_: &mut Model, place: usize) -> Value {
    let extension = json!({"transmissionFactor": ([0.6, 1.0, 1.0][place])});
    let mut material =
        material([0.7, 0.9, 0.75], 0.0, [0.05, 0.05, 0.45][place], "KHR_materials_transmission", extension);
    material["doubleSided"] = json!(true);
    material
}

fn unlit(_: &mut Model, place: usize) -> Value {
    let color = [[0.8, 0.1, 0.1], [0.1, 0.6, 0.1], [0.1, 0.2, 0.8]][place];
    material(color, 0.0, 0.9, "KHR_materials_unlit", json!({}))
}

fn volume(_: &mut Model, place: usize) -> Value {
    let mut glass = glass(1.5, [0.0, 0.0, 0.35][place]);
    glass["extensions"]["KHR_materials_volume"] = json!({
        "thicknessFactor": 1, "attenuationDistance": ([2.0, 0.6, 2.0][place]),
        "attenuationColor": [0.25, 0.7, 0.5],
    });
    glass
}
