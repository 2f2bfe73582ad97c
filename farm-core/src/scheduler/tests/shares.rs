//! Who gets how much of the farm: weights, nodes of unequal power, ageing.

use std::time::Duration;

use super::works::{Worker, even};
use super::*;

/// A job that no test finishes: 100 frames of 64 × 64 rectangles.
fn endless(priority: i32, weight: u32) -> JobSpec {
    let frames = FrameRange { first: FRAME, last: FrameNumber(100) };
    JobSpec { frames, priority, weight, ..spec(64, 1024) }
}

/// Speeds over three orders of magnitude.
fn workers(count: u64, speed: fn(u64, JobId) -> u64) -> Vec<Worker> {
    let factor = |node: u64| 1000 << (node * 10 / count.max(1));
    (1..=count).map(|node| Worker::new(node, factor(node - 1), speed)).collect()
}

/// Checks that each job has its weight's share of what was done, within 5 %.
#[track_caller]
fn check_shares(done: &BTreeMap<JobId, f64>, weights: &[u32]) {
    let (sum, all): (f64, u32) = (done.values().sum(), weights.iter().sum());
    for (job, weight) in (1..).map(JobId).zip(weights) {
        let due = sum * f64::from(*weight) / f64::from(all);
        let share = done[&job] / due;
        assert!((share - 1.0).abs() <= 0.05, "job {job} of weight {weight} has {share:.3} of its share");
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share is known to a few digits")]
fn samples(done: BTreeMap<JobId, u64>) -> BTreeMap<JobId, f64> {
    done.into_iter().map(|(job, samples)| (job, samples as f64)).collect()
}

#[test]
fn each_job_has_its_weights_share_of_unequal_nodes_within_5_percent() {
    for (nodes, weights) in
        [(1, &[1, 1][..]), (3, &[1, 1]), (10, &[1, 2, 5]), (24, &[1, 1, 1, 9]), (40, &[1, 10])]
    {
        let mut farm = Farm::new(Limits::default());
        for weight in weights {
            farm.submit(endless(0, *weight));
        }
        let mut workers = workers(nodes, even);
        for worker in &workers {
            farm.join(worker.node);
        }
        for _ in 0..3 {
            let done = farm.work(&mut workers, Duration::from_secs(400));
            check_shares(&samples(done), weights);
        }
    }
}

/// Every third job costs ten times as much for a sample.
fn costly(factor: u64, job: JobId) -> u64 {
    if job.0.is_multiple_of(3) { factor / 10 } else { factor }
}

#[test]
fn shares_are_of_work_and_not_of_samples() {
    let mut farm = Farm::new(Limits::default());
    let weights = [1, 1, 2];
    for weight in weights {
        farm.submit(endless(0, weight));
    }
    let mut workers = workers(12, costly);
    for worker in &workers {
        farm.join(worker.node);
    }
    farm.work(&mut workers, Duration::from_secs(200));
    let mut done = samples(farm.work(&mut workers, Duration::from_secs(800)));
    *done.get_mut(&JobId(3)).expect("it is there") *= 10.0;
    check_shares(&done, &weights);
    let delivered = farm.scheduler.jobs().map(|job| (job.job, job.share.delivered_s)).collect();
    check_shares(&delivered, &weights);
}

#[test]
fn new_weight_counts_from_then_on_and_is_one_fact() {
    let mut farm = Farm::new(Limits::default());
    farm.submit(endless(0, 1));
    farm.submit(endless(0, 1));
    let mut workers = workers(10, even);
    for worker in &workers {
        farm.join(worker.node);
    }
    farm.work(&mut workers, Duration::from_secs(400));
    let facts = farm.journal.len();
    for _ in 0..2 {
        farm.handle(Command::WeighJob { request: 3, job: JobId(2), weight: 4 });
    }
    assert_eq!(farm.journal[facts..], [Fact::JobWeighted { job: JobId(2), weight: 4 }]);
    let done = farm.work(&mut workers, Duration::from_secs(400));
    check_shares(&samples(done), &[1, 4]);
    let share = farm.scheduler.job(JobId(2)).expect("it is there").share;
    assert_eq!((share.weight, share.per_mille), (4, 800));
    farm.restart(2);
    assert_eq!(farm.scheduler.spec(JobId(2)).map(|spec| spec.weight), Some(4), "it outlives the master");
    farm.effects();
    for weight in [0, 1001] {
        farm.handle(Command::WeighJob { request: 3, job: JobId(2), weight });
        let refused = farm.effects();
        let [Effect::Answer { answer: Err(RefusedReason::Spec(error)), .. }] = &refused[..] else {
            panic!("{refused:?}")
        };
        assert_eq!(error.to_string(), format!("the weight is {weight}; it must be 1 to 1000"));
    }
}

#[test]
fn job_that_comes_later_is_owed_nothing_for_the_time_before() {
    let mut farm = Farm::new(Limits::default());
    farm.submit(endless(0, 1));
    let mut workers = workers(10, even);
    for worker in &workers {
        farm.join(worker.node);
    }
    farm.work(&mut workers, Duration::from_secs(1000));
    farm.submit(endless(0, 1));
    let done = farm.work(&mut workers, Duration::from_secs(400));
    check_shares(&samples(done), &[1, 1]);
    farm.handle(Command::PauseJob { request: 1, job: JOB });
    farm.work(&mut workers, Duration::from_secs(1000));
    farm.handle(Command::ResumeJob { request: 1, job: JOB });
    let done = farm.work(&mut workers, Duration::from_secs(400));
    check_shares(&samples(done), &[1, 1]);
}

#[test]
fn node_changes_jobs_seldom() {
    let mut farm = Farm::new(Limits::default());
    farm.submit(endless(0, 1));
    farm.submit(endless(0, 1));
    let mut workers = [Worker::new(1, 1 << 20, even)];
    farm.join(NodeId(1));
    farm.work(&mut workers, Duration::from_secs(400));
    let accepted = farm.journal.iter().filter_map(|fact| match fact {
        Fact::TileAccepted { tile, .. } => Some(tile.job),
        _ => None,
    });
    let jobs: Vec<_> = accepted.collect();
    let changes = jobs.windows(2).filter(|pair| pair[0] != pair[1]).count();
    // Ahead by half of the slack, then behind by as much, and leases in flight.
    assert!((20..=90).contains(&changes), "{changes} changes in 400 s");
}

#[test]
fn waiting_job_rises_to_the_level_of_the_others_and_shares_it() {
    let step = Duration::from_secs(100);
    let mut farm = Farm::new(Limits { ageing_step: step, ..Limits::default() });
    farm.submit(endless(3, 1));
    farm.submit(endless(1, 1));
    let mut workers = workers(4, even);
    for worker in &workers {
        farm.join(worker.node);
    }
    let level = |farm: &Farm| farm.scheduler.job(JobId(2)).expect("it is there").share.level;
    let done = farm.work(&mut workers, step * 2 - Duration::from_millis(1));
    assert_eq!((done[&JobId(2)], level(&farm)), (0, 2), "the higher priority goes first");
    let waits = farm.scheduler.job(JobId(2)).expect("it is there").explanation;
    assert!(
        waits.starts_with("waiting: 4 nodes are busy with job 1, which has a higher priority"),
        "{waits}"
    );
    assert!(waits.ends_with("; by waiting it rose to priority 2"), "{waits}");
    farm.work(&mut workers, Duration::from_secs(60));
    let done = farm.work(&mut workers, Duration::from_secs(400));
    check_shares(&samples(done), &[1, 1]);
    assert_eq!(level(&farm), 3, "it rises no further than the highest");
    farm.handle(Command::PrioritizeJob { request: 1, job: JobId(2), priority: 0 });
    assert_eq!(level(&farm), 0, "a person's word counts from now");
}

#[test]
fn job_that_never_began_has_waited_since_its_submission_also_in_the_next_life() {
    let step = Duration::from_secs(100);
    let mut farm = Farm::new(Limits { ageing_step: step, ..Limits::default() });
    farm.submit(endless(3, 1));
    farm.submit(endless(1, 1));
    farm.now = farm.now.after(step * 2);
    farm.restart(2);
    farm.leases.clear();
    farm.handle(Command::Tick);
    farm.handle(Command::Tick);
    let levels: Vec<_> = farm.scheduler.jobs().map(|job| job.share.level).collect();
    assert_eq!(levels, [3, 3]);
}

#[test]
fn job_that_no_node_could_take_is_owed_a_minute_of_its_share() {
    let mut farm = Farm::new(Limits::default());
    farm.submit(endless(0, 1));
    farm.submit(endless(0, 1));
    let mut workers = workers(10, even);
    for worker in &workers {
        farm.join(worker.node);
    }
    // It is too large for every node that comes to it, until it is tried again.
    let too_large = |(_, lease): &(&(NodeId, LeaseId), &Lease)| lease.tile.job == JobId(2);
    for _ in 0..100 {
        while let Some((&(node, _), lease)) = farm.leases.iter().find(too_large) {
            let lease = lease.clone();
            farm.fail(node, &lease, FailureKind::OutOfMemory);
        }
        farm.work(&mut workers, Duration::from_secs(1));
    }
    assert_eq!(farm.scheduler.floor.jobs[&JobId(2)].excluded.len(), workers.len());
    let done = farm.work(&mut workers, Duration::from_secs(2000));
    assert_eq!(done[&JobId(2)], 0);
    farm.handle(Command::RetryJob { request: 1, job: JobId(2) });
    let done = samples(farm.work(&mut workers, Duration::from_secs(150)));
    let late = done[&JobId(2)] / (done[&JobId(1)] + done[&JobId(2)]);
    // A minute of its half is half a minute of the farm, and of the other two
    // minutes it has a half; give or take the slack, 10 s.
    assert!((0.55..=0.65).contains(&late), "it has {late:.2} of what was done");
    check_shares(&samples(farm.work(&mut workers, Duration::from_secs(400))), &[1, 1]);
}

#[test]
fn what_was_not_delivered_is_not_charged() {
    let mut farm = Farm::new(Limits::default());
    farm.submit(endless(0, 1));
    let pass = |farm: &Farm| farm.scheduler.floor.jobs[&JOB].stake.pass;
    farm.join(NodeId(1));
    assert!(pass(&farm) > 0, "a lease is charged when it is granted");
    farm.leave(NodeId(1));
    assert_eq!(pass(&farm), 0);
}

#[test]
fn waiting_counts_anew_from_a_persons_word() {
    let step = Duration::from_secs(100);
    let mut farm = Farm::new(Limits { ageing_step: step, ..Limits::default() });
    farm.submit(endless(3, 1));
    farm.submit(endless(0, 1));
    let mut workers = workers(2, even);
    for worker in &workers {
        farm.join(worker.node);
    }
    let level = |farm: &Farm| farm.scheduler.job(JobId(2)).expect("it is there").share.level;
    farm.work(&mut workers, step * 3 / 2);
    assert_eq!(level(&farm), 1);
    farm.handle(Command::PrioritizeJob { request: 1, job: JobId(2), priority: -1 });
    farm.work(&mut workers, step * 3 / 4);
    assert_eq!(level(&farm), -1, "the half step before counts no more");
    farm.work(&mut workers, step / 2);
    assert_eq!(level(&farm), 0);
}

#[test]
fn nodes_that_were_not_measured_yet_count_for_what_a_job_is_owed() {
    let mut farm = Farm::new(Limits::default());
    farm.submit(endless(0, 1));
    let needs = crate::job::Needs { tags: vec!["gpu".into()], ..Default::default() };
    farm.submit(JobSpec { needs, ..endless(0, 1) });
    let mut workers = workers(10, even);
    for worker in &workers {
        farm.join(worker.node);
    }
    let done = farm.work(&mut workers, Duration::from_secs(2000));
    assert_eq!(done[&JobId(2)], 0);
    for worker in &mut workers {
        farm.leave(worker.node);
        let equipment = Equipment { tags: vec!["gpu".into()], ..Equipment::default() };
        farm.handle(Command::JoinNode { node: worker.node, lanes: 1, equipment, holding: Vec::new() });
        *worker = Worker::new(worker.node.0, worker.factor, even);
    }
    let done = samples(farm.work(&mut workers, Duration::from_secs(300)));
    let late = done[&JobId(2)] / (done[&JobId(1)] + done[&JobId(2)]);
    // A half, and of the first minute or so the other half too.
    assert!((0.55..=0.75).contains(&late), "it has {late:.2} of what was done");
}
