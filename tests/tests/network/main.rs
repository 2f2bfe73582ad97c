//! The real drivers of master and nodes over simulated networks: turmoil's hosts,
//! each with its own runtime and its own clock, and QUIC over its datagrams. What
//! the farm does takes the time that it would take, and the test next to none.
//! The simulator (`farm_tests::simulation`) has more faults and millions of runs;
//! this has the code that it leaves out: endpoints, connections, streams, stores.

#![cfg(unix)]

mod attacks;
mod farm;
mod journal;
mod socket;

use std::time::Duration;

use farm_tests::random::Random;

use crate::farm::{Account, Fault, MASTER, Weather, expected_picture, node, run};

const NODES: usize = 3;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn check(account: &Account, weather: Weather) {
    assert_eq!(account.picture(), Some(expected_picture()), "{weather:?}: {account:?}");
}

#[test]
fn farm_of_three_nodes_takes_a_third_of_the_time() {
    let weather = Weather::fair(1);
    let account = run(weather, NODES, &[]);
    check(&account, weather);
    let taken = account.done - account.submitted;
    assert!(taken >= seconds(32) && taken <= seconds(40), "{taken:?}");
}

#[test]
fn network_that_loses_delays_repeats_and_reorders_costs_time_and_not_the_picture() {
    for seed in 0..3 {
        let weather = Weather::foul(seed);
        check(&run(weather, NODES, &[]), weather);
    }
}

#[test]
fn node_that_is_cut_off_is_noticed_in_time_and_comes_back() {
    let weather = Weather::fair(2);
    let (cut, mended) = (seconds(15), seconds(30));
    let faults = [(cut, Fault::Cut(node(2))), (mended, Fault::Mend(node(2)))];
    let account = run(weather, NODES, &faults);
    check(&account, weather);
    let gone = account.first(NODES - 1, cut).expect("it is noticed");
    // QUIC's idle timeout of 3 s begins anew with the first packet that is sent after
    // the last that came (RFC 9000, 10.1), up to a keep-alive's 0.5 s later; and the
    // artist looks every 50 ms.
    assert!(gone <= cut + Duration::from_millis(3700), "{gone:?}");
    let back = account.first(NODES, mended).expect("it comes back");
    assert!(back <= mended + seconds(15), "{back:?}");
}

#[test]
fn killed_master_goes_on_and_its_nodes_resume_what_they_hold() {
    let weather = Weather::fair(3);
    let killed = seconds(15);
    let started = killed + seconds(5);
    let faults = [(killed, Fault::Crash(MASTER.into())), (started, Fault::Start(MASTER.into()))];
    let account = run(weather, NODES, &faults);
    check(&account, weather);
    // What the nodes had begun goes on without the master, and they are back in
    // a few seconds: at most what they were idle for is lost.
    let taken = account.done - account.submitted;
    assert!(taken <= seconds(40 + 5 + 10), "{taken:?}");
}

#[test]
fn killed_node_costs_no_more_than_it_held() {
    let weather = Weather::fair(4);
    let faults = [(seconds(15), Fault::Crash(node(1)))];
    let account = run(weather, NODES, &faults);
    check(&account, weather);
    let taken = account.done - account.submitted;
    assert!(taken <= seconds(60), "{taken:?}");
}

#[test]
fn messages_that_were_held_back_for_long_change_nothing() {
    let weather = Weather::fair(5);
    let faults = [
        (seconds(12), Fault::Hold(node(1))),
        (seconds(14), Fault::Release(node(1))),
        (seconds(20), Fault::Hold(node(2))),
        (seconds(32), Fault::Release(node(2))),
    ];
    check(&run(weather, NODES, &faults), weather);
}

/// `STORMS=10-200` in the environment is for more of them than a test run wants.
#[test]
fn storms_end_with_the_same_picture() {
    let seeds = std::env::var("STORMS").unwrap_or_else(|_| "10-12".to_owned());
    let (first, last) = seeds.split_once('-').expect("the first seed, a minus and the last");
    let [first, last] = [first, last].map(|seed| seed.parse().expect("a seed is a number"));
    for seed in first..=last {
        let weather = Weather::foul(seed);
        check(&run(weather, NODES, &storm(seed)), weather);
    }
}

/// A minute and a half in which hosts die and are cut off, one after another, each
/// for some seconds.
fn storm(seed: u64) -> Vec<(Duration, Fault)> {
    let mut random = Random::new(seed);
    let mut faults = Vec::new();
    let mut at = 8_000;
    while at < 90_000 {
        let host = match random.index(NODES + 1) {
            0 => MASTER.to_owned(),
            number => node(number),
        };
        let [begins, ends]: [fn(String) -> Fault; 2] = match random.index(3) {
            _ if host == MASTER => [Fault::Crash, Fault::Start],
            0 => [Fault::Crash, Fault::Start],
            1 => [Fault::Cut, Fault::Mend],
            _ => [Fault::Hold, Fault::Release],
        };
        let until = at + random.between(200, 8_000);
        faults.push((Duration::from_millis(at), begins(host.clone())));
        faults.push((Duration::from_millis(until), ends(host)));
        at = until + random.between(200, 5_000);
    }
    faults
}
