//! What the events of a room mean for the screen.

use super::action::Action;
use super::app::{App, EARLY};
use super::pane::{About, Kind};
use super::requests;
use crate::render::text::{bytes, count};
use swarm_proto::chat::{
    CallEnd, ChatEvent, ChatMessage, DeliveryState, MessageId, Offer, Person, PublicKey, RequestId,
};

impl App {
    /// Something has happened in the room.
    pub(crate) fn take(&mut self, event: ChatEvent) -> Vec<Action> {
        match event {
            ChatEvent::Message(message) => self.take_message(&message),
            ChatEvent::Heard { id, .. } => self.heard(id),
            ChatEvent::Joined(person) => self.joined(person),
            ChatEvent::Left { person, silent } => self.left(person, silent),
            ChatEvent::Renamed { person, before } => self.renamed(person, &before),
            ChatEvent::Muted { person, hidden } => self.muted(&person, hidden),
            ChatEvent::NameChangedKey { name, like, pinned, now } => self.alarm(&name, like.as_deref(), pinned, now),
            ChatEvent::NameRegistered { person, tracker } => self.proven(&person, &tracker),
            ChatEvent::NameOfAnother { person, name, owner, tracker } => self.alarm_of(&person, &name, owner, &tracker),
            ChatEvent::Ringing { id } => self.ringing(id),
            ChatEvent::CallRequested { id, from } => self.called(id, &from),
            ChatEvent::CallEstablished { id, with } => return self.established(id, &with),
            ChatEvent::CallDeclined { id, with } => self.call_over(id, &with, "does not want to talk"),
            ChatEvent::CallExpired { id, with } => self.call_over(id, &with, "- the call was not answered"),
            ChatEvent::CallEnded { id, with, why } => self.call_ended(id, &with, why),
            ChatEvent::DirectMessage { from, text, time_ms, .. } => {
                self.pane.push(time_ms.min(self.now_ms), Kind::ToMe, &from.name, &text, About::Nothing);
            }
            ChatEvent::DirectState { id, number, state } => self.delivered(id, number, state),
            ChatEvent::OfferReceived { id, from, offer } => self.offered(id, &from, &offer),
            ChatEvent::OfferAccepted { id, with } => self.offer_taken(id, &with),
            ChatEvent::OfferDeclined { id, with } => self.offer_over(id, &with, "does not want"),
            ChatEvent::OfferExpired { id, with } => self.offer_expired(id, &with),
            // Whoever asked for it is told.
            ChatEvent::OfferReady { .. } => {}
            ChatEvent::OfferProgress { transfer, state } => self.take_progress(&transfer, state),
            ChatEvent::OfferStuck { transfer, tried } => self.take_stuck(&transfer, &tried),
            ChatEvent::OfferSilent { transfer, silent } => self.take_silence(&transfer, silent),
            ChatEvent::OfferEnded { transfer, end } => self.transfer_over(&transfer, end),
            ChatEvent::Missed(events) => {
                self.note(Kind::Failure, &format!("{} lost: more came than could be shown", count(events, "event")));
            }
        }
        Vec::new()
    }

    fn take_message(&mut self, message: &ChatMessage) {
        let kind = match () {
            () if message.own => Kind::Own,
            () if message.past => Kind::Earlier,
            () => Kind::Said,
        };
        let about = if message.own { About::Message(message.id, message.past) } else { About::Said(message.author) };
        // A clock that runs ahead must not lead everybody into tomorrow.
        let time_ms = message.time_ms.min(self.now_ms);
        self.pane.push(time_ms, kind, &message.name, &message.text, about);
    }

    fn heard(&mut self, id: MessageId) {
        self.pane.update(|about| match about {
            About::Message(own, false) if own == id => Some(About::Message(own, true)),
            _ => None,
        });
    }

    fn keep(&mut self, person: Person) {
        match self.people.iter_mut().find(|known| known.key == person.key) {
            Some(known) => *known = person,
            None => self.people.push(person),
        }
    }

