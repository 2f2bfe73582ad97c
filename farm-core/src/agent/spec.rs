//! The jobs that an agent knows, and which of their blobs are in its cache.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{BlobDigest, FrameNumber, JobId};
use crate::job::JobSpec;
use crate::limits::Limits;
use crate::plan;
use crate::scheduler::{FailureKind, Lease};
use crate::tile::{BlockRange, RenderTask, TileId};

/// The jobs that an agent knows.
#[derive(Clone, Debug)]
pub(super) struct Specs {
    jobs: BTreeMap<JobId, Known>,
    cached: BTreeSet<BlobDigest>,
    /// Counts uses, so that the least recently used can be told.
    clock: u64,
}

#[derive(Clone, Debug)]
struct Known {
    /// The spec, or what is wrong with it.
    spec: Result<Box<JobSpec>, String>,
    missing: Missing,
    /// Leases of it that are queued or rendering, by their frames.
    leases: BTreeMap<FrameNumber, u32>,
    used: u64,
}

/// The blobs of a job that are not in the cache.
#[derive(Clone, Debug, Default)]
struct Missing {
    /// Those that every frame needs.
    shared: BTreeSet<BlobDigest>,
    /// Those that only some frames need, by frame.
    own: BTreeMap<FrameNumber, BTreeSet<BlobDigest>>,
    /// The frames that need a blob beside others; only of jobs whose frames have
    /// scenes of their own.
    users: BTreeMap<BlobDigest, Vec<FrameNumber>>,
}

impl Missing {
    fn new(spec: &JobSpec, cached: &BTreeSet<BlobDigest>) -> Self {
        let mut users: BTreeMap<BlobDigest, Vec<FrameNumber>> = BTreeMap::new();
        for (frame, own) in spec.frames.iter().zip(&spec.frame_scenes) {
            for digest in own.blobs.iter().chain([&own.scene]) {
                users.entry(*digest).or_default().push(frame);
            }
        }
        let mut missing = Self { users, ..Self::default() };
        let uncached: BTreeSet<_> = spec.all_blobs().filter(|digest| !cached.contains(digest)).collect();
        uncached.into_iter().for_each(|digest| missing.insert(spec, digest));
        missing
    }

    fn insert(&mut self, spec: &JobSpec, digest: BlobDigest) {
        let is_every_frames = spec.frame_scenes.is_empty() && spec.scene == digest;
        if is_every_frames || spec.blobs.binary_search(&digest).is_ok() {
            self.shared.insert(digest);
        }
        for frame in self.users.get(&digest).into_iter().flatten() {
            self.own.entry(*frame).or_default().insert(digest);
        }
    }

    /// Whether it was among them.
    fn remove(&mut self, digest: &BlobDigest) -> bool {
        let mut was_missing = self.shared.remove(digest);
        for frame in self.users.get(digest).into_iter().flatten() {
            if let Some(own) = self.own.get_mut(frame) {
                was_missing |= own.remove(digest);
                if own.is_empty() {
                    self.own.remove(frame);
                }
            }
        }
        was_missing
    }

    /// Those that a frame needs.
    fn of(&self, frame: FrameNumber) -> impl Iterator<Item = &BlobDigest> {
        self.shared.iter().chain(self.own.get(&frame).into_iter().flatten())
    }
}

/// Why a lease cannot be taken.
#[derive(Debug)]
pub(super) struct Unfit {
    pub(super) kind: FailureKind,
    pub(super) message: String,
}

impl Specs {
    pub(super) fn new(cached: BTreeSet<BlobDigest>) -> Self {
        Self { jobs: BTreeMap::new(), cached, clock: 0 }
    }

    /// Remembers a job; the least recently used one without leases makes room.
    pub(super) fn open(&mut self, job: JobId, spec: Box<JobSpec>, limits: &Limits) {
        self.clock += 1;
        let spec = match spec.validate(limits) {
            Ok(()) => Ok(spec),
            Err(error) => Err(error.to_string()),
        };
        if self.jobs.get(&job).is_some_and(|known| known.spec == spec) {
            return;
        }
        while self.jobs.len() >= limits.specs_per_node.max(1) {
            let unused = self.jobs.iter().filter(|(_, known)| known.leases.is_empty());
            let Some(oldest) = unused.min_by_key(|(_, known)| known.used).map(|(job, _)| *job) else { break };
            self.jobs.remove(&oldest);
        }
        let leases = self.jobs.get_mut(&job).map(|known| std::mem::take(&mut known.leases));
        let leases = leases.unwrap_or_default();
        let missing = spec.as_ref().map_or_else(|_| Missing::default(), |it| Missing::new(it, &self.cached));
        self.jobs.insert(job, Known { spec, missing, leases, used: self.clock });
    }

