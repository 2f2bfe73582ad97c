//! The rectangles that a frame keeps from its file while others are rendered
//! again: the tiles of a delivered frame may be gone, but its chunks are in it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use exr::block::chunk::{Chunk, CompressedBlock};
use exr::block::reader::{AllChunksReader, ChunksReader};
use exr::math::Vec2;
use farm_core::RectIndex;

use super::{AssembleError, Frame};
use crate::frame_exr;

/// Reads the chunks of a frame's file, which are in the plan's order.
pub(super) struct Kept {
    path: PathBuf,
    wanted: BTreeSet<RectIndex>,
    /// Nothing where no rectangle is kept.
    chunks: Option<AllChunksReader<BufReader<File>>>,
    columns: usize,
    /// The rectangle of the next chunk.
    next: u32,
}

impl Kept {
    /// Opens the file if rectangles are kept from it, and checks that it shows
    /// the same scene in the same layout.
    pub(super) fn open(frame: &Frame, path: PathBuf) -> Result<Self, AssembleError> {
        let spec = &frame.spec;
        let columns = spec.resolution.width.div_ceil(spec.tile_size) as usize;
        let wanted: BTreeSet<_> = frame.kept.iter().copied().collect();
        let mut kept = Self { path, wanted, chunks: None, columns, next: 0 };
        if kept.wanted.is_empty() {
            return Ok(kept);
        }
        let file = File::open(&kept.path).map_err(|error| kept.unusable(error.to_string()))?;
        let chunks = exr::block::read(BufReader::new(file), true).and_then(|file| file.all_chunks(true));
        let chunks = chunks.map_err(|error| kept.unusable(error.to_string()))?;
        let expected = frame_exr::header(spec, frame.number);
        let alike = chunks.meta_data().headers.first().is_some_and(|found| {
            (found.layer_size, found.blocks, &found.channels, found.compression)
                == (expected.layer_size, expected.blocks, &expected.channels, expected.compression)
                && frame_exr::origin_of(found) == frame_exr::origin_of(&expected)
        });
        if !alike {
            return Err(kept.unusable("it is not what this job made".to_owned()));
        }
        kept.chunks = Some(chunks);
        Ok(kept)
    }

    /// The compressed pixels of a rectangle, if it is kept. Rectangles are asked
    /// for in the plan's order.
    pub(super) fn take(&mut self, rect: RectIndex) -> Result<Option<Vec<u8>>, AssembleError> {
        if !self.wanted.contains(&rect) {
            return Ok(None);
        }
        while let Some(chunk) = self.chunks.as_mut().and_then(Iterator::next) {
            let chunk = chunk.map_err(|error| self.unusable(error.to_string()))?;
            self.next += 1;
            if self.next == rect.0 + 1 {
                return self.pixels_of(rect, chunk).map(Some);
            }
        }
        Err(self.unusable(format!("it has no rectangle {}", rect.0)))
    }

    fn pixels_of(&self, rect: RectIndex, chunk: Chunk) -> Result<Vec<u8>, AssembleError> {
        let index = rect.0 as usize;
        let place = Vec2(index % self.columns, index / self.columns);
        match chunk.compressed_block {
            CompressedBlock::Tile(tile) if tile.coordinates.tile_index == place => {
                Ok(tile.compressed_pixels_le)
            }
            _ => Err(self.unusable(format!("rectangle {index} is in another place"))),
        }
    }

    fn unusable(&self, reason: String) -> AssembleError {
        AssembleError::Kept { path: self.path.clone(), reason }
    }
}
