//! What was said and what happened: lines, their rows on a screen of some width, and which of them are in view.

use super::text::{day_and_time, fitted, safe, safe_lines, width, wrapped};
use jiff::tz::TimeZone;
use std::collections::{HashSet, VecDeque};
use swarm_proto::chat::{DeliveryState, MessageId, PublicKey, RequestId};

/// Lines that can be scrolled back to.
const LINES: usize = 2_000;

/// Rows of one line at most: nobody sweeps the screen with line feeds.
const ROWS: usize = 40;

/// Cells that a text needs beside time and name, or it begins below.
const BESIDE: usize = 10;

/// What kind of line it is; decides how it looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Said in the room.
    Said,
    /// Said in the room before we were here.
    Earlier,
    /// Said by us.
    Own,
    /// Said in a call, to us.
    ToMe,
    /// Said in a call, by us.
    FromMe,
    /// Something happened.
    Notice,
    /// Somebody waits for an answer.
    Request,
    /// Something dangerous happened.
    Alarm,
    /// Something did not work.
    Failure,
}

/// What a line is about, so that its fate can be told later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum About {
    /// Nothing that changes.
    Nothing,
    /// Something that somebody else said to the room.
    Said(PublicKey),
    /// A message of ours to the room, and whether anybody has it.
    Message(MessageId, bool),
    /// Something that we said in a call.
    Direct(RequestId, u64, DeliveryState),
}

/// A line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Grows by one from line to line.
    pub(crate) number: u64,
    /// `21:04`.
    pub(crate) time: String,
    pub(crate) kind: Kind,
    /// Who says it; empty where nobody does. Safe.
    pub(crate) who: String,
    /// Safe, line by line.
    pub(crate) text: Vec<String>,
    pub(crate) about: About,
}

/// A row on the screen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    /// Time and name; spaces from the second row of a line on.
    pub(crate) head: String,
    pub(crate) text: String,
}

impl Line {
    /// Time and name, as they stand in front of the text.
    pub(crate) fn head(&self) -> String {
        let (time, who) = (&self.time, &self.who);
        match self.kind {
            Kind::Said | Kind::Own => format!("{time} {who}: "),
            Kind::Earlier => format!("{time} (earlier) {who}: "),
            Kind::ToMe => format!("{time} {who} to you: "),
            Kind::FromMe => format!("{time} you to {who}: "),
            Kind::Notice => format!("{time} * "),
            Kind::Request => format!("{time} ? "),
            Kind::Alarm => format!("{time} !! "),
            Kind::Failure => format!("{time} - "),
        }
    }

    /// What became of it, as it stands behind the text.
    pub(crate) fn fate(&self) -> &'static str {
        match self.about {
            About::Message(_, false) => " (nobody has it yet)",
            About::Direct(_, _, DeliveryState::Sent) => " (sent)",
            About::Direct(_, _, DeliveryState::Delivered) => " (delivered)",
            About::Direct(_, _, DeliveryState::Failed) => " (FAILED)",
            About::Nothing | About::Said(_) | About::Message(_, true) => "",
        }
    }

    /// The rows of this line on a pane of this width.
    pub(crate) fn rows(&self, cells: usize) -> Vec<Row> {
        let mut head = fitted(&self.head(), cells);
        let indent = width(&head).min(cells / 3);
        // A long name has a row of its own.
        let beside = width(&head) + BESIDE <= cells;
        let mut texts: Vec<String> = if beside { Vec::new() } else { vec![String::new()] };
        let last = self.text.len().saturating_sub(1);
        for (index, text) in self.text.iter().enumerate() {
            let fate = if index == last { self.fate() } else { "" };
            let first = if index == 0 && beside { width(&head) } else { indent };
            texts.extend(wrapped(&format!("{text}{fate}"), cells, first, indent));
            if texts.len() > ROWS {
                texts.truncate(ROWS);
                texts.push("… (the rest is too long)".to_owned());
                break;
            }
        }
        let row = |text| {
            let head = std::mem::replace(&mut head, " ".repeat(indent));
            Row { kind: self.kind, head, text }
        };
        texts.into_iter().map(row).collect()
    }
}

/// The lines, and which of them are in view.
#[derive(Debug)]
pub(crate) struct Pane {
    lines: VecDeque<Line>,
    next: u64,
    /// The lowest row in view: number of the line and row in it. `None`: whatever is the newest.
    bottom: Option<(u64, usize)>,
    /// Cells and rows, as last drawn.
    size: (usize, usize),
    day: String,
    /// In which times are told.
    zone: TimeZone,
}

impl Default for Pane {
    fn default() -> Self {
        Self::new(TimeZone::UTC)
    }
}

impl Pane {
    /// Nothing was said yet.
    pub(crate) fn new(zone: TimeZone) -> Self {
        Self { lines: VecDeque::new(), next: 0, bottom: None, size: (0, 0), day: String::new(), zone }
    }

