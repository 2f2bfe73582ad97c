//! The structs that host and kernel share, as `shaders/wgsl/layout.wgsl` has
//! them; a test compares every size and offset.

use bytemuck::{Pod, Zeroable};

/// No index.
pub(crate) const NONE: u32 = u32::MAX;

/// Marks an instance where a leaf names one.
pub(crate) const INSTANCE_REFERENCE: u32 = 1 << 31;

/// The bits of a triangle's flags, in `c[3]`.
pub(crate) mod triangle_flags {
    pub(crate) const CULLS_BACK: u32 = 1;
    pub(crate) const OPAQUE: u32 = 2;
    pub(crate) const MOVES: u32 = 4;
    /// Above them, the first place at the end of a part of the shutter's time.
    pub(crate) const KEYS_SHIFT: u32 = 3;
}

/// The bits of [`Material::flags`].
pub(crate) mod material_flags {
    pub(crate) const UNLIT: u32 = 1;
    pub(crate) const DOUBLE_SIDED: u32 = 2;
    pub(crate) const MASK: u32 = 4;
    pub(crate) const BLEND: u32 = 8;
    pub(crate) const EMISSIVE: u32 = 16;
    pub(crate) const SOLID: u32 = 32;
}

/// The bits of [`TextureSlot::flags`].
pub(crate) mod texture_flags {
    pub(crate) const SRGB: u32 = 1;
    pub(crate) const WIDE: u32 = 2;
    pub(crate) const NEAREST: u32 = 4;
    pub(crate) const UV1: u32 = 8;
    pub(crate) const WRAP_U_SHIFT: u32 = 8;
    pub(crate) const WRAP_V_SHIFT: u32 = 10;
}

/// The values of [`Light::kind`].
pub(crate) mod light_kind {
    pub(crate) const TRIANGLE: u32 = 0;
    pub(crate) const POINT: u32 = 1;
    pub(crate) const SPOT: u32 = 2;
    pub(crate) const DIRECTIONAL: u32 = 3;
    pub(crate) const SKY: u32 = 4;
    pub(crate) const TREE: u32 = 5;
}

/// Flags of a node of the tree over lights.
pub(crate) mod light_node_flags {
    pub(crate) const IS_LIGHT: u32 = 1 << 31;
    pub(crate) const SHINES_BOTH_WAYS: u32 = 1 << 31;
}

/// What holds for a whole dispatch.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Params {
    pub(crate) camera_right: [f32; 4],
    pub(crate) camera_up: [f32; 4],
    pub(crate) camera_back: [f32; 4],
    pub(crate) camera_position: [f32; 4],
    pub(crate) sky: [f32; 4],
    pub(crate) sky_turn: [f32; 2],
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) seed: u32,
    pub(crate) frame: u32,
    pub(crate) samples_per_pixel: u32,
    pub(crate) max_depth: u32,
    pub(crate) filter_kind: u32,
    pub(crate) transparent: u32,
    pub(crate) record_count: u32,
    pub(crate) light_count: u32,
    pub(crate) light_tree: u32,
    pub(crate) root: u32,
    pub(crate) sky_width: u32,
    pub(crate) sky_height: u32,
    pub(crate) sky_texels: u32,
    pub(crate) sky_columns: u32,
    pub(crate) sky_rows: u32,
    pub(crate) sky_cells: u32,
    pub(crate) sky_pick: f32,
    pub(crate) filter_table: u32,
    pub(crate) albedo_table: u32,
    pub(crate) glass_table: u32,
    pub(crate) sheen_table: u32,
    pub(crate) slot_count: u32,
    pub(crate) focus_distance: f32,
    pub(crate) exposure: f32,
    pub(crate) clamp_direct: f32,
    pub(crate) clamp_indirect: f32,
    pub(crate) motion_parts: u32,
    pub(crate) camera_keys: u32,
    pub(crate) item_samples: u32,
    pub(crate) padding0: u32,
    pub(crate) padding1: u32,
    pub(crate) padding2: u32,
}

/// A work item and its result.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Record {
    pub(crate) pixel: u32,
    pub(crate) item: u32,
    pub(crate) rays: u32,
    pub(crate) luminance_squares: f32,
    pub(crate) sum: [f32; 4],
}

/// A node of a compressed wide tree.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Node {
    pub(crate) grid: [u32; 4],
    pub(crate) children: [u32; 4],
    pub(crate) planes_x: [u32; 4],
    pub(crate) planes_y: [u32; 4],
    pub(crate) planes_z: [u32; 4],
}

/// What a leaf names; see `layout.wgsl` for the fourth words.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Triangle {
    pub(crate) a: [u32; 4],
    pub(crate) b: [u32; 4],
    pub(crate) c: [u32; 4],
}

/// A placed mesh.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Instance {
    pub(crate) to_mesh: [[f32; 4]; 3],
    pub(crate) to_world: [[f32; 4]; 3],
    pub(crate) root: u32,
    pub(crate) material: u32,
    pub(crate) first_light: u32,
    pub(crate) indices: u32,
    pub(crate) normals: u32,
    pub(crate) tangents: u32,
    pub(crate) uv0: u32,
    pub(crate) uv1: u32,
    pub(crate) colors: u32,
    pub(crate) moving_vertices: u32,
    pub(crate) padding0: u32,
    pub(crate) padding1: u32,
}

/// A texture of a material.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct TextureSlot {
    pub(crate) row_u: [f32; 4],
    pub(crate) row_v: [f32; 4],
    pub(crate) texels: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) flags: u32,
}

