//! What keeps a master from starting.

use std::io;
use std::path::PathBuf;

use farm_wire::WireError;

use crate::audit::AuditError;
use crate::blobs::BlobError;
use crate::journal::JournalError;
use crate::tickets::TicketError;

/// Why a master cannot start or a ticket cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MasterError {
    /// There is no passphrase for the authority's key.
    #[error("the authority's key needs its passphrase: {source}")]
    Passphrase {
        /// Why there is none.
        source: io::Error,
    },
    /// The audit log cannot be read, or is not what was written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Another master uses the data folder.
    #[error("the data folder {path} is in use by another master")]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// A file or folder of the data folder cannot be made, read or written.
    #[error("{path}: {source}")]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The journal cannot be opened or replayed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The blob store cannot be opened.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The ticket book cannot be used.
    #[error(transparent)]
    Tickets(#[from] TicketError),
    /// The endpoint cannot be bound or the certificate authority opened.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The operating system gives no threads.
    #[error("the runtime cannot be started: {source}")]
    Runtime {
        /// The cause.
        source: io::Error,
    },
    /// The configuration file is not right.
    #[error("the configuration {path} is not right: {reason}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl MasterError {
    /// What to do about it, where something is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Locked { .. } => Some("stop the other master, or pass another `--data DIR`"),
            Self::Folder { .. } => Some("check the folder's owner and the room on its disk"),
            Self::Journal(error) => error.hint(),
            Self::Config { .. } => Some("see `farm-master serve --help` for what may be set"),
            Self::Audit(AuditError::Broken { .. }) => Some(
                "somebody changed it, or the disk did; an earlier copy shows what. It goes on after this",
            ),
            Self::Passphrase { .. } => {
                Some("give it by `--passphrase-file FILE`, or in the environment as FARM_PASSPHRASE")
            }
            Self::Audit(_) | Self::Runtime { .. } | Self::Blobs(_) | Self::Tickets(_) | Self::Wire(_) => None,
        }
    }

    /// Whether what was asked for is wrong, and not the world.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Config { .. } | Self::Passphrase { .. } => true,
            Self::Tickets(error) => matches!(error, TicketError::Name | TicketError::Unknown(_)),
            _ => false,
        }
    }
}
