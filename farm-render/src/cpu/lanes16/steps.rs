//! The steps of a group: over nodes, and over triangles.

use std::arch::x86_64::*;

use shaders::native::HitBatch;

use super::vectors::{addresses, bits, edge, floats, load_rows, permuted, pointers, store_entries, words};
use super::{ENTRY, Floats, Group, LANES, Lanes, Name, Scene, Words};
use crate::cpu::tree::Child;
use crate::layout::{NONE, Triangle, triangle_flags};

/// The grid of a node along an axis, as rays see it.
#[derive(Clone, Copy)]
struct Axis {
    near: Words,
    far: Words,
    step: Floats,
    near_base: Floats,
    far_base: Floats,
}

/// The distances of the planes of a child, whose steps in `words` were shifted to
/// the upper bits of the mantissa: with the exponent of 1 they are 1 + steps/256.
#[inline(always)]
unsafe fn distances(shifted: Words, step: Floats, base: Floats) -> Words {
    // SAFETY: the caller has AVX-512.
    unsafe {
        // (shifted & mantissa) | one.
        let planes = _mm512_ternarylogic_epi32::<0b1110_1010>(shifted, words(0xff << 15), words(0x3f80_0000));
        bits(_mm512_fmadd_ps(floats(planes), step, base))
    }
}

impl Group {
    /// Visits the nodes that some lanes have next.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions, the tree have the levels that
    /// [`can_walk`] wants, and `child` name nodes of it where it is no leaf.
    #[inline(always)]
    pub(super) unsafe fn visit_nodes(&mut self, scene: &Scene<'_>, lanes: Lanes) {
        // SAFETY: the caller upholds it. Lanes without a node read the first one.
        unsafe {
            let nodes = pointers(self.addresses, lanes, scene.quads.nodes.as_ptr().cast());
            let children = load_rows(&nodes, 0);
            let [lower_x, upper_x, lower_y, upper_y] = load_rows(&nodes, 16);
            let [lower_z, upper_z, origin_x, origin_y] = load_rows(&nodes, 32);
            let [origin_z, scale_x, scale_y, scale_z] = load_rows(&nodes, 48);
            let x = self.axis::<0>(lower_x, upper_x, origin_x, scale_x);
            let y = self.axis::<1>(lower_y, upper_y, origin_y, scale_y);
            let z = self.axis::<2>(lower_z, upper_z, origin_z, scale_z);
            let missed = _mm512_set1_epi32(i32::MAX);
            // Negative zeros would be the smallest of integers.
            let t_max = bits(_mm512_add_ps(self.t, _mm512_setzero_ps()));
            let t_min = bits(self.t_min);
            macro_rules! key {
                ($shift:ident::<$by:literal>) => {{
                    let near = |axis: Axis| distances($shift::<$by>(axis.near), axis.step, axis.near_base);
                    let far = |axis: Axis| distances($shift::<$by>(axis.far), axis.step, axis.far_base);
                    let near = _mm512_max_epi32(
                        _mm512_max_epi32(near(x), near(y)),
                        _mm512_max_epi32(near(z), t_min),
                    );
                    let far =
                        _mm512_min_epi32(_mm512_min_epi32(far(x), far(y)), _mm512_min_epi32(far(z), t_max));
                    let met = _mm512_mask_cmple_epi32_mask(lanes, near, far);
                    _mm512_mask_mov_epi32(missed, met, near)
                }};
            }
            let keys = [
                key!(_mm512_slli_epi32::<15>),
                key!(_mm512_slli_epi32::<7>),
                key!(_mm512_srli_epi32::<1>),
                key!(_mm512_srli_epi32::<9>),
            ];
            let (keys, children) = sorted(keys, children);
            let met = keys.map(|keys| _mm512_cmpneq_epi32_mask(keys, missed));
            self.child = _mm512_mask_mov_epi32(self.child, met[0], children[0]);
            self.push_others(keys, children, met);
            self.pop(lanes & !met[0]);
        }
    }

