//! The display transform: scene-referred linear light to 8-bit sRGB.
//!
//! Tone mapping is the Khronos PBR Neutral tone mapper (Khronos Group, "PBR
//! Neutral Tone Mapper", 2024), which leaves base colours up to 0.8 as they are
//! and compresses highlights; encoding is the sRGB transfer function of
//! IEC 61966-2-1.

/// Where compression of highlights starts: 0.8 less the Fresnel offset below.
const START_COMPRESSION: f32 = 0.8 - FRESNEL_OFFSET;
/// Reflectance at normal incidence of common dielectrics, index 1.5.
const FRESNEL_OFFSET: f32 = 0.04;
/// How fast highlights lose their colour.
const DESATURATION: f32 = 0.15;

/// Khronos PBR Neutral: linear radiance, non-negative, to linear 0..1.
#[must_use]
pub fn tone_map([red, green, blue]: [f32; 3]) -> [f32; 3] {
    let darkest = red.min(green).min(blue);
    let offset = match darkest < 2.0 * FRESNEL_OFFSET {
        true => darkest - darkest * darkest / (4.0 * FRESNEL_OFFSET),
        false => FRESNEL_OFFSET,
    };
    let color = [red - offset, green - offset, blue - offset];
    let peak = color[0].max(color[1]).max(color[2]);
    if peak < START_COMPRESSION {
        return color;
    }
    let room = 1.0 - START_COMPRESSION;
    let new_peak = 1.0 - room * room / (peak + room - START_COMPRESSION);
    let white = 1.0 - 1.0 / (DESATURATION * (peak - new_peak) + 1.0);
    color.map(|channel| {
        let scaled = channel * (new_peak / peak);
        scaled + (new_peak - scaled) * white
    })
}

/// The sRGB transfer function: linear 0..1 to encoded 0..1.
#[must_use]
pub fn encode_srgb(linear: f32) -> f32 {
    if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 }
}

/// One finished pixel (radiance premultiplied with alpha) as 8-bit sRGB with
/// straight alpha.
#[must_use]
pub fn display_pixel([red, green, blue, alpha]: [f32; 4]) -> [u8; 4] {
    let coverage = if alpha > 0.0 { alpha } else { 1.0 };
    // Beyond half-float's largest number every colour is white; the bound keeps
    // the formula's quotients finite.
    let straight = [red, green, blue].map(|channel| (channel / coverage).clamp(0.0, 65_504.0));
    let [red, green, blue] = tone_map(straight).map(|channel| quantize(encode_srgb(channel)));
    [red, green, blue, quantize(alpha)]
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=255 and rounded before the cast"
)]
fn quantize(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn black_is_black_and_white_stays_below_one() {
        assert_eq!(display_pixel([0.0, 0.0, 0.0, 1.0]), [0, 0, 0, 255]);
        assert_eq!(display_pixel([1e30, 1e30, 1e30, 1.0]), [255, 255, 255, 255]);
        assert!(tone_map([65_504.0; 3]).iter().all(|&channel| channel < 1.0));
    }

    #[test]
    fn base_colours_are_kept_but_for_the_fresnel_offset() {
        for color in [[0.5, 0.4, 0.3], [0.8, 0.08, 0.2]] {
            let mapped = tone_map(color);
            for (before, after) in color.iter().zip(mapped) {
                assert!((before - FRESNEL_OFFSET - after).abs() < 1e-6, "{color:?} {mapped:?}");
            }
        }
    }

    #[test]
    fn curve_is_continuous_where_its_pieces_meet() {
        for edge in [2.0 * FRESNEL_OFFSET, START_COMPRESSION + FRESNEL_OFFSET] {
            let (below, above) = (tone_map([edge - 1e-5; 3]), tone_map([edge + 1e-5; 3]));
            assert!((below[0] - above[0]).abs() < 1e-4, "{edge}: {below:?} {above:?}");
        }
    }

    #[test]
    fn brighter_is_never_darker() {
        let steps = (0..4000_u16).map(|step| f32::from(step) * 0.01);
        let grey: Vec<f32> = steps.map(|level| tone_map([level; 3])[1]).collect();
        assert!(grey.is_sorted());
    }

    #[test]
    fn srgb_meets_the_values_of_the_standard() {
        for (linear, encoded) in [(0.0, 0.0), (1.0, 1.0), (0.214_041, 0.5), (0.5, 0.735_357)] {
            assert!((encode_srgb(linear) - encoded).abs() < 1e-5, "{linear}");
        }
    }

    #[test]
    fn transparent_pixels_are_divided_by_alpha() {
        let opaque = display_pixel([0.5, 0.25, 0.125, 1.0]);
        let half = display_pixel([0.25, 0.125, 0.0625, 0.5]);
        assert_eq!((half[..3].to_vec(), half[3]), (opaque[..3].to_vec(), 128));
        assert_eq!(display_pixel([0.0; 4]), [0; 4]);
    }
}
