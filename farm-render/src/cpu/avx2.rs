//! Nodes and leaves with AVX2 and FMA: 8 children, or 2 triangles, at a time.
//!
//! The same code is compiled for AVX-512VL too, whose twice as many registers
//! and whose masks make it up to 6 % faster.

use std::arch::x86_64::*;

use super::beam::{Bounds, Packet};
use super::hit::{EdgeTest, Hit, Ray};
use super::level::Level;
use super::stack::Stack;
use super::traverse::{Search, Traversal};
use super::tree::{Child, WideNode};
use crate::layout::Triangle;

/// A processor with AVX2, FMA and the bit instructions of the same age, or one
/// that has AVX-512VL besides.
pub(super) struct Vectors<const AVX512: bool>;

/// A ray in a space, each component in 8 lanes; [`super::portable::Space`] says
/// what they are.
pub(super) struct Space {
    inverse: [__m256; 3],
    near_base: [__m256; 3],
    far_base: [__m256; 3],
    t_min: __m256i,
    /// Where in a node the near planes begin and where the far ones, in bytes.
    near_offset: [usize; 3],
    far_offset: [usize; 3],
    /// Lanes to take components from, in each half.
    permutation: __m256i,
    /// Permuted.
    origin: [__m256; 3],
    shear: [__m256; 2],
    scale: f32,
}

/// The bounds of rays, each in 8 lanes.
pub(super) struct Beam {
    /// What near planes are met the soonest from, and far planes the latest.
    origin: [[__m256; 3]; 2],
    inverse: [[__m256; 3]; 2],
    t_min: __m256,
    /// As in [`Space`].
    near_offset: [usize; 3],
}

/// The axes in the order that makes the first, second or third the last.
const PERMUTATIONS: [[i32; 4]; 3] = [[1, 2, 0, 3], [2, 0, 1, 3], [0, 1, 2, 3]];

impl<const AVX512: bool> Vectors<AVX512> {
    /// Whether this processor is one.
    pub(super) fn are_here() -> bool {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        avx2 && (!AVX512 || avx512)
    }
}

/// [`Traversal::closest`].
///
/// # Safety
///
/// [`Vectors<false>`] must be here, and the ray's `t_min` not negative.
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(super) unsafe fn closest_avx2<const ANY: bool>(traversal: &Traversal<'_>, ray: &Ray) -> Hit {
    // SAFETY: the caller upholds it.
    unsafe { traversal.walk_world::<Vectors<false>, ANY>(ray) }
}

/// [`Traversal::closest`].
///
/// # Safety
///
/// [`Vectors<true>`] must be here, and the ray's `t_min` not negative.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(super) unsafe fn closest_avx512<const ANY: bool>(traversal: &Traversal<'_>, ray: &Ray) -> Hit {
    // SAFETY: the caller upholds it.
    unsafe { traversal.walk_world::<Vectors<true>, ANY>(ray) }
}

/// [`Traversal::closest_together`].
///
/// # Safety
///
/// [`Vectors<false>`] must be here, and no `t_min` be negative.
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(super) unsafe fn together_avx2(traversal: &Traversal<'_>, rays: &[Ray], hits: &mut [Hit]) {
    // SAFETY: the caller upholds it.
    unsafe { traversal.walk_together::<Vectors<false>>(rays, hits) }
}

/// [`Traversal::closest_together`].
///
/// # Safety
///
/// [`Vectors<true>`] must be here, and no `t_min` be negative.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(super) unsafe fn together_avx512(traversal: &Traversal<'_>, rays: &[Ray], hits: &mut [Hit]) {
    // SAFETY: the caller upholds it.
    unsafe { traversal.walk_together::<Vectors<true>>(rays, hits) }
}

/// [`Traversal::visit_mesh`].
///
/// # Safety
///
/// As for [`together_avx2`].
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
#[inline(never)]
unsafe fn mesh_avx2(traversal: &Traversal<'_>, packet: &mut Packet<'_>, name: u32) {
    // SAFETY: the caller upholds it.
    unsafe { traversal.visit_mesh::<Vectors<false>>(packet, name) }
}

/// [`Traversal::visit_mesh`].
///
/// # Safety
///
/// As for [`together_avx512`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
#[inline(never)]
unsafe fn mesh_avx512(traversal: &Traversal<'_>, packet: &mut Packet<'_>, name: u32) {
    // SAFETY: the caller upholds it.
    unsafe { traversal.visit_mesh::<Vectors<true>>(packet, name) }
}

