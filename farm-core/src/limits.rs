//! Every bound of the farm, with its default and its arithmetic.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bounds that a studio may change. Each default says where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Largest weight of a job. Between 1 and 1000 lie "what is left over" and
    /// "nearly all"; the weights of `open_jobs` jobs together are below 2^24.
    pub job_weight: u32,
    /// How far a job may be served ahead of another one before a node changes
    /// from the one to the other, in time of the farm: 10 s. Twice that is 5 % of
    /// 400 s, so over any 7 minutes every job has its share within 5 %; and a
    /// node loads another scene no oftener than every few leases.
    pub share_slack: Duration,
    /// How much of its share a job that could not be served (no node fits it) is
    /// owed at most when it can: a minute of it.
    pub share_memory: Duration,
    /// How long a job waits, with no node on it, until it counts as one priority
    /// higher: 30 minutes, so that one of priority -5 beside endless work of
    /// priority 0 has its share of the farm after 2.5 hours, and one of -100
    /// after two days.
    pub ageing_step: Duration,
    /// Tags that a job may require, and that a node may announce.
    pub tags_per_job: usize,
    /// As `tags_per_job`, of a node: 64 of 64 bytes are 4 KiB of a greeting.
    pub tags_per_node: usize,
    /// Longest tag, in bytes.
    pub tag_bytes: usize,
    /// Distinct tags that open jobs require, all together: at most 64, one bit of
    /// a word for each.
    pub required_tags: usize,
    /// Scenes that a node may say it holds, and that are remembered of it: 64
    /// digests of 32 bytes are 2 KiB.
    pub scenes_per_node: usize,
    /// Jobs that are looked at for one whose scene a node holds, when it changes
    /// jobs: a few, so that the choice stays one of microseconds.
    pub affinity_choices: usize,
    /// The part of a job's samples that may be granted a second time, as backup
    /// copies of leases that are late, in thousandths: 5 %.
    pub backup_per_mille: u64,
    /// How often a job that has nothing free any more is surveyed for late
    /// leases: a fraction of `lease_target`, and so seldom that a survey of 10^5
    /// leases, some 10 ms, is a few percent of the time.
    pub backup_interval: Duration,
    /// Backup copies that one survey grants at most.
    pub backups_per_survey: usize,
    /// Idle nodes that one survey looks at: the fastest of 4096 is nearly always
    /// among the fastest per mille of all, and a look takes some 100 ns.
    pub backup_candidates: usize,
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
    /// Failures of one kind on one job after which a node gets no more of that job
    /// as long as another node can take it; eight accepted tiles make good for one.
    /// As many as `attempts_per_tile`, so that one bad tile, which fails the job at
    /// its fifth attempt, blocks no node before. A farm of one node blocks nobody:
    /// there `attempts_per_tile` decides.
    pub failures_per_block: u32,
    /// Failures within `probation_window` after which a node is on probation, and on
    /// probation in quarantine. With the default pauses of 0.5 and 1 s a node whose
    /// device is lost every time is on probation after 1.5 s, and with 2, 4 and 8 s
    /// more in quarantine after 15.5 s: six leases of single blocks, or little more,
    /// were lost on it.
    pub failures_to_probation: usize,
    /// How far back failures count. A node that loses its device twice within this
    /// time is not worse than a driver that resets now and then.
    pub probation_window: Duration,
    /// Tiles that a node on probation delivers, without a failure between, to be in
    /// good standing again. A node that fails half of its leases gets there once in
    /// 2^8 tries; eight base blocks take a good one some seconds.
    pub probation_tiles: u32,
    /// The first quarantine; each further one is twice as long, to
    /// `quarantine_max`. Long enough for a driver to be reset and a disk to be
    /// cleared.
    pub quarantine_min: Duration,
    /// Longest quarantine, the sixth and every further one: a node that is beyond
    /// help then costs three single blocks in 15 minutes.
    pub quarantine_max: Duration,
    /// Nodes whose failures are remembered beyond their connection; 65,536 of some
    /// 100 bytes are 6 MiB.
    pub nodes_remembered: usize,
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
    /// How long a node that was asked once to leave goes on with what it renders,
    /// before it hands back what is left: twice `lease_target` and a little, so that
    /// usual leases are finished; service managers wait for 90 s.
    pub drain_patience: Duration,
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
            job_weight: 1000,
            share_slack: Duration::from_secs(10),
            share_memory: Duration::from_secs(60),
            ageing_step: Duration::from_secs(30 * 60),
            tags_per_job: 16,
            tags_per_node: 64,
            tag_bytes: 64,
            required_tags: 64,
            scenes_per_node: 64,
            affinity_choices: 8,
            backup_per_mille: 50,
            backup_interval: Duration::from_millis(250),
            backups_per_survey: 256,
            backup_candidates: 4096,
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
            failures_per_block: 5,
            failures_to_probation: 3,
            probation_window: Duration::from_secs(600),
            probation_tiles: 8,
            quarantine_min: Duration::from_secs(30),
            quarantine_max: Duration::from_secs(900),
            nodes_remembered: 65_536,
            failure_messages: 8,
            failure_message_bytes: 1024,
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            speeds_per_node: 8,
            blob_fetches: 4,
            unsent_tiles: 64,
            specs_per_node: 256,
            drain_patience: Duration::from_secs(5),
            progress_interval: Duration::from_millis(500),
        }
    }
}

