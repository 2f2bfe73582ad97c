//! Random numbers and noise from hashes of integers.

/// A hash of 64 bits: the finaliser of SplitMix64 (Steele et al. 2014).
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A sequence of random numbers.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// Uniform in 0..1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64")]
    pub(super) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(1);
        (mix(self.0) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform between two numbers.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }
}

/// Smooth value noise in 0..1 with one random value at each integer point,
/// repeating after `period` in both directions.
pub(super) fn noise(x: f64, y: f64, period: i64, seed: u64) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "coordinates are small")]
    let (column, row) = (x.floor() as i64, y.floor() as i64);
    let (fx, fy) = (smooth(x - x.floor()), smooth(y - y.floor()));
    let value = |dx: i64, dy: i64| {
        let (x, y) = ((column + dx).rem_euclid(period), (row + dy).rem_euclid(period));
        Random::new(seed ^ mix(x.unsigned_abs()) ^ mix(y.unsigned_abs()).rotate_left(17)).unit()
    };
    let top = value(0, 0) + (value(1, 0) - value(0, 0)) * fx;
    let bottom = value(0, 1) + (value(1, 1) - value(0, 1)) * fx;
    top + (bottom - top) * fy
}

/// Octaves of noise, each twice as fine and half as strong; 0..1.
pub(super) fn fractal(x: f64, y: f64, period: i64, octaves: u32, seed: u64) -> f64 {
    let (mut sum, mut weight, mut total, mut scale) = (0.0, 1.0, 0.0, 1.0);
    let mut period = period;
    for octave in 0..octaves {
        sum += weight * noise(x * scale, y * scale, period, seed.wrapping_add(u64::from(octave)));
        total += weight;
        weight *= 0.5;
        scale *= 2.0;
        period *= 2;
    }
    sum / total
}

/// The cubic that is 0 below 0, 1 above 1, and smooth between.
pub(super) fn smooth(x: f64) -> f64 {
    let x = x.clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

/// Between two colours.
pub(super) fn blend(from: [f64; 3], to: [f64; 3], share: f64) -> [f64; 3] {
    std::array::from_fn(|i| from[i] + (to[i] - from[i]) * share)
}

/// A saturated colour (linear) of a hue in turns.
pub(super) fn hue(turns: f64) -> [f64; 3] {
    [0.0, 1.0 / 3.0, 2.0 / 3.0].map(|offset| {
        let distance = (turns - offset).rem_euclid(1.0);
        let distance = distance.min(1.0 - distance);
        smooth(1.5 - 4.0 * distance.min(0.5) * 1.2)
    })
}
