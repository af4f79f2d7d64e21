//! What peers say to each other over the tracker, and of themselves: registrations, questions about people, relayed messages,
//! and the end of the tracker.

use super::fields::{FieldError, Fields, required};
use super::peers::{address_bytes, parse_address};
use super::person::{PersonKey, PersonName};
use crate::bencode::Item;
use crate::id::InfoHash;
use crate::limits;
use bytes::Bytes;
use std::net::SocketAddr;

/// A name that a person claims, or gives back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// The name.
    pub person: PersonName,
    /// Whose it shall be.
    pub key: PersonKey,
    /// Of [`Claim::text`](super::Claim::text), with the challenge of this connection.
    pub signature: [u8; limits::SIGNATURE_LENGTH],
    /// The name is given back.
    pub release: bool,
}

/// Whom a question is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PersonQuery {
    /// Who has this name, in upper or lower case.
    Name(PersonName),
    /// Which name this key has; of several the first.
    Key(PersonKey),
}

/// A registered person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    /// The name, as it was registered.
    pub person: PersonName,
    /// Whose it is.
    pub key: PersonKey,
    /// Days since the key was last proven.
    pub idle_days: u32,
}

/// A message of one peer of a torrent to another one, opaque to the tracker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relayed {
    /// The torrent that both serve.
    pub info_hash: InfoHash,
    /// From a peer: whom it is for. From the tracker: whose it is.
    pub peer: SocketAddr,
    /// 1 to [`limits::NATIVE_RELAYED_LENGTH`] bytes.
    pub data: Bytes,
}

type Entries = Vec<(&'static str, Item)>;

impl Registration {
    pub(super) fn entries(&self) -> Entries {
        let mut entries = vec![
            ("person", self.person.as_str().into()),
            ("key", Item::from(&self.key.0[..])),
            ("signature", Item::from(&self.signature[..])),
        ];
        entries.extend(self.release.then(|| ("release", Item::from(1_u32))));
        entries
    }

    pub(super) fn parse(fields: Fields<'_>) -> Result<Self, FieldError> {
        Ok(Self {
            person: required("person", parse_person(fields)?)?,
            key: required("key", parse_key(fields)?)?,
            signature: required("signature", fields.array("signature")?)?,
            release: parse_flag(fields, "release")?,
        })
    }
}

impl PersonQuery {
    pub(super) fn entries(&self) -> Entries {
        match self {
            Self::Name(person) => vec![("person", person.as_str().into())],
            Self::Key(key) => vec![("key", Item::from(&key.0[..]))],
        }
    }

    pub(super) fn parse(fields: Fields<'_>) -> Result<Self, FieldError> {
        match parse_person(fields)? {
            Some(person) => Ok(Self::Name(person)),
            None => Ok(Self::Key(required("person or key", parse_key(fields)?)?)),
        }
    }
}

impl Person {
    pub(super) fn entries(&self) -> Entries {
        vec![
            ("person", self.person.as_str().into()),
            ("key", Item::from(&self.key.0[..])),
            ("idle_days", self.idle_days.into()),
        ]
    }

    pub(super) fn parse(fields: Fields<'_>) -> Result<Self, FieldError> {
        Ok(Self {
            person: required("person", parse_person(fields)?)?,
            key: required("key", parse_key(fields)?)?,
            idle_days: fields.number("idle_days")?.unwrap_or(0),
        })
    }
}

impl Relayed {
    /// `end` is `to` from a peer, `from` from the tracker.
    pub(super) fn entries(&self, end: &'static str) -> Entries {
        vec![
            ("info_hash", Item::from(&self.info_hash.0[..])),
            (end, Item::Bytes(address_bytes(self.peer))),
            ("data", Item::from(&self.data[..])),
        ]
    }

    pub(super) fn parse(fields: Fields<'_>, end: &'static str) -> Result<Self, FieldError> {
        let peer = fields.read(end, "6 or 18 bytes", |value| parse_address(value.as_bytes()?))?;
        let expected = format!("a string of 1 to {} bytes", limits::NATIVE_RELAYED_LENGTH);
        let fits = |bytes: &&[u8]| (1..=limits::NATIVE_RELAYED_LENGTH).contains(&bytes.len());
        let data = fields.read("data", &expected, |value| value.as_bytes().filter(fits))?;
        Ok(Self {
            info_hash: InfoHash(required("info_hash", fields.hash("info_hash")?)?),
            peer: required(end, peer)?,
            data: Bytes::copy_from_slice(required("data", data)?),
        })
    }
}

/// 1 for yes; 0, and an absent key, for no.
pub(super) fn parse_flag(fields: Fields<'_>, key: &'static str) -> Result<bool, FieldError> {
    let flag = |number: u64| (number <= 1).then_some(number == 1);
    Ok(fields.read(key, "0 or 1", |value| flag(value.as_u64()?))?.unwrap_or(false))
}

fn parse_person(fields: Fields<'_>) -> Result<Option<PersonName>, FieldError> {
    let Some(text) = fields.text("person")? else { return Ok(None) };
    let wrong = |error| FieldError::Wrong { key: "person", expected: format!("a name: {error}") };
    PersonName::new(text).map(Some).map_err(wrong)
}

fn parse_key(fields: Fields<'_>) -> Result<Option<PersonKey>, FieldError> {
    Ok(fields.array("key")?.map(PersonKey))
}
