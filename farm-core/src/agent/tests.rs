//! Claims about the agent, on a node whose driver does as it is told.

use super::*;
use crate::id::{FrameNumber, JobId};
use crate::job::{FrameRange, FrameScene, JobSpec, PixelFilter, RenderSettings, Resolution};
use crate::tile::{BlockRange, Rect, RectIndex, TileId};

const JOB: JobId = JobId(1);
const LANE: LaneIndex = LaneIndex(0);

fn blob(value: u8) -> BlobDigest {
    BlobDigest([value; 32])
}

fn spec(blobs: &[u8]) -> Box<JobSpec> {
    Box::new(JobSpec {
        name: "kitchen".into(),
        scene: blob(100),
        blobs: blobs.iter().map(|value| blob(*value)).collect(),
        frame_scenes: Vec::new(),
        shader_digest: blob(101),
        resolution: Resolution { width: 64, height: 64 },
        frames: FrameRange { first: FrameNumber(1), last: FrameNumber(1) },
        tile_size: 8,
        settings: RenderSettings {
            samples_per_pixel: 16,
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
    })
}

/// The lease `id` of rectangle `id`, in the first row.
fn lease(id: u32) -> Lease {
    let range = BlockRange { level: 0, index: 0 };
    let tile = TileId { job: JOB, frame: FrameNumber(1), rect: RectIndex(id), range };
    Lease { id: LeaseId(id.into()), tile, rect: Rect { x: id * 8, y: 0, width: 8, height: 8 } }
}

struct Node {
    agent: Agent,
    now: Timestamp,
}

impl Node {
    /// A connected node that has every blob of the job, which it knows.
    fn ready(lanes: u32, limits: Limits) -> Self {
        let mut node = Self { agent: Agent::new(lanes, [blob(100)].into(), limits), now: Timestamp(0) };
        assert_eq!(node.handle(AgentCommand::Connect), []);
        assert_eq!(node.handle(AgentCommand::OpenJob { job: JOB, spec: spec(&[]) }), []);
        node
    }

    fn handle(&mut self, command: AgentCommand) -> Vec<AgentEffect> {
        self.agent.handle(self.now, command);
        std::iter::from_fn(|| self.agent.poll_effect()).collect()
    }

    fn take(&mut self, ids: std::ops::Range<u32>) -> Vec<AgentEffect> {
        ids.flat_map(|id| self.handle(AgentCommand::TakeLease(lease(id)))).collect()
    }

    fn finish(&mut self, lane: u32, id: u64) -> Vec<AgentEffect> {
        self.handle(AgentCommand::FinishRender { lane: LaneIndex(lane), lease: LeaseId(id) })
    }

    fn holding(&self) -> Vec<u64> {
        self.agent.holding().iter().map(|held| held.lease.0).collect()
    }
}

/// The leases that began to render, with their lanes.
fn started(effects: &[AgentEffect]) -> Vec<(u32, u64)> {
    let start = |effect: &AgentEffect| match effect {
        AgentEffect::StartRender { lane, lease, .. } => Some((lane.0, lease.0)),
        _ => None,
    };
    effects.iter().filter_map(start).collect()
}

/// The leases that were given up, with the kind.
fn failed(effects: &[AgentEffect]) -> Vec<(u64, FailureKind)> {
    let failure = |effect: &AgentEffect| match effect {
        AgentEffect::SendFailure { lease, kind, .. } => Some((lease.0, *kind)),
        _ => None,
    };
    effects.iter().filter_map(failure).collect()
}

#[test]
fn lanes_render_the_queue_in_order() {
    let mut node = Node::ready(2, Limits::default());
    assert_eq!(started(&node.take(0..4)), [(0, 0), (1, 1)]);
    let effects = node.finish(1, 1);
    assert_eq!(effects[0], AgentEffect::SendTile(LeaseId(1)));
    assert_eq!(started(&effects), [(1, 2)]);
    assert_eq!(node.holding(), [0, 1, 2, 3]);
    assert_eq!(node.handle(AgentCommand::SettleTile(LeaseId(1))), [AgentEffect::ForgetTile(LeaseId(1))]);
    assert_eq!(node.holding(), [0, 2, 3]);
}

#[test]
fn task_is_what_the_spec_and_the_lease_say() {
    let mut node = Node::ready(1, Limits::default());
    let effects = node.take(3..4);
    let [AgentEffect::StartRender { task, job, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((*job, task.rect, task.range), (JOB, lease(3).rect, lease(3).tile.range));
    assert_eq!((task.resolution, &task.settings), (spec(&[]).resolution, &spec(&[]).settings));
}

#[test]
fn blobs_are_fetched_once_the_manifest_first_and_a_few_at_a_time() {
    let limits = Limits { blob_fetches: 2, ..Limits::default() };
    let mut node = Node { agent: Agent::new(1, [blob(2)].into(), limits), now: Timestamp(0) };
    node.handle(AgentCommand::Connect);
    node.handle(AgentCommand::OpenJob { job: JOB, spec: spec(&[1, 2, 3, 4]) });
    let fetch = |value| AgentEffect::FetchBlob(blob(value));
    assert_eq!(node.take(0..2), [fetch(100), fetch(1)]);
    assert_eq!(node.agent.pinned(), [1, 2, 3, 4, 100].map(blob).into());
    let progress = AgentEffect::SendProgress { lease: LeaseId(0), samples: 0 };
    assert_eq!(node.handle(AgentCommand::StoreBlob(blob(1))), [progress, fetch(3)]);
    assert_eq!(node.handle(AgentCommand::StoreBlob(blob(100))), [fetch(4)]);
    assert_eq!(node.handle(AgentCommand::StoreBlob(blob(3))), []);
    assert_eq!(started(&node.handle(AgentCommand::StoreBlob(blob(4)))), [(0, 0)]);
}

#[test]
fn evicted_blob_is_fetched_again() {
    let mut node = Node::ready(1, Limits::default());
    node.handle(AgentCommand::EvictBlob(blob(100)));
    assert_eq!(node.take(0..1), [AgentEffect::FetchBlob(blob(100))]);
}

#[test]
fn missing_blob_gives_up_the_leases_that_need_it() {
    let mut node = Node::ready(1, Limits::default());
    node.handle(AgentCommand::EvictBlob(blob(100)));
    node.take(0..2);
    let kind = FailureKind::DiskFull;
    let effects = node.handle(AgentCommand::MissBlob { digest: blob(100), kind, message: "full".into() });
    assert_eq!(failed(&effects), [(0, kind), (1, kind)]);
    assert_eq!(node.holding(), [0; 0]);
    assert_eq!(node.take(2..3), [AgentEffect::FetchBlob(blob(100))], "a later lease is another chance");
}

/// A job of two frames, whose manifests are 100 and 200, and whose own blobs are
/// 1 and 2; both need 3.
fn moving() -> Box<JobSpec> {
    let own = |scene, own| FrameScene { scene: blob(scene), blobs: vec![blob(own)] };
    let frames = FrameRange { first: FrameNumber(1), last: FrameNumber(2) };
    Box::new(JobSpec { frames, frame_scenes: vec![own(100, 1), own(200, 2)], ..*spec(&[3]) })
}

fn lease_of(id: u32, frame: u32) -> Lease {
    let tile = TileId { frame: FrameNumber(frame), ..lease(id).tile };
    Lease { tile, ..lease(id) }
}

#[test]
fn frames_wait_only_for_their_own_blobs() {
    let cached = [1, 3, 100].map(blob);
    let mut node = Node { agent: Agent::new(2, cached.into(), Limits::default()), now: Timestamp(0) };
    node.handle(AgentCommand::Connect);
    node.handle(AgentCommand::OpenJob { job: JOB, spec: moving() });
    let effects = node.handle(AgentCommand::TakeLease(lease_of(0, 2)));
    assert_eq!(effects, [200, 2].map(|value| AgentEffect::FetchBlob(blob(value))), "the manifest goes first");
    assert_eq!(started(&node.handle(AgentCommand::TakeLease(lease_of(1, 1)))), [(0, 1)]);
    assert_eq!(node.agent.pinned(), [1, 2, 3, 100, 200].map(blob).into());
    node.handle(AgentCommand::StoreBlob(blob(200)));
    assert_eq!(started(&node.handle(AgentCommand::StoreBlob(blob(2)))), [(1, 0)]);
    node.finish(0, 1);
    assert_eq!(node.agent.pinned(), [2, 3, 200].map(blob).into(), "of frames with leases only");
}

#[test]
fn missing_blob_of_a_frame_gives_up_that_frames_leases() {
    let cached = [1, 3, 100].map(blob);
    let mut node = Node { agent: Agent::new(1, cached.into(), Limits::default()), now: Timestamp(0) };
    node.handle(AgentCommand::Connect);
    node.handle(AgentCommand::OpenJob { job: JOB, spec: moving() });
    for (id, frame) in [(0, 1), (1, 2), (2, 1)] {
        node.handle(AgentCommand::TakeLease(lease_of(id, frame)));
    }
    let kind = FailureKind::BlobUnavailable;
    let miss = |digest| AgentCommand::MissBlob { digest: blob(digest), kind, message: "gone".into() };
    assert_eq!(failed(&node.handle(miss(2))), [(1, kind)]);
    assert_eq!(node.holding(), [0, 2]);
    node.handle(AgentCommand::EvictBlob(blob(3)));
    assert_eq!(failed(&node.handle(miss(3))), [(2, kind)], "what is shared concerns every frame");
}

#[test]
fn finished_tiles_are_kept_and_sent_again_until_they_are_settled() {
    let mut node = Node::ready(1, Limits::default());
    node.take(0..3);
    node.finish(0, 0);
    node.handle(AgentCommand::Disconnect);
    let effects = node.finish(0, 1);
    assert_eq!(started(&effects), [(0, 2)], "it works on without the master");
    assert_eq!(effects.len(), 1, "and sends nothing");
    assert_eq!(node.holding(), [0, 1, 2]);
    let send = |id| AgentEffect::SendTile(LeaseId(id));
    assert_eq!(node.handle(AgentCommand::Connect), [send(0), send(1)]);
    let drop = AgentCommand::DropLease(LeaseId(0));
    assert_eq!(node.handle(drop), [], "the verdict on it is on its way");
    node.handle(AgentCommand::SettleTile(LeaseId(0)));
    node.handle(AgentCommand::SettleTile(LeaseId(1)));
    assert_eq!(node.holding(), [2]);
}

#[test]
fn tiles_that_wait_for_a_verdict_are_bounded() {
    let mut node = Node::ready(1, Limits { unsent_tiles: 2, ..Limits::default() });
    node.take(0..4);
    assert_eq!(started(&node.finish(0, 0)), [(0, 1)]);
    assert_eq!(started(&node.finish(0, 1)), []);
    assert_eq!(started(&node.handle(AgentCommand::SettleTile(LeaseId(0)))), [(0, 2)]);
}

#[test]
fn queue_is_bounded() {
    let mut node = Node::ready(1, Limits { leases_per_lane_max: 2, ..Limits::default() });
    let effects = node.take(0..4);
    assert_eq!(failed(&effects), [(3, FailureKind::HandedBack)], "one renders and two wait");
}

#[test]
fn progress_is_throttled_and_a_slow_start_announced() {
    let mut node = Node::ready(1, Limits::default());
    node.take(0..1);
    let progress = |samples| AgentEffect::SendProgress { lease: LeaseId(0), samples };
    assert_eq!(node.agent.poll_timeout(), Some(Timestamp(500)));
    node.now = Timestamp(500);
    assert_eq!(node.handle(AgentCommand::Tick), [progress(1)]);
    assert_eq!(node.agent.poll_timeout(), None);
    let report = |samples| AgentCommand::ReportProgress { lane: LANE, lease: LeaseId(0), samples };
    node.now = Timestamp(999);
    assert_eq!(node.handle(report(7)), []);
    node.now = Timestamp(1000);
    assert_eq!(node.handle(report(9)), [progress(9)]);
}

#[test]
fn dropped_lease_stops_and_the_lane_goes_on() {
    let mut node = Node::ready(1, Limits::default());
    node.take(0..3);
    node.handle(AgentCommand::DropLease(LeaseId(1)));
    let effects = node.handle(AgentCommand::DropLease(LeaseId(0)));
    assert_eq!(effects[0], AgentEffect::StopRender { lane: LANE, lease: LeaseId(0) });
    assert_eq!(started(&effects), [(0, 2)]);
    assert_eq!(node.finish(0, 0), [AgentEffect::ForgetTile(LeaseId(0))], "it crossed the order to stop");
    assert_eq!(node.holding(), [2]);
}

#[test]
fn failed_lease_is_reported_and_the_lane_goes_on() {
    let mut node = Node::ready(1, Limits::default());
    node.take(0..2);
    let fail = |id| AgentCommand::FailRender {
        lane: LANE,
        lease: LeaseId(id),
        kind: FailureKind::OutOfMemory,
        message: "12 GiB".into(),
    };
    let effects = node.handle(fail(0));
    assert_eq!(failed(&effects), [(0, FailureKind::OutOfMemory)]);
    assert_eq!(started(&effects), [(0, 1)]);
    assert_eq!(node.handle(fail(0)), []);
}

#[test]
fn drain_finishes_what_renders_hands_back_the_rest_and_leaves() {
    let mut node = Node::ready(1, Limits::default());
    node.take(0..3);
    let effects = node.handle(AgentCommand::Drain);
    assert_eq!(effects[0], AgentEffect::SendDrain);
    assert_eq!(failed(&effects), [(1, FailureKind::HandedBack), (2, FailureKind::HandedBack)]);
    assert_eq!(failed(&node.take(4..5)), [(4, FailureKind::HandedBack)]);
    node.handle(AgentCommand::Disconnect);
    assert_eq!(node.handle(AgentCommand::Connect), [AgentEffect::SendDrain]);
    assert_eq!(node.finish(0, 0), [AgentEffect::SendTile(LeaseId(0))]);
    let effects = node.handle(AgentCommand::SettleTile(LeaseId(0)));
    assert_eq!(effects, [AgentEffect::ForgetTile(LeaseId(0)), AgentEffect::Leave]);
    assert_eq!(node.handle(AgentCommand::Tick), [], "it leaves once");
}

fn yields(lane: u32, id: u64) -> AgentEffect {
    AgentEffect::YieldRender { lane: LaneIndex(lane), lease: LeaseId(id) }
}

/// A lane says that nothing of its lease is whole.
fn empty_handed(lane: u32, id: u64) -> AgentCommand {
    let (lane, lease) = (LaneIndex(lane), LeaseId(id));
    AgentCommand::FailRender { lane, lease, kind: FailureKind::HandedBack, message: "stopped".into() }
}

#[test]
fn second_drain_hands_back_what_renders_less_what_is_whole() {
    let mut node = Node::ready(2, Limits::default());
    node.take(0..2);
    node.handle(AgentCommand::Drain);
    assert_eq!(node.handle(AgentCommand::Drain), [yields(0, 0), yields(1, 1)]);
    assert_eq!(failed(&node.handle(empty_handed(0, 0))), [(0, FailureKind::HandedBack)]);
    let (lane, lease) = (LaneIndex(1), LeaseId(1));
    let effects = node.handle(AgentCommand::YieldRender { lane, lease, tiles: 2 });
    assert_eq!(effects, [AgentEffect::SendTile(lease)]);
    assert_eq!(node.handle(AgentCommand::SettleTile(lease)), [], "another tile is on its way");
    let effects = node.handle(AgentCommand::SettleTile(lease));
    assert_eq!(failed(&effects), [(1, FailureKind::HandedBack)], "the rest, once the tiles are safe");
    assert_eq!((&effects[0], effects.last()), (&AgentEffect::ForgetTile(lease), Some(&AgentEffect::Leave)));
}

#[test]
fn third_drain_does_not_wait_for_the_lanes() {
    let mut node = Node::ready(1, Limits::default());
    node.take(0..1);
    node.handle(AgentCommand::Drain);
    node.handle(AgentCommand::Drain);
    let effects = node.handle(AgentCommand::Drain);
    assert_eq!(effects[0], AgentEffect::StopRender { lane: LANE, lease: LeaseId(0) });
    assert_eq!(failed(&effects), [(0, FailureKind::HandedBack)]);
    assert_eq!(effects.last(), Some(&AgentEffect::Leave));
}

#[test]
fn draining_node_loses_patience_with_long_leases() {
    let mut node = Node::ready(1, Limits::default());
    node.take(0..1);
    node.now = Timestamp(500);
    node.handle(AgentCommand::Tick);
    node.handle(AgentCommand::Drain);
    assert_eq!(node.agent.poll_timeout(), Some(Timestamp(5500)));
    node.now = Timestamp(5499);
    assert_eq!(node.handle(AgentCommand::Tick), []);
    node.now = Timestamp(5500);
    assert_eq!(node.handle(AgentCommand::Tick), [yields(0, 0)]);
    assert_eq!((node.agent.poll_timeout(), node.handle(AgentCommand::Tick)), (None, vec![]), "once");
}

#[test]
fn yielded_tiles_are_sent_again_until_each_is_settled_on_one_connection() {
    let mut node = Node::ready(1, Limits::default());
    node.take(0..1);
    node.handle(AgentCommand::Rest);
    let lease = LeaseId(0);
    node.handle(AgentCommand::YieldRender { lane: LANE, lease, tiles: 2 });
    node.handle(AgentCommand::SettleTile(lease));
    node.handle(AgentCommand::Disconnect);
    assert_eq!(node.handle(AgentCommand::Connect), [AgentEffect::SendRest, AgentEffect::SendTile(lease)]);
    assert_eq!(node.handle(AgentCommand::SettleTile(lease)), [], "the other is not answered yet");
    assert_eq!(failed(&node.handle(AgentCommand::SettleTile(lease))), [(0, FailureKind::HandedBack)]);
    assert_eq!(node.holding(), [0; 0]);
}

#[test]
fn tile_that_cannot_be_sent_gives_up_its_lease() {
    let mut node = Node::ready(1, Limits::default());
    node.take(0..1);
    node.finish(0, 0);
    let (lease, kind) = (LeaseId(0), FailureKind::Render);
    let lose = AgentCommand::LoseTile { lease, kind, message: "it broke".into() };
    let effects = node.handle(lose.clone());
    assert_eq!((&effects[0], failed(&effects)), (&AgentEffect::ForgetTile(lease), vec![(0, kind)]));
    assert_eq!((node.holding(), node.handle(lose)), (vec![], vec![]));
}

#[test]
fn resting_node_hands_back_everything_and_resumes() {
    let mut node = Node::ready(1, Limits::default());
    node.take(0..3);
    let effects = node.handle(AgentCommand::Rest);
    assert_eq!((&effects[0], effects.last()), (&AgentEffect::SendRest, Some(&yields(0, 0))));
    assert_eq!(failed(&effects), [(1, FailureKind::HandedBack), (2, FailureKind::HandedBack)]);
    assert_eq!(node.handle(AgentCommand::Rest), [], "it rests already");
    assert_eq!(failed(&node.take(3..4)), [(3, FailureKind::HandedBack)]);
    assert_eq!(failed(&node.handle(empty_handed(0, 0))), [(0, FailureKind::HandedBack)]);
    assert_eq!(node.handle(AgentCommand::Resume), [AgentEffect::SendResume]);
    assert_eq!(node.handle(AgentCommand::Resume), []);
    assert_eq!(started(&node.take(4..5)), [(0, 4)]);
}

#[test]
fn lane_that_finishes_while_it_is_asked_to_yield_loses_nothing() {
    let mut node = Node::ready(1, Limits::default());
    node.take(0..1);
    node.handle(AgentCommand::Rest);
    assert_eq!(node.finish(0, 0), [AgentEffect::SendTile(LeaseId(0))]);
    let effects = node.handle(AgentCommand::SettleTile(LeaseId(0)));
    assert_eq!(effects, [AgentEffect::ForgetTile(LeaseId(0))], "there is no rest to hand back");
}

#[test]
fn yield_that_crosses_a_revocation_is_forgotten() {
    let mut node = Node::ready(1, Limits::default());
    node.take(0..1);
    node.handle(AgentCommand::Rest);
    let lease = LeaseId(0);
    assert_eq!(node.handle(AgentCommand::DropLease(lease)), [AgentEffect::StopRender { lane: LANE, lease }]);
    let effects = node.handle(AgentCommand::YieldRender { lane: LANE, lease, tiles: 3 });
    assert_eq!(effects, [AgentEffect::ForgetTile(lease)]);
}

#[test]
fn node_told_twice_to_leave_does_not_wait_for_a_lost_master() {
    let mut node = Node::ready(1, Limits::default());
    node.take(0..1);
    node.finish(0, 0);
    node.handle(AgentCommand::Disconnect);
    assert_eq!(node.handle(AgentCommand::Drain), []);
    assert_eq!(node.handle(AgentCommand::Drain), [AgentEffect::Leave]);
}

#[test]
fn leases_outside_the_plan_and_invalid_specs_are_refused() {
    let mut node = Node::ready(1, Limits::default());
    let plain = lease(0);
    let rect = Rect { width: u32::MAX, ..plain.rect };
    let range = |level, index| TileId { range: BlockRange { level, index }, ..plain.tile };
    let leases = [
        Lease { rect, ..plain.clone() },
        Lease { tile: range(1, 0), ..plain.clone() },
        Lease { tile: range(255, 9), ..plain.clone() },
        Lease { tile: TileId { frame: FrameNumber(2), ..plain.tile }, ..plain.clone() },
    ];
    for lease in leases {
        let effects = node.handle(AgentCommand::TakeLease(lease));
        assert_eq!(failed(&effects), [(0, FailureKind::Render)]);
    }
    let unknown = Lease { tile: TileId { job: JobId(2), ..plain.tile }, ..plain.clone() };
    assert_eq!(failed(&node.handle(AgentCommand::TakeLease(unknown))), [(0, FailureKind::HandedBack)]);
    let spec = Box::new(JobSpec { tile_size: 0, ..*spec(&[]) });
    node.handle(AgentCommand::OpenJob { job: JOB, spec });
    assert_eq!(failed(&node.take(0..1)), [(0, FailureKind::Render)]);
}

#[test]
fn remembered_specs_are_bounded() {
    let limits = Limits { specs_per_node: 2, ..Limits::default() };
    let mut node = Node::ready(1, limits);
    node.take(0..1);
    for job in 2..9 {
        node.handle(AgentCommand::OpenJob { job: JobId(job), spec: spec(&[]) });
    }
    let of_job = |job, id| Lease { tile: TileId { job: JobId(job), ..lease(id).tile }, ..lease(id) };
    assert_eq!(failed(&node.handle(AgentCommand::TakeLease(of_job(7, 1)))), [(1, FailureKind::HandedBack)]);
    assert_eq!(failed(&node.handle(AgentCommand::TakeLease(of_job(8, 2)))), []);
    assert_eq!(failed(&node.take(3..4)), [], "a job with leases is never forgotten");
}
