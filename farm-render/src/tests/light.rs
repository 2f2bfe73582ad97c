//! Lights, against what can be computed by hand.

use farm_scene::{AlphaMode, EnvironmentMap, Light, LightKind};

use super::*;

/// A Lambertian floor of albedo 1/2, seen from above in one point.
fn floor_spot(sky: Vec3) -> Scene {
    let floor = Affine3A::from_rotation_x(-PI / 2.0) * Affine3A::from_scale(Vec3::splat(50.0));
    let view = camera(Vec3::Y, Vec3::ZERO, Projection::Orthographic { half_height: 1e-3 });
    scene_of(vec![(quad(0), floor)], vec![lambert(0.5)], sky, view)
}

/// Irradiance of the floor in its middle, from its radiance.
fn irradiance(scene: &Scene, task: &RenderTask) -> f64 {
    mean(&render(scene, task)) * std::f64::consts::PI / 0.5
}

fn lit_by(kind: LightKind) -> f64 {
    let mut scene = floor_spot(Vec3::ZERO);
    scene.lights.push(Light { intensity: Vec3::splat(7.0), kind });
    irradiance(&scene, &frame(4, 4, 2))
}

#[test]
fn punctual_lights_follow_the_inverse_square_and_the_cosine() {
    let position = Vec3::new(1.5, 2.0, 0.0);
    let point = |range| lit_by(LightKind::Point { position, range, radius: 0.0 });
    assert_near(point(f32::INFINITY), 7.0 * (2.0 / 2.5) / 6.25, 1e-4);
    // The extension's window at a distance of 2.5 and a range of 5.
    assert_near(point(5.0), 7.0 * (2.0 / 2.5) / 6.25 * (1.0 - 0.5_f64.powi(4)), 1e-4);

    let spot = |outer_cone_angle: f32| LightKind::Spot {
        position: Vec3::Y * 2.0,
        direction: Vec3::new(0.5, -0.75_f32.sqrt(), 0.0),
        range: f32::INFINITY,
        inner_cone_angle: outer_cone_angle * 0.9,
        outer_cone_angle,
        radius: 0.0,
    };
    // The spot's axis leaves the vertical by 30°.
    assert_near(lit_by(spot(40_f32.to_radians())), 7.0 / 4.0, 1e-4);
    assert!(lit_by(spot(25_f32.to_radians())) == 0.0);

    let direction = Vec3::new(0.6, -0.8, 0.0);
    assert_near(lit_by(LightKind::Directional { direction }), 7.0 * 0.8, 1e-4);
}

#[test]
fn rectangle_lights_the_floor_by_its_form_factor_however_it_is_found() {
    // Half a turn about x and a height of 1: it faces down.
    let lamp = Affine3A::from_translation(Vec3::Y) * Affine3A::from_rotation_x(PI / 2.0);
    let emitter = |alpha| Material { emissive: Vec3::splat(3.0), alpha, ..lambert(0.0) };
    let with = |alpha| {
        let mut scene = floor_spot(Vec3::ZERO);
        scene.cameras[0].transform.translation.y = 0.5;
        scene.meshes.push(quad(1));
        scene.instances.push(Instance { mesh: 1, transform: lamp });
        scene.materials.push(emitter(alpha));
        irradiance(&scene, &frame(16, 64, 2))
    };
    // Four quarters of edge 1 at a distance of 1 (Howell's catalogue, B-3).
    let quarter = 2.0 / 2_f64.sqrt() * (1.0 / 2_f64.sqrt()).atan() / (2.0 * std::f64::consts::PI);
    let wanted = std::f64::consts::PI * 3.0 * 4.0 * quarter;
    assert_near(with(AlphaMode::Opaque), wanted, 0.005);
    // What alpha may make holes in is not chosen as a light, so only paths that
    // hit it by chance find it.
    assert_near(with(AlphaMode::Blend), wanted, 0.015);
}

