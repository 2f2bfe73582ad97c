//! The scene as the renderer sees it: flat, indexed, validated.
//!
//! Every index is in range, every number finite, every mesh non-empty; `load`
//! and `unpack` uphold it, and nothing else makes a `Scene` from outside data.
//! Lengths are metres, angles radians, +Y is up.

use glam::{Affine3A, Vec2, Vec3, Vec4};
use serde::{Deserialize, Serialize};

use crate::layers::{Anisotropy, Coat, Iridescence, Sheen, Transmission};

/// A validated scene.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene {
    /// Triangle meshes, each of one material.
    pub meshes: Vec<Mesh>,
    /// Meshes placed in the world.
    pub instances: Vec<Instance>,
    /// Materials; meshes name them by index.
    pub materials: Vec<Material>,
    /// Textures: an image and how it is sampled.
    pub textures: Vec<Texture>,
    /// Decoded images.
    pub images: Vec<Image>,
    /// Point, spot and directional lights, in world space.
    pub lights: Vec<Light>,
    /// Cameras, in world space; at least one.
    pub cameras: Vec<Camera>,
    /// What surrounds the scene.
    pub environment: Environment,
    /// How it moves while the shutter is open.
    pub motion: Motion,
}

/// How a scene moves while the shutter is open. That time is cut into equal parts;
/// what moves is known at the ends of all of them, and goes evenly along straight
/// lines in between. The scene itself is how things are when the shutter opens.
///
/// What meshes do is in [`Mesh::motion`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Motion {
    /// Parts of the shutter's time; 0 where nothing moves.
    pub parts: u32,
    /// Instances that move, in the order of their indices.
    pub instances: Vec<Track>,
    /// Cameras that move, in the order of their indices.
    pub cameras: Vec<Track>,
}

/// Where something that moves is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// Its index.
    pub index: u32,
    /// Its transform at the end of each part of the shutter's time, as those of
    /// what is still.
    pub transforms: Vec<Affine3A>,
}

impl Motion {
    /// The transforms of an instance at the ends of the parts, where it moves.
    #[must_use]
    pub fn of_instance(&self, index: usize) -> Option<&[Affine3A]> {
        track(&self.instances, index)
    }

    /// The transforms of a camera at the ends of the parts, where it moves.
    #[must_use]
    pub fn of_camera(&self, index: usize) -> Option<&[Affine3A]> {
        track(&self.cameras, index)
    }
}

fn track(tracks: &[Track], index: usize) -> Option<&[Affine3A]> {
    let found = tracks.binary_search_by_key(&index, |track| track.index as usize).ok()?;
    Some(&tracks[found].transforms)
}

/// A triangle mesh in its own space. Attributes are empty or one per vertex;
/// those that the material's textures need (`uvs`, `tangents`) are there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mesh {
    /// Vertex positions.
    pub positions: Vec<Vec3>,
    /// Unit shading normals, one per vertex; empty where each triangle shows its
    /// own, as glTF has it for meshes without normals.
    pub normals: Vec<Vec3>,
    /// Unit tangents, `w` = ±1 the bitangent's sign; present where the material
    /// has a normal map.
    pub tangents: Vec<Vec4>,
    /// Texture coordinate sets 0 and 1, with (0, 0) the image's top left.
    pub uvs: [Vec<Vec2>; 2],
    /// Linear vertex colours, 0 to 1, multiplied onto the base colour.
    pub colors: Vec<Vec4>,
    /// Triangles, counter-clockwise seen from the front.
    pub triangles: Vec<[u32; 3]>,
    /// Index of the material.
    pub material: u32,
    /// How it is deformed while the shutter is open: its shape at the end of each
    /// part of that time ([`Motion`]); empty where it keeps its shape.
    pub motion: Vec<Shape>,
}

/// The shape of a mesh that is deformed, in the attributes that the mesh has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// Vertex positions.
    pub positions: Vec<Vec3>,
    /// Unit shading normals.
    pub normals: Vec<Vec3>,
    /// Unit tangents, with the bitangent's sign.
    pub tangents: Vec<Vec4>,
}

