//! Calls and offers between two people, as the other side and the clock see them.
//!
//! Owns what is open. An answer counts for the one request whose id it names, from the key that was asked, in time, and
//! only if it completes that request's own handshake; nothing is ever answered before it was asked.

use super::contract::{CallEnd, ChatEvent, DeliveryState, Offer, RequestId, TransferEnd};
use super::identity::PublicKey;
use super::line::{Arrived, Line, retry_after};
use super::noise::{self, Binding};
use super::payload::{Inner, Kind, Payload, Reason, parse_offer};
use super::text::{shown_name, shown_text};
use super::transfers::{self, Progress};
use super::{Room, limits};
use crate::metainfo::Metainfo;
use bytes::Bytes;
use rand::RngExt;
use snow::HandshakeState;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long a call may go unanswered.
pub(super) const CALL_PATIENCE: Duration = Duration::from_secs(60);
/// How long an offer may go unanswered.
pub(super) const OFFER_PATIENCE: Duration = Duration::from_secs(600);
/// Requests of one person that may wait for our answer.
const REQUESTS_PER_PERSON: usize = 3;
/// Calls whose end is remembered, so that whoever asks again is told.
const ENDED: usize = 128;
/// Bytes of a metainfo in one message.
const DATA_LENGTH: usize = 3_072;

/// How far a call is.
pub(super) enum Phase {
    /// We have asked.
    Asking { handshake: Option<HandshakeState>, request: Payload, ringing: bool, tries: u32, next: Instant },
    /// We are asked.
    Asked { handshake: HandshakeState },
    /// It stands. `answer` is sent again until the caller has shown that it has it.
    Up { line: Box<Line>, answer: Option<(Payload, u32, Instant)> },
    /// We have hung up, and wait for the other side to know.
    Closing { line: Box<Line> },
}

/// A call or an offer.
pub(super) struct Call {
    pub(super) peer: PublicKey,
    pub(super) kind: Kind,
    /// We have asked, not the other side.
    pub(super) ours: bool,
    pub(super) phase: Phase,
    /// Until when it may go unanswered.
    pub(super) deadline: Instant,
    pub(super) offer: Option<Offer>,
    /// Of an offer: the metainfo, as far as it has been sent or has come.
    pub(super) metainfo: Vec<u8>,
    pub(super) sent: usize,
    /// Of an offer that was accepted: how far its files are.
    pub(super) progress: Progress,
}

/// Why a call or an offer is over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// We want it so.
    ByUs,
    /// The other side hung up.
    ByThem,
    /// The other side left, or does not answer.
    Lost,
}

/// Everything open.
#[derive(Default)]
pub(super) struct Calls {
    open: BTreeMap<RequestId, Call>,
    ended: VecDeque<(RequestId, Reason)>,
    /// When the first of them has something to do.
    due: Option<Instant>,
}

impl Calls {
    /// Calls and what waits for an answer of ours; and transfers, which have a limit of their own.
    pub(super) fn count(&self) -> (usize, usize) {
        let transfers = self.open.values().filter(|call| call.is_transfer()).count();
        (self.open.len() - transfers, transfers)
    }

