//! The invariants of a [`Scene`], checked in one place for both doors:
//! `load` and `unpack` return no scene that has not passed here.

use glam::{Affine3A, Vec3, Vec4};

use crate::error::{Fault, Problem};
use crate::limits::SceneLimits;
use crate::scene::{
    AlphaMode, Camera, Environment, EnvironmentMap, Image, Instance, Lens, Light, LightKind, Material, Mesh,
    Motion, Projection, Scene, Shape, Texels, TextureSlot, Track,
};

/// How far a unit vector's squared length may be from 1: some hundred times
/// what normalising in f32 leaves.
const UNIT_TOLERANCE: f32 = 1e-4;

/// Checks every invariant that [`Scene`] states, and every limit.
///
/// # Errors
/// The first fault found, with its place.
pub fn validate(scene: &Scene, limits: &SceneLimits) -> Result<(), Fault> {
    check_counts(scene, limits)?;
    for (i, image) in scene.images.iter().enumerate() {
        validate_image(image, limits).map_err(|problem| Fault::new(format!("images[{i}]"), problem))?;
    }
    for (i, texture) in scene.textures.iter().enumerate() {
        index("image", texture.image, scene.images.len())
            .map_err(|problem| Fault::new(format!("textures[{i}]"), problem))?;
    }
    for (i, material) in scene.materials.iter().enumerate() {
        validate_material(material, scene, limits)
            .map_err(|problem| Fault::new(format!("materials[{i}]"), problem))?;
    }
    for (i, mesh) in scene.meshes.iter().enumerate() {
        validate_mesh(mesh, limits)
            .and_then(|()| validate_mesh_material(mesh, &scene.materials))
            .and_then(|()| validate_shapes(mesh, scene.motion.parts, limits))
            .map_err(|problem| Fault::new(format!("meshes[{i}]"), problem))?;
    }
    let bounds: Vec<_> = scene.meshes.iter().map(Mesh::moving_bounds).collect();
    for (i, instance) in scene.instances.iter().enumerate() {
        validate_instance(instance, &bounds, limits)
            .map_err(|problem| Fault::new(format!("instances[{i}]"), problem))?;
    }
    for (i, light) in scene.lights.iter().enumerate() {
        validate_light(light, limits).map_err(|problem| Fault::new(format!("lights[{i}]"), problem))?;
    }
    for (i, camera) in scene.cameras.iter().enumerate() {
        validate_camera(camera, limits).map_err(|problem| Fault::new(format!("cameras[{i}]"), problem))?;
    }
    validate_motion(scene, &bounds, limits).map_err(|problem| Fault::new("motion", problem))?;
    validate_environment(&scene.environment, limits).map_err(|problem| Fault::new("environment", problem))
}