impl Limits {
    /// Whether a farm can work within them.
    ///
    /// # Errors
    /// Names the first that is too small, or that contradicts another.
    pub fn check(&self) -> Result<(), String> {
        let at_least_one = [
            ("job_name_bytes", self.job_name_bytes),
            ("frame_edge_pixels", self.frame_edge_pixels.into()),
            ("frame_pixels", self.frame_pixels),
            ("samples_per_pixel", self.samples_per_pixel.into()),
            ("max_depth", self.max_depth.into()),
            ("frames_per_job", self.frames_per_job),
            ("open_jobs", self.open_jobs),
            ("job_weight", self.job_weight.into()),
            ("lanes_per_node", u64::from(self.lanes_per_node)),
            ("leases_per_lane", self.leases_per_lane as u64),
            ("strikes_per_tile", self.strikes_per_tile as u64),
            ("attempts_per_tile", u64::from(self.attempts_per_tile)),
            ("failures_per_block", self.failures_per_block.into()),
            ("failures_to_probation", self.failures_to_probation as u64),
            ("blob_fetches", self.blob_fetches as u64),
            ("unsent_tiles", self.unsent_tiles as u64),
            ("specs_per_node", self.specs_per_node as u64),
        ];
        if let Some((name, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(format!("`{name}` must be 1 or more"));
        }
        let times = [
            ("lease_target", self.lease_target),
            ("lease_timeout", self.lease_timeout),
            ("node_timeout", self.node_timeout),
            ("share_slack", self.share_slack),
            ("ageing_step", self.ageing_step),
        ];
        if let Some((name, _)) = times.iter().find(|(_, time)| time.is_zero()) {
            return Err(format!("`{name}` must be longer than nothing"));
        }
        let ordered = [
            ("tile_size_min", "tile_size_max", self.tile_size_min <= self.tile_size_max),
            ("leases_per_lane", "leases_per_lane_max", self.leases_per_lane <= self.leases_per_lane_max),
            ("quarantine_min", "quarantine_max", self.quarantine_min <= self.quarantine_max),
            ("backoff_min", "backoff_max", self.backoff_min <= self.backoff_max),
            ("lease_target", "lease_timeout", self.lease_target < self.lease_timeout),
        ];
        match ordered.iter().find(|(_, _, is_right)| !is_right) {
            Some((less, more, _)) => Err(format!("`{less}` must not be more than `{more}`")),
            None if self.required_tags > 64 => Err("`required_tags` must be 64 or less".into()),
            None if self.tile_size_min == 0 => Err("`tile_size_min` must be 1 or more".into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_limits_contradict_nothing() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn limits_within_which_nothing_works_are_named() {
        for (limits, name) in [
            (Limits { open_jobs: 0, ..Limits::default() }, "open_jobs"),
            (Limits { lease_target: Duration::ZERO, ..Limits::default() }, "lease_target"),
            (Limits { leases_per_lane: 65, ..Limits::default() }, "leases_per_lane_max"),
            (Limits { required_tags: 65, ..Limits::default() }, "required_tags"),
        ] {
            let error = limits.check().expect_err(name);
            assert!(error.contains(name), "{error}");
        }
    }
}
