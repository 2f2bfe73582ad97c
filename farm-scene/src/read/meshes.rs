//! Primitives to meshes.

use std::collections::BTreeMap;

use glam::{Vec2, Vec3, Vec4};
use gltf::json;
use json::mesh::{Mode, Primitive, Semantic};
use json::validation::Checked;

use super::accessors::Integers;
use super::materials::MaterialTable;
use super::skins::Joints;
use super::{Context, morphs, named, skins, tangents, variants, vertices};
use crate::error::{Fault, Problem};
use crate::load::Warnings;
use crate::scene::Mesh;
use crate::validate::at_most;

/// The meshes that the scene uses, in the order of first use.
#[derive(Debug, Default)]
pub(super) struct MeshTable {
    pub(super) meshes: Vec<Mesh>,
    pub(super) materials: MaterialTable,
    ids: BTreeMap<Form, Vec<u32>>,
    triangles: u64,
    vertices: u64,
    /// Work done on morph targets and skins, for the limits.
    displaced: u64,
    influences: u64,
}

/// Primitives that are the same at any time, as they were read: by mesh of the
/// file, whether it is mirrored, and primitive. `None` has no triangles.
pub(super) type KeptMeshes = BTreeMap<(usize, bool, usize), Option<Mesh>>;

/// What tells the forms of a mesh of the file apart. Nodes that show it in the
/// same form share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Form {
    mesh: usize,
    mirrored: bool,
    /// Bits of the morph targets' weights.
    weights: Vec<u64>,
    skin: Option<usize>,
}

/// How a node's mesh is deformed.
#[derive(Clone, Debug, Default)]
pub(super) struct Deformation {
    /// Weights of the morph targets; empty where all are zero.
    pub(super) weights: Vec<f64>,
    /// The skin and its joints.
    pub(super) skin: Option<(usize, Joints)>,
}

impl Deformation {
    fn is_none(&self) -> bool {
        self.weights.is_empty() && self.skin.is_none()
    }
}

impl MeshTable {
    /// The scene's meshes for a mesh of the file: one for each primitive that
    /// has triangles. Those that are not deformed are taken from `kept`, if they
    /// are there, and stay there.
    pub(super) fn ids(
        &mut self,
        context: &Context<'_>,
        (index, mirrored, deformation): (usize, bool, &Deformation),
        place: &str,
        kept: &mut Option<KeptMeshes>,
        warnings: &mut Warnings,
    ) -> Result<Vec<u32>, Fault> {
        let weights = deformation.weights.iter().map(|weight| weight.to_bits()).collect();
        let skin = deformation.skin.as_ref().map(|(skin, _)| *skin);
        let form = Form { mesh: index, mirrored, weights, skin };
        if let Some(ids) = self.ids.get(&form) {
            return Ok(ids.clone());
        }
        let mut kept = kept.as_mut().filter(|_| deformation.is_none());
        let file = named(&context.root.meshes, index, "mesh", place)?;
        let mut ids = Vec::with_capacity(file.primitives.len());
        for (i, primitive) in file.primitives.iter().enumerate() {
            let place = format!("meshes[{index}].primitives[{i}]");
            let key = (index, mirrored, i);
            let known = kept.as_ref().and_then(|kept| kept.get(&key)).cloned();
            let is_new = known.is_none();
            let mesh = match known {
                Some(mesh) => mesh,
                None => self.read(context, primitive, deformation, &place, warnings)?.map(|mut mesh| {
                    if mirrored {
                        vertices::mirror(&mut mesh);
                    }
                    mesh
                }),
            };
            if let Some(kept) = kept.as_mut().filter(|_| is_new) {
                kept.insert(key, mesh.clone());
            }
            let Some(mut mesh) = mesh else { continue };
            if !is_new {
                // The materials that are in use may be others at another time.
                let material = variants::material_of(primitive, context.variant);
                mesh.material = self.materials.id(context, material, &place, warnings)?;
            }
            ids.push(self.push(context, mesh, &place)?);
        }
        self.ids.insert(form, ids.clone());
        Ok(ids)
    }

