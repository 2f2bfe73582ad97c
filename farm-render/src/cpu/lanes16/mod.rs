//! Many rays at a time with AVX-512: each in a lane of its own.
//!
//! Rays that go their own ways keep a processor guessing which branch comes
//! next; here all sixteen take the same steps, and those that have no part in a
//! step wait. A step is over nodes or over triangles, whichever more rays want,
//! and rays that are done make place for new ones.
//!
//! The next step of a group of lanes cannot begin before its last one has ended
//! and what it names has come from memory. So a thread takes turns among
//! [`GROUPS`] groups, and what a group will read is fetched when its turn ends.
//!
//! A lane reads its node or triangle in rows of 16 bytes, and sixteen such rows
//! are transposed: that takes a quarter of the time of the gathers in whose place
//! it is.

mod spaces;
mod steps;
mod vectors;

use std::arch::x86_64::*;

use shaders::native::{HitBatch, RayBatch};

use self::vectors::{bits, halves, load_entries, store_entries, words};
use super::quad::{QuadNode, QuadTree};
use super::tree::Child;
use crate::layout::{Instance, NONE, Triangle};

/// Groups of lanes that take turns; more of them no longer hide anything.
const GROUPS: usize = 3;

/// Of so many sixteenths of the rays on their way a node must be what they want
/// next, or else a step is over triangles. From 8 to 12 are within 5 %.
const NODE_SHARE: u32 = 10;

/// Lanes that are refilled together, as that takes as long as half a step.
const REFILLED: u32 = 4;

/// Entries of a lane's stack; not a power of two of them, so that lanes do not
/// compete for the same part of a cache.
const STACK: usize = 160;

/// Entries beside those of the levels: the marks at the bottoms of both walks,
/// the rest of a leaf with instances, and what is written beyond the top.
const SPARE: usize = 6;

/// Bytes of an entry: a child and the key of its distance.
const ENTRY: i32 = 8;

/// Bytes of a lane's stack.
const STACK_BYTES: i32 = 160 * ENTRY;
const _: () = assert!(size_of::<[[u32; 2]; STACK]>() == STACK_BYTES.unsigned_abs() as usize);

const LANES: usize = 16;

type Floats = __m512;
type Words = __m512i;
type Lanes = __mmask16;

/// What rays are traced against.
pub(super) struct Scene<'a> {
    pub(super) quads: &'a QuadTree,
    pub(super) triangles: &'a [Triangle],
    pub(super) instances: &'a [Instance],
    /// Parts of the shutter's time; 0 where nothing moves.
    pub(super) parts: u32,
}

/// Whether this processor has the instructions.
pub(super) fn are_here() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
}

/// Whether the stacks are made for a tree: of a level's 4 children one is
/// visited and 3 wait.
pub(super) fn can_walk(quads: &QuadTree) -> bool {
    quads.levels * 3 + SPARE <= STACK
}

/// Traces rays whose `t_min` is not negative, as [`shaders::native::Tracer`] says.
///
/// # Panics
///
/// Where the processor does not have the instructions, the tree is too deep, or a
/// ray that is wanted has no slot in both batches.
pub(super) fn closest(scene: &Scene<'_>, rays: &RayBatch, hits: &mut HitBatch) {
    assert!(are_here() && can_walk(scene.quads), "whoever gave the tree looked");
    let slots = rays.slots().min(hits.slots());
    assert!(i32::try_from(slots).is_ok(), "slots are numbered by lanes");
    assert!(rays.wanted.iter().all(|&slot| (slot as usize) < slots), "every ray and hit has its slot");
    // SAFETY: the instructions are here, the stacks suffice, and slots exist.
    unsafe { trace(scene, rays, hits) }
}

