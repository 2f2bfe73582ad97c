//! Every level against the kernel's functions written plainly, over all
//! triangles and without a tree.

mod world;

use glam::{DAffine3, DMat3, DVec3, Vec3};
use shaders::native::{HitBatch, RayBatch, Tracer};

use super::*;
use crate::random::Random;
use world::{World, word};

/// Small triangles here and there.
fn soup(random: &mut Random, count: usize, size: f32) -> Vec<[Vec3; 3]> {
    (0..count)
        .map(|_| {
            let centre = random.point();
            [0; 3].map(|_| centre + random.point() * size)
        })
        .collect()
}

/// A sphere of radius 1 whose triangles are seen from inside at their backs.
fn sphere(columns: u16, rows: u16) -> Vec<[Vec3; 3]> {
    let at = |column: u16, row: u16| {
        let turn = f32::from(column % columns) / f32::from(columns) * std::f32::consts::TAU;
        let tilt = f32::from(row) / f32::from(rows) * std::f32::consts::PI;
        match row {
            0 => Vec3::Y,
            _ if row == rows => Vec3::NEG_Y,
            _ => Vec3::new(tilt.sin() * turn.cos(), tilt.cos(), tilt.sin() * turn.sin()),
        }
    };
    let mut triangles = Vec::new();
    for row in 0..rows {
        for column in 0..columns {
            let (a, b) = (at(column, row), at(column + 1, row));
            let (c, d) = (at(column, row + 1), at(column + 1, row + 1));
            triangles.extend([[a, b, c], [b, d, c]]);
        }
    }
    triangles.retain(|[a, b, c]| a != b && b != c && c != a);
    triangles
}

fn ray(origin: Vec3, direction: Vec3) -> Ray {
    Ray {
        origin: origin.to_array(),
        direction: direction.to_array(),
        t_min: 0.0,
        t_max: 3.0e38,
        after_instance: NONE,
        after_triangle: NONE,
        time: 0,
    }
}

/// Rays from near and far, at nothing, at corners and at edges.
fn rays(random: &mut Random, targets: &[[Vec3; 3]], count: usize) -> Vec<Ray> {
    (0..count)
        .map(|i| {
            let triangle = targets[random.below(targets.len())];
            let origin = match i % 5 {
                0 => triangle[random.below(3)] * 1.0,
                1 => random.point() * 50.0,
                _ => random.point() * 1.5,
            };
            let other = targets[random.below(targets.len())];
            let direction = match i % 4 {
                0 => random.point(),
                1 => other[0] - origin,
                2 => (other[0] + other[1]) * 0.5 - origin,
                _ => other[0] * 0.25 + other[1] * 0.25 + other[2] * 0.5 - origin,
            };
            ray(origin, direction)
        })
        .filter(|ray| ray.direction != [0.0; 3])
        .collect()
}

fn bits(hit: &Hit) -> ([u32; 5], bool, bool) {
    ([hit.t.to_bits(), hit.instance, hit.triangle, hit.b.to_bits(), hit.c.to_bits()], hit.front, hit.opaque)
}

/// Every level must find what the kernel's functions find, bit for bit; returns
/// how many rays hit something.
fn check(world: &World, rays: &[Ray]) -> usize {
    let tree = world.tree();
    let mut count = 0;
    check_batches(world, &tree, rays);
    for ray in rays {
        let expected = world.closest(ray);
        count += usize::from(expected.instance != NONE);
        for kind in Kind::detected() {
            let traversal = Traversal { kind, ..world.traversal(&tree) };
            let found = traversal.closest(ray, false);
            assert_eq!(bits(&found), bits(&expected), "{kind:?} {ray:?} {found:?} {expected:?}");
            check_any(world, &traversal, ray, &expected);
        }
    }
    count
}

