//! `many-lights.glb`: six hundred small lamps, each of its own colour, hang in
//! a spiral over a dark, wet floor.

use std::f64::consts::{PI, TAU};

use glam::{DMat3, DVec3};

use super::model::Model;
use super::noise::{Random, hue};
use super::shapes::{Shape, cuboid, icosahedron, quad, sphere};

const LAMPS: u32 = 600;
const HUES: u32 = 12;

pub(super) fn build() -> Vec<u8> {
    let mut model = Model::new("many lights");
    room(&mut model);
    let lamp = model.geometry(&icosahedron().without_uvs());
    let lamps: Vec<usize> = (0..HUES)
        .map(|i| {
            let color = hue(f64::from(i) / f64::from(HUES)).map(|channel| 0.04 + 0.96 * channel);
            let material = model.emitter(&format!("lamp {i}"), color, 26.0);
            model.mesh(&format!("lamp {i}"), &[(&lamp, material)])
        })
        .collect();
    let mut random = Random::new(2024);
    for i in 0..LAMPS {
        let share = f64::from(i) / f64::from(LAMPS);
        // Two arms that widen as they climb.
        let arm = f64::from(i % 2) * PI;
        let turn = share * TAU * 3.0 + arm + random.between(-0.16, 0.16);
        let radius = 0.9 + 3.3 * share.powf(0.8) + random.between(-0.28, 0.28);
        let height = 0.35 + 4.0 * share * share.sqrt() + random.between(-0.22, 0.22);
        let (sin, cos) = turn.sin_cos();
        let color = (share * 1.15 + 0.5 * f64::from(i % 2) * 0.3 + 0.62 + random.between(-0.03, 0.03))
            .rem_euclid(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of twelve")]
        let mesh = lamps[(color * f64::from(HUES)) as usize % lamps.len()];
        let at = DVec3::new(radius * sin, height, radius * cos);
        model.place(mesh, at, random.between(0.0, TAU), random.between(0.022, 0.05));
    }
    model.camera("camera", DVec3::new(0.0, 2.35, 10.6), DVec3::new(0.0, 1.72, 0.0), 36.0);
    model.finish()
}

fn room(model: &mut Model) {
    let floor = model.plain("wet stone", [0.055, 0.058, 0.066], 0.0, 0.14);
    let wall = model.plain("plaster", [0.34, 0.33, 0.36], 0.0, 0.9);
    let chrome = model.plain("chrome", [0.86, 0.87, 0.90], 1.0, 0.06);
    let clay = model.plain("clay", [0.62, 0.60, 0.57], 0.0, 0.7);
    let v = DVec3::new;
    let ground = quad(v(-7.0, 0.0, 11.0), v(14.0, 0.0, 0.0), v(0.0, 0.0, -17.0));
    add(model, "floor", ground, floor);
    let mut walls = quad(v(-7.0, 0.0, -6.0), v(14.0, 0.0, 0.0), v(0.0, 6.0, 0.0));
    walls.join(&quad(v(-7.0, 0.0, 11.0), v(0.0, 0.0, -17.0), v(0.0, 6.0, 0.0)));
    walls.join(&quad(v(7.0, 0.0, -6.0), v(0.0, 0.0, 17.0), v(0.0, 6.0, 0.0)));
    walls.join(&quad(v(-7.0, 6.0, -6.0), v(14.0, 0.0, 0.0), v(0.0, 0.0, 17.0)));
    add(model, "walls", walls, wall);
    let ball = model.geometry(&sphere(96, 48).without_uvs());
    let balls = [("chrome ball", chrome), ("clay ball", clay)];
    let balls = balls.map(|(name, material)| model.mesh(name, &[(&ball, material)]));
    model.place(balls[0], v(0.0, 1.42, 0.0), 0.0, 0.62);
    let column = cuboid(v(0.5, 0.8, 0.5)).moved(DMat3::from_rotation_y(0.6), v(0.0, 0.4, 0.0));
    add(model, "column", column, clay);
    for (i, (x, z, radius)) in
        [(-2.6, 2.9, 0.34), (2.9, 2.2, 0.46), (-3.4, -1.6, 0.55), (3.3, -2.4, 0.4), (1.1, 4.3, 0.22)]
            .into_iter()
            .enumerate()
    {
        model.place(balls[(i + 1) % 2], v(x, radius, z), 0.0, radius);
    }
}

fn add(model: &mut Model, name: &str, shape: Shape, material: usize) {
    let geometry = model.geometry(&shape.without_uvs());
    let mesh = model.mesh(name, &[(&geometry, material)]);
    model.place(mesh, DVec3::ZERO, 0.0, 1.0);
}
