//! One link over a tracker: what waits to be sent on it, and what has come of a frame.
//!
//! Invariant: what waits is no more than [`QUEUED`] bytes, what is put together no more than [`FRAME`].

use super::packet::{HEAD, LinkId, PART, Packet, Part};
use crate::chat::bucket::{Bucket, Rate};
use crate::chat::contract::RelayPeer;
use crate::limits;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes that wait for one link: what somebody is given who comes, and a burst of a call. More is dropped; whoever misses
/// it asks.
pub(super) const QUEUED: usize = 256 * 1024;
/// Bytes of the longest frame: one that tells of everything.
pub(super) const FRAME: usize = 5 + 16 * limits::CHAT_HAVE_IDS;
/// Packets that come over one link: what a tracker takes of one connection, and a little more, for those may be late.
const PACKETS: Rate = Rate { burst: 64, milli_per_s: 12_000 };
/// Packets above the rate, after which the link ends.
const EXCESS: u32 = 256;
/// Something is sent after this time, so that the other side knows that we are there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Whoever is silent for so long is gone: two signs of life may be lost.
const SILENCE: Duration = Duration::from_secs(200);
/// A hello is sent again after this time.
const HELLO_AGAIN: Duration = Duration::from_secs(5);
/// So long may an opening take.
const OPENING: Duration = Duration::from_secs(15);

/// How far a link is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// We have asked, or were asked and have agreed; the other side has not shown that it has our id.
    Opening,
    /// Frames pass.
    Up,
    /// It floods or lies: to be ended.
    Condemned,
}

/// One link.
pub(super) struct Link {
    pub(super) to: RelayPeer,
    pub(super) ours: LinkId,
    pub(super) theirs: Option<LinkId>,
    pub(super) state: State,
    /// We have asked for it.
    pub(super) asked: bool,
    since: Instant,
    heard: Instant,
    sent: Instant,
    hello_due: Instant,
    packets: Bucket,
    excess: u32,
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Bytes of the first frame that are gone already.
    offset: usize,
    number: u32,
    expected: u32,
    partial: Option<Vec<u8>>,
}

impl Link {
    pub(super) fn new(now: Instant, to: RelayPeer, ours: LinkId, asked: bool) -> Self {
        Self {
            to,
            ours,
            theirs: None,
            state: State::Opening,
            asked,
            since: now,
            heard: now,
            sent: now,
            hello_due: now,
            packets: Bucket::new(PACKETS, now),
            excess: 0,
            queue: VecDeque::new(),
            queued: 0,
            offset: 0,
            number: 0,
            expected: 0,
            partial: None,
        }
    }

    /// Something came. Whether it is taken: it is within the rate.
    pub(super) fn hears(&mut self, now: Instant) -> bool {
        self.heard = now;
        let taken = self.packets.take(now);
        self.excess += u32::from(!taken);
        if self.excess >= EXCESS {
            self.state = State::Condemned;
        }
        taken
    }

    pub(super) fn sends(&mut self, now: Instant) {
        self.hello_due = now + HELLO_AGAIN;
        self.sent = now;
    }

    /// Has a frame sent, if there is room for it.
    pub(super) fn enqueue(&mut self, frame: Bytes) -> bool {
        let fits = self.queued + frame.len() <= QUEUED;
        if fits {
            self.queued += frame.len();
            self.queue.push_back(frame);
        }
        fits
    }

