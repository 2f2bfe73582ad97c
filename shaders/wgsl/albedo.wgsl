// Tables of how much the lobes reflect, which the host integrated.

import package::layout::{params, texel_at};

// Knots of the tables along each axis; the averages of the first follow it.
const ALBEDO_KNOTS: u32 = 32u;
const GLASS_KNOTS: u32 = 25u;
const SHEEN_KNOTS: u32 = 32u;
// The largest magnitude of (n − 1) / (n + 1) in the table of glass: an index of 4.
const GLASS_LIMIT: f32 = 0.6;

// Where a coordinate in [0, 1] lies among knots: the one before it and the part
// of the way to the next.
struct Knot {
    index: u32,
    part: f32,
}

fn knot_at(coordinate: f32, knots: u32) -> Knot {
    let place = clamp(coordinate, 0.0, 1.0) * f32(knots - 1u);
    let index = min(u32(place), knots - 2u);
    return Knot(index, place - f32(index));
}

// One word of the microfacet lobe's table: the part that F0 scales and the part
// that F90 scales, 16 bits each.
fn albedo_word(index: u32) -> vec2<f32> {
    let word = texel_at(params.albedo_table + index);
    return vec2<f32>(f32(word & 0xffffu), f32(word >> 16u)) * (1.0 / 65535.0);
}

// Directional albedo of the microfacet lobe: knots are even in the square root
// of the cosine and in the perceptual roughness.
fn lobe_albedo(cosine: f32, roughness: f32) -> vec2<f32> {
    let x = knot_at(sqrt(clamp(cosine, 0.0, 1.0)), ALBEDO_KNOTS);
    let y = knot_at(roughness, ALBEDO_KNOTS);
    let i = y.index * ALBEDO_KNOTS + x.index;
    let near = albedo_word(i) * (1.0 - x.part) + albedo_word(i + 1u) * x.part;
    let far =
        albedo_word(i + ALBEDO_KNOTS) * (1.0 - x.part) + albedo_word(i + ALBEDO_KNOTS + 1u) * x.part;
    return near * (1.0 - y.part) + far * y.part;
}

// The same averaged over the hemisphere of directions, weighted by cosine.
fn lobe_average(roughness: f32) -> vec2<f32> {
    let y = knot_at(roughness, ALBEDO_KNOTS);
    let i = ALBEDO_KNOTS * ALBEDO_KNOTS + y.index;
    return albedo_word(i) * (1.0 - y.part) + albedo_word(i + 1u) * y.part;
}

// A fraction of 65535 of a table with a word for each knot.
fn fraction_at(index: u32) -> f32 {
    return f32(texel_at(index)) * (1.0 / 65535.0);
}

// A row of the table of glass between two columns, and the same one row on.
fn glass_rows(first: u32, x: Knot, y: Knot) -> f32 {
    let i = first + y.index * GLASS_KNOTS + x.index;
    let near = fraction_at(i) * (1.0 - x.part) + fraction_at(i + 1u) * x.part;
    let far = fraction_at(i + GLASS_KNOTS) * (1.0 - x.part) + fraction_at(i + GLASS_KNOTS + 1u) * x.part;
    return near * (1.0 - y.part) + far * y.part;
}

// What microfacets of glass reflect and let through together. Knots are even in
// the square root of the magnitude of (n − 1) / (n + 1), in the roughness, and in
// the square root of the cosine.
fn glass_albedo(cosine: f32, roughness: f32, ratio: f32) -> f32 {
    let x = knot_at(sqrt(clamp(cosine, 0.0, 1.0)), GLASS_KNOTS);
    let y = knot_at(roughness, GLASS_KNOTS);
    let slope = (ratio - 1.0) / (ratio + 1.0);
    let root = sqrt(abs(slope) * (1.0 / GLASS_LIMIT)) * 0.5;
    let z = knot_at(0.5 + select(root, -root, slope < 0.0), GLASS_KNOTS);
    let plane = GLASS_KNOTS * GLASS_KNOTS;
    let first = params.glass_table + z.index * plane;
    return glass_rows(first, x, y) * (1.0 - z.part) + glass_rows(first + plane, x, y) * z.part;
}

// Directional albedo of a white sheen: knots are even in the cosine and in the
// roughness.
fn sheen_albedo(cosine: f32, roughness: f32) -> f32 {
    let x = knot_at(cosine, SHEEN_KNOTS);
    let y = knot_at(roughness, SHEEN_KNOTS);
    let i = params.sheen_table + y.index * SHEEN_KNOTS + x.index;
    let near = fraction_at(i) * (1.0 - x.part) + fraction_at(i + 1u) * x.part;
    let far = fraction_at(i + SHEEN_KNOTS) * (1.0 - x.part) + fraction_at(i + SHEEN_KNOTS + 1u) * x.part;
    return near * (1.0 - y.part) + far * y.part;
}
