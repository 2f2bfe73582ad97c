//! Cameras.

use glam::{DAffine3, DMat3, DVec3};
use gltf::json;

use super::{finite, nodes};
use crate::error::{Fault, Problem};
use crate::load::Warnings;
use crate::scene::{Camera, Lens, Projection};

/// Reads a camera at a node; `None`, with a warning, where the node is scaled
/// to nothing.
pub(super) fn read(
    file: &json::Camera,
    name: &str,
    transform: DAffine3,
    place: &str,
    warnings: &mut Warnings,
) -> Result<Option<Camera>, Fault> {
    let projection = projection(file, place, warnings)?;
    let Some(axes) = axes(&transform) else {
        warnings.push(format!("{place} is scaled to nothing; its camera is left out"));
        return Ok(None);
    };
    let transform = nodes::rounded(DAffine3 { matrix3: axes, translation: transform.translation });
    Ok(Some(Camera { name: name.to_owned(), transform, projection }))
}

/// What a camera's `extras` may say of its lens: an option of ours.
#[derive(serde::Deserialize)]
struct Extras {
    #[serde(rename = "fNumber")]
    f_number: f32,
    #[serde(rename = "focusDistance")]
    focus_distance: f32,
}

/// The lens in a camera's `extras`. Extras are anybody's, so that what is not a
/// lens is no error.
fn lens(file: &json::Camera, place: &str, warnings: &mut Warnings) -> Option<Lens> {
    let extras: serde_json::Map<_, _> = serde_json::from_str(file.extras.as_ref()?.get()).ok()?;
    if !extras.contains_key("fNumber") {
        return None;
    }
    let lens = serde_json::from_value(serde_json::Value::Object(extras)).ok();
    let lens = lens.map(|Extras { f_number, focus_distance }| Lens { f_number, focus_distance });
    if lens.is_none() {
        warnings
            .push(format!("{place}.extras needs two numbers, fNumber and focusDistance; a pinhole is used"));
    }
    lens
}

fn projection(file: &json::Camera, place: &str, warnings: &mut Warnings) -> Result<Projection, Fault> {
    let outside = |what, value: f32, expected| {
        Err(Fault::new(place, Problem::OutOfDomain { what, value: f64::from(value), expected }))
    };
    if let Some(perspective) = &file.perspective {
        let vertical_fov = finite(perspective.yfov, "yfov", place)?;
        if !(vertical_fov > 1e-6 && vertical_fov < std::f32::consts::PI - 1e-6) {
            return outside("yfov", vertical_fov, "between 0 and π");
        }
        return Ok(Projection::Perspective { vertical_fov, lens: lens(file, place, warnings) });
    }
    let Some(orthographic) = &file.orthographic else {
        return Err(Fault::new(place, Problem::Missing("the camera's projection")));
    };
    let half_height = finite(orthographic.ymag, "ymag", place)?.abs();
    if half_height == 0.0 {
        return outside("ymag", half_height, "a number other than 0");
    }
    Ok(Projection::Orthographic { half_height })
}

/// The camera's axes without the node's scale: the direction of view stays,
/// the others are made orthogonal to it.
fn axes(transform: &DAffine3) -> Option<DMat3> {
    let z = transform.matrix3.z_axis.try_normalize()?;
    let x = transform.matrix3.y_axis.cross(z).try_normalize()?;
    let y: DVec3 = z.cross(x);
    Some(DMat3::from_cols(x, y, z))
}

/// The camera under a name that no other has.
pub(super) fn unique(mut camera: Camera, others: &[Camera]) -> Camera {
    let is_taken = |name: &str| others.iter().any(|other| other.name == name);
    if is_taken(&camera.name) {
        let numbered = (2..=others.len() + 2).map(|i| format!("{} ({i})", camera.name));
        if let Some(name) = numbered.into_iter().find(|name| !is_taken(name)) {
            camera.name = name;
        }
    }
    camera
}
