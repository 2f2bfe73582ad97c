//! Reading a scene file.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use glam::Vec3;
use serde::Serialize;

use crate::error::LoadError;
use crate::limits::SceneLimits;
use crate::read::{self, Files};
use crate::scene::{Camera, Environment, EnvironmentMap, Scene};
use crate::validate::validate;
use crate::{auto_camera, environment};

/// What the artist says beside the file.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// An environment map, `.hdr` or `.exr`.
    pub environment: Option<PathBuf>,
    /// Factor on the environment map's radiance.
    pub environment_strength: f32,
    /// Turn of the environment about +Y, in radians.
    pub environment_rotation: f32,
    /// A constant sky, instead of any other.
    pub sky: Option<Vec3>,
    /// Width over height of the frame, for the automatic camera.
    pub aspect_ratio: f32,
    /// The variant of `KHR_materials_variants` whose materials are shown, by its
    /// name; `None` for those that the file shows without the extension.
    pub variant: Option<String>,
    /// The animation that is shown, by its name or, where none has that name,
    /// its number; `None` for the first.
    pub animation: Option<String>,
    /// When in the animation, in seconds; it holds still before its first key
    /// and after its last. `None` shows the scene at rest.
    pub time: Option<f64>,
    /// How long the shutter is open from that time on; `None` for an instant.
    pub shutter: Option<Shutter>,
}

/// A time during which the shutter is open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shutter {
    /// Its length.
    pub seconds: f64,
    /// Equal parts of it in which motion is even and along straight lines.
    pub parts: u32,
}

impl Shutter {
    /// Parts where the artist names none: what turns by a right angle in the time
    /// stays within 2 % of its radius.
    pub const PARTS: u32 = 4;

    /// Seconds from its opening to the end of a part, counted from 1.
    pub(crate) fn end_of(self, part: u32) -> f64 {
        self.seconds * f64::from(part) / f64::from(self.parts)
    }
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            environment: None,
            environment_strength: 1.0,
            environment_rotation: 0.0,
            sky: None,
            aspect_ratio: 1.0,
            variant: None,
            animation: None,
            time: None,
            shutter: None,
        }
    }
}

impl LoadOptions {
    fn check(&self) -> Result<(), LoadError> {
        let refuse = |text: String| Err(LoadError::Options(text));
        if let Some(Shutter { seconds, parts }) = self.shutter {
            if !(seconds.is_finite() && seconds > 0.0) {
                return refuse(format!("the shutter is open for {seconds} s; expected more than 0"));
            }
            let most = SceneLimits::default().motion_parts;
            if !(1..=most).contains(&parts) {
                return refuse(format!("the shutter's time has {parts} parts; expected 1 to {most}"));
            }
        }
        if self.sky.is_some() && self.environment.is_some() {
            return refuse("a constant sky and an environment map exclude each other; give one".to_owned());
        }
        if let Some(sky) = self.sky
            && !(sky.is_finite() && sky.min_element() >= 0.0)
        {
            return refuse(format!("the sky's radiance is {sky}; expected finite numbers of 0 or more"));
        }
        let strength = self.environment_strength;
        if !(strength.is_finite() && strength >= 0.0) {
            return refuse(format!("the environment's strength is {strength}; expected 0 or more"));
        }
        let rotation = self.environment_rotation;
        if !rotation.is_finite() {
            return refuse(format!("the environment's rotation is {rotation}; expected a finite angle"));
        }
        let aspect = self.aspect_ratio;
        if !(1e-4..=1e4).contains(&aspect) {
            return refuse(format!("the aspect ratio is {aspect}; expected 0.0001 to 10000"));
        }
        Ok(())
    }
}

/// A loaded scene and what is worth saying about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The scene.
    pub scene: Scene,
    /// Things that an artist should know, in the order found.
    pub warnings: Vec<Warning>,
    /// The glTF extensions that the file uses, sorted.
    pub extensions: Vec<String>,
    /// The names of its variants, for [`LoadOptions::variant`], in its order.
    pub variants: Vec<String>,
    /// Its animations, for [`LoadOptions::animation`], in its order.
    pub animations: Vec<AnimationSummary>,
}

