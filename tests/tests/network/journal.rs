//! The journal on its real file, while the simulated clock stands still.

use std::sync::mpsc as sync_mpsc;

use farm_core::scheduler::{Entry, Fact, State};
use farm_master::journal::{Journal, JournalError, SqliteJournal};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

/// SQLite works on a thread of its own, of which a paused clock knows nothing: it
/// would run on meanwhile, faster than any disk. It does wait for tokio's blocking
/// threads, so one of these waits as long as SQLite works.
pub(crate) struct OutOfTime(pub(crate) SqliteJournal);

/// Awaits something while the clock stands still.
async fn out_of_time<T>(work: impl Future<Output = T>) -> T {
    let (done, wait) = sync_mpsc::channel::<()>();
    // Ends when `done` is dropped, also where this future is.
    tokio::task::spawn_blocking(move || wait.recv());
    let outcome = work.await;
    drop(done);
    outcome
}

impl Journal for OutOfTime {
    async fn begin_life(&mut self) -> Result<u32, JournalError> {
        out_of_time(self.0.begin_life()).await
    }

    async fn replay(&mut self, entries: mpsc::Sender<Entry>) -> Result<(), JournalError> {
        out_of_time(self.0.replay(entries)).await
    }

    async fn append(&mut self, facts: &[Fact]) -> Result<(), JournalError> {
        out_of_time(self.0.append(facts)).await
    }

    fn compact(&self, state: State) -> BoxFuture<'static, Result<(), JournalError>> {
        out_of_time(self.0.compact(state)).boxed()
    }
}
