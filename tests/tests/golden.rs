//! Our own scenes against their reference images, by statistics.
//!
//! A scene is rendered [`RENDERS`] times with different seeds, and the mean of
//! the renders is compared with a reference of many more samples. The renders
//! themselves say how noisy they are, so no tolerance is fitted:
//!
//! - **Every pixel.** Let d be the difference of the mean from the reference,
//!   and v its variance: that of the mean of the renders, estimated from their
//!   spread, plus that of the reference, whose samples are of the same kind,
//!   plus what rounding to 16-bit floats adds. If both pictures have the same
//!   expectation, then E[d²] = v, and
//!   z = Σ(d² − v) / √Σ(d² − v)² over all pixels and channels
//!   is a self-normalised sum of independent terms of mean zero. Such sums
//!   have tails lighter than a normal distribution's even for heavy-tailed
//!   terms (Efron 1969), so z above [`LARGEST_Z`] = 5 has a probability below
//!   3e-7. It sees wrong places: a shadow moved, a texture flipped.
//! - **The whole.** The mean over the picture of each render is one number, so
//!   t = (their mean − the reference's mean) / (their standard error) follows
//!   Student's distribution of `RENDERS` − 1 = 7 degrees of freedom;
//!   |t| above [`LARGEST_T`] = 9.5 has a probability of 3e-5. It sees small
//!   errors that are everywhere: a lost bounce, one per cent of brightness.
//!
//! The samples are a function of the seed, so a verdict is the same on every
//! run on one adapter: there is nothing to flake.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use farm_render::{OpenOptions, Renderer};
use farm_scene::{LoadOptions, load};
use farm_tests::bare::{self, Picture};
use farm_tests::scenes::{REFERENCE_SAMPLES, environment_of, reference_settings};

/// Renders of each scene.
const RENDERS: u32 = 8;
/// Samples per pixel of each.
const SAMPLES: u32 = 16;
const LARGEST_Z: f64 = 5.0;
const LARGEST_T: f64 = 9.5;

/// What the comparison says.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    z: f64,
    t: f64,
    mean_ratio: f64,
}

impl Verdict {
    fn passes(&self) -> bool {
        self.z <= LARGEST_Z && self.t.abs() <= LARGEST_T
    }
}

/// Compares renders of `SAMPLES` with a reference of `reference_samples`.
fn compare(renders: &[Picture], reference: &Picture, reference_samples: u32) -> Verdict {
    let count = renders.len() as f64;
    let share_of_reference = f64::from(SAMPLES) / f64::from(reference_samples);
    let values = |picture: &Picture| -> Vec<f64> {
        picture.pixels.as_flattened().iter().map(|&value| f64::from(value)).collect()
    };
    let renders: Vec<Vec<f64>> = renders.iter().map(values).collect();
    let reference = values(reference);
    let (mut sum, mut sum_of_squares) = (0.0, 0.0);
    for (i, &expected) in reference.iter().enumerate() {
        let (mean, variance) = moments(renders.iter().map(|render| render[i]));
        // Half floats have 11 bits: rounding errs by at most 2^-12 of the value.
        let rounding = expected * 2.0_f64.powi(-12);
        let v = variance * (1.0 / count + share_of_reference) + rounding * rounding;
        let excess = (mean - expected) * (mean - expected) - v;
        sum += excess;
        sum_of_squares += excess * excess;
    }
    let size = reference.len() as f64;
    let whole = |values: &Vec<f64>| values.iter().sum::<f64>() / size;
    let (mean, variance) = moments(renders.iter().map(whole));
    let expected = whole(&reference);
    let standard_error = (variance * (1.0 / count + share_of_reference)).sqrt();
    Verdict {
        z: if sum_of_squares > 0.0 { sum / sum_of_squares.sqrt() } else { 0.0 },
        t: (mean - expected) / standard_error.max(f64::MIN_POSITIVE),
        mean_ratio: mean / expected,
    }
}

