//! What the CLI asks of a master, one function for each request, and a link
//! that survives the master's restart.

use std::path::Path;
use std::time::Duration;

use farm_core::scheduler::{JobView, NodeChange};
use farm_core::{BlobDigest, FrameNumber, JobId, JobSpec, NodeId, Timestamp};
use farm_wire::client::{RecvStream, SendStream};
use farm_wire::message::{
    AbsentNode, FrameFile, JobChange, LaneDescription, NodeListing, Precision, Request, Response,
};
use farm_wire::{Client, Credentials, WireError};

use crate::frames::create_beside;
use crate::output::Failure;
use crate::progress::Progress;

/// Digests in one question for missing blobs: 4,096 of 32 bytes are 128 KiB.
const DIGESTS_PER_REQUEST: usize = 4096;

/// Longest file that is fetched: 2^28 pixels of 16 bytes are 4 GiB, and as much
/// again for what does not compress.
const FILE_BYTES_MAX: u64 = 8 << 30;

/// Bytes read from the wire at once.
const CHUNK_BYTES: usize = 1 << 18;

/// How long a lost master is looked for before giving up.
const RECONNECT_TIME: Duration = Duration::from_secs(60);

/// Why a request was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The wire failed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The master said no.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The master answered something else.
    #[error("the master answered out of turn; are its version and ours the same?")]
    OutOfTurn,
    /// A local file could not be written.
    #[error("cannot write `{path}`: {source}")]
    File {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
}

impl RequestError {
    /// Whether asking again on a new connection may help.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Wire(WireError::Lost(_) | WireError::Unreachable { .. }))
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Wire(error) => error.into(),
            RequestError::Refused { reason, hint } => {
                Self { hint, ..Self::wrong_use(format!("the master refused: {reason}")) }
            }
            RequestError::OutOfTurn => Self::out_of_reach(error.to_string()),
            RequestError::File { .. } => Self::job_failed(error.to_string()),
        }
    }
}

/// Sends a request on a stream of its own.
async fn open(client: &Client, request: &Request) -> Result<(SendStream, RecvStream), RequestError> {
    let (mut send, receive) = client.open_stream().await?;
    send.send(request).await?;
    Ok((send, receive))
}

/// The next response on a stream; a refusal is an error.
async fn next(receive: &mut RecvStream) -> Result<Response, RequestError> {
    match receive.receive().await? {
        Some(Response::Refused { reason, hint }) => Err(RequestError::Refused { reason, hint }),
        Some(response) => Ok(response),
        None => Err(WireError::Lost("the master ended the stream without an answer".into()).into()),
    }
}

/// One request, one response.
async fn ask(client: &Client, request: &Request) -> Result<Response, RequestError> {
    let (send, mut receive) = open(client, request).await?;
    let response = next(&mut receive).await?;
    send.finish().await?;
    Ok(response)
}

/// Which of `digests` the master lacks.
pub(crate) async fn find_missing(
    client: &Client,
    digests: &[BlobDigest],
) -> Result<Vec<BlobDigest>, RequestError> {
    let mut missing = Vec::new();
    for digests in digests.chunks(DIGESTS_PER_REQUEST) {
        match ask(client, &Request::FindMissing { digests: digests.to_vec() }).await? {
            Response::Missing { digests } => missing.extend(digests),
            _ => return Err(RequestError::OutOfTurn),
        }
    }
    Ok(missing)
}

/// Submits a job whose blobs are all stored.
pub(crate) async fn submit_job(client: &Client, spec: JobSpec) -> Result<JobId, RequestError> {
    match ask(client, &Request::SubmitJob { spec: Box::new(spec) }).await? {
        Response::Submitted { job } => Ok(job),
        _ => Err(RequestError::OutOfTurn),
    }
}

/// Every job, and the master's clock.
pub(crate) async fn list_jobs(client: &Client) -> Result<(Vec<JobView>, Timestamp), RequestError> {
    match ask(client, &Request::ListJobs).await? {
        Response::Jobs { jobs, now } => Ok((jobs, now)),
        _ => Err(RequestError::OutOfTurn),
    }
}

/// Every node that is connected, and those that are held back and are not.
pub(crate) async fn list_nodes(
    client: &Client,
) -> Result<(Vec<NodeListing>, Vec<AbsentNode>, Timestamp), RequestError> {
    match ask(client, &Request::ListNodes).await? {
        Response::Nodes { nodes, absent, now } => Ok((nodes, absent, now)),
        _ => Err(RequestError::OutOfTurn),
    }
}

/// Holds a node back or lets it work again.
pub(crate) async fn change_node(
    client: &Client,
    node: NodeId,
    change: NodeChange,
) -> Result<(), RequestError> {
    match ask(client, &Request::ChangeNode { node, change }).await? {
        Response::Done => Ok(()),
        _ => Err(RequestError::OutOfTurn),
    }
}

