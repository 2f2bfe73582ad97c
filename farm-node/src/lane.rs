//! A lane: one adapter, a thread that renders on it, and a thread that encodes
//! what it rendered, so that the adapter is not idle meanwhile.
//!
//! A lane answers every [`Order`] with exactly one [`LaneEvent::Rendered`],
//! [`LaneEvent::Yielded`] or [`LaneEvent::Failed`], whatever happens: a lost adapter
//! is opened again, a panic costs the lane its adapter and scenes but not its
//! thread. The first two are followed by one [`LaneEvent::Encoded`] for each tile.

mod paced;
mod share;
mod stop;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc as sync_mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use farm_core::agent::LaneIndex;
use farm_core::scheduler::FailureKind;
use farm_core::{BlobDigest, LeaseId, RenderTask, TileImage};
use farm_render::{Progress, RenderError, Rendered};
use farm_scene::Scene;
use farm_wire::message::{LaneDescription, TileHeader};
use farm_wire::tile::{TileAttributes, encode_tile};
use tokio::sync::{mpsc, oneshot};

use crate::limits::NodeLimits;
use share::Pauses;
pub use share::{ParseShareError, Share};
pub(crate) use stop::Stop;

/// An open adapter, as a lane needs it. The tests put a false one here.
pub(crate) trait Adapter {
    /// A scene in its memory.
    type Scene;
    /// A scene in the form that it reads.
    type Prepared;

    /// What the master is told of it.
    fn describe(&self) -> Result<LaneDescription, RenderError>;

    /// The scene of this digest as an earlier [`Adapter::prepare`] kept it.
    fn recall(&self, scene: BlobDigest) -> Option<Self::Prepared>;

    /// Brings the scene of this digest into the form that the adapter reads, and
    /// may keep it.
    fn prepare(&self, digest: BlobDigest, scene: &Scene) -> Result<Self::Prepared, RenderError>;

    /// Uploads a scene.
    fn upload(&self, scene: &Self::Prepared) -> Result<Self::Scene, RenderError>;

    /// Renders a task; `progress` may stop it, and what is whole by then is returned.
    fn render(
        &self,
        scene: &Self::Scene,
        task: &RenderTask,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Rendered, RenderError>;
}

/// What a lane is asked to render.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// The lease.
    pub(crate) lease: LeaseId,
    /// What to render.
    pub(crate) task: RenderTask,
    /// What the tile will say of itself; names the scene.
    pub(crate) attributes: TileAttributes,
    /// Edge of the job's rectangles.
    pub(crate) tile_size: u32,
    /// By this it is stopped.
    pub(crate) stop: Arc<Stop>,
}

impl Order {
    /// The order of which an image is: this one, or what of it is whole.
    fn of_part(&self, image: &TileImage) -> Self {
        let mut part = self.clone();
        part.attributes.tile.range = image.range;
        part.attributes.samples_per_pixel = image.range.samples(self.task.settings.samples_per_pixel);
        part.attributes.finished &= image.range == self.task.range;
        part
    }
}

/// A tile as it travels.
#[derive(Debug)]
pub(crate) struct EncodedTile {
    /// Goes first.
    pub(crate) header: TileHeader,
    /// The EXR.
    pub(crate) bytes: Vec<u8>,
}

/// Why a lane could not render an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LaneFailure {
    /// Why it matters to the scheduler.
    pub(crate) kind: FailureKind,
    /// For people.
    pub(crate) message: String,
    /// The blob that turned out not to be in the cache, if that is why.
    pub(crate) missing: Option<BlobDigest>,
}

impl LaneFailure {
    /// A failure that no missing blob explains.
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), missing: None }
    }
}

/// What a lane tells the driver.
#[derive(Debug)]
pub(crate) enum LaneEvent {
    /// It got this far.
    Progressed { lane: LaneIndex, lease: LeaseId, samples: u64 },
    /// It is done with a lease and free again; the encoded tile follows.
    Rendered { lane: LaneIndex, lease: LeaseId },
    /// It was asked to give way, and is free again; the encoded tiles of what is whole
    /// of the lease follow, this many.
    Yielded { lane: LaneIndex, lease: LeaseId, tiles: usize },
    /// A tile of a lease that it rendered.
    Encoded { lease: LeaseId, tile: EncodedTile },
    /// It could not render a lease and is free again, or could not encode it.
    Failed { lane: LaneIndex, lease: LeaseId, failure: LaneFailure },
}

/// Builds the scene of a digest from the cache.
pub(crate) type LoadScene = Box<dyn Fn(BlobDigest) -> Result<Scene, LaneFailure> + Send>;

