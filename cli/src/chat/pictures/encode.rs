//! From a small picture to what a terminal understands. Nothing that came from elsewhere is in it but pixels: the file
//! itself, its name and its remarks never reach the terminal.

use super::decode::Thumbnail;
use super::terminal::{Cell, Graphics, KITTY};
use super::{Art, Job, Wrong};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use icy_sixel::SixelImage;
use image::codecs::png::PngEncoder;
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, ImageEncoder, RgbaImage};

/// Bytes that a terminal is sent at most: the largest thumbnail in noise has less.
const LONGEST: usize = 8 << 20;

/// Characters of kitty's protocol in one go, as it asks for.
const CHUNK: usize = 4_096;

/// Rows of pixels that Sixel writes at once.
const BAND: u32 = 6;

/// Where a picture goes: pixels as the terminal counts them, and the cells that they touch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fit {
    pixels: (u32, u32),
    cells: (u32, u32),
}

/// Paints a picture into the room that there is, never larger than it is.
pub(super) fn paint(thumbnail: &Thumbnail, job: &Job) -> Result<Art, Wrong> {
    let fit = fit(thumbnail.size, job.room, job.cell).ok_or(Wrong::TooLarge)?;
    let bytes = match job.graphics {
        Graphics::Kitty => kitty(&png(&on_cells(thumbnail, fit, job.cell))?, fit.cells),
        Graphics::Iterm2 => iterm2(&png(&on_cells(thumbnail, fit, job.cell))?, fit.cells),
        Graphics::Sixel => sixel(&scaled(thumbnail, fit.pixels))?,
    };
    let (number, graphics, room) = (job.number, job.graphics, job.room);
    if bytes.len() > LONGEST { Err(Wrong::TooLarge) } else { Ok(Art { number, graphics, room, bytes }) }
}

/// `None` where there is no room at all.
fn fit((width, height): (u32, u32), room: (u16, u16), cell: Cell) -> Option<Fit> {
    let (cell_width, cell_height) = (u32::from(cell.width), u32::from(cell.height));
    // A whole number of bands, or the last of them would reach into the row below.
    let wide = u32::from(room.0) * cell_width;
    let high = u32::from(room.1) * cell_height / BAND * BAND;
    if wide == 0 || high == 0 || width == 0 || height == 0 {
        return None;
    }
    let share = |side: u32, room: u32, other: u32| {
        u32::try_from((u64::from(side) * u64::from(room) / u64::from(other)).max(1)).unwrap_or(u32::MAX)
    };
    let pixels = match (
        width <= wide && height <= high,
        u64::from(width) * u64::from(high) > u64::from(height) * u64::from(wide),
    ) {
        (true, _) => (width, height),
        (false, true) => (wide, share(height, wide, width).min(high)),
        (false, false) => (share(width, high, height).min(wide), high),
    };
    Some(Fit { pixels, cells: (pixels.0.div_ceil(cell_width), pixels.1.div_ceil(cell_height)) })
}

/// The picture with so many pixels, or with what there is of it if that is less.
fn scaled(thumbnail: &Thumbnail, (width, height): (u32, u32)) -> RgbaImage {
    let small = &thumbnail.pixels;
    if width >= small.width() && height >= small.height() {
        return small.clone();
    }
    imageops::resize(small, width.min(small.width()), height.min(small.height()), FilterType::Triangle)
}

/// The same with a transparent margin, for terminals that stretch a picture over its cells.
fn on_cells(thumbnail: &Thumbnail, fit: Fit, cell: Cell) -> RgbaImage {
    let image = scaled(thumbnail, fit.pixels);
    let side = |cells: u32, cell: u16, pixels: u32, image: u32| {
        let wide = u64::from(cells) * u64::from(cell) * u64::from(image) / u64::from(pixels.max(1));
        u32::try_from(wide).unwrap_or(image).max(image)
    };
    let width = side(fit.cells.0, cell.width, fit.pixels.0, image.width());
    let height = side(fit.cells.1, cell.height, fit.pixels.1, image.height());
    let mut canvas = RgbaImage::new(width, height);
    imageops::replace(&mut canvas, &image, 0, 0);
    canvas
}