fn check_counts(scene: &Scene, limits: &SceneLimits) -> Result<(), Fault> {
    let triangles = scene.meshes.iter().map(|mesh| mesh.triangles.len()).sum();
    let vertices = scene.meshes.iter().map(vertices_in).sum();
    at_most("stored vertices", vertices, limits.vertices).map_err(|problem| Fault::new("scene", problem))?;
    let counts: [(&'static str, usize, u64); 8] = [
        ("meshes", scene.meshes.len(), limits.meshes),
        ("stored triangles", triangles, limits.triangles),
        ("instances", scene.instances.len(), limits.instances),
        ("materials", scene.materials.len(), limits.materials),
        ("textures", scene.textures.len(), limits.textures),
        ("images", scene.images.len(), limits.images),
        ("lights", scene.lights.len(), limits.lights),
        ("cameras", scene.cameras.len(), limits.cameras),
    ];
    for (what, value, limit) in counts {
        at_most(what, value as u64, limit).map_err(|problem| Fault::new("scene", problem))?;
    }
    let texels = scene.images.iter().map(|image| u64::from(image.width) * u64::from(image.height)).sum();
    at_most("texels in all images", texels, limits.texels)
        .map_err(|problem| Fault::new("images", problem))?;
    if scene.cameras.is_empty() {
        return Err(Fault::new("cameras", Problem::Missing("a camera")));
    }
    Ok(())
}

/// Vertices that a mesh stores, in all of its shapes.
pub(crate) fn vertices_in(mesh: &Mesh) -> u64 {
    let shapes: usize = mesh.motion.iter().map(|shape| shape.positions.len()).sum();
    (mesh.positions.len() + shapes) as u64
}

/// An error when `value` passes `limit`.
pub(crate) fn at_most(what: &'static str, value: u64, limit: u64) -> Result<(), Problem> {
    if value > limit { Err(Problem::TooMany { what, value, limit }) } else { Ok(()) }
}

fn index(what: &'static str, index: u32, count: usize) -> Result<(), Problem> {
    if (index as usize) < count {
        Ok(())
    } else {
        Err(Problem::IndexOutOfRange { what, index: u64::from(index), count: count as u64 })
    }
}

fn number(
    what: &'static str,
    value: f32,
    expected: &'static str,
    fits: impl Fn(f32) -> bool,
) -> Result<(), Problem> {
    if value.is_finite() && fits(value) {
        Ok(())
    } else {
        Err(Problem::OutOfDomain { what, value: f64::from(value), expected })
    }
}

/// Checks size, limits and the number of texels of one image.
pub(crate) fn validate_image(image: &Image, limits: &SceneLimits) -> Result<(), Problem> {
    let Image { width, height, srgb, ref texels } = *image;
    if width == 0 || height == 0 {
        return Err(Problem::EmptyImage { width, height });
    }
    at_most("texels along an edge", u64::from(width.max(height)), u64::from(limits.image_edge))?;
    let (found, is_wide) = match texels {
        Texels::Rgba8(values) => (values.len(), false),
        Texels::Rgba16(values) => (values.len(), true),
    };
    let expected = u64::from(width) * u64::from(height) * 4;
    if found as u64 != expected {
        return Err(Problem::Malformed(format!(
            "{found} texel values for {width}×{height} texels of 4 channels"
        )));
    }
    if is_wide && srgb {
        return Err(Problem::Malformed("16-bit texels must be linear".to_owned()));
    }
    Ok(())
}

fn validate_material(material: &Material, scene: &Scene, limits: &SceneLimits) -> Result<(), Problem> {
    at_most("bytes in a name", material.name.len() as u64, limits.name_bytes)?;
    for channel in material.base_color.to_array() {
        number("base colour", channel, "0 to 1", |x| (0.0..=1.0).contains(&x))?;
    }
    number("metalness", material.metallic, "0 to 1", |x| (0.0..=1.0).contains(&x))?;
    number("roughness", material.roughness, "0 to 1", |x| (0.0..=1.0).contains(&x))?;
    number("normal scale", material.normal_scale, "at most 1000", |x| x.abs() <= 1000.0)?;
    number("index of refraction", material.ior, "0, or 1 to 1000", |x| {
        x == 0.0 || (1.0..=1000.0).contains(&x)
    })?;
    number("specular factor", material.specular, "0 to 1", |x| (0.0..=1.0).contains(&x))?;
    for channel in material.specular_color.to_array() {
        number("specular colour", channel, "0 to 1000", |x| (0.0..=1000.0).contains(&x))?;
    }
    radiance("emitted radiance", material.emissive, limits)?;
    if let AlphaMode::Mask { cutoff } = material.alpha {
        number("alpha cutoff", cutoff, "0 or more", |x| x >= 0.0)?;
    }
    validate_layers(material)?;
    for slot in material.slots() {
        validate_slot(slot, scene.textures.len())?;
    }
    Ok(())
}

fn validate_layers(material: &Material) -> Result<(), Problem> {
    let share = |what, value| number(what, value, "0 to 1", |x| (0.0..=1.0).contains(&x));
    let color = |what, value: Vec3| value.to_array().into_iter().try_for_each(|channel| share(what, channel));
    let Material { coat, sheen, anisotropy, iridescence, transmission, .. } = material;
    share("clear coat", coat.factor)?;
    share("roughness of the clear coat", coat.roughness)?;
    number("normal scale of the clear coat", coat.normal_scale, "at most 1000", |x| x.abs() <= 1000.0)?;
    color("sheen colour", sheen.color)?;
    share("sheen roughness", sheen.roughness)?;
    share("anisotropy", anisotropy.strength)?;
    number("rotation of the anisotropy", anisotropy.rotation, "at most 1e6", |x| x.abs() <= 1e6)?;
    share("iridescence", iridescence.factor)?;
    number("index of the film", iridescence.ior, "1 to 1000", |x| (1.0..=1000.0).contains(&x))?;
    for thickness in [iridescence.thickness_minimum, iridescence.thickness_maximum] {
        number("thickness of the film", thickness, "0 to 1e6", |x| (0.0..=1e6).contains(&x))?;
    }
    share("transmission", transmission.factor)?;
    share("diffuse transmission", transmission.diffuse)?;
    color("colour of diffuse transmission", transmission.diffuse_color)?;
    number("dispersion", transmission.dispersion, "0 to 1000", |x| (0.0..=1000.0).contains(&x))?;
    let Some(volume) = transmission.volume else { return Ok(()) };
    color("attenuation colour", volume.attenuation_color)?;
    volume.attenuation_distance.map_or(Ok(()), |distance| {
        number("attenuation distance", distance, "1e-6 to 1e9", |x| (1e-6..=1e9).contains(&x))
    })
}

fn validate_slot(slot: &TextureSlot, textures: usize) -> Result<(), Problem> {
    index("texture", slot.texture, textures)?;
    index("texture coordinate set", slot.uv_set, 2)?;
    for entry in slot.transform.iter().flat_map(|row| row.to_array()) {
        number("texture transform", entry, "at most 1e6", |x| x.abs() <= 1e6)?;
    }
    Ok(())
}

fn radiance(what: &'static str, value: Vec3, limits: &SceneLimits) -> Result<(), Problem> {
    for channel in value.to_array() {
        number(what, channel, "0 to 1e20", |x| (0.0..=limits.radiance).contains(&x))?;
    }
    Ok(())
}

/// Checks all that can be said of a mesh without the rest of its scene.
pub(crate) fn validate_mesh(mesh: &Mesh, limits: &SceneLimits) -> Result<(), Problem> {
    let vertices = mesh.positions.len();
    if vertices == 0 {
        return Err(Problem::Missing("a vertex"));
    }
    if mesh.triangles.is_empty() {
        return Err(Problem::Missing("a triangle"));
    }
    attribute_count("normals", mesh.normals.len(), vertices)?;
    attribute_count("tangents", mesh.tangents.len(), vertices)?;
    attribute_count("texture coordinates", mesh.uvs[0].len(), vertices)?;
    attribute_count("texture coordinates", mesh.uvs[1].len(), vertices)?;
    attribute_count("colours", mesh.colors.len(), vertices)?;
    validate_vertices((&mesh.positions, &mesh.normals, &mesh.tangents), limits)?;
    finite(mesh.uvs.iter().flatten().map(|v| v.to_array()))?;
    finite(mesh.colors.iter().map(|v| v.to_array()))?;
    if let Some(i) = mesh.colors.iter().position(|c| c.min_element() < 0.0 || c.max_element() > 1.0) {
        return Err(Problem::Malformed(format!("vertex colour {i} is not between 0 and 1")));
    }
    let largest = mesh.triangles.as_flattened().iter().copied().max().unwrap_or(0);
    index("vertex", largest, vertices)
}

/// Checks positions, normals and tangents.
fn validate_vertices(
    (positions, normals, tangents): (&[Vec3], &[Vec3], &[Vec4]),
    limits: &SceneLimits,
) -> Result<(), Problem> {
    finite(positions.iter().map(|v| v.to_array()))?;
    if let Some(far) = positions.iter().find(|p| p.abs().max_element() > limits.coordinate) {
        let value = f64::from(far.abs().max_element());
        return Err(Problem::OutOfDomain { what: "a coordinate", value, expected: "at most 1e9 metres" });
    }
    finite(normals.iter().map(|v| v.to_array()))?;
    finite(tangents.iter().map(|v| v.to_array()))?;
    let unit = |squared: f32| (squared - 1.0).abs() <= UNIT_TOLERANCE;
    if let Some(i) = normals.iter().position(|n| !unit(n.length_squared())) {
        return Err(Problem::Malformed(format!("normal {i} is not of unit length")));
    }
    let is_tangent = |t: &Vec4| unit(t.truncate().length_squared()) && t.w.abs() == 1.0;
    if let Some(i) = tangents.iter().position(|t| !is_tangent(t)) {
        return Err(Problem::Malformed(format!("tangent {i} is not of unit length with a sign of ±1")));
    }
    Ok(())
}

/// Checks the shapes of a mesh that is deformed in so many parts of the shutter's
/// time.
fn validate_shapes(mesh: &Mesh, parts: u32, limits: &SceneLimits) -> Result<(), Problem> {
    if mesh.motion.is_empty() {
        return Ok(());
    }
    same_count("shapes", mesh.motion.len(), parts as usize)?;
    for Shape { positions, normals, tangents } in &mesh.motion {
        same_count("positions of a shape", positions.len(), mesh.positions.len())?;
        same_count("normals of a shape", normals.len(), mesh.normals.len())?;
        same_count("tangents of a shape", tangents.len(), mesh.tangents.len())?;
        validate_vertices((positions, normals, tangents), limits)?;
    }
    Ok(())
}

fn validate_motion(scene: &Scene, bounds: &[(Vec3, Vec3)], limits: &SceneLimits) -> Result<(), Problem> {
    let Motion { parts, instances, cameras } = &scene.motion;
    at_most("parts of the shutter's time", u64::from(*parts), u64::from(limits.motion_parts))?;
    if *parts == 0 && !(instances.is_empty() && cameras.is_empty()) {
        return Err(Problem::Missing("the parts of the shutter's time"));
    }
    let transforms = instances.iter().chain(cameras).map(|track| track.transforms.len() as u64).sum();
    at_most("transforms of what moves", transforms, limits.moving_transforms)?;
    for (tracks, what, count) in
        [(instances, "instance", scene.instances.len()), (cameras, "camera", scene.cameras.len())]
    {
        if !tracks.is_sorted_by(|a, b| a.index < b.index) {
            return Err(Problem::Malformed(format!("the {what}s that move are not in their order")));
        }
        for track in tracks {
            index(what, track.index, count)?;
            same_count("transforms of what moves", track.transforms.len(), *parts as usize)?;
        }
    }
    let moved = |track: &Track, transform: &Affine3A| {
        let mesh = scene.instances[track.index as usize].mesh;
        validate_instance(&Instance { mesh, transform: *transform }, bounds, limits)
    };
    for track in instances {
        track.transforms.iter().try_for_each(|transform| moved(track, transform))?;
    }
    let mut transforms = cameras.iter().flat_map(|track| &track.transforms);
    transforms.try_for_each(|transform| validate_camera_transform(transform, limits))
}

fn same_count(what: &'static str, found: usize, expected: usize) -> Result<(), Problem> {
    if found == expected {
        return Ok(());
    }
    Err(Problem::CountMismatch { what, found: found as u64, expected: expected as u64 })
}

fn attribute_count(what: &'static str, found: usize, vertices: usize) -> Result<(), Problem> {
    if found == vertices || found == 0 {
        Ok(())
    } else {
        Err(Problem::CountMismatch { what, found: found as u64, expected: vertices as u64 })
    }
}

/// An error naming the first element that is not finite.
pub(crate) fn finite<const N: usize>(values: impl Iterator<Item = [f32; N]>) -> Result<(), Problem> {
    for (element, value) in values.enumerate() {
        if let Some(&value) = value.iter().find(|x| !x.is_finite()) {
            return Err(Problem::NotFinite { element: element as u64, value });
        }
    }
    Ok(())
}

fn validate_mesh_material(mesh: &Mesh, materials: &[Material]) -> Result<(), Problem> {
    index("material", mesh.material, materials.len())?;
    let material = &materials[mesh.material as usize];
    if material.tangent_slot().is_some() && mesh.tangents.is_empty() {
        return Err(Problem::Missing("the tangents that a normal map needs"));
    }
    for slot in material.slots() {
        if mesh.uvs[slot.uv_set as usize].is_empty() {
            return Err(Problem::Missing("the texture coordinates that a texture needs"));
        }
    }
    Ok(())
}

fn validate_instance(
    instance: &Instance,
    bounds: &[(Vec3, Vec3)],
    limits: &SceneLimits,
) -> Result<(), Problem> {
    index("mesh", instance.mesh, bounds.len())?;
    if !keeps_orientation(&instance.transform) {
        return Err(Problem::Malformed("the transform must be invertible and must not mirror".to_owned()));
    }
    let (low, high) = transform_bounds(&instance.transform, bounds[instance.mesh as usize]);
    let reach = low.abs().max(high.abs()).max_element();
    if reach.is_nan() || reach > limits.coordinate {
        return Err(Problem::OutOfDomain {
            what: "a world coordinate",
            value: f64::from(reach),
            expected: "at most 1e9 metres",
        });
    }
    Ok(())
}

/// Whether a transform can be inverted in f32 and has a positive determinant.
pub(crate) fn keeps_orientation(transform: &Affine3A) -> bool {
    let determinant = transform.matrix3.determinant();
    determinant.is_normal() && determinant > 0.0 && transform.is_finite() && transform.inverse().is_finite()
}

/// The box around a transformed box.
pub(crate) fn transform_bounds(transform: &Affine3A, (low, high): (Vec3, Vec3)) -> (Vec3, Vec3) {
    let mut bounds = (Vec3::INFINITY, Vec3::NEG_INFINITY);
    for corner in 0..8_u32 {
        let choose = |bit: u32, low: f32, high: f32| if corner & bit == 0 { low } else { high };
        let point = Vec3::new(choose(1, low.x, high.x), choose(2, low.y, high.y), choose(4, low.z, high.z));
        let point = transform.transform_point3(point);
        bounds = (bounds.0.min(point), bounds.1.max(point));
    }
    bounds
}

fn position(value: Vec3, limits: &SceneLimits) -> Result<(), Problem> {
    for coordinate in value.to_array() {
        number("a coordinate", coordinate, "at most 1e9 metres", |x| x.abs() <= limits.coordinate)?;
    }
    Ok(())
}

fn direction(value: Vec3) -> Result<(), Problem> {
    number("the squared length of a direction", value.length_squared(), "1", |x| {
        (x - 1.0).abs() <= UNIT_TOLERANCE
    })
}

fn validate_light(light: &Light, limits: &SceneLimits) -> Result<(), Problem> {
    radiance("intensity", light.intensity, limits)?;
    let check_range = |range: f32| {
        if range > 0.0 {
            Ok(())
        } else {
            Err(Problem::OutOfDomain { what: "range", value: f64::from(range), expected: "more than 0" })
        }
    };
    match light.kind {
        LightKind::Point { position: at, range, radius } => {
            position(at, limits)?;
            validate_light_radius(radius, limits)?;
            check_range(range)
        }
        LightKind::Spot {
            position: at,
            direction: axis,
            range,
            inner_cone_angle,
            outer_cone_angle,
            radius,
        } => {
            position(at, limits)?;
            direction(axis)?;
            validate_light_radius(radius, limits)?;
            check_range(range)?;
            number("outer cone angle", outer_cone_angle, "more than 0, to π/2", |x| {
                x > 0.0 && x <= std::f32::consts::FRAC_PI_2
            })?;
            number("inner cone angle", inner_cone_angle, "0 to the outer cone angle", |x| {
                (0.0..=outer_cone_angle).contains(&x)
            })
        }
        LightKind::Directional { direction: axis } => direction(axis),
    }
}

/// Checks the radius of a light that is a sphere, or of none.
pub(crate) fn validate_light_radius(radius: f32, limits: &SceneLimits) -> Result<(), Problem> {
    number("radius", radius, "0 to 1e9 metres", |x| (0.0..=limits.coordinate).contains(&x))
}

fn validate_camera(camera: &Camera, limits: &SceneLimits) -> Result<(), Problem> {
    at_most("bytes in a name", camera.name.len() as u64, limits.name_bytes)?;
    validate_camera_transform(&camera.transform, limits)?;
    match camera.projection {
        Projection::Perspective { vertical_fov, lens } => {
            number("vertical field of view", vertical_fov, "between 0 and π", |x| {
                x > 1e-6 && x < std::f32::consts::PI - 1e-6
            })?;
            lens.map_or(Ok(()), |lens| validate_lens(lens, limits))
        }
        Projection::Orthographic { half_height } => {
            number("half height of the view", half_height, "more than 0, to 1e9 metres", |x| {
                x > 0.0 && x <= limits.coordinate
            })
        }
    }
}

fn validate_camera_transform(transform: &Affine3A, limits: &SceneLimits) -> Result<(), Problem> {
    position(transform.translation.into(), limits)?;
    let axes = transform.matrix3;
    let error = axes.transpose() * axes - glam::Mat3A::IDENTITY;
    let largest = error.to_cols_array().into_iter().fold(0.0_f32, |largest, entry| largest.max(entry.abs()));
    if axes.is_nan() || largest > UNIT_TOLERANCE || axes.determinant() < 0.0 {
        return Err(Problem::Malformed("the camera's axes must be a rotation, without scale".to_owned()));
    }
    Ok(())
}

/// Checks a lens by itself.
///
/// # Errors
/// The number that is outside its domain.
pub fn validate_lens(lens: Lens, limits: &SceneLimits) -> Result<(), Problem> {
    number("f-number", lens.f_number, "0.01 to 10000", |x| (0.01..=1e4).contains(&x))?;
    number("focus distance", lens.focus_distance, "1e-6 to 1e9 metres", |x| {
        x >= 1e-6 && x <= limits.coordinate
    })
}

fn validate_environment(environment: &Environment, limits: &SceneLimits) -> Result<(), Problem> {
    match environment {
        Environment::Constant(sky) => radiance("radiance", *sky, limits),
        Environment::Map(map) => validate_environment_map(map, limits),
    }
}

/// Checks size, limits and every texel of an environment map.
pub(crate) fn validate_environment_map(map: &EnvironmentMap, limits: &SceneLimits) -> Result<(), Problem> {
    let EnvironmentMap { width, height, ref radiance, strength, rotation } = *map;
    if width == 0 || height == 0 {
        return Err(Problem::EmptyImage { width, height });
    }
    let texels = u64::from(width) * u64::from(height);
    at_most("texels", texels, limits.environment_texels)?;
    if radiance.len() as u64 != texels {
        return Err(Problem::Malformed(format!("{} texels for {width}×{height}", radiance.len())));
    }
    number("strength", strength, "0 to 1e20", |x| (0.0..=limits.radiance).contains(&x))?;
    number("rotation", rotation, "at most 1e6 radians", |x| x.abs() <= 1e6)?;
    let fits = |x: f32| x.is_finite() && (0.0..=limits.radiance).contains(&(x * strength.max(1.0)));
    let Some(at) = radiance.iter().position(|texel| !texel.to_array().into_iter().all(fits)) else {
        return Ok(());
    };
    let (x, y) = (at as u64 % u64::from(width), at as u64 / u64::from(width));
    Err(Problem::Malformed(format!(
        "texel ({x}, {y}) is {}; radiance must be finite, 0 or more, and at most 1e20 times the strength",
        radiance[at]
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::scenes::textured_quad;

    fn check(place: &str, break_it: impl FnOnce(&mut Scene)) {
        let mut scene = textured_quad();
        validate(&scene, &SceneLimits::default()).expect("the scene is valid before it is broken");
        break_it(&mut scene);
        let fault = validate(&scene, &SceneLimits::default()).expect_err("the broken scene passed");
        assert!(fault.place.starts_with(place), "{fault}");
    }

    #[test]
    fn every_broken_index_is_found() {
        check("meshes[0]", |scene| scene.meshes[0].triangles[1][2] = 4);
        check("meshes[0]", |scene| scene.meshes[0].material = 1);
        check("instances[0]", |scene| scene.instances[0].mesh = 1);
        check("textures[0]", |scene| scene.textures[0].image = 1);
        check("materials[0]", |scene| slot(scene).texture = 1);
        check("materials[0]", |scene| slot(scene).uv_set = 2);
    }

    fn slot(scene: &mut Scene) -> &mut TextureSlot {
        scene.materials[0].base_color_texture.as_mut().expect("the quad is textured")
    }

    #[test]
    fn every_broken_number_is_found() {
        check("meshes[0]", |scene| scene.meshes[0].positions[0].x = f32::NAN);
        check("meshes[0]", |scene| scene.meshes[0].positions[0].x = 2e9);
        check("meshes[0]", |scene| scene.meshes[0].normals[0] *= 1.1);
        check("meshes[0]", |scene| scene.meshes[0].tangents[0].w = 0.5);
        check("meshes[0]", |scene| scene.meshes[0].uvs[0][3].y = f32::INFINITY);
        check("instances[0]", |scene| scene.instances[0].transform.matrix3 *= 0.0);
        check("instances[0]", |scene| scene.instances[0].transform.matrix3.x_axis *= -1.0);
        check("instances[0]", |scene| scene.instances[0].transform.translation.x = 1e10);
        check("materials[0]", |scene| scene.materials[0].roughness = -0.1);
        check("materials[0]", |scene| scene.materials[0].emissive.x = f32::NAN);
        check("lights[0]", |scene| scene.lights[0].intensity.x = -1.0);
        for wrong in [-1.0, f32::NAN, f32::INFINITY, 2e9] {
            check("lights[0]", |scene| {
                if let LightKind::Point { radius, .. } = &mut scene.lights[0].kind {
                    *radius = wrong;
                }
            });
        }
        check("cameras[0]", |scene| scene.cameras[0].transform.matrix3 *= 2.0);
        check("environment", |scene| scene.environment = Environment::Constant(Vec3::NEG_ONE));
    }

    #[test]
    fn every_broken_count_is_found() {
        check("meshes[0]", |scene| scene.meshes[0].triangles.clear());
        check("meshes[0]", |scene| {
            scene.meshes[0].normals.pop();
        });
        check("meshes[0]", |scene| scene.meshes[0].tangents.clear());
        check("meshes[0]", |scene| scene.meshes[0].uvs[0].clear());
        check("images[0]", |scene| scene.images[0].width = 3);
        check("images[0]", |scene| scene.images[0].width = 0);
        check("cameras", |scene| scene.cameras.clear());
    }
}
