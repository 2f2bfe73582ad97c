//! Rays that begin alike, as those of a pixel do, walk a tree together.
//!
//! The walk is that of one ray whose origin and direction are known within bounds:
//! a child is entered where a ray within them could meet it (interval arithmetic
//! over all rays: Reshetov, Soupikov & Hurley 2005, "Multi-Level Ray Tracing
//! Algorithm"; Boulos, Wald & Shirley 2006, "Geometric and Arithmetic Culling Methods
//! for Entire Ray Packets"). Only the triangles are tested ray by ray, so every ray
//! finds what it finds alone. Rays that are not alike, by the signs of their
//! directions or the longest axis, are traced alone.
//!
//! A plane's distance, (p − o)·d⁻¹, is off by four roundings of at most |p| + |o|: the
//! origin with what it is grown by, the difference, the reciprocal and the product.
//! That is what [`super::tree`] allows for.

use super::hit::{
    self, EdgeTest, Hit, Ray, beats, divisible, edge, hit_of, no_hit, permutation, shear,
    transform_direction, transform_point,
};
use super::level::{Level, key_limit};
use super::stack::Stack;
use super::traverse::{Search, Traversal, fetch};
use super::tree::{COORDINATE_SHARE, Child, referenced_instance};
use crate::layout::{NONE, Triangle};

/// Rays that walk together, at most: the samples of a block of a pixel.
pub(crate) const BEAM: usize = 16;

type Floats = [f32; BEAM];

/// Bounds of rays whose directions have the same signs.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Of origins, grown by what rounding loses.
    pub(super) origin: [[f32; 3]; 2],
    /// Of reciprocals of directions.
    pub(super) inverse: [[f32; 3]; 2],
    /// Which of a node's two sets of planes is near, by axis.
    pub(super) near_side: [usize; 3],
    pub(super) t_min: f32,
}

/// Rays in a space, for the test of triangles; [`super::portable::Space`] says what
/// the parts are. Lanes beyond the last ray repeat the first.
struct Lanes {
    permutation: [usize; 3],
    origin: [Floats; 3],
    shear: [Floats; 3],
    bounds: Bounds,
}

/// Rays on their way together.
pub(super) struct Packet<'r> {
    rays: &'r [Ray],
    best: [Hit; BEAM],
    /// The farthest of the best hits.
    t_max: f32,
    stack: Stack,
}

impl Lanes {
    /// Takes rays to a space, where they are alike in it; `share` is that of the
    /// origin by which rays are grown.
    #[inline(always)]
    fn of(rays: &[Ray], to_space: impl Fn(&Ray) -> ([f32; 3], [f32; 3]), share: f32) -> Option<Self> {
        let (first, others) = rays.split_first()?;
        let (origin, direction) = to_space(first);
        let inverse = direction.map(|x| 1.0 / divisible(x));
        let permutation = permutation(direction);
        let mut lanes = Self {
            permutation,
            origin: permutation.map(|axis| [origin[axis]; BEAM]),
            shear: shear(direction, inverse, permutation).map(|component| [component; BEAM]),
            bounds: Bounds {
                origin: [origin; 2],
                inverse: [inverse; 2],
                near_side: inverse.map(|x| usize::from(x < 0.0)),
                t_min: first.t_min,
            },
        };
        for (lane, ray) in (1..BEAM).zip(others) {
            let (origin, direction) = to_space(ray);
            let inverse = direction.map(|x| 1.0 / divisible(x));
            if inverse.map(|x| usize::from(x < 0.0)) != lanes.bounds.near_side
                || hit::permutation(direction) != permutation
            {
                return None;
            }
            lanes.bounds.include(origin, inverse, ray.t_min);
            let shear = shear(direction, inverse, permutation);
            for component in 0..3 {
                lanes.origin[component][lane] = origin[permutation[component]];
                lanes.shear[component][lane] = shear[component];
            }
        }
        lanes.bounds.grow(share);
        Some(lanes)
    }

