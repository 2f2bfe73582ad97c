//! `farm`: the artist's door to the farm, and the whole farm in one process.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 the job
//! failed, 2 wrong use or bad input, 3 no adapter or the master out of reach.

mod adapters;
mod args;
mod bench;
mod diff;
mod dispatch;
mod embed;
mod fetch;
mod follow;
mod frames;
mod inspect;
mod interrupt;
mod jobs;
mod login;
mod manual;
mod nodes;
mod output;
mod prepare;
mod progress;
mod render;
mod requests;
mod spec;
mod submit;
mod values;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use farm_core::scheduler::NodeChange;
use farm_wire::message::JobChange;

use crate::args::{BenchCommand, BenchSubject, Cli, Command, JobCommand, NodeCommand};
use crate::interrupt::interrupted;
use crate::output::{Failure, report_failure};

/// Preparing a scene makes large arrays and drops them; this allocator keeps
/// their pages for the next ones, which saves a tenth of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is still running when a command has ended gets this long to notice.
const RUNTIME_STOP_TIME: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let started = Instant::now();
    // SAFETY: this is the only thread so far.
    unsafe { farm_node::leave_out_device_select() };
    let cli = Cli::parse();
    start_log(cli.verbose);
    let json = cli.command.json();
    match run(cli.command, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report_failure(&failure, json);
            ExitCode::from(failure.exit.code())
        }
    }
}

/// Runs a command; those that only read local files need no runtime.
fn run(command: Command, started: Instant) -> Result<(), Failure> {
    match command {
        // It listens for signals itself, to stop its farm in order.
        Command::Render(command) => block_on(render::run(*command, started)),
        Command::Login(command) => block_on(until_interrupted(login::run(command))),
        Command::Submit(command) => block_on(until_interrupted(submit::run(*command))),
        Command::Jobs(command) => block_on(until_interrupted(jobs::list(command))),
        Command::Watch(command) => block_on(until_interrupted(jobs::watch(command))),
        Command::Fetch(command) => block_on(until_interrupted(fetch::run(command))),
        Command::Pause(command) => change(command, JobChange::Pause),
        Command::Resume(command) => change(command, JobChange::Resume),
        Command::Cancel(command) => change(command, JobChange::Cancel),
        Command::Retry(command) => change(command, JobChange::Retry),
        Command::Priority(command) => {
            change(command.job, JobChange::Prioritize { priority: command.priority })
        }
        Command::Weight(command) => change(command.job, JobChange::Weigh { weight: command.weight }),
        Command::Rerender(command) => {
            let (frames, region) = (command.frames, command.region);
            change(command.job, JobChange::Rerender { frames, region })
        }
        Command::Drain(command) => change_node(command, NodeChange::Drain),
        Command::Undrain(command) => change_node(command, NodeChange::Undrain),
        Command::Ban(command) => change_node(command, NodeChange::Ban),
        Command::Forgive(command) => change_node(command, NodeChange::Forgive),
        Command::Nodes(command) => block_on(until_interrupted(nodes::list(command))),
        Command::Inspect(command) => inspect::run(&command),
        Command::Diff(command) => diff::run(&command),
        Command::Adapters(command) => adapters::run(&command),
        Command::Bench(BenchCommand { subject: Some(BenchSubject::Dispatch(command)), .. }) => {
            block_on(dispatch::run(command))
        }
        Command::Bench(command) => bench::run(&command),
        Command::Completions { shell } => manual::print_completions(shell),
        Command::Man { dir } => manual::write_pages(&dir),
    }
}

/// Changes a job.
fn change(command: JobCommand, change: JobChange) -> Result<(), Failure> {
    block_on(until_interrupted(jobs::change(command, change)))
}

/// Changes a node.
fn change_node(command: NodeCommand, change: NodeChange) -> Result<(), Failure> {
    block_on(until_interrupted(nodes::change(command, change)))
}

/// Runs a command on a runtime of its own.
fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::job_failed(format!("cannot start threads: {error}")))?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_timeout(RUNTIME_STOP_TIME);
    outcome
}

/// Runs a command until it ends or a signal stops it. What it asked of a farm
/// goes on there.
async fn until_interrupted(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        outcome = command => outcome,
        failure = interrupted() => {
            Err(failure.with_hint("submitted jobs go on without us; `farm jobs` lists them"))
        }
    }
}

/// Logs to stderr, above the bars: warnings of the farm's own crates, more with
/// `-v`, or whatever `TESSERA_LOG` says.
fn start_log(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let ours = ["farm", "farm_core", "farm_wire", "farm_scene", "farm_render", "farm_master", "farm_node"];
    let default = ours.map(|name| format!("{name}={level}")).join(",");
    let filter = std::env::var("TESSERA_LOG").ok().and_then(|text| EnvFilter::try_new(text).ok());
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new(default)))
        .with_writer(|| progress::LogWriter)
        .with_ansi(output::stderr_takes_colour())
        .init();
}
