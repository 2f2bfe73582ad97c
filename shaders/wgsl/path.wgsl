// Path tracing with next-event estimation (Kajiya 1986; Veach 1997; pbrt-v4,
// section 13.4): a path grows by one segment at a time.
//
// Nothing here traces a ray. A path says which rays it wants traced, and is given
// their hits: whoever drives it may trace them there and then, or together with
// those of many other paths.

import package::layout::{materials, params, MATERIAL_EMISSIVE, MATERIAL_UNLIT, NONE};
import package::bsdf::{Bsdf, bsdf_at, evaluate_bsdf, sample_bsdf, transmits};
import package::camera::{camera_ray, FAR};
import package::features::{HAS_ALPHA, HAS_EMISSION, HAS_LIGHTS, HAS_TRANSMISSION};
import package::environment::{sky_is_map, sky_radiance};
import package::hash::{hash_combine, quantised_probability};
import package::light::{BEYOND, light_density, sample_light};
import package::medium::{enter, index_of, leave, transmittance};
import package::motion::shutter_time;
import package::sampler::{
    PAIR_CHOICE, PAIR_DIRECTION, PAIR_FATE, PAIR_LIGHT, sample_segment,
};
import package::surface::{coverage_at, off_surface, Surface, surface_at};
import package::traverse::{Hit, Ray, ray_from};
import package::vector::{dot3, largest, length3};

// Surfaces that a path, or a shadow ray, may pass through by their alpha.
const PASS_LIMIT: u32 = 64u;
// Where a shadow ray ends, as a part of the way to its light.
const SHORT_OF_LIGHT: f32 = 0.9999;
// Segments after which roulette may end a path.
const ROULETTE_AFTER: u32 = 4u;
const ALL_CHANNELS: u32 = 3u;

struct Path {
    ray: Ray,
    throughput: vec3<f32>,
    radiance: vec3<f32>,
    alpha: f32,
    // Density of the ray's direction; 0 for camera rays, which no light
    // sampling competes with.
    pdf: f32,
    // Segments so far, and surfaces that their rays passed through.
    segments: u32,
    passes: u32,
    // Whether it goes on along its ray, and whether that ray's hit is known and
    // waits for the shadow ray's answer.
    alive: bool,
    held: bool,
    // The way to a light, whether it is still in doubt, the surfaces that it
    // passed through, and what the path gains at its end.
    shadow: Ray,
    shadowed: bool,
    shadow_passes: u32,
    light: vec3<f32>,
    // Normal of the surface that its ray left, on the side that it is lit from; zero
    // where that is both.
    normal: vec3<f32>,
    // The solids that it is inside of, and the channel of the colour that is left of
    // it, or ALL_CHANNELS.
    media: vec4<u32>,
    channel: u32,
    // Rays traced for it.
    rays: u32,
    // Key of the pixel, and which of its samples this is.
    key: u32,
    sample: u32,
    // When it is, as `shutter_time` has it.
    time: u32,
}

fn begin_path(x: u32, y: u32, key: u32, sample: u32) -> Path {
    let time = shutter_time(key, sample);
    let ray = camera_ray(x, y, key, sample, time);
    let none = vec3<f32>(0.0);
    return Path(
        ray, vec3<f32>(1.0), none, 1.0, 0.0, 0u, 0u, true, false, ray, false, 0u, none,
        none, vec4<u32>(NONE), ALL_CHANNELS, 0u, key, sample, time,
    );
}

// The same ray behind one of its hits.
fn behind(ray: Ray, hit: Hit) -> Ray {
    return Ray(ray.origin, ray.direction, hit.t, ray.t_max, hit.instance, hit.triangle);
}

// Whether a path goes on behind a surface that does not cover everything. The
// chance is a hash of path and triangle, so it does not depend on the order in
// which the tree is walked.
fn passes(path: Path, hit: Hit, coverage: f32) -> bool {
    if (!HAS_ALPHA || hit.opaque || path.passes >= PASS_LIMIT) {
        return false;
    }
    let key = hash_combine(hash_combine(path.key, path.sample), path.segments);
    let chance = hash_combine(hash_combine(key, hit.instance), hit.triangle) >> 16u;
    return chance >= quantised_probability(coverage);
}

// What counts of light that reached the camera after so many bounces. What is
// brighter than the picture's bounds keeps its hue.
fn bounded(light: vec3<f32>, bounces: u32) -> vec3<f32> {
    let bound = select(params.clamp_indirect, params.clamp_direct, bounces <= 1u);
    let brightest = largest(light);
    if (brightest > bound) {
        return light * (bound / brightest);
    }
    return light;
}

