//! The formats of packed scenes: what a manifest and its blobs hold.
//!
//! Each begins with four bytes that say what it is and one that says which
//! version; postcard follows. Large arrays are runs of little-endian bytes, so
//! that reading one is a copy and cannot allocate more than the blob's size.

use std::borrow::Cow;

use bytemuck::{Pod, Zeroable};
use glam::{Affine3A, Vec3};
use serde::{Deserialize, Serialize};

use crate::error::UnpackError;
use crate::scene::{Camera, Instance, Light, Material, Motion, Texture};

#[cfg(target_endian = "big")]
compile_error!("blobs are little-endian and copied without conversion");

/// The version of all formats in this file.
const VERSION: u8 = 4;

/// A kind of blob: its first four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Magic([u8; 4]);

pub(crate) const MANIFEST: Magic = Magic(*b"TSSC");
pub(crate) const GEOMETRY: Magic = Magic(*b"TSGE");
pub(crate) const IMAGE: Magic = Magic(*b"TSIM");
pub(crate) const RADIANCE: Magic = Magic(*b"TSRA");

/// Everything of a scene but its geometry and its texels.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Manifest<'a> {
    pub(crate) meshes: Vec<MeshEntry>,
    /// [`PackedInstance`]s.
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) instances: Cow<'a, [u8]>,
    pub(crate) materials: Vec<Material>,
    pub(crate) textures: Vec<Texture>,
    pub(crate) images: Vec<Digest>,
    pub(crate) lights: Vec<Light>,
    pub(crate) cameras: Vec<Camera>,
    pub(crate) environment: EnvironmentEntry,
    pub(crate) motion: Motion,
}

/// The digest of a blob.
pub(crate) type Digest = [u8; 32];

/// A mesh: its geometry's blob and its material.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct MeshEntry {
    pub(crate) geometry: Digest,
    pub(crate) material: u32,
}

/// The surroundings; a map's radiance is a blob, how it is used is not.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum EnvironmentEntry {
    Constant(Vec3),
    Map { radiance: Digest, strength: f32, rotation: f32 },
}

/// An instance as 52 bytes.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct PackedInstance {
    mesh: u32,
    columns: [f32; 12],
}

impl From<&Instance> for PackedInstance {
    fn from(instance: &Instance) -> Self {
        Self { mesh: instance.mesh, columns: instance.transform.to_cols_array() }
    }
}

impl From<&PackedInstance> for Instance {
    fn from(packed: &PackedInstance) -> Self {
        Self { mesh: packed.mesh, transform: Affine3A::from_cols_array(&packed.columns) }
    }
}

/// A mesh without its material.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Geometry<'a> {
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) positions: Cow<'a, [u8]>,
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) normals: Cow<'a, [u8]>,
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) tangents: Cow<'a, [u8]>,
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) uvs_0: Cow<'a, [u8]>,
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) uvs_1: Cow<'a, [u8]>,
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) colors: Cow<'a, [u8]>,
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) triangles: Cow<'a, [u8]>,
    #[serde(borrow)]
    pub(crate) motion: Vec<PackedShape<'a>>,
}

/// The shape of a mesh at the end of a part of the shutter's time.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PackedShape<'a> {
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) positions: Cow<'a, [u8]>,
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) normals: Cow<'a, [u8]>,
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) tangents: Cow<'a, [u8]>,
}

/// An image.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PackedImage<'a> {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) srgb: bool,
    pub(crate) format: TexelFormat,
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) texels: Cow<'a, [u8]>,
}

/// What the bytes of an image are.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum TexelFormat {
    Rgba8,
    Rgba16,
}

/// The radiance of an environment map, three floats a texel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PackedRadiance<'a> {
    pub(crate) width: u32,
    pub(crate) height: u32,
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) radiance: Cow<'a, [u8]>,
}

/// Encodes with magic number and version.
pub(crate) fn encode(magic: Magic, value: &impl Serialize) -> Vec<u8> {
    let mut header = magic.0.to_vec();
    header.push(VERSION);
    postcard::to_extend(value, header).expect("these types have known lengths and memory does not fail")
}

/// Decodes what [`encode`] made; `what` names the bytes in errors.
pub(crate) fn decode<'a, T: Deserialize<'a>>(
    magic: Magic,
    bytes: &'a [u8],
    what: impl Fn() -> String,
) -> Result<T, UnpackError> {
    let Some(body) = bytes.strip_prefix(&magic.0) else {
        return Err(UnpackError::WrongMagic { what: what() });
    };
    let malformed = |problem: String| UnpackError::Malformed { what: what(), problem };
    let (&version, body) = body.split_first().ok_or_else(|| malformed("it ends too early".to_owned()))?;
    if version != VERSION {
        return Err(UnpackError::Version { what: what(), found: version, expected: VERSION });
    }
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(malformed(format!("{} bytes follow its end", rest.len()))),
        Err(error) => Err(malformed(error.to_string())),
    }
}

/// An array as bytes, without a copy.
pub(crate) fn bytes_of<T: Pod>(values: &[T]) -> Cow<'_, [u8]> {
    Cow::Borrowed(bytemuck::cast_slice(values))
}

/// Bytes as an array; `None` when they end within an element.
pub(crate) fn array_of<T: Pod>(bytes: &[u8]) -> Option<Vec<T>> {
    bytes.len().is_multiple_of(size_of::<T>()).then(|| bytemuck::pod_collect_to_vec(bytes))
}
