// Small functions of two words that try the generator out: one for each thing
// that it must get right. Invocation i runs trial `which` on pair i of `pairs`
// and alone writes word i of `answers`.

struct Choice {
    which: u32,
    count: u32,
    padding0: u32,
    padding1: u32,
}

struct Inner {
    corner: vec3<f32>,
    tag: u32,
}

struct Outer {
    parts: array<Inner, 3>,
    sum: vec2<f32>,
    chosen: bool,
}

struct Walker {
    steps: u32,
    tags: vec2<u32>,
    inner: Inner,
}

struct Walkers {
    first: Walker,
    second: Walker,
}

@group(0) @binding(0) var<uniform> choice: Choice;
@group(0) @binding(1) var<storage, read> pairs: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> answers: array<u32>;

const LIMIT: u32 = 40u;
const HALF: f32 = 0.5;

fn as_float(bits: u32) -> f32 {
    // Ordinary floats of any sign between 2^-16 and 2^16.
    return bitcast<f32>((bits & 0x807fffffu) | ((111u + ((bits >> 23u) & 31u)) << 23u));
}

fn unsigned_division(a: u32, b: u32) -> u32 {
    return (a / (b | 1u)) * 31u + (a % ((b >> 3u) | 1u));
}

fn signed_division(a: u32, b: u32) -> u32 {
    let x = bitcast<i32>(a);
    let y = bitcast<i32>(b) | 1;
    return bitcast<u32>(x / y) ^ bitcast<u32>(x % y);
}

fn shifts(a: u32, b: u32) -> u32 {
    let n = b & 31u;
    return (a << n) ^ (a >> n) ^ bitcast<u32>(bitcast<i32>(a) >> n) ^ bitcast<u32>(bitcast<i32>(a) << n);
}

fn bits(a: u32, b: u32) -> u32 {
    return countOneBits(a) + 37u * firstLeadingBit(b) + 1601u * firstTrailingBit(a)
        + countLeadingZeros(b) * 7u + countTrailingZeros(b) * 11u ^ reverseBits(a);
}

fn float_arithmetic(a: u32, b: u32) -> u32 {
    let x = as_float(a);
    let y = as_float(b);
    return bitcast<u32>(x / y) ^ bitcast<u32>(sqrt(abs(x))) * 3u ^ bitcast<u32>(x - y) * 5u
        ^ bitcast<u32>(-x * y) * 7u;
}

// Drivers may reorder these and fuse products with sums.
fn order(a: u32, b: u32) -> u32 {
    let x = as_float(a);
    let y = as_float(b);
    return bitcast<u32>(x - y - 1.0) ^ bitcast<u32>(x - (y - 1.0)) * 3u ^ bitcast<u32>(x * y + x) * 5u
        ^ bitcast<u32>(x / (y * 3.0)) * 7u ^ bitcast<u32>(-(x + y) * -y + 1.0) * 11u;
}

fn rounding(a: u32, b: u32) -> u32 {
    let x = as_float(a);
    let y = as_float(b);
    return bitcast<u32>(floor(x)) ^ bitcast<u32>(ceil(y)) ^ bitcast<u32>(trunc(x) * 3.0)
        ^ bitcast<u32>(round(y) * 5.0) ^ bitcast<u32>(clamp(x, -2.0, 2.0)) ^ bitcast<u32>(sign(y) * 7.0)
        ^ bitcast<u32>(min(x, y)) ^ (bitcast<u32>(max(x, y)) >> 1u);
}

fn conversions(a: u32, b: u32) -> u32 {
    let from_unsigned = f32(a);
    let from_signed = f32(bitcast<i32>(b));
    let back = u32(as_float(a)) + bitcast<u32>(i32(as_float(b)));
    return bitcast<u32>(from_unsigned) ^ bitcast<u32>(from_signed) ^ back ^ u32(a > b)
        ^ bitcast<u32>(f32(a < b) * HALF);
}

