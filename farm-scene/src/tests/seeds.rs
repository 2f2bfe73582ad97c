//! The small files of these tests as seeds for the fuzz targets of `fuzz/`, which
//! say how their inputs are laid out. `scripts/fuzz.sh seeds` asks for them.

use std::fs;
use std::path::Path;

use super::glb::Glb;
use crate::pack::pack;
use crate::scene::Scene;

/// Writes a seed for each target.
pub(super) fn write(folder: &Path, file: &Glb, scene: &Scene) {
    let mut parts = serde_json::to_vec(&file.json).expect("JSON of finite numbers is text");
    parts.push(0);
    parts.extend(&file.bin);
    save(&folder.join("load"), &parts);
    save(&folder.join("unpack"), &manifest_and_blobs(scene));
}

fn save(folder: &Path, seed: &[u8]) {
    fs::create_dir_all(folder).expect("the folder can be made");
    let name = &blake3::hash(seed).to_hex()[..16];
    fs::write(folder.join(name), seed).expect("the folder can be written to");
}

/// The manifest, in which 32 bytes of the value k name blob k, and the blobs.
fn manifest_and_blobs(scene: &Scene) -> Vec<u8> {
    let packed = pack(scene);
    let mut seed = packed.manifest.bytes;
    for (blob, number) in packed.blobs.iter().zip(1_u8..) {
        let name = blob.digest.as_bytes();
        while let Some(at) = seed.windows(32).position(|bytes| bytes == name) {
            seed[at..at + 32].fill(number);
        }
    }
    packed.blobs.iter().for_each(|blob| seed.extend(&blob.bytes));
    seed
}
