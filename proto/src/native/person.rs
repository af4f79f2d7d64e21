//! Names of people at a tracker, and what proves whose they are.
//!
//! Owns what is signed and how it is checked. It never makes a key or a random number: those come from outside. Invariant: a
//! proof holds for one connection, one name, one key and one purpose, for all of them are signed.

use super::name::{Name, NameError};
use crate::limits;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};
use std::fmt;

/// The name of a person: a [`Name`] of at most 64 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PersonName(Name);

impl PersonName {
    /// Checks a name.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.len() > limits::NATIVE_PERSON_LENGTH {
            return Err(NameError::Length);
        }
        Name::new(text).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// What is unique at a tracker: the name in lower case.
    pub fn folded(&self) -> String {
        super::fold(self.as_str())
    }
}

impl fmt::Display for PersonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An Ed25519 public key, by which a person is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PersonKey(pub [u8; 32]);

/// What a tracker made up for one connection; whoever signs it shows that the key is theirs now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Challenge(pub [u8; 32]);

/// What a person signs for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// The name shall be theirs, or stay theirs.
    Register,
    /// The name shall be free.
    Release,
}

impl Claim {
    /// The bytes that are signed: the purpose, the challenge, the key, the name.
    pub fn text(self, challenge: &Challenge, key: &PersonKey, person: &PersonName) -> Vec<u8> {
        let purpose: &[u8] = match self {
            Self::Register => b"swarm native register\0",
            Self::Release => b"swarm native release\0",
        };
        [purpose, &challenge.0, &key.0, person.as_str().as_bytes()].concat()
    }

    /// Whether this is the key's signature. Keys and signatures that stand for more than one are refused.
    pub fn is_proven(
        self,
        challenge: &Challenge,
        key: &PersonKey,
        person: &PersonName,
        signature: &[u8; limits::SIGNATURE_LENGTH],
    ) -> bool {
        let Ok(verifying) = VerifyingKey::from_bytes(&key.0) else { return false };
        verifying.verify_strict(&self.text(challenge, key, person), &Signature::from_bytes(signature)).is_ok()
    }
}

/// What shows that one knows a tracker's admin token, and does not tell it: SHA-256 of the purpose, the challenge and the token.
pub fn shutdown_proof(challenge: &Challenge, token: &[u8]) -> [u8; 32] {
    let text = Sha256::new().chain_update(b"swarm native shutdown\0").chain_update(challenge.0).chain_update(token);
    text.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};

    fn person(text: &str) -> PersonName {
        PersonName::new(text).unwrap()
    }

    #[test]
    fn a_proof_holds_for_what_was_signed_and_nothing_else() {
        let secret = SigningKey::from_bytes(&[7; 32]);
        let (key, here) = (PersonKey(secret.verifying_key().to_bytes()), Challenge([1; 32]));
        let signature = secret.sign(&Claim::Register.text(&here, &key, &person("ann"))).to_bytes();
        let holds = |claim: Claim, challenge, key, name: &str, signature: &[u8; 64]| {
            claim.is_proven(&challenge, &key, &person(name), signature)
        };
        assert!(holds(Claim::Register, here, key, "ann", &signature));
        assert!(!holds(Claim::Release, here, key, "ann", &signature), "another purpose");
        assert!(!holds(Claim::Register, Challenge([2; 32]), key, "ann", &signature), "another connection");
        assert!(!holds(Claim::Register, here, key, "Ann", &signature), "another name");
        let other = PersonKey(SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes());
        assert!(!holds(Claim::Register, here, other, "ann", &signature), "another key");
        for at in 0..64 {
            let mut changed = signature;
            changed[at] ^= 1;
            assert!(!holds(Claim::Register, here, key, "ann", &changed), "byte {at}");
        }
        // Of small order: such a key has a signature that holds for many texts.
        let mut weak = [0; 32];
        weak[0] = 1;
        let mut any = [0; 64];
        any[0] = 1;
        assert!(!holds(Claim::Register, here, PersonKey(weak), "ann", &any));
    }

    #[test]
    fn names_of_people_are_short_and_unique_whatever_their_case() {
        assert!(PersonName::new(&"x".repeat(64)).is_ok());
        assert_eq!(PersonName::new(&"x".repeat(65)), Err(NameError::Length));
        assert_eq!(PersonName::new("a\u{202e}b"), Err(NameError::Character('\u{202e}')));
        assert_eq!(person("\u{c4}nn").folded(), person("\u{e4}NN").folded());
    }

    #[test]
    fn the_proof_of_an_admin_depends_on_challenge_and_token() {
        let proof = shutdown_proof(&Challenge([1; 32]), b"a token of an admin");
        assert_ne!(proof, shutdown_proof(&Challenge([2; 32]), b"a token of an admin"));
        assert_ne!(proof, shutdown_proof(&Challenge([1; 32]), b"a token of an admiral"));
    }
}
