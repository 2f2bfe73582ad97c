//! What drives the work items natively: as `main.wgsl` does, but with the rays of
//! many paths traced together.

/// Rays of each kind that are in flight on a thread. A tracer that works on many
/// at once is seldom short of them, and their paths stay in the second-level
/// cache (about 250 bytes each).
pub(super) const IN_FLIGHT: usize = 1024;

/// The part of a group of lanes that must be idle before work is fetched: fetching
/// costs the same for one lane as for all.
pub(super) const FETCH_SHARE: usize = 4;

/// Declares the driver of a width.
macro_rules! driver_of {
    ($name:ident, $lanes:ident, $version:ident $(, $features:literal)?) => {
        $(#[target_feature(enable = $features)])?
        pub(super) fn $name(bindings: &mut Bindings<'_>, count: u32, tracer: &dyn Tracer) {
            use $crate::native::$lanes::{F32, Mask, U32, WIDTH, select};
            use $crate::native::$version::{Hit, Ray, Work, advance_work, begin_work};

            /// Puts rays into their slots.
            #[inline(always)]
            fn put(rays: &mut RayBatch, first: usize, ray: &Ray) {
                let float = |slots: &mut Vec<f32>, value: F32| {
                    slots[first..first + WIDTH].copy_from_slice(&value.to_array());
                };
                let word = |slots: &mut Vec<u32>, value: U32| {
                    slots[first..first + WIDTH].copy_from_slice(&value.to_array());
                };
                float(&mut rays.origin[0], ray.origin.x);
                float(&mut rays.origin[1], ray.origin.y);
                float(&mut rays.origin[2], ray.origin.z);
                float(&mut rays.direction[0], ray.direction.x);
                float(&mut rays.direction[1], ray.direction.y);
                float(&mut rays.direction[2], ray.direction.z);
                float(&mut rays.t_min, ray.t_min);
                float(&mut rays.t_max, ray.t_max);
                word(&mut rays.after_instance, ray.after_instance);
                word(&mut rays.after_triangle, ray.after_triangle);
            }

            /// Names the slots of live lanes.
            #[inline(always)]
            fn list(slots: &mut Vec<u32>, first: usize, live: Mask) {
                let first = u32::try_from(first).expect("some hundreds of slots");
                let mut bits = live.bits();
                while bits != 0 {
                    slots.push(first + bits.trailing_zeros());
                    bits &= bits - 1;
                }
            }

            /// The hits of some slots.
            #[inline(always)]
            fn hit(hits: &HitBatch, first: usize) -> Hit {
                let float = |slots: &[f32]| {
                    F32::from_array(slots[first..first + WIDTH].try_into().expect("a group of slots"))
                };
                let word = |slots: &[u32]| {
                    U32::from_array(slots[first..first + WIDTH].try_into().expect("a group of slots"))
                };
                let flags = word(&hits.flags);
                let flag = |bit: u32| !(flags & U32::splat(bit)).eq(U32::splat(0));
                Hit {
                    t: float(&hits.t),
                    instance: word(&hits.instance),
                    triangle: word(&hits.triangle),
                    b: float(&hits.b),
                    c: float(&hits.c),
                    front: flag(HitBatch::FRONT),
                    opaque: flag(HitBatch::OPAQUE),
                }
            }

            let groups = (IN_FLIGHT / WIDTH).min((count as usize).div_ceil(WIDTH));
            let slots = groups * WIDTH;
            // Paths' own rays come first, shadow rays after them.
            let mut rays = RayBatch::with_slots(2 * slots);
            rays.any_opaque_from = u32::try_from(slots).expect("some hundreds of slots");
            let mut hits = HitBatch::with_slots(2 * slots);
            let mut works = vec![Work { done: Mask::splat(true), ..Work::default() }; groups];
            let mut queue = 0..count;
            loop {
                rays.wanted.clear();
                for (first, work) in (0..).step_by(WIDTH).zip(&mut works) {
                    let idle = work.done.bits().count_ones() as usize;
                    if !queue.is_empty() && idle * FETCH_SHARE >= WIDTH {
                        let mut places = [u32::MAX; WIDTH];
                        for lane in (0..WIDTH).filter(|&lane| work.done.lane(lane)) {
                            places[lane] = queue.next().unwrap_or(u32::MAX);
                        }
                        let fetched = begin_work(work.done, bindings, U32::from_array(places));
                        *work = select(work.done, fetched, *work);
                    }
                    let live = !work.done;
                    let path = &work.path;
                    put(&mut rays, first, &path.ray);
                    list(&mut rays.wanted, first, live & path.alive & !path.held);
                    let shadowed = live & path.shadowed;
                    if shadowed.any() {
                        put(&mut rays, slots + first, &path.shadow);
                        list(&mut rays.wanted, slots + first, shadowed);
                    }
                }
                if rays.wanted.is_empty() && queue.is_empty() {
                    break;
                }
                tracer.trace(&rays, &mut hits);
                for (first, work) in (0..).step_by(WIDTH).zip(&mut works) {
                    let live = !work.done;
                    if live.any() {
                        let advanced =
                            advance_work(live, bindings, *work, hit(&hits, first), hit(&hits, slots + first));
                        *work = if live.every() { advanced } else { select(live, advanced, *work) };
                    }
                }
            }
        }
    };
}

pub(super) use driver_of;
