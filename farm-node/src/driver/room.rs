//! Waiting for room on a full disk.

use std::path::{Path, PathBuf};

use tokio::time::{Instant, sleep};

use crate::limits::NodeLimits;

/// More free bytes than this are somebody's doing; below are logs and the like.
const GROWTH_BYTES: u64 = 1 << 20;

/// Resolves when the disk of a folder has more room than now, or after a while in any
/// case: the system may not tell, and another blob may be smaller.
pub(super) async fn wait_for_room(folder: PathBuf, limits: NodeLimits) {
    let began = Instant::now();
    let before = free_bytes(folder.clone()).await;
    while began.elapsed() < limits.disk_retry {
        sleep(limits.disk_look).await;
        let now = free_bytes(folder.clone()).await;
        if before.zip(now).is_some_and(|(before, now)| now > before.saturating_add(GROWTH_BYTES)) {
            return;
        }
    }
}

/// Bytes that this user may still write where the folder is, if the system tells.
async fn free_bytes(folder: PathBuf) -> Option<u64> {
    // A disk that is another machine's may take its time to answer.
    tokio::task::spawn_blocking(move || ask(&folder)).await.ok().flatten()
}

#[cfg(unix)]
fn ask(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn ask(_: &Path) -> Option<u64> {
    None
}
