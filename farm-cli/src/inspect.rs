//! What a scene holds, without rendering it.

use std::fmt::Write as _;

use farm_core::{BlobDigest, Resolution};
use farm_scene::{AnimationSummary, Environment, Loaded, PackedScene, Projection, Scene, Texels};
use serde::Serialize;

use crate::args::InspectCommand;
use crate::output::{Failure, print_json, print_text, printable};
use crate::progress::{Progress, human_bytes};
use crate::spec::{digest_of, load_scene};

/// What `farm inspect --json` prints. Lengths are metres.
#[derive(Debug, Serialize)]
struct Report {
    meshes: usize,
    instances: usize,
    vertices: u64,
    /// Triangles that are stored.
    triangles: u64,
    /// Triangles that are seen, each mesh counted as often as it is placed.
    instanced_triangles: u64,
    materials: usize,
    /// Names for `--variant`.
    variants: Vec<String>,
    /// Names for `--animation`, and what they move.
    animations: Vec<AnimationSummary>,
    textures: usize,
    images: Vec<ImageReport>,
    lights: usize,
    emissive_materials: usize,
    cameras: Vec<CameraReport>,
    environment: EnvironmentReport,
    bounds: Option<Bounds>,
    /// Digest of the manifest: the scene's name on every farm.
    scene: BlobDigest,
    blobs: usize,
    packed_bytes: u64,
    warnings: Vec<String>,
}

/// A decoded image.
#[derive(Debug, Serialize)]
struct ImageReport {
    width: u32,
    height: u32,
    srgb: bool,
    bytes: u64,
}

/// A camera.
#[derive(Debug, Serialize)]
struct CameraReport {
    name: String,
    projection: &'static str,
    /// Vertical field of view in degrees, of a perspective camera.
    vertical_fov: Option<f32>,
    /// Of a camera with a lens; the distance in metres.
    f_number: Option<f32>,
    focus_distance: Option<f32>,
    position: [f32; 3],
}

/// What surrounds the scene.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum EnvironmentReport {
    /// The same radiance from everywhere.
    Constant { radiance: [f32; 3] },
    /// A map.
    Map { width: u32, height: u32, strength: f32, rotation_degrees: f32 },
}

/// The box that holds every placed mesh.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Bounds {
    low: [f32; 3],
    high: [f32; 3],
}

/// `farm inspect`.
pub(crate) fn run(command: &InspectCommand) -> Result<(), Failure> {
    let size = Resolution { width: 1280, height: 720 };
    let loaded = load_scene(&command.scene, size)?;
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let packed = farm_scene::pack(&loaded.scene);
    let Loaded { scene, variants, animations, .. } = loaded;
    let report = Report { variants, animations, ..report(&scene, &packed, warnings) };
    if command.json {
        return print_json(&report);
    }
    let progress = Progress::new(false);
    report.warnings.iter().for_each(|warning| progress.warn(warning));
    print_text(&describe(&report))
}

/// Counts and measures a scene.
fn report(scene: &Scene, packed: &PackedScene, warnings: Vec<String>) -> Report {
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let triangles_of = |mesh: u32| {
        let index = usize::try_from(mesh).unwrap_or(usize::MAX);
        scene.meshes.get(index).map_or(0, |mesh| count(mesh.triangles.len()))
    };
    let emissive = scene.materials.iter().filter(|it| it.unlit || it.emissive.max_element() > 0.0);
    Report {
        meshes: scene.meshes.len(),
        instances: scene.instances.len(),
        vertices: scene.meshes.iter().map(|mesh| count(mesh.positions.len())).sum(),
        triangles: scene.meshes.iter().map(|mesh| count(mesh.triangles.len())).sum(),
        instanced_triangles: scene.instances.iter().map(|instance| triangles_of(instance.mesh)).sum(),
        materials: scene.materials.len(),
        variants: Vec::new(),
        animations: Vec::new(),
        textures: scene.textures.len(),
        images: scene.images.iter().map(image_report).collect(),
        lights: scene.lights.len(),
        emissive_materials: emissive.count(),
        cameras: scene.cameras.iter().map(camera_report).collect(),
        environment: match &scene.environment {
            Environment::Constant(radiance) => EnvironmentReport::Constant { radiance: radiance.to_array() },
            Environment::Map(map) => EnvironmentReport::Map {
                width: map.width,
                height: map.height,
                strength: map.strength,
                rotation_degrees: map.rotation.to_degrees(),
            },
        },
        bounds: bounds(scene),
        scene: digest_of(&packed.manifest),
        blobs: packed.blobs.len() + 1,
        packed_bytes: packed.blobs.iter().chain([&packed.manifest]).map(|blob| count(blob.bytes.len())).sum(),
        warnings,
    }
}

fn image_report(image: &farm_scene::Image) -> ImageReport {
    let texels = u64::from(image.width) * u64::from(image.height);
    let bytes = match image.texels {
        Texels::Rgba8(_) => texels * 4,
        Texels::Rgba16(_) => texels * 8,
    };
    ImageReport { width: image.width, height: image.height, srgb: image.srgb, bytes }
}

fn camera_report(camera: &farm_scene::Camera) -> CameraReport {
    let (projection, vertical_fov, lens) = match camera.projection {
        Projection::Perspective { vertical_fov, lens } => {
            ("perspective", Some(vertical_fov.to_degrees()), lens)
        }
        Projection::Orthographic { .. } => ("orthographic", None, None),
    };
    let position = camera.transform.translation.to_array();
    CameraReport {
        name: camera.name.clone(),
        projection,
        vertical_fov,
        f_number: lens.map(|lens| lens.f_number),
        focus_distance: lens.map(|lens| lens.focus_distance),
        position,
    }
}

