//! Which parts of what Redis keeps do not answer.
//!
//! A cluster keeps each swarm in one of 16,384 slots, and each of its masters has some ranges of them. Owns, for each of
//! [`PARTS`] equal ranges of slots, since when it does not answer: so a master that has gone holds up its own swarms and no
//! others, and nobody here needs to know who the masters are. A range in which two masters meet counts as gone with either. A
//! single server is one part.

use std::time::{Duration, Instant};
use swarm_proto::id::InfoHash;

const SLOTS: usize = 16_384;
/// Parts of a cluster: masters are a few, or some tens.
const PARTS: usize = 64;
/// How often a part is tried while it does not answer.
const PROBE: Duration = Duration::from_millis(500);
/// A part that nobody has tried for so long, while others answered, is given another chance: nobody may have asked for it since.
const FORGIVEN: Duration = Duration::from_secs(10);

/// Since when a part does not answer, why, and when it was tried last.
#[derive(Debug)]
struct Down {
    since: Instant,
    reason: String,
    tried: Instant,
}

#[derive(Debug)]
pub(crate) struct Parts {
    parts: Vec<Option<Down>>,
    /// How many of them do not answer: none, nearly always, and then nobody needs to know which is meant.
    gone: usize,
    answered: Option<Instant>,
}

impl Parts {
    /// Everything answers until it turns out not to.
    pub(crate) fn new(is_cluster: bool) -> Self {
        let count = if is_cluster { PARTS } else { 1 };
        Self { parts: (0..count).map(|_| None).collect(), gone: 0, answered: None }
    }

    fn number(&self, info_hash: &InfoHash) -> usize {
        match self.parts.len() {
            1 => 0,
            count => slot(info_hash) * count / SLOTS,
        }
    }

    fn down(&self, info_hash: &InfoHash, now: Instant) -> Option<&Down> {
        if self.gone == 0 {
            return None;
        }
        self.parts.get(self.number(info_hash))?.as_ref().filter(|down| !self.is_forgiven(down, now))
    }

    fn is_forgiven(&self, down: &Down, now: Instant) -> bool {
        self.answered.is_some_and(|answered| answered > down.tried) && now >= down.tried + FORGIVEN
    }

    /// Whether the part with this torrent answers, as far as is known.
    pub(crate) fn is_up(&self, info_hash: &InfoHash, now: Instant) -> bool {
        self.down(info_hash, now).is_none()
    }

    /// Whether something may be sent to the part with this torrent: always, or once a while if it does not answer.
    pub(crate) fn may_try(&mut self, info_hash: &InfoHash, now: Instant) -> bool {
        if self.is_up(info_hash, now) {
            return true;
        }
        let number = self.number(info_hash);
        let Some(Some(down)) = self.parts.get_mut(number) else { return true };
        let due = now >= down.tried + PROBE;
        if due {
            down.tried = now;
        }
        due
    }

    /// The part with this torrent has answered. Whether everything does now, and did not before.
    pub(crate) fn answered(&mut self, info_hash: &InfoHash, now: Instant) -> bool {
        self.answered = Some(now);
        if self.gone == 0 {
            return false;
        }
        let number = self.number(info_hash);
        let was_down = self.parts.get_mut(number).is_some_and(|part| part.take().is_some());
        self.gone = self.gone.saturating_sub(usize::from(was_down));
        was_down && self.worst(now).is_none()
    }

    /// The part with this torrent has not answered. Whether everything did before.
    pub(crate) fn failed(&mut self, info_hash: &InfoHash, now: Instant, reason: &str) -> bool {
        let all_well = self.worst(now).is_none();
        let number = self.number(info_hash);
        let since = self.down(info_hash, now).map_or(now, |down| down.since);
        if let Some(part) = self.parts.get_mut(number) {
            let before = part.replace(Down { since, reason: reason.to_owned(), tried: now });
            self.gone += usize::from(before.is_none());
        }
        all_well
    }

