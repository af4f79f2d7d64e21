//! What a terminal can show, and how large its cells are.
//!
//! It is not asked: its answer would come among the keys, may come late or never, and what was typed meanwhile would have
//! to be put back. Terminals say who they are in variables; where that is not enough, the user says it (`--pictures`).

use clap::ValueEnum;

/// What is shown if nobody says anything: as small as cells get, so that nothing is painted beyond its place.
const SMALL: Cell = Cell { width: 5, height: 10 };

/// A usual cell, for terminals that scale pictures to cells themselves.
const USUAL: Cell = Cell { width: 8, height: 16 };

/// Pixels of a cell beyond which a terminal is not believed.
const LARGEST: u16 = 200;

/// The first Konsole that shows pictures as kitty does.
const KONSOLE: u32 = 220_400;

/// A way in which terminals take pictures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Graphics {
    /// PNG in kitty's graphics protocol.
    Kitty,
    /// PNG in iTerm2's inline images.
    Iterm2,
    /// DEC's six pixels a character.
    Sixel,
}

/// The one picture of ours that a terminal with kitty's protocol knows.
pub(super) const KITTY: u32 = 7_081;

impl Graphics {
    /// What takes the picture off the screen, where clearing that does not do it.
    pub(crate) fn farewell(self) -> String {
        match self {
            Self::Kitty => format!("\x1b_Ga=d,d=I,i={KITTY},q=2\x1b\\"),
            Self::Iterm2 | Self::Sixel => String::new(),
        }
    }
}

/// How pictures are shown, as the user wants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Wanted {
    /// As the terminal is known to take them; inside tmux, screen and Zellij not at all.
    #[default]
    Auto,
    /// In kitty's graphics protocol: kitty, Ghostty, Konsole.
    Kitty,
    /// As iTerm2's inline images: iTerm2, WezTerm.
    Iterm2,
    /// As Sixel: foot, mlterm, contour, xterm -ti vt340.
    Sixel,
    /// Only named.
    Never,
}

impl Wanted {
    /// How to show pictures, `variable` giving the environment.
    pub(crate) fn graphics(self, variable: impl Fn(&str) -> Option<String>) -> Option<Graphics> {
        match self {
            Self::Auto => known(|name| variable(name).unwrap_or_default()),
            Self::Kitty => Some(Graphics::Kitty),
            Self::Iterm2 => Some(Graphics::Iterm2),
            Self::Sixel => Some(Graphics::Sixel),
            Self::Never => None,
        }
    }
}

/// What the terminal takes, by what it says of itself.
fn known(variable: impl Fn(&str) -> String) -> Option<Graphics> {
    let (term, program) = (variable("TERM"), variable("TERM_PROGRAM"));
    // What stands between us and the terminal passes no pictures on, but the variables of the terminal.
    let between = ["TMUX", "STY", "ZELLIJ"].iter().any(|name| !variable(name).is_empty());
    if between || ["screen", "tmux"].iter().any(|name| term.starts_with(name)) {
        return None;
    }
    let (family, _) = term.split_once('-').unwrap_or((&term, ""));
    match (family, term.as_str(), program.as_str()) {
        (_, "xterm-kitty" | "xterm-ghostty", _) | (_, _, "ghostty") => Some(Graphics::Kitty),
        (_, _, "iTerm.app" | "WezTerm" | "rio") => Some(Graphics::Iterm2),
        ("foot" | "mlterm" | "contour" | "yaft", ..) | (_, _, "mintty" | "contour") => Some(Graphics::Sixel),
        _ if term.ends_with("-sixel") => Some(Graphics::Sixel),
        _ if variable("KONSOLE_VERSION").parse().is_ok_and(|version: u32| version >= KONSOLE) => Some(Graphics::Kitty),
        _ if !variable("KITTY_WINDOW_ID").is_empty() => Some(Graphics::Kitty),
        // It alone goes through ssh.
        _ if variable("LC_TERMINAL") == "iTerm2" => Some(Graphics::Iterm2),
        _ => None,
    }
}

/// Pixels of a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cell {
    pub(crate) width: u16,
    pub(crate) height: u16,
}

impl Cell {
    /// From cells and pixels of a terminal, of which the latter are 0 where they are not known.
    pub(crate) fn of(cells: (u16, u16), pixels: (u16, u16), graphics: Graphics) -> Self {
        let side = |cells: u16, pixels: u16| pixels.checked_div(cells).filter(|pixels| (1..=LARGEST).contains(pixels));
        match (side(cells.0, pixels.0), side(cells.1, pixels.1)) {
            (Some(width), Some(height)) => Self { width, height },
            _ if graphics == Graphics::Sixel => SMALL,
            _ => USUAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Option<Graphics> {
        let value =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Wanted::Auto.graphics(value)
    }

    #[test]
    fn terminals_by_what_they_say_of_themselves() {
        use Graphics::{Iterm2, Kitty, Sixel};
        for (variables, expected) in [
            (&[("TERM", "xterm-kitty"), ("KITTY_WINDOW_ID", "1")][..], Some(Kitty)),
            (&[("TERM", "xterm-ghostty"), ("TERM_PROGRAM", "ghostty")], Some(Kitty)),
            (&[("TERM", "xterm-256color"), ("KITTY_WINDOW_ID", "3")], Some(Kitty)),
            (&[("TERM", "xterm-256color"), ("KONSOLE_VERSION", "221203")], Some(Kitty)),
            (&[("TERM", "xterm-256color"), ("KONSOLE_VERSION", "211203")], None),
            (&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "iTerm.app")], Some(Iterm2)),
            (&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "WezTerm")], Some(Iterm2)),
            (&[("TERM", "xterm-256color"), ("LC_TERMINAL", "iTerm2")], Some(Iterm2)),
            (&[("TERM", "foot")], Some(Sixel)),
            (&[("TERM", "foot-extra")], Some(Sixel)),
            (&[("TERM", "mlterm-256color")], Some(Sixel)),
            (&[("TERM", "footless")], None),
            (&[("TERM", "xterm-256color")], None),
            (&[("TERM", "dumb")], None),
            (&[], None),
            // Variables of the terminal outside come through, its pictures do not.
            (&[("TERM", "tmux-256color"), ("KITTY_WINDOW_ID", "1"), ("TMUX", "/tmp/s,1,0")], None),
            (&[("TERM", "screen-256color"), ("LC_TERMINAL", "iTerm2")], None),
            (&[("TERM", "xterm-kitty"), ("ZELLIJ", "0")], None),
            (&[("TERM", "foot"), ("STY", "1.pts")], None),
        ] {
            assert_eq!(found(variables), expected, "{variables:?}");
        }
        assert_eq!(Wanted::Sixel.graphics(|_| Some("tmux".to_owned())), Some(Sixel));
        assert_eq!(Wanted::Never.graphics(|_| Some("xterm-kitty".to_owned())), None);
    }

    #[test]
    fn cells_are_never_taken_for_larger_than_they_are() {
        let of = |pixels, graphics| Cell::of((80, 24), pixels, graphics);
        assert_eq!(of((800, 480), Graphics::Sixel), Cell { width: 10, height: 20 });
        assert_eq!(of((0, 0), Graphics::Sixel), SMALL);
        assert_eq!(of((65_535, 65_535), Graphics::Sixel), SMALL);
        assert_eq!(of((800, 0), Graphics::Kitty), USUAL);
        assert_eq!(Cell::of((0, 0), (800, 480), Graphics::Kitty), USUAL);
    }
}
