//! The line that is being typed: editing, history, and the part of it that fits the screen.

use super::text::{safe, typed, width};
use std::collections::VecDeque;
use swarm_proto::limits;
use unicode_segmentation::UnicodeSegmentation;

/// Lines that can be called back.
const HISTORY: usize = 500;

/// What is typed and where the cursor stands in it. The text is always harmless and one line, and drawn as [`safe`] has it.
#[derive(Debug, Default)]
pub(crate) struct InputLine {
    text: String,
    /// Bytes in front of the cursor; always between two characters as people see them.
    cursor: usize,
    history: VecDeque<String>,
    /// Which line of the history is shown, and what was typed before it.
    recalled: Option<(usize, String)>,
}

impl InputLine {
    /// What is typed.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What stands in front of the cursor.
    pub(crate) fn before(&self) -> &str {
        self.text.get(..self.cursor).unwrap_or_default()
    }

    fn after(&self) -> &str {
        self.text.get(self.cursor..).unwrap_or_default()
    }

    /// Puts text in at the cursor. Line ends become spaces, so that pasted text never is a command of its own.
    pub(crate) fn insert(&mut self, text: &str) {
        let text = text.replace("\r\n", " ").replace(['\n', '\r'], " ");
        let before = format!("{}{text}", self.before());
        if before.len() + self.after().len() <= limits::CHAT_TEXT_LENGTH {
            (self.text, self.cursor) = joined(&before, self.after());
        }
    }

    /// Replaces everything; the cursor goes between the two.
    pub(crate) fn set(&mut self, before: &str, after: &str) {
        (self.text, self.cursor) = joined(before, after);
    }

    /// Takes the line away, to be sent, and remembers it.
    pub(crate) fn take(&mut self) -> String {
        let line = std::mem::take(&mut self.text);
        (self.cursor, self.recalled) = (0, None);
        if !line.trim().is_empty() && self.history.back() != Some(&line) {
            self.history.push_back(line.clone());
            if self.history.len() > HISTORY {
                self.history.pop_front();
            }
        }
        line
    }

    /// Throws the line away.
    pub(crate) fn clear(&mut self) {
        self.set("", "");
        self.recalled = None;
    }

    /// The character in front of the cursor goes.
    pub(crate) fn backspace(&mut self) {
        (self.text, self.cursor) = joined(self.text.get(..self.left_of()).unwrap_or_default(), self.after());
    }

    /// The character behind the cursor goes.
    pub(crate) fn delete(&mut self) {
        (self.text, self.cursor) = joined(self.before(), self.text.get(self.right_of()..).unwrap_or_default());
    }

    /// The word in front of the cursor goes.
    pub(crate) fn delete_word(&mut self) {
        (self.text, self.cursor) = joined(self.text.get(..self.word_left()).unwrap_or_default(), self.after());
    }

    /// All in front of the cursor goes.
    pub(crate) fn delete_to_start(&mut self) {
        (self.text, self.cursor) = joined("", self.after());
    }

    /// All behind the cursor goes.
    pub(crate) fn delete_to_end(&mut self) {
        (self.text, self.cursor) = joined(self.before(), "");
    }

    pub(crate) fn left(&mut self) {
        self.cursor = self.left_of();
    }

    pub(crate) fn right(&mut self) {
        self.cursor = self.right_of();
    }

    pub(crate) fn left_by_word(&mut self) {
        self.cursor = self.word_left();
    }

    pub(crate) fn right_by_word(&mut self) {
        let after = self.after();
        let spaces = after.len() - after.trim_start().len();
        let word = after.trim_start().find(char::is_whitespace).unwrap_or(after.trim_start().len());
        self.cursor += spaces + word;
    }

    pub(crate) fn start(&mut self) {
        self.cursor = 0;
    }

    pub(crate) fn end(&mut self) {
        self.cursor = self.text.len();
    }

    /// The line before in the history. What is being typed is kept.
    pub(crate) fn older(&mut self) {
        let at = self.recalled.as_ref().map_or(self.history.len(), |(at, _)| *at);
        let Some(line) = at.checked_sub(1).and_then(|at| self.history.get(at)).cloned() else { return };
        let draft = self.recalled.take().map_or_else(|| self.text.clone(), |(_, draft)| draft);
        self.recalled = Some((at - 1, draft));
        self.set(&line, "");
    }

