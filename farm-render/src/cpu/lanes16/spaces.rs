//! The space that a ray is in: the world's, or that of an instance's mesh.

use std::arch::x86_64::*;

use super::vectors::{addresses, dot, floats, load_rows, permuted, pointers, words};
use super::{Floats, Group, Lanes, Scene, Words};
use crate::cpu::tree::Child;
use crate::layout::{INSTANCE_REFERENCE, Instance, NONE};

impl Group {
    /// Takes some lanes into the instances that entries name; those in `more` have
    /// further entries of their leaf, in `child`.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) unsafe fn enter(&mut self, scene: &Scene<'_>, lanes: Lanes, more: Lanes, owner: Words) {
        // SAFETY: the caller upholds what `visit_leaves` wants, and entries name
        // instances of the scene, which have a mesh's tree.
        unsafe {
            self.push(more, self.child);
            self.push(lanes, words(Child::LEAVE.word()));
            let name = _mm512_maskz_andnot_epi32(lanes, words(INSTANCE_REFERENCE), owner);
            let first = scene.instances.as_ptr().cast::<u8>();
            let at = pointers(addresses(first, size_of::<Instance>(), name), lanes, first);
            let (mut origin, mut direction) = (self.world_origin, self.world_direction);
            for axis in 0..3 {
                // `to_mesh` comes first, a row after the other.
                let row = load_rows(&at, 16 * axis);
                origin[axis] = _mm512_add_ps(dot(&row, &self.world_origin), floats(row[3]));
                direction[axis] = dot(&row, &self.world_direction);
            }
            self.set_space(lanes, origin, direction, scene.quads.mesh_origin_share);
            self.inside = _mm512_mask_mov_epi32(self.inside, lanes, name);
            let roots = scene.quads.mesh_roots.as_ptr().cast();
            self.child = _mm512_mask_i32gather_epi32::<4>(self.child, lanes, name, roots);
        }
    }

    /// Takes some lanes back to the world.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) unsafe fn leave(&mut self, scene: &Scene<'_>, lanes: Lanes) {
        // SAFETY: the caller upholds it.
        unsafe {
            self.set_space(lanes, self.world_origin, self.world_direction, scene.quads.world_origin_share);
            self.inside = _mm512_mask_mov_epi32(self.inside, lanes, words(NONE));
            self.pop(lanes);
        }
    }

    /// Makes the rays of some lanes ready for a space: [`crate::cpu::level::Level::space`].
    #[inline(always)]
    pub(super) unsafe fn set_space(
        &mut self,
        lanes: Lanes,
        origin: [Floats; 3],
        direction: [Floats; 3],
        share: f32,
    ) {
        // SAFETY: the caller has AVX-512.
        unsafe {
            let zero = _mm512_setzero_ps();
            let size = direction.map(|x| _mm512_abs_ps(x));
            let largest = origin.map(|x| _mm512_abs_ps(x));
            let largest = _mm512_max_ps(largest[0], _mm512_max_ps(largest[1], largest[2]));
            let largest = _mm512_mul_ps(largest, _mm512_set1_ps(share));
            let mut inverse = direction;
            for axis in 0..3 {
                let below_zero = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(direction[axis], zero);
                let tiny = _mm512_mask_mov_ps(_mm512_set1_ps(1.0e-18), below_zero, _mm512_set1_ps(-1.0e-18));
                let is_tiny = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(size[axis], _mm512_set1_ps(1.0e-18));
                let divisible = _mm512_mask_mov_ps(direction[axis], is_tiny, tiny);
                inverse[axis] = _mm512_div_ps(_mm512_set1_ps(1.0), divisible);
                let pad = _mm512_mul_ps(largest, _mm512_abs_ps(inverse[axis]));
                let base = _mm512_sub_ps(zero, _mm512_mul_ps(origin[axis], inverse[axis]));
                let near = _mm512_max_ps(_mm512_sub_ps(base, pad), _mm512_set1_ps(-3.0e38));
                let far = _mm512_min_ps(_mm512_add_ps(base, pad), _mm512_set1_ps(3.0e38));
                let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(inverse[axis], zero);
                self.negative[axis] = (self.negative[axis] & !lanes) | (negative & lanes);
                self.near_base[axis] = _mm512_mask_mov_ps(self.near_base[axis], lanes, near);
                self.far_base[axis] = _mm512_mask_mov_ps(self.far_base[axis], lanes, far);
                self.inverse[axis] = _mm512_mask_mov_ps(self.inverse[axis], lanes, inverse[axis]);
                self.origin[axis] = _mm512_mask_mov_ps(self.origin[axis], lanes, origin[axis]);
            }
            let at_least = |a: Floats, b: Floats| _mm512_cmp_ps_mask::<_CMP_GE_OQ>(a, b);
            let is_x = at_least(size[0], size[1]) & at_least(size[0], size[2]);
            let longest = [is_x, !is_x & at_least(size[1], size[2])];
            let [x, y, _] = permuted(direction, longest);
            let scale = permuted(inverse, longest)[2];
            let shear = [_mm512_mul_ps(x, scale), _mm512_mul_ps(y, scale), scale];
            for (old, new) in self.shear.iter_mut().zip(shear) {
                *old = _mm512_mask_mov_ps(*old, lanes, new);
            }
            for (old, new) in self.longest.iter_mut().zip(longest) {
                *old = (*old & !lanes) | (new & lanes);
            }
        }
    }
}
