use exr::image::{Image, Layer, RgbaChannels, SpecificChannels};
use exr::prelude::{ReadChannels, ReadLayers, read};
use farm_core::{JobId, Resolution};

use super::*;
use crate::testing::{accept, picture, pixel_digest, spec, tile_id};

/// Where a frame is assembled.
struct Place {
    root: tempfile::TempDir,
    blobs: BlobStore,
    folder: FrameFolder,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        let blobs = BlobStore::open(&root.path().join("blobs"), 1 << 30).expect("it opens");
        let frames = root.path().join("frames");
        fs::create_dir_all(&frames).expect("there is room");
        Self { root, blobs, folder: FrameFolder::new(frames) }
    }

    /// A frame whose every rectangle is split into the ranges that `split`
    /// yields for its root.
    fn frame(&self, spec: &JobSpec, split: impl Fn(u32, BlockRange) -> Vec<BlockRange>) -> Frame {
        let root = BlockRange::root(spec.settings.blocks());
        let rects = 0..plan::rect_count(spec.resolution, spec.tile_size);
        let tiles = rects.flat_map(|rect| split(rect, root).into_iter().map(move |r| tile_id(rect, r)));
        let tiles = tiles.map(|tile| accept(&self.blobs, spec, tile)).collect();
        Frame { job: JobId(1), number: FrameNumber(1), spec: spec.clone(), tiles, kept: Vec::new() }
    }

    fn assemble(&self, frame: &Frame) -> (BlobDigest, Vec<u8>, Vec<u8>) {
        let digest = assemble(frame, &self.blobs, &self.folder).expect("the frame is complete");
        let read = |path: PathBuf| fs::read(path).expect("the file was written");
        let (job, number) = (frame.job, frame.number);
        (digest, read(self.folder.exr(job, number)), read(self.folder.png(job, number)))
    }
}

fn whole(_: u32, root: BlockRange) -> Vec<BlockRange> {
    vec![root]
}

/// Every base block by itself.
fn blocks(spec: &JobSpec) -> impl Fn(u32, BlockRange) -> Vec<BlockRange> {
    let count = spec.settings.blocks();
    move |_, _| (0..count).map(|index| BlockRange { level: 0, index }).collect()
}

/// Every rectangle split in another way, some of them halved and halved again.
fn mixed(spec: &JobSpec) -> impl Fn(u32, BlockRange) -> Vec<BlockRange> {
    let count = spec.settings.blocks();
    move |rect, root| {
        let mut ranges = vec![root];
        for _ in 0..rect % 4 {
            let last = ranges.pop().expect("there is one");
            match last.halves() {
                Some(halves) => ranges.extend(halves.into_iter().filter(|h| !h.is_empty(count))),
                None => ranges.push(last),
            }
        }
        ranges
    }
}

/// Odd sizes, edge tiles, one block, numbers of blocks that are no power of two.
const SIZES: [(u32, u32, u32, u32); 6] = [
    (64, 64, 32, 64),
    (100, 60, 32, 48),
    (33, 17, 16, 80),
    (7, 3, 8, 1),
    (65, 40, 64, 113),
    (16, 16, 16, 16),
];

#[test]
fn pixels_are_those_of_the_picture_however_it_was_split() {
    for (width, height, tile, samples) in SIZES {
        let spec = spec(width, height, tile, samples);
        let expected = pixel_digest(&picture(&spec));
        let place = Place::new();
        let spliced = place.assemble(&place.frame(&spec, whole));
        let merged = place.assemble(&place.frame(&spec, blocks(&spec)));
        let mixed = place.assemble(&place.frame(&spec, mixed(&spec)));
        assert_eq!(spliced.0, expected, "{width}×{height}, {samples} samples, spliced");
        assert!(spliced == merged, "{width}×{height}, {samples} samples, merged");
        assert!(spliced == mixed, "{width}×{height}, {samples} samples, mixed");
    }
}

