//! Values of options, parsed strictly: what is refused says what is allowed.

use std::num::NonZeroU32;

use farm_core::job::is_tag;
use farm_core::{FrameNumber, FrameRange, JobId, Limits, Rect, Resolution};

/// Linear radiance of a constant sky.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sky(pub(crate) [f32; 3]);

/// Exposure in thousandths of an EV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exposure {
    pub(crate) milli_ev: i32,
}

/// Bound of a contribution to a sample, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clamp {
    pub(crate) milli: NonZeroU32,
}

/// A whole number from `low` to `high`, both included.
fn parse_bounded(text: &str, what: &str, low: u32, high: u32) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|value| (low..=high).contains(value))
        .ok_or_else(|| format!("{what} must be a whole number from {low} to {high}"))
}

/// Parses `WIDTHxHEIGHT` within the farm's limits.
pub(crate) fn parse_size(text: &str) -> Result<Resolution, String> {
    let limits = Limits::default();
    let (width, height) = text
        .split_once(['x', 'X', '×'])
        .ok_or("a size is a width and a height in pixels, such as 1920x1080")?;
    let resolution = Resolution {
        width: parse_bounded(width, "the width", 1, limits.frame_edge_pixels)?,
        height: parse_bounded(height, "the height", 1, limits.frame_edge_pixels)?,
    };
    if resolution.area() > limits.frame_pixels {
        return Err(format!(
            "a frame may have at most {} pixels; this would be {}",
            limits.frame_pixels,
            resolution.area()
        ));
    }
    Ok(resolution)
}

/// Parses the number of samples per pixel.
pub(crate) fn parse_samples(text: &str) -> Result<u32, String> {
    parse_bounded(text, "samples per pixel", 1, Limits::default().samples_per_pixel)
}

/// Parses the longest path's number of segments.
pub(crate) fn parse_depth(text: &str) -> Result<u32, String> {
    parse_bounded(text, "the depth", 1, Limits::default().max_depth)
}

/// Parses the edge of a tile.
pub(crate) fn parse_tile(text: &str) -> Result<u32, String> {
    let limits = Limits::default();
    parse_bounded(text, "the tile size", limits.tile_size_min, limits.tile_size_max)
}

/// Parses `FIRST-LAST`, or one frame's number.
pub(crate) fn parse_frames(text: &str) -> Result<FrameRange, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| parse_bounded(text, "a frame's number", 0, u32::MAX - 1);
    let frames = FrameRange { first: FrameNumber(number(first)?), last: FrameNumber(number(last)?) };
    if frames.last < frames.first {
        return Err(format!("the last frame, {last}, comes before the first, {first}"));
    }
    let most = Limits::default().frames_per_job;
    if frames.count() > most {
        return Err(format!("a job may have at most {most} frames; this would be {}", frames.count()));
    }
    Ok(frames)
}

/// Parses `X,Y,W,H`, a rectangle of pixels.
pub(crate) fn parse_region(text: &str) -> Result<Rect, String> {
    let most = Limits::default().frame_edge_pixels;
    let parts: Vec<&str> = text.split(',').collect();
    let [x, y, width, height] = parts[..] else {
        return Err("a region is a left edge, a top edge, a width and a height, such as 0,0,64,32".to_owned());
    };
    Ok(Rect {
        x: parse_bounded(x, "the left edge", 0, most)?,
        y: parse_bounded(y, "the top edge", 0, most)?,
        width: parse_bounded(width, "the width", 1, most)?,
        height: parse_bounded(height, "the height", 1, most)?,
    })
}

/// Parses frames of a second: a number, or a fraction such as 24000/1001.
pub(crate) fn parse_fps(text: &str) -> Result<f64, String> {
    let (above, below) = text.split_once('/').unwrap_or((text, "1"));
    let number =
        |text: &str| text.trim().parse::<f64>().ok().filter(|value| value.is_finite() && *value > 0.0);
    let fps = number(above).zip(number(below)).map(|(above, below)| above / below);
    fps.filter(|fps| (1e-3..=1e6).contains(fps))
        .ok_or_else(|| format!("`{text}` is not a number of frames a second from 0.001 to 1000000"))
}

/// Parses the part of a frame's time during which the shutter is open.
pub(crate) fn parse_shutter(text: &str) -> Result<f64, String> {
    let part = text.trim().parse::<f64>().ok();
    part.filter(|part| (1e-6..=1.0).contains(part))
        .ok_or_else(|| format!("`{text}` is not a part of a frame, more than 0 and at most 1"))
}

