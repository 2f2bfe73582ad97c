// glTF's material (glTF 2.0, appendix B, and its extensions) as lobes, from the
// outside in: a clear coat, a sheen, the interface, and what is under it.
//
// The interface is GGX microfacets that reflect by Schlick's Fresnel term, as a
// metal or as a dielectric; a thin film may colour both. A dielectric's reflectance
// may be scaled and tinted (KHR_materials_specular). Under a dielectric lie a
// Lambertian lobe for each side, or nothing, where light goes through: straight on
// where the surface is thin-walled, refracted where it encloses a solid.
//
// Energy: the diffuse lobes are (1 − E(o))(1 − E(i)) / (1 − Ē) of Lambert's
// (Kelemen & Szirmay-Kalos 2001), so a white dielectric reflects everything;
// the metal's lobe is scaled by 1 + F0·(1 − Eₛₛ)/Eₛₛ (Turquin 2019, "Practical
// multiple scattering compensation for microfacet models"), so a white metal
// reflects everything at any roughness, and glass by 1 / E of both its ways. Coat
// and sheen leave to what is under them what they do not reflect themselves. E
// comes from tables of the host.

import package::albedo::{glass_albedo, lobe_albedo, lobe_average, sheen_albedo};
import package::features::{
    HAS_ANISOTROPY, HAS_COAT, HAS_IRIDESCENCE, HAS_SHEEN, HAS_TRANSMISSION,
};
import package::fresnel::{
    COAT_F0, dielectric_reflectance, normal_reflectance, schlick, schlick_through, thin_film_reflectance,
};
import package::hash::{quantised_probability, unit_float};
import package::microfacet::{
    microfacet_reflection, microfacet_refraction, refracted, sample_visible_normal, sheen_reflection,
};
import package::surface::Surface;
import package::vector::{
    cos_sin_turn, cross3, dot3, frame_around, Frame, into_frame, INVERSE_PI, largest, luminance,
    normalize3, out_of_frame,
};

// Below this the lobe is narrower than f32 resolves.
const LEAST_ALPHA: f32 = 1.0e-3;
// Nearer to 1 a ratio of indices does not bend light by as much as f32 resolves.
const LEAST_BEND: f32 = 2.0e-3;

struct Bsdf {
    frame: Frame,
    geometric_normal: vec3<f32>,
    // Way back along the ray, in the frame.
    outgoing: vec3<f32>,
    // Along the frame's tangent and bitangent.
    alpha: vec2<f32>,
    // Perceptual, in two directions that stand for all of them.
    roughness: vec2<f32>,
    // Reflectance of the diffuse lobe on this side and on the other, divided by
    // what couples them.
    diffuse: vec3<f32>,
    diffuse_beyond: vec3<f32>,
    metallic: f32,
    // Of the metal part at normal incidence, and the scale of its lobe.
    metal_f0: vec3<f32>,
    compensation: vec3<f32>,
    // Of the dielectric part, at normal and at grazing incidence.
    f0: vec3<f32>,
    f90: f32,
    // Share of the dielectric that light goes through, what its way colours, the
    // scale of its lobe, and the index on the other side over that on this one; 0
    // where the surface is thin-walled.
    transmission: f32,
    tint: vec3<f32>,
    glass_compensation: f32,
    ratio: f32,
    // Share of the light that coat and sheen leave to the rest.
    under: f32,
    coat: f32,
    coat_alpha: f32,
    coat_frame: Frame,
    coat_outgoing: vec3<f32>,
    // Colour as it is seen under the coat.
    sheen: vec3<f32>,
    sheen_alpha: f32,
    // Thresholds for 16 random bits, in order: below the first the interface is
    // chosen, then the coat, then the sheen, and from the last on the diffuse lobes.
    specular_threshold: u32,
    coat_threshold: u32,
    sheen_threshold: u32,
    // For 16 more, below which the diffuse lobe of this side is.
    reflection_threshold: u32,
}

// A direction to go on in: reflectance times cosine over pdf, and the pdf per
// solid angle. A pdf of 0 ends the path.
struct BsdfSample {
    direction: vec3<f32>,
    weight: vec3<f32>,
    pdf: f32,
    // Whether it lies on the other side of the surface.
    beyond: bool,
}

fn no_sample() -> BsdfSample {
    return BsdfSample(vec3<f32>(0.0), vec3<f32>(0.0), 0.0, false);
}

