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

use std::arch::x86_64::*;

use shaders::native::{HitBatch, RayBatch};

use super::quad::{QuadNode, QuadTree};
use super::tree::Child;
use crate::layout::{INSTANCE_REFERENCE, Instance, NONE, Triangle, triangle_flags};

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

const LANES: usize = 16;

type Floats = __m512;
type Words = __m512i;
type Lanes = __mmask16;

/// What rays are traced against.
pub(super) struct Scene<'a> {
    pub(super) quads: &'a QuadTree,
    pub(super) triangles: &'a [Triangle],
    pub(super) instances: &'a [Instance],
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

/// A word in all lanes.
#[inline(always)]
unsafe fn words(word: u32) -> Words {
    // SAFETY: the caller has AVX-512.
    unsafe { _mm512_set1_epi32(word.cast_signed()) }
}

#[inline(always)]
unsafe fn floats(words: Words) -> Floats {
    // SAFETY: the caller has AVX-512.
    unsafe { _mm512_castsi512_ps(words) }
}

#[inline(always)]
unsafe fn bits(floats: Floats) -> Words {
    // SAFETY: the caller has AVX-512.
    unsafe { _mm512_castps_si512(floats) }
}

/// Lanes 0 to 7, and 8 to 15.
#[inline(always)]
fn halves(lanes: Lanes) -> [__mmask8; 2] {
    lanes.to_le_bytes()
}

/// Addresses of `size` bytes times each index.
#[inline(always)]
unsafe fn addresses(first: *const u8, size: usize, indices: Words) -> [Words; 2] {
    // SAFETY: the caller has AVX-512.
    unsafe {
        let (first, size) = (_mm512_set1_epi64(first as i64), _mm512_set1_epi64(size as i64));
        let low = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(indices));
        let high = _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64::<1>(indices));
        [low, high].map(|indices| _mm512_add_epi64(first, _mm512_mullo_epi64(indices, size)))
    }
}

/// The pointers of some lanes, and `spare` in the others.
#[inline(always)]
unsafe fn pointers(addresses: [Words; 2], lanes: Lanes, spare: *const u8) -> [*const u8; LANES] {
    // SAFETY: the caller has AVX-512, and vectors of addresses are pointers.
    unsafe {
        let spare = _mm512_set1_epi64(spare as i64);
        let [low, high] = halves(lanes);
        let low = _mm512_mask_mov_epi64(spare, low, addresses[0]);
        let high = _mm512_mask_mov_epi64(spare, high, addresses[1]);
        std::mem::transmute([low, high])
    }
}

/// Loads a row of four words for each lane, and returns a vector for each word.
///
/// # Safety
///
/// The processor must have AVX-512, and 16 bytes at `offset` from each pointer
/// be readable.
#[inline(always)]
unsafe fn load_rows(at: &[*const u8; LANES], offset: usize) -> [Words; 4] {
    // SAFETY: the caller upholds it.
    unsafe {
        // Every fourth lane's row.
        let rows = |first: usize| {
            let row = |lane: usize| _mm_loadu_si128(at[lane].add(offset).cast());
            let rows = _mm512_castsi128_si512(row(first));
            let rows = _mm512_inserti32x4::<1>(rows, row(first + 4));
            let rows = _mm512_inserti32x4::<2>(rows, row(first + 8));
            _mm512_inserti32x4::<3>(rows, row(first + 12))
        };
        let [a, b, c, d] = [rows(0), rows(1), rows(2), rows(3)];
        let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        [
            _mm512_unpacklo_epi64(ab_low, cd_low),
            _mm512_unpackhi_epi64(ab_low, cd_low),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ]
    }
}

/// Cycles the components so that the longest axis comes last.
#[inline(always)]
unsafe fn permuted([x, y, z]: [Floats; 3], [is_x, is_y]: [Lanes; 2]) -> [Floats; 3] {
    // SAFETY: the caller has AVX-512.
    unsafe {
        [
            _mm512_mask_mov_ps(_mm512_mask_mov_ps(x, is_x, y), is_y, z),
            _mm512_mask_mov_ps(_mm512_mask_mov_ps(y, is_x, z), is_y, x),
            _mm512_mask_mov_ps(_mm512_mask_mov_ps(z, is_x, x), is_y, y),
        ]
    }
}

