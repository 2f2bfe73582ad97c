//! What every operation should answer, in plain Rust and another way than the
//! vocabularies compute it: floats by doubles, integers by wider ones.

#![expect(clippy::cast_possible_truncation, reason = "each answer is narrowed from a wider one")]

/// The answers to one pair, in the order in which `at_width!` names them.
pub(super) fn expected(a: u32, b: u32) -> Vec<(&'static str, u32)> {
    [
        expected_floats(a, b),
        expected_unsigned_integers(a, b),
        expected_signed_integers(a, b),
        expected_masks(a, b),
    ]
    .concat()
}

/// The bits of the answer, with one NaN for all that were computed.
pub(super) fn number(answer: f32) -> u32 {
    if answer.is_nan() { f32::NAN.to_bits() } else { answer.to_bits() }
}

/// The float as a double, rounded by `round`; doubles hold every float and its roundings.
fn by_double(value: f32, round: fn(f64) -> f64) -> u32 {
    number(round(f64::from(value)) as f32)
}

fn expected_floats(a: u32, b: u32) -> Vec<(&'static str, u32)> {
    let (x, y) = (f32::from_bits(a), f32::from_bits(b));
    let (wide_x, wide_y) = (f64::from(x), f64::from(y));
    let order = x.partial_cmp(&y);
    let is_less = order.is_some_and(|order| order.is_lt());
    let is_greater = order.is_some_and(|order| order.is_gt());
    vec![
        // Exact or almost so in double precision, then rounded once (Figueroa 1995).
        ("f32 add", number((wide_x + wide_y) as f32)),
        ("f32 sub", number((wide_x - wide_y) as f32)),
        ("f32 mul", number((wide_x * wide_y) as f32)),
        ("f32 div", number(x / y)),
        ("f32 neg", a ^ 1 << 31),
        ("f32 lt", is_less.into()),
        ("f32 le", order.is_some_and(|order| order.is_le()).into()),
        ("f32 gt", is_greater.into()),
        ("f32 ge", order.is_some_and(|order| order.is_ge()).into()),
        ("f32 eq", order.is_some_and(|order| order.is_eq()).into()),
        ("f32 ne", order.is_none_or(|order| order.is_ne()).into()),
        ("f32 min", if is_less { a } else { b }),
        ("f32 max", if is_greater { a } else { b }),
        ("f32 abs", a & !(1 << 31)),
        ("f32 floor", by_double(x, f64::floor)),
        ("f32 ceil", by_double(x, f64::ceil)),
        ("f32 trunc", by_double(x, f64::trunc)),
        ("f32 round", by_double(x, f64::round_ties_even)),
        ("f32 fract", number((wide_x - wide_x.floor()) as f32)),
        ("f32 sqrt", by_double(x, f64::sqrt)),
        ("f32 sign", if x > 0.0 { 0x3f80_0000 } else { if x < 0.0 { 0xbf80_0000 } else { 0 } }),
        ("f32 to_bits", a),
        ("f32 from_bits", a),
        ("f32 from_u32", (f64::from(a) as f32).to_bits()),
        ("f32 from_i32", (f64::from(a.cast_signed()) as f32).to_bits()),
        ("f32 from_mask", if is_less { 0x3f80_0000 } else { 0 }),
        ("f32 select", if is_less { a } else { b }),
        ("u32 from_f32", truncated(wide_x, 0.0, 4_294_967_040.0)),
        ("i32 from_f32", truncated(wide_x, -2_147_483_648.0, 2_147_483_520.0)),
    ]
}

/// The integer part within the bounds, as its lowest 32 bits; 0 for NaN.
fn truncated(value: f64, least: f64, greatest: f64) -> u32 {
    if value.is_nan() { 0 } else { (value.clamp(least, greatest) as i64) as u32 }
}

/// The places of the ones, lowest first.
fn places_of_ones(bits: u32) -> Vec<u32> {
    (0..32).filter(|place| bits & 1 << place != 0).collect()
}

