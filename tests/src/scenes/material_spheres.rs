//! `material-spheres.glb`: roughness from left to right, metals behind, paint
//! before them.

use glam::{DVec2, DVec3};

use super::model::{Geometry, Model};
use super::shapes::{Shape, lathe, quad, sphere, upright_to};

const COLUMNS: usize = 7;
const SPACING: DVec2 = DVec2::new(2.45, 2.9);
/// The colours (linear) of the paints, from left to right.
const PAINTS: [[f64; 3]; COLUMNS] = [
    [0.56, 0.09, 0.045],
    [0.76, 0.34, 0.04],
    [0.40, 0.42, 0.07],
    [0.045, 0.36, 0.20],
    [0.02, 0.30, 0.42],
    [0.06, 0.11, 0.46],
    [0.36, 0.055, 0.27],
];

pub(super) fn build() -> Vec<u8> {
    let mut model = Model::new("material spheres");
    studio(&mut model);
    let ball = model.geometry(&sphere(96, 48).without_uvs());
    let foot = model.geometry(&foot().without_uvs());
    let stone = model.plain("foot", [0.09, 0.09, 0.10], 0.0, 0.45);
    let foot = model.mesh("foot", &[(&foot, stone)]);
    for (column, paint) in (0_u32..).zip(PAINTS) {
        let share = f64::from(column) / 6.0;
        let roughness = 0.03 + 0.97 * share * share.sqrt();
        let rows =
            [("gold", [1.0, 0.70, 0.30], 1.0), ("silver", [0.90, 0.89, 0.87], 1.0), ("paint", paint, 0.0)];
        for (row, (name, color, metallic)) in (0_u32..).zip(rows) {
            let name = format!("{name}, roughness {roughness:.2}");
            let material = model.plain(&name, color, metallic, roughness);
            let place = DVec2::new(f64::from(column) - 3.0, f64::from(row) - 1.0) * SPACING;
            let at = DVec3::new(place.x, 0.0, place.y);
            put(&mut model, &name, (&ball, material), foot, at);
        }
    }
    model.camera("camera", DVec3::new(0.0, 11.5, 21.0), DVec3::new(0.0, 0.75, -0.35), 22.5);
    model.finish()
}

fn put(model: &mut Model, name: &str, ball: (&Geometry, usize), foot: usize, at: DVec3) {
    let mesh = model.mesh(name, &[ball]);
    model.place(mesh, at + DVec3::Y * 1.12, 0.0, 1.0);
    model.place(foot, at, 0.0, 1.0);
}

/// A ring that keeps a sphere from rolling.
fn foot() -> Shape {
    let profile = [(0.40, 0.0), (0.40, 0.16), (0.42, 0.20), (0.48, 0.20), (0.52, 0.16), (0.55, 0.0)];
    // Up on the inside and down on the outside: fronts are on both outer sides.
    lathe(&profile.map(|(radius, height)| DVec2::new(radius, height)), 48)
}

/// A floor that bends up behind, and three soft boxes.
fn studio(model: &mut Model) {
    let paper = model.plain("paper", [0.62, 0.60, 0.57], 0.0, 0.9);
    add(model, "backdrop", &backdrop().without_uvs(), paper);
    let key = model.emitter("key light", [1.0, 0.92, 0.82], 17.0);
    let fill = model.emitter("fill light", [0.70, 0.84, 1.0], 6.0);
    let top = model.emitter("top light", [1.0, 0.98, 0.95], 7.0);
    let boxes = [
        ("key light", key, DVec3::new(-14.0, 13.0, 9.0), 7.0, 7.0),
        ("fill light", fill, DVec3::new(15.0, 8.0, 10.0), 5.0, 8.0),
        ("top light", top, DVec3::new(0.0, 16.0, -4.0), 18.0, 3.5),
    ];
    for (name, material, at, width, height) in boxes {
        let corner = DVec3::new(-width / 2.0, 0.0, height / 2.0);
        let lamp = quad(corner, DVec3::new(width, 0.0, 0.0), DVec3::new(0.0, 0.0, -height));
        add(model, name, &lamp.moved(upright_to(-at), at).without_uvs(), material);
    }
}

/// Floor, bend and wall in one smooth sheet.
fn backdrop() -> Shape {
    let (radius, depth, width, height) = (9.0, -9.0, 90.0, 30.0);
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
