//! Whom to serve, and how many.
//!
//! [`decide`] is a function of what the peers did: it keeps nothing, so the same rows and the same random numbers give
//! the same answer. [`UploadSlots`] is the little memory that the number of slots needs. Neither sees messages or time
//! beyond its arguments.

use crate::id::PeerKey;
use rand::{Rng, RngExt};
use std::cmp::Reverse;
use std::time::{Duration, Instant};

/// One of this many slots is optimistic: whoever holds it need not have earned it (BEP 3 has one among four or five).
const SLOTS_PER_OPTIMISTIC: usize = 5;
/// A peer counts as newly connected for so long: one optimistic round.
const NEWLY_CONNECTED: Duration = Duration::from_secs(30);
/// How much likelier the optimistic unchoke of a newly connected peer is (BEP 3).
const NEWLY_CONNECTED_WEIGHT: u32 = 3;
/// A seed serves a peer at least for so long...
const QUANTUM_TIME: Duration = Duration::from_secs(60);
/// ...and until it has got so many bytes...
const QUANTUM_BYTES: u64 = 16 * 1024 * 1024;
/// ...but no longer than this, however slow it is.
const QUANTUM_MOST: Duration = Duration::from_secs(300);

/// What a choke round knows of one peer. Rates in bytes a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerRow {
    /// Which peer.
    pub key: PeerKey,
    /// It wants something of us.
    pub interested: bool,
    /// We serve it.
    pub unchoked: bool,
    /// We serve it without its having earned that.
    pub optimistic: bool,
    /// Payload from it.
    pub download_rate: u64,
    /// Payload to it.
    pub upload_rate: u64,
    /// Bytes that it got since it was unchoked.
    pub uploaded_since_unchoke: u64,
    /// Time since it was unchoked; of no meaning while it is choked.
    pub unchoked_for: Duration,
    /// Time since it was choked or, if it never was unchoked, since it connected; of no meaning while it is unchoked.
    pub choked_for: Duration,
    /// It owes us blocks for too long.
    pub snubbed: bool,
    /// Time since it connected.
    pub connected_for: Duration,
}

/// What we are to the swarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// We want blocks: tit for tat.
    Leeching,
    /// We only give: everybody has a turn.
    Seeding,
}

/// Whom to serve from now on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChokeDecision {
    /// All peers to be unchoked, the optimistic ones included; all others are to be choked.
    pub unchoke: Vec<PeerKey>,
    /// Those that are unchoked without having earned it.
    pub optimistic: Vec<PeerKey>,
}

/// Chooses whom to serve. Only interested peers are, and at most `slots` of them.
///
/// While leeching, those from whom most comes have the slots (tit for tat, BEP 3); a peer that snubs us has none. While
/// seeding, a peer that is served stays so until it has got its share (a minute and 16 MiB, or five minutes); then
/// those that wait have their turn, the longest wait first. One slot of five is optimistic in both: random, newly
/// connected peers three times as likely; it changes hands when `rotate_optimistic` says so, as a rule every 30
/// seconds. Slots that nobody has earned are filled in the same way.
pub fn decide(
    rows: &[PeerRow],
    mode: Mode,
    slots: usize,
    rotate_optimistic: bool,
    rng: &mut impl Rng,
) -> ChokeDecision {
    let mut interested: Vec<&PeerRow> = rows.iter().filter(|row| row.interested).collect();
    match mode {
        Mode::Leeching => interested.sort_by_key(|row| merit_of_a_source(row)),
        Mode::Seeding => interested.sort_by_key(|row| merit_of_a_taker(row)),
    }
    let earned = slots - slots / SLOTS_PER_OPTIMISTIC;
    let earns = |row: &PeerRow| mode == Mode::Seeding || !row.snubbed;
    let regular = interested.iter().take_while(|row| earns(row)).count().min(earned);
    let rest = interested.split_off(regular);
    let optimistic = choose_optimistic(rest, slots - regular, rotate_optimistic, rng);
    let unchoke = interested.iter().map(|row| row.key).chain(optimistic.iter().copied()).collect();
    ChokeDecision { unchoke, optimistic }
}

/// Sorts the best first: by what comes from it, then those that are served already, so that equals do not flap.
fn merit_of_a_source(row: &PeerRow) -> impl Ord + use<> {
    (row.snubbed, Reverse(row.download_rate), !row.unchoked, row.key)
}

