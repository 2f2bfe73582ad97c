// Owen-scrambled Sobol points in padded pairs (Burley 2020, "Practical
// Hash-based Owen Scrambling", JCGT 9(4)): a pure function of key, sample and
// dimension, with integers only.

import package::hash::{hash, hash_combine};

// Pairs of dimensions: the pixel's own, then four for each segment; the time's is
// beyond those of all segments.
const PAIR_FILTER: u32 = 0u;
const PAIR_LENS: u32 = 1u;
const PAIR_FIRST_SEGMENT: u32 = 2u;
const PAIR_TIME: u32 = 0xffffffffu;
const PAIRS_PER_SEGMENT: u32 = 4u;
// Direction of the next segment.
const PAIR_DIRECTION: u32 = 0u;
// Point on the chosen light.
const PAIR_LIGHT: u32 = 1u;
// Lobe, and which light.
const PAIR_CHOICE: u32 = 2u;
// Roulette, and which cell of the sky.
const PAIR_FATE: u32 = 3u;

// What the samples of one pixel share.
fn pixel_key(seed: u32, frame: u32, x: u32, y: u32) -> u32 {
    return hash_combine(hash_combine(hash_combine(seed, frame), y), x);
}

// A hash that lets bits depend on lower ones only, that is, an Owen scramble of
// the reversed number (Laine & Karras 2011; constants by Vegdahl 2021).
fn scramble_reversed(reversed: u32, seed: u32) -> u32 {
    var x = reversed;
    x = x ^ (x * 0x3d20adeau);
    x = x + seed;
    x = x * ((seed >> 16u) | 1u);
    x = x ^ (x * 0x05526c56u);
    x = x ^ (x * 0x53a22864u);
    return x;
}

// The second Sobol dimension, bits reversed: the index times Pascal's triangle
// modulo 2, which is the fifth Kronecker power of a 2×2 matrix.
fn sobol_second_reversed(index: u32) -> u32 {
    var x = index;
    x = x ^ (x >> 16u);
    x = x ^ ((x & 0xff00ff00u) >> 8u);
    x = x ^ ((x & 0xf0f0f0f0u) >> 4u);
    x = x ^ ((x & 0xccccccccu) >> 2u);
    x = x ^ ((x & 0xaaaaaaaau) >> 1u);
    return x;
}

// Two stratified random words: point `sample` of the pair's own sequence.
fn sample_pair(key: u32, sample: u32, pair: u32) -> vec2<u32> {
    let seed = hash_combine(key, pair);
    // Shuffling the order decorrelates pairs and keeps every prefix of 2^n
    // samples stratified. Reversing twice on the way to a coordinate cancels.
    let index = reverseBits(scramble_reversed(reverseBits(sample), seed));
    let x = scramble_reversed(index, hash(seed ^ 0x68bc21ebu));
    let y = scramble_reversed(sobol_second_reversed(index), hash(seed ^ 0x02e5be93u));
    return vec2<u32>(reverseBits(x), reverseBits(y));
}

// The same for a path's segment, counted from 1.
fn sample_segment(key: u32, sample: u32, segment: u32, pair: u32) -> vec2<u32> {
    return sample_pair(key, sample, PAIR_FIRST_SEGMENT + (segment - 1u) * PAIRS_PER_SEGMENT + pair);
}
