//! Surfaces that move, against where their normals and tangents are in between.

use farm_scene::{Anisotropy, Material, Mesh, Motion, Scene, Shape, Track};
use glam::{Affine3A, DVec3, Vec3 as Point, Vec4};

use super::super::quad;
use super::lights::surface_at_time;
use super::*;

const PARTS: u8 = 3;

/// Normals and tangents of the corners of a triangle, in the world.
type Frames = [[DVec3; 2]; 3];

/// A triangle that reflects along its tangents, placed and moving.
fn brushed(shapes: Vec<Shape>, place: Affine3A, transforms: Vec<Affine3A>) -> Stage {
    let mesh = Mesh { triangles: vec![[0, 1, 2]], motion: shapes, ..quad(0) };
    let anisotropy = Anisotropy { strength: 0.5, ..Anisotropy::default() };
    let tracks = if transforms.is_empty() { Vec::new() } else { vec![Track { index: 0, transforms }] };
    stage(&Scene {
        meshes: vec![mesh],
        instances: vec![farm_scene::Instance { mesh: 0, transform: place }],
        materials: vec![Material { anisotropy, ..Material::default() }],
        motion: Motion { parts: PARTS.into(), instances: tracks, cameras: Vec::new() },
        ..Scene::default()
    })
}

/// What the corners have when the shutter opens and at the ends of all parts must be
/// what a surface has there, and in between go evenly from one to the next.
fn check(stage: &Stage, ends: &[Frames]) {
    let mut random = Random(31);
    for round in 0..2000_u32 {
        // The first and the last instant, then any.
        let time = [0, u32::MAX].get(round as usize).copied().unwrap_or_else(|| random.word());
        let place = f64::from(time) / 2_f64.powi(32) * f64::from(PARTS);
        let part = (0..usize::from(PARTS)).rev().find(|&part| part as f64 <= place).expect("0 is");
        let (b, c) = (random.unit() * 0.5, random.unit() * 0.5);
        let [normal, tangent] = [0, 1].map(|which| {
            let at = |end: usize| {
                let corners = ends[end].map(|corner| corner[which]);
                corners[0] * (1.0 - b - c) + corners[1] * b + corners[2] * c
            };
            at(part).lerp(at(part + 1), place - part as f64).normalize()
        });
        let surface = surface_at_time(stage, (b, c), lanes(-normal), time);
        for (found, wanted) in [(surface.normal, normal), (surface.tangent, tangent)] {
            let found = exact(found);
            // Tangents are stored by 15 bits.
            assert!((found - wanted).length() < 5e-4, "{found} instead of {wanted} at {place} of {PARTS}");
        }
    }
}

/// Unit vectors about another.
fn near(random: &mut Random, axis: Point) -> Point {
    (axis + random.point() * 0.4).normalize()
}

#[test]
fn a_mesh_that_deforms_has_the_normals_and_tangents_of_the_time() {
    let random = &mut Random(32);
    let place = Affine3A::from_rotation_y(0.4) * Affine3A::from_translation(Point::new(0.3, 0.2, -1.5));
    let flat = quad(0);
    let shape = |_| Shape {
        positions: flat.positions.clone(),
        normals: (0..4).map(|_| near(random, Point::Z)).collect(),
        tangents: (0..4).map(|_| near(random, Point::X).extend(1.0)).collect(),
    };
    let shapes: Vec<Shape> = (0..PARTS).map(shape).collect();
    let frames = |normals: &[Point], tangents: &[Vec4]| {
        let turned = |v: Point| place.transform_vector3(v).as_dvec3();
        [0, 1, 2].map(|corner| [turned(normals[corner]), turned(tangents[corner].truncate())])
    };
    let mut ends = vec![frames(&flat.normals, &flat.tangents)];
    ends.extend(shapes.iter().map(|shape| frames(&shape.normals, &shape.tangents)));
    check(&brushed(shapes, place, Vec::new()), &ends);
}

/// However much it grows and shrinks: a normal has the same weight at both ends.
#[test]
fn an_instance_that_turns_and_grows_has_the_normals_and_tangents_of_the_time() {
    let at = |end: u8| {
        let share = f32::from(end);
        let size = [1.0, 4.0, 0.5, 2.0][usize::from(end)];
        Affine3A::from_rotation_y(0.6 * share)
            * Affine3A::from_rotation_x(-0.3 * share)
            * Affine3A::from_scale(Point::splat(size))
    };
    let frames = |end: u8| {
        let turned = |v: Point| at(end).transform_vector3(v).normalize().as_dvec3();
        [[turned(Point::Z), turned(Point::X)]; 3]
    };
    let ends: Vec<Frames> = (0..=PARTS).map(frames).collect();
    check(&brushed(Vec::new(), at(0), (1..=PARTS).map(at).collect()), &ends);
}
