//! What goes wrong on the wire.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use quinn::{ConnectionError, VarInt};

/// Why a peer could not be reached, trusted or understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Nobody answers at the address.
    #[error("no master answers at {address}")]
    Unreachable {
        /// Where we looked.
        address: String,
        /// The cause.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The master refused us or we refused it.
    #[error("{0}")]
    Refused(String),
    /// The connection or a stream ended.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The peer sent something that is not of the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
    /// A local file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: std::net::SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// A key or certificate of our own could not be made or used.
    #[error("{0}")]
    Certificate(String),
}

/// Why a connection is closed, as the number in QUIC's CONNECTION_CLOSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum CloseCode {
    /// Nothing is wrong. Also what a dropped connection sends.
    Goodbye = 0,
    /// The peer may not do this; the reason says why.
    Refused = 1,
    /// The peer may try again later.
    Busy = 2,
    /// An admitted peer's connection is over; it may make another.
    Ended = 3,
}

impl CloseCode {
    /// Closes a connection with this code and a reason for people.
    pub(crate) fn close(self, connection: &quinn::Connection, reason: &str) {
        connection.close(VarInt::from_u32(self as u32), reason.as_bytes());
    }

    fn is(self, code: VarInt) -> bool {
        u64::from(self as u32) == code.into_inner()
    }
}

impl WireError {
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.into(), source }
    }

    /// For a file whose content is wrong.
    pub(crate) fn bad_file(path: &Path, problem: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::file(path, io::Error::new(io::ErrorKind::InvalidData, problem))
    }

    /// What the end of an established connection means to us.
    pub(crate) fn from_connection(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let reason = printable(&close.reason);
                if CloseCode::Refused.is(close.error_code) || CloseCode::Busy.is(close.error_code) {
                    Self::Refused(reason)
                } else if reason.is_empty() {
                    Self::Lost("the peer closed it".into())
                } else {
                    Self::Lost(format!("the peer closed it: {reason}"))
                }
            }
            ConnectionError::TimedOut => Self::Lost("the peer went silent".into()),
            ConnectionError::LocallyClosed => Self::Lost("it was closed here".into()),
            other => Self::Lost(other.to_string()),
        }
    }

    pub(crate) fn from_write(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::ConnectionLost(error) => Self::from_connection(error),
            quinn::WriteError::Stopped(_) => Self::Lost("the peer stopped reading".into()),
            other => Self::Lost(other.to_string()),
        }
    }

    pub(crate) fn from_read(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::ConnectionLost(error) => Self::from_connection(error),
            quinn::ReadError::Reset(_) => Self::Lost("the peer gave the stream up".into()),
            other => Self::Lost(other.to_string()),
        }
    }
}

/// A peer's words, made safe for a terminal: no control characters, one line,
/// at most 500 characters.
pub(crate) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_words_cannot_drive_the_terminal() {
        assert_eq!(printable(b"no\x1b[31m\n entry\xff"), "no[31m entry\u{fffd}");
        assert_eq!(printable(&[b'a'; 1000]).len(), 500);
    }
}
