//! Comparing two EXR pictures, pixel by pixel.

use std::path::Path;

use exr::prelude::{ReadChannels, ReadLayers, read};
use serde::Serialize;

use crate::args::DiffCommand;
use crate::output::{Failure, float, print_json, print_text};

/// Added to the squared reference in the relative error, so that black pixels
/// do not divide by zero: the usual constant (Rousselle, Knaus and Zwicker,
/// "Adaptive Sampling and Reconstruction using Greedy Error Minimization", 2011).
const RELATIVE_EPSILON: f64 = 0.01;

/// A channel of a picture.
#[derive(Clone, Debug)]
struct Channel {
    name: String,
    values: Vec<f32>,
}

/// A picture's first layer.
#[derive(Clone, Debug)]
struct Picture {
    width: usize,
    height: usize,
    channels: Vec<Channel>,
}

/// Where the largest difference is.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Place {
    x: usize,
    y: usize,
    channel: String,
}

/// How a picture differs from its reference. Errors and means are over the
/// colour channels (all but alpha), where both values are finite.
#[derive(Clone, Debug, Serialize)]
struct Comparison {
    width: usize,
    height: usize,
    /// Channels that were compared.
    channels: Vec<String>,
    /// Channels that only one of the two has.
    other_channels: Vec<String>,
    pixels: u64,
    /// Pixels whose every channel has equal bits.
    equal_pixels: u64,
    equal_share: f64,
    /// Mean of (a − b)² / (b² + 0.01).
    relative_mse: f64,
    /// Mean of the picture over the mean of the reference; none where only the
    /// reference is black.
    mean_ratio: Option<f64>,
    /// Largest |a − b| over all channels.
    max_difference: f64,
    max_at: Option<Place>,
    /// Values of the picture that are infinite or not numbers.
    non_finite: u64,
    /// Values of the reference that are.
    non_finite_reference: u64,
}

/// `farm diff`.
pub(crate) fn run(command: &DiffCommand) -> Result<(), Failure> {
    let comparison = compare(&open(&command.picture)?, &open(&command.reference)?)?;
    if command.json {
        print_json(&comparison)?;
    } else {
        print_text(&describe(&comparison))?;
    }
    let all_equal = comparison.equal_pixels == comparison.pixels && comparison.other_channels.is_empty();
    if command.require_equal && !all_equal {
        let count = comparison.pixels - comparison.equal_pixels;
        return Err(Failure::job_failed(format!("the pictures differ in {count} pixels")).after_output());
    }
    Ok(())
}

/// Reads the first layer of an EXR.
fn open(path: &Path) -> Result<Picture, Failure> {
    let shown = path.display();
    if !path.is_file() {
        return Err(Failure::wrong_use(format!("there is no file `{shown}`")));
    }
    let image = read()
        .no_deep_data()
        .largest_resolution_level()
        .all_channels()
        .first_valid_layer()
        .all_attributes()
        .from_file(path)
        .map_err(|error| Failure::wrong_use(format!("`{shown}` cannot be read as an EXR: {error}")))?;
    let layer = image.layer_data;
    let channels = layer.channel_data.list.iter().map(|channel| Channel {
        name: channel.name.to_string(),
        values: channel.sample_data.values_as_f32().collect(),
    });
    let picture = Picture { width: layer.size.0, height: layer.size.1, channels: channels.collect() };
    let pixels = picture.width.saturating_mul(picture.height);
    match picture.channels.iter().find(|channel| channel.values.len() != pixels) {
        Some(channel) => {
            Err(Failure::wrong_use(format!("channel {} of `{shown}` is subsampled", channel.name)))
        }
        None => Ok(picture),
    }
}

/// Compares the channels that both pictures have.
fn compare(picture: &Picture, reference: &Picture) -> Result<Comparison, Failure> {
    if (picture.width, picture.height) != (reference.width, reference.height) {
        return Err(Failure::wrong_use(format!(
            "the pictures have different sizes: {}x{} and {}x{}",
            picture.width, picture.height, reference.width, reference.height
        )));
    }
    let pairs: Vec<(&Channel, &Channel)> = picture
        .channels
        .iter()
        .filter_map(|a| reference.channels.iter().find(|b| a.name == b.name).map(|b| (a, b)))
        .collect();
    if pairs.is_empty() {
        return Err(Failure::wrong_use("the pictures have no channel in common"));
    }
    let is_common = |channel: &&Channel| pairs.iter().any(|(a, _)| a.name == channel.name);
    let others = picture.channels.iter().chain(&reference.channels).filter(|channel| !is_common(channel));
    let equal_pixels = count_equal_pixels(&pairs, picture.width.saturating_mul(picture.height));
    let pixels = count(picture.width.saturating_mul(picture.height));
    let mut sums = Sums::default();
    for (a, b) in &pairs {
        sums.add(a, b, picture.width);
    }
    Ok(Comparison {
        width: picture.width,
        height: picture.height,
        channels: pairs.iter().map(|(a, _)| a.name.clone()).collect(),
        other_channels: others.map(|channel| channel.name.clone()).collect(),
        pixels,
        equal_pixels,
        equal_share: float(equal_pixels) / float(pixels.max(1)),
        relative_mse: sums.relative_squares / float(sums.count.max(1)),
        mean_ratio: sums.mean_ratio(),
        max_difference: sums.max_difference,
        max_at: sums.max_at,
        non_finite: sums.non_finite[0],
        non_finite_reference: sums.non_finite[1],
    })
}

/// A length as a count.
fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Pixels whose every channel has equal bits.
fn count_equal_pixels(pairs: &[(&Channel, &Channel)], pixels: usize) -> u64 {
    let is_equal =
        |&pixel: &usize| pairs.iter().all(|(a, b)| a.values[pixel].to_bits() == b.values[pixel].to_bits());
    count((0..pixels).filter(is_equal).count())
}