/// Sorts the best first: those in the middle of their share, the fastest before all; those that wait, the longest
/// before all; those that had their share.
fn merit_of_a_taker(row: &PeerRow) -> impl Ord + use<> {
    let full = row.unchoked_for >= QUANTUM_TIME && row.uploaded_since_unchoke >= QUANTUM_BYTES;
    let had_share = full || row.unchoked_for >= QUANTUM_MOST;
    match (row.unchoked && !row.optimistic, had_share) {
        (true, false) => (0, Reverse(u128::from(row.upload_rate)), row.key),
        (true, true) => (2, Reverse(u128::from(row.upload_rate)), row.key),
        // An optimistic unchoke is a trial: it is not held against the peer, and earns it nothing.
        (false, _) if row.unchoked => (1, Reverse(row.unchoked_for.as_nanos()), row.key),
        (false, _) => (1, Reverse(row.choked_for.as_nanos()), row.key),
    }
}

/// Chooses from the peers that have not earned a slot. Without a rotation those that hold one keep it; with one they
/// get it again only if there is nobody else.
fn choose_optimistic(rows: Vec<&PeerRow>, count: usize, rotate: bool, rng: &mut impl Rng) -> Vec<PeerKey> {
    let (first, then): (Vec<&PeerRow>, Vec<&PeerRow>) =
        rows.into_iter().partition(|row| (row.unchoked && row.optimistic) != rotate);
    let mut chosen = Vec::new();
    for mut candidates in [first, then] {
        while chosen.len() < count
            && let Some(at) = draw(&candidates, rng)
        {
            chosen.push(candidates.swap_remove(at).key);
        }
    }
    chosen
}

/// The index of a random row, the newly connected being likelier.
fn draw(rows: &[&PeerRow], rng: &mut impl Rng) -> Option<usize> {
    let weight = |row: &&PeerRow| if row.connected_for < NEWLY_CONNECTED { NEWLY_CONNECTED_WEIGHT } else { 1 };
    let sum: u32 = rows.iter().map(weight).sum();
    let mut drawn = if sum > 0 { rng.random_range(0..sum) } else { return None };
    rows.iter().position(|row| {
        let hit = drawn < weight(row);
        drawn = drawn.saturating_sub(weight(row));
        hit
    })
}

/// How many peers to serve at once, from what the uplink carries.
///
/// With `n` slots each should get at least `n` times 5,000 bytes a second, so their number follows the square root of
/// the measured rate: 4 at 100 kB/s, 14 at 1 MB/s, 45 at 10 MB/s. While the uplink has nothing to do they grow whatever
/// the rate, for the peers may be slow themselves.
#[derive(Clone, Debug)]
pub struct UploadSlots {
    least: usize,
    most: usize,
    slots: usize,
    last_change: Option<Instant>,
}

/// Rate in bytes a second that each slot should carry for every slot that there is.
const RATE_STEP: u64 = 5_000;
/// Time between two changes: what the last one did must show first.
const CHANGE_EVERY: Duration = Duration::from_secs(1);

impl UploadSlots {
    /// Never fewer than `least` slots and never more than `most`; starts with `least`.
    pub fn new(least: usize, most: usize) -> Self {
        Self { least, most: most.max(least), slots: least, last_change: None }
    }

    /// The number of slots. To be called about once a second; more often does no harm. `upload_rate` is that of all
    /// peers together in bytes a second; `idle` says that the uplink has nothing to send: every request of every
    /// unchoked peer is answered.
    ///
    /// It grows by half at most and shrinks by one.
    pub fn update(&mut self, now: Instant, upload_rate: u64, idle: bool) -> usize {
        if self.last_change.is_some_and(|last| now.saturating_duration_since(last) < CHANGE_EVERY) {
            return self.slots;
        }
        self.last_change = Some(now);
        let carried = usize::try_from((upload_rate / RATE_STEP).isqrt()).unwrap_or(usize::MAX);
        let wanted = if idle { carried.max(self.slots + 1) } else { carried };
        let within = wanted.clamp(self.slots.saturating_sub(1), self.slots + (self.slots / 2).max(1));
        self.slots = within.clamp(self.least, self.most);
        self.slots
    }

    /// One slot more at once: the uplink has nothing to do, and somebody waits.
    pub fn grow(&mut self) {
        self.slots = (self.slots + 1).min(self.most);
    }