// Directional albedo of the interface. The table knows one roughness for all
// directions; its values for two that stand for all are averaged.
fn interface_albedo(bsdf: Bsdf, cosine: f32) -> vec2<f32> {
    let across = lobe_albedo(cosine, bsdf.roughness.y);
    if (!HAS_ANISOTROPY || bsdf.roughness.x == bsdf.roughness.y) {
        return across;
    }
    return (lobe_albedo(cosine, bsdf.roughness.x) + across) * 0.5;
}

// The same averaged over the hemisphere.
fn interface_average(bsdf: Bsdf) -> vec2<f32> {
    let across = lobe_average(bsdf.roughness.y);
    if (!HAS_ANISOTROPY || bsdf.roughness.x == bsdf.roughness.y) {
        return across;
    }
    return (lobe_average(bsdf.roughness.x) + across) * 0.5;
}

// What the dielectric's microfacets reflect in their brightest channel.
fn dielectric_albedo(bsdf: Bsdf, cosine: f32) -> f32 {
    if (bsdf.f90 == 0.0 && largest(bsdf.f0) == 0.0) {
        return 0.0;
    }
    let albedo = interface_albedo(bsdf, cosine);
    return largest(bsdf.f0) * albedo.x + bsdf.f90 * albedo.y;
}

// The frame whose tangent is the direction of a surface's anisotropy.
fn anisotropic_frame(surface: Surface) -> Frame {
    let along = surface.tangent - surface.normal * dot3(surface.tangent, surface.normal);
    let square = dot3(along, along);
    if (square < 1.0e-12) {
        return frame_around(surface.normal);
    }
    let tangent = along * (1.0 / sqrt(square));
    return Frame(tangent, cross3(surface.normal, tangent), surface.normal);
}

// The coat, and what it leaves.
fn with_coat(before: Bsdf, surface: Surface, direction: vec3<f32>) -> Bsdf {
    var bsdf = before;
    bsdf.coat = surface.coat;
    bsdf.coat_alpha = max(surface.coat_roughness * surface.coat_roughness, LEAST_ALPHA);
    bsdf.coat_frame = frame_around(surface.coat_normal);
    bsdf.coat_outgoing = into_frame(bsdf.coat_frame, -direction);
    let albedo = lobe_albedo(bsdf.coat_outgoing.z, surface.coat_roughness);
    bsdf.under = 1.0 - bsdf.coat * (COAT_F0 * albedo.x + albedo.y);
    return bsdf;
}

// The sheen, and what it leaves.
fn with_sheen(before: Bsdf, surface: Surface) -> Bsdf {
    var bsdf = before;
    bsdf.sheen = surface.sheen * bsdf.under;
    bsdf.sheen_alpha = max(surface.sheen_roughness * surface.sheen_roughness, LEAST_ALPHA);
    bsdf.under -= largest(bsdf.sheen) * sheen_albedo(bsdf.outgoing.z, surface.sheen_roughness);
    return bsdf;
}

// The way through the dielectric. `ratio` is the index behind the surface over
// that in front of it.
fn with_transmission(before: Bsdf, surface: Surface, ratio: f32) -> Bsdf {
    var bsdf = before;
    bsdf.transmission = surface.transmission * (1.0 - bsdf.metallic);
    bsdf.tint = bsdf.metal_f0;
    bsdf.glass_compensation = 1.0;
    if (surface.transmission <= 0.0) {
        return bsdf;
    }
    if (!surface.solid) {
        let albedo = interface_albedo(bsdf, bsdf.outgoing.z);
        bsdf.glass_compensation = 1.0 / max(albedo.x + albedo.y, 1.0e-4);
        return bsdf;
    }
    // Where indices are equal, the way in and the way out cancel.
    let is_less = ratio < 1.0 || (ratio == 1.0 && !surface.front);
    let bend = select(max(ratio, 1.0 + LEAST_BEND), min(ratio, 1.0 - LEAST_BEND), is_less);
    bsdf.ratio = bend;
    // The material's reflectance is meant for air in front of it.
    let in_air = max(normal_reflectance(surface.index), 1.0e-6);
    bsdf.f0 = min(surface.f0 * (normal_reflectance(bend) / in_air), vec3<f32>(1.0));
    bsdf.glass_compensation =
        1.0 / max(glass_albedo(bsdf.outgoing.z, bsdf.roughness.y, bend), 1.0e-4);
    return bsdf;
}