/// Traces rays together. They lie in every other slot, those for which any opaque
/// hit will do behind all others, and are wanted last first. `alike` tells which of
/// the others are said to be alike.
fn trace(
    traversal: &Traversal<'_>,
    rays: &[Ray],
    any_opaque: impl Fn(usize) -> bool,
    alike: impl Fn(usize) -> bool,
) -> Vec<Hit> {
    let slots = 4 * rays.len();
    let (mut batch, mut hits) = (RayBatch::with_slots(slots), HitBatch::with_slots(slots));
    batch.any_opaque_from = u32::try_from(2 * rays.len()).expect("thousands");
    let slot_of = |index: usize| 2 * index + usize::from(any_opaque(index)) * 2 * rays.len();
    for (index, ray) in rays.iter().enumerate().rev() {
        let slot = slot_of(index);
        for axis in 0..3 {
            batch.origin[axis][slot] = ray.origin[axis];
            batch.direction[axis][slot] = ray.direction[axis];
        }
        (batch.t_min[slot], batch.t_max[slot]) = (ray.t_min, ray.t_max);
        (batch.after_instance[slot], batch.after_triangle[slot]) = (ray.after_instance, ray.after_triangle);
        batch.time[slot] = ray.time;
        let list = if alike(index) && !any_opaque(index) { &mut batch.alike } else { &mut batch.wanted };
        list.push(u32::try_from(slot).expect("thousands"));
    }
    traversal.trace(&batch, &mut hits);
    let found = |slot: usize| Hit {
        t: hits.t[slot],
        instance: hits.instance[slot],
        triangle: hits.triangle[slot],
        b: hits.b[slot],
        c: hits.c[slot],
        front: hits.flags[slot] & HitBatch::FRONT != 0,
        opaque: hits.flags[slot] & HitBatch::OPAQUE != 0,
    };
    (0..rays.len()).map(|index| found(slot_of(index))).collect()
}

/// Batches of all sizes must find what single rays find, and with `any_opaque`
/// an opaque hit for the same ones.
fn check_batches(world: &World, tree: &WideTree, rays: &[Ray]) {
    for kind in Kind::detected() {
        let traversal = Traversal { kind, ..world.traversal(tree) };
        for (rays, start) in [(rays, 0), (rays, 1), (&rays[..rays.len().min(5)], 0), (&rays[..0], 0)] {
            let any_opaque = |index: usize| index % 3 == start;
            let hits = trace(&traversal, rays, any_opaque, |index| index % 5 < 2);
            for (index, ray) in rays.iter().enumerate() {
                let (found, closest) = (hits[index], traversal.closest(ray, false));
                if any_opaque(index) && found.instance != NONE && found.opaque {
                    let mut opaque = world.all_hits(ray).into_iter().filter(|hit| hit.opaque);
                    assert!(opaque.any(|hit| bits(&hit) == bits(&found)), "{kind:?} {ray:?} {found:?}");
                } else {
                    assert_eq!(bits(&found), bits(&closest), "{kind:?} {ray:?}");
                }
            }
        }
    }
}

/// With `any_opaque`, an opaque hit is any of them, and another hit is returned
/// only where it is the closest.
fn check_any(world: &World, traversal: &Traversal<'_>, ray: &Ray, closest: &Hit) {
    let found = traversal.closest(ray, true);
    if found.instance != NONE && found.opaque {
        let mut opaque = world.all_hits(ray).into_iter().filter(|hit| hit.opaque);
        assert!(opaque.any(|hit| bits(&hit) == bits(&found)), "{ray:?} {found:?}");
    } else {
        assert_eq!(bits(&found), bits(closest), "{ray:?}");
    }
}

fn mixed_flags(index: usize) -> u32 {
    word(index % 4)
}

fn turned(scale: DVec3, place: DVec3, turn: f64) -> DAffine3 {
    let turn = DMat3::from_rotation_y(turn) * DMat3::from_rotation_x(0.7 * turn);
    DAffine3 { matrix3: turn * DMat3::from_diagonal(scale), translation: place }
}

#[test]
fn rays_hit_what_they_hit_without_a_tree() {
    for (seed, size) in [(1, 0.02), (2, 0.2), (3, 1.0)] {
        let random = &mut Random(seed);
        let triangles = soup(random, 400, size);
        let world = World::default().with_triangles(&triangles, mixed_flags).packed();
        let hits = check(&world, &rays(random, &triangles, 3000));
        assert!(hits > 300, "{hits} hits are no test");
    }
}

#[test]
fn a_single_triangle_is_found() {
    let random = &mut Random(4);
    let triangles = soup(random, 1, 1.0);
    let world = World::default().with_triangles(&triangles, |_| 2).packed();
    check(&world, &rays(random, &triangles, 300));
}

#[test]
fn an_empty_world_is_missed() {
    let world = World { root: NONE, ..World::default() };
    let found = Traversal::new(&world.tree(), &[], &[], 0).closest(&ray(Vec3::ZERO, Vec3::X), false);
    assert_eq!((found.instance, found.t), (NONE, 3.0e38));
}

#[test]
fn of_coinciding_triangles_the_first_is_hit() {
    let random = &mut Random(5);
    let mut triangles = soup(random, 60, 0.4);
    triangles.extend_from_within(..);
    triangles.extend_from_within(..60);
    let world = World::default()
        .with_triangles(&triangles[..70], mixed_flags)
        .with_triangles(&triangles[70..], mixed_flags)
        .packed();
    check(&world, &rays(random, &triangles, 2000));
}

