// Vector arithmetic written out in one order, because WGSL leaves the order
// inside its own `dot` and `normalize` to the driver, and polynomials for the
// transcendental functions, whose built-in versions differ between adapters.

import package::features::HAS_INSTANCES;

const PI: f32 = 3.14159265358979;
const INVERSE_PI: f32 = 0.318309886183791;

fn dot3(a: vec3<f32>, b: vec3<f32>) -> f32 {
    return (a.x * b.x + a.y * b.y) + a.z * b.z;
}

fn cross3(a: vec3<f32>, b: vec3<f32>) -> vec3<f32> {
    return vec3<f32>(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x);
}

fn length3(a: vec3<f32>) -> f32 {
    return sqrt(dot3(a, a));
}

// The unit vector along `a`, which must not be zero.
fn normalize3(a: vec3<f32>) -> vec3<f32> {
    return a * (1.0 / sqrt(dot3(a, a)));
}

fn luminance(color: vec3<f32>) -> f32 {
    return dot3(color, vec3<f32>(0.2126, 0.7152, 0.0722));
}

fn largest(a: vec3<f32>) -> f32 {
    return max(a.x, max(a.y, a.z));
}

// Rows of an instance's map times a point; without instances that have trees of
// their own, all maps do nothing.
fn transform_point(rows: array<vec4<f32>, 3>, point: vec3<f32>) -> vec3<f32> {
    if (!HAS_INSTANCES) {
        return point;
    }
    return vec3<f32>(
        dot3(rows[0].xyz, point) + rows[0].w,
        dot3(rows[1].xyz, point) + rows[1].w,
        dot3(rows[2].xyz, point) + rows[2].w,
    );
}

// Rows of an instance's map times a direction.
fn transform_direction(rows: array<vec4<f32>, 3>, direction: vec3<f32>) -> vec3<f32> {
    if (!HAS_INSTANCES) {
        return direction;
    }
    return vec3<f32>(
        dot3(rows[0].xyz, direction),
        dot3(rows[1].xyz, direction),
        dot3(rows[2].xyz, direction),
    );
}

// The transpose of an instance's linear map times a direction: the rows of
// the inverse take normals the other way.
fn transform_normal(inverse_rows: array<vec4<f32>, 3>, normal: vec3<f32>) -> vec3<f32> {
    if (!HAS_INSTANCES) {
        return normal;
    }
    return inverse_rows[0].xyz * normal.x + inverse_rows[1].xyz * normal.y
        + inverse_rows[2].xyz * normal.z;
}

// Four fractions of 65535 from two words.
fn unpack_fractions(low: u32, high: u32) -> vec4<f32> {
    return vec4<f32>(
        f32(low & 0xffffu), f32(low >> 16u), f32(high & 0xffffu), f32(high >> 16u),
    ) * (1.0 / 65535.0);
}

// A unit vector from 15 + 15 bits on the octahedron (Cigolle et al. 2014, "A
// Survey of Efficient Representations for Independent Unit Vectors", JCGT 3(2)).
fn unpack_octahedral(word: u32) -> vec3<f32> {
    let x = f32(word & 0x7fffu) * (2.0 / 32766.0) - 1.0;
    let y = f32((word >> 15u) & 0x7fffu) * (2.0 / 32766.0) - 1.0;
    let z = 1.0 - abs(x) - abs(y);
    let fold = max(-z, 0.0);
    return normalize3(vec3<f32>(
        x - select(-fold, fold, x >= 0.0),
        y - select(-fold, fold, y >= 0.0),
        z,
    ));
}

// Two unit vectors that complete `n` to a right-handed frame (Duff et al. 2017,
// "Building an Orthonormal Basis, Revisited", JCGT 6(1)): tangent in column 0.
struct Frame {
    tangent: vec3<f32>,
    bitangent: vec3<f32>,
    normal: vec3<f32>,
}

fn frame_around(n: vec3<f32>) -> Frame {
    let sign = select(-1.0, 1.0, n.z >= 0.0);
    let a = -1.0 / (sign + n.z);
    let b = n.x * n.y * a;
    return Frame(
        vec3<f32>(1.0 + sign * n.x * n.x * a, sign * b, -sign * n.x),
        vec3<f32>(b, sign + n.y * n.y * a, -n.y),
        n,
    );
}

