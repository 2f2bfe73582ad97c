//! The command line: every command, option, default and help text.
//!
//! What comes out of here is already right in form and range; whether a file
//! exists or a camera has that name is found out later.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use farm_core::{FrameNumber, FrameRange, JobId, PixelFilter, Rect, Resolution};
use farm_scene::Shutter;

use crate::values::{self, Clamp, Exposure};

/// Printed below every `--help` and in the man pages.
const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the job failed or was cancelled, or a picture could not be written
  2    wrong use or bad input
  3    no adapter, or the master is out of reach
  130  stopped by Ctrl-C (143 by a termination signal)";

/// Renders scenes with path tracing, on this machine or on a farm.
#[derive(Parser, Debug)]
#[command(name = "farm", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Say more on stderr; repeat for more still.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Render a scene on this machine: a whole farm in one process.
    #[command(after_help = EXIT_CODES)]
    Render(Box<RenderCommand>),
    /// Join a farm as an artist, with a ticket from its master.
    #[command(after_help = EXIT_CODES)]
    Login(LoginCommand),
    /// Send a scene to the farm and have it rendered there.
    #[command(after_help = EXIT_CODES)]
    Submit(Box<SubmitCommand>),
    /// List the farm's jobs.
    #[command(after_help = EXIT_CODES)]
    Jobs(FarmQuery),
    /// Follow a job until it ends.
    #[command(after_help = EXIT_CODES)]
    Watch(JobCommand),
    /// Fetch the frames of a job that are done.
    #[command(after_help = EXIT_CODES)]
    Fetch(FetchCommand),
    /// Grant no further tiles of a job; those being rendered are finished.
    #[command(after_help = EXIT_CODES)]
    Pause(JobCommand),
    /// Go on with a paused job.
    #[command(after_help = EXIT_CODES)]
    Resume(JobCommand),
    /// Give a job up for good.
    #[command(after_help = EXIT_CODES)]
    Cancel(JobCommand),
    /// Forget a failed job's failures and go on with it.
    #[command(after_help = EXIT_CODES)]
    Retry(JobCommand),
    /// Give a job another priority; tiles being rendered are finished first.
    #[command(after_help = EXIT_CODES)]
    Priority(PriorityCommand),
    /// Give a job another share of the farm beside jobs of the same priority.
    #[command(after_help = EXIT_CODES)]
    Weight(WeightCommand),
    /// Render frames of a job, or a region of them, again: what was accepted of
    /// them is forgotten. Delivered frames are made anew, and a job that is done
    /// goes on.
    #[command(after_help = EXIT_CODES)]
    Rerender(RerenderCommand),
    /// Grant a node nothing more; what it renders it finishes. It stays drained
    /// until `farm undrain`, whatever restarts.
    #[command(after_help = EXIT_CODES)]
    Drain(NodeCommand),
    /// Let a drained node work again.
    #[command(after_help = EXIT_CODES)]
    Undrain(NodeCommand),
    /// Take everything from a node, and neither grant nor take anything more. It
    /// stays banned until `farm forgive`, whatever restarts.
    #[command(after_help = EXIT_CODES)]
    Ban(NodeCommand),
    /// Let a banned node work again.
    #[command(after_help = EXIT_CODES)]
    Forgive(NodeCommand),
    /// List the nodes that are connected to the farm, drained or banned.
    #[command(after_help = EXIT_CODES)]
    Nodes(FarmQuery),
    /// Say what a scene holds, without rendering it.
    #[command(after_help = EXIT_CODES)]
    Inspect(InspectCommand),
    /// Compare two EXR pictures.
    #[command(after_help = EXIT_CODES)]
    Diff(DiffCommand),
    /// List this machine's adapters that can render, best first.
    #[command(after_help = EXIT_CODES)]
    Adapters(AdaptersCommand),
    /// Measure how fast this machine's adapters render, side by side.
    #[command(after_help = EXIT_CODES)]
    Bench(BenchCommand),
    /// Print the completions for a shell.
    #[command(after_help = EXIT_CODES)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder.
    #[command(after_help = EXIT_CODES)]
    Man {
        /// The folder; made if it is not there.
        dir: PathBuf,
    },
}

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

