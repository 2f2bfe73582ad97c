//! How a scene moves while the shutter is open: what the file shows at the ends of
//! the parts of that time, told apart by where it comes from in the file.

use std::collections::BTreeMap;

use glam::Affine3A;

use super::vertices;
use crate::load::Warnings;
use crate::scene::{Mesh, Motion, Scene, Shape, Track};

/// Where the things of a scene come from in the file, in the scene's order.
#[derive(Debug, Default)]
pub(super) struct Origins {
    pub(super) instances: Vec<Origin>,
    /// Nodes.
    pub(super) cameras: Vec<usize>,
}

/// Where an instance comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    pub(super) node: usize,
    /// Which of the node's instances it is.
    pub(super) placement: usize,
    /// Which of its mesh's primitives that have triangles.
    pub(super) primitive: usize,
    pub(super) mirrored: bool,
}

/// Follows a scene through the shutter's time.
pub(super) struct Recorder<'a> {
    scene: &'a Scene,
    origins: &'a Origins,
    /// The meshes that differ from the scene's.
    deformed: Vec<Mesh>,
    /// For each part of the time how things are at its end.
    ends: Vec<End>,
    vanished: bool,
}

/// How things are at the end of a part.
struct End {
    /// For each instance its transform, and which of the deformed meshes it
    /// shows; `None` for its mesh as it is in the scene.
    instances: Vec<(Affine3A, Option<usize>)>,
    cameras: Vec<Affine3A>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(scene: &'a Scene, origins: &'a Origins) -> Self {
        Self { scene, origins, deformed: Vec::new(), ends: Vec::new(), vanished: false }
    }

    /// Takes down how things are at the end of the next part. What is not there
    /// any more stays as it was.
    pub(super) fn record(&mut self, later: &Scene, origins: &Origins) {
        let before = self.ends.last();
        let before_instance = |index: usize| {
            before.map_or((self.scene.instances[index].transform, None), |end| end.instances[index])
        };
        let places: BTreeMap<Origin, usize> = origins.instances.iter().copied().zip(0..).collect();
        let mut known = BTreeMap::new();
        let mut instances = Vec::with_capacity(self.scene.instances.len());
        for (index, origin) in self.origins.instances.iter().enumerate() {
            let Some(&place) = places.get(origin) else {
                instances.push(before_instance(index));
                self.vanished = true;
                continue;
            };
            let (instance, other) = (&self.scene.instances[index], &later.instances[place]);
            let deformed = *known.entry((instance.mesh, other.mesh)).or_insert_with(|| {
                let mesh = &later.meshes[other.mesh as usize];
                (!has_same_shape(&self.scene.meshes[instance.mesh as usize], mesh)).then(|| {
                    self.deformed.push(shape_alone(mesh));
                    self.deformed.len() - 1
                })
            });
            instances.push((other.transform, deformed));
        }
        let camera = |(index, node): (usize, &usize)| {
            let place = origins.cameras.iter().position(|other| other == node);
            let still = || before.map_or(self.scene.cameras[index].transform, |end| end.cameras[index]);
            place.map_or_else(still, |place| later.cameras[place].transform)
        };
        let cameras = self.origins.cameras.iter().enumerate().map(camera).collect();
        self.ends.push(End { instances, cameras });
    }

