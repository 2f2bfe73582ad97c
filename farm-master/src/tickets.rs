//! The ticket book: which tickets exist, for whom, until when, and how often
//! they may still be used; and the members that joined with them.
//!
//! Secrets are never kept, only their BLAKE3 digests, compared in constant
//! time. The book lies in a database of its own that every operation opens
//! anew, so tickets made or revoked by another process count at once.

mod members;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use farm_wire::server::TicketBook;
use farm_wire::{Identity, Role};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

pub use self::members::Member;
use crate::audit::{Action, Actor, AuditLog, Outcome};
use crate::folder::AUDIT_LOG;

/// How long an operation waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest name of a ticket, as for identities.
const NAME_CHARACTERS: usize = 64;

/// What somebody revoked is told.
pub(crate) const REVOKED: &str = "this key was revoked; ask for a new ticket and join again";

/// What is wrong with the book or a ticket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// The book cannot be read or written.
    #[error("the ticket book {path}: {source}")]
    Book {
        /// Its file.
        path: PathBuf,
        /// The cause.
        source: sqlx::Error,
    },
    /// An entry is not what was written.
    #[error("entry {0} of the ticket book is damaged; revoke it")]
    Damaged(i64),
    /// A name that cannot be used.
    #[error("a ticket's name must have 1 to {NAME_CHARACTERS} printable characters")]
    Name,
    /// Nothing to revoke.
    #[error("nothing here has the name or number `{0}`")]
    Unknown(String),
    /// The operating system has no randomness or no thread to give.
    #[error("the operating system refuses: {0}")]
    System(String),
}

/// A ticket that was just made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewTicket {
    /// Names it in the book.
    pub id: u64,
    /// Proves it; shown once and never kept.
    pub secret: [u8; 32],
    /// Milliseconds since the Unix epoch after which it is void.
    pub expires_at_ms: u64,
}

/// A ticket as the book has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketEntry {
    /// Names it in the book.
    pub id: u64,
    /// For people.
    pub name: String,
    /// What it makes of its holder.
    pub role: Role,
    /// Milliseconds since the Unix epoch after which it is void.
    pub expires_at_ms: u64,
    /// How often it may still be used; `None` without end.
    pub uses_left: Option<u32>,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// The book in one SQLite file.
#[derive(Clone, Debug)]
pub struct Tickets {
    path: PathBuf,
    audit: AuditLog,
}

impl Tickets {
    /// Opens the book in `path`, making it if it is not there.
    ///
    /// # Errors
    /// Names the file that cannot be opened or is not a ticket book.
    pub fn open(path: &Path) -> Result<Self, TicketError> {
        let audit = AuditLog::new(path.with_file_name(AUDIT_LOG));
        let book = Self { path: path.to_owned(), audit };
        book.perform(async |connection| {
            let table = "CREATE TABLE IF NOT EXISTS tickets (id BIGINT PRIMARY KEY, \
                name TEXT NOT NULL, role TEXT NOT NULL, secret_digest BYTEA NOT NULL, \
                expires_at_ms BIGINT NOT NULL, uses_left BIGINT, revoked BIGINT NOT NULL)";
            sqlx::query(table).execute(&mut *connection).await?;
            sqlx::query(members::TABLE).execute(connection).await.map(|_| ())
        })?;
        Ok(book)
    }

    /// Makes a ticket.
    ///
    /// # Errors
    /// A bad name, no randomness, or the book cannot be written.
    pub fn create(
        &self,
        name: &str,
        role: Role,
        valid_for: Duration,
        uses: Option<u32>,
    ) -> Result<NewTicket, TicketError> {
        if name.is_empty() || name.chars().count() > NAME_CHARACTERS || name.contains(char::is_control) {
            return Err(TicketError::Name);
        }
        let mut secret = [0; 32];
        let mut id = [0; 8];
        for buffer in [&mut secret[..], &mut id[..]] {
            getrandom::fill(buffer).map_err(|error| TicketError::System(error.to_string()))?;
        }
        let id = i64::from_le_bytes(id) & i64::MAX; // SQL integers are signed.
        let now = now_ms();
        let expires = now.saturating_add(i64::try_from(valid_for.as_millis()).unwrap_or(i64::MAX));
        let digest = blake3::hash(&secret).as_bytes().to_vec();
        let what = Action::CreateTicket { ticket: format!("{id:x}"), name: name.to_owned(), role };
        let name = name.to_owned();
        let made = self.perform(async |connection| {
            let insert = "INSERT INTO tickets (id, name, role, secret_digest, expires_at_ms, \
                uses_left, revoked) VALUES ($1, $2, $3, $4, $5, $6, 0)";
            let query = sqlx::query(insert).bind(id).bind(name).bind(role.to_string());
            let query = query.bind(digest).bind(expires).bind(uses.map(i64::from));
            query.execute(connection).await.map(|_| ())
        });
        self.audit.append(Actor::Local, what, Outcome::from(&made));
        made?;
        Ok(NewTicket { id: id.cast_unsigned(), secret, expires_at_ms: expires.cast_unsigned() })
    }

