//! What an artist asks for.

use std::num::NonZeroU32;

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
    /// What becomes of a sample before it is summed.
    #[serde(default, skip_serializing_if = "FilmSettings::is_plain")]
    pub film: FilmSettings,
}

/// What becomes of a sample's radiance on its way into the sums. By default
/// nothing; then it is not written either, and settings read as they ever did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct FilmSettings {
    /// Exposure in thousandths of an EV: see [`FilmSettings::exposure_factor`].
    pub exposure_milli_ev: i32,
    /// Bound, in thousandths, of the largest channel of what a sample gains at once
    /// from light that reached the camera after at most one bounce, before the
    /// exposure. `None` is unbounded; any bound loses light.
    pub clamp_direct_milli: Option<NonZeroU32>,
    /// The same of light that took more bounces.
    pub clamp_indirect_milli: Option<NonZeroU32>,
}

impl FilmSettings {
    /// Whether samples are taken as they are.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Factor on the radiance, 2 to the power of the exposure in EV: 1 for none.
    ///
    /// From sums and products alone, so that every machine has the same bits.
    #[must_use]
    pub fn exposure_factor(&self) -> f32 {
        /// The terms of eˣ beyond these are below 2⁻⁶⁰ for x up to ln 2.
        const TERMS: u32 = 20;
        let x = f64::from(self.exposure_milli_ev.rem_euclid(1000)) / 1000.0 * std::f64::consts::LN_2;
        let part = (1..=TERMS).rev().fold(1.0, |sum, term| 1.0 + sum * x / f64::from(term));
        let whole = self.exposure_milli_ev.div_euclid(1000);
        let step = if whole < 0 { 0.5 } else { 2.0 };
        // No float goes through more than 2,098 powers of two.
        let factor = (0..whole.unsigned_abs().min(2_100)).fold(part, |factor, _| factor * step);
        #[expect(clippy::cast_possible_truncation, reason = "the film is of f32")]
        let factor = factor as f32;
        factor
    }
}

impl RenderSettings {
    /// Base blocks of each pixel.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.samples_per_pixel.div_ceil(BASE_BLOCK_SAMPLES)
    }
}

impl FilmSettings {
    fn validate(&self, limits: &Limits) -> Result<(), JobSpecError> {
        let ev = |milli: i32| f64::from(milli) / 1000.0;
        let most = limits.exposure_milli_ev;
        if (-most..=most).contains(&self.exposure_milli_ev) {
            return Ok(());
        }
        let value = format!("{} EV", ev(self.exposure_milli_ev));
        Err(JobSpecError {
            field: "the exposure",
            value,
            allowed: format!("{} to {} EV", ev(-most), ev(most)),
        })
    }
}

/// What a frame shows where the frames of a job have scenes of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameScene {
    /// The scene's manifest.
    pub scene: BlobDigest,
    /// The blobs that the manifest names beside those that all frames share,
    /// sorted, without repetition.
    pub blobs: Vec<BlobDigest>,
}

/// Everything that a job is. The plan of tiles is a pure function of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// A name for people.
    pub name: String,
    /// The scene's manifest; the first frame's where they differ.
    pub scene: BlobDigest,
    /// Every blob that the manifest names, sorted, without repetition; where the
    /// frames' scenes differ, those that all of them name.
    pub blobs: Vec<BlobDigest>,
    /// The scenes of the frames, first to last, where they differ; empty where
    /// all frames show `scene`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frame_scenes: Vec<FrameScene>,
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
    /// Its share of the farm beside jobs of the same priority; 1 is usual, and
    /// then it is not written, so that specs read as they ever did.
    #[serde(default = "usual_weight", skip_serializing_if = "is_usual_weight")]
    pub weight: u32,
    /// What a node must have to take it.
    #[serde(default, skip_serializing_if = "Needs::is_nothing")]
    pub needs: Needs,
}

/// What a node must have to take a job, and what it will fetch. By default
/// nothing; then it is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Needs {
    /// Tags that the node must announce, all of them; sorted, without repetition.
    pub tags: Vec<String>,
    /// Bytes of memory that each of its lanes must have; 0 where it is not known.
    pub memory_bytes: u64,
    /// Bytes that a node which has nothing of the scene fetches before its first
    /// tile; 0 where it is not known.
    pub download_bytes: u64,
}

