//! The frame's EXR: tiled, ZIP, RGBA, one chunk for each rectangle of the plan.
//!
//! The chunks are written in the plan's order, so the file has the same bytes
//! in whatever order the tiles arrived.

use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use exr::block::UncompressedBlock;
use exr::block::chunk::{Chunk, CompressedBlock, CompressedTileBlock, TileCoordinates};
use exr::block::reader::ChunksReader;
use exr::block::writer::{ChunksWriter, write_chunks_with};
use exr::math::Vec2;
use exr::meta::MetaData;
use exr::meta::attribute::{AttributeValue, ChannelDescription, ChannelList, SampleType, Text};
use exr::meta::header::Header;
use farm_core::{BlobDigest, FrameNumber, JobSpec, Rect};
use farm_wire::message::Precision;
use farm_wire::tile::frame_header;
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
    let mut header = frame_header(spec.resolution, spec.tile_size, Precision::Float);
    header.own_attributes.software_name = Some(text(concat!("Tessera ", env!("CARGO_PKG_VERSION"))));
    header.own_attributes.other.insert(text(ORIGIN), AttributeValue::Text(origin(spec, frame)));
    let placeholder = AttributeValue::Text(text(&"0".repeat(64)));
    header.shared_attributes.other.insert(text(PIXEL_DIGEST), placeholder);
    header
}

fn text(text: &str) -> Text {
    Text::new_or_none(text).unwrap_or_default()
}

fn origin(spec: &JobSpec, frame: FrameNumber) -> Text {
    let settings = &spec.settings;
    let mut words = format!(
        "scene={} shaders={} frame={} samplesPerPixel={} seed={} maxDepth={}",
        spec.scene_of(frame),
        spec.shader_digest,
        frame.0,
        settings.samples_per_pixel,
        settings.seed,
        settings.max_depth,
    );
    if settings.film.exposure_milli_ev != 0 {
        words.push_str(&format!(" exposureMilliEv={}", settings.film.exposure_milli_ev));
    }
    if let Some(milli) = settings.film.clamp_direct_milli {
        words.push_str(&format!(" clampDirectMilli={milli}"));
    }
    if let Some(milli) = settings.film.clamp_indirect_milli {
        words.push_str(&format!(" clampIndirectMilli={milli}"));
    }
    text(&words)
}

/// What a frame with this header says that it was rendered from.
pub(crate) fn origin_of(header: &Header) -> Option<&AttributeValue> {
    let (own, shared) = (&header.own_attributes.other, &header.shared_attributes.other);
    own.get(&text(ORIGIN)).or_else(|| shared.get(&text(ORIGIN)))
}

/// The frame's chunk of a rectangle, from pixels that are compressed already.
pub(crate) fn chunk(rect: Rect, spec: &JobSpec, compressed: Vec<u8>) -> Chunk {
    let place = |pixels: u32| (pixels / spec.tile_size) as usize;
    let coordinates =
        TileCoordinates { tile_index: Vec2(place(rect.x), place(rect.y)), level_index: Vec2(0, 0) };
    let block = CompressedTileBlock { coordinates, compressed_pixels_le: compressed };
    Chunk { layer_index: 0, compressed_block: CompressedBlock::Tile(block) }
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
