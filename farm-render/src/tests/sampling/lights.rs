//! Lights, the sky and the pixel's filter.

use farm_core::PixelFilter;
use farm_scene::{
    Coat, Environment, EnvironmentMap, Instance, Light, LightKind, Material, Mesh, Motion, Track,
};
use glam::{Affine3A, DVec3, Vec3 as Point};
use shaders::native::scalar::{self, Hit, LightSample, Surface};
use statrs::distribution::Normal;

use super::super::{lambert, quad};
use super::*;
use crate::layout::triangle_flags;
use crate::light::world_corners;
use crate::tables;

#[test]
fn lights_are_chosen_as_often_as_their_probability_says() {
    let light = |i: u16| Light {
        intensity: Point::splat(f32::from(i * i) * 0.01 + 0.001),
        kind: LightKind::Point { position: Point::X * f32::from(i), range: f32::INFINITY, radius: 0.0 },
    };
    let mut lights: Vec<Light> = (0..200).map(light).collect();
    let directional = |x: f32| Light {
        intensity: Point::splat(20.0 * x.abs()),
        kind: LightKind::Directional { direction: Point::new(x, 0.0, -1.0).normalize() },
    };
    lights.extend([directional(0.5), directional(-1.0)]);
    let stage = stage(&Scene { lights, ..Scene::default() });
    let tree = stage.params.light_tree;
    let entries = stage.params.light_count as usize;
    let first_light = stage.packed.lights.len() - 200;
    let mut random = Random(7);
    let mut p_values = Vec::new();
    for (point, normal) in [(DVec3::Y, DVec3::ZERO), (DVec3::new(90.5, 2.0, 1.0), DVec3::new(0.6, -0.8, 0.0))]
    {
        let (point, normal) = (lanes(point), lanes(normal));
        let mut counts = vec![0.0; stage.packed.lights.len()];
        // Bounds may lead to where nothing contributes.
        let mut in_vain = 0.0;
        for _ in 0..SAMPLES {
            let choice = random.lane();
            let chosen = stage.run(|bindings| scalar::choose_light(ON, bindings, point, normal, choice));
            if float(chosen.pick) > 0.0 {
                let light = u32::from(chosen.light) as usize;
                assert_near(float(chosen.pick), probability(&stage, point, normal, light), 1e-5);
                counts[light] += 1.0;
            } else {
                in_vain += 1.0;
            }
        }
        let all = (0..entries).filter(|&entry| entry != tree as usize).chain(first_light..counts.len());
        let (mut counts, mut expected): (Vec<f64>, Vec<f64>) =
            all.map(|light| (counts[light], probability(&stage, point, normal, light))).unzip();
        counts.push(in_vain);
        expected.push(1.0 - expected.iter().sum::<f64>());
        assert!(expected[expected.len() - 1] > -1e-5, "the probabilities sum to more than 1");
        let expected: Vec<f64> =
            expected.into_iter().map(|share| share.max(0.0) * f64::from(SAMPLES)).collect();
        p_values.push((format!("lights at {point:?}"), chi_square_p_value(&counts, &expected)));
    }
    assert_all_probable(&p_values);
}

/// The probability of choosing a light of the table or of the tree.
fn probability(stage: &Stage, point: Vec3, normal: Vec3, light: usize) -> f64 {
    let (lights, tree) = (&stage.packed.lights, stage.params.light_tree as usize);
    if light < stage.params.light_count as usize {
        return lights[light].pick.into();
    }
    let trail = U32::from(lights[light].threshold);
    let root = U32::from(lights[tree].place[0]);
    let inner = stage.run(|bindings| scalar::pick_in_tree(ON, bindings, root, point, normal, trail));
    f64::from(lights[tree].pick) * float(inner)
}

/// 300 lamps of two triangles here and there, in a cloud as wide as 4, which fly about
/// and turn in so many parts of the shutter's time.
fn lamps(parts: usize) -> Stage {
    lamps_that_face(None, parts)
}