/// [`super::traverse::edge`].
#[inline(always)]
unsafe fn edge(a: [Floats; 2], b: [Floats; 2]) -> Floats {
    // SAFETY: the caller has AVX-512.
    unsafe {
        _mm512_sub_ps(
            _mm512_mul_ps(_mm512_sub_ps(b[0], a[0]), _mm512_add_ps(b[1], a[1])),
            _mm512_mul_ps(_mm512_sub_ps(b[1], a[1]), _mm512_add_ps(b[0], a[0])),
        )
    }
}

/// The first three words of a row times a vector, in the kernel's order.
#[inline(always)]
unsafe fn dot(row: &[Words; 4], v: &[Floats; 3]) -> Floats {
    // SAFETY: the caller has AVX-512.
    unsafe {
        let xy = _mm512_add_ps(_mm512_mul_ps(floats(row[0]), v[0]), _mm512_mul_ps(floats(row[1]), v[1]));
        _mm512_add_ps(xy, _mm512_mul_ps(floats(row[2]), v[2]))
    }
}

/// The grid of a node along an axis, as rays see it.
#[derive(Clone, Copy)]
struct Axis {
    near: Words,
    far: Words,
    step: Floats,
    near_base: Floats,
    far_base: Floats,
}

/// The distances of the planes of a child, whose steps in `words` were shifted to
/// the upper bits of the mantissa: with the exponent of 1 they are 1 + steps/256.
#[inline(always)]
unsafe fn distances(shifted: Words, step: Floats, base: Floats) -> Words {
    // SAFETY: the caller has AVX-512.
    unsafe {
        // (shifted & mantissa) | one.
        let planes = _mm512_ternarylogic_epi32::<0b1110_1010>(shifted, words(0xff << 15), words(0x3f80_0000));
        bits(_mm512_fmadd_ps(floats(planes), step, base))
    }
}

impl Group {
    fn new() -> Box<Self> {
        // SAFETY: zeros are a value of every part.
        let mut group: Box<Self> = unsafe { Box::new_zeroed().assume_init() };
        // Lanes without a ray write to their stacks too.
        let heights: [i32; LANES] = std::array::from_fn(|lane| lane as i32 * STACK as i32 * ENTRY);
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
            for pointer in pointers {
                _mm_prefetch::<_MM_HINT_T0>(pointer.wrapping_add(size_of::<Triangle>() - 1));
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
            let entries = self.stacks.as_ptr().cast::<i32>();
            let zero = _mm512_setzero_si512();
            let keys = _mm512_mask_i32gather_epi32::<1>(zero, lanes, self.height, entries.add(1));
            let children = _mm512_mask_i32gather_epi32::<1>(self.child, lanes, self.height, entries);
            let limit = _mm512_max_epi32(bits(self.t), zero);
            self.pending = _mm512_mask_cmpgt_epi32_mask(lanes, keys, limit);
            self.child = _mm512_mask_mov_epi32(children, self.pending, words(Child::PENDING.word()));
        }
    }

    /// Pushes the same on the stacks of some lanes, as nearer than anything.
    #[inline(always)]
    unsafe fn push(&mut self, lanes: Lanes, children: Words) {
        // SAFETY: the caller has AVX-512, and the stacks have room by `can_walk`.
        unsafe {
            let entries = self.stacks.as_mut_ptr().cast::<i32>();
            let lowest = _mm512_set1_epi32(i32::MIN);
            _mm512_mask_i32scatter_epi32::<1>(entries, lanes, self.height, children);
            _mm512_mask_i32scatter_epi32::<1>(entries.add(1), lanes, self.height, lowest);
            self.height = _mm512_mask_add_epi32(self.height, lanes, self.height, _mm512_set1_epi32(ENTRY));
        }
    }

