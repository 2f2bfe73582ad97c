//! `instanced-field.glb`: a lavender field in the evening. Some thousands of
//! nodes place a handful of plants: more than a million triangles in the
//! world, a hundredth of them in the file.

use std::f64::consts::{PI, TAU};

use glam::{DMat3, DVec2, DVec3};
use serde_json::json;

use super::model::Model;
use super::noise::{Random, blend, fractal, noise, smooth};
use super::shapes::{Shape, cuboid, disc, lathe, quad, round_icosahedron, sphere, terrain, upright_to};

/// Towards the sun: low, to the left and a little ahead.
const SUN: DVec3 = DVec3::new(-0.80, 0.42, -0.28);
const ROWS: i32 = 21;
const ROW_SPACING: f64 = 1.7;
const FIELD: (f64, f64) = (-58.0, 9.0);

pub(super) fn build() -> Vec<u8> {
    let mut model = Model::new("instanced field");
    sky(&mut model);
    ground(&mut model);
    let leaves = model.plain("plants", [1.0, 1.0, 1.0], 0.0, 0.85);
    let stone = model.plain("stone", [0.52, 0.47, 0.41], 0.0, 0.9);
    plant_rows(&mut model, leaves);
    trees(&mut model, leaves);
    house(&mut model);
    stones(&mut model, stone);
    let eye = DVec3::new(1.1, height(1.1, 11.0) + 1.75, 11.0);
    model.camera("camera", eye, DVec3::new(-0.5, height(0.0, -10.0) + 1.0, -12.0), 38.0);
    model.finish()
}

/// The ground: gentle waves, and hills far behind.
fn height(x: f64, z: f64) -> f64 {
    let waves = (noise(x * 0.05 + 50.0, z * 0.05 + 50.0, 4096, 3) - 0.5) * 2.6;
    let far = smooth((-z - 48.0) / 90.0);
    let hills = fractal(x * 0.012 + 70.0, z * 0.012 + 70.0, 4096, 4, 9) * 44.0;
    waves + far * hills - 0.01 * z.min(0.0)
}

/// A dome that shines as it is seen, open towards the sun, and the sun: a disc
/// that emits, large and near enough for soft shadows.
fn sky(model: &mut Model) {
    let dome = sphere(48, 24);
    let inward = Shape {
        normals: dome.normals.iter().map(|normal| normal.map(|x| -x)).collect(),
        indices: dome.indices.chunks_exact(3).flat_map(|t| [t[0], t[2], t[1]]).collect(),
        ..dome
    };
    let sun = SUN.normalize();
    let color = |at: DVec3| {
        let up = at.normalize();
        let height = smooth(up.y.max(0.0).sqrt() * 1.15);
        let clear = blend([0.98, 0.72, 0.47], [0.20, 0.36, 0.66], height);
        let glow = ((up.dot(sun) - 1.0) * 5.0).exp();
        blend(clear, [1.0, 0.86, 0.62], glow)
    };
    let dome =
        inward.without_uvs().moved(DMat3::from_diagonal(DVec3::splat(400.0)), DVec3::ZERO).colored_by(color);
    let sky = model.material(json!({
        "name": "sky",
        "pbrMetallicRoughness": {"metallicFactor": 0.0},
        "extensions": {"KHR_materials_unlit": {}},
    }));
    add(model, "sky", &dome, sky);
    let distance = 300.0;
    let radius = distance * (1.6_f64).to_radians().tan();
    // The irradiance of a small disc is its radiance times its solid angle.
    let solid_angle = PI * (radius / distance) * (radius / distance);
    let lamp = model.emitter("sun", [1.0, 0.74, 0.46], 4.6 / solid_angle);
    let axes = upright_to(-sun) * DMat3::from_diagonal(DVec3::new(radius, 1.0, radius));
    add(model, "sun", &disc(32).without_uvs().moved(axes, sun * distance), lamp);
}

