//! What happens when nodes leave, stall, fail or lie.

use std::time::Duration;

use super::*;
use crate::tile::{BlockRange, RectIndex};

#[test]
fn lost_node_returns_its_tiles() {
    let mut farm = Farm::new(Limits { leases_per_lane: 3, ..small_limits() });
    farm.submit(spec(2, 16));
    farm.join(A);
    let lost: Vec<_> = farm.leases_of(A).iter().map(|lease| lease.tile).collect();
    assert_eq!(lost.len(), 3);
    farm.leave(A);
    farm.join(B);
    let again: Vec<_> = farm.leases_of(B).iter().map(|lease| lease.tile).collect();
    assert_eq!(again, lost);
}

#[test]
fn leases_that_were_not_sent_are_not_sent_on_the_next_connection() {
    for rejoins in [false, true] {
        let mut farm = Farm::new(small_limits());
        farm.submit(spec(2, 16));
        farm.join(B);
        // As where the driver waits for its disk: nothing is polled in between.
        let join =
            |holding| Command::JoinNode { node: A, lanes: 1, equipment: Equipment::default(), holding };
        farm.scheduler.handle(farm.now, join(Vec::new()));
        if !rejoins {
            farm.scheduler.handle(farm.now, Command::LeaveNode(A));
        }
        farm.handle(join(Vec::new()));
        let sent = farm.leases_of(A).len();
        let held = farm.scheduler.nodes().find(|view| view.node == A).map(|view| view.leases as usize);
        assert_eq!(Some(sent), held, "rejoins: {rejoins}");
    }
}

#[test]
fn drained_node_is_granted_nothing_but_may_finish() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(2, 16));
    farm.join(A);
    farm.handle(Command::DrainNode(A));
    assert_eq!(farm.finish_all(A, 100).len(), 1);
    assert_eq!(farm.job().results, 1);
    assert_eq!(farm.job().explanation, "waiting: every connected node is draining");
}

#[test]
fn expired_lease_goes_to_another_node() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(1, 16));
    farm.join(A);
    farm.join(B);
    let lease = farm.first_lease(A);
    let timeout = Limits::default().lease_timeout;
    farm.wait(timeout / 2);
    farm.handle(Command::ReportProgress { node: A, lease: lease.id, samples: 1 });
    farm.wait(timeout - Duration::from_millis(1));
    assert_eq!(farm.leases_of(B), [], "progress began the deadline anew");
    farm.wait(Duration::from_millis(1));
    assert_eq!(farm.first_lease(B).tile, lease.tile);
    assert!(farm.effects().contains(&Effect::Revoke { node: A, lease: lease.id }));
    assert_eq!(farm.job().failures.len(), 1, "it had begun to render");
}

#[test]
fn progress_extends_the_leases_that_wait_behind() {
    let mut farm = Farm::new(Limits { leases_per_lane: 3, ..small_limits() });
    farm.submit(spec(2, 16));
    farm.join(A);
    let [first, second, third] = <[Lease; 3]>::try_from(farm.leases_of(A)).expect("three leases for a lane");
    let timeout = Limits::default().lease_timeout;
    farm.wait(timeout / 2);
    farm.handle(Command::ReportProgress { node: A, lease: second.id, samples: 1 });
    farm.wait(timeout / 2);
    let left: Vec<_> = farm.leases_of(A).iter().map(|lease| lease.id).collect();
    assert_eq!(left, [second.id, third.id], "the first made no progress, {:?}", first.id);
    assert_eq!(farm.job().failures, [""; 0], "nor had it begun, so nobody is blamed");
}

#[test]
fn duplicate_is_harmless() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(2, 16));
    farm.join(A);
    let lease = farm.first_lease(A);
    farm.report(A, &lease, 100);
    let before = (farm.scheduler.state().clone(), farm.leases.clone());
    farm.effects();
    farm.report_tile(A, lease.id, lease.tile, 100);
    farm.report_tile(B, LeaseId(99), lease.tile, 100);
    assert_eq!((farm.scheduler.state().clone(), farm.leases.clone()), before);
    let settle = |node, lease| Effect::Settle { node, lease, verdict: Verdict::Duplicate };
    assert_eq!(farm.effects(), [settle(A, lease.id), settle(B, LeaseId(99))]);
}

#[test]
fn late_result_wins_over_the_lease_that_replaced_it() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(1, 64));
    farm.join(A);
    let lease = farm.first_lease(A);
    farm.leave(A);
    farm.join(B);
    let replaced = farm.first_lease(B);
    assert_eq!(replaced.tile, lease.tile);
    farm.report_tile(A, lease.id, lease.tile, 100);
    assert!(farm.effects().contains(&Effect::Revoke { node: B, lease: replaced.id }));
    assert_eq!(farm.job().results, 1);
    farm.finish_all(B, 100);
    assert_eq!(farm.job().tiles_done, 1);
}

#[test]
fn part_of_a_lease_accepted_elsewhere_frees_the_rest() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(2, 64));
    farm.join(A);
    let probe = farm.first_lease(A);
    farm.report(A, &probe, 1);
    let whole = farm.first_lease(A);
    assert_eq!(whole.tile.range, BlockRange::root(4));
    let part = TileId { range: BlockRange { level: 0, index: 2 }, ..whole.tile };
    farm.report_tile(B, LeaseId(99), part, 100);
    assert!(farm.effects().contains(&Effect::Revoke { node: A, lease: whole.id }));
    let late = TileId { range: BlockRange { level: 1, index: 1 }, ..whole.tile };
    farm.report_tile(B, LeaseId(98), late, 100);
    assert_eq!(farm.job().results, 2, "a range that is partly accepted is a duplicate");
    farm.finish_all(A, 1);
    assert_eq!((farm.job().tiles_done, farm.job().samples_done), (4, farm.job().samples));
}