/// The same, but that they all face one way where there is one.
fn lamps_that_face(axis: Option<DVec3>, parts: usize) -> Stage {
    let mut random = Random(21);
    let mut anywhere = || (random.point() * 0.5).as_dvec3();
    let turned = |axis: DVec3| {
        Affine3A::from_quat(glam::Quat::from_rotation_arc(Point::Z, axis.normalize().as_vec3()))
    };
    let mut place = |way: f64| {
        let scale = Affine3A::from_scale(Point::splat(0.02));
        let place = anywhere() * way;
        let axis = axis.unwrap_or_else(&mut anywhere);
        Affine3A::from_translation(place.as_vec3()) * turned(axis) * scale
    };
    let instances: Vec<Instance> = (0..300).map(|_| Instance { mesh: 0, transform: place(4.0) }).collect();
    let fly = |(index, instance): (u32, &Instance)| {
        let from = Affine3A::from_translation(instance.transform.translation.into());
        Track { index, transforms: (0..parts).map(|_| from * place(0.5)).collect() }
    };
    let tracks = if parts > 0 { (0..).zip(&instances).map(fly).collect() } else { Vec::new() };
    stage(&Scene {
        meshes: vec![quad(0)],
        instances,
        materials: vec![Material { emissive: Point::ONE, ..lambert(0.5) }],
        motion: Motion { parts: u32::try_from(parts).expect("few"), instances: tracks, cameras: Vec::new() },
        ..Scene::default()
    })
}

/// In the cloud and around it, where walks begin at cuts of all sizes.
#[test]
fn a_light_that_is_chosen_is_found_with_the_same_probability() {
    let stage = lamps(0);
    let mut random = Random(23);
    let mut chosen_at_all = 0;
    for place in 0..400 {
        let (point, normal) = (lanes(random.point().as_dvec3() * 3.0), random.point().as_dvec3().normalize());
        let normal = lanes(if place % 4 == 0 { DVec3::ZERO } else { normal });
        for _ in 0..50 {
            let choice = random.lane();
            let chosen = stage.run(|bindings| scalar::choose_light(ON, bindings, point, normal, choice));
            if float(chosen.pick) > 0.0 {
                let light = u32::from(chosen.light) as usize;
                let tree = f64::from(stage.packed.lights[stage.params.light_tree as usize].pick);
                assert_eq!(tree, 1.0, "there is nothing but the tree");
                assert_eq!(
                    float(chosen.pick),
                    probability(&stage, point, normal, light),
                    "{light} at {place}"
                );
                chosen_at_all += 1;
            }
        }
    }
    assert!(chosen_at_all > 15_000, "{chosen_at_all} choices found a light");
}

/// The corners of a light's triangle in the world, at a time.
fn corners_at(stage: &Stage, light: usize, time: u32) -> [DVec3; 3] {
    let [instance, triangle, ..] = stage.packed.lights[light].place;
    let rows = &stage.packed.instances[instance as usize].to_world;
    let first = stage.packed.triangles[triangle as usize];
    let corners = |place: usize| world_corners(&stage.packed.triangles[place], rows);
    if first.c[3] & triangle_flags::MOVES == 0 {
        return world_corners(&first, rows);
    }
    let keys = (first.c[3] >> triangle_flags::KEYS_SHIFT) as usize;
    let place = f64::from(time) / 2_f64.powi(32) * f64::from(stage.params.motion_parts);
    let part = (0..stage.params.motion_parts).rev().find(|&part| f64::from(part) <= place).expect("0 is");
    let from = if part == 0 { world_corners(&first, rows) } else { corners(keys + part as usize - 1) };
    let to = corners(keys + part as usize);
    std::array::from_fn(|i| from[i].lerp(to[i], place - f64::from(part)))
}

/// Bounds must hold: a light that sends anything to a surface has a chance there,
/// wherever it is at the time.
#[test]
fn every_light_that_reaches_a_surface_can_be_chosen() {
    for stage in [lamps(0), lamps(1), lamps(5), lamps_that_face(Some(DVec3::NEG_Z), 0)] {
        let mut random = Random(24);
        let first_light = stage.packed.lights.len() - 600;
        for _ in 0..200 {
            let mut anywhere = || DVec3::new(random.unit() - 0.5, random.unit() - 0.5, random.unit() - 0.5);
            let (point, normal) = (anywhere() * 5.0, anywhere().normalize());
            let mut total = 0.0;
            for light in first_light..stage.packed.lights.len() {
                let pick = probability(&stage, lanes(point), lanes(normal), light);
                total += pick;
                for time in [0, u32::MAX, random.word(), random.word()] {
                    let [a, b, c] = corners_at(&stage, light, time);
                    let towards = (a + b + c) / 3.0 - point;
                    let is_lit = towards.dot(normal) > 0.0 && towards.dot((b - a).cross(c - a)) < 0.0;
                    assert!(!is_lit || pick > 0.0, "light {light} shines on {point} unnoticed at {time}");
                }
            }
            assert!(total < 1.0 + 1e-4, "the probabilities sum to {total}");
        }
    }
}

