//! Blobs to a scene again, on a machine that trusts neither the master nor the
//! artist: digests, lengths, limits and every invariant are checked.

use std::collections::btree_map::{BTreeMap, Entry};
use std::io;

use crate::blobs::{
    self, Digest, EnvironmentEntry, GEOMETRY, Geometry, IMAGE, MANIFEST, Manifest, PackedImage,
    PackedInstance, PackedRadiance, PackedShape, RADIANCE, TexelFormat,
};
use crate::error::{Fault, UnpackError};
use crate::limits::SceneLimits;
use crate::scene::{Environment, EnvironmentMap, Image, Instance, Mesh, Scene, Shape, Texels};
use crate::validate::{at_most, validate, vertices_in};

/// The digests that a manifest names, sorted, without repetition.
///
/// # Errors
/// When the bytes are not a manifest.
pub fn manifest_blobs(manifest: &[u8]) -> Result<Vec<blake3::Hash>, UnpackError> {
    let manifest = decode_manifest(manifest, &SceneLimits::default())?;
    let mut digests: Vec<Digest> = manifest.meshes.iter().map(|mesh| mesh.geometry).collect();
    digests.extend(&manifest.images);
    if let EnvironmentEntry::Map { radiance, .. } = manifest.environment {
        digests.push(radiance);
    }
    digests.sort_unstable();
    digests.dedup();
    Ok(digests.into_iter().map(blake3::Hash::from_bytes).collect())
}

fn decode_manifest<'a>(bytes: &'a [u8], limits: &SceneLimits) -> Result<Manifest<'a>, UnpackError> {
    let too_large = |problem| Fault::new("the manifest", problem);
    at_most("bytes", bytes.len() as u64, limits.manifest_bytes).map_err(too_large)?;
    blobs::decode(MANIFEST, bytes, || "the manifest".to_owned())
}

/// Rebuilds and validates a scene from untrusted blobs, within the default
/// [`SceneLimits`]. `fetch` yields a blob's bytes; their digests are checked
/// here. It is called once for each distinct blob.
///
/// # Errors
/// Names the blob, the place, the value and the limit.
pub fn unpack(
    manifest: &[u8],
    fetch: impl FnMut(&blake3::Hash) -> Result<Vec<u8>, io::Error>,
) -> Result<Scene, UnpackError> {
    unpack_within(manifest, fetch, &SceneLimits::default())
}

/// [`unpack`] within given limits.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_within(
    manifest: &[u8],
    fetch: impl FnMut(&blake3::Hash) -> Result<Vec<u8>, io::Error>,
    limits: &SceneLimits,
) -> Result<Scene, UnpackError> {
    let manifest = decode_manifest(manifest, limits)?;
    let mut fetch = Fetch { fetch, limits };
    let instances = blobs::array_of::<PackedInstance>(&manifest.instances)
        .ok_or_else(|| malformed("the manifest", "its instances end within one"))?;
    let scene = Scene {
        meshes: fetch.meshes(&manifest)?,
        instances: instances.iter().map(Instance::from).collect(),
        images: fetch.images(&manifest)?,
        environment: fetch.environment(manifest.environment)?,
        materials: manifest.materials,
        textures: manifest.textures,
        lights: manifest.lights,
        cameras: manifest.cameras,
        motion: manifest.motion,
    };
    validate(&scene, limits)?;
    Ok(scene)
}

fn malformed(what: &str, problem: &str) -> UnpackError {
    UnpackError::Malformed { what: what.to_owned(), problem: problem.to_owned() }
}

/// Fetches blobs and keeps running totals, so that a manifest that names one
/// large blob a million times is stopped before memory is.
struct Fetch<'a, F> {
    fetch: F,
    limits: &'a SceneLimits,
}