/// A finite number.
fn parse_finite(text: &str) -> Result<f32, String> {
    text.trim()
        .parse::<f32>()
        .ok()
        .filter(|value| value.is_finite())
        .ok_or_else(|| format!("`{text}` is not a finite number"))
}

/// A finite number of at least 0.
fn parse_non_negative(text: &str) -> Result<f32, String> {
    let value = parse_finite(text)?;
    if value < 0.0 {
        return Err(format!("{value} is negative"));
    }
    // Minus zero is a zero: it must not make another scene digest.
    Ok(value.abs())
}

/// Parses the strength of an environment map.
pub(crate) fn parse_strength(text: &str) -> Result<f32, String> {
    parse_non_negative(text).map_err(|reason| format!("{reason}; a strength is a number of at least 0"))
}

/// Parses a number above 0.
pub(crate) fn parse_positive(text: &str) -> Result<f32, String> {
    let number = parse_finite(text)?;
    if number > 0.0 { Ok(number) } else { Err("it has to be more than 0".into()) }
}

/// Parses an exposure, and rounds it to thousandths of an EV.
pub(crate) fn parse_exposure(text: &str) -> Result<Exposure, String> {
    let most = Limits::default().exposure_milli_ev;
    let wrong = || format!("an exposure is a number of EV from -{0} to {0}", f64::from(most) / 1000.0);
    let milli_ev = text.trim().parse::<f64>().ok().map(|ev| (ev * 1000.0).round());
    let milli_ev = milli_ev.filter(|milli| milli.abs() <= f64::from(most)).ok_or_else(wrong)?;
    #[expect(clippy::cast_possible_truncation, reason = "within the limit")]
    let milli_ev = milli_ev as i32;
    Ok(Exposure { milli_ev })
}

/// Parses the bound of a contribution, and rounds it to thousandths.
pub(crate) fn parse_clamp(text: &str) -> Result<Clamp, String> {
    let wrong = || format!("a bound is a number from 0.001 to {}", u32::MAX / 1000);
    let milli = text.trim().parse::<f64>().ok().map(|bound| (bound * 1000.0).round());
    let milli = milli.filter(|milli| *milli <= f64::from(u32::MAX)).ok_or_else(wrong)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "negative is 0, which is none"
    )]
    let milli = NonZeroU32::new(milli as u32).ok_or_else(wrong)?;
    Ok(Clamp { milli })
}

/// Parses an angle in degrees.
pub(crate) fn parse_degrees(text: &str) -> Result<f32, String> {
    parse_finite(text).map_err(|reason| format!("{reason}; an angle is a number of degrees"))
}

/// Parses the radiance of a constant sky, or one number for a grey sky.
pub(crate) fn parse_sky(text: &str) -> Result<Sky, String> {
    let wrong = |reason: String| {
        format!("{reason}; a sky is three numbers of at least 0, such as 0.5,0.7,1 (or one for grey)")
    };
    let channels = text.split(',').map(parse_non_negative).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    match channels[..] {
        [grey] => Ok(Sky([grey; 3])),
        [red, green, blue] => Ok(Sky([red, green, blue])),
        _ => Err(wrong(format!("there are {} numbers", channels.len()))),
    }
}

/// Parses a job's weight.
pub(crate) fn parse_weight(text: &str) -> Result<u32, String> {
    let most = Limits::default().job_weight;
    let weight = text.parse().ok().filter(|weight| (1..=most).contains(weight));
    weight.ok_or_else(|| format!("a weight is a whole number from 1 to {most}"))
}

/// Parses a tag of nodes.
pub(crate) fn parse_tag(text: &str) -> Result<String, String> {
    let limits = Limits::default();
    if is_tag(text, &limits) {
        return Ok(text.to_owned());
    }
    Err(format!("a tag is 1 to {} letters, digits, `-`, `_` or `.`", limits.tag_bytes))
}

/// Parses a job's number.
pub(crate) fn parse_job(text: &str) -> Result<JobId, String> {
    text.parse()
        .ok()
        .filter(|&job| job >= 1)
        .map(JobId)
        .ok_or_else(|| "a job is named by its number, from 1; `farm jobs` lists them".to_owned())
}

