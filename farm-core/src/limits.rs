//! Every bound of the farm, with its default and its arithmetic.

use std::time::Duration;

/// Bounds that a studio may change. Each default says where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A file name's worth.
    pub job_name_bytes: u64,
    /// 65,536 digests of 32 bytes are 2 MiB of a job's message; where each is the
    /// manifest of a frame, with 16 bytes of names, 3 MiB. A thousand frames may
    /// have 64 blobs of their own each.
    pub blobs_per_job: u64,
    /// 2^15: what GPUs accept as an image edge, and more than any cinema frame.
    pub frame_edge_pixels: u32,
    /// 2^28 pixels of 16 bytes are 4 GiB of finished film.
    pub frame_pixels: u64,
    /// A smaller tile is all overhead.
    pub tile_size_min: u32,
    /// 1024² pixels of 16 bytes are 16 MiB on the wire.
    pub tile_size_max: u32,
    /// 2^20: counts stay exact in an f32, and the tree has at most 16 levels.
    pub samples_per_pixel: u32,
    /// Roulette ends paths long before.
    pub max_depth: u32,
    /// Largest exposure either way, in thousandths of an EV. 2^32 lies between
    /// starlight and the sun; 2^24 samples of a radiance of 1e20 times it are 7e36,
    /// below the largest f32.
    pub exposure_milli_ev: i32,
    /// An hour and more of film at 24 frames a second.
    pub frames_per_job: u64,
    /// Jobs that are neither delivered nor cancelled.
    pub open_jobs: u64,
    /// Lanes of one node: more adapters than a board has slots.
    pub lanes_per_node: u32,
    /// Nodes that are remembered as drained or banned: more than a farm has, and
    /// 65,536 of some 20 bytes are little more than 1 MiB.
    pub nodes_held_back: usize,
    /// How many leases a lane holds at least: one rendering, one ready, one
    /// arriving.
    pub leases_per_lane: u32,
    /// How many leases a lane holds at most, when each is so short that
    /// `leases_per_lane` of them would not hide the wire. 64 leases of 1 ms
    /// cover a round trip of 60 ms.
    pub leases_per_lane_max: u32,
    /// Beyond `leases_per_lane`, a lane is given leases until their predicted
    /// time reaches this: two round trips around the globe (2 × 250 ms).
    pub queue_target: Duration,
    /// The time that one lease should take on its node: long enough to hide
    /// the wire, short enough to lose little with a node.
    pub lease_target: Duration,
    /// A lease's first deadline, before the node has reported any progress.
    /// Loading a large scene on a slow disk comes before the first sample.
    pub lease_timeout: Duration,
    /// A node that says nothing for this long is gone.
    pub node_timeout: Duration,
    /// How long a scheduler that was restored with open jobs grants nothing: its
    /// nodes notice within `node_timeout` that their master died, look for it again
    /// at once, and bring what they hold. They have work in hand meanwhile.
    pub rejoin_grace: Duration,
    /// Distinct nodes that may fail a tile before its job fails.
    pub strikes_per_tile: u32,
    /// Attempts at a tile, on whichever nodes, before its job fails: a farm with
    /// fewer nodes than `strikes_per_tile` gives up too. With one node and the
    /// default pauses of 0.5, 1, 2 and 4 s, the fifth failure comes after 7.5 s.
    pub attempts_per_tile: u32,
    /// Messages of failures that are kept for each job, latest last.
    pub failure_messages: usize,
    /// Longest message of a failure that is kept, in bytes: a screenful.
    pub failure_message_bytes: usize,
    /// First pause after a failure of a node; doubles to `backoff_max`.
    pub backoff_min: Duration,
    /// Longest pause after repeated failures.
    pub backoff_max: Duration,
    /// Jobs whose measured speed is remembered for each node: 8 of 16 bytes.
    pub speeds_per_node: usize,
    /// Blobs that a node fetches at once: enough to fill the wire, few enough
    /// that the first is soon complete.
    pub blob_fetches: usize,
    /// Rendered tiles that a node keeps until the master has answered: 64 of at
    /// most 16 MiB are 1 GiB; of the usual 128² pixels, 16 MiB.
    pub unsent_tiles: usize,
    /// Job specs that a node remembers; 256 of at most 2 MiB are 512 MiB, but
    /// usual ones are a few KiB.
    pub specs_per_node: usize,
    /// Shortest time between two reports of progress on one lease.
    pub progress_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            job_name_bytes: 255,
            blobs_per_job: 65_536,
            frame_edge_pixels: 32_768,
            frame_pixels: 1 << 28,
            tile_size_min: 8,
            tile_size_max: 1024,
            samples_per_pixel: 1 << 20,
            max_depth: 256,
            exposure_milli_ev: 32_000,
            frames_per_job: 100_000,
            open_jobs: 10_000,
            lanes_per_node: 64,
            nodes_held_back: 65_536,
            leases_per_lane: 3,
            leases_per_lane_max: 64,
            queue_target: Duration::from_millis(500),
            lease_target: Duration::from_secs(2),
            lease_timeout: Duration::from_secs(120),
            node_timeout: Duration::from_secs(3),
            rejoin_grace: Duration::from_secs(4),
            strikes_per_tile: 3,
            attempts_per_tile: 5,
            failure_messages: 8,
            failure_message_bytes: 1024,
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            speeds_per_node: 8,
            blob_fetches: 4,
            unsent_tiles: 64,
            specs_per_node: 256,
            progress_interval: Duration::from_millis(500),
        }
    }
}
