//! Materials, textures and samplers, as the meshes use them.

use std::collections::BTreeMap;

use glam::{Vec2, Vec3, Vec4};
use gltf::json;
use json::extensions::texture::TextureTransform;
use json::material::AlphaMode as FileAlphaMode;
use json::texture::{MagFilter, WrappingMode};
use json::validation::Checked;

use super::images::ImageTable;
use super::layers::LayerReader;
use super::{Context, clamped, finite, named, short_name};
use crate::error::{Fault, Problem};
use crate::load::Warnings;
use crate::scene::{AlphaMode, Filter, Material, Texture, TextureSlot, Wrap};
use crate::validate::at_most;

/// The materials and textures that the scene uses, in the order of first use.
#[derive(Debug, Default)]
pub(super) struct MaterialTable {
    pub(super) materials: Vec<Material>,
    pub(super) textures: Vec<Texture>,
    pub(super) images: ImageTable,
    material_ids: BTreeMap<Option<usize>, u32>,
    texture_ids: BTreeMap<(usize, bool), u32>,
}

/// How a texture's colours are encoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Srgb,
    Linear,
}

/// A texture reference, whichever of glTF's three kinds it is.
struct Reference<'a> {
    texture: usize,
    uv_set: u32,
    transform: Option<TextureTransform>,
    place: &'a str,
}

impl MaterialTable {
    /// The scene's index of a material of the file, or of the default one.
    pub(super) fn id(
        &mut self,
        context: &Context<'_>,
        index: Option<usize>,
        place: &str,
        warnings: &mut Warnings,
    ) -> Result<u32, Fault> {
        if let Some(&id) = self.material_ids.get(&index) {
            return Ok(id);
        }
        let material = match index {
            None => Material { name: "default".to_owned(), ..Material::default() },
            Some(index) => {
                let file = named(&context.root.materials, index, "material", place)?;
                self.read(context, file, &format!("materials[{index}]"), warnings)?
            }
        };
        let next = self.materials.len();
        at_most("materials", next as u64 + 1, context.limits.materials).map_err(|p| Fault::new(place, p))?;
        self.materials.push(material);
        let id = u32::try_from(next).expect("the count is below its limit");
        self.material_ids.insert(index, id);
        Ok(id)
    }

    fn read(
        &mut self,
        context: &Context<'_>,
        file: &json::Material,
        place: &str,
        warnings: &mut Warnings,
    ) -> Result<Material, Fault> {
        let pbr = &file.pbr_metallic_roughness;
        let pbr_place = format!("{place}.pbrMetallicRoughness");
        let mut base_color = Vec4::ONE;
        for (channel, value) in base_color.as_mut().iter_mut().zip(pbr.base_color_factor.0) {
            *channel = clamped(value, (0.0, 1.0), "baseColorFactor", &pbr_place, warnings)?;
        }
        let extensions = file.extensions.as_ref();
        let mut material = Material {
            name: file.name.as_deref().map_or_else(|| place.to_owned(), |n| short_name(n, context.limits)),
            base_color,
            base_color_texture: self.info(
                context,
                pbr.base_color_texture.as_ref(),
                Encoding::Srgb,
                &format!("{pbr_place}.baseColorTexture"),
            )?,
            metallic: clamped(pbr.metallic_factor.0, (0.0, 1.0), "metallicFactor", &pbr_place, warnings)?,
            roughness: clamped(pbr.roughness_factor.0, (0.0, 1.0), "roughnessFactor", &pbr_place, warnings)?,
            metallic_roughness_texture: self.info(
                context,
                pbr.metallic_roughness_texture.as_ref(),
                Encoding::Linear,
                &format!("{pbr_place}.metallicRoughnessTexture"),
            )?,
            normal_texture: self.normal_map(
                context,
                file.normal_texture.as_ref(),
                &format!("{place}.normalTexture"),
            )?,
            normal_scale: match &file.normal_texture {
                Some(map) => clamped(map.scale, (-1e3, 1e3), "normalTexture.scale", place, warnings)?,
                None => 1.0,
            },
            emissive: emissive(context, file, place, warnings)?,
            emissive_texture: self.info(
                context,
                file.emissive_texture.as_ref(),
                Encoding::Srgb,
                &format!("{place}.emissiveTexture"),
            )?,
            ior: match extensions.and_then(|e| e.ior.as_ref()) {
                // 0 is allowed and means a mirror (`KHR_materials_ior`).
                Some(ior) if ior.ior.0 == 0.0 => 0.0,
                Some(ior) => clamped(ior.ior.0, (1.0, 1e3), "ior", place, warnings)?,
                None => 1.5,
            },
            alpha: alpha(file, place, warnings)?,
            double_sided: file.double_sided,
            unlit: extensions.is_some_and(|e| e.unlit.is_some()),
            ..Material::default()
        };
        if let Some(specular) = extensions.and_then(|e| e.specular.as_ref()) {
            let place = format!("{place}.KHR_materials_specular");
            self.read_specular(context, &mut material, specular, &place, warnings)?;
        }
        LayerReader { table: self, context, file, place, warnings }.read(&mut material)?;
        Ok(material)
    }

