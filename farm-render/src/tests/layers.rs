//! Layers and light that goes through: pictures against closed forms.

use farm_scene::{Coat, Light, LightKind, Transmission, Volume};

use super::*;

const RED: Vec3 = Vec3::X;
/// What an interface between air and an index of 1.5 reflects of light that meets
/// it upright.
const REFLECTED: f64 = 0.04;

fn colored(color: Vec3) -> Vec4 {
    color.extend(1.0)
}

/// A camera that sees the square between −1 and 1 from +Z.
fn facing() -> Camera {
    camera(Vec3::Z * 4.0, Vec3::ZERO, Projection::Orthographic { half_height: 1.0 })
}

/// A wide square at a height, that faces +Z or −Z.
fn wall(z: f32, faces_up: bool) -> Affine3A {
    let turn = if faces_up { 0.0 } else { PI };
    Affine3A::from_translation(Vec3::Z * z)
        * Affine3A::from_rotation_y(turn)
        * Affine3A::from_scale(Vec3::splat(8.0))
}

/// An even light behind everything.
fn shining(color: Vec3) -> Material {
    Material { base_color: colored(color), unlit: true, ..Material::default() }
}

/// A clear dielectric; with a volume where it is said to enclose one.
fn clear(ior: f32, volume: Option<Volume>) -> Material {
    Material {
        metallic: 0.0,
        roughness: 0.0,
        ior,
        transmission: Transmission { factor: 1.0, volume, ..Transmission::default() },
        ..Material::default()
    }
}

fn glass(ior: f32) -> Material {
    let volume = Volume { attenuation_color: Vec3::ONE, attenuation_distance: None };
    clear(ior, Some(volume))
}

/// What walls of materials, each at its height and turned up or down, show of red
/// light behind them under a black sky.
fn through(walls: &[(u32, f32, bool)], materials: Vec<Material>) -> [f64; 3] {
    let mut materials = materials;
    let mut parts: Vec<_> = walls.iter().map(|&(material, z, up)| (quad(material), wall(z, up))).collect();
    parts.push((quad(u32::try_from(materials.len()).expect("few")), wall(-3.0, true)));
    materials.push(shining(RED));
    let scene = scene_of(parts, materials, Vec3::ZERO, facing());
    mean_color(&render(&scene, &frame(8, 256, 24)))
}

#[test]
fn a_thin_wall_lets_through_what_it_does_not_reflect_in_its_colour() {
    let tinted = Material { base_color: colored(Vec3::splat(0.5)), ..clear(1.5, None) };
    let [red, green, _] = through(&[(0, 0.0, true)], vec![tinted]);
    // 16,384 draws of a probability of 0.96 or so: standard errors below 0.002.
    assert!((red - 0.5 * (1.0 - REFLECTED)).abs() < 0.006, "{red}");
    assert_eq!(green, 0.0);
}

#[test]
fn a_slab_of_glass_reflects_back_and_forth() {
    let [red, ..] = through(&[(0, 0.5, true), (0, -0.5, false)], vec![glass(1.5)]);
    // The geometric series of (1 − R)²·R²ⁿ.
    let expected = (1.0 - REFLECTED) / (1.0 + REFLECTED);
    assert!((red - expected).abs() < 0.01, "{red} instead of {expected}");
}

#[test]
fn an_interface_between_equal_indices_cannot_be_seen() {
    // A slab of glass with one of another glass of the same index in it.
    let walls = [(0, 0.5, true), (1, 0.2, true), (1, -0.2, false), (0, -0.5, false)];
    let [red, ..] = through(&walls, vec![glass(1.5), glass(1.5)]);
    let expected = (1.0 - REFLECTED) / (1.0 + REFLECTED);
    assert!((red - expected).abs() < 0.01, "{red} instead of {expected}");
}

#[test]
fn a_volume_absorbs_by_beers_law() {
    let attenuation_color = Vec3::new(0.5, 0.25, 0.125);
    for (distance, thickness) in [(1.0, 1.0), (2.0, 1.0), (0.5, 1.4)] {
        let volume = Volume { attenuation_color, attenuation_distance: Some(distance) };
        // An index of 1 reflects nothing.
        let medium = clear(1.0, Some(volume));
        let half = thickness / 2.0;
        let [red, ..] = through(&[(0, half, true), (0, -half, false)], vec![medium]);
        assert_near(red, 0.5_f64.powf(f64::from(thickness / distance)), 2e-3);
    }
}

