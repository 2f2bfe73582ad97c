//! How a lane is asked to stop what it renders.

use std::sync::atomic::{AtomicBool, Ordering};

/// Shared between the driver, which asks, and the lane, which looks after every
/// slice.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    asked: AtomicBool,
    gives_way: AtomicBool,
}

impl Stop {
    /// Nobody wants any of it.
    pub(crate) fn drop_it(&self) {
        self.asked.store(true, Ordering::Release);
    }

    /// What is whole of it is to be delivered.
    pub(crate) fn give_way(&self) {
        // Before the other, so that whoever sees that one sees this.
        self.gives_way.store(true, Ordering::Release);
        self.drop_it();
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    pub(crate) fn gives_way(&self) -> bool {
        self.gives_way.load(Ordering::Acquire)
    }
}
