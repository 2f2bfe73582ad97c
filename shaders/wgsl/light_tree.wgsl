// Choosing among the lights that have a place: a tree over them, walked from its
// root by what each half could contribute (Conty Estevez & Kulla 2018, "Importance
// Sampling of Many Lights with Adaptive Tree Splitting", without the splitting).
//
// A pair of children is kept as a light: `threshold` and `alias_entry` lead on from
// them, `direction` and `intensity` are the middles of the spheres around their
// lights with the squared radii, `pick` and the bits of `kind` their intensities;
// `place` holds the axes of their normals, three numbers of 10 bits each, and then
// for each the cosine of the largest angle to the axis and, in the upper half, that
// of the angle beyond the normals up to which they shine, with a flag.

import package::layout::{lights, Light, NODE_IS_LIGHT, NODE_SHINES_BOTH_WAYS};
import package::hash::{hash_combine, quantised_probability};
import package::vector::{dot3, logarithm_two};

// The host makes no tree that is higher: which child leads to a light is a bit of
// its trail.
const TREE_HEIGHT: u32 = 32u;

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

// One of three signed fractions in a word.
fn axis_part(axis: u32, shift: u32) -> f32 {
    return f32((axis >> shift) & 0x3ffu) * (2.0 / 1023.0) - 1.0;
}

// The mean of 1 / d² over a disc of lights in one plane with a point: the logarithm
// of D² / (D² − R²), over R², D being the distance from its middle. Inside of it
// that has no bound; a thirtieth of the radius is taken for the least distance.
fn mean_inverse_square(distance_square: f32, radius_square: f32) -> f32 {
    let beyond = max(distance_square - radius_square, radius_square * 1.0e-3);
    let ratio = radius_square / max(beyond, 1.0e-30);
    if (ratio < 0.02) {
        return 1.0 / max(distance_square, 1.0e-30);
    }
    return logarithm_two(1.0 + ratio) * 0.69314718 / radius_square;
}

// What the lights under a node are likely to send to a surface; without a
// `normal` to one that lets light through. 0 where none of it arrives.
fn node_importance(
    sphere: vec4<f32>,
    intensity: f32,
    axis: u32,
    cosines: u32,
    point: vec3<f32>,
    normal: vec3<f32>,
) -> f32 {
    let towards = sphere.xyz - point;
    let distance_square = dot3(towards, towards);
    let direction = towards * (1.0 / sqrt(max(distance_square, 1.0e-30)));
    // Half the angle under which the sphere is seen.
    var extent = -1.0;
    if (distance_square > sphere.w) {
        extent = sqrt(1.0 - sphere.w / distance_square);
    }
    var facing = -(axis_part(axis, 0u) * direction.x + axis_part(axis, 10u) * direction.y
        + axis_part(axis, 20u) * direction.z);
    if ((cosines & NODE_SHINES_BOTH_WAYS) != 0u) {
        facing = abs(facing);
    }
    let spread = f32(cosines & 0xffffu) * (2.0 / 65535.0) - 1.0;
    let falloff = f32((cosines >> 16u) & 0x7fffu) * (2.0 / 32767.0) - 1.0;
    let outside = cosine_beyond(cosine_beyond(facing, spread), extent);
    if (outside <= falloff) {
        return 0.0;
    }
    var importance = intensity * outside * mean_inverse_square(distance_square, sphere.w);
    if (dot3(normal, normal) > 0.0) {
        importance *= max(cosine_beyond(dot3(normal, direction), extent), 0.0);
    }
    return importance;
}

// The threshold for 16 random bits below which the first of a pair is chosen; 65537
// where neither contributes.
fn pair_threshold(pair: Light, point: vec3<f32>, normal: vec3<f32>) -> u32 {
    let first = node_importance(pair.direction, pair.pick, pair.place.x, pair.place.z, point, normal);
    let other = bitcast<f32>(pair.kind);
    let second = node_importance(pair.intensity, other, pair.place.y, pair.place.w, point, normal);
    if (!(first + second > 0.0)) {
        return 65537u;
    }
    if (second <= 0.0) {
        return 65536u;
    }
    if (first <= 0.0) {
        return 0u;
    }
    return clamp(quantised_probability(first / (first + second)), 1u, 65535u);
}

// A light of the tree, for a surface; its probability is 0 where none contributes.
fn choose_in_tree(root: u32, point: vec3<f32>, normal: vec3<f32>, choice: u32) -> Choice {
    var node = root;
    var pick = 1.0;
    for (var level = 0u; level <= TREE_HEIGHT; level++) {
        if ((node & NODE_IS_LIGHT) != 0u) {
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
    var node = root;
    var pick = 1.0;
    var rest = trail;
    for (var level = 0u; level <= TREE_HEIGHT; level++) {
        if ((node & NODE_IS_LIGHT) != 0u) {
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
