use super::*;
use crate::announce::udp::{Query, Request};
use crate::id::PeerId;
use proptest::prelude::*;

const SOON: Duration = Duration::from_secs(20);
const LATER: Duration = Duration::from_secs(10_000);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn announce(n: u8) -> Subject {
    let announce =
        Announce { num_want: Some(50), key: 7, ..Announce::new(InfoHash([n; 20]), PeerId([1; 20]), 6881, 5) };
    Subject::Announce { announce, url_data: "/announce".into() }
}

fn reply() -> AnnounceReply {
    AnnounceReply { interval: seconds(900), complete: Some(1), incomplete: Some(2), ..AnnounceReply::default() }
}

/// What was sent, in short: `C` for a connect, the connection id and the hash's first byte for all else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sent {
    C(TransactionId),
    A(u64, u8, TransactionId),
    S(u64, usize, TransactionId),
}

fn sent(dialogue: &mut Dialogue) -> Vec<Sent> {
    let read = |datagram: Vec<u8>| match Request::read(&datagram) {
        Some(Request::Connect(transaction)) => Sent::C(transaction),
        Some(Request::Claimed(claimed)) => match claimed.query() {
            Ok(Query::Announce { announce, options }) => {
                assert_eq!((announce.key, options.url_data()), (7, b"/announce".to_vec()));
                Sent::A(claimed.connection.0, announce.info_hash.0[0], claimed.transaction)
            }
            Ok(Query::Scrape(hashes)) => Sent::S(claimed.connection.0, hashes.len(), claimed.transaction),
            Err(fault) => panic!("{fault}"),
        },
        None => panic!("{datagram:?}"),
    };
    std::iter::from_fn(|| dialogue.poll_transmit()).map(read).collect()
}

fn connect_sent(dialogue: &mut Dialogue) -> TransactionId {
    match sent(dialogue)[..] {
        [Sent::C(transaction)] => transaction,
        ref other => panic!("{other:?}"),
    }
}

/// The one announce that was sent: its connection id and its transaction.
fn announce_sent(dialogue: &mut Dialogue) -> (u64, TransactionId) {
    match sent(dialogue)[..] {
        [Sent::A(connection, _, transaction)] => (connection, transaction),
        ref other => panic!("{other:?}"),
    }
}

fn say(dialogue: &mut Dialogue, now: Instant, transaction: TransactionId, reply: &Reply) {
    let mut datagram = Vec::new();
    reply.write(transaction, Family::V4, &mut datagram);
    dialogue.handle_datagram(now, &datagram);
}

fn connected(id: u64) -> Reply {
    Reply::Connected(ConnectionId(id))
}

fn dialogue() -> (Dialogue, Instant) {
    (Dialogue::new(Family::V4, 1), Instant::now())
}

/// A dialogue with a connection id, 1, that is as old as `now`.
fn open(now: Instant) -> Dialogue {
    let mut dialogue = Dialogue::new(Family::V4, 1);
    dialogue.ask(now, announce(0), SOON);
    let transaction = connect_sent(&mut dialogue);
    say(&mut dialogue, now, transaction, &connected(1));
    let (connection, transaction) = announce_sent(&mut dialogue);
    assert_eq!(connection, 1);
    say(&mut dialogue, now, transaction, &Reply::Announced(reply()));
    assert!(matches!(dialogue.poll_answer(), Some((_, Ok(_)))));
    dialogue
}

#[test]
fn a_connection_is_asked_for_once_and_used_for_a_minute() {
    let (mut dialogue, start) = dialogue();
    assert!(dialogue.is_over() && dialogue.poll_timeout().is_none());
    let questions = [dialogue.ask(start, announce(1), SOON), dialogue.ask(start, announce(2), SOON)];
    let transaction = connect_sent(&mut dialogue);
    say(&mut dialogue, start + seconds(1), transaction, &connected(5));
    let [Sent::A(5, 1, first), Sent::A(5, 2, second)] = sent(&mut dialogue)[..] else { panic!("two announces") };
    assert!(first != second && first != transaction);
    say(&mut dialogue, start + seconds(2), second, &Reply::Announced(reply()));
    say(&mut dialogue, start + seconds(2), first, &Reply::Announced(reply()));
    let answers: Vec<_> = std::iter::from_fn(|| dialogue.poll_answer()).collect();
    assert_eq!(answers, [1, 0].map(|n| (questions[n], Ok(Answer::Announced(reply())))));
    assert_eq!(dialogue.poll_timeout(), Some(start + seconds(61)), "the end of the connection id");

    dialogue.ask(start + seconds(60), announce(3), SOON);
    let (connection, transaction) = announce_sent(&mut dialogue);
    assert_eq!(connection, 5);
    say(&mut dialogue, start + seconds(60), transaction, &Reply::Announced(reply()));
    dialogue.ask(start + seconds(61), announce(3), SOON);
    connect_sent(&mut dialogue);
}

