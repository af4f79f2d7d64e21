//! Which paths mean an announce or a scrape, with a key in them or without.

use swarm_tracker_core::passkey_of;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    Announce,
    Scrape,
}

/// What a path asks for, and the key in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asked<'p> {
    pub(crate) target: Target,
    pub(crate) passkey: Option<&'p [u8]>,
}

/// What these paths mean: `/announce`, `/KEY/announce` or `/announce/KEY`, and the same with `scrape`.
pub(crate) fn asked(path: &[u8]) -> Option<Asked<'_>> {
    match path {
        b"/announce" => Some(Asked { target: Target::Announce, passkey: None }),
        b"/scrape" => Some(Asked { target: Target::Scrape, passkey: None }),
        _ => {
            let key = passkey_of(path)?;
            let announce = path.starts_with(b"/announce/") || path.ends_with(b"/announce");
            Some(Asked { target: if announce { Target::Announce } else { Target::Scrape }, passkey: Some(key) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_on_either_side() {
        let key = Some(b"k-1".as_slice());
        for (path, expected) in [
            ("/announce", Some((Target::Announce, None))),
            ("/scrape", Some((Target::Scrape, None))),
            ("/k-1/announce", Some((Target::Announce, key))),
            ("/announce/k-1", Some((Target::Announce, key))),
            ("/k-1/scrape", Some((Target::Scrape, key))),
            ("/scrape/k-1", Some((Target::Scrape, key))),
            ("/", None),
            ("/k-1", None),
            ("/announce/", None),
            ("//announce", None),
            ("/a/b/announce", None),
            ("/announce/scrape", None),
            ("announce", None),
        ] {
            let found = asked(path.as_bytes()).map(|asked| (asked.target, asked.passkey));
            assert_eq!(found, expected, "{path}");
        }
    }
}
