//! When a node may render: `idle`, `19:00-07:00`, `mon-fri 19:00-07:00`.
//!
//! A rule is one or several words of days, hours and `idle`, all of which must
//! hold; of several rules one must hold. Days and hours are by the clock on the
//! wall: an hour that is skipped in spring is missing from the night, and one that
//! comes twice in autumn counts twice. Nothing here reads a clock.

use std::str::FromStr;

use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// The names of days, the first of the week first.
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// One rule; see the file's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The days on which its hours begin, a bit each, Monday the lowest.
    days: u8,
    /// First minute, and the minute after the last; where that is not later, of the
    /// next day.
    from: u16,
    to: u16,
    /// Whether nobody else may be using the machine.
    idle: bool,
}

/// Rules of which one must hold; without any, a node may always render.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules(pub(crate) Vec<Rule>);

/// What the clock alone says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Render.
    Always,
    /// Render while the machine is idle.
    WhenIdle,
    /// Do not render.
    Never,
}

/// A rule that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` {what}; write it like `idle`, `19:00-07:00` or `mon-fri 19:00-07:00`")]
pub struct RuleError {
    word: String,
    what: &'static str,
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (mut days, mut hours, mut idle) = (None, None, false);
        for word in text.split_whitespace() {
            let error = |what| RuleError { word: word.chars().take(40).collect(), what };
            let word = word.to_ascii_lowercase();
            let twice = if word == "idle" {
                std::mem::replace(&mut idle, true)
            } else if word.starts_with(|c: char| c.is_ascii_digit()) {
                hours.replace(parse_hours(&word).map_err(error)?).is_some()
            } else {
                days.replace(parse_days(&word).map_err(error)?).is_some()
            };
            if twice {
                return Err(error("is the second of its kind"));
            }
        }
        if days.is_none() && hours.is_none() && !idle {
            return Err(RuleError { word: text.into(), what: "says nothing" });
        }
        let (from, to) = hours.unwrap_or((0, DAY));
        Ok(Self { days: days.unwrap_or(0x7f), from, to, idle })
    }
}

/// `mon`, `mon-fri`, `sat,sun` or `fri-mon`.
fn parse_days(text: &str) -> Result<u8, &'static str> {
    let place = |name: &str| {
        let found = DAYS.iter().position(|(day, _)| *day == name);
        found.ok_or("is not a day (mon, tue, wed, thu, fri, sat, sun), nor hours, nor `idle`")
    };
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (place(first)?, place(last)?);
        days |= 1 << day;
        while day != last {
            day = (day + 1) % DAYS.len();
            days |= 1 << day;
        }
    }
    Ok(days)
}

/// `19:00-07:00` in minutes of a day.
fn parse_hours(text: &str) -> Result<(u16, u16), &'static str> {
    let (from, to) = text.split_once('-').ok_or("lacks its end")?;
    let (from, to) = (parse_time(from)?, parse_time(to)?);
    match (from, to) {
        (DAY, _) => Err("begins at 24:00; that is 00:00 of the next day"),
        _ if from == to => Err("begins when it ends; all day is 00:00-24:00"),
        _ => Ok((from, to)),
    }
}

fn parse_time(text: &str) -> Result<u16, &'static str> {
    let wrong = "is not a time from 00:00 to 24:00";
    let (hours, minutes) = text.split_once(':').ok_or(wrong)?;
    let number = |text: &str, most_digits| {
        let digits =
            (1..=most_digits).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse::<u16>().map_err(|_| wrong) } else { Err(wrong) }
    };
    if minutes.len() != 2 {
        return Err(wrong);
    }
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    let time = hours * 60 + minutes;
    if minutes < 60 && time <= DAY { Ok(time) } else { Err(wrong) }
}

impl Rule {
    /// Whether its days and hours hold when the clock on the wall shows this.
    fn holds_at(&self, wall: DateTime) -> bool {
        let time = wall.time();
        let minute = u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs());
        let is_day = |weekday: Weekday| self.days >> weekday.to_monday_zero_offset() & 1 == 1;
        let (today, yesterday) = (is_day(wall.weekday()), is_day(wall.weekday().previous()));
        if self.from < self.to {
            return today && (self.from..self.to).contains(&minute);
        }
        today && minute >= self.from || yesterday && minute < self.to
    }
}

