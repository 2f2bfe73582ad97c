//! The frame's EXR: tiled, ZIP, RGBA, one chunk for each rectangle of the plan.
//!
//! The chunks are written in the plan's order, so the file has the same bytes
//! in whatever order the tiles arrived.

use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use exr::block::chunk::{Chunk, CompressedBlock, CompressedTileBlock, TileCoordinates};
use exr::block::reader::ChunksReader;
use exr::block::writer::{ChunksWriter, write_chunks_with};
use exr::block::{BlockIndex, UncompressedBlock};
use exr::compression::Compression;
use exr::math::RoundingMode;
use exr::math::Vec2;
use exr::meta::attribute::{
    AttributeValue, ChannelDescription, ChannelList, Chromaticities, LevelMode, LineOrder, SampleType, Text,
    TileDescription,
};
use exr::meta::header::Header;
use exr::meta::{BlockDescription, MetaData};
use farm_core::{BlobDigest, FrameNumber, JobSpec, Rect};
use half::f16;

/// Names the attribute that holds the digest of the frame's pixels.
pub(crate) const PIXEL_DIGEST: &str = "tessera:pixelDigest";

/// Names the attribute that says what the frame was rendered from.
pub(crate) const ORIGIN: &str = "tessera:origin";

/// Longest header that is looked through for the digest's place.
const HEADER_BYTES: u64 = 64 << 10;

/// Chunks converted at once when a copy in half floats is made.
const CHUNKS_AT_ONCE: usize = 64;

/// The header of a frame in 32-bit floats; its pixel digest is not known yet
/// and is put in by [`fill_in_digest`].
///
/// There is one attribute of ours in each of the two maps that exr has for
/// them, because it writes a map in no fixed order.
pub(crate) fn header(spec: &JobSpec, frame: FrameNumber) -> Header {
    let size = Vec2(spec.resolution.width as usize, spec.resolution.height as usize);
    let channels = ["A", "B", "G", "R"].map(|name| ChannelDescription::named(name, SampleType::F32));
    let tile = spec.tile_size as usize;
    let tiles = BlockDescription::Tiles(TileDescription {
        tile_size: Vec2(tile, tile),
        level_mode: LevelMode::Singular,
        rounding_mode: RoundingMode::Down,
    });
    let mut header = Header::new(Text::default(), size, channels.into_iter().collect()).with_encoding(
        Compression::ZIP16,
        tiles,
        LineOrder::Increasing,
    );
    header.own_attributes.layer_name = None;
    header.own_attributes.software_name = Some(text(concat!("Tessera ", env!("CARGO_PKG_VERSION"))));
    header.own_attributes.other.insert(text(ORIGIN), AttributeValue::Text(origin(spec, frame)));
    header.shared_attributes.chromaticities = Some(rec709());
    let placeholder = AttributeValue::Text(text(&"0".repeat(64)));
    header.shared_attributes.other.insert(text(PIXEL_DIGEST), placeholder);
    header
}

fn text(text: &str) -> Text {
    Text::new_or_none(text).unwrap_or_default()
}

fn origin(spec: &JobSpec, frame: FrameNumber) -> Text {
    let settings = &spec.settings;
    text(&format!(
        "scene={} shaders={} frame={} samplesPerPixel={} seed={} maxDepth={}",
        spec.scene,
        spec.shader_digest,
        frame.0,
        settings.samples_per_pixel,
        settings.seed,
        settings.max_depth,
    ))
}

/// The primaries and white point of ITU-R BT.709 and sRGB.
fn rec709() -> Chromaticities {
    Chromaticities {
        red: Vec2(0.64, 0.33),
        green: Vec2(0.30, 0.60),
        blue: Vec2(0.15, 0.06),
        white: Vec2(0.3127, 0.3290),
    }
}

/// Takes the one compressed chunk of a tile's EXR for a place in the frame, if
/// it is laid out as the frame is; `None` when the pixels must be compressed anew.
pub(crate) fn splice(tile: &[u8], rect: Rect, frame: &Header) -> Option<Chunk> {
    let reader = exr::block::read(io::Cursor::new(tile), true).ok()?;
    let [header] = reader.headers() else { return None };
    let size = Vec2(rect.width as usize, rect.height as usize);
    if header.layer_size != size || !same_layout(header, frame) {
        return None;
    }
    let mut chunks = reader.all_chunks(true).ok()?;
    let chunk = chunks.next()?.ok()?;
    let CompressedBlock::Tile(block) = chunk.compressed_block else { return None };
    if chunks.next().is_some() {
        return None;
    }
    let block = CompressedTileBlock { coordinates: coordinates(rect, frame), ..block };
    Some(Chunk { layer_index: 0, compressed_block: CompressedBlock::Tile(block) })
}

