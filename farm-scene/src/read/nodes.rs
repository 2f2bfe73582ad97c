//! The node hierarchy, flattened: what each node carries, in world space.
//!
//! Transforms are multiplied in f64 and rounded once. That is more exact than
//! f32, and glam's f64 types have no SIMD variants, so every machine gets the
//! same bits.

use glam::{Affine3A, DAffine3, DMat4, DVec3};
use gltf::json;

use super::accessors::Integers;
use super::animations::{NodePose, Pose};
use super::curves::unit_rotation;
use super::images::ImageTable;
use super::meshes::{Deformation, KeptMeshes, MeshTable};
use super::motion::{Origin, Origins};
use super::skins::{self, SkinTable};
use super::{Context, cameras, lights, morphs, named, short_name};
use crate::error::{Fault, Problem};
use crate::load::Warnings;
use crate::scene::{Instance, Scene};
use crate::validate::{at_most, keeps_orientation};

/// Reads the scene's nodes, as a pose has them, and all that they use, and where
/// it comes from. The images are yet to be decoded.
pub(super) fn read(
    context: &Context<'_>,
    pose: &Pose,
    kept: &mut Option<KeptMeshes>,
    warnings: &mut Warnings,
) -> Result<(Scene, Origins, ImageTable), Fault> {
    let root = context.root;
    at_most("nodes", root.nodes.len() as u64, context.limits.nodes).map_err(|p| Fault::new("nodes", p))?;
    let mut reader = Reader {
        context,
        pose,
        scene: Scene::default(),
        origins: Origins::default(),
        meshes: MeshTable::default(),
        skins: SkinTable::default(),
        world: vec![None; root.nodes.len()],
        kept,
        warnings,
    };
    for index in reader.place_nodes()? {
        reader.visit(index)?;
    }
    let Reader { mut scene, origins, meshes, .. } = reader;
    scene.meshes = meshes.meshes;
    scene.materials = meshes.materials.materials;
    scene.textures = meshes.materials.textures;
    Ok((scene, origins, meshes.materials.images))
}

struct Reader<'a, 'w> {
    context: &'a Context<'a>,
    pose: &'a Pose,
    scene: Scene,
    origins: Origins,
    meshes: MeshTable,
    skins: SkinTable,
    /// Where each node of the scene is.
    world: Vec<Option<DAffine3>>,
    kept: &'w mut Option<KeptMeshes>,
    warnings: &'w mut Warnings,
}

impl Reader<'_, '_> {
    /// Finds where each node of the scene is, for skins may name any of them;
    /// the nodes in the order of the file's trees.
    fn place_nodes(&mut self) -> Result<Vec<usize>, Fault> {
        let nodes = &self.context.root.nodes;
        let (roots, place) = self.roots()?;
        let mut open: Vec<(usize, DAffine3, String)> =
            roots.into_iter().rev().map(|node| (node, DAffine3::IDENTITY, place.clone())).collect();
        let mut order = Vec::new();
        while let Some((index, parent, named_at)) = open.pop() {
            let node = named(nodes, index, "node", &named_at)?;
            if self.world[index].is_some() {
                return Err(Fault::new(named_at, Problem::NotATree { node: index as u64 }));
            }
            let place = format!("nodes[{index}]");
            let transform = parent * local_transform(node, self.pose.get(&index), &place)?;
            if !transform.is_finite() {
                return Err(Fault::new(place, Problem::Malformed("its transform is not finite".to_owned())));
            }
            self.world[index] = Some(transform);
            order.push(index);
            let children = node.children.iter().flatten().rev();
            open.extend(children.map(|child| (child.value(), transform, format!("{place}.children"))));
        }
        Ok(order)
    }

    /// The nodes where the scene begins, and where the file names them.
    fn roots(&mut self) -> Result<(Vec<usize>, String), Fault> {
        let root = self.context.root;
        if root.scenes.is_empty() && root.scene.is_none() {
            let mut is_child = vec![false; root.nodes.len()];
            for child in root.nodes.iter().flat_map(|node| node.children.iter().flatten()) {
                if let Some(is_child) = is_child.get_mut(child.value()) {
                    *is_child = true;
                }
            }
            let roots: Vec<usize> = (0..root.nodes.len()).filter(|&node| !is_child[node]).collect();
            if roots.is_empty() && !root.nodes.is_empty() {
                return Err(Fault::new("nodes", Problem::NotATree { node: 0 }));
            }
            return Ok((roots, "nodes".to_owned()));
        }
        let index = root.scene.map_or(0, |scene| scene.value());
        let scene = named(&root.scenes, index, "scene", "scene")?;
        if root.scenes.len() > 1 {
            let name = scene.name.as_deref().unwrap_or("without a name");
            let (name, count) = (short_name(name, self.context.limits), root.scenes.len());
            self.warnings.push(format!("the file holds {count} scenes; scene {index} ({name}) is shown"));
        }
        let nodes = scene.nodes.iter().map(|node| node.value()).collect();
        Ok((nodes, format!("scenes[{index}].nodes")))
    }

