//! Values of these tests as seeds for the fuzz targets of `fuzz/`, which say how their
//! inputs are laid out. `scripts/fuzz.sh seeds` asks for them.

use std::any::type_name;
use std::fs;
use std::path::PathBuf;

/// An encoded message or fact, behind the byte that chooses its kind.
pub(super) fn of_value<T>(encoded: &[u8]) {
    let (target, kind) = match type_name::<T>().rsplit("::").next() {
        Some("FromNode") => ("message", 0),
        Some("ToNode") => ("message", 1),
        Some("TileHeader") => ("message", 2),
        Some("Request") => ("message", 3),
        Some("Response") => ("message", 4),
        Some("Verdict") => ("message", 5),
        Some("Fact") => ("record", 0),
        _ => return,
    };
    write(target, &[&[kind], encoded].concat());
}

/// Writes a seed where it is asked for.
pub(super) fn write(target: &str, seed: &[u8]) {
    let Some(folder) = std::env::var_os("TESSERA_FUZZ_SEEDS") else { return };
    let folder = PathBuf::from(folder).join(target);
    fs::create_dir_all(&folder).expect("the folder can be made");
    let name = &blake3::hash(seed).to_hex()[..16];
    fs::write(folder.join(name), seed).expect("the folder can be written to");
}
