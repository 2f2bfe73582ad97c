//! Leases of which a node delivers a part, because it gave way before the end.
//!
//! The part is accepted like any tile. What is left of the lease stays lent, as the
//! few ranges that remain of it, until the node delivers more, hands the lease back
//! or is gone.

use super::floor::Floor;
use super::node::Held;
use super::pool::Lent;
use super::state::State;
use crate::id::{LeaseId, NodeId};
use crate::tile::{BlockRange, TileId};

impl Floor {
    /// What is lent by a lease.
    pub(super) fn lent_ranges(&self, id: NodeId, lease: LeaseId) -> Vec<BlockRange> {
        let Some(node) = self.nodes.get(&id) else { return Vec::new() };
        match (node.parted.get(&lease), node.leases.get(&lease)) {
            (Some(ranges), _) => ranges.clone(),
            (None, Some(held)) => vec![held.tile.range],
            (None, None) => Vec::new(),
        }
    }

    /// Whether all that is lent by a lease is this one range.
    fn lends_exactly(&self, id: NodeId, lease: LeaseId, range: BlockRange) -> bool {
        let Some(node) = self.nodes.get(&id) else { return false };
        match (node.parted.get(&lease), node.leases.get(&lease)) {
            (Some(ranges), _) => ranges[..] == [range],
            (None, Some(held)) => held.tile.range == range,
            (None, None) => false,
        }
    }

    /// Takes a part of a lease out of what is lent by it; false if it is none, or all
    /// of it, or not lent any more. The part is neither free nor lent after this. A
    /// lease of which nothing is left ends.
    pub(super) fn part(&mut self, state: &State, id: NodeId, lease: LeaseId, part: &TileId) -> bool {
        let Some(leased) = self.tile_of(id, lease).filter(|leased| leased.contains(part)) else {
            return false;
        };
        // A copy is not what the pool has lent.
        if self.nodes.get(&id).and_then(|node| node.leases.get(&lease)).is_some_and(|held| held.is_backup) {
            return false;
        }
        if self.lends_exactly(id, lease, part.range) {
            return false;
        }
        let mut ranges = self.lent_ranges(id, lease);
        let Some(at) = ranges.iter().position(|range| range.contains(&part.range)) else { return false };
        let Some(pool) = self.jobs.get_mut(&leased.job).and_then(|desk| desk.pools.get_mut(&leased.frame))
        else {
            return false;
        };
        let mut range = ranges.swap_remove(at);
        pool.take_home(part.rect, range);
        while let Some([earlier, later]) = range.halves().filter(|_| range != part.range) {
            let (inside, beside) =
                if earlier.contains(&part.range) { (earlier, later) } else { (later, earlier) };
            if !beside.is_empty(pool.blocks()) {
                ranges.push(beside);
            }
            range = inside;
        }
        for range in &ranges {
            pool.lend(part.rect, Lent { range: *range, node: id, lease });
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            let is_empty = ranges.is_empty();
            node.parted.insert(lease, ranges);
            if is_empty {
                self.finish(state, id, lease);
            }
        }
        true
    }

    /// Ends a lease whose tile, or what was left of it, this is.
    pub(super) fn finish_exactly(
        &mut self,
        state: &State,
        id: NodeId,
        lease: LeaseId,
        tile: &TileId,
    ) -> Option<Held> {
        let is_its = self.tile_of(id, lease).is_some_and(|leased| leased.contains(tile))
            && self.lends_exactly(id, lease, tile.range);
        if is_its { self.finish(state, id, lease) } else { None }
    }
}
