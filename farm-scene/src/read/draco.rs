//! Primitives that Draco compressed (`KHR_draco_mesh_compression`): each is decoded
//! once, into accessors of its own, and then read as any other.

use std::borrow::Cow;

use draco_gltf::{
    ComponentType as Decoded, DecodeLimits, DracoPrimitiveContract, DracoPrimitiveExtension, JsonValue,
    PackedGeometry,
};
use gltf::json;
use json::accessor::{Accessor, ComponentType, GenericComponentType, Type};
use json::mesh::{Mode, Primitive, Semantic};
use json::validation::Checked;
use serde_json::Value;

use super::buffers::{self, Buffers};
use super::meshopt::plain_buffer;
use super::named;
use crate::error::{Fault, Problem};
use crate::limits::SceneLimits;
use crate::validate::at_most;

const NAME: &str = "KHR_draco_mesh_compression";

/// The attributes that are decoded: those that a reader of meshes may ask for.
/// Others cost time and memory for nothing.
const ATTRIBUTES: [Semantic; 10] = [
    Semantic::Positions,
    Semantic::Normals,
    Semantic::Tangents,
    Semantic::TexCoords(0),
    Semantic::TexCoords(1),
    Semantic::Colors(0),
    Semantic::Joints(0),
    Semantic::Weights(0),
    Semantic::Joints(1),
    Semantic::Weights(1),
];

/// Decodes every compressed primitive and points it at what it decoded to.
pub(super) fn decode_primitives(
    root: &mut json::Root,
    buffers: &mut Buffers<'_>,
    limits: &SceneLimits,
) -> Result<(), Fault> {
    let mut totals = Totals::default();
    for mesh in 0..root.meshes.len() {
        for i in 0..root.meshes[mesh].primitives.len() {
            let primitive = &root.meshes[mesh].primitives[i];
            if !matches!(primitive.mode, Checked::Valid(Mode::Triangles | Mode::TriangleStrip)) {
                continue;
            }
            let others = primitive.extensions.as_ref().map(|extensions| &extensions.others);
            let Some(object) = others.and_then(|others| others.get(NAME)) else {
                continue;
            };
            let place = format!("meshes[{mesh}].primitives[{i}].extensions.{NAME}");
            let geometry = decode(root, buffers, primitive, object, &place, &totals, limits)?;
            totals.add(&geometry, limits).map_err(|problem| Fault::new(&place, problem))?;
            let decoded =
                install(root, buffers, &root.meshes[mesh].primitives[i].clone(), &geometry, &place)?;
            root.meshes[mesh].primitives[i] = decoded;
        }
    }
    Ok(())
}

/// What all primitives so far decoded to.
#[derive(Default)]
struct Totals {
    triangles: u64,
    vertices: u64,
    bytes: u64,
}

impl Totals {
    fn add(&mut self, geometry: &PackedGeometry, limits: &SceneLimits) -> Result<(), Problem> {
        self.vertices += geometry.vertex_count() as u64;
        self.triangles += geometry.indices().map_or(0, |indices| indices.count() as u64 / 3);
        let attributes = geometry.attributes().iter().map(|attribute| attribute.bytes().len() as u64);
        self.bytes += attributes.sum::<u64>();
        at_most("decoded vertices", self.vertices, limits.vertices)?;
        at_most("decoded triangles", self.triangles, limits.triangles)?;
        at_most("decoded bytes of attributes", self.bytes, limits.decoded_bytes)
    }

    /// What the next primitive may decode to.
    fn left(&self, limits: &SceneLimits) -> DecodeLimits {
        DecodeLimits::default()
            .with_max_points(limits.vertices - self.vertices)
            .with_max_faces(limits.triangles - self.triangles)
            .with_max_decoded_bytes(limits.decoded_bytes - self.bytes)
    }
}