    /// The number of slots now.
    pub fn slots(&self) -> usize {
        self.slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    const OLD: Duration = Duration::from_secs(1_000);

    fn row(key: u64) -> PeerRow {
        PeerRow {
            key: PeerKey(key),
            interested: true,
            unchoked: false,
            optimistic: false,
            download_rate: 0,
            upload_rate: 0,
            uploaded_since_unchoke: 0,
            unchoked_for: Duration::ZERO,
            choked_for: OLD,
            snubbed: false,
            connected_for: OLD,
        }
    }

    /// Peers 0, 1, … of which so much comes each; a letter makes one special: `-` not interested, `s` snubbed.
    fn leechers(rates: &str) -> Vec<PeerRow> {
        let row = |(key, mark): (u64, char)| PeerRow {
            interested: mark != '-',
            snubbed: mark == 's',
            download_rate: mark.to_digit(10).unwrap_or(9).into(),
            ..row(key)
        };
        (0..).zip(rates.chars()).map(row).collect()
    }

    /// Applies the decision to the rows, as a swarm would.
    fn apply(rows: &mut [PeerRow], decision: &ChokeDecision) {
        for row in rows {
            row.unchoked = decision.unchoke.contains(&row.key);
            row.optimistic = decision.optimistic.contains(&row.key);
        }
    }

    /// `u` for an unchoked peer, `o` for an optimistically unchoked one, `.` for a choked one.
    fn picture(rows: &[PeerRow], decision: &ChokeDecision) -> String {
        let mark = |row: &PeerRow| match (decision.unchoke.contains(&row.key), decision.optimistic.contains(&row.key)) {
            (true, false) => 'u',
            (true, true) => 'o',
            (false, false) => '.',
            (false, true) => panic!("optimistic, but not unchoked"),
        };
        rows.iter().map(mark).collect()
    }

    #[track_caller]
    fn leeching(rates: &str, slots: usize, expected: &[&str]) {
        let rows = leechers(rates);
        for seed in 0..30 {
            let decision = decide(&rows, Mode::Leeching, slots, false, &mut SmallRng::seed_from_u64(seed));
            let shown = picture(&rows, &decision);
            assert!(expected.contains(&shown.as_str()), "{shown} for {rates}");
        }
    }

    #[test]
    fn tit_for_tat() {
        leeching("13524", 3, &[".uu.u"]);
        leeching("99-1", 2, &["uu.."]);
        leeching("1s2", 2, &["u.u"]);
        leeching("1ss", 2, &["uo.", "u.o"]);
        leeching("---", 4, &["..."]);
        leeching("12", 9, &["uu"]);
        leeching("11111", 0, &["....."]);
        leeching("", 4, &[""]);
    }

    #[test]
    fn one_slot_of_five_is_optimistic() {
        leeching("5678900", 5, &[".uuuuo.", ".uuuu.o", "ouuuu.."]);
        let rows = leechers(&"1".repeat(60));
        let decision = decide(&rows, Mode::Leeching, 20, true, &mut SmallRng::seed_from_u64(1));
        assert_eq!((decision.unchoke.len(), decision.optimistic.len()), (20, 4));
    }

    #[test]
    fn the_optimistic_slot_changes_hands_only_when_told() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut rows = leechers("99990000");
        let mut last = decide(&rows, Mode::Leeching, 5, true, &mut rng);
        let mut seen = vec![];
        for round in 0..60 {
            apply(&mut rows, &last);
            let rotate = round % 3 == 0;
            let next = decide(&rows, Mode::Leeching, 5, rotate, &mut rng);
            assert_eq!(next.optimistic != last.optimistic, rotate);
            seen.extend(next.optimistic.clone());
            last = next;
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen, [4, 5, 6, 7].map(PeerKey), "everybody has a chance");
        rows[4].download_rate = 99;
        apply(&mut rows, &ChokeDecision { unchoke: vec![PeerKey(4)], optimistic: vec![PeerKey(4)] });
        let decision = decide(&rows, Mode::Leeching, 5, false, &mut rng);
        assert!(decision.unchoke.contains(&PeerKey(4)) && !decision.optimistic.contains(&PeerKey(4)), "it earned it");
    }

