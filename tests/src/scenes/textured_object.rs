//! `textured-object.glb`: a glazed vase with gilded rings on a terrazzo plinth,
//! made of base colour, metallic-roughness and normal textures. It is meant to
//! be seen under `sky.hdr`.

use glam::{DMat3, DVec2, DVec3};
use serde_json::json;

use super::model::Model;
use super::noise::{Random, blend, fractal, noise, smooth};
use super::shapes::{Shape, lathe};
use super::textures::{encoded, normal_map, png};

/// Edges of the textures; what is smooth needs fewer texels.
const FINE: u32 = 512;
const COARSE: u32 = 256;

pub(super) fn build() -> Vec<u8> {
    let mut model = Model::new("textured object");
    vase(&mut model);
    plinth(&mut model);
    model.camera("camera", DVec3::new(0.0, 1.62, 5.2), DVec3::new(0.0, 0.86, 0.0), 30.0);
    model.finish()
}

/// Radius and height from the rim down, by a smooth curve through given points.
fn profile() -> Vec<DVec2> {
    let points = [
        (0.30, 1.98),
        (0.33, 2.00),
        (0.36, 1.97),
        (0.34, 1.90),
        (0.25, 1.74),
        (0.22, 1.58),
        (0.30, 1.40),
        (0.52, 1.16),
        (0.64, 0.88),
        (0.62, 0.60),
        (0.46, 0.30),
        (0.32, 0.12),
        (0.34, 0.05),
        (0.38, 0.0),
        (0.0, 0.0),
    ];
    let at = |i: usize| DVec2::from(points[i.min(points.len() - 1)]);
    let mut line = vec![DVec2::new(0.18, 1.55), DVec2::new(0.21, 1.74), DVec2::new(0.29, 1.93)];
    for i in 0..points.len() - 2 {
        let (p0, p1, p2, p3) = (at(i.saturating_sub(1)), at(i), at(i + 1), at(i + 2));
        for step in 0..8 {
            let t = f64::from(step) / 8.0;
            // Catmull–Rom.
            let curve = p1 * 2.0
                + (p2 - p0) * t
                + (p0 * 2.0 - p1 * 5.0 + p2 * 4.0 - p3) * t * t
                + (p1 * 3.0 - p0 - p2 * 3.0 + p3) * t * t * t;
            line.push(curve / 2.0);
        }
    }
    line.push(DVec2::new(0.38, 0.0));
    line.push(DVec2::new(0.0, 0.0));
    line
}

/// Where the glaze is gilded: rings, and a band of diamonds; 0..1.
fn gilding(u: f64, v: f64) -> f64 {
    let ring = |at: f64, width: f64| smooth((width - (v - at).abs()) * 400.0 + 0.5);
    let rings =
        [(0.125, 0.010), (0.335, 0.005), (0.385, 0.007), (0.615, 0.007), (0.665, 0.005), (0.90, 0.012)];
    let rings = rings.iter().map(|&(at, width)| ring(at, width)).fold(0.0, f64::max);
    let column = (u * 18.0).rem_euclid(1.0) - 0.5;
    let diamond = column.abs() / 0.5 + (v - 0.5).abs() / 0.105;
    let outline = smooth((0.075 - (diamond - 0.93).abs()) * 24.0 + 0.5);
    let heart = smooth((0.30 - diamond) * 18.0 + 0.5);
    rings.max(outline).max(heart)
}

fn vase_color(u: f64, v: f64) -> [f64; 3] {
    let cloud = fractal(u * 8.0, v * 8.0, 8, 5, 11);
    let glaze = blend([0.010, 0.045, 0.20], [0.02, 0.22, 0.34], smooth((cloud - 0.35) * 2.2));
    // The glaze runs down, thicker and darker to the foot.
    let run = fractal(u * 24.0, v * 2.0, 24, 3, 5) * 0.16;
    let glaze = blend([0.30, 0.52, 0.50], glaze, smooth((v - 0.16 + run) * 3.2));
    let glaze = if (0.395..0.605).contains(&v) { blend(glaze, [0.78, 0.74, 0.66], 0.88) } else { glaze };
    blend(glaze, [1.0, 0.70, 0.28], gilding(u, v))
}

