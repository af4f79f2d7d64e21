//! Who may close the tracker from afar.

use std::fmt;
use swarm_proto::native::{Challenge, shutdown_proof};

/// A secret that an operator shares with the tracker; its `Debug` shows nothing.
#[derive(Clone)]
pub struct AdminToken(Vec<u8>);

impl AdminToken {
    /// Bytes of a token at the least: what can be guessed protects nothing.
    pub const SHORTEST: usize = 16;

    /// A token of these bytes; `None` for fewer than [`AdminToken::SHORTEST`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= Self::SHORTEST).then(|| Self(bytes.to_owned()))
    }

    /// Whether a proof shows that its sender knows the token. Takes the same time whatever its bytes are.
    pub(crate) fn is_proven(&self, challenge: &Challenge, proof: &[u8; 32]) -> bool {
        let own = shutdown_proof(challenge, &self.0);
        let difference = own.iter().zip(proof).fold(0, |seen, (one, two)| seen | (one ^ two));
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_proves_itself() {
        assert!(AdminToken::new(b"0123456789abcde").is_none());
        let token = AdminToken::new(b"0123456789abcdef").unwrap();
        let challenge = Challenge([1; 32]);
        assert!(token.is_proven(&challenge, &shutdown_proof(&challenge, b"0123456789abcdef")));
        assert!(!token.is_proven(&challenge, &shutdown_proof(&challenge, b"0123456789abcdeF")));
        assert!(!token.is_proven(&challenge, &shutdown_proof(&Challenge([2; 32]), b"0123456789abcdef")));
        assert_eq!(format!("{token:?}"), "AdminToken(…)");
    }
}