impl Needs {
    /// Whether any node will do.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn validate(&self, limits: &Limits) -> Result<(), JobSpecError> {
        let refused = |field, value: String, allowed: String| Err(JobSpecError { field, value, allowed });
        if self.tags.len() > limits.tags_per_job {
            let allowed = format!("0 to {}", limits.tags_per_job);
            return refused("the number of tags", self.tags.len().to_string(), allowed);
        }
        if let Some(tag) = self.tags.iter().find(|tag| !is_tag(tag, limits)) {
            let allowed = format!("1 to {} letters, digits, `-`, `_` or `.`", limits.tag_bytes);
            return refused("a tag", format!("`{}`", tag.escape_debug()), allowed);
        }
        if !self.tags.is_sorted_by(|a, b| a < b) {
            let allowed = "sorted, without repetition".to_owned();
            return refused("the list of tags", "unsorted or repeating".to_owned(), allowed);
        }
        Ok(())
    }
}

/// Whether a text can be a tag: a word that nobody has to quote.
#[must_use]
pub fn is_tag(text: &str, limits: &Limits) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=limits.tag_bytes).contains(&text.len()) && text.bytes().all(is_plain)
}

fn usual_weight() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_usual_weight(weight: &u32) -> bool {
    *weight == usual_weight()
}