// A thin film on metal and dielectric. Its colour is taken at the shading normal's
// angle, and Schlick's curve is laid through it.
fn with_film(before: Bsdf, surface: Surface) -> Bsdf {
    var bsdf = before;
    let cosine = clamp(bsdf.outgoing.z, 0.0, 1.0);
    let index = surface.film.x;
    let thickness = surface.film.y;
    let metal = thin_film_reflectance(index, thickness, bsdf.metal_f0, cosine);
    let dielectric = thin_film_reflectance(index, thickness, bsdf.f0, cosine);
    let share = surface.iridescence;
    bsdf.metal_f0 += (schlick_through(metal, cosine) - bsdf.metal_f0) * share;
    bsdf.f0 += (schlick_through(dielectric, cosine) - bsdf.f0) * share;
    return bsdf;
}

// Everything about the lobes at a surface; `direction` is the ray's, and `ratio`
// the index of refraction behind the surface over that in front of it.
fn bsdf_at(surface: Surface, direction: vec3<f32>, ratio: f32) -> Bsdf {
    var bsdf: Bsdf;
    bsdf.geometric_normal = surface.geometric_normal;
    let roughness = clamp(surface.roughness, 0.0, 1.0);
    bsdf.roughness = vec2<f32>(roughness);
    let alpha = max(roughness * roughness, LEAST_ALPHA);
    bsdf.alpha = vec2<f32>(alpha);
    if (HAS_ANISOTROPY && surface.anisotropy > 0.0) {
        bsdf.frame = anisotropic_frame(surface);
        bsdf.alpha.x = alpha + (1.0 - alpha) * surface.anisotropy * surface.anisotropy;
        // The mean of a function of the angle's double is that of its values at an
        // eighth and at three eighths of the half turn.
        let along = bsdf.alpha.x * bsdf.alpha.x;
        let across = alpha * alpha;
        bsdf.roughness = vec2<f32>(
            sqrt(sqrt(along * 0.85355339 + across * 0.14644661)),
            sqrt(sqrt(along * 0.14644661 + across * 0.85355339)),
        );
    } else {
        bsdf.frame = frame_around(surface.normal);
    }
    bsdf.outgoing = into_frame(bsdf.frame, -direction);
    let base_color = clamp(surface.base_color, vec3<f32>(0.0), vec3<f32>(1.0));
    bsdf.metal_f0 = base_color;
    bsdf.metallic = clamp(surface.metallic, 0.0, 1.0);
    bsdf.f0 = surface.f0;
    bsdf.f90 = surface.f90;
    bsdf.under = 1.0;
    var coat_weight = 0.0;
    if (HAS_COAT && surface.coat > 0.0) {
        bsdf = with_coat(bsdf, surface, direction);
        coat_weight = 1.0 - bsdf.under;
    }
    var sheen_weight = 0.0;
    if (HAS_SHEEN && largest(surface.sheen) > 0.0) {
        let over = bsdf.under;
        bsdf = with_sheen(bsdf, surface);
        sheen_weight = over - bsdf.under;
    }
    if (HAS_TRANSMISSION) {
        bsdf = with_transmission(bsdf, surface, ratio);
    }
    if (HAS_IRIDESCENCE && surface.iridescence > 0.0) {
        bsdf = with_film(bsdf, surface);
    }

    // Of the light that gets under the interface, and how the ways in and out of it
    // are coupled.
    var entering = (1.0 - bsdf.metallic - bsdf.transmission) * bsdf.under;
    var coupling = entering;
    bsdf.compensation = vec3<f32>(1.0);
    var specular = vec3<f32>(0.0);
    let reflects = bsdf.f90 > 0.0 || largest(bsdf.f0) > 0.0;
    if (reflects || bsdf.metallic > 0.0 || bsdf.transmission > 0.0) {
        let albedo = interface_albedo(bsdf, bsdf.outgoing.z);
        let average = interface_average(bsdf);
        let brightest = largest(bsdf.f0);
        let passed = 1.0 - (brightest * albedo.x + bsdf.f90 * albedo.y);
        entering *= passed;
        // A mirror lets nothing under it.
        let rest = 1.0 - (brightest * average.x + bsdf.f90 * average.y);
        coupling = 0.0;
        if (rest > 1.0e-3) {
            coupling = entering / rest;
        }
        let single = max(albedo.x + albedo.y, 1.0e-4);
        bsdf.compensation = vec3<f32>(1.0) + bsdf.metal_f0 * ((1.0 - single) / single);
        let metal = (bsdf.metal_f0 * albedo.x + vec3<f32>(albedo.y)) * bsdf.compensation;
        let dielectric = bsdf.f0 * albedo.x + vec3<f32>(bsdf.f90 * albedo.y);
        specular = metal * bsdf.metallic + dielectric * (1.0 - bsdf.metallic);
        if (HAS_TRANSMISSION) {
            specular += bsdf.tint * (bsdf.transmission * passed);
        }
    }
    bsdf.diffuse = base_color * coupling;
    var diffuse_weight = luminance(base_color);
    bsdf.reflection_threshold = 65536u;
    if (HAS_TRANSMISSION && surface.diffuse_transmission > 0.0) {
        let beyond = surface.diffuse_transmission_color * surface.diffuse_transmission;
        bsdf.diffuse *= 1.0 - surface.diffuse_transmission;
        bsdf.diffuse_beyond = beyond * coupling;
        let kept = diffuse_weight * (1.0 - surface.diffuse_transmission);
        diffuse_weight = kept + luminance(beyond);
        bsdf.reflection_threshold = quantised_probability(kept / max(diffuse_weight, 1.0e-20));
    }
    diffuse_weight *= entering;
    let specular_weight = luminance(specular) * bsdf.under;
    let total = specular_weight + diffuse_weight + coat_weight + sheen_weight;
    if (total > 0.0) {
        bsdf.specular_threshold = quantised_probability(specular_weight / total);
        bsdf.coat_threshold = bsdf.specular_threshold;
        bsdf.sheen_threshold = bsdf.specular_threshold;
        if (HAS_COAT || HAS_SHEEN) {
            bsdf.coat_threshold = quantised_probability((specular_weight + coat_weight) / total);
            bsdf.sheen_threshold =
                quantised_probability((specular_weight + coat_weight + sheen_weight) / total);
        }
    }
    return bsdf;
}

