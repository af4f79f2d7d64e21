//! From the bytes of strangers to a small picture, within bounds that are checked before anything is decoded.
//!
//! Only the first frame is read, only of four kinds, and kinds go by content. Decoders may still panic or take long:
//! [`super::viewer`] sees to that.

use super::{Facts, Wrong};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbaImage};
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{Cursor, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes of a file: photographs have some 10 MiB, and it is read at once.
const FILE: u64 = 32 << 20;

/// Pixels of a side; what is longer is no photograph.
const SIDE: u32 = 16_384;

/// What is spent on one picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Pixels.
    pub(crate) pixels: u64,
    /// Bytes of the decoded picture, and of what a decoder keeps beside it as far as it counts that.
    pub(crate) decoded: u64,
}

/// A camera of 40 megapixels; a progressive JPEG of so many takes 360 MiB while it is decoded, 480 MiB with four colours,
/// and nothing takes more.
pub(crate) const BOUNDS: Bounds = Bounds { pixels: 40_000_000, decoded: 256 << 20 };

/// Pixels of a side of what is kept. A terminal window has hardly more to give to a picture.
pub(crate) const SMALL: u32 = 1_024;

/// A picture made small.
#[derive(Debug)]
pub(super) struct Thumbnail {
    /// At most [`SMALL`] in each direction.
    pub(super) pixels: RgbaImage,
    /// Width and height of the picture itself, as it is meant to be seen.
    pub(super) size: (u32, u32),
}

/// What can be told of a picture by its head.
pub(super) fn facts(path: &Path) -> Result<Facts, Wrong> {
    let bytes = read(path)?;
    let (format, mut decoder) = decoder(&bytes, BOUNDS)?;
    let (width, height) = turned(decoder.dimensions(), orientation(&mut decoder));
    Ok(Facts { format, width, height, bytes: bytes.len() as u64 })
}

/// Reads a picture and makes it small.
pub(super) fn thumbnail(path: &Path) -> Result<Thumbnail, Wrong> {
    decode(&read(path)?, BOUNDS)
}

/// Reads the bytes of a picture and makes it small.
pub(super) fn decode(bytes: &[u8], bounds: Bounds) -> Result<Thumbnail, Wrong> {
    let (_, mut decoder) = decoder(bytes, bounds)?;
    let orientation = orientation(&mut decoder);
    let size = turned(decoder.dimensions(), orientation);
    let mut image = DynamicImage::from_decoder(decoder)?;
    if image.width() > SMALL || image.height() > SMALL {
        image = image.thumbnail(SMALL, SMALL);
    }
    image.apply_orientation(orientation);
    Ok(Thumbnail { pixels: image.into_rgba8(), size })
}

/// The whole file, if it is one and not too long. What stands in its place, such as a pipe, keeps nobody waiting.
fn read(path: &Path) -> Result<Vec<u8>, Wrong> {
    let unreadable = |_| Wrong::Unreadable;
    let mut options = File::options();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Wrong::Unreadable);
    }
    let mut bytes = Vec::new();
    if metadata.len() <= FILE {
        file.take(FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    // It may have grown meanwhile.
    if metadata.len() > FILE || bytes.len() as u64 > FILE { Err(Wrong::TooLong) } else { Ok(bytes) }
}

/// The decoder for these bytes, which has read their head, and the name of their kind.
fn decoder(bytes: &[u8], bounds: Bounds) -> Result<(&'static str, impl ImageDecoder + '_), Wrong> {
    let format = image::guess_format(bytes).map_err(|_| Wrong::Unknown)?;
    let name = match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Gif => "GIF",
        ImageFormat::WebP => "WebP",
        _ => return Err(Wrong::Unknown),
    };
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(SIDE), Some(SIDE));
    limits.max_alloc = Some(bounds.decoded);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    match u64::from(width) * u64::from(height) {
        0 => Err(Wrong::Broken),
        pixels if pixels <= bounds.pixels && decoder.total_bytes() <= bounds.decoded => Ok((name, decoder)),
        _ => Err(Wrong::TooLarge),
    }
}

/// How the camera was held; without a word, upright.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

fn turned((width, height): (u32, u32), orientation: Orientation) -> (u32, u32) {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    match orientation {
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => (height, width),
        _ => (width, height),
    }
}

