//! The configuration file of a tracker: its keys are the long options of `swarm tracker`, without the dashes.
//!
//! So there is one list of options, one meaning of each, and one text about it. What was typed counts more than what stands
//! in the file. Owns the way from TOML to arguments; what these mean is decided where it is for those that were typed.

use crate::args::tracker::TrackerArguments;
use crate::args::{Arguments, Command};
use crate::exit::{Exit, Failure};
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use std::ffi::OsString;
use std::path::Path;
use toml::{Table, Value};

/// The subcommand.
const NAME: &str = "tracker";
/// What makes sense only when typed.
pub(super) const NOT_IN_A_FILE: [&str; 4] = ["config", "help", "version", "verbose"];
/// Bytes of a file at most: a thousand times what one takes.
const LONGEST: u64 = 1 << 20;

/// What was typed, and behind it what stands in the file.
///
/// # Errors
/// The file cannot be read, is no TOML, has a key that is no option, or a value that its option does not take.
pub(super) fn with_file(typed: &[OsString], path: &Path) -> Result<TrackerArguments, Failure> {
    let text =
        read(path).map_err(|error| Failure::new(Exit::Disk, format!("cannot read {}: {error}", path.display())))?;
    with_text(typed, path, &text)
}

/// The same where this is what stands in the file at `path`.
pub(super) fn with_text(typed: &[OsString], path: &Path, text: &str) -> Result<TrackerArguments, Failure> {
    let wrong = |problem: String| Failure::new(Exit::Usage, format!("{}: {problem}", path.display()));
    let table: Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string().trim_end().to_owned()))?;

    let mut definition = Arguments::command();
    definition.build();
    let options = definition.find_subcommand(NAME).map(|tracker| tracker.get_arguments().collect::<Vec<_>>());
    let mut options = options.unwrap_or_default();
    options.retain(|option| option.get_long().is_some_and(|name| !NOT_IN_A_FILE.contains(&name)));
    let given = Arguments::command().try_get_matches_from(typed).map_err(|error| Failure::new(Exit::Usage, error))?;
    let given = given.subcommand_matches(NAME);
    let mut from_file: Vec<OsString> = Vec::new();
    for (key, value) in &table {
        let option = options.iter().find(|option| option.get_long() == Some(key.as_str()));
        let option =
            option.ok_or_else(|| wrong(unknown(key, options.iter().filter_map(|option| option.get_long()))))?;
        let typed = given.and_then(|given| given.value_source(option.get_id().as_str()));
        if typed != Some(ValueSource::CommandLine) {
            from_file.extend(as_typed(key, value).map_err(wrong)?.into_iter().map(OsString::from));
        }
    }

    let place = typed.iter().position(|word| word == NAME).map_or(typed.len(), |place| place + 1);
    let (before, behind) = typed.split_at(place);
    let all = before.iter().chain(&from_file).chain(behind);
    let matches = Arguments::command().try_get_matches_from(all).map_err(|error| wrong(plain(&error)))?;
    match Arguments::from_arg_matches(&matches).map_err(|error| wrong(plain(&error)))?.command {
        Command::Tracker(arguments) => Ok(*arguments),
        _ => Err(wrong("is read by 'swarm tracker' only".to_owned())),
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(std::io::Error::other("it is longer than 1 MiB"));
    }
    Ok(text)
}

/// The words that somebody would have typed.
fn as_typed(key: &str, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Boolean(true) => Ok(vec![format!("--{key}")]),
        Value::Boolean(false) => Ok(Vec::new()),
        Value::Array(values) => {
            let words: Result<Vec<_>, _> = values.iter().map(|value| as_typed(key, value)).collect();
            Ok(words?.into_iter().flatten().collect())
        }
        // None has a use for one, and in a file's name it would tear the line that says what is wrong.
        Value::String(text) if text.contains(char::is_control) => {
            Err(format!("'{key}' must be a text without control characters, such as ends of lines"))
        }
        Value::String(text) => Ok(vec![format!("--{key}={text}")]),
        Value::Integer(number) => Ok(vec![format!("--{key}={number}")]),
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => {
            Err(format!("'{key}' must be a text, a whole number, true or false, or a list of these"))
        }
    }
}

fn unknown<'o>(key: &str, known: impl Iterator<Item = &'o str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    format!("there is no option '{key}'; the options are {}", known.join(", "))
}

/// What is wrong, without the advice on how to type.
fn plain(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(typed: &str, text: &str) -> Result<TrackerArguments, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tracker.toml");
        std::fs::write(&path, text).unwrap();
        let typed = typed.split(' ').map(OsString::from).chain(["--config".into(), path.clone().into()]);
        let parsed = with_file(&typed.collect::<Vec<_>>(), &path);
        parsed.map_err(|failure| failure.error.to_string().replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn a_file_says_what_could_be_typed() {
        let text = "http = ['127.0.0.1:1', '[::1]:1']\nudp = ':2'\nmax-peers = 7\ninterval = '30m'\nlog-json = true\n";
        let arguments = parse("swarm -v tracker", text).unwrap();
        assert_eq!(arguments.http, ["127.0.0.1:1".parse().unwrap(), "[::1]:1".parse().unwrap()]);
        assert_eq!(arguments.udp.len(), 1);
        assert_eq!(arguments.service.max_peers, Some(7));
        assert_eq!(arguments.service.interval.map(|interval| interval.as_secs()), Some(1_800));
        assert!(arguments.service.log_json);
        assert!(!parse("swarm tracker", "http = ':1'\nlog-json = false").unwrap().service.log_json);
    }

    #[test]
    fn what_was_typed_counts_more() {
        let arguments = parse("swarm tracker --http 127.0.0.1:9 --max-peers 8", "http = [':1', ':2']\nmax-peers = 7");
        let arguments = arguments.unwrap();
        assert_eq!(arguments.http, ["127.0.0.1:9".parse().unwrap()]);
        assert_eq!(arguments.service.max_peers, Some(8));
    }

    #[test]
    fn a_fault_is_named_with_its_place() {
        for (text, problem) in [
            ("htpp = ':1'", "FILE: there is no option 'htpp'; the options are "),
            ("config = 'x'", "FILE: there is no option 'config'"),
            ("help = true", "FILE: there is no option 'help'"),
            ("http = 'x'", "FILE: invalid value 'x' for '--http"),
            ("max-peers = -1", "FILE: invalid value '-1' for '--max-peers"),
            ("max-peers = 1.5", "FILE: 'max-peers' must be a text, a whole number"),
            ("max-peers = \"7\\n\"", "FILE: 'max-peers' must be a text without control characters"),
            ("[http]\nlisten = 1", "FILE: 'http' must be a text"),
            ("http = ", "FILE: TOML parse error at line 1, column"),
            ("max-peers = [1, 2]", "FILE: the argument '--max-peers <N>' cannot be used multiple times"),
        ] {
            let found = parse("swarm tracker", text).map(|_| ()).unwrap_err();
            assert!(found.starts_with(problem), "{text}: {found}");
        }
    }
}