/// [`Traversal::visit_instances`].
///
/// # Safety
///
/// As for [`closest_avx2`].
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
#[inline(never)]
unsafe fn visit_avx2<const ANY: bool>(
    traversal: &Traversal<'_>,
    search: &mut Search<'_>,
    leaf: Child,
) -> bool {
    // SAFETY: the caller upholds it.
    unsafe { traversal.visit_instances::<Vectors<false>, ANY>(search, leaf) }
}

/// [`Traversal::visit_instances`].
///
/// # Safety
///
/// As for [`closest_avx512`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
#[inline(never)]
unsafe fn visit_avx512<const ANY: bool>(
    traversal: &Traversal<'_>,
    search: &mut Search<'_>,
    leaf: Child,
) -> bool {
    // SAFETY: the caller upholds it.
    unsafe { traversal.visit_instances::<Vectors<true>, ANY>(search, leaf) }
}

impl<const AVX512: bool> Level for Vectors<AVX512> {
    type Space = Space;
    type Beam = Beam;
    /// Distances compared as integers, which takes a quarter of the time and
    /// orders floats that are not negative as floats do. Where a near distance is
    /// negative `t_min` replaces it, and where a far one is the box is missed.
    type Near = __m256i;

    #[inline(always)]
    unsafe fn space(origin: [f32; 3], direction: [f32; 3], origin_share: f32, t_min: f32) -> Space {
        let [x, y, z] = direction.map(f32::abs);
        // Not `&&`, as a branch here is a coin's throw.
        let axis = if (x >= y) & (x >= z) { 0 } else { 1 + usize::from(y < z) };
        // SAFETY: the caller has AVX2.
        unsafe {
            let sign = _mm_set1_ps(-0.0);
            let zero = _mm_setzero_ps();
            let direction = _mm_setr_ps(direction[0], direction[1], direction[2], 1.0);
            let origin = _mm_setr_ps(origin[0], origin[1], origin[2], 0.0);
            let tiny = _mm_set1_ps(1.0e-18);
            let signed_tiny = _mm_or_ps(tiny, _mm_and_ps(sign, _mm_cmplt_ps(direction, zero)));
            let is_tiny = _mm_cmplt_ps(_mm_andnot_ps(sign, direction), tiny);
            let inverse = _mm_div_ps(_mm_set1_ps(1.0), _mm_blendv_ps(direction, signed_tiny, is_tiny));

            let size = _mm_andnot_ps(sign, origin);
            let larger = _mm_max_ps(size, _mm_shuffle_ps::<0b01_00_11_10>(size, size));
            let largest = _mm_max_ps(larger, _mm_shuffle_ps::<0b10_11_00_01>(larger, larger));
            let pad = _mm_mul_ps(largest, _mm_set1_ps(origin_share));
            let pad = _mm_mul_ps(pad, _mm_andnot_ps(sign, inverse));
            let base = _mm_xor_ps(sign, _mm_mul_ps(origin, inverse));
            let near_base = _mm_max_ps(_mm_sub_ps(base, pad), _mm_set1_ps(-3.0e38));
            let far_base = _mm_min_ps(_mm_add_ps(base, pad), _mm_set1_ps(3.0e38));
            let negative = _mm_movemask_ps(_mm_cmplt_ps(inverse, zero)).cast_unsigned() as usize;
            let near_offset = [0, 1, 2].map(|axis| 64 * axis + 32 * (negative >> axis & 1));

            let permutation = _mm_loadu_si128(PERMUTATIONS[axis].as_ptr().cast());
            let permuted_origin = _mm_permutevar_ps(origin, permutation);
            let permuted_inverse = _mm_permutevar_ps(inverse, permutation);
            let scale = _mm_shuffle_ps::<0b10_10_10_10>(permuted_inverse, permuted_inverse);
            let shear = _mm_mul_ps(_mm_permutevar_ps(direction, permutation), scale);
            Space {
                inverse: [lanes::<0>(inverse), lanes::<1>(inverse), lanes::<2>(inverse)],
                near_base: [lanes::<0>(near_base), lanes::<1>(near_base), lanes::<2>(near_base)],
                far_base: [lanes::<0>(far_base), lanes::<1>(far_base), lanes::<2>(far_base)],
                // A negative zero would be the smallest of integers.
                t_min: _mm256_castps_si256(_mm256_set1_ps(t_min + 0.0)),
                near_offset,
                far_offset: near_offset.map(|offset| offset ^ 32),
                permutation: _mm256_broadcastsi128_si256(permutation),
                origin: [
                    lanes::<0>(permuted_origin),
                    lanes::<1>(permuted_origin),
                    lanes::<2>(permuted_origin),
                ],
                shear: [lanes::<0>(shear), lanes::<1>(shear)],
                scale: _mm_cvtss_f32(scale),
            }
        }
    }

