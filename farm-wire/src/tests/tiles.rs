//! Tiles: what is encoded comes back, what is hostile does not.

use std::io::Cursor;

use exr::block::UncompressedBlock;
use exr::block::chunk::{Chunk, CompressedBlock, CompressedTileBlock, TileCoordinates};
use exr::block::writer::ChunksWriter;
use exr::math::Vec2;
use exr::prelude::ReadChannels;
use exr::prelude::ReadLayers;
use farm_core::plan::rect_at;
use farm_core::{
    BlobDigest, BlockRange, FrameNumber, JobId, NodeId, PixelFilter, Rect, RectIndex, RenderSettings,
    RenderTask, Resolution, TileId, TileImage,
};
use proptest::prelude::*;

use super::{noise, seeds};
use crate::message::Precision;
use crate::tile::{
    TileAttributes, TileError, compress_pixels, decode_tile, encode_tile, frame_header, tile_chunk,
};

const SIZE: u32 = 16;
const FRAME: Resolution = Resolution { width: 37, height: 21 };

fn settings() -> RenderSettings {
    RenderSettings {
        samples_per_pixel: 40,
        seed: 1,
        max_depth: 4,
        filter: PixelFilter::Box,
        camera: 0,
        transparent: false,
        film: Default::default(),
    }
}

fn task(rect: u32) -> RenderTask {
    let rect = rect_at(FRAME, SIZE, RectIndex(rect)).expect("it is in the frame");
    let range = BlockRange { level: 1, index: 1 };
    RenderTask { resolution: FRAME, frame: FrameNumber(12), rect, range, settings: settings() }
}

fn attributes(rect: u32) -> TileAttributes {
    let range = BlockRange { level: 1, index: 1 };
    TileAttributes {
        tile: TileId { job: JobId(3), frame: FrameNumber(12), rect: RectIndex(rect), range },
        node: NodeId(0xfeed),
        scene: BlobDigest([1; 32]),
        shader_digest: BlobDigest([2; 32]),
        samples_per_pixel: 8,
        finished: false,
    }
}

/// Non-negative values without a pattern: all bits but those that make a
/// float negative, infinite or NaN.
fn pixels(rect: Rect) -> Vec<[f32; 4]> {
    let count = usize::try_from(rect.area()).expect("small");
    let noise = noise(count * 16);
    let value = |bytes: &[u8]| f32::from_bits(u32::from_le_bytes(bytes.try_into().expect("4")) & 0x7f7f_ffff);
    noise.chunks_exact(16).map(|p| std::array::from_fn(|i| value(&p[4 * i..4 * i + 4]))).collect()
}

fn image(rect: u32) -> TileImage {
    let task = task(rect);
    let pixels = pixels(task.rect);
    TileImage { rect: task.rect, range: task.range, samples: 8 * task.rect.area(), rays: 0, pixels }
}

fn encoded(rect: u32) -> Vec<u8> {
    encode_tile(&image(rect), &attributes(rect), FRAME, SIZE)
}

fn decoded(bytes: &[u8], rect: u32) -> Result<TileImage, TileError> {
    decode_tile(bytes, &attributes(rect), &task(rect), SIZE)
}

#[test]
fn every_tile_of_a_frame_survives_bit_for_bit() {
    for rect in 0..6 {
        let found = decoded(&encoded(rect), rect).expect("ours");
        assert_eq!(found, image(rect));
        let bytes = encoded(rect);
        let chunk = tile_chunk(&bytes, &attributes(rect), &task(rect), SIZE).expect("ours");
        seeds::write("tile", &[&[1], chunk].concat());
    }
    seeds::write("tile", &[&[0], &*encoded(0)].concat());
}

#[test]
fn smooth_pixels_are_packed() {
    let mut image = image(0);
    image.pixels.fill([0.25, 0.5, 1.0, 1.0]);
    let bytes = encode_tile(&image, &attributes(0), FRAME, SIZE);
    assert!(bytes.len() < 2000, "{}", bytes.len());
    assert_eq!(decoded(&bytes, 0).expect("ours"), image);
}

#[test]
fn equal_tiles_are_equal_bytes() {
    assert_eq!(encoded(4), encoded(4));
}

