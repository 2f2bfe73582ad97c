//! Fetching one blob into the cache.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use farm_core::BlobDigest;
use farm_core::scheduler::FailureKind;
use farm_wire::{Client, WireError, transfer};

use crate::cache::{Cache, CacheError};
use crate::limits::NodeLimits;

/// Why a blob is not in the cache now.
#[derive(Debug)]
pub(crate) enum FetchFailure {
    /// The connection is gone; ask again on the next one.
    Lost,
    /// It cannot be had.
    Missed {
        /// Why it matters to the scheduler.
        kind: FailureKind,
        /// For people.
        message: String,
        /// Whether the disk had no room for it, which may change.
        no_room: bool,
    },
}

/// Fetches a blob, a few times if need be; what an earlier try brought is kept
/// and continued.
pub(crate) async fn fetch(
    client: Client,
    cache: Arc<Cache>,
    digest: BlobDigest,
    limits: NodeLimits,
) -> Result<(), FetchFailure> {
    let mut tries = 1;
    loop {
        let error = match fetch_once(&client, &cache, digest, limits.fetch_stall).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error.may_be_disconnection() && is_closed(&client).await {
            return Err(FetchFailure::Lost);
        }
        if tries >= limits.fetch_tries || !error.is_transient() {
            return Err(error.into_failure(digest));
        }
        tracing::debug!("fetching blob {digest}: {error}; trying again");
        tries += 1;
    }
}

/// Whether the whole connection has ended and not only a stream of it; given a
/// moment, since a stream may hear of it first.
async fn is_closed(client: &Client) -> bool {
    tokio::time::timeout(Duration::from_millis(500), client.closed()).await.is_ok()
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("no byte came for {0:?}")]
    Stalled(Duration),
}

impl FetchError {
    /// Whether the next try may go better.
    fn is_transient(&self) -> bool {
        match self {
            Self::Wire(WireError::File { .. } | WireError::Refused(_)) | Self::Cache(_) => false,
            Self::Wire(_) | Self::Stalled(_) => true,
        }
    }

    fn may_be_disconnection(&self) -> bool {
        match self {
            Self::Wire(WireError::File { .. }) | Self::Cache(_) | Self::Stalled(_) => false,
            Self::Wire(_) => true,
        }
    }

    fn into_failure(self, digest: BlobDigest) -> FetchFailure {
        let (kind, advice) = match &self {
            // Whatever a disk's trouble is, it is the node's own and is never
            // counted against the job.
            Self::Wire(WireError::File { .. }) | Self::Cache(_) => {
                (FailureKind::DiskFull, "; make room there, or give the node another folder by `--cache DIR`")
            }
            Self::Wire(_) | Self::Stalled(_) => (FailureKind::BlobUnavailable, ""),
        };
        let no_room = self.is_for_lack_of_room();
        FetchFailure::Missed { kind, message: format!("blob {digest}: {self}{advice}"), no_room }
    }

    fn is_for_lack_of_room(&self) -> bool {
        match self {
            Self::Wire(WireError::File { source, .. }) | Self::Cache(CacheError::File { source, .. }) => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::Wire(_) | Self::Cache(_) | Self::Stalled(_) => false,
        }
    }
}

async fn fetch_once(
    client: &Client,
    cache: &Arc<Cache>,
    digest: BlobDigest,
    stall: Duration,
) -> Result<(), FetchError> {
    let lock = {
        let cache = Arc::clone(cache);
        let locking = tokio::task::spawn_blocking(move || cache.lock(digest));
        locking.await.expect("locking does not panic and is never aborted")?
    };
    // Another node that shares the folder may have fetched it meanwhile.
    if cache.admit(digest, false).is_ok() {
        return Ok(());
    }
    let path = cache.path(digest);
    let fetching = transfer::fetch_blob(client, digest, &path, cache.limit_bytes());
    unless_stalled(fetching, &path, stall).await?;
    cache.admit(digest, true)?;
    drop(lock);
    Ok(())
}

/// Awaits a fetch, but gives up when its file has not grown for `stall`.
async fn unless_stalled(
    fetching: impl Future<Output = Result<u64, WireError>>,
    path: &Path,
    stall: Duration,
) -> Result<u64, FetchError> {
    let part = {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        part
    };
    let mut fetching = pin!(fetching);
    let mut length = None;
    loop {
        if let Ok(outcome) = tokio::time::timeout(stall, &mut fetching).await {
            return Ok(outcome?);
        }
        let now = tokio::fs::metadata(&part).await.map(|metadata| metadata.len()).ok();
        if now == length {
            return Err(FetchError::Stalled(stall));
        }
        length = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: WireError, transient: bool, expected: FailureKind) {
        let error = FetchError::from(error);
        assert_eq!(error.is_transient(), transient, "{error}");
        match error.into_failure(BlobDigest([1; 32])) {
            FetchFailure::Missed { kind, message, no_room } => {
                assert_eq!(kind, expected);
                assert_eq!(message.contains("make room"), kind == FailureKind::DiskFull, "{message}");
                assert_eq!(no_room, message.contains("no storage space"), "{message}");
            }
            FetchFailure::Lost => panic!("the connection is not the trouble"),
        }
    }

    #[test]
    fn trouble_is_laid_at_the_right_door() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let file = WireError::File { path: "blob.part".into(), source: full };
        check(file, false, FailureKind::DiskFull);
        let forbidden = io::Error::from(io::ErrorKind::PermissionDenied);
        let file = WireError::File { path: "blob.part".into(), source: forbidden };
        check(file, false, FailureKind::DiskFull);
        check(WireError::Refused("no such blob".into()), false, FailureKind::BlobUnavailable);
        check(WireError::Protocol("wrong digest".into()), true, FailureKind::BlobUnavailable);
    }

    #[tokio::test]
    async fn fetch_that_gains_nothing_is_broken_off() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let never = std::future::pending();
        let outcome = unless_stalled(never, &folder.path().join("blob"), Duration::ZERO).await;
        assert!(matches!(outcome, Err(FetchError::Stalled(_))), "{outcome:?}");
    }
}
