//! How long a master with a million accepted tiles takes to start: from its
//! facts, from a snapshot, and from a snapshot and a quarter as many facts, four
//! times what there is at most before the next one. Also what making the snapshot costs the driver: the copy
//! of the state, and how long appends take beside it.
//!
//! `cargo bench -p farm-master --bench restart [-- TILES]`

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use farm_core::scheduler::{Entry, Fact, State};
use farm_core::{
    BlobDigest, BlockRange, FrameNumber, FrameRange, JobId, JobSpec, Limits, NodeId, PixelFilter, RectIndex,
    RenderSettings, Resolution, TileId, Timestamp,
};
use farm_master::folder::DataFolder;
use farm_master::journal::{Journal, SqliteJournal};
use farm_master::{Bounds, Master, MasterConfig};
use tokio::sync::mpsc;

/// Rectangles of a frame, and those of them that are accepted: no frame is
/// complete, so every tile is still part of the state.
const RECTS: u32 = 10_000;
const ACCEPTED: u32 = 8_000;

/// Facts of one append, as many as the driver takes messages together.
const BATCH: usize = 256;

fn job(frames: u32) -> Fact {
    let spec = JobSpec {
        name: "restart".into(),
        scene: BlobDigest([1; 32]),
        blobs: Vec::new(),
        frame_scenes: Vec::new(),
        shader_digest: BlobDigest([2; 32]),
        resolution: Resolution { width: 800, height: RECTS / 100 * 8 },
        frames: FrameRange { first: FrameNumber(0), last: FrameNumber(frames - 1) },
        tile_size: 8,
        settings: RenderSettings {
            samples_per_pixel: 16,
            seed: 0,
            max_depth: 4,
            filter: PixelFilter::Box,
            camera: 0,
            transparent: false,
            film: Default::default(),
        },
        priority: 0,
        weight: 1,
        needs: Default::default(),
    };
    Fact::JobSubmitted { job: JobId(1), at: Timestamp(0), spec: Box::new(spec), owner: None }
}

fn tile(number: u32) -> Fact {
    let range = BlockRange { level: 0, index: 0 };
    let (frame, rect) = (FrameNumber(number / ACCEPTED), RectIndex(number % ACCEPTED));
    let blob = BlobDigest(*blake3::hash(&number.to_le_bytes()).as_bytes());
    let node = NodeId(u64::from(number % 64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let tile = TileId { job: JobId(1), frame, rect, range };
    Fact::TileAccepted { tile, node, blob, rays: 1 << 20, render_us: 2_000_000 }
}

#[expect(clippy::print_stdout, reason = "measurements are data")]
fn say(what: &str, took: Duration) {
    println!("{what:<58} {:>9.1} ms", took.as_secs_f64() * 1e3);
}

/// Starts a master, without snapshots of its own, and stops it again.
async fn start(data: &Path) -> Duration {
    let mut config = MasterConfig::new(data, (Ipv4Addr::LOCALHOST, 0).into());
    config.bounds = Bounds { facts_per_snapshot: u64::MAX, ..Bounds::default() };
    let began = Instant::now();
    let master = Master::start(config).await.expect("the folder is free");
    let took = began.elapsed();
    master.shutdown().await;
    took
}

async fn restored(journal: &mut SqliteJournal) -> State {
    let (sender, mut entries) = mpsc::channel::<Entry>(1024);
    let restoring = tokio::task::spawn_blocking(move || {
        State::restore(std::iter::from_fn(|| entries.blocking_recv()), &Limits::default())
    });
    journal.replay(sender).await.expect("it is undamaged");
    restoring.await.expect("restoring does not panic").expect("it holds together")
}

async fn append(journal: &mut SqliteJournal, facts: &[Fact]) -> Duration {
    let began = Instant::now();
    journal.append(facts).await.expect("there is room");
    began.elapsed()
}

async fn measure(tiles: u32) {
    let data = tempfile::tempdir().expect("a temporary folder");
    let path = DataFolder::open(data.path()).expect("the folder opens").journal();
    let mut journal = SqliteJournal::open(&path).await.expect("it opens");
    let later = tiles / 4;
    journal.append(&[job((tiles + later) / ACCEPTED + 1)]).await.expect("there is room");
    let numbers: Vec<u32> = (0..tiles).collect();
    for numbers in numbers.chunks(4096) {
        let facts: Vec<Fact> = numbers.iter().copied().map(tile).collect();
        append(&mut journal, &facts).await;
    }
    let state = restored(&mut journal).await;
    drop(journal);
    say(&format!("start from {tiles} facts"), start(data.path()).await);

    let mut journal = SqliteJournal::open(&path).await.expect("it opens");
    let began = Instant::now();
    let copy = state.clone();
    say("copy of the state", began.elapsed());
    let began = Instant::now();
    let compaction = tokio::spawn(journal.compact(copy));
    let mut number = tiles;
    let mut longest = Duration::ZERO;
    while !compaction.is_finished() && number < tiles + later {
        let facts: Vec<Fact> = (number..).take(BATCH).map(tile).collect();
        longest = longest.max(append(&mut journal, &facts).await);
        number += u32::try_from(BATCH).expect("it is small");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    compaction.await.expect("it does not panic").expect("there is room");
    say("snapshot, beside appends", began.elapsed());
    say(&format!("longest append of {BATCH} facts meanwhile"), longest);
    drop(journal);
    say(&format!("start from a snapshot and {} facts", number - tiles), start(data.path()).await);

    let mut journal = SqliteJournal::open(&path).await.expect("it opens");
    while number < tiles + later {
        let facts: Vec<Fact> = (number..).take(BATCH).map(tile).collect();
        append(&mut journal, &facts).await;
        number += u32::try_from(BATCH).expect("it is small");
    }
    drop(journal);
    say(&format!("start from a snapshot and {} facts", number - tiles), start(data.path()).await);
}

fn main() {
    let tiles = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(1_000_000);
    let runtime = tokio::runtime::Runtime::new().expect("threads are to be had");
    runtime.block_on(measure(tiles));
}
