//! A scene as the arrays that the kernel reads.

use std::time::Duration;

use bytemuck::Zeroable;
use farm_scene::{Environment, Scene};

use crate::RenderError;
use crate::geometry::Geometry;
use crate::layout::{Instance, Light, Material, Node, Params, Triangle};
use crate::light::pack_lights;
use crate::sky::pack_sky;
use crate::tables::Tables;
use crate::texture::pack_materials;

/// A scene's arrays, in the layout of `shaders/wgsl/layout.wgsl`.
#[derive(Debug)]
pub(crate) struct PackedScene {
    /// The kernel's trees; empty where the processor has its own in their place.
    pub(crate) nodes: Vec<Node>,
    pub(crate) triangles: Vec<Triangle>,
    pub(crate) attributes: Vec<u32>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) materials: Vec<Material>,
    pub(crate) lights: Vec<Light>,
    pub(crate) texels: Vec<u32>,
    /// All that does not depend on the task.
    pub(crate) params: Params,
    /// Time that building the trees took.
    pub(crate) tree_time: Duration,
}

/// An index into packed arrays. A scene of 2³² elements is refused by the size
/// of its buffers before anything reads the index.
pub(crate) fn word_index(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Rounds what was computed in f64, whose last place may differ between
/// machines.
#[expect(clippy::cast_possible_truncation, reason = "the kernel computes in f32")]
pub(crate) fn to_f32(value: f64) -> f32 {
    value as f32
}

/// Packs a scene.
pub(crate) fn pack(scene: &Scene) -> Result<PackedScene, RenderError> {
    let tables = Tables::shared();
    let mut texels = tables.words.clone();
    let materials = pack_materials(scene, &mut texels);
    let mut geometry = Geometry::pack(scene)?;
    let mut params = Params { albedo_table: tables.albedo, root: geometry.root, ..Params::zeroed() };
    let mut sky = None;
    match &scene.environment {
        Environment::Constant(radiance) => params.sky = radiance.extend(0.0).to_array(),
        Environment::Map(map) => {
            sky = pack_sky(map, &mut texels);
            if let Some(packed) = sky {
                params.sky = [map.strength, 0.0, 0.0, 1.0];
                let (sine, cosine) = f64::from(map.rotation).sin_cos();
                params.sky_turn = [to_f32(cosine), to_f32(sine)];
                (params.sky_width, params.sky_height) = (map.width, map.height);
                (params.sky_columns, params.sky_rows) = (packed.columns, packed.rows);
                (params.sky_texels, params.sky_cells) = (packed.texels, packed.cells);
            }
        }
    }
    let packed = pack_lights(scene, &materials, &mut geometry, sky.is_some());
    params.sky_pick = packed.sky_pick;
    params.light_count = word_index(packed.lights.len());
    let Geometry { nodes, triangles, attributes, instances, tree_time, .. } = geometry;
    let lights = packed.lights;
    Ok(PackedScene { nodes, triangles, attributes, instances, materials, lights, texels, params, tree_time })
}
