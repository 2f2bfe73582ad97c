use std::sync::Mutex;

use farm_core::scheduler::Answer;
use farm_core::{JobSpec, LeaseId, OwnerId};
use futures_util::future::BoxFuture;

use super::*;
use crate::testing::spec;

/// A journal in memory that can be made to fail.
#[derive(Clone, Default)]
struct Memory {
    facts: Arc<Mutex<Vec<Fact>>>,
    /// Each snapshot: how many facts there were, and its state.
    snapshots: Arc<Mutex<Vec<(usize, State)>>>,
    /// While set, appending fails and says so here.
    broken: Arc<Mutex<Option<mpsc::UnboundedSender<()>>>>,
}

impl Memory {
    fn break_down(&self) -> mpsc::UnboundedReceiver<()> {
        let (sender, attempts) = mpsc::unbounded_channel();
        *self.broken.lock().expect("no test panicked") = Some(sender);
        attempts
    }

    fn heal(&self) {
        *self.broken.lock().expect("no test panicked") = None;
    }

    fn count(&self) -> usize {
        self.facts.lock().expect("no test panicked").len()
    }
}

impl Journal for Memory {
    async fn begin_life(&mut self) -> Result<u32, JournalError> {
        Ok(1)
    }

    async fn replay(&mut self, entries: mpsc::Sender<Entry>) -> Result<(), JournalError> {
        let known = self.facts.lock().expect("no test panicked").clone();
        for fact in known {
            entries.send(Entry::Fact(fact)).await.expect("the scheduler takes every fact");
        }
        Ok(())
    }

    fn compact(&self, state: State) -> BoxFuture<'static, Result<(), JournalError>> {
        self.snapshots.lock().expect("no test panicked").push((self.count(), state));
        Box::pin(async { Ok(()) })
    }

    async fn append(&mut self, facts: &[Fact]) -> Result<(), JournalError> {
        if let Some(attempts) = &*self.broken.lock().expect("no test panicked") {
            let _ = attempts.send(());
            return Err(JournalError::Write(sqlx::Error::WorkerCrashed));
        }
        self.facts.lock().expect("no test panicked").extend_from_slice(facts);
        Ok(())
    }
}

/// A running driver.
struct Running {
    handle: DriverHandle,
    stop: CancellationToken,
    driver: tokio::task::JoinHandle<()>,
    _root: tempfile::TempDir,
}

async fn start(journal: Memory) -> Running {
    start_compacting(journal, u64::MAX).await
}

async fn start_compacting(journal: Memory, facts_per_snapshot: u64) -> Running {
    let root = tempfile::tempdir().expect("a temporary folder");
    let blobs = BlobStore::open(&root.path().join("blobs"), 1 << 20).expect("it opens");
    let frames = FrameFolder::new(root.path().join("frames"));
    let assembler = Assembler { blobs: Arc::new(blobs), frames, at_once: 1, takes_empty_tiles: false };
    let stop = CancellationToken::new();
    let limits = Limits::default();
    let restored = Driver::restore(journal, limits, assembler, facts_per_snapshot, stop.clone()).await;
    let (driver, handle) = restored.expect("the journal is in memory");
    let driver = tokio::spawn(driver.run());
    Running { handle, stop, driver, _root: root }
}

impl Running {
    fn submit(&self) -> tokio::task::JoinHandle<Reply> {
        let (handle, spec) = (self.handle.clone(), Box::new(spec(64, 64, 32, 16)));
        tokio::spawn(async move { handle.ask(Ask::Submit(spec, OwnerId(1), None)).await })
    }

    async fn join(&self, connection: u64, shader_digest: BlobDigest) -> mpsc::Receiver<ToNode> {
        let (outbox, letters) = mpsc::channel(64);
        let (node, lanes, holding) = (NodeId(7), 1, Vec::new());
        let equipment = Default::default();
        let joining = Joining { node, lanes, shader_digest, equipment, holding, connection, outbox };
        self.handle.join(joining).await;
        letters
    }