#[test]
fn triangles_without_area_are_missed() {
    let random = &mut Random(6);
    let mut triangles = soup(random, 100, 0.3);
    for (index, triangle) in triangles.iter_mut().enumerate() {
        match index % 4 {
            0 => triangle[2] = triangle[1],
            1 => *triangle = [triangle[0]; 3],
            2 => triangle[2] = (triangle[0] + triangle[1]) * 0.5,
            _ => {}
        }
    }
    let world = World::default().with_triangles(&triangles, mixed_flags).packed();
    check(&world, &rays(random, &triangles, 2000));
}

#[test]
fn rays_along_the_axes_agree_on_a_grid() {
    let random = &mut Random(7);
    let on_grid = |p: Vec3| (p * 4.0).round() * 0.25;
    let triangles: Vec<_> = soup(random, 300, 0.5).into_iter().map(|t| t.map(on_grid)).collect();
    let world = World::default().with_triangles(&triangles, mixed_flags).packed();
    let rays: Vec<_> = (0..2000)
        .map(|i| {
            let mut direction = Vec3::splat(if i & 1 == 0 { 0.0 } else { -0.0 });
            direction[i % 3] = if i & 2 == 0 { 1.0 } else { -2.0 };
            if i % 5 == 0 {
                direction[(i + 1) % 3] = random.signed();
            }
            ray(on_grid(random.point() * 1.5), direction)
        })
        .collect();
    check(&world, &rays);
}

#[test]
fn a_closed_mesh_is_not_missed_from_inside() {
    let random = &mut Random(8);
    let triangles = sphere(24, 16);
    let map = turned(DVec3::new(3.0, 0.2, -1.0), DVec3::new(0.3, -0.2, 0.1), 1.0);
    let worlds = [
        World::default().with_triangles(&triangles, |_| 2).packed(),
        World::default().with_instances(&triangles, |_| 2, &[map]).packed(),
    ];
    for (world, map) in worlds.iter().zip([DAffine3::IDENTITY, map]) {
        let rays: Vec<_> = (0..4000)
            .map(|i| {
                let triangle = triangles[random.below(triangles.len())];
                let target = match i % 3 {
                    0 => triangle[i % 2],
                    1 => (triangle[0] + triangle[1]) * 0.5,
                    _ => random.point(),
                };
                let origin = random.point() * 0.5;
                let [origin, target] = [origin, target].map(|p| map.transform_point3(p.as_dvec3()).as_vec3());
                ray(origin, target - origin)
            })
            .filter(|ray| ray.direction != [0.0; 3])
            .collect();
        assert_eq!(check(world, &rays), rays.len());
    }
}

/// Bundles of at most 16 rays that begin and point much alike.
fn bundles(random: &mut Random, targets: &[[Vec3; 3]], count: usize) -> Vec<Vec<Ray>> {
    (0..count)
        .map(|i| {
            // From far away, boxes must be grown by what is lost of the origin.
            let origin = random.point() * [1.5, 20.0, 1.5, 5.0e3][i % 4];
            let towards = targets[random.below(targets.len())][i % 3] - origin;
            let spread = [0.05, 1.0e-3, 0.3, 0.0][i % 4];
            let lens = if i % 5 == 0 { 0.01 } else { 0.0 };
            let mut bundle: Vec<Ray> = (0..=i % 16)
                .map(|_| {
                    let aside = random.point() * towards.length() * spread;
                    ray(origin + random.point() * lens, (towards + aside).normalize())
                })
                .collect();
            if i % 7 == 0 {
                bundle.iter_mut().step_by(3).for_each(|ray| ray.t_min = 0.4);
            }
            if i % 11 == 0 {
                bundle.iter_mut().step_by(2).for_each(|ray| ray.t_max = 1.2);
            }
            bundle
        })
        .collect()
}

#[test]
fn rays_that_are_alike_hit_together_what_each_hits_alone() {
    let random = &mut Random(21);
    let triangles = soup(random, 500, 0.15);
    let ball = sphere(20, 14);
    let maps = [
        DAffine3::IDENTITY,
        turned(DVec3::new(1.0, -2.0, 0.5), DVec3::splat(0.2), 0.4),
        DAffine3::from_scale(DVec3::new(1.0, 1.0e-4, 1.0)),
    ];
    let worlds = [
        World::default().with_triangles(&triangles, mixed_flags).packed(),
        World::default().with_triangles(&ball, |_| 2).packed(),
        World::default()
            .with_instances(&ball, mixed_flags, &maps)
            .with_triangles(&triangles[..100], mixed_flags)
            .packed(),
    ];
    for world in &worlds {
        let tree = world.tree();
        let mut count = 0;
        for bundle in bundles(random, &triangles, 3000) {
            for kind in Kind::detected() {
                let traversal = Traversal { kind, ..world.traversal(&tree) };
                let hits = trace(&traversal, &bundle, |_| false, |_| true);
                for (ray, found) in bundle.iter().zip(hits) {
                    let alone = world.closest(ray);
                    assert_eq!(bits(&found), bits(&alone), "{kind:?} {ray:?} {found:?} {alone:?}");
                    count += usize::from(found.instance != NONE);
                }
            }
        }
        assert!(count > 3000, "{count} hits are no test");
    }
}

