//! Buffers and buffer views.

use std::borrow::Cow;

use gltf::json;

use super::{Files, meshopt, named};
use crate::error::{Fault, LoadError, Problem};

/// The bytes of each buffer; `None` where the file says nothing of them, which
/// is an error only for those who use them.
pub(super) type Buffers<'a> = Vec<Option<Cow<'a, [u8]>>>;

/// Loads every buffer of the file.
pub(super) fn load<'a>(
    root: &json::Root,
    mut bin: Option<Cow<'a, [u8]>>,
    files: &mut Files,
) -> Result<Buffers<'a>, LoadError> {
    let mut buffers = Vec::with_capacity(root.buffers.len());
    for (i, buffer) in root.buffers.iter().enumerate() {
        let place = format!("buffers[{i}]");
        let bytes = match (&buffer.uri, bin.take_if(|_| i == 0)) {
            _ if meshopt::is_fallback(buffer) => {
                buffers.push(None);
                continue;
            }
            (Some(uri), _) => Cow::Owned(files.fetch("buffer", &place, uri)?),
            (None, Some(bin)) => bin,
            (None, None) => {
                buffers.push(None);
                continue;
            }
        };
        let (needs, has) = (buffer.byte_length.0, bytes.len() as u64);
        if needs > has {
            let what = if buffer.uri.is_some() { "its file" } else { "the binary chunk" }.to_owned();
            let fault = Fault::new(place, Problem::BeyondEnd { what, needs, has });
            return Err(LoadError::Invalid { scene: files.scene.clone(), fault });
        }
        buffers.push(Some(bytes));
    }
    Ok(buffers)
}

/// The bytes of a buffer view, and its stride if it states one.
pub(super) fn view<'a>(
    root: &json::Root,
    buffers: &'a Buffers<'_>,
    index: usize,
    place: &str,
) -> Result<(&'a [u8], Option<usize>), Fault> {
    let view = named(&root.buffer_views, index, "buffer view", place)?;
    let place = format!("bufferViews[{index}]");
    let buffer = view.buffer.value();
    let bytes = named(buffers, buffer, "buffer", &place)?.as_ref().ok_or_else(|| {
        Fault::new(format!("buffers[{buffer}]"), Problem::Missing("the URI, or the binary chunk,"))
    })?;
    let start = view.byte_offset.unwrap_or_default().0;
    let slice = slice(bytes, start, view.byte_length.0, || format!("buffer {buffer}"))
        .map_err(|problem| Fault::new(place, problem))?;
    Ok((slice, view.byte_stride.map(|stride| stride.0)))
}

/// `length` bytes from `start`, or an error that names what is too short.
pub(super) fn slice(
    bytes: &[u8],
    start: u64,
    length: u64,
    what: impl Fn() -> String,
) -> Result<&[u8], Problem> {
    let end = start.saturating_add(length);
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    range.and_then(|(start, end)| bytes.get(start..end)).ok_or_else(|| Problem::BeyondEnd {
        what: what(),
        needs: end,
        has: bytes.len() as u64,
    })
}
