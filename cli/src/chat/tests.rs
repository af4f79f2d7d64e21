//! The room on a screen that is not there: what is typed, what is said, and what is seen of it.

mod floods;
mod readings;

use super::action::{Action, Outcome, TransferView};
use super::app::App;
use super::draw::draw;
use super::pane::Kind;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use swarm_proto::chat::{
    CallEnd, ChatEvent, ChatMessage, DeliveryState, MessageId, Person, PublicKey, RequestId, Transfer, TransferEnd,
    TransferState, Trust,
};

/// 2026-11-21 21:04 (UTC).
const NOW: u64 = 1_795_295_040_000;

/// A key; any bytes are one.
pub(crate) fn key(byte: u8) -> PublicKey {
    PublicKey([byte; 32])
}

/// Somebody who is here.
pub(crate) fn person(name: &str, byte: u8) -> Person {
    let name = name.to_owned();
    Person { key: key(byte), name, here: true, trust: Trust::FirstSeen, direct: true, registered: false, me: false }
}

/// Room and terminal.
struct Table {
    app: App,
    terminal: Terminal<TestBackend>,
}

impl Table {
    fn new(cells: u16, rows: u16) -> Self {
        let mut app = App::new("holiday");
        app.now_ms = NOW;
        app.people = vec![Person { me: true, ..person("me", 1) }, person("anna", 2), person("bo", 3)];
        Self { app, terminal: Terminal::new(TestBackend::new(cells, rows)).unwrap() }
    }

    fn said(&mut self, byte: u8, name: &str, text: &str) {
        let (id, author) = (MessageId([byte; 16]), key(byte));
        let (name, text, own) = (name.to_owned(), text.to_owned(), byte == 1);
        let message = ChatMessage { id, author, name, text, time_ms: NOW, own, past: false, gap: false };
        assert!(self.app.take(ChatEvent::Message(message)).is_empty());
    }

