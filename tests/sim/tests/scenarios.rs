//! Every scenario, made small: it runs to its end, and to the same end each time.

use swarm_sim::Measures;
use swarm_sim::scenarios::{self, Scenario, Settings};

const MIB: u64 = 1024 * 1024;

fn small(scenario: &Scenario, seed: u64) -> Measures {
    let settings = Settings { bytes: 8 * MIB, piece_length: MIB / 16, ..Settings::new(20, seed) };
    scenario.run(&settings).1
}

#[test]
fn every_scenario_ends_with_everybody_complete() {
    for scenario in scenarios::ALL {
        // Whether the swarm survives its seed is a matter of policy, and of chance.
        let may_fail = scenario.name == "seed-leaves";
        for seed in 0..3 {
            let run = small(scenario, seed);
            assert!(run.all_complete || may_fail, "{} from seed {seed}: {run:?}", scenario.name);
            assert!(run.last >= run.limit || !run.all_complete, "{} beats physics: {run:?}", scenario.name);
            assert!(run.uplink_use > 0.0 && run.uplink_use <= 1.0, "{}: {run:?}", scenario.name);
        }
    }
}

#[test]
fn every_scenario_is_repeatable_from_its_seed() {
    for scenario in scenarios::ALL {
        let [one, same, other] = [7, 7, 8].map(|seed| small(scenario, seed));
        assert_eq!((one.digest, one.happenings), (same.digest, same.happenings), "{}", scenario.name);
        assert_ne!(one.digest, other.digest, "{}", scenario.name);
    }
}

#[test]
fn scenarios_are_found_by_their_names() {
    for scenario in scenarios::ALL {
        assert!(scenarios::find(scenario.name).is_some_and(|found| std::ptr::eq(found, scenario)));
    }
    assert!(scenarios::find("no-such").is_none());
}
