//! What `farm bench` takes.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use farm_core::Resolution;

use super::OutputArgs;
use crate::values;

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