    /// Takes what a node carries into the scene.
    fn visit(&mut self, index: usize) -> Result<(), Fault> {
        let (node, limits) = (&self.context.root.nodes[index], self.context.limits);
        let (transform, place) = (self.world[index].unwrap_or_default(), &*format!("nodes[{index}]"));
        if let Some(camera) = node.camera {
            let file = named(&self.context.root.cameras, camera.value(), "camera", place)?;
            let name = node.name.as_deref().or(file.name.as_deref());
            let name = name.map_or_else(
                || format!("camera {}", self.scene.cameras.len()),
                |name| short_name(name, limits),
            );
            let camera = cameras::read(file, &name, transform, place, self.warnings)?;
            at_most("cameras", self.scene.cameras.len() as u64 + 1, limits.cameras)
                .map_err(|problem| Fault::new(place, problem))?;
            self.origins.cameras.extend(camera.is_some().then_some(index));
            self.scene.cameras.extend(camera.map(|camera| cameras::unique(camera, &self.scene.cameras)));
        }
        if let Some(light) = node.extensions.as_ref().and_then(|e| e.khr_lights_punctual.as_ref()) {
            at_most("lights", self.scene.lights.len() as u64 + 1, limits.lights)
                .map_err(|problem| Fault::new(place, problem))?;
            let light = lights::read(self.context, light.light.value(), transform, place, self.warnings)?;
            self.scene.lights.extend(light);
        }
        if let Some(mesh) = node.mesh {
            let mesh = mesh.value();
            let deformation = self.deformation(index, mesh, place)?;
            if deformation.skin.is_some() {
                // A skin carries its vertices into the world, whatever its
                // node's transform (glTF 2.0, section 3.7.3.3).
                return self.place_mesh((mesh, &deformation), DAffine3::IDENTITY, (index, 0));
            }
            for (placement, transform) in self.placements(node, transform, place)?.into_iter().enumerate() {
                self.place_mesh((mesh, &deformation), transform, (index, placement))?;
            }
        }
        Ok(())
    }

    /// How a node's mesh is deformed.
    fn deformation(&mut self, index: usize, mesh: usize, place: &str) -> Result<Deformation, Fault> {
        let node = &self.context.root.nodes[index];
        let file = named(&self.context.root.meshes, mesh, "mesh", place)?;
        let weights = morphs::weights((file, mesh), node, self.pose.get(&index), place)?;
        let Some(skin) = node.skin else { return Ok(Deformation { weights, skin: None }) };
        if !file.primitives.iter().all(skins::has_influences) {
            self.warnings.push(format!(
                "{place} has a skin, but meshes[{mesh}] does not say which joints move it; it is shown without"
            ));
            return Ok(Deformation { weights, skin: None });
        }
        let joints = self.skins.joints(self.context, skin.value(), &self.world, place)?;
        Ok(Deformation { weights, skin: Some((skin.value(), joints)) })
    }

    fn place_mesh(
        &mut self,
        (mesh, deformation): (usize, &Deformation),
        transform: DAffine3,
        (node, placement): (usize, usize),
    ) -> Result<(), Fault> {
        let place = &*format!("nodes[{node}]");
        let mirrored = transform.matrix3.determinant() < 0.0;
        let transform =
            if mirrored { transform * DAffine3::from_scale(DVec3::new(-1.0, 1.0, 1.0)) } else { transform };
        let transform = rounded(transform);
        if !keeps_orientation(&transform) {
            self.warnings.push(format!("{place} is scaled to nothing; its mesh is left out"));
            return Ok(());
        }
        let form = (mesh, mirrored, deformation);
        let ids = self.meshes.ids(self.context, form, place, self.kept, self.warnings)?;
        for (primitive, mesh) in ids.into_iter().enumerate() {
            self.scene.instances.push(Instance { mesh, transform });
            self.origins.instances.push(Origin { node, placement, primitive, mirrored });
        }
        at_most("instances", self.scene.instances.len() as u64, self.context.limits.instances)
            .map_err(|problem| Fault::new(place, problem))
    }