/// # Safety
///
/// As for [`Group::refill`] and [`Group::visit_nodes`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn trace(scene: &Scene<'_>, rays: &RayBatch, hits: &mut HitBatch) {
    let mut queue = RayQueue { rays, next: 0, hits };
    if scene.quads.root == NONE {
        queue.miss_all();
        return;
    }
    let mut groups: Vec<Box<Group>> = (0..GROUPS).map(|_| Group::new()).collect();
    // SAFETY: the caller upholds it.
    unsafe {
        for group in &mut groups {
            group.refill(scene, Lanes::MAX, &mut queue);
            group.settle(scene);
        }
        while groups.iter().any(|group| group.live != 0) {
            for group in &mut groups {
                if group.live != 0 {
                    group.turn(scene, &mut queue);
                }
            }
        }
    }
}

/// The rays that wait, by their places in `wanted`, and where hits go.
struct RayQueue<'a> {
    rays: &'a RayBatch,
    next: usize,
    hits: &'a mut HitBatch,
}

impl RayQueue<'_> {
    fn is_empty(&self) -> bool {
        self.next == self.rays.wanted.len()
    }

    fn miss_all(&mut self) {
        for slot in self.rays.wanted.iter().map(|&slot| slot as usize) {
            self.hits.t[slot] = self.rays.t_max[slot];
            self.hits.instance[slot] = NONE;
            self.hits.triangle[slot] = NONE;
            self.hits.b[slot] = 0.0;
            self.hits.c[slot] = 0.0;
            self.hits.flags[slot] = HitBatch::OPAQUE;
        }
    }
}

/// Sixteen rays on their way; [`super::portable::Space`] says what the parts of
/// a ray in a space are.
#[repr(C, align(64))]
struct Group {
    stacks: [[[u32; 2]; STACK]; LANES],
    inverse: [Floats; 3],
    near_base: [Floats; 3],
    far_base: [Floats; 3],
    /// Lanes whose direction is negative, by axis.
    negative: [Lanes; 3],
    origin: [Floats; 3],
    shear: [Floats; 3],
    /// Lanes whose direction is longest along x, and along y.
    longest: [Lanes; 2],
    /// The instance whose mesh a ray is in, or `NONE`.
    inside: Words,
    world_origin: [Floats; 3],
    world_direction: [Floats; 3],
    t_min: Floats,
    /// The part of the shutter's time that a ray is in, and how much of that is
    /// over.
    part: Words,
    over: Floats,
    after: Name,
    any_opaque: Lanes,
    /// Slots of the rays.
    slots: Words,
    /// The best hits.
    t: Floats,
    best: Name,
    b: Floats,
    c: Floats,
    flags: Words,
    /// What is next.
    child: Words,
    /// Addresses of what `child` names.
    addresses: [Words; 2],
    /// Ends of the stacks, in bytes from the first.
    height: Words,
    /// Lanes that have a ray.
    live: Lanes,
    /// Lanes whose next child is still to be taken from the stack.
    pending: Lanes,
}

/// A triangle of an instance, by which ties are broken.
#[derive(Clone, Copy)]
struct Name {
    instance: Words,
    triangle: Words,
}

impl Name {
    /// Lanes where it comes before another.
    #[inline(always)]
    unsafe fn comes_before(&self, other: &Self) -> Lanes {
        // SAFETY: the caller has AVX-512.
        unsafe {
            let same = _mm512_cmpeq_epi32_mask(self.instance, other.instance);
            _mm512_cmplt_epu32_mask(self.instance, other.instance)
                | (same & _mm512_cmplt_epu32_mask(self.triangle, other.triangle))
        }
    }

    #[inline(always)]
    unsafe fn set(&mut self, lanes: Lanes, other: &Self) {
        // SAFETY: the caller has AVX-512.
        unsafe {
            self.instance = _mm512_mask_mov_epi32(self.instance, lanes, other.instance);
            self.triangle = _mm512_mask_mov_epi32(self.triangle, lanes, other.triangle);
        }
    }
}

impl Group {
    fn new() -> Box<Self> {
        // SAFETY: zeros are a value of every part.
        let mut group: Box<Self> = unsafe { Box::new_zeroed().assume_init() };
        // Lanes without a ray write to their stacks too.
        let mut heights = [0; LANES];
        (0..).zip(&mut heights).for_each(|(lane, height): (i32, _)| *height = lane * STACK_BYTES);
        // SAFETY: vectors of words are words.
        group.height = unsafe { std::mem::transmute::<[i32; LANES], Words>(heights) };
        group
    }

