//! Following a job until it ends, through restarts of its master.

use std::time::Instant;

use farm_core::JobId;
use farm_core::scheduler::{JobStatus, JobView};
use farm_wire::Client;

use crate::fetch::Collector;
use crate::output::Failure;
use crate::progress::{JobProgress, Progress};
use crate::requests::{JobUpdate, Link, RequestError, Watch};

/// A master that flaps this often is not coming back.
const RECONNECTS_MAX: u32 = 100;

/// What a lost connection means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The master is elsewhere and may come back.
    Farm,
    /// The master is in this process: it cannot.
    Embedded,
}

/// A job that was followed to its end.
#[derive(Debug)]
pub(crate) struct Followed {
    /// The job as it ended.
    pub(crate) last: JobUpdate,
    /// When it was first seen with samples.
    pub(crate) first_samples: Option<Instant>,
}

/// Follows a job until it is done, fetching its frames as they come.
///
/// # Errors
/// With exit code 1 when the job failed or was cancelled.
pub(crate) async fn follow(
    link: &mut Link,
    job: JobId,
    progress: &Progress,
    mut collector: Option<&mut Collector>,
    patience: Patience,
) -> Result<Followed, Failure> {
    let mut shown = progress.job();
    let mut first_samples = None;
    let mut reconnects = 0;
    loop {
        let collector = collector.as_deref_mut();
        let result = follow_connection(link.client(), job, &mut shown, &mut first_samples, collector).await;
        match result {
            Ok(last) => {
                shown.finish(&last);
                check_done(&last.view)?;
                return Ok(Followed { last, first_samples });
            }
            Err(error) if error.is_lost() && patience == Patience::Farm && reconnects < RECONNECTS_MAX => {
                reconnects += 1;
                link.reconnect(progress).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Follows a job for as long as one connection lasts.
async fn follow_connection(
    client: &Client,
    job: JobId,
    shown: &mut JobProgress,
    first_samples: &mut Option<Instant>,
    mut collector: Option<&mut Collector>,
) -> Result<JobUpdate, RequestError> {
    let mut watch = Watch::open(client, job).await?;
    loop {
        let update = watch.next().await?;
        if update.view.samples_done > 0 {
            first_samples.get_or_insert_with(Instant::now);
        }
        shown.update(&update);
        if let Some(collector) = collector.as_deref_mut() {
            collector.collect(client, &update.view).await?;
        }
        if has_ended(update.view.status) {
            return Ok(update);
        }
    }
}

/// Whether nothing more will happen to a job by itself.
fn has_ended(status: JobStatus) -> bool {
    match status {
        JobStatus::Waiting | JobStatus::Running | JobStatus::Paused => false,
        JobStatus::Done | JobStatus::Failed | JobStatus::Cancelled => true,
    }
}

/// A failure for every end but a good one, with the nodes' own messages.
fn check_done(view: &JobView) -> Result<(), Failure> {
    let job = view.job;
    match view.status {
        JobStatus::Failed => {
            let mut message = format!("job {job} failed: {}", view.explanation);
            for failure in &view.failures {
                message.push('\n');
                message.push_str(failure);
            }
            Err(Failure::job_failed(message))
        }
        JobStatus::Cancelled => Err(Failure::job_failed(format!("job {job} was cancelled"))),
        JobStatus::Done | JobStatus::Waiting | JobStatus::Running | JobStatus::Paused => Ok(()),
    }
}
