//! Garbage: which blobs facts name, and the collection of the others, every
//! hour beside a running master or by `farm-master gc`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use farm_core::scheduler::{Entry, State};
use farm_core::{BlobDigest, Limits};
use tokio::sync::mpsc;

use crate::blobs::{BlobStore, Collected, Keep};
use crate::driver::DriverHandle;
use crate::folder::DataFolder;
use crate::journal::{Journal, SqliteJournal};
use crate::{Bounds, MasterError};

/// Pause between two collections: walking a million files takes seconds.
const INTERVAL: Duration = Duration::from_secs(3600);

/// Entries on their way from the journal.
const QUEUE: usize = 1024;

impl From<&Bounds> for Keep {
    fn from(bounds: &Bounds) -> Self {
        Self { grace: Duration::from_secs(bounds.blob_grace_s), bytes: bounds.unused_blob_bytes }
    }
}

/// Collects garbage for as long as the driver runs.
pub(crate) async fn run(driver: DriverHandle, blobs: Arc<BlobStore>, keep: Keep) {
    loop {
        // Jobs that are submitted from now on have asked for their blobs, or
        // will; those that were before are in the state by the time of the look.
        let names = driver.look(|scheduler| scheduler.state().named_blobs().collect::<Vec<_>>()).await;
        let Ok(names) = names else { return };
        let now = SystemTime::now();
        let store = Arc::clone(&blobs);
        let collecting = tokio::task::spawn_blocking(move || {
            let named: BTreeSet<BlobDigest> = names.into_iter().collect();
            store.collect(&named, keep, now, false)
        });
        match collecting.await {
            Ok(Ok(Collected { named, kept, removed })) => {
                tracing::info!(?named, ?kept, ?removed, "blobs were looked through");
            }
            Ok(Err(error)) => tracing::warn!(%error, "not all unused blobs could be removed"),
            Err(error) => tracing::error!(%error, "collecting unused blobs broke off"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Collects the garbage of a data folder whose master does not run; with
/// `dry_run`, only says what would go, and the master may run.
///
/// # Errors
/// [`MasterError::Locked`] when the master runs, or what is wrong with the
/// folder, the journal or the store.
pub async fn collect_garbage(data: &Path, keep: Keep, dry_run: bool) -> Result<Collected, MasterError> {
    let folder = DataFolder::open(data)?;
    let _lock = if dry_run { None } else { Some(folder.lock()?) };
    let now = SystemTime::now();
    let mut journal = SqliteJournal::open(&folder.journal()).await?;
    let (sender, mut entries) = mpsc::channel::<Entry>(QUEUE);
    let restoring = tokio::task::spawn_blocking(move || {
        let entries = std::iter::from_fn(|| entries.blocking_recv());
        let state = State::restore(entries, &Limits::default())?;
        Ok::<BTreeSet<BlobDigest>, crate::journal::JournalError>(state.named_blobs().collect())
    });
    journal.replay(sender).await?;
    let named = restoring.await.expect("restoring from decoded entries does not panic")?;
    let store = BlobStore::beside(&folder.blobs());
    Ok(store.collect(&named, keep, now, dry_run)?)
}
