//! The end of a job: copies of late leases, and what is foretold.

use std::time::Duration;

use super::works::{Worker, even};
use super::*;
use crate::tile::{BlockRange, RectIndex};

/// A node that is so slow that it will be late, and one that is fast and idle:
/// what the slow one holds is then copied.
fn with_a_late_lease() -> (Farm, Lease, Lease) {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(8, 16));
    farm.join(B);
    let lease = farm.first_lease(B);
    farm.report(B, &lease, 100_000);
    // Nothing is known of A, which takes its time.
    farm.join(A);
    let late = farm.first_lease(A);
    while farm.job().samples_done < 63 * 1024 {
        let lease = farm.first_lease(B);
        farm.report(B, &lease, 100_000);
    }
    assert_eq!(farm.leases_of(B), [], "nothing is free any more");
    farm.effects();
    farm.wait(Duration::from_secs(1));
    let copy = farm.first_lease(B);
    assert_eq!((copy.tile, copy.id != late.id), (late.tile, true));
    assert_eq!(farm.job().backup_samples, 1024);
    (farm, late, copy)
}

#[test]
fn late_lease_is_copied_to_a_faster_idle_node_and_the_first_result_wins() {
    for first in [A, B] {
        let (mut farm, late, copy) = with_a_late_lease();
        let (lease, other) = if first == A { (&late, (B, &copy)) } else { (&copy, (A, &late)) };
        farm.effects();
        farm.report(first, lease, 100_000);
        let revoke = Effect::Revoke { node: other.0, lease: other.1.id };
        assert!(farm.effects().contains(&revoke), "{first} was first");
        assert_eq!((farm.job().samples_done, farm.job().results), (64 * 1024, 64));
        farm.report_tile(other.0, other.1.id, other.1.tile, 100_000);
        assert_eq!(farm.job().results, 64, "the other one is a duplicate");
        let duplicate =
            |effect: &Effect| matches!(effect, Effect::Settle { verdict: Verdict::Duplicate, .. });
        assert!(farm.effects().iter().any(duplicate));
        farm.handle(Command::ReportFrame { job: JOB, frame: FRAME, pixel_digest: blob(9) });
        assert_eq!(farm.job().status, JobStatus::Done);
    }
}

#[test]
fn copy_takes_over_when_its_holder_fails_and_is_forgotten_when_it_fails_itself() {
    let (mut farm, _, copy) = with_a_late_lease();
    farm.leave(A);
    assert_eq!(farm.leases_of(B), std::slice::from_ref(&copy), "it is not granted once more");
    assert_eq!(farm.job().backup_samples, 0, "it is no copy any more");
    farm.report(B, &copy, 100_000);
    assert_eq!(farm.job().samples_done, farm.job().samples);

    let (mut farm, late, copy) = with_a_late_lease();
    farm.fail(B, &copy, FailureKind::DeviceLost);
    assert_eq!(farm.leases_of(A), std::slice::from_ref(&late));
    farm.report(A, &late, 100_000);
    assert_eq!(farm.job().samples_done, farm.job().samples);

    let (mut farm, late, copy) = with_a_late_lease();
    farm.fail(A, &late, FailureKind::Render);
    farm.fail(B, &copy, FailureKind::Render);
    farm.wait(Limits::default().backoff_max);
    let again: Vec<_> = [A, B].iter().flat_map(|node| farm.leases_of(*node)).collect();
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!(again[0].tile, late.tile);
}

#[test]
fn copies_end_with_their_job_and_with_what_overlaps_them() {
    let (mut farm, late, copy) = with_a_late_lease();
    farm.effects();
    farm.handle(Command::CancelJob { request: 1, job: JOB });
    let effects = farm.effects();
    for (node, lease) in [(A, late.id), (B, copy.id)] {
        assert!(effects.contains(&Effect::Revoke { node, lease }), "{node}");
    }

    let (mut farm, late, copy) = with_a_late_lease();
    farm.effects();
    farm.report_tile(C, LeaseId(77), late.tile, 100_000);
    let effects = farm.effects();
    for (node, lease) in [(A, late.id), (B, copy.id)] {
        assert!(effects.contains(&Effect::Revoke { node, lease }), "{node}");
    }
    assert_eq!((farm.leases_of(A), farm.leases_of(B)), (vec![], vec![]));
    assert_eq!(farm.job().samples_done, farm.job().samples);
}

#[test]
fn what_does_not_progress_is_late_however_fast_its_node_was() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(8, 16));
    farm.join(A);
    farm.join(B);
    for node in [A, B] {
        let lease = farm.first_lease(node);
        farm.report(node, &lease, 100_000);
    }
    let stuck = farm.first_lease(A);
    while farm.job().samples_done < 63 * 1024 {
        farm.now = farm.now.after(Duration::from_millis(100));
        let lease = farm.first_lease(B);
        farm.report(B, &lease, 100_000);
    }
    farm.wait(Duration::from_millis(250));
    assert_eq!(farm.first_lease(B).tile, stuck.tile);
}

