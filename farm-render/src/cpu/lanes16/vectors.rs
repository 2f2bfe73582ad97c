//! What is done with vectors of sixteen lanes.

use std::arch::x86_64::*;

use super::{Floats, LANES, Lanes, Words};

/// A word in all lanes.
#[inline(always)]
pub(super) unsafe fn words(word: u32) -> Words {
    // SAFETY: the caller has AVX-512.
    unsafe { _mm512_set1_epi32(word.cast_signed()) }
}

#[inline(always)]
pub(super) unsafe fn floats(words: Words) -> Floats {
    // SAFETY: the caller has AVX-512.
    unsafe { _mm512_castsi512_ps(words) }
}

#[inline(always)]
pub(super) unsafe fn bits(floats: Floats) -> Words {
    // SAFETY: the caller has AVX-512.
    unsafe { _mm512_castps_si512(floats) }
}

/// Lanes 0 to 7, and 8 to 15.
#[inline(always)]
pub(super) fn halves(lanes: Lanes) -> [__mmask8; 2] {
    lanes.to_le_bytes()
}

/// Addresses of `size` bytes times each index.
#[inline(always)]
pub(super) unsafe fn addresses(first: *const u8, size: usize, indices: Words) -> [Words; 2] {
    // SAFETY: the caller has AVX-512.
    unsafe {
        let (first, size) = (_mm512_set1_epi64(first as i64), _mm512_set1_epi64(size as i64));
        let low = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(indices));
        let high = _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64::<1>(indices));
        let at = |indices: Words| _mm512_add_epi64(first, _mm512_mullo_epi64(indices, size));
        [at(low), at(high)]
    }
}

/// The pointers of some lanes, and `spare` in the others.
#[inline(always)]
pub(super) unsafe fn pointers(addresses: [Words; 2], lanes: Lanes, spare: *const u8) -> [*const u8; LANES] {
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
pub(super) unsafe fn load_rows(at: &[*const u8; LANES], offset: usize) -> [Words; 4] {
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
pub(super) unsafe fn permuted([x, y, z]: [Floats; 3], [is_x, is_y]: [Lanes; 2]) -> [Floats; 3] {
    // SAFETY: the caller has AVX-512.
    unsafe {
        [
            _mm512_mask_mov_ps(_mm512_mask_mov_ps(x, is_x, y), is_y, z),
            _mm512_mask_mov_ps(_mm512_mask_mov_ps(y, is_x, z), is_y, x),
            _mm512_mask_mov_ps(_mm512_mask_mov_ps(z, is_x, x), is_y, y),
        ]
    }
}

/// [`crate::cpu::hit::edge`].
#[inline(always)]
pub(super) unsafe fn edge(a: [Floats; 2], b: [Floats; 2]) -> Floats {
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
pub(super) unsafe fn dot(row: &[Words; 4], v: &[Floats; 3]) -> Floats {
    // SAFETY: the caller has AVX-512.
    unsafe {
        let xy = _mm512_add_ps(_mm512_mul_ps(floats(row[0]), v[0]), _mm512_mul_ps(floats(row[1]), v[1]));
        _mm512_add_ps(xy, _mm512_mul_ps(floats(row[2]), v[2]))
    }
}

/// Loads an entry of two words for each lane, `heights` bytes from `first`, and
/// returns the first words and the second ones.
///
/// By two loads of 8 bytes for every pair of lanes: two gathers of sixteen words
/// take three to four times as long on Zen 4 and no less on others.
///
/// # Safety
///
/// The processor must have AVX-512, and 8 bytes at each height be readable.
#[inline(always)]
pub(super) unsafe fn load_entries(first: *const u8, heights: Words) -> [Words; 2] {
    // SAFETY: the caller upholds it.
    unsafe {
        let heights: [u32; LANES] = std::mem::transmute(heights);
        let entry = |lane: usize| first.add(heights[lane] as usize);
        let pair = |lane: usize| {
            let low = _mm_castsi128_pd(_mm_loadl_epi64(entry(lane).cast()));
            _mm_castpd_si128(_mm_loadh_pd(low, entry(lane + 1).cast()))
        };
        // The entries of two of every four lanes.
        let pairs = |lane: usize| {
            let pairs = _mm512_castsi128_si512(pair(lane));
            let pairs = _mm512_inserti32x4::<1>(pairs, pair(lane + 4));
            let pairs = _mm512_inserti32x4::<2>(pairs, pair(lane + 8));
            floats(_mm512_inserti32x4::<3>(pairs, pair(lane + 12)))
        };
        let [low, high] = [pairs(0), pairs(2)];
        [
            bits(_mm512_shuffle_ps::<0b10_00_10_00>(low, high)),
            bits(_mm512_shuffle_ps::<0b11_01_11_01>(low, high)),
        ]
    }
}

/// Stores an entry of two words for each lane, `heights` bytes from `first`.
///
/// # Safety
///
/// The processor must have AVX-512, and 8 bytes at each height be writable.
#[inline(always)]
pub(super) unsafe fn store_entries(first: *mut u8, heights: Words, [a, b]: [Words; 2]) {
    // SAFETY: the caller upholds it.
    unsafe {
        let heights: [u32; LANES] = std::mem::transmute(heights);
        let entry = |lane: usize| first.add(heights[lane] as usize);
        for (lane, pairs) in [(0, _mm512_unpacklo_epi32(a, b)), (2, _mm512_unpackhi_epi32(a, b))] {
            let pairs = [
                _mm512_castsi512_si128(pairs),
                _mm512_extracti32x4_epi32::<1>(pairs),
                _mm512_extracti32x4_epi32::<2>(pairs),
                _mm512_extracti32x4_epi32::<3>(pairs),
            ];
            for (four, pair) in pairs.into_iter().enumerate() {
                _mm_storel_epi64(entry(4 * four + lane).cast(), pair);
                _mm_storeh_pd(entry(4 * four + lane + 1).cast(), _mm_castsi128_pd(pair));
            }
        }
    }
}
