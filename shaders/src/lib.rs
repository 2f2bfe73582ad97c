//! The WGSL of the path tracer, composed from files by what they mean and
//! validated at build.
//!
//! The files lie in `wgsl/`. `layout` holds every buffer and struct, `main` the
//! kernel, and `path` is where to begin reading. The text keeps to what
//! `generator/`, a part of the build script, can turn into the code of
//! [`native`]: storage buffers, structs, functions, capped loops and local
//! arrays; no barriers, no texture units, no recursion, no pointers.

pub mod native;

/// The composed WGSL of the path tracer; its entry point is [`ENTRY_POINT`].
pub const PATH_TRACER: &str = include_str!(concat!(env!("OUT_DIR"), "/path_tracer.wgsl"));

/// Name of the kernel's entry point.
pub const ENTRY_POINT: &str = "render_block";

/// Invocations in a workgroup of the kernel.
pub const WORKGROUP_SIZE: u32 = 64;

/// BLAKE3 of [`PATH_TRACER`]: two builds with this digest shade alike.
pub const DIGEST: [u8; 32] = *include_bytes!(concat!(env!("OUT_DIR"), "/path_tracer.digest"));

#[cfg(test)]
mod tests;