impl<F: FnMut(&blake3::Hash) -> Result<Vec<u8>, io::Error>> Fetch<'_, F> {
    fn blob(&mut self, digest: Digest) -> Result<Vec<u8>, UnpackError> {
        let digest = blake3::Hash::from_bytes(digest);
        let bytes = (self.fetch)(&digest).map_err(|source| UnpackError::Fetch { digest, source })?;
        let found = blake3::hash(&bytes);
        if found != digest {
            return Err(UnpackError::DigestMismatch { expected: digest, found });
        }
        Ok(bytes)
    }

    fn meshes(&mut self, manifest: &Manifest<'_>) -> Result<Vec<Mesh>, UnpackError> {
        let limits = self.limits;
        let (mut triangles, mut vertices) = (0, 0);
        let mut first_of = BTreeMap::new();
        let mut meshes: Vec<Mesh> = Vec::new();
        for (i, entry) in manifest.meshes.iter().enumerate() {
            let mut mesh = match first_of.entry(entry.geometry) {
                Entry::Occupied(first) => {
                    let first: &Mesh = &meshes[*first.get()];
                    check_totals(limits, triangles, vertices, first, i)?;
                    first.clone()
                }
                Entry::Vacant(slot) => {
                    slot.insert(i);
                    geometry(&self.blob(entry.geometry)?, entry.geometry)?
                }
            };
            check_totals(limits, triangles, vertices, &mesh, i)?;
            triangles += mesh.triangles.len() as u64;
            vertices += vertices_in(&mesh);
            mesh.material = entry.material;
            meshes.push(mesh);
        }
        Ok(meshes)
    }

    fn images(&mut self, manifest: &Manifest<'_>) -> Result<Vec<Image>, UnpackError> {
        let mut texels = 0;
        let mut first_of = BTreeMap::new();
        let mut images: Vec<Image> = Vec::new();
        for (i, &digest) in manifest.images.iter().enumerate() {
            let known = match first_of.entry(digest) {
                Entry::Occupied(first) => Some(*first.get()),
                Entry::Vacant(slot) => {
                    slot.insert(i);
                    None
                }
            };
            let fresh = known.is_none().then(|| image(&self.blob(digest)?, digest)).transpose()?;
            let image =
                known.map(|first| &images[first]).or(fresh.as_ref()).expect("one of the two is there");
            texels += u64::from(image.width) * u64::from(image.height);
            at_most("texels in all images", texels, self.limits.texels)
                .map_err(|problem| Fault::new(format!("images[{i}]"), problem))?;
            let image = image.clone();
            images.push(fresh.unwrap_or(image));
        }
        Ok(images)
    }

    fn environment(&mut self, entry: EnvironmentEntry) -> Result<Environment, UnpackError> {
        match entry {
            EnvironmentEntry::Constant(sky) => Ok(Environment::Constant(sky)),
            EnvironmentEntry::Map { radiance, strength, rotation } => {
                let bytes = self.blob(radiance)?;
                let what = name_of(radiance);
                let packed: PackedRadiance<'_> = blobs::decode(RADIANCE, &bytes, || what.clone())?;
                let PackedRadiance { width, height, radiance } = packed;
                let radiance =
                    blobs::array_of(&radiance).ok_or_else(|| malformed(&what, "it ends within a texel"))?;
                Ok(Environment::Map(EnvironmentMap { width, height, radiance, strength, rotation }))
            }
        }
    }
}

fn check_totals(
    limits: &SceneLimits,
    triangles: u64,
    vertices: u64,
    mesh: &Mesh,
    index: usize,
) -> Result<(), Fault> {
    at_most("stored triangles", triangles + mesh.triangles.len() as u64, limits.triangles)
        .and_then(|()| at_most("stored vertices", vertices + vertices_in(mesh), limits.vertices))
        .map_err(|problem| Fault::new(format!("meshes[{index}]"), problem))
}

fn name_of(digest: Digest) -> String {
    format!("blob {}", blake3::Hash::from_bytes(digest))
}

fn geometry(bytes: &[u8], digest: Digest) -> Result<Mesh, UnpackError> {
    let what = name_of(digest);
    let packed: Geometry<'_> = blobs::decode(GEOMETRY, bytes, || what.clone())?;
    let cut = || malformed(&what, "an array ends within an element");
    Ok(Mesh {
        positions: blobs::array_of(&packed.positions).ok_or_else(cut)?,
        normals: blobs::array_of(&packed.normals).ok_or_else(cut)?,
        tangents: blobs::array_of(&packed.tangents).ok_or_else(cut)?,
        uvs: [
            blobs::array_of(&packed.uvs_0).ok_or_else(cut)?,
            blobs::array_of(&packed.uvs_1).ok_or_else(cut)?,
        ],
        colors: blobs::array_of(&packed.colors).ok_or_else(cut)?,
        triangles: blobs::array_of(&packed.triangles).ok_or_else(cut)?,
        material: 0,
        motion: packed.motion.iter().map(|packed| shape(packed).ok_or_else(cut)).collect::<Result<_, _>>()?,
    })
}

/// The shape of a mesh; `None` where an array ends within an element.
fn shape(packed: &PackedShape<'_>) -> Option<Shape> {
    Some(Shape {
        positions: blobs::array_of(&packed.positions)?,
        normals: blobs::array_of(&packed.normals)?,
        tangents: blobs::array_of(&packed.tangents)?,
    })
}

fn image(bytes: &[u8], digest: Digest) -> Result<Image, UnpackError> {
    let what = name_of(digest);
    let packed: PackedImage<'_> = blobs::decode(IMAGE, bytes, || what.clone())?;
    let texels = match packed.format {
        TexelFormat::Rgba8 => Texels::Rgba8(packed.texels.into_owned()),
        TexelFormat::Rgba16 => {
            let values = blobs::array_of(&packed.texels);
            Texels::Rgba16(values.ok_or_else(|| malformed(&what, "it ends within a texel"))?)
        }
    };
    Ok(Image { width: packed.width, height: packed.height, srgb: packed.srgb, texels })
}
