//! Every operation gives the bits that plain Rust expects, at every width.
//!
//! One text, `at_width!`, applies every operation to pairs of bit patterns and
//! is compiled once per vocabulary. The answers of one lane are compared with
//! those of `expected`; those of more lanes with the answers of one. Only which
//! NaN an operation computes is left open.

mod expected;

use expected::{expected, number};

use super::lanes1;
use super::vector::{Vec2, Vec3, Vec4};
use super::vocabulary::words_in_reach;

/// What one operation answered to each pair.
type Column = (&'static str, Vec<u32>);

/// The values at which some operation changes its behaviour, as bits.
const EDGES: [u32; 48] = [
    0,
    1,
    2,
    3,
    7,
    31,
    32,
    33,
    0xff,
    0xffff,
    0x0001_0000,
    0x007f_ffff, // The greatest subnormal.
    0x0080_0000, // The least normal float.
    0x00ff_ffff,
    0x0100_0000,
    0x0100_0001, // As an integer: the first that a float cannot hold.
    0x0100_0003,
    0x3eff_ffff, // Just below 0.5.
    0x3f00_0000, // 0.5, which rounds to 0.
    0x3f00_0001,
    0x3f80_0000, // 1.
    0x3fc0_0000, // 1.5, which rounds to 2.
    0x4020_0000, // 2.5, which rounds to 2.
    0x4aff_ffff, // 8388607.5, the last with a half.
    0x4b00_0000,
    0x4eff_ffff, // The last float below 2^31.
    0x4f00_0000, // 2^31.
    0x4f00_0001,
    0x4f7f_ffff, // The last float below 2^32.
    0x4f80_0000, // 2^32.
    0x7f7f_ffff, // The greatest float.
    0x7f80_0000, // Infinity.
    0x7f80_0001, // A signalling NaN.
    0x7fc0_0000, // A quiet NaN.
    0x7fff_ffff, // i32::MAX.
    0x8000_0000, // -0, i32::MIN, 2^31.
    0x8000_0001,
    0x8080_0000,
    0xaaaa_aaaa,
    0xbeff_ffff,
    0xbf00_0000, // -0.5, which rounds to -0.
    0xbf80_0000, // -1.
    0xbfc0_0000,
    0xcf00_0000, // -2^31.
    0xcf00_0001, // The last float below -2^31.
    0xff80_0000, // Negative infinity.
    0xffff_ff7f, // Rounds down to 4294967040 as an integer.
    0xffff_ffff, // -1 and u32::MAX.
];

/// Marsaglia's xorshift; each state is the next answer.
struct Xorshift(u32);

impl Xorshift {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// Any bits, a float between 2^-27 and 2^37, or a small integer of either sign.
    fn operand(&mut self) -> u32 {
        let bits = self.next();
        match self.next() % 4 {
            0 => bits & 0x807f_ffff | (100 + (bits >> 23) % 64) << 23,
            1 => bits.cast_signed().wrapping_shr(16 + bits % 16).cast_unsigned(),
            _ => bits,
        }
    }
}

/// All pairs of edges and 2^14 pseudo-random ones: a whole number of chunks at every width.
fn pairs() -> Vec<(u32, u32)> {
    let mut pairs: Vec<_> = EDGES.iter().flat_map(|&a| EDGES.map(|b| (a, b))).collect();
    let mut random = Xorshift(0x9e37_79b9);
    pairs.extend((0..1 << 14).map(|_| (random.operand(), random.operand())));
    assert_eq!(pairs.len() % 16, 0, "a chunk would stay unfinished");
    pairs
}

/// Applies every operation of a vocabulary, and checks what concerns several lanes.
macro_rules! at_width {
    ($width:ident = $lanes:ident $(with $features:literal)?) => {
        mod $width {
            use super::super::$lanes::*;
            use super::super::vector::{Vec2, Vec3, Vec4};
            use super::{Column, Xorshift, lanes1};

            type Answers = Vec<(&'static str, [u32; WIDTH])>;

            fn truth(mask: Mask) -> [u32; WIDTH] {
                mask.to_array().map(u32::from)
            }

            fn signed(value: I32) -> [u32; WIDTH] {
                value.to_array().map(i32::cast_unsigned)
            }

            fn exact(value: F32) -> [u32; WIDTH] {
                value.to_array().map(f32::to_bits)
            }

            fn number(value: F32) -> [u32; WIDTH] {
                value.to_array().map(super::number)
            }

            $(#[target_feature(enable = $features)])?
            fn floats(a: F32, b: F32, bits: U32) -> Answers {
                vec![
                    ("f32 add", number(a + b)),
                    ("f32 sub", number(a - b)),
                    ("f32 mul", number(a * b)),
                    ("f32 div", number(a / b)),
                    ("f32 neg", exact(-a)),
                    ("f32 lt", truth(a.lt(b))),
                    ("f32 le", truth(a.le(b))),
                    ("f32 gt", truth(a.gt(b))),
                    ("f32 ge", truth(a.ge(b))),
                    ("f32 eq", truth(a.eq(b))),
                    ("f32 ne", truth(a.ne(b))),
                    ("f32 min", exact(a.min(b))),
                    ("f32 max", exact(a.max(b))),
                    ("f32 abs", exact(a.abs())),
                    ("f32 floor", number(a.floor())),
                    ("f32 ceil", number(a.ceil())),
                    ("f32 trunc", number(a.trunc())),
                    ("f32 round", number(a.round())),
                    ("f32 fract", number(a.fract())),
                    ("f32 sqrt", number(a.sqrt())),
                    ("f32 sign", exact(a.sign())),
                    ("f32 to_bits", a.to_bits().to_array()),
                    ("f32 from_bits", exact(F32::from_bits(bits))),
                    ("f32 from_u32", exact(F32::from_u32(bits))),
                    ("f32 from_i32", exact(F32::from_i32(I32::from_u32(bits)))),
                    ("f32 from_mask", exact(F32::from_mask(a.lt(b)))),
                    ("f32 select", exact(select(a.lt(b), a, b))),
                    ("u32 from_f32", U32::from_f32(a).to_array()),
                    ("i32 from_f32", signed(I32::from_f32(a))),
                ]
            }

            $(#[target_feature(enable = $features)])?
            fn unsigned_integers(a: U32, b: U32) -> Answers {
                vec![
                    ("u32 add", (a + b).to_array()),
                    ("u32 sub", (a - b).to_array()),
                    ("u32 mul", (a * b).to_array()),
                    ("u32 div", (a / b).to_array()),
                    ("u32 rem", (a % b).to_array()),
                    ("u32 and", (a & b).to_array()),
                    ("u32 or", (a | b).to_array()),
                    ("u32 xor", (a ^ b).to_array()),
                    ("u32 not", (!a).to_array()),
                    ("u32 shl", (a << b).to_array()),
                    ("u32 shr", (a >> b).to_array()),
                    ("u32 lt", truth(a.lt(b))),
                    ("u32 le", truth(a.le(b))),
                    ("u32 gt", truth(a.gt(b))),
                    ("u32 ge", truth(a.ge(b))),
                    ("u32 eq", truth(a.eq(b))),
                    ("u32 ne", truth(a.ne(b))),
                    ("u32 min", a.min(b).to_array()),
                    ("u32 max", a.max(b).to_array()),
                    ("u32 count_one_bits", a.count_one_bits().to_array()),
                    ("u32 count_leading_zeros", a.count_leading_zeros().to_array()),
                    ("u32 count_trailing_zeros", a.count_trailing_zeros().to_array()),
                    ("u32 first_leading_bit", a.first_leading_bit().to_array()),
                    ("u32 first_trailing_bit", a.first_trailing_bit().to_array()),
                    ("u32 reverse_bits", a.reverse_bits().to_array()),
                    ("u32 from_i32", U32::from_i32(I32::from_u32(a)).to_array()),
                    ("u32 from_mask", U32::from_mask(a.lt(b)).to_array()),
                    ("u32 select", select(a.lt(b), a, b).to_array()),
                ]
            }

            $(#[target_feature(enable = $features)])?
            fn signed_integers(a: I32, b: I32) -> Answers {
                let amount = U32::from_i32(b);
                vec![
                    ("i32 add", signed(a + b)),
                    ("i32 sub", signed(a - b)),
                    ("i32 mul", signed(a * b)),
                    ("i32 div", signed(a / b)),
                    ("i32 rem", signed(a % b)),
                    ("i32 neg", signed(-a)),
                    ("i32 and", signed(a & b)),
                    ("i32 or", signed(a | b)),
                    ("i32 xor", signed(a ^ b)),
                    ("i32 not", signed(!a)),
                    ("i32 shl", signed(a << amount)),
                    ("i32 shr", signed(a >> amount)),
                    ("i32 lt", truth(a.lt(b))),
                    ("i32 le", truth(a.le(b))),
                    ("i32 gt", truth(a.gt(b))),
                    ("i32 ge", truth(a.ge(b))),
                    ("i32 eq", truth(a.eq(b))),
                    ("i32 ne", truth(a.ne(b))),
                    ("i32 min", signed(a.min(b))),
                    ("i32 max", signed(a.max(b))),
                    ("i32 abs", signed(a.abs())),
                    ("i32 sign", signed(a.sign())),
                    ("i32 from_mask", signed(I32::from_mask(a.lt(b)))),
                    ("i32 select", signed(select(a.lt(b), a, b))),
                ]
            }

            $(#[target_feature(enable = $features)])?
            fn masks(a: Mask, b: Mask, c: Mask) -> Answers {
                vec![
                    ("mask and", truth(a & b)),
                    ("mask or", truth(a | b)),
                    ("mask xor", truth(a ^ b)),
                    ("mask not", truth(!a)),
                    ("mask eq", truth(a.eq(b))),
                    ("mask ne", truth(a.ne(b))),
                    ("mask select", truth(select(c, a, b))),
                ]
            }

            /// What every operation answers to each pair.
            $(#[target_feature(enable = $features)])?
            pub(super) fn columns(pairs: &[(u32, u32)]) -> Vec<Column> {
                let mut columns: Vec<Column> = Vec::new();
                for chunk in pairs.chunks_exact(WIDTH) {
                    let a = U32::from_array(core::array::from_fn(|lane| chunk[lane].0));
                    let b = U32::from_array(core::array::from_fn(|lane| chunk[lane].1));
                    let odd = |value: U32| (value & U32::splat(1)).ne(U32::splat(0));
                    let answers = [
                        floats(F32::from_bits(a), F32::from_bits(b), a),
                        unsigned_integers(a, b),
                        signed_integers(I32::from_u32(a), I32::from_u32(b)),
                        masks(odd(a), odd(b), a.lt(b)),
                    ]
                    .concat();
                    columns.resize(answers.len(), ("", Vec::new()));
                    for (column, (name, answer)) in columns.iter_mut().zip(answers) {
                        column.0 = name;
                        column.1.extend(answer);
                    }
                }
                columns
            }

            /// Masks against their bits, for every mask.
            $(#[target_feature(enable = $features)])?
            pub(super) fn check_bits_of_masks() {
                let full = u32::MAX >> (32 - WIDTH);
                for bits in 0..=full {
                    // Bits beyond the width must not matter.
                    let mask = Mask::from_bits(bits | !full);
                    assert_eq!(mask.bits(), bits);
                    assert_eq!(mask.any(), bits != 0);
                    assert_eq!(mask.every(), bits == full);
                    let lanes = core::array::from_fn(|lane| bits >> lane & 1 == 1);
                    assert_eq!(mask.to_array(), lanes);
                    assert_eq!(Mask::from_array(lanes).bits(), bits);
                    assert!((0..WIDTH).all(|lane| mask.lane(lane) == lanes[lane]));
                }
                assert!(Mask::splat(true).every() && !Mask::splat(false).any() && !Mask::default().any());
            }

            /// Lanes put one at a time are there, and leave the others alone.
            $(#[target_feature(enable = $features)])?
            pub(super) fn check_single_lanes() {
                let counting = F32::from_array(core::array::from_fn(|lane| lane as f32));
                let mut vector = Vec3::splat(counting);
                vector.put_lane(WIDTH - 1, Vec3::new(-1.0, -2.0, -3.0).map(lanes1::F32::from));
                for lane in (0..WIDTH).rev().skip(1) {
                    assert_eq!(vector.lane_of(lane).map(f32::from).to_array(), [lane as f32; 3]);
                }
                assert_eq!(vector.lane_of(WIDTH - 1).map(f32::from).to_array(), [-1.0, -2.0, -3.0]);

                let mut pair = [Vec2::splat(U32::splat(7)), Vec2::default()];
                pair.put_lane(0, [Vec2::splat(1.into()), Vec2::splat(2.into())]);
                assert_eq!(pair.lane_of(0).map(|one| u32::from(one.y)), [1, 2]);
                let rest = [pair[0].x, pair[1].x].map(|element| element.to_array());
                assert!((1..WIDTH).all(|lane| rest.map(|lanes| lanes[lane]) == [7, 0]));

                let (mut mask, mut integer) = (Mask::splat(true), I32::default());
                mask.set_lane(0, false);
                integer.put_lane(WIDTH / 2, (-5).into());
                assert_eq!(mask.bits(), (u32::MAX >> (32 - WIDTH)) & !1);
                assert_eq!(i32::from(integer.lane_of(WIDTH / 2)), -5);
                assert_eq!(integer.to_array().into_iter().sum::<i32>(), -5);
                assert!(bool::from(Mask::splat(true).lane_of(0)));
            }

            /// What is made of parts is selected part by part.
            $(#[target_feature(enable = $features)])?
            pub(super) fn check_select_of_parts() {
                let mask = Mask::from_bits(0b0110_1001_0101_0101);
                let accept = [Vec4::new(1, 2, 3, 4).map(I32::splat), Vec4::splat(I32::splat(5))];
                let reject = [Vec4::splat(I32::splat(6)), Vec4::new(7, 8, 9, 10).map(I32::splat)];
                let chosen = select(mask, accept, reject);
                for lane in 0..WIDTH {
                    let expected =
                        if mask.lane(lane) { [[1, 2, 3, 4], [5; 4]] } else { [[6; 4], [7, 8, 9, 10]] };
                    assert_eq!(chosen.map(|vector| vector.map(|part| part.lane(lane)).to_array()), expected);
                }
                let pair = select(mask, Vec2::splat(Mask::splat(true)), Vec2::splat(Mask::splat(false)));
                assert_eq!(pair.map(Mask::bits).to_array(), [mask.bits(); 2]);
                let third = select(mask, Vec3::splat(F32::splat(1.0)), Vec3::splat(F32::splat(0.0))).z;
                assert_eq!(exact(third), exact(F32::from_mask(mask)));
            }

            /// `gather` against indexing, with indices near, far and beyond the words.
            $(#[target_feature(enable = $features)])?
            pub(super) fn check_gather() {
                let mut random = Xorshift(1);
                for length in [1, 2, 5, 64, 1000] {
                    let words: Vec<u32> = (0..length).map(|_| random.next()).collect();
                    for round in 0..200 {
                        let index: [u32; WIDTH] = core::array::from_fn(|_| {
                            if random.next() % 4 == 0 { random.next() } else { random.next() % (2 * length) }
                        });
                        let live = if round == 0 { 0 } else { random.next() };
                        let found = gather(Mask::from_bits(live), &words, U32::from_array(index));
                        let expected = core::array::from_fn(|lane| {
                            let last = words.len() - 1;
                            if live >> lane & 1 == 1 { words[last.min(index[lane] as usize)] } else { 0 }
                        });
                        assert_eq!(found.to_array(), expected);
                    }
                }
                if !cfg!(debug_assertions) {
                    let found = gather(Mask::splat(true), &[], U32::splat(3));
                    assert_eq!(found.to_array(), [0; WIDTH]);
                }
            }

            /// `gather_row` against indexing, likewise.
            $(#[target_feature(enable = $features)])?
            pub(super) fn check_gather_row() {
                let mut random = Xorshift(3);
                for length in [1, 2, 3, 4, 5, 7, 64, 1000] {
                    let words: Vec<u32> = (0..length).map(|_| random.next()).collect();
                    for round in 0..200 {
                        let index: [u32; WIDTH] = core::array::from_fn(|_| {
                            if random.next() % 4 == 0 { random.next() } else { random.next() % (2 * length) }
                        });
                        let live = if round == 0 { 0 } else { random.next() };
                        let found = gather_row(Mask::from_bits(live), &words, U32::from_array(index));
                        for lane in (0..WIDTH).filter(|lane| live >> lane & 1 == 1) {
                            let first = index[lane] as usize;
                            let place = |word: usize| match words.len() {
                                0..4 => first.wrapping_add(word) & 0xffff_ffff,
                                length => first.min(length - 4) + word,
                            };
                            let expected = [0, 1, 2, 3].map(|word| words[place(word).min(words.len() - 1)]);
                            assert_eq!(found.map(|row| row.lane(lane)), expected);
                        }
                    }
                }
            }

            /// `scatter` against writing in a loop, with many indices that collide.
            $(#[target_feature(enable = $features)])?
            pub(super) fn check_scatter() {
                let mut random = Xorshift(2);
                for length in [0u32, 1, 2, 5, 64] {
                    for round in 0..200 {
                        let mut words = vec![round; length as usize];
                        let mut expected = words.clone();
                        let index: [u32; WIDTH] = core::array::from_fn(|_| match random.next() % 8 {
                            0 => random.next(),
                            _ => random.next() % (length + 2),
                        });
                        let value: [u32; WIDTH] = core::array::from_fn(|_| random.next());
                        let live = if round == 0 { 0 } else { random.next() };
                        for lane in 0..WIDTH {
                            if live >> lane & 1 == 1 && index[lane] < length {
                                expected[index[lane] as usize] = value[lane];
                            }
                        }
                        let (index, value) = (U32::from_array(index), U32::from_array(value));
                        scatter(Mask::from_bits(live), &mut words, index, value);
                        assert_eq!(words, expected);
                    }
                }
            }

            /// Everything about several lanes or about more than values.
            $(#[target_feature(enable = $features)])?
            pub(super) fn check_lanes_together() {
                check_bits_of_masks();
                check_single_lanes();
                check_select_of_parts();
                check_gather();
                check_gather_row();
                check_scatter();
                let ones = core::iter::repeat_n("1", WIDTH).collect::<Vec<_>>().join(", ");
                assert_eq!(format!("{:?}", U32::splat(1)), format!("U32([{ones}])"));
            }
        }
    };
}

at_width!(one = lanes1);
#[cfg(target_arch = "x86_64")]
at_width!(eight = lanes8 with "avx2");
#[cfg(target_arch = "x86_64")]
at_width!(sixteen = lanes16 with "avx512f,avx512bw,avx512dq,avx512vl");

/// Compares answers to `pairs` with the right ones, column by column.
fn check(right: &[Column], answers: &[Column], pairs: &[(u32, u32)]) {
    assert_eq!(right.len(), answers.len(), "some operation is not compared");
    for ((name, right), (other_name, answers)) in right.iter().zip(answers) {
        assert_eq!(name, other_name);
        assert_eq!(right.len(), answers.len(), "{name}");
        for ((right, answer), (a, b)) in right.iter().zip(answers).zip(pairs) {
            assert!(right == answer, "{name} of {a:#010x} and {b:#010x}: {answer:#010x}, not {right:#010x}");
        }
    }
}

#[test]
fn one_lane_answers_as_plain_rust() {
    let pairs = pairs();
    let mut right: Vec<Column> = expected(0, 0).iter().map(|(name, _)| (*name, Vec::new())).collect();
    for &(a, b) in &pairs {
        for (column, (_, answer)) in right.iter_mut().zip(expected(a, b)) {
            column.1.push(answer);
        }
    }
    check(&right, &one::columns(&pairs), &pairs);
    one::check_lanes_together();
}

#[cfg(target_arch = "x86_64")]
#[test]
fn eight_lanes_answer_as_one() {
    if !is_x86_feature_detected!("avx2") {
        return say_skipped("AVX2");
    }
    let pairs = pairs();
    // SAFETY: the feature was detected.
    let answers = unsafe {
        eight::check_lanes_together();
        eight::columns(&pairs)
    };
    check(&one::columns(&pairs), &answers, &pairs);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn sixteen_lanes_answer_as_one() {
    let is_there = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    if !is_there {
        return say_skipped("AVX-512");
    }
    let pairs = pairs();
    // SAFETY: the features were detected.
    let answers = unsafe {
        sixteen::check_lanes_together();
        sixteen::columns(&pairs)
    };
    check(&one::columns(&pairs), &answers, &pairs);
}

#[cfg(target_arch = "x86_64")]
#[expect(clippy::print_stderr, reason = "a width that was not tested must be seen")]
fn say_skipped(feature: &str) {
    eprintln!("skipped: this processor lacks {feature}");
}

#[test]
fn vectors_work_component_by_component() {
    let (a, b) = (Vec4::new(12, 10, 7, -9), Vec4::from_array([5, 3, 2, 4]));
    assert_eq!((a + b).to_array(), [17, 13, 9, -5]);
    assert_eq!((a - b).to_array(), [7, 7, 5, -13]);
    assert_eq!((a * b).to_array(), [60, 30, 14, -36]);
    assert_eq!((a / b).to_array(), [2, 3, 3, -2]);
    assert_eq!((a % b).to_array(), [2, 1, 1, -1]);
    assert_eq!((a & b).to_array(), [4, 2, 2, 4]);
    assert_eq!((a | b).to_array(), [13, 11, 7, -9]);
    assert_eq!((a ^ b).to_array(), [9, 9, 5, -13]);
    assert_eq!((-a).to_array(), [-12, -10, -7, 9]);
    assert_eq!((!a).to_array(), [-13, -11, -8, 8]);
    assert_eq!((a << Vec4::new(0u32, 1, 2, 3)).to_array(), [12, 20, 28, -72]);
    assert_eq!((a >> Vec4::new(0u32, 1, 2, 3)).to_array(), [12, 5, 1, -2]);
    assert_eq!(a.zip(b, |a, b| a > b).to_array(), [true, true, true, false]);
    assert_eq!(Vec3::splat(2).map(|x| x + 1).to_array(), [3; 3]);
    let Vec2 { x, y } = Vec2::from_array(["x", "y"]);
    assert_eq!([x, y], ["x", "y"]);
}

#[test]
fn no_more_words_are_in_reach_than_an_index_names() {
    assert_eq!(words_in_reach(0), 0);
    assert_eq!(words_in_reach(7), 7);
    assert_eq!(words_in_reach(1 << 31), 1 << 31);
    assert_eq!(words_in_reach(usize::MAX), 1 << 31);
}
