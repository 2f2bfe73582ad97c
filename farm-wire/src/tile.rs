//! Tiles as EXR: float32, `dataWindow` the rectangle, `displayWindow` the frame.
//!
//! A tile's file is a single-part tiled EXR whose tile size is the job's, with
//! one chunk. [`frame_header`] lays out tile files and finished frames alike
//! (channels, compression, tile size), so a chunk can be moved from the one into
//! the other as it is.
//!
//! A tile from a node is hostile until proven otherwise. The master knows every
//! byte of it but the pixels: [`decode_tile`] lays out the same header and
//! compares, so no parser ever sees a header that somebody else wrote, and what
//! is left to a decompressor is one chunk of known size.

use exr::compression::Compression;
use exr::math::Vec2;
use exr::meta::attribute::{
    self, AttributeValue, ChannelDescription, Chromaticities, IntegerBounds, LevelMode, LineOrder,
    SampleType, Text, TileDescription,
};
use exr::meta::header::{Header, ImageAttributes, LayerAttributes};
use exr::meta::{BlockDescription, Requirements, magic_number, sequence_end};
use exr::prelude::{SmallVec, f16};
use farm_core::{BlobDigest, NodeId, Rect, RenderTask, Resolution, TileId, TileImage};

use crate::error::printable;
use crate::message::Precision;

/// ZIP over a whole tile: lossless for float pixels, and every reader has it. The
/// two ZIPs differ only in scan-line files.
pub const COMPRESSION: Compression = Compression::ZIP16;

/// The channels as they stand in the file, and where each is in a pixel.
const CHANNELS: [(char, usize); 4] = [('A', 3), ('B', 2), ('G', 1), ('R', 0)];

/// What comes between header and pixels: the offset of the one chunk (8 bytes),
/// its tile coordinates (16) and its length (4).
const CHUNK_PREFIX_BYTES: usize = 28;

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

