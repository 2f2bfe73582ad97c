//! What a seed means: how many nodes, which jobs, which faults.

use std::collections::BTreeSet;

use farm_core::{
    BlobDigest, FrameNumber, FrameRange, FrameScene, JobId, JobSpec, Limits, PixelFilter, RenderSettings,
    Resolution,
};

use crate::random::Random;

/// A simulated run; everything else follows from it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed of every choice.
    pub seed: u64,
    /// Nodes; `None`: 1 to 8, as the seed has it.
    pub nodes: Option<u32>,
    /// Base blocks in all, roughly; `None`: a few hundred, as the seed has it.
    pub tiles: Option<u32>,
    /// That many equal large jobs at once on nodes of one speed; `None`: one.
    pub equal_jobs: Option<u32>,
    /// Whether faults are injected.
    pub faults: bool,
    /// Whether to tell on stderr what happens.
    pub trace: bool,
}

/// How often things go wrong, per thousand opportunities, until they heal.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    /// Milliseconds between two blows (a node killed, cut off, stalled or
    /// drained, the master killed, a person's command); 0 is never.
    pub(super) blow_interval_ms: u64,
    pub(super) kill_master_per_mille: u64,
    /// Of renders.
    pub(super) fail_render_per_mille: u64,
    pub(super) corrupt_per_mille: u64,
    pub(super) device_lost_per_mille: u64,
    pub(super) hang_per_mille: u64,
    /// Of pairs of job and node.
    pub(super) out_of_memory_per_mille: u64,
    pub(super) miss_blob_per_mille: u64,
    pub(super) fail_assembly_per_mille: u64,
    /// Of messages: lost and sent again.
    pub(super) drop_per_mille: u64,
    /// Of messages: said twice.
    pub(super) duplicate_per_mille: u64,
    /// Of nodes.
    pub(super) liars_per_mille: u64,
    /// Whether one rectangle of each job fails on every node.
    pub(super) poison: bool,
    /// When all this ends.
    pub(super) heal_at_ms: u64,
}

/// What the seed was turned into.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) limits: Limits,
    pub(super) jobs: Vec<JobSpec>,
    pub(super) nodes: Vec<NodePlan>,
    pub(super) faults: Faults,
    /// Longest delay of a message, in milliseconds.
    pub(super) delay_ms: u64,
    /// Longest time that a commit takes, in milliseconds.
    pub(super) commit_ms: u64,
    /// When the last job is submitted at the latest, in milliseconds.
    pub(super) submit_within_ms: u64,
}

/// A node's machine.
#[derive(Clone, Debug)]
pub(super) struct NodePlan {
    pub(super) lanes: u32,
    /// Samples per second of one lane.
    pub(super) speed: u64,
    /// Jobs too large for its memory; never to be given to it again.
    pub(super) too_large: BTreeSet<JobId>,
    /// Whether it says what is not so.
    pub(super) lies: bool,
}

impl Scenario {
    /// The scenario of a seed, with faults.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        Self { seed, nodes: None, tiles: None, equal_jobs: None, faults: true, trace: false }
    }

    pub(super) fn plan(&self, random: &mut Random) -> Plan {
        let node_count = self.nodes.map_or_else(|| random.between(1, 8), u64::from);
        let faults = if self.faults { Faults::random(random) } else { Faults::none() };
        let nodes = (0..node_count).map(|node| NodePlan {
            lanes: if self.equal_jobs.is_some() {
                1
            } else {
                u32::try_from(random.between(1, 3)).expect("a few")
            },
            speed: 1 << if self.equal_jobs.is_some() { 16 } else { random.between(13, 19) },
            // The first node has memory for all.
            too_large: (1..5)
                .map(JobId)
                .filter(|_| random.chance(faults.out_of_memory_per_mille) && node > 0)
                .collect(),
            // The first node is honest.
            lies: random.chance(faults.liars_per_mille) && node > 0,
        });
        let nodes = nodes.collect();
        let jobs = match self.tiles {
            Some(tiles) => vec![large_job(tiles); self.equal_jobs.map_or(1, |jobs| jobs as usize)],
            None => (0..random.between(1, 4)).map(|_| small_job(random)).collect(),
        };
        Plan {
            // A long quarantine would only make the deadline of all jobs say less.
            limits: Limits { quarantine_max: std::time::Duration::from_secs(60), ..Limits::default() },
            jobs,
            nodes,
            faults,
            delay_ms: [1, 20, 200][random.index(3)],
            commit_ms: [0, 5, 50][random.index(3)],
            submit_within_ms: if self.equal_jobs.is_some() { 0 } else { 20_000 },
        }
    }
}