#[test]
fn whole_tiles_are_spliced() {
    let spec = spec(64, 32, 32, 48);
    let place = Place::new();
    let frame = place.frame(&spec, whole);
    let (_, exr, _) = place.assemble(&frame);
    for tile in &frame.tiles {
        let loaded = Loaded::read(&spec, tile, &place.blobs).expect("it is right");
        let chunk = loaded.chunk().expect("it is right");
        let found = exr.windows(chunk.len()).any(|window| window == chunk);
        assert!(found, "{:?}", tile.rect);
    }
}

#[test]
fn order_of_arrival_does_not_show() {
    let spec = spec(100, 60, 32, 80);
    let place = Place::new();
    let mut frame = place.frame(&spec, mixed(&spec));
    let first = place.assemble(&frame);
    frame.tiles.reverse();
    assert!(place.assemble(&frame) == first, "reversed");
    frame.tiles.rotate_left(7);
    assert!(place.assemble(&frame) == first, "rotated");
}

/// Rows of pixels and their width.
type Pixels = (usize, Vec<[f32; 4]>);

/// Reads a frame as another program would.
fn read_rgba(
    source: impl io::Read + io::Seek + Send,
) -> Image<Layer<SpecificChannels<Pixels, RgbaChannels>>> {
    read()
        .no_deep_data()
        .largest_resolution_level()
        .rgba_channels(
            |size, _| (size.width(), vec![[0.0_f32; 4]; size.area()]),
            |(width, pixels): &mut Pixels, at, (r, g, b, a): (f32, f32, f32, f32)| {
                pixels[at.y() * *width + at.x()] = [r, g, b, a];
            },
        )
        .first_valid_layer()
        .all_attributes()
        .from_buffered(source)
        .expect("it is an EXR")
}

#[test]
fn other_programs_read_the_frame() {
    let spec = spec(100, 60, 32, 48);
    let place = Place::new();
    let (digest, exr, png) = place.assemble(&place.frame(&spec, mixed(&spec)));
    let Resolution { width, height } = spec.resolution;

    let image = read_rgba(io::Cursor::new(exr));
    assert_eq!(image.layer_data.channel_data.pixels.1, picture(&spec));
    assert_eq!(image.attributes.chromaticities.map(|c| c.white.x()), Some(0.3127));
    let stated = image.attributes.other.values().chain(image.layer_data.attributes.other.values());
    let stated: Vec<String> =
        stated.filter_map(|value| value.to_text().ok()).map(|text| text.to_string()).collect();
    assert!(stated.contains(&digest.to_string()), "{stated:?}");
    assert!(stated.iter().any(|text| text.contains("samplesPerPixel=48")), "{stated:?}");

    let mut reader = png::Decoder::new(io::Cursor::new(png)).read_info().expect("it is a PNG");
    let mut bytes = vec![0; reader.output_buffer_size().expect("it is small")];
    let info = reader.next_frame(&mut bytes).expect("it is whole");
    assert_eq!((info.width, info.height, info.color_type), (width, height, png::ColorType::Rgb));
    let expected: Vec<u8> = picture(&spec).into_iter().flat_map(|p| display_pixel(p)[..3].to_vec()).collect();
    assert_eq!(bytes, expected);
}

#[test]
fn transparent_frames_have_alpha_in_the_png() {
    let mut spec = spec(20, 10, 16, 16);
    spec.settings.transparent = true;
    let place = Place::new();
    let (_, _, png) = place.assemble(&place.frame(&spec, whole));
    let reader = png::Decoder::new(io::Cursor::new(png)).read_info().expect("it is a PNG");
    assert_eq!(reader.info().color_type, png::ColorType::Rgba);
}

#[test]
fn half_float_copy_holds_the_rounded_pixels() {
    let spec = spec(100, 60, 32, 48);
    let place = Place::new();
    let frame = place.frame(&spec, whole);
    place.assemble(&frame);
    let copy = place.folder.half_exr(frame.job, frame.number).expect("the frame is there");
    let image = read_rgba(io::BufReader::new(copy));
    assert_eq!(
        image.layer_data.channel_data.pixels.1,
        picture(&spec).into_iter().map(round).collect::<Vec<_>>()
    );
}

