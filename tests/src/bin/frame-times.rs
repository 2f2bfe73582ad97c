//! How long frames take on a farm of very unequal nodes that come and go, with
//! backup copies of late leases and without.

#![expect(clippy::print_stdout, reason = "a program's output")]

use clap::Parser;
use farm_core::Limits;
use farm_tests::simulation::frames::{Setting, frame_times, percentile};

/// Simulates frames on a virtual clock, with the real scheduler, and prints how
/// long they take beside a perfect schedule.
#[derive(Debug, Parser)]
struct Arguments {
    /// The seed of every choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Nodes that work at a time; their speeds are over three orders of magnitude.
    #[arg(long, default_value_t = 200)]
    nodes: u32,
    /// Frames, one after the other.
    #[arg(long, default_value_t = 300)]
    frames: u32,
    /// Of a thousand nodes, how many die in a minute.
    #[arg(long, default_value_t = 200)]
    deaths: u64,
}

fn main() {
    let Arguments { seed, nodes, frames, deaths } = Arguments::parse();
    println!("backups       p50      p90      p99   p50/ideal  p99/ideal   copied     most  deaths");
    for (name, backup_per_mille) in [("without", 0), ("with", Limits::default().backup_per_mille)] {
        let limits = Limits { backup_per_mille, ..Limits::default() };
        let setting = Setting { seed, nodes, frames, deaths_per_mille: deaths.max(1), limits };
        let times = frame_times(&setting);
        let seconds = |hundredths| percentile(&times.seconds, hundredths);
        let to_ideal = |hundredths| percentile(&times.to_ideal, hundredths);
        println!(
            "{name:<8} {:>6.1} s {:>6.1} s {:>6.1} s {:>10.2} {:>10.2} {:>7.2} % {:>6.2} % {:>7}",
            seconds(50),
            seconds(90),
            seconds(99),
            to_ideal(50),
            to_ideal(99),
            100.0 * times.copied,
            100.0 * times.most_copied,
            times.deaths,
        );
    }
}
