// glTF's metallic-roughness material (glTF 2.0, appendix B) as two lobes: a
// GGX microfacet lobe with Schlick's Fresnel term, and a Lambertian one under
// it that gets what the dielectric's microfacets do not reflect. The dielectric's
// reflectance may be scaled and tinted (KHR_materials_specular); what is under it
// then gets what its brightest channel leaves, as the extension has it.
//
// Energy: the diffuse lobe is (1 − E(o))(1 − E(i)) / (1 − Ē) of Lambert's
// (Kelemen & Szirmay-Kalos 2001), so a white dielectric reflects everything;
// the metal's lobe is scaled by 1 + F0·(1 − Eₛₛ)/Eₛₛ (Turquin 2019, "Practical
// multiple scattering compensation for microfacet models"), so a white metal
// reflects everything at any roughness. E comes from a table of the host.

import package::layout::{params, texels};
import package::hash::{quantised_probability, unit_float};
import package::surface::Surface;
import package::vector::{
    cos_sin_turn, dot3, frame_around, Frame, into_frame, INVERSE_PI, largest, luminance, normalize3,
    out_of_frame, PI,
};

// Knots of the albedo table along each axis; the averages follow it.
const ALBEDO_KNOTS: u32 = 32u;
// Below this the lobe is narrower than f32 resolves.
const LEAST_ALPHA: f32 = 1.0e-3;

struct Bsdf {
    frame: Frame,
    geometric_normal: vec3<f32>,
    // Way back along the ray, in the frame.
    outgoing: vec3<f32>,
    alpha: f32,
    // Reflectance of the diffuse lobe, divided by what couples it.
    diffuse: vec3<f32>,
    // Of the metal part.
    base_color: vec3<f32>,
    metallic: f32,
    // Of the dielectric part, at normal and at grazing incidence.
    f0: vec3<f32>,
    f90: f32,
    // Scale of the metal part's lobe.
    compensation: vec3<f32>,
    roughness: f32,
    // Threshold for 16 random bits below which the microfacet lobe is chosen.
    specular_threshold: u32,
}

// A direction to go on in: reflectance times cosine over pdf, and the pdf per
// solid angle. A pdf of 0 ends the path.
struct BsdfSample {
    direction: vec3<f32>,
    weight: vec3<f32>,
    pdf: f32,
}

// One word of the albedo table: the part that F0 scales and the part that F90
// scales, 16 bits each.
fn albedo_word(index: u32) -> vec2<f32> {
    let word = texels[params.albedo_table + index];
    return vec2<f32>(f32(word & 0xffffu), f32(word >> 16u)) * (1.0 / 65535.0);
}

// Directional albedo of the microfacet lobe: knots are even in the square root
// of the cosine and in the perceptual roughness.
fn lobe_albedo(cosine: f32, roughness: f32) -> vec2<f32> {
    let last = f32(ALBEDO_KNOTS - 1u);
    let x = sqrt(clamp(cosine, 0.0, 1.0)) * last;
    let y = clamp(roughness, 0.0, 1.0) * last;
    let column = min(u32(x), ALBEDO_KNOTS - 2u);
    let row = min(u32(y), ALBEDO_KNOTS - 2u);
    let fx = x - f32(column);
    let fy = y - f32(row);
    let i = row * ALBEDO_KNOTS + column;
    let near = albedo_word(i) * (1.0 - fx) + albedo_word(i + 1u) * fx;
    let far = albedo_word(i + ALBEDO_KNOTS) * (1.0 - fx) + albedo_word(i + ALBEDO_KNOTS + 1u) * fx;
    return near * (1.0 - fy) + far * fy;
}

// The same averaged over the hemisphere of directions, weighted by cosine.
fn lobe_average(roughness: f32) -> vec2<f32> {
    let y = clamp(roughness, 0.0, 1.0) * f32(ALBEDO_KNOTS - 1u);
    let row = min(u32(y), ALBEDO_KNOTS - 2u);
    let fy = y - f32(row);
    let i = ALBEDO_KNOTS * ALBEDO_KNOTS + row;
    return albedo_word(i) * (1.0 - fy) + albedo_word(i + 1u) * fy;
}

