//! What the user asks of one person: calls, offers, answers, words.

use super::calls::{CALL_PATIENCE, Call, OFFER_PATIENCE, Over, Phase};
use super::contract::{CallEnd, ChatError, ChatEvent, DeliveryState, Offer, RequestId};
use super::identity::PublicKey;
use super::line::Line;
use super::noise;
use super::payload::{Inner, Kind, Payload, Reason, encode_offer};
use super::transfers::Progress;
use super::{Room, limits};
use bytes::Bytes;
use rand::RngExt;
use std::time::Instant;

impl Room {
    /// Asks somebody for a talk.
    ///
    /// # Errors
    /// [`ChatError::Unknown`], [`ChatError::Blocked`], [`ChatError::Myself`], [`ChatError::Busy`],
    /// [`ChatError::TooMany`], [`ChatError::Ended`].
    pub fn call(&mut self, now: Instant, to: PublicKey) -> Result<RequestId, ChatError> {
        if self.calls.with(to, Kind::Call).any(|(_, call)| call.ours || matches!(call.phase, Phase::Up { .. })) {
            return Err(ChatError::Busy);
        }
        self.ask(now, to, Kind::Call, None, Bytes::new())
    }

    /// Offers files to somebody; on acceptance the metainfo goes over.
    ///
    /// # Errors
    /// As [`Room::call`], and [`ChatError::MetainfoTooLong`].
    pub fn offer(
        &mut self,
        now: Instant,
        to: PublicKey,
        offer: Offer,
        metainfo: Bytes,
    ) -> Result<RequestId, ChatError> {
        if metainfo.len() > limits::CHAT_METAINFO_LENGTH || metainfo.is_empty() {
            return Err(ChatError::MetainfoTooLong);
        }
        self.ask(now, to, Kind::Offer, Some(offer), metainfo)
    }

    /// Whether [`Room::offer`] to somebody would be refused now whatever is offered, for whoever has to prepare it first.
    ///
    /// # Errors
    /// As [`Room::call`].
    pub fn may_offer(&self, to: PublicKey) -> Result<(), ChatError> {
        self.check_person(to, Kind::Offer)?;
        self.noise_key_of(&to).map(drop).ok_or(ChatError::Unknown)
    }

    fn ask(
        &mut self,
        now: Instant,
        to: PublicKey,
        kind: Kind,
        offer: Option<Offer>,
        metainfo: Bytes,
    ) -> Result<RequestId, ChatError> {
        self.check_person(to, kind)?;
        let their_key = self.noise_key_of(&to).ok_or(ChatError::Unknown)?;
        let id = RequestId(self.random.random());
        let hello = offer.as_ref().map(encode_offer).unwrap_or_default();
        let (binding, seed) = (self.binding(self.me.key, to, id, kind), self.random.random());
        let begun = noise::begin(&self.identity, &their_key, &binding, &hello, seed);
        let (state, handshake) = begun.ok_or(ChatError::Unknown)?;
        let request = Payload::Request { id, kind, handshake };
        let phase = Phase::Asking { handshake: Some(state), request, ringing: false, tries: 0, next: now };
        let deadline = now + if kind == Kind::Call { CALL_PATIENCE } else { OFFER_PATIENCE };
        let (metainfo, progress) = (metainfo.to_vec(), Progress::default());
        self.calls.insert(id, Call { peer: to, kind, ours: true, phase, deadline, offer, metainfo, sent: 0, progress });
        self.drive_calls(now);
        Ok(id)
    }

    fn check_person(&self, to: PublicKey, kind: Kind) -> Result<(), ChatError> {
        match () {
            () if self.left => Err(ChatError::Ended),
            () if to == self.me.key => Err(ChatError::Myself),
            () if self.people.is_blocked(&to) => Err(ChatError::Blocked),
            () if kind == Kind::Call && self.calls.count().0 >= limits::CHAT_CALLS => Err(ChatError::TooMany),
            () if kind == Kind::Offer && !self.has_room_for_transfer() => Err(ChatError::TooMany),
            () => Ok(()),
        }
    }

