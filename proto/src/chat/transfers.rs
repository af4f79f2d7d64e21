//! Files on their way: the channel of an offer that was accepted stays open, and whoever fetches says over it how far it is.
//!
//! Owns what was said last. A new report goes only when the one before has arrived, so nothing queues; whoever hands over
//! hears of one a second at most, whatever the other side sends, and of an end once. Where nothing comes, either side says
//! something for the sake of the acknowledgement, so that who has crashed is not taken for somebody who is slow. Nothing here
//! is proof of anything: the other side says what it likes of itself, within the size of the offer.

use super::calls::{Call, Over, Phase};
use super::contract::{CallEnd, ChatError, ChatEvent, Output, Reach, RequestId, Transfer, TransferEnd, TransferState};
use super::payload::{Inner, Kind, Reason};
use super::text::shown_name;
use super::{Room, limits};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// From one report to the next while the state stays the same. The first few come faster, so that soon something is to be seen.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// The same for each file that is being fetched, where there are many: what is said in all stays one a second.
const REPORT_EACH: Duration = Duration::from_secs(1);
/// From one report to the next where the state changes; and from one event to the next.
const CHANGE_EVERY: Duration = Duration::from_secs(1);
/// How long there may be no connection before the user is told.
const STUCK_AFTER: Duration = Duration::from_secs(20);
/// How long the other side may be silent before something is said that it has to acknowledge: a sign of life, or of none.
const SIGN_AFTER: Duration = Duration::from_secs(15);
/// How long the other side may be silent before the user is told: what was to be acknowledged has gone four times by then.
const SILENT_AFTER: Duration = Duration::from_secs(30);

/// How far somebody says to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Report {
    state: TransferState,
    have: u64,
}

/// How far the files of an offer are.
#[derive(Default)]
pub(super) struct Progress {
    /// Whoever fetches has the metainfo.
    begun: bool,
    /// The latest that is known, and since when.
    newest: Option<(Report, Instant)>,
    /// What was told last, by whoever fetches to the other side, by whoever hands over to its user.
    told: Option<(Report, Instant)>,
    /// Reports of ours that have gone.
    reports: u32,
    waiting_since: Option<Instant>,
    /// When something came from the other side, at first that the channel stands.
    heard: Option<Instant>,
    /// The user knows that nothing comes from the other side.
    silent: bool,
    /// The user knows that there is no connection.
    stuck: bool,
    /// The user knows that it is over.
    over: bool,
    /// The other side has said where it takes connections.
    reached: bool,
    tried: Vec<SocketAddr>,
}

impl Progress {
    fn note(&mut self, now: Instant, report: Report) {
        self.newest = Some((report, now));
        let waits = report.state == TransferState::Waiting;
        self.waiting_since = waits.then(|| self.waiting_since.unwrap_or(now));
    }

    /// When the newest report is to be told.
    fn tell_at(&self, every: Duration) -> Option<Instant> {
        let (newest, came) = self.newest?;
        match self.told {
            _ if self.over => None,
            None => Some(came),
            Some((told, _)) if told == newest => None,
            Some((told, at)) if told.state == newest.state => Some(at + every.min(CHANGE_EVERY * self.reports.max(1))),
            Some((_, at)) => Some(at + CHANGE_EVERY),
        }
    }

    fn stuck_at(&self) -> Option<Instant> {
        self.waiting_since.filter(|_| !self.stuck && !self.over).map(|since| since + STUCK_AFTER)
    }

    /// When the user is to be told that nothing comes from the other side.
    fn silent_at(&self) -> Option<Instant> {
        self.heard.filter(|_| !self.silent && !self.over).map(|heard| heard + SILENT_AFTER)
    }

    /// What is said for the sake of saying something: how far it is, once more.
    fn sign(&self) -> Report {
        self.newest.map_or(Report { state: TransferState::Checking, have: 0 }, |(report, _)| report)
    }

    fn have(&self) -> u64 {
        self.newest.map_or(0, |(report, _)| report.have)
    }
}