impl Rules {
    /// What they permit at a moment.
    pub(crate) fn at(&self, now: Timestamp, zone: &TimeZone) -> Permission {
        let wall = zone.to_datetime(now);
        if self.0.is_empty() || self.0.iter().any(|rule| !rule.idle && rule.holds_at(wall)) {
            return Permission::Always;
        }
        if self.0.iter().any(|rule| rule.holds_at(wall)) { Permission::WhenIdle } else { Permission::Never }
    }

    /// Whether it ever matters that the machine is idle.
    pub(crate) fn ask_for_idleness(&self) -> bool {
        self.0.iter().any(|rule| rule.idle)
    }

    /// The first moment after `now` at which they permit something else; none within
    /// eight days means never.
    pub(crate) fn next_change(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let permission = self.at(now, zone);
        let today = zone.to_datetime(now).date();
        let edges = self.0.iter().flat_map(|rule| [rule.from, rule.to % DAY]).chain([0]);
        // Yesterday too: where clocks were set back, its last hours may come again.
        let days = (-1..9).filter_map(|days| today.checked_add(days.days()).ok());
        let walls = days.flat_map(|day| {
            edges.clone().map(move |minute| {
                let (hour, minute) = (minute / 60, minute % 60);
                let small = |number| i8::try_from(number).expect("below 60");
                day.at(small(hour), small(minute), 0, 0)
            })
        });
        let moments = walls.flat_map(|wall| {
            let moment = zone.to_ambiguous_timestamp(wall);
            [moment.earlier().ok(), moment.later().ok()].into_iter().flatten()
        });
        let last = now.checked_add(jiff::SignedDuration::from_hours(8 * 24)).ok()?;
        // When clocks are set, the wall jumps over edges or back before them.
        let jumps = zone.following(now).map(|jump| jump.timestamp()).take_while(|at| *at <= last);
        let mut candidates: Vec<Timestamp> = moments.chain(jumps).filter(|at| *at > now).collect();
        candidates.sort_unstable();
        candidates.into_iter().find(|at| self.at(*at, zone) != permission)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn rules(texts: &[&str]) -> Rules {
        Rules(texts.iter().map(|text| text.parse().expect("a rule")).collect())
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").expect("the tests bring the zones")
    }

    fn at(zone: &TimeZone, year: i16, month: i8, day: i8, hour: i8, minute: i8) -> Timestamp {
        zone.to_timestamp(date(year, month, day).at(hour, minute, 0, 0)).expect("a usual time")
    }

    /// What is permitted from Monday, 6 July 2026, at each of the given times.
    fn check(texts: &[&str], expected: &[(i8, i8, i8, Permission)]) {
        let (rules, zone) = (rules(texts), berlin());
        for (day, hour, minute, permission) in expected {
            let now = at(&zone, 2026, 7, 6 + day, *hour, *minute);
            assert_eq!(rules.at(now, &zone), *permission, "{texts:?}, day {day}, {hour}:{minute}");
        }
    }

    #[test]
    fn hours_and_days_are_those_of_the_wall() {
        use Permission::{Always, Never, WhenIdle};
        check(&[], &[(0, 12, 0, Always)]);
        check(&["idle"], &[(0, 12, 0, WhenIdle)]);
        check(
            &["9:00-17:30"],
            &[(0, 8, 59, Never), (0, 9, 0, Always), (5, 17, 29, Always), (0, 17, 30, Never)],
        );
        let nights = [(0, 18, 59, Never), (0, 19, 0, Always), (1, 6, 59, Always), (1, 7, 0, Never)];
        check(&["19:00-07:00"], &nights);
        check(&["mon-fri 19:00-07:00"], &nights);
        let weekend =
            [(4, 23, 0, Always), (5, 6, 59, Always), (5, 19, 0, Never), (6, 23, 0, Never), (7, 3, 0, Never)];
        check(&["mon-fri 19:00-07:00"], &weekend);
        check(&["sat,sun"], &[(4, 23, 59, Never), (5, 0, 0, Always), (6, 23, 59, Always), (7, 0, 0, Never)]);
        check(&["fri-mon"], &[(0, 1, 0, Always), (1, 1, 0, Never), (4, 0, 0, Always)]);
        check(&["tue 20:00-24:00"], &[(1, 23, 59, Always), (2, 0, 0, Never)]);
        check(
            &["MON-FRI 09:00-17:00 Idle", "19:00-07:00"],
            &[(0, 10, 0, WhenIdle), (0, 18, 0, Never), (0, 20, 0, Always)],
        );
    }

    #[test]
    fn malformed_rules_are_named_with_what_is_wrong() {
        let cases = [
            ("", "says nothing"),
            ("  ", "says nothing"),
            ("soon", "is not a day"),
            ("mo-fr", "is not a day"),
            ("mon-", "is not a day"),
            ("19:00", "lacks its end"),
            ("19:00-", "is not a time"),
            ("19-7", "is not a time"),
            ("25:00-26:00", "is not a time"),
            ("19:60-20:00", "is not a time"),
            ("19:0-20:00", "is not a time"),
            ("009:00-20:00", "is not a time"),
            ("1é:00-20:00", "is not a time"),
            ("24:00-07:00", "begins at 24:00"),
            ("08:00-08:00", "begins when it ends"),
            ("24:01-25:00", "is not a time"),
            ("idle idle", "is the second"),
            ("mon tue", "is the second"),
            ("08:00-09:00 10:00-11:00", "is the second"),
        ];
        for (text, what) in cases {
            let error = text.parse::<Rule>().expect_err(text).to_string();
            assert!(error.contains(what) && error.contains("write it like"), "{text}: {error}");
        }
    }

    #[test]
    fn nights_are_shorter_in_spring_and_longer_in_autumn() {
        let (rules, zone) = (rules(&["01:00-04:00"]), berlin());
        let length = |month, day| {
            let begins = rules.next_change(at(&zone, 2026, month, day, 0, 30), &zone).expect("it begins");
            let ends = rules.next_change(begins, &zone).expect("it ends");
            ends.duration_since(begins).as_hours()
        };
        assert_eq!((length(3, 28), length(3, 29), length(10, 25)), (3, 2, 4));
    }

    #[test]
    fn edge_in_the_hour_that_is_skipped_is_passed_when_clocks_are_set() {
        let (rules, zone) = (rules(&["02:30-05:00"]), berlin());
        let begins = rules.next_change(at(&zone, 2026, 3, 29, 1, 0), &zone);
        assert_eq!(begins, Some(at(&zone, 2026, 3, 29, 3, 0)), "02:00 is followed by 03:00");
    }

    #[test]
    fn what_never_changes_has_no_next_change() {
        let zone = berlin();
        for always in [&[][..], &["idle"], &["00:00-24:00"], &["mon-sun"], &["00:00-12:00", "12:00-24:00"]] {
            assert_eq!(rules(always).next_change(at(&zone, 2026, 3, 28, 12, 0), &zone), None, "{always:?}");
        }
    }

    fn rule() -> impl Strategy<Value = Rule> {
        (1u8..0x80, 0..DAY, 0..=DAY, any::<bool>())
            .prop_filter("hours end at another time", |(_, from, to, _)| from != to)
            .prop_map(|(days, from, to, idle)| Rule { days, from, to, idle })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Minute by minute, through the nights in which clocks are set, in zones
        /// that do so by an hour, by half of one, and at midnight.
        #[test]
        fn next_change_is_the_first_minute_at_which_something_else_is_permitted(
            rules in prop::collection::vec(rule(), 1..3),
            zone in prop::sample::select(&["Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "UTC"][..]),
            day in 0i64..366,
            minute in 0i64..1440,
        ) {
            let (rules, zone) = (Rules(rules), TimeZone::get(zone).expect("the tests bring the zones"));
            let start = Timestamp::from_second(1_767_225_600 + (day * 1440 + minute) * 60).expect("in 2026");
            let minutes = (1..8 * 1440).map(|minute| Timestamp::from_second(start.as_second() + minute * 60).expect("near"));
            let now = rules.at(start, &zone);
            let mut minutes = minutes;
            let expected = minutes.find(|at| rules.at(*at, &zone) != now);
            let found = rules.next_change(start, &zone);
            prop_assert!(found == expected || expected.is_none(), "{found:?} instead of {expected:?}");
        }

        #[test]
        fn any_text_is_a_rule_or_an_error(text in "[a-z0-9:, -]{0,20}") {
            let _ = text.parse::<Rule>();
        }
    }
}
