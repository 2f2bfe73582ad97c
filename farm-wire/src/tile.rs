//! Tiles as EXR: float32, `dataWindow` the rectangle, `displayWindow` the frame.

use farm_core::{BlobDigest, NodeId, RenderTask, Resolution, TileId, TileImage};

/// What a tile's EXR says beside its pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct TileAttributes {
    /// The tile.
    pub tile: TileId,
    /// Who rendered it.
    pub node: NodeId,
    /// The scene's manifest.
    pub scene: BlobDigest,
    /// The shaders.
    pub shader_digest: BlobDigest,
    /// Samples of each pixel in the tile's range.
    pub samples_per_pixel: u32,
    /// Whether the pixels are finished (the range is whole) or sums.
    pub finished: bool,
}

/// What is wrong with a tile's EXR.
#[derive(Debug, thiserror::Error)]
pub enum TileError {
    /// Not an EXR, or not of the layout that tiles have.
    #[error("not a tile: {0}")]
    Malformed(String),
    /// It is a tile, but not the one that was leased.
    #[error("{field} is {found}, expected {expected}")]
    Mismatch {
        /// What differs.
        field: &'static str,
        /// What the tile says.
        found: String,
        /// What the lease says.
        expected: String,
    },
    /// A pixel is not finite or is negative.
    #[error("pixel ({x}, {y}) channel {channel} is {value}")]
    BadPixel {
        /// Column in the frame.
        x: u32,
        /// Row in the frame.
        y: u32,
        /// R, G, B or A.
        channel: char,
        /// The value.
        value: f32,
    },
}

/// Encodes a tile: one EXR tile of the rectangle's size, ZIP, float32 RGBA, so
/// that its one compressed chunk can be spliced into a tiled frame as it is.
#[must_use]
pub fn encode_tile(
    image: &TileImage,
    attributes: &TileAttributes,
    resolution: Resolution,
    tile_size: u32,
) -> Vec<u8> {
    let _ = (image, attributes, resolution, tile_size);
    todo!()
}

/// Decodes and checks a tile from an untrusted node against what was leased:
/// window, attributes, sample count, finite and non-negative values. (RGB and
/// alpha are non-negative; a pixel may not be NaN or infinite.)
///
/// # Errors
/// Names the first thing that is wrong.
pub fn decode_tile(
    bytes: &[u8],
    expected: &TileAttributes,
    task: &RenderTask,
    tile_size: u32,
) -> Result<TileImage, TileError> {
    let _ = (bytes, expected, task, tile_size);
    todo!()
}