/// `farm render`.
#[derive(Args, Debug)]
pub(crate) struct RenderCommand {
    #[command(flatten)]
    pub(crate) scene: SceneArgs,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    /// The picture, .exr; of several frames each has its number in its name, in
    /// the place of `####` or before the extension.
    #[arg(short, long, value_name = "OUT.exr")]
    pub(crate) output: PathBuf,
    /// A display-referred PNG as well; numbered like the EXR.
    #[arg(long, value_name = "FILE")]
    pub(crate) png: Option<PathBuf>,
    /// Store 16-bit floats in the EXR instead of 32-bit ones.
    #[arg(long)]
    pub(crate) half: bool,
    /// Nodes to start in this process.
    #[arg(long, value_name = "N", default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) nodes: u32,
    /// Adapter, by its number in `farm adapters`, a part of its name, `cpu` for
    /// the processor, or `all` [default: the best].
    #[arg(long, value_name = "ADAPTER")]
    pub(crate) adapter: Option<String>,
    /// Render on the processor too, on so many threads [default: on all].
    #[arg(long, value_name = "THREADS", num_args = 0..=1)]
    pub(crate) cpu: Option<Option<NonZeroUsize>>,
    /// The folder of prepared scenes, which need not be prepared again the next
    /// time; it grows to 5 GB at most [default: in this user's cache folder].
    #[arg(long, value_name = "DIR", env = "TESSERA_CACHE")]
    pub(crate) cache: Option<PathBuf>,
    /// Keep no prepared scene and use none.
    #[arg(long, conflicts_with = "cache")]
    pub(crate) no_cache: bool,
    #[command(flatten)]
    pub(crate) output_args: OutputArgs,
}

/// `farm submit`.
#[derive(Args, Debug)]
pub(crate) struct SubmitCommand {
    #[command(flatten)]
    pub(crate) scene: SceneArgs,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    /// Jobs of higher priority go first.
    #[arg(long, value_name = "N", default_value = "0", allow_negative_numbers = true)]
    pub(crate) priority: i32,
    /// The job's share of the farm beside jobs of the same priority.
    #[arg(long, value_name = "N", default_value = "1", value_parser = values::parse_weight)]
    pub(crate) weight: u32,
    /// Only nodes with this tag are to render it; several times for several tags.
    #[arg(long = "tag", value_name = "TAG", value_parser = values::parse_tag)]
    pub(crate) tags: Vec<String>,
    /// The job's name [default: the scene file's].
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Wait until the job ends, showing how far it is.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Fetch the frames into this folder as they are done; made if it is not
    /// there; implies --wait.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) farm: FarmArgs,
    #[command(flatten)]
    pub(crate) output_args: OutputArgs,
}

/// Which files of a frame are fetched.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct FileArgs {
    /// Fetch the EXR only, without the display-referred PNG beside it.
    #[arg(long)]
    pub(crate) no_png: bool,
    /// Store 16-bit floats in the EXR instead of 32-bit ones.
    #[arg(long)]
    pub(crate) half: bool,
}

/// `farm login`.
#[derive(Args, Debug)]
pub(crate) struct LoginCommand {
    /// The ticket, as the master printed it.
    pub(crate) ticket: String,
    /// Your name on the farm [default: your user name].
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) farm: FarmArgs,
    #[command(flatten)]
    pub(crate) output_args: OutputArgs,
}

/// A command that only asks the farm something.
#[derive(Args, Debug)]
pub(crate) struct FarmQuery {
    #[command(flatten)]
    pub(crate) farm: FarmArgs,
    #[command(flatten)]
    pub(crate) output_args: OutputArgs,
}

