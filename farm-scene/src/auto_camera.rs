//! A camera for scenes that bring none.

use glam::{Affine3A, Mat3A, Vec3};

use crate::scene::{Camera, Projection, Scene};
use crate::validate::transform_bounds;

/// sin and cos of half the vertical field of view of 45°, written out so that
/// every machine frames a scene with the same bits.
const HALF_FOV: (f32, f32) = (0.382_683_43, 0.923_879_5);
/// sin and cos of the elevation of 15° from which the scene is seen.
const ELEVATION: (f32, f32) = (0.258_819_04, 0.965_925_8);
/// Room around the bounding sphere.
const MARGIN: f32 = 1.05;

/// Frames the whole bounding sphere of the world from the +Z side, slightly
/// from above, for frames of any shape.
pub(crate) fn frame(scene: &Scene, aspect_ratio: f32) -> Camera {
    let (low, high) = world_bounds(scene);
    let center = low.midpoint(high);
    let radius = (high.distance(low) / 2.0).max(1e-3);
    let (sin_vertical, cos_vertical) = HALF_FOV;
    let tan_horizontal = sin_vertical / cos_vertical * aspect_ratio;
    let sin_horizontal = tan_horizontal / (1.0 + tan_horizontal * tan_horizontal).sqrt();
    let distance = radius * MARGIN / sin_vertical.min(sin_horizontal);
    let (sin, cos) = ELEVATION;
    let backward = Vec3::new(0.0, sin, cos);
    let axes = Mat3A::from_cols(glam::Vec3A::X, glam::Vec3A::new(0.0, cos, -sin), backward.into());
    Camera {
        name: "automatic".to_owned(),
        transform: Affine3A { matrix3: axes, translation: (center + backward * distance).into() },
        projection: Projection::Perspective { vertical_fov: std::f32::consts::FRAC_PI_4, lens: None },
    }
}

/// The box around all instances, made of the boxes around their meshes' boxes.
pub(crate) fn world_bounds(scene: &Scene) -> (Vec3, Vec3) {
    let boxes: Vec<_> = scene.meshes.iter().map(crate::Mesh::bounds).collect();
    scene
        .instances
        .iter()
        .map(|instance| transform_bounds(&instance.transform, boxes[instance.mesh as usize]))
        .reduce(|(low, high), (l, h)| (low.min(l), high.max(h)))
        .unwrap_or((Vec3::ZERO, Vec3::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::scenes::textured_quad;

    #[test]
    fn whole_sphere_is_visible_at_any_aspect_ratio() {
        let mut scene = textured_quad();
        scene.instances[0].transform = Affine3A::from_translation(Vec3::new(100.0, -3.0, 7.0));
        for aspect_ratio in [0.25_f32, 0.5625, 1.0, 1.777, 8.0] {
            let camera = frame(&scene, aspect_ratio);
            let (low, high) = world_bounds(&scene);
            let (center, radius) = (low.midpoint(high), high.distance(low) / 2.0);
            let to_camera = camera.transform.inverse();
            let seen = to_camera.transform_point3(center);
            assert!(seen.x.abs() < 1e-3 && seen.y.abs() < 1e-3 && seen.z < 0.0, "{seen}");
            let tan_vertical = (std::f32::consts::FRAC_PI_8).tan();
            for tan in [tan_vertical, tan_vertical * aspect_ratio] {
                let distance_to_edge_plane = -seen.z * tan.atan().sin();
                assert!(distance_to_edge_plane >= radius, "aspect {aspect_ratio}");
            }
            let eye = Vec3::from(camera.transform.translation);
            assert!(eye.z > high.z && eye.y > center.y, "the view is from +Z and above");
        }
    }
}