#[test]
fn a_ray_goes_on_behind_each_of_its_hits() {
    let random = &mut Random(9);
    let mut triangles = soup(random, 60, 0.8);
    triangles.extend_from_within(..20);
    let maps = [DAffine3::IDENTITY, turned(DVec3::new(1.0, -2.0, 0.5), DVec3::splat(0.2), 0.4)];
    let world = World::default()
        .with_instances(&triangles, mixed_flags, &maps)
        .with_triangles(&triangles, mixed_flags)
        .packed();
    let tree = world.tree();
    for ray in rays(random, &triangles, 200) {
        let expected = world.all_hits(&ray).len();
        for kind in Kind::detected() {
            let traversal = Traversal { kind, ..world.traversal(&tree) };
            let (mut next, mut count) = (ray, 0);
            while count <= expected {
                let hit = traversal.closest(&next, false);
                assert_eq!(bits(&hit), bits(&world.closest(&next)), "{kind:?} {next:?}");
                if hit.instance == NONE {
                    break;
                }
                count += 1;
                (next.t_min, next.after_instance, next.after_triangle) = (hit.t, hit.instance, hit.triangle);
            }
            assert_eq!(count, expected, "{kind:?} {ray:?}");
        }
    }
}

#[test]
fn instances_are_hit_through_scales_mirrors_and_shears() {
    let random = &mut Random(10);
    let mesh = soup(random, 60, 0.4);
    let mut maps: Vec<_> = (0..12)
        .map(|i| {
            let scale = random.point().as_dvec3() * 0.5 + DVec3::new(0.6, -0.6, 0.6);
            turned(scale, random.point().as_dvec3(), f64::from(i))
        })
        .collect();
    maps[1].matrix3.x_axis.y += 0.8;
    maps[2] = DAffine3::from_scale(DVec3::new(1.0, 1.0e-4, 1.0));
    maps[3] = DAffine3::from_scale(DVec3::splat(1.0e-3));
    let world = World::default()
        .with_instances(&mesh, mixed_flags, &maps[..6])
        .with_instances(&mesh[..9], mixed_flags, &maps[6..])
        .with_triangles(&soup(random, 40, 0.3), mixed_flags)
        .packed();
    let hits = check(&world, &rays(random, &mesh, 3000));
    assert!(hits > 300, "{hits} hits are no test");
}

#[test]
fn small_triangles_far_away_are_hit() {
    let random = &mut Random(11);
    let near = soup(random, 200, 0.2);
    for offset in [Vec3::new(3000.0, -500.0, 10.0), Vec3::new(0.0, 1.0e6, 0.0)] {
        let triangles: Vec<_> = near.iter().map(|t| t.map(|p| p + offset)).collect();
        let world = World::default().with_triangles(&triangles, mixed_flags).packed();
        let mut rays = rays(random, &near, 1500);
        for (i, ray) in rays.iter_mut().enumerate() {
            let target = Vec3::from(ray.origin) + Vec3::from(ray.direction) + offset;
            let origin = if i % 2 == 0 { Vec3::from(ray.origin) } else { Vec3::from(ray.origin) + offset };
            (ray.origin, ray.direction) = (origin.to_array(), (target - origin).to_array());
        }
        check(&world, &rays);
    }
}

#[test]
fn hits_lie_between_the_ends_of_a_ray() {
    let random = &mut Random(12);
    let triangles = soup(random, 200, 0.5);
    let world = World::default().with_triangles(&triangles, mixed_flags).packed();
    let mut rays = rays(random, &triangles, 1500);
    for (i, ray) in rays.iter_mut().enumerate() {
        let (a, b) = (random.signed(), random.signed());
        (ray.t_min, ray.t_max) = match i % 4 {
            0 => (a, b),
            1 => (-0.0, b.abs()),
            2 => (a.abs(), a.abs() + b.abs()),
            _ => {
                (ray.after_instance, ray.after_triangle) = (0, 0);
                (0.0, -0.0)
            }
        };
    }
    check(&world, &rays);
}

