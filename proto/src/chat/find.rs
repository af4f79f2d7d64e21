//! From what a user types to the person that is meant.

use super::contract::Person;
use super::text::folded;

/// Why what was typed names nobody.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FindError {
    /// Nobody is called so.
    #[error("nobody here is called {0}")]
    Nobody(String),
    /// Several people are called so; their names and fingerprints.
    #[error("several people are meant: {}; give more of the name or the fingerprint", .0.join(", "))]
    Several(Vec<String>),
}

/// Finds a person by name, by the beginning of the name, the fingerprint, or the key. An exact name comes before all that
/// begin with it, and who is here before who was. Never ourselves.
///
/// # Errors
/// When nobody is meant, or several are.
pub fn find_person<'p>(people: &'p [Person], typed: &str) -> Result<&'p Person, FindError> {
    let wanted = folded(typed.trim().trim_start_matches('@'));
    let others = || people.iter().filter(|person| !person.me);
    let exact = |person: &&Person| folded(&person.name) == wanted;
    let begins = |person: &&Person| {
        let key = [person.key.fingerprint(), person.key.fingerprint().replace('-', ""), person.key.to_string()];
        folded(&person.name).starts_with(&wanted) || key.iter().any(|key| key.starts_with(&wanted))
    };
    if wanted.is_empty() {
        return Err(FindError::Nobody(String::new()));
    }
    let ways: [Vec<&Person>; 4] = [
        others().filter(|person| person.here).filter(exact).collect(),
        others().filter(exact).collect(),
        others().filter(|person| person.here).filter(begins).collect(),
        others().filter(begins).collect(),
    ];
    match ways.iter().find(|found| !found.is_empty()).map(Vec::as_slice) {
        Some([person]) => Ok(person),
        Some(several) => {
            let name = |person: &&Person| format!("{} ({})", person.name, person.key.fingerprint());
            Err(FindError::Several(several.iter().map(name).collect()))
        }
        None => Err(FindError::Nobody(super::text::shown_name(typed))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::Trust;
    use super::super::identity::PublicKey;
    use super::*;

    fn person(at: u8, name: &str, here: bool) -> Person {
        let me = at == 0;
        Person { key: PublicKey([at; 32]), name: name.into(), here, trust: Trust::FirstSeen, direct: false, me }
    }

    #[test]
    fn people_are_found_by_what_one_would_type() {
        let people =
            [person(0, "anna", true), person(1, "Bob", true), person(2, "bobby", true), person(3, "bob", false)];
        let found = |typed: &str| find_person(&people, typed).map(|person| person.key.0[0]);
        assert_eq!((found("bob"), found("@BOB "), found("bobb")), (Ok(1), Ok(1), Ok(2)));
        assert!(matches!(found("bo"), Err(FindError::Several(names)) if names.len() == 2));
        assert_eq!(found("anna"), Err(FindError::Nobody("anna".into())), "nobody talks to oneself");
        assert_eq!(found(&PublicKey([3; 32]).fingerprint()[..6]), Ok(3));
        assert_eq!(found(&PublicKey([3; 32]).to_string()), Ok(3));
        assert!(found("").is_err() && found("zoe").is_err());
    }
}
