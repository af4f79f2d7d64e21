//! What a session answers about people, relayed messages and the end of the tracker.

use crate::hub::NotRelayed;
use crate::network::Network;
use crate::people::{LIFETIME_DAYS, PeopleError, today};
use crate::session::{FULL_RETRY_S, PeerSession, refused};
use std::time::Instant;
use swarm_proto::native::{
    Challenge, Claim, PersonQuery, Refusal, RefusalCode, Registration, Relayed, Response, TrackerMessage,
};

/// A signature takes its reader as long as so many announces.
const PROOF_COST: u32 = 10;
/// A wrong proof of an admin costs so many requests: whoever guesses gets ten attempts, and then one in ten seconds.
const WRONG_ADMIN_COST: u32 = 500;
/// Relayed messages of one connection: so many at once, and so many a second.
const RELAYS_AT_ONCE: f64 = 32.0;
const RELAYS_PER_S: f64 = 10.0;

/// How many messages a connection may have relayed now.
#[derive(Debug)]
pub(crate) struct RelayAllowance {
    left: f64,
    at: Instant,
}

impl RelayAllowance {
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: RELAYS_AT_ONCE, at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left, self.at) = ((self.left + since * RELAYS_PER_S).min(RELAYS_AT_ONCE), now);
        let some = self.left >= 1.0;
        self.left -= f64::from(u8::from(some));
        some
    }
}

impl PeerSession {
    fn challenge(&self) -> Result<Challenge, Refusal> {
        let none = || Refusal::new(RefusalCode::BadProof, "O did not ask for a challenge");
        self.challenge.ok_or_else(none)
    }

    pub(crate) fn register(&self, registration: Registration) -> Result<Response, Refusal> {
        let challenge = self.challenge()?;
        self.shared.store.admit(Instant::now(), self.remote, PROOF_COST).map_err(refused)?;
        let Registration { person, key, signature, release } = registration;
        let claim = if release { Claim::Release } else { Claim::Register };
        if !claim.is_proven(&challenge, &key, &person, &signature) {
            return Err(Refusal::new(
                RefusalCode::BadProof,
                "the signature is not the key's, or not of this connection",
            ));
        }
        let refusal = PeopleError::refusal;
        if release {
            self.shared.people().release(&person, key, today()).map_err(refusal)?;
            self.shared.people_changed.notify_one();
            tracing::info!(%person, by = %self.remote, "name released");
            return Ok(Response::Done);
        }
        let network = Network::of(self.remote);
        let news = self.shared.people().register(person.clone(), key, network, today()).map_err(refusal)?;
        if news {
            self.shared.people_changed.notify_one();
            tracing::info!(%person, by = %self.remote, "name registered");
        }
        Ok(Response::Registered { lifetime_days: LIFETIME_DAYS })
    }

    pub(crate) fn who_is(&self, query: &PersonQuery) -> Result<Response, Refusal> {
        self.shared.counters().name_lookups.add(1);
        self.shared.people().find(query, today()).map(Response::Person).map_err(PeopleError::refusal)
    }

    /// Hands a message to the connection of another peer of the torrent. Whether it arrives is for the peers to say.
    pub(crate) fn relay(&mut self, relayed: Relayed) -> Result<Response, Refusal> {
        let Some(address) = self.serving(&relayed.info_hash) else {
            return Err(Refusal::new(RefusalCode::NotFound, "this connection does not serve that torrent"));
        };
        if !self.relays.take(Instant::now()) {
            return Err(Refusal::new(RefusalCode::Full, "messages come too fast").retry_in(1));
        }
        let Relayed { info_hash, peer, data } = relayed;
        let message = TrackerMessage::Relayed(Relayed { info_hash, peer: address, data });
        match self.shared.hub.relay(&info_hash, address, peer, message.encode().into()) {
            Ok(()) => Ok(Response::Done),
            Err(NotRelayed::NoSuchPeer) => {
                Err(Refusal::new(RefusalCode::NotFound, "no such peer of that torrent takes messages here"))
            }
            Err(NotRelayed::Busy) => Err(Refusal::new(RefusalCode::Full, "that peer has enough to read").retry_in(1)),
        }
    }

    pub(crate) fn shut_down(&self, proof: &[u8; 32]) -> Result<Response, Refusal> {
        let Some(token) = &self.shared.config.admin_token else {
            return Err(Refusal::new(RefusalCode::NotAllowed, "this tracker cannot be closed from afar"));
        };
        if !token.is_proven(&self.challenge()?, proof) {
            tracing::warn!(by = %self.remote, "wrong admin token");
            let limited = self.shared.store.admit(Instant::now(), self.remote, WRONG_ADMIN_COST);
            let refusal = Refusal::new(RefusalCode::BadProof, "not the admin token");
            return Err(if limited.is_err() { refusal.retry_in(FULL_RETRY_S) } else { refusal });
        }
        tracing::info!(by = %self.remote, "closed by its admin");
        self.shared.shutdown.notify_one();
        Ok(Response::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn relayed_messages_are_counted_by_connection() {
        let start = Instant::now();
        let mut allowance = RelayAllowance::new(start);
        assert_eq!((0..100).filter(|_| allowance.take(start)).count(), 32);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| allowance.take(later)).count(), 10);
        assert_eq!((0..100).filter(|_| allowance.take(later + Duration::from_secs(60))).count(), 32);
    }
}