    async fn nodes(&self) -> Vec<(NodeId, u32)> {
        let look = |scheduler: &Scheduler| scheduler.nodes().map(|view| (view.node, view.leases)).collect();
        self.handle.look(look).await.expect("the driver runs")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn shaders(spec: &JobSpec) -> BlobDigest {
    spec.shader_digest
}

#[tokio::test]
async fn nothing_is_answered_before_it_is_committed() {
    let journal = Memory::default();
    let running = start(journal.clone()).await;
    let mut attempts = journal.break_down();
    let first = running.submit();
    attempts.recv().await.expect("it tries");
    attempts.recv().await.expect("it tries again");
    assert!(!first.is_finished());
    let refused = running.submit().await.expect("asking does not panic").expect_err("it is stuck");
    assert!(refused.reason.contains("cannot be written"), "{}", refused.reason);
    assert!(!first.is_finished());
    journal.heal();
    let answer = first.await.expect("asking does not panic");
    assert_eq!(answer, Ok(Answer::Submitted(JobId(1))));
    assert_eq!(journal.count(), 1);
}

#[tokio::test]
async fn what_arrives_while_the_journal_is_stuck_is_done_later() {
    let journal = Memory::default();
    let running = start(journal.clone()).await;
    let mut attempts = journal.break_down();
    let first = running.submit();
    attempts.recv().await.expect("it tries");
    let mut letters = running.join(1, shaders(&spec(64, 64, 32, 16))).await;
    attempts.recv().await.expect("it tries again");
    assert!(letters.try_recv().is_err(), "nothing is sent before the commit");
    journal.heal();
    assert!(first.await.expect("asking does not panic").is_ok());
    assert!(matches!(letters.recv().await, Some(ToNode::Welcome { .. })));
    assert!(matches!(letters.recv().await, Some(ToNode::Job { .. })));
    assert!(matches!(letters.recv().await, Some(ToNode::Granted { .. })));
}

#[tokio::test]
async fn restart_goes_on_from_the_facts() {
    let journal = Memory::default();
    let running = start(journal.clone()).await;
    running.submit().await.expect("asking does not panic").expect("there is room");
    drop(running);
    let running = start(journal).await;
    let jobs = running.handle.look(|scheduler| scheduler.jobs().count()).await;
    assert_eq!(jobs, Ok(1));
}

/// What the first `count` facts of a journal add up to.
fn state_of(journal: &Memory, count: usize) -> State {
    let facts = journal.facts.lock().expect("no test panicked")[..count].to_vec();
    State::restore(facts.into_iter().map(Entry::Fact), &Limits::default()).expect("there is no snapshot")
}

#[tokio::test]
async fn snapshots_are_made_when_due_of_what_is_committed() {
    let journal = Memory::default();
    let running = start_compacting(journal.clone(), 3).await;
    for _ in 0..7 {
        running.submit().await.expect("asking does not panic").expect("there is room");
        running.nodes().await;
    }
    // What was made is noted before another is due.
    let snapshots = journal.snapshots.lock().expect("no test panicked").clone();
    assert_eq!(snapshots.iter().map(|(count, _)| *count).collect::<Vec<_>>(), [3, 6]);
    for (count, state) in snapshots {
        assert_eq!(state, state_of(&journal, count));
    }
}

#[tokio::test]
async fn stopping_makes_a_snapshot_unless_something_is_not_committed() {
    for (facts, stuck, snapshots) in [(2, false, 0), (3, false, 1), (3, true, 0)] {
        let journal = Memory::default();
        let mut running = start_compacting(journal.clone(), 32).await;
        for _ in 0..facts {
            running.submit().await.expect("asking does not panic").expect("there is room");
        }
        let mut attempts = journal.break_down();
        let submitting = stuck.then(|| running.submit());
        if stuck {
            attempts.recv().await.expect("it tries");
        }
        running.stop.cancel();
        (&mut running.driver).await.expect("the driver does not panic");
        let made = journal.snapshots.lock().expect("no test panicked").clone();
        assert_eq!(made.len(), snapshots, "{facts} facts, stuck: {stuck}");
        assert!(made.into_iter().all(|(count, state)| state == state_of(&journal, count)));
        if let Some(submitting) = submitting {
            assert!(submitting.await.expect("asking does not panic").is_err());
        }
    }
}

#[tokio::test]
async fn job_is_described_once_and_before_its_leases() {
    let running = start(Memory::default()).await;
    running.submit().await.expect("asking does not panic").expect("there is room");
    let mut letters = running.join(1, shaders(&spec(64, 64, 32, 16))).await;
    let mut described = 0;
    let mut granted = 0;
    assert!(matches!(letters.recv().await, Some(ToNode::Welcome { node: NodeId(7), .. })));
    while granted < 3 {
        match letters.recv().await.expect("the connection stays") {
            ToNode::Job { job: JobId(1), .. } => described += 1,
            ToNode::Granted { lease } => {
                assert_eq!((described, lease.tile.job), (1, JobId(1)));
                granted += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(described, 1);
}

#[tokio::test]
async fn node_with_other_shaders_gets_no_lease_of_the_job() {
    let running = start(Memory::default()).await;
    running.submit().await.expect("asking does not panic").expect("there is room");
    let mut letters = running.join(1, BlobDigest([99; 32])).await;
    assert!(matches!(letters.recv().await, Some(ToNode::Welcome { .. })));
    // Looking comes after joining and everything that follows from it.
    assert_eq!(running.nodes().await, [(NodeId(7), 0)]);
    assert!(letters.try_recv().is_err());
    let trouble = running.handle.look(|s| s.job(JobId(1)).map(|view| view.explanation)).await;
    let trouble = trouble.expect("the driver runs").expect("the job is there");
    assert!(trouble.contains("shaders"), "{trouble}");
}

#[tokio::test]
async fn end_of_a_replaced_connection_takes_nothing_away() {
    let running = start(Memory::default()).await;
    let digest = shaders(&spec(64, 64, 32, 16));
    let mut old = running.join(1, digest).await;
    let mut new = running.join(2, digest).await;
    assert!(matches!(old.recv().await, Some(ToNode::Welcome { .. })));
    assert_eq!(old.recv().await, None, "the old connection is let go");
    running.handle.leave(NodeId(7), 1).await;
    assert_eq!(running.nodes().await.len(), 1);
    assert!(matches!(new.recv().await, Some(ToNode::Welcome { .. })));
    running.handle.leave(NodeId(7), 2).await;
    assert_eq!(running.nodes().await, []);
}

#[tokio::test]
async fn failure_of_an_unknown_lease_is_harmless() {
    let running = start(Memory::default()).await;
    let (node, lease) = (NodeId(1), LeaseId(1));
    let (kind, message) = (FailureKind::Render, String::new());
    running.handle.tell(Command::ReportFailure { node, lease, kind, message }).await;
    assert_eq!(running.nodes().await, []);
}
