//! What the reader understands.

use glam::{Affine3A, Vec2, Vec3, Vec4};
use serde_json::json;

use super::glb::{Glb, png};
use crate::error::Problem;
use crate::limits::SceneLimits;
use crate::load::{LoadOptions, Loaded, Warnings, load_from_bytes};
use crate::read::Files;
use crate::scene::{
    AlphaMode, Environment, EnvironmentMap, Filter, Lens, LightKind, Projection, Texels, Wrap,
};

fn warned(loaded: &Loaded, text: &str) -> bool {
    loaded.warnings.iter().any(|warning| warning.0.contains(text))
}

#[test]
fn missing_normals_stay_missing_for_flat_triangles() {
    let mut glb = Glb::new();
    // Two triangles that share an edge, at a right angle.
    let positions = glb.floats("VEC3", &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    let indices = glb.accessor(&[0, 1, 2, 0, 3, 1], json!({"componentType": 5121, "type": "SCALAR"}));
    glb.primitive(json!({"attributes": {"POSITION": positions}, "indices": indices}));
    let mesh = &glb.loaded().scene.meshes[0];
    assert_eq!((mesh.positions.len(), mesh.normals.len()), (4, 0));
}

#[test]
fn normal_maps_get_flat_normals_and_share_their_vertices_again() {
    let mut glb = Glb::square();
    let attributes = &mut glb.json["meshes"][0]["primitives"][0]["attributes"];
    attributes.as_object_mut().expect("attributes are an object").remove("NORMAL");
    let texture = glb.texture(&png(1, 1, [128, 128, 255, 255]));
    glb.json["materials"] = json!([{"normalTexture": {"index": texture}}]);
    glb.json["meshes"][0]["primitives"][0]["material"] = json!(0);
    let mesh = &glb.loaded().scene.meshes[0];
    assert_eq!((mesh.positions.len(), mesh.triangles.len()), (4, 2));
    assert_eq!(mesh.normals, [Vec3::Z; 4]);
}

/// Positions as normalised shorts, interleaved with colours as bytes.
#[test]
fn interleaved_normalised_integers_are_read() {
    let mut glb = Glb::new();
    let mut bytes = Vec::new();
    for (x, y, color) in [(0, 0, 0), (32767, 0, 255), (0, -32768, 51)] {
        for value in [x, y, 0_i16, 0] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend([color, 255, 0, 0]);
    }
    let view = glb.view(&bytes);
    glb.json["bufferViews"][view]["byteStride"] = json!(12);
    let accessor = |offset: u32, component: u32| {
        json!({
            "bufferView": view, "byteOffset": offset, "componentType": component,
            "normalized": true, "count": 3, "type": "VEC3",
        })
    };
    let positions = glb.push("accessors", accessor(0, 5122));
    let colors = glb.push("accessors", accessor(8, 5121));
    glb.primitive(json!({"attributes": {"POSITION": positions, "COLOR_0": colors}}));
    let mesh = &glb.loaded().scene.meshes[0];
    assert_eq!(mesh.positions, [Vec3::ZERO, Vec3::X, Vec3::NEG_Y]);
    assert_eq!(
        mesh.colors,
        [Vec4::new(0.0, 1.0, 0.0, 1.0), Vec4::new(1.0, 1.0, 0.0, 1.0), Vec4::new(0.2, 1.0, 0.0, 1.0)]
    );
}

#[test]
fn sparse_values_replace_dense_ones() {
    let mut glb = Glb::triangle();
    let indices = glb.view(&[2, 0]);
    let values: Vec<u8> = [0.0_f32, 5.0, 0.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let values = glb.view(&values);
    glb.json["accessors"][0]["sparse"] = json!({
        "count": 1,
        "indices": {"bufferView": indices, "componentType": 5123},
        "values": {"bufferView": values},
    });
    assert_eq!(glb.loaded().scene.meshes[0].positions, [Vec3::ZERO, Vec3::X, Vec3::Y * 5.0]);
}

#[test]
fn points_and_lines_are_skipped_with_a_warning() {
    let mut glb = Glb::triangle();
    glb.primitive(json!({"attributes": {"POSITION": 0}, "mode": 1}));
    let loaded = glb.loaded();
    assert_eq!(loaded.scene.meshes.len(), 1);
    assert!(warned(&loaded, "meshes[0].primitives[1] holds Lines"));
}

#[test]
fn mesh_of_several_nodes_is_stored_once() {
    let mut glb = Glb::triangle();
    glb.json["nodes"] = json!([
        {"mesh": 0, "children": [1], "translation": [1, 0, 0]},
        {"mesh": 0, "translation": [0, 2, 0], "scale": [2, 2, 2]},
    ]);
    let scene = glb.loaded().scene;
    assert_eq!((scene.meshes.len(), scene.instances.len()), (1, 2));
    let at = |i: usize, point| scene.instances[i].transform.transform_point3(point);
    assert_eq!(at(0, Vec3::X), Vec3::new(2.0, 0.0, 0.0));
    assert_eq!(at(1, Vec3::X), Vec3::new(3.0, 2.0, 0.0));
}

#[test]
fn mirrored_instances_keep_their_fronts() {
    let mut glb = Glb::square();
    glb.json["nodes"] = json!([{"mesh": 0, "scale": [1, -2, 1]}]);
    let scene = glb.loaded().scene;
    let (mesh, transform) = (&scene.meshes[0], scene.instances[0].transform);
    assert!(transform.matrix3.determinant() > 0.0);
    let low = mesh.positions.iter().map(|&p| transform.transform_point3(p).y).fold(0.0, f32::min);
    assert_eq!(low, -2.0, "the square hangs down");
    for triangle in &mesh.triangles {
        let [a, b, c] = triangle.map(|vertex| transform.transform_point3(mesh.positions[vertex as usize]));
        assert!((b - a).cross(c - a).z > 0.0, "the front still faces +Z");
    }
}

#[test]
fn instances_scaled_to_nothing_are_dropped() {
    let mut glb = Glb::triangle();
    glb.json["scenes"][0]["nodes"] = json!([0, 1]);
    glb.json["nodes"] = json!([{"mesh": 0}, {"mesh": 0, "scale": [1, 0, 1]}]);
    let loaded = glb.loaded();
    assert_eq!(loaded.scene.instances.len(), 1);
    assert!(warned(&loaded, "nodes[1] is scaled to nothing"));
}

#[test]
fn gpu_instancing_places_meshes() {
    let mut glb = Glb::triangle();
    let translations = glb.floats("VEC3", &[0.0, 0.0, 0.0, 3.0, 0.0, 0.0]);
    glb.json["nodes"][0]["translation"] = json!([0, 1, 0]);
    glb.json["nodes"][0]["extensions"] =
        json!({"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": translations}}});
    glb.json["extensionsRequired"] = json!(["EXT_mesh_gpu_instancing"]);
    let loaded = glb.loaded();
    let at: Vec<_> = loaded.scene.instances.iter().map(|i| Vec3::from(i.transform.translation)).collect();
    assert_eq!(at, [Vec3::Y, Vec3::new(3.0, 1.0, 0.0)]);
    assert_eq!(loaded.extensions, ["EXT_mesh_gpu_instancing"]);
}

