//! The vocabulary of the generated text at sixteen lanes, by AVX-512.
//!
//! Every operation gives in each lane the bits that `lanes1` gives; see there
//! for what it means. Nothing is fused or approximate.
//!
//! The contract: values of these types are made only by code that runs after
//! the processor was found to have AVX-512 F, BW, DQ and VL. The generated
//! functions enable them by `#[target_feature]`; the operations here do not,
//! because a function that enables features cannot be always inlined. They are
//! inlined into such a function first, and the intrinsics into that.

use core::arch::x86_64::*;
use core::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Rem, Shl, Shr, Sub};

pub use super::vector::Lanes;
use super::vocabulary::{reach_lanes, select_by_mask, words_in_reach};
use super::wide;

/// The number of lanes of every value.
pub const WIDTH: usize = 16;

wide::registers! {
    /// A 32-bit float in each lane.
    F32(__m512) of f32, |value| _mm512_set1_ps(value);
    /// An unsigned 32-bit integer in each lane.
    U32(__m512i) of u32, |value| _mm512_set1_epi32(value.cast_signed());
    /// A signed 32-bit integer in each lane.
    I32(__m512i) of i32, |value| _mm512_set1_epi32(value);
}

/// A truth in each lane: bit `i` is lane `i`.
#[derive(Clone, Copy)]
pub struct Mask(__mmask16);

select_by_mask!();
reach_lanes!(F32 of f32, U32 of u32, I32 of i32; Mask of bool);
wide::compose!();

/// `Select` for types of one register, by the blend of its type.
macro_rules! select_registers {
    ($($type:ident by $blend:ident),+) => {$(
        impl Select for $type {
            #[inline(always)]
            fn select(mask: Mask, accept: Self, reject: Self) -> Self {
                // SAFETY: the module's contract.
                Self(unsafe { $blend(mask.0, reject.0, accept.0) })
            }
        }
    )+};
}

select_registers!(F32 by _mm512_mask_blend_ps, U32 by _mm512_mask_blend_epi32, I32 by _mm512_mask_blend_epi32);

impl Select for Mask {
    #[inline(always)]
    fn select(mask: Self, accept: Self, reject: Self) -> Self {
        (mask & accept) | (!mask & reject)
    }
}

wide::operators!(F32 {
    Add add(x, y: F32) = _mm512_add_ps(x, y);
    Sub sub(x, y: F32) = _mm512_sub_ps(x, y);
    Mul mul(x, y: F32) = _mm512_mul_ps(x, y);
    Div div(x, y: F32) = _mm512_div_ps(x, y);
    Neg neg(x) = _mm512_xor_ps(x, _mm512_set1_ps(-0.0));
});

wide::methods!(F32 {
    lt(x, y) -> Mask = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, y);
    le(x, y) -> Mask = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(x, y);
    gt(x, y) -> Mask = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, y);
    ge(x, y) -> Mask = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, y);
    eq(x, y) -> Mask = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(x, y);
    ne(x, y) -> Mask = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(x, y);
    min(x, y) -> F32 = _mm512_min_ps(x, y);
    max(x, y) -> F32 = _mm512_max_ps(x, y);
    abs(x) -> F32 = _mm512_andnot_ps(_mm512_set1_ps(-0.0), x);
    floor(x) -> F32 = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(x);
    ceil(x) -> F32 = _mm512_roundscale_ps::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(x);
    trunc(x) -> F32 = _mm512_roundscale_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(x);
    round(x) -> F32 = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
    sqrt(x) -> F32 = _mm512_sqrt_ps(x);
    to_bits(x) -> U32 = _mm512_castps_si512(x);
});

wide::conversions!(F32 {
    from_bits(x: U32) = _mm512_castsi512_ps(x);
    from_u32(x: U32) = _mm512_cvtepu32_ps(x);
    from_i32(x: I32) = _mm512_cvtepi32_ps(x);
    from_mask(x: Mask) = _mm512_maskz_mov_ps(x, _mm512_set1_ps(1.0));
});

wide::operators!(U32 {
    Add add(x, y: U32) = _mm512_add_epi32(x, y);
    Sub sub(x, y: U32) = _mm512_sub_epi32(x, y);
    Mul mul(x, y: U32) = _mm512_mullo_epi32(x, y);
    BitAnd bitand(x, y: U32) = _mm512_and_si512(x, y);
    BitOr bitor(x, y: U32) = _mm512_or_si512(x, y);
    BitXor bitxor(x, y: U32) = _mm512_xor_si512(x, y);
    Not not(x) = _mm512_xor_si512(x, _mm512_set1_epi32(-1));
    Shl shl(x, y: U32) = _mm512_sllv_epi32(x, _mm512_and_si512(y, _mm512_set1_epi32(31)));
    Shr shr(x, y: U32) = _mm512_srlv_epi32(x, _mm512_and_si512(y, _mm512_set1_epi32(31)));
});

