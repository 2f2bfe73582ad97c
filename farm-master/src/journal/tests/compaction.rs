//! Claims about snapshots in the place of facts.

use std::pin::pin;
use std::task::Poll;

use farm_core::scheduler::FailureKind;
use farm_core::{BlockRange, Limits, NodeId, RectIndex, TileId, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::testing::spec;

/// A journal with every fact that was appended to it.
struct Kept {
    _folder: tempfile::TempDir,
    path: PathBuf,
    journal: SqliteJournal,
    facts: Vec<Fact>,
}

impl Kept {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal.sqlite");
        let journal = SqliteJournal::open(&path).await.expect("it opens");
        Self { _folder: folder, path, journal, facts: Vec::new() }
    }

    async fn append(&mut self, facts: &[Fact]) {
        self.journal.append(facts).await.expect("there is room");
        self.facts.extend_from_slice(facts);
    }

    /// Appends a fact unless it can only happen once and did: a job is submitted
    /// and a tile accepted once.
    async fn append_once(&mut self, fact: Fact) {
        let once = matches!(fact, Fact::JobSubmitted { .. } | Fact::TileAccepted { .. });
        if !once || !self.facts.contains(&fact) {
            self.append(&[fact]).await;
        }
    }

    /// What all facts add up to.
    fn state(&self) -> State {
        let entries = self.facts.iter().cloned().map(Entry::Fact);
        State::restore(entries, &Limits::default()).expect("there is no snapshot")
    }

    async fn compact(&self) {
        self.journal.compact(self.state()).await.expect("there is room");
    }

    /// Lets a compaction run until it was woken `most` times, and then drops it,
    /// as the end of the process would. Whether it was done.
    async fn compact_in_part(&self, most: usize) -> bool {
        let mut compaction = pin!(self.journal.compact(self.state()));
        let mut polls = 0;
        std::future::poll_fn(|context| {
            polls += 1;
            match compaction.as_mut().poll(context) {
                Poll::Ready(outcome) => Poll::Ready(outcome.is_ok()),
                Poll::Pending if polls >= most => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    async fn reopen(&mut self) {
        self.journal = SqliteJournal::open(&self.path).await.expect("it opens again");
    }

    async fn entries(&self) -> Vec<Entry> {
        entries(&self.path).await.expect("it is undamaged")
    }

    /// What the file says of the farm, in a new life.
    async fn restored(&self) -> State {
        let entries = self.entries().await;
        State::restore(entries, &Limits::default()).expect("it holds together")
    }

    async fn execute(&mut self, statement: &'static str) {
        let connection = self.journal.connection().await.expect("it is open");
        sqlx::query(statement).execute(connection).await.expect("the statement is right");
    }

    async fn rows(&mut self, table: &'static str) -> i64 {
        let connection = self.journal.connection().await.expect("it is open");
        let count = match table {
            "facts" => sqlx::query_scalar("SELECT COUNT(*) FROM facts"),
            "snapshots" => sqlx::query_scalar("SELECT COUNT(*) FROM snapshots"),
            _ => sqlx::query_scalar("SELECT COUNT(*) FROM snapshot_parts"),
        };
        count.fetch_one(connection).await.expect("the table is there")
    }
}

fn submitted(job: u64) -> Fact {
    // 4 × 3 rectangles of 4 base blocks.
    Fact::JobSubmitted {
        job: JobId(job),
        at: Timestamp(job),
        spec: Box::new(spec(64, 48, 16, 64)),
        owner: None,
    }
}

fn accepted(job: u64, rect: u32, block: u32) -> Fact {
    let range = BlockRange { level: 0, index: block };
    let tile = TileId { job: JobId(job), frame: FrameNumber(1), rect: RectIndex(rect), range };
    let blob = BlobDigest([u8::try_from(rect * 4 + block).expect("it is below 48"); 32]);
    Fact::TileAccepted { tile, node: NodeId(job), blob, rays: 3, render_us: 5 }
}

/// Job 1 with 48 tiles, all that it has.
fn whole_job() -> Vec<Fact> {
    let tiles = (0..12).flat_map(|rect| (0..4).map(move |block| accepted(1, rect, block)));
    std::iter::once(submitted(1)).chain(tiles).collect()
}

#[tokio::test]
async fn snapshot_takes_the_place_of_the_facts_before_it() {
    let mut kept = Kept::new().await;
    kept.append(&whole_job()).await;
    kept.compact().await;
    assert!(kept.entries().await.iter().all(|entry| matches!(entry, Entry::Snapshot(_))));
    assert_eq!(kept.rows("facts").await, 1, "the one that older programs stumble over");
    assert_eq!(kept.restored().await, kept.state());
    kept.append(&[submitted(2), accepted(2, 0, 0)]).await;
    kept.reopen().await;
    kept.append(&[fact(2)]).await;
    assert_eq!(kept.restored().await, kept.state());
    kept.compact().await;
    assert_eq!(kept.restored().await, kept.state());
    assert_eq!((kept.rows("facts").await, kept.rows("snapshots").await), (1, 1));
}

#[tokio::test]
async fn compaction_that_ends_anywhere_loses_nothing() {
    let mut kept = Kept::new().await;
    kept.append(&whole_job()).await;
    let mut polls = 1;
    while !kept.compact_in_part(polls).await {
        assert_eq!(kept.restored().await, kept.state(), "it was woken {polls} times");
        let job = u64::try_from(polls).expect("it is small") + 1;
        kept.append(&[submitted(job), accepted(job, 1, 2)]).await;
        kept.reopen().await;
        assert_eq!(kept.restored().await, kept.state(), "it was woken {polls} times");
        // The steps are few, each with several wakes.
        polls += 1 + polls / 8;
    }
    kept.compact().await;
    let parts = i64::try_from(kept.state().snapshot().count()).expect("it is small");
    assert_eq!(kept.rows("snapshot_parts").await, parts, "what was left over is removed");
    assert_eq!(kept.rows("facts").await, 1);
}

#[tokio::test]
async fn appends_go_through_while_a_snapshot_is_made() {
    let mut kept = Kept::new().await;
    kept.append(&whole_job()).await;
    let compaction = tokio::spawn(kept.journal.compact(kept.state()));
    for job in 2..40 {
        kept.append(&[submitted(job)]).await;
    }
    compaction.await.expect("it does not panic").expect("there is room");
    assert_eq!(kept.restored().await, kept.state());
}

#[tokio::test]
async fn damage_to_a_snapshot_is_found() {
    let check = async |damage, part| {
        let mut kept = Kept::new().await;
        kept.append(&whole_job()).await;
        kept.compact().await;
        kept.execute(damage).await;
        let error = entries(&kept.path).await.expect_err("damage is found");
        let found =
            matches!(error, JournalError::DamagedSnapshot { position: 49, part: at, .. } if at == part);
        assert!(found, "{damage}: {error}");
    };
    check("UPDATE snapshot_parts SET payload = zeroblob(3) WHERE part = 1", 1).await;
    let twice = "UPDATE snapshot_parts SET payload = (SELECT payload FROM snapshot_parts WHERE part = 0)";
    check(twice, 1).await;
    check("DELETE FROM snapshot_parts WHERE part = 0", 0).await;
    check("DELETE FROM snapshot_parts WHERE part = 1", 1).await;
    check("UPDATE snapshot_parts SET part = 1 - part + 10", 0).await;
}

#[tokio::test]
async fn lost_snapshot_is_not_taken_for_an_empty_farm() {
    let mut kept = Kept::new().await;
    kept.append(&whole_job()).await;
    kept.compact().await;
    kept.execute("DELETE FROM snapshots").await;
    let error = entries(&kept.path).await.expect_err("the facts are gone");
    assert!(matches!(error, JournalError::Missing { sequence: 1 }), "{error}");
}

#[tokio::test]
async fn program_that_knows_no_snapshots_names_the_version_and_not_a_backup() {
    let mut kept = Kept::new().await;
    kept.append(&whole_job()).await;
    kept.compact().await;
    // What such a program reads first.
    let select = "SELECT sequence, version, checksum, payload FROM facts ORDER BY sequence";
    let connection = kept.journal.connection().await.expect("it is open");
    let (sequence, version, stored, payload): (i64, i64, i64, Vec<u8>) =
        sqlx::query_as(select).fetch_one(connection).await.expect("record 1 is there");
    assert_eq!((sequence, version), (1, 2));
    assert_eq!(stored, checksum(1, 2, &payload), "it is not taken for damage");
}

/// Facts of a few jobs, in any order: the state takes them all.
fn any_fact() -> impl Strategy<Value = Fact> {
    let job = 1u64..4;
    let place = (job.clone(), 0u32..12, 0u32..4);
    let tile = |(job, rect, block)| match accepted(job, rect, block) {
        Fact::TileAccepted { tile, .. } => tile,
        other => panic!("{other:?}"),
    };
    prop_oneof![
        2 => job.clone().prop_map(submitted),
        20 => place.clone().prop_map(|(job, rect, block)| accepted(job, rect, block)),
        4 => (place, 1u64..4).prop_map(move |(place, node)| Fact::TileFailed {
            tile: tile(place),
            node: NodeId(node),
            kind: FailureKind::Render,
            message: format!("it broke on {node}"),
        }),
        1 => job.clone().prop_map(fact),
        1 => job.clone().prop_map(|job| Fact::JobPaused { job: JobId(job) }),
        1 => job.clone().prop_map(|job| Fact::JobRetried { job: JobId(job) }),
        1 => job.prop_map(|job| Fact::JobCancelled { job: JobId(job) }),
    ]
}

/// What happens to a journal.
#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Fact>),
    Compact,
    /// A compaction that ends when it was woken so often.
    Break(usize),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(any_fact(), 1..16).prop_map(Step::Append),
        2 => Just(Step::Compact),
        2 => (1usize..40).prop_map(Step::Break),
        1 => Just(Step::Reopen),
    ]
}

#[test]
fn any_history_is_restored_whatever_was_compacted_or_broke_off() {
    let runtime = tokio::runtime::Runtime::new().expect("threads are to be had");
    // Each case opens and synchronises files a few dozen times.
    let config = ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..12))| {
        runtime.block_on(async {
            let mut kept = Kept::new().await;
            for step in steps {
                match step {
                    Step::Append(facts) => {
                        for fact in facts {
                            kept.append_once(fact).await;
                        }
                    }
                    Step::Compact => kept.compact().await,
                    Step::Break(polls) => drop(kept.compact_in_part(polls).await),
                    Step::Reopen => kept.reopen().await,
                }
                prop_assert_eq!(kept.restored().await, kept.state());
            }
            Ok(())
        })?;
    });
}
