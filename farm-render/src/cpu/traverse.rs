//! A ray in, a hit out: the processor's version of `shaders/wgsl/traverse.wgsl`.
//!
//! It returns the same bits as the kernel where the kernel's products and sums
//! are rounded one by one: the triangle test and the maps into mesh space are
//! written in its order, and ties are broken as there. Which boxes are entered
//! on the way is another matter, and the order of that is free; so with
//! `any_opaque`, which takes the first opaque triangle that is met, the two may
//! return different ones.
//!
//! What depends on the instructions of a processor is a [`Level`]; the walk
//! itself is written once.

use std::hint::select_unpredictable;
use std::slice;

use bytemuck::Zeroable as _;

#[cfg(target_arch = "x86_64")]
use super::avx2::{Vectors, closest_avx2, closest_avx512, together_avx2, together_avx512};
use super::beam::{Bounds, Packet};
#[cfg(target_arch = "x86_64")]
use super::lanes16;
use super::portable::Portable;
use super::stack::Stack;
use super::tree::{COORDINATE_SHARE, Child, WideNode, WideTree, referenced_instance};
use crate::layout::{Instance, NONE, Triangle, triangle_flags};

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

/// A ray on its way, in both spaces.
pub(super) struct Search<'r> {
    ray: &'r Ray,
    pub(super) best: Hit,
    stack: Stack,
}

impl<'r> Search<'r> {
    #[inline(always)]
    pub(super) fn new(ray: &'r Ray) -> Self {
        Self { ray, best: no_hit(ray), stack: Stack::new() }
    }
}

pub(super) fn no_hit(ray: &Ray) -> Hit {
    Hit { t: ray.t_max, instance: NONE, triangle: NONE, b: 0.0, c: 0.0, front: false, opaque: true }
}

/// What a step came to.
enum Step {
    Taken,
    /// Nothing is left in this tree.
    WalkDone,
    /// Nothing can come of what is left.
    SearchOver,
}

/// What rays are traced against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traversal<'a> {
    pub(super) tree: &'a WideTree,
    pub(super) triangles: &'a [Triangle],
    pub(super) instances: &'a [Instance],
    /// Parts of the shutter's time; 0 where nothing moves.
    pub(super) parts: u32,
    kind: Kind,
}

/// Entries of a leaf at most.
const MOST_ENTRIES: usize = 3;

/// The levels, the best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Kind {
    /// The levels of this processor, the best last.
    fn detected() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let vectors =
            [(Self::Avx2, Vectors::<false>::are_here()), (Self::Avx512, Vectors::<true>::are_here())];
        #[cfg(not(target_arch = "x86_64"))]
        let vectors: [(Self, bool); 0] = [];
        let vectors = vectors.into_iter().filter_map(|(kind, is_here)| is_here.then_some(kind));
        std::iter::once(Self::Portable).chain(vectors)
    }
}

impl<'a> Traversal<'a> {
    /// Makes a tree ready for rays; `triangles`, `instances` and `parts` must be
    /// those that it was built with.
    pub(crate) fn new(
        tree: &'a WideTree,
        triangles: &'a [Triangle],
        instances: &'a [Instance],
        parts: u32,
    ) -> Self {
        let kind = Kind::detected().last().unwrap_or(Kind::Portable);
        Self { tree, triangles, instances, parts, kind }
    }

    /// Finds the closest hit of a ray; with `any_opaque` it stops at the first
    /// hit on an opaque triangle, and that one is returned however far it is.
    #[inline]
    pub(crate) fn closest(&self, ray: &Ray, any_opaque: bool) -> Hit {
        // SAFETY: the kind was detected, and everything is portable.
        unsafe {
            match (self.kind, any_opaque) {
                // Vectors compare distances in a way that wants none below zero.
                #[cfg(target_arch = "x86_64")]
                (Kind::Avx512, false) if ray.t_min >= 0.0 => closest_avx512::<false>(self, ray),
                #[cfg(target_arch = "x86_64")]
                (Kind::Avx512, true) if ray.t_min >= 0.0 => closest_avx512::<true>(self, ray),
                #[cfg(target_arch = "x86_64")]
                (Kind::Avx2, false) if ray.t_min >= 0.0 => closest_avx2::<false>(self, ray),
                #[cfg(target_arch = "x86_64")]
                (Kind::Avx2, true) if ray.t_min >= 0.0 => closest_avx2::<true>(self, ray),
                (_, false) => self.walk_world::<Portable, false>(ray),
                (_, true) => self.walk_world::<Portable, true>(ray),
            }
        }
    }

