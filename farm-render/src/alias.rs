//! Alias tables with integer thresholds (Walker 1977; construction by Vose 1991,
//! "A Linear Algorithm For Generating Random Numbers With a Given Distribution").

/// One in a probability of 16 bits.
const ONE: u32 = 1 << 16;

/// An entry: it is kept where 16 random bits are below the threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Entry {
    /// 0 to 65536.
    pub(crate) threshold: u32,
    /// The entry taken otherwise.
    pub(crate) alias: u32,
    /// Probability with which the whole table, thresholds quantised as they
    /// are, yields this entry.
    pub(crate) probability: f32,
}

/// A table over non-negative weights; `None` where none is positive. Every
/// positive weight keeps a positive probability.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "thresholds are clamped to 17 bits, and tables of 2^32 entries fit nowhere"
)]
pub(crate) fn table(weights: &[f64]) -> Option<Vec<Entry>> {
    let total: f64 = weights.iter().sum();
    if !(total > 0.0 && total.is_finite()) {
        return None;
    }
    let count = weights.len();
    let mut scaled: Vec<f64> = weights.iter().map(|weight| weight / total * count as f64).collect();
    let mut entries: Vec<Entry> =
        (0..count).map(|i| Entry { threshold: ONE, alias: i as u32, probability: 0.0 }).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..count).partition(|&i| scaled[i] < 1.0);
    while let (Some(&lesser), Some(&greater)) = (small.last(), large.last()) {
        small.pop();
        let least = if weights[lesser] > 0.0 { 1.0 } else { 0.0 };
        entries[lesser].threshold =
            (scaled[lesser] * f64::from(ONE)).round().clamp(least, f64::from(ONE)) as u32;
        entries[lesser].alias = greater as u32;
        scaled[greater] -= 1.0 - scaled[lesser];
        if scaled[greater] < 1.0 {
            large.pop();
            small.push(greater);
        }
    }
    // What is left over stands for 1 but for rounding. A weightless entry can
    // only be here by rounding, and must still not be chosen.
    let heaviest = (0..count).max_by(|&a, &b| weights[a].total_cmp(&weights[b])).unwrap_or(0);
    for i in small.into_iter().filter(|&i| weights[i] == 0.0) {
        entries[i] = Entry { threshold: 0, alias: heaviest as u32, probability: 0.0 };
    }
    let mut probabilities = vec![0.0_f64; count];
    for (i, entry) in entries.iter().enumerate() {
        let kept = f64::from(entry.threshold) / f64::from(ONE);
        probabilities[i] += kept / count as f64;
        probabilities[entry.alias as usize] += (1.0 - kept) / count as f64;
    }
    for (entry, probability) in entries.iter_mut().zip(probabilities) {
        entry.probability = probability as f32;
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(weights: &[f64]) {
        let table = table(weights).expect("a table");
        let total: f64 = weights.iter().sum();
        let sum: f64 = table.iter().map(|entry| f64::from(entry.probability)).sum();
        assert!((sum - 1.0).abs() < 1e-5, "probabilities sum to {sum}");
        for (entry, weight) in table.iter().zip(weights) {
            let wanted = weight / total;
            let quantum = 1.0 / 65536.0;
            assert!((f64::from(entry.probability) - wanted).abs() < quantum, "{entry:?} for {wanted}");
            assert_eq!(entry.probability > 0.0, *weight > 0.0);
        }
    }

    #[test]
    fn probabilities_follow_the_weights() {
        check(&[1.0]);
        check(&[1.0, 3.0]);
        check(&[0.0, 5.0, 0.0, 1e-9, 2.0]);
        check(&(0..1000).map(|i| f64::from(i * i % 97)).collect::<Vec<_>>());
    }

    #[test]
    fn no_weight_gives_no_table() {
        assert_eq!(table(&[]), None);
        assert_eq!(table(&[0.0, 0.0]), None);
    }
}
