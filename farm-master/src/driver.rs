//! The driver: the one task that owns the scheduler.
//!
//! Messages come in through one bounded queue; what the scheduler records is
//! committed to the journal, in one transaction for each batch of messages,
//! before any other effect of that batch happens: persist, then send. While the
//! journal cannot be written nothing else happens, nothing acknowledged is
//! lost, and new jobs are refused with the reason.

mod clock;
mod handle;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use farm_core::scheduler::{Command, Effect, Entry, Fact, FailureKind, Lease, State};
use farm_core::{BlobDigest, FrameNumber, JobId, Limits, NodeId, Scheduler};
use farm_wire::message::{ToNode, Verdict};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::clock::Clock;
pub(crate) use self::handle::{Ask, DriverHandle, Joining, Message, Refusal, Reply};
use crate::assemble::{self, AssembleError, Frame, FrameFolder};
use crate::blobs::BlobStore;
use crate::empty;
use crate::journal::{Journal, JournalError};

/// Messages that wait for the driver; a sender waits when it is full.
const QUEUE: usize = 2048;

/// Messages handled before their facts are committed together: enough to share
/// the disk's synchronisation, few enough that a batch, at 5 to 10 µs each, takes
/// at most some 10 ms.
const BATCH: usize = 1024;

/// Messages kept while the journal cannot be written; the rest wait in the queue.
const BACKLOG: usize = 4096;

/// Entries on their way from the journal to the scheduler while it is restored.
const REPLAY_QUEUE: usize = 1024;

/// A snapshot is due when the facts since the last one are this share of its
/// entries: of a million tiles, 62,500 facts. While a job grows, each of its
/// tiles is then written into at most 1 + 16 snapshots, 1.6 KB in all, and the
/// tile's own file is many times that.
const SNAPSHOT_SHARE: u64 = 16;

/// Stopping waits for a snapshot of this share of the facts for which one is due:
/// of 65,536, 4096, and fewer are replayed in some ten milliseconds.
const STOP_SHARE: u64 = 16;

/// How long stopping waits for a snapshot; one of a million tiles takes a few
/// seconds on a slow disk. What is written by then is thrown away.
const LONGEST_STOP: Duration = Duration::from_secs(10);

/// First pause before the journal is tried again; doubles to the longest.
const RETRY_MIN: Duration = Duration::from_millis(50);
/// Longest pause before the journal is tried again.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Messages to a node that has not read them yet: twice the most leases that
/// 64 lanes hold. One that lets so many pile up is not reading.
pub(crate) const OUTBOX: usize = 8192;

/// A node's connection as the driver sees it.
struct Connection {
    number: u64,
    shader_digest: BlobDigest,
    outbox: mpsc::Sender<ToNode>,
    /// Jobs whose spec went over this connection, latest granted last. Half as
    /// many as a node remembers, so that it has not forgotten one of these.
    described: VecDeque<JobId>,
}

type Assembled = (JobId, FrameNumber, Result<BlobDigest, String>);

/// The driver's state; see the module's documentation.
pub(crate) struct Driver<J> {
    scheduler: Scheduler,
    journal: J,
    inbox: mpsc::Receiver<Message>,
    /// Taken from the inbox while the journal was stuck.
    backlog: VecDeque<Message>,
    connections: HashMap<NodeId, Connection>,
    /// Whoever waits for the answer to a request.
    waiting: BTreeMap<u64, oneshot::Sender<Reply>>,
    next_request: u64,
    clock: Clock,
    assembler: Assembler,
    assemblies: JoinSet<Assembled>,
    /// Complete frames that wait for an assembler: at most those that are open.
    complete: VecDeque<(JobId, FrameNumber)>,
    assembling: BTreeSet<(JobId, FrameNumber)>,
    /// Those of them that an assembler has.
    running: BTreeSet<(JobId, FrameNumber)>,
    /// Those of them that changed since: what the assembler makes is not theirs.
    outdated: BTreeSet<(JobId, FrameNumber)>,
    changes: watch::Sender<u64>,
    trouble: watch::Sender<Option<String>>,
    stop: CancellationToken,
    specs_per_node: usize,
    /// The fewest facts for which a snapshot is made.
    facts_per_snapshot: u64,
    /// Facts committed since the last snapshot, or the last attempt at one.
    facts_since_snapshot: u64,
    /// Whether all that the scheduler recorded is committed.
    settled: bool,
    /// At most one.
    compactions: JoinSet<Result<(), JournalError>>,
}

