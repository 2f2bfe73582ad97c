//! The free ranges of one frame, kept as a buddy allocator keeps pages.
//!
//! Each rectangle's base blocks form a binary tree; a free range is a node of
//! that tree, and two free halves are always merged into their parent. So a
//! range whose blocks are all free lies inside exactly one free range, and the
//! free, leased and accepted ranges of a rectangle are a partition of it.
//! Rectangles that are wholly free, nearly all of them at first, are kept as
//! intervals of their numbers: a frame of a million of them takes a few bytes.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{LeaseId, NodeId};
use crate::tile::{BlockRange, RectIndex};

/// What a node can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Appetite {
    /// The largest level that it should take of a rectangle that is split.
    pub(super) level: u8,
    /// Whether it should take a rectangle's whole range at once.
    pub(super) whole: bool,
}

/// A range that is lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lent {
    /// The range.
    pub(super) range: BlockRange,
    /// To whom.
    pub(super) node: NodeId,
    /// Under which lease.
    pub(super) lease: LeaseId,
}

/// The free and the lent ranges of one frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pool {
    blocks: u32,
    root: BlockRange,
    /// Rectangles of which every block is free.
    whole: Intervals,
    /// Free ranges of the other rectangles: (rectangle, index) by level, for
    /// the levels below the root.
    split: Vec<BTreeSet<(u32, u32)>>,
    /// Of the other rectangles, those whose first block is free, with the
    /// level of the free range that it lies in.
    first: BTreeMap<u32, u8>,
    /// Lent ranges by (rectangle, first block).
    lent: BTreeMap<(u32, u32), Lent>,
    free_blocks: u64,
}

impl Pool {
    /// A frame of `rects` rectangles of `blocks` base blocks each, all free.
    pub(super) fn new(rects: u32, blocks: u32) -> Self {
        let root = BlockRange::root(blocks);
        Self {
            blocks,
            root,
            whole: Intervals::filled(rects),
            split: vec![BTreeSet::new(); usize::from(root.level)],
            first: BTreeMap::new(),
            lent: BTreeMap::new(),
            free_blocks: u64::from(rects) * u64::from(blocks),
        }
    }

    /// Base blocks of a pixel.
    pub(super) fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Whether nothing is free.
    pub(super) fn is_exhausted(&self) -> bool {
        self.free_blocks == 0
    }

