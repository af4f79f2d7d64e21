//! The simulated world itself: links, disks, trackers, conducts and interferences do what they say.

use std::time::Duration;
use swarm_proto::geometry::Geometry;
use swarm_proto::swarm::{Event, Profile};
use swarm_sim::{Action, Conduct, Departure, Disk, HostConfig, HostIndex, Interference, Leave, Link, Target, World};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const LONG: Duration = Duration::from_secs(3_600);
const AT_ONCE: Duration = Duration::ZERO;
const SOON: Duration = Duration::from_millis(100);

fn world(total: u64, seed: u64) -> World {
    World::new(Geometry::new(total, 64 * KIB).expect("a valid shape"), seed).with_checking()
}

/// A world of one seed and so many leechers, all with 1 MiB/s.
fn small(total: u64, seed: u64, leechers: usize) -> World {
    let mut world = world(total, seed);
    world.add(HostConfig::seed(MIB), AT_ONCE);
    (0..leechers).for_each(|_| _ = world.add(HostConfig::leecher(MIB), SOON));
    world
}

fn seconds(time: Option<Duration>) -> f64 {
    time.expect("complete").as_secs_f64()
}

fn count(world: &World, host: HostIndex, wanted: impl Fn(&Event) -> bool) -> usize {
    world.events(host).iter().filter(|(_, event)| wanted(event)).count()
}

#[test]
fn a_downlink_is_what_limits_a_host_with_many_sources() {
    let mut world = world(4 * MIB, 1);
    (0..4).for_each(|_| _ = world.add(HostConfig::seed(4 * MIB), AT_ONCE));
    let link = Link::asymmetric(MIB, 512 * KIB);
    let leecher = world.add(HostConfig::leecher(MIB).with_link(link), SOON);
    assert!(world.run(LONG));
    let took = seconds(world.completed(leecher));
    assert!((8.0..9.0).contains(&took), "4 MiB at 512 KiB/s took {took} s");
}

#[test]
fn an_uplink_is_shared_evenly() {
    let mut world = world(4 * MIB, 2).with_profile(Profile::Lan);
    world.add(HostConfig::seed(MIB), AT_ONCE);
    let riders: Vec<_> =
        (0..4).map(|_| world.add(HostConfig::leecher(MIB).with_conduct(Conduct::FreeRide), SOON)).collect();
    world.run_until(Duration::from_secs(8));
    let got: Vec<u64> = riders.iter().map(|&rider| world.stats(rider).downloaded / KIB).collect();
    let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
    assert!(*least > 1_700 && most - least < 400, "{got:?} KiB of 8 MiB");
}

#[test]
fn latency_and_jitter_delay_but_never_reorder() {
    let run = |jitter| {
        let link = Link { latency: Duration::from_millis(50), jitter, ..Link::up(MIB) };
        let mut world = world(2 * MIB, 3);
        world.add(HostConfig::seed(MIB).with_link(link), AT_ONCE);
        let leecher = world.add(HostConfig::leecher(MIB).with_link(link), SOON);
        assert!(world.run(LONG));
        assert_eq!(world.traffic(), (2 * MIB, 0));
        seconds(world.completed(leecher))
    };
    // Tracker, connection and the first request take six times 0.1 s.
    let (steady, shaking) = (run(Duration::ZERO), run(Duration::from_millis(100)));
    assert!((2.5..3.5).contains(&steady) && shaking > steady && shaking < 6.0, "{steady} s, {shaking} s");
}

#[test]
fn nothing_passes_between_the_parts_of_a_partition() {
    let mut world = world(4 * MIB, 4);
    world.add(HostConfig::seed(MIB), AT_ONCE);
    let apart = Link { group: 1, ..Link::up(MIB) };
    let leecher = world.add(HostConfig::leecher(MIB).with_link(apart), SOON);
    world.partition(0, 1, Duration::from_secs(2)..Duration::from_secs(30));
    world.run_until(Duration::from_millis(2_100));
    let before = world.stats(leecher).downloaded;
    world.run_until(Duration::from_millis(29_900));
    assert_eq!(world.stats(leecher).downloaded, before, "bytes have crossed");
    assert!((MIB..4 * MIB).contains(&before), "{before}");
    assert!(world.run(LONG));
    assert!(seconds(world.completed(leecher)) < 45.0, "{:?}", world.completed(leecher));
}

