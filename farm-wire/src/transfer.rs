//! Moving blobs: by digest, resumable, verified at the end.

use std::path::Path;

use farm_core::BlobDigest;

use crate::{Client, WireError};

/// Stores a blob on the master; resumes where an earlier try stopped. Returns
/// the number of payload bytes sent. `sent` is called as bytes leave.
///
/// # Errors
/// When the connection is lost or the master refuses the blob.
pub async fn store_blob(
    client: &Client,
    digest: BlobDigest,
    bytes: &[u8],
    sent: impl FnMut(u64) + Send,
) -> Result<u64, WireError> {
    let _ = (client, digest, bytes, sent);
    todo!()
}

/// Fetches a blob into `path`: bytes of an earlier, broken fetch beside it
/// (`path` + `.part`) are kept and continued; the digest is verified before the
/// file takes its name.
///
/// # Errors
/// The connection is lost, the master lacks the blob, the digest is wrong, the
/// length is beyond `limit`, or the disk refuses.
pub async fn fetch_blob(
    client: &Client,
    digest: BlobDigest,
    path: &Path,
    limit: u64,
) -> Result<u64, WireError> {
    let _ = (client, digest, path, limit);
    todo!()
}
