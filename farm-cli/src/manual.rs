//! Shell completions and man pages, made from the command line's own description.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::output::{Failure, print_text};

/// `farm completions`.
pub(crate) fn print_completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "farm", &mut script);
    print_text(&String::from_utf8_lossy(&script))
}

/// `farm man`.
pub(crate) fn write_pages(folder: &Path) -> Result<(), Failure> {
    let failure = |error: std::io::Error| {
        Failure::wrong_use(format!("cannot write man pages into `{}`: {error}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(failure)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), folder).map_err(failure)
}
