//! Who speaks: an Ed25519 key, and the X25519 key that belongs to it.
//!
//! Owns the secret. One seed of 32 bytes is all that a person keeps; the key for encryption is made of it, and the signed
//! presence tells others which one it is.

use super::noise;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use std::fmt;

/// What stands in front of the seed of the encryption key, so that no key serves two purposes.
const NOISE_DOMAIN: &[u8] = b"swarm chat x25519 1\0";
/// What stands in front of a public key when its fingerprint is taken.
const FINGERPRINT_DOMAIN: &[u8] = b"swarm chat fingerprint 1\0";
/// RFC 4648 in lower case: no digit in it can be taken for a letter that is.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Characters of a fingerprint: 80 bits, which nobody finds a second key for.
const FINGERPRINT_CHARACTERS: usize = 16;

/// The Ed25519 key by which a person is known. Any 32 bytes; those that are no key verify nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Reads 64 hexadecimal digits, either case.
    pub fn from_hex(text: &str) -> Option<Self> {
        from_hex(text).map(Self)
    }

    /// 16 letters and digits in groups of four, to be compared by eye or read out.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::new().chain_update(FINGERPRINT_DOMAIN).chain_update(self.0).finalize();
        let bits = digest.iter().take(16).fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
        let mut text = String::with_capacity(FINGERPRINT_CHARACTERS + 3);
        for at in 0..FINGERPRINT_CHARACTERS {
            if at > 0 && at % 4 == 0 {
                text.push('-');
            }
            let index = usize::try_from(bits >> (123 - 5 * at) & 31).unwrap_or(0);
            text.push(BASE32.get(index).map_or('a', |&letter| char::from(letter)));
        }
        text
    }

    /// A name that this key uses and that belongs to another: with the beginning of the fingerprint behind it.
    pub(super) fn beside(&self, name: &str) -> String {
        format!("{name}#{}", self.fingerprint().get(..4).unwrap_or_default())
    }

    /// Whether these bytes were signed by this key. Strict: no weak keys, no second signature for the same bytes.
    pub(super) fn verifies(&self, bytes: &[u8], signature: &[u8; 64]) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.0) else { return false };
        key.verify_strict(bytes, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Display for PublicKey {
    /// 64 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

/// A person's secret key. `Debug` shows only the public one.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
    noise_secret: [u8; 32],
    noise_public: [u8; 32],
}

impl Identity {
    /// The identity of these 32 bytes, which should come from the randomness of the operating system.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        let noise_secret: [u8; 32] = Sha256::new().chain_update(NOISE_DOMAIN).chain_update(secret).finalize().into();
        let noise_public = noise::public_of(&noise_secret);
        Self { key: SigningKey::from_bytes(&secret), noise_secret, noise_public }
    }

    /// The bytes to keep, and to show nobody.
    pub fn secret(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Reads what [`Identity::to_text`] writes: 64 hexadecimal digits.
    pub fn from_text(text: &str) -> Option<Self> {
        from_hex(text.trim()).map(Self::from_secret)
    }

    /// 64 hexadecimal digits, to be moved to another machine; whoever has them is this person.
    pub fn to_text(&self) -> String {
        self.secret().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The key by which others know this person.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.key.verifying_key().to_bytes())
    }

    /// Signs what a native tracker wants signed ([`Claim::text`](crate::native::Claim::text)), which begins like nothing that
    /// is signed in a chat.
    pub fn sign_claim(&self, claim: &[u8]) -> [u8; 64] {
        self.sign(claim)
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.key.sign(bytes).to_bytes()
    }

    pub(super) fn noise_public(&self) -> &[u8; 32] {
        &self.noise_public
    }

    pub(super) fn noise_secret(&self) -> &[u8; 32] {
        &self.noise_secret
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.public()).finish()
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let value = char::from(*high).to_digit(16)? << 4 | char::from(*low).to_digit(16)?;
        *byte = u8::try_from(value).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_and_keep_their_secret() {
        let identity = Identity::from_secret([7; 32]);
        let public = identity.public();
        assert_eq!(PublicKey::from_hex(&public.to_string().to_uppercase()), Some(public));
        assert_eq!(Identity::from_text(&format!("{}\n", identity.to_text())).unwrap().public(), public);
        assert_eq!((PublicKey::from_hex("ab"), PublicKey::from_hex(&"+1".repeat(32))), (None, None));
        assert_eq!(format!("{identity:?}"), format!("Identity({})", public.fingerprint()));
        assert!(!format!("{identity:?}").contains(&identity.to_text()));
    }

    #[test]
    fn fingerprints_are_80_bits_of_a_hash() {
        let print = PublicKey([0; 32]).fingerprint();
        assert_eq!((print.len(), print.split('-').map(str::len).collect::<Vec<_>>()), (19, vec![4; 4]));
        let others: std::collections::BTreeSet<String> =
            (0..=255).map(|at| PublicKey([at; 32]).fingerprint()).collect();
        assert_eq!(others.len(), 256);
    }

    #[test]
    fn a_signature_is_of_these_bytes_and_this_key() {
        let (one, two) = (Identity::from_secret([1; 32]), Identity::from_secret([2; 32]));
        let signature = one.sign(b"hello");
        assert!(one.public().verifies(b"hello", &signature));
        assert!(!one.public().verifies(b"hellp", &signature) && !two.public().verifies(b"hello", &signature));
        let mut bent = signature;
        for at in 0..64 {
            bent[at] ^= 1;
            assert!(!one.public().verifies(b"hello", &bent), "byte {at}");
            bent[at] ^= 1;
        }
        // A key of small order, for which some signatures hold whatever was signed.
        let mut weak = [0; 32];
        weak[0] = 1;
        let mut anything = [0; 64];
        anything[0] = 1;
        assert!(!PublicKey(weak).verifies(b"hello", &anything));
    }
}