    /// Where the edge functions of a triangle agree, with these and the depths of the
    /// corners. The order of operations is that of `intersect_triangle`.
    #[inline(always)]
    fn test(&self, triangle: &Triangle) -> Option<([bool; BEAM], [Floats; 3], [Floats; 3])> {
        let corners = [triangle.a, triangle.b, triangle.c]
            .map(|corner| self.permutation.map(|axis| f32::from_bits(corner[axis])));
        let mut depths = [[0.0; BEAM]; 3];
        let mut sheared = [[[0.0; BEAM]; 2]; 3];
        for corner in 0..3 {
            for lane in 0..BEAM {
                let [x, y, z] = [0, 1, 2].map(|axis| corners[corner][axis] - self.origin[axis][lane]);
                depths[corner][lane] = z;
                sheared[corner][0][lane] = x - self.shear[0][lane] * z;
                sheared[corner][1][lane] = y - self.shear[1][lane] * z;
            }
        }
        let mut edges = [[0.0; BEAM]; 3];
        let mut agree = [false; BEAM];
        let mut any = false;
        for lane in 0..BEAM {
            let [a, b, c] = [0, 1, 2].map(|corner| [sheared[corner][0][lane], sheared[corner][1][lane]]);
            let [u, v, w] = [edge(b, c), edge(c, a), edge(a, b)];
            (edges[0][lane], edges[1][lane], edges[2][lane]) = (u, v, w);
            let positive = (u >= 0.0) & (v >= 0.0) & (w >= 0.0);
            let negative = (u <= 0.0) & (v <= 0.0) & (w <= 0.0);
            agree[lane] = positive | negative;
            any |= agree[lane];
        }
        any.then_some((agree, edges, depths))
    }
}

impl Bounds {
    #[inline(always)]
    fn include(&mut self, origin: [f32; 3], inverse: [f32; 3], t_min: f32) {
        for axis in 0..3 {
            for (bounds, value) in [(&mut self.origin, origin), (&mut self.inverse, inverse)] {
                bounds[0][axis] = bounds[0][axis].min(value[axis]);
                bounds[1][axis] = bounds[1][axis].max(value[axis]);
            }
        }
        self.t_min = self.t_min.min(t_min);
    }

    /// Grows the origins by a share of the largest coordinate.
    #[inline(always)]
    fn grow(&mut self, share: f32) {
        let largest = self.origin.as_flattened().iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let pad = largest * share;
        self.origin[0] = self.origin[0].map(|x| x - pad);
        self.origin[1] = self.origin[1].map(|x| x + pad);
    }

    /// The origin that the near planes are met the soonest from along an axis, or the
    /// far ones the latest.
    pub(super) fn origin_towards(&self, axis: usize, is_near: bool) -> f32 {
        // The near planes of rays that go up are the lower ones, and the soonest met
        // from the highest origin.
        let is_lower = (self.near_side[axis] == 0) == is_near;
        self.origin[usize::from(is_lower)][axis]
    }
}

