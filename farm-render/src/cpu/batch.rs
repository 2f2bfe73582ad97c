//! Many rays at a time: in the lanes of AVX-512 where the processor has that, or
//! else one after the other.

use shaders::native::{HitBatch, RayBatch, Tracer};

use super::beam::BEAM;
use super::hit::{Hit, Ray, no_hit};
#[cfg(target_arch = "x86_64")]
use super::lanes16;
use super::quad::QuadTree;
use super::traverse::Traversal;

/// Fewer rays than this are traced one after the other: lanes that have no ray
/// take as long as those that do.
#[cfg(target_arch = "x86_64")]
const WORTH_LANES: usize = 24;

/// Whether this processor traces many rays at a time.
pub(super) fn is_here() -> bool {
    #[cfg(target_arch = "x86_64")]
    return lanes16::are_here();
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Whether a tree is shallow enough for that.
pub(super) fn can_walk(quads: &QuadTree) -> bool {
    #[cfg(target_arch = "x86_64")]
    return lanes16::can_walk(quads);
    #[cfg(not(target_arch = "x86_64"))]
    return quads.levels == 0;
}

/// Each hit has the bits of [`Traversal::closest`], but that where any opaque hit
/// will do another one of them may be found.
impl Tracer for Traversal<'_> {
    fn trace(&self, rays: &RayBatch, hits: &mut HitBatch) {
        for slots in rays.alike.chunks(BEAM) {
            self.trace_together(rays, slots, hits);
        }
        // Vectors compare distances in a way that wants none below zero.
        #[cfg(target_arch = "x86_64")]
        if rays.wanted.len() >= WORTH_LANES
            && let Some(scene) = self.in_lanes()
            && rays.wanted.iter().all(|&slot| rays.t_min[slot as usize] >= 0.0)
        {
            return lanes16::closest(&scene, rays, hits);
        }
        for &slot in &rays.wanted {
            let hit = self.closest(&ray_in(rays, slot as usize), slot >= rays.any_opaque_from);
            put_hit(hits, slot as usize, &hit);
        }
    }
}

impl Traversal<'_> {
    fn trace_together(&self, rays: &RayBatch, slots: &[u32], hits: &mut HitBatch) {
        let first = ray_in(rays, slots[0] as usize);
        let (mut packet, mut found) = ([first; BEAM], [no_hit(&first); BEAM]);
        let (packet, found) = (&mut packet[..slots.len()], &mut found[..slots.len()]);
        for (ray, &slot) in packet.iter_mut().zip(slots) {
            *ray = ray_in(rays, slot as usize);
        }
        self.closest_together(packet, found);
        for (hit, &slot) in found.iter().zip(slots) {
            put_hit(hits, slot as usize, hit);
        }
    }
}

fn ray_in(rays: &RayBatch, slot: usize) -> Ray {
    Ray {
        origin: rays.origin.each_ref().map(|component| component[slot]),
        direction: rays.direction.each_ref().map(|component| component[slot]),
        t_min: rays.t_min[slot],
        t_max: rays.t_max[slot],
        after_instance: rays.after_instance[slot],
        after_triangle: rays.after_triangle[slot],
        time: rays.time[slot],
    }
}

fn put_hit(hits: &mut HitBatch, slot: usize, hit: &Hit) {
    hits.t[slot] = hit.t;
    hits.instance[slot] = hit.instance;
    hits.triangle[slot] = hit.triangle;
    hits.b[slot] = hit.b;
    hits.c[slot] = hit.c;
    hits.flags[slot] = HitBatch::FRONT * u32::from(hit.front) + HitBatch::OPAQUE * u32::from(hit.opaque);
}