/// From one report of ours to the next, where so many are being fetched.
pub(super) fn report_every(fetches: usize) -> Duration {
    REPORT_EVERY.max(REPORT_EACH * u32::try_from(fetches).unwrap_or(u32::MAX))
}

impl Call {
    /// An own offer, or one of somebody else that was accepted.
    pub(super) fn is_transfer(&self) -> bool {
        self.kind == Kind::Offer && (self.ours || self.is_fetch())
    }

    /// An offer of somebody else that was accepted.
    pub(super) fn is_fetch(&self) -> bool {
        let accepted = matches!(self.phase, Phase::Up { .. } | Phase::Closing { .. });
        self.kind == Kind::Offer && !self.ours && accepted
    }

    /// Whether its files may be on their way: what ends now is told as the end of a transfer, and not of an offer.
    pub(super) fn has_begun(&self) -> bool {
        let accepted = matches!(self.phase, Phase::Up { .. } | Phase::Closing { .. });
        accepted && self.kind == Kind::Offer && (self.ours || self.progress.begun)
    }

    /// When something of the files is to be told or asked.
    pub(super) fn progress_due(&self, every: Duration) -> Option<Instant> {
        // Behind an acceptance that may not have arrived, all of this waits.
        if !matches!(self.phase, Phase::Up { answer: None, .. }) {
            return None;
        }
        let known = self.progress.stuck_at().into_iter().chain(self.progress.silent_at());
        known.chain(self.told_due(every)).chain(self.sign_due()).min()
    }

    /// When the newest report is to be told. It waits for the one before, which wakes us when it has arrived.
    fn told_due(&self, every: Duration) -> Option<Instant> {
        let Phase::Up { line, .. } = &self.phase else { return None };
        match self.ours {
            true => self.progress.tell_at(CHANGE_EVERY),
            false if line.is_reporting() => None,
            false => self.progress.tell_at(every),
        }
    }

    /// When a sign of life is to be asked for. What is under way is one already, and tells as soon as it arrives or fails.
    fn sign_due(&self) -> Option<Instant> {
        let Phase::Up { line, .. } = &self.phase else { return None };
        // A receiver begins to report when its shell does.
        let speaks = self.ours || self.progress.newest.is_some();
        self.progress.heard.filter(|_| speaks && line.is_idle()).map(|heard| heard + SIGN_AFTER)
    }

    /// Puts a report on the line.
    fn push_report(&mut self, now: Instant, report: Report) {
        let Phase::Up { line, .. } = &mut self.phase else { return };
        let Some(number) = line.next_number() else { return };
        line.push(now, &Inner::Report { number, state: report.state, have: report.have });
        // What the sender says back is for nobody.
        if !self.ours {
            (self.progress.told, self.progress.reports) =
                (Some((report, now)), self.progress.reports.saturating_add(1));
        }
    }
}

impl Room {
    /// Tells whoever offered files where we take connections, so that it can dial us too. Right behind
    /// [`Room::accept`], and once.
    ///
    /// # Errors
    /// [`ChatError::NoSuchRequest`] if this is no offer that we have accepted.
    pub fn tell_reach(&mut self, now: Instant, id: RequestId, reach: Reach) -> Result<(), ChatError> {
        let call = self.calls.get_mut(&id).filter(|call| call.is_fetch()).ok_or(ChatError::NoSuchRequest)?;
        let Phase::Up { line, .. } = &mut call.phase else { return Err(ChatError::NoSuchRequest) };
        if let Some(number) = line.next_number().filter(|_| reach.port != 0) {
            line.push(now, &Inner::Reach { number, reach });
        }
        self.drive_calls(now);
        Ok(())
    }

