//! A whole farm in one thread, on a virtual clock, with seeded faults.
//!
//! The [`Scheduler`](farm_core::Scheduler) and the [`Agent`](farm_core::Agent)s
//! are the real ones; the drivers, the network, the disks and the adapters are
//! a few hundred lines here. Every choice follows from [`Scenario::seed`], so a
//! failing seed replays exactly.
//!
//! **Faults.** Messages are delayed; the control stream keeps its order while
//! tiles overtake it and each other; connections break, with all that is under
//! way on them, and each end notices in its own time; nodes are killed (and come
//! back with nothing but their disk), stall, drain; the master is killed between
//! any two effects, before or after its commit; commits take time; renders fail,
//! adapters vanish, memory runs out, results are corrupt, blobs cannot be had,
//! caches evict, frames cannot be written; people pause, resume, cancel, retry.
//! At a certain time everything heals, and people resume and retry what stopped.
//!
//! **Properties**, each with its checker in `check`, `node` and `master`:
//! - each block of each rectangle is accepted at most once, with the result that
//!   was rendered for it; every job ends complete and delivered, or cancelled;
//! - that within a bounded time after the faults healed;
//! - a state restored from the journal equals the recorded one, at every death
//!   of the master and at the end;
//! - the scheduler's books balance (`Scheduler::audit`);
//! - nothing is granted to nodes that are gone or leaving;
//! - what is said to a node (a lease, an acceptance) was committed before;
//! - a lane gets one task at a time, as granted, with its blobs on disk;
//! - what a node holds is bounded, and in the end nothing is left over;
//! - samples rendered in vain are bounded by the faults; without faults there
//!   are none.
//!
//! **Mutations.** The checkers were tried on planted bugs; see the list at the
//! end of `world.rs`.

mod check;
mod machine;
mod master;
mod node;
mod random;
mod scenario;
mod world;

pub use check::Violation;
pub use scenario::Scenario;
pub use world::{Report, simulate};
