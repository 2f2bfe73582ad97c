//! The scenes of `scenes/`, each a function of nothing: running it again gives
//! the same bytes.
//!
//! Random choices come from hashes of integers, directions from f64 functions
//! rounded once to f32.

mod cornell_box;
mod extensions;
mod instanced_field;
mod many_lights;
mod material_spheres;
pub mod model;
mod noise;
mod shapes;
mod sky;
mod textured_object;
mod textures;

use farm_core::{PixelFilter, RenderSettings, Resolution};

/// Samples per pixel of the images in `scenes/reference/`.
pub const REFERENCE_SAMPLES: u32 = 2048;
/// Their size.
pub const REFERENCE_SIZE: Resolution = Resolution { width: 96, height: 64 };

/// What those images are rendered with; what is compared with them has another
/// seed and fewer samples.
#[must_use]
pub fn reference_settings(seed: u32, samples_per_pixel: u32) -> RenderSettings {
    let filter = PixelFilter::default();
    RenderSettings {
        samples_per_pixel,
        seed,
        max_depth: 8,
        filter,
        camera: 0,
        transparent: false,
        film: Default::default(),
    }
}

/// A generated file.
pub struct File {
    /// Its name in `scenes/`.
    pub name: &'static str,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Every file that the generator writes.
#[must_use]
pub fn files() -> Vec<File> {
    let file = |name, bytes| File { name, bytes };
    let mut files = vec![
        file("cornell-box.glb", cornell_box::build()),
        file("material-spheres.glb", material_spheres::build()),
        file("textured-object.glb", textured_object::build()),
        file("sky.hdr", sky::build()),
        file("many-lights.glb", many_lights::build()),
        file("instanced-field.glb", instanced_field::build()),
    ];
    files.extend(extensions::build().into_iter().map(|(name, bytes)| file(name, bytes)));
    files
}

/// The environment map that a scene is meant to be seen under, if any.
#[must_use]
pub fn environment_of(name: &str) -> Option<&'static str> {
    (name == "textured-object.glb").then_some("sky.hdr")
}