/// A material.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Material {
    pub(crate) base_color: [f32; 4],
    pub(crate) emissive: [f32; 4],
    pub(crate) specular: [f32; 4],
    pub(crate) coat: [f32; 4],
    pub(crate) sheen: [f32; 4],
    pub(crate) anisotropy: [f32; 4],
    pub(crate) iridescence: [f32; 4],
    pub(crate) transmission: [f32; 4],
    pub(crate) diffuse_transmission: [f32; 4],
    pub(crate) absorption: [f32; 4],
    pub(crate) metallic: f32,
    pub(crate) roughness: f32,
    pub(crate) normal_scale: f32,
    pub(crate) flags: u32,
    pub(crate) textures: u32,
    pub(crate) padding0: u32,
    pub(crate) padding1: u32,
    pub(crate) padding2: u32,
    pub(crate) slots: [TextureSlot; farm_scene::Material::SLOTS],
}

/// A light and its entry in the alias table.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Light {
    pub(crate) kind: u32,
    pub(crate) threshold: u32,
    pub(crate) alias_entry: u32,
    pub(crate) pick: f32,
    pub(crate) place: [u32; 4],
    pub(crate) direction: [f32; 4],
    pub(crate) intensity: [f32; 4],
}

/// Storage buffers of a scene, in the order of their bindings from 2 on, with
/// what each is called in messages and the size of its elements.
pub(crate) const SCENE_BUFFERS: [(&str, u64); 7] = [
    ("the scene's tree", size_of::<Node>() as u64),
    ("the scene's triangles", size_of::<Triangle>() as u64),
    ("the scene's vertices", size_of::<u32>() as u64),
    ("the scene's instances", size_of::<Instance>() as u64),
    ("the scene's materials", size_of::<Material>() as u64),
    ("the scene's lights", size_of::<Light>() as u64),
    ("the scene's textures", size_of::<u32>() as u64),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    /// Size of a struct and the names and offsets of its members, by naga.
    fn shader_layout(module: &naga::Module, name: &str) -> (u32, Vec<(String, u32)>) {
        let found = module.types.iter().find_map(|(_, ty)| match &ty.inner {
            naga::TypeInner::Struct { members, span } if ty.name.as_deref() == Some(name) => {
                Some((*span, members))
            }
            _ => None,
        });
        let (span, members) = found.unwrap_or_else(|| panic!("the kernel has no struct {name}"));
        let members = members.iter().map(|m| (m.name.clone().unwrap_or_default(), m.offset)).collect();
        (span, members)
    }

    macro_rules! check {
        ($module:expr, $name:ident, $($field:ident),+ $(,)?) => {
            let (size, members) = shader_layout($module, stringify!($name));
            let ours = [$((stringify!($field).to_owned(), u32::try_from(offset_of!($name, $field)).expect("small"))),+];
            assert_eq!(members, ours, "members of {}", stringify!($name));
            assert_eq!(usize::try_from(size).expect("small"), size_of::<$name>(), "size of {}", stringify!($name));
        };
    }

    #[test]
    fn every_shared_struct_is_laid_out_as_the_kernel_reads_it() {
        let module = naga::front::wgsl::parse_str(shaders::PATH_TRACER).expect("validated at build");
        check!(
            &module,
            Params,
            camera_right,
            camera_up,
            camera_back,
            camera_position,
            sky,
            sky_turn,
            width,
            height,
            seed,
            frame,
            samples_per_pixel,
            max_depth,
            filter_kind,
            transparent,
            record_count,
            light_count,
            light_tree,
            root,
            sky_width,
            sky_height,
            sky_texels,
            sky_columns,
            sky_rows,
            sky_cells,
            sky_pick,
            filter_table,
            albedo_table,
            glass_table,
            sheen_table,
            slot_count,
            focus_distance,
            exposure,
            clamp_direct,
            clamp_indirect,
            motion_parts,
            camera_keys,
            item_samples,
            padding0,
            padding1,
            padding2
        );
        check!(&module, Record, pixel, item, rays, luminance_squares, sum);
        check!(&module, Node, grid, children, planes_x, planes_y, planes_z);
        check!(&module, Triangle, a, b, c);
        check!(
            &module,
            Instance,
            to_mesh,
            to_world,
            root,
            material,
            first_light,
            indices,
            normals,
            tangents,
            uv0,
            uv1,
            colors,
            moving_vertices,
            padding0,
            padding1
        );
        check!(&module, TextureSlot, row_u, row_v, texels, width, height, flags);
        check!(
            &module,
            Material,
            base_color,
            emissive,
            specular,
            coat,
            sheen,
            anisotropy,
            iridescence,
            transmission,
            diffuse_transmission,
            absorption,
            metallic,
            roughness,
            normal_scale,
            flags,
            textures,
            padding0,
            padding1,
            padding2,
            slots
        );
        check!(&module, Light, kind, threshold, alias_entry, pick, place, direction, intensity);
    }

    #[test]
    fn slots_of_the_wavefront_are_as_large_as_their_buffers_assume() {
        let module = naga::front::wgsl::parse_str(shaders::WAVEFRONT).expect("validated at build");
        let size = |name: &str| u64::from(shader_layout(&module, name).0);
        assert_eq!(["WorkSlot", "RaySlot", "HitSlot"].map(size), shaders::WAVEFRONT_SLOT_BYTES);
    }
}
