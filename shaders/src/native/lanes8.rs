//! The vocabulary of the generated text at eight lanes, by AVX2.
//!
//! Every operation gives in each lane the bits that `lanes1` gives; see there
//! for what it means. Nothing is fused or approximate.
//!
//! The contract: values of these types are made only by code that runs after
//! the processor was found to have AVX2. The generated functions enable it by
//! `#[target_feature]`; the operations here do not, because a function that
//! enables features cannot be always inlined. They are inlined into such a
//! function first, and the intrinsics into that.

use core::arch::x86_64::*;
use core::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Rem, Shl, Shr, Sub};

pub use super::vector::Lanes;
use super::vocabulary::{reach_lanes, select_by_mask, words_in_reach};
use super::wide;

/// The number of lanes of every value.
pub const WIDTH: usize = 8;

wide::registers! {
    /// A 32-bit float in each lane.
    F32(__m256) of f32, |value| _mm256_set1_ps(value);
    /// An unsigned 32-bit integer in each lane.
    U32(__m256i) of u32, |value| _mm256_set1_epi32(value.cast_signed());
    /// A signed 32-bit integer in each lane.
    I32(__m256i) of i32, |value| _mm256_set1_epi32(value);
}

/// A truth in each lane: all bits of a lane are one, or none is.
#[derive(Clone, Copy)]
pub struct Mask(__m256i);

select_by_mask!();
reach_lanes!(F32 of f32, U32 of u32, I32 of i32; Mask of bool);
wide::compose!();

impl Select for F32 {
    #[inline(always)]
    fn select(mask: Mask, accept: Self, reject: Self) -> Self {
        // SAFETY: the module's contract.
        Self(unsafe { _mm256_blendv_ps(reject.0, accept.0, _mm256_castsi256_ps(mask.0)) })
    }
}

/// `Select` for types of one integer register.
macro_rules! select_integers {
    ($($type:ident)+) => {$(
        impl Select for $type {
            #[inline(always)]
            fn select(mask: Mask, accept: Self, reject: Self) -> Self {
                // SAFETY: the module's contract.
                Self(unsafe { _mm256_blendv_epi8(reject.0, accept.0, mask.0) })
            }
        }
    )+};
}

select_integers!(U32 I32 Mask);

wide::operators!(F32 {
    Add add(x, y: F32) = _mm256_add_ps(x, y);
    Sub sub(x, y: F32) = _mm256_sub_ps(x, y);
    Mul mul(x, y: F32) = _mm256_mul_ps(x, y);
    Div div(x, y: F32) = _mm256_div_ps(x, y);
    Neg neg(x) = _mm256_xor_ps(x, _mm256_set1_ps(-0.0));
});

wide::methods!(F32 {
    lt(x, y) -> Mask = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_LT_OQ>(x, y));
    le(x, y) -> Mask = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_LE_OQ>(x, y));
    gt(x, y) -> Mask = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_GT_OQ>(x, y));
    ge(x, y) -> Mask = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_GE_OQ>(x, y));
    eq(x, y) -> Mask = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_EQ_OQ>(x, y));
    ne(x, y) -> Mask = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_NEQ_UQ>(x, y));
    min(x, y) -> F32 = _mm256_min_ps(x, y);
    max(x, y) -> F32 = _mm256_max_ps(x, y);
    abs(x) -> F32 = _mm256_andnot_ps(_mm256_set1_ps(-0.0), x);
    floor(x) -> F32 = _mm256_floor_ps(x);
    ceil(x) -> F32 = _mm256_ceil_ps(x);
    trunc(x) -> F32 = _mm256_round_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(x);
    round(x) -> F32 = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
    sqrt(x) -> F32 = _mm256_sqrt_ps(x);
    to_bits(x) -> U32 = _mm256_castps_si256(x);
});

wide::conversions!(F32 {
    from_bits(x: U32) = _mm256_castsi256_ps(x);
    from_i32(x: I32) = _mm256_cvtepi32_ps(x);
    from_mask(x: Mask) = _mm256_and_ps(_mm256_castsi256_ps(x), _mm256_set1_ps(1.0));
});

impl F32 {
    /// As `lanes1::F32::from_u32`, lane by lane.
    ///
    /// AVX2 converts signed integers only. The upper and the lower 16 bits are
    /// exact as floats, so only their sum rounds.
    #[inline(always)]
    pub fn from_u32(value: U32) -> Self {
        let upper = Self::from_i32(I32::from_u32(value >> U32::splat(16)));
        let lower = Self::from_i32(I32::from_u32(value & U32::splat(0xffff)));
        upper * Self::splat(65536.0) + lower
    }
}

