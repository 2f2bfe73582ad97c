//! The choices that are recorded: which facts a command makes, and the reply.
//!
//! Nothing is changed here. The scheduler applies the facts to the state and
//! then lets the floor follow.

use std::time::Duration;

use super::command::{Command, FailureKind, NodeChange, Quota};
use super::effect::{Answer, Effect, RefusedReason, Verdict};
use super::fact::Fact;
use super::floor::Floor;
use super::state::{Hold, JobRecord, State};
use crate::id::{JobId, LeaseId, NodeId, OwnerId};
use crate::job::{FrameRange, JobSpec, validate_weight};
use crate::limits::Limits;
use crate::tile::{Rect, TileId};
use crate::time::Timestamp;

/// What was chosen.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// What happened, in order.
    pub(super) facts: Vec<Fact>,
    /// What to say to whoever sent the command.
    pub(super) reply: Option<Reply>,
}

/// A reply to be given once the facts are recorded.
#[derive(Debug)]
pub(super) enum Reply {
    /// To a person.
    Answer(u64, Result<Answer, RefusedReason>),
    /// To a node that delivered a tile.
    Verdict(NodeId, LeaseId, Verdict),
}

impl Reply {
    /// The effect that gives it.
    pub(super) fn effect(&self) -> Effect {
        match self {
            Self::Answer(request, answer) => Effect::Answer { request: *request, answer: answer.clone() },
            Self::Verdict(node, lease, verdict) => {
                Effect::Settle { node: *node, lease: *lease, verdict: verdict.clone() }
            }
        }
    }
}

/// Chooses what a command makes happen.
pub(super) fn decide(
    state: &State,
    floor: &Floor,
    limits: &Limits,
    now: Timestamp,
    command: &Command,
) -> Decision {
    match command {
        Command::SubmitJob { request, spec, owner, quota } => {
            answer(*request, submit(state, floor, limits, now, spec, (*owner, *quota)))
        }
        Command::PauseJob { request, job } => {
            let fact = |record: &JobRecord| (!record.paused).then_some(Fact::JobPaused { job: *job });
            answer(*request, change_open(state, *job, fact))
        }
        Command::ResumeJob { request, job } => {
            let fact = |record: &JobRecord| record.paused.then_some(Fact::JobResumed { job: *job });
            answer(*request, change_open(state, *job, fact))
        }
        Command::RetryJob { request, job } => {
            let struck = |record: &JobRecord| {
                !record.strikes.is_empty() || record.is_failed() || !record.failed_on.is_empty()
            };
            let fact = |record: &JobRecord| struck(record).then_some(Fact::JobRetried { job: *job });
            answer(*request, change_open(state, *job, fact))
        }
        Command::CancelJob { request, job } => answer(*request, cancel(state, *job)),
        Command::PrioritizeJob { request, job, priority } => {
            let fact = Fact::JobPrioritized { job: *job, priority: *priority };
            let fact = |record: &JobRecord| (record.spec.priority != *priority).then_some(fact);
            answer(*request, change_open(state, *job, fact))
        }
        Command::WeighJob { request, job, weight } => answer(*request, weigh(state, limits, *job, *weight)),
        Command::RerenderJob { request, job, frames, region } => {
            answer(*request, rerender(state, limits, *job, *frames, *region))
        }
        Command::ChangeNode { request, node, change } => {
            answer(*request, change_node(state, limits, *node, *change))
        }
        Command::ReportTile { node, lease, tile, blob, rays, render_us } => {
            let verdict = judge(state, floor, *node, *lease, tile);
            let accepted = Fact::TileAccepted {
                tile: *tile,
                node: *node,
                blob: *blob,
                rays: *rays,
                render_us: *render_us,
            };
            let facts = match &verdict {
                Verdict::Accepted => vec![accepted],
                Verdict::Duplicate => Vec::new(),
                Verdict::Rejected { reason } => {
                    failed(floor, limits, *node, *lease, FailureKind::Render, reason)
                }
            };
            Decision { facts, reply: Some(Reply::Verdict(*node, *lease, verdict)) }
        }
        Command::RejectTile { node, lease, reason } => {
            let verdict = Verdict::Rejected { reason: reason.clone() };
            let facts = failed(floor, limits, *node, *lease, FailureKind::Render, reason);
            Decision { facts, reply: Some(Reply::Verdict(*node, *lease, verdict)) }
        }
        Command::ReportFailure { node, lease, kind, message } => {
            let facts = failed(floor, limits, *node, *lease, *kind, message);
            Decision { facts, reply: None }
        }
        Command::ReportFrame { job, frame, pixel_digest } => {
            let awaited = state.jobs.get(job).is_some_and(|record| {
                !record.is_over() && record.is_complete(*frame) && !record.delivered.contains_key(frame)
            });
            let fact = Fact::FrameDelivered { job: *job, frame: *frame, pixel_digest: *pixel_digest };
            Decision { facts: awaited.then_some(fact).into_iter().collect(), reply: None }
        }
        Command::Tick => {
            let message = "made no progress until its lease's deadline";
            let expired = floor.expired(now).filter(|expired| expired.started);
            let facts = expired.flat_map(|expired| {
                failed(floor, limits, expired.node, expired.lease, FailureKind::TimedOut, message)
            });
            Decision { facts: facts.collect(), reply: None }
        }
        Command::JoinNode { .. }
        | Command::LeaveNode(_)
        | Command::DrainNode(_)
        | Command::RestNode(_)
        | Command::ResumeNode(_)
        | Command::ReportProgress { .. }
        | Command::ReportFrameFailure { .. } => Decision::default(),
    }
}

