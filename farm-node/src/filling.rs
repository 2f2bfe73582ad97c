//! Lanes that do not render: for measuring all that surrounds rendering.

use std::num::NonZeroU32;
use std::ops::ControlFlow;

use farm_core::agent::LaneIndex;
use farm_core::{BlobDigest, RenderTask, TileImage};
use farm_render::{Progress, RenderError, Rendered};
use farm_scene::Scene;
use farm_wire::message::LaneDescription;
use tokio::sync::mpsc;

use crate::adapters::shader_digest;
use crate::error::NodeError;
use crate::lane::{Adapter, Lane, LaneFailure, Share};
use crate::node::{NodeConfig, OpenNode, open_cache};

/// What a tile that nobody rendered is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    /// It has no pixels at all. Only a master that was told to takes such tiles.
    Nothing,
    /// Noise, a function of the pixel's place: a tile like any other, to encode, to
    /// send, to check and to store.
    Noise,
    /// The same noise, and the time that a lane of this speed would take for it.
    Paced {
        /// Samples that one lane makes in a second.
        samples_per_second: NonZeroU32,
    },
}

impl OpenNode {
    /// A node of `lanes` lanes that renders nothing; the configuration's adapters
    /// are not opened.
    ///
    /// # Errors
    /// The cache could not be opened.
    pub async fn without_adapters(
        config: NodeConfig,
        lanes: u32,
        filling: Filling,
    ) -> Result<Self, NodeError> {
        let cache = open_cache(config.cache.clone(), config.cache_bytes).await?;
        let (events, lane_events) = mpsc::channel(config.node_limits.lane_events);
        let NodeConfig { limits, node_limits, .. } = config;
        let mut open = Vec::new();
        for lane in (0..lanes.min(limits.lanes_per_node)).map(LaneIndex) {
            open.push(match filling {
                Filling::Nothing => Lane::nothing(events.clone()),
                Filling::Paced { samples_per_second } => {
                    Lane::paced(lane, samples_per_second, &node_limits, events.clone())
                }
                Filling::Noise => {
                    let load = |_| Err(LaneFailure::new(farm_core::scheduler::FailureKind::Render, "unread"));
                    Lane::start(lane, || Ok(Noise), Box::new(load), Share::ALL, &node_limits, events.clone())
                        .await
                        .map_err(|source| NodeError::Open { name: "noise".into(), source })?
                }
            });
        }
        let (shader_digest, tags, bus_addresses) = (shader_digest(), Vec::new(), Vec::new());
        let lanes = open;
        Ok(Self { shader_digest, cache, lanes, lane_events, tags, bus_addresses, limits, node_limits })
    }
}

/// What the master is told of a lane that has no adapter.
pub(crate) fn description() -> LaneDescription {
    LaneDescription {
        adapter: "none".into(),
        backend: "none".into(),
        numeric_class: BlobDigest([0; 32]),
        memory_bytes: None,
    }
}

/// An adapter that needs no scene.
struct Noise;

impl Adapter for Noise {
    type Scene = ();
    type Prepared = ();

    fn describe(&self) -> Result<LaneDescription, RenderError> {
        Ok(description())
    }

    fn recall(&self, _: BlobDigest) -> Option<()> {
        Some(())
    }

    fn prepare(&self, _: BlobDigest, _: &Scene) -> Result<(), RenderError> {
        Ok(())
    }

    fn upload(&self, (): &()) -> Result<(), RenderError> {
        Ok(())
    }

    fn render(
        &self,
        (): &(),
        task: &RenderTask,
        _: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Rendered, RenderError> {
        Ok(Rendered::Done(noise(task)))
    }
}

/// A tile of noise in [0, 1), with an alpha of 1, times the samples if it is a sum.
#[must_use]
pub fn noise(task: &RenderTask) -> TileImage {
    let rect = task.rect;
    let samples_per_pixel = task.range.samples(task.settings.samples_per_pixel);
    let scale =
        if task.is_whole() { 1.0 } else { f32::from(u16::try_from(samples_per_pixel).unwrap_or(u16::MAX)) };
    let places =
        (rect.y..rect.y + rect.height).flat_map(|y| (rect.x..rect.x + rect.width).map(move |x| (x, y)));
    let pixels = places.map(|(x, y)| {
        // PCG-RXS-M-XS (O'Neill, "PCG: A Family of Simple Fast Space-Efficient
        // Statistically Good Algorithms for Random Number Generation", 2014), of the
        // place and the channel.
        let channel = |channel: u32| {
            let state = (x.wrapping_mul(73_856_093) ^ y.wrapping_mul(19_349_663))
                .wrapping_add(task.frame.0.wrapping_mul(4) + channel)
                .wrapping_mul(747_796_405)
                .wrapping_add(2_891_336_453);
            let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
            let bits = u16::try_from(((word >> 22) ^ word) >> 16).expect("16 bits are left");
            f32::from(bits) / 65_536.0 * scale
        };
        [channel(0), channel(1), channel(2), scale]
    });
    TileImage { rect, range: task.range, pixels: pixels.collect(), samples: task.samples(), rays: 0 }
}
