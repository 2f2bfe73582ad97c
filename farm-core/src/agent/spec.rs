//! The jobs that an agent knows, and which of their blobs are in its cache.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{BlobDigest, JobId};
use crate::job::JobSpec;
use crate::limits::Limits;
use crate::plan;
use crate::scheduler::{FailureKind, Lease};
use crate::tile::{BlockRange, RenderTask};

/// The jobs that an agent knows.
#[derive(Debug)]
pub(super) struct Specs {
    jobs: BTreeMap<JobId, Known>,
    cached: BTreeSet<BlobDigest>,
    /// Counts uses, so that the least recently used can be told.
    clock: u64,
}

#[derive(Debug)]
struct Known {
    /// The spec, or what is wrong with it.
    spec: Result<Box<JobSpec>, String>,
    /// Its blobs that are not in the cache; the manifest is one of them.
    missing: BTreeSet<BlobDigest>,
    /// Leases of it that are queued or rendering.
    leases: u32,
    used: u64,
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
            let unused = self.jobs.iter().filter(|(_, known)| known.leases == 0);
            let Some(oldest) = unused.min_by_key(|(_, known)| known.used).map(|(job, _)| *job) else { break };
            self.jobs.remove(&oldest);
        }
        let leases = self.jobs.get(&job).map_or(0, |known| known.leases);
        let blobs = spec.iter().flat_map(|spec| blobs(spec));
        let missing = blobs.filter(|digest| !self.cached.contains(digest)).collect();
        self.jobs.insert(job, Known { spec, missing, leases, used: self.clock });
    }

    /// Forgets the jobs without leases: the master describes them again on the
    /// next connection.
    pub(super) fn forget_unused(&mut self) {
        self.jobs.retain(|_, known| known.leases > 0);
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
        known.leases += 1;
        Ok(())
    }

    /// Counts a lease no longer.
    pub(super) fn release(&mut self, job: JobId) {
        if let Some(known) = self.jobs.get_mut(&job) {
            known.leases = known.leases.saturating_sub(1);
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
            if known.spec.as_ref().is_ok_and(|spec| needs(spec, &digest)) {
                known.missing.insert(digest);
            }
        }
    }

    /// The jobs that lack a blob.
    pub(super) fn needing(&self, digest: BlobDigest) -> BTreeSet<JobId> {
        let lacking = self.jobs.iter().filter(|(_, known)| known.missing.contains(&digest));
        lacking.map(|(job, _)| *job).collect()
    }

    /// The next blob to fetch for a job: the manifest, then the others.
    pub(super) fn next_missing(&self, job: JobId, fetching: &BTreeSet<BlobDigest>) -> Option<BlobDigest> {
        let known = self.jobs.get(&job)?;
        let scene = known.spec.as_ref().ok()?.scene;
        let is_next = |digest: &&BlobDigest| !fetching.contains(digest);
        known.missing.get(&scene).filter(is_next).or_else(|| known.missing.iter().find(is_next)).copied()
    }

    /// What to render under a lease, if every blob of its job is here.
    pub(super) fn task(&self, lease: &Lease) -> Option<RenderTask> {
        let known = self.jobs.get(&lease.tile.job).filter(|known| known.missing.is_empty())?;
        let spec = known.spec.as_ref().ok()?;
        Some(RenderTask {
            resolution: spec.resolution,
            frame: lease.tile.frame,
            rect: lease.rect,
            range: lease.tile.range,
            settings: spec.settings.clone(),
        })
    }

    /// The blobs of every job with leases that are queued or rendering.
    pub(super) fn pinned(&self) -> BTreeSet<BlobDigest> {
        let used = self.jobs.values().filter(|known| known.leases > 0);
        used.flat_map(|known| &known.spec).flat_map(|spec| blobs(spec)).collect()
    }
}

/// The manifest and every blob that it names.
fn blobs(spec: &JobSpec) -> impl Iterator<Item = BlobDigest> + '_ {
    std::iter::once(spec.scene).chain(spec.blobs.iter().copied())
}

fn needs(spec: &JobSpec, digest: &BlobDigest) -> bool {
    spec.scene == *digest || spec.blobs.binary_search(digest).is_ok()
}
