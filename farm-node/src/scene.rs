//! From blobs in the cache to a scene.

use std::sync::Arc;

use farm_core::BlobDigest;
use farm_core::scheduler::FailureKind;
use farm_scene::Scene;

use crate::cache::{Cache, CacheError};
use crate::lane::{LaneFailure, LoadScene};

/// Loads scenes from `cache`.
pub(crate) fn loader(cache: Arc<Cache>) -> LoadScene {
    Box::new(move |digest| load(&cache, digest))
}

/// Reads a scene's manifest and blobs and rebuilds the scene, trusting none of
/// them: the digests are compared and `farm-scene` validates what they hold.
fn load(cache: &Cache, digest: BlobDigest) -> Result<Scene, LaneFailure> {
    let manifest = cache.read(digest).map_err(|error| blob_failure(digest, &error))?;
    let mut failure = None;
    let scene = farm_scene::unpack(&manifest, |blob| {
        let blob = BlobDigest(*blob.as_bytes());
        cache.read(blob).map_err(|error| {
            failure = Some(blob_failure(blob, &error));
            std::io::Error::other(error)
        })
    });
    scene.map_err(|error| {
        failure.unwrap_or_else(|| LaneFailure::new(FailureKind::Render, format!("scene {digest}: {error}")))
    })
}

/// A blob that is not there, or no longer, is the node's trouble.
fn blob_failure(digest: BlobDigest, error: &CacheError) -> LaneFailure {
    let message = error.to_string();
    LaneFailure { kind: FailureKind::BlobUnavailable, message, missing: Some(digest) }
}
