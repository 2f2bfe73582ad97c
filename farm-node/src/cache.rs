//! The node's blobs on disk: named by digest, verified, bounded.
//!
//! A blob lies at `ab/ab12…` under the cache's folder. It takes that name by an
//! atomic rename only when its digest was verified, and is verified again when
//! this process first reads it, since disks rot. What was used longest ago is
//! given up first; a file's modification time is when it was last used, so the
//! order survives the process.
//!
//! Several nodes may share a folder: a fetch holds a lock on the digest's first
//! byte, so that two never write the same `.part` file. Each counts the blobs
//! that it has seen against its own limit, and one may give up what another
//! needs; the other then fetches it again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use farm_core::BlobDigest;

/// What is wrong with the cache or a blob in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// A file or folder could not be read or written.
    #[error("the cache's {path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The blob is not in the cache.
    #[error("blob {0} is not in the cache")]
    Absent(BlobDigest),
    /// The blob's bytes are not those that its name promises; it was deleted.
    #[error("blob {0} was damaged on disk and has been deleted")]
    Damaged(BlobDigest),
}

impl CacheError {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// Blobs on disk; see the module's documentation. Shared between the driver,
/// which fetches and evicts, and the lanes, which read.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    limit_bytes: u64,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    entries: BTreeMap<BlobDigest, Entry>,
    /// Sum of the entries' lengths.
    total_bytes: u64,
    /// Counts uses; larger is later.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: u64,
    used: u64,
    verified: bool,
}

/// Holds the lock under which a blob may be fetched.
#[derive(Debug)]
pub struct FetchLock {
    _file: File,
}

impl Cache {
    /// Opens the cache in `folder`, making it if need be, and finds what it
    /// holds. It may hold more than `limit_bytes`: see [`Cache::evict`].
    ///
    /// # Errors
    /// Names the folder that could not be made or read.
    pub fn open(folder: &Path, limit_bytes: u64) -> Result<Self, CacheError> {
        fs::create_dir_all(folder.join("locks")).map_err(CacheError::file(folder))?;
        let mut found = find_blobs(folder)?;
        found.sort_by_key(|blob| (blob.used, blob.digest));
        let mut index = Index::default();
        for blob in found {
            index.insert(blob.digest, blob.bytes, false);
        }
        Ok(Self { folder: folder.to_owned(), limit_bytes, index: Mutex::new(index) })
    }

    /// Every blob that it holds.
    #[must_use]
    pub fn digests(&self) -> BTreeSet<BlobDigest> {
        self.index().entries.keys().copied().collect()
    }

    /// Bytes of all blobs that it holds.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.index().total_bytes
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes that it may hold.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Where a blob lies, or would.
    #[must_use]
    pub fn path(&self, digest: BlobDigest) -> PathBuf {
        let name = digest.to_string();
        self.folder.join(&name[..2]).join(name)
    }

    /// Waits until nobody else fetches this blob into this folder. A folder
    /// that cannot be locked (some network file systems) is used without: a
    /// broken `.part` is then noticed by its digest.
    ///
    /// # Errors
    /// Names the folder or lock that could not be made.
    pub fn lock(&self, digest: BlobDigest) -> Result<FetchLock, CacheError> {
        let path = self.path(digest);
        let folder = path.parent().expect("a blob's path has its two-digit folder");
        fs::create_dir_all(folder).map_err(CacheError::file(folder))?;
        let lock = self.folder.join("locks").join(&digest.to_string()[..2]);
        let file = File::create(&lock).map_err(CacheError::file(&lock))?;
        if let Err(error) = file.lock() {
            tracing::debug!("the cache's {} cannot be locked: {error}", lock.display());
        }
        Ok(FetchLock { _file: file })
    }