#[test]
fn layers_of_a_material_are_read() {
    let mut glb = Glb::square();
    let texture = glb.texture(&png(2, 2, [1, 2, 3, 4]));
    let slot = json!({"index": texture});
    glb.json["materials"] = json!([{"extensions": {
        "KHR_materials_anisotropy": {
            "anisotropyStrength": 0.5, "anisotropyRotation": 1.25, "anisotropyTexture": slot,
        },
        "KHR_materials_clearcoat": {
            "clearcoatFactor": 0.75, "clearcoatTexture": slot,
            "clearcoatRoughnessFactor": 2, "clearcoatRoughnessTexture": slot,
            "clearcoatNormalTexture": {"index": texture, "scale": 0.5},
        },
        "KHR_materials_diffuse_transmission": {
            "diffuseTransmissionFactor": 0.25, "diffuseTransmissionTexture": slot,
            "diffuseTransmissionColorFactor": [0.5, 0.25, 0], "diffuseTransmissionColorTexture": slot,
        },
        "KHR_materials_dispersion": {"dispersion": 0.125},
        "KHR_materials_iridescence": {
            "iridescenceFactor": 0.5, "iridescenceTexture": slot, "iridescenceIor": 1.75,
            "iridescenceThicknessMinimum": 200, "iridescenceThicknessTexture": slot,
        },
        "KHR_materials_sheen": {
            "sheenColorFactor": [0.25, 0.5, 1], "sheenColorTexture": slot,
            "sheenRoughnessFactor": 0.75, "sheenRoughnessTexture": slot,
        },
        "KHR_materials_transmission": {"transmissionFactor": 0.5, "transmissionTexture": slot},
        "KHR_materials_volume": {
            "thicknessFactor": 1, "attenuationDistance": 0.5, "attenuationColor": [1, 0.5, 0.25],
        },
    }}]);
    glb.json["meshes"][0]["primitives"][0]["material"] = json!(0);
    let loaded = glb.loaded();
    assert!(warned(&loaded, "clearcoatRoughnessFactor is 2; 1 is used"));
    let material = &loaded.scene.materials[0];
    assert_eq!(material.slots().count(), 11);
    let is_srgb = |slot: &crate::scene::TextureSlot| {
        loaded.scene.images[loaded.scene.textures[slot.texture as usize].image as usize].srgb
    };
    let colors = [&material.sheen.color_texture, &material.transmission.diffuse_color_texture];
    assert!(colors.into_iter().flatten().all(is_srgb));
    assert_eq!(material.slots().filter(|slot| is_srgb(slot)).count(), 2, "all others are linear");
    assert!(!loaded.scene.meshes[0].tangents.is_empty(), "the coat's normal map and anisotropy want them");
    assert_eq!((material.anisotropy.strength, material.anisotropy.rotation), (0.5, 1.25));
    let coat = &material.coat;
    assert_eq!((coat.factor, coat.roughness, coat.normal_scale), (0.75, 1.0, 0.5));
    let film = &material.iridescence;
    assert_eq!((film.factor, film.ior), (0.5, 1.75));
    assert_eq!((film.thickness_minimum, film.thickness_maximum), (200.0, 400.0));
    assert_eq!((material.sheen.color, material.sheen.roughness), (Vec3::new(0.25, 0.5, 1.0), 0.75));
    let transmission = &material.transmission;
    assert_eq!((transmission.factor, transmission.diffuse, transmission.dispersion), (0.5, 0.25, 0.125));
    assert_eq!(transmission.diffuse_color, Vec3::new(0.5, 0.25, 0.0));
    let volume = transmission.volume.expect("it has a thickness");
    let ln_2 = std::f32::consts::LN_2;
    assert!((volume.absorption() - Vec3::new(0.0, 2.0 * ln_2, 4.0 * ln_2)).abs().max_element() < 1e-6);
    assert!(material.is_solid());
}