    /// The meshes, which of them each instance shows, and what else moves.
    pub(super) fn finish(self, warnings: &mut Warnings) -> Recording {
        if self.vanished {
            warnings.push(
                "something vanishes while the shutter is open; it is shown as it was until the shutter closes",
            );
        }
        let tracks =
            |count: usize, still: &dyn Fn(usize) -> Affine3A, at: &dyn Fn(&End, usize) -> Affine3A| {
                let track = |index: usize| {
                    let transforms: Vec<_> = self.ends.iter().map(|end| at(end, index)).collect();
                    let moves = transforms.iter().any(|transform| *transform != still(index));
                    moves.then(|| Track { index: word(index), transforms })
                };
                (0..count).filter_map(track).collect::<Vec<_>>()
            };
        let scene = self.scene;
        let instances =
            tracks(scene.instances.len(), &|i| scene.instances[i].transform, &|end, i| end.instances[i].0);
        let cameras =
            tracks(self.origins.cameras.len(), &|i| scene.cameras[i].transform, &|end, i| end.cameras[i]);
        let (meshes, shown) = self.meshes(warnings);
        let is_still =
            instances.is_empty() && cameras.is_empty() && meshes.iter().all(|mesh| mesh.motion.is_empty());
        let parts = if is_still { 0 } else { word(self.ends.len()) };
        Recording { meshes, shown, motion: Motion { parts, instances, cameras } }
    }

    /// The meshes in the order of their first use, and the one that each instance
    /// shows: instances that are deformed alike share one.
    fn meshes(&self, warnings: &mut Warnings) -> (Vec<Mesh>, Vec<u32>) {
        let (mut meshes, mut shown) = (Vec::new(), Vec::with_capacity(self.scene.instances.len()));
        let mut known: BTreeMap<(u32, Vec<Option<usize>>), u32> = BTreeMap::new();
        for (index, instance) in self.scene.instances.iter().enumerate() {
            let shapes: Vec<Option<usize>> = self.ends.iter().map(|end| end.instances[index].1).collect();
            let mesh = *known.entry((instance.mesh, shapes)).or_insert_with_key(|(mesh, shapes)| {
                let mesh = &self.scene.meshes[*mesh as usize];
                meshes.push(self.deformed(mesh, shapes, warnings));
                word(meshes.len() - 1)
            });
            shown.push(mesh);
        }
        (meshes, shown)
    }

    /// A mesh with its shapes at the ends of the parts.
    fn deformed(&self, mesh: &Mesh, shapes: &[Option<usize>], warnings: &mut Warnings) -> Mesh {
        let mut mesh = mesh.clone();
        if shapes.iter().all(Option::is_none) {
            return mesh;
        }
        let shape_of =
            |shape: &Option<usize>| shape.map_or_else(|| shape_alone(&mesh), |i| self.deformed[i].clone());
        let mut shapes: Vec<Mesh> = shapes.iter().map(shape_of).collect();
        if shapes.iter().any(|shape| shape.triangles.len() != mesh.triangles.len()) {
            warnings.push("a mesh has other triangles while the shutter is open; it is shown without blur");
            return mesh;
        }
        // Tangents that were generated part vertices differently from time to time.
        if shapes.iter().any(|shape| !has_same_vertices(shape, &mesh)) {
            vertices::unweld(&mut mesh);
            shapes.iter_mut().for_each(vertices::unweld);
        }
        let shape = |Mesh { positions, normals, tangents, .. }| Shape { positions, normals, tangents };
        mesh.motion = shapes.into_iter().map(shape).collect();
        mesh
    }
}

/// What a [`Recorder`] found.
pub(super) struct Recording {
    pub(super) meshes: Vec<Mesh>,
    /// The mesh of each instance.
    pub(super) shown: Vec<u32>,
    pub(super) motion: Motion,
}

fn has_same_shape(mesh: &Mesh, other: &Mesh) -> bool {
    mesh.triangles == other.triangles
        && mesh.positions == other.positions
        && mesh.normals == other.normals
        && mesh.tangents == other.tangents
}

fn has_same_vertices(mesh: &Mesh, other: &Mesh) -> bool {
    mesh.triangles == other.triangles && mesh.positions.len() == other.positions.len()
}

/// A mesh without what deforming does not change.
fn shape_alone(mesh: &Mesh) -> Mesh {
    Mesh {
        positions: mesh.positions.clone(),
        normals: mesh.normals.clone(),
        tangents: mesh.tangents.clone(),
        triangles: mesh.triangles.clone(),
        ..Mesh::default()
    }
}

fn word(index: usize) -> u32 {
    u32::try_from(index).expect("limits keep counts below 2^32")
}
