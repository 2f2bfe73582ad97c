// Where in the pixel a sample falls: the reconstruction filter is applied by
// importance sampling (Ernst, Stamminger & Greiner 2006, "Filter Importance
// Sampling"), so that every sample weighs 1 and belongs to one pixel alone.

import package::layout::{params, texels, FILTER_BOX, FILTER_INTERVALS};
import package::hash::{multiply_wide, unit_float};

// The inverse distribution of the filter along one axis, in pixels from the
// pixel's centre.
fn filter_offset(bits: u32) -> f32 {
    if (params.filter_kind == FILTER_BOX) {
        return unit_float(bits) - 0.5;
    }
    let place = multiply_wide(bits, FILTER_INTERVALS);
    let low = bitcast<f32>(texels[params.filter_table + place.x]);
    let high = bitcast<f32>(texels[params.filter_table + place.x + 1u]);
    return low + (high - low) * unit_float(place.y);
}

// Whether a float is neither infinite nor not a number, asked of its bits
// because compilers may assume that floats always are.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

// A sample's radiance as the film takes it: a sample that overflowed counts as
// black rather than spoil its pixel.
fn film_radiance(radiance: vec3<f32>) -> vec3<f32> {
    if (is_finite(radiance.x) && is_finite(radiance.y) && is_finite(radiance.z)) {
        return max(radiance, vec3<f32>(0.0));
    }
    return vec3<f32>(0.0);
}