#[test]
fn silence_is_answered_by_asking_again_after_15_s_30_s_60_s() {
    let (mut dialogue, start) = dialogue();
    let question = dialogue.ask(start, announce(1), seconds(800));
    let transaction = connect_sent(&mut dialogue);
    let mut times = Vec::new();
    let mut now = start;
    while dialogue.poll_answer().is_none_or(|answer| {
        assert_eq!(answer, (question, Err(TrackerError::TimedOut(seconds(800)))));
        false
    }) {
        now = dialogue.poll_timeout().unwrap();
        dialogue.handle_timeout(now);
        for datagram in sent(&mut dialogue) {
            assert_eq!(datagram, Sent::C(transaction), "the same transaction, so that a late answer counts");
            times.push((now - start).as_secs());
        }
    }
    assert_eq!(times, [15, 45, 105, 225, 465, 705], "no pause is longer than 4 minutes");
    assert!((now - start).as_secs() == 800 && dialogue.is_over());
    say(&mut dialogue, now, transaction, &connected(1));
    assert!(dialogue.is_over() && dialogue.poll_transmit().is_none(), "too late");
}

#[test]
fn a_new_question_starts_with_the_first_pause() {
    let (mut dialogue, start) = dialogue();
    for round in 0..3 {
        let now = start + seconds(25 * round);
        dialogue.ask(now, announce(1), SOON);
        connect_sent(&mut dialogue);
        dialogue.handle_timeout(now + seconds(14));
        assert_eq!(sent(&mut dialogue), []);
        dialogue.handle_timeout(now + seconds(15));
        connect_sent(&mut dialogue);
        dialogue.handle_timeout(now + SOON);
        assert!(matches!(dialogue.poll_answer(), Some((_, Err(TrackerError::TimedOut(SOON))))));
    }
}

#[test]
fn a_tracker_that_has_restarted_is_asked_with_a_new_connection() {
    let now = Instant::now();
    let mut dialogue = open(now);
    let question = dialogue.ask(now + seconds(5), announce(1), SOON);
    let (1, first) = announce_sent(&mut dialogue) else { panic!("the old id") };
    // It does not know the id, and is silent as it should be.
    dialogue.handle_timeout(now + seconds(20));
    let transaction = connect_sent(&mut dialogue);
    say(&mut dialogue, now + seconds(21), transaction, &connected(2));
    assert_eq!(announce_sent(&mut dialogue), (2, first));
    say(&mut dialogue, now + seconds(22), first, &Reply::Announced(reply()));
    assert_eq!(dialogue.poll_answer(), Some((question, Ok(Answer::Announced(reply())))));
}

#[test]
fn a_refusal_of_an_old_connection_is_no_refusal_of_the_question() {
    let now = Instant::now();
    let refused = Reply::Refused("Connection ID mismatch".into());
    let mut dialogue = open(now);
    let question = dialogue.ask(now + seconds(5), announce(1), SOON);
    let (1, first) = announce_sent(&mut dialogue) else { panic!("the old id") };
    say(&mut dialogue, now + seconds(6), first, &refused);
    assert_eq!(dialogue.poll_answer(), None);
    let transaction = connect_sent(&mut dialogue);
    say(&mut dialogue, now + seconds(7), transaction, &connected(2));
    assert_eq!(announce_sent(&mut dialogue), (2, first));
    say(&mut dialogue, now + seconds(8), first, &refused);
    let reason = "Connection ID mismatch".to_owned();
    assert_eq!(dialogue.poll_answer(), Some((question, Err(TrackerError::Refused { reason, retry_in: None }))));
}

