//! A blob on its way to disk: `PATH.part` until its digest is verified.
//!
//! What an earlier, broken transfer left is kept and hashed again, so a
//! transfer goes on where it stopped and a torn write cannot pass for data.
//! Two transfers of one blob at a time do not disturb each other: the second
//! finds the `.part` locked and goes its own way under a name of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use farm_core::BlobDigest;
use tokio::io::AsyncWriteExt;

use crate::{WireError, secret_file};

/// Bytes hashed at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// Tries to lock a `.part` that others finish at the same moment.
const LOCK_TRIES: usize = 4;

/// A growing, not yet verified blob.
pub(crate) struct PartFile {
    digest: BlobDigest,
    path: PathBuf,
    part: PathBuf,
    file: tokio::fs::File,
    hasher: blake3::Hasher,
    length: u64,
    /// Whether the `.part` is for this transfer alone and goes with it.
    is_private: bool,
}

impl PartFile {
    /// Opens the `.part` beside `path`, whose folder must exist. What it holds
    /// already is hashed; if that is over `limit` bytes it is thrown away.
    ///
    /// # Errors
    /// Names the file that could not be opened or read.
    pub(crate) async fn open(path: &Path, digest: BlobDigest, limit: u64) -> Result<Self, WireError> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || open(path, digest, limit)).await;
        opened.map_err(|error| WireError::Lost(format!("opening a file failed: {error}")))?
    }

    /// Bytes that are here: where the transfer goes on.
    #[must_use]
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Appends bytes. They are with the system when this returns, so a transfer
    /// that breaks between two calls leaves nothing under way.
    ///
    /// # Errors
    /// Names the file and the cause: disk full, say.
    pub(crate) async fn append(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        let written = match self.file.write_all(bytes).await {
            Ok(()) => self.file.flush().await,
            failed => failed,
        };
        written.map_err(|source| WireError::file(&self.part, source))
    }

    /// Verifies the digest and gives the file its name, durably. Returns its
    /// length in bytes. What does not have the digest is thrown away.
    ///
    /// # Errors
    /// The digest is wrong, or the disk refuses.
    pub(crate) async fn commit(mut self) -> Result<u64, WireError> {
        if *self.hasher.finalize().as_bytes() != self.digest.0 {
            let digest = self.digest;
            self.discard().await?;
            return Err(WireError::Protocol(format!("what came as blob {digest} has another digest")));
        }
        let part = self.part.clone();
        let named = |source| WireError::file(&part, source);
        self.file.sync_all().await.map_err(named)?;
        tokio::fs::rename(&self.part, &self.path).await.map_err(named)?;
        self.is_private = false;
        let path = self.path.clone();
        let synced = tokio::task::spawn_blocking(move || match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => secret_file::sync_folder(folder),
            _ => Ok(()),
        });
        let synced = synced.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        synced.map_err(|source| WireError::file(&self.path, source))?;
        Ok(self.length)
    }

    /// Throws away what is here.
    ///
    /// # Errors
    /// Names the file that could not be removed.
    pub(crate) async fn discard(mut self) -> Result<(), WireError> {
        self.is_private = false;
        match tokio::fs::remove_file(&self.part).await {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(WireError::file(&self.part, source))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if self.is_private {
            // Nobody would continue it; if it cannot be removed it is litter.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

fn open(path: PathBuf, digest: BlobDigest, limit: u64) -> Result<PartFile, WireError> {
    let mut name = path.clone().into_os_string();
    name.push(".part");
    let shared = PathBuf::from(name);
    let (part, file, is_private) = match lock(&shared).map_err(|source| WireError::file(&shared, source))? {
        Some(file) => (shared, file, false),
        None => {
            let (part, file) = private(&path).map_err(|source| WireError::file(&path, source))?;
            (part, file, true)
        }
    };
    let named = |source| WireError::file(&part, source);
    let (hasher, length) = hash(&file, limit).map_err(named)?;
    let file = tokio::fs::File::from_std(file);
    Ok(PartFile { digest, path, part, file, hasher, length, is_private })
}

/// The `.part`, locked; `None` if another transfer has it.
fn lock(part: &Path) -> io::Result<Option<File>> {
    for _ in 0..LOCK_TRIES {
        let file = OpenOptions::new().read(true).append(true).create(true).open(part)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
        // Between opening and locking, its last owner may have finished it.
        if is_at(&file, part)? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let ours = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Other systems do not rename a file that somebody has open.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

fn private(path: &Path) -> io::Result<(PathBuf, File)> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let temporary = tempfile::Builder::new().prefix("blob-").suffix(".part").tempfile_in(folder)?;
    let (file, part) = temporary.keep().map_err(|error| error.error)?;
    Ok((part, file))
}

/// Hashes what is in the file; throws it away if it is over the limit.
fn hash(mut file: &File, limit: u64) -> io::Result<(blake3::Hasher, u64)> {
    let mut hasher = blake3::Hasher::new();
    if file.metadata()?.len() > limit {
        file.set_len(0)?;
        return Ok((hasher, 0));
    }
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut length = 0;
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            return Ok((hasher, length));
        }
        hasher.update(&chunk[..count]);
        length += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1 << 20;

    fn digest(bytes: &[u8]) -> BlobDigest {
        BlobDigest(*blake3::hash(bytes).as_bytes())
    }

    async fn open(path: &Path, bytes: &[u8]) -> PartFile {
        PartFile::open(path, digest(bytes), LIMIT).await.expect("opened")
    }

    #[tokio::test]
    async fn a_broken_transfer_goes_on_where_it_stopped() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("blob");
        let mut part = open(&path, b"hello world").await;
        part.append(b"hello ").await.expect("written");
        drop(part);
        assert!(!path.exists());
        let mut part = open(&path, b"hello world").await;
        assert_eq!(part.length(), 6);
        part.append(b"world").await.expect("written");
        assert_eq!(part.commit().await.expect("verified"), 11);
        assert_eq!(std::fs::read(&path).expect("named"), b"hello world");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[tokio::test]
    async fn a_wrong_digest_takes_no_name_and_starts_anew() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("blob");
        let mut part = open(&path, b"right").await;
        part.append(b"wrong").await.expect("written");
        assert!(part.commit().await.is_err());
        assert!(!path.exists());
        assert_eq!(open(&path, b"right").await.length(), 0);
    }

    #[tokio::test]
    async fn two_transfers_of_one_blob_do_not_disturb_each_other() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("blob");
        let mut first = open(&path, b"abc").await;
        let mut second = open(&path, b"abc").await;
        for part in [&mut first, &mut second] {
            part.append(b"abc").await.expect("written");
        }
        let third = open(&path, b"abc").await;
        assert_eq!(third.length(), 0);
        drop(third);
        assert_eq!(first.commit().await.expect("verified"), 3);
        assert_eq!(second.commit().await.expect("verified"), 3);
        assert_eq!(std::fs::read(&path).expect("named"), b"abc");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[tokio::test]
    async fn an_oversized_rest_is_thrown_away() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("blob");
        std::fs::write(folder.path().join("blob.part"), [0; 100]).expect("written");
        let part = PartFile::open(&path, digest(b""), 99).await.expect("opened");
        assert_eq!(part.length(), 0);
        assert_eq!(part.commit().await.expect("an empty blob"), 0);
    }
}
