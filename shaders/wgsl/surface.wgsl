// What a hit means: position, normals, and the material's values there.

import package::layout::{
    attribute_at, instances, materials, triangle_at, ANISOTROPY_SLOT, BASE_COLOR_SLOT, COAT_NORMAL_SLOT,
    COAT_ROUGHNESS_SLOT, COAT_SLOT, DIFFUSE_TRANSMISSION_COLOR_SLOT, DIFFUSE_TRANSMISSION_SLOT,
    EMISSIVE_SLOT, IRIDESCENCE_SLOT, IRIDESCENCE_THICKNESS_SLOT, MATERIAL_BLEND, MATERIAL_DOUBLE_SIDED,
    MATERIAL_MASK,
    MATERIAL_SOLID, METALLIC_ROUGHNESS_SLOT, NONE, NORMAL_SLOT, SHEEN_COLOR_SLOT,
    SHEEN_ROUGHNESS_SLOT, SLOT_COUNT, SPECULAR_COLOR_SLOT, SPECULAR_SLOT, TEXTURE_UV1,
    TRANSMISSION_SLOT, Triangle,
};
import package::features::{
    HAS_ANISOTROPY, HAS_COAT, HAS_INSTANCES, HAS_IRIDESCENCE, HAS_MOTION, HAS_SHEEN,
    HAS_TEXTURES, HAS_TRANSMISSION,
};
import package::fresnel::{COAT_F0, schlick};
import package::motion::{between, moment_at, triangle_at_time};
import package::texture::sample_texture;
import package::traverse::Hit;
import package::vector::{
    cross3, dot3, length3, normalize3, transform_direction, transform_normal, transform_point,
    unpack_fractions, unpack_octahedral,
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
    // Twice the triangle's area in the world.
    double_area: f32,
    // The triangle's light, or NONE.
    light: u32,
    base_color: vec3<f32>,
    // Share of light that is stopped here.
    coverage: f32,
    emission: vec3<f32>,
    metallic: f32,
    roughness: f32,
    // Reflectance of the dielectric part at normal and at grazing incidence.
    f0: vec3<f32>,
    f90: f32,
    flags: u32,
    material: u32,
    // Whether the front was hit.
    front: bool,
    coat: f32,
    coat_roughness: f32,
    coat_normal: vec3<f32>,
    sheen: vec3<f32>,
    sheen_roughness: f32,
    // Strength, and the direction of the least curvature of highlights; zero where
    // the mesh has no tangents.
    anisotropy: f32,
    tangent: vec3<f32>,
    // Share that has a film, and the film's index and thickness in nanometres.
    iridescence: f32,
    film: vec2<f32>,
    transmission: f32,
    diffuse_transmission: f32,
    diffuse_transmission_color: vec3<f32>,
    // Whether it encloses a volume, and the index of that.
    solid: bool,
    index: f32,
}

// A point of a triangle: whose it is, its vertices, and their weights.
struct Place {
    instance: u32,
    corner: vec3<u32>,
    weight: vec3<f32>,
}

fn place_of(instance: u32, triangle: Triangle, b: f32, c: f32) -> Place {
    let i = instances[instance].indices + 3u * triangle.b.w;
    let corner = vec3<u32>(attribute_at(i), attribute_at(i + 1u), attribute_at(i + 2u));
    return Place(instance, corner, vec3<f32>(1.0 - b - c, b, c));
}

fn attribute2(base: u32, vertex: u32) -> vec2<f32> {
    let i = base + 2u * vertex;
    return vec2<f32>(bitcast<f32>(attribute_at(i)), bitcast<f32>(attribute_at(i + 1u)));
}

fn attribute3(base: u32, vertex: u32) -> vec3<f32> {
    let i = base + 3u * vertex;
    return vec3<f32>(
        bitcast<f32>(attribute_at(i)),
        bitcast<f32>(attribute_at(i + 1u)),
        bitcast<f32>(attribute_at(i + 2u)),
    );
}

// Four fractions of 16 bits in two words.
fn attribute_color(base: u32, vertex: u32) -> vec4<f32> {
    let low = attribute_at(base + 2u * vertex);
    let high = attribute_at(base + 2u * vertex + 1u);
    return unpack_fractions(low, high);
}

