//! Who joined: so that a lost key can be revoked by name.

use std::collections::HashSet;

use farm_wire::{Identity, Role};
use sqlx::Row;

use super::{TicketError, Tickets, parse_role, shortened};
use crate::audit::Action;

/// Members that joined, one row for each certificate.
pub(super) const TABLE: &str = "CREATE TABLE IF NOT EXISTS members (id BIGINT NOT NULL, \
    role TEXT NOT NULL, name TEXT NOT NULL, revoked BIGINT NOT NULL, PRIMARY KEY (role, id))";

/// Somebody who was given a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who it is.
    pub identity: Identity,
    /// Whether it is refused.
    pub revoked: bool,
}

impl Tickets {
    /// Everybody who joined, by name.
    ///
    /// # Errors
    /// The book cannot be read or an entry is damaged.
    pub fn members(&self) -> Result<Vec<Member>, TicketError> {
        let rows = self.perform(async |connection| {
            let select = "SELECT id, role, name, revoked FROM members ORDER BY name, role, id";
            sqlx::query(select).fetch_all(connection).await
        })?;
        let read = |row: &sqlx::sqlite::SqliteRow| -> Result<Member, sqlx::Error> {
            let id: i64 = row.try_get(0)?;
            let role: String = row.try_get(1)?;
            let role = parse_role(&role).ok_or(sqlx::Error::RowNotFound)?;
            let identity = Identity { role, id: id.cast_unsigned(), name: row.try_get(2)? };
            Ok(Member { identity, revoked: row.try_get::<i64, _>(3)? != 0 })
        };
        let damaged = |row: &sqlx::sqlite::SqliteRow| TicketError::Damaged(row.try_get(0).unwrap_or(-1));
        rows.iter().map(|row| read(row).map_err(|_| damaged(row))).collect()
    }

    /// Refuses the members of this name or number: a running master closes their
    /// connections within about a second and takes no other. Returns how many it
    /// were.
    ///
    /// # Errors
    /// [`TicketError::Unknown`] when there is none, or the book cannot be written.
    pub fn revoke_member(&self, name_or_id: &str) -> Result<u64, TicketError> {
        let update = "UPDATE members SET revoked = 1 WHERE name = $1 OR id = $2";
        let what = Action::RevokeIdentity { identity: shortened(name_or_id) };
        self.mark_revoked(update, name_or_id, what)
    }

    /// Takes the members of this name or number in again, with the certificates
    /// that they have. Returns how many it were.
    ///
    /// # Errors
    /// [`TicketError::Unknown`] when there is none, or the book cannot be written.
    pub fn restore_member(&self, name_or_id: &str) -> Result<u64, TicketError> {
        let update = "UPDATE members SET revoked = 0 WHERE name = $1 OR id = $2";
        let what = Action::RestoreIdentity { identity: shortened(name_or_id) };
        self.mark_revoked(update, name_or_id, what)
    }

    /// Everybody who is revoked.
    pub(crate) fn revoked_members(&self) -> Result<HashSet<(Role, u64)>, TicketError> {
        let rows = self.perform(async |connection| {
            let select = "SELECT role, id FROM members WHERE revoked <> 0";
            sqlx::query_as::<_, (String, i64)>(select).fetch_all(connection).await
        })?;
        // One of a role that we do not know cannot be connected.
        let known = |(role, id): (String, i64)| Some((parse_role(&role)?, id.cast_unsigned()));
        Ok(rows.into_iter().filter_map(known).collect())
    }

    /// Writes a member down.
    pub(super) fn note_member(&self, identity: &Identity) -> Result<(), TicketError> {
        let (id, role) = (identity.id.cast_signed(), identity.role.to_string());
        let name = identity.name.clone();
        self.perform(async |connection| {
            let insert = "INSERT INTO members (id, role, name, revoked) VALUES ($1, $2, $3, 0)";
            let query = sqlx::query(insert).bind(id).bind(role).bind(name);
            query.execute(connection).await.map(|_| ())
        })
    }

    /// Whether a member was revoked.
    pub(super) fn is_revoked(&self, identity: &Identity) -> Result<bool, TicketError> {
        let (id, role) = (identity.id.cast_signed(), identity.role.to_string());
        let revoked = self.perform(async |connection| {
            let select = "SELECT revoked FROM members WHERE role = $1 AND id = $2";
            let query = sqlx::query_scalar(select).bind(role).bind(id);
            query.fetch_optional(connection).await
        })?;
        Ok(revoked.is_some_and(|revoked: i64| revoked != 0))
    }
}

#[cfg(test)]
mod tests {
    use farm_wire::server::TicketBook;

    use super::*;

    fn identity(id: u64, name: &str) -> Identity {
        Identity { role: Role::Node, id, name: name.to_owned() }
    }

    #[test]
    fn revoked_member_is_refused_and_others_are_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let book = Tickets::open(&folder.path().join("tickets.sqlite")).expect("it opens");
        let (lost, kept) = (identity(u64::MAX, "laptop"), identity(2, "workstation"));
        for member in [&lost, &kept] {
            book.joined(member).expect("there is room");
            assert_eq!(book.admit(member), Ok(()));
        }
        assert_eq!(book.revoke_member("laptop").expect("it is there"), 1);
        let refused = book.admit(&lost).expect_err("it is revoked");
        assert!(refused.contains("revoked"), "{refused}");
        assert_eq!(book.admit(&kept), Ok(()));
        let members = book.members().expect("it is readable");
        let listed: Vec<_> = members.iter().map(|m| (&m.identity, m.revoked)).collect();
        assert_eq!(listed, [(&lost, true), (&kept, false)]);
        let revoked = book.revoked_members().expect("it is readable");
        assert_eq!(revoked, HashSet::from([(Role::Node, u64::MAX)]));
        assert_eq!(book.restore_member("laptop").expect("it is there"), 1);
        assert_eq!(book.admit(&lost), Ok(()));
        assert_eq!(book.revoked_members().expect("it is readable"), HashSet::new());
        assert_eq!(book.revoke_member("2").expect("it is there"), 1);
        assert!(matches!(book.revoke_member("3"), Err(TicketError::Unknown(_))));
    }
}
