//! What the fuzz targets share.

use farm_scene::SceneLimits;
use farm_wire::codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Limits that small inputs reach, so that what is beyond them is met often, and
/// within which no scene needs more memory than a target is given.
#[must_use]
pub fn limits() -> SceneLimits {
    SceneLimits {
        file_bytes: 1 << 20,
        json_bytes: 1 << 20,
        source_bytes: 1 << 20,
        nodes: 1 << 10,
        instances: 1 << 12,
        meshes: 1 << 8,
        triangles: 1 << 15,
        vertices: 1 << 15,
        unbacked_elements: 1 << 12,
        decoded_bytes: 1 << 22,
        materials: 1 << 8,
        textures: 1 << 8,
        images: 1 << 6,
        image_edge: 1 << 9,
        texels: 1 << 19,
        lights: 1 << 8,
        cameras: 1 << 6,
        environment_texels: 1 << 12,
        manifest_bytes: 1 << 20,
        ..SceneLimits::default()
    }
}

/// Decodes a value; what decodes is written as bytes that decode to the same bytes.
///
/// # Panics
/// When it is not.
pub fn travels<T: Serialize + DeserializeOwned>(bytes: &[u8], limit: usize) {
    let Ok(value) = codec::decode::<T>(bytes, limit) else { return };
    let written = codec::encode(&value);
    let read: T = codec::decode(&written, usize::MAX).expect("what is written can be read");
    assert!(codec::encode(&read) == written, "a value changed on its way");
}