impl Mesh {
    /// The lowest and the highest corner of the box around the positions, when the
    /// shutter opens.
    #[must_use]
    pub fn bounds(&self) -> (Vec3, Vec3) {
        bounds_of(&self.positions)
    }

    /// The same for all of the shutter's time.
    #[must_use]
    pub fn moving_bounds(&self) -> (Vec3, Vec3) {
        let shapes = self.motion.iter().map(|shape| bounds_of(&shape.positions));
        shapes.fold(self.bounds(), |(low, high), (l, h)| (low.min(l), high.max(h)))
    }
}

fn bounds_of(positions: &[Vec3]) -> (Vec3, Vec3) {
    let empty = (Vec3::INFINITY, Vec3::NEG_INFINITY);
    positions.iter().fold(empty, |(low, high), &p| (low.min(p), high.max(p)))
}

/// A mesh placed in the world.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Index of the mesh.
    pub mesh: u32,
    /// From mesh space to world space; invertible, and of positive
    /// determinant: where the file mirrors a mesh, `load` stores the mirrored
    /// mesh, so that front faces and tangents need no special case.
    pub transform: Affine3A,
}

/// A reference to a texture with its coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextureSlot {
    /// Index of the texture.
    pub texture: u32,
    /// Texture coordinate set, 0 or 1.
    pub uv_set: u32,
    /// Rows of the affine map of (u, v, 1), from `KHR_texture_transform`.
    pub transform: [Vec3; 2],
}

/// How alpha is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum AlphaMode {
    /// Alpha is ignored.
    #[default]
    Opaque,
    /// Alpha below the cutoff is a hole.
    Mask {
        /// The cutoff.
        cutoff: f32,
    },
    /// Alpha is coverage.
    Blend,
}

/// A metallic-roughness material (glTF 2.0, section 3.9).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Material {
    /// Its name in the file, for people.
    pub name: String,
    /// Linear base colour and alpha.
    pub base_color: Vec4,
    /// sRGB texture multiplied onto `base_color`.
    pub base_color_texture: Option<TextureSlot>,
    /// 0 dielectric to 1 metal.
    pub metallic: f32,
    /// Perceptual roughness; α = roughness².
    pub roughness: f32,
    /// Linear texture: green multiplies roughness, blue metalness.
    pub metallic_roughness_texture: Option<TextureSlot>,
    /// Linear tangent-space normal map.
    pub normal_texture: Option<TextureSlot>,
    /// Scales the map's x and y.
    pub normal_scale: f32,
    /// Emitted radiance, strength included.
    pub emissive: Vec3,
    /// sRGB texture multiplied onto `emissive`.
    pub emissive_texture: Option<TextureSlot>,
    /// Index of refraction of the dielectric part.
    pub ior: f32,
    /// `KHR_materials_specular`: scales what the dielectric part reflects.
    pub specular: f32,
    /// Linear texture whose alpha is multiplied onto `specular`.
    pub specular_texture: Option<TextureSlot>,
    /// Linear colour of what it reflects at normal incidence; may exceed 1.
    pub specular_color: Vec3,
    /// sRGB texture multiplied onto `specular_color`.
    pub specular_color_texture: Option<TextureSlot>,
    /// How alpha is used.
    pub alpha: AlphaMode,
    /// Whether back faces shade too; otherwise they are invisible to rays.
    pub double_sided: bool,
    /// `KHR_materials_unlit`: the base colour is emitted as seen and nothing
    /// is reflected.
    pub unlit: bool,
    /// A clear coat.
    pub coat: Coat,
    /// Back-scattering of cloth.
    pub sheen: Sheen,
    /// Roughness by direction.
    pub anisotropy: Anisotropy,
    /// A thin film.
    pub iridescence: Iridescence,
    /// Light that goes through.
    pub transmission: Transmission,
}

