//! The absences of ARCHITECTURE.md, read from the code: which crate may name
//! which, who may name what, and what the whole tree must never contain.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use walkdir::WalkDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_path_buf()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(vec!["--locked".into()])
        .exec()
        .expect("cargo metadata runs in the workspace")
}

/// Every `.rs` file of a crate's library and binaries, with its text; test
/// modules are left out, in files of their own or at the end of one.
fn sources(crate_folder: &str) -> Vec<(PathBuf, String)> {
    let folder = root().join(crate_folder).join("src");
    let mut files = Vec::new();
    for entry in WalkDir::new(&folder).sort_by_file_name() {
        let path = entry.expect("the source folder can be walked").into_path();
        let place = path.strip_prefix(&folder).expect("the walk stays in the folder");
        let is_test = place.components().any(|part| part.as_os_str() == "tests")
            || path.file_name().is_some_and(|name| name == "tests.rs" || name == "testing.rs");
        if !is_test && path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
            files.push((path, text));
        }
    }
    assert!(!files.is_empty(), "{crate_folder} has sources");
    files
}

/// Code without line comments, so that prose may say what code may not.
fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Whether `word` begins a name in `code`: `rand` is in `rand_core`, not in
/// `Stranded`.
fn names(code: &str, word: &str) -> bool {
    let continues_a_name = |before: &str| before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices(word).any(|(at, _)| !continues_a_name(&code[..at]))
}

fn assert_absent(crate_folder: &str, words: &[&str]) {
    for (path, text) in sources(crate_folder) {
        let code = without_comments(&text);
        for word in words {
            assert!(!names(&code, word), "{}: `{word}` may not be named here", path.display());
        }
    }
}

fn normal_dependencies(package: &Package) -> BTreeSet<&str> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.as_str())
        .collect()
}

#[test]
fn crates_name_only_whom_the_arrows_allow() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("farm-core", &[][..]),
        ("farm-scene", &[]),
        ("shaders", &[]),
        ("farm-wire", &["farm-core"]),
        ("farm-render", &["farm-core", "farm-scene", "shaders"]),
        ("farm-master", &["farm-core", "farm-wire"]),
        ("farm-node", &["farm-core", "farm-wire", "farm-scene", "farm-render"]),
        ("farm-cli", &["farm-core", "farm-wire", "farm-scene", "farm-master", "farm-node"]),
    ]);
    let metadata = metadata();
    let packages = metadata.workspace_packages();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut seen = 0;
    for package in &packages {
        let Some(allowed) = allowed.get(package.name.as_str()) else {
            assert_eq!(package.name.as_str(), "farm-tests", "a crate that ARCHITECTURE.md does not know");
            continue;
        };
        seen += 1;
        for dependency in normal_dependencies(package).intersection(&ours) {
            assert!(allowed.contains(dependency), "{} may not name {dependency}", package.name);
        }
    }
    assert_eq!(seen, allowed.len(), "every crate of the house is there");
}

#[test]
fn only_one_crate_names_each_fenced_library() {
    let fenced: &[(&str, &[&str])] = &[
        ("quinn", &["farm-wire"]),
        ("rustls", &["farm-wire"]),
        ("rcgen", &["farm-wire"]),
        ("rmp-serde", &["farm-wire"]),
        ("gltf", &["farm-scene"]),
        ("draco-gltf", &["farm-scene"]),
        ("basisu", &["farm-scene"]),
        ("wgpu", &["farm-render"]),
        ("obvhs", &["farm-render"]),
        ("sqlx", &["farm-master"]),
        // farm-scene reads glTF extensions that the gltf crate hands out as JSON, and
        // the master's audit log is lines of it.
        ("serde_json", &["farm-cli", "farm-master", "farm-scene", "farm-tests"]),
        ("indicatif", &["farm-cli"]),
    ];
    for package in metadata().workspace_packages() {
        let dependencies = normal_dependencies(package);
        for (library, crates) in fenced {
            if dependencies.contains(library) {
                assert!(crates.contains(&package.name.as_str()), "{} may not name {library}", package.name);
            }
        }
    }
}

#[test]
fn farm_core_is_pure() {
    assert_absent(
        "farm-core",
        &[
            "async ",
            ".await",
            "std::fs",
            "std::net",
            "std::io",
            "std::env",
            "std::thread",
            "Instant",
            "SystemTime",
            "HashMap",
            "HashSet",
            "tokio",
            "rand",
            "println!",
        ],
    );
}

#[test]
fn libraries_print_nothing() {
    for crate_folder in ["farm-core", "farm-wire", "farm-scene", "farm-render"] {
        assert_absent(crate_folder, &["println!", "print!", "eprintln!", "eprint!", "dbg!"]);
    }
}

