//! How many requests to have under way at one peer, and how long to wait for them.
//!
//! Owns the measured rate and response time of one peer. Never knows which blocks are requested.
//!
//! The window is twice the bandwidth-delay product plus a margin. Twice, because the rate is measured over about one
//! round trip: as long as the peer can send faster, the window doubles each round trip, and once it cannot, the window
//! stands still. The margin keeps the peer's queue from running dry between two of our wake-ups; it is a time for slow
//! peers and an amount for fast ones, so that neither the end game waits for long queues nor the buffers fill.
//!
//! The delay is the shortest response time, or the longest pause of late if that is longer. A pause is time in which the
//! peer had requests of ours and sent nothing. Some peers look for new requests only every so often once they have served
//! all that they had (transmission 3.00 every 500 ms): a request that comes just before they look is answered at once, so
//! the response time tells nothing of the pauses, and windows made for it let the peer run dry again and again, with half as
//! many blocks each time.

use crate::geometry::BLOCK_LENGTH;
use std::time::{Duration, Instant};

/// Requests before anything is known of the peer: what is requested from one that has no time for us yet, no other is
/// asked for.
const FIRST_WINDOW: usize = 8;
/// Requests at the slowest peer: the next one is on its way while a block comes.
const LEAST_WINDOW: usize = 2;
/// Requests at the fastest peer: 64 MiB of blocks.
const MOST_WINDOW: usize = 4_096;

/// The margin of a slow peer. More would bind blocks to busy peers while idle ones have them too: in a swarm of 100, half
/// a second of each peer's rate is all that there is to ask for.
const MARGIN: Duration = Duration::from_millis(100);
/// Bytes that the margin of a faster peer is cut to...
const MARGIN_BYTES: u64 = 4 * 1024 * 1024;
/// ...as long as they are sent in no less than this time: our wake-ups may be so far apart.
const MARGIN_AT_LEAST: Duration = Duration::from_millis(20);

/// The rate is measured over at least this time, for blocks come in bunches...
const ROUND_AT_LEAST: Duration = Duration::from_millis(10);
/// ...and over no more than this, if the peer's queue is longer.
const ROUND_AT_MOST: Duration = Duration::from_millis(500);

/// Pauses are remembered for once to twice this time: they end as soon as the window covers them.
const PAUSES_FOR: Duration = Duration::from_secs(10);
/// Longer pauses count as this: twice this time and the margin are more than such a peer waits, so that the window still grows.
const PAUSE_AT_MOST: Duration = Duration::from_millis(400);
/// In still longer ones the peer serves others, and no window of ours would have kept it from that; blocks would only be bound
/// to busy peers.
const OTHERS_AFTER: Duration = Duration::from_millis(600);

/// How long to wait for the first block of all.
const FIRST_TIMEOUT: Duration = Duration::from_secs(10);
/// The shortest wait: peers serve one after the other, and a request that is made anew while the old one waits for its turn
/// is answered twice. Whoever has nothing else to do for us takes over long before.
const LEAST_TIMEOUT: Duration = Duration::from_secs(10);
/// Time-outs that come within this time of each other are one.
const ONE_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest wait.
const MOST_TIMEOUT: Duration = Duration::from_secs(60);

/// The request window of one peer. Times may not go back; nothing breaks if they do.
#[derive(Clone, Debug)]
pub struct RequestWindow {
    most: usize,
    window: usize,
    in_flight: usize,
    /// Bytes a second; nothing before the first round ended.
    rate: Option<u64>,
    round: Option<Round>,
    response: Option<Response>,
    pauses: Option<Pauses>,
    /// Time-outs since the last block; each doubles the wait (RFC 6298, section 5.5).
    timeouts: u32,
    /// When the last of them was counted.
    last_timeout: Option<Instant>,
    /// Since when the peer owes us a block.
    owes_since: Option<Instant>,
}

/// One measurement of the rate, from the arrival of a block to that of another.
#[derive(Clone, Copy, Debug)]
struct Round {
    start: Instant,
    bytes: u64,
    /// The peer had nothing to send for a while: the rate is a lower bound.
    idle: bool,
}

/// Response times, as RFC 6298 smooths round trips.
#[derive(Clone, Copy, Debug)]
struct Response {
    mean: Duration,
    deviation: Duration,
    least: Duration,
}

