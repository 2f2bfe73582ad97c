//! Trees, triangles, vertices and instances as the kernel reads them.
//!
//! A mesh that is placed once is taken to world space and becomes part of one
//! tree over the world; a mesh that is placed more often has a tree of its own,
//! and its instances are leaves of the world's. Whatever moves while the shutter is
//! open is taken to world space for the ends of all parts of that time, each
//! instance of it by itself.

mod moving;

use std::time::{Duration, Instant};

use farm_scene::{AlphaMode, Mesh, Scene};
use glam::{Affine3A, DAffine3, DMat3, Vec3, Vec3A, Vec4};
use obvhs::aabb::Aabb;
use obvhs::cwbvh::node::CwBvhNode;
use rayon::prelude::*;

use crate::RenderError;
use crate::bvh::{self, FARTHEST, Tree};
use crate::layout::{INSTANCE_REFERENCE, Instance, NONE, Node, Triangle, triangle_flags};
use crate::pack::word_index;
pub(crate) use moving::MOTION_SHARE;
use moving::{check_moved, moves};

/// A mesh whose copies have no more triangles than this together is copied: the
/// world's tree is walked faster than one that is entered.
const COPIED_TRIANGLES: usize = 256;

/// Everything that a ray can meet.
#[derive(Debug)]
pub(crate) struct Geometry {
    pub(crate) nodes: Vec<Node>,
    pub(crate) triangles: Vec<Triangle>,
    pub(crate) attributes: Vec<u32>,
    pub(crate) instances: Vec<Instance>,
    /// Parts of the shutter's time.
    pub(crate) parts: u32,
    /// Where triangles that move are at the ends of the parts, before they have
    /// their places.
    moved: Vec<Triangle>,
    /// For each instance the entries of `triangles` that may be its.
    spans: Vec<std::ops::Range<usize>>,
    /// Root of the world's tree, or `NONE`.
    pub(crate) root: u32,
    bounds: Aabb,
    /// Time that building trees took.
    pub(crate) tree_time: Duration,
}

/// A leaf of the world's tree before its place is known.
struct Leaf {
    triangle: Triangle,
    aabb: Aabb,
}

/// Vertices and triangles of a mesh that are in `attributes`.
struct Vertices {
    /// An instance that has all but its maps, tree and light.
    instance: Instance,
    leaves: Vec<Leaf>,
}

/// A mesh with its own tree.
struct SharedMesh {
    instance: Instance,
    span: std::ops::Range<usize>,
    bounds: Aabb,
}

impl Geometry {
    /// Packs what a scene's instances show.
    pub(crate) fn pack(scene: &Scene) -> Result<Self, RenderError> {
        let mut geometry = Self {
            nodes: Vec::new(),
            triangles: Vec::new(),
            attributes: Vec::new(),
            instances: Vec::new(),
            parts: scene.motion.parts,
            moved: Vec::new(),
            spans: Vec::new(),
            root: NONE,
            bounds: Aabb::empty(),
            tree_time: Duration::ZERO,
        };
        check_moved(scene)?;
        let mut uses = vec![0_usize; scene.meshes.len()];
        for (index, instance) in scene.instances.iter().enumerate() {
            uses[instance.mesh as usize] += usize::from(!moves(scene, index));
        }
        let mut shared = Vec::with_capacity(scene.meshes.len());
        for (index, mesh) in scene.meshes.iter().enumerate() {
            let is_shared = is_shared(mesh, uses[index]);
            shared.push(if is_shared { geometry.add_shared_mesh(scene, mesh, index)? } else { None });
        }
        let mut leaves = Vec::new();
        for (index, instance) in scene.instances.iter().enumerate() {
            let mesh = instance.mesh as usize;
            let placed = match &shared[mesh] {
                _ if moves(scene, index) => geometry.add_moving(scene, index),
                Some(shared) => geometry.add_reference(shared, &instance.transform),
                None if is_shared(&scene.meshes[mesh], uses[mesh]) => None,
                None => geometry.add_copy(scene, &scene.meshes[mesh], &instance.transform),
            };
            match placed {
                Some(placed) => leaves.extend(placed),
                None => tracing::warn!(instance = index, "an instance without area was left out"),
            }
        }
        geometry.add_world(leaves)?;
        Ok(geometry)
    }

