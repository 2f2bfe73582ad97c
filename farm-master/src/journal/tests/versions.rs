//! Claims about journals of each version that was ever written.
//!
//! The fixtures are dumps of journals as the program of their time wrote them.
//! They are never changed; what changes the form of a record brings a version
//! and a fixture of its own.

use farm_core::scheduler::{FailureKind, SnapshotPart};
use farm_core::{BlockRange, JobSpec, Limits, Needs, NodeId, OwnerId, RectIndex, TileId, Timestamp};
use sqlx::SqliteConnection;

use super::*;
use crate::testing::spec;

/// Facts alone.
const VERSION_1: &str = include_str!("version-1.sql");

/// A snapshot of all facts of [`history`] but the last two, which follow it.
const VERSION_2: &str = include_str!("version-2.sql");

/// As [`VERSION_2`], with a part of version 3: it has counts of failures.
const SNAPSHOT_3: &str = include_str!("snapshot-3.sql");

/// How many facts the snapshot stands for.
const COVERED: usize = 9;

/// Every kind of fact that version 1 knows.
fn history() -> Vec<Fact> {
    let job = JobId(1);
    let tile = |rect, index| TileId {
        job,
        frame: FrameNumber(1),
        rect: RectIndex(rect),
        range: BlockRange { level: 0, index },
    };
    let blob = |value| BlobDigest([value; 32]);
    let accepted = |tile, value| {
        let node = NodeId(0xfeed_f00d_dead_beef);
        Fact::TileAccepted { tile, node, blob: blob(value), rays: 1 << 40, render_us: 70_000 }
    };
    let failed = |rect, node| Fact::TileFailed {
        tile: tile(rect, 0),
        node: NodeId(node),
        kind: FailureKind::Render,
        message: "the tile is not finite".into(),
    };
    let mut spec = Box::new(spec(64, 48, 32, 32));
    spec.blobs = vec![blob(7), blob(8)];
    vec![
        Fact::JobSubmitted { job, at: Timestamp(1_700_000_000_000), spec: spec.clone(), owner: None },
        Fact::JobSubmitted { job: JobId(2), at: Timestamp(1_700_000_000_001), spec, owner: None },
        failed(2, 3),
        Fact::JobRetried { job },
        failed(3, 4),
        accepted(tile(0, 0), 20),
        Fact::JobPaused { job },
        accepted(tile(0, 1), 21),
        Fact::FrameDelivered { job: JobId(2), frame: FrameNumber(1), pixel_digest: blob(30) },
        Fact::JobResumed { job },
        Fact::JobCancelled { job },
    ]
}

fn state_of(facts: &[Fact]) -> State {
    let entries = facts.iter().cloned().map(Entry::Fact);
    State::restore(entries, &Limits::default()).expect("there is no snapshot")
}

/// A journal made of a fixture.
async fn fixture(text: &'static str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    let mut connection = options(&path).connect().await.expect("it opens");
    sqlx::raw_sql(text).execute(&mut connection).await.expect("the fixture is right");
    connection.close().await.expect("there is room");
    (folder, path)
}

type Record = (i64, i64, i64, Vec<u8>);

async fn records(path: &Path) -> (Vec<Record>, Vec<Record>) {
    let mut connection = options(path).connect().await.expect("it opens");
    async fn all(connection: &mut SqliteConnection, select: &'static str) -> Vec<Record> {
        sqlx::query_as(select).fetch_all(connection).await.expect("the table is there")
    }
    let facts = "SELECT sequence, version, checksum, payload FROM facts ORDER BY sequence";
    let parts = "SELECT part, version, checksum, payload FROM snapshot_parts ORDER BY part";
    (all(&mut connection, facts).await, all(&mut connection, parts).await)
}

/// The history as this program writes it, compacted where the fixture is.
async fn written() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    let mut journal = SqliteJournal::open(&path).await.expect("it opens");
    let history = history();
    let (covered, later) = history.split_at(COVERED);
    journal.append(covered).await.expect("there is room");
    journal.compact(state_of(covered)).await.expect("there is room");
    journal.append(later).await.expect("there is room");
    (folder, path)
}

