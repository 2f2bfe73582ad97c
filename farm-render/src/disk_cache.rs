//! What is costly to make and cheap to keep: files that outlive the process.
//!
//! An entry ends with the BLAKE3 of all before it. One that rotted, or that
//! another build would read differently, is as good as none: it is made again.
//! Whoever can write the folder is trusted, so it is this user's alone.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use bytemuck::{AnyBitPattern, NoUninit, Zeroable};

/// Bytes of the digest at the end of an entry.
const DIGEST_BYTES: usize = 32;

/// How long a file that is being written may take before it counts as left
/// behind.
const PART_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Buffer of a writer: arrays larger than this pass it by.
const BUFFER_BYTES: usize = 1 << 18;

/// A folder of entries, of which the ones used longest ago are given up first.
#[derive(Debug)]
pub struct DiskCache {
    folder: PathBuf,
    limit_bytes: u64,
    /// Threads that write, awaited before this is gone.
    writers: Mutex<Vec<JoinHandle<()>>>,
}

/// What an entry is kept under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// What kind of entry it is; the file's extension.
    pub(crate) kind: &'static str,
    /// Hash of all that its content depends on.
    pub(crate) digest: blake3::Hash,
}

impl Key {
    /// The key of what depends on these parts.
    pub(crate) fn of(kind: &'static str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self { kind, digest: hasher.finalize() }
    }
}

impl DiskCache {
    /// 5 GB: some fifty scenes of a million triangles.
    pub const LIMIT_BYTES: u64 = 5_000_000_000;

