//! Whether files that are read again later can be, by whoever we have become meanwhile.
//!
//! Lists and certificates are often for root alone, and root is what `--user` gives up. That shows at the first SIGHUP, months
//! after the start, so it is told at once.

use super::asked_for;
use crate::args::tracker::TrackerArguments;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A file that is read at SIGHUP, and its option.
type Reread<'a> = (&'static str, &'a Path);

/// The files that SIGHUP has read again.
pub(super) fn read_again(arguments: &TrackerArguments) -> Vec<Reread<'_>> {
    let (_, service) = asked_for(arguments);
    let files = [
        ("config", &arguments.config),
        ("allow", &service.allow),
        ("deny", &service.deny),
        ("keys", &service.keys),
        ("tls-cert", &arguments.tls.tls_cert),
        ("tls-key", &arguments.tls.tls_key),
    ];
    files.into_iter().filter_map(|(option, path)| Some((option, path.as_deref()?))).collect()
}

/// Those of them that cannot be read now, and why.
pub(super) fn unreadable<'a>(files: &[Reread<'a>]) -> Vec<(Reread<'a>, io::Error)> {
    let read = |path: &Path| File::open(path).and_then(|mut file| file.read(&mut [0]));
    files.iter().filter_map(|&file| Some((file, read(file.1).err()?))).collect()
}

/// Warns of each file that this user cannot read again.
pub(super) fn warn(user: &str, arguments: &TrackerArguments) {
    for ((option, path), error) in unreadable(&read_again(arguments)) {
        tracing::warn!(
            option,
            file = %path.display(),
            user,
            %error,
            "this user cannot read the file again: SIGHUP will leave it as it is now; let the user read it, and enter its folders"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Arguments, Command};
    use clap::Parser;

    #[test]
    fn what_cannot_be_read_is_named_with_its_option() {
        let folder = tempfile::tempdir().unwrap();
        let (there, gone) = (folder.path().join("there"), folder.path().join("gone"));
        std::fs::write(&there, "").unwrap();
        // Root may read any file, so no mode keeps one from whoever runs this.
        let files = [("allow", &*there), ("deny", &*gone), ("keys", folder.path())];
        let found = unreadable(&files);
        let named: Vec<_> = found.iter().map(|((option, path), error)| (*option, *path, error.kind())).collect();
        let expected =
            [("deny", &*gone, io::ErrorKind::NotFound), ("keys", folder.path(), io::ErrorKind::IsADirectory)];
        assert_eq!(named, expected);
    }

    #[test]
    fn every_file_of_sighup_is_looked_at() {
        let line = "swarm tracker --config c --allow a --deny d --keys k --tls :1 --tls-cert e --tls-key f --udp-key u";
        let Command::Tracker(arguments) = Arguments::parse_from(line.split(' ')).command else { panic!() };
        let named: Vec<_> =
            read_again(&arguments).iter().map(|(option, path)| format!("{option}={}", path.display())).collect();
        assert_eq!(named, ["config=c", "allow=a", "deny=d", "keys=k", "tls-cert=e", "tls-key=f"]);
        let line = "swarm tracker native --listen :1 --keys k";
        let Command::Tracker(arguments) = Arguments::parse_from(line.split(' ')).command else { panic!() };
        assert_eq!(read_again(&arguments), [("keys", Path::new("k"))]);
    }
}
