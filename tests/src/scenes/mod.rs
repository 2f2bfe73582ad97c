//! The scenes of `scenes/`, each a function of nothing: running it again gives
//! the same bytes.
//!
//! Random choices come from hashes of integers, directions from f64 functions
//! rounded once to f32.

mod cornell_box;
mod instanced_field;
mod many_lights;
mod material_spheres;
pub mod model;
mod noise;
mod shapes;
mod sky;
mod textured_object;
mod textures;

/// Samples per pixel of the images in `scenes/reference/`.
pub const REFERENCE_SAMPLES: u32 = 2048;
/// Longest path of those images, in segments.
pub const REFERENCE_MAX_DEPTH: u32 = 8;

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
    vec![
        file("cornell-box.glb", cornell_box::build()),
        file("material-spheres.glb", material_spheres::build()),
        file("textured-object.glb", textured_object::build()),
        file("sky.hdr", sky::build()),
        file("many-lights.glb", many_lights::build()),
        file("instanced-field.glb", instanced_field::build()),
    ]
}

/// The environment map that a scene is meant to be seen under, if any.
#[must_use]
pub fn environment_of(name: &str) -> Option<&'static str> {
    (name == "textured-object.glb").then_some("sky.hdr")
}