/// What assembly needs.
#[derive(Clone)]
pub(crate) struct Assembler {
    pub(crate) blobs: Arc<BlobStore>,
    pub(crate) frames: FrameFolder,
    pub(crate) at_once: usize,
    /// Whether frames without pixels are delivered without a file.
    pub(crate) takes_empty_tiles: bool,
}

impl Assembler {
    fn assemble(&self, frame: &Frame) -> Result<BlobDigest, AssembleError> {
        match empty::pixel_digest(frame).filter(|_| self.takes_empty_tiles) {
            Some(digest) => Ok(digest),
            None => assemble::assemble(frame, &self.blobs, &self.frames),
        }
    }
}

impl<J: Journal> Driver<J> {
    /// Restores the scheduler from the journal and makes the driver around it.
    pub(crate) async fn restore(
        mut journal: J,
        limits: Limits,
        assembler: Assembler,
        facts_per_snapshot: u64,
        stop: CancellationToken,
    ) -> Result<(Self, DriverHandle), JournalError> {
        let specs_per_node = limits.specs_per_node;
        let epoch = journal.begin_life().await?;
        let (scheduler, facts_since_snapshot) = replay(&mut journal, limits, epoch).await?;
        let (sender, inbox) = mpsc::channel(QUEUE);
        let (changes, changed) = watch::channel(0);
        let (trouble, troubled) = watch::channel(None);
        let clock = Clock::start();
        let driver = Self {
            scheduler,
            journal,
            inbox,
            backlog: VecDeque::new(),
            connections: HashMap::new(),
            waiting: BTreeMap::new(),
            next_request: 0,
            clock,
            assembler,
            assemblies: JoinSet::new(),
            complete: VecDeque::new(),
            assembling: BTreeSet::new(),
            running: BTreeSet::new(),
            outdated: BTreeSet::new(),
            changes,
            trouble,
            stop,
            specs_per_node,
            facts_per_snapshot,
            facts_since_snapshot,
            settled: true,
            compactions: JoinSet::new(),
        };
        Ok((driver, DriverHandle::new(sender, changed, troubled, clock)))
    }

