//! Samplers against their densities, lobes against energy and reciprocity: the
//! functions of the WGSL, called one by one in their native version.
//!
//! Each of these was broken on purpose and seen to fail:
//!
//! | what was broken | what failed |
//! | --- | --- |
//! | radius of a cosine-weighted direction, without its root | χ² of the lobes |
//! | share of the microfacet lobe in the density, 2 % too small | χ² of the lobes |
//! | compensation for multiple scattering, left out | furnace |
//! | Fresnel's angle, taken to the normal instead of the half vector | reciprocity |
//! | horizon of the triangle, left out | tilted normals |
//! | point on a triangle, without its root | χ² of points on a triangle |
//! | density of a triangle, 2 % too large | its solid angle |
//! | power heuristic, a square forgotten on one side | light only, lobes only and both |
//! | alias of a light, ignored | χ² of lights |
//! | alias of a cell of the sky, ignored | χ² of the sky |
//! | density of the sky, without the sine | χ² of the sky |
//! | turn of the sky, the wrong way | χ² of the sky |
//! | octave of a filter's table, off by one | χ² of the filters |
//! | place within a part of that table, left out | χ² of the filters |
//! | what a coat leaves, by F0 instead of its albedo | furnace under a coat |
//! | sheen's masking, its fit the other way round | furnace under a sheen |
//! | scale of glass for multiple scattering, left out | furnace of glass |
//! | a roughness of brushed metal, taken for both directions | furnace of brushed metal |
//! | Jacobian of refraction, by the other cosine | χ² of the lobes, furnace of glass |
//! | choice between reflection and refraction, not in the density | χ² of the lobes, furnace of thin walls |
//! | share of the coat's lobe in the density, too large | χ² of the lobes |
//! | factor of diffuse transmission, left out | furnace of thin walls, light behind a lampshade |
//! | absorption, 1 % too small | Beer's law |
//! | solids: never entered; all left at once | Beer's law; interface between equal indices |
//! | dispersion, its green channel too dark | colours part in glass |
//! | half a turn at the base of a film, the wrong way | quarter-wave films |
//! | node of a cut, found a second time by what is put in its place | closed sphere of emission and albedo |
//! | what a coat keeps of emission: on surfaces, on lights | coat over a lamp, density of a triangle |
//! | spread of the directions to a sphere, 2 % too large | their χ², and a lamp with a radius over, at and behind an edge |
//! | exposure, applied twice | exposure as a factor |
//! | two bounces, taken for direct light by the clamps | what took one bounce is direct |
//! | shutter, closed after half of its time | an edge, a scene and a lamp that move |
//! | box of a light: a corner left out, of its first place alone | box of what moves |
//! | cone of a light: a point, without the normals in between; a spot's, too narrow | cone of what moves; of a spot |
//! | box of a node, half as large, flat, rounded down; its cone, too narrow | nodes hold their lights |
//! | falloff of a node, of its last light; both sides, only where all lights have them | nodes hold their lights |
//! | cut: what is sent taken from the other child; the trail's place or its rest, lost | a chosen light is found |
//! | lights' nodes, seen from outside or inside under too small an angle | lights that reach a surface |
//! | weight of a node of the cut, the other part's | χ² of chosen lights |
//! | normals, tangents: when the shutter opens, of the first part, of its beginning | their values in between |
//! | normals, tangents of another shape; normals that grow as the instance does | their values in between |
//! | triangles, always between the first place and the next | a triangle that moves, drawn and hit |
//! | camera: right, up or place when the shutter opens; between the wrong keys | a camera that turns, that travels |
//!
//! And beyond the samplers:
//!
//! | what was broken | what failed |
//! | --- | --- |
//! | boxes of what moves, around its first place | rays against all triangles, the kernel as it is written |
//! | moment of a ray: its part, what of it is over, or those of other lanes | rays against all triangles |
//! | stacks of two lanes, swapped when stored or loaded | rays against all triangles |
//! | pages: mask, shift, one read for another, sizes of host and kernel that differ | elements of pages |
//! | rows of a buffer: where the last begins, words or lanes swapped | lanes against one lane |
//! | beam: a bound, an origin, its growth, its beginning or end wrong; axes that differ | rays that are alike |
//! | samples of a block, taken apart into places that another has | the kernel as it is written |
//! | switch of a feature, another's | a coat over what is under it |
//! | rows of a struct: one read for the next, words of one turned | surfaces and lights that move |

mod bsdf;
mod lights;
mod motion;

use statrs::distribution::{ChiSquared, ContinuousCDF as _};

use farm_scene::Scene;
use shaders::native::lanes1::{F32, Mask, U32};
use shaders::native::vector;

use super::assert_near;
use crate::Stage;
use crate::random::Random;

type Vec3 = vector::Vec3<F32>;

