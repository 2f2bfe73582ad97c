//! Punctual lights (`KHR_lights_punctual`).

use glam::{DAffine3, Vec3};
use gltf::json::extensions::scene::khr_lights_punctual::{Light as FileLight, Type};
use gltf::json::validation::Checked;

use super::{Context, clamped, finite, named};
use crate::error::{Fault, Problem};
use crate::load::Warnings;
use crate::scene::{Light, LightKind};
use crate::validate::validate_light_radius;

/// Reads a light at a node. The node's scale does not touch it. `None`, with a
/// warning, where it has no direction or shines with no intensity.
pub(super) fn read(
    context: &Context<'_>,
    index: usize,
    transform: DAffine3,
    place: &str,
    warnings: &mut Warnings,
) -> Result<Option<Light>, Fault> {
    let lights = context.root.extensions.as_ref().and_then(|e| e.khr_lights_punctual.as_ref());
    let lights = lights.map_or(&[][..], |extension| &extension.lights);
    let file = named(lights, index, "light", place)?;
    let place = &format!("extensions.KHR_lights_punctual.lights[{index}]");
    let intensity = intensity(context, file, place, warnings)?;
    let position = transform.translation.as_vec3();
    let range = range(file, place)?;
    let radius = radius(context, file, place)?;
    let direction = (-transform.matrix3.z_axis).try_normalize().map(|axis| axis.as_vec3());
    let kind = match (&file.type_, direction) {
        (Checked::Valid(Type::Point), _) => LightKind::Point { position, range, radius },
        (Checked::Valid(_), None) => {
            warnings.push(format!("{place} stands on a node that is scaled to nothing; it is left out"));
            return Ok(None);
        }
        (Checked::Valid(Type::Directional), Some(direction)) => {
            if radius > 0.0 {
                warnings.push(format!("{place} is directional, so the radius in its extras has no part"));
            }
            LightKind::Directional { direction }
        }
        (Checked::Valid(Type::Spot), Some(direction)) => {
            let (inner_cone_angle, outer_cone_angle) = cone(file, place, warnings)?;
            LightKind::Spot { position, direction, range, inner_cone_angle, outer_cone_angle, radius }
        }
        (Checked::Invalid, _) => {
            return Err(Fault::new(place, Problem::Malformed("unknown type of light".to_owned())));
        }
    };
    Ok(Some(Light { intensity, kind }))
}

fn intensity(
    context: &Context<'_>,
    file: &FileLight,
    place: &str,
    warnings: &mut Warnings,
) -> Result<Vec3, Fault> {
    let largest = context.limits.radiance;
    let strength = clamped(file.intensity, (0.0, largest), "intensity", place, warnings)?;
    let mut color = Vec3::ZERO;
    for (channel, value) in color.as_mut().iter_mut().zip(file.color) {
        *channel = clamped(value, (0.0, largest), "color", place, warnings)?;
    }
    Ok((color * strength).min(Vec3::splat(largest)))
}

fn range(file: &FileLight, place: &str) -> Result<f32, Fault> {
    let Some(range) = file.range else {
        return Ok(f32::INFINITY);
    };
    if finite(range, "range", place)? <= 0.0 {
        let value = f64::from(range);
        return Err(Fault::new(
            place,
            Problem::OutOfDomain { what: "range", value, expected: "more than 0" },
        ));
    }
    Ok(range)
}

/// The radius in a light's `extras`, an option of ours: 0, a point, without one.
/// Extras are anybody's, but for an object's `radius`.
fn radius(context: &Context<'_>, file: &FileLight, place: &str) -> Result<f32, Fault> {
    let Some(extras) = &file.extras else { return Ok(0.0) };
    let malformed = |reason: String| Fault::new(format!("{place}.extras"), Problem::Malformed(reason));
    let extras: serde_json::Map<_, _> = match serde_json::from_str(extras.get()) {
        Ok(extras) => extras,
        Err(error) if error.is_data() => return Ok(0.0),
        Err(error) => return Err(malformed(error.to_string())),
    };
    let Some(radius) = extras.get("radius") else { return Ok(0.0) };
    let radius = radius.as_f64().ok_or_else(|| malformed("its radius is not a number".to_owned()))?;
    #[expect(clippy::cast_possible_truncation, reason = "what is too large becomes infinite and is refused")]
    let radius = radius as f32;
    validate_light_radius(radius, context.limits).map_err(|problem| Fault::new(place, problem))?;
    Ok(radius.abs())
}

fn cone(file: &FileLight, place: &str, warnings: &mut Warnings) -> Result<(f32, f32), Fault> {
    let spot =
        file.spot.as_ref().ok_or_else(|| Fault::new(place, Problem::Missing("the property `spot`")))?;
    let widest = std::f32::consts::FRAC_PI_2;
    let outer = clamped(spot.outer_cone_angle, (1e-4, widest), "outerConeAngle", place, warnings)?;
    let inner = clamped(spot.inner_cone_angle, (0.0, outer), "innerConeAngle", place, warnings)?;
    Ok((inner, outer))
}