/// Whether a chunk of the one file means the same in the other.
fn same_layout(tile: &Header, frame: &Header) -> bool {
    let channels = |header: &Header| {
        let list = header.channels.list.iter();
        list.map(|c| (c.name.clone(), c.sample_type, c.sampling)).collect::<Vec<_>>()
    };
    tile.blocks.has_tiles()
        && tile.max_block_pixel_size() == frame.max_block_pixel_size()
        && tile.compression == frame.compression
        && channels(tile) == channels(frame)
}

/// Compresses the pixels of a rectangle into the frame's chunk.
pub(crate) fn compress(pixels: &[[f32; 4]], rect: Rect, frame: &Header) -> Result<Chunk, exr::error::Error> {
    let mut bytes = Vec::with_capacity(pixels.len() * 16);
    for row in pixels.chunks_exact(rect.width as usize) {
        for channel in [3, 2, 1, 0] {
            bytes.extend(row.iter().flat_map(|pixel| pixel[channel].to_ne_bytes()));
        }
    }
    let index = BlockIndex {
        layer: 0,
        pixel_position: Vec2(rect.x as usize, rect.y as usize),
        pixel_size: Vec2(rect.width as usize, rect.height as usize),
        level: Vec2(0, 0),
    };
    UncompressedBlock { index, data: bytes }.compress_to_chunk(std::slice::from_ref(frame))
}

fn coordinates(rect: Rect, frame: &Header) -> TileCoordinates {
    let tile = frame.max_block_pixel_size();
    TileCoordinates {
        tile_index: Vec2(rect.x as usize / tile.x(), rect.y as usize / tile.y()),
        level_index: Vec2(0, 0),
    }
}

/// Writes a frame whose chunks `chunks` yields in the plan's order.
pub(crate) fn write<E: From<exr::error::Error>>(
    file: impl Write + Seek,
    header: Header,
    produce: impl FnOnce(&mut dyn FnMut(Chunk) -> Result<(), E>) -> Result<(), E>,
) -> Result<(), E> {
    let mut outcome = Ok(());
    let written =
        write_chunks_with(BufWriter::new(file), [header].into_iter().collect(), true, |_, writer| {
            let mut index = 0;
            outcome = produce(&mut |chunk| {
                writer.write_chunk(index, chunk)?;
                index += 1;
                Ok(())
            });
            match outcome {
                Ok(()) => Ok(()),
                Err(_) => Err(exr::error::Error::Aborted),
            }
        });
    outcome?;
    Ok(written?)
}

/// Puts the digest of the pixels into a frame that was written with [`header`]:
/// it is known only after the last chunk, and as long as its placeholder.
pub(crate) fn fill_in_digest(file: &mut (impl Read + Write + Seek), digest: BlobDigest) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut head = Vec::new();
    Read::by_ref(file).take(HEADER_BYTES).read_to_end(&mut head)?;
    let mut mark = [PIXEL_DIGEST, "string"].map(|word| format!("{word}\0")).concat().into_bytes();
    mark.extend(64_u32.to_le_bytes());
    let found = head.windows(mark.len()).position(|window| window == mark);
    let place = found.ok_or_else(|| io::Error::other("the frame's header has no pixel digest"))?;
    file.seek(SeekFrom::Start((place + mark.len()) as u64))?;
    file.write_all(digest.to_string().as_bytes())
}

/// Copies a frame in 32-bit floats to one in 16-bit floats. Values beyond the
/// largest half float, 65,504, become that.
pub(crate) fn write_half(from: impl Read + Seek, to: impl Write + Seek) -> Result<(), exr::error::Error> {
    let mut chunks = exr::block::read(BufReader::new(from), true)?.all_chunks(true)?;
    let single = chunks.meta_data().clone();
    let mut header = single.headers[0].clone();
    header.channels = half_channels(&header.channels);
    write(to, header.clone(), |put| {
        loop {
            let batch: Vec<Chunk> = chunks.by_ref().take(CHUNKS_AT_ONCE).collect::<Result<_, _>>()?;
            if batch.is_empty() {
                return Ok(());
            }
            let halves = crate::parallel::map(&batch, |chunk| halve(chunk.clone(), &single, &header))?;
            halves.into_iter().try_for_each(&mut *put)?;
        }
    })
}

fn half_channels(channels: &ChannelList) -> ChannelList {
    let half =
        |channel: &ChannelDescription| ChannelDescription { sample_type: SampleType::F16, ..channel.clone() };
    ChannelList::new(channels.list.iter().map(half).collect())
}

fn halve(chunk: Chunk, from: &MetaData, to: &Header) -> Result<Chunk, exr::error::Error> {
    let block = UncompressedBlock::decompress_chunk(chunk, from, true)?;
    let samples = block.data.as_chunks::<4>().0.iter().map(|&bytes| f32::from_ne_bytes(bytes));
    let largest = f16::MAX.to_f32();
    let data = samples.flat_map(|sample| f16::from_f32(sample.min(largest)).to_ne_bytes()).collect();
    UncompressedBlock { index: block.index, data }.compress_to_chunk(std::slice::from_ref(to))
}