    fn joined(&mut self, person: Person) {
        if !person.me {
            self.note(Kind::Notice, &format!("{} ({}) is here", person.name, person.key.fingerprint()));
        }
        self.keep(person);
    }

    fn left(&mut self, person: Person, silent: bool) {
        let how = if silent { "has gone without a word" } else { "has left" };
        self.note(Kind::Notice, &format!("{} {how}", person.name));
        self.keep(person);
    }

    fn renamed(&mut self, person: Person, before: &str) {
        let who = if person.me { "you are".to_owned() } else { format!("{before} is") };
        self.note(Kind::Notice, &format!("{who} called {} now ({})", person.name, person.key.fingerprint()));
        self.keep(person);
    }

    fn alarm(&mut self, name: &str, like: Option<&str>, pinned: PublicKey, now: PublicKey) {
        let (pinned, now) = (pinned.fingerprint(), now.fingerprint());
        let whose = match like {
            Some(like) => format!("that looks like {like}, the name of {pinned}"),
            None => format!("that name belongs to {pinned}"),
        };
        let text = format!(
            "SOMEBODY ELSE MAY CALL HIMSELF {name}: {whose}, and {now} uses it now. \
             Compare fingerprints over another way before you believe it; /trust or /block {now}"
        );
        self.note(Kind::Alarm, &text);
    }

    fn proven(&mut self, person: &Person, tracker: &str) {
        let whose = if person.me { "your key" } else { "this key" };
        let (name, fingerprint) = (&person.name, person.key.fingerprint());
        self.note(Kind::Notice, &format!("✓ {name} ({fingerprint}): this name is registered for {whose} at {tracker}"));
    }

    fn alarm_of(&mut self, person: &Person, name: &str, owner: PublicKey, tracker: &str) {
        let (owner, now) = (owner.fingerprint(), person.key.fingerprint());
        let text = if person.me {
            format!(
                "YOUR NAME {name}, OR ONE THAT LOOKS LIKE IT, IS ANOTHER KEY'S AT {tracker}, {owner}: others are warned of you; \
                 /nick gives you another"
            )
        } else {
            format!(
                "SOMEBODY ELSE MAY CALL HIMSELF {name}: {tracker} has that name, or one that looks like it, \
                 registered for {owner}, and {now} uses it. \
                 Compare fingerprints over another way before you believe it; /trust or /block {now}"
            )
        };
        self.note(Kind::Alarm, &text);
    }

    /// What was shown of a flood goes, where lines can go.
    fn muted(&mut self, person: &Person, hidden: u32) {
        let (name, fingerprint) = (&person.name, person.key.fingerprint());
        let told = count(u64::from(hidden), "message");
        let folded = match self.tells_fates {
            true => format!("after {told}"),
            false => {
                self.pane.fold(person.key, usize::try_from(hidden).unwrap_or(usize::MAX));
                format!("and {told} hidden")
            }
        };
        let until = format!("nothing more is shown for a while, {folded}; /block {fingerprint} for good");
        self.note(Kind::Alarm, &format!("{name} ({fingerprint}) FLOODS the room: {until}"));
    }

    fn ringing(&mut self, id: RequestId) {
        if let Some(name) = self.requests.get(id).map(|request| request.name.clone()) {
            self.note(Kind::Notice, &format!("it rings at {name}"));
        }
    }

    fn called(&mut self, id: RequestId, from: &Person) {
        let number = self.requests.open(id, from, requests::Kind::CallsUs, "");
        let (name, fingerprint) = (&from.name, from.key.fingerprint());
        let text = format!("{name} ({fingerprint}) wants to talk: /accept {number} or /decline {number} within 60 s");
        self.note(Kind::Request, &text);
    }

    fn established(&mut self, id: RequestId, with: &Person) -> Vec<Action> {
        let number = self.requests.open(id, with, requests::Kind::Talk, "");
        let text = format!("you talk with {}: /msg, and at the end /hangup {number}", with.name);
        self.note(Kind::Notice, &text);
        let held = self.held.remove(&with.key).unwrap_or_default();
        held.into_iter().map(|text| Action::Tell { id, text }).collect()
    }

