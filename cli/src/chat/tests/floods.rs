//! What floods, joined characters and strange clocks do to the screen: nothing.

use super::{NOW, Table, key, person};
use crate::chat::action::Action;
use crossterm::event::KeyCode;
use swarm_proto::chat::{ChatEvent, ChatMessage, MessageId, RequestId};

#[test]
fn a_flood_leaves_one_line_and_who_is_blocked_leaves_none() {
    let mut table = Table::new(120, 24);
    table.said(2, "anna", "what a quiet room");
    table.said(3, "bo", "hello");
    (0..16).for_each(|_| table.said(3, "bo", "BUY"));
    table.said(2, "anna", "make it stop");
    table.app.take(ChatEvent::Muted { person: person("bo", 3), hidden: 16 });
    let screen = table.screen().join("\n");
    assert!(!screen.contains("BUY") && screen.contains("bo: hello") && screen.contains("make it stop"), "{screen}");
    let last = table.last_line();
    assert!(last.contains("bo (") && last.contains("FLOODS the room") && last.contains("16 messages hidden"), "{last}");
    assert_eq!(table.enter("/block bo"), [Action::Block(key(3))]);
    assert!(!table.screen().join("\n").contains("bo: hello"));
    // What was printed stays printed.
    let mut plain = Table::new(80, 24);
    plain.app.tells_fates = true;
    plain.said(3, "bo", "BUY");
    plain.app.take(ChatEvent::Muted { person: person("bo", 3), hidden: 1 });
    assert!(plain.last_line().contains("nothing more is shown for a while, after 1 message;"), "{}", plain.last_line());
    assert_eq!(plain.app.pane.since(0).filter(|line| line.text.concat() == "BUY").count(), 1);
}

/// What a terminal draws that joins nothing: each character by itself.
fn drawn(row: &str) -> usize {
    row.chars().map(|c| unicode_width::UnicodeWidthChar::width(c).unwrap_or(9)).sum()
}

#[test]
fn no_terminal_draws_more_of_a_row_than_there_is() {
    let floods = [
        "👨\u{200d}👩\u{200d}👧\u{200d}".repeat(300),
        "👍\u{1f3fb}".repeat(400),
        "👍\u{1f3fb}\u{1f3fc}\u{1f3fd}".repeat(250),
        "⌚\u{fe0e}".repeat(500),
        "❤\u{fe0f}\u{200d}🔥".repeat(280),
        "لا".repeat(700),
        format!("e{}", "\u{301}".repeat(1_400)),
        "\u{1100}".repeat(1_000),
        "\t".repeat(3_000),
        "🇩🇪".repeat(370),
        "क्\u{200d}ष".repeat(240),
        "\u{200c}\u{200d}".repeat(500),
        "\u{3164}\u{2800}\u{fdfd}".repeat(330),
    ];
    let mut table = Table::new(80, 24);
    for text in &floods {
        let name: String = text.chars().take(16).collect();
        table.said(2, &name, text);
        table.app.take(ChatEvent::Joined(person(&name, 9)));
        table.app.take(ChatEvent::CallRequested { id: RequestId([1; 16]), from: person(&name, 9) });
        table.app.title = text.clone();
        let screen = table.screen();
        for (y, row) in screen.iter().enumerate() {
            assert!(drawn(row) <= 80 && row.chars().count() <= 80 * 5, "row {y} of {text:.9}: {row}");
        }
        assert_eq!(screen[23], ">");
    }
    for text in &floods {
        table.app.paste(text);
        let screen = table.screen();
        assert!(screen[23].starts_with('>') && drawn(&screen[23]) <= 80, "{}", screen[23]);
        assert!(table.cursor().0 < 80);
        table.press(KeyCode::Home);
        assert!(drawn(&table.screen()[23]) <= 80 && table.cursor() == (2, 23));
        table.app.input.clear();
    }
}

#[test]
fn the_clocks_of_others_lead_nobody_astray() {
    let mut table = Table::new(80, 24);
    let said = |id: u8, time_ms: u64| {
        let (name, text) = ("anna".to_owned(), "x".to_owned());
        let (id, author) = (MessageId([id; 16]), key(2));
        ChatEvent::Message(ChatMessage { id, author, name, text, time_ms, own: false, past: false, gap: false })
    };
    for (at, time_ms) in [(1, u64::MAX), (2, 0), (3, NOW + 1), (4, u64::MAX / 1_000)] {
        table.app.take(said(at, time_ms));
    }
    let (id, from, text) = (RequestId([1; 16]), person("anna", 2), "psst".to_owned());
    table.app.take(ChatEvent::DirectMessage { id, from, number: 0, text, time_ms: u64::MAX });
    let days: Vec<String> =
        table.app.pane.since(0).filter(|line| line.who.is_empty()).map(|line| line.text.concat()).collect();
    assert!(days.iter().all(|day| day.contains("1970") || day.contains("2026")), "{days:?}");
}