wide::methods!(U32 {
    lt(x, y) -> Mask = _mm512_cmplt_epu32_mask(x, y);
    le(x, y) -> Mask = _mm512_cmple_epu32_mask(x, y);
    gt(x, y) -> Mask = _mm512_cmpgt_epu32_mask(x, y);
    ge(x, y) -> Mask = _mm512_cmpge_epu32_mask(x, y);
    eq(x, y) -> Mask = _mm512_cmpeq_epu32_mask(x, y);
    ne(x, y) -> Mask = _mm512_cmpneq_epu32_mask(x, y);
    min(x, y) -> U32 = _mm512_min_epu32(x, y);
    max(x, y) -> U32 = _mm512_max_epu32(x, y);
});

wide::conversions!(U32 {
    from_mask(x: Mask) = _mm512_maskz_set1_epi32(x, 1);
});

impl U32 {
    /// As `lanes1::U32::from_f32`, lane by lane.
    #[inline(always)]
    pub fn from_f32(value: F32) -> Self {
        let clamped = value.max(F32::splat(0.0)).min(F32::splat(4_294_967_040.0));
        // SAFETY: the module's contract.
        Self(unsafe { _mm512_cvttps_epu32(clamped.0) })
    }

    /// As `lanes1::U32::count_one_bits`, lane by lane.
    #[inline(always)]
    pub fn count_one_bits(self) -> Self {
        const ONES: [i8; 16] = [0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4];
        let [lower, upper] = self.look_up_nibbles(ONES);
        // SAFETY: the module's contract.
        Self(unsafe {
            let bytes = _mm512_add_epi8(lower, upper);
            let pairs = _mm512_maddubs_epi16(bytes, _mm512_set1_epi8(1));
            _mm512_madd_epi16(pairs, _mm512_set1_epi16(1))
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
            let bytes = _mm512_or_si512(_mm512_slli_epi32::<4>(lower), upper);
            _mm512_shuffle_epi8(bytes, repeated(OPPOSITE_BYTE))
        })
    }

    /// What the table says of the lower and of the upper four bits of each byte.
    #[inline(always)]
    fn look_up_nibbles(self, table: [i8; 16]) -> [__m512i; 2] {
        // SAFETY: the module's contract.
        unsafe {
            let nibble = _mm512_set1_epi8(0x0f);
            let lower = _mm512_and_si512(self.0, nibble);
            let upper = _mm512_and_si512(_mm512_srli_epi32::<4>(self.0), nibble);
            [_mm512_shuffle_epi8(repeated(table), lower), _mm512_shuffle_epi8(repeated(table), upper)]
        }
    }

    /// The truncated quotient by a divisor other than 0.
    ///
    /// In double precision: an integer above the true quotient is 1/divisor or
    /// more away, and rounding moves it by less than 2⁻²¹/divisor, so the
    /// truncation is exact.
    #[inline(always)]
    fn quotient(self, divisor: Self) -> Self {
        let [lower_dividend, upper_dividend] = halves(self.0);
        let [lower_divisor, upper_divisor] = halves(divisor.0);
        // SAFETY: the module's contract.
        Self(unsafe {
            let lower = _mm512_div_pd(_mm512_cvtepu32_pd(lower_dividend), _mm512_cvtepu32_pd(lower_divisor));
            let upper = _mm512_div_pd(_mm512_cvtepu32_pd(upper_dividend), _mm512_cvtepu32_pd(upper_divisor));
            joined(_mm512_cvttpd_epu32(lower), _mm512_cvttpd_epu32(upper))
        })
    }
}

/// The table in each quarter of a register, as shuffles of bytes read it.
#[inline(always)]
fn repeated(table: [i8; 16]) -> __m512i {
    // SAFETY: the module's contract; the array and the register are the same bits.
    unsafe { _mm512_broadcast_i32x4(core::mem::transmute::<[i8; 16], __m128i>(table)) }
}

/// The lower and the upper eight lanes.
#[inline(always)]
fn halves(register: __m512i) -> [__m256i; 2] {
    // SAFETY: the module's contract.
    unsafe { [_mm512_castsi512_si256(register), _mm512_extracti64x4_epi64::<1>(register)] }
}

/// The register of these lower and upper eight lanes.
#[inline(always)]
fn joined(lower: __m256i, upper: __m256i) -> __m512i {
    // SAFETY: the module's contract.
    unsafe { _mm512_inserti64x4::<1>(_mm512_castsi256_si512(lower), upper) }
}

wide::operators!(I32 {
    Add add(x, y: I32) = _mm512_add_epi32(x, y);
    Sub sub(x, y: I32) = _mm512_sub_epi32(x, y);
    Mul mul(x, y: I32) = _mm512_mullo_epi32(x, y);
    Neg neg(x) = _mm512_sub_epi32(_mm512_setzero_si512(), x);
    BitAnd bitand(x, y: I32) = _mm512_and_si512(x, y);
    BitOr bitor(x, y: I32) = _mm512_or_si512(x, y);
    BitXor bitxor(x, y: I32) = _mm512_xor_si512(x, y);
    Not not(x) = _mm512_xor_si512(x, _mm512_set1_epi32(-1));
    Shl shl(x, y: U32) = _mm512_sllv_epi32(x, _mm512_and_si512(y, _mm512_set1_epi32(31)));
    Shr shr(x, y: U32) = _mm512_srav_epi32(x, _mm512_and_si512(y, _mm512_set1_epi32(31)));
});