    /// One step over nodes or triangles, and what is to do besides.
    ///
    /// # Safety
    ///
    /// As for [`Group::refill`] and [`Group::visit_nodes`].
    #[inline(always)]
    unsafe fn turn(&mut self, scene: &Scene<'_>, queue: &mut RayQueue<'_>) {
        // SAFETY: the caller upholds it.
        unsafe {
            let is_leaf = _mm512_movepi32_mask(self.child);
            let nodes = self.live & !is_leaf;
            let leaves = self.live & is_leaf & _mm512_test_epi32_mask(self.child, words(Child::COUNT));
            if nodes != 0 && nodes.count_ones() * 16 >= (nodes | leaves).count_ones() * NODE_SHARE {
                self.visit_nodes(scene, nodes);
            } else {
                if leaves != 0 {
                    self.visit_leaves(scene, leaves);
                } else {
                    self.pop(0);
                }
                self.come_and_go(scene, queue);
            }
            self.settle(scene);
        }
    }

    /// Leaves meshes that are done, and ends and begins rays.
    #[inline(always)]
    unsafe fn come_and_go(&mut self, scene: &Scene<'_>, queue: &mut RayQueue<'_>) {
        // SAFETY: the caller upholds it.
        unsafe {
            let leaving = self.live & _mm512_cmpeq_epi32_mask(self.child, words(Child::LEAVE.word()));
            if leaving != 0 {
                self.leave(scene, leaving);
            }
            let done = self.live & _mm512_cmpeq_epi32_mask(self.child, words(Child::NOTHING.word()));
            let idle = done | !self.live;
            let is_worth_it = queue.is_empty() || idle.count_ones() >= REFILLED || idle == Lanes::MAX;
            if done != 0 && is_worth_it {
                self.refill(scene, idle, queue);
            }
        }
    }

