//! Skins: meshes whose vertices follow joints, straight into world space (glTF
//! 2.0, section 3.7.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use glam::{DAffine3, DMat3, DVec3};
use gltf::json;
use json::mesh::{Primitive, Semantic};
use json::validation::Checked;

use super::accessors::Integers;
use super::{Context, named, tangents};
use crate::error::{Fault, Problem};
use crate::load::Warnings;
use crate::scene::Mesh;
use crate::validate::at_most;

/// How far the last row of an inverse bind matrix may be from (0, 0, 0, 1):
/// what inverting a matrix in f32 leaves, and no perspective.
const ROW_TOLERANCE: f64 = 1e-3;

/// For each joint of a skin, what carries a vertex from where it was bound to
/// the world.
pub(super) type Joints = Arc<[DAffine3]>;

/// The skins that the scene uses, each read once.
#[derive(Debug, Default)]
pub(super) struct SkinTable {
    skins: BTreeMap<usize, Joints>,
    joints: u64,
}

impl SkinTable {
    /// The joints of a skin; `world` has the transforms of the nodes that are in
    /// the scene.
    pub(super) fn joints(
        &mut self,
        context: &Context<'_>,
        index: usize,
        world: &[Option<DAffine3>],
        place: &str,
    ) -> Result<Joints, Fault> {
        if let Some(joints) = self.skins.get(&index) {
            return Ok(Arc::clone(joints));
        }
        let skin = named(&context.root.skins, index, "skin", place)?;
        let place = format!("skins[{index}]");
        let inverses = self.inverses(context, skin, &place)?;
        let carry = |(i, joint): (usize, &json::Index<json::Node>)| {
            let place = format!("{place}.joints[{i}]");
            let node = joint.value();
            let joint = named(world, node, "node", &place)?.ok_or_else(|| {
                Fault::new(
                    &place,
                    Problem::Malformed(format!("joint {node} is not a node of the scene that is shown")),
                )
            })?;
            let carried = inverses.as_ref().map_or(joint, |inverses| joint * inverses[i]);
            let problem = || Problem::Malformed("its matrix is not finite".to_owned());
            carried.is_finite().then_some(carried).ok_or_else(|| Fault::new(place, problem()))
        };
        let joints: Joints = skin.joints.iter().enumerate().map(carry).collect::<Result<_, _>>()?;
        self.skins.insert(index, Arc::clone(&joints));
        Ok(joints)
    }

    fn inverses(
        &mut self,
        context: &Context<'_>,
        skin: &json::Skin,
        place: &str,
    ) -> Result<Option<Vec<DAffine3>>, Fault> {
        let count = skin.joints.len() as u64;
        if count == 0 {
            return Err(Fault::new(place, Problem::Missing("a joint")));
        }
        let matrices = match skin.inverse_bind_matrices {
            Some(accessor) => context.accessors.count(accessor.value(), place)?,
            None => count,
        };
        self.joints = self.joints.saturating_add(matrices.max(count));
        at_most("joints of all skins", self.joints, context.limits.joints)
            .map_err(|problem| Fault::new(place, problem))?;
        let Some(accessor) = skin.inverse_bind_matrices else { return Ok(None) };
        let place = format!("{place}.inverseBindMatrices");
        if matrices < count {
            let text = format!("{matrices} matrices for {count} joints");
            return Err(Fault::new(place, Problem::Malformed(text)));
        }
        let matrices = context.accessors.floats::<16>(accessor.value(), &place, Integers::AsStated)?;
        let affine = |(i, matrix): (usize, [f32; 16])| {
            let [x, y, z, w] = [0, 4, 8, 12].map(|at| [0, 1, 2, 3].map(|row| f64::from(matrix[at + row])));
            let row = [x[3], y[3], z[3], w[3] - 1.0];
            if row.iter().any(|x| x.abs() > ROW_TOLERANCE) {
                let text = format!("the last row of matrix {i} is not (0, 0, 0, 1)");
                return Err(Fault::new(&place, Problem::Malformed(text)));
            }
            let [x, y, z, w] = [x, y, z, w].map(|column| DVec3::new(column[0], column[1], column[2]));
            Ok(DAffine3::from_cols(x, y, z, w))
        };
        matrices.into_iter().enumerate().map(affine).collect::<Result<_, _>>().map(Some)
    }
}

/// Which joints move each vertex of a primitive, and how much of it: sets of
/// four.
struct Influences {
    joints: Vec<Vec<[u32; 4]>>,
    weights: Vec<Vec<[f32; 4]>>,
}

/// Whether a primitive says which joints move it.
pub(super) fn has_influences(primitive: &Primitive) -> bool {
    primitive.attributes.contains_key(&Checked::Valid(Semantic::Joints(0)))
}

