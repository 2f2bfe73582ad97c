//! Writes the files of `scenes/` and the reference images.

use std::error::Error;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use farm_render::{OpenOptions, Renderer};
use farm_scene::LoadOptions;
use farm_tests::bare;
use farm_tests::scenes::{REFERENCE_SAMPLES, REFERENCE_SIZE, environment_of, files, reference_settings};

/// Writes the scenes of this repository; the same bytes on every run.
#[derive(Parser)]
struct Arguments {
    /// The folder to write to.
    folder: PathBuf,
    /// Render reference images too, into its folder `reference`: of the scenes
    /// named, or of all; takes minutes.
    #[arg(long, value_name = "SCENE", num_args = 0..)]
    references: Option<Vec<String>>,
}

fn main() -> ExitCode {
    farm_tests::exit(run(&Arguments::parse()))
}

#[expect(clippy::print_stdout, reason = "what was written is data")]
fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (folder, files) = (&arguments.folder, files());
    for file in &files {
        let path = folder.join(file.name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(&path, &file.bytes)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        println!("{} {} bytes", path.display(), file.bytes.len());
    }
    if let Some(wanted) = &arguments.references {
        let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
        for file in files.iter().filter(|file| file.name.ends_with(".glb") && is_wanted(file.name)) {
            println!("{}", reference(folder, file.name)?.display());
        }
    }
    Ok(())
}

/// Renders the reference image of one scene; says where it lies.
fn reference(folder: &Path, name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let options = LoadOptions {
        environment: environment_of(name).map(|map| folder.join(map)),
        ..LoadOptions::default()
    };
    let loaded = farm_scene::load(&folder.join(name), &options)?;
    let renderer = Renderer::open(&OpenOptions::default())?;
    let uploaded = renderer.load(&loaded.scene)?;
    let settings = reference_settings(0, REFERENCE_SAMPLES);
    let picture =
        bare::render(&renderer, &uploaded, REFERENCE_SIZE, &settings, &mut |_| ControlFlow::Continue(()))?;
    let path = folder.join("reference").join(name).with_extension("exr");
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    bare::write_exr(&picture, &path)?;
    Ok(path)
}