/// A plane is a solid without an end: it absorbs all that comes through it, whether
/// light is aimed at or met by chance.
#[test]
fn an_open_solid_has_no_end() {
    let volume = Volume { attenuation_color: Vec3::new(1.0, 0.5, 0.0), attenuation_distance: Some(1.0) };
    let medium = clear(1.0, Some(volume));
    let scene = scene_of(vec![(quad(0), wall(0.0, true))], vec![medium], Vec3::ONE, facing());
    let [red, green, blue] = mean_color(&render(&scene, &frame(8, 16, 4)));
    assert_near(red, 1.0, 2e-3);
    // The kernel's exponential ends at the smallest number that is not subnormal.
    let nothing = f64::from(f32::MIN_POSITIVE);
    assert!(green <= nothing && blue <= nothing, "{green} and {blue}");
}

#[test]
fn a_ball_of_clear_glass_vanishes_in_an_even_light() {
    for roughness in [0.0, 0.4] {
        let material = Material { roughness, ..glass(1.5) };
        let view = camera(Vec3::Z * 4.0, Vec3::ZERO, perspective(28.0));
        let parts = vec![(sphere(0, 48, false), Affine3A::IDENTITY)];
        let scene = scene_of(parts, vec![material], Vec3::ONE, view);
        let mean = mean(&render(&scene, &frame(16, 64, 64)));
        // Facets with smooth normals bend a little of the light out of the glass; the
        // table errs by a few thousandths.
        assert!((mean - 1.0).abs() < 0.012, "{mean} at roughness {roughness}");
    }
}

#[test]
fn colours_part_in_glass_with_dispersion_and_none_is_lost() {
    let glass = glass(1.5);
    let transmission = Transmission { dispersion: 5.0, ..glass.transmission.clone() };
    let material = Material { transmission, ..glass };
    let view = camera(Vec3::Z * 4.0, Vec3::ZERO, perspective(28.0));
    let parts = vec![(sphere(0, 48, false), Affine3A::IDENTITY)];
    let scene = scene_of(parts, vec![material], Vec3::ONE, view);
    for channel in mean_color(&render(&scene, &frame(24, 256, 48))) {
        // 147,456 paths of weight 0 or 3: a standard error of 0.004.
        assert!((channel - 1.0).abs() < 0.02, "{channel}");
    }
}

#[test]
fn a_coat_covers_what_is_under_it() {
    let coat = Coat { factor: 1.0, ..Coat::default() };
    let coated = Material { coat: coat.clone(), ..lambert(0.5) };
    let scene = scene_of(vec![(quad(0), wall(0.0, true))], vec![coated], Vec3::ONE, facing());
    let found = mean(&render(&scene, &frame(8, 256, 2)));
    let expected = REFLECTED + (1.0 - REFLECTED) * 0.5;
    assert!((found - expected).abs() < 0.004, "{found} instead of {expected}");

    let lamp = Material { emissive: Vec3::splat(3.0), coat, ..lambert(0.0) };
    let scene = scene_of(vec![(quad(0), wall(0.0, true))], vec![lamp], Vec3::ZERO, facing());
    assert_near(mean(&render(&scene, &frame(8, 16, 1))), 3.0 * (1.0 - REFLECTED), 1e-4);
}

#[test]
fn light_behind_a_lampshade_shines_through_it_diffusely() {
    let color = Vec3::new(0.6, 0.3, 0.1);
    let transmission = Transmission { diffuse: 0.75, diffuse_color: color, ..Transmission::default() };
    let shade = Material { transmission, ..lambert(0.8) };
    let mut scene = scene_of(vec![(quad(0), wall(0.0, true))], vec![shade], Vec3::ZERO, facing());
    let light = |z: f32| Light {
        intensity: Vec3::splat(5.0),
        kind: LightKind::Point { position: Vec3::Z * z, range: f32::INFINITY, radius: 0.0 },
    };
    // Lambert's law at the middle: intensity over π and the distance's square.
    let expected = 5.0 / std::f64::consts::PI / 4.0;
    scene.lights = vec![light(-2.0)];
    let behind = pixel(&render(&scene, &frame(65, 16, 1)), 32, 32);
    assert_eq!(behind[0], 0.0, "a path of one segment is not lit");
    let behind = pixel(&render(&scene, &frame(65, 16, 2)), 32, 32);
    for (found, share) in behind.into_iter().zip([0.6, 0.3, 0.1]) {
        assert_near(found.into(), 0.75 * share * expected, 1e-3);
    }
    scene.lights = vec![light(2.0)];
    let before = pixel(&render(&scene, &frame(65, 16, 2)), 32, 32);
    assert_near(before[0].into(), 0.25 * 0.8 * expected, 1e-3);
}
