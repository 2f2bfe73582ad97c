//! What the lanes render for the driver, and the tiles that it keeps and sends.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use farm_core::agent::{AgentCommand, LaneIndex};
use farm_core::scheduler::FailureKind;
use farm_core::{JobId, LeaseId, RenderTask, TileId};
use farm_wire::message::FromNode;
use farm_wire::tile::TileAttributes;
use farm_wire::{WireError, transfer};

use super::{Done, Driver, KeptTile};
use crate::lane::{EncodedTile, LaneEvent, LaneFailure, Order};

impl Driver {
    pub(super) fn take_lane_event(&mut self, event: LaneEvent) {
        match event {
            LaneEvent::Progressed { lane, lease, samples } => {
                tracing::debug!(%lease, samples, "lease goes on");
                self.tell(AgentCommand::ReportProgress { lane, lease, samples });
            }
            LaneEvent::Rendered { lane, lease } => {
                tracing::debug!(%lease, "lease is rendered");
                self.stops.remove(&lease);
                self.tiles.insert(lease, KeptTile::Encoding { wanted: false });
                self.tell(AgentCommand::FinishRender { lane, lease });
            }
            LaneEvent::Encoded { lease, tile } => self.take_encoded(lease, tile),
            LaneEvent::Failed { lane, lease, failure } => self.take_failure(lane, lease, failure),
        }
    }

    fn take_encoded(&mut self, lease: LeaseId, tile: EncodedTile) {
        let Some(kept) = self.tiles.get_mut(&lease) else {
            // Nobody wants it any more.
            return;
        };
        let is_wanted = matches!(kept, KeptTile::Encoding { wanted: true });
        *kept = KeptTile::Ready(Arc::new(tile));
        if is_wanted {
            self.send_tile(lease);
        }
    }

    fn take_failure(&mut self, lane: LaneIndex, lease: LeaseId, failure: LaneFailure) {
        self.stops.remove(&lease);
        let LaneFailure { kind, message, missing } = failure;
        if kind != FailureKind::HandedBack {
            tracing::warn!("lane {}, lease {lease}: {message}", lane.0);
        }
        if self.tiles.remove(&lease).is_some() {
            // Rendered but not encoded: for the agent it is finished, so the
            // lease is given up as a settled one and the master told here.
            self.tell(AgentCommand::SettleTile(lease));
            self.send(FromNode::Failed { lease, kind, message });
            return;
        }
        self.tell(AgentCommand::FailRender { lane, lease, kind, message });
        if let Some(digest) = missing {
            // The agent fetches it again for the next lease that needs it.
            self.tell(AgentCommand::EvictBlob(digest));
        }
    }

    pub(super) fn start_render(&mut self, lane: LaneIndex, lease: LeaseId, job: JobId, task: RenderTask) {
        let place = usize::try_from(lane.0).unwrap_or(usize::MAX);
        if self.lanes.get(place).is_some_and(|lane| !lane.has_adapter()) {
            let tile = self.agent.tile_of(lease).map(KeptTile::Empty);
            self.tiles.extend(tile.map(|tile| (lease, tile)));
            return self.tell(AgentCommand::FinishRender { lane, lease });
        }
        let order = self.make_order(lease, job, task);
        let refused = match order {
            Some(order) => {
                let TileId { job, frame, rect, range } = order.attributes.tile;
                let (level, index, samples) = (range.level, range.index, order.task.samples());
                tracing::debug!(%lease, %job, frame = frame.0, rect = rect.0, level, index, samples, "lease begins");
                self.stops.insert(lease, Arc::clone(&order.stop));
                self.note_scene(order.attributes.scene);
                !self.lanes.get(place).is_some_and(|lane| lane.order(order))
            }
            None => true,
        };
        if refused {
            let failure = LaneFailure::new(FailureKind::HandedBack, "the lane cannot take it");
            self.take_failure(lane, lease, failure);
        }
    }

    fn make_order(&self, lease: LeaseId, job: JobId, task: RenderTask) -> Option<Order> {
        let known = self.jobs.get(&job)?;
        let tile = self.agent.tile_of(lease)?;
        let attributes = TileAttributes {
            tile,
            node: self.node,
            scene: known.scene_of(tile.frame),
            shader_digest: self.shader_digest,
            samples_per_pixel: task.range.samples(task.settings.samples_per_pixel),
            finished: task.is_whole(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        Some(Order { lease, task, attributes, tile_size: known.tile_size, stop })
    }

    pub(super) fn send_tile(&mut self, lease: LeaseId) {
        let tile = match self.tiles.get_mut(&lease) {
            Some(KeptTile::Ready(tile)) => Arc::clone(tile),
            Some(KeptTile::Encoding { wanted }) => {
                *wanted = true;
                return;
            }
            Some(KeptTile::Empty(tile)) => {
                let tile = *tile;
                return self.send(FromNode::EmptyTile { lease, tile });
            }
            None => return,
        };
        let Some(link) = &self.link else {
            return;
        };
        let (client, connection) = (link.client.clone(), self.connection);
        self.sends.spawn(async move {
            let outcome = transfer::send_tile(&client, &tile.header, &tile.bytes).await;
            Done { connection, subject: lease, outcome }
        });
    }

    pub(super) fn take_sent(&mut self, done: &Done<LeaseId, WireError>) {
        if let Err(error) = &done.outcome
            && done.connection == self.connection
        {
            self.break_link(&format!("the tile of lease {} could not be sent: {error}", done.subject));
        }
    }
}