    /// Every lent range, by rectangle and first block.
    pub(super) fn lent(&self) -> impl Iterator<Item = (RectIndex, Lent)> + '_ {
        self.lent.iter().map(|(&(rect, _), &lent)| (RectIndex(rect), lent))
    }

    /// Takes a free range for a node with this appetite, of a rectangle that is
    /// not `barred` for it.
    ///
    /// As long as some rectangle's first block is free, the first such
    /// rectangle's turn it is: the whole of it if that suits the node, else its
    /// first block. After that the smallest free range that is large enough is
    /// split down to the node's level, and when there is none, the largest that
    /// is smaller is taken. So scraps are left for the end of the frame, where
    /// they keep every node busy until the last.
    pub(super) fn take(
        &mut self,
        appetite: Appetite,
        barred: impl Fn(RectIndex) -> bool,
    ) -> Option<(RectIndex, BlockRange)> {
        let open = |rect: &u32| !barred(RectIndex(*rect));
        let whole = self.whole.iter().find(open);
        let first = self.first.iter().find(|(rect, _)| open(rect)).map(|(&rect, &level)| (rect, level));
        let taken = match (whole, first) {
            (Some(whole), first) if first.is_none_or(|(rect, _)| whole < rect) => {
                let level = if appetite.whole { self.root.level } else { 0 };
                (whole, self.root, BlockRange { level, index: 0 })
            }
            (_, Some((rect, level))) => {
                let wanted = if appetite.whole { level.min(appetite.level) } else { 0 };
                (rect, BlockRange { level, index: 0 }, BlockRange { level: wanted, index: 0 })
            }
            _ => self.find_later_range(appetite.level, open)?,
        };
        let (rect, from, range) = taken;
        self.remove_free(rect, from);
        self.split_down(rect, from, range);
        Some((RectIndex(rect), range))
    }

    /// A free range and the part of it to take, when no first block is free.
    fn find_later_range(
        &self,
        level: u8,
        open: impl Fn(&u32) -> bool,
    ) -> Option<(u32, BlockRange, BlockRange)> {
        let levels = u8::try_from(self.split.len()).expect("a tree has at most 32 levels");
        let level = level.min(levels.saturating_sub(1));
        let larger_first = (level..levels).chain((0..level).rev());
        for from in larger_first {
            let found = self.split[usize::from(from)].iter().find(|(rect, _)| open(rect));
            if let Some(&(rect, index)) = found {
                let down = from.saturating_sub(level);
                let range = BlockRange { level: from - down, index: index << down };
                return Some((rect, BlockRange { level: from, index }, range));
            }
        }
        None
    }

    /// Takes exactly `range` of a rectangle; false, and nothing is done, if not
    /// all of its blocks are free.
    pub(super) fn carve(&mut self, rect: RectIndex, range: BlockRange) -> bool {
        let ancestor = |level: u8| BlockRange { level, index: range.index >> (level - range.level) };
        let holder = if self.whole.contains(rect.0) {
            Some(self.root)
        } else {
            (range.level..self.root.level)
                .map(ancestor)
                .find(|holder| self.split[usize::from(holder.level)].contains(&(rect.0, holder.index)))
        };
        let Some(holder) = holder else { return false };
        self.remove_free(rect.0, holder);
        self.split_down(rect.0, holder, range);
        true
    }

    /// Makes a range free again, merged with what is free beside it.
    pub(super) fn give_back(&mut self, rect: RectIndex, range: BlockRange) {
        let mut range = range;
        while range.level < self.root.level {
            let sibling = range.sibling();
            let level = usize::from(range.level);
            if sibling.is_empty(self.blocks) {
                range = range.parent();
            } else if self.split[level].contains(&(rect.0, sibling.index)) {
                self.remove_free(rect.0, sibling);
                range = range.parent();
            } else {
                break;
            }
        }
        self.insert_free(rect.0, range);
    }

    /// Notes that a range, which is not free, is lent.
    pub(super) fn lend(&mut self, rect: RectIndex, lent: Lent) {
        self.lent.insert((rect.0, lent.range.start()), lent);
    }

    /// Notes that a range is no longer lent; it is neither free nor lent then.
    pub(super) fn take_home(&mut self, rect: RectIndex, range: BlockRange) {
        self.lent.remove(&(rect.0, range.start()));
    }

    /// Lent ranges that share a block with `range`.
    pub(super) fn lent_overlapping(&self, rect: RectIndex, range: BlockRange) -> Vec<Lent> {
        let end = range.end(self.blocks);
        let before = self.lent.range(..=(rect.0, range.start())).next_back();
        let before = before.filter(|((other, _), lent)| *other == rect.0 && lent.range.contains(&range));
        if let Some((_, lent)) = before {
            return vec![*lent];
        }
        let inside = self.lent.range((rect.0, range.start())..(rect.0, end));
        inside.map(|(_, lent)| *lent).collect()
    }

    /// Splits `from`, which was just removed from the free ranges, down to
    /// `range` inside it and frees all the rest.
    fn split_down(&mut self, rect: u32, from: BlockRange, range: BlockRange) {
        let mut from = from;
        while from.level > range.level {
            let [earlier, later] = from.halves().expect("a range above another has halves");
            let (kept, rest) = if earlier.contains(&range) { (earlier, later) } else { (later, earlier) };
            if !rest.is_empty(self.blocks) {
                self.insert_free(rect, rest);
            }
            from = kept;
        }
    }

    fn insert_free(&mut self, rect: u32, range: BlockRange) {
        self.free_blocks += self.length(range);
        if range.level == self.root.level {
            self.whole.insert(rect);
            return;
        }
        self.split[usize::from(range.level)].insert((rect, range.index));
        if range.index == 0 {
            self.first.insert(rect, range.level);
        }
    }

    fn remove_free(&mut self, rect: u32, range: BlockRange) {
        self.free_blocks -= self.length(range);
        if range.level == self.root.level {
            self.whole.remove(rect);
            return;
        }
        self.split[usize::from(range.level)].remove(&(rect, range.index));
        if range.index == 0 {
            self.first.remove(&rect);
        }
    }

    /// Base blocks of a range that is not empty.
    fn length(&self, range: BlockRange) -> u64 {
        u64::from(range.end(self.blocks) - range.start())
    }

    /// Every free range; walks everything, so for audits only.
    pub(super) fn free(&self) -> impl Iterator<Item = (RectIndex, BlockRange)> + '_ {
        let whole = self.whole.iter().map(|rect| (RectIndex(rect), self.root));
        let split = (0u8..).zip(&self.split).flat_map(|(level, ranges)| {
            ranges.iter().map(move |&(rect, index)| (RectIndex(rect), BlockRange { level, index }))
        });
        whole.chain(split)
    }

    /// Checks what [`Pool`] promises about its own books; walks everything.
    pub(super) fn audit(&self) -> Result<(), String> {
        let blocks: u64 = self.free().map(|(_, range)| self.length(range)).sum();
        if blocks != self.free_blocks {
            return Err(format!("{blocks} blocks are free but {} are counted", self.free_blocks));
        }
        for (rect, range) in self.free().filter(|(_, range)| range.level < self.root.level) {
            let sibling = range.sibling();
            let twin = self.split[usize::from(range.level)].contains(&(rect.0, sibling.index));
            if twin || sibling.is_empty(self.blocks) {
                return Err(format!("{rect:?} {range:?} is free and not merged with its sibling"));
            }
            if (range.index == 0) != (self.first.get(&rect.0) == Some(&range.level)) && range.index == 0 {
                return Err(format!("the first block of {rect:?} is free but not listed"));
            }
        }
        let first = self.split.iter().flatten().filter(|(_, index)| *index == 0).count();
        if first != self.first.len() {
            return Err(format!("{first} first blocks are free but {} are listed", self.first.len()));
        }
        Ok(())
    }
}

