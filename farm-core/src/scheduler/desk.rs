//! What the floor keeps of an open job: its begun frames and what is lent.

use std::collections::{BTreeMap, BTreeSet};

use super::backup::Place;
use super::blocklist::FailureCounts;
use super::cost::FrameCosts;
use super::fit::Profile;
use super::pool::{Lent, Pool};
use super::share::{ReadyKey, Stake};
use super::state::JobRecord;
use crate::id::{FrameNumber, NodeId};
use crate::tile::BlockRange;
use crate::time::Timestamp;

/// The volatile half of a job that is not over.
#[derive(Debug)]
pub(super) struct Desk {
    /// Its key in `Floor::ready`.
    pub(super) ready: Option<ReadyKey>,
    /// Its part in the fair share.
    pub(super) stake: Stake,
    /// What it needs of a node.
    pub(super) profile: Profile,
    /// Nodes that work on it.
    pub(super) assigned: u32,
    /// What the lanes of those of them that may work have of power.
    pub(super) power: u64,
    /// Nodes that hold leases of it.
    pub(super) busy_nodes: u32,
    pub(super) leases: u32,
    pub(super) leased_samples: u64,
    /// Copies of lent ranges, which no other count has.
    pub(super) backups: BTreeMap<Place, Lent>,
    /// What the rectangles of begun frames cost.
    pub(super) costs: BTreeMap<FrameNumber, FrameCosts>,
    /// Samples that were granted as copies.
    pub(super) backup_samples: u64,
    /// Its entry in the timers.
    pub(super) survey_timer: Option<Timestamp>,
    /// Frames that were begun and are not complete.
    pub(super) pools: BTreeMap<FrameNumber, Pool>,
    /// Those of them in which something is free.
    pub(super) free_frames: BTreeSet<FrameNumber>,
    /// No frame from this one on was begun in order; beyond the last, none is left.
    pub(super) next_frame: u64,
    /// Nodes that cannot take it.
    pub(super) excluded: BTreeSet<NodeId>,
    /// Nodes that failed on it too often, connected or not.
    pub(super) blocked: BTreeSet<NodeId>,
    /// Failures on it that were the nodes' own trouble.
    pub(super) troubled: FailureCounts,
    /// Complete frames whose files are not written yet.
    pub(super) assembling: BTreeMap<FrameNumber, Assembling>,
    /// The last failure that was not the job's fault, for people.
    pub(super) trouble: Option<String>,
}

/// A complete frame whose files are not written yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Assembling {
    pub(super) failures: u32,
    /// Whether it waits for another attempt.
    pub(super) waiting: bool,
}

impl Desk {
    pub(super) fn new(record: &JobRecord, profile: Profile) -> Self {
        Self {
            ready: None,
            stake: Stake::new(record.spec.priority, record.spec.weight),
            profile,
            assigned: 0,
            power: 0,
            busy_nodes: 0,
            leases: 0,
            leased_samples: 0,
            backups: BTreeMap::new(),
            costs: BTreeMap::new(),
            backup_samples: 0,
            survey_timer: None,
            pools: BTreeMap::new(),
            free_frames: BTreeSet::new(),
            next_frame: record.spec.frames.first.0.into(),
            excluded: BTreeSet::new(),
            blocked: BTreeSet::new(),
            troubled: FailureCounts::default(),
            assembling: BTreeMap::new(),
            trouble: None,
        }
    }

    /// Moves `next_frame` past the frames that are begun or complete. Each
    /// frame is passed once, and once again when tiles of it or of an earlier
    /// one were forgotten.
    pub(super) fn pass_begun_frames(&mut self, record: &JobRecord) {
        while self.next_frame <= record.spec.frames.last.0.into() {
            let frame =
                FrameNumber(u32::try_from(self.next_frame).expect("not beyond the last frame, a u32"));
            if !self.pools.contains_key(&frame) && !record.is_complete(frame) {
                return;
            }
            self.next_frame += 1;
        }
    }

    /// The next frame in order that was not begun yet, begun.
    pub(super) fn begin_next_frame(&mut self, record: &JobRecord) -> Option<FrameNumber> {
        self.pass_begun_frames(record);
        let frame = FrameNumber(u32::try_from(self.next_frame).ok()?);
        if frame > record.spec.frames.last {
            return None;
        }
        self.begin_frame(record, frame)?;
        self.next_frame += 1;
        Some(frame)
    }

    /// The pool of a frame; made from what is recorded if there is none yet,
    /// `None` if the frame is complete.
    pub(super) fn begin_frame(&mut self, record: &JobRecord, frame: FrameNumber) -> Option<&mut Pool> {
        if record.is_complete(frame) {
            return self.pools.get_mut(&frame);
        }
        let free_frames = &mut self.free_frames;
        Some(self.pools.entry(frame).or_insert_with(|| {
            free_frames.insert(frame);
            unaccepted(record, frame)
        }))
    }

    /// Makes free again what was forgotten of a frame.
    pub(super) fn reopen_frame(&mut self, record: &JobRecord, frame: FrameNumber) {
        self.assembling.remove(&frame);
        self.costs.remove(&frame);
        self.next_frame = self.next_frame.min(frame.0.into());
        let Some(pool) = self.pools.get_mut(&frame) else { return };
        let mut fresh = unaccepted(record, frame);
        for (rect, lent) in pool.lent() {
            fresh.carve(rect, lent.range);
            fresh.lend(rect, lent);
        }
        *pool = fresh;
        if pool.is_exhausted() {
            self.free_frames.remove(&frame);
        } else {
            self.free_frames.insert(frame);
        }
    }
}

/// A pool of all that is not accepted of a frame.
fn unaccepted(record: &JobRecord, frame: FrameNumber) -> Pool {
    let mut pool = Pool::new(record.rects, record.blocks);
    let Some(frame) = record.frames.get(&frame) else { return pool };
    for ((rect, _), accepted) in &frame.tiles {
        pool.carve(*rect, accepted.range);
    }
    for rect in &frame.kept {
        pool.carve(*rect, BlockRange::root(record.blocks));
    }
    pool
}
