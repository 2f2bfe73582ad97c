//! A lane without an adapter that takes its time: noise, as fast as an adapter of
//! some speed would make it. It has no thread and its time is tokio's, so that
//! where the runtime's clock is paused a farm of such lanes needs next to none.

use std::num::NonZeroU32;
use std::time::Duration;

use farm_core::agent::LaneIndex;
use farm_core::{BlockRange, RenderTask};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::{LaneEvent, Order, Stop, Unencoded, encode, micros, share, stopped};
use crate::filling::noise;

/// Longest time for which a lane does not look whether it is to stop.
const SLICE: Duration = Duration::from_millis(50);

/// Answers orders until nobody gives any or listens.
pub(super) async fn run(
    lane: LaneIndex,
    samples_per_second: NonZeroU32,
    mut orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<LaneEvent>,
) {
    while let Some(order) = orders.recv().await {
        let began = Instant::now();
        let whole = take_time(lane, samples_per_second, &order, &events).await;
        let ranges = match whole {
            None => vec![order.task.range],
            Some(blocks) if order.stop.gives_way() => order.task.range.first_blocks(blocks),
            Some(_) => Vec::new(),
        };
        let lease = order.lease;
        let event = match whole {
            None => LaneEvent::Rendered { lane, lease },
            Some(_) if ranges.is_empty() => LaneEvent::Failed { lane, lease, failure: stopped() },
            Some(_) => LaneEvent::Yielded { lane, lease, tiles: ranges.len() },
        };
        let render_us = micros(began.elapsed());
        if events.send(event).await.is_err() || deliver(&order, &ranges, render_us, &events).await.is_err() {
            return;
        }
    }
}

/// Lets the time pass that rendering takes, or that until it is stopped: then it
/// returns the blocks that are whole.
async fn take_time(
    lane: LaneIndex,
    samples_per_second: NonZeroU32,
    order: &Order,
    events: &mpsc::Sender<LaneEvent>,
) -> Option<u32> {
    let RenderTask { range, settings, .. } = &order.task;
    let blocks = range.end(settings.blocks()) - range.start();
    let area = order.task.rect.area();
    let mut samples = 0;
    for block in 0..blocks {
        let range = BlockRange { level: 0, index: range.start() + block };
        let of_block = area * u64::from(range.samples(settings.samples_per_pixel));
        let takes = Duration::from_micros(of_block * 1_000_000 / u64::from(samples_per_second.get()));
        if !sleep_unless_stopped(takes, &order.stop).await {
            return Some(block);
        }
        samples += of_block;
        // Progress may be lost; it is said again soon.
        let _ = events.try_send(LaneEvent::Progressed { lane, lease: order.lease, samples });
    }
    None
}

/// Sleeps; `false` if it is stopped before that is over.
async fn sleep_unless_stopped(time: Duration, stop: &Stop) -> bool {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if stop.is_asked() {
            return false;
        }
        sleep_until(end.min(Instant::now() + SLICE)).await;
    }
    true
}

/// Encodes the tiles of ranges of an order and hands them over.
async fn deliver(
    order: &Order,
    ranges: &[BlockRange],
    render_us: u64,
    events: &mpsc::Sender<LaneEvent>,
) -> Result<(), mpsc::error::SendError<LaneEvent>> {
    let images: Vec<_> =
        ranges.iter().map(|&range| noise(&RenderTask { range, ..order.task.clone() })).collect();
    let samples = images.iter().map(|image| image.samples).sum();
    for image in images {
        let render_us = share(render_us, image.samples, samples);
        let tile = encode(&Unencoded { order: order.of_part(&image), image, render_us });
        events.send(LaneEvent::Encoded { lease: order.lease, tile }).await?;
    }
    Ok(())
}
