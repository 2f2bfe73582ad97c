//! Values over time: the keys of one animation sampler and what lies between
//! them (glTF 2.0, appendix C).
//!
//! Everything is f64. Slerp takes its angle functions from `libm`, a library of
//! its own, and not from the platform's, so that every machine gets the same
//! bits.

use std::sync::Arc;

use glam::{DQuat, DVec4};

/// How values between two keys are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interpolation {
    /// The key before holds.
    Step,
    /// On the straight line, or on the arc between two rotations.
    Linear,
    /// On a cubic Hermite spline; each key is an in-tangent, a value and an
    /// out-tangent.
    CubicSpline,
}

impl Interpolation {
    /// Values that are stored for each key.
    pub(super) fn values_per_key(self) -> usize {
        if self == Self::CubicSpline { 3 } else { 1 }
    }
}

/// Values over time. There is at least one key, times never fall, and there are
/// `width` numbers for each value; [`super::animations`] upholds it.
#[derive(Debug)]
pub(super) struct Curve {
    pub(super) times: Arc<[f32]>,
    pub(super) values: Vec<f32>,
    pub(super) width: usize,
    pub(super) interpolation: Interpolation,
}

/// A time as a curve sees it.
enum Moment {
    /// At a key, or beyond the first or the last one.
    At(usize),
    /// Between a key and the next one: the part of the interval that is over,
    /// and its length in seconds.
    Between { key: usize, part: f64, seconds: f64 },
}

impl Curve {
    /// The value at a time, number by number.
    pub(super) fn at(&self, time: f64) -> Vec<f64> {
        let (key, part, seconds) = match self.moment(time) {
            Moment::At(key) => return self.value(key).collect(),
            Moment::Between { key, part, seconds } => (key, part, seconds),
        };
        let ends = self.value(key).zip(self.value(key + 1));
        match self.interpolation {
            Interpolation::Step => self.value(key).collect(),
            Interpolation::Linear => ends.map(|(from, to)| from + (to - from) * part).collect(),
            Interpolation::CubicSpline => {
                let tangents = self.stored(key, 2).zip(self.stored(key + 1, 0));
                let hermite =
                    |((from, to), (out, into))| hermite(from, out * seconds, to, into * seconds, part);
                ends.zip(tangents).map(hermite).collect()
            }
        }
    }

    /// The rotation at a time; its length is 1, or 0 where a spline passes
    /// through nothing.
    pub(super) fn rotation_at(&self, time: f64) -> [f64; 4] {
        let quaternion = |values: Vec<f64>| DVec4::from_slice(&values).normalize_or_zero();
        match (self.moment(time), self.interpolation) {
            (Moment::Between { key, part, .. }, Interpolation::Linear) => {
                let [from, to] = [key, key + 1].map(|key| quaternion(self.value(key).collect()));
                slerp(from, to, part).to_array()
            }
            _ => quaternion(self.at(time)).to_array(),
        }
    }

    fn moment(&self, time: f64) -> Moment {
        let next = self.times.partition_point(|&key| f64::from(key) <= time);
        if next == 0 || next == self.times.len() {
            return Moment::At(next.saturating_sub(1));
        }
        let [from, to] = [next - 1, next].map(|key| f64::from(self.times[key]));
        let seconds = to - from;
        if from == time {
            Moment::At(next - 1)
        } else {
            Moment::Between { key: next - 1, part: (time - from) / seconds, seconds }
        }
    }

    fn value(&self, key: usize) -> impl Iterator<Item = f64> {
        self.stored(key, self.interpolation.values_per_key() / 2)
    }

    /// One of the values that are stored for a key.
    fn stored(&self, key: usize, which: usize) -> impl Iterator<Item = f64> {
        let start = (key * self.interpolation.values_per_key() + which) * self.width;
        self.values[start..start + self.width].iter().map(|&value| f64::from(value))
    }
}

/// The cubic Hermite spline (glTF 2.0, appendix C.5).
fn hermite(from: f64, out: f64, to: f64, into: f64, t: f64) -> f64 {
    let (t2, t3) = (t * t, t * t * t);
    (2.0 * t3 - 3.0 * t2 + 1.0) * from
        + (t3 - 2.0 * t2 + t) * out
        + (3.0 * t2 - 2.0 * t3) * to
        + (t3 - t2) * into
}

/// The rotation on the shorter arc between two of unit length (glTF 2.0,
/// appendix C.4).
fn slerp(from: DVec4, to: DVec4, t: f64) -> DVec4 {
    let to = if from.dot(to) < 0.0 { -to } else { to };
    // Exact for small angles too, where the arc cosine is not.
    let angle = 2.0 * libm::atan2((to - from).length(), (to + from).length());
    let sine = libm::sin(angle);
    if sine < 1e-9 {
        return from.lerp(to, t).normalize_or_zero();
    }
    let [near, far] = [1.0 - t, t].map(|part| libm::sin(part * angle) / sine);
    (from * near + to * far).normalize_or_zero()
}

