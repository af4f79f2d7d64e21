//! SHA-1 of many messages at once.
//!
//! One message is hashed round by round, each waiting for the one before, so a core is idle most of the time even with the
//! SHA instructions. The pieces of a torrent have nothing to do with each other: here 16 (AVX-512) or 8 (AVX2) of them go
//! through the rounds side by side, one in each lane of the vectors. What the processor has is looked up at run time. Where
//! it has neither, and for the few messages that are not worth it, the crate `sha1` hashes one after the other.
//!
//! Owns the vectors and the padding. Never reads a file, starts a thread or needs memory beyond the stack. The words are
//! checked against the crate `sha1` at every length in every lane.

mod lanes;
#[cfg(target_arch = "x86_64")]
mod pair;
#[cfg(test)]
mod tests;

use sha1::block_api::compress;

/// Bytes of a block, the unit in which SHA-1 takes a message.
pub const BLOCK_LENGTH: usize = 64;

/// A block of a message.
pub type Block = [u8; BLOCK_LENGTH];

/// Bytes of a SHA-1.
pub const DIGEST_LENGTH: usize = 20;

/// Words of the state of a SHA-1.
type State = [u32; 5];

/// Lanes at most.
const LANES: usize = 16;

/// A message of which whole blocks are hashed already.
#[derive(Clone, Debug)]
pub struct Partial {
    state: State,
    blocks: u64,
}

impl Default for Partial {
    fn default() -> Self {
        Self { state: [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0], blocks: 0 }
    }
}

impl Partial {
    /// Of a message whose beginning is to come.
    pub fn new() -> Self {
        Self::default()
    }

    /// The SHA-1 of the message whose remaining bytes, any number of them, are these.
    pub fn finish(mut self, rest: &[u8]) -> [u8; DIGEST_LENGTH] {
        let (blocks, rest) = rest.as_chunks::<BLOCK_LENGTH>();
        self.advance(blocks);
        let bits = (self.blocks * BLOCK_LENGTH as u64 + rest.len() as u64) * 8;
        // The padding: one bit, zeros, and the length in the last eight bytes of a block.
        let mut padded = [[0; BLOCK_LENGTH]; 2];
        let count = if rest.len() < BLOCK_LENGTH - 8 { 1 } else { 2 };
        let end = padded.iter_mut().take(count).flatten();
        end.rev().zip(bits.to_le_bytes()).for_each(|(byte, of_length)| *byte = of_length);
        padded.iter_mut().flatten().zip(rest.iter().chain(&[0x80])).for_each(|(byte, of_rest)| *byte = *of_rest);
        compress(&mut self.state, padded.get(..count).unwrap_or_default());
        let mut digest = [0; DIGEST_LENGTH];
        digest.as_chunks_mut().0.iter_mut().zip(self.state).for_each(|(bytes, word)| *bytes = word.to_be_bytes());
        digest
    }

    fn advance(&mut self, blocks: &[Block]) {
        if !blocks.is_empty() {
            compress(&mut self.state, blocks);
            self.blocks += blocks.len() as u64;
        }
    }
}

/// A message and those of its blocks that come next.
#[derive(Debug)]
pub struct Part<'p> {
    /// What is hashed already.
    pub partial: &'p mut Partial,
    /// The blocks to hash, in order; none are left behind [`Method::advance`].
    pub blocks: &'p [Block],
}

impl Part<'_> {
    /// So many blocks are hashed.
    fn step(&mut self, count: usize, state: State) {
        self.partial.state = state;
        self.partial.blocks += count as u64;
        self.blocks = self.blocks.get(count..).unwrap_or_default();
    }
}

/// A way of hashing that this processor has.
#[derive(Clone, Copy, Debug)]
pub struct Method(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Sixteen(fearless_simd::x86::Avx512),
    #[cfg(target_arch = "x86_64")]
    Eight(fearless_simd::x86::Avx2),
    Single,
}

impl Method {
    /// The fastest.
    pub fn best() -> Self {
        Self::all().next().unwrap_or(Self(Kind::Single))
    }