#[test]
fn rays_that_are_not_numbers_return() {
    let random = &mut Random(13);
    let triangles = soup(random, 50, 0.5);
    let world = World::default().with_triangles(&triangles, |_| 2).packed();
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, 3.0e38, 1.0e-38];
    let rays: Vec<_> = (0..400)
        .map(|_| {
            let mut ray = ray(random.point(), random.point());
            ray.origin[random.below(3)] = odd[random.below(6)];
            ray.direction[random.below(3)] = odd[random.below(6)];
            ray.direction[random.below(3)] = odd[random.below(6)];
            ray
        })
        .collect();
    let tree = world.tree();
    for kind in Kind::detected() {
        let traversal = Traversal { kind, ..world.traversal(&tree) };
        for ray in &rays {
            let found = traversal.closest(ray, false);
            assert!(found.instance == NONE || found.t < ray.t_max, "{ray:?}");
        }
        trace(&traversal, &rays, |_| false, |_| false);
        trace(&traversal, &rays, |_| false, |_| true);
    }
}

/// Triangles that move at random from shape to shape, some corners not at all.
fn shapes(random: &mut Random, triangles: &[[Vec3; 3]], parts: usize) -> Vec<Vec<[Vec3; 3]>> {
    let mut shapes = vec![triangles.to_vec()];
    for part in 0..parts {
        let mut move_one = |triangle: &[Vec3; 3]| {
            let shift = random.point() * 0.4;
            triangle.map(
                |corner| if random.below(4) == 0 { corner } else { corner + shift + random.point() * 0.1 },
            )
        };
        let next = shapes[part].iter().map(&mut move_one).collect();
        shapes.push(next);
    }
    shapes
}

#[test]
fn triangles_that_move_are_hit_where_they_are_at_the_time_of_the_ray() {
    let map = turned(DVec3::new(1.0, 0.5, 0.7), DVec3::splat(0.3), 0.9);
    for (seed, parts) in [(20, 1), (21, 3), (22, 16)] {
        let random = &mut Random(seed);
        let moving = soup(random, 150, 0.3);
        let still = soup(random, 60, 0.3);
        let shapes = shapes(random, &moving, parts);
        let world = World::default()
            .with_instances(&soup(random, 40, 0.4), mixed_flags, &[map])
            .with_triangles(&still, mixed_flags)
            .with_moving_triangles(&shapes, mixed_flags)
            .packed();
        let mut rays = Vec::new();
        for (i, target) in shapes.iter().enumerate() {
            let mut toward = self::rays(random, target, 2400 / shapes.len());
            // The ends of the shutter's time, those of this part, and times between.
            let end = u32::try_from((u64::MAX >> 32) * i as u64 / parts as u64).expect("within the time");
            let times = [0, u32::MAX, end, end.saturating_add(1), end.saturating_sub(1), random.word()];
            for (j, ray) in toward.iter_mut().enumerate() {
                ray.time = if j % 2 == 0 { random.word() } else { times[j / 2 % times.len()] };
            }
            rays.extend(toward);
        }
        let hits = check(&world, &rays);
        assert!(hits > 300, "{hits} hits are no test");
        let moved = rays.iter().filter(|ray| world.closest(ray) != world.closest(&Ray { time: 0, ..**ray }));
        assert!(moved.count() > 300, "the time plays a part");
    }
}

#[test]
fn edges_between_triangles_that_move_together_let_no_ray_through() {
    let random = &mut Random(23);
    // A sphere that is squeezed, turned and carried off, corner by corner.
    let at = |part: u16| {
        let turn =
            turned(DVec3::new(1.0, 1.0 - 0.2 * f64::from(part), 1.0), DVec3::ZERO, 0.5 * f64::from(part));
        let moved = |p: Vec3| turn.transform_point3(p.as_dvec3()).as_vec3() + Vec3::X * 0.1 * f32::from(part);
        sphere(24, 12).into_iter().map(|triangle| triangle.map(moved)).collect::<Vec<_>>()
    };
    let shapes: Vec<_> = (0..4).map(at).collect();
    let world = World::default().with_moving_triangles(&shapes, |_| 2).packed();
    let rays: Vec<_> = (0..4000)
        .map(|i| {
            let triangle = shapes[i % 4][random.below(shapes[0].len())];
            let target = [triangle[i % 3], (triangle[0] + triangle[1]) * 0.5, random.point()][i % 3];
            let origin = random.point() * 0.2 + Vec3::X * 0.15;
            Ray { time: random.word(), ..ray(origin, target - origin) }
        })
        .collect();
    assert_eq!(check(&world, &rays), rays.len());
}
