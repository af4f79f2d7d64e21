//! Whom a typed name means, and how names are completed.

use std::fmt;
use swarm_proto::chat::{BookEntry, Person, PublicKey};
use swarm_proto::likeness::look_alike;

/// Letters of a fingerprint that are enough to name somebody.
const PREFIX: usize = 4;

/// Names, as they can be typed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    key: PublicKey,
    /// As it is shown.
    name: String,
    here: bool,
}

/// Why a name is nobody's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Unclear {
    /// Nobody is called so.
    Nobody(String),
    /// Several are: their names and fingerprints.
    Several(Vec<String>),
}

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody(typed) => write!(f, "nobody here is called {typed}; /peers lists who is here"),
            Self::Several(people) => {
                write!(f, "that may be {}; type \"NAME\" in quotes, or the fingerprint", people.join(" or "))
            }
        }
    }
}

impl Directory {
    /// Of everybody but us.
    pub(crate) fn new(people: &[Person]) -> Self {
        let entry = |person: &Person| Entry { key: person.key, name: person.name.clone(), here: person.here };
        Self { entries: people.iter().filter(|person| !person.me).map(entry).collect() }
    }

    /// Of those who were met some time.
    pub(crate) fn of_known(known: &[BookEntry]) -> Self {
        let entry = |known: &BookEntry| Entry { key: known.key, name: known.name.clone(), here: false };
        Self { entries: known.iter().map(entry).collect() }
    }

    /// The person that is meant by all of this text: a name in either case, the beginning of a fingerprint, or a key. What
    /// may be the name of one and the fingerprint of another is asked back, since anybody may call himself like somebody
    /// else's fingerprint; a name in quotes is nothing but a name, and a whole fingerprint nothing but that.
    pub(crate) fn find(&self, typed: &str) -> Result<PublicKey, Unclear> {
        self.find_by(typed, |entry, name| same(&entry.name, name))
    }

    /// The person on whom the user passes a judgement that lasts: where several use the name, or one that looks like it, it is
    /// asked back, although it belongs to one of them.
    pub(crate) fn find_to_judge(&self, typed: &str) -> Result<PublicKey, Unclear> {
        self.find_by(typed, |entry, name| same(&entry.name, name) || look_alike(used(&entry.name), name))
    }

    fn find_by(&self, typed: &str, is_called: impl Fn(&Entry, &str) -> bool) -> Result<PublicKey, Unclear> {
        let typed = typed.trim();
        if let Some(key) = PublicKey::from_hex(typed) {
            return Ok(key);
        }
        let found = match typed.strip_prefix('"').and_then(|typed| typed.strip_suffix('"')) {
            Some(name) => self.matching(|entry| same(&entry.name, name)),
            None => match self.matching(|entry| is(&entry.key, typed)) {
                whole if !whole.is_empty() => whole,
                _ => self.matching(|entry| is_called(entry, typed) || begins(&entry.key, typed)),
            },
        };
        match found.as_slice() {
            [] => Err(Unclear::Nobody(typed.to_owned())),
            [one] => Ok(one.key),
            several => Err(Unclear::Several(several.iter().map(|entry| entry.described()).collect())),
        }
    }

    /// The person that is meant by the beginning of this text, and what stands behind it: a name in quotes, or a name or
    /// fingerprint without. Names may have spaces in them; where more than one fits, it is asked back, lest somebody who
    /// calls himself `Anna I` reads what begins with "I" and is meant for Anna.
    pub(crate) fn find_first<'t>(&self, typed: &'t str) -> Result<(PublicKey, &'t str), Unclear> {
        if typed.starts_with('"')
            && let Some(end) = typed.char_indices().skip(1).find(|(_, c)| *c == '"').map(|(at, _)| at + 1)
        {
            let (name, rest) = typed.split_at(end);
            return Ok((self.find(name)?, rest.trim_start()));
        }
        let ends = typed.char_indices().filter(|(_, c)| c.is_whitespace()).map(|(at, _)| at).chain([typed.len()]);
        let starts = ends.filter_map(|end| typed.get(..end));
        let fits = |entry: &Entry, start: &str| same(&entry.name, start) || begins(&entry.key, start);
        let fitting: Vec<&str> = starts.filter(|start| self.entries.iter().any(|entry| fits(entry, start))).collect();
        let name = match fitting.as_slice() {
            [] => typed.split_whitespace().next().unwrap_or_default(),
            [name] => name,
            several => {
                let people = several.iter().flat_map(|start| self.matching(|entry| fits(entry, start)));
                return Err(Unclear::Several(people.map(Entry::described).collect()));
            }
        };
        Ok((self.find(name)?, typed.get(name.len()..).unwrap_or_default().trim_start()))
    }

    /// Names that begin like this, those who are here first.
    pub(crate) fn beginning(&self, typed: &str) -> Vec<String> {
        let typed = typed.trim_start_matches('"').to_lowercase();
        let mut found = self.matching(|entry| entry.name.to_lowercase().starts_with(&typed));
        found.sort_by_key(|entry| (!entry.here, entry.name.to_lowercase()));
        found.into_iter().map(|entry| entry.name.clone()).collect()
    }

    fn matching(&self, condition: impl Fn(&Entry) -> bool) -> Vec<&Entry> {
        self.entries.iter().filter(|entry| condition(entry)).collect()
    }
}

