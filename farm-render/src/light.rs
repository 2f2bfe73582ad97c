//! The lights of a scene, and the table and the tree by which the kernel chooses one.

use std::f64::consts::PI;

use farm_scene::{AlphaMode, LightKind, Scene};

use crate::alias;
use crate::geometry::Geometry;
use crate::layout::{self, Light, NONE, light_kind, material_flags};
use crate::light_tree::{self, Emitter};
use crate::pack::{to_f32, word_index};
use crate::texture::{emits, mean_color};
use bytemuck::Zeroable;
use glam::DVec3;

/// Share of the choices that the sky gets where there are other lights too.
/// Its power against theirs says little about what reaches a surface.
const SKY_SHARE: f64 = 0.5;

/// Lights with their table and their tree.
#[derive(Debug)]
pub(crate) struct PackedLights {
    /// Entries of the table, then the tree's pairs of nodes, then its lights.
    pub(crate) lights: Vec<Light>,
    /// Entries of the table.
    pub(crate) count: u32,
    /// The entry that stands for the tree, or `NONE`.
    pub(crate) tree: u32,
    /// Probability of choosing the sky.
    pub(crate) sky_pick: f32,
}

/// Packs every light, and tells the instances that emit where their triangles'
/// lights begin. The table chooses by power, and the tree by what reaches a surface.
pub(crate) fn pack_lights(
    scene: &Scene,
    materials: &[layout::Material],
    geometry: &mut Geometry,
    has_sky: bool,
) -> PackedLights {
    let mut placed = Placed::default();
    placed.add_emissive_triangles(scene, materials, geometry);
    let radius = geometry.radius();
    let (mut entries, mut weights) = (Vec::new(), Vec::new());
    for light in &scene.lights {
        let power = punctual_power(light, radius);
        match emitter(light) {
            Some(emitter) => placed.add(punctual(light), emitter, power),
            None => {
                entries.push(punctual(light));
                weights.push(power);
            }
        }
    }
    if placed.power > 0.0 {
        entries.insert(0, Light::zeroed());
        weights.insert(0, placed.power);
    }
    if has_sky {
        let others: f64 = weights.iter().sum();
        let weight = if others > 0.0 { others * SKY_SHARE / (1.0 - SKY_SHARE) } else { 1.0 };
        entries.push(Light { kind: light_kind::SKY, ..Light::zeroed() });
        weights.push(weight);
    }
    let Some(table) = alias::table(&weights) else {
        geometry.instances.iter_mut().for_each(|instance| instance.first_light = NONE);
        return PackedLights { lights: Vec::new(), count: 0, tree: NONE, sky_pick: 0.0 };
    };
    let count = entries.len();
    let has_tree = placed.power > 0.0;
    if has_tree {
        placed.plant(&mut entries, geometry);
    } else {
        geometry.instances.iter_mut().for_each(|instance| instance.first_light = NONE);
    }
    for (light, entry) in entries.iter_mut().zip(&table) {
        light.threshold = entry.threshold;
        light.alias_entry = entry.alias;
        light.pick = entry.probability;
    }
    let sky_pick = if has_sky { entries[count - 1].pick } else { 0.0 };
    PackedLights {
        lights: entries,
        count: word_index(count),
        tree: if has_tree { 0 } else { NONE },
        sky_pick,
    }
}

/// The lights that have a place.
#[derive(Default)]
struct Placed {
    lights: Vec<Light>,
    emitters: Vec<Emitter>,
    power: f64,
}

impl Placed {
    fn add(&mut self, light: Light, emitter: Emitter, power: f64) {
        self.lights.push(light);
        self.emitters.push(emitter);
        self.power += power;
    }

    /// Adds the triangles of every opaque material that emits. What alpha makes
    /// holes in is found by the paths that hit it alone.
    fn add_emissive_triangles(
        &mut self,
        scene: &Scene,
        materials: &[layout::Material],
        geometry: &mut Geometry,
    ) {
        let radiance: Vec<f64> =
            scene.materials.iter().map(|material| mean_emission(scene, material)).collect();
        for index in 0..geometry.instances.len() {
            let instance = geometry.instances[index];
            let material = instance.material as usize;
            if radiance[material] <= 0.0 || scene.materials[material].alpha != AlphaMode::Opaque {
                continue;
            }
            let both_ways = materials[material].flags & material_flags::DOUBLE_SIDED != 0;
            let sides = if both_ways { 2.0 } else { 1.0 };
            // Counted from the first light of the tree until that has its place.
            geometry.instances[index].first_light = word_index(self.lights.len());
            for triangle in geometry.places(index) {
                let place = [word_index(index), triangle, 0, 0];
                let light = Light { kind: light_kind::TRIANGLE, place, ..Light::zeroed() };
                let shapes = geometry.shapes(triangle).map(|shape| world_corners(shape, &instance.to_world));
                let emitter = triangle_emitter(&shapes.collect::<Vec<_>>(), radiance[material], both_ways);
                self.add(light, emitter, emitter.intensity * PI * sides);
            }
        }
    }

