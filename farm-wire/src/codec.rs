//! MessagePack with named fields, bounded and without trailing bytes.

use std::io::Cursor;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::WireError;

/// Longest message that a master accepts, in bytes: a job's 65,536 blobs take
/// 34 bytes each, 2.2 MiB, and the rest of the longest message is small.
pub const REQUEST_LIMIT: usize = 4 << 20;

/// Longest message that a node or an artist accepts, in bytes: room for every
/// job of a full farm (10,000 views of some hundred bytes), or one job of
/// 100,000 delivered frames.
pub const RESPONSE_LIMIT: usize = 64 << 20;

/// Longest message of a peer that has not shown who it is, in bytes: a
/// certificate or the request for one is below 2 KiB.
pub(crate) const JOIN_LIMIT: usize = 16 << 10;

/// Bytes of a message's length on a stream, big-endian.
pub(crate) const LENGTH_BYTES: usize = 4;

/// Deepest nesting: the deepest message (a job's settings) nests 5 deep, and a
/// newer peer's unknown fields may nest a little more.
const MAX_DEPTH: usize = 32;

/// Encodes with named fields, so that either side may add fields later.
///
/// # Panics
/// Only for a type whose `Serialize` fails or whose sequences do not know
/// their length; no type that travels is such.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("types that travel serialise into memory without failing")
}

/// Decodes exactly one value of at most `limit` bytes.
///
/// # Errors
/// Too long, malformed, or followed by further bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, WireError> {
    if bytes.len() > limit {
        let length = bytes.len();
        return Err(WireError::Protocol(format!("a message of {length} bytes is over the limit of {limit}")));
    }
    let mut decoder = rmp_serde::Deserializer::new(Cursor::new(bytes));
    decoder.set_max_depth(MAX_DEPTH);
    let value = T::deserialize(&mut decoder)
        .map_err(|error| WireError::Protocol(format!("a malformed message: {error}")))?;
    let trailing = bytes.len() - usize::try_from(decoder.position()).unwrap_or(bytes.len());
    if trailing > 0 {
        return Err(WireError::Protocol(format!("{trailing} bytes follow a message")));
    }
    Ok(value)
}

/// Encodes a message as it stands on a stream: its length, then its bytes.
///
/// # Errors
/// When it is longer than the peer would accept.
pub(crate) fn frame<T: Serialize>(message: &T, limit: usize) -> Result<Bytes, WireError> {
    let mut frame = Vec::new();
    append_frame(&mut frame, message, limit)?;
    Ok(frame.into())
}

/// As [`frame`], behind the frames that are there already. After an error these
/// are as they were.
pub(crate) fn append_frame<T: Serialize>(
    frames: &mut Vec<u8>,
    message: &T,
    limit: usize,
) -> Result<(), WireError> {
    let start = frames.len();
    let body = start + LENGTH_BYTES;
    frames.resize(body, 0);
    rmp_serde::encode::write_named(frames, message)
        .expect("types that travel serialise into memory without failing");
    let length = frames.len() - body;
    match u32::try_from(length) {
        Ok(prefix) if length <= limit => {
            frames[start..body].copy_from_slice(&prefix.to_be_bytes());
            Ok(())
        }
        _ => {
            frames.truncate(start);
            let problem = format!("our message of {length} bytes is over the limit of {limit}");
            Err(WireError::Protocol(problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_bytes_are_rejected() {
        let mut bytes = encode(&7u64);
        assert_eq!(decode::<u64>(&bytes, 100).expect("one value"), 7);
        bytes.push(0);
        assert!(decode::<u64>(&bytes, 100).is_err());
    }

    #[test]
    fn the_limit_is_kept_in_both_directions() {
        let text = "x".repeat(100);
        assert!(decode::<String>(&encode(&text), 101).is_err());
        assert!(decode::<String>(&encode(&text), 102).is_ok());
        assert!(frame(&text, 101).is_err());
        assert_eq!(frame(&text, 102).expect("within")[..4], [0, 0, 0, 102]);
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
        let bytes = vec![0x91; 100_000];
        assert!(decode::<serde::de::IgnoredAny>(&bytes, REQUEST_LIMIT).is_err());
    }

    #[test]
    fn a_claimed_length_does_not_allocate() {
        // An array that claims 2^32 - 1 strings, and a string of 2^32 - 1 bytes.
        assert!(decode::<Vec<String>>(&[0xdd, 0xff, 0xff, 0xff, 0xff], 100).is_err());
        assert!(decode::<String>(&[0xdb, 0xff, 0xff, 0xff, 0xff, b'a'], 100).is_err());
    }
}