/// The box around every placed vertex; none where nothing is placed.
fn bounds(scene: &Scene) -> Option<Bounds> {
    let boxes: Vec<Option<Bounds>> = scene
        .meshes
        .iter()
        .map(|mesh| enclose(mesh.positions.iter().map(|position| position.to_array())))
        .collect();
    // Only the corners of a mesh's box are carried into the world: a million
    // instances are a matter of milliseconds, and the box is at most a little
    // too large where an instance is turned.
    let corners = scene.instances.iter().flat_map(|instance| {
        let index = usize::try_from(instance.mesh).unwrap_or(usize::MAX);
        let held = boxes.get(index).copied().flatten();
        held.into_iter().flat_map(move |Bounds { low, high }| {
            (0..8_usize).map(move |corner| {
                let pick = |axis: usize| if corner >> axis & 1 == 0 { low[axis] } else { high[axis] };
                instance.transform.transform_point3([pick(0), pick(1), pick(2)].into()).to_array()
            })
        })
    });
    enclose(corners)
}

/// The box around points; none around no points.
fn enclose(points: impl Iterator<Item = [f32; 3]>) -> Option<Bounds> {
    points.fold(None, |held: Option<Bounds>, point| {
        let held = held.unwrap_or(Bounds { low: point, high: point });
        let low = std::array::from_fn(|axis| held.low[axis].min(point[axis]));
        let high = std::array::from_fn(|axis| held.high[axis].max(point[axis]));
        Some(Bounds { low, high })
    })
}

/// What an animation does, in words.
fn describe_animation(animation: &AnimationSummary) -> String {
    let AnimationSummary { name, duration_seconds, channels, nodes, .. } = animation;
    let kinds = [
        (animation.translations, "translations"),
        (animation.rotations, "rotations"),
        (animation.scales, "scales"),
        (animation.weights, "morph weights"),
    ];
    let moved: Vec<_> =
        kinds.iter().filter(|(count, _)| *count > 0).map(|(count, kind)| format!("{count} {kind}")).collect();
    let moved = if moved.is_empty() { "nothing".to_owned() } else { moved.join(", ") };
    format!("`{name}`, {duration_seconds:.3} s, {channels} channels on {nodes} nodes: {moved}")
}

/// The report in words.
fn describe(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string gives no error.
        let _ = writeln!(text, "{name:<14}{}", printable(&value));
    };
    line("meshes", format!("{} in {} instances", report.meshes, report.instances));
    line("triangles", format!("{} stored, {} seen", report.triangles, report.instanced_triangles));
    line("vertices", report.vertices.to_string());
    line("materials", format!("{}, {} of them emissive", report.materials, report.emissive_materials));
    if !report.variants.is_empty() {
        let names: Vec<_> = report.variants.iter().map(|name| format!("`{name}`")).collect();
        line("variants", names.join(", "));
    }
    for (index, animation) in report.animations.iter().enumerate() {
        line(&format!("animation {index}"), describe_animation(animation));
    }
    line("textures", format!("{} of {} images", report.textures, report.images.len()));
    for (index, image) in report.images.iter().enumerate() {
        let encoding = if image.srgb { "sRGB" } else { "linear" };
        let size = human_bytes(image.bytes);
        line(&format!("  image {index}"), format!("{}x{}, {encoding}, {size}", image.width, image.height));
    }
    line("lights", report.lights.to_string());
    for (index, camera) in report.cameras.iter().enumerate() {
        let fov = camera.vertical_fov.map_or(String::new(), |fov| format!(", {fov:.1}° vertically"));
        let lens = match (camera.f_number, camera.focus_distance) {
            (Some(f_number), Some(distance)) => format!(", f/{f_number} focused at {distance} m"),
            _ => String::new(),
        };
        line(&format!("camera {index}"), format!("`{}`, {}{fov}{lens}", camera.name, camera.projection));
    }
    line(
        "environment",
        match &report.environment {
            EnvironmentReport::Constant { radiance: [r, g, b] } => format!("constant radiance {r}, {g}, {b}"),
            EnvironmentReport::Map { width, height, strength, rotation_degrees } => {
                format!("map of {width}x{height}, strength {strength}, turned by {rotation_degrees}°")
            }
        },
    );
    if let Some(Bounds { low, high }) = report.bounds {
        line("bounds", format!("{low:?} to {high:?} m"));
    }
    line("scene", report.scene.to_string());
    line("packed", format!("{} in {} blobs", human_bytes(report.packed_bytes), report.blobs));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use farm_scene::{Instance, Mesh};

    #[test]
    fn bounds_hold_every_instance() {
        let mesh =
            Mesh { positions: vec![[-1.0, 0.0, 0.0].into(), [1.0, 2.0, 0.5].into()], ..Mesh::default() };
        let mut moved = Instance { mesh: 0, transform: Default::default() };
        moved.transform.translation = [10.0, 0.0, -3.0].into();
        let still = Instance { mesh: 0, transform: Default::default() };
        let scene = Scene { meshes: vec![mesh], instances: vec![still, moved], ..Scene::default() };
        let found = bounds(&scene).expect("there are instances");
        assert_eq!(found, Bounds { low: [-1.0, 0.0, -3.0], high: [11.0, 2.0, 0.5] });
        assert_eq!(bounds(&Scene::default()), None);
    }
}
