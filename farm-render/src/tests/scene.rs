//! Geometry, cameras and what is asked of a renderer.

use farm_scene::Lens;

use super::*;
use crate::Rendered;
use crate::dispatch::Slicing;

#[test]
fn an_empty_scene_shows_its_sky_or_nothing() {
    let view = camera(Vec3::ZERO, Vec3::NEG_Z, perspective(60.0));
    let scene = scene_of(Vec::new(), Vec::new(), Vec3::new(0.1, 0.2, 0.3), view);
    let mut task = frame(4, 20, 3);
    // Twenty additions and a division round a little.
    let sky = [0.1, 0.2, 0.3, 1.0];
    let is_sky = |p: &[f32; 4]| p.iter().zip(sky).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6);
    assert!(render(&scene, &task).pixels.iter().all(is_sky));
    task.settings.transparent = true;
    assert!(render(&scene, &task).pixels.iter().all(|p| *p == [0.0; 4]));
}

#[test]
fn an_orthographic_camera_shows_its_half_height() {
    let view = camera(Vec3::Z * 9.0, Vec3::ZERO, Projection::Orthographic { half_height: 2.0 });
    let unlit = Material { unlit: true, ..Material::default() };
    let scene = scene_of(vec![(quad(0), Affine3A::IDENTITY)], vec![unlit], Vec3::ZERO, view);
    let mut task = frame(16, 4, 1);
    task.settings.transparent = true;
    let image = render(&scene, &task);
    for y in 0..16 {
        for x in 0..16 {
            let inside = (4..12).contains(&x) && (4..12).contains(&y);
            assert_eq!(pixel(&image, x, y)[3], f32::from(u8::from(inside)), "({x}, {y})");
        }
    }
}

/// Three spheres, one of them mirrored and squashed, and a floor.
fn spheres(copies: bool) -> Scene {
    let place = |x: f32, scale: Vec3| {
        Affine3A::from_translation(Vec3::new(x, 0.7, 0.0))
            * Affine3A::from_rotation_z(0.4)
            * Affine3A::from_scale(scale)
    };
    let transforms =
        [place(-1.5, Vec3::splat(0.7)), place(0.0, Vec3::new(-0.6, 0.7, 0.5)), place(1.5, Vec3::splat(0.5))];
    let floor = Affine3A::from_rotation_x(-PI / 2.0) * Affine3A::from_scale(Vec3::splat(4.0));
    let view = camera(Vec3::new(0.0, 2.0, 6.0), Vec3::Y * 0.5, perspective(35.0));
    let materials = vec![lambert(0.7), Material { roughness: 0.4, ..Material::default() }];
    let mut scene = scene_of(vec![(quad(0), floor)], materials, Vec3::ONE, view);
    for transform in transforms {
        if copies || scene.meshes.len() < 2 {
            scene.meshes.push(sphere(1, 10, false));
        }
        let mesh = u32::try_from(scene.meshes.len() - 1).expect("few meshes");
        scene.instances.push(Instance { mesh, transform });
    }
    scene
}

#[test]
fn instances_look_like_copies() {
    let task = frame(48, 16, 5);
    let (instanced, copied) = (render(&spheres(false), &task), render(&spheres(true), &task));
    assert_near(mean(&instanced), mean(&copied), 1e-3);
    let differ = |(a, b): &(&[f32; 4], &[f32; 4])| (a[1] - b[1]).abs() > 1e-3 * b[1];
    let different = instanced.pixels.iter().zip(&copied.pixels).filter(differ).count();
    // Both see the same random numbers; only rays at edges part ways.
    assert!(different * 50 < instanced.pixels.len(), "{different} pixels differ");
}

#[test]
fn closed_surfaces_let_no_light_through() {
    let view = camera(Vec3::new(0.2, 0.1, -0.3), Vec3::X, perspective(100.0));
    let dark = Material { double_sided: true, ..lambert(0.0) };
    let mut mesh = sphere(0, 30, true);
    // Triangles without area must do no harm either.
    mesh.triangles.extend([[0, 0, 1], [5, 5, 5]]);
    let parts = vec![(mesh, Affine3A::from_scale(Vec3::new(1.0, 0.7, 1.3)))];
    let scene = scene_of(parts, vec![dark], Vec3::splat(1e6), view);
    let image = render(&scene, &frame(128, 16, 2));
    assert!(image.pixels.iter().all(|p| p[..3] == [0.0; 3]));
}

#[test]
fn work_stops_when_asked_and_says_how_far_it_is() {
    let scene = spheres(false);
    let task = frame(32, 48, 3);
    let uploaded = renderer().load(&scene).expect("small");
    let mut last = 0;
    let image = renderer().render(&uploaded, &task, &mut |progress| {
        assert!(progress.samples > last);
        last = progress.samples;
        ControlFlow::Continue(())
    });
    assert_eq!(image.expect("rendered").samples, last);
    assert_eq!(last, task.samples());
    let stop = &mut |_| ControlFlow::Break(());
    let stopped = renderer().render_sliced(&uploaded, &task, Slicing::Fixed(500), stop);
    assert!(matches!(stopped, Ok(Rendered::Stopped(parts)) if parts.is_empty()), "in its first block");
    let done = renderer().render_sliced(&uploaded, &task, Slicing::Fixed(1 << 20), stop);
    assert!(matches!(done, Ok(Rendered::Done(_))), "there is nothing left to stop");
}

/// A wall, black to the left and white to the right of the y axis, seen from a
/// distance of 2 m at `x` by a lens of a radius of 5 cm with a narrow field of view.
fn beside_an_edge(focus_distance: f32, x: f32) -> f64 {
    let vertical_fov = 0.002_f32;
    let f_number = Lens::SENSOR_HEIGHT / 2.0 / (0.5 * vertical_fov).tan() / (2.0 * 0.05);
    let lens = Some(Lens { f_number, focus_distance });
    let projection = Projection::Perspective { vertical_fov, lens };
    let shown = camera(Vec3::new(x, 0.0, 2.0), Vec3::X * x, projection);
    let unlit = |value: f32| Material {
        unlit: true,
        base_color: Vec4::new(value, value, value, 1.0),
        ..Material::default()
    };
    let half = |x: f32| Affine3A::from_translation(Vec3::X * x);
    let parts = vec![(quad(0), half(-1.0)), (quad(1), half(1.0))];
    mean(&render(&scene_of(parts, vec![unlit(0.0), unlit(1.0)], Vec3::ZERO, shown), &frame(16, 64, 1)))
}

#[test]
fn a_lens_blurs_an_edge_by_the_disc_of_its_aperture_and_not_in_focus() {
    for (focus_distance, blur_radius) in [(1.0, 0.05), (4.0, 0.025)] {
        for radii in [-1.2_f32, -0.6, 0.0, 0.3, 0.9, 1.2] {
            let found = beside_an_edge(focus_distance, blur_radius * radii);
            // The part of a unit disc to the left of a line.
            let line = f64::from(radii).clamp(-1.0, 1.0);
            let right = line.acos() - line * (1.0 - line * line).sqrt();
            let wanted = 1.0 - right / std::f64::consts::PI;
            // 16,384 stratified samples, and a view as wide as 4 % of the radius.
            assert!((found - wanted).abs() < 0.02, "{found} for {wanted} at {radii}, {focus_distance} m");
        }
    }
    assert_eq!([beside_an_edge(2.0, 0.004), beside_an_edge(2.0, -0.004)], [1.0, 0.0]);
}