fn uv_at(place: Place, base: u32) -> vec2<f32> {
    if (base == NONE) {
        return vec2<f32>(0.0);
    }
    return attribute2(base, place.corner.x) * place.weight.x
        + attribute2(base, place.corner.y) * place.weight.y
        + attribute2(base, place.corner.z) * place.weight.z;
}

// A material's texture at a place.
fn slot_at(place: Place, material: u32, slot: u32) -> vec4<f32> {
    let texture = materials[material].slots[slot];
    let second = (texture.flags & TEXTURE_UV1) != 0u;
    let base = select(instances[place.instance].uv0, instances[place.instance].uv1, second);
    return sample_texture(texture, uv_at(place, base));
}

fn vertex_color_at(place: Place) -> vec4<f32> {
    let base = instances[place.instance].colors;
    if (base == NONE) {
        return vec4<f32>(1.0);
    }
    return attribute_color(base, place.corner.x) * place.weight.x
        + attribute_color(base, place.corner.y) * place.weight.y
        + attribute_color(base, place.corner.z) * place.weight.z;
}

// Share of light that alpha stops: 0 or 1 for a mask.
fn coverage_of(material: u32, alpha: f32) -> f32 {
    let flags = materials[material].flags;
    if ((flags & MATERIAL_MASK) != 0u) {
        return select(0.0, 1.0, alpha >= materials[material].emissive.w);
    }
    return select(1.0, clamp(alpha, 0.0, 1.0), (flags & MATERIAL_BLEND) != 0u);
}

// The same for a hit of which nothing else is wanted.
fn coverage_at(hit: Hit) -> f32 {
    let place = place_of(hit.instance, triangle_at(hit.triangle), hit.b, hit.c);
    let material = instances[hit.instance].material;
    var alpha = materials[material].base_color.w * vertex_color_at(place).w;
    if (HAS_TEXTURES && (materials[material].textures & (1u << BASE_COLOR_SLOT)) != 0u) {
        alpha *= slot_at(place, material, BASE_COLOR_SLOT).w;
    }
    return coverage_of(material, alpha);
}

// Emitted radiance at a place of a triangle, at an angle to it.
fn emission_at(place: Place, cosine: f32) -> vec3<f32> {
    let material = instances[place.instance].material;
    var emission = materials[material].emissive.xyz;
    if (HAS_COAT) {
        var coat = materials[material].coat.x;
        if (HAS_TEXTURES && (materials[material].textures & (1u << COAT_SLOT)) != 0u) {
            coat *= slot_at(place, material, COAT_SLOT).x;
        }
        emission *= 1.0 - coat_reflectance(coat, cosine);
    }
    if (!HAS_TEXTURES || (materials[material].textures & (1u << EMISSIVE_SLOT)) == 0u) {
        return emission;
    }
    return emission * slot_at(place, material, EMISSIVE_SLOT).xyz;
}

// Normals of a mesh from their first word: zero where it has none.
fn vertex_normal_from(base: u32, place: Place) -> vec3<f32> {
    if (base == NONE) {
        return vec3<f32>(0.0);
    }
    return attribute3(base, place.corner.x) * place.weight.x
        + attribute3(base, place.corner.y) * place.weight.y
        + attribute3(base, place.corner.z) * place.weight.z;
}

// Normals as a mesh has them at a time.
fn vertex_normal_at(place: Place, time: u32) -> vec3<f32> {
    let base = instances[place.instance].normals;
    let moving = instances[place.instance].moving_vertices;
    if (!HAS_MOTION || moving == 0u || base == NONE) {
        return vertex_normal_from(base, place);
    }
    let moment = moment_at(time);
    let first = base + 3u * moving * moment.part;
    return between(
        vertex_normal_from(first, place),
        vertex_normal_from(first + 3u * moving, place),
        moment.over,
    );
}

// Tangents of a mesh from their first word.
fn vertex_tangent_from(base: u32, place: Place) -> vec3<f32> {
    return unpack_octahedral(attribute_at(base + place.corner.x)) * place.weight.x
        + unpack_octahedral(attribute_at(base + place.corner.y)) * place.weight.y
        + unpack_octahedral(attribute_at(base + place.corner.z)) * place.weight.z;
}

