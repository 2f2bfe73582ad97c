//! The lights of a scene and the table by which the kernel chooses one.

use std::f64::consts::PI;

use farm_scene::{AlphaMode, LightKind, Scene};

use crate::alias;
use crate::geometry::Geometry;
use crate::layout::{self, Light, NONE, light_kind, material_flags};
use crate::pack::{to_f32, word_index};
use crate::texture::{emits, mean_color};
use bytemuck::Zeroable;

/// Share of the choices that the sky gets where there are other lights too.
/// Its power against theirs says little about what reaches a surface.
const SKY_SHARE: f64 = 0.5;

/// Lights with their table.
#[derive(Debug, Default)]
pub(crate) struct PackedLights {
    pub(crate) lights: Vec<Light>,
    /// Probability of choosing the sky.
    pub(crate) sky_pick: f32,
}

/// Packs every light by its power, and tells the instances that emit where
/// their triangles' lights begin.
pub(crate) fn pack_lights(
    scene: &Scene,
    materials: &[layout::Material],
    geometry: &mut Geometry,
    has_sky: bool,
) -> PackedLights {
    let mut lights = Vec::new();
    let mut weights = Vec::new();
    add_emissive_triangles(scene, materials, geometry, &mut lights, &mut weights);
    let radius = geometry.radius();
    for light in &scene.lights {
        lights.push(punctual(light));
        weights.push(punctual_power(light, radius));
    }
    if has_sky {
        let others: f64 = weights.iter().sum();
        let weight = if others > 0.0 { others * SKY_SHARE / (1.0 - SKY_SHARE) } else { 1.0 };
        lights.push(Light { kind: light_kind::SKY, ..Light::zeroed() });
        weights.push(weight);
    }
    let Some(table) = alias::table(&weights) else {
        geometry.instances.iter_mut().for_each(|instance| instance.first_light = NONE);
        return PackedLights::default();
    };
    for (light, entry) in lights.iter_mut().zip(&table) {
        light.threshold = entry.threshold;
        light.alias_entry = entry.alias;
        light.pick = entry.probability;
    }
    let sky_pick = if has_sky { lights.last().map_or(0.0, |light| light.pick) } else { 0.0 };
    PackedLights { lights, sky_pick }
}

/// Adds the triangles of every opaque material that emits. What alpha makes
/// holes in is found by the paths that hit it alone.
fn add_emissive_triangles(
    scene: &Scene,
    materials: &[layout::Material],
    geometry: &mut Geometry,
    lights: &mut Vec<Light>,
    weights: &mut Vec<f64>,
) {
    let radiance: Vec<f64> = scene.materials.iter().map(|material| mean_emission(scene, material)).collect();
    for index in 0..geometry.instances.len() {
        let instance = geometry.instances[index];
        let material = instance.material as usize;
        if radiance[material] <= 0.0 || scene.materials[material].alpha != AlphaMode::Opaque {
            continue;
        }
        let sides = if materials[material].flags & material_flags::DOUBLE_SIDED != 0 { 2.0 } else { 1.0 };
        geometry.instances[index].first_light = word_index(lights.len());
        for triangle in geometry.places(index) {
            let area = world_area(&geometry.triangles[triangle as usize], &instance.to_world);
            let place = [word_index(index), triangle, 0, 0];
            lights.push(Light { kind: light_kind::TRIANGLE, place, ..Light::zeroed() });
            weights.push(radiance[material] * PI * sides * area);
        }
    }
}

/// Luminance of a material's emission, averaged over its texture.
fn mean_emission(scene: &Scene, material: &farm_scene::Material) -> f64 {
    if !emits(material) {
        return 0.0;
    }
    let tint = material.emissive_texture.map_or([1.0; 3], |slot| {
        mean_color(&scene.images[scene.textures[slot.texture as usize].image as usize])
    });
    let emissive = material.emissive.to_array().map(f64::from);
    luminance([emissive[0] * tint[0], emissive[1] * tint[1], emissive[2] * tint[2]])
}

fn world_area(triangle: &layout::Triangle, to_world: &[[f32; 4]; 3]) -> f64 {
    let at = |corner: [u32; 4], i: usize| f64::from(f32::from_bits(corner[i]));
    let edge = |corner: [u32; 4]| {
        let along = [0, 1, 2].map(|i| at(corner, i) - at(triangle.a, i));
        to_world.map(|row| (0..3).map(|i| f64::from(row[i]) * along[i]).sum::<f64>())
    };
    let (b, c) = (edge(triangle.b), edge(triangle.c));
    let cross = [b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]];
    cross.iter().map(|x| x * x).sum::<f64>().sqrt() * 0.5
}

/// Power of a punctual light; a directional one lights the scene's disk.
fn punctual_power(light: &farm_scene::Light, scene_radius: f64) -> f64 {
    let intensity = luminance(light.intensity.to_array().map(f64::from));
    match light.kind {
        LightKind::Point { .. } => intensity * 4.0 * PI,
        LightKind::Spot { outer_cone_angle, .. } => {
            intensity * 2.0 * PI * (1.0 - f64::from(outer_cone_angle).cos()).max(1e-3)
        }
        LightKind::Directional { .. } => intensity * PI * scene_radius * scene_radius,
    }
}

fn punctual(light: &farm_scene::Light) -> Light {
    let place = |position: glam::Vec3, range: f32| {
        let range = if range.is_finite() { range } else { 0.0 };
        position.extend(range).to_array().map(f32::to_bits)
    };
    match light.kind {
        LightKind::Point { position, range } => Light {
            kind: light_kind::POINT,
            place: place(position, range),
            intensity: light.intensity.extend(0.0).to_array(),
            ..Light::zeroed()
        },
        LightKind::Spot { position, direction, range, inner_cone_angle, outer_cone_angle } => {
            // The falloff that KHR_lights_punctual recommends.
            let outer = to_f32(f64::from(outer_cone_angle).cos());
            let inner = to_f32(f64::from(inner_cone_angle).cos());
            let scale = 1.0 / (inner - outer).max(1e-3);
            Light {
                kind: light_kind::SPOT,
                place: place(position, range),
                direction: direction.extend(scale).to_array(),
                intensity: light.intensity.extend(-outer * scale).to_array(),
                ..Light::zeroed()
            }
        }
        LightKind::Directional { direction } => Light {
            kind: light_kind::DIRECTIONAL,
            direction: direction.extend(0.0).to_array(),
            intensity: light.intensity.extend(0.0).to_array(),
            ..Light::zeroed()
        },
    }
}

fn luminance(color: [f64; 3]) -> f64 {
    0.2126 * color[0] + 0.7152 * color[1] + 0.0722 * color[2]
}
