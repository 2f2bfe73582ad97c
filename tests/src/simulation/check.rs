//! One checker for each property, in its own words and from its own books.

use std::collections::{BTreeMap, BTreeSet};

use farm_core::scheduler::{Fact, Lease};
use farm_core::{
    BlobDigest, FrameNumber, FrameRange, JobId, JobSpec, Limits, NodeId, Rect, RectIndex, TileId, plan,
};

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{property}: {what}")]
pub struct Violation {
    /// The property.
    pub property: &'static str,
    /// What was seen instead.
    pub what: String,
}

pub(super) type Checked = Result<(), Violation>;

pub(super) fn ensure(holds: bool, property: &'static str, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation { property, what: what() }) }
}

/// The blob that an honest node delivers for a tile: names it exactly.
pub(super) fn honest_blob(tile: &TileId) -> BlobDigest {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&tile.job.0.to_le_bytes());
    bytes[8..12].copy_from_slice(&tile.frame.0.to_le_bytes());
    bytes[12..16].copy_from_slice(&tile.rect.0.to_le_bytes());
    bytes[16..20].copy_from_slice(&tile.range.index.to_le_bytes());
    bytes[20] = tile.range.level;
    BlobDigest(bytes)
}

/// Samples of a tile, over all its pixels.
pub(super) fn samples_of(spec: &JobSpec, tile: &TileId) -> u64 {
    let rect = plan::rect_at(spec.resolution, spec.tile_size, tile.rect).expect("the tile is in the plan");
    rect.area() * u64::from(tile.range.samples(spec.settings.samples_per_pixel))
}

/// What a journal proves, kept fact by fact as they are committed.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) specs: BTreeMap<JobId, Box<JobSpec>>,
    /// How often each base block of a rectangle was accepted, since it was last
    /// forgotten.
    blocks: BTreeMap<(JobId, FrameNumber, RectIndex), Vec<u8>>,
    /// Tiles that were ever accepted.
    tiles: BTreeSet<TileId>,
    accepted_samples: BTreeMap<JobId, u64>,
    delivered: BTreeSet<(JobId, FrameNumber)>,
    cancelled: BTreeSet<JobId>,
    held_back: HeldBack,
}

/// Nodes that people hold back, from the facts alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HeldBack {
    drained: BTreeSet<NodeId>,
    banned: BTreeSet<NodeId>,
}

impl HeldBack {
    fn record(&mut self, fact: &Fact) {
        match fact {
            Fact::NodeDrained { node } => drop(self.drained.insert(*node)),
            Fact::NodeUndrained { node } => drop(self.drained.remove(node)),
            Fact::NodeBanned { node } => drop(self.banned.insert(*node)),
            Fact::NodeForgiven { node } => drop(self.banned.remove(node)),
            _ => {}
        }
    }
}

impl Ledger {
    /// Property: each block of each rectangle is accepted at most once, with
    /// the result that was rendered for it, in a job that was submitted.
    pub(super) fn commit(&mut self, fact: &Fact) -> Checked {
        match fact {
            Fact::JobSubmitted { job, spec, .. } => {
                ensure(!self.specs.contains_key(job), "job numbers are unique", || format!("{job} twice"))?;
                self.specs.insert(*job, spec.clone());
            }
            Fact::TileAccepted { tile, node, blob, .. } => return self.accept(tile, *node, *blob),
            Fact::TilesForgotten { job, frames, region } => self.forget(*job, *frames, *region),
            Fact::FrameDelivered { job, frame, .. } => {
                ensure(self.is_covered(*job, *frame), "only complete frames are delivered", || {
                    format!("job {job}, frame {frame}")
                })?;
                let first = self.delivered.insert((*job, *frame));
                ensure(first, "a frame is delivered once", || format!("job {job}, frame {frame}"))?;
            }
            Fact::JobCancelled { job } => {
                self.cancelled.insert(*job);
            }
            Fact::JobPaused { .. }
            | Fact::JobResumed { .. }
            | Fact::JobRetried { .. }
            | Fact::JobPrioritized { .. }
            | Fact::JobWeighted { .. }
            | Fact::TileFailed { .. } => {}
            Fact::NodeDrained { .. }
            | Fact::NodeUndrained { .. }
            | Fact::NodeBanned { .. }
            | Fact::NodeForgiven { .. } => self.held_back.record(fact),
        }
        Ok(())
    }

