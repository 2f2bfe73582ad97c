//! Samples per second of the kernel on the best adapter, over scenes that are
//! made here.

use std::f32::consts::PI;
use std::ops::ControlFlow;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use farm_core::{BlockRange, FrameNumber, PixelFilter, Rect, RenderSettings, RenderTask, Resolution};
use farm_render::{OpenOptions, Renderer};
use farm_scene::{Camera, Environment, Instance, Material, Mesh, Projection, Scene};
use glam::{Affine3A, Vec3, Vec4};

const EDGE: u32 = 128;
const SAMPLES: u32 = 16;

fn task() -> RenderTask {
    RenderTask {
        resolution: Resolution { width: EDGE, height: EDGE },
        frame: FrameNumber(1),
        rect: Rect { x: 0, y: 0, width: EDGE, height: EDGE },
        range: BlockRange::root(SAMPLES.div_ceil(farm_core::BASE_BLOCK_SAMPLES)),
        settings: RenderSettings {
            samples_per_pixel: SAMPLES,
            seed: 1,
            max_depth: 4,
            filter: PixelFilter::BlackmanHarris,
            camera: 0,
            transparent: false,
            film: Default::default(),
        },
    }
}

/// A rippled square of 2·cells² triangles in the xz plane.
fn field(cells: u16, material: u32) -> Mesh {
    let mut mesh = Mesh { material, ..Mesh::default() };
    let at = |i: u16| f32::from(i) / f32::from(cells) * 2.0 - 1.0;
    for z in 0..=cells {
        for x in 0..=cells {
            let (x, z) = (at(x), at(z));
            let height = 0.04 * ((20.0 * x).sin() + (23.0 * z).cos());
            mesh.positions.push(Vec3::new(x, height, z));
            let slope = Vec3::new(-0.8 * (20.0 * x).cos(), 1.0, 0.92 * (23.0 * z).sin());
            mesh.normals.push(slope.normalize());
        }
    }
    let vertex = |x: u16, z: u16| u32::from(z) * (u32::from(cells) + 1) + u32::from(x);
    for z in 0..cells {
        for x in 0..cells {
            let (a, b, c, d) = (vertex(x, z), vertex(x, z + 1), vertex(x + 1, z + 1), vertex(x + 1, z));
            mesh.triangles.extend([[a, b, c], [a, c, d]]);
        }
    }
    mesh
}

fn scene(meshes: Vec<Mesh>, instances: Vec<Instance>, materials: Vec<Material>) -> Scene {
    let tilt = Affine3A::from_rotation_x(-PI / 6.0);
    let transform = Affine3A::from_translation(Vec3::new(0.0, 1.2, 2.0)) * tilt;
    let projection = Projection::Perspective { vertical_fov: 0.8, lens: None };
    Scene {
        meshes,
        instances,
        materials,
        cameras: vec![Camera { name: "bench".into(), transform, projection }],
        environment: Environment::Constant(Vec3::ONE),
        ..Scene::default()
    }
}

fn diffuse() -> Material {
    Material { base_color: Vec4::new(0.7, 0.7, 0.7, 1.0), metallic: 0.0, ior: 1.0, ..Material::default() }
}

/// One mesh of a million triangles.
fn one_mesh() -> Scene {
    let transform = Affine3A::IDENTITY;
    scene(vec![field(708, 0)], vec![Instance { mesh: 0, transform }], vec![diffuse()])
}

/// A million triangles as 500 instances of one mesh.
fn instances() -> Scene {
    let instances = (0..500_u16)
        .map(|i| {
            let place = Vec3::new(f32::from(i % 25) / 12.5 - 1.0, 0.0, f32::from(i / 25) / 10.0 - 1.0);
            let transform = Affine3A::from_translation(place) * Affine3A::from_scale(Vec3::splat(0.05));
            Instance { mesh: 0, transform }
        })
        .collect();
    scene(vec![field(32, 0)], instances, vec![diffuse()])
}

/// A glossy floor under a lamp: next-event estimation and both lobes.
fn lamp() -> Scene {
    let lamp = Affine3A::from_translation(Vec3::Y * 1.5)
        * Affine3A::from_rotation_x(PI)
        * Affine3A::from_scale(Vec3::splat(0.3));
    let materials = vec![
        Material { roughness: 0.4, metallic: 0.0, ..Material::default() },
        Material { emissive: Vec3::splat(20.0), ..diffuse() },
    ];
    let floor = Instance { mesh: 0, transform: Affine3A::IDENTITY };
    let mut lit =
        scene(vec![field(64, 0), field(1, 1)], vec![floor, Instance { mesh: 1, transform: lamp }], materials);
    lit.environment = Environment::Constant(Vec3::ZERO);
    lit
}

fn kernel(criterion: &mut Criterion) {
    let renderer = Renderer::open(&OpenOptions::default()).expect("the bench needs an adapter");
    let task = task();
    let mut group = criterion.benchmark_group("kernel");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Elements(task.samples()));
    for (name, scene) in [("one mesh", one_mesh()), ("instances", instances()), ("lamp", lamp())] {
        let uploaded = renderer.load(&scene).expect("it fits");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                renderer.render(&uploaded, &task, &mut |_| ControlFlow::Continue(())).expect("rendered")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, kernel);
criterion_main!(benches);