impl Default for Material {
    fn default() -> Self {
        Self {
            name: String::new(),
            base_color: Vec4::ONE,
            base_color_texture: None,
            metallic: 1.0,
            roughness: 1.0,
            metallic_roughness_texture: None,
            normal_texture: None,
            normal_scale: 1.0,
            emissive: Vec3::ZERO,
            emissive_texture: None,
            ior: 1.5,
            specular: 1.0,
            specular_texture: None,
            specular_color: Vec3::ONE,
            specular_color_texture: None,
            alpha: AlphaMode::Opaque,
            double_sided: false,
            unlit: false,
            coat: Coat::default(),
            sheen: Sheen::default(),
            anisotropy: Anisotropy::default(),
            iridescence: Iridescence::default(),
            transmission: Transmission::default(),
        }
    }
}

impl Material {
    /// Whether surfaces of this material light others.
    #[must_use]
    pub fn is_emissive(&self) -> bool {
        self.emissive.max_element() > 0.0 && !self.unlit
    }

    /// Whether light goes through and its surface encloses a volume.
    #[must_use]
    pub fn is_solid(&self) -> bool {
        let transmission = &self.transmission;
        transmission.volume.is_some() && (transmission.factor > 0.0 || transmission.diffuse > 0.0)
    }

    /// Number of texture references that a material has room for.
    pub const SLOTS: usize = 17;

    /// The texture references, each in its place.
    #[must_use]
    pub fn slots_in_order(&self) -> [Option<&TextureSlot>; Self::SLOTS] {
        [
            &self.base_color_texture,
            &self.metallic_roughness_texture,
            &self.normal_texture,
            &self.emissive_texture,
            &self.specular_texture,
            &self.specular_color_texture,
            &self.coat.texture,
            &self.coat.roughness_texture,
            &self.coat.normal_texture,
            &self.sheen.color_texture,
            &self.sheen.roughness_texture,
            &self.anisotropy.texture,
            &self.iridescence.texture,
            &self.iridescence.thickness_texture,
            &self.transmission.texture,
            &self.transmission.diffuse_texture,
            &self.transmission.diffuse_color_texture,
        ]
        .map(Option::as_ref)
    }

    /// The texture references in use.
    pub fn slots(&self) -> impl Iterator<Item = &TextureSlot> {
        self.slots_in_order().into_iter().flatten()
    }

    /// The texture whose coordinates the tangents follow; `None` where nothing
    /// asks for tangents.
    #[must_use]
    pub fn tangent_slot(&self) -> Option<&TextureSlot> {
        let maps = [&self.normal_texture, &self.coat.normal_texture, &self.anisotropy.texture];
        maps.into_iter().flatten().next()
    }

    /// Whether the material asks for tangents.
    #[must_use]
    pub fn needs_tangents(&self) -> bool {
        self.tangent_slot().is_some() || self.anisotropy.strength > 0.0
    }
}

/// How texture coordinates outside 0..1 are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wrap {
    /// Tiled.
    #[default]
    Repeat,
    /// Tiled, every other tile mirrored.
    MirroredRepeat,
    /// Held at the edge.
    ClampToEdge,
}

/// How texels are interpolated; minification filters play no part in a path
/// tracer, where samples average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filter {
    /// The nearest texel.
    Nearest,
    /// Bilinear.
    #[default]
    Linear,
}

/// An image and how it is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Texture {
    /// Index of the image.
    pub image: u32,
    /// Horizontal wrap.
    pub wrap_u: Wrap,
    /// Vertical wrap.
    pub wrap_v: Wrap,
    /// Magnification filter.
    pub filter: Filter,
}

/// Stored texels. An image is decoded once, on the artist's machine, so that
/// no two nodes can decode it differently.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Width in texels, at least 1.
    pub width: u32,
    /// Height in texels, at least 1.
    pub height: u32,
    /// Whether the colour channels are sRGB-encoded; alpha never is.
    pub srgb: bool,
    /// The texels, row by row from the top.
    pub texels: Texels,
}

