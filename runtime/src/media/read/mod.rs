//! Reading the frames to encode: clips, pictures, arrays.
//!
//! [`open`] chooses the format by what the file begins with, one file of this module each; every reader streams: it holds a
//! few frames, whatever the clip's length. What a file says of itself is checked against the file's size before memory is
//! taken for it. What is not read here (other codecs and containers) goes through `ffmpeg`, if there is one on the PATH.
//!
//! Frames are returned as they come, of any number and size: what the model takes is not known here.

mod animation;
mod array;
mod content;
mod ffmpeg;
mod folder;
mod gif;
mod h264;
mod jpeg;
mod layout;
mod mp4;
mod npy;
mod orientation;
mod pictures;
mod png;
mod resize;
mod rgb;
mod spooled;
mod webp;
mod y4m;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::FrameRate;
use crate::error::{Error, Result};
use content::Content;
use pictures::{PictureReader, PictureSource};

pub use layout::{Axes, ValueRange};
pub use spooled::Spooled;

/// The formats, for messages and help texts.
pub const KNOWN_INPUTS: &str = ".mp4, .m4v, .mov (H.264), .gif, .y4m, a folder of PNGs, JPEGs or WebPs or one of \
                                them, animated or not, .npy, .safetensors; any other clip if ffmpeg is on the PATH";

/// A picture's pixels, at most: 8192 by 8192. Beyond it a small damaged file could ask for all memory.
const MAX_PIXELS: u64 = 1 << 26;

/// What to read of a clip, and how large.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Height and width to resize to, with Lanczos of three lobes: the frame is scaled, its aspect kept, until it covers
    /// this size, and what juts out is cut off equally on both sides.
    pub size: Option<(usize, usize)>,
    /// The first so many frames of each sample only; a clip with fewer is an error.
    pub frames: Option<usize>,
    /// The axes of an array, if they are not to be told by its shape. Of other clips an error.
    pub axes: Option<Axes>,
    /// Which values of an array are black and white, if it is not to be told from them. Of other clips an error.
    pub range: Option<ValueRange>,
}

/// The shape of a clip that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadShape {
    /// Samples of the batch: 1 except for arrays.
    pub batch: usize,
    /// 3 (RGB) for pictures, whatever they are made of; an array's own number.
    pub channels: usize,
    /// Frames of each sample; `None` if only the end of the clip will tell.
    pub frames: Option<usize>,
    /// Rows of a frame, after resizing.
    pub height: usize,
    /// Columns of a frame, after resizing.
    pub width: usize,
    /// Frames a second, where the file says it; the average where it varies.
    pub rate: Option<FrameRate>,
}

/// Consecutive frames of one sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Frames {
    /// Which sample of the batch.
    pub sample: usize,
    /// T, the frames in this block; never 0.
    pub frames: usize,
    /// Row-major [C, T, H, W] with the clip's C, H, W.
    ///
    /// A pixel p becomes 2 (p / 255) - 1, in f32, as the `VideoProcessor` of diffusers does (which is the
    /// same as p / 127.5 - 1 in f32: doubling is exact). Floats in [-1, 1] are as they are, and v in [0, 1]
    /// becomes 2 v - 1.
    pub data: Vec<f32>,
}

/// Returns a clip's frames in order. After an error the reader is of no more use: drop it.
pub trait ClipReader: Send {
    /// The clip's shape; it does not change.
    fn shape(&self) -> ReadShape;

    /// What was found out of the clip that nobody said, and should be known before it is believed, as one line.
    fn note(&self) -> Option<&str> {
        None
    }

    /// The next frames: `frames` of them, fewer only at a sample's end, `None` behind the last frame of the last sample.
    /// `usize::MAX` is all that is left of a sample.
    ///
    /// # Errors
    /// [`files::Error::Read`], [`Error::BadClip`], [`Error::TooFewFrames`]; [`Error::UnsupportedInput`] if the clip turns out to
    /// hold what cannot be decoded; [`Error::InvalidClip`] if `frames` is 0.
    fn read(&mut self, frames: usize) -> Result<Option<Frames>>;
}

