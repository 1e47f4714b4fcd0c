//! The orientation that EXIF gives a picture: cameras store what the sensor saw, and say how to
//! turn it.
//!
//! Where a file holds its EXIF, each format's own reader knows. EXIF that is damaged says nothing.

use std::io::{BufReader, Read, Seek};

use exif::{Error, Exif, In, Reader, Tag};

use super::pictures::{PictureShape, PictureSource};
use crate::error::Result;

/// How a stored picture is turned to be upright, by the number of the tag `Orientation` (EXIF 2.32,
/// 4.6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Orientation(u8);

impl Orientation {
    /// Stored as it is shown.
    pub(super) const UPRIGHT: Orientation = Orientation(1);

    /// Of EXIF, with or without the mark that it has in a JPEG.
    pub(super) fn of_exif(bytes: &[u8]) -> Orientation {
        let tiff = bytes.strip_prefix(b"Exif\0\0").unwrap_or(bytes);
        Orientation::read(Reader::new().continue_on_error(true).read_raw(tiff.to_vec()))
    }

    /// Of a JPEG. It may have several segments of EXIF, of which the first begins it.
    pub(super) fn of_jpeg(bytes: impl Read + Seek) -> Orientation {
        Orientation::read(Reader::new().continue_on_error(true).read_from_container(&mut BufReader::new(bytes)))
    }

    fn read(exif: Result<Exif, Error>) -> Orientation {
        let exif = exif.or_else(|error| error.distill_partial_result(|_| {}));
        let number = exif.ok().and_then(|exif| exif.get_field(Tag::Orientation, In::PRIMARY)?.value.get_uint(0));
        number
            .and_then(|number| u8::try_from(number).ok())
            .filter(|number| (1..=8).contains(number))
            .map_or(Orientation::UPRIGHT, Orientation)
    }

    /// Whether rows become columns.
    fn swaps_axes(self) -> bool {
        self.0 >= 5
    }

    /// Fills `out` with the picture turned; `rgb` is as stored, interleaved, of this width and
    /// height.
    fn turn(self, rgb: &[u8], (width, height): (usize, usize), out: &mut Vec<u8>) {
        let from_right = matches!(self.0, 2 | 3 | 7 | 8);
        let from_below = matches!(self.0, 3 | 4 | 6 | 7);
        let (out_width, out_height) = if self.swaps_axes() { (height, width) } else { (width, height) };
        let pixels = rgb.as_chunks::<3>().0;
        out.clear();
        out.reserve(rgb.len());
        for out_y in 0..out_height {
            for out_x in 0..out_width {
                let (x, y) = if self.swaps_axes() { (out_y, out_x) } else { (out_x, out_y) };
                let x = if from_right { width - 1 - x } else { x };
                let y = if from_below { height - 1 - y } else { y };
                out.extend_from_slice(&pixels[y * width + x]);
            }
        }
    }
}

/// The pictures of a source, turned upright.
pub(super) fn upright(source: impl PictureSource + 'static, orientation: Orientation) -> Box<dyn PictureSource> {
    match orientation {
        Orientation::UPRIGHT => Box::new(source),
        _ => Box::new(Turned { source, orientation, stored: vec![] }),
    }
}

struct Turned<S> {
    source: S,
    orientation: Orientation,
    stored: Vec<u8>,
}

impl<S: PictureSource> PictureSource for Turned<S> {
    fn shape(&self) -> PictureShape {
        let shape = self.source.shape();
        match self.orientation.swaps_axes() {
            true => PictureShape { width: shape.height, height: shape.width, ..shape },
            false => shape,
        }
    }

    fn next(&mut self, rgb: &mut Vec<u8>) -> Result<bool> {
        let more = self.source.next(&mut self.stored)?;
        if more {
            let PictureShape { width, height, .. } = self.source.shape();
            self.orientation.turn(&self.stored, (width, height), rgb);
        }
        Ok(more)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// EXIF that says this orientation, in either order of bytes.
    pub(crate) fn exif(orientation: u16, big_endian: bool) -> Vec<u8> {
        let (word, long) = match big_endian {
            true => (u16::to_be_bytes as fn(u16) -> [u8; 2], u32::to_be_bytes as fn(u32) -> [u8; 4]),
            false => (u16::to_le_bytes as fn(u16) -> [u8; 2], u32::to_le_bytes as fn(u32) -> [u8; 4]),
        };
        let mut bytes = if big_endian { b"MM".to_vec() } else { b"II".to_vec() };
        bytes.extend(word(42));
        bytes.extend(long(8));
        bytes.extend(word(1));
        bytes.extend([word(0x112), word(3)].concat());
        bytes.extend(long(1));
        bytes.extend([word(orientation), word(0)].concat());
        bytes.extend(long(0));
        bytes
    }

    #[test]
    fn every_orientation_is_turned_upright() {
        // Stored as 3 columns, 2 rows: abc / def.
        let stored: Vec<u8> = b"abcdef".iter().flat_map(|&letter| [letter; 3]).collect();
        for (number, shown) in [
            (1, "abcdef"),
            (2, "cbafed"),
            (3, "fedcba"),
            (4, "defabc"),
            (5, "adbecf"),
            (6, "daebfc"),
            (7, "fcebda"),
            (8, "cfbead"),
        ] {
            for big_endian in [false, true] {
                let orientation = Orientation::of_exif(&exif(number, big_endian));
                assert_eq!(orientation, Orientation(number as u8));
                let mut out = vec![];
                orientation.turn(&stored, (3, 2), &mut out);
                let letters: String = out.iter().step_by(3).map(|&letter| char::from(letter)).collect();
                assert_eq!(letters, shown, "{number}");
                let marked = [b"Exif\0\0", &exif(number, big_endian)[..]].concat();
                assert_eq!(Orientation::of_exif(&marked), orientation);
            }
        }
    }

    #[test]
    fn damaged_exif_says_nothing() {
        for number in [0, 9, 0xffff] {
            assert_eq!(Orientation::of_exif(&exif(number, true)), Orientation::UPRIGHT);
        }
        let whole = exif(6, false);
        for end in 0..18 {
            assert_eq!(Orientation::of_exif(&whole[..end]), Orientation::UPRIGHT);
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            let _ = Orientation::of_exif(&damaged);
        }
    }
}