#[test]
fn nothing_is_left_open() {
    let folders = [
        "farm-core",
        "farm-wire",
        "farm-scene",
        "farm-render",
        "shaders",
        "farm-master",
        "farm-node",
        "farm-cli",
        "tests",
    ];
    let words = ["todo!(", "unimplemented!(", "#[ignore", "FIXME", "#[allow("];
    for folder in folders {
        assert_absent(folder, &words);
    }
}

/// Whether a licence expression offers a choice that the policy allows.
fn licence_is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    // `A AND B` needs both, `A OR B` either; `/` is an old way to write OR.
    // Parentheses only ever group an OR inside an AND in practice.
    let expression = expression.replace('/', " OR ");
    let mut depth = 0;
    let mut conjuncts = vec![String::new()];
    for token in expression.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
        match token {
            "(" => depth += 1,
            ")" => depth -= 1,
            "AND" if depth == 0 => conjuncts.push(String::new()),
            _ => {
                let last = conjuncts.last_mut().expect("never empty");
                last.push(' ');
                last.push_str(token);
            }
        }
    }
    conjuncts.iter().all(|conjunct| {
        conjunct
            .split(" OR ")
            .any(|choice| choice.split(" AND ").all(|licence| allowed.contains(licence.trim())))
    })
}

#[test]
fn every_dependency_has_an_allowed_licence_and_source() {
    let policy = fs::read_to_string(root().join("deny.toml")).expect("deny.toml is there");
    let list = policy
        .split("allow = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .expect("deny.toml allows some");
    let allowed: BTreeSet<String> = list
        .split(',')
        .map(|item| item.trim().trim_matches('"').to_owned())
        .filter(|item| !item.is_empty())
        .collect();
    assert!(allowed.contains("MIT"), "the list was read");
    for package in &metadata().packages {
        let licence = package.license.as_deref().unwrap_or_default();
        assert!(
            licence_is_allowed(licence, &allowed),
            "{} {}: licence `{licence}`",
            package.name,
            package.version
        );
        if let Some(source) = &package.source {
            assert!(source.is_crates_io(), "{} comes from {source}", package.name);
        }
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "ISC".to_owned()]);
    for good in ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "ISC AND (GPL-3.0 OR MIT)", "MIT AND ISC"] {
        assert!(licence_is_allowed(good, &allowed), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "ISC AND (GPL-3.0 OR LGPL-3.0)"] {
        assert!(!licence_is_allowed(bad, &allowed), "{bad}");
    }
}

#[test]
fn banned_crates_are_absent() {
    // Only what is built here counts: quinn-proto names ring for WebAssembly.
    let tree = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--locked", "--prefix", "none", "--format", "{p}"])
        .current_dir(root())
        .output()
        .expect("cargo tree runs in the workspace");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).expect("cargo prints UTF-8");
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("rustls"), "the tree was read");
    for banned in ["openssl", "openssl-sys", "native-tls", "ring"] {
        assert!(!names.contains(banned), "{banned} is banned by deny.toml");
    }
}

#[test]
fn pages_link_only_to_files_that_exist() {
    for page in ["README.md", "ARCHITECTURE.md", "scenes/README.md"] {
        let path = root().join(page);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.starts_with('#') {
                continue;
            }
            let file = target.split('#').next().unwrap_or_default();
            let linked = path.parent().expect("a page lies in a folder").join(file);
            assert!(linked.exists(), "{page} links to {target}, which is not there");
        }
    }
}

/// Names of tests that a document's tables have in backticks.
fn tests_named_in(document: &str) -> BTreeSet<String> {
    let rows = document.lines().filter(|line| line.starts_with('|'));
    let quoted = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let is_name =
        |text: &&str| text.bytes().all(|byte| byte.is_ascii_lowercase() || b"0123456789_".contains(&byte));
    quoted.filter(is_name).map(str::to_owned).collect()
}

#[test]
fn every_attack_of_the_table_has_its_test() {
    let document = fs::read_to_string(root().join("docs/attacks.md")).expect("the table is there");
    let named = tests_named_in(&document);
    assert!(named.len() > 40, "{named:?}");
    let mut found = BTreeSet::new();
    for entry in WalkDir::new(root()).into_iter().filter_entry(|entry| entry.file_name() != "target") {
        let path = entry.expect("the tree can be walked").into_path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("sources are UTF-8");
        // Tests of a macro's making are named by its arguments.
        found.extend(
            named
                .iter()
                .filter(|name| ["fn ", "    "].iter().any(|before| text.contains(&format!("{before}{name}"))))
                .cloned(),
        );
    }
    let missing: Vec<_> = named.difference(&found).collect();
    assert!(missing.is_empty(), "no test has the name of {missing:?}");
}
