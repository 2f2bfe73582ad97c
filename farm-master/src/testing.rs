//! What several test modules share: a job, and a picture of it that needs no
//! renderer, a pure function of pixel and base block.

use farm_core::scheduler::AcceptedTile;
use farm_core::{
    BlobDigest, BlockRange, FrameNumber, FrameRange, JobId, JobSpec, NodeId, PixelFilter, Rect, RectIndex,
    RenderSettings, Resolution, TileId, TileImage, plan,
};
use farm_wire::tile::encode_tile;

use crate::blobs::BlobStore;
use crate::expectation::Expectation;

/// The node that rendered every tile here.
pub(crate) const NODE: NodeId = NodeId(0xfeed);

/// A job of one frame, number 1.
pub(crate) fn spec(width: u32, height: u32, tile_size: u32, samples_per_pixel: u32) -> JobSpec {
    JobSpec {
        name: "test".to_owned(),
        scene: BlobDigest([3; 32]),
        blobs: Vec::new(),
        frame_scenes: Vec::new(),
        shader_digest: BlobDigest([4; 32]),
        resolution: Resolution { width, height },
        frames: FrameRange { first: FrameNumber(1), last: FrameNumber(1) },
        tile_size,
        settings: RenderSettings {
            samples_per_pixel,
            seed: 0,
            max_depth: 4,
            filter: PixelFilter::Box,
            camera: 0,
            transparent: false,
            film: Default::default(),
        },
        priority: 0,
        weight: 1,
        needs: Default::default(),
    }
}

/// The tile of frame 1 of job 1 at a rectangle and range.
pub(crate) fn tile_id(rect: u32, range: BlockRange) -> TileId {
    TileId { job: JobId(1), frame: FrameNumber(1), rect: RectIndex(rect), range }
}

/// The picture's sum over a range, along the tree; divided when it is whole.
pub(crate) fn image(spec: &JobSpec, rect: Rect, range: BlockRange) -> TileImage {
    let sum = sum(spec, rect, range);
    if range == BlockRange::root(spec.settings.blocks()) {
        return sum.finish(spec.settings.samples_per_pixel).expect("the range is whole");
    }
    sum
}

fn sum(spec: &JobSpec, rect: Rect, range: BlockRange) -> TileImage {
    let Some([earlier, later]) = range.halves() else { return block(spec, rect, range) };
    let earlier = sum(spec, rect, earlier);
    if later.is_empty(spec.settings.blocks()) {
        return earlier.promote();
    }
    earlier.merge(&sum(spec, rect, later)).expect("they are halves of one range")
}

fn block(spec: &JobSpec, rect: Rect, range: BlockRange) -> TileImage {
    let count = range.samples(spec.settings.samples_per_pixel);
    let mut pixels = Vec::new();
    for y in rect.y..rect.y + rect.height {
        for x in rect.x..rect.x + rect.width {
            let noise = |salt: u32| noise(x, y, range.index * 3 + salt) * 40.0;
            pixels.push([noise(0), noise(1), noise(2), count as f32]);
        }
    }
    TileImage { rect, range, pixels, samples: rect.area() * u64::from(count), rays: 0 }
}

/// Something in 0..1 that sums with rounding, so that order would show.
fn noise(x: u32, y: u32, z: u32) -> f32 {
    let mut bits = x.wrapping_mul(0x9e37_79b9) ^ y.wrapping_mul(0x85eb_ca6b) ^ z.wrapping_mul(0xc2b2_ae35);
    bits = (bits ^ (bits >> 15)).wrapping_mul(0x2c1b_3c6d);
    bits = (bits ^ (bits >> 12)).wrapping_mul(0x297a_2d39);
    (bits >> 8) as f32 / 16_777_216.0
}

/// The EXR of a tile as `node` would send it.
pub(crate) fn tile_exr(spec: &JobSpec, tile: TileId, node: NodeId) -> Vec<u8> {
    let expected = Expectation::new(spec, tile, node).expect("the job has this tile");
    let image = image(spec, expected.task.rect, tile.range);
    encode_tile(&image, &expected.attributes, spec.resolution, spec.tile_size)
}

/// Stores a tile as if it had been accepted.
pub(crate) fn accept(blobs: &BlobStore, spec: &JobSpec, tile: TileId) -> AcceptedTile {
    let bytes = tile_exr(spec, tile, NODE);
    let blob = BlobDigest(*blake3::hash(&bytes).as_bytes());
    blobs.store(blob, &bytes).expect("there is room");
    let rect = plan::rect_at(spec.resolution, spec.tile_size, tile.rect);
    AcceptedTile { tile, rect: rect.expect("the job has this tile"), blob, node: NODE }
}

/// The finished frame, row by row.
pub(crate) fn picture(spec: &JobSpec) -> Vec<[f32; 4]> {
    let Resolution { width, height } = spec.resolution;
    let rect = Rect { x: 0, y: 0, width, height };
    image(spec, rect, BlockRange::root(spec.settings.blocks())).pixels
}

/// The digest of pixels: f32 RGBA, little-endian, row by row.
pub(crate) fn pixel_digest(pixels: &[[f32; 4]]) -> BlobDigest {
    let bytes: Vec<u8> = pixels.as_flattened().iter().flat_map(|c| c.to_le_bytes()).collect();
    BlobDigest(*blake3::hash(&bytes).as_bytes())
}