    /// Visits the nodes that some lanes have next.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions, the tree have the levels that
    /// [`can_walk`] wants, and `child` name nodes of it where it is no leaf.
    #[inline(always)]
    unsafe fn visit_nodes(&mut self, scene: &Scene<'_>, lanes: Lanes) {
        // SAFETY: the caller upholds it. Lanes without a node read the first one.
        unsafe {
            let nodes = pointers(self.addresses, lanes, scene.quads.nodes.as_ptr().cast());
            let children = load_rows(&nodes, 0);
            let [lower_x, upper_x, lower_y, upper_y] = load_rows(&nodes, 16);
            let [lower_z, upper_z, origin_x, origin_y] = load_rows(&nodes, 32);
            let [origin_z, scale_x, scale_y, scale_z] = load_rows(&nodes, 48);
            let x = self.axis::<0>(lower_x, upper_x, origin_x, scale_x);
            let y = self.axis::<1>(lower_y, upper_y, origin_y, scale_y);
            let z = self.axis::<2>(lower_z, upper_z, origin_z, scale_z);
            let missed = _mm512_set1_epi32(i32::MAX);
            // Negative zeros would be the smallest of integers.
            let t_max = bits(_mm512_add_ps(self.t, _mm512_setzero_ps()));
            let t_min = bits(self.t_min);
            macro_rules! key {
                ($shift:ident::<$by:literal>) => {{
                    let near = |axis: Axis| distances($shift::<$by>(axis.near), axis.step, axis.near_base);
                    let far = |axis: Axis| distances($shift::<$by>(axis.far), axis.step, axis.far_base);
                    let near = _mm512_max_epi32(
                        _mm512_max_epi32(near(x), near(y)),
                        _mm512_max_epi32(near(z), t_min),
                    );
                    let far =
                        _mm512_min_epi32(_mm512_min_epi32(far(x), far(y)), _mm512_min_epi32(far(z), t_max));
                    let met = _mm512_mask_cmple_epi32_mask(lanes, near, far);
                    _mm512_mask_mov_epi32(missed, met, near)
                }};
            }
            let keys = [
                key!(_mm512_slli_epi32::<15>),
                key!(_mm512_slli_epi32::<7>),
                key!(_mm512_srli_epi32::<1>),
                key!(_mm512_srli_epi32::<9>),
            ];
            let (keys, children) = sorted(keys, children);
            let met = keys.map(|keys| _mm512_cmpneq_epi32_mask(keys, missed));
            self.child = _mm512_mask_mov_epi32(self.child, met[0], children[0]);
            self.push_others(keys, children, met);
            self.pop(lanes & !met[0]);
        }
    }

    /// The grid of the nodes along an axis.
    #[inline(always)]
    unsafe fn axis<const AXIS: usize>(
        &self,
        lower: Words,
        upper: Words,
        origin: Words,
        scale: Words,
    ) -> Axis {
        // SAFETY: the caller has AVX-512.
        unsafe {
            let (negative, inverse) = (self.negative[AXIS], self.inverse[AXIS]);
            let step = _mm512_mul_ps(floats(scale), inverse);
            // Planes count from one step of 256 before the origin.
            let base = |base: Floats| _mm512_sub_ps(_mm512_fmadd_ps(floats(origin), inverse, base), step);
            Axis {
                near: _mm512_mask_mov_epi32(lower, negative, upper),
                far: _mm512_mask_mov_epi32(upper, negative, lower),
                step,
                near_base: base(self.near_base[AXIS]),
                far_base: base(self.far_base[AXIS]),
            }
        }
    }

