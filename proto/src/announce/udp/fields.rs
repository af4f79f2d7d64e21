//! Fields of a fixed length, taken from the front of a datagram.

/// What is left of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'d>(pub(super) &'d [u8]);

impl Fields<'_> {
    /// The next bytes, if that many are left.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}
