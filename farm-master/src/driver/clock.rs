//! The scheduler's time.

use std::time::{SystemTime, UNIX_EPOCH};

use farm_core::Timestamp;
use tokio::time::Instant;

/// The time of day when the master started, and from then on the monotonic clock:
/// a wall clock that is set forward must not make every lease overdue, nor one
/// that is set back keep a dead node's for hours. It does not go back within one
/// life of the master. Where the machine slept, it is behind the wall clock by as
/// long as that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    /// Starts at the wall clock's time.
    pub(crate) fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) }
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn now(self) -> Timestamp {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.started_ms.saturating_add(elapsed))
    }
}
