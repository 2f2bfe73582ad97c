//! Pictures for the eye.

use super::*;

/// Writes a picture to the temporary folder with a plain gamma.
fn save(image: &TileImage, name: &str) {
    let bytes = image.pixels.iter().flat_map(|p| [p[0], p[1], p[2]]).map(|v| (v.clamp(0.0, 1.0).powf(1.0 / 2.2) * 255.0) as u8).collect();
    let picture = image::RgbImage::from_raw(image.rect.width, image.rect.height, bytes).unwrap();
    picture.save(format!("/tmp/{name}.png")).unwrap();
}

#[test]
fn look() {
    let spheres = (0..4).map(|i| {
        (sphere(i + 1, 40, false), Affine3A::from_translation(Vec3::new(-2.4 + 1.6 * i as f32, 0.75, 0.0)) * Affine3A::from_scale(Vec3::splat(0.75)))
    });
    let floor = Affine3A::from_rotation_x(-PI / 2.0) * Affine3A::from_scale(Vec3::splat(6.0));
    let mut parts = vec![(quad(0), floor)];
    parts.extend(spheres);
    parts.push((quad(5), Affine3A::from_translation(Vec3::new(0.0, 4.0, 1.0)) * Affine3A::from_rotation_x(PI / 2.0)));
    let materials = vec![
        lambert(0.5),
        Material { base_color: Vec4::new(0.9, 0.6, 0.3, 1.0), roughness: 0.2, ..Material::default() },
        Material { base_color: Vec4::new(0.8, 0.1, 0.1, 1.0), roughness: 0.3, metallic: 0.0, ..Material::default() },
        Material { base_color: Vec4::new(0.9, 0.9, 0.9, 1.0), roughness: 0.7, ..Material::default() },
        Material { base_color: Vec4::new(0.1, 0.3, 0.8, 1.0), roughness: 0.9, metallic: 0.0, ..Material::default() },
        Material { emissive: Vec3::new(8.0, 7.0, 6.0), ..lambert(0.5) },
    ];
    let scene = scene_of(parts, materials, Vec3::new(0.1, 0.15, 0.25), camera(Vec3::new(0.0, 2.5, 7.0), Vec3::new(0.0, 0.8, 0.0), perspective(35.0)));
    let mut task = frame(256, 64, 6);
    task.settings.filter = PixelFilter::BlackmanHarris;
    let start = std::time::Instant::now();
    let image = render(&scene, &task);
    eprintln!("{:?} {} rays {}", start.elapsed(), image.rays, mean(&image));
    save(&image, "look");
}
