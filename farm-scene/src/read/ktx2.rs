//! KTX2 images: Basis Universal (`KHR_texture_basisu`), and plain texels. Only the
//! largest level is read.
//!
//! The header is checked here before any decoder sees the file, so that a decoder
//! meets neither an offset beyond the file nor a size beyond the limits, and of the
//! many formats that it knows only the two that glTF allows.

use basisu::{DecodeFlags, TargetFormat, Transcoder};
use ruzstd::StreamingDecoder;
use std::io::Read as _;

use crate::error::Problem;
use crate::scene::{Image, Texels};

/// The first bytes of every KTX2 file (KTX 2.0, section 3.1).
const MAGIC: &[u8] = b"\xABKTX 20\xBB\r\n\x1A\n";

/// Bytes of the header and of one entry of the level index (sections 3 and 3.9).
const HEADER_BYTES: usize = 80;
const LEVEL_BYTES: usize = 24;

/// More levels than an edge of 2^31 texels has.
const MAX_LEVELS: u32 = 32;

/// Whether the bytes are a KTX2 file.
pub(super) fn is_ktx2(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// What the level 0 of a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Basis Universal's ETC1S, supercompressed with BasisLZ.
    Etc1s,
    /// Basis Universal's UASTC, 16 bytes for each block of 4×4 texels.
    Uastc,
    /// Texels of four 8-bit channels.
    Rgba8,
}

/// How the level's bytes are packed (section 3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    None,
    BasisLz,
    Zstandard,
}

/// A checked header: all that it names lies in the file.
#[derive(Debug)]
pub(super) struct Header<'a> {
    pub(super) width: u32,
    pub(super) height: u32,
    content: Content,
    scheme: Scheme,
    level: &'a [u8],
    uncompressed: u64,
}

/// Reads and checks the header.
pub(super) fn header(bytes: &[u8]) -> Result<Header<'_>, Problem> {
    let short =
        |needs: u64| Problem::BeyondEnd { what: "the KTX2 file".to_owned(), needs, has: bytes.len() as u64 };
    let word = |at: usize| {
        let bytes = bytes.get(at..at + 4).ok_or_else(|| short(at as u64 + 4))?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("the slice has four bytes")))
    };
    let long = |at: usize| Ok(u64::from(word(at)?) | u64::from(word(at + 4)?) << 32);
    let part = |offset: u64, length: u64| {
        let end = offset.saturating_add(length);
        let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
        range.and_then(|(start, end)| bytes.get(start..end)).ok_or_else(|| short(end))
    };
    let [format, _, width, height, depth, layers, faces, levels, scheme] =
        [12, 16, 20, 24, 28, 32, 36, 40, 44].map(word);
    let (width, height, levels) = (width?, height?, levels?);
    let shape = [(depth?, 0, "depth"), (layers?, 1, "array layers"), (faces?, 1, "faces")];
    if let Some((found, most, what)) = shape.into_iter().find(|&(found, most, _)| found > most) {
        return Err(unsupported(format!("a KTX2 texture of {what} {found} (at most {most} is)")));
    }
    if levels > MAX_LEVELS {
        return Err(Problem::TooMany {
            what: "levels",
            value: u64::from(levels),
            limit: u64::from(MAX_LEVELS),
        });
    }
    part(HEADER_BYTES as u64, u64::from(levels.max(1)) * LEVEL_BYTES as u64)?;
    let descriptor = part(u64::from(word(48)?), u64::from(word(52)?))?;
    part(u64::from(word(56)?), u64::from(word(60)?))?;
    part(long(64)?, long(72)?)?;
    let level = part(long(HEADER_BYTES)?, long(HEADER_BYTES + 8)?)?;
    let scheme = match scheme? {
        0 => Scheme::None,
        1 => Scheme::BasisLz,
        2 => Scheme::Zstandard,
        other => return Err(unsupported(format!("the KTX2 supercompression scheme {other}"))),
    };
    let content = content(format?, descriptor, scheme)?;
    let uncompressed = long(HEADER_BYTES + 16)?;
    Ok(Header { width, height, content, scheme, level, uncompressed })
}

fn unsupported(what: String) -> Problem {
    Problem::Unsupported(what)
}

/// What a file of a Vulkan format holds; for Basis Universal, which has none, the
/// colour model of the data format descriptor says it (section 3.10).
fn content(format: u32, descriptor: &[u8], scheme: Scheme) -> Result<Content, Problem> {
    let content = match (format, descriptor.get(12)) {
        (0, Some(163)) => Content::Etc1s,
        (0, Some(166)) => Content::Uastc,
        (0, Some(model)) => return Err(unsupported(format!("a KTX2 texture of colour model {model}"))),
        (0, None) => return Err(Problem::Missing("the data format descriptor")),
        // VK_FORMAT_R8G8B8A8_UNORM and _SRGB: the texture's use says which it is.
        (37 | 43, _) => Content::Rgba8,
        (format, _) => return Err(unsupported(format!("a KTX2 texture of Vulkan format {format}"))),
    };
    if (content == Content::Etc1s) == (scheme == Scheme::BasisLz) {
        return Ok(content);
    }
    Err(Problem::Malformed(format!("{content:?} texels cannot be packed as {scheme:?}")))
}

/// Decodes a file whose size the caller has found within its limits.
pub(super) fn decode(bytes: &[u8], srgb: bool) -> Result<Image, Problem> {
    let header = header(bytes)?;
    let (width, height) = (header.width, header.height);
    let texels = match header.content {
        Content::Rgba8 => header.unpacked(u64::from(width) * u64::from(height) * 4)?,
        Content::Uastc => {
            let blocks = u64::from(width.div_ceil(4)) * u64::from(height.div_ceil(4));
            header.expect_bytes(blocks * 16)?;
            transcode(bytes)?
        }
        Content::Etc1s => transcode(bytes)?,
    };
    Ok(Image { width, height, srgb, texels: Texels::Rgba8(texels) })
}

fn transcode(bytes: &[u8]) -> Result<Vec<u8>, Problem> {
    let undecodable = |error: basisu::Error| Problem::Undecodable(format!("Basis Universal: {error:?}"));
    let transcoder = Transcoder::new(bytes).map_err(undecodable)?;
    transcoder.transcode(0, TargetFormat::Rgba32, DecodeFlags::NONE).map_err(undecodable)
}

impl Header<'_> {
    /// Checks that the level holds this many bytes, or says so of what it packs.
    fn expect_bytes(&self, needs: u64) -> Result<(), Problem> {
        let has = if self.scheme == Scheme::None { self.level.len() as u64 } else { self.uncompressed };
        if has == needs {
            return Ok(());
        }
        Err(Problem::Malformed(format!(
            "level 0 has {has} bytes; {}×{} texels of {:?} have {needs}",
            self.width, self.height, self.content
        )))
    }

    /// The level's bytes, which must be this many.
    fn unpacked(&self, length: u64) -> Result<Vec<u8>, Problem> {
        self.expect_bytes(length)?;
        if self.scheme == Scheme::None {
            return Ok(self.level.to_vec());
        }
        let undecodable = |error: String| Problem::Undecodable(error);
        let stream = StreamingDecoder::new(self.level).map_err(|error| undecodable(error.to_string()))?;
        let mut bytes = Vec::new();
        let read = stream.take(length + 1).read_to_end(&mut bytes);
        read.map_err(|error| undecodable(error.to_string()))?;
        if bytes.len() as u64 == length {
            return Ok(bytes);
        }
        Err(undecodable(format!("level 0 unpacks to {} bytes or more, not to {length}", bytes.len())))
    }
}