fn expected_unsigned_integers(a: u32, b: u32) -> Vec<(&'static str, u32)> {
    let (x, y) = (u64::from(a), u64::from(b));
    let (ones, amount) = (places_of_ones(a), b % 32);
    let (lowest, highest) = (ones.first().copied(), ones.last().copied());
    vec![
        ("u32 add", (x + y) as u32),
        ("u32 sub", (x + (1 << 32) - y) as u32),
        ("u32 mul", (x * y) as u32),
        ("u32 div", a.checked_div(b).unwrap_or(a)),
        ("u32 rem", a.checked_rem(b).unwrap_or(0)),
        ("u32 and", a & b),
        ("u32 or", a | b),
        ("u32 xor", (a | b) - (a & b)),
        ("u32 not", u32::MAX - a),
        ("u32 shl", (x << amount) as u32),
        ("u32 shr", (x / (1 << amount)) as u32),
        ("u32 lt", (a < b).into()),
        ("u32 le", (a <= b).into()),
        ("u32 gt", (a > b).into()),
        ("u32 ge", (a >= b).into()),
        ("u32 eq", (a == b).into()),
        ("u32 ne", (a != b).into()),
        ("u32 min", if a < b { a } else { b }),
        ("u32 max", if a < b { b } else { a }),
        ("u32 count_one_bits", ones.len() as u32),
        ("u32 count_leading_zeros", highest.map_or(32, |highest| 31 - highest)),
        ("u32 count_trailing_zeros", lowest.unwrap_or(32)),
        ("u32 first_leading_bit", highest.unwrap_or(u32::MAX)),
        ("u32 first_trailing_bit", lowest.unwrap_or(u32::MAX)),
        ("u32 reverse_bits", ones.iter().map(|place| 1 << (31 - place)).sum()),
        ("u32 from_i32", a),
        ("u32 from_mask", (a < b).into()),
        ("u32 select", if a < b { a } else { b }),
    ]
}

fn expected_signed_integers(a: u32, b: u32) -> Vec<(&'static str, u32)> {
    let (x, y) = (i64::from(a.cast_signed()), i64::from(b.cast_signed()));
    let amount = b % 32;
    vec![
        ("i32 add", (x + y) as u32),
        ("i32 sub", (x - y) as u32),
        ("i32 mul", (x * y) as u32),
        ("i32 div", if y == 0 { x as u32 } else { (x / y) as u32 }),
        ("i32 rem", if y == 0 { 0 } else { (x % y) as u32 }),
        ("i32 neg", -x as u32),
        ("i32 and", (x & y) as u32),
        ("i32 or", (x | y) as u32),
        ("i32 xor", (x ^ y) as u32),
        ("i32 not", (-1 - x) as u32),
        ("i32 shl", (x << amount) as u32),
        ("i32 shr", x.div_euclid(1 << amount) as u32),
        ("i32 lt", (x < y).into()),
        ("i32 le", (x <= y).into()),
        ("i32 gt", (x > y).into()),
        ("i32 ge", (x >= y).into()),
        ("i32 eq", (x == y).into()),
        ("i32 ne", (x != y).into()),
        ("i32 min", if x < y { a } else { b }),
        ("i32 max", if x < y { b } else { a }),
        ("i32 abs", x.unsigned_abs() as u32),
        ("i32 sign", x.signum() as u32),
        ("i32 from_mask", (x < y).into()),
        ("i32 select", if x < y { a } else { b }),
    ]
}

fn expected_masks(a: u32, b: u32) -> Vec<(&'static str, u32)> {
    let (x, y, z) = (a % 2, b % 2, a < b);
    vec![
        ("mask and", x * y),
        ("mask or", x.max(y)),
        ("mask xor", (x != y).into()),
        ("mask not", 1 - x),
        ("mask eq", (x == y).into()),
        ("mask ne", (x != y).into()),
        ("mask select", if z { x } else { y }),
    ]
}