    /// The grid of the nodes along an axis.
    #[inline(always)]
    unsafe fn axis<const AXIS: usize>(
        &self,
        lower: Words,
        upper: Words,
        origin: Words,
        scale: Words,
    ) -> Axis {
        // SAFETY: the caller has AVX-512.
        unsafe {
            let (negative, inverse) = (self.negative[AXIS], self.inverse[AXIS]);
            let step = _mm512_mul_ps(floats(scale), inverse);
            // Planes count from one step of 256 before the origin.
            let base = |base: Floats| _mm512_sub_ps(_mm512_fmadd_ps(floats(origin), inverse, base), step);
            Axis {
                near: _mm512_mask_mov_epi32(lower, negative, upper),
                far: _mm512_mask_mov_epi32(upper, negative, lower),
                step,
                near_base: base(self.near_base[AXIS]),
                far_base: base(self.far_base[AXIS]),
            }
        }
    }

    /// Pushes all children that are met but the nearest, the farthest first.
    #[inline(always)]
    unsafe fn push_others(&mut self, keys: [Words; 4], children: [Words; 4], met: [Lanes; 4]) {
        if met[1] == 0 {
            return;
        }
        // SAFETY: the caller has AVX-512. All lanes write three entries to
        // where their stacks have room for them, by `can_walk`; what they push is kept.
        unsafe {
            let first = |of: [Words; 4]| {
                _mm512_mask_mov_epi32(_mm512_mask_mov_epi32(of[1], met[2], of[2]), met[3], of[3])
            };
            let second = |of: [Words; 4]| _mm512_mask_mov_epi32(of[1], met[3], of[2]);
            let (keys_0, children_0) = (first(keys), first(children));
            let (keys_1, children_1) = (second(keys), second(children));
            let low = [_mm512_unpacklo_epi32(children_0, keys_0), _mm512_unpacklo_epi32(children_1, keys_1)];
            let high = [_mm512_unpackhi_epi32(children_0, keys_0), _mm512_unpackhi_epi32(children_1, keys_1)];
            let every_fourth = [
                _mm512_unpacklo_epi64(low[0], low[1]),
                _mm512_unpackhi_epi64(low[0], low[1]),
                _mm512_unpacklo_epi64(high[0], high[1]),
                _mm512_unpackhi_epi64(high[0], high[1]),
            ];
            let heights: [u32; LANES] = std::mem::transmute(self.height);
            let entries = self.stacks.as_mut_ptr().cast::<u8>();
            for (first, pairs) in every_fourth.into_iter().enumerate() {
                let at = |lane: usize| entries.add(heights[lane] as usize).cast();
                _mm_storeu_si128(at(first), _mm512_castsi512_si128(pairs));
                _mm_storeu_si128(at(first + 4), _mm512_extracti32x4_epi32::<1>(pairs));
                _mm_storeu_si128(at(first + 8), _mm512_extracti32x4_epi32::<2>(pairs));
                _mm_storeu_si128(at(first + 12), _mm512_extracti32x4_epi32::<3>(pairs));
            }
            if met[3] != 0 {
                store_entries(entries.add(16), self.height, [children[1], keys[1]]);
            }
            for pushed in [met[1], met[2], met[3]] {
                let one = _mm512_set1_epi32(ENTRY);
                self.height = _mm512_mask_add_epi32(self.height, pushed, self.height, one);
            }
        }
    }

