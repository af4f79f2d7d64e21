//! What a typed line means. Whom a name means is decided in [`super::people`].

use super::people::{Directory, Unclear};
use crate::args::values::{self, HostPort};
use std::num::ParseIntError;
use swarm_proto::chat::PublicKey;

/// A typed line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Typed {
    /// For everybody in the room.
    Say(String),
    Peers,
    /// For one person, in a call.
    Message {
        to: PublicKey,
        text: String,
    },
    Call(PublicKey),
    /// Yes to a request; without a word which, to the only one.
    Accept(Which),
    Decline(Which),
    /// The end of a call; without a word which, of the only one.
    HangUp(Which),
    Send {
        to: PublicKey,
        path: String,
    },
    /// The picture of this number, or the newest.
    View(Option<u32>),
    Nick(String),
    Block(PublicKey),
    Unblock(PublicKey),
    Trust(PublicKey),
    Connect(HostPort),
    Help,
    Quit,
}

/// Which of the open requests or calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    /// The only one.
    Only,
    /// That with this number, as it was shown.
    Number(u32),
    /// That of this person.
    Of(PublicKey),
}

/// A command: its name, what stands behind it, and what it does. `/help` shows these.
pub(crate) const COMMANDS: [(&str, &str, &str); 16] = [
    ("/peers", "", "who is here, with fingerprints"),
    ("/msg", "NAME TEXT", "tell one person something, end to end encrypted; calls first if you are in no call"),
    ("/call", "NAME", "ask for a talk; the other side has 60 s to answer"),
    ("/accept", "[NUMBER|NAME]", "say yes to a call or to offered files"),
    ("/decline", "[NUMBER|NAME]", "say no to a call or to offered files"),
    (
        "/hangup",
        "[NUMBER|NAME]",
        "end a call or a transfer, take back a call or an offer, or stop reading what is to be offered",
    ),
    ("/send", "NAME PATH", "offer a file or folder; all of it is read first, which /hangup stops"),
    ("/view", "[NUMBER]", "show a picture that was handed over, without a number the newest; Esc closes it"),
    ("/nick", "NAME", "take another name"),
    ("/block", "NAME", "hear nothing more of somebody"),
    ("/unblock", "NAME", "listen to somebody again"),
    ("/trust", "NAME", "the fingerprint was compared and is right"),
    ("/connect", "HOST:PORT", "connect to a peer"),
    ("/help", "", "these lines"),
    ("/quit", "", "leave"),
    ("//", "TEXT", "say something that begins with /"),
];

/// Commands whose first word is a name.
pub(crate) const TAKE_NAMES: [&str; 9] =
    ["/msg", "/call", "/accept", "/decline", "/hangup", "/send", "/block", "/unblock", "/trust"];

/// Reads a line; the error says what to type instead.
pub(crate) fn parse(line: &str, people: &Directory) -> Result<Typed, String> {
    let line = line.trim_end();
    let Some(command) = line.trim_start().strip_prefix('/') else { return Ok(Typed::Say(line.to_owned())) };
    if let Some(text) = command.strip_prefix('/') {
        return Ok(Typed::Say(format!("/{text}")));
    }
    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim_start();
    let alone = |typed| if rest.is_empty() { Ok(typed) } else { Err(usage(name)) };
    match name {
        "peers" => alone(Typed::Peers),
        "help" => alone(Typed::Help),
        "quit" => alone(Typed::Quit),
        "msg" => with_text(name, rest, people).map(|(to, text)| Typed::Message { to, text }),
        "send" => with_text(name, rest, people).map(|(to, path)| Typed::Send { to, path }),
        "call" => person(name, rest, people).map(Typed::Call),
        "block" => judged(name, rest, people).map(Typed::Block),
        "unblock" => judged(name, rest, people).map(Typed::Unblock),
        "trust" => judged(name, rest, people).map(Typed::Trust),
        "accept" => which(name, rest, people).map(Typed::Accept),
        "decline" => which(name, rest, people).map(Typed::Decline),
        "hangup" => which(name, rest, people).map(Typed::HangUp),
        "view" if rest.is_empty() => Ok(Typed::View(None)),
        "view" => number(rest).map(|number| Typed::View(Some(number))).map_err(|_| usage(name)),
        "nick" if !rest.is_empty() => Ok(Typed::Nick(rest.to_owned())),
        "connect" => values::host_port(rest).map(Typed::Connect),
        _ => Err(usage(name)),
    }
}

