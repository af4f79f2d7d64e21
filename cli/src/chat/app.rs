//! What the user sees of a room, and what the keys mean: a state machine without a terminal, a clock or a network.
//!
//! In go events of the room ([`App::take`]), outcomes ([`App::settle`]), keys ([`App::key`]) or whole lines
//! ([`App::line`]); out come [`Action`]s. [`super::draw`] paints it on a terminal, [`super::plain`] prints its lines.

use super::action::{Action, Outcome, TransferView};
use super::command::{self, COMMANDS, Typed, Which};
use super::complete::Completion;
use super::input::InputLine;
use super::pane::{About, Kind, Pane};
use super::people::Directory;
use super::pictures::{Album, Found};
use super::requests::{self, Ending, Requests};
use super::sending::Sending;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::collections::HashMap;
use swarm_proto::chat::{DeliveryState, Person, PublicKey, RequestId, Trust};

/// Texts that wait for one person to answer the call.
const HELD: usize = 16;

/// Reports of delivery that may come before the text that they are about is known.
pub(super) const EARLY: usize = 64;

/// A room on a screen.
#[derive(Debug, Default)]
pub(crate) struct App {
    /// Name of the room.
    pub(crate) title: String,
    pub(crate) pane: Pane,
    pub(crate) people: Vec<Person>,
    pub(crate) transfers: Vec<TransferView>,
    /// What others fetch from us.
    pub(crate) sendings: Vec<Sending>,
    /// Where we take connections.
    pub(crate) listen_port: u16,
    pub(crate) input: InputLine,
    pub(crate) requests: Requests,
    pub(crate) completion: Option<Completion>,
    pub(crate) album: Album,
    /// Milliseconds since 1970.
    pub(crate) now_ms: u64,
    /// Print what becomes of messages as lines of their own, where no line can change after it was printed.
    pub(crate) tells_fates: bool,
    /// Requests that were open when the user began to type.
    seen: Vec<RequestId>,
    /// What goes to somebody once the call stands.
    pub(super) held: HashMap<PublicKey, Vec<String>>,
    pub(super) early: Vec<(RequestId, u64, DeliveryState)>,
}

impl App {
    /// An empty room of this name.
    pub(crate) fn new(title: &str) -> Self {
        Self { title: title.to_owned(), ..Self::default() }
    }

    /// A line about something that has happened.
    pub(crate) fn note(&mut self, kind: Kind, text: &str) {
        self.pane.push(self.now_ms, kind, "", text, About::Nothing);
    }

    /// Everybody, as the room knows them now.
    pub(crate) fn set_people(&mut self, people: Vec<Person>) {
        let conflict = |people: &[Person]| people.iter().any(|it| it.me && it.trust == Trust::NameConflict);
        let told = conflict(&self.people);
        self.people = people;
        if !told && conflict(&self.people) {
            let text = "you use the name of somebody else whom you have met; others may see a # behind it: /nick NAME";
            self.note(Kind::Failure, text);
        }
    }

    /// The name of somebody, as it is shown.
    pub(crate) fn name_of(&self, key: PublicKey) -> String {
        let known = self.people.iter().find(|person| person.key == key);
        known.map_or_else(|| key.fingerprint(), |person| person.name.clone())
    }

    /// A key was pressed, or text was pasted.
    pub(crate) fn key(&mut self, key: KeyEvent) -> Vec<Action> {
        if key.kind == KeyEventKind::Release {
            return Vec::new();
        }
        let empty = self.input.text().is_empty();
        match key.code {
            KeyCode::Tab => self.complete(false),
            KeyCode::BackTab => self.complete(true),
            code => {
                self.completion = None;
                return self.plain_key(code, key.modifiers, empty);
            }
        }
        Vec::new()
    }

    /// Text was pasted.
    pub(crate) fn paste(&mut self, text: &str) {
        self.begin();
        self.completion = None;
        self.input.insert(text);
    }

