//! The scheduler's bounds, as a configuration file has them: those that it names,
//! with the usual ones for the rest. Times are written as `250ms`, `90s` or `2h`.

use std::time::Duration;

use farm_core::Limits;
use serde::Deserialize;
use toml::{Table, Value};

/// Reads the `[limits]` of a file.
///
/// # Errors
/// Names the first key that is unknown or whose value is wrong.
pub(super) fn read(changes: &Table) -> Result<Limits, String> {
    let usual = Value::try_from(Limits::default()).map_err(|error| error.to_string())?;
    let Value::Table(mut limits) = usual else { return Err("the usual limits are no table".into()) };
    for (key, wanted) in changes {
        let place = limits.get_mut(key).ok_or_else(|| format!("limits: there is no `{key}`"))?;
        *place = match (&*place, wanted) {
            (Value::Table(_), Value::String(text)) => {
                let time = parse_duration(text).map_err(|reason| format!("limits: `{key}`: {reason}"))?;
                Value::try_from(time).map_err(|error| error.to_string())?
            }
            (Value::Table(_), _) => return Err(format!("limits: `{key}` is a time, as \"90s\"")),
            (_, Value::Integer(number)) if *number >= 0 => wanted.clone(),
            _ => return Err(format!("limits: `{key}` is a number, 0 or more")),
        };
    }
    let limits = Limits::deserialize(Value::Table(limits)).map_err(|error| format!("limits: {error}"))?;
    limits.check().map_err(|reason| format!("limits: {reason}"))?;
    Ok(limits)
}

/// Reads a time like `250ms`, `90s`, `30m`, `12h` or `7d`.
///
/// # Errors
/// It is written otherwise.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time like 250ms, 90s, 30m, 12h or 7d");
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let milliseconds = match &text[split..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return Err(wrong()),
    };
    let count: u32 = text[..split].parse().map_err(|_| wrong())?;
    Ok(Duration::from_millis(u64::from(count) * milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Limits, String> {
        read(&text.parse().expect("it is TOML"))
    }

    #[test]
    fn limits_that_are_named_are_changed_and_no_others() {
        let limits = read_text("open_jobs = 3\nnode_timeout = \"2s\"\nbackup_interval = \"100ms\"\n");
        let expected = Limits {
            open_jobs: 3,
            node_timeout: Duration::from_secs(2),
            backup_interval: Duration::from_millis(100),
            ..Limits::default()
        };
        assert_eq!(limits, Ok(expected));
        assert_eq!(read_text(""), Ok(Limits::default()));
    }

    #[test]
    fn wrong_limits_are_named() {
        for (text, part) in [
            ("open_job = 3", "no `open_job`"),
            ("open_jobs = -1", "`open_jobs` is a number"),
            ("open_jobs = \"3\"", "`open_jobs` is a number"),
            ("max_depth = 5000000000", "limits: "),
            ("node_timeout = 3", "`node_timeout` is a time"),
            ("node_timeout = \"3\"", "is not a time"),
            ("lease_target = \"0s\"", "lease_target"),
            ("tile_size_min = 2048", "tile_size_min"),
        ] {
            let error = read_text(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn times_are_a_number_and_a_unit() {
        for (text, milliseconds) in
            [("250ms", 250), ("90s", 90_000), ("30m", 1_800_000), ("12h", 43_200_000), ("7d", 604_800_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)));
        }
        for text in ["", "d", "7", "-1d", "1.5h", "7 d", "7é", "99999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