    /// Says yes to exactly this call or offer.
    ///
    /// # Errors
    /// [`ChatError::NoSuchRequest`]: it was answered, taken back, is too old, or never was. [`ChatError::TooMany`] of an
    /// offer.
    pub fn accept(&mut self, now: Instant, id: RequestId) -> Result<(), ChatError> {
        let open = |call: &&mut Call| matches!(call.phase, Phase::Asked { .. }) && now < call.deadline;
        let kind = self.calls.get_mut(&id).filter(open).ok_or(ChatError::NoSuchRequest)?.kind;
        if kind == Kind::Offer && !self.has_room_for_transfer() {
            return Err(ChatError::TooMany);
        }
        let mut call = self.calls.end(id, Reason::Gone).ok_or(ChatError::NoSuchRequest)?;
        self.calls.forget_end(&id);
        let Phase::Asked { handshake } = call.phase else { return Err(ChatError::NoSuchRequest) };
        let (channel, handshake) = noise::answer(handshake).ok_or(ChatError::NoSuchRequest)?;
        let answer = Some((Payload::Accept { id, handshake }, 0, now));
        call.phase = Phase::Up { line: Box::new(Line::new(channel)), answer };
        let peer = call.peer;
        self.calls.insert(id, call);
        self.established(now, id, peer, kind);
        self.drive_calls(now);
        Ok(())
    }

    /// Says no to exactly this call or offer.
    ///
    /// # Errors
    /// As [`Room::accept`].
    pub fn decline(&mut self, now: Instant, id: RequestId) -> Result<(), ChatError> {
        let open = |call: &&mut Call| matches!(call.phase, Phase::Asked { .. });
        let peer = self.calls.get_mut(&id).filter(open).map(|call| call.peer).ok_or(ChatError::NoSuchRequest)?;
        self.calls.end(id, Reason::Declined);
        self.send_direct(now, peer, &Payload::Decline { id, reason: Reason::Declined }, false);
        self.drive_calls(now);
        Ok(())
    }

    /// Ends a call, or what is under way of an offer; or takes back one that was not answered yet.
    ///
    /// # Errors
    /// [`ChatError::NoSuchRequest`].
    pub fn hang_up(&mut self, now: Instant, id: RequestId) -> Result<(), ChatError> {
        let call = self.calls.get_mut(&id).ok_or(ChatError::NoSuchRequest)?;
        let peer = call.peer;
        match &call.phase {
            Phase::Up { .. } => self.hang_up_now(now, id, CallEnd::HungUp),
            Phase::Asking { .. } => {
                if let Some(call) = self.calls.end(id, Reason::TakenBack) {
                    self.broken(id, call, Over::ByUs);
                }
                self.send_direct(now, peer, &Payload::Decline { id, reason: Reason::TakenBack }, false);
            }
            Phase::Asked { .. } => return self.decline(now, id),
            Phase::Closing { .. } => return Err(ChatError::NoSuchRequest),
        }
        self.drive_calls(now);
        Ok(())
    }

    /// Says something in a call. The number by which [`ChatEvent::DirectState`] tells what became of it.
    ///
    /// # Errors
    /// [`ChatError::NoSuchRequest`] if the call does not stand, [`ChatError::Empty`], [`ChatError::TooLong`],
    /// [`ChatError::TooMany`] if too much waits to be acknowledged.
    pub fn tell(&mut self, now: Instant, id: RequestId, text: &str) -> Result<u64, ChatError> {
        self.check_text(text)?;
        let time_ms = self.clock.wall_ms(now);
        let call = self.calls.get_mut(&id).filter(|call| call.kind == Kind::Call).ok_or(ChatError::NoSuchRequest)?;
        let Phase::Up { line, .. } = &mut call.phase else { return Err(ChatError::NoSuchRequest) };
        let number = line.next_number().ok_or(ChatError::TooMany)?;
        line.push(now, &Inner::Text { number, time_ms, text: text.to_owned() });
        self.events.push_back(ChatEvent::DirectState { id, number, state: DeliveryState::Sent });
        self.drive_calls(now);
        Ok(number)
    }
}