/// Parses the name that a farm has on this machine: it becomes part of a file's
/// name, so it is kept plain.
pub(crate) fn parse_farm_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
        return Err("a farm's name is 1 to 64 letters, digits, `-` and `_`".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of `right` parses, and none of `wrong`.
    fn check<T>(parse: fn(&str) -> Result<T, String>, right: &[&str], wrong: &[&str]) {
        for text in right {
            assert!(parse(text).is_ok(), "`{text}` was refused");
        }
        for text in wrong {
            assert!(parse(text).is_err(), "`{text}` was taken");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        check(
            parse_size,
            &["1x1", "1280x720", "1920X1080", "32768x8192", "3×4"],
            &[
                "",
                "x",
                "100",
                "0x10",
                "10x0",
                "-1x5",
                "1.5x2",
                "32769x1",
                "32768x32768",
                "10x10x10",
                "10x 10",
            ],
        );
    }

    #[test]
    fn counts_are_bounded() {
        check(parse_samples, &["1", "1048576"], &["0", "-1", "1048577", "ten", "1e3", ""]);
        check(parse_depth, &["1", "256"], &["0", "257"]);
        check(parse_tile, &["8", "1024"], &["7", "1025"]);
        check(parse_job, &["1", "18446744073709551615"], &["0", "-3", "job", ""]);
    }

    #[test]
    fn frames_are_ordered_and_bounded() {
        check(
            parse_frames,
            &["1", "0", "1-1", "5-9", "1-100000", "4294967294"],
            &["", "-", "9-5", "1-", "-5", "1-100001", "a-b", "1-2-3", "4294967295"],
        );
        let frames = parse_frames("5-9").expect("a range");
        assert_eq!((frames.first, frames.last, frames.count()), (FrameNumber(5), FrameNumber(9), 5));
    }

    #[test]
    fn regions_are_four_numbers_and_not_empty() {
        check(
            parse_region,
            &["0,0,1,1", "64,32,100,7"],
            &["", "1,2,3", "1,2,3,4,5", "0,0,0,1", "-1,0,1,1", "0,0,1,40000"],
        );
        assert_eq!(parse_region("1,2,3,4"), Ok(Rect { x: 1, y: 2, width: 3, height: 4 }));
    }

    #[test]
    fn frames_a_second_are_numbers_or_fractions() {
        check(
            parse_fps,
            &["24", "23.976", "24000/1001", "1 / 2", "1e3"],
            &["", "0", "-24", "nan", "inf", "1/0", "24/", "1/2/3", "1e-4", "1e7"],
        );
        assert_eq!(parse_fps("30000/1001").map(f64::to_bits), Ok((30000.0_f64 / 1001.0).to_bits()));
    }

    #[test]
    fn shutters_are_open_for_a_part_of_a_frame() {
        check(parse_shutter, &["0.5", "1", "1e-3"], &["", "0", "-0.5", "1.5", "nan", "inf", "180deg"]);
    }

    #[test]
    fn radiances_are_finite_and_not_negative() {
        check(
            parse_sky,
            &["1,1,1", "0.5", "0, 0.25, 1e3"],
            &["", "1,1", "1,1,1,1", "nan", "1,-1,1", "inf,0,0"],
        );
        check(parse_strength, &["0", "2.5"], &["-1", "nan", "inf", "x"]);
        check(parse_degrees, &["-90", "0", "720.5"], &["nan", "inf", "90deg"]);
        let zero = parse_sky("-0").expect("minus zero is zero");
        assert_eq!(zero.0.map(f32::to_bits), [0; 3]);
    }

    #[test]
    fn exposures_are_bounded_and_kept_to_thousandths() {
        check(
            parse_exposure,
            &["0", "-32", "32", "0.5", "1e1"],
            &["", "x", "nan", "inf", "32.001", "-33", "1EV"],
        );
        for (text, milli_ev) in [("0.3333", 333), ("-1.5", -1500), ("-0.0004", 0)] {
            assert_eq!(parse_exposure(text), Ok(Exposure { milli_ev }));
        }
    }

    #[test]
    fn clamps_are_positive_and_kept_to_thousandths() {
        check(parse_clamp, &["0.001", "1", "4294967"], &["", "0", "0.0004", "-1", "nan", "inf", "4294968"]);
        assert_eq!(parse_clamp("2.0004").map(|clamp| clamp.milli.get()), Ok(2000));
    }

    #[test]
    fn farm_names_cannot_name_other_files() {
        check(parse_farm_name, &["studio", "b-2_x"], &["", "../x", "a/b", "a.b", "é", "a b"]);
    }
}
