//! The driver on false adapters against a scripted master, over real QUIC.

mod address;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use farm_core::scheduler::{FailureKind, HeldLease, Lease};
use farm_core::{BlockRange, JobSpec, RenderTask, TileImage};
use farm_wire::message::{Request, Response, ToNode, Verdict};
use farm_wire::tile::decode_tile;
use farm_wire::transfer::{receive_tile, serve_bytes};
use farm_wire::{
    CertificateAuthority, Credentials, Peer, RecvStream, Role, SendStream, Server, Ticket, TicketBook,
};
use tempfile::TempDir;

use super::*;
use crate::node::{Node, OpenNode};
use crate::testing::{
    PIXEL, RENDER, SHADERS, Stage, TILE_SIZE, WAIT, any_scene, attributes, lane, quick_limits, spec, tile,
};

/// Lets everybody join.
struct OpenBook;

impl TicketBook for OpenBook {
    fn redeem(&self, _: u64, _: &[u8; 32], _: Role) -> Result<(), String> {
        Ok(())
    }
}

/// A farm of one scripted master and one node.
struct Farm {
    server: Server,
    node: Node,
    stage: Arc<Stage>,
    identity: u64,
    folder: TempDir,
}

/// The master's end of one connection.
struct Session {
    peer: Peer,
    send: SendStream,
    receive: RecvStream,
    holding: Vec<HeldLease>,
    scenes: Vec<BlobDigest>,
}

fn manifest() -> (BlobDigest, Vec<u8>) {
    let bytes = vec![42; 100_000];
    (BlobDigest(*blake3::hash(&bytes).as_bytes()), bytes)
}

impl Farm {
    async fn start() -> Self {
        Self::start_with(1_000_000).await
    }

    async fn start_with(cache_bytes: u64) -> Self {
        Self::start_behind(cache_bytes, async |master| master).await
    }

    /// A farm whose node finds the master where `between` says, which is given its
    /// address.
    async fn start_behind(cache_bytes: u64, between: impl AsyncFnOnce(SocketAddr) -> SocketAddr) -> Self {
        let stage = Arc::default();
        let (events, lane_events) = mpsc::channel(16);
        let lane = lane(&stage, any_scene(&stage), events).await;
        Self::start_on(cache_bytes, stage, lane, lane_events, between).await
    }

    async fn start_on(
        cache_bytes: u64,
        stage: Arc<Stage>,
        lane: Lane,
        lane_events: mpsc::Receiver<LaneEvent>,
        between: impl AsyncFnOnce(SocketAddr) -> SocketAddr,
    ) -> Self {
        let lanes = vec![lane];
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = CertificateAuthority::open_or_create(folder.path()).expect("the folder is writable");
        let loopback = ([127, 0, 0, 1], 0).into();
        let server = Server::bind(loopback, &authority, Arc::new(OpenBook)).expect("loopback can be bound");
        let ticket = Ticket {
            addresses: vec![between(server.local_address()).await.to_string()],
            ca_fingerprint: authority.fingerprint(),
            role: Role::Node,
            id: 1,
            secret: [1; 32],
            expires_at_ms: u64::MAX,
        };
        let credentials = Credentials::join(&ticket, "test").await.expect("the book lets everybody in");
        let identity = credentials.identity().id;
        let cache = Arc::new(Cache::open(&folder.path().join("cache"), cache_bytes).expect("writable"));
        let limits = Limits { progress_interval: Duration::from_millis(1), ..Limits::default() };
        let node_limits = NodeLimits { leave_timeout: Duration::from_secs(20), ..quick_limits() };
        let tags = vec!["gpu".to_owned()];
        let (shader_digest, bus_addresses) = (SHADERS, Vec::new());
        let node =
            OpenNode { shader_digest, cache, lanes, lane_events, tags, bus_addresses, limits, node_limits };
        let node = node.connect(credentials);
        Self { server, node, stage, identity, folder }
    }

    /// Waits until the lane itself, and not only the agent, is at a [`WAIT`] task.
    async fn lane_waits(&self) {
        while !self.stage.waits.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    }