    /// Pushes all children that are met but the nearest, the farthest first.
    #[inline(always)]
    unsafe fn push_others(&mut self, keys: [Words; 4], children: [Words; 4], met: [Lanes; 4]) {
        if met[1] == 0 {
            return;
        }
        // SAFETY: the caller has AVX-512. All lanes write two entries to where
        // their stacks have room for them, by `can_walk`; what they push is kept.
        unsafe {
            let first = |of: [Words; 4]| {
                _mm512_mask_mov_epi32(_mm512_mask_mov_epi32(of[1], met[2], of[2]), met[3], of[3])
            };
            let second = |of: [Words; 4]| _mm512_mask_mov_epi32(of[1], met[3], of[2]);
            let (keys_0, children_0) = (first(keys), first(children));
            let (keys_1, children_1) = (second(keys), second(children));
            let low = [_mm512_unpacklo_epi32(children_0, keys_0), _mm512_unpacklo_epi32(children_1, keys_1)];
            let high = [_mm512_unpackhi_epi32(children_0, keys_0), _mm512_unpackhi_epi32(children_1, keys_1)];
            let every_fourth = [
                _mm512_unpacklo_epi64(low[0], low[1]),
                _mm512_unpackhi_epi64(low[0], low[1]),
                _mm512_unpacklo_epi64(high[0], high[1]),
                _mm512_unpackhi_epi64(high[0], high[1]),
            ];
            let heights: [u32; LANES] = std::mem::transmute(self.height);
            let entries = self.stacks.as_mut_ptr().cast::<u8>();
            for (first, pairs) in every_fourth.into_iter().enumerate() {
                let at = |lane: usize| entries.add(heights[lane] as usize).cast();
                _mm_storeu_si128(at(first), _mm512_castsi512_si128(pairs));
                _mm_storeu_si128(at(first + 4), _mm512_extracti32x4_epi32::<1>(pairs));
                _mm_storeu_si128(at(first + 8), _mm512_extracti32x4_epi32::<2>(pairs));
                _mm_storeu_si128(at(first + 12), _mm512_extracti32x4_epi32::<3>(pairs));
            }
            if met[3] != 0 {
                let third = entries.add(16).cast::<i32>();
                _mm512_mask_i32scatter_epi32::<1>(third, met[3], self.height, children[1]);
                _mm512_mask_i32scatter_epi32::<1>(third.add(1), met[3], self.height, keys[1]);
            }
            for pushed in [met[1], met[2], met[3]] {
                let one = _mm512_set1_epi32(ENTRY);
                self.height = _mm512_mask_add_epi32(self.height, pushed, self.height, one);
            }
        }
    }

    /// Visits the first entries of the leaves that some lanes have next.
    ///
    /// The order of operations is that of `intersect_triangle`, product and sum
    /// apart.
    #[inline(always)]
    unsafe fn visit_leaves(&mut self, scene: &Scene<'_>, lanes: Lanes) {
        // SAFETY: the caller has AVX-512, and leaves name triangles of the scene.
        // Lanes without one read the first one.
        unsafe {
            let at = pointers(self.addresses, lanes, scene.triangles.as_ptr().cast());
            let [ax, ay, az, owner] = load_rows(&at, 0);
            let [bx, by, bz, _] = load_rows(&at, 16);
            let [cx, cy, cz, flags] = load_rows(&at, 32);
            let place = _mm512_and_epi32(self.child, words(Child::PLACE));
            let rest = _mm512_add_epi32(self.child, words(Child::LESS_ONE));
            let ended = _mm512_mask_testn_epi32_mask(lanes, rest, words(Child::COUNT));
            self.child = _mm512_mask_mov_epi32(self.child, lanes & !ended, rest);

            let owned = _mm512_cmpneq_epi32_mask(owner, words(NONE));
            let instances = lanes & owned & _mm512_movepi32_mask(owner);
            let (a, b, c) =
                (self.sheared([ax, ay, az]), self.sheared([bx, by, bz]), self.sheared([cx, cy, cz]));
            let xy = |corner: [Floats; 3]| [corner[0], corner[1]];
            let edges = [edge(xy(b), xy(c)), edge(xy(c), xy(a)), edge(xy(a), xy(b))];
            let zero = _mm512_setzero_ps();
            let (mut positive, mut negative) = (lanes & !instances, lanes & !instances);
            for edge in edges {
                positive = _mm512_mask_cmp_ps_mask::<_CMP_GE_OQ>(positive, edge, zero);
                negative = _mm512_mask_cmp_ps_mask::<_CMP_LE_OQ>(negative, edge, zero);
            }
            let mut over = 0;
            if positive | negative != 0 {
                let instance = _mm512_mask_mov_epi32(self.inside, owned, owner);
                let name = Name { instance, triangle: place };
                over = self.take_hits(positive | negative, edges, [a[2], b[2], c[2]], &name, flags);
            }
            self.child = _mm512_mask_mov_epi32(self.child, over, words(Child::NOTHING.word()));
            if instances != 0 {
                self.enter(scene, instances, instances & !ended, owner);
            }
            self.pop(ended & !over & !instances);
        }
    }

