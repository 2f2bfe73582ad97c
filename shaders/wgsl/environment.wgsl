// What surrounds the scene: a constant, or an equirectangular map whose centre
// looks along −Z, with +Y up and u growing to the right.

import package::layout::{params, texel_at};
import package::features::HAS_SKY_MAP;
import package::hash::{multiply_wide, unit_float};
import package::vector::{arc_tangent, cos_sin_turn, INVERSE_PI, PI};

// A direction of the map with its density per solid angle.
struct SkySample {
    direction: vec3<f32>,
    radiance: vec3<f32>,
    pdf: f32,
}

fn sky_is_map() -> bool {
    return HAS_SKY_MAP && params.sky.w == 1.0;
}

// Map coordinates of a world direction, (0, 0) the top left corner.
fn sky_coordinates(direction: vec3<f32>) -> vec2<f32> {
    // Back by the map's turn about +Y.
    let x = direction.x * params.sky_turn.x - direction.z * params.sky_turn.y;
    let z = direction.x * params.sky_turn.y + direction.z * params.sky_turn.x;
    let u = 0.5 + arc_tangent(x, -z) * (0.5 * INVERSE_PI);
    let v = arc_tangent(sqrt(x * x + z * z), direction.y) * INVERSE_PI;
    return vec2<f32>(u, v);
}

fn sky_texel(x: u32, y: u32) -> vec3<f32> {
    let i = params.sky_texels + 3u * (y * params.sky_width + x);
    return vec3<f32>(bitcast<f32>(texel_at(i)), bitcast<f32>(texel_at(i + 1u)), bitcast<f32>(texel_at(i + 2u)));
}

// Bilinear, around the horizon and held at the poles.
fn sky_map_radiance(uv: vec2<f32>) -> vec3<f32> {
    let x = uv.x * f32(params.sky_width) - 0.5;
    let y = clamp(uv.y * f32(params.sky_height) - 0.5, 0.0, f32(params.sky_height - 1u));
    let left = floor(x);
    let weight_x = x - left;
    let y0 = min(u32(y), params.sky_height - 1u);
    let weight_y = y - f32(y0);
    let y1 = min(y0 + 1u, params.sky_height - 1u);
    let x0 = u32(i32(left) + i32(params.sky_width)) % params.sky_width;
    let x1 = (x0 + 1u) % params.sky_width;
    let upper = sky_texel(x0, y0) * (1.0 - weight_x) + sky_texel(x1, y0) * weight_x;
    let lower = sky_texel(x0, y1) * (1.0 - weight_x) + sky_texel(x1, y1) * weight_x;
    return (upper * (1.0 - weight_y) + lower * weight_y) * params.sky.x;
}

// Density per solid angle of the map's sampling in a cell, at height v.
fn sky_density(cell: u32, sine: f32) -> f32 {
    let share = bitcast<f32>(texel_at(params.sky_cells + 3u * cell + 2u));
    let cells = f32(params.sky_columns * params.sky_rows);
    return share * cells / (2.0 * PI * PI * max(sine, 1.0e-6));
}

// Radiance from a direction, and the density with which `sample_sky` finds it.
fn sky_radiance(direction: vec3<f32>) -> vec4<f32> {
    if (!sky_is_map()) {
        return vec4<f32>(params.sky.xyz, 0.0);
    }
    let uv = sky_coordinates(direction);
    let column = min(u32(uv.x * f32(params.sky_columns)), params.sky_columns - 1u);
    let row = min(u32(uv.y * f32(params.sky_rows)), params.sky_rows - 1u);
    let sine = sqrt(max(1.0 - direction.y * direction.y, 0.0));
    return vec4<f32>(sky_map_radiance(uv), sky_density(row * params.sky_columns + column, sine));
}

// Chooses a cell of the map by an alias table with integer thresholds and a
// point in it evenly.
fn sample_sky(choice: u32, bits: vec2<u32>) -> SkySample {
    let place = multiply_wide(choice, params.sky_columns * params.sky_rows);
    var cell = place.x;
    if ((place.y >> 16u) >= texel_at(params.sky_cells + 3u * cell + 1u)) {
        cell = texel_at(params.sky_cells + 3u * cell);
    }
    let column = cell % params.sky_columns;
    let row = cell / params.sky_columns;
    let u = (f32(column) + unit_float(bits.x)) / f32(params.sky_columns);
    let v = (f32(row) + unit_float(bits.y)) / f32(params.sky_rows);
    // Angles as fractions of a turn in 24 bits.
    let around = cos_sin_turn((u32(u * 16777216.0) << 8u) - 0x80000000u);
    let down = cos_sin_turn(u32(v * 16777216.0) << 7u);
    let x = around.y * down.y;
    let z = -around.x * down.y;
    let direction = vec3<f32>(
        x * params.sky_turn.x + z * params.sky_turn.y,
        down.x,
        z * params.sky_turn.x - x * params.sky_turn.y,
    );
    return SkySample(direction, sky_map_radiance(vec2<f32>(u, v)), sky_density(cell, down.y));
}
