//! Text for cells of a terminal: made safe, measured, cut and wrapped by what a reader sees as one character.
//!
//! The room hands over safe text already. Nothing here relies on that: whatever is drawn or printed passes [`safe`].

use crate::render::text::{printable, timestamp};
use jiff::tz::TimeZone;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Marks that one character may wear. More would be painted over the lines above and below, the input line among them.
const MARKS: usize = 3;

/// A tab, where text is wrapped anyway.
const TAB: &str = "    ";

/// Emoji joined into one that a person may type: the longest that there are have four, with as many signs between them.
const JOINED: usize = 12;

/// One line without anything that a terminal obeys, that hides, or that is painted outside of its own line.
///
/// Terminals do not agree how wide joined emoji are, nor those with a variation or another skin: some draw all of them one
/// beside the other, over as many rows as somebody likes to join. So they stand apart, each as wide as everybody counts.
pub(crate) fn safe(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in typed(text).graphemes(true) {
        let mut joins = false;
        for (at, c) in character.chars().enumerate() {
            let drawn = match c {
                '\u{fe0e}' | '\u{fe0f}' => false,
                // Within letters it decides on their shape.
                '\u{200d}' => joins,
                '\u{1f3fb}'..='\u{1f3ff}' => at == 0,
                _ => true,
            };
            if drawn {
                shown.push(c);
            }
            if c.width() != Some(0) {
                joins = c.is_alphabetic();
            }
        }
    }
    shown
}

/// As [`safe`], but emoji stay as they were typed: for what is sent.
pub(crate) fn typed(text: &str) -> String {
    let mut typed = String::with_capacity(text.len());
    for character in printable(&text.replace('\t', TAB)).graphemes(true) {
        let (mut marks, mut joined) = (0, 0);
        for c in character.chars() {
            let joins = matches!(c, '\u{200d}' | '\u{fe0e}' | '\u{fe0f}');
            match c.width() {
                None => typed.push(char::REPLACEMENT_CHARACTER),
                Some(0) if is_hidden(c) => typed.push(char::REPLACEMENT_CHARACTER),
                Some(0) => {
                    let (count, most) = if joins { (&mut joined, JOINED) } else { (&mut marks, MARKS) };
                    *count += 1;
                    if *count <= most {
                        typed.push(c);
                    }
                }
                Some(_) => typed.push(c),
            }
        }
    }
    typed
}

/// Characters of no width that are no marks: they hide something, such as letters that are meant for programs.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{180e}' | '\u{2061}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{e0000}'..='\u{e0fff}')
}

/// [`safe`], line by line.
pub(crate) fn safe_lines(text: &str) -> Vec<String> {
    text.split('\n').map(safe).collect()
}

/// The number of cells that a safe text takes: each character by itself, as it is drawn, also where two would make a
/// ligature in print.
pub(crate) fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.graphemes(true).map(UnicodeWidthStr::width).sum() }
}

/// The beginning of a safe text that fits into so many cells, with `…` at the end if something is missing.
pub(crate) fn fitted(text: &str, cells: usize) -> String {
    if width(text) <= cells {
        return text.to_owned();
    }
    let mut taken = String::new();
    let mut left = cells.saturating_sub(1);
    for character in text.graphemes(true) {
        let Some(rest) = left.checked_sub(width(character)) else { break };
        left = rest;
        taken.push_str(character);
    }
    if cells > 0 {
        taken.push('…');
    }
    taken
}

/// A safe text in rows of at most so many cells, cut at spaces where there are some. `first` cells of the first row are
/// taken already, and `rest` of all others. Never empty.
pub(crate) fn wrapped(text: &str, cells: usize, first: usize, rest: usize) -> Vec<String> {
    // A character of two cells has to fit.
    let room = |rows: &Vec<String>| cells.saturating_sub(if rows.is_empty() { first } else { rest }).max(2);
    let (mut rows, mut row, mut used) = (Vec::new(), String::new(), 0);
    for word in text.split_inclusive(' ') {
        let wide = width(word.trim_end());
        if used + wide > room(&rows) && wide <= cells.saturating_sub(rest).max(2) {
            rows.push(std::mem::take(&mut row).trim_end().to_owned());
            used = 0;
        }
        if used + wide <= room(&rows) {
            row.push_str(word);
            used += width(word);
            continue;
        }
        for character in word.graphemes(true) {
            let wide = width(character);
            if used + wide > room(&rows) {
                rows.push(std::mem::take(&mut row).trim_end().to_owned());
                used = 0;
            }
            row.push_str(character);
            used += wide;
        }
    }
    rows.push(row.trim_end().to_owned());
    rows
}

