//! Pictures that somebody hands over in a chat: whatever the bytes are, they are refused or become few pixels, and a terminal
//! obeys nothing of what it is sent but the one command that shows them.

use crate::input::Input;
use swarm_cli::hostile::{PICTURE_SIDE, picture};

/// Less than the program allows, so that the bound of the fuzzer on one allocation means something.
const PIXELS: u64 = 1_000_000;
const DECODED: u64 = 8 << 20;
/// Bytes that a terminal is sent at most.
const LONGEST: usize = 8 << 20;

/// The last four bytes say how large the terminal is, all others are the file.
pub fn pictures(bytes: &[u8]) {
    let (file, terminal) = bytes.split_at(bytes.len().saturating_sub(4));
    let mut input = Input(terminal);
    let mut side = |most: usize| u16::try_from(input.below(most)).expect("a side");
    let (room, cell) = ((side(220), side(70)), (side(24) + 1, side(40) + 1));
    let Some(shown) = picture(file, PIXELS, DECODED, room, cell) else { return };
    assert!(u64::from(shown.size.0) * u64::from(shown.size.1) <= PIXELS, "{:?}", shown.size);
    assert!(shown.size.0.min(shown.size.1) > 0);
    for side in [shown.kept.0, shown.kept.1] {
        assert!((1..=PICTURE_SIDE).contains(&side), "{:?} are kept", shown.kept);
    }
    let [kitty, iterm2, sixel] = shown.sent;
    for sent in [&kitty, &iterm2, &sixel].into_iter().flatten() {
        assert!(sent.len() <= LONGEST, "{} bytes for a terminal", sent.len());
    }
    kitty.iter().for_each(|sent| is_kitty(sent));
    iterm2.iter().for_each(|sent| is_iterm2(sent));
    sixel.iter().for_each(|sent| is_sixel(sent));
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// Commands of letters, digits and base 64, one behind the other, and nothing between them.
fn is_kitty(mut sent: &[u8]) {
    while !sent.is_empty() {
        let command = sent.strip_prefix(b"\x1b_G").expect("a command of kitty's");
        let end = command.windows(2).position(|two| two == b"\x1b\\").expect("its end");
        let (command, rest) = command.split_at(end);
        let keys = command.iter().position(|byte| *byte == b';').expect("keys");
        let (keys, data) = command.split_at(keys);
        let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b',');
        assert!(keys.iter().all(is_key) && data.iter().skip(1).all(|byte| is_base64(*byte)), "{keys:?}");
        sent = rest.strip_prefix(b"\x1b\\").expect("the end");
    }
}

fn is_iterm2(sent: &[u8]) {
    let command = sent.strip_prefix(b"\x1b]1337;File=inline=1;").expect("a command of iTerm2's");
    let command = command.strip_suffix(b"\x07").expect("its end");
    let colon = command.iter().position(|byte| *byte == b':').expect("keys");
    let (keys, data) = command.split_at(colon);
    let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b';');
    assert!(keys.iter().all(is_key) && data.iter().skip(1).all(|byte| is_base64(*byte)), "{keys:?}");
}

/// A device control string whose content neither ends it nor begins another.
fn is_sixel(sent: &[u8]) {
    let content = sent.strip_prefix(b"\x1bP").and_then(|sent| sent.strip_suffix(b"\x1b\\")).expect("one Sixel picture");
    assert!(content.iter().all(|byte| matches!(byte, b'!'..=b'~')), "{:?}", content.iter().find(|byte| **byte < b'!'));
}