    /// Finds the closest hits of at most [`super::beam::BEAM`] rays, soonest where these are alike.
    pub(crate) fn closest_together(&self, rays: &[Ray], hits: &mut [Hit]) {
        let is_alike = rays.iter().all(|ray| ray.t_min >= 0.0);
        // SAFETY: the kind was detected, and everything is portable.
        unsafe {
            match self.kind {
                #[cfg(target_arch = "x86_64")]
                Kind::Avx512 if is_alike => together_avx512(self, rays, hits),
                #[cfg(target_arch = "x86_64")]
                Kind::Avx2 if is_alike => together_avx2(self, rays, hits),
                _ => self.walk_together::<Portable>(rays, hits),
            }
        }
    }

    /// What many rays at a time are traced against, where the processor can and
    /// the tree was given what it takes.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn in_lanes(&self) -> Option<lanes16::Scene<'a>> {
        let quads = self.tree.quads.as_ref().filter(|_| self.kind == Kind::Avx512)?;
        let Self { triangles, instances, parts, .. } = *self;
        Some(lanes16::Scene { quads, triangles, instances, parts })
    }

    /// # Safety
    ///
    /// The processor must have the level's instructions.
    #[inline(always)]
    pub(super) unsafe fn walk_world<L: Level, const ANY: bool>(&self, ray: &Ray) -> Hit {
        let mut search = Search::new(ray);
        if self.tree.root != NONE {
            // SAFETY: the caller has the level's instructions.
            unsafe {
                let space = L::space(ray.origin, ray.direction, self.tree.origin_share, ray.t_min);
                self.walk::<L, ANY, false>(&mut search, &space, Child::inner(self.tree.root), NONE);
            }
        }
        search.best
    }

    /// Visits a leaf of the world's tree that has instances, and returns whether
    /// the search is over.
    ///
    /// # Safety
    ///
    /// The processor must have the level's instructions.
    #[inline(always)]
    pub(super) unsafe fn visit_instances<L: Level, const ANY: bool>(
        &self,
        search: &mut Search<'_>,
        leaf: Child,
    ) -> bool {
        let (ray, t_min) = (search.ray, search.ray.t_min);
        for (place, entry) in (leaf.place()..).zip(self.entries(leaf)) {
            // SAFETY: the caller has the level's instructions.
            let is_over = unsafe {
                if let Some(name) = referenced_instance(entry) {
                    let instance = &self.instances[name as usize];
                    let origin = transform_point(&instance.to_mesh, &ray.origin);
                    let direction = transform_direction(&instance.to_mesh, &ray.direction);
                    let space = L::space(origin, direction, COORDINATE_SHARE, t_min);
                    self.walk::<L, ANY, true>(search, &space, Child::inner(instance.root), name)
                } else {
                    let space = L::space(ray.origin, ray.direction, self.tree.origin_share, t_min);
                    self.visit_triangles::<L, ANY>(search, &space, slice::from_ref(entry), place, NONE)
                }
            };
            if is_over {
                return true;
            }
        }
        false
    }

    /// Walks one tree, and returns whether the search is over. `inside` is the
    /// instance whose tree it is, or `NONE`.
    ///
    /// A node's children are visited nearest first. A processor waits for memory
    /// most of the time, so what is put on the stack is also fetched.
    ///
    /// # Safety
    ///
    /// The processor must have the level's instructions.
    #[inline(always)]
    pub(super) unsafe fn walk<L: Level, const ANY: bool, const MESH: bool>(
        &self,
        search: &mut Search<'_>,
        space: &L::Space,
        root: Child,
        inside: u32,
    ) -> bool {
        // This ends the walk: it is never behind anything.
        search.stack.push(Child::NOTHING, i32::MIN);
        let mut next = Some(root);
        loop {
            // SAFETY: the caller has the level's instructions.
            match unsafe { self.step::<L, ANY, MESH>(search, space, &mut next, inside) } {
                Step::Taken => {}
                Step::WalkDone => return false,
                Step::SearchOver => return true,
            }
        }
    }

    /// Visits `next`, or else what is on top of the stack, and leaves in `next`
    /// what to go on with.
    ///
    /// # Safety
    ///
    /// The processor must have the level's instructions.
    #[inline(always)]
    unsafe fn step<L: Level, const ANY: bool, const MESH: bool>(
        &self,
        search: &mut Search<'_>,
        space: &L::Space,
        next: &mut Option<Child>,
        inside: u32,
    ) -> Step {
        let t_max = search.best.t;
        let child = next.unwrap_or_else(|| search.stack.pop_within(key_limit(t_max)));
        // SAFETY: the caller has the level's instructions.
        unsafe {
            if !child.is_leaf() {
                *next = self.visit_node::<L>(&mut search.stack, space, child, t_max);
                return Step::Taken;
            }
            if child == Child::NOTHING {
                return Step::WalkDone;
            }
            let is_over = if !MESH && child.has_instances() {
                L::visit_instances::<ANY>(self, search, child)
            } else {
                let first = child.place();
                self.visit_triangles::<L, ANY>(search, space, self.entries(child), first, inside)
            };
            *next = None;
            if is_over { Step::SearchOver } else { Step::Taken }
        }
    }

    /// Puts aside the children of a node that a ray meets, and returns the one to
    /// go on with: the nearest of them, or else the top of the stack if that is
    /// not behind `t_max`.
    ///
    /// # Safety
    ///
    /// The processor must have the level's instructions.
    #[inline(always)]
    unsafe fn visit_node<L: Level>(
        &self,
        stack: &mut Stack,
        space: &L::Space,
        child: Child,
        t_max: f32,
    ) -> Option<Child> {
        let node = &self.tree.nodes[child.node()];
        fetch((&raw const node.children).cast());
        // SAFETY: the caller has the level's instructions.
        unsafe {
            let (met, near) = L::children_met(space, node, t_max);
            self.put_off::<L>(stack, node, met, near, t_max)
        }
    }

    /// [`Traversal::visit_node`], once it is known which children are met and where.
    ///
    /// # Safety
    ///
    /// The processor must have the level's instructions.
    #[inline(always)]
    pub(super) unsafe fn put_off<L: Level>(
        &self,
        stack: &mut Stack,
        node: &WideNode,
        met: u32,
        near: L::Near,
        t_max: f32,
    ) -> Option<Child> {
        let others = met & met.wrapping_sub(1);
        let first = met.trailing_zeros() as usize & 7;
        if others == 0 {
            let (top, key) = stack.peek(0);
            let is_none = met == 0;
            stack.drop_if(is_none);
            let next = if is_none { top } else { node.children[first] };
            return (!is_none || key <= key_limit(t_max)).then_some(next);
        }
        if others & (others - 1) == 0 {
            let second = others.trailing_zeros() as usize & 7;
            // SAFETY: as above.
            let keys = unsafe { L::keys(near) };
            let (a, b) = (node.children[first], node.children[second]);
            let (near, far) = if keys[first] > keys[second] { (b, a) } else { (a, b) };
            self.prefetch(far);
            stack.push(far, keys[first].max(keys[second]));
            return Some(near);
        }
        // SAFETY: as above, and more than one child is met.
        let nearest = unsafe { L::push_sorted(near, met, &node.children, stack) };
        self.prefetch(stack.peek(0).0);
        self.prefetch(stack.peek(1).0);
        Some(nearest)
    }

    /// Tests the triangles of a leaf where they are at the ray's time, and returns
    /// whether the search is over.
    ///
    /// # Safety
    ///
    /// The processor must have the level's instructions.
    #[inline(always)]
    unsafe fn visit_triangles<L: Level, const ANY: bool>(
        &self,
        search: &mut Search<'_>,
        space: &L::Space,
        triangles: &[Triangle],
        first: u32,
        inside: u32,
    ) -> bool {
        // SAFETY: the caller has the level's instructions.
        unsafe {
            if self.parts != 0 && triangles.iter().any(|triangle| triangle.c[3] & triangle_flags::MOVES != 0)
            {
                let mut moved = [Triangle::zeroed(); MOST_ENTRIES];
                for (moved, triangle) in moved.iter_mut().zip(triangles) {
                    *moved = self.at_time(triangle, search.ray.time);
                }
                let moved = &moved[..triangles.len()];
                return visit_triangles::<L, ANY>(search, space, moved, first, inside);
            }
            visit_triangles::<L, ANY>(search, space, triangles, first, inside)
        }
    }

    /// `triangle_at_time` of `motion.wgsl`.
    #[inline(never)]
    fn at_time(&self, triangle: &Triangle, time: u32) -> Triangle {
        if triangle.c[3] & triangle_flags::MOVES == 0 {
            return *triangle;
        }
        let (part, over) = moment(time, self.parts);
        let next = (triangle.c[3] >> triangle_flags::KEYS_SHIFT) as usize + part as usize;
        let first = if part > 0 { &self.triangles[next - 1] } else { triangle };
        let second = &self.triangles[next];
        let between = |first: [u32; 4], second: [u32; 4], fourth: u32| {
            let [x, y, z] = [0, 1, 2].map(|i| {
                let (first, second) = (f32::from_bits(first[i]), f32::from_bits(second[i]));
                (first + (second - first) * over).to_bits()
            });
            [x, y, z, fourth]
        };
        Triangle {
            a: between(first.a, second.a, triangle.a[3]),
            b: between(first.b, second.b, triangle.b[3]),
            c: between(first.c, second.c, triangle.c[3]),
        }
    }

    /// What a leaf names.
    #[inline(always)]
    pub(super) fn entries(&self, leaf: Child) -> &[Triangle] {
        &self.triangles[leaf.first()..leaf.first() + leaf.count()]
    }

    /// Fetches the four lines that a child's node or triangles begin with.
    #[inline(always)]
    fn prefetch(&self, child: Child) {
        let leaf = self.triangles.as_ptr().wrapping_add(child.first()).cast::<i8>();
        let node = self.tree.nodes.as_ptr().wrapping_add(child.node()).cast::<i8>();
        let address = select_unpredictable(child.is_leaf(), leaf, node);
        for line in 0..4 {
            fetch(address.wrapping_add(64 * line));
        }
    }
}

