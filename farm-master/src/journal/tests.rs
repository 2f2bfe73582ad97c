mod compaction;
mod faults;
mod versions;

use farm_core::{BlobDigest, FrameNumber, FrameRange, JobId, NodeId, Rect};

use super::*;

fn fact(number: u64) -> Fact {
    Fact::FrameDelivered {
        job: JobId(number),
        frame: FrameNumber(7),
        pixel_digest: BlobDigest([u8::try_from(number % 256).expect("below 256"); 32]),
    }
}

fn facts(numbers: std::ops::Range<u64>) -> Vec<Fact> {
    numbers.map(fact).collect()
}

/// The facts of a journal without a snapshot.
async fn replayed(path: &Path) -> Result<Vec<Fact>, JournalError> {
    let fact = |entry| match entry {
        Entry::Fact(fact) => fact,
        Entry::Snapshot(part) => panic!("{part:?}"),
    };
    Ok(entries(path).await?.into_iter().map(fact).collect())
}

async fn entries(path: &Path) -> Result<Vec<Entry>, JournalError> {
    let (sender, mut receiver) = mpsc::channel(4);
    let mut journal = SqliteJournal::open(path).await?;
    let reading = tokio::spawn(async move { journal.replay(sender).await });
    let mut entries = Vec::new();
    while let Some(entry) = receiver.recv().await {
        entries.push(entry);
    }
    reading.await.expect("replay does not panic").map(|()| entries)
}

/// A journal of 600 facts on which `damage` was executed.
async fn damaged(damage: &'static str) -> JournalError {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    let mut journal = SqliteJournal::open(&path).await.expect("it opens");
    journal.append(&facts(0..600)).await.expect("there is room");
    let connection = journal.connection().await.expect("it is open");
    sqlx::query(damage).execute(connection).await.expect("the statement is right");
    drop(journal);
    replayed(&path).await.expect_err("damage is found")
}

#[tokio::test]
async fn appended_facts_are_replayed_in_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    let mut journal = SqliteJournal::open(&path).await.expect("it opens");
    journal.append(&facts(0..1000)).await.expect("there is room");
    journal.append(&facts(1000..1001)).await.expect("there is room");
    drop(journal);
    let mut journal = SqliteJournal::open(&path).await.expect("it opens again");
    journal.append(&facts(1001..1003)).await.expect("there is room");
    drop(journal);
    assert_eq!(replayed(&path).await.expect("it is undamaged"), facts(0..1003));
}

#[tokio::test]
async fn flipped_bit_is_reported_with_its_record() {
    // The second would decode very well.
    for damage in [
        "UPDATE facts SET payload = zeroblob(3) WHERE sequence = 437",
        "UPDATE facts SET payload = (SELECT payload FROM facts WHERE sequence = 436) WHERE sequence = 437",
    ] {
        let error = damaged(damage).await;
        assert!(matches!(error, JournalError::Damaged { sequence: 437, .. }), "{error}");
    }
}

#[tokio::test]
async fn missing_record_is_reported() {
    let error = damaged("DELETE FROM facts WHERE sequence = 5").await;
    assert!(matches!(error, JournalError::Missing { sequence: 5 }), "{error}");
}

#[tokio::test]
async fn later_version_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    let mut journal = SqliteJournal::open(&path).await.expect("it opens");
    let connection = journal.connection().await.expect("it is open");
    sqlx::query("INSERT INTO facts (sequence, version, checksum, payload) VALUES (1, 9, $1, $2)")
        .bind(checksum(1, 9, b"from the future"))
        .bind(&b"from the future"[..])
        .execute(connection)
        .await
        .expect("the statement is right");
    drop(journal);
    let error = replayed(&path).await.expect_err("the version is unknown");
    let JournalError::UnknownVersion { sequence: 1, version: 9, known: 5 } = error else {
        panic!("{error}");
    };
}

#[tokio::test]
async fn file_that_is_not_a_journal_is_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    std::fs::write(&path, vec![7; 8192]).expect("it is written");
    let error = SqliteJournal::open(&path).await.expect_err("it is no database").to_string();
    assert!(error.contains("journal.sqlite"), "{error}");
}

#[tokio::test]
async fn append_that_went_through_unnoticed_is_not_doubled() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    let mut journal = SqliteJournal::open(&path).await.expect("it opens");
    journal.append(&facts(0..3)).await.expect("there is room");
    // As if the commit's answer had been lost.
    journal.next_sequence = 1;
    journal.connection = None;
    journal.append(&facts(0..3)).await.expect("they are there");
    journal.append(&facts(3..4)).await.expect("there is room");
    drop(journal);
    assert_eq!(replayed(&path).await.expect("it is undamaged"), facts(0..4));
}

#[tokio::test]
async fn every_life_has_its_own_number() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    for expected in 1..4 {
        let mut journal = SqliteJournal::open(&path).await.expect("it opens");
        assert_eq!(journal.begin_life().await.expect("there is room"), expected);
    }
}

/// What people's commands record, and the bytes that journals have of it: these
/// must be read for ever.
#[tokio::test]
async fn facts_of_changes_are_replayed_from_the_bytes_that_they_ever_had() {
    let frames = FrameRange { first: FrameNumber(2), last: FrameNumber(5) };
    let region = Some(Rect { x: 1, y: 2, width: 3, height: 4 });
    let (job, node) = (JobId(3), NodeId(5));
    let changes: [(Fact, &[u8]); 7] = [
        (Fact::JobRetried { job }, b"\x82\xa4fact\xabjob-retried\xa3job\x03"),
        (
            Fact::JobPrioritized { job, priority: -7 },
            b"\x83\xa4fact\xafjob-prioritized\xa3job\x03\xa8priority\xf9",
        ),
        (
            Fact::TilesForgotten { job, frames, region },
            b"\x84\xa4fact\xaftiles-forgotten\xa3job\x03\xa6frames\x82\xa5first\x02\xa4last\x05\
              \xa6region\x84\xa1x\x01\xa1y\x02\xa5width\x03\xa6height\x04",
        ),
        (Fact::NodeDrained { node }, b"\x82\xa4fact\xacnode-drained\xa4node\x05"),
        (Fact::NodeUndrained { node }, b"\x82\xa4fact\xaenode-undrained\xa4node\x05"),
        (Fact::NodeBanned { node }, b"\x82\xa4fact\xabnode-banned\xa4node\x05"),
        (Fact::NodeForgiven { node }, b"\x82\xa4fact\xadnode-forgiven\xa4node\x05"),
    ];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    let mut journal = SqliteJournal::open(&path).await.expect("it opens");
    for (sequence, (fact, payload)) in (1..).zip(&changes) {
        assert_eq!(farm_wire::codec::encode(fact), *payload, "{fact:?}");
        let version = record::fact_version(fact);
        sqlx::query("INSERT INTO facts (sequence, version, checksum, payload) VALUES ($1, $2, $3, $4)")
            .bind(sequence)
            .bind(version)
            .bind(checksum(sequence, version, payload))
            .bind(*payload)
            .execute(journal.connection().await.expect("it is open"))
            .await
            .expect("the statement is right");
    }
    drop(journal);
    let facts: Vec<Fact> = changes.into_iter().map(|(fact, _)| fact).collect();
    assert_eq!(replayed(&path).await.expect("it is undamaged"), facts);
}