    fn plain_key(&mut self, code: KeyCode, modifiers: KeyModifiers, empty: bool) -> Vec<Action> {
        let word = modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
        match code {
            KeyCode::Enter => {
                let line = self.input.take();
                let seen = std::mem::take(&mut self.seen);
                return self.run(&line, &seen);
            }
            KeyCode::Char(c) if word => return self.chord(c, modifiers.contains(KeyModifiers::CONTROL), empty),
            KeyCode::Char(c) => {
                self.begin();
                self.input.insert(c.encode_utf8(&mut [0; 4]));
            }
            KeyCode::Backspace if word => self.input.delete_word(),
            KeyCode::Backspace => self.input.backspace(),
            KeyCode::Delete => self.input.delete(),
            KeyCode::Left if word => self.input.left_by_word(),
            KeyCode::Left => self.input.left(),
            KeyCode::Right if word => self.input.right_by_word(),
            KeyCode::Right => self.input.right(),
            KeyCode::Home if word => self.scroll(Pane::oldest),
            KeyCode::Home => self.input.start(),
            KeyCode::End if word => self.scroll(Pane::follow),
            KeyCode::End => self.input.end(),
            KeyCode::Up => self.recall(InputLine::older),
            KeyCode::Down => self.recall(InputLine::newer),
            KeyCode::PageUp => self.scroll(|pane| pane.up(pane.page())),
            KeyCode::PageDown => self.scroll(|pane| pane.down(pane.page())),
            KeyCode::Esc if self.album.close() => {}
            KeyCode::Esc => self.pane.follow(),
            _ => {}
        }
        Vec::new()
    }

    fn chord(&mut self, c: char, control: bool, empty: bool) -> Vec<Action> {
        match c.to_ascii_lowercase() {
            'b' if !control => self.input.left_by_word(),
            'f' if !control => self.input.right_by_word(),
            'c' if control && empty => return vec![Action::Quit],
            'c' if control => self.input.clear(),
            'd' if control && empty => return vec![Action::Quit],
            'd' if control => self.input.delete(),
            'a' if control => self.input.start(),
            'e' if control => self.input.end(),
            'b' => self.input.left(),
            'f' => self.input.right(),
            'h' if control => self.input.backspace(),
            'k' if control => self.input.delete_to_end(),
            'u' if control => self.input.delete_to_start(),
            'w' if control => self.input.delete_word(),
            'p' if control => self.recall(InputLine::older),
            'n' if control => self.recall(InputLine::newer),
            _ => {}
        }
        Vec::new()
    }

    /// Whoever scrolls wants to see messages, also behind a picture.
    fn scroll(&mut self, step: impl FnOnce(&mut Pane)) {
        self.album.close();
        step(&mut self.pane);
    }

    /// A line of the history is a new line: what it answers is what is open now.
    fn recall(&mut self, step: impl FnOnce(&mut InputLine)) {
        step(&mut self.input);
        self.seen = self.requests.waiting().collect();
    }

    /// The first key of a line decides what a bare answer can mean.
    fn begin(&mut self) {
        if self.input.text().is_empty() {
            self.seen = self.requests.waiting().collect();
        }
    }

    fn complete(&mut self, back: bool) {
        match &mut self.completion {
            Some(completion) if !completion.is_only_one() => completion.step(back),
            // A folder is complete once it is named; what follows is what is in it.
            _ => {
                let people = self.directory();
                let text = self.input.text();
                let after = text.get(self.input.before().len()..).unwrap_or_default();
                self.completion = Completion::of(self.input.before(), after, &people);
            }
        }
        if let Some(completion) = &self.completion {
            let (before, after) = completion.line();
            self.input.set(&before, after);
        }
    }

    fn directory(&self) -> Directory {
        Directory::new(&self.people)
    }

    /// A whole line came from a pipe. Everything that is open was there before it.
    pub(crate) fn line(&mut self, line: &str) -> Vec<Action> {
        let seen: Vec<RequestId> = self.requests.waiting().collect();
        self.run(line, &seen)
    }

    fn run(&mut self, line: &str, seen: &[RequestId]) -> Vec<Action> {
        if line.trim().is_empty() {
            return Vec::new();
        }
        self.pane.follow();
        let done = command::parse(line, &self.directory()).and_then(|typed| self.obey(typed, seen));
        done.unwrap_or_else(|wrong| {
            self.note(Kind::Failure, &wrong);
            Vec::new()
        })
    }