fn png(image: &RgbaImage) -> Result<String, Wrong> {
    let mut bytes = Vec::new();
    let (width, height) = image.dimensions();
    PngEncoder::new(&mut bytes).write_image(image.as_raw(), width, height, ExtendedColorType::Rgba8)?;
    Ok(STANDARD.encode(bytes))
}

/// PNG (`f=100`) that is shown at once (`a=T`) over so many cells, without moving the cursor (`C=1`), and without an
/// answer (`q=2`), which would come as keys.
fn kitty(png: &str, (columns, rows): (u32, u32)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(png.len() + png.len() / 256 + 128);
    let mut head = format!("a=T,f=100,i={KITTY},c={columns},r={rows},C=1,q=2,");
    let mut left = png;
    loop {
        let (chunk, rest) = left.split_at_checked(CHUNK).unwrap_or((left, ""));
        let more = u8::from(!rest.is_empty());
        bytes.extend_from_slice(format!("\x1b_G{head}m={more};{chunk}\x1b\\").as_bytes());
        if rest.is_empty() {
            return bytes;
        }
        left = rest;
        head = "q=2,".to_owned();
    }
}

fn iterm2(png: &str, (columns, rows): (u32, u32)) -> Vec<u8> {
    let size = png.len() / 4 * 3 - png.bytes().rev().take_while(|byte| *byte == b'=').count();
    let head = format!("size={size};width={columns};height={rows};preserveAspectRatio=1;doNotMoveCursor=1");
    format!("\x1b]1337;File=inline=1;{head}:{png}\x07").into_bytes()
}