fn vase(model: &mut Model) {
    let shape = lathe(&profile(), 128);
    let color = png(FINE, |u, v| encoded(vase_color(u, v)));
    let color = model.texture("vase base colour", &color);
    let surface = png(COARSE, |u, v| {
        let gold = gilding(u, v);
        let worn = fractal(u * 16.0, v * 16.0, 16, 4, 3);
        [0.0, 0.06 + 0.10 * worn + gold * (0.10 + 0.12 * worn), gold]
    });
    let surface = model.texture("vase metalness and roughness", &surface);
    let relief = normal_map(FINE, 1.0, |u, v| {
        let hammered = noise(u * 48.0, v * 40.0, 4800, 21) * 0.0016;
        gilding(u, v) * 0.004 + hammered * (1.0 - gilding(u, v))
    });
    let relief = model.texture("vase normals", &relief);
    let material = model.material(json!({
        "name": "glaze and gold",
        "pbrMetallicRoughness": {
            "baseColorTexture": {"index": color},
            "metallicRoughnessTexture": {"index": surface},
        },
        "normalTexture": {"index": relief, "scale": 1.0},
        "doubleSided": true,
    }));
    add(model, "vase", &shape, material, DVec3::new(0.0, 0.0, 0.0));
}

/// The nearest stone chip: how deep inside it a point is, and its number.
fn chips(u: f64, v: f64, cells: i64, seed: u64) -> (f64, f64) {
    #[expect(clippy::cast_precision_loss, reason = "there are few cells")]
    let count = cells as f64;
    let (x, y) = (u * count, v * count);
    let (mut best, mut second, mut number) = (f64::MAX, f64::MAX, 0.0);
    for dy in -1..=1 {
        for dx in -1..=1 {
            let (column, row) = (x.floor() + f64::from(dx), y.floor() + f64::from(dy));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cells are few")]
            let cell = (column.rem_euclid(count) + row.rem_euclid(count) * count) as u64;
            let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(cell));
            let at = DVec2::new(column + random.unit(), row + random.unit());
            let distance = at.distance(DVec2::new(x, y));
            if distance < best {
                (second, best, number) = (best, distance, random.unit());
            } else {
                second = second.min(distance);
            }
        }
    }
    (second - best, number)
}

fn terrazzo(u: f64, v: f64) -> [f64; 3] {
    let mortar = 0.62 + 0.08 * fractal(u * 32.0, v * 32.0, 32, 3, 1);
    let mut color = [mortar, mortar * 0.96, mortar * 0.90];
    for (cells, share, seed) in [(34, 0.5, 5), (13, 0.62, 9)] {
        let (depth, number) = chips(u, v, cells, seed);
        if number < share {
            let palette = [
                [0.36, 0.10, 0.07],
                [0.10, 0.17, 0.20],
                [0.72, 0.62, 0.46],
                [0.16, 0.14, 0.13],
                [0.46, 0.42, 0.40],
            ];
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of five")]
            let chip = palette[(number / share * 5.0) as usize % 5];
            let vein = 0.85 + 0.3 * fractal(u * 40.0, v * 40.0, 40, 3, 77);
            color = blend(color, chip.map(|c| c * vein), smooth((depth - 0.22) * 14.0));
        }
    }
    color
}

fn plinth(model: &mut Model) {
    let color = png(FINE, |u, v| encoded(terrazzo(u, v)));
    let color = model.texture("terrazzo", &color);
    let stone = |scale: [f64; 2]| {
        json!({
            "index": color,
            "extensions": {"KHR_texture_transform": {"scale": scale}},
        })
    };
    let material = model.material(json!({
        "name": "terrazzo",
        "pbrMetallicRoughness": {
            "baseColorTexture": stone([6.0, 2.0]), "metallicFactor": 0.0, "roughnessFactor": 0.22,
        },
    }));
    let line: Vec<DVec2> = [
        (0.0, 0.0),
        (0.5, 0.0),
        (0.96, 0.0),
        (0.985, -0.008),
        (1.0, -0.03),
        (1.0, -0.06),
        (1.0, -0.5),
        (1.0, -0.9),
    ]
    .map(DVec2::from)
    .to_vec();
    let mut shape = lathe(&line, 128);
    // The top would be a fan of stretched texels; it is projected instead.
    for (position, uv) in shape.positions.iter().zip(&mut shape.uvs) {
        if position[1] > -0.01 {
            *uv = [position[0] * 0.16 + 0.5, position[2] * 0.5 + 0.5];
        }
    }
    add(model, "plinth", &shape, material, DVec3::ZERO);
    let ground = model.plain("ground", [0.40, 0.34, 0.27], 0.0, 0.95);
    let disc = super::shapes::disc(96)
        .moved(DMat3::from_diagonal(DVec3::splat(500.0)), DVec3::new(0.0, -0.9, 0.0))
        .without_uvs();
    add(model, "ground", &disc, ground, DVec3::ZERO);
}

fn add(model: &mut Model, name: &str, shape: &Shape, material: usize, at: DVec3) {
    let geometry = model.geometry(shape);
    let mesh = model.mesh(name, &[(&geometry, material)]);
    model.place(mesh, at, 0.0, 1.0);
}