/// What is summed over all values.
#[derive(Debug, Default)]
struct Sums {
    count: u64,
    relative_squares: f64,
    totals: [f64; 2],
    max_difference: f64,
    max_at: Option<Place>,
    non_finite: [u64; 2],
}

impl Sums {
    /// Adds a channel of the picture and of the reference.
    fn add(&mut self, picture: &Channel, reference: &Channel, width: usize) {
        let is_colour = picture.name != "A";
        for (index, (&a, &b)) in picture.values.iter().zip(&reference.values).enumerate() {
            self.non_finite[0] += u64::from(!a.is_finite());
            self.non_finite[1] += u64::from(!b.is_finite());
            if !(a.is_finite() && b.is_finite()) {
                continue;
            }
            let (a, b) = (f64::from(a), f64::from(b));
            let difference = (a - b).abs();
            if difference > self.max_difference {
                self.max_difference = difference;
                let channel = picture.name.clone();
                self.max_at = Some(Place { x: index % width, y: index / width, channel });
            }
            if is_colour {
                self.count += 1;
                self.relative_squares += difference * difference / (b * b + RELATIVE_EPSILON);
                self.totals[0] += a;
                self.totals[1] += b;
            }
        }
    }

    /// Mean of the picture over mean of the reference.
    fn mean_ratio(&self) -> Option<f64> {
        let [picture, reference] = self.totals;
        if picture.to_bits() == reference.to_bits() {
            return Some(1.0);
        }
        Some(picture / reference).filter(|ratio| ratio.is_finite())
    }
}

/// The comparison in words.
fn describe(comparison: &Comparison) -> String {
    let Comparison { width, height, pixels, equal_pixels, relative_mse, max_difference, .. } = comparison;
    let mut text = format!(
        "size            {width}x{height}, channels {}\n\
         equal pixels    {equal_pixels} of {pixels} ({:.4} %)\n\
         relative MSE    {relative_mse:.6e}\n\
         mean ratio      {}\n\
         largest diff    {max_difference:.6e}{}\n",
        comparison.channels.join(" "),
        100.0 * comparison.equal_share,
        comparison
            .mean_ratio
            .map_or("none: the reference is black".to_owned(), |ratio| format!("{ratio:.6}")),
        match &comparison.max_at {
            Some(place) => format!(" in {} at ({}, {})", place.channel, place.x, place.y),
            None => String::new(),
        },
    );
    if comparison.non_finite + comparison.non_finite_reference > 0 {
        text.push_str(&format!(
            "not finite      {} values, {} in the reference\n",
            comparison.non_finite, comparison.non_finite_reference
        ));
    }
    if !comparison.other_channels.is_empty() {
        text.push_str(&format!("in one only     {}\n", comparison.other_channels.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of one row.
    fn row(channels: &[(&str, &[f32])]) -> Picture {
        Picture {
            width: channels[0].1.len(),
            height: 1,
            channels: channels
                .iter()
                .map(|(name, values)| Channel { name: (*name).to_owned(), values: values.to_vec() })
                .collect(),
        }
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn equal_pictures_are_equal() {
        let picture = row(&[("A", &[1.0, 1.0]), ("R", &[0.5, f32::NAN])]);
        let found = compare(&picture, &picture).expect("same sizes");
        assert_eq!((found.pixels, found.equal_pixels, found.non_finite), (2, 2, 1));
        assert!(close(found.equal_share, 1.0) && close(found.relative_mse, 0.0));
        assert_eq!(found.mean_ratio, Some(1.0));
        assert_eq!(found.max_at, None);
    }

    #[test]
    fn differences_are_measured_against_the_reference() {
        let picture = row(&[("R", &[1.0, 3.0]), ("A", &[0.0, 1.0])]);
        let reference = row(&[("R", &[1.0, 2.0]), ("A", &[1.0, 1.0])]);
        let found = compare(&picture, &reference).expect("same sizes");
        // Pixel 0 differs in alpha by 1 and pixel 1 in red by 1: no pixel is equal.
        assert_eq!(found.equal_pixels, 0);
        assert!(close(found.relative_mse, (1.0 / 4.01) / 2.0), "{}", found.relative_mse);
        assert!(found.mean_ratio.is_some_and(|ratio| close(ratio, 4.0 / 3.0)));
        assert!(close(found.max_difference, 1.0));
        assert_eq!(found.max_at, Some(Place { x: 1, y: 0, channel: "R".into() }));
    }

    #[test]
    fn zeros_of_different_sign_are_different_bits() {
        let found = compare(&row(&[("R", &[0.0])]), &row(&[("R", &[-0.0])])).expect("same sizes");
        assert_eq!(found.equal_pixels, 0);
        assert!(close(found.max_difference, 0.0));
    }

    #[test]
    fn a_black_reference_has_no_mean_ratio() {
        let found = compare(&row(&[("R", &[1.0])]), &row(&[("R", &[0.0])])).expect("same sizes");
        assert_eq!(found.mean_ratio, None);
        assert!(close(found.relative_mse, 100.0));
    }

    #[test]
    fn other_sizes_and_other_channels_are_refused() {
        let one = row(&[("R", &[1.0])]);
        let two = row(&[("R", &[1.0, 1.0])]);
        assert!(compare(&one, &two).expect_err("sizes").message.contains("1x1 and 2x1"));
        assert!(compare(&one, &row(&[("Z", &[1.0])])).is_err());
        let extra = compare(&one, &row(&[("R", &[1.0]), ("G", &[1.0])])).expect("R is common");
        assert_eq!(extra.other_channels, ["G"]);
    }
}
