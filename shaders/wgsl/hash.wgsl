// Integer hashes: every random number begins here, and integers are the only
// arithmetic that WGSL defines to the last bit.

// A bijective mixer of 32 bits (Wellons 2018, "Prospecting for Hash Functions",
// the constants of `lowbias32`).
fn hash(value: u32) -> u32 {
    var x = value;
    x = x ^ (x >> 16u);
    x = x * 0x7feb352du;
    x = x ^ (x >> 15u);
    x = x * 0x846ca68bu;
    x = x ^ (x >> 16u);
    return x;
}

// A hash of a key and one more number; order matters.
fn hash_combine(key: u32, value: u32) -> u32 {
    return hash(key ^ hash(value + 0x9e3779b9u));
}

// The product of two numbers in 64 bits: high word, low word.
fn multiply_wide(a: u32, b: u32) -> vec2<u32> {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let low = a_low * b_low;
    let middle_a = a_high * b_low + (low >> 16u);
    let middle_b = a_low * b_high + (middle_a & 0xffffu);
    let high = a_high * b_high + (middle_a >> 16u) + (middle_b >> 16u);
    return vec2<u32>(high, (middle_b << 16u) | (low & 0xffffu));
}

// A number in [0, 1) from the upper 24 bits, exactly.
fn unit_float(bits: u32) -> f32 {
    return f32(bits >> 8u) * 5.9604644775390625e-8;
}

// A probability as a threshold for 16 random bits, 0 to 65536.
fn quantised_probability(probability: f32) -> u32 {
    return u32(clamp(probability, 0.0, 1.0) * 65536.0 + 0.5);
}
