//! How much of an adapter's time a lane takes: pauses between slices.

use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::Stop;

/// A share of an adapter's time, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(NonZeroU8);

/// A text that is no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a share; write it like 50%, from 1% to 100%")]
pub struct ParseShareError(String);

impl Share {
    /// All of it.
    pub const ALL: Self = Self(NonZeroU8::new(100).expect("it is not zero"));

    /// Whether there is nothing to pause for.
    #[must_use]
    pub fn is_all(self) -> bool {
        self == Self::ALL
    }

    /// How long to pause after so much work.
    fn pause_after(self, worked: Duration) -> Duration {
        let percent = u32::from(self.0.get());
        worked * (100 - percent) / percent
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::ALL
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl FromStr for Share {
    type Err = ParseShareError;

    fn from_str(text: &str) -> Result<Self, ParseShareError> {
        let number = text.trim().strip_suffix('%').unwrap_or(text.trim()).trim_end();
        let is_plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let share = number.parse().ok().filter(|share: &NonZeroU8| is_plain && share.get() <= 100);
        share.map(Self).ok_or_else(|| ParseShareError(text.chars().take(40).collect()))
    }
}

/// Longest pause that is not interrupted: whoever stops a lane waits no longer.
const STEP: Duration = Duration::from_millis(20);

/// Longest pause after one slice. A slice takes a fraction of a second; one that
/// took longer, because the machine slept perhaps, is no reason to stand still for
/// minutes, after which the master takes the lease back.
const LONGEST: Duration = Duration::from_secs(10);

/// Pauses between the slices of one task.
pub(super) struct Pauses {
    share: Share,
    resumed: Instant,
}

impl Pauses {
    pub(super) fn new(share: Share) -> Self {
        Self { share, resumed: Instant::now() }
    }

    /// After a slice: pauses in proportion to what it took, unless stopped.
    pub(super) fn pause(&mut self, stop: &Stop) {
        if self.share.is_all() {
            return;
        }
        let mut left = self.share.pause_after(self.resumed.elapsed()).min(LONGEST);
        while !left.is_zero() && !stop.is_asked() {
            let step = left.min(STEP);
            std::thread::sleep(step);
            left -= step;
        }
        self.resumed = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_pause_add_up_to_the_share() {
        for percent in 1..=100u8 {
            let share: Share = format!("{percent}%").parse().expect("a share");
            let worked = Duration::from_millis(150);
            let whole = worked + share.pause_after(worked);
            let taken = worked.as_secs_f64() / whole.as_secs_f64() * 100.0;
            assert!((taken - f64::from(percent)).abs() < 1e-4, "{share}: {taken} %");
        }
    }

    #[test]
    fn shares_are_whole_percentages() {
        for (text, percent) in [("50%", 50), ("50", 50), (" 7 %", 7), ("100%", 100), ("1", 1)] {
            assert_eq!(text.parse(), Ok(Share(NonZeroU8::new(percent).expect("not zero"))), "{text}");
        }
        for text in ["", "%", "0%", "101%", "-5%", "+5%", "0.5", "half", "50%%", "256"] {
            let error = text.parse::<Share>().expect_err(text).to_string();
            assert!(error.contains("write it like 50%"), "{error}");
        }
    }

    #[test]
    fn stopped_pause_ends_at_once() {
        let stop = Stop::default();
        stop.give_way();
        let mut pauses = Pauses { share: "1%".parse().expect("a share"), resumed: Instant::now() };
        let began = pauses.resumed;
        pauses.pause(&stop);
        assert!(pauses.resumed >= began);
    }
}
