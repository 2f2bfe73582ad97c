//! Composes the kernel from `wgsl/`, validates it and generates its native
//! version; any mistake in it, an unknown import included, fails the build with
//! the file and line.

#[path = "generator/mod.rs"]
mod generator;

use std::fs;
use std::path::{Path, PathBuf};

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

const FOLDER: &str = "wgsl";

/// The arithmetic that generated code is written in.
const LANES: &str = "src/native";

const MEGAKERNEL: &str = "package::main";
const WAVEFRONT: &str = "package::wavefront";

/// Where the large arrays lie that a kernel reads.
#[derive(Clone, Copy)]
struct Arrays {
    /// Nodes and triangles lie in images.
    images: bool,
    /// What lies in buffers lies in several each.
    paged: bool,
}

/// All that is composed but the megakernel over whole buffers: the file's name and
/// the root.
const OTHERS: [(&str, &str, Arrays); 5] = [
    ("wavefront", WAVEFRONT, Arrays { images: false, paged: false }),
    ("path_tracer_images", MEGAKERNEL, Arrays { images: true, paged: false }),
    ("path_tracer_paged", MEGAKERNEL, Arrays { images: false, paged: true }),
    ("path_tracer_images_paged", MEGAKERNEL, Arrays { images: true, paged: true }),
    ("wavefront_paged", WAVEFRONT, Arrays { images: false, paged: true }),
];

/// WGSL that tries the generator out, in the tests only.
const TRIAL: &str = "tests/trial.wgsl";

/// A width that native code is generated for.
struct Width {
    lanes: u32,
    module: &'static str,
    features: Option<&'static str>,
}

const WIDTHS: [Width; 3] = [
    Width { lanes: 1, module: "scalar", features: None },
    Width { lanes: 8, module: "avx2", features: Some("avx2") },
    Width { lanes: 16, module: "avx512", features: Some("avx2,avx512f,avx512bw,avx512dq,avx512vl") },
];

fn main() {
    println!("cargo::rerun-if-changed={FOLDER}");
    println!("cargo::rerun-if-changed={TRIAL}");
    println!("cargo::rerun-if-changed=generator");
    println!("cargo::rerun-if-changed={LANES}");
    println!("cargo::rerun-if-changed=build.rs");
    if let Err(message) = build() {
        println!("cargo::error={}", message.trim_end().replace('\n', "\ncargo::error="));
        std::process::exit(1);
    }
}

fn build() -> Result<(), String> {
    let composed = compose(MEGAKERNEL, Arrays { images: false, paged: false })?;
    let others = OTHERS.map(|(name, root, arrays)| {
        let text = compose(root, arrays)?;
        validate(&text)?;
        write(&format!("{name}.wgsl"), text.as_bytes());
        Ok::<_, String>(text)
    });
    let native = generate(&composed, "path_tracer", "crate::native", &|name| {
        let (path, line) = find_in_sources(name, None)?;
        Some(format!("{}:{line}", path.file_name()?.to_str()?))
    })?;
    write("native.digest", digest_of_native(&native)?.as_bytes());
    write("path_tracer.wgsl", composed.as_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher.update(composed.as_bytes());
    for text in others {
        hasher.update(b"\0").update(text?.as_bytes());
    }
    write("path_tracer.digest", hasher.finalize().as_bytes());
    let trial = fs::read_to_string(TRIAL).map_err(|error| format!("{TRIAL}: {error}"))?;
    generate(&trial, "trial", "crate::tests::trial", &|_| None).map(|_| ())
}

/// Hash of all that the native version's bits depend on: the generated text, at
/// one width, and the lanes.
fn digest_of_native(generated: &str) -> Result<blake3::Hash, String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(generated.as_bytes());
    for path in files_in(LANES) {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            hasher.update(&text);
        }
    }
    Ok(hasher.finalize())
}

