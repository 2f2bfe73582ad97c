//! The binary, killed with SIGKILL in the middle of a job and started again.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use farm_core::scheduler::{JobStatus, JobView, Lease};
use farm_core::{
    BlobDigest, BlockRange, FrameNumber, FrameRange, JobId, JobSpec, NodeId, PixelFilter, RenderSettings,
    Resolution, TileImage,
};
use farm_wire::client::{RecvStream, SendStream};
use farm_wire::message::{FromNode, LaneDescription, Request, Response, TileHeader, ToNode, Verdict};
use farm_wire::tile::{TileAttributes, encode_tile};
use farm_wire::transfer::store_blob;
use farm_wire::{Client, Credentials, Ticket};

const SCENE: &[u8] = b"a scene's manifest";
const SHADERS: BlobDigest = BlobDigest([4; 32]);

/// A `farm-master serve` process; killed when dropped.
struct Master(Child);

impl Master {
    fn serve(data: &Path, port: u16) -> (Self, impl Iterator<Item = String>) {
        let mut child = master(data, &["serve", "--listen", &format!("127.0.0.1:{port}")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary is there");
        let stdout = child.stdout.take().expect("it is piped");
        (Self(child), BufReader::new(stdout).lines().map_while(Result::ok))
    }

    /// SIGKILL: no chance to say goodbye or to finish anything.
    fn kill(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ran");
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        // It may be gone already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn master(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farm-master"));
    command.args(arguments).arg("--data").arg(data).stderr(Stdio::piped());
    command
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.local_addr().expect("it is bound").port()
}

fn spec() -> JobSpec {
    JobSpec {
        name: "test".to_owned(),
        scene: BlobDigest(*blake3::hash(SCENE).as_bytes()),
        blobs: Vec::new(),
        frame_scenes: Vec::new(),
        shader_digest: SHADERS,
        resolution: Resolution { width: 64, height: 48 },
        frames: FrameRange { first: FrameNumber(1), last: FrameNumber(1) },
        tile_size: 16,
        settings: RenderSettings {
            samples_per_pixel: 32,
            seed: 0,
            max_depth: 1,
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

/// A picture in which every sample is 1.
fn white_tile(spec: &JobSpec, lease: &Lease, node: NodeId) -> Vec<u8> {
    let samples_per_pixel = lease.tile.range.samples(spec.settings.samples_per_pixel);
    let finished = lease.tile.range == BlockRange::root(spec.settings.blocks());
    let value = if finished { 1.0 } else { samples_per_pixel as f32 };
    let image = TileImage {
        rect: lease.rect,
        range: lease.tile.range,
        pixels: vec![[value; 4]; usize::try_from(lease.rect.area()).expect("it is small")],
        samples: lease.rect.area() * u64::from(samples_per_pixel),
        rays: 0,
    };
    let attributes = TileAttributes {
        tile: lease.tile,
        node,
        scene: spec.scene,
        shader_digest: spec.shader_digest,
        samples_per_pixel,
        finished,
    };
    encode_tile(&image, &attributes, spec.resolution, spec.tile_size)
}

async fn ask(client: &Client, request: Request) -> RecvStream {
    let (mut send, receive) = client.open_stream().await.expect("it is connected");
    send.send(&request).await.expect("it is connected");
    receive
}

/// How a job stands when nothing more changes it.
async fn watch(client: &Client, job: JobId) -> JobView {
    let mut receive = ask(client, Request::WatchJob { job }).await;
    let mut last = None;
    while let Some(response) = receive.receive().await.expect("it is connected") {
        let Response::Job { job, .. } = response else { panic!("{response:?}") };
        last = Some(*job);
    }
    last.expect("a watcher hears at least once")
}

struct Node {
    client: Client,
    receive: RecvStream,
    _send: SendStream,
    node: NodeId,
    jobs: BTreeMap<JobId, JobSpec>,
}

impl Node {
    async fn connect(credentials: &Credentials) -> Self {
        let client = Client::connect(credentials).await.expect("the master is there");
        let (mut send, mut receive) = client.open_stream().await.expect("it is connected");
        let (version, adapter, backend) = ("0".into(), "none".into(), "test".into());
        let lanes = vec![LaneDescription { adapter, backend, numeric_class: SHADERS, memory_bytes: None }];
        let (holding, tags, scenes) = (Vec::new(), Vec::new(), Vec::new());
        let hello = FromNode::Hello { version, shader_digest: SHADERS, lanes, holding, tags, scenes };
        send.send(&hello).await.expect("it is connected");
        let welcome = receive.receive().await.expect("it is greeted");
        let Some(ToNode::Welcome { node, .. }) = welcome else { panic!("{welcome:?}") };
        Self { client, receive, _send: send, node, jobs: BTreeMap::new() }
    }

    async fn send(&self, lease: &Lease) {
        let exr = white_tile(&self.jobs[&lease.tile.job], lease, self.node);
        let digest = BlobDigest(*blake3::hash(&exr).as_bytes());
        let (lease, tile, length) = (lease.id, lease.tile, exr.len() as u64);
        let header = TileHeader { lease, tile, digest, length, rays: 1, render_us: 1 };
        let mut stream = self.client.open_tile().await.expect("it is connected");
        stream.send(&header).await.expect("it is connected");
        stream.send_bytes(&exr).await.expect("it is connected");
        stream.finish().await.expect("it is connected");
    }

    /// Renders until `accepted` tiles were, or the master is gone.
    async fn work(&mut self, accepted: usize) {
        let mut count = 0;
        while count < accepted {
            match self.receive.receive().await {
                Ok(Some(ToNode::Job { job, spec })) => drop(self.jobs.insert(job, *spec)),
                Ok(Some(ToNode::Granted { lease })) => self.send(&lease).await,
                Ok(Some(ToNode::Settled { verdict: Verdict::Accepted, .. })) => count += 1,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }
}

async fn join(line: &str) -> Credentials {
    let ticket = line.rsplit(' ').next().expect("a line has a last word");
    let ticket: Ticket = ticket.parse().expect("the last word is a ticket");
    Credentials::join(&ticket, "test").await.expect("the ticket is good")
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_master_goes_on_where_it_was() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let (process, mut lines) = Master::serve(data.path(), port);
    let node_line = lines.next().expect("the first start prints a node ticket");
    let artist_line = lines.next().expect("the first start prints an artist ticket");
    assert!(node_line.starts_with("farm-node join ") && artist_line.starts_with("farm login "));
    let admin_line = lines.next().expect("the first start prints an admin ticket");
    assert!(admin_line.starts_with("farm login --name admin tessera-"), "{admin_line}");
    let (node_credentials, artist_credentials) = (join(&node_line).await, join(&artist_line).await);

    let artist = Client::connect(&artist_credentials).await.expect("the master is there");
    store_blob(&artist, spec().scene, SCENE, |_| {}).await.expect("there is room");
    let mut receive = ask(&artist, Request::SubmitJob { spec: Box::new(spec()) }).await;
    let submitted = receive.receive().await.expect("it is answered");
    let Some(Response::Submitted { job }) = submitted else { panic!("{submitted:?}") };
    let mut node = Node::connect(&node_credentials).await;
    node.work(3).await;
    process.kill();

    let (_process, mut lines) = Master::serve(data.path(), port);
    let client = Client::connect(&artist_credentials).await.expect("the master is back");
    let mut receive = ask(&client, Request::ListJobs).await;
    let listed = receive.receive().await.expect("it is answered");
    let Some(Response::Jobs { jobs, .. }) = listed else { panic!("{listed:?}") };
    assert!(jobs[0].results >= 3, "acknowledged tiles are still there: {}", jobs[0].results);

    let mut node = Node::connect(&node_credentials).await;
    let work = tokio::spawn(async move { node.work(usize::MAX).await });
    let view = watch(&client, job).await;
    assert_eq!(view.status, JobStatus::Done, "{}", view.explanation);
    let white: Vec<u8> = std::iter::repeat_n(1.0_f32.to_le_bytes(), 64 * 48 * 4).flatten().collect();
    let digest = BlobDigest(*blake3::hash(&white).as_bytes());
    assert_eq!(view.delivered, [(FrameNumber(1), digest)]);
    work.abort();
    drop(_process);
    assert_eq!(lines.next(), None, "later starts print no tickets");
}

#[tokio::test(flavor = "multi_thread")]
async fn second_master_on_a_folder_says_why_it_does_not_start() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let (_process, mut lines) = Master::serve(data.path(), free_port());
    lines.next().expect("the first has started");
    let output = master(data.path(), &["serve", "--listen", "127.0.0.1:0"]).output();
    let output = output.expect("the binary is there");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("error: ") && stderr.contains("in use"), "{stderr}");
    assert!(stderr.contains("hint: "), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_are_made_listed_and_revoked_beside_a_running_master() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let (_process, mut lines) = Master::serve(data.path(), free_port());
    lines.next().expect("the master has started");
    let run = |arguments: &[&str]| {
        let output = master(data.path(), arguments).output().expect("the binary is there");
        (output.status.code(), String::from_utf8(output.stdout).expect("it is text"))
    };
    let (code, ticket) = run(&["ticket", "create", "--role", "node", "--name", "late"]);
    assert_eq!(code, Some(0));
    join(ticket.trim()).await;
    let (code, list) = run(&["ticket", "list"]);
    assert_eq!((code, list.lines().count()), (Some(0), 4));
    assert!(list.lines().any(|line| line.contains("\tnode\tlate\t")), "{list}");
    assert_eq!(run(&["ticket", "revoke", "late"]), (Some(0), "1\n".to_owned()));
    let ticket: Ticket = ticket.trim().parse().expect("it is a ticket");
    assert!(Credentials::join(&ticket, "test").await.is_err());
    assert_eq!(run(&["ticket", "revoke", "nobody"]).0, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_counted_beside_a_running_master_and_removed_without_one() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let (process, mut lines) = Master::serve(data.path(), free_port());
    lines.next().expect("a node ticket");
    let client = Client::connect(&join(&lines.next().expect("an artist ticket")).await).await;
    let client = client.expect("the master is there");
    let store = async |bytes: &[u8]| {
        let digest = BlobDigest(*blake3::hash(bytes).as_bytes());
        store_blob(&client, digest, bytes, |_| {}).await.expect("there is room");
    };
    store(SCENE).await;
    store(b"nobody needs it").await;
    let mut receive = ask(&client, Request::SubmitJob { spec: Box::new(spec()) }).await;
    let submitted = receive.receive().await.expect("it is answered");
    assert_eq!(submitted, Some(Response::Submitted { job: JobId(1) }));
    let gc = |arguments: &[&str]| {
        let output = master(data.path(), &[&["gc"], arguments].concat()).output();
        let output = output.expect("the binary is there");
        (output.status.code(), String::from_utf8(output.stdout).expect("it is text"))
    };
    let needed = format!("needed by jobs\t1 blobs\t{} bytes\n", SCENE.len());
    let all = ["--dry-run", "--grace", "0s", "--keep", "0"];
    let (kept, gone) = ("unused but kept\t0 blobs\t0 bytes\n", "1 blobs\t15 bytes\n");
    assert_eq!(gc(&all), (Some(0), format!("{needed}{kept}would be removed\t{gone}")));
    assert_eq!(gc(&all[1..]).0, Some(1), "a running master holds the folder");
    process.kill();
    assert_eq!(gc(&[]), (Some(0), format!("{needed}unused but kept\t{gone}removed\t0 blobs\t0 bytes\n")));
    assert_eq!(gc(&all[1..]), (Some(0), format!("{needed}{kept}removed\t{gone}")));
}

/// A master that no file may grow for, and its log: a limit on the size of files
/// does to its writes what a full disk does. The signal that comes with it is
/// ignored.
#[cfg(target_os = "linux")]
fn serve_with_limits(data: &Path, port: u16) -> (Master, Vec<String>, impl Iterator<Item = String> + use<>) {
    let script = "trap '' XFSZ; exec \"$0\" serve --listen \"127.0.0.1:$1\" --data \"$2\"";
    let mut child = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_farm-master"), &port.to_string()])
        .arg(data)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the shell and the binary are there");
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let tickets = stdout.lines().take(2).map(|line| line.expect("a ticket")).collect();
    (Master(child), tickets, stderr.lines().map_while(Result::ok))
}

/// Sets the size that files of a process may grow to.
#[cfg(target_os = "linux")]
fn limit_files(process: &Master, bytes: &str) {
    let limit = format!("--fsize={bytes}:unlimited");
    let status = Command::new("prlimit").args(["--pid", &process.0.id().to_string(), &limit]).status();
    assert!(status.expect("prlimit is part of every Linux").success());
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn full_disk_refuses_new_work_with_the_reason_and_goes_on_when_there_is_room() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let (process, tickets, mut log) = serve_with_limits(data.path(), free_port());
    let (node_credentials, artist_credentials) = (join(&tickets[0]).await, join(&tickets[1]).await);
    let client = Client::connect(&artist_credentials).await.expect("the master is there");
    store_blob(&client, spec().scene, SCENE, |_| {}).await.expect("there is room");
    let submit = || async {
        let mut receive = ask(&client, Request::SubmitJob { spec: Box::new(spec()) }).await;
        receive.receive().await.expect("it is answered").expect("it is answered")
    };
    assert_eq!(submit().await, Response::Submitted { job: JobId(1) });

    limit_files(&process, "4096");
    // The first job after that is recorded by nobody and so answered by nobody.
    let mut first = ask(&client, Request::SubmitJob { spec: Box::new(spec()) }).await;
    let stuck = |line: String| line.contains("nothing goes on until the journal can be written");
    assert!(log.any(stuck), "it says so");
    // A full pipe would stop the master.
    std::thread::spawn(move || log.for_each(drop));
    let refused = submit().await;
    let Response::Refused { reason, hint: Some(hint) } = refused else { panic!("{refused:?}") };
    assert!(reason.contains("the journal cannot be written"), "{reason}");
    assert!(hint.contains("room"), "{hint}");
    let large = vec![7; 100_000];
    let digest = BlobDigest(*blake3::hash(&large).as_bytes());
    let error = store_blob(&client, digest, &large, |_| {}).await.expect_err("there is no room");
    assert!(error.to_string().contains("disk"), "{error}");

    limit_files(&process, "unlimited");
    let answered = first.receive().await.expect("it is answered");
    assert_eq!(answered, Some(Response::Submitted { job: JobId(2) }));
    store_blob(&client, digest, &large, |_| {}).await.expect("there is room again");
    let mut node = Node::connect(&node_credentials).await;
    let work = tokio::spawn(async move { node.work(usize::MAX).await });
    for job in [JobId(1), JobId(2)] {
        let view = watch(&client, job).await;
        assert_eq!(view.status, JobStatus::Done, "{}", view.explanation);
    }
    work.abort();
}
