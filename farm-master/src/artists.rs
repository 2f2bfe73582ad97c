//! What artists and admins ask, one request on each stream.
//!
//! Answers are `Ok(Ok(()))` when everything was said, `Ok(Err(refusal))` when
//! the request is refused, and an error when the stream is lost.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use farm_core::scheduler::{Answer, JobStatus};
use farm_core::{BlobDigest, FrameNumber, JobId, JobSpec, Scheduler};
use farm_wire::WireError;
use farm_wire::client::{RecvStream, SendStream};
use farm_wire::message::{AbsentNode, FrameFile, NodeListing, Precision, Request, Response};

use crate::blobs::{Begin, BlobError, BlobStore, Upload};
use crate::driver::{Ask, Refusal};
use crate::farm::Farm;
use crate::peers;
use crate::rights::{self, Person};

/// Bytes read or written at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Digests of one question: as many as a job may have, and its scene.
const DIGESTS: usize = 65_537;
/// Shortest pause between two answers to a watcher: ten a second.
const WATCH_PAUSE: Duration = Duration::from_millis(100);
/// Missing blobs that a refusal names.
const NAMED_BLOBS: usize = 3;

/// How a request went; see the module's documentation.
type Outcome = Result<Result<(), Refusal>, WireError>;

/// Answers the request of an artist or an admin.
pub(crate) async fn answer(
    farm: &Farm,
    person: Person,
    request: Request,
    send: &mut SendStream,
    receive: &mut RecvStream,
) -> Outcome {
    if let Err(refusal) = rights::permit(farm, person, &request).await {
        return Ok(Err(refusal));
    }
    match request {
        Request::FindMissing { digests } => find_missing(farm, send, digests).await,
        Request::StoreBlob { digest, length } => {
            store_blob(farm, person, send, receive, digest, length).await
        }
        Request::FetchBlob { digest, offset } => fetch_blob(farm, send, digest, offset).await,
        Request::SubmitJob { spec } => submit_job(farm, send, person, spec).await,
        Request::ListJobs => list_jobs(farm, send, person).await,
        Request::WatchJob { job } => watch_job(farm, send, person, job).await,
        Request::ChangeJob { job, change } => change_farm(farm, send, Ask::Change(job, change)).await,
        Request::ChangeNode { node, change } => {
            tracing::info!(%node, ?change, admin = %person.owner, "an admin changes a node");
            change_farm(farm, send, Ask::ChangeNode(node, change)).await
        }
        Request::FetchFrame { job, frame, file, precision } => {
            fetch_frame(farm, send, person, job, frame, file, precision).await
        }
        Request::ListNodes => list_nodes(farm, send).await,
        Request::RenewCertificate { .. } => unreachable!("answered for every role before"),
    }
}

async fn change_farm(farm: &Farm, send: &mut SendStream, ask: Ask) -> Outcome {
    match farm.driver.ask(ask).await {
        Ok(_) => say(send, Response::Done).await,
        Err(refusal) => Ok(Err(refusal)),
    }
}

async fn say(send: &mut SendStream, response: Response) -> Outcome {
    send.send(&response).await.map(Ok)
}

/// Runs work that blocks on the disk; a panic there is a refusal here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let broken = |error| Refusal::new(format!("the master's work broke off: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(broken)
}

fn refused(error: BlobError) -> Refusal {
    tracing::warn!(%error, "a blob was refused");
    match error.is_disk() {
        true => Refusal::with_hint(
            format!("the master's disk refuses: {error}"),
            "make room on the master's disk and try again; what was sent is kept",
        ),
        false => Refusal::new(error.to_string()),
    }
}

async fn find_missing(farm: &Farm, send: &mut SendStream, digests: Vec<BlobDigest>) -> Outcome {
    if digests.len() > DIGESTS {
        return Ok(Err(Refusal::new(format!("asked for more than {DIGESTS} blobs at once"))));
    }
    let blobs = Arc::clone(&farm.blobs);
    match blocking(move || blobs.missing(&digests)).await {
        Ok(digests) => say(send, Response::Missing { digests }).await,
        Err(refusal) => Ok(Err(refusal)),
    }
}