/// One emissive triangle, stretched and turned, under a coat.
fn triangle_light(coat: f32) -> Stage {
    stage(&triangle_light_scene(coat))
}

fn triangle_light_scene(coat: f32) -> Scene {
    let mesh = Mesh { triangles: vec![[0, 1, 2]], ..quad(0) };
    let transform = Affine3A::from_rotation_y(0.4)
        * Affine3A::from_translation(Point::new(0.3, 0.2, -1.5))
        * Affine3A::from_scale(Point::new(1.0, 1.5, 1.0));
    let coat = Coat { factor: coat, ..Coat::default() };
    let material = Material { emissive: Point::ONE, coat, ..lambert(0.5) };
    Scene {
        meshes: vec![mesh],
        instances: vec![Instance { mesh: 0, transform }],
        materials: vec![material],
        ..Scene::default()
    }
}

/// The same triangle, which flies by, grows and turns.
fn moving_triangle_light() -> Stage {
    let mut scene = triangle_light_scene(0.6);
    let from = scene.instances[0].transform;
    let end = |part: u8| {
        let share = f32::from(part);
        Affine3A::from_translation(Point::new(0.4 * share, 0.0, -0.2 * share))
            * from
            * Affine3A::from_rotation_y(0.4 * share)
            * Affine3A::from_scale(Point::splat(1.0 + 0.5 * share))
    };
    let track = Track { index: 0, transforms: vec![end(1), end(2), end(1)] };
    scene.motion = Motion { parts: 3, instances: vec![track], cameras: Vec::new() };
    stage(&scene)
}

/// The corners of the stage's triangle in the world.
fn corners(stage: &Stage) -> [DVec3; 3] {
    world_corners(&stage.packed.triangles[0], &stage.packed.instances[0].to_world)
}

fn draw_light(stage: &Stage, origin: DVec3, random: &mut Random) -> LightSample {
    draw_light_at(stage, origin, 0, random)
}

fn draw_light_at(stage: &Stage, origin: DVec3, time: u32, random: &mut Random) -> LightSample {
    let (choice, bits, cell) = (random.lane(), random.pair(), random.lane());
    stage.run(|bindings| {
        scalar::sample_light(ON, bindings, lanes(origin), lanes(DVec3::ZERO), choice, bits, cell, time.into())
    })
}

/// The density of a hit on an emissive surface, for one that is lit from all sides.
fn density_at(stage: &Stage, surface: Surface, origin: DVec3, direction: Vec3, distance: F32) -> F32 {
    let (origin, normal) = (lanes(origin), lanes(DVec3::ZERO));
    stage.run(|bindings| scalar::light_density(ON, bindings, surface, origin, normal, direction, distance))
}

/// Where a ray from `origin` meets a triangle: its second and third weight, and the
/// distance, if it does.
fn meet([a, b, c]: [DVec3; 3], origin: DVec3, direction: DVec3) -> Option<(f64, f64, f64)> {
    let (edge_b, edge_c) = (b - a, c - a);
    let normal = edge_b.cross(edge_c);
    let distance = (a - origin).dot(normal) / direction.dot(normal);
    let point = origin + direction * distance - a;
    let weight_b = point.cross(edge_c).dot(normal) / normal.length_squared();
    let weight_c = edge_b.cross(point).dot(normal) / normal.length_squared();
    let inside = weight_b >= 0.0 && weight_c >= 0.0 && weight_b + weight_c <= 1.0 && distance > 0.0;
    inside.then_some((weight_b, weight_c, distance))
}

