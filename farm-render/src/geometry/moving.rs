//! What moves while the shutter is open: each instance of it is taken to world space
//! for the ends of all parts of that time.

use farm_scene::{Mesh, Scene, Shape};
use glam::DMat3;
use rayon::prelude::*;

use super::{Geometry, Leaf, Vertices, in_world};
use crate::RenderError;
use crate::layout::{INSTANCE_REFERENCE, Triangle, triangle_flags};
use crate::pack::word_index;

/// Triangles that may be stored for what moves, one for the end of each part of the
/// shutter's time beside the first: 2^26 of 48 bytes are 3 GiB.
const MOST_MOVED: u64 = 1 << 26;

/// Places that a triangle that moves can name.
const MOST_PLACES: u64 = 1 << (32 - triangle_flags::KEYS_SHIFT);

/// Share of the largest coordinate by which the box of what moves grows: computing
/// where a corner is between two places rounds three times, numbers of at most
/// twice that size.
pub(crate) const MOTION_SHARE: f32 = 8.0 / 16_777_216.0;

impl Geometry {
    /// A triangle by its place, and those where it is at the ends of the parts of the
    /// shutter's time, if it moves.
    pub(crate) fn shapes(&self, place: u32) -> impl Iterator<Item = &Triangle> {
        let triangle = &self.triangles[place as usize];
        let keys = (triangle.c[3] >> triangle_flags::KEYS_SHIFT) as usize;
        let moves = triangle.c[3] & triangle_flags::MOVES != 0;
        let ends = if moves { keys..keys + self.parts as usize } else { 0..0 };
        std::iter::once(triangle).chain(&self.triangles[ends])
    }

    /// Adds an instance that moves, taken to world space; `None` where it has no
    /// area.
    pub(super) fn add_moving(&mut self, scene: &Scene, index: usize) -> Option<Vec<Leaf>> {
        let owner = word_index(self.instances.len());
        let placed = &scene.instances[index];
        let mesh = &scene.meshes[placed.mesh as usize];
        let track = scene.motion.of_instance(index);
        let copy = in_world(mesh, &placed.transform, unit_normal_map);
        let ends: Vec<Mesh> = (0..self.parts as usize)
            .into_par_iter()
            .map(|part| {
                let transform = track.map_or(placed.transform, |track| track[part]);
                let shape = mesh.motion.get(part).map(|shape| in_shape(mesh, shape));
                in_world(shape.as_ref().unwrap_or(mesh), &transform, unit_normal_map)
            })
            .collect();
        let Vertices { instance, leaves } = self.add_moving_vertices(scene, &copy, &ends, owner);
        if leaves.is_empty() {
            return None;
        }
        self.instances.push(instance);
        self.spans.push(0..0);
        Some(leaves)
    }

    /// Appends where triangles that move are at the ends of the parts, in the order
    /// of those of the world's tree, which begin at `first`.
    pub(super) fn add_moved(&mut self, first: usize) -> Result<(), RenderError> {
        let moved = std::mem::take(&mut self.moved);
        let needed = (self.triangles.len() + moved.len()) as u64;
        if !moved.is_empty() && needed > MOST_PLACES {
            return Err(RenderError::OutOfMemory {
                what: "the triangles of a scene that moves".into(),
                needed: needed * size_of::<Triangle>() as u64,
                available: MOST_PLACES * size_of::<Triangle>() as u64,
            });
        }
        for place in first..self.triangles.len() {
            let word = self.triangles[place].c[3];
            if self.triangles[place].a[3] & INSTANCE_REFERENCE == 0 && word & triangle_flags::MOVES != 0 {
                let keys = (word >> triangle_flags::KEYS_SHIFT) as usize;
                let flags = word & ((1 << triangle_flags::KEYS_SHIFT) - 1);
                let new = word_index(self.triangles.len());
                self.triangles.extend(&moved[keys..keys + self.parts as usize]);
                self.triangles[place].c[3] = flags | new << triangle_flags::KEYS_SHIFT;
            }
        }
        Ok(())
    }
}

/// What takes normals along with a map and leaves them their lengths where that turns
/// things, so that those at the ends of a part of the shutter's time weigh the same between them.
fn unit_normal_map(matrix: &DMat3) -> DMat3 {
    let map = matrix.inverse().transpose();
    let square: f64 = map.to_cols_array().into_iter().map(|entry| entry * entry).sum();
    map * (square / 3.0).sqrt().recip()
}

/// A mesh in another shape.
fn in_shape(mesh: &Mesh, shape: &Shape) -> Mesh {
    Mesh {
        positions: shape.positions.clone(),
        normals: shape.normals.clone(),
        tangents: shape.tangents.clone(),
        triangles: mesh.triangles.clone(),
        material: mesh.material,
        ..Mesh::default()
    }
}

/// Whether an instance moves while the shutter is open, or its mesh.
pub(super) fn moves(scene: &Scene, index: usize) -> bool {
    let mesh = &scene.meshes[scene.instances[index].mesh as usize];
    scene.motion.parts > 0 && (!mesh.motion.is_empty() || scene.motion.of_instance(index).is_some())
}

/// Refuses a scene in which more moves than can be stored, before any of it is.
pub(super) fn check_moved(scene: &Scene) -> Result<(), RenderError> {
    let moving = scene.instances.iter().enumerate().filter(|&(index, _)| moves(scene, index));
    let triangles = moving.map(|(_, instance)| scene.meshes[instance.mesh as usize].triangles.len() as u64);
    let moved = triangles.sum::<u64>().saturating_mul(u64::from(scene.motion.parts) + 1);
    if moved <= MOST_MOVED {
        return Ok(());
    }
    let bytes = size_of::<Triangle>() as u64;
    Err(RenderError::OutOfMemory {
        what: "the triangles of what moves".into(),
        needed: moved.saturating_mul(bytes),
        available: MOST_MOVED * bytes,
    })
}
