//! WGSL's vectors of two, three and four components, over any component.
//!
//! Nothing here knows how many lanes a component has: the same `Vec3` holds
//! one lane or sixteen. Everything works component by component and is always
//! inlined, so that a vector compiles to what its components compile to. The
//! operators name each component instead of calling a closure, because a
//! closure is a function of its own that lacks the caller's target features.

use core::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Rem, Shl, Shr, Sub};

/// A value with lanes that can be read and written one at a time.
///
/// This is how text at any width calls text of one lane: take the lane, call,
/// put the answer back.
pub trait Lanes {
    /// The same type with one lane, from `lanes1`.
    type Single;

    /// Lane `index` alone; panics where there is no such lane.
    fn lane_of(self, index: usize) -> Self::Single;

    /// Replaces lane `index`; panics where there is no such lane.
    fn put_lane(&mut self, index: usize, single: Self::Single);
}

impl<T: Lanes + Copy, const N: usize> Lanes for [T; N]
where
    T::Single: Copy + Default,
{
    type Single = [T::Single; N];

    #[inline(always)]
    fn lane_of(self, index: usize) -> Self::Single {
        let mut single = [T::Single::default(); N];
        for (one, element) in single.iter_mut().zip(self) {
            *one = element.lane_of(index);
        }
        single
    }

    #[inline(always)]
    fn put_lane(&mut self, index: usize, single: Self::Single) {
        for (element, one) in self.iter_mut().zip(single) {
            element.put_lane(index, one);
        }
    }
}

/// The operators of `$vector` that take two vectors of one component type.
macro_rules! componentwise {
    ($vector:ident { $($part:ident)+ }: $($operator:ident $method:ident),+) => {
        componentwise!(@each [$($operator $method)+] $vector [$($part)+]);
    };
    (@each [] $vector:ident $parts:tt) => {};
    (@each [$operator:ident $method:ident $($rest:ident)*] $vector:ident [$($part:ident)+]) => {
        impl<T: $operator<Output = T>> $operator for $vector<T> {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self { $($part: self.$part.$method(other.$part)),+ }
            }
        }
        componentwise!(@each [$($rest)*] $vector [$($part)+]);
    };
}

/// A vector type, how it is made and taken apart, and its operators.
macro_rules! vector {
    ($(#[$promise:meta])* $vector:ident, $count:literal, $($part:ident)+) => {
        $(#[$promise])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $vector<T> {
            $(#[doc = concat!("The ", stringify!($part), " component.")] pub $part: T,)+
        }

        impl<T> $vector<T> {
            /// The vector of these components.
            #[inline(always)]
            pub const fn new($($part: T),+) -> Self {
                Self { $($part),+ }
            }

            /// The vector whose every component is `value`.
            #[inline(always)]
            pub const fn splat(value: T) -> Self
            where
                T: Copy,
            {
                Self { $($part: value),+ }
            }

            /// What `f` makes of each component.
            #[inline(always)]
            pub fn map<U>(self, mut f: impl FnMut(T) -> U) -> $vector<U> {
                $vector { $($part: f(self.$part)),+ }
            }

            /// What `f` makes of each component and its counterpart in `other`.
            #[inline(always)]
            pub fn zip<U, V>(self, other: $vector<U>, mut f: impl FnMut(T, U) -> V) -> $vector<V> {
                $vector { $($part: f(self.$part, other.$part)),+ }
            }

            /// The components in order.
            #[inline(always)]
            pub fn to_array(self) -> [T; $count] {
                [$(self.$part),+]
            }

            /// The vector of these components, in order.
            #[inline(always)]
            pub fn from_array([$($part),+]: [T; $count]) -> Self {
                Self { $($part),+ }
            }
        }

        componentwise!($vector { $($part)+ }: Add add, Sub sub, Mul mul, Div div, Rem rem,
            BitAnd bitand, BitOr bitor, BitXor bitxor);

        impl<T: Neg> Neg for $vector<T> {
            type Output = $vector<T::Output>;

            #[inline(always)]
            fn neg(self) -> Self::Output {
                $vector { $($part: -self.$part),+ }
            }
        }

        impl<T: Not> Not for $vector<T> {
            type Output = $vector<T::Output>;

            #[inline(always)]
            fn not(self) -> Self::Output {
                $vector { $($part: !self.$part),+ }
            }
        }

        impl<T: Shl<U>, U> Shl<$vector<U>> for $vector<T> {
            type Output = $vector<T::Output>;

            #[inline(always)]
            fn shl(self, amount: $vector<U>) -> Self::Output {
                $vector { $($part: self.$part << amount.$part),+ }
            }
        }

        impl<T: Shr<U>, U> Shr<$vector<U>> for $vector<T> {
            type Output = $vector<T::Output>;

            #[inline(always)]
            fn shr(self, amount: $vector<U>) -> Self::Output {
                $vector { $($part: self.$part >> amount.$part),+ }
            }
        }

        impl<T: Lanes> Lanes for $vector<T> {
            type Single = $vector<T::Single>;

            #[inline(always)]
            fn lane_of(self, index: usize) -> Self::Single {
                $vector { $($part: self.$part.lane_of(index)),+ }
            }

            #[inline(always)]
            fn put_lane(&mut self, index: usize, single: Self::Single) {
                $(self.$part.put_lane(index, single.$part);)+
            }
        }
    };
}

vector!(
    /// Two components.
    Vec2, 2, x y
);
vector!(
    /// Three components.
    Vec3, 3, x y z
);
vector!(
    /// Four components.
    Vec4, 4, x y z w
);