/// A rotation of unit length from its four numbers, if it has one.
pub(super) fn unit_rotation(rotation: [f64; 4]) -> Option<DQuat> {
    let rotation = DQuat::from_array(rotation);
    let length = rotation.length();
    (length.is_finite() && length > 1e-6).then(|| rotation / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(interpolation: Interpolation, times: &[f32], width: usize, values: &[f32]) -> Curve {
        assert_eq!(values.len(), times.len() * width * interpolation.values_per_key());
        Curve { times: times.into(), values: values.to_vec(), width, interpolation }
    }

    #[track_caller]
    fn check(curve: &Curve, expected: &[(f64, f64)]) {
        for &(time, value) in expected {
            let found = curve.at(time)[0];
            assert!((found - value).abs() < 1e-12, "at {time}: {found}, not {value}");
        }
    }

    #[test]
    fn steps_hold_until_the_next_key() {
        let curve = curve(Interpolation::Step, &[1.0, 2.0, 4.0], 1, &[10.0, 20.0, 40.0]);
        check(
            &curve,
            &[(-1.0, 10.0), (1.0, 10.0), (1.999, 10.0), (2.0, 20.0), (3.9, 20.0), (4.0, 40.0), (9.0, 40.0)],
        );
    }

    #[test]
    fn lines_join_the_keys() {
        let curve = curve(Interpolation::Linear, &[1.0, 2.0, 4.0], 1, &[10.0, 20.0, 0.0]);
        check(
            &curve,
            &[(0.0, 10.0), (1.0, 10.0), (1.25, 12.5), (2.0, 20.0), (3.5, 5.0), (4.0, 0.0), (1e9, 0.0)],
        );
    }

    #[test]
    fn numbers_of_a_value_move_side_by_side() {
        let curve = curve(Interpolation::Linear, &[0.0, 2.0], 3, &[0.0, 1.0, 2.0, 4.0, 1.0, 0.0]);
        assert_eq!(curve.at(0.5), [1.0, 1.0, 1.5]);
    }

    /// The cubic x³ − x from −1 to 3 has slopes 2 and 26 at the ends; a spline
    /// with these is the cubic itself.
    #[test]
    fn splines_follow_a_cubic_whose_slopes_they_have() {
        let cubic = |x: f64| x * x * x - x;
        let keys = [99.0, 0.0, 2.0, 26.0, 24.0, 99.0];
        let curve = curve(Interpolation::CubicSpline, &[-1.0, 3.0], 1, &keys);
        let times = [-1.0, -0.5, 0.0, 0.7, 2.5, 3.0];
        check(&curve, &times.map(|time| (time, cubic(time))));
        check(&curve, &[(-2.0, 0.0), (3.5, 24.0)]);
    }

    /// A turn by `degrees` about z.
    fn turn(degrees: f64) -> [f64; 4] {
        let (sin, cos) = (degrees.to_radians() / 2.0).sin_cos();
        [0.0, 0.0, sin, cos]
    }

    #[expect(clippy::cast_possible_truncation, reason = "keys are f32")]
    fn turns(interpolation: Interpolation, degrees: [f64; 2], signs: [f64; 2]) -> Curve {
        let keys: Vec<f32> =
            degrees.iter().zip(signs).flat_map(|(&it, sign)| turn(it).map(|x| (x * sign) as f32)).collect();
        curve(interpolation, &[0.0, 1.0], 4, &keys)
    }

    #[track_caller]
    fn check_turn(curve: &Curve, time: f64, degrees: f64) {
        let found = DVec4::from_array(curve.rotation_at(time));
        let expected = DVec4::from_array(turn(degrees));
        assert!((found.dot(expected).abs() - 1.0).abs() < 1e-12, "{found} at {time}, not {expected}");
        assert!((found.length() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn rotations_keep_their_speed_on_the_shorter_arc() {
        for signs in [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]] {
            let curve = turns(Interpolation::Linear, [10.0, 130.0], signs);
            for (time, degrees) in [(-1.0, 10.0), (0.0, 10.0), (0.25, 40.0), (0.75, 100.0), (1.0, 130.0)] {
                check_turn(&curve, time, degrees);
            }
        }
        let long_way = turns(Interpolation::Linear, [10.0, 350.0], [1.0, 1.0]);
        check_turn(&long_way, 0.5, 0.0);
    }

    #[test]
    fn equal_and_opposite_rotations_have_something_between() {
        check_turn(&turns(Interpolation::Linear, [30.0, 30.0], [1.0, -1.0]), 0.3, 30.0);
        check_turn(&turns(Interpolation::Linear, [0.0, 180.0], [1.0, 1.0]), 0.5, 90.0);
    }

    #[test]
    fn stepped_rotations_are_of_unit_length() {
        let long = curve(Interpolation::Step, &[0.0], 4, &[0.0, 0.0, 3.0, 3.0]);
        check_turn(&long, 5.0, 90.0);
    }

    #[test]
    fn keys_at_one_time_are_a_jump() {
        let curve = curve(Interpolation::Linear, &[0.0, 1.0, 1.0, 2.0], 1, &[0.0, 1.0, 5.0, 6.0]);
        check(&curve, &[(0.5, 0.5), (1.0, 5.0), (1.5, 5.5)]);
    }
}
