//! Motion while the shutter is open, against closed forms and against pictures of
//! instants.

use farm_scene::{AlphaMode, Anisotropy, Motion, Shape, Track};
use glam::DVec3;

use super::*;
use crate::pack::to_f32;
use crate::random::Random;

fn unlit(value: f32) -> Material {
    Material { unlit: true, base_color: Vec4::new(value, value, value, 1.0), ..Material::default() }
}

/// An instance's transforms at the ends of the parts.
fn track(index: u32, transforms: impl IntoIterator<Item = Affine3A>) -> Track {
    Track { index, transforms: transforms.into_iter().collect() }
}

/// Half of a plane, white, whose edge is at x = 0 when the shutter opens and at
/// these places at the ends of its parts, in a view of x from -1 to 1.
fn edge_that_moves(ends: &[f32]) -> Scene {
    let half =
        |x: f32| Affine3A::from_translation(Vec3::X * (x - 4.0)) * Affine3A::from_scale(Vec3::splat(4.0));
    let view = camera(Vec3::Z * 9.0, Vec3::ZERO, Projection::Orthographic { half_height: 1.0 });
    let mut scene = scene_of(vec![(quad(0), half(0.0))], vec![unlit(1.0)], Vec3::ZERO, view);
    scene.motion.parts = u32::try_from(ends.len()).expect("few");
    scene.motion.instances = vec![track(0, ends.iter().map(|&x| half(x)))];
    scene
}

/// The mean over time of the part of a pixel of unit width behind an edge that goes
/// evenly from one place to another, from the pixel's left side.
fn coverage(from: f64, to: f64) -> f64 {
    let ramp = |x: f64| match x {
        _ if x < 0.0 => 0.0,
        _ if x < 1.0 => 0.5 * x * x,
        _ => x - 0.5,
    };
    if (to - from).abs() < 1e-9 { from.clamp(0.0, 1.0) } else { (ramp(to) - ramp(from)) / (to - from) }
}

#[test]
fn an_edge_that_moves_leaves_the_ramp_of_a_box_of_its_way() {
    let (edge, spp) = (16_u32, 512);
    for ends in [&[0.53_f32][..], &[0.0, 0.0, 0.625], &[-0.3, 0.4, 0.41, -0.8, 0.1]] {
        let image = render(&edge_that_moves(ends), &frame(edge, spp, 1));
        for x in 0..edge {
            // Pixels are an eighth wide.
            let place = |world: f32| (f64::from(world) + 1.0) * 8.0 - f64::from(x);
            let starts = std::iter::once(&0.0).chain(ends);
            let parts = starts.zip(ends).map(|(&from, &to)| coverage(place(from), place(to)));
            let wanted = parts.sum::<f64>() / ends.len() as f64;
            let column = (0..edge).map(|y| f64::from(pixel(&image, x, y)[0])).sum::<f64>() / f64::from(edge);
            // Five standard deviations of so many independent samples of 0 or 1.
            let margin = 5.0 * (0.25 / f64::from(edge * spp)).sqrt();
            assert!((column - wanted).abs() < margin, "{column} for {wanted} in column {x} of {ends:?}");
        }
    }
}

