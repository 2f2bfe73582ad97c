//! Why a node cannot work, and what to do about it.

use farm_render::RenderError;

use crate::cache::CacheError;

/// Why a node could not start or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// No adapter that could render.
    #[error("no adapter was found")]
    NoAdapter,
    /// The adapter that was asked for is not there.
    #[error("there is no adapter {asked}; {known}")]
    UnknownAdapter {
        /// What was asked for.
        asked: String,
        /// What there is, in words.
        known: String,
    },
    /// An adapter could not be opened.
    #[error("adapter `{name}` could not be opened")]
    Open {
        /// Its name.
        name: String,
        /// The cause.
        source: RenderError,
    },
    /// The cache could not be opened.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The master refuses this node, again and again.
    #[error("the master refuses this node: {0}")]
    Refused(String),
    /// A thread or task of the node ended by a panic: a bug.
    #[error("the node's {0} broke down; its log says why")]
    Panicked(&'static str),
}

impl NodeError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoAdapter | Self::UnknownAdapter { .. } => Some("`farm-node adapters` lists them".into()),
            Self::Refused(_) => Some("join again with a new ticket: `farm-node join TICKET --force`".into()),
            Self::Cache(_) => Some("pass `--cache DIR` with a folder that can be written".into()),
            Self::Open { .. } | Self::Panicked(_) => None,
        }
    }
}