/// The facts of a person's command with its answer, or why it is refused.
type Outcome = Result<(Vec<Fact>, Answer), RefusedReason>;

fn answer(request: u64, outcome: Outcome) -> Decision {
    let (facts, answer) = match outcome {
        Ok((facts, answer)) => (facts, Ok(answer)),
        Err(reason) => (Vec::new(), Err(reason)),
    };
    Decision { facts, reply: Some(Reply::Answer(request, answer)) }
}

fn submit(
    state: &State,
    floor: &Floor,
    limits: &Limits,
    now: Timestamp,
    spec: &JobSpec,
    (owner, quota): (Option<OwnerId>, Option<Quota>),
) -> Outcome {
    spec.validate(limits)?;
    if !floor.tags.has_room_for(&spec.needs.tags, limits) {
        return Err(RefusedReason::TooManyTags(limits.required_tags));
    }
    if state.open_jobs >= limits.open_jobs {
        return Err(RefusedReason::TooManyJobs(state.open_jobs));
    }
    if let (Some(owner), Some(quota)) = (owner, quota) {
        keep_to(quota, state, now, spec, owner)?;
    }
    let job = state.next_job();
    let fact = Fact::JobSubmitted { job, at: now, spec: Box::new(spec.clone()), owner };
    Ok((vec![fact], Answer::Submitted(job)))
}

/// Whether an owner that submits a job now stays within its quota.
fn keep_to(
    quota: Quota,
    state: &State,
    now: Timestamp,
    spec: &JobSpec,
    owner: OwnerId,
) -> Result<(), RefusedReason> {
    const HOUR: Duration = Duration::from_secs(3600);
    let of_owner = || state.jobs.values().filter(|record| record.owner == Some(owner));
    let open = of_owner().filter(|record| !record.is_over()).count() as u64;
    if open >= quota.open_jobs {
        return Err(RefusedReason::OpenJobsOfOwner(open));
    }
    let lately = of_owner().filter(|record| now.since(record.submitted_at) < HOUR);
    let samples = lately.fold(spec.samples(), |sum, record| sum.saturating_add(record.samples()));
    if samples > quota.samples_per_hour {
        return Err(RefusedReason::SamplesOfOwner { samples, most: quota.samples_per_hour });
    }
    Ok(())
}

fn weigh(state: &State, limits: &Limits, job: JobId, weight: u32) -> Outcome {
    validate_weight(weight, limits)?;
    let fact = Fact::JobWeighted { job, weight };
    change_open(state, job, |record| (record.spec.weight != weight).then_some(fact))
}

fn change_open(state: &State, job: JobId, fact: impl FnOnce(&JobRecord) -> Option<Fact>) -> Outcome {
    let record = state.jobs.get(&job).ok_or(RefusedReason::UnknownJob(job))?;
    if record.is_over() {
        return Err(RefusedReason::JobOver(job));
    }
    Ok((fact(record).into_iter().collect(), Answer::Done))
}

