//! Environment maps: Radiance `.hdr` and OpenEXR.

use std::fs;
use std::io::{BufReader, Cursor, Read as _};
use std::path::Path;

use exr::prelude::{ReadChannels, ReadLayers};
use glam::Vec3;
use image::{ImageDecoder, ImageFormat, ImageReader};

use crate::error::{LoadError, Problem};
use crate::limits::SceneLimits;
use crate::load::Warnings;
use crate::scene::EnvironmentMap;
use crate::validate::{at_most, validate_environment_map};

/// Reads a map, told apart by its first bytes. Strength and rotation are left
/// at 1 and 0.
pub(crate) fn read(
    path: &Path,
    limits: &SceneLimits,
    warnings: &mut Warnings,
) -> Result<EnvironmentMap, LoadError> {
    let name = || path.display().to_string();
    let failed = |source| LoadError::ReadEnvironment { path: name(), source };
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is not a regular file")));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(limits.file_bytes + 1).read_to_end(&mut bytes).map_err(failed)?;
    decode(&bytes, limits, warnings).map_err(|problem| LoadError::Environment { path: name(), problem })
}

/// Decodes and checks a map.
pub(crate) fn decode(
    bytes: &[u8],
    limits: &SceneLimits,
    warnings: &mut Warnings,
) -> Result<EnvironmentMap, Problem> {
    at_most("bytes", bytes.len() as u64, limits.file_bytes)?;
    let mut map = match bytes {
        [] => return Err(Problem::Malformed("the file is empty".to_owned())),
        [0x76, 0x2f, 0x31, 0x01, ..] => decode_exr(bytes, limits)?,
        [b'#', b'?', ..] => decode_hdr(bytes, limits)?,
        _ => return Err(Problem::Unsupported("a file that is neither Radiance .hdr nor OpenEXR".to_owned())),
    };
    clamp_negatives(&mut map, warnings);
    validate_environment_map(&map, limits)?;
    Ok(map)
}

fn sized(width: usize, height: usize, limits: &SceneLimits) -> Result<(u32, u32), Problem> {
    let narrow = |edge: usize| u32::try_from(edge).unwrap_or(u32::MAX);
    if width == 0 || height == 0 {
        return Err(Problem::EmptyImage { width: narrow(width), height: narrow(height) });
    }
    at_most("texels along an edge", width.max(height) as u64, u64::from(limits.image_edge))?;
    at_most("texels", (width as u64).saturating_mul(height as u64), limits.environment_texels)?;
    Ok((narrow(width), narrow(height)))
}

fn map_of(width: u32, height: u32, radiance: Vec<Vec3>) -> EnvironmentMap {
    EnvironmentMap { width, height, radiance, strength: 1.0, rotation: 0.0 }
}

fn decode_hdr(bytes: &[u8], limits: &SceneLimits) -> Result<EnvironmentMap, Problem> {
    let undecodable = |error: image::ImageError| Problem::Undecodable(error.to_string());
    let reader = || ImageReader::with_format(Cursor::new(bytes), ImageFormat::Hdr);
    let (width, height) = reader().into_decoder().map_err(undecodable)?.dimensions();
    let (width, height) = sized(width as usize, height as usize, limits)?;
    let image = reader().decode().map_err(undecodable)?.into_rgb32f();
    let radiance = image.pixels().map(|pixel| Vec3::from(pixel.0)).collect();
    Ok(map_of(width, height, radiance))
}

fn decode_exr(bytes: &[u8], limits: &SceneLimits) -> Result<EnvironmentMap, Problem> {
    let undecodable = |error: exr::error::Error| Problem::Undecodable(error.to_string());
    // The sizes of all layers come first, because the pixels are allocated by
    // what the headers claim.
    let buffered = || BufReader::new(Cursor::new(bytes));
    let metadata = exr::meta::MetaData::read_from_buffered(buffered(), false).map_err(undecodable)?;
    for header in &metadata.headers {
        let size = header.layer_size;
        sized(size.width(), size.height(), limits)?;
    }
    struct Rows {
        width: usize,
        radiance: Vec<Vec3>,
    }
    let image = exr::prelude::read()
        .no_deep_data()
        .largest_resolution_level()
        .rgba_channels(
            |size, _| Rows { width: size.width(), radiance: vec![Vec3::ZERO; size.width() * size.height()] },
            |rows: &mut Rows, at, (r, g, b, _): (f32, f32, f32, f32)| {
                if let Some(texel) = rows.radiance.get_mut(at.y() * rows.width + at.x()) {
                    *texel = Vec3::new(r, g, b);
                }
            },
        )
        .first_valid_layer()
        .all_attributes()
        .from_buffered(buffered())
        .map_err(undecodable)?;
    let layer = image.layer_data;
    let (width, height) = sized(layer.size.width(), layer.size.height(), limits)?;
    Ok(map_of(width, height, layer.channel_data.pixels.radiance))
}

/// Filters with negative lobes leave small negative texels in real maps; light
/// cannot be negative.
fn clamp_negatives(map: &mut EnvironmentMap, warnings: &mut Warnings) {
    let mut clamped = 0_u64;
    for texel in &mut map.radiance {
        // Written so that NaN stays, to be refused.
        if texel.to_array().into_iter().any(|channel| channel < 0.0) {
            *texel = Vec3::from(texel.to_array().map(|channel| if channel < 0.0 { 0.0 } else { channel }));
            clamped += 1;
        }
    }
    if clamped > 0 {
        warnings.push(format!("{clamped} texels of the environment map are negative; 0 is used for them"));
    }
}