    fn call_over(&mut self, id: RequestId, with: &Person, how: &str) {
        self.requests.close(id);
        let lost = self.held.remove(&with.key).map_or(0, |held| held.len() as u64);
        let lost = if lost > 0 { format!("; NOT sent: {}", count(lost, "text")) } else { String::new() };
        self.note(Kind::Notice, &format!("{} {how}{lost}", with.name));
    }

    fn call_ended(&mut self, id: RequestId, with: &Person, why: CallEnd) {
        let how = match why {
            CallEnd::HungUp => "is over",
            CallEnd::Lost => "broke off",
        };
        self.requests.close(id);
        self.note(Kind::Notice, &format!("the call with {} {how}", with.name));
    }

    fn delivered(&mut self, id: RequestId, number: u64, state: DeliveryState) {
        let line = self.pane.update(|about| match about {
            About::Direct(call, told, _) if (call, told) == (id, number) => Some(About::Direct(id, number, state)),
            _ => None,
        });
        let Some(line) = line else {
            self.early.retain(|(call, told, _)| (*call, *told) != (id, number));
            self.early.push((id, number, state));
            if self.early.len() > EARLY {
                self.early.remove(0);
            }
            return;
        };
        let (name, text) = (line.who.clone(), line.text.first().cloned().unwrap_or_default());
        self.tell_fate(&name, &text, state);
    }

    /// What has become of a text in a call.
    pub(super) fn tell_fate(&mut self, name: &str, text: &str, state: DeliveryState) {
        match state {
            DeliveryState::Failed => {
                self.note(Kind::Failure, &format!("{name} does not answer, and may never have got: {text}"));
            }
            DeliveryState::Delivered if self.tells_fates => {
                self.note(Kind::Notice, &format!("delivered to {name}: {text}"));
            }
            DeliveryState::Delivered | DeliveryState::Sent => {}
        }
    }

    fn offered(&mut self, id: RequestId, from: &Person, offer: &Offer) {
        let number = self.requests.open(id, from, requests::Kind::OffersUs, &offer.name);
        let (name, fingerprint, files) = (&from.name, from.key.fingerprint(), count(u64::from(offer.files), "file"));
        let size = bytes(offer.total_length);
        let answers = format!("/accept {number} or /decline {number} within 10 minutes");
        self.note(Kind::Request, &format!("{name} ({fingerprint}) offers {} ({size}, {files}): {answers}", offer.name));
    }

    fn offer_taken(&mut self, id: RequestId, with: &Person) {
        // It may come before we know that our offer is on its way.
        let known = self.requests.get(id).map(|request| request.files.clone());
        let files = known.unwrap_or_else(|| "the files".to_owned());
        let number = self.requests.open(id, with, requests::Kind::WeSend, &files);
        self.note(Kind::Notice, &format!("{} takes {files} (/hangup {number} takes it back)", with.name));
    }

    /// Nobody has answered in time, or whoever offered it has taken it back; or it broke off before it began.
    fn offer_expired(&mut self, id: RequestId, with: &Person) {
        // What the user has ended is told already.
        let Some(request) = self.requests.close(id) else { return };
        let (name, files) = (&with.name, request.files);
        let text = match request.kind {
            requests::Kind::WeOffer => format!("{files} is offered to {name} no more"),
            requests::Kind::OffersUs => format!("{name} offers {files} no more"),
            _ => format!("nothing comes of {files}: {name} broke off"),
        };
        self.note(Kind::Notice, &text);
    }

    fn offer_over(&mut self, id: RequestId, with: &Person, how: &str) {
        let files = self.requests.close(id).map_or_else(|| "the files".to_owned(), |request| request.files);
        self.note(Kind::Notice, &format!("{} {how} {files}", with.name));
    }
}