    fn push(&mut self, context: &Context<'_>, mesh: Mesh, place: &str) -> Result<u32, Fault> {
        let limits = context.limits;
        self.triangles += mesh.triangles.len() as u64;
        self.vertices += mesh.positions.len() as u64;
        let next = self.meshes.len();
        at_most("meshes", next as u64 + 1, limits.meshes)
            .and_then(|()| at_most("stored triangles", self.triangles, limits.triangles))
            .and_then(|()| at_most("stored vertices", self.vertices, limits.vertices))
            .map_err(|problem| Fault::new(place, problem))?;
        self.meshes.push(mesh);
        Ok(u32::try_from(next).expect("the count is below its limit"))
    }

    /// Reads one primitive; `None` when it has no triangles.
    fn read(
        &mut self,
        context: &Context<'_>,
        primitive: &Primitive,
        deformation: &Deformation,
        place: &str,
        warnings: &mut Warnings,
    ) -> Result<Option<Mesh>, Fault> {
        let Some(mode) = triangle_mode(primitive, place, warnings)? else {
            return Ok(None);
        };
        let attributes = Attributes { context, primitive, place };
        let mut mesh = Mesh { positions: attributes.positions()?, ..Mesh::default() };
        mesh.triangles = attributes.triangles(mode, mesh.positions.len(), warnings)?;
        if mesh.triangles.is_empty() {
            warnings.push(format!("{place} has no triangles; it is skipped"));
            return Ok(None);
        }
        let material = variants::material_of(primitive, context.variant);
        mesh.material = self.materials.id(context, material, place, warnings)?;
        let material = &self.materials.materials[mesh.material as usize];
        attributes.fill_uvs(&mut mesh, material.slots().map(|slot| slot.uv_set), warnings)?;
        attributes.fill_colors(&mut mesh)?;
        let has_normals = attributes.fill_normals(&mut mesh, warnings)?;
        let (tangent_slot, needs_tangents) = (material.tangent_slot().copied(), material.needs_tangents());
        // Tangents without normals are to be ignored (glTF 2.0, 3.7.2.1).
        let has_tangents = needs_tangents && has_normals && attributes.fill_tangents(&mut mesh)?;
        self.deform(&attributes, deformation, &mut mesh, warnings)?;
        if let Some(slot) = tangent_slot.filter(|_| !has_tangents) {
            if !has_normals {
                vertices::make_flat(&mut mesh);
            }
            tangents::generate(&mut mesh, &slot);
        } else if needs_tangents && !has_tangents {
            warnings.push(format!("{place} has no tangents for its anisotropy to follow; any will do"));
        }
        Ok(Some(mesh))
    }

    /// Morph targets first, then the skin (glTF 2.0, section 3.7.2.2).
    fn deform(
        &mut self,
        &Attributes { context, primitive, place }: &Attributes<'_>,
        deformation: &Deformation,
        mesh: &mut Mesh,
        warnings: &mut Warnings,
    ) -> Result<(), Fault> {
        if !deformation.weights.is_empty() {
            morphs::apply(context, primitive, &deformation.weights, mesh, place, &mut self.displaced)?;
        }
        if let Some((_, joints)) = &deformation.skin {
            skins::apply(context, primitive, joints, mesh, place, (&mut self.influences, warnings))?;
        }
        let limit = context.limits.coordinate;
        let is_far = |position: &Vec3| !position.is_finite() || position.abs().max_element() > limit;
        if !deformation.is_none() && mesh.positions.iter().any(is_far) {
            let text = "a morph target or a skin carries a vertex farther than 1e9 metres".to_owned();
            return Err(Fault::new(place, Problem::Malformed(text)));
        }
        Ok(())
    }
}

