//! Every bound on a scene, with its arithmetic.

/// Bounds on what a scene may hold. They are the same on the artist's machine
/// and on a node, so a scene that loads also unpacks.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneLimits {
    /// A `.glb` file counts its bytes in 32 bits: 4 GiB.
    pub file_bytes: u64,
    /// The scene's JSON: a node takes about 200 bytes, so 2^20 nodes fit.
    pub json_bytes: u64,
    /// All files that a scene names, and itself: 16 GiB.
    pub source_bytes: u64,
    /// 2^20 nodes of the file.
    pub nodes: u64,
    /// 2^22 instances of 52 bytes are 208 MiB of manifest.
    pub instances: u64,
    /// 2^18 meshes; beyond that the draw is instances.
    pub meshes: u64,
    /// 2^26 stored triangles of 12 bytes are 768 MiB, before instancing.
    pub triangles: u64,
    /// 2^26 stored vertices of at most 72 bytes are 4.5 GiB; those of a mesh that is
    /// deformed while the shutter is open count for each of its shapes.
    pub vertices: u64,
    /// Parts of the shutter's time: a wheel that turns once in a frame is a polygon
    /// of 16 corners to each of its points.
    pub motion_parts: u32,
    /// Transforms of what moves in that time: 2^22 of 48 bytes are 192 MiB of
    /// manifest.
    pub moving_transforms: u64,
    /// Elements of an accessor without a buffer view, which cost the file
    /// nothing: 2^22 of 16 bytes are 64 MiB.
    pub unbacked_elements: u64,
    /// All buffer views that the file holds compressed, decoded: the vertices and
    /// the triangles that a scene may have are 5.25 GiB.
    pub decoded_bytes: u64,
    /// More than any artist names.
    pub materials: u64,
    /// One texture for each of four uses of each material would be more; none
    /// do that.
    pub textures: u64,
    /// 2^14 images.
    pub images: u64,
    /// 2^14: 16,384, the largest edge that texture tools produce.
    pub image_edge: u32,
    /// All images together, in texels: 2^31 of 4 bytes are 8 GiB.
    pub texels: u64,
    /// 2^16 punctual lights.
    pub lights: u64,
    /// 2^12 cameras.
    pub cameras: u64,
    /// Animations of a file, and the channels of all of them: 2^20, which is
    /// one for each of the nodes.
    pub channels: u64,
    /// Times and values of an animation's keys: 2^26 of 4 bytes are 256 MiB,
    /// half an hour of a hundred joints at 30 keys a second.
    pub key_numbers: u64,
    /// Joints of the skins that are shown: 2^20 matrices of 96 bytes are 96 MiB.
    pub joints: u64,
    /// Joints that move a vertex, over all skinned vertices: 2^28 are four for
    /// each of 2^26, and at 10 ns each 3 s of work.
    pub influences: u64,
    /// Displacements by morph targets whose weight is not zero: 2^28 are four
    /// for each of 2^26 vertices, and at 10 ns each 3 s of work.
    pub displacements: u64,
    /// Bytes of a name.
    pub name_bytes: u64,
    /// 16,384 × 8,192 texels of 12 bytes are 1.5 GiB.
    pub environment_texels: u64,
    /// Metres from the origin, in the world and in mesh space: areas are
    /// products of lengths and their squares fourth powers, and (1e9)⁴ = 1e36
    /// is below the largest f32, 3.4e38.
    pub coordinate: f32,
    /// Largest radiance, intensity and strength: times 2^24 samples it still
    /// is below 3.4e38, with room for a few bounces of gain.
    pub radiance: f32,
    /// Bytes of a manifest: 2^22 instances and 2^18 meshes with a margin.
    pub manifest_bytes: u64,
    /// Warnings kept; a broken exporter says the same of every mesh.
    pub warnings: usize,
}

impl Default for SceneLimits {
    fn default() -> Self {
        Self {
            file_bytes: 1 << 32,
            json_bytes: 1 << 28,
            source_bytes: 1 << 34,
            nodes: 1 << 20,
            instances: 1 << 22,
            meshes: 1 << 18,
            triangles: 1 << 26,
            vertices: 1 << 26,
            motion_parts: 16,
            moving_transforms: 1 << 22,
            unbacked_elements: 1 << 22,
            decoded_bytes: (72 << 26) + (12 << 26),
            materials: 1 << 16,
            textures: 1 << 16,
            images: 1 << 14,
            image_edge: 1 << 14,
            texels: 1 << 31,
            lights: 1 << 16,
            cameras: 1 << 12,
            channels: 1 << 20,
            key_numbers: 1 << 26,
            joints: 1 << 20,
            influences: 1 << 28,
            displacements: 1 << 28,
            name_bytes: 1024,
            environment_texels: 1 << 27,
            coordinate: 1e9,
            radiance: 1e20,
            manifest_bytes: 1 << 29,
            warnings: 100,
        }
    }
}
