//! What the walks ask of a processor's instructions.

use super::beam::{Bounds, Packet};
use super::hit::EdgeTest;
use super::stack::Stack;
use super::traverse::{Search, Traversal};
use super::tree::{Child, WideNode};
use crate::layout::Triangle;

/// What is done with a processor's own instructions.
///
/// # Safety
///
/// The unsafe functions may be called where the processor has the level's
/// instructions, in a function that is compiled for them. `space` and
/// `children_met` want a `t_min` that is not negative, and `push_sorted` wants
/// at least one child to be met.
pub(super) trait Level {
    /// A ray made ready for a space.
    type Space;
    /// The bounds of rays that walk together.
    type Beam;
    /// The distances at which the children of a node are met.
    type Near: Copy;

    /// Makes a ray ready, grown by a share of its origin (see [`super::tree`]).
    ///
    /// The triangle test's part has the bits of the kernel's `local_ray`. What
    /// the planes' products are added to is kept finite, so that no distance
    /// becomes a NaN: planes lie within 10¹⁵, and reciprocals within 10¹⁸.
    unsafe fn space(origin: [f32; 3], direction: [f32; 3], origin_share: f32, t_min: f32) -> Self::Space;

    /// The third component of the shear.
    fn scale(space: &Self::Space) -> f32;

    /// The children that a ray meets between `t_min` and `t_max`, a bit each.
    unsafe fn children_met(space: &Self::Space, node: &WideNode, t_max: f32) -> (u32, Self::Near);

    /// Keys in the order of the distances; see [`key_limit`].
    unsafe fn keys(near: Self::Near) -> [i32; 8];

    /// Pushes all children that are met but the nearest, the farthest first, and
    /// returns the nearest.
    unsafe fn push_sorted(near: Self::Near, met: u32, children: &[Child; 8], stack: &mut Stack) -> Child;

    /// Makes a beam ready.
    unsafe fn beam(bounds: &Bounds) -> Self::Beam;

    /// The children that a ray of a beam may meet before `t_max`, a bit each, and
    /// distances before which none meets them. `t_min` must not be negative.
    unsafe fn children_met_by_beam(beam: &Self::Beam, node: &WideNode, t_max: f32) -> (u32, Self::Near);

    /// Calls `visit` for those of at most 3 triangles whose edge functions agree,
    /// until it returns true, and returns whether it did.
    unsafe fn triangles_met(
        space: &Self::Space,
        triangles: &[Triangle],
        visit: impl FnMut(u32, EdgeTest) -> bool,
    ) -> bool;

    /// [`Traversal::visit_mesh`], compiled for the level.
    unsafe fn visit_mesh(traversal: &Traversal<'_>, packet: &mut Packet<'_>, name: u32);

    /// [`Traversal::visit_instances`], compiled for the level.
    unsafe fn visit_instances<const ANY: bool>(
        traversal: &Traversal<'_>,
        search: &mut Search<'_>,
        leaf: Child,
    ) -> bool;
}

/// The largest key of a child that may hold a hit at `t` or before: keys are the
/// bits of distances, of which those below zero count as zero, and the lowest
/// three may be anything.
#[inline(always)]
pub(super) fn key_limit(t: f32) -> i32 {
    t.to_bits().cast_signed().max(0) | 7
}