    /// Appends the tree and its lights to the entries of the table, of which the
    /// first stands for it.
    fn plant(self, entries: &mut Vec<Light>, geometry: &mut Geometry) {
        // A binary tree over n lights has n - 1 pairs of nodes.
        let first_pair = entries.len();
        let first_light = first_pair + self.lights.len() - 1;
        let tree = light_tree::build(&self.emitters, first_pair, first_light);
        entries[0] = Light { kind: light_kind::TREE, place: [tree.root, 0, 0, 0], ..Light::zeroed() };
        entries.extend(&tree.pairs);
        debug_assert_eq!(entries.len(), first_light, "the tree is binary");
        let lights = self.lights.into_iter().zip(tree.trails);
        entries.extend(lights.map(|(light, trail)| Light { threshold: trail, ..light }));
        for instance in geometry.instances.iter_mut().filter(|instance| instance.first_light != NONE) {
            instance.first_light += word_index(first_light);
        }
    }
}

/// What the tree knows of a triangle with these shapes, between which it moves.
fn triangle_emitter(shapes: &[[DVec3; 3]], radiance: f64, both_ways: bool) -> Emitter {
    let corners = || shapes.iter().flatten().copied();
    let normals = area_vectors(shapes);
    let double_area = normals.iter().map(|normal| normal.length()).fold(0.0, f64::max);
    let (axis, cosine) = cone_around(&normals);
    Emitter {
        low: corners().fold(DVec3::INFINITY, DVec3::min),
        high: corners().fold(DVec3::NEG_INFINITY, DVec3::max),
        axis,
        cosine,
        falloff_cosine: 0.0,
        both_ways,
        intensity: radiance * double_area * 0.5,
    }
}

/// Vectors between which the normal of a triangle stays that moves evenly from
/// shape to shape, as long as twice its area: with edges that are linear in time
/// the normal is a quadratic Bézier curve, and these are its control points.
fn area_vectors(shapes: &[[DVec3; 3]]) -> Vec<DVec3> {
    let edges: Vec<[DVec3; 2]> = shapes.iter().map(|[a, b, c]| [*b - *a, *c - *a]).collect();
    let at_shapes = edges.iter().map(|[b, c]| b.cross(*c));
    let between = edges.iter().zip(edges.iter().skip(1));
    let between = between.map(|([b, c], [later_b, later_c])| (b.cross(*later_c) + later_b.cross(*c)) * 0.5);
    at_shapes.chain(between).collect()
}

/// The middle of some directions, and the cosine of the angle around it within
/// which all that lie between them do.
fn cone_around(vectors: &[DVec3]) -> (DVec3, f64) {
    let unit: Vec<DVec3> = vectors.iter().filter_map(|vector| vector.try_normalize()).collect();
    if let [axis] = unit[..] {
        return (axis, 1.0);
    }
    let Some(axis) = unit.iter().sum::<DVec3>().try_normalize() else {
        return (DVec3::Z, if unit.is_empty() { 1.0 } else { -1.0 });
    };
    let cosine = unit.iter().map(|normal| normal.dot(axis)).fold(1.0, f64::min);
    // What lies between directions lies in their cone where that is convex.
    (axis, if cosine > 0.0 { cosine } else { -1.0 })
}

/// What the tree knows of a punctual light; `None` for one that is everywhere.
fn emitter(light: &farm_scene::Light) -> Option<Emitter> {
    let intensity = luminance(light.intensity.to_array().map(f64::from));
    let at = |position: glam::Vec3, radius: f32, axis: DVec3, cosine: f64, falloff_cosine: f64| {
        let (position, radius) = (position.as_dvec3(), DVec3::splat(radius.into()));
        let (low, high) = (position - radius, position + radius);
        Some(Emitter { low, high, axis, cosine, falloff_cosine, both_ways: false, intensity })
    };
    match light.kind {
        LightKind::Point { position, radius, .. } => at(position, radius, DVec3::Z, -1.0, 0.0),
        // Nothing leaves the cone.
        LightKind::Spot { position, direction, outer_cone_angle, radius, .. } => {
            at(position, radius, direction.as_dvec3(), rounded_cosine(outer_cone_angle), 0.9999)
        }
        LightKind::Directional { .. } => None,
    }
}

