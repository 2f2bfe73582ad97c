//! Whether somebody else uses this machine. On Linux, from three places:
//!
//! - logind, where it runs: desktops tell it when nobody has touched keyboard or
//!   mouse for a while, and it looks after terminals itself;
//! - terminals, where it does not run: when they were last read, as `w` has it;
//! - the processors' time that went to other processes than this one.
//!
//! Any of them that speaks against it is enough, and the machine has to be quiet for
//! a while before it counts as idle.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

/// Bounds of what counts as idle. Each default says where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IdleLimits {
    /// How long nobody may have used the machine: what desktops take before they
    /// dim the screen.
    pub(crate) quiet_for: Duration,
    /// The part of all processors that others may use: background services stay
    /// below a tenth, a compiler or another renderer does not.
    pub(crate) others_share: f64,
}

impl Default for IdleLimits {
    fn default() -> Self {
        Self { quiet_for: Duration::from_secs(300), others_share: 0.1 }
    }
}

/// What is seen at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Whether logind has every session idle.
    sessions_idle: Option<bool>,
    /// How long ago a terminal was last read.
    terminal_quiet_for: Option<Duration>,
    /// The part of all processors that other processes used since the last sample.
    others_share: Option<f64>,
}

/// How long the machine has been quiet.
#[derive(Debug)]
pub(crate) struct Idleness {
    limits: IdleLimits,
    quiet_since: Option<Instant>,
}

impl Idleness {
    pub(crate) fn new(limits: IdleLimits) -> Self {
        Self { limits, quiet_since: None }
    }

    /// Takes a sample; whether the machine is idle.
    pub(crate) fn take(&mut self, now: Instant, sample: &Sample) -> bool {
        let quiet = sample.sessions_idle != Some(false)
            && sample.terminal_quiet_for.is_none_or(|quiet| quiet >= self.limits.quiet_for)
            && sample.others_share.is_none_or(|share| share <= self.limits.others_share);
        if !quiet {
            self.quiet_since = None;
            return false;
        }
        let since = *self.quiet_since.get_or_insert(now);
        now.duration_since(since) >= self.limits.quiet_for
    }
}

/// Looks at a machine.
#[derive(Debug)]
pub(crate) struct Watch {
    /// `/`, or what stands for it in tests.
    root: PathBuf,
    /// Processor time at the last sample.
    last: Option<Ticks>,
}

/// Processor time in the kernel's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    total: u64,
    busy: u64,
    /// Of this process.
    own: u64,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { root: "/".into(), last: None }
    }

    /// What can be looked at here, in words; nothing if it cannot be told whether the
    /// machine is idle.
    pub(crate) fn sources(&self) -> Vec<&'static str> {
        let sources = [
            (self.sessions_idle().is_some(), "logind"),
            (self.terminal_quiet_for().is_some(), "terminals"),
            (self.ticks().is_some(), "processor time of others"),
        ];
        sources.into_iter().filter(|(is_there, _)| *is_there).map(|(_, name)| name).collect()
    }

    /// Looks. Takes a moment, because it asks another program: not for an async task.
    pub(crate) fn sample(&mut self) -> Sample {
        let sessions_idle = self.sessions_idle();
        let ticks = self.ticks();
        let earlier = std::mem::replace(&mut self.last, ticks);
        Sample {
            sessions_idle,
            // logind looks after them where it runs, and knows which are somebody's.
            terminal_quiet_for: if sessions_idle.is_none() { self.terminal_quiet_for() } else { None },
            others_share: earlier.zip(ticks).and_then(|(earlier, now)| now.others_share_since(earlier)),
        }
    }

    fn sessions_idle(&self) -> Option<bool> {
        if self.root != Path::new("/") {
            return None;
        }
        // Without a session's number it speaks of all of them.
        let output = Command::new("loginctl").args(["show-session", "--property=IdleHint"]).output().ok()?;
        output.status.success().then(|| parse_idle_hint(&output.stdout))?
    }

    fn terminal_quiet_for(&self) -> Option<Duration> {
        let now = SystemTime::now();
        let devices = ["dev", "dev/pts"].map(|folder| fs::read_dir(self.root.join(folder)).ok());
        let devices = devices.into_iter().flatten().flatten().flatten();
        let terminals = devices.filter(|device| is_terminal(&device.path()));
        let accessed = terminals.filter_map(|device| device.metadata().ok()?.accessed().ok());
        accessed.map(|at| now.duration_since(at).unwrap_or_default()).min()
    }

    fn ticks(&self) -> Option<Ticks> {
        let read = |path| fs::read_to_string(self.root.join(path)).ok();
        parse_ticks(&read("proc/stat")?, &read("proc/self/stat")?)
    }
}

