//! The journal: the list of facts that the farm's state is made of.
//!
//! A fact that was appended is on the disk, for good, before `append` returns;
//! either all facts of one call are there or none is. Replaying yields every
//! fact in order or an error that names the first record which is not right:
//! a farm never goes on from half a history.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use farm_core::scheduler::Fact;
use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, QueryBuilder, Row, Sqlite, SqliteConnection};
use tokio::sync::mpsc;

/// The version that new records carry: a fact in MessagePack with named fields.
const RECORD_VERSION: i64 = 1;

/// Longest record. A job of 65,536 blobs, 34 bytes each, is a little over 2 MiB.
const RECORD_BYTES: usize = 16 << 20;

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

    /// Sends every fact, oldest first, into `facts`; ends early if its receiver
    /// is gone.
    fn replay(&mut self, facts: mpsc::Sender<Fact>) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// Appends facts in one transaction. After an error none counts as
    /// appended; the same facts may be tried again and are then not doubled.
    fn append(&mut self, facts: &[Fact]) -> impl Future<Output = Result<(), JournalError>> + Send;
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
    #[error(
        "record {sequence} of the journal has version {version}; this program reads up to {RECORD_VERSION}"
    )]
    UnknownVersion {
        /// Its number.
        sequence: i64,
        /// Its version.
        version: i64,
    },
    /// Every life number is used up.
    #[error("the master was started 2^32 times; its journal counts no further")]
    TooManyLives,
}

impl JournalError {
    /// What to do about it, where something is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Damaged { .. } | Self::Missing { .. } => {
                Some("restore the data folder from a backup; no job was changed")
            }
            Self::UnknownVersion { .. } => Some("start the version of farm-master that wrote it"),
            Self::Open { .. } | Self::Read(_) | Self::Write(_) => {
                Some("check the data folder's owner and the room on its disk")
            }
            Self::TooManyLives => None,
        }
    }
}

/// A journal in one SQLite file.
#[derive(Debug)]
pub struct SqliteJournal {
    path: PathBuf,
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
        let mut connection = connect(path).await.map_err(failed)?;
        for statement in [
            "CREATE TABLE IF NOT EXISTS facts (sequence BIGINT PRIMARY KEY, \
             version BIGINT NOT NULL, checksum BIGINT NOT NULL, payload BYTEA NOT NULL)",
            "CREATE TABLE IF NOT EXISTS lives (epoch BIGINT PRIMARY KEY)",
        ] {
            sqlx::query(statement).execute(&mut connection).await.map_err(failed)?;
        }
        let last = last_sequence(&mut connection).await.map_err(failed)?;
        Ok(Self { path: path.to_owned(), connection: Some(connection), next_sequence: last + 1 })
    }

    /// The connection, opened anew if the last one failed.
    async fn connection(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        if self.connection.is_none() {
            self.connection = Some(connect(&self.path).await?);
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
                let payload = farm_wire::codec::encode(fact);
                row.push_bind(sequence).push_bind(RECORD_VERSION);
                row.push_bind(checksum(sequence, RECORD_VERSION, &payload)).push_bind(payload);
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

    async fn replay(&mut self, facts: mpsc::Sender<Fact>) -> Result<(), JournalError> {
        let connection = self.connection().await.map_err(JournalError::Read)?;
        let select = "SELECT sequence, version, checksum, payload FROM facts ORDER BY sequence";
        let mut rows = sqlx::query(select).fetch(connection);
        let mut expected = 1;
        while let Some(row) = rows.try_next().await.map_err(JournalError::Read)? {
            let fact = read_record(&row, expected)?;
            if facts.send(fact).await.is_err() {
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
}

async fn connect(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .connect()
        .await
}

async fn last_sequence(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let last: Option<i64> =
        sqlx::query_scalar("SELECT MAX(sequence) FROM facts").fetch_one(connection).await?;
    Ok(last.unwrap_or(0))
}

/// One record, which must be number `expected`, undamaged and of a known version.
fn read_record(row: &SqliteRow, expected: i64) -> Result<Fact, JournalError> {
    let sequence: i64 = row.try_get(0).map_err(JournalError::Read)?;
    if sequence != expected {
        return Err(JournalError::Missing { sequence: expected });
    }
    let damaged = |reason: String| JournalError::Damaged { sequence, reason };
    let unreadable = |error: sqlx::Error| damaged(error.to_string());
    let version: i64 = row.try_get(1).map_err(unreadable)?;
    let stored: i64 = row.try_get(2).map_err(unreadable)?;
    let payload: &[u8] = row.try_get(3).map_err(unreadable)?;
    if stored != checksum(sequence, version, payload) {
        return Err(damaged("its checksum is wrong".into()));
    }
    if version != RECORD_VERSION {
        return Err(JournalError::UnknownVersion { sequence, version });
    }
    farm_wire::codec::decode(payload, RECORD_BYTES).map_err(|error| damaged(error.to_string()))
}

/// The first 64 bits of a BLAKE3 over a record and its place. SQLite has no
/// checksums of its own, and a flipped bit may well decode.
fn checksum(sequence: i64, version: i64, payload: &[u8]) -> i64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&sequence.to_le_bytes()).update(&version.to_le_bytes()).update(payload);
    let first = hasher.finalize().as_bytes().first_chunk().copied();
    i64::from_le_bytes(first.expect("a digest has 32 bytes"))
}

#[cfg(test)]
mod tests;
