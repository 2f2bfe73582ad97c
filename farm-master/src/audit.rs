//! The audit log: who did what when, one line of JSON each, only ever appended to.
//!
//! Each line ends in a chain value, the BLAKE3 of the line before's and of the line
//! itself, so that nothing can be changed, left out or moved without every later
//! line telling. Whoever may write the file can write all of it anew, or cut off
//! its end: against that, note the last chain value elsewhere now and then.
//!
//! A running master and the commands beside it append to one file, in turns.

mod entry;
mod verify;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use farm_wire::Identity;

pub use self::entry::{Action, Actor, Entry, Outcome};
pub use self::verify::{AuditError, Link, read, verify};

/// Longest line: names have bounds, and the rest is numbers. The last one is looked
/// for in so many bytes of the file's end.
const LINE_BYTES: usize = 16 << 10;

/// The log of a data folder. Cheap to clone; clones count what they miss together.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Entries that could not be written since the last one that could.
    missed: AtomicU64,
    /// Whether that was said in the log.
    is_said: AtomicBool,
}

impl AuditLog {
    /// The log in a file, which is made with its first entry.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, state: Arc::default() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends an entry. Waits for the disk: not for an async task. What cannot be
    /// written holds nobody up; the next entry that can says how many were missed.
    pub fn append(&self, who: Actor, what: Action, outcome: Outcome) {
        let missed = self.state.missed.swap(0, Ordering::Relaxed);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let entry = Entry { number: 0, at_ms, who, what, outcome, missed };
        match self.write(entry) {
            Ok(()) => self.state.is_said.store(false, Ordering::Relaxed),
            Err(error) => {
                self.state.missed.fetch_add(missed + 1, Ordering::Relaxed);
                if !self.state.is_said.swap(true, Ordering::Relaxed) {
                    let path = self.path.display();
                    tracing::error!(%error, "the audit log {path} cannot be written; work goes on without it");
                }
            }
        }
    }

    /// As [`AuditLog::append`], from an async task. Resolves when it is done.
    pub(crate) async fn record(&self, who: Actor, what: Action, outcome: Outcome) {
        let log = self.clone();
        let written = tokio::task::spawn_blocking(move || log.append(who, what, outcome)).await;
        if let Err(error) = written {
            tracing::error!(%error, "an entry of the audit log broke off");
        }
    }

    fn write(&self, mut entry: Entry) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&self.path)?;
        // Until it is closed.
        file.lock()?;
        let (end, last) = last_line(&mut file)?;
        let previous = match last {
            Some(line) => Link::parse(&line).map_err(|reason| {
                io::Error::new(io::ErrorKind::InvalidData, format!("its last line: {reason}"))
            })?,
            None => Link::start(),
        };
        entry.number = previous.number + 1;
        let line = previous.chain_to(&entry)?;
        // Half a line, of somebody who died over it, was acknowledged to nobody.
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        file.write_all(line.as_bytes())?;
        file.sync_data()
    }
}

/// The file's last whole line, and where it ends.
fn last_line(file: &mut File) -> io::Result<(u64, Option<String>)> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(2 * LINE_BYTES as u64);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(length - start).read_to_end(&mut tail)?;
    let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else { return Ok((0, None)) };
    let begin = tail[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = String::from_utf8_lossy(&tail[begin..end]).into_owned();
    Ok((start + end as u64 + 1, Some(line)))
}

impl From<&Identity> for Actor {
    fn from(identity: &Identity) -> Self {
        Self::Member {
            role: identity.role,
            id: format!("{:016x}", identity.id),
            name: identity.name.clone(),
            address: None,
        }
    }
}

#[cfg(test)]
mod tests;
