//! Scenes in the form that a kind of adapter reads, and how they are kept on
//! disk.

use std::io::{self, Read as _, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytemuck::Zeroable;
use farm_core::BlobDigest;
use farm_scene::{Camera, Scene};

use crate::cpu::{self, CpuScene, WideTree};
use crate::disk_cache::{DiskCache, Input, Key, invalid, write_array};
use crate::layout::Params;
use crate::memory;
use crate::pack::{self, PackedScene};
use crate::{Engine, RenderError};

/// Hash of this crate's sources: preparing depends on most of them.
pub(crate) const SOURCES: &[u8; 32] = include_bytes!(concat!(env!("OUT_DIR"), "/sources.digest"));

/// What is prepared faster than this is not worth its place on the disk.
const WORTH_KEEPING: Duration = Duration::from_millis(100);

/// A scene in the form that an adapter reads, trees and all. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PreparedScene {
    pub(crate) form: Arc<Form>,
    pub(crate) cameras: Arc<[Camera]>,
    pub(crate) times: PreparationTimes,
}

/// How long it took to prepare a scene, or to read it as it had been prepared.
#[derive(Clone, Copy, Debug, Default)]
pub struct PreparationTimes {
    /// Packing its arrays, without the trees.
    pub pack: Duration,
    /// Building the trees.
    pub trees: Duration,
    /// Reading it from the disk instead.
    pub recall: Duration,
}

/// The forms of a scene.
#[derive(Debug)]
pub(crate) enum Form {
    /// For the kernel on a graphics API.
    Gpu(PackedScene),
    /// For its native version.
    Cpu(CpuScene),
}

impl PreparedScene {
    /// Packs a scene and builds its trees.
    pub(crate) fn new(engine: &Engine, scene: &Scene) -> Result<Self, RenderError> {
        let began = Instant::now();
        memory::check("the prepared scene", memory::needed_to_prepare(scene))?;
        let form = match engine {
            Engine::Gpu(_) => Form::Gpu(pack::pack(scene)?),
            Engine::Cpu(cpu) => cpu.install(|| pack::pack(scene).and_then(CpuScene::new)).map(Form::Cpu)?,
        };
        let trees = form.arrays().tree_time;
        let times = PreparationTimes { pack: began.elapsed() - trees, trees, ..PreparationTimes::default() };
        Ok(Self { form: Arc::new(form), cameras: scene.cameras.as_slice().into(), times })
    }

    /// How long it took to come by it.
    #[must_use]
    pub fn times(&self) -> PreparationTimes {
        self.times
    }

    /// What holds for every task.
    pub(crate) fn params(&self) -> Params {
        self.form.arrays().params
    }

    /// Reads a scene that was kept, if it was.
    pub(crate) fn recall(cache: &DiskCache, engine: &Engine, scene: BlobDigest) -> Option<Self> {
        let began = Instant::now();
        let read_gpu = |input: &mut Input| {
            let cameras = read_cameras(input)?;
            Ok((Form::Gpu(read_arrays(input)?), cameras))
        };
        let read_cpu = |input: &mut Input| {
            let cameras = read_cameras(input)?;
            let (arrays, tree) = (read_arrays(input)?, WideTree::read(input)?);
            Ok((Form::Cpu(CpuScene::with_tree(arrays, tree)), cameras))
        };
        let key = key(engine, scene);
        let (form, cameras) = match engine {
            Engine::Gpu(_) => cache.read(key, read_gpu)?,
            // What its threads read, they also write to memory of theirs.
            Engine::Cpu(cpu) => cpu.install(|| cache.read(key, read_cpu))?,
        };
        let times = PreparationTimes { recall: began.elapsed(), ..PreparationTimes::default() };
        tracing::debug!(scene = %scene, ?times, "scene recalled");
        Some(Self { form: Arc::new(form), cameras: cameras.into(), times })
    }

    /// Keeps a scene whose digest is `scene` on disk, unless it is made in no
    /// time.
    pub(crate) fn keep(&self, cache: &Arc<DiskCache>, engine: &Engine, scene: BlobDigest) {
        if self.times.pack + self.times.trees >= WORTH_KEEPING {
            self.keep_anyway(cache, engine, scene);
        }
    }

    /// [`PreparedScene::keep`], however fast it is made.
    pub(crate) fn keep_anyway(&self, cache: &Arc<DiskCache>, engine: &Engine, scene: BlobDigest) {
        let prepared = self.clone();
        cache.write_aside(key(engine, scene), move |output| prepared.write(output));
    }

    fn write(&self, output: &mut dyn Write) -> io::Result<()> {
        write_cameras(output, &self.cameras)?;
        write_arrays(output, self.form.arrays())?;
        match &*self.form {
            Form::Gpu(_) => Ok(()),
            Form::Cpu(scene) => scene.tree().write(output),
        }
    }
}

impl Form {
    fn arrays(&self) -> &PackedScene {
        match self {
            Self::Gpu(packed) => packed,
            Self::Cpu(scene) => scene.arrays(),
        }
    }
}

/// Where a scene is kept: all that its arrays depend on is hashed.
fn key(engine: &Engine, scene: BlobDigest) -> Key {
    let form = match engine {
        Engine::Gpu(_) => "gpu",
        Engine::Cpu(_) => cpu::form(),
    };
    let arch = std::env::consts::ARCH;
    Key::of("scene", &[SOURCES, &shaders::DIGEST, form.as_bytes(), arch.as_bytes(), &scene.0])
}

fn write_cameras(output: &mut dyn Write, cameras: &[Camera]) -> io::Result<()> {
    let bytes = postcard::to_stdvec(cameras).map_err(io::Error::other)?;
    write_array(output, &bytes)
}

fn read_cameras(input: &mut Input) -> io::Result<Vec<Camera>> {
    let bytes: Vec<u8> = input.array()?;
    postcard::from_bytes(&bytes).map_err(|_| invalid("its cameras cannot be read"))
}

fn write_arrays(output: &mut dyn Write, packed: &PackedScene) -> io::Result<()> {
    let PackedScene {
        nodes,
        triangles,
        attributes,
        instances,
        materials,
        lights,
        texels,
        params,
        tree_time: _,
    } = packed;
    output.write_all(bytemuck::bytes_of(params))?;
    write_array(output, nodes)?;
    write_array(output, triangles)?;
    write_array(output, attributes)?;
    write_array(output, instances)?;
    write_array(output, materials)?;
    write_array(output, lights)?;
    write_array(output, texels)
}

fn read_arrays(input: &mut Input) -> io::Result<PackedScene> {
    let mut params = Params::zeroed();
    input.read_exact(bytemuck::bytes_of_mut(&mut params))?;
    Ok(PackedScene {
        nodes: input.array()?,
        triangles: input.array()?,
        attributes: input.array()?,
        instances: input.array()?,
        materials: input.array()?,
        lights: input.array()?,
        texels: input.array()?,
        params,
        tree_time: Duration::ZERO,
    })
}
