//! Vertices taken apart, so that each triangle has its own three, and put
//! together again where all attributes have the same bits.

use std::collections::HashMap;

use glam::{DVec3, Vec3};

use crate::scene::Mesh;

/// Gives each corner of each triangle a vertex of its own.
pub(super) fn unweld(mesh: &mut Mesh) {
    let corners: Vec<u32> = mesh.triangles.as_flattened().to_vec();
    gather(mesh, &corners);
    let count = u32::try_from(mesh.triangles.len()).expect("limits keep triangle counts below 2^30");
    mesh.triangles = (0..count).map(|i| [3 * i, 3 * i + 1, 3 * i + 2]).collect();
}

/// Gives each triangle its own normal at vertices of its own.
pub(super) fn make_flat(mesh: &mut Mesh) {
    unweld(mesh);
    let flat = |&triangle: &[u32; 3]| [face_normal(corners(mesh, triangle)); 3];
    mesh.normals = mesh.triangles.iter().flat_map(flat).collect();
}

/// Shares vertices whose attributes have the same bits. Vertices keep the
/// order of their first use, and unused ones go.
pub(super) fn weld(mesh: &mut Mesh) {
    let mut ids = HashMap::with_capacity(mesh.positions.len());
    let mut kept = Vec::new();
    for corner in mesh.triangles.as_flattened_mut() {
        let next = u32::try_from(kept.len()).expect("there are no more vertices than before");
        let key = Key::of(&mesh_attributes(
            &mesh.positions,
            &mesh.normals,
            &mesh.tangents,
            &mesh.uvs,
            &mesh.colors,
            *corner as usize,
        ));
        let id = *ids.entry(key).or_insert(next);
        if id == next {
            kept.push(*corner);
        }
        *corner = id;
    }
    gather(mesh, &kept);
}

/// The bits of all attributes of a vertex.
#[derive(PartialEq, Eq, Hash)]
struct Key([u32; 18]);

impl Key {
    fn of(attributes: &[f32; 18]) -> Self {
        Self(attributes.map(f32::to_bits))
    }
}

fn mesh_attributes(
    positions: &[Vec3],
    normals: &[Vec3],
    tangents: &[glam::Vec4],
    uvs: &[Vec<glam::Vec2>; 2],
    colors: &[glam::Vec4],
    vertex: usize,
) -> [f32; 18] {
    let mut attributes = [0.0; 18];
    attributes[..3].copy_from_slice(&positions[vertex].to_array());
    if let Some(normal) = normals.get(vertex) {
        attributes[3..6].copy_from_slice(&normal.to_array());
    }
    if let Some(tangent) = tangents.get(vertex) {
        attributes[6..10].copy_from_slice(&tangent.to_array());
    }
    for (set, at) in uvs.iter().zip([10, 12]) {
        if let Some(uv) = set.get(vertex) {
            attributes[at..at + 2].copy_from_slice(&uv.to_array());
        }
    }
    if let Some(color) = colors.get(vertex) {
        attributes[14..].copy_from_slice(&color.to_array());
    }
    attributes
}

/// Makes vertex `i` a copy of the former vertex `order[i]`.
fn gather(mesh: &mut Mesh, order: &[u32]) {
    fn pick<T: Copy>(values: &mut Vec<T>, order: &[u32]) {
        if !values.is_empty() {
            *values = order.iter().map(|&vertex| values[vertex as usize]).collect();
        }
    }
    pick(&mut mesh.positions, order);
    pick(&mut mesh.normals, order);
    pick(&mut mesh.tangents, order);
    mesh.uvs.iter_mut().for_each(|set| pick(set, order));
    pick(&mut mesh.colors, order);
}

/// The unit normal of a triangle, counter-clockwise seen from the front; +Y
/// for one without area, which no ray hits.
pub(super) fn face_normal(corners: [Vec3; 3]) -> Vec3 {
    // In f64 neither the squares of 1e9 metres overflow nor those of a
    // micrometre vanish.
    let [a, b, c] = corners.map(Vec3::as_dvec3);
    (b - a).cross(c - a).try_normalize().unwrap_or(DVec3::Y).as_vec3()
}

/// The corners of a triangle.
pub(super) fn corners(mesh: &Mesh, triangle: [u32; 3]) -> [Vec3; 3] {
    triangle.map(|vertex| mesh.positions[vertex as usize])
}

/// Mirrors a mesh in the plane x = 0: the winding is turned, so that fronts
/// stay fronts, and the bitangents' signs.
pub(super) fn mirror(mesh: &mut Mesh) {
    mesh.positions.iter_mut().for_each(|position| position.x = -position.x);
    mesh.normals.iter_mut().for_each(|normal| normal.x = -normal.x);
    for tangent in &mut mesh.tangents {
        *tangent = glam::Vec4::new(-tangent.x, tangent.y, tangent.z, -tangent.w);
    }
    mesh.triangles.iter_mut().for_each(|triangle| triangle.swap(1, 2));
}