    fn read_specular(
        &mut self,
        context: &Context<'_>,
        material: &mut Material,
        specular: &json::extensions::material::Specular,
        place: &str,
        warnings: &mut Warnings,
    ) -> Result<(), Fault> {
        material.specular =
            clamped(specular.specular_factor.0, (0.0, 1.0), "specularFactor", place, warnings)?;
        for (channel, value) in
            material.specular_color.as_mut().iter_mut().zip(specular.specular_color_factor.0)
        {
            *channel = clamped(value, (0.0, 1e3), "specularColorFactor", place, warnings)?;
        }
        material.specular_texture = self.info(
            context,
            specular.specular_texture.as_ref(),
            Encoding::Linear,
            &format!("{place}.specularTexture"),
        )?;
        material.specular_color_texture = self.info(
            context,
            specular.specular_color_texture.as_ref(),
            Encoding::Srgb,
            &format!("{place}.specularColorTexture"),
        )?;
        Ok(())
    }

    pub(super) fn info(
        &mut self,
        context: &Context<'_>,
        info: Option<&json::texture::Info>,
        encoding: Encoding,
        place: &str,
    ) -> Result<Option<TextureSlot>, Fault> {
        let Some(info) = info else {
            return Ok(None);
        };
        let transform = info.extensions.as_ref().and_then(|e| e.texture_transform.clone());
        let reference = Reference { texture: info.index.value(), uv_set: info.tex_coord, transform, place };
        self.slot(context, &reference, encoding).map(Some)
    }

    /// The slot of a normal map that is at `place` in the file.
    pub(super) fn normal_map(
        &mut self,
        context: &Context<'_>,
        map: Option<&json::material::NormalTexture>,
        place: &str,
    ) -> Result<Option<TextureSlot>, Fault> {
        let Some(map) = map else {
            return Ok(None);
        };
        // The crate types this extension for the other textures only.
        let transform = map.extensions.as_ref().and_then(|e| e.others.get("KHR_texture_transform"));
        let transform = transform.map(|value| serde_json::from_value(value.clone())).transpose();
        let transform = transform.map_err(|error| {
            Fault::new(place, Problem::Malformed(format!("KHR_texture_transform: {error}")))
        })?;
        let reference = Reference { texture: map.index.value(), uv_set: map.tex_coord, transform, place };
        self.slot(context, &reference, Encoding::Linear).map(Some)
    }

    fn slot(
        &mut self,
        context: &Context<'_>,
        reference: &Reference<'_>,
        encoding: Encoding,
    ) -> Result<TextureSlot, Fault> {
        let place = reference.place;
        let transform = reference.transform.as_ref();
        let uv_set = transform.and_then(|t| t.tex_coord).unwrap_or(reference.uv_set);
        if uv_set > 1 {
            let problem = Problem::Unsupported(format!("TEXCOORD_{uv_set} (only sets 0 and 1 are)"));
            return Err(Fault::new(place, problem));
        }
        let texture = self.texture(context, reference.texture, encoding, place)?;
        let transform = transform.map_or(Ok([Vec3::X, Vec3::Y]), |t| affine(t, place))?;
        Ok(TextureSlot { texture, uv_set, transform })
    }

    fn texture(
        &mut self,
        context: &Context<'_>,
        index: usize,
        encoding: Encoding,
        place: &str,
    ) -> Result<u32, Fault> {
        let srgb = encoding == Encoding::Srgb;
        if let Some(&id) = self.texture_ids.get(&(index, srgb)) {
            return Ok(id);
        }
        let file = named(&context.root.textures, index, "texture", place)?;
        let place = format!("textures[{index}]");
        let source = source(file).ok_or_else(|| Fault::new(&place, Problem::Missing("the source image")))?;
        let image = self.images.id(context, source, srgb, &place)?;
        let (wrap_u, wrap_v, filter) = match file.sampler {
            None => Default::default(),
            Some(sampler) => {
                sampling(named(&context.root.samplers, sampler.value(), "sampler", &place)?, &place)?
            }
        };
        let next = self.textures.len();
        at_most("textures", next as u64 + 1, context.limits.textures).map_err(|p| Fault::new(&place, p))?;
        self.textures.push(Texture { image, wrap_u, wrap_v, filter });
        let id = u32::try_from(next).expect("the count is below its limit");
        self.texture_ids.insert((index, srgb), id);
        Ok(id)
    }
}

/// The image of a texture; those of extensions come before the fallback.
fn source(texture: &json::Texture) -> Option<usize> {
    let others = texture.extensions.as_ref().map(|extensions| &extensions.others);
    let extended = others.and_then(|others| {
        ["KHR_texture_basisu", "EXT_texture_webp"].iter().find_map(|&name| others.get(name)?.get("source"))
    });
    // An absent source is read as the largest index.
    let fallback = || Some(texture.source.value()).filter(|&source| source != u32::MAX as usize);
    extended.and_then(|source| usize::try_from(source.as_u64()?).ok()).or_else(fallback)
}