    /// All of them, the fastest first; the last one is the crate `sha1`.
    pub fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let wide = {
            let level = fearless_simd::Level::new();
            [level.as_avx512().map(Kind::Sixteen), level.as_avx2().map(Kind::Eight)]
        };
        #[cfg(not(target_arch = "x86_64"))]
        let wide: [Option<Kind>; 0] = [];
        wide.into_iter().flatten().chain([Kind::Single]).map(Self)
    }

    /// How many messages it hashes side by side.
    pub fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Sixteen(_) => 16,
            #[cfg(target_arch = "x86_64")]
            Kind::Eight(_) => 8,
            Kind::Single => 1,
        }
    }

    /// Fewer messages than this are faster two by two where that can be, or else one after the other. Measured on a
    /// processor with the SHA instructions; one without them would gain from two on, but has hashed all but a few pieces by
    /// then.
    fn worth(self) -> usize {
        match self.lanes() {
            16 => 10,
            8 => 5,
            _ => usize::MAX,
        }
    }

    /// Whether already two messages cost less together than one after the other.
    pub fn pairs(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return matches!(self.0, Kind::Sixteen(_));
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// Hashes the blocks of all parts. Any number of parts may have any number of blocks, none too; best are as many parts
    /// as there are lanes, with equally many blocks.
    pub fn advance(self, parts: &mut [Part<'_>]) {
        for group in parts.chunks_mut(self.lanes()) {
            loop {
                let busy = group.iter().map(|part| part.blocks.len()).filter(|&count| count > 0);
                let (busy, shortest) = busy.fold((0, usize::MAX), |(busy, least), count| (busy + 1, least.min(count)));
                if busy >= self.worth() {
                    self.advance_together(group, shortest);
                } else if !self.advance_pair(group) {
                    break;
                }
            }
            for part in group {
                part.partial.advance(std::mem::take(&mut part.blocks));
            }
        }
    }

    /// Hashes `count` blocks, at least 1, of each part that has some; those have as many at least.
    fn advance_together(self, group: &mut [Part<'_>], count: usize) {
        let is_busy = |part: &&mut Part<'_>| !part.blocks.is_empty();
        // Idle lanes hash what the first busy one does, and nobody asks for it.
        let first = group.iter().map(|part| part.blocks).find(|blocks| !blocks.is_empty()).unwrap_or_default();
        let mut lanes = [first.get(..count).unwrap_or_default(); LANES];
        let mut states = [State::default(); LANES];
        for (part, (lane, state)) in group.iter_mut().filter(is_busy).zip(lanes.iter_mut().zip(&mut states)) {
            (*lane, *state) = (part.blocks.get(..count).unwrap_or_default(), part.partial.state);
        }
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Sixteen(simd) => lanes::advance(simd, &mut states, &lanes),
            #[cfg(target_arch = "x86_64")]
            Kind::Eight(simd) => lanes::advance(simd, &mut states, &lanes),
            Kind::Single => states.iter_mut().zip(lanes).for_each(|(state, blocks)| compress(state, blocks)),
        }
        for (part, state) in group.iter_mut().filter(is_busy).zip(states) {
            part.step(count, state);
        }
    }

    /// Hashes blocks of two parts side by side, as many as both have. Returns whether there are two, and a way to do it.
    fn advance_pair(self, group: &mut [Part<'_>]) -> bool {
        #[cfg(target_arch = "x86_64")]
        if let Kind::Sixteen(simd) = self.0 {
            let mut busy = group.iter_mut().filter(|part| !part.blocks.is_empty());
            if let (Some(first), Some(second)) = (busy.next(), busy.next()) {
                let mut states = [first.partial.state, second.partial.state];
                pair::advance(simd, &mut states, [first.blocks, second.blocks]);
                let count = first.blocks.len().min(second.blocks.len());
                [first, second].into_iter().zip(states).for_each(|(part, state)| part.step(count, state));
                return true;
            }
        }
        false
    }

    /// The SHA-1 of each message.
    pub fn digest(self, messages: &[&[u8]]) -> Vec<[u8; DIGEST_LENGTH]> {
        let split: Vec<_> = messages.iter().map(|message| message.as_chunks::<BLOCK_LENGTH>()).collect();
        let mut partials = vec![Partial::new(); messages.len()];
        let parts = partials.iter_mut().zip(&split);
        let mut parts: Vec<_> = parts.map(|(partial, &(blocks, _))| Part { partial, blocks }).collect();
        self.advance(&mut parts);
        partials.into_iter().zip(split).map(|(partial, (_, rest))| partial.finish(rest)).collect()
    }
}
