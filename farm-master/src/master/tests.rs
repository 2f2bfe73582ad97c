//! A whole master over QUIC on loopback, with a node that draws the test
//! picture instead of rendering and an artist that speaks the protocol.

mod audit;
mod rights;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use farm_core::scheduler::{HeldLease, JobStatus, JobView, Lease, NodeChange, NodeStanding};
use farm_core::{BlobDigest, FrameNumber, FrameRange, JobId, JobSpec, LeaseId, Rect, TileId};
use farm_wire::client::{RecvStream, SendStream};
use farm_wire::message::{
    AbsentNode, FrameFile, FromNode, JobChange, LaneDescription, Precision, Request, Response, TileHeader,
    ToNode, Verdict,
};
use farm_wire::transfer::store_blob;
use farm_wire::{Client, Credentials};

use super::*;
use crate::testing::{picture, pixel_digest, spec, tile_exr};

const HOUR: Duration = Duration::from_secs(3600);
const SCENE: &[u8] = b"a scene's manifest";

/// A data folder, and the address that its master keeps through restarts.
struct Place {
    root: tempfile::TempDir,
    listen: SocketAddr,
}

impl Place {
    async fn new() -> (Self, Master) {
        let root = tempfile::tempdir().expect("a temporary folder");
        let mut place = Self { root, listen: (Ipv4Addr::LOCALHOST, 0).into() };
        let master = place.start().await;
        place.listen = master.local_address();
        (place, master)
    }

    async fn start(&self) -> Master {
        let config = MasterConfig::new(self.root.path(), self.listen);
        Master::start(config).await.expect("the master starts")
    }
}

async fn join(master: &Master, role: Role) -> Credentials {
    let ticket = master.create_ticket("test", role, HOUR, None).expect("it is made");
    Credentials::join(&ticket, "test").await.expect("the ticket is good")
}

fn job() -> JobSpec {
    let scene = BlobDigest(*blake3::hash(SCENE).as_bytes());
    JobSpec { scene, blobs: Vec::new(), ..spec(100, 60, 32, 48) }
}

/// An artist's connection.
struct Artist {
    client: Client,
}

impl Artist {
    async fn connect(credentials: &Credentials) -> Self {
        Self { client: Client::connect(credentials).await.expect("the master is there") }
    }

    async fn open(&self, request: Request) -> RecvStream {
        let (mut send, receive) = self.client.open_stream().await.expect("it is connected");
        send.send(&request).await.expect("it is connected");
        receive
    }

    async fn ask(&self, request: Request) -> Response {
        let mut receive = self.open(request).await;
        receive.receive().await.expect("it is answered").expect("it is answered")
    }

    async fn upload(&self) {
        let digest = job().scene;
        store_blob(&self.client, digest, SCENE, |_| {}).await.expect("there is room");
    }

    async fn submit(&self, spec: JobSpec) -> JobId {
        match self.ask(Request::SubmitJob { spec: Box::new(spec) }).await {
            Response::Submitted { job } => job,
            other => panic!("{other:?}"),
        }
    }

    /// Follows a job to its end.
    async fn watch(&self, job: JobId) -> JobView {
        let mut receive = self.open(Request::WatchJob { job }).await;
        let mut last = None;
        while let Some(response) = receive.receive().await.expect("it is connected") {
            let Response::Job { job, .. } = response else { panic!("{response:?}") };
            last = Some(*job);
        }
        last.expect("a watcher hears at least once")
    }

    async fn fetch(&self, job: JobId, file: FrameFile, precision: Precision) -> Vec<u8> {
        let frame = FrameNumber(1);
        let mut receive = self.open(Request::FetchFrame { job, frame, file, precision }).await;
        let Some(Response::Blob { length }) = receive.receive().await.expect("it is answered") else {
            panic!("the frame is there");
        };
        let mut bytes = vec![0; usize::try_from(length).expect("it is small")];
        let mut filled = 0;
        while filled < bytes.len() {
            let count = receive.receive_bytes(&mut bytes[filled..]).await.expect("it is connected");
            assert!(count > 0, "the file ended early");
            filled += count;
        }
        bytes
    }
}

/// A node's connection; it draws the test picture.
struct FakeNode {
    client: Client,
    send: SendStream,
    receive: RecvStream,
    node: farm_core::NodeId,
    jobs: BTreeMap<JobId, JobSpec>,
}

