//! Files that others fetch from us, as the user sees them on their way: what each has of them, and how fast it comes.

use super::action::{TransferView, percent};
use super::app::App;
use super::pane::Kind;
use crate::render::text::rate;
use swarm_proto::chat::{RequestId, Transfer, TransferEnd, TransferState};

/// Files on their way to somebody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sending {
    id: RequestId,
    /// To whom, as it was called then.
    name: String,
    files: String,
    have_bytes: u64,
    total_bytes: u64,
    state: TransferState,
    /// Nothing is heard of it.
    silent: bool,
    bytes_per_s: u64,
    /// When this was said: milliseconds since 1970.
    at_ms: u64,
    /// Quarters of it of which a line was printed.
    quarters: u64,
}

impl Sending {
    /// How it looks among the transfers.
    pub(crate) fn view(&self) -> TransferView {
        let remark = match self.state {
            _ if self.silent => "no answer".to_owned(),
            TransferState::Checking => "checks".to_owned(),
            TransferState::Waiting => "waits".to_owned(),
            _ => rate(self.bytes_per_s),
        };
        let name = format!("{} to {}", self.files, self.name);
        TransferView { name, have_bytes: self.have_bytes, total_bytes: self.total_bytes, remark }
    }

    /// More was said: the rate is that since what was said before.
    fn moves(&mut self, now_ms: u64, transfer: &Transfer, state: TransferState) {
        let passed_ms = now_ms.saturating_sub(self.at_ms).max(1);
        let more = transfer.have_bytes.saturating_sub(self.have_bytes);
        // What was there before it looked did not come over the line.
        let counts = self.state != TransferState::Checking;
        let rate = u128::from(more) * 1_000 / u128::from(passed_ms);
        self.bytes_per_s = if counts { u64::try_from(rate).unwrap_or(u64::MAX) } else { 0 };
        (self.have_bytes, self.state, self.at_ms) = (transfer.have_bytes, state, now_ms);
    }
}

impl App {
    /// Somebody says how far it is with files of ours. Lines are few: each quarter, where nothing moves on a screen.
    pub(super) fn take_progress(&mut self, transfer: &Transfer, state: TransferState) {
        let now_ms = self.now_ms;
        let at = self.sendings.iter().position(|sending| sending.id == transfer.id);
        let mut sending = match at {
            Some(at) => self.sendings.remove(at),
            None => Sending {
                id: transfer.id,
                name: transfer.with.name.clone(),
                files: transfer.name.clone(),
                have_bytes: 0,
                total_bytes: transfer.total_bytes,
                state: TransferState::Checking,
                silent: false,
                bytes_per_s: 0,
                at_ms: now_ms,
                quarters: 0,
            },
        };
        sending.moves(now_ms, transfer, state);
        let quarters = percent(sending.have_bytes, sending.total_bytes) / 25;
        // All of it is the end, which is told anyway.
        if self.tells_fates && (sending.quarters + 1..4).contains(&quarters) {
            let text = format!("{} has {} % of {}", transfer.with.name, quarters * 25, transfer.name);
            self.note(Kind::Notice, &text);
        }
        sending.quarters = sending.quarters.max(quarters);
        self.sendings.insert(at.unwrap_or(self.sendings.len()), sending);
    }

    /// Nothing is heard of the other side any more, or something is heard again.
    pub(super) fn take_silence(&mut self, transfer: &Transfer, silent: bool) {
        let Transfer { id, with, name: files, ours, .. } = transfer;
        let sending = self.sendings.iter_mut().find(|sending| sending.id == *id);
        sending.into_iter().for_each(|sending| sending.silent = silent);
        if !silent {
            return self.note(Kind::Notice, &format!("{} answers again", with.name));
        }
        let number = self.requests.get(*id).map(|request| request.number);
        let way = number.map_or_else(String::new, |number| match ours {
            true => format!("; /hangup {number} takes it back"),
            false => format!("; /hangup {number} ends it"),
        });
        let text = format!("{} does not answer: {files} goes on if that changes within a minute{way}", with.name);
        self.note(Kind::Failure, &text);
    }

    /// There is no connection: what is wrong, and what helps.
    pub(super) fn take_stuck(&mut self, transfer: &Transfer, tried: &[std::net::SocketAddr]) {
        let text = self.stuck(transfer, tried);
        self.note(Kind::Failure, &text);
    }

    /// The same, in words.
    pub(super) fn stuck(&self, transfer: &Transfer, tried: &[std::net::SocketAddr]) -> String {
        let Transfer { with, name, .. } = transfer;
        let what = match transfer.ours {
            true => format!("{name} does not get to {}", with.name),
            false => format!("{name} does not come from {}", with.name),
        };
        let tried: Vec<String> = tried.iter().map(ToString::to_string).collect();
        let tried = match tried.as_slice() {
            [] => "there is no address that could be tried from here".to_owned(),
            tried => format!("tried from here: {}", tried.join(", ")),
        };
        format!(
            "{what}: there is no connection between you ({tried}). One of you must take connections: open or forward TCP \
             port {} to this machine (--listen chooses the port), or have {} do that. It goes on trying",
            self.listen_port, with.name
        )
    }

    /// It is over with files that were accepted.
    pub(super) fn transfer_over(&mut self, transfer: &Transfer, end: TransferEnd) {
        self.requests.close(transfer.id);
        self.sendings.retain(|sending| sending.id != transfer.id);
        let Transfer { with, name: files, .. } = transfer;
        let name = &with.name;
        let percent = percent(transfer.have_bytes, transfer.total_bytes);
        let gone = if with.here { "broke off" } else { "has left" };
        let (kind, text) = match (transfer.ours, end) {
            (true, TransferEnd::Complete) => (Kind::Notice, format!("{name} has all of {files}")),
            (true, TransferEnd::GivenUp) => {
                (Kind::Notice, format!("{name} wants no more of {files}, and has {percent} % of it"))
            }
            (true, TransferEnd::Withdrawn) => {
                (Kind::Notice, format!("{files} is taken back; {name} has {percent} % of it"))
            }
            (true, TransferEnd::Lost) => (Kind::Failure, format!("{name} {gone}, with {percent} % of {files}")),
            // Told when the file is looked at.
            (false, TransferEnd::Complete) => return,
            (false, TransferEnd::GivenUp) => (Kind::Notice, kept(files, percent, "is fetched no more")),
            (false, TransferEnd::Withdrawn) => {
                (Kind::Notice, kept(files, percent, &format!("was taken back by {name}")))
            }
            (false, TransferEnd::Lost) => {
                (Kind::Failure, format!("{name} {gone}; {}", kept(files, percent, "is incomplete")))
            }
        };
        self.note(kind, &text);
    }
}

fn kept(files: &str, percent: u64, what: &str) -> String {
    format!("{files} {what}: {percent} % is here and stays; offered again and accepted, it goes on from there")
}
