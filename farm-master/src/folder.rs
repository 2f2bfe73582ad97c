//! The data folder: where everything lies, and the promise that only one
//! master uses it and that a file either has its name and all its bytes or
//! does not exist.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::MasterError;

/// The audit log's name.
pub(crate) const AUDIT_LOG: &str = "audit.jsonl";

/// The layout of a data folder.
#[derive(Clone, Debug)]
pub struct DataFolder {
    root: PathBuf,
}

impl DataFolder {
    /// Opens the folder at `root`, making it, for its owner only, if it is not
    /// there.
    ///
    /// # Errors
    /// Names the folder that cannot be made.
    pub fn open(root: &Path) -> Result<Self, MasterError> {
        let folder = Self { root: root.to_owned() };
        for path in [folder.root.clone(), folder.authority(), folder.blobs(), folder.frames()] {
            make_private(&path).map_err(|source| MasterError::Folder { path, source })?;
        }
        Ok(folder)
    }

    /// Takes the folder for this process until the lock is dropped. The
    /// operating system frees it when the process dies, however it dies.
    ///
    /// # Errors
    /// [`MasterError::Locked`] when another master has it.
    pub fn lock(&self) -> Result<FolderLock, MasterError> {
        let path = self.root.join("lock");
        let failed = |source| MasterError::Folder { path: path.clone(), source };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(FolderLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(MasterError::Locked { path: self.root.clone() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The certificate authority's folder.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.root.join("ca")
    }

    /// The journal of facts.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal.sqlite")
    }

    /// The ticket book, apart from the journal so that neither waits for the
    /// other's writes.
    #[must_use]
    pub fn tickets(&self) -> PathBuf {
        self.root.join("tickets.sqlite")
    }

    /// The audit log; the ticket book has it beside it.
    #[must_use]
    pub fn audit(&self) -> PathBuf {
        self.tickets().with_file_name(AUDIT_LOG)
    }

    /// The blob store's folder.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// The folder of delivered frames.
    #[must_use]
    pub fn frames(&self) -> PathBuf {
        self.root.join("frames")
    }

    /// Where the last start of the master wrote the addresses that tickets name.
    #[must_use]
    pub fn addresses(&self) -> PathBuf {
        self.root.join("addresses")
    }
}

/// Makes a folder that only its owner may enter; one that is there is left as
/// it is.
fn make_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

/// Holds the data folder for this process.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// Makes the names in a folder last through a power cut.
///
/// # Errors
/// When the folder cannot be opened or synchronised.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(windows) {
        return Ok(()); // Folders cannot be opened there, and renames are journaled.
    }
    File::open(path)?.sync_all()
}

/// Gives a finished temporary file its name, all its bytes first.
///
/// # Errors
/// When the disk refuses; the name is then as it was before.
pub fn publish(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    path.parent().map_or(Ok(()), sync_folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_master_is_refused_until_the_first_lets_go() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let folder = DataFolder::open(root.path()).expect("the folder opens");
        let lock = folder.lock().expect("nobody has the folder");
        assert!(matches!(folder.lock(), Err(MasterError::Locked { .. })));
        drop(lock);
        assert!(folder.lock().is_ok());
    }
}