    fn press(&mut self, code: KeyCode) -> Vec<Action> {
        self.app.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn types(&mut self, text: &str) {
        text.chars().for_each(|c| assert!(self.press(KeyCode::Char(c)).is_empty()));
    }

    fn enter(&mut self, line: &str) -> Vec<Action> {
        self.types(line);
        self.press(KeyCode::Enter)
    }

    /// The rows of the screen, without spaces at their ends.
    fn screen(&mut self) -> Vec<String> {
        self.terminal.draw(|frame| draw(frame, &mut self.app)).unwrap();
        let buffer = self.terminal.backend().buffer().clone();
        let row = |y: u16| {
            let mut x = 0;
            let mut row = String::new();
            while x < buffer.area.width {
                let symbol = buffer[(x, y)].symbol();
                row.push_str(symbol);
                x += u16::try_from(super::text::width(symbol)).unwrap().max(1);
            }
            row.trim_end().to_owned()
        };
        (0..buffer.area.height).map(row).collect()
    }

    fn last_line(&self) -> String {
        let line = self.app.pane.since(0).last().unwrap();
        format!("{}{}", line.head(), line.text.join("|"))
    }

    fn cursor(&mut self) -> (u16, u16) {
        let position = self.terminal.get_cursor_position().unwrap();
        (position.x, position.y)
    }
}

#[test]
fn a_room_as_it_looks() {
    let mut table = Table::new(72, 12);
    table.said(2, "anna", "who has the photographs of the lake, the ones with the boat?");
    table.said(1, "me", "I do");
    table.app.take(ChatEvent::Heard { id: MessageId([1; 16]), neighbours: 1 });
    let remark = "2 peers".to_owned();
    table.app.transfers = vec![TransferView { name: "lake.zip".to_owned(), have_bytes: 25, total_bytes: 100, remark }];
    table.types("so do I");
    let (anna, bo, me) = (key(2).fingerprint(), key(3).fingerprint(), key(1).fingerprint());
    let expected = [
        " holiday - 3 here".to_owned(),
        format!("{:46}● me (you)", ""),
        format!("{:46}  {me}", ""),
        format!("{:46}● anna", ""),
        format!("{:46}  {anna}", ""),
        format!("{:46}● bo", ""),
        format!("{:46}  {bo}", "21:04 * 2026-11-21"),
        "21:04 anna: who has the photographs of the".to_owned(),
        format!("{:46}lake.zip", "            lake, the ones with the boat?"),
        format!("{:46}##-------- 25% 2 peers", "21:04 me: I do"),
        String::new(),
        "> so do I".to_owned(),
    ];
    assert_eq!(table.screen(), expected);
    assert_eq!(table.cursor(), (9, 11));
}

#[test]
fn the_line_stays_whole_while_messages_arrive() {
    let mut table = Table::new(80, 24);
    let text = "a line that nobody may cut, 漢字 e\u{301} and all";
    let mut typed = String::new();
    for (index, c) in (0_u8..).zip(text.chars()) {
        let shout = format!("message {index} \x1b[2J\x1b[24;1H\r\n\u{202e}{}", "\u{301}".repeat(50));
        table.said(2, "anna\r\x1b[1A", &shout);
        if index % 5 == 0 {
            table.app.take(ChatEvent::Joined(person(&format!("new{index}"), index + 10)));
            table.app.note(Kind::Failure, "something went wrong");
        }
        typed.push(c);
        assert!(table.press(KeyCode::Char(c)).is_empty());
        let screen = table.screen();
        assert_eq!(screen[23], format!("> {}", typed.trim_end()));
        assert_eq!(table.cursor(), (2 + u16::try_from(super::text::width(&typed)).unwrap(), 23));
        assert!(!screen.concat().chars().any(swarm_proto::path::is_deceptive), "{screen:?}");
    }
    assert_eq!(table.press(KeyCode::Enter), [Action::Say(text.to_owned())]);
    assert_eq!(table.screen()[23], ">");
}

#[test]
fn the_line_is_there_at_any_size() {
    for (cells, rows) in [(1, 1), (2, 1), (3, 2), (10, 3), (20, 4), (63, 5), (64, 5), (200, 60)] {
        let mut table = Table::new(cells, rows);
        table.said(2, "anna with a very long name indeed 漢字漢字", &"漢字 and more ".repeat(30));
        table.types("漢x漢x漢x漢x漢x");
        let screen = table.screen();
        assert_eq!(screen.len(), usize::from(rows));
        assert!(cells < 4 || screen.last().unwrap().starts_with("> "), "{cells}x{rows}: {screen:?}");
        let (x, y) = table.cursor();
        assert!(x < cells && y == rows - 1, "{cells}x{rows}: {x} {y}");
        table.terminal.backend_mut().resize(40, 10);
        assert_eq!(table.screen()[9], "> 漢x漢x漢x漢x漢x");
    }
}

#[test]
fn somebody_with_the_name_of_another_key_is_flagged_loudly() {
    let mut table = Table::new(100, 20);
    let fake = Person { trust: Trust::NameConflict, ..person("anna#k3j2", 9) };
    table.app.take(ChatEvent::Joined(fake));
    table.app.take(ChatEvent::NameChangedKey { name: "anna".to_owned(), like: None, pinned: key(2), now: key(9) });
    let screen = table.screen().join("\n");
    assert!(screen.contains("SOMEBODY ELSE MAY CALL HIMSELF anna") && screen.contains("● anna#k3j2 !!"), "{screen}");
    let words = screen.split_whitespace().collect::<Vec<_>>();
    assert!(words.contains(&key(9).fingerprint().as_str()) && words.contains(&key(2).fingerprint().as_str()));
    let (name, like) = ("аnna".to_owned(), Some("anna".to_owned()));
    table.app.take(ChatEvent::NameChangedKey { name, like, pinned: key(2), now: key(9) });
    let told = format!("CALL HIMSELF аnna: that looks like anna, the name of {}, and", key(2).fingerprint());
    assert!(table.last_line().contains(&told), "{}", table.last_line());
    table.enter("/peers");
    assert!(table.last_line().contains("THE NAME OF ANOTHER KEY"), "{}", table.last_line());
}

#[test]
fn a_registered_name_is_marked_where_no_name_stands() {
    let mut table = Table::new(100, 20);
    let (tracker, owner) = (std::sync::Arc::from("box:6970"), key(2));
    let anna = Person { registered: true, ..person("anna", 2) };
    let me = Person { me: true, ..person("Anna", 1) };
    let other = Person { trust: Trust::NameConflict, ..person("ANNA#k3j2", 9) };
    table.app.people = vec![me.clone(), anna.clone(), other.clone()];
    table.app.take(ChatEvent::NameRegistered { person: anna, tracker: std::sync::Arc::clone(&tracker) });
    assert!(
        table
            .last_line()
            .ends_with(&format!("✓ anna ({}): this name is registered for this key at box:6970", owner.fingerprint()))
    );
    for (person, name) in [(other, "ANNA"), (me, "Anna")] {
        let (name, tracker) = (name.to_owned(), std::sync::Arc::clone(&tracker));
        table.app.take(ChatEvent::NameOfAnother { person, name, owner, tracker });
    }
    let told: Vec<String> = table.app.pane.since(0).map(|line| line.text.concat()).collect();
    assert!(told.iter().any(|it| it.starts_with("SOMEBODY ELSE MAY CALL HIMSELF ANNA: box:6970")), "{told:?}");
    assert!(
        told.iter().any(|it| it.starts_with("YOUR NAME Anna, OR ONE THAT LOOKS LIKE IT, IS ANOTHER KEY'S AT box:6970")),
        "{told:?}"
    );
    let screen = table.screen();
    let marked: Vec<&String> = screen.iter().filter(|row| row.ends_with('✓')).collect();
    assert_eq!(marked.len(), 1, "{screen:?}");
    assert!(marked[0].ends_with(&format!("  {} ✓", owner.fingerprint())), "{screen:?}");
    assert!(screen.iter().any(|row| row.ends_with("● ANNA#k3j2 !!")), "{screen:?}");
}

#[test]
fn an_answer_never_means_a_call_that_came_behind_it() {
    let mut table = Table::new(80, 24);
    let (first, second) = (RequestId([1; 16]), RequestId([2; 16]));
    assert!(table.enter("/accept").is_empty());
    assert!(table.last_line().contains("nothing to answer"));
    table.app.take(ChatEvent::CallRequested { id: first, from: person("anna", 2) });
    table.types("/acc");
    table.app.take(ChatEvent::CallExpired { id: first, with: person("anna", 2) });
    table.app.take(ChatEvent::CallRequested { id: second, from: person("bo", 3) });
    assert!(table.enter("ept").is_empty(), "the line was begun before bo called");
    assert_eq!(table.enter("/accept"), [Action::Accept(second)]);
    assert_eq!(table.enter("/accept 2"), [Action::Accept(second)]);
    assert!(table.enter("/accept 1").is_empty() && table.enter("/accept anna").is_empty());
    assert_eq!(table.enter("/decline bo"), [Action::Decline(second)]);
}

#[test]
fn a_call_from_the_first_word_to_the_last() {
    let mut table = Table::new(80, 24);
    let (id, anna) = (RequestId([7; 16]), person("anna", 2));
    assert_eq!(table.enter("/msg anna one"), [Action::Call(key(2))]);
    assert!(table.enter("/msg anna two").is_empty(), "the call is under way");
    table.app.settle(Outcome::Called { to: key(2), id });
    table.app.take(ChatEvent::Ringing { id });
    let [one, two] = ["one", "two"].map(|text| Action::Tell { id, text: text.to_owned() });
    assert_eq!(table.app.take(ChatEvent::CallEstablished { id, with: anna.clone() }), [one, two]);
    table.app.take(ChatEvent::DirectState { id, number: 1, state: DeliveryState::Delivered });
    for (number, text) in [(1, "one"), (2, "two")] {
        table.app.settle(Outcome::Told { id, number, text: text.to_owned() });
    }
    let screen = table.screen().join("\n");
    assert!(screen.contains("you to anna: one (delivered)") && screen.contains("you to anna: two (sent)"), "{screen}");
    table.app.take(ChatEvent::DirectState { id, number: 2, state: DeliveryState::Failed });
    let screen = table.screen().join("\n");
    assert!(screen.contains("two (FAILED)"), "{screen}");
    assert!(table.last_line().ends_with("may never have got: two"));
    assert_eq!(table.enter("/hangup"), [Action::HangUp(id)]);
    table.app.take(ChatEvent::CallEnded { id, with: anna, why: CallEnd::HungUp });
    assert!(table.enter("/hangup").is_empty());
    assert_eq!(table.enter("/msg anna three"), [Action::Call(key(2))]);
    table.app.settle(Outcome::NotCalled { to: key(2), why: "gone".to_owned() });
    assert!(table.last_line().contains("gone; your text was NOT sent"));
}

#[test]
fn reading_back_history_and_completion() {
    let mut table = Table::new(80, 10);
    (0..50).for_each(|line| table.said(2, "anna", &format!("line {line}")));
    table.screen();
    table.press(KeyCode::PageUp);
    table.said(2, "anna", "hot off the press");
    let screen = table.screen();
    assert!(screen[8].contains("newer below"), "{screen:?}");
    assert!(!screen.concat().contains("hot off the press") && screen.concat().contains("line 40"), "{screen:?}");
    table.press(KeyCode::Esc);
    assert!(table.screen()[7].contains("hot off the press"));
    assert!(table.enter("/peers").is_empty());
    table.press(KeyCode::Up);
    assert_eq!(table.screen()[9], "> /peers");
    table.press(KeyCode::Down);
    table.types("/ca");
    table.press(KeyCode::Tab);
    table.types("a");
    table.press(KeyCode::Tab);
    assert_eq!(table.screen()[9], "> /call anna");
    assert_eq!(table.press(KeyCode::Enter), [Action::Call(key(2))]);
    table.types("/h");
    table.press(KeyCode::Tab);
    let screen = table.screen();
    assert_eq!((screen[8].as_str(), screen[9].as_str()), ("/hangup  /help", "> /hangup"));
}

#[test]
fn a_picture_lies_over_the_messages_and_never_over_the_line() {
    use super::pictures::terminal::{Cell, Graphics};
    use super::pictures::{Facts, Found, Wrong};
    let mut table = Table::new(80, 10);
    table.app.album.graphics = Some(Graphics::Kitty);
    assert!(table.enter("/view").is_empty());
    let hint = if cfg!(feature = "pictures") { "nobody has handed" } else { "built without" };
    assert!(table.last_line().contains(hint), "{}", table.last_line());
    let facts = Ok(Facts { format: "PNG", width: 64, height: 48, bytes: 999 });
    table.app.found(Found { name: "la\x1bke.png".to_owned(), path: "/x".into(), facts });
    assert!(table.last_line().ends_with("picture 1: la\u{fffd}ke.png (PNG, 64 x 48, 999 B); /view 1 shows it"));
    table.enter("/view #1");
    table.types("a line");
    table.said(2, "anna", "hello");
    table.app.take(ChatEvent::CallRequested { id: RequestId([1; 16]), from: person("bo", 3) });
    let screen = table.screen();
    assert!(screen[1].starts_with("picture 1: la\u{fffd}ke.png (PNG, 64 x 48, 999 B)  "), "{screen:?}");
    assert!(screen[2].starts_with("…  ") && !screen.concat().contains("hello"), "{screen:?}");
    assert_eq!(screen[8], "2 new behind the picture: Esc closes it  bo calls: /accept 1");
    assert_eq!((screen[9].as_str(), table.cursor()), ("> a line", (8, 9)));
    let job = table.app.album.wanted(Cell { width: 8, height: 16 }).unwrap();
    assert_eq!(job.room, (53, 6), "between the caption, the people and the status");
    table.app.album.painted(1, Err(Wrong::Broken));
    assert!(table.screen()[2].starts_with("it cannot be shown: it is broken"));
    for (cells, rows) in [(1, 1), (3, 2), (10, 3), (63, 4)] {
        table.terminal.backend_mut().resize(cells, rows);
        let screen = table.screen();
        assert!(cells < 4 || screen.last().unwrap().starts_with("> "), "{screen:?}");
    }
    table.terminal.backend_mut().resize(80, 10);
    table.press(KeyCode::Esc);
    assert!(table.screen().concat().contains("anna: hello"));
    table.enter("/view");
    table.press(KeyCode::PageUp);
    assert!(table.screen().concat().contains("2026-11-21"), "who scrolls wants to see messages");
}

#[test]
fn plain_lines_come_once_and_are_safe() {
    let mut table = Table::new(80, 24);
    let mut plain = super::plain::Plain::default();
    table.said(2, "anna", "hello\x1b]0;title\x07\nsecond");
    let lines = plain.news(&table.app);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1], "21:04 anna: hello\u{fffd}]0;title\u{fffd}\n      second");
    assert!(plain.news(&table.app).is_empty());
    table.app.tells_fates = true;
    assert!(table.app.line("/help").is_empty());
    assert!(plain.news(&table.app)[0].contains("/connect HOST:PORT"));
    assert_eq!(table.app.line("/quit"), [Action::Quit]);
}