// The mesh's tangent in the world at a time, a unit vector, and its handedness in
// `w`; zero where it has none.
fn tangent_at(place: Place, time: u32) -> vec4<f32> {
    let base = instances[place.instance].tangents;
    if (base == NONE) {
        return vec4<f32>(0.0);
    }
    let word_a = attribute_at(base + place.corner.x);
    let moving = instances[place.instance].moving_vertices;
    var mesh_tangent = vec3<f32>(0.0);
    if (!HAS_MOTION || moving == 0u) {
        mesh_tangent = vertex_tangent_from(base, place);
    } else {
        let moment = moment_at(time);
        let first = base + moving * moment.part;
        mesh_tangent = between(
            vertex_tangent_from(first, place),
            vertex_tangent_from(first + moving, place),
            moment.over,
        );
    }
    let tangent = transform_direction(instances[place.instance].to_world, mesh_tangent);
    let unit_tangent = tangent * (1.0 / max(length3(tangent), 1.0e-20));
    // The handedness is the first corner's: it is one for a whole triangle.
    return vec4<f32>(unit_tangent, select(1.0, -1.0, (word_a >> 31u) == 1u));
}

// The unit normal that a normal map makes of one, both on the front side.
fn mapped_normal(tangent: vec4<f32>, normal: vec3<f32>, scale: f32, sampled: vec3<f32>) -> vec3<f32> {
    if (tangent.w == 0.0) {
        return normal;
    }
    let bitangent = cross3(normal, tangent.xyz) * tangent.w;
    let bent = sampled * 2.0 - 1.0;
    let mapped = tangent.xyz * (bent.x * scale) + bitangent * (bent.y * scale) + normal * bent.z;
    return mapped * (1.0 / max(length3(mapped), 1.0e-20));
}

// Bounds on the error of a world position computed from a triangle's corners
// and of its way back into mesh space (after pbrt-v4, section 6.8): a few units
// in the last place of every term that went into it.
fn position_error(rows: array<vec4<f32>, 3>, mesh: vec3<f32>, world: vec3<f32>) -> vec3<f32> {
    if (!HAS_INSTANCES) {
        return (mesh + abs(world)) * 1.0e-6;
    }
    let terms = vec3<f32>(
        dot3(abs(rows[0].xyz), mesh) + abs(rows[0].w),
        dot3(abs(rows[1].xyz), mesh) + abs(rows[1].w),
        dot3(abs(rows[2].xyz), mesh) + abs(rows[2].w),
    );
    return (terms + abs(world)) * 1.0e-6;
}

// The geometry of a hit. `direction` is the ray's, a unit vector.
fn geometry_at(hit: Hit, triangle: Triangle) -> Surface {
    var surface: Surface;
    let a = bitcast<vec3<f32>>(triangle.a.xyz);
    let b = bitcast<vec3<f32>>(triangle.b.xyz);
    let c = bitcast<vec3<f32>>(triangle.c.xyz);
    let to_world = instances[hit.instance].to_world;
    let to_mesh = instances[hit.instance].to_mesh;
    surface.position = transform_point(to_world, a * (1.0 - hit.b - hit.c) + b * hit.b + c * hit.c);
    let reach = max(max(abs(a), abs(b)), abs(c));
    surface.error = position_error(to_world, reach, surface.position);
    surface.double_area =
        length3(cross3(transform_direction(to_world, b - a), transform_direction(to_world, c - a)));
    // Taken to the world as normals are, this stays in front whatever is mirrored.
    let front = normalize3(transform_normal(to_mesh, cross3(b - a, c - a)));
    surface.geometric_normal = front * select(-1.0, 1.0, hit.front);
    return surface;
}

// A mesh's normal made a unit vector on the front side; the triangle's own
// where the mesh has none.
fn upright_normal(normal: vec3<f32>, front: vec3<f32>) -> vec3<f32> {
    let square = dot3(normal, normal);
    if (square < 1.0e-30) {
        return front;
    }
    let scale = 1.0 / sqrt(square);
    return normal * select(-scale, scale, dot3(normal, front) >= 0.0);
}

