//! The encryption between two people: Noise `IK` over X25519, ChaCha20-Poly1305 and BLAKE2s, by the crate `snow`.
//!
//! Owns how a handshake is begun, answered and turned into a channel. Whoever calls knows the other's static key from its
//! signed presence, and both messages travel in signed envelopes, so each key is bound to a person twice. The prologue
//! binds the channel to room, caller, callee, request and kind. All randomness is handed in.

use super::contract::RequestId;
use super::identity::{Identity, PublicKey};
use crate::id::InfoHash;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState, StatelessTransportState};

const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"swarm chat call 1\0";
/// Bytes that encryption adds.
pub(super) const TAG_LENGTH: usize = 16;
/// Bytes of the first message beside its payload: a key, an encrypted key, a tag.
const FIRST_OVERHEAD: usize = 32 + 48 + TAG_LENGTH;
/// Bytes of the second message beside its payload.
const SECOND_OVERHEAD: usize = 32 + TAG_LENGTH;

/// What a channel is bound to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binding {
    pub(super) room: InfoHash,
    pub(super) caller: PublicKey,
    pub(super) callee: PublicKey,
    pub(super) id: RequestId,
    pub(super) kind: u8,
}

impl Binding {
    fn prologue(&self) -> Vec<u8> {
        [PROLOGUE, &self.room.0, &self.caller.0, &self.callee.0, &self.id.0, &[self.kind]].concat()
    }
}

/// Randomness that was handed in; everything else as `snow` has it.
struct Resolver([u8; 32]);

struct Seeded(StdRng);

impl Random for Seeded {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Seeded(StdRng::from_seed(self.0))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// The X25519 public key of a secret.
pub(super) fn public_of(secret: &[u8; 32]) -> [u8; 32] {
    let Some(mut dh) = DefaultResolver.resolve_dh(&DHChoice::Curve25519) else { return [0; 32] };
    dh.set(secret);
    dh.pubkey().try_into().unwrap_or([0; 32])
}

fn params() -> Option<NoiseParams> {
    PATTERN.parse().ok()
}

/// Begins a handshake towards `their_key`. The state to go on with, and the first message.
pub(super) fn begin(
    identity: &Identity,
    their_key: &[u8; 32],
    binding: &Binding,
    payload: &[u8],
    seed: [u8; 32],
) -> Option<(HandshakeState, Vec<u8>)> {
    let prologue = binding.prologue();
    let builder = Builder::with_resolver(params()?, Box::new(Resolver(seed)));
    let builder = builder.local_private_key(identity.noise_secret()).ok()?.remote_public_key(their_key).ok()?;
    let mut state = builder.prologue(&prologue).ok()?.build_initiator().ok()?;
    let mut message = vec![0; FIRST_OVERHEAD + payload.len()];
    let length = state.write_message(payload, &mut message).ok()?;
    message.truncate(length);
    Some((state, message))
}

/// Reads the first message of a handshake. The state to go on with, and the payload.
pub(super) fn receive(
    identity: &Identity,
    binding: &Binding,
    message: &[u8],
    seed: [u8; 32],
) -> Option<(HandshakeState, Vec<u8>)> {
    let prologue = binding.prologue();
    let builder = Builder::with_resolver(params()?, Box::new(Resolver(seed)));
    let builder = builder.local_private_key(identity.noise_secret()).ok()?;
    let mut state = builder.prologue(&prologue).ok()?.build_responder().ok()?;
    let mut payload = vec![0; message.len()];
    let length = state.read_message(message, &mut payload).ok()?;
    payload.truncate(length);
    Some((state, payload))
}

/// Writes the second message; the channel stands.
pub(super) fn answer(mut state: HandshakeState) -> Option<(Channel, Vec<u8>)> {
    let mut message = vec![0; SECOND_OVERHEAD];
    let length = state.write_message(&[], &mut message).ok()?;
    message.truncate(length);
    Some((Channel::new(state)?, message))
}

/// Reads the second message; the channel stands. What is no answer to this very handshake leaves it as it was.
pub(super) fn complete(state: &mut Option<HandshakeState>, message: &[u8]) -> Option<Channel> {
    // A failed read leaves the state of `snow` as it was before it: a forged answer cannot spoil the right one.
    let mut payload = vec![0; message.len()];
    state.as_mut()?.read_message(message, &mut payload).ok()?;
    Channel::new(state.take()?)
}

/// An encrypted channel. Each message has its own number, so they may be lost, repeated or come in another order.
pub(super) struct Channel {
    transport: StatelessTransportState,
    next_nonce: u64,
    /// The highest number seen, and which of the 128 below it were.
    highest: u64,
    seen: u128,
}

impl Channel {
    fn new(state: HandshakeState) -> Option<Self> {
        let transport = state.into_stateless_transport_mode().ok()?;
        Some(Self { transport, next_nonce: 0, highest: 0, seen: 0 })
    }

