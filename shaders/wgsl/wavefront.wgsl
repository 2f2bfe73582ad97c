// The kernel in parts (Laine, Karras & Aila 2013, "Megakernels Considered
// Harmful: Wavefront Path Tracing on GPUs"): rays of many paths are traced by one
// kernel, and paths taken on by another, so that neither keeps the other's values
// in registers. What a path is lies in buffers meanwhile.

import package::layout::{params, records};
import package::path::Path;
import package::traverse::{Hit, Ray, traverse};
import package::work::{advance_work, begin_work, record_count, Work};

const ALIVE: u32 = 1u;
const HELD: u32 = 2u;
const SHADOWED: u32 = 4u;
const DONE: u32 = 8u;

const FRONT: u32 = 1u;
const OPAQUE: u32 = 2u;

// A ray, and whether it is to be traced.
struct RaySlot {
    origin: vec3<f32>,
    t_min: f32,
    direction: vec3<f32>,
    t_max: f32,
    after_instance: u32,
    after_triangle: u32,
    wanted: u32,
    time: u32,
}

struct HitSlot {
    t: f32,
    instance: u32,
    triangle: u32,
    b: f32,
    c: f32,
    flags: u32,
    padding0: u32,
    padding1: u32,
}

// A work item but for its rays, which are in their slots, and its record.
struct WorkSlot {
    throughput: vec3<f32>,
    pdf: f32,
    radiance: vec3<f32>,
    alpha: f32,
    light: vec3<f32>,
    flags: u32,
    media: vec4<u32>,
    segments: u32,
    passes: u32,
    shadow_passes: u32,
    rays: u32,
    key: u32,
    sample: u32,
    end: u32,
    place: u32,
    normal: vec3<f32>,
    channel: u32,
}

struct Progress {
    // The next record that nobody has taken up.
    next: atomic<u32>,
    // Records that are finished.
    finished: atomic<u32>,
}

// Work items in flight; an item's own ray and hit come first, its shadow ray's
// and that one's hit `params.slot_count` places later.
@group(1) @binding(0) var<storage, read_write> works: array<WorkSlot>;
@group(1) @binding(1) var<storage, read_write> rays: array<RaySlot>;
@group(1) @binding(2) var<storage, read_write> hits: array<HitSlot>;
@group(1) @binding(3) var<storage, read_write> progress: Progress;

fn flag(value: bool, bit: u32) -> u32 {
    return select(0u, bit, value);
}

fn ray_in(slot: u32) -> Ray {
    let ray = rays[slot];
    return Ray(ray.origin, ray.direction, ray.t_min, ray.t_max, ray.after_instance, ray.after_triangle);
}

fn put_ray(slot: u32, ray: Ray, time: u32, wanted: bool) {
    rays[slot] = RaySlot(
        ray.origin, ray.t_min, ray.direction, ray.t_max, ray.after_instance, ray.after_triangle,
        u32(wanted), time,
    );
}

fn hit_in(slot: u32) -> Hit {
    let hit = hits[slot];
    let front = (hit.flags & FRONT) != 0u;
    let opaque = (hit.flags & OPAQUE) != 0u;
    return Hit(hit.t, hit.instance, hit.triangle, hit.b, hit.c, front, opaque);
}

// One invocation traces the ray in its slot, if that is wanted, and alone writes
// its hit. The slots of shadow rays come after all others.
@compute @workgroup_size(64)
fn trace_rays(@builtin(global_invocation_id) id: vec3<u32>) {
    let slot = id.x;
    if (slot >= 2u * params.slot_count || rays[slot].wanted == 0u) {
        return;
    }
    let hit = traverse(ray_in(slot), rays[slot].time, slot >= params.slot_count);
    let flags = flag(hit.front, FRONT) | flag(hit.opaque, OPAQUE);
    hits[slot] = HitSlot(hit.t, hit.instance, hit.triangle, hit.b, hit.c, flags, 0u, 0u);
}

fn work_in(slot: u32) -> Work {
    let kept = works[slot];
    var work: Work;
    work.place = kept.place;
    work.end = kept.end;
    work.record = records[kept.place];
    work.done = (kept.flags & DONE) != 0u;
    work.path = Path(
        ray_in(slot), kept.throughput, kept.radiance, kept.alpha, kept.pdf, kept.segments, kept.passes,
        (kept.flags & ALIVE) != 0u, (kept.flags & HELD) != 0u,
        ray_in(slot + params.slot_count), (kept.flags & SHADOWED) != 0u, kept.shadow_passes, kept.light,
        kept.normal, kept.media, kept.channel, kept.rays, kept.key, kept.sample,
        rays[slot].time,
    );
    return work;
}

fn keep_work(slot: u32, work: Work) {
    let path = work.path;
    let flags = flag(path.alive, ALIVE) | flag(path.held, HELD) | flag(path.shadowed, SHADOWED)
        | flag(work.done, DONE);
    works[slot] = WorkSlot(
        path.throughput, path.pdf, path.radiance, path.alpha, path.light, flags, path.media,
        path.segments, path.passes, path.shadow_passes, path.rays, path.key, path.sample, work.end,
        work.place, path.normal, path.channel,
    );
    put_ray(slot, path.ray, path.time, !work.done && path.alive && !path.held);
    put_ray(slot + params.slot_count, path.shadow, path.time, !work.done && path.shadowed);
    if (!work.done) {
        records[work.place] = work.record;
    }
}

// Takes up the next record that has samples; an item without one is done and
// stays so.
fn next_work() -> Work {
    var work = begin_work(atomicAdd(&progress.next, 1u));
    for (var empty = 0u; empty < record_count(); empty++) {
        if (!work.done || work.place >= record_count()) {
            break;
        }
        atomicAdd(&progress.finished, 1u);
        work = begin_work(atomicAdd(&progress.next, 1u));
    }
    return work;
}

// One invocation takes up a record for its slot, and alone writes what belongs to
// that.
@compute @workgroup_size(64)
fn begin_works(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.slot_count) {
        return;
    }
    keep_work(id.x, next_work());
}

// One invocation takes the work item in its slot on by one step, from the hits of
// its rays, and alone writes what belongs to that; when the item is finished, it
// takes up another.
@compute @workgroup_size(64)
fn advance_works(@builtin(global_invocation_id) id: vec3<u32>) {
    let slot = id.x;
    if (slot >= params.slot_count || (works[slot].flags & DONE) != 0u) {
        return;
    }
    let shadow_slot = slot + params.slot_count;
    var work = advance_work(work_in(slot), hit_in(slot), hit_in(shadow_slot));
    if (work.done) {
        atomicAdd(&progress.finished, 1u);
        work = next_work();
    }
    keep_work(slot, work);
}
