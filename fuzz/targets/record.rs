//! What a journal's record holds, of any bytes: it is refused, or it is a fact or a
//! part of a snapshot that is written as the same bytes again.
//!
//! The first byte of the input chooses which of the two is expected.

#![no_main]

use farm_core::scheduler::{Fact, SnapshotPart};
use farm_fuzz::travels;
use farm_wire::codec::REQUEST_LIMIT;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    if kind % 2 == 0 {
        travels::<Fact>(bytes, REQUEST_LIMIT);
    } else {
        travels::<SnapshotPart>(bytes, REQUEST_LIMIT);
    }
});
