//! What drives the work items natively: as `main.wgsl` does, but with the rays of
//! many paths traced together.

/// The part of a group of lanes that must be idle before work is fetched: fetching
/// costs the same for one lane as for all.
pub(super) const FETCH_SHARE: usize = 4;

/// Which slots have a record, and whether there are no more to take.
pub(super) struct State {
    pub(super) taken: Vec<bool>,
    pub(super) is_empty: bool,
}

/// Declares the driver of a width.
macro_rules! driver_of {
    ($name:ident, $lanes:ident, $version:ident $(, $features:literal)?) => {
        $(#[target_feature(enable = $features)])?
        pub(super) fn $name(bindings: &mut Bindings<'_>, records: &mut dyn Records, tracer: &dyn Tracer) {
            use $crate::native::$lanes::{F32, Mask, U32, WIDTH, select};
            use $crate::native::$version::{Hit, Ray, Work, advance_work, begin_work, kept};

            /// Puts rays into their slots.
            #[inline(always)]
            fn put(rays: &mut RayBatch, first: usize, ray: &Ray, time: U32) {
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
                word(&mut rays.time, time);
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

            /// Exchanges the finished records of some lanes for new ones, and returns
            /// the places of these; lanes that get none have one that there is not.
            fn exchange(
                words: &mut [u32],
                first: usize,
                done: Mask,
                records: &mut dyn Records,
                state: &mut State,
            ) -> [u32; WIDTH] {
                let mut places = [u32::MAX; WIDTH];
                for lane in (0..WIDTH).filter(|&lane| done.lane(lane)) {
                    let slot = first + lane;
                    let record = &mut words[slot * RECORD_WORDS..][..RECORD_WORDS];
                    if std::mem::take(&mut state.taken[slot]) {
                        records.finish(slot, record);
                    }
                    if !state.is_empty && records.take(slot, record) {
                        state.taken[slot] = true;
                        places[lane] = u32::try_from(slot).expect("some hundreds of slots");
                    } else {
                        state.is_empty = true;
                    }
                }
                places
            }

            let groups = bindings.records.len() / RECORD_WORDS / WIDTH;
            let slots = groups * WIDTH;
            // Paths' own rays come first, shadow rays after them.
            let mut rays = RayBatch::with_slots(2 * slots);
            rays.any_opaque_from = u32::try_from(slots).expect("some hundreds of slots");
            let mut hits = HitBatch::with_slots(2 * slots);
            let mut works = vec![Work { done: Mask::splat(true), ..Work::default() }; groups];
            let mut state = State { taken: vec![false; slots], is_empty: false };
            loop {
                rays.wanted.clear();
                rays.alike.clear();
                for (first, work) in (0..).step_by(WIDTH).zip(&mut works) {
                    let idle = work.done.bits().count_ones() as usize;
                    if !state.is_empty && idle * FETCH_SHARE >= WIDTH {
                        let places = exchange(bindings.records, first, work.done, records, &mut state);
                        let fetched = begin_work(work.done, bindings, U32::from_array(places));
                        *work = select(work.done, fetched, *work);
                    }
                    let live = !work.done;
                    let path = &work.path;
                    put(&mut rays, first, &path.ray, path.time);
                    let own = live & path.alive & !path.held;
                    // Samples are taken pixel by pixel.
                    let from_camera = own & path.segments.eq(U32::splat(0));
                    list(&mut rays.wanted, first, own & !from_camera);
                    list(&mut rays.alike, first, from_camera);
                    let shadowed = live & path.shadowed;
                    if shadowed.any() {
                        put(&mut rays, slots + first, &path.shadow, path.time);
                        list(&mut rays.wanted, slots + first, shadowed);
                    }
                }
                if rays.wanted.is_empty() && rays.alike.is_empty() && state.is_empty {
                    break;
                }
                tracer.trace(&rays, &mut hits);
                for (first, work) in (0..).step_by(WIDTH).zip(&mut works) {
                    let live = !work.done;
                    if live.any() {
                        // Other lanes keep their work.
                        let () = kept::advance_work;
                        *work =
                            advance_work(live, bindings, *work, hit(&hits, first), hit(&hits, slots + first));
                    }
                }
            }
            for first in (0..slots).step_by(WIDTH) {
                exchange(bindings.records, first, Mask::splat(true), records, &mut state);
            }
        }
    };
}

pub(super) use driver_of;
