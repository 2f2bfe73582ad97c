//! An artist, speaking the protocol itself. Nothing here sleeps: it waits for
//! what the master says.

use farm_core::scheduler::{JobStatus, JobView};
use farm_core::{BlobDigest, FrameNumber, JobId, JobSpec};
use farm_scene::PackedScene;
use farm_wire::message::{NodeListing, Request, Response};
use farm_wire::transfer::store_blob;
use farm_wire::{Client, Credentials, WireError};

use crate::processes::{Master, echo};
use crate::scene::digest;

/// Connections tried before a test gives up; each takes seconds by itself.
const TRIES: u32 = 10;

pub(crate) struct Artist {
    credentials: Credentials,
    client: Client,
}

impl Artist {
    /// Joins with the artist ticket of a first start.
    pub(crate) async fn join(master: &Master) -> Self {
        let ticket = master.artist_ticket().parse().expect("the master prints tickets");
        let credentials = Credentials::join(&ticket, "artist").await.expect("the ticket is good");
        let client = Client::connect(&credentials).await.expect("the master is there");
        Self { credentials, client }
    }

    /// Stores what the master lacks and returns the payload bytes sent.
    pub(crate) async fn upload(&self, scene: &PackedScene) -> u64 {
        let mut sent = 0;
        for blob in scene.blobs.iter().chain([&scene.manifest]) {
            let stored = store_blob(&self.client, digest(&blob.digest), &blob.bytes, |_| ()).await;
            sent += stored.expect("the master stores blobs");
        }
        sent
    }

    pub(crate) async fn submit(&self, spec: JobSpec) -> JobId {
        match self.ask(Request::SubmitJob { spec: Box::new(spec) }).await {
            Response::Submitted { job } => job,
            other => panic!("the job was not taken: {other:?}"),
        }
    }

    pub(crate) async fn nodes(&self) -> Vec<NodeListing> {
        match self.ask(Request::ListNodes).await {
            Response::Nodes { nodes, .. } => nodes,
            other => panic!("not a list of nodes: {other:?}"),
        }
    }

    /// Watches a job until it is done and returns its picture's digest.
    pub(crate) async fn finish(&mut self, job: JobId) -> BlobDigest {
        let view = self.watch(job, |view| view.status == JobStatus::Done).await;
        assert_eq!(view.samples_done, view.samples);
        match view.delivered[..] {
            [(FrameNumber(1), digest)] => digest,
            _ => panic!("not one frame: {:?}", view.delivered),
        }
    }

    /// Watches a job until it is as `wanted`, across restarts of the master.
    pub(crate) async fn watch(&mut self, job: JobId, wanted: impl Fn(&JobView) -> bool) -> JobView {
        for _ in 0..TRIES {
            match self.watch_once(job, &wanted).await {
                Ok(view) => return view,
                Err(error) => echo("artist", &format!("watching job {job}: {error}; connecting again")),
            }
            if let Ok(client) = Client::connect(&self.credentials).await {
                self.client = client;
            }
        }
        panic!("the master did not come back");
    }

    async fn watch_once(&self, job: JobId, wanted: impl Fn(&JobView) -> bool) -> Result<JobView, WireError> {
        let (mut send, mut receive) = self.client.open_stream().await?;
        send.send(&Request::WatchJob { job }).await?;
        loop {
            match receive.receive().await? {
                Some(Response::Job { job: view, .. }) if wanted(&view) => return Ok(*view),
                Some(Response::Job { job: view, .. }) => {
                    let ended =
                        matches!(view.status, JobStatus::Done | JobStatus::Failed | JobStatus::Cancelled);
                    assert!(!ended, "the job ended otherwise: {view:?}");
                }
                Some(other) => panic!("not a job: {other:?}"),
                None => return Err(WireError::Lost("the master ended the watch".into())),
            }
        }
    }

    async fn ask(&self, request: Request) -> Response {
        self.client.request(&request).await.expect("the master answers")
    }
}
