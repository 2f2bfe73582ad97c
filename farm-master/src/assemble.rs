//! Assembly: from a frame's accepted tiles to its files.
//!
//! The sums of every rectangle are added along their fixed tree, so the pixels
//! do not depend on how the work was split, and chunks are written in the
//! plan's order, so neither do the bytes. A rectangle that one tile covers
//! whole is spliced: its compressed chunk goes into the frame as it came.
//! Memory is bounded by one band of rectangles: at most 32,768 × 1,024 pixels
//! of 36 bytes and as much again for chunks, and a few MiB as a rule. Files
//! take their names when they are whole, so a crash leaves nothing half done.

mod kept;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use exr::block::chunk::Chunk;
use exr::meta::header::Header;
use farm_core::scheduler::AcceptedTile;
use farm_core::{
    BlobDigest, BlockRange, FrameNumber, JobId, JobSpec, Rect, RectIndex, TileImage, TileImageError, plan,
};
use farm_wire::tile::{TileError, compress_pixels, decode_tile, decompress_pixels, tile_chunk};
use tempfile::NamedTempFile;

use self::kept::Kept;
use crate::blobs::{BlobError, BlobStore};
use crate::display::display_pixel;
use crate::expectation::Expectation;
use crate::folder::{publish, sync_folder};
use crate::frame_png::FramePng;
use crate::{frame_exr, parallel};

/// A complete frame: what to assemble it from.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The job.
    pub job: JobId,
    /// The frame.
    pub number: FrameNumber,
    /// The job's spec.
    pub spec: JobSpec,
    /// Its accepted tiles, in any order.
    pub tiles: Vec<AcceptedTile>,
    /// The rectangles that are taken from the frame's file, where it was
    /// delivered before and only others were rendered again; in plan order.
    pub kept: Vec<RectIndex>,
}

