//! What is read to be offered, as the user sees it: how far it is, and that it can be stopped.

use super::action::{Action, TransferView, percent};
use super::app::App;
use super::pane::Kind;
use crate::render::text::bytes;
use swarm_engine::ReadProgress;
use swarm_proto::chat::{PublicKey, RequestId};

/// From one printed line about a reading to the next, where a quarter has been read meanwhile: what takes no longer is told
/// by its end.
const LINE_EVERY_MS: u64 = 5_000;

/// The same where it takes longer than that.
const LINE_AT_LEAST_MS: u64 = 60_000;

/// Something that is read to be offered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reading {
    /// As the user sees it; its offer has the same.
    pub(crate) number: u32,
    pub(crate) to: PublicKey,
    /// To whom, as it was called then.
    pub(crate) name: String,
    pub(crate) path: String,
    /// Nothing as long as the files are being listed.
    pub(crate) progress: Option<ReadProgress>,
    /// The user does not want it any more.
    pub(crate) stops: bool,
    /// When a line was printed of it: milliseconds since 1970.
    told_ms: u64,
    /// Quarters of it of which a line was printed.
    quarters: u64,
}

impl Reading {
    pub(super) fn new(number: u32, to: PublicKey, name: String, path: String, now_ms: u64) -> Self {
        Self { number, to, name, path, progress: None, stops: false, told_ms: now_ms, quarters: 0 }
    }

    /// How it looks among the transfers.
    pub(crate) fn view(&self) -> TransferView {
        let file = self.path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = format!("{file} for {}", self.name);
        let remark = if self.progress.is_some() { "is read" } else { "is listed" }.to_owned();
        // What is not known yet is not all of it.
        let (have_bytes, total_bytes) = self.progress.map_or((0, 1), |it| (it.done_bytes, it.total_bytes));
        TransferView { name, have_bytes, total_bytes, remark }
    }

    /// A line about it, if it is time for one.
    fn line(&mut self, now_ms: u64) -> Option<String> {
        let ReadProgress { done_bytes, total_bytes } = self.progress?;
        let percent = percent(done_bytes, total_bytes);
        let passed_ms = now_ms.saturating_sub(self.told_ms);
        let due = passed_ms >= LINE_AT_LEAST_MS || passed_ms >= LINE_EVERY_MS && percent / 25 > self.quarters;
        if !due || percent == 100 {
            return None;
        }
        (self.told_ms, self.quarters) = (now_ms, percent / 25);
        let Self { number, name, path, .. } = self;
        let (done, total) = (bytes(done_bytes), bytes(total_bytes));
        Some(format!("{path} for {name}: {percent} % is read ({done} of {total}; /hangup {number} stops it)"))
    }
}

impl App {
    /// A file or folder is to be offered.
    pub(super) fn reads(&mut self, to: PublicKey, path: String) -> Result<Action, String> {
        let name = self.name_of(to);
        let number = self.requests.reads(to, name.clone(), path.clone(), self.now_ms)?;
        let text = format!("{path} is read, and then offered to {name} (/hangup {number} stops it)");
        self.note(Kind::Notice, &text);
        Ok(Action::Offer { number, to, path })
    }

    /// What was read is offered.
    pub(super) fn offers(&mut self, number: u32, to: PublicKey, id: RequestId, path: &str) -> Vec<Action> {
        let person = self.person(to);
        let (number, stops) = self.requests.offers(number, id, &person, path);
        let text = format!("{path} is offered to {} (/hangup {number} takes it back)", person.name);
        self.note(Kind::Notice, &text);
        if stops { vec![Action::HangUp(id)] } else { Vec::new() }
    }

    /// Nothing is: the user has stopped it, or why not.
    pub(super) fn offers_not(&mut self, number: u32, to: PublicKey, path: &str, why: Option<String>) {
        self.requests.end_reading(number);
        match why {
            Some(why) => self.note(Kind::Failure, &format!("{path}: {why}")),
            None => {
                let name = self.name_of(to);
                self.note(Kind::Notice, &format!("{path} is read no more, and not offered to {name}"));
            }
        }
    }

    /// So far is what is read. Lines are few, where nothing moves on a screen.
    pub(crate) fn has_read(&mut self, number: u32, progress: Option<ReadProgress>) {
        let (tells, now_ms) = (self.tells_fates, self.now_ms);
        let Some(reading) = self.requests.reading_mut(number) else { return };
        reading.progress = progress;
        if let Some(line) = tells.then(|| reading.line(now_ms)).flatten() {
            self.note(Kind::Notice, &line);
        }
    }
}
