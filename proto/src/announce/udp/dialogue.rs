//! What a client sends to one tracker at one address, and when it sends it again (BEP 15).
//!
//! [`Dialogue`] owns the connection id and the questions that wait for an answer. It never sends anything itself:
//! datagrams go out by [`Dialogue::poll_transmit`] and come in by [`Dialogue::handle_datagram`].
//!
//! A question that stays without an answer is repeated after 15 s, and after twice as long each further time. Silence
//! may also mean that the tracker has forgotten the connection id, as after a restart; so it is repeated with a new one.
//! An error in answer to a question with an id older than itself may mean the same: it is asked once more.
//!
//! Invariants: each question has exactly one answer, at the latest when its time is over; at most [`WINDOW`] questions
//! are on their way; a connection id is used for [`CONNECTION_LIFETIME`] at most; no datagram is repeated within
//! [`FIRST_SILENCE`]; nothing is sent when nobody waits for an answer.

use super::request::{announce_request, connect_request, scrape_request};
use super::{ConnectionId, Family, Reply, TransactionId};
use crate::announce::http::{SCRAPE_HASHES, ScrapeEntry};
use crate::announce::{Announce, AnnounceReply, TrackerError};
use crate::id::InfoHash;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a client may use a connection id (BEP 15).
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);
/// Silence after which a datagram is repeated for the first time (BEP 15).
const FIRST_SILENCE: Duration = Duration::from_secs(15);
/// BEP 15 goes on to 8, more than an hour. The schedule of announces is back 5 minutes after the tracker at the latest:
/// 15 s doubled four times are 4.
const MOST_DOUBLINGS: u32 = 4;
/// Questions on their way at a time: a thousand torrents that start together must not drown their own answers.
const WINDOW: usize = 64;

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// An announce.
    Announce {
        /// What is announced.
        announce: Announce,
        /// Path and query of the tracker's URL (BEP 41).
        url_data: String,
    },
    /// The counts of these torrents; those beyond [`SCRAPE_HASHES`] are not asked for.
    Scrape(Vec<InfoHash>),
}

/// What the tracker said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// To an announce.
    Announced(AnnounceReply),
    /// To a scrape: as many as were asked for, in their order.
    Scraped(Vec<ScrapeEntry>),
}

/// A question under way, as it is named in the answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Question(u64);

/// The client's side towards one address; see the module's header.
#[derive(Debug)]
pub struct Dialogue {
    family: Family,
    connection: Connection,
    asked: Vec<Asked>,
    answers: VecDeque<(Question, Result<Answer, TrackerError>)>,
    outgoing: VecDeque<Vec<u8>>,
    next_question: u64,
    random: SmallRng,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Connection {
    Closed,
    Opening { transaction: TransactionId, sent: Instant, silences: u32 },
    Open { id: ConnectionId, since: Instant },
}

/// A question that has no answer yet.
#[derive(Debug)]
struct Asked {
    question: Question,
    subject: Subject,
    /// The same for all repetitions, so that a late answer to the first counts.
    transaction: TransactionId,
    since: Instant,
    timeout: Duration,
    /// When it was sent last; `None` while it waits for a connection or a place in the window.
    sent: Option<Instant>,
    silences: u32,
}

impl Dialogue {
    /// A dialogue over this family of addresses. Transaction ids come from the seed.
    pub fn new(family: Family, seed: u64) -> Self {
        Self {
            family,
            connection: Connection::Closed,
            asked: Vec::new(),
            answers: VecDeque::new(),
            outgoing: VecDeque::new(),
            next_question: 0,
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// Asks something; after `timeout` no answer is the answer.
    pub fn ask(&mut self, now: Instant, subject: Subject, timeout: Duration) -> Question {
        let question = Question(self.next_question);
        self.next_question += 1;
        let transaction = self.transaction();
        self.asked.push(Asked { question, subject, transaction, since: now, timeout, sent: None, silences: 0 });
        self.advance(now);
        question
    }

    /// Takes a datagram that came from the tracker's address. What answers nothing that was asked is ignored.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        if let Some((transaction, reply)) = Reply::read(datagram, self.family) {
            match self.connection {
                Connection::Opening { transaction: ours, .. } if ours == transaction => self.connected(now, reply),
                _ => self.answered(transaction, reply),
            }
        }
        self.advance(now);
    }

    /// Does what is due at [`Dialogue::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// The next datagram to send. To be called until it returns nothing.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }

    /// The next answer. To be called until it returns nothing.
    pub fn poll_answer(&mut self) -> Option<(Question, Result<Answer, TrackerError>)> {
        self.answers.pop_front()
    }

    /// When [`Dialogue::handle_timeout`] must be called; `None` if the dialogue is over, or only an input can change
    /// anything.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ends = self.asked.iter().map(Asked::ends);
        let repeats = self.asked.iter().filter_map(Asked::repeats);
        let connection = match self.connection {
            Connection::Closed => None,
            Connection::Opening { sent, silences, .. } => Some(sent + silence(silences)),
            Connection::Open { since, .. } => Some(since + CONNECTION_LIFETIME),
        };
        ends.chain(repeats).chain(connection).min()
    }

    /// Whether nothing is asked and no connection id is left that could be used again.
    pub fn is_over(&self) -> bool {
        self.asked.is_empty() && self.connection == Connection::Closed
    }

