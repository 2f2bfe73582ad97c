//! The frame's PNG: 8-bit sRGB, written row by row as rows are finished.

use std::io::Write;

use farm_core::Resolution;
use png::{BitDepth, ColorType, Compression, Encoder, SrgbRenderingIntent, StreamWriter};

/// A PNG that is being written, top row first.
pub(crate) struct FramePng<W: Write + 'static> {
    stream: StreamWriter<'static, W>,
    channels: usize,
}

impl<W: Write + 'static> FramePng<W> {
    /// Begins a PNG; with alpha only where it can be other than 1.
    pub(crate) fn begin(
        file: W,
        resolution: Resolution,
        transparent: bool,
    ) -> Result<Self, png::EncodingError> {
        let mut encoder = Encoder::new(file, resolution.width, resolution.height);
        encoder.set_color(if transparent { ColorType::Rgba } else { ColorType::Rgb });
        encoder.set_depth(BitDepth::Eight);
        encoder.set_compression(Compression::Fast);
        encoder.set_source_srgb(SrgbRenderingIntent::RelativeColorimetric);
        let stream = encoder.write_header()?.into_stream_writer()?;
        Ok(Self { stream, channels: if transparent { 4 } else { 3 } })
    }

    /// Appends finished rows of display pixels.
    pub(crate) fn put(&mut self, pixels: &[[u8; 4]]) -> Result<(), png::EncodingError> {
        let bytes: Vec<u8> = pixels.iter().flat_map(|pixel| pixel[..self.channels].iter().copied()).collect();
        Ok(self.stream.write_all(&bytes)?)
    }

    /// Ends the file.
    pub(crate) fn finish(self) -> Result<(), png::EncodingError> {
        self.stream.finish()
    }
}
