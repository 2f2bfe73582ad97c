//! The recorded state: what the journal's facts add up to, and nothing else.
//!
//! [`State::apply`] only records and never chooses, and is the one path by
//! which the state changes, live and on restore alike; so a restored state
//! equals the recorded one. A snapshot stands for the facts before it. Where a
//! job stands is computed from this, never stored.

mod snapshot;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use self::snapshot::{
    Entry, FailureCountPart, HoldPart, JobPart, SNAPSHOT_VERSION, SnapshotError, SnapshotPart, StrikePart,
    TilePart,
};
use super::blocklist::FailureCounts;
use super::fact::Fact;
use crate::id::{BlobDigest, FrameNumber, JobId, NodeId, OwnerId};
use crate::job::{FrameRange, JobSpec, Resolution};
use crate::limits::Limits;
use crate::plan;
use crate::tile::{BlockRange, Rect, RectIndex, TileId};
use crate::time::Timestamp;

/// Everything that survives the scheduler's life.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    strikes_per_tile: usize,
    attempts_per_tile: u32,
    failure_messages: usize,
    pub(super) jobs: BTreeMap<JobId, JobRecord>,
    /// Jobs that are neither done nor cancelled.
    pub(super) open_jobs: u64,
    /// The nodes that people hold back.
    pub(super) held_back: BTreeMap<NodeId, Hold>,
}

/// How people hold a node back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) drained: bool,
    pub(super) banned: bool,
}

/// What is recorded of a job.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JobRecord {
    pub(super) spec: Box<JobSpec>,
    pub(super) submitted_at: Timestamp,
    /// Who submitted it; unknown of jobs from before owners were recorded.
    pub(super) owner: Option<OwnerId>,
    pub(super) paused: bool,
    pub(super) cancelled: bool,
    /// Rectangles of a frame.
    pub(super) rects: u32,
    /// Rectangles of a row.
    columns: u32,
    /// Base blocks of a pixel.
    pub(super) blocks: u32,
    /// Frames of which a tile was accepted and that are not delivered yet.
    pub(super) frames: BTreeMap<FrameNumber, FrameRecord>,
    pub(super) delivered: BTreeMap<FrameNumber, BlobDigest>,
    /// Rectangles that failed somewhere and are not complete yet.
    pub(super) strikes: BTreeMap<(FrameNumber, RectIndex), Strikes>,
    /// Those of them that failed too often: while there is one, the job failed.
    pub(super) struck_out: BTreeSet<(FrameNumber, RectIndex)>,
    pub(super) failures: VecDeque<String>,
    /// Failures by node that may be the job's fault or the node's.
    pub(super) failed_on: FailureCounts,
    pub(super) rects_done: u64,
    pub(super) samples_done: u64,
    pub(super) rays: u64,
    pub(super) render_us: u64,
    pub(super) results: u64,
}

/// What is recorded of a frame that is not delivered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FrameRecord {
    /// Accepted ranges, disjoint, by rectangle and first block.
    pub(super) tiles: BTreeMap<(RectIndex, u32), Accepted>,
    /// Rectangles that are in the file of the frame, which was delivered before.
    pub(super) kept: BTreeSet<RectIndex>,
    /// Accepted or kept base blocks of each rectangle.
    blocks_done: Vec<u32>,
    pub(super) rects_done: u32,
}

/// A range's result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Accepted {
    pub(super) range: BlockRange,
    pub(super) blob: BlobDigest,
    pub(super) node: NodeId,
}

/// Where a rectangle failed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Strikes {
    /// The distinct nodes; never more than `strikes_per_tile`.
    pub(super) nodes: BTreeSet<NodeId>,
    /// How often in all.
    pub(super) attempts: u32,
}