/// What an animation moves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnimationSummary {
    /// Its name, or its number where it has none.
    pub name: String,
    /// When its last key is.
    pub duration_seconds: f64,
    /// Channels: each moves one property of one node.
    pub channels: usize,
    /// Nodes that are moved.
    pub nodes: usize,
    /// Channels that move a node's place.
    pub translations: usize,
    /// Channels that turn a node.
    pub rotations: usize,
    /// Channels that scale a node.
    pub scales: usize,
    /// Channels that weight morph targets.
    pub weights: usize,
}

/// Something that an artist should know; `Display` is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Collects warnings without repetition, up to a limit.
#[derive(Debug)]
pub(crate) struct Warnings {
    list: Vec<Warning>,
    limit: usize,
    left_out: usize,
}

impl Warnings {
    pub(crate) fn new(limit: usize) -> Self {
        Self { list: Vec::new(), limit, left_out: 0 }
    }

    pub(crate) fn push(&mut self, text: impl Into<String>) {
        let warning = Warning(text.into());
        if self.list.contains(&warning) {
            return;
        }
        if self.list.len() < self.limit {
            self.list.push(warning);
        } else {
            self.left_out += 1;
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    fn so_far(&self) -> Vec<Warning> {
        let mut list = self.list.clone();
        if self.left_out > 0 {
            list.push(Warning(format!("and {} more warnings like these", self.left_out)));
        }
        list
    }
}

/// Reads a `.glb` or `.gltf` file with all that it names, within the default
/// [`SceneLimits`].
///
/// # Errors
/// Names the file, the place in it, the value and the limit.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Loaded, LoadError> {
    SceneFile::open(path, options)?.once(options.time)
}

/// A scene file that is read once and shown at many times. What time does not
/// change is decoded once, and is equal at all of them.
pub struct SceneFile {
    file: read::File,
    options: LoadOptions,
    /// Whether it will be shown more than once.
    again: bool,
    /// The environment map, once it was read.
    environment: Option<EnvironmentMap>,
    /// What it is like at rest, once that was needed.
    rest: Option<Rest>,
    limits: SceneLimits,
    warnings: Warnings,
}

/// What is decided by the scene at rest, so that it stays while things move.
#[derive(Clone)]
struct Rest {
    /// The camera of a scene that brings none.
    camera: Camera,
    /// Whether anything in it shines.
    is_lit: bool,
}

impl Rest {
    fn of(scene: &Scene, options: &LoadOptions) -> Self {
        let camera = auto_camera::frame(scene, options.aspect_ratio);
        Self { camera, is_lit: !scene.lights.is_empty() || scene.emissive_triangles() > 0 }
    }
}

impl std::fmt::Debug for SceneFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SceneFile").field("scene", &self.file.scene()).finish_non_exhaustive()
    }
}

impl SceneFile {
    /// Opens a file within the default [`SceneLimits`]; of the options, the time
    /// is left to [`SceneFile::at`].
    ///
    /// # Errors
    /// As those of [`load`], for all that no node uses.
    pub fn open(path: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        let limits = SceneLimits::default();
        let scene = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        options.check()?;
        let bytes = read_scene_file(path, &scene, &limits)?;
        let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let files = Files::new(scene, Some(base), &limits);
        Self::from_bytes(bytes, files, options, &limits)
    }

    /// Reads a file from its bytes; `files` fetches what it names.
    pub(crate) fn from_bytes(
        bytes: Vec<u8>,
        files: Files,
        options: &LoadOptions,
        limits: &SceneLimits,
    ) -> Result<Self, LoadError> {
        let mut warnings = Warnings::new(limits.warnings);
        let file = read::File::open(bytes, files, options, limits.clone(), &mut warnings)?;
        let (options, limits) = (options.clone(), limits.clone());
        Ok(Self { file, options, again: true, environment: None, rest: None, limits, warnings })
    }

    /// The file's animations, in its order.
    #[must_use]
    pub fn animations(&self) -> &[AnimationSummary] {
        &self.file.animations
    }

    /// [`SceneFile::at`] for the last time, which needs less memory.
    ///
    /// # Errors
    /// As those of [`load`].
    pub fn once(mut self, time: Option<f64>) -> Result<Loaded, LoadError> {
        self.file.keep_less(time.is_none());
        self.again = false;
        self.at(time)
    }

