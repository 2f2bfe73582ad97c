//! Scene file to [`Scene`], validated once, and its canonical packing into
//! content-addressed blobs.
//!
//! [`load`] reads glTF 2.0 on the artist's machine, and [`SceneFile`] shows it at
//! any time of its animations; [`pack`] turns the scene into
//! a manifest and blobs; [`unpack`] turns them back on a node, trusting nothing.
//! The same scene gives the same digests on every machine.

mod auto_camera;
mod blobs;
mod environment;
pub mod error;
pub mod layers;
pub mod limits;
pub mod load;
pub mod pack;
mod read;
pub mod scene;
pub mod summary;
#[cfg(test)]
mod tests;
pub mod unpack;
pub mod validate;

pub use error::{Fault, LoadError, Problem, UnpackError};
pub use layers::{Anisotropy, Coat, Iridescence, Sheen, Transmission, Volume};
pub use limits::SceneLimits;
pub use load::{AnimationSummary, LoadOptions, Loaded, SceneFile, Shutter, Warning, load, load_bytes};
pub use pack::{Blob, PackedScene, pack};
pub use scene::*;
pub use summary::SceneSummary;
pub use unpack::{manifest_blobs, unpack, unpack_within};
pub use validate::{validate, validate_lens};
