//! Which nodes a job is granted to: tags, memory, what they hold.

use super::*;
use crate::job::Needs;

impl Farm {
    fn join_with(&mut self, node: NodeId, equipment: Equipment) {
        self.handle(Command::JoinNode { node, lanes: 1, equipment, holding: Vec::new() });
    }

    fn jobs_of(&self, node: NodeId) -> Vec<u64> {
        self.leases_of(node).iter().map(|lease| lease.tile.job.0).collect()
    }
}

fn tagged(tags: &[&str]) -> Equipment {
    Equipment { tags: words(tags), ..Equipment::default() }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn requiring(tags: &[&str]) -> JobSpec {
    JobSpec { needs: Needs { tags: words(tags), ..Needs::default() }, ..spec(8, 64) }
}

const GIB: u64 = 1 << 30;

#[test]
fn job_goes_to_nodes_with_all_of_its_tags_only() {
    let mut farm = Farm::new(small_limits());
    farm.submit(requiring(&["fast", "gpu"]));
    farm.join_with(A, tagged(&["gpu"]));
    farm.join_with(B, tagged(&["gpu", "night", "fast"]));
    assert_eq!((farm.jobs_of(A), farm.jobs_of(B)), (vec![], vec![1]));
    farm.submit(spec(8, 64));
    assert_eq!((farm.jobs_of(A), farm.jobs_of(B)), (vec![2], vec![1]));
    farm.leave(B);
    let view = farm.job();
    assert_eq!(view.status, JobStatus::Stranded);
    assert_eq!(view.explanation, "waiting: no connected node has the tag `fast`");
    farm.join_with(B, tagged(&["fast"]));
    assert_eq!(farm.job().explanation, "waiting: no connected node has all of the tags `fast`, `gpu`");
    assert_eq!(farm.jobs_of(B), [2]);
}

#[test]
fn job_goes_to_nodes_with_enough_memory_only() {
    let mut farm = Farm::new(small_limits());
    let needs = Needs { memory_bytes: 12 * GIB, ..Needs::default() };
    farm.submit(JobSpec { needs, ..spec(8, 64) });
    let with = |gib: u64| Equipment { memory_bytes: Some(gib * GIB), ..Equipment::default() };
    farm.join_with(A, with(8));
    assert_eq!(farm.jobs_of(A), Vec::<u64>::new());
    assert_eq!(
        farm.job().explanation,
        "waiting: it needs 12.0 GiB of memory on each lane, and of the connected nodes none has more than 8.0 GiB"
    );
    farm.join_with(B, with(12));
    farm.join_with(C, Equipment::default());
    assert_eq!((farm.jobs_of(B), farm.jobs_of(C)), (vec![1], vec![1]), "enough, and not known");
}

#[test]
fn tile_that_failed_is_tried_again_where_no_other_node_has_the_tags() {
    let mut farm = Farm::new(Limits { attempts_per_tile: 9, ..small_limits() });
    farm.submit(JobSpec { needs: requiring(&["gpu"]).needs, ..spec(1, 16) });
    farm.join_with(A, tagged(&["gpu"]));
    farm.join(B);
    let lease = farm.first_lease(A);
    farm.fail(A, &lease, FailureKind::Render);
    farm.wait(Limits::default().backoff_max);
    assert_eq!(farm.first_lease(A).tile, lease.tile, "B could take it, but for its tags");
}

#[test]
fn tags_are_known_whoever_comes_first_and_forgotten_with_their_job() {
    let mut farm = Farm::new(Limits { required_tags: 2, ..small_limits() });
    farm.join_with(A, tagged(&["c", "b"]));
    farm.submit(requiring(&["a"]));
    farm.submit(requiring(&["b"]));
    assert_eq!(farm.jobs_of(A), [2]);
    farm.effects();
    farm.submit(requiring(&["c"]));
    let refused = Effect::Answer { request: 1, answer: Err(RefusedReason::TooManyTags(2)) };
    assert_eq!(farm.effects(), [refused]);
    farm.submit(requiring(&["a", "b"]));
    assert_eq!(farm.scheduler.jobs().count(), 3, "no tag is new");
    farm.handle(Command::CancelJob { request: 1, job: JobId(3) });
    farm.handle(Command::CancelJob { request: 1, job: JOB });
    farm.submit(requiring(&["c"]));
    farm.handle(Command::CancelJob { request: 1, job: JobId(2) });
    assert_eq!(farm.jobs_of(A), [4], "the bit of `a` is now that of `c`");
}

#[test]
fn needs_that_cannot_be_are_refused() {
    let mut farm = Farm::new(Limits { tags_per_job: 2, tag_bytes: 4, ..small_limits() });
    for (tags, field) in [
        (&["a", "b", "c"][..], "the number of tags"),
        (&[""], "a tag"),
        (&["two words"], "a tag"),
        (&["fiver"], "a tag"),
        (&["b", "a"], "the list of tags"),
        (&["a", "a"], "the list of tags"),
    ] {
        farm.effects();
        farm.submit(requiring(tags));
        let answer = farm.effects();
        let [Effect::Answer { answer: Err(RefusedReason::Spec(error)), .. }] = &answer[..] else {
            panic!("{tags:?}: {answer:?}")
        };
        assert_eq!(error.field, field);
    }
}

#[test]
fn node_that_holds_a_scene_takes_its_job_of_equals() {
    let mut farm = Farm::new(small_limits());
    farm.submit(spec(8, 64));
    farm.submit(JobSpec { scene: blob(40), ..spec(8, 64) });
    let holding = Equipment { scenes: vec![blob(40)], ..Equipment::default() };
    farm.join_with(A, holding.clone());
    assert_eq!(farm.jobs_of(A), [2], "the other one is older");
    farm.join_with(B, holding.clone());
    assert_eq!(farm.jobs_of(B), [2], "both are as near as that");
    for _ in 0..40 {
        let lease = farm.first_lease(A);
        farm.report(A, &lease, 1_000_000);
    }
    let done: Vec<_> = farm.scheduler.jobs().map(|job| job.samples_done).collect();
    assert!(done[0] > done[1] / 2, "what it holds does not decide over the share: {done:?}");
    farm.handle(Command::CancelJob { request: 1, job: JobId(2) });
    assert_eq!(farm.jobs_of(B), [1], "nor does it leave a node idle");
}

#[test]
fn cheaper_download_goes_first_of_equals() {
    let mut farm = Farm::new(small_limits());
    for (scene, download_bytes) in [(50, 3 * GIB), (51, GIB), (52, 2 * GIB)] {
        let needs = Needs { download_bytes, ..Needs::default() };
        farm.submit(JobSpec { scene: blob(scene), needs, ..spec(8, 64) });
    }
    farm.join(A);
    assert_eq!(farm.jobs_of(A), [2]);
}