    /// Radius of a sphere around everything, at least 10⁻³.
    pub(crate) fn radius(&self) -> f64 {
        if self.root == NONE {
            return 1.0;
        }
        (f64::from(self.bounds.diagonal().length()) * 0.5).max(1e-3)
    }

    /// The places in `triangles` of an instance's triangles, in mesh order.
    pub(crate) fn places(&self, instance: usize) -> Vec<u32> {
        let owner = word_index(instance);
        let mut places: Vec<(u32, u32)> = self.spans[instance]
            .clone()
            .filter(|&place| self.triangles[place].a[3] == owner || self.triangles[place].a[3] == NONE)
            .map(|place| (self.triangles[place].b[3], word_index(place)))
            .collect();
        places.sort_unstable();
        places.into_iter().map(|(_, place)| place).collect()
    }

    /// Adds a mesh with its own tree; `None` where it has no area.
    fn add_shared_mesh(
        &mut self,
        scene: &Scene,
        mesh: &Mesh,
        index: usize,
    ) -> Result<Option<SharedMesh>, RenderError> {
        let Vertices { mut instance, leaves } = self.add_vertices(scene, mesh, NONE);
        let boxes: Vec<Aabb> = leaves.iter().map(|leaf| leaf.aabb).collect();
        let Some(bounds) = boxes.iter().copied().reduce(|a, b| a.union(&b)) else { return Ok(None) };
        let tree = self.build_tree(&boxes, bvh::MESH_LEVELS).ok_or_else(|| RenderError::TooDeep {
            what: format!("the tree over mesh {index}"),
            levels: bvh::MESH_LEVELS,
        })?;
        let first = self.triangles.len();
        instance.root = self.add_nodes(&tree.nodes, word_index(first));
        self.triangles.extend(tree.order.iter().map(|&place| leaves[place as usize].triangle));
        let span = first..self.triangles.len();
        Ok(Some(SharedMesh { instance, span, bounds }))
    }

    /// Adds an instance of a shared mesh; `None` where its map cannot be
    /// inverted in f32 or leads beyond what trees can hold.
    fn add_reference(&mut self, shared: &SharedMesh, transform: &Affine3A) -> Option<Vec<Leaf>> {
        let to_world = exact(transform);
        let to_mesh = rows(&to_world.inverse());
        let aabb = world_box(&to_world, &shared.bounds);
        if !within_reach(&aabb) || !to_mesh.as_flattened().iter().all(|x| x.is_finite()) {
            return None;
        }
        let index = word_index(self.instances.len());
        self.instances.push(Instance { to_mesh, to_world: rows(&to_world), ..shared.instance });
        self.spans.push(shared.span.clone());
        let triangle = Triangle { a: [0, 0, 0, index | INSTANCE_REFERENCE], b: [0; 4], c: [0; 4] };
        Some(vec![Leaf { triangle, aabb }])
    }

    /// Adds a mesh taken to world space; `None` where it has no area.
    fn add_copy(&mut self, scene: &Scene, mesh: &Mesh, transform: &Affine3A) -> Option<Vec<Leaf>> {
        let owner = word_index(self.instances.len());
        let copy = if *transform == Affine3A::IDENTITY {
            None
        } else {
            Some(in_world(mesh, transform, large_normal_map))
        };
        let Vertices { instance, leaves } = self.add_vertices(scene, copy.as_ref().unwrap_or(mesh), owner);
        if leaves.is_empty() {
            return None;
        }
        self.instances.push(instance);
        // The span is not known before the world's tree is.
        self.spans.push(0..0);
        Some(leaves)
    }

    /// Adds the world's tree.
    fn add_world(&mut self, leaves: Vec<Leaf>) -> Result<(), RenderError> {
        let boxes: Vec<Aabb> = leaves.iter().map(|leaf| leaf.aabb).collect();
        let Some(bounds) = boxes.iter().copied().reduce(|a, b| a.union(&b)) else { return Ok(()) };
        let tree = self.build_tree(&boxes, bvh::WORLD_LEVELS).ok_or_else(|| RenderError::TooDeep {
            what: "the tree over the scene".into(),
            levels: bvh::WORLD_LEVELS,
        })?;
        let first = self.triangles.len();
        self.root = self.add_nodes(&tree.nodes, word_index(first));
        self.triangles.extend(tree.order.iter().map(|&place| leaves[place as usize].triangle));
        self.add_moved(first)?;
        for span in self.spans.iter_mut().filter(|span| span.start == span.end) {
            *span = first..first + tree.order.len();
        }
        self.bounds = bounds;
        Ok(())
    }

