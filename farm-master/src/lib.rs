//! The farm's master: takes jobs and scenes from artists, leases tiles to
//! nodes, checks and keeps what comes back, and assembles frames.
//!
//! What it acknowledged is on the disk: killed at any instruction and started
//! again on the same data folder, it goes on where it was. It never opens a
//! scene and never touches a GPU, so it runs on the smallest machine there is.

mod artists;
pub mod assemble;
pub mod audit;
pub mod blobs;
pub mod config;
pub mod display;
mod driver;
mod empty;
mod error;
mod expectation;
mod farm;
pub mod folder;
mod frame_exr;
mod frame_png;
mod gc;
pub mod journal;
mod master;
mod nodes;
mod parallel;
mod peers;
mod quotas;
mod revocations;
mod rights;
#[cfg(test)]
mod testing;
pub mod tickets;
mod tiles;

pub use config::{Bounds, MasterConfig};
pub use error::MasterError;
pub use gc::collect_garbage;
pub use master::{Master, create_ticket};
pub use quotas::ArtistQuotas;
