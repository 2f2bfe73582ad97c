//! The journal: the list of facts that the farm's state is made of, the older
//! of them as a snapshot of what they add up to.
//!
//! A fact that was appended is on the disk, for good, before `append` returns;
//! either all facts of one call are there or none is. Replaying yields the
//! snapshot and every fact after it in order, or an error that names the first
//! record which is not right: a farm never goes on from half a history.

mod compact;
mod record;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use farm_core::scheduler::{Entry, Fact, State};
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, QueryBuilder, Sqlite, SqliteConnection};
use tokio::sync::mpsc;

use self::record::checksum;

/// Rows of one INSERT. Four values each stay far below SQLite's 32,766 and
/// PostgreSQL's 65,535 parameters of a statement.
const ROWS_PER_INSERT: usize = 256;

/// How long a statement waits for another process's lock on the database
/// before the driver is told, which then tries again.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Where facts are kept. SQLite by default; a studio that outgrows it puts the
/// same table on a database server.
pub trait Journal: Send + 'static {
    /// Counts a new life of the master: a number that no earlier life had.
    fn begin_life(&mut self) -> impl Future<Output = Result<u32, JournalError>> + Send;

    /// Sends the snapshot, if there is one, and every fact after it, oldest
    /// first, into `entries`; ends early if its receiver is gone.
    fn replay(
        &mut self,
        entries: mpsc::Sender<Entry>,
    ) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// Appends facts in one transaction. After an error none counts as
    /// appended; the same facts may be tried again and are then not doubled.
    fn append(&mut self, facts: &[Fact]) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// Puts a snapshot in the place of everything appended so far, which adds
    /// up to `state`. The work is done by the future, beside further appends; a
    /// failure or an end halfway leaves the journal as it was. Not to be called
    /// while an earlier future is not done.
    fn compact(&self, state: State) -> BoxFuture<'static, Result<(), JournalError>>;
}

/// What is wrong with a journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// It cannot be opened.
    #[error("the journal {path} cannot be opened: {source}")]
    Open {
        /// Its file.
        path: PathBuf,
        /// The cause.
        source: sqlx::Error,
    },
    /// It cannot be read.
    #[error("the journal cannot be read: {0}")]
    Read(#[source] sqlx::Error),
    /// It cannot be written: a full disk, say, or a lock that another process holds.
    #[error("the journal cannot be written: {0}")]
    Write(#[source] sqlx::Error),
    /// A record is not what was written.
    #[error("record {sequence} of the journal is damaged: {reason}")]
    Damaged {
        /// Its number.
        sequence: i64,
        /// How that shows.
        reason: String,
    },
    /// A record is missing between others.
    #[error("record {sequence} of the journal is missing")]
    Missing {
        /// Its number.
        sequence: i64,
    },
    /// A record was written by a later version of this program.
    #[error("record {sequence} of the journal has version {version}; this program reads up to {known}")]
    UnknownVersion {
        /// Its number.
        sequence: i64,
        /// Its version.
        version: i64,
        /// The latest version that this program reads.
        known: i64,
    },
    /// A part of the snapshot is not what was written.
    #[error("part {part} of the journal's snapshot of its first {position} records is damaged: {reason}")]
    DamagedSnapshot {
        /// The last record that it stands for.
        position: i64,
        /// The part's number.
        part: i64,
        /// How that shows.
        reason: String,
    },
    /// The snapshot was written by a later version of this program.
    #[error("the journal's snapshot has version {version}; this program reads up to {known}")]
    UnknownSnapshot {
        /// The last record that it stands for.
        position: i64,
        /// Its version.
        version: i64,
        /// The latest version that this program reads.
        known: i64,
    },
    /// The snapshot's parts do not belong together.
    #[error("the journal's snapshot is damaged: {0}")]
    Snapshot(#[from] farm_core::scheduler::SnapshotError),
    /// Every life number is used up.
    #[error("the master was started 2^32 times; its journal counts no further")]
    TooManyLives,
}

impl JournalError {
    /// What to do about it, where something is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Open { source, .. } | Self::Read(source) | Self::Write(source) if is_locked(source) => {
                Some("end the other process that holds the journal: a database shell, say, or a backup")
            }
            Self::Damaged { .. }
            | Self::Missing { .. }
            | Self::DamagedSnapshot { .. }
            | Self::Snapshot(_) => Some("restore the data folder from a backup; no job was changed"),
            Self::UnknownVersion { .. } | Self::UnknownSnapshot { .. } => {
                Some("start the version of farm-master that wrote it")
            }
            Self::Open { .. } | Self::Read(_) | Self::Write(_) => {
                Some("check the data folder's owner and the room on its disk")
            }
            Self::TooManyLives => None,
        }
    }
}

