// Choosing among the lights that have a place: a tree over them, walked by what each
// half is likely to contribute (Conty Estevez & Kulla 2018, "Importance Sampling of
// Many Lights with Adaptive Tree Splitting"). Where they split a node they shade a
// light of each part; here the parts are so many nodes to choose one from.
//
// A pair of children is kept as a light: `threshold` and `alias_entry` lead on from
// them, `direction` and `intensity` hold the middles of the boxes around their lights
// and, in `w`, half the boxes' sizes along x and y, of 16 bits each; the bits of `pick`
// and `kind` are half the sizes along z and the intensities. `place` holds the axes of
// their normals and then for each half the sine of half the largest angle to the axis
// and, in the upper half, the cosine of the angle beyond the normals up to which they
// shine, with a flag.

import package::layout::{lights, Light, NODE_IS_LIGHT, NODE_SHINES_BOTH_WAYS};
import package::hash::{hash_combine, quantised_probability};
import package::vector::{dot3, unpack_octahedral};

// The host makes no tree that is higher: which child leads to a light is a bit of
// its trail.
const TREE_HEIGHT: u32 = 32u;

// Nodes that are split for the cut where walks begin, at most, and the part of all
// light that may be doubtful in one that is not.
const SPLIT_LIMIT: u32 = 32u;
const DOUBT_ALLOWED: f32 = 0.01;
// No place among those that are yet to be looked at.
const NOWHERE: u32 = 0xffffffffu;

// No squared distance counts as less, so that nothing overflows.
const LEAST_SQUARE: f32 = 1.0e-18;

// A light and the probability of choosing it.
struct Choice {
    light: u32,
    pick: f32,
}

// Cosine of the part of an angle that is beyond another, which is at most π: 1
// where none is.
fn cosine_beyond(cosine: f32, other: f32) -> f32 {
    if (cosine >= other) {
        return 1.0;
    }
    let sines = sqrt(max(1.0 - cosine * cosine, 0.0) * max(1.0 - other * other, 0.0));
    return cosine * other + sines;
}

// The float of 16 bits in a word's lower half, and in its upper half.
fn low_float(word: u32) -> f32 {
    return bitcast<f32>(word << 16u);
}

fn high_float(word: u32) -> f32 {
    return bitcast<f32>(word & 0xffff0000u);
}

// Of heights that are even between middle − extent and middle + extent, the mean of
// those above 0, and their share.
fn mean_above(middle: f32, extent: f32) -> vec2<f32> {
    if (middle >= extent) {
        return vec2<f32>(middle, 1.0);
    }
    let highest = max(middle + extent, 0.0);
    return vec2<f32>(0.5 * highest, 0.5 * highest / max(extent, 1.0e-30));
}

// The mean of h² / d⁴ over a disc of radius R that lies in parallel to a surface at a
// height of h over it, its edge or what of it is nearest being l aside: the form factor
// of the disc (Howell's catalogue, B-12), over its area. Small and far away it is
// h² / d⁴; what lies over the edge stands for all that lies over the disc.
fn mean_of_disc(height_square: f32, aside: f32, radius: f32) -> f32 {
    let beyond = aside * (aside + 2.0 * radius) + height_square;
    let radius_square = radius * radius;
    let scale = 1.0 / max(max(beyond, radius_square), LEAST_SQUARE);
    let outer = beyond * scale;
    let height = height_square * scale;
    let root = sqrt(outer * outer + 4.0 * radius_square * scale * height);
    return scale * 2.0 * height / max(root * (root + outer), 1.0e-30);
}

