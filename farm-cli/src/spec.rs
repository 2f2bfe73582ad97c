//! What the artist says of a scene and its job, made sense of.

use std::path::Path;

use farm_core::{BlobDigest, Limits, Resolution};
use farm_scene::{Lens, LoadError, LoadOptions, Loaded, Projection, Scene, SceneLimits};

use crate::args::SceneArgs;
use crate::output::{Failure, describe};

/// Loads a scene at rest for a frame of this shape.
pub(crate) fn load_scene(scene: &SceneArgs, size: Resolution) -> Result<Loaded, Failure> {
    farm_scene::load(&scene.scene, &load_options(scene, size)).map_err(|error| bad_scene(&error))
}

/// The options of a scene for a frame of this shape.
pub(crate) fn load_options(scene: &SceneArgs, size: Resolution) -> LoadOptions {
    #[expect(clippy::cast_precision_loss, reason = "frame edges stay below 2^24")]
    let aspect_ratio = size.width as f32 / size.height as f32;
    LoadOptions {
        environment: scene.env.clone(),
        environment_strength: scene.env_strength,
        environment_rotation: scene.env_rotation.to_radians(),
        sky: scene.sky.map(|sky| sky.0.into()),
        aspect_ratio,
        variant: scene.variant.clone(),
        ..LoadOptions::default()
    }
}

/// Why a scene cannot be loaded, for the artist.
pub(crate) fn bad_scene(error: &LoadError) -> Failure {
    Failure::wrong_use(describe(error))
}

/// A blob's digest as the farm writes it.
pub(crate) fn digest_of(blob: &farm_scene::Blob) -> BlobDigest {
    BlobDigest(*blob.digest.as_bytes())
}

/// The edge of the tiles where the artist names none: large enough that a tile
/// fills an adapter, small enough that there are some tiles for every node.
pub(crate) fn tile_size_for(size: Resolution) -> u32 {
    /// So many rectangles keep a dozen lanes busy at two leases each.
    const ENOUGH: u32 = 24;
    let enough = |&tile: &u32| farm_core::plan::rect_count(size, tile) >= ENOUGH;
    [256, 128, 64].into_iter().find(enough).unwrap_or(32)
}

/// A job's name as the artist gives it.
pub(crate) fn checked_name(name: String) -> Result<String, Failure> {
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        return Err(Failure::wrong_use("the job's name is empty or holds control characters"));
    }
    Ok(name)
}

/// A job's name from its scene file, cut to what the farm allows.
pub(crate) fn name_of(scene: &Path) -> String {
    let stem = scene.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let most = usize::try_from(Limits::default().job_name_bytes).unwrap_or(usize::MAX);
    let mut name = String::new();
    for c in stem.chars().map(|c| if c.is_control() { '_' } else { c }) {
        if name.len() + c.len_utf8() > most {
            break;
        }
        name.push(c);
    }
    if name.is_empty() { "scene".to_owned() } else { name }
}

/// The index of a camera by its name or, where none has that name, its number.
pub(crate) fn find_camera(scene: &Scene, wanted: &str) -> Result<u32, Failure> {
    let named: Vec<usize> =
        (0..scene.cameras.len()).filter(|&index| scene.cameras[index].name == wanted).collect();
    let number = wanted.parse().ok().filter(|&index: &usize| index < scene.cameras.len());
    let found = match (&named[..], number) {
        ([index], _) => *index,
        ([], Some(index)) => index,
        ([], None) => {
            return Err(Failure::wrong_use(format!("the scene has no camera `{wanted}`"))
                .with_hint(format!("it has {}", list_cameras(scene))));
        }
        (_, _) => {
            return Err(Failure::wrong_use(format!("several cameras of the scene are called `{wanted}`"))
                .with_hint(format!("take one by its number: {}", list_cameras(scene))));
        }
    };
    u32::try_from(found).map_err(|_| Failure::wrong_use("the camera's number is too large"))
}

