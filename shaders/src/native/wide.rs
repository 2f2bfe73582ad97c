//! What `lanes8` and `lanes16` say in the same words.
//!
//! `registers!`, `operators!`, `methods!` and `conversions!` turn tables of
//! intrinsics into types and functions; `compose!` builds what needs no
//! intrinsic of its own. What each operation means stands in `lanes1`.
//!
//! Each unsafe block here that holds a table's expression relies on the
//! contract of the calling vocabulary: its values are made only where the
//! processor was found to have the features of its intrinsics.

/// Types of one register, moved between registers and arrays.
macro_rules! registers {
    ($($(#[$promise:meta])* $type:ident($register:ident) of $single:ident, |$value:ident| $splat:expr;)+) => {$(
        $(#[$promise])*
        #[derive(Clone, Copy)]
        pub struct $type($register);

        impl $type {
            /// `value` in every lane.
            #[inline(always)]
            pub fn splat($value: $single) -> Self {
                // SAFETY: the vocabulary's contract.
                Self(unsafe { $splat })
            }

            /// The lanes in order.
            #[inline(always)]
            pub const fn from_array(lanes: [$single; WIDTH]) -> Self {
                // SAFETY: array and register are the same bits in the same order, all valid.
                Self(unsafe { core::mem::transmute::<[$single; WIDTH], $register>(lanes) })
            }

            /// The lanes in order.
            #[inline(always)]
            pub const fn to_array(self) -> [$single; WIDTH] {
                // SAFETY: array and register are the same bits in the same order, all valid.
                unsafe { core::mem::transmute::<$register, [$single; WIDTH]>(self.0) }
            }

            /// The lanes in order, to be changed.
            #[inline(always)]
            pub const fn lanes_mut(&mut self) -> &mut [$single; WIDTH] {
                // SAFETY: as above, and a register is aligned as its lanes are, or more.
                unsafe { &mut *core::ptr::from_mut(&mut self.0).cast() }
            }

            /// The value of lane `index`; panics where there is no such lane.
            #[inline(always)]
            pub fn lane(self, index: usize) -> $single {
                self.to_array()[index]
            }
        }
    )+};
}

/// Operators of `core::ops` on registers `x` and `y`.
macro_rules! operators {
    ($type:ident { $($operator:ident $method:ident($x:ident $(, $y:ident: $other:ident)?) = $body:expr;)+ }) => {$(
        impl $operator$(<$other>)? for $type {
            type Output = Self;

            #[inline(always)]
            fn $method(self $(, $y: $other)?) -> Self {
                let $x = self.0;
                $(let $y = $y.0;)?
                // SAFETY: the vocabulary's contract.
                Self(unsafe { $body })
            }
        }
    )+};
}

/// Methods on registers `x` and `y` of the same type.
macro_rules! methods {
    ($type:ident { $($method:ident($x:ident $(, $y:ident)?) -> $answer:ident = $body:expr;)+ }) => {
        impl $type {$(
            #[doc = concat!("As `lanes1::", stringify!($type), "::", stringify!($method), "`, lane by lane.")]
            #[inline(always)]
            pub fn $method(self $(, $y: Self)?) -> $answer {
                let $x = self.0;
                $(let $y = $y.0;)?
                // SAFETY: the vocabulary's contract.
                $answer(unsafe { $body })
            }
        )+}
    };
}

/// Conversions from the register `x` of another type.
macro_rules! conversions {
    ($type:ident { $($method:ident($x:ident: $from:ident) = $body:expr;)+ }) => {
        impl $type {$(
            #[doc = concat!("As `lanes1::", stringify!($type), "::", stringify!($method), "`, lane by lane.")]
            #[inline(always)]
            pub fn $method($x: $from) -> Self {
                let $x = $x.0;
                // SAFETY: the vocabulary's contract.
                Self(unsafe { $body })
            }
        )+}
    };
}

/// What follows from the operations that a vocabulary takes from intrinsics.
///
/// Of these it needs, besides the public ones, `U32::quotient` and
/// `I32::quotient`, the truncated quotient by a divisor other than 0.
macro_rules! compose {
    () => {
        impl F32 {
            /// As `lanes1::F32::fract`, lane by lane.
            #[inline(always)]
            pub fn fract(self) -> Self {
                self - self.floor()
            }

            /// As `lanes1::F32::sign`, lane by lane.
            #[inline(always)]
            pub fn sign(self) -> Self {
                let zero = Self::splat(0.0);
                Self::from_mask(self.gt(zero)) - Self::from_mask(self.lt(zero))
            }
        }

        impl U32 {
            /// As `lanes1::U32::count_leading_zeros`, lane by lane.
            #[inline(always)]
            pub fn count_leading_zeros(self) -> Self {
                Self::splat(31) - self.first_leading_bit()
            }

            /// As `lanes1::U32::count_trailing_zeros`, lane by lane.
            #[inline(always)]
            pub fn count_trailing_zeros(self) -> Self {
                self.first_trailing_bit().min(Self::splat(32))
            }

            /// As `lanes1::U32::first_leading_bit`, lane by lane.
            ///
            /// Without the bit below the highest one, the float cannot round up
            /// to the next power of two.
            #[inline(always)]
            pub fn first_leading_bit(self) -> Self {
                (self & !(self >> Self::splat(1))).exponent()
            }

            /// As `lanes1::U32::first_trailing_bit`, lane by lane.
            #[inline(always)]
            pub fn first_trailing_bit(self) -> Self {
                (self & (Self::splat(0) - self)).exponent()
            }

            /// The exponent of the value as a float; `u32::MAX`, which is -1, for 0.
            #[inline(always)]
            fn exponent(self) -> Self {
                let biased = F32::from_u32(self).to_bits() >> Self::splat(23);
                Self::from_i32(I32::from_u32(biased - Self::splat(127)).max(I32::splat(-1)))
            }

            /// As `lanes1::U32::from_i32`, lane by lane.
            #[inline(always)]
            pub fn from_i32(value: I32) -> Self {
                Self(value.0)
            }
        }

        impl I32 {
            /// As `lanes1::I32::sign`, lane by lane.
            #[inline(always)]
            pub fn sign(self) -> Self {
                self.min(Self::splat(1)).max(Self::splat(-1))
            }

            /// As `lanes1::I32::from_u32`, lane by lane.
            #[inline(always)]
            pub fn from_u32(value: U32) -> Self {
                Self(value.0)
            }
        }

        wide::compose!(@divide U32);
        wide::compose!(@divide I32);

        impl Mask {
            /// As `lanes1::Mask::eq`, lane by lane.
            #[inline(always)]
            pub fn eq(self, other: Self) -> Self {
                !(self ^ other)
            }

            /// As `lanes1::Mask::ne`, lane by lane.
            #[inline(always)]
            pub fn ne(self, other: Self) -> Self {
                self ^ other
            }

            /// The lanes in order.
            #[inline(always)]
            pub fn to_array(self) -> [bool; WIDTH] {
                let bits = self.bits();
                let mut lanes = [false; WIDTH];
                for (index, lane) in lanes.iter_mut().enumerate() {
                    *lane = bits >> index & 1 == 1;
                }
                lanes
            }

            /// The lanes in order.
            #[inline(always)]
            pub fn from_array(lanes: [bool; WIDTH]) -> Self {
                let mut bits = 0;
                for (index, lane) in lanes.into_iter().enumerate() {
                    bits |= u32::from(lane) << index;
                }
                Self::from_bits(bits)
            }

            /// The truth of lane `index`; panics where there is no such lane.
            #[inline(always)]
            pub fn lane(self, index: usize) -> bool {
                assert!(index < WIDTH, "a lane beyond the width");
                self.bits() >> index & 1 == 1
            }
        }
    };
    // Dividing by 1 where the divisor is 0 gives what WGSL asks for: `x` and 0.
    (@divide $type:ident) => {
        impl Div for $type {
            type Output = Self;

            #[inline(always)]
            fn div(self, divisor: Self) -> Self {
                self.quotient(divisor.one_for_zero())
            }
        }

        impl Rem for $type {
            type Output = Self;

            #[inline(always)]
            fn rem(self, divisor: Self) -> Self {
                let divisor = divisor.one_for_zero();
                self - self.quotient(divisor) * divisor
            }
        }

        impl $type {
            #[inline(always)]
            fn one_for_zero(self) -> Self {
                select(self.eq(Self::splat(0)), Self::splat(1), self)
            }
        }
    };
}

pub(super) use {compose, conversions, methods, operators, registers};