    /// What is forgotten may be accepted, and the frame delivered, once more.
    fn forget(&mut self, job: JobId, frames: FrameRange, region: Option<Rect>) {
        let Some(spec) = self.specs.get(&job) else { return };
        let (width, height) = (spec.resolution.width, spec.resolution.height);
        let region = region.unwrap_or(Rect { x: 0, y: 0, width, height });
        let first = frames.first.max(spec.frames.first);
        for frame in (FrameRange { first, last: frames.last.min(spec.frames.last) }).iter() {
            self.delivered.remove(&(job, frame));
            for rect in plan::rects_in(spec.resolution, spec.tile_size, region) {
                self.blocks.remove(&(job, frame, rect));
            }
        }
    }

    fn accept(&mut self, tile: &TileId, node: NodeId, blob: BlobDigest) -> Checked {
        let banned = self.held_back.banned.contains(&node);
        ensure(!banned, "nothing is taken from banned nodes", || format!("{tile:?} of {node}"))?;
        let property = "each block is accepted at most once";
        let spec = self.specs.get(&tile.job);
        let spec = spec.ok_or_else(|| Violation { property, what: format!("{tile:?} of no job") })?;
        ensure(blob == honest_blob(tile), "only honest results are accepted", || format!("{tile:?}"))?;
        let blocks = spec.settings.blocks();
        let place = (tile.job, tile.frame, tile.rect);
        let counts = self.blocks.entry(place).or_insert_with(|| vec![0; blocks as usize]);
        for block in tile.range.start()..tile.range.end(blocks) {
            let count = &mut counts[block as usize];
            *count += 1;
            ensure(*count == 1, property, || format!("block {block} of {tile:?}"))?;
        }
        *self.accepted_samples.entry(tile.job).or_default() += samples_of(spec, tile);
        self.tiles.insert(*tile);
        Ok(())
    }

    /// Whether every block of every rectangle of a frame was accepted.
    fn is_covered(&self, job: JobId, frame: FrameNumber) -> bool {
        let Some(spec) = self.specs.get(&job) else { return false };
        let rects = plan::rect_count(spec.resolution, spec.tile_size);
        (0..rects).all(|rect| {
            let counts = self.blocks.get(&(job, frame, RectIndex(rect)));
            counts.is_some_and(|counts| counts.iter().all(|count| *count == 1))
        })
    }

    /// Property: a node is told that its tile was accepted only after that was
    /// committed.
    pub(super) fn check_settled(&self, tile: &TileId) -> Checked {
        let covered = self.tiles.contains(tile);
        ensure(covered, "accepted is said only of what is committed", || format!("{tile:?}"))
    }

    /// Property: a lease is sent only after its job was committed.
    pub(super) fn check_grant(&self, lease: &Lease) -> Checked {
        let known = self.specs.contains_key(&lease.tile.job);
        ensure(known, "a lease is sent only of a committed job", || format!("{lease:?}"))
    }

    /// Property: every job ends with each block of each frame accepted and each
    /// frame delivered, or cancelled.
    pub(super) fn check_end(&self) -> Checked {
        for (job, spec) in self.specs.iter().filter(|(job, _)| !self.cancelled.contains(job)) {
            for frame in spec.frames.iter() {
                let done = self.is_covered(*job, frame) && self.delivered.contains(&(*job, frame));
                ensure(done, "every job ends", || format!("job {job}, frame {frame} is not delivered"))?;
            }
        }
        Ok(())
    }

    /// Whether every frame of a job is delivered.
    pub(super) fn is_done(&self, job: JobId) -> bool {
        let frames = self.specs.get(&job).into_iter().flat_map(|spec| spec.frames.iter());
        frames.into_iter().all(|frame| self.delivered.contains(&(job, frame)))
    }

    pub(super) fn is_cancelled(&self, job: JobId) -> bool {
        self.cancelled.contains(&job)
    }

    /// Samples that were ever accepted.
    pub(super) fn accepted_samples(&self) -> u64 {
        self.accepted_samples.values().sum()
    }

    /// The same of each job.
    pub(super) fn accepted_samples_by_job(&self) -> &BTreeMap<JobId, u64> {
        &self.accepted_samples
    }

    pub(super) fn held_back(&self) -> &HeldBack {
        &self.held_back
    }
}

/// Property: nothing is granted to a node that is gone, leaving, resting or held back.
#[derive(Debug, Default)]
pub(super) struct Presence {
    present: BTreeSet<NodeId>,
    resting: BTreeSet<NodeId>,
    held_back: HeldBack,
    /// Every node that ever was banned.
    suspects: BTreeSet<NodeId>,
}

impl Presence {
    pub(super) fn join(&mut self, node: NodeId) {
        self.present.insert(node);
        self.resting.remove(&node);
    }

    pub(super) fn leave(&mut self, node: NodeId) {
        self.present.remove(&node);
        self.resting.remove(&node);
    }

