//! Writes the files of `scenes/`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Writes the scenes of this repository; the same bytes on every run.
#[derive(Parser)]
struct Arguments {
    /// The folder to write to.
    folder: PathBuf,
}

#[expect(clippy::print_stderr, clippy::print_stdout, reason = "a binary speaks to its user")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    for file in farm_tests::scenes::files() {
        let path = arguments.folder.join(file.name);
        if let Err(error) = std::fs::write(&path, &file.bytes) {
            eprintln!("error: {} cannot be written: {error}", path.display());
            return ExitCode::FAILURE;
        }
        println!("{} {} bytes", path.display(), file.bytes.len());
    }
    ExitCode::SUCCESS
}
