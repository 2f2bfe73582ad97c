//! What a scene names: files beside it and data URIs.
//!
//! A scene names files by relative paths only. It may look into neighbouring
//! directories (`../textures`), since it is read on the machine of the artist
//! who wrote it; nodes see blobs and never a path.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use crate::error::{Fault, LoadError, Problem};
use crate::limits::SceneLimits;

/// Fetches what a scene names, within a budget of bytes.
#[derive(Debug)]
pub(crate) struct Files {
    /// The scene's file name, for messages.
    pub(crate) scene: String,
    /// The directory of the scene; without it no file can be named.
    base: Option<PathBuf>,
    bytes_left: u64,
    limit: u64,
}

impl Files {
    pub(crate) fn new(scene: String, base: Option<PathBuf>, limits: &SceneLimits) -> Self {
        Self { scene, base, bytes_left: limits.source_bytes, limit: limits.source_bytes }
    }

    /// The bytes that a URI names; `what` is `buffer` or `texture`.
    pub(super) fn fetch(&mut self, what: &'static str, place: &str, uri: &str) -> Result<Vec<u8>, LoadError> {
        let bytes = match data_uri(uri) {
            Some(payload) => payload.map_err(|problem| self.fault(place, problem))?,
            None => self.read(what, place, uri)?,
        };
        let size = bytes.len() as u64;
        self.bytes_left = self.bytes_left.checked_sub(size).ok_or_else(|| self.too_large(place))?;
        Ok(bytes)
    }

    fn read(&self, what: &'static str, place: &str, uri: &str) -> Result<Vec<u8>, LoadError> {
        let name = relative_path(uri).map_err(|problem| self.fault(place, problem))?;
        let Some(base) = &self.base else {
            let problem =
                Problem::Unsupported(format!("the file `{name}`, named by a scene without a place,"));
            return Err(self.fault(place, problem));
        };
        let path = base.join(&name);
        let bytes = read_regular_file(&path, self.bytes_left).map_err(|source| {
            let (scene, looked_in) = (self.scene.clone(), directory_of(&path));
            match source.kind() {
                io::ErrorKind::NotFound => LoadError::MissingFile { scene, what, name, looked_in },
                _ => LoadError::ReadFile { scene, what, name, source },
            }
        })?;
        bytes.ok_or_else(|| self.too_large(place))
    }

    fn fault(&self, place: &str, problem: Problem) -> LoadError {
        LoadError::Invalid { scene: self.scene.clone(), fault: Fault::new(place, problem) }
    }

    fn too_large(&self, place: &str) -> LoadError {
        let value = self.limit - self.bytes_left + 1;
        self.fault(place, Problem::TooMany { what: "or more bytes in named files", value, limit: self.limit })
    }
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(directory) if directory != Path::new("") => directory.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// The file's bytes, or `None` when there are more than `limit`.
fn read_regular_file(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    // A pipe or a device would be read for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

/// The payload of a data URI (RFC 2397); `None` when it is not one.
fn data_uri(uri: &str) -> Option<Result<Vec<u8>, Problem>> {
    let scheme = uri.get(..5)?;
    if !scheme.eq_ignore_ascii_case("data:") {
        return None;
    }
    let malformed = |text: &str| Problem::Malformed(format!("the data URI {text}"));
    let Some((kind, payload)) = uri[5..].split_once(',') else {
        return Some(Err(malformed("has no comma")));
    };
    let payload: Vec<u8> = percent_decode_str(payload).collect();
    if !kind.to_ascii_lowercase().ends_with(";base64") {
        return Some(Ok(payload));
    }
    let end = payload.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    let decoded = data_encoding::BASE64_NOPAD.decode(&payload[..end]);
    Some(decoded.map_err(|error| malformed(&format!("is not base64: {error}"))))
}

/// A relative file name from a URI reference.
fn relative_path(uri: &str) -> Result<String, Problem> {
    let shown: String = uri.chars().take(200).collect();
    let has_scheme = uri.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    if has_scheme {
        return Err(Problem::Unsupported(format!("`{shown}`, which is neither a relative path nor data,")));
    }
    let name = percent_decode_str(uri)
        .decode_utf8()
        .map_err(|_| Problem::Malformed(format!("the file name `{shown}` is not UTF-8")))?
        .into_owned();
    if name.is_empty() || name.contains('\0') {
        return Err(Problem::Malformed(format!("`{shown}` is not a file name")));
    }
    if name.starts_with(['/', '\\']) || Path::new(&name).is_absolute() {
        return Err(Problem::Unsupported(format!("the absolute path `{shown}`")));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_uris_are_decoded() {
        let decode = |uri| data_uri(uri).map(|bytes| bytes.expect("the payload is valid"));
        assert_eq!(decode("data:application/octet-stream;base64,AAECAw=="), Some(vec![0, 1, 2, 3]));
        assert_eq!(decode("data:;base64,AAECAw"), Some(vec![0, 1, 2, 3]));
        assert_eq!(decode("data:,a%20b"), Some(b"a b".to_vec()));
        assert_eq!(decode("DATA:;base64,"), Some(vec![]));
        assert_eq!(decode("database.bin"), None);
        assert!(data_uri("data:;base64,@@").is_some_and(|payload| payload.is_err()));
        assert!(data_uri("data:nothing").is_some_and(|payload| payload.is_err()));
    }

    #[test]
    fn only_relative_paths_are_file_names() {
        assert_eq!(relative_path("a%20b/c.png").as_deref(), Ok("a b/c.png"));
        assert_eq!(relative_path("../tex.png").as_deref(), Ok("../tex.png"));
        assert_eq!(relative_path("1:2.png").as_deref(), Ok("1:2.png"));
        let refused = [
            "",
            "/etc/passwd",
            "%2Fetc/passwd",
            "\\\\host\\x",
            "C:\\x",
            "http://x/y",
            "file:x",
            "a%00",
            "%FF",
        ];
        for uri in refused {
            assert!(relative_path(uri).is_err(), "{uri}");
        }
    }
}