wide::operators!(U32 {
    Add add(x, y: U32) = _mm256_add_epi32(x, y);
    Sub sub(x, y: U32) = _mm256_sub_epi32(x, y);
    Mul mul(x, y: U32) = _mm256_mullo_epi32(x, y);
    BitAnd bitand(x, y: U32) = _mm256_and_si256(x, y);
    BitOr bitor(x, y: U32) = _mm256_or_si256(x, y);
    BitXor bitxor(x, y: U32) = _mm256_xor_si256(x, y);
    Not not(x) = _mm256_xor_si256(x, _mm256_set1_epi32(-1));
    Shl shl(x, y: U32) = _mm256_sllv_epi32(x, _mm256_and_si256(y, _mm256_set1_epi32(31)));
    Shr shr(x, y: U32) = _mm256_srlv_epi32(x, _mm256_and_si256(y, _mm256_set1_epi32(31)));
});

// AVX2 orders signed integers only; unsigned ones by which of two is the lesser.
wide::methods!(U32 {
    le(x, y) -> Mask = _mm256_cmpeq_epi32(_mm256_min_epu32(x, y), x);
    ge(x, y) -> Mask = _mm256_cmpeq_epi32(_mm256_max_epu32(x, y), x);
    eq(x, y) -> Mask = _mm256_cmpeq_epi32(x, y);
    min(x, y) -> U32 = _mm256_min_epu32(x, y);
    max(x, y) -> U32 = _mm256_max_epu32(x, y);
});

wide::conversions!(U32 {
    from_mask(x: Mask) = _mm256_srli_epi32::<31>(x);
});

impl U32 {
    /// As `lanes1::U32::lt`, lane by lane.
    #[inline(always)]
    pub fn lt(self, other: Self) -> Mask {
        !self.ge(other)
    }

    /// As `lanes1::U32::gt`, lane by lane.
    #[inline(always)]
    pub fn gt(self, other: Self) -> Mask {
        !self.le(other)
    }

    /// As `lanes1::U32::ne`, lane by lane.
    #[inline(always)]
    pub fn ne(self, other: Self) -> Mask {
        !self.eq(other)
    }

    /// As `lanes1::U32::from_f32`, lane by lane.
    ///
    /// AVX2 converts to signed integers only, so 2³¹ is taken off before, which
    /// is exact, and put back as the highest bit.
    #[inline(always)]
    pub fn from_f32(value: F32) -> Self {
        let half = F32::splat(2_147_483_648.0);
        let clamped = value.max(F32::splat(0.0)).min(F32::splat(4_294_967_040.0));
        let is_upper = clamped.ge(half);
        let lowered = select(is_upper, clamped - half, clamped);
        // SAFETY: the module's contract.
        Self(unsafe { _mm256_xor_si256(_mm256_cvttps_epi32(lowered.0), _mm256_slli_epi32::<31>(is_upper.0)) })
    }

    /// As `lanes1::U32::count_one_bits`, lane by lane.
    #[inline(always)]
    pub fn count_one_bits(self) -> Self {
        const ONES: [i8; 16] = [0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4];
        let [lower, upper] = self.look_up_nibbles(ONES);
        // SAFETY: the module's contract.
        Self(unsafe {
            let bytes = _mm256_add_epi8(lower, upper);
            let pairs = _mm256_maddubs_epi16(bytes, _mm256_set1_epi8(1));
            _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
        })
    }

    /// As `lanes1::U32::reverse_bits`, lane by lane.
    #[inline(always)]
    pub fn reverse_bits(self) -> Self {
        const REVERSED: [i8; 16] = [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15];
        const OPPOSITE_BYTE: [i8; 16] = [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12];
        let [lower, upper] = self.look_up_nibbles(REVERSED);
        // SAFETY: the module's contract. A reversed nibble stays in its byte when shifted by 4.
        Self(unsafe {
            let bytes = _mm256_or_si256(_mm256_slli_epi32::<4>(lower), upper);
            _mm256_shuffle_epi8(bytes, repeated(OPPOSITE_BYTE))
        })
    }

    /// What the table says of the lower and of the upper four bits of each byte.
    #[inline(always)]
    fn look_up_nibbles(self, table: [i8; 16]) -> [__m256i; 2] {
        // SAFETY: the module's contract.
        unsafe {
            let nibble = _mm256_set1_epi8(0x0f);
            let lower = _mm256_and_si256(self.0, nibble);
            let upper = _mm256_and_si256(_mm256_srli_epi32::<4>(self.0), nibble);
            [_mm256_shuffle_epi8(repeated(table), lower), _mm256_shuffle_epi8(repeated(table), upper)]
        }
    }

