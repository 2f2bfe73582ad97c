//! A node of the farm: it joins a master, fetches the blobs of leased tiles
//! into a cache on disk, renders the tiles on its adapters and sends them back.
//!
//! Nothing that comes from the master is trusted: jobs and leases are checked
//! against limits and plan, blobs against their digests, scenes are validated
//! data. A hostile master costs a node time, and disk up to the cache's limit.
//!
//! [`OpenNode::open`] opens the adapters and [`OpenNode::connect`] keeps the node
//! connected; [`Node::drain`] and [`Node::wait`] end it in order. [`bench`] says how fast
//! this machine's adapters are.

mod adapters;
pub mod bench;
pub mod cache;
mod driver;
mod environment;
mod error;
mod fetch;
mod filling;
mod gpu_usage;
mod hours;
mod job;
mod lane;
mod limits;
mod link;
mod node;
mod scene;
mod schedule;
#[cfg(test)]
mod testing;
mod usage;

pub use adapters::{AdapterChoice, CpuLane, list_adapters, shader_digest};
pub use environment::leave_out_device_select;
pub use error::NodeError;
pub use farm_render::{AdapterInfo, DiskCache, needed_to_prepare};
pub use filling::{Filling, noise};
pub use hours::{Rule, RuleError};
pub use lane::{ParseShareError, Share};
pub use limits::NodeLimits;
pub use node::{Door, Node, NodeConfig, OpenNode};
pub use schedule::{Schedule, ScheduleError};
