//! The farm under the deterministic simulator; see `farm_tests::simulation`.

use farm_tests::simulation::{Scenario, simulate};

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
fn nothing_is_rendered_in_vain_without_faults() {
    for seed in 1000..1030 {
        let scenario = Scenario { faults: false, ..Scenario::of_seed(seed) };
        let report = simulate(&scenario).unwrap_or_else(|violation| panic!("seed {seed} fails: {violation}"));
        assert_eq!(report.samples_wasted, 0, "seed {seed}");
    }
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