    /// Where a node's mesh stands: once, or as `EXT_mesh_gpu_instancing` says.
    fn placements(
        &self,
        node: &json::Node,
        transform: DAffine3,
        place: &str,
    ) -> Result<Vec<DAffine3>, Fault> {
        let extension = node.extensions.as_ref().and_then(|e| e.others.get("EXT_mesh_gpu_instancing"));
        let Some(attributes) = extension.and_then(|extension| extension.get("attributes")) else {
            return Ok(vec![transform]);
        };
        let place = format!("{place}.extensions.EXT_mesh_gpu_instancing.attributes");
        let translations = self.instance_attribute::<3>(attributes, "TRANSLATION", &place)?;
        let rotations = self.instance_attribute::<4>(attributes, "ROTATION", &place)?;
        let scales = self.instance_attribute::<3>(attributes, "SCALE", &place)?;
        let counts = [
            translations.as_ref().map(Vec::len),
            rotations.as_ref().map(Vec::len),
            scales.as_ref().map(Vec::len),
        ];
        let count = counts.into_iter().flatten().next().unwrap_or(0);
        if counts.into_iter().flatten().any(|other| other != count) {
            let text = format!("the attributes have different counts: {counts:?}");
            return Err(Fault::new(place, Problem::Malformed(text)));
        }
        let at = |i: usize| {
            local(
                translations.as_ref().map_or([0.0; 3], |values| values[i].map(f64::from)),
                rotations.as_ref().map_or([0.0, 0.0, 0.0, 1.0], |values| values[i].map(f64::from)),
                scales.as_ref().map_or([1.0; 3], |values| values[i].map(f64::from)),
                &place,
            )
        };
        (0..count).map(|i| at(i).map(|local| transform * local)).collect()
    }

    fn instance_attribute<const N: usize>(
        &self,
        attributes: &serde_json::Value,
        name: &str,
        place: &str,
    ) -> Result<Option<Vec<[f32; N]>>, Fault> {
        let Some(value) = attributes.get(name) else {
            return Ok(None);
        };
        let place = format!("{place}.{name}");
        let accessor = value.as_u64().and_then(|index| usize::try_from(index).ok()).ok_or_else(|| {
            Fault::new(&place, Problem::Malformed("expected the index of an accessor".to_owned()))
        })?;
        self.context.accessors.floats(accessor, &place, Integers::Normalized).map(Some)
    }
}

/// A node's transform in its parent's space. An animation moves no node that
/// has a matrix, which `animations` checks.
fn local_transform(node: &json::Node, pose: Option<&NodePose>, place: &str) -> Result<DAffine3, Fault> {
    let matrix = node.matrix.filter(|_| !pose.is_some_and(NodePose::is_placed));
    let Some(matrix) = matrix else {
        let translation = node.translation.unwrap_or([0.0; 3]).map(f64::from);
        let rotation = node.rotation.map_or([0.0, 0.0, 0.0, 1.0], |rotation| rotation.0.map(f64::from));
        let scale = node.scale.unwrap_or([1.0; 3]).map(f64::from);
        return local(
            pose.and_then(|pose| pose.translation).unwrap_or(translation),
            pose.and_then(|pose| pose.rotation).unwrap_or(rotation),
            pose.and_then(|pose| pose.scale).unwrap_or(scale),
            place,
        );
    };
    let matrix = DMat4::from_cols_array(&matrix.map(f64::from));
    if matrix.row(3) != glam::DVec4::W {
        let text = format!("the last row of its matrix is {}, not (0, 0, 0, 1)", matrix.row(3));
        return Err(Fault::new(place, Problem::Malformed(text)));
    }
    Ok(DAffine3::from_mat4(matrix))
}

fn local(translation: [f64; 3], rotation: [f64; 4], scale: [f64; 3], place: &str) -> Result<DAffine3, Fault> {
    let unit = unit_rotation(rotation).ok_or_else(|| {
        let rotation = glam::DQuat::from_array(rotation);
        let text = format!("its rotation {rotation} is not a quaternion of unit length");
        Fault::new(place, Problem::Malformed(text))
    })?;
    Ok(DAffine3::from_scale_rotation_translation(
        DVec3::from_array(scale),
        unit,
        DVec3::from_array(translation),
    ))
}

/// The transform in f32.
pub(super) fn rounded(transform: DAffine3) -> Affine3A {
    let column = |column: DVec3| glam::Vec3A::from(column.as_vec3());
    let matrix = transform.matrix3;
    Affine3A {
        matrix3: glam::Mat3A::from_cols(column(matrix.x_axis), column(matrix.y_axis), column(matrix.z_axis)),
        translation: column(transform.translation),
    }
}