impl TileAttributes {
    /// The attributes as the file names and writes them, in the file's order.
    fn texts(&self) -> [(&'static str, String); 9] {
        let TileId { job, frame, rect, range } = self.tile;
        [
            ("tessera/finished", self.finished.to_string()),
            ("tessera/frame", frame.0.to_string()),
            ("tessera/job", job.to_string()),
            ("tessera/node", self.node.to_string()),
            ("tessera/range", format!("{}:{}", range.level, range.index)),
            ("tessera/rect", rect.0.to_string()),
            ("tessera/samples_per_pixel", self.samples_per_pixel.to_string()),
            ("tessera/scene", self.scene.to_string()),
            ("tessera/shaders", self.shader_digest.to_string()),
        ]
    }
}

/// The header of a finished frame, and but for window and attributes that of
/// each of its tiles: channels A, B, G, R of the precision, [`COMPRESSION`],
/// tiles of `tile_size` pixels in increasing order, primaries of sRGB.
///
/// A chunk of a tile file is that frame's chunk where the precision is
/// [`Precision::Float`]; [`compress_pixels`] makes chunks from pixels.
#[must_use]
pub fn frame_header(resolution: Resolution, tile_size: u32, precision: Precision) -> Header {
    let frame = Rect { x: 0, y: 0, width: resolution.width, height: resolution.height };
    layout(frame, resolution, tile_size, precision)
}

fn layout(window: Rect, resolution: Resolution, tile_size: u32, precision: Precision) -> Header {
    let sample = match precision {
        Precision::Half => SampleType::F16,
        Precision::Float => SampleType::F32,
    };
    let channels: SmallVec<[ChannelDescription; 5]> = CHANNELS
        .iter()
        .map(|(name, _)| ChannelDescription::named(name.to_string().as_str(), sample))
        .collect();
    let blocks = BlockDescription::Tiles(TileDescription {
        tile_size: Vec2(size(tile_size), size(tile_size)),
        level_mode: LevelMode::Singular,
        rounding_mode: exr::math::RoundingMode::Down,
    });
    let display = IntegerBounds::from_dimensions((size(resolution.width), size(resolution.height)));
    let shared = ImageAttributes { chromaticities: Some(SRGB_PRIMARIES), ..ImageAttributes::new(display) };
    let position = Vec2(position(window.x), position(window.y));
    let own = LayerAttributes { layer_name: None, ..LayerAttributes::default() }.with_position(position);
    Header::new(Text::from(""), (size(window.width), size(window.height)), channels)
        .with_encoding(COMPRESSION, blocks, LineOrder::Increasing)
        .with_shared_attributes(shared)
        .with_attributes(own)
}

/// ITU-R BT.709-6 primaries and D65, as sRGB (IEC 61966-2-1) has them.
const SRGB_PRIMARIES: Chromaticities = Chromaticities {
    red: Vec2(0.64, 0.33),
    green: Vec2(0.30, 0.60),
    blue: Vec2(0.15, 0.06),
    white: Vec2(0.3127, 0.3290),
};

fn size(pixels: u32) -> usize {
    usize::try_from(pixels).expect("a frame's edge fits a usize")
}

fn position(pixels: u32) -> i32 {
    i32::try_from(pixels).expect("a frame's edge is below 2^31")
}

/// Packs a rectangle's pixels (row by row) into a chunk of a frame with this
/// header, converting them to the header's precision.
///
/// # Panics
/// When there are not as many pixels as the rectangle has, or it is larger than
/// the header's tiles.
#[must_use]
pub fn compress_pixels(header: &Header, rect: Rect, pixels: &[[f32; 4]]) -> Vec<u8> {
    assert_eq!(pixels.len() as u64, rect.area(), "an image holds as many pixels as its rectangle");
    let is_half = header.channels.list.iter().all(|channel| channel.sample_type == SampleType::F16);
    let mut bytes = Vec::with_capacity(pixels.len() * header.channels.bytes_per_pixel);
    for row in pixels.chunks_exact(size(rect.width)) {
        for (_, channel) in CHANNELS {
            for pixel in row {
                if is_half {
                    bytes.extend(f16::from_f32(pixel[channel]).to_ne_bytes());
                } else {
                    bytes.extend(pixel[channel].to_ne_bytes());
                }
            }
        }
    }
    header
        .compression
        .compress_image_section_to_le(header, bytes, section(rect))
        .expect("ZIP packs any bytes of the right number")
}

/// The rectangle as a chunk of its own file. (Only its size matters to ZIP.)
fn section(rect: Rect) -> IntegerBounds {
    IntegerBounds::from_dimensions((size(rect.width), size(rect.height)))
}

/// Encodes a tile: one EXR tile of the rectangle's size, ZIP, float32 RGBA, so
/// that its one compressed chunk can be spliced into a tiled frame as it is.
/// Equal input gives equal bytes. The number of rays is not in it; it travels
/// in the tile's message.
///
/// # Panics
/// When the image does not hold as many pixels as its rectangle, or that is
/// larger than `tile_size`.
#[must_use]
pub fn encode_tile(
    image: &TileImage,
    attributes: &TileAttributes,
    resolution: Resolution,
    tile_size: u32,
) -> Vec<u8> {
    let header = layout(image.rect, resolution, tile_size, Precision::Float);
    let chunk = compress_pixels(&header, image.rect, &image.pixels);
    let mut bytes = preamble(&header, attributes);
    bytes.extend(chunk_prefix(bytes.len(), chunk.len()));
    bytes.extend(chunk);
    bytes
}

/// Magic number, version and header. The attributes stand in the order of their
/// names, so that equal tiles are equal bytes.
fn preamble(header: &Header, attributes: &TileAttributes) -> Vec<u8> {
    let mut all: Vec<(Vec<u8>, AttributeValue)> =
        header.all_named_attributes().map(|(name, value)| (name.to_vec(), value)).collect();
    for (name, text) in attributes.texts() {
        all.push((name.as_bytes().to_vec(), AttributeValue::Text(Text::from(text.as_str()))));
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut bytes = Vec::new();
    write_preamble(&all, &mut bytes).expect("writing to memory does not fail");
    bytes
}

fn write_preamble(all: &[(Vec<u8>, AttributeValue)], bytes: &mut Vec<u8>) -> exr::error::UnitResult {
    magic_number::write(bytes)?;
    let requirements = Requirements {
        file_format_version: 2,
        is_single_layer_and_tiled: true,
        has_long_names: false,
        has_deep_data: false,
        has_multiple_layers: false,
    };
    requirements.write(bytes)?;
    for (name, value) in all {
        attribute::write(name, value, bytes)?;
    }
    sequence_end::write(bytes)
}

/// Offset table and chunk head of a file with one chunk, tile (0, 0).
fn chunk_prefix(preamble_bytes: usize, chunk_bytes: usize) -> [u8; CHUNK_PREFIX_BYTES] {
    let mut prefix = [0; CHUNK_PREFIX_BYTES];
    prefix[..8].copy_from_slice(&(preamble_bytes as u64 + 8).to_le_bytes());
    let length = u32::try_from(chunk_bytes).expect("a chunk has at most 16 MiB");
    prefix[24..].copy_from_slice(&length.to_le_bytes());
    prefix
}

/// Finds the compressed chunk of a tile whose header is, byte for byte, the one
/// that `expected` and `task` ask for: what [`frame_header`]'s frame takes at the
/// tile's place.
///
/// # Errors
/// Names the first thing that is wrong.
pub fn tile_chunk<'a>(
    bytes: &'a [u8],
    expected: &TileAttributes,
    task: &RenderTask,
    tile_size: u32,
) -> Result<&'a [u8], TileError> {
    let header = layout(task.rect, task.resolution, tile_size, Precision::Float);
    let preamble = preamble(&header, expected);
    if !bytes.starts_with(&preamble) {
        return Err(explain(bytes, &preamble, expected));
    }
    let rest = &bytes[preamble.len()..];
    let (prefix, chunk) =
        rest.split_at_checked(CHUNK_PREFIX_BYTES).ok_or_else(|| malformed("it ends after its header"))?;
    let whole = task.rect.area() * header.channels.bytes_per_pixel as u64;
    if chunk.is_empty() || chunk.len() as u64 > whole {
        return Err(malformed("its chunk has an impossible length"));
    }
    if *prefix != chunk_prefix(preamble.len(), chunk.len()) {
        return Err(malformed("its one chunk is not where and as long as it says"));
    }
    Ok(chunk)
}

