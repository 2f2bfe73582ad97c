//! A message of any bytes, from a peer that nobody trusts: it is refused, or it is a
//! value that travels on as the same bytes.
//!
//! The first byte of the input chooses which message is expected.

#![no_main]

use farm_fuzz::travels;
use farm_wire::codec::{REQUEST_LIMIT, RESPONSE_LIMIT};
use farm_wire::message::{FromNode, Request, Response, TileHeader, ToNode, Verdict};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 6 {
        0 => travels::<FromNode>(bytes, REQUEST_LIMIT),
        1 => travels::<ToNode>(bytes, RESPONSE_LIMIT),
        2 => travels::<TileHeader>(bytes, REQUEST_LIMIT),
        3 => travels::<Request>(bytes, REQUEST_LIMIT),
        4 => travels::<Response>(bytes, RESPONSE_LIMIT),
        _ => travels::<Verdict>(bytes, RESPONSE_LIMIT),
    }
});
