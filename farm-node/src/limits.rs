//! The bounds of a node's driver, beside those of [`farm_core::Limits`] that
//! the agent keeps.

use std::time::Duration;

/// Bounds of the driver. Each default says where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Scenes that a lane keeps in its adapter's memory: the one that it
    /// renders and the one of the other job that it alternates with.
    pub scenes_per_lane: usize,
    /// Orders that wait at a lane. The agent gives one at a time; those that
    /// were stopped may still be in front of it.
    pub orders_per_lane: usize,
    /// Events of all lanes that wait for the driver: a lane reports at most a
    /// few for each lease, and a full channel only makes it wait.
    pub lane_events: usize,
    /// Shortest time between two reports of progress from a lane. The agent
    /// thins them further; this only keeps the channel quiet.
    pub lane_progress_interval: Duration,
    /// Times that a lost adapter is opened again before its lane reports the
    /// failure: with pauses of 0.5, 1, 2 and 4 s a driver reset (2 to 5 s) fits.
    pub reopen_tries: u32,
    /// First pause before a lost adapter is opened again; doubles each time.
    pub reopen_pause: Duration,
    /// Tries to fetch one blob over a connection that stays up, before its
    /// leases are given back.
    pub fetch_tries: u32,
    /// A fetch that gains no byte for this long is broken off: ten times what
    /// QUIC needs to notice a dead path.
    pub fetch_stall: Duration,
    /// Pause between two looks at a disk that was full: whoever made room sees the
    /// node at work while he is still there.
    pub disk_look: Duration,
    /// A node tries a disk that was full again after this long, room or not. Three
    /// failures in ten minutes would put it on probation.
    pub disk_retry: Duration,
    /// Shortest time between two attempts to renew the certificate, whose life is
    /// days.
    pub renewal_pause: Duration,
    /// Messages that wait to be written to the control stream. 1,024 of about
    /// 100 bytes are 100 KiB; a master that leaves more unread is lost.
    pub outgoing_messages: usize,
    /// Messages from the master that wait for the driver; when it is full the
    /// stream's flow control holds the master back.
    pub incoming_messages: usize,
    /// Longest wait for a connection and for the master's `Welcome`.
    pub greeting_timeout: Duration,
    /// First pause before connecting again; doubles to `reconnect_max`.
    pub reconnect_min: Duration,
    /// Longest pause before connecting again: a farm of 10⁴ nodes makes no more
    /// than 10³ attempts a second at a master that is down.
    pub reconnect_max: Duration,
    /// Refusals in a row after which a node gives up: a revoked certificate
    /// stays revoked, but a busy master refuses too. 30 pauses of at most 10 s
    /// outlast a rush of some minutes.
    pub refusals: u32,
    /// Longest wait for the master's answers when leaving at once.
    pub leave_timeout: Duration,
    /// Jobs that the driver remembers in 128 bytes each: 512 KiB.
    pub jobs: usize,
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self {
            scenes_per_lane: 2,
            orders_per_lane: 64,
            lane_events: 256,
            lane_progress_interval: Duration::from_millis(100),
            reopen_tries: 5,
            reopen_pause: Duration::from_millis(500),
            fetch_tries: 3,
            fetch_stall: Duration::from_secs(30),
            renewal_pause: Duration::from_secs(60),
            disk_look: Duration::from_secs(5),
            disk_retry: Duration::from_secs(300),
            outgoing_messages: 1024,
            incoming_messages: 256,
            greeting_timeout: Duration::from_secs(10),
            reconnect_min: Duration::from_millis(250),
            reconnect_max: Duration::from_secs(10),
            refusals: 30,
            leave_timeout: Duration::from_secs(2),
            jobs: 4096,
        }
    }
}