#[test]
fn points_on_a_triangle_are_even_by_area_and_their_density_is_by_solid_angle() {
    const CELLS: usize = 16;
    let stage = triangle_light(0.0);
    let (triangle, origin) = (corners(&stage), DVec3::new(0.1, -0.2, 0.3));
    let mut random = Random(8);
    let mut counts = vec![0.0; CELLS * CELLS];
    let mut solid_angle = 0.0;
    for _ in 0..SAMPLES {
        let sample = draw_light(&stage, origin, &mut random);
        solid_angle += 1.0 / float(sample.pdf) / f64::from(SAMPLES);
        let direction = exact(sample.direction);
        // Samples on the very edge may miss it by rounding.
        let Some((b, c, _)) = meet(triangle, origin, direction) else { continue };
        // (1 − b)² and c / (1 − b) are even and independent where (b, c) is even.
        counts[part_of((1.0 - b).powi(2), CELLS) * CELLS + part_of(c / (1.0 - b), CELLS)] += 1.0;
    }
    let even = vec![f64::from(SAMPLES) / (CELLS * CELLS) as f64; CELLS * CELLS];
    assert_all_probable(&[("triangle".into(), chi_square_p_value(&counts, &even))]);
    // Van Oosterom & Strackee 1983.
    let [a, b, c] = triangle.map(|corner| (corner - origin).normalize());
    let exact_angle = 2.0 * a.dot(b.cross(c)).abs().atan2(1.0 + a.dot(b) + b.dot(c) + c.dot(a));
    assert_near(solid_angle, exact_angle, 2e-3);
}

#[test]
fn a_triangle_that_is_hit_has_the_density_with_which_it_is_drawn() {
    let stage = triangle_light(0.6);
    let (triangle, origin) = (corners(&stage), DVec3::new(0.1, -0.2, 0.3));
    let mut random = Random(9);
    for _ in 0..1000 {
        let sample = draw_light(&stage, origin, &mut random);
        let Some((b, c, distance)) = meet(triangle, origin, exact(sample.direction)) else { continue };
        let surface = surface_at(&stage, b, c, sample.direction);
        let length = lanes(DVec3::splat(distance)).x;
        let density = density_at(&stage, surface, origin, sample.direction, length);
        assert_near(float(density), float(sample.pdf), 1e-4);
        assert_near(float(surface.emission.x), float(sample.radiance.x) * float(sample.pdf), 1e-4);
    }
}

#[test]
fn a_triangle_that_moves_is_drawn_where_it_is_with_the_density_of_a_hit() {
    let stage = moving_triangle_light();
    let light = stage.packed.lights.len() - 1;
    let origin = DVec3::new(0.1, -0.2, 0.3);
    let mut random = Random(19);
    for time in [0, 1 << 30, 3 << 30, u32::MAX] {
        let triangle = corners_at(&stage, light, time);
        let (mut solid_angle, mut met) = (0.0, 0);
        for _ in 0..4000 {
            let sample = draw_light_at(&stage, origin, time, &mut random);
            solid_angle += 1.0 / float(sample.pdf) / 4000.0;
            let Some((b, c, distance)) = meet(triangle, origin, exact(sample.direction)) else { continue };
            met += 1;
            let surface = surface_at_time(&stage, (b, c), sample.direction, time);
            let length = lanes(DVec3::splat(distance)).x;
            let density = density_at(&stage, surface, origin, sample.direction, length);
            assert_near(float(density), float(sample.pdf), 1e-4);
            assert_near(float(surface.emission.x), float(sample.radiance.x) * float(sample.pdf), 1e-4);
            assert_near(exact(sample.reach).length(), distance, 1e-4);
        }
        // Only on its very edge may one miss it.
        assert!(met > 3990, "{met} of 4000 samples are on the triangle");
        let [a, b, c] = triangle.map(|corner| (corner - origin).normalize());
        let exact_angle = 2.0 * a.dot(b.cross(c)).abs().atan2(1.0 + a.dot(b) + b.dot(c) + c.dot(a));
        // The density varies by less than its mean over the triangle: 5σ of 4000.
        assert_near(solid_angle, exact_angle, 5.0 / 4000_f64.sqrt());
    }
}

/// The surface of the stage's triangle at a place.
fn surface_at(stage: &Stage, b: f64, c: f64, direction: Vec3) -> Surface {
    surface_at_time(stage, (b, c), direction, 0)
}

