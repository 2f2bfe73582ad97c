//! What the vocabularies of every width say in the same words.
//!
//! A vocabulary (`lanes1`, `lanes8`, `lanes16`) has its own `Mask`, so traits
//! over masks cannot be shared between them; the text of their impls can. Each
//! macro is called once per vocabulary and leans on what that module defines.

/// How many of `length` words an index can name, at every width.
///
/// The hardware reads an index as a signed 32-bit number, so words from 2³¹ on
/// are out of reach; the single lane leaves them out too, to agree.
#[inline(always)]
pub(super) fn words_in_reach(length: usize) -> u32 {
    const REACH: u32 = 1 << 31;
    u32::try_from(length).map_or(REACH, |length| length.min(REACH))
}

/// Reading and writing single lanes, zero, and `Debug`, for types that have
/// `splat`, `lane`, `to_array` and [`Select`](super::lanes1::Select).
macro_rules! reach_lanes {
    ($($number:ident of $single:ty),+; $mask:ident of bool) => {
        $(
            impl $number {
                /// Replaces lane `index`; panics where there is no such lane.
                #[inline(always)]
                pub fn set_lane(&mut self, index: usize, single: $single) {
                    self.lanes_mut()[index] = single;
                }
            }
        )+

        impl $mask {
            /// Replaces lane `index`; panics where there is no such lane.
            #[inline(always)]
            pub fn set_lane(&mut self, index: usize, single: bool) {
                assert!(index < WIDTH, "a lane beyond the width");
                *self = select(Mask::from_bits(1 << index), Self::splat(single), *self);
            }
        }

        reach_lanes!(each $($number of $single),+, $mask of bool);
    };
    (each $($type:ident of $single:ty),+) => {$(
        impl Lanes for $type {
            type Single = super::lanes1::$type;

            #[inline(always)]
            fn lane_of(self, index: usize) -> Self::Single {
                self.lane(index).into()
            }

            #[inline(always)]
            fn put_lane(&mut self, index: usize, single: Self::Single) {
                self.set_lane(index, single.into());
            }
        }

        impl Default for $type {
            #[inline(always)]
            fn default() -> Self {
                Self::splat(<$single>::default())
            }
        }

        impl core::fmt::Debug for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_tuple(stringify!($type)).field(&self.to_array()).finish()
            }
        }
    )+};
}

/// `Select` and its impls for what is made of selectable parts.
macro_rules! select_by_mask {
    () => {
        /// A type of which each lane can be taken from one of two values.
        pub trait Select: Copy {
            /// In each lane `accept` where `mask` is set, `reject` where not.
            fn select(mask: Mask, accept: Self, reject: Self) -> Self;
        }

        /// In each lane `accept` where `mask` is set, `reject` where not.
        #[inline(always)]
        pub fn select<T: Select>(mask: Mask, accept: T, reject: T) -> T {
            T::select(mask, accept, reject)
        }

        impl<T: Select, const N: usize> Select for [T; N] {
            #[inline(always)]
            fn select(mask: Mask, accept: Self, mut reject: Self) -> Self {
                for (kept, accepted) in reject.iter_mut().zip(accept) {
                    *kept = T::select(mask, accepted, *kept);
                }
                reject
            }
        }

        select_by_mask!(@vector Vec2 x y);
        select_by_mask!(@vector Vec3 x y z);
        select_by_mask!(@vector Vec4 x y z w);
    };
    (@vector $vector:ident $($part:ident)+) => {
        impl<T: Select> Select for super::vector::$vector<T> {
            #[inline(always)]
            fn select(mask: Mask, accept: Self, reject: Self) -> Self {
                Self { $($part: T::select(mask, accept.$part, reject.$part)),+ }
            }
        }
    };
}

pub(super) use {reach_lanes, select_by_mask};
