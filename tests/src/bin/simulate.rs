//! Runs the farm's simulator on many seeds, or one large run.

#![expect(clippy::print_stdout, reason = "a program's output")]

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use farm_tests::simulation::{Scenario, simulate};

/// Simulates a whole farm with seeded faults and checks its properties.
///
/// Prints one line for each seed that fails and a summary; exits with 1 if any
/// failed.
#[derive(Debug, Parser)]
struct Arguments {
    /// First seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Nodes; a few, as the seed has it, if left out.
    #[arg(long)]
    nodes: Option<u32>,
    /// Tiles of one large job; several small jobs if left out.
    #[arg(long)]
    tiles: Option<u32>,
    /// Leave out all faults.
    #[arg(long)]
    calm: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let started = Instant::now();
    let (mut events, mut commands, mut failed) = (0, 0, 0);
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds) {
        let scenario =
            Scenario { seed, nodes: arguments.nodes, tiles: arguments.tiles, faults: !arguments.calm };
        match simulate(&scenario) {
            Ok(report) => {
                events += report.events;
                commands += report.commands;
                if arguments.seeds == 1 {
                    println!("{report:#?}");
                }
            }
            Err(violation) => {
                failed += 1;
                println!("seed {seed} fails: {violation}");
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{} seeds, {failed} failed; {events} events, {commands} commands in {seconds:.1} s",
        arguments.seeds
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
