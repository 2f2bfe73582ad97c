//! Rendering without a farm, and pictures on disk.

use std::ops::ControlFlow;
use std::path::Path;

use exr::prelude::{ReadChannels as _, ReadLayers as _, WritableImage as _};
use farm_core::{BlockRange, FrameNumber, Rect, RenderSettings, RenderTask, Resolution};
use farm_render::{DeviceScene, RenderError, Renderer};

/// Edge of the tiles that a picture is rendered in.
const TILE: u32 = 64;

/// A finished picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Its size.
    pub resolution: Resolution,
    /// Linear RGB, row by row from the top.
    pub pixels: Vec<[f32; 3]>,
}

/// Renders a scene; `report` hears the share that is done.
///
/// # Errors
/// Those of the renderer.
pub fn render(
    renderer: &Renderer,
    scene: &DeviceScene,
    resolution: Resolution,
    settings: &RenderSettings,
    report: &mut dyn FnMut(f64) -> ControlFlow<()>,
) -> Result<Picture, RenderError> {
    let Resolution { width, height } = resolution;
    let mut pixels = vec![[0.0; 3]; width as usize * height as usize];
    let total = resolution.area() as f64 * f64::from(settings.samples_per_pixel);
    let mut done = 0.0;
    for y in (0..height).step_by(TILE as usize) {
        for x in (0..width).step_by(TILE as usize) {
            let rect = Rect { x, y, width: TILE.min(width - x), height: TILE.min(height - y) };
            let task = RenderTask {
                resolution,
                frame: FrameNumber(0),
                rect,
                range: BlockRange::root(settings.blocks()),
                settings: settings.clone(),
            };
            let mut progress =
                |progress: farm_render::Progress| report((done + progress.samples as f64) / total);
            let tile = renderer.render(scene, &task, &mut progress)?;
            done += task.samples() as f64;
            for (row, values) in tile.pixels.chunks_exact(rect.width as usize).enumerate() {
                let start = (y as usize + row) * width as usize + x as usize;
                for (pixel, [r, g, b, _]) in pixels[start..].iter_mut().zip(values) {
                    *pixel = [*r, *g, *b];
                }
            }
        }
    }
    Ok(Picture { resolution, pixels })
}

/// Writes a picture as EXR of 16-bit floats.
///
/// # Errors
/// When the file cannot be written.
pub fn write_exr(picture: &Picture, path: &Path) -> exr::error::UnitResult {
    use exr::prelude::{Encoding, Image, Layer, LayerAttributes, SpecificChannels, f16};
    let (width, height) = (picture.resolution.width as usize, picture.resolution.height as usize);
    let channels = SpecificChannels::rgb(|at: exr::math::Vec2<usize>| {
        let [r, g, b] = picture.pixels[at.y() * width + at.x()].map(f16::from_f32);
        (r, g, b)
    });
    let layer = Layer::new((width, height), LayerAttributes::default(), Encoding::SMALL_LOSSLESS, channels);
    Image::from_layer(layer).write().non_parallel().to_file(path)
}

/// Reads a picture from EXR.
///
/// # Errors
/// When the file cannot be read or holds no RGB layer.
pub fn read_exr(path: &Path) -> exr::error::Result<Picture> {
    let image = exr::prelude::read()
        .no_deep_data()
        .largest_resolution_level()
        .rgb_channels(
            |size, _| (size.width(), vec![[0.0; 3]; size.area()]),
            |(width, pixels): &mut (usize, Vec<[f32; 3]>), at, (r, g, b): (f32, f32, f32)| {
                pixels[at.y() * *width + at.x()] = [r, g, b];
            },
        )
        .first_valid_layer()
        .all_attributes()
        .from_file(path)?;
    let size = image.layer_data.size;
    let edge = |edge: usize| u32::try_from(edge).expect("EXR counts its pixels in 32 bits");
    let resolution = Resolution { width: edge(size.width()), height: edge(size.height()) };
    Ok(Picture { resolution, pixels: image.layer_data.channel_data.pixels.1 })
}

/// Writes a picture as PNG through the display transform.
///
/// # Errors
/// When the file cannot be written.
pub fn write_png(picture: &Picture, path: &Path) -> image::ImageResult<()> {
    let shown = |[r, g, b]: &[f32; 3]| {
        let [r, g, b, _] = farm_master::display::display_pixel([*r, *g, *b, 1.0]);
        [r, g, b]
    };
    let bytes: Vec<u8> = picture.pixels.iter().flat_map(shown).collect();
    let Resolution { width, height } = picture.resolution;
    image::save_buffer(path, &bytes, width, height, image::ExtendedColorType::Rgb8)
}
