use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const INFO_HASH: InfoHash = InfoHash([7; 20]);
const LEECHING: Totals = Totals { uploaded: 1, downloaded: 2, left: 3 };
const SEEDING: Totals = Totals { uploaded: 1, downloaded: 5, left: 0 };

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn announcer(tiers: &[&[&str]], now: Instant) -> Announcer {
    let tiers = tiers.iter().map(|tier| tier.iter().map(ToString::to_string).collect()).collect();
    let peer_id = PeerId([1; 20]);
    Announcer::new(AnnouncerConfig { tiers, info_hash: INFO_HASH, peer_id, port: 6881, key: 9, seed: 1 }, now)
}

fn reply(interval: u64) -> AnnounceReply {
    AnnounceReply { interval: seconds(interval), ..AnnounceReply::default() }
}

fn unreachable() -> TrackerError {
    TrackerError::Unreachable("refused".into())
}

/// Every job that is due, as URL and event.
fn due(announcer: &mut Announcer, now: Instant, totals: &Totals) -> Vec<(u64, String, AnnounceEvent)> {
    std::iter::from_fn(|| announcer.poll(now, totals, 50)).map(|job| (job.id, job.url, job.announce.event)).collect()
}

/// The one job that is due.
fn one(announcer: &mut Announcer, now: Instant, totals: &Totals) -> AnnounceJob {
    let job = announcer.poll(now, totals, 50).expect("a job is due");
    assert_eq!(announcer.poll(now, totals, 50), None);
    job
}

#[test]
fn all_tiers_are_announced_to_at_once() {
    let now = Instant::now();
    let mut announcer = announcer(&[&["http://a/announce"], &[], &["native://b"]], now);
    assert_eq!(announcer.poll_timeout(), Some(now));
    let job = announcer.poll(now, &LEECHING, 50).unwrap();
    assert_eq!((job.url.as_str(), job.timeout), ("http://a/announce", TIMEOUT));
    let expected = Announce {
        info_hash: INFO_HASH,
        peer_id: PeerId([1; 20]),
        port: 6881,
        uploaded: 1,
        downloaded: 2,
        left: 3,
        event: AnnounceEvent::Started,
        num_want: Some(50),
        key: 9,
        tracker_id: None,
    };
    assert_eq!(job.announce, expected);
    assert_eq!(one(&mut announcer, now, &LEECHING).url, "native://b");
    assert!(!announcer.is_idle());
}

#[test]
fn a_tier_fails_over_and_keeps_what_works_in_front() {
    let now = Instant::now();
    let mut announcer = announcer(&[&["http://a", "http://b", "http://c"]], now);
    let first = one(&mut announcer, now, &LEECHING);
    let failed = announcer.handle_reply(now, first.id, Err(unreachable())).unwrap();
    assert!(
        matches!(failed, Announced::Failed { retry_in: Some(pause), .. } if pause <= seconds(5) && pause > seconds(3))
    );
    let second = one(&mut announcer, now, &LEECHING);
    assert_ne!(second.url, first.url);
    assert_eq!(second.announce.event, AnnounceEvent::Started);
    announcer.handle_reply(now, second.id, Ok(reply(1_800)));
    // The first tracker's pause ends long before, but nobody asks it while another works.
    assert_eq!(announcer.poll_timeout(), Some(now + seconds(1_800)));
    let regular = one(&mut announcer, now + seconds(1_800), &LEECHING);
    assert_eq!((regular.url, regular.announce.event), (second.url, AnnounceEvent::Regular));
}

#[test]
fn the_order_in_a_tier_comes_from_the_seed() {
    let now = Instant::now();
    let urls: Vec<String> = (0..10).map(|n| format!("http://{n}")).collect();
    let order = |seed| {
        let config = AnnouncerConfig {
            tiers: vec![urls.clone()],
            info_hash: INFO_HASH,
            peer_id: PeerId([1; 20]),
            port: 1,
            key: 0,
            seed,
        };
        let announcer = Announcer::new(config, now);
        announcer.tiers[0].trackers.iter().map(|tracker| tracker.url.clone()).collect::<Vec<_>>()
    };
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
}

