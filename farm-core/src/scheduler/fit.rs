//! Which nodes can take which jobs: pools by tag and by memory.
//!
//! A job's *profile* is what it needs, a node's *fit* what it has. Jobs are kept
//! by profile and nodes by fit, of each of which a farm has a few, so that no
//! decision walks jobs that the node cannot take. Memory is compared in steps of
//! 1/32 of its power of two: a need rounds up, what a node has rounds down.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::share::ReadyKey;
use crate::id::NodeId;
use crate::limits::Limits;

/// What a job needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Profile {
    /// One bit for each tag; see [`TagBook`].
    tags: u64,
    memory: u64,
}

/// What a node has, of what open jobs need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fit {
    tags: u64,
    memory: u64,
}

/// Binary places that are kept of an amount of memory below its highest.
const PLACES: u32 = 5;

impl Profile {
    pub(super) fn new(tags: u64, memory_bytes: u64) -> Self {
        let step = memory_step(memory_bytes);
        Self { tags, memory: memory_bytes.div_ceil(step).saturating_mul(step) }
    }
}

impl Fit {
    /// A node of unknown memory is taken to have enough.
    pub(super) fn new(tags: u64, memory_bytes: Option<u64>) -> Self {
        let round = |bytes: u64| bytes / memory_step(bytes) * memory_step(bytes);
        Self { tags, memory: memory_bytes.map_or(u64::MAX, round) }
    }

    /// Whether it has all that a job needs.
    pub(super) fn suits(&self, profile: &Profile) -> bool {
        profile.tags & !self.tags == 0 && profile.memory <= self.memory
    }
}

fn memory_step(bytes: u64) -> u64 {
    1 << bytes.checked_ilog2().unwrap_or(0).saturating_sub(PLACES)
}

/// The tags that open jobs require, one bit of a word for each.
#[derive(Debug, Default)]
pub(super) struct TagBook {
    /// The tag of each bit and how many jobs require it; free where none does.
    bits: Vec<(String, u32)>,
}

/// A word has no more bits.
const BITS: usize = 64;

impl TagBook {
    /// The bits of a job's tags, counted once more, and whether one of them is
    /// new. A tag for which there is no bit (an earlier life allowed more) is
    /// none that a node has.
    pub(super) fn require(&mut self, tags: &[String]) -> (u64, bool) {
        let (mut mask, mut is_new) = (0, false);
        for tag in tags {
            let known = self.bits.iter().position(|(known, uses)| *uses > 0 && known == tag);
            let bit = known.or_else(|| {
                is_new = true;
                let free = self.bits.iter().position(|(_, uses)| *uses == 0);
                free.or_else(|| {
                    self.bits.push((String::new(), 0));
                    Some(self.bits.len() - 1).filter(|bit| *bit < BITS)
                })
            });
            let Some((bit, entry)) = bit.and_then(|bit| Some((bit, self.bits.get_mut(bit)?))) else {
                self.bits.truncate(BITS);
                return (u64::MAX, is_new);
            };
            if entry.1 == 0 {
                entry.0.clone_from(tag);
            }
            entry.1 += 1;
            mask |= 1 << bit;
        }
        (mask, is_new)
    }

    /// Counts a job's tags no longer.
    pub(super) fn release(&mut self, tags: &[String]) {
        for tag in tags {
            if let Some((_, uses)) = self.bits.iter_mut().find(|(known, uses)| *uses > 0 && known == tag) {
                *uses -= 1;
            }
        }
    }

    /// The bits of what a node announces.
    pub(super) fn bits_of(&self, tags: &[String]) -> u64 {
        let announced = |(_, (known, uses)): &(u32, &(String, u32))| *uses > 0 && tags.contains(known);
        (0..).zip(&self.bits).filter(announced).fold(0, |mask, (bit, _)| mask | 1 << bit)
    }

    /// How many distinct tags there would be with these.
    pub(super) fn count_with(&self, tags: &[String]) -> usize {
        let used = || self.bits.iter().filter(|(_, uses)| *uses > 0);
        used().count() + tags.iter().filter(|tag| !used().any(|(known, _)| known == *tag)).count()
    }

    /// Whether there is room for another job's tags.
    pub(super) fn has_room_for(&self, tags: &[String], limits: &Limits) -> bool {
        tags.is_empty() || self.count_with(tags) <= limits.required_tags.min(BITS)
    }
}

