//! PNGs and JPEGs: a folder of them in the natural order of their names (`2.png` before `10.png`), or a single one.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use png::{BitDepth, ColorType, Transformations};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::pictures::{PictureShape, PictureSource};
use super::{MAX_PIXELS, bad, check_size};
use crate::error::{Error, Result};

/// Bytes of a pixel of a PNG, at most: 16 bits of RGBA.
const MAX_PIXEL_BYTES: usize = 8;

pub(super) struct Folder {
    pictures: Vec<PathBuf>,
    shape: PictureShape,
    done: usize,
}

impl Folder {
    /// Files of other endings, hidden ones, and what is no file are passed over.
    pub(super) fn open(path: &Path) -> Result<Folder> {
        Folder::of(Folder::pictures(path)?)
    }

    /// The pictures in a folder, in their order.
    pub(super) fn pictures(path: &Path) -> Result<Vec<PathBuf>> {
        let read_error = |cause| Error::Read { path: path.into(), cause };
        let mut pictures = vec![];
        let mut has_folders = false;
        for entry in fs::read_dir(path).map_err(read_error)? {
            let entry = entry.map_err(read_error)?.path();
            // Opening a named pipe would wait for a writer.
            let is_special = fs::metadata(&entry).is_ok_and(|found| !found.is_file() && !found.is_dir());
            let hidden = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if entry.is_dir() {
                has_folders = true;
            } else if !hidden && !is_special && Kind::of(&entry).is_some() {
                pictures.push(entry);
            }
        }
        if pictures.is_empty() {
            let hint = if has_folders { "; give one of its subfolders" } else { "" };
            return Err(bad(path, format!("no .png, .jpg or .jpeg in this folder{hint}")));
        }
        pictures.sort_by(|a, b| natural_order(&name(a), &name(b)));
        Ok(pictures)
    }

    /// A clip of one frame.
    pub(super) fn single(path: &Path) -> Result<Folder> {
        Folder::of(vec![path.into()])
    }

    /// Looks at the size of every picture.
    fn of(pictures: Vec<PathBuf>) -> Result<Folder> {
        let (width, height) = size(&pictures[0])?;
        check_size(&pictures[0], width as u64, height as u64)?;
        let folder = Folder {
            shape: PictureShape { width, height, frames: Some(pictures.len()), rate: None },
            pictures,
            done: 0,
        };
        for picture in &folder.pictures[1..] {
            folder.check(picture, size(picture)?)?;
        }
        Ok(folder)
    }

    fn check(&self, picture: &Path, (width, height): (usize, usize)) -> Result<()> {
        if (width, height) == (self.shape.width, self.shape.height) {
            return Ok(());
        }
        Err(bad(
            picture,
            format!(
                "it is {width}x{height} (width x height) and `{}` is {}x{}; the pictures of a clip are of one size",
                name(&self.pictures[0]),
                self.shape.width,
                self.shape.height
            ),
        ))
    }
}

impl PictureSource for Folder {
    fn shape(&self) -> PictureShape {
        self.shape
    }