/// Opens the clip at `path`; see [`KNOWN_INPUTS`]. What a file begins with says what it is, whatever its name.
///
/// - H.264 is decoded here, fragmented files included, or by ffmpeg if it has what the decoder cannot do (such as interlacing
///   or ten bits). Frames come in the order they are shown; an edit list is honoured; each frame is returned once, whatever
///   the rate and however it varies, also through ffmpeg.
///   Chroma is interpolated where it lies; an unspecified matrix is BT.601 and an unspecified range limited, as ffmpeg has
///   it for every size.
/// - Pictures are turned upright as their EXIF says. Transparency is dropped, 16 bits become 8, and gray becomes RGB;
///   unpainted pixels of a GIF are white. Of an animation that is cut off, whole frames are read if
///   [`ReadOptions::frames`] asks for no more.
/// - Arrays (`.npy`; in `.safetensors` the tensor `sample` or `video`, or the only one) are floats or pixels u8, with axes
///   [B, C, T, H, W], [B, T, H, W, C] or [B, T, C, H, W], or one of them without the batch, or one frame: told by where there
///   are three channels. Floats [B, C, T, H, W] are in [-1, 1], as [`super::create`] writes them; those that look as if they
///   were in [0, 1] are an error unless [`ReadOptions::range`] says which. Other axes are what ComfyUI and diffusers write, in
///   [0, 1], unless their values are clearly negative.
///
/// # Errors
/// [`files::Error::MissingFile`], [`files::Error::Read`], [`Error::BadClip`], [`Error::UnsupportedInput`], [`Error::TooFewFrames`];
/// [`Error::InvalidClip`] for options that make no sense; those of [`crate::tensor_file::TensorFile::open`],
/// [`files::Error::MissingTensor`], [`files::Error::WrongDtype`], [`files::Error::WrongShape`] for safetensors.
pub fn open(path: &Path, options: ReadOptions) -> Result<Box<dyn ClipReader>> {
    open_with(path, options, Fallback::Ffmpeg)
}

/// As [`open`], but starts no other program: what is not decoded here is [`Error::UnsupportedInput`].
///
/// # Errors
/// Those of [`open`].
pub fn open_without_ffmpeg(path: &Path, options: ReadOptions) -> Result<Box<dyn ClipReader>> {
    open_with(path, options, Fallback::None)
}

/// The files that [`open`] reads for this path: itself, or the pictures of a folder. None where it is nothing that can be read.
pub fn files(path: &Path) -> Vec<PathBuf> {
    match path.is_dir() {
        true => folder::Folder::pictures(path).unwrap_or_default(),
        false => vec![path.into()],
    }
}

/// Who decodes what is not decoded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fallback {
    /// An `ffmpeg` on the PATH.
    Ffmpeg,
    /// Nobody.
    None,
}

impl Fallback {
    /// The clip at `path`, which is not decoded here for this reason.
    fn open(self, path: &Path, reason: &str) -> Result<ffmpeg::Ffmpeg> {
        match self {
            Fallback::Ffmpeg => ffmpeg::Ffmpeg::open(path, reason),
            Fallback::None => Err(unsupported(path, reason)),
        }
    }
}