    /// From one report of ours to the next.
    pub(super) fn report_every(&self) -> Duration {
        transfers::report_every(self.open.values().filter(|call| call.is_fetch()).count())
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn get(&self, id: &RequestId) -> Option<&Call> {
        self.open.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &RequestId) -> Option<&mut Call> {
        self.open.get_mut(id)
    }

    pub(super) fn insert(&mut self, id: RequestId, call: Call) {
        self.open.insert(id, call);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&RequestId, &Call)> {
        self.open.iter()
    }

    /// Ends it, and remembers why.
    pub(super) fn end(&mut self, id: RequestId, reason: Reason) -> Option<Call> {
        let call = self.open.remove(&id)?;
        self.ended.push_back((id, reason));
        if self.ended.len() > ENDED {
            self.ended.pop_front();
        }
        Some(call)
    }

    /// It did not end after all.
    pub(super) fn forget_end(&mut self, id: &RequestId) {
        self.ended.retain(|(ended, _)| ended != id);
    }

    pub(super) fn check_invariants(&self) {
        let (calls, transfers) = self.count();
        assert!(
            calls <= limits::CHAT_CALLS && transfers <= limits::CHAT_TRANSFERS,
            "{calls} calls, {transfers} transfers"
        );
        assert!(self.ended.len() <= ENDED, "{} ends", self.ended.len());
    }

    #[cfg(test)]
    pub(super) fn remembers_end(&self, id: &RequestId) -> bool {
        self.why_ended(id).is_some()
    }

    fn why_ended(&self, id: &RequestId) -> Option<Reason> {
        self.ended.iter().rev().find(|(ended, _)| ended == id).map(|(_, reason)| *reason)
    }

    /// Calls, not offers, with somebody; those that are hung up do not count.
    pub(super) fn with(&self, peer: PublicKey, kind: Kind) -> impl Iterator<Item = (&RequestId, &Call)> {
        let open = self.open.iter().filter(move |(_, call)| call.peer == peer && call.kind == kind);
        open.filter(|(_, call)| !matches!(call.phase, Phase::Closing { .. }))
    }
}

impl Over {
    fn of_call(self) -> CallEnd {
        if self == Self::Lost { CallEnd::Lost } else { CallEnd::HungUp }
    }

    /// What it means for files that we hand over, or fetch.
    fn of_files(self, ours: bool) -> TransferEnd {
        match (self, ours) {
            (Self::Lost, _) => TransferEnd::Lost,
            (Self::ByUs, true) | (Self::ByThem, false) => TransferEnd::Withdrawn,
            (Self::ByUs, false) | (Self::ByThem, true) => TransferEnd::GivenUp,
        }
    }
}

impl Call {
    /// When something is to be done.
    fn next_due(&self, now: Instant, report_every: Duration) -> Option<Instant> {
        match &self.phase {
            Phase::Asking { next, .. } => Some((*next).min(self.deadline)),
            Phase::Asked { .. } => Some(self.deadline),
            // Whatever is sealed waits for the caller to have the answer.
            Phase::Up { answer: Some((_, _, next)), .. } => Some(*next),
            Phase::Up { line, answer: None } => {
                line.next_due(now).into_iter().chain(self.progress_due(report_every)).min()
            }
            Phase::Closing { line } => Some(line.next_due(now).map_or(self.deadline, |due| due.min(self.deadline))),
        }
    }

    /// Puts as much of the metainfo on the line as it takes.
    fn feed(&mut self, now: Instant) {
        let Phase::Up { line, .. } = &mut self.phase else { return };
        if !self.ours || self.kind != Kind::Offer {
            return;
        }
        while self.sent < self.metainfo.len() {
            let Some(number) = line.next_number() else { return };
            let end = (self.sent + DATA_LENGTH).min(self.metainfo.len());
            let bytes = self.metainfo.get(self.sent..end).unwrap_or_default().to_vec();
            line.push(now, &Inner::Data { number, last: end == self.metainfo.len(), bytes });
            self.sent = end;
        }
    }
}

impl Room {
    pub(super) fn binding(&self, caller: PublicKey, callee: PublicKey, id: RequestId, kind: Kind) -> Binding {
        Binding { room: self.room, caller, callee, id, kind: kind.byte() }
    }

    pub(super) fn take_payload(&mut self, now: Instant, from: PublicKey, payload: Payload) {
        match payload {
            Payload::Request { id, kind, handshake } => self.take_request(now, from, id, kind, &handshake),
            Payload::Ringing { id } => self.take_ringing(from, id),
            Payload::Accept { id, handshake } => self.take_accept(now, from, id, &handshake),
            Payload::Decline { id, reason } => self.take_decline(from, id, reason),
            Payload::Sealed { id, nonce, sealed } => self.take_sealed(now, from, id, nonce, &sealed),
        }
        self.drive_calls(now);
    }

