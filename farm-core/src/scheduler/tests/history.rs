//! What is recorded, what is restored, and what nodes bring back.

use proptest::prelude::*;

use super::*;

impl Farm {
    /// The master dies and comes back with what its journal holds.
    pub(super) fn restart(&mut self, epoch: u32) {
        let limits = self.scheduler.limits.clone();
        let state = self.scheduler.state().clone();
        let resumed = self.resumed(&limits);
        assert_eq!(resumed, Ok(state.clone()), "a snapshot stands for the facts before it");
        self.scheduler = Scheduler::restore(self.journal.clone(), limits, epoch);
        assert_eq!(*self.scheduler.state(), state, "the restored state is the recorded one");
        self.effects.clear();
        while let Some(effect) = self.scheduler.poll_effect() {
            self.effects.push(effect);
        }
    }

    pub(super) fn take_snapshot(&mut self) {
        let state = self.scheduler.state();
        self.snapshot = (state.snapshot().collect(), self.journal.len());
        let lists = self.snapshot.0.iter().map(|part| match part {
            SnapshotPart::Job(_) => 1,
            SnapshotPart::Delivered { frames, .. } => frames.len(),
            SnapshotPart::Kept { rects, .. } => rects.len(),
            SnapshotPart::Tiles { tiles, .. } => tiles.len(),
            SnapshotPart::Strikes { strikes, .. } => strikes.len(),
            SnapshotPart::FailureCounts { counts, .. } => counts.len(),
            SnapshotPart::Holds { nodes } => nodes.len(),
        });
        assert_eq!(lists.sum::<usize>() as u64, state.snapshot_entries());
    }

    /// The state that the latest snapshot and the facts after it describe.
    fn resumed(&self, limits: &Limits) -> Result<State, SnapshotError> {
        let (parts, covered) = &self.snapshot;
        let parts = parts.iter().cloned().map(Entry::Snapshot);
        let facts = self.journal[*covered..].iter().cloned().map(Entry::Fact);
        State::restore(parts.chain(facts), limits)
    }

    pub(super) fn rejoin(&mut self, node: NodeId) {
        let leases = self.leases_of(node);
        let holding = leases.iter().map(|lease| HeldLease { lease: lease.id, tile: lease.tile }).collect();
        self.handle(Command::JoinNode { node, lanes: 1, equipment: Default::default(), holding });
    }
}

#[test]
fn leases_are_adopted_after_a_restart() {
    let mut farm = Farm::new(Limits { leases_per_lane: 2, ..small_limits() });
    farm.submit(spec(2, 16));
    farm.join(A);
    farm.join(B);
    let held = farm.leases.clone();
    assert_eq!(held.len(), 4);
    farm.restart(2);
    farm.rejoin(A);
    assert_eq!(farm.leases, held, "nothing is revoked, nothing granted twice");
    let stranger = farm.leases.remove(&(B, farm.first_lease(B).id)).expect("B holds it");
    farm.rejoin(B);
    let leases = farm.leases_of(B);
    assert_eq!(leases.len(), 2);
    assert!(leases.iter().any(|lease| lease.tile == stranger.tile && lease.id != stranger.id));
}

#[test]
fn restored_scheduler_grants_nothing_until_its_nodes_had_time_to_come_back() {
    let rejoin_grace = std::time::Duration::from_secs(4);
    let mut farm = Farm::new(Limits { rejoin_grace, ..small_limits() });
    farm.submit(spec(2, 16));
    farm.join(A);
    let held = farm.first_lease(A);
    farm.restart(2);
    farm.join(C);
    assert_eq!(farm.leases_of(C), [], "A may hold any of it");
    farm.wait(std::time::Duration::from_millis(3999));
    farm.rejoin(A);
    assert_eq!(farm.first_lease(A), held);
    farm.wait(std::time::Duration::from_millis(1));
    assert_ne!(farm.first_lease(C).tile, held.tile);
    // What was not begun nobody can hold.
    let mut fresh = Farm::new(Limits { rejoin_grace, ..small_limits() });
    fresh.restart(2);
    fresh.submit(spec(2, 16));
    fresh.join(A);
    assert_eq!(fresh.leases_of(A).len(), 1);
}