async fn store_blob(
    farm: &Farm,
    person: Person,
    send: &mut SendStream,
    receive: &mut RecvStream,
    digest: BlobDigest,
    length: u64,
) -> Outcome {
    let blobs: Arc<BlobStore> = Arc::clone(&farm.blobs);
    let begun = blocking(move || blobs.begin(digest, length)).await;
    let mut upload = match begun.and_then(|begun| begun.map_err(refused)) {
        Err(refusal) => return Ok(Err(refusal)),
        Ok(Begin::Present) => {
            send.send(&Response::StoreFrom { offset: length }).await?;
            return say(send, Response::Stored).await;
        }
        Ok(Begin::Upload(upload)) => upload,
    };
    if !person.is_admin
        && let Err(refusal) = farm.uploads.count(person.owner, upload.remaining(), &farm.bounds.artist)
    {
        return Ok(Err(refusal));
    }
    send.send(&Response::StoreFrom { offset: upload.offset() }).await?;
    let mut buffer = vec![0; CHUNK_BYTES];
    while upload.remaining() > 0 {
        let wanted = usize::try_from(upload.remaining()).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let count = peers::within(receive.receive_bytes(&mut buffer[..wanted])).await?;
        if count == 0 {
            return Ok(Err(Refusal::new("the blob ended early; what came is kept")));
        }
        (upload, buffer) = match append(upload, buffer, count).await {
            Ok(both) => both,
            Err(refusal) => return Ok(Err(refusal)),
        };
    }
    let finished = blocking(move || upload.finish()).await;
    match finished.and_then(|finished| finished.map_err(refused)) {
        Ok(()) => say(send, Response::Stored).await,
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// Appends the buffer's first `count` bytes and gives both back.
async fn append(mut upload: Upload, buffer: Vec<u8>, count: usize) -> Result<(Upload, Vec<u8>), Refusal> {
    blocking(move || {
        upload.write(&buffer[..count]).map_err(refused)?;
        Ok((upload, buffer))
    })
    .await?
}

/// Sends a blob from an offset.
pub(crate) async fn fetch_blob(
    farm: &Farm,
    send: &mut SendStream,
    digest: BlobDigest,
    offset: u64,
) -> Outcome {
    let blobs = Arc::clone(&farm.blobs);
    let opened = blocking(move || blobs.open_blob(digest)).await;
    match opened.and_then(|opened| opened.map_err(refused)) {
        Err(refusal) => Ok(Err(refusal)),
        Ok((_, length)) if offset > length => {
            Ok(Err(Refusal::new(format!("blob {digest} has only {length} bytes"))))
        }
        Ok((file, length)) => send_file(send, file, offset, length).await,
    }
}

/// Says how many bytes follow and sends the file from `offset`.
async fn send_file(send: &mut SendStream, file: File, offset: u64, length: u64) -> Outcome {
    let mut left = length - offset;
    send.send(&Response::Blob { length: left }).await?;
    let mut reading = (file, vec![0; CHUNK_BYTES], Some(offset));
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let (mut file, mut buffer, seek) = reading;
        let read = tokio::task::spawn_blocking(move || {
            if let Some(offset) = seek {
                file.seek(SeekFrom::Start(offset))?;
            }
            let count = file.read(&mut buffer[..most])?;
            Ok::<_, std::io::Error>((file, buffer, count))
        });
        // The answer has begun, so all that is left to say is to break it off.
        let broken = |reason: String| WireError::Lost(format!("reading the file: {reason}"));
        let read = read.await.map_err(|error| broken(error.to_string()))?;
        let (file, buffer, count) = read.map_err(|error| broken(error.to_string()))?;
        if count == 0 {
            return Err(broken("it is shorter than it was".into()));
        }
        send.send_bytes(&buffer[..count]).await?;
        left -= count as u64;
        reading = (file, buffer, None);
    }
    Ok(Ok(()))
}

async fn submit_job(farm: &Farm, send: &mut SendStream, person: Person, spec: Box<JobSpec>) -> Outcome {
    let mut closure: Vec<BlobDigest> = spec.all_blobs().collect();
    closure.sort_unstable();
    closure.dedup();
    if closure.len() > DIGESTS {
        return Ok(Err(Refusal::new("the job names too many blobs")));
    }
    let blobs = Arc::clone(&farm.blobs);
    let missing = match blocking(move || blobs.missing(&closure)).await {
        Ok(missing) => missing,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if !missing.is_empty() {
        return Ok(Err(incomplete(&missing)));
    }
    let quota = (!person.is_admin).then(|| farm.bounds.artist.of_jobs());
    match farm.driver.ask(Ask::Submit(spec, person.owner, quota)).await {
        Ok(Answer::Submitted(job)) => {
            tracing::info!(%job, owner = %person.owner, "job submitted");
            say(send, Response::Submitted { job }).await
        }
        Ok(Answer::Done) => say(send, Response::Done).await,
        Err(refusal) => Ok(Err(refusal)),
    }
}

fn incomplete(missing: &[BlobDigest]) -> Refusal {
    let named: Vec<String> = missing.iter().take(NAMED_BLOBS).map(BlobDigest::to_string).collect();
    let more = missing.len().saturating_sub(NAMED_BLOBS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Refusal::with_hint(
        format!("the master lacks blobs of the scene: {}{more}", named.join(", ")),
        "upload every blob of the scene before submitting the job",
    )
}

async fn list_jobs(farm: &Farm, send: &mut SendStream, person: Person) -> Outcome {
    let look = move |scheduler: &Scheduler| {
        scheduler.jobs().filter(|view| person.has(view.owner)).collect::<Vec<_>>()
    };
    match farm.driver.look(look).await {
        Ok(jobs) => say(send, Response::Jobs { jobs, now: farm.driver.now() }).await,
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// Says how a job stands whenever that changes, until it ends.
async fn watch_job(farm: &Farm, send: &mut SendStream, person: Person, job: JobId) -> Outcome {
    let mut changes = farm.driver.changes();
    let mut said: Option<Response> = None;
    loop {
        changes.mark_unchanged();
        let view = match rights::view(farm, person, job).await {
            Ok(view) => view,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let over = matches!(view.status, JobStatus::Done | JobStatus::Failed | JobStatus::Cancelled);
        let roster = farm.roster.entries();
        let nodes = u32::try_from(roster.len()).unwrap_or(u32::MAX);
        let lanes = roster.into_values().flat_map(|entry| entry.lanes).collect();
        let response = Response::Job { job: Box::new(view), nodes, lanes };
        if said.as_ref() != Some(&response) {
            send.send(&response).await?;
            said = Some(response);
        }
        if over {
            return Ok(Ok(()));
        }
        tokio::time::sleep(WATCH_PAUSE).await;
        if changes.changed().await.is_err() {
            return Ok(Err(Refusal::new("the master is stopping")));
        }
    }
}

async fn fetch_frame(
    farm: &Farm,
    send: &mut SendStream,
    person: Person,
    job: JobId,
    frame: FrameNumber,
    file: FrameFile,
    precision: Precision,
) -> Outcome {
    let view = match rights::view(farm, person, job).await {
        Ok(view) => view,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if !view.delivered.iter().any(|(number, _)| *number == frame) {
        return Ok(Err(Refusal::with_hint(
            format!("frame {} of job {job} is not done", frame.0),
            format!("`farm watch {job}` shows how far it is"),
        )));
    }
    let frames = farm.frames.clone();
    let opened = blocking(move || -> Result<(File, u64), String> {
        let file = match (file, precision) {
            (FrameFile::Png, _) => File::open(frames.png(job, frame)).map_err(|e| e.to_string()),
            (FrameFile::Exr, Precision::Float) => {
                File::open(frames.exr(job, frame)).map_err(|error| error.to_string())
            }
            (FrameFile::Exr, Precision::Half) => {
                frames.half_exr(job, frame).map_err(|error| error.to_string())
            }
        }?;
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        Ok((file, length))
    });
    match opened.await {
        Ok(Ok((file, length))) => send_file(send, file, 0, length).await,
        Ok(Err(reason)) => {
            tracing::error!(%job, %frame, reason, "a delivered frame cannot be read");
            Ok(Err(Refusal::new(format!("the frame's file cannot be read: {reason}"))))
        }
        Err(refusal) => Ok(Err(refusal)),
    }
}

async fn list_nodes(farm: &Farm, send: &mut SendStream) -> Outcome {
    let look = |scheduler: &Scheduler| {
        let absent = scheduler.absent_nodes().map(|(node, standing)| AbsentNode { node, standing });
        (scheduler.nodes().collect::<Vec<_>>(), absent.collect())
    };
    let (views, absent) = match farm.driver.look(look).await {
        Ok(seen) => seen,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut roster = farm.roster.entries();
    let listing = |view: farm_core::scheduler::NodeView| {
        let entry = roster.remove(&view.node)?;
        Some(NodeListing {
            name: entry.name,
            view,
            lanes: entry.lanes,
            version: entry.version,
            address: entry.address,
        })
    };
    let nodes = views.into_iter().filter_map(listing).collect();
    say(send, Response::Nodes { nodes, absent, now: farm.driver.now() }).await
}
