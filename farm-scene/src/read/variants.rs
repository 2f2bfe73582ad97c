//! `KHR_materials_variants`: other materials for the same meshes, by name.

use gltf::json;

use super::short_name;
use crate::error::{Fault, LoadError};
use crate::limits::SceneLimits;
use crate::validate::at_most;

/// Names that an error lists.
const SHOWN: usize = 10;

/// The names of the file's variants, in its order.
pub(super) fn names(root: &json::Root, limits: &SceneLimits) -> Result<Vec<String>, Fault> {
    let variants = root.extensions.as_ref().and_then(|e| e.khr_materials_variants.as_ref());
    let Some(variants) = variants.map(|extension| &extension.variants) else {
        return Ok(Vec::new());
    };
    at_most("variants", variants.len() as u64, limits.materials)
        .map_err(|problem| Fault::new("KHR_materials_variants", problem))?;
    Ok(variants.iter().map(|variant| short_name(&variant.name, limits)).collect())
}

/// The number of the variant that has a name.
pub(super) fn find(scene: &str, names: &[String], wanted: &str) -> Result<u32, LoadError> {
    let found = names.iter().position(|name| name == wanted).and_then(|place| u32::try_from(place).ok());
    found.ok_or_else(|| {
        let mut known: Vec<_> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
        if names.len() > SHOWN {
            known.push(format!("{} more", names.len() - SHOWN));
        }
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        LoadError::Options(format!("scene `{scene}` has no variant `{wanted}`; it has {known}"))
    })
}

/// The material of a primitive, as the variant that is shown has it.
pub(super) fn material_of(primitive: &json::mesh::Primitive, variant: Option<u32>) -> Option<usize> {
    let own = primitive.material.map(|material| material.value());
    let extension = primitive.extensions.as_ref().and_then(|e| e.khr_materials_variants.as_ref());
    let (Some(variant), Some(extension)) = (variant, extension) else { return own };
    let mapped = extension.mappings.iter().find(|mapping| mapping.variants.contains(&variant));
    mapped.and_then(|mapping| usize::try_from(mapping.material).ok()).or(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_variants_are_refused_with_those_there_are() {
        let names: Vec<String> = (0..12).map(|i| format!("shade {i}")).collect();
        assert_eq!(find("shoe.glb", &names, "shade 3").expect("it is there"), 3);
        let text = find("shoe.glb", &names, "Shade 3").expect_err("another case").to_string();
        assert!(text.contains("shoe.glb") && text.contains("`shade 9`, 2 more"), "{text}");
        let text = find("shoe.glb", &[], "red").expect_err("there are none").to_string();
        assert!(text.contains("it has none"), "{text}");
    }
}
