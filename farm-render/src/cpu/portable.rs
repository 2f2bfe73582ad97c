//! Nodes and leaves in plain Rust, which compilers make vectors of.

use super::beam::{Bounds, Packet};
use super::hit::{EdgeTest, divisible, edge, permutation, shear};
use super::level::Level;
use super::stack::Stack;
use super::traverse::{Search, Traversal};
use super::tree::{Child, WideNode};
use crate::layout::Triangle;

/// What every processor can do.
pub(super) struct Portable;

/// A ray in a space.
pub(super) struct Space {
    origin: [f32; 3],
    inverse: [f32; 3],
    /// Which of a node's two sets of planes is near, by axis.
    near_side: [usize; 3],
    /// What a plane's coordinate times `inverse` is added to: the distance of
    /// the origin, less or plus what it is grown by.
    near_base: [f32; 3],
    far_base: [f32; 3],
    t_min: f32,
    /// The axes in the order that makes the direction's longest the last.
    permutation: [usize; 3],
    /// Shear that turns the direction into that axis.
    shear: [f32; 3],
}

/// Of two distances the larger one; a NaN never wins, as no box may be missed
/// because of one.
#[inline(always)]
fn larger(distance: f32, than: f32) -> f32 {
    if distance > than { distance } else { than }
}

#[inline(always)]
fn smaller(distance: f32, than: f32) -> f32 {
    if distance < than { distance } else { than }
}

/// A bit for each child that begins before it ends.
#[inline(always)]
fn met(near: &[f32; 8], far: &[f32; 8]) -> u32 {
    // The first child's bit is shifted like the others: compilers make vectors
    // only of what is alike.
    let mut met = 0;
    for child in 0..8 {
        met |= u32::from(near[child] <= far[child]) << (child + 1);
    }
    met >> 1
}

impl Level for Portable {
    type Space = Space;
    type Beam = Bounds;
    type Near = [f32; 8];

    #[inline(always)]
    unsafe fn space(origin: [f32; 3], direction: [f32; 3], origin_share: f32, t_min: f32) -> Space {
        let inverse = direction.map(|x| 1.0 / divisible(x));
        let largest = origin.into_iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let base = |axis: usize, sign: f32| {
            let pad = largest * origin_share * inverse[axis].abs();
            (sign * pad - origin[axis] * inverse[axis]).clamp(-3.0e38, 3.0e38)
        };
        let permutation = permutation(direction);
        Space {
            origin,
            inverse,
            near_side: inverse.map(|x| usize::from(x < 0.0)),
            near_base: [base(0, -1.0), base(1, -1.0), base(2, -1.0)],
            far_base: [base(0, 1.0), base(1, 1.0), base(2, 1.0)],
            t_min,
            permutation,
            shear: shear(direction, inverse, permutation),
        }
    }

    #[inline(always)]
    fn scale(space: &Space) -> f32 {
        space.shear[2]
    }

    #[inline(always)]
    unsafe fn children_met(space: &Space, node: &WideNode, t_max: f32) -> (u32, [f32; 8]) {
        let mut near = [space.t_min; 8];
        let mut far = [t_max; 8];
        for axis in 0..3 {
            let near_planes = &node.planes[axis][space.near_side[axis]];
            let far_planes = &node.planes[axis][1 - space.near_side[axis]];
            let inverse = space.inverse[axis];
            let (near_base, far_base) = (space.near_base[axis], space.far_base[axis]);
            for child in 0..8 {
                near[child] = larger(near_planes[child] * inverse + near_base, near[child]);
                far[child] = smaller(far_planes[child] * inverse + far_base, far[child]);
            }
        }
        (met(&near, &far), near)
    }

    #[inline(always)]
    unsafe fn beam(bounds: &Bounds) -> Bounds {
        *bounds
    }