const ON: Mask = Mask::splat(true);

/// Samples of a χ² test.
const SAMPLES: u32 = 1_000_000;

/// Chance that all χ² tests of a group pass although the samplers are right.
const LEVEL: f64 = 0.01;

/// Cells in which fewer samples are expected are put together, as χ² is only then
/// nearly distributed as such (Cochran 1952).
const LEAST_EXPECTED: f64 = 5.0;

impl Random {
    fn lane(&mut self) -> U32 {
        self.word().into()
    }

    fn pair(&mut self) -> vector::Vec2<U32> {
        vector::Vec2::new(self.lane(), self.lane())
    }
}

/// A small scene's stage.
fn stage(scene: &Scene) -> Stage {
    Stage::new(scene).expect("small")
}

fn lanes(v: glam::DVec3) -> Vec3 {
    let [x, y, z] = v.as_vec3().to_array().map(F32::from);
    Vec3::new(x, y, z)
}

fn exact(v: Vec3) -> glam::DVec3 {
    glam::DVec3::new(float(v.x), float(v.y), float(v.z))
}

fn float(value: F32) -> f64 {
    f32::from(value).into()
}

/// Which of `count` even parts of 0 to 1 a value lies in.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "held between 0 and count")]
fn part_of(value: f64, count: usize) -> usize {
    ((value * count as f64) as usize).min(count - 1)
}

/// Probability of a χ² statistic at least as large as that of these counts, where
/// so many were expected (Pearson 1900).
fn chi_square_p_value(counts: &[f64], expected: &[f64]) -> f64 {
    let mut cells: Vec<(f64, f64)> = expected.iter().copied().zip(counts.iter().copied()).collect();
    cells.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut statistic, mut used) = (0.0, 0_u32);
    let (mut pooled_expected, mut pooled_count) = (0.0, 0.0);
    for (expected, count) in cells {
        pooled_expected += expected;
        pooled_count += count;
        if pooled_expected >= LEAST_EXPECTED {
            statistic += (pooled_count - pooled_expected).powi(2) / pooled_expected;
            used += 1;
            (pooled_expected, pooled_count) = (0.0, 0.0);
        }
    }
    // The largest cells come last, so less than one cell's worth is left over: a
    // sampler that puts many samples where none belong fails all the same.
    if pooled_count > 0.0 {
        statistic += (pooled_count - pooled_expected).powi(2) / LEAST_EXPECTED;
    }
    assert!(used > 1, "everything falls into one cell");
    let distribution = ChiSquared::new(f64::from(used - 1)).expect("there are two cells or more");
    1.0 - distribution.cdf(statistic)
}

/// Fails unless each p-value is as large as `LEVEL` asks of so many of them
/// together (Šidák 1967).
fn assert_all_probable(p_values: &[(String, f64)]) {
    let each = 1.0 - (1.0 - LEVEL).powf(1.0 / p_values.len() as f64);
    let failed: Vec<_> = p_values.iter().filter(|(_, p)| p.is_nan() || *p < each).collect();
    assert!(failed.is_empty(), "below {each:.2e}: {failed:#?}");
}

/// The sphere of directions in cells around an axis, the finer the nearer to it.
struct Sphere {
    axis: glam::DVec3,
    aside: glam::DVec3,
    up: glam::DVec3,
}

impl Sphere {
    const ROWS: usize = 32;
    const COLUMNS: usize = 24;
    const CELLS: usize = Self::ROWS * Self::COLUMNS;
    /// With s the row's place between 0 and 1, the cosine to the axis is 1 − 2s⁴.
    const POWER: i32 = 4;

    fn around(axis: glam::DVec3) -> Self {
        let axis = axis.normalize();
        let (aside, up) = axis.any_orthonormal_pair();
        Self { axis, aside, up }
    }

    /// The direction at a row's and a column's place, both between 0 and 1.
    fn direction(&self, s: f64, t: f64) -> glam::DVec3 {
        let u = s.powi(Self::POWER);
        let (sine, cosine) = (std::f64::consts::TAU * t).sin_cos();
        // √(1 − (1 − 2u)²), without the difference.
        let radius = 2.0 * (u * (1.0 - u)).sqrt();
        self.axis * (1.0 - 2.0 * u) + (self.aside * cosine + self.up * sine) * radius
    }

    /// Solid angle by area of (s, t).
    fn density(s: f64) -> f64 {
        4.0 * std::f64::consts::PI * f64::from(Self::POWER) * s.powi(Self::POWER - 1)
    }

    fn cell(&self, direction: glam::DVec3) -> usize {
        // From the chord rather than the cosine, which is exact near the axis.
        let u = (direction - self.axis).length_squared() / 4.0;
        let s = u.clamp(0.0, 1.0).powf(1.0 / f64::from(Self::POWER));
        let turn = direction.dot(self.up).atan2(direction.dot(self.aside)) / std::f64::consts::TAU;
        let t = turn.rem_euclid(1.0);
        part_of(s, Self::ROWS) * Self::COLUMNS + part_of(t, Self::COLUMNS)
    }