/// A running lane.
pub(crate) struct Lane {
    /// What the master is told of it.
    pub(crate) description: LaneDescription,
    work: Work,
}

/// What a lane works with.
enum Work {
    /// An adapter and an encoder.
    Threads { orders: sync_mpsc::SyncSender<Order>, threads: Vec<JoinHandle<()>> },
    /// The time that passes.
    Pace { orders: mpsc::Sender<Order> },
    /// Nothing; a driver takes the end of its lanes' events for a breakdown.
    Nothing { _events: mpsc::Sender<LaneEvent> },
}

impl Lane {
    /// Starts a lane and waits until its adapter is open. `open` is called
    /// again whenever the adapter was lost. Of the adapter's time the lane takes
    /// `share`.
    ///
    /// # Errors
    /// When the adapter cannot be opened or probed.
    pub(crate) async fn start<A: Adapter>(
        lane: LaneIndex,
        open: impl Fn() -> Result<A, RenderError> + Send + 'static,
        load: LoadScene,
        share: Share,
        limits: &NodeLimits,
        events: mpsc::Sender<LaneEvent>,
    ) -> Result<Self, RenderError> {
        let (orders, inbox) = sync_mpsc::sync_channel(limits.orders_per_lane);
        // One image waits while another is encoded: enough to keep the adapter
        // busy, and a slow processor then slows the lane and fills no memory.
        let (images, encoder_inbox) = sync_mpsc::sync_channel(1);
        let encoder_events = events.clone();
        let encoder = spawn_thread(format!("encode-{}", lane.0), move || {
            encode_all(lane, &encoder_inbox, &encoder_events);
        });
        let (ready, opened) = oneshot::channel();
        let limits = limits.clone();
        let renderer = spawn_thread(format!("lane-{}", lane.0), move || {
            let bench = Bench {
                lane,
                open,
                load,
                share,
                limits,
                events,
                images,
                adapter: None,
                scenes: VecDeque::new(),
            };
            bench.run(&inbox, ready);
        });
        let description = opened.await.unwrap_or_else(|_| {
            Err(RenderError::DeviceLost("opening the adapter ended in a panic".into()))
        })?;
        Ok(Self { description, work: Work::Threads { orders, threads: vec![renderer, encoder] } })
    }

    /// A lane whose leases are done when they begin, and have no pixels.
    pub(crate) fn nothing(events: mpsc::Sender<LaneEvent>) -> Self {
        Self { description: crate::filling::description(), work: Work::Nothing { _events: events } }
    }

    /// A lane that makes noise of its leases, this many samples a second.
    pub(crate) fn paced(
        lane: LaneIndex,
        samples_per_second: NonZeroU32,
        limits: &NodeLimits,
        events: mpsc::Sender<LaneEvent>,
    ) -> Self {
        let (orders, inbox) = mpsc::channel(limits.orders_per_lane);
        tokio::spawn(paced::run(lane, samples_per_second, inbox, events));
        Self { description: crate::filling::description(), work: Work::Pace { orders } }
    }

    /// Whether its leases have pixels at all.
    pub(crate) fn has_adapter(&self) -> bool {
        !matches!(self.work, Work::Nothing { .. })
    }

    /// Gives the lane an order; `false` when too many wait or the lane is gone.
    pub(crate) fn order(&self, order: Order) -> bool {
        match &self.work {
            Work::Threads { orders, .. } => orders.try_send(order).is_ok(),
            Work::Pace { orders } => orders.try_send(order).is_ok(),
            Work::Nothing { .. } => false,
        }
    }

    /// Takes no further order and returns the threads, to be joined after the
    /// stop flag of the last order was set.
    pub(crate) fn close(self) -> Vec<JoinHandle<()>> {
        match self.work {
            Work::Threads { threads, .. } => threads,
            Work::Pace { .. } | Work::Nothing { .. } => Vec::new(),
        }
    }
}

fn spawn_thread(name: String, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .expect("a process that cannot start its few threads at the beginning cannot work")
}

/// A rendered image on its way to the encoder.
struct Unencoded {
    order: Order,
    image: TileImage,
    render_us: u64,
}

/// What the lane's thread works with.
struct Bench<A: Adapter, O> {
    lane: LaneIndex,
    open: O,
    load: LoadScene,
    share: Share,
    limits: NodeLimits,
    events: mpsc::Sender<LaneEvent>,
    images: sync_mpsc::SyncSender<Unencoded>,
    /// `None` after it was lost.
    adapter: Option<A>,
    /// Most recently used last; empty while there is no adapter.
    scenes: VecDeque<(BlobDigest, A::Scene)>,
}

