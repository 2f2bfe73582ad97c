//! What the composed text holds, and what the generator makes of WGSL.

use crate::{
    DIGEST, ENTRY_POINT, IMAGE_ROW, PAGES, PATH_TRACER, PATH_TRACER_IMAGES, PATH_TRACER_IMAGES_PAGED,
    PATH_TRACER_PAGED, WAVEFRONT, WAVEFRONT_PAGED, WORKGROUP_SIZE,
};

mod functions;
mod refusals;
pub(crate) mod trial;

fn parse(text: &str) -> naga::Module {
    naga::front::wgsl::parse_str(text).expect("the build script validated it")
}

#[test]
fn digest_is_of_all_texts() {
    let texts = [
        PATH_TRACER,
        WAVEFRONT,
        PATH_TRACER_IMAGES,
        PATH_TRACER_PAGED,
        PATH_TRACER_IMAGES_PAGED,
        WAVEFRONT_PAGED,
    ];
    let texts = texts.join("\0");
    assert_eq!(DIGEST, *blake3::hash(texts.as_bytes()).as_bytes());
}

#[test]
fn entry_points_are_those_that_are_named() {
    for (text, wanted) in [
        (PATH_TRACER, &[ENTRY_POINT][..]),
        (PATH_TRACER_IMAGES, &[ENTRY_POINT][..]),
        (PATH_TRACER_PAGED, &[ENTRY_POINT][..]),
        (PATH_TRACER_IMAGES_PAGED, &[ENTRY_POINT][..]),
        (WAVEFRONT, &["advance_works", "begin_works", "trace_rays"]),
        (WAVEFRONT_PAGED, &["advance_works", "begin_works", "trace_rays"]),
    ] {
        let module = parse(text);
        let mut names: Vec<&str> = module.entry_points.iter().map(|entry| entry.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, wanted);
        assert!(module.entry_points.iter().all(|entry| entry.workgroup_size == [WORKGROUP_SIZE, 1, 1]));
    }
}

#[test]
fn storage_buffers_are_no_more_than_promised_and_there_is_no_workgroup_memory() {
    for (text, most) in [
        (PATH_TRACER, 8),
        (PATH_TRACER_IMAGES, 6),
        (WAVEFRONT, 12),
        // Four arrays in pages, or two.
        (PATH_TRACER_PAGED, 4 + 4 * PAGES as usize),
        (PATH_TRACER_IMAGES_PAGED, 4 + 2 * PAGES as usize),
        (WAVEFRONT_PAGED, 8 + 4 * PAGES as usize),
    ] {
        let module = parse(text);
        let count = |wanted: fn(&naga::AddressSpace) -> bool| {
            module.global_variables.iter().filter(|(_, variable)| wanted(&variable.space)).count()
        };
        let storage = count(|space| matches!(space, naga::AddressSpace::Storage { .. }));
        assert!(storage <= most, "{storage} storage buffers");
        assert_eq!(count(|space| matches!(space, naga::AddressSpace::WorkGroup)), 0);
    }
}

#[test]
fn rows_of_images_are_as_long_as_promised() {
    let module = parse(PATH_TRACER_IMAGES);
    let (_, row) = module
        .constants
        .iter()
        .find(|(_, constant)| constant.name.as_deref() == Some("IMAGE_ROW"))
        .expect("the kernel has rows");
    let value = &module.global_expressions[row.init];
    assert!(matches!(value, naga::Expression::Literal(naga::Literal::U32(IMAGE_ROW))), "{value:?}");
}