#[tokio::test]
async fn journal_of_version_1_is_replayed_and_goes_on() {
    let (_folder, path) = fixture(VERSION_1).await;
    assert_eq!(replayed(&path).await.expect("version 1 is known"), history());
    let mut journal = SqliteJournal::open(&path).await.expect("it opens");
    journal.append(&facts(5..6)).await.expect("there is room");
    let all: Vec<Fact> = history().into_iter().chain(facts(5..6)).collect();
    assert_eq!(replayed(&path).await.expect("it is undamaged"), all);
    journal.compact(state_of(&all)).await.expect("there is room");
    let entries = entries(&path).await.expect("it is undamaged");
    assert_eq!(State::restore(entries, &Limits::default()), Ok(state_of(&all)));
}

#[tokio::test]
async fn journal_of_version_2_is_replayed() {
    let (_folder, path) = fixture(VERSION_2).await;
    let entries = entries(&path).await.expect("version 2 is known");
    let facts = entries.iter().filter(|entry| matches!(entry, Entry::Fact(_))).count();
    assert_eq!(facts, history().len() - COVERED);
    assert_eq!(State::restore(entries, &Limits::default()), Ok(state_of(&history())));
}

#[tokio::test]
async fn snapshot_of_version_3_is_replayed() {
    let (_folder, path) = fixture(SNAPSHOT_3).await;
    let entries = entries(&path).await.expect("version 3 is known");
    let counts = entries.iter().filter_map(|entry| match entry {
        Entry::Snapshot(SnapshotPart::FailureCounts { counts, .. }) => Some(counts.len()),
        _ => None,
    });
    assert_eq!(counts.collect::<Vec<_>>(), [1]);
    assert_eq!(State::restore(entries, &Limits::default()), Ok(state_of(&history())));
}

/// If this fails, the form of a record was changed: give it a new version, read
/// the old one too, and add a fixture.
#[tokio::test]
async fn records_are_still_written_as_their_versions_say() {
    let (_folder, path) = written().await;
    let (_fixture, fixture) = fixture(SNAPSHOT_3).await;
    assert_eq!(records(&path).await, records(&fixture).await);
    let (_folder, path) = self::fixture(VERSION_1).await;
    let mut journal = SqliteJournal::open(&path).await.expect("it opens");
    journal.append(&history()).await.expect("there is room");
    let (facts, _) = records(&path).await;
    let payloads = |facts: &[Record]| facts.iter().map(|record| record.3.clone()).collect::<Vec<_>>();
    let (old, new) = facts.split_at(history().len());
    assert_eq!(payloads(old), payloads(new));
}