// Takes what a shadow ray met into account. Translucent coverage weakens the
// light, which has the same mean as stopping it by chance and less noise.
//
// A ray that is stopped counts once, however many surfaces it passed before: which
// it meets first depends on how the tree is walked, and the number of rays must not.
fn settle_shadow(before: Path, hit: Hit) -> Path {
    var path = before;
    if (hit.instance == NONE) {
        path.rays += 1u + path.shadow_passes;
        path.radiance += bounded(path.light, path.segments);
        path.shadowed = false;
        return path;
    }
    path.shadow_passes += 1u;
    path.shadowed = HAS_ALPHA && !hit.opaque && path.shadow_passes < PASS_LIMIT;
    if (path.shadowed) {
        path.light *= 1.0 - coverage_at(hit);
        path.shadow = behind(path.shadow, hit);
        path.shadowed = largest(path.light) > 0.0;
    }
    path.rays += select(1u, 0u, path.shadowed);
    return path;
}

// The power heuristic with exponent 2 (Veach 1997, section 9.2.4), written so
// that squares do not overflow.
fn mis_weight(pdf: f32, other: f32) -> f32 {
    if (pdf >= other) {
        let ratio = other / pdf;
        return 1.0 / (1.0 + ratio * ratio);
    }
    let ratio = pdf / other;
    return ratio * ratio / (1.0 + ratio * ratio);
}

// What the sky sends along a path's ray.
fn radiance_of_sky(path: Path) -> vec3<f32> {
    let sky = sky_radiance(path.ray.direction);
    var weight = 1.0;
    if (path.pdf > 0.0 && sky_is_map()) {
        weight = mis_weight(path.pdf, sky.w * params.sky_pick);
    }
    return path.throughput * sky.xyz * weight;
}

// What a surface emits along a path's ray.
fn radiance_of_surface(path: Path, surface: Surface, distance: f32) -> vec3<f32> {
    var weight = 1.0;
    if (path.pdf > 0.0) {
        let density =
            light_density(surface, path.ray.origin, path.normal, path.ray.direction, distance);
        weight = mis_weight(path.pdf, density);
    }
    return path.throughput * surface.emission * weight;
}

// A shadow ray and what arrives if nothing is in its way; nothing may.
struct Aim {
    ray: Ray,
    light: vec3<f32>,
    found: bool,
}

// Aims from a surface at one light. `normal` is as in `Path`; `beyond` are the
// solids on its other side.
fn aim_at_light(
    path: Path,
    bsdf: Bsdf,
    surface: Surface,
    normal: vec3<f32>,
    beyond: vec4<u32>,
    choice: u32,
    cell: u32,
) -> Aim {
    var aim: Aim;
    if (!HAS_LIGHTS || params.light_count == 0u) {
        return aim;
    }
    let bits = sample_segment(path.key, path.sample, path.segments, PAIR_LIGHT);
    var origin = off_surface(surface, false);
    let light = sample_light(origin, normal, choice, bits, cell, path.time);
    if (largest(light.radiance) <= 0.0) {
        return aim;
    }
    let reflected = evaluate_bsdf(bsdf, light.direction);
    if (largest(reflected.xyz) <= 0.0) {
        return aim;
    }
    var weight = 1.0;
    if (light.pdf > 0.0) {
        weight = mis_weight(light.pdf, reflected.w);
    }
    aim.light = path.throughput * reflected.xyz * light.radiance * weight;
    var reach = light.reach;
    if (HAS_TRANSMISSION) {
        let through = dot3(bsdf.geometric_normal, light.direction) < 0.0;
        let start = off_surface(surface, through);
        reach += origin - start;
        origin = start;
        aim.light *= transmittance(select(path.media, beyond, vec4<bool>(through)), length3(reach));
    }
    aim.ray = ray_from(origin, reach, SHORT_OF_LIGHT);
    aim.found = true;
    return aim;
}

// What a path's throughput is multiplied by where 16 bits of `fate` may end it;
// 0 where they do.
fn play_roulette(throughput: vec3<f32>, segments: u32, fate: u32) -> f32 {
    let survival = largest(throughput);
    if (segments < ROULETTE_AFTER || survival >= 1.0) {
        return select(0.0, 1.0, survival > 0.0);
    }
    let threshold = max(quantised_probability(survival), 1u);
    return select(0.0, 65536.0 / f32(threshold), (fate >> 16u) < threshold);
}

// The solids on the other side of a surface.
fn media_beyond(path: Path, surface: Surface) -> vec4<u32> {
    if (!surface.solid) {
        return path.media;
    }
    if (surface.front) {
        return enter(path.media, surface.material);
    }
    return leave(path.media, surface.material);
}