    /// Takes note of a blob that was stored at its [`Cache::path`], by this
    /// node or by another that shares the folder. `verified` says that this
    /// process has just compared its digest.
    ///
    /// # Errors
    /// [`CacheError::Absent`] when it is not there.
    pub fn admit(&self, digest: BlobDigest, verified: bool) -> Result<(), CacheError> {
        let path = self.path(digest);
        let bytes = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(CacheError::Absent(digest));
            }
            Err(source) => return Err(CacheError::File { path, source }),
        };
        self.index().insert(digest, bytes, verified);
        Ok(())
    }

    /// Stores a blob that this process has at hand; nodes that share the folder
    /// find it and fetch nothing.
    ///
    /// # Errors
    /// Names the file that could not be written.
    pub fn store(&self, digest: BlobDigest, bytes: &[u8]) -> Result<(), CacheError> {
        let _lock = self.lock(digest)?;
        let path = self.path(digest);
        let part = path.with_extension("part");
        fs::write(&part, bytes).and_then(|()| fs::rename(&part, &path)).map_err(CacheError::file(&path))?;
        self.admit(digest, false)
    }

    /// Reads a blob and takes note of its use. The first time in this process
    /// its digest is compared; a blob that fails is deleted.
    ///
    /// # Errors
    /// It is absent, damaged or cannot be read.
    pub fn read(&self, digest: BlobDigest) -> Result<Vec<u8>, CacheError> {
        let path = self.path(digest);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.index().remove(digest);
                return Err(CacheError::Absent(digest));
            }
            Err(source) => return Err(CacheError::File { path, source }),
        };
        if !self.is_verified(digest) {
            if *blake3::hash(&bytes).as_bytes() != digest.0 {
                self.delete(digest);
                return Err(CacheError::Damaged(digest));
            }
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.index().insert(digest, length, true);
        }
        self.index().touch(digest);
        remember_use(&path);
        Ok(bytes)
    }

    /// Deletes a blob.
    pub fn delete(&self, digest: BlobDigest) {
        self.index().remove(digest);
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("could not delete {}: {error}", path.display()),
        }
    }

    /// Whether it holds more than it may.
    #[must_use]
    pub fn is_over_limit(&self) -> bool {
        self.total_bytes() > self.limit_bytes
    }

    /// When it holds more than it may, deletes what was used longest ago until
    /// a sixteenth of the limit is free again (so that not every blob that
    /// comes finds it full), but nothing that `pinned` names. Returns what was
    /// deleted.
    pub fn evict(&self, pinned: &BTreeSet<BlobDigest>) -> Vec<BlobDigest> {
        if !self.is_over_limit() {
            return Vec::new();
        }
        let target_bytes = self.limit_bytes - self.limit_bytes / 16;
        let victims = self.index().choose_victims(target_bytes, pinned);
        for &digest in &victims {
            self.delete(digest);
        }
        victims
    }

    fn is_verified(&self, digest: BlobDigest) -> bool {
        self.index().entries.get(&digest).is_some_and(|entry| entry.verified)
    }

    /// The index is valid between any two statements that change it, so a
    /// thread that panicked while holding it left it usable.
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn insert(&mut self, digest: BlobDigest, bytes: u64, verified: bool) {
        self.clock += 1;
        let entry = Entry { bytes, used: self.clock, verified };
        self.total_bytes += bytes;
        if let Some(earlier) = self.entries.insert(digest, entry) {
            self.total_bytes -= earlier.bytes;
        }
    }

    fn remove(&mut self, digest: BlobDigest) {
        if let Some(entry) = self.entries.remove(&digest) {
            self.total_bytes -= entry.bytes;
        }
    }

    fn touch(&mut self, digest: BlobDigest) {
        self.clock += 1;
        if let Some(entry) = self.entries.get_mut(&digest) {
            entry.used = self.clock;
        }
    }

    fn choose_victims(&self, target_bytes: u64, pinned: &BTreeSet<BlobDigest>) -> Vec<BlobDigest> {
        let mut candidates: Vec<_> = self
            .entries
            .iter()
            .filter(|(digest, _)| !pinned.contains(digest))
            .map(|(&digest, entry)| (entry.used, digest, entry.bytes))
            .collect();
        candidates.sort_unstable();
        let mut total_bytes = self.total_bytes;
        let mut victims = Vec::new();
        for (_, digest, bytes) in candidates {
            if total_bytes <= target_bytes {
                break;
            }
            total_bytes -= bytes;
            victims.push(digest);
        }
        victims
    }
}