#[test]
fn behind_a_nat_one_side_must_be_reachable() {
    let run = |seed_reachable, leecher_reachable| {
        let link = |reachable| Link { reachable, ..Link::up(MIB) };
        let mut world = world(MIB, 5);
        world.add(HostConfig::seed(MIB).with_link(link(seed_reachable)), AT_ONCE);
        world.add(HostConfig::leecher(MIB).with_link(link(leecher_reachable)), SOON);
        world.run(Duration::from_secs(900))
    };
    assert!(run(true, false));
    // The seed hears of the leecher at its next announce.
    assert!(run(false, true));
    assert!(!run(false, false));
}

#[test]
fn a_host_that_changes_its_address_is_found_again() {
    let mut world = small(8 * MIB, 6, 1);
    world.rehome_at(0, Duration::from_secs(3));
    world.rehome_at(1, Duration::from_secs(5));
    world.run_until(Duration::from_secs(6));
    let closed = |event: &Event| matches!(event, Event::PeerClosed { reason: None, .. });
    assert!(count(&world, 0, closed) >= 1, "{:?}", world.events(0));
    assert!(world.run(LONG), "{:?}", world.stats(1));
}

#[test]
fn connections_that_break_all_the_time_only_cost_time() {
    let link = Link { mean_connection_life: Some(Duration::from_secs(4)), ..Link::up(MIB) };
    let mut world = world(8 * MIB, 7);
    let seed = world.add(HostConfig::seed(MIB).with_link(link), AT_ONCE);
    (0..3).for_each(|_| _ = world.add(HostConfig::leecher(MIB).with_link(link), SOON));
    assert!(world.run(LONG));
    let broken = count(&world, seed, |event| matches!(event, Event::PeerClosed { reason: None, .. }));
    assert!(broken > 3, "{broken} connections broken");
}

#[test]
fn a_tracker_that_is_down_is_waited_for_unless_there_is_another() {
    let run = |trackers| {
        let mut world = world(MIB, 8).with_trackers(trackers);
        world.tracker_down(0, AT_ONCE..Duration::from_secs(60));
        world.add(HostConfig::seed(MIB), AT_ONCE);
        let leecher = world.add(HostConfig::leecher(MIB), SOON);
        assert!(world.run(LONG));
        seconds(world.completed(leecher))
    };
    let (one, two) = (run(1), run(2));
    assert!(one > 60.0 && one < 200.0 && two < 3.0, "{one} s with one tracker, {two} s with two");
}

#[test]
fn disks_are_slow_full_failing_and_corrupting() {
    let run = |disk: Disk| {
        let mut world = world(2 * MIB, 9);
        // Two: whoever sent a piece that memory or disk then spoilt is taken for its corrupter, and banned.
        (0..2).for_each(|_| _ = world.add(HostConfig::seed(MIB / 2), AT_ONCE));
        let leecher = world.add(HostConfig::leecher(MIB).with_disk(disk), SOON);
        assert!(world.run(LONG));
        let blocked = count(&world, leecher, |event| *event == Event::DiskBlocked);
        let failed = count(&world, leecher, |event| matches!(event, Event::PieceFailed(_)));
        (seconds(world.completed(leecher)), blocked, failed)
    };
    let (well, blocked, failed) = run(Disk::default());
    assert!(well < 2.4 && blocked + failed == 0, "{well} s");
    assert!(run(Disk::slow(256 * KIB)).0 >= 8.0);
    let full = vec![Duration::from_secs(1)..Duration::from_secs(10)];
    let (took, blocked, failed) = run(Disk { full, ..Disk::default() });
    assert!((10.0..45.0).contains(&took) && (blocked, failed) == (1, 0), "{took} s");
    assert_eq!(run(Disk { failing_writes: [3, 9].into(), ..Disk::default() }).1, 2);
    assert_eq!(run(Disk { corrupted_writes: [3].into(), ..Disk::default() }).2, 1);
}