/// A floor, a brushed plate that turns, a lamp that passes by and a ball that is
/// squeezed.
fn busy_scene(parts: u8) -> Scene {
    let floor = Affine3A::from_rotation_x(-PI / 2.0) * Affine3A::from_scale(Vec3::splat(3.0));
    let lamp = |x: f32| {
        Affine3A::from_translation(Vec3::new(x, 2.0, 0.3))
            * Affine3A::from_rotation_x(PI / 2.0)
            * Affine3A::from_scale(Vec3::splat(0.4))
    };
    let plate = |turn: f32| {
        Affine3A::from_translation(Vec3::new(-0.7, 0.7, 0.0))
            * Affine3A::from_rotation_y(turn)
            * Affine3A::from_scale(Vec3::splat(0.6))
    };
    let ball = Affine3A::from_translation(Vec3::new(0.9, 0.6, 0.0)) * Affine3A::from_scale(Vec3::splat(0.6));
    let view = camera(Vec3::new(0.0, 1.6, 4.0), Vec3::Y * 0.6, perspective(40.0));
    let materials = vec![
        lambert(0.6),
        Material { emissive: Vec3::new(8.0, 6.0, 5.0), double_sided: true, ..lambert(0.0) },
        Material {
            roughness: 0.4,
            double_sided: true,
            anisotropy: Anisotropy { strength: 0.9, rotation: 0.4, texture: None },
            ..Material::default()
        },
        Material { roughness: 0.3, metallic: 0.4, ..Material::default() },
    ];
    let mut squeezed = sphere(3, 8, false);
    squeezed.motion = (1..=parts)
        .map(|part| {
            let factor = 1.0 - 0.5 * f32::from(part) / f32::from(parts);
            let position = |p: &Vec3| Vec3::new(p.x, p.y * factor, p.z);
            let normal = |n: &Vec3| Vec3::new(n.x, n.y / factor, n.z).normalize();
            Shape {
                positions: squeezed.positions.iter().map(position).collect(),
                normals: squeezed.normals.iter().map(normal).collect(),
                tangents: Vec::new(),
            }
        })
        .collect();
    let parts_of = vec![(quad(0), floor), (quad(1), lamp(-1.2)), (quad(2), plate(0.3)), (squeezed, ball)];
    let mut scene = scene_of(parts_of, materials, Vec3::splat(0.2), view);
    let share = |part: u8| f32::from(part) / f32::from(parts);
    scene.motion = Motion {
        parts: parts.into(),
        instances: vec![
            track(1, (1..=parts).map(|part| lamp(-1.2 + 2.4 * share(part)))),
            track(2, (1..=parts).map(|part| plate(0.3 + 1.8 * share(part)))),
        ],
        cameras: Vec::new(),
    };
    scene
}

/// The same at an instant, a share of the shutter's time: everything is taken to the
/// world and stands between where it is at the ends of a part.
fn frozen(scene: &Scene, time: f64) -> Scene {
    let motion = &scene.motion;
    let place = time * f64::from(motion.parts);
    let part = (0..motion.parts as usize).rev().find(|&part| part as f64 <= place).expect("0 is");
    let over = to_f32(place - part as f64);
    let mut still =
        Scene { motion: Motion::default(), meshes: Vec::new(), instances: Vec::new(), ..scene.clone() };
    for (index, instance) in scene.instances.iter().enumerate() {
        let mesh = &scene.meshes[instance.mesh as usize];
        let at = |end: usize| {
            let before = end.checked_sub(1);
            let tracked = before.and_then(|end| Some(motion.of_instance(index)?[end]));
            let shape = before.and_then(|end| mesh.motion.get(end));
            let (positions, normals) =
                shape.map_or((&mesh.positions, &mesh.normals), |shape| (&shape.positions, &shape.normals));
            (tracked.unwrap_or(instance.transform), positions, normals)
        };
        let ((first, from, from_normals), (second, to, to_normals)) = (at(part), at(part + 1));
        let pairs = from.iter().zip(to);
        let between = |(from, to): (&Vec3, &Vec3)| {
            first.transform_point3(*from).lerp(second.transform_point3(*to), over)
        };
        let normal = |(from, to): (&Vec3, &Vec3)| {
            let carried =
                |transform: &Affine3A, n: Vec3| (transform.matrix3.inverse().transpose() * n).normalize();
            carried(&first, *from).lerp(carried(&second, *to), over).normalize()
        };
        let tangent = |tangent: &Vec4| {
            let carried = |transform: &Affine3A| transform.transform_vector3(tangent.truncate()).normalize();
            carried(&first).lerp(carried(&second), over).normalize().extend(tangent.w)
        };
        let mesh = Mesh {
            positions: pairs.map(between).collect(),
            normals: from_normals.iter().zip(to_normals).map(normal).collect(),
            tangents: mesh.tangents.iter().map(tangent).collect(),
            motion: Vec::new(),
            ..mesh.clone()
        };
        still.instances.push(Instance {
            mesh: u32::try_from(still.meshes.len()).expect("few"),
            transform: Affine3A::IDENTITY,
        });
        still.meshes.push(mesh);
    }
    still
}