    /// Encrypts under the next number.
    pub(super) fn seal(&mut self, plain: &[u8]) -> Option<(u64, Vec<u8>)> {
        let nonce = self.next_nonce;
        let mut sealed = vec![0; plain.len() + TAG_LENGTH];
        let length = self.transport.write_message(nonce, plain, &mut sealed).ok()?;
        sealed.truncate(length);
        self.next_nonce += 1;
        Some((nonce, sealed))
    }

    /// Decrypts what has not come before.
    pub(super) fn open(&mut self, nonce: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        let number = nonce.checked_add(1)?;
        if self.is_old(number) {
            return None;
        }
        let mut plain = vec![0; sealed.len()];
        let length = self.transport.read_message(nonce, sealed, &mut plain).ok()?;
        plain.truncate(length);
        self.note(number);
        Some(plain)
    }

    fn is_old(&self, number: u64) -> bool {
        let Some(behind) = self.highest.checked_sub(number) else { return false };
        behind >= 128 || self.seen >> behind & 1 == 1
    }

    fn note(&mut self, number: u64) {
        if let Some(ahead) = number.checked_sub(self.highest).filter(|&ahead| ahead > 0) {
            self.seen = u32::try_from(ahead).ok().and_then(|ahead| self.seen.checked_shl(ahead)).unwrap_or(0) | 1;
            self.highest = number;
        } else {
            self.seen |= 1 << (self.highest - number).min(127);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(id: u8) -> Binding {
        let [caller, callee] = [1, 2].map(|at| Identity::from_secret([at; 32]).public());
        Binding { room: InfoHash([9; 20]), caller, callee, id: RequestId([id; 16]), kind: 1 }
    }

    fn pair() -> (Channel, Channel) {
        let [caller, callee] = [1, 2].map(|at| Identity::from_secret([at; 32]));
        let (state, first) = begin(&caller, callee.noise_public(), &binding(5), b"offer", [3; 32]).unwrap();
        let (theirs, payload) = receive(&callee, &binding(5), &first, [4; 32]).unwrap();
        assert_eq!(payload, b"offer");
        let (there, second) = answer(theirs).unwrap();
        let mut state = Some(state);
        for at in 0..second.len() {
            let mut forged = second.clone();
            forged[at] ^= 1;
            assert!(complete(&mut state, &forged).is_none() && state.is_some(), "byte {at}");
        }
        (complete(&mut state, &second).unwrap(), there)
    }

    #[test]
    fn both_sides_understand_each_other_whatever_is_lost_or_repeated() {
        let (mut here, mut there) = pair();
        let sealed: Vec<_> = (0..300u32).map(|at| here.seal(&at.to_be_bytes()).unwrap()).collect();
        let open = |there: &mut Channel, at: usize| there.open(sealed[at].0, &sealed[at].1);
        assert_eq!(open(&mut there, 2), Some(vec![0, 0, 0, 2]));
        assert_eq!(open(&mut there, 0), Some(vec![0, 0, 0, 0]));
        assert_eq!((open(&mut there, 0), open(&mut there, 2)), (None, None), "a replay");
        assert_eq!(open(&mut there, 200), Some(vec![0, 0, 0, 200]));
        assert_eq!(open(&mut there, 1), None, "older than what is remembered");
        assert_eq!(open(&mut there, 73), Some(vec![0, 0, 0, 73]));
        let (nonce, mut bent) = there.seal(b"back").unwrap();
        bent[0] ^= 1;
        assert_eq!(here.open(nonce, &bent), None);
        bent[0] ^= 1;
        assert_eq!(here.open(nonce + 1, &bent), None);
        assert_eq!(here.open(u64::MAX, &bent), None);
        assert_eq!(here.open(nonce, &bent), Some(b"back".to_vec()));
    }

    #[test]
    fn a_handshake_is_bound_to_its_request_and_its_people() {
        let [caller, callee, other] = [1, 2, 3].map(|at| Identity::from_secret([at; 32]));
        let (_, first) = begin(&caller, callee.noise_public(), &binding(5), b"", [3; 32]).unwrap();
        assert!(receive(&callee, &binding(6), &first, [4; 32]).is_none(), "another request");
        assert!(receive(&callee, &Binding { kind: 2, ..binding(5) }, &first, [4; 32]).is_none(), "another kind");
        let room = InfoHash([8; 20]);
        assert!(receive(&callee, &Binding { room, ..binding(5) }, &first, [4; 32]).is_none(), "another room");
        assert!(receive(&other, &binding(5), &first, [4; 32]).is_none(), "another person");
        assert!(receive(&callee, &binding(5), &first, [4; 32]).is_some());
    }

    #[test]
    fn equal_seeds_give_equal_bytes_and_others_do_not() {
        let [caller, callee] = [1, 2].map(|at| Identity::from_secret([at; 32]));
        let first = |seed| begin(&caller, callee.noise_public(), &binding(5), b"", [seed; 32]).unwrap().1;
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }
}
