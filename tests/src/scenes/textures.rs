//! Procedural textures as PNG.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder as _};

/// A square texture of `size` texels, from a function of (u, v) with (0, 0) at
/// the top left, to three encoded channels of 0..1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
pub(super) fn png(size: u32, texel: impl Fn(f64, f64) -> [f64; 3]) -> Vec<u8> {
    let center = |i: u32| (f64::from(i) + 0.5) / f64::from(size);
    let texels: Vec<u8> = (0..size)
        .flat_map(|y| (0..size).map(move |x| (x, y)))
        .flat_map(|(x, y)| texel(center(x), center(y)))
        .map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as u8)
        .collect();
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Adaptive)
        .write_image(&texels, size, size, ExtendedColorType::Rgb8)
        .expect("writing to memory does not fail");
    bytes
}

/// The sRGB transfer function, for colours given linearly.
pub(super) fn encoded(linear: [f64; 3]) -> [f64; 3] {
    linear.map(|x| if x <= 0.003_130_8 { 12.92 * x } else { 1.055 * x.powf(1.0 / 2.4) - 0.055 })
}

/// The normal map of a height field over one tile, in units of the tile;
/// `strength` scales the heights.
pub(super) fn normal_map(size: u32, strength: f64, height: impl Fn(f64, f64) -> f64) -> Vec<u8> {
    let step = 0.5 / f64::from(size);
    png(size, |u, v| {
        let du = (height(u + step, v) - height(u - step, v)) / (2.0 * step) * strength;
        let dv = (height(u, v + step) - height(u, v - step)) / (2.0 * step) * strength;
        // v points down and green up.
        let normal = glam::DVec3::new(-du, dv, 1.0).normalize();
        (normal / 2.0 + 0.5).to_array()
    })
}
