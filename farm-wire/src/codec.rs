//! MessagePack with named fields, bounded and without trailing bytes.

use serde::{Serialize, de::DeserializeOwned};

use crate::WireError;

/// Encodes with named fields, so that either side may add fields later.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let _ = value;
    todo!()
}

/// Decodes exactly one value of at most `limit` bytes.
///
/// # Errors
/// Too long, malformed, or followed by further bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, WireError> {
    let _ = (bytes, limit);
    todo!()
}
