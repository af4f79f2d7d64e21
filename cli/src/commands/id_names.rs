//! `id register`, `lookup` and `release`: the names of people at a native tracker.

use super::catalogue::failed;
use super::id;
use crate::args::chat::{AtTracker, IdCommand};
use crate::exit::{Exit, Failure};
use crate::render::output;
use crate::render::text;
use serde_json::json;
use std::fmt::Display;
use swarm_engine::chat::{lookup_name, register_name, release_name};
use swarm_proto::chat::{PublicKey, chosen_name, looks_like_others};
use swarm_proto::native::{PersonKey, PersonName, PersonQuery};

/// Does what was typed, if it has to do with a tracker.
pub(super) async fn run(command: &IdCommand) -> Result<(), Failure> {
    match command {
        IdCommand::Register(what) => register(what).await,
        IdCommand::Lookup(what) => lookup(what).await,
        IdCommand::Release(what) => release(what).await,
        _ => Ok(()),
    }
}

async fn register(what: &AtTracker) -> Result<(), Failure> {
    let refuse = |why: &dyn Display| Failure::new(Exit::Usage, format!("name {}: {why}", text::printable(&what.name)));
    let name = person(&chosen_name(&what.name).map_err(|fault| refuse(&fault))?)?;
    if looks_like_others(name.as_str()) {
        return Err(refuse(
            &"it mixes alphabets whose letters look alike, or has letters that only look like Latin ones; \
                            no chat would show it as yours",
        ));
    }
    let identity = id::identity()?;
    let lasts = register_name(&what.tracker, &name, &identity).await.map_err(|error| failed(&what.tracker, error))?;
    let (key, days) = (identity.public(), lasts.as_secs() / 86_400);
    if what.json {
        return output::json(&json!({
            "name": name.as_str(), "key": key.to_string(), "fingerprint": key.fingerprint(), "lifetime_days": days,
        }));
    }
    let (who, often) = (key.fingerprint(), "each day on which you use it in a chat with this tracker renews it");
    output::result(&format!("{who}  {name}  is yours for {days} days; {often}"))
}

async fn lookup(what: &AtTracker) -> Result<(), Failure> {
    let query = match PublicKey::from_hex(&what.name) {
        Some(key) => PersonQuery::Key(PersonKey(key.0)),
        None => PersonQuery::Name(person(&what.name)?),
    };
    let found = lookup_name(&what.tracker, query.clone()).await.map_err(|error| failed(&what.tracker, error))?;
    let key = PublicKey(found.key.0);
    let ours = id::identity_if_made()?.is_some_and(|identity| identity.public() == key);
    if what.json {
        return output::json(&json!({
            "name": found.person.as_str(), "key": key.to_string(), "fingerprint": key.fingerprint(),
            "idle_days": found.idle_days, "me": ours,
        }));
    }
    let (you, idle) = (if ours { ", you" } else { "" }, found.idle_days);
    let like = match query {
        PersonQuery::Name(asked) if asked.folded() != found.person.folded() => {
            format!("; {asked} looks like it, and so is nobody else's")
        }
        _ => String::new(),
    };
    output::result(&format!("{}  {}  (proven {idle} days ago{you}){like}", key.fingerprint(), found.person))
}

async fn release(what: &AtTracker) -> Result<(), Failure> {
    let name = person(&what.name)?;
    release_name(&what.tracker, &name, &id::identity()?).await.map_err(|error| failed(&what.tracker, error))?;
    if what.json {
        return output::json(&json!({ "name": name.as_str(), "released": true }));
    }
    output::result(&format!("{name} is free"))
}

fn person(name: &str) -> Result<PersonName, Failure> {
    let refuse = |error| Failure::new(Exit::Usage, format!("name {}: {error}", text::printable(name)));
    PersonName::new(name).map_err(refuse)
}