    /// Forgets what waits: there is something more urgent.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        (self.queued, self.offset) = (0, 0);
    }

    pub(super) fn has_frames(&self) -> bool {
        !self.queue.is_empty()
    }

    /// As much of what waits as fits into one packet; nothing at all is a sign of life.
    pub(super) fn next_packet(&mut self) -> Option<Packet> {
        let yours = self.theirs?;
        let mut parts = Vec::new();
        let mut room = limits::NATIVE_RELAYED_LENGTH - HEAD;
        while let Some(frame) = self.queue.front()
            && room > PART
        {
            let rest = frame.slice(self.offset..);
            let length = rest.len().min(room - PART);
            let more = length < rest.len();
            // A short frame is better off whole in the next packet.
            if more && !parts.is_empty() && self.offset == 0 && frame.len() <= limits::CHAT_MESSAGE_LENGTH + 2 {
                break;
            }
            parts.push(Part { goes_on: self.offset > 0, more, bytes: rest.slice(..length) });
            room -= PART + length;
            if more {
                self.offset += length;
            } else {
                self.queued -= frame.len();
                self.offset = 0;
                self.queue.pop_front();
            }
        }
        let number = self.number;
        self.number = number.wrapping_add(1);
        Some(Packet::Frames { yours, number, parts })
    }

    /// The frames that are whole with these parts. `None` for a frame that is longer than any.
    pub(super) fn take_parts(&mut self, number: u32, parts: Vec<Part>) -> Option<Vec<Bytes>> {
        if number != self.expected {
            self.partial = None;
        }
        self.expected = number.wrapping_add(1);
        let mut frames = Vec::new();
        for Part { goes_on, more, bytes } in parts {
            let before = self.partial.take();
            if !goes_on && !more {
                frames.push(bytes);
                continue;
            }
            let begun = if goes_on { before } else { Some(Vec::new()) };
            // The beginning was lost: the rest is of no use.
            let Some(mut whole) = begun else { continue };
            if whole.len() + bytes.len() > FRAME {
                return None;
            }
            whole.extend_from_slice(&bytes);
            if more {
                self.partial = Some(whole);
            } else {
                frames.push(whole.into());
            }
        }
        Some(frames)
    }

    /// Whether nobody is there any more, or nobody ever was.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.ends()
    }

    /// When it is over if nothing comes.
    pub(super) fn ends(&self) -> Instant {
        match self.state {
            State::Up => self.heard + SILENCE,
            State::Opening => self.since + OPENING,
            State::Condemned => self.since,
        }
    }

    /// When something is to be sent even if nothing waits.
    pub(super) fn speaks(&self) -> Instant {
        match self.state {
            State::Up => self.sent + KEEP_ALIVE,
            State::Opening if self.asked && self.theirs.is_none() => self.hello_due,
            _ => self.ends(),
        }
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.queued <= QUEUED, "{} bytes wait for a link", self.queued);
        assert!(self.partial.as_ref().is_none_or(|partial| partial.len() <= FRAME), "a frame without end");
        assert_eq!(self.queued, self.queue.iter().map(Bytes::len).sum::<usize>(), "bytes that wait");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        let to = RelayPeer { tracker: "t:1".into(), address: ([10, 0, 0, 1], 1).into() };
        let mut link = Link::new(Instant::now(), to, [1; 8], true);
        link.theirs = Some([2; 8]);
        link
    }

    fn packets(link: &mut Link) -> Vec<(u32, Vec<Part>)> {
        let mut packets = Vec::new();
        while link.has_frames() {
            let Some(Packet::Frames { number, parts, .. }) = link.next_packet() else { panic!("no packet") };
            let encoded = Packet::Frames { yours: [2; 8], number, parts: parts.clone() }.encode();
            assert!(encoded.len() <= limits::NATIVE_RELAYED_LENGTH);
            link.check_invariants();
            packets.push((number, parts));
        }
        packets
    }

    #[test]
    fn frames_of_all_lengths_arrive_whole_and_in_order() {
        let (mut from, mut to) = (link(), link());
        let lengths = [1, 4_098, 4_098, 100, FRAME, 3, 8_176, 8_177, 4_098, 2];
        let frames: Vec<Bytes> = (0u8..).zip(lengths).map(|(at, length)| vec![at; length].into()).collect();
        assert!(frames.iter().all(|frame| from.enqueue(frame.clone())));
        let packets = packets(&mut from);
        assert!(packets.len() <= 13, "{} packets", packets.len());
        let come: Vec<Bytes> =
            packets.into_iter().flat_map(|(number, parts)| to.take_parts(number, parts).unwrap()).collect();
        assert_eq!(come, frames);
    }

    #[test]
    fn what_is_lost_takes_no_other_frame_with_it() {
        let frames: Vec<Bytes> =
            [10, 20_000, 30, 20_000, 40].into_iter().map(|length| vec![7; length].into()).collect();
        let mut from = link();
        assert!(frames.iter().all(|frame| from.enqueue(frame.clone())));
        let packets = packets(&mut from);
        for lost in 0..packets.len() {
            let mut to = link();
            let come = packets.iter().enumerate().filter(|(at, _)| *at != lost);
            let come: Vec<Bytes> =
                come.flat_map(|(_, (number, parts))| to.take_parts(*number, parts.clone()).unwrap()).collect();
            assert!(come.iter().all(|frame| frames.contains(frame)) && come.len() >= 2, "{lost}: {}", come.len());
        }
    }

    #[test]
    fn what_waits_and_what_is_put_together_is_bounded() {
        let mut link = link();
        let long: Bytes = vec![1; 50_000].into();
        assert_eq!((0..100).filter(|_| link.enqueue(long.clone())).count(), QUEUED / 50_000);
        let part = |goes_on| Part { goes_on, more: true, bytes: vec![1; 8_000].into() };
        assert!(link.take_parts(0, vec![part(false)]).is_some());
        let taken = (1..100).take_while(|number| link.take_parts(*number, vec![part(true)]).is_some()).count();
        assert_eq!(taken, FRAME / 8_000 - 1);
        link.check_invariants();
    }

    #[test]
    fn who_sends_too_much_is_not_listened_to_and_then_cut_off() {
        let mut link = link();
        link.state = State::Up;
        let now = Instant::now();
        assert_eq!((0..300).filter(|_| link.hears(now)).count(), 64);
        assert!(!link.is_over(now));
        (0..20).for_each(|_| assert!(!link.hears(now)));
        assert!(link.is_over(now));
    }
}