// What the dielectric's microfacets reflect in their brightest channel.
fn dielectric_albedo(bsdf: Bsdf, cosine: f32) -> f32 {
    if (bsdf.f90 == 0.0) {
        return 0.0;
    }
    let albedo = lobe_albedo(cosine, bsdf.roughness);
    return largest(bsdf.f0) * albedo.x + bsdf.f90 * albedo.y;
}

fn bsdf_at(surface: Surface, direction: vec3<f32>) -> Bsdf {
    var bsdf: Bsdf;
    bsdf.frame = frame_around(surface.normal);
    bsdf.geometric_normal = surface.geometric_normal;
    bsdf.outgoing = into_frame(bsdf.frame, -direction);
    bsdf.roughness = clamp(surface.roughness, 0.0, 1.0);
    bsdf.alpha = max(bsdf.roughness * bsdf.roughness, LEAST_ALPHA);
    bsdf.base_color = clamp(surface.base_color, vec3<f32>(0.0), vec3<f32>(1.0));
    bsdf.metallic = clamp(surface.metallic, 0.0, 1.0);
    bsdf.f0 = surface.f0;
    bsdf.f90 = surface.f90;

    var diffuse_share = 1.0;
    bsdf.diffuse = bsdf.base_color * (1.0 - bsdf.metallic);
    bsdf.compensation = vec3<f32>(1.0);
    var specular = vec3<f32>(0.0);
    if (bsdf.f90 > 0.0 || bsdf.metallic > 0.0) {
        let albedo = lobe_albedo(bsdf.outgoing.z, bsdf.roughness);
        let average = lobe_average(bsdf.roughness);
        let brightest = largest(bsdf.f0);
        diffuse_share = 1.0 - (brightest * albedo.x + bsdf.f90 * albedo.y);
        bsdf.diffuse *= diffuse_share / (1.0 - (brightest * average.x + bsdf.f90 * average.y));
        let single = max(albedo.x + albedo.y, 1.0e-4);
        bsdf.compensation = vec3<f32>(1.0) + bsdf.base_color * ((1.0 - single) / single);
        let metal = (bsdf.base_color * albedo.x + vec3<f32>(albedo.y)) * bsdf.compensation;
        let dielectric = bsdf.f0 * albedo.x + vec3<f32>(bsdf.f90 * albedo.y);
        specular = metal * bsdf.metallic + dielectric * (1.0 - bsdf.metallic);
    }
    let specular_weight = luminance(specular);
    let diffuse_weight = luminance(bsdf.base_color) * (1.0 - bsdf.metallic) * diffuse_share;
    let total = specular_weight + diffuse_weight;
    bsdf.specular_threshold = 0u;
    if (total > 0.0) {
        bsdf.specular_threshold = quantised_probability(specular_weight / total);
    }
    return bsdf;
}

// Reflectance times cosine in xyz and pdf in w, for a direction in the frame.
fn evaluate_lobes(bsdf: Bsdf, incoming: vec3<f32>) -> vec4<f32> {
    if (incoming.z <= 0.0) {
        return vec4<f32>(0.0);
    }
    let outgoing = bsdf.outgoing;
    let specular_share = f32(bsdf.specular_threshold) * (1.0 / 65536.0);
    let coupled = 1.0 - dielectric_albedo(bsdf, incoming.z);
    var value = bsdf.diffuse * (coupled * incoming.z * INVERSE_PI);
    var pdf = (1.0 - specular_share) * incoming.z * INVERSE_PI;
    if (bsdf.specular_threshold > 0u) {
        let half = normalize3(outgoing + incoming);
        let a2 = bsdf.alpha * bsdf.alpha;
        // GGX (Walter et al. 2007), written without the difference 1 − cos².
        let slope = (half.x * half.x + half.y * half.y) / a2 + half.z * half.z;
        let distribution = 1.0 / (PI * a2 * slope * slope);
        // Height-correlated Smith masking and shadowing over 4·cos·cos
        // (Heitz 2014, JCGT 3(2), equation 99).
        let root_o = sqrt(a2 + (1.0 - a2) * outgoing.z * outgoing.z);
        let root_i = sqrt(a2 + (1.0 - a2) * incoming.z * incoming.z);
        let visibility = 0.5 / (incoming.z * root_o + outgoing.z * root_i);
        // Schlick 1994.
        let m = clamp(1.0 - dot3(outgoing, half), 0.0, 1.0);
        let m5 = m * m * (m * m) * m;
        let dielectric = bsdf.f0 + (vec3<f32>(bsdf.f90) - bsdf.f0) * m5;
        let metal = (bsdf.base_color + (vec3<f32>(1.0) - bsdf.base_color) * m5) * bsdf.compensation;
        let fresnel = metal * bsdf.metallic + dielectric * (1.0 - bsdf.metallic);
        value += fresnel * (distribution * visibility * incoming.z);
        // Visible normals (Heitz 2018, JCGT 7(4), equation 17).
        pdf += specular_share * distribution * 0.5 / (outgoing.z + root_o);
    }
    return vec4<f32>(value, pdf);
}

