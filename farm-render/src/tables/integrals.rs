//! Integrals that the kernel looks up. The build script computes them, in f64 and
//! rounded far above its last places, so that two machines whose mathematics
//! libraries differ there build the same bits.

use std::f64::consts::PI;

/// Octaves of a filter's table and parts of each, as the kernel has them.
const FILTER_OCTAVES: u32 = 16;
const FILTER_PARTS: u32 = 64;

/// Steps of the numerical integration of half a filter.
const FILTER_STEPS: usize = 1 << 16;

/// Radius of the filters other than the box, in pixels.
const FILTER_RADIUS: f64 = 1.5;

/// Knots of the albedo table along each axis, as the kernel has them.
const ALBEDO_KNOTS: usize = 32;

/// Microfacet normals along each axis of the albedo quadrature.
const ALBEDO_NORMALS: usize = 48;

/// The least α of the kernel's lobe.
const LEAST_ALPHA: f64 = 1.0e-3;

/// Every table's words, one after the other.
pub(crate) fn all_tables() -> [Vec<u32>; 3] {
    [albedo_table(), filter_distances(gaussian_window), filter_distances(blackman_harris_window)]
}

/// A Gaussian of standard deviation 0.5 pixels.
pub(crate) fn gaussian_window(x: f64) -> f64 {
    (-x * x / (2.0 * 0.5 * 0.5)).exp()
}

/// The four-term Blackman-Harris window (Harris 1978).
pub(crate) fn blackman_harris_window(x: f64) -> f64 {
    let turn = 2.0 * PI * (x + FILTER_RADIUS) / (2.0 * FILTER_RADIUS);
    0.35875 - 0.48829 * turn.cos() + 0.14128 * (2.0 * turn).cos() - 0.01168 * (3.0 * turn).cos()
}

/// Distances from the centre, in pixels and rounded to 2⁻²⁰ of them, by the share
/// of a window's half that lies further out: 0, then the parts of each octave from
/// the smallest share to 1.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "counts are small, distances are f32"
)]
pub(crate) fn filter_distances(window: fn(f64) -> f64) -> Vec<u32> {
    let step = FILTER_RADIUS / FILTER_STEPS as f64;
    // The integral from the edge to each step towards the centre.
    let mut beyond = Vec::with_capacity(FILTER_STEPS + 1);
    let mut sum = 0.0;
    beyond.push(sum);
    for i in 0..FILTER_STEPS {
        sum += window(FILTER_RADIUS - (i as f64 + 0.5) * step).max(0.0);
        beyond.push(sum);
    }
    let distance = |share: f64| {
        let wanted = sum * share;
        let after = beyond.partition_point(|&value| value < wanted).clamp(1, FILTER_STEPS);
        let (low, high) = (beyond[after - 1], beyond[after]);
        let part = if high > low { (wanted - low) / (high - low) } else { 0.0 };
        let distance = FILTER_RADIUS - ((after - 1) as f64 + part) * step;
        (distance * 1_048_576.0).round() / 1_048_576.0
    };
    (0..=FILTER_OCTAVES * FILTER_PARTS).map(|knot| (distance(knot_share(knot)) as f32).to_bits()).collect()
}

/// The share at a knot of a filter's table.
fn knot_share(knot: u32) -> f64 {
    let (octave, part) = (knot / FILTER_PARTS, f64::from(knot % FILTER_PARTS) / f64::from(FILTER_PARTS));
    // The first octave begins at 0 and is as long as the second.
    let shift = FILTER_OCTAVES.min(FILTER_OCTAVES + 1 - octave.max(1));
    let start = if octave == 0 { 0.0 } else { 1.0 };
    (start + part) / f64::from(1_u32 << (shift - 1))
}

