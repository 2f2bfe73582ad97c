//! The canonical packing of a scene into content-addressed blobs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::blobs::{
    self, Digest, EnvironmentEntry, GEOMETRY, Geometry, IMAGE, MANIFEST, Manifest, MeshEntry, PackedImage,
    PackedInstance, PackedRadiance, PackedShape, RADIANCE, TexelFormat,
};
use crate::scene::{Environment, Image, Mesh, Scene, Shape, Texels};

/// Bytes and their BLAKE3 digest.
#[derive(Clone, Debug)]
pub struct Blob {
    /// BLAKE3 of `bytes`.
    pub digest: blake3::Hash,
    /// The content.
    pub bytes: Vec<u8>,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        Self { digest: blake3::hash(&bytes), bytes }
    }
}

/// A scene as blobs.
#[derive(Clone, Debug)]
pub struct PackedScene {
    /// Names every other blob; its digest is the scene's.
    pub manifest: Blob,
    /// Every blob that the manifest names, sorted by digest, without repetition.
    pub blobs: Vec<Blob>,
}

/// Packs a scene: one blob for each mesh, image and environment map. Equal
/// content is one blob, whatever material or texture uses it.
#[must_use]
pub fn pack(scene: &Scene) -> PackedScene {
    let mut store = Store::default();
    let meshes = scene.meshes.iter().map(|mesh| MeshEntry {
        geometry: store.add(blobs::encode(GEOMETRY, &geometry(mesh))),
        material: mesh.material,
    });
    let meshes = meshes.collect();
    let images =
        scene.images.iter().map(|image| store.add(blobs::encode(IMAGE, &packed_image(image)))).collect();
    let environment = match &scene.environment {
        Environment::Constant(sky) => EnvironmentEntry::Constant(*sky),
        Environment::Map(map) => {
            let radiance = blobs::bytes_of(&map.radiance);
            let packed = PackedRadiance { width: map.width, height: map.height, radiance };
            let radiance = store.add(blobs::encode(RADIANCE, &packed));
            EnvironmentEntry::Map { radiance, strength: map.strength, rotation: map.rotation }
        }
    };
    let instances: Vec<PackedInstance> = scene.instances.iter().map(PackedInstance::from).collect();
    let manifest = Manifest {
        meshes,
        instances: blobs::bytes_of(&instances),
        materials: scene.materials.clone(),
        textures: scene.textures.clone(),
        images,
        lights: scene.lights.clone(),
        cameras: scene.cameras.clone(),
        environment,
        motion: scene.motion.clone(),
    };
    PackedScene { manifest: Blob::new(blobs::encode(MANIFEST, &manifest)), blobs: store.finish() }
}

/// Blobs by digest.
#[derive(Default)]
struct Store(BTreeMap<Digest, Vec<u8>>);

impl Store {
    fn add(&mut self, bytes: Vec<u8>) -> Digest {
        let digest = *blake3::hash(&bytes).as_bytes();
        self.0.entry(digest).or_insert(bytes);
        digest
    }

    fn finish(self) -> Vec<Blob> {
        let blob = |(digest, bytes)| Blob { digest: blake3::Hash::from_bytes(digest), bytes };
        self.0.into_iter().map(blob).collect()
    }
}

fn geometry(mesh: &Mesh) -> Geometry<'_> {
    Geometry {
        positions: blobs::bytes_of(&mesh.positions),
        normals: blobs::bytes_of(&mesh.normals),
        tangents: blobs::bytes_of(&mesh.tangents),
        uvs_0: blobs::bytes_of(&mesh.uvs[0]),
        uvs_1: blobs::bytes_of(&mesh.uvs[1]),
        colors: blobs::bytes_of(&mesh.colors),
        triangles: blobs::bytes_of(&mesh.triangles),
        motion: mesh.motion.iter().map(packed_shape).collect(),
    }
}

fn packed_shape(shape: &Shape) -> PackedShape<'_> {
    PackedShape {
        positions: blobs::bytes_of(&shape.positions),
        normals: blobs::bytes_of(&shape.normals),
        tangents: blobs::bytes_of(&shape.tangents),
    }
}

fn packed_image(image: &Image) -> PackedImage<'_> {
    let (format, texels): (_, Cow<'_, [u8]>) = match &image.texels {
        Texels::Rgba8(values) => (TexelFormat::Rgba8, blobs::bytes_of(values)),
        Texels::Rgba16(values) => (TexelFormat::Rgba16, blobs::bytes_of(values)),
    };
    PackedImage { width: image.width, height: image.height, srgb: image.srgb, format, texels }
}