// What the lights under a node are likely to send to a surface, without a `normal` to
// one that lets light through, and how doubtful that is, from 0 to 1; 0 where none of
// it arrives.
//
// They are taken for a disc that lies in parallel to the surface, as large and as near
// as their box, and with the heights of surface and lights over each other that the box
// has in the mean: of a small lamp that is exact.
fn estimate_node(
    middle: vec3<f32>,
    size_xy: u32,
    size_z: u32,
    axis: u32,
    cosines: u32,
    point: vec3<f32>,
    normal: vec3<f32>,
) -> vec2<f32> {
    let towards = middle - point;
    let size = vec3<f32>(low_float(size_xy), high_float(size_xy), low_float(size_z));
    let size_square = dot3(size, size);
    let distance_square = max(dot3(towards, towards), LEAST_SQUARE);
    let distance = sqrt(distance_square);
    // Half the angle under which a sphere around the box is seen.
    var extent = -1.0;
    if (distance_square > size_square) {
        extent = sqrt(1.0 - size_square / distance_square);
    }
    let out = unpack_octahedral(axis);
    let thickness = dot3(abs(out), size);
    var height = -dot3(out, towards);
    if ((cosines & NODE_SHINES_BOTH_WAYS) != 0u) {
        height = abs(height);
    }
    let half_sine = f32(cosines & 0xffffu) * (1.0 / 65535.0);
    let spread = 1.0 - 2.0 * half_sine * half_sine;
    let falloff = f32((cosines >> 16u) & 0x7fffu) * (2.0 / 32767.0) - 1.0;
    let outside = cosine_beyond(cosine_beyond(height / distance, spread), extent);
    if (outside <= falloff) {
        return vec2<f32>(0.0);
    }
    // Some light may shine where the mean says that none does.
    var above = min(height + thickness, mean_above(height, thickness).x);
    let reach = sqrt(max(distance_square, above * above));
    above = max(cosine_beyond(above / reach, spread), 1.0e-3 * outside) * reach;
    var share = high_float(size_z);
    var below = reach;
    if (dot3(normal, normal) > 0.0) {
        let lit = mean_above(dot3(normal, towards), dot3(abs(normal), size));
        below = lit.x;
        share *= lit.y;
    }
    let nearest = max(abs(towards) - size, vec3<f32>(0.0));
    let height_square = above * below;
    let aside = sqrt(max(dot3(nearest, nearest) - height_square, 0.0));
    let mean = mean_of_disc(height_square, aside, sqrt(size_square * (2.0 / 3.0)));
    return vec2<f32>(share * mean, min(size_square / distance_square, 1.0));
}

// The same of both nodes of a pair: what they send, then the doubts.
fn estimate_pair(pair: Light, point: vec3<f32>, normal: vec3<f32>) -> vec4<f32> {
    let first = estimate_node(
        pair.direction.xyz, bitcast<u32>(pair.direction.w), bitcast<u32>(pair.pick), pair.place.x,
        pair.place.z, point, normal,
    );
    let second = estimate_node(
        pair.intensity.xyz, bitcast<u32>(pair.intensity.w), pair.kind, pair.place.y, pair.place.w, point,
        normal,
    );
    return vec4<f32>(first.x, second.x, first.y, second.y);
}

// A node on the way to a light, the rest of the light's trail, and the probability of
// coming by it.
struct Way {
    node: u32,
    rest: u32,
    pick: f32,
}

