//! How much of the farm one artist may take.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use farm_core::OwnerId;
use farm_core::scheduler::Quota;
use serde::Deserialize;
use tokio::time::Instant;

use crate::driver::Refusal;

/// The time over which uploads are counted.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What each artist may take; admins may take all. Each default leaves a usual
/// studio alone and a runaway script not.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArtistQuotas {
    /// Jobs that are neither delivered nor cancelled: a tenth of the farm's 10,000.
    pub open_jobs: u64,
    /// Samples of the jobs that were submitted within an hour: 10^15 are ten hours of
    /// a thousand GPUs at 3·10^7 samples a second. Samples that are rendered again on
    /// request are not counted.
    pub samples_per_hour: u64,
    /// Bytes of blobs that are uploaded within a day: 1 TB takes a day at 100 Mbit/s.
    /// Counted anew when the master starts.
    pub upload_bytes_per_day: u64,
}

impl Default for ArtistQuotas {
    fn default() -> Self {
        Self {
            open_jobs: 1000,
            samples_per_hour: 1_000_000_000_000_000,
            upload_bytes_per_day: 1_000_000_000_000,
        }
    }
}

impl ArtistQuotas {
    /// What the scheduler holds an artist to.
    pub(crate) fn of_jobs(&self) -> Quota {
        Quota { open_jobs: self.open_jobs, samples_per_hour: self.samples_per_hour }
    }
}

/// What each artist uploaded.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    by_owner: Mutex<HashMap<OwnerId, Day>>,
}

/// A day that began with its first upload.
#[derive(Clone, Copy, Debug)]
struct Day {
    began: Instant,
    bytes: u64,
}

impl Uploads {
    /// Counts bytes that an artist is about to send.
    ///
    /// # Errors
    /// They would be more than it may, and are not counted.
    pub(crate) fn count(&self, owner: OwnerId, bytes: u64, quotas: &ArtistQuotas) -> Result<(), Refusal> {
        let now = Instant::now();
        let mut by_owner = self.by_owner.lock().unwrap_or_else(PoisonError::into_inner);
        // At most as many are left as artists that uploaded within a day.
        by_owner.retain(|_, day| now.duration_since(day.began) < DAY);
        let day = by_owner.entry(owner).or_insert(Day { began: now, bytes: 0 });
        let sum = day.bytes.saturating_add(bytes);
        let most = quotas.upload_bytes_per_day;
        if sum > most {
            return Err(Refusal::with_hint(
                format!(
                    "with this blob you would have uploaded {sum} bytes within a day, and you may {most}"
                ),
                "what is there stays; go on tomorrow, or ask whoever runs the master for \
                 `upload_bytes_per_day`",
            ));
        }
        day.bytes = sum;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_are_counted_by_artist_and_refused_beyond_the_quota() {
        let quotas = ArtistQuotas { upload_bytes_per_day: 100, ..ArtistQuotas::default() };
        let (uploads, anna, ben) = (Uploads::default(), OwnerId(1), OwnerId(2));
        assert_eq!(uploads.count(anna, 60, &quotas), Ok(()));
        let refusal = uploads.count(anna, 41, &quotas).expect_err("it is too much");
        assert!(refusal.reason.contains("101 bytes"), "{refusal:?}");
        assert_eq!(uploads.count(anna, 40, &quotas), Ok(()), "what was refused is not counted");
        assert_eq!(uploads.count(ben, 100, &quotas), Ok(()));
        assert!(uploads.count(ben, u64::MAX, &quotas).is_err());
    }
}
