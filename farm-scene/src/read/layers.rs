//! The layers of a material: the extensions that the glTF crate does not type.

use glam::Vec3;
use gltf::json;
use json::material::NormalTexture;
use json::texture::Info;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::materials::{Encoding, MaterialTable};
use super::{Context, clamped};
use crate::error::{Fault, Problem};
use crate::layers::{Anisotropy, Coat, Iridescence, Sheen, Transmission, Volume};
use crate::load::Warnings;
use crate::scene::Material;

/// Angles and thicknesses of films beyond this are mistakes.
const LARGEST: f32 = 1e6;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileCoat {
    clearcoat_factor: f32,
    clearcoat_texture: Option<Info>,
    clearcoat_roughness_factor: f32,
    clearcoat_roughness_texture: Option<Info>,
    clearcoat_normal_texture: Option<NormalTexture>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileSheen {
    sheen_color_factor: [f32; 3],
    sheen_color_texture: Option<Info>,
    sheen_roughness_factor: f32,
    sheen_roughness_texture: Option<Info>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileAnisotropy {
    anisotropy_strength: f32,
    anisotropy_rotation: f32,
    anisotropy_texture: Option<Info>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileIridescence {
    iridescence_factor: f32,
    iridescence_texture: Option<Info>,
    iridescence_ior: f32,
    iridescence_thickness_minimum: f32,
    iridescence_thickness_maximum: f32,
    iridescence_thickness_texture: Option<Info>,
}

impl Default for FileIridescence {
    fn default() -> Self {
        let Iridescence { factor, ior, thickness_minimum, thickness_maximum, .. } = Iridescence::default();
        Self {
            iridescence_factor: factor,
            iridescence_texture: None,
            iridescence_ior: ior,
            iridescence_thickness_minimum: thickness_minimum,
            iridescence_thickness_maximum: thickness_maximum,
            iridescence_thickness_texture: None,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileTransmission {
    transmission_factor: f32,
    transmission_texture: Option<Info>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileDiffuseTransmission {
    diffuse_transmission_factor: f32,
    diffuse_transmission_texture: Option<Info>,
    diffuse_transmission_color_factor: [f32; 3],
    diffuse_transmission_color_texture: Option<Info>,
}

impl Default for FileDiffuseTransmission {
    fn default() -> Self {
        Self {
            diffuse_transmission_factor: 0.0,
            diffuse_transmission_texture: None,
            diffuse_transmission_color_factor: [1.0; 3],
            diffuse_transmission_color_texture: None,
        }
    }
}

/// `thicknessTexture` is left out on purpose: rays measure how thick things are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileVolume {
    thickness_factor: f32,
    attenuation_distance: Option<f32>,
    attenuation_color: [f32; 3],
}

impl Default for FileVolume {
    fn default() -> Self {
        Self { thickness_factor: 0.0, attenuation_distance: None, attenuation_color: [1.0; 3] }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FileDispersion {
    dispersion: f32,
}

/// Reads every layer of a material.
pub(super) struct LayerReader<'r, 'c, 'w> {
    pub(super) table: &'r mut MaterialTable,
    pub(super) context: &'r Context<'c>,
    pub(super) file: &'r json::Material,
    /// Where the material is in the file.
    pub(super) place: &'r str,
    pub(super) warnings: &'w mut Warnings,
}

impl LayerReader<'_, '_, '_> {
    /// Adds to `material` what the file says of its layers.
    pub(super) fn read(mut self, material: &mut Material) -> Result<(), Fault> {
        material.coat = self.coat()?;
        material.sheen = self.sheen()?;
        material.anisotropy = self.anisotropy()?;
        material.iridescence = self.iridescence()?;
        material.transmission = self.transmission()?;
        Ok(())
    }

    /// An extension of the material, by its name.
    fn extension<T: DeserializeOwned>(&self, name: &str) -> Result<Option<(T, String)>, Fault> {
        let value = self.file.extensions.as_ref().and_then(|extensions| extensions.others.get(name));
        let Some(value) = value else { return Ok(None) };
        let place = format!("{}.{name}", self.place);
        match serde_json::from_value(value.clone()) {
            Ok(extension) => Ok(Some((extension, place))),
            Err(error) => Err(Fault::new(place, Problem::Malformed(error.to_string()))),
        }
    }

    fn share(&mut self, value: f32, what: &'static str, place: &str) -> Result<f32, Fault> {
        clamped(value, (0.0, 1.0), what, place, self.warnings)
    }

    fn color(&mut self, value: [f32; 3], what: &'static str, place: &str) -> Result<Vec3, Fault> {
        let [red, green, blue] = value;
        Ok(Vec3::new(
            self.share(red, what, place)?,
            self.share(green, what, place)?,
            self.share(blue, what, place)?,
        ))
    }

    fn texture(
        &mut self,
        info: Option<&Info>,
        encoding: Encoding,
        name: &str,
        place: &str,
    ) -> Result<Option<crate::scene::TextureSlot>, Fault> {
        self.table.info(self.context, info, encoding, &format!("{place}.{name}"))
    }

    fn coat(&mut self) -> Result<Coat, Fault> {
        let Some((file, place)) = self.extension::<FileCoat>("KHR_materials_clearcoat")? else {
            return Ok(Coat::default());
        };
        let normal = file.clearcoat_normal_texture.as_ref();
        let linear = Encoding::Linear;
        Ok(Coat {
            factor: self.share(file.clearcoat_factor, "clearcoatFactor", &place)?,
            texture: self.texture(file.clearcoat_texture.as_ref(), linear, "clearcoatTexture", &place)?,
            roughness: self.share(file.clearcoat_roughness_factor, "clearcoatRoughnessFactor", &place)?,
            roughness_texture: self.texture(
                file.clearcoat_roughness_texture.as_ref(),
                linear,
                "clearcoatRoughnessTexture",
                &place,
            )?,
            normal_texture: self.table.normal_map(
                self.context,
                normal,
                &format!("{place}.clearcoatNormalTexture"),
            )?,
            normal_scale: match normal {
                Some(map) => {
                    clamped(map.scale, (-1e3, 1e3), "clearcoatNormalTexture.scale", &place, self.warnings)?
                }
                None => 1.0,
            },
        })
    }

    fn sheen(&mut self) -> Result<Sheen, Fault> {
        let Some((file, place)) = self.extension::<FileSheen>("KHR_materials_sheen")? else {
            return Ok(Sheen::default());
        };
        Ok(Sheen {
            color: self.color(file.sheen_color_factor, "sheenColorFactor", &place)?,
            color_texture: self.texture(
                file.sheen_color_texture.as_ref(),
                Encoding::Srgb,
                "sheenColorTexture",
                &place,
            )?,
            roughness: self.share(file.sheen_roughness_factor, "sheenRoughnessFactor", &place)?,
            roughness_texture: self.texture(
                file.sheen_roughness_texture.as_ref(),
                Encoding::Linear,
                "sheenRoughnessTexture",
                &place,
            )?,
        })
    }

    fn anisotropy(&mut self) -> Result<Anisotropy, Fault> {
        let Some((file, place)) = self.extension::<FileAnisotropy>("KHR_materials_anisotropy")? else {
            return Ok(Anisotropy::default());
        };
        Ok(Anisotropy {
            strength: self.share(file.anisotropy_strength, "anisotropyStrength", &place)?,
            rotation: clamped(
                file.anisotropy_rotation,
                (-LARGEST, LARGEST),
                "anisotropyRotation",
                &place,
                self.warnings,
            )?,
            texture: self.texture(
                file.anisotropy_texture.as_ref(),
                Encoding::Linear,
                "anisotropyTexture",
                &place,
            )?,
        })
    }

    fn iridescence(&mut self) -> Result<Iridescence, Fault> {
        let Some((file, place)) = self.extension::<FileIridescence>("KHR_materials_iridescence")? else {
            return Ok(Iridescence::default());
        };
        let thickness =
            |value, what, warnings: &mut Warnings| clamped(value, (0.0, LARGEST), what, &place, warnings);
        let linear = Encoding::Linear;
        Ok(Iridescence {
            factor: self.share(file.iridescence_factor, "iridescenceFactor", &place)?,
            texture: self.texture(file.iridescence_texture.as_ref(), linear, "iridescenceTexture", &place)?,
            ior: clamped(file.iridescence_ior, (1.0, 1e3), "iridescenceIor", &place, self.warnings)?,
            thickness_minimum: thickness(
                file.iridescence_thickness_minimum,
                "iridescenceThicknessMinimum",
                self.warnings,
            )?,
            thickness_maximum: thickness(
                file.iridescence_thickness_maximum,
                "iridescenceThicknessMaximum",
                self.warnings,
            )?,
            thickness_texture: self.texture(
                file.iridescence_thickness_texture.as_ref(),
                linear,
                "iridescenceThicknessTexture",
                &place,
            )?,
        })
    }

    fn transmission(&mut self) -> Result<Transmission, Fault> {
        let mut transmission = Transmission { volume: self.volume()?, ..Transmission::default() };
        if let Some((file, place)) = self.extension::<FileTransmission>("KHR_materials_transmission")? {
            transmission.factor = self.share(file.transmission_factor, "transmissionFactor", &place)?;
            let texture = file.transmission_texture.as_ref();
            transmission.texture = self.texture(texture, Encoding::Linear, "transmissionTexture", &place)?;
        }
        if let Some((file, place)) =
            self.extension::<FileDiffuseTransmission>("KHR_materials_diffuse_transmission")?
        {
            let factor = file.diffuse_transmission_factor;
            transmission.diffuse = self.share(factor, "diffuseTransmissionFactor", &place)?;
            let color = file.diffuse_transmission_color_factor;
            transmission.diffuse_color = self.color(color, "diffuseTransmissionColorFactor", &place)?;
            let texture = file.diffuse_transmission_texture.as_ref();
            transmission.diffuse_texture =
                self.texture(texture, Encoding::Linear, "diffuseTransmissionTexture", &place)?;
            let texture = file.diffuse_transmission_color_texture.as_ref();
            transmission.diffuse_color_texture =
                self.texture(texture, Encoding::Srgb, "diffuseTransmissionColorTexture", &place)?;
        }
        if let Some((file, place)) = self.extension::<FileDispersion>("KHR_materials_dispersion")? {
            transmission.dispersion =
                clamped(file.dispersion, (0.0, 1e3), "dispersion", &place, self.warnings)?;
        }
        Ok(transmission)
    }

    fn volume(&mut self) -> Result<Option<Volume>, Fault> {
        let Some((file, place)) = self.extension::<FileVolume>("KHR_materials_volume")? else {
            return Ok(None);
        };
        let thickness =
            clamped(file.thickness_factor, (0.0, f32::MAX), "thicknessFactor", &place, self.warnings)?;
        if thickness == 0.0 {
            return Ok(None);
        }
        let distance = file.attenuation_distance;
        let distance = distance
            .map(|distance| clamped(distance, (1e-6, 1e9), "attenuationDistance", &place, self.warnings))
            .transpose()?;
        let attenuation_color = self.color(file.attenuation_color, "attenuationColor", &place)?;
        Ok(Some(Volume { attenuation_color, attenuation_distance: distance }))
    }
}