fn cancel(state: &State, job: JobId) -> Outcome {
    let record = state.jobs.get(&job).ok_or(RefusedReason::UnknownJob(job))?;
    if record.cancelled {
        return Ok((Vec::new(), Answer::Done));
    }
    change_open(state, job, |_| Some(Fact::JobCancelled { job }))
}

fn rerender(state: &State, limits: &Limits, job: JobId, frames: FrameRange, region: Option<Rect>) -> Outcome {
    let record = state.jobs.get(&job).ok_or(RefusedReason::UnknownJob(job))?;
    if record.cancelled {
        return Err(RefusedReason::JobOver(job));
    }
    let mut common = record.frames_in(frames).peekable();
    if common.peek().is_none() || record.rects_in(region).next().is_none() {
        return Err(RefusedReason::NothingThere(job));
    }
    if !common.any(|frame| record.has_any_of(frame, region)) {
        return Ok((Vec::new(), Answer::Done));
    }
    if record.is_over() && state.open_jobs >= limits.open_jobs {
        return Err(RefusedReason::TooManyJobs(state.open_jobs));
    }
    Ok((vec![Fact::TilesForgotten { job, frames, region }], Answer::Done))
}

fn change_node(state: &State, limits: &Limits, node: NodeId, change: NodeChange) -> Outcome {
    let hold = state.hold_of(node);
    let fact = match change {
        NodeChange::Drain if !hold.drained => Fact::NodeDrained { node },
        NodeChange::Undrain if hold.drained => Fact::NodeUndrained { node },
        NodeChange::Ban if !hold.banned => Fact::NodeBanned { node },
        NodeChange::Forgive if hold.banned || state.has_failures_of(node) => Fact::NodeForgiven { node },
        NodeChange::Drain | NodeChange::Undrain | NodeChange::Ban | NodeChange::Forgive => {
            return Ok((Vec::new(), Answer::Done));
        }
    };
    let is_new = hold == Hold::default() && matches!(change, NodeChange::Drain | NodeChange::Ban);
    if is_new && state.held_back.len() >= limits.nodes_held_back {
        return Err(RefusedReason::TooManyHeldBack(state.held_back.len()));
    }
    Ok((vec![fact], Answer::Done))
}

/// What becomes of a delivered tile. Results are accepted per tile and not per
/// lease: the first valid one wins, whoever holds the lease by now.
fn judge(state: &State, floor: &Floor, node: NodeId, lease: LeaseId, tile: &TileId) -> Verdict {
    if state.hold_of(node).banned {
        return Verdict::Rejected { reason: "the node is banned".into() };
    }
    if floor.tile_of(node, lease).is_some_and(|leased| !leased.contains(tile)) {
        return Verdict::Rejected { reason: "the tile is not within the one that was leased".into() };
    }
    let Some(record) = state.jobs.get(&tile.job) else {
        return Verdict::Rejected { reason: format!("there is no job {}", tile.job) };
    };
    if !record.plans(tile) {
        return Verdict::Rejected { reason: "the tile is not in the job's plan".into() };
    }
    if record.cancelled || record.has_part_of(tile) { Verdict::Duplicate } else { Verdict::Accepted }
}

/// A failure's fact, if the kind may be the job's fault and the node holds the
/// lease.
fn failed(
    floor: &Floor,
    limits: &Limits,
    node: NodeId,
    lease: LeaseId,
    kind: FailureKind,
    message: &str,
) -> Vec<Fact> {
    match kind {
        FailureKind::Render | FailureKind::TimedOut => {
            let message = cut(message, limits.failure_message_bytes);
            let fact = |tile| Fact::TileFailed { tile, node, kind, message };
            floor.tile_of(node, lease).map(fact).into_iter().collect()
        }
        FailureKind::OutOfMemory
        | FailureKind::Incompatible
        | FailureKind::DeviceLost
        | FailureKind::DiskFull
        | FailureKind::BlobUnavailable
        | FailureKind::HandedBack => Vec::new(),
    }
}

/// At most `bytes` of a text, cut between characters.
pub(super) fn cut(text: &str, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("aé", 9), "aé");
    }
}