/// Means of blocks of 6 × 6 pixels.
fn blocks(image: &TileImage) -> Vec<f64> {
    let edge = image.rect.width;
    let mut sums = vec![0.0; (edge / 6 * (edge / 6)) as usize];
    for y in 0..edge {
        for x in 0..edge {
            sums[(y / 6 * (edge / 6) + x / 6) as usize] += f64::from(pixel(image, x, y)[1]) / 36.0;
        }
    }
    sums
}

/// Mean and variance of the mean of each block over some pictures.
fn statistics(pictures: &[Vec<f64>]) -> Vec<(f64, f64)> {
    let count = pictures.len() as f64;
    (0..pictures[0].len())
        .map(|block| {
            let mean = pictures.iter().map(|picture| picture[block]).sum::<f64>() / count;
            let squares = pictures.iter().map(|picture| (picture[block] - mean).powi(2)).sum::<f64>();
            (mean, squares / (count - 1.0) / count)
        })
        .collect()
}

#[test]
fn a_scene_that_moves_is_the_mean_of_its_instants() {
    const GROUPS: u32 = 8;
    let scene = busy_scene(4);
    let with_seed = |seed: u32, spp: u32| {
        let mut task = frame(24, spp, 4);
        task.settings.seed = seed;
        task
    };
    let moving: Vec<_> = (0..GROUPS).map(|seed| blocks(&render(&scene, &with_seed(seed, 64)))).collect();
    let random = &mut Random(5);
    // Each of 16 even parts of the time has an instant in every group.
    let instants = |group: u32| {
        let mut mean = vec![0.0; 16];
        for part in 0..16 {
            let time = (f64::from(part) + random.unit()) / 16.0;
            let image = render(&frozen(&scene, time), &with_seed(100 + group * 16 + part, 16));
            mean.iter_mut().zip(blocks(&image)).for_each(|(mean, block)| *mean += block / 16.0);
        }
        mean
    };
    let instants: Vec<_> = (0..GROUPS).map(instants).collect();
    let opening = blocks(&render(&frozen(&scene, 0.0), &with_seed(0, 64)));
    let mut largest_change = 0.0_f64;
    let pairs = statistics(&moving).into_iter().zip(statistics(&instants));
    for (block, ((a, var_a), (b, var_b))) in pairs.enumerate() {
        let error = (var_a + var_b).sqrt();
        // Student's t with about 14 degrees of freedom is beyond 6 once in 30,000.
        assert!((a - b).abs() < 6.0 * error + 1e-4, "{a} for {b} ± {error} in block {block}");
        assert!(error < 0.05 * b, "an error of {error} of {b} tells little");
        largest_change = largest_change.max((a - opening[block]).abs() / error);
    }
    assert!(largest_change > 20.0, "what moves is seen to");
}

#[test]
fn a_camera_that_moves_sees_what_one_that_is_still_sees_of_a_world_that_moves() {
    let way = Vec3::new(0.4, -0.25, 0.5);
    let parts = 4_u8;
    let steps = |way: Vec3| (1..=parts).map(move |part| way * (f32::from(part) / f32::from(parts)));
    let view = camera(Vec3::new(0.3, 0.2, 4.0), Vec3::new(0.1, 0.0, 0.0), perspective(30.0));
    let world = || {
        let turned = Affine3A::from_rotation_y(0.5);
        scene_of(
            vec![(quad(0), turned), (sphere(1, 6, false), Affine3A::from_translation(Vec3::X))],
            vec![unlit(0.3), unlit(0.8)],
            Vec3::ZERO,
            view.clone(),
        )
    };
    let (mut travels, mut passes) = (world(), world());
    let by = |way: Vec3, place: Affine3A| Affine3A::from_translation(way) * place;
    let eye = view.transform;
    travels.motion = Motion {
        parts: parts.into(),
        instances: Vec::new(),
        cameras: vec![track(1, steps(way).map(|way| by(way, eye)))],
    };
    let places: Vec<_> = passes.instances.iter().map(|instance| instance.transform).collect();
    passes.motion = Motion {
        parts: parts.into(),
        instances: (0..)
            .zip(places)
            .map(|(i, place)| track(i, steps(-way).map(|way| by(way, place))))
            .collect(),
        cameras: Vec::new(),
    };
    // Another camera comes first, and is still.
    travels.cameras.insert(0, camera(Vec3::Y * 9.0, Vec3::ZERO, perspective(20.0)));
    passes.cameras.insert(0, travels.cameras[0].clone());
    let mut task = frame(32, 32, 1);
    task.settings.camera = 1;
    let (travelled, passed) = (render(&travels, &task), render(&passes, &task));
    let differ = |(a, b): &(&[f32; 4], &[f32; 4])| (a[0] - b[0]).abs() > 1e-4;
    let different = travelled.pixels.iter().zip(&passed.pixels).filter(differ).count();
    // Both see the same random numbers; only rays at edges part ways.
    assert!(different * 100 < travelled.pixels.len(), "{different} pixels differ");
    let still = render(&world(), &frame(32, 32, 1));
    assert!(still.pixels.iter().zip(&passed.pixels).filter(differ).count() * 10 > still.pixels.len());
}

