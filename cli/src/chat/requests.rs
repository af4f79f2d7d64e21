//! Calls and offers that are open: what can be answered, and what can be ended. An answer always names one of them.

use super::command::Which;
use super::reading::Reading;
use std::collections::VecDeque;
use swarm_proto::chat::{Person, PublicKey, RequestId};
use swarm_proto::limits;

/// Requests that are kept. The room keeps fewer.
const OPEN: usize = 64;

/// What a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Somebody calls us.
    CallsUs,
    /// We call somebody.
    WeCall,
    /// A call that stands.
    Talk,
    /// Somebody offers us files.
    OffersUs,
    /// We offer somebody files.
    WeOffer,
    /// Files of ours that somebody has accepted.
    WeSend,
    /// Files of somebody that we have accepted.
    WeFetch,
}

impl Kind {
    /// Files that were accepted.
    pub(crate) fn is_transfer(self) -> bool {
        matches!(self, Self::WeSend | Self::WeFetch)
    }
}

/// A call or an offer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    /// As the user sees it; never given twice.
    pub(crate) number: u32,
    pub(crate) id: RequestId,
    pub(crate) with: PublicKey,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Name of the files, of an offer.
    pub(crate) files: String,
}

/// What the user ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    Request(RequestId),
    /// What is read to be offered, by its number.
    Reading(u32),
}

/// All that are open.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    open: Vec<Request>,
    /// What is read to be offered: it has no id yet.
    readings: Vec<Reading>,
    /// What was over before we were told that it is open.
    gone: VecDeque<RequestId>,
    last: u32,
}

impl Requests {
    /// A request is open, or has become something else; returns its number.
    pub(crate) fn open(&mut self, id: RequestId, with: &Person, kind: Kind, files: &str) -> u32 {
        if let Some(request) = self.open.iter_mut().find(|request| request.id == id) {
            if !files.is_empty() {
                files.clone_into(&mut request.files);
            }
            // What we are told last of a call that stands already, or of an offer that was accepted, is not that it was
            // asked for.
            if !matches!((request.kind, kind), (Kind::Talk, Kind::WeCall) | (Kind::WeSend, Kind::WeOffer)) {
                request.kind = kind;
            }
            return request.number;
        }
        self.last += 1;
        self.push(self.last, id, with, kind, files);
        self.last
    }

    fn push(&mut self, number: u32, id: RequestId, with: &Person, kind: Kind, files: &str) {
        if self.gone.contains(&id) {
            return;
        }
        if self.open.len() == OPEN {
            self.open.remove(0);
        }
        let (name, files) = (with.name.clone(), files.to_owned());
        self.open.push(Request { number, id, with: with.key, name, kind, files });
    }

    /// Something is read to be offered; returns the number that its offer will have.
    pub(crate) fn reads(&mut self, to: PublicKey, name: String, path: String, now_ms: u64) -> Result<u32, String> {
        if self.readings.len() >= limits::CHAT_TRANSFERS {
            return Err(format!(
                "{} files are being read already: wait for one, or /hangup it",
                limits::CHAT_TRANSFERS
            ));
        }
        self.last += 1;
        self.readings.push(Reading::new(self.last, to, name, path, now_ms));
        Ok(self.last)
    }

    /// What was read is offered; returns its number, and whether the user has stopped it in the last moment.
    pub(crate) fn offers(&mut self, number: u32, id: RequestId, to: &Person, path: &str) -> (u32, bool) {
        let stops = self.end_reading(number).is_some_and(|reading| reading.stops);
        // It may have been accepted before we knew that it is on its way.
        if self.get(id).is_some() {
            return (self.open(id, to, Kind::WeOffer, path), stops);
        }
        self.push(number, id, to, Kind::WeOffer, path);
        (number, stops)
    }

    /// All that is read to be offered.
    pub(crate) fn readings(&self) -> &[Reading] {
        &self.readings
    }

    pub(crate) fn reading_mut(&mut self, number: u32) -> Option<&mut Reading> {
        self.readings.iter_mut().find(|reading| reading.number == number)
    }

    /// Nothing is read any more under this number.
    pub(crate) fn end_reading(&mut self, number: u32) -> Option<Reading> {
        let at = self.readings.iter().position(|reading| reading.number == number)?;
        Some(self.readings.remove(at))
    }

    /// A request has become something else, if it is open; returns its number.
    pub(crate) fn turn(&mut self, id: RequestId, kind: Kind) -> Option<u32> {
        let request = self.open.iter_mut().find(|request| request.id == id)?;
        request.kind = kind;
        Some(request.number)
    }

    /// A request is over.
    pub(crate) fn close(&mut self, id: RequestId) -> Option<Request> {
        let Some(at) = self.open.iter().position(|request| request.id == id) else {
            self.gone.push_back(id);
            if self.gone.len() > OPEN {
                self.gone.pop_front();
            }
            return None;
        };
        Some(self.open.remove(at))
    }

    pub(crate) fn all(&self) -> &[Request] {
        &self.open
    }

    pub(crate) fn get(&self, id: RequestId) -> Option<&Request> {
        self.open.iter().find(|request| request.id == id)
    }

    /// The call with somebody that stands.
    pub(crate) fn talk_with(&self, key: PublicKey) -> Option<RequestId> {
        self.open.iter().find(|request| request.kind == Kind::Talk && request.with == key).map(|request| request.id)
    }

    /// Whether somebody has been called and has not answered yet.
    pub(crate) fn is_calling(&self, key: PublicKey) -> bool {
        self.open.iter().any(|request| request.kind == Kind::WeCall && request.with == key)
    }

