//! Read-only views, shared by the CLI, the API and the dashboard.

use std::cmp::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::command::FailureKind;
use super::desk::Desk;
use super::floor::Floor;
use super::node::Node;
use super::share::UNIT;
use super::state::{Accepted, Hold, JobRecord, State};
use super::unfit;
use crate::id::{BlobDigest, FrameNumber, JobId, NodeId, OwnerId};
use crate::limits::Limits;
use crate::plan;
use crate::tile::{Rect, RectIndex, TileId};
use crate::time::Timestamp;

/// A tile and its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedTile {
    /// The tile.
    pub tile: TileId,
    /// Its pixels.
    pub rect: Rect,
    /// Its EXR.
    pub blob: BlobDigest,
    /// Who rendered it.
    pub node: NodeId,
}

/// Where a job stands; computed, never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobStatus {
    /// No tile leased or accepted yet.
    Waiting,
    /// Tiles are leased or accepted.
    Running,
    /// No connected node can take it: each has said so (out of memory, say), or
    /// lacks a tag or the memory that it needs.
    /// Another node may come.
    Stranded,
    /// Paused by a person.
    Paused,
    /// Every frame is delivered.
    Done,
    /// A tile failed on too many distinct nodes.
    Failed,
    /// Cancelled by a person.
    Cancelled,
}

/// A read-only view of a job, for the CLI, the API and the dashboard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Its number.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: JobStatus,
    /// Why it stands there, in words.
    pub explanation: String,
    /// Who submitted it; unknown of jobs from before owners were recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerId>,
    /// Its priority.
    pub priority: i32,
    /// Its part in the farm.
    #[serde(default)]
    pub share: JobShare,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// Frames delivered.
    pub frames_done: u64,
    /// Frames in all.
    pub frames: u64,
    /// Rectangles whose samples are all accepted, over all frames.
    pub tiles_done: u64,
    /// Rectangles over all frames.
    pub tiles: u64,
    /// Samples accepted.
    pub samples_done: u64,
    /// Samples in all.
    pub samples: u64,
    /// Rays traced in accepted tiles, also in those that were forgotten since.
    pub rays: u64,
    /// Time on adapters in accepted tiles, also in those that were forgotten
    /// since, in microseconds.
    pub render_us: u64,
    /// Results accepted (a rectangle may take several).
    pub results: u64,
    /// How long the nodes that work on it now will take, in milliseconds, foretold
    /// from what its rectangles cost so far.
    #[serde(default)]
    pub left_ms: Option<u64>,
    /// Samples that were granted a second time, as copies of late leases, in this
    /// life of the master.
    #[serde(default)]
    pub backup_samples: u64,
    /// The pixel digest of each delivered frame.
    pub delivered: Vec<(FrameNumber, BlobDigest)>,
    /// Messages of the nodes on which tiles failed, latest last, a few.
    pub failures: Vec<String>,
}

/// A job's part in the farm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobShare {
    /// Its weight beside jobs of the same level.
    pub weight: u32,
    /// Its priority and what it rose by waiting: the highest goes first.
    pub level: i32,
    /// What its weight gives it of the nodes that are left to its level, in
    /// thousandths; 0 where it has nothing to grant.
    pub per_mille: u32,
    /// Work accepted since the master started, in seconds of a lane of the node
    /// that was measured first.
    pub delivered_s: f64,
}

/// Whether a node may work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeStanding {
    /// It is granted what suits it.
    Working,
    /// It failed repeatedly: it is granted little at a time until it does well.
    Probation,
    /// It failed on probation too: it is granted nothing for a while.
    Quarantined,
    /// It said that it takes nothing more, and leaves when it is done.
    Draining,
    /// It said that it takes nothing for now: somebody uses it, or its hours are over.
    Resting,
    /// A person drained it: it is granted nothing more.
    Drained,
    /// A person banned it: nothing is granted to it or taken from it.
    Banned,
}

impl NodeStanding {
    /// Of a connected node; what people said comes first.
    fn of(node: &Node) -> Self {
        match Self::held(node.hold) {
            Some(held) => held,
            None if node.draining => Self::Draining,
            None if node.resting => Self::Resting,
            None if node.quarantined_until.is_some() => Self::Quarantined,
            None if node.probation => Self::Probation,
            None => Self::Working,
        }
    }

