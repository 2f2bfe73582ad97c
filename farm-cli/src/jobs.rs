//! Listing, watching and changing jobs.

use std::time::Duration;

use farm_core::scheduler::{JobStatus, JobView};
use farm_core::{JobId, OwnerId, Timestamp};
use farm_wire::Role;
use farm_wire::message::JobChange;
use indicatif::HumanDuration;
use serde::Serialize;

use crate::args::{FarmQuery, JobCommand, JobsCommand};
use crate::follow::{Patience, follow};
use crate::login::open_credentials;
use crate::output::{Failure, percent, print_json, print_text, printable, table};
use crate::progress::Progress;
use crate::requests::{Link, change_job, list_jobs};

/// Where the list says whose a job is: after its number and name.
const OWNER_COLUMN: usize = 2;

/// A job's status in a word.
pub(crate) fn status_word(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Waiting => "waiting",
        JobStatus::Running => "running",
        JobStatus::Stranded => "stranded",
        JobStatus::Paused => "paused",
        JobStatus::Done => "done",
        JobStatus::Failed => "failed",
        JobStatus::Cancelled => "cancelled",
    }
}

/// The job of that number.
pub(crate) async fn find_job(link: &Link, job: JobId) -> Result<JobView, Failure> {
    let (jobs, _) = list_jobs(link.client()).await?;
    jobs.into_iter().find(|view| view.job == job).ok_or_else(|| {
        Failure::wrong_use(format!("you have no job {job}"))
            .with_hint("`farm jobs` lists the jobs that you have")
    })
}

/// `farm jobs`.
pub(crate) async fn list(command: JobsCommand) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Report {
        jobs: Vec<JobView>,
    }
    let JobsCommand { all, query: FarmQuery { farm, output_args } } = command;
    let credentials = open_credentials(&farm)?;
    let who = credentials.identity().clone();
    if all && who.role != Role::Admin {
        return Err(Failure::wrong_use(format!(
            "only an admin sees everybody's jobs, and this is the {who}"
        ))
        .with_hint("`farm jobs` lists your own; for others' log in with an admin ticket"));
    }
    let link = Link::connect(credentials).await?;
    let (mut jobs, now) = list_jobs(link.client()).await?;
    link.close().await;
    // To an admin the master says everybody's.
    jobs.retain(|job| all || job.owner == Some(OwnerId(who.id)));
    if output_args.json {
        return print_json(&Report { jobs });
    }
    if jobs.is_empty() {
        let note = match (all, who.role) {
            (true, _) => "the farm has no jobs; `farm submit` makes one",
            (false, Role::Admin) => "you have no jobs; `farm jobs --all` lists everybody's",
            (false, _) => "you have no jobs; `farm submit` makes one",
        };
        Progress::new(output_args.quiet).note(note);
        return Ok(());
    }
    let mut heading =
        vec!["JOB", "NAME", "STATUS", "SAMPLES", "FRAMES", "LEFT", "PRIORITY", "WEIGHT", "AGE", "WHY"];
    let mut rows: Vec<Vec<String>> = jobs.iter().map(|job| job_row(job, now)).collect();
    if all {
        heading.insert(OWNER_COLUMN, "OWNER");
        for (row, job) in rows.iter_mut().zip(&jobs) {
            row.insert(OWNER_COLUMN, job.owner.map_or_else(|| "-".to_owned(), |owner| owner.to_string()));
        }
    }
    rows.insert(0, heading.into_iter().map(str::to_owned).collect());
    print_text(&table(&rows))
}

/// A job's row in the list.
fn job_row(job: &JobView, now: Timestamp) -> Vec<String> {
    // Whole seconds read better than what HumanDuration makes of milliseconds.
    let age = Duration::from_secs(now.since(job.submitted_at).as_secs());
    vec![
        job.job.to_string(),
        printable(&job.name),
        status_word(job.status).to_owned(),
        format!("{:.0} %", percent(job.samples_done, job.samples).floor()),
        format!("{}/{}", job.frames_done, job.frames),
        job.left_ms.map_or_else(|| "-".to_owned(), |left| about(left).to_string()),
        match job.share.level {
            level if level > job.priority && job.share.weight > 0 => format!("{} ({level})", job.priority),
            _ => job.priority.to_string(),
        },
        job.share.weight.max(1).to_string(),
        HumanDuration(age).to_string(),
        printable(&job.explanation),
    ]
}

/// A time that is foretold, as people say it.
pub(crate) fn about(left_ms: u64) -> HumanDuration {
    HumanDuration(Duration::from_secs(left_ms.div_ceil(1000)))
}

/// `farm watch`.
pub(crate) async fn watch(command: JobCommand) -> Result<(), Failure> {
    let JobCommand { job, farm, output_args } = command;
    let progress = Progress::new(output_args.quiet);
    let mut link = Link::connect(open_credentials(&farm)?).await?;
    let followed = follow(&mut link, job, &progress, None, Patience::Farm).await?;
    link.close().await;
    if output_args.json {
        return print_json(&followed.last.view);
    }
    progress.note(&format!("job {job} is done; `farm fetch {job}` brings its frames"));
    Ok(())
}

/// `farm pause`, `resume`, `cancel`, `retry`, `priority` and what else changes a job.
pub(crate) async fn change(command: JobCommand, change: JobChange) -> Result<(), Failure> {
    let JobCommand { job, farm, output_args } = command;
    let link = Link::connect(open_credentials(&farm)?).await?;
    change_job(link.client(), job, change).await?;
    let view = find_job(&link, job).await?;
    link.close().await;
    if output_args.json {
        return print_json(&view);
    }
    let status = status_word(view.status);
    Progress::new(output_args.quiet).note(&format!("job {job} is {status}: {}", view.explanation));
    Ok(())
}
