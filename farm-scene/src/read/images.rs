//! Images: collected while the materials are read, decoded at the end, side by
//! side.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::{Context, Files, buffers, ktx2, named};
use crate::error::{Fault, LoadError, Problem};
use crate::limits::SceneLimits;
use crate::scene::{Image, Texels};
use crate::validate::at_most;

/// Threads that decode: more than this and memory, not arithmetic, is short.
const MAX_THREADS: usize = 8;

/// The images that the scene uses, each once for each colour encoding.
#[derive(Debug, Default)]
pub(super) struct ImageTable {
    ids: BTreeMap<(usize, bool), u32>,
    /// Index in the file, and whether the colours are sRGB-encoded.
    requests: Vec<(usize, bool)>,
}

/// Decoded images, for other times of the scene.
pub(super) type KeptImages = BTreeMap<(usize, bool), Image>;

/// An encoded image.
struct Encoded {
    bytes: Vec<u8>,
    place: String,
    srgb: bool,
}

impl ImageTable {
    /// The scene's index of an image of the file.
    pub(super) fn id(
        &mut self,
        context: &Context<'_>,
        index: usize,
        srgb: bool,
        place: &str,
    ) -> Result<u32, Fault> {
        named(&context.root.images, index, "image", place)?;
        let next = self.requests.len();
        at_most("images", next as u64 + 1, context.limits.images).map_err(|p| Fault::new(place, p))?;
        let id = *self.ids.entry((index, srgb)).or_insert(u32::try_from(next).expect("below the limit"));
        if id as usize == next {
            self.requests.push((index, srgb));
        }
        Ok(id)
    }

    /// Fetches and decodes all images but those that are `kept`, and keeps them.
    pub(super) fn decode(
        self,
        context: &Context<'_>,
        files: &mut Files,
        kept: Option<&mut KeptImages>,
    ) -> Result<Vec<Image>, LoadError> {
        let Some(kept) = kept else { return self.decode_all(context, files) };
        let requests = self.requests.iter().copied().filter(|request| !kept.contains_key(request)).collect();
        let new = Self { requests, ..Self::default() };
        let keys = new.requests.clone();
        kept.extend(keys.into_iter().zip(new.decode_all(context, files)?));
        Ok(self.requests.iter().map(|request| kept[request].clone()).collect())
    }

    fn decode_all(self, context: &Context<'_>, files: &mut Files) -> Result<Vec<Image>, LoadError> {
        let mut encoded = Vec::with_capacity(self.requests.len());
        let mut texels = 0;
        for &(index, srgb) in &self.requests {
            let place = format!("images[{index}]");
            let bytes = fetch(context, files, index, &place)?;
            let invalid = |problem| invalid(files, &place, problem);
            texels += measure(&bytes, context.limits).map_err(invalid)?;
            at_most("texels in all images", texels, context.limits.texels).map_err(invalid)?;
            encoded.push(Encoded { bytes, place, srgb });
        }
        let images = decode_all(&encoded, context.limits);
        let named = |(image, encoded): (Result<_, _>, &Encoded)| {
            image.map_err(|problem| invalid(files, &encoded.place, problem))
        };
        images.into_iter().zip(&encoded).map(named).collect()
    }
}

fn invalid(files: &Files, place: &str, problem: Problem) -> LoadError {
    LoadError::Invalid { scene: files.scene.clone(), fault: Fault::new(place, problem) }
}

fn fetch(context: &Context<'_>, files: &mut Files, index: usize, place: &str) -> Result<Vec<u8>, LoadError> {
    let image = &context.root.images[index];
    match (&image.uri, image.buffer_view) {
        (Some(uri), _) => files.fetch("texture", place, uri),
        (None, Some(view)) => buffers::view(context.root, context.accessors.buffers, view.value(), place)
            .map(|(bytes, _)| bytes.to_vec())
            .map_err(|fault| LoadError::Invalid { scene: files.scene.clone(), fault }),
        (None, None) => Err(invalid(files, place, Problem::Missing("the URI or the buffer view"))),
    }
}

/// Decodes on several threads; the results are in the order of the requests.
fn decode_all(encoded: &[Encoded], limits: &SceneLimits) -> Vec<Result<Image, Problem>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads.min(encoded.len()) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some((i, image)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, encoded.get(i)?)))
                {
                    // The receiver lives until this scope has ended.
                    let _ = sender.send((i, decode(&image.bytes, image.srgb, limits)));
                }
            });
        }
    });
    drop(sender);
    let mut images: Vec<_> = receiver.into_iter().collect();
    images.sort_by_key(|&(i, _)| i);
    images.into_iter().map(|(_, image)| image).collect()
}

fn open<'a>(bytes: &'a [u8], limits: &SceneLimits) -> Result<impl ImageDecoder + use<'a>, Problem> {
    let undecodable = |text: String| Problem::Undecodable(text);
    let format = image::guess_format(bytes)
        .map_err(|_| undecodable("it is none of PNG, JPEG, WebP and KTX2".to_owned()))?;
    if !matches!(format, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP) {
        return Err(undecodable(format!("it is {format:?}, none of PNG, JPEG, WebP and KTX2")));
    }
    if let Some((width, height)) = png_size(bytes)
        && (width == 0 || height == 0)
    {
        return Err(Problem::EmptyImage { width, height });
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut bounds = image::Limits::default();
    // The size is checked by `measure`; a decoder may need as much again.
    bounds.max_alloc = Some(u64::from(limits.image_edge) * u64::from(limits.image_edge) * 16);
    reader.limits(bounds);
    reader.into_decoder().map_err(|error| undecodable(error.to_string()))
}

