//! Small valid scenes for the tests of this crate.

use glam::{Affine3A, Vec2, Vec3, Vec4};

use crate::scene::*;

/// A unit square with every kind of attribute, a texture, a light and a camera.
pub(crate) fn textured_quad() -> Scene {
    let corners = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)];
    let slot = TextureSlot { texture: 0, uv_set: 0, transform: [Vec3::X, Vec3::Y] };
    let range = f32::INFINITY;
    Scene {
        meshes: vec![Mesh {
            positions: corners.map(|(x, y)| Vec3::new(x, y, 0.0)).to_vec(),
            normals: vec![Vec3::Z; 4],
            tangents: vec![Vec4::new(1.0, 0.0, 0.0, 1.0); 4],
            uvs: [corners.map(|(x, y)| Vec2::new(x, 1.0 - y)).to_vec(), Vec::new()],
            colors: vec![Vec4::ONE; 4],
            triangles: vec![[0, 1, 2], [0, 2, 3]],
            material: 0,
            motion: Vec::new(),
        }],
        instances: vec![Instance { mesh: 0, transform: Affine3A::IDENTITY }],
        materials: vec![Material {
            base_color_texture: Some(slot),
            normal_texture: Some(slot),
            ..Material::default()
        }],
        textures: vec![Texture {
            image: 0,
            wrap_u: Wrap::Repeat,
            wrap_v: Wrap::ClampToEdge,
            filter: Filter::Linear,
        }],
        images: vec![Image { width: 2, height: 1, srgb: true, texels: Texels::Rgba8((0..8).collect()) }],
        lights: vec![Light {
            intensity: Vec3::ONE,
            kind: LightKind::Point { position: Vec3::ONE, range, radius: 0.0 },
        }],
        cameras: vec![Camera {
            name: "camera".to_owned(),
            transform: Affine3A::from_translation(Vec3::new(0.5, 0.5, 2.0)),
            projection: Projection::Perspective { vertical_fov: 1.0, lens: None },
        }],
        environment: Environment::Constant(Vec3::ZERO),
        motion: Motion::default(),
    }
}
