//! Triangle meshes of simple shapes.

use std::f64::consts::{PI, TAU};

use glam::{DMat3, DVec2, DVec3};

/// Vertices and triangles, counter-clockwise seen from the front.
#[derive(Clone, Default)]
pub struct Shape {
    pub(super) positions: Vec<[f32; 3]>,
    pub(super) normals: Vec<[f32; 3]>,
    pub(super) uvs: Vec<[f32; 2]>,
    pub(super) colors: Vec<[u8; 4]>,
    pub(super) indices: Vec<u32>,
}

#[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
fn rounded<const N: usize>(values: [f64; N]) -> [f32; N] {
    values.map(|value| value as f32)
}

fn small(index: usize) -> u32 {
    u32::try_from(index).expect("shapes are small")
}

impl Shape {
    fn vertex(&mut self, position: DVec3, normal: DVec3, uv: DVec2) -> u32 {
        self.positions.push(rounded(position.to_array()));
        self.normals.push(rounded(normal.to_array()));
        self.uvs.push(rounded(uv.to_array()));
        small(self.positions.len() - 1)
    }

    /// Without texture coordinates.
    pub(super) fn without_uvs(mut self) -> Self {
        self.uvs.clear();
        self
    }

    /// With every vertex in one colour (linear).
    pub(super) fn colored(self, color: [f64; 3]) -> Self {
        self.colored_by(|_| color)
    }

    /// With each vertex in the colour (linear) of its place.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
    pub(super) fn colored_by(mut self, color: impl Fn(DVec3) -> [f64; 3]) -> Self {
        let byte = |value: f64| (value.clamp(0.0, 1.0) * 255.0).round() as u8;
        let at = |position: &[f32; 3]| {
            let [r, g, b] = color(DVec3::from_array(position.map(f64::from))).map(byte);
            [r, g, b, 255]
        };
        self.colors = self.positions.iter().map(at).collect();
        self
    }

    /// Turned, or stretched, and moved. The matrix must not mirror.
    pub(super) fn moved(mut self, axes: DMat3, by: DVec3) -> Self {
        let normals = axes.inverse().transpose();
        for position in &mut self.positions {
            *position = rounded((axes * DVec3::from_array(position.map(f64::from)) + by).to_array());
        }
        for normal in &mut self.normals {
            *normal = rounded((normals * DVec3::from_array(normal.map(f64::from))).normalize().to_array());
        }
        self
    }

    /// Both shapes together; they must have the same kinds of attributes.
    pub(super) fn join(&mut self, other: &Self) {
        let first = small(self.positions.len());
        self.positions.extend(&other.positions);
        self.normals.extend(&other.normals);
        self.uvs.extend(&other.uvs);
        self.colors.extend(&other.colors);
        self.indices.extend(other.indices.iter().map(|index| index + first));
    }

    /// Triangles between two rows of `columns + 1` vertices each, for `rows`
    /// rows that were added one after another from `first` on. Fronts are to
    /// the left of a row, seen along it, when rows grow downward.
    fn grid(&mut self, first: u32, columns: u32, rows: u32) {
        for row in 0..rows {
            for column in 0..columns {
                let a = first + row * (columns + 1) + column;
                let b = a + columns + 1;
                self.indices.extend([a, b, a + 1, a + 1, b, b + 1]);
            }
        }
    }
}

/// A parallelogram from a corner along two edges; the front is where they turn
/// counter-clockwise.
pub(super) fn quad(corner: DVec3, along: DVec3, up: DVec3) -> Shape {
    let mut shape = Shape::default();
    let normal = along.cross(up).normalize();
    for (u, v) in [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)] {
        shape.vertex(corner + along * u + up * v, normal, DVec2::new(u, 1.0 - v));
    }
    shape.indices = vec![0, 1, 2, 0, 2, 3];
    shape
}

/// A box around the origin.
pub(super) fn cuboid(size: DVec3) -> Shape {
    let half = size / 2.0;
    let mut shape = Shape::default();
    for (along, up) in [
        (DVec3::X, DVec3::Y),
        (DVec3::NEG_X, DVec3::Y),
        (DVec3::NEG_Z, DVec3::Y),
        (DVec3::Z, DVec3::Y),
        (DVec3::X, DVec3::NEG_Z),
        (DVec3::X, DVec3::Z),
    ] {
        let normal = along.cross(up);
        let corner = (normal - along - up) * half;
        shape.join(&quad(corner, along * size, up * size));
    }
    shape
}

