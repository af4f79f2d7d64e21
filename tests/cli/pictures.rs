//! Pictures that one hands to another, on terminals that show them and on those that do not. None of these terminals
//! ever answers a question.

use crate::chat::{Talker, room};
use crate::support::{Place, noise};
use crate::terminal::Glass;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use icy_sixel::SixelImage;
use image::{ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use std::io::Cursor;

/// Questions to a terminal: who it is, where its cursor is, how large it is, whether it knows pictures.
const QUESTIONS: [&str; 6] = ["\x1b[c", "\x1b[>c", "\x1b[6n", "\x1b[14t", "\x1b[16t", "a=q"];

/// Left red, right blue.
fn picture(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
    let colour = |x| if x < width / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) };
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_fn(width, height, |x, _| colour(x)).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn is_two_colours(pixels: &RgbaImage, width: u32, height: u32) {
    for y in [1, height - 2] {
        let [Rgba([left, _, dark, _]), Rgba([pale, _, right, _])] = [pixels[(2, y)], pixels[(width - 3, y)]];
        assert!(left > 240 && dark < 15 && pale < 15 && right > 240, "{left} {dark} {pale} {right}");
    }
}

/// Anna on a terminal, and Bo, who has just handed her a picture of 48 x 20.
struct Handed {
    anna: Place,
    bo_place: Place,
    bo: Talker,
    glass: Glass,
}

fn handed(how: &str, term: &str) -> Handed {
    let (anna, bo_place, mut bo, port) = room();
    bo_place.write("lake.png", &picture(ImageFormat::Png, 48, 20));
    let line = format!("chat den.meta --nick anna --listen 127.0.0.1:0 --peer 127.0.0.1:{port} --pictures {how}");
    let mut command = anna.swarm(&line);
    command.env("TERM", term);
    // Where these tests run says nothing of the terminal that they are.
    for name in ["TMUX", "STY", "ZELLIJ", "TERM_PROGRAM", "KITTY_WINDOW_ID", "KONSOLE_VERSION", "LC_TERMINAL"] {
        command.env_remove(name);
    }
    let mut glass = Glass::new(&command, 24, 100);
    // What is typed before anything is there is not lost.
    glass.press("early");
    bo.event("chat_joined", |event| event["person"]["name"] == "anna");
    glass.until("bo is there", |glass| has(glass, "● bo") && glass.rows()[23] == "> early");
    glass.press("\x15");
    bo.types("/send anna lake.png");
    glass.until("the offer", |glass| has(glass, "offers lake.png"));
    glass.press("/accept\r");
    glass.until("the name", |glass| has(glass, "picture 1: lake.png (PNG, 48 x 20, "));
    Handed { anna, bo_place, bo, glass }
}

fn has(glass: &Glass, text: &str) -> bool {
    glass.rows().iter().any(|row| row.contains(text))
}

fn painted(glass: &Glass) -> String {
    String::from_utf8_lossy(&glass.bytes).into_owned()
}

fn times(glass: &Glass, text: &str) -> usize {
    painted(glass).matches(text).count()
}

/// The end of a room whose terminal was asked nothing.
fn leave(mut glass: Glass) {
    glass.press("/quit\r");
    assert_eq!(glass.end(), Some(0));
    assert!(!glass.is_taken() && glass.is_usual());
    for question in QUESTIONS {
        assert!(!painted(&glass).contains(question), "{question:?}");
    }
}

/// The last picture that kitty was given.
fn as_kitty_shows(text: &str) -> RgbaImage {
    let (_, last) = text.rsplit_once("\x1b_Ga=T,f=100,").unwrap();
    let mut base64 = String::new();
    for command in last.split("\x1b_G") {
        let (keys, data) = command.split_once("\x1b\\").unwrap().0.split_once(';').unwrap();
        base64.push_str(data);
        if keys.ends_with("m=0") {
            break;
        }
    }
    image::load_from_memory(&STANDARD.decode(base64).unwrap()).unwrap().into_rgba8()
}

