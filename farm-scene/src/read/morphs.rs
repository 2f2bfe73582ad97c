//! Morph targets: displacements of a mesh's vertices, by weights.

use glam::{DVec3, Vec3};
use gltf::json;
use json::mesh::Primitive;

use super::accessors::Integers;
use super::animations::NodePose;
use super::{Context, tangents};
use crate::error::{Fault, Problem};
use crate::scene::Mesh;
use crate::validate::at_most;

/// The number of a mesh's morph targets, which all its primitives share.
pub(super) fn targets(mesh: &json::Mesh, index: usize) -> Result<usize, Fault> {
    let of = |primitive: &Primitive| primitive.targets.as_ref().map_or(0, Vec::len);
    let count = mesh.primitives.first().map_or(0, of);
    if let Some(i) = mesh.primitives.iter().position(|primitive| of(primitive) != count) {
        let text = format!("{} morph targets, but the first primitive has {count}", of(&mesh.primitives[i]));
        return Err(Fault::new(format!("meshes[{index}].primitives[{i}]"), Problem::Malformed(text)));
    }
    Ok(count)
}

/// The weights of a node's mesh: those of the animation, else the node's, else
/// the mesh's, else zeros. Empty where all are zero.
pub(super) fn weights(
    mesh: (&json::Mesh, usize),
    node: &json::Node,
    pose: Option<&NodePose>,
    place: &str,
) -> Result<Vec<f64>, Fault> {
    let (mesh, index) = mesh;
    let count = targets(mesh, index)?;
    let stated = |weights: &Vec<f32>, place: &str| {
        if weights.len() != count {
            let text = format!("{} weights for {count} morph targets", weights.len());
            return Err(Fault::new(place, Problem::Malformed(text)));
        }
        crate::validate::finite(weights.iter().map(|&weight| [weight]))
            .map_err(|problem| Fault::new(place, problem))?;
        Ok(weights.iter().map(|&weight| f64::from(weight)).collect())
    };
    // An animation's weights are as many as there are targets, which
    // `animations` checks.
    let weights: Vec<f64> = match (pose.and_then(|pose| pose.weights.as_ref()), &node.weights, &mesh.weights)
    {
        (Some(weights), _, _) => weights.clone(),
        (None, Some(weights), _) => stated(weights, &format!("{place}.weights"))?,
        (None, None, Some(weights)) => stated(weights, &format!("meshes[{index}].weights"))?,
        (None, None, None) => Vec::new(),
    };
    Ok(if weights.iter().all(|&weight| weight == 0.0) { Vec::new() } else { weights })
}

/// Displaces the vertices of a primitive; `displaced` counts the work. Targets
/// of colours and texture coordinates are not among what is read.
pub(super) fn apply(
    context: &Context<'_>,
    primitive: &Primitive,
    weights: &[f64],
    mesh: &mut Mesh,
    place: &str,
    displaced: &mut u64,
) -> Result<(), Fault> {
    let Some(targets) = &primitive.targets else { return Ok(()) };
    let mut positions: Vec<DVec3> = mesh.positions.iter().map(|position| position.as_dvec3()).collect();
    let mut normals: Vec<DVec3> = mesh.normals.iter().map(|normal| normal.as_dvec3()).collect();
    let mut along: Vec<DVec3> = mesh.tangents.iter().map(|tangent| tangent.truncate().as_dvec3()).collect();
    for (i, (target, &weight)) in targets.iter().zip(weights).enumerate() {
        if weight == 0.0 {
            continue;
        }
        let attributes = [
            ("POSITION", target.positions, &mut positions),
            ("NORMAL", target.normals, &mut normals),
            ("TANGENT", target.tangents, &mut along),
        ];
        for (name, accessor, values) in attributes {
            let Some(accessor) = accessor.filter(|_| !values.is_empty()) else { continue };
            let place = format!("{place}.targets[{i}].{name}");
            *displaced += values.len() as u64;
            at_most("displacements by morph targets", *displaced, context.limits.displacements)
                .map_err(|problem| Fault::new(&place, problem))?;
            add(context, accessor.value(), weight, values, &place)?;
        }
    }
    mesh.positions = positions.iter().map(|position| position.as_vec3()).collect();
    for (normal, displaced) in mesh.normals.iter_mut().zip(normals) {
        *normal = tangents::unit_of(displaced).unwrap_or(*normal);
    }
    for (tangent, displaced) in mesh.tangents.iter_mut().zip(along) {
        let direction: Vec3 = tangents::unit_of(displaced).unwrap_or(tangent.truncate());
        *tangent = direction.extend(tangent.w);
    }
    Ok(())
}

fn add(
    context: &Context<'_>,
    accessor: usize,
    weight: f64,
    values: &mut [DVec3],
    place: &str,
) -> Result<(), Fault> {
    let count = context.accessors.count(accessor, place)?;
    if count != values.len() as u64 {
        let (found, expected) = (count, values.len() as u64);
        return Err(Fault::new(place, Problem::CountMismatch { what: "displacements", found, expected }));
    }
    let deltas = context.accessors.floats::<3>(accessor, place, Integers::AsStated)?;
    for (value, delta) in values.iter_mut().zip(deltas) {
        *value += DVec3::from_array(delta.map(f64::from)) * weight;
    }
    Ok(())
}
