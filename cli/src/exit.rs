//! How the process ends: one code for each kind of failure, and which error is of which kind.

use std::fmt;
use std::process::ExitCode;

/// The exit codes, as `--help` shows them.
pub(crate) const EXIT_CODES_HELP: &str = "\
Exit codes:
    0  done; also a seed, share, tracker or chat that was told to stop
    1  verification found missing or wrong data
    2  the command line is wrong
    3  a metainfo file is wrong or cannot be had
    4  the disk: not found, not allowed, full, in the way, in use by another process
    5  no peers within --give-up (if the disk kept anything from coming, 4), or nobody heard --say
    6  the network: an address in use, a tracker or catalogue that cannot be reached or says no
    7  anything else, a torrent that crashed among them
  130  interrupted before the work was done";

/// How the process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// All that was asked for is done.
    Done,
    /// Data on disk does not match its metainfo.
    Mismatch,
    /// What was typed makes no sense. Clap uses the same code.
    Usage,
    /// A metainfo file is wrong or cannot be had.
    Metainfo,
    /// The disk refuses.
    Disk,
    /// No peers within the time that the user set.
    NoPeers,
    /// A socket, a tracker or a catalogue refuses.
    Network,
    /// Anything else.
    Other,
    /// A signal came before the work was done.
    Interrupted,
}

impl Exit {
    /// The number for the operating system; [`EXIT_CODES_HELP`] lists them.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Mismatch => 1,
            Self::Usage => 2,
            Self::Metainfo => 3,
            Self::Disk => 4,
            Self::NoPeers => 5,
            Self::Network => 6,
            Self::Other => 7,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A failed command: what to print, and how to end.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// What to print; not yet safe for a terminal.
    pub(crate) error: anyhow::Error,
}

impl Failure {
    /// A failure that is explained by `message` alone.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, error: anyhow::Error::msg(message.to_string()) }
    }
}

/// Says how the process ends if this fails.
pub(crate) trait OrExit<T> {
    /// The error becomes a [`Failure`] of this kind.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;

    /// The same with a remark on what was being done.
    fn or_exit_while(self, exit: Exit, doing: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure { exit, error: error.into() })
    }

    fn or_exit_while(self, exit: Exit, doing: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure { exit, error: error.into().context(doing.to_string()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented_and_distinct() {
        use Exit::*;
        let all = [Done, Mismatch, Usage, Metainfo, Disk, NoPeers, Network, Other, Interrupted];
        let documented: Vec<u8> =
            EXIT_CODES_HELP.lines().filter_map(|line| line.trim().split_once("  ")?.0.parse().ok()).collect();
        assert_eq!(documented, all.map(Exit::code));
    }
}