#[test]
fn a_volume_without_thickness_is_a_thin_wall() {
    let mut glb = Glb::square();
    glb.json["materials"] = json!([{"extensions": {
        "KHR_materials_transmission": {"transmissionFactor": 1},
        "KHR_materials_volume": {"attenuationDistance": 0.5, "attenuationColor": [1, 0.5, 0.25]},
    }}]);
    glb.json["meshes"][0]["primitives"][0]["material"] = json!(0);
    assert!(!glb.loaded().scene.materials[0].is_solid());
}

#[test]
fn material_is_read() {
    let mut glb = Glb::square();
    let texture = glb.texture(&png(2, 2, [1, 2, 3, 4]));
    glb.json["samplers"] = json!([{"magFilter": 9728, "wrapS": 33648, "wrapT": 33071}]);
    glb.json["textures"][texture]["sampler"] = json!(0);
    let transformed = json!({
        "index": texture, "texCoord": 1,
        "extensions": {"KHR_texture_transform": {"offset": [0.5, 0.25], "scale": [2, 3], "texCoord": 0}},
    });
    glb.json["materials"] = json!([{
        "name": "brass",
        "pbrMetallicRoughness": {
            "baseColorFactor": [0.1, 0.2, 0.3, 0.4],
            "baseColorTexture": transformed,
            "metallicFactor": 1.5,
            "roughnessFactor": 0.25,
            "metallicRoughnessTexture": {"index": texture},
        },
        "emissiveFactor": [1, 0.5, 0],
        "alphaMode": "MASK", "alphaCutoff": 0.75, "doubleSided": true,
        "extensions": {
            "KHR_materials_emissive_strength": {"emissiveStrength": 4},
            "KHR_materials_ior": {"ior": 1.33},
            "KHR_materials_specular": {
                "specularFactor": 0.5, "specularTexture": {"index": texture},
                "specularColorFactor": [2, 0.5, 0], "specularColorTexture": {"index": texture},
            },
            "KHR_materials_unlit": {},
        },
    }]);
    glb.json["meshes"][0]["primitives"][0]["material"] = json!(0);
    let loaded = glb.loaded();
    let scene = &loaded.scene;
    let material = &scene.materials[0];
    assert_eq!(material.name, "brass");
    assert_eq!(material.base_color, Vec4::new(0.1, 0.2, 0.3, 0.4));
    assert_eq!((material.metallic, material.roughness, material.ior), (1.0, 0.25, 1.33));
    assert!(warned(&loaded, "metallicFactor is 1.5; 1 is used"));
    assert_eq!((material.specular, material.specular_color), (0.5, Vec3::new(2.0, 0.5, 0.0)));
    let is_srgb = |slot: Option<crate::scene::TextureSlot>| {
        let texture = slot.expect("it is textured").texture;
        scene.images[scene.textures[texture as usize].image as usize].srgb
    };
    assert!(is_srgb(material.specular_color_texture) && !is_srgb(material.specular_texture));
    assert_eq!(material.emissive, Vec3::new(4.0, 2.0, 0.0));
    assert_eq!(material.alpha, AlphaMode::Mask { cutoff: 0.75 });
    assert!(material.double_sided && material.unlit);
    let slot = material.base_color_texture.expect("the base colour is textured");
    assert_eq!(slot.uv_set, 0, "the transform's texCoord comes first");
    assert_eq!(slot.transform, [Vec3::new(2.0, 0.0, 0.5), Vec3::new(0.0, 3.0, 0.25)]);
    let sampling = scene.textures[0];
    assert_eq!(
        (sampling.wrap_u, sampling.wrap_v, sampling.filter),
        (Wrap::MirroredRepeat, Wrap::ClampToEdge, Filter::Nearest)
    );
    let encodings: Vec<_> = scene.images.iter().map(|image| image.srgb).collect();
    assert_eq!(encodings, [true, false], "one image used as colour and as data is stored as both");
    assert_eq!(scene.images[0].texels, Texels::Rgba8([1, 2, 3, 4].repeat(4)));
}