/// What is the same all around is seen as large as by a camera that is still: a band
/// by one that turns about the vertical, and a ball by one that rolls.
#[test]
fn a_camera_that_turns_keeps_its_field_of_view() {
    // A band around the camera, up to 20° above and below the horizon.
    let mut band = Mesh::default();
    let columns = 256_u16;
    for column in 0..columns {
        let angle = 2.0 * PI * f32::from(column) / f32::from(columns);
        for y in [-20_f32, 20.0] {
            band.positions.push(Vec3::new(angle.sin(), y.to_radians().tan(), angle.cos()));
        }
        let (a, b) = (2 * u32::from(column), 2 * u32::from((column + 1) % columns));
        band.triangles.extend([[a, b + 1, b], [a, a + 1, b + 1]]);
    }
    let ball = (sphere(0, 48, false), Affine3A::from_translation(Vec3::NEG_Z * 3.0));
    let parts = 8_u8;
    for (seen, axis) in [((band, Affine3A::IDENTITY), Vec3::Y), (ball, Vec3::Z)] {
        let turn = |angle: f32| Affine3A::from_axis_angle(axis, angle);
        let view = camera(Vec3::ZERO, Vec3::NEG_Z, perspective(60.0));
        let material = Material { double_sided: true, ..unlit(1.0) };
        let mut scene = scene_of(vec![seen], vec![material], Vec3::ZERO, view);
        let task = frame(32, 256, 1);
        let still = mean(&render(&scene, &task));
        scene.motion.parts = parts.into();
        scene.motion.cameras = vec![track(0, (1..=parts).map(|part| turn(0.25 * f32::from(part))))];
        // Without unit axes the view of a part of 0.25 radians were wider or narrower
        // by up to 0.8 %, and by two thirds of that in the mean. 262,144 stratified
        // samples.
        assert_near(mean(&render(&scene, &task)), still, 2e-3);
    }
}

#[test]
fn deforming_a_mesh_as_its_transform_would_gives_the_same_bits() {
    let mut carried = busy_scene(2);
    carried.meshes[3].motion.clear();
    // Powers of two, which are added exactly.
    let steps = [Vec3::new(0.5, 0.25, 0.0), Vec3::new(0.75, -0.25, 0.5)];
    carried.instances[3].transform = Affine3A::IDENTITY;
    carried.motion.instances.push(track(3, steps.map(Affine3A::from_translation)));
    let mut deformed = carried.clone();
    deformed.motion.instances.pop();
    let mesh = &mut deformed.meshes[3];
    mesh.motion = steps
        .map(|step| Shape {
            positions: mesh.positions.iter().map(|&p| p + step).collect(),
            normals: mesh.normals.clone(),
            tangents: Vec::new(),
        })
        .to_vec();
    let task = frame(24, 16, 4);
    assert!(bits(&render(&carried, &task)) == bits(&render(&deformed, &task)));
}

#[test]
fn what_is_still_has_the_same_bits_with_the_shutter_open() {
    let mut scene = frozen(&busy_scene(4), 0.3);
    let task = frame(24, 16, 4);
    let still = bits(&render(&scene, &task));
    scene.motion.parts = 5;
    assert!(bits(&render(&scene, &task)) == still);
    // Nor does it matter that something moves where nobody sees it.
    let behind = Affine3A::from_translation(Vec3::Z * 50.0);
    scene.meshes.push(quad(0));
    scene.instances.push(Instance { mesh: 4, transform: behind });
    scene.environment = Environment::Constant(Vec3::ZERO);
    let dark = bits(&render(&scene, &task));
    scene.motion.instances = vec![track(4, vec![behind * Affine3A::from_rotation_x(0.1); 5])];
    assert!(bits(&render(&scene, &task)) == dark);
}

