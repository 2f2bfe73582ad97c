//! Which variant of the kernels suits an adapter: measured once, then kept on
//! disk for as long as adapter, driver and shaders are the same.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use farm_core::{BlockRange, Rect, RenderTask, Resolution};

use crate::class::{probe_scene, probe_task};
use crate::device::{Checks, Variant, can_run, identity_of};
use crate::disk_cache::{DiskCache, Input, Key, invalid, write_array};
use crate::prepared::SOURCES;
use crate::{AdapterInfo, DeviceScene, RenderError, Renderer};

/// The picture is enlarged until it takes this long, so that it fills the
/// adapter.
const LONG_ENOUGH: Duration = Duration::from_millis(60);

/// Edges of the picture, the first and the largest.
const FIRST_EDGE: u32 = 48;
const LARGEST_EDGE: u32 = 1536;

/// Renders of each variant, in turns, of which the fastest counts.
const TURNS: usize = 3;

/// The wavefront needs more memory, so it must be faster by this factor.
const WORTHWHILE: f64 = 1.05;

/// Opens an adapter with the variant that suits it. Without a cache nothing is
/// measured, as nothing could be kept, and it gets the megakernel.
pub(crate) fn open(
    info: &AdapterInfo,
    adapter: &wgpu::Adapter,
    checks: Checks,
    cache: Option<&Arc<DiskCache>>,
) -> Result<Renderer, RenderError> {
    let open = |variant| Renderer::open_gpu(info.clone(), adapter, checks, variant, cache);
    let Some(cache) = cache.filter(|_| can_run(adapter, Variant::Wavefront)) else {
        return open(Variant::Megakernel);
    };
    let key = key(adapter);
    if let Some(variant) = cache.read(key, read_variant) {
        return open(variant);
    }
    let [megakernel, wavefront] = [open(Variant::Megakernel)?, open(Variant::Wavefront)?];
    let [one, many] = measure([&megakernel, &wavefront])?;
    let ratio = one.as_secs_f64() / many.as_secs_f64().max(f64::MIN_POSITIVE);
    let (variant, chosen) =
        if ratio >= WORTHWHILE { (Variant::Wavefront, wavefront) } else { (Variant::Megakernel, megakernel) };
    tracing::info!(
        adapter = info.name,
        "the wavefront is {ratio:.2} times as fast as the megakernel; taking the {}",
        variant.name()
    );
    cache.write_aside(key, move |output| write_array(output, variant.name().as_bytes()));
    Ok(chosen)
}

fn key(adapter: &wgpu::Adapter) -> Key {
    let identity = identity_of(&adapter.get_info());
    Key::of("variant", &[SOURCES, &shaders::DIGEST, identity.as_bytes()])
}

fn read_variant(input: &mut Input) -> std::io::Result<Variant> {
    let name: Vec<u8> = input.array()?;
    Variant::ALL
        .into_iter()
        .find(|variant| variant.name().as_bytes() == name)
        .ok_or_else(|| invalid("it names no variant"))
}

/// Time that each of two renderers needs for the same picture.
fn measure(renderers: [&Renderer; 2]) -> Result<[Duration; 2], RenderError> {
    let scene = probe_scene();
    let scenes = [renderers[0].load(&scene)?, renderers[1].load(&scene)?];
    let mut edge = FIRST_EDGE;
    while edge < LARGEST_EDGE && time(renderers[0], &scenes[0], edge)? < LONG_ENOUGH {
        edge *= 2;
    }
    let mut best = [Duration::MAX; 2];
    for _ in 0..TURNS {
        for ((renderer, scene), best) in renderers.iter().zip(&scenes).zip(&mut best) {
            *best = time(renderer, scene, edge)?.min(*best);
        }
    }
    Ok(best)
}

fn time(renderer: &Renderer, scene: &DeviceScene, edge: u32) -> Result<Duration, RenderError> {
    let mut task = RenderTask {
        resolution: Resolution { width: edge, height: edge },
        rect: Rect { x: 0, y: 0, width: edge, height: edge },
        range: BlockRange::root(1),
        ..probe_task()
    };
    task.settings.samples_per_pixel = farm_core::BASE_BLOCK_SAMPLES;
    let began = Instant::now();
    renderer.render(scene, &task, &mut |_| ControlFlow::Continue(()))?;
    Ok(began.elapsed())
}
