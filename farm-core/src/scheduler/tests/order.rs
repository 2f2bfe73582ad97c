//! What is granted to whom, in which order and of which size.

use super::*;

#[test]
fn first_block_of_every_rectangle_comes_first() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(3, 64));
    farm.join(A);
    farm.join(B);
    let mut order = Vec::new();
    for _ in 0..36 {
        // So slow that a lease is a single block.
        for node in [A, B] {
            for lease in farm.leases_of(node) {
                order.push(lease.tile);
                farm.report(node, &lease, 10_000_000);
            }
        }
    }
    let firsts: Vec<_> = order[..9].iter().map(|tile| (tile.rect.0, tile.range.start())).collect();
    assert_eq!(firsts, (0..9).map(|rect| (rect, 0)).collect::<Vec<_>>());
    assert_eq!(order.len(), 36, "each of the 4 blocks of 9 rectangles, once");
    assert_eq!(farm.job().samples_done, farm.job().samples);
}

#[test]
fn fast_node_takes_whole_rectangles() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(4, 1024));
    farm.join(A);
    let probe = farm.first_lease(A);
    assert_eq!((probe.tile.range.level, probe.tile.range.start()), (0, 0), "the speed is not known yet");
    farm.report(A, &probe, 100);
    let next = farm.first_lease(A);
    assert_eq!(next.tile.range, crate::tile::BlockRange::root(64));
    assert_ne!(next.tile.rect, probe.tile.rect);
}

#[test]
fn lease_takes_its_target_time_by_measured_speed() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(1, 1 << 14));
    farm.join(A);
    let probe = farm.first_lease(A);
    // 1024 samples in 0.1 s: 2 s are 20 blocks, and the largest dyadic is 16.
    farm.report(A, &probe, 100_000);
    assert_eq!(farm.first_lease(A).tile.range.level, 4);
}

#[test]
fn leases_shrink_at_the_end_so_that_no_node_works_on_alone() {
    let mut farm = Farm::new(Limits { leases_per_lane: 2, leases_per_lane_max: 2, ..Limits::default() });
    farm.submit(spec(4, 4096));
    for node in [A, B, C] {
        farm.join(node);
    }
    let total = farm.job().samples;
    let mut left = total;
    let mut last_sizes = Vec::new();
    while farm.job().samples_done < total {
        for node in [A, B, C] {
            let Some(lease) = farm.leases_of(node).into_iter().next() else { continue };
            let size = u64::from(lease.tile.range.samples(4096)) * 64;
            farm.report(node, &lease, size / 1000);
            left -= size;
            last_sizes.push((size, left));
        }
    }
    // A lease was granted when at most this much more was left than when it was
    // reported: its own size and the five other leases of the time.
    for (at, (size, left)) in last_sizes.iter().enumerate().skip(6) {
        let in_flight: u64 = last_sizes[at - 6..=at].iter().map(|(size, _)| size).sum();
        let block = 16 * 64;
        assert!(*size <= block.max((left + in_flight) / 12), "{size} of {left} left");
    }
    let (smallest, _) = *last_sizes.last().expect("something was rendered");
    assert_eq!(smallest, 16 * 64, "the last lease is a single block");
}

#[test]
fn short_leases_are_queued_deeper_to_hide_the_wire() {
    let mut farm = Farm::new(Limits::default());
    farm.submit(spec(64, 16));
    farm.join(A);
    for _ in 0..3 {
        assert_eq!(farm.leases_of(A).len(), 3, "as long as some lease is of unknown length");
        let lease = farm.first_lease(A);
        farm.report(A, &lease, 100);
    }
    assert_eq!(farm.leases_of(A).len(), 64);
}

#[test]
fn higher_priority_goes_first_and_equal_jobs_share_the_nodes() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(8, 64));
    farm.submit(JobSpec { priority: 5, ..spec(1, 16) });
    farm.submit(spec(8, 64));
    let jobs = |farm: &Farm| [A, B, C].map(|node| farm.leases_of(node).first().map(|lease| lease.tile.job.0));
    farm.join(A);
    assert_eq!(jobs(&farm), [Some(2), None, None]);
    farm.join(B);
    farm.join(C);
    assert_eq!(jobs(&farm), [Some(2), Some(1), Some(3)], "job 1 has a node already when C comes");
    assert_eq!(farm.job().explanation, "running on 1 node");
    farm.finish_one(A);
    assert_eq!(jobs(&farm)[0], Some(1), "the older of two with one node each");
    for _ in 0..4 {
        farm.finish_one(A);
        farm.finish_one(B);
    }
    assert_eq!(jobs(&farm), [Some(1), Some(1), Some(3)], "nodes do not wander between jobs");
}

impl Farm {
    fn finish_one(&mut self, node: NodeId) {
        let lease = self.first_lease(node);
        self.report(node, &lease, 500_000);
    }
}

#[test]
fn frames_go_first_to_last() {
    let mut farm = Farm::new(small_limits());
    let frames = FrameRange { first: FrameNumber(3), last: FrameNumber(5) };
    farm.submit(JobSpec { frames, ..spec(2, 16) });
    farm.join(A);
    let order: Vec<_> = farm.finish_all(A, 1000).iter().map(|lease| lease.tile.frame.0).collect();
    assert_eq!(order, [3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5]);
}

#[test]
fn paused_cancelled_and_failed_jobs_are_granted_nothing() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(4, 16));
    farm.handle(Command::PauseJob { request: 2, job: JOB });
    farm.join(A);
    assert_eq!((farm.leases_of(A).len(), farm.job().status), (0, JobStatus::Paused));
    farm.handle(Command::ResumeJob { request: 3, job: JOB });
    assert_eq!((farm.leases_of(A).len(), farm.job().status), (1, JobStatus::Running));
    farm.handle(Command::CancelJob { request: 4, job: JOB });
    assert_eq!((farm.leases_of(A).len(), farm.job().status), (0, JobStatus::Cancelled));
}

#[test]
fn an_idle_farm_says_why_a_job_waits() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(1, 16));
    assert_eq!(farm.job().explanation, "waiting: no node is connected");
    farm.join(A);
    assert_eq!(farm.job().explanation, "running on 1 node");
    farm.submit(JobSpec { priority: 9, ..spec(2, 16) });
    farm.leave(A);
    farm.join(A);
    assert_eq!(farm.job().explanation, "waiting: 1 node is busy with job 2, which has a higher priority");
    let lease = farm.first_lease(A);
    farm.handle(Command::CancelJob { request: 2, job: JobId(2) });
    assert!(farm.effects().contains(&Effect::Revoke { node: A, lease: lease.id }));
    farm.handle(Command::DrainNode(A));
    farm.finish_all(A, 100);
    assert_eq!(farm.job().explanation, "writing 1 frame");
    farm.handle(Command::ReportFrameFailure { job: JOB, frame: FRAME, message: "disk full".into() });
    assert_eq!(farm.job().explanation, "waiting to try again: frame 0001 could not be written: disk full");
}
