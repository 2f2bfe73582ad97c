//! What becomes of nodes that fail: blocked from a job, on probation, in quarantine.

use std::time::Duration;

use super::*;

const LONG: Duration = Duration::from_secs(3600);

impl Farm {
    /// Has a node fail whatever it is lent next, so often, waiting out its pauses.
    fn fail_often(&mut self, node: NodeId, kind: FailureKind, times: u32) {
        for _ in 0..times {
            assert!(self.await_lease(node), "node {node} is lent something in the end");
            let lease = self.first_lease(node);
            self.fail(node, &lease, kind);
        }
    }

    /// Waits until a node holds a lease; true if it comes to hold one.
    fn await_lease(&mut self, node: NodeId) -> bool {
        let end = self.now.after(LONG);
        while self.leases_of(node).is_empty() {
            let Some(at) = self.scheduler.poll_timeout().filter(|at| *at <= end) else { return false };
            self.now = self.now.max(at);
            self.handle(Command::Tick);
        }
        true
    }

    fn view(&self, node: NodeId) -> NodeView {
        self.scheduler.nodes().find(|view| view.node == node).expect("the node is connected")
    }

    fn blocked(&self, node: NodeId) -> Vec<(u64, Vec<FailureKind>)> {
        self.view(node).blocked.into_iter().map(|blocked| (blocked.job.0, blocked.kinds)).collect()
    }

    fn standing(&self, node: NodeId) -> NodeStanding {
        self.view(node).standing
    }
}

/// No tile fails too often, and no node is put on probation.
fn block_limits() -> Limits {
    Limits { attempts_per_tile: 1000, failures_to_probation: 1000, ..small_limits() }
}

#[test]
fn node_that_fails_too_often_gets_no_more_of_that_job_alone() {
    let recorded = [FailureKind::Render];
    let own = [FailureKind::DeviceLost, FailureKind::DiskFull, FailureKind::BlobUnavailable];
    for kind in recorded.into_iter().chain(own) {
        let mut farm = Farm::new(block_limits());
        farm.submit(spec(8, 16));
        farm.join(A);
        farm.join(B);
        farm.fail_often(A, kind, 4);
        assert!(farm.await_lease(A) && farm.blocked(A).is_empty(), "{kind:?}");
        farm.fail_often(A, kind, 1);
        assert_eq!(farm.blocked(A), [(1, vec![kind])]);
        assert!(farm.job().explanation.contains("1 node; node 0000000000000001 gets no more of it"));
        farm.wait(LONG / 60);
        assert_eq!(farm.leases_of(A), [], "{kind:?}: B could take it");
        farm.submit(spec(1, 16));
        assert_eq!(farm.first_lease(A).tile.job, JobId(2), "{kind:?}: other jobs are open to it");
        assert_eq!(farm.job().failures.is_empty(), kind != FailureKind::Render);
    }
}

#[test]
fn block_holds_in_the_next_life_and_on_the_next_connection() {
    let mut farm = Farm::new(block_limits());
    farm.submit(spec(8, 16));
    farm.join(A);
    farm.join(B);
    farm.fail_often(A, FailureKind::Render, 5);
    farm.take_snapshot();
    for restart in [false, true] {
        if restart {
            farm.restart(2);
            farm.leases.clear();
            farm.join(B);
        }
        farm.join(A);
        assert_eq!(farm.blocked(A), [(1, vec![FailureKind::Render])]);
        farm.wait(LONG);
        assert_eq!(farm.leases_of(A), []);
    }
}

#[test]
fn own_trouble_outlives_the_connection() {
    let mut farm = Farm::new(block_limits());
    farm.submit(spec(8, 16));
    farm.join(B);
    for failures in 1..=5 {
        farm.join(A);
        assert_eq!(farm.leases_of(A).len(), 1, "before failure {failures}");
        farm.fail_often(A, FailureKind::OutOfMemory, 1);
        farm.leave(A);
    }
    farm.join(A);
    assert_eq!(farm.blocked(A), [(1, vec![FailureKind::OutOfMemory])]);
    assert_eq!(farm.leases_of(A), []);
}

#[test]
fn retry_of_the_job_and_forgiving_the_node_end_a_block() {
    for kind in [FailureKind::Render, FailureKind::DeviceLost] {
        for retries in [false, true] {
            let mut farm = Farm::new(block_limits());
            farm.submit(spec(8, 16));
            farm.join(A);
            farm.join(B);
            farm.fail_often(A, kind, 5);
            farm.wait(LONG);
            let clear = |farm: &mut Farm| match retries {
                true => farm.handle(Command::RetryJob { request: 9, job: JOB }),
                false => farm.change_node(A, NodeChange::Forgive),
            };
            clear(&mut farm);
            assert_eq!((farm.blocked(A), farm.leases_of(A).len()), (Vec::new(), 1), "{kind:?}, {retries}");
            assert!(!farm.job().explanation.contains("gets no more"));
            let facts = farm.journal.len();
            clear(&mut farm);
            assert_eq!(farm.journal.len(), facts, "it is as it should be already");
            farm.restart(2);
            farm.leases.clear();
            farm.join(A);
            farm.join(B);
            assert_eq!(farm.blocked(A), []);
        }
    }
}