    /// Of a node that people hold back.
    fn held(hold: Hold) -> Option<Self> {
        match (hold.banned, hold.drained) {
            (true, _) => Some(Self::Banned),
            (false, true) => Some(Self::Drained),
            (false, false) => None,
        }
    }

    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Probation => "on probation",
            Self::Quarantined => "in quarantine",
            Self::Draining => "draining",
            Self::Resting => "resting",
            Self::Drained => "drained",
            Self::Banned => "banned",
        }
    }
}

/// A read-only view of a connected node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its identity.
    pub node: NodeId,
    /// Its lanes.
    pub lanes: u32,
    /// Leases that it holds.
    pub leases: u32,
    /// Whether it may work.
    pub standing: NodeStanding,
    /// Measured speed in samples per second; 0 until measured.
    pub samples_per_second: f64,
    /// Tiles accepted from it since it joined.
    pub tiles: u64,
    /// Failures since it joined.
    pub failures: u64,
    /// The tags that it announces.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The memory of its smallest lane, where it is known.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// When its quarantine ends, if it is in one, by the master's clock.
    #[serde(default)]
    pub quarantined_until: Option<Timestamp>,
    /// Jobs that it gets no more of as long as another node can take them.
    #[serde(default)]
    pub blocked: Vec<BlockedJob>,
}

/// A job that a node failed on too often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedJob {
    /// The job.
    pub job: JobId,
    /// How it failed.
    pub kinds: Vec<FailureKind>,
}

/// The view of a job, from counters alone.
///
/// For `rejoin` a master that was restarted grants nothing yet.
pub(super) fn job_view(floor: &Floor, rejoin: Option<Duration>, job: JobId, record: &JobRecord) -> JobView {
    let frames = record.spec.frames.count();
    JobView {
        job,
        name: record.spec.name.clone(),
        status: status(floor, job, record),
        explanation: explain(floor, rejoin, job, record),
        owner: record.owner,
        priority: record.spec.priority,
        share: share_of(floor, job, record),
        submitted_at: record.submitted_at,
        frames_done: record.delivered.len() as u64,
        frames,
        tiles_done: record.rects_done,
        tiles: frames.saturating_mul(record.rects.into()),
        samples_done: record.samples_done,
        samples: record.samples(),
        rays: record.rays,
        render_us: record.render_us,
        results: record.results,
        left_ms: floor.jobs.get(&job).and_then(|desk| desk.time_left_ms(record)),
        backup_samples: floor.jobs.get(&job).map_or(0, |desk| desk.backup_samples),
        delivered: record.delivered.iter().map(|(frame, digest)| (*frame, *digest)).collect(),
        failures: record.failures.iter().cloned().collect(),
    }
}

fn share_of(floor: &Floor, job: JobId, record: &JobRecord) -> JobShare {
    let weight = record.spec.weight;
    let Some(desk) = floor.jobs.get(&job) else {
        return JobShare { weight, level: record.spec.priority, ..JobShare::default() };
    };
    let all = floor.classes.ready_weight(desk.stake.level).max(1);
    let per_mille = if desk.ready.is_some() { u64::from(weight) * 1000 / all } else { 0 };
    #[expect(clippy::cast_precision_loss, reason = "work is for people to read")]
    let delivered_s = desk.stake.delivered as f64 / UNIT as f64;
    let per_mille = u32::try_from(per_mille).unwrap_or(u32::MAX);
    JobShare { weight, level: desk.stake.level, per_mille, delivered_s }
}

/// The view of a node.
pub(super) fn node_view(state: &State, floor: &Floor, limits: &Limits, id: NodeId, node: &Node) -> NodeView {
    let kinds = |job| floor.blocking_kinds(state, limits, id, job).into_iter().collect();
    let blocked = floor.blocked_jobs(id).map(|job| BlockedJob { job, kinds: kinds(job) });
    let speed = node.speeds.last().map_or(0, |(_, speed)| *speed);
    #[expect(clippy::cast_precision_loss, reason = "a speed is for people to read")]
    let samples_per_second = speed as f64 * f64::from(node.lanes);
    NodeView {
        node: id,
        lanes: node.lanes,
        leases: u32::try_from(node.leases.len()).unwrap_or(u32::MAX),
        standing: NodeStanding::of(node),
        samples_per_second,
        tiles: node.tiles,
        failures: node.failures,
        tags: node.equipment.tags.clone(),
        memory_bytes: node.equipment.memory_bytes,
        quarantined_until: node.quarantined_until,
        blocked: blocked.collect(),
    }
}