impl<A: Adapter, O: Fn() -> Result<A, RenderError>> Bench<A, O> {
    fn run(
        mut self,
        inbox: &sync_mpsc::Receiver<Order>,
        ready: oneshot::Sender<Result<LaneDescription, RenderError>>,
    ) {
        let described = (self.open)().and_then(|adapter| {
            let description = adapter.describe()?;
            self.adapter = Some(adapter);
            Ok(description)
        });
        let opened = described.is_ok();
        if ready.send(described).is_err() || !opened {
            return;
        }
        for order in inbox {
            if !self.answer(order) {
                return;
            }
        }
    }

    /// Renders one order and says how it went; `false` when nobody listens.
    fn answer(&mut self, order: Order) -> bool {
        let (lane, lease) = (self.lane, order.lease);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.render(&order)));
        let outcome = outcome.unwrap_or_else(|panic| {
            self.forget_adapter();
            let message = format!("the renderer panicked: {}", panic_message(&*panic));
            Err(LaneFailure::new(FailureKind::Render, message))
        });
        match outcome {
            Ok((Rendered::Done(image), render_us)) => {
                // The driver hears of it first and finds the lane new work
                // while the encoder is at this image.
                self.events.blocking_send(LaneEvent::Rendered { lane, lease }).is_ok()
                    && self.images.send(Unencoded { order, image, render_us }).is_ok()
            }
            Ok((Rendered::Stopped(parts), render_us)) if order.stop.gives_way() && !parts.is_empty() => {
                let tiles = parts.len();
                let samples = parts.iter().map(|part| part.samples).sum::<u64>().max(1);
                self.events.blocking_send(LaneEvent::Yielded { lane, lease, tiles }).is_ok()
                    && parts.into_iter().all(|image| {
                        let render_us = share(render_us, image.samples, samples);
                        self.images.send(Unencoded { order: order.of_part(&image), image, render_us }).is_ok()
                    })
            }
            Ok((Rendered::Stopped(_), _)) => {
                self.events.blocking_send(LaneEvent::Failed { lane, lease, failure: stopped() }).is_ok()
            }
            Err(failure) => self.events.blocking_send(LaneEvent::Failed { lane, lease, failure }).is_ok(),
        }
    }

    fn render(&mut self, order: &Order) -> Result<(Rendered, u64), LaneFailure> {
        if order.stop.is_asked() {
            return Err(stopped());
        }
        self.open_adapter(&order.stop)?;
        self.load_scene(order.attributes.scene)?;
        let (Some(adapter), Some((_, scene))) = (&self.adapter, self.scenes.back()) else {
            unreachable!("the two calls above put them there");
        };
        let started = Instant::now();
        let mut reported = started;
        let mut pauses = Pauses::new(self.share);
        let outcome = adapter.render(scene, &order.task, &mut |progress| {
            if order.stop.is_asked() {
                return ControlFlow::Break(());
            }
            if reported.elapsed() >= self.limits.lane_progress_interval {
                reported = Instant::now();
                let (lane, lease, samples) = (self.lane, order.lease, progress.samples);
                // Progress may be lost; it is said again soon.
                let _ = self.events.try_send(LaneEvent::Progressed { lane, lease, samples });
            }
            pauses.pause(&order.stop);
            ControlFlow::Continue(())
        });
        match outcome {
            Ok(rendered) => Ok((rendered, micros(started.elapsed()))),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Opens the adapter if it was lost, with growing pauses between tries.
    fn open_adapter(&mut self, stop: &Stop) -> Result<(), LaneFailure> {
        if self.adapter.is_some() {
            return Ok(());
        }
        let mut pause = self.limits.reopen_pause;
        for attempt in 1.. {
            match (self.open)() {
                Ok(adapter) => {
                    tracing::info!("lane {}: the adapter is open again", self.lane.0);
                    self.adapter = Some(adapter);
                    break;
                }
                Err(error) if attempt >= self.limits.reopen_tries || stop.is_asked() => {
                    let message = format!("the adapter was lost and could not be opened again: {error}");
                    return Err(LaneFailure::new(FailureKind::DeviceLost, message));
                }
                Err(error) => tracing::warn!("lane {}: {error}; trying again in {pause:?}", self.lane.0),
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        Ok(())
    }

    /// Makes the scene the last of `scenes`.
    fn load_scene(&mut self, digest: BlobDigest) -> Result<(), LaneFailure> {
        if let Some(place) = self.scenes.iter().position(|(loaded, _)| *loaded == digest) {
            let scene = self.scenes.remove(place).expect("the place was just found");
            self.scenes.push_back(scene);
            return Ok(());
        }
        let started = Instant::now();
        let scene = self.prepare(digest)?;
        let prepared = started.elapsed();
        // Room is made before and not after, so that no more scenes than the
        // limit are ever in the adapter's memory.
        while self.scenes.len() >= self.limits.scenes_per_lane.max(1) {
            self.scenes.pop_front();
        }
        let device = self.upload(&scene)?;
        let uploaded = started.elapsed() - prepared;
        tracing::info!(
            "lane {}: scene prepared in {prepared:.1?}, on the adapter in {uploaded:.1?}",
            self.lane.0
        );
        self.scenes.push_back((digest, device));
        Ok(())
    }

    /// A scene as the adapter reads it: as it was kept, or else from its blobs.
    fn prepare(&mut self, digest: BlobDigest) -> Result<A::Prepared, LaneFailure> {
        let adapter = self.adapter.as_ref().expect("the caller opened it");
        if let Some(prepared) = adapter.recall(digest) {
            return Ok(prepared);
        }
        let scene = (self.load)(digest)?;
        adapter.prepare(digest, &scene).map_err(|error| self.fail(error))
    }

    /// Uploads a scene; where it does not fit, once more without the others.
    fn upload(&mut self, scene: &A::Prepared) -> Result<A::Scene, LaneFailure> {
        let adapter = self.adapter.as_ref().expect("the caller opened it");
        let error = match adapter.upload(scene) {
            Err(RenderError::OutOfMemory { .. }) if !self.scenes.is_empty() => {
                self.scenes.clear();
                adapter.upload(scene)
            }
            outcome => outcome,
        };
        error.map_err(|error| self.fail(error))
    }

    /// Says what a renderer's error means to the scheduler, and gives up what
    /// the adapter holds where the error calls for it.
    fn fail(&mut self, error: RenderError) -> LaneFailure {
        match error {
            RenderError::OutOfMemory { .. } => {
                self.scenes.clear();
                LaneFailure::new(FailureKind::OutOfMemory, error.to_string())
            }
            RenderError::DeviceLost(_) | RenderError::NoAdapter => {
                self.forget_adapter();
                LaneFailure::new(FailureKind::DeviceLost, error.to_string())
            }
            RenderError::Stopped => stopped(),
            RenderError::TooDeep { .. }
            | RenderError::NoCamera { .. }
            | RenderError::NoVariant(_)
            | RenderError::WrongScene => LaneFailure::new(FailureKind::Render, error.to_string()),
        }
    }

    /// Drops what a lost or doubtful adapter holds. A driver may break down
    /// while it cleans up, and that must not end the lane.
    fn forget_adapter(&mut self) {
        let scenes = std::mem::take(&mut self.scenes);
        let adapter = self.adapter.take();
        let dropped = catch_unwind(AssertUnwindSafe(move || {
            drop(scenes);
            drop(adapter);
        }));
        if dropped.is_err() {
            tracing::warn!("lane {}: closing the adapter panicked", self.lane.0);
        }
    }
}

fn stopped() -> LaneFailure {
    LaneFailure::new(FailureKind::HandedBack, "stopped")
}

/// The part of a time that some of the samples took.
fn share(render_us: u64, samples: u64, of: u64) -> u64 {
    let share = u128::from(render_us) * u128::from(samples) / u128::from(of.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The text that a panic carries, if it carries one.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "without a message",
    }
}

/// The encoder's thread: turns images into tiles until the lane closes.
fn encode_all(lane: LaneIndex, inbox: &sync_mpsc::Receiver<Unencoded>, events: &mpsc::Sender<LaneEvent>) {
    for rendered in inbox {
        let lease = rendered.order.lease;
        let event = match catch_unwind(AssertUnwindSafe(|| encode(&rendered))) {
            Ok(tile) => LaneEvent::Encoded { lease, tile },
            Err(panic) => {
                let message = format!("encoding the tile panicked: {}", panic_message(&*panic));
                LaneEvent::Failed { lane, lease, failure: LaneFailure::new(FailureKind::Render, message) }
            }
        };
        if events.blocking_send(event).is_err() {
            return;
        }
    }
}

fn encode(rendered: &Unencoded) -> EncodedTile {
    let Unencoded { order, image, render_us } = rendered;
    let bytes = encode_tile(image, &order.attributes, order.task.resolution, order.tile_size);
    let header = TileHeader {
        lease: order.lease,
        tile: order.attributes.tile,
        digest: BlobDigest(*blake3::hash(&bytes).as_bytes()),
        length: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        rays: image.rays,
        render_us: *render_us,
    };
    EncodedTile { header, bytes }
}

#[cfg(test)]
mod tests;
