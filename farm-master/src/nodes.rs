//! A node's connection: its greeting, its control stream, its tiles and its
//! fetches, all ended together.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farm_core::scheduler::{Command, Equipment, HeldLease};
use farm_core::{BlobDigest, JobId, JobSpec, NodeId};
use farm_wire::client::{RecvStream, SendStream};
use farm_wire::message::{FromNode, LaneDescription, ToNode};
use farm_wire::{Peer, WireError};
use tokio::sync::mpsc;

use crate::driver::{Joining, OUTBOX};
use crate::farm::{Farm, RosterEntry};
use crate::peers::{self, Asker};
use crate::{empty, tiles};

/// Adapters of one node: more than any machine has.
const LANES: usize = 64;
/// Leases that a node may say it holds: 64 for each lane, and unsent tiles.
const HOLDING: usize = 8192;
/// Tags of a node, and scenes that it names: as many as the scheduler keeps.
const TAGS: usize = 64;
const SCENES: usize = 64;
/// Job specs that are kept for each connection: more than leases can be out of.
const SPECS: usize = 1024;
/// Letters to a node that are written together: leases and verdicts are some 150
/// bytes each, so 40 KB.
const LETTERS_AT_ONCE: usize = 256;
/// Longest text of a node that is kept or logged, in bytes.
const TEXT_BYTES: usize = 1024;

/// The jobs that were described on a connection, latest last.
#[derive(Default)]
pub(crate) struct Described {
    jobs: Mutex<VecDeque<(JobId, Arc<JobSpec>)>>,
}

impl Described {
    fn insert(&self, job: JobId, spec: JobSpec) {
        let mut jobs = self.lock();
        jobs.retain(|(known, _)| *known != job);
        jobs.push_back((job, Arc::new(spec)));
        if jobs.len() > SPECS {
            jobs.pop_front();
        }
    }

    /// The spec of a job, if it was described.
    pub(crate) fn spec(&self, job: JobId) -> Option<Arc<JobSpec>> {
        let jobs = self.lock();
        jobs.iter().rev().find(|(known, _)| *known == job).map(|(_, spec)| Arc::clone(spec))
    }

    /// Whether one of the jobs has this blob.
    pub(crate) fn names(&self, digest: BlobDigest) -> bool {
        self.lock().iter().any(|(_, spec)| spec.names(&digest))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(JobId, Arc<JobSpec>)>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node says first.
struct Greeting {
    version: String,
    shader_digest: BlobDigest,
    lanes: Vec<LaneDescription>,
    holding: Vec<HeldLease>,
    equipment: Equipment,
}

/// Serves a node until its connection ends.
pub(crate) async fn serve(farm: &Arc<Farm>, peer: &Peer) -> Result<(), WireError> {
    let node = NodeId(peer.identity().id);
    let (send, mut receive) = peers::within(peer.accept_stream()).await?;
    let greeting = receive_greeting(&mut receive).await?;
    let connection = farm.number_connection();
    let (outbox, letters) = mpsc::channel(OUTBOX);
    let lanes = u32::try_from(greeting.lanes.len()).expect("lanes were counted");
    tracing::info!(%node, name = peer.identity().name, version = greeting.version, lanes, "node joined");
    farm.roster.enter(
        node,
        RosterEntry {
            connection,
            name: peer.identity().name.clone(),
            version: greeting.version.clone(),
            lanes: greeting.lanes.clone(),
            address: peer.address().to_string(),
        },
    );
    let Greeting { shader_digest, holding, equipment, .. } = greeting;
    farm.driver.join(Joining { node, lanes, shader_digest, equipment, holding, connection, outbox }).await;

    let described = Arc::new(Described::default());
    let outcome = tokio::select! {
        outcome = hear(farm, node, receive) => outcome,
        outcome = speak(send, letters, &described) => outcome,
        outcome = tiles::take_in(farm, peer, node, &described) => outcome,
        outcome = peers::serve_requests(farm, peer, Asker::Node(Arc::clone(&described))) => outcome,
    };
    farm.driver.leave(node, connection).await;
    farm.roster.leave(node, connection);
    tracing::info!(%node, name = peer.identity().name, "node left");
    outcome
}

async fn receive_greeting(receive: &mut RecvStream) -> Result<Greeting, WireError> {
    let wrong = |what: &str| Err(WireError::Protocol(what.to_owned()));
    let first = peers::receive_step::<FromNode>(receive).await?;
    let Some(FromNode::Hello { version, shader_digest, lanes, holding, tags, scenes }) = first else {
        return wrong("a node must say hello first");
    };
    if lanes.is_empty() || lanes.len() > LANES {
        return wrong("a node must have 1 to 64 lanes");
    }
    if holding.len() > HOLDING {
        return wrong("a node holds at most 8192 leases");
    }
    if tags.len() > TAGS || scenes.len() > SCENES {
        return wrong("a node has at most 64 tags, and names at most 64 scenes");
    }
    let texts = lanes.iter().flat_map(|lane| [&lane.adapter, &lane.backend]);
    if texts.chain([&version]).chain(&tags).any(|text| text.len() > TEXT_BYTES) {
        return wrong("a text of the greeting is longer than 1024 bytes");
    }
    // Whatever goes to any lane must fit the smallest.
    let memory_bytes = lanes.iter().filter_map(|lane| lane.memory_bytes).min();
    let equipment = Equipment { tags, memory_bytes, scenes };
    Ok(Greeting { version, shader_digest, lanes, holding, equipment })
}

/// Passes on what the node says until it ends its control stream.
async fn hear(farm: &Farm, node: NodeId, mut receive: RecvStream) -> Result<(), WireError> {
    while let Some(message) = receive.receive::<FromNode>().await? {
        let command = match message {
            FromNode::Hello { .. } => {
                return Err(WireError::Protocol("a node says hello only once".into()));
            }
            FromNode::Progress { lease, samples } => Command::ReportProgress { node, lease, samples },
            FromNode::Failed { lease, kind, message } => {
                let message = shortened(message);
                tracing::warn!(%node, %lease, ?kind, message, "a lease failed");
                Command::ReportFailure { node, lease, kind, message }
            }
            FromNode::Draining => Command::DrainNode(node),
            FromNode::EmptyTile { lease, tile } => empty::report(farm, node, lease, tile)?,
            FromNode::Resting => Command::RestNode(node),
            FromNode::Resumed => Command::ResumeNode(node),
        };
        farm.driver.tell(command).await;
    }
    Ok(())
}

/// Sends what the driver has for the node until it lets the connection go.
async fn speak(
    mut send: SendStream,
    mut letters: mpsc::Receiver<ToNode>,
    described: &Described,
) -> Result<(), WireError> {
    let mut batch = Vec::new();
    while letters.recv_many(&mut batch, LETTERS_AT_ONCE).await > 0 {
        for letter in &batch {
            if let ToNode::Job { job, spec } = letter {
                described.insert(*job, spec.as_ref().clone());
            }
        }
        send.send_all(&mut batch).await?;
    }
    Err(WireError::Lost("the node connected again, or does not read its messages".into()))
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES));
    text
}
