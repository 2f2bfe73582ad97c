//! The node hierarchy, flattened: what each node carries, in world space.
//!
//! Transforms are multiplied in f64 and rounded once. That is more exact than
//! f32, and glam's f64 types have no SIMD variants, so every machine gets the
//! same bits.

use glam::{Affine3A, DAffine3, DMat4, DQuat, DVec3};
use gltf::json;

use super::accessors::Integers;
use super::images::ImageTable;
use super::meshes::MeshTable;
use super::{Context, cameras, lights, named, short_name};
use crate::error::{Fault, Problem};
use crate::load::Warnings;
use crate::scene::{Instance, Scene};
use crate::validate::{at_most, keeps_orientation};

/// Reads the scene's nodes and all that they use. The images are yet to be
/// decoded.
pub(super) fn read(context: &Context<'_>, warnings: &mut Warnings) -> Result<(Scene, ImageTable), Fault> {
    let root = context.root;
    at_most("nodes", root.nodes.len() as u64, context.limits.nodes).map_err(|p| Fault::new("nodes", p))?;
    if !root.animations.is_empty() {
        warnings.push("animations are not rendered; the scene is shown at rest");
    }
    let mut reader = Reader { context, scene: Scene::default(), meshes: MeshTable::default(), warnings };
    let mut is_reached = vec![false; root.nodes.len()];
    let mut open: Vec<(usize, DAffine3, String)> = Vec::new();
    let (roots, place) = reader.roots()?;
    open.extend(roots.into_iter().rev().map(|node| (node, DAffine3::IDENTITY, place.clone())));
    while let Some((index, parent, named_at)) = open.pop() {
        let node = named(&root.nodes, index, "node", &named_at)?;
        if std::mem::replace(&mut is_reached[index], true) {
            return Err(Fault::new(named_at, Problem::NotATree { node: index as u64 }));
        }
        let place = format!("nodes[{index}]");
        let transform = parent * local_transform(node, &place)?;
        if !transform.is_finite() {
            return Err(Fault::new(place, Problem::Malformed("its transform is not finite".to_owned())));
        }
        reader.visit(node, transform, &place)?;
        let children = node.children.iter().flatten().rev();
        open.extend(children.map(|child| (child.value(), transform, format!("{place}.children"))));
    }
    let Reader { mut scene, meshes, .. } = reader;
    scene.meshes = meshes.meshes;
    scene.materials = meshes.materials.materials;
    scene.textures = meshes.materials.textures;
    Ok((scene, meshes.materials.images))
}

struct Reader<'a, 'w> {
    context: &'a Context<'a>,
    scene: Scene,
    meshes: MeshTable,
    warnings: &'w mut Warnings,
}

impl Reader<'_, '_> {
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

    fn visit(&mut self, node: &json::Node, transform: DAffine3, place: &str) -> Result<(), Fault> {
        let limits = self.context.limits;
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
            self.scene.cameras.extend(camera.map(|camera| cameras::unique(camera, &self.scene.cameras)));
        }
        if let Some(light) = node.extensions.as_ref().and_then(|e| e.khr_lights_punctual.as_ref()) {
            at_most("lights", self.scene.lights.len() as u64 + 1, limits.lights)
                .map_err(|problem| Fault::new(place, problem))?;
            let light = lights::read(self.context, light.light.value(), transform, place, self.warnings)?;
            self.scene.lights.extend(light);
        }
        if let Some(mesh) = node.mesh {
            if node.skin.is_some() {
                self.warnings.push("skins are not rendered; skinned meshes are shown at rest");
            }
            for transform in self.placements(node, transform, place)? {
                self.place_mesh(mesh.value(), transform, place)?;
            }
        }
        Ok(())
    }

    fn place_mesh(&mut self, mesh: usize, transform: DAffine3, place: &str) -> Result<(), Fault> {
        let mirrored = transform.matrix3.determinant() < 0.0;
        let transform =
            if mirrored { transform * DAffine3::from_scale(DVec3::new(-1.0, 1.0, 1.0)) } else { transform };
        let transform = rounded(transform);
        if !keeps_orientation(&transform) {
            self.warnings.push(format!("{place} is scaled to nothing; its mesh is left out"));
            return Ok(());
        }
        for mesh in self.meshes.ids(self.context, mesh, mirrored, place, self.warnings)? {
            self.scene.instances.push(Instance { mesh, transform });
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
                translations.as_ref().map_or([0.0; 3], |values| values[i]),
                rotations.as_ref().map_or([0.0, 0.0, 0.0, 1.0], |values| values[i]),
                scales.as_ref().map_or([1.0; 3], |values| values[i]),
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

fn local_transform(node: &json::Node, place: &str) -> Result<DAffine3, Fault> {
    let Some(matrix) = node.matrix else {
        return local(
            node.translation.unwrap_or([0.0; 3]),
            node.rotation.map_or([0.0, 0.0, 0.0, 1.0], |rotation| rotation.0),
            node.scale.unwrap_or([1.0; 3]),
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

fn local(translation: [f32; 3], rotation: [f32; 4], scale: [f32; 3], place: &str) -> Result<DAffine3, Fault> {
    let rotation = DQuat::from_array(rotation.map(f64::from));
    let length = rotation.length();
    if !(length.is_finite() && length > 1e-6) {
        let text = format!("its rotation {rotation} is not a quaternion of unit length");
        return Err(Fault::new(place, Problem::Malformed(text)));
    }
    Ok(DAffine3::from_scale_rotation_translation(
        DVec3::from_array(scale.map(f64::from)),
        rotation / length,
        DVec3::from_array(translation.map(f64::from)),
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