#[test]
fn forgiven_node_may_take_what_did_not_fit() {
    let mut farm = Farm::new(block_limits());
    farm.submit(spec(8, 16));
    farm.join(A);
    farm.fail_often(A, FailureKind::OutOfMemory, 1);
    farm.wait(LONG);
    assert_eq!((farm.leases_of(A), farm.job().status), (vec![], JobStatus::Stranded));
    farm.change_node(A, NodeChange::Forgive);
    assert_eq!(farm.leases_of(A).len(), 1);
}

#[test]
fn blocked_nodes_go_on_where_no_other_can() {
    let mut farm = Farm::new(block_limits());
    farm.submit(spec(8, 16));
    farm.join(A);
    farm.fail_often(A, FailureKind::DeviceLost, 20);
    assert!(farm.await_lease(A), "it is alone");
    farm.join(B);
    farm.fail_often(A, FailureKind::DeviceLost, 1);
    farm.wait(LONG);
    assert_eq!(farm.leases_of(A), [], "B could take it");
    farm.fail_often(B, FailureKind::DeviceLost, 5);
    assert!(farm.await_lease(A), "both are blocked");
    farm.handle(Command::DrainNode(B));
    farm.leave(A);
    farm.join(A);
    assert!(farm.await_lease(A), "B is on its way out");
    farm.join(C);
    farm.leases.clear();
    farm.leave(A);
    farm.join(A);
    assert_eq!(farm.leases_of(A), []);
    farm.leave(C);
    assert!(farm.await_lease(A), "C is gone");
}

#[test]
fn one_node_farm_still_gives_up_by_the_attempts_of_a_tile() {
    for leases in [1, 3, 64] {
        let limits = Limits { leases_per_lane: leases, leases_per_lane_max: leases, ..Limits::default() };
        let attempts = limits.attempts_per_tile;
        let mut farm = Farm::new(limits);
        farm.submit(spec(8, 16));
        farm.join(A);
        let mut failures = 0;
        while farm.job().status != JobStatus::Failed {
            assert!(failures <= attempts * leases, "it gives up");
            farm.fail_often(A, FailureKind::Render, 1);
            failures += 1;
        }
        assert!(farm.job().explanation.contains("failed 5 times on 1 node"), "{}", farm.job().explanation);
    }
}

#[test]
fn single_bad_tile_blocks_nobody_before_its_job_fails() {
    let limits = Limits { strikes_per_tile: 9, failures_to_probation: 1000, ..small_limits() };
    let mut farm = Farm::new(limits);
    farm.submit(spec(4, 16));
    farm.join(A);
    farm.join(B);
    while farm.job().status != JobStatus::Failed {
        assert_eq!((farm.blocked(A), farm.blocked(B)), (vec![], vec![]));
        for node in [A, B] {
            let Some(lease) = farm.leases_of(node).into_iter().next() else { continue };
            match lease.tile.rect.0 {
                0 => farm.fail(node, &lease, FailureKind::Render),
                _ => farm.report(node, &lease, 1000),
            }
        }
        farm.wait(Duration::from_millis(500));
    }
}

#[test]
fn lost_device_leads_to_probation_and_quarantine_and_back() {
    let limits = Limits { leases_per_lane: 3, leases_per_lane_max: 64, ..Limits::default() };
    let mut farm = Farm::new(limits);
    farm.submit(spec(8, 256));
    farm.join(A);
    let start = farm.now;
    for lease in farm.leases_of(A) {
        farm.report(A, &lease, 1);
    }
    assert!(farm.leases_of(A).len() > 3, "fast nodes are lent much at once");
    for _ in 0..3 {
        assert_eq!(farm.standing(A), NodeStanding::Working);
        let lease = farm.first_lease(A);
        farm.fail(A, &lease, FailureKind::DeviceLost);
    }
    assert_eq!(farm.standing(A), NodeStanding::Probation);
    for lease in farm.leases_of(A) {
        farm.fail(A, &lease, FailureKind::HandedBack);
    }
    farm.await_lease(A);
    let [only] = <[Lease; 1]>::try_from(farm.leases_of(A)).expect("one lease for the lane");
    assert_eq!(only.tile.range.level, 0, "however fast it is");
    farm.fail_often(A, FailureKind::DeviceLost, 3);
    assert_eq!(farm.standing(A), NodeStanding::Quarantined);
    let until = farm.view(A).quarantined_until.expect("it is in quarantine");
    assert_eq!((until.since(farm.now), farm.job().failures), (Limits::default().quarantine_min, vec![]));
    assert_eq!(
        farm.job().explanation,
        "waiting: no other node is connected, and 1 node is in quarantine for 30 s"
    );
    farm.wait(until.since(farm.now) - Duration::from_millis(1));
    assert_eq!(farm.leases_of(A), []);
    farm.wait(Duration::from_millis(1));
    assert_eq!((farm.leases_of(A).len(), farm.standing(A)), (1, NodeStanding::Probation));
    for _ in 0..8 {
        assert_eq!((farm.leases_of(A).len(), farm.standing(A)), (1, NodeStanding::Probation));
        let lease = farm.first_lease(A);
        farm.report(A, &lease, 1);
    }
    assert_eq!(farm.standing(A), NodeStanding::Working);
    assert!(farm.leases_of(A).len() > 3 && farm.now.since(start) < LONG);
}