#[test]
fn copies_are_at_most_5_percent_of_a_jobs_samples() {
    let worker = |node: u64| Worker::new(node, if node <= 4 { 1 << 18 } else { 400 << (node % 5) }, even);
    let run = |backup_per_mille| {
        let mut farm = Farm::new(Limits { backup_per_mille, ..Limits::default() });
        farm.submit(spec(16, 64));
        let mut workers: Vec<_> = (1..=24).map(worker).collect();
        for worker in &workers {
            farm.join(worker.node);
        }
        farm.work(&mut workers, Duration::from_secs(600));
        assert_eq!(farm.job().samples_done, farm.job().samples);
        farm.job().backup_samples
    };
    let samples = 16 * 16 * 64 * 64;
    let copied = run(50);
    assert!(copied > 0 && copied * 20 <= samples, "{copied} of {samples}");
    let copied = run(5);
    assert!(copied > 0 && copied * 200 <= samples, "{copied} of {samples}");
    assert_eq!(run(0), 0, "they can be turned off");
}

#[test]
fn slow_node_is_left_out_of_the_end_and_works_where_there_is_no_other() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(8, 16));
    farm.join(A);
    farm.join(B);
    let (slow, fast) = (farm.first_lease(A), farm.first_lease(B));
    farm.report(B, &fast, 10_000);
    farm.report(A, &slow, 10_000_000);
    // B needs 0.62 s for all that is left.
    assert_eq!(farm.leases_of(A), [], "it would be late by 9 s");
    assert_eq!(farm.leases_of(B).len(), 1);
    farm.leave(B);
    assert_eq!(farm.leases_of(A).len(), 1);
    assert_eq!(farm.finish_all(A, 10_000_000).len(), 62);
}

#[test]
fn time_that_is_left_is_foretold_from_what_each_rectangle_cost() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(2, 160));
    farm.join(A);
    assert_eq!(farm.job().left_ms, None, "nothing is known yet");
    // The first block of a rectangle takes 1, 2, 3 and 4 s, as the others will.
    for rect in 0..4 {
        let lease = farm.first_lease(A);
        assert_eq!((lease.tile.rect, lease.tile.range), (RectIndex(rect), BlockRange { level: 0, index: 0 }));
        farm.report(A, &lease, u64::from(rect + 1) * 1_000_000);
    }
    let left = farm.job().left_ms.expect("a node works on it");
    assert!((81_000..=99_000).contains(&left), "{left} ms of 90,000");
    // Of the costliest rectangle the other blocks come from elsewhere.
    for index in 1..10 {
        let tile =
            TileId { job: JOB, frame: FRAME, rect: RectIndex(3), range: BlockRange { level: 0, index } };
        farm.report_tile(A, LeaseId(1 << 30), tile, 4_000_000);
    }
    let left = farm.job().left_ms.expect("a node works on it");
    assert!((48_000..=60_000).contains(&left), "{left} ms of 54,000");
}

#[test]
fn slow_node_that_was_left_out_works_when_nobody_else_does() {
    let mut farm = Farm::new(Limits { leases_per_lane: 2, ..small_limits() });
    farm.submit(spec(8, 16));
    farm.join(B);
    let lease = farm.first_lease(B);
    farm.report(B, &lease, 10_000);
    farm.join(A);
    let slow = farm.first_lease(A);
    farm.report(A, &slow, 10_000_000);
    assert_eq!(farm.leases_of(A), [], "it would be late");
    let [lost, last] = <[Lease; 2]>::try_from(farm.leases_of(B)).expect("two leases for a lane");
    farm.fail(B, &lost, FailureKind::DeviceLost);
    assert_eq!(farm.leases_of(A), [], "the other one works yet");
    farm.report(B, &last, 10_000);
    assert_eq!(farm.leases_of(B), [], "it pauses");
    assert!(!farm.leases_of(A).is_empty());
}

#[test]
fn node_that_nobody_knows_is_given_one_lease_where_others_are_known() {
    let mut farm = Farm::new(Limits::default());
    farm.submit(spec(64, 16));
    farm.join(A);
    assert_eq!(farm.leases_of(A).len(), 3, "of the first one nothing can be known");
    let lease = farm.first_lease(A);
    farm.report(A, &lease, 1_000_000);
    farm.join(B);
    assert_eq!(farm.leases_of(B).len(), 1);
    let lease = farm.first_lease(B);
    farm.report(B, &lease, 1_000_000);
    assert_eq!(farm.leases_of(B).len(), 3);
}
