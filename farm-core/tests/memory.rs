//! What a scheduler of very many nodes holds in memory, counted by the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use farm_core::scheduler::{Command, Equipment};
use farm_core::{Limits, NodeId, Scheduler, Timestamp};

/// Counts the bytes that are allocated and not freed.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Connected, with a lane and without work. A million with optimisation, which takes
/// a few seconds.
const NODES: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

#[test]
#[expect(clippy::print_stdout, reason = "the figure that the documentation gives")]
fn idle_nodes_take_at_most_a_kilobyte_each() {
    let before = HELD.load(Ordering::Relaxed);
    let mut scheduler = Scheduler::restore([], Limits::default(), 1);
    for node in 1..=NODES {
        // Odd factor: the identities are spread over all 64 bits, as real ones are.
        let node = NodeId(node.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        scheduler.handle(
            Timestamp(0),
            Command::JoinNode { node, lanes: 1, equipment: Equipment::default(), holding: Vec::new() },
        );
        assert!(scheduler.poll_effect().is_none(), "there is nothing to do");
    }
    assert_eq!(scheduler.nodes().count() as u64, NODES);
    let bytes = (HELD.load(Ordering::Relaxed) - before) as u64 / NODES;
    println!("{bytes} bytes for each idle node");
    assert!((100..=1024).contains(&bytes), "{bytes} bytes for each idle node");
}