#[test]
fn quarantine_outlives_the_connection_and_ends_by_forgiving() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(8, 16));
    farm.join(A);
    farm.fail_often(A, FailureKind::DiskFull, 6);
    farm.leave(A);
    farm.join(A);
    assert_eq!((farm.standing(A), farm.leases_of(A)), (NodeStanding::Quarantined, vec![]));
    farm.change_node(A, NodeChange::Forgive);
    assert_eq!((farm.standing(A), farm.leases_of(A).len()), (NodeStanding::Working, 1));
    assert_eq!(farm.journal.len(), 1, "nothing of it was recorded");
    farm.fail_often(A, FailureKind::DiskFull, 2);
    assert_eq!(farm.standing(A), NodeStanding::Working, "it begins anew");
    farm.fail_often(A, FailureKind::DiskFull, 4);
    farm.leave(A);
    farm.wait(LONG);
    farm.join(A);
    assert_eq!(farm.standing(A), NodeStanding::Probation, "its time passed while it was away");
}

#[test]
fn others_take_what_failed_on_them_while_a_node_is_in_quarantine() {
    let mut farm = Farm::new(Limits { failures_per_block: 100, ..small_limits() });
    farm.submit(spec(2, 16));
    farm.join(A);
    farm.join(B);
    let struck = farm.first_lease(B);
    farm.fail(B, &struck, FailureKind::Render);
    farm.wait(Duration::from_secs(1));
    farm.fail_often(A, FailureKind::DeviceLost, 6);
    assert_eq!(farm.standing(A), NodeStanding::Quarantined);
    let left: Vec<_> = farm.finish_all(B, 100).iter().map(|lease| lease.tile.rect).collect();
    assert_eq!((left.contains(&struck.tile.rect), farm.job().tiles_done), (true, 4));
}

#[test]
fn what_is_not_the_nodes_fault_does_not_count_against_it() {
    let kinds = [
        FailureKind::OutOfMemory,
        FailureKind::Incompatible,
        FailureKind::BlobUnavailable,
        FailureKind::HandedBack,
    ];
    for kind in kinds {
        let mut farm = Farm::new(small_limits());
        for _ in 0..12 {
            farm.submit(spec(1, 16));
        }
        farm.join(A);
        farm.fail_often(A, kind, 12);
        assert_eq!(farm.standing(A), NodeStanding::Working, "{kind:?}");
    }
}

#[test]
fn failures_across_jobs_count_and_those_of_one_job_count_once() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(8, 16));
    farm.join(A);
    farm.fail_often(A, FailureKind::Render, 4);
    assert_eq!(farm.standing(A), NodeStanding::Working);
    for job in 1..=2 {
        farm.handle(Command::CancelJob { request: 9, job: JobId(job) });
        farm.submit(spec(8, 16));
        assert_eq!(farm.standing(A), NodeStanding::Working);
        farm.fail_often(A, FailureKind::Render, 1);
    }
    assert_eq!(farm.standing(A), NodeStanding::Probation);
}

#[test]
fn nodes_beyond_those_remembered_are_not_treated_worse() {
    let mut farm = Farm::new(Limits { nodes_remembered: 1, failures_per_block: 100, ..small_limits() });
    farm.submit(spec(8, 16));
    for node in [A, B] {
        farm.join(node);
        farm.fail_often(node, FailureKind::DeviceLost, 6);
    }
    assert_eq!((farm.standing(A), farm.standing(B)), (NodeStanding::Quarantined, NodeStanding::Working));
    farm.change_node(A, NodeChange::Forgive);
    farm.fail_often(A, FailureKind::DeviceLost, 1);
    farm.wait(Limits::default().probation_window);
    farm.fail_often(B, FailureKind::DeviceLost, 3);
    assert_eq!(farm.standing(B), NodeStanding::Probation, "old failures make room");
}
