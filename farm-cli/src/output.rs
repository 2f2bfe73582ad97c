//! What the program leaves behind: exit codes, errors with hints, JSON, tables.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use farm_wire::WireError;
use serde::Serialize;

/// Why the program ends without success; each has its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The job failed or was cancelled, or a picture could not be written.
    JobFailed,
    /// Wrong use or bad input.
    WrongUse,
    /// No adapter, or the master is out of reach.
    OutOfReach,
    /// Stopped by a signal of this number.
    Signalled(u8),
}

impl Exit {
    /// The process's exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::JobFailed => 1,
            Self::WrongUse => 2,
            Self::OutOfReach => 3,
            Self::Signalled(signal) => 128_u8.saturating_add(signal),
        }
    }
}

/// An error on its way to the artist.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// What is wrong, on one line, without a full stop.
    pub(crate) message: String,
    /// What to do about it, where anything is known.
    pub(crate) hint: Option<String>,
    /// The command's output, with its one JSON object, is printed already.
    pub(crate) has_output: bool,
}

impl Failure {
    fn new(exit: Exit, message: String) -> Self {
        Self { exit, message, hint: None, has_output: false }
    }

    /// The job failed.
    pub(crate) fn job_failed(message: impl Into<String>) -> Self {
        Self::new(Exit::JobFailed, message.into())
    }

    /// The artist asked for something impossible or gave something broken.
    pub(crate) fn wrong_use(message: impl Into<String>) -> Self {
        Self::new(Exit::WrongUse, message.into())
    }

    /// Nothing to render with or nobody to talk to.
    pub(crate) fn out_of_reach(message: impl Into<String>) -> Self {
        Self::new(Exit::OutOfReach, message.into())
    }

    /// Adds what to do about it.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Stopped by a signal.
    pub(crate) fn signalled(signal: u8) -> Self {
        Self::new(Exit::Signalled(signal), "stopped".to_owned())
    }

    /// Says that the command's output is printed already.
    pub(crate) fn after_output(mut self) -> Self {
        self.has_output = true;
        self
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        let message = describe(&error);
        match error {
            WireError::Unreachable { .. } => Self::out_of_reach(message)
                .with_hint("is the master running, and can this machine reach its UDP port?"),
            WireError::Lost(_) | WireError::Protocol(_) => Self::out_of_reach(message),
            _ => Self::wrong_use(message),
        }
    }
}

/// An error with its causes on one line; a cause that the text before it
/// already tells is not told twice.
pub(crate) fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Text from elsewhere, safe to show on a terminal: control characters, which
/// could move the cursor or hide what follows, are replaced.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Whether stderr takes colours.
pub(crate) fn stderr_takes_colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A label such as `error:` in bold and a colour (an ANSI code), or plain.
pub(crate) fn label(text: &str, ansi_colour: u8, coloured: bool) -> String {
    if coloured { format!("\x1b[1;{ansi_colour}m{text}:\x1b[0m") } else { format!("{text}:") }
}

/// Tells the artist about a failure on stderr and, where JSON was asked for, as
/// the one object on stdout.
pub(crate) fn report_failure(failure: &Failure, json: bool) {
    let coloured = stderr_takes_colour();
    let mut lines = String::new();
    for (index, line) in failure.message.lines().enumerate() {
        let start = if index == 0 { label("error", 31, coloured) } else { " ".to_owned() };
        let _ = writeln!(lines, "{start} {}", printable(line));
    }
    if let Some(hint) = &failure.hint {
        let _ = writeln!(lines, "{} {}", label("hint", 36, coloured), printable(hint));
    }
    // When stderr is closed there is nobody left to tell.
    let _ = io::stderr().write_all(lines.as_bytes());
    if json && !failure.has_output {
        #[derive(Serialize)]
        struct Report<'a> {
            error: &'a str,
            hint: Option<&'a str>,
            exit_code: u8,
        }
        let report =
            Report { error: &failure.message, hint: failure.hint.as_deref(), exit_code: failure.exit.code() };
        // The failure itself is reported by the exit code in any case.
        let _ = print_json(&report);
    }
}

/// Prints the one JSON object of a command on stdout.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::job_failed(format!("the result cannot be written as JSON: {error}")))?;
    text.push('\n');
    print_text(&text)
}

/// Prints text on stdout. A reader that went away, as `head` does, is no error.
pub(crate) fn print_text(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::job_failed(format!("cannot write to stdout: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Lays rows out in columns as wide as their widest cell; the first row is the
/// heading.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width_of = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width_of).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A count with its thousands' prefix: `1.50 M`.
pub(crate) fn human_count(value: f64) -> String {
    let prefixes = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    match prefixes.iter().find(|(size, _)| value >= *size) {
        Some((size, prefix)) => format!("{:.2}{prefix}", value / size),
        None => format!("{value:.0}"),
    }
}

/// A number as a float for ratios and display; counts stay far below 2^53, where
/// every whole number is exact.
#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// A share in percent; nothing of nothing is all of it.
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 100.0 } else { 100.0 * float(part) / float(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read it: inner")]
    struct Telling(#[source] Inner);

    #[test]
    fn causes_are_told_once() {
        assert_eq!(describe(&Outer(Inner)), "outer: inner");
        assert_eq!(describe(&Telling(Inner)), "cannot read it: inner");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }

    #[test]
    fn tables_line_up() {
        let rows = [["JOB", "NAME"], ["12", "é"], ["3", "long name"]];
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.map(String::from).to_vec()).collect();
        assert_eq!(table(&rows), "JOB  NAME\n12   é\n3    long name\n");
    }

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let codes = [Exit::JobFailed, Exit::WrongUse, Exit::OutOfReach, Exit::Signalled(2)].map(Exit::code);
        assert_eq!(codes, [1, 2, 3, 130]);
    }

    #[test]
    fn counts_read_well() {
        let read = [0.0, 999.0, 1500.0, 2.5e6, 7e9].map(human_count);
        assert_eq!(read, ["0", "999", "1.50 k", "2.50 M", "7.00 G"]);
    }
}