    /// The scene at a time of the animation in seconds, with how it moves from then
    /// on where the options have a shutter, or at rest. The warnings
    /// are those of all times so far.
    ///
    /// # Errors
    /// As those of [`load`].
    pub fn at(&mut self, time: Option<f64>) -> Result<Loaded, LoadError> {
        let Self { file, options, again, environment, rest, limits, warnings } = self;
        if let Some(time) = time.filter(|time| !time.is_finite()) {
            return Err(LoadError::Options(format!("the time is {time} s; expected a finite number")));
        }
        if rest.is_none() && time.is_some() {
            *rest = Some(Rest::of(&file.without_images(None, warnings)?, options));
        }
        let mut scene = file.at(time, options.shutter, warnings)?;
        let name = file.scene().to_owned();
        if scene.instances.is_empty() {
            return Err(LoadError::NothingToRender { scene: name });
        }
        let rest = rest.get_or_insert_with(|| Rest::of(&scene, options));
        if scene.cameras.is_empty() {
            scene.cameras.push(rest.camera.clone());
            warnings.push("the scene has no camera; the whole of it is framed automatically");
        }
        scene.environment = surroundings(rest.is_lit, options, (environment, *again), limits, warnings)?;
        validate(&scene, limits).map_err(|fault| LoadError::Invalid { scene: name, fault })?;
        let (extensions, variants) = (file.extensions.clone(), file.variants.clone());
        let animations = file.animations.clone();
        Ok(Loaded { scene, warnings: warnings.so_far(), extensions, variants, animations })
    }
}

/// Reads a scene from the bytes of its file; `files` fetches what it names.
#[cfg(test)]
pub(crate) fn load_from_bytes(
    bytes: &[u8],
    files: Files,
    options: &LoadOptions,
    limits: &SceneLimits,
) -> Result<Loaded, LoadError> {
    SceneFile::from_bytes(bytes.to_vec(), files, options, limits)?.once(options.time)
}

/// Reads a scene from the bytes of its file, which can name no other file;
/// `scene` names it in errors.
///
/// # Errors
/// As [`load`].
pub fn load_bytes(
    scene: &str,
    bytes: &[u8],
    options: &LoadOptions,
    limits: &SceneLimits,
) -> Result<Loaded, LoadError> {
    options.check()?;
    let files = Files::new(scene.to_owned(), None, limits);
    SceneFile::from_bytes(bytes.to_vec(), files, options, limits)?.once(options.time)
}

fn read_scene_file(path: &Path, scene: &str, limits: &SceneLimits) -> Result<Vec<u8>, LoadError> {
    let failed = |source: std::io::Error| {
        let scene = scene.to_owned();
        match source.kind() {
            std::io::ErrorKind::NotFound => LoadError::NotFound { scene },
            _ => LoadError::Read { scene, source },
        }
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(LoadError::IsDirectory { scene: scene.to_owned() });
    }
    let limit = limits.file_bytes;
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(failed)?.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        let bytes = metadata.len().max(bytes.len() as u64);
        return Err(LoadError::TooLarge { scene: scene.to_owned(), bytes, limit });
    }
    Ok(bytes)
}

fn surroundings(
    is_lit: bool,
    options: &LoadOptions,
    (known, again): (&mut Option<EnvironmentMap>, bool),
    limits: &SceneLimits,
    warnings: &mut Warnings,
) -> Result<Environment, LoadError> {
    if let Some(sky) = options.sky {
        return Ok(Environment::Constant(sky));
    }
    if let Some(path) = &options.environment {
        let map = match known.take() {
            Some(map) => map,
            None => {
                let map = environment::read(path, limits, warnings)?;
                let (strength, rotation) = (options.environment_strength, options.environment_rotation);
                EnvironmentMap { strength, rotation, ..map }
            }
        };
        *known = again.then(|| map.clone());
        return Ok(Environment::Map(map));
    }
    if is_lit {
        return Ok(Environment::Constant(Vec3::ZERO));
    }
    warnings.push("the scene has no light and no environment; a white sky of radiance 1 lights it");
    Ok(Environment::Constant(Vec3::ONE))
}
