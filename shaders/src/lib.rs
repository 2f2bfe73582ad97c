//! The WGSL of the path tracer, composed from files by what they mean and
//! validated at build.
//!
//! The files lie in `wgsl/`. `layout` holds every buffer and struct, `main` and
//! `wavefront` the kernels, and `path` is where to begin reading. The text keeps to what
//! `generator/`, a part of the build script, can turn into the code of
//! [`native`]: storage buffers, structs, functions, capped loops and local
//! arrays; no barriers, no texture units, no recursion, no pointers.

pub mod native;

/// The composed WGSL of the path tracer; its entry point is [`ENTRY_POINT`].
pub const PATH_TRACER: &str = include_str!(concat!(env!("OUT_DIR"), "/path_tracer.wgsl"));

/// The same with nodes and triangles in storage images, [`IMAGE_ROW`] of them in a
/// row of texels: Mesa's software driver reads those for all lanes at once, and
/// buffers for one after the other.
pub const PATH_TRACER_IMAGES: &str = include_str!(concat!(env!("OUT_DIR"), "/path_tracer_images.wgsl"));

/// [`PATH_TRACER`] with nodes, triangles, attributes and texels in [`PAGES`] buffers
/// each; `NODE_PAGE_BITS` and the like are the exponents of the pages' elements.
pub const PATH_TRACER_PAGED: &str = include_str!(concat!(env!("OUT_DIR"), "/path_tracer_paged.wgsl"));

/// [`PATH_TRACER_IMAGES`] with attributes and texels in pages.
pub const PATH_TRACER_IMAGES_PAGED: &str =
    include_str!(concat!(env!("OUT_DIR"), "/path_tracer_images_paged.wgsl"));

/// [`WAVEFRONT`] with pages.
pub const WAVEFRONT_PAGED: &str = include_str!(concat!(env!("OUT_DIR"), "/wavefront_paged.wgsl"));

/// Buffers of an array that is in pages. Those of nodes, triangles, attributes and
/// texels are bound from [`FIRST_PAGE_BINDING`] on, in this order.
pub const PAGES: u32 = 8;

/// Binding of the first page of nodes.
pub const FIRST_PAGE_BINDING: u32 = 16;

/// Nodes, or triangles, in a row of their image.
pub const IMAGE_ROW: u32 = 1024;

/// Name of the kernel's entry point.
pub const ENTRY_POINT: &str = "render_block";

/// The same path tracer in parts: `begin_works`, then `trace_rays` and
/// `advance_works` in turns until all records are finished.
pub const WAVEFRONT: &str = include_str!(concat!(env!("OUT_DIR"), "/wavefront.wgsl"));

/// Bytes of an element of each of the wavefront's arrays, by their bindings in
/// group 1: the work items, and the rays and hits of which each has two.
pub const WAVEFRONT_SLOT_BYTES: [u64; 3] = [112, 48, 32];

/// Invocations in a workgroup of the kernels.
pub const WORKGROUP_SIZE: u32 = 64;

/// Hash of all that the native version's bits depend on: the code generated from
/// [`PATH_TRACER`] and the arithmetic that it is written in.
pub const NATIVE_DIGEST: [u8; 32] = *include_bytes!(concat!(env!("OUT_DIR"), "/native.digest"));

/// BLAKE3 of [`PATH_TRACER`] and all other compositions: two builds with this
/// digest shade alike.
pub const DIGEST: [u8; 32] = *include_bytes!(concat!(env!("OUT_DIR"), "/path_tracer.digest"));

#[cfg(test)]
mod tests;
