//! A scene as the arrays that the kernel reads.

use std::time::Duration;

use bytemuck::Zeroable;
use farm_scene::{Environment, Scene};
use glam::{Affine3A, Vec3};
use shaders::native::Overrides;

use crate::RenderError;
use crate::geometry::Geometry;
use crate::layout::{Instance, Light, Material, NONE, Node, Params, Triangle, material_flags};
use crate::light::pack_lights;
use crate::sky::pack_sky;
use crate::tables;
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

/// What a scene has: its kernels leave out what it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Features {
    textures: bool,
    sky_map: bool,
    alpha: bool,
    lights: bool,
    emission: bool,
    instances: bool,
    coat: bool,
    sheen: bool,
    anisotropy: bool,
    iridescence: bool,
    transmission: bool,
    motion: bool,
}

impl Features {
    /// The overrides of `shaders/wgsl/features.wgsl`.
    pub(crate) fn constants(self) -> [(&'static str, f64); 12] {
        [
            ("HAS_TEXTURES", self.textures),
            ("HAS_SKY_MAP", self.sky_map),
            ("HAS_ALPHA", self.alpha),
            ("HAS_LIGHTS", self.lights),
            ("HAS_EMISSION", self.emission),
            ("HAS_INSTANCES", self.instances),
            ("HAS_COAT", self.coat),
            ("HAS_SHEEN", self.sheen),
            ("HAS_ANISOTROPY", self.anisotropy),
            ("HAS_IRIDESCENCE", self.iridescence),
            ("HAS_TRANSMISSION", self.transmission),
            ("HAS_MOTION", self.motion),
        ]
        .map(|(name, has)| (name, f64::from(u8::from(has))))
    }

    /// The same, natively.
    pub(crate) fn overrides(self) -> Overrides {
        Overrides {
            HAS_TEXTURES: self.textures,
            HAS_SKY_MAP: self.sky_map,
            HAS_ALPHA: self.alpha,
            HAS_LIGHTS: self.lights,
            HAS_EMISSION: self.emission,
            HAS_INSTANCES: self.instances,
            HAS_COAT: self.coat,
            HAS_SHEEN: self.sheen,
            HAS_ANISOTROPY: self.anisotropy,
            HAS_IRIDESCENCE: self.iridescence,
            HAS_TRANSMISSION: self.transmission,
            HAS_MOTION: self.motion,
        }
    }
}

impl PackedScene {
    /// What it has.
    pub(crate) fn features(&self) -> Features {
        let any = |has: fn(&Material) -> bool| self.materials.iter().any(has);
        let flagged = |flags: u32| self.materials.iter().any(|material| material.flags & flags != 0);
        Features {
            textures: any(|material| material.textures != 0),
            sky_map: self.params.sky[3] != 0.0,
            alpha: flagged(material_flags::MASK | material_flags::BLEND),
            lights: !self.lights.is_empty(),
            emission: flagged(material_flags::EMISSIVE),
            instances: self.instances.iter().any(|instance| instance.root != NONE),
            coat: any(|material| material.coat[0] > 0.0),
            sheen: any(|material| material.sheen[..3].iter().any(|&channel| channel > 0.0)),
            anisotropy: any(|material| material.anisotropy[0] > 0.0),
            iridescence: any(|material| material.iridescence[0] > 0.0),
            transmission: any(|material| material.transmission[..2].iter().any(|&share| share > 0.0)),
            motion: self.params.motion_parts != 0,
        }
    }
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
    let mut texels: Vec<u32> = tables::words().collect();
    let materials = pack_materials(scene, &mut texels);
    let mut geometry = Geometry::pack(scene)?;
    let mut params = Params {
        albedo_table: tables::ALBEDO,
        glass_table: tables::GLASS,
        sheen_table: tables::SHEEN,
        root: geometry.root,
        motion_parts: scene.motion.parts,
        camera_keys: pack_camera_keys(scene, &mut geometry.attributes),
        ..Params::zeroed()
    };
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
    (params.light_count, params.light_tree) = (packed.count, packed.tree);
    let Geometry { nodes, triangles, attributes, instances, tree_time, .. } = geometry;
    let lights = packed.lights;
    Ok(PackedScene { nodes, triangles, attributes, instances, materials, lights, texels, params, tree_time })
}

/// Words of a camera at the end of a part of the shutter's time: its axes and its
/// place.
const CAMERA_KEY_WORDS: u32 = 12;

/// Words of a camera for all of the shutter's time.
pub(crate) fn camera_words(parts: u32) -> u32 {
    parts * CAMERA_KEY_WORDS
}

/// Appends where every camera is at the ends of the parts of the shutter's time;
/// `NONE` where none moves.
fn pack_camera_keys(scene: &Scene, attributes: &mut Vec<u32>) -> u32 {
    if scene.motion.cameras.is_empty() {
        return NONE;
    }
    let first = word_index(attributes.len());
    for (index, camera) in scene.cameras.iter().enumerate() {
        for part in 0..scene.motion.parts as usize {
            let transform = scene.motion.of_camera(index).map_or(&camera.transform, |track| &track[part]);
            attributes.extend(camera_vectors(transform).as_flattened().iter().map(|x| x.to_bits()));
        }
    }
    first
}

/// The axes of a camera, to the right, up and back, and its place.
pub(crate) fn camera_vectors(transform: &Affine3A) -> [[f32; 3]; 4] {
    let matrix = transform.matrix3;
    let axis = |axis: glam::Vec3A| Vec3::from(axis).normalize_or_zero().to_array();
    [axis(matrix.x_axis), axis(matrix.y_axis), axis(matrix.z_axis), transform.translation.to_array()]
}