    #[inline(always)]
    fn scale(space: &Space) -> f32 {
        space.scale
    }

    #[inline(always)]
    unsafe fn children_met(space: &Space, node: &WideNode, t_max: f32) -> (u32, __m256i) {
        let planes = node.planes.as_ptr().cast::<u8>();
        // SAFETY: the caller has AVX2 and FMA. The loads are of the 8 floats at
        // one of the six offsets of `planes`, which is aligned as its node is.
        unsafe {
            let near = |axis: usize| {
                let planes = _mm256_load_ps(planes.add(space.near_offset[axis]).cast());
                _mm256_castps_si256(_mm256_fmadd_ps(planes, space.inverse[axis], space.near_base[axis]))
            };
            let far = |axis: usize| {
                let planes = _mm256_load_ps(planes.add(space.far_offset[axis]).cast());
                _mm256_castps_si256(_mm256_fmadd_ps(planes, space.inverse[axis], space.far_base[axis]))
            };
            // As for `t_min`.
            let t_max = _mm256_castps_si256(_mm256_set1_ps(t_max + 0.0));
            let near =
                _mm256_max_epi32(_mm256_max_epi32(near(0), near(1)), _mm256_max_epi32(near(2), space.t_min));
            let far = _mm256_min_epi32(_mm256_min_epi32(far(0), far(1)), _mm256_min_epi32(far(2), t_max));
            let missed = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(near, far)));
            (missed.cast_unsigned() ^ 0xff, near)
        }
    }

    #[inline(always)]
    unsafe fn beam(bounds: &Bounds) -> Beam {
        // SAFETY: the caller has AVX2.
        unsafe {
            let origin = |axis: usize, is_near: bool| _mm256_set1_ps(bounds.origin_towards(axis, is_near));
            let inverse = |side: usize, axis: usize| _mm256_set1_ps(bounds.inverse[side][axis]);
            Beam {
                origin: [
                    [origin(0, true), origin(1, true), origin(2, true)],
                    [origin(0, false), origin(1, false), origin(2, false)],
                ],
                inverse: [
                    [inverse(0, 0), inverse(0, 1), inverse(0, 2)],
                    [inverse(1, 0), inverse(1, 1), inverse(1, 2)],
                ],
                t_min: _mm256_set1_ps(bounds.t_min + 0.0),
                near_offset: [0, 1, 2].map(|axis| 64 * axis + 32 * bounds.near_side[axis]),
            }
        }
    }

    #[inline(always)]
    unsafe fn children_met_by_beam(beam: &Beam, node: &WideNode, t_max: f32) -> (u32, __m256i) {
        let planes = node.planes.as_ptr().cast::<u8>();
        // SAFETY: as in `children_met`.
        unsafe {
            let distances = |axis: usize, side: usize| {
                let planes = planes.add(beam.near_offset[axis] ^ (32 * side));
                let way = _mm256_sub_ps(_mm256_load_ps(planes.cast()), beam.origin[side][axis]);
                (_mm256_mul_ps(way, beam.inverse[0][axis]), _mm256_mul_ps(way, beam.inverse[1][axis]))
            };
            let soonest = |axis: usize| {
                let (low, high) = distances(axis, 0);
                _mm256_min_ps(low, high)
            };
            let latest = |axis: usize| {
                let (low, high) = distances(axis, 1);
                _mm256_max_ps(low, high)
            };
            // Of zeros the second argument counts, which has the sign that integers want.
            let near = _mm256_max_ps(_mm256_max_ps(soonest(0), soonest(1)), soonest(2));
            let near = _mm256_max_ps(near, beam.t_min);
            let far = _mm256_min_ps(_mm256_min_ps(latest(0), latest(1)), latest(2));
            let far = _mm256_min_ps(far, _mm256_set1_ps(t_max));
            let met = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(near, far));
            (met.cast_unsigned(), _mm256_castps_si256(near))
        }
    }

    #[inline(always)]
    unsafe fn keys(near: __m256i) -> [i32; 8] {
        let mut keys = [0; 8];
        // SAFETY: the caller has AVX2, and there is room for 8 words.
        unsafe { _mm256_storeu_si256(keys.as_mut_ptr().cast(), near) };
        keys
    }

    /// Sorts all 8, with the slot in the lowest bits of the key and what was
    /// missed last. That takes a while, so the nearest is found by a shorter way.
    #[inline(always)]
    unsafe fn push_sorted(near: __m256i, met: u32, children: &[Child; 8], stack: &mut Stack) -> Child {
        // SAFETY: the caller has AVX2. Children are words, of which 8 are loaded
        // from 8, and 8 written to where `push_eight` has room for them.
        unsafe {
            let slots = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let bits = _mm256_sllv_epi32(_mm256_set1_epi32(1), slots);
            let met_lanes = _mm256_and_si256(_mm256_set1_epi32(met.cast_signed()), bits);
            let missed = _mm256_cmpeq_epi32(met_lanes, _mm256_setzero_si256());
            let keys = _mm256_or_si256(slots, _mm256_andnot_si256(_mm256_set1_epi32(7), near));
            let keys = _mm256_or_si256(keys, missed);
            let sorted = sort_descending(keys);
            let words = _mm256_loadu_si256(children.as_ptr().cast());
            let words = _mm256_permutevar8x32_epi32(words, sorted);
            stack.push_eight(met.count_ones() as usize - 1, |children, keys| {
                _mm256_storeu_si256(children.cast(), words);
                _mm256_storeu_si256(keys.cast(), sorted);
            });
            let halves = _mm_min_epu32(_mm256_castsi256_si128(keys), _mm256_extracti128_si256::<1>(keys));
            let quarters = _mm_min_epu32(halves, _mm_shuffle_epi32::<0b01_00_11_10>(halves));
            let nearest = _mm_min_epu32(quarters, _mm_shuffle_epi32::<0b10_11_00_01>(quarters));
            children[_mm_cvtsi128_si32(nearest).cast_unsigned() as usize & 7]
        }
    }

    /// Two triangles in the halves of a vector, with a lane for each corner.
    #[inline(always)]
    unsafe fn triangles_met(
        space: &Space,
        triangles: &[Triangle],
        mut visit: impl FnMut(u32, EdgeTest) -> bool,
    ) -> bool {
        let mut first = 0;
        let mut rest = triangles;
        while let [one, others @ ..] = rest {
            let (two, both) = if let [two, ..] = others { (two, 0x11) } else { (one, 0x1) };
            // SAFETY: the caller has AVX2.
            let (found, edges, depths) = unsafe { test_pair(space, one, two) };
            let mut found = found & both;
            while found != 0 {
                let lane = found.trailing_zeros() & 4;
                found &= found - 1;
                let three = |lanes: &[f32; 8]| [0, 1, 2].map(|i| lanes[lane as usize + i]);
                if visit(first + lane / 4, EdgeTest { edges: three(&edges), depths: three(&depths) }) {
                    return true;
                }
            }
            first += 2;
            rest = others.get(1..).unwrap_or_default();
        }
        false
    }

    #[inline(always)]
    unsafe fn visit_mesh(traversal: &Traversal<'_>, packet: &mut Packet<'_>, name: u32) {
        // SAFETY: the caller has these instructions.
        unsafe {
            if AVX512 {
                mesh_avx512(traversal, packet, name);
            } else {
                mesh_avx2(traversal, packet, name);
            }
        }
    }

    #[inline(always)]
    unsafe fn visit_instances<const ANY: bool>(
        traversal: &Traversal<'_>,
        search: &mut Search<'_>,
        leaf: Child,
    ) -> bool {
        // SAFETY: the caller has these instructions.
        unsafe {
            if AVX512 {
                visit_avx512::<ANY>(traversal, search, leaf)
            } else {
                visit_avx2::<ANY>(traversal, search, leaf)
            }
        }
    }
}