#[test]
fn missing_tangents_are_generated_for_normal_maps() {
    let mut glb = Glb::square();
    let texture = glb.texture(&png(1, 1, [128, 128, 255, 255]));
    glb.json["materials"] = json!([{"normalTexture": {"index": texture}}]);
    glb.json["meshes"][0]["primitives"][0]["material"] = json!(0);
    let mesh = &glb.loaded().scene.meshes[0];
    // u grows along +X and v along −Y, so the image's up is +Y = n × t.
    assert_eq!(mesh.tangents, [Vec4::new(1.0, 0.0, 0.0, 1.0); 4]);
    assert_eq!(mesh.positions.len(), 4, "vertices are shared again");
}

#[test]
fn absent_texture_coordinates_are_zero_with_a_warning() {
    let mut glb = Glb::triangle();
    let texture = glb.texture(&png(1, 1, [0; 4]));
    glb.json["materials"] = json!([{"emissiveTexture": {"index": texture, "texCoord": 1}}]);
    glb.json["meshes"][0]["primitives"][0]["material"] = json!(0);
    let loaded = glb.loaded();
    assert_eq!(loaded.scene.meshes[0].uvs[1], [Vec2::ZERO; 3]);
    assert!(warned(&loaded, "has no TEXCOORD_1"));
}