/// `/dev/tty1`, `/dev/pts/3`: what people type at. (`/dev/tty` is whoever asks.)
fn is_terminal(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let in_pts = path.parent().is_some_and(|folder| folder.ends_with("pts"));
    let number = if in_pts { Some(name) } else { name.strip_prefix("tty") };
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn parse_idle_hint(output: &[u8]) -> Option<bool> {
    match std::str::from_utf8(output).ok()?.trim() {
        "IdleHint=yes" => Some(true),
        "IdleHint=no" => Some(false),
        _ => None,
    }
}

/// From `/proc/stat` and `/proc/self/stat` (proc(5)).
fn parse_ticks(all: &str, own: &str) -> Option<Ticks> {
    let line = all.lines().find(|line| line.starts_with("cpu "))?;
    // User, nice, system, idle, iowait, irq, softirq, steal; guests are in user.
    let fields: Vec<u64> =
        line.split_whitespace().skip(1).take(8).map_while(|text| text.parse().ok()).collect();
    let (idle, iowait) = (fields.get(3)?, fields.get(4).copied().unwrap_or(0));
    let total: u64 = fields.iter().sum();
    // The program's name, in parentheses, may hold anything; after it comes field 3.
    let after_name = own.rsplit_once(')')?.1;
    let mut times = after_name.split_whitespace().skip(11).take(2).map_while(|text| text.parse::<u64>().ok());
    let own = times.next()? + times.next()?;
    Some(Ticks { total, busy: total - idle - iowait, own })
}

impl Ticks {
    /// The part of all processors' time since `earlier` that others used; none if no
    /// time passed.
    fn others_share_since(self, earlier: Self) -> Option<f64> {
        let total = self.total.checked_sub(earlier.total).filter(|total| *total > 0)?;
        let busy = self.busy.saturating_sub(earlier.busy);
        let own = self.own.saturating_sub(earlier.own);
        #[expect(clippy::cast_precision_loss, reason = "ticks of some seconds")]
        let share = busy.saturating_sub(own) as f64 / total as f64;
        Some(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3 4\nbtime 5\n";

    fn own_stat(user: u64, system: u64) -> String {
        format!("42 (a) name (x)) S 1 1 1 0 -1 4194304 1 0 0 0 {user} {system} 0 0 20 0 9 0 100")
    }

    #[test]
    fn others_are_all_that_is_busy_but_this_process() {
        let earlier = parse_ticks(STAT, &own_stat(60, 10)).expect("as the kernel writes it");
        assert_eq!(earlier, Ticks { total: 1000, busy: 150, own: 70 });
        let later = "cpu  300 0 50 900 50 0 0 0 0 0\n";
        let later = parse_ticks(later, &own_stat(200, 20)).expect("as the kernel writes it");
        assert_eq!(later.others_share_since(earlier), Some((200.0 - 150.0) / 300.0));
        assert_eq!(later.others_share_since(later), None);
        for (all, own) in
            [("", &*own_stat(1, 1)), (STAT, "42 (x"), ("cpu 1 2\n", &*own_stat(1, 1)), (STAT, "1 (x) S 1")]
        {
            assert_eq!(parse_ticks(all, own), None);
        }
    }

    #[test]
    fn machine_is_idle_after_a_while_of_quiet_and_busy_at_once() {
        let limits = IdleLimits::default();
        let (start, minutes) = (Instant::now(), |minutes: u64| Duration::from_secs(60 * minutes));
        let quiet = Sample {
            sessions_idle: Some(true),
            terminal_quiet_for: Some(minutes(5)),
            others_share: Some(0.1),
        };
        let signs = [
            Sample { sessions_idle: Some(false), ..quiet },
            Sample { terminal_quiet_for: Some(minutes(4)), ..quiet },
            Sample { others_share: Some(0.11), ..quiet },
        ];
        for sign in signs {
            let mut idleness = Idleness::new(limits.clone());
            assert!(!idleness.take(start, &quiet), "it may have become quiet just now");
            assert!(!idleness.take(start + minutes(4), &quiet));
            assert!(idleness.take(start + minutes(5), &quiet));
            assert!(!idleness.take(start + minutes(6), &sign), "{sign:?}");
            assert!(!idleness.take(start + minutes(7), &quiet));
            assert!(idleness.take(start + minutes(12), &quiet));
        }
    }

    #[test]
    fn what_cannot_be_told_does_not_speak_against_it() {
        let mut idleness = Idleness::new(IdleLimits { quiet_for: Duration::ZERO, ..IdleLimits::default() });
        assert!(idleness.take(Instant::now(), &Sample::default()));
    }

    #[test]
    fn terminals_are_those_that_people_type_at() {
        for (path, is) in [
            ("/dev/tty1", true),
            ("/dev/tty63", true),
            ("/dev/tty", false),
            ("/dev/ttyS0", false),
            ("/dev/pts/0", true),
            ("/dev/pts/ptmx", false),
            ("/dev/null", false),
        ] {
            assert_eq!(is_terminal(Path::new(path)), is, "{path}");
        }
    }

    #[test]
    fn hints_of_logind_are_read() {
        let hint = |text: &str| parse_idle_hint(text.as_bytes());
        assert_eq!((hint("IdleHint=yes\n"), hint("IdleHint=no\n")), (Some(true), Some(false)));
        assert_eq!((hint(""), hint("Failed to connect\n")), (None, None));
    }

    #[test]
    fn machine_is_looked_at_through_its_files() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let watch = || Watch { root: root.path().to_owned(), last: None };
        assert_eq!(watch().sources(), [""; 0], "then idleness cannot be asked for");
        for folder in ["proc/self", "dev/pts"] {
            fs::create_dir_all(root.path().join(folder)).expect("it is writable");
        }
        let write = |path: &str, text: &str| fs::write(root.path().join(path), text).expect("it is writable");
        write("proc/stat", STAT);
        write("proc/self/stat", &own_stat(60, 10));
        write("dev/pts/0", "");
        let mut watch = watch();
        assert_eq!(watch.sources(), ["terminals", "processor time of others"]);
        assert_eq!(watch.sample().others_share, None, "there is nothing to compare with");
        write("proc/stat", "cpu  200 0 50 900 50 0 0 0 0 0\n");
        let sample = watch.sample();
        assert_eq!(sample.others_share, Some(0.5));
        assert!(sample.terminal_quiet_for.is_some_and(|quiet| quiet < Duration::from_secs(60)));
    }
}
