//! How long frames take on a farm of very unequal nodes that come and go, beside
//! the time that a perfect schedule would take.
//!
//! The [`Scheduler`] is the real one. Nodes, in a few lines, render what they
//! are lent one lease after the other, report progress every half second and
//! die without a word; the master notices after [`Limits::node_timeout`], and
//! another node of another speed, which nobody has measured, comes instead. A
//! message takes 20 ms. Rectangles cost between half and one and a half times
//! the mean. Frames are jobs of their own, one after the other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use farm_core::scheduler::{Command, Effect, Lease};
use farm_core::{
    BlobDigest, FrameNumber, FrameRange, JobId, JobSpec, LeaseId, Limits, NodeId, PixelFilter,
    RenderSettings, Resolution, Scheduler, TileId, Timestamp, plan,
};

use crate::random::Random;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The seed of every choice.
    pub seed: u64,
    /// Nodes that work at a time.
    pub nodes: u32,
    /// Frames, one after the other.
    pub frames: u32,
    /// Of a thousand nodes, how many die in a minute.
    pub deaths_per_mille: u64,
    /// The bounds of the scheduler.
    pub limits: Limits,
}

impl Setting {
    /// 200 nodes of speeds over three orders of magnitude, of which 20 % die in a
    /// minute.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        Self { seed, nodes: 200, frames: 300, deaths_per_mille: 200, limits: Limits::default() }
    }
}

/// How long the frames took.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameTimes {
    /// Seconds from a frame's submission until it was complete, in order of size.
    pub seconds: Vec<f64>,
    /// Beside the time in which the nodes that lived meanwhile could have rendered
    /// it, had none of them ever waited or rendered in vain; in order of size.
    pub to_ideal: Vec<f64>,
    /// The largest part of a frame's samples that was granted twice.
    pub most_copied: f64,
    /// The part of all samples that were granted twice.
    pub copied: f64,
    /// Nodes that died.
    pub deaths: u32,
}

/// The value below which so many hundredths of the values are.
///
/// # Panics
/// There is no value.
#[must_use]
pub fn percentile(sorted: &[f64], hundredths: usize) -> f64 {
    sorted[(sorted.len() * hundredths).div_ceil(100).max(1) - 1]
}

/// Milliseconds that a message takes.
const LATENCY_MS: u64 = 20;
/// Between two reports of progress.
const PROGRESS_MS: u64 = 500;
/// Samples per second of the slowest node; the fastest has a thousand times as many.
const SLOWEST: f64 = 1_000.0;

/// Something that happens; `life` tells the nodes at one place apart.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Tick,
    Born(usize),
    Die { place: usize, life: u32 },
    Missed { place: usize, life: u32 },
    Granted { place: usize, life: u32, lease: LeaseId },
    Revoked { place: usize, life: u32, lease: LeaseId },
    Progress { place: usize, life: u32, lease: LeaseId },
    Rendered { place: usize, life: u32, lease: LeaseId },
    Delivered { place: usize, life: u32, lease: LeaseId, render_us: u64 },
    Heard { place: usize, life: u32, lease: LeaseId, samples: u64 },
}

/// The node at one place.
#[derive(Debug, Default)]
struct Node {
    life: u32,
    alive: bool,
    speed: u64,
    queue: Vec<LeaseId>,
    /// What renders, since when and for how long.
    rendering: Option<(LeaseId, u64, u64)>,
}

struct Farm {
    scheduler: Scheduler,
    random: Random,
    setting: Setting,
    now: u64,
    sequence: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    tick_at: Option<u64>,
    nodes: Vec<Node>,
    /// Tiles by lease.
    tiles: BTreeMap<(NodeId, LeaseId), TileId>,
    /// Samples per second of all that live, and what they could have rendered.
    speed: u64,
    capacity: f64,
    capacity_at: u64,
    complete: bool,
    deaths: u32,
}

