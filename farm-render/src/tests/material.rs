//! Materials: furnaces, alpha, normal maps.

use farm_scene::{AlphaMode, Image, Texels, Texture, TextureSlot, Wrap};

use super::*;

/// A sphere that fills most of a frame, under a constant sky of 1.
fn in_furnace(material: Material) -> Scene {
    let parts = vec![(sphere(0, 24, false), Affine3A::IDENTITY)];
    let view = camera(Vec3::Z * 4.0, Vec3::ZERO, perspective(28.0));
    scene_of(parts, vec![material], Vec3::ONE, view)
}

/// Mean over the middle of a frame, where the sphere is.
fn mean_of_middle(image: &TileImage) -> f64 {
    let edge = image.rect.width;
    let middle = edge / 4..edge * 3 / 4;
    let pixels = middle.clone().flat_map(|y| middle.clone().map(move |x| (x, y)));
    let values: Vec<f64> = pixels.map(|(x, y)| f64::from(pixel(image, x, y)[1])).collect();
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn convex_diffuse_object_under_a_white_sky_has_its_albedo() {
    for albedo in [0.2, 0.8, 1.0] {
        let image = render(&in_furnace(lambert(albedo)), &frame(32, 16, 4));
        let low = albedo - 1e-5;
        for p in &image.pixels {
            assert!(p[0] >= low && p[0] <= 1.0 + 1e-5, "{} for an albedo of {albedo}", p[0]);
        }
        assert_near(mean_of_middle(&image), albedo.into(), 1e-5);
    }
}

#[test]
fn microfacets_neither_lose_nor_gain_energy() {
    let metal = |roughness| Material { roughness, ..Material::default() };
    let dielectric = |roughness| Material { roughness, metallic: 0.0, ..Material::default() };
    let mixed = Material { roughness: 0.4, metallic: 0.5, ..Material::default() };
    let materials = [0.0, 0.25, 0.5, 0.75, 1.0].map(metal).into_iter();
    for material in materials.chain([0.1, 0.6, 1.0].map(dielectric)).chain([mixed]) {
        let (roughness, metallic) = (material.roughness, material.metallic);
        let mean = mean_of_middle(&render(&in_furnace(material), &frame(24, 64, 4)));
        // The table's interpolation errs by a few thousandths, and 9,216
        // samples of a weight that varies by less than a half by as much again.
        assert!((mean - 1.0).abs() < 0.01, "{mean} for roughness {roughness}, metallic {metallic}");
    }
}

/// A quad that fills the frame of an orthographic camera exactly.
fn filling(material: Material, sky: Vec3) -> Scene {
    let view = camera(Vec3::Z, Vec3::ZERO, Projection::Orthographic { half_height: 1.0 });
    scene_of(vec![(quad(0), Affine3A::IDENTITY)], vec![material], sky, view)
}

/// Gives a scene one texture of 8-bit texels, for `slot` of its first material.
fn with_texture(mut scene: Scene, edge: u32, srgb: bool, texels: &[[u8; 4]], wrap: Wrap) -> Scene {
    let texels = Texels::Rgba8(texels.as_flattened().to_vec());
    scene.images.push(Image { width: edge, height: edge, srgb, texels });
    let filter = farm_scene::Filter::Nearest;
    scene.textures.push(Texture { image: 0, wrap_u: wrap, wrap_v: wrap, filter });
    scene
}

fn slot(scale: f32, offset: f32) -> Option<TextureSlot> {
    let transform = [Vec3::new(scale, 0.0, offset), Vec3::new(0.0, scale, offset)];
    Some(TextureSlot { texture: 0, uv_set: 0, transform })
}

const RED: [u8; 4] = [255, 0, 0, 255];
const GREEN: [u8; 4] = [0, 255, 0, 255];
const BLUE: [u8; 4] = [0, 0, 255, 255];
const GREY: [u8; 4] = [128, 128, 128, 255];

#[test]
fn textures_lie_as_the_image_does_and_wrap_as_they_say() {
    let texels = [RED, GREEN, BLUE, GREY];
    let unlit = |slot| Material { unlit: true, base_color_texture: slot, ..Material::default() };
    let picture = |slot, wrap| {
        let scene = with_texture(filling(unlit(slot), Vec3::ZERO), 2, true, &texels, wrap);
        render(&scene, &frame(8, 4, 1))
    };
    let check = |image: &TileImage, x, y, wanted: [u8; 4]| {
        let found = pixel(image, x, y);
        // The sRGB value 128 is 0.21586 linear.
        let linear = |byte| if byte == 128 { 0.21586 } else { f32::from(byte) / 255.0 };
        for c in 0..3 {
            assert!((found[c] - linear(wanted[c])).abs() < 1e-4, "({x}, {y}) is {found:?}, not {wanted:?}");
        }
    };
    let plain = picture(slot(1.0, 0.0), Wrap::Repeat);
    check(&plain, 1, 1, RED);
    check(&plain, 6, 1, GREEN);
    check(&plain, 1, 6, BLUE);
    check(&plain, 6, 6, GREY);
    // Two images across: texels are a quarter of the frame, two pixels.
    let corners = |wrap, third: [[u8; 4]; 4]| {
        let image = picture(slot(2.0, 0.0), wrap);
        for (i, wanted) in (0..).zip(third) {
            check(&image, 2 * i, 0, wanted);
        }
    };
    corners(Wrap::Repeat, [RED, GREEN, RED, GREEN]);
    corners(Wrap::MirroredRepeat, [RED, GREEN, GREEN, RED]);
    corners(Wrap::ClampToEdge, [RED, GREEN, GREEN, GREEN]);
    // From −1 on, which mirrors and clamps as well.
    let before = |wrap| picture(slot(1.0, -1.0), wrap);
    check(&before(Wrap::Repeat), 1, 1, RED);
    check(&before(Wrap::MirroredRepeat), 1, 1, GREY);
    check(&before(Wrap::ClampToEdge), 6, 6, RED);
}

#[test]
fn alpha_is_a_hole_or_coverage() {
    let holes = [[255, 255, 255, 0], [255; 4], [255, 255, 255, 0], [255; 4]];
    let mask = Material {
        unlit: true,
        base_color: Vec4::new(1.0, 0.0, 0.0, 1.0),
        base_color_texture: slot(1.0, 0.0),
        alpha: AlphaMode::Mask { cutoff: 0.5 },
        ..Material::default()
    };
    let scene = with_texture(filling(mask, Vec3::Z), 2, false, &holes, Wrap::Repeat);
    let image = render(&scene, &frame(8, 4, 1));
    assert_eq!(pixel(&image, 1, 3), [0.0, 0.0, 1.0, 1.0]);
    assert_eq!(pixel(&image, 6, 3), [1.0, 0.0, 0.0, 1.0]);

    let veil = Material {
        unlit: true,
        base_color: Vec4::new(1.0, 0.0, 0.0, 0.4),
        alpha: AlphaMode::Blend,
        ..Material::default()
    };
    let [red, _, blue] = mean_color(&render(&filling(veil, Vec3::Z), &frame(32, 64, 1)));
    // 65,536 draws of a probability of 0.4: a standard error of 0.002.
    assert!((red - 0.4).abs() < 0.01 && (blue - 0.6).abs() < 0.01, "{red} and {blue}");
}

#[test]
fn unlit_surfaces_show_their_colour_and_back_faces_only_on_demand() {
    let color = Vec4::new(0.25, 0.5, 0.75, 1.0);
    let shown = |double_sided, turn: f32| {
        let mut scene = filling(
            Material { unlit: true, base_color: color, double_sided, ..Material::default() },
            Vec3::ONE,
        );
        scene.instances[0].transform = Affine3A::from_rotation_y(turn);
        pixel(&render(&scene, &frame(4, 4, 2)), 2, 2)
    };
    assert_eq!(shown(false, 0.0), color.to_array());
    assert_eq!(shown(true, PI), color.to_array());
    assert_eq!(shown(false, PI), [1.0; 4]);
}

/// A floor with a normal map of one texel, lit from up and +Z, seen from there.
fn mapped_floor(material: Material, normal: Option<[u16; 4]>) -> Scene {
    let view = camera(Vec3::new(0.0, 2.0, 3.0), Vec3::ZERO, perspective(30.0));
    let floor = Affine3A::from_rotation_x(-PI / 2.0);
    let material = Material { normal_texture: normal.and(slot(1.0, 0.0)), ..material };
    let mut scene = scene_of(vec![(quad(0), floor)], vec![material], Vec3::ZERO, view);
    scene.lights.push(farm_scene::Light {
        intensity: Vec3::splat(3.0),
        kind: farm_scene::LightKind::Directional { direction: Vec3::new(0.0, -0.8, -0.6) },
    });
    let texels = Texels::Rgba16(normal.unwrap_or_default().to_vec());
    scene.images.push(Image { width: 1, height: 1, srgb: false, texels });
    let (wrap, filter) = (Wrap::Repeat, farm_scene::Filter::Linear);
    scene.textures.push(Texture { image: 0, wrap_u: wrap, wrap_v: wrap, filter });
    scene
}

#[test]
fn a_flat_normal_map_changes_nothing() {
    let glossy = Material { roughness: 0.3, ..Material::default() };
    let shown = |normal| mean(&render(&mapped_floor(glossy.clone(), normal), &frame(16, 16, 2)));
    assert_near(shown(Some([32_768, 32_768, 65_535, 65_535])), shown(None), 1e-3);
}

#[test]
fn a_normal_map_turns_the_light_by_its_cosine() {
    let shown =
        |normal| f64::from(pixel(&render(&mapped_floor(lambert(0.7), normal), &frame(16, 16, 2)), 8, 8)[1]);
    // Its green axis is up in the image, and so away from the light.
    for [x, y, z] in [[0.3_f64, 0.0, 0.8], [0.0, 0.4, 0.9], [-0.2, -0.4, 0.9]] {
        let length = x.hypot(y).hypot(z);
        let cosine = (0.8 * z - 0.6 * y) / length;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "components lie within -1 and 1"
        )]
        let texel = [x, y, z, 1.0].map(|value| ((value + 1.0) / 2.0 * 65_535.0).round() as u16);
        let expected = 0.7 / std::f64::consts::PI * 3.0 * cosine;
        assert_near(shown(Some(texel)), expected, 1e-3);
    }
}

