//! What people ask of a farm that works: other priorities, nodes held
//! back, regions rendered again.

use super::*;
use crate::OwnerId;

#[test]
fn job_of_new_priority_goes_before_or_behind_the_others_at_once() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(8, 64));
    farm.submit(spec(8, 64));
    farm.join(A);
    let prioritize = |job, priority| Command::PrioritizeJob { request: 2, job: JobId(job), priority };
    let next = |farm: &mut Farm| {
        let lease = farm.first_lease(A);
        farm.report(A, &lease, 1_000_000);
        farm.first_lease(A).tile.job.0
    };
    assert_eq!(next(&mut farm), 1, "the older of two");
    farm.handle(prioritize(2, 1));
    assert_eq!(farm.first_lease(A).tile.job.0, 1, "what is being rendered is finished");
    assert_eq!(next(&mut farm), 2);
    assert_eq!(
        (farm.job().priority, farm.job().explanation.as_str()),
        (0, "waiting: 1 node is busy with job 2, which has a higher priority")
    );
    farm.handle(prioritize(2, -1));
    assert_eq!(next(&mut farm), 1);
    let restored = Scheduler::restore(farm.journal.clone(), small_limits(), 2);
    assert_eq!(restored.job(JobId(2)).map(|job| job.priority), Some(-1), "it outlives the master");
}

#[test]
fn drained_node_finishes_and_is_granted_nothing_until_it_is_undrained() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(4, 16));
    farm.join(A);
    farm.change_node(A, NodeChange::Drain);
    assert_eq!(farm.finish_all(A, 100).len(), 1, "what it held");
    assert_eq!(farm.job().results, 1);
    farm.join(A);
    assert_eq!(farm.leases_of(A), [], "connecting again changes nothing");
    assert_eq!(farm.job().explanation, "waiting: every connected node is drained");
    farm.change_node(A, NodeChange::Undrain);
    assert_eq!(farm.leases_of(A).len(), 1);
}

#[test]
fn banned_node_loses_its_leases_and_its_results_are_refused() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(1, 16));
    farm.join(A);
    farm.join(B);
    let lease = farm.first_lease(A);
    farm.effects();
    farm.change_node(A, NodeChange::Ban);
    assert!(farm.effects().contains(&Effect::Revoke { node: A, lease: lease.id }));
    assert_eq!(farm.first_lease(B).tile, lease.tile, "another node takes its tile at once");
    farm.report_tile(A, lease.id, lease.tile, 100);
    let verdict = Verdict::Rejected { reason: "the node is banned".into() };
    assert!(farm.effects().contains(&Effect::Settle { node: A, lease: lease.id, verdict }));
    assert_eq!((farm.job().results, farm.job().failures), (0, Vec::new()), "nor is the job blamed");
    let holding = vec![HeldLease { lease: lease.id, tile: lease.tile }];
    farm.leave(B);
    farm.handle(Command::JoinNode { node: A, lanes: 1, equipment: Default::default(), holding });
    assert!(farm.effects().contains(&Effect::Revoke { node: A, lease: lease.id }));
    assert_eq!(farm.leases_of(A), []);
    farm.change_node(A, NodeChange::Forgive);
    assert_eq!(farm.first_lease(A).tile, lease.tile);
}