/// Texels of one of the stored formats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Texels {
    /// Four bytes a texel: red, green, blue, alpha.
    Rgba8(Vec<u8>),
    /// Four 16-bit values a texel: red, green, blue, alpha; linear only.
    Rgba16(Vec<u16>),
}

/// A punctual light (`KHR_lights_punctual`) in world space.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Light {
    /// Linear colour times intensity: candela for point and spot lights, lux
    /// for directional ones.
    pub intensity: Vec3,
    /// Where and how it shines.
    pub kind: LightKind,
}

/// The shape of a punctual light's emission.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum LightKind {
    /// In all directions from a point, or from a sphere around it.
    Point {
        /// World position.
        position: Vec3,
        /// Cut-off distance of the extension; infinite without one.
        range: f32,
        /// Radius of the sphere, 0 for a point; an option of ours.
        radius: f32,
    },
    /// In a cone from a point, or from a sphere around it.
    Spot {
        /// World position.
        position: Vec3,
        /// Unit axis, away from the light.
        direction: Vec3,
        /// Cut-off distance; infinite without one.
        range: f32,
        /// Angle from the axis where the falloff begins.
        inner_cone_angle: f32,
        /// Angle from the axis where it ends.
        outer_cone_angle: f32,
        /// Radius of the sphere, 0 for a point.
        radius: f32,
    },
    /// From infinitely far away.
    Directional {
        /// Unit direction in which the light travels.
        direction: Vec3,
    },
}

/// A camera in world space; it looks along its local −Z, +Y up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Camera {
    /// Its name in the file, for `--camera`.
    pub name: String,
    /// From camera space to world space, without scale.
    pub transform: Affine3A,
    /// How it projects.
    pub projection: Projection,
}

/// A camera's projection.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Projection {
    /// Perspective; the horizontal field of view follows from the frame's shape.
    Perspective {
        /// Vertical field of view.
        vertical_fov: f32,
        /// A lens that blurs what is out of focus; `None` for a pinhole.
        lens: Option<Lens>,
    },
    /// Orthographic; the half width follows from the frame's shape.
    Orthographic {
        /// Half the height of the view volume.
        half_height: f32,
    },
}

/// A thin lens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lens {
    /// The f-number: focal length over the aperture's diameter.
    pub f_number: f32,
    /// Distance along the view of the plane that is sharp.
    pub focus_distance: f32,
}

impl Lens {
    /// Height of the sensor that an f-number is meant for, as glTF names none: that
    /// of a 35 mm film frame, lying.
    pub const SENSOR_HEIGHT: f32 = 0.024;

    /// Radius of the aperture, the focal length being that with which the sensor
    /// sees the field of view at infinity.
    #[must_use]
    pub fn radius(&self, vertical_fov: f32) -> f32 {
        let half_angle = f64::from(vertical_fov) * 0.5;
        let focal_length = f64::from(Self::SENSOR_HEIGHT) * 0.5 / half_angle.tan();
        #[expect(clippy::cast_possible_truncation, reason = "rounded once")]
        let radius = (focal_length / (2.0 * f64::from(self.f_number))) as f32;
        radius
    }
}

/// What surrounds the scene.
#[derive(Clone, Debug, PartialEq)]
pub enum Environment {
    /// The same radiance from everywhere.
    Constant(Vec3),
    /// An equirectangular map: its centre looks along −Z, +Y is up, u grows to
    /// the right.
    Map(EnvironmentMap),
}

impl Default for Environment {
    fn default() -> Self {
        Self::Constant(Vec3::ZERO)
    }
}

/// An equirectangular environment map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentMap {
    /// Width in texels, at least 1.
    pub width: u32,
    /// Height in texels, at least 1.
    pub height: u32,
    /// Linear radiance, finite and non-negative, row by row from the top.
    pub radiance: Vec<Vec3>,
    /// Factor on all radiance.
    pub strength: f32,
    /// Turn about +Y, counter-clockwise seen from above.
    pub rotation: f32,
}