/// Mean and unbiased variance.
fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    let squares: f64 = values.map(|value| (value - mean) * (value - mean)).sum();
    (mean, squares / (count - 1.0))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").join("scenes")
}

fn check(name: &str) {
    let scene = format!("{name}.glb");
    let environment = environment_of(&scene).map(|map| folder().join(map));
    let options = LoadOptions { environment, ..LoadOptions::default() };
    let loaded = load(&folder().join(&scene), &options).expect("our own scenes load");
    let reference = bare::read_exr(&folder().join("reference").join(format!("{name}.exr")))
        .expect("every scene has its reference");
    let renderer = Renderer::open(&OpenOptions::default()).expect("the processor is always there");
    let uploaded = renderer.load(&loaded.scene).expect("the scene fits it");
    let renders: Vec<Picture> = (1..=RENDERS)
        .map(|seed| {
            let settings = reference_settings(seed, SAMPLES);
            bare::render(&renderer, &uploaded, reference.resolution, &settings, &mut |_| {
                ControlFlow::Continue(())
            })
            .expect("nothing stops it")
        })
        .collect();
    let verdict = compare(&renders, &reference, REFERENCE_SAMPLES);
    let Verdict { z, t, mean_ratio } = verdict;
    assert!(verdict.passes(), "{name}: z = {z:.2}, t = {t:.2}, mean {mean_ratio:.5} of the reference's");
}

#[test]
fn cornell_box_looks_as_it_did() {
    check("cornell-box");
}

#[test]
fn material_spheres_look_as_they_did() {
    check("material-spheres");
}

#[test]
fn textured_object_looks_as_it_did() {
    check("textured-object");
}

#[test]
fn many_lights_look_as_they_did() {
    check("many-lights");
}

#[test]
fn instanced_field_looks_as_it_did() {
    check("instanced-field");
}

/// Pictures of a gradient with noise as a path tracer makes it: many dark
/// samples and a few bright ones.
fn noisy(samples: u32, seed: u64) -> Picture {
    let resolution = farm_core::Resolution { width: 48, height: 32 };
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut unit = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut pixel = |i: u32| -> f32 {
        let expected = 0.1 + f64::from(i % 48) / 48.0;
        let sum: f64 = (0..samples).map(|_| if unit() < 0.25 { 4.0 * expected } else { 0.0 }).sum();
        #[expect(clippy::cast_possible_truncation, reason = "a picture holds f32")]
        let mean = (sum / f64::from(samples)) as f32;
        mean
    };
    let pixels = (0..48 * 32).map(|i| [pixel(i), pixel(i), pixel(i)]).collect();
    Picture { resolution, pixels }
}

fn noisy_renders() -> Vec<Picture> {
    (1..=u64::from(RENDERS)).map(|seed| noisy(SAMPLES, seed)).collect()
}

#[test]
fn comparison_accepts_noise() {
    for seed in 100..110 {
        let verdict = compare(&noisy_renders(), &noisy(4096, seed), 4096);
        assert!(verdict.passes(), "{verdict:?}");
    }
}

#[test]
fn comparison_refuses_what_is_wrong() {
    let reference = noisy(4096, 100);
    let mut brighter = noisy_renders();
    let pixels = brighter.iter_mut().flat_map(|picture| picture.pixels.as_flattened_mut());
    pixels.for_each(|value| *value *= 1.04);
    let mut mirrored = noisy_renders();
    let rows = mirrored.iter_mut().flat_map(|picture| picture.pixels.chunks_exact_mut(48));
    rows.for_each(<[_]>::reverse);
    let mut patched = noisy_renders();
    for picture in &mut patched {
        (0..12).for_each(|row| picture.pixels[row * 48 + 20..row * 48 + 32].fill([0.0; 3]));
    }
    for (what, renders) in [("brighter", brighter), ("mirrored", mirrored), ("patched", patched)] {
        let verdict = compare(&renders, &reference, 4096);
        assert!(!verdict.passes(), "{what}: {verdict:?}");
    }
}
