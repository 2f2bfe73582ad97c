//! What a stranger asks for before anybody knows it, of any bytes: a request to join,
//! and the signing request in it. It is refused, or a certificate says who the joiner
//! is and nothing else of the request.
//!
//! Where the first byte of the input is odd, the rest is the signing request of an
//! otherwise good request.

#![no_main]

use farm_wire::fuzzing::{certify, join};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        Some((kind, bytes)) if kind % 2 == 1 => certify(bytes),
        Some((_, bytes)) => join(bytes),
        None => {}
    }
});
