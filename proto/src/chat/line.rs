//! A call that stands: numbered messages over an encrypted channel, each acknowledged, sent again, and taken in order.
//!
//! Owns what is on its way and what came too early. What is not acknowledged after the last try has failed, and the line
//! with it, for behind a gap nothing could be taken in order.

use super::noise::Channel;
use super::payload::Inner;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// After how long something is sent again, at first; twice as long each time, to 16 s.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// How often something is sent; the last one is waited for for a minute and a half in all.
const TRIES: u32 = 8;
/// Messages under way at a time.
const WINDOW: usize = 16;
/// Messages that may wait to be sent; a metainfo waits elsewhere.
pub(super) const QUEUE: usize = 128;
/// Messages that may come too early.
const HELD: u64 = 64;

/// A message under way.
struct Item {
    number: u64,
    plain: Vec<u8>,
    content: Content,
    tries: u32,
    next: Instant,
}

/// What a message under way is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// The user wants to know what becomes of it.
    Text,
    /// How far files are: no second one goes before this one has arrived.
    Report,
    Other,
}

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) nonce: u64,
    pub(super) sealed: Vec<u8>,
    /// It was sent before: another way may be better.
    pub(super) again: bool,
}

/// A call that stands.
pub(super) struct Line {
    channel: Channel,
    outgoing: VecDeque<Item>,
    next_number: u64,
    /// The first number that has not come.
    expected: u64,
    held: BTreeMap<u64, Inner>,
    ack_due: bool,
}

/// What came of something that came.
#[derive(Default, Debug)]
pub(super) struct Arrived {
    /// In order, each once.
    pub(super) inner: Vec<Inner>,
    /// Texts of ours that the other side has.
    pub(super) acknowledged: Vec<u64>,
}

/// The wait behind the n-th try.
pub(super) fn retry_after(tries: u32) -> Duration {
    FIRST_RETRY * (1 << tries.saturating_sub(1).min(3))
}

impl Line {
    pub(super) fn new(channel: Channel) -> Self {
        let (outgoing, held) = (VecDeque::new(), BTreeMap::new());
        Self { channel, outgoing, next_number: 0, expected: 0, held, ack_due: false }
    }

    /// The number of the next message, if there is room for it.
    pub(super) fn next_number(&self) -> Option<u64> {
        (self.outgoing.len() < QUEUE).then_some(self.next_number)
    }

    /// Has a message sent under [`Line::next_number`].
    pub(super) fn push(&mut self, now: Instant, inner: &Inner) {
        let content = match inner {
            Inner::Text { .. } => Content::Text,
            Inner::Report { .. } => Content::Report,
            _ => Content::Other,
        };
        let plain = inner.encode();
        self.outgoing.push_back(Item { number: self.next_number, plain, content, tries: 0, next: now });
        self.next_number += 1;
    }

    /// Has an acknowledgement sent, even of nothing: it tells that the line stands.
    pub(super) fn acknowledge(&mut self) {
        self.ack_due = true;
    }

