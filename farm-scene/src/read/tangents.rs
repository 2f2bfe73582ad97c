//! Tangents for normal maps, by the MikkTSpace algorithm, which glTF 2.0
//! (section 3.7.2.1) names for meshes that bring none.

use glam::{DVec3, Vec2, Vec3, Vec4};

use super::vertices;
use crate::scene::{Mesh, TextureSlot};

/// A mesh of unwelded vertices as the algorithm sees it: without triangles of
/// which two corners are one point, on which `mikktspace` 0.3 reads beyond its
/// arrays.
struct Corners<'a> {
    mesh: &'a Mesh,
    faces: Vec<usize>,
    uvs: Vec<Vec2>,
    tangents: Vec<Vec4>,
}

impl mikktspace::Geometry for Corners<'_> {
    fn num_faces(&self) -> usize {
        self.faces.len()
    }

    fn num_vertices_of_face(&self, _face: usize) -> usize {
        3
    }

    fn position(&self, face: usize, corner: usize) -> [f32; 3] {
        self.mesh.positions[3 * self.faces[face] + corner].to_array()
    }

    fn normal(&self, face: usize, corner: usize) -> [f32; 3] {
        self.mesh.normals[3 * self.faces[face] + corner].to_array()
    }

    fn tex_coord(&self, face: usize, corner: usize) -> [f32; 2] {
        self.uvs[3 * self.faces[face] + corner].to_array()
    }

    fn set_tangent_encoded(&mut self, tangent: [f32; 4], face: usize, corner: usize) {
        // The algorithm's v axis points up, glTF's down.
        let [x, y, z, sign] = tangent;
        self.tangents[3 * self.faces[face] + corner] = Vec4::new(x, y, z, -sign);
    }
}

/// Gives the mesh tangents along the u axis of a normal map's coordinates,
/// splitting vertices where they differ.
pub(super) fn generate(mesh: &mut Mesh, slot: &TextureSlot) {
    vertices::unweld(mesh);
    let [row_u, row_v] = slot.transform;
    let place = |uv: &Vec2| Vec2::new(row_u.dot(uv.extend(1.0)), row_v.dot(uv.extend(1.0)));
    let uvs = mesh.uvs[slot.uv_set as usize].iter().map(place).collect();
    let is_degenerate = |face: &usize| {
        let [a, b, c] = vertices::corners(mesh, mesh.triangles[*face]);
        a == b || b == c || c == a
    };
    let faces = (0..mesh.triangles.len()).filter(|face| !is_degenerate(face)).collect();
    let mut corners = Corners { mesh, faces, uvs, tangents: vec![Vec4::ZERO; mesh.positions.len()] };
    // It fails only for meshes without faces; whatever it leaves out keeps a
    // zero, which `repair` replaces.
    let _ = mikktspace::generate_tangents(&mut corners);
    mesh.tangents = corners.tangents;
    repair(mesh);
    vertices::weld(mesh);
}

/// Makes every tangent of unit length with a sign of ±1, and replaces those
/// that point nowhere.
pub(super) fn repair(mesh: &mut Mesh) {
    for (tangent, &normal) in mesh.tangents.iter_mut().zip(&mesh.normals) {
        let direction = unit(tangent.truncate()).unwrap_or_else(|| normal.any_orthonormal_vector());
        *tangent = direction.extend(if tangent.w < 0.0 { -1.0 } else { 1.0 });
    }
}

/// The unit vector in a direction, if it has one.
pub(super) fn unit(vector: Vec3) -> Option<Vec3> {
    vector.is_finite().then(|| unit_of(vector.as_dvec3())).flatten()
}

/// The unit vector in a direction of higher precision, if it has one.
pub(super) fn unit_of(vector: DVec3) -> Option<Vec3> {
    vector.try_normalize().map(|unit| unit.as_vec3())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::load::{LoadOptions, load};

    /// Tangents of the same corners, theirs and ours: whether they agree.
    fn agreement(mesh: &Mesh, slot: &TextureSlot) -> (usize, usize) {
        let mut generated = mesh.clone();
        generate(&mut generated, slot);
        let corners = mesh.triangles.as_flattened().iter().zip(generated.triangles.as_flattened());
        let agree = corners.filter(|&(&theirs, &ours)| {
            let (theirs, ours) = (mesh.tangents[theirs as usize], generated.tangents[ours as usize]);
            theirs.w == ours.w && theirs.truncate().dot(ours.truncate()) > 0.95
        });
        (agree.count(), mesh.triangles.len() * 3)
    }

    /// A model made by others brings tangents; those generated must agree. The
    /// test says nothing where the model is not there.
    #[test]
    fn generated_tangents_agree_with_those_of_the_flight_helmet() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for place in ["../shared/assets", "../../shared/assets"] {
            let path = workspace.join(place).join("FlightHelmet/FlightHelmet.gltf");
            if !path.exists() {
                continue;
            }
            let scene = load(&path, &LoadOptions::default()).expect("the model is valid").scene;
            let (mut close, mut all) = (0, 0);
            for mesh in &scene.meshes {
                let slot = scene.materials[mesh.material as usize].normal_texture;
                let (agree, corners) = agreement(mesh, &slot.expect("all its materials have normal maps"));
                close += agree;
                all += corners;
            }
            assert!(close > all / 100 * 95, "{close} of {all} agree");
        }
    }
}