/// Gives a camera the lens that was asked for, or changes what is asked for of the
/// one that it has.
pub(crate) fn set_lens(
    scene: &mut Scene,
    camera: u32,
    f_number: Option<f32>,
    focus_distance: Option<f32>,
) -> Result<(), Failure> {
    if f_number.is_none() && focus_distance.is_none() {
        return Ok(());
    }
    let camera = &mut scene.cameras[camera as usize];
    let Projection::Perspective { lens, .. } = &mut camera.projection else {
        return Err(Failure::wrong_use(format!("camera `{}` is orthographic and has no lens", camera.name))
            .with_hint("leave `--fstop` and `--focus-distance` out, or take a perspective camera"));
    };
    let missing = |option: &str| {
        let message = format!("camera `{}` has no lens of its own, so `{option}` is needed too", camera.name);
        Failure::wrong_use(message)
    };
    let own = *lens;
    let wanted = Lens {
        f_number: f_number.or(own.map(|own| own.f_number)).ok_or_else(|| missing("--fstop"))?,
        focus_distance: focus_distance
            .or(own.map(|own| own.focus_distance))
            .ok_or_else(|| missing("--focus-distance"))?,
    };
    farm_scene::validate_lens(wanted, &SceneLimits::default())
        .map_err(|problem| Failure::wrong_use(format!("the lens: {problem}")))?;
    *lens = Some(wanted);
    Ok(())
}

/// The scene's cameras in words, a screenful at most.
fn list_cameras(scene: &Scene) -> String {
    const SHOWN: usize = 16;
    let mut names: Vec<String> = scene
        .cameras
        .iter()
        .take(SHOWN)
        .enumerate()
        .map(|(index, camera)| format!("{index} `{}`", camera.name))
        .collect();
    if scene.cameras.len() > SHOWN {
        names.push(format!("and {} more", scene.cameras.len() - SHOWN));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use farm_scene::Camera;

    fn scene_with_cameras(names: &[&str]) -> Scene {
        let camera = |name: &&str| Camera {
            name: (*name).to_owned(),
            transform: Default::default(),
            projection: Projection::Perspective { vertical_fov: 1.0, lens: None },
        };
        Scene { cameras: names.iter().map(camera).collect(), ..Scene::default() }
    }

    #[test]
    fn cameras_are_found_by_name_before_number() {
        let scene = scene_with_cameras(&["front", "0", "back"]);
        for (wanted, index) in [("front", 0), ("0", 1), ("back", 2), ("2", 2)] {
            assert_eq!(find_camera(&scene, wanted).expect(wanted), index);
        }
    }

    #[test]
    fn unknown_and_ambiguous_cameras_are_refused_with_the_list() {
        let scene = scene_with_cameras(&["front", "twin", "twin"]);
        for wanted in ["side", "3", "-1", "", "twin"] {
            let failure = find_camera(&scene, wanted).expect_err(wanted);
            assert_eq!(failure.exit.code(), 2);
            assert!(failure.hint.is_some_and(|hint| hint.contains("`front`")), "{wanted}");
        }
    }

    #[test]
    fn job_names_come_from_the_file_and_fit() {
        assert_eq!(name_of(Path::new("a/kitchen.v2.glb")), "kitchen.v2");
        assert_eq!(name_of(Path::new("..")), "scene");
        let long = name_of(Path::new(&format!("{}.glb", "é".repeat(200))));
        assert_eq!(long, "é".repeat(127));
    }

    #[test]
    fn small_pictures_get_small_tiles() {
        for (width, height, tile) in [(1920, 1080, 256), (1280, 720, 128), (320, 240, 32), (16, 16, 32)] {
            assert_eq!(tile_size_for(Resolution { width, height }), tile, "{width}x{height}");
        }
    }

    #[test]
    fn a_lens_is_given_whole_or_changed_in_part() {
        let mut scene = scene_with_cameras(&["front"]);
        let lens = |scene: &Scene| match scene.cameras[0].projection {
            Projection::Perspective { lens, .. } => lens,
            Projection::Orthographic { .. } => None,
        };
        for (f_number, distance, option) in
            [(Some(2.8), None, "--focus-distance"), (None, Some(3.0), "--fstop")]
        {
            let failure = set_lens(&mut scene, 0, f_number, distance).expect_err("half a lens");
            assert!(format!("{failure:?}").contains(option), "{failure:?}");
        }
        assert_eq!(lens(&scene), None);
        set_lens(&mut scene, 0, Some(2.8), Some(3.0)).expect("a whole lens");
        set_lens(&mut scene, 0, None, Some(4.0)).expect("the f-number stays");
        assert_eq!(lens(&scene), Some(Lens { f_number: 2.8, focus_distance: 4.0 }));
        assert!(set_lens(&mut scene, 0, Some(1e9), None).is_err());
        scene.cameras[0].projection = Projection::Orthographic { half_height: 1.0 };
        assert!(set_lens(&mut scene, 0, Some(2.8), Some(3.0)).is_err());
    }
}