/// The longest pauses of two spans of time, one after the other.
#[derive(Clone, Copy, Debug)]
struct Pauses {
    since: Instant,
    longest: Duration,
    longest_before: Duration,
}

impl RequestWindow {
    /// A peer that takes so many requests (`reqq` of BEP 10).
    pub fn new(reqq: usize) -> Self {
        let mut window = Self {
            most: MOST_WINDOW,
            window: FIRST_WINDOW,
            in_flight: 0,
            rate: None,
            round: None,
            response: None,
            pauses: None,
            timeouts: 0,
            last_timeout: None,
            owes_since: None,
        };
        window.set_reqq(reqq);
        window
    }

    /// The peer takes so many requests (`reqq` of BEP 10); at least one is assumed. One fewer is sent: transmission 3.00 refuses the
    /// last, and says so only 10 s later.
    pub fn set_reqq(&mut self, reqq: usize) {
        self.most = reqq.saturating_sub(1).clamp(1, MOST_WINDOW);
        self.window = self.window.min(self.most);
    }

    /// A request goes out.
    pub fn on_request(&mut self, now: Instant) {
        self.in_flight += 1;
        if self.in_flight == 1 {
            self.owes_since = Some(now);
        }
    }

    /// A requested block came, so many bytes, and so long after its request.
    pub fn on_block(&mut self, now: Instant, length_bytes: u32, waited: Duration) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.timeouts = 0;
        let pause = self.pause(now);
        self.pauses = Some(self.pauses.map_or_else(|| Pauses::new(now), |pauses| pauses.next(now, pause)));
        self.owes_since = (self.in_flight > 0).then_some(now);
        self.response = Some(self.response.map_or_else(|| Response::first(waited), |response| response.next(waited)));
        self.measure(now, length_bytes, waited);
        let ideal = self.ideal();
        let grown = ideal.min(self.window.saturating_add(1));
        self.window = grown.clamp(LEAST_WINDOW, MOST_WINDOW).min(self.most);
    }

    /// So many requests will not be answered (rejected, cancelled, choked).
    pub fn on_released(&mut self, requests: usize) {
        self.in_flight = self.in_flight.saturating_sub(requests);
        if self.in_flight == 0 {
            self.owes_since = None;
        }
    }

    /// A request was not answered within [`timeout`](Self::timeout) and is taken back. The peer is snubbed until its
    /// next block.
    pub fn on_timeout(&mut self, now: Instant) {
        self.on_released(1);
        // Requests that went out one after the other time out one after the other; that is one time-out.
        let same = |last| now.saturating_duration_since(last) < ONE_TIMEOUT;
        if self.timeouts == 0 || !self.last_timeout.is_some_and(same) {
            self.timeouts = self.timeouts.saturating_add(1);
            self.last_timeout = Some(now);
        }
    }

    /// Requests that should be under way now, at least 1. A snubbed peer gets a single one, to show that it is back.
    pub fn target(&self) -> usize {
        if self.timeouts > 0 { 1 } else { self.window }
    }

    /// Requests under way, as far as the calls tell.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How long to wait for the answer to a request: mean and deviation of those so far, never less than twice what the
    /// peer's queue should take; between 10 and 60 seconds.
    pub fn timeout(&self) -> Duration {
        let measured = self.response.map_or(FIRST_TIMEOUT, |response| response.mean + 4 * response.deviation);
        let queue = self.in_flight.max(self.window) as u64 * u64::from(BLOCK_LENGTH);
        let queue = self.rate.map_or(Duration::ZERO, |rate| time_for(2 * queue, rate));
        let backed_off = measured.max(queue).saturating_mul(1 << self.timeouts.min(5));
        backed_off.clamp(LEAST_TIMEOUT, MOST_TIMEOUT)
    }

    /// Whether the peer owes us a block for too long.
    pub fn is_snubbed(&self, now: Instant) -> bool {
        let late = |since| now.saturating_duration_since(since) > self.timeout();
        self.timeouts > 0 || self.owes_since.is_some_and(late)
    }

    /// Payload bytes a second that the peer sends while it has requests.
    pub fn rate(&self) -> u64 {
        self.rate.unwrap_or(0)
    }

    /// How long the peer has owed us a block beyond the time that it takes to send one: one after the other is no pause, however
    /// slowly they come.
    fn pause(&self, now: Instant) -> Duration {
        let (Some(since), Some(rate)) = (self.owes_since, self.rate) else { return Duration::ZERO };
        let pause = now.saturating_duration_since(since).saturating_sub(time_for(BLOCK_LENGTH.into(), rate));
        if pause > OTHERS_AFTER { Duration::ZERO } else { pause.min(PAUSE_AT_MOST) }
    }

    /// Ends the round when a block comes that was requested after its start: then a whole window has passed.
    fn measure(&mut self, now: Instant, length_bytes: u32, waited: Duration) {
        let ran_dry = self.in_flight == 0;
        let Some(round) = &mut self.round else {
            self.round = Some(Round { start: now, bytes: 0, idle: ran_dry });
            return;
        };
        round.bytes += u64::from(length_bytes);
        round.idle |= ran_dry;
        let took = now.saturating_duration_since(round.start);
        if took < ROUND_AT_LEAST || took < waited.min(ROUND_AT_MOST) {
            return;
        }
        let sample = rate_of(round.bytes, took);
        let idle = round.idle;
        self.round = Some(Round { start: now, bytes: 0, idle: ran_dry });
        self.rate = Some(match self.rate {
            Some(rate) if sample < rate && idle => rate,
            // A single slow round may be a pause; only several shrink the window.
            Some(rate) if sample < rate => rate - (rate - sample) / 4,
            _ => sample,
        });
    }

    /// Requests that the measured rate and delay call for.
    fn ideal(&self) -> usize {
        let (Some(rate), Some(response)) = (self.rate, self.response) else {
            // Nothing is known but that blocks come: one more for each, until they wait longer than the margin.
            let waits = self.response.is_some_and(|response| response.mean > response.least + MARGIN);
            return if waits { LEAST_WINDOW } else { MOST_WINDOW };
        };
        let margin = bytes_in(MARGIN, rate).min(MARGIN_BYTES).max(bytes_in(MARGIN_AT_LEAST, rate));
        let pause = self.pauses.map_or(Duration::ZERO, |pauses| pauses.longest());
        let bytes = bytes_in(2 * response.least.max(pause), rate).saturating_add(margin);
        usize::try_from(bytes.div_ceil(u64::from(BLOCK_LENGTH))).unwrap_or(MOST_WINDOW)
    }
}