/// Directional albedo of a GGX lobe with Schlick's Fresnel term: the part that
/// F0 scales and the part that F90 scales, by a midpoint rule over the visible
/// normals (Heitz 2018), whose weight is the masking of the way out alone.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn lobe_albedo(cosine: f64, roughness: f64) -> [f64; 2] {
    let alpha = (roughness * roughness).max(LEAST_ALPHA);
    let z = cosine.max(1.0e-4);
    let out = [(1.0 - z * z).max(0.0).sqrt(), 0.0, z];
    let length = (out[0] * out[0] * alpha * alpha + z * z).sqrt();
    let stretched = [out[0] * alpha / length, 0.0, z / length];
    let root = |c: f64| (alpha * alpha + (1.0 - alpha * alpha) * c * c).sqrt();
    let count = ALBEDO_NORMALS as f64;
    let mut sum = [0.0; 2];
    for i in 0..ALBEDO_NORMALS {
        let turn = 2.0 * PI * (i as f64 + 0.5) / count;
        for j in 0..ALBEDO_NORMALS {
            let height = (1.0 - (j as f64 + 0.5) / count) * (1.0 + stretched[2]) - stretched[2];
            let radius = (1.0 - height * height).max(0.0).sqrt();
            let cap = [
                (radius * turn.cos() + stretched[0]) * alpha,
                radius * turn.sin() * alpha,
                height + stretched[2],
            ];
            let norm = (cap[0] * cap[0] + cap[1] * cap[1] + cap[2] * cap[2]).sqrt();
            let half = cap.map(|c| c / norm);
            let along = out[0] * half[0] + out[2] * half[2];
            let incoming = 2.0 * along * half[2] - out[2];
            if incoming <= 0.0 {
                continue;
            }
            // G2 / G1 of height-correlated Smith masking.
            let weight = incoming * (z + root(z)) / (incoming * root(z) + z * root(incoming));
            let fresnel = (1.0 - along).clamp(0.0, 1.0).powi(5);
            sum[0] += weight * (1.0 - fresnel);
            sum[1] += weight * fresnel;
        }
    }
    sum.map(|s| s / (count * count))
}

/// The words of the albedo table.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(crate) fn albedo_table() -> Vec<u32> {
    let last = (ALBEDO_KNOTS - 1) as f64;
    let row = |row: usize| -> Vec<[f64; 2]> {
        let roughness = row as f64 / last;
        (0..ALBEDO_KNOTS).map(|column| lobe_albedo((column as f64 / last).powi(2), roughness)).collect()
    };
    let rows: Vec<Vec<[f64; 2]>> = (0..ALBEDO_KNOTS).map(row).collect();
    let knots = rows.iter().flatten().copied();
    let averages = rows.iter().map(|knots| hemisphere_average(knots));
    knots.chain(averages).map(albedo_word).collect()
}

/// The mean over the hemisphere, weighted by cosine, of knots that are even in
/// the square root of the cosine.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are small and positive"
)]
fn hemisphere_average(knots: &[[f64; 2]]) -> [f64; 2] {
    const STEPS: usize = 512;
    let last = (knots.len() - 1) as f64;
    let mut sum = [0.0; 2];
    for i in 0..STEPS {
        let cosine = (i as f64 + 0.5) / STEPS as f64;
        let place = cosine.sqrt() * last;
        let column = (place as usize).min(knots.len() - 2);
        let part = place - column as f64;
        for (channel, sum) in sum.iter_mut().enumerate() {
            let value = knots[column][channel] * (1.0 - part) + knots[column + 1][channel] * part;
            *sum += 2.0 * cosine * value / STEPS as f64;
        }
    }
    sum
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 16 bits")]
fn albedo_word(parts: [f64; 2]) -> u32 {
    let [f0, f90] = parts.map(|part| (part.clamp(0.0, 1.0) * 65535.0).round() as u32);
    f0 | f90 << 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_tables_go_from_the_radius_to_the_centre() {
        for window in [gaussian_window, blackman_harris_window] {
            let table: Vec<f32> = filter_distances(window).into_iter().map(f32::from_bits).collect();
            assert!(table.is_sorted_by(|a, b| a >= b));
            assert_eq!((table[0], table[table.len() - 1]), (1.5, 0.0));
        }
    }

    #[test]
    fn shares_double_from_octave_to_octave() {
        let shares = [0, 32, 64, 128, 960, 992, 1024].map(knot_share);
        let smallest = 2_f64.powi(-15);
        assert_eq!(shares, [0.0, smallest / 2.0, smallest, smallest * 2.0, 0.5, 0.75, 1.0]);
    }

    #[test]
    fn gaussian_table_has_the_quartiles_of_a_truncated_gaussian() {
        let table = filter_distances(gaussian_window);
        // Φ⁻¹(0.25 · (Φ(3) − Φ(−3)) + Φ(−3)) / 2 = −0.33603 for σ = 1/2.
        let quartile = f32::from_bits(table[15 * 64]);
        assert!((quartile - 0.3360).abs() < 1e-3, "{quartile}");
    }

    #[test]
    fn smooth_lobe_reflects_everything_and_rough_one_as_integrated_by_hand() {
        let total = |cosine, roughness| lobe_albedo(cosine, roughness).iter().sum::<f64>();
        assert!((total(0.7, 0.0) - 1.0).abs() < 1e-3);
        // α = 1 and cosine 1: ∫ μ / (1 + μ) dμ from 0 to 1.
        assert!((total(1.0, 1.0) - (1.0 - std::f64::consts::LN_2)).abs() < 1e-4);
    }
}
