//! Which extensions are understood. One that a file requires and that is not
//! understood is an error, one that it merely uses a warning.

use std::collections::BTreeSet;

use gltf::json;

use crate::error::LoadError;
use crate::load::Warnings;

/// Extensions that the reader understands.
const SUPPORTED: &[&str] = &[
    "EXT_mesh_gpu_instancing",
    "EXT_meshopt_compression",
    "EXT_texture_webp",
    "KHR_draco_mesh_compression",
    "KHR_lights_punctual",
    "KHR_materials_anisotropy",
    "KHR_materials_clearcoat",
    "KHR_materials_diffuse_transmission",
    "KHR_materials_dispersion",
    "KHR_materials_emissive_strength",
    "KHR_materials_ior",
    "KHR_materials_iridescence",
    "KHR_materials_sheen",
    "KHR_materials_specular",
    "KHR_materials_transmission",
    "KHR_materials_unlit",
    "KHR_materials_variants",
    "KHR_materials_volume",
    "KHR_mesh_quantization",
    "KHR_meshopt_compression",
    "KHR_texture_basisu",
    "KHR_texture_transform",
];

/// Checks the file's extensions and yields them, sorted.
pub(super) fn check(
    scene: &str,
    root: &json::Root,
    warnings: &mut Warnings,
) -> Result<Vec<String>, LoadError> {
    let required = root.extensions_required.iter().collect::<BTreeSet<_>>();
    if let Some(extension) = required.iter().find(|name| !SUPPORTED.contains(&name.as_str())) {
        let extension = extension.chars().take(100).collect();
        return Err(LoadError::RequiredExtension { scene: scene.to_owned(), extension });
    }
    let used = root.extensions_used.iter().chain(required).collect::<BTreeSet<_>>();
    for extension in used.iter().filter(|name| !SUPPORTED.contains(&name.as_str())) {
        warnings.push(format!("the extension {extension} is not supported; the scene is shown without it"));
    }
    Ok(used.into_iter().cloned().collect())
}
