// Camera rays.

import package::layout::params;
import package::film::filter_offset;
import package::hash::unit_float;
import package::sampler::{PAIR_FILTER, PAIR_LENS, sample_pair};
import package::traverse::{ray_from, Ray};
import package::vector::{cos_sin_turn, normalize3};

const FAR: f32 = 1.0e30;

// The ray of one sample of a pixel; x grows to the right and y downwards.
fn camera_ray(x: u32, y: u32, key: u32, sample: u32) -> Ray {
    let place = sample_pair(key, sample, PAIR_FILTER);
    let film_x = f32(x) + 0.5 + filter_offset(place.x);
    let film_y = f32(y) + 0.5 + filter_offset(place.y);
    let right = (2.0 * film_x / f32(params.width) - 1.0) * params.camera_right.w;
    let up = (1.0 - 2.0 * film_y / f32(params.height)) * params.camera_up.w;
    let aside = params.camera_right.xyz * right + params.camera_up.xyz * up;
    if (params.camera_back.w != 1.0) {
        return ray_from(params.camera_position.xyz + aside, -params.camera_back.xyz, FAR);
    }
    let through_centre = aside - params.camera_back.xyz;
    if (params.camera_position.w > 0.0) {
        return lens_ray(through_centre, sample_pair(key, sample, PAIR_LENS));
    }
    return ray_from(params.camera_position.xyz, normalize3(through_centre), FAR);
}

// A ray through a point of the lens, even by area, to where the ray through its
// centre meets the plane in focus (Cook, Porter & Carpenter 1984; pbrt-v4, section
// 5.2.3). `through_centre` is 1 long along the view.
fn lens_ray(through_centre: vec3<f32>, bits: vec2<u32>) -> Ray {
    let turn = cos_sin_turn(bits.x);
    let radius = params.camera_position.w * sqrt(unit_float(bits.y));
    let aside = (params.camera_right.xyz * turn.x + params.camera_up.xyz * turn.y) * radius;
    let direction = normalize3(through_centre * params.focus_distance - aside);
    return ray_from(params.camera_position.xyz + aside, direction, FAR);
}
