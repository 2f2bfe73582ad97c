// Every buffer of the kernel and the layout of what lies in it. The host packs
// the same structs; one of its tests compares every size and offset.

// What holds for a whole dispatch.
struct Params {
    // Camera axes in world space. `w` of right and up is the half extent of
    // the image plane at unit distance (perspective) or in metres
    // (orthographic); `w` of back is 1 for perspective and 0 for orthographic.
    camera_right: vec4<f32>,
    camera_up: vec4<f32>,
    camera_back: vec4<f32>,
    camera_position: vec4<f32>,
    // Constant sky, or the strength of the map in `x`; `w` is 1 for a map.
    sky: vec4<f32>,
    // Cosine and sine of the map's turn about +Y.
    sky_turn: vec2<f32>,
    width: u32,
    height: u32,
    seed: u32,
    frame: u32,
    samples_per_pixel: u32,
    max_depth: u32,
    filter_kind: u32,
    transparent: u32,
    // Records of this dispatch.
    record_count: u32,
    // Entries of the alias table, and the one that stands for the tree, or NONE.
    light_count: u32,
    light_tree: u32,
    // Root node of the tree over the world, or NONE where that is empty.
    root: u32,
    // Map size in texels, and its first word in `texels`.
    sky_width: u32,
    sky_height: u32,
    sky_texels: u32,
    // Size of the grid that the map is sampled by, and its first word.
    sky_columns: u32,
    sky_rows: u32,
    sky_cells: u32,
    // Probability of choosing the sky when choosing a light.
    sky_pick: f32,
    // First words of the tables.
    filter_table: u32,
    albedo_table: u32,
    glass_table: u32,
    sheen_table: u32,
    // Work items in flight, where they have slots.
    slot_count: u32,
    // Distance of the plane that is sharp, where the camera has a lens.
    focus_distance: f32,
    // Factor on a sample's radiance.
    exposure: f32,
    // The largest channel that a part of a sample's radiance may have: of what
    // reached the camera after at most one bounce, and of the rest. The largest
    // float where there is no such bound.
    clamp_direct: f32,
    clamp_indirect: f32,
    // Equal parts of the time of the shutter; 0 where nothing moves.
    motion_parts: u32,
    // First word in `attributes` of where the camera is at their ends (right, up,
    // back and position), or NONE.
    camera_keys: u32,
    // Samples of a work item, which divide those of a base block.
    item_samples: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}

// A work item and its result: `params.item_samples` samples of one pixel.
struct Record {
    // x + 65536·y.
    pixel: u32,
    // Which of the pixel's items it is.
    item: u32,
    // Rays traced.
    rays: u32,
    // Sum of the squares of the samples' luminance.
    luminance_squares: f32,
    // Sums of red, green, blue and alpha.
    sum: vec4<f32>,
}

// A node of a compressed wide tree (Ylitie, Karras & Laine 2017, "Efficient
// Incoherent Ray Traversal on GPUs Through Compressed Wide BVHs"): the boxes
// of 8 children on a grid of 8 bits.
struct Node {
    // x, y, z of the grid's origin as floats, then the grid's three exponents
    // and the mask of inner children, one byte each.
    grid: vec4<u32>,
    // First child node, first primitive, meta bytes of the 8 children.
    children: vec4<u32>,
    // Lower planes of the 8 children, then upper planes, a byte each.
    planes_x: vec4<u32>,
    planes_y: vec4<u32>,
    planes_z: vec4<u32>,
}

// What a leaf names: a triangle of the world, a triangle of a mesh that is
// placed more than once, or an instance of such a mesh. The bits of the corners
// lie in xyz.
struct Triangle {
    // `w` is the instance that a triangle of the world belongs to, NONE in a
    // mesh's own tree, and an instance with bit 31 set where that is what the
    // leaf names.
    a: vec4<u32>,
    // `w` is the triangle's place in its mesh.
    b: vec4<u32>,
    // `w` holds flags, and of a triangle that moves its first place at the end of
    // a part of the shutter's time; one for each part lies there. Nothing but
    // their corners counts.
    c: vec4<u32>,
}

// A placed mesh. Meshes that are placed once lie in world space already, and
// their maps do nothing.
struct Instance {
    // Rows of the affine map from world to mesh space and back.
    to_mesh: array<vec4<f32>, 3>,
    to_world: array<vec4<f32>, 3>,
    // Root node of the mesh's own tree, if it has one.
    root: u32,
    material: u32,
    // Light of the mesh's first triangle, or NONE.
    first_light: u32,
    // First words in `attributes`, or NONE: corner indices, normals, tangents,
    // both coordinate sets, colours.
    indices: u32,
    normals: u32,
    tangents: u32,
    uv0: u32,
    uv1: u32,
    colors: u32,
    // Vertices of a mesh that moves, whose normals and tangents follow each other
    // for the ends of all parts of the shutter's time; 0 of one that is still.
    moving_vertices: u32,
    padding0: u32,
    padding1: u32,
}