/// A command about one job.
#[derive(Args, Debug)]
pub(crate) struct JobCommand {
    /// The job's number, from `farm jobs`.
    #[arg(value_parser = values::parse_job)]
    pub(crate) job: JobId,
    #[command(flatten)]
    pub(crate) farm: FarmArgs,
    #[command(flatten)]
    pub(crate) output_args: OutputArgs,
}

/// `farm priority`.
#[derive(Args, Debug)]
pub(crate) struct PriorityCommand {
    #[command(flatten)]
    pub(crate) job: JobCommand,
    /// The new priority: jobs of higher priority go first, 0 is usual.
    #[arg(value_name = "N", allow_negative_numbers = true)]
    pub(crate) priority: i32,
}

/// `farm weight`.
#[derive(Args, Debug)]
pub(crate) struct WeightCommand {
    #[command(flatten)]
    pub(crate) job: JobCommand,
    /// The new weight, 1 to 1000: among jobs of the same priority, one of weight
    /// 2 has twice as much of the farm as one of weight 1, which is usual.
    #[arg(value_name = "N", value_parser = values::parse_weight)]
    pub(crate) weight: u32,
}

/// `farm rerender`.
#[derive(Args, Debug)]
pub(crate) struct RerenderCommand {
    #[command(flatten)]
    pub(crate) job: JobCommand,
    /// The frames.
    #[arg(long, value_name = "A-B", value_parser = values::parse_frames)]
    pub(crate) frames: FrameRange,
    /// The pixels from X, Y (from the top left) on, W wide and H high, and what
    /// else is in their tiles [default: all].
    #[arg(long, value_name = "X,Y,W,H", value_parser = values::parse_region)]
    pub(crate) region: Option<Rect>,
}

/// A command about one node.
#[derive(Args, Debug)]
pub(crate) struct NodeCommand {
    /// The node's number or, while it is connected, its name, from `farm nodes`.
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) farm: FarmArgs,
    #[command(flatten)]
    pub(crate) output_args: OutputArgs,
}

/// `farm fetch`.
#[derive(Args, Debug)]
pub(crate) struct FetchCommand {
    /// The job's number, from `farm jobs`.
    #[arg(value_parser = values::parse_job)]
    pub(crate) job: JobId,
    /// The folder to fetch into; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) out: PathBuf,
    /// Fetch only these frames.
    #[arg(long, value_name = "A-B", value_parser = values::parse_frames)]
    pub(crate) frames: Option<FrameRange>,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) farm: FarmArgs,
    #[command(flatten)]
    pub(crate) output_args: OutputArgs,
}

