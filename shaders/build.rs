//! Composes the kernel from `wgsl/` and validates it; any mistake in it, an
//! unknown import included, fails the build with the file and line.

use std::fs;
use std::path::{Path, PathBuf};

use naga::valid::{Capabilities, ValidationFlags, Validator};

const FOLDER: &str = "wgsl";
const ROOT: &str = "package::main";

fn main() {
    println!("cargo::rerun-if-changed={FOLDER}");
    match compose().and_then(|composed| validate(&composed).map(|()| composed)) {
        Ok(composed) => write(&composed),
        Err(message) => {
            println!("cargo::error={}", message.trim_end().replace('\n', "\ncargo::error="));
            std::process::exit(1);
        }
    }
}

/// Resolves the imports. Names are kept as they are written: a name that two
/// files declare is caught by the validation.
fn compose() -> Result<String, String> {
    let mut compiler = wesl::Wesl::new(FOLDER);
    compiler.set_mangler(wesl::ManglerKind::None);
    let root = ROOT.parse().map_err(|error| format!("{ROOT}: {error}"))?;
    Ok(compiler.compile(&root).map_err(|error| error.to_string())?.to_string())
}

/// Parses and validates the composed text as wgpu will.
fn validate(composed: &str) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(composed)
        .map_err(|error| locate(composed, error.location(composed), &error.emit_to_string(composed)))?;
    Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .map(drop)
        .map_err(|error| locate(composed, error.location(composed), &error.emit_to_string(composed)))
}

/// Puts the file and line of the source before a message about the composed
/// text, by finding the declaration around the place and the line in it.
fn locate(composed: &str, place: Option<naga::SourceLocation>, message: &str) -> String {
    let found = place.and_then(|place| {
        let number = usize::try_from(place.line_number).ok()?.checked_sub(1)?;
        let lines: Vec<&str> = composed.lines().collect();
        let declaration = lines[..=number].iter().rev().find_map(|line| declared_name(line))?;
        find_in_sources(declaration, lines[number])
    });
    match found {
        Some((path, line)) => format!("{}:{line}: {message}", path.display()),
        None => message.to_owned(),
    }
}

/// The name that a line without indentation declares.
fn declared_name(line: &str) -> Option<&str> {
    let after = ["fn ", "struct ", "const "].iter().find_map(|word| line.strip_prefix(word))?;
    after.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

/// The file that declares a name, and the line after the declaration that reads
/// like `statement`, or the declaration's own.
fn find_in_sources(declaration: &str, statement: &str) -> Option<(PathBuf, usize)> {
    let bare = |line: &str| {
        line.chars().filter(|c| !c.is_whitespace() && *c != '(' && *c != ')').collect::<String>()
    };
    source_files().into_iter().find_map(|path| {
        let text = fs::read_to_string(&path).ok()?;
        let start = text.lines().position(|line| declared_name(line) == Some(declaration))?;
        let wanted = bare(statement);
        let line = text.lines().skip(start).position(|line| bare(line) == wanted).unwrap_or(0);
        Some((path, start + line + 1))
    })
}

fn source_files() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(FOLDER) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files
}

fn write(composed: &str) {
    let folder = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    let digest = blake3::hash(composed.as_bytes());
    let write = |name: &str, content: &[u8]| {
        fs::write(Path::new(&folder).join(name), content).expect("OUT_DIR can be written");
    };
    write("path_tracer.wgsl", composed.as_bytes());
    write("path_tracer.digest", digest.as_bytes());
}
