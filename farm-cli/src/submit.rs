//! From a prepared scene to a job on a master: only what the master lacks is
//! sent, and a broken upload goes on where it stopped.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use farm_core::{BlobDigest, JobId, JobSpec};
use farm_scene::{Blob, PackedScene};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::args::SubmitCommand;
use crate::fetch::{Collector, FetchedFrame};
use crate::follow::{Patience, follow};
use crate::frames::open_folder;
use crate::login::open_credentials;
use crate::output::{Failure, print_json, print_text};
use crate::prepare::{JobOptions, Prepared, next_aside, open_aside};
use crate::progress::{Progress, human_bytes};
use crate::requests::{Link, RequestError, find_missing, submit_job};
use crate::spec::digest_of;

/// Blobs that travel at once: small ones must not wait for each other's answers.
const UPLOADS_AT_ONCE: usize = 8;

/// Times that an upload is taken up again after a lost connection.
const UPLOAD_TRIES: u32 = 5;

/// What `farm submit --json` prints.
#[derive(Serialize)]
struct Report {
    job: JobId,
    name: String,
    scene: BlobDigest,
    blobs: usize,
    scene_bytes: u64,
    uploaded_bytes: u64,
    seconds_load: f64,
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<farm_core::scheduler::JobView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    frames_detail: Vec<FetchedFrame>,
}

/// `farm submit`.
pub(crate) async fn run(command: SubmitCommand) -> Result<(), Failure> {
    let SubmitCommand { scene, settings, priority, weight, tags, name, wait, out, files, farm, output_args } =
        command;
    if let Some(folder) = &out {
        open_folder(folder)?;
    }
    let credentials = open_credentials(&farm)?;
    let progress = Progress::new(output_args.quiet);
    let frames = settings.frames();
    let shader_digest = farm_node::shader_digest();
    let job_options = JobOptions { name, priority, weight, tags, shader_digest };
    let step = progress.step("reading the scene");
    let (mut preparation, mut next) = open_aside(scene, settings, job_options).await?;
    step.finish();

    let mut link = Link::connect(credentials).await?;
    let mut uploaded_bytes = 0;
    while let Some(packed) = next {
        // While a scene travels, the next one is read.
        let packed = Arc::new(packed);
        let upload = upload(&mut link, &packed, &progress);
        let sent;
        (sent, (preparation, next)) = tokio::try_join!(upload, next_aside(preparation))?;
        uploaded_bytes += sent;
    }
    let Prepared { spec, warnings, load_time, blobs, scene_bytes } = preparation.finish()?;
    warnings.iter().for_each(|warning| progress.warn(warning));
    let job = send_job(&link, spec.clone()).await?;
    progress.note(&format!("job {job} is submitted; {} were sent", human_bytes(uploaded_bytes)));

    let mut report = Report {
        job,
        name: spec.name.clone(),
        scene: spec.scene,
        blobs,
        scene_bytes,
        uploaded_bytes,
        seconds_load: load_time.as_secs_f64(),
        warnings,
        outcome: None,
        frames_detail: Vec::new(),
    };
    if wait || out.is_some() {
        let numbered = frames.count() > 1;
        let mut collector = out.map(|folder| Collector::of_job(job, &folder, &spec.name, numbered, files));
        let followed = follow(&mut link, job, &progress, collector.as_mut(), Patience::Farm).await?;
        report.outcome = Some(followed.last.view);
        report.frames_detail = collector.map(Collector::into_frames).unwrap_or_default();
    }
    link.close().await;
    if output_args.json {
        return print_json(&report);
    }
    if report.frames_detail.is_empty() {
        return print_text(&format!("{job}\n"));
    }
    print_text(&report.frames_detail.iter().map(FetchedFrame::lines).collect::<String>())
}

/// Submits, with what to do when nobody knows whether it arrived.
pub(crate) async fn send_job(link: &Link, spec: JobSpec) -> Result<JobId, Failure> {
    submit_job(link.client(), spec).await.map_err(|error| {
        let lost = error.is_lost();
        let failure = Failure::from(error);
        if !lost {
            return failure;
        }
        failure.with_hint("the job may have arrived: look with `farm jobs` before submitting again")
    })
}

/// Every blob of a scene, the manifest last: a scene whose manifest is stored
/// is stored whole, unless an upload is under way.
pub(crate) fn all_blobs(packed: &PackedScene) -> impl Iterator<Item = &Blob> {
    packed.blobs.iter().chain([&packed.manifest])
}

/// A blob's length.
pub(crate) fn byte_count(blob: &Blob) -> u64 {
    u64::try_from(blob.bytes.len()).unwrap_or(u64::MAX)
}

/// Sends the blobs that the master lacks and returns the payload bytes sent.
pub(crate) async fn upload(
    link: &mut Link,
    packed: &Arc<PackedScene>,
    progress: &Progress,
) -> Result<u64, Failure> {
    let sent = Arc::new(AtomicU64::new(0));
    let mut tries = 0;
    loop {
        match upload_missing(link, packed, progress, &sent).await {
            Ok(()) => return Ok(sent.load(Ordering::Relaxed)),
            Err(error) if error.is_lost() && tries < UPLOAD_TRIES => {
                tries += 1;
                link.reconnect(progress).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// One attempt at [`upload`]; adds to `sent` as bytes leave.
async fn upload_missing(
    link: &Link,
    packed: &Arc<PackedScene>,
    progress: &Progress,
    sent: &Arc<AtomicU64>,
) -> Result<(), RequestError> {
    let mut digests: Vec<BlobDigest> = all_blobs(packed).map(digest_of).collect();
    digests.sort_unstable();
    let missing: BTreeSet<BlobDigest> = find_missing(link.client(), &digests).await?.into_iter().collect();
    let lengths = all_blobs(packed).filter(|blob| missing.contains(&digest_of(blob))).map(byte_count);
    let bar = progress.upload(lengths.sum());

    let start = |uploads: &mut JoinSet<_>, index: usize| {
        let (client, packed) = (link.client().clone(), Arc::clone(packed));
        let (sent, bar) = (Arc::clone(sent), bar.clone());
        uploads.spawn(async move {
            let blob = packed.blobs.get(index).unwrap_or(&packed.manifest);
            let count = |bytes| {
                sent.fetch_add(bytes, Ordering::Relaxed);
                bar.advance(bytes);
            };
            farm_wire::transfer::store_blob(&client, digest_of(blob), &blob.bytes, count).await
        });
    };
    let is_missing = |index: &usize| missing.contains(&digest_of(&packed.blobs[*index]));
    let mut waiting = (0..packed.blobs.len()).filter(is_missing);
    let mut uploads = JoinSet::new();
    for index in waiting.by_ref().take(UPLOADS_AT_ONCE) {
        start(&mut uploads, index);
    }
    while let Some(finished) = uploads.join_next().await {
        // A task that panicked says so itself; for the upload it is a loss.
        finished.map_err(|error| farm_wire::WireError::Protocol(error.to_string()))??;
        if let Some(index) = waiting.next() {
            start(&mut uploads, index);
        }
    }
    if missing.contains(&digest_of(&packed.manifest)) {
        start(&mut uploads, usize::MAX);
        while let Some(finished) = uploads.join_next().await {
            finished.map_err(|error| farm_wire::WireError::Protocol(error.to_string()))??;
        }
    }
    bar.finish();
    Ok(())
}