fn ground(model: &mut Model) {
    let earth = model.plain("earth", [1.0, 1.0, 1.0], 0.0, 1.0);
    let color = |at: DVec3| {
        let grain = fractal(at.x * 0.9 + 90.0, at.z * 0.9 + 90.0, 4096, 4, 31);
        let soil = blend([0.30, 0.19, 0.11], [0.44, 0.31, 0.19], grain);
        let grass = blend([0.16, 0.19, 0.06], [0.34, 0.31, 0.12], grain);
        let beyond = smooth((FIELD.0 - at.z - 1.0) / 5.0).max(smooth((at.x.abs() - 18.2) / 2.0));
        blend(soil, grass, beyond)
    };
    let near = terrain((DVec2::new(-40.0, -64.0), DVec2::new(40.0, 16.0)), 96, 96, height);
    let far = terrain((DVec2::new(-300.0, -330.0), DVec2::new(300.0, -61.0)), 64, 36, |x, z| {
        // A little below the near ground, under which they reach.
        height(x, z) - 0.2
    });
    for (name, shape) in [("ground", near), ("hills", far)] {
        let shape = shape.without_uvs().colored_by(color);
        add(model, name, &shape, earth);
    }
    for side in [-1.0, 1.0] {
        let (low, high) = if side < 0.0 { (-300.0, -37.0) } else { (37.0, 300.0) };
        let shape =
            terrain((DVec2::new(low, -64.0), DVec2::new(high, 16.0)), 40, 24, |x, z| height(x, z) - 0.02);
        add(model, "fields", &shape.without_uvs().colored_by(color), earth);
    }
}

/// A bush of lavender: blades of grey-green below, stalks with flowers above.
fn lavender(seed: u64) -> Shape {
    let mut random = Random::new(seed);
    let mut bush = Shape::default();
    let profile = [(0.0, 1.0), (0.55, 0.80), (1.0, 0.42), (0.8, 0.16), (0.0, 0.0)];
    let spike = lathe(&profile.map(DVec2::from), 4).without_uvs();
    let stalk = lathe(&[DVec2::new(0.0, 1.0), DVec2::new(1.0, 0.0)], 3).without_uvs();
    for _ in 0..46 {
        // Lean outward from the middle, more at the rim.
        let lean = random.unit().sqrt() * 0.95;
        let (sin, cos) = random.between(0.0, TAU).sin_cos();
        let axis = DVec3::new(sin * lean, 1.0, cos * lean).normalize();
        let length = random.between(0.50, 0.66) * (1.0 - 0.18 * lean);
        let foot = DVec3::new(sin, 0.0, cos) * lean * 0.16;
        let turned = upright_to(axis);
        let stem = turned * DMat3::from_diagonal(DVec3::new(0.009, length, 0.009));
        let green = blend([0.20, 0.26, 0.13], [0.33, 0.38, 0.22], random.unit());
        bush.join(&stalk.clone().moved(stem, foot).colored(green));
        let flower = turned * DMat3::from_diagonal(DVec3::new(0.027, 0.17, 0.027));
        let purple = blend([0.25, 0.12, 0.50], [0.54, 0.35, 0.78], random.unit());
        bush.join(&spike.clone().moved(flower, foot + axis * length * 0.86).colored(purple));
    }
    for _ in 0..22 {
        let (sin, cos) = random.between(0.0, TAU).sin_cos();
        let axis = DVec3::new(sin, random.between(0.5, 1.6), cos).normalize();
        let blade =
            upright_to(axis) * DMat3::from_diagonal(DVec3::new(0.03, random.between(0.22, 0.36), 0.03));
        let green = blend([0.14, 0.20, 0.09], [0.28, 0.33, 0.18], random.unit());
        bush.join(&stalk.clone().moved(blade, DVec3::ZERO).colored(green));
    }
    bush
}

fn plant_rows(model: &mut Model, material: usize) {
    let kinds: Vec<usize> = (0..4)
        .map(|kind| {
            let geometry = model.geometry(&lavender(100 + kind));
            model.mesh(&format!("lavender {kind}"), &[(&geometry, material)])
        })
        .collect();
    let mut random = Random::new(7);
    for row in 0..ROWS {
        let x = f64::from(row - ROWS / 2) * ROW_SPACING + 0.55;
        let mut z = FIELD.1;
        while z > FIELD.0 {
            let at = DVec2::new(x + random.between(-0.09, 0.09), z + random.between(-0.06, 0.06));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of four")]
            let kind = kinds[(random.unit() * 4.0) as usize % 4];
            let place = DVec3::new(at.x, height(at.x, at.y) - 0.02, at.y);
            model.place(kind, place, random.between(0.0, TAU), random.between(0.95, 1.35));
            z -= 0.52;
        }
    }
}

