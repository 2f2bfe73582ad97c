//! A scene as the arrays that the kernel reads.

use std::ops::Range;

use bytemuck::Zeroable;
use farm_scene::{AlphaMode, Environment, Scene};
use glam::{DAffine3, Vec3, Vec3A};
use obvhs::aabb::Aabb;
use obvhs::cwbvh::node::CwBvhNode;

use crate::RenderError;
use crate::bvh::{self, FARTHEST};
use crate::layout::{Instance, Light, Material, NONE, Node, Params, Triangle, instance_flags};
use crate::light::pack_lights;
use crate::sky::pack_sky;
use crate::tables::Tables;
use crate::texture::pack_materials;

/// Everything that is uploaded for a scene.
#[derive(Debug)]
pub(crate) struct PackedScene {
    pub(crate) geometry: Geometry,
    pub(crate) materials: Vec<Material>,
    pub(crate) lights: Vec<Light>,
    pub(crate) texels: Vec<u32>,
    /// All that does not depend on the task.
    pub(crate) params: Params,
}

/// Trees, triangles, vertices and instances.
#[derive(Debug, Default)]
pub(crate) struct Geometry {
    pub(crate) nodes: Vec<Node>,
    pub(crate) triangles: Vec<Triangle>,
    pub(crate) attributes: Vec<u32>,
    pub(crate) instances: Vec<Instance>,
    /// Triangles of each instance, from its first on.
    pub(crate) triangle_counts: Vec<u32>,
    /// Root of the tree over the instances.
    pub(crate) root: u32,
    bounds: Option<Aabb>,
}

