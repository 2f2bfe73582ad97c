//! What the driver remembers of a job. Whether the job and its leases make
//! sense is the agent's to judge; this adds what only this node's renderer
//! knows, the shaders.

use farm_core::{BlobDigest, FrameNumber, JobSpec};

/// A job as the master described it.
#[derive(Clone, Debug)]
pub(crate) struct KnownJob {
    /// Its scene's manifest.
    scene: BlobDigest,
    /// Its first frame, and the manifests of the frames' own scenes.
    frames: (FrameNumber, Vec<BlobDigest>),
    /// Edge of its rectangles.
    pub(crate) tile_size: u32,
    /// The shaders that it is pinned to.
    shader_digest: BlobDigest,
}

impl KnownJob {
    /// Takes note of a job.
    pub(crate) fn new(spec: &JobSpec) -> Self {
        let scenes = spec.frame_scenes.iter().map(|own| own.scene).collect();
        Self {
            scene: spec.scene,
            frames: (spec.frames.first, scenes),
            tile_size: spec.tile_size,
            shader_digest: spec.shader_digest,
        }
    }

    /// The manifest of what a frame shows.
    pub(crate) fn scene_of(&self, frame: FrameNumber) -> BlobDigest {
        let (first, scenes) = &self.frames;
        let place = frame.0.checked_sub(first.0).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| scenes.get(place)).copied().unwrap_or(self.scene)
    }

    /// Checks that a node with these shaders may render it.
    ///
    /// # Errors
    /// Says what differs and what to do, for the artist.
    pub(crate) fn check_shaders(&self, ours: BlobDigest) -> Result<(), String> {
        if self.shader_digest == ours {
            return Ok(());
        }
        let pinned = self.shader_digest;
        Err(format!(
            "the job is pinned to shaders {pinned} and this node renders with {ours}; \
             give the artist and the node the same version"
        ))
    }
}
