//! Compaction: a snapshot takes the place of the facts before it.
//!
//! It runs beside the driver on a connection of its own, in transactions of a
//! few milliseconds, between which appends go through. The parts of a snapshot
//! mean nothing until one transaction enters it in `snapshots`; from then on
//! the facts up to its position mean nothing, and are removed. Whatever a crash
//! leaves of either is passed over by a restart and removed by the next
//! compaction.

use farm_core::scheduler::State;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::mpsc;

use super::JournalError;
use super::record::{COMPACTED, checksum, part_checksum, part_version};

/// Parts encoded before the disk takes them: 8 of about 400 KiB.
const PARTS_AHEAD: usize = 8;

/// Parts are written together until they have so many bytes: one of tiles, or a
/// few hundred of jobs.
const BYTES_PER_TRANSACTION: usize = 256 << 10;

/// Facts removed in one transaction: 8192 of about 200 bytes are some 400
/// pages, a few milliseconds.
const FACTS_PER_REMOVAL: i64 = 8192;

/// Parts removed in one transaction: 16 of about 400 KiB.
const PARTS_PER_REMOVAL: i64 = 16;

/// Writes `state`, which is what the facts up to number `position` add up to,
/// as a snapshot, and removes those facts. Returns how many parts were written.
pub(super) async fn compact(
    options: &SqliteConnectOptions,
    position: i64,
    state: State,
) -> Result<i64, JournalError> {
    let mut connection = options.connect().await.map_err(JournalError::Write)?;
    sweep(&mut connection).await.map_err(JournalError::Write)?;
    if latest(&mut connection).await.map_err(JournalError::Write)? == position {
        return Ok(0); // It was entered by a compaction that ended before it said so.
    }
    let (sender, payloads) = mpsc::channel(PARTS_AHEAD);
    let encoding = tokio::task::spawn_blocking(move || {
        let payloads = state.snapshot().map(|part| (part_version(&part), farm_wire::codec::encode(&part)));
        // Nobody receives any more once the disk refused.
        for payload in payloads {
            if sender.blocking_send(payload).is_err() {
                break;
            }
        }
    });
    let written = write_parts(&mut connection, position, payloads).await;
    if written.is_err() {
        // What was written takes room that the next facts may need. Where there
        // is none even for that, the next compaction removes it.
        let _ = sweep(&mut connection).await;
        if latest(&mut connection).await.is_ok_and(|latest| latest == position) {
            return Ok(0); // The last words of a compaction that was dropped entered it.
        }
    }
    let parts = written.map_err(JournalError::Write)?;
    // Were it to break off, the parts would end early and look whole.
    encoding.await.map_err(|_| JournalError::Write(sqlx::Error::WorkerCrashed))?;
    enter(&mut connection, position, parts).await.map_err(JournalError::Write)?;
    sweep(&mut connection).await.map_err(JournalError::Write)?;
    connection.close().await.map_err(JournalError::Write)?;
    Ok(parts)
}

async fn write_parts(
    connection: &mut SqliteConnection,
    position: i64,
    mut payloads: mpsc::Receiver<(i64, Vec<u8>)>,
) -> Result<i64, sqlx::Error> {
    let mut part = 0;
    loop {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < BYTES_PER_TRANSACTION
            && let Some(payload) = payloads.recv().await
        {
            bytes += payload.1.len();
            batch.push(payload);
        }
        if batch.is_empty() {
            return Ok(part);
        }
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        for (version, payload) in batch {
            let insert = "INSERT INTO snapshot_parts (position, part, version, checksum, payload) \
                          VALUES ($1, $2, $3, $4, $5)";
            let checksum = part_checksum(position, part, version, &payload);
            let insert = sqlx::query(insert).bind(position).bind(part).bind(version).bind(checksum);
            insert.bind(payload).execute(&mut *transaction).await?;
            part += 1;
        }
        transaction.commit().await?;
    }
}

/// Makes the snapshot the one that counts. All of its parts are in the database
/// then, or it is not entered.
async fn enter(connection: &mut SqliteConnection, position: i64, parts: i64) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let written: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM snapshot_parts WHERE position = $1")
        .bind(position)
        .fetch_one(&mut *transaction)
        .await?;
    if written != parts {
        return Err(sqlx::Error::Protocol(format!("{written} of {parts} parts were written")));
    }
    sqlx::query("DELETE FROM snapshots").execute(&mut *transaction).await?;
    sqlx::query("INSERT INTO snapshots (position, parts) VALUES ($1, $2)")
        .bind(position)
        .bind(parts)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("UPDATE facts SET version = $1, checksum = $2, payload = $3 WHERE sequence = 1")
        .bind(COMPACTED)
        .bind(checksum(1, COMPACTED, &[]))
        .bind(&[][..])
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

/// Removes, a few at a time, the facts that the snapshot stands for and the
/// parts of other snapshots, which never counted or count no more.
async fn sweep(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let position = latest(connection).await?;
    loop {
        let first: Option<i64> = sqlx::query_scalar("SELECT MIN(sequence) FROM facts WHERE sequence > 1")
            .fetch_one(&mut *connection)
            .await?;
        let Some(first) = first.filter(|first| *first <= position) else { break };
        sqlx::query("DELETE FROM facts WHERE sequence > 1 AND sequence <= $1")
            .bind(position.min(first + FACTS_PER_REMOVAL))
            .execute(&mut *connection)
            .await?;
    }
    // Which snapshot counts is read in the same statement: one that was entered a
    // moment ago keeps its parts.
    let stale = "DELETE FROM snapshot_parts WHERE (position, part) IN \
                 (SELECT position, part FROM snapshot_parts WHERE position <> \
                 COALESCE((SELECT MAX(position) FROM snapshots), 0) LIMIT $1)";
    let remove = || sqlx::query(stale).bind(PARTS_PER_REMOVAL);
    while remove().execute(&mut *connection).await?.rows_affected() > 0 {}
    Ok(())
}

/// The last record that the snapshot stands for, 0 if there is none.
async fn latest(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let select = "SELECT MAX(position) FROM snapshots";
    let position: Option<i64> = sqlx::query_scalar(select).fetch_one(connection).await?;
    Ok(position.unwrap_or(0))
}