#[test]
fn jobs_of_a_restarted_master_say_that_it_waits_for_its_nodes_and_how_long() {
    let rejoin_grace = std::time::Duration::from_secs(4);
    let mut farm = Farm::new(Limits { rejoin_grace, ..small_limits() });
    farm.submit(spec(2, 16));
    farm.join(A);
    assert_eq!(farm.job().explanation, "running on 1 node", "it was not restarted");
    farm.restart(2);
    let waits = |left| {
        format!(
            "waiting: the master was restarted and gives its nodes {left} s to come back with what they hold; \
             it grants nothing until then"
        )
    };
    assert_eq!(farm.job().explanation, waits(4), "although no clock was seen yet");
    farm.handle(Command::Tick);
    farm.wait(std::time::Duration::from_millis(1001));
    farm.handle(Command::Tick);
    assert_eq!(farm.job().explanation, waits(3));
    farm.rejoin(A);
    assert_eq!(
        farm.job().explanation,
        "running on 1 node; the master was restarted and gives the others 3 s to come back"
    );
    farm.wait(std::time::Duration::from_millis(2999));
    assert_eq!(farm.job().explanation, "running on 1 node");
}

#[test]
fn leases_that_nobody_wants_any_more_are_revoked_on_joining() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(1, 16));
    farm.join(A);
    let lease = farm.first_lease(A);
    let held = HeldLease { lease: lease.id, tile: lease.tile };
    let foreign = HeldLease { lease: LeaseId(1), tile: TileId { job: JobId(7), ..lease.tile } };
    farm.effects();
    farm.handle(Command::JoinNode {
        node: B,
        lanes: 1,
        equipment: Default::default(),
        holding: vec![held, foreign],
    });
    let revoke = |lease| Effect::Revoke { node: B, lease };
    assert_eq!(farm.effects(), [revoke(lease.id), revoke(LeaseId(1))], "lent elsewhere, and unknown");
    farm.report(A, &lease, 100);
    farm.effects();
    farm.handle(Command::JoinNode {
        node: A,
        lanes: 1,
        equipment: Default::default(),
        holding: vec![held, held],
    });
    let revoke = |lease| Effect::Revoke { node: A, lease };
    assert_eq!(farm.effects(), [revoke(lease.id), revoke(lease.id)], "accepted already");
}

#[test]
fn joining_again_replaces_the_earlier_connection() {
    let mut farm = Farm::new(Limits { leases_per_lane: 2, ..small_limits() });
    farm.submit(spec(2, 16));
    farm.join(A);
    let [kept, lost] = <[Lease; 2]>::try_from(farm.leases_of(A)).expect("two leases for a lane");
    farm.leases.remove(&(A, lost.id));
    farm.rejoin(A);
    let leases = farm.leases_of(A);
    assert_eq!(leases.len(), 2);
    assert_eq!(leases[0], kept);
    assert_eq!(
        (leases[1].tile, leases[1].id != lost.id),
        (lost.tile, true),
        "what got lost is granted again"
    );
}

#[test]
fn complete_frame_is_assembled_until_it_is_delivered() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(1, 16));
    farm.join(A);
    let assemble = Effect::Assemble { job: JOB, frame: FRAME };
    let count = |effects: Vec<Effect>| effects.iter().filter(|effect| **effect == assemble).count();
    farm.finish_all(A, 100);
    assert_eq!(count(farm.effects()), 1);
    let failure = Command::ReportFrameFailure { job: JOB, frame: FRAME, message: "disk full".into() };
    farm.handle(failure.clone());
    farm.handle(failure);
    assert_eq!(count(farm.effects()), 0);
    farm.wait(Limits::default().backoff_max);
    assert_eq!(count(farm.effects()), 1, "again, once, after a pause");
    farm.restart(2);
    assert_eq!(count(farm.effects()), 1, "and in the next life");
    farm.handle(Command::ReportFrame { job: JOB, frame: FRAME, pixel_digest: blob(9) });
    assert_eq!((farm.job().status, farm.job().delivered), (JobStatus::Done, vec![(FRAME, blob(9))]));
    farm.restart(3);
    assert_eq!(count(farm.effects()), 0);
}

#[test]
fn frame_that_is_not_complete_cannot_be_delivered() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(1, 16));
    farm.handle(Command::ReportFrame { job: JOB, frame: FRAME, pixel_digest: blob(9) });
    assert_eq!(farm.job().frames_done, 0);
}

