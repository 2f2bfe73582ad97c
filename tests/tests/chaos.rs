//! A short storm over real programs on loopback; `make chaos` is the long one.

use farm_core::Limits;
use farm_tests::chaos::{Plan, Weather, run};

#[tokio::test]
async fn picture_is_the_same_when_the_master_and_a_quarter_of_the_nodes_are_killed() {
    let plan = Plan { nodes: 4, edge: 96, samples_per_pixel: 128, in_namespaces: false };
    let calm = run(&plan, Weather::Calm).await.expect("nothing happens to it");
    let copied_at_most = calm.samples * Limits::default().backup_per_mille / 1000;
    let twice = calm.rendered - calm.samples;
    assert!(twice <= copied_at_most, "without blows nothing but copies is rendered twice: {twice}");
    let killed = run(&plan, Weather::Killed(1)).await.expect("the job ends");
    assert_eq!(killed.blows.len(), 2, "{:?}", killed.blows);
    assert_eq!(killed.pixel_digest, calm.pixel_digest);
    assert_eq!(killed.rendered_again, Vec::<String>::new());
}

#[tokio::test]
async fn nodes_that_are_renewed_one_after_another_lose_next_to_nothing() {
    let plan = Plan { nodes: 3, edge: 96, samples_per_pixel: 256, in_namespaces: false };
    let renewed = run(&plan, Weather::Renewed(1)).await.expect("the job ends");
    assert_eq!(renewed.blows.len(), 3, "{:?}", renewed.blows);
    assert_eq!(renewed.rendered_again, Vec::<String>::new());
    // A lane's block is 16 of 256 samples of one of 9 rectangles, and copies come on top.
    let block = renewed.samples / (16 * 9);
    let copied_at_most = renewed.samples * Limits::default().backup_per_mille / 1000;
    let twice = renewed.rendered.saturating_sub(renewed.samples);
    assert!(twice <= 3 * block + copied_at_most, "{twice} of {}", renewed.samples);
}