/// The part of the shutter's time that a time is in, and how much of it is over.
#[inline(always)]
fn moment(time: u32, parts: u32) -> (u32, f32) {
    let place = u64::from(time) * u64::from(parts);
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "halves, and 24 bits")]
    let (part, over) = ((place >> 32) as u32, (place as u32 >> 8) as f32);
    (part, over * 5.960_464_5e-8)
}

/// Fetches the cache line at an address, where the compiler offers that.
#[inline(always)]
pub(super) fn fetch(address: *const i8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 has it, and no address is wrong for it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Tests the triangles of a leaf, and returns whether the search is over.
///
/// # Safety
///
/// The processor must have the level's instructions.
#[inline(always)]
unsafe fn visit_triangles<L: Level, const ANY: bool>(
    search: &mut Search<'_>,
    space: &L::Space,
    triangles: &[Triangle],
    first: u32,
    inside: u32,
) -> bool {
    // SAFETY: the caller has the level's instructions.
    unsafe {
        L::triangles_met(space, triangles, |index, test| {
            let triangle = &triangles[index as usize];
            match hit_of(L::scale(space), triangle, first + index, inside, &test) {
                Some(hit) if beats(search.ray, &search.best, &hit) => {
                    search.best = hit;
                    ANY && hit.opaque
                }
                _ => false,
            }
        })
    }
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

#[cfg(test)]
mod tests;
