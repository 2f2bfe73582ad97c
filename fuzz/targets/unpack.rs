//! A manifest and blobs of any bytes, from a master and an artist that a node does
//! not trust: they are refused, or the scene is valid and packs to blobs that
//! unpack to it.
//!
//! The input is the manifest and its blobs, one after the other; each begins where
//! its magic number is. A fuzzer finds no digests, so in the manifest 32 bytes of
//! the value k stand for the digest of blob k, counted from 1.

#![no_main]

use std::io;

use farm_fuzz::limits;
use farm_scene::{Scene, UnpackError, manifest_blobs, pack, unpack_within};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = split(bytes).into_iter();
    let Some(mut manifest) = parts.next().map(<[u8]>::to_vec) else {
        return;
    };
    let blobs: Vec<(blake3::Hash, &[u8])> = parts.map(|blob| (blake3::hash(blob), blob)).collect();
    name_blobs(&mut manifest, &blobs);
    let _ = manifest_blobs(&manifest);
    let Ok(scene) = unpack(&manifest, &blobs) else {
        return;
    };
    let packed = pack(&scene);
    let again: Vec<(blake3::Hash, &[u8])> =
        packed.blobs.iter().map(|blob| (blob.digest, blob.bytes.as_slice())).collect();
    let unpacked = unpack(&packed.manifest.bytes, &again);
    assert!(unpacked.expect("a packed scene is valid") == scene, "the scene changed");
});

fn unpack(manifest: &[u8], blobs: &[(blake3::Hash, &[u8])]) -> Result<Scene, UnpackError> {
    let fetch = |wanted: &blake3::Hash| {
        let blob = blobs.iter().find(|(digest, _)| digest == wanted);
        blob.map(|(_, bytes)| bytes.to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    unpack_within(manifest, fetch, &limits())
}

/// Cuts before each magic number.
fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let is_magic = |four: &[u8]| matches!(four, b"TSSC" | b"TSGE" | b"TSIM" | b"TSRA");
    let starts = bytes.windows(4).enumerate().filter(|(_, four)| is_magic(four)).map(|(at, _)| at);
    let mut cuts: Vec<usize> = starts.collect();
    cuts.push(bytes.len());
    cuts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

/// Writes the digests where the manifest has their stand-ins.
fn name_blobs(manifest: &mut [u8], blobs: &[(blake3::Hash, &[u8])]) {
    let mut at = 0;
    while let Some(window) = manifest.get_mut(at..at + 32) {
        let number = usize::from(window[0]);
        let is_stand_in = window.iter().all(|&byte| usize::from(byte) == number);
        match number.checked_sub(1).and_then(|index| blobs.get(index)) {
            Some((digest, _)) if is_stand_in => {
                window.copy_from_slice(digest.as_bytes());
                at += 32;
            }
            _ => at += 1,
        }
    }
}