// The same for a world direction. What the shading normal would send below the
// triangle is mirrored back above it: no light leaks and no energy is lost.
fn evaluate_bsdf(bsdf: Bsdf, incoming: vec3<f32>) -> vec4<f32> {
    let height = dot3(bsdf.geometric_normal, incoming);
    if (height <= 0.0) {
        return vec4<f32>(0.0);
    }
    let value = evaluate_lobes(bsdf, into_frame(bsdf.frame, incoming));
    let mirrored = incoming - bsdf.geometric_normal * (2.0 * height);
    if (dot3(bsdf.frame.normal, mirrored) <= 0.0) {
        return value;
    }
    return value + evaluate_lobes(bsdf, into_frame(bsdf.frame, mirrored));
}

// A microfacet normal seen from `outgoing` (Dupuy & Benyoub 2023, "Sampling
// Visible GGX Normals with Spherical Caps").
fn sample_visible_normal(outgoing: vec3<f32>, alpha: f32, bits: vec2<u32>) -> vec3<f32> {
    let stretched = normalize3(vec3<f32>(outgoing.x * alpha, outgoing.y * alpha, outgoing.z));
    let z = (1.0 - unit_float(bits.y)) * (1.0 + stretched.z) - stretched.z;
    let radius = sqrt(clamp(1.0 - z * z, 0.0, 1.0));
    let turn = cos_sin_turn(bits.x);
    let cap = vec3<f32>(radius * turn.x, radius * turn.y, z) + stretched;
    return normalize3(vec3<f32>(cap.x * alpha, cap.y * alpha, max(cap.z, 1.0e-7)));
}

// A direction by the cosine (Malley's method, pbrt-v4 section A.5.3).
fn sample_cosine(bits: vec2<u32>) -> vec3<f32> {
    let u = unit_float(bits.y);
    let radius = sqrt(u);
    let turn = cos_sin_turn(bits.x);
    return vec3<f32>(radius * turn.x, radius * turn.y, sqrt(max(1.0 - u, 1.0e-12)));
}

// Chooses a lobe by 16 bits of `choice` and a direction by `bits`.
fn sample_bsdf(bsdf: Bsdf, choice: u32, bits: vec2<u32>) -> BsdfSample {
    var local: vec3<f32>;
    if ((choice >> 16u) < bsdf.specular_threshold) {
        let half = sample_visible_normal(bsdf.outgoing, bsdf.alpha, bits);
        local = half * (2.0 * dot3(bsdf.outgoing, half)) - bsdf.outgoing;
    } else {
        local = sample_cosine(bits);
    }
    if (local.z <= 0.0) {
        return BsdfSample(vec3<f32>(0.0), vec3<f32>(0.0), 0.0);
    }
    var direction = normalize3(out_of_frame(bsdf.frame, local));
    let height = dot3(bsdf.geometric_normal, direction);
    if (height < 0.0) {
        direction -= bsdf.geometric_normal * (2.0 * height);
    }
    let value = evaluate_bsdf(bsdf, direction);
    if (!(value.w > 0.0)) {
        return BsdfSample(vec3<f32>(0.0), vec3<f32>(0.0), 0.0);
    }
    return BsdfSample(direction, value.xyz / value.w, value.w);
}
