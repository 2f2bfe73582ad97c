//! Where a node keeps its key, and which folder it uses alone.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

/// Why the node's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    /// This user has no home folder.
    #[error("this user has no home folder to keep the node's key in")]
    Nowhere,
    /// The folder or a file in it cannot be used.
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    /// A running node uses it.
    #[error("another farm-node is running with the key in {0}")]
    InUse(PathBuf),
}

impl HomeError {
    /// What a person can do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Nowhere | Self::File { .. } => "pass `--data DIR` with a folder that can be written".into(),
            Self::InUse(_) => {
                "one node uses every adapter; for a second one, join with `--data DIR` of its own".into()
            }
        })
    }
}

/// The node's folder, for this process alone.
pub(crate) struct Home {
    folder: PathBuf,
    _lock: File,
}

impl Home {
    /// Opens the folder, making it if need be, or that of this user.
    ///
    /// # Errors
    /// It cannot be made or written, or another node uses it.
    pub(crate) fn open(folder: Option<&Path>) -> Result<Self, HomeError> {
        let folder = match folder {
            Some(folder) => folder.to_owned(),
            None => strategy()?.data_dir().join("tessera").join("node"),
        };
        let file_error = |path: &Path| {
            let path = path.to_owned();
            move |source| HomeError::File { path, source }
        };
        fs::create_dir_all(&folder).map_err(file_error(&folder))?;
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(file_error(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(HomeError::InUse(folder)),
            Err(TryLockError::Error(source)) => Err(HomeError::File { path, source }),
        }
    }

    /// The file of the node's key and certificate.
    pub(crate) fn credentials(&self) -> PathBuf {
        self.folder.join("credentials")
    }

    /// The folder for scenes where none is named: this user's cache folder, or
    /// a folder beside the key where there is none.
    pub(crate) fn cache(&self) -> PathBuf {
        match strategy() {
            Ok(strategy) => strategy.cache_dir().join("tessera").join("blobs"),
            Err(_) => self.folder.join("cache"),
        }
    }
}

fn strategy() -> Result<impl BaseStrategy, HomeError> {
    etcetera::choose_base_strategy().map_err(|_| HomeError::Nowhere)
}

/// This machine's name, for people; made fit for a certificate.
pub(crate) fn machine_name() -> String {
    let said = ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|variable| std::env::var(variable).ok());
    let name = said.or_else(|| fs::read_to_string("/proc/sys/kernel/hostname").ok()).unwrap_or_default();
    let name: String = name.trim().chars().filter(char::is_ascii_graphic).take(64).collect();
    if name.is_empty() { "node".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_is_used_by_one_node_at_a_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = Home::open(Some(folder.path())).expect("nobody uses it");
        assert!(matches!(Home::open(Some(folder.path())), Err(HomeError::InUse(_))));
        drop(first);
        Home::open(Some(folder.path())).expect("nobody uses it any more");
    }

    #[test]
    fn machine_has_a_printable_name() {
        let name = machine_name();
        assert!((1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic()), "{name}");
    }
}
