//! What a tile must be, from its job's spec alone: the same at intake, where a
//! node is not trusted, and at assembly, where the disk is not.

use farm_core::{BASE_BLOCK_SAMPLES, BlockRange, JobSpec, NodeId, RenderTask, TileId, plan};
use farm_wire::tile::TileAttributes;

/// What a tile's EXR must say and hold.
#[derive(Clone, Debug)]
pub(crate) struct Expectation {
    pub(crate) task: RenderTask,
    pub(crate) attributes: TileAttributes,
    pub(crate) tile_size: u32,
}

impl Expectation {
    /// What `tile` must be when `node` rendered it; or why the job has no such
    /// tile, for people.
    pub(crate) fn new(spec: &JobSpec, tile: TileId, node: NodeId) -> Result<Self, String> {
        if !(spec.frames.first..=spec.frames.last).contains(&tile.frame) {
            return Err(format!("job {} has no frame {}", tile.job, tile.frame));
        }
        let rect = plan::rect_at(spec.resolution, spec.tile_size, tile.rect)
            .ok_or_else(|| format!("the frame has no rectangle {}", tile.rect.0))?;
        let blocks = spec.settings.samples_per_pixel.div_ceil(BASE_BLOCK_SAMPLES);
        let root = BlockRange::root(blocks);
        if !root.contains(&tile.range) || tile.range.is_empty(blocks) {
            return Err(format!("the frame has no sample range {:?}", tile.range));
        }
        let task = RenderTask {
            resolution: spec.resolution,
            frame: tile.frame,
            rect,
            range: tile.range,
            settings: spec.settings.clone(),
        };
        let attributes = TileAttributes {
            tile,
            node,
            scene: spec.scene_of(tile.frame),
            shader_digest: spec.shader_digest,
            samples_per_pixel: tile.range.samples(spec.settings.samples_per_pixel),
            finished: task.is_whole(),
        };
        Ok(Self { task, attributes, tile_size: spec.tile_size })
    }

    /// Longest EXR of this tile: 16 bytes a pixel, which ZIP never exceeds
    /// because it falls back to plain pixels, and a header.
    pub(crate) fn most_bytes(&self) -> u64 {
        const HEADER_BYTES: u64 = 16 << 10;
        self.task.rect.area() * 16 + HEADER_BYTES
    }
}

#[cfg(test)]
mod tests {
    use farm_core::{FrameNumber, JobId, RectIndex};

    use super::*;
    use crate::testing::spec;

    #[test]
    fn tiles_that_a_job_does_not_have_are_refused() {
        let spec = spec(100, 60, 32, 48);
        let tile = |frame, rect, level, index| TileId {
            job: JobId(1),
            frame: FrameNumber(frame),
            rect: RectIndex(rect),
            range: BlockRange { level, index },
        };
        let check = |tile| Expectation::new(&spec, tile, NodeId(1));
        for good in [tile(1, 0, 2, 0), tile(1, 7, 0, 2), tile(1, 3, 1, 1)] {
            assert!(check(good).is_ok(), "{good:?}");
        }
        for bad in [
            tile(0, 0, 2, 0),
            tile(2, 0, 2, 0),
            tile(1, 8, 2, 0),
            tile(1, 0, 0, 3),
            tile(1, 0, 3, 0),
            tile(1, 0, 40, 0),
            tile(1, 0, 0, u32::MAX),
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