/// A unit sphere around the origin, smooth.
pub(super) fn sphere(columns: u32, rows: u32) -> Shape {
    let profile: Vec<DVec2> = (0..=rows)
        .map(|row| {
            let angle = PI * f64::from(row) / f64::from(rows);
            DVec2::new(if row == 0 || row == rows { 0.0 } else { angle.sin() }, angle.cos())
        })
        .collect();
    lathe(&profile, columns)
}

/// A surface of revolution about +Y: points of (radius, height), from the top
/// down for a surface seen from outside. Normals are smooth.
pub(super) fn lathe(profile: &[DVec2], columns: u32) -> Shape {
    let mut shape = Shape::default();
    let last = profile.len() - 1;
    let lengths: Vec<f64> = profile
        .windows(2)
        .scan(0.0, |length, points| {
            *length += points[0].distance(points[1]);
            Some(*length)
        })
        .collect();
    let total = lengths.last().copied().unwrap_or(1.0);
    for (i, point) in profile.iter().enumerate() {
        let along = profile[(i + 1).min(last)] - profile[i.saturating_sub(1)];
        // The outside is to the left of a profile that goes down.
        let mut normal = DVec2::new(-along.y, along.x).normalize();
        if point.x == 0.0 {
            normal = DVec2::new(0.0, normal.y.signum());
        }
        let v = if i == 0 { 0.0 } else { lengths[i - 1] / total };
        for column in 0..=columns {
            let turn = TAU * f64::from(column % columns) / f64::from(columns);
            let (sin, cos) = turn.sin_cos();
            let uv = DVec2::new(f64::from(column) / f64::from(columns), v);
            shape.vertex(
                DVec3::new(point.x * sin, point.y, point.x * cos),
                DVec3::new(normal.x * sin, normal.y, normal.x * cos),
                uv,
            );
        }
    }
    shape.grid(0, columns, small(last));
    drop_empty(&mut shape);
    shape
}

/// Removes triangles two corners of which are one point, as at poles.
fn drop_empty(shape: &mut Shape) {
    let positions = &shape.positions;
    let at = |index: u32| positions[index as usize];
    let is_full = |t: &&[u32]| at(t[0]) != at(t[1]) && at(t[1]) != at(t[2]) && at(t[2]) != at(t[0]);
    shape.indices = shape.indices.chunks_exact(3).filter(is_full).flatten().copied().collect();
}

/// A height field over a rectangle of the ground: `height(x, z)`.
pub(super) fn terrain(
    (low, high): (DVec2, DVec2),
    columns: u32,
    rows: u32,
    height: impl Fn(f64, f64) -> f64,
) -> Shape {
    let mut shape = Shape::default();
    for row in 0..=rows {
        for column in 0..=columns {
            let uv = DVec2::new(f64::from(column) / f64::from(columns), f64::from(row) / f64::from(rows));
            let at = low + (high - low) * uv;
            let step = 0.05;
            let slope = DVec2::new(
                height(at.x + step, at.y) - height(at.x - step, at.y),
                height(at.x, at.y + step) - height(at.x, at.y - step),
            ) / (2.0 * step);
            let normal = DVec3::new(-slope.x, 1.0, -slope.y).normalize();
            shape.vertex(DVec3::new(at.x, height(at.x, at.y), at.y), normal, uv);
        }
    }
    shape.grid(0, columns, rows);
    shape
}

/// An icosahedron of radius 1, flat.
pub(super) fn icosahedron() -> Shape {
    let long = (1.0 + 5.0_f64.sqrt()) / 2.0;
    let mut corners = Vec::new();
    for (a, b) in [(1.0, long), (-1.0, long), (1.0, -long), (-1.0, -long)] {
        corners.extend([DVec3::new(0.0, a, b), DVec3::new(a, b, 0.0), DVec3::new(b, 0.0, a)]);
    }
    let edge = 2.0;
    let is_edge = |a: DVec3, b: DVec3| (a.distance(b) - edge).abs() < 1e-9;
    let mut shape = Shape::default();
    for (i, &a) in corners.iter().enumerate() {
        for (j, &b) in corners.iter().enumerate().skip(i + 1) {
            for &c in corners.iter().skip(j + 1) {
                if is_edge(a, b) && is_edge(b, c) && is_edge(c, a) {
                    flat_triangle(&mut shape, a, b, c);
                }
            }
        }
    }
    let radius = corners[0].length();
    shape.moved(DMat3::from_diagonal(DVec3::splat(1.0 / radius)), DVec3::ZERO)
}