#[test]
fn a_tracker_that_gives_no_connection_refuses_all_that_waits() {
    let (mut dialogue, now) = dialogue();
    let questions = [dialogue.ask(now, announce(1), SOON), dialogue.ask(now, announce(2), SOON)];
    let transaction = connect_sent(&mut dialogue);
    say(&mut dialogue, now, transaction, &Reply::Refused("go away".into()));
    for question in questions {
        let error = TrackerError::Refused { reason: "go away".into(), retry_in: None };
        assert_eq!(dialogue.poll_answer(), Some((question, Err(error))));
    }
    assert!(dialogue.is_over() && dialogue.poll_transmit().is_none());
}

#[test]
fn what_answers_nothing_is_ignored() {
    let (mut dialogue, now) = dialogue();
    let question = dialogue.ask(now, announce(1), SOON);
    let connect = connect_sent(&mut dialogue);
    let announced = Reply::Announced(reply());
    say(&mut dialogue, now, TransactionId(connect.0 ^ 1), &connected(9));
    say(&mut dialogue, now, connect, &announced);
    dialogue.handle_datagram(now, b"\0\0\0\0\0\0\0");
    dialogue.handle_datagram(now, b"");
    assert_eq!((sent(&mut dialogue), dialogue.poll_answer()), (Vec::new(), None));
    say(&mut dialogue, now, connect, &connected(1));
    let (1, transaction) = announce_sent(&mut dialogue) else { panic!("the right id") };
    say(&mut dialogue, now, connect, &connected(2));
    say(&mut dialogue, now, transaction, &connected(2));
    say(&mut dialogue, now, transaction, &Reply::Scraped(Vec::new()));
    say(&mut dialogue, now, TransactionId(transaction.0 ^ 1), &announced);
    say(&mut dialogue, now, TransactionId(transaction.0 ^ 1), &Reply::Refused("spoofed".into()));
    let mut cut = Vec::new();
    announced.write(transaction, Family::V4, &mut cut);
    dialogue.handle_datagram(now, &cut[..19]);
    assert_eq!((sent(&mut dialogue), dialogue.poll_answer()), (Vec::new(), None));
    say(&mut dialogue, now, transaction, &announced);
    assert_eq!(dialogue.poll_answer(), Some((question, Ok(Answer::Announced(reply())))));
    say(&mut dialogue, now, transaction, &announced);
    assert_eq!(dialogue.poll_answer(), None, "a duplicate");
}

#[test]
fn a_late_answer_counts() {
    let now = Instant::now();
    let mut dialogue = open(now);
    let question = dialogue.ask(now, announce(1), LATER);
    let (1, transaction) = announce_sent(&mut dialogue) else { panic!("the old id") };
    dialogue.handle_timeout(now + seconds(15));
    connect_sent(&mut dialogue);
    say(&mut dialogue, now + seconds(16), transaction, &Reply::Announced(reply()));
    assert_eq!(dialogue.poll_answer(), Some((question, Ok(Answer::Announced(reply())))));
    assert!(dialogue.is_over(), "nobody needs the new connection any more");
}

#[test]
fn scrapes_have_an_answer_for_each_hash() {
    let now = Instant::now();
    for (hashes, told) in [(2, 1), (2, 2), (2, 3), (100, 74), (0, 0)] {
        let mut dialogue = open(now);
        dialogue.ask(now, Subject::Scrape(vec![InfoHash([1; 20]); hashes]), SOON);
        let datagram = dialogue.poll_transmit().unwrap();
        assert_eq!(datagram.len(), 16 + 20 * hashes.min(74));
        let transaction = TransactionId(u32::from_be_bytes(*datagram[12..].first_chunk().unwrap()));
        let entry = ScrapeEntry { complete: 1, incomplete: 2, downloaded: 3 };
        say(&mut dialogue, now, transaction, &Reply::Scraped(vec![entry; told]));
        let Some((_, Ok(Answer::Scraped(entries)))) = dialogue.poll_answer() else { panic!("an answer") };
        assert_eq!(entries.len(), hashes.min(74));
        assert_eq!(entries.iter().filter(|known| **known == entry).count(), told.min(hashes));
    }
}