/// Width and height from a PNG's first chunk (PNG specification, 11.2.2): its
/// decoder refuses empty images without naming their size.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let body = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n")?.get(4..)?.strip_prefix(b"IHDR")?;
    let word = |at: usize| Some(u32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?));
    Some((word(0)?, word(4)?))
}

/// The number of texels, from the image's header alone.
fn measure(bytes: &[u8], limits: &SceneLimits) -> Result<u64, Problem> {
    let (width, height) = if ktx2::is_ktx2(bytes) {
        let header = ktx2::header(bytes)?;
        (header.width, header.height)
    } else {
        open(bytes, limits)?.dimensions()
    };
    if width == 0 || height == 0 {
        return Err(Problem::EmptyImage { width, height });
    }
    at_most("texels along an edge", u64::from(width.max(height)), u64::from(limits.image_edge))?;
    Ok(u64::from(width) * u64::from(height))
}

/// Decodes one image: 8-bit texels as they are, 16-bit ones linear.
fn decode(bytes: &[u8], srgb: bool, limits: &SceneLimits) -> Result<Image, Problem> {
    if ktx2::is_ktx2(bytes) {
        return ktx2::decode(bytes, srgb);
    }
    let decoder = open(bytes, limits)?;
    let image =
        DynamicImage::from_decoder(decoder).map_err(|error| Problem::Undecodable(error.to_string()))?;
    let (width, height) = (image.width(), image.height());
    let is_wide = matches!(
        image,
        DynamicImage::ImageLuma16(_)
            | DynamicImage::ImageLumaA16(_)
            | DynamicImage::ImageRgb16(_)
            | DynamicImage::ImageRgba16(_)
    );
    if !is_wide {
        return Ok(Image { width, height, srgb, texels: Texels::Rgba8(image.into_rgba8().into_raw()) });
    }
    let mut values = image.into_rgba16().into_raw();
    if srgb {
        for texel in values.chunks_exact_mut(4) {
            texel[..3].iter_mut().for_each(|value| *value = SRGB16_TO_LINEAR16[usize::from(*value)]);
        }
    }
    Ok(Image { width, height, srgb: false, texels: Texels::Rgba16(values) })
}

/// The linear value of each 16-bit sRGB value.
static SRGB16_TO_LINEAR16: LazyLock<Vec<u16>> =
    LazyLock::new(|| (0..=u16::MAX).map(srgb16_to_linear16).collect());

/// The sRGB transfer function (IEC 61966-2-1) on 16-bit values.
///
/// The power 2.4 is made of products and a fifth root by Newton's method, so
/// that it has the same bits on every machine, which `powf` has not.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the result is in 0..=65535")]
fn srgb16_to_linear16(value: u16) -> u16 {
    let encoded = f64::from(value) / 65535.0;
    let linear = if encoded <= 0.04045 {
        encoded / 12.92
    } else {
        let base = (encoded + 0.055) / 1.055;
        let square = base * base;
        // x^0.4 is the fifth root of x²; it lies between 0.38 and 1, where
        // Newton's method from 1 falls monotonically and ends in 12 steps.
        let mut root = 1.0_f64;
        for _ in 0..12 {
            let fourth = root * root * root * root;
            root -= (fourth * root - square) / (5.0 * fourth);
        }
        square * root
    };
    (linear * 65535.0 + 0.5) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn srgb_table_agrees_with_the_formula() {
        for value in 0..=u16::MAX {
            let encoded = f64::from(value) / 65535.0;
            let linear =
                if encoded <= 0.04045 { encoded / 12.92 } else { ((encoded + 0.055) / 1.055).powf(2.4) };
            let error = f64::from(srgb16_to_linear16(value)) - linear * 65535.0;
            assert!(error.abs() <= 0.500_001, "{value}: {error}");
        }
    }

    fn png(image: &DynamicImage) -> Vec<u8> {
        let mut bytes = Vec::new();
        image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).expect("memory does not fail");
        bytes
    }

    #[test]
    fn grey_expands_to_rgba() {
        let grey = image::GrayAlphaImage::from_raw(1, 2, vec![7, 255, 9, 128]).expect("two texels");
        let image = decode(&png(&grey.into()), true, &SceneLimits::default()).expect("the PNG is valid");
        assert_eq!(image.texels, Texels::Rgba8(vec![7, 7, 7, 255, 9, 9, 9, 128]));
        assert_eq!((image.width, image.height, image.srgb), (1, 2, true));
    }

    #[test]
    fn sixteen_bit_srgb_becomes_linear_and_keeps_alpha() {
        let texels = vec![0, 32768, 65535, 1000];
        let wide = image::ImageBuffer::<image::Rgba<u16>, _>::from_raw(1, 1, texels).expect("one texel");
        let wide = png(&DynamicImage::ImageRgba16(wide));
        let decode = |srgb| decode(&wide, srgb, &SceneLimits::default()).expect("the PNG is valid");
        // 0.50000763 in sRGB is 0.2140481 in linear light.
        assert_eq!(decode(true).texels, Texels::Rgba16(vec![0, 14028, 65535, 1000]));
        assert!(!decode(true).srgb);
        assert_eq!(decode(false).texels, Texels::Rgba16(vec![0, 32768, 65535, 1000]));
    }

    #[test]
    fn images_beyond_the_limits_are_not_decoded() {
        let limits = SceneLimits { image_edge: 8, ..SceneLimits::default() };
        let wide = png(&DynamicImage::new_rgb8(9, 1));
        let problem = measure(&wide, &limits).expect_err("nine texels pass a limit of eight");
        assert_eq!(problem, Problem::TooMany { what: "texels along an edge", value: 9, limit: 8 });
    }
}
