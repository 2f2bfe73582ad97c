// Path tracing with next-event estimation (Kajiya 1986; Veach 1997; pbrt-v4,
// section 13.4): a path grows by one segment at a time.

import package::layout::{params, MATERIAL_EMISSIVE, MATERIAL_UNLIT, NONE};
import package::bsdf::{Bsdf, bsdf_at, evaluate_bsdf, sample_bsdf};
import package::camera::{camera_ray, FAR};
import package::environment::{sky_is_map, sky_radiance};
import package::hash::{hash_combine, quantised_probability};
import package::light::{light_density, sample_light};
import package::sampler::{
    PAIR_CHOICE, PAIR_DIRECTION, PAIR_FATE, PAIR_FILTER, PAIR_LIGHT, sample_pair, sample_segment,
};
import package::surface::{coverage_at, off_surface, Surface, surface_at};
import package::traverse::{Hit, Ray, ray_from, traverse};
import package::vector::largest;

// Surfaces that a path, or a shadow ray, may pass through by their alpha.
const PASS_LIMIT: u32 = 64u;
// Segments after which roulette may end a path.
const ROULETTE_AFTER: u32 = 4u;

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
    alive: bool,
    // Rays traced for it.
    rays: u32,
    // Key of the pixel, and which of its samples this is.
    key: u32,
    sample: u32,
}

fn begin_path(x: u32, y: u32, key: u32, sample: u32) -> Path {
    let ray = camera_ray(x, y, sample_pair(key, sample, PAIR_FILTER));
    return Path(
        ray, vec3<f32>(1.0), vec3<f32>(0.0), 1.0, 0.0, 0u, 0u, true, 0u, key, sample,
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
    if (hit.opaque || path.passes >= PASS_LIMIT) {
        return false;
    }
    let key = hash_combine(hash_combine(path.key, path.sample), path.segments);
    let chance = hash_combine(hash_combine(key, hit.instance), hit.triangle) >> 16u;
    return chance >= quantised_probability(coverage);
}

// What a shadow ray found: the share of light that gets through.
struct Shadow {
    transmittance: f32,
    rays: u32,
}

// Follows a shadow ray. Translucent coverage weakens it, which has the same
// mean as stopping it by chance and less noise.
fn trace_shadow(origin: vec3<f32>, reach: vec3<f32>) -> Shadow {
    var ray = ray_from(origin, reach, 0.9999);
    var shadow = Shadow(1.0, 0u);
    for (var pass_count = 0u; pass_count < PASS_LIMIT; pass_count++) {
        let hit = traverse(ray, true);
        shadow.rays += 1u;
        if (hit.instance == NONE) {
            return shadow;
        }
        if (hit.opaque) {
            break;
        }
        shadow.transmittance *= 1.0 - coverage_at(hit);
        if (shadow.transmittance <= 0.0) {
            break;
        }
        ray = behind(ray, hit);
    }
    shadow.transmittance = 0.0;
    return shadow;
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

// Ends a path that left the scene.
fn escape(before: Path) -> Path {
    var path = before;
    path.alive = false;
    if (path.segments == 0u && params.transparent != 0u) {
        path.alpha = 0.0;
        return path;
    }
    let sky = sky_radiance(path.ray.direction);
    var weight = 1.0;
    if (path.pdf > 0.0 && sky_is_map()) {
        weight = mis_weight(path.pdf, sky.w * params.sky_pick);
    }
    path.radiance += path.throughput * sky.xyz * weight;
    return path;
}

// Adds what a surface emits towards the path.
fn add_emission(before: Path, surface: Surface, distance: f32) -> Path {
    var path = before;
    if ((surface.flags & MATERIAL_EMISSIVE) == 0u) {
        return path;
    }
    var weight = 1.0;
    if (path.pdf > 0.0) {
        weight = mis_weight(path.pdf, light_density(surface, path.ray.direction, distance));
    }
    path.radiance += path.throughput * surface.emission * weight;
    return path;
}

// Adds light that one light sends to the surface straight.
fn add_direct_light(before: Path, bsdf: Bsdf, origin: vec3<f32>, choice: u32, cell: u32) -> Path {
    var path = before;
    if (params.light_count == 0u) {
        return path;
    }
    let bits = sample_segment(path.key, path.sample, path.segments, PAIR_LIGHT);
    let light = sample_light(origin, choice, bits, cell);
    if (largest(light.radiance) <= 0.0) {
        return path;
    }
    let reflected = evaluate_bsdf(bsdf, light.direction);
    if (largest(reflected.xyz) <= 0.0) {
        return path;
    }
    var weight = 1.0;
    if (light.pdf > 0.0) {
        weight = mis_weight(light.pdf, reflected.w);
    }
    let shadow = trace_shadow(origin, light.reach);
    path.rays += shadow.rays;
    path.radiance += path.throughput * reflected.xyz * light.radiance
        * (weight * shadow.transmittance);
    return path;
}

// Ends a path by chance, by 16 bits of `fate`, or makes up for not having.
fn play_roulette(before: Path, fate: u32) -> Path {
    var path = before;
    let survival = largest(path.throughput);
    if (path.segments < ROULETTE_AFTER || survival >= 1.0) {
        path.alive = survival > 0.0;
        return path;
    }
    let threshold = max(quantised_probability(survival), 1u);
    path.alive = (fate >> 16u) < threshold;
    path.throughput *= 65536.0 / f32(threshold);
    return path;
}

// Follows a path's ray to what it hits, and grows the path by a segment unless
// the ray passes through.
fn extend_path(before: Path) -> Path {
    var path = before;
    let hit = traverse(path.ray, false);
    path.rays += 1u;
    if (hit.instance == NONE) {
        return escape(path);
    }
    let surface = surface_at(hit, path.ray.direction);
    if (passes(path, hit, surface.coverage)) {
        path.ray = behind(path.ray, hit);
        path.passes += 1u;
        return path;
    }
    path.segments += 1u;
    if ((surface.flags & MATERIAL_UNLIT) != 0u) {
        path.radiance += path.throughput * surface.base_color;
        path.alive = false;
        return path;
    }
    path = add_emission(path, surface, hit.t);
    if (path.segments >= params.max_depth) {
        path.alive = false;
        return path;
    }
    let bsdf = bsdf_at(surface, path.ray.direction);
    let origin = off_surface(surface);
    let choice = sample_segment(path.key, path.sample, path.segments, PAIR_CHOICE);
    let fate = sample_segment(path.key, path.sample, path.segments, PAIR_FATE);
    path = add_direct_light(path, bsdf, origin, choice.y, fate.y);

    let bits = sample_segment(path.key, path.sample, path.segments, PAIR_DIRECTION);
    let next = sample_bsdf(bsdf, choice.x, bits);
    if (next.pdf <= 0.0) {
        path.alive = false;
        return path;
    }
    path.throughput *= next.weight;
    path.pdf = next.pdf;
    path.ray = ray_from(origin, next.direction, FAR);
    return play_roulette(path, fate.x);
}
