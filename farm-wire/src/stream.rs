//! Streams of messages, and of raw bytes after a message that announced them.
//!
//! A stream begins at the priority of control and sinks to that of bulk with
//! its first raw byte, so a slow transfer never delays a message on another
//! stream, whoever opened it.

use std::io;

use futures_util::StreamExt;
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use crate::codec;
use crate::error::WireError;

/// Sent before any other.
const CONTROL: i32 = 2;
/// Tiles: sent before blobs, because a frame waits for them.
const TILE: i32 = 1;
/// Blobs and pictures.
const BULK: i32 = 0;

/// The sending half of a stream.
pub struct SendStream {
    stream: quinn::SendStream,
    /// Longest message that the peer accepts.
    limit: usize,
    /// What the stream sinks to with its first raw byte.
    bulk_priority: i32,
    /// Whether raw bytes were sent, so that the peer must read to the end.
    is_bulk: bool,
}

impl SendStream {
    pub(crate) fn control(stream: quinn::SendStream, limit: usize) -> Self {
        Self::new(stream, limit, BULK)
    }

    pub(crate) fn tile(stream: quinn::SendStream, limit: usize) -> Self {
        Self::new(stream, limit, TILE)
    }

    fn new(stream: quinn::SendStream, limit: usize, bulk_priority: i32) -> Self {
        // Fails only on a closed stream, which the first write reports.
        let _ = stream.set_priority(CONTROL);
        Self { stream, limit, bulk_priority, is_bulk: false }
    }

    /// Sends one length-delimited message. Not to be cancelled: half a message
    /// may have left.
    ///
    /// # Errors
    /// When the stream or connection is lost, or the message is longer than the
    /// peer accepts.
    pub async fn send<T: Serialize + Sync>(&mut self, message: &T) -> Result<(), WireError> {
        let frame = codec::frame(message, self.limit)?;
        self.stream.write_chunk(frame).await.map_err(WireError::from_write)
    }

    /// Sends messages as [`SendStream::send`] does, together: a packet carries
    /// many short ones. Empties `messages`.
    ///
    /// # Errors
    /// As [`SendStream::send`]; those before one that is too long have left.
    pub async fn send_all<T: Serialize + Sync + Send>(
        &mut self,
        messages: &mut Vec<T>,
    ) -> Result<(), WireError> {
        let mut frames = Vec::new();
        let mut outcome = Ok(());
        for message in messages.drain(..) {
            outcome = codec::append_frame(&mut frames, &message, self.limit);
            if outcome.is_err() {
                break;
            }
        }
        if !frames.is_empty() {
            self.stream.write_chunk(frames.into()).await.map_err(WireError::from_write)?;
        }
        outcome
    }

    /// Sends raw bytes after a message that announced their number.
    ///
    /// # Errors
    /// When the stream or connection is lost.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        if !self.is_bulk {
            self.is_bulk = true;
            // Fails only on a closed stream, which the write reports.
            let _ = self.stream.set_priority(self.bulk_priority);
        }
        self.stream.write_all(bytes).await.map_err(WireError::from_write)
    }

    /// Ends the stream and waits until the peer has everything. (A peer that
    /// does not care for the rest of a stream of messages is no error; one that
    /// stops reading raw bytes is.)
    ///
    /// # Errors
    /// When the stream or connection is lost before.
    pub async fn finish(mut self) -> Result<(), WireError> {
        // Fails only if the peer stopped the stream, which `stopped` reports.
        let _ = self.stream.finish();
        match self.stream.stopped().await {
            Ok(Some(_)) if self.is_bulk => Err(WireError::Lost("the peer stopped reading".into())),
            Ok(_) => Ok(()),
            Err(quinn::StoppedError::ConnectionLost(error)) => Err(WireError::from_connection(error)),
            Err(other) => Err(WireError::Lost(other.to_string())),
        }
    }

    /// Gives the stream up, so that the peer does not take what it got for the
    /// whole. (A stream that is merely dropped ends as if finished.)
    pub fn abort(mut self) {
        // Fails only on a stream that already ended.
        let _ = self.stream.reset(quinn::VarInt::from_u32(0));
    }
}

/// The receiving half of a stream.
pub struct RecvStream {
    frames: FramedRead<quinn::RecvStream, LengthDelimitedCodec>,
    limit: usize,
}

impl RecvStream {
    /// Wraps a stream whose messages have at most `limit` bytes.
    pub(crate) fn new(stream: quinn::RecvStream, limit: usize) -> Self {
        let codec = LengthDelimitedCodec::builder()
            .length_field_length(codec::LENGTH_BYTES)
            .max_frame_length(limit)
            .new_codec();
        Self { frames: FramedRead::new(stream, codec), limit }
    }

    /// Receives one length-delimited message; `None` at the stream's end. May
    /// be cancelled: no byte is lost.
    ///
    /// # Errors
    /// Too long, malformed, or the connection is lost.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, WireError> {
        match self.frames.next().await {
            None => Ok(None),
            Some(Ok(frame)) => codec::decode(&frame, self.limit).map(Some),
            Some(Err(error)) => Err(self.read_error(error)),
        }
    }

    /// Receives up to `buffer.len()` raw bytes; 0 at the stream's end. May be
    /// cancelled: no byte is lost.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn receive_bytes(&mut self, buffer: &mut [u8]) -> Result<usize, WireError> {
        let ahead = self.frames.read_buffer_mut();
        if !ahead.is_empty() {
            let count = ahead.len().min(buffer.len());
            buffer[..count].copy_from_slice(&ahead.split_to(count));
            return Ok(count);
        }
        let count = self.frames.get_mut().read(buffer).await.map_err(WireError::from_read)?;
        Ok(count.unwrap_or(0))
    }

    fn read_error(&self, error: io::Error) -> WireError {
        if let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<quinn::ReadError>()) {
            return WireError::from_read(cause.clone());
        }
        match error.kind() {
            io::ErrorKind::InvalidData => {
                WireError::Protocol(format!("a message is over the limit of {} bytes", self.limit))
            }
            _ => WireError::Protocol("the stream ended inside a message".into()),
        }
    }
}
