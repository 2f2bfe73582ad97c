//! The trials of `tests/trial.wgsl` in plain Rust, written from what WGSL says.

/// The trials of two words, in the order of their numbers.
pub(super) const EXPECTED: [fn(u32, u32) -> u32; 16] = [
    unsigned_division,
    signed_division,
    shifts,
    bits,
    float_arithmetic,
    rounding,
    conversions,
    loop_with_exits,
    loop_with_return,
    nested_loops,
    early_returns,
    short_circuits,
    cases,
    structs_and_arrays,
    vectors,
    returned_structs,
];

fn as_float(bits: u32) -> f32 {
    f32::from_bits((bits & 0x807f_ffff) | ((111 + ((bits >> 23) & 31)) << 23))
}

fn unsigned_division(a: u32, b: u32) -> u32 {
    (a / (b | 1)).wrapping_mul(31).wrapping_add(a % ((b >> 3) | 1))
}

fn signed_division(a: u32, b: u32) -> u32 {
    let (x, y) = (a.cast_signed(), b.cast_signed() | 1);
    (x.wrapping_div(y) ^ x.wrapping_rem(y)).cast_unsigned()
}

fn shifts(a: u32, b: u32) -> u32 {
    let n = b & 31;
    (a << n) ^ (a >> n) ^ (a.cast_signed() >> n).cast_unsigned() ^ (a << n)
}

fn bits(a: u32, b: u32) -> u32 {
    let leading = b.checked_ilog2().unwrap_or(u32::MAX);
    let trailing = if a == 0 { u32::MAX } else { a.trailing_zeros() };
    let sum = a
        .count_ones()
        .wrapping_add(leading.wrapping_mul(37))
        .wrapping_add(trailing.wrapping_mul(1601))
        .wrapping_add(b.leading_zeros() * 7)
        .wrapping_add(b.trailing_zeros() * 11);
    sum ^ a.reverse_bits()
}

fn float_arithmetic(a: u32, b: u32) -> u32 {
    let (x, y) = (as_float(a), as_float(b));
    (x / y).to_bits()
        ^ x.abs().sqrt().to_bits().wrapping_mul(3)
        ^ (x - y).to_bits().wrapping_mul(5)
        ^ (-x * y).to_bits().wrapping_mul(7)
}

pub(super) fn order(a: u32, b: u32) -> u32 {
    let (x, y) = (as_float(a), as_float(b));
    (x - y - 1.0).to_bits()
        ^ (x - (y - 1.0)).to_bits().wrapping_mul(3)
        ^ (x * y + x).to_bits().wrapping_mul(5)
        ^ (x / (y * 3.0)).to_bits().wrapping_mul(7)
        ^ (-(x + y) * -y + 1.0).to_bits().wrapping_mul(11)
}

fn rounding(a: u32, b: u32) -> u32 {
    let (x, y) = (as_float(a), as_float(b));
    x.floor().to_bits()
        ^ y.ceil().to_bits()
        ^ (x.trunc() * 3.0).to_bits()
        ^ (y.round_ties_even() * 5.0).to_bits()
        ^ x.clamp(-2.0, 2.0).to_bits()
        ^ (y.signum() * 7.0).to_bits()
        ^ x.min(y).to_bits()
        ^ (x.max(y).to_bits() >> 1)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "what the trial is about")]
fn conversions(a: u32, b: u32) -> u32 {
    let back = (as_float(a).max(0.0) as u32).wrapping_add((as_float(b) as i32).cast_unsigned());
    (a as f32).to_bits()
        ^ (b.cast_signed() as f32).to_bits()
        ^ back
        ^ u32::from(a > b)
        ^ (if a < b { 0.5_f32 } else { 0.0 }).to_bits()
}

fn loop_with_exits(a: u32, b: u32) -> u32 {
    let mut x = (a & 0xffff) + 1;
    let mut steps = 0_u32;
    for _ in 0..40 {
        if x == 1 {
            break;
        }
        steps += 1;
        if x & 1 == 0 {
            x /= 2;
            continue;
        }
        x = x.wrapping_mul(3).wrapping_add(1);
        if x % 7 == b % 7 {
            break;
        }
    }
    steps.wrapping_mul(65537).wrapping_add(x)
}

fn loop_with_return(a: u32, b: u32) -> u32 {
    let mut x = a;
    loop {
        if x < b {
            return x ^ 0x55;
        }
        x >>= 1;
        if x == 0 {
            if b == 0 {
                return 77;
            }
            break;
        }
        x -= x & 1;
        if x == 0x7fff {
            break;
        }
    }
    x.wrapping_add(b)
}

fn nested_loops(a: u32, b: u32) -> u32 {
    let mut sum = 0_u32;
    for i in 0..(a & 7) {
        for j in 0..(b & 7) {
            if i == j {
                continue;
            }
            if i + j > 9 {
                break;
            }
            sum = sum.wrapping_mul(5).wrapping_add(i * j + 1);
        }
        if sum > 100_000 {
            return sum;
        }
    }
    sum ^ a
}

