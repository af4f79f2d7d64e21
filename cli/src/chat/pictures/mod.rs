//! Pictures that were handed over: all are named, with kind, dimensions and size; a terminal that can shows them.
//!
//! Here is what the user sees of them: the list, and the one that is being looked at ([`Album`]), without a terminal, a
//! file or a decoder. [`viewer`] reads and paints on a thread of its own, [`decode`] stands between us and the bytes of
//! strangers, [`encode`] makes what terminals understand, [`terminal`] knows which of them do. Only what the user has
//! accepted, or offers, is ever read.

#![cfg_attr(not(feature = "pictures"), allow(dead_code, reason = "nothing is read or painted without decoders"))]

#[cfg(feature = "pictures")]
mod decode;
#[cfg(feature = "pictures")]
mod encode;
#[cfg(not(feature = "pictures"))]
mod none;
pub(crate) mod terminal;
pub(crate) mod viewer;

#[cfg(not(feature = "pictures"))]
use none::{Thumbnail, facts, paint, thumbnail};
#[cfg(feature = "pictures")]
use {
    decode::{Thumbnail, facts, thumbnail},
    encode::paint,
};

#[cfg(feature = "pictures")]
pub(crate) use decode::{Bounds, SMALL};

use crate::render::text::bytes;
use ratatui::layout::{Position, Rect};
use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use terminal::{Cell, Graphics};

/// Pictures that can be looked at; the oldest give way.
const KEPT: usize = 100;

/// Endings of names that pictures have.
const ENDINGS: [&str; 5] = ["png", "jpg", "jpeg", "gif", "webp"];

/// What can be told of a picture without looking at it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    /// `PNG`, by its content.
    pub(crate) format: &'static str,
    /// Pixels, as it is meant to be seen.
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) bytes: u64,
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} x {}, {}", self.format, self.width, self.height, bytes(self.bytes))
    }
}

/// Why a picture is not shown. Never in the words of a decoder, which may be those of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wrong {
    /// The file is gone, not ours to read, or no file.
    Unreadable,
    /// More bytes than are read for a picture.
    TooLong,
    /// Of no kind that is known here, whatever it is called.
    Unknown,
    /// More pixels, or more memory, than are spent on a picture.
    TooLarge,
    /// Not as its kind has to be.
    Broken,
    /// The decoder fell over it.
    Crashed,
    /// It is still not read after a long time.
    TooSlow,
    /// This program was built without decoders.
    NotBuilt,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "the file cannot be read",
            Self::TooLong => "the file is too long for a picture",
            Self::Unknown => "it is no PNG, JPEG, GIF or WebP",
            Self::TooLarge => "it has too many pixels",
            Self::Broken => "it is broken",
            Self::Crashed => "reading it went wrong",
            Self::TooSlow => "reading it takes too long",
            Self::NotBuilt => "this program was built without pictures",
        })
    }
}

/// A picture that is here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Picture {
    /// As the user sees it; never given twice.
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) facts: Facts,
}

/// A file that is called like a picture, and what it is.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) facts: Result<Facts, Wrong>,
}

/// A picture to be painted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Job {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    /// Cells that it may cover.
    pub(crate) room: (u16, u16),
    pub(crate) cell: Cell,
    pub(crate) graphics: Graphics,
}

/// A painted picture: what the terminal is sent, with the cursor where the picture begins.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Art {
    pub(crate) number: u32,
    pub(crate) graphics: Graphics,
    /// Cells that it was made for; it covers no others.
    pub(crate) room: (u16, u16),
    pub(crate) bytes: Vec<u8>,
}

/// The picture that is being looked at.
#[derive(Debug)]
struct View {
    picture: Picture,
    /// The first line that came since.
    since: u64,
    /// Where it goes, as last drawn.
    place: Rect,
    art: Option<Arc<Art>>,
    wrong: Option<Wrong>,
}

/// What becomes of the bytes of a picture, as a fuzzer looks at it: the size that is told, the one that is kept, and what a
/// terminal of each kind would be sent.
#[cfg(feature = "pictures")]
pub(crate) fn shown(bytes: &[u8], bounds: Bounds, room: (u16, u16), cell: (u16, u16)) -> Option<Shown> {
    let small = decode::decode(bytes, bounds).ok()?;
    let cell = Cell { width: cell.0, height: cell.1 };
    let sent = [Graphics::Kitty, Graphics::Iterm2, Graphics::Sixel].map(|graphics| {
        let job = Job { number: 1, path: PathBuf::new(), room, cell, graphics };
        paint(&small, &job).ok().map(|art| art.bytes)
    });
    Some(Shown { size: small.size, kept: small.pixels.dimensions(), sent })
}