impl Entry {
    fn described(&self) -> String {
        format!("{} ({})", self.name, self.key.fingerprint())
    }
}

/// Whether two names are one, as the room sees it.
fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// The name that somebody uses, without what tells it from the same name of another key.
fn used(shown: &str) -> &str {
    shown.split_once('#').map_or(shown, |(name, _)| name)
}

/// Whether this is the fingerprint of a key, with or without the lines between its groups.
fn is(key: &PublicKey, typed: &str) -> bool {
    plain(&key.fingerprint()) == plain(typed)
}

/// Whether the fingerprint of a key begins like this.
fn begins(key: &PublicKey, typed: &str) -> bool {
    let typed = plain(typed);
    typed.len() >= PREFIX && plain(&key.fingerprint()).starts_with(&typed)
}

fn plain(fingerprint: &str) -> String {
    fingerprint.replace('-', "").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{key, person};
    use super::*;

    #[test]
    fn a_name_means_one_person_or_nobody() {
        let mut people = vec![person("me", 1), person("Anna", 2), person("anna", 3), person("Bo", 4)];
        people[0].me = true;
        let directory = Directory::new(&people);
        assert_eq!(directory.find("BO"), Ok(key(4)));
        assert_eq!(directory.find("me"), Err(Unclear::Nobody("me".to_owned())));
        assert!(matches!(directory.find("anna"), Err(Unclear::Several(names)) if names.len() == 2));
        let fingerprint = key(3).fingerprint();
        assert_eq!(directory.find(&fingerprint), Ok(key(3)));
        assert_eq!(directory.find(&fingerprint[..4]), Ok(key(3)));
        assert!(directory.find(&fingerprint[..3]).is_err());
        assert_eq!(directory.find(&key(9).to_string()), Ok(key(9)));
    }

    #[test]
    fn nobody_gets_what_is_meant_for_another() {
        let directory = Directory::new(&[person("Anna", 2), person("Anna I", 3), person("Bo Bo", 4)]);
        assert_eq!(directory.find_first("bo bo x"), Ok((key(4), "x")));
        assert!(matches!(directory.find_first("anna I love you"), Err(Unclear::Several(names)) if names.len() == 2));
        assert_eq!(directory.find_first("\"anna\" I love you"), Ok((key(2), "I love you")));
        assert_eq!(directory.find_first("\"Anna I\" hello"), Ok((key(3), "hello")));
        assert_eq!(directory.find_first("anna you"), Ok((key(2), "you")));
        let fingerprint = key(3).fingerprint();
        assert_eq!(directory.find_first(&format!("{fingerprint} hello")), Ok((key(3), "hello")));
    }

    #[test]
    fn nobody_gets_it_who_calls_himself_like_the_fingerprint_of_another() {
        let print = key(2).fingerprint();
        let start = &print[..4];
        let people = [person("Anna", 2), person(start, 3), person(&print, 4), person(&format!("{start} I"), 5)];
        let directory = Directory::new(&people);
        assert_eq!(directory.find(&print), Ok(key(2)));
        assert_eq!(directory.find(&format!("\"{print}\"")), Ok(key(4)));
        assert!(matches!(directory.find(start), Err(Unclear::Several(people)) if people.len() == 2));
        assert_eq!(directory.find_first(&format!("{print} I love you")), Ok((key(2), "I love you")));
        assert!(directory.find_first(&format!("{start} I love you")).is_err());
        assert_eq!(directory.find_first(&format!("\"{start} I\" hello")), Ok((key(5), "hello")));
    }

    #[test]
    fn a_judgement_on_a_name_that_several_use_is_asked_back() {
        let directory = Directory::new(&[person("anna", 2), person("Anna#abcd", 3), person("Bo", 4)]);
        assert_eq!(directory.find("Anna"), Ok(key(2)));
        assert!(matches!(directory.find_to_judge("Anna"), Err(Unclear::Several(people)) if people.len() == 2));
        let exactly = ["\"Anna\"", "anna#abcd", "bo"].map(|typed| directory.find_to_judge(typed));
        assert_eq!(exactly, [Ok(key(2)), Ok(key(3)), Ok(key(4))]);
        let directory = Directory::new(&[person("alice", 2), person("аӏісе#abcd", 3)]);
        assert_eq!(directory.find("alice"), Ok(key(2)));
        assert!(matches!(directory.find_to_judge("alice"), Err(Unclear::Several(people)) if people.len() == 2));
        assert_eq!(directory.find_to_judge("\"alice\""), Ok(key(2)));
    }

    #[test]
    fn completion_puts_those_first_who_are_here() {
        let mut people = vec![person("Ada", 1), person("Abel", 2), person("Bo", 3)];
        people[1].here = false;
        assert_eq!(Directory::new(&people).beginning("a"), ["Ada", "Abel"]);
    }
}