#[test]
fn a_piece_that_cannot_be_read_is_lost_and_fetched_again() {
    let mut world = world(2 * MIB, 10);
    let failing = Disk { failing_reads: [40].into(), ..Disk::default() };
    let seed = world.add(HostConfig::seed(MIB).with_disk(failing), AT_ONCE);
    world.add(HostConfig::seed(MIB / 4), AT_ONCE);
    world.add(HostConfig::leecher(MIB), SOON);
    assert!(world.run(LONG));
    assert_eq!(count(&world, seed, |event| matches!(event, Event::PiecesLost(_))), 1);
    assert!(world.observe().availability.iter().all(|&copies| copies == 3));
}

#[test]
fn liars_rejecters_and_floods_keep_nobody_from_finishing() {
    let conducts =
        [Conduct::Lie, Conduct::RejectAll, Conduct::Flood { per_second: 200 }, Conduct::Corrupt { one_in: 9 }];
    for conduct in conducts {
        let mut world = small(4 * MIB, 11, 3);
        let odd = world.add(HostConfig::leecher(MIB).with_conduct(conduct), SOON);
        let done = |world: &World| (1..4).all(|host| world.completed(host).is_some());
        while !done(&world) && world.elapsed() < LONG {
            assert!(world.step());
        }
        let last = (1..4).map(|host| seconds(world.completed(host))).fold(0.0, f64::max);
        assert!(last < 15.0, "{conduct:?}: {last} s, {:?}", world.stats(odd));
    }
}

#[test]
fn hosts_go_when_and_how_they_are_told() {
    let mut world = small(4 * MIB, 12, 0);
    let stay = |config: HostConfig, leave, departure| HostConfig { departure, ..config.with_leave(leave) };
    let leecher = HostConfig::leecher(MIB);
    let after = Leave::After(Duration::from_secs(2));
    let timed = world.add(stay(leecher.clone(), after, Departure::Goodbye), SOON);
    let done = world.add(stay(leecher.clone(), Leave::Completed { linger: SOON }, Departure::Crash), SOON);
    let sated = world.add(stay(leecher.clone(), Leave::Uploaded(MIB), Departure::Vanish), SOON);
    world.add(leecher, SOON);
    assert!(world.run(LONG));
    world.run_until(world.elapsed() + Duration::from_secs(1));
    let seen = world.observe();
    assert_eq!(seen.hosts[timed].left, Some(Duration::from_millis(2_100)));
    assert_eq!(seen.hosts[done].left, seen.hosts[done].completed.map(|at| at + SOON));
    assert!(seen.hosts[sated].left.is_some_and(|left| left > SOON) && seen.hosts[sated].uploaded >= MIB);
    let present = seen.hosts.iter().filter(|host| host.present).count() as u32;
    assert_eq!(present, 2);
    assert!(seen.availability.iter().all(|&copies| copies == present), "{:?}", seen.availability);
}

#[test]
fn whatever_goes_wrong_once_nobody_stays_behind() {
    for target in Target::ALL {
        for &action in target.actions() {
            let plan = Interference { target, number: 3, action };
            let mut world = small(MIB, 13, 3).with_interference(plan);
            // One who can serve again what the seed has lost.
            world.add(HostConfig::seed(MIB / 8), AT_ONCE);
            assert!(world.run(LONG), "{plan:?}");
            let passed = world.passed(target);
            assert!(passed.reached && passed.carried_out == 1 && passed.count >= 3, "{plan:?}: {passed:?}");
        }
    }
    let mut world = small(MIB, 13, 3);
    assert!(world.run(LONG));
    let plain = world.digest();
    let never = Interference { target: Target::Block, number: 1 << 40, action: Action::Drop };
    let mut world = small(MIB, 13, 3).with_interference(never);
    assert!(world.run(LONG));
    assert!(!world.passed(Target::Block).reached);
    assert_eq!(world.digest(), plain, "what is never reached changes nothing");
}
