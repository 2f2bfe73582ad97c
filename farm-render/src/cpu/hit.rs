//! What a ray is and what it hits: the parts of the triangle test, in the kernel's
//! order of operations.

use crate::layout::{NONE, Triangle, triangle_flags};

/// A ray; hits lie after (`t_min`, `after_instance`, `after_triangle`) and before
/// `t_max`, in units of the direction's length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ray {
    pub(crate) origin: [f32; 3],
    pub(crate) direction: [f32; 3],
    pub(crate) t_min: f32,
    pub(crate) t_max: f32,
    pub(crate) after_instance: u32,
    pub(crate) after_triangle: u32,
    /// When it is, in units of 2⁻³² of the time of the shutter.
    pub(crate) time: u32,
}

/// A hit; `instance` is `NONE` where there is none. `b` and `c` weigh the second
/// and the third corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hit {
    pub(crate) t: f32,
    pub(crate) instance: u32,
    pub(crate) triangle: u32,
    pub(crate) b: f32,
    pub(crate) c: f32,
    pub(crate) front: bool,
    pub(crate) opaque: bool,
}

/// A triangle whose edge functions agree in sign, and its corners' depths.
#[derive(Clone, Copy, Debug)]
pub(super) struct EdgeTest {
    pub(super) edges: [f32; 3],
    pub(super) depths: [f32; 3],
}

pub(super) fn no_hit(ray: &Ray) -> Hit {
    Hit { t: ray.t_max, instance: NONE, triangle: NONE, b: 0.0, c: 0.0, front: false, opaque: true }
}

/// The axes in the order that makes the direction's longest the last.
#[inline(always)]
pub(super) fn permutation(direction: [f32; 3]) -> [usize; 3] {
    let [x, y, z] = direction.map(f32::abs);
    match (x >= y && x >= z, y >= z) {
        (true, _) => [1, 2, 0],
        (false, true) => [2, 0, 1],
        (false, false) => [0, 1, 2],
    }
}

/// The shear that turns the direction into the last of the axes in this order, of
/// length 1; `inverse` holds reciprocals.
#[inline(always)]
pub(super) fn shear(direction: [f32; 3], inverse: [f32; 3], [i, j, k]: [usize; 3]) -> [f32; 3] {
    let scale = inverse[k];
    [direction[i] * scale, direction[j] * scale, scale]
}

/// A triangle's hit, from where its edge functions are known to agree; the order
/// of operations is that of `intersect_triangle`.
#[inline(always)]
pub(super) fn hit_of(
    scale: f32,
    triangle: &Triangle,
    place: u32,
    inside: u32,
    test: &EdgeTest,
) -> Option<Hit> {
    let EdgeTest { edges: [u, v, w], depths: [a, b, c] } = test;
    let determinant = u + v + w;
    // It is no NaN, as its terms have one sign.
    if determinant == 0.0 {
        return None;
    }
    let inverse = 1.0 / determinant;
    let front = (determinant > 0.0) == (scale > 0.0);
    let (owner, flags) = (triangle.a[3], triangle.c[3]);
    if !front && flags & triangle_flags::CULLS_BACK != 0 {
        return None;
    }
    Some(Hit {
        t: (u * a + v * b + w * c) * (scale * inverse),
        instance: if owner == NONE { inside } else { owner },
        triangle: place,
        b: v * inverse,
        c: w * inverse,
        front,
        opaque: flags & triangle_flags::OPAQUE != 0,
    })
}

/// A component too small to divide by counts as a tiny one of the same sign.
#[inline(always)]
pub(super) fn divisible(x: f32) -> f32 {
    let tiny = if x < 0.0 { -1.0e-18 } else { 1.0e-18 };
    if x.abs() < 1.0e-18 { tiny } else { x }
}

/// Rows of an affine map times a point.
pub(super) fn transform_point(rows: &[[f32; 4]; 3], point: &[f32; 3]) -> [f32; 3] {
    rows.map(|row| dot3(&row, point) + row[3])
}

/// Rows of an affine map times a direction.
pub(super) fn transform_direction(rows: &[[f32; 4]; 3], direction: &[f32; 3]) -> [f32; 3] {
    rows.map(|row| dot3(&row, direction))
}

/// The first three of a row times a vector.
fn dot3(row: &[f32; 4], v: &[f32; 3]) -> f32 {
    (row[0] * v[0] + row[1] * v[1]) + row[2] * v[2]
}

/// Twice the cross product of `b` and `a`.
#[inline(always)]
pub(super) fn edge(a: [f32; 2], b: [f32; 2]) -> f32 {
    (b[0] - a[0]) * (b[1] + a[1]) - (b[1] - a[1]) * (b[0] + a[0])
}

/// Whether (instance, triangle) comes before another: the order that breaks ties
/// between equal distances.
#[inline(always)]
fn comes_before(instance: u32, triangle: u32, other_instance: u32, other_triangle: u32) -> bool {
    instance < other_instance || (instance == other_instance && triangle < other_triangle)
}

/// Whether a hit lies behind the ray's beginning and before the best one.
#[inline(always)]
pub(super) fn beats(ray: &Ray, best: &Hit, hit: &Hit) -> bool {
    let behind = hit.t > ray.t_min
        || (hit.t == ray.t_min
            && comes_before(ray.after_instance, ray.after_triangle, hit.instance, hit.triangle));
    let closer = hit.t < best.t
        || (hit.t == best.t && comes_before(hit.instance, hit.triangle, best.instance, best.triangle));
    behind && closer
}
