use std::sync::atomic::Ordering;

use super::*;
use crate::testing::{LOSE, PANIC, PIXEL, RENDER, Stage, TILE_SIZE, WAIT, any_scene, lane, order};

/// A lane with its false adapter.
struct Rig {
    stage: Arc<Stage>,
    lane: Lane,
    events: mpsc::Receiver<LaneEvent>,
}

impl Rig {
    async fn start() -> Self {
        let stage = Arc::default();
        let load = any_scene(&stage);
        Self::start_with(stage, load).await
    }

    async fn start_with(stage: Arc<Stage>, load: LoadScene) -> Self {
        let (sender, events) = mpsc::channel(16);
        let lane = lane(&stage, load, sender).await;
        Self { stage, lane, events }
    }

    fn order(&self, order: Order) {
        assert!(self.lane.order(order), "the lane takes orders");
    }

    /// The next event that is not progress.
    async fn event(&mut self) -> LaneEvent {
        loop {
            match self.events.recv().await.expect("the lane lives") {
                LaneEvent::Progressed { .. } => {}
                event => return event,
            }
        }
    }

    async fn rendered(&mut self, lease: u64) -> EncodedTile {
        match self.event().await {
            LaneEvent::Rendered { lease: rendered, .. } => assert_eq!(rendered, LeaseId(lease)),
            other => panic!("{other:?}"),
        }
        match self.event().await {
            LaneEvent::Encoded { lease: encoded, tile } => {
                assert_eq!(encoded, LeaseId(lease));
                tile
            }
            other => panic!("{other:?}"),
        }
    }

    async fn failure(&mut self, lease: u64) -> LaneFailure {
        match self.event().await {
            LaneEvent::Failed { lease: failed, failure, .. } => {
                assert_eq!(failed, LeaseId(lease));
                failure
            }
            other => panic!("{other:?}"),
        }
    }

    fn opened(&self) -> usize {
        self.stage.opened.load(Ordering::SeqCst)
    }