#[test]
fn lights_are_placed_by_their_nodes() {
    let mut glb = Glb::triangle();
    glb.json["extensions"] = json!({"KHR_lights_punctual": {"lights": [
        {"type": "point", "color": [1, 0.5, 0], "intensity": 10},
        {"type": "spot", "range": 5, "spot": {"innerConeAngle": 0.25, "outerConeAngle": 0.5},
         "extras": {"radius": 0.125, "anything": []}},
        {"type": "directional"},
    ]}});
    let carries = |light: u32| json!({"KHR_lights_punctual": {"light": light}});
    glb.json["nodes"] = json!([
        {"mesh": 0, "children": [1, 2, 3]},
        {"translation": [1, 2, 3], "extensions": carries(0)},
        {"rotation": [1, 0, 0, 0], "scale": [7, 7, 7], "extensions": carries(1)},
        {"extensions": carries(2)},
    ]);
    let scene = glb.loaded().scene;
    assert_eq!(scene.lights[0].intensity, Vec3::new(10.0, 5.0, 0.0));
    let (position, range) = (Vec3::new(1.0, 2.0, 3.0), f32::INFINITY);
    assert_eq!(scene.lights[0].kind, LightKind::Point { position, range, radius: 0.0 });
    let spot = LightKind::Spot {
        position: Vec3::ZERO,
        direction: Vec3::Z,
        range: 5.0,
        inner_cone_angle: 0.25,
        outer_cone_angle: 0.5,
        radius: 0.125,
    };
    assert_eq!(scene.lights[1].kind, spot);
    assert_eq!(scene.lights[2].kind, LightKind::Directional { direction: Vec3::NEG_Z });
    assert_eq!(scene.environment, Environment::Constant(Vec3::ZERO), "lights make the sky black");
}

#[test]
fn extras_of_a_light_are_anybodys_but_for_a_radius() {
    let load = |kind: &str, extras: serde_json::Value| {
        let mut glb = Glb::triangle();
        let light = json!({"type": kind, "extras": extras});
        glb.json["extensions"] = json!({"KHR_lights_punctual": {"lights": [light]}});
        glb.json["nodes"] = json!([{"mesh": 0, "extensions": {"KHR_lights_punctual": {"light": 0}}}]);
        glb.load()
    };
    for extras in [json!("lamp"), json!([1]), json!(null), json!({"size": 3}), json!({"radius": 0})] {
        let scene = load("point", extras).expect("nothing is wrong").scene;
        assert!(matches!(scene.lights[0].kind, LightKind::Point { radius: 0.0, .. }));
    }
    for (radius, problem) in [
        (json!(-0.5), "radius is -0.5"),
        (json!(1e10), "radius is 10000000000"),
        (json!(1e300), "radius is inf"),
        (json!("wide"), "its radius is not a number"),
    ] {
        let error = load("point", json!({"radius": radius})).expect_err("no radius").to_string();
        assert!(error.contains(problem) && error.contains("KHR_lights_punctual.lights[0]"), "{error}");
    }
    let loaded = load("directional", json!({"radius": 1})).expect("only told");
    assert!(warned(&loaded, "lights[0] is directional, so the radius"));
}

#[test]
fn cameras_lose_their_scale_and_share_no_name() {
    let mut glb = Glb::triangle();
    glb.json["cameras"] = json!([
        {"type": "perspective", "perspective": {"yfov": 0.5, "znear": 0.1}},
        {"type": "orthographic", "orthographic": {"xmag": 3, "ymag": 2, "znear": 0, "zfar": 9}},
        {"type": "perspective", "perspective": {"yfov": 0.5, "znear": 0.1},
         "extras": {"fNumber": 2.8, "focusDistance": 3, "anything": []}},
        {"type": "perspective", "perspective": {"yfov": 0.5, "znear": 0.1}, "extras": {"fNumber": "wide"}},
    ]);
    glb.json["nodes"] = json!([
        {"mesh": 0, "children": [1, 2, 3, 4, 5]},
        {"camera": 0, "name": "wide", "scale": [3, 3, 3], "translation": [0, 0, 5]},
        {"camera": 1, "name": "wide"},
        {"camera": 1},
        {"camera": 2},
        {"camera": 3},
    ]);
    let loaded = glb.loaded();
    let cameras = &loaded.scene.cameras;
    let names: Vec<_> = cameras.iter().map(|camera| camera.name.as_str()).collect();
    assert_eq!(names, ["wide", "wide (2)", "camera 2", "camera 3", "camera 4"]);
    assert_eq!(cameras[0].transform, Affine3A::from_translation(Vec3::Z * 5.0));
    assert_eq!(cameras[0].projection, Projection::Perspective { vertical_fov: 0.5, lens: None });
    assert_eq!(cameras[1].projection, Projection::Orthographic { half_height: 2.0 });
    let lens = Some(Lens { f_number: 2.8, focus_distance: 3.0 });
    assert_eq!(cameras[3].projection, Projection::Perspective { vertical_fov: 0.5, lens });
    assert_eq!(cameras[4].projection, Projection::Perspective { vertical_fov: 0.5, lens: None });
    assert!(warned(&loaded, "extras needs two numbers"));
}