    /// The next connection, greeted.
    async fn accept(&self) -> Session {
        let peer = self.server.accept().await.expect("the server is open");
        let (mut send, mut receive) = peer.accept_stream().await.expect("the node opens its control stream");
        let hello = receive.receive().await.expect("the node says hello");
        let Some(FromNode::Hello { shader_digest: SHADERS, holding, lanes, tags, scenes, .. }) = hello else {
            panic!("not a hello: {hello:?}");
        };
        assert_eq!(lanes.len(), 1);
        let welcome = ToNode::Welcome { version: "test".into(), node: NodeId(self.identity) };
        send.send(&welcome).await.expect("the node listens");
        assert_eq!(tags, ["gpu"]);
        Session { peer, send, receive, holding, scenes }
    }

    /// Checks a tile as the master would.
    fn check_tile(&self, header: &farm_wire::message::TileHeader, exr: &[u8]) -> TileImage {
        let job = spec(manifest().0, RENDER);
        let (_, rect) = tile(header.tile.job.0, header.tile.rect.0);
        let task = RenderTask {
            resolution: job.resolution,
            frame: header.tile.frame,
            rect,
            range: header.tile.range,
            settings: job.settings,
        };
        let attributes = attributes(header.tile, job.scene, NodeId(self.identity));
        decode_tile(exr, &attributes, &task, TILE_SIZE).expect("the tile is what was leased")
    }
}

impl Session {
    async fn tell(&mut self, message: ToNode) {
        self.send.send(&message).await.expect("the node listens");
    }

    async fn open_job(&mut self, job: u64, spec: JobSpec) {
        self.tell(ToNode::Job { job: JobId(job), spec: Box::new(spec) }).await;
    }

    async fn grant(&mut self, lease: u64, job: u64, place: u32) {
        let (tile, rect) = tile(job, place);
        self.tell(ToNode::Granted { lease: Lease { id: LeaseId(lease), tile, rect } }).await;
    }

    async fn settle(&mut self, lease: u64) {
        self.tell(ToNode::Settled { lease: LeaseId(lease), verdict: Verdict::Accepted }).await;
    }

    /// The next message that is not progress.
    async fn message(&mut self) -> Option<FromNode> {
        loop {
            match self.receive.receive().await.expect("the node speaks the protocol") {
                Some(FromNode::Progress { .. }) => {}
                other => return other,
            }
        }
    }

    /// Waits until a lane is at a lease.
    async fn rendering(&mut self, lease: u64) {
        loop {
            match self.receive.receive().await.expect("the node speaks the protocol") {
                Some(FromNode::Progress { lease: told, samples })
                    if told == LeaseId(lease) && samples > 0 =>
                {
                    return;
                }
                Some(FromNode::Progress { .. }) => {}
                other => panic!("not progress: {other:?}"),
            }
        }
    }

    async fn failure(&mut self) -> (LeaseId, FailureKind, String) {
        match self.message().await {
            Some(FromNode::Failed { lease, kind, message }) => (lease, kind, message),
            other => panic!("not a failure: {other:?}"),
        }
    }

    /// Answers the next fetch from `blobs`.
    async fn serve_fetch(&self, blobs: &BTreeMap<BlobDigest, Vec<u8>>) {
        let (mut send, mut receive) = self.peer.accept_stream().await.expect("the node fetches");
        let request = receive.receive().await.expect("the node speaks the protocol");
        let Some(Request::FetchBlob { digest, offset }) = request else {
            panic!("not a fetch: {request:?}");
        };
        let Some(bytes) = blobs.get(&digest) else {
            let refusal = Response::Refused { reason: "no such blob".into(), hint: None };
            send.send(&refusal).await.expect("the node listens");
            return;
        };
        let rest = &bytes[usize::try_from(offset).expect("a small offset")..];
        serve_bytes(send, rest, rest.len() as u64).await.expect("the node listens");
    }

    /// Opens job 1, whose scene the node fetches.
    async fn open_fetched_job(&mut self, seed: u32) {
        let (scene, bytes) = manifest();
        self.open_job(1, spec(scene, seed)).await;
        self.grant(1, 1, 0).await;
        self.serve_fetch(&BTreeMap::from([(scene, bytes)])).await;
    }

    async fn tile(&self) -> (farm_wire::message::TileHeader, Vec<u8>) {
        let mut stream = self.peer.accept_tile().await.expect("the node sends a tile");
        receive_tile(&mut stream, 1 << 20).await.expect("the tile is whole")
    }
}

