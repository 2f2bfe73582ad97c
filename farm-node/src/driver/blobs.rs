//! The blobs that the driver fetches, and the room for them.

use std::sync::Arc;

use farm_core::BlobDigest;
use farm_core::agent::AgentCommand;
use farm_core::scheduler::FailureKind;

use super::room::wait_for_room;
use super::{Done, Driver};
use crate::fetch::{FetchFailure, fetch};

impl Driver {
    pub(super) fn start_fetch(&mut self, digest: BlobDigest) {
        self.fetching.insert(digest);
        let Some(link) = self.link.as_ref().filter(|_| !self.greeting) else {
            self.unconnected.insert(digest);
            return;
        };
        let (client, cache, limits) =
            (link.client.clone(), Arc::clone(&self.cache), self.node_limits.clone());
        let connection = self.connection;
        self.fetches.spawn(async move {
            let outcome = fetch(client, cache, digest, limits).await;
            Done { connection, subject: digest, outcome }
        });
    }

    pub(super) fn take_fetched(&mut self, done: Done<BlobDigest, FetchFailure>) {
        let digest = done.subject;
        match done.outcome {
            Ok(()) => {
                self.fetching.remove(&digest);
                let kept = self.make_room(digest);
                self.tell(kept);
            }
            Err(FetchFailure::Lost) if done.connection == self.connection => {
                self.unconnected.insert(digest);
            }
            Err(FetchFailure::Lost) => self.start_fetch(digest),
            Err(FetchFailure::Missed { kind, message, no_room }) => {
                self.fetching.remove(&digest);
                tracing::warn!("{message}");
                self.tell(AgentCommand::MissBlob { digest, kind, message });
                if no_room && self.no_room.is_none() {
                    tracing::warn!("resting until there is room on the cache's disk");
                    let (folder, limits) = (self.cache.folder().to_owned(), self.node_limits.clone());
                    self.no_room = Some(Box::pin(wait_for_room(folder, limits)));
                }
            }
        }
    }

    /// Keeps the cache within its limit after `digest` came, and says what
    /// became of that blob.
    fn make_room(&mut self, digest: BlobDigest) -> AgentCommand {
        if !self.cache.is_over_limit() {
            return AgentCommand::StoreBlob(digest);
        }
        let victims = self.cache.evict(&self.agent.pinned());
        let is_kept = !victims.contains(&digest);
        for victim in victims.into_iter().filter(|&victim| victim != digest) {
            self.tell(AgentCommand::EvictBlob(victim));
        }
        if is_kept && !self.cache.is_over_limit() {
            return AgentCommand::StoreBlob(digest);
        }
        self.cache.delete(digest);
        let limit_bytes = self.cache.limit_bytes();
        let message = format!("the node's cache of {limit_bytes} bytes is full of blobs in use");
        AgentCommand::MissBlob { digest, kind: FailureKind::DiskFull, message }
    }
}
