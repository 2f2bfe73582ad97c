//! The blob store: bytes named by their BLAKE3 digest, on the disk.
//!
//! A blob that has its name is whole, right and synchronised: it was hashed on
//! the way in and renamed after its bytes were on the disk. Partial uploads
//! keep their bytes under `incoming/` and are continued by digest. Every call
//! blocks; callers are on blocking threads.

mod collect;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use farm_core::BlobDigest;
use tempfile::NamedTempFile;

pub use self::collect::{Amount, Collected, Keep};
use crate::folder::{publish, sync_folder};

/// Partial uploads that nobody continued for a week are swept at start.
const PART_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Bytes read at once while hashing: a multiple of what BLAKE3 does in parallel.
const HASH_CHUNK_BYTES: usize = 256 << 10;

/// What is wrong with a blob or the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The disk refuses.
    #[error("{path}: {source}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The store lacks the blob.
    #[error("blob {0} is not here")]
    Missing(BlobDigest),
    /// The bytes are not those that the digest names.
    #[error("the bytes of blob {expected} have the digest {found}")]
    WrongDigest {
        /// Its name.
        expected: BlobDigest,
        /// What its bytes say.
        found: BlobDigest,
    },
    /// The blob is longer than the store takes.
    #[error("blob {digest} has {length} bytes; the longest allowed has {limit}")]
    TooLong {
        /// Its name.
        digest: BlobDigest,
        /// Its length.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// More or fewer bytes came than were announced.
    #[error("blob {digest} was announced with {announced} bytes, {received} came")]
    WrongLength {
        /// Its name.
        digest: BlobDigest,
        /// Announced.
        announced: u64,
        /// Received.
        received: u64,
    },
}

impl BlobError {
    /// Whether the disk is to blame and not the bytes: worth another try.
    #[must_use]
    pub fn is_disk(&self) -> bool {
        matches!(self, Self::Disk { .. })
    }
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> BlobError + use<> {
    let path = path.to_owned();
    move |source| BlobError::Disk { path, source }
}

/// A folder of blobs; see the module's documentation.
#[derive(Debug)]
pub struct BlobStore {
    folder: PathBuf,
    limit: u64,
    /// Partial uploads that a connection is writing to now.
    claims: Arc<Mutex<BTreeSet<BlobDigest>>>,
    /// Held while a shelf is made and synchronised: whoever finds one may rely
    /// on it.
    shelving: Mutex<()>,
    /// Held to write while a blob is removed, to read while one is renewed.
    removing: RwLock<()>,
}

/// How an upload begins.
#[derive(Debug)]
pub enum Begin {
    /// The blob is here; nothing needs to be sent.
    Present,
    /// The bytes from [`Upload::offset`] on are wanted.
    Upload(Upload),
}

impl BlobStore {
    /// Opens the store in `folder`; takes blobs of at most `limit` bytes.
    ///
    /// # Errors
    /// Names the folder that cannot be made or swept.
    pub fn open(folder: &Path, limit: u64) -> Result<Self, BlobError> {
        let incoming = folder.join("incoming");
        fs::create_dir_all(&incoming).map_err(disk(&incoming))?;
        // A process that died may have made a shelf and not synchronised it.
        sync_folder(folder).map_err(disk(folder))?;
        sweep(&incoming).map_err(disk(&incoming))?;
        Ok(Self { limit, ..Self::beside(folder) })
    }

    /// The store in `folder` for a look at what lies there, perhaps beside the
    /// process that uses it: nothing is made or swept.
    pub(crate) fn beside(folder: &Path) -> Self {
        let (folder, claims) = (folder.to_owned(), Arc::default());
        Self { folder, limit: 0, claims, shelving: Mutex::default(), removing: RwLock::default() }
    }

    /// Whether the blob is here.
    #[must_use]
    pub fn contains(&self, digest: BlobDigest) -> bool {
        self.path(digest).exists()
    }

    /// Those of `digests` that are not here, in their order. The others were
    /// asked for, so that they are kept for a grace time.
    #[must_use]
    pub fn missing(&self, digests: &[BlobDigest]) -> Vec<BlobDigest> {
        digests.iter().copied().filter(|&digest| !self.renew(digest)).collect()
    }