// A texture of a material: coordinates, image, wrap and filter.
struct TextureSlot {
    // Rows of the affine map of (u, v, 1); `w` is unused.
    row_u: vec4<f32>,
    row_v: vec4<f32>,
    // First word in `texels`.
    texels: u32,
    width: u32,
    height: u32,
    flags: u32,
}

struct Material {
    base_color: vec4<f32>,
    // `w` is the alpha cutoff.
    emissive: vec4<f32>,
    // Of the dielectric part: reflectance at normal incidence by the index and the
    // colour of `KHR_materials_specular`; `w` is its factor, or 0 where the index
    // is 1.
    specular: vec4<f32>,
    // Factor, roughness and the scale of its normal map.
    coat: vec4<f32>,
    // Colour; `w` is the roughness.
    sheen: vec4<f32>,
    // Strength, and cosine and sine of the direction's turn.
    anisotropy: vec4<f32>,
    // Factor, index of refraction, and the film's least and largest thickness in
    // nanometres.
    iridescence: vec4<f32>,
    // Factors of transmission and of diffuse transmission, index of refraction,
    // and what dispersion adds to the index of blue and takes from that of red.
    transmission: vec4<f32>,
    // Colour.
    diffuse_transmission: vec4<f32>,
    // Absorption of what the surface encloses, per metre.
    absorption: vec4<f32>,
    metallic: f32,
    roughness: f32,
    normal_scale: f32,
    flags: u32,
    // Which of the textures there are, a bit each.
    textures: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
    slots: array<TextureSlot, 17>,
}