#[test]
fn glossy_reflection_of_a_lamp_is_the_same_however_it_is_found() {
    let lamp = Affine3A::from_translation(Vec3::new(0.0, 1.0, -1.5));
    let mean_with = |alpha| {
        let floor = Affine3A::from_rotation_x(-PI / 2.0) * Affine3A::from_scale(Vec3::splat(3.0));
        let materials = vec![
            Material { roughness: 0.35, base_color: Vec4::new(0.9, 0.7, 0.5, 1.0), ..Material::default() },
            Material { emissive: Vec3::splat(3.0), alpha, ..lambert(0.0) },
        ];
        let view = camera(Vec3::new(0.0, 1.5, 3.0), Vec3::ZERO, perspective(25.0));
        let parts = vec![(quad(0), floor), (quad(1), lamp)];
        mean(&render(&scene_of(parts, materials, Vec3::ZERO, view), &frame(24, 64, 3)))
    };
    assert_near(mean_with(AlphaMode::Opaque), mean_with(AlphaMode::Blend), 0.01);
}

#[test]
fn closed_sphere_of_albedo_and_emission_one_half_has_radiance_one() {
    let material = Material { emissive: Vec3::splat(0.5), ..lambert(0.5) };
    let parts = vec![(sphere(0, 12, true), Affine3A::IDENTITY)];
    let view = camera(Vec3::new(0.1, 0.0, 0.2), Vec3::ZERO, perspective(90.0));
    let scene = scene_of(parts, vec![material], Vec3::ZERO, view);
    assert_near(mean(&render(&scene, &frame(32, 64, 64))), 1.0, 0.002);
}

/// A map whose red marks −Z, green +X and blue the zenith.
fn marked_map(rotation: f32) -> EnvironmentMap {
    let (width, height) = (64_u32, 32_u32);
    let near = |x: u32, centre: u32| f32::from(u8::from(x.abs_diff(centre) < 6));
    let radiance = (0..width * height)
        .map(|i| {
            let (x, y) = (i % width, i / width);
            Vec3::new(near(x, 32), near(x, 48), f32::from(u8::from(y < 4)))
        })
        .collect();
    EnvironmentMap { width, height, radiance, strength: 2.0, rotation }
}

#[test]
fn environment_map_lies_as_documented() {
    let seen = |towards: Vec3, rotation| {
        let view = camera(Vec3::ZERO, towards, perspective(5.0));
        let mut scene = scene_of(Vec::new(), Vec::new(), Vec3::ZERO, view);
        scene.environment = Environment::Map(marked_map(rotation));
        mean_color(&render(&scene, &frame(4, 4, 1)))
    };
    assert_eq!(seen(Vec3::NEG_Z, 0.0), [2.0, 0.0, 0.0]);
    assert_eq!(seen(Vec3::X, 0.0), [0.0, 2.0, 0.0]);
    assert_eq!(seen(Vec3::Z, 0.0), [0.0, 0.0, 0.0]);
    assert_eq!(seen(Vec3::Y, 0.0)[2], 2.0);
    // A quarter counter-clockwise, seen from above, takes +X to −Z.
    assert_eq!(seen(Vec3::NEG_Z, PI / 2.0), [0.0, 2.0, 0.0]);
}

