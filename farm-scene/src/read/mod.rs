//! glTF 2.0 to [`Scene`], in the order of the file: container, JSON, buffers,
//! nodes; meshes, materials and images as the nodes use them.
//!
//! Nothing here trusts an index, a count, an offset or a number of the file.

mod accessors;
mod buffers;
mod cameras;
mod container;
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
mod nodes;
mod tangents;
mod variants;
mod vertices;

use gltf::json;

use crate::error::{Fault, LoadError, Problem};
use crate::limits::SceneLimits;
use crate::load::Warnings;
use crate::scene::Scene;

use accessors::Accessors;
pub(crate) use files::Files;

/// What every part of the reader may look at.
struct Context<'a> {
    root: &'a json::Root,
    accessors: Accessors<'a>,
    limits: &'a SceneLimits,
    /// Number of the variant that is shown.
    variant: Option<u32>,
}

/// What a file holds.
pub(crate) struct Read {
    pub(crate) scene: Scene,
    /// The extensions that it uses.
    pub(crate) extensions: Vec<String>,
    /// The names of its variants.
    pub(crate) variants: Vec<String>,
}

/// Reads everything but the surroundings; `variant` is the name of the one to
/// show.
pub(crate) fn read_scene(
    bytes: &[u8],
    files: &mut Files,
    variant: Option<&str>,
    limits: &SceneLimits,
    warnings: &mut Warnings,
) -> Result<Read, LoadError> {
    let parts = container::split(&files.scene, bytes)?;
    let mut root = container::parse(&files.scene, parts.json, limits)?;
    let extensions = extensions::check(&files.scene, &root, warnings)?;
    let mut buffers = buffers::load(&root, parts.bin, files)?;
    meshopt::decode_views(&mut root, &mut buffers, limits)
        .and_then(|()| draco::decode_primitives(&mut root, &mut buffers, limits))
        .map_err(|fault| invalid(&files.scene, fault))?;
    let accessors = Accessors { root: &root, buffers: &buffers, limits };
    let variants = variants::names(&root, limits).map_err(|fault| invalid(&files.scene, fault))?;
    let variant = variant.map(|wanted| variants::find(&files.scene, &variants, wanted)).transpose()?;
    let context = Context { root: &root, accessors, limits, variant };
    let (mut scene, images) =
        nodes::read(&context, warnings).map_err(|fault| invalid(&files.scene, fault))?;
    scene.images = images.decode(&context, files)?;
    Ok(Read { scene, extensions, variants })
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
