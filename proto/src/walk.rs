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

#[cfg(test)]
mod tests {
    use super::*;

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