#[test]
fn asking_again_changes_nothing_and_is_answered() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(2, 16));
    let commands = [
        |request| Command::PauseJob { request, job: JOB },
        |request| Command::ResumeJob { request, job: JOB },
        |request| Command::RetryJob { request, job: JOB },
        |request| Command::PrioritizeJob { request, job: JOB, priority: -3 },
        |request| Command::CancelJob { request, job: JOB },
    ];
    for command in commands {
        farm.handle(command(1));
        let facts = farm.journal.len();
        farm.effects();
        farm.handle(command(2));
        assert_eq!(farm.journal.len(), facts, "{:?}", command(2));
        let last = farm.effects().pop();
        let refused = matches!(last, Some(Effect::Answer { request: 2, answer: Err(_) }));
        assert_eq!(last.is_some(), !refused, "{:?}", command(2));
    }
    farm.handle(Command::PauseJob { request: 3, job: JOB });
    farm.handle(Command::PauseJob { request: 4, job: JobId(9) });
    let answers = farm.effects();
    let refused = |request, reason| Effect::Answer { request, answer: Err(reason) };
    let expected = [refused(3, RefusedReason::JobOver(JOB)), refused(4, RefusedReason::UnknownJob(JobId(9)))];
    assert_eq!(answers, expected);
}

#[test]
fn submissions_beyond_the_limits_are_refused() {
    let mut farm = Farm::new(Limits { open_jobs: 1, ..small_limits() });
    farm.submit(JobSpec { tile_size: 1, ..spec(1, 16) });
    farm.submit(spec(1, 16));
    farm.submit(spec(1, 16));
    let answers = farm.effects();
    assert!(matches!(answers[0], Effect::Answer { answer: Err(RefusedReason::Spec(_)), .. }));
    assert_eq!(answers[1], Effect::Answer { request: 1, answer: Ok(Answer::Submitted(JOB)) });
    assert_eq!(answers[2], Effect::Answer { request: 1, answer: Err(RefusedReason::TooManyJobs(1)) });
}

const NODE_CHANGES: [NodeChange; 4] =
    [NodeChange::Drain, NodeChange::Undrain, NodeChange::Ban, NodeChange::Forgive];

/// A random thing that happens to a farm.
#[derive(Clone, Debug)]
enum Step {
    Submit { rects: u32, samples: u32, frames: u32, priority: i32 },
    Change { which: u8, job: u64 },
    Prioritize { job: u64, priority: i32 },
    ChangeNode { node: u64, change: NodeChange },
    Rerender { job: u64, frame: u32, region: Option<Rect> },
    Join(u64),
    Rejoin(u64),
    Leave(u64),
    Drain(u64),
    Report { node: u64, pick: prop::sample::Index, render_us: u64 },
    ReportStray { pick: prop::sample::Index, level: u8, index: u32 },
    ReportPart { node: u64, pick: prop::sample::Index, level: u8, index: prop::sample::Index },
    Rest(u64, bool),
    Fail { node: u64, pick: prop::sample::Index, kind: u8 },
    Progress { node: u64, pick: prop::sample::Index, samples: u64 },
    Deliver(u64),
    Wait(u64),
    Snapshot,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let node = 1u64..4;
    let pick = any::<prop::sample::Index>;
    let region = (0u32..20, 0u32..20, 1u32..12, 1u32..12);
    let region = region.prop_map(|(x, y, width, height)| Rect { x, y, width, height });
    let change = prop::sample::select(&NODE_CHANGES[..]);
    prop_oneof![
        1 => (1u32..3, 1u32..100, 1u32..3, 0i32..2)
            .prop_map(|(rects, samples, frames, priority)| Step::Submit { rects, samples, frames, priority }),
        1 => (0u8..6, 1u64..4).prop_map(|(which, job)| Step::Change { which, job }),
        1 => (1u64..4, -1i32..3).prop_map(|(job, priority)| Step::Prioritize { job, priority }),
        1 => (node.clone(), change).prop_map(|(node, change)| Step::ChangeNode { node, change }),
        2 => (1u64..4, 1u32..4, prop::option::of(region))
            .prop_map(|(job, frame, region)| Step::Rerender { job, frame, region }),
        3 => node.clone().prop_map(Step::Join),
        1 => node.clone().prop_map(Step::Rejoin),
        1 => node.clone().prop_map(Step::Leave),
        1 => node.clone().prop_map(Step::Drain),
        20 => (node.clone(), pick(), 1u64..5_000_000)
            .prop_map(|(node, pick, render_us)| Step::Report { node, pick, render_us }),
        2 => (pick(), 0u8..4, 0u32..8).prop_map(|(pick, level, index)| Step::ReportStray { pick, level, index }),
        6 => (node.clone(), pick(), 0u8..4, pick())
            .prop_map(|(node, pick, level, index)| Step::ReportPart { node, pick, level, index }),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, rests)| Step::Rest(node, rests)),
        2 => (node.clone(), pick(), 0u8..8).prop_map(|(node, pick, kind)| Step::Fail { node, pick, kind }),
        2 => (node, pick(), 0u64..3).prop_map(|(node, pick, samples)| Step::Progress { node, pick, samples }),
        3 => (1u64..4).prop_map(Step::Deliver),
        3 => (0u64..70_000).prop_map(Step::Wait),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Restart),
    ]
}

