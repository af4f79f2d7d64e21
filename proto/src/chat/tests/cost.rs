//! What others can make a room look through, counted in comparisons.

use crate::chat::limits;
use crate::chat::pairs::Least;
use crate::chat::pending::Waiters;
use crate::chat::wanted::Wants;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::cell::Cell;
use std::cmp::Ordering;
use std::time::{Duration, Instant};

thread_local! {
    static COMPARED: Cell<u64> = const { Cell::new(0) };
}

/// A number that counts how often one of its kind is compared.
#[derive(Clone, Copy, Debug)]
struct Counted(u64);

impl Ord for Counted {
    fn cmp(&self, other: &Self) -> Ordering {
        COMPARED.set(COMPARED.get() + 1);
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Counted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Counted {}

impl Least for Counted {
    const LEAST: Self = Self(0);
}

/// Comparisons for each of so many.
fn each(times: u64, mut what: impl FnMut(u64)) -> u64 {
    COMPARED.set(0);
    (0..times).for_each(&mut what);
    COMPARED.get() / times
}

const SOON: Duration = Duration::from_millis(600);
/// A dozen searches and changes in ordered sets of a thousand, at some forty comparisons each.
const FEW: u64 = 600;

/// As many ids as there is room for, of as many neighbours, in no order.
fn full(now: Instant, neighbours: u64, needed: bool) -> Wants<Counted, Counted> {
    let mut wants = Wants::default();
    for at in 0..limits::CHAT_WANTED as u64 {
        wants.want(now, Counted(at * 7_919 % 1_024 * 1_000), Counted(at % neighbours), SOON, needed);
    }
    wants.check_invariants();
    wants
}

#[test]
fn an_id_that_is_told_of_costs_little_however_many_are_wanted() {
    let now = Instant::now();
    // Who tells (one of many, the one who told of most, somebody new), how many did before, what is waited for, before and now.
    let cases = [
        (900, 1, false, false),
        (0, 1, false, false),
        (0, 100, false, false),
        (900, 100, false, true),
        (0, 1, true, false),
        (900, 1, true, true),
        (900, 100, true, true),
    ];
    for (who, neighbours, before, needed) in cases {
        let mut wants = full(now, neighbours, before);
        let cost = each(2_000, |at| wants.want(now, Counted(at * 1_000 + 1), Counted(who), SOON, needed));
        wants.check_invariants();
        assert!(cost <= FEW, "{who} among {neighbours}, {before}, {needed}: {cost} comparisons for each id");
    }
}

#[test]
fn what_is_asked_for_and_what_comes_costs_little_however_much_is_wanted() {
    let now = Instant::now();
    let mut wants = full(now, 10, true);
    let asked = each(10_000, |_| assert_eq!(wants.next_ask(), Some(now + SOON)));
    assert!(asked <= FEW, "{asked} comparisons to know when");
    let mut random = StdRng::from_seed([1; 32]);
    let asked = each(10_000, |_| {
        let (asks, hopeless) = wants.take_due(now, &[Counted(3)], &mut random);
        assert!(asks.is_empty() && hopeless.is_empty(), "nothing is due");
    });
    assert!(asked <= FEW, "{asked} comparisons for nothing");
    let came = each(1_024, |at| wants.no_longer(&Counted(at * 1_000)));
    assert!(came <= FEW, "{came} comparisons for each that comes");
    assert_eq!(wants.next_ask(), None);
}

#[test]
fn who_waits_is_released_without_a_look_at_the_others() {
    let mut waiters = Waiters::default();
    let missing = |of: u64| (0..48).map(|at| Counted(of * 48 + at)).collect::<Vec<_>>();
    (0..256).for_each(|at| waiters.wait(Counted(100_000 + at), &missing(at)));
    let others = each(1_000, |at| assert!(waiters.release(&[Counted(200_000 + at)]).1.is_empty()));
    assert!(others <= FEW, "{others} comparisons for what nobody waits for");
    // Everything that is missing is given up at once.
    let all: Vec<Counted> = (0..256).flat_map(missing).collect();
    let mut ready = 0;
    let cost = each(1, |_| ready = waiters.release(&all).1.len()) / all.len() as u64;
    assert!(cost <= FEW && ready == 256, "{cost} comparisons for each, {ready} released");
}

#[test]
fn what_gives_way_is_the_word_of_whoever_tells_of_most() {
    let now = Instant::now();
    let [crowd, other, third] = [7, 3, 5].map(Counted);
    let mut wants = Wants::default();
    let wanted = |wants: &Wants<Counted, Counted>| wants.ids().map(|id| id.0).collect::<Vec<_>>();
    for at in 0..limits::CHAT_WANTED as u64 {
        wants.want(now, Counted(at), if at < 1_000 { crowd } else { other }, SOON, at < 10);
    }
    // Somebody else tells of this one, too: it is a word no longer.
    wants.want(now, Counted(10), other, SOON, false);
    wants.want(now, Counted(5_000), third, SOON, false);
    assert!(!wanted(&wants).contains(&11) && wanted(&wants).contains(&10), "the first word of the crowd");
    wants.want(now, Counted(5_001), crowd, SOON, false);
    assert!(!wanted(&wants).contains(&5_001), "the crowd makes no room for itself");
    wants.want(now, Counted(5_002), crowd, SOON, true);
    assert!(wanted(&wants).contains(&5_002) && !wanted(&wants).contains(&12), "unless another one waits for it");
    // Once the other one is gone, it is the crowd's word again.
    wants.neighbour_left(other);
    wants.want(now, Counted(5_003), third, SOON, false);
    assert!(!wanted(&wants).contains(&10), "a word again");
    wants.check_invariants();
}

#[test]
fn what_nobody_waits_for_gives_way_to_what_is_waited_for_and_what_cannot_be_asked_for_is_given_up() {
    let now = Instant::now();
    let [crowd, other] = [7, 3].map(Counted);
    let mut wants = Wants::default();
    for at in 0..limits::CHAT_WANTED as u64 {
        wants.want(now, Counted(at), if at == 500 { other } else { crowd }, SOON, at != 500);
    }
    wants.want(now, Counted(5_000), crowd, SOON, false);
    assert!(wants.ids().all(|id| id.0 != 5_000), "nothing gives way to the word of the crowd");
    wants.want(now, Counted(5_001), crowd, SOON, true);
    assert!(wants.is_needed(&Counted(5_001)) && wants.ids().all(|id| id.0 != 500), "the only idle one");
    wants.want(now, Counted(5_002), crowd, SOON, true);
    assert!(!wants.is_needed(&Counted(5_002)), "there is no room");
    wants.want(now, Counted(5_003), other, SOON, true);
    assert!(wants.is_needed(&Counted(5_003)) && !wants.is_needed(&Counted(0)), "the crowd makes room for others");
    let hopeless = wants.take_due(now, &[], &mut StdRng::from_seed([1; 32])).1;
    assert_eq!(hopeless, [Counted(5_002), Counted(0)], "nobody will be asked for these");
    wants.check_invariants();
}
