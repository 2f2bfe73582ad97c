//! What can be said to `farm-node`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use farm_core::Limits;
use farm_core::job::is_tag;
use farm_node::{AdapterChoice, CpuLane, Rule, Share};

/// Makes this machine a node of a render farm.
///
/// Exit codes: 0 done, 1 the node broke down, 2 wrong use or bad input, 3 no
/// adapter, or the master out of reach.
#[derive(Parser)]
#[command(version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Join a farm with a ticket, then render for it until told to stop.
    Join(JoinOptions),
    /// Render for the farm that this machine has joined.
    Run(RunOptions),
    /// List the adapters that could render, best first.
    Adapters,
}

#[derive(Args)]
pub(crate) struct JoinOptions {
    /// The node ticket that the master printed.
    ///
    /// It can be in the environment instead, where other users of this machine
    /// do not see it.
    #[arg(env = "FARM_TICKET", hide_env_values = true)]
    pub(crate) ticket: String,
    /// The node's name in the farm [default: this machine's name].
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Leave the farm that this machine belongs to for this one.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Args)]
pub(crate) struct RunOptions {
    /// Render on one adapter alone, named by its place in `farm-node adapters`,
    /// by part of its name, or `cpu` for the processor [default: every GPU;
    /// where there is none, the processor].
    #[arg(long, value_name = "INDEX|NAME")]
    adapter: Option<String>,
    /// Render on the processor too, on so many threads [default: on all].
    #[arg(long, value_name = "THREADS", num_args = 0..=1, require_equals = false)]
    cpu: Option<Option<NonZeroUsize>>,
    /// Render only at these times: days, hours and `idle`, all of which must hold, as
    /// `19:00-07:00` or `mon-fri 19:00-07:00` or `idle`; given several times, any of
    /// them. Outside of them what renders is handed back within a moment, less what is
    /// done of it [default: always].
    #[arg(long, value_name = "RULE")]
    pub(crate) when: Vec<Rule>,
    /// Rest while other programs use the graphics adapters that this node renders on:
    /// from some seconds after they begin to a minute after they end.
    #[arg(long)]
    pub(crate) yield_gpu: bool,
    /// How much of the graphics adapters' time to take, like 50%.
    #[arg(long, value_name = "PERCENT", default_value = "100%")]
    pub(crate) gpu_share: Share,
    /// How much of the processor's time to take where it renders, like 50%;
    /// `--cpu THREADS` leaves whole threads to others.
    #[arg(long, value_name = "PERCENT", default_value = "100%")]
    pub(crate) cpu_share: Share,
    /// The folder of scenes that were fetched and prepared; nodes may share one
    /// [default: in this user's cache folder].
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// How large that folder may grow, like 500MB or 1.5TB; half of it is for
    /// scenes as they were fetched, half for prepared ones.
    #[arg(long, value_name = "SIZE", default_value = "20GB")]
    pub(crate) cache_size: ByteSize,
    /// A tag of this node; only nodes that have all of a job's tags are given
    /// its tiles. May be said several times.
    #[arg(long = "tag", value_name = "TAG", value_parser = parse_tag)]
    pub(crate) tags: Vec<String>,
    /// How much memory a scene may take on each of this node's lanes, like 12GB;
    /// jobs that need more are not given to it [default: the machine's on the
    /// processor; on GPUs, which do not tell, enough for all].
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<ByteSize>,
    /// The folder of the node's key; each node on a machine needs its own
    /// [default: in this user's data folder].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

impl RunOptions {
    /// The adapters that were asked for.
    pub(crate) fn choice(&self) -> AdapterChoice {
        match self.adapter.as_deref() {
            None => AdapterChoice::All,
            Some("cpu") => AdapterChoice::Cpu,
            Some(adapter) => match adapter.parse() {
                Ok(index) => AdapterChoice::Index(index),
                Err(_) => AdapterChoice::Name(adapter.to_owned()),
            },
        }
    }

