//! Decisions per second: a node reports a tile, the scheduler records it and
//! grants the next. Nothing is rendered, sent or written.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use farm_core::scheduler::{Command, Effect, Lease};
use farm_core::{
    BlobDigest, FrameNumber, FrameRange, JobSpec, Limits, NodeId, PixelFilter, RenderSettings, Resolution,
    Scheduler, Timestamp,
};

/// As in the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A job of 4 million tiles of one base block in each of many frames: more than
/// any measurement takes.
fn spec() -> JobSpec {
    JobSpec {
        name: "bench".into(),
        scene: BlobDigest([1; 32]),
        blobs: Vec::new(),
        frame_scenes: Vec::new(),
        shader_digest: BlobDigest([2; 32]),
        resolution: Resolution { width: 16_384, height: 16_384 },
        frames: FrameRange { first: FrameNumber(1), last: FrameNumber(1000) },
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
    }
}

/// A scheduler with its nodes' leases, in the order in which they were granted.
struct Farm {
    scheduler: Scheduler,
    leases: VecDeque<(NodeId, Lease)>,
    now: Timestamp,
}

impl Farm {
    fn new(nodes: u64) -> Self {
        let scheduler = Scheduler::restore([], Limits::default(), 1);
        let mut farm = Self { scheduler, leases: VecDeque::new(), now: Timestamp(0) };
        farm.handle(Command::SubmitJob { request: 0, spec: Box::new(spec()), owner: None, quota: None });
        for node in 1..=nodes {
            // Odd factor: the identities are spread over all 64 bits.
            let node = NodeId(node.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            farm.handle(Command::JoinNode {
                node,
                lanes: 1,
                equipment: Default::default(),
                holding: Vec::new(),
            });
        }
        farm
    }

    fn handle(&mut self, command: Command) {
        self.scheduler.handle(self.now, command);
        while let Some(effect) = self.scheduler.poll_effect() {
            if let Effect::Grant { node, lease } = effect {
                self.leases.push_back((node, lease));
            }
        }
    }

    /// One decision: the oldest lease's tile is delivered.
    fn decide(&mut self) {
        let (node, lease) = self.leases.pop_front().expect("the job is large enough");
        let (blob, lease, tile) = (BlobDigest([3; 32]), lease.id, lease.tile);
        // A second for a block: leases stay single blocks, a few for each lane.
        self.handle(Command::ReportTile { node, lease, tile, blob, rays: 1, render_us: 1_000_000 });
    }
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decisions");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(3));
    for nodes in [8, 1_000, 100_000] {
        group.bench_with_input(BenchmarkId::new("nodes", nodes), &nodes, |bencher, &nodes| {
            let mut farm = Farm::new(nodes);
            bencher.iter_custom(|count| {
                let start = Instant::now();
                for _ in 0..count {
                    farm.decide();
                }
                start.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
