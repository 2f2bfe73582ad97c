//! Collecting garbage: blobs that no fact names any more.
//!
//! A blob goes when three things hold: it is not among those that facts name,
//! nobody stored it or asked for it within a grace time, and it is the longest
//! unasked-for of what is beyond the bytes that may be kept for a scene that is
//! submitted again. Being asked for is written into the blob's file as the time
//! of its last change, so it survives a restart, and a file that changed after
//! it was looked at is left alone. Removing a file is one step, so an end
//! between two of them is harmless.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use farm_core::BlobDigest;

use super::{BlobError, BlobStore, disk};

/// Which unnamed blobs may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Those that were stored or asked for within this time, however many.
    pub grace: Duration,
    /// Of the others, those last asked for, up to this many bytes; what the
    /// grace time keeps counts too.
    pub bytes: u64,
}

/// Blobs and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub blobs: u64,
    /// Their bytes together.
    pub bytes: u64,
}

/// What a collection found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs that facts name.
    pub named: Amount,
    /// Blobs that stay though no fact names them.
    pub kept: Amount,
    /// Blobs that were removed, or would be.
    pub removed: Amount,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.blobs += 1;
        self.bytes += bytes;
    }
}

/// An unnamed blob; the longest unasked-for comes first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unnamed {
    pub(super) changed: SystemTime,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

impl BlobStore {
    /// Removes blobs that are not in `named` and that `keep` does not keep, or
    /// only counts them if `dry_run`. `named` holds what facts name at a moment
    /// after which `now` was read.
    ///
    /// # Errors
    /// Names the folder or file that the disk refuses; what was removed by then
    /// stays removed.
    pub fn collect(
        &self,
        named: &BTreeSet<BlobDigest>,
        keep: Keep,
        now: SystemTime,
        dry_run: bool,
    ) -> Result<Collected, BlobError> {
        let mut collected = Collected::default();
        let mut unnamed = Vec::new();
        for (digest, path) in self.blobs()? {
            let Some((changed, bytes)) = look(&path)? else { continue };
            match named.contains(&digest) {
                true => collected.named.add(bytes),
                false => unnamed.push(Unnamed { changed, path, bytes }),
            }
        }
        unnamed.sort_unstable();
        let mut left: u64 = unnamed.iter().map(|blob| blob.bytes).sum();
        for blob in unnamed {
            let old = now.duration_since(blob.changed).is_ok_and(|age| age >= keep.grace);
            if old && left > keep.bytes && (dry_run || self.remove_unchanged(&blob)?) {
                left -= blob.bytes;
                collected.removed.add(blob.bytes);
            } else {
                collected.kept.add(blob.bytes);
            }
        }
        Ok(collected)
    }

    /// Whether the blob is here; it is then kept for another grace time.
    pub(super) fn renew(&self, digest: BlobDigest) -> bool {
        let _renewing = self.removing.read().unwrap_or_else(PoisonError::into_inner);
        let Ok(file) = fs::OpenOptions::new().write(true).open(self.path(digest)) else {
            return self.contains(digest);
        };
        // Were the disk to refuse, the blob is still here, and its time as it was.
        if let Err(error) = file.set_modified(SystemTime::now()) {
            tracing::warn!(%digest, %error, "it cannot be noted that a blob is wanted");
        }
        true
    }

    /// Removes a blob unless somebody asked for it since it was looked at.
    pub(super) fn remove_unchanged(&self, blob: &Unnamed) -> Result<bool, BlobError> {
        let _removing = self.removing.write().unwrap_or_else(PoisonError::into_inner);
        if look(&blob.path)? != Some((blob.changed, blob.bytes)) {
            return Ok(false);
        }
        fs::remove_file(&blob.path).map_err(disk(&blob.path))?;
        Ok(true)
    }

    /// Every file that has a blob's name.
    fn blobs(&self) -> Result<Vec<(BlobDigest, PathBuf)>, BlobError> {
        let mut blobs = Vec::new();
        let shelves = entries(&self.folder).map_err(disk(&self.folder))?;
        for shelf in shelves.into_iter().filter(|shelf| shelf.is_dir()) {
            let Some(start) = shelf.file_name().and_then(|name| name.to_str()).filter(|name| name.len() == 2)
            else {
                continue;
            };
            for path in entries(&shelf).map_err(disk(&shelf))? {
                let rest = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                // Whatever else lies there is nobody's blob and left alone.
                if let Ok(digest) = format!("{start}{rest}").parse() {
                    blobs.push((digest, path));
                }
            }
        }
        Ok(blobs)
    }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
}

/// When a blob's file was last changed, and its length; `None` if it is gone.
fn look(path: &Path) -> Result<Option<(SystemTime, u64)>, BlobError> {
    let looked = fs::metadata(path).and_then(|metadata| Ok((metadata.modified()?, metadata.len())));
    match looked {
        Ok(looked) => Ok(Some(looked)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(disk(path)(error)),
    }
}