    fn next(&mut self, rgb: &mut Vec<u8>) -> Result<bool> {
        let Some(picture) = self.pictures.get(self.done) else { return Ok(false) };
        let size = match Kind::of(picture) {
            Some(Kind::Jpeg) => read_jpeg(picture, rgb)?,
            _ => read_png(picture, rgb)?,
        };
        self.check(picture, size)?;
        self.done += 1;
        Ok(true)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Png,
    Jpeg,
}

impl Kind {
    fn of(path: &Path) -> Option<Kind> {
        match path.extension()?.to_ascii_lowercase().to_str()? {
            "png" => Some(Kind::Png),
            "jpg" | "jpeg" => Some(Kind::Jpeg),
            _ => None,
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Runs of digits compare as numbers, all else as text; names that are the same so far compare as text.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    loop {
        let (digits_a, after_a) = digits(rest_a);
        let (digits_b, after_b) = digits(rest_b);
        if !digits_a.is_empty() && !digits_b.is_empty() {
            let (number_a, number_b) = (digits_a.trim_start_matches('0'), digits_b.trim_start_matches('0'));
            let order = number_a.len().cmp(&number_b.len()).then(number_a.cmp(number_b));
            if order.is_ne() {
                return order;
            }
            (rest_a, rest_b) = (after_a, after_b);
            continue;
        }
        let (mut chars_a, mut chars_b) = (rest_a.chars(), rest_b.chars());
        match (chars_a.next(), chars_b.next()) {
            (Some(first_a), Some(first_b)) if first_a == first_b => {
                (rest_a, rest_b) = (chars_a.as_str(), chars_b.as_str())
            }
            (None, None) => return a.cmp(b),
            (first_a, first_b) => return first_a.cmp(&first_b),
        }
    }
}

/// The digits that a text begins with, and what is behind them.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Width and height, of which only the picture's head is read.
fn size(path: &Path) -> Result<(usize, usize)> {
    Ok(match Kind::of(path) {
        Some(Kind::Jpeg) => {
            let decoder = jpeg(path)?;
            decoder.info().map_or((0, 0), |info| (usize::from(info.width), usize::from(info.height)))
        }
        _ => {
            let reader = png(path)?;
            (reader.info().width as usize, reader.info().height as usize)
        }
    })
}

fn buffered(path: &Path) -> Result<BufReader<File>> {
    File::open(path).map(BufReader::new).map_err(|cause| Error::Read { path: path.into(), cause })
}

fn png(path: &Path) -> Result<png::Reader<BufReader<File>>> {
    let limits = png::Limits { bytes: MAX_PIXELS as usize * MAX_PIXEL_BYTES };
    let mut decoder = png::Decoder::new_with_limits(buffered(path)?, limits);
    // Palettes become RGB and fewer bits become eight.
    decoder.set_transformations(Transformations::EXPAND);
    let reader = decoder.read_info().map_err(|cause| bad_png(path, cause))?;
    check_size(path, u64::from(reader.info().width), u64::from(reader.info().height))?;
    Ok(reader)
}

fn bad_png(path: &Path, cause: png::DecodingError) -> Error {
    match cause {
        png::DecodingError::IoError(cause) if cause.kind() != ErrorKind::UnexpectedEof => {
            Error::Read { path: path.into(), cause }
        }
        cause => bad(path, format!("the PNG is damaged or cut off: {cause}")),
    }
}

/// Fills `rgb`; returns width and height.
fn read_png(path: &Path, rgb: &mut Vec<u8>) -> Result<(usize, usize)> {
    let mut reader = png(path)?;
    let size = reader.output_buffer_size().ok_or_else(|| bad(path, "the picture is too large"))?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).map_err(|cause| bad_png(path, cause))?;
    reader.finish().map_err(|cause| bad_png(path, cause))?;
    pixels.truncate(frame.buffer_size());
    if frame.bit_depth == BitDepth::Sixteen {
        // x / 257, rounded.
        let eight = |word: &[u8; 2]| ((u32::from(u16::from_be_bytes(*word)) * 255 + 32895) >> 16) as u8;
        pixels = pixels.as_chunks().0.iter().map(eight).collect();
    }
    rgb.clear();
    match frame.color_type {
        ColorType::Grayscale => rgb.extend(pixels.iter().flat_map(|&gray| [gray; 3])),
        ColorType::GrayscaleAlpha => rgb.extend(pixels.as_chunks::<2>().0.iter().flat_map(|pixel| [pixel[0]; 3])),
        ColorType::Rgba => rgb.extend(pixels.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b])),
        ColorType::Rgb | ColorType::Indexed => rgb.append(&mut pixels),
    }
    Ok((frame.width as usize, frame.height as usize))
}

/// A decoder that has read the head.
fn jpeg(path: &Path) -> Result<JpegDecoder<BufReader<File>>> {
    let side = usize::from(u16::MAX);
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_strict_mode(true)
        .set_max_width(side)
        .set_max_height(side);
    let mut decoder = JpegDecoder::new_with_options(buffered(path)?, options);
    decoder.decode_headers().map_err(|cause| bad_jpeg(path, &cause))?;
    let (width, height) = decoder.info().map_or((0, 0), |info| (info.width, info.height));
    check_size(path, width.into(), height.into())?;
    Ok(decoder)
}

fn bad_jpeg(path: &Path, cause: &impl std::fmt::Debug) -> Error {
    bad(path, format!("the JPEG is damaged, cut off or of a rare kind: {cause:?}"))
}

/// Fills `rgb`; returns width and height.
fn read_jpeg(path: &Path, rgb: &mut Vec<u8>) -> Result<(usize, usize)> {
    let mut decoder = jpeg(path)?;
    *rgb = decoder.decode().map_err(|cause| bad_jpeg(path, &cause))?;
    let (width, height) = decoder.info().map_or((0, 0), |info| (usize::from(info.width), usize::from(info.height)));
    if rgb.len() != width * height * 3 {
        return Err(bad(path, "the JPEG's colours cannot be read as RGB"));
    }
    Ok((width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_people_count() {
        let mut names = [
            "f10.png",
            "f9.png",
            "f010.png",
            "a2b10",
            "a2b9",
            "f.png",
            "",
            "é1",
            "f9",
            "10",
            "9",
            "99999999999999999999999999",
        ];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(
            names,
            [
                "",
                "9",
                "10",
                "99999999999999999999999999",
                "a2b9",
                "a2b10",
                "f.png",
                "f9",
                "f9.png",
                "f010.png",
                "f10.png",
                "é1"
            ]
        );
    }
}