#[test]
fn another_reader_finds_pixels_windows_and_attributes() {
    let bytes = encoded(5);
    let file = exr::prelude::read()
        .no_deep_data()
        .largest_resolution_level()
        .all_channels()
        .first_valid_layer()
        .all_attributes()
        .from_buffered(Cursor::new(&bytes))
        .expect("an EXR file");
    let layer = &file.layer_data;
    let (position, size) = (layer.attributes.layer_position, layer.size);
    assert_eq!((position, size), (Vec2(32, 16), Vec2(5, 5)));
    assert_eq!(file.attributes.display_window.size, Vec2(37, 21));
    assert_eq!(file.attributes.chromaticities.map(|c| c.white), Some(Vec2(0.3127, 0.3290)));
    let attribute = |name: &str| layer.attributes.other.get(name.as_bytes()).map(|value| value.to_text());
    assert_eq!(attribute("tessera/node").expect("there").expect("text").to_string(), "000000000000feed");
    assert_eq!(attribute("tessera/range").expect("there").expect("text").to_string(), "1:1");
    let names: Vec<String> = layer.channel_data.list.iter().map(|channel| channel.name.to_string()).collect();
    assert_eq!(names, ["A", "B", "G", "R"]);
    let red: Vec<f32> = layer.channel_data.list[3].sample_data.values_as_f32().collect();
    assert_eq!(red, image(5).pixels.iter().map(|pixel| pixel[0]).collect::<Vec<_>>());
}

#[test]
fn chunks_move_into_a_frame_as_they_are() {
    let header = frame_header(FRAME, SIZE, Precision::Float);
    let mut file = Cursor::new(Vec::new());
    exr::block::write(&mut file, [header.clone()].into_iter().collect(), true, |_, writer| {
        for (index, rect) in (0..6).enumerate() {
            let (bytes, attributes, task) = (encoded(rect), attributes(rect), task(rect));
            let chunk = tile_chunk(&bytes, &attributes, &task, SIZE).expect("ours");
            assert_eq!(chunk, compress_pixels(&header, task.rect, &pixels(task.rect)));
            let coordinates =
                TileCoordinates { tile_index: Vec2(index % 3, index / 3), level_index: Vec2(0, 0) };
            let block = CompressedTileBlock { coordinates, compressed_pixels_le: chunk.to_vec() };
            writer.write_chunk(
                index,
                Chunk { layer_index: 0, compressed_block: CompressedBlock::Tile(block) },
            )?;
        }
        Ok(())
    })
    .expect("written");
    let file = file.into_inner();
    let reader = exr::block::read(Cursor::new(&file), true).expect("a frame");
    let meta = reader.headers().to_vec();
    assert_eq!(meta[0].own_attributes.layer_position, Vec2(0, 0));
    let reader = reader.all_chunks(true).expect("with chunks");
    let metadata = exr::block::reader::ChunksReader::meta_data(&reader).clone();
    for chunk in reader {
        let block =
            UncompressedBlock::decompress_chunk(chunk.expect("whole"), &metadata, true).expect("packed");
        let index =
            u32::try_from(block.index.pixel_position.0 / 16 + 3 * (block.index.pixel_position.1 / 16));
        let pixels = pixels(task(index.expect("small")).rect);
        let alpha = f32::from_ne_bytes(block.data[..4].try_into().expect("4"));
        assert_eq!(alpha, pixels[0][3]);
    }
}

#[test]
fn half_precision_is_rounded_once() {
    let header = frame_header(FRAME, SIZE, Precision::Half);
    let rect = task(0).rect;
    let chunk = compress_pixels(&header, rect, &vec![[0.1, 65504.0, 1e9, 1.0]; 256]);
    let section = exr::meta::attribute::IntegerBounds::from_dimensions((16, 16));
    let bytes =
        header.compression.decompress_image_section_from_le(&header, chunk, section, true).expect("ours");
    let red = exr::prelude::f16::from_ne_bytes([bytes[96], bytes[97]]);
    assert_eq!((bytes.len(), red), (256 * 8, exr::prelude::f16::from_f32(0.1)));
}

#[test]
fn every_wrong_attribute_is_named() {
    let right = attributes(0);
    let tile = |change: fn(&mut TileId)| {
        let mut wrong = right.clone();
        change(&mut wrong.tile);
        wrong
    };
    let wrong = [
        ("tessera/job", tile(|tile| tile.job = JobId(4))),
        ("tessera/frame", tile(|tile| tile.frame = FrameNumber(13))),
        ("tessera/rect", tile(|tile| tile.rect = RectIndex(1))),
        ("tessera/range", tile(|tile| tile.range.index = 0)),
        ("tessera/node", TileAttributes { node: NodeId(1), ..right.clone() }),
        ("tessera/scene", TileAttributes { scene: BlobDigest([9; 32]), ..right.clone() }),
        ("tessera/shaders", TileAttributes { shader_digest: BlobDigest([9; 32]), ..right.clone() }),
        ("tessera/samples_per_pixel", TileAttributes { samples_per_pixel: 16, ..right.clone() }),
        ("tessera/finished", TileAttributes { finished: true, ..right.clone() }),
    ];
    for (name, wrong) in wrong {
        let bytes = encode_tile(&image(0), &wrong, FRAME, SIZE);
        let error = decoded(&bytes, 0).expect_err("another tile");
        assert!(matches!(&error, TileError::Mismatch { field, .. } if *field == name), "{name}: {error}");
    }
}

