//! Claims about the scheduler, on a small farm that keeps its own journal.

mod commands;
mod faults;
mod history;
mod order;
mod parts;
mod pools;
mod shares;
mod standing;
mod tail;
mod works;

use std::collections::BTreeMap;

use super::*;
use crate::id::{BlobDigest, LeaseId};
use crate::job::{FrameRange, PixelFilter, RenderSettings, Resolution};
use crate::tile::{Rect, TileId};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
const JOB: JobId = JobId(1);
const FRAME: FrameNumber = FrameNumber(1);

/// A scheduler with what its driver would have kept.
struct Farm {
    scheduler: Scheduler,
    journal: Vec<Fact>,
    /// The latest snapshot, and how many facts it stands for.
    snapshot: (Vec<SnapshotPart>, usize),
    now: Timestamp,
    /// Leases as the nodes know them.
    leases: BTreeMap<(NodeId, LeaseId), Lease>,
    /// Effects since they were last asked for, without records.
    effects: Vec<Effect>,
}

impl Farm {
    fn new(limits: Limits) -> Self {
        Self {
            scheduler: Scheduler::restore([], limits, 1),
            journal: Vec::new(),
            snapshot: (Vec::new(), 0),
            now: Timestamp(1000),
            leases: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    fn handle(&mut self, command: Command) {
        self.scheduler.handle(self.now, command);
        while let Some(effect) = self.scheduler.poll_effect() {
            match &effect {
                Effect::Record(fact) => {
                    self.journal.push(fact.clone());
                    continue;
                }
                Effect::Grant { node, lease } => {
                    self.leases.insert((*node, lease.id), lease.clone());
                }
                Effect::Revoke { node, lease } => {
                    self.leases.remove(&(*node, *lease));
                }
                Effect::Answer { .. } | Effect::Settle { .. } | Effect::Assemble { .. } => {}
            }
            self.effects.push(effect);
        }
        assert_eq!(self.scheduler.audit(), Ok(()));
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn submit(&mut self, spec: JobSpec) {
        self.handle(Command::SubmitJob { request: 1, spec: Box::new(spec), owner: None, quota: None });
    }

    fn join(&mut self, node: NodeId) {
        self.handle(Command::JoinNode { node, lanes: 1, equipment: Default::default(), holding: Vec::new() });
    }

    fn leave(&mut self, node: NodeId) {
        self.leases.retain(|(holder, _), _| *holder != node);
        self.handle(Command::LeaveNode(node));
    }

    fn change_node(&mut self, node: NodeId, change: NodeChange) {
        self.handle(Command::ChangeNode { request: 7, node, change });
    }

    fn leases_of(&self, node: NodeId) -> Vec<Lease> {
        self.leases
            .range((node, LeaseId(0))..=(node, LeaseId(u64::MAX)))
            .map(|(_, lease)| lease.clone())
            .collect()
    }

    fn first_lease(&self, node: NodeId) -> Lease {
        self.leases_of(node).into_iter().next().expect("the node holds a lease")
    }

    fn report(&mut self, node: NodeId, lease: &Lease, render_us: u64) {
        self.leases.remove(&(node, lease.id));
        self.report_tile(node, lease.id, lease.tile, render_us);
    }

    fn report_tile(&mut self, node: NodeId, lease: LeaseId, tile: TileId, render_us: u64) {
        self.handle(Command::ReportTile { node, lease, tile, blob: blob(7), rays: 10, render_us });
    }

    fn fail(&mut self, node: NodeId, lease: &Lease, kind: FailureKind) {
        self.leases.remove(&(node, lease.id));
        self.handle(Command::ReportFailure { node, lease: lease.id, kind, message: "it broke".into() });
    }

    /// Lets time pass, with a tick at every timeout on the way.
    fn wait(&mut self, duration: std::time::Duration) {
        let end = self.now.after(duration);
        while let Some(at) = self.scheduler.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.handle(Command::Tick);
        }
        self.now = end;
    }

    fn job(&self) -> JobView {
        self.scheduler.job(JOB).expect("job 1 was submitted")
    }

    /// Has the node finish what it holds, until it holds nothing.
    fn finish_all(&mut self, node: NodeId, render_us: u64) -> Vec<Lease> {
        let mut done = Vec::new();
        while let Some(lease) = self.leases_of(node).into_iter().next() {
            self.report(node, &lease, render_us);
            done.push(lease);
        }
        done
    }
}

fn blob(value: u8) -> BlobDigest {
    BlobDigest([value; 32])
}

/// A job of square frames of `rects` × `rects` rectangles of 8 × 8 pixels.
fn spec(rects: u32, samples_per_pixel: u32) -> JobSpec {
    JobSpec {
        name: "kitchen".into(),
        scene: blob(1),
        blobs: vec![blob(2), blob(3)],
        frame_scenes: Vec::new(),
        shader_digest: blob(4),
        resolution: Resolution { width: rects * 8, height: rects * 8 },
        frames: FrameRange { first: FRAME, last: FRAME },
        tile_size: 8,
        settings: RenderSettings {
            samples_per_pixel,
            seed: 1,
            max_depth: 4,
            filter: PixelFilter::Box,
            camera: 0,
            transparent: false,
            film: Default::default(),
        },
        priority: 0,
        weight: 1,
        needs: Default::default(),
    }
}

/// Few leases, so that a test can name them all.
fn small_limits() -> Limits {
    let rejoin_grace = std::time::Duration::ZERO;
    Limits { leases_per_lane: 1, leases_per_lane_max: 1, rejoin_grace, ..Limits::default() }
}
