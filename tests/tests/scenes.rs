//! The committed files of `scenes/` are those that the generator writes, and
//! hold what their page says.

use std::path::{Path, PathBuf};

use farm_scene::{LoadOptions, SceneSummary, load};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").join("scenes")
}

#[test]
fn committed_scenes_are_the_generated_ones() {
    for file in farm_tests::scenes::files() {
        let committed = std::fs::read(folder().join(file.name)).unwrap_or_default();
        assert!(
            committed == file.bytes,
            "{} differs: run `cargo run -p farm-tests --bin make-scenes -- scenes/`, look at it, commit it",
            file.name
        );
    }
}

#[test]
fn committed_scenes_are_small() {
    let bytes: usize = farm_tests::scenes::files().iter().map(|file| file.bytes.len()).sum();
    assert!(bytes < 4_500_000, "{bytes} bytes are too many for a repository");
}

/// Loads a scene as it is meant to be seen; it must have nothing to say.
fn summary(name: &str) -> SceneSummary {
    let environment = farm_tests::scenes::environment_of(name).map(|map| folder().join(map));
    let options = LoadOptions { environment, ..LoadOptions::default() };
    let loaded = load(&folder().join(name), &options).expect("our own scenes load");
    assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
    let summary = loaded.summary();
    assert_eq!(summary.cameras[0].name, "camera", "{name} brings its camera");
    summary
}

#[test]
fn every_scene_loads_without_a_warning() {
    for file in farm_tests::scenes::files().iter().filter(|file| file.name.ends_with(".glb")) {
        summary(file.name);
    }
}

#[test]
fn instanced_field_has_more_than_a_million_triangles() {
    let summary = summary("instanced-field.glb");
    assert!(summary.instanced_triangles > 1_000_000, "{}", summary.instanced_triangles);
    assert!(summary.triangles < 100_000, "most are instances: {}", summary.triangles);
}

#[test]
fn many_lights_has_hundreds_of_lamps() {
    assert_eq!(summary("many-lights.glb").emissive_triangles, 600 * 20);
}

#[test]
fn textured_object_has_every_kind_of_texture() {
    let summary = summary("textured-object.glb");
    assert_eq!(summary.images.len(), 4);
    assert_eq!(summary.images.iter().filter(|image| image.srgb).count(), 2);
}
