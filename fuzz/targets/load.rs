//! A scene file of any bytes: it is refused, or what it gives is valid, packs, and
//! unpacks to the same.
//!
//! Bytes that are no `.glb` file are taken for the JSON and, after the first zero
//! byte, the binary chunk of one: a change to either then needs no change of the
//! sizes around it.

#![no_main]

use std::io;

use farm_fuzz::limits;
use farm_scene::{LoadOptions, load_bytes, pack, unpack_within};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = limits();
    let file = if bytes.starts_with(b"glTF") { bytes.to_vec() } else { container(bytes) };
    let Ok(loaded) = load_bytes("fuzz.glb", &file, &LoadOptions::default(), &limits) else {
        return;
    };
    let summary = loaded.summary();
    assert!(summary.instanced_triangles > 0, "a scene that loads has something to render");
    let packed = pack(&loaded.scene);
    let unpacked = unpack_within(
        &packed.manifest.bytes,
        |digest| {
            let blob = packed.blobs.iter().find(|blob| blob.digest == *digest);
            blob.map(|blob| blob.bytes.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
        },
        &limits,
    );
    assert!(unpacked.expect("a packed scene is valid") == loaded.scene, "the scene changed");
});

/// A `.glb` file of the JSON and what follows the first zero byte.
fn container(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let (json, bin) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let word = |value: usize| u32::try_from(value).expect("inputs are small").to_le_bytes();
    let mut file = b"glTF\x02\0\0\0".to_vec();
    file.extend(word(12 + 8 + json.len() + 8 + bin.len()));
    for (kind, chunk) in [(b"JSON", json), (b"BIN\0", bin)] {
        file.extend(word(chunk.len()));
        file.extend(kind);
        file.extend(chunk);
    }
    file
}