#[test]
fn what_is_not_said_is_chosen_and_told() {
    let loaded = Glb::triangle().loaded();
    assert_eq!(loaded.scene.environment, Environment::Constant(Vec3::ONE));
    assert_eq!(loaded.scene.cameras[0].name, "automatic");
    assert!(warned(&loaded, "no camera") && warned(&loaded, "no light and no environment"));
}

#[test]
fn emissive_scenes_have_a_black_sky() {
    let mut glb = Glb::triangle();
    glb.json["materials"] = json!([{"emissiveFactor": [1, 1, 1]}]);
    glb.json["meshes"][0]["primitives"][0]["material"] = json!(0);
    let loaded = glb.loaded();
    assert_eq!(loaded.scene.environment, Environment::Constant(Vec3::ZERO));
    assert_eq!(loaded.summary().emissive_triangles, 1);
}

#[test]
fn constant_sky_comes_before_any_other() {
    let limits = SceneLimits::default();
    let files = Files::new("test.glb".to_owned(), None, &limits);
    let options = LoadOptions { sky: Some(Vec3::new(0.1, 0.2, 0.3)), ..LoadOptions::default() };
    let loaded = load_from_bytes(&Glb::triangle().bytes(), files, &options, &limits).expect("it is valid");
    assert_eq!(loaded.scene.environment, Environment::Constant(Vec3::new(0.1, 0.2, 0.3)));
}

#[test]
fn extensions_in_use_are_named() {
    let mut glb = Glb::triangle();
    glb.json["extensionsUsed"] = json!(["VENDOR_materials_felt", "KHR_materials_ior"]);
    let loaded = glb.loaded();
    assert!(warned(&loaded, "the extension VENDOR_materials_felt is not supported"));
    assert_eq!(loaded.extensions, ["KHR_materials_ior", "VENDOR_materials_felt"]);
}

#[test]
fn repeated_warnings_are_counted() {
    let mut glb = Glb::triangle();
    for _ in 0..150 {
        glb.primitive(json!({"attributes": {"POSITION": 0}, "mode": 0}));
    }
    let loaded = glb.loaded();
    assert_eq!(loaded.warnings.len(), 101);
    assert_eq!(loaded.warnings[100].0, "and 52 more warnings like these");
}

#[test]
fn text_files_name_their_buffers() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut glb = Glb::triangle();
    let path = directory.path().join("scene.gltf");
    let write = |json: &serde_json::Value| {
        std::fs::write(&path, serde_json::to_vec(json).expect("it is text")).expect("it is writable");
    };
    let load = || crate::load(&path, &LoadOptions::default());
    glb.json["buffers"][0]["uri"] = json!("the%20buffer.bin");
    write(&glb.json);
    let error = load().expect_err("the buffer is missing");
    let message = "scene `scene.gltf` names a buffer that is not there: the buffer.bin";
    assert_eq!(error.to_string(), message);
    std::fs::write(directory.path().join("the buffer.bin"), &glb.bin).expect("it is writable");
    let from_file = load().expect("the buffer is there").scene;
    let payload = data_encoding::BASE64.encode(&glb.bin);
    glb.json["buffers"][0]["uri"] = json!(format!("data:application/octet-stream;base64,{payload}"));
    write(&glb.json);
    assert_eq!(load().expect("the buffer is in the file").scene, from_file);
    assert_eq!(glb.loaded().scene.meshes, from_file.meshes);
}

/// A 4×2 map as OpenEXR.
pub(super) fn exr_map() -> Vec<u8> {
    exr_of(|x, y| (x as f32, y as f32, 0.5))
}