/// Changes a job.
pub(crate) async fn change_job(client: &Client, job: JobId, change: JobChange) -> Result<(), RequestError> {
    match ask(client, &Request::ChangeJob { job, change }).await? {
        Response::Done => Ok(()),
        _ => Err(RequestError::OutOfTurn),
    }
}

/// Fetches a file of a delivered frame; it takes its name when it is complete.
/// Returns its length in bytes.
pub(crate) async fn fetch_frame(
    client: &Client,
    (job, frame): (JobId, FrameNumber),
    (file, precision): (FrameFile, Precision),
    path: &Path,
) -> Result<u64, RequestError> {
    let file_error = |source: std::io::Error| RequestError::File { path: path.display().to_string(), source };
    let request = Request::FetchFrame { job, frame, file, precision };
    let (send, mut receive) = open(client, &request).await?;
    let Response::Blob { length } = next(&mut receive).await? else {
        return Err(RequestError::OutOfTurn);
    };
    if length > FILE_BYTES_MAX {
        let reason = format!("a frame's file of {length} bytes is beyond the limit of {FILE_BYTES_MAX}");
        return Err(WireError::Protocol(reason).into());
    }
    let mut target = create_beside(path).map_err(file_error)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = length;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let count = receive.receive_bytes(&mut chunk[..wanted]).await?;
        if count == 0 {
            return Err(WireError::Lost(format!("the file ended {left} bytes early")).into());
        }
        std::io::Write::write_all(&mut target, &chunk[..count]).map_err(file_error)?;
        left -= u64::try_from(count).unwrap_or(u64::MAX);
    }
    send.finish().await?;
    target.as_file().sync_all().map_err(file_error)?;
    target.persist(path).map_err(|error| file_error(error.error))?;
    Ok(length)
}

/// A job as it was a moment ago.
#[derive(Clone, Debug)]
pub(crate) struct JobUpdate {
    /// The job.
    pub(crate) view: JobView,
    /// Nodes connected to the farm.
    pub(crate) nodes: u32,
    /// The adapters that work in the farm.
    pub(crate) lanes: Vec<LaneDescription>,
}

/// A stream of a job's changes.
pub(crate) struct Watch {
    receive: RecvStream,
    /// Kept open: the master would take its end for our leaving.
    _send: SendStream,
}

impl Watch {
    /// Begins to watch a job.
    pub(crate) async fn open(client: &Client, job: JobId) -> Result<Self, RequestError> {
        let (send, receive) = open(client, &Request::WatchJob { job }).await?;
        Ok(Self { receive, _send: send })
    }

    /// The next change.
    pub(crate) async fn next(&mut self) -> Result<JobUpdate, RequestError> {
        match next(&mut self.receive).await? {
            Response::Job { job, nodes, lanes } => Ok(JobUpdate { view: *job, nodes, lanes }),
            _ => Err(RequestError::OutOfTurn),
        }
    }
}

/// A connection to a master that can be made anew.
pub(crate) struct Link {
    credentials: Credentials,
    client: Client,
}

impl Link {
    /// Connects.
    pub(crate) async fn connect(mut credentials: Credentials) -> Result<Self, Failure> {
        let client = Client::connect(&credentials).await?;
        if credentials.until_renewal().is_zero() {
            match credentials.renew(&client).await {
                Ok(renewed) => credentials = renewed,
                // They are good for as long again.
                Err(error) => tracing::warn!("the certificate could not be renewed: {error}"),
            }
        }
        Ok(Self { credentials, client })
    }

    /// The connection of the moment.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Looks for a master that went away until it is back, for a minute at most.
    pub(crate) async fn reconnect(&mut self, progress: &Progress) -> Result<(), Failure> {
        progress.warn("the connection to the master was lost; trying again for a minute");
        let mut pause = Duration::from_millis(250);
        let search = async {
            loop {
                match Client::connect(&self.credentials).await {
                    Ok(client) => return Ok(client),
                    Err(error @ WireError::Refused(_)) => return Err(Failure::from(error)),
                    Err(_) => tokio::time::sleep(pause).await,
                }
                pause = (pause * 2).min(Duration::from_secs(4));
            }
        };
        let found = tokio::time::timeout(RECONNECT_TIME, search).await.map_err(|_| {
            Failure::out_of_reach("the master went away and did not come back within a minute")
                .with_hint("jobs go on when it is back; `farm jobs` lists them")
        })?;
        self.client = found?;
        progress.note("connected to the master again");
        Ok(())
    }

    /// Says goodbye.
    pub(crate) async fn close(&self) {
        self.client.close().await;
    }
}