#[test]
fn three_distinct_nodes_fail_a_job_and_retry_forgives() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(1, 16));
    for node in [A, B, C] {
        farm.join(node);
    }
    for node in [A, B] {
        let lease = farm.first_lease(node);
        farm.fail(node, &lease, FailureKind::Render);
        assert_eq!(farm.job().status, JobStatus::Running.min_waiting(&farm));
    }
    let lease = farm.first_lease(C);
    farm.handle(Command::RejectTile { node: C, lease: lease.id, reason: "NaN".into() });
    farm.leases.clear();
    assert_eq!(farm.job().status, JobStatus::Failed);
    assert_eq!(farm.job().failures.len(), 3);
    assert!(farm.job().explanation.starts_with("failed: tile 0 of frame 0001 failed 3 times on 3 nodes"));
    farm.handle(Command::RetryJob { request: 9, job: JOB });
    farm.wait(Duration::from_secs(1));
    assert_eq!(farm.job().explanation, "running on 1 node");
}

impl JobStatus {
    /// A job that holds no lease and no result waits.
    fn min_waiting(self, farm: &Farm) -> Self {
        if farm.leases.is_empty() { Self::Waiting } else { self }
    }
}

#[test]
fn struck_tile_goes_to_other_nodes() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(2, 16));
    farm.join(A);
    farm.join(B);
    let struck = farm.first_lease(A);
    farm.fail(A, &struck, FailureKind::Render);
    farm.wait(Duration::from_secs(1));
    for _ in 0..2 {
        let lease = farm.first_lease(A);
        assert_ne!(lease.tile.rect, struck.tile.rect);
        farm.report(A, &lease, 100);
    }
    assert_eq!(farm.leases_of(A), [], "B could still take it");
    farm.finish_all(B, 100);
    assert_eq!(farm.job().tiles_done, 4);
}

#[test]
fn one_node_farm_gives_up_after_a_bounded_number_of_attempts() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(1, 16));
    farm.join(A);
    for attempt in 1..=5 {
        assert_eq!(farm.job().status, JobStatus::Running, "before attempt {attempt}");
        let lease = farm.first_lease(A);
        farm.fail(A, &lease, FailureKind::Render);
        farm.wait(Duration::from_millis(500 << (attempt - 1)));
    }
    assert_eq!(farm.job().status, JobStatus::Failed);
    assert_eq!(farm.leases_of(A), []);
}

#[test]
fn out_of_memory_excludes_the_node_and_never_blames_the_job() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(1, 16));
    for node in [A, B, C] {
        farm.join(node);
        let lease = farm.first_lease(node);
        farm.fail(node, &lease, FailureKind::OutOfMemory);
    }
    farm.wait(Duration::from_secs(600));
    assert_eq!(farm.leases.len(), 0);
    assert_eq!(farm.job().status, JobStatus::Stranded);
    assert!(farm.job().explanation.ends_with("it broke"), "{}", farm.job().explanation);
    farm.handle(Command::RetryJob { request: 9, job: JOB });
    assert_eq!(farm.leases.len(), 1);
}

#[test]
fn troubled_node_pauses_longer_each_time_until_it_succeeds() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(4, 16));
    farm.join(A);
    for pause in [500, 1000, 2000] {
        let lease = farm.first_lease(A);
        farm.fail(A, &lease, FailureKind::DeviceLost);
        farm.wait(Duration::from_millis(pause - 1));
        assert_eq!(farm.leases_of(A), []);
        farm.wait(Duration::from_millis(1));
    }
    let lease = farm.first_lease(A);
    farm.report(A, &lease, 100);
    let lease = farm.first_lease(A);
    farm.fail(A, &lease, FailureKind::DiskFull);
    farm.wait(Duration::from_millis(500));
    assert_eq!(farm.leases_of(A).len(), 1);
    assert_eq!(farm.job().failures, [""; 0]);
}

#[test]
fn handed_back_lease_is_free_at_once() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(1, 16));
    farm.join(A);
    farm.join(B);
    let lease = farm.first_lease(A);
    farm.handle(Command::DrainNode(A));
    farm.fail(A, &lease, FailureKind::HandedBack);
    assert_eq!(farm.first_lease(B).tile, lease.tile);
}

#[test]
fn tiles_outside_the_plan_are_rejected() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(2, 48));
    farm.join(A);
    let lease = farm.first_lease(A);
    let range = |level, index| TileId { range: BlockRange { level, index }, ..lease.tile };
    let tiles = [
        TileId { job: JobId(2), ..lease.tile },
        TileId { frame: FrameNumber(2), ..lease.tile },
        TileId { rect: RectIndex(4), ..lease.tile },
        range(0, 3),
        range(3, 0),
        range(64, 0),
        range(255, u32::MAX),
    ];
    for tile in tiles {
        farm.effects();
        farm.report_tile(B, LeaseId(5), tile, 100);
        let effects = farm.effects();
        let rejected = matches!(effects[..], [Effect::Settle { verdict: Verdict::Rejected { .. }, .. }]);
        assert!(rejected, "{tile:?} gave {effects:?}");
    }
    assert_eq!(farm.job().results, 0);
}
