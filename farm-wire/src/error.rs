//! What goes wrong on the wire.

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
        source: Box<dyn std::error::Error + Send + Sync>,
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
        path: std::path::PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}