    fn obey(&mut self, typed: Typed, seen: &[RequestId]) -> Result<Vec<Action>, String> {
        let action = match typed {
            Typed::Say(text) => Action::Say(text),
            Typed::Peers => return Ok(self.tell_people()),
            Typed::Help => return Ok(self.tell_help()),
            Typed::Message { to, text } => return self.message(to, text),
            Typed::Call(to) => Action::Call(to),
            Typed::Accept(which) => self.answer(&which, seen)?,
            Typed::Decline(which) => Action::Decline(self.requests.to_answer(&which, seen)?.id),
            Typed::HangUp(which) => self.end(&which)?,
            Typed::Send { to, path } => self.reads(to, path)?,
            Typed::View(number) => {
                self.album.open(number, self.pane.next_number())?;
                return Ok(Vec::new());
            }
            Typed::Nick(name) => Action::Rename(name),
            Typed::Block(key) => {
                self.pane.fold(key, usize::MAX);
                Action::Block(key)
            }
            Typed::Unblock(key) => Action::Unblock(key),
            Typed::Trust(key) => Action::Trust(key),
            Typed::Connect(peer) => Action::Connect(peer),
            Typed::Quit => Action::Quit,
        };
        Ok(vec![action])
    }

    fn answer(&self, which: &Which, seen: &[RequestId]) -> Result<Action, String> {
        let request = self.requests.to_answer(which, seen)?;
        Ok(match request.kind {
            requests::Kind::OffersUs => Action::AcceptOffer { id: request.id, files: request.files.clone() },
            _ => Action::Accept(request.id),
        })
    }

    fn end(&mut self, which: &Which) -> Result<Action, String> {
        Ok(match self.requests.to_end(which)? {
            Ending::Request(id) => Action::HangUp(id),
            Ending::Reading(number) => {
                if let Some(reading) = self.requests.reading_mut(number) {
                    reading.stops = true;
                }
                Action::StopReading(number)
            }
        })
    }

    /// In a call the text goes at once; otherwise it waits for the call.
    fn message(&mut self, to: PublicKey, text: String) -> Result<Vec<Action>, String> {
        if let Some(id) = self.requests.talk_with(to) {
            return Ok(vec![Action::Tell { id, text }]);
        }
        let name = self.name_of(to);
        let calling = self.requests.is_calling(to) || self.held.contains_key(&to);
        let held = self.held.entry(to).or_default();
        if held.len() >= HELD {
            return Err(format!("{HELD} texts wait for {name} to answer already"));
        }
        held.push(text);
        self.note(Kind::Notice, &format!("your text waits until {name} accepts the call"));
        Ok(if calling { Vec::new() } else { vec![Action::Call(to)] })
    }

    fn tell_help(&mut self) -> Vec<Action> {
        let line = |(name, arguments, does): &(&str, &str, &str)| format!("{name} {arguments} - {does}");
        let help: Vec<String> = COMMANDS.iter().map(line).collect();
        let keys = "Tab completes, Up and Down recall lines, PgUp and PgDn scroll, Esc goes back to the newest line";
        self.note(Kind::Notice, &format!("{}\n{keys}", help.join("\n")));
        Vec::new()
    }

    fn tell_people(&mut self) -> Vec<Action> {
        let people: Vec<String> = self.people.iter().map(described).collect();
        self.note(Kind::Notice, &people.join("\n"));
        Vec::new()
    }