/// How a command is typed.
fn usage(name: &str) -> String {
    let known = COMMANDS.iter().find(|(command, ..)| command.strip_prefix('/') == Some(name));
    match known {
        Some((command, "", _)) => format!("{command} takes nothing behind it"),
        Some((command, arguments, does)) => format!("{command} {arguments}: {does}"),
        None => format!("there is no /{name}; /help lists what there is, and // begins a text with /"),
    }
}

fn person(command: &str, rest: &str, people: &Directory) -> Result<PublicKey, String> {
    if rest.is_empty() { Err(usage(command)) } else { people.find(rest).map_err(|unclear| unclear.to_string()) }
}

fn judged(command: &str, rest: &str, people: &Directory) -> Result<PublicKey, String> {
    if rest.is_empty() {
        Err(usage(command))
    } else {
        people.find_to_judge(rest).map_err(|unclear| unclear.to_string())
    }
}

fn with_text(command: &str, rest: &str, people: &Directory) -> Result<(PublicKey, String), String> {
    match people.find_first(rest) {
        Ok((_, "")) => Err(usage(command)),
        Ok((key, text)) => Ok((key, text.to_owned())),
        Err(Unclear::Nobody(typed)) if typed.is_empty() => Err(usage(command)),
        Err(unclear) => Err(unclear.to_string()),
    }
}

/// A number, as it is shown or with `#` in front.
pub(super) fn number(text: &str) -> Result<u32, ParseIntError> {
    text.strip_prefix('#').unwrap_or(text).parse()
}

fn which(command: &str, rest: &str, people: &Directory) -> Result<Which, String> {
    match number(rest) {
        _ if rest.is_empty() => Ok(Which::Only),
        // Whoever calls himself 3 gets no answer that is meant for the third request.
        Ok(number) => Ok(Which::Number(number)),
        Err(_) => person(command, rest, people).map(Which::Of),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{key, person};
    use super::*;

    fn directory() -> Directory {
        Directory::new(&[person("me", 1), person("Anna", 2), person("Anna B", 3), person("7", 4)])
    }

    #[test]
    fn lines_and_commands() {
        let read = |line| parse(line, &directory()).unwrap();
        assert_eq!(read("hello  "), Typed::Say("hello".to_owned()));
        assert_eq!(read("//etc"), Typed::Say("/etc".to_owned()));
        assert_eq!(read("/msg \"anna b\" see you"), Typed::Message { to: key(3), text: "see you".to_owned() });
        assert_eq!(read("/msg \"Anna\" see /x"), Typed::Message { to: key(2), text: "see /x".to_owned() });
        assert_eq!(
            read("/send anna My Files/a b.png"),
            Typed::Send { to: key(2), path: "My Files/a b.png".to_owned() }
        );
        assert_eq!(read("/call Anna B"), Typed::Call(key(3)));
        assert_eq!(read("/accept"), Typed::Accept(Which::Only));
        assert_eq!(read("/accept 3"), Typed::Accept(Which::Number(3)));
        assert_eq!(read("/accept 7"), Typed::Accept(Which::Number(7)));
        assert_eq!(read("/accept \"7\""), Typed::Accept(Which::Of(key(4))));
        assert_eq!(read("/decline anna"), Typed::Decline(Which::Of(key(2))));
        assert_eq!([read("/view"), read("/view #3")], [Typed::View(None), Typed::View(Some(3))]);
        assert_eq!(read("/nick New Name"), Typed::Nick("New Name".to_owned()));
        assert_eq!(read("/connect box:7001"), Typed::Connect(HostPort { host: "box".to_owned(), port: 7001 }));
        assert_eq!((read("/quit"), read("/help"), read("/peers")), (Typed::Quit, Typed::Help, Typed::Peers));
    }

    #[test]
    fn errors_say_what_to_type() {
        let wrong = |line| parse(line, &directory()).unwrap_err();
        assert!(wrong("/msg").starts_with("/msg NAME TEXT"));
        assert!(wrong("/msg anna").starts_with("/msg NAME TEXT"));
        assert!(wrong("/msg bob hi").contains("nobody here is called bob"));
        assert!(wrong("/quit now").contains("takes nothing"));
        assert!(wrong("/quti").contains("/help"));
        assert!(wrong("/connect box").contains("HOST:PORT"));
        assert!(wrong("/view lake.png").starts_with("/view [NUMBER]"));
        assert!(wrong("/nick").starts_with("/nick NAME"));
    }
}