/// A component in all lanes.
///
/// # Safety
///
/// The processor must have AVX2.
#[inline(always)]
unsafe fn lanes<const COMPONENT: i32>(vector: __m128) -> __m256 {
    // SAFETY: the caller has AVX2.
    unsafe { _mm256_broadcastss_ps(_mm_permute_ps::<COMPONENT>(vector)) }
}

/// Bit 0 where the first triangle is met and bit 4 where the second is, with
/// their edge functions and depths in the first three places of each half.
///
/// Product and sum are kept apart: this is the part where the kernel's order of
/// operations counts.
///
/// # Safety
///
/// The processor must have AVX2.
#[inline(always)]
unsafe fn test_pair(space: &Space, first: &Triangle, second: &Triangle) -> (u32, [f32; 8], [f32; 8]) {
    // SAFETY: the caller has AVX2. Loads are of the 4 words of a row, and stores
    // of 8 floats.
    unsafe {
        let rows = |first: &[u32; 4], second: &[u32; 4]| {
            let low = _mm256_castps128_ps256(_mm_loadu_ps(first.as_ptr().cast()));
            let both = _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(second.as_ptr().cast()));
            _mm256_permutevar_ps(both, space.permutation)
        };
        let (a, b, c) = (rows(&first.a, &second.a), rows(&first.b, &second.b), rows(&first.c, &second.c));
        // Lanes a, b, c, c of each component.
        let ab_xy = _mm256_unpacklo_ps(a, b);
        let ab_z = _mm256_unpackhi_ps(a, b);
        let x = _mm256_sub_ps(_mm256_shuffle_ps::<0b00_00_01_00>(ab_xy, c), space.origin[0]);
        let y = _mm256_sub_ps(_mm256_shuffle_ps::<0b01_01_11_10>(ab_xy, c), space.origin[1]);
        let z = _mm256_sub_ps(_mm256_shuffle_ps::<0b10_10_01_00>(ab_z, c), space.origin[2]);
        let x = _mm256_sub_ps(x, _mm256_mul_ps(space.shear[0], z));
        let y = _mm256_sub_ps(y, _mm256_mul_ps(space.shear[1], z));
        // From corners b, c, a to corners c, a, b.
        let from_x = _mm256_permute_ps::<0b11_00_10_01>(x);
        let from_y = _mm256_permute_ps::<0b11_00_10_01>(y);
        let to_x = _mm256_permute_ps::<0b11_01_00_10>(x);
        let to_y = _mm256_permute_ps::<0b11_01_00_10>(y);
        let edges = _mm256_sub_ps(
            _mm256_mul_ps(_mm256_sub_ps(to_x, from_x), _mm256_add_ps(to_y, from_y)),
            _mm256_mul_ps(_mm256_sub_ps(to_y, from_y), _mm256_add_ps(to_x, from_x)),
        );
        let zero = _mm256_setzero_ps();
        let positive = all_corners(_mm256_cmp_ps::<_CMP_GE_OQ>(edges, zero));
        let negative = all_corners(_mm256_cmp_ps::<_CMP_LE_OQ>(edges, zero));
        let agreeing = _mm256_movemask_ps(_mm256_or_ps(positive, negative)).cast_unsigned();
        let (mut edge_lanes, mut depths) = ([0.0; 8], [0.0; 8]);
        _mm256_storeu_ps(edge_lanes.as_mut_ptr(), edges);
        _mm256_storeu_ps(depths.as_mut_ptr(), z);
        (agreeing & 0x11, edge_lanes, depths)
    }
}