/// Checks a job's weight.
///
/// # Errors
/// It is 0 or beyond the limit.
pub fn validate_weight(weight: u32, limits: &Limits) -> Result<(), JobSpecError> {
    if (1..=limits.job_weight).contains(&weight) {
        return Ok(());
    }
    let allowed = format!("1 to {}", limits.job_weight);
    Err(JobSpecError { field: "the weight", value: weight.to_string(), allowed })
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
    /// Samples of all pixels of all frames.
    #[must_use]
    pub fn samples(&self) -> u64 {
        let frame = self.resolution.area() * u64::from(self.settings.samples_per_pixel);
        frame.saturating_mul(self.frames.count())
    }

    /// The manifest of what a frame shows.
    #[must_use]
    pub fn scene_of(&self, frame: FrameNumber) -> BlobDigest {
        self.frame_scene(frame).map_or(self.scene, |own| own.scene)
    }

    /// What a frame shows, where it has a scene of its own.
    #[must_use]
    pub fn frame_scene(&self, frame: FrameNumber) -> Option<&FrameScene> {
        let place = frame.0.checked_sub(self.frames.first.0)?;
        self.frame_scenes.get(usize::try_from(place).ok()?)
    }

    /// Every blob that a frame needs, its manifest first.
    pub fn blobs_of(&self, frame: FrameNumber) -> impl Iterator<Item = BlobDigest> + '_ {
        let own = self.frame_scene(frame).into_iter().flat_map(|own| &own.blobs);
        std::iter::once(self.scene_of(frame)).chain(self.blobs.iter().chain(own).copied())
    }

    /// Every blob of the job; one that several frames have for their own comes
    /// several times.
    pub fn all_blobs(&self) -> impl Iterator<Item = BlobDigest> + '_ {
        let own = self.frame_scenes.iter();
        let own = own.flat_map(|own| std::iter::once(&own.scene).chain(&own.blobs)).copied();
        std::iter::once(self.scene).chain(self.blobs.iter().copied()).chain(own)
    }

    /// Whether a blob is one of the job's.
    #[must_use]
    pub fn names(&self, digest: &BlobDigest) -> bool {
        let has = |blobs: &[BlobDigest]| blobs.binary_search(digest).is_ok();
        let is_own = |own: &FrameScene| own.scene == *digest || has(&own.blobs);
        self.scene == *digest || has(&self.blobs) || self.frame_scenes.iter().any(is_own)
    }

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
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let own_blobs = self.frame_scenes.iter().map(|own| count(own.blobs.len()).saturating_add(1));
        let blob_count = own_blobs.fold(count(self.blobs.len()), u64::saturating_add);
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
        self.settings.film.validate(limits)?;
        validate_weight(self.weight, limits)?;
        self.needs.validate(limits)?;
        let lists = std::iter::once(&self.blobs).chain(self.frame_scenes.iter().map(|own| &own.blobs));
        if lists.into_iter().any(|blobs| !blobs.is_sorted_by(|a, b| a < b)) {
            return Err(JobSpecError {
                field: "the list of blobs",
                value: "unsorted or repeating".into(),
                allowed: "sorted, without repetition".into(),
            });
        }
        self.validate_frame_scenes()
    }

    fn validate_frame_scenes(&self) -> Result<(), JobSpecError> {
        let Some(first) = self.frame_scenes.first() else { return Ok(()) };
        let (scenes, frames) = (self.frame_scenes.len(), self.frames.count());
        if u64::try_from(scenes) != Ok(frames) {
            return Err(JobSpecError {
                field: "the number of the frames' scenes",
                value: scenes.to_string(),
                allowed: format!("0 or {frames}, as many as there are frames"),
            });
        }
        if first.scene != self.scene {
            return Err(JobSpecError {
                field: "the scene",
                value: self.scene.to_string(),
                allowed: format!("{}, the first frame's", first.scene),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(value: u8) -> BlobDigest {
        BlobDigest([value; 32])
    }

    /// Frames 5 to 7: blob 1 is in all of them, 2 in the first and the last.
    fn moving() -> JobSpec {
        let own = |scene, blobs: &[u8]| FrameScene {
            scene: digest(scene),
            blobs: blobs.iter().copied().map(digest).collect(),
        };
        JobSpec {
            name: "fox".into(),
            scene: digest(50),
            blobs: vec![digest(1)],
            frame_scenes: vec![own(50, &[2]), own(60, &[3]), own(70, &[2, 4])],
            shader_digest: digest(9),
            resolution: Resolution { width: 16, height: 16 },
            frames: FrameRange { first: FrameNumber(5), last: FrameNumber(7) },
            tile_size: 16,
            settings: RenderSettings {
                samples_per_pixel: 16,
                seed: 0,
                max_depth: 1,
                filter: PixelFilter::Box,
                camera: 0,
                transparent: false,
                film: Default::default(),
            },
            priority: 0,
            weight: 1,
            needs: Default::default(),
        }
    }

    #[test]
    fn frames_have_their_own_scenes_and_blobs() {
        let spec = moving();
        let blobs = |frame| spec.blobs_of(FrameNumber(frame)).collect::<Vec<_>>();
        assert_eq!(blobs(5), [digest(50), digest(1), digest(2)]);
        assert_eq!(blobs(6), [digest(60), digest(1), digest(3)]);
        assert_eq!(spec.scene_of(FrameNumber(7)), digest(70));
        assert_eq!(spec.all_blobs().filter(|blob| *blob == digest(2)).count(), 2);
        for (value, named) in [(50, true), (60, true), (1, true), (4, true), (5, false), (9, false)] {
            assert_eq!(spec.names(&digest(value)), named, "{value}");
        }
        let still = JobSpec { frame_scenes: Vec::new(), ..spec };
        assert_eq!(still.blobs_of(FrameNumber(6)).collect::<Vec<_>>(), [digest(50), digest(1)]);
    }

    #[test]
    fn exposures_are_powers_of_two_within_the_limits() {
        let limits = Limits::default();
        let film = |exposure_milli_ev| FilmSettings { exposure_milli_ev, ..FilmSettings::default() };
        for (milli, factor) in [(0, 1.0), (1000, 2.0), (-3000, 0.125), (32_000, 4_294_967_296.0)] {
            assert_eq!(film(milli).exposure_factor().to_bits(), f32::to_bits(factor), "{milli}");
        }
        for milli in [1, 333, 999, -1, -1500, 12_345, -31_999] {
            let wanted = (f64::from(milli) / 1000.0).exp2();
            let error = f64::from(film(milli).exposure_factor()) / wanted - 1.0;
            // Rounded once to f32.
            assert!(error.abs() <= 0.5_f64.powi(24), "{milli}: {error}");
        }
        assert_eq!(film(i32::MAX).exposure_factor(), f32::INFINITY);
        assert_eq!(film(i32::MIN).exposure_factor(), 0.0);
        let with = |milli| {
            let mut spec = moving();
            spec.settings.film = film(milli);
            spec.validate(&limits).map_err(|error| error.to_string())
        };
        assert_eq!((with(-32_000), with(32_000)), (Ok(()), Ok(())));
        let refusal = "the exposure is -32.001 EV; it must be -32 to 32 EV";
        assert_eq!(with(-32_001), Err(refusal.to_owned()));
    }

    #[test]
    fn frames_scenes_are_as_many_as_frames_within_the_limits() {
        let limits = Limits::default();
        assert_eq!(moving().validate(&limits), Ok(()));
        let field = |change: fn(&mut JobSpec), limits: &Limits| {
            let mut spec = moving();
            change(&mut spec);
            spec.validate(limits).expect_err("something is wrong").field
        };
        let scenes = "the number of the frames' scenes";
        assert_eq!(field(|spec| drop(spec.frame_scenes.pop()), &limits), scenes);
        assert_eq!(field(|spec| spec.frames.last = FrameNumber(8), &limits), scenes);
        assert_eq!(field(|spec| spec.scene = digest(60), &limits), "the scene");
        assert_eq!(field(|spec| spec.frame_scenes[2].blobs.reverse(), &limits), "the list of blobs");
        // One shared, three manifests and four of their own.
        let few = Limits { blobs_per_job: 7, ..Limits::default() };
        assert_eq!(field(|_| (), &few), "the number of blobs");
        assert_eq!(moving().validate(&Limits { blobs_per_job: 8, ..few }), Ok(()));
    }
}
