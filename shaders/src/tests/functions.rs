//! Functions of the WGSL, called by their names.

use crate::native::lanes1::{F32, Mask, U32};
use crate::native::scalar;
use crate::native::vector::Vec3;

const ON: Mask = Mask::splat(true);

fn vector(x: f32, y: f32, z: f32) -> Vec3<F32> {
    Vec3::new(x.into(), y.into(), z.into())
}

fn length(v: Vec3<F32>) -> f64 {
    let square = |x: F32| f64::from(f32::from(x)).powi(2);
    (square(v.x) + square(v.y) + square(v.z)).sqrt()
}

/// Words without a pattern.
fn words(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|i| u32::from(scalar::hash(U32::from(i))))
}

#[test]
fn cosine_and_sine_of_a_turn_are_right_to_f32() {
    for bits in words(100_000).chain([0, 1 << 29, 1 << 30, 1 << 31, u32::MAX]) {
        let turn = scalar::cos_sin_turn(bits.into());
        let angle = f64::from(bits) / 2_f64.powi(32) * std::f64::consts::TAU;
        let error = |value: F32, exact: f64| (f64::from(f32::from(value)) - exact).abs();
        assert!(error(turn.x, angle.cos()) < 1.2e-7, "cosine of {angle}");
        assert!(error(turn.y, angle.sin()) < 1.2e-7, "sine of {angle}");
    }
}

#[test]
fn arc_tangent_finds_every_quadrant() {
    for bits in words(100_000) {
        let angle = (f64::from(bits) / 2_f64.powi(32) - 0.5) * std::f64::consts::TAU;
        #[expect(clippy::cast_possible_truncation, reason = "the function takes f32")]
        let (x, y) = (angle.cos() as f32, angle.sin() as f32);
        let found = f64::from(f32::from(scalar::arc_tangent(ON, y.into(), x.into())));
        let exact = f64::from(y).atan2(f64::from(x));
        assert!((found - exact).abs() < 8e-7, "{found} for {exact}");
    }
    assert_eq!(f32::from(scalar::arc_tangent(ON, 0.0.into(), 0.0.into())), 0.0);
}

#[test]
fn wide_products_are_exact() {
    let pairs: Vec<u32> = words(20_000).chain([0, 1, 0xffff, 0x1_0000, u32::MAX, u32::MAX]).collect();
    for pair in pairs.windows(2) {
        let product = scalar::multiply_wide(pair[0].into(), pair[1].into());
        let whole = u64::from(u32::from(product.x)) << 32 | u64::from(u32::from(product.y));
        assert_eq!(whole, u64::from(pair[0]) * u64::from(pair[1]));
    }
}

#[test]
fn frames_are_orthonormal_and_right_handed() {
    for bits in words(10_000).chain([0, u32::MAX]) {
        let normal = scalar::unpack_octahedral(bits.into());
        assert!((length(normal) - 1.0).abs() < 2e-7);
        let frame = scalar::frame_around(normal);
        let dot = |a, b| f32::from(scalar::dot3(a, b)).abs();
        assert!((length(frame.tangent) - 1.0).abs() < 1e-6 && (length(frame.bitangent) - 1.0).abs() < 1e-6);
        let skew =
            dot(frame.tangent, frame.bitangent) + dot(frame.tangent, normal) + dot(frame.bitangent, normal);
        assert!(skew < 2e-6, "{skew}");
        let cross = scalar::cross3(frame.tangent, frame.bitangent);
        assert!(f32::from(scalar::dot3(cross, normal)) > 0.999);
    }
}

#[test]
fn both_weights_of_mis_sum_to_one() {
    for pair in words(10_000).collect::<Vec<_>>().windows(2) {
        let pdf = |bits: u32| f32::from_bits((bits & 0x007f_ffff) | (64 + bits % 128) << 23);
        let (a, b) = (pdf(pair[0]), pdf(pair[1]));
        let weight = |x: f32, y: f32| f32::from(scalar::mis_weight(ON, x.into(), y.into()));
        assert!((weight(a, b) + weight(b, a) - 1.0).abs() < 3e-7, "{a} and {b}");
    }
}

#[test]
fn prefixes_of_the_sampler_are_stratified() {
    for key in words(20) {
        for exponent in 0..=8_u32 {
            let count = 1 << exponent;
            for split in 0..=exponent {
                let mut filled = vec![false; count as usize];
                for sample in 0..count {
                    let point = scalar::sample_pair(key.into(), sample.into(), 3.into());
                    // The cell of the elementary interval: `split` bits of x, the rest of y.
                    let x = u64::from(u32::from(point.x)) >> (32 - split);
                    let y = u64::from(u32::from(point.y)) >> (32 - (exponent - split));
                    let cell = usize::try_from(x << (exponent - split) | y).expect("small");
                    assert!(!std::mem::replace(&mut filled[cell], true), "key {key}, 2^{exponent}, {split}");
                }
            }
        }
    }
}

#[test]
fn srgb_matches_its_curve() {
    for step in 0..=1000_u16 {
        let s = f64::from(step) / 1000.0;
        let exact = if s <= 0.04045 { s / 12.92 } else { ((s + 0.055) / 1.055).powf(2.4) };
        #[expect(clippy::cast_possible_truncation, reason = "the function takes f32")]
        let s = s as f32;
        let found = f64::from(f32::from(scalar::srgb_to_linear(vector(s, s, s)).x));
        assert!((found - exact).abs() <= 1.4e-4 * exact, "{found} for {exact}");
    }
}

