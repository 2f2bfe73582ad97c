// Camera rays.

import package::layout::{NONE, params};
import package::film::filter_offset;
import package::features::HAS_MOTION;
import package::hash::unit_float;
import package::motion::{camera_vector, moment_at};
import package::sampler::{PAIR_FILTER, PAIR_LENS, sample_pair};
import package::traverse::{ray_from, Ray};
import package::vector::{cos_sin_turn, normalize3};

const FAR: f32 = 1.0e30;

// Where the camera is, and its axes.
struct View {
    right: vec3<f32>,
    up: vec3<f32>,
    back: vec3<f32>,
    position: vec3<f32>,
}

fn view_at(time: u32) -> View {
    let still = View(
        params.camera_right.xyz,
        params.camera_up.xyz,
        params.camera_back.xyz,
        params.camera_position.xyz,
    );
    if (!HAS_MOTION || params.camera_keys == NONE) {
        return still;
    }
    let moment = moment_at(time);
    return View(
        normalize3(camera_vector(still.right, 0u, moment)),
        normalize3(camera_vector(still.up, 1u, moment)),
        normalize3(camera_vector(still.back, 2u, moment)),
        camera_vector(still.position, 3u, moment),
    );
}

// The ray of one sample of a pixel at a time; x grows to the right and y downwards.
fn camera_ray(x: u32, y: u32, key: u32, sample: u32, time: u32) -> Ray {
    let view = view_at(time);
    let place = sample_pair(key, sample, PAIR_FILTER);
    let film_x = f32(x) + 0.5 + filter_offset(place.x);
    let film_y = f32(y) + 0.5 + filter_offset(place.y);
    let right = (2.0 * film_x / f32(params.width) - 1.0) * params.camera_right.w;
    let up = (1.0 - 2.0 * film_y / f32(params.height)) * params.camera_up.w;
    let aside = view.right * right + view.up * up;
    if (params.camera_back.w != 1.0) {
        return ray_from(view.position + aside, -view.back, FAR);
    }
    let through_centre = aside - view.back;
    if (params.camera_position.w > 0.0) {
        return lens_ray(view, through_centre, sample_pair(key, sample, PAIR_LENS));
    }
    return ray_from(view.position, normalize3(through_centre), FAR);
}

// A ray through a point of the lens, even by area, to where the ray through its
// centre meets the plane in focus (Cook, Porter & Carpenter 1984; pbrt-v4, section
// 5.2.3). `through_centre` is 1 long along the view.
fn lens_ray(view: View, through_centre: vec3<f32>, bits: vec2<u32>) -> Ray {
    let turn = cos_sin_turn(bits.x);
    let radius = params.camera_position.w * sqrt(unit_float(bits.y));
    let aside = (view.right * turn.x + view.up * turn.y) * radius;
    let direction = normalize3(through_centre * params.focus_distance - aside);
    return ray_from(view.position + aside, direction, FAR);
}