/// A tree: a trunk and a crown of leaves around it.
fn tree(seed: u64, slender: bool) -> Shape {
    let mut random = Random::new(seed);
    let trunk = lathe(&[DVec2::new(0.0, 1.0), DVec2::new(0.7, 0.6), DVec2::new(1.0, 0.0)], 8).without_uvs();
    let (size, middle) =
        if slender { (DVec3::new(0.75, 4.2, 0.75), 4.6) } else { (DVec3::new(2.3, 1.9, 2.3), 4.1) };
    let mut shape = trunk
        .moved(DMat3::from_diagonal(DVec3::new(0.24, middle, 0.24)), DVec3::ZERO)
        .colored([0.17, 0.11, 0.07]);
    let tuft = round_icosahedron().without_uvs();
    for _ in 0..if slender { 130 } else { 110 } {
        let (sin, cos) = random.between(0.0, TAU).sin_cos();
        let up = random.between(-1.0, 1.0);
        // A cypress is widest a third of the way up.
        let wide = if slender { (1.0 - up) * (1.15 + up).min(1.0) * 0.75 } else { (1.0 - up * up).sqrt() };
        let place = DVec3::new(sin * wide, up, cos * wide) * size * random.between(0.72, 1.0);
        let scale = random.between(0.55, 1.0) * if slender { 0.55 - 0.2 * up } else { 0.78 };
        let axes = upright_to(DVec3::new(random.between(-1.0, 1.0), 0.6, random.between(-1.0, 1.0)));
        let green = blend([0.05, 0.085, 0.025], [0.17, 0.21, 0.06], random.unit() * (0.6 + 0.4 * up));
        let axes = axes * DMat3::from_diagonal(DVec3::new(scale, scale * 0.8, scale));
        shape.join(&tuft.clone().moved(axes, place + DVec3::Y * middle).colored(green));
    }
    shape
}

fn trees(model: &mut Model, material: usize) {
    let kinds: Vec<usize> = [(1, false), (2, false), (3, true)]
        .map(|(seed, slender)| {
            let geometry = model.geometry(&tree(seed, slender));
            model.mesh(if slender { "cypress" } else { "tree" }, &[(&geometry, material)])
        })
        .to_vec();
    let mut place = |kind: usize, x: f64, z: f64, turn: f64, scale: f64| {
        model.place(kinds[kind], DVec3::new(x, height(x, z) - 0.1, z), turn, scale);
    };
    place(0, 16.5, -64.0, 0.3, 1.5);
    place(1, 21.0, -67.5, 1.9, 1.2);
    for (i, (x, z)) in [(-3.0, -66.0), (-6.2, -67.0), (-9.6, -66.5), (7.4, -70.0)].into_iter().enumerate() {
        place(2, x, z, f64_of(i) * 1.1, 1.15 + 0.14 * f64_of(i % 3));
    }
    let mut random = Random::new(77);
    for _ in 0..240 {
        let z = random.between(-240.0, -76.0);
        let x = random.between(-0.75, 0.75) * (60.0 - z);
        let kind = if random.unit() < 0.7 { 0 } else { 1 };
        let is_apart = z < -92.0 || x.abs() > 30.0;
        if is_apart && fractal(x * 0.03 + 20.0, z * 0.03 + 20.0, 4096, 2, 5) > 0.5 {
            place(kind, x, z, random.between(0.0, TAU), random.between(0.7, 1.5));
        }
    }
}