fn early_returns(a: u32, b: u32) -> u32 {
    if a < b {
        if a & 1 == 0 {
            return a.wrapping_mul(3);
        }
        if b & 2 == 0 {
            return b.wrapping_mul(5);
        }
    } else if a == b {
        return 9;
    }
    let rest = a.wrapping_sub(b);
    if rest & 4 != 0 { rest.wrapping_mul(7) } else { rest.wrapping_add(11) }
}

fn short_circuits(a: u32, b: u32) -> u32 {
    let odd = a & 1 == 1;
    let first = odd && a > b || !odd && b & 3 == 2;
    let both = odd && a.is_multiple_of(3) && !b.is_multiple_of(5);
    u32::from(first) | u32::from(both) << 1 | u32::from(odd || a == b) << 2
}

fn cases(a: u32, b: u32) -> u32 {
    let x = match a & 7 {
        0 => 1,
        1 | 2 if b & 1 == 1 => b,
        1 | 2 => b.wrapping_add(100),
        3 => return b ^ 0xff,
        _ => b.wrapping_mul(3),
    };
    x.wrapping_add(1)
}

fn structs_and_arrays(a: u32, b: u32) -> u32 {
    let mut corners = [0_u32, 1, 2].map(|i| [as_float(a.wrapping_add(i)), as_float(b), 0.5]);
    let mut tags = [a, a >> 1, a >> 2];
    tags[b as usize % 3] = tags[b as usize % 3].wrapping_add(13);
    corners[1][1] *= 2.0;
    let sum = [corners[0][0] + corners[1][2], corners[0][1] + corners[1][1]];
    let part = a as usize % 3;
    let folded = corners[part][0] + corners[part][1] * sum[0] - sum[1];
    folded.to_bits() ^ tags[part] ^ u32::from(sum[0] > sum[1])
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "what the trial is about")]
fn vectors(a: u32, b: u32) -> u32 {
    let v = [as_float(a), as_float(b), 1.5];
    let w = [v[2] * 2.0 - v[0], v[0] * 2.0 - v[1], v[1] * 2.0 - 0.5];
    let word = |i: usize| {
        let mixed = if v[i] > w[i] { w[i] } else { v[i] };
        let low = v[i].min(w[i]) + v[i].max(0.25) * w[i].abs();
        mixed.to_bits() ^ low.clamp(0.0, 4_294_967_040.0) as u32 ^ a >> (i + 1)
    };
    let larger = [0, 1, 2].map(|i| v[i] > w[i]);
    word(0)
        ^ word(1).wrapping_mul(3)
        ^ word(2).wrapping_mul(5)
        ^ u32::from(larger.iter().all(|x| *x))
        ^ u32::from(larger.iter().any(|x| *x)) << 1
}

/// The trial that reads other pairs than its own.
pub(super) fn neighbours(pairs: &[[u32; 2]]) -> Vec<u32> {
    let at = |place: usize| pairs[place % pairs.len()];
    let answer = |&[a, b]: &[u32; 2]| {
        let place = a as usize % pairs.len();
        let more = b & 1 == 1 && at(place + 1)[1] > a;
        at(place)[0].wrapping_add(if more { at(place + 2)[1] } else { 0 })
    };
    pairs.iter().map(answer).collect()
}

#[derive(Clone, Copy, Default)]
struct Walker {
    steps: u32,
    tags: [u32; 2],
    tag: u32,
    y: f32,
}

fn advanced(walker: &mut Walker, by: u32) {
    walker.steps = walker.steps.wrapping_add(1);
    if walker.tags[0].is_multiple_of(2) {
        walker.tags[1] ^= by;
        return;
    }
    walker.y += 2.0;
    let Some(i) = (0..3).find(|i| by >> i & 1 == 1) else {
        walker.tag += 15;
        walker.tags[0] = walker.tags[0].wrapping_mul(3);
        return;
    };
    walker.tag += 5 * i;
    walker.tags[0] = walker.tags[0].wrapping_add(i);
}

fn returned_structs(a: u32, b: u32) -> u32 {
    let mut first = Walker { tags: [a, b], ..Walker::default() };
    if !a.is_multiple_of(3) {
        (first.steps, first.tag) = (a & b, 9);
    }
    let mut second = Walker::default();
    if a & 2 == 0 {
        advanced(&mut first, b);
    }
    let older = first;
    advanced(&mut first, a >> 3);
    if b & 1 == 1 {
        first = older;
        advanced(&mut first, b >> 5);
        second = first;
        advanced(&mut second, b >> 2);
    }
    if a & 4 == 0 {
        second.tags[0] = second.tags[0].wrapping_add(7);
        advanced(&mut second, b >> 7);
        let by = a >> 4;
        let steps = second.steps.wrapping_add(by);
        if by <= second.tags[1] && steps & 4 == 0 {
            second.steps = steps;
        }
    }
    let weigh = |walker: &Walker, [x, y, tag]: [u32; 3]| {
        let tags = walker.tags[0].wrapping_mul(x).wrapping_add(walker.tags[1].wrapping_mul(y));
        walker.steps.wrapping_add(tags).wrapping_add(walker.tag.wrapping_mul(tag))
    };
    weigh(&first, [3, 5, 7]) ^ weigh(&second, [11, 13, 17]) ^ (first.y + second.y * 4.0).to_bits()
}