/// Whether another process holds the database: SQLITE_BUSY is 5, and its
/// extended codes have it in their lowest byte.
fn is_locked(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5)
}

/// A journal in one SQLite file.
#[derive(Debug)]
pub struct SqliteJournal {
    options: SqliteConnectOptions,
    /// `None` after a failed write: what became of it is looked up on a fresh
    /// connection before anything else is written.
    connection: Option<SqliteConnection>,
    next_sequence: i64,
}

impl SqliteJournal {
    /// Opens the journal in `path`, making it if it is not there.
    ///
    /// # Errors
    /// Names the file that cannot be opened or is not a journal.
    pub async fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Open { path: path.to_owned(), source };
        let options = options(path);
        let mut connection = options.connect().await.map_err(failed)?;
        for statement in [
            "CREATE TABLE IF NOT EXISTS facts (sequence BIGINT PRIMARY KEY, \
             version BIGINT NOT NULL, checksum BIGINT NOT NULL, payload BYTEA NOT NULL)",
            "CREATE TABLE IF NOT EXISTS lives (epoch BIGINT PRIMARY KEY)",
            "CREATE TABLE IF NOT EXISTS snapshots (position BIGINT PRIMARY KEY, parts BIGINT NOT NULL)",
            "CREATE TABLE IF NOT EXISTS snapshot_parts (position BIGINT NOT NULL, part BIGINT NOT NULL, \
             version BIGINT NOT NULL, checksum BIGINT NOT NULL, payload BYTEA NOT NULL, \
             PRIMARY KEY (position, part))",
        ] {
            sqlx::query(statement).execute(&mut connection).await.map_err(failed)?;
        }
        let last = last_sequence(&mut connection).await.map_err(failed)?;
        Ok(Self { options, connection: Some(connection), next_sequence: last + 1 })
    }

    /// The connection, opened anew if the last one failed.
    async fn connection(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        if self.connection.is_none() {
            self.connection = Some(self.options.connect().await?);
        }
        Ok(self.connection.as_mut().expect("it was put there above"))
    }

    async fn try_append(&mut self, facts: &[Fact]) -> Result<(), sqlx::Error> {
        let (uncertain, first) = (self.connection.is_none(), self.next_sequence);
        let connection = self.connection().await?;
        // The folder lock makes this process the only writer, so records beyond
        // the last known one can only be those of the append that failed.
        if uncertain && last_sequence(connection).await? >= first {
            return Ok(());
        }
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let mut sequence = first;
        for facts in facts.chunks(ROWS_PER_INSERT) {
            let head = "INSERT INTO facts (sequence, version, checksum, payload) ";
            let mut insert = QueryBuilder::<Sqlite>::new(head);
            insert.push_values(facts, |mut row, fact| {
                let (version, payload) = (record::fact_version(fact), farm_wire::codec::encode(fact));
                row.push_bind(sequence).push_bind(version);
                row.push_bind(checksum(sequence, version, &payload)).push_bind(payload);
                sequence += 1;
            });
            insert.build().execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }
}