#[tokio::test]
async fn node_without_adapters_answers_leases_with_empty_tiles() {
    let (events, lane_events) = mpsc::channel(1);
    let farm =
        Farm::start_on(1_000_000, Arc::default(), Lane::nothing(events), lane_events, async |it| it).await;
    let mut session = farm.accept().await;
    let (scene, bytes) = manifest();
    session.open_job(1, spec(scene, RENDER)).await;
    for (lease, place) in [(1, 0), (2, 1), (3, 2)] {
        session.grant(lease, 1, place).await;
    }
    session.serve_fetch(&BTreeMap::from([(scene, bytes)])).await;
    for (lease, place) in [(1, 0), (2, 1), (3, 2)] {
        let empty = FromNode::EmptyTile { lease: LeaseId(lease), tile: tile(1, place).0 };
        assert_eq!(session.message().await, Some(empty));
        session.settle(lease).await;
    }
}

#[tokio::test]
async fn granted_lease_comes_back_as_its_tile() {
    let farm = Farm::start().await;
    let mut session = farm.accept().await;
    session.open_fetched_job(RENDER).await;
    let (header, exr) = session.tile().await;
    assert_eq!((header.lease, header.tile), (LeaseId(1), tile(1, 0).0));
    assert!(farm.check_tile(&header, &exr).pixels.iter().all(|pixel| *pixel == PIXEL));
    assert!(farm.folder.path().join("cache").join(&manifest().0.to_string()[..2]).is_dir());
}

#[tokio::test]
async fn unsettled_tile_is_sent_again_on_the_next_connection_and_a_settled_one_is_not() {
    let farm = Farm::start().await;
    let mut first = farm.accept().await;
    first.open_fetched_job(RENDER).await;
    let sent = first.tile().await;
    first.peer.close("to see what happens");

    let mut second = farm.accept().await;
    assert_eq!(second.holding, [HeldLease { lease: LeaseId(1), tile: tile(1, 0).0 }]);
    assert_eq!(second.tile().await, sent);
    second.settle(1).await;
    // The node reads in order: when it renders lease 2, lease 1 is settled.
    second.open_job(1, spec(manifest().0, RENDER)).await;
    second.grant(2, 1, 1).await;
    assert_eq!(second.tile().await.0.lease, LeaseId(2));
    second.settle(2).await;
    second.grant(3, 1, 2).await;
    assert_eq!(second.tile().await.0.lease, LeaseId(3));
    second.peer.close("to see what happens");

    let third = farm.accept().await;
    assert_eq!(third.holding, [HeldLease { lease: LeaseId(3), tile: tile(1, 2).0 }]);
}

#[tokio::test]
async fn scenes_that_were_rendered_and_are_still_on_the_disk_are_named_on_connecting() {
    let farm = Farm::start().await;
    let mut first = farm.accept().await;
    assert_eq!(first.scenes, []);
    first.open_fetched_job(RENDER).await;
    first.tile().await;
    first.peer.close("to see what happens");
    assert_eq!(farm.accept().await.scenes, [manifest().0]);
}

#[tokio::test]
async fn rendering_goes_on_while_the_master_is_away() {
    let farm = Farm::start().await;
    let mut first = farm.accept().await;
    first.open_fetched_job(WAIT).await;
    first.rendering(1).await;
    first.peer.close("to see what happens");
    farm.stage.gate.store(true, Ordering::SeqCst);
    let second = farm.accept().await;
    let (header, exr) = second.tile().await;
    assert_eq!(header.lease, LeaseId(1));
    farm.check_tile(&header, &exr);
}

#[tokio::test]
async fn draining_finishes_what_renders_and_hands_back_the_rest() {
    let farm = Farm::start().await;
    let mut session = farm.accept().await;
    session.open_fetched_job(WAIT).await;
    session.rendering(1).await;
    session.grant(2, 1, 1).await;
    // A grant to a job of other shaders is refused; so lease 2 has arrived.
    session.open_job(2, JobSpec { shader_digest: BlobDigest([0; 32]), ..spec(manifest().0, RENDER) }).await;
    session.grant(3, 2, 0).await;
    assert_eq!(session.failure().await.0, LeaseId(3));

    farm.node.drain();
    let mut told = [session.message().await, session.message().await].map(|message| format!("{message:?}"));
    told.sort();
    assert!(told[0].contains("Draining"), "{told:?}");
    assert!(told[1].contains("Failed") && told[1].contains("HandedBack"), "{told:?}");
    farm.stage.gate.store(true, Ordering::SeqCst);
    assert_eq!(session.tile().await.0.lease, LeaseId(1));
    session.settle(1).await;
    farm.node.wait().await.expect("it leaves in order");
}