    /// What is to be sent now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Sealed> {
        let mut out = Vec::new();
        if std::mem::take(&mut self.ack_due) {
            let ack = Inner::Ack { expected: self.expected }.encode();
            out.extend(self.channel.seal(&ack).map(|(nonce, sealed)| Sealed { nonce, sealed, again: false }));
        }
        for item in self.outgoing.iter_mut().take(WINDOW).filter(|item| item.tries < TRIES && now >= item.next) {
            item.tries += 1;
            item.next = now + retry_after(item.tries);
            let again = item.tries > 1;
            out.extend(self.channel.seal(&item.plain).map(|(nonce, sealed)| Sealed { nonce, sealed, again }));
        }
        out
    }

    /// When something is to be sent, or has failed.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let items = self.outgoing.iter().take(WINDOW).map(|item| item.next);
        items.chain(self.ack_due.then_some(now)).min()
    }

    /// Whether something was sent for the last time, and not acknowledged.
    pub(super) fn has_failed(&self, now: Instant) -> bool {
        self.outgoing.iter().take(WINDOW).any(|item| item.tries >= TRIES && now >= item.next)
    }

    /// Texts that were never acknowledged.
    pub(super) fn unacknowledged(&self) -> Vec<u64> {
        self.outgoing.iter().filter(|item| item.content == Content::Text).map(|item| item.number).collect()
    }

    /// Whether a report is under way.
    pub(super) fn is_reporting(&self) -> bool {
        self.outgoing.iter().any(|item| item.content == Content::Report)
    }

    /// The other side is there: a report that is not acknowledged yet gets two more tries at least.
    pub(super) fn is_heard(&mut self) {
        for item in self.outgoing.iter_mut().filter(|item| item.content == Content::Report) {
            item.tries = item.tries.min(TRIES - 2);
        }
    }

    /// Messages that are not acknowledged.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.outgoing.len()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Something encrypted came. `None` if it is not of this line, or came before.
    pub(super) fn take(&mut self, nonce: u64, sealed: &[u8]) -> Option<Arrived> {
        let inner = Inner::parse(&self.channel.open(nonce, sealed)?)?;
        let mut arrived = Arrived::default();
        let number = match &inner {
            Inner::Ack { expected } => {
                let is_here = |item: &&Item| item.number < *expected && item.tries > 0;
                let here = self.outgoing.iter().take_while(is_here).count();
                let here = self.outgoing.drain(..here).filter(|item| item.content == Content::Text);
                arrived.acknowledged.extend(here.map(|item| item.number));
                return Some(arrived);
            }
            Inner::Text { number, .. }
            | Inner::HangUp { number }
            | Inner::Data { number, .. }
            | Inner::Report { number, .. }
            | Inner::Reach { number, .. } => *number,
        };
        self.ack_due = true;
        if number >= self.expected && number - self.expected < HELD {
            self.held.insert(number, inner);
        }
        while let Some(inner) = self.held.remove(&self.expected) {
            self.expected += 1;
            arrived.inner.push(inner);
        }
        Some(arrived)
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::RequestId;
    use super::super::identity::Identity;
    use super::super::noise::{self, Binding};
    use super::*;
    use crate::id::InfoHash;

    fn pair() -> (Line, Line) {
        let [caller, callee] = [1, 2].map(|at| Identity::from_secret([at; 32]));
        let (room, id) = (InfoHash([1; 20]), RequestId([1; 16]));
        let binding = Binding { room, caller: caller.public(), callee: callee.public(), id, kind: 1 };
        let (state, first) = noise::begin(&caller, callee.noise_public(), &binding, b"", [3; 32]).unwrap();
        let (theirs, _) = noise::receive(&callee, &binding, &first, [4; 32]).unwrap();
        let (there, second) = noise::answer(theirs).unwrap();
        (Line::new(noise::complete(&mut Some(state), &second).unwrap()), Line::new(there))
    }

    fn text(line: &Line, text: &str) -> Inner {
        Inner::Text { number: line.next_number().unwrap(), time_ms: 0, text: text.into() }
    }

    #[test]
    fn losses_of_a_third_are_made_good_in_order_and_once() {
        let (mut here, mut there) = pair();
        let mut now = Instant::now();
        let start = now;
        let mut wanted = Vec::new();
        for at in 0..100 {
            let inner = text(&here, &at.to_string());
            here.push(now, &inner);
            wanted.push(inner);
        }
        let (mut got, mut acknowledged, mut sent, mut dice) = (Vec::new(), Vec::new(), 0, 1u32);
        let mut lost = || {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (dice >> 16).is_multiple_of(3)
        };
        while got.len() < 100 || acknowledged.len() < 100 {
            assert!(!here.has_failed(now));
            for sealed in here.due(now) {
                sent += 1;
                if !lost() {
                    got.extend(there.take(sealed.nonce, &sealed.sealed).expect("of this line").inner);
                    assert!(there.take(sealed.nonce, &sealed.sealed).is_none(), "a replay");
                }
            }
            for sealed in there.due(now) {
                sent += 1;
                if !lost() {
                    acknowledged.extend(here.take(sealed.nonce, &sealed.sealed).unwrap().acknowledged);
                }
            }
            now += Duration::from_millis(100);
            assert!(now < start + Duration::from_secs(300));
        }
        assert_eq!((got, acknowledged), (wanted, (0..100).collect::<Vec<_>>()));
        assert!(sent < 600, "{sent} messages for 100");
    }

    #[test]
    fn what_nobody_acknowledges_fails_in_the_end() {
        let (mut here, _) = pair();
        let start = Instant::now();
        let inner = text(&here, "hello?");
        here.push(start, &inner);
        let (mut now, mut sent) = (start, 0);
        while !here.has_failed(now) {
            let due = here.due(now);
            assert!(due.iter().all(|sealed| sealed.again == (sent > 0)));
            sent += due.len();
            now = here.next_due(now).expect("a next try");
        }
        assert_eq!((sent, here.unacknowledged()), (8, vec![0]));
        assert_eq!(now - start, Duration::from_secs(2 + 4 + 8 + 16 * 5));
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_acknowledges_nothing() {
        let (mut here, mut there) = pair();
        let now = Instant::now();
        there.expected = 99;
        there.acknowledge();
        let ack = there.due(now).remove(0);
        let inner = text(&here, "x");
        here.push(now, &inner);
        assert!(here.take(ack.nonce, &ack.sealed).unwrap().acknowledged.is_empty());
        assert!(!here.is_idle());
    }

    #[test]
    fn what_comes_too_early_is_held_so_far_ahead_and_no_further() {
        let (mut here, mut there) = pair();
        let mut take = |number: u64| {
            let inner = Inner::Text { number, time_ms: 0, text: "x".into() };
            let (nonce, sealed) = here.channel.seal(&inner.encode()).unwrap();
            let arrived = there.take(nonce, &sealed).expect("of this line").inner;
            let number =
                |inner: Inner| if let Inner::Text { number, .. } = inner { number } else { panic!("{inner:?}") };
            (arrived.into_iter().map(number).collect::<Vec<_>>(), there.held.len())
        };
        // The first is late; whoever sends a thousand meanwhile is no program of ours.
        for number in (1..1_000).chain([u64::MAX]) {
            let held = usize::try_from(number.min(HELD - 1)).unwrap();
            assert_eq!(take(number), (vec![], held), "{number}");
        }
        assert_eq!(take(0), ((0..HELD).collect(), 0), "each once and in order");
        assert_eq!([take(5), take(HELD)], [(vec![], 0), (vec![HELD], 0)], "what was not held comes again");
    }
}