// A light, with its entry in the alias table (Walker 1977, Vose 1991) if it is
// everywhere; a pair of nodes of the tree over those that have a place; or the table's
// entry for that tree. The entries come first, then pairs, then the tree's lights.
struct Light {
    // Of a pair, a part of the second node.
    kind: u32,
    // The entry is kept where 16 random bits are below this, else `alias_entry`.
    // Of a light in the tree it is the trail: a bit for each node on the way to it.
    // Of a pair, the two are where its nodes lead.
    threshold: u32,
    alias_entry: u32,
    // Probability of being chosen, exactly as the quantised table gives it; of a point
    // or spot light, which is in the tree, its radius.
    pick: f32,
    // Bits of: world position and range; for a triangle its instance and
    // its place in `triangles`.
    place: vec4<u32>,
    // Direction in which it shines; `w` scales the cone's cosine.
    direction: vec4<f32>,
    // Intensity; `w` is added to the scaled cosine.
    intensity: vec4<f32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> records: array<Record>;
@if(!images && !paged) @group(0) @binding(2) var<storage, read> nodes: array<Node>;
@if(!images && !paged) @group(0) @binding(3) var<storage, read> triangles: array<Triangle>;
@if(images) @group(0) @binding(2) var nodes: texture_storage_2d<rgba32uint, read>;
@if(images) @group(0) @binding(3) var triangles: texture_storage_2d<rgba32uint, read>;
@if(!paged) @group(0) @binding(4) var<storage, read> attributes: array<u32>;
@group(0) @binding(5) var<storage, read> instances: array<Instance>;
@group(0) @binding(6) var<storage, read> materials: array<Material>;
@group(0) @binding(7) var<storage, read> lights: array<Light>;
@if(!paged) @group(0) @binding(8) var<storage, read> texels: array<u32>;

@if(!paged)
fn attribute_at(word: u32) -> u32 {
    return attributes[word];
}

@if(!paged)
fn texel_at(word: u32) -> u32 {
    return texels[word];
}

// Nodes, or triangles, in a row of their image.
@if(images) const IMAGE_ROW: u32 = 1024u;

@if(!images && !paged)
fn node_at(index: u32) -> Node {
    return nodes[index];
}

@if(!images && !paged)
fn triangle_at(index: u32) -> Triangle {
    return triangles[index];
}

@if(images)
fn node_at(index: u32) -> Node {
    let at = vec2<u32>((index % IMAGE_ROW) * 5u, index / IMAGE_ROW);
    return Node(
        textureLoad(nodes, at),
        textureLoad(nodes, at + vec2<u32>(1u, 0u)),
        textureLoad(nodes, at + vec2<u32>(2u, 0u)),
        textureLoad(nodes, at + vec2<u32>(3u, 0u)),
        textureLoad(nodes, at + vec2<u32>(4u, 0u)),
    );
}

@if(images)
fn triangle_at(index: u32) -> Triangle {
    let at = vec2<u32>((index % IMAGE_ROW) * 3u, index / IMAGE_ROW);
    return Triangle(
        textureLoad(triangles, at),
        textureLoad(triangles, at + vec2<u32>(1u, 0u)),
        textureLoad(triangles, at + vec2<u32>(2u, 0u)),
    );
}

// Arrays that are too large for one binding lie in up to eight pages. A page has
// a power of two of elements, whose exponent is an override.
@if(!images && paged) override NODE_PAGE_BITS: u32;
@if(!images && paged) override TRIANGLE_PAGE_BITS: u32;
@if(paged) override ATTRIBUTE_PAGE_BITS: u32;
@if(paged) override TEXEL_PAGE_BITS: u32;

@if(!images && paged) @group(0) @binding(16) var<storage, read> nodes_0: array<Node>;
@if(!images && paged) @group(0) @binding(17) var<storage, read> nodes_1: array<Node>;
@if(!images && paged) @group(0) @binding(18) var<storage, read> nodes_2: array<Node>;
@if(!images && paged) @group(0) @binding(19) var<storage, read> nodes_3: array<Node>;
@if(!images && paged) @group(0) @binding(20) var<storage, read> nodes_4: array<Node>;
@if(!images && paged) @group(0) @binding(21) var<storage, read> nodes_5: array<Node>;
@if(!images && paged) @group(0) @binding(22) var<storage, read> nodes_6: array<Node>;
@if(!images && paged) @group(0) @binding(23) var<storage, read> nodes_7: array<Node>;
@if(!images && paged) @group(0) @binding(24) var<storage, read> triangles_0: array<Triangle>;
@if(!images && paged) @group(0) @binding(25) var<storage, read> triangles_1: array<Triangle>;
@if(!images && paged) @group(0) @binding(26) var<storage, read> triangles_2: array<Triangle>;
@if(!images && paged) @group(0) @binding(27) var<storage, read> triangles_3: array<Triangle>;
@if(!images && paged) @group(0) @binding(28) var<storage, read> triangles_4: array<Triangle>;
@if(!images && paged) @group(0) @binding(29) var<storage, read> triangles_5: array<Triangle>;
@if(!images && paged) @group(0) @binding(30) var<storage, read> triangles_6: array<Triangle>;
@if(!images && paged) @group(0) @binding(31) var<storage, read> triangles_7: array<Triangle>;
@if(paged) @group(0) @binding(32) var<storage, read> attributes_0: array<u32>;
@if(paged) @group(0) @binding(33) var<storage, read> attributes_1: array<u32>;
@if(paged) @group(0) @binding(34) var<storage, read> attributes_2: array<u32>;
@if(paged) @group(0) @binding(35) var<storage, read> attributes_3: array<u32>;
@if(paged) @group(0) @binding(36) var<storage, read> attributes_4: array<u32>;
@if(paged) @group(0) @binding(37) var<storage, read> attributes_5: array<u32>;
@if(paged) @group(0) @binding(38) var<storage, read> attributes_6: array<u32>;
@if(paged) @group(0) @binding(39) var<storage, read> attributes_7: array<u32>;
@if(paged) @group(0) @binding(40) var<storage, read> texels_0: array<u32>;
@if(paged) @group(0) @binding(41) var<storage, read> texels_1: array<u32>;
@if(paged) @group(0) @binding(42) var<storage, read> texels_2: array<u32>;
@if(paged) @group(0) @binding(43) var<storage, read> texels_3: array<u32>;
@if(paged) @group(0) @binding(44) var<storage, read> texels_4: array<u32>;
@if(paged) @group(0) @binding(45) var<storage, read> texels_5: array<u32>;
@if(paged) @group(0) @binding(46) var<storage, read> texels_6: array<u32>;
@if(paged) @group(0) @binding(47) var<storage, read> texels_7: array<u32>;

@if(!images && paged)
fn node_at(index: u32) -> Node {
    let place = index & ((1u << NODE_PAGE_BITS) - 1u);
    switch index >> NODE_PAGE_BITS {
        case 1u: { return nodes_1[place]; }
        case 2u: { return nodes_2[place]; }
        case 3u: { return nodes_3[place]; }
        case 4u: { return nodes_4[place]; }
        case 5u: { return nodes_5[place]; }
        case 6u: { return nodes_6[place]; }
        case 7u: { return nodes_7[place]; }
        default: { return nodes_0[place]; }
    }
}

@if(!images && paged)
fn triangle_at(index: u32) -> Triangle {
    let place = index & ((1u << TRIANGLE_PAGE_BITS) - 1u);
    switch index >> TRIANGLE_PAGE_BITS {
        case 1u: { return triangles_1[place]; }
        case 2u: { return triangles_2[place]; }
        case 3u: { return triangles_3[place]; }
        case 4u: { return triangles_4[place]; }
        case 5u: { return triangles_5[place]; }
        case 6u: { return triangles_6[place]; }
        case 7u: { return triangles_7[place]; }
        default: { return triangles_0[place]; }
    }
}

@if(paged)
fn attribute_at(word: u32) -> u32 {
    let place = word & ((1u << ATTRIBUTE_PAGE_BITS) - 1u);
    switch word >> ATTRIBUTE_PAGE_BITS {
        case 1u: { return attributes_1[place]; }
        case 2u: { return attributes_2[place]; }
        case 3u: { return attributes_3[place]; }
        case 4u: { return attributes_4[place]; }
        case 5u: { return attributes_5[place]; }
        case 6u: { return attributes_6[place]; }
        case 7u: { return attributes_7[place]; }
        default: { return attributes_0[place]; }
    }
}

@if(paged)
fn texel_at(word: u32) -> u32 {
    let place = word & ((1u << TEXEL_PAGE_BITS) - 1u);
    switch word >> TEXEL_PAGE_BITS {
        case 1u: { return texels_1[place]; }
        case 2u: { return texels_2[place]; }
        case 3u: { return texels_3[place]; }
        case 4u: { return texels_4[place]; }
        case 5u: { return texels_5[place]; }
        case 6u: { return texels_6[place]; }
        case 7u: { return texels_7[place]; }
        default: { return texels_0[place]; }
    }
}

const NONE: u32 = 0xffffffffu;

const INSTANCE_REFERENCE: u32 = 0x80000000u;

const TRIANGLE_CULLS_BACK: u32 = 1u;
const TRIANGLE_OPAQUE: u32 = 2u;
const TRIANGLE_MOVES: u32 = 4u;
const TRIANGLE_KEYS_SHIFT: u32 = 3u;

const MATERIAL_UNLIT: u32 = 1u;
const MATERIAL_DOUBLE_SIDED: u32 = 2u;
const MATERIAL_MASK: u32 = 4u;
const MATERIAL_BLEND: u32 = 8u;
const MATERIAL_EMISSIVE: u32 = 16u;
// Encloses a volume (`KHR_materials_volume`); other transmission is thin-walled.
const MATERIAL_SOLID: u32 = 32u;

// Places in a material's slots.
const BASE_COLOR_SLOT: u32 = 0u;
const METALLIC_ROUGHNESS_SLOT: u32 = 1u;
const NORMAL_SLOT: u32 = 2u;
const EMISSIVE_SLOT: u32 = 3u;
const SPECULAR_SLOT: u32 = 4u;
const SPECULAR_COLOR_SLOT: u32 = 5u;
const COAT_SLOT: u32 = 6u;
const COAT_ROUGHNESS_SLOT: u32 = 7u;
const COAT_NORMAL_SLOT: u32 = 8u;
const SHEEN_COLOR_SLOT: u32 = 9u;
const SHEEN_ROUGHNESS_SLOT: u32 = 10u;
const ANISOTROPY_SLOT: u32 = 11u;
const IRIDESCENCE_SLOT: u32 = 12u;
const IRIDESCENCE_THICKNESS_SLOT: u32 = 13u;
const TRANSMISSION_SLOT: u32 = 14u;
const DIFFUSE_TRANSMISSION_SLOT: u32 = 15u;
const DIFFUSE_TRANSMISSION_COLOR_SLOT: u32 = 16u;
const SLOT_COUNT: u32 = 17u;

const TEXTURE_SRGB: u32 = 1u;
const TEXTURE_WIDE: u32 = 2u;
const TEXTURE_WIDE_BIT: u32 = 1u;
const TEXTURE_NEAREST: u32 = 4u;
const TEXTURE_UV1: u32 = 8u;
// Two bits of wrap for u, then two for v: 0 repeats, 1 mirrors, 2 clamps.
const TEXTURE_WRAP_U: u32 = 8u;
const TEXTURE_WRAP_V: u32 = 10u;

const LIGHT_TRIANGLE: u32 = 0u;
const LIGHT_POINT: u32 = 1u;
const LIGHT_SPOT: u32 = 2u;
const LIGHT_DIRECTIONAL: u32 = 3u;
const LIGHT_SKY: u32 = 4u;
// The tree over all lights that have a place; its root is `place.x`.
const LIGHT_TREE: u32 = 5u;

// Where a node of that tree leads: to a pair of nodes, or to a light.
const NODE_IS_LIGHT: u32 = 0x80000000u;
// With the cosines of a node.
const NODE_SHINES_BOTH_WAYS: u32 = 0x80000000u;

const FILTER_BOX: u32 = 0u;
// Octaves of a filter's table, and the bits that tell the parts of one.
const FILTER_OCTAVES: u32 = 16u;
const FILTER_PARTS_BITS: u32 = 6u;