    /// Forgets the jobs without leases: the master describes them again on the
    /// next connection.
    pub(super) fn forget_unused(&mut self) {
        self.jobs.retain(|_, known| !known.leases.is_empty());
    }

    /// Counts a lease, once it is found to be one of its job's plan.
    pub(super) fn take(&mut self, lease: &Lease) -> Result<(), Unfit> {
        let handed_back = |message: &str| Unfit { kind: FailureKind::HandedBack, message: message.into() };
        let known =
            self.jobs.get_mut(&lease.tile.job).ok_or_else(|| handed_back("its job is not known here"))?;
        let spec = match &known.spec {
            Ok(spec) => spec,
            Err(error) => return Err(Unfit { kind: FailureKind::Render, message: error.clone() }),
        };
        let (tile, blocks) = (lease.tile, spec.settings.blocks());
        let planned = (spec.frames.first..=spec.frames.last).contains(&tile.frame)
            && plan::rect_at(spec.resolution, spec.tile_size, tile.rect) == Some(lease.rect)
            && tile.range.level < 32
            && BlockRange::root(blocks).contains(&tile.range)
            && !tile.range.is_empty(blocks);
        if !planned {
            let message = "the lease is not in its job's plan".into();
            return Err(Unfit { kind: FailureKind::Render, message });
        }
        self.clock += 1;
        known.used = self.clock;
        *known.leases.entry(tile.frame).or_default() += 1;
        Ok(())
    }

    /// Counts a lease no longer.
    pub(super) fn release(&mut self, tile: TileId) {
        let Some(known) = self.jobs.get_mut(&tile.job) else { return };
        let Some(count) = known.leases.get_mut(&tile.frame) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            known.leases.remove(&tile.frame);
        }
    }

    /// Notes a blob that came; the jobs that waited for it.
    pub(super) fn store(&mut self, digest: BlobDigest) -> BTreeSet<JobId> {
        self.cached.insert(digest);
        let waited =
            self.jobs.iter_mut().filter_map(|(job, known)| known.missing.remove(&digest).then_some(*job));
        waited.collect()
    }

    /// Notes a blob that went.
    pub(super) fn evict(&mut self, digest: BlobDigest) {
        self.cached.remove(&digest);
        for known in self.jobs.values_mut() {
            if let Ok(spec) = &known.spec {
                known.missing.insert(spec, digest);
            }
        }
    }

    /// Whether some job with leases lacks a blob.
    pub(super) fn lack_any(&self) -> bool {
        let lacks = |missing: &Missing| !missing.shared.is_empty() || !missing.own.is_empty();
        self.jobs.values().any(|known| !known.leases.is_empty() && lacks(&known.missing))
    }

    /// Whether a tile waits for a blob.
    pub(super) fn lacks(&self, tile: TileId, digest: BlobDigest) -> bool {
        let known = self.jobs.get(&tile.job);
        known.is_some_and(|known| {
            let own = known.missing.own.get(&tile.frame);
            known.missing.shared.contains(&digest) || own.is_some_and(|own| own.contains(&digest))
        })
    }

    /// The next blob to fetch for a tile: the manifest, then the others.
    pub(super) fn next_missing(&self, tile: TileId, fetching: &BTreeSet<BlobDigest>) -> Option<BlobDigest> {
        let known = self.jobs.get(&tile.job)?;
        let scene = known.spec.as_ref().ok()?.scene_of(tile.frame);
        let is_next = |digest: &BlobDigest| !fetching.contains(digest);
        if self.lacks(tile, scene) && is_next(&scene) {
            return Some(scene);
        }
        known.missing.of(tile.frame).copied().find(is_next)
    }

    /// What to render under a lease, if every blob of its frame is here.
    pub(super) fn task(&self, lease: &Lease) -> Option<RenderTask> {
        let is_whole = |known: &&Known| known.missing.of(lease.tile.frame).next().is_none();
        let known = self.jobs.get(&lease.tile.job).filter(is_whole)?;
        let spec = known.spec.as_ref().ok()?;
        Some(RenderTask {
            resolution: spec.resolution,
            frame: lease.tile.frame,
            rect: lease.rect,
            range: lease.tile.range,
            settings: spec.settings.clone(),
        })
    }

    /// The blobs of every frame with leases that are queued or rendering.
    pub(super) fn pinned(&self) -> BTreeSet<BlobDigest> {
        let mut pinned = BTreeSet::new();
        for known in self.jobs.values().filter(|known| !known.leases.is_empty()) {
            let Ok(spec) = &known.spec else { continue };
            pinned.extend(&spec.blobs);
            for frame in known.leases.keys() {
                pinned.insert(spec.scene_of(*frame));
                pinned.extend(spec.frame_scene(*frame).into_iter().flat_map(|own| &own.blobs));
            }
        }
        pinned
    }
}