// Counts the steps of a number's way down, as Collatz has it.
fn loop_with_exits(a: u32, b: u32) -> u32 {
    var x = (a & 0xffffu) + 1u;
    var steps = 0u;
    for (var turn = 0u; turn < LIMIT; turn++) {
        if (x == 1u) {
            break;
        }
        steps += 1u;
        if ((x & 1u) == 0u) {
            x /= 2u;
            continue;
        }
        x = 3u * x + 1u;
        if (x % 7u == b % 7u) {
            break;
        }
    }
    return steps * 65537u + x;
}

fn loop_with_return(a: u32, b: u32) -> u32 {
    var x = a;
    loop {
        if (x < b) {
            return x ^ 0x55u;
        }
        x = x >> 1u;
        if (x == 0u) {
            if (b == 0u) {
                return 77u;
            }
            break;
        }
        continuing {
            x -= x & 1u;
            break if x == 0x7fffu;
        }
    }
    return x + b;
}

fn nested_loops(a: u32, b: u32) -> u32 {
    var sum = 0u;
    for (var i = 0u; i < (a & 7u); i++) {
        for (var j = 0u; j < (b & 7u); j++) {
            if (i == j) {
                continue;
            }
            if (i + j > 9u) {
                break;
            }
            sum = sum * 5u + i * j + 1u;
        }
        if (sum > 100000u) {
            return sum;
        }
    }
    return sum ^ a;
}

fn early_returns(a: u32, b: u32) -> u32 {
    if (a < b) {
        if ((a & 1u) == 0u) {
            return a * 3u;
        }
        if ((b & 2u) == 0u) {
            return b * 5u;
        }
    } else if (a == b) {
        return 9u;
    }
    var rest = a - b;
    if ((rest & 4u) != 0u) {
        rest *= 7u;
    } else {
        rest += 11u;
    }
    return rest;
}

fn short_circuits(a: u32, b: u32) -> u32 {
    let odd = (a & 1u) == 1u;
    var result = 0u;
    if (odd && a > b || !odd && (b & 3u) == 2u) {
        result |= 1u;
    }
    let both = odd && (a % 3u == 0u) && (b % 5u != 0u);
    result |= select(0u, 2u, both);
    return result | (u32(odd || a == b) << 2u);
}

fn cases(a: u32, b: u32) -> u32 {
    var x = b;
    switch (a & 7u) {
        case 0u: {
            x = 1u;
        }
        case 1u, 2u: {
            if ((b & 1u) == 1u) {
                break;
            }
            x += 100u;
        }
        case 3u: {
            return b ^ 0xffu;
        }
        default: {
            x *= 3u;
        }
    }
    return x + 1u;
}

fn structs_and_arrays(a: u32, b: u32) -> u32 {
    var outer: Outer;
    for (var i = 0u; i < 3u; i++) {
        outer.parts[i] = Inner(vec3<f32>(as_float(a + i), as_float(b), HALF), a >> i);
    }
    outer.parts[b % 3u].tag += 13u;
    outer.parts[1].corner.y *= 2.0;
    outer.sum = outer.parts[0].corner.xy + outer.parts[1].corner.zy;
    outer.chosen = outer.sum.x > outer.sum.y;
    let copy = outer;
    outer.sum = vec2<f32>(0.0);
    let part = copy.parts[a % 3u];
    let folded = part.corner.x + part.corner.y * copy.sum.x - copy.sum.y;
    return bitcast<u32>(folded) ^ part.tag ^ u32(copy.chosen) ^ bitcast<u32>(outer.sum.x);
}

// Gives back what it was given, changed here and there: lanes leave it early, in a
// loop too.
fn advanced(before: Walker, by: u32) -> Walker {
    var walker = before;
    walker.steps += 1u;
    if ((walker.tags.x & 1u) == 0u) {
        walker.tags.y ^= by;
        return walker;
    }
    walker.inner.corner.y += 2.0;
    for (var i = 0u; i < 3u; i++) {
        if (((by >> i) & 1u) == 1u) {
            walker.tags.x += i;
            return walker;
        }
        walker.inner.tag += 5u;
    }
    walker.tags.x *= 3u;
    return walker;
}