/// `farm inspect`.
#[derive(Args, Debug)]
pub(crate) struct InspectCommand {
    #[command(flatten)]
    pub(crate) scene: SceneArgs,
    /// Print exactly one JSON object on stdout, also when the command fails.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `farm diff`.
#[derive(Args, Debug)]
pub(crate) struct DiffCommand {
    /// The picture that is judged.
    pub(crate) picture: PathBuf,
    /// The picture that it is judged against.
    pub(crate) reference: PathBuf,
    /// Exit with 1 unless every pixel has equal bits.
    #[arg(long)]
    pub(crate) require_equal: bool,
    /// Print exactly one JSON object on stdout, also when the command fails.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `farm adapters`.
#[derive(Args, Debug)]
pub(crate) struct AdaptersCommand {
    /// Print exactly one JSON object on stdout, also when the command fails.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `farm bench`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchCommand {
    /// What to measure instead of adapters.
    #[command(subcommand)]
    pub(crate) subject: Option<BenchSubject>,
    /// Scenes, or folders of them.
    #[arg(value_name = "SCENE", default_value = "scenes")]
    pub(crate) scenes: Vec<PathBuf>,
    /// An adapter, by its number in `farm adapters`, a part of its name, or `cpu`
    /// for the processor; may be given several times [default: all].
    #[arg(long = "adapter", value_name = "ADAPTER")]
    pub(crate) adapters: Vec<String>,
    /// Threads of the processor [default: all].
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Size of the picture in pixels.
    #[arg(long, value_name = "WxH", default_value = "192x192", value_parser = values::parse_size)]
    pub(crate) size: Resolution,
    /// Samples of each pixel in a round.
    #[arg(long, value_name = "N", default_value = "16", value_parser = values::parse_samples)]
    pub(crate) spp: u32,
    /// Longest path in segments.
    #[arg(long, value_name = "N", default_value = "8", value_parser = values::parse_depth)]
    pub(crate) max_depth: u32,
    /// Rounds; in each, every adapter renders the picture once, and the median
    /// counts.
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// An earlier report, from `farm bench --json`, to give ratios to.
    #[arg(long, value_name = "FILE")]
    pub(crate) compare: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output_args: OutputArgs,
}

/// What `farm bench` measures beside adapters.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchSubject {
    /// Measure what a farm does for tiles beside rendering them.
    Dispatch(DispatchCommand),
}

/// `farm bench dispatch`.
#[derive(Args, Debug)]
pub(crate) struct DispatchCommand {
    /// Tiles, rounded up to whole frames [default: 500000, or 4096 with pixels].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) tiles: Option<u32>,
    /// Nodes, each with a connection of its own.
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) nodes: u32,
    /// Lanes of each node: a lane holds up to 64 leases.
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) lanes: u32,
    /// Tiles of 64 times 64 pixels of noise instead of empty ones.
    #[arg(long)]
    pub(crate) pixels: bool,
    #[command(flatten)]
    pub(crate) output_args: OutputArgs,
}

impl Command {
    /// Whether the command prints JSON, for errors that come before it runs.
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Render(command) => command.output_args.json,
            Self::Login(command) => command.output_args.json,
            Self::Submit(command) => command.output_args.json,
            Self::Jobs(command) | Self::Nodes(command) => command.output_args.json,
            Self::Watch(command)
            | Self::Pause(command)
            | Self::Resume(command)
            | Self::Cancel(command)
            | Self::Retry(command) => command.output_args.json,
            Self::Priority(command) => command.job.output_args.json,
            Self::Weight(command) => command.job.output_args.json,
            Self::Rerender(command) => command.job.output_args.json,
            Self::Drain(command) | Self::Undrain(command) | Self::Ban(command) | Self::Forgive(command) => {
                command.output_args.json
            }
            Self::Fetch(command) => command.output_args.json,
            Self::Inspect(command) => command.json,
            Self::Diff(command) => command.json,
            Self::Adapters(command) => command.json,
            Self::Bench(command) => match &command.subject {
                Some(BenchSubject::Dispatch(command)) => command.output_args.json,
                None => command.output_args.json,
            },
            Self::Completions { .. } | Self::Man { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, error::ErrorKind};

