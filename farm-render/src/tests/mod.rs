//! What the renderer must get right, on every backend: each file of tests but
//! `native`, `graphics` and `wavefront` is part of all three; `sampling` tests the
//! functions of the kernel by themselves.

use std::f32::consts::PI;
use std::ops::ControlFlow;

use farm_core::{
    BlockRange, FrameNumber, PixelFilter, Rect, RenderSettings, RenderTask, Resolution, TileImage,
};
use farm_scene::{Camera, Environment, Instance, Material, Mesh, Projection, Scene};
use glam::{Affine3A, Vec2, Vec3, Vec4};

use shaders::native::Width;

use crate::adapter::{self, Hardware};
use crate::device::{Checks, Variant, can_run};
use crate::{AdapterInfo, Renderer};

mod graphics;
mod native;
mod pages;
mod sampling;
mod wavefront;

/// The first adapter of a graphics API, if there is one that can run a variant.
fn graphics_adapter(variant: Variant) -> Option<(AdapterInfo, wgpu::Adapter)> {
    adapter::enumerate().into_iter().find_map(|found| match found.hardware {
        Hardware::Gpu(adapter) if can_run(&adapter, variant) => Some((found.info, adapter)),
        _ => None,
    })
}

/// Opens it.
fn open_graphics(checks: Checks, variant: Variant) -> Option<Renderer> {
    let (info, adapter) = graphics_adapter(variant)?;
    Some(Renderer::open_gpu(info, &adapter, checks, variant, None).expect("the adapter opens"))
}

/// The processor, with all its threads.
fn open_processor(width: Width) -> Renderer {
    Renderer::open_cpu(0, None, None, width).expect("threads start")
}

/// A whole square frame.
fn frame(edge: u32, samples_per_pixel: u32, max_depth: u32) -> RenderTask {
    RenderTask {
        resolution: Resolution { width: edge, height: edge },
        frame: FrameNumber(1),
        rect: Rect { x: 0, y: 0, width: edge, height: edge },
        range: BlockRange::root(samples_per_pixel.div_ceil(16)),
        settings: RenderSettings {
            samples_per_pixel,
            seed: 7,
            max_depth,
            filter: PixelFilter::Box,
            camera: 0,
            transparent: false,
            film: Default::default(),
        },
    }
}

fn render_on(renderer: &Renderer, scene: &Scene, task: &RenderTask) -> TileImage {
    let uploaded = renderer.load(scene).expect("the scene is small");
    renderer.render(&uploaded, task, &mut |_| ControlFlow::Continue(())).expect("rendered")
}

fn bits(image: &TileImage) -> Vec<[u32; 4]> {
    image.pixels.iter().map(|pixel| pixel.map(f32::to_bits)).collect()
}

/// Mean of the three colour channels over all pixels.
fn mean(image: &TileImage) -> f64 {
    let sum: f64 = image.pixels.iter().flat_map(|p| &p[..3]).copied().map(f64::from).sum();
    sum / (image.pixels.len() * 3) as f64
}

/// Mean colour over all pixels.
fn mean_color(image: &TileImage) -> [f64; 3] {
    [0, 1, 2].map(|c| image.pixels.iter().map(|p| f64::from(p[c])).sum::<f64>() / image.pixels.len() as f64)
}

fn pixel(image: &TileImage, x: u32, y: u32) -> [f32; 4] {
    image.pixels[(y * image.rect.width + x) as usize]
}

#[track_caller]
fn assert_near(value: f64, wanted: f64, relative: f64) {
    assert!((value / wanted - 1.0).abs() < relative, "{value} instead of {wanted} (± {relative})");
}

/// A camera at `eye` that looks at `target`.
fn camera(eye: Vec3, target: Vec3, projection: Projection) -> Camera {
    let back = (eye - target).normalize();
    let aside = if back.y.abs() > 0.99 { Vec3::NEG_Z } else { Vec3::Y };
    let right = aside.cross(back).normalize();
    let up = back.cross(right);
    let transform = Affine3A::from_cols(right.into(), up.into(), back.into(), eye.into());
    Camera { name: "camera".into(), transform, projection }
}

fn perspective(degrees: f32) -> Projection {
    Projection::Perspective { vertical_fov: degrees.to_radians(), lens: None }
}

/// A pure Lambertian material: an index of 1 leaves no specular layer.
fn lambert(albedo: f32) -> Material {
    Material {
        base_color: Vec4::new(albedo, albedo, albedo, 1.0),
        metallic: 0.0,
        ior: 1.0,
        ..Material::default()
    }
}

/// A square of edge 2 in the xy plane, facing +Z, its image upright.
fn quad(material: u32) -> Mesh {
    let corners = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)];
    Mesh {
        positions: corners.map(|(x, y)| Vec3::new(x, y, 0.0)).to_vec(),
        normals: vec![Vec3::Z; 4],
        tangents: vec![Vec4::new(1.0, 0.0, 0.0, 1.0); 4],
        uvs: [corners.map(|(x, y)| Vec2::new(x, -y) * 0.5 + 0.5).to_vec(), Vec::new()],
        colors: Vec::new(),
        triangles: vec![[0, 1, 2], [0, 2, 3]],
        material,
        motion: Vec::new(),
    }
}

/// A unit sphere of `rings` bands with smooth normals; inside out on demand.
fn sphere(material: u32, rings: u16, inward: bool) -> Mesh {
    let mut mesh = Mesh { material, ..Mesh::default() };
    let around = 2 * rings;
    for ring in 0..=rings {
        let theta = PI * f32::from(ring) / f32::from(rings);
        for step in 0..=around {
            let phi = 2.0 * PI * f32::from(step) / f32::from(around);
            let position = Vec3::new(theta.sin() * phi.sin(), theta.cos(), theta.sin() * phi.cos());
            mesh.positions.push(position);
            mesh.normals.push(if inward { -position } else { position });
            mesh.uvs[0].push(Vec2::new(phi / (2.0 * PI), theta / PI));
        }
    }
    let vertex = |ring: u16, step: u16| u32::from(ring) * u32::from(around + 1) + u32::from(step);
    for ring in 0..rings {
        for step in 0..around {
            let (a, b) = (vertex(ring, step), vertex(ring + 1, step));
            let (c, d) = (vertex(ring + 1, step + 1), vertex(ring, step + 1));
            for mut triangle in [[a, b, c], [a, c, d]] {
                if inward {
                    triangle.swap(1, 2);
                }
                mesh.triangles.push(triangle);
            }
        }
    }
    mesh
}

/// A scene of meshes, each placed once, under a constant sky.
fn scene_of(parts: Vec<(Mesh, Affine3A)>, materials: Vec<Material>, sky: Vec3, camera: Camera) -> Scene {
    let (meshes, transforms): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let instances = (0..).zip(transforms).map(|(mesh, transform)| Instance { mesh, transform }).collect();
    Scene {
        meshes,
        instances,
        materials,
        cameras: vec![camera],
        environment: Environment::Constant(sky),
        ..Scene::default()
    }
}
