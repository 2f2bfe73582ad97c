//! The WGSL of the path tracer, composed from files by what they mean and
//! validated at build.
//!
//! The files lie in `wgsl/`. `layout` holds every buffer and struct, `main` the
//! kernel, and `path` is where to begin reading. The text keeps to what a small
//! generator can turn into native code: storage buffers, structs, functions,
//! capped loops and local arrays; no barriers, no texture units, no recursion,
//! no pointers.

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
mod tests {
    use super::{DIGEST, ENTRY_POINT, PATH_TRACER, WORKGROUP_SIZE};

    fn module() -> naga::Module {
        naga::front::wgsl::parse_str(PATH_TRACER).expect("the build script validated it")
    }

    #[test]
    fn digest_is_of_the_text() {
        assert_eq!(DIGEST, *blake3::hash(PATH_TRACER.as_bytes()).as_bytes());
    }

    #[test]
    fn one_entry_point_serves_everything() {
        let module = module();
        let names: Vec<&str> = module.entry_points.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, [ENTRY_POINT]);
        assert_eq!(module.entry_points[0].workgroup_size, [WORKGROUP_SIZE, 1, 1]);
    }

    #[test]
    fn at_most_eight_storage_buffers_and_no_workgroup_memory() {
        let module = module();
        let storage = module
            .global_variables
            .iter()
            .filter(|(_, variable)| matches!(variable.space, naga::AddressSpace::Storage { .. }))
            .count();
        assert!(storage <= 8, "{storage} storage buffers");
        let shared = module
            .global_variables
            .iter()
            .any(|(_, variable)| variable.space == naga::AddressSpace::WorkGroup);
        assert!(!shared);
    }
}