    fn build_tree(&mut self, boxes: &[Aabb], levels: u32) -> Option<Tree> {
        let began = Instant::now();
        let tree = bvh::build(boxes, levels);
        self.tree_time += began.elapsed();
        tree
    }

    /// Appends a tree's nodes, whose leaves count from `first_leaf`.
    fn add_nodes(&mut self, nodes: &[CwBvhNode], first_leaf: u32) -> u32 {
        let first = word_index(self.nodes.len());
        self.nodes.extend(nodes.iter().map(|node| {
            let mut packed: Node = bytemuck::cast(*node);
            packed.children[0] = packed.children[0].saturating_add(first);
            packed.children[1] = packed.children[1].saturating_add(first_leaf);
            packed
        }));
        first
    }

    /// Appends a mesh's vertices, and makes leaves of the triangles that have an
    /// area.
    fn add_vertices(&mut self, scene: &Scene, mesh: &Mesh, owner: u32) -> Vertices {
        self.add_moving_vertices(scene, mesh, &[], owner)
    }

    /// The same for a mesh that moves, which has other shapes at the `ends` of the
    /// parts of the shutter's time. Triangles must have an area at one of them.
    fn add_moving_vertices(&mut self, scene: &Scene, mesh: &Mesh, ends: &[Mesh], owner: u32) -> Vertices {
        let material = &scene.materials[mesh.material as usize];
        let flags = triangle_flag_bits(material);
        let indices = word_index(self.attributes.len());
        let corners =
            |mesh: &Mesh, triangle: &[u32; 3]| triangle.map(|vertex| mesh.positions[vertex as usize]);
        let shapes = || std::iter::once(mesh).chain(ends);
        let is_kept = |triangle: &[u32; 3]| {
            shapes().all(|shape| is_within(corners(shape, triangle)))
                && shapes().any(|shape| has_area(corners(shape, triangle)))
        };
        let kept: Vec<[u32; 3]> = mesh.triangles.par_iter().copied().filter(is_kept).collect();
        self.attributes.extend(kept.as_flattened());
        let first_key = self.moved.len();
        let leaf = |(place, triangle): (usize, &[u32; 3])| {
            let mut flags = flags;
            let mut aabb = triangle_box(corners(mesh, triangle));
            if !ends.is_empty() {
                let key = word_index(first_key + place * ends.len());
                flags |= triangle_flags::MOVES | key << triangle_flags::KEYS_SHIFT;
                ends.iter().for_each(|end| aabb = aabb.union(&triangle_box(corners(end, triangle))));
                aabb = grown(&aabb, MOTION_SHARE);
            }
            let triangle = packed_triangle(corners(mesh, triangle), [owner, word_index(place), flags]);
            Leaf { triangle, aabb }
        };
        let leaves = kept.par_iter().enumerate().map(leaf).collect();
        let keys = kept.par_iter().flat_map_iter(|triangle| {
            ends.iter().map(move |end| packed_triangle(corners(end, triangle), [0; 3]))
        });
        self.moved.par_extend(keys);
        let uses_set = |set: u32| material.slots().any(|slot| slot.uv_set == set);
        let wants_tangents = material.needs_tangents();
        let instance = Instance {
            to_mesh: rows(&DAffine3::IDENTITY),
            to_world: rows(&DAffine3::IDENTITY),
            root: NONE,
            material: mesh.material,
            first_light: NONE,
            indices,
            normals: self.append_shapes(
                mesh,
                ends,
                true,
                |shape| &shape.normals,
                |normal| normal.to_array().map(f32::to_bits),
            ),
            tangents: self.append_shapes(
                mesh,
                ends,
                wants_tangents,
                |shape| &shape.tangents,
                |&tangent| [pack_tangent(tangent)],
            ),
            uv0: self.append(&mesh.uvs[0], uses_set(0), |uv| uv.to_array().map(f32::to_bits)),
            uv1: self.append(&mesh.uvs[1], uses_set(1), |uv| uv.to_array().map(f32::to_bits)),
            colors: self.append(&mesh.colors, true, |&color| pack_color(color)),
            moving_vertices: if ends.is_empty() { 0 } else { word_index(mesh.positions.len()) },
            padding0: 0,
            padding1: 0,
        };
        Vertices { instance, leaves }
    }