/// Renders the frames.
///
/// # Panics
/// A frame is not complete after an hour.
#[must_use]
pub fn frame_times(setting: &Setting) -> FrameTimes {
    let mut farm = Farm {
        scheduler: Scheduler::restore([], setting.limits.clone(), 1),
        random: Random::new(setting.seed),
        setting: setting.clone(),
        now: 0,
        sequence: 0,
        events: BinaryHeap::new(),
        tick_at: None,
        nodes: (0..setting.nodes).map(|_| Node::default()).collect(),
        tiles: BTreeMap::new(),
        speed: 0,
        capacity: 0.0,
        capacity_at: 0,
        complete: false,
        deaths: 0,
    };
    for place in 0..farm.nodes.len() {
        farm.schedule(0, Event::Born(place));
    }
    let mut times =
        FrameTimes { seconds: Vec::new(), to_ideal: Vec::new(), most_copied: 0.0, copied: 0.0, deaths: 0 };
    for frame in 1..=setting.frames {
        farm.render(JobId(frame.into()), &mut times);
    }
    times.seconds.sort_by(f64::total_cmp);
    times.to_ideal.sort_by(f64::total_cmp);
    times.copied /= f64::from(setting.frames);
    times.deaths = farm.deaths;
    times
}

/// The node of one life at a place.
fn node_id(place: usize, life: u32) -> NodeId {
    NodeId((place as u64 + 1) << 32 | u64::from(life))
}

/// Half to one and a half of the mean, by the rectangle, in thousandths.
fn cost_per_mille(tile: &TileId) -> u64 {
    Random::new(tile.job.0 << 32 | u64::from(tile.rect.0)).between(500, 1500)
}

/// A frame of 240 rectangles of 64 × 64 pixels with 900 samples each: 30 s of the
/// whole farm.
fn frame() -> JobSpec {
    JobSpec {
        name: "frame".into(),
        scene: BlobDigest([1; 32]),
        blobs: Vec::new(),
        frame_scenes: Vec::new(),
        shader_digest: BlobDigest([2; 32]),
        resolution: Resolution { width: 1280, height: 768 },
        frames: FrameRange { first: FrameNumber(1), last: FrameNumber(1) },
        tile_size: 64,
        settings: RenderSettings {
            samples_per_pixel: 900,
            seed: 0,
            max_depth: 4,
            filter: PixelFilter::Box,
            camera: 0,
            transparent: false,
            film: farm_core::FilmSettings::default(),
        },
        priority: 0,
        weight: 1,
        needs: farm_core::Needs::default(),
    }
}