// Returns what it makes, early or not.
fn begun(a: u32, b: u32) -> Walker {
    var walker: Walker;
    walker.tags = vec2<u32>(a, b);
    if (a % 3u == 0u) {
        return walker;
    }
    walker.steps = a & b;
    walker.inner.tag = 9u;
    return walker;
}

// Returns an older value of what it changes.
fn overtaken(before: Walker, by: u32) -> Walker {
    var walker = before;
    if (by > walker.tags.y) {
        return walker;
    }
    let older = walker;
    walker.steps += by;
    if ((walker.steps & 4u) != 0u) {
        return older;
    }
    return walker;
}

fn returned_structs(a: u32, b: u32) -> u32 {
    var walkers: Walkers;
    walkers.first = begun(a, b);
    if ((a & 2u) == 0u) {
        walkers.first = advanced(walkers.first, b);
    }
    let older = walkers.first;
    walkers.first = advanced(walkers.first, a >> 3u);
    if ((b & 1u) == 1u) {
        walkers.first = advanced(older, b >> 5u);
        walkers.second = advanced(walkers.first, b >> 2u);
    }
    if ((a & 4u) == 0u) {
        walkers.second.tags.x += 7u;
        walkers.second = advanced(walkers.second, b >> 7u);
        walkers.second = overtaken(walkers.second, a >> 4u);
    }
    let first = walkers.first;
    let second = walkers.second;
    return (first.steps + 3u * first.tags.x + 5u * first.tags.y + 7u * first.inner.tag)
        ^ (second.steps + 11u * second.tags.x + 13u * second.tags.y + 17u * second.inner.tag)
        ^ bitcast<u32>(first.inner.corner.y + second.inner.corner.y * 4.0);
}

fn vectors(a: u32, b: u32) -> u32 {
    let v = vec3<f32>(as_float(a), as_float(b), 1.5);
    let w = v.zxy * 2.0 - vec3<f32>(v.xy, HALF);
    let larger = v > w;
    let mixed = select(v, w, larger);
    let low = min(v, w) + max(v, vec3<f32>(0.25)) * abs(w);
    let words = bitcast<vec3<u32>>(mixed) ^ vec3<u32>(low) ^ (vec3<u32>(a) >> vec3<u32>(1u, 2u, 3u));
    return words.x ^ words.y * 3u ^ words.z * 5u ^ select(0u, 1u, all(larger)) ^ select(0u, 2u, any(larger));
}

fn neighbours(a: u32, b: u32) -> u32 {
    let place = a % choice.count;
    var sum = pairs[place].x;
    if ((b & 1u) == 1u && pairs[(place + 1u) % choice.count].y > a) {
        sum += pairs[(place + 2u) % choice.count].y;
    }
    return sum;
}

fn trial(a: u32, b: u32) -> u32 {
    switch (choice.which) {
        case 0u: { return unsigned_division(a, b); }
        case 1u: { return signed_division(a, b); }
        case 2u: { return shifts(a, b); }
        case 3u: { return bits(a, b); }
        case 4u: { return float_arithmetic(a, b); }
        case 5u: { return rounding(a, b); }
        case 6u: { return conversions(a, b); }
        case 7u: { return loop_with_exits(a, b); }
        case 8u: { return loop_with_return(a, b); }
        case 9u: { return nested_loops(a, b); }
        case 10u: { return early_returns(a, b); }
        case 11u: { return short_circuits(a, b); }
        case 12u: { return cases(a, b); }
        case 13u: { return structs_and_arrays(a, b); }
        case 14u: { return vectors(a, b); }
        case 15u: { return returned_structs(a, b); }
        case 16u: { return neighbours(a, b); }
        default: { return order(a, b); }
    }
}

@compute @workgroup_size(64)
fn run_trial(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= choice.count) {
        return;
    }
    let pair = pairs[id.x];
    answers[id.x] = trial(pair.x, pair.y);
}