#[test]
fn back_off_grows_with_jitter_to_five_minutes() {
    let start = Instant::now();
    let mut now = start;
    let mut announcer = announcer(&[&["http://a"]], now);
    let mut pauses = Vec::new();
    for _ in 0..40 {
        let job = one(&mut announcer, now, &LEECHING);
        let Some(Announced::Failed { retry_in: Some(pause), .. }) =
            announcer.handle_reply(now, job.id, Err(unreachable()))
        else {
            panic!("not failed")
        };
        assert_eq!(announcer.poll_timeout(), Some(now + pause));
        assert_eq!(announcer.poll(now + pause - seconds(1), &LEECHING, 50), None);
        announcer.hungry(now);
        assert_eq!(announcer.poll(now + pause - seconds(1), &LEECHING, 50), None, "hunger does not shorten it");
        now += pause;
        pauses.push(pause);
    }
    assert!(pauses[1] > pauses[0] && pauses[5] > seconds(100));
    assert!(pauses.iter().all(|pause| *pause <= LONGEST_BACK_OFF));
    assert!(pauses[10..].iter().any(|pause| *pause != pauses[10]), "no jitter");
    let job = one(&mut announcer, now, &LEECHING);
    announcer.handle_reply(now, job.id, Ok(reply(60)));
    let job = one(&mut announcer, now + seconds(60), &LEECHING);
    announcer.handle_reply(now, job.id, Err(unreachable()));
    assert!(announcer.poll_timeout().unwrap() <= now + seconds(5), "a good answer ends the back-off");
}

#[test]
fn retry_in_is_honoured_and_bounded() {
    let refused = |retry_in| TrackerError::Refused { reason: "no".into(), retry_in };
    let after = |error: TrackerError| {
        let now = Instant::now();
        let mut announcer = announcer(&[&["http://a"]], now);
        let job = one(&mut announcer, now, &LEECHING);
        let announced = announcer.handle_reply(now, job.id, Err(error));
        let Some(Announced::Failed { retry_in, .. }) = announced else { panic!("not failed") };
        assert_eq!(announcer.poll_timeout().map(|at| at - now), retry_in);
        announcer.stop(now);
        announcer.resume(now);
        assert_eq!(one(&mut announcer, now, &LEECHING).announce.event, AnnounceEvent::Started);
        retry_in
    };
    assert_eq!(after(refused(Some(seconds(600)))), Some(seconds(600)));
    assert_eq!(after(refused(Some(seconds(1)))), Some(SHORTEST_INTERVAL));
    assert_eq!(after(refused(Some(seconds(1 << 40)))), Some(LONGEST_INTERVAL));
    assert_eq!(after(refused(Some(Duration::MAX))), None);
    assert_eq!(after(TrackerError::Unsupported("udp://a".into())), None);
    assert!(after(refused(None)).unwrap() > seconds(40));
}

#[test]
fn intervals_are_clamped() {
    let next = |interval, min_interval| {
        let now = Instant::now();
        let mut announcer = announcer(&[&["http://a"]], now);
        let job = one(&mut announcer, now, &LEECHING);
        announcer.handle_reply(now, job.id, Ok(AnnounceReply { interval, min_interval, ..reply(0) }));
        let regular = announcer.poll_timeout().unwrap() - now;
        announcer.hungry(now);
        (regular.as_secs(), (announcer.poll_timeout().unwrap() - now).as_secs())
    };
    let day = 24 * 3600;
    assert_eq!(next(seconds(0), None), (60, 60));
    assert_eq!(next(Duration::MAX, None), (day, 60));
    assert_eq!(next(seconds(1_800), None), (1_800, 60));
    assert_eq!(next(seconds(1_800), Some(seconds(900))), (1_800, 900));
    assert_eq!(next(seconds(1_800), Some(seconds(1))), (1_800, 60));
    assert_eq!(next(seconds(1_800), Some(seconds(3_600))), (3_600, 3_600));
    assert_eq!(next(seconds(1_800), Some(Duration::MAX)), (day, day));
}

