//! Reading a scene file.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use glam::Vec3;

use crate::error::LoadError;
use crate::limits::SceneLimits;
use crate::read::{self, Files};
use crate::scene::{Environment, Scene};
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
        }
    }
}

impl LoadOptions {
    fn check(&self) -> Result<(), LoadError> {
        let refuse = |text: String| Err(LoadError::Options(text));
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

    fn finish(mut self) -> Vec<Warning> {
        if self.left_out > 0 {
            self.list.push(Warning(format!("and {} more warnings like these", self.left_out)));
        }
        self.list
    }
}

/// Reads a `.glb` or `.gltf` file with all that it names, within the default
/// [`SceneLimits`].
///
/// # Errors
/// Names the file, the place in it, the value and the limit.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Loaded, LoadError> {
    let limits = SceneLimits::default();
    options.check()?;
    let scene = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let bytes = read_scene_file(path, &scene, &limits)?;
    let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
    load_from_bytes(&bytes, Files::new(scene, Some(base), &limits), options, &limits)
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
    load_from_bytes(bytes, Files::new(scene.to_owned(), None, limits), options, limits)
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

/// Reads a scene from the bytes of its file; `files` fetches what it names.
pub(crate) fn load_from_bytes(
    bytes: &[u8],
    mut files: Files,
    options: &LoadOptions,
    limits: &SceneLimits,
) -> Result<Loaded, LoadError> {
    let mut warnings = Warnings::new(limits.warnings);
    let read::Read { mut scene, extensions, variants } =
        read::read_scene(bytes, &mut files, options.variant.as_deref(), limits, &mut warnings)?;
    if scene.instances.is_empty() {
        return Err(LoadError::NothingToRender { scene: files.scene });
    }
    if scene.cameras.is_empty() {
        scene.cameras.push(auto_camera::frame(&scene, options.aspect_ratio));
        warnings.push("the scene has no camera; the whole of it is framed automatically");
    }
    scene.environment = surroundings(&scene, options, limits, &mut warnings)?;
    validate(&scene, limits).map_err(|fault| LoadError::Invalid { scene: files.scene.clone(), fault })?;
    Ok(Loaded { scene, warnings: warnings.finish(), extensions, variants })
}

fn surroundings(
    scene: &Scene,
    options: &LoadOptions,
    limits: &SceneLimits,
    warnings: &mut Warnings,
) -> Result<Environment, LoadError> {
    if let Some(sky) = options.sky {
        return Ok(Environment::Constant(sky));
    }
    if let Some(path) = &options.environment {
        let mut map = environment::read(path, limits, warnings)?;
        map.strength = options.environment_strength;
        map.rotation = options.environment_rotation;
        return Ok(Environment::Map(map));
    }
    if !scene.lights.is_empty() || scene.emissive_triangles() > 0 {
        return Ok(Environment::Constant(Vec3::ZERO));
    }
    warnings.push("the scene has no light and no environment; a white sky of radiance 1 lights it");
    Ok(Environment::Constant(Vec3::ONE))
}
