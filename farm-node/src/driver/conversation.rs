//! What the driver and the master say to each other on the control stream.

use std::collections::BTreeSet;

use farm_core::agent::AgentCommand;
use farm_core::scheduler::{FailureKind, Lease};
use farm_core::{BlobDigest, JobId};
use farm_wire::message::{FromNode, LaneDescription, ToNode, Verdict};

use super::Driver;
use crate::error::NodeError;
use crate::job::KnownJob;
use crate::link::{Link, LinkEvent, MESSAGES_AT_ONCE};

impl Driver {
    /// Takes an event and those that are already waiting behind it: grants and
    /// verdicts come in batches.
    pub(super) fn take_link_events(&mut self, first: LinkEvent) -> Result<(), NodeError> {
        let mut next = Some(first);
        for _ in 0..MESSAGES_AT_ONCE {
            let Some(event) = next else { break };
            self.take_link_event(event)?;
            self.perform_effects();
            next = self.link_events.try_recv().ok();
        }
        next.map_or(Ok(()), |event| self.take_link_event(event))
    }

    fn take_link_event(&mut self, event: LinkEvent) -> Result<(), NodeError> {
        match event {
            LinkEvent::Opened(link) => self.greet(link),
            LinkEvent::Received(message) => self.take_message(message),
            LinkEvent::Closed => self.take_closed(),
            LinkEvent::Refused(reason) => return Err(NodeError::Refused(reason)),
        }
        Ok(())
    }

    fn greet(&mut self, link: Link) {
        let holding = self.agent.holding();
        let lanes: Vec<LaneDescription> = self.lanes.iter().map(|lane| lane.description.clone()).collect();
        let held: BTreeSet<JobId> = holding.iter().map(|held| held.tile.job).collect();
        // The master describes every job anew on each connection.
        self.jobs.retain(|job, _| held.contains(job));
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let on_disk = self.cache.digests();
        self.scenes.retain(|scene| on_disk.contains(scene));
        let (tags, scenes) = (self.tags.clone(), self.scenes.clone());
        link.send(FromNode::Hello {
            version,
            shader_digest: self.shader_digest,
            lanes,
            holding,
            tags,
            scenes,
        });
        self.link = Some(link);
        self.greeting = true;
        self.connection += 1;
    }

    fn take_closed(&mut self) {
        self.link = None;
        self.sends.abort_all();
        for tile in self.tiles.values_mut() {
            tile.wanted = false;
        }
        if std::mem::take(&mut self.greeting) {
            return;
        }
        self.tell(AgentCommand::Disconnect);
    }

    /// Gives up a connection on which something went wrong; the next one
    /// begins with a hello that puts both sides right.
    pub(super) fn break_link(&mut self, why: &str) {
        if let Some(link) = self.link.take() {
            tracing::warn!("giving up the connection: {why}");
            tokio::spawn(link.close(self.node_limits.leave_timeout));
        }
    }

    pub(super) fn send(&mut self, message: FromNode) {
        let sent = self.link.as_ref().is_none_or(|link| link.send(message));
        if !sent {
            self.break_link("the master does not read what it is told");
        }
    }

    pub(super) fn take_message(&mut self, message: ToNode) {
        match message {
            ToNode::Welcome { version, node } => {
                if !std::mem::take(&mut self.greeting) {
                    return self.break_link("the master said welcome twice");
                }
                tracing::info!("connected as node {node} to a master of version {version}");
                self.tell(AgentCommand::Connect);
                for digest in std::mem::take(&mut self.unconnected) {
                    self.start_fetch(digest);
                }
            }
            ToNode::Job { job, spec } => {
                tracing::info!(
                    "job {job} `{}`: scene {} in {} blobs",
                    spec.name,
                    spec.scene,
                    spec.all_blobs().count()
                );
                self.remember_job(job, KnownJob::new(&spec));
                self.tell(AgentCommand::OpenJob { job, spec });
            }
            ToNode::Granted { lease } => self.take_lease(lease),
            ToNode::Revoked { lease } => self.tell(AgentCommand::DropLease(lease)),
            ToNode::Settled { lease, verdict } => {
                tracing::debug!(%lease, ?verdict, "lease is settled");
                if let Verdict::Rejected { reason } = &verdict {
                    tracing::warn!("the master rejected the tile of lease {lease}: {reason}");
                }
                self.tell(AgentCommand::SettleTile(lease));
            }
        }
    }

    fn remember_job(&mut self, job: JobId, known: KnownJob) {
        if self.jobs.len() >= self.node_limits.jobs {
            let held: BTreeSet<JobId> = self.agent.holding().iter().map(|held| held.tile.job).collect();
            self.jobs.retain(|job, _| held.contains(job));
        }
        self.jobs.insert(job, known);
    }

    /// Notes that a scene is on the disk, since it is being rendered.
    pub(super) fn note_scene(&mut self, scene: BlobDigest) {
        self.scenes.retain(|known| *known != scene);
        self.scenes.push(scene);
        let too_many = self.scenes.len().saturating_sub(self.scenes_kept);
        self.scenes.drain(..too_many);
    }

    /// Passes a lease on to the agent, which compares it with the job's plan,
    /// unless its job is pinned to other shaders.
    fn take_lease(&mut self, lease: Lease) {
        let known = self.jobs.get(&lease.tile.job);
        match known.map_or(Ok(()), |known| known.check_shaders(self.shader_digest)) {
            Ok(()) => self.tell(AgentCommand::TakeLease(lease)),
            Err(message) => {
                tracing::warn!("lease {} of job {}: {message}", lease.id, lease.tile.job);
                self.send(FromNode::Failed { lease: lease.id, kind: FailureKind::Render, message });
            }
        }
    }
}