#[test]
fn texels_outside_wrap_as_gltf_says() {
    let index = |i: i32, wrap: u32| u32::from(scalar::wrap_index(ON, i.into(), 4.into(), wrap.into()));
    assert_eq!([-1, 0, 3, 4].map(|i| index(i, 0)), [3, 0, 3, 0], "repeat");
    assert_eq!([-2, -1, 0, 3, 4, 5].map(|i| index(i, 1)), [1, 0, 0, 3, 3, 2], "mirrored repeat");
    assert_eq!([-2, -1, 0, 3, 4, 9].map(|i| index(i, 2)), [0, 0, 0, 3, 3, 3], "clamp to edge");
}

#[test]
fn powers_and_logarithms_are_right_to_f32() {
    let float = |value: F32| f64::from(f32::from(value));
    for bits in words(100_000) {
        let unit = f64::from(bits) / 2_f64.powi(32);
        #[expect(clippy::cast_possible_truncation, reason = "the functions take f32")]
        let [x, base] = [unit * 200.0 - 100.0, (unit * 160.0 - 80.0).exp2()].map(|value| value as f32);
        let found = float(scalar::power_of_two(x.into()));
        assert!((found / f64::from(x).exp2() - 1.0).abs() < 2_f64.powi(-21), "2 to the power of {x}");
        let found = float(scalar::logarithm_two(base.into()));
        let exact = f64::from(base).log2();
        assert!((found - exact).abs() < 2_f64.powi(-22) * exact.abs().max(1.0), "logarithm of {base}");
        let found = float(scalar::power(ON, base.into(), 0.3.into()));
        assert!((found / f64::from(base).powf(0.3) - 1.0).abs() < 1e-5, "{base} to the power of 0.3");
    }
    assert_eq!(f32::from(scalar::power(ON, 0.0.into(), 2.0.into())), 0.0);
    assert_eq!(f32::from(scalar::power(ON, 0.0.into(), 0.0.into())), 1.0);
}

#[test]
fn reflectance_of_dielectrics_has_its_known_values() {
    let reflectance = |cosine: f32, ratio: f32| {
        f64::from(f32::from(scalar::dielectric_reflectance(ON, cosine.into(), ratio.into())))
    };
    assert!((reflectance(1.0, 1.5) - 0.04).abs() < 1e-6 && (reflectance(1.0, 1.0 / 1.5) - 0.04).abs() < 1e-6);
    // Brewster's angle: of light across the plane alone, (n² − 1)² / (n² + 1)².
    let brewster = 1.0 / 1.5_f32.hypot(1.0);
    assert!((reflectance(brewster, 1.5) - 0.5 * (1.25_f64 / 3.25).powi(2)).abs() < 1e-6);
    // The critical angle of the way out, and the same light on the way in.
    let critical = (1.0_f32 - 1.0 / 2.25).sqrt();
    assert!((reflectance(critical - 1e-3, 1.0 / 1.5) - 1.0).abs() < 1e-6);
    assert!(reflectance(critical + 1e-2, 1.0 / 1.5) < 0.75);
    for cosine in [0.2_f32, 0.5, 0.9] {
        let inside = (1.0 - (1.0 - cosine * cosine) / 2.25).sqrt();
        assert!((reflectance(cosine, 1.5) - reflectance(inside, 1.0 / 1.5)).abs() < 1e-5);
    }
}

/// At right angles: Schlick's curve makes even an interface between equal indices
/// reflect at others.
#[test]
fn a_film_without_thickness_or_bending_changes_nothing() {
    let f0 = vector(0.04, 0.3, 0.9);
    for (index, thickness) in [(1.3_f32, 0.0_f32), (1.0, 500.0)] {
        let film = scalar::thin_film_reflectance(ON, index.into(), thickness.into(), f0, 1.0.into());
        for (found, wanted) in [(film.x, f0.x), (film.y, f0.y), (film.z, f0.z)] {
            let (found, wanted) = (f32::from(found), f32::from(wanted));
            assert!((found - wanted).abs() < 1e-4, "{found} for {wanted}");
        }
    }
}

/// A film a quarter of a wave of green light thick: between the indices in front
/// and behind it takes away the reflection, above both it adds to it. One that is
/// many waves thick has no colour, and reflects what its interfaces do together.
#[test]
fn quarter_wave_films_reflect_less_or_more() {
    let green = |index: f32, thickness: f32, base: f32| {
        let f0 = ((base - 1.0) / (base + 1.0)).powi(2);
        let f0 = vector(f0, f0, f0);
        f32::from(scalar::thin_film_reflectance(ON, index.into(), thickness.into(), f0, 1.0.into()).y)
    };
    let interface = |from: f32, to: f32| ((to - from) / (to + from)).powi(2);
    let quarter_wave = |index: f32| 550.0 / (4.0 * index);
    let index = 1.38_f32;
    let coated = green(index, quarter_wave(index), index * index);
    assert!(coated < 0.02, "{coated} for a glass that reflects {}", interface(1.0, index * index));
    let shiny = green(2.3, quarter_wave(2.3), 1.5);
    // (n² − s)² / (n² + s)² of a quarter wave of index n on s (Hecht, "Optics", 9.7).
    let exact = ((2.3_f32.powi(2) - 1.5) / (2.3_f32.powi(2) + 1.5)).powi(2);
    assert!((shiny - exact).abs() < 0.04, "{shiny} for {exact}");
    let (outer, inner) = (interface(1.0, 1.6), interface(1.6, 2.4));
    let together = outer + (1.0 - outer).powi(2) * inner / (1.0 - outer * inner);
    let thick = green(1.6, 20_000.0, 2.4);
    assert!((thick - together).abs() < 1e-3, "{thick} for {together}");
}