    /// The line behind in the history, and at last what was being typed.
    pub(crate) fn newer(&mut self) {
        let Some((at, draft)) = self.recalled.take() else { return };
        match self.history.get(at + 1).cloned() {
            Some(line) => {
                self.recalled = Some((at + 1, draft));
                self.set(&line, "");
            }
            None => self.set(&draft, ""),
        }
    }

    /// The part around the cursor that fits into so many cells, and the cell of the cursor in it.
    pub(crate) fn visible(&self, cells: usize) -> (String, usize) {
        // The cursor needs a cell of its own behind the last character.
        let room = cells.saturating_sub(1);
        let (mut shown, mut used) = (Vec::new(), 0);
        for character in self.before().graphemes(true).rev() {
            let character = safe(character);
            let wide = width(&character);
            if used + wide > room {
                break;
            }
            used += wide;
            shown.push(character);
        }
        let mut text: String = shown.into_iter().rev().collect::<Vec<String>>().concat();
        let cursor = used;
        for character in self.after().graphemes(true) {
            let character = safe(character);
            used += width(&character);
            if used > cells {
                break;
            }
            text.push_str(&character);
        }
        (text, cursor)
    }

    fn left_of(&self) -> usize {
        self.before().grapheme_indices(true).next_back().map_or(0, |(at, _)| at)
    }

    fn right_of(&self) -> usize {
        self.cursor + self.after().graphemes(true).next().map_or(0, str::len)
    }

    fn word_left(&self) -> usize {
        let trimmed = self.before().trim_end();
        trimmed.char_indices().rev().find(|(_, c)| c.is_whitespace()).map_or(0, |(at, c)| at + c.len_utf8())
    }
}

/// A line of what stands in front of the cursor and what stands behind it, and the place of the cursor in it.
fn joined(before: &str, after: &str) -> (String, usize) {
    let before = typed(before);
    let text = format!("{before}{}", typed(after));
    // What was put in may have joined the characters around it.
    let between = |at: &usize| *at >= before.len();
    let cursor = text.grapheme_indices(true).map(|(at, _)| at).find(between).unwrap_or(text.len());
    (text, cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(text: &str) -> InputLine {
        let mut line = InputLine::default();
        text.chars().for_each(|c| line.insert(&c.to_string()));
        line
    }

    #[test]
    fn what_people_see_as_one_character_is_one() {
        let mut line = line_of("a👨\u{200d}👩\u{200d}👧e\u{301}漢");
        assert_eq!(line.visible(80), ("a👨👩👧e\u{301}漢".to_owned(), 10));
        line.backspace();
        line.left();
        assert_eq!(line.before(), "a👨\u{200d}👩\u{200d}👧");
        line.backspace();
        assert_eq!((line.before(), line.text()), ("a", "ae\u{301}"));
        line.delete();
        assert_eq!(line.text(), "a");
    }

    #[test]
    fn words_and_ends() {
        let mut line = line_of("one two  three");
        line.left_by_word();
        assert_eq!(line.before(), "one two  ");
        line.delete_word();
        assert_eq!((line.before(), line.text()), ("one ", "one three"));
        line.delete_to_start();
        assert_eq!(line.text(), "three");
        line.right_by_word();
        line.insert("!");
        line.start();
        line.right();
        line.delete_to_end();
        assert_eq!(line.text(), "t");
    }

    #[test]
    fn history_keeps_what_was_being_typed() {
        let mut line = line_of("first");
        assert_eq!(line.take(), "first");
        line.insert("second");
        line.take();
        line.insert("dra");
        line.older();
        line.older();
        line.older();
        assert_eq!(line.text(), "first");
        line.newer();
        assert_eq!(line.text(), "second");
        line.newer();
        line.newer();
        assert_eq!(line.text(), "dra");
    }

    #[test]
    fn the_cursor_is_always_in_view() {
        let mut line = line_of(&"漢x".repeat(50));
        for cells in [1, 2, 3, 10, 11] {
            line.end();
            let (shown, cursor) = line.visible(cells);
            assert!(cursor < cells && width(&shown) <= cells, "{cells}: {shown} {cursor}");
        }
        line.start();
        assert_eq!(line.visible(4), ("漢x".to_owned(), 0));
    }

    #[test]
    fn pasted_lines_are_no_commands_and_too_much_is_refused() {
        let mut line = line_of("a");
        line.insert("b\n/quit\r\nc\x1b[A");
        assert_eq!(line.text(), "ab /quit c\u{fffd}[A");
        line.insert(&"x".repeat(3_000));
        assert_eq!(line.text(), "ab /quit c\u{fffd}[A");
    }
}
