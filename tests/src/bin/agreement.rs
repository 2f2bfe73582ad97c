//! How alike two adapters render: one sample for each pixel, many times, and the
//! shares of samples with equal bits and of samples that differ by more than
//! rounding does.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use farm_core::{BlockRange, FrameNumber, PixelFilter, Rect, RenderSettings, RenderTask, Resolution};
use farm_render::{AdapterInfo, OpenOptions, RenderError, Renderer, adapters};
use farm_scene::LoadOptions;
use farm_tests::scenes::environment_of;

/// Samples that differ by more than this share count as another path.
const ROUNDING: f32 = 1e-3;

/// Compares the samples of two adapters.
#[derive(Parser)]
struct Arguments {
    /// Scenes, `.glb` or `.gltf`.
    scenes: Vec<PathBuf>,
    /// The adapters, by their places in `farm adapters` [default: the processor
    /// and the first other one].
    #[arg(long, num_args = 2)]
    adapters: Vec<usize>,
    /// Edge of the frame in pixels.
    #[arg(long, default_value_t = 128)]
    edge: u32,
    /// Samples of each pixel.
    #[arg(long, default_value_t = 16)]
    samples: u32,
    /// Longest path, in segments.
    #[arg(long, default_value_t = 8)]
    max_depth: u32,
}

/// What came of all samples of a scene.
#[derive(Default)]
struct Agreement {
    samples: u64,
    equal: u64,
    apart: u64,
}

fn main() -> ExitCode {
    farm_tests::exit(run(&Arguments::parse()))
}

#[expect(clippy::print_stdout, reason = "the table is data")]
fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let open = |adapter| Renderer::open(&OpenOptions { adapter: Some(adapter), ..OpenOptions::default() });
    let [a, b] = pair(&arguments.adapters)?.map(open);
    let renderers = [a?, b?];
    for renderer in &renderers {
        println!("{} ({})", renderer.adapter().name, renderer.adapter().driver);
    }
    println!(
        "\n| scene | samples | equal bits | differ by more than {ROUNDING:e} |\n| --- | --- | --- | --- |"
    );
    for path in &arguments.scenes {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = path.parent().map(PathBuf::from).unwrap_or_default();
        let environment = environment_of(&name).map(|map| folder.join(map));
        let scene = farm_scene::load(path, &LoadOptions { environment, ..LoadOptions::default() })?.scene;
        let Agreement { samples, equal, apart } = compare(&renderers, &scene, arguments)?;
        let percent = |count: u64| 100.0 * count as f64 / samples.max(1) as f64;
        println!("| {name} | {samples} | {:.3} % | {:.3} % |", percent(equal), percent(apart));
    }
    Ok(())
}

/// The two adapters to compare.
fn pair(wanted: &[usize]) -> Result<[AdapterInfo; 2], &'static str> {
    let known = adapters();
    let chosen = match *wanted {
        [a, b] => [known.get(a), known.get(b)],
        _ => [true, false].map(|native| known.iter().find(|adapter| adapter.is_native() == native)),
    };
    match chosen {
        [Some(a), Some(b)] => Ok([a.clone(), b.clone()]),
        _ => Err("these adapters are not on this machine"),
    }
}

fn compare(
    renderers: &[Renderer; 2],
    scene: &farm_scene::Scene,
    arguments: &Arguments,
) -> Result<Agreement, RenderError> {
    let [a, b] = renderers;
    let scenes = [a.load(scene)?, b.load(scene)?];
    let mut agreement = Agreement::default();
    for seed in 0..arguments.samples {
        let task = one_sample(arguments, seed);
        let render =
            |place: usize| renderers[place].render(&scenes[place], &task, &mut |_| ControlFlow::Continue(()));
        let (ours, theirs) = (render(0)?, render(1)?);
        for (ours, theirs) in ours.pixels.iter().zip(&theirs.pixels) {
            let far = |(a, b): (&f32, &f32)| (a - b).abs() > ROUNDING * a.abs().max(b.abs());
            agreement.samples += 1;
            agreement.equal += u64::from(ours.map(f32::to_bits) == theirs.map(f32::to_bits));
            agreement.apart += u64::from(ours.iter().zip(theirs).any(far));
        }
    }
    Ok(agreement)
}

/// One sample of each pixel, another one for each seed.
fn one_sample(arguments: &Arguments, seed: u32) -> RenderTask {
    let edge = arguments.edge;
    RenderTask {
        resolution: Resolution { width: edge, height: edge },
        frame: FrameNumber(1),
        rect: Rect { x: 0, y: 0, width: edge, height: edge },
        range: BlockRange::root(1),
        settings: RenderSettings {
            samples_per_pixel: 1,
            seed,
            max_depth: arguments.max_depth,
            filter: PixelFilter::default(),
            camera: 0,
            transparent: false,
            film: Default::default(),
        },
    }
}
