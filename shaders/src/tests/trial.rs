//! `tests/trial.wgsl`, generated at every width and compiled by the driver of an
//! adapter where there is one: the same words come out, and those that plain
//! Rust expects.

use crate::native::lanes1;
use crate::native::vector::Vec3;

use expected::EXPECTED;

mod expected;
mod gpu;

include!(concat!(env!("OUT_DIR"), "/trial_1.rs"));
#[cfg(target_arch = "x86_64")]
include!(concat!(env!("OUT_DIR"), "/trial_8.rs"));
#[cfg(target_arch = "x86_64")]
include!(concat!(env!("OUT_DIR"), "/trial_16.rs"));

pub(super) const SOURCE: &str = include_str!("../../tests/trial.wgsl");

/// The trial that reads its neighbours' pairs; it has no function of two words.
const NEIGHBOURS: u32 = 16;

/// The trial of sums and products whose order WGSL leaves to the driver.
const ORDER: u32 = 17;

/// Pairs of words: every two of the words at which arithmetic bends, then words
/// without a pattern. Their number is no multiple of any width.
fn pairs() -> Vec<[u32; 2]> {
    const EDGES: [u32; 16] = [
        0,
        1,
        2,
        3,
        7,
        31,
        32,
        0xff,
        0x7fff,
        0x8000,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0x8000_0001,
        0xffff_fffe,
        u32::MAX,
    ];
    let mut pairs: Vec<[u32; 2]> = EDGES.iter().flat_map(|&a| EDGES.map(|b| [a, b])).collect();
    let mut state = 0x9e37_79b9_u32;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    pairs.extend((0..5003).map(|_| [word(), word()]));
    // Some that lie close to one another, as comparisons want.
    pairs.extend((0..512).map(|_| {
        let a = word();
        [a, a.wrapping_add(word() % 5).wrapping_sub(2)]
    }));
    pairs
}

/// Runs a trial natively, some lanes at a time.
fn run(lanes: u32, which: u32, pairs: &[[u32; 2]]) -> Vec<u32> {
    let count = u32::try_from(pairs.len()).expect("thousands");
    let mut answers = vec![0; pairs.len()];
    let mut bindings = scalar::Bindings {
        choice: &[which, count, 0, 0],
        pairs: pairs.as_flattened(),
        answers: &mut answers,
        overrides: scalar::Overrides::default(),
    };
    match lanes {
        1 => {
            for id in 0..count {
                let id = Vec3::new(id.into(), 0.into(), 0.into());
                scalar::run_trial(lanes1::Mask::splat(true), &mut bindings, id);
            }
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `widths` names what the processor was found to have.
        8 => unsafe { run_8(&mut bindings, count) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        16 => unsafe { run_16(&mut bindings, count) },
        other => panic!("no code for {other} lanes"),
    }
    answers
}

/// Declares the loop over all pairs at a width.
#[cfg(target_arch = "x86_64")]
macro_rules! run_of {
    ($name:ident, $lanes:ident, $version:ident, $features:literal) => {
        #[target_feature(enable = $features)]
        fn $name(bindings: &mut scalar::Bindings<'_>, count: u32) {
            use crate::native::$lanes::{Mask, U32, WIDTH};
            for first in (0..count).step_by(WIDTH) {
                let mut places = [0; WIDTH];
                (first..).zip(&mut places).for_each(|(id, place)| *place = id);
                let zero = U32::splat(0);
                let id = Vec3::new(U32::from_array(places), zero, zero);
                $version::run_trial(Mask::splat(true), bindings, id);
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
run_of!(run_8, lanes8, avx2, "avx2");
#[cfg(target_arch = "x86_64")]
run_of!(run_16, lanes16, avx512, "avx2,avx512f,avx512bw,avx512dq,avx512vl");

fn widths() -> Vec<u32> {
    crate::native::Width::available().into_iter().map(crate::native::Width::lanes).collect()
}

#[track_caller]
fn assert_same(what: &str, which: u32, pairs: &[[u32; 2]], answers: &[u32], wanted: &[u32]) {
    assert_eq!(answers.len(), wanted.len());
    for ((pair, answer), wanted) in pairs.iter().zip(answers).zip(wanted) {
        assert_eq!(answer, wanted, "trial {which} of {pair:x?} {what}");
    }
}

#[test]
fn generated_code_does_what_the_wgsl_says() {
    let pairs = pairs();
    for (which, expected) in (0..).zip(EXPECTED) {
        let wanted: Vec<u32> = pairs.iter().map(|&[a, b]| expected(a, b)).collect();
        for lanes in widths() {
            let what = format!("on {lanes} lanes");
            assert_same(&what, which, &pairs, &run(lanes, which, &pairs), &wanted);
        }
    }
}

#[test]
fn operations_are_neither_reordered_nor_fused() {
    let pairs = pairs();
    let wanted: Vec<u32> = pairs.iter().map(|&[a, b]| expected::order(a, b)).collect();
    for lanes in widths() {
        let what = format!("on {lanes} lanes");
        assert_same(&what, ORDER, &pairs, &run(lanes, ORDER, &pairs), &wanted);
    }
}

#[test]
fn buffers_are_read_alike_at_every_width() {
    let pairs = pairs();
    let wanted = expected::neighbours(&pairs);
    for lanes in widths() {
        let what = format!("on {lanes} lanes");
        assert_same(&what, NEIGHBOURS, &pairs, &run(lanes, NEIGHBOURS, &pairs), &wanted);
    }
}

#[test]
fn drivers_agree_with_the_generated_code() {
    let pairs = pairs();
    let Some(gpu) = gpu::Gpu::open(SOURCE, "run_trial") else {
        // Without one the trials are still compared with plain Rust, above.
        return;
    };
    for which in 0..=NEIGHBOURS {
        let answers = gpu.run(which, &pairs);
        assert_same("on a graphics adapter", which, &pairs, &answers, &run(1, which, &pairs));
    }
}