// A normal that would face away from the ray is bent until it just faces it.
fn facing_normal(normal: vec3<f32>, direction: vec3<f32>) -> vec3<f32> {
    let facing = -dot3(normal, direction);
    if (facing >= LEAST_COSINE) {
        return normal;
    }
    return normalize3(normal - direction * (LEAST_COSINE - facing));
}

// What a material says of the layers beyond the base, before its textures.
fn with_layers(before: Surface, material: u32) -> Surface {
    var surface = before;
    if (HAS_COAT) {
        surface.coat = materials[material].coat.x;
        surface.coat_roughness = materials[material].coat.y;
    }
    if (HAS_SHEEN) {
        surface.sheen = materials[material].sheen.xyz;
        surface.sheen_roughness = materials[material].sheen.w;
    }
    if (HAS_ANISOTROPY) {
        surface.anisotropy = materials[material].anisotropy.x;
    }
    if (HAS_IRIDESCENCE) {
        surface.iridescence = materials[material].iridescence.x;
        surface.film = materials[material].iridescence.yw;
    }
    if (HAS_TRANSMISSION) {
        surface.transmission = materials[material].transmission.x;
        surface.diffuse_transmission = materials[material].transmission.y;
        surface.index = materials[material].transmission.z;
        surface.diffuse_transmission_color = materials[material].diffuse_transmission.xyz;
        surface.solid = (surface.flags & MATERIAL_SOLID) != 0u;
    }
    return surface;
}

// What a texture of one of those layers says.
fn with_layer_texture(before: Surface, material: u32, slot: u32, sampled: vec4<f32>) -> Surface {
    var surface = before;
    if (HAS_COAT && slot == COAT_SLOT) {
        surface.coat *= sampled.x;
    } else if (HAS_COAT && slot == COAT_ROUGHNESS_SLOT) {
        surface.coat_roughness *= sampled.y;
    } else if (HAS_SHEEN && slot == SHEEN_COLOR_SLOT) {
        surface.sheen *= sampled.xyz;
    } else if (HAS_SHEEN && slot == SHEEN_ROUGHNESS_SLOT) {
        surface.sheen_roughness *= sampled.w;
    } else if (HAS_IRIDESCENCE && slot == IRIDESCENCE_SLOT) {
        surface.iridescence *= sampled.x;
    } else if (HAS_IRIDESCENCE && slot == IRIDESCENCE_THICKNESS_SLOT) {
        let range = materials[material].iridescence.zw;
        surface.film.y = range.x + (range.y - range.x) * sampled.y;
    } else if (HAS_TRANSMISSION && slot == TRANSMISSION_SLOT) {
        surface.transmission *= sampled.x;
    } else if (HAS_TRANSMISSION && slot == DIFFUSE_TRANSMISSION_SLOT) {
        surface.diffuse_transmission *= sampled.w;
    } else if (HAS_TRANSMISSION && slot == DIFFUSE_TRANSMISSION_COLOR_SLOT) {
        surface.diffuse_transmission_color *= sampled.xyz;
    }
    return surface;
}

// The direction of anisotropy: the material's, turned against the tangent by the
// texture's red and green.
fn anisotropy_direction(
    material: u32,
    tangent: vec4<f32>,
    normal: vec3<f32>,
    sampled: vec2<f32>,
) -> vec3<f32> {
    let turn = materials[material].anisotropy.yz;
    let x = turn.x * sampled.x - turn.y * sampled.y;
    let y = turn.y * sampled.x + turn.x * sampled.y;
    return tangent.xyz * x + cross3(normal, tangent.xyz) * (tangent.w * y);
}