/// See [`shown`].
#[cfg(feature = "pictures")]
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) size: (u32, u32),
    pub(crate) kept: (u32, u32),
    pub(crate) sent: [Option<Vec<u8>>; 3],
}

/// The pictures of a room, and the one that is being looked at.
#[derive(Debug, Default)]
pub(crate) struct Album {
    /// How the terminal takes pictures, if it does.
    pub(crate) graphics: Option<Graphics>,
    pictures: VecDeque<Picture>,
    last: u32,
    view: Option<View>,
}

impl Album {
    /// Adds a picture; returns what the user is told of it.
    pub(crate) fn add(&mut self, found: Found) -> String {
        let Found { name, path, facts } = found;
        let facts = match facts {
            Ok(facts) => facts,
            Err(wrong) => return format!("{name} cannot be shown: {wrong}"),
        };
        self.last += 1;
        if self.pictures.len() == KEPT {
            self.pictures.pop_front();
        }
        let (number, told) = (self.last, format!("picture {}: {name} ({facts})", self.last));
        self.pictures.push_back(Picture { number, name, path, facts });
        if self.graphics.is_some() { format!("{told}; /view {number} shows it") } else { told }
    }

    /// Opens a picture, without a number the newest. `since` is the number of the next line of the room.
    pub(crate) fn open(&mut self, number: Option<u32>, since: u64) -> Result<(), String> {
        let found = match number {
            None => self.pictures.back(),
            Some(number) => self.pictures.iter().find(|picture| picture.number == number),
        };
        let picture = found.ok_or_else(|| match number {
            None if cfg!(feature = "pictures") => "nobody has handed a picture over yet".to_owned(),
            None => Wrong::NotBuilt.to_string(),
            Some(number) => format!("there is no picture {number}"),
        })?;
        if self.graphics.is_none() {
            let Picture { name, path, facts, .. } = picture;
            let hint = "no pictures are shown here; --pictures says what a terminal can";
            return Err(format!("{name} ({facts}) is {}: {hint}", path.display()));
        }
        let picture = picture.clone();
        self.view = Some(View { picture, since, place: Rect::ZERO, art: None, wrong: None });
        Ok(())
    }

    /// Back to the messages; whether a picture was open.
    pub(crate) fn close(&mut self) -> bool {
        self.view.take().is_some()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.view.is_some()
    }

    /// The line above the picture.
    pub(crate) fn caption(&self) -> String {
        self.view.as_ref().map_or_else(String::new, |View { picture, .. }| {
            format!("picture {}: {} ({})", picture.number, picture.name, picture.facts)
        })
    }

    /// The words in place of a picture that is not there yet, or will never be.
    pub(crate) fn instead(&self) -> String {
        match self.view.as_ref() {
            Some(View { wrong: Some(wrong), .. }) => format!("it cannot be shown: {wrong}"),
            Some(view) if view.place.is_empty() => String::new(),
            Some(_) if self.to_paint().is_none() => "…".to_owned(),
            _ => String::new(),
        }
    }

    /// What stands in the line below, `next` being the number of the next line of the room.
    pub(crate) fn status(&self, next: u64) -> Option<String> {
        let view = self.view.as_ref()?;
        Some(match next.saturating_sub(view.since) {
            0 => "Esc closes the picture".to_owned(),
            lines => format!("{lines} new behind the picture: Esc closes it"),
        })
    }

    /// The picture goes there, if one is open.
    pub(crate) fn set_place(&mut self, place: Rect) {
        if let Some(view) = &mut self.view {
            view.place = place;
        }
    }

    /// What is to be on the screen now, and where.
    pub(crate) fn to_paint(&self) -> Option<(Arc<Art>, Position)> {
        let view = self.view.as_ref()?;
        let art = view.art.as_ref().filter(|art| art.room == (view.place.width, view.place.height))?;
        Some((Arc::clone(art), view.place.as_position()))
    }

    /// What has to be painted for that, on cells of this size.
    pub(crate) fn wanted(&self, cell: Cell) -> Option<Job> {
        let view = self.view.as_ref().filter(|view| view.wrong.is_none() && !view.place.is_empty())?;
        if self.to_paint().is_some() {
            return None;
        }
        let room = (view.place.width, view.place.height);
        let (number, path) = (view.picture.number, view.picture.path.clone());
        Some(Job { number, path, room, cell, graphics: self.graphics? })
    }

