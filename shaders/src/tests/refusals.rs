//! What the generator has no counterpart for is an error that names its place.

#[path = "../../generator/mod.rs"]
mod generator;

use naga::valid::{Capabilities, ValidationFlags, Validator};

/// Generates from a text; `Err` has the line of the error and its message.
fn generate(text: &str) -> Result<String, (u32, String)> {
    let module = naga::front::wgsl::parse_str(text).expect("the text is WGSL");
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .expect("the text is valid");
    let options = generator::Options {
        name: "tried",
        lanes: "lanes",
        single: None,
        features: None,
        source_of: &|_| None,
    };
    generator::generate(&module, &info, &options)
        .map_err(|unsupported| (unsupported.span.location(text).line_number, unsupported.message))
}

#[track_caller]
fn check(text: &str, line: u32, says: &str) {
    let (found, message) = generate(text).expect_err("there is no counterpart");
    assert_eq!(found, line, "{message}");
    assert!(message.contains(says), "{message}");
}

#[test]
fn built_ins_whose_rounding_is_the_drivers_are_refused() {
    check("fn f(x: f32) -> f32 {\n    return sin(x);\n}", 2, "polynomial");
    check("fn f(x: vec3<f32>) -> f32 {\n    let y = x;\n    return dot(y, y);\n}", 3, "write it out");
    check("fn f(x: f32) -> f32 {\n    return x % 2.0;\n}", 2, "rounding");
}

#[test]
fn pointers_as_arguments_are_refused() {
    let text = "fn g(p: ptr<function, f32>) {\n    *p = 1.0;\n}";
    let (_, message) = generate(text).expect_err("there is no counterpart");
    assert!(message.contains("Pointer"), "{message}");
}

#[test]
fn matrices_and_barriers_are_refused() {
    check("fn f(m: f32) -> f32 {\n    let x = mat2x2<f32>(m, m, m, m);\n    return x[0][1];\n}", 2, "Matrix");
    let text = "@compute @workgroup_size(1)\nfn main() {\n    workgroupBarrier();\n}";
    check(text, 3, "ControlBarrier");
}

#[test]
fn the_same_text_gives_the_same_code() {
    let text = crate::PATH_TRACER;
    assert_eq!(generate(text).expect("it was generated at build"), generate(text).expect("again"));
}