    #[test]
    fn every_command_is_well_formed_and_documented() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for subcommand in command.get_subcommands() {
            assert!(subcommand.get_about().is_some(), "{}", subcommand.get_name());
            for argument in subcommand.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "`{}` of {}",
                    argument.get_id(),
                    subcommand.get_name()
                );
            }
        }
    }

    #[test]
    fn help_states_the_exit_codes() {
        for name in ["render", "submit", "diff"] {
            let error = Cli::try_parse_from(["farm", name, "--help"]).expect_err("help is an error");
            assert_eq!(error.kind(), ErrorKind::DisplayHelp);
            assert!(error.to_string().contains("no adapter, or the master is out of reach"));
        }
    }

    #[test]
    fn render_takes_every_documented_option() {
        let line = "farm render a.glb -o o.exr --png o.png --size 64x32 --spp 16 --seed 7 \
                    --camera main --env e.hdr --env-strength 2 --env-rotation -90 --max-depth 3 \
                    --frames 2-4 --animation Run --fps 25 --shutter 0.5 --shutter-parts 8 --tile 32 \
                    --filter gaussian --nodes 2 --json --half --transparent --exposure -1.5 \
                    --clamp-direct 20 --clamp-indirect 0.5 --adapter 1 --cpu 3 --quiet";
        let cli = Cli::try_parse_from(line.split_whitespace()).expect("all options are known");
        let Command::Render(render) = cli.command else { panic!("not render") };
        assert_eq!(render.settings.size, Resolution { width: 64, height: 32 });
        assert_eq!(render.settings.frames().count(), 3);
        assert_eq!(
            (render.settings.animation.as_deref(), render.settings.fps.to_bits()),
            (Some("Run"), 25_f64.to_bits())
        );
        assert_eq!(render.settings.shutter(), Some(Shutter { seconds: 0.02, parts: 8 }));
        assert_eq!(PixelFilter::from(render.settings.filter), PixelFilter::Gaussian);
        assert_eq!(render.settings.exposure, Exposure { milli_ev: -1500 });
        let clamps = [render.settings.clamp_direct, render.settings.clamp_indirect];
        assert_eq!(clamps.map(|clamp| clamp.map(|clamp| clamp.milli.get())), [Some(20_000), Some(500)]);
        assert_eq!(render.scene.env_rotation.to_bits(), (-90.0_f32).to_bits());
        assert_eq!(render.nodes, 2);
        assert_eq!(render.cpu, Some(NonZeroUsize::new(3)));
    }

    #[test]
    fn commands_that_change_the_farm_say_what_and_how() {
        let parse = |line: &str| Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command);
        let priority = parse("farm priority 3 -5 --json");
        let Ok(Command::Priority(priority)) = priority else { panic!("{priority:?}") };
        assert_eq!(
            (priority.job.job, priority.priority, priority.job.output_args.json),
            (JobId(3), -5, true)
        );
        let weight = parse("farm weight 3 20");
        let Ok(Command::Weight(weight)) = weight else { panic!("{weight:?}") };
        assert_eq!((weight.job.job, weight.weight), (JobId(3), 20));
        let submit = parse("farm submit a.glb --weight 5 --tag gpu --tag fast --tag gpu");
        let Ok(Command::Submit(submit)) = submit else { panic!("{submit:?}") };
        assert_eq!((submit.weight, submit.tags), (5, ["gpu", "fast", "gpu"].map(str::to_owned).to_vec()));
        let rerender = parse("farm rerender 3 --frames 4-9 --region 1,2,30,40");
        let Ok(Command::Rerender(rerender)) = rerender else { panic!("{rerender:?}") };
        assert_eq!(rerender.frames, FrameRange { first: FrameNumber(4), last: FrameNumber(9) });
        assert_eq!(rerender.region, Some(Rect { x: 1, y: 2, width: 30, height: 40 }));
        for name in ["drain", "undrain", "ban", "forgive"] {
            let command = parse(&format!("farm {name} render-01 --json"));
            assert!(command.is_ok_and(|command| command.json()), "{name}");
        }
        for line in [
            "farm rerender 3",
            "farm priority 3",
            "farm priority 3 high",
            "farm weight 3 0",
            "farm weight 3 1001",
            "farm submit a.glb --tag a,b",
            "farm ban",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn options_that_exclude_each_other_are_refused() {
        for line in [
            "farm render a.glb -o o.exr --sky 1,1,1 --env e.hdr",
            "farm render a.glb -o o.exr --cpu 0",
            "farm render a.glb -o o.exr --env-strength 2",
            "farm render a.glb -o o.exr --animation Run",
            "farm render a.glb -o o.exr --fps 25",
            "farm render a.glb -o o.exr --shutter 0.5",
            "farm render a.glb -o o.exr --frames 1 --shutter 1.5",
            "farm render a.glb -o o.exr --frames 1 --shutter 0.5 --shutter-parts 17",
            "farm render a.glb -o o.exr --frames 1 --shutter-parts 2",
            "farm render a.glb",
            "farm render a.glb -o o.exr --nodes 0",
            "farm render a.glb -o o.exr --nodes 65",
            "farm watch 0",
        ] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }
}
