//! What people ask of a farm that works: other priorities, and nodes held back.

use super::*;

#[test]
fn job_of_new_priority_goes_before_or_behind_the_others_at_once() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(8, 64));
    farm.submit(spec(8, 64));
    farm.join(A);
    let prioritize = |job, priority| Command::PrioritizeJob { request: 2, job: JobId(job), priority };
    let next = |farm: &mut Farm| {
        let lease = farm.first_lease(A);
        farm.report(A, &lease, 10_000_000);
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
    farm.handle(Command::JoinNode { node: A, lanes: 1, holding });
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