    /// A function's integral over each cell.
    fn integrate(&self, function: &mut dyn FnMut(glam::DVec3) -> f64) -> Vec<f64> {
        let mut integrals = Vec::with_capacity(Self::CELLS);
        let (height, width) = (1.0 / Self::ROWS as f64, 1.0 / Self::COLUMNS as f64);
        for row in 0..Self::ROWS {
            for column in 0..Self::COLUMNS {
                let (s, t) = (row as f64 * height, column as f64 * width);
                integrals.push(self.integrate_cell(function, [s, t], [height, width], 0));
            }
        }
        integrals
    }

    /// Gauss-Legendre's nine points against those of the four quarters, which are
    /// taken one by one where they differ, and at first in any case: a corner that
    /// the horizon cuts off is easily missed.
    fn integrate_cell(
        &self,
        function: &mut dyn FnMut(glam::DVec3) -> f64,
        [s, t]: [f64; 2],
        [height, width]: [f64; 2],
        depth: u32,
    ) -> f64 {
        const TOLERANCE: f64 = 2e-7;
        const LEAST_DEPTH: u32 = 2;
        const DEEPEST: u32 = 6;
        let mut nine = |s: f64, t: f64, height: f64, width: f64| {
            let knots = [(0.5 - 0.15_f64.sqrt(), 5.0), (0.5, 8.0), (0.5 + 0.15_f64.sqrt(), 5.0)];
            let mut sum = 0.0;
            for (x, weight_x) in knots {
                let row = s + height * x;
                for (y, weight_y) in knots {
                    let value = function(self.direction(row, t + width * y));
                    sum += weight_x * weight_y * value * Self::density(row);
                }
            }
            sum / 324.0 * height * width
        };
        let whole = nine(s, t, height, width);
        let half = [height / 2.0, width / 2.0];
        let corners = [[s, t], [s, t + half[1]], [s + half[0], t], [s + half[0], t + half[1]]];
        let parts: f64 = corners.iter().map(|&[s, t]| nine(s, t, half[0], half[1])).sum();
        let is_settled = depth >= LEAST_DEPTH && (whole - parts).abs() < TOLERANCE;
        if depth >= DEEPEST || is_settled {
            return parts;
        }
        corners.into_iter().map(|corner| self.integrate_cell(function, corner, half, depth + 1)).sum()
    }
}

/// How probable it is that directions come from a density over the sphere, whose
/// integral may be less than 1: `None` is drawn as often as that leaves.
fn directions_p_value(
    sphere: &Sphere,
    density: &mut dyn FnMut(glam::DVec3) -> f64,
    draw: &mut dyn FnMut() -> Option<glam::DVec3>,
) -> f64 {
    let mut expected = sphere.integrate(density);
    let total: f64 = expected.iter().sum();
    assert!(total < 1.0 + 2e-3, "the density integrates to {total}");
    expected.push((1.0 - total).max(0.0));
    expected.iter_mut().for_each(|share| *share *= f64::from(SAMPLES));
    let mut counts = vec![0.0; expected.len()];
    for _ in 0..SAMPLES {
        counts[draw().map_or(Sphere::CELLS, |direction| sphere.cell(direction))] += 1.0;
    }
    chi_square_p_value(&counts, &expected)
}

#[test]
fn chi_square_tells_right_from_wrong() {
    let mut random = Random(1);
    let mut counts = vec![0.0; 100];
    for _ in 0..100_000 {
        counts[part_of(random.unit(), 100)] += 1.0;
    }
    let even = vec![1000.0; 100];
    let p = chi_square_p_value(&counts, &even);
    assert!(p > 0.001, "{p}");
    let mut tilted = even.clone();
    tilted[..50].fill(1050.0);
    tilted[50..].fill(950.0);
    assert!(chi_square_p_value(&counts, &tilted) < 1e-4);
}

#[test]
fn cells_tile_the_sphere() {
    let sphere = Sphere::around(glam::DVec3::new(0.3, -0.5, 0.8));
    let areas = sphere.integrate(&mut |_| 1.0);
    let total: f64 = areas.iter().sum();
    assert_near(total, 4.0 * std::f64::consts::PI, 1e-9);
    let mut random = Random(2);
    for _ in 0..1000 {
        let (s, t) = (random.unit(), random.unit());
        let cell = part_of(s, Sphere::ROWS) * Sphere::COLUMNS + part_of(t, Sphere::COLUMNS);
        assert_eq!(sphere.cell(sphere.direction(s, t)), cell);
    }
}