/// Why a frame cannot be assembled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssembleError {
    /// A tile's blob cannot be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A stored tile is not what was accepted.
    #[error("the stored tile {blob} is not right: {source}")]
    Tile {
        /// Its blob.
        blob: BlobDigest,
        /// What is wrong.
        source: TileError,
    },
    /// A rectangle's tiles do not cover its samples.
    #[error("rectangle {} of frame {frame} has no tile for the samples {range:?}", rect.0)]
    Incomplete {
        /// The frame.
        frame: FrameNumber,
        /// The rectangle.
        rect: RectIndex,
        /// The samples.
        range: BlockRange,
    },
    /// A tile that the job does not have.
    #[error("{0}")]
    Foreign(String),
    /// Sums that do not fit.
    #[error("tiles of one rectangle cannot be summed: {0}")]
    Sum(#[from] TileImageError),
    /// The file that rectangles are kept from is not there or not right.
    #[error(
        "{path}, which holds the rest of the frame, cannot be used: {reason}; render the whole frame again"
    )]
    Kept {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be written.
    #[error("{path}: {source}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The EXR cannot be written.
    #[error("the frame's EXR cannot be written: {0}")]
    Exr(#[from] exr::error::Error),
    /// The PNG cannot be written.
    #[error("the frame's PNG cannot be written: {0}")]
    Png(#[from] png::EncodingError),
}

/// The folder of delivered frames.
#[derive(Clone, Debug)]
pub struct FrameFolder {
    root: PathBuf,
}

impl FrameFolder {
    /// The frames under `root`.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder of a job's frames.
    #[must_use]
    pub fn job(&self, job: JobId) -> PathBuf {
        self.root.join(job.to_string())
    }

    /// A frame's EXR in 32-bit floats.
    #[must_use]
    pub fn exr(&self, job: JobId, frame: FrameNumber) -> PathBuf {
        self.job(job).join(format!("frame.{frame}.exr"))
    }

    /// A frame's PNG.
    #[must_use]
    pub fn png(&self, job: JobId, frame: FrameNumber) -> PathBuf {
        self.job(job).join(format!("frame.{frame}.png"))
    }

    /// A temporary copy of a frame's EXR in 16-bit floats, rewound.
    ///
    /// # Errors
    /// The frame was not delivered, or the disk refuses.
    pub fn half_exr(&self, job: JobId, frame: FrameNumber) -> Result<fs::File, AssembleError> {
        let path = self.exr(job, frame);
        let failed = |source| AssembleError::Disk { path: path.clone(), source };
        let source = fs::File::open(&path).map_err(failed)?;
        let mut copy = tempfile::tempfile_in(&self.root).map_err(failed)?;
        frame_exr::write_half(source, &mut copy)?;
        io::Seek::rewind(&mut copy).map_err(failed)?;
        Ok(copy)
    }
}

/// Sums a complete frame's tiles, writes its EXR and PNG, and returns the
/// digest of its pixels: BLAKE3 over f32 RGBA, little-endian, row by row from
/// the top. The same frame gives the same bytes whenever it is assembled.
///
/// # Errors
/// Names the tile, rectangle or file that is to blame; no file took its name.
pub fn assemble(frame: &Frame, blobs: &BlobStore, folder: &FrameFolder) -> Result<BlobDigest, AssembleError> {
    let job_folder = folder.job(frame.job);
    let failed = |source| AssembleError::Disk { path: job_folder.clone(), source };
    fs::create_dir_all(&job_folder).map_err(failed)?;
    sync_folder(&folder.root).map_err(failed)?;
    let mut exr = NamedTempFile::new_in(&job_folder).map_err(failed)?;
    let png = NamedTempFile::new_in(&job_folder).map_err(failed)?;

    let kept = Kept::open(frame, folder.exr(frame.job, frame.number))?;
    let png_file = png.as_file().try_clone().map_err(failed)?;
    let digest = write_files(frame, blobs, kept, exr.as_file_mut(), png_file)?;
    frame_exr::fill_in_digest(exr.as_file_mut(), digest).map_err(failed)?;
    for (file, path) in
        [(png, folder.png(frame.job, frame.number)), (exr, folder.exr(frame.job, frame.number))]
    {
        publish(file, &path).map_err(|source| AssembleError::Disk { path, source })?;
    }
    Ok(digest)
}

/// Removes what an assembly that died left in `folder`.
///
/// # Errors
/// When a folder cannot be read or a file not be removed.
pub fn sweep(folder: &Path) -> io::Result<()> {
    for job in fs::read_dir(folder)? {
        let job = job?.path();
        let files = if job.is_dir() { fs::read_dir(&job)?.collect() } else { Vec::new() };
        for file in files {
            let file = file?;
            if file.file_name().to_string_lossy().starts_with(".tmp") {
                fs::remove_file(file.path())?;
            }
        }
    }
    Ok(())
}

fn write_files(
    frame: &Frame,
    blobs: &BlobStore,
    mut kept: Kept,
    exr: &mut fs::File,
    png: fs::File,
) -> Result<BlobDigest, AssembleError> {
    let spec = &frame.spec;
    let header = frame_exr::header(spec, frame.number);
    let mut png = FramePng::begin(BufWriter::new(png), spec.resolution, spec.settings.transparent)?;
    let mut hasher = blake3::Hasher::new();
    let mut rects = by_rect(frame);
    frame_exr::write::<AssembleError>(exr, header.clone(), |put| {
        for band in bands(spec) {
            let source = |index| Source::new(index, &mut rects, &mut kept);
            let sources: Vec<Source> = band.into_iter().map(source).collect::<Result<_, _>>()?;
            let parts = parallel::map(&sources, |source| source.finish(frame, blobs, &header))?;
            let rows = Rows::gather(&parts, spec.resolution.width as usize);
            hasher.update(&rows.bytes);
            png.put(&rows.display)?;
            parts.into_iter().try_for_each(|part| put(part.chunk))?;
        }
        Ok(())
    })?;
    png.finish()?;
    Ok(BlobDigest(*hasher.finalize().as_bytes()))
}

fn by_rect(frame: &Frame) -> BTreeMap<RectIndex, Vec<AcceptedTile>> {
    let mut rects: BTreeMap<RectIndex, Vec<AcceptedTile>> = BTreeMap::new();
    for tile in &frame.tiles {
        rects.entry(tile.tile.rect).or_default().push(*tile);
    }
    rects
}

/// The plan's rectangles, one band of the frame's width after the other.
fn bands(spec: &JobSpec) -> impl Iterator<Item = Vec<RectIndex>> + use<> {
    let columns = spec.resolution.width.div_ceil(spec.tile_size);
    let rects = plan::rect_count(spec.resolution, spec.tile_size);
    (0..rects / columns).map(move |band| {
        let first = band * columns;
        (first..first + columns).map(RectIndex).collect()
    })
}

/// A rectangle and the tiles that it is summed from.
struct Source {
    rect: RectIndex,
    tiles: Vec<AcceptedTile>,
    /// Its chunk in the frame's file, if it is kept from there.
    kept: Option<Vec<u8>>,
}

/// A finished rectangle.
struct Part {
    rect: Rect,
    pixels: Vec<[f32; 4]>,
    display: Vec<[u8; 4]>,
    chunk: Chunk,
}

impl Part {
    fn new(spec: &JobSpec, rect: Rect, pixels: Vec<[f32; 4]>, compressed: Vec<u8>) -> Self {
        let chunk = frame_exr::chunk(rect, spec, compressed);
        let display = pixels.iter().copied().map(display_pixel).collect();
        Self { rect, pixels, display, chunk }
    }
}

impl Source {
    fn new(
        rect: RectIndex,
        rects: &mut BTreeMap<RectIndex, Vec<AcceptedTile>>,
        kept: &mut Kept,
    ) -> Result<Self, AssembleError> {
        Ok(Self { rect, tiles: rects.remove(&rect).unwrap_or_default(), kept: kept.take(rect)? })
    }

    fn finish(&self, frame: &Frame, blobs: &BlobStore, header: &Header) -> Result<Part, AssembleError> {
        let spec = &frame.spec;
        if let Some(compressed) = &self.kept {
            let rect = plan::rect_at(spec.resolution, spec.tile_size, self.rect);
            let rect = rect.expect("the bands are of the plan's rectangles");
            let pixels = decompress_pixels(header, rect, compressed)
                .map_err(|error| AssembleError::Foreign(format!("a kept rectangle: {error}")))?;
            return Ok(Part::new(spec, rect, pixels, compressed.clone()));
        }
        let root = BlockRange::root(spec.settings.blocks());
        let whole = self.tiles.iter().find(|tile| tile.tile.range == root);
        let (image, compressed) = match whole {
            Some(tile) => {
                let loaded = Loaded::read(spec, tile, blobs)?;
                let chunk = loaded.chunk()?;
                (loaded.image, chunk)
            }
            None => {
                let sum = self.sum(frame, blobs, root)?;
                let image = sum.finish(spec.settings.samples_per_pixel)?;
                let chunk = compress_pixels(header, image.rect, &image.pixels);
                (image, chunk)
            }
        };
        Ok(Part::new(spec, image.rect, image.pixels, compressed))
    }

    /// The sum over `range`: the tile that covers it, or its halves' sum. At
    /// most one image for each level of the tree is in memory.
    fn sum(&self, frame: &Frame, blobs: &BlobStore, range: BlockRange) -> Result<TileImage, AssembleError> {
        if let Some(tile) = self.tiles.iter().find(|tile| tile.tile.range == range) {
            return Loaded::read(&frame.spec, tile, blobs).map(|loaded| loaded.image);
        }
        let missing = || AssembleError::Incomplete { frame: frame.number, rect: self.rect, range };
        let [earlier, later] = range.halves().ok_or_else(missing)?;
        let sum = self.sum(frame, blobs, earlier)?;
        if later.is_empty(frame.spec.settings.blocks()) {
            return Ok(sum.promote());
        }
        Ok(sum.merge(&self.sum(frame, blobs, later)?)?)
    }
}

/// A stored tile, checked.
struct Loaded {
    blob: BlobDigest,
    bytes: Vec<u8>,
    expected: Expectation,
    image: TileImage,
}

impl Loaded {
    /// Reads a stored tile and checks it as if it had just arrived.
    fn read(spec: &JobSpec, accepted: &AcceptedTile, blobs: &BlobStore) -> Result<Self, AssembleError> {
        let expected =
            Expectation::new(spec, accepted.tile, accepted.node).map_err(AssembleError::Foreign)?;
        let blob = accepted.blob;
        let bytes = blobs.read(blob)?;
        let image = decode_tile(&bytes, &expected.attributes, &expected.task, expected.tile_size)
            .map_err(|source| AssembleError::Tile { blob, source })?;
        Ok(Self { blob, bytes, expected, image })
    }

    /// The compressed chunk as it came: what the frame takes in its place.
    fn chunk(&self) -> Result<Vec<u8>, AssembleError> {
        let Expectation { task, attributes, tile_size } = &self.expected;
        tile_chunk(&self.bytes, attributes, task, *tile_size)
            .map(<[u8]>::to_vec)
            .map_err(|source| AssembleError::Tile { blob: self.blob, source })
    }
}

/// The finished rows of a band.
struct Rows {
    /// f32 RGBA, little-endian.
    bytes: Vec<u8>,
    display: Vec<[u8; 4]>,
}

impl Rows {
    fn gather(parts: &[Part], width: usize) -> Self {
        let height = parts.first().map_or(0, |part| part.rect.height as usize);
        let mut bytes = Vec::with_capacity(width * height * 16);
        let mut display = Vec::with_capacity(width * height);
        for row in 0..height {
            for part in parts {
                let columns = part.rect.width as usize;
                let range = row * columns..(row + 1) * columns;
                let channels = part.pixels[range.clone()].as_flattened().iter();
                bytes.extend(channels.flat_map(|channel| channel.to_le_bytes()));
                display.extend_from_slice(&part.display[range]);
            }
        }
        Self { bytes, display }
    }
}

#[cfg(test)]
mod tests;