#[test]
fn tracker_ids_are_echoed_to_their_tracker() {
    let now = Instant::now();
    let mut announcer = announcer(&[&["http://a"]], now);
    let job = one(&mut announcer, now, &LEECHING);
    let id = Some(b"\x00x".to_vec());
    announcer.handle_reply(now, job.id, Ok(AnnounceReply { tracker_id: id.clone(), ..reply(60) }));
    let job = one(&mut announcer, now + seconds(60), &LEECHING);
    assert_eq!(job.announce.tracker_id, id);
    announcer.handle_reply(now, job.id, Ok(reply(60)));
    announcer.stop(now);
    assert_eq!(one(&mut announcer, now, &LEECHING).announce.tracker_id, id, "an answer without one keeps it (BEP 3)");
}

#[test]
fn completed_is_said_once_to_each_tier() {
    let now = Instant::now();
    let mut announcer = announcer(&[&["http://a"], &["http://b"]], now);
    let jobs = due(&mut announcer, now, &LEECHING);
    announcer.handle_reply(now, jobs[0].0, Ok(reply(1_800)));
    announcer.completed(now);
    announcer.completed(now);
    let completed = due(&mut announcer, now, &SEEDING);
    assert_eq!(completed.len(), 1, "the other tier has not answered yet");
    assert_eq!(completed[0].2, AnnounceEvent::Completed);
    announcer.handle_reply(now, completed[0].0, Ok(reply(1_800)));
    // The other tier's `started` was on its way meanwhile.
    announcer.handle_reply(now, jobs[1].0, Ok(reply(1_800)));
    let late = due(&mut announcer, now, &SEEDING);
    assert_eq!((late[0].1.as_str(), late[0].2), ("http://b", AnnounceEvent::Completed));
    announcer.handle_reply(now, late[0].0, Err(unreachable()));
    let again = due(&mut announcer, now + seconds(5), &SEEDING);
    assert_eq!(again[0].2, AnnounceEvent::Completed, "it was not heard");
    announcer.handle_reply(now + seconds(5), again[0].0, Ok(reply(1_800)));
    announcer.completed(now);
    assert!(due(&mut announcer, now + seconds(10), &SEEDING).is_empty());
}

#[test]
fn what_was_complete_at_the_start_never_completes() {
    let now = Instant::now();
    let mut announcer = announcer(&[&["http://a"]], now);
    let job = one(&mut announcer, now, &SEEDING);
    announcer.handle_reply(now, job.id, Ok(reply(1_800)));
    announcer.completed(now);
    assert!(due(&mut announcer, now + seconds(1), &SEEDING).is_empty());
}

#[test]
fn stopped_goes_to_those_who_know_us() {
    let now = Instant::now();
    let mut announcer = announcer(&[&["http://a"], &["http://b"], &["http://c"]], now);
    let jobs = due(&mut announcer, now, &LEECHING);
    announcer.handle_reply(now, jobs[0].0, Ok(reply(1_800)));
    announcer.handle_reply(now, jobs[1].0, Err(unreachable()));
    announcer.stop(now);
    assert_eq!(announcer.poll_timeout(), Some(now));
    let stopped = one(&mut announcer, now, &LEECHING);
    assert_eq!((stopped.url.as_str(), stopped.announce.event), ("http://a", AnnounceEvent::Stopped));
    assert_eq!((stopped.announce.num_want, stopped.timeout), (Some(0), STOP_TIMEOUT));
    assert_eq!(announcer.handle_reply(now, stopped.id, Ok(reply(60))), None);
    assert!(!announcer.is_idle(), "the third may still take its `started`");
    let late = now + Duration::from_millis(500);
    assert_eq!(announcer.handle_reply(late, jobs[2].0, Ok(reply(60))), None);
    let last = one(&mut announcer, late, &LEECHING);
    assert_eq!((last.url.as_str(), last.announce.event), ("http://c", AnnounceEvent::Stopped));
    assert_eq!(last.timeout, Duration::from_millis(4_500));
    announcer.handle_reply(late, last.id, Err(unreachable()));
    assert!(announcer.is_idle());
    assert_eq!(announcer.poll_timeout(), None);
    assert!(due(&mut announcer, now + seconds(86_400), &LEECHING).is_empty());
}

