//! `cornell-box.glb`: the box that every renderer knows, with a glazed sphere.

use glam::{DMat3, DVec3};

use super::model::Model;
use super::shapes::{Shape, cuboid, quad, sphere};

pub(super) fn build() -> Vec<u8> {
    let mut model = Model::new("Cornell box");
    let white = model.plain("white", [0.74, 0.72, 0.68], 0.0, 1.0);
    let red = model.plain("red", [0.60, 0.06, 0.045], 0.0, 1.0);
    let green = model.plain("green", [0.10, 0.40, 0.085], 0.0, 1.0);
    let glaze = model.plain("glaze", [0.035, 0.13, 0.42], 0.0, 0.06);
    let lamp = model.emitter("lamp", [1.0, 0.84, 0.64], 24.0);

    // A room two metres wide, open towards +Z.
    let v = DVec3::new;
    let mut room = quad(v(-1.0, 0.0, 1.0), v(2.0, 0.0, 0.0), v(0.0, 0.0, -2.0));
    room.join(&quad(v(-1.0, 2.0, -1.0), v(2.0, 0.0, 0.0), v(0.0, 0.0, 2.0)));
    room.join(&quad(v(-1.0, 0.0, -1.0), v(2.0, 0.0, 0.0), v(0.0, 2.0, 0.0)));
    let left = quad(v(-1.0, 0.0, 1.0), v(0.0, 0.0, -2.0), v(0.0, 2.0, 0.0));
    let right = quad(v(1.0, 0.0, -1.0), v(0.0, 0.0, 2.0), v(0.0, 2.0, 0.0));
    let ceiling_lamp = quad(v(-0.25, 1.998, -0.22), v(0.5, 0.0, 0.0), v(0.0, 0.0, 0.4));
    add(&mut model, "room", room, white);
    add(&mut model, "left wall", left, red);
    add(&mut model, "right wall", right, green);
    add(&mut model, "ceiling lamp", ceiling_lamp, lamp);

    let turned = |degrees: f64| DMat3::from_rotation_y(degrees.to_radians());
    let tall = cuboid(v(0.58, 1.2, 0.58)).moved(turned(18.0), v(-0.36, 0.6, -0.32));
    let short = cuboid(v(0.58, 0.38, 0.58)).moved(turned(-17.0), v(0.36, 0.19, 0.32));
    add(&mut model, "tall block", tall, white);
    add(&mut model, "short block", short, white);
    let ball = sphere(96, 48).moved(DMat3::from_diagonal(DVec3::splat(0.25)), v(0.36, 0.63, 0.32));
    add(&mut model, "sphere", ball, glaze);

    model.camera("camera", v(0.0, 1.0, 4.75), v(0.0, 1.0, 0.0), 29.5);
    model.finish()
}

fn add(model: &mut Model, name: &str, shape: Shape, material: usize) {
    let geometry = model.geometry(&shape.without_uvs());
    let mesh = model.mesh(name, &[(&geometry, material)]);
    model.place(mesh, DVec3::ZERO, 0.0, 1.0);
}