/// An icosahedron of radius 1 with the normals of a sphere, for what is small
/// or many.
pub(super) fn round_icosahedron() -> Shape {
    let flat = icosahedron();
    let mut shape = Shape::default();
    for position in &flat.positions {
        let known = shape.positions.iter().position(|other| other == position);
        let index = known.map_or_else(
            || {
                let at = DVec3::from_array(position.map(f64::from));
                shape.vertex(at, at.normalize(), DVec2::ZERO)
            },
            small,
        );
        shape.indices.push(index);
    }
    shape
}

/// Adds a triangle that faces away from the origin.
fn flat_triangle(shape: &mut Shape, a: DVec3, b: DVec3, c: DVec3) {
    let normal = (b - a).cross(c - a).normalize();
    let (b, c, normal) = if normal.dot(a) < 0.0 { (c, b, -normal) } else { (b, c, normal) };
    for corner in [a, b, c] {
        let index = shape.vertex(corner, normal, DVec2::ZERO);
        shape.indices.push(index);
    }
}

/// A disc of radius 1 around the origin that faces +Y.
pub(super) fn disc(columns: u32) -> Shape {
    let mut shape = Shape::default();
    let center = shape.vertex(DVec3::ZERO, DVec3::Y, DVec2::splat(0.5));
    for column in 0..columns {
        let (sin, cos) = (TAU * f64::from(column) / f64::from(columns)).sin_cos();
        shape.vertex(DVec3::new(sin, 0.0, cos), DVec3::Y, DVec2::new(sin, cos) / 2.0 + 0.5);
    }
    for column in 0..columns {
        shape.indices.extend([center, 1 + column, 1 + (column + 1) % columns]);
    }
    shape
}

/// The rotation that takes +Y to a direction.
pub(super) fn upright_to(direction: DVec3) -> DMat3 {
    DMat3::from_quat(glam::DQuat::from_rotation_arc(DVec3::Y, direction.normalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sign of the volume that a closed shape encloses: positive when all
    /// fronts are outside.
    fn volume(shape: &Shape) -> f64 {
        let at = |index: u32| DVec3::from_array(shape.positions[index as usize].map(f64::from));
        let tetrahedron = |t: &[u32]| at(t[0]).dot(at(t[1]).cross(at(t[2]))) / 6.0;
        shape.indices.chunks_exact(3).map(tetrahedron).sum()
    }

    #[test]
    fn closed_shapes_face_outward() {
        assert!((volume(&cuboid(DVec3::new(1.0, 2.0, 3.0))) - 6.0).abs() < 1e-5);
        assert!((volume(&sphere(64, 32)) - 4.0 / 3.0 * PI).abs() < 0.03);
        assert_eq!(icosahedron().indices.len(), 3 * 20);
        assert!((volume(&icosahedron()) - 2.536).abs() < 1e-3);
    }

    #[test]
    fn normals_point_the_way_the_triangles_face() {
        let flat = |x: f64, z: f64| 0.1 * x * z;
        let ground = terrain((DVec2::NEG_ONE, DVec2::ONE), 8, 8, flat);
        let lamp = disc(12);
        for shape in [cuboid(DVec3::ONE), sphere(32, 16), icosahedron(), ground, lamp] {
            for t in shape.indices.chunks_exact(3) {
                let vector = |values: [f32; 3]| DVec3::from_array(values.map(f64::from));
                let [a, b, c] = [t[0], t[1], t[2]].map(|i| vector(shape.positions[i as usize]));
                let face = (b - a).cross(c - a).normalize();
                for &i in t {
                    assert!(face.dot(vector(shape.normals[i as usize])) > 0.8);
                }
            }
        }
    }
}