#[test]
fn map_lights_a_floor_as_the_integral_says() {
    let with = |map| {
        let mut scene = floor_spot(Vec3::ZERO);
        scene.environment = Environment::Map(map);
        irradiance(&scene, &frame(16, 64, 2))
    };
    let constant =
        EnvironmentMap { width: 16, height: 8, radiance: vec![Vec3::ONE; 128], strength: 1.0, rotation: 0.0 };
    assert_near(with(constant), std::f64::consts::PI, 0.01);

    // A ring of light: ∫ cos θ dω over its rows, bilinear filtering included.
    let (width, height) = (32_u32, 16_u32);
    let lit = |y: u32| f32::from(u8::from(y == 4)) * 50.0;
    let radiance = (0..width * height).map(|i| Vec3::splat(lit(i / width))).collect();
    let ring = EnvironmentMap { width, height, radiance, strength: 0.5, rotation: 1.0 };
    let steps = 4000;
    let integral: f64 = (0..steps)
        .map(|i| {
            let v = 0.5 * (f64::from(i) + 0.5) / f64::from(steps);
            let theta = std::f64::consts::PI * v;
            let tent = (1.0 - (v * f64::from(height) - 4.5).abs()).max(0.0);
            let d_theta = std::f64::consts::PI * 0.5 / f64::from(steps);
            25.0 * tent * theta.cos() * theta.sin() * 2.0 * std::f64::consts::PI * d_theta
        })
        .sum();
    assert_near(with(ring), integral, 0.01);
}

#[test]
fn translucent_surfaces_weaken_shadow_rays_by_their_coverage() {
    let mut scene = floor_spot(Vec3::ZERO);
    let direction = Vec3::new(0.6, -0.8, 0.0);
    scene.lights.push(Light { intensity: Vec3::splat(7.0), kind: LightKind::Directional { direction } });
    scene.meshes.push(quad(1));
    // Beside the camera's view and across the light's way.
    let veil = Affine3A::from_translation(Vec3::new(-1.5, 2.0, 0.0)) * Affine3A::from_rotation_x(-PI / 2.0);
    scene.instances.push(Instance { mesh: 1, transform: veil });
    scene.materials.push(Material {
        base_color: Vec4::new(0.0, 0.0, 0.0, 0.25),
        alpha: AlphaMode::Blend,
        double_sided: true,
        ..lambert(0.0)
    });
    assert_near(irradiance(&scene, &frame(4, 4, 2)), 7.0 * 0.8 * 0.75, 1e-4);
}

/// Irradiance of the floor's middle under a lamp of intensity 7 and a radius.
fn lit_by_sphere(position: Vec3, radius: f32) -> f64 {
    let mut scene = floor_spot(Vec3::ZERO);
    scene.cameras[0].transform.translation.y = 0.01;
    let kind = LightKind::Point { position, range: f32::INFINITY, radius };
    scene.lights.push(Light { intensity: Vec3::splat(7.0), kind });
    irradiance(&scene, &frame(32, 256, 2))
}

/// Irradiance of the origin, facing up, by a sphere of intensity 7, of what of it is
/// over the horizon and not hidden: the midpoint rule in the cone of directions.
fn sphere_irradiance(position: Vec3, radius: f32, hidden: impl Fn(glam::DVec3) -> bool) -> f64 {
    const STEPS: u32 = 2000;
    let (middle, radius) = (position.as_dvec3(), f64::from(radius));
    let axis = middle.normalize();
    let (aside, up) = axis.any_orthonormal_pair();
    let least_cosine = (1.0 - radius * radius / middle.length_squared()).sqrt();
    let cell = (1.0 - least_cosine) * std::f64::consts::TAU / f64::from(STEPS * STEPS);
    let part = |i: u32| (f64::from(i) + 0.5) / f64::from(STEPS);
    let mut sum = 0.0;
    for i in 0..STEPS {
        let cosine = 1.0 - part(i) * (1.0 - least_cosine);
        let sine = (1.0 - cosine * cosine).sqrt();
        for j in 0..STEPS {
            let (y, x) = (std::f64::consts::TAU * part(j)).sin_cos();
            let direction = axis * cosine + (aside * x + up * y) * sine;
            if direction.y > 0.0 && !hidden(direction) {
                sum += direction.y;
            }
        }
    }
    7.0 / (std::f64::consts::PI * radius * radius) * sum * cell
}

