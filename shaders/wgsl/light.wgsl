// Choosing a light and a point on it: emissive triangles, the punctual lights of
// `KHR_lights_punctual`, and the sky where it is a map.

import package::layout::{
    instances, lights, params, Light, LIGHT_DIRECTIONAL, LIGHT_SKY, LIGHT_SPOT, LIGHT_TREE, LIGHT_TRIANGLE,
    MATERIAL_DOUBLE_SIDED, materials, NONE, triangle_at,
};
import package::environment::sample_sky;
import package::features::{HAS_EMISSION, HAS_SKY_MAP};
import package::hash::{hash_combine, multiply_wide, unit_float};
import package::light_tree::{Choice, choose_in_tree, pick_in_tree};
import package::motion::triangle_at_time;
import package::surface::{emission_at, place_of, position_error, Surface};
import package::vector::{
    cos_sin_turn, cross3, dot3, frame_around, length3, normalize3, out_of_frame, transform_direction,
    transform_normal, transform_point,
};

// Light that would arrive were nothing in between. A shadow ray from the
// surface along `reach` up to 1 tells whether it does.
struct LightSample {
    // Unit direction towards the light.
    direction: vec3<f32>,
    // From the shadow ray's origin to its end.
    reach: vec3<f32>,
    // Radiance over pdf; irradiance over probability for a punctual light.
    radiance: vec3<f32>,
    // Per solid angle, choice included; 0 for a punctual light, which no
    // direction can hit by chance, as no ray sees it.
    pdf: f32,
}

// Where shadow rays to lights that are everywhere end.
const BEYOND: f32 = 1.0e15;

fn no_light() -> LightSample {
    return LightSample(vec3<f32>(0.0), vec3<f32>(0.0), vec3<f32>(0.0), 0.0);
}

// Which light a random word means for a surface: an entry of the alias table, and
// in the tree one of those that have a place.
fn choose_light(point: vec3<f32>, normal: vec3<f32>, choice: u32) -> Choice {
    let place = multiply_wide(choice, params.light_count);
    let is_kept = (place.y >> 16u) < lights[place.x].threshold;
    let entry = select(lights[place.x].alias_entry, place.x, is_kept);
    let pick = lights[entry].pick;
    if (lights[entry].kind != LIGHT_TREE) {
        return Choice(entry, pick);
    }
    let inner = choose_in_tree(lights[entry].place.x, point, normal, hash_combine(choice, entry));
    return Choice(inner.light, inner.pick * pick);
}

// Density per solid angle with which a triangle is found from a distance, all
// choices included. `cosine` is at the light and `double_area` in world space.
fn triangle_density(pick: f32, distance_square: f32, cosine: f32, double_area: f32) -> f32 {
    return pick * 2.0 * distance_square / (cosine * double_area);
}

// A point on an emissive triangle at a time, evenly by area (pbrt-v4, section 6.5.3).
fn sample_triangle(
    light: Light,
    pick: f32,
    origin: vec3<f32>,
    bits: vec2<u32>,
    time: u32,
) -> LightSample {
    let instance = light.place.x;
    let triangle = light.place.y;
    let root = sqrt(unit_float(bits.x));
    let b = 1.0 - root;
    let c = unit_float(bits.y) * root;
    let corners = triangle_at_time(triangle_at(triangle), time);
    let to_world = instances[instance].to_world;
    let first = bitcast<vec3<f32>>(corners.a.xyz);
    let edge_b = bitcast<vec3<f32>>(corners.b.xyz) - first;
    let edge_c = bitcast<vec3<f32>>(corners.c.xyz) - first;
    let double_area =
        length3(cross3(transform_direction(to_world, edge_b), transform_direction(to_world, edge_c)));
    if (!(double_area > 0.0)) {
        return no_light();
    }
    let point = transform_point(to_world, first + edge_b * b + edge_c * c);
    let normal = normalize3(transform_normal(instances[instance].to_mesh, cross3(edge_b, edge_c)));
    let towards = point - origin;
    let distance_square = dot3(towards, towards);
    if (!(distance_square > 0.0)) {
        return no_light();
    }
    let direction = towards * (1.0 / sqrt(distance_square));
    let facing = -dot3(normal, direction);
    let material = instances[instance].material;
    let both_sides = (materials[material].flags & MATERIAL_DOUBLE_SIDED) != 0u;
    if (facing == 0.0 || (facing < 0.0 && !both_sides)) {
        return no_light();
    }
    // The shadow ray ends just off the light, on the side that is seen.
    let extent = abs(first) + abs(edge_b) + abs(edge_c);
    let error = position_error(to_world, extent, point);
    let shift = normal * (sign(facing) * dot3(abs(normal), error) * 2.0);
    let pdf = triangle_density(pick, distance_square, abs(facing), double_area);
    let emission = emission_at(place_of(instance, corners, b, c), facing);
    return LightSample(direction, towards + shift, emission / pdf, pdf);
}

// A direction to a sphere whose middle is 1 away, even in the cone under which it is
// seen (Shirley, Wang & Zimmerman 1996, "Monte Carlo Techniques for Direct Lighting
// Calculations"; pbrt-v4, section 6.2.4), how far the sphere is there, and the cone's
// solid angle over π·radius². `radius_square` is below 1.
struct SphereSample {
    direction: vec3<f32>,
    distance: f32,
    spread: f32,
}