#[tokio::test]
async fn leaving_at_once_hands_back_what_renders() {
    let farm = Farm::start().await;
    let mut session = farm.accept().await;
    session.open_fetched_job(WAIT).await;
    session.rendering(1).await;
    farm.node.leave_at_once();
    let mut messages = Vec::new();
    while let Some(message) = session.message().await {
        messages.push(message);
    }
    assert!(
        messages.iter().any(|message| matches!(
            message,
            FromNode::Failed { lease: LeaseId(1), kind: FailureKind::HandedBack, .. }
        )),
        "{messages:?}"
    );
    farm.node.wait().await.expect("it leaves in order");
}

#[tokio::test]
async fn leaving_at_once_delivers_what_is_whole_and_hands_back_the_rest_after_that() {
    let farm = Farm::start().await;
    farm.stage.whole_blocks.store(3, Ordering::SeqCst);
    let mut session = farm.accept().await;
    session.open_fetched_job(WAIT).await;
    session.rendering(1).await;
    farm.lane_waits().await;
    farm.node.leave_at_once();
    let mut ranges = Vec::new();
    for _ in 0..2 {
        let (header, _) = session.tile().await;
        assert_eq!(header.lease, LeaseId(1));
        ranges.push(header.tile.range);
    }
    ranges.sort_unstable_by_key(BlockRange::start);
    assert_eq!(ranges, [BlockRange { level: 1, index: 0 }, BlockRange { level: 0, index: 2 }]);
    assert_eq!(session.message().await, Some(FromNode::Draining));
    session.settle(1).await;
    session.settle(1).await;
    let (lease, kind, _) = session.failure().await;
    assert_eq!((lease, kind), (LeaseId(1), FailureKind::HandedBack));
    farm.node.wait().await.expect("it leaves in order");
}

#[tokio::test]
async fn resting_node_gives_way_stays_connected_and_works_again() {
    let farm = Farm::start().await;
    farm.stage.whole_blocks.store(2, Ordering::SeqCst);
    let mut session = farm.accept().await;
    session.open_fetched_job(WAIT).await;
    session.rendering(1).await;
    farm.lane_waits().await;
    let door = farm.node.door();
    door.rest(true);
    assert_eq!(session.message().await, Some(FromNode::Resting));
    assert_eq!(session.tile().await.0.tile.range, BlockRange { level: 1, index: 0 });
    session.settle(1).await;
    assert_eq!(session.failure().await.0, LeaseId(1), "the rest of it");
    session.grant(2, 1, 1).await;
    assert_eq!(session.failure().await.1, FailureKind::HandedBack);
    session.peer.close("to see what happens");
    let mut session = farm.accept().await;
    assert_eq!(session.message().await, Some(FromNode::Resting), "it still rests");
    door.rest(false);
    assert_eq!(session.message().await, Some(FromNode::Resumed));
    session.open_job(2, spec(manifest().0, RENDER)).await;
    session.grant(3, 2, 0).await;
    assert_eq!(session.tile().await.0.lease, LeaseId(3));
}

