//! A ticket of any text: it is refused, or its text is the ticket's again.
//!
//! A fuzzer finds no check sums, so where the first byte of the input is odd the rest
//! is what is between a ticket's length and its check sum.

#![no_main]

use data_encoding::BASE32_NOPAD;
use farm_wire::Ticket;
use libfuzzer_sys::fuzz_target;

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let text = if kind % 2 == 1 { around(bytes) } else { String::from_utf8_lossy(bytes).into_owned() };
    if let Ok(ticket) = text.parse::<Ticket>() {
        assert!(ticket.to_string().parse() == Ok(ticket), "a ticket changed");
    }
});

/// The text of a ticket with this in the middle.
fn around(middle: &[u8]) -> String {
    let Ok(length) = u16::try_from(3 + middle.len() + CHECKSUM_BYTES) else { return String::new() };
    let mut bytes = vec![VERSION];
    bytes.extend(length.to_be_bytes());
    bytes.extend(middle);
    let digest = blake3::hash(&bytes);
    bytes.extend(&digest.as_bytes()[..CHECKSUM_BYTES]);
    format!("tessera-{}", BASE32_NOPAD.encode(&bytes).to_lowercase())
}