impl Journal for SqliteJournal {
    async fn begin_life(&mut self) -> Result<u32, JournalError> {
        let connection = self.connection().await.map_err(JournalError::Write)?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(JournalError::Write)?;
        let last: Option<i64> = sqlx::query_scalar("SELECT MAX(epoch) FROM lives")
            .fetch_one(&mut *transaction)
            .await
            .map_err(JournalError::Read)?;
        let epoch = last.unwrap_or(0) + 1;
        let life = u32::try_from(epoch).map_err(|_| JournalError::TooManyLives)?;
        sqlx::query("INSERT INTO lives (epoch) VALUES ($1)")
            .bind(epoch)
            .execute(&mut *transaction)
            .await
            .map_err(JournalError::Write)?;
        transaction.commit().await.map_err(JournalError::Write)?;
        Ok(life)
    }

    async fn replay(&mut self, entries: mpsc::Sender<Entry>) -> Result<(), JournalError> {
        // One transaction, so that a compaction by a running master beside it
        // cannot take away what comes after what was read.
        let connection = self.connection().await.map_err(JournalError::Read)?;
        let mut transaction = connection.begin().await.map_err(JournalError::Read)?;
        let connection = &mut *transaction;
        let Some(position) = send_snapshot(connection, &entries).await? else { return Ok(()) };
        let select = "SELECT sequence, version, checksum, payload FROM facts \
                      WHERE sequence > $1 ORDER BY sequence";
        let mut rows = sqlx::query(select).bind(position).fetch(connection);
        let mut expected = position + 1;
        while let Some(row) = rows.try_next().await.map_err(JournalError::Read)? {
            let fact = record::read_fact(&row, expected)?;
            if entries.send(Entry::Fact(fact)).await.is_err() {
                return Ok(());
            }
            expected += 1;
        }
        Ok(())
    }

    async fn append(&mut self, facts: &[Fact]) -> Result<(), JournalError> {
        if let Err(error) = self.try_append(facts).await {
            self.connection = None;
            return Err(JournalError::Write(error));
        }
        self.next_sequence += i64::try_from(facts.len()).expect("a batch fits in memory");
        Ok(())
    }

    fn compact(&self, state: State) -> BoxFuture<'static, Result<(), JournalError>> {
        let (options, position) = (self.options.clone(), self.next_sequence - 1);
        Box::pin(async move {
            let parts = compact::compact(&options, position, state).await?;
            tracing::info!(position, parts, "a snapshot stands for the journal's records");
            Ok(())
        })
    }
}

/// Sends the snapshot that counts and returns the last record that it stands
/// for, 0 if there is none; `None` when the receiver is gone.
async fn send_snapshot(
    connection: &mut SqliteConnection,
    entries: &mpsc::Sender<Entry>,
) -> Result<Option<i64>, JournalError> {
    let select = "SELECT position, parts FROM snapshots ORDER BY position DESC LIMIT 1";
    let snapshot: Option<(i64, i64)> =
        sqlx::query_as(select).fetch_optional(&mut *connection).await.map_err(JournalError::Read)?;
    let Some((position, parts)) = snapshot else { return Ok(Some(0)) };
    let select = "SELECT part, version, checksum, payload FROM snapshot_parts \
                  WHERE position = $1 ORDER BY part";
    let mut rows = sqlx::query(select).bind(position).fetch(connection);
    let mut expected = 0;
    while let Some(row) = rows.try_next().await.map_err(JournalError::Read)? {
        let part = record::read_part(&row, position, expected)?;
        if entries.send(Entry::Snapshot(part)).await.is_err() {
            return Ok(None);
        }
        expected += 1;
    }
    if expected != parts {
        let reason = "it is missing".into();
        return Err(JournalError::DamagedSnapshot { position, part: expected, reason });
    }
    Ok(Some(position))
}

/// How every connection to a journal is opened.
fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
}

/// The last record that was ever appended, whether a snapshot stands for it or
/// not.
async fn last_sequence(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let select = "SELECT MAX(last) FROM (SELECT MAX(sequence) AS last FROM facts \
                  UNION ALL SELECT MAX(position) FROM snapshots) AS ends";
    let last: Option<i64> = sqlx::query_scalar(select).fetch_one(connection).await?;
    Ok(last.unwrap_or(0))
}

#[cfg(test)]
mod tests;
