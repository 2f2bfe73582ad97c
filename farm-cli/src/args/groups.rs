//! Groups of options that several commands take, and commands that are little
//! more than such groups.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use farm_core::{FrameNumber, FrameRange, PixelFilter, Resolution};
use farm_scene::Shutter;

use crate::values::{self, Clamp, Exposure};

/// How results are printed.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct OutputArgs {
    /// Print exactly one JSON object on stdout, also when the command fails.
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Which farm to talk to.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct FarmArgs {
    /// A farm by the name that was given to `farm login --farm`.
    #[arg(long, value_name = "NAME", value_parser = values::parse_farm_name)]
    pub(crate) farm: Option<String>,
    /// The credentials file, instead of the one in the configuration folder.
    #[arg(long, value_name = "FILE", env = "TESSERA_CREDENTIALS")]
    pub(crate) credentials: Option<PathBuf>,
}

/// A command that only asks the farm something.
#[derive(Args, Debug)]
pub(crate) struct FarmQuery {
    #[command(flatten)]
    pub(crate) farm: FarmArgs,
    #[command(flatten)]
    pub(crate) output_args: OutputArgs,
}

/// `farm jobs`.
#[derive(Args, Debug)]
pub(crate) struct JobsCommand {
    /// List everybody's jobs and say whose they are; for admins.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) query: FarmQuery,
}

/// The scene and what surrounds it.
#[derive(Args, Clone, Debug)]
pub(crate) struct SceneArgs {
    /// The scene: a .glb or .gltf file.
    pub(crate) scene: PathBuf,
    /// An environment map, .hdr or .exr: its centre looks along -Z, +Y is up.
    #[arg(long, value_name = "FILE")]
    pub(crate) env: Option<PathBuf>,
    /// Factor on the environment map's radiance.
    #[arg(long, value_name = "X", default_value = "1", requires = "env",
          value_parser = values::parse_strength, allow_negative_numbers = true)]
    pub(crate) env_strength: f32,
    /// Turn of the environment map about +Y, in degrees.
    #[arg(long, value_name = "DEG", default_value = "0", requires = "env",
          value_parser = values::parse_degrees, allow_negative_numbers = true)]
    pub(crate) env_rotation: f32,
    /// A constant sky of this linear radiance instead of an environment map.
    #[arg(long, value_name = "R,G,B", conflicts_with = "env",
          value_parser = values::parse_sky, allow_negative_numbers = true)]
    pub(crate) sky: Option<values::Sky>,
    /// The variant whose materials are shown, by its name; `farm inspect` lists
    /// them [default: the materials that the file shows by itself].
    #[arg(long, value_name = "NAME")]
    pub(crate) variant: Option<String>,
}

impl SceneArgs {
    /// A scene in the surroundings that its file says.
    pub(crate) fn alone(scene: PathBuf) -> Self {
        Self { scene, env: None, env_strength: 1.0, env_rotation: 0.0, sky: None, variant: None }
    }
}

