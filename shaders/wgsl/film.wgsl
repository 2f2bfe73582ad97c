// Where in the pixel a sample falls: the reconstruction filter is applied by
// importance sampling (Ernst, Stamminger & Greiner 2006, "Filter Importance
// Sampling"), so that every sample weighs 1 and belongs to one pixel alone.

import package::layout::{params, texel_at, FILTER_BOX, FILTER_OCTAVES, FILTER_PARTS_BITS};
import package::hash::unit_float;

// The inverse distribution of the filter along one axis, in pixels from the
// pixel's centre, ascending in `bits`. The table has distances from the centre by
// the share of the half that lies further out: in even parts of octaves of that
// share, because the distance grows fastest where little is left.
fn filter_offset(bits: u32) -> f32 {
    if (params.filter_kind == FILTER_BOX) {
        return unit_float(bits) - 0.5;
    }
    let is_right = (bits >> 31u) == 1u;
    let beyond = select(bits, ~bits, is_right) << 1u;
    let octave = min(countLeadingZeros(beyond), FILTER_OCTAVES - 1u);
    // The bits below the leading one; in the last octave all that are left.
    let within = beyond << min(octave + 1u, FILTER_OCTAVES - 1u);
    let part = within >> (32u - FILTER_PARTS_BITS);
    let place = params.filter_table + ((FILTER_OCTAVES - 1u - octave) << FILTER_PARTS_BITS) + part;
    let low = bitcast<f32>(texel_at(place));
    let high = bitcast<f32>(texel_at(place + 1u));
    let distance = low + (high - low) * unit_float(within << FILTER_PARTS_BITS);
    return select(-distance, distance, is_right);
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