    /// Adds a line; a day that was not there before is told first.
    pub(crate) fn push(&mut self, time_ms: u64, kind: Kind, who: &str, text: &str, about: About) {
        let (day, time) = day_and_time(time_ms, &self.zone);
        if self.day != day {
            self.add(&time, Kind::Notice, "", &day, About::Nothing);
            self.day = day;
        }
        self.add(&time, kind, who, text, about);
    }

    fn add(&mut self, time: &str, kind: Kind, who: &str, text: &str, about: About) {
        let line =
            Line { number: self.next, time: time.to_owned(), kind, who: safe(who), text: safe_lines(text), about };
        self.next += 1;
        self.lines.push_back(line);
        if self.lines.len() > LINES {
            self.lines.pop_front();
        }
        let first = self.lines.front().map_or(0, |line| line.number);
        self.bottom = self.bottom.map(|(number, row)| if number < first { (first, 0) } else { (number, row) });
    }

    /// Takes away the last lines that somebody has said to the room, so many at most. How many those were.
    pub(crate) fn fold(&mut self, author: PublicKey, most: usize) -> usize {
        let own = self.lines.iter().rev().filter(|line| line.about == About::Said(author));
        let folded: HashSet<u64> = own.take(most).map(|line| line.number).collect();
        self.lines.retain(|line| !folded.contains(&line.number));
        let lowest = |(number, row)| self.lines.get(self.index(number)).map(|line| (line.number, row));
        self.bottom = self.bottom.and_then(lowest);
        self.settle();
        folded.len()
    }