fn sample_sphere(middle: vec3<f32>, radius_square: f32, bits: vec2<u32>) -> SphereSample {
    // Without differences of numbers that are nearly equal: 1 − cos is
    // sin² / (1 + cos), and the nearer of the two distances at which the sphere is
    // met is their product over the farther.
    let spread = 2.0 / (1.0 + sqrt(1.0 - radius_square));
    let beyond = unit_float(bits.x) * radius_square * spread * 0.5;
    let cosine = 1.0 - beyond;
    let sine_square = beyond * (2.0 - beyond);
    let half_chord = sqrt(max(radius_square - sine_square, 0.0));
    let aside = cos_sin_turn(bits.y) * sqrt(sine_square);
    return SphereSample(
        out_of_frame(frame_around(middle), vec3<f32>(aside, cosine)),
        (1.0 - radius_square) / (cosine + half_chord),
        spread,
    );
}

// A point or spot light, with the falloff that the extension recommends. One with a
// radius r is a sphere that shines evenly, with a radiance of intensity / (π·r²), on
// what is outside of it; range and cone count at its middle.
fn sample_punctual(light: Light, pick: f32, origin: vec3<f32>, bits: vec2<u32>) -> LightSample {
    let towards = bitcast<vec3<f32>>(light.place.xyz) - origin;
    let range = bitcast<f32>(light.place.w);
    let distance_square = dot3(towards, towards);
    if (!(distance_square > 0.0)) {
        return no_light();
    }
    let direction = towards * (1.0 / sqrt(distance_square));
    var falloff = 1.0 / (distance_square * pick);
    if (range > 0.0) {
        let ratio_square = distance_square / (range * range);
        falloff *= clamp(1.0 - ratio_square * ratio_square, 0.0, 1.0);
    }
    if (light.kind == LIGHT_SPOT) {
        let facing = -dot3(light.direction.xyz, direction);
        let cone = clamp(facing * light.direction.w + light.intensity.w, 0.0, 1.0);
        falloff *= cone * cone;
    }
    let radius_square = light.pick * light.pick / distance_square;
    if (!(radius_square > 0.0)) {
        return LightSample(direction, towards, light.intensity.xyz * falloff, 0.0);
    }
    if (radius_square >= 1.0) {
        return no_light();
    }
    let sphere = sample_sphere(direction, radius_square, bits);
    let reach = sphere.direction * (sphere.distance * sqrt(distance_square));
    return LightSample(sphere.direction, reach, light.intensity.xyz * (falloff * sphere.spread), 0.0);
}

// Light from one light chosen for a surface at `origin` that is lit from the side
// of its `normal`, or from both sides where that is zero. `choice` picks the light,
// `bits` the point on it and `cell` the part of the sky; `time` says where it is.
fn sample_light(
    origin: vec3<f32>,
    normal: vec3<f32>,
    choice: u32,
    bits: vec2<u32>,
    cell: u32,
    time: u32,
) -> LightSample {
    return sample_chosen(choose_light(origin, normal, choice), origin, bits, cell, time);
}

// The same from a light that is chosen already.
fn sample_chosen(
    chosen: Choice,
    origin: vec3<f32>,
    bits: vec2<u32>,
    cell: u32,
    time: u32,
) -> LightSample {
    if (!(chosen.pick > 0.0)) {
        return no_light();
    }
    let light = lights[chosen.light];
    if (HAS_EMISSION && light.kind == LIGHT_TRIANGLE) {
        return sample_triangle(light, chosen.pick, origin, bits, time);
    }
    if (HAS_SKY_MAP && light.kind == LIGHT_SKY) {
        let sky = sample_sky(cell, bits);
        let pdf = sky.pdf * chosen.pick;
        if (!(pdf > 0.0)) {
            return no_light();
        }
        return LightSample(sky.direction, sky.direction * BEYOND, sky.radiance / pdf, pdf);
    }
    if (light.kind == LIGHT_DIRECTIONAL) {
        let direction = -light.direction.xyz;
        return LightSample(direction, direction * BEYOND, light.intensity.xyz * (1.0 / chosen.pick), 0.0);
    }
    return sample_punctual(light, chosen.pick, origin, bits);
}

// Density with which `sample_light` finds a surface that a ray from `origin` hit
// after `distance`; 0 where it never does.
fn light_density(
    surface: Surface,
    origin: vec3<f32>,
    normal: vec3<f32>,
    direction: vec3<f32>,
    distance: f32,
) -> f32 {
    if (surface.light == NONE) {
        return 0.0;
    }
    let cosine = abs(dot3(surface.geometric_normal, direction));
    if (!(surface.double_area * cosine > 0.0)) {
        return 0.0;
    }
    let trail = lights[surface.light].threshold;
    let tree = lights[params.light_tree];
    let pick = tree.pick * pick_in_tree(tree.place.x, origin, normal, trail);
    return triangle_density(pick, distance * distance, cosine, surface.double_area);
}
