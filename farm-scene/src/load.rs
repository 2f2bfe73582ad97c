//! Reading a scene file.

use std::path::{Path, PathBuf};

use glam::Vec3;

use crate::{LoadError, Scene};

/// What the artist says beside the file.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// An environment map, `.hdr` or `.exr`.
    pub environment: Option<PathBuf>,
    /// Factor on the environment map's radiance.
    pub environment_strength: f32,
    /// Turn of the environment about +Y, in radians.
    pub environment_rotation: f32,
    /// A constant sky, instead of any other.
    pub sky: Option<Vec3>,
    /// Width over height of the frame, for the automatic camera.
    pub aspect_ratio: f32,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            environment: None,
            environment_strength: 1.0,
            environment_rotation: 0.0,
            sky: None,
            aspect_ratio: 1.0,
        }
    }
}

/// A loaded scene and what is worth saying about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The scene.
    pub scene: Scene,
    /// Things that an artist should know, in the order found.
    pub warnings: Vec<Warning>,
}

/// Something that an artist should know; `Display` is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a `.glb` or `.gltf` file with all that it names.
///
/// # Errors
/// Names the file, the place in it, the value and the limit.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Loaded, LoadError> {
    let _ = (path, options);
    todo!()
}
