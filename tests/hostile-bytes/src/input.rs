//! Bytes as decisions: numbers, choices and slices, taken from the front until nothing is left.

/// What is left of an input. A value that is asked for behind its end is zero, so every input means something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'b>(pub(crate) &'b [u8]);

impl<'b> Input<'b> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.slice(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    pub(crate) fn byte(&mut self) -> u8 {
        u8::from_be_bytes(self.array())
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `count`, by one byte.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }

    /// One of these, if there are any.
    pub(crate) fn pick<T: Clone>(&mut self, list: &[T]) -> Option<T> {
        let index = self.below(list.len());
        list.get(index).cloned()
    }

    /// Takes one of these out, if there are any.
    pub(crate) fn take<T>(&mut self, list: &mut Vec<T>) -> Option<T> {
        let index = self.below(list.len());
        (!list.is_empty()).then(|| list.swap_remove(index))
    }

    /// At most so many bytes.
    pub(crate) fn slice(&mut self, length: usize) -> &'b [u8] {
        let (now, later) = self.0.split_at(length.min(self.0.len()));
        self.0 = later;
        now
    }

    /// Bytes behind a length of one byte.
    pub(crate) fn short(&mut self) -> &'b [u8] {
        let length = self.byte();
        self.slice(length.into())
    }

    /// A length that is small, or near a power of two, or anything: by its first byte.
    pub(crate) fn length(&mut self) -> u64 {
        let kind = self.byte();
        match kind >> 6 {
            0 => u64::from(kind & 0x3f),
            1 => u64::from(self.u16()),
            2 => (1u64 << (kind & 0x3f)).wrapping_add(u64::from(self.byte())).wrapping_sub(128),
            _ => self.u64(),
        }
    }
}
