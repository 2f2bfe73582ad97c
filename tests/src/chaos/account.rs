//! What the nodes did, from their logs: each says when a lease begins, how far it
//! is, when it is rendered, and when the master has settled it.
//!
//! A node that is killed says nothing of its last tenth of a second. Of the leases
//! that it had begun this is all that the account lacks.

use std::collections::BTreeMap;

/// What all nodes did.
#[derive(Debug, Default)]
pub struct Account {
    rendered: u64,
    begun: Vec<(String, Tile)>,
    accepted: Vec<(String, Tile)>,
}

/// A tile, as a node's log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tile {
    place: (u64, u64, u64),
    level: u32,
    index: u64,
}

impl Tile {
    /// Whether they share samples.
    fn overlaps(&self, other: &Self) -> bool {
        let level = self.level.max(other.level);
        let at = |tile: &Self| tile.index >> (level - tile.level);
        self.place == other.place && at(self) == at(other)
    }
}

/// A lease in a process.
struct Lease {
    tile: Tile,
    samples: u64,
    done: u64,
}

impl Account {
    /// Adds what one process said from its start to its end.
    pub fn add_process(&mut self, log: &[String]) {
        let mut leases: BTreeMap<u64, Lease> = BTreeMap::new();
        for line in log {
            let fields = Fields::of(line);
            let Some(lease) = fields.number("lease") else { continue };
            if line.contains("lease begins") {
                let Some((tile, samples)) = fields.tile().zip(fields.number("samples")) else { continue };
                self.begun.push((fields.time.to_owned(), tile));
                leases.insert(lease, Lease { tile, samples, done: 0 });
            }
            let Some(known) = leases.get_mut(&lease) else { continue };
            if line.contains("lease goes on") {
                known.done = fields.number("samples").unwrap_or(0).max(known.done);
            } else if line.contains("lease is rendered") {
                known.done = known.samples;
            } else if line.contains("lease is settled") && line.contains("verdict=Accepted") {
                self.accepted.push((fields.time.to_owned(), known.tile));
            }
        }
        self.rendered += leases.values().map(|lease| lease.done).sum::<u64>();
    }

    /// Samples that were rendered in all.
    #[must_use]
    pub fn rendered(&self) -> u64 {
        self.rendered
    }

    /// Tiles that a node began after some node was told that samples of them were
    /// accepted. All clocks are one: the programs run on one machine.
    #[must_use]
    pub fn rendered_again(&self) -> Vec<String> {
        let again = |(begun_at, tile): &&(String, Tile)| {
            self.accepted.iter().any(|(told_at, accepted)| told_at < begun_at && accepted.overlaps(tile))
        };
        let again = self.begun.iter().filter(again);
        again.map(|(begun_at, tile)| format!("{tile:?}, begun at {begun_at}")).collect()
    }
}

/// A line of a log: its time, and its fields.
struct Fields<'a> {
    time: &'a str,
    line: &'a str,
}

impl<'a> Fields<'a> {
    fn of(line: &'a str) -> Self {
        Self { time: line.split_whitespace().next().unwrap_or_default(), line }
    }

    fn number(&self, name: &str) -> Option<u64> {
        let fields = self.line.split_whitespace().filter_map(|word| word.split_once('='));
        let value = fields.filter(|(key, _)| *key == name).map(|(_, value)| value).next()?;
        // Leases are written in hexadecimal.
        if name == "lease" { u64::from_str_radix(value, 16).ok() } else { value.parse().ok() }
    }

    fn tile(&self) -> Option<Tile> {
        let place = (self.number("job")?, self.number("frame")?, self.number("rect")?);
        let level = u32::try_from(self.number("level")?).ok()?;
        Some(Tile { place, level, index: self.number("index")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn samples_of_broken_off_leases_count_as_far_as_they_got() {
        let mut account = Account::default();
        account.add_process(&log(&[
            "2026-01-01T00:00:01.0Z DEBUG lease begins lease=1a job=1 frame=1 rect=4 level=2 index=0 samples=100",
            "2026-01-01T00:00:02.0Z DEBUG lease goes on lease=1a samples=40",
            "2026-01-01T00:00:03.0Z DEBUG lease is rendered lease=1a",
            "2026-01-01T00:00:03.1Z DEBUG lease begins lease=1b job=1 frame=1 rect=5 level=0 index=3 samples=100",
            "2026-01-01T00:00:03.2Z DEBUG lease goes on lease=1b samples=30",
        ]));
        assert_eq!(account.rendered(), 130);
        assert_eq!(account.rendered_again(), Vec::<String>::new());
    }

    #[test]
    fn what_is_begun_after_its_acceptance_is_found() {
        for (index, level, expected) in [(0, 0, 1), (3, 0, 1), (4, 0, 0), (0, 3, 1), (1, 2, 0)] {
            let mut account = Account::default();
            account.add_process(&log(&[
                "2026-01-01T00:00:01.0Z DEBUG lease begins lease=1 job=1 frame=1 rect=4 level=2 index=0 samples=9",
                "2026-01-01T00:00:03.0Z DEBUG lease is settled lease=1 verdict=Accepted",
            ]));
            account.add_process(&[format!(
                "2026-01-01T00:00:04.0Z DEBUG lease begins lease=2 job=1 frame=1 rect=4 level={level} \
                 index={index} samples=9"
            )]);
            assert_eq!(account.rendered_again().len(), expected, "range {level}:{index}");
        }
    }
}