fn sampling(sampler: &json::texture::Sampler, place: &str) -> Result<(Wrap, Wrap, Filter), Fault> {
    let malformed = |text: &str| Fault::new(place, Problem::Malformed(text.to_owned()));
    let wrap = |mode: Checked<WrappingMode>| match mode {
        Checked::Valid(WrappingMode::Repeat) => Ok(Wrap::Repeat),
        Checked::Valid(WrappingMode::MirroredRepeat) => Ok(Wrap::MirroredRepeat),
        Checked::Valid(WrappingMode::ClampToEdge) => Ok(Wrap::ClampToEdge),
        Checked::Invalid => Err(malformed("unknown wrapping mode")),
    };
    let filter = match sampler.mag_filter {
        None | Some(Checked::Valid(MagFilter::Linear)) => Filter::Linear,
        Some(Checked::Valid(MagFilter::Nearest)) => Filter::Nearest,
        Some(Checked::Invalid) => return Err(malformed("unknown magnification filter")),
    };
    Ok((wrap(sampler.wrap_s)?, wrap(sampler.wrap_t)?, filter))
}

/// The rows of the map that `KHR_texture_transform` describes: scale, then
/// rotation, then offset.
///
/// The rotation is counter-clockwise where v points down, as the extension's
/// text and its example have it (a quarter turn of half the image, moved down
/// by one, is the lower left quadrant).
fn affine(transform: &TextureTransform, place: &str) -> Result<[Vec3; 2], Fault> {
    let numbers = [transform.offset.0, transform.scale.0, [transform.rotation.0, 0.0]];
    for number in numbers.as_flattened() {
        finite(*number, "KHR_texture_transform", place)?;
    }
    // In f64, rounded once: the same bits whichever libm computed it.
    let (sin, cos) = f64::from(transform.rotation.0).sin_cos();
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
    let (sin, cos) = (sin as f32, cos as f32);
    let (offset, scale) = (Vec2::from(transform.offset.0), Vec2::from(transform.scale.0));
    Ok([
        Vec3::new(cos * scale.x, sin * scale.y, offset.x),
        Vec3::new(-sin * scale.x, cos * scale.y, offset.y),
    ])
}

fn emissive(
    context: &Context<'_>,
    file: &json::Material,
    place: &str,
    warnings: &mut Warnings,
) -> Result<Vec3, Fault> {
    let strength = file.extensions.as_ref().and_then(|e| e.emissive_strength.as_ref());
    let strength = strength.map_or(1.0, |s| s.emissive_strength.0);
    let largest = (0.0, context.limits.radiance);
    let strength = clamped(strength, largest, "emissiveStrength", place, warnings)?;
    let mut emissive = Vec3::ZERO;
    for (channel, value) in emissive.as_mut().iter_mut().zip(file.emissive_factor.0) {
        *channel = clamped(value, (0.0, 1.0), "emissiveFactor", place, warnings)? * strength;
    }
    Ok(emissive)
}

fn alpha(file: &json::Material, place: &str, warnings: &mut Warnings) -> Result<AlphaMode, Fault> {
    match file.alpha_mode {
        Checked::Valid(FileAlphaMode::Opaque) => Ok(AlphaMode::Opaque),
        Checked::Valid(FileAlphaMode::Blend) => Ok(AlphaMode::Blend),
        Checked::Valid(FileAlphaMode::Mask) => {
            let cutoff = file.alpha_cutoff.map_or(0.5, |cutoff| cutoff.0);
            let cutoff = clamped(cutoff, (0.0, f32::MAX), "alphaCutoff", place, warnings)?;
            Ok(AlphaMode::Mask { cutoff })
        }
        Checked::Invalid => Err(Fault::new(place, Problem::Malformed("unknown alphaMode".to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use json::extensions::texture::{
        TextureTransformOffset, TextureTransformRotation, TextureTransformScale,
    };

    #[test]
    fn texture_transform_agrees_with_the_extensions_example() {
        // "This example utilizes only the lower left quadrant of the source
        // image, rotated clockwise 90°."
        let transform = TextureTransform {
            offset: TextureTransformOffset([0.0, 1.0]),
            rotation: TextureTransformRotation(std::f32::consts::FRAC_PI_2),
            scale: TextureTransformScale([0.5, 0.5]),
            ..TextureTransform::default()
        };
        let rows = affine(&transform, "here").expect("the transform is finite");
        let map = |u: f32, v: f32| rows.map(|row| row.dot(Vec3::new(u, v, 1.0)));
        for (u, v) in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.3, 0.6)] {
            let [x, y] = map(u, v);
            assert!((-1e-6..=0.500_001).contains(&x) && (0.499_999..=1.000_001).contains(&y), "{x} {y}");
        }
    }
}