    /// Every ticket, those that expire last first.
    ///
    /// # Errors
    /// The book cannot be read or an entry is damaged.
    pub fn list(&self) -> Result<Vec<TicketEntry>, TicketError> {
        let rows = self.perform(async |connection| {
            let select = "SELECT id, name, role, expires_at_ms, uses_left, revoked FROM tickets \
                ORDER BY expires_at_ms DESC, id";
            sqlx::query(select).fetch_all(connection).await
        })?;
        rows.iter().map(read_entry).collect()
    }

    /// Voids the tickets of this name or number. Certificates that were made
    /// from them stay good. Returns how many tickets it were.
    ///
    /// # Errors
    /// [`TicketError::Unknown`] when there is none, or the book cannot be written.
    pub fn revoke(&self, name_or_id: &str) -> Result<u64, TicketError> {
        let update = "UPDATE tickets SET revoked = 1 WHERE name = $1 OR id = $2";
        let what = Action::RevokeTicket { ticket: shortened(name_or_id) };
        self.mark_revoked(update, name_or_id, what)
    }

    /// Runs an update that takes a name and a number, which is hexadecimal;
    /// returns how many entries it changed, at least one.
    fn mark_revoked(&self, update: &'static str, name_or_id: &str, what: Action) -> Result<u64, TicketError> {
        let marked = self.mark(update, name_or_id);
        self.audit.append(Actor::Local, what, Outcome::from(&marked));
        marked
    }

    fn mark(&self, update: &'static str, name_or_id: &str) -> Result<u64, TicketError> {
        let id = u64::from_str_radix(name_or_id, 16).ok().map(u64::cast_signed);
        let name = name_or_id.to_owned();
        let count = self.perform(async |connection| {
            let result = sqlx::query(update).bind(name).bind(id).execute(connection).await?;
            Ok(result.rows_affected())
        })?;
        if count == 0 {
            return Err(TicketError::Unknown(name_or_id.to_owned()));
        }
        Ok(count)
    }

    /// Opens the book and performs one operation on it, on a thread and a small
    /// runtime of its own, so that callers may be on any runtime or none.
    fn perform<T: Send>(
        &self,
        operation: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error> + Send,
    ) -> Result<T, TicketError> {
        let failed = |source| TicketError::Book { path: self.path.clone(), source };
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(|error| TicketError::System(error.to_string()))?;
                runtime.block_on(async {
                    let mut connection = connect(&self.path).await.map_err(failed)?;
                    let result = operation(&mut connection).await.map_err(failed);
                    connection.close().await.map_err(failed)?;
                    result
                })
            });
            thread.join().map_err(|_| TicketError::System("an operation panicked".into()))?
        })
    }
}

impl TicketBook for Tickets {
    fn redeem(&self, ticket: u64, secret: &[u8; 32], role: Role) -> Result<(), String> {
        let digest = blake3::hash(secret);
        let outcome = self.perform(async |connection| {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            let select = "SELECT id, name, role, expires_at_ms, uses_left, revoked, secret_digest \
                FROM tickets WHERE id = $1";
            let row =
                sqlx::query(select).bind(ticket.cast_signed()).fetch_optional(&mut *transaction).await?;
            let verdict = judge(row.as_ref(), digest, role, now_ms().cast_unsigned());
            if verdict.is_ok() {
                sqlx::query("UPDATE tickets SET uses_left = uses_left - 1 WHERE id = $1")
                    .bind(ticket.cast_signed())
                    .execute(&mut *transaction)
                    .await?;
                transaction.commit().await?;
            }
            Ok(verdict)
        });
        let outcome = outcome.unwrap_or_else(|error| Err(unusable(&error)));
        let what = Action::Join { ticket: format!("{ticket:x}"), role };
        self.audit.append(Actor::Stranger, what, Outcome::from(&outcome));
        outcome
    }

    fn joined(&self, identity: &Identity) -> Result<(), String> {
        let noted = self.note_member(identity).map_err(|error| unusable(&error));
        self.audit.append(Actor::from(identity), Action::Certify, Outcome::from(&noted));
        noted
    }

    fn admit(&self, identity: &Identity) -> Result<(), String> {
        match self.is_revoked(identity).map_err(|error| unusable(&error))? {
            true => Err(REVOKED.to_owned()),
            false => Ok(()),
        }
    }
}

/// A name as it was typed, as far as an entry has room for it.
fn shortened(name: &str) -> String {
    name.chars().take(NAME_CHARACTERS).collect()
}

fn unusable(error: &TicketError) -> String {
    tracing::error!(%error, "the ticket book cannot be used");
    "the master cannot use its ticket book now; try again later".to_owned()
}