fn round(pixel: [f32; 4]) -> [f32; 4] {
    pixel.map(|channel| half::f16::from_f32(channel).to_f32())
}

#[test]
fn missing_range_is_named_and_no_file_is_left() {
    let spec = spec(100, 60, 32, 48);
    let place = Place::new();
    let mut frame = place.frame(&spec, blocks(&spec));
    frame.tiles.retain(|tile| tile.tile != tile_id(5, BlockRange { level: 0, index: 1 }));
    let error = assemble(&frame, &place.blobs, &place.folder).expect_err("a tile is missing");
    let AssembleError::Incomplete { rect, range, .. } = error else { panic!("{error}") };
    assert_eq!((rect, range), (RectIndex(5), BlockRange { level: 0, index: 1 }));
    let left = fs::read_dir(place.folder.job(frame.job)).expect("it is there").count();
    assert_eq!(left, 0);
}

#[test]
fn rotten_tile_is_found() {
    let spec = spec(64, 64, 32, 16);
    let place = Place::new();
    let frame = place.frame(&spec, whole);
    let name = frame.tiles[2].blob.to_string();
    let path = place.root.path().join("blobs").join(&name[..2]).join(&name[2..]);
    let mut bytes = fs::read(&path).expect("it is there");
    *bytes.last_mut().expect("it is not empty") ^= 1;
    fs::write(&path, bytes).expect("there is room");
    let error = assemble(&frame, &place.blobs, &place.folder).expect_err("it rotted");
    assert!(matches!(error, AssembleError::Blob(BlobError::WrongDigest { .. })), "{error}");
}

#[test]
fn leftovers_of_a_dead_assembly_are_swept() {
    let place = Place::new();
    let folder = place.folder.job(JobId(9));
    fs::create_dir_all(&folder).expect("there is room");
    for name in [".tmpdead", "frame.0001.exr"] {
        fs::write(folder.join(name), b"x").expect("there is room");
    }
    sweep(&place.folder.root).expect("it is readable");
    let left: Vec<_> = fs::read_dir(&folder).expect("it is there").flatten().collect();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].file_name(), "frame.0001.exr");
}

/// The tiles of some rectangles, and the others as kept.
fn keep(mut frame: Frame, again: impl Fn(u32) -> bool) -> Frame {
    let rects = plan::rect_count(frame.spec.resolution, frame.spec.tile_size);
    frame.tiles.retain(|tile| again(tile.tile.rect.0));
    frame.kept = (0..rects).filter(|rect| !again(*rect)).map(RectIndex).collect();
    frame
}

#[test]
fn what_is_kept_comes_from_the_file_and_the_rest_from_the_tiles() {
    for (width, height, tile, samples) in SIZES {
        let spec = spec(width, height, tile, samples);
        let place = Place::new();
        let frame = place.frame(&spec, mixed(&spec));
        let before = place.assemble(&frame);
        let again = keep(frame, |rect| rect % 3 == 1);
        assert!(place.assemble(&again) == before, "{width}×{height}, {samples} samples");
    }
}

#[test]
fn file_that_is_gone_or_of_another_job_is_not_mixed_in() {
    let spec = spec(64, 64, 32, 16);
    let place = Place::new();
    let frame = keep(place.frame(&spec, whole), |rect| rect == 2);
    let refusal = |frame: &Frame| {
        assemble(frame, &place.blobs, &place.folder).expect_err("there is no such file").to_string()
    };
    assert!(refusal(&frame).contains("render the whole frame again"), "{}", refusal(&frame));
    let mut other = spec.clone();
    other.settings.seed = 7;
    place.assemble(&place.frame(&other, whole));
    assert!(refusal(&frame).contains("it is not what this job made"), "{}", refusal(&frame));
}
