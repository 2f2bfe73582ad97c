//! Clamps: options that lose light, off by default.

use std::num::NonZeroU32;

use farm_core::FilmSettings;

use super::*;
use crate::class::{probe_scene, probe_task};

/// One sample of each pixel of the probe, which has every kind of light.
fn samples(max_depth: u32, film: FilmSettings) -> Vec<[f32; 4]> {
    let mut task = probe_task();
    task.settings.samples_per_pixel = 1;
    task.settings.max_depth = max_depth;
    task.settings.film = film;
    render(&probe_scene(), &task).pixels
}

/// Bounds in thousandths; 0 is none.
fn clamped(direct: u32, indirect: u32) -> FilmSettings {
    let [clamp_direct_milli, clamp_indirect_milli] = [direct, indirect].map(NonZeroU32::new);
    FilmSettings { clamp_direct_milli, clamp_indirect_milli, ..FilmSettings::default() }
}

fn bits_of(pixels: &[[f32; 4]]) -> Vec<[u32; 4]> {
    pixels.iter().map(|pixel| pixel.map(f32::to_bits)).collect()
}

#[test]
fn a_bound_that_nothing_reaches_changes_no_bits() {
    let plain = samples(8, FilmSettings::default());
    assert!(bits_of(&samples(8, clamped(u32::MAX, u32::MAX))) == bits_of(&plain));
}

#[test]
fn light_that_comes_straight_is_bounded_and_keeps_its_hue() {
    let (plain, bounded) = (samples(1, FilmSettings::default()), samples(1, clamped(100, 1)));
    let mut reached = 0;
    for ([r, g, b, alpha], now) in plain.iter().zip(&bounded) {
        // One thing is seen at most, so a sample gains once.
        let brightest = r.max(*g).max(*b);
        let factor = if brightest > 0.1 { 0.1 / brightest } else { 1.0 };
        for (now, wanted) in now.iter().zip([r * factor, g * factor, b * factor, *alpha]) {
            // Drivers divide within 2.5 units of the last place.
            assert!((now - wanted).abs() <= 1e-6 * wanted, "{now} instead of {wanted}");
        }
        reached += u32::from(brightest > 0.1);
    }
    assert!(reached > 20, "{reached} samples are bright");
}

#[test]
fn clamps_bound_every_gain_and_only_darken() {
    let plain = samples(8, FilmSettings::default());
    for (direct, indirect) in [(100, 0), (0, 100), (100, 100)] {
        let bounded = samples(8, clamped(direct, indirect));
        let mut darker = 0;
        for (was, is) in plain.iter().zip(&bounded) {
            // Sums of smaller numbers in the same order are not larger.
            assert!((0..4).all(|channel| is[channel] <= was[channel]), "{was:?} to {is:?}");
            darker += u32::from(is != was);
            if direct > 0 && indirect > 0 {
                // Of 8 segments each ends at one light and aims at another.
                assert!(is[..3].iter().all(|&channel| channel <= 16.0 * 0.100_001), "{is:?}");
            }
        }
        assert!(darker > 20, "{darker} samples are darker");
    }
}

#[test]
fn what_took_one_bounce_is_direct_and_the_rest_is_not() {
    let direct_only = samples(2, FilmSettings::default());
    assert!(bits_of(&samples(2, clamped(0, 1))) == bits_of(&direct_only));
    let mut was_more = 0;
    let parts = samples(8, clamped(0, 1)).into_iter().zip(samples(8, FilmSettings::default()));
    for ((now, whole), direct) in parts.zip(&direct_only) {
        for channel in 0..3 {
            // The indirect part gains a thousandth 13 times at most: two times for
            // each segment from the third on, and once at the second.
            let rest = now[channel] - direct[channel];
            assert!((-1e-5..=0.0131).contains(&rest), "{now:?} for {direct:?}");
            was_more += u32::from(whole[channel] - direct[channel] > 0.1);
        }
    }
    assert!(was_more > 20, "{was_more} channels have light of several bounces");
}
