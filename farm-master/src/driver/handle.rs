//! The way to the driver for everyone else.

use farm_core::scheduler::{Answer, Command, Equipment, HeldLease, NodeChange, Quota, RefusedReason};
use farm_core::{BlobDigest, JobId, JobSpec, NodeId, OwnerId, Scheduler, Timestamp};
use farm_wire::message::{JobChange, ToNode};
use tokio::sync::{mpsc, oneshot, watch};

use super::clock::Clock;

/// The answer to something asked.
pub(crate) type Reply = Result<Answer, Refusal>;

/// Why something asked was refused, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) hint: Option<String>,
}

impl Refusal {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: None }
    }

    pub(crate) fn with_hint(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: Some(hint.into()) }
    }

    /// The journal cannot be written.
    pub(crate) fn stuck(reason: &str) -> Self {
        Self::with_hint(
            format!("the master takes no new job now: {reason}"),
            "nothing is lost; once there is room on the master's disk, and no other process holds \
             its journal, it goes on by itself",
        )
    }

    fn stopping() -> Self {
        Self::with_hint("the master is stopping", "try again when it is back")
    }
}

impl From<RefusedReason> for Refusal {
    fn from(reason: RefusedReason) -> Self {
        Self::new(reason.to_string())
    }
}

/// What a person asks of the scheduler.
#[derive(Debug)]
pub(crate) enum Ask {
    Submit(Box<JobSpec>, OwnerId, Option<Quota>),
    Change(JobId, JobChange),
    ChangeNode(NodeId, NodeChange),
}

impl Ask {
    pub(crate) fn into_command(self, request: u64) -> Command {
        match self {
            Self::Submit(spec, owner, quota) => {
                Command::SubmitJob { request, spec, owner: Some(owner), quota }
            }
            Self::ChangeNode(node, change) => Command::ChangeNode { request, node, change },
            Self::Change(job, JobChange::Pause) => Command::PauseJob { request, job },
            Self::Change(job, JobChange::Resume) => Command::ResumeJob { request, job },
            Self::Change(job, JobChange::Cancel) => Command::CancelJob { request, job },
            Self::Change(job, JobChange::Retry) => Command::RetryJob { request, job },
            Self::Change(job, JobChange::Rerender { frames, region }) => {
                Command::RerenderJob { request, job, frames, region }
            }
            Self::Change(job, JobChange::Prioritize { priority }) => {
                Command::PrioritizeJob { request, job, priority }
            }
            Self::Change(job, JobChange::Weigh { weight }) => Command::WeighJob { request, job, weight },
        }
    }
}

/// A node's new connection.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) node: NodeId,
    pub(crate) lanes: u32,
    pub(crate) shader_digest: BlobDigest,
    pub(crate) equipment: Equipment,
    pub(crate) holding: Vec<HeldLease>,
    /// Tells this connection from others of the same node.
    pub(crate) connection: u64,
    /// Closed when the driver lets the connection go.
    pub(crate) outbox: mpsc::Sender<ToNode>,
}

/// What the driver is told.
pub(crate) enum Message {
    Tell(Command),
    Ask { ask: Ask, reply: oneshot::Sender<Reply> },
    Join(Joining),
    Leave { node: NodeId, connection: u64 },
    Look(Box<dyn FnOnce(&Scheduler) + Send>),
}

/// The way to the driver. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DriverHandle {
    inbox: mpsc::Sender<Message>,
    changes: watch::Receiver<u64>,
    trouble: watch::Receiver<Option<String>>,
    clock: Clock,
}

impl DriverHandle {
    pub(super) fn new(
        inbox: mpsc::Sender<Message>,
        changes: watch::Receiver<u64>,
        trouble: watch::Receiver<Option<String>>,
        clock: Clock,
    ) -> Self {
        Self { inbox, changes, trouble, clock }
    }

    /// The scheduler's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Tells the scheduler something; waits while the driver is busy. What is
    /// told to a driver that has stopped is lost, as if it came a moment later.
    pub(crate) async fn tell(&self, command: Command) {
        let _ = self.inbox.send(Message::Tell(command)).await;
    }

    /// Asks and waits for the answer.
    pub(crate) async fn ask(&self, ask: Ask) -> Reply {
        if let (Ask::Submit(..), Some(reason)) = (&ask, &*self.trouble.borrow()) {
            return Err(Refusal::stuck(reason));
        }
        let (reply, answer) = oneshot::channel();
        let sent = self.inbox.send(Message::Ask { ask, reply }).await;
        sent.map_err(|_| Refusal::stopping())?;
        answer.await.unwrap_or_else(|_| Err(Refusal::stopping()))
    }

    /// Lets a node in; its outbox receives the welcome and everything after.
    pub(crate) async fn join(&self, joining: Joining) {
        let _ = self.inbox.send(Message::Join(joining)).await;
    }

    /// Says that a connection ended.
    pub(crate) async fn leave(&self, node: NodeId, connection: u64) {
        let _ = self.inbox.send(Message::Leave { node, connection }).await;
    }

    /// Looks at the scheduler's state between two batches.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Scheduler) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (sender, seen) = oneshot::channel();
        let look = Box::new(move |scheduler: &Scheduler| {
            let _ = sender.send(look(scheduler));
        });
        let sent = self.inbox.send(Message::Look(look)).await;
        sent.map_err(|_| Refusal::stopping())?;
        seen.await.map_err(|_| Refusal::stopping())
    }

    /// Counts batches that may have changed something.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}
