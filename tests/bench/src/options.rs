//! How the programs that load a tracker are told what to do: `PROGRAM ADDRESS:PORT [NAME=VALUE …]`.

use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::str::FromStr;

/// Where a value goes that was given as text.
pub trait Value {
    /// Reads the text.
    ///
    /// # Errors
    /// It is no such value.
    fn set(&mut self, text: &str) -> Result<()>;
}

impl<T: FromStr<Err: std::error::Error + Send + Sync + 'static>> Value for T {
    fn set(&mut self, text: &str) -> Result<()> {
        *self = text.parse()?;
        Ok(())
    }
}

/// The tracker that this program's command line names, and the words behind it.
///
/// # Errors
/// There is none, or it is no address; the first tells how `program` is called.
pub fn command_line(program: &str) -> Result<(SocketAddr, Vec<String>)> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (address, rest) = words.split_first().with_context(|| format!("{program} ADDRESS:PORT [NAME=VALUE …]"))?;
    Ok((address.parse()?, rest.to_vec()))
}

/// Puts each `NAME=VALUE` where its name says; of two with one name the last counts.
///
/// # Errors
/// A word without `=`, a name that is none of these, a value that cannot stand there.
pub fn read(words: &[String], options: &mut [(&str, &mut dyn Value)]) -> Result<()> {
    for word in words {
        let (name, value) = word.split_once('=').with_context(|| format!("{word}: not NAME=VALUE"))?;
        match options.iter_mut().find(|option| option.0 == name) {
            Some((_, place)) => place.set(value)?,
            None => bail!("{name}: no such option"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_go_where_their_names_say_or_are_refused() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (mut torrents, mut path) = (7_u32, String::from("/announce"));
        let mut read = |text: &str| {
            let options: &mut [(&str, &mut dyn Value)] = &mut [("torrents", &mut torrents), ("path", &mut path)];
            read(&words(text), options).map_err(|error| error.to_string())
        };
        assert_eq!(read(""), Ok(()));
        assert_eq!(read("path=/a=b torrents=8 torrents=9"), Ok(()));
        assert_eq!(read("torrents"), Err("torrents: not NAME=VALUE".into()));
        assert_eq!(read("torrent=1"), Err("torrent: no such option".into()));
        assert_eq!(read("torrents=-1"), Err("invalid digit found in string".into()));
        assert_eq!((torrents, path.as_str()), (9, "/a=b"));
    }
}
