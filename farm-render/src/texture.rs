//! Images and materials as the kernel reads them.

use std::collections::BTreeMap;

use farm_scene::{AlphaMode, Filter, Image, Scene, Texels, Wrap};
use glam::Vec3;

use crate::layout::{Material, TextureSlot, material_flags, texture_flags};
use crate::pack::{to_f32, word_index};
use bytemuck::Zeroable;

/// Packs every material, and appends to `texels` the images that they use.
pub(crate) fn pack_materials(scene: &Scene, texels: &mut Vec<u32>) -> Vec<Material> {
    let mut images = Images { scene, texels, first_words: BTreeMap::new() };
    scene.materials.iter().map(|material| pack_material(material, &mut images)).collect()
}

fn pack_material(material: &farm_scene::Material, images: &mut Images<'_>) -> Material {
    let (mut flags, mut cutoff) = (0, 0.0);
    match material.alpha {
        AlphaMode::Opaque => {}
        AlphaMode::Mask { cutoff: least } => {
            flags |= material_flags::MASK;
            cutoff = least;
        }
        AlphaMode::Blend => flags |= material_flags::BLEND,
    }
    if material.double_sided {
        flags |= material_flags::DOUBLE_SIDED;
    }
    if material.unlit {
        flags |= material_flags::UNLIT;
    } else if emits(material) {
        flags |= material_flags::EMISSIVE;
    }
    if material.is_solid() {
        flags |= material_flags::SOLID;
    }
    let textured = material.slots_in_order();
    let textures = (0..textured.len()).filter(|&i| textured[i].is_some()).fold(0, |bits, i| bits | 1 << i);
    let f0 = ((material.ior - 1.0) / (material.ior + 1.0)).powi(2);
    // An index of 1 is no interface at all: nothing is reflected at any angle.
    let factor = if material.ior == 1.0 { 0.0 } else { material.specular };
    let farm_scene::Material { coat, sheen, anisotropy, iridescence, transmission, .. } = material;
    let (sine, cosine) = f64::from(anisotropy.rotation).sin_cos();
    Material {
        base_color: material.base_color.to_array(),
        emissive: material.emissive.extend(cutoff).to_array(),
        specular: (material.specular_color * f0).extend(factor).to_array(),
        coat: [coat.factor, coat.roughness, coat.normal_scale, 0.0],
        sheen: sheen.color.extend(sheen.roughness).to_array(),
        anisotropy: [anisotropy.strength, to_f32(cosine), to_f32(sine), 0.0],
        iridescence: [
            iridescence.factor,
            iridescence.ior,
            iridescence.thickness_minimum,
            iridescence.thickness_maximum,
        ],
        transmission: [
            transmission.factor,
            transmission.diffuse,
            index_of_refraction(material),
            spread(material.ior, transmission),
        ],
        diffuse_transmission: transmission.diffuse_color.extend(0.0).to_array(),
        absorption: transmission.volume.map_or(Vec3::ZERO, |v| v.absorption()).extend(0.0).to_array(),
        metallic: material.metallic,
        roughness: material.roughness,
        normal_scale: material.normal_scale,
        flags,
        textures,
        slots: textured.map(|slot| images.slot(slot.copied())),
        ..Material::zeroed()
    }
}

/// The index that light is refracted by. 0, which means a mirror
/// (`KHR_materials_ior`), bends no light that could be seen.
fn index_of_refraction(material: &farm_scene::Material) -> f32 {
    if material.ior == 0.0 { 1000.0 } else { material.ior }
}

/// Half of what the index of refraction grows by from red to blue, as
/// `KHR_materials_dispersion` has it: the index's excess over 1, over the Abbe
/// number, is the difference between the lines C and F.
fn spread(ior: f32, transmission: &farm_scene::Transmission) -> f32 {
    (ior - 1.0).max(0.0) * 0.025 * transmission.dispersion
}

/// Whether a material's surface sends out light that lights are chosen for.
pub(crate) fn emits(material: &farm_scene::Material) -> bool {
    !material.unlit && material.emissive.max_element() > 0.0
}

/// Images already appended, each once however many materials use it.
struct Images<'a> {
    scene: &'a Scene,
    texels: &'a mut Vec<u32>,
    first_words: BTreeMap<u32, u32>,
}

impl Images<'_> {
    fn slot(&mut self, slot: Option<farm_scene::TextureSlot>) -> TextureSlot {
        let Some(slot) = slot else { return TextureSlot::zeroed() };
        let texture = self.scene.textures[slot.texture as usize];
        let image = &self.scene.images[texture.image as usize];
        let texels = &mut *self.texels;
        let first = *self.first_words.entry(texture.image).or_insert_with(|| append_image(image, texels));
        let mut flags = wrap_bits(texture.wrap_u) << texture_flags::WRAP_U_SHIFT
            | wrap_bits(texture.wrap_v) << texture_flags::WRAP_V_SHIFT;
        if image.srgb {
            flags |= texture_flags::SRGB;
        }
        if matches!(image.texels, Texels::Rgba16(_)) {
            flags |= texture_flags::WIDE;
        }
        if texture.filter == Filter::Nearest {
            flags |= texture_flags::NEAREST;
        }
        if slot.uv_set == 1 {
            flags |= texture_flags::UV1;
        }
        let [row_u, row_v] = slot.transform.map(|row| row.extend(0.0).to_array());
        TextureSlot { row_u, row_v, texels: first, width: image.width, height: image.height, flags }
    }
}

fn append_image(image: &Image, words: &mut Vec<u32>) -> u32 {
    let first = word_index(words.len());
    match &image.texels {
        Texels::Rgba8(bytes) => {
            words.extend(bytes.as_chunks().0.iter().map(|&texel| u32::from_le_bytes(texel)))
        }
        Texels::Rgba16(values) => {
            words.extend(
                values.as_chunks::<2>().0.iter().map(|[low, high]| u32::from(*low) | u32::from(*high) << 16),
            );
        }
    }
    first
}

fn wrap_bits(wrap: Wrap) -> u32 {
    match wrap {
        Wrap::Repeat => 0,
        Wrap::MirroredRepeat => 1,
        Wrap::ClampToEdge => 2,
    }
}

/// IEC 61966-2-1.
fn srgb_to_linear(byte: u8) -> f64 {
    let encoded = f64::from(byte) / 255.0;
    if encoded <= 0.04045 { encoded / 12.92 } else { ((encoded + 0.055) / 1.055).powf(2.4) }
}

/// Mean linear colour of an image's texels.
pub(crate) fn mean_color(image: &Image) -> [f64; 3] {
    let mut sum = [0.0_f64; 3];
    let mut add = |texel: [f64; 3]| sum.iter_mut().zip(texel).for_each(|(sum, value)| *sum += value);
    match &image.texels {
        Texels::Rgba8(bytes) => {
            let linear = |byte: u8| f64::from(byte) / 255.0;
            let curve: Vec<f64> =
                (0..=255).map(|byte| if image.srgb { srgb_to_linear(byte) } else { linear(byte) }).collect();
            for [r, g, b, _] in bytes.as_chunks().0 {
                add([curve[usize::from(*r)], curve[usize::from(*g)], curve[usize::from(*b)]]);
            }
        }
        Texels::Rgba16(values) => {
            for [r, g, b, _] in values.as_chunks().0 {
                add([r, g, b].map(|&value| f64::from(value) / 65535.0));
            }
        }
    }
    let count = f64::from(image.width) * f64::from(image.height);
    sum.map(|s| s / count)
}