    /// The truncated quotient by a divisor other than 0.
    ///
    /// In double precision: an integer above the true quotient is 1/divisor or
    /// more away, and rounding moves it by less than 2⁻²¹/divisor, so the
    /// truncation is exact.
    #[inline(always)]
    fn quotient(self, divisor: Self) -> Self {
        // SAFETY: the module's contract.
        Self(unsafe {
            let even = quotient_of_lower_words(self.0, divisor.0);
            let odd =
                quotient_of_lower_words(_mm256_srli_epi64::<32>(self.0), _mm256_srli_epi64::<32>(divisor.0));
            _mm256_blend_epi32::<0b1010_1010>(even, _mm256_slli_epi64::<32>(odd))
        })
    }
}

/// The table in each half of a register, as shuffles of bytes read it.
#[inline(always)]
fn repeated(table: [i8; 16]) -> __m256i {
    // SAFETY: the module's contract; the array and the register are the same bits.
    unsafe { _mm256_broadcastsi128_si256(core::mem::transmute::<[i8; 16], __m128i>(table)) }
}

/// Truncated quotients of the lower halves of 64-bit lanes, in their lower halves.
///
/// An integer below 2³² in the low bits of the double 2⁵² adds itself to it, so
/// the conversions both ways are a bit operation and an addition.
#[inline(always)]
fn quotient_of_lower_words(dividend: __m256i, divisor: __m256i) -> __m256i {
    const TWO_TO_52: f64 = 4_503_599_627_370_496.0;
    // SAFETY: the module's contract.
    unsafe {
        let offset = _mm256_set1_pd(TWO_TO_52);
        let lower = _mm256_set1_epi64x(0xffff_ffff);
        let bits = _mm256_castpd_si256(offset);
        let dividend = _mm256_castsi256_pd(_mm256_or_si256(_mm256_and_si256(dividend, lower), bits));
        let divisor = _mm256_castsi256_pd(_mm256_or_si256(_mm256_and_si256(divisor, lower), bits));
        let quotient = _mm256_div_pd(_mm256_sub_pd(dividend, offset), _mm256_sub_pd(divisor, offset));
        let truncated = _mm256_round_pd::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(quotient);
        _mm256_castpd_si256(_mm256_add_pd(truncated, offset))
    }
}

wide::operators!(I32 {
    Add add(x, y: I32) = _mm256_add_epi32(x, y);
    Sub sub(x, y: I32) = _mm256_sub_epi32(x, y);
    Mul mul(x, y: I32) = _mm256_mullo_epi32(x, y);
    Neg neg(x) = _mm256_sub_epi32(_mm256_setzero_si256(), x);
    BitAnd bitand(x, y: I32) = _mm256_and_si256(x, y);
    BitOr bitor(x, y: I32) = _mm256_or_si256(x, y);
    BitXor bitxor(x, y: I32) = _mm256_xor_si256(x, y);
    Not not(x) = _mm256_xor_si256(x, _mm256_set1_epi32(-1));
    Shl shl(x, y: U32) = _mm256_sllv_epi32(x, _mm256_and_si256(y, _mm256_set1_epi32(31)));
    Shr shr(x, y: U32) = _mm256_srav_epi32(x, _mm256_and_si256(y, _mm256_set1_epi32(31)));
});

wide::methods!(I32 {
    lt(x, y) -> Mask = _mm256_cmpgt_epi32(y, x);
    gt(x, y) -> Mask = _mm256_cmpgt_epi32(x, y);
    eq(x, y) -> Mask = _mm256_cmpeq_epi32(x, y);
    min(x, y) -> I32 = _mm256_min_epi32(x, y);
    max(x, y) -> I32 = _mm256_max_epi32(x, y);
    abs(x) -> I32 = _mm256_abs_epi32(x);
});

wide::conversions!(I32 {
    from_mask(x: Mask) = _mm256_srli_epi32::<31>(x);
});

impl I32 {
    /// As `lanes1::I32::le`, lane by lane.
    #[inline(always)]
    pub fn le(self, other: Self) -> Mask {
        !self.gt(other)
    }

    /// As `lanes1::I32::ge`, lane by lane.
    #[inline(always)]
    pub fn ge(self, other: Self) -> Mask {
        !self.lt(other)
    }

    /// As `lanes1::I32::ne`, lane by lane.
    #[inline(always)]
    pub fn ne(self, other: Self) -> Mask {
        !self.eq(other)
    }

    /// As `lanes1::I32::from_f32`, lane by lane.
    #[inline(always)]
    pub fn from_f32(value: F32) -> Self {
        let clamped = value.max(F32::splat(-2_147_483_648.0)).min(F32::splat(2_147_483_520.0));
        let number = select(value.eq(value), clamped, F32::splat(0.0));
        // SAFETY: the module's contract.
        Self(unsafe { _mm256_cvttps_epi32(number.0) })
    }