#[test]
fn a_picture_is_shown_by_kitty_while_people_talk() {
    let Handed { mut bo, mut glass, anna, bo_place: _place } = handed("auto", "xterm-kitty");
    assert_eq!(times(&glass, "\x1b_G"), 0, "nothing is shown unasked");
    assert!(has(&glass, "/view 1 shows it"));
    glass.press("/view\r");
    glass.until("the picture", |glass| painted(glass).contains("m=0;") && glass.rows()[23] == ">");
    // 48 x 20 on cells of 8 x 16, below the caption.
    glass.until("the end of the frame", |glass| painted(glass).ends_with("\x1b[?2026l"));
    assert!(painted(&glass).contains("\x1b7\x1b[3;1H\x1b_Ga=T,f=100,i=7081,c=6,r=2,C=1,q=2,m=0;"));
    is_two_colours(&as_kitty_shows(&painted(&glass)), 48, 20);
    assert!(glass.rows()[1].starts_with("picture 1: lake.png (PNG, 48 x 20, "), "{:?}", glass.rows());

    glass.press("half a line");
    bo.types("a word beside");
    glass.until("news", |glass| glass.rows()[22].contains("1 new behind the picture"));
    glass.until("the line", |glass| glass.rows()[23] == "> half a line" && glass.cursor() == (23, 13));
    assert!(!has(&glass, "a word beside"), "nothing is written over the picture");
    assert_eq!(times(&glass, "a=T"), 1, "and it is not painted again for what happens beside it");

    glass.resize(16, 70);
    glass.until("another size", |glass| times(glass, "a=T") > 1 && glass.rows()[15] == "> half a line");
    let before = times(&glass, "a=T");
    glass.press("\x0c");
    glass.until("all of it again", |glass| times(glass, "a=T") > before);
    is_two_colours(&as_kitty_shows(&painted(&glass)), 48, 20);
    glass.press("\x1b");
    glass.until("the messages", |glass| has(glass, "a word beside") && glass.rows()[15] == "> half a line");
    let shown = times(&glass, "a=T");
    glass.until("each was taken away", |glass| times(glass, "a=d,d=I,i=7081") == shown);

    // What lies in the folder may be another one by now, or none.
    glass.press("\x15/view 1\r");
    glass.until("once more", |glass| times(glass, "a=T") > shown);
    std::fs::write(anna.path("lake.png"), noise(1, 1_000)).unwrap();
    glass.press("\x1b");
    glass.until("the messages", |glass| has(glass, "a word beside"));
    glass.press("/view\r");
    glass.until("what went wrong", |glass| has(glass, "it cannot be shown: it is no PNG"));
    assert_eq!(glass.rows()[15], ">");
    leave(glass);
}

#[test]
fn a_picture_that_is_open_at_the_end_is_taken_away() {
    let Handed { mut glass, anna: _anna, bo_place: _place, bo: _bo } = handed("kitty", "xterm-256color");
    glass.press("/view\r");
    glass.until("the picture", |glass| times(glass, "a=T") == 1);
    glass.press("\x04");
    glass.until("its end", |glass| times(glass, "a=d,d=I,i=7081") == 1);
    assert_eq!(glass.end(), Some(0));
    assert!(!glass.is_taken() && glass.is_usual());
}