    /// What has come of an action.
    pub(crate) fn settle(&mut self, outcome: Outcome) -> Vec<Action> {
        match outcome {
            Outcome::Done(text) => self.note(Kind::Notice, &text),
            Outcome::Failed(text) => self.note(Kind::Failure, &text),
            Outcome::Called { to, id } => {
                let person = self.person(to);
                let number = self.requests.open(id, &person, requests::Kind::WeCall, "");
                self.note(Kind::Notice, &format!("calling {} (/hangup {number} takes it back)", person.name));
            }
            Outcome::Offered { number, to, id, path } => return self.offers(number, to, id, &path),
            Outcome::NotOffered { number, to, path, why } => self.offers_not(number, to, &path, why),
            Outcome::NotCalled { to, why } => {
                let lost = self.held.remove(&to).map_or(String::new(), |_| "; your text was NOT sent".to_owned());
                self.note(Kind::Failure, &format!("{why}{lost}"));
            }
            Outcome::Fetching { id, text } => {
                let number = self.requests.turn(id, requests::Kind::WeFetch);
                let end = number.map_or_else(String::new, |number| format!(" (/hangup {number} ends it)"));
                self.note(Kind::Notice, &format!("{text}{end}"));
            }
            Outcome::Closed { id, text } => {
                // A transfer has an end of its own, which needs its number.
                if !self.requests.get(id).is_some_and(|request| request.kind.is_transfer()) {
                    self.requests.close(id);
                }
                self.note(Kind::Notice, &text);
            }
            Outcome::Told { id, number, text } => self.told(id, number, &text),
        }
        Vec::new()
    }

    fn told(&mut self, id: RequestId, number: u64, text: &str) {
        let name = self.requests.get(id).map_or_else(String::new, |request| request.name.clone());
        let early = self.early.iter().position(|(call, early, _)| (*call, *early) == (id, number));
        let state = early.map_or(DeliveryState::Sent, |at| self.early.remove(at).2);
        self.pane.push(self.now_ms, Kind::FromMe, &name, text, About::Direct(id, number, state));
        self.tell_fate(&name, text.lines().next().unwrap_or_default(), state);
    }

    pub(super) fn person(&self, key: PublicKey) -> Person {
        let known = self.people.iter().find(|person| person.key == key).cloned();
        let unknown = || Person {
            key,
            name: key.fingerprint(),
            here: false,
            trust: Trust::FirstSeen,
            direct: false,
            registered: false,
            me: false,
        };
        known.unwrap_or_else(unknown)
    }

    /// A file that is called like a picture was looked at.
    pub(crate) fn found(&mut self, found: Found) {
        let told = self.album.add(found);
        self.note(Kind::Notice, &told);
    }

    /// The line between messages and input: what waits for the user.
    pub(crate) fn status(&self) -> String {
        if let Some(choices) = self.completion.as_ref().and_then(Completion::choices) {
            return choices;
        }
        let mut waiting: Vec<String> = self.requests.all().iter().filter_map(in_short).collect();
        if let Some(picture) = self.album.status(self.pane.next_number()) {
            waiting.insert(0, picture);
            return waiting.join("  ");
        }
        match (self.pane.unseen(), waiting.is_empty()) {
            (Some(lines), _) => format!("{lines} newer below: PgDn, or Esc for the newest"),
            (None, false) => waiting.join("  "),
            (None, true) => String::new(),
        }
    }
}

fn in_short(request: &requests::Request) -> Option<String> {
    let (number, name) = (request.number, &request.name);
    match request.kind {
        requests::Kind::CallsUs => Some(format!("{name} calls: /accept {number}")),
        requests::Kind::OffersUs => Some(format!("{name} offers {}: /accept {number}", request.files)),
        requests::Kind::Talk => Some(format!("in a call with {name}")),
        requests::Kind::WeCall => Some(format!("calling {name}")),
        requests::Kind::WeOffer | requests::Kind::WeSend | requests::Kind::WeFetch => None,
    }
}

/// Somebody on one line.
pub(super) fn described(person: &Person) -> String {
    let me = if person.me { ", you" } else { "" };
    let here = if person.here { "here" } else { "gone" };
    format!("{} {}{} ({here}{me}{})", person.name, person.key.fingerprint(), mark(person), judged(person))
}

/// What stands behind the fingerprint of somebody whose name is registered. No name has this character in it.
pub(super) fn mark(person: &Person) -> &'static str {
    if person.registered { " ✓" } else { "" }
}

/// What is known of somebody's key, as it stands behind the name.
pub(super) fn judged(person: &Person) -> &'static str {
    match person.trust {
        _ if person.me => "",
        Trust::FirstSeen => "",
        Trust::Trusted => ", trusted",
        Trust::NameConflict => ", !! THE NAME OF ANOTHER KEY",
        Trust::Blocked => ", blocked",
    }
}
