//! One fault at every place of a small run, for two small worlds: two seeds and three leechers with all extensions,
//! and one seed and two leechers, machines of one owner, with nothing but BEP 3.
//!
//! Whatever the fault, everybody completes, the invariants hold after every step, and the waste stays below a bound.

use std::time::Duration;
use swarm_proto::geometry::Geometry;
use swarm_proto::swarm::{Event, Profile};
use swarm_proto::wire::Reserved;
use swarm_sim::sweep::Sweep;
use swarm_sim::{Action, HostConfig, Interference, Target, World};

const KIB: u64 = 1024;
const PIECE: u64 = 32 * KIB;
/// Two whole pieces and a short one.
const TOTAL: u64 = 2 * PIECE + 17_000;
const UPLINK: u64 = 400 * KIB;
/// Longer than an undisturbed run takes.
const LATE: Action = Action::Delay(Duration::from_secs(5));

#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Two seeds, three leechers, strangers, with the extensions.
    Five,
    /// One seed, two leechers, of one owner, without any extension.
    Three,
}

impl Shape {
    fn world(self) -> World {
        let geometry = Geometry::new(TOTAL, PIECE).expect("a valid shape");
        let (seeds, leechers, profile, extensions) = match self {
            Self::Five => (2, 3u64, Profile::Public, true),
            Self::Three => (1, 2, Profile::Lan, false),
        };
        let latency = Duration::from_millis(20);
        let mut world = World::new(geometry, 5).with_latency(latency).with_profile(profile).with_checking();
        let reserved = Reserved { fast: extensions, extended: extensions };
        let plain = |config: HostConfig| HostConfig { reserved, ..config };
        (0..seeds).for_each(|_| _ = world.add(plain(HostConfig::seed(UPLINK)), Duration::ZERO));
        let after = |number: u64| Duration::from_millis(10 * number);
        (0..leechers).for_each(|number| _ = world.add(plain(HostConfig::leecher(UPLINK)), after(number)));
        world
    }

    /// What the run wastes without any fault: with so few blocks it is all end game.
    fn clean_waste(self) -> u64 {
        let mut world = self.world();
        assert!(world.run(Duration::from_secs(10)), "{self:?} without a fault");
        world.traffic().1
    }
}

/// What one fault may cost.
#[derive(Clone, Copy)]
struct Cost {
    /// Seconds until everybody is complete.
    seconds: u64,
    /// Pieces wasted beyond what is wasted without a fault.
    pieces: u64,
    /// Peers banned by one run at the most.
    bans: u32,
}

/// A fault that costs nothing but a detour. So few pieces are all end game, of which any detour makes another one.
const LITTLE: Cost = Cost { seconds: 10, pieces: 7, bans: 0 };

/// A piece that is wrong without a culprit is fetched once more from one peer alone, and for so few peers and pieces that
/// is a longer end game. Whoever sent a wrong block has not proved itself yet, and may be shut out.
const SPOILED: Cost = Cost { pieces: 8, bans: 1, ..LITTLE };

/// Sweeps both worlds and returns how many faults there were.
fn sweep(target: Target, action: Action, cost: Cost) -> u64 {
    let (limit, afterwards) = (Duration::from_secs(cost.seconds), Duration::from_secs(cost.seconds.max(15)));
    let of = |shape: Shape| {
        let most_wasted = shape.clean_waste() + cost.pieces * PIECE;
        let judge = |world: &World, fault: Interference| {
            let wasted = world.traffic().1;
            assert!(wasted <= most_wasted, "{shape:?}, {fault:?}: {wasted} of {most_wasted} bytes wasted");
            let banned: u32 = (0..world.host_count()).map(|host| world.stats(host).banned_peers).sum();
            assert!(banned <= cost.bans, "{shape:?}, {fault:?}: {banned} banned");
            assert!(world.is_done() || is_gone_for_good(world, fault), "{shape:?}, {fault:?}: not complete");
        };
        let swept = Sweep { target, action, limit, afterwards }.run(|| shape.world(), judge);
        println!("{target:?} {action:?} {shape:?}: {swept:?}");
        swept.injected
    };
    of(Shape::Five) + of(Shape::Three)
}

