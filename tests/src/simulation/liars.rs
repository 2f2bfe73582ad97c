//! Nodes that say what is not so: they invent leases, results, progress and
//! failures. The wire and the checks of tiles are between them and the scheduler,
//! so what they say is well formed, and no forged picture passes.

use farm_core::scheduler::{FailureKind, HeldLease};
use farm_core::{BlobDigest, BlockRange, FrameNumber, JobId, LeaseId, RectIndex, TileId, plan};

use super::check::honest_blob;
use super::node::Kept;
use super::world::{ToMaster, World};

impl World {
    /// One lie of a node that lies, if it is connected.
    pub(super) fn lie(&mut self, node: usize) {
        if !self.nodes[node].plan.lies || self.is_healed() {
            return;
        }
        let Some(connection) = self.nodes[node].process.as_ref().and_then(|process| process.connection)
        else {
            return;
        };
        let Some(tile) = self.draw_tile() else { return };
        // Whoever holds it, or is granted it next, may render it in vain.
        self.excuse_tile(&tile);
        let lease = self.draw_lease(node);
        let message = match self.random.between(0, 4) {
            0 => ToMaster::Progress { lease, samples: self.random.next() >> 1 },
            1 => {
                let kinds = [FailureKind::Render, FailureKind::DeviceLost, FailureKind::HandedBack];
                let kind = kinds[self.random.index(3)];
                ToMaster::Failed { lease, kind, message: "an invented failure".into() }
            }
            2 => {
                let render_us = self.random.next() >> self.random.between(0, 60);
                ToMaster::Tile { lease, kept: Kept { tile, blob: honest_blob(&tile), render_us } }
            }
            3 => ToMaster::Tile { lease, kept: Kept { tile, blob: BlobDigest([0xee; 32]), render_us: 0 } },
            _ => {
                self.nodes[node].invents_leases = true;
                let held = (0..self.random.between(1, 9)).filter_map(|_| {
                    Some(HeldLease { lease: LeaseId(self.random.between(0, 50)), tile: self.draw_tile()? })
                });
                let holding: Vec<_> = held.collect();
                for held in &holding {
                    self.excuse_tile(&held.tile);
                }
                self.excuse_holdings(node);
                ToMaster::Hello { lanes: 70, holding }
            }
        };
        self.send_to_master(connection, message);
    }

    /// Nodes that lied are found out and start anew, once.
    pub(super) fn dismiss_liars(&mut self) {
        for node in 0..self.nodes.len() {
            if std::mem::take(&mut self.nodes[node].plan.lies) {
                self.kill_node(node);
            }
        }
    }

    /// A lease that the node holds, or a number out of the air.
    fn draw_lease(&mut self, node: usize) -> LeaseId {
        let held = self.nodes[node].process.as_ref().map(|process| process.agent.holding());
        let held = held.unwrap_or_default();
        if held.is_empty() || self.random.chance(500) {
            return LeaseId(self.random.between(0, 50));
        }
        let held = held[self.random.index(held.len())];
        self.excuse_tile(&held.tile);
        held.lease
    }

    /// A tile of a committed job, now and then one that its plan does not have.
    fn draw_tile(&mut self) -> Option<TileId> {
        let jobs: Vec<JobId> = self.ledger.specs.keys().copied().collect();
        if jobs.is_empty() {
            return None;
        }
        let job = jobs[self.random.index(jobs.len())];
        let spec = &self.ledger.specs[&job];
        let rects = u64::from(plan::rect_count(spec.resolution, spec.tile_size));
        let (blocks, frames) = (spec.settings.blocks(), spec.frames);
        let beyond = u64::from(self.random.chance(20));
        let mut small = |low, high| u32::try_from(self.random.between(low, high)).expect("a small number");
        let level = small(0, u64::from(BlockRange::root(blocks).level) + beyond);
        let level = u8::try_from(level).expect("a level is small");
        let frame = FrameNumber(small(frames.first.0.into(), u64::from(frames.last.0) + beyond));
        let index = small(0, u64::from((blocks - 1) >> level) + beyond);
        Some(TileId {
            job,
            frame,
            rect: RectIndex(small(0, rects - 1 + beyond)),
            range: BlockRange { level, index },
        })
    }
}