    #[test]
    fn the_newly_connected_are_three_times_as_likely() {
        let mut rows = leechers("000099999");
        rows[0].connected_for = Duration::ZERO;
        let mut rng = SmallRng::seed_from_u64(7);
        let newest = |_: &u32| decide(&rows, Mode::Leeching, 5, true, &mut rng).optimistic == [PeerKey(0)];
        let hits = (0..4_000).filter(newest).count();
        // One of four otherwise equal peers, and the one of the fast ones that has no slot: 3 of 7.
        assert!((1_500..1_930).contains(&hits), "{hits}");
    }

    #[test]
    fn equal_rates_do_not_make_slots_flap() {
        let mut rows = leechers("111111");
        apply(&mut rows, &ChokeDecision { unchoke: vec![PeerKey(3), PeerKey(5)], optimistic: vec![] });
        let decision = decide(&rows, Mode::Leeching, 2, true, &mut SmallRng::seed_from_u64(1));
        assert_eq!(picture(&rows, &decision), "...u.u");
    }

    #[test]
    fn a_seed_gives_everybody_a_turn() {
        let mut rng = SmallRng::seed_from_u64(3);
        let mut rows: Vec<PeerRow> = (0..20).map(row).collect();
        let mut got = [0u64; 20];
        let step = Duration::from_secs(10);
        let mut flaps = 0;
        for round in 0..600 {
            let decision = decide(&rows, Mode::Seeding, 4, round % 3 == 0, &mut rng);
            for (row, got) in rows.iter_mut().zip(&mut got) {
                let serve = decision.unchoke.contains(&row.key);
                if serve != row.unchoked {
                    flaps += 1;
                    (row.uploaded_since_unchoke, row.unchoked_for, row.choked_for) = Default::default();
                }
                // The first is a hundred times as slow as the others.
                let bytes = if !serve {
                    0
                } else if row.key == PeerKey(0) {
                    50_000
                } else {
                    5_000_000
                };
                row.uploaded_since_unchoke += bytes;
                *got += bytes;
                row.unchoked_for += if serve { step } else { Duration::ZERO };
                row.choked_for += if serve { Duration::ZERO } else { step };
            }
            apply(&mut rows, &decision);
        }
        let fast = &got[1..];
        let (least, most) = (fast.iter().min().unwrap(), fast.iter().max().unwrap());
        assert!(least * 10 >= most * 8, "{got:?}");
        // Four slots for 6,000 seconds hold 400 shares of a minute, each with a start and an end.
        assert!(got[0] > 0 && flaps <= 800, "{flaps} changes in {got:?}");
    }

    #[test]
    fn a_seed_tries_newcomers_in_the_optimistic_slot() {
        let mut rows: Vec<PeerRow> = (0..8).map(row).collect();
        for row in &mut rows[..4] {
            row.unchoked = true;
        }
        let decision = decide(&rows, Mode::Seeding, 5, true, &mut SmallRng::seed_from_u64(3));
        let shown = picture(&rows, &decision);
        assert!(shown.starts_with("uuuu") && shown.matches('o').count() == 1, "{shown}");
    }

    /// Slots after each second of peers that take `peer_rate` each over an uplink of `uplink`.
    fn simulate(uplink: u64, peer_rate: u64, seconds: u64) -> Vec<usize> {
        let start = Instant::now();
        let mut control = UploadSlots::new(4, 50);
        let mut slots = control.slots() as u64;
        let step = |second| {
            let wanted = slots * peer_rate;
            let now = start + Duration::from_secs(second);
            let first = control.update(now, wanted.min(uplink), wanted < uplink);
            assert_eq!(control.update(now + CHANGE_EVERY / 2, 1 << 60, true), first, "once a second at most");
            slots = first as u64;
            first
        };
        (1..=seconds).map(step).collect()
    }

    #[test]
    fn slots_follow_the_capacity() {
        assert!(simulate(125_000_000, 125_000_000, 3)[2] >= 8, "a LAN");
        assert_eq!(simulate(125_000_000, 125_000_000, 20)[19], 50);
        assert!(simulate(100_000, 1_000_000, 60).iter().all(|slots| (4..=5).contains(slots)), "a slow uplink");
        let slow_peers = simulate(1_000_000, 25_000, 60);
        assert!((38..=41).contains(&slow_peers[59]), "as many slow peers as the uplink carries: {slow_peers:?}");
        let mut control = UploadSlots::new(4, 50);
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        (0..20).for_each(|second| _ = control.update(at(second), 100_000_000, false));
        (20..90).for_each(|second| _ = control.update(at(second), 100_000, false));
        assert_eq!(control.slots(), 4, "and back");
    }
}