fn exr_of(texel: impl Fn(usize, usize) -> (f32, f32, f32) + Sync) -> Vec<u8> {
    use exr::prelude::{Image, SpecificChannels, WritableImage};
    let channels = SpecificChannels::rgb(|at: exr::math::Vec2<usize>| texel(at.x(), at.y()));
    let mut bytes = std::io::Cursor::new(Vec::new());
    Image::from_channels((4, 2), channels).write().to_buffered(&mut bytes).expect("memory does not fail");
    bytes.into_inner()
}

/// An 8×4 map as Radiance .hdr.
pub(super) fn hdr_map() -> Vec<u8> {
    let mut bytes = Vec::new();
    let texels: Vec<_> = (0..32_u8).map(|i| image::Rgb([f32::from(i), 0.25, 1000.0])).collect();
    image::codecs::hdr::HdrEncoder::new(&mut bytes).encode(&texels, 8, 4).expect("memory does not fail");
    bytes
}

fn decode_map(bytes: &[u8]) -> (Result<EnvironmentMap, Problem>, usize) {
    let mut warnings = Warnings::new(10);
    let map = crate::environment::decode(bytes, &SceneLimits::default(), &mut warnings);
    (map, warnings.len())
}

#[test]
fn exr_environment_is_read() {
    let map = decode_map(&exr_map()).0.expect("the map is valid");
    assert_eq!((map.width, map.height), (4, 2));
    assert_eq!(map.radiance[6], Vec3::new(2.0, 1.0, 0.5));
}

#[test]
fn hdr_environment_is_read() {
    let map = decode_map(&hdr_map()).0.expect("the map is valid");
    assert_eq!((map.width, map.height), (8, 4));
    let relative = (map.radiance[17] - Vec3::new(17.0, 0.25, 1000.0)).abs() / 1000.0;
    assert!(relative.max_element() < 1.0 / 128.0, "RGBE has eight bits of mantissa: {}", map.radiance[17]);
}

#[test]
fn negative_radiance_is_clamped_with_a_warning() {
    let (map, warnings) = decode_map(&exr_of(|x, _| (-0.001, x as f32, 1.0)));
    assert_eq!(map.expect("the map is mended").radiance[1], Vec3::new(0.0, 1.0, 1.0));
    assert_eq!(warnings, 1);
}

#[test]
fn radiance_that_is_not_finite_is_refused() {
    for wrong in [f32::NAN, f32::INFINITY] {
        let problem = decode_map(&exr_of(|x, y| (if (x, y) == (3, 1) { wrong } else { 1.0 }, 1.0, 1.0)));
        let text = problem.0.expect_err("the texel is not finite").to_string();
        assert!(text.starts_with("texel (3, 1) is ["), "{text}");
    }
}

#[test]
fn a_variant_exchanges_the_materials_that_it_names() {
    let mut glb = Glb::triangle();
    glb.json["extensionsUsed"] = json!(["KHR_materials_variants"]);
    glb.json["extensions"] =
        json!({"KHR_materials_variants": {"variants": [{"name": "day"}, {"name": "night"}]}});
    glb.json["materials"] = json!([{"name": "plain"}, {"name": "bright"}, {"name": "dark"}]);
    glb.json["meshes"][0]["primitives"][0]["material"] = json!(0);
    glb.json["meshes"][0]["primitives"][0]["extensions"] = json!({"KHR_materials_variants": {"mappings": [
        {"material": 1, "variants": [0]}, {"material": 2, "variants": [1, 7]},
    ]}});
    let shown = |variant: Option<&str>| {
        let options = LoadOptions { variant: variant.map(str::to_owned), ..LoadOptions::default() };
        let limits = SceneLimits::default();
        load_from_bytes(&glb.bytes(), Files::new("triangle.glb".to_owned(), None, &limits), &options, &limits)
    };
    for (variant, material) in [(None, "plain"), (Some("day"), "bright"), (Some("night"), "dark")] {
        let loaded = shown(variant).expect("the variant is there");
        assert_eq!(loaded.scene.materials[0].name, material);
        assert_eq!(loaded.variants, ["day", "night"]);
    }
    let text = shown(Some("dusk")).expect_err("there is none").to_string();
    assert!(text.contains("`dusk`") && text.contains("`day`, `night`"), "{text}");
}
