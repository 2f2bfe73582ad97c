//! The vocabulary of the generated text at one lane, in portable Rust.
//!
//! This module says what every operation means; `lanes8` and `lanes16` say the
//! same for more lanes at once and give the same bits in each lane. So nothing
//! here is fused or approximate, and no operation panics or is undefined,
//! whatever its operands: integers wrap, and WGSL's rules decide the rest.

use core::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Rem, Shl, Shr, Sub};

pub use super::vector::Lanes;
use super::vocabulary::{reach_lanes, select_by_mask, words_in_reach};

/// The number of lanes of every value.
pub const WIDTH: usize = 1;

/// A 32-bit float in each lane.
#[derive(Clone, Copy)]
pub struct F32(f32);

/// An unsigned 32-bit integer in each lane.
#[derive(Clone, Copy)]
pub struct U32(u32);

/// A signed 32-bit integer in each lane.
#[derive(Clone, Copy)]
pub struct I32(i32);

/// A truth in each lane.
#[derive(Clone, Copy)]
pub struct Mask(bool);

/// Constructors, conversions to and from the single value, and `Select`.
macro_rules! single {
    ($($type:ident of $single:ident),+) => {$(
        impl $type {
            /// `value` in every lane.
            #[inline(always)]
            pub const fn splat(value: $single) -> Self {
                Self(value)
            }

            /// The lanes in order.
            #[inline(always)]
            pub const fn from_array([lane]: [$single; WIDTH]) -> Self {
                Self(lane)
            }

            /// The lanes in order.
            #[inline(always)]
            pub const fn to_array(self) -> [$single; WIDTH] {
                [self.0]
            }

            /// The lanes in order, to be changed.
            #[inline(always)]
            pub const fn lanes_mut(&mut self) -> &mut [$single; WIDTH] {
                core::array::from_mut(&mut self.0)
            }

            /// The value of lane `index`; panics where there is no such lane.
            #[inline(always)]
            pub fn lane(self, index: usize) -> $single {
                self.to_array()[index]
            }
        }

        impl From<$single> for $type {
            #[inline(always)]
            fn from(value: $single) -> Self {
                Self(value)
            }
        }

        impl From<$type> for $single {
            #[inline(always)]
            fn from(value: $type) -> Self {
                value.0
            }
        }

        impl Select for $type {
            #[inline(always)]
            fn select(mask: Mask, accept: Self, reject: Self) -> Self {
                if mask.0 { accept } else { reject }
            }
        }
    )+};
}

/// Operators on two values of one type, each by the function of the single value.
macro_rules! operators {
    ($type:ident: $($operator:ident $method:ident = $call:path),+ $(,)?) => {$(
        impl $operator for $type {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self($call(self.0, other.0))
            }
        }
    )+};
}