impl State {
    /// The state before the first fact.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            strikes_per_tile: usize::try_from(limits.strikes_per_tile.max(1)).unwrap_or(usize::MAX),
            attempts_per_tile: limits.attempts_per_tile.max(1),
            failure_messages: limits.failure_messages,
            jobs: BTreeMap::new(),
            open_jobs: 0,
            held_back: BTreeMap::new(),
        }
    }

    /// The number that the next job will have.
    pub(super) fn next_job(&self) -> JobId {
        JobId(self.jobs.last_key_value().map_or(0, |(job, _)| job.0) + 1)
    }

    /// Every blob that a recorded fact names and that somebody may still read:
    /// the scenes of jobs that are not over, and the tiles of their frames that
    /// are not delivered. Some come several times.
    pub fn named_blobs(&self) -> impl Iterator<Item = BlobDigest> + '_ {
        self.jobs.values().flat_map(JobRecord::named_blobs)
    }

    /// Records a fact. One about a job that no fact introduced is passed over:
    /// a journal that lost its head still yields what it can.
    pub(super) fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::JobSubmitted { job, at, spec, owner } => {
                self.jobs.insert(*job, JobRecord::new(spec.clone(), *at, *owner));
                self.open_jobs += 1;
            }
            Fact::JobPaused { job } => self.change(*job, |record| record.paused = true),
            Fact::JobResumed { job } => self.change(*job, |record| record.paused = false),
            Fact::JobCancelled { job } => self.change(*job, JobRecord::cancel),
            Fact::JobRetried { job } => self.change(*job, JobRecord::forget_strikes),
            Fact::JobPrioritized { job, priority } => {
                self.change(*job, |record| record.spec.priority = *priority);
            }
            Fact::JobWeighted { job, weight } => {
                self.change(*job, |record| record.spec.weight = *weight);
            }
            Fact::TilesForgotten { job, frames, region } => {
                self.change(*job, |record| record.forget_tiles(*frames, *region));
            }
            Fact::NodeDrained { node } => self.hold(*node, |hold| hold.drained = true),
            Fact::NodeUndrained { node } => self.hold(*node, |hold| hold.drained = false),
            Fact::NodeBanned { node } => self.hold(*node, |hold| hold.banned = true),
            Fact::NodeForgiven { node } => {
                self.hold(*node, |hold| hold.banned = false);
                for record in self.jobs.values_mut() {
                    record.failed_on.forget(*node);
                }
            }
            Fact::TileAccepted { tile, node, blob, rays, render_us } => {
                let accepted = Accepted { range: tile.range, blob: *blob, node: *node };
                self.change(tile.job, |record| record.accept(tile, accepted, *rays, *render_us));
            }
            Fact::TileFailed { tile, node, kind, message } => {
                let (strikes, attempts) = (self.strikes_per_tile, self.attempts_per_tile);
                let messages = self.failure_messages;
                self.change(tile.job, |record| {
                    record.strike(tile, *node, strikes, attempts);
                    if !record.is_over() {
                        record.failed_on.fail(*node, *kind);
                    }
                    record.failures.push_back(format!("node {node}: {message}"));
                    while record.failures.len() > messages {
                        record.failures.pop_front();
                    }
                });
            }
            Fact::FrameDelivered { job, frame, pixel_digest } => {
                self.change(*job, |record| record.deliver(*frame, *pixel_digest));
            }
        }
    }

    /// How people hold a node back; by default they do not.
    pub(super) fn hold_of(&self, node: NodeId) -> Hold {
        self.held_back.get(&node).copied().unwrap_or_default()
    }

    /// Whether failures of a node are recorded of some job.
    pub(super) fn has_failures_of(&self, node: NodeId) -> bool {
        self.jobs.values().any(|record| record.failed_on.names(node))
    }

    fn hold(&mut self, node: NodeId, change: impl FnOnce(&mut Hold)) {
        let hold = self.held_back.entry(node).or_default();
        change(hold);
        if *hold == Hold::default() {
            self.held_back.remove(&node);
        }
    }

    fn change(&mut self, job: JobId, change: impl FnOnce(&mut JobRecord)) {
        let Some(record) = self.jobs.get_mut(&job) else { return };
        let was_over = record.is_over();
        change(record);
        match (was_over, record.is_over()) {
            (false, true) => self.open_jobs -= 1,
            (true, false) => self.open_jobs += 1,
            (true, true) | (false, false) => {}
        }
    }
}

impl JobRecord {
    fn new(spec: Box<JobSpec>, submitted_at: Timestamp, owner: Option<OwnerId>) -> Self {
        Self {
            rects: plan::rect_count(spec.resolution, spec.tile_size),
            columns: spec.resolution.width.div_ceil(spec.tile_size),
            blocks: spec.settings.blocks(),
            spec,
            submitted_at,
            owner,
            paused: false,
            cancelled: false,
            frames: BTreeMap::new(),
            delivered: BTreeMap::new(),
            strikes: BTreeMap::new(),
            struck_out: BTreeSet::new(),
            failures: VecDeque::new(),
            failed_on: FailureCounts::default(),
            rects_done: 0,
            samples_done: 0,
            rays: 0,
            render_us: 0,
            results: 0,
        }
    }

    /// Whether nothing will ever be granted again.
    pub(super) fn is_over(&self) -> bool {
        self.cancelled || self.is_delivered()
    }

