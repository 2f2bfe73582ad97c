//! `many-lights.glb`: six hundred small lamps on strings that hang from a
//! pole like the roof of a tent, over a dark, wet floor.

use std::f64::consts::TAU;

use glam::{DVec2, DVec3};

use super::model::Model;
use super::noise::{Random, hue};
use super::shapes::{Shape, lathe, quad, round_icosahedron, sphere};

const STRINGS: u32 = 15;
const LAMPS: u32 = 40;
/// Where the strings meet.
const TOP: DVec3 = DVec3::new(0.0, 5.1, 0.0);

pub(super) fn build() -> Vec<u8> {
    let mut model = Model::new("many lights");
    room(&mut model);
    let lamp = model.geometry(&round_icosahedron().without_uvs());
    let mut random = Random::new(2024);
    for string in 0..STRINGS {
        let share = f64::from(string) / f64::from(STRINGS);
        // From amber through rose and violet to teal and back: no pure green.
        let color =
            hue(0.055 - 0.56 * (1.0 - (2.0 * share - 1.0).abs())).map(|channel| 0.03 + 0.97 * channel);
        let material = model.emitter(&format!("lamps {string}"), color, 9.0);
        let mesh = model.mesh(&format!("lamp {string}"), &[(&lamp, material)]);
        let (sin, cos) = (share * TAU + 0.2).sin_cos();
        let end = DVec3::new(5.6 * sin, 2.5, 5.6 * cos);
        for i in 0..LAMPS {
            let along = (f64::from(i) + 0.7) / f64::from(LAMPS);
            // A parabola hangs nearly as a chain does.
            let sag = DVec3::Y * 2.1 * along * (1.0 - along);
            let sway = DVec3::new(
                random.between(-0.03, 0.03),
                random.between(-0.04, 0.02),
                random.between(-0.03, 0.03),
            );
            let at = TOP.lerp(end, along) - sag + sway;
            model.place(mesh, at, random.between(0.0, TAU), random.between(0.042, 0.062));
        }
    }
    model.camera("camera", DVec3::new(0.0, 1.55, 11.4), DVec3::new(0.0, 2.28, 0.0), 36.0);
    model.finish()
}

fn room(model: &mut Model) {
    let floor = model.plain("wet stone", [0.06, 0.062, 0.07], 0.0, 0.12);
    let wall = model.plain("plaster", [0.42, 0.40, 0.43], 0.0, 0.9);
    let chrome = model.plain("chrome", [0.88, 0.89, 0.92], 1.0, 0.08);
    let clay = model.plain("clay", [0.66, 0.63, 0.59], 0.0, 0.6);
    let iron = model.plain("iron", [0.20, 0.20, 0.21], 1.0, 0.4);
    let v = DVec3::new;
    let ground = quad(v(-8.0, 0.0, 12.0), v(16.0, 0.0, 0.0), v(0.0, 0.0, -19.0));
    add(model, "floor", ground, floor);
    let mut walls = quad(v(-8.0, 0.0, -7.0), v(16.0, 0.0, 0.0), v(0.0, 6.5, 0.0));
    walls.join(&quad(v(-8.0, 0.0, 12.0), v(0.0, 0.0, -19.0), v(0.0, 6.5, 0.0)));
    walls.join(&quad(v(8.0, 0.0, -7.0), v(0.0, 0.0, 19.0), v(0.0, 6.5, 0.0)));
    walls.join(&quad(v(-8.0, 6.5, -7.0), v(16.0, 0.0, 0.0), v(0.0, 0.0, 19.0)));
    add(model, "walls", walls, wall);
    let pole = [(0.0, 5.3), (0.10, 5.26), (0.12, 5.15), (0.05, 5.05), (0.05, 0.3), (0.34, 0.12), (0.36, 0.0)];
    let pole = lathe(&pole.map(DVec2::from), 32);
    add(model, "pole", pole, iron);
    let ball = model.geometry(&sphere(96, 48).without_uvs());
    let balls = [("chrome ball", chrome), ("clay ball", clay)];
    let balls = balls.map(|(name, material)| model.mesh(name, &[(&ball, material)]));
    let places = [
        (-2.1, 1.9, 0.55),
        (1.75, 2.7, 0.40),
        (3.6, 0.6, 0.80),
        (-4.1, -1.2, 0.85),
        (0.75, 4.1, 0.24),
        (-1.0, 3.9, 0.17),
        (1.6, -2.4, 0.70),
    ];
    for (i, (x, z, radius)) in places.into_iter().enumerate() {
        model.place(balls[i % 2], v(x, radius, z), 0.0, radius);
    }
}

fn add(model: &mut Model, name: &str, shape: Shape, material: usize) {
    let geometry = model.geometry(&shape.without_uvs());
    let mesh = model.mesh(name, &[(&geometry, material)]);
    model.place(mesh, DVec3::ZERO, 0.0, 1.0);
}
