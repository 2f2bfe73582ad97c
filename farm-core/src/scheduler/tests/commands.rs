//! What people ask of a farm that works: other priorities.

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
