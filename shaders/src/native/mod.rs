//! The WGSL as native code: every function of it, on 1, 8 or 16 lanes.
//!
//! The build script generates the functions from the composed WGSL; `lanes1`,
//! `lanes8` and `lanes16` are the arithmetic that they are written in, and one
//! text serves all widths. A function of the WGSL `fn f(a: f32) -> f32` is
//! [`scalar::f`] for a single lane: pure functions take their arguments alone,
//! those that branch a mask of lanes too, and those that read buffers the
//! [`scalar::Bindings`].
//!
//! A numeric class of its own: each operation is rounded by itself, in the order
//! of the WGSL, at every width, on every processor.

mod driver;
pub mod lanes1;
#[cfg(target_arch = "x86_64")]
pub mod lanes16;
#[cfg(target_arch = "x86_64")]
pub mod lanes8;
pub(crate) mod memory;
pub mod rays;
pub mod vector;
mod vocabulary;
#[cfg(target_arch = "x86_64")]
mod wide;
mod width;

#[cfg(test)]
mod tests;

pub(crate) use memory::memory;
pub use rays::{HitBatch, RECORD_WORDS, RayBatch, Records, Tracer};
pub use scalar::{Bindings, Overrides};
pub use width::{Width, render_blocks};

include!(concat!(env!("OUT_DIR"), "/path_tracer_1.rs"));
#[cfg(target_arch = "x86_64")]
include!(concat!(env!("OUT_DIR"), "/path_tracer_8.rs"));
#[cfg(target_arch = "x86_64")]
include!(concat!(env!("OUT_DIR"), "/path_tracer_16.rs"));