    /// The socket has broken: the answer to all that is asked.
    pub fn fail(&mut self, error: &TrackerError) {
        self.connection = Connection::Closed;
        self.outgoing.clear();
        self.answers.extend(self.asked.drain(..).map(|asked| (asked.question, Err(error.clone()))));
    }

    fn connected(&mut self, now: Instant, reply: Reply) {
        match reply {
            Reply::Connected(id) => self.connection = Connection::Open { id, since: now },
            // Questions that were sent with an older id may still be answered.
            Reply::Refused(reason) => {
                self.connection = Connection::Closed;
                let waiting = self.asked.extract_if(.., |asked| asked.sent.is_none());
                self.answers.extend(waiting.map(|asked| (asked.question, Err(refused(reason.to_string())))));
            }
            Reply::Announced(_) | Reply::Scraped(_) => {}
        }
    }

    fn answered(&mut self, transaction: TransactionId, reply: Reply) {
        let ours = |asked: &Asked| asked.transaction == transaction && (asked.sent.is_some() || asked.silences > 0);
        let Some(position) = self.asked.iter().position(ours) else { return };
        let Some(asked) = self.asked.get_mut(position) else { return };
        let answer = match (&asked.subject, reply) {
            (Subject::Announce { .. }, Reply::Announced(reply)) => Ok(Answer::Announced(reply)),
            (Subject::Scrape(hashes), Reply::Scraped(mut entries)) => {
                entries.resize(hashes.len().min(SCRAPE_HASHES), ScrapeEntry::default());
                Ok(Answer::Scraped(entries))
            }
            (_, Reply::Refused(reason)) => {
                let doubtful = match self.connection {
                    Connection::Open { since, .. } => since < asked.since,
                    Connection::Opening { .. } | Connection::Closed => true,
                };
                if doubtful {
                    asked.sent = None;
                    self.close();
                    return;
                }
                Err(refused(reason.into_owned()))
            }
            _ => return,
        };
        let asked = self.asked.remove(position);
        self.answers.push_back((asked.question, answer));
    }

    /// Gives up the connection id, so that the next is asked for.
    fn close(&mut self) {
        if matches!(self.connection, Connection::Open { .. }) {
            self.connection = Connection::Closed;
        }
    }

    /// Does all that time and the last input make necessary.
    fn advance(&mut self, now: Instant) {
        let over = self.asked.extract_if(.., |asked| asked.ends() <= now);
        self.answers.extend(over.map(|asked| (asked.question, Err(TrackerError::TimedOut(asked.timeout)))));
        if let Connection::Open { since, .. } = self.connection
            && since + CONNECTION_LIFETIME <= now
        {
            self.connection = Connection::Closed;
        }
        self.doubt_silence(now);
        if self.asked.iter().any(|asked| asked.sent.is_none()) {
            self.connect(now);
            self.send_waiting(now);
        } else if matches!(self.connection, Connection::Opening { .. }) {
            self.connection = Connection::Closed;
        }
    }

    /// Questions that were not answered in time wait for another round, with a new id unless theirs is newer.
    fn doubt_silence(&mut self, now: Instant) {
        let mut doubted = false;
        for asked in &mut self.asked {
            if let Some(sent) = asked.sent
                && asked.repeats().is_some_and(|due| due <= now)
            {
                asked.sent = None;
                asked.silences += 1;
                doubted |= matches!(self.connection, Connection::Open { since, .. } if since <= sent);
            }
        }
        if doubted {
            self.close();
        }
    }

    /// Asks for a connection id if there is none, or repeats that if it is time.
    fn connect(&mut self, now: Instant) {
        let (transaction, silences) = match self.connection {
            Connection::Closed => (self.transaction(), 0),
            Connection::Opening { transaction, sent, silences } if sent + silence(silences) <= now => {
                (transaction, silences + 1)
            }
            Connection::Opening { .. } | Connection::Open { .. } => return,
        };
        self.connection = Connection::Opening { transaction, sent: now, silences };
        self.outgoing.push_back(connect_request(transaction));
    }

    fn send_waiting(&mut self, now: Instant) {
        let Connection::Open { id, .. } = self.connection else { return };
        let room = WINDOW.saturating_sub(self.asked.iter().filter(|asked| asked.sent.is_some()).count());
        for asked in self.asked.iter_mut().filter(|asked| asked.sent.is_none()).take(room) {
            asked.sent = Some(now);
            self.outgoing.push_back(match &asked.subject {
                Subject::Announce { announce, url_data } => announce_request(id, asked.transaction, announce, url_data),
                Subject::Scrape(hashes) => scrape_request(id, asked.transaction, hashes),
            });
        }
    }

    /// A number that no other request under way has.
    fn transaction(&mut self) -> TransactionId {
        loop {
            let transaction = TransactionId(self.random.random());
            let opening =
                matches!(self.connection, Connection::Opening { transaction: other, .. } if other == transaction);
            if !opening && self.asked.iter().all(|asked| asked.transaction != transaction) {
                return transaction;
            }
        }
    }
}

impl Asked {
    fn ends(&self) -> Instant {
        self.since + self.timeout
    }

    fn repeats(&self) -> Option<Instant> {
        self.sent.map(|sent| sent + silence(self.silences))
    }
}

/// How long an answer is waited for after so many times without one.
fn silence(silences: u32) -> Duration {
    FIRST_SILENCE * (1 << silences.min(MOST_DOUBLINGS))
}

fn refused(reason: String) -> TrackerError {
    TrackerError::Refused { reason, retry_in: None }
}

#[cfg(test)]
mod tests;
