//! A small scene with many bounces: a red box in a white room under a lamp.

use farm_core::{BlobDigest, FrameNumber, FrameRange, JobSpec, PixelFilter, RenderSettings, Resolution};
use farm_scene::{Camera, Instance, Material, Mesh, PackedScene, Projection, Scene, pack};
use glam::{Affine3A, Vec3};

/// The room, packed.
pub(crate) fn room() -> PackedScene {
    let surface = |name: &str, color: Vec3, emissive: Vec3| Material {
        name: name.into(),
        base_color: color.extend(1.0),
        metallic: 0.0,
        emissive,
        double_sided: true,
        ..Material::default()
    };
    let materials = vec![
        surface("white", Vec3::splat(0.8), Vec3::ZERO),
        surface("red", Vec3::new(0.7, 0.1, 0.1), Vec3::ZERO),
        surface("lamp", Vec3::ZERO, Vec3::splat(12.0)),
    ];
    let meshes = vec![cube(2.0, Vec3::ZERO, 0), cube(0.6, Vec3::new(0.4, -1.4, -0.5), 1), lamp(2)];
    let instances = (0..3).map(|mesh| Instance { mesh, transform: Affine3A::IDENTITY }).collect();
    let camera = Camera {
        name: "camera".into(),
        transform: Affine3A::from_translation(Vec3::new(0.0, 0.0, 1.8)),
        projection: Projection::Perspective { vertical_fov: 1.2, lens: None },
    };
    pack(&Scene { meshes, instances, materials, cameras: vec![camera], ..Scene::default() })
}

/// An axis-aligned cube of half edge `half`; six faces with flat normals.
fn cube(half: f32, centre: Vec3, material: u32) -> Mesh {
    let mut mesh = Mesh { material, ..Mesh::default() };
    for normal in [Vec3::X, Vec3::NEG_X, Vec3::Y, Vec3::NEG_Y, Vec3::Z, Vec3::NEG_Z] {
        let across = normal.any_orthonormal_vector();
        add_quad(&mut mesh, centre + normal * half, across * half, normal.cross(across) * half);
    }
    mesh
}

/// A lamp under the ceiling.
fn lamp(material: u32) -> Mesh {
    let mut mesh = Mesh { material, ..Mesh::default() };
    add_quad(&mut mesh, Vec3::new(0.0, 1.95, 0.0), Vec3::X * 0.5, Vec3::Z * 0.5);
    mesh
}

/// A parallelogram, spanned from its centre to both sides.
fn add_quad(mesh: &mut Mesh, centre: Vec3, across: Vec3, along: Vec3) {
    let first = u32::try_from(mesh.positions.len()).expect("the mesh is small");
    mesh.positions.extend([
        centre - across - along,
        centre + across - along,
        centre + across + along,
        centre - across + along,
    ]);
    mesh.normals.extend([across.cross(along).normalize(); 4]);
    mesh.triangles.extend([[first, first + 1, first + 2], [first, first + 2, first + 3]]);
}

/// A job that takes a few seconds on two cores, in tiles of `tile_size`.
pub(crate) fn picture(room: &PackedScene, tile_size: u32) -> JobSpec {
    JobSpec {
        name: "room".into(),
        scene: digest(&room.manifest.digest),
        blobs: room.blobs.iter().map(|blob| digest(&blob.digest)).collect(),
        frame_scenes: Vec::new(),
        shader_digest: farm_node::shader_digest(),
        resolution: Resolution { width: 128, height: 96 },
        frames: FrameRange { first: FrameNumber(1), last: FrameNumber(1) },
        tile_size,
        settings: RenderSettings {
            samples_per_pixel: 48,
            seed: 0,
            max_depth: 4,
            filter: PixelFilter::BlackmanHarris,
            camera: 0,
            transparent: false,
            film: Default::default(),
        },
        priority: 0,
        weight: 1,
        needs: Default::default(),
    }
}

/// A packed blob's digest in the farm's own type.
pub(crate) fn digest(hash: &blake3::Hash) -> BlobDigest {
    BlobDigest(*hash.as_bytes())
}
