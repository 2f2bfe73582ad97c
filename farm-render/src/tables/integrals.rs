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

/// Knots of the table of glass along each axis, as the kernel has them, and
/// microfacet normals along each axis of its quadrature.
const GLASS_KNOTS: usize = 25;
const GLASS_NORMALS: usize = 48;

/// The largest magnitude of (n − 1) / (n + 1) in it, as the kernel has it.
const GLASS_LIMIT: f64 = 0.6;

/// Knots of the sheen's table along each axis, as the kernel has them, and steps of
/// its quadrature.
const SHEEN_KNOTS: usize = 32;
const SHEEN_STEPS: usize = 64;

/// The least α of the kernel's lobe.
const LEAST_ALPHA: f64 = 1.0e-3;

/// Every table's words, one after the other.
pub(crate) fn all_tables() -> [Vec<u32>; 5] {
    [
        albedo_table(),
        filter_distances(gaussian_window),
        filter_distances(blackman_harris_window),
        glass_table(),
        sheen_table(),
    ]
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

/// The unit vector at a cosine to +Z, aside along +X.
fn direction_at(cosine: f64) -> [f64; 3] {
    [(1.0 - cosine * cosine).max(0.0).sqrt(), 0.0, cosine]
}

/// Root in Smith's masking of a direction with this cosine.
fn smith_root(cosine: f64, alpha: f64) -> f64 {
    (alpha * alpha + (1.0 - alpha * alpha) * cosine * cosine).sqrt()
}

/// Microfacet normals of a GGX lobe as they are seen from `out`, `count` along each
/// axis (Heitz 2018).
fn visible_normals(out: [f64; 3], alpha: f64, count: usize) -> impl Iterator<Item = [f64; 3]> {
    let length = (out[0] * out[0] * alpha * alpha + out[2] * out[2]).sqrt();
    let stretched = [out[0] * alpha / length, 0.0, out[2] / length];
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let part = move |i: usize| (i as f64 + 0.5) / count as f64;
    (0..count * count).map(move |i| {
        let turn = 2.0 * PI * part(i / count);
        let height = (1.0 - part(i % count)) * (1.0 + stretched[2]) - stretched[2];
        let radius = (1.0 - height * height).max(0.0).sqrt();
        let cap = [
            (radius * turn.cos() + stretched[0]) * alpha,
            radius * turn.sin() * alpha,
            height + stretched[2],
        ];
        let norm = (cap[0] * cap[0] + cap[1] * cap[1] + cap[2] * cap[2]).sqrt();
        cap.map(|c| c / norm)
    })
}

/// Directional albedo of a GGX lobe with Schlick's Fresnel term: the part that
/// F0 scales and the part that F90 scales, by a midpoint rule over the visible
/// normals, whose weight is the masking of the way out alone.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn lobe_albedo(cosine: f64, roughness: f64) -> [f64; 2] {
    let alpha = (roughness * roughness).max(LEAST_ALPHA);
    let out = direction_at(cosine.max(1.0e-4));
    let z = out[2];
    let root_out = smith_root(z, alpha);
    let mut sum = [0.0; 2];
    for half in visible_normals(out, alpha, ALBEDO_NORMALS) {
        let along = out[0] * half[0] + out[2] * half[2];
        let incoming = 2.0 * along * half[2] - out[2];
        if incoming <= 0.0 {
            continue;
        }
        // G2 / G1 of height-correlated Smith masking.
        let weight = incoming * (z + root_out) / (incoming * root_out + z * smith_root(incoming, alpha));
        let fresnel = (1.0 - along).clamp(0.0, 1.0).powi(5);
        sum[0] += weight * (1.0 - fresnel);
        sum[1] += weight * fresnel;
    }
    sum.map(|s| s / (ALBEDO_NORMALS * ALBEDO_NORMALS) as f64)
}

/// Unpolarised reflectance between two dielectrics (Walter et al. 2007, equation
/// 22), as the kernel has it.
fn dielectric_reflectance(cosine: f64, ratio: f64) -> f64 {
    let square = ratio * ratio - 1.0 + cosine * cosine;
    if square <= 0.0 {
        return 1.0;
    }
    let g = square.sqrt();
    let parallel = (g - cosine) / (g + cosine);
    let across = (cosine * (g + cosine) - 1.0) / (cosine * (g - cosine) + 1.0);
    0.5 * parallel * parallel * (1.0 + across * across)
}