    fn loaded(&self) -> usize {
        self.stage.loaded.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn order_is_rendered_and_then_encoded() {
    let mut rig = Rig::start().await;
    let order = order(9, 1, RENDER);
    rig.order(order.clone());
    let tile = rig.rendered(9).await;
    assert_eq!(tile.header.digest.0, *blake3::hash(&tile.bytes).as_bytes());
    assert_eq!((tile.header.rays, tile.header.length), (5, tile.bytes.len() as u64));
    let image = farm_wire::tile::decode_tile(&tile.bytes, &order.attributes, &order.task, TILE_SIZE);
    assert!(image.expect("it is the tile that was ordered").pixels.iter().all(|pixel| *pixel == PIXEL));
}

#[tokio::test]
async fn panic_is_reported_and_the_lane_goes_on() {
    let mut rig = Rig::start().await;
    rig.order(order(1, 1, PANIC));
    rig.order(order(2, 1, RENDER));
    let failure = rig.failure(1).await;
    assert_eq!(failure.kind, FailureKind::Render);
    assert!(failure.message.contains("as the seed says"), "{}", failure.message);
    rig.rendered(2).await;
    assert_eq!((rig.opened(), rig.loaded()), (2, 2), "nothing is kept of an adapter that panicked");
}

#[tokio::test]
async fn lost_adapter_is_opened_again() {
    let mut rig = Rig::start().await;
    rig.order(order(1, 1, LOSE));
    rig.order(order(2, 1, RENDER));
    assert_eq!(rig.failure(1).await.kind, FailureKind::DeviceLost);
    rig.rendered(2).await;
    assert_eq!((rig.opened(), rig.loaded()), (2, 2));
}

#[tokio::test]
async fn adapter_that_stays_lost_is_reported_after_bounded_tries() {
    let mut rig = Rig::start().await;
    rig.stage.openable.store(1, Ordering::SeqCst);
    rig.order(order(1, 1, LOSE));
    rig.order(order(2, 1, RENDER));
    rig.failure(1).await;
    assert_eq!(rig.failure(2).await.kind, FailureKind::DeviceLost);
    let tries = usize::try_from(NodeLimits::default().reopen_tries).expect("a small number");
    assert_eq!(rig.opened(), 1 + tries);
}

#[tokio::test]
async fn stopped_order_is_handed_back() {
    let mut rig = Rig::start().await;
    let (running, waiting) = (order(1, 1, WAIT), order(2, 1, RENDER));
    rig.order(running.clone());
    rig.order(waiting.clone());
    let first = rig.events.recv().await;
    assert!(matches!(first, Some(LaneEvent::Progressed { samples: 1, .. })), "{first:?}");
    waiting.stop.drop_it();
    running.stop.drop_it();
    assert_eq!(rig.failure(1).await.kind, FailureKind::HandedBack);
    assert_eq!(rig.failure(2).await.kind, FailureKind::HandedBack);
}

#[tokio::test]
async fn order_that_gives_way_delivers_what_is_whole() {
    let mut rig = Rig::start().await;
    rig.stage.whole_blocks.store(3, Ordering::SeqCst);
    let running = order(1, 1, WAIT);
    rig.order(running.clone());
    assert!(matches!(rig.events.recv().await, Some(LaneEvent::Progressed { .. })));
    running.stop.give_way();
    let yielded = rig.event().await;
    assert!(matches!(yielded, LaneEvent::Yielded { lease: LeaseId(1), tiles: 2, .. }), "{yielded:?}");
    let mut shares = 0;
    for (level, index) in [(1, 0), (0, 2)] {
        let LaneEvent::Encoded { lease: LeaseId(1), tile } = rig.event().await else { panic!("a tile") };
        let range = farm_core::BlockRange { level, index };
        assert_eq!(tile.header.tile, farm_core::TileId { range, ..running.attributes.tile });
        let task = RenderTask { range, ..running.task.clone() };
        let attributes = TileAttributes {
            tile: tile.header.tile,
            samples_per_pixel: range.samples(64),
            finished: false,
            ..running.attributes.clone()
        };
        let image = farm_wire::tile::decode_tile(&tile.bytes, &attributes, &task, TILE_SIZE);
        assert_eq!(image.expect("it is what the master expects").range, range);
        shares += tile.header.render_us;
    }
    assert!(shares > 0, "the time is shared among them");
    rig.order(order(2, 1, RENDER));
    rig.rendered(2).await;
}

#[tokio::test]
async fn order_that_gives_way_in_its_first_block_is_handed_back() {
    let mut rig = Rig::start().await;
    let running = order(1, 1, WAIT);
    rig.order(running.clone());
    assert!(matches!(rig.events.recv().await, Some(LaneEvent::Progressed { .. })));
    running.stop.give_way();
    assert_eq!(rig.failure(1).await.kind, FailureKind::HandedBack);
}

#[tokio::test]
async fn scenes_used_last_stay_on_the_adapter() {
    let mut rig = Rig::start().await;
    for (lease, (scene, loads)) in [(1, 1), (2, 2), (1, 2), (3, 3), (1, 3), (2, 4)].into_iter().enumerate() {
        let lease = lease as u64;
        rig.order(order(lease, scene, RENDER));
        rig.rendered(lease).await;
        assert_eq!(rig.loaded(), loads, "after lease {lease} of scene {scene}");
        assert!(rig.stage.resident.load(Ordering::SeqCst) <= 2);
    }
}

#[tokio::test]
async fn other_scenes_make_room_for_one_that_does_not_fit() {
    let mut rig = Rig::start().await;
    rig.stage.capacity.store(1, Ordering::SeqCst);
    rig.order(order(1, 1, RENDER));
    rig.rendered(1).await;
    rig.order(order(2, 2, RENDER));
    rig.rendered(2).await;
    assert_eq!(rig.stage.resident.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn scene_that_was_kept_is_not_loaded_again() {
    let mut rig = Rig::start().await;
    rig.stage.keeps.store(true, Ordering::SeqCst);
    rig.order(order(1, 1, RENDER));
    rig.rendered(1).await;
    rig.order(order(2, 1, LOSE));
    rig.failure(2).await;
    rig.order(order(3, 1, RENDER));
    rig.rendered(3).await;
    assert_eq!((rig.opened(), rig.loaded()), (2, 1), "the adapter was new and the scene was not");
    rig.order(order(4, 2, RENDER));
    rig.rendered(4).await;
    assert_eq!(rig.loaded(), 2);
}

#[tokio::test]
async fn scene_that_never_fits_is_out_of_memory() {
    let mut rig = Rig::start().await;
    rig.stage.capacity.store(1, Ordering::SeqCst);
    rig.stage.resident.store(1, Ordering::SeqCst);
    rig.order(order(1, 1, RENDER));
    assert_eq!(rig.failure(1).await.kind, FailureKind::OutOfMemory);
}

#[tokio::test]
async fn blob_that_is_not_there_is_named() {
    let missing = BlobDigest([8; 32]);
    let load: LoadScene = Box::new(move |_| {
        Err(LaneFailure { missing: Some(missing), ..LaneFailure::new(FailureKind::BlobUnavailable, "gone") })
    });
    let mut rig = Rig::start_with(Arc::default(), load).await;
    rig.order(order(1, 1, RENDER));
    assert_eq!(rig.failure(1).await.missing, Some(missing));
}

#[tokio::test]
async fn closed_lane_ends_its_threads() {
    let rig = Rig::start().await;
    let Rig { lane, events, .. } = rig;
    drop(events);
    for thread in lane.close() {
        assert!(thread.join().is_ok());
    }
}

/// A paced lane at 16 × 16 pixels of 64 samples: a tenth of a second a block.
fn paced() -> (Lane, mpsc::Receiver<LaneEvent>) {
    let (sender, events) = mpsc::channel(16);
    let speed = NonZeroU32::new(16 * 16 * 16 * 10).expect("it is not 0");
    (Lane::paced(LaneIndex(0), speed, &NodeLimits::default(), sender), events)
}

#[tokio::test]
async fn paced_lane_delivers_what_was_ordered() {
    let (lane, mut events) = paced();
    let order = order(1, 1, RENDER);
    let expected = crate::noise(&order.task);
    assert!(lane.order(order.clone()));
    let tile = loop {
        match events.recv().await.expect("the lane lives") {
            LaneEvent::Encoded { tile, .. } => break tile,
            LaneEvent::Failed { failure, .. } => panic!("{failure:?}"),
            _ => {}
        }
    };
    assert!(tile.header.render_us >= 400_000, "{}", tile.header.render_us);
    let whole = Unencoded { order, image: expected, render_us: tile.header.render_us };
    assert_eq!(tile.bytes, encode(&whole).bytes);
}

#[tokio::test]
async fn paced_lane_gives_way_with_what_is_whole() {
    let (lane, mut events) = paced();
    let order = order(1, 1, RENDER);
    let stop = Arc::clone(&order.stop);
    assert!(lane.order(order));
    let first = events.recv().await.expect("the lane lives");
    assert!(matches!(first, LaneEvent::Progressed { .. }), "{first:?}");
    stop.give_way();
    let tiles = loop {
        match events.recv().await.expect("the lane lives") {
            LaneEvent::Yielded { tiles, .. } => break tiles,
            LaneEvent::Progressed { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    for _ in 0..tiles {
        let event = events.recv().await.expect("the lane lives");
        let LaneEvent::Encoded { tile, .. } = event else { panic!("{event:?}") };
        assert!(tile.header.tile.range.level < 2, "{:?}", tile.header.tile.range);
    }
}