#[test]
fn nodes_are_held_back_in_the_next_life_too() {
    let mut farm = Farm::new(Limits { nodes_held_back: 2, ..small_limits() });
    farm.submit(spec(4, 16));
    for (node, change) in [(A, NodeChange::Ban), (B, NodeChange::Drain)] {
        for _ in 0..2 {
            farm.change_node(node, change);
        }
    }
    assert_eq!(farm.journal.len(), 3, "each is one fact, however often it is asked for");
    farm.effects();
    farm.change_node(C, NodeChange::Ban);
    let refused = Err(RefusedReason::TooManyHeldBack(2));
    assert_eq!(farm.effects(), [Effect::Answer { request: 7, answer: refused }]);
    farm.change_node(C, NodeChange::Forgive);
    assert_eq!(farm.journal.len(), 3, "it was not banned");

    farm.restart(2);
    let absent: Vec<_> = farm.scheduler.absent_nodes().collect();
    assert_eq!(absent, [(A, NodeStanding::Banned), (B, NodeStanding::Drained)]);
    for node in [A, B] {
        farm.join(node);
        assert_eq!(farm.leases_of(node), []);
    }
    let standings: Vec<_> = farm.scheduler.nodes().map(|view| view.standing).collect();
    assert_eq!(standings, [NodeStanding::Banned, NodeStanding::Drained]);
    assert_eq!(farm.job().explanation, "waiting: no connected node may work: 1 drained, 1 banned");
    farm.join(C);
    assert_eq!(farm.leases_of(C).len(), 1);
}

/// The middle of a frame of 3 × 3 rectangles of 8 pixels.
const MIDDLE: Rect = Rect { x: 9, y: 9, width: 2, height: 2 };

impl Farm {
    fn rerender(&mut self, frames: (u32, u32), region: Option<Rect>) {
        let frames = FrameRange { first: FrameNumber(frames.0), last: FrameNumber(frames.1) };
        self.handle(Command::RerenderJob { request: 8, job: JOB, frames, region });
    }

    fn deliver(&mut self, frame: u32) {
        let frame = FrameNumber(frame);
        self.handle(Command::ReportFrame { job: JOB, frame, pixel_digest: blob(9) });
    }
}

#[test]
fn region_of_a_delivered_frame_is_rendered_again_and_the_rest_is_kept() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(3, 64));
    farm.join(A);
    farm.finish_all(A, 1000);
    farm.deliver(1);
    assert_eq!(farm.job().status, JobStatus::Done);
    let (samples, results) = (farm.job().samples, farm.job().results);
    farm.effects();

    farm.rerender((1, 1), Some(MIDDLE));
    assert_eq!((farm.job().frames_done, farm.job().tiles_done), (0, 8));
    assert_eq!(farm.job().samples_done, samples / 9 * 8);
    let kept: Vec<_> = farm.scheduler.kept(JOB, FRAME).iter().map(|rect| rect.0).collect();
    assert_eq!(kept, [0, 1, 2, 3, 5, 6, 7, 8]);
    let range = crate::tile::BlockRange::root(4);
    let tile = TileId { job: JOB, frame: FRAME, rect: RectIndex(0), range };
    farm.report_tile(B, LeaseId(99), tile, 100);
    assert_eq!(farm.job().results, results, "what is kept is accepted already");
    farm.restart(2);
    farm.leases.clear();
    farm.join(A);
    let again: Vec<_> = farm.finish_all(A, 1000).iter().map(|lease| lease.tile.rect.0).collect();
    assert!(again.iter().all(|rect| *rect == 4), "{again:?}");
    assert_eq!(farm.job().results, results + again.len() as u64);
    assert!(farm.effects().contains(&Effect::Assemble { job: JOB, frame: FRAME }));
    assert_eq!(farm.scheduler.accepted(JOB, FRAME).len(), again.len());
    farm.deliver(1);
    assert_eq!((farm.job().status, farm.job().samples_done), (JobStatus::Done, samples));
}