    /// Ids of what waits for an answer of ours.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = RequestId> {
        self.open.iter().filter(|request| is_waiting(request.kind)).map(|request| request.id)
    }

    /// What is to be answered. `seen` are the requests that were open when the user began to type: an answer that names
    /// none is meant for one of these, and not for one that came since.
    pub(crate) fn to_answer(&self, which: &Which, seen: &[RequestId]) -> Result<&Request, String> {
        let only_seen = *which == Which::Only;
        let fits = |request: &&Request| is_waiting(request.kind) && (!only_seen || seen.contains(&request.id));
        let open = self.open.iter().filter(fits).filter(|request| which.means(request.number, request.with));
        one(open.map(|request| (request, request.described())), "there is nothing to answer")
    }

    /// What is to be ended.
    pub(crate) fn to_end(&self, which: &Which) -> Result<Ending, String> {
        let open = self.open.iter().filter(|request| !is_waiting(request.kind));
        let open = open.filter(|request| which.means(request.number, request.with));
        let open = open.map(|request| (Ending::Request(request.id), request.described()));
        let read = self.readings.iter().filter(|reading| !reading.stops && which.means(reading.number, reading.to));
        let read = read.map(|it| (Ending::Reading(it.number), format!("{} ({} for {})", it.number, it.path, it.name)));
        one(open.chain(read), "there is no call, no offer of yours and no transfer to end")
    }
}

impl Which {
    fn means(&self, number: u32, with: PublicKey) -> bool {
        match self {
            Self::Only => true,
            Self::Number(meant) => number == *meant,
            Self::Of(key) => with == *key,
        }
    }
}

/// The only one of these, each with its description.
fn one<T: Copy>(found: impl Iterator<Item = (T, String)>, none: &str) -> Result<T, String> {
    let found: Vec<(T, String)> = found.collect();
    match found.as_slice() {
        [] => Err(none.to_owned()),
        [(one, _)] => Ok(*one),
        several => {
            let listed: Vec<&str> = several.iter().map(|(_, described)| described.as_str()).collect();
            Err(format!("which one? {}; type its number behind the command", listed.join(", ")))
        }
    }
}

impl Request {
    fn described(&self) -> String {
        let (number, name, files) = (self.number, &self.name, &self.files);
        match self.kind {
            Kind::CallsUs => format!("{number} ({name} calls)"),
            Kind::WeCall => format!("{number} (your call to {name})"),
            Kind::Talk => format!("{number} (your call with {name})"),
            Kind::OffersUs => format!("{number} ({name} offers {files})"),
            Kind::WeOffer => format!("{number} (your offer of {files} to {name})"),
            Kind::WeSend => format!("{number} ({files} to {name})"),
            Kind::WeFetch => format!("{number} ({files} from {name})"),
        }
    }
}

fn is_waiting(kind: Kind) -> bool {
    matches!(kind, Kind::CallsUs | Kind::OffersUs)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{key, person};
    use super::*;

    #[test]
    fn an_answer_is_meant_for_one_request_that_was_seen() {
        let (anna, bo, mut requests) = (person("anna", 1), person("bo", 2), Requests::default());
        let [first, second, third] = [1, 2, 3].map(|byte| RequestId([byte; 16]));
        assert!(requests.to_answer(&Which::Only, &[]).is_err());
        requests.open(first, &anna, Kind::CallsUs, "");
        assert!(requests.to_answer(&Which::Only, &[]).is_err(), "it came while the answer was being typed");
        assert_eq!(requests.to_answer(&Which::Only, &[first]).unwrap().id, first);
        requests.open(second, &bo, Kind::OffersUs, "x.png");
        let unclear = requests.to_answer(&Which::Only, &[first, second]).unwrap_err();
        assert!(unclear.contains("1 (anna calls), 2 (bo offers x.png)"), "{unclear}");
        assert_eq!(requests.to_answer(&Which::Number(2), &[]).unwrap().id, second);
        assert_eq!(requests.to_answer(&Which::Of(key(1)), &[]).unwrap().id, first);
        requests.close(first);
        assert_eq!(requests.open(third, &anna, Kind::CallsUs, ""), 3, "no number comes twice");
        assert!(requests.to_answer(&Which::Number(1), &[third]).is_err());
    }

    #[test]
    fn what_is_over_before_it_was_known_to_be_open_is_not_open() {
        let (anna, mut requests, id) = (person("anna", 1), Requests::default(), RequestId([1; 16]));
        assert!(requests.close(id).is_none());
        assert_eq!(requests.open(id, &anna, Kind::WeOffer, "film"), 1);
        assert!(requests.all().is_empty());
        // Accepted before that: the name of the files comes later.
        let id = RequestId([2; 16]);
        requests.open(id, &anna, Kind::WeSend, "the files");
        requests.open(id, &anna, Kind::WeOffer, "film");
        let request = requests.get(id).unwrap();
        assert_eq!((request.kind, request.files.as_str(), request.number), (Kind::WeSend, "film", 2));
    }

    #[test]
    fn a_call_that_stands_is_not_asked_for_again() {
        let (anna, mut requests, id) = (person("anna", 1), Requests::default(), RequestId([1; 16]));
        requests.open(id, &anna, Kind::Talk, "");
        requests.open(id, &anna, Kind::WeCall, "");
        assert_eq!((requests.talk_with(key(1)), requests.is_calling(key(1))), (Some(id), false));
        assert_eq!(requests.to_end(&Which::Only).unwrap(), Ending::Request(id));
    }
}
