// Choosing among the lights that have a place: a tree over them, walked from its
// root by what each half could contribute (Conty Estevez & Kulla 2018, "Importance
// Sampling of Many Lights with Adaptive Tree Splitting", without the splitting).
//
// A node is kept as a light: `threshold` holds its flags and `alias_entry` the first
// of its two children, or the light that it is. `place` is the middle of a sphere
// around its lights and that one's squared radius, `direction` the axis of their
// normals with the cosine of the largest angle to it, and `intensity` their
// intensity and the cosine of the angle beyond the normals up to which they shine.

import package::layout::{lights, Light, NODE_IS_LIGHT, NODE_SHINES_BOTH_WAYS};
import package::hash::{hash_combine, quantised_probability};
import package::vector::dot3;

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

// A bound on what the lights under a node could send to a surface; without a
// `normal` to one that lets light through. 0 where none of it arrives.
fn node_importance(node: Light, point: vec3<f32>, normal: vec3<f32>) -> f32 {
    let towards = bitcast<vec3<f32>>(node.place.xyz) - point;
    let radius_square = bitcast<f32>(node.place.w);
    let distance_square = dot3(towards, towards);
    let direction = towards * (1.0 / sqrt(max(distance_square, 1.0e-30)));
    // Half the angle under which the sphere is seen.
    var extent = -1.0;
    if (distance_square > radius_square) {
        extent = sqrt(1.0 - radius_square / distance_square);
    }
    var facing = -dot3(node.direction.xyz, direction);
    if ((node.threshold & NODE_SHINES_BOTH_WAYS) != 0u) {
        facing = abs(facing);
    }
    let outside = cosine_beyond(cosine_beyond(facing, node.direction.w), extent);
    if (outside <= node.intensity.y) {
        return 0.0;
    }
    var importance = node.intensity.x * outside / max(distance_square, max(radius_square, 1.0e-30));
    if (dot3(normal, normal) > 0.0) {
        importance *= max(cosine_beyond(dot3(normal, direction), extent), 0.0);
    }
    return importance;
}

// The threshold for 16 random bits below which the first of two children is
// chosen; 65537 where neither contributes.
fn child_threshold(first_child: u32, point: vec3<f32>, normal: vec3<f32>) -> u32 {
    let first = node_importance(lights[first_child], point, normal);
    let second = node_importance(lights[first_child + 1u], point, normal);
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

// A light under a node, for a surface; its probability is 0 where none contributes.
fn choose_in_tree(root: u32, point: vec3<f32>, normal: vec3<f32>, choice: u32) -> Choice {
    var node = root;
    var pick = 1.0;
    for (var level = 0u; level <= TREE_HEIGHT; level++) {
        let child = lights[node].alias_entry;
        if ((lights[node].threshold & NODE_IS_LIGHT) != 0u) {
            return Choice(child, pick);
        }
        let threshold = child_threshold(child, point, normal);
        if (threshold > 65536u) {
            break;
        }
        let is_first = (hash_combine(choice, level) >> 16u) < threshold;
        node = select(child + 1u, child, is_first);
        pick *= f32(select(65536u - threshold, threshold, is_first)) * (1.0 / 65536.0);
    }
    return Choice(0u, 0.0);
}

// The probability with which `choose_in_tree` finds the light with this trail.
fn pick_in_tree(root: u32, point: vec3<f32>, normal: vec3<f32>, trail: u32) -> f32 {
    var node = root;
    var pick = 1.0;
    var rest = trail;
    for (var level = 0u; level <= TREE_HEIGHT; level++) {
        if ((lights[node].threshold & NODE_IS_LIGHT) != 0u) {
            return pick;
        }
        let child = lights[node].alias_entry;
        let threshold = child_threshold(child, point, normal);
        if (threshold > 65536u) {
            break;
        }
        let is_first = (rest & 1u) == 0u;
        rest >>= 1u;
        node = select(child + 1u, child, is_first);
        pick *= f32(select(65536u - threshold, threshold, is_first)) * (1.0 / 65536.0);
    }
    return 0.0;
}
