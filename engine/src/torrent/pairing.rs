//! Which finished pieces are verified together.
//!
//! Two pieces that are hashed together cost little more than half of what they cost one after the other, where the processor
//! can do that. So a piece waits for the next one, if that is to be expected at once. Owns the one that waits, and never lets
//! it wait for longer than [`PATIENCE`].

use super::disk::Verification;
use std::time::{Duration, Instant};
use swarm_hash::Method;

/// How long a piece waits for the next one, which came as soon behind the one before: what nobody notices.
const PATIENCE: Duration = Duration::from_millis(4);

#[derive(Default)]
pub(super) struct Pairing {
    waiting: Option<(Verification, Instant)>,
    /// When the last piece came.
    last: Option<Instant>,
}

impl Pairing {
    /// Takes a piece; `more` tells whether others are under way. Returns what is to be verified now, together.
    pub(super) fn push(&mut self, now: Instant, work: Verification, more: bool) -> Vec<Verification> {
        let before = self.last.replace(now);
        if let Some((first, _)) = self.waiting.take() {
            return vec![first, work];
        }
        let soon = before.is_some_and(|before| now.saturating_duration_since(before) < PATIENCE);
        if !(soon && more && Method::best().pairs()) {
            return vec![work];
        }
        self.waiting = Some((work, now + PATIENCE));
        Vec::new()
    }

    /// When the waiting piece waits no longer.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|(_, deadline)| *deadline)
    }

    /// The waiting piece, if it has waited long enough.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Verification> {
        self.waiting.take_if(|(_, deadline)| *deadline <= now).map(|(work, _)| work)
    }

    /// The waiting piece.
    pub(super) fn take(&mut self) -> Option<Verification> {
        self.waiting.take().map(|(work, _)| work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_proto::geometry::Geometry;

    fn work(index: u32) -> Verification {
        let piece = Geometry::new(100, 10).unwrap().piece(index).unwrap();
        Verification { piece, hash: [0; 20], blocks: Vec::new(), digests: false }
    }

    #[test]
    fn a_piece_waits_only_for_one_that_is_to_be_expected() {
        let (mut pairing, start) = (Pairing::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let count = |works: Vec<Verification>| works.len();
        assert_eq!(count(pairing.push(start, work(0), true)), 1, "nobody knows yet how fast they come");
        assert_eq!(count(pairing.push(at(100), work(1), true)), 1, "they come slowly");
        assert_eq!(count(pairing.push(at(101), work(2), false)), 1, "no other is under way");
        if !Method::best().pairs() {
            assert_eq!(count(pairing.push(at(102), work(3), true)), 1, "nothing is gained");
            return;
        }
        assert_eq!(count(pairing.push(at(102), work(3), true)), 0);
        assert_eq!(pairing.deadline(), Some(at(106)));
        let pair = pairing.push(at(103), work(4), false);
        assert_eq!(pair.iter().map(|work| work.piece.as_u32()).collect::<Vec<_>>(), [3, 4]);
        assert_eq!((count(pairing.push(at(104), work(5), true)), pairing.deadline()), (0, Some(at(108))));
        assert!(pairing.take_due(at(107)).is_none());
        assert_eq!(pairing.take_due(at(108)).map(|work| work.piece.as_u32()), Some(5));
        assert!(pairing.deadline().is_none() && pairing.take().is_none());
        assert_eq!(count(pairing.push(at(110), work(6), true)), 1, "that was long ago");
    }
}