fn into_frame(frame: Frame, v: vec3<f32>) -> vec3<f32> {
    return vec3<f32>(dot3(frame.tangent, v), dot3(frame.bitangent, v), dot3(frame.normal, v));
}

fn out_of_frame(frame: Frame, v: vec3<f32>) -> vec3<f32> {
    return frame.tangent * v.x + frame.bitangent * v.y + frame.normal * v.z;
}

// Cosine and sine of a turn of 2π·bits/2³². The octant is exact; inside it
// Taylor polynomials stay below 2⁻²⁴ on [−π/4, π/4].
fn cos_sin_turn(bits: u32) -> vec2<f32> {
    // Quarters are centred on the axes.
    let centred = bits + 0x20000000u;
    let quarter = centred >> 30u;
    let rest = bitcast<i32>((centred & 0x3fffffffu)) - 0x20000000;
    let angle = f32(rest) * 1.4629180792671596e-9;
    let s = angle * angle;
    let sine = angle
        * (1.0 + s * (-0.16666667 + s * (0.008333334 + s * (-0.00019841270 + s * 2.7557319e-6))));
    let cosine = 1.0
        + s * (-0.5 + s * (0.041666668 + s * (-0.0013888889 + s * (2.4801587e-5 - s * 2.7557319e-7))));
    let odd = (quarter & 1u) == 1u;
    let x = select(cosine, sine, odd);
    let y = select(sine, cosine, odd);
    return vec2<f32>(
        select(x, -x, quarter == 1u || quarter == 2u),
        select(y, -y, quarter >= 2u),
    );
}

// Arc tangent of a ratio in [0, 1], with an error below 2⁻²² (the polynomial of
// Abramowitz & Stegun, "Handbook of Mathematical Functions", 4.4.49).
fn arc_tangent_unit(x: f32) -> f32 {
    let s = x * x;
    var p = 0.0028662257;
    p = p * s - 0.0161657367;
    p = p * s + 0.0429096138;
    p = p * s - 0.0752896400;
    p = p * s + 0.1065626393;
    p = p * s - 0.1420889944;
    p = p * s + 0.1999355085;
    p = p * s - 0.3333314528;
    return x + x * s * p;
}

// The angle of (x, y) in (−π, π]; 0 for the zero vector.
fn arc_tangent(y: f32, x: f32) -> f32 {
    let ax = abs(x);
    let ay = abs(y);
    let longer = max(ax, ay);
    if (longer == 0.0) {
        return 0.0;
    }
    var angle = arc_tangent_unit(min(ax, ay) / longer);
    if (ay > ax) {
        angle = 0.5 * PI - angle;
    }
    if (x < 0.0) {
        angle = PI - angle;
    }
    return select(angle, -angle, y < 0.0);
}

// 2ˣ with a relative error below 2⁻²¹: the whole part goes into the exponent, and
// the rest, at most half, into a Taylor polynomial.
fn power_of_two(x: f32) -> f32 {
    let held = clamp(x, -126.0, 126.0);
    let whole = floor(held + 0.5);
    let y = (held - whole) * 0.69314718;
    var p = 0.0013888889;
    p = p * y + 0.008333334;
    p = p * y + 0.041666668;
    p = p * y + 0.16666667;
    p = p * y + 0.5;
    p = p * y + 1.0;
    p = p * y + 1.0;
    return bitcast<f32>(bitcast<u32>(i32(whole) + 127) << 23u) * p;
}

// eˣ.
fn exponential(x: f32) -> f32 {
    return power_of_two(x * 1.44269504);
}

// Logarithm to base 2 of a positive number that is not subnormal, with an error
// below 2⁻²²: the series of the inverse hyperbolic tangent.
fn logarithm_two(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    // The mantissa is taken between √½ and √2.
    let shifted = bits + 0x004afb0du;
    let exponent = bitcast<i32>(shifted >> 23u) - 127;
    let mantissa = bitcast<f32>(bits - ((shifted & 0x7f800000u) - 0x3f800000u));
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let s = t * t;
    let series = 2.0 + s * (0.66666667 + s * (0.4 + s * (0.28571430 + s * 0.22222222)));
    return f32(exponent) + t * series * 1.44269504;
}

// The base, which is not negative, to a power.
fn power(base: f32, exponent: f32) -> f32 {
    if (base < 1.0e-37) {
        return select(0.0, 1.0, exponent == 0.0);
    }
    return power_of_two(logarithm_two(base) * exponent);
}