/// Whether the ticket in `row` lets its holder in. Nothing is told to someone
/// who does not know the secret.
fn judge(row: Option<&SqliteRow>, digest: blake3::Hash, role: Role, now_ms: u64) -> Result<(), String> {
    let unknown = || "the master does not know this ticket".to_owned();
    let row = row.ok_or_else(unknown)?;
    let known: &[u8] = row.try_get(6).map_err(|_| unknown())?;
    // `blake3::Hash` compares in constant time.
    if blake3::Hash::from_slice(known).map_err(|_| unknown())? != digest {
        return Err(unknown());
    }
    let entry = read_entry(row).map_err(|error| error.to_string())?;
    if entry.role != role {
        let is = entry.role;
        return Err(format!("the ticket is for the role {is} and was used to join as {role}"));
    }
    if entry.revoked {
        return Err("the ticket was revoked; ask for a new one".to_owned());
    }
    if now_ms > entry.expires_at_ms {
        return Err("the ticket has expired; ask for a new one".to_owned());
    }
    if entry.uses_left == Some(0) {
        return Err("the ticket is used up; ask for a new one".to_owned());
    }
    Ok(())
}

fn read_entry(row: &SqliteRow) -> Result<TicketEntry, TicketError> {
    let id: i64 = row.try_get(0).map_err(|_| TicketError::Damaged(-1))?;
    let read = || -> Result<TicketEntry, sqlx::Error> {
        let uses_left: Option<i64> = row.try_get(4)?;
        let role: String = row.try_get(2)?;
        Ok(TicketEntry {
            id: id.cast_unsigned(),
            name: row.try_get(1)?,
            role: parse_role(&role).ok_or(sqlx::Error::RowNotFound)?,
            expires_at_ms: row.try_get::<i64, _>(3)?.cast_unsigned(),
            uses_left: uses_left.map(|uses| u32::try_from(uses).unwrap_or(0)),
            revoked: row.try_get::<i64, _>(5)? != 0,
        })
    };
    read().map_err(|_| TicketError::Damaged(id))
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

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn parse_role(name: &str) -> Option<Role> {
    Role::ALL.into_iter().find(|role| role.to_string() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn book() -> (tempfile::TempDir, Tickets) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let book = Tickets::open(&folder.path().join("tickets.sqlite")).expect("it opens");
        (folder, book)
    }

    #[test]
    fn ticket_lets_its_holder_in_until_it_is_used_up() {
        let (_folder, book) = book();
        let ticket = book.create("render room", Role::Node, HOUR, Some(2)).expect("it is made");
        for _ in 0..2 {
            assert_eq!(book.redeem(ticket.id, &ticket.secret, Role::Node), Ok(()));
        }
        let refused = book.redeem(ticket.id, &ticket.secret, Role::Node).expect_err("used up");
        assert!(refused.contains("used up"), "{refused}");
    }

    #[test]
    fn ticket_without_a_count_is_good_for_ever() {
        let (_folder, book) = book();
        let ticket = book.create("all", Role::Artist, HOUR, None).expect("it is made");
        for _ in 0..5 {
            assert_eq!(book.redeem(ticket.id, &ticket.secret, Role::Artist), Ok(()));
        }
        assert_eq!(book.list().expect("it is readable")[0].uses_left, None);
    }

    #[test]
    fn wrong_secret_and_unknown_ticket_look_the_same() {
        let (_folder, book) = book();
        let ticket = book.create("n", Role::Node, HOUR, None).expect("it is made");
        let wrong = book.redeem(ticket.id, &[0; 32], Role::Node);
        assert!(wrong.is_err());
        assert_eq!(wrong, book.redeem(ticket.id ^ 1, &ticket.secret, Role::Node));
    }

    #[test]
    fn expired_revoked_and_foreign_tickets_are_refused_with_the_reason() {
        let (_folder, book) = book();
        let expired = book.create("old", Role::Node, Duration::ZERO, None).expect("it is made");
        while now_ms().cast_unsigned() <= expired.expires_at_ms {
            std::hint::spin_loop();
        }
        let revoked = book.create("lost", Role::Node, HOUR, None).expect("it is made");
        assert_eq!(book.revoke("lost").expect("it is there"), 1);
        let artist = book.create("anna", Role::Artist, HOUR, None).expect("it is made");
        for (ticket, reason) in [(expired, "expired"), (revoked, "revoked"), (artist, "artist")] {
            let refused = book.redeem(ticket.id, &ticket.secret, Role::Node).expect_err(reason);
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[test]
    fn another_process_sees_new_tickets_at_once() {
        let (folder, book) = book();
        let other = Tickets::open(&folder.path().join("tickets.sqlite")).expect("it opens");
        let ticket = other.create("n", Role::Node, HOUR, None).expect("it is made");
        assert_eq!(book.redeem(ticket.id, &ticket.secret, Role::Node), Ok(()));
        assert_eq!(other.revoke(&format!("{:x}", ticket.id)).expect("it is there"), 1);
        assert!(book.redeem(ticket.id, &ticket.secret, Role::Node).is_err());
        assert!(matches!(book.revoke("nobody"), Err(TicketError::Unknown(_))));
    }
}
