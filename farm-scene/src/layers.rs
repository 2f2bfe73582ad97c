//! The layers of a material beyond glTF's base: what its extensions describe.

use glam::Vec3;
use serde::{Deserialize, Serialize};

use crate::scene::TextureSlot;

/// A clear coat (`KHR_materials_clearcoat`): a dielectric of index 1.5 on top.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coat {
    /// Share that is coated.
    pub factor: f32,
    /// Linear texture whose red is multiplied onto `factor`.
    pub texture: Option<TextureSlot>,
    /// Perceptual roughness.
    pub roughness: f32,
    /// Linear texture whose green is multiplied onto `roughness`.
    pub roughness_texture: Option<TextureSlot>,
    /// Linear tangent-space normal map of the coat alone.
    pub normal_texture: Option<TextureSlot>,
    /// Scales that map's x and y.
    pub normal_scale: f32,
}

impl Default for Coat {
    fn default() -> Self {
        Self {
            factor: 0.0,
            texture: None,
            roughness: 0.0,
            roughness_texture: None,
            normal_texture: None,
            normal_scale: 1.0,
        }
    }
}

/// Back-scattering of cloth (`KHR_materials_sheen`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sheen {
    /// Linear colour; black for none.
    pub color: Vec3,
    /// sRGB texture multiplied onto `color`.
    pub color_texture: Option<TextureSlot>,
    /// Roughness; α = roughness².
    pub roughness: f32,
    /// Linear texture whose alpha is multiplied onto `roughness`.
    pub roughness_texture: Option<TextureSlot>,
}

/// Roughness that depends on the direction (`KHR_materials_anisotropy`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Anisotropy {
    /// 0 for none, to 1; along its direction α goes to 1 with the square of it.
    pub strength: f32,
    /// Turn of the direction against the tangent, counter-clockwise, in radians.
    pub rotation: f32,
    /// Linear texture: red and green are the direction, blue is multiplied onto
    /// `strength`.
    pub texture: Option<TextureSlot>,
}

/// A thin film (`KHR_materials_iridescence`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Iridescence {
    /// Share that has the film.
    pub factor: f32,
    /// Linear texture whose red is multiplied onto `factor`.
    pub texture: Option<TextureSlot>,
    /// Index of refraction of the film.
    pub ior: f32,
    /// Thickness where the texture's green is 0, in nanometres.
    pub thickness_minimum: f32,
    /// Thickness where it is 1 or there is none.
    pub thickness_maximum: f32,
    /// Linear texture whose green is the thickness between the two.
    pub thickness_texture: Option<TextureSlot>,
}

impl Default for Iridescence {
    fn default() -> Self {
        Self {
            factor: 0.0,
            texture: None,
            ior: 1.3,
            thickness_minimum: 100.0,
            thickness_maximum: 400.0,
            thickness_texture: None,
        }
    }
}

/// Light that goes through (`KHR_materials_transmission`,
/// `KHR_materials_diffuse_transmission`, `KHR_materials_volume`,
/// `KHR_materials_dispersion`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transmission {
    /// Share of the dielectric that lets light through.
    pub factor: f32,
    /// Linear texture whose red is multiplied onto `factor`.
    pub texture: Option<TextureSlot>,
    /// Share of the diffuse light that leaves on the other side.
    pub diffuse: f32,
    /// Linear texture whose alpha is multiplied onto `diffuse`.
    pub diffuse_texture: Option<TextureSlot>,
    /// Linear colour of that share.
    pub diffuse_color: Vec3,
    /// sRGB texture multiplied onto `diffuse_color`.
    pub diffuse_color_texture: Option<TextureSlot>,
    /// What the surface encloses; `None` where it is thin-walled.
    pub volume: Option<Volume>,
    /// 20 over the Abbe number; 0 for none.
    pub dispersion: f32,
}

impl Default for Transmission {
    fn default() -> Self {
        Self {
            factor: 0.0,
            texture: None,
            diffuse: 0.0,
            diffuse_texture: None,
            diffuse_color: Vec3::ONE,
            diffuse_color_texture: None,
            volume: None,
            dispersion: 0.0,
        }
    }
}

/// A homogeneous medium that absorbs light.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// Linear colour that white light has after `attenuation_distance`.
    pub attenuation_color: Vec3,
    /// Metres; `None` for a medium that absorbs nothing.
    pub attenuation_distance: Option<f32>,
}

impl Volume {
    /// Absorption of each channel per metre.
    #[must_use]
    pub fn absorption(&self) -> Vec3 {
        let Some(distance) = self.attenuation_distance else { return Vec3::ZERO };
        let absorption = self.attenuation_color.to_array().map(|channel| match channel {
            // A black one absorbs infinitely much; this is all in less than a nanometre.
            0.0 => 1e12,
            _ => -f64::from(channel).ln() / f64::from(distance),
        });
        glam::DVec3::from_array(absorption).as_vec3().abs()
    }
}