impl Faults {
    fn random(random: &mut Random) -> Self {
        let mut rare = |per_mille| if random.chance(500) { random.between(0, per_mille) } else { 0 };
        let mut faults = Self {
            blow_interval_ms: 0,
            kill_master_per_mille: rare(400),
            fail_render_per_mille: rare(30),
            corrupt_per_mille: rare(30),
            device_lost_per_mille: rare(30),
            hang_per_mille: rare(10),
            out_of_memory_per_mille: rare(300),
            miss_blob_per_mille: rare(200),
            fail_assembly_per_mille: rare(700),
            drop_per_mille: rare(100),
            duplicate_per_mille: rare(50),
            liars_per_mille: rare(300),
            poison: false,
            heal_at_ms: 0,
        };
        faults.poison = random.chance(100);
        faults.blow_interval_ms = [0, 500, 2_000, 10_000][random.index(4)];
        faults.heal_at_ms = random.between(1_000, 60_000);
        faults
    }

    fn none() -> Self {
        Self {
            blow_interval_ms: 0,
            kill_master_per_mille: 0,
            fail_render_per_mille: 0,
            corrupt_per_mille: 0,
            device_lost_per_mille: 0,
            hang_per_mille: 0,
            out_of_memory_per_mille: 0,
            miss_blob_per_mille: 0,
            fail_assembly_per_mille: 0,
            drop_per_mille: 0,
            duplicate_per_mille: 0,
            liars_per_mille: 0,
            poison: false,
            heal_at_ms: 0,
        }
    }
}

fn small_job(random: &mut Random) -> JobSpec {
    let mut small = |low, high| u32::try_from(random.between(low, high)).expect("a small number");
    let resolution = Resolution { width: small(8, 80), height: small(8, 80) };
    let frames = FrameRange { first: FrameNumber(1), last: FrameNumber(small(1, 3)) };
    let samples_per_pixel = if small(0, 3) == 0 { small(1, 16) } else { small(17, 300) };
    // Scenes share blobs with their neighbours.
    let scene = u8::try_from(small(0, 3)).expect("at most 3");
    let priority = if small(0, 3) == 0 { 5 } else { 0 };
    job(resolution, frames, 16, samples_per_pixel, scene, priority)
}

/// A job of one frame of about `tiles` base blocks, one of each rectangle.
fn large_job(tiles: u32) -> JobSpec {
    let edge = tiles.isqrt().clamp(1, 4096);
    let resolution = Resolution { width: edge * 8, height: edge * 8 };
    let frames = FrameRange { first: FrameNumber(1), last: FrameNumber(1) };
    job(resolution, frames, 8, 16, 0, 0)
}

fn job(
    resolution: Resolution,
    frames: FrameRange,
    tile_size: u32,
    samples_per_pixel: u32,
    scene: u8,
    priority: i32,
) -> JobSpec {
    // Every other scene moves: each frame has a manifest and a blob of its own.
    let own = |frame: u8| FrameScene {
        scene: BlobDigest([100 + 10 * scene + frame; 32]),
        blobs: vec![BlobDigest([150 + 10 * scene + frame; 32])],
    };
    let moving = if scene % 2 == 1 { u8::try_from(frames.count()).expect("a few frames") } else { 0 };
    let frame_scenes: Vec<FrameScene> = (0..moving).map(own).collect();
    JobSpec {
        name: "simulated".into(),
        scene: frame_scenes.first().map_or(BlobDigest([scene; 32]), |first| first.scene),
        blobs: (10..16).map(|blob| BlobDigest([blob + scene; 32])).collect(),
        frame_scenes,
        shader_digest: BlobDigest([99; 32]),
        resolution,
        frames,
        tile_size,
        settings: RenderSettings {
            samples_per_pixel,
            seed: 0,
            max_depth: 4,
            filter: PixelFilter::Box,
            camera: 0,
            transparent: false,
            film: Default::default(),
        },
        priority,
        weight: 1,
        needs: Default::default(),
    }
}
