//! Lets a node rest outside of its hours, while somebody uses the machine and while
//! other programs use its graphics adapters.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::gpu_usage::{GpuLimits, GpuWatch, Occupation};
use crate::hours::{Permission, Rule, Rules};
use crate::node::{Door, OpenNode};
use crate::usage::{IdleLimits, Idleness, Watch};

/// How often the machine is looked at where that matters: whoever comes back has it
/// to himself after so long.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// How often the clock is looked at besides: somebody may have set it.
const CLOCK_INTERVAL: Duration = Duration::from_secs(60);

/// When a node renders.
#[derive(Debug)]
pub struct Schedule {
    rules: Rules,
    zone: TimeZone,
    watch: Watch,
    idleness: Idleness,
    /// Where the node gives way to other programs.
    adapters: Option<(GpuWatch, Occupation)>,
}

/// A schedule that this machine cannot keep.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// It asks for an idle machine.
    #[error("this system does not tell whether the machine is idle")]
    NoIdleness,
    /// The node is to give way to other programs on its graphics adapters.
    #[error("this system does not tell whether other programs use this node's graphics adapters")]
    NoOccupation,
}

impl Schedule {
    /// A schedule of rules of which one must hold; without any, it is always.
    ///
    /// # Errors
    /// Some rule says `idle`, and this system does not tell.
    pub fn new(rules: Vec<Rule>) -> Result<Self, ScheduleError> {
        let (rules, watch) = (Rules(rules), Watch::new());
        if rules.ask_for_idleness() {
            let sources = watch.sources();
            if sources.is_empty() {
                return Err(ScheduleError::NoIdleness);
            }
            tracing::info!("whether this machine is idle is told by {}", sources.join(", "));
        }
        let idleness = Idleness::new(IdleLimits::default());
        Ok(Self { rules, zone: TimeZone::system(), watch, idleness, adapters: None })
    }

    /// The same schedule, in which the node also rests while other programs use the
    /// graphics adapters that it has open.
    ///
    /// # Errors
    /// This system does not tell.
    pub fn giving_way_on(mut self, node: &OpenNode) -> Result<Self, ScheduleError> {
        let watch = GpuWatch::new(node.bus_addresses.iter().cloned());
        let sources = watch.sources();
        if sources.is_empty() {
            return Err(ScheduleError::NoOccupation);
        }
        tracing::info!("whether others use the graphics adapters is told by {}", sources.join(", "));
        self.adapters = Some((watch, Occupation::new(GpuLimits::default())));
        Ok(self)
    }

    /// Makes a node rest and work by it until the node is gone.
    pub async fn follow(mut self, door: Door) {
        let mut rested = false;
        loop {
            let now = Timestamp::now();
            let permission = self.rules.at(now, &self.zone);
            let idle = match permission {
                Permission::WhenIdle => self.look().await,
                Permission::Always | Permission::Never => false,
            };
            let occupied = self.are_adapters_used().await;
            let rests = rests(permission, idle) || occupied;
            door.rest(rests);
            if rests != rested {
                tracing::info!("{}", describe(permission, rests, occupied));
                rested = rests;
            }
            let wait = self.wait(now, permission);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = door.closed() => return,
            }
        }
    }

    /// Whether the machine is idle.
    async fn look(&mut self) -> bool {
        let mut watch = std::mem::replace(&mut self.watch, Watch::new());
        let looking = tokio::task::spawn_blocking(move || {
            let sample = watch.sample();
            (watch, sample)
        });
        let Ok((watch, sample)) = looking.await else { return false };
        self.watch = watch;
        self.idleness.take(Instant::now(), &sample)
    }

    /// Whether other programs use the graphics adapters, or did until lately.
    async fn are_adapters_used(&mut self) -> bool {
        let Some((mut watch, mut occupation)) = self.adapters.take() else { return false };
        let looking = tokio::task::spawn_blocking(move || {
            let now = Instant::now();
            let others_share = watch.others_share(now);
            let occupied = occupation.take(now, others_share);
            (watch, occupation, occupied)
        });
        let Ok((watch, occupation, occupied)) = looking.await else { return false };
        self.adapters = Some((watch, occupation));
        occupied
    }

    /// How long until it is to be looked at again.
    fn wait(&self, now: Timestamp, permission: Permission) -> Duration {
        let most = match permission {
            Permission::WhenIdle => LOOK_INTERVAL,
            Permission::Always | Permission::Never if self.adapters.is_some() => LOOK_INTERVAL,
            Permission::Always | Permission::Never => CLOCK_INTERVAL,
        };
        let change = self.rules.next_change(now, &self.zone);
        let change = change.and_then(|at| Duration::try_from(at.duration_since(now)).ok());
        change.map_or(most, |change| change.min(most))
    }
}

fn rests(permission: Permission, idle: bool) -> bool {
    match permission {
        Permission::Always => false,
        Permission::WhenIdle => !idle,
        Permission::Never => true,
    }
}

fn describe(permission: Permission, rests: bool, occupied: bool) -> &'static str {
    match (permission, rests) {
        (Permission::Never, _) => "resting: it is outside of this node's hours",
        (_, true) if occupied => "resting: other programs use its graphics adapters, or did until lately",
        (_, true) => "resting: somebody uses this machine, or did until lately",
        (Permission::WhenIdle, false) => "working: this machine is idle",
        (Permission::Always, false) => "working: nothing of its schedule speaks against it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_rests_where_the_rules_or_the_people_say_so() {
        let cases = [
            (Permission::Always, false, false),
            (Permission::Always, true, false),
            (Permission::WhenIdle, false, true),
            (Permission::WhenIdle, true, false),
            (Permission::Never, true, true),
        ];
        for (permission, idle, expected) in cases {
            assert_eq!(rests(permission, idle), expected, "{permission:?}, idle: {idle}");
        }
    }

    #[test]
    fn clock_is_looked_at_when_the_rules_change_and_now_and_then() {
        let rules = vec!["09:00-17:00".parse().expect("a rule"), "idle 20:00-22:00".parse().expect("a rule")];
        let zone = TimeZone::UTC;
        let schedule = Schedule {
            rules: Rules(rules),
            zone: zone.clone(),
            watch: Watch::new(),
            idleness: Idleness::new(IdleLimits::default()),
            adapters: None,
        };
        let waits = |hour, minute, second| {
            let now = jiff::civil::date(2026, 7, 6).at(hour, minute, second, 0);
            let now = zone.to_timestamp(now).expect("UTC has every time");
            schedule.wait(now, schedule.rules.at(now, &zone)).as_secs()
        };
        assert_eq!((waits(8, 0, 0), waits(8, 59, 40)), (60, 20));
        assert_eq!((waits(20, 0, 0), waits(21, 59, 58)), (5, 2));
    }
}
