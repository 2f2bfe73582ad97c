// What moves while the shutter is open. It is known at the ends of equal parts of
// that time, and in each part it moves evenly along straight lines.

import package::layout::{
    attribute_at, params, triangle_at, Triangle, TRIANGLE_KEYS_SHIFT, TRIANGLE_MOVES,
};
import package::features::HAS_MOTION;
import package::hash::{multiply_wide, unit_float};
import package::sampler::{PAIR_TIME, sample_pair};

// A time: the part that it is in, and how much of that is over.
struct Moment {
    part: u32,
    over: f32,
}

// The time of a path in units of 2⁻³² of the shutter's; paths of one pixel share
// it out evenly. 0 where nothing moves.
fn shutter_time(key: u32, sample: u32) -> u32 {
    if (!HAS_MOTION || params.motion_parts == 0u) {
        return 0u;
    }
    return sample_pair(key, sample, PAIR_TIME).x;
}

fn moment_at(time: u32) -> Moment {
    let place = multiply_wide(time, params.motion_parts);
    return Moment(place.x, unit_float(place.y));
}

// Between two places. What is in one place in both is there exactly.
fn between(first: vec3<f32>, second: vec3<f32>, over: f32) -> vec3<f32> {
    return first + (second - first) * over;
}

fn corner_between(first: vec4<u32>, second: vec4<u32>, over: f32) -> vec3<u32> {
    return bitcast<vec3<u32>>(between(bitcast<vec3<f32>>(first.xyz), bitcast<vec3<f32>>(second.xyz), over));
}

// A triangle where it is at a time.
fn triangle_at_time(triangle: Triangle, time: u32) -> Triangle {
    if (!HAS_MOTION || (triangle.c.w & TRIANGLE_MOVES) == 0u) {
        return triangle;
    }
    let moment = moment_at(time);
    let next = (triangle.c.w >> TRIANGLE_KEYS_SHIFT) + moment.part;
    var first = triangle;
    if (moment.part > 0u) {
        first = triangle_at(next - 1u);
    }
    let second = triangle_at(next);
    return Triangle(
        vec4<u32>(corner_between(first.a, second.a, moment.over), triangle.a.w),
        vec4<u32>(corner_between(first.b, second.b, moment.over), triangle.b.w),
        vec4<u32>(corner_between(first.c, second.c, moment.over), triangle.c.w),
    );
}

fn key_vector(base: u32) -> vec3<f32> {
    return vec3<f32>(
        bitcast<f32>(attribute_at(base)),
        bitcast<f32>(attribute_at(base + 1u)),
        bitcast<f32>(attribute_at(base + 2u)),
    );
}

// One of the vectors of the camera, of which each key has four.
fn camera_vector(still: vec3<f32>, index: u32, moment: Moment) -> vec3<f32> {
    let next = params.camera_keys + 12u * moment.part + 3u * index;
    var first = still;
    if (moment.part > 0u) {
        first = key_vector(next - 12u);
    }
    return between(first, key_vector(next), moment.over);
}
