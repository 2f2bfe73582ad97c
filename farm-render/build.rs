//! Hashes this crate's sources: what they prepare is kept on disk under that
//! hash, so that no build reads what another build made differently. And computes
//! the tables that the kernel reads.

#[path = "src/tables/integrals.rs"]
mod integrals;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const FOLDER: &str = "src";

fn main() {
    println!("cargo::rerun-if-changed={FOLDER}");
    println!("cargo::rerun-if-changed=build.rs");
    let mut hasher = blake3::Hasher::new();
    for path in sources(Path::new(FOLDER)) {
        let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        hasher.update(path.to_string_lossy().replace('\\', "/").as_bytes());
        hasher.update(&text.len().to_le_bytes());
        hasher.update(&text);
    }
    let folder = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    let write = |name: &str, bytes: &[u8]| {
        fs::write(Path::new(&folder).join(name), bytes).expect("OUT_DIR can be written");
    };
    write("sources.digest", hasher.finalize().as_bytes());
    let (words, starts) = lay_out_tables();
    write("tables.bin", &words);
    write("tables.rs", starts.as_bytes());
}

/// The words of all tables, little-endian, and a constant for the first word of
/// each.
fn lay_out_tables() -> (Vec<u8>, String) {
    let (mut bytes, mut starts) = (Vec::new(), String::new());
    let names = ["ALBEDO", "GAUSSIAN", "BLACKMAN_HARRIS", "GLASS", "SHEEN"];
    for (name, table) in names.into_iter().zip(integrals::all_tables()) {
        let start = bytes.len() / 4;
        writeln!(starts, "/// The first word of this table.\npub(crate) const {name}: u32 = {start};")
            .expect("writing to a string cannot fail");
        bytes.extend(table.into_iter().flat_map(u32::to_le_bytes));
    }
    (bytes, starts)
}

/// The Rust files under a folder but its tests, in the order of their names.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("the folder can be read to its end").path()).collect();
    paths.sort();
    paths
        .into_iter()
        .flat_map(|path| match path.file_stem().and_then(|stem| stem.to_str()) {
            Some("tests") => Vec::new(),
            _ if path.is_dir() => sources(&path),
            _ if path.extension().is_some_and(|extension| extension == "rs") => vec![path],
            _ => Vec::new(),
        })
        .collect()
}
