// What a hit means: position, normals, and the material's values there.

import package::layout::{
    attributes, instances, materials, triangles, MATERIAL_BLEND, MATERIAL_EMISSIVE, MATERIAL_MASK, NONE, TEXTURE_PRESENT,
};
import package::texture::sample_texture;
import package::traverse::Hit;
import package::vector::{
    cross3, dot3, normalize3, transform_direction, transform_normal, transform_point,
};

// The least cosine between the shading normal and the way back.
const LEAST_COSINE: f32 = 1.0e-3;

struct Surface {
    position: vec3<f32>,
    // Bounds of the rounding error of `position` along each axis.
    error: vec3<f32>,
    // Unit normal of the triangle, and the shading normal, both on the side
    // that the ray came from.
    geometric_normal: vec3<f32>,
    normal: vec3<f32>,
    base_color: vec3<f32>,
    emission: vec3<f32>,
    metallic: f32,
    roughness: f32,
    f0: f32,
    f90: f32,
    flags: u32,
}

// A triangle of an instance in world space.
struct WorldTriangle {
    a: vec3<f32>,
    b: vec3<f32>,
    c: vec3<f32>,
    // Cross product of the edges in mesh space, taken to world space: along the
    // normal of the front whatever the map mirrors.
    front: vec3<f32>,
}

fn attribute2(base: u32, vertex: u32) -> vec2<f32> {
    let i = base + 2u * vertex;
    return vec2<f32>(bitcast<f32>(attributes[i]), bitcast<f32>(attributes[i + 1u]));
}

fn attribute3(base: u32, vertex: u32) -> vec3<f32> {
    let i = base + 3u * vertex;
    return vec3<f32>(
        bitcast<f32>(attributes[i]),
        bitcast<f32>(attributes[i + 1u]),
        bitcast<f32>(attributes[i + 2u]),
    );
}

fn attribute4(base: u32, vertex: u32) -> vec4<f32> {
    let i = base + 4u * vertex;
    return vec4<f32>(
        bitcast<f32>(attributes[i]),
        bitcast<f32>(attributes[i + 1u]),
        bitcast<f32>(attributes[i + 2u]),
        bitcast<f32>(attributes[i + 3u]),
    );
}

// The three vertices of a triangle of an instance.
fn corners(instance: u32, triangle: u32) -> vec3<u32> {
    let i = instances[instance].indices + 3u * (triangle - instances[instance].first_triangle);
    return vec3<u32>(attributes[i], attributes[i + 1u], attributes[i + 2u]);
}

fn interpolate_uv(base: u32, corner: vec3<u32>, b: f32, c: f32) -> vec2<f32> {
    if (base == NONE) {
        return vec2<f32>(0.0);
    }
    return attribute2(base, corner.x) * (1.0 - b - c) + attribute2(base, corner.y) * b
        + attribute2(base, corner.z) * c;
}

// Base colour and alpha at a point of a triangle.
fn base_color_at(
    instance: u32, corner: vec3<u32>, b: f32, c: f32, uv0: vec2<f32>, uv1: vec2<f32>,
) -> vec4<f32> {
    let material = instances[instance].material;
    var color = materials[material].base_color;
    let colors = instances[instance].colors;
    if (colors != NONE) {
        color *= attribute4(colors, corner.x) * (1.0 - b - c) + attribute4(colors, corner.y) * b
            + attribute4(colors, corner.z) * c;
    }
    if ((materials[material].base_color_texture.flags & TEXTURE_PRESENT) != 0u) {
        color *= sample_texture(materials[material].base_color_texture, uv0, uv1);
    }
    return color;
}

// Share of the light that a point of a triangle stops: 0 or 1 for a mask.
fn coverage_at(instance: u32, triangle: u32, b: f32, c: f32) -> f32 {
    let material = instances[instance].material;
    let flags = materials[material].flags;
    if ((flags & (MATERIAL_MASK | MATERIAL_BLEND)) == 0u) {
        return 1.0;
    }
    let corner = corners(instance, triangle);
    let uv0 = interpolate_uv(instances[instance].uv0, corner, b, c);
    let uv1 = interpolate_uv(instances[instance].uv1, corner, b, c);
    let alpha = base_color_at(instance, corner, b, c, uv0, uv1).w;
    if ((flags & MATERIAL_MASK) != 0u) {
        return select(0.0, 1.0, alpha >= materials[material].emissive.w);
    }
    return clamp(alpha, 0.0, 1.0);
}

// Emitted radiance at a point of a triangle.
fn emission_at(instance: u32, corner: vec3<u32>, b: f32, c: f32) -> vec3<f32> {
    let material = instances[instance].material;
    if ((materials[material].flags & MATERIAL_EMISSIVE) == 0u) {
        return vec3<f32>(0.0);
    }
    var emission = materials[material].emissive.xyz;
    if ((materials[material].emissive_texture.flags & TEXTURE_PRESENT) != 0u) {
        let uv0 = interpolate_uv(instances[instance].uv0, corner, b, c);
        let uv1 = interpolate_uv(instances[instance].uv1, corner, b, c);
        emission *= sample_texture(materials[material].emissive_texture, uv0, uv1).xyz;
    }
    return emission;
}

fn world_triangle(instance: u32, triangle: u32) -> WorldTriangle {
    let t = triangles[triangle];
    let to_world = instances[instance].to_world;
    let to_mesh = instances[instance].to_mesh;
    let front = cross3(t.b.xyz - t.a.xyz, t.c.xyz - t.a.xyz);
    return WorldTriangle(
        transform_point(to_world, t.a.xyz),
        transform_point(to_world, t.b.xyz),
        transform_point(to_world, t.c.xyz),
        transform_normal(to_mesh, front),
    );
}

