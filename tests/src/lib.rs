//! What crosses crates: the deterministic simulator of a whole farm, the storm over
//! its programs, and the generator of `scenes/`.

pub mod bare;
pub mod chaos;
pub mod random;
pub mod scenes;
pub mod simulation;

use std::error::Error;
use std::process::ExitCode;

/// How the small programs of this crate end: an error is said on stderr.
#[expect(clippy::print_stderr, reason = "binaries speak to their users")]
pub fn exit(outcome: Result<(), Box<dyn Error>>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