#[test]
fn only_accepted_tiles_of_the_frames_and_the_region_are_forgotten() {
    let mut farm = Farm::new(small_limits());
    let frames = FrameRange { first: FRAME, last: FrameNumber(3) };
    farm.submit(JobSpec { frames, ..spec(3, 16) });
    farm.join(A);
    // Frame 1 is complete, of frame 2 half is accepted, frame 3 was not begun.
    for _ in 0..14 {
        let lease = farm.first_lease(A);
        farm.report(A, &lease, 10_000_000);
    }
    assert_eq!((farm.job().tiles_done, farm.first_lease(A).tile.rect.0), (14, 5));
    farm.rerender((1, 9), Some(MIDDLE));
    assert_eq!(farm.job().tiles_done, 12, "the middles of the frames 1 and 2");
    farm.deliver(1);
    assert_eq!(farm.job().frames_done, 0, "what was being assembled is out of date");
    let facts = farm.journal.len();
    farm.rerender((1, 9), Some(MIDDLE));
    assert_eq!(farm.journal.len(), facts, "there is nothing more to forget");
    let lease = farm.first_lease(A);
    farm.report(A, &lease, 10_000_000);
    let lease = farm.first_lease(A);
    let place = (lease.tile.frame, lease.tile.rect.0);
    assert_eq!(place, (FrameNumber(2), 4), "a frame that was begun is finished first");
    let rest = farm.finish_all(A, 1000);
    assert_eq!(rest.iter().filter(|lease| lease.tile.frame == FRAME).count(), 1, "its middle");
    assert_eq!(farm.job().tiles_done, 27);
}

#[test]
fn rerendering_what_is_not_there_is_refused() {
    let mut farm = Farm::new(Limits { open_jobs: 1, ..small_limits() });
    farm.submit(spec(3, 16));
    farm.join(A);
    farm.finish_all(A, 1000);
    farm.deliver(1);
    farm.submit(spec(1, 16));
    farm.effects();
    farm.rerender((2, 5), None);
    farm.rerender((1, 1), Some(Rect { x: 24, ..MIDDLE }));
    farm.rerender((1, 1), None);
    farm.handle(Command::CancelJob { request: 1, job: JobId(2) });
    farm.effects.retain(|effect| matches!(effect, Effect::Answer { request: 8, .. }));
    let refused = |reason| Effect::Answer { request: 8, answer: Err(reason) };
    let nothing = || refused(RefusedReason::NothingThere(JOB));
    assert_eq!(farm.effects(), [nothing(), nothing(), refused(RefusedReason::TooManyJobs(1))]);
    farm.rerender((1, 1), None);
    assert_eq!((farm.job().tiles_done, farm.leases_of(A).len()), (0, 1), "there is room for it now");
    assert_eq!(farm.scheduler.kept(JOB, FRAME), []);
    farm.handle(Command::CancelJob { request: 1, job: JOB });
    farm.effects();
    farm.rerender((1, 1), None);
    assert_eq!(farm.effects(), [refused(RefusedReason::JobOver(JOB))]);
}

#[test]
fn owners_are_held_to_their_quotas_and_nobody_else() {
    let mut farm = Farm::new(small_limits());
    let samples = spec(8, 64).samples();
    let mut submit = |owner, open_jobs, samples_per_hour| {
        let quota = Some(Quota { open_jobs, samples_per_hour });
        let spec = Box::new(spec(8, 64));
        farm.handle(Command::SubmitJob { request: 5, spec, owner, quota });
        let mut answers = farm.effects().into_iter().filter_map(|effect| match effect {
            Effect::Answer { request: 5, answer } => Some(answer),
            _ => None,
        });
        answers.next_back().expect("it is answered").map(|_| ())
    };
    let (anna, ben) = (Some(OwnerId(1)), Some(OwnerId(2)));
    assert_eq!(submit(anna, 2, 10 * samples), Ok(()));
    assert_eq!(submit(anna, 1, 10 * samples), Err(RefusedReason::OpenJobsOfOwner(1)));
    let most = 2 * samples - 1;
    assert_eq!(submit(anna, 2, most), Err(RefusedReason::SamplesOfOwner { samples: 2 * samples, most }));
    assert_eq!(submit(anna, 2, 2 * samples), Ok(()));
    assert_eq!(submit(ben, 1, samples), Ok(()), "what others have does not count");
    assert_eq!(submit(None, 0, 0), Ok(()), "nobody's quota is nobody's");
}