/// What microfacets of glass reflect and let through together, by the same rule;
/// `ratio` is the index behind them over that in front.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn glass_albedo(cosine: f64, roughness: f64, ratio: f64) -> f64 {
    let alpha = (roughness * roughness).max(LEAST_ALPHA);
    let out = direction_at(cosine.max(1.0e-4));
    let z = out[2];
    let root_out = smith_root(z, alpha);
    // G2 / G1 towards a cosine on either side.
    let unmasked =
        |incoming: f64| incoming * (z + root_out) / (incoming * root_out + z * smith_root(incoming, alpha));
    let mut sum = 0.0;
    for half in visible_normals(out, alpha, GLASS_NORMALS) {
        let along = out[0] * half[0] + out[2] * half[2];
        let reflectance = dielectric_reflectance(along, ratio);
        let mirrored = 2.0 * along * half[2] - out[2];
        if mirrored > 0.0 {
            sum += reflectance * unmasked(mirrored);
        }
        let square = 1.0 - (1.0 - along * along) / (ratio * ratio);
        let below = out[2] / ratio - half[2] * (along / ratio - square.max(0.0).sqrt());
        if square > 0.0 && below > 0.0 {
            sum += (1.0 - reflectance) * unmasked(below);
        }
    }
    sum / (GLASS_NORMALS * GLASS_NORMALS) as f64
}

/// The words of the table of glass: 16 bits each.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn glass_table() -> Vec<u32> {
    let knot = |index: usize| index as f64 / (GLASS_KNOTS - 1) as f64;
    let word = |i: usize| {
        let [x, y, z] = [i, i / GLASS_KNOTS, i / (GLASS_KNOTS * GLASS_KNOTS)].map(|j| knot(j % GLASS_KNOTS));
        let slope = (2.0 * z - 1.0) * (2.0 * z - 1.0).abs() * GLASS_LIMIT;
        let ratio = (1.0 + slope) / (1.0 - slope);
        fraction(glass_albedo(x * x, y, ratio))
    };
    (0..GLASS_KNOTS * GLASS_KNOTS * GLASS_KNOTS).map(word).collect()
}

/// Masking of the sheen's microfibres, as the kernel has it.
fn sheen_masking(cosine: f64, alpha: f64) -> f64 {
    let s = (1.0 - alpha) * (1.0 - alpha);
    let mix = |rough: f64, smooth: f64| rough + (smooth - rough) * s;
    let (a, b, c) = (mix(21.5473, 25.3245), mix(3.82987, 3.32435), mix(0.19823, 0.16801));
    let (d, e) = (mix(-1.97760, -1.27393), mix(-4.32054, -4.85967));
    let fit = |x: f64| a / (1.0 + b * x.powf(c)) + d * x + e;
    let exponent = if cosine < 0.5 { fit(cosine) } else { 2.0 * fit(0.5) - fit(1.0 - cosine) };
    exponent.exp()
}

/// Directional albedo of a white sheen, by a midpoint rule over the hemisphere.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn sheen_albedo(cosine: f64, roughness: f64) -> f64 {
    let alpha = (roughness * roughness).max(LEAST_ALPHA);
    let out = direction_at(cosine.max(1.0e-3));
    let masking_out = sheen_masking(out[2], alpha);
    let part = |i: usize| (i as f64 + 0.5) / SHEEN_STEPS as f64;
    let mut sum = 0.0;
    for row in 0..SHEEN_STEPS {
        // Finer towards the horizon, where it is bright.
        let z = part(row) * part(row);
        let weight = 2.0 * part(row);
        let sine = (1.0 - z * z).sqrt();
        let masking = 1.0 + masking_out + sheen_masking(z, alpha);
        for column in 0..SHEEN_STEPS {
            let turn = PI * part(column);
            let half = [out[0] + sine * turn.cos(), sine * turn.sin(), out[2] + z];
            let flat = half[0] * half[0] + half[1] * half[1];
            let sine_half = (flat / (flat + half[2] * half[2])).sqrt();
            let distribution = (2.0 + 1.0 / alpha) * sine_half.powf(1.0 / alpha) / (2.0 * PI);
            sum += weight * distribution / (4.0 * out[2] * masking);
        }
    }
    2.0 * PI * sum / (SHEEN_STEPS * SHEEN_STEPS) as f64
}

/// The words of the sheen's table: 16 bits each.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn sheen_table() -> Vec<u32> {
    let knot = |index: usize| (index % SHEEN_KNOTS) as f64 / (SHEEN_KNOTS - 1) as f64;
    let word = |i: usize| fraction(sheen_albedo(knot(i), knot(i / SHEEN_KNOTS)));
    (0..SHEEN_KNOTS * SHEEN_KNOTS).map(word).collect()
}

/// A number between 0 and 1 in 16 bits.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 16 bits")]
fn fraction(value: f64) -> u32 {
    (value.clamp(0.0, 1.0) * 65535.0).round() as u32
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

fn albedo_word(parts: [f64; 2]) -> u32 {
    let [f0, f90] = parts.map(fraction);
    f0 | f90 << 16
}

/// What the kernel must agree on, by its names.
#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(crate) fn kernel_constants() -> [(&'static str, f64); 5] {
    [
        ("ALBEDO_KNOTS", ALBEDO_KNOTS as f64),
        ("GLASS_KNOTS", GLASS_KNOTS as f64),
        ("SHEEN_KNOTS", SHEEN_KNOTS as f64),
        ("GLASS_LIMIT", GLASS_LIMIT),
        ("LEAST_ALPHA", LEAST_ALPHA),
    ]
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