/// An index into packed arrays. A scene of 2³² elements is refused by the size
/// of its buffers before anything reads the index.
pub(crate) fn word_index(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Packs a scene.
pub(crate) fn pack(scene: &Scene) -> Result<PackedScene, RenderError> {
    let tables = Tables::shared();
    let mut texels = tables.words.clone();
    let materials = pack_materials(scene, &mut texels);
    let mut geometry = pack_geometry(scene)?;
    let mut params = Params { albedo_table: tables.albedo, srgb_table: tables.srgb, ..Params::zeroed() };
    let mut sky = None;
    match &scene.environment {
        Environment::Constant(radiance) => params.sky = radiance.extend(0.0).to_array(),
        Environment::Map(map) => {
            sky = pack_sky(map, &mut texels);
            if let Some(packed) = sky {
                params.sky = [map.strength, 0.0, 0.0, 1.0];
                params.sky_turn = [map.rotation.cos(), map.rotation.sin()];
                (params.sky_width, params.sky_height) = (map.width, map.height);
                (params.sky_columns, params.sky_rows) = (packed.columns, packed.rows);
                (params.sky_texels, params.sky_cells) = (packed.texels, packed.cells);
            }
        }
    }
    let packed = pack_lights(scene, &materials, &mut geometry, sky.as_ref());
    params.sky_pick = packed.sky_pick;
    params.light_count = word_index(packed.lights.len());
    params.instance_count = word_index(geometry.instances.len());
    params.root = geometry.root;
    Ok(PackedScene { geometry, materials, lights: packed.lights, texels, params })
}

/// A mesh's places in the packed arrays.
struct PackedMesh {
    root: u32,
    triangles: Range<u32>,
    indices: u32,
    normals: u32,
    tangents: u32,
    uvs: [u32; 2],
    colors: u32,
    bounds: Aabb,
}

fn pack_geometry(scene: &Scene) -> Result<Geometry, RenderError> {
    let mut geometry = Geometry::default();
    let mut used = vec![false; scene.meshes.len()];
    scene.instances.iter().for_each(|instance| used[instance.mesh as usize] = true);
    let mut meshes = Vec::with_capacity(scene.meshes.len());
    for (index, mesh) in scene.meshes.iter().enumerate() {
        meshes.push(if used[index] { geometry.add_mesh(scene, mesh, index)? } else { None });
    }
    geometry.add_instances(scene, &meshes)?;
    Ok(geometry)
}

impl Geometry {
    /// Radius of a sphere around everything, at least 10⁻³.
    pub(crate) fn radius(&self) -> f64 {
        self.bounds.map_or(1.0, |bounds| f64::from(bounds.diagonal().length()) * 0.5).max(1e-3)
    }

    /// Adds a mesh, without the triangles that have no area; `None` where none
    /// is left.
    fn add_mesh(
        &mut self,
        scene: &Scene,
        mesh: &farm_scene::Mesh,
        index: usize,
    ) -> Result<Option<PackedMesh>, RenderError> {
        let corners = |triangle: &[u32; 3]| triangle.map(|vertex| mesh.positions[vertex as usize]);
        let kept: Vec<[u32; 3]> =
            mesh.triangles.iter().copied().filter(|triangle| has_area(corners(triangle))).collect();
        if kept.len() < mesh.triangles.len() {
            let dropped = mesh.triangles.len() - kept.len();
            tracing::debug!(mesh = index, dropped, "triangles without area, or beyond 1e15 m, were left out");
        }
        let boxes: Vec<Aabb> = kept.iter().map(|triangle| triangle_box(corners(triangle))).collect();
        if boxes.is_empty() {
            return Ok(None);
        }
        let tree = bvh::build(&boxes, bvh::MESH_LEVELS)
            .ok_or_else(|| too_deep(&format!("mesh {index}"), bvh::MESH_LEVELS))?;
        let first = word_index(self.triangles.len());
        let root = self.add_nodes(&tree.nodes, first);
        let indices = word_index(self.attributes.len());
        for &place in &tree.order {
            let triangle = kept[place as usize];
            let [a, b, c] = corners(&triangle).map(|corner| corner.extend(0.0).to_array());
            self.triangles.push(Triangle { a, b, c });
            self.attributes.extend(triangle);
        }
        let material = &scene.materials[mesh.material as usize];
        let slots = [
            material.base_color_texture,
            material.metallic_roughness_texture,
            material.normal_texture,
            material.emissive_texture,
        ];
        let uses_set = |set: u32| slots.iter().flatten().any(|slot| slot.uv_set == set);
        let floats = |vectors: &[Vec3]| vectors.iter().flat_map(|v| v.to_array()).collect::<Vec<f32>>();
        let normals = self.add_attribute(true, &floats(&mesh.normals));
        let tangents =
            self.add_attribute(material.normal_texture.is_some(), bytemuck::cast_slice(&mesh.tangents));
        let uvs = [0, 1].map(|set| (uses_set(set), &mesh.uvs[set as usize]));
        let uvs = uvs.map(|(wanted, uv)| self.add_attribute(wanted, bytemuck::cast_slice(uv)));
        let colors = self.add_attribute(true, bytemuck::cast_slice(&mesh.colors));
        let bounds = boxes.iter().fold(Aabb::empty(), |bounds, aabb| bounds.union(aabb));
        let triangles = first..word_index(self.triangles.len());
        Ok(Some(PackedMesh { root, triangles, indices, normals, tangents, uvs, colors, bounds }))
    }

    /// Appends floats where they are wanted and present; else `NONE`.
    fn add_attribute(&mut self, wanted: bool, values: &[f32]) -> u32 {
        if !wanted || values.is_empty() {
            return NONE;
        }
        let first = word_index(self.attributes.len());
        self.attributes.extend(values.iter().map(|value| value.to_bits()));
        first
    }

    /// Appends a tree's nodes, whose leaves count from `first_primitive`.
    fn add_nodes(&mut self, nodes: &[CwBvhNode], first_primitive: u32) -> u32 {
        let first = word_index(self.nodes.len());
        self.nodes.extend(nodes.iter().map(|node| {
            let mut packed: Node = bytemuck::cast(*node);
            packed.children[0] = packed.children[0].saturating_add(first);
            packed.children[1] = packed.children[1].saturating_add(first_primitive);
            packed
        }));
        first
    }

    /// Adds the tree over the instances, and the instances in its order.
    fn add_instances(&mut self, scene: &Scene, meshes: &[Option<PackedMesh>]) -> Result<(), RenderError> {
        let mut placed = Vec::new();
        let mut boxes = Vec::new();
        for (index, instance) in scene.instances.iter().enumerate() {
            let Some(mesh) = &meshes[instance.mesh as usize] else { continue };
            let material = scene.meshes[instance.mesh as usize].material;
            match place(instance, mesh, &scene.materials[material as usize], material) {
                Some((packed, bounds)) => {
                    placed.push((packed, word_index(mesh.triangles.len())));
                    boxes.push(bounds);
                }
                None => {
                    tracing::warn!(instance = index, "an instance that is flat or too far away was left out")
                }
            }
        }
        if boxes.is_empty() {
            return Ok(());
        }
        let tree = bvh::build(&boxes, bvh::INSTANCE_LEVELS)
            .ok_or_else(|| too_deep("the instances", bvh::INSTANCE_LEVELS))?;
        self.root = self.add_nodes(&tree.nodes, 0);
        for place in tree.order {
            let (instance, count) = placed[place as usize];
            self.instances.push(instance);
            self.triangle_counts.push(count);
        }
        self.bounds = boxes.into_iter().reduce(|a, b| a.union(&b));
        Ok(())
    }
}

/// The kernel's stack has 8 bytes for each level of a tree.
fn too_deep(what: &str, levels: u32) -> RenderError {
    RenderError::OutOfMemory {
        what: format!("the stack for walking {what}"),
        needed: 8 * (u64::from(levels) + 1),
        available: 8 * u64::from(levels),
    }
}

/// Whether a triangle spans an area and lies within what trees can hold.
fn has_area(corners: [Vec3; 3]) -> bool {
    let [a, b, c] = corners;
    let within = corners.iter().all(|corner| corner.abs().max_element() < FARTHEST);
    let (u, v) = ((b - a).as_dvec3(), (c - a).as_dvec3());
    within && u.cross(v).length_squared() > 0.0
}

fn triangle_box(corners: [Vec3; 3]) -> Aabb {
    let mut aabb = Aabb::empty();
    corners.iter().for_each(|&corner| {
        aabb.extend(corner.into());
    });
    aabb
}

/// An instance and its box in the world; `None` where its map cannot be
/// inverted in f32 or leads beyond what trees can hold.
fn place(
    instance: &farm_scene::Instance,
    mesh: &PackedMesh,
    material: &farm_scene::Material,
    material_index: u32,
) -> Option<(Instance, Aabb)> {
    let to_world = DAffine3 {
        matrix3: glam::Mat3::from(instance.transform.matrix3).as_dmat3(),
        translation: Vec3::from(instance.transform.translation).as_dvec3(),
    };
    let to_mesh = to_world.inverse();
    let bounds = world_box(&to_world, &mesh.bounds);
    let within = bounds.min.abs().max(bounds.max.abs()).max_element() < FARTHEST;
    let (to_mesh, to_world) = (rows(&to_mesh), rows(&to_world));
    if !within || !to_mesh.as_flattened().iter().all(|x| x.is_finite()) {
        return None;
    }
    let mut flags = 0;
    if !material.double_sided {
        flags |= instance_flags::CULLS_BACK;
    }
    if material.alpha == AlphaMode::Opaque {
        flags |= instance_flags::OPAQUE;
    }
    let packed = Instance {
        to_mesh,
        to_world,
        root: mesh.root,
        flags,
        material: material_index,
        first_light: NONE,
        first_triangle: mesh.triangles.start,
        indices: mesh.indices,
        normals: mesh.normals,
        tangents: mesh.tangents,
        uv0: mesh.uvs[0],
        uv1: mesh.uvs[1],
        colors: mesh.colors,
        padding: 0,
    };
    Some((packed, bounds))
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
