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
use super::hit::{Hit, Ray, beats, hit_of, no_hit, transform_direction, transform_point};
#[cfg(target_arch = "x86_64")]
use super::lanes16;
use super::level::{Level, key_limit};
use super::portable::Portable;
use super::stack::Stack;
use super::tree::{COORDINATE_SHARE, Child, WideNode, WideTree, referenced_instance};
use crate::layout::{Instance, NONE, Triangle, triangle_flags};

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

#[cfg(test)]
mod tests;
