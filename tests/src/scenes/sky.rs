//! `sky.hdr`: an evening sky with thin clouds and a sun.

use std::f64::consts::{PI, TAU};

use glam::DVec3;

use super::noise::{blend, fractal, smooth};

const WIDTH: u32 = 256;
const HEIGHT: u32 = 128;
/// Towards the sun: to the left, behind a camera that looks along −Z, 32° up.
pub(super) const SUN: DVec3 = DVec3::new(-0.62, 0.53, 0.58);

/// The map as Radiance .hdr.
pub(super) fn build() -> Vec<u8> {
    let texels: Vec<image::Rgb<f32>> = (0..HEIGHT)
        .flat_map(|y| (0..WIDTH).map(move |x| (x, y)))
        .map(|(x, y)| {
            let u = (f64::from(x) + 0.5) / f64::from(WIDTH);
            let v = (f64::from(y) + 0.5) / f64::from(HEIGHT);
            #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
            let texel = radiance(direction(u, v)).map(|channel| channel as f32);
            image::Rgb(texel)
        })
        .collect();
    let mut bytes = Vec::new();
    image::codecs::hdr::HdrEncoder::new(&mut bytes)
        .encode(&texels, WIDTH as usize, HEIGHT as usize)
        .expect("writing to memory does not fail");
    bytes
}

/// Where a texel looks: the centre of the map along −Z, u to the right.
fn direction(u: f64, v: f64) -> DVec3 {
    let (sin, cos) = ((u - 0.5) * TAU).sin_cos();
    let (height, width) = ((0.5 - v) * PI).sin_cos();
    DVec3::new(sin * width, height, -cos * width)
}

fn radiance(direction: DVec3) -> [f64; 3] {
    let to_sun = direction.dot(SUN.normalize());
    if direction.y < 0.0 {
        let haze = smooth(1.0 + direction.y * 5.0);
        return blend([0.11, 0.095, 0.075], [0.42, 0.38, 0.36], haze * 0.8);
    }
    let height = direction.y.sqrt();
    let clear = blend([0.78, 0.72, 0.66], [0.13, 0.25, 0.56], smooth(height * 1.05));
    let glow = ((to_sun - 1.0) * 9.0).exp();
    let mut sky: [f64; 3] = std::array::from_fn(|i| clear[i] + [1.1, 0.62, 0.28][i] * glow);
    // Clouds on a plane far above.
    let (x, z) = (direction.x / (direction.y + 0.12), direction.z / (direction.y + 0.12));
    let cover = smooth((fractal(x * 1.6 + 40.0, z * 2.6 + 40.0, 512, 5, 7) - 0.5) * 4.5);
    let cover = cover * smooth(direction.y * 7.0) * 0.75;
    let lit = [1.25, 1.1, 1.0].map(|channel| channel * (0.75 + 0.9 * glow));
    sky = blend(sky, lit, cover);
    // A sun of three degrees, wide enough for the map's texels, gives an
    // irradiance of about 3 on a plane that faces it.
    let disc = smooth((to_sun - (2.2_f64).to_radians().cos()) / 4e-4);
    std::array::from_fn(|i| sky[i] + [1400.0, 1080.0, 720.0][i] * disc)
}