#[test]
fn no_more_than_a_window_is_on_its_way() {
    let now = Instant::now();
    let mut dialogue = open(now);
    for n in 0..200 {
        dialogue.ask(now, announce(n), SOON);
    }
    let first = sent(&mut dialogue);
    assert_eq!(first.len(), WINDOW);
    for (answered, datagram) in first.into_iter().enumerate() {
        let Sent::A(_, _, transaction) = datagram else { panic!("an announce") };
        say(&mut dialogue, now, transaction, &Reply::Announced(reply()));
        assert_eq!(sent(&mut dialogue).len(), 1, "{answered}");
    }
    dialogue.handle_timeout(now + SOON);
    assert_eq!(std::iter::from_fn(|| dialogue.poll_answer()).count(), 200);
}

#[test]
fn a_broken_socket_answers_everything() {
    let now = Instant::now();
    let mut dialogue = open(now);
    dialogue.ask(now, announce(1), SOON);
    dialogue.ask(now, announce(2), SOON);
    let error = TrackerError::Unreachable("refused".into());
    dialogue.fail(&error);
    for _ in 0..2 {
        assert!(matches!(dialogue.poll_answer(), Some((_, Err(told))) if told == error));
    }
    assert!(dialogue.poll_answer().is_none() && dialogue.poll_transmit().is_none() && dialogue.is_over());
}

/// A tracker that answers with some chance, late, wrongly, or not at all.
fn tracker_says(datagram: &[u8], kind: u8) -> Option<Vec<u8>> {
    let (transaction, right) = match Request::read(datagram)? {
        Request::Connect(transaction) => (transaction, connected(u64::from(kind))),
        Request::Claimed(claimed) => match claimed.query() {
            Ok(Query::Scrape(hashes)) => {
                (claimed.transaction, Reply::Scraped(vec![ScrapeEntry::default(); hashes.len()]))
            }
            _ => (claimed.transaction, Reply::Announced(reply())),
        },
    };
    let (transaction, reply) = match kind % 8 {
        0..4 => (transaction, right),
        4 => (TransactionId(u32::from(kind)), right),
        5 => (transaction, Reply::Refused("no".into())),
        6 => (transaction, Reply::Scraped(Vec::new())),
        _ => return None,
    };
    let mut out = Vec::new();
    reply.write(transaction, Family::V4, &mut out);
    Some(out)
}

proptest! {
    /// Whatever the tracker does: each question is answered once and in time, and little is sent for it.
    #[test]
    fn every_question_has_one_answer(
        seed: u64,
        steps in proptest::collection::vec((0u8..5, 0u64..30_000, any::<u8>()), 1..80),
    ) {
        let start = Instant::now();
        let mut now = start;
        let mut dialogue = Dialogue::new(Family::V4, seed);
        let (mut asked, mut answered, mut datagrams, mut wire) = (Vec::new(), Vec::new(), 0, Vec::new());
        for (step, wait, kind) in steps {
            let target = now + Duration::from_millis(wait);
            while let Some(due) = dialogue.poll_timeout().filter(|due| *due <= target) {
                prop_assert!(due >= now, "it asks for a time that is over");
                now = due;
                dialogue.handle_timeout(now);
                wire.extend(std::iter::from_fn(|| dialogue.poll_transmit()));
                prop_assert!(dialogue.poll_timeout().is_none_or(|next| next > now), "it spins");
            }
            now = target;
            match step {
                0 | 1 => asked.push((dialogue.ask(now, announce(kind), SOON), now)),
                2 => asked.push((dialogue.ask(now, Subject::Scrape(vec![InfoHash([kind; 20])]), SOON), now)),
                _ => {
                    for datagram in std::mem::take(&mut wire) {
                        datagrams += 1;
                        if let Some(reply) = tracker_says(&datagram, kind) {
                            dialogue.handle_datagram(now, &reply);
                        }
                    }
                }
            }
            wire.extend(std::iter::from_fn(|| dialogue.poll_transmit()));
            while let Some((question, _)) = dialogue.poll_answer() {
                answered.push(question);
                let (_, since) = asked.iter().find(|(asked, _)| *asked == question).unwrap();
                prop_assert!(now.duration_since(*since) <= SOON + Duration::from_secs(30));
            }
        }
        dialogue.handle_timeout(now + SOON);
        answered.extend(std::iter::from_fn(|| dialogue.poll_answer()).map(|(question, _)| question));
        answered.sort_unstable_by_key(|question| question.0);
        prop_assert_eq!(answered, asked.iter().map(|(question, _)| *question).collect::<Vec<_>>());
        prop_assert!(datagrams + wire.len() <= 6 * asked.len(), "{datagrams} for {} questions", asked.len());
    }
}