    /// Finds the addresses of what is next and fetches it.
    #[inline(always)]
    unsafe fn settle(&mut self, scene: &Scene<'_>) {
        // SAFETY: the caller has AVX-512, and no address is wrong for a fetch.
        unsafe {
            let is_leaf = halves(_mm512_movepi32_mask(self.child));
            let indices = _mm512_and_epi32(self.child, words(Child::PLACE));
            let low = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(indices));
            let high = _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64::<1>(indices));
            let triangles = _mm512_set1_epi64(scene.triangles.as_ptr() as i64);
            let nodes = _mm512_set1_epi64(scene.quads.nodes.as_ptr() as i64);
            const { assert!(size_of::<QuadNode>() == 4 << 4 && size_of::<Triangle>() == 3 << 4) };
            for (half, indices) in [low, high].into_iter().enumerate() {
                let four_times = _mm512_slli_epi64::<2>(indices);
                let times = _mm512_mask_sub_epi64(four_times, is_leaf[half], four_times, indices);
                let first = _mm512_mask_mov_epi64(nodes, is_leaf[half], triangles);
                self.addresses[half] = _mm512_add_epi64(first, _mm512_slli_epi64::<4>(times));
            }
            let pointers: [*const i8; LANES] = std::mem::transmute(self.addresses);
            for pointer in pointers {
                _mm_prefetch::<_MM_HINT_T0>(pointer);
            }
            // Triangles may lie across two lines.
            if is_leaf != [0; 2] {
                for pointer in pointers {
                    _mm_prefetch::<_MM_HINT_T0>(pointer.wrapping_add(size_of::<Triangle>() - 1));
                }
            }
        }
    }

    /// Takes the next child of some lanes, and of those that are pending, from
    /// their stacks. Where it is behind the best hit, the lane becomes pending:
    /// that is rarer than a wrong guess of how many turns a loop would take.
    #[inline(always)]
    unsafe fn pop(&mut self, lanes: Lanes) {
        // SAFETY: the caller has AVX-512. Stacks of live lanes have an entry that
        // is never behind anything below all that can be, and no lane takes more
        // after that.
        unsafe {
            let lanes = lanes | self.pending;
            self.height = _mm512_mask_sub_epi32(self.height, lanes, self.height, _mm512_set1_epi32(ENTRY));
            let zero = _mm512_setzero_si512();
            let [tops, keys] = load_entries(self.stacks.as_ptr().cast(), self.height);
            let children = _mm512_mask_mov_epi32(self.child, lanes, tops);
            let limit = _mm512_max_epi32(bits(self.t), zero);
            self.pending = _mm512_mask_cmpgt_epi32_mask(lanes, keys, limit);
            self.child = _mm512_mask_mov_epi32(children, self.pending, words(Child::PENDING.word()));
        }
    }

    /// Pushes the same on the stacks of some lanes, as nearer than anything.
    #[inline(always)]
    unsafe fn push(&mut self, lanes: Lanes, children: Words) {
        // SAFETY: the caller has AVX-512, and the stacks have room by `can_walk`,
        // also those of other lanes, where what is written means nothing.
        unsafe {
            let lowest = _mm512_set1_epi32(i32::MIN);
            store_entries(self.stacks.as_mut_ptr().cast(), self.height, [children, lowest]);
            self.height = _mm512_mask_add_epi32(self.height, lanes, self.height, _mm512_set1_epi32(ENTRY));
        }
    }

    /// Sets when the rays of some lanes are: [`super::traverse`]'s `moment`, by
    /// halves of `time`, as there are at most 16 parts.
    #[inline(always)]
    unsafe fn set_moment(&mut self, lanes: Lanes, time: Words, parts: u32) {
        // SAFETY: the caller has AVX-512.
        unsafe {
            let parts = words(parts);
            let low = _mm512_mullo_epi32(_mm512_and_epi32(time, words(0xffff)), parts);
            let high = _mm512_mullo_epi32(_mm512_srli_epi32::<16>(time), parts);
            let part = _mm512_srli_epi32::<16>(_mm512_add_epi32(high, _mm512_srli_epi32::<16>(low)));
            let rest = _mm512_srli_epi32::<8>(_mm512_mullo_epi32(time, parts));
            let over = _mm512_mul_ps(_mm512_cvtepi32_ps(rest), _mm512_set1_ps(5.960_464_5e-8));
            self.part = _mm512_mask_mov_epi32(self.part, lanes, part);
            self.over = _mm512_mask_mov_ps(self.over, lanes, over);
        }
    }

    /// Hands in the hits of those of some lanes that have a ray, and gives as many
    /// of the lanes as there are rays left a new one.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions, and rays and hits have the slots
    /// that are wanted.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn refill(&mut self, scene: &Scene<'_>, lanes: Lanes, queue: &mut RayQueue<'_>) {
        // SAFETY: the caller upholds it: rays are read from and hits written to
        // slots that there are, and no more slots are taken than are left.
        unsafe {
            self.hand_in(lanes & self.live, queue.hits);

            let left = (queue.rays.wanted.len() - queue.next).min(LANES);
            // As many of the lowest of the lanes as rays are left.
            let [low, high, ..] = _pdep_u32((1 << left) - 1, lanes.into()).to_le_bytes();
            let new = Lanes::from_le_bytes([low, high]);
            self.live = (self.live & !lanes) | new;
            if new == 0 {
                return;
            }
            let (rays, next) = (queue.rays, queue.next);
            queue.next += new.count_ones() as usize;
            let wanted = rays.wanted[next..].as_ptr().cast();
            let slots = _mm512_mask_expandloadu_epi32(self.slots, new, wanted);
            self.slots = slots;
            self.take_up(new, rays);
            if scene.parts != 0 {
                let time = rays.time.as_ptr().cast();
                let time = _mm512_mask_i32gather_epi32::<4>(_mm512_setzero_si512(), new, slots, time);
                self.set_moment(new, time, scene.parts);
            }
            let any_opaque = _mm512_mask_cmpge_epu32_mask(new, slots, words(rays.any_opaque_from));
            self.any_opaque = (self.any_opaque & !new) | any_opaque;

            let numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            self.best.set(new, &Name { instance: words(NONE), triangle: words(NONE) });
            self.b = _mm512_mask_mov_ps(self.b, new, _mm512_setzero_ps());
            self.c = _mm512_mask_mov_ps(self.c, new, _mm512_setzero_ps());
            self.flags = _mm512_mask_mov_epi32(self.flags, new, words(HitBatch::OPAQUE));
            self.inside = _mm512_mask_mov_epi32(self.inside, new, words(NONE));
            self.set_space(new, self.world_origin, self.world_direction, scene.quads.world_origin_share);

            // The mark may have been written over by steps of other lanes.
            let stack = _mm512_set1_epi32(STACK_BYTES);
            self.height = _mm512_mask_mullo_epi32(self.height, new, numbers, stack);
            self.push(new, words(Child::NOTHING.word()));
            self.child = _mm512_mask_mov_epi32(self.child, new, words(scene.quads.root));
            self.pending &= !new;
        }
    }

    /// Writes the hits of some lanes, one by one: sixteen lanes of a scatter take
    /// as long whether they are wanted or not, and few are.
    #[inline(always)]
    unsafe fn hand_in(&self, lanes: Lanes, hits: &mut HitBatch) {
        // SAFETY: vectors of words are words.
        let (slots, [instance, triangle, flags], [t, b, c]) = unsafe {
            let words = [self.best.instance, self.best.triangle, self.flags];
            (
                std::mem::transmute::<Words, [u32; LANES]>(self.slots),
                std::mem::transmute::<[Words; 3], [[u32; LANES]; 3]>(words),
                std::mem::transmute::<[Floats; 3], [[f32; LANES]; 3]>([self.t, self.b, self.c]),
            )
        };
        for lane in each(lanes) {
            let slot = slots[lane] as usize;
            hits.t[slot] = t[lane];
            hits.b[slot] = b[lane];
            hits.c[slot] = c[lane];
            hits.instance[slot] = instance[lane];
            hits.triangle[slot] = triangle[lane];
            hits.flags[slot] = flags[lane];
        }
    }

    /// Reads the rays of some lanes, by their slots, one by one too.
    #[inline(always)]
    unsafe fn take_up(&mut self, lanes: Lanes, rays: &RayBatch) {
        // SAFETY: vectors of words are words.
        let slots: [u32; LANES] = unsafe { std::mem::transmute(self.slots) };
        let set = |floats: &mut Floats, lane: usize, float: f32| {
            // SAFETY: a vector has sixteen of them.
            unsafe { std::ptr::from_mut(floats).cast::<f32>().add(lane).write(float) };
        };
        let set_word = |words: &mut Words, lane: usize, word: u32| {
            // SAFETY: likewise.
            unsafe { std::ptr::from_mut(words).cast::<u32>().add(lane).write(word) };
        };
        for lane in each(lanes) {
            let slot = slots[lane] as usize;
            for axis in 0..3 {
                set(&mut self.world_origin[axis], lane, rays.origin[axis][slot]);
                set(&mut self.world_direction[axis], lane, rays.direction[axis][slot]);
            }
            // Negative zeros would be the smallest of integers.
            set(&mut self.t_min, lane, rays.t_min[slot] + 0.0);
            set(&mut self.t, lane, rays.t_max[slot]);
            set_word(&mut self.after.instance, lane, rays.after_instance[slot]);
            set_word(&mut self.after.triangle, lane, rays.after_triangle[slot]);
        }
    }
}

/// The numbers of some lanes.
#[inline(always)]
fn each(lanes: Lanes) -> impl Iterator<Item = usize> {
    let mut left = lanes;
    std::iter::from_fn(move || {
        let lane = left.trailing_zeros() as usize;
        let any = left != 0;
        left &= left.wrapping_sub(1);
        any.then_some(lane)
    })
}