#[test]
fn a_stop_says_completed_before_stopped() {
    let now = Instant::now();
    let mut announcer = announcer(&[&["http://a"]], now);
    let job = one(&mut announcer, now, &LEECHING);
    announcer.handle_reply(now, job.id, Ok(reply(1_800)));
    announcer.completed(now);
    announcer.stop(now);
    let completed = one(&mut announcer, now, &SEEDING);
    assert_eq!(completed.announce.event, AnnounceEvent::Completed);
    announcer.handle_reply(now, completed.id, Ok(reply(1_800)));
    assert_eq!(one(&mut announcer, now, &SEEDING).announce.event, AnnounceEvent::Stopped);
}

#[test]
fn a_stop_is_over_in_time_though_nobody_answers() {
    let now = Instant::now();
    let mut announcer = announcer(&[&["http://a"], &["http://b"]], now);
    let jobs = due(&mut announcer, now, &LEECHING);
    announcer.handle_reply(now, jobs[0].0, Ok(reply(1_800)));
    announcer.completed(now);
    announcer.stop(now);
    let mut at = now;
    let mut events = Vec::new();
    while !announcer.is_idle() {
        at = at.max(announcer.poll_timeout().expect("something ends it"));
        events.extend(due(&mut announcer, at, &SEEDING).into_iter().map(|(_, _, event)| event));
    }
    assert_eq!(events, [AnnounceEvent::Completed, AnnounceEvent::Stopped]);
    assert!(at <= now + STOP_TIMEOUT, "{:?}", at - now);
}

#[test]
fn lost_jobs_time_out() {
    let now = Instant::now();
    let mut announcer = announcer(&[&["http://a", "http://b"]], now);
    let lost = one(&mut announcer, now, &LEECHING);
    let overdue = announcer.poll_timeout().unwrap();
    assert_eq!(overdue, now + TIMEOUT + OVERDUE);
    assert_ne!(one(&mut announcer, overdue, &LEECHING).url, lost.url);
    assert_eq!(announcer.handle_reply(overdue, lost.id, Ok(reply(60))), None, "too late");
}

#[test]
fn added_trackers_are_tiers_of_their_own() {
    let now = Instant::now();
    let mut announcer = announcer(&[&["http://a", "http://a"]], now);
    announcer.add_tracker(now, "http://a".into());
    announcer.add_tracker(now, String::new());
    announcer.add_tracker(now, "x".repeat(limits::URL_LENGTH + 1));
    announcer.add_tracker(now, "http://b".into());
    let urls: Vec<_> = due(&mut announcer, now, &LEECHING).into_iter().map(|(_, url, _)| url).collect();
    assert_eq!(urls, ["http://a", "http://b"]);
    (0..300).for_each(|n| announcer.add_tracker(now, format!("http://{n}")));
    assert_eq!(announcer.tiers.len(), limits::TRACKERS);
}

#[test]
fn a_sleeping_machine_makes_no_storm() {
    let now = Instant::now();
    let mut announcer = announcer(&[&["http://a"], &["http://b"]], now);
    for (id, _, _) in due(&mut announcer, now, &LEECHING) {
        announcer.handle_reply(now, id, Ok(reply(60)));
    }
    let later = now + seconds(10 * 365 * 86_400);
    assert_eq!(due(&mut announcer, later, &LEECHING).len(), 2);
}

/// What happens next to an announcer.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many seconds pass, or less if something is due before.
    Pass(u64),
    /// The oldest job is answered, with an interval and a minimum.
    Answer(u64, Option<u64>),
    /// The oldest job fails, in one of several ways.
    Fail(u8),
    Hungry,
    Completed,
    StopAndResume,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u64..4_000).prop_map(Step::Pass),
        4 => (0u64..5_000, prop::option::of(0u64..5_000)).prop_map(|(interval, min)| Step::Answer(interval, min)),
        3 => (0u8..5).prop_map(Step::Fail),
        2 => Just(Step::Hungry),
        1 => Just(Step::Completed),
        1 => Just(Step::StopAndResume),
    ];
    prop::collection::vec(step, 0..120)
}

