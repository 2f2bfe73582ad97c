//! Progress on stderr: bars on a terminal, an occasional line elsewhere.
//!
//! Warnings, notes and log lines go above the bars. Nothing here touches stdout.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{
    HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use crate::jobs::about;
use crate::output::{human_count, label, percent, printable, stderr_takes_colour};
use crate::requests::JobUpdate;

/// Time between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Time between two frames of a spinner.
const TICK_INTERVAL: Duration = Duration::from_millis(120);

/// The bars of the process, so that log lines know where they are.
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// Bars that move, on a terminal.
    Bars,
    /// A line now and then, in a log.
    Lines,
    /// Not at all.
    Hidden,
}

/// Where progress, notes and warnings go.
pub(crate) struct Progress {
    style: Style,
    bars: MultiProgress,
    coloured: bool,
}

impl Progress {
    /// Bars if stderr is a terminal, lines if not, nothing if `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let style = match (quiet, io::stderr().is_terminal()) {
            (true, _) => Style::Hidden,
            (false, true) => Style::Bars,
            (false, false) => Style::Lines,
        };
        let bars = BARS.get_or_init(MultiProgress::new).clone();
        if style != Style::Bars {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { style, bars, coloured: stderr_takes_colour() }
    }

    /// Shows a warning, also when progress is hidden.
    pub(crate) fn warn(&self, text: &str) {
        self.print(&format!("{} {}", label("warning", 33, self.coloured), printable(text)));
    }

    /// Says something that is worth a line.
    pub(crate) fn note(&self, text: &str) {
        if self.style != Style::Hidden {
            self.print(&printable(text));
        }
    }

    /// Prints a line above the bars.
    fn print(&self, line: &str) {
        self.bars.suspend(|| {
            // When stderr is closed there is nobody left to tell.
            let _ = writeln!(io::stderr(), "{line}");
        });
    }

    /// A step of unknown length.
    pub(crate) fn step(&self, text: &'static str) -> Step {
        let bar = self.bar(0, "{spinner} {msg}");
        bar.set_message(text);
        bar.enable_steady_tick(TICK_INTERVAL);
        Step { bar }
    }

    /// An upload of `total` bytes.
    pub(crate) fn upload(&self, total: u64) -> UploadProgress {
        let template = "  upload [{bar:32}] {bytes} of {total_bytes}, {bytes_per_sec}";
        UploadProgress { bar: self.bar(total, template) }
    }

    /// Renders of a scene that is measured.
    pub(crate) fn bench(&self, scene: &str) -> BenchProgress {
        let bar = self.bar(0, " renders [{bar:32}] {pos} of {len} of {msg}");
        bar.set_message(printable(scene));
        BenchProgress { bar }
    }

    /// A job's progress.
    pub(crate) fn job(&self) -> JobProgress {
        let samples = self.bar(0, " samples [{bar:32}] {percent:>3} %  {rate}, {left}");
        let tiles = self.bar(0, "   tiles [{bar:32}] {pos} of {len}");
        let nodes = self.bar(0, "   nodes {msg}");
        JobProgress {
            style: self.style,
            printer: self.bars.clone(),
            samples,
            tiles,
            nodes,
            began: None,
            last_line: None,
        }
    }

    /// A bar below the others; hidden unless there is a terminal.
    fn bar(&self, length: u64, template: &'static str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template(template)
            .expect("the templates are constants, and a test parses each")
            .progress_chars("=> ")
            .with_key("rate", write_rate)
            .with_key("left", write_time_left);
        bar.set_style(style);
        if self.style == Style::Bars { self.bars.add(bar) } else { bar }
    }
}

/// Writes `1.20 M samples/s`.
fn write_rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    // A bar cannot report an error, and writing to a string gives none.
    let _ = write!(out, "{} samples/s", human_count(state.per_sec()));
}

/// Writes `12 seconds left`, once there is something to tell it from.
fn write_time_left(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let text = if state.pos() == 0 {
        "time left unknown".to_owned()
    } else {
        format!("{} left", HumanDuration(state.eta()))
    };
    // As above.
    let _ = out.write_str(&text);
}

/// A step of unknown length; gone when dropped.
pub(crate) struct Step {
    bar: ProgressBar,
}

impl Step {
    /// The step is over.
    pub(crate) fn finish(self) {}
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Bytes on their way.
#[derive(Clone)]
pub(crate) struct UploadProgress {
    bar: ProgressBar,
}

impl UploadProgress {
    /// `bytes` more have left.
    pub(crate) fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// All have left.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Renders of a scene; gone when dropped.
pub(crate) struct BenchProgress {
    bar: ProgressBar,
}

impl BenchProgress {
    /// So many are done.
    pub(crate) fn update(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}

impl Drop for BenchProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Samples, tiles, time left and nodes of a job.
pub(crate) struct JobProgress {
    style: Style,
    printer: MultiProgress,
    samples: ProgressBar,
    tiles: ProgressBar,
    nodes: ProgressBar,
    /// Since when nodes work, and the samples that were done then.
    began: Option<(Instant, u64)>,
    last_line: Option<Instant>,
}

impl JobProgress {
    /// Shows a job as it is now.
    pub(crate) fn update(&mut self, update: &JobUpdate) {
        let view = &update.view;
        // What was done before we looked, and the time when nobody works, say
        // nothing about speed.
        let is_idle = update.nodes == 0 || self.began.is_none();
        if is_idle {
            self.began = Some((Instant::now(), view.samples_done));
        }
        for (bar, done, all) in
            [(&self.samples, view.samples_done, view.samples), (&self.tiles, view.tiles_done, view.tiles)]
        {
            bar.set_length(all);
            bar.set_position(done);
            if is_idle {
                bar.reset_eta();
            }
        }
        self.nodes.set_message(describe_nodes(update));
        if self.style == Style::Lines && self.last_line.is_none_or(|last| last.elapsed() >= LINE_INTERVAL) {
            self.print_line(update);
        }
    }