    pub(super) fn rest(&mut self, node: NodeId) {
        if self.present.remove(&node) {
            self.resting.insert(node);
        }
    }

    pub(super) fn resume(&mut self, node: NodeId) {
        if self.resting.remove(&node) {
            self.present.insert(node);
        }
    }

    /// The master died; what was committed holds.
    pub(super) fn restore(&mut self, held_back: &HeldBack) {
        self.present.clear();
        self.resting.clear();
        self.held_back = held_back.clone();
    }

    /// The scheduler wants a fact recorded, which holds from then on.
    pub(super) fn record(&mut self, fact: &Fact) {
        self.held_back.record(fact);
        if let Fact::NodeBanned { node } = fact {
            self.suspects.insert(*node);
        }
    }

    pub(super) fn held_back(&self) -> Vec<NodeId> {
        self.held_back.drained.union(&self.held_back.banned).copied().collect()
    }

    pub(super) fn was_banned(&self, node: NodeId) -> bool {
        self.suspects.contains(&node)
    }

    pub(super) fn check_grant(&self, node: NodeId, lease: &Lease) -> Checked {
        let HeldBack { drained, banned } = &self.held_back;
        ensure(!banned.contains(&node), "nothing is granted to banned nodes", || {
            format!("{lease:?} to {node}")
        })?;
        ensure(!drained.contains(&node), "nothing is granted to drained nodes", || {
            format!("{lease:?} to {node}")
        })?;
        let present = self.present.contains(&node);
        ensure(present, "nothing is granted to departed nodes", || format!("{lease:?} to {node}"))
    }
}

/// Property: samples that were rendered in vain are bounded by the faults: for
/// each lease that a fault touches, at most its whole rectangle, be it that the
/// lease's result comes too late or that the one which replaced it does; and by
/// the copies of late leases, which are at most a twentieth of each job.
#[derive(Debug, Default)]
pub(super) struct Waste {
    rendered: u64,
    excused: u64,
    /// Samples of each job that were granted twice when it was last granted any.
    copied: BTreeMap<JobId, u64>,
    copied_in_all: u64,
}

impl Waste {
    pub(super) fn render(&mut self, samples: u64) {
        self.rendered += samples;
    }

    /// A fault touched a lease.
    pub(super) fn excuse(&mut self, spec: &JobSpec, tile: &TileId) {
        // One that is not in the plan excuses nothing: nobody can render it.
        let rect = plan::rect_at(spec.resolution, spec.tile_size, tile.rect);
        self.excused += rect.map_or(0, |rect| rect.area()) * u64::from(spec.settings.samples_per_pixel);
    }

    /// So many samples of a job are granted twice by now.
    pub(super) fn note_copied(
        &mut self,
        job: JobId,
        copied: u64,
        spec: Option<&JobSpec>,
        limits: &Limits,
    ) -> Checked {
        let before = self.copied.insert(job, copied).unwrap_or(0);
        self.copied_in_all += copied.saturating_sub(before);
        let frame = |spec: &JobSpec| spec.resolution.area() * u64::from(spec.settings.samples_per_pixel);
        let samples = spec.map_or(0, |spec| frame(spec) * spec.frames.count());
        let few = copied <= samples * limits.backup_per_mille / 1000;
        ensure(few, "copies are a small part of the work", || format!("{copied} of {samples} of job {job}"))
    }

    /// Samples that were granted twice.
    pub(super) fn copied(&self) -> u64 {
        self.copied_in_all
    }

    /// A lane gave way within a block, of which so many samples are lost. Property:
    /// that is less than a block.
    pub(super) fn give_way(&mut self, lost: u64, block: u64) -> Checked {
        self.excused += lost;
        ensure(lost < block, "giving way loses less than a block", || format!("{lost} of {block} samples"))
    }

    pub(super) fn wasted(&self, accepted: u64) -> u64 {
        self.rendered.saturating_sub(accepted)
    }

    pub(super) fn check_end(&self, accepted: u64) -> Checked {
        let wasted = self.wasted(accepted);
        let excused = self.excused + self.copied_in_all;
        ensure(wasted <= excused, "wasted samples are bounded by the faults", || {
            format!("{wasted} samples wasted of {} rendered, {excused} excused", self.rendered)
        })
    }
}

/// Property: equal jobs get equal shares, within 5 % of each other, until the first
/// of them is over.
pub(super) fn check_shares(shares: &BTreeMap<JobId, u64>) -> Checked {
    let least = shares.values().min().copied().unwrap_or(0);
    let most = shares.values().max().copied().unwrap_or(0);
    ensure(most - least <= most / 20, "equal jobs get equal shares", || format!("{shares:?}"))
}