/// Irradiance that a polygon of radiance 1 gives a point below with a normal
/// (Lambert 1760), the polygon being above the horizon.
fn polygon_irradiance(corners: &[DVec3], point: DVec3, normal: DVec3) -> f64 {
    let directions: Vec<_> = corners.iter().map(|corner| (*corner - point).normalize()).collect();
    let sum: f64 = (0..directions.len())
        .map(|i| {
            let (a, b) = (directions[i], directions[(i + 1) % directions.len()]);
            a.dot(b).clamp(-1.0, 1.0).acos() * a.cross(b).normalize().dot(normal)
        })
        .sum();
    (0.5 * sum).abs()
}

#[test]
fn a_lamp_that_moves_lights_a_floor_as_its_instants_do_however_it_is_found() {
    let lamp = |share: f32| {
        Affine3A::from_translation(Vec3::new(-1.5 + 3.0 * share, 1.0 + 0.5 * share, 0.2))
            * Affine3A::from_rotation_z(0.9 * share - 0.3)
            * Affine3A::from_rotation_x(PI / 2.0)
            * Affine3A::from_scale(Vec3::splat(0.3 + 0.3 * share))
    };
    let ends = [lamp(0.5), lamp(1.0)];
    let with = |alpha| {
        let floor = Affine3A::from_rotation_x(-PI / 2.0) * Affine3A::from_scale(Vec3::splat(50.0));
        let view = camera(Vec3::Y * 0.25, Vec3::ZERO, Projection::Orthographic { half_height: 1e-3 });
        let emitter = Material { emissive: Vec3::splat(3.0), alpha, ..lambert(0.0) };
        let parts = vec![(quad(0), floor), (quad(1), lamp(0.0))];
        let mut scene = scene_of(parts, vec![lambert(0.5), emitter], Vec3::ZERO, view);
        scene.motion.parts = 2;
        scene.motion.instances = vec![track(1, ends)];
        mean(&render(&scene, &frame(16, 256, 2))) * std::f64::consts::PI / 0.5
    };
    let steps = 2000;
    let wanted: f64 = (0..steps)
        .map(|step| {
            let place = 2.0 * (f64::from(step) + 0.5) / f64::from(steps);
            let ([from, to], over) =
                if place < 1.0 { ([lamp(0.0), ends[0]], place) } else { ([ends[0], ends[1]], place - 1.0) };
            let corners: Vec<_> = quad(0)
                .positions
                .iter()
                .map(|&p| from.transform_point3(p).as_dvec3().lerp(to.transform_point3(p).as_dvec3(), over))
                .collect();
            // The two triangles need not lie in one plane.
            let half = |places: [usize; 3]| {
                polygon_irradiance(&places.map(|place| corners[place]), DVec3::ZERO, DVec3::Y)
            };
            3.0 * (half([0, 1, 2]) + half([0, 2, 3])) / f64::from(steps)
        })
        .sum();
    // 65,536 samples; by chance alone one in ten of them finds it.
    assert_near(with(AlphaMode::Opaque), wanted, 0.006);
    // What alpha may make holes in is not chosen as a light, so only paths that hit
    // it by chance find it.
    assert_near(with(AlphaMode::Blend), wanted, 0.02);
}

#[test]
fn more_that_moves_than_can_be_stored_is_refused() {
    let mut scene = busy_scene(16);
    let mesh = scene.instances[2].mesh;
    let triangles = scene.meshes[mesh as usize].triangles.clone();
    scene.meshes[mesh as usize].triangles = triangles.into_iter().cycle().take(1 << 17).collect();
    for index in 4..40 {
        scene.instances.push(Instance { mesh, transform: Affine3A::IDENTITY });
        scene.motion.instances.push(track(index, vec![Affine3A::from_translation(Vec3::X); 16]));
    }
    let refused = renderer().prepare(&scene);
    assert!(matches!(refused, Err(crate::RenderError::OutOfMemory { .. })), "{:?}", refused.map(|_| ()));
}