/// Decodes and checks a tile from an untrusted node against what was leased:
/// window, attributes, sample count, finite and non-negative values. (RGB and
/// alpha are non-negative; a pixel may not be NaN or infinite.) The image's
/// `rays` are 0: they travel in the tile's message.
///
/// # Errors
/// Names the first thing that is wrong.
pub fn decode_tile(
    bytes: &[u8],
    expected: &TileAttributes,
    task: &RenderTask,
    tile_size: u32,
) -> Result<TileImage, TileError> {
    let chunk = tile_chunk(bytes, expected, task, tile_size)?;
    let header = layout(task.rect, task.resolution, tile_size, Precision::Float);
    let pixels = decompress_pixels(&header, task.rect, chunk)?;
    let samples = task.rect.area() * u64::from(expected.samples_per_pixel);
    Ok(TileImage { rect: task.rect, range: task.range, pixels, samples, rays: 0 })
}

/// Unpacks a rectangle's pixels (row by row) from a chunk of a frame with this
/// header, whose precision is [`Precision::Float`].
///
/// # Errors
/// The chunk is not that of such pixels, or one of them is negative or not finite.
pub fn decompress_pixels(header: &Header, rect: Rect, chunk: &[u8]) -> Result<Vec<[f32; 4]>, TileError> {
    let data = header
        .compression
        .decompress_image_section_from_le(header, chunk.to_vec(), section(rect), true)
        .map_err(|error| malformed(&format!("its pixels cannot be unpacked: {error}")))?;
    unpack(&data, rect)
}

/// Planes of rows to pixels, each checked.
fn unpack(data: &[u8], rect: Rect) -> Result<Vec<[f32; 4]>, TileError> {
    let width = size(rect.width);
    let mut pixels = vec![[0.0; 4]; width * size(rect.height)];
    let rows = data.chunks_exact(width * size_of::<[f32; 4]>());
    for (y, (row, data)) in (rect.y..).zip(pixels.chunks_exact_mut(width).zip(rows)) {
        for ((name, channel), plane) in CHANNELS.iter().zip(data.chunks_exact(width * size_of::<f32>())) {
            for (x, (pixel, bytes)) in (rect.x..).zip(row.iter_mut().zip(plane.as_chunks().0)) {
                let value = f32::from_ne_bytes(*bytes);
                if !value.is_finite() || value < 0.0 {
                    return Err(TileError::BadPixel { x, y, channel: *name, value });
                }
                pixel[*channel] = value;
            }
        }
    }
    Ok(pixels)
}

fn malformed(problem: &str) -> TileError {
    TileError::Malformed(problem.into())
}

/// Why a tile's header is not the expected one, for people: the first of our
/// attributes that differs, else that the layout differs.
fn explain(bytes: &[u8], preamble: &[u8], expected: &TileAttributes) -> TileError {
    if !bytes.starts_with(&magic_number::BYTES) {
        return malformed("it is not an EXR file");
    }
    let bytes = &bytes[..bytes.len().min(2 * preamble.len())];
    for (name, text) in expected.texts() {
        match text_attribute(bytes, name) {
            None => return malformed(&format!("it lacks the attribute {name}")),
            Some(found) if found != text.as_bytes() => {
                return TileError::Mismatch { field: name, found: printable(found), expected: text };
            }
            Some(_) => {}
        }
    }
    malformed("its window or layout is not the leased one")
}

/// The value of a text attribute: name, 0, `string`, 0, length, bytes.
fn text_attribute<'a>(bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let key = [name.as_bytes(), b"\0string\0"].concat();
    let start = bytes.windows(key.len()).position(|window| window == key)? + key.len();
    let (length, rest) = bytes[start..].split_first_chunk()?;
    rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)
}
