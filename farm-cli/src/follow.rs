//! Following a job until it ends, through restarts of its master.

use std::time::Instant;

use farm_core::JobId;
use farm_core::scheduler::{JobStatus, JobView};
use farm_wire::Client;

use crate::fetch::Collector;
use crate::output::Failure;
use crate::progress::Progress;
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
        let mut on_update = |update: &JobUpdate| {
            if update.view.samples_done > 0 {
                first_samples.get_or_insert_with(Instant::now);
            }
            shown.update(update);
        };
        let result = follow_connection(link.client(), job, patience, &mut on_update, collector).await;
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
    patience: Patience,
    on_update: &mut impl FnMut(&JobUpdate),
    mut collector: Option<&mut Collector>,
) -> Result<JobUpdate, RequestError> {
    let mut watch = Watch::open(client, job).await?;
    loop {
        let update = watch.next().await?;
        on_update(&update);
        if let Some(collector) = collector.as_deref_mut() {
            collector.collect(client, &update.view).await?;
        }
        if has_ended(update.view.status, patience) {
            return Ok(update);
        }
    }
}

/// Whether nothing more will happen to a job by itself. To a farm a node may
/// come that can do what none of those there can; in one process it cannot.
fn has_ended(status: JobStatus, patience: Patience) -> bool {
    match status {
        JobStatus::Waiting | JobStatus::Running | JobStatus::Paused => false,
        JobStatus::Stranded => patience == Patience::Embedded,
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
        JobStatus::Waiting | JobStatus::Running | JobStatus::Paused | JobStatus::Stranded => {
            Err(Failure::job_failed(format!("job {job} cannot be rendered here: {}", view.explanation)))
        }
        JobStatus::Done => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farm_core::scheduler::{Command, Effect, FailureKind};
    use farm_core::{
        BlobDigest, FrameNumber, FrameRange, JobSpec, Limits, NodeId, PixelFilter, RenderSettings,
        Resolution, Scheduler, Timestamp,
    };

    fn spec() -> JobSpec {
        JobSpec {
            name: "test".into(),
            scene: BlobDigest([1; 32]),
            blobs: Vec::new(),
            frame_scenes: Vec::new(),
            shader_digest: BlobDigest([2; 32]),
            resolution: Resolution { width: 8, height: 8 },
            frames: FrameRange { first: FrameNumber(1), last: FrameNumber(1) },
            tile_size: 8,
            settings: RenderSettings {
                samples_per_pixel: 1,
                seed: 0,
                max_depth: 1,
                filter: PixelFilter::Box,
                camera: 0,
                transparent: false,
                film: Default::default(),
            },
            priority: 0,
            weight: 1,
            needs: Default::default(),
        }
    }

    #[test]
    fn a_job_too_large_for_every_node_is_hopeless_in_one_process() {
        let mut scheduler = Scheduler::restore([], Limits::default(), 1);
        let now = Timestamp(1);
        let node = NodeId(7);
        scheduler.handle(
            now,
            Command::JoinNode { node, lanes: 1, equipment: Default::default(), holding: Vec::new() },
        );
        scheduler
            .handle(now, Command::SubmitJob { request: 1, spec: Box::new(spec()), owner: None, quota: None });
        let status = scheduler.job(JobId(1)).expect("the job is there").status;
        assert!(!has_ended(status, Patience::Embedded), "{status:?}");
        let granted = std::iter::from_fn(|| scheduler.poll_effect()).find_map(|effect| match effect {
            Effect::Grant { lease, .. } => Some(lease.id),
            _ => None,
        });
        let (lease, kind) = (granted.expect("the node gets a lease"), FailureKind::OutOfMemory);
        let message = "needs 3 bytes and there are 2".to_owned();
        scheduler.handle(now, Command::ReportFailure { node, lease, kind, message });
        let view = scheduler.job(JobId(1)).expect("the job is there");
        assert_eq!(view.status, JobStatus::Stranded);
        assert!(has_ended(view.status, Patience::Embedded) && !has_ended(view.status, Patience::Farm));
        assert!(check_done(&view).expect_err("it is not done").message.contains("needs 3 bytes"));
    }
}