    /// What does not answer, for people; `None` if everything does.
    pub(crate) fn problem(&self, now: Instant) -> Option<String> {
        let worst = self.worst(now)?;
        let down = self.parts.iter().flatten().filter(|down| !self.is_forgiven(down, now)).count();
        let what = match down {
            all if all == self.parts.len() => "Redis".to_owned(),
            some => format!("{} % of the Redis cluster", (some * 100).div_ceil(self.parts.len())),
        };
        let seconds = now.saturating_duration_since(worst.since).as_secs();
        Some(format!("{what} has not answered for {seconds} s: {}", worst.reason))
    }

    /// Of what does not answer, what has not for longest.
    fn worst(&self, now: Instant) -> Option<&Down> {
        self.parts.iter().flatten().filter(|down| !self.is_forgiven(down, now)).min_by_key(|down| down.since)
    }
}

/// The slot of a swarm's key: what stands in braces, which is the info hash in hexadecimal digits, by CRC-16/XMODEM.
fn slot(info_hash: &InfoHash) -> usize {
    let crc = info_hash.to_string().bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| crc << 1 ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 })
    });
    usize::from(crc) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn hash(number: u8) -> InfoHash {
        InfoHash([number; 20])
    }

    /// Two torrents in different parts of a cluster.
    fn two() -> (InfoHash, InfoHash) {
        let parts = Parts::new(true);
        let other = (1..).map(hash).find(|other| parts.number(other) != parts.number(&hash(0))).unwrap();
        (hash(0), other)
    }

    #[test]
    fn slots_are_those_of_redis() {
        // As `redis-cli cluster keyslot swarm:{…}` tells them.
        assert_eq!(slot(&hash(0x7d)), 7911);
        assert_eq!(slot(&hash(0)), 12409);
    }

    #[test]
    fn a_part_that_has_gone_holds_up_no_other() {
        let (now, (gone, well)) = (Instant::now(), two());
        let mut parts = Parts::new(true);
        assert!(parts.failed(&gone, now, "no"), "the first to fail");
        assert!(!parts.failed(&gone, now, "no"));
        assert!(!parts.is_up(&gone, now) && parts.is_up(&well, now));
        assert_eq!(parts.problem(now + 3 * SECOND).unwrap(), "2 % of the Redis cluster has not answered for 3 s: no");
        assert!(parts.may_try(&well, now) && parts.may_try(&well, now));
        assert!(!parts.may_try(&gone, now) && parts.may_try(&gone, now + SECOND), "tried once a while");
        assert!(!parts.may_try(&gone, now + SECOND));
        assert!(!parts.answered(&well, now + SECOND) && parts.answered(&gone, now + SECOND));
        assert_eq!(parts.problem(now + SECOND), None);
    }

    #[test]
    fn a_single_server_is_one_part() {
        let (now, (first, second)) = (Instant::now(), two());
        let mut parts = Parts::new(false);
        assert!(parts.failed(&first, now, "no") && !parts.is_up(&second, now));
        assert!(parts.may_try(&second, now + SECOND) && !parts.may_try(&first, now + SECOND));
        assert!(!parts.is_up(&first, now + 100 * SECOND), "nothing has answered");
        assert_eq!(parts.problem(now + SECOND).unwrap(), "Redis has not answered for 1 s: no");
        assert!(parts.answered(&second, now + SECOND) && parts.is_up(&first, now + SECOND));
    }

    #[test]
    fn a_part_that_nobody_asks_for_is_not_gone_for_ever() {
        let (now, (gone, well)) = (Instant::now(), two());
        let mut parts = Parts::new(true);
        parts.failed(&gone, now, "no");
        assert!(!parts.is_up(&gone, now + 2 * FORGIVEN));
        parts.answered(&well, now + SECOND);
        assert!(!parts.is_up(&gone, now + SECOND) && parts.is_up(&gone, now + FORGIVEN));
        assert_eq!(parts.problem(now + FORGIVEN), None);
    }
}