/// The nodes that people hold back and that are not connected.
pub(super) fn absent_nodes<'a>(
    state: &'a State,
    floor: &'a Floor,
) -> impl Iterator<Item = (NodeId, NodeStanding)> + 'a {
    let absent = state.held_back.iter().filter(|(id, _)| !floor.nodes.contains_key(id));
    absent.filter_map(|(id, hold)| Some((*id, NodeStanding::held(*hold)?)))
}

/// The accepted tiles of a frame, in plan order.
pub(super) fn accepted_tiles(job: JobId, record: &JobRecord, frame: FrameNumber) -> Vec<AcceptedTile> {
    let tiles = record.frames.get(&frame).into_iter().flat_map(|frame| &frame.tiles);
    let tile = |(&(index, _), accepted): (&(RectIndex, u32), &Accepted)| {
        Some(AcceptedTile {
            tile: TileId { job, frame, rect: index, range: accepted.range },
            rect: plan::rect_at(record.spec.resolution, record.spec.tile_size, index)?,
            blob: accepted.blob,
            node: accepted.node,
        })
    };
    tiles.filter_map(tile).collect()
}

fn status(floor: &Floor, job: JobId, record: &JobRecord) -> JobStatus {
    let desk = floor.jobs.get(&job);
    if record.cancelled {
        JobStatus::Cancelled
    } else if record.is_delivered() {
        JobStatus::Done
    } else if record.is_failed() {
        JobStatus::Failed
    } else if record.paused {
        JobStatus::Paused
    } else if desk.is_some_and(|desk| is_stranded(floor, desk)) {
        JobStatus::Stranded
    } else if record.results > 0 || desk.is_some_and(|desk| desk.leases > 0) {
        JobStatus::Running
    } else {
        JobStatus::Waiting
    }
}

/// Whether no connected node can take a job of which there is work left: it has
/// refused, or lacks what the job needs.
fn is_stranded(floor: &Floor, desk: &Desk) -> bool {
    let has_work = desk.assembling.is_empty() || desk.ready.is_some();
    let suits = |node: &Node| node.is_active() && node.fit.suits(&desk.profile);
    let refused = desk.excluded.iter().filter(|id| floor.nodes.get(id).is_some_and(suits)).count();
    let suiting = floor.crew.suiting(&desk.profile) as usize;
    has_work && desk.leases == 0 && floor.active_nodes > 0 && refused >= suiting
}

/// Why a job stands where it does.
fn explain(floor: &Floor, rejoin: Option<Duration>, job: JobId, record: &JobRecord) -> String {
    let Some(job_floor) = floor.jobs.get(&job).filter(|_| !record.is_over()) else {
        return if record.cancelled { "cancelled" } else { "done: every frame is delivered" }.into();
    };
    if let Some((frame, rect)) = record.struck_out.first() {
        return explain_failure(record, *frame, *rect);
    }
    if record.paused {
        return match job_floor.leases {
            0 => "paused".into(),
            leases => format!("paused; {} still to finish", count(leases.into(), "lease")),
        };
    }
    if job_floor.busy_nodes > 0 {
        let nodes = count(job_floor.busy_nodes.into(), "node");
        let others = match rejoin.map(seconds) {
            Some(left) => format!("; the master was restarted and gives the others {left} s to come back"),
            None => String::new(),
        };
        return format!("running on {nodes}{}{others}", explain_blocks(floor, job));
    }
    if !job_floor.assembling.is_empty() && job_floor.ready.is_none() {
        let waiting = job_floor.assembling.values().any(|assembling| assembling.waiting);
        return match job_floor.trouble.as_ref().filter(|_| waiting) {
            Some(trouble) => format!("waiting to try again: {trouble}"),
            None => format!("writing {}", count(job_floor.assembling.len() as u64, "frame")),
        };
    }
    if let Some(left) = rejoin.map(seconds) {
        return format!(
            "waiting: the master was restarted and gives its nodes {left} s to come back with what they hold; \
             it grants nothing until then"
        );
    }
    explain_waiting(floor, job_floor, job, record) + &explain_blocks(floor, job)
}

/// Whole seconds of what is left of a time: none only when nothing is.
fn seconds(left: Duration) -> u128 {
    left.as_millis().div_ceil(1000)
}