    fn named_blobs(&self) -> impl Iterator<Item = BlobDigest> + '_ {
        // Named one by one, so that whoever adds a field thinks of its blobs;
        // those in `delivered` are digests of pixels.
        let Self {
            spec,
            frames,
            submitted_at: _,
            owner: _,
            paused: _,
            cancelled: _,
            rects: _,
            columns: _,
            blocks: _,
            delivered: _,
            strikes: _,
            struck_out: _,
            failures: _,
            failed_on: _,
            rects_done: _,
            samples_done: _,
            rays: _,
            render_us: _,
            results: _,
        } = self;
        let scenes = (!self.is_over()).then(|| spec.all_blobs());
        let tiles = frames.values().flat_map(|frame| frame.tiles.values().map(|tile| tile.blob));
        scenes.into_iter().flatten().chain(tiles)
    }

    /// Whether every frame is delivered.
    pub(super) fn is_delivered(&self) -> bool {
        self.delivered.len() as u64 >= self.spec.frames.count()
    }

    /// Whether a tile failed too often.
    pub(super) fn is_failed(&self) -> bool {
        !self.struck_out.is_empty()
    }

    /// Whether its tiles may be granted now.
    pub(super) fn is_grantable(&self) -> bool {
        !self.paused && !self.is_failed() && !self.is_over()
    }

    /// Samples of the whole job.
    pub(super) fn samples(&self) -> u64 {
        self.spec.samples()
    }

    /// Whether nothing is left to render of a frame.
    pub(super) fn is_complete(&self, frame: FrameNumber) -> bool {
        self.delivered.contains_key(&frame)
            || self.frames.get(&frame).is_some_and(|record| record.rects_done == self.rects)
    }

    /// Whether a tile is one of this job's plan.
    pub(super) fn plans(&self, tile: &TileId) -> bool {
        let frames = self.spec.frames;
        (frames.first..=frames.last).contains(&tile.frame)
            && tile.rect.0 < self.rects
            && tile.range.level < 32
            && BlockRange::root(self.blocks).contains(&tile.range)
            && !tile.range.is_empty(self.blocks)
    }

    /// Accepted or kept base blocks of a tile's rectangle.
    pub(super) fn blocks_done(&self, tile: &TileId) -> u32 {
        let frame = self.frames.get(&tile.frame);
        frame.and_then(|frame| frame.blocks_done.get(tile.rect.0 as usize)).copied().unwrap_or(0)
    }

    /// Whether some samples of a tile are accepted.
    pub(super) fn has_part_of(&self, tile: &TileId) -> bool {
        if self.delivered.contains_key(&tile.frame) {
            return true;
        }
        let Some(frame) = self.frames.get(&tile.frame) else { return false };
        if frame.kept.contains(&tile.rect) {
            return true;
        }
        let end = tile.range.end(self.blocks);
        let before_end = frame.tiles.range(..(tile.rect, end)).next_back();
        before_end.is_some_and(|((rect, _), accepted)| {
            *rect == tile.rect && accepted.range.end(self.blocks) > tile.range.start()
        })
    }

    /// The rectangle at a place of the plan, if it is there.
    pub(super) fn rect(&self, index: RectIndex) -> Option<Rect> {
        let JobSpec { resolution, tile_size, .. } = *self.spec;
        (index.0 < self.rects).then(|| plan::rect_in(resolution, tile_size, self.columns, index))
    }

    /// Samples of a tile of this job's plan, over all its pixels.
    pub(super) fn samples_of(&self, tile: &TileId) -> u64 {
        let rect = self.rect(tile.rect);
        let per_pixel = tile.range.samples(self.spec.settings.samples_per_pixel);
        rect.map_or(0, |rect| rect.area() * u64::from(per_pixel))
    }

    /// The job's frames among these.
    pub(super) fn frames_in(
        &self,
        frames: FrameRange,
    ) -> impl DoubleEndedIterator<Item = FrameNumber> + use<> {
        let first = frames.first.max(self.spec.frames.first);
        FrameRange { first, last: frames.last.min(self.spec.frames.last) }.iter()
    }

    /// The rectangles that share a pixel with a region; all where there is none.
    pub(super) fn rects_in(&self, region: Option<Rect>) -> impl Iterator<Item = RectIndex> + use<> {
        let Resolution { width, height } = self.spec.resolution;
        let region = region.unwrap_or(Rect { x: 0, y: 0, width, height });
        plan::rects_in(self.spec.resolution, self.spec.tile_size, region)
    }

    /// Whether some samples of a region of a frame are accepted.
    pub(super) fn has_any_of(&self, frame: FrameNumber, region: Option<Rect>) -> bool {
        let record = self.frames.get(&frame);
        self.delivered.contains_key(&frame)
            || record.is_some_and(|record| self.rects_in(region).any(|rect| record.has_any_of(rect)))
    }

    fn forget_tiles(&mut self, frames: FrameRange, region: Option<Rect>) {
        if self.cancelled {
            return;
        }
        for frame in self.frames_in(frames) {
            if self.delivered.remove(&frame).is_some() {
                self.frames.insert(frame, FrameRecord::delivered(self.rects, self.blocks));
            }
            let Some(mut record) = self.frames.remove(&frame) else { continue };
            let done = record.rects_done;
            for rect in self.rects_in(region) {
                for range in record.forget(rect, self.blocks) {
                    let samples = self.samples_of(&TileId { job: JobId(0), frame, rect, range });
                    self.samples_done = self.samples_done.saturating_sub(samples);
                }
            }
            self.rects_done -= u64::from(done - record.rects_done);
            // A frame of which nothing is left has not been begun.
            if !record.is_empty() {
                self.frames.insert(frame, record);
            }
        }
    }

    fn cancel(&mut self) {
        self.cancelled = true;
        self.frames.clear();
        self.forget_strikes();
    }

    fn forget_strikes(&mut self) {
        self.failed_on.clear();
        self.strikes.clear();
        self.struck_out.clear();
    }

    fn accept(&mut self, tile: &TileId, accepted: Accepted, rays: u64, render_us: u64) {
        self.failed_on.deliver(accepted.node);
        self.results += 1;
        self.samples_done = self.samples_done.saturating_add(self.samples_of(tile));
        self.rays = self.rays.saturating_add(rays);
        self.render_us = self.render_us.saturating_add(render_us);
        let (rects, blocks) = (self.rects, self.blocks);
        let frame = self.frames.entry(tile.frame).or_insert_with(|| FrameRecord::new(rects));
        if frame.accept(tile, accepted, blocks) {
            self.rects_done += 1;
            self.strikes.remove(&(tile.frame, tile.rect));
            self.struck_out.remove(&(tile.frame, tile.rect));
        }
    }

    fn strike(&mut self, tile: &TileId, node: NodeId, strikes: usize, attempts: u32) {
        let place = (tile.frame, tile.rect);
        let struck = self.strikes.entry(place).or_default();
        struck.attempts = struck.attempts.saturating_add(1);
        if struck.nodes.len() < strikes {
            struck.nodes.insert(node);
        }
        if struck.is_out(strikes, attempts) {
            self.struck_out.insert(place);
        }
    }

    fn deliver(&mut self, frame: FrameNumber, pixel_digest: BlobDigest) {
        self.delivered.insert(frame, pixel_digest);
        self.frames.remove(&frame);
        if self.is_delivered() {
            self.failed_on.clear();
        }
    }
}