/// A cosine rounded far above its last places, which machines' mathematics
/// libraries differ in.
fn rounded_cosine(angle: f32) -> f64 {
    (f64::from(angle).cos() * 1_048_576.0).floor() / 1_048_576.0
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

/// A triangle's corners in the world.
pub(crate) fn world_corners(triangle: &layout::Triangle, to_world: &[[f32; 4]; 3]) -> [DVec3; 3] {
    [triangle.a, triangle.b, triangle.c].map(|corner| {
        let local = [0, 1, 2].map(|i| f64::from(f32::from_bits(corner[i])));
        let row =
            |row: &[f32; 4]| (0..3).map(|i| f64::from(row[i]) * local[i]).sum::<f64>() + f64::from(row[3]);
        DVec3::new(row(&to_world[0]), row(&to_world[1]), row(&to_world[2]))
    })
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
        LightKind::Point { position, range, radius } => Light {
            kind: light_kind::POINT,
            pick: radius,
            place: place(position, range),
            intensity: light.intensity.extend(0.0).to_array(),
            ..Light::zeroed()
        },
        LightKind::Spot { position, direction, range, inner_cone_angle, outer_cone_angle, radius } => {
            // The falloff that KHR_lights_punctual recommends.
            let outer = to_f32(f64::from(outer_cone_angle).cos());
            let inner = to_f32(f64::from(inner_cone_angle).cos());
            let scale = 1.0 / (inner - outer).max(1e-3);
            Light {
                kind: light_kind::SPOT,
                pick: radius,
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

#[cfg(test)]
mod tests {
    use glam::{DQuat, Vec3};

    use crate::random::Random;

    use super::*;

    fn vector(random: &mut Random) -> DVec3 {
        random.point().as_dvec3()
    }

    /// Corners that are carried along, turned and bent a little from shape to shape.
    fn shapes(random: &mut Random, count: usize, turn: f64) -> Vec<[DVec3; 3]> {
        let mut corners = [0; 3].map(|_| vector(random));
        (0..count)
            .map(|_| {
                let axis = vector(random).normalize_or(DVec3::X);
                let turned = DQuat::from_axis_angle(axis, random.unit() * turn);
                let step = vector(random);
                corners = corners.map(|corner| turned * corner + step + vector(random) * 0.1);
                corners
            })
            .collect()
    }

    #[test]
    fn a_triangle_that_moves_stays_in_its_box_and_its_cone() {
        let random = &mut Random(34);
        let mut narrow = 0;
        for round in 0..300 {
            let turn = [0.0, 0.3, 1.0, 2.0][round % 4];
            let shapes = shapes(random, 1 + round % 5, turn);
            let emitter = triangle_emitter(&shapes, 2.0, false);
            narrow += u32::from(emitter.cosine > 0.5);
            for (from, to) in shapes.iter().zip(shapes.iter().skip(1)).chain([(&shapes[0], &shapes[0])]) {
                for step in 0..=16 {
                    let over = f64::from(step) / 16.0;
                    let [a, b, c] = std::array::from_fn(|i| from[i].lerp(to[i], over));
                    for corner in [a, b, c] {
                        let outside = (emitter.low - corner).max(corner - emitter.high).max_element();
                        assert!(outside < 1e-12, "{corner} is outside of {emitter:?}");
                    }
                    let normal = (b - a).cross(c - a);
                    let is_inside = normal.dot(emitter.axis) >= (emitter.cosine - 1e-9) * normal.length();
                    assert!(is_inside, "{normal} is outside of {emitter:?}");
                    // Radiance times area, at the brightest.
                    assert!(normal.length() < emitter.intensity * (1.0 + 1e-12), "{emitter:?}");
                }
            }
        }
        assert!(narrow > 100, "{narrow} cones say anything");
    }

    #[test]
    fn a_punctual_light_lies_in_its_box_and_shines_within_its_cone() {
        let position = Vec3::new(1.0, -2.0, 3.0);
        let intensity = Vec3::new(1.0, 2.0, 3.0);
        for radius in [0.0, 0.25] {
            let kind = LightKind::Point { position, range: f32::INFINITY, radius };
            let point = emitter(&farm_scene::Light { intensity, kind }).expect("it has a place");
            let place = position.as_dvec3();
            let radius = DVec3::splat(radius.into());
            assert_eq!((point.low, point.high), (place - radius, place + radius));
            assert_eq!(point.cosine, -1.0, "it shines everywhere");
        }
        for outer_cone_angle in [0.01_f32, 0.5, 1.5] {
            let kind = LightKind::Spot {
                position,
                direction: Vec3::NEG_Z,
                range: f32::INFINITY,
                inner_cone_angle: 0.0,
                outer_cone_angle,
                radius: 0.25,
            };
            let spot = emitter(&farm_scene::Light { intensity, kind }).expect("it has a place");
            let exact = f64::from(outer_cone_angle).cos();
            assert!(spot.cosine <= exact && spot.cosine > exact - 1e-6, "{}", spot.cosine);
            assert_eq!((spot.axis, spot.falloff_cosine < 1.0), (DVec3::NEG_Z, true));
            assert_eq!(spot.high - spot.low, DVec3::splat(0.5));
        }
    }
}