    /// Prints the job's line.
    fn print_line(&mut self, update: &JobUpdate) {
        self.last_line = Some(Instant::now());
        let line = self.line(update);
        self.printer.suspend(|| {
            // When stderr is closed there is nobody left to tell.
            let _ = writeln!(io::stderr(), "{line}");
        });
    }

    /// The job in one line.
    fn line(&self, update: &JobUpdate) -> String {
        let view = &update.view;
        let mut line = format!(
            "{:.0} % of the samples, {} of {} tiles, {}",
            percent(view.samples_done, view.samples).floor(),
            view.tiles_done,
            view.tiles,
            describe_nodes(update),
        );
        let Some((since, done_then)) = self.began else { return line };
        let (done, seconds) = (view.samples_done.saturating_sub(done_then), since.elapsed().as_secs_f64());
        if done > 0 && seconds > 0.0 {
            let rate = crate::output::float(done) / seconds;
            // Writing to a string gives no error.
            let _ = write!(line, ", {} samples/s", human_count(rate));
            let left = crate::output::float(view.samples.saturating_sub(view.samples_done)) / rate;
            if left > 0.0 {
                let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
                let _ = write!(line, ", {} left", HumanDuration(left));
            }
        }
        line
    }

    /// The job has ended.
    pub(crate) fn finish(&mut self, update: &JobUpdate) {
        for bar in [&self.samples, &self.tiles, &self.nodes] {
            bar.finish_and_clear();
        }
        if self.style == Style::Lines {
            self.print_line(update);
        }
    }
}

impl Drop for JobProgress {
    fn drop(&mut self) {
        for bar in [&self.samples, &self.tiles, &self.nodes] {
            bar.finish_and_clear();
        }
    }
}

/// The farm's nodes in words: `2 nodes (llvmpipe)`, and why the job stands still
/// if it does.
fn describe_nodes(update: &JobUpdate) -> String {
    let mut adapters: Vec<&str> = update.lanes.iter().map(|lane| lane.adapter.as_str()).collect();
    adapters.sort_unstable();
    adapters.dedup();
    let count = match update.nodes {
        1 => "1 node".to_owned(),
        nodes => format!("{nodes} nodes"),
    };
    let mut text = if adapters.is_empty() { count } else { format!("{count} ({})", adapters.join(", ")) };
    if update.view.samples_done == 0 || update.nodes == 0 {
        text = format!("{text}; {}", update.view.explanation);
    } else if let Some(left_ms) = update.view.left_ms {
        text = format!("{text}; about {} by what its tiles cost", about(left_ms));
    }
    printable(&text)
}

/// A length in bytes with its unit.
pub(crate) fn human_bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// Where the program's log goes: stderr, above the bars.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match BARS.get() {
            Some(bars) => bars.suspend(|| io::stderr().write_all(bytes))?,
            None => io::stderr().write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farm_core::scheduler::{JobStatus, JobView};
    use farm_core::{JobId, Timestamp};

    fn update(samples_done: u64) -> JobUpdate {
        let view = JobView {
            job: JobId(1),
            name: "test".into(),
            status: JobStatus::Running,
            explanation: "no node is connected".into(),
            owner: None,
            priority: 0,
            share: Default::default(),
            submitted_at: Timestamp(0),
            frames_done: 0,
            frames: 1,
            tiles_done: 1,
            tiles: 4,
            samples_done,
            samples: 1000,
            rays: 0,
            render_us: 0,
            results: 1,
            left_ms: Some(120_000),
            backup_samples: 0,
            delivered: Vec::new(),
            failures: Vec::new(),
        };
        JobUpdate { view, nodes: 0, lanes: Vec::new() }
    }

    #[test]
    fn every_template_parses() {
        let progress = Progress::new(true);
        progress.step("reading").finish();
        progress.upload(100).finish();
        let mut job = progress.job();
        job.update(&update(0));
        job.update(&update(500));
        job.finish(&update(1000));
    }

    #[test]
    fn lines_tell_how_far_a_job_is_and_why_it_waits() {
        let mut job = Progress::new(true).job();
        job.update(&update(0));
        let line = job.line(&update(999));
        assert!(
            line.starts_with("99 % of the samples, 1 of 4 tiles, 0 nodes; no node is connected"),
            "{line}"
        );
        assert!(line.contains("samples/s"), "{line}");
        let line = job.line(&JobUpdate { nodes: 2, ..update(999) });
        assert!(line.contains("2 nodes; about 2 minutes by what its tiles cost"), "{line}");
    }
}