struct FoundBlob {
    digest: BlobDigest,
    bytes: u64,
    used: SystemTime,
}

/// How long a broken fetch is kept to be continued: over a weekend.
const PART_LIFE: Duration = Duration::from_secs(3 * 24 * 3600);

/// Finds every blob in a cache's folder, passing over what is not one: locks,
/// broken fetches (old ones are deleted), and whatever people put there.
fn find_blobs(folder: &Path) -> Result<Vec<FoundBlob>, CacheError> {
    let mut found = Vec::new();
    for shelf in read_folder(folder)? {
        if !shelf.is_dir() {
            continue;
        }
        for path in read_folder(&shelf)? {
            found.extend(as_blob(&shelf, &path));
        }
    }
    Ok(found)
}

fn read_folder(folder: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let entries = fs::read_dir(folder).map_err(CacheError::file(folder))?;
    entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(CacheError::file(folder))
}

fn as_blob(shelf: &Path, path: &Path) -> Option<FoundBlob> {
    let name = path.file_name()?.to_str()?;
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let part_of = name.strip_suffix(".part").and_then(|name| name.parse::<BlobDigest>().ok());
    if part_of.is_some() && used.elapsed().is_ok_and(|age| age > PART_LIFE) {
        // Another node may have deleted it just now.
        let _ = fs::remove_file(path);
    }
    let digest = name.parse().ok()?;
    let on_its_shelf = shelf.file_name()?.to_str()? == &name[..2];
    on_its_shelf.then_some(FoundBlob { digest, bytes: metadata.len(), used })
}