pub(super) fn surface_at_time(stage: &Stage, (b, c): (f64, f64), direction: Vec3, time: u32) -> Surface {
    let weights = lanes(DVec3::new(b, c, 0.0));
    let hit = Hit {
        b: weights.x,
        c: weights.y,
        instance: 0.into(),
        triangle: 0.into(),
        front: ON,
        ..Hit::default()
    };
    stage.run(|bindings| scalar::surface_at(ON, bindings, hit, direction, time.into()))
}

/// Light that a glossy floor sends back from a lamp over it, by drawing points on
/// the lamp, by drawing directions from the lobes, and by both with the power
/// heuristic: one integral, three estimates.
#[test]
fn light_only_lobes_only_and_both_weighted_estimate_the_same() {
    let stage = triangle_light(0.0);
    let (triangle, origin) = (corners(&stage), DVec3::ZERO);
    for roughness in [0.25, 0.5, 1.0] {
        let outgoing = DVec3::new(-0.35, -0.1, 0.93).normalize();
        let normal = DVec3::new(0.0, 0.2, -1.0).normalize();
        let mirrored = normal * (2.0 * normal.dot(-outgoing)) + outgoing;
        let single = |value: f64| lanes(DVec3::splat(value)).x;
        let surface = Surface {
            geometric_normal: lanes(normal),
            normal: lanes(normal),
            base_color: lanes(DVec3::splat(0.8)),
            metallic: single(0.3),
            roughness: single(roughness),
            f0: lanes(DVec3::splat(0.04)),
            f90: single(1.0),
            ..Surface::default()
        };
        let bsdf =
            stage.run(|bindings| scalar::bsdf_at(ON, bindings, surface, lanes(-mirrored), single(1.0)));
        let density_of_light = |direction: Vec3| -> Option<f64> {
            let (b, c, distance) = meet(triangle, origin, exact(direction))?;
            let surface = surface_at(&stage, b, c, direction);
            let length = single(distance);
            let density = density_at(&stage, surface, origin, direction, length);
            Some(float(density))
        };
        let mut random = Random(10);
        let (mut light_only, mut lobes_only, mut both) = ([0.0; 2], [0.0; 2], [0.0; 2]);
        let add = |estimate: &mut [f64; 2], value: f64| {
            estimate[0] += value;
            estimate[1] += value * value;
        };
        for _ in 0..SAMPLES / 4 {
            let sample = draw_light(&stage, origin, &mut random);
            let value = stage.run(|bindings| scalar::evaluate_bsdf(ON, bindings, bsdf, sample.direction));
            let by_light = float(value.x) * float(sample.radiance.x);
            let weight = float(scalar::mis_weight(ON, sample.pdf, value.w));
            add(&mut light_only, by_light);
            let (choice, bits) = (random.lane(), random.pair());
            let drawn = stage.run(|bindings| scalar::sample_bsdf(ON, bindings, bsdf, choice, bits));
            let hit = (float(drawn.pdf) > 0.0).then(|| density_of_light(drawn.direction)).flatten();
            let (by_lobes, other_weight) = hit.map_or((0.0, 0.0), |density| {
                let weight = scalar::mis_weight(ON, drawn.pdf, single(density));
                (float(drawn.weight.x), float(weight))
            });
            add(&mut lobes_only, by_lobes);
            add(&mut both, by_light * weight + by_lobes * other_weight);
        }
        let count = f64::from(SAMPLES / 4);
        let mean_and_variance = |[sum, squares]: [f64; 2]| {
            let mean = sum / count;
            (mean, (squares / count - mean * mean) / count)
        };
        let (wanted, variance) = mean_and_variance(both);
        for (name, estimate) in [("light", light_only), ("lobes", lobes_only)] {
            let (mean, other) = mean_and_variance(estimate);
            let z = (mean - wanted) / (variance + other).sqrt();
            // Six comparisons at a level of 0.01 together.
            assert!(z.abs() < 3.2, "{name} at {roughness}: {mean} against {wanted}, {z} standard errors");
        }
        assert!(
            mean_and_variance(both).1 < mean_and_variance(light_only).1.max(mean_and_variance(lobes_only).1)
        );
    }
}