fn failure(kind: u8) -> TrackerError {
    match kind {
        0 => unreachable(),
        1 => TrackerError::TimedOut(TIMEOUT),
        2 => TrackerError::Refused { reason: String::new(), retry_in: None },
        3 => TrackerError::Refused { reason: String::new(), retry_in: Some(Duration::MAX) },
        _ => TrackerError::Unsupported(String::new()),
    }
}

/// An announcer and what a careful observer remembers of it.
struct Watched {
    announcer: Announcer,
    now: Instant,
    under_way: Vec<AnnounceJob>,
    /// Last good answer of each tracker since the last resume.
    answered: HashMap<String, Instant>,
    completed: HashMap<String, u32>,
}

impl Watched {
    /// Takes all jobs that are due; checks each.
    fn drain(&mut self) {
        for taken in 0.. {
            assert!(taken < 10, "the announcer spins");
            let Some(job) = self.announcer.poll(self.now, &LEECHING, 50) else { break };
            let tier = |url: &str| url.chars().nth(7);
            assert!(self.under_way.iter().all(|other| tier(&other.url) != tier(&job.url)), "two jobs in a tier");
            let last = self.answered.get(&job.url);
            match job.announce.event {
                AnnounceEvent::Regular => {
                    assert!(last.is_some_and(|last| self.now >= *last + SHORTEST_INTERVAL), "too soon");
                }
                AnnounceEvent::Started => assert_eq!(last, None, "started twice"),
                AnnounceEvent::Completed | AnnounceEvent::Stopped => assert!(last.is_some(), "it does not know us"),
            }
            self.under_way.push(job);
        }
        let due = self.announcer.poll_timeout();
        assert!(due.is_none_or(|due| due > self.now), "due, but nothing comes");
    }

    fn answer(&mut self, outcome: Result<AnnounceReply, TrackerError>) {
        if self.under_way.is_empty() {
            return;
        }
        let job = self.under_way.remove(0);
        if outcome.is_ok() {
            self.answered.insert(job.url.clone(), self.now);
            let tier = job.url[..8].to_owned();
            *self.completed.entry(tier).or_default() += u32::from(job.announce.event == AnnounceEvent::Completed);
        }
        assert!(self.announcer.handle_reply(self.now, job.id, outcome).is_some());
    }

    fn stop_and_resume(&mut self) {
        self.announcer.stop(self.now);
        let stopped = self.now;
        self.under_way.clear();
        while !self.announcer.is_idle() {
            self.now = self.now.max(self.announcer.poll_timeout().expect("something ends it"));
            while let Some(job) = self.announcer.poll(self.now, &LEECHING, 50) {
                assert!(job.announce.event == AnnounceEvent::Completed || job.announce.num_want == Some(0));
                self.announcer.handle_reply(self.now, job.id, Ok(reply(0)));
            }
        }
        assert!(self.now <= stopped + STOP_TIMEOUT);
        self.announcer.resume(self.now);
        self.answered.clear();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Pass(time) => {
                let until = self.now + seconds(time);
                // Jobs are answered before they are overdue.
                if self.under_way.is_empty() {
                    self.now = self.announcer.poll_timeout().unwrap_or(until).min(until);
                }
            }
            Step::Answer(interval, min) => {
                self.answer(Ok(AnnounceReply { min_interval: min.map(seconds), ..reply(interval) }));
            }
            Step::Fail(kind) => self.answer(Err(failure(kind))),
            Step::Hungry => self.announcer.hungry(self.now),
            Step::Completed => self.announcer.completed(self.now),
            Step::StopAndResume => self.stop_and_resume(),
        }
        self.drain();
    }
}

proptest! {
    #[test]
    fn no_history_makes_it_spin_storm_or_stumble(steps in steps()) {
        let now = Instant::now();
        let announcer = announcer(&[&["http://a1", "http://a2", "http://a3"], &["http://b1"]], now);
        let (answered, completed) = (HashMap::new(), HashMap::new());
        let mut watched = Watched { announcer, now, under_way: Vec::new(), answered, completed };
        watched.drain();
        steps.into_iter().for_each(|step| watched.step(step));
        prop_assert!(watched.completed.values().all(|times| *times <= 1));
    }
}