    fn take_request(&mut self, now: Instant, from: PublicKey, id: RequestId, kind: Kind, handshake: &[u8]) {
        if let Some(call) = self.calls.get_mut(&id) {
            if call.peer == from && matches!(call.phase, Phase::Asked { .. }) {
                self.send_direct(now, from, &Payload::Ringing { id }, true);
            }
            return;
        }
        if let Some(reason) = self.calls.why_ended(&id) {
            return self.send_direct(now, from, &Payload::Decline { id, reason }, true);
        }
        if !self.people.author_mut(&from).is_some_and(|author| author.requests.take(now)) {
            self.stats.rate_limited += 1;
            return;
        }
        let waiting = self.calls.iter().filter(|(_, call)| call.peer == from && !call.ours).count();
        if waiting >= REQUESTS_PER_PERSON || self.calls.count().0 >= limits::CHAT_CALLS {
            return self.send_direct(now, from, &Payload::Decline { id, reason: Reason::Busy }, false);
        }
        let binding = self.binding(from, self.me.key, id, kind);
        let seed = self.random.random();
        let Some((state, hello)) = noise::receive(&self.identity, &binding, handshake, seed) else {
            self.stats.malformed += 1;
            return;
        };
        // The key within the handshake is signed by the request around it; where the presence names one, it is the same.
        let known = self.noise_key_of(&from);
        let offer = (kind == Kind::Offer).then(|| parse_offer(&hello));
        if known.is_some_and(|key| state.get_remote_static() != Some(&key)) || offer == Some(None) {
            self.stats.malformed += 1;
            return;
        }
        self.ring(now, from, id, (kind, offer.flatten()), state);
    }

    /// Somebody wants something of us: the user is asked.
    fn ring(
        &mut self,
        now: Instant,
        from: PublicKey,
        id: RequestId,
        (kind, offer): (Kind, Option<Offer>),
        handshake: HandshakeState,
    ) {
        let patience = if kind == Kind::Call { CALL_PATIENCE } else { OFFER_PATIENCE };
        let person = self.person(from);
        self.events.push_back(match &offer {
            Some(offer) => ChatEvent::OfferReceived { id, from: person, offer: offer.clone() },
            None => ChatEvent::CallRequested { id, from: person },
        });
        let phase = Phase::Asked { handshake };
        let deadline = now + patience;
        let (metainfo, progress) = (Vec::new(), Progress::default());
        let call = Call { peer: from, kind, ours: false, phase, deadline, offer, metainfo, sent: 0, progress };
        self.calls.insert(id, call);
        self.send_direct(now, from, &Payload::Ringing { id }, false);
    }

