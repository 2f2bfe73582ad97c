// Textures: texels in a storage buffer, wrapped and filtered here so that every
// adapter filters alike (glTF 2.0, section 3.8).

import package::layout::{
    texel_at, TextureSlot, TEXTURE_NEAREST, TEXTURE_SRGB, TEXTURE_WIDE, TEXTURE_WIDE_BIT,
    TEXTURE_WRAP_U, TEXTURE_WRAP_V,
};
import package::vector::unpack_fractions;

const WRAP_MIRROR: u32 = 1u;
const WRAP_CLAMP: u32 = 2u;

// A coordinate brought near the image, in texels.
fn wrap_coordinate(x: f32, size: u32, wrap: u32) -> f32 {
    if (wrap == WRAP_CLAMP) {
        return clamp(x, -1.0, 2.0) * f32(size);
    }
    if (wrap == WRAP_MIRROR) {
        return (x * 0.5 - floor(x * 0.5)) * 2.0 * f32(size);
    }
    return (x - floor(x)) * f32(size);
}

// The column or row of a texel that may lie outside by up to one image.
fn wrap_index(index: i32, size: u32, wrap: u32) -> u32 {
    let count = bitcast<i32>(size);
    var i = index;
    if (wrap == WRAP_CLAMP) {
        i = clamp(i, 0, count - 1);
    } else if (wrap == WRAP_MIRROR) {
        if (i < 0) {
            i = -1 - i;
        }
        if (i >= 2 * count) {
            i -= 2 * count;
        }
        if (i >= count) {
            i = 2 * count - 1 - i;
        }
    } else {
        if (i < 0) {
            i += count;
        }
        if (i >= count) {
            i -= count;
        }
    }
    // Coordinates that overflowed still name some texel.
    return min(bitcast<u32>(i), size - 1u);
}

// The sRGB curve of IEC 61966-2-1 in each component. With y the square root of
// the power's base, y^4.8 is y⁵ times a polynomial for y^−0.2, interpolated at
// Chebyshev points; it errs by less than 1.3e-4 of the value and keeps 0 and 1.
fn srgb_to_linear(s: vec3<f32>) -> vec3<f32> {
    let y = sqrt((s + 0.055) * (1.0 / 1.055));
    var p = y * -0.8034817 + 3.2234552;
    p = p * y - 5.3234339;
    p = p * y + 4.7163577;
    p = p * y - 2.5431013;
    p = p * y + 1.7302040;
    let y2 = y * y;
    return select(y2 * y2 * y * p, s * (1.0 / 12.92), s <= vec3<f32>(0.04045));
}

fn texel(slot: TextureSlot, x: u32, y: u32) -> vec4<f32> {
    // Wide texels have two words.
    let wide = (slot.flags & TEXTURE_WIDE) >> TEXTURE_WIDE_BIT;
    let place = slot.texels + ((y * slot.width + x) << wide);
    let low = texel_at(place);
    let high = texel_at(place + wide);
    if (wide == 1u) {
        return unpack_fractions(low, high);
    }
    let color = vec4<f32>(
        f32(low & 0xffu), f32((low >> 8u) & 0xffu), f32((low >> 16u) & 0xffu), f32(low >> 24u),
    ) * (1.0 / 255.0);
    if ((slot.flags & TEXTURE_SRGB) != 0u) {
        return vec4<f32>(srgb_to_linear(color.xyz), color.w);
    }
    return color;
}

// The texture at a pair of coordinates.
fn sample_texture(slot: TextureSlot, uv: vec2<f32>) -> vec4<f32> {
    let wrap_u = (slot.flags >> TEXTURE_WRAP_U) & 3u;
    let wrap_v = (slot.flags >> TEXTURE_WRAP_V) & 3u;
    let x = wrap_coordinate(
        slot.row_u.x * uv.x + slot.row_u.y * uv.y + slot.row_u.z, slot.width, wrap_u,
    );
    let y = wrap_coordinate(
        slot.row_v.x * uv.x + slot.row_v.y * uv.y + slot.row_v.z, slot.height, wrap_v,
    );
    if ((slot.flags & TEXTURE_NEAREST) != 0u) {
        return texel(
            slot,
            wrap_index(i32(floor(x)), slot.width, wrap_u),
            wrap_index(i32(floor(y)), slot.height, wrap_v),
        );
    }
    let left = floor(x - 0.5);
    let top = floor(y - 0.5);
    let weight_x = (x - 0.5) - left;
    let weight_y = (y - 0.5) - top;
    let x0 = wrap_index(i32(left), slot.width, wrap_u);
    let x1 = wrap_index(i32(left) + 1, slot.width, wrap_u);
    let y0 = wrap_index(i32(top), slot.height, wrap_v);
    let y1 = wrap_index(i32(top) + 1, slot.height, wrap_v);
    let upper = texel(slot, x0, y0) * (1.0 - weight_x) + texel(slot, x1, y0) * weight_x;
    let lower = texel(slot, x0, y1) * (1.0 - weight_x) + texel(slot, x1, y1) * weight_x;
    return upper * (1.0 - weight_y) + lower * weight_y;
}
