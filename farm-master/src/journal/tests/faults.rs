//! Claims about disks that are full, databases that are held, and power cuts.

use farm_core::Limits;

use super::*;

/// Longest wait for another process, with time for a slow machine to notice.
const BOUND: Duration = Duration::from_secs(30);

async fn opened() -> (tempfile::TempDir, PathBuf, SqliteJournal) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    let journal = SqliteJournal::open(&path).await.expect("it opens");
    (folder, path, journal)
}

fn state_of(facts: &[Fact]) -> State {
    let entries = facts.iter().cloned().map(Entry::Fact);
    State::restore(entries, &Limits::default()).expect("there is no snapshot")
}

impl SqliteJournal {
    /// Lets the database have so many pages of 4 KiB, as a disk with so much
    /// room would; it is opened anew.
    fn limit(&mut self, pages: u32) {
        self.options = self.options.clone().pragma("max_page_count", pages.to_string());
        self.connection = None;
    }
}

#[tokio::test]
async fn locked_database_fails_and_the_same_facts_may_be_tried_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    let mut journal = SqliteJournal::open(&path).await.expect("it opens");
    journal.append(&facts(0..3)).await.expect("there is room");
    let mut other = options(&path).connect().await.expect("another process opens it");
    let lock = other.begin_with("BEGIN IMMEDIATE").await.expect("nobody writes");
    let waiting = tokio::time::timeout(BOUND, journal.append(&facts(3..6))).await;
    let error = waiting.expect("the wait has an end").expect_err("it is locked");
    assert!(matches!(error, JournalError::Write(_)) && error.to_string().contains("locked"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("other process")), "{error}");
    lock.rollback().await.expect("the lock goes");
    journal.append(&facts(3..6)).await.expect("the lock is gone");
    drop(journal);
    assert_eq!(replayed(&path).await.expect("it is undamaged"), facts(0..6));
}

#[tokio::test]
async fn locked_database_is_named_at_the_start_and_to_a_compaction() {
    let (_folder, path, mut journal) = opened().await;
    journal.append(&facts(0..3)).await.expect("there is room");
    let mut other = options(&path).connect().await.expect("another process opens it");
    let lock = other.begin_with("BEGIN EXCLUSIVE").await.expect("nobody writes");
    let mut starting = SqliteJournal::open(&path).await.expect("nothing is to be made");
    let waiting = tokio::time::timeout(BOUND, starting.begin_life()).await;
    let error = waiting.expect("the wait has an end").expect_err("it is locked");
    assert!(error.hint().is_some_and(|hint| hint.contains("other process")), "{error}");
    let waiting = tokio::time::timeout(BOUND, journal.compact(state_of(&facts(0..3)))).await;
    let error = waiting.expect("the wait has an end").expect_err("it is locked");
    assert!(error.hint().is_some_and(|hint| hint.contains("other process")), "{error}");
    lock.rollback().await.expect("the lock goes");
    assert_eq!(starting.begin_life().await.expect("the lock is gone"), 1);
    assert_eq!(replayed(&path).await.expect("it is undamaged"), facts(0..3));
}

#[tokio::test]
async fn full_disk_takes_none_of_the_facts_and_all_of_them_once_there_is_room() {
    let (_folder, path, mut journal) = opened().await;
    journal.append(&facts(0..100)).await.expect("there is room");
    journal.limit(20);
    for _ in 0..2 {
        let error = journal.append(&facts(100..2000)).await.expect_err("the disk is full");
        assert!(error.to_string().contains("full"), "{error}");
        assert_eq!(replayed(&path).await.expect("it is undamaged"), facts(0..100));
    }
    journal.limit(1 << 20);
    journal.append(&facts(100..2000)).await.expect("there is room again");
    assert_eq!(replayed(&path).await.expect("it is undamaged"), facts(0..2000));
}

#[tokio::test]
async fn full_disk_leaves_the_facts_where_no_snapshot_fits() {
    let (_folder, path, mut journal) = opened().await;
    // The snapshot has a part of some 330 bytes for each job: 90 pages hold what
    // is written together first, and not the rest.
    let job = |number| Fact::JobSubmitted {
        job: JobId(number),
        at: farm_core::Timestamp(0),
        spec: Box::new(crate::testing::spec(64, 64, 64, 16)),
        owner: None,
    };
    let all: Vec<Fact> = (1..1500).flat_map(|number| [job(number), fact(number)]).collect();
    journal.append(&all).await.expect("there is room");
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
        .fetch_one(journal.connection().await.expect("it is open"))
        .await
        .expect("it is a number");
    journal.limit(u32::try_from(pages).expect("it is small") + 90);
    let error = journal.compact(state_of(&all)).await.expect_err("the disk is full");
    assert!(error.to_string().contains("full"), "{error}");
    journal.append(&facts(2000..3000)).await.expect("the snapshot gave its room back");
    let all = [all, facts(2000..3000)].concat();
    assert_eq!(replayed(&path).await.expect("it is undamaged"), all);
    journal.limit(1 << 20);
    journal.compact(state_of(&all)).await.expect("there is room again");
    let entries = entries(&path).await.expect("it is undamaged");
    assert_eq!(State::restore(entries, &Limits::default()), Ok(state_of(&all)));
}

/// A power cut leaves any beginning of the log, and of its last write any part.
#[tokio::test]
async fn torn_log_holds_whole_appends_and_no_half_ones() {
    const BATCH: u64 = 40;
    let (folder, path, mut journal) = opened().await;
    let log = folder.path().join("journal.sqlite-wal");
    let mut ends = Vec::new();
    for batch in 0..6 {
        journal.append(&facts(batch * BATCH..(batch + 1) * BATCH)).await.expect("there is room");
        ends.push(std::fs::metadata(&log).expect("it is there").len());
    }
    let (database, log) = (std::fs::read(&path), std::fs::read(&log));
    let (database, log) = (database.expect("it is there"), log.expect("it is there"));
    let (first, last) = (usize::try_from(ends[0]).expect("it is small"), log.len());
    // Frames are 4120 bytes, so every tenth of one is cut somewhere.
    for length in (first..last).step_by(4531).chain([last]) {
        for torn in [false, true] {
            let cut = tempfile::tempdir().expect("a temporary folder");
            let path = cut.path().join("journal.sqlite");
            std::fs::write(&path, &database).expect("there is room");
            let mut log = log[..length].to_vec();
            if torn {
                log[length - 500..].fill(0xa5);
            }
            std::fs::write(cut.path().join("journal.sqlite-wal"), &log).expect("there is room");
            let kept = replayed(&path).await.expect("it is undamaged").len() as u64;
            let good = (length - if torn { 500 } else { 0 }) as u64;
            let whole = ends.iter().filter(|end| **end <= good).count() as u64;
            assert_eq!(kept, whole * BATCH, "{length} bytes, torn: {torn}");
        }
    }
}