    /// Visits the first entries of the leaves that some lanes have next.
    ///
    /// The order of operations is that of `intersect_triangle`, product and sum
    /// apart.
    #[inline(always)]
    pub(super) unsafe fn visit_leaves(&mut self, scene: &Scene<'_>, lanes: Lanes) {
        // SAFETY: the caller has AVX-512, and leaves name triangles of the scene.
        // Lanes without one read the first one.
        unsafe {
            let at = pointers(self.addresses, lanes, scene.triangles.as_ptr().cast());
            // Not by `map`, whose closures would be compiled without the instructions.
            let [ax, ay, az, owner] = load_rows(&at, 0);
            let [bx, by, bz, _] = load_rows(&at, 16);
            let [cx, cy, cz, flags] = load_rows(&at, 32);
            let mut corners = [[ax, ay, az], [bx, by, bz], [cx, cy, cz]];
            let moving = lanes & _mm512_test_epi32_mask(flags, words(triangle_flags::MOVES));
            if moving != 0 {
                self.move_corners(scene, moving, flags, &mut corners);
            }
            let place = _mm512_and_epi32(self.child, words(Child::PLACE));
            let rest = _mm512_add_epi32(self.child, words(Child::LESS_ONE));
            let ended = _mm512_mask_testn_epi32_mask(lanes, rest, words(Child::COUNT));
            self.child = _mm512_mask_mov_epi32(self.child, lanes & !ended, rest);

            let owned = _mm512_cmpneq_epi32_mask(owner, words(NONE));
            let instances = lanes & owned & _mm512_movepi32_mask(owner);
            let [a, b, c] = corners;
            let (a, b, c) = (self.sheared(a), self.sheared(b), self.sheared(c));
            let xy = |corner: [Floats; 3]| [corner[0], corner[1]];
            let edges = [edge(xy(b), xy(c)), edge(xy(c), xy(a)), edge(xy(a), xy(b))];
            let zero = _mm512_setzero_ps();
            let (mut positive, mut negative) = (lanes & !instances, lanes & !instances);
            for edge in edges {
                positive = _mm512_mask_cmp_ps_mask::<_CMP_GE_OQ>(positive, edge, zero);
                negative = _mm512_mask_cmp_ps_mask::<_CMP_LE_OQ>(negative, edge, zero);
            }
            let mut over = 0;
            if positive | negative != 0 {
                let instance = _mm512_mask_mov_epi32(self.inside, owned, owner);
                let name = Name { instance, triangle: place };
                over = self.take_hits(positive | negative, edges, [a[2], b[2], c[2]], &name, flags);
            }
            self.child = _mm512_mask_mov_epi32(self.child, over, words(Child::NOTHING.word()));
            if instances != 0 {
                self.enter(scene, instances, instances & !ended, owner);
            }
            self.pop(ended & !over & !instances);
        }
    }