/// The only seed could not read a piece before anybody else had it: nobody can complete, and it is nobody's fault. Then
/// everybody has all the other pieces.
fn is_gone_for_good(world: &World, fault: Interference) -> bool {
    let lost = world.events(0).iter().find_map(|(_, event)| match event {
        Event::PiecesLost(pieces) => pieces.first().map(|piece| piece.as_usize()),
        _ => None,
    });
    let seen = world.observe();
    let others = |lost: usize| {
        let hosts = u32::try_from(seen.hosts.len()).expect("a small world");
        (0..seen.availability.len()).all(|piece| seen.availability[piece] == if piece == lost { 0 } else { hosts })
    };
    fault.target == Target::Read && lost.is_some_and(others)
}

#[test]
fn every_write_fails_once() {
    // The first pause before a refused write is tried again is a second.
    assert!(sweep(Target::Disk, Action::Fail, LITTLE) >= 15);
    assert!(sweep(Target::Disk, LATE, LITTLE) >= 15);
    // The shell has lost the blocks, and nobody is blamed.
    assert!(sweep(Target::Disk, Action::Drop, LITTLE) >= 15);
    // What turns wrong in our own memory cannot be told from what came wrong.
    assert!(sweep(Target::Disk, Action::Corrupt, SPOILED) >= 15);
}

#[test]
fn every_read_fails_once() {
    // A seed that loses its piece when all others are gone finds them by its next announce.
    assert!(sweep(Target::Read, Action::Fail, Cost { seconds: 70, ..LITTLE }) >= 50);
}

#[test]
fn every_dial_and_every_connection_breaks_once() {
    assert!(sweep(Target::Dial, Action::Fail, LITTLE) >= 15);
    assert!(sweep(Target::Dial, Action::Drop, LITTLE) >= 15);
    assert!(sweep(Target::Dial, LATE, LITTLE) >= 15);
    assert!(sweep(Target::Connection, Action::Cut, LITTLE) >= 12);
    assert!(sweep(Target::Connection, Action::Delay(Duration::from_millis(150)), LITTLE) >= 12);
}

/// TCP loses no message without losing the connection, so [`Action::Drop`] is the same as [`Action::Cut`] here.
#[test]
fn every_message_is_lost_with_its_connection() {
    assert!(sweep(Target::Message, Action::Cut, LITTLE) >= 200);
}

#[test]
fn every_message_comes_late() {
    assert!(sweep(Target::Message, LATE, LITTLE) >= 200);
}

#[test]
fn every_message_comes_twice() {
    assert!(sweep(Target::Message, Action::Duplicate, LITTLE) >= 200);
}

#[test]
fn every_block_is_lost_late_doubled_or_wrong() {
    assert!(sweep(Target::Block, Action::Cut, LITTLE) >= 50);
    assert!(sweep(Target::Block, LATE, LITTLE) >= 50);
    assert!(sweep(Target::Block, Action::Duplicate, LITTLE) >= 50);
    assert!(sweep(Target::Block, Action::Corrupt, SPOILED) >= 50);
}

#[test]
fn every_announce_fails_once() {
    // A tracker is asked again after half a minute or so.
    let tracker = Cost { seconds: 70, ..LITTLE };
    assert!(sweep(Target::Announce, Action::Fail, tracker) >= 12);
    assert!(sweep(Target::Announce, Action::Drop, tracker) >= 12);
    assert!(sweep(Target::Announce, LATE, LITTLE) >= 12);
    assert!(sweep(Target::Announce, Action::Duplicate, LITTLE) >= 12);
}

#[test]
fn every_timeout_is_late_or_doubled() {
    assert!(sweep(Target::Timeout, LATE, LITTLE) >= 15);
    assert!(sweep(Target::Timeout, Action::Duplicate, LITTLE) >= 15);
}
