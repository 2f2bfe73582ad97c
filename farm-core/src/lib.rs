//! The pure heart of the farm: identifiers, job plans, tiles, limits, and the
//! two state machines that everything else drives, [`Scheduler`] and [`Agent`].
//!
//! Nothing here performs I/O, reads a clock, draws a random number or iterates
//! over a hash map. Time and seeds are arguments, so the same calls always give
//! the same answers, in production and under the simulator alike.

pub mod agent;
pub mod film;
pub mod id;
pub mod job;
pub mod limits;
pub mod plan;
pub mod scheduler;
pub mod tile;
pub mod time;

pub use agent::Agent;
pub use film::{TileImage, TileImageError};
pub use id::{BlobDigest, FrameNumber, JobId, LeaseId, NodeId, OwnerId};
pub use job::{
    FilmSettings, FrameRange, FrameScene, JobSpec, JobSpecError, Needs, PixelFilter, RenderSettings,
    Resolution,
};
pub use limits::Limits;
pub use scheduler::Scheduler;
pub use tile::{BASE_BLOCK_SAMPLES, BlockRange, Rect, RectIndex, RenderTask, TileId};
pub use time::Timestamp;