// What a microfacet does with light at an angle: what it reflects, what goes
// through, and the threshold for 16 random bits below which reflection is chosen.
struct Split {
    reflected: vec3<f32>,
    transmitted: vec3<f32>,
    threshold: u32,
}

fn split_at(bsdf: Bsdf, cosine: f32) -> Split {
    let dielectric = schlick(bsdf.f0, bsdf.f90, cosine);
    let metal = schlick(bsdf.metal_f0, 1.0, cosine) * bsdf.compensation;
    let opaque = 1.0 - bsdf.metallic - bsdf.transmission;
    var split = Split(metal * bsdf.metallic + dielectric * opaque, vec3<f32>(0.0), 65536u);
    if (!HAS_TRANSMISSION || bsdf.transmission <= 0.0) {
        return split;
    }
    var glass = dielectric;
    if (bsdf.ratio > 0.0) {
        // Exactly, as the angle of total reflection must be met, and then scaled and
        // tinted as the extensions do it at normal incidence.
        let exact = dielectric_reflectance(cosine, bsdf.ratio);
        let plain = max(normal_reflectance(bsdf.ratio), 1.0e-6);
        glass = min(bsdf.f0 * (exact / plain), vec3<f32>(1.0));
        if (exact >= 1.0) {
            glass = vec3<f32>(1.0);
        }
    }
    let scale = bsdf.transmission * bsdf.glass_compensation;
    split.reflected += glass * scale;
    split.transmitted = bsdf.tint * (scale * (1.0 - largest(glass)));
    let kept = luminance(split.reflected);
    let passed = luminance(split.transmitted);
    split.threshold = quantised_probability(kept / max(kept + passed, 1.0e-20));
    return split;
}

// A threshold's probability.
fn share(threshold: u32) -> f32 {
    return f32(threshold) * (1.0 / 65536.0);
}

