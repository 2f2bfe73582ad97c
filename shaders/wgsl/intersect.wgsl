// Ray against box grids and triangles, in the space of one mesh.

import package::layout::{Node, Triangle};

// A ray made ready for a space: reciprocals for boxes, shear for triangles.
struct LocalRay {
    origin: vec3<f32>,
    inverse: vec3<f32>,
    // 7 less the octant of the direction, in each byte.
    octant: u32,
    // Longest axis of the direction.
    axis: u32,
    // Shear that turns the direction into the axis.
    shear: vec3<f32>,
}

// A triangle's answer: distance in units of the direction, the weights of
// corners b and c, and whether its front was hit. No hit has `found` false, and
// anything in the rest.
struct TriangleHit {
    found: bool,
    front: bool,
    t: f32,
    b: f32,
    c: f32,
}

// Cycles the components so that `axis` comes last.
fn permute(v: vec3<f32>, axis: u32) -> vec3<f32> {
    if (axis == 0u) {
        return v.yzx;
    }
    if (axis == 1u) {
        return v.zxy;
    }
    return v;
}

// A component too small to divide by counts as a tiny one of the same sign.
fn divisible(x: f32) -> f32 {
    return select(x, select(1.0e-18, -1.0e-18, x < 0.0), abs(x) < 1.0e-18);
}

fn local_ray(origin: vec3<f32>, direction: vec3<f32>) -> LocalRay {
    let inverse = vec3<f32>(
        1.0 / divisible(direction.x),
        1.0 / divisible(direction.y),
        1.0 / divisible(direction.z),
    );
    let octant = select(0x04040404u, 0u, inverse.x < 0.0) | select(0x02020202u, 0u, inverse.y < 0.0)
        | select(0x01010101u, 0u, inverse.z < 0.0);
    let size = abs(direction);
    var axis = 2u;
    if (size.x >= size.y && size.x >= size.z) {
        axis = 0u;
    } else if (size.y >= size.z) {
        axis = 1u;
    }
    let d = permute(direction, axis);
    let scale = 1.0 / divisible(d.z);
    return LocalRay(origin, inverse, octant, axis, vec3<f32>(d.x * scale, d.y * scale, scale));
}

// Twice the cross product of `b` and `a`, in the one form that contraction
// cannot make differ between the two triangles that share the edge: swapping
// the arguments negates every rounded term.
fn edge(a: vec2<f32>, b: vec2<f32>) -> f32 {
    return (b.x - a.x) * (b.y + a.y) - (b.y - a.y) * (b.x + a.x);
}

// Watertight intersection (Woop, Benthin & Wald 2013, "Watertight Ray/Triangle
// Intersection", JCGT 2(1)), with the edge functions above.
fn intersect_triangle(ray: LocalRay, triangle: Triangle) -> TriangleHit {
    let a = permute(bitcast<vec3<f32>>(triangle.a.xyz) - ray.origin, ray.axis);
    let b = permute(bitcast<vec3<f32>>(triangle.b.xyz) - ray.origin, ray.axis);
    let c = permute(bitcast<vec3<f32>>(triangle.c.xyz) - ray.origin, ray.axis);
    let a2 = a.xy - ray.shear.xy * a.z;
    let b2 = b.xy - ray.shear.xy * b.z;
    let c2 = c.xy - ray.shear.xy * c.z;
    let u = edge(b2, c2);
    let v = edge(c2, a2);
    let w = edge(a2, b2);
    let determinant = u + v + w;
    let inside = (u >= 0.0 && v >= 0.0 && w >= 0.0) || (u <= 0.0 && v <= 0.0 && w <= 0.0);
    // No early return: software adapters compute it all for other lanes, and would
    // have to merge it.
    let inverse = 1.0 / determinant;
    let t = (u * a.z + v * b.z + w * c.z) * (ray.shear.z * inverse);
    return TriangleHit(
        inside && abs(determinant) > 0.0,
        (determinant > 0.0) == (ray.shear.z > 0.0),
        t,
        v * inverse,
        w * inverse,
    );
}

