//! Names of people at a native tracker, by the key of the chat.

use crate::tracker::native;
use std::time::Duration;
use swarm_proto::announce::TrackerError;
use swarm_proto::chat::{Identity, NameOutcome, PublicKey};
use swarm_proto::native::{NativeUrl, Person, PersonKey, PersonName, PersonQuery};

/// Registers a name for this person, or renews it; returns how long it stays registered without that.
///
/// # Errors
/// [`TrackerError`]; `Refused` where the name is somebody else's, or there are too many.
pub async fn register_name(
    tracker: &NativeUrl,
    name: &PersonName,
    identity: &Identity,
) -> Result<Duration, TrackerError> {
    let key = PersonKey(identity.public().0);
    native::register_name(tracker, name, key, |claim| identity.sign_claim(claim)).await
}

/// Gives a name of this person back.
///
/// # Errors
/// [`TrackerError`]; `Refused` where the name is free, or somebody else's.
pub async fn release_name(tracker: &NativeUrl, name: &PersonName, identity: &Identity) -> Result<(), TrackerError> {
    let key = PersonKey(identity.public().0);
    native::release_name(tracker, name, key, |claim| identity.sign_claim(claim)).await
}

/// Whose a name is, or which name a key has.
///
/// # Errors
/// [`TrackerError`]; `Refused` where nobody has it.
pub async fn lookup_name(tracker: &NativeUrl, query: PersonQuery) -> Result<Person, TrackerError> {
    native::lookup_name(tracker, query).await
}

/// How long a name that is ours may go unproven before it is proven once more.
const RENEW_AFTER_DAYS: u32 = 1;

/// What a tracker says of a name. One that is ours is proven once more if that was not done today, so that it stays ours.
pub(super) async fn look_up(tracker: NativeUrl, name: PersonName, identity: Identity) -> NameOutcome {
    match native::find_name(&tracker, &name).await {
        Ok(Some(person)) => {
            let key = PublicKey(person.key.0);
            // Nothing else is signed: a tracker could have us prove what we did not ask for.
            if key == identity.public()
                && person.person.folded() == name.folded()
                && person.idle_days >= RENEW_AFTER_DAYS
                && let Err(error) = register_name(&tracker, &person.person, &identity).await
            {
                tracing::debug!(%name, %error, "name not renewed");
            }
            NameOutcome::Registered(key)
        }
        Ok(None) => NameOutcome::Nobody,
        Err(error) => {
            tracing::debug!(%name, %error, "name not looked up");
            NameOutcome::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Buf, BytesMut};
    use swarm_proto::native::{
        Challenge, Claim, Decoded, PeerMessage, Person, Registration, Request, RequestId, Response, Sender, Session,
        TrackerMessage, decode,
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;

    const CHALLENGE: Challenge = Challenge([7; 32]);

    /// A tracker that answers each question like this, and tells what it is asked.
    async fn serve(listener: TcpListener, answer: Person, asked: mpsc::UnboundedSender<Request>) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = BytesMut::new();
            while let Some((id, request)) = hear(&mut stream, &mut buffer).await {
                let response = match &request {
                    Request::Online(_) => {
                        let address = "127.0.0.1:1".parse().unwrap();
                        let challenge = Some(CHALLENGE);
                        Response::Online(Session { version: 1, address, interval_s: 300, session: 7, challenge })
                    }
                    Request::Register(_) => Response::Registered { lifetime_days: 180 },
                    _ => Response::Person(answer.clone()),
                };
                asked.send(request).unwrap();
                stream.write_all(&TrackerMessage::Response(id, response).encode()).await.unwrap();
            }
        }
    }

    async fn hear(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<(RequestId, Request)> {
        loop {
            if let Decoded::Frame(frame, used) = decode(buffer, Sender::Peer).unwrap() {
                let message = PeerMessage::parse(&frame).unwrap();
                buffer.advance(used);
                let PeerMessage::Request(id, request) = message else { panic!("{message:?}") };
                return Some((id, request));
            }
            if stream.read_buf(buffer).await.unwrap() == 0 {
                return None;
            }
        }
    }

    /// What comes of a look-up, and what the tracker was asked but for `O`.
    async fn ask(name: &str, answered: &str, owner: PublicKey, idle_days: u32) -> (NameOutcome, Vec<Request>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("native://{}", listener.local_addr().unwrap()).parse().unwrap();
        let person = PersonName::new(answered).unwrap();
        let answer = Person { person, key: PersonKey(owner.0), idle_days };
        let (sender, mut questions) = mpsc::unbounded_channel();
        let serving = tokio::spawn(serve(listener, answer, sender));
        let outcome = look_up(url, PersonName::new(name).unwrap(), Identity::from_secret([1; 32])).await;
        serving.abort();
        let asked = std::iter::from_fn(|| questions.try_recv().ok());
        (outcome, asked.filter(|request| !matches!(request, Request::Online(_))).collect())
    }

    #[tokio::test]
    async fn a_name_of_ours_is_proven_again_once_a_day() {
        let me = Identity::from_secret([1; 32]).public();
        for (owner, idle_days, proven) in [(me, 0, false), (me, 1, true), (PublicKey([9; 32]), 90, false)] {
            let (outcome, asked) = ask("anna", "Anna", owner, idle_days).await;
            assert_eq!((outcome, asked.len()), (NameOutcome::Registered(owner), 1 + usize::from(proven)), "{asked:?}");
            let registered = asked.into_iter().find_map(|request| match request {
                Request::Register(registration) => Some(registration),
                _ => None,
            });
            if let Some(Registration { person, key, signature, release }) = registered {
                assert_eq!((person.as_str(), key.0, release), ("Anna", me.0, false));
                assert!(Claim::Register.is_proven(&CHALLENGE, &key, &person, &signature));
            }
        }
    }

    #[tokio::test]
    async fn a_tracker_cannot_have_us_prove_a_name_that_we_did_not_ask_for() {
        let me = Identity::from_secret([1; 32]).public();
        let (outcome, asked) = ask("anna", "admin", me, 100).await;
        assert_eq!((outcome, asked.len()), (NameOutcome::Failed, 1), "{asked:?}");
        let (outcome, asked) = ask("anna", "аnna", me, 100).await;
        assert_eq!((outcome, asked.len()), (NameOutcome::Registered(me), 1), "ours, and not renewed: {asked:?}");
    }

    #[tokio::test]
    async fn a_name_is_of_whoever_has_one_that_looks_like_it() {
        let owner = PublicKey([9; 32]);
        assert_eq!(ask("аӏісе", "alice", owner, 0).await.0, NameOutcome::Registered(owner));
    }
}