/// The comparisons that the single value has operators for.
macro_rules! comparisons {
    ($($type:ident: $($(#[$promise:meta])* $method:ident $operator:tt),+;)+) => {$(
        impl $type {$(
            $(#[$promise])*
            #[inline(always)]
            pub fn $method(self, other: Self) -> Mask {
                Mask(self.0 $operator other.0)
            }
        )+}
    )+};
}

select_by_mask!();
single!(F32 of f32, U32 of u32, I32 of i32, Mask of bool);
reach_lanes!(F32 of f32, U32 of u32, I32 of i32; Mask of bool);

operators!(F32: Add add = Add::add, Sub sub = Sub::sub, Mul mul = Mul::mul, Div div = Div::div);
operators!(U32: Add add = u32::wrapping_add, Sub sub = u32::wrapping_sub, Mul mul = u32::wrapping_mul);
operators!(U32: BitAnd bitand = BitAnd::bitand, BitOr bitor = BitOr::bitor, BitXor bitxor = BitXor::bitxor);
operators!(I32: Add add = i32::wrapping_add, Sub sub = i32::wrapping_sub, Mul mul = i32::wrapping_mul);
operators!(I32: BitAnd bitand = BitAnd::bitand, BitOr bitor = BitOr::bitor, BitXor bitxor = BitXor::bitxor);
operators!(Mask: BitAnd bitand = BitAnd::bitand, BitOr bitor = BitOr::bitor, BitXor bitxor = BitXor::bitxor);

comparisons!(
    F32:
    /// Whether `self < other`; not where either is NaN.
    lt <,
    /// Whether `self <= other`; not where either is NaN.
    le <=,
    /// Whether `self > other`; not where either is NaN.
    gt >,
    /// Whether `self >= other`; not where either is NaN.
    ge >=,
    /// Whether the two are equal; not where either is NaN.
    eq ==,
    /// Whether the two differ; true where either is NaN.
    ne !=;
    U32:
    /// Whether `self < other`.
    lt <,
    /// Whether `self <= other`.
    le <=,
    /// Whether `self > other`.
    gt >,
    /// Whether `self >= other`.
    ge >=,
    /// Whether the two are equal.
    eq ==,
    /// Whether the two differ.
    ne !=;
    I32:
    /// Whether `self < other`.
    lt <,
    /// Whether `self <= other`.
    le <=,
    /// Whether `self > other`.
    gt >,
    /// Whether `self >= other`.
    ge >=,
    /// Whether the two are equal.
    eq ==,
    /// Whether the two differ.
    ne !=;
    Mask:
    /// Whether the two are equal.
    eq ==,
    /// Whether the two differ.
    ne !=;
);

impl Neg for F32 {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl F32 {
    /// `self < other ? self : other`: where either is NaN, or both are zeros, `other`.
    #[inline(always)]
    pub fn min(self, other: Self) -> Self {
        if self.0 < other.0 { self } else { other }
    }

    /// `self > other ? self : other`: where either is NaN, or both are zeros, `other`.
    #[inline(always)]
    pub fn max(self, other: Self) -> Self {
        if self.0 > other.0 { self } else { other }
    }

    /// The value with its sign bit cleared.
    #[inline(always)]
    pub fn abs(self) -> Self {
        Self(self.0.abs())
    }

    /// The greatest integer not above the value.
    #[inline(always)]
    pub fn floor(self) -> Self {
        Self(self.0.floor())
    }

    /// The least integer not below the value.
    #[inline(always)]
    pub fn ceil(self) -> Self {
        Self(self.0.ceil())
    }

    /// The integer part, towards zero.
    #[inline(always)]
    pub fn trunc(self) -> Self {
        Self(self.0.trunc())
    }

    /// The nearest integer, the even one of two as near.
    #[inline(always)]
    pub fn round(self) -> Self {
        Self(self.0.round_ties_even())
    }

    /// `self - floor(self)`, which rounding can make 1.
    #[inline(always)]
    pub fn fract(self) -> Self {
        self - self.floor()
    }

    /// The square root, correctly rounded.
    #[inline(always)]
    pub fn sqrt(self) -> Self {
        Self(self.0.sqrt())
    }

    /// 1 above zero, -1 below; +0 for zeros and NaN.
    #[inline(always)]
    pub fn sign(self) -> Self {
        Self::from_mask(Mask(self.0 > 0.0)) - Self::from_mask(Mask(self.0 < 0.0))
    }

    /// The bits of the representation.
    #[inline(always)]
    pub fn to_bits(self) -> U32 {
        U32(self.0.to_bits())
    }

    /// The float that these bits represent.
    #[inline(always)]
    pub fn from_bits(bits: U32) -> Self {
        Self(f32::from_bits(bits.0))
    }

    /// The nearest float, the even one of two as near.
    #[inline(always)]
    pub fn from_u32(value: U32) -> Self {
        Self(value.0 as f32)
    }

    /// The nearest float, the even one of two as near.
    #[inline(always)]
    pub fn from_i32(value: I32) -> Self {
        Self(value.0 as f32)
    }

    /// 1 where set, 0 where not.
    #[inline(always)]
    pub fn from_mask(mask: Mask) -> Self {
        Self(f32::from(mask.0))
    }
}

impl Div for U32 {
    type Output = Self;

    /// The quotient; `x / 0` is `x`.
    #[inline(always)]
    fn div(self, divisor: Self) -> Self {
        Self(self.0.checked_div(divisor.0).unwrap_or(self.0))
    }
}

impl Rem for U32 {
    type Output = Self;

    /// The remainder; `x % 0` is 0.
    #[inline(always)]
    fn rem(self, divisor: Self) -> Self {
        Self(self.0.checked_rem(divisor.0).unwrap_or(0))
    }
}

impl Not for U32 {
    type Output = Self;

    #[inline(always)]
    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl Shl<U32> for U32 {
    type Output = Self;

    /// Shifts by the amount modulo 32.
    #[inline(always)]
    fn shl(self, amount: U32) -> Self {
        Self(self.0.wrapping_shl(amount.0))
    }
}

impl Shr<U32> for U32 {
    type Output = Self;

    /// Shifts zeros in, by the amount modulo 32.
    #[inline(always)]
    fn shr(self, amount: U32) -> Self {
        Self(self.0.wrapping_shr(amount.0))
    }
}

impl U32 {
    /// The lesser.
    #[inline(always)]
    pub fn min(self, other: Self) -> Self {
        Self(Ord::min(self.0, other.0))
    }

    /// The greater.
    #[inline(always)]
    pub fn max(self, other: Self) -> Self {
        Self(Ord::max(self.0, other.0))
    }

    /// How many bits are one.
    #[inline(always)]
    pub fn count_one_bits(self) -> Self {
        Self(self.0.count_ones())
    }

    /// How many zeros stand above the highest one; 32 for 0.
    #[inline(always)]
    pub fn count_leading_zeros(self) -> Self {
        Self(self.0.leading_zeros())
    }

    /// How many zeros stand below the lowest one; 32 for 0.
    #[inline(always)]
    pub fn count_trailing_zeros(self) -> Self {
        Self(self.0.trailing_zeros())
    }

    /// The index of the highest one; `u32::MAX` for 0.
    #[inline(always)]
    pub fn first_leading_bit(self) -> Self {
        Self(self.0.checked_ilog2().unwrap_or(u32::MAX))
    }

    /// The index of the lowest one; `u32::MAX` for 0.
    #[inline(always)]
    pub fn first_trailing_bit(self) -> Self {
        if self.0 == 0 { Self(u32::MAX) } else { self.count_trailing_zeros() }
    }

    /// The bits in the opposite order.
    #[inline(always)]
    pub fn reverse_bits(self) -> Self {
        Self(self.0.reverse_bits())
    }

    /// The float clamped to 0 … 4294967040, the last below 2³², and truncated; 0 for NaN.
    #[inline(always)]
    pub fn from_f32(value: F32) -> Self {
        let clamped = value.max(F32(0.0)).min(F32(4_294_967_040.0));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range")]
        Self(clamped.0 as u32)
    }

    /// The same bits.
    #[inline(always)]
    pub fn from_i32(value: I32) -> Self {
        Self(value.0.cast_unsigned())
    }

    /// 1 where set, 0 where not.
    #[inline(always)]
    pub fn from_mask(mask: Mask) -> Self {
        Self(u32::from(mask.0))
    }
}

impl Div for I32 {
    type Output = Self;

    /// The truncated quotient; `x / 0` is `x`, `MIN / -1` is `MIN`.
    #[inline(always)]
    fn div(self, divisor: Self) -> Self {
        Self(self.0.checked_div(divisor.0).unwrap_or(self.0))
    }
}

impl Rem for I32 {
    type Output = Self;

    /// The remainder, with the dividend's sign; `x % 0` and `MIN % -1` are 0.
    #[inline(always)]
    fn rem(self, divisor: Self) -> Self {
        Self(self.0.checked_rem(divisor.0).unwrap_or(0))
    }
}

impl Neg for I32 {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Self(self.0.wrapping_neg())
    }
}

impl Not for I32 {
    type Output = Self;

    #[inline(always)]
    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl Shl<U32> for I32 {
    type Output = Self;

    /// Shifts by the amount modulo 32.
    #[inline(always)]
    fn shl(self, amount: U32) -> Self {
        Self(self.0.wrapping_shl(amount.0))
    }
}

impl Shr<U32> for I32 {
    type Output = Self;

    /// Shifts the sign bit in, by the amount modulo 32.
    #[inline(always)]
    fn shr(self, amount: U32) -> Self {
        Self(self.0.wrapping_shr(amount.0))
    }
}

impl I32 {
    /// The lesser.
    #[inline(always)]
    pub fn min(self, other: Self) -> Self {
        Self(Ord::min(self.0, other.0))
    }

    /// The greater.
    #[inline(always)]
    pub fn max(self, other: Self) -> Self {
        Self(Ord::max(self.0, other.0))
    }

    /// The magnitude; of `MIN` it is `MIN`.
    #[inline(always)]
    pub fn abs(self) -> Self {
        Self(self.0.wrapping_abs())
    }

    /// 1 above zero, -1 below, 0 at zero.
    #[inline(always)]
    pub fn sign(self) -> Self {
        Self(self.0.signum())
    }

    /// The float clamped to -2³¹ … 2147483520, the last below 2³¹, and truncated; 0 for NaN.
    #[inline(always)]
    pub fn from_f32(value: F32) -> Self {
        let clamped = value.max(F32(-2_147_483_648.0)).min(F32(2_147_483_520.0));
        let number = select(value.eq(value), clamped, F32(0.0));
        #[expect(clippy::cast_possible_truncation, reason = "clamped to the range")]
        Self(number.0 as i32)
    }

    /// The same bits.
    #[inline(always)]
    pub fn from_u32(value: U32) -> Self {
        Self(value.0.cast_signed())
    }

    /// 1 where set, 0 where not.
    #[inline(always)]
    pub fn from_mask(mask: Mask) -> Self {
        Self(i32::from(mask.0))
    }
}

impl Not for Mask {
    type Output = Self;

    #[inline(always)]
    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl Mask {
    /// Whether a lane is set.
    #[inline(always)]
    pub fn any(self) -> bool {
        self.0
    }

    /// Whether all lanes are set.
    #[inline(always)]
    pub fn every(self) -> bool {
        self.0
    }

    /// The lanes as bits, lane `i` as bit `i`.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        u32::from(self.0)
    }

    /// Lane `i` is set where bit `i` is one; bits beyond the width say nothing.
    #[inline(always)]
    pub fn from_bits(bits: u32) -> Self {
        Self(bits & 1 == 1)
    }
}

/// In each live lane the word at `index`, or the last in reach where `index` is beyond.
///
/// Lanes that are not live read nothing and are 0. `words` is not empty; if a
/// caller breaks this in release, all lanes are 0. In reach are the first 2³¹
/// words.
#[inline(always)]
pub fn gather(live: Mask, words: &[u32], index: U32) -> U32 {
    debug_assert!(!words.is_empty(), "gathering from no words");
    if !live.0 || words.is_empty() {
        return U32(0);
    }
    let last = words_in_reach(words.len()) - 1;
    U32(words[index.min(U32(last)).0 as usize])
}

/// The four words in a row from `index` on of each live lane; where not all of
/// them are in reach, the last four that are.
///
/// Lanes that are not live read the first four. Of fewer than four words, each is
/// read as by [`gather`].
#[inline(always)]
pub fn gather_row(live: Mask, words: &[u32], index: U32) -> [U32; 4] {
    let reach = words_in_reach(words.len());
    if reach < 4 {
        return [0, 1, 2, 3].map(|word| gather(live, words, index + U32::splat(word)));
    }
    let first = if live.0 { index.0.min(reach - 4) as usize } else { 0 };
    core::array::from_fn(|word| U32(words[first + word]))
}

/// Writes `value` at `index` from each live lane, in the order of the lanes.
///
/// So the last of the lanes with the same index wins. Lanes whose index is out
/// of reach, beyond the words or the first 2³¹ of them, write nothing.
#[inline(always)]
pub fn scatter(live: Mask, words: &mut [u32], index: U32, value: U32) {
    if live.0 && index.0 < words_in_reach(words.len()) {
        words[index.0 as usize] = value.0;
    }
}
