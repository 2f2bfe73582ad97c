//! Packing and unpacking.

use std::collections::BTreeSet;
use std::io;

use glam::Vec3;

use super::scenes::textured_quad;
use crate::error::UnpackError;
use crate::pack::{PackedScene, pack};
use crate::scene::{Environment, EnvironmentMap, Image, Material, Mesh, Scene, Texels};
use crate::unpack::{manifest_blobs, unpack};

/// Packs, unpacks, and checks that nothing changed.
pub(super) fn round_trip(scene: &Scene) -> PackedScene {
    let packed = pack(scene);
    let unpacked = unpack_from(&packed).expect("a packed scene is valid");
    assert!(unpacked == *scene, "the scene changed");
    packed
}

fn unpack_from(packed: &PackedScene) -> Result<Scene, UnpackError> {
    unpack(&packed.manifest.bytes, |digest| {
        let blob = packed.blobs.iter().find(|blob| blob.digest == *digest);
        blob.map(|blob| blob.bytes.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    })
}

fn scene_with_map() -> Scene {
    let radiance = vec![Vec3::new(0.0, 1.0, 1e4), Vec3::ONE];
    let map = EnvironmentMap { width: 2, height: 1, radiance, strength: 3.0, rotation: -1.0 };
    let mut scene = textured_quad();
    scene.environment = Environment::Map(map);
    scene.images.push(Image { width: 1, height: 1, srgb: false, texels: Texels::Rgba16(vec![1, 2, 3, 4]) });
    scene
}

#[test]
fn packing_loses_nothing() {
    round_trip(&textured_quad());
    round_trip(&scene_with_map());
}

fn digests(packed: &PackedScene) -> BTreeSet<[u8; 32]> {
    packed.blobs.iter().map(|blob| *blob.digest.as_bytes()).collect()
}

#[test]
fn manifest_names_exactly_the_blobs() {
    let packed = pack(&scene_with_map());
    let named = manifest_blobs(&packed.manifest.bytes).expect("it is a manifest");
    let stored: Vec<_> = packed.blobs.iter().map(|blob| blob.digest).collect();
    assert_eq!(named, stored);
    assert!(named.is_sorted_by_key(|digest| *digest.as_bytes()));
    assert_eq!(named.len(), 4, "a mesh, two images and a map");
}

/// The digest is part of the format: every machine must find this one.
#[test]
fn digest_of_a_known_scene_is_known() {
    let digest = pack(&scene_with_map()).manifest.digest.to_hex();
    assert_eq!(digest.as_str(), "27b3aa15cc4acb3537a51053cad09bb9889e520ee21b65c6c1398aedb79b998f");
}

#[test]
fn changed_texture_changes_one_blob_and_the_manifest() {
    let scene = scene_with_map();
    let mut changed = scene.clone();
    let Texels::Rgba8(texels) = &mut changed.images[0].texels else { unreachable!("the quad has bytes") };
    texels[3] ^= 1;
    let (before, after) = (pack(&scene), pack(&changed));
    assert_eq!(digests(&before).difference(&digests(&after)).count(), 1);
    assert_eq!(digests(&after).difference(&digests(&before)).count(), 1);
    assert_ne!(before.manifest.digest, after.manifest.digest);
}

#[test]
fn use_of_a_map_changes_the_manifest_only() {
    let scene = scene_with_map();
    let mut turned = scene.clone();
    let Environment::Map(map) = &mut turned.environment else { unreachable!("the scene has a map") };
    map.rotation += 1.0;
    assert_eq!(digests(&pack(&scene)), digests(&pack(&turned)));
    assert_ne!(pack(&scene).manifest.digest, pack(&turned).manifest.digest);
}

#[test]
fn equal_geometry_is_one_blob_whatever_its_material() {
    let mut scene = textured_quad();
    scene.materials.push(Material::default());
    scene.meshes.push(Mesh { material: 1, ..scene.meshes[0].clone() });
    let packed = round_trip(&scene);
    assert_eq!(packed.blobs.len(), 2, "one geometry and one image");
}

#[test]
fn exchanged_blob_is_refused() {
    let packed = pack(&textured_quad());
    let result = unpack(&packed.manifest.bytes, |_| Ok(b"something else".to_vec()));
    assert!(matches!(result, Err(UnpackError::DigestMismatch { .. })), "{result:?}");
}

#[test]
fn missing_blob_is_named() {
    let packed = pack(&textured_quad());
    let result = unpack(&packed.manifest.bytes, |_| Err(io::ErrorKind::NotFound.into()));
    let named = manifest_blobs(&packed.manifest.bytes).expect("it is a manifest");
    assert!(
        matches!(&result, Err(UnpackError::Fetch { digest, .. }) if named.contains(digest)),
        "{result:?}"
    );
}

#[test]
fn invalid_scene_in_valid_blobs_is_refused() {
    let mut scene = textured_quad();
    scene.meshes[0].triangles[1][2] = 4;
    let error = unpack_from(&pack(&scene)).expect_err("vertex 4 is not there");
    let text = "the scene is not valid: meshes[0]: names vertex 4, but there are only 4";
    assert_eq!(error.to_string(), text);
}

#[test]
fn other_versions_and_kinds_are_refused() {
    let mut manifest = pack(&textured_quad()).manifest.bytes;
    manifest[4] = 9;
    let error = manifest_blobs(&manifest).expect_err("version 9 is unknown");
    assert_eq!(error.to_string(), "the manifest has format version 9; this program reads version 4");
    manifest[0] = b'X';
    let error = manifest_blobs(&manifest).expect_err("the magic number is wrong");
    assert_eq!(error.to_string(), "the manifest does not begin with its magic number");
    let error = manifest_blobs(b"").expect_err("nothing is no manifest");
    assert_eq!(error.to_string(), "the manifest does not begin with its magic number");
}

#[test]
fn trailing_bytes_are_refused() {
    let mut manifest = pack(&textured_quad()).manifest.bytes;
    manifest.push(0);
    let error = manifest_blobs(&manifest).expect_err("one byte is too many");
    assert_eq!(error.to_string(), "the manifest cannot be decoded: 1 bytes follow its end");
}

/// A million triangles survive; the point of encoding arrays as runs of bytes
/// is that this test is quick.
#[test]
fn million_triangles_round_trip() {
    let mut scene = textured_quad();
    let mesh = &mut scene.meshes[0];
    let count = 1_000_000;
    mesh.triangles = (0..count).map(|i| [i % 4, (i + 1) % 4, (i + 2) % 4]).collect();
    let packed = round_trip(&scene);
    let bytes: usize = packed.blobs.iter().map(|blob| blob.bytes.len()).sum();
    assert!(bytes < 12_001_000, "12 bytes a triangle: {bytes}");
}