impl FakeNode {
    async fn connect(credentials: &Credentials, holding: Vec<HeldLease>) -> Self {
        let client = Client::connect(credentials).await.expect("the master is there");
        let (mut send, mut receive) = client.open_stream().await.expect("it is connected");
        let lane = LaneDescription {
            adapter: "none".to_owned(),
            backend: "test".to_owned(),
            numeric_class: BlobDigest([0; 32]),
            memory_bytes: None,
        };
        let hello = FromNode::Hello {
            version: "0".to_owned(),
            shader_digest: job().shader_digest,
            lanes: vec![lane],
            holding,
            tags: Vec::new(),
            scenes: Vec::new(),
        };
        send.send(&hello).await.expect("it is connected");
        let welcome = receive.receive().await.expect("it is greeted");
        let Some(ToNode::Welcome { node, .. }) = welcome else { panic!("{welcome:?}") };
        Self { client, send, receive, node, jobs: BTreeMap::new() }
    }

    async fn hear(&mut self) -> ToNode {
        self.receive.receive().await.expect("it is connected").expect("the master stays")
    }

    /// The next lease; remembers the jobs that are described on the way.
    async fn next_lease(&mut self) -> Lease {
        loop {
            match self.hear().await {
                ToNode::Job { job, spec } => drop(self.jobs.insert(job, *spec)),
                ToNode::Granted { lease } => return lease,
                ToNode::Revoked { .. } | ToNode::Settled { .. } => {}
                other @ ToNode::Welcome { .. } => panic!("{other:?}"),
            }
        }
    }

    async fn send_tile(&self, lease: LeaseId, tile: TileId, bytes: &[u8]) {
        let mut stream = self.client.open_tile().await.expect("it is connected");
        let digest = BlobDigest(*blake3::hash(bytes).as_bytes());
        let length = bytes.len() as u64;
        let header = TileHeader { lease, tile, digest, length, rays: 5, render_us: 1000 };
        stream.send(&header).await.expect("it is connected");
        stream.send_bytes(bytes).await.expect("it is connected");
        stream.finish().await.expect("the master takes it");
    }

    async fn render(&self, lease: &Lease) {
        let exr = tile_exr(&self.jobs[&lease.tile.job], lease.tile, self.node);
        self.send_tile(lease.id, lease.tile, &exr).await;
    }

    /// What the master says of a delivered tile.
    async fn verdict(&mut self, wanted: LeaseId) -> Verdict {
        loop {
            match self.hear().await {
                ToNode::Settled { lease, verdict } if lease == wanted => return verdict,
                ToNode::Job { job, spec } => drop(self.jobs.insert(job, *spec)),
                _ => {}
            }
        }
    }