    /// Stores bytes that are in memory; harmless when they are here already.
    ///
    /// # Errors
    /// Too long, another digest, or the disk refuses.
    pub fn store(&self, digest: BlobDigest, bytes: &[u8]) -> Result<(), BlobError> {
        self.check_length(digest, bytes.len() as u64)?;
        let found = BlobDigest(*blake3::hash(bytes).as_bytes());
        if found != digest {
            return Err(BlobError::WrongDigest { expected: digest, found });
        }
        if self.renew(digest) {
            return Ok(());
        }
        let incoming = self.incoming();
        let mut file = NamedTempFile::new_in(&incoming).map_err(disk(&incoming))?;
        file.write_all(bytes).map_err(disk(file.path()))?;
        let path = self.shelve(digest)?;
        publish(file, &path).map_err(disk(&path))
    }

    /// Opens a blob for reading and says its length. The bytes were right when
    /// they were stored; whoever they are sent to checks them again.
    ///
    /// # Errors
    /// Not here, or the disk refuses.
    pub fn open_blob(&self, digest: BlobDigest) -> Result<(File, u64), BlobError> {
        let path = self.path(digest);
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::Missing(digest),
            _ => BlobError::Disk { path: path.clone(), source: error },
        })?;
        let length = file.metadata().map_err(disk(&path))?.len();
        Ok((file, length))
    }

    /// Reads a whole blob and checks its digest.
    ///
    /// # Errors
    /// Not here, no longer what it was, or the disk refuses.
    pub fn read(&self, digest: BlobDigest) -> Result<Vec<u8>, BlobError> {
        let (file, length) = self.open_blob(digest)?;
        self.check_length(digest, length)?;
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.take(length).read_to_end(&mut bytes).map_err(disk(&self.path(digest)))?;
        let found = BlobDigest(*blake3::hash(&bytes).as_bytes());
        if found != digest {
            return Err(BlobError::WrongDigest { expected: digest, found });
        }
        Ok(bytes)
    }

    /// Begins or continues an upload of `length` bytes.
    ///
    /// # Errors
    /// Too long, or the disk refuses.
    pub fn begin(&self, digest: BlobDigest, length: u64) -> Result<Begin, BlobError> {
        self.check_length(digest, length)?;
        if self.renew(digest) {
            return Ok(Begin::Present);
        }
        let target = self.shelve(digest)?;
        let upload = match Claim::take(&self.claims, digest) {
            Some(claim) => Upload::resume(digest, length, self.part(digest), target, claim)?,
            None => Upload::alone(digest, length, &self.incoming(), target)?,
        };
        Ok(Begin::Upload(upload))
    }

    fn check_length(&self, digest: BlobDigest, length: u64) -> Result<(), BlobError> {
        if length > self.limit {
            return Err(BlobError::TooLong { digest, length, limit: self.limit });
        }
        Ok(())
    }

    fn path(&self, digest: BlobDigest) -> PathBuf {
        let name = digest.to_string();
        self.folder.join(&name[..2]).join(&name[2..])
    }

    /// A blob's path, in a folder that is there now.
    fn shelve(&self, digest: BlobDigest) -> Result<PathBuf, BlobError> {
        let path = self.path(digest);
        let shelf = path.parent().unwrap_or(&self.folder);
        let _shelving = self.shelving.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::create_dir(shelf) {
            Ok(()) => {
                if let Err(error) = sync_folder(&self.folder) {
                    // Nobody may find a shelf that could be lost; if it cannot be
                    // removed either, the next start synchronises it.
                    let _ = fs::remove_dir(shelf);
                    return Err(disk(&self.folder)(error));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(disk(shelf)(error)),
        }
        Ok(path)
    }

    fn incoming(&self) -> PathBuf {
        self.folder.join("incoming")
    }

    fn part(&self, digest: BlobDigest) -> PathBuf {
        self.incoming().join(format!("{digest}.part"))
    }
}

/// Removes what a dead process left: temporary files, and old partial uploads.
fn sweep(incoming: &Path) -> io::Result<()> {
    for entry in fs::read_dir(incoming)? {
        let path = entry?.path();
        let is_part = path.extension().is_some_and(|extension| extension == "part");
        let age = SystemTime::now().duration_since(path.metadata()?.modified()?);
        if !is_part || age.unwrap_or_default() > PART_LIFETIME {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// The right to write one partial upload; two writers would mix their bytes.
#[derive(Debug)]
struct Claim {
    claims: Arc<Mutex<BTreeSet<BlobDigest>>>,
    digest: BlobDigest,
}

impl Claim {
    fn take(claims: &Arc<Mutex<BTreeSet<BlobDigest>>>, digest: BlobDigest) -> Option<Self> {
        let mut held = claims.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(digest).then(|| Self { claims: Arc::clone(claims), digest })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.digest);
    }
}

/// Where an upload's bytes lie until they are whole.
#[derive(Debug)]
enum Place {
    /// A partial upload that outlives the connection.
    Part { file: File, path: PathBuf, _claim: Claim },
    /// A file of its own, because another connection uploads the same blob; it
    /// goes with the connection.
    Own(NamedTempFile),
}

impl Place {
    fn file(&mut self) -> &mut File {
        match self {
            Self::Part { file, .. } => file,
            Self::Own(file) => file.as_file_mut(),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Part { path, .. } => path,
            Self::Own(file) => file.path(),
        }
    }
}

/// A blob on its way in. Dropping it keeps the bytes for another try.
#[derive(Debug)]
pub struct Upload {
    digest: BlobDigest,
    length: u64,
    written: u64,
    /// Boxed: it is 2 KiB.
    hasher: Box<blake3::Hasher>,
    place: Place,
    target: PathBuf,
}

impl Upload {
    fn resume(
        digest: BlobDigest,
        length: u64,
        path: PathBuf,
        target: PathBuf,
        claim: Claim,
    ) -> Result<Self, BlobError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(disk(&path))?;
        let place = Place::Part { file, path, _claim: claim };
        let hasher = Box::default();
        let mut upload = Self { digest, length, written: 0, hasher, place, target };
        upload.hash_earlier_bytes().map_err(disk(upload.place.path()))?;
        Ok(upload)
    }

    fn alone(digest: BlobDigest, length: u64, incoming: &Path, target: PathBuf) -> Result<Self, BlobError> {
        let place = Place::Own(NamedTempFile::new_in(incoming).map_err(disk(incoming))?);
        Ok(Self { digest, length, written: 0, hasher: Box::default(), place, target })
    }

    fn hash_earlier_bytes(&mut self) -> io::Result<()> {
        let file = self.place.file();
        if file.metadata()?.len() > self.length {
            file.set_len(0)?;
        }
        let mut buffer = vec![0; HASH_CHUNK_BYTES];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            self.hasher.update(&buffer[..count]);
            self.written += count as u64;
        }
        file.seek(SeekFrom::Start(self.written)).map(|_| ())
    }

    /// Bytes that are here already.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.written
    }

    /// Bytes that are still to come.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.length - self.written
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// More than were announced, or the disk refuses.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let received = self.written + bytes.len() as u64;
        if received > self.length {
            let (digest, announced) = (self.digest, self.length);
            return Err(BlobError::WrongLength { digest, announced, received });
        }
        self.place.file().write_all(bytes).map_err(disk(self.place.path()))?;
        self.hasher.update(bytes);
        self.written = received;
        Ok(())
    }

    /// Checks the digest and gives the blob its name.
    ///
    /// # Errors
    /// Bytes are missing (what came is kept), the digest is another (what came
    /// is thrown away), or the disk refuses.
    pub fn finish(self) -> Result<(), BlobError> {
        if self.written != self.length {
            let (digest, announced, received) = (self.digest, self.length, self.written);
            return Err(BlobError::WrongLength { digest, announced, received });
        }
        let found = BlobDigest(*self.hasher.finalize().as_bytes());
        if found != self.digest {
            if let Place::Part { path, .. } = &self.place {
                fs::remove_file(path).map_err(disk(path))?;
            }
            return Err(BlobError::WrongDigest { expected: self.digest, found });
        }
        match self.place {
            Place::Own(file) => publish(file, &self.target).map_err(disk(&self.target)),
            Place::Part { file, path, _claim } => {
                // Its bytes may be old; that it is whole is new.
                file.set_modified(SystemTime::now()).map_err(disk(&path))?;
                file.sync_all().map_err(disk(&path))?;
                fs::rename(&path, &self.target).map_err(disk(&self.target))?;
                self.target.parent().map_or(Ok(()), sync_folder).map_err(disk(&self.target))
            }
        }
    }
}

#[cfg(test)]
mod tests;