// Where in the tree a surface's walk begins: one node of a cut through the tree
// (Walter et al. 2005, "Lightcuts") that is the finer the more its estimates are in
// doubt, which is near the surface. Chosen by `choice`, or else the one that the trail
// leads through.
//
// The cut is gone through once: each of its nodes takes the place of the one chosen so
// far by its share of all so far.
fn begin_walk(
    root: u32,
    point: vec3<f32>,
    normal: vec3<f32>,
    choice: u32,
    follows: bool,
    trail: u32,
) -> Way {
    var way = Way(root, trail, 0.0);
    // Nodes that are yet to be looked at, and what they send and how much of it is in
    // doubt.
    var nodes: array<u32, SPLIT_LIMIT>;
    var sent: array<f32, SPLIT_LIMIT>;
    var doubtful: array<f32, SPLIT_LIMIT>;
    var height = 0u;
    var node = root;
    var light = 1.0;
    var doubt = 1.0;
    // Whether the trail leads through the node, or else through which of those.
    var holds = follows;
    var held = NOWHERE;
    // Of the cut and of those, and of the cut alone.
    var total = 0.0;
    var so_far = 0.0;
    var splits = 0u;
    for (var step = 0u; step <= 2u * SPLIT_LIMIT; step++) {
        let is_light = (node & NODE_IS_LIGHT) != 0u;
        if (!is_light && splits < SPLIT_LIMIT && doubt > total * DOUBT_ALLOWED) {
            let pair = lights[node];
            let estimate = estimate_pair(pair, point, normal);
            total += estimate.x + estimate.y - select(light, 0.0, splits == 0u);
            splits += 1u;
            // On with the brighter one.
            let is_first = estimate.x >= estimate.y;
            nodes[height] = select(pair.threshold, pair.alias_entry, is_first);
            sent[height] = select(estimate.x, estimate.y, is_first);
            doubtful[height] = select(estimate.x * estimate.z, estimate.y * estimate.w, is_first);
            node = select(pair.alias_entry, pair.threshold, is_first);
            light = select(estimate.y, estimate.x, is_first);
            doubt = select(estimate.y * estimate.w, estimate.x * estimate.z, is_first);
            if (holds) {
                holds = ((way.rest & 1u) == 0u) == is_first;
                held = select(height, NOWHERE, holds);
                way.rest >>= 1u;
            }
            height += 1u;
            continue;
        }
        if (light > 0.0) {
            so_far += light;
            // The first is certain.
            let most = select(65535u, 65536u, so_far == light);
            let threshold = clamp(quantised_probability(light / so_far), 1u, most);
            let random = hash_combine(choice, TREE_HEIGHT + 1u + step) >> 16u;
            let is_taken = select(random < threshold, holds, follows);
            way.node = select(way.node, node, is_taken);
            let part = f32(select(65536u - threshold, threshold, is_taken)) * (1.0 / 65536.0);
            way.pick = select(way.pick * part, part, is_taken);
        }
        if (height == 0u) {
            break;
        }
        height -= 1u;
        node = nodes[height];
        light = sent[height];
        doubt = doubtful[height];
        holds = held == height;
        held = select(held, NOWHERE, holds);
    }
    return way;
}

// The threshold for 16 random bits below which the first of a pair is chosen; 65537
// where neither contributes.
fn pair_threshold(pair: Light, point: vec3<f32>, normal: vec3<f32>) -> u32 {
    let estimate = estimate_pair(pair, point, normal);
    if (!(estimate.x + estimate.y > 0.0)) {
        return 65537u;
    }
    if (estimate.y <= 0.0) {
        return 65536u;
    }
    if (estimate.x <= 0.0) {
        return 0u;
    }
    return clamp(quantised_probability(estimate.x / (estimate.x + estimate.y)), 1u, 65535u);
}

// A light of the tree, for a surface; its probability is 0 where none contributes.
fn choose_in_tree(root: u32, point: vec3<f32>, normal: vec3<f32>, choice: u32) -> Choice {
    let way = begin_walk(root, point, normal, choice, false, 0u);
    var node = way.node;
    var pick = way.pick;
    for (var level = 0u; level <= TREE_HEIGHT; level++) {
        if ((node & NODE_IS_LIGHT) != 0u || !(pick > 0.0)) {
            break;
        }
        let threshold = pair_threshold(lights[node], point, normal);
        let is_first = (hash_combine(choice, level) >> 16u) < threshold;
        pick *= f32(select(65536u - threshold, threshold, is_first)) * (1.0 / 65536.0);
        if (threshold > 65536u) {
            pick = 0.0;
            break;
        }
        node = select(lights[node].alias_entry, lights[node].threshold, is_first);
    }
    return Choice(node & ~NODE_IS_LIGHT, pick);
}

// The probability with which `choose_in_tree` finds the light with this trail.
fn pick_in_tree(root: u32, point: vec3<f32>, normal: vec3<f32>, trail: u32) -> f32 {
    let way = begin_walk(root, point, normal, 0u, true, trail);
    var node = way.node;
    var pick = way.pick;
    var rest = way.rest;
    for (var level = 0u; level <= TREE_HEIGHT; level++) {
        if ((node & NODE_IS_LIGHT) != 0u || !(pick > 0.0)) {
            break;
        }
        let threshold = pair_threshold(lights[node], point, normal);
        let is_first = (rest & 1u) == 0u;
        pick *= f32(select(65536u - threshold, threshold, is_first)) * (1.0 / 65536.0);
        // The light has no chance from here, or too small a one to be told.
        if (threshold > 65536u || !(pick > 0.0)) {
            pick = 0.0;
            break;
        }
        rest >>= 1u;
        node = select(lights[node].alias_entry, lights[node].threshold, is_first);
    }
    return pick;
}
