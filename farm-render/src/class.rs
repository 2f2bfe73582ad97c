//! The numeric class of an adapter: which other adapters give the same bits.

use std::f32::consts::PI;
use std::ops::ControlFlow;

use farm_core::{
    BlobDigest, BlockRange, FrameNumber, PixelFilter, Rect, RenderSettings, RenderTask, Resolution,
};
use farm_scene::{
    AlphaMode, Anisotropy, Camera, Coat, Environment, EnvironmentMap, Image, Instance, Iridescence, Light,
    LightKind, Material, Mesh, Motion, Projection, Scene, Shape, Sheen, Texels, Texture, TextureSlot, Track,
    Transmission, Volume, Wrap,
};
use glam::{Affine3A, Vec2, Vec3, Vec4};

use crate::prepared::SOURCES;
use crate::{Engine, RenderError, Renderer};

/// Edge of the probe's picture in pixels, and its samples.
const PROBE_EDGE: u32 = 32;
const PROBE_SAMPLES: u32 = 16;

/// Parts of the time that its shutter is open.
const PROBE_PARTS: u8 = 3;

/// Renders the probe and hashes its bits with what the adapter says it is.
pub(crate) fn numeric_class(renderer: &Renderer) -> Result<BlobDigest, RenderError> {
    let scene = renderer.load(&probe_scene())?;
    let image = renderer.render(&scene, &probe_task(), &mut |_| ControlFlow::Continue(()))?;
    let mut hasher = blake3::Hasher::new();
    match &renderer.engine {
        Engine::Gpu(device) => {
            hasher.update(device.identity.as_bytes());
        }
        // Every processor computes alike, as long as it runs the same code.
        Engine::Cpu(_) => {
            hasher.update(&SOURCES[..]);
            hasher.update(&shaders::NATIVE_DIGEST);
        }
    }
    hasher.update(&shaders::DIGEST);
    hasher.update(bytemuck::cast_slice(&image.pixels));
    Ok(BlobDigest(*hasher.finalize().as_bytes()))
}

pub(crate) fn probe_task() -> RenderTask {
    RenderTask {
        resolution: Resolution { width: PROBE_EDGE, height: PROBE_EDGE },
        frame: FrameNumber(1),
        rect: Rect { x: 0, y: 0, width: PROBE_EDGE, height: PROBE_EDGE },
        range: BlockRange::root(PROBE_SAMPLES.div_ceil(farm_core::BASE_BLOCK_SAMPLES)),
        settings: RenderSettings {
            samples_per_pixel: PROBE_SAMPLES,
            seed: 1,
            max_depth: 8,
            filter: PixelFilter::BlackmanHarris,
            camera: 0,
            transparent: false,
            film: Default::default(),
        },
    }
}

/// A scene that takes every branch of the kernel: each kind of light, a map
/// around it, both lobes, textures of both depths, a mask, a translucent and an
/// unlit surface; a camera, a lamp, a plate and a bending one that move.
pub(crate) fn probe_scene() -> Scene {
    let slot = |texture| Some(TextureSlot { texture, uv_set: 0, transform: [Vec3::X * 2.0, Vec3::Y * 2.0] });
    let materials = vec![
        Material {
            base_color_texture: slot(0),
            metallic: 0.0,
            normal_texture: slot(1),
            ..Material::default()
        },
        Material { base_color: Vec4::new(0.9, 0.6, 0.3, 1.0), roughness: 0.3, ..Material::default() },
        Material { emissive: Vec3::new(6.0, 5.0, 4.0), double_sided: true, ..Material::default() },
        Material {
            base_color_texture: slot(0),
            alpha: AlphaMode::Mask { cutoff: 0.5 },
            double_sided: true,
            ..Material::default()
        },
        Material {
            base_color: Vec4::new(0.3, 0.5, 0.9, 0.4),
            alpha: AlphaMode::Blend,
            metallic: 0.3,
            double_sided: true,
            ..Material::default()
        },
        Material { base_color: Vec4::new(0.2, 0.8, 0.3, 1.0), unlit: true, ..Material::default() },
        Material {
            base_color: Vec4::new(0.9, 0.5, 0.4, 1.0),
            metallic: 0.5,
            roughness: 0.4,
            coat: Coat { factor: 0.7, roughness: 0.2, ..Coat::default() },
            sheen: Sheen { color: Vec3::new(0.3, 0.2, 0.6), roughness: 0.5, ..Sheen::default() },
            anisotropy: Anisotropy { strength: 0.6, rotation: 0.5, texture: None },
            iridescence: Iridescence { factor: 0.8, ..Iridescence::default() },
            ..Material::default()
        },
        Material {
            metallic: 0.0,
            roughness: 0.2,
            transmission: Transmission {
                factor: 0.6,
                diffuse: 0.5,
                volume: Some(Volume {
                    attenuation_color: Vec3::new(0.9, 0.5, 0.3),
                    attenuation_distance: Some(0.5),
                }),
                dispersion: 2.0,
                ..Transmission::default()
            },
            ..Material::default()
        },
    ];
    let mut meshes: Vec<Mesh> = (0..8).map(|material| Mesh { material, ..probe_quad() }).collect();
    meshes[6].motion = probe_shapes();
    let floor = Affine3A::from_rotation_x(-PI / 2.0) * Affine3A::from_scale(Vec3::splat(3.0));
    let upright = |mesh: u32, x: f32, turn: f32| Instance {
        mesh,
        transform: Affine3A::from_translation(Vec3::new(x, 0.8, -0.4 * x)) * Affine3A::from_rotation_y(turn),
    };
    let ceiling = Affine3A::from_translation(Vec3::Y * 2.6) * Affine3A::from_rotation_x(PI / 2.0);
    let instances = vec![
        Instance { mesh: 0, transform: floor },
        Instance { mesh: 2, transform: ceiling },
        upright(1, -0.9, 0.7),
        upright(3, 0.9, -0.6),
        upright(4, 0.3, 0.2),
        upright(5, -0.3, -1.1),
        upright(6, -1.4, 0.4),
        upright(7, 0.6, 0.9),
        upright(7, 0.7, 0.9 + PI),
    ];
    let eye = Affine3A::from_translation(Vec3::new(0.0, 1.5, 4.0)) * Affine3A::from_rotation_x(-0.2);
    Scene {
        meshes,
        motion: probe_motion([ceiling, instances[2].transform, eye]),
        instances,
        materials,
        textures: [0, 1]
            .map(|image| Texture {
                image,
                wrap_u: Wrap::Repeat,
                wrap_v: Wrap::MirroredRepeat,
                ..probe_texture()
            })
            .into(),
        images: probe_images(),
        lights: probe_lights(),
        cameras: vec![Camera {
            name: "probe".into(),
            transform: eye,
            projection: Projection::Perspective { vertical_fov: 0.8, lens: None },
        }],
        environment: Environment::Map(probe_sky()),
    }
}

