//! A tile of any bytes, from a node that nobody trusts: it is refused, or its pixels
//! are finite, not negative, and as many as were asked for.
//!
//! A fuzzer finds no header that is right byte for byte, so where the first byte of
//! the input is odd the rest is the compressed chunk of an otherwise good tile.

#![no_main]

use farm_core::{
    BlobDigest, BlockRange, FrameNumber, JobId, NodeId, PixelFilter, Rect, RectIndex, RenderSettings,
    RenderTask, Resolution, TileId, TileImage,
};
use farm_wire::tile::{TileAttributes, decode_tile, encode_tile, tile_chunk};
use libfuzzer_sys::fuzz_target;

const TILE_SIZE: u32 = 16;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let (task, attributes) = (task(), attributes());
    let file = if kind % 2 == 1 { around(bytes, &task, &attributes) } else { bytes.to_vec() };
    if let Ok(image) = decode_tile(&file, &attributes, &task, TILE_SIZE) {
        assert_eq!(image.pixels.len() as u64, task.rect.area());
        let is_light = |value: &f32| value.is_finite() && *value >= 0.0;
        assert!(image.pixels.as_flattened().iter().all(is_light), "a tile with impossible light was taken");
    }
});

fn task() -> RenderTask {
    let settings = RenderSettings {
        samples_per_pixel: 16,
        seed: 1,
        max_depth: 4,
        filter: PixelFilter::Box,
        camera: 0,
        transparent: false,
        film: Default::default(),
    };
    RenderTask {
        resolution: Resolution { width: 16, height: 16 },
        frame: FrameNumber(0),
        rect: Rect { x: 0, y: 0, width: 16, height: 16 },
        range: BlockRange { level: 0, index: 0 },
        settings,
    }
}

fn attributes() -> TileAttributes {
    let range = BlockRange { level: 0, index: 0 };
    TileAttributes {
        tile: TileId { job: JobId(1), frame: FrameNumber(0), rect: RectIndex(0), range },
        node: NodeId(1),
        scene: BlobDigest([1; 32]),
        shader_digest: BlobDigest([2; 32]),
        samples_per_pixel: 16,
        finished: true,
    }
}

/// A good tile with another chunk in it.
fn around(chunk: &[u8], task: &RenderTask, attributes: &TileAttributes) -> Vec<u8> {
    let pixels = vec![[0.5; 4]; 256];
    let image = TileImage { rect: task.rect, range: task.range, pixels, samples: 4096, rays: 0 };
    let mut file = encode_tile(&image, attributes, task.resolution, TILE_SIZE);
    let good = tile_chunk(&file, attributes, task, TILE_SIZE).expect("it was just made").len();
    file.truncate(file.len() - good);
    let length = u32::try_from(chunk.len()).expect("inputs are small");
    let end = file.len();
    file[end - 4..].copy_from_slice(&length.to_le_bytes());
    file.extend(chunk);
    file
}