    fn take_ringing(&mut self, from: PublicKey, id: RequestId) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.peer == from) else { return };
        if let Phase::Asking { ringing, .. } = &mut call.phase
            && !std::mem::replace(ringing, true)
        {
            self.events.push_back(ChatEvent::Ringing { id });
        }
    }

    fn take_accept(&mut self, now: Instant, from: PublicKey, id: RequestId, handshake: &[u8]) {
        let Some(call) = self.calls.get_mut(&id) else {
            return self.send_direct(now, from, &Payload::Decline { id, reason: Reason::Gone }, false);
        };
        if call.peer != from || !call.ours {
            return;
        }
        match &mut call.phase {
            Phase::Asking { handshake: state, .. } if now < call.deadline => {
                let Some(channel) = noise::complete(state, handshake) else {
                    self.stats.forged += 1;
                    return;
                };
                let mut line = Box::new(Line::new(channel));
                line.acknowledge();
                call.phase = Phase::Up { line, answer: None };
                let kind = call.kind;
                self.established(now, id, from, kind);
            }
            // It came again: the other side does not know yet that we have it.
            Phase::Up { line, .. } => line.acknowledge(),
            Phase::Asking { .. } | Phase::Asked { .. } | Phase::Closing { .. } => {}
        }
    }

    /// A channel stands.
    pub(super) fn established(&mut self, now: Instant, id: RequestId, with: PublicKey, kind: Kind) {
        let person = self.person(with);
        self.transfer_heard(now, id);
        let ours = self.calls.get_mut(&id).is_some_and(|call| call.ours);
        match kind {
            Kind::Call => self.events.push_back(ChatEvent::CallEstablished { id, with: person }),
            Kind::Offer if ours => {
                self.events.push_back(ChatEvent::OfferAccepted { id, with: person });
                self.supersede(id);
            }
            Kind::Offer => {}
        }
        if kind == Kind::Call {
            // Both may have called at once: one call is enough.
            let others: Vec<_> = self
                .calls
                .with(with, kind)
                .filter(|(other, _)| **other != id)
                .map(|(id, call)| (*id, call.ours))
                .collect();
            for (other, ours) in others {
                let reason = if ours { Reason::TakenBack } else { Reason::Busy };
                self.calls.end(other, reason);
                self.send_direct(now, with, &Payload::Decline { id: other, reason }, false);
            }
        }
    }

    fn take_decline(&mut self, from: PublicKey, id: RequestId, reason: Reason) {
        if self.calls.get_mut(&id).is_none_or(|call| call.peer != from) {
            return;
        }
        let Some(call) = self.calls.end(id, Reason::Gone) else { return };
        let with = self.person(from);
        let event = match (&call.phase, call.kind) {
            (Phase::Closing { .. }, _) => return,
            (Phase::Up { .. }, _) => return self.broken(id, call, Over::Lost),
            (Phase::Asking { .. }, Kind::Call) if matches!(reason, Reason::Declined | Reason::Busy) => {
                ChatEvent::CallDeclined { id, with }
            }
            (Phase::Asking { .. }, Kind::Offer) if matches!(reason, Reason::Declined | Reason::Busy) => {
                ChatEvent::OfferDeclined { id, with }
            }
            (_, Kind::Call) => ChatEvent::CallExpired { id, with },
            (_, Kind::Offer) => ChatEvent::OfferExpired { id, with },
        };
        self.events.push_back(event);
    }

    /// A call that stood is over; it is no longer open.
    pub(super) fn broken(&mut self, id: RequestId, call: Call, over: Over) {
        let with = self.person(call.peer);
        if call.has_begun() {
            return self.transfer_broken(id, &call, over.of_files(call.ours));
        }
        if let Phase::Up { line, .. } | Phase::Closing { line } = &call.phase {
            for number in line.unacknowledged() {
                self.events.push_back(ChatEvent::DirectState { id, number, state: DeliveryState::Failed });
            }
        }
        match (call.kind, call.phase) {
            (_, Phase::Closing { .. }) => {}
            (Kind::Call, Phase::Up { .. }) => {
                self.events.push_back(ChatEvent::CallEnded { id, with, why: over.of_call() });
            }
            (Kind::Call, _) => self.events.push_back(ChatEvent::CallExpired { id, with }),
            (Kind::Offer, _) => self.events.push_back(ChatEvent::OfferExpired { id, with }),
        }
    }

    fn take_sealed(&mut self, now: Instant, from: PublicKey, id: RequestId, nonce: u64, sealed: &[u8]) {
        let Some(call) = self.calls.get_mut(&id) else {
            return self.send_direct(now, from, &Payload::Decline { id, reason: Reason::Gone }, false);
        };
        if call.peer != from {
            return;
        }
        let arrived = match &mut call.phase {
            Phase::Up { line, answer } => line.take(nonce, sealed).inspect(|_| *answer = None),
            Phase::Closing { line } => line.take(nonce, sealed),
            Phase::Asking { .. } | Phase::Asked { .. } => return,
        };
        let Some(Arrived { inner, acknowledged }) = arrived else {
            self.stats.replayed += 1;
            return;
        };
        self.transfer_heard(now, id);
        for number in acknowledged {
            self.events.push_back(ChatEvent::DirectState { id, number, state: DeliveryState::Delivered });
        }
        for inner in inner {
            self.take_inner(now, from, id, inner);
        }
    }

    fn take_inner(&mut self, now: Instant, from: PublicKey, id: RequestId, inner: Inner) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (kind, closing) = (call.kind, matches!(call.phase, Phase::Closing { .. }));
        match inner {
            Inner::Text { number, time_ms, text } if kind == Kind::Call => {
                if !closing {
                    let (from, text) = (self.person(from), shown_text(&text));
                    self.events.push_back(ChatEvent::DirectMessage { id, from, number, text, time_ms });
                }
            }
            Inner::Data { last, bytes, .. } if kind == Kind::Offer && !call.ours => {
                // Once it is here, it is here; and once it is wrong, nothing makes it better.
                if closing || self.transfer_has_begun(&id) {
                    return;
                }
                let Some(call) = self.calls.get_mut(&id) else { return };
                call.metainfo.extend_from_slice(&bytes);
                if call.metainfo.len() > limits::CHAT_METAINFO_LENGTH {
                    self.hang_up_now(now, id, CallEnd::Lost);
                } else if last {
                    self.metainfo_is_here(now, from, id);
                }
            }
            Inner::HangUp { .. } => {
                // Its acknowledgement goes out before the line is gone.
                self.send_due(now, id);
                if let Some(call) = self.calls.end(id, Reason::Gone) {
                    self.broken(id, call, Over::ByThem);
                }
            }
            Inner::Report { state, have, .. } => self.take_report(now, id, state, have),
            Inner::Reach { reach, .. } => self.take_reach(id, reach),
            Inner::Text { .. } | Inner::Data { .. } | Inner::Ack { .. } => {}
        }
    }

    fn metainfo_is_here(&mut self, now: Instant, from: PublicKey, id: RequestId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let metainfo = Bytes::from(std::mem::take(&mut call.metainfo));
        let offer = call.offer.clone();
        match offer.filter(|offer| Metainfo::parse(metainfo.clone()).is_ok_and(|it| is_of(&it, offer))) {
            Some(offer) => {
                let from = self.person(from);
                self.transfer_begins(id);
                self.events.push_back(ChatEvent::OfferReady { id, from, offer, metainfo });
            }
            None => self.hang_up_now(now, id, CallEnd::Lost),
        }
    }

    /// Ends a call from our side, and tells the user.
    pub(super) fn hang_up_now(&mut self, now: Instant, id: RequestId, why: CallEnd) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (with, kind) = (call.peer, call.kind);
        let failed = if let Phase::Up { line, .. } = &call.phase { line.unacknowledged() } else { Vec::new() };
        for number in failed {
            self.events.push_back(ChatEvent::DirectState { id, number, state: DeliveryState::Failed });
        }
        let over = if why == CallEnd::Lost { Over::Lost } else { Over::ByUs };
        let (begun, end) = (call.has_begun(), over.of_files(call.ours));
        let with = self.person(with);
        match kind {
            Kind::Call => self.events.push_back(ChatEvent::CallEnded { id, with, why }),
            Kind::Offer if begun => {
                self.transfer_over(id, end);
                self.report_end(now, id, end);
            }
            Kind::Offer => self.events.push_back(ChatEvent::OfferExpired { id, with }),
        }
        self.close(now, id);
    }

    /// Hangs up without a word to the user.
    pub(super) fn close(&mut self, now: Instant, id: RequestId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Phase::Up { line, .. } = &mut call.phase else { return };
        let Some(number) = line.next_number() else {
            self.calls.end(id, Reason::Gone);
            return;
        };
        line.push(now, &Inner::HangUp { number });
        let waiting =
            Phase::Asking { handshake: None, request: Payload::Ringing { id }, ringing: false, tries: 0, next: now };
        if let Phase::Up { line, .. } = std::mem::replace(&mut call.phase, waiting) {
            call.phase = Phase::Closing { line };
            // How it ended with files is worth all the tries of a line.
            call.deadline = now + if call.kind == Kind::Call { CALL_PATIENCE / 2 } else { CALL_PATIENCE * 2 };
        }
    }

    /// Sends whatever a line has to send.
    fn send_due(&mut self, now: Instant, id: RequestId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.feed(now);
        let to = call.peer;
        let due = match &mut call.phase {
            Phase::Up { line, answer: None } | Phase::Closing { line } => line.due(now),
            Phase::Asking { .. } | Phase::Asked { .. } | Phase::Up { .. } => Vec::new(),
        };
        for sealed in due {
            let payload = Payload::Sealed { id, nonce: sealed.nonce, sealed: sealed.sealed };
            self.send_direct(now, to, &payload, sealed.again);
        }
    }

    /// Does what is due in every call.
    pub(super) fn drive_calls(&mut self, now: Instant) {
        let ids: Vec<RequestId> = self.calls.iter().map(|(id, _)| *id).collect();
        for id in ids {
            self.drive_call(now, id);
        }
        let every = self.calls.report_every();
        self.calls.due = self.calls.iter().filter_map(|(_, call)| call.next_due(now, every)).min();
    }

    fn drive_call(&mut self, now: Instant, id: RequestId) {
        self.drive_transfer(now, id);
        self.send_due(now, id);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (to, deadline) = (call.peer, call.deadline);
        match &mut call.phase {
            Phase::Asking { .. } | Phase::Asked { .. } if now >= deadline => {
                let ours = call.ours;
                if let Some(call) = self.calls.end(id, Reason::TakenBack) {
                    self.broken(id, call, Over::Lost);
                }
                if ours {
                    self.send_direct(now, to, &Payload::Decline { id, reason: Reason::TakenBack }, false);
                }
            }
            Phase::Asking { request, ringing, tries, next, .. } if now >= *next => {
                // Once it rings there, there is nothing to ask again but for a lost answer.
                *tries += if *ringing { 2 } else { 1 };
                *next = now + retry_after(*tries);
                let (request, again) = (request.clone(), *tries > 1);
                self.send_direct(now, to, &request, again);
            }
            Phase::Up { line, .. } if line.has_failed(now) => {
                if let Some(call) = self.calls.end(id, Reason::Gone) {
                    self.broken(id, call, Over::Lost);
                }
            }
            Phase::Up { answer: Some((answer, tries, next)), .. } if now >= *next => {
                *tries += 1;
                *next = now + retry_after(*tries);
                let (answer, again, given_up) = (answer.clone(), *tries > 1, *tries > 6);
                if given_up && let Some(call) = self.calls.end(id, Reason::Gone) {
                    return self.broken(id, call, Over::Lost);
                }
                self.send_direct(now, to, &answer, again);
            }
            Phase::Closing { line } if line.is_idle() || line.has_failed(now) || now >= deadline => {
                if let Some(call) = self.calls.end(id, Reason::Gone) {
                    self.broken(id, call, Over::ByUs);
                }
            }
            Phase::Asking { .. } | Phase::Asked { .. } | Phase::Up { .. } | Phase::Closing { .. } => {}
        }
    }

    /// Somebody is gone, or unwanted: nothing with it goes on.
    pub(super) fn end_calls_with(&mut self, now: Instant, key: PublicKey, why: CallEnd) {
        let ids: Vec<RequestId> = self.calls.iter().filter(|(_, call)| call.peer == key).map(|(id, _)| *id).collect();
        for id in ids {
            if why == CallEnd::HungUp {
                self.send_direct(now, key, &Payload::Decline { id, reason: Reason::Gone }, false);
            }
            if let Some(call) = self.calls.end(id, Reason::Gone) {
                self.broken(id, call, if why == CallEnd::Lost { Over::Lost } else { Over::ByUs });
            }
        }
        self.drive_calls(now);
    }

    pub(super) fn end_all_calls(&mut self, now: Instant) {
        let peers: Vec<PublicKey> = self.calls.iter().map(|(_, call)| call.peer).collect();
        for peer in peers {
            self.end_calls_with(now, peer, CallEnd::HungUp);
        }
    }
}

/// Whether it is of what was offered, and accepted for its name and length.
fn is_of(metainfo: &Metainfo, offer: &Offer) -> bool {
    let total_length = metainfo.geometry().total_length();
    metainfo.info_hash() == offer.info_hash
        && total_length == offer.total_length
        && shown_name(metainfo.name()) == offer.name
}
