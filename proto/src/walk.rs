//! Walks over sets of pieces, 64 at a time.

/// Numbers below `pieces` of the bits that are set in `word(0)`, `word(1)`, …, ascending; the high bit comes first.
pub(crate) fn pieces_of(pieces: u32, word: impl Fn(usize) -> u64) -> impl Iterator<Item = u32> {
    pieces_from(0, pieces, word)
}

/// As [`pieces_of`], from the piece `start` on.
pub(crate) fn pieces_from(start: u32, pieces: u32, word: impl Fn(usize) -> u64) -> impl Iterator<Item = u32> {
    let mut index = start / 64;
    let mut bits = if start < pieces { word(index as usize) & (u64::MAX >> (start % 64)) } else { 0 };
    std::iter::from_fn(move || {
        while bits == 0 {
            index += 1;
            if index >= pieces.div_ceil(64) {
                return None;
            }
            bits = word(index as usize);
        }
        let bit = bits.leading_zeros();
        bits &= !(1 << (63 - bit));
        Some(index * 64 + bit).filter(|&piece| piece < pieces)
    })
}

/// As [`pieces_from`], looking only at words that are marked: `mark(0)` holds a bit for each of the first 64 words,
/// `mark(1)` for the next, and so on. Words without a mark have no bits.
pub(crate) fn marked_pieces_from(
    start: u32,
    pieces: u32,
    mark: impl Fn(usize) -> u64,
    word: impl Fn(usize) -> u64,
) -> impl Iterator<Item = u32> {
    let first = start / 64;
    let words = if start < pieces { pieces.div_ceil(64) } else { 0 };
    pieces_from(first, words, mark).flat_map(move |index| {
        let skipped = if index == first { start % 64 } else { 0 };
        let bits = word(index as usize) & (u64::MAX >> skipped);
        pieces_of(64, move |_| bits).map(move |bit| index * 64 + bit).take_while(move |&piece| piece < pieces)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    #[test]
    fn words_without_a_mark_are_not_looked_at() {
        let (words, marks) = (Cell::new(0), Cell::new(0));
        let count = |cell: &Cell<u32>| cell.set(cell.get() + 1);
        let mark = |index: usize| {
            count(&marks);
            if index == 900 { 1 << 60 } else { 0 }
        };
        let word = |index: usize| {
            count(&words);
            assert_eq!(index, 900 * 64 + 3);
            1 << 63 | 1
        };
        let found: Vec<u32> = marked_pieces_from(70, 4_000_000, mark, word).collect();
        assert_eq!(found, [(900 * 64 + 3) * 64, (900 * 64 + 3) * 64 + 63]);
        assert_eq!((words.get(), marks.get()), (1, 4_000_000u32.div_ceil(4_096)));
    }

    proptest! {
        #[test]
        fn with_and_without_marks_are_the_same(
            words in prop::collection::vec(prop_oneof![Just(0u64), any::<u64>()], 1..200),
            start in 0u32..13_000,
            pieces in 0u32..13_000,
        ) {
            let word = |index: usize| words.get(index).copied().unwrap_or(0);
            let marked = |index: usize| (0..64).filter(|bit| word(index * 64 + bit) != 0).map(|bit| 1 << (63 - bit)).sum();
            let plain: Vec<u32> = pieces_from(start, pieces, word).collect();
            prop_assert_eq!(marked_pieces_from(start, pieces, marked, word).collect::<Vec<_>>(), plain);
        }
    }

    #[test]
    fn starts_and_ends_where_told() {
        let words = [1 << 63 | 1, 0, 0b11 << 62 | 1];
        let walk = |start, pieces| pieces_from(start, pieces, |word| words[word]).collect::<Vec<_>>();
        assert_eq!(walk(0, 192), [0, 63, 128, 129, 191]);
        assert_eq!(walk(1, 191), [63, 128, 129]);
        assert_eq!(walk(129, 130), [129]);
        assert_eq!(walk(130, 130), []);
        assert_eq!(walk(0, 0), []);
    }
}