    /// A corner relative to the origin, in the axes of the direction; the first
    /// two components are sheared.
    #[inline(always)]
    unsafe fn sheared(&self, corner: [Words; 3]) -> [Floats; 3] {
        // SAFETY: the caller has AVX-512.
        unsafe {
            let relative = |axis: usize| _mm512_sub_ps(floats(corner[axis]), self.origin[axis]);
            let [x, y, z] = permuted([relative(0), relative(1), relative(2)], self.longest);
            [
                _mm512_sub_ps(x, _mm512_mul_ps(self.shear[0], z)),
                _mm512_sub_ps(y, _mm512_mul_ps(self.shear[1], z)),
                z,
            ]
        }
    }

    /// Makes the hits of some lanes, whose edge functions agree, the best ones
    /// where they are, and returns the lanes whose search is over by that.
    #[inline(always)]
    unsafe fn take_hits(
        &mut self,
        lanes: Lanes,
        [u, v, w]: [Floats; 3],
        depths: [Floats; 3],
        name: &Name,
        flags: Words,
    ) -> Lanes {
        // SAFETY: the caller has AVX-512.
        unsafe {
            let zero = _mm512_setzero_ps();
            let determinant = _mm512_add_ps(_mm512_add_ps(u, v), w);
            let inverse = _mm512_div_ps(_mm512_set1_ps(1.0), determinant);
            let scale = self.shear[2];
            let front = !(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(determinant, zero)
                ^ _mm512_cmp_ps_mask::<_CMP_GT_OQ>(scale, zero));
            let culls = _mm512_test_epi32_mask(flags, words(triangle_flags::CULLS_BACK));
            let has_area = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(determinant, zero);
            let weighted = _mm512_add_ps(_mm512_mul_ps(u, depths[0]), _mm512_mul_ps(v, depths[1]));
            let weighted = _mm512_add_ps(weighted, _mm512_mul_ps(w, depths[2]));
            let t = _mm512_mul_ps(weighted, _mm512_mul_ps(scale, inverse));

            let behind = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(t, self.t_min)
                | (_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(t, self.t_min) & self.after.comes_before(name));
            let closer = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(t, self.t)
                | (_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(t, self.t) & name.comes_before(&self.best));
            let taken = lanes & has_area & (front | !culls) & behind & closer;
            self.t = _mm512_mask_mov_ps(self.t, taken, t);
            self.b = _mm512_mask_mul_ps(self.b, taken, v, inverse);
            self.c = _mm512_mask_mul_ps(self.c, taken, w, inverse);
            self.best.set(taken, name);
            let opaque = _mm512_test_epi32_mask(flags, words(triangle_flags::OPAQUE));
            let front = _mm512_maskz_mov_epi32(front, words(HitBatch::FRONT));
            let flags = _mm512_mask_or_epi32(front, opaque, front, words(HitBatch::OPAQUE));
            self.flags = _mm512_mask_mov_epi32(self.flags, taken, flags);
            taken & opaque & self.any_opaque
        }
    }

