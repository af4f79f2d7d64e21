//! `id`: the key by which others know this user, and what the user thinks of theirs.

use super::id_names;
use crate::args::chat::{IdArguments, IdCommand};
use crate::chat::people::{Directory, Unclear};
use crate::exit::{Exit, Failure, OrExit};
use crate::render::{output, text};
use crate::state;
use serde::Serialize;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use swarm_engine::chat::{ChatBook, load_or_make_identity, save_identity};
use swarm_proto::chat::{BookEntry, Identity, Pinned, PublicKey};

/// Bytes of an exported key at most: its digits, and some space.
const EXPORTED: u64 = 256;

/// The file with the secret key.
pub(crate) fn identity_file() -> Result<PathBuf, Failure> {
    folder().map(|folder| folder.join("identity"))
}

/// The file of those who are known.
pub(crate) fn book_file() -> Result<PathBuf, Failure> {
    folder().map(|folder| folder.join("people"))
}

fn folder() -> Result<PathBuf, Failure> {
    let missing = || Failure::new(Exit::Disk, "there is no place for a key: set HOME or XDG_STATE_HOME");
    state::chat_folder().ok_or_else(missing)
}

/// Who we are; made on first use.
pub(crate) fn identity() -> Result<Identity, Failure> {
    load_or_make_identity(&identity_file()?).or_exit(Exit::Disk)
}

/// Who we are, if that is decided already.
pub(super) fn identity_if_made() -> Result<Option<Identity>, Failure> {
    if identity_file()?.exists() { identity().map(Some) } else { Ok(None) }
}

/// Does what was typed.
pub(crate) async fn run(arguments: &IdArguments) -> Result<Exit, Failure> {
    match &arguments.what {
        IdCommand::Show { json } => show(*json)?,
        IdCommand::Export { file: Some(file) } => save_identity(file, &identity()?).or_exit(Exit::Disk)?,
        IdCommand::Export { file: None } => output::result(identity()?.to_text().trim_end())?,
        IdCommand::Import { file, force } => import(file, *force)?,
        IdCommand::Trust(whom) => judge(&whom.who, ChatBook::trust)?,
        IdCommand::Block(whom) => judge(&whom.who, ChatBook::block)?,
        IdCommand::Unblock(whom) => judge(&whom.who, ChatBook::unblock)?,
        command @ (IdCommand::Register(_) | IdCommand::Lookup(_) | IdCommand::Release(_)) => {
            id_names::run(command).await?;
        }
    }
    Ok(Exit::Done)
}

/// Everything about keys that is no secret.
#[derive(Serialize)]
struct Shown {
    fingerprint: String,
    key: String,
    file: String,
    people: Vec<ShownPerson>,
}

#[derive(Serialize)]
struct ShownPerson {
    name: String,
    fingerprint: String,
    key: String,
    trust: &'static str,
}

fn show(json: bool) -> Result<(), Failure> {
    let (identity, file) = (identity()?, identity_file()?);
    let book = ChatBook::open(&book_file()?).or_exit(Exit::Disk)?;
    let people = book.entries().into_iter().map(|entry| ShownPerson {
        name: entry.name,
        fingerprint: entry.key.fingerprint(),
        key: entry.key.to_string(),
        trust: trust(entry.trust),
    });
    let (key, people) = (identity.public(), people.collect::<Vec<_>>());
    let file = file.to_string_lossy().into_owned();
    let shown = Shown { fingerprint: key.fingerprint(), key: key.to_string(), file, people };
    if json {
        return output::json(&shown);
    }
    let mut lines = vec![
        format!("fingerprint  {}", shown.fingerprint),
        format!("key          {}", shown.key),
        format!("file         {}", text::printable(&shown.file)),
    ];
    let person = |person: &ShownPerson| {
        format!("{}  {:10}  {}", person.fingerprint, person.trust.replace('_', " "), text::printable(&person.name))
    };
    lines.extend(shown.people.iter().map(person));
    output::result(&lines.join("\n"))
}

