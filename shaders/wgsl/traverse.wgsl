// A ray in, a hit out. Nothing else knows the tree: a native version may take
// this function's place.

import package::layout::{
    instances, node_at, params, triangle_at, INSTANCE_REFERENCE, NONE, TRIANGLE_CULLS_BACK,
    TRIANGLE_OPAQUE,
};
import package::features::{HAS_ALPHA, HAS_INSTANCES};
import package::intersect::{intersect_node, intersect_triangle, local_ray};
import package::motion::triangle_at_time;
import package::vector::{transform_direction, transform_point};

// Entries of the stack; the host refuses trees that could need more.
const STACK_SIZE: u32 = 40u;
// More nodes, and more instances, than any ray sensibly meets.
const STEP_LIMIT: u32 = 4194304u;
const TREE_LIMIT: u32 = 4194304u;
// Primitives of a group.
const GROUP_LIMIT: u32 = 24u;
const INNER_BITS: u32 = 0xff000000u;

struct Ray {
    origin: vec3<f32>,
    direction: vec3<f32>,
    // Hits lie after (t_min, after_instance, after_triangle), which is how a
    // ray goes on behind a hit it passed, and before t_max.
    t_min: f32,
    t_max: f32,
    after_instance: u32,
    after_triangle: u32,
}

// A hit; `instance` is NONE where there is none, and `triangle` is its place in
// `triangles`. `b` and `c` weigh its second and third corner.
struct Hit {
    t: f32,
    instance: u32,
    triangle: u32,
    b: f32,
    c: f32,
    front: bool,
    // Whether alpha plays no part.
    opaque: bool,
}

// A ray that may hit anything in front of its origin.
fn ray_from(origin: vec3<f32>, direction: vec3<f32>, t_max: f32) -> Ray {
    return Ray(origin, direction, 0.0, t_max, NONE, NONE);
}

// Whether (instance, triangle) comes before another: the order that breaks
// ties between equal distances.
fn comes_before(instance: u32, triangle: u32, other_instance: u32, other_triangle: u32) -> bool {
    return instance < other_instance || (instance == other_instance && triangle < other_triangle);
}

fn beats(ray: Ray, best: Hit, t: f32, instance: u32, triangle: u32) -> bool {
    // Only rays that pass through surfaces go on behind a hit.
    let behind = t > ray.t_min
        || (HAS_ALPHA && t == ray.t_min
            && comes_before(ray.after_instance, ray.after_triangle, instance, triangle));
    let closer = t < best.t
        || (t == best.t && comes_before(instance, triangle, best.instance, best.triangle));
    return behind && closer;
}

// Finds the closest hit of a ray at a time; with `any_opaque` it stops at the first hit
// on an opaque triangle, and that one is returned however far it is.
//
// One loop walks one tree: the world's, whose leaves name triangles and
// instances, or the tree of the instance that was met. The loop around it enters
// and leaves instances, so that what that costs is not paid at every node.
fn traverse(ray: Ray, time: u32, any_opaque: bool) -> Hit {
    var best = Hit(ray.t_max, NONE, NONE, 0.0, 0.0, false, true);
    if (params.root == NONE) {
        return best;
    }
    // The two words of each group that is put aside, apart: software adapters
    // copy an array of pairs about.
    var stack_base: array<u32, 40>;
    var stack_mask: array<u32, 40>;
    var height = 0u;
    // Height of the stack at which the present tree ends.
    var floor = 0u;
    // The instance whose tree it is; NONE in the world's.
    var inside = NONE;
    var local = local_ray(ray.origin, ray.direction);
    // A group is a first node and a mask of which to visit, or a first leaf
    // entry and a mask in the lower bits; a lone root is written as the last
    // child of nothing.
    var group = vec2<u32>(params.root, 0x80000000u);

    for (var tree = 0u; tree < TREE_LIMIT; tree++) {
        var leaf = vec2<u32>(0u, 0u);
        var met = NONE;
        for (var step = 0u; step < STEP_LIMIT; step++) {
            if ((group.y & INNER_BITS) != 0u) {
                let bit = firstLeadingBit(group.y);
                let slot = (bit - 24u) ^ (local.octant & 0xffu);
                let child = group.x + countOneBits(group.y & ~(0xffffffffu << slot));
                group.y &= ~(1u << bit);
                if ((group.y & INNER_BITS) != 0u && height < STACK_SIZE) {
                    stack_base[height] = group.x;
                    stack_mask[height] = group.y;
                    height += 1u;
                }
                let node = node_at(child);
                let hits = intersect_node(node, local, ray.t_min, best.t);
                group = vec2<u32>(node.children.x, (hits & INNER_BITS) | (node.grid.w >> 24u));
                // Software adapters read for idle lanes too: without primitives, away from
                // triangles that would have to be fetched.
                let primitives = hits & 0x00ffffffu;
                leaf = vec2<u32>(select(node.children.y, 0u, primitives == 0u), primitives);
            } else {
                leaf = group;
                group = vec2<u32>(0u, 0u);
            }

            // The loop is left at its end: a software adapter runs what comes after a
            // `break` once more, for no lane.
            if (leaf.y != 0u) {
                for (var turn = 0u; turn < GROUP_LIMIT; turn++) {
                    let bit = firstLeadingBit(leaf.y);
                    leaf.y &= ~(1u << bit);
                    let place = leaf.x + bit;
                    let triangle = triangle_at(place);
                    let owner = triangle.a.w;
                    if (HAS_INSTANCES && (owner & INSTANCE_REFERENCE) != 0u && owner != NONE) {
                        met = owner ^ INSTANCE_REFERENCE;
                        break;
                    }
                    let instance = select(owner, inside, owner == NONE);
                    let flags = triangle.c.w;
                    let hit = intersect_triangle(local, triangle_at_time(triangle, time));
                    let culled = !hit.front && (flags & TRIANGLE_CULLS_BACK) != 0u;
                    if (hit.found && !culled && beats(ray, best, hit.t, instance, place)) {
                        let opaque = (flags & TRIANGLE_OPAQUE) != 0u;
                        best = Hit(hit.t, instance, place, hit.b, hit.c, hit.front, opaque);
                        if (any_opaque && opaque) {
                            return best;
                        }
                    }
                    if (leaf.y == 0u) {
                        break;
                    }
                }
            }

            if (met != NONE) {
                break;
            }
            if ((group.y & INNER_BITS) == 0u) {
                if (height == floor) {
                    break;
                }
                height -= 1u;
                group = vec2<u32>(stack_base[height], stack_mask[height]);
            }
        }

        if (met != NONE) {
            // Put the rest of the group aside and enter the instance.
            if (leaf.y != 0u && height < STACK_SIZE) {
                stack_base[height] = leaf.x;
                stack_mask[height] = leaf.y;
                height += 1u;
            }
            if ((group.y & INNER_BITS) != 0u && height < STACK_SIZE) {
                stack_base[height] = group.x;
                stack_mask[height] = group.y;
                height += 1u;
            }
            floor = height;
            inside = met;
            let to_mesh = instances[met].to_mesh;
            local = local_ray(
                transform_point(to_mesh, ray.origin),
                transform_direction(to_mesh, ray.direction),
            );
            group = vec2<u32>(instances[met].root, 0x80000000u);
        } else {
            // The tree is done: back to the world's, if there is any of it left.
            if (!HAS_INSTANCES || height == 0u) {
                break;
            }
            inside = NONE;
            floor = 0u;
            local = local_ray(ray.origin, ray.direction);
            height -= 1u;
            group = vec2<u32>(stack_base[height], stack_mask[height]);
        }
    }
    return best;
}