/// In the first lane of each half, whether the first three lanes are all set.
///
/// # Safety
///
/// The processor must have AVX2.
#[inline(always)]
unsafe fn all_corners(set: __m256) -> __m256 {
    // SAFETY: the caller has AVX2.
    unsafe {
        let next = _mm256_permute_ps::<0b11_00_10_01>(set);
        let last = _mm256_permute_ps::<0b11_01_00_10>(set);
        _mm256_and_ps(set, _mm256_and_ps(next, last))
    }
}

/// Sorts 8 words by a bitonic network (Batcher 1968).
///
/// # Safety
///
/// The processor must have AVX2.
#[inline(always)]
unsafe fn sort_descending(words: __m256i) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        macro_rules! exchange {
            ($words:expr, $partners:expr, $keep_larger:literal) => {{
                let (words, partners) = ($words, $partners);
                let (smaller, larger) =
                    (_mm256_min_epi32(words, partners), _mm256_max_epi32(words, partners));
                _mm256_blend_epi32::<$keep_larger>(smaller, larger)
            }};
        }
        let words = exchange!(words, _mm256_shuffle_epi32::<0b10_11_00_01>(words), 0b0101_0101);
        let words = exchange!(words, _mm256_shuffle_epi32::<0b00_01_10_11>(words), 0b0011_0011);
        let words = exchange!(words, _mm256_shuffle_epi32::<0b10_11_00_01>(words), 0b0101_0101);
        let reversed = _mm256_permutevar8x32_epi32(words, _mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0));
        let words = exchange!(words, reversed, 0b0000_1111);
        let words = exchange!(words, _mm256_shuffle_epi32::<0b01_00_11_10>(words), 0b0011_0011);
        exchange!(words, _mm256_shuffle_epi32::<0b10_11_00_01>(words), 0b0101_0101)
    }
}
