//! Scenes in pages, on the first adapter of a graphics API where there is one.

use super::*;
use crate::Engine;
use crate::class::{probe_scene, probe_task};
use crate::upload::{DeviceScene, ScenePlace};

/// The probe has textures, instances, vertex colours and a sky map, and every array
/// that may lie in pages fills more than half of them.
#[test]
fn pages_give_the_same_bits_as_whole_arrays() {
    for variant in Variant::ALL {
        let Some(renderer) = open_graphics(Checks::of_this_build(), variant) else { continue };
        let Engine::Gpu(device) = &renderer.engine else { panic!("it is a graphics adapter") };
        // A software driver takes minutes to compile the wavefront's pages.
        let is_slow = variant == Variant::Wavefront && device.kind == wgpu::DeviceType::Cpu;
        if !device.can_page() || is_slow {
            continue;
        }
        let (task, prepared) = (probe_task(), renderer.prepare(&probe_scene()).expect("it is small"));
        let whole = renderer.upload(&prepared).expect("it is small");
        let paged = DeviceScene::upload_in_smallest_pages(device, &prepared).expect("it is small");
        let is_paged = |scene: &DeviceScene| matches!(scene.place, ScenePlace::Gpu { is_paged: true, .. });
        assert!(is_paged(&paged) && !is_paged(&whole));
        let [one, many] = [&whole, &paged].map(|scene| {
            renderer.render(scene, &task, &mut |_| ControlFlow::Continue(())).expect("rendered")
        });
        assert!(bits(&one) == bits(&many), "{variant:?}");
    }
}