    #[inline(always)]
    unsafe fn children_met_by_beam(beam: &Bounds, node: &WideNode, t_max: f32) -> (u32, [f32; 8]) {
        let mut near = [beam.t_min; 8];
        let mut far = [t_max; 8];
        for axis in 0..3 {
            let near_planes = &node.planes[axis][beam.near_side[axis]];
            let far_planes = &node.planes[axis][1 - beam.near_side[axis]];
            let (near_origin, far_origin) =
                (beam.origin_towards(axis, true), beam.origin_towards(axis, false));
            let [low, high] = beam.inverse.map(|inverse| inverse[axis]);
            for child in 0..8 {
                let (to_near, to_far) = (near_planes[child] - near_origin, far_planes[child] - far_origin);
                near[child] = larger(smaller(to_near * low, to_near * high), near[child]);
                far[child] = smaller(larger(to_far * low, to_far * high), far[child]);
            }
        }
        (met(&near, &far), near)
    }

    #[inline(always)]
    unsafe fn keys(near: [f32; 8]) -> [i32; 8] {
        near.map(|distance| distance.to_bits().cast_signed().max(0))
    }

    #[inline(always)]
    unsafe fn push_sorted(near: [f32; 8], mut met: u32, children: &[Child; 8], stack: &mut Stack) -> Child {
        // SAFETY: there is nothing to uphold at this level.
        let keys = unsafe { Self::keys(near) };
        let mut sorted = [(0, Child::NOTHING); 8];
        let mut count = 0;
        while met != 0 {
            let slot = met.trailing_zeros() as usize & 7;
            met &= met - 1;
            // Farthest first.
            let mut place = count;
            while place > 0 && sorted[place - 1].0 < keys[slot] {
                sorted[place] = sorted[place - 1];
                place -= 1;
            }
            sorted[place] = (keys[slot], children[slot]);
            count += 1;
        }
        for &(key, child) in &sorted[..count - 1] {
            stack.push(child, key);
        }
        sorted[count - 1].1
    }

    #[inline(always)]
    unsafe fn triangles_met(
        space: &Space,
        triangles: &[Triangle],
        mut visit: impl FnMut(u32, EdgeTest) -> bool,
    ) -> bool {
        let Space { origin, permutation: [x, y, z], shear, .. } = space;
        for (index, triangle) in (0..).zip(triangles) {
            let corners = [triangle.a, triangle.b, triangle.c]
                .map(|v| [*x, *y, *z].map(|axis| f32::from_bits(v[axis]) - origin[axis]));
            let [a, b, c] = corners.map(|v| [v[0] - shear[0] * v[2], v[1] - shear[1] * v[2]]);
            let edges = [edge(b, c), edge(c, a), edge(a, b)];
            let agree = edges.iter().all(|&e| e >= 0.0) || edges.iter().all(|&e| e <= 0.0);
            if agree && visit(index, EdgeTest { edges, depths: corners.map(|v| v[2]) }) {
                return true;
            }
        }
        false
    }

    #[inline(always)]
    unsafe fn visit_mesh(traversal: &Traversal<'_>, packet: &mut Packet<'_>, name: u32) {
        walk_mesh(traversal, packet, name);
    }

    #[inline(always)]
    unsafe fn visit_instances<const ANY: bool>(
        traversal: &Traversal<'_>,
        search: &mut Search<'_>,
        leaf: Child,
    ) -> bool {
        visit::<ANY>(traversal, search, leaf)
    }
}

/// [`Traversal::visit_instances`].
#[inline(never)]
fn visit<const ANY: bool>(traversal: &Traversal<'_>, search: &mut Search<'_>, leaf: Child) -> bool {
    // SAFETY: every processor has this level.
    unsafe { traversal.visit_instances::<Portable, ANY>(search, leaf) }
}

/// [`Traversal::visit_mesh`].
#[inline(never)]
fn walk_mesh(traversal: &Traversal<'_>, packet: &mut Packet<'_>, name: u32) {
    // SAFETY: every processor has this level.
    unsafe { traversal.visit_mesh::<Portable>(packet, name) }
}
