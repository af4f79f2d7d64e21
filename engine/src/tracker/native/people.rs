//! Names of people at a native tracker, and its end: a short connection for each question.

use super::catalogue::{converse, exchange, odd_answer};
use super::wire::{Wire, refused};
use std::time::Duration;
use swarm_proto::announce::TrackerError;
use swarm_proto::likeness::look_alike;
use swarm_proto::limits::{NATIVE_FRAME_LENGTH, SIGNATURE_LENGTH};
use swarm_proto::native::{
    Challenge, Claim, NativeUrl, Online, Person, PersonKey, PersonName, PersonQuery, Refusal, RefusalCode,
    Registration, Request, RequestId, Response, shutdown_proof,
};
use tokio::time::timeout;

/// For all of a conversation.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Registers a name for a key, or renews it; returns how long it stays registered without that. `sign` makes the key's Ed25519
/// signature of what it is given. A name belongs to one key, in upper and lower case.
///
/// # Errors
/// [`TrackerError`]; `Refused` where the name is somebody else's, or there are too many.
pub async fn register_name(
    tracker: &NativeUrl,
    person: &PersonName,
    key: PersonKey,
    sign: impl FnOnce(&[u8]) -> [u8; SIGNATURE_LENGTH],
) -> Result<Duration, TrackerError> {
    match claim(tracker, Claim::Register, person, key, sign).await? {
        Response::Registered { lifetime_days } => Ok(Duration::from_secs(u64::from(lifetime_days) * 86_400)),
        _ => Err(odd_answer()),
    }
}

/// Gives a name back that is registered for this key; `sign` as for [`register_name`].
///
/// # Errors
/// [`TrackerError`]; `Refused` where the name is free, or somebody else's.
pub async fn release_name(
    tracker: &NativeUrl,
    person: &PersonName,
    key: PersonKey,
    sign: impl FnOnce(&[u8]) -> [u8; SIGNATURE_LENGTH],
) -> Result<(), TrackerError> {
    match claim(tracker, Claim::Release, person, key, sign).await? {
        Response::Done => Ok(()),
        _ => Err(odd_answer()),
    }
}

async fn claim(
    tracker: &NativeUrl,
    claim: Claim,
    person: &PersonName,
    key: PersonKey,
    sign: impl FnOnce(&[u8]) -> [u8; SIGNATURE_LENGTH],
) -> Result<Response, TrackerError> {
    let request = |challenge: &Challenge| {
        let signature = sign(&claim.text(challenge, &key, person));
        let (person, release) = (person.clone(), claim == Claim::Release);
        Request::Register(Registration { person, key, signature, release })
    };
    challenged(tracker, request).await
}

/// Who has a name, or which name a key has.
///
/// # Errors
/// [`TrackerError`]; `Refused` where nobody has it.
pub async fn lookup_name(tracker: &NativeUrl, query: PersonQuery) -> Result<Person, TrackerError> {
    who_is(tracker, query).await?.map_err(refused)
}

/// Who has a name; `None` where nobody has it.
///
/// # Errors
/// [`TrackerError`].
pub(crate) async fn find_name(tracker: &NativeUrl, name: &PersonName) -> Result<Option<Person>, TrackerError> {
    match who_is(tracker, PersonQuery::Name(name.clone())).await? {
        Ok(person) => Ok(Some(person)),
        Err(refusal) if refusal.code == RefusalCode::NotFound => Ok(None),
        Err(refusal) => Err(refused(refusal)),
    }
}

async fn who_is(tracker: &NativeUrl, query: PersonQuery) -> Result<Result<Person, Refusal>, TrackerError> {
    let talk = async {
        let mut wire = Wire::open(tracker, NATIVE_FRAME_LENGTH).await?;
        exchange(&mut wire, RequestId(1), Request::WhoIs(query.clone())).await
    };
    match timeout(TIMEOUT, talk).await.unwrap_or(Err(TrackerError::TimedOut(TIMEOUT)))? {
        Ok(Response::Person(person)) if is_about(&query, &person) => Ok(Ok(person)),
        Ok(_) => Err(odd_answer()),
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// Whether it is an answer to this question: a name is also that of whoever has one that looks like it.
fn is_about(query: &PersonQuery, person: &Person) -> bool {
    match query {
        PersonQuery::Name(name) => look_alike(person.person.as_str(), name.as_str()),
        PersonQuery::Key(key) => person.key == *key,
    }
}

/// Has a tracker close whose admin token this is. The token itself is not sent.
///
/// # Errors
/// [`TrackerError`]; `Refused` where the tracker has another token, or none.
pub async fn shut_down(tracker: &NativeUrl, token: &[u8]) -> Result<(), TrackerError> {
    let request = |challenge: &Challenge| Request::Shutdown { proof: shutdown_proof(challenge, token) };
    match challenged(tracker, request).await? {
        Response::Done => Ok(()),
        _ => Err(odd_answer()),
    }
}

/// One question that depends on the challenge of its connection.
async fn challenged(
    tracker: &NativeUrl,
    request: impl FnOnce(&Challenge) -> Request,
) -> Result<Response, TrackerError> {
    let talk = async {
        let mut wire = Wire::connect(&tracker.authority(), NATIVE_FRAME_LENGTH).await?;
        let online = Online { challenge: true, ..Wire::reader(tracker) };
        let session = wire.introduce(online).await?;
        let none = || TrackerError::Unsupported(format!("{tracker} knows nothing of challenges"));
        let request = request(&session.challenge.ok_or_else(none)?);
        converse(&mut wire, RequestId(1), request).await
    };
    timeout(TIMEOUT, talk).await.unwrap_or(Err(TrackerError::TimedOut(TIMEOUT)))
}