/// How a scene is rendered.
#[derive(Args, Clone, Debug)]
pub(crate) struct SettingsArgs {
    /// Size of the picture in pixels.
    #[arg(long, value_name = "WxH", default_value = "1280x720", value_parser = values::parse_size)]
    pub(crate) size: Resolution,
    /// Samples of each pixel.
    #[arg(long, value_name = "N", default_value = "128", value_parser = values::parse_samples)]
    pub(crate) spp: u32,
    /// Seed of the sampler: another seed gives other noise.
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) seed: u32,
    /// Camera, by its name in the scene or by its number from 0 [default: the first].
    #[arg(long, value_name = "NAME")]
    pub(crate) camera: Option<String>,
    /// Aperture of the camera's lens: what is out of focus blurs, on a sensor that
    /// is 24 mm high.
    #[arg(long, value_name = "N", value_parser = values::parse_positive)]
    pub(crate) fstop: Option<f32>,
    /// Distance from the camera, along its view and in metres, that is sharp.
    #[arg(long, value_name = "METRES", value_parser = values::parse_positive)]
    pub(crate) focus_distance: Option<f32>,
    /// Longest path in segments; 1 sees emitters and the sky only.
    #[arg(long, value_name = "N", default_value = "8", value_parser = values::parse_depth)]
    pub(crate) max_depth: u32,
    /// Frames to render, both ends included; a single number for one frame. Where
    /// the scene has animations, frame N shows it N frames after their start
    /// [default: one frame, with the scene at rest].
    #[arg(long, value_name = "A-B", value_parser = values::parse_frames)]
    pub(crate) frames: Option<FrameRange>,
    /// The animation that the frames show, by its name or its number; `farm
    /// inspect` lists them [default: the first].
    #[arg(long, value_name = "NAME", requires = "frames")]
    pub(crate) animation: Option<String>,
    /// Frames in a second of the animation; may be a fraction, as 24000/1001.
    #[arg(long, value_name = "N", default_value = "24", requires = "frames",
          value_parser = values::parse_fps, allow_negative_numbers = true)]
    pub(crate) fps: f64,
    /// Blur of what moves: the part of a frame's time during which the shutter is
    /// open, from the frame on, as 0.5 for a film camera's half turn [default: none,
    /// a frame is an instant].
    #[arg(long, value_name = "X", requires = "frames", value_parser = values::parse_shutter,
          allow_negative_numbers = true)]
    pub(crate) shutter: Option<f64>,
    /// Parts of the time of the shutter in which things move along straight lines:
    /// more of them for what turns fast.
    #[arg(long, value_name = "N", default_value_t = Shutter::PARTS, requires = "shutter",
          value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) shutter_parts: u32,
    /// Edge of the tiles in pixels; changes no pixel [default: by the picture's size].
    #[arg(long, value_name = "N", value_parser = values::parse_tile)]
    pub(crate) tile: Option<u32>,
    /// Reconstruction filter of the pixels.
    #[arg(long, value_enum, default_value = "blackman-harris")]
    pub(crate) filter: FilterArg,
    /// Leave the background out of the picture, with alpha 0 there.
    #[arg(long)]
    pub(crate) transparent: bool,
    /// Exposure: 1 makes the picture twice as bright, -1 half as bright, in the EXR
    /// as in the PNG. Thousandths count.
    #[arg(long, value_name = "EV", default_value = "0",
          value_parser = values::parse_exposure, allow_negative_numbers = true)]
    pub(crate) exposure: Exposure,
    /// Darkens what a sample gains at once from light that came straight or after one
    /// bounce until no channel exceeds X, before the exposure. Loses light, as
    /// highlights get too dark [default: off, as every sample counts in full].
    #[arg(long, value_name = "X", value_parser = values::parse_clamp, allow_negative_numbers = true)]
    pub(crate) clamp_direct: Option<Clamp>,
    /// The same for light that took two bounces or more: fewer fireflies, and too
    /// little indirect light, caustics above all [default: off].
    #[arg(long, value_name = "X", value_parser = values::parse_clamp, allow_negative_numbers = true)]
    pub(crate) clamp_indirect: Option<Clamp>,
}

impl SettingsArgs {
    /// How long the shutter is open in each frame.
    pub(crate) fn shutter(&self) -> Option<Shutter> {
        let seconds = self.shutter? / self.fps;
        Some(Shutter { seconds, parts: self.shutter_parts })
    }

    /// The frames to render; the number 1 for a scene at rest.
    pub(crate) fn frames(&self) -> FrameRange {
        self.frames.unwrap_or(FrameRange { first: FrameNumber(1), last: FrameNumber(1) })
    }
}

/// A reconstruction filter by its name.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilterArg {
    /// Constant over one pixel.
    Box,
    /// Standard deviation 0.5 pixels, radius 1.5.
    Gaussian,
    /// Window of radius 1.5 pixels.
    BlackmanHarris,
}

impl From<FilterArg> for PixelFilter {
    fn from(filter: FilterArg) -> Self {
        match filter {
            FilterArg::Box => Self::Box,
            FilterArg::Gaussian => Self::Gaussian,
            FilterArg::BlackmanHarris => Self::BlackmanHarris,
        }
    }
}