fn triangle_mode(primitive: &Primitive, place: &str, warnings: &mut Warnings) -> Result<Option<Mode>, Fault> {
    match primitive.mode {
        Checked::Valid(mode @ (Mode::Triangles | Mode::TriangleStrip | Mode::TriangleFan)) => Ok(Some(mode)),
        Checked::Valid(mode) => {
            warnings.push(format!("{place} holds {mode:?}, which are not rendered; it is skipped"));
            Ok(None)
        }
        Checked::Invalid => Err(Fault::new(place, Problem::Malformed("unknown primitive mode".to_owned()))),
    }
}

/// The attributes of one primitive.
struct Attributes<'a> {
    context: &'a Context<'a>,
    primitive: &'a Primitive,
    place: &'a str,
}

impl Attributes<'_> {
    fn accessor(&self, semantic: Semantic) -> Option<(usize, String)> {
        let place = format!("{}.attributes.{}", self.place, semantic.to_string());
        let accessor = self.primitive.attributes.get(&Checked::Valid(semantic))?;
        Some((accessor.value(), place))
    }

    /// Reads an attribute that has one element for each vertex, if it is there.
    fn floats<const N: usize>(
        &self,
        semantic: Semantic,
        vertices: usize,
        what: &'static str,
    ) -> Result<Option<Vec<[f32; N]>>, Fault> {
        let Some((accessor, place)) = self.accessor(semantic) else {
            return Ok(None);
        };
        let values = self.context.accessors.floats(accessor, &place, Integers::AsStated)?;
        self.count(what, values.len(), vertices, &place)?;
        Ok(Some(values))
    }

    fn count(&self, what: &'static str, found: usize, vertices: usize, place: &str) -> Result<(), Fault> {
        if found == vertices {
            return Ok(());
        }
        let (found, expected) = (found as u64, vertices as u64);
        Err(Fault::new(place, Problem::CountMismatch { what, found, expected }))
    }

    fn positions(&self) -> Result<Vec<Vec3>, Fault> {
        let (accessor, place) = self.accessor(Semantic::Positions).ok_or_else(|| {
            Fault::new(format!("{}.attributes", self.place), Problem::Missing("the attribute POSITION"))
        })?;
        let values = self.context.accessors.floats::<3>(accessor, &place, Integers::AsStated)?;
        let limit = self.context.limits.coordinate;
        if let Some(&value) = values.as_flattened().iter().find(|x| x.abs() > limit) {
            let value = f64::from(value);
            let problem =
                Problem::OutOfDomain { what: "a coordinate", value, expected: "at most 1e9 metres" };
            return Err(Fault::new(place, problem));
        }
        Ok(values.into_iter().map(Vec3::from).collect())
    }

    fn triangles(
        &self,
        mode: Mode,
        vertices: usize,
        warnings: &mut Warnings,
    ) -> Result<Vec<[u32; 3]>, Fault> {
        let place = format!("{}.indices", self.place);
        let indices = match self.primitive.indices {
            Some(accessor) => self.context.accessors.indices(accessor.value(), &place)?,
            None => (0..u32::try_from(vertices).expect("vertices are below their limit")).collect(),
        };
        if let Some(&index) = indices.iter().find(|&&index| index as usize >= vertices) {
            let (index, count) = (u64::from(index), vertices as u64);
            return Err(Fault::new(place, Problem::IndexOutOfRange { what: "vertex", index, count }));
        }
        if mode == Mode::Triangles && !indices.len().is_multiple_of(3) {
            warnings.push(format!("{place} end within a triangle; it is left out"));
        }
        let mut triangles = assemble(mode, &indices);
        // Strips are joined by triangles without area.
        triangles.retain(|[a, b, c]| a != b && b != c && c != a);
        Ok(triangles)
    }

    fn fill_uvs(
        &self,
        mesh: &mut Mesh,
        needed: impl Iterator<Item = u32>,
        warnings: &mut Warnings,
    ) -> Result<(), Fault> {
        let vertices = mesh.positions.len();
        for set in 0..2 {
            let uvs = self.floats(Semantic::TexCoords(set), vertices, "texture coordinates")?;
            let uvs = uvs.unwrap_or_default();
            mesh.uvs[set as usize] = uvs.into_iter().map(Vec2::from).collect();
        }
        for set in needed {
            if mesh.uvs[set as usize].is_empty() {
                mesh.uvs[set as usize] = vec![Vec2::ZERO; vertices];
                warnings.push(format!(
                    "{} has no TEXCOORD_{set}, which its material's textures need; zeros are used",
                    self.place
                ));
            }
        }
        Ok(())
    }

    fn fill_colors(&self, mesh: &mut Mesh) -> Result<(), Fault> {
        let Some((accessor, place)) = self.accessor(Semantic::Colors(0)) else {
            return Ok(());
        };
        let accessors = &self.context.accessors;
        let colors: Vec<Vec4> = if accessors.components(accessor, &place)? == 3 {
            let values = accessors.floats(accessor, &place, Integers::Normalized)?;
            values.into_iter().map(|rgb| Vec3::from(rgb).extend(1.0)).collect()
        } else {
            let values = accessors.floats(accessor, &place, Integers::Normalized)?;
            values.into_iter().map(Vec4::from).collect()
        };
        self.count("colours", colors.len(), mesh.positions.len(), &place)?;
        mesh.colors = colors.into_iter().map(|color| color.clamp(Vec4::ZERO, Vec4::ONE)).collect();
        Ok(())
    }

    /// Fills in the normals; says whether the file had any.
    fn fill_normals(&self, mesh: &mut Mesh, warnings: &mut Warnings) -> Result<bool, Fault> {
        let Some(normals) = self.floats(Semantic::Normals, mesh.positions.len(), "normals")? else {
            return Ok(false);
        };
        let normals: Vec<_> = normals.into_iter().map(|normal| tangents::unit(Vec3::from(normal))).collect();
        let missing = normals.iter().filter(|normal| normal.is_none()).count();
        mesh.normals = normals.iter().map(|normal| normal.unwrap_or(Vec3::Y)).collect();
        if missing > 0 {
            warnings.push(format!("{}: {missing} normals have no direction; flat ones are used", self.place));
            for &triangle in &mesh.triangles {
                let flat = vertices::face_normal(vertices::corners(mesh, triangle));
                for vertex in triangle.map(|vertex| vertex as usize) {
                    if normals[vertex].is_none() {
                        mesh.normals[vertex] = flat;
                    }
                }
            }
        }
        Ok(true)
    }

    /// Fills in the file's tangents; says whether there were any.
    fn fill_tangents(&self, mesh: &mut Mesh) -> Result<bool, Fault> {
        let Some(values) = self.floats(Semantic::Tangents, mesh.positions.len(), "tangents")? else {
            return Ok(false);
        };
        mesh.tangents = values.into_iter().map(Vec4::from).collect();
        tangents::repair(mesh);
        Ok(true)
    }
}

/// Triangles of a list, a strip or a fan (glTF 2.0, section 3.7.2.1).
fn assemble(mode: Mode, indices: &[u32]) -> Vec<[u32; 3]> {
    let triple = |[a, b, c]: [usize; 3]| [indices[a], indices[b], indices[c]];
    let count = indices.len().saturating_sub(2);
    match mode {
        Mode::TriangleStrip => (0..count).map(|i| triple([i, i + 1 + i % 2, i + 2 - i % 2])).collect(),
        Mode::TriangleFan => (0..count).map(|i| triple([i + 1, i + 2, 0])).collect(),
        _ => indices.chunks_exact(3).map(|corners| [corners[0], corners[1], corners[2]]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_and_fans_keep_their_winding() {
        assert_eq!(assemble(Mode::TriangleStrip, &[5, 6, 7, 8]), [[5, 6, 7], [6, 8, 7]]);
        assert_eq!(assemble(Mode::TriangleFan, &[5, 6, 7, 8]), [[6, 7, 5], [7, 8, 5]]);
        assert_eq!(assemble(Mode::Triangles, &[5, 6, 7, 8]), [[5, 6, 7]]);
        assert!(assemble(Mode::TriangleStrip, &[5]).is_empty());
    }
}
