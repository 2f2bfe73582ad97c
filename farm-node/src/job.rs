//! What the driver remembers of a job, and whether a lease of it makes sense.

use farm_core::scheduler::Lease;
use farm_core::{BlobDigest, FrameRange, JobSpec, Limits, Resolution, plan};

/// A job as the master described it, or why no lease of it can be rendered.
#[derive(Clone, Debug)]
pub(crate) struct KnownJob {
    scene: BlobDigest,
    resolution: Resolution,
    tile_size: u32,
    frames: FrameRange,
    blocks: u32,
    trouble: Option<String>,
}

impl KnownJob {
    /// Takes note of a job. One that is beyond `limits`, or pinned to other
    /// shaders than this node's, is kept as the reason to refuse its leases.
    pub(crate) fn new(spec: &JobSpec, shader_digest: BlobDigest, limits: &Limits) -> Self {
        let trouble = match spec.validate(limits) {
            Err(error) => Some(error.to_string()),
            Ok(()) if spec.shader_digest != shader_digest => Some(format!(
                "the job is pinned to shaders {} and this node renders with {shader_digest}; \
                 the artist and the node need the same version",
                spec.shader_digest
            )),
            Ok(()) => None,
        };
        Self {
            scene: spec.scene,
            resolution: spec.resolution,
            tile_size: spec.tile_size,
            frames: spec.frames,
            blocks: spec.settings.blocks(),
            trouble,
        }
    }

    /// Why no lease of it can be rendered here.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Its scene's manifest.
    pub(crate) fn scene(&self) -> BlobDigest {
        self.scene
    }

    /// Edge of its rectangles.
    pub(crate) fn tile_size(&self) -> u32 {
        self.tile_size
    }

    /// Checks a lease of this job against its plan.
    ///
    /// # Errors
    /// Says what is wrong, for the master's people.
    pub(crate) fn check(&self, lease: &Lease) -> Result<(), String> {
        if let Some(trouble) = &self.trouble {
            return Err(trouble.clone());
        }
        let tile = lease.tile;
        if tile.frame < self.frames.first || tile.frame > self.frames.last {
            return Err(format!("the job has no frame {}", tile.frame));
        }
        if plan::rect_at(self.resolution, self.tile_size, tile.rect) != Some(lease.rect) {
            return Err(format!("rectangle {} of the job is not {:?}", tile.rect.0, lease.rect));
        }
        let root = farm_core::BlockRange::root(self.blocks);
        if !root.contains(&tile.range) || tile.range.is_empty(self.blocks) {
            return Err(format!("the job has no samples at level {} index {}", tile.range.level, tile.range.index));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use farm_core::{
        BlockRange, FrameNumber, JobId, LeaseId, PixelFilter, Rect, RectIndex, RenderSettings, TileId,
    };

    use super::*;

    const SHADERS: BlobDigest = BlobDigest([1; 32]);

    fn spec() -> JobSpec {
        JobSpec {
            name: "teapot".into(),
            scene: BlobDigest([2; 32]),
            blobs: Vec::new(),
            shader_digest: SHADERS,
            resolution: Resolution { width: 100, height: 50 },
            frames: FrameRange { first: FrameNumber(3), last: FrameNumber(4) },
            tile_size: 32,
            settings: RenderSettings {
                samples_per_pixel: 80,
                seed: 0,
                max_depth: 4,
                filter: PixelFilter::Box,
                camera: 0,
                transparent: false,
            },
            priority: 0,
        }
    }

    fn lease() -> Lease {
        let tile = TileId {
            job: JobId(1),
            frame: FrameNumber(3),
            rect: RectIndex(3),
            range: BlockRange { level: 1, index: 0 },
        };
        Lease { id: LeaseId(1), tile, rect: Rect { x: 96, y: 0, width: 4, height: 32 } }
    }

    fn check(change: impl FnOnce(&mut JobSpec, &mut Lease)) -> Result<(), String> {
        let (mut spec, mut lease) = (spec(), lease());
        change(&mut spec, &mut lease);
        KnownJob::new(&spec, SHADERS, &Limits::default()).check(&lease)
    }

    #[test]
    fn lease_of_the_plan_is_taken() {
        assert_eq!(check(|_, _| ()), Ok(()));
        // The fifth block is alone at every level of its branch.
        assert_eq!(check(|_, lease| lease.tile.range = BlockRange { level: 2, index: 1 }), Ok(()));
    }

    #[test]
    fn lease_outside_the_plan_is_refused() {
        let refused = [
            check(|_, lease| lease.tile.frame = FrameNumber(5)),
            check(|_, lease| lease.tile.frame = FrameNumber(2)),
            check(|_, lease| lease.rect.width = 32),
            check(|_, lease| lease.tile.rect = RectIndex(100)),
            check(|_, lease| lease.tile.range = BlockRange { level: 0, index: 5 }),
            check(|_, lease| lease.tile.range = BlockRange { level: 4, index: 0 }),
            check(|spec, _| spec.shader_digest = BlobDigest([9; 32])),
            check(|spec, _| spec.settings.samples_per_pixel = u32::MAX),
        ];
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
    }
}