impl From<ImageError> for Wrong {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Limits(_) => Self::TooLarge,
            ImageError::Unsupported(_) => Self::Unknown,
            _ => Self::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ExtendedColorType, ImageEncoder};
    use proptest::prelude::*;

    /// A picture of each kind, with colours that run.
    fn samples() -> Vec<(ImageFormat, Vec<u8>)> {
        let picture = DynamicImage::from(image::RgbImage::from_fn(40, 30, |x, y| {
            image::Rgb([x * 6, y * 8, 200].map(|level| u8::try_from(level).unwrap()))
        }));
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP]
            .map(|format| {
                let mut bytes = Cursor::new(Vec::new());
                picture.write_to(&mut bytes, format).unwrap();
                (format, bytes.into_inner())
            })
            .to_vec()
    }

    fn sample(format: ImageFormat) -> Vec<u8> {
        samples().into_iter().find(|(kind, _)| *kind == format).unwrap().1
    }

    fn facts_of(bytes: &[u8]) -> Result<Facts, Wrong> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, bytes).unwrap();
        facts(&path)
    }

    /// CRC-32 as PNG has it, bit by bit.
    fn crc(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
    }

    /// The sample of this kind, but it claims to be so large.
    fn claims(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
        let mut bytes = sample(format);
        let short = |side: u32| u16::try_from(side).unwrap();
        match format {
            ImageFormat::Png => {
                bytes[16..20].copy_from_slice(&width.to_be_bytes());
                bytes[20..24].copy_from_slice(&height.to_be_bytes());
                let crc = crc(&bytes[12..29]);
                bytes[29..33].copy_from_slice(&crc.to_be_bytes());
            }
            ImageFormat::Jpeg => {
                let head = bytes.windows(2).position(|two| two == [0xFF, 0xC0]).unwrap();
                bytes[head + 5..head + 7].copy_from_slice(&short(height).to_be_bytes());
                bytes[head + 7..head + 9].copy_from_slice(&short(width).to_be_bytes());
            }
            ImageFormat::Gif => {
                bytes[6..8].copy_from_slice(&short(width).to_le_bytes());
                bytes[8..10].copy_from_slice(&short(height).to_le_bytes());
            }
            _ => {
                // 14 bits each, behind the signature byte.
                let packed = (width - 1) | (height - 1) << 14;
                bytes[21..25].copy_from_slice(&packed.to_le_bytes());
            }
        }
        bytes
    }

    #[test]
    fn pictures_are_known_by_their_content() {
        for (format, bytes) in samples() {
            let facts = facts_of(&bytes).unwrap();
            assert_eq!((facts.width, facts.height, facts.bytes), (40, 30, bytes.len() as u64));
            assert!(format!("{format:?}").eq_ignore_ascii_case(facts.format));
            let small = decode(&bytes, BOUNDS).unwrap();
            assert_eq!((small.pixels.dimensions(), small.size), ((40, 30), (40, 30)));
            let [red, green, blue, alpha] = small.pixels.get_pixel(39, 29).0;
            assert!(red > 200 && green > 200 && (150..250).contains(&blue) && alpha == 255, "{format:?}");
        }
        for other in [&b""[..], b"BM123456789", b"<svg/>", b"II*\0abcdefgh", b"%PDF-1.7", &[0; 100]] {
            assert_eq!(facts_of(other).unwrap_err(), Wrong::Unknown, "{other:?}");
        }
    }

    #[test]
    fn bombs_are_refused_by_their_heads() {
        let sides =
            [(ImageFormat::Png, 60_000, 60_000), (ImageFormat::Png, u32::MAX >> 1, 1), (ImageFormat::Png, 1, 20_000)];
        let more = [(ImageFormat::Jpeg, 60_000, 60_000), (ImageFormat::Gif, 60_000, 60_000)];
        // Each side may be so long, but not both.
        let pixels =
            [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP].map(|it| (it, 9_000, 9_000));
        for (format, width, height) in sides.into_iter().chain(more).chain(pixels) {
            let bytes = claims(format, width, height);
            assert_eq!(decode(&bytes, BOUNDS).unwrap_err(), Wrong::TooLarge, "{format:?} {width} x {height}");
            assert_eq!(facts_of(&bytes).unwrap_err(), Wrong::TooLarge);
        }
        // The patched heads are good ones: a size that is allowed gets as far as the pixels.
        for (format, _) in samples() {
            let facts = facts_of(&claims(format, 64, 48)).unwrap();
            assert_eq!((facts.width, facts.height), (64, 48), "{format:?}");
        }
    }

    #[test]
    fn a_frame_beyond_its_screen_takes_no_memory() {
        let mut bytes = sample(ImageFormat::Gif);
        let frame = bytes.windows(5).rposition(|five| five == [0x2C, 0, 0, 0, 0]).unwrap();
        bytes[frame + 5..frame + 9].copy_from_slice(&[0xFF; 4]);
        assert!(matches!(decode(&bytes, BOUNDS), Err(Wrong::TooLarge | Wrong::Broken)));
    }

    #[test]
    fn deep_colours_count() {
        let mut bytes = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
        encoder.write_image(&[0; 8], 1, 1, ExtendedColorType::Rgba16).unwrap();
        bytes[16..20].copy_from_slice(&6_000_u32.to_be_bytes());
        bytes[20..24].copy_from_slice(&6_000_u32.to_be_bytes());
        let crc = crc(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(decode(&bytes, BOUNDS).unwrap_err(), Wrong::TooLarge, "36 million pixels of 8 bytes");
    }

    #[test]
    fn what_is_no_file_or_too_long_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.png");
        let file = File::create(&path).unwrap();
        file.set_len(FILE + 1).unwrap();
        assert_eq!(facts(&path).unwrap_err(), Wrong::TooLong);
        assert_eq!(facts(folder.path()).unwrap_err(), Wrong::Unreadable);
        assert_eq!(facts(&folder.path().join("gone.png")).unwrap_err(), Wrong::Unreadable);
        assert_eq!(facts(Path::new("/dev/zero")).unwrap_err(), Wrong::Unreadable);
        let pipe = folder.path().join("pipe.png");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert_eq!(facts(&pipe).unwrap_err(), Wrong::Unreadable, "and nobody waits for a writer");
    }

    #[test]
    fn large_pictures_are_made_small() {
        let wide = DynamicImage::new_rgb8(3_000, 700);
        let mut bytes = Cursor::new(Vec::new());
        wide.write_to(&mut bytes, ImageFormat::Png).unwrap();
        let small = decode(bytes.get_ref(), BOUNDS).unwrap();
        assert_eq!((small.pixels.dimensions(), small.size), ((1_024, 239), (3_000, 700)));
        let thread = DynamicImage::new_rgb8(16_000, 1);
        let mut bytes = Cursor::new(Vec::new());
        thread.write_to(&mut bytes, ImageFormat::Png).unwrap();
        assert_eq!(decode(bytes.get_ref(), BOUNDS).unwrap().pixels.dimensions(), (1_024, 1));
    }

    /// A sample with some bytes changed, and cut off somewhere.
    fn mutated() -> impl Strategy<Value = Vec<u8>> {
        let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12);
        (0..4_usize, changes, any::<prop::sample::Index>(), 0..4_u8).prop_map(|(which, changes, end, cut)| {
            let mut bytes = samples()[which].1.clone();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if cut == 0 {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        })
    }

    /// Nothing comes but a small picture or a reason.
    fn holds(bytes: &[u8]) {
        if let Ok(small) = decode(bytes, BOUNDS) {
            let (width, height) = small.pixels.dimensions();
            assert!((1..=SMALL).contains(&width) && (1..=SMALL).contains(&height));
            assert!(u64::from(small.size.0) * u64::from(small.size.1) <= BOUNDS.pixels);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn changed_pictures_are_read_or_refused(bytes in mutated()) {
            holds(&bytes);
        }

        #[test]
        fn any_bytes_behind_a_head_are_read_or_refused(
            which in 0..4_usize,
            kept in 4..64_usize,
            rest in prop::collection::vec(any::<u8>(), 0..512),
        ) {
            let head = samples()[which].1[..kept].to_vec();
            holds(&[head, rest].concat());
        }
    }
}