    /// Where the shell tries to connect to the other side of an offer, for the user to be told if nothing comes of it.
    pub fn tried(&mut self, id: RequestId, addresses: Vec<SocketAddr>) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.progress.tried = addresses;
        }
    }

    /// How far the shell is with files that we accepted: it goes to whoever offered them. [`TransferState::Complete`] and
    /// [`TransferState::GivenUp`] end it.
    ///
    /// # Errors
    /// [`ChatError::NoSuchRequest`] if they are not on their way (any more).
    pub fn report(
        &mut self,
        now: Instant,
        id: RequestId,
        state: TransferState,
        have_bytes: u64,
    ) -> Result<(), ChatError> {
        let fetched = |call: &&mut Call| call.is_fetch() && call.has_begun() && matches!(call.phase, Phase::Up { .. });
        let call = self.calls.get_mut(&id).filter(fetched).ok_or(ChatError::NoSuchRequest)?;
        let total = call.offer.as_ref().map_or(0, |offer| offer.total_length);
        let have = if state == TransferState::Complete { total } else { have_bytes.min(total) };
        call.progress.note(now, Report { state, have });
        match state {
            TransferState::Complete => self.end_fetch(now, id, TransferEnd::Complete),
            TransferState::GivenUp => self.end_fetch(now, id, TransferEnd::GivenUp),
            TransferState::Checking | TransferState::Waiting | TransferState::Fetching => {}
        }
        self.drive_calls(now);
        Ok(())
    }

    /// Something of an open channel has come.
    pub(super) fn transfer_heard(&mut self, now: Instant, id: RequestId) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.is_transfer()) else { return };
        call.progress.heard = Some(now);
        if let Phase::Up { line, .. } = &mut call.phase {
            line.is_heard();
        }
        if std::mem::take(&mut call.progress.silent)
            && !call.progress.over
            && let Some(transfer) = self.transfer(&id)
        {
            self.events.push_back(ChatEvent::OfferSilent { transfer, silent: false });
        }
    }

    /// The metainfo of what we take is here: from now on we report.
    pub(super) fn transfer_begins(&mut self, id: RequestId) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.progress.begun = true;
        }
    }

    /// Whether the metainfo came before.
    pub(super) fn transfer_has_begun(&self, id: &RequestId) -> bool {
        self.calls.get(id).is_some_and(|call| call.progress.begun)
    }

    /// We have all that we took, or want no more of it: the last report goes, and then we hang up.
    fn end_fetch(&mut self, now: Instant, id: RequestId, end: TransferEnd) {
        self.transfer_over(id, end);
        self.report_end(now, id, end);
        self.close(now, id);
    }

    /// The last report, in front of the hanging up.
    pub(super) fn report_end(&mut self, now: Instant, id: RequestId, end: TransferEnd) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.is_fetch() && call.has_begun()) else { return };
        let state = if end == TransferEnd::Complete { TransferState::Complete } else { TransferState::GivenUp };
        let have = call.progress.have();
        call.push_report(now, Report { state, have });
    }

    /// Tells the user that it is over, once.
    pub(super) fn transfer_over(&mut self, id: RequestId, end: TransferEnd) {
        let Some(transfer) = self.transfer(&id) else { return };
        let over = self.calls.get_mut(&id).map(|call| std::mem::replace(&mut call.progress.over, true));
        if over == Some(false) {
            self.events.push_back(ChatEvent::OfferEnded { transfer, end });
        }
    }

    /// The same of a call that is open no longer.
    pub(super) fn transfer_broken(&mut self, id: RequestId, call: &Call, end: TransferEnd) {
        if !call.progress.over {
            let transfer = self.transfer_of(id, call);
            self.events.push_back(ChatEvent::OfferEnded { transfer, end });
        }
    }

    fn transfer(&self, id: &RequestId) -> Option<Transfer> {
        self.calls.get(id).map(|call| self.transfer_of(*id, call))
    }

    fn transfer_of(&self, id: RequestId, call: &Call) -> Transfer {
        let offer = call.offer.as_ref();
        Transfer {
            id,
            with: self.person(call.peer),
            ours: call.ours,
            name: offer.map_or_else(String::new, |offer| shown_name(&offer.name)),
            have_bytes: call.progress.have(),
            total_bytes: offer.map_or(0, |offer| offer.total_length),
        }
    }

    /// Whoever accepts the same files again does not report of the offer before any more: its program was started again.
    pub(super) fn supersede(&mut self, id: RequestId) {
        let Some(call) = self.calls.get(&id) else { return };
        let same = |other: &Call| {
            let (old, new) = (other.offer.as_ref(), call.offer.as_ref());
            let same = old.map(|offer| offer.info_hash) == new.map(|offer| offer.info_hash);
            same && other.ours && other.peer == call.peer && other.has_begun()
        };
        let older: Vec<RequestId> =
            self.calls.iter().filter(|(other, it)| **other != id && same(it)).map(|(other, _)| *other).collect();
        for older in older {
            if let Some(call) = self.calls.end(older, Reason::Gone) {
                self.broken(older, call, Over::Lost);
            }
        }
    }

    /// Whoever takes files of ours says how far it is.
    pub(super) fn take_report(&mut self, now: Instant, id: RequestId, state: TransferState, have: u64) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.ours && call.kind == Kind::Offer) else { return };
        if call.progress.over || !matches!(call.phase, Phase::Up { .. }) {
            return;
        }
        let total = call.offer.as_ref().map_or(0, |offer| offer.total_length);
        if have > total || state == TransferState::Complete && have != total {
            self.stats.malformed += 1;
            return self.hang_up_now(now, id, CallEnd::Lost);
        }
        call.progress.note(now, Report { state, have });
        match state {
            TransferState::Complete => self.transfer_over(id, TransferEnd::Complete),
            TransferState::GivenUp => self.transfer_over(id, TransferEnd::GivenUp),
            TransferState::Checking | TransferState::Waiting | TransferState::Fetching => {}
        }
    }

    /// Whoever takes files of ours says where it takes connections. Only the first time: nobody has us dial the world.
    pub(super) fn take_reach(&mut self, id: RequestId, reach: Reach) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.ours && call.kind == Kind::Offer) else { return };
        if call.progress.over || std::mem::replace(&mut call.progress.reached, true) {
            return;
        }
        if let (Some(offer), Phase::Up { .. }) = (&call.offer, &call.phase) {
            let (with, info_hash) = (call.peer, offer.info_hash);
            self.outputs.push_back(Output::Reach { id, with, info_hash, reach });
        }
    }

    /// Tells what is to be told of the files of an offer: the user, or the other side.
    pub(super) fn drive_transfer(&mut self, now: Instant, id: RequestId) {
        let every = self.calls.report_every();
        let Some(call) = self.calls.get_mut(&id) else { return };
        let due = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        if !due(call.progress_due(every)) {
            return;
        }
        if due(call.progress.stuck_at()) {
            call.progress.stuck = true;
            let tried = call.progress.tried.clone();
            if let Some(transfer) = self.transfer(&id) {
                self.events.push_back(ChatEvent::OfferStuck { transfer, tried });
            }
        }
        let Some(call) = self.calls.get_mut(&id) else { return };
        if due(call.progress.silent_at()) {
            call.progress.silent = true;
            if let Some(transfer) = self.transfer(&id) {
                self.events.push_back(ChatEvent::OfferSilent { transfer, silent: true });
            }
        }
        let Some(call) = self.calls.get_mut(&id) else { return };
        if due(call.sign_due()) {
            let sign = call.progress.sign();
            call.push_report(now, sign);
        }
        let Some((newest, _)) = call.progress.newest.filter(|_| due(call.told_due(every))) else { return };
        if !call.ours {
            return call.push_report(now, newest);
        }
        call.progress.told = Some((newest, now));
        if let Some(transfer) = self.transfer(&id) {
            self.events.push_back(ChatEvent::OfferProgress { transfer, state: newest.state });
        }
    }

    /// Whether there is room for one more own offer, or accepted one.
    pub(super) fn has_room_for_transfer(&self) -> bool {
        self.calls.count().1 < limits::CHAT_TRANSFERS
    }
}
