//! Runs the farm's simulator on many seeds, or one large run.

#![expect(clippy::print_stdout, reason = "a program's output")]

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use clap::Parser;
use farm_tests::simulation::{Plant, Report, Scenario, Violation, simulate_with};

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
    /// That many jobs of so many tiles at once, which must get equal shares.
    #[arg(long, requires = "tiles")]
    equal_jobs: Option<u32>,
    /// Leave out all faults.
    #[arg(long)]
    calm: bool,
    /// Tell on stderr what happens.
    #[arg(long)]
    trace: bool,
    /// Plant a bug; a seed that does not find it is not counted as failed.
    #[arg(long)]
    plant: Option<Plant>,
    /// Threads [default: one for each core].
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let started = Instant::now();
    let threads = arguments.threads.or_else(|| std::thread::available_parallelism().ok());
    let threads = threads.map_or(1, NonZeroUsize::get);
    let next = AtomicU64::new(arguments.seed);
    let end = arguments.seed.saturating_add(arguments.seeds);
    let totals = Mutex::new(Totals::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let outcome = simulate_with(&arguments.scenario(seed), arguments.plant);
                    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                    totals.add(seed, outcome, arguments.seeds == 1);
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{} seeds, {} failed; {} events, {} commands in {:.1} s",
        arguments.seeds,
        totals.failed,
        totals.events,
        totals.commands,
        started.elapsed().as_secs_f64()
    );
    if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Arguments {
    fn scenario(&self, seed: u64) -> Scenario {
        let (nodes, tiles, equal_jobs) = (self.nodes, self.tiles, self.equal_jobs);
        Scenario { seed, nodes, tiles, equal_jobs, faults: !self.calm, trace: self.trace }
    }
}

/// What all seeds came to.
#[derive(Default)]
struct Totals {
    events: u64,
    commands: u64,
    failed: u64,
}

impl Totals {
    fn add(&mut self, seed: u64, outcome: Result<Report, Violation>, alone: bool) {
        match outcome {
            Ok(report) => {
                self.events += report.events;
                self.commands += report.commands;
                if alone {
                    println!("{report:#?}");
                }
            }
            Err(violation) => {
                self.failed += 1;
                println!("seed {seed} fails: {violation}");
            }
        }
    }
}
