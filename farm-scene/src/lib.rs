//! Scene file to [`Scene`], validated once, and its canonical packing into
//! content-addressed blobs.
//!
//! [`load`] reads glTF 2.0 on the artist's machine; [`pack`] turns the scene into
//! a manifest and blobs; [`unpack`] turns them back on a node, trusting nothing.
//! The same scene gives the same digests on every machine.

pub mod error;
pub mod load;
pub mod pack;
pub mod scene;

pub use error::{LoadError, UnpackError};
pub use load::{LoadOptions, Loaded, Warning, load};
pub use pack::{Blob, PackedScene, manifest_blobs, pack, unpack};
pub use scene::*;
