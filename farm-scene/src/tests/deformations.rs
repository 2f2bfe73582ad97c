//! Skins and morph targets against values found by hand, and what is wrong with
//! them.

use glam::{Affine3A, Vec3, Vec3A, Vec4};
use serde_json::{Value, json};

use super::animations::{animated, check_fault, load_at};
use super::glb::{Glb, png};

/// A square of which one target raises the first vertex and lets the normals
/// lean over, and the other, sparse, raises the third.
pub(super) fn morphed() -> Glb {
    let mut glb = Glb::square();
    let mut deltas = vec![0.0; 12];
    deltas[2] = 1.0;
    let dense = glb.floats("VEC3", &deltas);
    let normals = glb.floats("VEC3", &[1.0, 0.0, 0.0].repeat(4));
    let indices = glb.view(&[2]);
    let values: Vec<u8> = [0.0_f32, 0.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let values = glb.view(&values);
    let sparse = glb.push("accessors", json!({
        "componentType": 5126, "count": 4, "type": "VEC3",
        "sparse": {"count": 1, "indices": {"bufferView": indices, "componentType": 5121}, "values": {"bufferView": values}},
    }));
    glb.json["meshes"][0]["primitives"][0]["targets"] =
        json!([{"POSITION": dense, "NORMAL": normals}, {"POSITION": sparse}]);
    glb
}

#[test]
fn morph_targets_displace_positions_and_normals() {
    let mut glb = morphed();
    let rest = glb.loaded().scene.meshes[0].clone();
    assert!(rest.positions.iter().all(|position| position.z == 0.0), "weights are zeros by default");
    glb.json["meshes"][0]["weights"] = json!([1, 0.25]);
    let mesh = glb.loaded().scene.meshes[0].clone();
    assert_eq!(mesh.positions.iter().map(|position| position.z).collect::<Vec<_>>(), [1.0, 0.0, 1.0, 0.0]);
    let leaning = Vec3::new(1.0, 0.0, 1.0).normalize();
    assert!(mesh.normals.iter().all(|normal| (*normal - leaning).length() < 1e-6), "{:?}", mesh.normals);
    glb.json["nodes"][0]["weights"] = json!([0, -1]);
    let mesh = glb.loaded().scene.meshes[0].clone();
    assert_eq!(mesh.positions[2].z.to_bits(), (-4.0_f32).to_bits(), "the node's weights go first");
    assert_eq!(mesh.normals, rest.normals);
}

#[test]
fn weights_are_animated() {
    let glb = animated(morphed(), "weights", "LINEAR", &[0.0, 1.0], "SCALAR", &[0.0, 0.0, 1.0, 0.5]);
    let mesh = load_at(&glb, 0.5).scene.meshes[0].clone();
    assert_eq!(mesh.positions.iter().map(|position| position.z).collect::<Vec<_>>(), [0.5, 0.0, 1.0, 0.0]);
    let mesh = load_at(&glb, 0.0).scene.meshes[0].clone();
    assert_eq!(mesh, glb.loaded().scene.meshes[0], "without weight a target does nothing");
}

#[test]
fn nodes_share_meshes_of_equal_weights() {
    let mut glb = morphed();
    glb.json["nodes"] =
        json!([{"mesh": 0, "weights": [1, 0]}, {"mesh": 0}, {"mesh": 0, "weights": [1, 0]}, {"mesh": 0}]);
    glb.json["scenes"][0]["nodes"] = json!([0, 1, 2, 3]);
    let scene = glb.loaded().scene;
    assert_eq!(scene.instances.iter().map(|instance| instance.mesh).collect::<Vec<_>>(), [0, 1, 0, 1]);
}

/// A strip of three pairs of vertices at y = 0, 1 and 2, whose lower end follows
/// joint 0 (node 1), whose upper end follows joint 1 (node 2, a metre above
/// joint 0) and whose middle follows both alike. Node 0 has the mesh, and a
/// transform that must not matter.
pub(super) fn skinned(weights: Value) -> Glb {
    let mut glb = Glb::new();
    let positions: Vec<f32> = (0..6_u8).flat_map(|i| [f32::from(i % 2), f32::from(i / 2), 0.0]).collect();
    let positions = glb.floats("VEC3", &positions);
    let normals = glb.floats("VEC3", &[0.0, 0.0, 1.0].repeat(6));
    let joints = glb.accessor(&[0, 1, 77, 77].repeat(6), json!({"componentType": 5121, "type": "VEC4"}));
    let weights = match weights {
        Value::Null => {
            let (low, both, high) = ([255, 0, 0, 0], [128, 128, 0, 0], [0, 255, 0, 0]);
            let bytes = [low, low, both, both, high, high].concat();
            glb.accessor(&bytes, json!({"componentType": 5121, "normalized": true, "type": "VEC4"}))
        }
        accessor => {
            let values: Vec<f32> = serde_json::from_value(accessor).expect("weights are numbers");
            glb.floats("VEC4", &values)
        }
    };
    let inverse = |y: f32| [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, -y, 0.0, 1.0];
    let inverses = glb.floats("MAT4", &[inverse(0.0), inverse(1.0)].concat());
    glb.primitive(json!({
        "attributes": {"POSITION": positions, "NORMAL": normals, "JOINTS_0": joints, "WEIGHTS_0": weights},
        "mode": 5,
    }));
    glb.json["skins"] = json!([{"joints": [1, 2], "inverseBindMatrices": inverses}]);
    glb.json["nodes"] = json!([
        {"mesh": 0, "skin": 0, "translation": [50, 60, 70], "scale": [-1, 2, 3]},
        {"children": [2]},
        {"translation": [0, 1, 0]},
    ]);
    glb.json["scenes"][0]["nodes"] = json!([0, 1]);
    glb
}

#[test]
fn skins_at_rest_show_their_nodes_and_not_the_meshs_own() {
    let scene = skinned(Value::Null).loaded().scene;
    assert_eq!(scene.instances[0].transform, Affine3A::IDENTITY);
    let expected: Vec<_> = (0..6_u8).map(|i| Vec3::new(f32::from(i % 2), f32::from(i / 2), 0.0)).collect();
    assert_eq!(scene.meshes[0].positions, expected);
    assert_eq!(scene.meshes[0].normals, [Vec3::Z; 6]);
}

/// Joint 1 turns by 90° about x, so that +y goes to +z.
#[test]
fn vertices_follow_the_blend_of_their_joints() {
    let mut glb = skinned(Value::Null);
    let half = std::f32::consts::FRAC_1_SQRT_2;
    glb.json["nodes"][2]["rotation"] = json!([half, 0, 0, half]);
    glb.json["nodes"][1]["translation"] = json!([10, 0, 0]);
    let mesh = &glb.loaded().scene.meshes[0];
    let expected = [
        [10.0, 0.0, 0.0],
        [11.0, 0.0, 0.0],
        // At the joint itself both matrices agree.
        [10.0, 1.0, 0.0],
        [11.0, 1.0, 0.0],
        [10.0, 1.0, 1.0],
        [11.0, 1.0, 1.0],
    ];
    for (found, expected) in mesh.positions.iter().zip(expected) {
        assert!((*found - Vec3::from(expected)).length() < 1e-6, "{found}, not {expected:?}");
    }
    // The mean of the two matrices carries z to (0, −½, ½), and scales y and z
    // alike, so that normals turn by 45°.
    let expected = [Vec3::Z, Vec3::new(0.0, -half, half), Vec3::NEG_Y];
    for (i, found) in mesh.normals.iter().enumerate() {
        assert!((*found - expected[i / 2]).length() < 1e-6, "{i}: {found}");
    }
}

#[test]
fn normals_go_by_the_inverse_transpose() {
    let mut glb = skinned(Value::Null);
    let normals = glb.floats("VEC3", &[0.6, 0.0, 0.8].repeat(6));
    glb.json["meshes"][0]["primitives"][0]["attributes"]["NORMAL"] = json!(normals);
    glb.json["nodes"][1]["scale"] = json!([2, 1, 1]);
    let mesh = &glb.loaded().scene.meshes[0];
    let expected = Vec3::new(0.3, 0.0, 0.8).normalize();
    assert!(mesh.normals.iter().all(|normal| (*normal - expected).length() < 1e-6), "{:?}", mesh.normals);
    assert_eq!(mesh.positions[5], Vec3::new(2.0, 2.0, 0.0));
}

#[test]
fn skins_that_mirror_keep_fronts_in_front() {
    let mut glb = skinned(Value::Null);
    let front = |mesh: &crate::Mesh| {
        let [a, b, c] = mesh.triangles[0].map(|vertex| mesh.positions[vertex as usize]);
        (b - a).cross(c - a).dot(mesh.normals[mesh.triangles[0][0] as usize]).signum()
    };
    let before = front(&glb.loaded().scene.meshes[0]);
    glb.json["nodes"][1]["scale"] = json!([-1, 1, 1]);
    let mesh = &glb.loaded().scene.meshes[0];
    assert_eq!(mesh.positions[5], Vec3::new(-1.0, 2.0, 0.0));
    assert_eq!(mesh.normals, [Vec3::Z; 6]);
    assert_eq!(front(mesh).to_bits(), before.to_bits());
}

#[test]
fn weights_need_not_sum_to_one_and_further_sets_count() {
    let weights = [[3.0, 1.0, 0.0, 0.0]; 6].concat();
    let mut glb = skinned(json!(weights));
    glb.json["nodes"][2]["translation"] = json!([0, 5, 0]);
    // Joint 1 is lifted by 4, and has a quarter of the weight.
    assert_eq!(glb.loaded().scene.meshes[0].positions[0], Vec3::Y);
    let joints: Vec<u8> = [1_u16, 0, 0, 0].repeat(6).iter().flat_map(|x| x.to_le_bytes()).collect();
    let joints = glb.accessor(&joints, json!({"componentType": 5123, "type": "VEC4"}));
    let weights = glb.floats("VEC4", &[4.0, 0.0, 0.0, 0.0].repeat(6));
    let attributes = &mut glb.json["meshes"][0]["primitives"][0]["attributes"];
    attributes["JOINTS_1"] = json!(joints);
    attributes["WEIGHTS_1"] = json!(weights);
    // Now 5 of 8.
    assert_eq!(glb.loaded().scene.meshes[0].positions[0], Vec3::Y * 2.5);
}

#[test]
fn vertices_without_weight_follow_the_first_joint() {
    let mut glb = skinned(json!(vec![0.0; 24]));
    glb.json["nodes"][1]["translation"] = json!([3, 0, 0]);
    let loaded = glb.loaded();
    assert_eq!(loaded.scene.meshes[0].positions[0], Vec3::X * 3.0);
    let text = "meshes[0].primitives[0]: 6 vertices follow no joint; they follow the skin's first";
    assert!(loaded.warnings.iter().any(|warning| warning.0 == text), "{:?}", loaded.warnings);
}

#[test]
fn tangents_follow_the_matrix() {
    let mut glb = skinned(Value::Null);
    let uvs = glb.floats("VEC2", &[0.0; 12]);
    let tangents = glb.floats("VEC4", &[1.0, 0.0, 0.0, 1.0].repeat(6));
    let texture = glb.texture(&png(1, 1, [128, 128, 255, 255]));
    glb.json["materials"] = json!([{"normalTexture": {"index": texture}}]);
    let primitive = &mut glb.json["meshes"][0]["primitives"][0];
    primitive["material"] = json!(0);
    primitive["attributes"]["TEXCOORD_0"] = json!(uvs);
    primitive["attributes"]["TANGENT"] = json!(tangents);
    let half = std::f32::consts::FRAC_1_SQRT_2;
    glb.json["nodes"][1]["rotation"] = json!([0, 0, half, half]);
    let turned = glb.loaded().scene.meshes[0].tangents[0];
    assert!((turned - Vec4::new(0.0, 1.0, 0.0, 1.0)).length() < 1e-6, "{turned}");
    glb.json["nodes"][1]["scale"] = json!([1, 1, -1]);
    assert_eq!(glb.loaded().scene.meshes[0].tangents[0].w.to_bits(), (-1.0_f32).to_bits());
}

#[test]
fn skins_and_their_transforms_are_shared() {
    let mut glb = skinned(Value::Null);
    glb.push("nodes", json!({"mesh": 0, "skin": 0}));
    glb.json["scenes"][0]["nodes"] = json!([0, 1, 3]);
    let scene = glb.loaded().scene;
    assert_eq!((scene.meshes.len(), scene.instances.len()), (1, 2));
}

#[test]
fn meshes_that_name_no_joints_are_shown_unskinned() {
    let mut glb = Glb::triangle();
    glb.json["skins"] = json!([{"joints": [0]}]);
    glb.json["nodes"][0] = json!({"mesh": 0, "skin": 0, "translation": [1, 0, 0]});
    let loaded = glb.loaded();
    assert_eq!(loaded.scene.instances[0].transform.translation, Vec3A::X);
    assert!(loaded.warnings.iter().any(|warning| warning.0.contains("nodes[0] has a skin")));
}

#[test]
fn weights_that_do_not_match_their_targets() {
    let mut glb = morphed();
    glb.json["meshes"][0]["weights"] = json!([1, 2, 3]);
    check_fault(&glb, "meshes[0].weights: 3 weights for 2 morph targets");
    glb.json["nodes"][0]["weights"] = json!([1]);
    check_fault(&glb, "nodes[0].weights: 1 weights for 2 morph targets");
}

#[test]
fn displacements_that_do_not_match_their_vertices() {
    let mut glb = morphed();
    let short = glb.floats("VEC3", &[0.0; 9]);
    glb.json["meshes"][0]["primitives"][0]["targets"][1]["POSITION"] = json!(short);
    glb.json["meshes"][0]["weights"] = json!([0, 1]);
    check_fault(&glb, "meshes[0].primitives[0].targets[1].POSITION: 3 displacements for 4 vertices");
}

#[test]
fn displacements_out_of_the_world() {
    let mut glb = morphed();
    glb.json["meshes"][0]["weights"] = json!([1e10, 0]);
    let text = "a morph target or a skin carries a vertex farther than 1e9 metres";
    check_fault(&glb, &format!("meshes[0].primitives[0]: {text}"));
}

#[test]
fn primitives_with_different_targets() {
    let mut glb = morphed();
    glb.primitive(json!({"attributes": {"POSITION": 0}}));
    check_fault(&glb, "meshes[0].primitives[1]: 0 morph targets, but the first primitive has 2");
}

#[test]
fn joints_out_of_range() {
    let mut glb = skinned(Value::Null);
    glb.json["skins"][0]["joints"] = json!([1]);
    check_fault(&glb, "meshes[0].primitives[0].attributes.JOINTS_0: names joint 1, but there are only 1");
    glb.json["skins"][0]["joints"] = json!([1, 99]);
    check_fault(&glb, "skins[0].joints[1]: names node 99, but there are only 3");
    glb.json["skins"][0]["joints"] = json!([]);
    check_fault(&glb, "skins[0]: a joint is missing");
    glb.json["skins"][0]["joints"] = json!([1, 2, 0]);
    check_fault(&glb, "skins[0].inverseBindMatrices: 2 matrices for 3 joints");
    glb.json["nodes"][0]["skin"] = json!(4);
    check_fault(&glb, "nodes[0]: names skin 4, but there are only 1");
}

#[test]
fn joints_outside_the_scene() {
    let mut glb = skinned(Value::Null);
    glb.json["scenes"][0]["nodes"] = json!([0]);
    check_fault(&glb, "skins[0].joints[0]: joint 1 is not a node of the scene that is shown");
}

#[test]
fn inverse_bind_matrices_of_a_perspective() {
    let mut glb = skinned(Value::Null);
    let inverses = glb.floats("MAT4", &[[1.0_f32; 16], [1.0; 16]].concat());
    glb.json["skins"][0]["inverseBindMatrices"] = json!(inverses);
    check_fault(&glb, "skins[0].inverseBindMatrices: the last row of matrix 0 is not (0, 0, 0, 1)");
}

#[test]
fn weights_of_joints_that_are_wrong() {
    check_fault(
        &skinned(json!([[-1.0, 2.0, 0.0, 0.0]; 6].concat())),
        "meshes[0].primitives[0].attributes.WEIGHTS_0: a weight is -1; expected 0 or more",
    );
    check_fault(
        &skinned(json!([[1.0, 0.0, 0.0, 0.0]; 5].concat())),
        "meshes[0].primitives[0].attributes.WEIGHTS_0: 5 weights for 6 vertices",
    );
    let mut glb = skinned(Value::Null);
    let attributes = &mut glb.json["meshes"][0]["primitives"][0]["attributes"];
    attributes.as_object_mut().expect("an object").remove("WEIGHTS_0");
    let place = "meshes[0].primitives[0].attributes.JOINTS_0";
    check_fault(&glb, &format!("{place}: the attribute WEIGHTS of the same number is missing"));
}