    /// Lines from this number on.
    pub(crate) fn since(&self, number: u64) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.number >= number)
    }

    /// The number of the next line.
    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    /// Changes what lines are about; returns the line that changed.
    pub(crate) fn update(&mut self, change: impl Fn(About) -> Option<About>) -> Option<&Line> {
        self.lines.iter_mut().rev().find_map(|line| {
            line.about = change(line.about)?;
            Some(&*line)
        })
    }

    /// The pane has this size now.
    pub(crate) fn resize(&mut self, cells: usize, rows: usize) {
        self.size = (cells, rows);
        self.settle();
    }

    /// The rows in view, from above.
    pub(crate) fn view(&self) -> Vec<Row> {
        let (cells, height) = self.size;
        let bottom = self.bottom.or_else(|| self.newest());
        let mut rows = VecDeque::new();
        for line in self.lines.iter().rev().skip_while(|line| bottom.is_none_or(|(number, _)| line.number > number)) {
            let shown = line.rows(cells);
            let last = bottom.filter(|(number, _)| *number == line.number).map_or(usize::MAX, |(_, row)| row);
            for row in shown.into_iter().take(last.saturating_add(1)).rev() {
                if rows.len() == height {
                    return rows.into();
                }
                rows.push_front(row);
            }
        }
        rows.into()
    }

    /// Scrolls towards what is older.
    pub(crate) fn up(&mut self, rows: usize) {
        let Some((number, row)) = self.bottom.or_else(|| self.newest()) else { return };
        let (mut at, mut row, mut left) = (self.index(number), row, rows);
        while left > row {
            let Some(above) = at.checked_sub(1) else { break };
            left -= row + 1;
            at = above;
            row = self.height(at).saturating_sub(1);
        }
        row = row.saturating_sub(left);
        self.bottom = self.lines.get(at).map(|line| (line.number, row));
        self.fill();
        self.settle();
    }

    /// Scrolls towards what is newer.
    pub(crate) fn down(&mut self, rows: usize) {
        let Some((number, row)) = self.bottom else { return };
        let (mut at, mut row) = (self.index(number), row + rows);
        while at < self.lines.len() && row >= self.height(at) {
            row -= self.height(at);
            at += 1;
        }
        self.bottom = self.lines.get(at).map(|line| (line.number, row));
        self.settle();
    }

    /// Back to the newest.
    pub(crate) fn follow(&mut self) {
        self.bottom = None;
    }

    /// To the oldest.
    pub(crate) fn oldest(&mut self) {
        self.bottom = self.lines.front().map(|line| (line.number, 0));
        self.fill();
        self.settle();
    }

    /// Rows in view.
    pub(crate) fn page(&self) -> usize {
        self.size.1.saturating_sub(1).max(1)
    }

    /// Lines below what is in view, while the reader is further up.
    pub(crate) fn unseen(&self) -> Option<u64> {
        let below = |(number, _)| self.lines.len().saturating_sub(self.index(number) + 1);
        self.bottom.map(|bottom| u64::try_from(below(bottom)).unwrap_or(u64::MAX))
    }

    /// The highest view is a full one.
    fn fill(&mut self) {
        let Some((number, row)) = self.bottom else { return };
        let above: usize = (0..self.index(number)).rev().map(|at| self.height(at)).take(self.size.1).sum();
        let missing = self.size.1.saturating_sub(above + row + 1);
        if missing > 0 {
            self.down(missing);
        }
    }

    /// A view whose lowest row is the newest follows from then on; rows that are no more are left.
    fn settle(&mut self) {
        let Some((number, row)) = self.bottom else { return };
        let row = row.min(self.height(self.index(number)).saturating_sub(1));
        self.bottom = Some((number, row)).filter(|bottom| Some(*bottom) != self.newest());
    }

    fn newest(&self) -> Option<(u64, usize)> {
        self.lines.back().map(|line| (line.number, line.rows(self.size.0).len().saturating_sub(1)))
    }

    fn index(&self, number: u64) -> usize {
        self.lines.partition_point(|line| line.number < number)
    }

    fn height(&self, at: usize) -> usize {
        self.lines.get(at).map_or(1, |line| line.rows(self.size.0).len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pane(lines: usize) -> Pane {
        let mut pane = Pane::default();
        pane.resize(60, 4);
        (0..lines).for_each(|line| pane.push(0, Kind::Notice, "", &format!("line {line}"), About::Nothing));
        pane
    }

    fn shown(pane: &Pane) -> Vec<String> {
        pane.view().into_iter().map(|row| row.text).collect()
    }

    #[test]
    fn new_lines_do_not_move_what_is_being_read() {
        let mut pane = pane(10);
        assert_eq!(shown(&pane), ["line 6", "line 7", "line 8", "line 9"]);
        pane.up(3);
        let read = shown(&pane);
        assert_eq!(read, ["line 3", "line 4", "line 5", "line 6"]);
        pane.push(0, Kind::Notice, "", "line 10", About::Nothing);
        assert_eq!((shown(&pane), pane.unseen()), (read, Some(4)));
        pane.down(2);
        assert_eq!(shown(&pane)[3], "line 8");
        pane.down(100);
        assert_eq!((shown(&pane)[3].as_str(), pane.unseen()), ("line 10", None));
    }

    #[test]
    fn the_highest_view_is_full_and_old_lines_go() {
        let mut pane = pane(10);
        pane.up(1_000);
        assert_eq!(shown(&pane)[1..], ["line 0", "line 1", "line 2"]);
        pane.follow();
        pane.oldest();
        assert_eq!(shown(&pane)[1..], ["line 0", "line 1", "line 2"]);
        for line in 10..LINES + 50 {
            pane.push(0, Kind::Notice, "", &format!("line {line}"), About::Nothing);
        }
        assert_eq!(pane.lines.len(), LINES);
        assert!(!shown(&pane).is_empty() && pane.unseen().is_some());
    }

    #[test]
    fn what_is_folded_is_gone_and_the_rest_is_in_its_place() {
        let mut pane = pane(0);
        let flooder = PublicKey([9; 32]);
        for line in 0..40 {
            let about = if line % 2 == 0 { About::Said(flooder) } else { About::Nothing };
            pane.push(0, Kind::Said, "x", &format!("line {line}"), about);
        }
        pane.up(10);
        assert_eq!((shown(&pane)[3].as_str(), pane.unseen()), ("line 29", Some(10)));
        pane.up(1);
        assert_eq!(pane.fold(flooder, 15), 15, "the last ones");
        assert_eq!((shown(&pane)[3].as_str(), pane.unseen()), ("line 29", Some(5)), "what was below takes its place");
        assert_eq!(shown(&pane)[..3], ["line 23", "line 25", "line 27"]);
        assert_eq!(pane.since(0).filter(|line| line.about == About::Said(flooder)).count(), 5);
        pane.down(100);
        assert_eq!((shown(&pane)[3].as_str(), pane.unseen()), ("line 39", None));
        pane.up(1_000);
        assert_eq!(shown(&pane)[1], "line 0");
        assert_eq!((pane.fold(flooder, usize::MAX), pane.fold(flooder, 9)), (5, 0));
        assert!(shown(&pane).contains(&"line 1".to_owned()));
    }

    #[test]
    fn long_texts_wrap_and_nobody_sweeps_the_screen() {
        let mut pane = pane(0);
        pane.resize(20, 9);
        pane.push(0, Kind::Said, "a", "one two three four", About::Nothing);
        let rows = pane.view();
        let first = rows.iter().find(|row| row.head == "00:00 a: ").unwrap();
        assert_eq!(first.text, "one two");
        assert!(rows.iter().all(|row| width(&row.head) + width(&row.text) <= 20), "{rows:?}");
        pane.push(0, Kind::Said, "a", &"\n".repeat(2_900), About::Nothing);
        assert!(pane.lines[2].rows(20).len() <= ROWS + 2);
    }

    #[test]
    fn rows_follow_the_width() {
        let mut pane = pane(0);
        (0..9).for_each(|_| pane.push(0, Kind::Said, "anna", &"漢字 word ".repeat(9), About::Nothing));
        for (cells, rows) in [(80, 5), (30, 3), (10, 2), (3, 1), (200, 50)] {
            pane.resize(cells, rows);
            pane.up(7);
            assert!(pane.view().len() <= rows);
            let fits = |row: &Row| cells < 16 || width(&row.head) + width(&row.text) <= cells;
            assert!(pane.view().iter().all(fits), "{cells}: {:?}", pane.view());
        }
    }
}