#[test]
fn directions_to_a_sphere_are_even_in_the_cone_under_which_it_is_seen() {
    let middle = DVec3::new(0.4, -0.2, 0.9) * 3.0;
    let origin = DVec3::new(0.3, 0.1, -0.2);
    let mut random = Random(13);
    let mut p_values = Vec::new();
    for radius in [2.9_f32, 1.0, 0.01] {
        let kind = LightKind::Point { position: (origin + middle).as_vec3(), range: f32::INFINITY, radius };
        let light = Light { intensity: Point::ONE, kind };
        let stage = stage(&Scene { lights: vec![light], ..Scene::default() });
        let ratio_square = f64::from(radius).powi(2) / middle.length_squared();
        let least_cosine = (1.0 - ratio_square).sqrt();
        let solid_angle = std::f64::consts::TAU * ratio_square / (1.0 + least_cosine);
        let axis = middle.normalize();
        // Cells of equal solid angle: rows of the cosine, columns of the turn.
        const CELLS: usize = 24;
        let (aside, up) = axis.any_orthonormal_pair();
        let mut counts = vec![0.0; CELLS * CELLS];
        for _ in 0..SAMPLES {
            let sample = draw_light(&stage, origin, &mut random);
            let direction = exact(sample.direction);
            // From the chord, which is exact near the axis.
            let row = (direction - axis).length_squared() * (1.0 + least_cosine) / (2.0 * ratio_square);
            let turn = direction.dot(up).atan2(direction.dot(aside)) / std::f64::consts::TAU;
            assert!(row < 1.0 + 1e-3, "outside of the cone");
            counts[part_of(row, CELLS) * CELLS + part_of(turn.rem_euclid(1.0), CELLS)] += 1.0;
            // Its radiance over the density, and where it is met.
            let radiance = 1.0 / (std::f64::consts::PI * f64::from(radius).powi(2));
            assert_near(float(sample.radiance.x), radiance * solid_angle, 1e-5);
            let from_middle = (exact(sample.reach) - middle).length();
            assert!((from_middle - f64::from(radius)).abs() < 2e-3 * f64::from(radius), "{from_middle}");
            assert_eq!(float(sample.pdf), 0.0);
        }
        let even = vec![f64::from(SAMPLES) / (CELLS * CELLS) as f64; CELLS * CELLS];
        p_values.push((format!("sphere of {radius}"), chi_square_p_value(&counts, &even)));
    }
    assert_all_probable(&p_values);
}

/// Bounds must hold for spheres too: what is partly over the horizon lights.
#[test]
fn every_sphere_that_reaches_over_the_horizon_can_be_chosen() {
    let mut random = Random(22);
    let lights: Vec<Light> = (0..200)
        .map(|_| {
            let position = random.point() * 4.0;
            let radius = random.signed().abs() * 0.5;
            let kind = LightKind::Point { position, range: f32::INFINITY, radius };
            Light { intensity: Point::splat(0.1 + random.signed().abs()), kind }
        })
        .collect();
    let stage = stage(&Scene { lights: lights.clone(), ..Scene::default() });
    let first_light = stage.packed.lights.len() - lights.len();
    let mut grazing = 0;
    for _ in 0..200 {
        let (point, normal) = (random.point().as_dvec3() * 5.0, random.point().as_dvec3().normalize());
        for (index, light) in lights.iter().enumerate() {
            let LightKind::Point { position, radius, .. } = light.kind else { continue };
            let height = (position.as_dvec3() - point).dot(normal);
            let is_lit = height + f64::from(radius) > 1e-3;
            grazing += u32::from(is_lit && height < 0.0);
            let pick = probability(&stage, lanes(point), lanes(normal), first_light + index);
            assert!(!is_lit || pick > 0.0, "light {index} shines on {point} unnoticed");
        }
    }
    assert!(grazing > 500, "{grazing} middles are below the horizon");
}