    /// Renders whatever it is given until the connection ends.
    async fn work(mut self) {
        loop {
            match self.receive.receive().await {
                Ok(Some(ToNode::Job { job, spec })) => drop(self.jobs.insert(job, *spec)),
                Ok(Some(ToNode::Granted { lease })) => self.render(&lease).await,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
    }

    /// Says goodbye as a node does that was drained.
    async fn leave(mut self) {
        self.send.send(&FromNode::Draining).await.expect("it is connected");
        self.client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn job_goes_from_the_artist_through_a_node_to_a_picture() {
    let (_place, master) = Place::new().await;
    let artist = Artist::connect(&join(&master, Role::Artist).await).await;
    artist.upload().await;
    let job_id = artist.submit(job()).await;
    let node = FakeNode::connect(&join(&master, Role::Node).await, Vec::new()).await;
    let work = tokio::spawn(node.work());
    let view = artist.watch(job_id).await;
    assert_eq!((view.status, view.frames_done, view.tiles_done), (JobStatus::Done, 1, 8));
    let expected = pixel_digest(&picture(&job()));
    assert_eq!(view.delivered, [(FrameNumber(1), expected)]);

    let float = artist.fetch(job_id, FrameFile::Exr, Precision::Float).await;
    assert!(float.starts_with(&[0x76, 0x2f, 0x31, 0x01]), "it is an EXR");
    let half = artist.fetch(job_id, FrameFile::Exr, Precision::Half).await;
    assert!(half.starts_with(&[0x76, 0x2f, 0x31, 0x01]) && half.len() < float.len());
    let png = artist.fetch(job_id, FrameFile::Png, Precision::Float).await;
    assert!(png.starts_with(b"\x89PNG"));
    master.shutdown().await;
    work.await.expect("the node saw the master go");
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_in_the_middle_loses_nothing_that_was_acknowledged() {
    let (place, master) = Place::new().await;
    let artist_credentials = join(&master, Role::Artist).await;
    let node_credentials = join(&master, Role::Node).await;
    let artist = Artist::connect(&artist_credentials).await;
    artist.upload().await;
    let job_id = artist.submit(job()).await;
    let mut node = FakeNode::connect(&node_credentials, Vec::new()).await;
    let mut last = None;
    for _ in 0..2 {
        let lease = node.next_lease().await;
        node.render(&lease).await;
        assert_eq!(node.verdict(lease.id).await, Verdict::Accepted);
        last = Some(lease);
    }
    let last = last.expect("two were rendered");
    master.shutdown().await;

    let master = place.start().await;
    let artist = Artist::connect(&artist_credentials).await;
    let Response::Jobs { jobs, .. } = artist.ask(Request::ListJobs).await else {
        panic!("jobs are listed");
    };
    assert_eq!((jobs.len(), jobs[0].results), (1, 2), "both tiles are still there");
    // The node did not hear the last answer, say, and still holds that lease.
    let holding = vec![HeldLease { lease: last.id, tile: last.tile }];
    let mut node = FakeNode::connect(&node_credentials, holding).await;
    node.next_lease().await;
    node.render(&last).await;
    assert_eq!(node.verdict(last.id).await, Verdict::Duplicate);
    node.leave().await;

    let node = FakeNode::connect(&node_credentials, Vec::new()).await;
    let work = tokio::spawn(node.work());
    let view = artist.watch(job_id).await;
    assert_eq!(view.delivered, [(FrameNumber(1), pixel_digest(&picture(&job())))]);
    master.shutdown().await;
    work.await.expect("the node saw the master go");
}

#[tokio::test(flavor = "multi_thread")]
async fn tile_that_is_not_right_is_rejected_with_the_reason() {
    let (_place, master) = Place::new().await;
    let artist = Artist::connect(&join(&master, Role::Artist).await).await;
    artist.upload().await;
    artist.submit(job()).await;
    let mut node = FakeNode::connect(&join(&master, Role::Node).await, Vec::new()).await;
    let lease = node.next_lease().await;
    let foreign = tile_exr(&node.jobs[&lease.tile.job], lease.tile, farm_core::NodeId(1));
    node.send_tile(lease.id, lease.tile, &foreign).await;
    let verdict = node.verdict(lease.id).await;
    assert!(matches!(&verdict, Verdict::Rejected { reason } if reason.contains("node")), "{verdict:?}");
    master.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_tile_breaks_the_protocol_and_changes_nothing() {
    let (_place, master) = Place::new().await;
    let artist = Artist::connect(&join(&master, Role::Artist).await).await;
    artist.upload().await;
    artist.submit(job()).await;
    let mut node = FakeNode::connect(&join(&master, Role::Node).await, Vec::new()).await;
    let Lease { id: lease, tile, .. } = node.next_lease().await;
    node.send.send(&FromNode::EmptyTile { lease, tile }).await.expect("it is connected");
    let closed = node.client.closed().await.to_string();
    assert!(closed.contains("a tile without pixels"), "{closed}");
    let Response::Jobs { jobs, .. } = artist.ask(Request::ListJobs).await else {
        panic!("jobs are listed");
    };
    assert_eq!(jobs[0].results, 0);
    master.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_empty_tiles_are_delivered_without_files_where_they_are_taken() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let mut config = MasterConfig::new(root.path(), (Ipv4Addr::LOCALHOST, 0).into());
    config.takes_empty_tiles = true;
    let master = Master::start(config).await.expect("the master starts");
    let artist = Artist::connect(&join(&master, Role::Artist).await).await;
    artist.upload().await;
    let id = artist.submit(job()).await;
    let mut node = FakeNode::connect(&join(&master, Role::Node).await, Vec::new()).await;
    let working = async {
        loop {
            if let ToNode::Granted { lease: Lease { id: lease, tile, .. } } = node.hear().await {
                node.send.send(&FromNode::EmptyTile { lease, tile }).await.expect("it is connected");
            }
        }
    };
    let view = tokio::select! {
        view = artist.watch(id) => view,
        () = working => unreachable!("it never ends by itself"),
    };
    assert_eq!((view.status, view.tiles_done), (JobStatus::Done, 8));
    let nothing = BlobDigest(*blake3::hash(&[]).as_bytes());
    assert_eq!(view.delivered, [(FrameNumber(1), nothing)]);
    let files = fs::read_dir(root.path().join("frames")).expect("the folder is there").count();
    assert_eq!(files, 0);
    master.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_scene_is_refused_and_named() {
    let (_place, master) = Place::new().await;
    let artist = Artist::connect(&join(&master, Role::Artist).await).await;
    let refused = artist.ask(Request::SubmitJob { spec: Box::new(job()) }).await;
    let Response::Refused { reason, hint: Some(_) } = refused else { panic!("{refused:?}") };
    assert!(reason.contains(&job().scene.to_string()), "{reason}");
    let missing = artist.ask(Request::FindMissing { digests: vec![job().scene] }).await;
    assert_eq!(missing, Response::Missing { digests: vec![job().scene] });
    master.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pausing_resuming_and_cancelling_are_answered() {
    let (_place, master) = Place::new().await;
    let artist = Artist::connect(&join(&master, Role::Artist).await).await;
    artist.upload().await;
    let job = artist.submit(job()).await;
    for change in [JobChange::Pause, JobChange::Resume, JobChange::Cancel] {
        assert_eq!(artist.ask(Request::ChangeJob { job, change }).await, Response::Done);
    }
    assert_eq!(artist.watch(job).await.status, JobStatus::Cancelled);
    let change = JobChange::Pause;
    let unknown = artist.ask(Request::ChangeJob { job: JobId(77), change }).await;
    assert!(matches!(unknown, Response::Refused { .. }), "{unknown:?}");
    master.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_of_another_process_name_the_running_master() {
    let (place, master) = Place::new().await;
    let made = create_ticket(place.root.path(), &[], "late", Role::Artist, HOUR, Some(1));
    let ticket = made.expect("it is made");
    assert_eq!(ticket.addresses, [master.local_address().to_string()]);
    let credentials = Credentials::join(&ticket, "late").await.expect("the ticket is good");
    Artist::connect(&credentials).await.upload().await;
    assert!(Credentials::join(&ticket, "late").await.is_err(), "it is used up");
    master.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn region_of_a_delivered_frame_is_rendered_again_and_made_anew() {
    let (place, master) = Place::new().await;
    let artist_credentials = join(&master, Role::Artist).await;
    let node_credentials = join(&master, Role::Node).await;
    let artist = Artist::connect(&artist_credentials).await;
    artist.upload().await;
    let job_id = artist.submit(job()).await;
    let node = FakeNode::connect(&node_credentials, Vec::new()).await;
    let work = tokio::spawn(node.work());
    let first = artist.watch(job_id).await;
    let picture = artist.fetch(job_id, FrameFile::Exr, Precision::Float).await;
    master.shutdown().await;
    work.await.expect("the node saw the master go");

    let master = place.start().await;
    let artist = Artist::connect(&artist_credentials).await;
    let frames = FrameRange { first: FrameNumber(1), last: FrameNumber(1) };
    let region = Some(Rect { x: 40, y: 10, width: 1, height: 1 });
    let change = JobChange::Rerender { frames, region };
    assert_eq!(artist.ask(Request::ChangeJob { job: job_id, change }).await, Response::Done);
    let work = tokio::spawn(FakeNode::connect(&node_credentials, Vec::new()).await.work());
    let second = artist.watch(job_id).await;
    assert_eq!((second.status, &second.delivered), (JobStatus::Done, &first.delivered));
    assert!(second.results > first.results, "something was rendered");
    let again = second.results - first.results;
    assert!(again <= u64::from(job().settings.blocks()), "one rectangle, not {again} tiles");
    assert_eq!(artist.fetch(job_id, FrameFile::Exr, Precision::Float).await, picture);
    master.shutdown().await;
    work.await.expect("the node saw the master go");
}

#[tokio::test(flavor = "multi_thread")]
async fn banned_node_gets_nothing_through_a_restart_until_it_is_forgiven() {
    let (place, master) = Place::new().await;
    let artist_credentials = join(&master, Role::Admin).await;
    let node_credentials = join(&master, Role::Node).await;
    let artist = Artist::connect(&artist_credentials).await;
    artist.upload().await;
    let job_id = artist.submit(job()).await;
    let mut node = FakeNode::connect(&node_credentials, Vec::new()).await;
    let id = node.node;
    let lease = node.next_lease().await;
    let ban = Request::ChangeNode { node: id, change: NodeChange::Ban };
    assert_eq!(artist.ask(ban).await, Response::Done);
    node.render(&lease).await;
    let verdict = node.verdict(lease.id).await;
    assert_eq!(verdict, Verdict::Rejected { reason: "the node is banned".into() });
    master.shutdown().await;

    let master = place.start().await;
    let artist = Artist::connect(&artist_credentials).await;
    let banned = NodeStanding::Banned;
    let listed = artist.ask(Request::ListNodes).await;
    let absent = vec![AbsentNode { node: id, standing: banned }];
    let Response::Nodes { nodes, absent: seen, .. } = listed else { panic!("{listed:?}") };
    assert_eq!((nodes, seen), (Vec::new(), absent));
    let node = FakeNode::connect(&node_credentials, Vec::new()).await;
    let work = tokio::spawn(node.work());
    let listed = artist.ask(Request::ListNodes).await;
    let Response::Nodes { nodes, .. } = listed else { panic!("{listed:?}") };
    assert_eq!((nodes[0].view.standing, nodes[0].view.leases), (banned, 0));
    let forgive = Request::ChangeNode { node: id, change: NodeChange::Forgive };
    assert_eq!(artist.ask(forgive).await, Response::Done);
    assert_eq!(artist.watch(job_id).await.status, JobStatus::Done);
    master.shutdown().await;
    work.await.expect("the node saw the master go");
}
