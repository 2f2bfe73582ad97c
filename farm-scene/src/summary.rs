//! What a scene holds, for people.

use serde::Serialize;

use crate::auto_camera;
use crate::load::Loaded;
use crate::scene::{Environment, LightKind, Projection, Scene, Texels};

/// What a scene holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SceneSummary {
    /// Stored meshes.
    pub meshes: u64,
    /// Meshes placed in the world.
    pub instances: u64,
    /// Triangles stored.
    pub triangles: u64,
    /// Triangles placed in the world.
    pub instanced_triangles: u64,
    /// Triangles in the world that emit light.
    pub emissive_triangles: u64,
    /// Vertices stored.
    pub vertices: u64,
    /// Bytes of all meshes.
    pub mesh_bytes: u64,
    /// Materials, by name.
    pub materials: Vec<String>,
    /// Textures.
    pub textures: u64,
    /// Decoded images.
    pub images: Vec<ImageSummary>,
    /// Lights by kind.
    pub lights: LightSummary,
    /// Cameras.
    pub cameras: Vec<CameraSummary>,
    /// What surrounds the scene.
    pub environment: EnvironmentSummary,
    /// The lowest and the highest corner of the box around the world, in metres.
    pub bounds: [[f32; 3]; 2],
    /// The glTF extensions that the file uses.
    pub extensions: Vec<String>,
}

/// What an image holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImageSummary {
    /// Width in texels.
    pub width: u32,
    /// Height in texels.
    pub height: u32,
    /// Bits of a channel.
    pub bits: u32,
    /// Whether the colours are sRGB-encoded.
    pub srgb: bool,
    /// Bytes of the texels.
    pub bytes: u64,
}

/// Numbers of punctual lights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LightSummary {
    /// Point lights.
    pub point: u64,
    /// Spot lights.
    pub spot: u64,
    /// Directional lights.
    pub directional: u64,
}

/// A camera.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CameraSummary {
    /// Its name, for `--camera`.
    pub name: String,
    /// `perspective` or `orthographic`.
    pub projection: &'static str,
    /// Where it stands, in metres.
    pub position: [f32; 3],
}

/// What surrounds the scene.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum EnvironmentSummary {
    /// The same radiance from everywhere.
    Constant {
        /// The radiance.
        radiance: [f32; 3],
    },
    /// An environment map.
    Map {
        /// Width in texels.
        width: u32,
        /// Height in texels.
        height: u32,
        /// Factor on its radiance.
        strength: f32,
        /// Turn about +Y in radians.
        rotation: f32,
    },
}

impl Scene {
    /// Triangles in the world.
    #[must_use]
    pub fn instanced_triangles(&self) -> u64 {
        self.instances.iter().map(|i| self.meshes[i.mesh as usize].triangles.len() as u64).sum()
    }

    /// Triangles in the world whose material emits light.
    #[must_use]
    pub fn emissive_triangles(&self) -> u64 {
        let mesh_of = |instance: &crate::Instance| &self.meshes[instance.mesh as usize];
        let emits = |mesh: &&crate::Mesh| self.materials[mesh.material as usize].is_emissive();
        self.instances.iter().map(mesh_of).filter(emits).map(|mesh| mesh.triangles.len() as u64).sum()
    }
}

impl Loaded {
    /// What the scene holds.
    #[must_use]
    pub fn summary(&self) -> SceneSummary {
        SceneSummary { extensions: self.extensions.clone(), ..SceneSummary::new(&self.scene) }
    }
}

impl SceneSummary {
    /// What a validated scene holds; the extensions of its file are left empty.
    #[must_use]
    pub fn new(scene: &Scene) -> Self {
        let (low, high) = auto_camera::world_bounds(scene);
        Self {
            meshes: scene.meshes.len() as u64,
            instances: scene.instances.len() as u64,
            triangles: scene.meshes.iter().map(|mesh| mesh.triangles.len() as u64).sum(),
            instanced_triangles: scene.instanced_triangles(),
            emissive_triangles: scene.emissive_triangles(),
            vertices: scene.meshes.iter().map(|mesh| mesh.positions.len() as u64).sum(),
            mesh_bytes: scene.meshes.iter().map(mesh_bytes).sum(),
            materials: scene.materials.iter().map(|material| material.name.clone()).collect(),
            textures: scene.textures.len() as u64,
            images: scene.images.iter().map(image_summary).collect(),
            lights: light_summary(scene),
            cameras: scene.cameras.iter().map(camera_summary).collect(),
            environment: environment_summary(&scene.environment),
            bounds: [low.to_array(), high.to_array()],
            extensions: Vec::new(),
        }
    }
}

fn mesh_bytes(mesh: &crate::Mesh) -> u64 {
    let bytes = size_of_val(&*mesh.positions)
        + size_of_val(&*mesh.normals)
        + size_of_val(&*mesh.tangents)
        + size_of_val(&*mesh.uvs[0])
        + size_of_val(&*mesh.uvs[1])
        + size_of_val(&*mesh.colors)
        + size_of_val(&*mesh.triangles);
    let shape = |shape: &crate::Shape| {
        size_of_val(&*shape.positions) + size_of_val(&*shape.normals) + size_of_val(&*shape.tangents)
    };
    (bytes + mesh.motion.iter().map(shape).sum::<usize>()) as u64
}

fn image_summary(image: &crate::Image) -> ImageSummary {
    let (bits, bytes) = match &image.texels {
        Texels::Rgba8(values) => (8, size_of_val(&**values)),
        Texels::Rgba16(values) => (16, size_of_val(&**values)),
    };
    ImageSummary { width: image.width, height: image.height, bits, srgb: image.srgb, bytes: bytes as u64 }
}

fn light_summary(scene: &Scene) -> LightSummary {
    let mut summary = LightSummary::default();
    for light in &scene.lights {
        match light.kind {
            LightKind::Point { .. } => summary.point += 1,
            LightKind::Spot { .. } => summary.spot += 1,
            LightKind::Directional { .. } => summary.directional += 1,
        }
    }
    summary
}

fn camera_summary(camera: &crate::Camera) -> CameraSummary {
    CameraSummary {
        name: camera.name.clone(),
        projection: match camera.projection {
            Projection::Perspective { .. } => "perspective",
            Projection::Orthographic { .. } => "orthographic",
        },
        position: camera.transform.translation.to_array(),
    }
}

fn environment_summary(environment: &Environment) -> EnvironmentSummary {
    match environment {
        Environment::Constant(sky) => EnvironmentSummary::Constant { radiance: sky.to_array() },
        Environment::Map(map) => EnvironmentSummary::Map {
            width: map.width,
            height: map.height,
            strength: map.strength,
            rotation: map.rotation,
        },
    }
}