    /// Takes some lanes into the instances that entries name; those in `more` have
    /// further entries of their leaf, in `child`.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn enter(&mut self, scene: &Scene<'_>, lanes: Lanes, more: Lanes, owner: Words) {
        // SAFETY: the caller upholds what `visit_leaves` wants, and entries name
        // instances of the scene, which have a mesh's tree.
        unsafe {
            self.push(more, self.child);
            self.push(lanes, words(Child::LEAVE.word()));
            let name = _mm512_maskz_andnot_epi32(lanes, words(INSTANCE_REFERENCE), owner);
            let first = scene.instances.as_ptr().cast::<u8>();
            let at = pointers(addresses(first, size_of::<Instance>(), name), lanes, first);
            let (mut origin, mut direction) = (self.world_origin, self.world_direction);
            for axis in 0..3 {
                // `to_mesh` comes first, a row after the other.
                let row = load_rows(&at, 16 * axis);
                origin[axis] = _mm512_add_ps(dot(&row, &self.world_origin), floats(row[3]));
                direction[axis] = dot(&row, &self.world_direction);
            }
            self.set_space(lanes, origin, direction, scene.quads.mesh_origin_share);
            self.inside = _mm512_mask_mov_epi32(self.inside, lanes, name);
            let roots = scene.quads.mesh_roots.as_ptr().cast();
            self.child = _mm512_mask_i32gather_epi32::<4>(self.child, lanes, name, roots);
        }
    }

    /// Takes some lanes back to the world.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn leave(&mut self, scene: &Scene<'_>, lanes: Lanes) {
        // SAFETY: the caller upholds it.
        unsafe {
            self.set_space(lanes, self.world_origin, self.world_direction, scene.quads.world_origin_share);
            self.inside = _mm512_mask_mov_epi32(self.inside, lanes, words(NONE));
            self.pop(lanes);
        }
    }

    /// Makes the rays of some lanes ready for a space: [`super::traverse::Level::space`].
    #[inline(always)]
    unsafe fn set_space(&mut self, lanes: Lanes, origin: [Floats; 3], direction: [Floats; 3], share: f32) {
        // SAFETY: the caller has AVX-512.
        unsafe {
            let zero = _mm512_setzero_ps();
            let size = direction.map(|x| _mm512_abs_ps(x));
            let largest = origin.map(|x| _mm512_abs_ps(x));
            let largest = _mm512_max_ps(largest[0], _mm512_max_ps(largest[1], largest[2]));
            let largest = _mm512_mul_ps(largest, _mm512_set1_ps(share));
            let mut inverse = direction;
            for axis in 0..3 {
                let below_zero = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(direction[axis], zero);
                let tiny = _mm512_mask_mov_ps(_mm512_set1_ps(1.0e-18), below_zero, _mm512_set1_ps(-1.0e-18));
                let is_tiny = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(size[axis], _mm512_set1_ps(1.0e-18));
                let divisible = _mm512_mask_mov_ps(direction[axis], is_tiny, tiny);
                inverse[axis] = _mm512_div_ps(_mm512_set1_ps(1.0), divisible);
                let pad = _mm512_mul_ps(largest, _mm512_abs_ps(inverse[axis]));
                let base = _mm512_sub_ps(zero, _mm512_mul_ps(origin[axis], inverse[axis]));
                let near = _mm512_max_ps(_mm512_sub_ps(base, pad), _mm512_set1_ps(-3.0e38));
                let far = _mm512_min_ps(_mm512_add_ps(base, pad), _mm512_set1_ps(3.0e38));
                let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(inverse[axis], zero);
                self.negative[axis] = (self.negative[axis] & !lanes) | (negative & lanes);
                self.near_base[axis] = _mm512_mask_mov_ps(self.near_base[axis], lanes, near);
                self.far_base[axis] = _mm512_mask_mov_ps(self.far_base[axis], lanes, far);
                self.inverse[axis] = _mm512_mask_mov_ps(self.inverse[axis], lanes, inverse[axis]);
                self.origin[axis] = _mm512_mask_mov_ps(self.origin[axis], lanes, origin[axis]);
            }
            let at_least = |a: Floats, b: Floats| _mm512_cmp_ps_mask::<_CMP_GE_OQ>(a, b);
            let is_x = at_least(size[0], size[1]) & at_least(size[0], size[2]);
            let longest = [is_x, !is_x & at_least(size[1], size[2])];
            let [x, y, _] = permuted(direction, longest);
            let scale = permuted(inverse, longest)[2];
            let shear = [_mm512_mul_ps(x, scale), _mm512_mul_ps(y, scale), scale];
            for axis in 0..3 {
                self.shear[axis] = _mm512_mask_mov_ps(self.shear[axis], lanes, shear[axis]);
            }
            for (old, new) in self.longest.iter_mut().zip(longest) {
                *old = (*old & !lanes) | (new & lanes);
            }
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
            let (done, slots) = (lanes & self.live, self.slots);
            let hits = &mut *queue.hits;
            _mm512_mask_i32scatter_ps::<4>(hits.t.as_mut_ptr().cast(), done, slots, self.t);
            _mm512_mask_i32scatter_ps::<4>(hits.b.as_mut_ptr().cast(), done, slots, self.b);
            _mm512_mask_i32scatter_ps::<4>(hits.c.as_mut_ptr().cast(), done, slots, self.c);
            let (instance, triangle) = (self.best.instance, self.best.triangle);
            _mm512_mask_i32scatter_epi32::<4>(hits.instance.as_mut_ptr().cast(), done, slots, instance);
            _mm512_mask_i32scatter_epi32::<4>(hits.triangle.as_mut_ptr().cast(), done, slots, triangle);
            _mm512_mask_i32scatter_epi32::<4>(hits.flags.as_mut_ptr().cast(), done, slots, self.flags);

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
            let slots = _mm512_mask_expandloadu_epi32(slots, new, wanted);
            self.slots = slots;
            let float = |old: Floats, from: &[f32]| {
                _mm512_mask_i32gather_ps::<4>(old, new, slots, from.as_ptr().cast())
            };
            let word = |old: Words, from: &[u32]| {
                _mm512_mask_i32gather_epi32::<4>(old, new, slots, from.as_ptr().cast())
            };
            for axis in 0..3 {
                self.world_origin[axis] = float(self.world_origin[axis], &rays.origin[axis]);
                self.world_direction[axis] = float(self.world_direction[axis], &rays.direction[axis]);
            }
            // Negative zeros would be the smallest of integers.
            self.t_min = _mm512_add_ps(float(self.t_min, &rays.t_min), _mm512_setzero_ps());
            self.t = float(self.t, &rays.t_max);
            self.after.instance = word(self.after.instance, &rays.after_instance);
            self.after.triangle = word(self.after.triangle, &rays.after_triangle);
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
            let stack = _mm512_set1_epi32(const { STACK as i32 * ENTRY });
            self.height = _mm512_mask_mullo_epi32(self.height, new, numbers, stack);
            self.push(new, words(Child::NOTHING.word()));
            self.child = _mm512_mask_mov_epi32(self.child, new, words(scene.quads.root));
            self.pending &= !new;
        }
    }
}

/// Sorts keys, and children with them, the smallest first.
#[inline(always)]
unsafe fn sorted(mut keys: [Words; 4], mut children: [Words; 4]) -> ([Words; 4], [Words; 4]) {
    // SAFETY: the caller has AVX-512.
    unsafe {
        for (a, b) in [(0, 1), (2, 3), (0, 2), (1, 3), (1, 2)] {
            let swapped = _mm512_cmpgt_epi32_mask(keys[a], keys[b]);
            (keys[a], keys[b]) = (_mm512_min_epi32(keys[a], keys[b]), _mm512_max_epi32(keys[a], keys[b]));
            (children[a], children[b]) = (
                _mm512_mask_mov_epi32(children[a], swapped, children[b]),
                _mm512_mask_mov_epi32(children[b], swapped, children[a]),
            );
        }
        (keys, children)
    }
}
