// Camera rays.

import package::layout::params;
import package::film::filter_offset;
import package::traverse::{ray_from, Ray};
import package::vector::normalize3;

const FAR: f32 = 1.0e30;

// The ray of one sample of a pixel; x grows to the right and y downwards.
fn camera_ray(x: u32, y: u32, place: vec2<u32>) -> Ray {
    let film_x = f32(x) + 0.5 + filter_offset(place.x);
    let film_y = f32(y) + 0.5 + filter_offset(place.y);
    let right = (2.0 * film_x / f32(params.width) - 1.0) * params.camera_right.w;
    let up = (1.0 - 2.0 * film_y / f32(params.height)) * params.camera_up.w;
    let aside = params.camera_right.xyz * right + params.camera_up.xyz * up;
    if (params.camera_back.w == 1.0) {
        let direction = normalize3(aside - params.camera_back.xyz);
        return ray_from(params.camera_position.xyz, direction, FAR);
    }
    return ray_from(params.camera_position.xyz + aside, -params.camera_back.xyz, FAR);
}