#[tokio::test]
async fn lost_device_is_reported_and_opened_again_for_the_next_lease() {
    let farm = Farm::start().await;
    let mut session = farm.accept().await;
    session.open_fetched_job(crate::testing::LOSE).await;
    let (lease, kind, message) = session.failure().await;
    assert_eq!((lease, kind), (LeaseId(1), FailureKind::DeviceLost), "{message}");
    assert_eq!(farm.stage.opened.load(Ordering::SeqCst), 1);
    session.open_job(2, spec(manifest().0, RENDER)).await;
    session.grant(2, 2, 0).await;
    assert_eq!(session.tile().await.0.lease, LeaseId(2));
    assert_eq!(farm.stage.opened.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn node_without_a_master_leaves_at_once() {
    let farm = Farm::start().await;
    farm.server.close().await;
    farm.node.leave_at_once();
    farm.node.wait().await.expect("it leaves in order");
}

#[tokio::test]
async fn revoked_lease_frees_its_lane() {
    let farm = Farm::start().await;
    let mut session = farm.accept().await;
    session.open_fetched_job(WAIT).await;
    session.rendering(1).await;
    session.tell(ToNode::Revoked { lease: LeaseId(1) }).await;
    session.open_job(2, spec(manifest().0, RENDER)).await;
    session.grant(2, 2, 0).await;
    assert_eq!(session.tile().await.0.lease, LeaseId(2));
}

#[tokio::test]
async fn job_of_other_shaders_is_refused_with_the_reason() {
    let farm = Farm::start().await;
    let mut session = farm.accept().await;
    session.open_job(1, JobSpec { shader_digest: BlobDigest([0; 32]), ..spec(manifest().0, RENDER) }).await;
    session.grant(1, 1, 0).await;
    let (lease, kind, message) = session.failure().await;
    assert_eq!((lease, kind), (LeaseId(1), FailureKind::Render));
    assert!(message.contains("shaders"), "{message}");
}

#[tokio::test]
async fn blob_that_the_master_lacks_gives_its_leases_back() {
    let farm = Farm::start().await;
    let mut session = farm.accept().await;
    session.open_job(1, spec(manifest().0, RENDER)).await;
    session.grant(1, 1, 0).await;
    session.serve_fetch(&BTreeMap::new()).await;
    let (lease, kind, message) = session.failure().await;
    assert_eq!((lease, kind), (LeaseId(1), FailureKind::BlobUnavailable));
    assert!(message.contains("no such blob"), "{message}");
}

#[tokio::test]
async fn scene_larger_than_the_cache_is_the_disks_trouble() {
    let farm = Farm::start_with(150_000).await;
    let mut session = farm.accept().await;
    let blobs: BTreeMap<_, _> = (0..2)
        .map(|content| vec![content; 100_000])
        .map(|bytes| (BlobDigest(*blake3::hash(&bytes).as_bytes()), bytes))
        .collect();
    let digests: Vec<_> = blobs.keys().copied().collect();
    session.open_job(1, JobSpec { blobs: vec![digests[1]], ..spec(digests[0], RENDER) }).await;
    session.grant(1, 1, 0).await;
    session.serve_fetch(&blobs).await;
    session.serve_fetch(&blobs).await;
    let (lease, kind, _) = session.failure().await;
    assert_eq!((lease, kind), (LeaseId(1), FailureKind::DiskFull));
}

#[tokio::test]
async fn disk_that_refuses_a_blob_is_named_and_work_goes_on_when_it_takes_it() {
    let farm = Farm::start().await;
    let mut session = farm.accept().await;
    let (scene, bytes) = manifest();
    // A file in the place of the folder that the blob belongs in.
    let place = farm.folder.path().join("cache").join(&scene.to_string()[..2]);
    std::fs::write(&place, "in the way").expect("the folder is writable");
    session.open_job(1, spec(scene, RENDER)).await;
    session.grant(1, 1, 0).await;
    let (lease, kind, message) = session.failure().await;
    assert_eq!((lease, kind), (LeaseId(1), FailureKind::DiskFull));
    assert!(message.contains(place.to_str().expect("a usual path")), "{message}");
    assert!(message.contains("--cache"), "it says what to do: {message}");
    std::fs::remove_file(&place).expect("it is there");
    session.grant(2, 1, 1).await;
    session.serve_fetch(&BTreeMap::from([(scene, bytes)])).await;
    assert_eq!(session.tile().await.0.lease, LeaseId(2));
}

#[tokio::test]
async fn panic_in_the_renderer_costs_one_lease_and_not_the_node() {
    let farm = Farm::start().await;
    let mut session = farm.accept().await;
    session.open_fetched_job(crate::testing::PANIC).await;
    assert_eq!(session.failure().await.1, FailureKind::Render);
    session.open_job(2, spec(manifest().0, RENDER)).await;
    session.grant(2, 2, 0).await;
    assert_eq!(session.tile().await.0.lease, LeaseId(2));
}

#[tokio::test]
async fn master_that_greets_wrongly_is_left_and_tried_again() {
    let farm = Farm::start().await;
    let peer = farm.server.accept().await.expect("the server is open");
    let (mut send, _receive) = peer.accept_stream().await.expect("the node opens its control stream");
    send.send(&ToNode::Revoked { lease: LeaseId(1) }).await.expect("the node listens");
    peer.closed().await;
    farm.accept().await;
}
