//! Renders one job again and again while the farm's programs are killed, stopped
//! and cut off, and compares what comes out.

#![expect(clippy::print_stdout, reason = "a program's output")]

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use farm_tests::chaos::{Failed, Outcome, Plan, Weather, run};

/// Renders one job many times under blows and says whether the picture was the same
/// each time.
///
/// Exits with 1 if a picture differed, an accepted tile was rendered again, or more
/// than `--twice` of the samples were rendered twice.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seed of the first run; each further one has the next.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Runs under blows, after one without.
    #[arg(long, default_value_t = 50)]
    runs: u64,
    /// What happens to the farm.
    #[arg(long, default_value = "killed")]
    weather: Kind,
    /// Nodes, of one thread each.
    #[arg(long, default_value_t = 4)]
    nodes: usize,
    /// Width and height of the picture in pixels.
    #[arg(long, default_value_t = 256)]
    edge: u32,
    /// Samples of each pixel.
    #[arg(long, default_value_t = 512)]
    spp: u32,
    /// Most samples that may be rendered twice, in percent of the job's; a storm has
    /// no such bound.
    #[arg(long, default_value_t = 2.0)]
    twice: f64,
    /// Give each program a network namespace of its own (needs root).
    #[arg(long)]
    namespaces: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A quarter of the nodes and the master are killed in the middle.
    Killed,
    /// Something is killed, stopped or cut off about twice a second.
    Storm,
    /// Every node in turn is asked to leave in the middle, and started again.
    Renewed,
    /// A node's disk and the master's are full for a while (needs root).
    FullDisks,
    /// A thousand peers that mean ill are at the master.
    Besieged,
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = render_all(&Arguments::parse()).await;
    farm_tests::exit(outcome.map_err(|error| -> Box<dyn Error> { error }))
}

async fn render_all(arguments: &Arguments) -> Result<(), Failed> {
    let plan = Plan {
        nodes: arguments.nodes,
        edge: arguments.edge,
        samples_per_pixel: arguments.spp,
        in_namespaces: arguments.namespaces,
    };
    let calm = run(&plan, Weather::Calm).await?;
    print_outcome("calm", &calm);
    let (mut faults, mut most) = (Vec::new(), 0.0_f64);
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.runs) {
        let weather = match arguments.weather {
            Kind::Killed => Weather::Killed(seed),
            Kind::Storm => Weather::Storm(seed),
            Kind::Renewed => Weather::Renewed(seed),
            Kind::FullDisks => Weather::FullDisks(seed),
            Kind::Besieged => Weather::Besieged,
        };
        let outcome = run(&plan, weather).await.map_err(|error| format!("seed {seed}: {error}"))?;
        print_outcome(&format!("seed {seed}"), &outcome);
        most = most.max(outcome.twice());
        if arguments.weather == Kind::Besieged {
            faults.extend(besieged(&calm, &outcome).map(|fault| format!("seed {seed}: {fault}")));
        }
        if outcome.pixel_digest != calm.pixel_digest {
            faults.push(format!("seed {seed}: the picture is another: {}", outcome.pixel_digest));
        }
        faults
            .extend(outcome.rendered_again.iter().map(|tile| format!("seed {seed}: rendered again: {tile}")));
        if arguments.weather != Kind::Storm && outcome.twice() * 100.0 > arguments.twice {
            faults
                .push(format!("seed {seed}: {:.2} % of the samples rendered twice", outcome.twice() * 100.0));
        }
    }
    println!(
        "{} runs, {} faults; picture {}; at most {:.2} % of the samples rendered twice",
        arguments.runs,
        faults.len(),
        calm.pixel_digest,
        most * 100.0
    );
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

/// Least speed under siege, as a share of the speed without.
const LEAST_SPEED: f64 = 0.8;

/// Most memory of the master under siege.
const MOST_BYTES: u64 = 512 << 20;

/// What a siege must not do to a farm, if it did.
fn besieged(calm: &Outcome, outcome: &Outcome) -> Option<String> {
    let speed = calm.seconds / outcome.seconds;
    let peak = outcome.master_peak_bytes.unwrap_or(0);
    println!("  {:.0} % of the speed without, the master had {} MiB at most", speed * 100.0, peak >> 20);
    (speed < LEAST_SPEED || peak > MOST_BYTES)
        .then(|| format!("{:.0} % of the speed, {} MiB", speed * 100.0, peak >> 20))
}

fn print_outcome(name: &str, outcome: &Outcome) {
    println!(
        "{name}: {:.1} s, {:.2} % rendered twice, {} rendered again; {}",
        outcome.seconds,
        outcome.twice() * 100.0,
        outcome.rendered_again.len(),
        outcome.blows.join("; ")
    );
}