    /// Takes the corners of some lanes, whose triangles move, to where they are at
    /// the rays' times. The order of operations is that of `triangle_at_time`.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn move_corners(
        &self,
        scene: &Scene<'_>,
        lanes: Lanes,
        flags: Words,
        corners: &mut [[Words; 3]; 3],
    ) {
        // SAFETY: the caller has AVX-512, and triangles that move name others of the
        // scene. Lanes without one read the first one.
        unsafe {
            let first = scene.triangles.as_ptr().cast::<u8>();
            let next =
                _mm512_add_epi32(_mm512_srli_epi32::<{ triangle_flags::KEYS_SHIFT }>(flags), self.part);
            let has_begun = lanes & _mm512_test_epi32_mask(self.part, self.part);
            let triangle = |place: Words, lanes: Lanes| {
                pointers(addresses(first, size_of::<Triangle>(), place), lanes, first)
            };
            let before = triangle(_mm512_sub_epi32(next, words(1)), has_begun);
            let after = triangle(next, lanes);
            for (corner, offset) in corners.iter_mut().zip([0, 16, 32]) {
                let [from, to] = [load_rows(&before, offset), load_rows(&after, offset)];
                for (axis, component) in corner.iter_mut().enumerate() {
                    let from = floats(_mm512_mask_mov_epi32(*component, has_begun, from[axis]));
                    let way = _mm512_mul_ps(_mm512_sub_ps(floats(to[axis]), from), self.over);
                    *component = _mm512_mask_mov_epi32(*component, lanes, bits(_mm512_add_ps(from, way)));
                }
            }
        }
    }

    /// A corner relative to the origin, in the axes of the direction; the first
    /// two components are sheared.
    #[inline(always)]
    unsafe fn sheared(&self, corner: [Words; 3]) -> [Floats; 3] {
        // SAFETY: the caller has AVX-512.
        unsafe {
            let relative = |axis: usize| _mm512_sub_ps(floats(corner[axis]), self.origin[axis]);
            let [x, y, z] = permuted([relative(0), relative(1), relative(2)], self.longest);
            [
                _mm512_sub_ps(x, _mm512_mul_ps(self.shear[0], z)),
                _mm512_sub_ps(y, _mm512_mul_ps(self.shear[1], z)),
                z,
            ]
        }
    }

    /// Makes the hits of some lanes, whose edge functions agree, the best ones
    /// where they are, and returns the lanes whose search is over by that.
    #[inline(always)]
    unsafe fn take_hits(
        &mut self,
        lanes: Lanes,
        [u, v, w]: [Floats; 3],
        depths: [Floats; 3],
        name: &Name,
        flags: Words,
    ) -> Lanes {
        // SAFETY: the caller has AVX-512.
        unsafe {
            let zero = _mm512_setzero_ps();
            let determinant = _mm512_add_ps(_mm512_add_ps(u, v), w);
            let inverse = _mm512_div_ps(_mm512_set1_ps(1.0), determinant);
            let scale = self.shear[2];
            let front = !(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(determinant, zero)
                ^ _mm512_cmp_ps_mask::<_CMP_GT_OQ>(scale, zero));
            let culls = _mm512_test_epi32_mask(flags, words(triangle_flags::CULLS_BACK));
            let has_area = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(determinant, zero);
            let weighted = _mm512_add_ps(_mm512_mul_ps(u, depths[0]), _mm512_mul_ps(v, depths[1]));
            let weighted = _mm512_add_ps(weighted, _mm512_mul_ps(w, depths[2]));
            let t = _mm512_mul_ps(weighted, _mm512_mul_ps(scale, inverse));

            let behind = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(t, self.t_min)
                | (_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(t, self.t_min) & self.after.comes_before(name));
            let closer = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(t, self.t)
                | (_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(t, self.t) & name.comes_before(&self.best));
            let taken = lanes & has_area & (front | !culls) & behind & closer;
            self.t = _mm512_mask_mov_ps(self.t, taken, t);
            self.b = _mm512_mask_mul_ps(self.b, taken, v, inverse);
            self.c = _mm512_mask_mul_ps(self.c, taken, w, inverse);
            self.best.set(taken, name);
            let opaque = _mm512_test_epi32_mask(flags, words(triangle_flags::OPAQUE));
            let front = _mm512_maskz_mov_epi32(front, words(HitBatch::FRONT));
            let flags = _mm512_mask_or_epi32(front, opaque, front, words(HitBatch::OPAQUE));
            self.flags = _mm512_mask_mov_epi32(self.flags, taken, flags);
            taken & opaque & self.any_opaque
        }
    }
}

/// Sorts keys, and children with them, the smallest first.
#[inline(always)]
unsafe fn sorted(mut keys: [Words; 4], mut children: [Words; 4]) -> ([Words; 4], [Words; 4]) {
    // SAFETY: the caller has AVX-512.
    unsafe {
        for (a, b) in [(0, 1), (2, 3), (0, 2), (1, 3), (1, 2)] {
            let swapped = _mm512_cmpgt_epi32_mask(keys[a], keys[b]);
            (keys[a], keys[b]) = (_mm512_min_epi32(keys[a], keys[b]), _mm512_max_epi32(keys[a], keys[b]));
            (children[a], children[b]) = (
                _mm512_mask_mov_epi32(children[a], swapped, children[b]),
                _mm512_mask_mov_epi32(children[b], swapped, children[a]),
            );
        }
        (keys, children)
    }
}