    /// The truncated quotient by a divisor other than 0, exact as that of `U32`.
    ///
    /// `MIN / -1` is out of range, for which the conversion answers `MIN`.
    #[inline(always)]
    fn quotient(self, divisor: Self) -> Self {
        // SAFETY: the module's contract.
        Self(unsafe {
            let lower = quotient_of_four(_mm256_castsi256_si128(self.0), _mm256_castsi256_si128(divisor.0));
            let upper = quotient_of_four(
                _mm256_extracti128_si256::<1>(self.0),
                _mm256_extracti128_si256::<1>(divisor.0),
            );
            _mm256_set_m128i(upper, lower)
        })
    }
}

/// Truncated quotients of signed integers, by doubles.
#[inline(always)]
fn quotient_of_four(dividend: __m128i, divisor: __m128i) -> __m128i {
    // SAFETY: the module's contract.
    unsafe { _mm256_cvttpd_epi32(_mm256_div_pd(_mm256_cvtepi32_pd(dividend), _mm256_cvtepi32_pd(divisor))) }
}

wide::operators!(Mask {
    BitAnd bitand(x, y: Mask) = _mm256_and_si256(x, y);
    BitOr bitor(x, y: Mask) = _mm256_or_si256(x, y);
    BitXor bitxor(x, y: Mask) = _mm256_xor_si256(x, y);
    Not not(x) = _mm256_xor_si256(x, _mm256_set1_epi32(-1));
});

impl Mask {
    /// `value` in every lane.
    #[inline(always)]
    pub fn splat(value: bool) -> Self {
        // SAFETY: the module's contract.
        Self(unsafe { _mm256_set1_epi32(-i32::from(value)) })
    }

    /// As `lanes1::Mask::any`, lane by lane.
    #[inline(always)]
    pub fn any(self) -> bool {
        self.bits() != 0
    }

    /// As `lanes1::Mask::every`, lane by lane.
    #[inline(always)]
    pub fn every(self) -> bool {
        self.bits() == 0xff
    }

    /// As `lanes1::Mask::bits`, lane by lane.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        // SAFETY: the module's contract.
        unsafe { _mm256_movemask_ps(_mm256_castsi256_ps(self.0)) }.cast_unsigned()
    }

    /// As `lanes1::Mask::from_bits`, lane by lane.
    #[inline(always)]
    pub fn from_bits(bits: u32) -> Self {
        let own = U32::from_array([1, 2, 4, 8, 16, 32, 64, 128]);
        (U32::splat(bits) & own).eq(own)
    }
}

/// As `lanes1::gather`, lane by lane: the word at `index` or the last in reach.
#[inline(always)]
pub fn gather(live: Mask, words: &[u32], index: U32) -> U32 {
    debug_assert!(!words.is_empty(), "gathering from no words");
    if words.is_empty() {
        return U32::splat(0);
    }
    let index = index.min(U32::splat(words_in_reach(words.len()) - 1));
    // SAFETY: the module's contract; every index is below the length and not
    // negative as a signed number.
    U32(unsafe {
        _mm256_mask_i32gather_epi32::<4>(_mm256_setzero_si256(), words.as_ptr().cast(), index.0, live.0)
    })
}

/// As `lanes1::gather_row`, lane by lane.
///
/// Rows are loaded and transposed: that takes about a third of the time of four
/// gathers on Zen 4, and less than they do on others.
#[inline(always)]
pub fn gather_row(live: Mask, words: &[u32], index: U32) -> [U32; 4] {
    let reach = words_in_reach(words.len());
    if reach < 4 {
        return [0, 1, 2, 3].map(|word| gather(live, words, index + U32::splat(word)));
    }
    let first = select(live, index.min(U32::splat(reach - 4)), U32::splat(0)).to_array();
    // SAFETY: the module's contract; from every first word on there are four.
    unsafe {
        let row = |lane: usize| _mm_loadu_si128(words.as_ptr().add(first[lane] as usize).cast());
        // Every fourth lane's row.
        let rows =
            |lane: usize| _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(row(lane)), row(lane + 4));
        let [a, b, c, d] = [rows(0), rows(1), rows(2), rows(3)];
        let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        [
            U32(_mm256_unpacklo_epi64(ab_low, cd_low)),
            U32(_mm256_unpackhi_epi64(ab_low, cd_low)),
            U32(_mm256_unpacklo_epi64(ab_high, cd_high)),
            U32(_mm256_unpackhi_epi64(ab_high, cd_high)),
        ]
    }
}

/// As `lanes1::scatter`, lane by lane, in the order of the lanes.
#[inline(always)]
pub fn scatter(live: Mask, words: &mut [u32], index: U32, value: U32) {
    let in_reach = live & index.lt(U32::splat(words_in_reach(words.len())));
    let (indices, values) = (index.to_array(), value.to_array());
    let mut pending = in_reach.bits();
    while pending != 0 {
        let lane = pending.trailing_zeros() as usize;
        words[indices[lane] as usize] = values[lane];
        pending &= pending - 1;
    }
}