/// A plate that is bent while the shutter is open.
fn probe_shapes() -> Vec<Shape> {
    let quad = probe_quad();
    let shape = |part: u8| {
        let bent = |p: &Vec3| *p + Vec3::Z * (0.2 * p.x * p.y * f32::from(part));
        let turned = Vec3::new(0.1 * f32::from(part), 0.0, 1.0).normalize();
        Shape {
            positions: quad.positions.iter().map(bent).collect(),
            normals: vec![turned; 4],
            tangents: vec![turned.cross(Vec3::NEG_Y).normalize().extend(1.0); 4],
        }
    };
    (1..=PROBE_PARTS).map(shape).collect()
}

/// How a lamp, a plate and the camera move from where they are.
fn probe_motion([lamp, plate, eye]: [Affine3A; 3]) -> Motion {
    let track = |index: u32, from: Affine3A, by: &dyn Fn(f32) -> Affine3A| {
        let transforms = (1..=PROBE_PARTS).map(|part| from * by(f32::from(part) / f32::from(PROBE_PARTS)));
        Track { index, transforms: transforms.collect() }
    };
    Motion {
        parts: PROBE_PARTS.into(),
        instances: vec![
            track(1, lamp, &|x| Affine3A::from_translation(Vec3::X * 0.7 * x)),
            track(2, plate, &|x| Affine3A::from_rotation_y(0.6 * x)),
        ],
        cameras: vec![track(0, eye, &|x| Affine3A::from_rotation_z(0.05 * x))],
    }
}

fn probe_texture() -> Texture {
    Texture { image: 0, wrap_u: Wrap::Repeat, wrap_v: Wrap::Repeat, filter: farm_scene::Filter::Linear }
}

/// A square of edge 2 in the xy plane.
fn probe_quad() -> Mesh {
    let corners = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)];
    let uv = corners.map(|(x, y)| Vec2::new(x, -y) * 0.5 + 0.5).to_vec();
    Mesh {
        positions: corners.map(|(x, y)| Vec3::new(x, y, 0.0)).to_vec(),
        normals: vec![Vec3::Z; 4],
        tangents: vec![Vec4::new(1.0, 0.0, 0.0, 1.0); 4],
        uvs: [uv, Vec::new()],
        colors: (1..5_u8).map(|i| Vec4::new(1.0, 0.2 * f32::from(i), 0.9, 1.0)).collect(),
        triangles: vec![[0, 1, 2], [0, 2, 3]],
        ..Mesh::default()
    }
}

/// A coloured image with holes, and a normal map of 16 bits.
fn probe_images() -> Vec<Image> {
    let rgba8 = (0..16_u8).flat_map(|i| [i * 16, 255 - i * 11, 40 + i * 5, if i % 3 == 0 { 0 } else { 255 }]);
    let rgba16 = (0..16_u16).flat_map(|i| [30_000 + i * 400, 36_000 - i * 300, 62_000, 65_535]);
    vec![
        Image { width: 4, height: 4, srgb: true, texels: Texels::Rgba8(rgba8.collect()) },
        Image { width: 4, height: 4, srgb: false, texels: Texels::Rgba16(rgba16.collect()) },
    ]
}

fn probe_lights() -> Vec<Light> {
    vec![
        Light {
            intensity: Vec3::new(2.0, 1.5, 1.0),
            kind: LightKind::Point { position: Vec3::new(-1.5, 1.5, 1.0), range: 9.0, radius: 0.0 },
        },
        Light {
            intensity: Vec3::new(1.0, 2.0, 3.0),
            kind: LightKind::Spot {
                position: Vec3::new(1.5, 2.0, 1.5),
                direction: Vec3::new(-0.48, -0.64, -0.6),
                range: f32::INFINITY,
                inner_cone_angle: 0.2,
                outer_cone_angle: 0.6,
                radius: 0.3,
            },
        },
        Light {
            intensity: Vec3::splat(0.5),
            kind: LightKind::Directional { direction: Vec3::new(0.36, -0.8, -0.48) },
        },
    ]
}

fn probe_sky() -> EnvironmentMap {
    let radiance =
        (0..32_u8).map(|i| Vec3::new(f32::from(i % 8) * 0.1, 0.3, f32::from(i / 8) * 0.2)).collect();
    EnvironmentMap { width: 8, height: 4, radiance, strength: 0.8, rotation: 0.5 }
}