#[test]
fn another_window_is_refused() {
    let mut moved = image(0);
    moved.rect.x += 1;
    assert!(decoded(&encode_tile(&moved, &attributes(0), FRAME, SIZE), 0).is_err());
    let frame = Resolution { width: 38, ..FRAME };
    assert!(decoded(&encode_tile(&image(0), &attributes(0), frame, SIZE), 0).is_err());
    assert!(decoded(&encode_tile(&image(0), &attributes(0), FRAME, 32), 0).is_err());
}

#[test]
fn bad_pixels_are_found_where_they_are() {
    for (channel, name) in ['R', 'G', 'B', 'A'].into_iter().enumerate() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e-30] {
            let mut image = image(5);
            image.pixels[7][channel] = value;
            let error = decoded(&encode_tile(&image, &attributes(5), FRAME, SIZE), 5).expect_err("bad");
            // Pixel 7 of a rectangle of 5 columns at (32, 16).
            let TileError::BadPixel { x, y, channel, .. } = error else { panic!("{error}") };
            assert_eq!((x, y, channel), (34, 17, name));
        }
    }
}

#[test]
fn truncated_and_prolonged_tiles_are_refused() {
    let bytes = encoded(5);
    for length in 0..bytes.len() {
        assert!(decoded(&bytes[..length], 5).is_err(), "{length}");
    }
    assert!(decoded(&[bytes.as_slice(), &[0]].concat(), 5).is_err());
}

/// A tile whose chunk is really compressed, so that damage meets the inflater.
fn packed() -> Vec<u8> {
    let mut image = image(0);
    for (index, pixel) in image.pixels.iter_mut().enumerate() {
        *pixel = [(index % 16) as f32, (index / 16) as f32, 0.5, 1.0];
    }
    encode_tile(&image, &attributes(0), FRAME, SIZE)
}

proptest! {
    #[test]
    fn a_damaged_tile_is_refused_or_a_tile(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        is_packed in any::<bool>(),
    ) {
        let (mut bytes, rect) = if is_packed { (packed(), 0) } else { (encoded(5), 5) };
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(image) = decoded(&bytes, rect) {
            prop_assert_eq!(image.pixels.len() as u64, image.rect.area());
            prop_assert_eq!(image.rect, task(rect).rect);
        }
    }

    #[test]
    fn a_hostile_chunk_is_refused_or_a_tile(chunk in prop::collection::vec(any::<u8>(), 1..4097)) {
        // A good header with the attacker's pixels and an honest length.
        let good = packed();
        let head = good.len() - tile_chunk(&good, &attributes(0), &task(0), SIZE).expect("ours").len();
        let mut bytes = [&good[..head], chunk.as_slice()].concat();
        let length = u32::try_from(chunk.len()).expect("short");
        bytes[head - 4..head].copy_from_slice(&length.to_le_bytes());
        if let Ok(image) = decoded(&bytes, 0) {
            prop_assert_eq!(image.pixels.len() as u64, image.rect.area());
        }
    }

    #[test]
    fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        prop_assert!(decoded(&bytes, 0).is_err());
        let magic = [&[0x76, 0x2f, 0x31, 0x01, 2, 2, 0, 0], bytes.as_slice()].concat();
        prop_assert!(decoded(&magic, 0).is_err());
    }
}

#[test]
fn a_chunk_that_unpacks_to_more_is_refused() {
    // 2 MiB of zeros packed into some 2 KiB, where 4 KiB are expected.
    let wide = Resolution { width: 512, height: 256 };
    let rect = Rect { x: 0, y: 0, width: 512, height: 256 };
    let bomb = compress_pixels(&frame_header(wide, 512, Precision::Float), rect, &vec![[0.0; 4]; 1 << 17]);
    assert!(bomb.len() < 4096);
    let good = packed();
    let head = good.len() - tile_chunk(&good, &attributes(0), &task(0), SIZE).expect("ours").len();
    let mut bytes = [&good[..head], bomb.as_slice()].concat();
    let length = u32::try_from(bomb.len()).expect("short");
    bytes[head - 4..head].copy_from_slice(&length.to_le_bytes());
    assert!(matches!(decoded(&bytes, 0), Err(TileError::Malformed(_))));
}