// Reflectance times cosine in xyz and pdf in w of the lobes above the surface but
// the coat, for a direction in the frame.
fn evaluate_lobes(bsdf: Bsdf, incoming: vec3<f32>) -> vec4<f32> {
    if (incoming.z <= 0.0) {
        return vec4<f32>(0.0);
    }
    let outgoing = bsdf.outgoing;
    let coupled = 1.0 - dielectric_albedo(bsdf, incoming.z);
    var value = bsdf.diffuse * (coupled * incoming.z * INVERSE_PI);
    var diffuse_share = 1.0 - share(bsdf.sheen_threshold);
    if (HAS_TRANSMISSION) {
        diffuse_share *= share(bsdf.reflection_threshold);
    }
    var pdf = diffuse_share * incoming.z * INVERSE_PI;
    if (bsdf.specular_threshold > 0u) {
        let half = normalize3(outgoing + incoming);
        let lobe = microfacet_reflection(outgoing, incoming, half, bsdf.alpha);
        let split = split_at(bsdf, dot3(outgoing, half));
        value += split.reflected * (lobe.x * bsdf.under);
        var chosen = share(bsdf.specular_threshold);
        if (HAS_TRANSMISSION) {
            chosen *= share(split.threshold);
        }
        pdf += chosen * lobe.y;
    }
    if (HAS_SHEEN && bsdf.sheen_threshold > bsdf.coat_threshold) {
        value += bsdf.sheen * sheen_reflection(outgoing, incoming, bsdf.sheen_alpha);
        pdf += (share(bsdf.sheen_threshold) - share(bsdf.coat_threshold)) * (0.5 * INVERSE_PI);
    }
    return vec4<f32>(value, pdf);
}

// The same of the coat, for a world direction.
fn evaluate_coat(bsdf: Bsdf, direction: vec3<f32>) -> vec4<f32> {
    let incoming = into_frame(bsdf.coat_frame, direction);
    if (!HAS_COAT || bsdf.coat <= 0.0 || incoming.z <= 0.0) {
        return vec4<f32>(0.0);
    }
    let half = normalize3(bsdf.coat_outgoing + incoming);
    let lobe = microfacet_reflection(bsdf.coat_outgoing, incoming, half, vec2<f32>(bsdf.coat_alpha));
    let reflected = schlick(vec3<f32>(COAT_F0), 1.0, dot3(bsdf.coat_outgoing, half)).x * bsdf.coat;
    let chosen = share(bsdf.coat_threshold) - share(bsdf.specular_threshold);
    return vec4<f32>(vec3<f32>(reflected * lobe.x), chosen * lobe.y);
}

// The same of what goes through, for a direction in the frame.
fn evaluate_beyond(bsdf: Bsdf, incoming: vec3<f32>) -> vec4<f32> {
    if (incoming.z >= 0.0) {
        return vec4<f32>(0.0);
    }
    let outgoing = bsdf.outgoing;
    let coupled = 1.0 - dielectric_albedo(bsdf, -incoming.z);
    var value = bsdf.diffuse_beyond * (coupled * -incoming.z * INVERSE_PI);
    let diffuse_share = (1.0 - share(bsdf.sheen_threshold)) * (1.0 - share(bsdf.reflection_threshold));
    var pdf = diffuse_share * -incoming.z * INVERSE_PI;
    if (bsdf.transmission <= 0.0) {
        return vec4<f32>(value, pdf);
    }
    var half: vec3<f32>;
    var lobe: vec2<f32>;
    if (bsdf.ratio > 0.0) {
        half = normalize3(outgoing + incoming * bsdf.ratio);
        half *= select(-1.0, 1.0, half.z > 0.0);
        lobe = microfacet_refraction(outgoing, incoming, half, bsdf.alpha, bsdf.ratio);
    } else {
        let mirrored = vec3<f32>(incoming.x, incoming.y, -incoming.z);
        half = normalize3(outgoing + mirrored);
        lobe = microfacet_reflection(outgoing, mirrored, half, bsdf.alpha);
    }
    let split = split_at(bsdf, dot3(outgoing, half));
    value += split.transmitted * (lobe.x * bsdf.under);
    pdf += share(bsdf.specular_threshold) * (1.0 - share(split.threshold)) * lobe.y;
    return vec4<f32>(value, pdf);
}

// Whether light goes through, otherwise than by alpha.
fn transmits(bsdf: Bsdf) -> bool {
    return HAS_TRANSMISSION && (bsdf.transmission > 0.0 || bsdf.reflection_threshold < 65536u);
}

// Reflectance times cosine in xyz and pdf in w for a world direction. What the
// shading normal would send to the wrong side of the triangle is mirrored back: no
// light leaks and no energy is lost.
fn evaluate_bsdf(bsdf: Bsdf, incoming: vec3<f32>) -> vec4<f32> {
    let height = dot3(bsdf.geometric_normal, incoming);
    let mirrored = incoming - bsdf.geometric_normal * (2.0 * height);
    if (height <= 0.0) {
        if (!transmits(bsdf) || height == 0.0) {
            return vec4<f32>(0.0);
        }
        return evaluate_beyond(bsdf, into_frame(bsdf.frame, incoming))
            + evaluate_beyond(bsdf, into_frame(bsdf.frame, mirrored));
    }
    var value = evaluate_lobes(bsdf, into_frame(bsdf.frame, incoming));
    if (HAS_COAT && bsdf.coat > 0.0) {
        value += evaluate_coat(bsdf, incoming) + evaluate_coat(bsdf, mirrored);
    }
    if (dot3(bsdf.frame.normal, mirrored) <= 0.0) {
        return value;
    }
    return value + evaluate_lobes(bsdf, into_frame(bsdf.frame, mirrored));
}