// One byte of a word as a float; the detour over i32 is the conversion that
// every processor has.
fn plane(word: u32, shift: u32) -> f32 {
    return f32(bitcast<i32>((word >> shift) & 0xffu));
}

// A distance as the integer with the same bits. Such integers are in the order of
// the distances but for two negative ones, and `child_hit` never asks about those.
// Software adapters compare integers in one instruction and floats, among which
// there may be some that are no numbers, in three.
fn ordered(distance: f32) -> i32 {
    return bitcast<i32>(bitcast<u32>(distance));
}

// The bits that a child adds to the mask where the ray meets its box.
fn child_hit(
    shift: u32,
    lower: vec3<u32>,
    upper: vec3<u32>,
    step: vec3<f32>,
    near_base: vec3<f32>,
    far_base: vec3<f32>,
    t_min: f32,
    t_max: f32,
    bits: u32,
    index: u32,
) -> u32 {
    // `t_min` is not negative: of the entries it takes the place of negative ones,
    // and a negative exit is before it whichever of them is chosen.
    let near = max(
        max(
            ordered(plane(lower.x, shift) * step.x + near_base.x),
            ordered(plane(lower.y, shift) * step.y + near_base.y),
        ),
        max(ordered(plane(lower.z, shift) * step.z + near_base.z), ordered(t_min)),
    );
    let far = min(
        min(
            ordered(plane(upper.x, shift) * step.x + far_base.x),
            ordered(plane(upper.y, shift) * step.y + far_base.y),
        ),
        min(ordered(plane(upper.z, shift) * step.z + far_base.z), ordered(t_max)),
    );
    return select(0u, ((bits >> shift) & 0xffu) << ((index >> shift) & 0xffu), near <= far);
}

// The children of a node that a ray meets between two distances, as Ylitie et
// al. (2017) arrange them: inner children in the upper 8 bits by priority,
// primitives in the lower 24.
fn intersect_node(node: Node, ray: LocalRay, t_min: f32, t_max: f32) -> u32 {
    let exponents = node.grid.w;
    let scale = vec3<f32>(
        bitcast<f32>((exponents & 0xffu) << 23u),
        bitcast<f32>(((exponents >> 8u) & 0xffu) << 23u),
        bitcast<f32>(((exponents >> 16u) & 0xffu) << 23u),
    );
    let step = scale * ray.inverse;
    let base = (bitcast<vec3<f32>>(node.grid.xyz) - ray.origin) * ray.inverse;
    // Rounding on the way to a plane's distance is below three units in the
    // last place of its largest term, so boxes grow by that much.
    let pad = (abs(base) + abs(step) * 256.0) * 3.6e-7;
    let near_base = base - pad;
    let far_base = base + pad;

    let negative = ray.inverse < vec3<f32>(0.0);
    let x = select(node.planes_x, node.planes_x.zwxy, vec4<bool>(negative.x));
    let y = select(node.planes_y, node.planes_y.zwxy, vec4<bool>(negative.y));
    let z = select(node.planes_z, node.planes_z.zwxy, vec4<bool>(negative.z));

    var hits = 0u;
    var meta_word = node.children.z;
    var lower = vec3<u32>(x.x, y.x, z.x);
    var upper = vec3<u32>(x.z, y.z, z.z);
    for (var half = 0u; half < 2u; half++) {
        let inner = (meta_word & (meta_word << 1u)) & 0x10101010u;
        let index = (meta_word ^ (ray.octant & ((inner >> 4u) * 0xffu))) & 0x1f1f1f1fu;
        let bits = (meta_word >> 5u) & 0x07070707u;
        hits |= child_hit(0u, lower, upper, step, near_base, far_base, t_min, t_max, bits, index);
        hits |= child_hit(8u, lower, upper, step, near_base, far_base, t_min, t_max, bits, index);
        hits |= child_hit(16u, lower, upper, step, near_base, far_base, t_min, t_max, bits, index);
        hits |= child_hit(24u, lower, upper, step, near_base, far_base, t_min, t_max, bits, index);
        meta_word = node.children.w;
        lower = vec3<u32>(x.y, y.y, z.y);
        upper = vec3<u32>(x.w, y.w, z.w);
    }
    return hits;
}
