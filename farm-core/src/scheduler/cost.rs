//! What is left of a job, foretold from what its rectangles cost so far.
//!
//! The first block of every rectangle of a frame comes first, so that soon after
//! a frame was begun it is known of each rectangle what its other blocks will
//! cost. What was not begun is taken to cost what the job's samples cost on
//! average. All of it is work, which a node of any power can be compared by.

use super::desk::Desk;
use super::share;
use super::state::JobRecord;
use crate::tile::TileId;

/// What the rectangles of a begun frame cost.
#[derive(Debug)]
pub(super) struct FrameCosts {
    /// Of each rectangle, the work of a base block, 0 where it is not known, and
    /// how many were left when that was last noted.
    rects: Vec<(u64, u32)>,
    /// The work of all that was noted as left, and its base blocks.
    left: u64,
    left_blocks: u64,
}

impl FrameCosts {
    fn new(rects: u32) -> Self {
        Self { rects: vec![(0, 0); rects as usize], left: 0, left_blocks: 0 }
    }

    /// Takes a result of `blocks` base blocks in, after which `left` are left.
    fn note(&mut self, rect: usize, work: u64, blocks: u32, left: u32) {
        let Some((cost, noted)) = self.rects.get_mut(rect) else { return };
        self.left -= cost.saturating_mul((*noted).into());
        self.left_blocks -= u64::from(*noted);
        let measured = (work / u64::from(blocks.max(1))).max(1);
        // Blocks of a rectangle are alike: the latest counts as much as all before.
        *cost = if *cost == 0 { measured } else { *cost / 2 + measured / 2 }.clamp(1, MOST);
        *noted = left;
        self.left += cost.saturating_mul(left.into());
        self.left_blocks += u64::from(left);
    }
}

/// Of a block, so that those of a frame of 2^28 pixels do not overflow.
const MOST: u64 = 1 << 32;

impl Desk {
    /// Notes what a result of this job cost. Frames of a single base block, of
    /// which nothing is left then, are not kept.
    pub(super) fn note_cost(&mut self, record: &JobRecord, tile: &TileId, work: u64) {
        if record.blocks <= 1 || record.is_complete(tile.frame) {
            self.costs.remove(&tile.frame);
            return;
        }
        let blocks = tile.range.end(record.blocks) - tile.range.start();
        let left = record.blocks - record.blocks_done(tile);
        let costs = self.costs.entry(tile.frame).or_insert_with(|| FrameCosts::new(record.rects));
        costs.note(tile.rect.0 as usize, work, blocks, left);
    }

    /// The work that is left of the job, as far as anything is known of it.
    pub(super) fn work_left(&self, record: &JobRecord) -> Option<u64> {
        let cost = self.stake.cost.known()?;
        let known = self.costs.values();
        let work: u64 = known.clone().map(|costs| costs.left).fold(0, u64::saturating_add);
        let blocks: u64 = known.map(|costs| costs.left_blocks).sum();
        let area = u64::from(record.spec.tile_size).pow(2).min(record.spec.resolution.area());
        let known = blocks.saturating_mul(area).saturating_mul(crate::tile::BASE_BLOCK_SAMPLES.into());
        let unknown = record.samples().saturating_sub(record.samples_done).saturating_sub(known);
        Some(work.saturating_add(share::work_of(cost, unknown)))
    }

    /// How long the nodes that work on the job now will take, in milliseconds.
    pub(super) fn time_left_ms(&self, record: &JobRecord) -> Option<u64> {
        let work = self.work_left(record)?;
        (self.power > 0 && self.leases > 0).then(|| share::time_of(work, self.power) / 1000)
    }
}