// A direction by the cosine (Malley's method, pbrt-v4 section A.5.3).
fn sample_cosine(bits: vec2<u32>) -> vec3<f32> {
    let u = unit_float(bits.y);
    let radius = sqrt(u);
    let turn = cos_sin_turn(bits.x);
    return vec3<f32>(radius * turn.x, radius * turn.y, sqrt(max(1.0 - u, 1.0e-12)));
}

// A direction of the upper hemisphere, evenly by solid angle.
fn sample_hemisphere(bits: vec2<u32>) -> vec3<f32> {
    let z = max(unit_float(bits.y), 1.0e-7);
    let radius = sqrt(max(1.0 - z * z, 0.0));
    let turn = cos_sin_turn(bits.x);
    return vec3<f32>(radius * turn.x, radius * turn.y, z);
}

// A direction in the frame from one of the lobes but the coat; its z is 0 where
// the lobe has none. `lobe` and `side` are 16 random bits each.
fn sample_lobes(bsdf: Bsdf, lobe: u32, side: u32, bits: vec2<u32>) -> vec3<f32> {
    let nothing = vec3<f32>(1.0, 0.0, 0.0);
    if (lobe < bsdf.specular_threshold) {
        let half = sample_visible_normal(bsdf.outgoing, bsdf.alpha, bits);
        let along = dot3(bsdf.outgoing, half);
        let mirrored = half * (2.0 * along) - bsdf.outgoing;
        if (!HAS_TRANSMISSION || side < split_at(bsdf, along).threshold) {
            return select(nothing, mirrored, mirrored.z > 0.0);
        }
        if (bsdf.ratio > 0.0) {
            let through = refracted(bsdf.outgoing, half, bsdf.ratio);
            return select(nothing, through, through.z < 0.0);
        }
        let through = vec3<f32>(mirrored.x, mirrored.y, -mirrored.z);
        return select(nothing, through, through.z < 0.0);
    }
    if (HAS_SHEEN && lobe < bsdf.sheen_threshold) {
        return sample_hemisphere(bits);
    }
    let local = sample_cosine(bits);
    if (HAS_TRANSMISSION && side >= bsdf.reflection_threshold) {
        return vec3<f32>(local.x, local.y, -local.z);
    }
    return local;
}

// A direction in the coat's frame.
fn sample_coat(bsdf: Bsdf, bits: vec2<u32>) -> vec3<f32> {
    let half = sample_visible_normal(bsdf.coat_outgoing, vec2<f32>(bsdf.coat_alpha), bits);
    let local = half * (2.0 * dot3(bsdf.coat_outgoing, half)) - bsdf.coat_outgoing;
    return select(vec3<f32>(1.0, 0.0, 0.0), local, local.z > 0.0);
}

// Chooses a lobe by the upper 16 bits of `choice`, a side by the lower, and a
// direction by `bits`.
fn sample_bsdf(bsdf: Bsdf, choice: u32, bits: vec2<u32>) -> BsdfSample {
    let lobe = choice >> 16u;
    var local: vec3<f32>;
    var frame = bsdf.frame;
    if (HAS_COAT && lobe >= bsdf.specular_threshold && lobe < bsdf.coat_threshold) {
        local = sample_coat(bsdf, bits);
        frame = bsdf.coat_frame;
    } else {
        local = sample_lobes(bsdf, lobe, choice & 0xffffu, bits);
    }
    if (local.z == 0.0) {
        return no_sample();
    }
    let beyond = local.z < 0.0;
    var direction = normalize3(out_of_frame(frame, local));
    let height = dot3(bsdf.geometric_normal, direction);
    if ((height < 0.0) != beyond) {
        direction -= bsdf.geometric_normal * (2.0 * height);
    }
    let value = evaluate_bsdf(bsdf, direction);
    if (!(value.w > 0.0)) {
        return no_sample();
    }
    return BsdfSample(direction, value.xyz / value.w, value.w, beyond);
}
