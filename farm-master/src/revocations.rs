//! Who was revoked, for connections that are open already.
//!
//! The book of members may be changed by another process, which has no way to
//! tell us; so one task looks into it every [`LOOK_EVERY`], and whoever serves a
//! peer waits here for that peer's turn. Someone revoked is cut off after that
//! pause and one reading of the book at most, and someone restored is let in again
//! as soon.

use std::collections::HashSet;
use std::time::Duration;

use farm_wire::{Identity, Role};
use tokio::sync::watch;

use crate::tickets::Tickets;

/// Pause between two looks into the book. One look opens a small database and
/// reads the revoked members alone, in about a millisecond, so a look a second
/// costs a thousandth of one core.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

type Revoked = HashSet<(Role, u64)>;

/// Who was revoked, as of the last look. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Revocations {
    seen: watch::Receiver<Revoked>,
}

impl Revocations {
    /// Nobody yet, and where what is seen is to be said.
    fn start() -> (watch::Sender<Revoked>, Self) {
        let (say, seen) = watch::channel(Revoked::new());
        (say, Self { seen })
    }

    /// Looks into the book from now on, until the last listener is gone.
    pub(crate) fn watch(book: Tickets) -> Self {
        let (say, revocations) = Self::start();
        tokio::spawn(look(book, say));
        revocations
    }

    /// Resolves when somebody is known to be revoked.
    pub(crate) async fn revoked(&self, identity: &Identity) {
        let who = (identity.role, identity.id);
        let mut seen = self.seen.clone();
        if seen.wait_for(|revoked| revoked.contains(&who)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn look(book: Tickets, say: watch::Sender<Revoked>) {
    let mut readable = true;
    loop {
        let reading = book.clone();
        let read = tokio::task::spawn_blocking(move || reading.revoked_members()).await;
        match read.map_err(|error| error.to_string()).and_then(|read| read.map_err(|e| e.to_string())) {
            Ok(revoked) => {
                readable = true;
                say.send_if_modified(|known| {
                    let changed = *known != revoked;
                    *known = revoked;
                    changed
                });
            }
            // Those known stay revoked; once is enough in the log.
            Err(error) if readable => {
                readable = false;
                tracing::error!(%error, "who was revoked cannot be read; trying again every second");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = say.closed() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn only_whoever_is_revoked_is_cut_off() {
        let (say, revocations) = Revocations::start();
        let identity = |role, id| Identity { role, id, name: "anna".to_owned() };
        let (lost, node) = (identity(Role::Artist, 7), identity(Role::Node, 7));
        assert!(revocations.revoked(&lost).now_or_never().is_none());
        say.send_replace(HashSet::from([(Role::Artist, 7)]));
        assert!(revocations.revoked(&lost).now_or_never().is_some());
        assert!(revocations.revoked(&node).now_or_never().is_none(), "another role's number");
    }
}
