//! The chain of an audit log's lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::{Entry, LINE_BYTES};

/// Between a line's entry and its chain value.
const CHAIN: &str = ",\"chain\":\"";
/// After it.
const END: &str = "\"}";

/// What is wrong with an audit log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// It cannot be read.
    #[error("the audit log {path} cannot be read: {source}")]
    Read {
        /// Its file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A line is not what was written after the one before it.
    #[error("line {line} of the audit log {path} is not what was written: {reason}")]
    Broken {
        /// Its file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// How that shows.
        reason: String,
    },
}

/// The end of a chain: the last line's number and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// How many lines there are.
    pub number: u64,
    /// The chain value, in hexadecimal.
    pub chain: String,
}

impl Link {
    /// Before the first line.
    pub(super) fn start() -> Self {
        Self { number: 0, chain: String::new() }
    }

    /// A line that was written, as the next one follows it.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let (body, chain) = split(line)?;
        let entry: Entry = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        Ok(Self { number: entry.number, chain: chain.to_owned() })
    }

    /// The line of an entry that follows, with its end.
    pub(super) fn chain_to(&self, entry: &Entry) -> io::Result<String> {
        let body = serde_json::to_string(entry)?;
        let chain = self.next(&body);
        let line = format!("{}{CHAIN}{chain}{END}\n", &body[..body.len() - 1]);
        match line.len() <= LINE_BYTES {
            true => Ok(line),
            false => {
                Err(io::Error::other(format!("an entry of {} bytes, the most are {LINE_BYTES}", line.len())))
            }
        }
    }

    /// The chain value of an entry that follows.
    fn next(&self, body: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.chain.as_bytes()).update(b"\n").update(body.as_bytes());
        hasher.finalize().to_hex().to_string()
    }

    /// Follows a line.
    fn follow(&self, line: &str) -> Result<(Self, Entry), String> {
        let (body, chain) = split(line)?;
        let entry: Entry = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        if entry.number != self.number + 1 {
            return Err(format!("it is number {} and follows {}", entry.number, self.number));
        }
        if self.next(&body) != chain {
            return Err("it does not belong to its chain value and the line before".into());
        }
        Ok((Self { number: entry.number, chain: chain.to_owned() }, entry))
    }
}

/// A line's entry, and its chain value.
fn split(line: &str) -> Result<(String, &str), String> {
    let (entry, rest) = line.rsplit_once(CHAIN).ok_or("it has no chain value")?;
    let chain = rest.strip_suffix(END).ok_or("it has no end")?;
    Ok((format!("{entry}}}"), chain))
}

/// Reads a log from its beginning, calls `visit` for each entry, and returns the end
/// of the chain. What follows the last whole line was never acknowledged.
///
/// # Errors
/// It cannot be read, or names the first line that is not what was written.
pub fn read(path: &Path, mut visit: impl FnMut(&str, &Entry)) -> Result<Link, AuditError> {
    let failed = |source| AuditError::Read { path: path.to_owned(), source };
    let mut link = Link::start();
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(link),
        file => file.map_err(failed)?,
    };
    let mut reader = BufReader::new(file);
    for number in 1.. {
        let mut bytes = Vec::new();
        let most = LINE_BYTES as u64 + 1;
        reader.by_ref().take(most).read_until(b'\n', &mut bytes).map_err(failed)?;
        if bytes.last() != Some(&b'\n') && (bytes.len() as u64) < most {
            break;
        }
        let line = String::from_utf8_lossy(&bytes);
        let line = line.strip_suffix('\n').unwrap_or(&line);
        let broken = |reason| AuditError::Broken { path: path.to_owned(), line: number, reason };
        let (next, entry) = link.follow(line).map_err(broken)?;
        visit(line, &entry);
        link = next;
    }
    Ok(link)
}

/// Whether every line is what was written; the end of the chain.
///
/// # Errors
/// As for [`read`].
pub fn verify(path: &Path) -> Result<Link, AuditError> {
    read(path, |_, _| ())
}
