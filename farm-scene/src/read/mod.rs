//! glTF 2.0 to [`Scene`], in the order of the file: container, JSON, buffers,
//! nodes; meshes, materials and images as the nodes use them.
//!
//! Nothing here trusts an index, a count, an offset or a number of the file.

mod accessors;
mod animations;
mod buffers;
mod cameras;
mod container;
mod curves;
mod draco;
mod extensions;
mod files;
mod images;
mod ktx2;
mod layers;
mod lights;
mod materials;
mod meshes;
mod meshopt;
mod morphs;
mod motion;
mod nodes;
mod skins;
mod tangents;
mod variants;
mod vertices;

use std::borrow::Cow;

use gltf::json;

use crate::error::{Fault, LoadError, Problem};
use crate::limits::SceneLimits;
use crate::load::{AnimationSummary, LoadOptions, Shutter, Warnings};
use crate::scene::Scene;

use accessors::Accessors;
use animations::{Animation, Pose};
use buffers::Buffers;
pub(crate) use files::Files;
use images::{ImageTable, KeptImages};
use meshes::KeptMeshes;
use motion::{Origins, Recorder, Recording};

/// What every part of the reader may look at.
struct Context<'a> {
    root: &'a json::Root,
    accessors: Accessors<'a>,
    limits: &'a SceneLimits,
    /// Number of the variant that is shown.
    variant: Option<u32>,
}

/// A file that was read once and can be shown at many times.
pub(crate) struct File {
    root: json::Root,
    buffers: Buffers<'static>,
    files: Files,
    limits: SceneLimits,
    variant: Option<u32>,
    /// The number of the animation that is shown, and the animation once it was
    /// needed.
    animation: (usize, Option<Animation>),
    /// Meshes and images that are the same at any time; `None` keeps none.
    meshes: Option<KeptMeshes>,
    images: Option<KeptImages>,
    /// The extensions that it uses.
    pub(crate) extensions: Vec<String>,
    /// The names of its variants.
    pub(crate) variants: Vec<String>,
    /// Its animations.
    pub(crate) animations: Vec<AnimationSummary>,
}

impl File {
    /// Reads a file but for what its nodes use.
    pub(crate) fn open(
        mut bytes: Vec<u8>,
        mut files: Files,
        options: &LoadOptions,
        limits: SceneLimits,
        warnings: &mut Warnings,
    ) -> Result<Self, LoadError> {
        let parts = container::split(&files.scene, &bytes)?;
        let mut root = container::parse(&files.scene, parts.json, &limits)?;
        let extensions = extensions::check(&files.scene, &root, warnings)?;
        // The chunk is moved to the front, which needs no second copy of it.
        let chunk = parts.bin.map(|bin| (bin.as_ptr().addr() - bytes.as_ptr().addr(), bin.len()));
        let bin = chunk.map(|(start, length)| {
            bytes.truncate(start + length);
            bytes.drain(..start);
            bytes
        });
        let mut buffers = buffers::load(&root, bin.map(Cow::Owned), &mut files)?;
        meshopt::decode_views(&mut root, &mut buffers, &limits)
            .and_then(|()| draco::decode_primitives(&mut root, &mut buffers, &limits))
            .map_err(|fault| invalid(&files.scene, fault))?;
        let variants = variants::names(&root, &limits).map_err(|fault| invalid(&files.scene, fault))?;
        let variant = options.variant.as_deref();
        let variant = variant.map(|wanted| variants::find(&files.scene, &variants, wanted)).transpose()?;
        let mut file = Self {
            root,
            buffers,
            files,
            limits,
            variant,
            animation: (0, None),
            meshes: Some(KeptMeshes::new()),
            images: Some(KeptImages::new()),
            extensions,
            variants,
            animations: Vec::new(),
        };
        let summaries = animations::summaries(&file.context(), warnings);
        file.animations = summaries.map_err(|fault| invalid(file.scene(), fault))?;
        if let Some(wanted) = &options.animation {
            file.animation.0 = animations::find(file.scene(), &file.animations, wanted)?;
        }
        Ok(file)
    }

    /// Keeps no images for another time, and no meshes either if it `is_last`.
    pub(crate) fn keep_less(&mut self, is_last: bool) {
        self.images = None;
        self.meshes = self.meshes.take().filter(|_| !is_last);
    }

    /// The scene at a time in seconds, or at rest, but for its surroundings; and how
    /// it moves from that time on, where a shutter opens then.
    pub(crate) fn at(
        &mut self,
        time: Option<f64>,
        shutter: Option<Shutter>,
        warnings: &mut Warnings,
    ) -> Result<Scene, LoadError> {
        let (mut scene, origins, images) = self.read(time, warnings)?;
        if let (Some(time), Some(shutter)) = (time, shutter.filter(|_| !self.animations.is_empty())) {
            self.follow(&mut scene, &origins, (time, shutter), warnings)?;
        }
        let context = Context::new(&self.root, &self.buffers, &self.limits, self.variant);
        scene.images = images.decode(&context, &mut self.files, self.images.as_mut())?;
        Ok(scene)
    }

