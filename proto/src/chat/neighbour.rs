//! What is known of one neighbour, and how much of it is taken.

use super::bucket::{Bucket, Rate};
use super::contract::MessageId;
use super::identity::PublicKey;
use super::returning::Origin;
use std::collections::{HashSet, VecDeque};
use std::time::Instant;

/// Frames: a whole history and everybody's presence at once, then a busy room of hundreds.
const FRAMES: Rate = Rate { burst: 4_096, milli_per_s: 256_000 };
/// Authors that were not known before: everybody of a large room at once.
const NEWCOMERS: Rate = Rate { burst: 512, milli_per_s: 500 };
/// Answers to `have`: each may cost a whole history.
const ANSWERS: Rate = Rate { burst: 4, milli_per_s: 100 };
/// Messages that it asks for one by one.
const WANTS: Rate = Rate { burst: 1_024, milli_per_s: 32_000 };
/// Messages to the room that it passes on as news, whoever wrote them: hundreds at once, and more than anybody can read.
const NEWS: Rate = Rate { burst: 256, milli_per_s: 32_000 };
/// The same of those that we have asked it for: a whole history, and then as many.
const GIVEN: Rate = Rate { burst: 576, milli_per_s: 32_000 };
/// Frames above the rate, after which the connection ends.
const EXCESS: u32 = 4_096;
/// Forged or malformed messages, after which the connection ends: an honest neighbour passes on none.
const FAULTS: u32 = 4;
/// As [`FRAMES`], behind a tracker, which carries far less: two hundred presences and a history at once.
const RELAYED_FRAMES: Rate = Rate { burst: 1_024, milli_per_s: 64_000 };
/// As [`NEWCOMERS`], behind a tracker.
const RELAYED_NEWCOMERS: Rate = Rate { burst: 256, milli_per_s: 200 };
/// As [`ANSWERS`], behind a tracker.
const RELAYED_ANSWERS: Rate = Rate { burst: 2, milli_per_s: 33 };
/// As [`WANTS`], behind a tracker.
const RELAYED_WANTS: Rate = Rate { burst: 256, milli_per_s: 8_000 };
/// As [`NEWS`], behind a tracker.
const RELAYED_NEWS: Rate = Rate { burst: 64, milli_per_s: 8_000 };
/// As [`GIVEN`], behind a tracker.
const RELAYED_GIVEN: Rate = Rate { burst: 256, milli_per_s: 8_000 };
/// Ids that the neighbour is remembered to have.
const KNOWN: usize = 512;

/// The last ids of some kind.
#[derive(Default)]
pub(super) struct Recent {
    order: VecDeque<MessageId>,
    set: HashSet<MessageId>,
}

impl Recent {
    /// Whether it is new.
    pub(super) fn insert(&mut self, id: MessageId) -> bool {
        if !self.set.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > KNOWN
            && let Some(old) = self.order.pop_front()
        {
            self.set.remove(&old);
        }
        true
    }

    pub(super) fn contains(&self, id: &MessageId) -> bool {
        self.set.contains(id)
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.order.len() <= KNOWN && self.order.len() == self.set.len(), "{} ids", self.order.len());
    }
}

/// How much is taken of one neighbour.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    pub(super) frames: Bucket,
    pub(super) newcomers: Bucket,
    pub(super) answers: Bucket,
    pub(super) wants: Bucket,
    pub(super) news: Bucket,
    pub(super) given: Bucket,
    excess: u32,
    faults: u32,
}

impl Rates {
    /// Of one that is connected to us, or of one behind a tracker.
    pub(super) fn new(now: Instant, relayed: bool) -> Self {
        let [frames, newcomers, answers, wants, news, given] = match relayed {
            false => [FRAMES, NEWCOMERS, ANSWERS, WANTS, NEWS, GIVEN],
            true => [RELAYED_FRAMES, RELAYED_NEWCOMERS, RELAYED_ANSWERS, RELAYED_WANTS, RELAYED_NEWS, RELAYED_GIVEN],
        };
        Self {
            frames: Bucket::new(frames, now),
            newcomers: Bucket::new(newcomers, now),
            answers: Bucket::new(answers, now),
            wants: Bucket::new(wants, now),
            news: Bucket::new(news, now),
            given: Bucket::new(given, now),
            excess: 0,
            faults: 0,
        }
    }

    /// A frame above the rate. Whether that was one too many.
    pub(super) fn exceeds(&mut self) -> bool {
        self.excess += 1;
        self.excess >= EXCESS
    }

    /// Something that no honest neighbour sends. Whether that was one too many.
    pub(super) fn lies(&mut self) -> bool {
        self.faults += 1;
        self.faults >= FAULTS
    }
}

/// One neighbour.
pub(super) struct Neighbour {
    pub(super) rates: Rates,
    /// Where it comes from, if the shell knows.
    pub(super) origin: Option<Origin>,
    /// What it has, as far as we know.
    pub(super) knows: Recent,
    /// What it has sent us.
    pub(super) sent_us: Recent,
    /// What it is to be told of.
    pub(super) lazy: Vec<MessageId>,
    /// Messages that it may give, because we asked.
    pub(super) credit: usize,
    /// Who it seems to be.
    pub(super) key: Option<PublicKey>,
}

impl Neighbour {
    pub(super) fn new(rates: Rates, origin: Option<Origin>) -> Self {
        Self {
            rates,
            origin,
            knows: Recent::default(),
            sent_us: Recent::default(),
            lazy: Vec::new(),
            credit: 0,
            key: None,
        }
    }
}
