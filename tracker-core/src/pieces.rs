//! A list in pieces of one size, so that growing copies nothing and what one list gives back serves another.

/// Any number of items, `N` to a piece.
#[derive(Clone, Debug)]
pub(crate) struct Pieces<T, const N: usize> {
    pieces: Vec<Vec<T>>,
    len: usize,
}

impl<T: Copy, const N: usize> Pieces<T, N> {
    pub(crate) const fn new() -> Self {
        Self { pieces: Vec::new(), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.pieces.get(index / N)?.get(index % N)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.pieces.get_mut(index / N)?.get_mut(index % N)
    }

    pub(crate) fn push(&mut self, item: T) {
        let alone = self.pieces.len() == 1;
        match self.pieces.last_mut().filter(|piece| piece.len() < N) {
            Some(piece) => {
                // Only a short list has a piece that is not whole.
                if alone && piece.len() == piece.capacity() {
                    piece.reserve_exact(piece.len().min(N - piece.len()));
                }
                piece.push(item);
            }
            None => {
                if self.pieces.len() == self.pieces.capacity() {
                    self.pieces.reserve_exact(self.pieces.len() / 4 + 1);
                }
                let mut piece = Vec::with_capacity(if self.pieces.is_empty() { N.min(4) } else { N });
                piece.push(item);
                self.pieces.push(piece);
            }
        }
        self.len += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let piece = self.pieces.last_mut()?;
        let item = piece.pop()?;
        if piece.is_empty() {
            self.pieces.pop();
        }
        self.len -= 1;
        Some(item)
    }

    /// Removes an item; the last one takes its place.
    pub(crate) fn swap_remove(&mut self, index: usize) -> Option<T> {
        let last = self.pop()?;
        match self.get_mut(index) {
            Some(place) => Some(std::mem::replace(place, last)),
            None => Some(last),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pieces.iter_mut().flatten()
    }

    /// Bytes allocated.
    pub(crate) fn memory(&self) -> usize {
        let items = match self.pieces.as_slice() {
            [only] => only.capacity(),
            pieces => pieces.len() * N,
        };
        items * size_of::<T>() + self.pieces.capacity() * size_of::<Vec<T>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_list_in_pieces_is_a_list(steps in prop::collection::vec((0u8..4, any::<u16>()), 0..200)) {
            let (mut pieces, mut model) = (Pieces::<u16, 8>::new(), Vec::new());
            for (action, item) in steps {
                match action {
                    0 | 1 => {
                        pieces.push(item);
                        model.push(item);
                    }
                    2 => prop_assert_eq!(pieces.pop(), model.pop()),
                    _ if model.is_empty() => prop_assert_eq!(pieces.swap_remove(0), None),
                    _ => {
                        let index = usize::from(item) % model.len();
                        prop_assert_eq!(pieces.swap_remove(index), Some(model.swap_remove(index)));
                    }
                }
                prop_assert_eq!(pieces.iter().copied().collect::<Vec<_>>(), model.clone());
                prop_assert!((0..=model.len()).all(|index| pieces.get(index) == model.get(index)));
                prop_assert!(pieces.len() == model.len() && pieces.memory() >= 2 * model.len());
            }
        }
    }
}