/// A set of numbers, kept as intervals `[start, end)` that do not touch.
#[derive(Clone, Debug, Default, PartialEq)]
struct Intervals {
    ends: BTreeMap<u32, u32>,
}

impl Intervals {
    fn filled(count: u32) -> Self {
        Self { ends: (count > 0).then_some((0, count)).into_iter().collect() }
    }

    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ends.iter().flat_map(|(&start, &end)| start..end)
    }

    fn around(&self, value: u32) -> Option<(u32, u32)> {
        let (&start, &end) = self.ends.range(..=value).next_back()?;
        (value < end).then_some((start, end))
    }

    fn contains(&self, value: u32) -> bool {
        self.around(value).is_some()
    }

    fn insert(&mut self, value: u32) {
        if self.contains(value) {
            return;
        }
        let (mut start, mut end) = (value, value + 1);
        if let Some((before, _)) = value.checked_sub(1).and_then(|before| self.around(before)) {
            start = before;
        }
        if let Some(after) = self.ends.remove(&end) {
            end = after;
        }
        self.ends.insert(start, end);
    }

    fn remove(&mut self, value: u32) {
        let Some((start, end)) = self.around(value) else { return };
        self.ends.remove(&start);
        if start < value {
            self.ends.insert(start, value);
        }
        if value + 1 < end {
            self.ends.insert(value + 1, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE_BLOCK: Appetite = Appetite { level: 0, whole: false };

    fn take(pool: &mut Pool, appetite: Appetite) -> Option<(u32, u32, u32)> {
        let (rect, range) = pool.take(appetite, |_| false)?;
        Some((rect.0, range.start(), range.end(pool.blocks)))
    }

    #[test]
    fn first_block_of_every_rectangle_comes_first() {
        let mut pool = Pool::new(3, 5);
        let large = Appetite { level: 2, whole: false };
        let starts: Vec<_> = (0..3).map(|_| take(&mut pool, large)).collect();
        assert_eq!(starts, [Some((0, 0, 1)), Some((1, 0, 1)), Some((2, 0, 1))]);
        // Blocks 4..5 are the whole of the later half, so they are level 2.
        assert_eq!(take(&mut pool, large), Some((0, 4, 5)));
    }

    #[test]
    fn whole_rectangles_are_taken_whole_by_who_can() {
        let mut pool = Pool::new(3, 8);
        assert_eq!(take(&mut pool, ONE_BLOCK), Some((0, 0, 1)));
        assert_eq!(take(&mut pool, Appetite { level: 3, whole: true }), Some((1, 0, 8)));
        assert_eq!(take(&mut pool, ONE_BLOCK), Some((2, 0, 1)));
        assert_eq!(take(&mut pool, Appetite { level: 3, whole: true }), Some((0, 4, 8)));
    }

    #[test]
    fn scraps_are_left_for_the_end() {
        let mut pool = Pool::new(1, 16);
        let two = Appetite { level: 1, whole: false };
        let taken: Vec<_> = std::iter::from_fn(|| take(&mut pool, two)).collect();
        assert_eq!(
            taken,
            [
                (0, 0, 1),
                (0, 2, 4),
                (0, 4, 6),
                (0, 6, 8),
                (0, 8, 10),
                (0, 10, 12),
                (0, 12, 14),
                (0, 14, 16),
                (0, 1, 2)
            ]
        );
        assert!(pool.is_exhausted());
    }

    #[test]
    fn barred_rectangles_are_passed_over() {
        let mut pool = Pool::new(2, 2);
        let taken = pool.take(ONE_BLOCK, |rect| rect.0 == 0).expect("rectangle 1 is not barred");
        assert_eq!(taken.0, RectIndex(1));
        assert_eq!(pool.take(ONE_BLOCK, |_| true), None);
    }

    #[test]
    fn intervals_behave_like_a_set() {
        proptest!(|(operations in prop::collection::vec((0u32..12, any::<bool>()), 0..60))| {
            let mut intervals = Intervals::filled(6);
            let mut model: BTreeSet<u32> = (0..6).collect();
            for (value, insert) in operations {
                if insert { intervals.insert(value); model.insert(value); }
                else { intervals.remove(value); model.remove(&value); }
                prop_assert!(intervals.iter().eq(model.iter().copied()));
                prop_assert!(intervals.ends.iter().zip(intervals.ends.iter().skip(1)).all(|(a, b)| a.1 < b.0));
            }
        });
    }

    /// Every block is free or in `held`, and in one of them only.
    fn is_partition(pool: &Pool, rects: u32, held: &[(RectIndex, BlockRange)]) -> bool {
        let mut seen = vec![0u32; (rects * pool.blocks) as usize];
        for (rect, range) in pool.free().chain(held.iter().copied()) {
            for block in range.start()..range.end(pool.blocks) {
                seen[(rect.0 * pool.blocks + block) as usize] += 1;
            }
        }
        seen.iter().all(|count| *count == 1)
    }

    #[test]
    fn free_and_taken_ranges_are_always_a_partition() {
        let step = (0u8..3, 0u8..6, any::<bool>(), any::<u32>());
        proptest!(|(rects in 1u32..5, blocks in 1u32..20, steps in prop::collection::vec(step, 0..80))| {
            let mut pool = Pool::new(rects, blocks);
            let mut held: Vec<(RectIndex, BlockRange)> = Vec::new();
            for (kind, level, whole, draw) in steps {
                match kind {
                    0 => held.extend(pool.take(Appetite { level, whole }, |_| false)),
                    1 if !held.is_empty() => {
                        let (rect, range) = held.swap_remove(draw as usize % held.len());
                        pool.give_back(rect, range);
                    }
                    _ => {
                        let rect = RectIndex(draw % rects);
                        let level = level.min(pool.root.level);
                        let range = BlockRange { level, index: draw / rects % (1 << (pool.root.level - level)) };
                        let taken = held.iter().any(|(r, other)| {
                            *r == rect && (other.contains(&range) || range.contains(other))
                        });
                        if !range.is_empty(blocks) {
                            let carved = pool.carve(rect, range);
                            prop_assert_eq!(carved, !taken);
                            held.extend(carved.then_some((rect, range)));
                        }
                    }
                }
                prop_assert_eq!(pool.audit(), Ok(()));
                prop_assert!(is_partition(&pool, rects, &held));
            }
            for (rect, range) in held {
                pool.give_back(rect, range);
            }
            prop_assert_eq!(pool, Pool::new(rects, blocks), "all that is given back merges into what it was");
        });
    }
}