    /// Opens the cache in a folder, making it if need be.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path, limit_bytes: u64) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
        Ok(Self { folder: folder.to_owned(), limit_bytes, writers: Mutex::default() })
    }

    /// Reads an entry, if there is a whole one. What `read` is given is not
    /// verified yet: lengths in it must be bounded by [`Input::remaining`].
    pub(crate) fn read<T>(&self, key: Key, read: impl FnOnce(&mut Input) -> io::Result<T>) -> Option<T> {
        let path = self.path(key);
        match read_entry(&path, read) {
            Ok(value) => {
                remember_use(&path);
                Some(value)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!("{} cannot be used and is made again: {error}", path.display());
                // Whether it could be deleted or not, it will be written anew.
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Writes an entry on a thread of its own; a failure costs no more than the
    /// entry. An entry that is there already is left as it is.
    pub(crate) fn write_aside(
        self: &Arc<Self>,
        key: Key,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) {
        let path = self.path(key);
        if path.exists() {
            return;
        }
        let (folder, limit_bytes) = (self.folder.clone(), self.limit_bytes);
        let writer = std::thread::Builder::new().name("disk cache".into()).spawn(move || {
            let written = write_entry(&path, limit_bytes, write).and_then(|()| evict(&folder, limit_bytes));
            if let Err(error) = written {
                tracing::warn!("{} could not be kept: {error}", path.display());
            }
        });
        match writer {
            Ok(writer) => {
                let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
                writers.retain(|writer| !writer.is_finished());
                writers.push(writer);
            }
            Err(error) => tracing::warn!("nothing can be kept on disk: {error}"),
        }
    }

    /// Waits until all that was to be written is.
    pub fn flush(&self) {
        let writers = std::mem::take(&mut *self.writers.lock().unwrap_or_else(PoisonError::into_inner));
        for writer in writers {
            // A writer that panicked has lost its entry and nothing else.
            let _ = writer.join();
        }
    }

    fn path(&self, key: Key) -> PathBuf {
        self.folder.join(format!("{}.{}", key.digest, key.kind))
    }
}

impl Drop for DiskCache {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The content of an entry.
#[derive(Debug)]
pub(crate) struct Input {
    file: File,
    hasher: blake3::Hasher,
    remaining: u64,
}

impl Input {
    /// Bytes that are left.
    pub(crate) fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Reads what [`write_array`] wrote.
    pub(crate) fn array<T: AnyBitPattern + NoUninit + Zeroable>(&mut self) -> io::Result<Vec<T>> {
        let mut length = [0; 8];
        self.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        let size = size_of::<T>() as u64;
        let bytes = length.checked_mul(size).filter(|&bytes| bytes <= self.remaining());
        let count = bytes.and_then(|_| usize::try_from(length).ok());
        let Some(count) = count else {
            return Err(invalid("an array is longer than the file"));
        };
        let mut values = bytemuck::zeroed_vec(count);
        self.read_exact(bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.remaining).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = self.file.read(&mut buffer[..most])?;
        self.hasher.update(&buffer[..read]);
        self.remaining -= read as u64;
        Ok(read)
    }
}

/// Writes an array for [`Input::array`]: its length and its elements, in this
/// machine's byte order.
pub(crate) fn write_array<T: NoUninit>(output: &mut dyn Write, values: &[T]) -> io::Result<()> {
    output.write_all(&(values.len() as u64).to_le_bytes())?;
    output.write_all(bytemuck::cast_slice(values))
}

pub(crate) fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

fn read_entry<T>(path: &Path, read: impl FnOnce(&mut Input) -> io::Result<T>) -> io::Result<T> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let remaining = length.checked_sub(DIGEST_BYTES as u64).ok_or_else(|| invalid("it is too short"))?;
    let mut input = Input { file, hasher: blake3::Hasher::new(), remaining };
    let value = read(&mut input)?;
    if input.remaining > 0 {
        return Err(invalid("something follows its end"));
    }
    let mut digest = [0; DIGEST_BYTES];
    input.file.read_exact(&mut digest)?;
    if *input.hasher.finalize().as_bytes() != digest {
        return Err(invalid("it was damaged"));
    }
    Ok(value)
}

/// Hashes and counts what passes through.
struct Output<W> {
    inner: W,
    hasher: blake3::Hasher,
    room: u64,
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(room) = self.room.checked_sub(bytes.len() as u64) else {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than the cache may be"));
        };
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.room = room + (bytes.len() - written) as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes beside the path and renames, so that nobody sees half an entry.
fn write_entry(
    path: &Path,
    limit_bytes: u64,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    static PARTS: AtomicU64 = AtomicU64::new(0);
    let part =
        path.with_extension(format!("{}-{}.part", process::id(), PARTS.fetch_add(1, Ordering::Relaxed)));
    let written = (|| {
        let inner = BufWriter::with_capacity(BUFFER_BYTES, File::create(&part)?);
        let mut output = Output { inner, hasher: blake3::Hasher::new(), room: limit_bytes };
        write(&mut output)?;
        let digest = output.hasher.finalize();
        let mut inner = output.inner;
        inner.write_all(digest.as_bytes())?;
        inner.into_inner()?;
        fs::rename(&part, path)
    })();
    if written.is_err() {
        // It may not even have been made.
        let _ = fs::remove_file(&part);
    }
    written
}

/// Deletes what was used longest ago until the folder holds no more than it may,
/// and what a broken process left behind.
fn evict(folder: &Path, limit_bytes: u64) -> io::Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Another process may have deleted it meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        let (path, used) = (entry.path(), metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH));
        if !metadata.is_file() {
            continue;
        }
        if path.extension().is_some_and(|extension| extension == "part") {
            if used.elapsed().is_ok_and(|age| age > PART_LIFE) {
                fs::remove_file(&path)?;
            }
            continue;
        }
        entries.push((used, path, metadata.len()));
    }
    entries.sort();
    let mut total: u64 = entries.iter().map(|(_, _, bytes)| bytes).sum();
    for (_, path, bytes) in entries {
        if total <= limit_bytes {
            break;
        }
        fs::remove_file(&path)?;
        total -= bytes;
    }
    Ok(())
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

    fn key(name: &str) -> Key {
        Key { kind: "test", digest: blake3::hash(name.as_bytes()) }
    }

    fn cache(limit_bytes: u64) -> (tempfile::TempDir, Arc<DiskCache>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = DiskCache::open(&folder.path().join("new"), limit_bytes).expect("it is made");
        (folder, Arc::new(cache))
    }

    fn keep(cache: &Arc<DiskCache>, name: &str, values: Vec<u32>) {
        cache.write_aside(key(name), move |output| write_array(output, &values));
        cache.flush();
    }

    fn recall(cache: &DiskCache, name: &str) -> Option<Vec<u32>> {
        cache.read(key(name), Input::array)
    }

    #[test]
    fn an_entry_comes_back_as_it_was() {
        let (_folder, cache) = cache(1 << 20);
        assert_eq!(recall(&cache, "a"), None);
        for (name, values) in [("a", vec![1, 2, 3]), ("empty", vec![]), ("long", (0..100_000).collect())] {
            keep(&cache, name, values.clone());
            assert_eq!(recall(&cache, name), Some(values));
        }
    }

    #[test]
    fn a_damaged_entry_is_deleted_and_not_read() {
        let (_folder, cache) = cache(1 << 20);
        keep(&cache, "whole", (0..50).collect());
        let whole = fs::read(cache.path(key("whole"))).expect("it is there");
        let flipped = |place: usize| {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            bytes
        };
        let longer = [&whole[..], &[0]].concat();
        let cases = [flipped(0), flipped(7), flipped(100), flipped(whole.len() - 1), longer];
        let shorter = [0, 31, 40, whole.len() - 1].map(|length| whole[..length].to_vec());
        for bytes in cases.into_iter().chain(shorter) {
            let path = cache.path(key("broken"));
            fs::write(&path, &bytes).expect("the folder can be written");
            assert_eq!(recall(&cache, "broken"), None, "{} bytes", bytes.len());
            assert!(!path.exists());
        }
    }

    #[test]
    fn what_was_used_longest_ago_is_given_up() {
        // Each entry takes 8 bytes of length, 400 of content and 32 of digest.
        let (_folder, cache) = cache(3 * 440);
        for (age, name) in [(50, "oldest"), (40, "old"), (30, "new")] {
            keep(&cache, name, vec![7; 100]);
            let file = File::options().append(true).open(cache.path(key(name))).expect("it is there");
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).expect("times can be set");
        }
        assert!(recall(&cache, "oldest").is_some(), "which makes it the newest");
        keep(&cache, "newest", vec![7; 100]);
        let left = ["oldest", "old", "new", "newest"].map(|name| recall(&cache, name).is_some());
        assert_eq!(left, [true, false, true, true]);
    }

    #[test]
    fn an_entry_larger_than_the_cache_is_not_kept() {
        let (folder, cache) = cache(100);
        keep(&cache, "small", vec![1]);
        keep(&cache, "large", vec![7; 100]);
        assert_eq!(recall(&cache, "large"), None);
        assert_eq!(recall(&cache, "small"), Some(vec![1]));
        let files = fs::read_dir(folder.path().join("new")).expect("it is there").count();
        assert_eq!(files, 1, "nothing is left of it");
    }
}