#[test]
fn a_picture_is_shown_in_sixel() {
    let Handed { mut glass, anna: _anna, bo_place: _place, bo: _bo } = handed("auto", "foot");
    glass.press("/view 1\r");
    glass.until("the picture", |glass| {
        painted(glass).split_once("\x1bP").is_some_and(|(_, rest)| rest.contains("\x1b\\"))
    });
    let text = painted(&glass);
    let (before, rest) = text.split_once("\x1bP").unwrap();
    assert!(before.ends_with("\x1b7\x1b[3;1H"), "{:?}", &before[before.len().saturating_sub(20)..]);
    let sixel = format!("\x1bP{}\x1b\\", rest.split_once("\x1b\\").unwrap().0);
    let shown = SixelImage::decode(sixel.as_bytes()).unwrap();
    let (width, height) = (u32::try_from(shown.width).unwrap(), u32::try_from(shown.height).unwrap());
    assert_eq!((width, height), (48, 24), "whole bands of six pixels");
    is_two_colours(&RgbaImage::from_raw(width, height, shown.pixels).unwrap(), 48, 20);
    let clear = times(&glass, "\x1b[2J");
    glass.press("\x1b");
    glass.until("the messages", |glass| has(glass, "/view 1 shows it"));
    glass.until("no more pixels", |glass| times(glass, "\x1b[2J") == clear + 1);
    leave(glass);
}

#[test]
fn a_picture_is_shown_inline() {
    let Handed { mut glass, anna: _anna, bo_place: _place, bo: _bo } = handed("iterm2", "xterm-256color");
    glass.press("/view\r");
    glass.until("the picture", |glass| painted(glass).contains('\x07'));
    let text = painted(&glass);
    let (_, rest) = text.split_once("\x1b]1337;File=inline=1;").unwrap();
    let (keys, base64) = rest.split_once('\x07').unwrap().0.split_once(':').unwrap();
    assert!(keys.contains("width=6;height=2;"), "{keys}");
    let shown = image::load_from_memory(&STANDARD.decode(base64).unwrap()).unwrap().into_rgba8();
    is_two_colours(&shown, 48, 20);
    leave(glass);
}

#[test]
fn where_no_pictures_are_shown_they_are_named() {
    // A multiplexer between us and a terminal that could.
    let Handed { bo_place, mut bo, mut glass, anna } = handed("auto", "tmux-256color");
    assert!(!has(&glass, "shows it"));
    glass.press("/view 1\r");
    glass.until("no", |glass| has(glass, "--pictures"));
    // Who names files does not name what is in them, nor what the terminal does.
    bo_place.write("album/a noise.png", &noise(1, 5_000));
    bo_place.write("album/bomb.gif", &{
        let mut bytes = picture(ImageFormat::Gif, 8, 8);
        bytes[6..10].fill(0xFF);
        bytes
    });
    bo_place.write("album/evil\x1b]0;title\x07.webp", &picture(ImageFormat::WebP, 31, 17));
    bo.types("/send anna album");
    glass.until("the offer", |glass| has(glass, "offers album"));
    glass.press("/accept\r");
    glass.until("all of them", |glass| has(glass, "(WebP, 31 x 17, "));
    assert!(has(&glass, "a noise.png cannot be shown: it is no PNG"), "{:?}", glass.rows());
    assert!(has(&glass, "bomb.gif cannot be shown: it has too many pixels"), "{:?}", glass.rows());
    // One of our own.
    anna.write("own.jpg", &picture(ImageFormat::Jpeg, 20, 90));
    glass.press("/send bo own.jpg\r");
    glass.until("ours", |glass| has(glass, "picture 3: own.jpg (JPEG, 20 x 90, "));
    for graphics in ["\x1b_G", "\x1bP", "\x1b]"] {
        assert_eq!(times(&glass, graphics), 0, "{graphics:?}");
    }
    leave(glass);
}

#[test]
fn in_lines_pictures_are_named_too() {
    let (anna, _bo_place, _bo, port) = room();
    anna.write("own.webp", &picture(ImageFormat::WebP, 20, 90));
    let line =
        format!("chat den.meta --plain --pictures kitty --nick anna --listen 127.0.0.1:0 --peer 127.0.0.1:{port}");
    let mut talker = Talker::new(&anna, &line);
    talker.until("bo (");
    talker.types("/send bo own.webp");
    assert!(talker.until("picture 1").contains("picture 1: own.webp (WebP, 20 x 90, "));
    talker.types("/view");
    assert!(talker.until("no pictures are shown here").contains("own.webp"));
    assert_eq!(talker.end(), Some(0));
}