/// `2026-11-21` and `21:04` by the clock of a zone, from milliseconds since 1970.
pub(crate) fn day_and_time(time_ms: u64, zone: &TimeZone) -> (String, String) {
    let there = timestamp(time_ms / 1_000).to_zoned(zone.clone());
    (there.strftime("%F").to_string(), there.strftime("%H:%M").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hides_and_nothing_is_painted_outside() {
        assert_eq!(safe("a\x1b[2J\tb\r\u{9b}\u{202e}"), "a\u{fffd}[2J    b\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(safe("x\u{e0041}y\u{ad}"), "x\u{fffd}y\u{fffd}");
        let tower = format!("e{}!", "\u{301}".repeat(500));
        assert_eq!(safe(&tower), "e\u{301}\u{301}\u{301}!");
        assert_eq!(safe("é漢"), "é漢");
    }

    #[test]
    fn nothing_is_counted_narrower_than_any_terminal_draws_it() {
        let family = "👨\u{200d}👩\u{200d}👧\u{200d}👦";
        assert_eq!((typed(family).as_str(), safe(family).as_str()), (family, "👨👩👧👦"));
        for joined in ["👨\u{200d}", "❤\u{fe0f}\u{200d}🔥\u{200d}", "👍\u{1f3fb}", "☺\u{fe0e}", "⌚\u{fe0e}"]
        {
            let shown = safe(&joined.repeat(700));
            // What a terminal that joins nothing draws: each character by itself.
            let drawn: usize = shown.chars().map(|c| c.width().unwrap()).sum();
            assert_eq!(width(&shown), drawn, "{joined:?}");
            assert!(typed(&joined.repeat(700)).graphemes(true).all(|one| one.len() < 150), "{joined:?}");
        }
        // Letters keep what they need to be read: Persian, Sinhala, and the ligature of Arabic.
        let letters = "می\u{200c}خواهم ශ්\u{200d}රී لا";
        assert_eq!(safe(letters), letters);
        assert_eq!(width("لالا"), 4);
        assert!(width(&safe(&"a\u{200d}".repeat(9))) == 9 && safe(&format!("a{}", "\u{200d}".repeat(99))).len() < 40);
    }

    #[test]
    fn texts_are_cut_between_what_people_see() {
        assert_eq!(fitted("漢字漢字", 5), "漢字…");
        assert_eq!(fitted("漢字", 4), "漢字");
        assert_eq!(fitted("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}…");
        assert_eq!(fitted("abc", 0), "");
    }

    #[test]
    fn rows_hold_all_and_never_more_than_their_cells() {
        assert_eq!(wrapped("one two three", 8, 0, 0), ["one two", "three"]);
        assert_eq!(wrapped("one two", 3, 0, 0), ["one", "two"]);
        assert_eq!(wrapped("one two /three", 11, 4, 2), ["one two", "/three"]);
        assert_eq!(wrapped("漢字漢字", 5, 0, 0), ["漢字", "漢字"]);
        assert_eq!(wrapped("", 5, 0, 0), [""]);
        let long = "wörd 漢字 👨\u{200d}👩\u{200d}👧 e\u{301}   pneumonoultramicroscopic ".repeat(20);
        for cells in 3..40 {
            let rows = wrapped(&long, cells, 0, 1);
            assert!(rows.iter().skip(1).all(|row| width(row) < cells), "{cells}: {rows:?}");
            let squeezed = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(squeezed(&rows.concat()), squeezed(&long));
        }
    }

    #[test]
    fn times_of_day() {
        let at = |time_ms, zone: &TimeZone| {
            let (day, time) = day_and_time(time_ms, zone);
            format!("{day} {time}")
        };
        assert_eq!(at(1_795_302_059_000, &TimeZone::UTC), "2026-11-21 23:00");
        let east = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(at(1_795_302_059_000, &east), "2026-11-22 00:00");
        assert_eq!(at(1_782_000_000_000, &east), "2026-06-21 02:00", "in summer");
        assert_eq!(at(u64::MAX, &east).get(..5), Some("9999-"), "a clock that goes wrong");
    }
}
