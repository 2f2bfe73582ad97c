//! `material-spheres.glb`: roughness from left to right, metals behind,
//! plastics before them.

use glam::{DVec2, DVec3};

use super::model::{Geometry, Model};
use super::noise::hue;
use super::shapes::{Shape, lathe, quad, sphere, upright_to};

const COLUMNS: u32 = 7;
const SPACING: f64 = 2.25;

pub(super) fn build() -> Vec<u8> {
    let mut model = Model::new("material spheres");
    studio(&mut model);
    let ball = model.geometry(&sphere(96, 48).without_uvs());
    let foot = model.geometry(&foot().without_uvs());
    let stone = model.plain("foot", [0.09, 0.09, 0.10], 0.0, 0.45);
    for column in 0..COLUMNS {
        let share = f64::from(column) / f64::from(COLUMNS - 1);
        let roughness = 0.03 + 0.97 * share * share.sqrt();
        let rows: [(&str, [f64; 3], f64); 3] = [
            ("gold", [1.0, 0.70, 0.30], 1.0),
            ("steel", [0.62, 0.64, 0.68], 1.0),
            ("paint", hue(0.98 + share * 0.82).map(|channel| 0.03 + 0.72 * channel), 0.0),
        ];
        for (row, (name, color, metallic)) in (0_u32..).zip(rows) {
            let name = format!("{name}, roughness {roughness:.2}");
            let material = model.plain(&name, color, metallic, roughness);
            let x = (f64::from(column) - f64::from(COLUMNS - 1) / 2.0) * SPACING;
            let z = (f64::from(row) - 1.0) * SPACING;
            place(&mut model, &name, (&ball, material), (&foot, stone), DVec3::new(x, 0.0, z));
        }
    }
    model.camera("camera", DVec3::new(0.0, 8.6, 22.5), DVec3::new(0.0, 0.35, 0.25), 21.5);
    model.finish()
}

fn place(model: &mut Model, name: &str, ball: (&Geometry, usize), foot: (&Geometry, usize), at: DVec3) {
    let mesh = model.mesh(name, &[ball]);
    model.place(mesh, at + DVec3::Y * 1.12, 0.0, 1.0);
    let mesh = model.mesh("foot", &[foot]);
    model.place(mesh, at, 0.0, 1.0);
}

/// A ring that keeps a sphere from rolling.
fn foot() -> Shape {
    let profile = [(0.40, 0.0), (0.40, 0.16), (0.42, 0.20), (0.48, 0.20), (0.52, 0.16), (0.55, 0.0)];
    // From the inside over the top to the outside is downward seen from without.
    lathe(&profile.map(|(radius, height)| DVec2::new(radius, height)), 48)
}

/// A floor that bends up behind, and three soft boxes.
fn studio(model: &mut Model) {
    let floor = model.plain("paper", [0.46, 0.45, 0.44], 0.0, 0.85);
    let shape = backdrop().without_uvs();
    add(model, "backdrop", &shape, floor);
    let key = model.emitter("key light", [1.0, 0.93, 0.84], 11.0);
    let fill = model.emitter("fill light", [0.72, 0.85, 1.0], 3.2);
    let top = model.emitter("top light", [1.0, 1.0, 1.0], 4.0);
    let boxes = [
        ("key light", key, DVec3::new(-13.0, 11.0, 8.0), 6.0, 6.0),
        ("fill light", fill, DVec3::new(14.0, 7.0, 9.0), 4.5, 8.0),
        ("top light", top, DVec3::new(0.0, 14.0, -3.0), 16.0, 3.0),
    ];
    for (name, material, at, width, height) in boxes {
        let lamp = quad(
            DVec3::new(-width / 2.0, 0.0, height / 2.0),
            DVec3::new(width, 0.0, 0.0),
            DVec3::new(0.0, 0.0, -height),
        );
        let lamp = lamp.moved(upright_to(-at), at).without_uvs();
        add(model, name, &lamp, material);
    }
}

/// Floor, bend and wall in one smooth sheet.
fn backdrop() -> Shape {
    let (radius, depth, width, height) = (7.0, -10.0, 80.0, 24.0);
    let mut line = vec![DVec2::new(40.0, 0.0), DVec2::new(depth, 0.0)];
    for step in 1..=16 {
        let (sin, cos) = (f64::from(step) / 16.0 * std::f64::consts::FRAC_PI_2).sin_cos();
        line.push(DVec2::new(depth - radius * sin, radius * (1.0 - cos)));
    }
    line.push(DVec2::new(depth - radius, height));
    let mut shape = Shape::default();
    for pair in line.windows(2) {
        let [from, to] = [pair[0], pair[1]].map(|point| DVec3::new(-width / 2.0, point.y, point.x));
        shape.join(&quad(from, DVec3::X * width, to - from));
    }
    smooth_along(&mut shape, &line);
    shape
}

/// Gives the sheet the normals of the curve instead of those of its facets.
fn smooth_along(shape: &mut Shape, line: &[DVec2]) {
    let normal = |i: usize| {
        let along = line[(i + 1).min(line.len() - 1)] - line[i.saturating_sub(1)];
        let along = if i <= 1 { DVec2::NEG_X } else { along };
        let normal = DVec2::new(along.y, -along.x).normalize();
        #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
        [0.0, normal.y as f32, normal.x as f32]
    };
    for (i, corners) in shape.normals.chunks_exact_mut(4).enumerate() {
        corners.copy_from_slice(&[normal(i), normal(i), normal(i + 1), normal(i + 1)]);
    }
}

fn add(model: &mut Model, name: &str, shape: &Shape, material: usize) {
    let geometry = model.geometry(shape);
    let mesh = model.mesh(name, &[(&geometry, material)]);
    model.place(mesh, DVec3::ZERO, 0.0, 1.0);
}