/// Jobs with something to grant, in the order in which a node asks them, by
/// what they need.
#[derive(Debug, Default)]
pub(super) struct Ready {
    by_profile: BTreeMap<Profile, BTreeSet<ReadyKey>>,
}

impl Ready {
    pub(super) fn insert(&mut self, profile: Profile, key: ReadyKey) {
        self.by_profile.entry(profile).or_default().insert(key);
    }

    pub(super) fn remove(&mut self, profile: Profile, key: &ReadyKey) {
        if let Some(keys) = self.by_profile.get_mut(&profile) {
            keys.remove(key);
        }
    }

    /// Forgets a profile that nothing is ready of: its jobs are over, or will be
    /// entered again.
    pub(super) fn tidy(&mut self, profile: Profile) {
        if self.by_profile.get(&profile).is_some_and(BTreeSet::is_empty) {
            self.by_profile.remove(&profile);
        }
    }

    /// The job that comes first of all.
    pub(super) fn first(&self) -> Option<ReadyKey> {
        self.by_profile.values().filter_map(|keys| keys.first().copied()).min()
    }

    /// The job that a node of this fit asks first, or next after another.
    pub(super) fn next_for(&self, fit: &Fit, after: Option<ReadyKey>) -> Option<ReadyKey> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let suiting = self.by_profile.iter().filter(|(profile, _)| fit.suits(profile));
        suiting.filter_map(|(_, keys)| keys.range((after, Bound::Unbounded)).next().copied()).min()
    }

    /// Every entry; for audits.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Profile, ReadyKey)> + '_ {
        self.by_profile.iter().flat_map(|(profile, keys)| keys.iter().map(|key| (*profile, *key)))
    }
}

/// Nodes with room for a lease, by what they have; those with the fewest leases
/// per lane first.
#[derive(Debug, Default)]
pub(super) struct Hungry {
    by_fit: BTreeMap<Fit, BTreeSet<(u32, NodeId)>>,
}

impl Hungry {
    pub(super) fn insert(&mut self, fit: Fit, load: u32, node: NodeId) {
        self.by_fit.entry(fit).or_default().insert((load, node));
    }

    pub(super) fn remove(&mut self, fit: Fit, load: u32, node: NodeId) {
        if let Some(nodes) = self.by_fit.get_mut(&fit) {
            nodes.remove(&(load, node));
            if nodes.is_empty() {
                self.by_fit.remove(&fit);
            }
        }
    }

    pub(super) fn contains(&self, fit: Fit, load: u32, node: NodeId) -> bool {
        self.by_fit.get(&fit).is_some_and(|nodes| nodes.contains(&(load, node)))
    }

    /// Takes the first node for which there may be a job.
    pub(super) fn pop_for(&mut self, ready: &Ready) -> Option<(u32, NodeId)> {
        let suiting = self.by_fit.iter().filter(|(fit, _)| ready.next_for(fit, None).is_some());
        let (fit, (load, node)) = suiting
            .filter_map(|(fit, nodes)| Some((*fit, *nodes.first()?)))
            .min_by_key(|(_, first)| *first)?;
        self.remove(fit, load, node);
        Some((load, node))
    }

    /// Every node that suits a profile.
    pub(super) fn suiting(&self, profile: Profile) -> impl Iterator<Item = NodeId> + '_ {
        let suiting = self.by_fit.iter().filter(move |(fit, _)| fit.suits(&profile));
        suiting.flat_map(|(_, nodes)| nodes.iter().map(|(_, node)| *node))
    }
}

/// How many active nodes there are of each fit.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Crew {
    by_fit: BTreeMap<Fit, u32>,
}

impl Crew {
    pub(super) fn add(&mut self, fit: Fit) {
        *self.by_fit.entry(fit).or_default() += 1;
    }

    pub(super) fn remove(&mut self, fit: Fit) {
        if let Some(count) = self.by_fit.get_mut(&fit) {
            *count -= 1;
            if *count == 0 {
                self.by_fit.remove(&fit);
            }
        }
    }

    /// How many suit a profile.
    pub(super) fn suiting(&self, profile: &Profile) -> u32 {
        self.by_fit.iter().filter(|(fit, _)| fit.suits(profile)).map(|(_, count)| count).sum()
    }
}
