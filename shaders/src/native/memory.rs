//! Values in buffers and elements of local arrays, for every width alike.

/// Declares, for the lanes in scope, how values lie in buffers and arrays.
macro_rules! memory {
    () => {
        /// The mask, unless no lane is on.
        #[inline(always)]
        fn some(mask: Mask) -> Option<Mask> {
            mask.any().then_some(mask)
        }

        /// The element of an array that each lane names; an index beyond the end
        /// means the last one.
        #[inline(always)]
        fn element<T, const N: usize>(array: &[T; N], index: U32) -> T
        where
            T: Lanes + Copy + Default,
        {
            let mut chosen = T::default();
            for (lane, place) in index.to_array().into_iter().enumerate() {
                chosen.put_lane(lane, array[(place as usize).min(N - 1)].lane_of(lane));
            }
            chosen
        }

        /// Writes the element of an array that each live lane names.
        #[inline(always)]
        fn put_element<T, const N: usize>(live: Mask, array: &mut [T; N], index: U32, value: T)
        where
            T: Lanes + Copy,
        {
            let places = index.to_array();
            let mut left = live.bits();
            while left != 0 {
                let lane = left.trailing_zeros() as usize;
                array[(places[lane] as usize).min(N - 1)].put_lane(lane, value.lane_of(lane));
                left &= left - 1;
            }
        }

        /// What lies in a buffer as it is, word by word.
        trait Words: Sized {
            /// Words of a value.
            const COUNT: u32;

            /// Reads the live lanes' values, whose first words are at `at`.
            fn load(live: Mask, words: &[u32], at: U32) -> Self;

            /// Writes the live lanes' values, whose first words are at `at`.
            fn store(self, live: Mask, words: &mut [u32], at: U32);
        }

        /// What is one word.
        trait Word: Words + Copy {
            /// What a word is.
            fn from_word(word: U32) -> Self;
        }

        $crate::native::memory::scalar_words!(U32, |word| word, |value| value);
        $crate::native::memory::scalar_words!(I32, I32::from_u32, U32::from_i32);
        $crate::native::memory::scalar_words!(F32, F32::from_bits, F32::to_bits);
        $crate::native::memory::vector_words!(Vec2, 2, x 0, y 1);
        $crate::native::memory::vector_words!(Vec3, 3, x 0, y 1, z 2);

        /// Four words in a row.
        impl<T: Word> Words for Vec4<T> {
            const COUNT: u32 = 4;

            #[inline(always)]
            fn load(live: Mask, words: &[u32], at: U32) -> Self {
                let [x, y, z, w] = gather_row(live, words, at).map(T::from_word);
                Self { x, y, z, w }
            }

            #[inline(always)]
            fn store(self, live: Mask, words: &mut [u32], at: U32) {
                self.x.store(live, words, at);
                self.y.store(live, words, at + U32::splat(1));
                self.z.store(live, words, at + U32::splat(2));
                self.w.store(live, words, at + U32::splat(3));
            }
        }
    };
}

/// A scalar is one word.
macro_rules! scalar_words {
    ($scalar:ident, $from_word:expr, $to_word:expr) => {
        impl Words for $scalar {
            const COUNT: u32 = 1;

            #[inline(always)]
            fn load(live: Mask, words: &[u32], at: U32) -> Self {
                $from_word(gather(live, words, at))
            }

            #[inline(always)]
            fn store(self, live: Mask, words: &mut [u32], at: U32) {
                scatter(live, words, at, $to_word(self));
            }
        }

        impl Word for $scalar {
            #[inline(always)]
            fn from_word(word: U32) -> Self {
                $from_word(word)
            }
        }
    };
}

/// The components of a vector follow one another.
macro_rules! vector_words {
    ($vector:ident, $count:literal, $($component:ident $place:literal),+) => {
        impl<T: Words + Copy> Words for $vector<T> {
            const COUNT: u32 = $count * T::COUNT;

            #[inline(always)]
            fn load(live: Mask, words: &[u32], at: U32) -> Self {
                Self { $($component: T::load(live, words, at + U32::splat($place * T::COUNT))),+ }
            }

            #[inline(always)]
            fn store(self, live: Mask, words: &mut [u32], at: U32) {
                $(self.$component.store(live, words, at + U32::splat($place * T::COUNT));)+
            }
        }
    };
}

pub(crate) use {memory, scalar_words, vector_words};