// Everything about a hit at a time. `direction` is the ray's, a unit vector.
fn surface_at(hit: Hit, direction: vec3<f32>, time: u32) -> Surface {
    let triangle = triangle_at_time(triangle_at(hit.triangle), time);
    let place = place_of(hit.instance, triangle, hit.b, hit.c);
    let instance = hit.instance;
    let material = instances[instance].material;
    var surface = geometry_at(hit, triangle);
    let first_light = instances[instance].first_light;
    surface.light = select(first_light + triangle.b.w, NONE, first_light == NONE);
    surface.material = material;
    surface.flags = materials[material].flags;
    surface.front = hit.front;

    let side = select(-1.0, 1.0, hit.front);
    let mesh_normal = transform_normal(instances[instance].to_mesh, vertex_normal_at(place, time));
    let upright = upright_normal(mesh_normal, surface.geometric_normal * side);
    var tangent = vec4<f32>(0.0);
    if (HAS_TEXTURES || HAS_ANISOTROPY) {
        tangent = tangent_at(place, time);
    }
    var normal = upright;
    var coat_normal = upright;
    var base_color = materials[material].base_color * vertex_color_at(place);
    surface.emission = materials[material].emissive.xyz;
    surface.metallic = materials[material].metallic;
    surface.roughness = materials[material].roughness;
    surface = with_layers(surface, material);
    var specular = materials[material].specular;
    var along = vec2<f32>(1.0, 0.0);
    // A loop over the textures that there are, so that the code for sampling one
    // is there once and runs no more often than it must.
    var remaining = materials[material].textures;
    for (var turn = 0u; turn < SLOT_COUNT; turn++) {
        if (!HAS_TEXTURES || remaining == 0u) {
            break;
        }
        let slot = firstTrailingBit(remaining);
        remaining &= remaining - 1u;
        let sampled = slot_at(place, material, slot);
        if (slot == BASE_COLOR_SLOT) {
            base_color *= sampled;
        } else if (slot == METALLIC_ROUGHNESS_SLOT) {
            surface.roughness *= sampled.y;
            surface.metallic *= sampled.z;
        } else if (slot == EMISSIVE_SLOT) {
            surface.emission *= sampled.xyz;
        } else if (slot == SPECULAR_SLOT) {
            specular.w *= sampled.w;
        } else if (slot == SPECULAR_COLOR_SLOT) {
            specular = vec4<f32>(specular.xyz * sampled.xyz, specular.w);
        } else if (slot == NORMAL_SLOT) {
            normal = mapped_normal(tangent, upright, materials[material].normal_scale, sampled.xyz);
        } else if (HAS_COAT && slot == COAT_NORMAL_SLOT) {
            coat_normal = mapped_normal(tangent, upright, materials[material].coat.z, sampled.xyz);
        } else if (HAS_ANISOTROPY && slot == ANISOTROPY_SLOT) {
            along = sampled.xy * 2.0 - 1.0;
            surface.anisotropy *= sampled.z;
        } else {
            surface = with_layer_texture(surface, material, slot, sampled);
        }
    }
    surface.base_color = base_color.xyz;
    surface.coverage = coverage_of(material, base_color.w);
    surface.normal = facing_normal(normal * side, direction);
    if (HAS_COAT) {
        surface.coat_normal = facing_normal(coat_normal * side, direction);
        surface.emission *= 1.0 - coat_reflectance(surface.coat, dot3(surface.geometric_normal, direction));
    }
    if (HAS_ANISOTROPY) {
        surface.tangent = anisotropy_direction(material, tangent, normal, along);
    }
    surface.f0 = min(specular.xyz, vec3<f32>(1.0)) * specular.w;
    surface.f90 = specular.w;
    if (HAS_TRANSMISSION && surface.solid && !hit.front) {
        // Coat and sheen lie outside.
        surface.coat = 0.0;
        surface.sheen = vec3<f32>(0.0);
        if ((surface.flags & MATERIAL_DOUBLE_SIDED) == 0u) {
            surface.emission = vec3<f32>(0.0);
        }
    }
    return surface;
}

// What a coat keeps of the light that is emitted under it, at an angle to the
// triangle (`KHR_materials_clearcoat`, on emission).
fn coat_reflectance(coat: f32, cosine: f32) -> f32 {
    return coat * schlick(vec3<f32>(COAT_F0), 1.0, abs(cosine)).x;
}

// A point just off a surface, on the side of its geometric normal or beyond it.
fn off_surface(surface: Surface, beyond: bool) -> vec3<f32> {
    let n = surface.geometric_normal;
    let shift = n * dot3(abs(n), surface.error);
    return surface.position + select(shift, -shift, beyond);
}