    /// The lane on the processor that was asked for.
    pub(crate) fn cpu(&self) -> Option<CpuLane> {
        self.cpu.map(|threads| CpuLane { threads })
    }
}

fn parse_tag(text: &str) -> Result<String, String> {
    let limits = Limits::default();
    if is_tag(text, &limits) {
        return Ok(text.to_owned());
    }
    Err(format!("a tag is 1 to {} letters, digits, `-`, `_` or `.`", limits.tag_bytes))
}

/// A number of bytes, written with a decimal or binary unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteSize(pub(crate) u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size; write it like 500MB, 20GB or 1.5TiB");
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let unit: f64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kb" => 1e3,
            "m" | "mb" => 1e6,
            "g" | "gb" => 1e9,
            "t" | "tb" => 1e12,
            "kib" => 1024.0,
            "mib" => 1024.0 * 1024.0,
            "gib" => 1024.0 * 1024.0 * 1024.0,
            "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            _ => return Err(wrong()),
        };
        let bytes = (number * unit).round();
        // An exabyte is more than any disk, and still exact enough in an f64.
        if !(1.0..=1e18).contains(&bytes) {
            return Err(wrong());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 1e18")]
        let bytes = bytes as u64;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        let sizes = [
            ("20GB", 20_000_000_000),
            ("1.5 TiB", 1_649_267_441_664),
            ("512", 512),
            ("3k", 3000),
            ("7MiB", 7_340_032),
        ];
        for (text, bytes) in sizes {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "GB", "-1GB", "1.2.3MB", "5 apples", "0", "9e99", "10000000TB", "infinity"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn tags_and_memory_are_said_of_a_node() {
        let parse = |line: &str| Arguments::try_parse_from(line.split_whitespace());
        let arguments = parse("farm-node run --tag gpu --tag night.shift --memory 12GB");
        let Ok(Arguments { command: Command::Run(options) }) = arguments else { panic!("it is right") };
        assert_eq!(options.tags, ["gpu", "night.shift"]);
        assert_eq!(options.memory, Some(ByteSize(12_000_000_000)));
        for line in ["farm-node run --tag a,b", "farm-node run --tag", "farm-node run --memory much"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn times_and_shares_are_read_and_refused_with_what_to_write() {
        let run = |words: &[&str]| {
            let words = ["farm-node", "run"].iter().chain(words);
            match Arguments::try_parse_from(words).map(|arguments| arguments.command) {
                Ok(Command::Run(options)) => Ok((options.when.len(), options.gpu_share.to_string())),
                Ok(_) => panic!("it is `run`"),
                Err(error) => Err(error.to_string()),
            }
        };
        assert_eq!(run(&[]), Ok((0, "100%".into())));
        let two = ["--when", "idle", "--when", "mon-fri 19:00-07:00", "--gpu-share", "25%"];
        assert_eq!(run(&two), Ok((2, "25%".into())));
        for (words, hint) in [(["--when", "19-7"], "19:00-07:00"), (["--gpu-share", "0"], "50%")] {
            let error = run(&words).expect_err("it makes no sense");
            assert!(error.contains(hint), "{error}");
        }
    }

    #[test]
    fn adapter_is_an_index_or_a_name() {
        let choice = |words: &[&str]| {
            let words = ["farm-node", "run"].iter().chain(words);
            match Arguments::try_parse_from(words).map(|arguments| arguments.command) {
                Ok(Command::Run(options)) => Some(options.choice()),
                _ => None,
            }
        };
        assert_eq!(choice(&[]), Some(AdapterChoice::All));
        assert_eq!(choice(&["--adapter", "1"]), Some(AdapterChoice::Index(1)));
        assert_eq!(choice(&["--adapter", "rtx"]), Some(AdapterChoice::Name("rtx".into())));
        assert_eq!(choice(&["--adapter", "cpu"]), Some(AdapterChoice::Cpu));
    }

    #[test]
    fn the_processor_is_lent_with_some_threads_or_all() {
        let cpu = |words: &[&str]| {
            let words = ["farm-node", "run"].iter().chain(words);
            match Arguments::try_parse_from(words).map(|arguments| arguments.command) {
                Ok(Command::Run(options)) => Ok(options.cpu().map(|cpu| cpu.threads)),
                _ => Err(()),
            }
        };
        assert_eq!(cpu(&[]), Ok(None));
        assert_eq!(cpu(&["--cpu"]), Ok(Some(None)));
        assert_eq!(cpu(&["--cpu", "3", "--adapter", "1"]), Ok(Some(NonZeroUsize::new(3))));
        assert_eq!(cpu(&["--cpu", "0"]), Err(()));
    }
}