fn decode(
    root: &json::Root,
    buffers: &Buffers<'_>,
    primitive: &Primitive,
    object: &Value,
    place: &str,
    totals: &Totals,
    limits: &SceneLimits,
) -> Result<PackedGeometry, Fault> {
    let malformed = |text: String| Fault::new(place, Problem::Malformed(text));
    let mut contract = DracoPrimitiveContract::new().with_limits(totals.left(limits));
    let mut wanted = serde_json::Map::new();
    for semantic in ATTRIBUTES {
        let name = semantic.to_string();
        let id = object.get("attributes").and_then(|attributes| attributes.get(&name));
        let accessor = primitive.attributes.get(&Checked::Valid(semantic));
        if let (Some(id), Some(accessor)) = (id, accessor) {
            let accessor = named(&root.accessors, accessor.value(), "accessor", place)?;
            // The stream's count is the one that holds; none is asked of it.
            contract = contract.with_attribute(&name, 0, accessor.normalized);
            wanted.insert(name, id.clone());
        }
    }
    let view = object.get("bufferView").cloned().unwrap_or_default();
    let wanted = serde_json::json!({"bufferView": view, "attributes": wanted}).to_string();
    let extension = JsonValue::parse(wanted.as_bytes())
        .map_err(malformed)
        .and_then(|json| DracoPrimitiveExtension::from_json(&json).map_err(|e| malformed(e.to_string())))?;
    let (stream, _) = buffers::view(root, buffers, extension.buffer_view(), place)?;
    extension.decode(stream, &contract).map_err(|error| malformed(error.to_string()))
}

/// The primitive with accessors to what it decoded to, which join the file's.
fn install(
    root: &mut json::Root,
    buffers: &mut Buffers<'_>,
    primitive: &Primitive,
    geometry: &PackedGeometry,
    place: &str,
) -> Result<Primitive, Fault> {
    let mut decoded = Primitive { mode: Checked::Valid(Mode::Triangles), ..primitive.clone() };
    for attribute in geometry.attributes() {
        let known = ATTRIBUTES.into_iter().find(|known| known.to_string() == attribute.semantic());
        let semantic = Checked::Valid(known.expect("only these are decoded"));
        let component = component(attribute.component_type(), place)?;
        let kind = kind(attribute.components(), place)?;
        let accessor = add(root, buffers, attribute.bytes(), attribute.count(), component, kind);
        root.accessors[accessor.value()].normalized = attribute.normalized();
        decoded.attributes.insert(semantic, accessor);
    }
    if let Some(indices) = geometry.indices() {
        let component = component(indices.component_type(), place)?;
        decoded.indices = Some(add(root, buffers, indices.bytes(), indices.count(), component, Type::Scalar));
    }
    Ok(decoded)
}

/// Adds a buffer, a view of it and an accessor of that.
fn add(
    root: &mut json::Root,
    buffers: &mut Buffers<'_>,
    bytes: &[u8],
    count: usize,
    component: ComponentType,
    kind: Type,
) -> json::Index<Accessor> {
    buffers.push(Some(Cow::Owned(bytes.to_vec())));
    let buffer = root.push(plain_buffer(bytes.len()));
    let view = root.push(json::buffer::View {
        buffer,
        byte_length: bytes.len().into(),
        byte_offset: None,
        byte_stride: None,
        name: None,
        target: None,
        extensions: None,
        extras: Default::default(),
    });
    root.push(Accessor {
        buffer_view: Some(view),
        byte_offset: None,
        count: count.into(),
        component_type: Checked::Valid(GenericComponentType(component)),
        type_: Checked::Valid(kind),
        normalized: false,
        sparse: None,
        min: None,
        max: None,
        name: None,
        extensions: None,
        extras: Default::default(),
    })
}

fn component(decoded: Decoded, place: &str) -> Result<ComponentType, Fault> {
    match decoded {
        Decoded::I8 => Ok(ComponentType::I8),
        Decoded::U8 => Ok(ComponentType::U8),
        Decoded::I16 => Ok(ComponentType::I16),
        Decoded::U16 => Ok(ComponentType::U16),
        Decoded::U32 => Ok(ComponentType::U32),
        Decoded::F32 => Ok(ComponentType::F32),
        other => Err(Fault::new(place, Problem::Unsupported(format!("an attribute of {other:?}")))),
    }
}

fn kind(components: u8, place: &str) -> Result<Type, Fault> {
    match components {
        1 => Ok(Type::Scalar),
        2 => Ok(Type::Vec2),
        3 => Ok(Type::Vec3),
        4 => Ok(Type::Vec4),
        other => Err(Fault::new(place, Problem::Unsupported(format!("an attribute of {other} components")))),
    }
}
