//! The outside of a scene file: `.glb` chunks (glTF 2.0, section 4.4) or bare
//! JSON.

use gltf::json;

use crate::error::LoadError;
use crate::limits::SceneLimits;

/// The parts of a scene file.
pub(super) struct Parts<'a> {
    pub(super) json: &'a [u8],
    pub(super) bin: Option<&'a [u8]>,
}

const HEADER_BYTES: usize = 12;

/// Finds the JSON and the binary chunk.
pub(super) fn split<'a>(scene: &str, bytes: &'a [u8]) -> Result<Parts<'a>, LoadError> {
    let scene = || scene.to_owned();
    if bytes.is_empty() {
        return Err(LoadError::Empty { scene: scene() });
    }
    if !bytes.starts_with(b"glTF") {
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        if text.trim_ascii_start().starts_with(b"{") {
            return Ok(Parts { json: text, bin: None });
        }
        let found = bytes.get(..4).unwrap_or(bytes).escape_ascii().to_string();
        return Err(LoadError::WrongMagic { scene: scene(), found: format!("`{found}`") });
    }
    let cut_off = |what, expected: u64, found: usize| {
        Err(LoadError::Truncated { scene: scene(), what, expected, found: found as u64 })
    };
    let (Some(version), Some(length)) = (word(bytes, 4), word(bytes, 8)) else {
        return cut_off("the header", HEADER_BYTES as u64, bytes.len());
    };
    if version != 2 {
        return Err(LoadError::Version { scene: scene(), found: version.to_string() });
    }
    if length as usize > bytes.len() {
        return cut_off("the file", u64::from(length), bytes.len());
    }
    let mut rest = bytes.get(HEADER_BYTES..length as usize).unwrap_or(&[]);
    let mut parts = (None, None);
    while let (Some(size), Some(kind)) = (word(rest, 0), rest.get(4..8)) {
        let body = &rest[8..];
        let Some(chunk) = body.get(..size as usize) else {
            let what = if kind == b"JSON" { "the JSON chunk" } else { "the binary chunk" };
            return cut_off(what, u64::from(size), body.len());
        };
        match kind {
            b"JSON" if parts.0.is_none() => parts.0 = Some(chunk),
            b"BIN\0" if parts.1.is_none() => parts.1 = Some(chunk),
            _ => {}
        }
        rest = &body[chunk.len()..];
    }
    match parts {
        (Some(json), bin) => Ok(Parts { json, bin }),
        (None, _) => {
            let problem = "it has no JSON chunk".to_owned();
            Err(LoadError::Container { scene: scene(), problem })
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().expect("the slice has four bytes")))
}

/// Parses the JSON, and checks that it is glTF 2.
pub(super) fn parse(scene: &str, bytes: &[u8], limits: &SceneLimits) -> Result<json::Root, LoadError> {
    let scene = || scene.to_owned();
    if bytes.len() as u64 > limits.json_bytes {
        let (bytes, limit) = (bytes.len() as u64, limits.json_bytes);
        return Err(LoadError::TooLarge { scene: scene(), bytes, limit });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| LoadError::NotUtf8 { scene: scene(), offset: error.valid_up_to() as u64 })?;
    let text = text.trim_end_matches(['\0', ' ', '\n', '\r', '\t']);
    let root: json::Root = serde_json::from_str(text)
        .or_else(|source| without_foreign_channels(text).ok_or(source))
        .map_err(|source| LoadError::Json { scene: scene(), source })?;
    let version = root.asset.min_version.as_ref().unwrap_or(&root.asset.version);
    if version != "2" && !version.starts_with("2.") {
        return Err(LoadError::Version { scene: scene(), found: version.chars().take(20).collect() });
    }
    Ok(root)
}

/// The file without those channels of animations that move no node but what an
/// extension says (glTF 2.0, section 3.11): the JSON types insist on a node.
fn without_foreign_channels(text: &str) -> Option<json::Root> {
    let mut file: serde_json::Value = serde_json::from_str(text).ok()?;
    for animation in file.get_mut("animations")?.as_array_mut()? {
        let channels = animation.get_mut("channels").and_then(|channels| channels.as_array_mut());
        if let Some(channels) = channels {
            channels.retain(|channel| channel.pointer("/target/node").is_some());
        }
    }
    serde_json::from_str(&file.to_string()).ok()
}
