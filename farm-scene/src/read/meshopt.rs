//! Buffer views that meshoptimizer compressed (`EXT_meshopt_compression` and its
//! successor `KHR_meshopt_compression`): each is decoded once, into a buffer of its
//! own, and then read as any other.

use std::borrow::Cow;

use draco_gltf::meshopt::decode_buffer_view;
use draco_gltf::{MeshoptFilter, MeshoptMode};
use gltf::json;
use serde::Deserialize;
use serde_json::Value;

use super::buffers::{self, Buffers};
use super::named;
use crate::error::{Fault, Problem};
use crate::limits::SceneLimits;
use crate::validate::at_most;

/// The names of the extension: the second adds a filter for colours and a second
/// version of the vertex codec, and changes nothing else.
pub(super) const NAMES: [&str; 2] = ["EXT_meshopt_compression", "KHR_meshopt_compression"];

/// The most that a stream holds for each of its bytes. A block of at most 256
/// elements takes a byte for four bytes of an element; indices take more.
const MOST_PER_BYTE: u64 = 256 * 4;

/// The extension's object in a buffer view.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Compressed {
    buffer: usize,
    #[serde(default)]
    byte_offset: u64,
    byte_length: u64,
    byte_stride: u64,
    count: u64,
    mode: String,
    filter: Option<String>,
}

/// Whether the bytes of a buffer need not be there, because every view of it is
/// compressed.
pub(super) fn is_fallback(buffer: &json::Buffer) -> bool {
    let others = buffer.extensions.as_ref().map(|extensions| &extensions.others);
    let flag = others.and_then(|others| NAMES.iter().find_map(|&name| others.get(name)?.get("fallback")));
    flag.and_then(Value::as_bool).unwrap_or(false)
}

/// Decodes every compressed view and points it at its decoded bytes.
pub(super) fn decode_views(
    root: &mut json::Root,
    buffers: &mut Buffers<'_>,
    limits: &SceneLimits,
) -> Result<(), Fault> {
    let mut total = 0;
    // A stream lies in a buffer of the file, not in what another one decoded to.
    let in_file = buffers.len();
    for i in 0..root.buffer_views.len() {
        let others = root.buffer_views[i].extensions.as_ref().map(|extensions| &extensions.others);
        let object = others.and_then(|others| NAMES.iter().find_map(|&name| Some((name, others.get(name)?))));
        let Some((name, object)) = object else {
            continue;
        };
        let place = format!("bufferViews[{i}].extensions.{name}");
        let compressed = Compressed::deserialize(object)
            .map_err(|error| Fault::new(&place, Problem::Malformed(error.to_string())))?;
        let bytes = compressed.decode(&buffers[..in_file], &place, &mut total, limits)?;
        let view = &mut root.buffer_views[i];
        view.buffer = json::Index::push(&mut root.buffers, plain_buffer(bytes.len()));
        view.byte_offset = None;
        view.byte_length = bytes.len().into();
        buffers.push(Some(Cow::Owned(bytes)));
    }
    Ok(())
}

/// The description of a buffer that the file does not have.
pub(super) fn plain_buffer(length: usize) -> json::Buffer {
    json::Buffer {
        byte_length: length.into(),
        name: None,
        uri: None,
        extensions: None,
        extras: Default::default(),
    }
}

impl Compressed {
    fn decode(
        &self,
        buffers: &[Option<Cow<'_, [u8]>>],
        place: &str,
        total: &mut u64,
        limits: &SceneLimits,
    ) -> Result<Vec<u8>, Fault> {
        let fault = |problem| Fault::new(place, problem);
        let buffer = named(buffers, self.buffer, "buffer", place)?.as_ref();
        let bytes = buffer.ok_or_else(|| fault(Problem::Missing("the buffer of the compressed bytes")))?;
        let what = || format!("buffer {}", self.buffer);
        let stream = buffers::slice(bytes, self.byte_offset, self.byte_length, what).map_err(fault)?;
        let mode = MeshoptMode::from_name(&self.mode)
            .map_err(|_| fault(Problem::Unsupported(format!("the mode {}", shown(&self.mode)))))?;
        let filter = self.filter.as_deref().map_or(Ok(MeshoptFilter::None), |filter| {
            MeshoptFilter::from_name(filter)
                .map_err(|_| fault(Problem::Unsupported(format!("the filter {}", shown(filter)))))
        })?;
        let size = self.count.saturating_mul(self.byte_stride);
        *total = total.saturating_add(size);
        at_most("bytes in all compressed buffer views", *total, limits.decoded_bytes).map_err(fault)?;
        let limit = (stream.len() as u64).saturating_mul(MOST_PER_BYTE);
        at_most("bytes from a stream that is too short for them", size, limit).map_err(fault)?;
        // A count of elements without bytes may be anything.
        let [size, count, stride] =
            [size, self.count, self.byte_stride].map(|value| usize::try_from(value).unwrap_or(usize::MAX));
        let mut bytes = vec![0; size];
        decode_buffer_view(&mut bytes, stream, mode, filter, count, stride)
            .map_err(|error| fault(Problem::Malformed(reason(&error.to_string()))))?;
        Ok(bytes)
    }
}

/// An error of the decoder without the extension's name, which the place has.
fn reason(text: &str) -> String {
    text.rsplit_once(": ").map_or(text, |(_, reason)| reason).to_owned()
}

/// A name of the file as errors show it.
fn shown(name: &str) -> String {
    name.chars().take(40).collect()
}