impl Response {
    fn first(waited: Duration) -> Self {
        Self { mean: waited, deviation: waited / 2, least: waited }
    }

    /// RFC 6298, section 2.3.
    fn next(self, waited: Duration) -> Self {
        let deviation = self.deviation * 3 / 4 + self.mean.abs_diff(waited) / 4;
        Self { mean: self.mean * 7 / 8 + waited / 8, deviation, least: self.least.min(waited) }
    }
}

impl Pauses {
    fn new(now: Instant) -> Self {
        Self { since: now, longest: Duration::ZERO, longest_before: Duration::ZERO }
    }

    fn next(self, now: Instant, pause: Duration) -> Self {
        if now.saturating_duration_since(self.since) < PAUSES_FOR {
            return Self { longest: self.longest.max(pause), ..self };
        }
        Self { since: now, longest: pause, longest_before: self.longest }
    }

    fn longest(self) -> Duration {
        self.longest.max(self.longest_before)
    }
}

fn rate_of(bytes: u64, time: Duration) -> u64 {
    let rate = u128::from(bytes) * 1_000_000_000 / time.as_nanos().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

fn bytes_in(time: Duration, rate: u64) -> u64 {
    u64::try_from(time.as_nanos() * u128::from(rate) / 1_000_000_000).unwrap_or(u64::MAX)
}

fn time_for(bytes: u64, rate: u64) -> Duration {
    let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)).min(MOST_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A peer behind a link: it answers in order, at a rate, half a round trip away.
    struct Link {
        rate: u64,
        round_trip: Duration,
        /// Our socket is read so often.
        wake_up: Duration,
        /// When the peer will have sent all that it was asked for.
        busy_until: Instant,
        /// When each block under way arrives and when it was requested.
        under_way: VecDeque<(Instant, Instant)>,
    }

    impl Link {
        fn new(rate: u64, round_trip: Duration, wake_up: Duration, now: Instant) -> Self {
            Self { rate, round_trip, wake_up, busy_until: now, under_way: VecDeque::new() }
        }

        fn request(&mut self, now: Instant) {
            let sent = self.busy_until.max(now + self.round_trip / 2) + time_for(BLOCK_LENGTH.into(), self.rate);
            self.busy_until = sent;
            self.under_way.push_back((sent + self.round_trip / 2, now));
        }

        /// Time that the last request will have waited.
        fn queue(&self, now: Instant) -> Duration {
            self.under_way.back().map_or(Duration::ZERO, |(arrives, _)| *arrives - now)
        }

        /// Keeps the window full for a time; the bytes that came.
        fn run(&mut self, window: &mut RequestWindow, now: &mut Instant, time: Duration) -> u64 {
            let (end, mut bytes) = (*now + time, 0);
            while *now < end {
                while window.in_flight() < window.target() {
                    window.on_request(*now);
                    self.request(*now);
                }
                *now = (*now + self.wake_up).max(self.under_way.front().unwrap().0);
                while let Some((_, requested)) = self.under_way.pop_front_if(|(arrives, _)| *arrives <= *now) {
                    window.on_block(*now, BLOCK_LENGTH, *now - requested);
                    bytes += u64::from(BLOCK_LENGTH);
                }
                assert_eq!(window.in_flight(), self.under_way.len());
                assert!(!window.is_snubbed(*now));
            }
            bytes
        }
    }

    const TICK: Duration = Duration::from_micros(50);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Fraction of the link's rate that is used in the second after so long.
    fn use_of(rate: u64, round_trip: Duration, wake_up: Duration, after: Duration) -> f64 {
        let mut now = Instant::now();
        let mut link = Link::new(rate, round_trip, wake_up, now);
        let mut window = RequestWindow::new(usize::MAX);
        link.run(&mut window, &mut now, after);
        let start = now;
        let bytes = link.run(&mut window, &mut now, seconds(1));
        bytes as f64 / (now - start).as_secs_f64() / rate as f64
    }

    #[test]
    fn fast_links_are_filled_whatever_their_delay() {
        let ms = Duration::from_millis;
        for (megabits, round_trip, after) in [
            (1_000, ms(100), seconds(2)),
            (1_000, ms(300), seconds(5)),
            (80, Duration::from_micros(100), ms(50)),
            (80, ms(50), seconds(1)),
            (1_000, Duration::from_micros(100), ms(100)),
            (8_000, Duration::from_micros(100), ms(200)),
        ] {
            for wake_up in [TICK, ms(1), ms(15)] {
                let used = use_of(megabits * 125_000, round_trip, wake_up, after);
                assert!(used > 0.9, "{used} of {megabits} Mbit/s, {round_trip:?}, {wake_up:?}");
            }
        }
    }

    /// A peer that hands what it was asked for to its socket, as long as that takes more and more was asked for; otherwise it
    /// looks again only every so often. Fraction of the rate that is used in the second half of a minute.
    fn use_of_a_peer_that_looks(every: Duration, rate: u64) -> f64 {
        const SOCKET: usize = 64;
        let start = Instant::now();
        let (mut now, mut looks_at, mut bytes) = (start, start, 0);
        let (mut asked, mut sending, mut busy) = (VecDeque::new(), VecDeque::new(), true);
        let mut window = RequestWindow::new(2_000);
        while now < start + seconds(60) {
            while window.in_flight() < window.target() {
                window.on_request(now);
                asked.push_back(now);
            }
            if sending.is_empty() {
                // The very first request comes just before the peer looks.
                now = looks_at.max(now);
            }
            busy |= looks_at <= now;
            while looks_at <= now {
                looks_at += every;
            }
            while busy && sending.len() < SOCKET {
                match asked.pop_front() {
                    Some(at) => sending.push_back(at),
                    None => busy = false,
                }
            }
            if let Some(at) = sending.pop_front() {
                now += time_for(BLOCK_LENGTH.into(), rate);
                window.on_block(now, BLOCK_LENGTH, now - at);
                bytes += if now > start + seconds(30) { u64::from(BLOCK_LENGTH) } else { 0 };
            }
        }
        bytes as f64 / (30 * rate) as f64
    }

    #[test]
    fn peers_that_rarely_look_for_requests_are_kept_busy() {
        for (every, rate) in [(500, 200_000), (500, 2_000_000), (500, 20_000_000), (300, 500_000), (100, 100_000_000)] {
            let used = use_of_a_peer_that_looks(Duration::from_millis(every), rate);
            eprintln!("{used} of {rate} bytes/s from a peer that looks every {every} ms");
        }
    }

    #[test]
    fn slow_peers_get_short_queues() {
        for (rate, most) in [(5_000, 7), (20_000, 3), (60_000, 3), (200_000, 3), (1_000_000, 3)] {
            let mut now = Instant::now();
            let mut link = Link::new(rate, Duration::from_millis(40), TICK, now);
            let mut window = RequestWindow::new(250);
            link.run(&mut window, &mut now, seconds(2) + time_for(16 * u64::from(BLOCK_LENGTH), rate));
            for _ in 0..20 {
                let bytes = link.run(&mut window, &mut now, seconds(5));
                assert!(link.queue(now) <= seconds(most), "{:?} at {rate} bytes/s", link.queue(now));
                assert!(bytes >= rate * 9 / 2 - u64::from(BLOCK_LENGTH), "{bytes} in 5 s at {rate} bytes/s");
                assert!(window.timeout() > link.queue(now));
            }
        }
    }

    #[test]
    fn the_window_follows_a_link_that_changes() {
        let mut now = Instant::now();
        let mut link = Link::new(50_000_000, Duration::from_millis(20), TICK, now);
        let mut window = RequestWindow::new(2_000);
        link.run(&mut window, &mut now, seconds(2));
        let fast = window.target();
        link.rate = 500_000;
        link.run(&mut window, &mut now, seconds(30));
        assert!(window.target() * 3 < fast && link.queue(now) <= seconds(3), "{} of {fast}", window.target());
        link.rate = 50_000_000;
        link.run(&mut window, &mut now, seconds(6));
        assert!(window.rate() > 45_000_000, "{}", window.rate());
    }

    #[test]
    fn a_pause_without_requests_does_not_count_as_slowness() {
        let mut now = Instant::now();
        let mut link = Link::new(50_000_000, Duration::from_millis(20), TICK, now);
        let mut window = RequestWindow::new(2_000);
        link.run(&mut window, &mut now, seconds(2));
        let rate = window.rate();
        window.on_released(link.under_way.len());
        link.under_way.clear();
        now += seconds(100);
        link.busy_until = now;
        assert!(!window.is_snubbed(now));
        link.run(&mut window, &mut now, Duration::from_millis(100));
        assert!(window.rate() > rate / 2, "{} of {rate}", window.rate());
    }

    #[test]
    fn what_the_peer_takes_is_honoured() {
        let mut now = Instant::now();
        let mut window = RequestWindow::new(5);
        Link::new(1 << 30, TICK, TICK, now).run(&mut window, &mut now, seconds(1));
        assert_eq!(window.target(), 4);
        assert_eq!(RequestWindow::new(0).target(), 1);
        assert_eq!(RequestWindow::new(250).target(), FIRST_WINDOW);
    }

    #[test]
    fn silence_snubs_and_a_block_ends_it() {
        let start = Instant::now();
        let mut window = RequestWindow::new(250);
        assert!(!window.is_snubbed(start + seconds(1_000)), "owes nothing");
        window.on_request(start);
        window.on_request(start);
        assert!(!window.is_snubbed(start + seconds(9)) && window.is_snubbed(start + seconds(11)));
        window.on_timeout(start + seconds(11));
        window.on_timeout(start + seconds(11));
        assert_eq!((window.target(), window.timeout(), window.in_flight()), (1, seconds(20), 0));
        for second in 1..20 {
            window.on_timeout(start + seconds(11 + second));
        }
        assert_eq!(window.timeout(), MOST_TIMEOUT);
        window.on_block(start + seconds(40), BLOCK_LENGTH, seconds(29));
        assert!(!window.is_snubbed(start + seconds(40)) && window.target() > 1);
    }

    #[test]
    fn nonsense_does_no_harm() {
        let start = Instant::now();
        let mut window = RequestWindow::new(1);
        window.on_block(start, u32::MAX, Duration::from_secs(1 << 40));
        window.on_block(start + seconds(5), u32::MAX, Duration::ZERO);
        window.on_block(start, 0, Duration::ZERO);
        window.on_timeout(start);
        window.on_released(9);
        assert!(window.timeout() <= MOST_TIMEOUT && window.target() == 1);
    }
}