/// What jobs say since there are weights and needs, as journals have it: at the
/// end of the spec. Other jobs are written as they ever were.
#[tokio::test]
async fn jobs_with_a_weight_or_needs_have_versions_of_their_own() {
    let needs = Needs { tags: vec!["gpu".into()], memory_bytes: 5, download_bytes: 6 };
    let plain = spec(64, 48, 32, 32);
    let bytes = |spec: &JobSpec| farm_wire::codec::encode(spec);
    let (written, header) = (bytes(&plain), bytes(&plain)[0]);
    let weighted: &[u8] = b"\xa6weight\x07";
    let needing: &[u8] = b"\xa5needs\x83\xa4tags\x91\xa3gpu\xacmemory_bytes\x05\xaedownload_bytes\x06";
    for (spec, added) in [
        (JobSpec { weight: 7, ..plain.clone() }, &[weighted][..]),
        (JobSpec { needs: needs.clone(), ..plain.clone() }, &[needing]),
        (JobSpec { weight: 7, needs, ..plain.clone() }, &[weighted, needing]),
    ] {
        let mut expected = written.clone();
        expected[0] = header + u8::try_from(added.len()).expect("two");
        expected.extend(added.concat());
        assert_eq!(bytes(&spec), expected);
        let read: JobSpec = farm_wire::codec::decode(&expected, 1 << 20).expect("it is a spec");
        assert_eq!(read, spec);

        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal.sqlite");
        let mut journal = SqliteJournal::open(&path).await.expect("it opens");
        let submitted = |job, spec: &JobSpec| Fact::JobSubmitted {
            job: JobId(job),
            at: Timestamp(1),
            spec: Box::new(spec.clone()),
            owner: None,
        };
        let facts = [submitted(1, &plain), submitted(2, &spec)];
        journal.append(&facts).await.expect("there is room");
        let versions = |records: &[Record]| records.iter().map(|record| record.1).collect::<Vec<_>>();
        assert_eq!(versions(&records(&path).await.0), [1, 4]);
        assert_eq!(replayed(&path).await.expect("it is undamaged"), facts);
        journal.compact(state_of(&facts)).await.expect("there is room");
        assert_eq!(versions(&records(&path).await.1), [1, 2], "of the snapshot's parts");
        let entries = entries(&path).await.expect("it is undamaged");
        assert_eq!(State::restore(entries, &Limits::default()), Ok(state_of(&facts)));
    }
    let weighted = Fact::JobWeighted { job: JobId(3), weight: 9 };
    let payload = b"\x83\xa4fact\xacjob-weighted\xa3job\x03\xa6weight\x09";
    assert_eq!(farm_wire::codec::encode(&weighted), payload);
    assert_eq!(record::fact_version(&weighted), 4);
}

/// An owner stands at the end of what is written of its job, as journals have it;
/// jobs without one are written as they ever were.
#[tokio::test]
async fn jobs_with_an_owner_have_versions_of_their_own() {
    let submitted = |owner| Fact::JobSubmitted {
        job: JobId(1),
        at: Timestamp(1),
        spec: Box::new(spec(64, 48, 32, 32)),
        owner,
    };
    let owned = submitted(Some(OwnerId(0x0123_4567_89ab_cdef)));
    let mut expected = farm_wire::codec::encode(&submitted(None));
    expected[0] += 1;
    expected.extend(b"\xa5owner\xcf\x01\x23\x45\x67\x89\xab\xcd\xef");
    assert_eq!(farm_wire::codec::encode(&owned), expected);
    assert_eq!(farm_wire::codec::decode::<Fact>(&expected, 1 << 20).expect("it is a fact"), owned);

    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    let mut journal = SqliteJournal::open(&path).await.expect("it opens");
    let facts = [submitted(None), Fact::JobCancelled { job: JobId(1) }, owned];
    journal.append(&facts).await.expect("there is room");
    let versions = |records: &[Record]| records.iter().map(|record| record.1).collect::<Vec<_>>();
    assert_eq!(versions(&records(&path).await.0), [1, 1, 5]);
    assert_eq!(replayed(&path).await.expect("it is undamaged"), facts);
    let facts = &facts[2..];
    journal.compact(state_of(facts)).await.expect("there is room");
    assert_eq!(versions(&records(&path).await.1), [4], "of the snapshot's part");
    let entries = entries(&path).await.expect("it is undamaged");
    assert_eq!(State::restore(entries, &Limits::default()), Ok(state_of(facts)));
}

#[tokio::test]
async fn snapshot_of_a_later_version_is_named_and_nothing_is_lost() {
    let (_folder, path) = fixture(VERSION_2).await;
    let mut connection = options(&path).connect().await.expect("it opens");
    sqlx::query("UPDATE snapshot_parts SET version = 9, checksum = $1, payload = $2 WHERE part = 0")
        .bind(record::part_checksum(i64::try_from(COVERED).expect("it is small"), 0, 9, b"from the future"))
        .bind(&b"from the future"[..])
        .execute(&mut connection)
        .await
        .expect("the statement is right");
    let before = records(&path).await;
    let error = entries(&path).await.expect_err("the version is unknown");
    assert!(matches!(error, JournalError::UnknownSnapshot { version: 9, known: 4, .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("version")), "{error}");
    assert_eq!(records(&path).await, before);
}