impl Strikes {
    /// Whether that is too often.
    fn is_out(&self, strikes_per_tile: usize, attempts_per_tile: u32) -> bool {
        self.nodes.len() >= strikes_per_tile || self.attempts >= attempts_per_tile
    }
}

impl FrameRecord {
    fn new(rects: u32) -> Self {
        Self {
            tiles: BTreeMap::new(),
            kept: BTreeSet::new(),
            blocks_done: vec![0; rects as usize],
            rects_done: 0,
        }
    }

    /// A frame that was delivered, with every rectangle in its file.
    fn delivered(rects: u32, blocks: u32) -> Self {
        Self {
            tiles: BTreeMap::new(),
            kept: (0..rects).map(RectIndex).collect(),
            blocks_done: vec![blocks; rects as usize],
            rects_done: rects,
        }
    }

    /// Notes that a rectangle of `blocks` base blocks is in the frame's file.
    fn keep(&mut self, rect: RectIndex, blocks: u32) {
        let Some(done) = self.blocks_done.get_mut(rect.0 as usize) else { return };
        if self.kept.insert(rect) {
            self.rects_done += u32::from(*done != blocks);
            *done = blocks;
        }
    }

    /// Forgets what there is of a rectangle of `blocks` base blocks; the ranges.
    fn forget(&mut self, rect: RectIndex, blocks: u32) -> Vec<BlockRange> {
        let Some(done) = self.blocks_done.get_mut(rect.0 as usize) else { return Vec::new() };
        self.rects_done -= u32::from(*done == blocks);
        *done = 0;
        if self.kept.remove(&rect) {
            return vec![BlockRange::root(blocks)];
        }
        let place = (rect, 0)..=(rect, u32::MAX);
        let forgotten: Vec<_> = self.tiles.range(place).map(|(_, accepted)| accepted.range).collect();
        for range in &forgotten {
            self.tiles.remove(&(rect, range.start()));
        }
        forgotten
    }

    fn is_empty(&self) -> bool {
        self.tiles.is_empty() && self.kept.is_empty()
    }

    /// Whether some samples of a rectangle are accepted or kept.
    fn has_any_of(&self, rect: RectIndex) -> bool {
        self.blocks_done.get(rect.0 as usize).is_some_and(|done| *done > 0)
    }

    /// Records a result; whether it completed its rectangle.
    fn accept(&mut self, tile: &TileId, accepted: Accepted, blocks: u32) -> bool {
        self.tiles.insert((tile.rect, tile.range.start()), accepted);
        let Some(done) = self.blocks_done.get_mut(tile.rect.0 as usize) else { return false };
        *done += tile.range.end(blocks) - tile.range.start();
        let complete = *done == blocks;
        self.rects_done += u32::from(complete);
        complete
    }
}