    /// Runs until stopped. Everything that was acknowledged is in the journal
    /// at every moment, so stopping is dropping, but for a snapshot that makes
    /// the next start quicker.
    pub(crate) async fn run(mut self) {
        self.tell(Command::Tick);
        self.perform_effects().await;
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            let pause = self.until_timeout();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(assembled) = self.assemblies.join_next() => {
                    if let Ok(assembled) = assembled {
                        self.finish_assembly(assembled);
                    }
                    self.perform_effects().await;
                }
                Some(outcome) = self.compactions.join_next() => report_compaction(outcome),
                message = next_message(&mut self.backlog, &mut self.inbox) => {
                    let Some(message) = message else { break };
                    self.take_batch(message).await;
                }
                () = tokio::time::sleep(pause) => {
                    self.tell(Command::Tick);
                    self.perform_effects().await;
                }
            }
        }
        if tokio::time::timeout(LONGEST_STOP, self.compact_at_stop()).await.is_err() {
            tracing::info!("no snapshot was made in time; the next start replays the facts");
        }
    }

    /// Starts a snapshot if enough happened since the last one.
    fn compact_if_due(&mut self) {
        if self.facts_since_snapshot < self.facts_per_snapshot || !self.compactions.is_empty() {
            return;
        }
        let entries = self.scheduler.state().snapshot_entries();
        if self.facts_since_snapshot >= entries / SNAPSHOT_SHARE {
            self.compact();
        }
    }

    /// Starts a snapshot. Only the copy of the state is made here, the rest
    /// beside the driver.
    fn compact(&mut self) {
        self.facts_since_snapshot = 0;
        let compaction = self.journal.compact(self.scheduler.state().clone());
        self.compactions.spawn(compaction);
    }

    async fn compact_at_stop(&mut self) {
        let enough = self.facts_since_snapshot > self.facts_per_snapshot / STOP_SHARE;
        if enough && self.settled && self.compactions.is_empty() {
            self.compact();
        }
        while let Some(outcome) = self.compactions.join_next().await {
            report_compaction(outcome);
        }
    }

    fn tell(&mut self, command: Command) {
        let now = self.clock.now();
        self.scheduler.handle(now, command);
    }

    fn until_timeout(&mut self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(60);
        let now = self.clock.now();
        self.scheduler.poll_timeout().map_or(LONGEST, |at| at.since(now).min(LONGEST))
    }

    /// Handles a message and those that are already waiting behind it, commits
    /// what they caused, and then looks at the state for whoever asked to.
    async fn take_batch(&mut self, first: Message) {
        let mut looks = Vec::new();
        let mut next = Some(first);
        for _ in 0..BATCH {
            let Some(message) = next.take() else { break };
            if let Message::Look(look) = message {
                looks.push(look);
            } else {
                self.take(message);
            }
            next = self.backlog.pop_front().or_else(|| self.inbox.try_recv().ok());
        }
        if let Some(message) = next {
            self.backlog.push_front(message);
        }
        self.perform_effects().await;
        if !self.settled {
            return; // Stopped: what was not committed is not to be seen.
        }
        for look in looks {
            look(&self.scheduler);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Tell(command) => self.tell(command),
            Message::Ask { ask, reply } => {
                let request = self.next_request;
                self.next_request += 1;
                self.waiting.insert(request, reply);
                self.tell(ask.into_command(request));
            }
            Message::Join(joining) => self.join(joining),
            Message::Leave { node, connection } => self.leave(node, connection),
            Message::Look(look) => look(&self.scheduler),
        }
    }

    fn join(&mut self, joining: Joining) {
        let Joining { node, lanes, shader_digest, equipment, holding, connection, outbox } = joining;
        let welcome = ToNode::Welcome { version: env!("CARGO_PKG_VERSION").to_owned(), node };
        if outbox.try_send(welcome).is_err() {
            return; // The connection ended before it was greeted.
        }
        let described = VecDeque::new();
        let fresh = Connection { number: connection, shader_digest, outbox, described };
        // An earlier connection's outbox is dropped here, which closes it.
        self.connections.insert(node, fresh);
        for job in holding.iter().map(|held| held.tile.job).collect::<BTreeSet<_>>() {
            self.describe(node, job);
        }
        self.tell(Command::JoinNode { node, lanes, equipment, holding });
    }

    fn leave(&mut self, node: NodeId, connection: u64) {
        if self.connections.get(&node).is_some_and(|current| current.number == connection) {
            self.connections.remove(&node);
            self.tell(Command::LeaveNode(node));
        }
    }

    /// Commits what the scheduler recorded, then performs its other effects,
    /// until it wants nothing more.
    async fn perform_effects(&mut self) {
        self.settled = false;
        loop {
            let effects: Vec<Effect> = std::iter::from_fn(|| self.scheduler.poll_effect()).collect();
            if effects.is_empty() {
                break;
            }
            let (records, effects): (Vec<_>, Vec<_>) =
                effects.into_iter().partition(|effect| matches!(effect, Effect::Record(_)));
            let facts: Vec<Fact> = records.into_iter().filter_map(recorded).collect();
            if !facts.is_empty() && !self.commit(&facts).await {
                return; // Stopped; nothing of this batch was acknowledged.
            }
            for effect in effects {
                self.perform(effect);
            }
            self.start_assemblies();
            self.changes.send_modify(|count| *count += 1);
        }
        self.settled = true;
        self.compact_if_due();
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Record(_) => unreachable!("records were committed before"),
            Effect::Answer { request, answer } => {
                if let Some(reply) = self.waiting.remove(&request) {
                    // Whoever asked may be gone; the answer stands without them.
                    let _ = reply.send(answer.map_err(Refusal::from));
                }
            }
            Effect::Settle { node, lease, verdict } => {
                self.send(node, ToNode::Settled { lease, verdict: told(verdict) });
            }
            Effect::Grant { node, lease } => self.grant(node, lease),
            Effect::Revoke { node, lease } => self.send(node, ToNode::Revoked { lease }),
            Effect::Assemble { job, frame } => {
                if self.assembling.insert((job, frame)) {
                    self.complete.push_back((job, frame));
                } else if self.running.contains(&(job, frame)) {
                    self.outdated.insert((job, frame));
                }
            }
        }
    }

    /// Sends a lease, unless the node renders with other shaders than the job
    /// is pinned to; the scheduler then keeps the job from it.
    fn grant(&mut self, node: NodeId, lease: Lease) {
        let wanted = self.scheduler.spec(lease.tile.job).map(|spec| spec.shader_digest);
        let has = self.connections.get(&node).map(|connection| connection.shader_digest);
        if wanted.is_some() && has.is_some() && wanted != has {
            let message = "it renders with other shaders than the job is pinned to".to_owned();
            let (lease, kind) = (lease.id, FailureKind::Incompatible);
            return self.tell(Command::ReportFailure { node, lease, kind, message });
        }
        self.describe(node, lease.tile.job);
        self.send(node, ToNode::Granted { lease });
    }

    /// Sends a job's spec unless the node has it from this connection.
    fn describe(&mut self, node: NodeId, job: JobId) {
        let Some(connection) = self.connections.get_mut(&node) else { return };
        if connection.described.back() == Some(&job) {
            return;
        }
        let known = connection.described.iter().position(|described| *described == job);
        if let Some(place) = known {
            connection.described.remove(place);
            connection.described.push_back(job);
            return;
        }
        let Some(spec) = self.scheduler.spec(job).cloned() else { return };
        connection.described.push_back(job);
        if connection.described.len() > self.specs_per_node.div_ceil(2) {
            connection.described.pop_front();
        }
        self.send(node, ToNode::Job { job, spec: Box::new(spec) });
    }

    /// Sends to a node without waiting. One whose outbox is full does not read:
    /// it is let go, and its work returned.
    fn send(&mut self, node: NodeId, message: ToNode) {
        let Some(connection) = self.connections.get(&node) else { return };
        if connection.outbox.try_send(message).is_err() {
            tracing::warn!(%node, "the node does not read its messages; letting it go");
            self.connections.remove(&node);
            self.tell(Command::LeaveNode(node));
        }
    }

    /// Appends facts, for as long as it takes. Returns false when stopped
    /// before it succeeded.
    async fn commit(&mut self, facts: &[Fact]) -> bool {
        let mut pause = RETRY_MIN;
        while let Err(error) = self.journal.append(facts).await {
            tracing::error!(%error, "nothing goes on until the journal can be written");
            self.trouble.send_replace(Some(error.to_string()));
            if !self.wait_refusing(pause, &error.to_string()).await {
                return false;
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
        self.facts_since_snapshot += facts.len() as u64;
        if self.trouble.send_replace(None).is_some() {
            tracing::info!("the journal can be written again");
        }
        true
    }

    /// Waits; new jobs that arrive meanwhile are refused, everything else is
    /// kept for later. Returns false when stopped.
    async fn wait_refusing(&mut self, pause: Duration, reason: &str) -> bool {
        let end = tokio::time::sleep(pause);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return false,
                () = &mut end => return true,
                message = self.inbox.recv(), if self.backlog.len() < BACKLOG => match message {
                    None => return false,
                    Some(Message::Ask { ask: Ask::Submit(..), reply }) => {
                        let _ = reply.send(Err(Refusal::stuck(reason)));
                    }
                    Some(message) => self.backlog.push_back(message),
                },
            }
        }
    }

    fn start_assemblies(&mut self) {
        while self.assemblies.len() < self.assembler.at_once {
            let Some((job, number)) = self.complete.pop_front() else { return };
            let tiles = self.scheduler.accepted(job, number);
            let spec = self.scheduler.spec(job).filter(|_| !tiles.is_empty()).cloned();
            let Some(spec) = spec else {
                self.assembling.remove(&(job, number)); // The job was cancelled.
                continue;
            };
            let kept = self.scheduler.kept(job, number);
            let frame = Frame { job, number, spec, tiles, kept };
            self.running.insert((job, number));
            let assembler = self.assembler.clone();
            self.assemblies.spawn(async move {
                let work = move || assembler.assemble(&frame);
                let result = tokio::task::spawn_blocking(work).await;
                (job, number, flatten(result))
            });
        }
    }

    fn finish_assembly(&mut self, (job, frame, result): Assembled) {
        self.running.remove(&(job, frame));
        if self.outdated.remove(&(job, frame)) {
            self.complete.push_back((job, frame));
            return self.start_assemblies();
        }
        self.assembling.remove(&(job, frame));
        match result {
            Ok(pixel_digest) => {
                tracing::info!(%job, %frame, %pixel_digest, "frame delivered");
                self.tell(Command::ReportFrame { job, frame, pixel_digest });
            }
            Err(message) => {
                tracing::error!(%job, %frame, message, "the frame cannot be assembled");
                self.tell(Command::ReportFrameFailure { job, frame, message });
            }
        }
        self.start_assemblies();
    }
}