impl Traversal<'_> {
    /// Finds the closest hits of at most [`BEAM`] rays.
    ///
    /// # Safety
    ///
    /// The processor must have the level's instructions, and no `t_min` be negative.
    #[inline(always)]
    pub(super) unsafe fn walk_together<L: Level>(&self, rays: &[Ray], hits: &mut [Hit]) {
        let share = self.tree.origin_share;
        // Rays of different times do not meet the same triangles.
        let may = self.parts == 0 && self.tree.root != NONE && rays.len() <= BEAM;
        let lanes = if may { Lanes::of(rays, |ray| (ray.origin, ray.direction), share) } else { None };
        // SAFETY: the caller has the level's instructions.
        unsafe {
            let Some(lanes) = lanes else {
                for (ray, hit) in rays.iter().zip(hits) {
                    *hit = self.walk_world::<L, false>(ray);
                }
                return;
            };
            let mut best = [no_hit(&rays[0]); BEAM];
            best.iter_mut().zip(rays).for_each(|(best, ray)| *best = no_hit(ray));
            let mut packet = Packet { rays, best, t_max: 0.0, stack: Stack::new() };
            packet.look_at_hits();
            self.walk_beam::<L, false>(&mut packet, &lanes, Child::inner(self.tree.root), NONE);
            hits.copy_from_slice(&packet.best[..hits.len()]);
        }
    }

    /// Walks one tree; `inside` is the instance whose tree it is, or `NONE`.
    ///
    /// # Safety
    ///
    /// As for [`Traversal::walk_together`].
    #[inline(always)]
    unsafe fn walk_beam<L: Level, const MESH: bool>(
        &self,
        packet: &mut Packet<'_>,
        lanes: &Lanes,
        root: Child,
        inside: u32,
    ) {
        // SAFETY: the caller has the level's instructions.
        unsafe {
            let beam = L::beam(&lanes.bounds);
            // This ends the walk: it is never behind anything.
            packet.stack.push(Child::NOTHING, i32::MIN);
            let mut next = Some(root);
            loop {
                let child = next.unwrap_or_else(|| packet.stack.pop_within(key_limit(packet.t_max)));
                if !child.is_leaf() {
                    let node = &self.tree.nodes[child.node()];
                    fetch((&raw const node.children).cast());
                    let (met, near) = L::children_met_by_beam(&beam, node, packet.t_max);
                    next = self.put_off::<L>(&mut packet.stack, node, met, near, packet.t_max);
                    continue;
                }
                if child == Child::NOTHING {
                    return;
                }
                next = None;
                for (place, entry) in (child.place()..).zip(self.entries(child)) {
                    match referenced_instance(entry) {
                        Some(name) if !MESH => L::visit_mesh(self, packet, name),
                        _ => packet.visit_triangle(lanes, entry, place, inside),
                    }
                }
            }
        }
    }

    /// Walks the mesh of an instance.
    ///
    /// # Safety
    ///
    /// As for [`Traversal::walk_together`].
    #[inline(always)]
    pub(super) unsafe fn visit_mesh<L: Level>(&self, packet: &mut Packet<'_>, name: u32) {
        let instance = &self.instances[name as usize];
        let to_mesh = |ray: &Ray| {
            let origin = transform_point(&instance.to_mesh, &ray.origin);
            (origin, transform_direction(&instance.to_mesh, &ray.direction))
        };
        let root = Child::inner(instance.root);
        // SAFETY: the caller has the level's instructions.
        unsafe {
            if let Some(lanes) = Lanes::of(packet.rays, to_mesh, COORDINATE_SHARE) {
                return self.walk_beam::<L, true>(packet, &lanes, root, name);
            }
            for (ray, best) in packet.rays.iter().zip(&mut packet.best) {
                let (origin, direction) = to_mesh(ray);
                let space = L::space(origin, direction, COORDINATE_SHARE, ray.t_min);
                let mut search = Search::new(ray);
                search.best = *best;
                self.walk::<L, false, true>(&mut search, &space, root, name);
                *best = search.best;
            }
            packet.look_at_hits();
        }
    }
}

impl Packet<'_> {
    fn look_at_hits(&mut self) {
        let best = &self.best[..self.rays.len()];
        self.t_max = best.iter().fold(0.0, |farthest: f32, hit| farthest.max(hit.t));
    }

    /// Tests a triangle.
    #[inline(always)]
    fn visit_triangle(&mut self, lanes: &Lanes, triangle: &Triangle, place: u32, inside: u32) {
        let Some((agree, edges, depths)) = lanes.test(triangle) else { return };
        let mut any = false;
        for (lane, (ray, best)) in self.rays.iter().zip(&mut self.best).enumerate() {
            if !agree[lane] {
                continue;
            }
            let of_lane = |of: &[Floats; 3]| [of[0][lane], of[1][lane], of[2][lane]];
            let test = EdgeTest { edges: of_lane(&edges), depths: of_lane(&depths) };
            let hit = hit_of(lanes.shear[2][lane], triangle, place, inside, &test);
            if let Some(hit) = hit
                && beats(ray, best, &hit)
            {
                *best = hit;
                any = true;
            }
        }
        if any {
            self.look_at_hits();
        }
    }
}
