//! Renders a scene without a farm: one renderer, one tile after another. It
//! makes the reference images of `scenes/reference/` and shows what the farm
//! adds to the bare kernel.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use farm_core::{PixelFilter, RenderSettings, Resolution};
use farm_render::{OpenOptions, Renderer, Variant, adapters};
use farm_scene::LoadOptions;
use farm_tests::bare::{self, Picture};

/// The allocator of the farm's own programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Renders a scene to EXR and PNG, without a farm.
#[derive(Parser)]
struct Arguments {
    /// The scene, `.glb` or `.gltf`.
    scene: PathBuf,
    /// The EXR to write: 16-bit float RGB.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// A PNG through the display transform.
    #[arg(long)]
    png: Option<PathBuf>,
    /// Size of the frame in pixels.
    #[arg(long, default_value = "640x360", value_parser = size)]
    size: Resolution,
    /// Samples per pixel.
    #[arg(long, default_value_t = 64)]
    spp: u32,
    /// Longest path, in segments.
    #[arg(long, default_value_t = 8)]
    max_depth: u32,
    /// Seed of the samples.
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// Environment map.
    #[arg(long)]
    env: Option<PathBuf>,
    /// Adapter, by its place in `farm adapters` [default: the best].
    #[arg(long)]
    adapter: Option<usize>,
    /// Render with the wavefront kernels, on a graphics adapter.
    #[arg(long)]
    wavefront: bool,
    /// Threads of the processor, where that is the adapter [default: all].
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Turn of the environment about +Y, in degrees.
    #[arg(long, default_value_t = 0.0)]
    env_rotation: f32,
}

fn size(text: &str) -> Result<Resolution, String> {
    let numbers = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    let (width, height) = numbers.ok_or("expected WIDTHxHEIGHT")?;
    Ok(Resolution { width, height })
}

fn main() -> ExitCode {
    farm_tests::exit(run(&Arguments::parse()))
}

#[expect(clippy::print_stderr, reason = "a binary speaks to its user")]
fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let aspect = f64::from(arguments.size.width) / f64::from(arguments.size.height);
    let options = LoadOptions {
        environment: arguments.env.clone(),
        environment_rotation: arguments.env_rotation.to_radians(),
        #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
        aspect_ratio: aspect as f32,
        ..LoadOptions::default()
    };
    let reading = Instant::now();
    let loaded = farm_scene::load(&arguments.scene, &options)?;
    eprintln!("read in {:.3} s", reading.elapsed().as_secs_f64());
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let settings = RenderSettings {
        samples_per_pixel: arguments.spp,
        seed: arguments.seed,
        max_depth: arguments.max_depth,
        filter: PixelFilter::default(),
        camera: 0,
        transparent: false,
        film: Default::default(),
    };
    let loading = Instant::now();
    let threads = arguments.threads;
    let adapter = match arguments.adapter {
        Some(index) => Some(adapters().into_iter().nth(index).ok_or("there is no such adapter")?),
        None => None,
    };
    let variant = arguments.wavefront.then_some(Variant::Wavefront);
    let renderer = Renderer::open(&OpenOptions { adapter, threads, variant, ..OpenOptions::default() })?;
    let scene = renderer.load(&loaded.scene)?;
    eprintln!("{} ({})", renderer.adapter().name, renderer.adapter().driver);
    eprintln!("opened and uploaded in {:.3} s", loading.elapsed().as_secs_f64());
    let start = Instant::now();
    let mut report = |share: f64| {
        eprint!("\r{:5.1} % {:6.1} s", share * 100.0, start.elapsed().as_secs_f64());
        ControlFlow::Continue(())
    };
    let picture = bare::render(&renderer, &scene, arguments.size, &settings, &mut report)?;
    let samples = arguments.size.area() as f64 * f64::from(arguments.spp);
    eprintln!("\n{:.3} Msamples/s", samples / start.elapsed().as_secs_f64() / 1e6);
    write(arguments, &picture)
}

fn write(arguments: &Arguments, picture: &Picture) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(path) = &arguments.output {
        bare::write_exr(picture, path)?;
    }
    if let Some(path) = &arguments.png {
        bare::write_png(picture, path)?;
    }
    Ok(())
}
