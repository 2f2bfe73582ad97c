//! What the composed text holds, and what the generator makes of WGSL.

use crate::{DIGEST, ENTRY_POINT, PATH_TRACER, WORKGROUP_SIZE};

mod functions;
mod refusals;
pub(crate) mod trial;

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
    let shared =
        module.global_variables.iter().any(|(_, variable)| variable.space == naga::AddressSpace::WorkGroup);
    assert!(!shared);
}