wide::methods!(I32 {
    lt(x, y) -> Mask = _mm512_cmplt_epi32_mask(x, y);
    le(x, y) -> Mask = _mm512_cmple_epi32_mask(x, y);
    gt(x, y) -> Mask = _mm512_cmpgt_epi32_mask(x, y);
    ge(x, y) -> Mask = _mm512_cmpge_epi32_mask(x, y);
    eq(x, y) -> Mask = _mm512_cmpeq_epi32_mask(x, y);
    ne(x, y) -> Mask = _mm512_cmpneq_epi32_mask(x, y);
    min(x, y) -> I32 = _mm512_min_epi32(x, y);
    max(x, y) -> I32 = _mm512_max_epi32(x, y);
    abs(x) -> I32 = _mm512_abs_epi32(x);
});

wide::conversions!(I32 {
    from_mask(x: Mask) = _mm512_maskz_set1_epi32(x, 1);
});

impl I32 {
    /// As `lanes1::I32::from_f32`, lane by lane.
    #[inline(always)]
    pub fn from_f32(value: F32) -> Self {
        let clamped = value.max(F32::splat(-2_147_483_648.0)).min(F32::splat(2_147_483_520.0));
        let number = select(value.eq(value), clamped, F32::splat(0.0));
        // SAFETY: the module's contract.
        Self(unsafe { _mm512_cvttps_epi32(number.0) })
    }

    /// The truncated quotient by a divisor other than 0, exact as that of `U32`.
    ///
    /// `MIN / -1` is out of range, for which the conversion answers `MIN`.
    #[inline(always)]
    fn quotient(self, divisor: Self) -> Self {
        let [lower_dividend, upper_dividend] = halves(self.0);
        let [lower_divisor, upper_divisor] = halves(divisor.0);
        // SAFETY: the module's contract.
        Self(unsafe {
            let lower = _mm512_div_pd(_mm512_cvtepi32_pd(lower_dividend), _mm512_cvtepi32_pd(lower_divisor));
            let upper = _mm512_div_pd(_mm512_cvtepi32_pd(upper_dividend), _mm512_cvtepi32_pd(upper_divisor));
            joined(_mm512_cvttpd_epi32(lower), _mm512_cvttpd_epi32(upper))
        })
    }
}

/// Operators on masks, which are plain integers.
macro_rules! mask_operators {
    ($($operator:ident $method:ident),+) => {$(
        impl $operator for Mask {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(self.0.$method(other.0))
            }
        }
    )+};
}

mask_operators!(BitAnd bitand, BitOr bitor, BitXor bitxor);

impl Not for Mask {
    type Output = Self;

    #[inline(always)]
    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl Mask {
    /// `value` in every lane.
    #[inline(always)]
    pub const fn splat(value: bool) -> Self {
        Self(if value { __mmask16::MAX } else { 0 })
    }

    /// As `lanes1::Mask::any`, lane by lane.
    #[inline(always)]
    pub fn any(self) -> bool {
        self.0 != 0
    }

    /// As `lanes1::Mask::every`, lane by lane.
    #[inline(always)]
    pub fn every(self) -> bool {
        self.0 == __mmask16::MAX
    }

    /// As `lanes1::Mask::bits`, lane by lane.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        u32::from(self.0)
    }

    /// As `lanes1::Mask::from_bits`, lane by lane.
    #[inline(always)]
    pub fn from_bits(bits: u32) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "bits beyond the width say nothing")]
        Self(bits as __mmask16)
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
        _mm512_mask_i32gather_epi32::<4>(_mm512_setzero_si512(), live.0, index.0, words.as_ptr().cast())
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
        let rows = |lane: usize| {
            let rows = _mm512_castsi128_si512(row(lane));
            let rows = _mm512_inserti32x4::<1>(rows, row(lane + 4));
            let rows = _mm512_inserti32x4::<2>(rows, row(lane + 8));
            _mm512_inserti32x4::<3>(rows, row(lane + 12))
        };
        let [a, b, c, d] = [rows(0), rows(1), rows(2), rows(3)];
        let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        [
            U32(_mm512_unpacklo_epi64(ab_low, cd_low)),
            U32(_mm512_unpackhi_epi64(ab_low, cd_low)),
            U32(_mm512_unpacklo_epi64(ab_high, cd_high)),
            U32(_mm512_unpackhi_epi64(ab_high, cd_high)),
        ]
    }
}

/// As `lanes1::scatter`, lane by lane, in the order of the lanes.
#[inline(always)]
pub fn scatter(live: Mask, words: &mut [u32], index: U32, value: U32) {
    let in_reach = live & index.lt(U32::splat(words_in_reach(words.len())));
    // SAFETY: the module's contract; every index in reach is below the length
    // and not negative as a signed number. Overlapping writes happen in the
    // order of the lanes (Intel SDM, VPSCATTERDD).
    unsafe {
        _mm512_mask_i32scatter_epi32::<4>(words.as_mut_ptr().cast(), in_reach.0, index.0, value.0);
    }
}
