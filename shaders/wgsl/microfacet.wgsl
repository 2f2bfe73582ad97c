// Microfacets: the GGX distribution with two roughnesses (Walter et al. 2007;
// Heitz 2014, "Understanding the Masking-Shadowing Function", JCGT 3(2)), and the
// sheen's of cloth. Directions are in the frame of the shading normal.

import package::hash::unit_float;
import package::vector::{cos_sin_turn, dot3, INVERSE_PI, normalize3, PI, power, power_of_two};

// Density of microfacet normals, by a normal's frame coordinates; written without
// the difference 1 − cos².
fn ggx_distribution(half: vec3<f32>, alpha: vec2<f32>) -> f32 {
    let x = half.x / alpha.x;
    let y = half.y / alpha.y;
    let slope = x * x + y * y + half.z * half.z;
    return 1.0 / (PI * alpha.x * alpha.y * slope * slope);
}

// The root in Smith's masking of a direction: masking is 2·z / (z + root).
fn smith_root(direction: vec3<f32>, alpha: vec2<f32>) -> f32 {
    let x = direction.x * alpha.x;
    let y = direction.y * alpha.y;
    return sqrt(x * x + y * y + direction.z * direction.z);
}

// A microfacet normal seen from `outgoing` (Dupuy & Benyoub 2023, "Sampling
// Visible GGX Normals with Spherical Caps").
fn sample_visible_normal(outgoing: vec3<f32>, alpha: vec2<f32>, bits: vec2<u32>) -> vec3<f32> {
    let stretched =
        normalize3(vec3<f32>(outgoing.x * alpha.x, outgoing.y * alpha.y, outgoing.z));
    let z = (1.0 - unit_float(bits.y)) * (1.0 + stretched.z) - stretched.z;
    let radius = sqrt(clamp(1.0 - z * z, 0.0, 1.0));
    let turn = cos_sin_turn(bits.x);
    let cap = vec3<f32>(radius * turn.x, radius * turn.y, z) + stretched;
    return normalize3(vec3<f32>(cap.x * alpha.x, cap.y * alpha.y, max(cap.z, 1.0e-7)));
}

// Reflection in microfacets before any Fresnel term, times the cosine, and the
// density of its sampling by visible normals; `outgoing` and `incoming` are above.
fn microfacet_reflection(
    outgoing: vec3<f32>,
    incoming: vec3<f32>,
    half: vec3<f32>,
    alpha: vec2<f32>,
) -> vec2<f32> {
    let distribution = ggx_distribution(half, alpha);
    let root_o = smith_root(outgoing, alpha);
    let root_i = smith_root(incoming, alpha);
    // Height-correlated masking and shadowing over 4·cos·cos (Heitz 2014,
    // equation 99), and visible normals (Heitz 2018, JCGT 7(4), equation 17).
    let visibility = 0.5 / (incoming.z * root_o + outgoing.z * root_i);
    return vec2<f32>(
        distribution * visibility * incoming.z,
        distribution * 0.5 / (outgoing.z + root_o),
    );
}

// The same for light that comes refracted from below (Walter et al. 2007, equation
// 21); `ratio` is the index below over that above. Radiance is that over the
// square of the index, so what refraction makes of it cancels.
fn microfacet_refraction(
    outgoing: vec3<f32>,
    incoming: vec3<f32>,
    half: vec3<f32>,
    alpha: vec2<f32>,
    ratio: f32,
) -> vec2<f32> {
    let along_o = dot3(outgoing, half);
    let along_i = dot3(incoming, half);
    if (along_o <= 0.0 || along_i >= 0.0) {
        return vec2<f32>(0.0);
    }
    let distribution = ggx_distribution(half, alpha);
    let root_o = smith_root(outgoing, alpha);
    let root_i = smith_root(incoming, alpha);
    let sum = along_i + along_o / ratio;
    // How fast the normal turns with the direction.
    let turning = -along_i / max(sum * sum, 1.0e-20);
    let visible = distribution * 2.0 * along_o * turning;
    return vec2<f32>(
        visible * -incoming.z / (root_o * -incoming.z + outgoing.z * root_i),
        visible / (outgoing.z + root_o),
    );
}

// The direction that refracts into `outgoing` at a microfacet, below it. The light
// is not reflected totally there.
fn refracted(outgoing: vec3<f32>, half: vec3<f32>, ratio: f32) -> vec3<f32> {
    let along = dot3(outgoing, half);
    let inverse = 1.0 / ratio;
    let square = max(1.0 - (1.0 - along * along) * inverse * inverse, 0.0);
    return half * (along * inverse - sqrt(square)) - outgoing * inverse;
}

// Masking of the sheen's microfibres (Estevez & Kulla 2017, "Production Friendly
// Microfacet Sheen BRDF", with the fit of `KHR_materials_sheen`).
fn sheen_masking_fit(x: f32, smoothness: f32) -> f32 {
    let a = 21.5473 + (25.3245 - 21.5473) * smoothness;
    let b = 3.82987 + (3.32435 - 3.82987) * smoothness;
    let c = 0.19823 + (0.16801 - 0.19823) * smoothness;
    let d = -1.97760 + (1.97760 - 1.27393) * smoothness;
    let e = -4.32054 + (4.32054 - 4.85967) * smoothness;
    return a / (1.0 + b * power(x, c)) + d * x + e;
}

fn sheen_masking(cosine: f32, alpha: f32) -> f32 {
    let smoothness = (1.0 - alpha) * (1.0 - alpha);
    let near = min(cosine, 1.0 - cosine);
    let fit = sheen_masking_fit(near, smoothness);
    let middle = 2.0 * sheen_masking_fit(0.5, smoothness);
    let exponent = select(middle - fit, fit, cosine < 0.5);
    return power_of_two(exponent * 1.44269504);
}

// Reflection of a white sheen times the cosine; both directions are above.
fn sheen_reflection(outgoing: vec3<f32>, incoming: vec3<f32>, alpha: f32) -> f32 {
    let half = normalize3(outgoing + incoming);
    let sine = sqrt(clamp(half.x * half.x + half.y * half.y, 0.0, 1.0));
    let inverse = 1.0 / alpha;
    let distribution = (2.0 + inverse) * power(sine, inverse) * (0.5 * INVERSE_PI);
    let masking = 1.0 + sheen_masking(outgoing.z, alpha) + sheen_masking(incoming.z, alpha);
    return distribution / (4.0 * outgoing.z * masking);
}
