//! The command line: every command, option, default and help text.
//!
//! What comes out of here is already right in form and range; whether a file
//! exists or a camera has that name is found out later.

mod bench;
mod groups;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use farm_core::{FrameRange, JobId, Rect};

pub(crate) use self::bench::{BenchCommand, BenchSubject, DispatchCommand};
pub(crate) use self::groups::{FarmArgs, FarmQuery, JobsCommand, OutputArgs, SceneArgs, SettingsArgs};
use crate::values;

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
    /// Join a farm as an artist or an admin, with a ticket from its master.
    #[command(after_help = EXIT_CODES)]
    Login(LoginCommand),
    /// Send a scene to the farm and have it rendered there.
    #[command(after_help = EXIT_CODES)]
    Submit(Box<SubmitCommand>),
    /// List your jobs, and as an admin everybody's.
    #[command(after_help = EXIT_CODES)]
    Jobs(JobsCommand),
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
    /// until `farm undrain`, whatever restarts. For admins.
    #[command(after_help = EXIT_CODES)]
    Drain(NodeCommand),
    /// Let a drained node work again. For admins.
    #[command(after_help = EXIT_CODES)]
    Undrain(NodeCommand),
    /// Take everything from a node, and neither grant nor take anything more. It
    /// stays banned until `farm forgive`, whatever restarts. For admins.
    #[command(after_help = EXIT_CODES)]
    Ban(NodeCommand),
    /// Let a banned node work again. For admins.
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

impl Command {
    /// Whether the command prints JSON, for errors that come before it runs.
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Render(command) => command.output_args.json,
            Self::Login(command) => command.output_args.json,
            Self::Submit(command) => command.output_args.json,
            Self::Jobs(command) => command.query.output_args.json,
            Self::Nodes(command) => command.output_args.json,
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
    use clap::{CommandFactory, error::ErrorKind};
    use farm_core::{FrameNumber, PixelFilter, Resolution};
    use farm_scene::Shutter;

    use super::*;
    use crate::values::Exposure;

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