// Where light of different colours is bent differently, a path goes on with one
// channel: chosen by `choice`, and three times as bright.
fn disperse(before: Path, surface: Surface, choice: u32) -> Path {
    var path = before;
    if (path.channel != ALL_CHANNELS || !surface.solid || surface.transmission <= 0.0
        || materials[surface.material].transmission.w <= 0.0) {
        return path;
    }
    path.channel = ((choice & 0xffffu) * 3u) >> 16u;
    path.throughput *= vec3<f32>(
        select(0.0, 3.0, path.channel == 0u),
        select(0.0, 3.0, path.channel == 1u),
        select(0.0, 3.0, path.channel == 2u),
    );
    return path;
}

// Index of refraction on the other side of a surface over that on this side. A
// front has what it encloses behind it, and a back in front of it.
fn ratio_at(path: Path, surface: Surface, beyond: vec4<u32>) -> f32 {
    if (!surface.solid) {
        return 1.0;
    }
    let own = index_of(surface.material, path.channel);
    if (surface.front) {
        return own / index_of(path.media.x, path.channel);
    }
    return index_of(beyond.x, path.channel) / own;
}

// Takes a path on from what its ray hit: it grows by a segment, unless the ray
// passes through.
fn extend_path(before: Path, hit: Hit) -> Path {
    var path = before;
    path.rays += 1u;
    if (hit.instance == NONE) {
        path.alive = false;
        if (path.segments == 0u && params.transparent != 0u) {
            path.alpha = 0.0;
        } else {
            if (HAS_TRANSMISSION) {
                // A solid that is open has no end, as for the light that is aimed at.
                path.throughput *= transmittance(path.media, BEYOND);
            }
            path.radiance += bounded(radiance_of_sky(path), path.segments);
        }
        return path;
    }
    let surface = surface_at(hit, path.ray.direction, path.time);
    if (passes(path, hit, surface.coverage)) {
        path.ray = behind(path.ray, hit);
        path.passes += 1u;
        return path;
    }
    path.segments += 1u;
    if (HAS_TRANSMISSION) {
        path.throughput *= transmittance(path.media, hit.t);
    }
    if ((surface.flags & MATERIAL_UNLIT) != 0u) {
        path.radiance += bounded(path.throughput * surface.base_color, path.segments - 1u);
        path.alive = false;
        return path;
    }
    if (HAS_EMISSION && (surface.flags & MATERIAL_EMISSIVE) != 0u) {
        path.radiance += bounded(radiance_of_surface(path, surface, hit.t), path.segments - 1u);
    }
    if (path.segments >= params.max_depth) {
        path.alive = false;
        return path;
    }
    let choice = sample_segment(path.key, path.sample, path.segments, PAIR_CHOICE);
    let fate = sample_segment(path.key, path.sample, path.segments, PAIR_FATE);
    var beyond = path.media;
    var ratio = 1.0;
    if (HAS_TRANSMISSION) {
        path = disperse(path, surface, fate.x);
        beyond = media_beyond(path, surface);
        ratio = ratio_at(path, surface, beyond);
    }
    let bsdf = bsdf_at(surface, path.ray.direction, ratio);
    let normal = select(surface.geometric_normal, vec3<f32>(0.0), transmits(bsdf));
    let aim = aim_at_light(path, bsdf, surface, normal, beyond, choice.y, fate.y);
    path.shadow = aim.ray;
    path.light = aim.light;
    path.shadowed = aim.found;
    path.shadow_passes = 0u;

    let bits = sample_segment(path.key, path.sample, path.segments, PAIR_DIRECTION);
    let next = sample_bsdf(bsdf, choice.x, bits);
    let throughput = path.throughput * next.weight;
    let factor = play_roulette(throughput, path.segments, fate.x);
    path.throughput = throughput * factor;
    path.pdf = next.pdf;
    path.normal = normal;
    path.ray = ray_from(off_surface(surface, next.beyond), next.direction, FAR);
    if (HAS_TRANSMISSION && next.beyond) {
        path.media = beyond;
    }
    path.alive = next.pdf > 0.0 && factor > 0.0;
    return path;
}

// Takes a path on from what its rays hit: `shadow_hit` where it was in doubt
// whether it is shadowed, and `hit` where it is alive. Only when the way to the
// light is settled does it go on, and it is over when it is neither.
fn advance_path(before: Path, hit: Hit, shadow_hit: Hit) -> Path {
    var path = before;
    if (path.shadowed) {
        path = settle_shadow(path, shadow_hit);
    }
    path.held = path.shadowed && path.alive;
    if (path.alive && !path.held) {
        path = extend_path(path, hit);
    }
    return path;
}
