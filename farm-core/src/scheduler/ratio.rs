//! Products and quotients of integers whose product may not fit a word.

/// `a * b / c`, rounded down, and at most `u64::MAX`; `c` of 0 counts as 1. Dividing
/// 128 bits takes ten times as long as dividing 64, and is rarely wanted.
pub(super) fn mul_div(a: u64, b: u64, c: u64) -> u64 {
    let c = c.max(1);
    match a.checked_mul(b) {
        Some(product) => product / c,
        None => u64::try_from(u128::from(a) * u128::from(b) / u128::from(c)).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_way_and_short_way_agree_and_saturate() {
        let numbers = [0, 1, 2, 3, 999_999, 1 << 31, 1 << 32, (1 << 32) + 1, 1 << 50, u64::MAX - 1, u64::MAX];
        for (a, b, c) in numbers
            .iter()
            .flat_map(|a| numbers.map(|b| (a, b)))
            .flat_map(|(a, b)| numbers.map(|c| (*a, b, c)))
        {
            let exact = u128::from(a) * u128::from(b) / u128::from(c.max(1));
            assert_eq!(u128::from(mul_div(a, b, c)), exact.min(u64::MAX.into()), "{a} {b} {c}");
        }
    }
}
