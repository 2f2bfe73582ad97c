//! The WGSL of the path tracer, composed from files by what they mean and
//! validated at build.

/// The composed WGSL of the path tracer.
pub const PATH_TRACER: &str = "";

/// BLAKE3 of [`PATH_TRACER`].
pub const DIGEST: [u8; 32] = [0; 32];