impl Farm {
    fn pick(&self, node: u64, pick: &prop::sample::Index) -> Option<Lease> {
        let leases = self.leases_of(NodeId(node));
        (!leases.is_empty()).then(|| pick.get(&leases).clone())
    }

    fn step(&mut self, step: &Step, epoch: u32) {
        match step {
            Step::Submit { rects, samples, frames, priority } => {
                let frames = FrameRange { first: FRAME, last: FrameNumber(*frames) };
                self.submit(JobSpec { frames, priority: *priority, ..spec(*rects, *samples) });
            }
            Step::Change { which, job } => {
                let (request, job) = (0, JobId(*job));
                self.handle(match which {
                    0 => Command::PauseJob { request, job },
                    1 => Command::CancelJob { request, job },
                    2 | 3 => Command::RetryJob { request, job },
                    _ => Command::ResumeJob { request, job },
                });
            }
            Step::Prioritize { job, priority } => {
                let (request, job, priority) = (0, JobId(*job), *priority);
                self.handle(Command::PrioritizeJob { request, job, priority });
            }
            Step::Rerender { job, frame, region } => {
                let frames = FrameRange { first: FRAME, last: FrameNumber(*frame) };
                self.handle(Command::RerenderJob { request: 0, job: JobId(*job), frames, region: *region });
            }
            Step::ChangeNode { node, change } => self.change_node(NodeId(*node), *change),
            Step::Join(node) => {
                self.leases.retain(|(holder, _), _| holder.0 != *node);
                self.join(NodeId(*node));
            }
            Step::Rejoin(node) => self.rejoin(NodeId(*node)),
            Step::Leave(node) => self.handle(Command::LeaveNode(NodeId(*node))),
            Step::Drain(node) => self.handle(Command::DrainNode(NodeId(*node))),
            Step::Report { node, pick, render_us } => {
                if let Some(lease) = self.pick(*node, pick) {
                    self.report(NodeId(*node), &lease, *render_us);
                }
            }
            Step::ReportStray { pick, level, index } => {
                if let Some(lease) = self.pick(1, pick) {
                    let range = crate::tile::BlockRange { level: *level, index: *index };
                    self.report_tile(NodeId(9), LeaseId(0), TileId { range, ..lease.tile }, 1);
                }
            }
            Step::ReportPart { node, pick, level, index } => {
                if let Some(lease) = self.pick(*node, pick) {
                    let whole = lease.tile.range;
                    let level = (*level).min(whole.level);
                    let down = whole.level - level;
                    let place = u32::try_from(index.index(1 << down)).expect("a small number");
                    let range = crate::tile::BlockRange { level, index: (whole.index << down) + place };
                    self.report_tile(NodeId(*node), lease.id, TileId { range, ..lease.tile }, 1000);
                }
            }
            Step::Rest(node, true) => self.handle(Command::RestNode(NodeId(*node))),
            Step::Rest(node, false) => self.handle(Command::ResumeNode(NodeId(*node))),
            Step::Fail { node, pick, kind } => {
                if let Some(lease) = self.pick(*node, pick) {
                    let kinds = [
                        FailureKind::OutOfMemory,
                        FailureKind::DeviceLost,
                        FailureKind::BlobUnavailable,
                        FailureKind::HandedBack,
                        FailureKind::Render,
                    ];
                    self.fail(NodeId(*node), &lease, kinds[usize::from(*kind) % kinds.len()]);
                }
            }
            Step::Progress { node, pick, samples } => {
                if let Some(lease) = self.pick(*node, pick) {
                    self.handle(Command::ReportProgress {
                        node: NodeId(*node),
                        lease: lease.id,
                        samples: *samples,
                    });
                }
            }
            Step::Deliver(job) => {
                for frame in [FRAME, FrameNumber(2)] {
                    self.handle(Command::ReportFrame { job: JobId(*job), frame, pixel_digest: blob(9) });
                }
            }
            Step::Wait(millis) => self.wait(std::time::Duration::from_millis(*millis)),
            Step::Snapshot => self.take_snapshot(),
            Step::Restart => self.restart(epoch),
        }
    }
}

