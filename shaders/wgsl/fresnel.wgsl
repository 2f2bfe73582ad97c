// What an interface reflects by the angle of the light.

import package::vector::{cos_sin_turn, dot3, exponential, PI};

// Reflectance of a coat at normal incidence: its index is 1.5.
const COAT_F0: f32 = 0.04;

// Schlick 1994: reflectances at normal and at grazing incidence, and the cosine.
fn schlick(f0: vec3<f32>, f90: f32, cosine: f32) -> vec3<f32> {
    let m = clamp(1.0 - cosine, 0.0, 1.0);
    let m5 = m * m * (m * m) * m;
    return f0 + (vec3<f32>(f90) - f0) * m5;
}

// Unpolarised reflectance between two dielectrics (Walter et al. 2007, equation
// 22); `ratio` is the index behind the interface over that in front of it.
fn dielectric_reflectance(cosine: f32, ratio: f32) -> f32 {
    let square = ratio * ratio - 1.0 + cosine * cosine;
    if (square <= 0.0) {
        return 1.0;
    }
    let g = sqrt(square);
    let parallel = (g - cosine) / (g + cosine);
    let across = (cosine * (g + cosine) - 1.0) / (cosine * (g - cosine) + 1.0);
    return min(0.5 * parallel * parallel * (1.0 + across * across), 1.0);
}

// Reflectance at normal incidence.
fn normal_reflectance(ratio: f32) -> f32 {
    let r = (ratio - 1.0) / (ratio + 1.0);
    return r * r;
}

// The index, over the outer one, of what reflects so much at normal incidence.
fn index_of_reflectance(f0: f32) -> f32 {
    let root = sqrt(clamp(f0, 0.0, 0.9999));
    return (1.0 + root) / (1.0 - root);
}

// One of the four bells that the observer's sensitivities are made of, after
// Fourier's transform: `path` is the optical path difference in metres, `place`
// the bell's in turns of 2π per metre, and `half` adds half a turn.
fn sensitivity(value: f32, place: f32, variance: f32, path: f32, half: bool) -> f32 {
    let turns = place * path;
    let bits = u32((turns - floor(turns)) * 16777216.0) << 8u;
    let wave = cos_sin_turn(bits + select(0u, 0x80000000u, half)).x;
    let phase = 2.0 * PI * path;
    return value * sqrt(2.0 * PI * variance) * wave * exponential(-variance * phase * phase);
}

// What an observer sees of a wave that interferes with itself, in linear sRGB
// (Belcour & Barla 2017, "A Practical Extension to Microfacet Theory for the
// Modeling of Varying Iridescence", with the constants of
// `KHR_materials_iridescence`). `halves` says in which channels half a turn is added.
fn interference(path: f32, halves: vec3<bool>) -> vec3<f32> {
    let x = sensitivity(5.4856e-13, 1.6810e+06, 4.3278e+09, path, halves.x)
        + sensitivity(9.7470e-14, 2.2399e+06, 4.5282e+09, path, halves.x);
    let y = sensitivity(4.4201e-13, 1.7953e+06, 9.3046e+09, path, halves.y);
    let z = sensitivity(5.2481e-13, 2.2084e+06, 6.6121e+09, path, halves.z);
    let xyz = vec3<f32>(x, y, z) * (1.0 / 1.0685e-7);
    return vec3<f32>(
        dot3(vec3<f32>(3.2404542, -1.5371385, -0.4985314), xyz),
        dot3(vec3<f32>(-0.9692660, 1.8760108, 0.0415560), xyz),
        dot3(vec3<f32>(0.0556434, -0.2040259, 1.0572252), xyz),
    );
}

// What a film of `index` and `thickness` (in nanometres) reflects at an angle on
// top of what reflects `f0`. `KHR_materials_iridescence`, the part on its thin-film
// Fresnel term: two orders of interference.
fn thin_film_reflectance(index: f32, thickness: f32, f0: vec3<f32>, cosine: f32) -> vec3<f32> {
    // A film that vanishes takes the index of the air with it.
    let share = clamp(thickness * (1.0 / 0.03), 0.0, 1.0);
    let film = 1.0 + (index - 1.0) * share * share * (3.0 - 2.0 * share);
    let cosine_square = 1.0 - (1.0 - cosine * cosine) / (film * film);
    if (cosine_square <= 0.0) {
        return vec3<f32>(1.0);
    }
    let inner_cosine = sqrt(cosine_square);
    let outer = schlick(vec3<f32>(normal_reflectance(film)), 1.0, cosine).x;
    let through = 1.0 - outer;
    let base = vec3<f32>(
        index_of_reflectance(f0.x), index_of_reflectance(f0.y), index_of_reflectance(f0.z),
    );
    let inner_f0 = vec3<f32>(
        normal_reflectance(base.x / film),
        normal_reflectance(base.y / film),
        normal_reflectance(base.z / film),
    );
    let inner = schlick(inner_f0, 1.0, inner_cosine);
    let path = 2.0 * film * thickness * 1.0e-9 * inner_cosine;
    // Half a turn where the wave meets a higher index: once inside, at the outer
    // interface, and at the base.
    let outer_half = film >= 1.0;
    let halves = vec3<bool>(
        outer_half != (base.x < film), outer_half != (base.y < film), outer_half != (base.z < film),
    );
    let product = min(inner * outer, vec3<f32>(0.9999));
    let amplitude = vec3<f32>(sqrt(product.x), sqrt(product.y), sqrt(product.z));
    let single = inner * (through * through) / (vec3<f32>(1.0) - product);
    var color = vec3<f32>(outer) + single;
    var wave = single - vec3<f32>(through);
    wave *= amplitude;
    color += wave * interference(path, halves) * 2.0;
    wave *= amplitude;
    // Two halves are a whole turn.
    color += wave * interference(2.0 * path, vec3<bool>(false)) * 2.0;
    return max(color, vec3<f32>(0.0));
}

// The reflectance at normal incidence of Schlick's curve through a value.
fn schlick_through(value: vec3<f32>, cosine: f32) -> vec3<f32> {
    let m = clamp(1.0 - cosine, 0.0, 1.0);
    let m5 = min(m * m * (m * m) * m, 0.9999);
    return clamp((value - vec3<f32>(m5)) / (1.0 - m5), vec3<f32>(0.0), vec3<f32>(1.0));
}