    /// Picture `number` was painted, or will never be.
    pub(crate) fn painted(&mut self, number: u32, art: Result<Arc<Art>, Wrong>) {
        let Some(view) = self.view.as_mut().filter(|view| view.picture.number == number) else { return };
        match art {
            Ok(art) => view.art = Some(art),
            Err(wrong) => view.wrong = Some(wrong),
        }
    }

    /// Nothing comes of what is being waited for.
    pub(crate) fn give_up(&mut self, wrong: Wrong) {
        if self.to_paint().is_none()
            && let Some(view) = &mut self.view
        {
            view.wrong.get_or_insert(wrong);
        }
    }
}

/// Whether a file is called like a picture that can be read here.
pub(crate) fn is_called_so(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    cfg!(feature = "pictures")
        && ending.is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str) -> Found {
        let facts = Ok(Facts { format: "PNG", width: 640, height: 480, bytes: 12_345 });
        Found { name: name.to_owned(), path: PathBuf::from("/tmp").join(name), facts }
    }

    fn art(number: u32, room: (u16, u16)) -> Arc<Art> {
        Arc::new(Art { number, graphics: Graphics::Sixel, room, bytes: Vec::new() })
    }

    #[test]
    fn pictures_are_named_and_numbered_once() {
        let mut album = Album::default();
        assert_eq!(album.add(found("a.png")), "picture 1: a.png (PNG, 640 x 480, 12.1 KiB)");
        let hint = album.open(Some(1), 0).unwrap_err();
        assert!(hint.contains("/tmp/a.png") && hint.contains("--pictures"), "{hint}");
        album.graphics = Some(Graphics::Kitty);
        let wrong = Found { facts: Err(Wrong::TooLarge), ..found("bomb.png") };
        assert_eq!(album.add(wrong), "bomb.png cannot be shown: it has too many pixels");
        assert!(album.add(found("b.png")).ends_with("; /view 2 shows it"));
        (0..KEPT).for_each(|_| drop(album.add(found("c.png"))));
        assert!(album.open(Some(2), 0).unwrap_err().contains("no picture 2"));
        album.open(Some(102), 0).unwrap();
        assert_eq!(album.pictures.len(), KEPT);
    }

    #[test]
    fn a_view_asks_for_what_fits_its_place_and_no_other() {
        let mut album = Album { graphics: Some(Graphics::Sixel), ..Album::default() };
        assert!(album.open(None, 0).is_err() && !album.close());
        album.add(found("a.png"));
        album.add(found("b.png"));
        album.open(None, 7).unwrap();
        let cell = Cell { width: 8, height: 16 };
        assert_eq!(album.wanted(cell), None, "it was not drawn yet");
        album.set_place(Rect::new(0, 2, 40, 10));
        assert_eq!(album.wanted(cell).map(|job| (job.number, job.room)), Some((2, (40, 10))));
        assert_eq!(album.instead(), "…");
        album.painted(1, Ok(art(1, (40, 10))));
        assert!(album.to_paint().is_none(), "another one");
        album.painted(2, Ok(art(2, (40, 10))));
        assert_eq!(album.to_paint().unwrap().1, Position::new(0, 2));
        assert_eq!((album.wanted(cell), album.instead()), (None, String::new()));
        album.set_place(Rect::new(0, 2, 30, 10));
        assert!(album.to_paint().is_none(), "what was made for another size is never painted");
        assert_eq!(album.wanted(cell).unwrap().room, (30, 10));
        album.give_up(Wrong::TooSlow);
        assert_eq!(
            (album.wanted(cell), album.instead().as_str()),
            (None, "it cannot be shown: reading it takes too long")
        );
        assert_eq!(album.status(9).unwrap(), "2 new behind the picture: Esc closes it");
        assert!(album.close() && album.status(9).is_none());
        album.painted(2, Ok(art(2, (30, 10))));
        assert!(album.to_paint().is_none());
    }

    #[cfg(feature = "pictures")]
    #[test]
    fn names_of_pictures() {
        assert!(is_called_so(Path::new("a/b.PNG")) && is_called_so(Path::new("x.jpeg")));
        assert!(!is_called_so(Path::new("png")) && !is_called_so(Path::new("a.svg")) && !is_called_so(Path::new("")));
    }
}