/// Resolves the imports, and what depends on where the large arrays lie. Names are
/// kept as they are written: a name that two files declare is caught by the
/// validation.
fn compose(root: &str, arrays: Arrays) -> Result<String, String> {
    let mut compiler = wesl::Wesl::new(FOLDER);
    compiler.set_mangler(wesl::ManglerKind::None);
    compiler.set_feature("images", arrays.images);
    compiler.set_feature("paged", arrays.paged);
    let root = root.parse().map_err(|error| format!("{root}: {error}"))?;
    let mut composed = compiler.compile(&root).map_err(|error| error.to_string())?;
    // The compiler brings the files together in an order that differs from run to
    // run, and two builds must agree on every byte.
    composed.syntax.global_declarations.sort_by_cached_key(|declaration| {
        let text = declaration.to_string();
        let place = text.lines().find_map(declared_name).and_then(|name| find_in_sources(name, None));
        (place, text)
    });
    Ok(composed.to_string())
}

/// Parses and validates a text as wgpu will.
fn validate(text: &str) -> Result<(naga::Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(text)
        .map_err(|error| locate(text, error.location(text), &error.emit_to_string(text)))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .map_err(|error| locate(text, error.location(text), &error.emit_to_string(text)))?;
    Ok((module, info))
}

/// Writes `NAME_WIDTH.rs` for every width and returns the text of the first;
/// `parent` is the path of the module that includes them.
fn generate(
    text: &str,
    name: &str,
    parent: &str,
    source_of: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let (module, info) = validate(text)?;
    let mut first = None;
    for Width { lanes, module: width, features } in &WIDTHS {
        let single = format!("{parent}::{}", WIDTHS[0].module);
        let options = generator::Options {
            name: width,
            lanes: &format!("crate::native::lanes{lanes}"),
            single: (*lanes > 1).then_some(single.as_str()),
            features: *features,
            source_of,
        };
        let native = generator::generate(&module, &info, &options).map_err(|unsupported| {
            let place = unsupported.span.location(text);
            let line = text.lines().nth(place.line_number.saturating_sub(1) as usize).unwrap_or_default();
            let message = format!(
                "the native version has no counterpart for {}\n  {}",
                unsupported.message,
                line.trim()
            );
            locate(text, Some(place), &message)
        })?;
        write(&format!("{name}_{lanes}.rs"), native.as_bytes());
        first.get_or_insert(native);
    }
    first.ok_or_else(|| "there is no width".to_owned())
}

/// Puts the file and line of the source before a message about the composed
/// text, by finding the declaration around the place and the line in it.
fn locate(composed: &str, place: Option<naga::SourceLocation>, message: &str) -> String {
    let found = place.and_then(|place| {
        let number = usize::try_from(place.line_number).ok()?.checked_sub(1)?;
        let lines: Vec<&str> = composed.lines().collect();
        let declaration = lines[..=number].iter().rev().find_map(|line| declared_name(line))?;
        find_in_sources(declaration, Some(lines[number]))
    });
    match found {
        Some((path, line)) => format!("{}:{line}: {message}", path.display()),
        None => message.to_owned(),
    }
}

/// The name that a line without indentation declares.
fn declared_name(line: &str) -> Option<&str> {
    let after = ["fn ", "struct ", "const ", "override "].iter().find_map(|word| line.strip_prefix(word))?;
    after.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

/// The file that declares a name, and the line after the declaration that reads
/// like `statement`, or the declaration's own line.
fn find_in_sources(declaration: &str, statement: Option<&str>) -> Option<(PathBuf, usize)> {
    let bare = |line: &str| {
        line.chars().filter(|c| !c.is_whitespace() && *c != '(' && *c != ')').collect::<String>()
    };
    source_files().into_iter().find_map(|path| {
        let text = fs::read_to_string(&path).ok()?;
        let start = text.lines().position(|line| declared_name(line) == Some(declaration))?;
        let line = statement.map_or(0, |statement| {
            let wanted = bare(statement);
            text.lines().skip(start).position(|line| bare(line) == wanted).unwrap_or(0)
        });
        Some((path, start + line + 1))
    })
}

fn source_files() -> Vec<PathBuf> {
    let mut files = files_in(FOLDER);
    files.push(TRIAL.into());
    files
}

/// What is in a folder, in the order of the names.
fn files_in(folder: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files
}

fn write(name: &str, content: &[u8]) {
    let folder = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    fs::write(Path::new(&folder).join(name), content).expect("OUT_DIR can be written");
}