/// A file system that keeps no times only loses the order of eviction.
fn remember_use(path: &Path) {
    let touched =
        File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = touched {
        tracing::debug!("could not note the use of {}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(bytes: &[u8]) -> BlobDigest {
        BlobDigest(*blake3::hash(bytes).as_bytes())
    }

    /// Stores a blob as a fetch would, `age` seconds ago.
    fn store(cache: &Cache, bytes: &[u8], age: u64) -> BlobDigest {
        let digest = digest_of(bytes);
        let lock = cache.lock(digest).expect("the folder is writable");
        fs::write(cache.path(digest), bytes).expect("the folder is writable");
        let file = File::options().append(true).open(cache.path(digest)).expect("it was just written");
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).expect("times can be set");
        cache.admit(digest, false).expect("it was just written");
        drop(lock);
        digest
    }

    fn open(folder: &Path, limit_bytes: u64) -> Cache {
        Cache::open(folder, limit_bytes).expect("the folder is writable")
    }

    #[test]
    fn blob_that_is_stored_is_there_for_every_node_of_the_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (one, other) = (open(folder.path(), 100), open(folder.path(), 100));
        let digest = digest_of(b"teapot");
        one.store(digest, b"teapot").expect("the folder is writable");
        assert_eq!(one.read(digest).expect("it is there"), b"teapot");
        other.admit(digest, false).expect("the other stored it");
        assert_eq!(other.read(digest).expect("it is there"), b"teapot");
        // What is not what its digest says is noticed when it is read.
        one.store(digest_of(b"kettle"), b"teapot").expect("the folder is writable");
        assert!(one.read(digest_of(b"kettle")).is_err());
    }

    #[test]
    fn blob_is_found_again_by_the_next_process() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let digest = store(&open(folder.path(), 100), b"teapot", 0);
        let cache = open(folder.path(), 100);
        assert_eq!(cache.digests(), BTreeSet::from([digest]));
        assert_eq!(cache.total_bytes(), 6);
        assert_eq!(cache.read(digest).expect("it is there"), b"teapot");
    }

    #[test]
    fn eviction_takes_what_was_used_longest_ago_across_processes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = open(folder.path(), 1000);
        let old = store(&first, &[1; 40], 300);
        let middle = store(&first, &[2; 40], 200);
        let young = store(&first, &[3; 40], 100);
        first.read(old).expect("it is there");
        let cache = open(folder.path(), 100);
        assert_eq!(cache.evict(&BTreeSet::new()), [middle]);
        assert_eq!(cache.digests(), BTreeSet::from([old, young]));
        assert!(!cache.path(middle).exists());
    }

    #[test]
    fn eviction_spares_what_is_pinned() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = open(folder.path(), 50);
        let pinned = store(&cache, &[1; 40], 300);
        let free = store(&cache, &[2; 40], 100);
        assert_eq!(cache.evict(&BTreeSet::from([pinned])), [free]);
        assert_eq!(cache.evict(&BTreeSet::from([pinned])), []);
        assert_eq!(cache.read(pinned).expect("it is pinned"), [1; 40]);
    }

    #[test]
    fn nothing_is_evicted_below_the_limit() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = open(folder.path(), 80);
        store(&cache, &[1; 40], 2);
        store(&cache, &[2; 40], 1);
        assert_eq!(cache.evict(&BTreeSet::new()), []);
    }

    #[test]
    fn damaged_blob_is_deleted_on_first_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let digest = store(&open(folder.path(), 100), b"teapot", 0);
        let cache = open(folder.path(), 100);
        fs::write(cache.path(digest), b"teap0t").expect("the folder is writable");
        assert!(matches!(cache.read(digest), Err(CacheError::Damaged(damaged)) if damaged == digest));
        assert!(!cache.path(digest).exists());
        assert!(matches!(cache.read(digest), Err(CacheError::Absent(_))));
        assert_eq!(cache.total_bytes(), 0);
    }

    #[test]
    fn broken_fetches_and_strange_files_are_not_blobs() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = open(folder.path(), 100);
        let digest = digest_of(b"teapot");
        drop(cache.lock(digest).expect("the folder is writable"));
        let path = cache.path(digest);
        fs::write(path.with_extension("part"), b"tea").expect("the folder is writable");
        fs::write(folder.path().join("notes.txt"), b"mine").expect("the folder is writable");
        fs::create_dir(folder.path().join("zz")).expect("the folder is writable");
        fs::write(folder.path().join("zz").join(digest.to_string()), b"teapot").expect("writable");
        assert_eq!(open(folder.path(), 100).digests(), BTreeSet::new());
    }

    #[test]
    fn broken_fetch_is_kept_for_days_and_not_for_ever() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = open(folder.path(), 100);
        let part = |bytes: &[u8], age: Duration| {
            let mut path = cache.path(digest_of(bytes)).into_os_string();
            path.push(".part");
            drop(cache.lock(digest_of(bytes)).expect("the folder is writable"));
            let file = File::create(&path).expect("the folder is writable");
            file.set_modified(SystemTime::now() - age).expect("times can be set");
            PathBuf::from(path)
        };
        let (old, young) = (part(b"old", PART_LIFE * 2), part(b"young", PART_LIFE / 2));
        open(folder.path(), 100);
        assert_eq!((old.exists(), young.exists()), (false, true));
    }

    #[test]
    fn storing_again_does_not_count_twice() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = open(folder.path(), 100);
        store(&cache, b"teapot", 0);
        store(&cache, b"teapot", 0);
        assert_eq!(cache.total_bytes(), 6);
    }

    #[test]
    fn one_fetch_of_a_blob_waits_for_the_other() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (mine, theirs) = (open(folder.path(), 100), open(folder.path(), 100));
        let digest = digest_of(b"teapot");
        let held = mine.lock(digest).expect("the folder is writable");
        let waiting = std::thread::spawn(move || {
            let _held = theirs.lock(digest).expect("the folder is writable");
            theirs.admit(digest, false).is_ok()
        });
        fs::write(mine.path(digest), b"teapot").expect("the folder is writable");
        drop(held);
        assert!(waiting.join().expect("it does not panic"), "the lock was given before the blob was there");
    }
}