/// A farmhouse behind the field: walls, a roof, windows and a door.
fn house(model: &mut Model) {
    let plaster = model.plain("plaster", [0.74, 0.60, 0.42], 0.0, 0.95);
    let tiles = model.plain("roof tiles", [0.42, 0.16, 0.08], 0.0, 0.9);
    let shutters = model.plain("shutters", [0.10, 0.17, 0.22], 0.0, 0.7);
    let v = DVec3::new;
    let (wide, high, deep, ridge) = (9.0, 4.2, 5.0, 1.9);
    let mut walls = cuboid(v(wide, high, deep)).moved(DMat3::IDENTITY, v(0.0, high / 2.0, 0.0));
    walls.join(&cuboid(v(4.0, 2.8, 4.4)).moved(DMat3::IDENTITY, v(6.4, 1.4, 0.2)));
    let mut roof = slope(wide, deep, high, ridge, DVec3::ZERO);
    roof.join(&slope(4.4, 4.4, 2.8, 1.2, v(6.4, 0.0, 0.2)));
    let mut openings = Shape::default();
    for (x, y, width, height) in [
        (-3.0, 2.3, 0.9, 1.3),
        (0.0, 2.3, 0.9, 1.3),
        (3.0, 2.3, 0.9, 1.3),
        (-3.0, 0.6, 0.9, 1.2),
        (0.2, 0.0, 1.1, 1.9),
    ] {
        let corner = v(x - width / 2.0, y, deep / 2.0 + 0.02);
        openings.join(&quad(corner, v(width, 0.0, 0.0), v(0.0, height, 0.0)));
    }
    let at = v(7.5, height(7.5, -64.0) - 0.3, -64.0);
    for (name, shape, material) in
        [("walls", walls, plaster), ("roof", roof, tiles), ("shutters", openings, shutters)]
    {
        let geometry = model.geometry(&shape.without_uvs());
        let mesh = model.mesh(name, &[(&geometry, material)]);
        model.place(mesh, at, -0.32, 1.0);
    }
}

/// A roof along x, with thick eaves: two slabs and the gables below them.
fn slope(wide: f64, deep: f64, high: f64, ridge: f64, at: DVec3) -> Shape {
    let mut roof = Shape::default();
    let angle = (ridge / (deep / 2.0)).atan();
    let length = (deep / 2.0).hypot(ridge) + 0.5;
    for side in [-1.0, 1.0] {
        let slab = cuboid(DVec3::new(wide + 0.8, 0.18, length));
        let center = DVec3::new(0.0, high + ridge, 0.0)
            + DVec3::new(0.0, -angle.sin(), side * angle.cos()) * (length / 2.0 - 0.05);
        roof.join(&slab.moved(DMat3::from_rotation_x(side * angle), center + at));
    }
    let block = cuboid(DVec3::new(wide - 0.1, ridge * 0.95, deep * 0.42));
    roof.join(&block.moved(DMat3::IDENTITY, DVec3::new(0.0, high + ridge * 0.475 - 0.1, 0.0) + at));
    roof
}

fn f64_of(index: usize) -> f64 {
    u32::try_from(index).map_or(0.0, f64::from)
}

fn stones(model: &mut Model, material: usize) {
    let mut random = Random::new(5);
    let mut rock = sphere(14, 8).without_uvs();
    for position in &mut rock.positions {
        let [x, y, z] = position.map(f64::from);
        let bump = 0.72 + 0.5 * noise(x * 1.7 + 9.0, z * 1.7 + y * 2.3 + 9.0, 64, 2);
        #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
        let moved = [x * bump, y * bump * 0.6, z * bump].map(|value| value as f32);
        *position = moved;
    }
    let geometry = model.geometry(&rock);
    let mesh = model.mesh("stone", &[(&geometry, material)]);
    for _ in 0..260 {
        #[expect(clippy::cast_possible_truncation, reason = "a row of a few")]
        let row = (random.unit() * 20.0) as i32 - 10;
        let x = (f64::from(row) + 0.5) * ROW_SPACING + 0.55 + random.between(-0.35, 0.35);
        let z = random.between(-30.0, 9.0);
        let scale = 0.03 + 0.12 * random.unit() * random.unit() * random.unit();
        model.place(mesh, DVec3::new(x, height(x, z), z), random.between(0.0, TAU), scale);
    }
}

fn add(model: &mut Model, name: &str, shape: &Shape, material: usize) {
    let geometry = model.geometry(shape);
    let mesh = model.mesh(name, &[(&geometry, material)]);
    model.place(mesh, DVec3::ZERO, 0.0, 1.0);
}