/// Carries the vertices of a primitive into the world; `influences` counts the
/// work.
pub(super) fn apply(
    context: &Context<'_>,
    primitive: &Primitive,
    joints: &[DAffine3],
    mesh: &mut Mesh,
    place: &str,
    (influences, warnings): (&mut u64, &mut Warnings),
) -> Result<(), Fault> {
    let sets = read(context, primitive, mesh.positions.len(), place, influences)?;
    let (mut loose, mut mirrored) = (0_usize, 0_usize);
    for vertex in 0..mesh.positions.len() {
        let (sum, weight) = sets.blend(joints, vertex, place)?;
        let carried = if weight > 0.0 {
            DAffine3 { matrix3: sum.matrix3 * (1.0 / weight), translation: sum.translation / weight }
        } else {
            loose += 1;
            joints[0]
        };
        mirrored += usize::from(carry(mesh, vertex, &carried));
    }
    if loose > 0 {
        warnings.push(format!("{place}: {loose} vertices follow no joint; they follow the skin's first"));
    }
    if mirrored * 2 > mesh.positions.len() {
        mesh.triangles.iter_mut().for_each(|triangle| triangle.swap(1, 2));
    }
    Ok(())
}

fn read(
    context: &Context<'_>,
    primitive: &Primitive,
    vertices: usize,
    place: &str,
    influences: &mut u64,
) -> Result<Influences, Fault> {
    let mut read = Influences { joints: Vec::new(), weights: Vec::new() };
    for set in 0.. {
        let Some(joints) = primitive.attributes.get(&Checked::Valid(Semantic::Joints(set))) else { break };
        let place = |name: &str| format!("{place}.attributes.{name}_{set}");
        let (joints_place, weights_place) = (place("JOINTS"), place("WEIGHTS"));
        let weights = primitive.attributes.get(&Checked::Valid(Semantic::Weights(set)));
        let weights = weights.ok_or_else(|| {
            Fault::new(&joints_place, Problem::Missing("the attribute WEIGHTS of the same number"))
        })?;
        *influences += 4 * vertices as u64;
        at_most("influences of joints on vertices", *influences, context.limits.influences)
            .map_err(|problem| Fault::new(&joints_place, problem))?;
        for (accessor, place, what) in
            [(joints, &joints_place, "joints"), (weights, &weights_place, "weights")]
        {
            let (found, expected) = (context.accessors.count(accessor.value(), place)?, vertices as u64);
            if found != expected {
                return Err(Fault::new(place, Problem::CountMismatch { what, found, expected }));
            }
        }
        read.joints.push(context.accessors.unsigned(joints.value(), &joints_place)?);
        let values = context.accessors.floats::<4>(weights.value(), &weights_place, Integers::Normalized)?;
        if let Some(&weight) = values.as_flattened().iter().find(|&&weight| weight < 0.0) {
            let value = f64::from(weight);
            let problem = Problem::OutOfDomain { what: "a weight", value, expected: "0 or more" };
            return Err(Fault::new(weights_place, problem));
        }
        read.weights.push(values);
    }
    Ok(read)
}

impl Influences {
    /// The weighted sum of a vertex's matrices, and the sum of the weights.
    fn blend(&self, joints: &[DAffine3], vertex: usize, place: &str) -> Result<(DAffine3, f64), Fault> {
        let mut sum = DAffine3 { matrix3: DMat3::ZERO, translation: DVec3::ZERO };
        let mut total = 0.0;
        for (set, (indices, weights)) in self.joints.iter().zip(&self.weights).enumerate() {
            for (&index, &weight) in indices[vertex].iter().zip(&weights[vertex]) {
                // What has no weight may name anything.
                if weight == 0.0 {
                    continue;
                }
                let joint = joints.get(index as usize).ok_or_else(|| {
                    let (index, count) = (u64::from(index), joints.len() as u64);
                    let place = format!("{place}.attributes.JOINTS_{set}");
                    Fault::new(place, Problem::IndexOutOfRange { what: "joint", index, count })
                })?;
                let weight = f64::from(weight);
                sum.matrix3 += joint.matrix3 * weight;
                sum.translation += joint.translation * weight;
                total += weight;
            }
        }
        Ok((sum, total))
    }
}

/// Carries one vertex; says whether it was mirrored.
fn carry(mesh: &mut Mesh, vertex: usize, by: &DAffine3) -> bool {
    let DMat3 { x_axis: x, y_axis: y, z_axis: z } = by.matrix3;
    let position = &mut mesh.positions[vertex];
    *position = by.transform_point3(position.as_dvec3()).as_vec3();
    let determinant = x.dot(y.cross(z));
    let is_mirrored = determinant < 0.0;
    if let Some(normal) = mesh.normals.get_mut(vertex) {
        // The inverse transpose without the division, which only scales: the
        // cofactors, and the determinant's sign.
        let cofactors = DMat3::from_cols(y.cross(z), z.cross(x), x.cross(y));
        let carried = cofactors * normal.as_dvec3();
        *normal = tangents::unit_of(if is_mirrored { -carried } else { carried }).unwrap_or(*normal);
    }
    if let Some(tangent) = mesh.tangents.get_mut(vertex) {
        let carried = by.matrix3 * tangent.truncate().as_dvec3();
        let direction = tangents::unit_of(carried).unwrap_or(tangent.truncate());
        *tangent = direction.extend(if is_mirrored { -tangent.w } else { tangent.w });
    }
    is_mirrored
}