fn trust(pinned: Pinned) -> &'static str {
    match pinned {
        Pinned::FirstSeen => "first_seen",
        Pinned::Trusted => "trusted",
        Pinned::Blocked => "blocked",
    }
}

/// Takes a key in place of the one that is there, if the user says so. That one is not lost before the new one is there.
fn import(file: &Path, force: bool) -> Result<(), Failure> {
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => io::stdin().lock().take(EXPORTED).read_to_string(&mut text),
        false => fs::File::open(file).and_then(|file| file.take(EXPORTED).read_to_string(&mut text)),
    };
    read.or_exit_while(Exit::Disk, file.display())?;
    let no_key = || Failure::new(Exit::Usage, format!("{}: this is no exported key", file.display()));
    let identity = Identity::from_text(&text).ok_or_else(no_key)?;
    let (path, key) = (identity_file()?, identity.public());
    if path.exists() {
        let same = load_or_make_identity(&path).is_ok_and(|there| there.public() == key);
        if !same && !force {
            let reason = "holds another key, and whoever loses a key loses the person it stands for";
            let advice = "export it first, or give it up with --force";
            return Err(Failure::new(Exit::Disk, format!("{} {reason}; {advice}", path.display())));
        }
        if !same {
            overwrite(&path, &identity)?;
        }
    } else {
        save_identity(&path, &identity).or_exit(Exit::Disk)?;
    }
    output::result(&format!("you are {} now", key.fingerprint()))
}

fn overwrite(path: &Path, identity: &Identity) -> Result<(), Failure> {
    let draft = path.with_extension("import");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).or_exit_while(Exit::Disk, draft.display())?
        }
        _ => {}
    }
    save_identity(&draft, identity).or_exit(Exit::Disk)?;
    fs::rename(&draft, path).or_exit_while(Exit::Disk, path.display())
}

fn judge(who: &str, judgement: impl FnOnce(&mut ChatBook, PublicKey)) -> Result<(), Failure> {
    let mut book = ChatBook::open(&book_file()?).or_exit(Exit::Disk)?;
    let key = find(&book.entries(), who)?;
    judgement(&mut book, key);
    book.save().or_exit(Exit::Disk)?;
    let known = book.entries().into_iter().find(|entry| entry.key == key);
    let (name, trust) = known.map_or((String::new(), ""), |entry| (entry.name, trust(entry.trust)));
    output::result(&format!("{}  {}  {}", key.fingerprint(), trust.replace('_', " "), text::printable(&name)))
}

/// The one person that is meant.
fn find(entries: &[BookEntry], who: &str) -> Result<PublicKey, Failure> {
    Directory::of_known(entries).find_to_judge(who).map_err(|unclear| {
        let why = match unclear {
            Unclear::Nobody(who) => format!("you have met nobody called {who}; 'swarm id show' lists all"),
            several @ Unclear::Several(_) => several.to_string(),
        };
        Failure::new(Exit::Usage, text::printable(&why))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_meant_by_name_fingerprint_or_key() {
        let entry = |byte, name: &str| BookEntry {
            key: PublicKey([byte; 32]),
            name: name.to_owned(),
            trust: Pinned::FirstSeen,
        };
        let entries = [entry(1, "Anna"), entry(2, "Bo"), entry(3, "bo")];
        let fingerprint = entries[1].key.fingerprint();
        assert_eq!(find(&entries, "anna").unwrap(), entries[0].key);
        assert_eq!(find(&entries, &fingerprint).unwrap(), entries[1].key);
        assert_eq!(find(&entries, &fingerprint.replace('-', "")[..6]).unwrap(), entries[1].key);
        assert_eq!(find(&[], &"ab".repeat(32)).unwrap(), PublicKey([0xab; 32]));
        assert!(find(&[entry(1, "alice"), entry(2, "аӏісе")], "alice").is_err(), "one looks like the other");
        assert!(find(&entries, "bo").is_err() && find(&entries, "carl").is_err() && find(&entries, "").is_err());
    }
}