/// A verdict as it travels.
fn told(verdict: farm_core::scheduler::Verdict) -> Verdict {
    use farm_core::scheduler::Verdict as Decided;
    match verdict {
        Decided::Accepted => Verdict::Accepted,
        Decided::Duplicate => Verdict::Duplicate,
        Decided::Rejected { reason } => Verdict::Rejected { reason },
    }
}

fn recorded(effect: Effect) -> Option<Fact> {
    match effect {
        Effect::Record(fact) => Some(fact),
        _ => None,
    }
}

fn flatten(
    result: Result<Result<BlobDigest, AssembleError>, tokio::task::JoinError>,
) -> Result<BlobDigest, String> {
    match result {
        Ok(Ok(digest)) => Ok(digest),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(format!("the assembler broke off: {error}")),
    }
}

async fn next_message(
    backlog: &mut VecDeque<Message>,
    inbox: &mut mpsc::Receiver<Message>,
) -> Option<Message> {
    match backlog.pop_front() {
        Some(message) => Some(message),
        None => inbox.recv().await,
    }
}

/// Streams the journal's entries into a scheduler; also says how many of them
/// are facts. Replaying computes without waiting, so it has a thread of its own.
async fn replay<J: Journal>(
    journal: &mut J,
    limits: Limits,
    epoch: u32,
) -> Result<(Scheduler, u64), JournalError> {
    let (sender, mut entries) = mpsc::channel(REPLAY_QUEUE);
    let restoring = tokio::task::spawn_blocking(move || {
        let mut facts = 0;
        let entries = std::iter::from_fn(|| entries.blocking_recv())
            .inspect(|entry| facts += u64::from(matches!(entry, Entry::Fact(_))));
        let state = State::restore(entries, &limits)?;
        Ok((Scheduler::resume(state, limits, epoch), facts))
    });
    journal.replay(sender).await?;
    restoring.await.expect("restoring from decoded entries does not panic")
}

/// A snapshot that failed costs nothing but the time of the next start.
fn report_compaction(outcome: Result<Result<(), JournalError>, tokio::task::JoinError>) {
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "no snapshot of the journal; trying again later"),
        Err(error) => tracing::error!(%error, "making a snapshot of the journal broke off"),
    }
}

#[cfg(test)]
mod tests;