fn sixel(image: &RgbaImage) -> Result<Vec<u8>, Wrong> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let sixel = SixelImage::try_from_rgba(image.as_raw().clone(), width, height).and_then(|sixel| sixel.encode());
    Ok(sixel.map_err(|_| Wrong::Broken)?.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;
    use std::path::PathBuf;

    const CELL: Cell = Cell { width: 8, height: 16 };

    /// Left red, right blue.
    fn two_colours(width: u32, height: u32) -> Thumbnail {
        let colour = |x| if x < width / 2 { Rgba([255, 0, 0, 255]) } else { Rgba([0, 0, 255, 255]) };
        let pixels = RgbaImage::from_fn(width, height, |x, _| colour(x));
        Thumbnail { pixels, size: (width, height) }
    }

    fn painted(thumbnail: &Thumbnail, graphics: Graphics, room: (u16, u16)) -> String {
        let job = Job { number: 1, path: PathBuf::new(), room, cell: CELL, graphics };
        String::from_utf8(paint(thumbnail, &job).unwrap().bytes).unwrap()
    }

    /// The picture that kitty would show.
    fn as_kitty_reads(text: &str) -> RgbaImage {
        let mut base64 = String::new();
        let commands: Vec<&str> = text.split_terminator("\x1b\\").collect();
        for (index, command) in commands.iter().enumerate() {
            let (keys, data) = command.strip_prefix("\x1b_G").unwrap().split_once(';').unwrap();
            assert!(data.len() <= CHUNK && keys.contains("q=2"), "{keys}");
            assert_eq!(keys.ends_with("m=1"), index + 1 < commands.len());
            base64.push_str(data);
        }
        image::load_from_memory(&STANDARD.decode(base64).unwrap()).unwrap().into_rgba8()
    }

    #[test]
    fn pictures_fit_and_keep_their_shape() {
        let of = |size, room| fit(size, room, CELL).unwrap();
        assert_eq!(of((40, 30), (50, 20)), Fit { pixels: (40, 30), cells: (5, 2) });
        assert_eq!(of((4_000, 3_000), (50, 20)).pixels, (400, 300));
        assert_eq!(of((3_000, 4_000), (50, 20)).pixels, (238, 318), "53 whole bands");
        assert_eq!(of((40_000, 1), (50, 20)).pixels, (400, 1));
        assert_eq!(of((1, 40_000), (50, 20)).pixels, (1, 318));
        assert_eq!(fit((10, 10), (50, 0), CELL), None);
        for size in [(1, 1), (401, 319), (399, 321), (16_384, 16_384), (7, 16_000)] {
            for room in [(1, 1), (3, 40), (200, 2), (50, 20)] {
                let fit = of(size, room);
                assert!(fit.cells.0 <= room.0.into() && fit.cells.1 <= room.1.into(), "{size:?} {room:?} {fit:?}");
            }
        }
    }

    #[test]
    fn kitty_gets_its_own_png_in_chunks() {
        let text = painted(&two_colours(40, 30), Graphics::Kitty, (50, 20));
        assert!(text.starts_with("\x1b_Ga=T,f=100,i=7081,c=5,r=2,C=1,q=2,m=0;"), "{text:?}");
        let shown = as_kitty_reads(&text);
        assert_eq!(shown.dimensions(), (40, 32), "with a margin, up to the end of the cells");
        assert_eq!([shown[(3, 3)], shown[(36, 29)]], [Rgba([255, 0, 0, 255]), Rgba([0, 0, 255, 255])]);
        assert_eq!(shown[(3, 31)].0[3], 0);
        let noise = RgbaImage::from_fn(300, 300, |x, y| {
            Rgba((x * 7_919 + y * 104_729).wrapping_mul(2_654_435_761).to_le_bytes())
        });
        let text = painted(&Thumbnail { pixels: noise, size: (3_000, 3_000) }, Graphics::Kitty, (200, 60));
        assert!(text.matches("\x1b_G").count() > 10);
        assert_eq!(as_kitty_reads(&text).dimensions(), (300, 300), "kitty makes it larger itself");
    }

    #[test]
    fn iterm2_gets_the_number_of_bytes() {
        let text = painted(&two_colours(40, 30), Graphics::Iterm2, (50, 20));
        let (head, rest) = text.strip_prefix("\x1b]1337;File=inline=1;").unwrap().split_once(':').unwrap();
        let png = STANDARD.decode(rest.strip_suffix('\x07').unwrap()).unwrap();
        let expected = format!("size={};width=5;height=2;preserveAspectRatio=1;doNotMoveCursor=1", png.len());
        assert_eq!(head, expected);
        assert_eq!(image::load_from_memory(&png).unwrap().width(), 40);
    }

    #[test]
    fn sixel_shows_the_same_pixels() {
        let text = painted(&two_colours(40, 30), Graphics::Sixel, (50, 20));
        let shown = SixelImage::decode(text.as_bytes()).unwrap();
        assert_eq!((shown.width, shown.height), (40, 30));
        let pixel = |x: usize, y: usize| &shown.pixels[(y * 40 + x) * 4..][..3];
        assert!(pixel(3, 3)[0] > 200 && pixel(3, 3)[2] < 50 && pixel(36, 29)[2] > 200, "{:?}", pixel(36, 29));
        let large = SixelImage::decode(painted(&two_colours(1_000, 900), Graphics::Sixel, (20, 5)).as_bytes()).unwrap();
        assert!(large.width <= 160 && large.height <= 80, "{} x {}", large.width, large.height);
    }

    #[test]
    fn the_terminal_obeys_one_command_and_no_other() {
        for graphics in [Graphics::Kitty, Graphics::Iterm2, Graphics::Sixel] {
            let text = painted(&two_colours(64, 64), graphics, (30, 10));
            let escapes = text.matches('\x1b').count();
            let expected = match graphics {
                Graphics::Kitty => text.matches("\x1b_G").count() * 2,
                Graphics::Iterm2 => 1,
                Graphics::Sixel => 2,
            };
            assert_eq!(escapes, expected, "{graphics:?}");
            let controls = text.chars().filter(|c| c.is_control() && !matches!(c, '\x1b' | '\x07')).count();
            assert_eq!(controls, 0, "{graphics:?}");
        }
    }
}