    /// [`Geometry::append`] for a mesh and its shapes at the ends of the parts, one
    /// after the other.
    fn append_shapes<T, const N: usize>(
        &mut self,
        mesh: &Mesh,
        ends: &[Mesh],
        wanted: bool,
        values: fn(&Mesh) -> &Vec<T>,
        pack: fn(&T) -> [u32; N],
    ) -> u32 {
        let first = self.append(values(mesh), wanted, pack);
        ends.iter().for_each(|end| {
            self.append(values(end), wanted, pack);
        });
        first
    }

    /// Appends an attribute where it is wanted and present; else `NONE`.
    fn append<T, const N: usize>(&mut self, values: &[T], wanted: bool, pack: fn(&T) -> [u32; N]) -> u32 {
        if !wanted || values.is_empty() {
            return NONE;
        }
        let first = word_index(self.attributes.len());
        self.attributes.extend(values.iter().flat_map(pack));
        first
    }
}

/// Whether a mesh gets its own tree.
fn is_shared(mesh: &Mesh, uses: usize) -> bool {
    uses > 1 && mesh.triangles.len().saturating_mul(uses) > COPIED_TRIANGLES
}

fn triangle_flag_bits(material: &farm_scene::Material) -> u32 {
    let mut flags = 0;
    // Light that is inside of a solid meets its surface from behind.
    if !material.double_sided && !material.is_solid() {
        flags |= triangle_flags::CULLS_BACK;
    }
    if material.alpha == AlphaMode::Opaque {
        flags |= triangle_flags::OPAQUE;
    }
    flags
}

/// A mesh taken to world space. A mirroring map turns triangles over, so their
/// corners change places to keep the front in front, and bitangents with them.
/// Normals keep the lengths that the map gives them, relative to each other, so
/// that interpolating them yields what it does in an instance of the mesh.
#[expect(clippy::cast_possible_truncation, reason = "the kernel computes in f32")]
fn in_world(mesh: &Mesh, transform: &Affine3A, normal_map: fn(&DMat3) -> DMat3) -> Mesh {
    let map = exact(transform);
    let normal_map = normal_map(&map.matrix3);
    let mirrors = map.matrix3.determinant() < 0.0;
    let mut copy = Mesh { uvs: mesh.uvs.clone(), colors: mesh.colors.clone(), ..Mesh::default() };
    copy.material = mesh.material;
    copy.positions = mesh.positions.iter().map(|p| map.transform_point3(p.as_dvec3()).as_vec3()).collect();
    let turned = |matrix: &DMat3, v: Vec3| {
        let v = *matrix * v.as_dvec3();
        Vec3::new(v.x as f32, v.y as f32, v.z as f32)
    };
    copy.normals = mesh.normals.iter().map(|&normal| turned(&normal_map, normal)).collect();
    let handedness = if mirrors { -1.0 } else { 1.0 };
    copy.tangents = mesh
        .tangents
        .iter()
        .map(|tangent| {
            turned(&map.matrix3, tangent.truncate()).normalize_or_zero().extend(tangent.w * handedness)
        })
        .collect();
    copy.triangles = mesh.triangles.clone();
    if mirrors {
        copy.triangles.iter_mut().for_each(|triangle| triangle.swap(1, 2));
    }
    copy
}

/// What takes normals along with a map, of which the largest entry is 1.
fn large_normal_map(matrix: &DMat3) -> DMat3 {
    let map = matrix.inverse().transpose();
    map * map.abs().to_cols_array().into_iter().fold(0.0, f64::max).recip()
}