// The shading normal on the front side, with the normal map if there is one;
// zero for a mesh without normals.
fn shading_normal(
    instance: u32, corner: vec3<u32>, b: f32, c: f32, uv0: vec2<f32>, uv1: vec2<f32>,
) -> vec3<f32> {
    let a = 1.0 - b - c;
    let normals = instances[instance].normals;
    if (normals == NONE) {
        return vec3<f32>(0.0);
    }
    let mesh_normal = attribute3(normals, corner.x) * a + attribute3(normals, corner.y) * b
        + attribute3(normals, corner.z) * c;
    let normal = transform_normal(instances[instance].to_mesh, mesh_normal);
    let material = instances[instance].material;
    let tangents = instances[instance].tangents;
    if (tangents == NONE || (materials[material].normal_texture.flags & TEXTURE_PRESENT) == 0u) {
        return normal;
    }
    // The handedness is the first corner's: it is one for a whole triangle.
    let sign = attribute4(tangents, corner.x).w;
    let mesh_tangent = attribute4(tangents, corner.x).xyz * a + attribute4(tangents, corner.y).xyz * b
        + attribute4(tangents, corner.z).xyz * c;
    let unit_normal = normalize3(normal);
    let tangent = transform_direction(instances[instance].to_world, mesh_tangent);
    let unit_tangent = tangent * (1.0 / max(sqrt(dot3(tangent, tangent)), 1.0e-20));
    let bitangent = cross3(unit_normal, unit_tangent) * sign;
    let sampled = sample_texture(materials[material].normal_texture, uv0, uv1).xyz * 2.0 - 1.0;
    let scale = materials[material].normal_scale;
    return unit_tangent * (sampled.x * scale) + bitangent * (sampled.y * scale)
        + unit_normal * sampled.z;
}

// Bounds on the error of a world position computed from a triangle's corners
// and of its way back into mesh space (after pbrt-v4, section 6.8): a few units
// in the last place of every term that went into it.
fn position_error(rows: array<vec4<f32>, 3>, mesh: vec3<f32>, world: vec3<f32>) -> vec3<f32> {
    let terms = vec3<f32>(
        dot3(abs(rows[0].xyz), mesh) + abs(rows[0].w),
        dot3(abs(rows[1].xyz), mesh) + abs(rows[1].w),
        dot3(abs(rows[2].xyz), mesh) + abs(rows[2].w),
    );
    return (terms + abs(world)) * 1.0e-6;
}

// Everything about a hit. `direction` is the ray's, a unit vector.
fn surface_at(hit: Hit, direction: vec3<f32>) -> Surface {
    let instance = hit.instance;
    let t = triangles[hit.triangle];
    let to_world = instances[instance].to_world;
    let to_mesh = instances[instance].to_mesh;
    let a = 1.0 - hit.b - hit.c;

    var surface: Surface;
    let mesh_position = t.a.xyz * a + t.b.xyz * hit.b + t.c.xyz * hit.c;
    surface.position = transform_point(to_world, mesh_position);
    let reach = max(max(abs(t.a.xyz), abs(t.b.xyz)), abs(t.c.xyz));
    surface.error = position_error(to_world, reach, surface.position);

    let side = select(-1.0, 1.0, hit.front);
    let front = transform_normal(to_mesh, cross3(t.b.xyz - t.a.xyz, t.c.xyz - t.a.xyz));
    surface.geometric_normal = normalize3(front) * side;

    let corner = corners(instance, hit.triangle);
    let uv0 = interpolate_uv(instances[instance].uv0, corner, hit.b, hit.c);
    let uv1 = interpolate_uv(instances[instance].uv1, corner, hit.b, hit.c);
    let shading = shading_normal(instance, corner, hit.b, hit.c, uv0, uv1) * side;
    let shading_square = dot3(shading, shading);
    var normal = surface.geometric_normal;
    if (shading_square > 1.0e-30) {
        normal = shading * (1.0 / sqrt(shading_square));
    }
    if (dot3(normal, surface.geometric_normal) < 0.0) {
        normal = -normal;
    }
    // A normal that faces away from the ray is bent until it just faces it.
    let facing = -dot3(normal, direction);
    if (facing < LEAST_COSINE) {
        normal = normalize3(normal - direction * (LEAST_COSINE - facing));
    }
    surface.normal = normal;

    let material = instances[instance].material;
    surface.flags = materials[material].flags;
    surface.base_color = base_color_at(instance, corner, hit.b, hit.c, uv0, uv1).xyz;
    surface.emission = emission_at(instance, corner, hit.b, hit.c);
    surface.metallic = materials[material].metallic;
    surface.roughness = materials[material].roughness;
    if ((materials[material].metallic_roughness_texture.flags & TEXTURE_PRESENT) != 0u) {
        let sampled = sample_texture(materials[material].metallic_roughness_texture, uv0, uv1);
        surface.roughness *= sampled.y;
        surface.metallic *= sampled.z;
    }
    surface.f0 = materials[material].f0;
    surface.f90 = materials[material].f90;
    return surface;
}

// A point just off a surface, on the side of its geometric normal.
fn off_surface(surface: Surface) -> vec3<f32> {
    let n = surface.geometric_normal;
    return surface.position + n * dot3(abs(n), surface.error);
}
