//! The whole farm in one process: a master and its nodes over QUIC on loopback,
//! with real tickets and certificates, in a private temporary folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use farm_master::{Master, MasterConfig, MasterError};
use farm_node::{AdapterChoice, Node, NodeConfig, NodeError};
use farm_wire::{Credentials, Role, Ticket};
use tokio::task::JoinSet;

use crate::output::{Failure, describe};
use crate::requests::Link;

/// Tickets of an embedded farm are used within its first seconds.
const TICKET_LIFE: Duration = Duration::from_secs(600);

/// How long each part of the farm may take to stop: a node finishes the slice
/// that it is rendering, which is short by design.
const STOP_TIME: Duration = Duration::from_secs(5);

/// A master and its nodes.
pub(crate) struct EmbeddedFarm {
    master: Master,
    starting: JoinSet<Result<Node, Failure>>,
    nodes: Vec<Node>,
    first_ready: Option<Instant>,
}

impl EmbeddedFarm {
    /// Starts a master in `folder` and begins to start `count` nodes, which
    /// share one cache there.
    pub(crate) async fn start(folder: &Path, count: u32, adapter: AdapterChoice) -> Result<Self, Failure> {
        let loopback = ([127, 0, 0, 1], 0).into();
        let config = MasterConfig::new(folder.join("master"), loopback);
        let master = Master::start(config).await.map_err(|error| master_failure(&error))?;
        let mut starting = JoinSet::new();
        for number in 1..=count {
            let name = format!("node-{number}");
            let ticket = ticket(&master, &name, Role::Node)?;
            starting.spawn(start_node(ticket, name, folder.join("cache"), adapter.clone()));
        }
        Ok(Self { master, starting, nodes: Vec::new(), first_ready: None })
    }

    /// Connects to the master as an artist.
    pub(crate) async fn connect(&self) -> Result<Link, Failure> {
        let ticket = ticket(&self.master, "artist", Role::Artist)?;
        Link::connect(Credentials::join(&ticket, "artist").await?).await
    }

    /// Looks after nodes that start; resolves only when one could not.
    pub(crate) async fn fail_with_nodes(&mut self) -> Failure {
        while let Some(started) = self.starting.join_next().await {
            match started {
                Ok(Ok(node)) => {
                    self.first_ready.get_or_insert_with(Instant::now);
                    self.nodes.push(node);
                }
                Ok(Err(failure)) => return failure,
                Err(error) => return Failure::job_failed(format!("a node could not start: {error}")),
            }
        }
        std::future::pending().await
    }

    /// When the first node stood ready.
    pub(crate) fn first_ready(&self) -> Option<Instant> {
        self.first_ready
    }

    /// Stops the nodes and then the master; each gets a bounded time.
    pub(crate) async fn stop(mut self) {
        self.starting.shutdown().await;
        let mut stopping = JoinSet::new();
        for mut node in self.nodes {
            node.leave_at_once();
            stopping.spawn(async move { tokio::time::timeout(STOP_TIME, node.wait()).await });
        }
        while let Some(stopped) = stopping.join_next().await {
            if let Ok(Ok(Err(error))) = stopped {
                tracing::debug!("a node stopped with an error: {error}");
            }
        }
        if tokio::time::timeout(STOP_TIME, self.master.shutdown()).await.is_err() {
            tracing::debug!("the master did not stop in time");
        }
    }
}

/// Joins the master and starts a node.
async fn start_node(
    ticket: Ticket,
    name: String,
    cache: PathBuf,
    adapter: AdapterChoice,
) -> Result<Node, Failure> {
    let credentials = Credentials::join(&ticket, &name).await?;
    // The cache is private to this process and gone with it: it holds the one
    // scene that is rendered, however large.
    let config = NodeConfig { adapter, cache_bytes: u64::MAX, ..NodeConfig::new(credentials, cache) };
    Node::start(config).await.map_err(|error| node_failure(&error))
}

/// A ticket for one joiner of this process.
fn ticket(master: &Master, name: &str, role: Role) -> Result<Ticket, Failure> {
    master.create_ticket(name, role, TICKET_LIFE, Some(1)).map_err(|error| master_failure(&error))
}

/// Why the master could not start, for the artist.
fn master_failure(error: &MasterError) -> Failure {
    let failure = Failure::job_failed(describe(error));
    match error.hint() {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// Why a node could not start, for the artist.
fn node_failure(error: &NodeError) -> Failure {
    let message = describe(error);
    let failure = match error {
        NodeError::UnknownAdapter { .. } => {
            return Failure::wrong_use(message).with_hint("`farm adapters` lists them");
        }
        NodeError::NoAdapter | NodeError::Open { .. } => Failure::out_of_reach(message),
        _ => Failure::job_failed(message),
    };
    match error.hint() {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}
