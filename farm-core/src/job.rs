//! What an artist asks for.

use serde::{Deserialize, Serialize};

use crate::id::{BlobDigest, FrameNumber};
use crate::limits::Limits;
use crate::tile::BASE_BLOCK_SAMPLES;

/// Size of a frame in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resolution {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

impl Resolution {
    /// Number of pixels.
    #[must_use]
    pub fn area(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// The frames of a job, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FrameRange {
    /// First frame.
    pub first: FrameNumber,
    /// Last frame, not before the first.
    pub last: FrameNumber,
}

impl FrameRange {
    /// Number of frames.
    #[must_use]
    pub fn count(&self) -> u64 {
        (u64::from(self.last.0) + 1).saturating_sub(u64::from(self.first.0))
    }

    /// The frames, first to last.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = FrameNumber> + use<> {
        (self.first.0..=self.last.0).map(FrameNumber)
    }
}

/// The reconstruction filter, applied by importance sampling inside the pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PixelFilter {
    /// Constant over one pixel.
    Box,
    /// Gaussian of standard deviation 0.5 pixels, cut off at radius 1.5.
    Gaussian,
    /// Blackman-Harris window of radius 1.5 pixels.
    #[default]
    BlackmanHarris,
}

/// How a frame is sampled; together with the scene, the frame, the pixel and
/// the sample index it determines every sample.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RenderSettings {
    /// Samples of each pixel.
    pub samples_per_pixel: u32,
    /// Seed of the sampler.
    pub seed: u32,
    /// Longest path in segments; 1 sees emitters and sky only.
    pub max_depth: u32,
    /// Reconstruction filter.
    pub filter: PixelFilter,
    /// Index of the camera in the scene.
    pub camera: u32,
    /// Leave the background out of the picture, with alpha 0 there; else alpha
    /// is 1 everywhere.
    pub transparent: bool,
}

impl RenderSettings {
    /// Base blocks of each pixel.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.samples_per_pixel.div_ceil(BASE_BLOCK_SAMPLES)
    }
}

/// Everything that a job is. The plan of tiles is a pure function of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// A name for people.
    pub name: String,
    /// The scene's manifest.
    pub scene: BlobDigest,
    /// Every blob that the manifest names, sorted, without repetition.
    pub blobs: Vec<BlobDigest>,
    /// Digest of the shaders that the job is pinned to.
    pub shader_digest: BlobDigest,
    /// Size of each frame.
    pub resolution: Resolution,
    /// Frames to render.
    pub frames: FrameRange,
    /// Edge of the square rectangles that a frame is cut into, in pixels.
    pub tile_size: u32,
    /// How to sample.
    pub settings: RenderSettings,
    /// Higher goes first; 0 is usual.
    pub priority: i32,
}

/// A job that asks for something impossible or beyond a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}; it must be {allowed}")]
pub struct JobSpecError {
    /// The field, as the artist knows it.
    pub field: &'static str,
    /// What it was.
    pub value: String,
    /// What it may be.
    pub allowed: String,
}

impl JobSpec {
    /// Checks every field against `limits`.
    ///
    /// # Errors
    /// Names the first field that is out of its bounds, its value and the bounds.
    pub fn validate(&self, limits: &Limits) -> Result<(), JobSpecError> {
        fn within(field: &'static str, value: u64, low: u64, high: u64) -> Result<(), JobSpecError> {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(JobSpecError { field, value: value.to_string(), allowed: format!("{low} to {high}") })
        }
        let name_length = u64::try_from(self.name.len()).unwrap_or(u64::MAX);
        let blob_count = u64::try_from(self.blobs.len()).unwrap_or(u64::MAX);
        within("the length of the name in bytes", name_length, 1, limits.job_name_bytes)?;
        within("the number of blobs", blob_count, 0, limits.blobs_per_job)?;
        within("the width", self.resolution.width.into(), 1, limits.frame_edge_pixels.into())?;
        within("the height", self.resolution.height.into(), 1, limits.frame_edge_pixels.into())?;
        within("the number of pixels", self.resolution.area(), 1, limits.frame_pixels)?;
        within(
            "the tile size",
            self.tile_size.into(),
            limits.tile_size_min.into(),
            limits.tile_size_max.into(),
        )?;
        within(
            "samples per pixel",
            self.settings.samples_per_pixel.into(),
            1,
            limits.samples_per_pixel.into(),
        )?;
        within("the maximum depth", self.settings.max_depth.into(), 1, limits.max_depth.into())?;
        within("the number of frames", self.frames.count(), 1, limits.frames_per_job)?;
        if !self.blobs.is_sorted_by(|a, b| a < b) {
            return Err(JobSpecError {
                field: "the list of blobs",
                value: "unsorted or repeating".into(),
                allowed: "sorted, without repetition".into(),
            });
        }
        Ok(())
    }
}