/// A smooth dielectric over black, seen from the front under a white sky, shows
/// its reflectance at normal incidence.
fn mirrored_sky(material: Material) -> [f64; 3] {
    let black = Vec4::new(0.0, 0.0, 0.0, 1.0);
    let material = Material { base_color: black, metallic: 0.0, roughness: 0.0, ..material };
    mean_color(&render(&filling(material, Vec3::ONE), &frame(8, 64, 2)))
}

#[test]
fn reflectance_of_a_dielectric_is_scaled_and_tinted_as_the_extension_says() {
    let check = |material: Material, wanted: [f64; 3]| {
        let found = mirrored_sky(material.clone());
        for (found, wanted) in found.into_iter().zip(wanted) {
            assert!((found - wanted).abs() < 2e-4 + 2e-3 * wanted, "{found} for {wanted} of {material:?}");
        }
    };
    check(Material::default(), [0.04; 3]);
    check(Material { ior: 2.0, specular: 0.25, ..Material::default() }, [0.25 / 9.0; 3]);
    let specular_color = Vec3::new(2.0, 0.5, 0.0);
    check(Material { specular_color, ..Material::default() }, [0.08, 0.02, 0.0]);
    // The product is held at 1 before the factor applies.
    let specular_color = Vec3::new(100.0, 10.0, 1.0);
    check(Material { specular_color, specular: 0.5, ..Material::default() }, [0.5, 0.2, 0.02]);
}

#[test]
fn textures_of_the_reflectance_are_an_alpha_and_a_colour() {
    let material = Material { specular_texture: slot(1.0, 0.0), ..Material::default() };
    let textured = |material, texel| {
        let black = Vec4::new(0.0, 0.0, 0.0, 1.0);
        let material = Material { base_color: black, metallic: 0.0, roughness: 0.0, ..material };
        let scene = with_texture(filling(material, Vec3::ONE), 1, false, &[texel], Wrap::Repeat);
        mean_color(&render(&scene, &frame(8, 64, 2)))
    };
    for found in textured(material, [9, 9, 9, 51]) {
        assert!((found - 0.008).abs() < 2e-4, "{found}");
    }
    let material = Material { specular_color_texture: slot(1.0, 0.0), ..Material::default() };
    for (found, wanted) in textured(material, [255, 51, 0, 9]).into_iter().zip([0.04, 0.008, 0.0]) {
        assert!((found - wanted).abs() < 2e-4, "{found} for {wanted}");
    }
}