#[test]
fn a_lamp_with_a_radius_above_the_horizon_lights_as_its_middle_does() {
    // A sphere's irradiance is π·L·(r/d)²·cos exactly, and π·L·r² its intensity.
    let position = Vec3::new(1.5, 2.0, 0.0);
    for radius in [1e-6, 0.01, 0.5, 1.99] {
        // The cosine of a sample varies by less than a third: over 262,144 stratified
        // samples its mean is well within a thousandth.
        assert_near(lit_by_sphere(position, radius), 7.0 * (2.0 / 2.5) / 6.25, 1e-3);
    }
    // And as a point of radius 0 does, without any noise.
    assert_near(lit_by_sphere(position, 1e-6), lit_by_sphere(position, 0.0), 1e-5);
    // Its inside is dark.
    assert!(lit_by_sphere(position, 2.51) == 0.0);
}

#[test]
fn a_lamp_with_a_radius_sinks_below_the_horizon_by_and_by() {
    for height in [0.3, 0.0, -0.5] {
        let position = Vec3::new(2.0, height, 0.0);
        let wanted = sphere_irradiance(position, 1.0, |_| false);
        assert_near(lit_by_sphere(position, 1.0), wanted, 0.01);
    }
    assert!(lit_by_sphere(Vec3::new(2.0, -1.01, 0.0), 1.0) == 0.0);
}

#[test]
fn a_half_plane_in_front_of_a_lamp_with_a_radius_casts_a_penumbra() {
    let (position, radius) = (Vec3::Y * 3.0, 0.5);
    let lit = |edge: f32| {
        let mut scene = floor_spot(Vec3::ZERO);
        scene.cameras[0].transform.translation.y = 0.5;
        let kind = LightKind::Point { position, range: f32::INFINITY, radius };
        scene.lights.push(Light { intensity: Vec3::splat(7.0), kind });
        // All of height 1 beyond x = edge.
        let plane = Affine3A::from_translation(Vec3::new(edge + 50.0, 1.0, 0.0))
            * Affine3A::from_rotation_x(-PI / 2.0)
            * Affine3A::from_scale(Vec3::splat(50.0));
        scene.meshes.push(quad(1));
        scene.instances.push(Instance { mesh: 1, transform: plane });
        scene.materials.push(Material { double_sided: true, ..lambert(0.0) });
        irradiance(&scene, &frame(32, 256, 2))
    };
    let whole = 7.0 / 9.0;
    // The sphere is seen under a half angle whose tangent is 0.169.
    for edge in [-0.2, 0.2] {
        let share = if edge < 0.0 { 0.0 } else { 1.0 };
        assert!((lit(edge) - share * whole).abs() < 1e-3 * whole, "{edge}");
    }
    for edge in [-0.1, 0.0, 0.05, 0.12] {
        let hidden = |direction: glam::DVec3| direction.x / direction.y > f64::from(edge);
        let wanted = sphere_irradiance(position, radius, hidden);
        // Half of 262,144 independent samples would be off by 0.2 %.
        assert_near(lit(edge), wanted, 0.01);
    }
}

#[test]
fn a_spot_with_a_radius_keeps_its_cone_and_its_range() {
    let spot = |radius, inner_cone_angle: f32| LightKind::Spot {
        position: Vec3::new(1.0, 2.0, 0.0),
        direction: Vec3::NEG_Y,
        range: 3.0,
        inner_cone_angle,
        outer_cone_angle: 0.6,
        radius,
    };
    let lit = |kind| {
        let mut scene = floor_spot(Vec3::ZERO);
        scene.lights.push(Light { intensity: Vec3::splat(7.0), kind });
        irradiance(&scene, &frame(32, 64, 2))
    };
    assert_near(lit(spot(0.2, 0.1)), lit(spot(0.0, 0.1)), 1e-3);
    let narrow = LightKind::Spot {
        position: Vec3::new(1.0, 2.0, 0.0),
        direction: Vec3::NEG_Y,
        range: 3.0,
        inner_cone_angle: 0.1,
        outer_cone_angle: 0.4,
        radius: 0.2,
    };
    assert!(lit(narrow) == 0.0);
}
