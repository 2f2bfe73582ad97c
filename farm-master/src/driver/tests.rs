use std::sync::Mutex;

use farm_core::scheduler::Answer;
use farm_core::{JobSpec, LeaseId};

use super::*;
use crate::testing::spec;

/// A journal in memory that can be made to fail.
#[derive(Clone, Default)]
struct Memory {
    facts: Arc<Mutex<Vec<Fact>>>,
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

    async fn replay(&mut self, facts: mpsc::Sender<Fact>) -> Result<(), JournalError> {
        let known = self.facts.lock().expect("no test panicked").clone();
        for fact in known {
            facts.send(fact).await.expect("the scheduler takes every fact");
        }
        Ok(())
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
    _root: tempfile::TempDir,
}

async fn start(journal: Memory) -> Running {
    let root = tempfile::tempdir().expect("a temporary folder");
    let blobs = BlobStore::open(&root.path().join("blobs"), 1 << 20).expect("it opens");
    let frames = FrameFolder::new(root.path().join("frames"));
    let assembler = Assembler { blobs: Arc::new(blobs), frames, at_once: 1 };
    let stop = CancellationToken::new();
    let restored = Driver::restore(journal, Limits::default(), assembler, stop.clone()).await;
    let (driver, handle) = restored.expect("the journal is in memory");
    tokio::spawn(driver.run());
    Running { handle, stop, _root: root }
}

impl Running {
    fn submit(&self) -> tokio::task::JoinHandle<Reply> {
        let (handle, spec) = (self.handle.clone(), Box::new(spec(64, 64, 32, 16)));
        tokio::spawn(async move { handle.ask(Ask::Submit(spec)).await })
    }

    async fn join(&self, connection: u64, shader_digest: BlobDigest) -> mpsc::Receiver<ToNode> {
        let (outbox, letters) = mpsc::channel(64);
        let (node, lanes, holding) = (NodeId(7), 1, Vec::new());
        let joining = Joining { node, lanes, shader_digest, holding, connection, outbox };
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
