//! The canonical packing of a scene into content-addressed blobs.

use crate::{Scene, UnpackError};

/// Bytes and their BLAKE3 digest.
#[derive(Clone, Debug)]
pub struct Blob {
    /// BLAKE3 of `bytes`.
    pub digest: blake3::Hash,
    /// The content.
    pub bytes: Vec<u8>,
}

/// A scene as blobs.
#[derive(Clone, Debug)]
pub struct PackedScene {
    /// Names every other blob; its digest is the scene's.
    pub manifest: Blob,
    /// Every blob that the manifest names, sorted by digest, without repetition.
    pub blobs: Vec<Blob>,
}

/// Packs a scene: one blob for each mesh, image and environment map.
#[must_use]
pub fn pack(scene: &Scene) -> PackedScene {
    let _ = scene;
    todo!()
}

/// The digests that a manifest names, sorted, without repetition.
///
/// # Errors
/// When the bytes are not a manifest.
pub fn manifest_blobs(manifest: &[u8]) -> Result<Vec<blake3::Hash>, UnpackError> {
    let _ = manifest;
    todo!()
}

/// Rebuilds and validates a scene from untrusted blobs. `fetch` yields a
/// blob's bytes; their digests are checked here.
///
/// # Errors
/// Names the blob, the place, the value and the limit.
pub fn unpack(
    manifest: &[u8],
    fetch: impl FnMut(&blake3::Hash) -> Result<Vec<u8>, std::io::Error>,
) -> Result<Scene, UnpackError> {
    let _ = (manifest, fetch);
    todo!()
}