#[test]
fn blobs_are_named_until_nobody_reads_them() {
    let mut farm = Farm::new(small_limits());
    let named = |farm: &Farm| farm.scheduler.state().named_blobs().collect::<Vec<_>>();
    let frames = FrameRange { first: FRAME, last: FrameNumber(2) };
    farm.submit(JobSpec { frames, ..spec(1, 16) });
    let scene = [blob(1), blob(2), blob(3)];
    assert_eq!(named(&farm), scene);
    farm.join(A);
    let lease = farm.first_lease(A);
    farm.report(A, &lease, 100);
    assert_eq!(named(&farm), [blob(1), blob(2), blob(3), blob(7)]);
    let deliver = |frame| Command::ReportFrame { job: JOB, frame, pixel_digest: blob(9) };
    farm.handle(deliver(FRAME));
    assert_eq!(named(&farm), scene, "the tile is in the frame's file");
    farm.finish_all(A, 100);
    farm.handle(deliver(FrameNumber(2)));
    assert_eq!((farm.job().status, named(&farm)), (JobStatus::Done, vec![]));
    farm.submit(spec(1, 16));
    assert_eq!(named(&farm).len(), 3);
    farm.handle(Command::CancelJob { request: 1, job: JobId(2) });
    assert_eq!(named(&farm), []);
}

#[test]
fn snapshot_is_judged_by_the_limits_of_the_life_that_reads_it() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(1, 16));
    for node in [A, B] {
        farm.join(node);
        let lease = farm.first_lease(node);
        farm.fail(node, &lease, FailureKind::Render);
    }
    farm.take_snapshot();
    for (strikes_per_tile, failure_messages, failed) in [(2, 8, true), (3, 1, false)] {
        let limits = Limits { strikes_per_tile, failure_messages, ..small_limits() };
        let resumed = farm.resumed(&limits).expect("the snapshot is whole");
        assert_eq!(resumed.jobs[&JOB].is_failed(), failed);
        let replayed = Scheduler::restore(farm.journal.clone(), limits, 1);
        assert_eq!(resumed, *replayed.state());
    }
}

#[test]
fn snapshot_that_does_not_hold_together_is_an_error() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(1, 16));
    farm.take_snapshot();
    let orphan = SnapshotPart::Delivered { job: JobId(7), frames: vec![(FRAME, blob(1))] };
    farm.snapshot.0.push(orphan);
    assert_eq!(farm.resumed(&small_limits()), Err(SnapshotError::UnknownJob(JobId(7))));
    let late = [Entry::Fact(farm.journal[0].clone()), Entry::Snapshot(farm.snapshot.0[0].clone())];
    assert_eq!(State::restore(late, &small_limits()), Err(SnapshotError::LatePart));
}

/// Whatever happens, the books balance ([`Farm::handle`] audits them), a
/// restored state equals the recorded one, from every fact and from a snapshot
/// and the facts after it alike, and one good node finishes the rest.
#[test]
fn any_history_leaves_the_books_balanced_and_can_be_finished() {
    proptest!(|(steps in prop::collection::vec(step(), 0..120))| {
        let mut farm = Farm::new(Limits { leases_per_lane: 2, leases_per_lane_max: 4, ..small_limits() });
        for (epoch, step) in (2..).zip(&steps) {
            farm.step(step, epoch);
        }
        farm.restart(10_000);
        farm.leases.clear();
        for job in 1..=farm.scheduler.state().jobs.len() as u64 {
            let (request, job) = (0, JobId(job));
            farm.handle(Command::ResumeJob { request, job });
            farm.handle(Command::RetryJob { request, job });
        }
        farm.change_node(A, NodeChange::Undrain);
        farm.change_node(A, NodeChange::Forgive);
        farm.join(A);
        farm.finish_all(A, 1000);
        for job in 1..=farm.scheduler.state().jobs.len() as u64 {
            farm.step(&Step::Deliver(job), 0);
        }
        for job in farm.scheduler.jobs() {
            prop_assert!(matches!(job.status, JobStatus::Done | JobStatus::Cancelled), "{job:?}");
            if job.status == JobStatus::Done {
                prop_assert_eq!((job.samples_done, job.tiles_done), (job.samples, job.tiles));
            }
        }
    });
}