fn open_with(path: &Path, options: ReadOptions, fallback: Fallback) -> Result<Box<dyn ClipReader>> {
    check_options(options)?;
    let found = fs::metadata(path).map_err(|cause| match cause.kind() {
        ErrorKind::NotFound => {
            files::Error::MissingFile { path: path.into(), hint: format!("expected a clip: {KNOWN_INPUTS}") }
        }
        _ => files::Error::Read { path: path.into(), cause },
    })?;
    let no_array = || {
        let problem =
            "--axes and --range say what the numbers of an .npy or .safetensors are, and this is neither".into();
        Err(Error::InvalidClip { problem })
    };
    let about_array = options.axes.is_some() || options.range.is_some();
    if found.is_dir() {
        return match about_array {
            true => no_array(),
            false => PictureReader::boxed(path, Box::new(folder::Folder::open(path)?), options),
        };
    }
    // Opening a named pipe would wait for a writer.
    if !found.is_file() {
        return Err(bad(path, "it is neither a regular file nor a folder"));
    }
    let source: Box<dyn PictureSource> = match Content::of(path)? {
        Some(Content::Safetensors) => return array::ArrayReader::safetensors(path, options),
        Some(Content::Npy) => return array::ArrayReader::npy(path, options),
        _ if about_array => return no_array(),
        Some(Content::Gif) => Box::new(gif::Gif::open(path, options.frames)?),
        Some(content @ (Content::Png | Content::Jpeg | Content::WebP)) => picture(path, content, options.frames)?,
        Some(Content::Y4m) => match y4m::Y4m::open(path) {
            Ok(clip) => Box::new(clip),
            Err(Error::UnsupportedInput { problem, .. }) => Box::new(fallback.open(path, &problem)?),
            Err(error) => return Err(error),
        },
        Some(Content::Mp4) => match mp4::Mp4::open(path, fallback) {
            Ok(clip) => Box::new(clip),
            Err(Error::UnsupportedInput { problem, .. }) => Box::new(fallback.open(path, &problem)?),
            Err(error) => return Err(error),
        },
        None => Box::new(fallback.open(path, "it is of no format that is read without ffmpeg")?),
    };
    PictureReader::boxed(path, source, options)
}

/// The picture or pictures in a file of this content, upright.
fn picture(path: &Path, content: Content, frames: Option<usize>) -> Result<Box<dyn PictureSource>> {
    Ok(match content {
        Content::Jpeg => {
            let jpeg = jpeg::Jpeg::open(path)?;
            let orientation = jpeg.orientation();
            orientation::upright(jpeg, orientation)
        }
        Content::WebP => {
            let webp = webp::WebP::open(path, frames)?;
            let orientation = webp.orientation();
            orientation::upright(webp, orientation)
        }
        _ => {
            let png = png::Png::open(path, frames)?;
            let orientation = png.orientation();
            orientation::upright(png, orientation)
        }
    })
}

fn check_options(options: ReadOptions) -> Result<()> {
    let fail = |problem| Err(Error::InvalidClip { problem });
    if options.frames == Some(0) {
        return fail("0 frames of it were asked for".into());
    }
    match options.size {
        Some((height, width)) if !is_picture_size(width as u64, height as u64) => fail(format!(
            "a size of {width}x{height} (width x height) was asked for; expected 1 to {MAX_PIXELS} pixels"
        )),
        _ => Ok(()),
    }
}

/// Whether a picture may be so large.
fn is_picture_size(width: u64, height: u64) -> bool {
    width > 0 && height > 0 && width.checked_mul(height).is_some_and(|pixels| pixels <= MAX_PIXELS)
}

/// [`Error::BadClip`] unless a picture may be so large.
fn check_size(path: &Path, width: u64, height: u64) -> Result<()> {
    match is_picture_size(width, height) {
        true => Ok(()),
        false => {
            Err(bad(path, format!("a frame of {width}x{height} (width x height); expected 1 to {MAX_PIXELS} pixels")))
        }
    }
}

fn bad(path: &Path, problem: impl Into<String>) -> Error {
    Error::BadClip { path: path.into(), problem: problem.into() }
}

fn unsupported(path: &Path, problem: impl Into<String>) -> Error {
    Error::UnsupportedInput { path: path.into(), problem: problem.into() }
}

/// How many frames of each sample will be returned, of `found` that are there as far as is known.
fn frames_to_read(path: &Path, options: ReadOptions, found: Option<usize>) -> Result<Option<usize>> {
    match (options.frames, found) {
        (_, Some(0)) => Err(bad(path, "it has no frames")),
        (Some(asked), Some(found)) if asked > found => Err(Error::TooFewFrames { path: path.into(), asked, found }),
        (asked, found) => Ok(asked.or(found)),
    }
}

fn no_frames_asked() -> Error {
    Error::InvalidClip { problem: "a block of 0 frames was asked for".into() }
}

#[cfg(test)]
mod tests;