/// 15 + 15 bits on the octahedron and the sign of the bitangent.
fn pack_tangent(tangent: Vec4) -> u32 {
    pack_octahedral(tangent.truncate()) | u32::from(tangent.w < 0.0) << 31
}

/// A unit vector in 15 + 15 bits on the octahedron.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 15 bits")]
pub(crate) fn pack_octahedral(v: Vec3) -> u32 {
    let v = v / v.abs().element_sum().max(1e-20);
    let (mut x, mut y) = (v.x, v.y);
    if v.z < 0.0 {
        (x, y) = ((1.0 - v.y.abs()).copysign(v.x), (1.0 - v.x.abs()).copysign(v.y));
    }
    let bits = |value: f32| ((value.clamp(-1.0, 1.0) + 1.0) * 16_383.0).round() as u32;
    bits(x) | bits(y) << 15
}

/// Four fractions of 65535; colours end at 1 (glTF 2.0, section 3.7.2.1).
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 16 bits")]
fn pack_color(color: Vec4) -> [u32; 2] {
    let [r, g, b, a] = color.to_array().map(|channel| (channel.clamp(0.0, 1.0) * 65_535.0).round() as u32);
    [r | g << 16, b | a << 16]
}

/// Whether a triangle lies within what trees can hold.
fn is_within(corners: [Vec3; 3]) -> bool {
    corners.iter().all(|corner| corner.abs().max_element() < FARTHEST)
}

/// Whether a triangle spans an area.
fn has_area([a, b, c]: [Vec3; 3]) -> bool {
    let (u, v) = ((b - a).as_dvec3(), (c - a).as_dvec3());
    u.cross(v).length_squared() > 0.0
}

/// A triangle with its fourth words.
fn packed_triangle(corners: [Vec3; 3], fourth: [u32; 3]) -> Triangle {
    let [a, b, c] = [0, 1, 2].map(|i| {
        let [x, y, z] = corners[i].to_array().map(f32::to_bits);
        [x, y, z, fourth[i]]
    });
    Triangle { a, b, c }
}

/// A box grown by a share of its largest coordinate.
fn grown(aabb: &Aabb, share: f32) -> Aabb {
    let pad = Vec3A::splat(aabb.min.abs().max(aabb.max.abs()).max_element() * share);
    Aabb::new(aabb.min - pad, aabb.max + pad)
}

fn triangle_box(corners: [Vec3; 3]) -> Aabb {
    let mut aabb = Aabb::empty();
    for corner in corners {
        aabb.extend(corner.into());
    }
    aabb
}

fn within_reach(aabb: &Aabb) -> bool {
    aabb.min.abs().max(aabb.max.abs()).max_element() < FARTHEST
}

fn exact(transform: &Affine3A) -> DAffine3 {
    let columns = [transform.matrix3.x_axis, transform.matrix3.y_axis, transform.matrix3.z_axis];
    let [x, y, z] = columns.map(|column| Vec3::from(column).as_dvec3());
    DAffine3::from_cols(x, y, z, Vec3::from(transform.translation).as_dvec3())
}

/// Rows of an affine map.
#[expect(clippy::cast_possible_truncation, reason = "the kernel computes in f32")]
fn rows(map: &DAffine3) -> [[f32; 4]; 3] {
    let (m, t) = (map.matrix3, map.translation);
    [0, 1, 2].map(|i| {
        let row = m.row(i);
        [row.x as f32, row.y as f32, row.z as f32, t[i] as f32]
    })
}

/// The box around a mapped box, widened by what rays lose on their way into
/// mesh space.
fn world_box(map: &DAffine3, bounds: &Aabb) -> Aabb {
    let mut aabb = Aabb::empty();
    let (low, high) = (Vec3::from(bounds.min), Vec3::from(bounds.max));
    for corner in 0..8 {
        let pick = |axis: usize| if corner >> axis & 1 == 0 { low[axis] } else { high[axis] };
        let point = map.transform_point3(Vec3::new(pick(0), pick(1), pick(2)).as_dvec3());
        aabb.extend(Vec3A::from(point.as_vec3()));
    }
    let pad = (aabb.min.abs().max(aabb.max.abs()) + aabb.diagonal()) * 1.0e-6;
    Aabb::new(aabb.min - pad, aabb.max + pad)
}