#[test]
fn the_sky_is_drawn_as_its_density_says() {
    let (width, height) = (32_u32, 16_u32);
    let mut random = Random(11);
    let mut radiance: Vec<Point> = (0..width * height)
        .map(|_| Point::splat(lanes(DVec3::splat(random.unit().powi(2))).x.into()))
        .collect();
    radiance[5 * 32 + 20] = Point::splat(300.0);
    let rotation = 0.7_f32;
    let map = EnvironmentMap { width, height, radiance, strength: 1.0, rotation };
    let stage = stage(&Scene { environment: Environment::Map(map), ..Scene::default() });
    // The cell of a direction, by the documented layout: the centre looks along −Z,
    // u grows to the right, and the map is turned counter-clockwise about +Y.
    let cell = |direction: DVec3| {
        let (sine, cosine) = f64::from(rotation).sin_cos();
        let (x, z) = (direction.x * cosine - direction.z * sine, direction.x * sine + direction.z * cosine);
        let u = 0.5 + x.atan2(-z) / std::f64::consts::TAU;
        let v = direction.y.clamp(-1.0, 1.0).acos() / std::f64::consts::PI;
        part_of(v, height as usize) * width as usize + part_of(u, width as usize)
    };
    let mut counts = vec![0.0; (width * height) as usize];
    // In each cell some direction that was drawn there, and its density.
    let mut seen = vec![None; counts.len()];
    for _ in 0..SAMPLES {
        let (choice, bits) = (random.lane(), random.pair());
        let sample = stage.run(|bindings| scalar::sample_sky(ON, bindings, choice, bits));
        let place = cell(exact(sample.direction));
        counts[place] += 1.0;
        seen[place].get_or_insert((sample.direction, sample.pdf));
    }
    let mut expected = Vec::new();
    for seen in &seen {
        let (direction, pdf) = seen.expect("no cell is so dark that a million samples miss it");
        let found = stage.run(|bindings| scalar::sky_radiance(ON, bindings, direction));
        assert_near(float(found.w), float(pdf), 1e-3);
        // The density is even in u and v, so over the cell it goes as 1 / sin θ.
        let sine = (1.0 - exact(direction).y.powi(2)).sqrt();
        let in_map = float(pdf) * sine * 2.0 * std::f64::consts::PI.powi(2);
        expected.push(in_map / f64::from(width * height) * f64::from(SAMPLES));
    }
    assert_near(expected.iter().sum(), SAMPLES.into(), 1e-4);
    assert_all_probable(&[("sky".into(), chi_square_p_value(&counts, &expected))]);
}

#[test]
fn the_filters_are_drawn_as_their_windows_say() {
    const CELLS: usize = 120;
    let normal = Normal::new(0.0, 0.5).expect("a standard deviation of a half pixel");
    // Integrals from −1.5 pixels on.
    let box_integral = |x: f64| (x + 0.5).clamp(0.0, 1.0);
    let gaussian = |x: f64| normal.cdf(x) - normal.cdf(-1.5);
    let blackman_harris = |x: f64| {
        let turn = std::f64::consts::TAU * (x + 1.5) / 3.0;
        0.35875 * turn - 0.48829 * turn.sin() + 0.14128 / 2.0 * (2.0 * turn).sin()
            - 0.01168 / 3.0 * (3.0 * turn).sin()
    };
    let windows: [(PixelFilter, &dyn Fn(f64) -> f64); 3] = [
        (PixelFilter::Box, &box_integral),
        (PixelFilter::Gaussian, &gaussian),
        (PixelFilter::BlackmanHarris, &blackman_harris),
    ];
    let p_values = windows.map(|(filter, integral)| {
        let mut stage = stage(&Scene::default());
        (stage.params.filter_kind, stage.params.filter_table) = tables::filter(filter);
        let mut random = Random(12);
        let mut counts = vec![0.0; CELLS];
        for _ in 0..SAMPLES {
            let bits = random.lane();
            let offset = float(stage.run(|bindings| scalar::filter_offset(ON, bindings, bits)));
            counts[part_of((offset + 1.5) / 3.0, CELLS)] += 1.0;
        }
        let edge = |cell: usize| integral(-1.5 + 3.0 * cell as f64 / CELLS as f64);
        let expected: Vec<f64> = (0..CELLS)
            .map(|cell| (edge(cell + 1) - edge(cell)) / (edge(CELLS) - edge(0)) * f64::from(SAMPLES))
            .collect();
        (format!("{filter:?}"), chi_square_p_value(&counts, &expected))
    });
    assert_all_probable(&p_values);
}