    /// [`File::at`] without the images, of which no shape or light depends.
    pub(crate) fn without_images(
        &mut self,
        time: Option<f64>,
        warnings: &mut Warnings,
    ) -> Result<Scene, LoadError> {
        self.read(time, warnings).map(|(scene, ..)| scene)
    }

    /// Finds out how a scene moves while the shutter is open.
    fn follow(
        &mut self,
        scene: &mut Scene,
        origins: &Origins,
        (time, shutter): (f64, Shutter),
        warnings: &mut Warnings,
    ) -> Result<(), LoadError> {
        let mut recorder = Recorder::new(scene, origins);
        let mut lights_move = false;
        for part in 1..=shutter.parts {
            let (later, origins, _) = self.read(Some(time + shutter.end_of(part)), warnings)?;
            recorder.record(&later, &origins);
            lights_move |= later.lights != scene.lights;
        }
        let Recording { meshes, shown, motion } = recorder.finish(warnings);
        scene.meshes = meshes;
        scene.instances.iter_mut().zip(shown).for_each(|(instance, mesh)| instance.mesh = mesh);
        scene.motion = motion;
        if lights_move {
            warnings.push(
                "a point, spot or directional light moves; it stands where it is in the middle of the shutter's time",
            );
            let (middle, ..) = self.read(Some(time + shutter.seconds * 0.5), warnings)?;
            scene.lights = middle.lights;
        }
        Ok(())
    }

    fn read(
        &mut self,
        time: Option<f64>,
        warnings: &mut Warnings,
    ) -> Result<(Scene, Origins, ImageTable), LoadError> {
        let pose = match time {
            Some(time) if !self.animations.is_empty() => self.animation()?.pose(time),
            _ => Pose::new(),
        };
        let mut meshes = self.meshes.take();
        let read = nodes::read(&self.context(), &pose, &mut meshes, warnings);
        self.meshes = meshes;
        read.map_err(|fault| invalid(self.scene(), fault))
    }

    /// The animation that is shown; there must be one.
    fn animation(&mut self) -> Result<&Animation, LoadError> {
        let (index, known) = &mut self.animation;
        let animation = match known.take() {
            Some(animation) => animation,
            None => {
                let context = Context::new(&self.root, &self.buffers, &self.limits, self.variant);
                animations::read(&context, *index).map_err(|fault| invalid(&self.files.scene, fault))?
            }
        };
        Ok(known.insert(animation))
    }

    fn context(&self) -> Context<'_> {
        Context::new(&self.root, &self.buffers, &self.limits, self.variant)
    }

    /// The file's name, for messages.
    pub(crate) fn scene(&self) -> &str {
        &self.files.scene
    }
}

impl<'a> Context<'a> {
    fn new(
        root: &'a json::Root,
        buffers: &'a Buffers<'a>,
        limits: &'a SceneLimits,
        variant: Option<u32>,
    ) -> Self {
        Self { root, accessors: Accessors { root, buffers, limits }, limits, variant }
    }
}

fn invalid(scene: &str, fault: Fault) -> LoadError {
    LoadError::Invalid { scene: scene.to_owned(), fault }
}

/// The element of a list that the file names by index.
fn named<'a, T>(list: &'a [T], index: usize, what: &'static str, place: &str) -> Result<&'a T, Fault> {
    list.get(index).ok_or_else(|| {
        Fault::new(place, Problem::IndexOutOfRange { what, index: index as u64, count: list.len() as u64 })
    })
}

/// A number of the file that must be finite.
fn finite(value: f32, what: &'static str, place: &str) -> Result<f32, Fault> {
    if value.is_finite() {
        return Ok(value);
    }
    let value = f64::from(value);
    Err(Fault::new(place, Problem::OutOfDomain { what, value, expected: "a finite number" }))
}

/// A number of the file brought into its domain, with a warning where it was
/// outside.
fn clamped(
    value: f32,
    (low, high): (f32, f32),
    what: &'static str,
    place: &str,
    warnings: &mut Warnings,
) -> Result<f32, Fault> {
    let inside = finite(value, what, place)?.clamp(low, high);
    if inside != value {
        warnings.push(format!("{place}: {what} is {value}; {inside} is used"));
    }
    Ok(inside)
}

/// A name of the file, cut to the limit.
fn short_name(name: &str, limits: &SceneLimits) -> String {
    let limit = usize::try_from(limits.name_bytes).unwrap_or(usize::MAX);
    let end = (0..=limit.min(name.len())).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    name[..end].to_owned()
}