#[test]
fn what_was_delivered_before_it_was_known_to_be_on_its_way_is_told_too() {
    let mut table = Table::new(80, 24);
    table.app.tells_fates = true;
    let id = RequestId([5; 16]);
    table.app.take(ChatEvent::CallEstablished { id, with: person("bo", 3) });
    table.app.take(ChatEvent::DirectState { id, number: 0, state: DeliveryState::Delivered });
    table.app.settle(Outcome::Told { id, number: 0, text: "a secret".to_owned() });
    assert!(table.last_line().ends_with("delivered to bo: a secret"), "{}", table.last_line());
}

fn transfer(ours: bool, have_bytes: u64) -> Transfer {
    let (id, name) = (RequestId([4; 16]), "lake.zip".to_owned());
    Transfer { id, with: person("bo", 3), ours, name, have_bytes, total_bytes: 1_000_000 }
}

#[test]
fn what_somebody_has_of_an_offer_moves_and_ends() {
    for tells_fates in [false, true] {
        let mut table = Table::new(80, 12);
        table.app.tells_fates = tells_fates;
        let id = RequestId([4; 16]);
        table.app.settle(Outcome::Offered { number: 1, to: key(3), id, path: "lake.zip".to_owned() });
        table.app.take(ChatEvent::OfferAccepted { id, with: person("bo", 3) });
        assert!(table.last_line().ends_with("bo takes lake.zip (/hangup 1 takes it back)"), "{}", table.last_line());
        let mut progress = |have, state, seconds: u64| {
            table.app.now_ms = NOW + seconds * 1_000;
            table.app.take(ChatEvent::OfferProgress { transfer: transfer(true, have), state });
            table.screen()[8..10].iter().map(|row| row[row.len().min(54)..].trim().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(progress(100_000, TransferState::Checking, 0)[1], "#--------- 10% checks");
        assert_eq!(progress(100_000, TransferState::Waiting, 1)[1], "#--------- 10% waits");
        assert_eq!(progress(430_000, TransferState::Fetching, 2), ["lake.zip to bo", "####------ 43% 322 KiB/s"]);
        // Some of it was lost there, and came again: no line is printed twice.
        for (step, have) in [(3, 200_000), (4, 600_000), (5, 200_000), (6, 990_000)] {
            progress(have, TransferState::Fetching, step);
        }
        table.app.take(ChatEvent::OfferSilent { transfer: transfer(true, 990_000), silent: true });
        let (line, row) = (table.last_line(), table.screen()[9].clone());
        assert!(line.ends_with("lake.zip goes on if that changes within a minute; /hangup 1 takes it back"), "{line}");
        assert!(row.ends_with("#########- 99% no answer"), "{row}");
        table.app.take(ChatEvent::OfferSilent { transfer: transfer(true, 990_000), silent: false });
        assert!(!table.screen()[9].contains("no answer"));
        let lines = table.app.pane.since(0).filter(|line| line.text.join("").contains("bo has")).count();
        assert_eq!(lines, if tells_fates { 3 } else { 0 });
        assert_eq!(table.app.line("/hangup"), [Action::HangUp(id)]);
        table.app.take(ChatEvent::OfferEnded { transfer: transfer(true, 1_000_000), end: TransferEnd::Complete });
        assert!(table.last_line().ends_with("bo has all of lake.zip"), "{}", table.last_line());
        assert!(table.app.sendings.is_empty() && table.app.requests.all().is_empty());
    }
}

#[test]
fn how_a_transfer_ended_is_said_in_words() {
    let mut table = Table::new(80, 12);
    let mut said = |ours, end, here| {
        let mut transfer = transfer(ours, 430_000);
        transfer.with.here = here;
        table.app.take(ChatEvent::OfferEnded { transfer, end });
        table.last_line()
    };
    assert!(said(true, TransferEnd::Lost, false).ends_with("bo has left, with 43 % of lake.zip"));
    assert!(said(true, TransferEnd::Lost, true).ends_with("bo broke off, with 43 % of lake.zip"));
    assert!(said(true, TransferEnd::GivenUp, true).ends_with("bo wants no more of lake.zip, and has 43 % of it"));
    assert!(said(true, TransferEnd::Withdrawn, true).ends_with("lake.zip is taken back; bo has 43 % of it"));
    assert!(
        said(false, TransferEnd::Withdrawn, true).contains("lake.zip was taken back by bo: 43 % is here and stays")
    );
    assert!(said(false, TransferEnd::GivenUp, true).contains("43 % is here and stays"));
    assert!(said(false, TransferEnd::Lost, false).contains("bo has left; lake.zip is incomplete: 43 % is here"));
    let tried = vec!["192.0.2.1:6881".parse().unwrap()];
    table.app.listen_port = 7_000;
    table.app.take(ChatEvent::OfferStuck { transfer: transfer(false, 0), tried });
    let line = table.last_line();
    for part in
        ["does not come from bo", "tried from here: 192.0.2.1:6881", "TCP port 7000", "--listen", "goes on trying"]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    table.app.take(ChatEvent::OfferSilent { transfer: transfer(false, 0), silent: true });
    let line = table.last_line();
    assert!(line.ends_with("bo does not answer: lake.zip goes on if that changes within a minute"), "{line}");
    table.app.take(ChatEvent::OfferSilent { transfer: transfer(false, 0), silent: false });
    assert!(table.last_line().ends_with("bo answers again"));
    table.app.take(ChatEvent::OfferStuck { transfer: transfer(true, 0), tried: Vec::new() });
    assert!(table.last_line().contains("does not get to bo") && table.last_line().contains("no address"));
}