/// Who gets no more of a job, to be added to why it stands where it does.
fn explain_blocks(floor: &Floor, job: JobId) -> String {
    let Some(desk) = floor.jobs.get(&job).filter(|_| floor.takers(job) > 0) else { return String::new() };
    match (desk.blocked.len(), desk.blocked.first()) {
        (1, Some(node)) => format!("; node {node} gets no more of it, having failed on it too often"),
        (0, _) | (_, None) => String::new(),
        (many, _) => format!("; {many} nodes get no more of it, having failed on it too often"),
    }
}

fn explain_failure(record: &JobRecord, frame: FrameNumber, rect: RectIndex) -> String {
    let strikes = record.strikes.get(&(frame, rect)).cloned().unwrap_or_default();
    format!(
        "failed: tile {} of frame {frame} failed {} on {}; the last message is from {}",
        rect.0,
        count(strikes.attempts.into(), "time"),
        count(strikes.nodes.len() as u64, "node"),
        record.failures.back().map_or("nobody", String::as_str),
    )
}

/// Why no node works on a job that could be worked on.
fn explain_waiting(floor: &Floor, job_floor: &Desk, job: JobId, record: &JobRecord) -> String {
    let trouble = job_floor.trouble.as_deref();
    if floor.nodes.is_empty() {
        return "waiting: no node is connected".into();
    }
    if floor.active_nodes == 0 {
        return explain_inactive(floor);
    }
    if floor.crew.suiting(&job_floor.profile) == 0 {
        return unfit::explain(floor, &record.spec.needs);
    }
    if is_stranded(floor, job_floor) {
        let why = trouble.unwrap_or("it ran out of memory");
        return format!("waiting: no connected node can take it: {why}");
    }
    let other = floor.busy.iter().find(|(_, busy)| *busy != job);
    if let Some((other, desk)) = other.and_then(|(_, other)| Some((other, floor.jobs.get(other)?))) {
        let nodes = desk.busy_nodes;
        let verb = if nodes == 1 { "is" } else { "are" };
        let why = match desk.stake.level.cmp(&job_floor.stake.level) {
            Ordering::Greater if desk.stake.risen > 0 => "which rose above it by waiting",
            Ordering::Greater => "which has a higher priority",
            Ordering::Equal => "which has the same priority; its turn comes when it is behind with its share",
            Ordering::Less => "which they took up before",
        };
        let risen = match job_floor.stake.risen {
            0 => String::new(),
            _ => format!("; by waiting it rose to priority {}", job_floor.stake.level),
        };
        let nodes = count(nodes.into(), "node");
        return format!("waiting: {nodes} {verb} busy with job {other}, {why}{risen}");
    }
    let quarantined =
        explain_quarantine(floor).map_or_else(String::new, |quarantine| format!("; {quarantine}"));
    let explanation = match trouble.or(record.failures.back().map(String::as_str)) {
        Some(trouble) => format!("waiting: the free nodes pause after a failure: {trouble}"),
        None => "waiting: for a node to become free".into(),
    };
    explanation + &quarantined
}

/// How many nodes are in quarantine, and until when the first of them.
fn explain_quarantine(floor: &Floor) -> Option<String> {
    let ends = floor.nodes.values().filter_map(|node| node.quarantined_until);
    let (number, first) = (ends.clone().count() as u64, ends.min()?);
    let seconds = seconds(first.since(floor.now.unwrap_or_default()));
    let verb = if number == 1 { "is" } else { "are" };
    let first = if number == 1 { "" } else { ", the first" };
    Some(format!("{} {verb} in quarantine{first} for {seconds} s", count(number, "node")))
}

/// Why none of the connected nodes may work.
fn explain_inactive(floor: &Floor) -> String {
    let standings = [
        NodeStanding::Draining,
        NodeStanding::Resting,
        NodeStanding::Drained,
        NodeStanding::Banned,
        NodeStanding::Quarantined,
    ];
    let number = |standing: NodeStanding| {
        let stands = |node: &&Node| NodeStanding::of(node) == standing;
        (floor.nodes.values().filter(stands).count(), standing.word())
    };
    let numbers: Vec<_> = standings.map(number).into_iter().filter(|(number, _)| *number > 0).collect();
    if let (Some(quarantine), [(_, "in quarantine")]) = (explain_quarantine(floor), &numbers[..]) {
        return format!("waiting: no other node is connected, and {quarantine}");
    }
    if let [(_, word)] = numbers[..] {
        return format!("waiting: every connected node is {word}");
    }
    let words: Vec<_> = numbers.iter().map(|(number, word)| format!("{number} {word}")).collect();
    format!("waiting: no connected node may work: {}", words.join(", "))
}

/// A number with its noun.
fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
