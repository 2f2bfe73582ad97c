//! An artist who looks for the master again whenever it is gone.

use std::time::Duration;

use farm_core::scheduler::JobView;
use farm_core::{JobId, JobSpec};
use farm_scene::PackedScene;
use farm_wire::client::{RecvStream, SendStream};
use farm_wire::message::{Request, Response};
use farm_wire::transfer::store_blob;
use farm_wire::{Client, Credentials, WireError};

use super::{Failed, digest};

/// How long a master that is gone is looked for.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Artist {
    credentials: Credentials,
    client: Client,
    /// The stream of the job's changes; the sending half keeps it open.
    watch: Option<(SendStream, RecvStream)>,
}

impl Artist {
    pub(super) async fn join(ticket: &str) -> Result<Self, Failed> {
        let credentials = Credentials::join(&ticket.parse()?, "artist").await?;
        let client = Client::connect(&credentials).await?;
        Ok(Self { credentials, client, watch: None })
    }

    pub(super) async fn upload(&self, scene: &PackedScene) -> Result<(), Failed> {
        for blob in scene.blobs.iter().chain([&scene.manifest]) {
            store_blob(&self.client, digest(&blob.digest), &blob.bytes, |_| ()).await?;
        }
        Ok(())
    }

    /// Another connection of the same artist.
    pub(super) async fn again(&self) -> Result<Client, Failed> {
        Ok(Client::connect(&self.credentials).await?)
    }

    pub(super) async fn submit(&self, spec: JobSpec) -> Result<JobId, Failed> {
        match self.client.request(&Request::SubmitJob { spec: Box::new(spec) }).await? {
            Response::Submitted { job } => Ok(job),
            other => Err(format!("the job was not taken: {other:?}").into()),
        }
    }

    /// The job as it is at its next change.
    pub(super) async fn next_view(&mut self, job: JobId) -> Result<JobView, Failed> {
        let looking = async {
            loop {
                if let Ok(view) = self.try_next_view(job).await {
                    return view;
                }
                self.watch = None;
                // A refused connection fails at once: the master is being started.
                tokio::time::sleep(Duration::from_millis(50)).await;
                if let Ok(client) = Client::connect(&self.credentials).await {
                    self.client = client;
                }
            }
        };
        let late = |_| format!("nothing was heard of job {job} for {} s", PATIENCE.as_secs());
        Ok(tokio::time::timeout(PATIENCE, looking).await.map_err(late)?)
    }

    async fn try_next_view(&mut self, job: JobId) -> Result<JobView, WireError> {
        let (_, receive) = match &mut self.watch {
            Some(watch) => watch,
            None => {
                let (mut send, receive) = self.client.open_stream().await?;
                send.send(&Request::WatchJob { job }).await?;
                self.watch.insert((send, receive))
            }
        };
        match receive.receive().await? {
            Some(Response::Job { job, .. }) => Ok(*job),
            other => Err(WireError::Protocol(format!("not a job: {other:?}"))),
        }
    }
}
