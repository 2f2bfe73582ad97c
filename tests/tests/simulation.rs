//! The farm under the deterministic simulator; see `farm_tests::simulation`.

use clap::ValueEnum;
use farm_core::Limits;
use farm_tests::simulation::frames::{Setting, frame_times, percentile};
use farm_tests::simulation::{Plant, Scenario, simulate, simulate_with};

fn check(scenarios: impl IntoIterator<Item = Scenario>) {
    for scenario in scenarios {
        if let Err(violation) = simulate(&scenario) {
            panic!("seed {} fails: {violation}\nreplay it: simulate --seed {}", scenario.seed, scenario.seed);
        }
    }
}

#[test]
fn every_property_holds_under_faults_for_the_first_seeds() {
    check((0..300).map(Scenario::of_seed));
}

#[test]
fn without_faults_nothing_but_copies_is_rendered_in_vain() {
    let mut copied = 0;
    for seed in 1000..1030 {
        let scenario = Scenario { faults: false, ..Scenario::of_seed(seed) };
        let report = simulate(&scenario).unwrap_or_else(|violation| panic!("seed {seed} fails: {violation}"));
        assert!(report.samples_wasted <= report.samples_copied, "seed {seed}: {report:?}");
        copied += report.samples_copied;
    }
    assert!(copied > 0, "there are late leases among these");
}

#[test]
fn every_planted_bug_is_caught_by_its_checker() {
    let missed: Vec<_> = Plant::value_variants().iter().filter(|plant| !is_caught(**plant)).collect();
    assert_eq!(missed, Vec::<&Plant>::new());
}

/// Whether one of the first seeds breaks a property that the plant should break.
fn is_caught(plant: Plant) -> bool {
    (0..500).any(|seed| {
        let scenario = match plant {
            Plant::PreferFirst => equal_jobs(seed),
            _ => Scenario::of_seed(seed),
        };
        simulate_with(&scenario, Some(plant)).is_err_and(|found| plant.breaks().contains(&found.property))
    })
}

/// Three equal jobs, and nodes enough that a node more or less is below 5 %.
fn equal_jobs(seed: u64) -> Scenario {
    let (nodes, tiles, equal_jobs) = (Some(60), Some(20_000), Some(3));
    Scenario { nodes, tiles, equal_jobs, faults: false, ..Scenario::of_seed(seed) }
}

#[test]
fn equal_jobs_get_equal_shares() {
    check((0..2).map(equal_jobs));
}

#[test]
fn same_seed_gives_the_same_run() {
    for seed in [3, 42, 77] {
        let scenario = Scenario::of_seed(seed);
        assert_eq!(simulate(&scenario), simulate(&scenario));
    }
}

#[test]
fn many_nodes_and_tiles_run_in_one_simulation() {
    check([Scenario { nodes: Some(1_000), tiles: Some(10_000), ..Scenario::of_seed(7) }]);
}

/// Of nodes whose speeds differ a thousandfold, 20 % die in a minute.
#[test]
fn frames_take_at_most_half_as_long_again_as_ideal_and_copies_save_a_third_or_more() {
    let times = |backup_per_mille| {
        let limits = Limits { backup_per_mille, ..Limits::default() };
        frame_times(&Setting { frames: 40, limits, ..Setting::of_seed(3) })
    };
    let (with, without) = (times(50), times(0));
    let last = |sorted: &[f64]| percentile(sorted, 99);
    assert!(last(&with.to_ideal) <= 1.5, "{:?}", with.to_ideal);
    assert!(last(&with.seconds) <= last(&without.seconds) * 2.0 / 3.0, "{with:?} {without:?}");
    assert!(with.most_copied > 0.0 && with.most_copied <= 0.05, "{}", with.most_copied);
    assert!(without.copied <= 0.0 && with.deaths > 100);
}