impl Farm {
    fn schedule(&mut self, delay_ms: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((self.now + delay_ms, self.sequence, event)));
    }

    #[expect(clippy::cast_precision_loss, reason = "samples and times are known to a few digits")]
    fn render(&mut self, job: JobId, times: &mut FrameTimes) {
        let spec = frame();
        let pixels = (0..plan::rect_count(spec.resolution, spec.tile_size)).map(farm_core::RectIndex);
        let area = |rect| plan::rect_at(spec.resolution, spec.tile_size, rect).map_or(0, |rect| rect.area());
        let range = farm_core::BlockRange::root(spec.settings.blocks());
        let cost = |rect| cost_per_mille(&TileId { job, frame: FrameNumber(1), rect, range });
        let work: u64 = pixels.map(|rect| area(rect) * cost(rect)).sum();
        let work = work as f64 / 1000.0 * f64::from(spec.settings.samples_per_pixel);

        let (began, before) = (self.now, self.count_capacity());
        self.complete = false;
        self.tell(Command::SubmitJob { request: job.0, spec: Box::new(spec), owner: None, quota: None });
        while !self.complete {
            let Some(Reverse((at, _, event))) = self.events.pop() else { break };
            self.now = at;
            self.happen(event);
            assert!(self.now - began < 3_600_000, "frame {job} takes more than an hour");
        }
        times.seconds.push((self.now - began) as f64 / 1000.0);
        times.to_ideal.push((self.count_capacity() - before) / work);
        let view = self.scheduler.job(job).expect("it was submitted");
        let copied = view.backup_samples as f64 / view.samples as f64;
        times.most_copied = times.most_copied.max(copied);
        times.copied += copied;
        let pixel_digest = BlobDigest([0; 32]);
        self.tell(Command::ReportFrame { job, frame: FrameNumber(1), pixel_digest });
    }

    /// What the nodes that lived could have rendered until now.
    #[expect(clippy::cast_precision_loss, reason = "it is known to a few digits")]
    fn count_capacity(&mut self) -> f64 {
        let elapsed = (self.now - std::mem::replace(&mut self.capacity_at, self.now)) as f64 / 1000.0;
        self.capacity += elapsed * self.speed as f64;
        self.capacity
    }

    fn tell(&mut self, command: Command) {
        self.scheduler.handle(Timestamp(self.now), command);
        while let Some(effect) = self.scheduler.poll_effect() {
            match effect {
                Effect::Grant { node, lease: Lease { id, tile, .. } } => {
                    self.tiles.insert((node, id), tile);
                    self.send(node, |place, life| Event::Granted { place, life, lease: id });
                }
                Effect::Revoke { node, lease } => {
                    self.send(node, |place, life| Event::Revoked { place, life, lease });
                }
                Effect::Assemble { .. } => self.complete = true,
                Effect::Record(_) | Effect::Answer { .. } | Effect::Settle { .. } => {}
            }
        }
        let due = self.scheduler.poll_timeout().map(|at| at.0);
        if let Some(at) = due.filter(|at| self.tick_at.is_none_or(|tick| *at < tick)) {
            self.tick_at = Some(at);
            self.schedule(at.saturating_sub(self.now), Event::Tick);
        }
    }

    fn send(&mut self, node: NodeId, event: impl FnOnce(usize, u32) -> Event) {
        let place = usize::try_from((node.0 >> 32) - 1).expect("a few nodes");
        let life = u32::try_from(node.0 & u64::from(u32::MAX)).expect("the lower half");
        self.schedule(LATENCY_MS, event(place, life));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick => {
                self.tick_at = None;
                self.tell(Command::Tick);
            }
            Event::Born(place) => self.born(place),
            Event::Die { place, life } if self.lives(place, life) => self.die(place),
            Event::Missed { place, life } => {
                let node = node_id(place, life);
                self.tiles.retain(|(holder, _), _| *holder != node);
                self.tell(Command::LeaveNode(node));
            }
            Event::Granted { place, life, lease } if self.lives(place, life) => {
                self.nodes[place].queue.push(lease);
                self.go_on(place);
            }
            Event::Revoked { place, life, lease } if self.lives(place, life) => {
                let node = &mut self.nodes[place];
                node.queue.retain(|queued| *queued != lease);
                if node.rendering.is_some_and(|(rendering, ..)| rendering == lease) {
                    node.rendering = None;
                    self.go_on(place);
                }
            }
            Event::Progress { place, life, lease } => self.progress(place, life, lease),
            Event::Rendered { place, life, lease } => self.rendered(place, life, lease),
            Event::Delivered { place, life, lease, render_us } => {
                let node = node_id(place, life);
                if let Some(tile) = self.tiles.remove(&(node, lease)) {
                    let blob = BlobDigest([3; 32]);
                    self.tell(Command::ReportTile { node, lease, tile, blob, rays: 1, render_us });
                }
            }
            Event::Heard { place, life, lease, samples } => {
                self.tell(Command::ReportProgress { node: node_id(place, life), lease, samples });
            }
            Event::Die { .. } | Event::Granted { .. } | Event::Revoked { .. } => {}
        }
    }

    fn lives(&self, place: usize, life: u32) -> bool {
        self.nodes[place].alive && self.nodes[place].life == life
    }

    fn born(&mut self, place: usize) {
        self.count_capacity();
        let node = &mut self.nodes[place];
        let life = node.life + 1;
        let decades = f64::from(u32::try_from(self.random.between(0, 3_000_000)).expect("small")) / 1e6;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a million")]
        let speed = (SLOWEST * 10f64.powf(decades)) as u64;
        *node = Node { life, alive: true, speed, ..Node::default() };
        self.speed += speed;
        // An exponential lifetime, from a number that is never 0.
        let minutes_per_life =
            1000.0 / f64::from(u32::try_from(self.setting.deaths_per_mille).expect("small"));
        let drawn = f64::from(u32::try_from(self.random.between(1, 1_000_000)).expect("small")) / 1e6;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some minutes")]
        let lifetime_ms = (-drawn.ln() * minutes_per_life * 60_000.0) as u64;
        self.schedule(lifetime_ms, Event::Die { place, life });
        let command = Command::JoinNode {
            node: node_id(place, life),
            lanes: 1,
            equipment: farm_core::scheduler::Equipment::default(),
            holding: Vec::new(),
        };
        self.tell(command);
    }

    fn die(&mut self, place: usize) {
        self.count_capacity();
        self.deaths += 1;
        let node = &mut self.nodes[place];
        node.alive = false;
        self.speed -= node.speed;
        let life = node.life;
        let timeout = u64::try_from(self.setting.limits.node_timeout.as_millis()).expect("seconds");
        self.schedule(timeout, Event::Missed { place, life });
        let comes_ms = self.random.between(1_000, 10_000);
        self.schedule(comes_ms, Event::Born(place));
    }

    /// Begins the next lease of the queue, if the node is idle.
    fn go_on(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        if node.rendering.is_some() || node.queue.is_empty() {
            return;
        }
        let (lease, life) = (node.queue.remove(0), node.life);
        let Some(tile) = self.tiles.get(&(node_id(place, life), lease)) else { return self.go_on(place) };
        let spec = frame();
        let area = plan::rect_at(spec.resolution, spec.tile_size, tile.rect).map_or(0, |rect| rect.area());
        let samples = area * u64::from(tile.range.samples(spec.settings.samples_per_pixel));
        let takes_ms = (samples * cost_per_mille(tile)).div_ceil(node.speed).max(1);
        node.rendering = Some((lease, self.now, takes_ms));
        self.schedule(takes_ms, Event::Rendered { place, life, lease });
        self.schedule(PROGRESS_MS, Event::Progress { place, life, lease });
    }

    fn rendered(&mut self, place: usize, life: u32, lease: LeaseId) {
        let node = &mut self.nodes[place];
        let is_current = node.rendering.is_some_and(|(rendering, ..)| rendering == lease);
        if !node.alive || node.life != life || !is_current {
            return;
        }
        let (_, _, took_ms) = node.rendering.take().expect("it renders");
        let render_us = took_ms * 1000;
        self.schedule(LATENCY_MS, Event::Delivered { place, life, lease, render_us });
        self.go_on(place);
    }

    fn progress(&mut self, place: usize, life: u32, lease: LeaseId) {
        let node = &self.nodes[place];
        let Some((_, began, takes_ms)) = node.rendering.filter(|(rendering, ..)| *rendering == lease) else {
            return;
        };
        if !node.alive || node.life != life {
            return;
        }
        let spec = frame();
        let Some(tile) = self.tiles.get(&(node_id(place, life), lease)) else { return };
        let area = plan::rect_at(spec.resolution, spec.tile_size, tile.rect).map_or(0, |rect| rect.area());
        let samples = area * u64::from(tile.range.samples(spec.settings.samples_per_pixel));
        let done = samples * (self.now - began) / takes_ms;
        self.schedule(LATENCY_MS, Event::Heard { place, life, lease, samples: done.max(1) });
        self.schedule(PROGRESS_MS, Event::Progress { place, life, lease });
    }
}
