// What a path is inside of: the materials of the solids that it entered and has
// not left, the innermost first. Four are remembered.

import package::layout::{materials, NONE};
import package::vector::exponential;

// Index of refraction of a material; `channel` is 0, 1 or 2 for a path of red,
// green or blue light alone, and 3 for all of them (`KHR_materials_dispersion`).
fn index_of(material: u32, channel: u32) -> f32 {
    if (material == NONE) {
        return 1.0;
    }
    let transmission = materials[material].transmission;
    let spread = select(0.0, transmission.w, channel == 2u) - select(0.0, transmission.w, channel == 0u);
    return max(transmission.z + spread, 1.0);
}

fn enter(media: vec4<u32>, material: u32) -> vec4<u32> {
    return vec4<u32>(material, media.x, media.y, media.z);
}

// Forgets the innermost solid of a material.
fn leave(media: vec4<u32>, material: u32) -> vec4<u32> {
    if (media.x == material) {
        return vec4<u32>(media.y, media.z, media.w, NONE);
    }
    if (media.y == material) {
        return vec4<u32>(media.x, media.z, media.w, NONE);
    }
    if (media.z == material) {
        return vec4<u32>(media.x, media.y, media.w, NONE);
    }
    if (media.w == material) {
        return vec4<u32>(media.x, media.y, media.z, NONE);
    }
    return media;
}

// What a way of `distance` metres through the innermost of `media` leaves of the
// light (Beer's law).
fn transmittance(media: vec4<u32>, distance: f32) -> vec3<f32> {
    if (media.x == NONE) {
        return vec3<f32>(1.0);
    }
    let absorbed = materials[media.x].absorption.xyz * -distance;
    return vec3<f32>(exponential(absorbed.x), exponential(absorbed.y), exponential(absorbed.z));
}
