//! What the lanes render for the driver, and the tiles that it keeps and sends.

use std::sync::Arc;

use farm_core::agent::{AgentCommand, LaneIndex};
use farm_core::scheduler::FailureKind;
use farm_core::{JobId, LeaseId, RenderTask, TileId};
use farm_wire::message::FromNode;
use farm_wire::tile::TileAttributes;
use farm_wire::{WireError, transfer};

use super::{Done, Driver, KeptTiles};
use crate::lane::{EncodedTile, LaneEvent, LaneFailure, Order, Stop};

impl Driver {
    pub(super) fn take_lane_event(&mut self, event: LaneEvent) {
        match event {
            LaneEvent::Progressed { lane, lease, samples } => {
                tracing::debug!(%lease, samples, "lease goes on");
                self.tell(AgentCommand::ReportProgress { lane, lease, samples });
            }
            LaneEvent::Rendered { lane, lease } => {
                tracing::debug!(%lease, "lease is rendered");
                self.await_tiles(lease, 1);
                self.tell(AgentCommand::FinishRender { lane, lease });
            }
            LaneEvent::Yielded { lane, lease, tiles } => {
                self.await_tiles(lease, tiles);
                let tiles = u32::try_from(tiles).expect("one for each level of a tree at most");
                self.tell(AgentCommand::YieldRender { lane, lease, tiles });
            }
            LaneEvent::Encoded { lease, tile } => self.take_encoded(lease, tile),
            LaneEvent::Failed { lane, lease, failure } => self.take_failure(lane, lease, failure),
        }
    }

    fn await_tiles(&mut self, lease: LeaseId, awaited: usize) {
        self.stops.remove(&lease);
        self.tiles.insert(lease, KeptTiles { ready: Vec::new(), awaited, wanted: false, empty: None });
    }

    fn take_encoded(&mut self, lease: LeaseId, tile: EncodedTile) {
        let Some(kept) = self.tiles.get_mut(&lease) else {
            // Nobody wants it any more.
            return;
        };
        kept.ready.push(Arc::new(tile));
        kept.awaited = kept.awaited.saturating_sub(1);
        if kept.awaited == 0 && kept.wanted {
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
            // Rendered but not encoded.
            self.tell(AgentCommand::LoseTile { lease, kind, message });
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
            let empty = self.agent.tile_of(lease);
            self.tiles.insert(lease, KeptTiles { ready: Vec::new(), awaited: 0, wanted: false, empty });
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
        let stop = Arc::new(Stop::default());
        Some(Order { lease, task, attributes, tile_size: known.tile_size, stop })
    }

    pub(super) fn send_tile(&mut self, lease: LeaseId) {
        let Some(kept) = self.tiles.get_mut(&lease) else { return };
        if let Some(tile) = kept.empty {
            return self.send(FromNode::EmptyTile { lease, tile });
        }
        if kept.awaited > 0 {
            kept.wanted = true;
            return;
        }
        let Some(link) = &self.link else {
            return;
        };
        for tile in &kept.ready {
            let (client, connection, tile) = (link.client.clone(), self.connection, Arc::clone(tile));
            self.sends.spawn(async move {
                let outcome = transfer::send_tile(&client, &tile.header, &tile.bytes).await;
                Done { connection, subject: lease, outcome }
            });
        }
    }

    pub(super) fn take_sent(&mut self, done: &Done<LeaseId, WireError>) {
        if let Err(error) = &done.outcome
            && done.connection == self.connection
        {
            self.break_link(&format!("the tile of lease {} could not be sent: {error}", done.subject));
        }
    }
}
