//! Opening a clip: which reader reads it, by what it begins with, and what is left to ffmpeg.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::array::ArrayReader;
use super::clip_file::ClipFile;
use super::content::Content;
#[cfg(feature = "codecs")]
pub(super) use super::ffmpeg::Fallback;
use super::pictures::{PictureReader, PictureSource};
use super::reader::{ClipReader, ReadOptions};
use super::y4m::Y4m;
#[cfg(feature = "codecs")]
use super::{folder::Folder, gif::Gif, mp4::Mp4, picture_file};
use crate::error::{Error, Result, bad};

/// The formats, for messages and help texts.
#[cfg(feature = "codecs")]
pub const KNOWN_INPUTS: &str = ".mp4, .m4v, .mov (H.264), .gif, .y4m, a folder of PNGs, JPEGs or WebPs or one of \
                                them, animated or not, .npy, .safetensors; any other clip if ffmpeg is on the PATH";
/// The formats, for messages and help texts.
#[cfg(not(feature = "codecs"))]
pub const KNOWN_INPUTS: &str = ".y4m, .npy, .safetensors";

/// Opens the clip at `path`; see [`KNOWN_INPUTS`]. What a file begins with says what it is,
/// whatever its name.
///
/// - H.264 is decoded here, fragmented files included, or by ffmpeg if it has what the decoder
///   cannot do (such as interlacing or ten bits). Frames come in the order they are shown; an edit
///   list is honoured; each frame is returned once, whatever the rate and however it varies, also
///   through ffmpeg. Chroma is interpolated where it lies; an unspecified matrix is BT.601 and an
///   unspecified range limited, as ffmpeg has it for every size.
/// - Pictures are turned upright as their EXIF says. Transparency is dropped, 16 bits become 8, and
///   gray becomes RGB; unpainted pixels of a GIF are white. Of an animation that is cut off, whole
///   frames are read if [`ReadOptions::frames`] asks for no more.
/// - Arrays (`.npy`; in `.safetensors` the tensor `sample` or `video`, or the only one) are floats
///   or pixels u8, with axes [B, C, T, H, W], [B, T, H, W, C] or [B, T, C, H, W], or one of them
///   without the batch, or one frame: told by where there are three channels. Floats [B, C, T, H,
///   W] are in [-1, 1], as [`create`](crate::create) writes them; those that look as if they were
///   in [0, 1] are an error unless [`ReadOptions::range`] says which. Other axes are what ComfyUI
///   and diffusers write, in [0, 1], unless their values are clearly negative.
///
/// # Errors
/// [`files::Error::MissingFile`], [`files::Error::Read`], [`Error::BadClip`],
/// [`Error::UnsupportedInput`], [`Error::TooFewFrames`]; [`Error::InvalidClip`] for options that
/// make no sense; those of [`files::tensor_file::TensorFile::open`],
/// [`files::Error::MissingTensor`], [`files::Error::WrongDtype`], [`files::Error::WrongShape`] for
/// safetensors.
pub fn open(path: &Path, options: ReadOptions) -> Result<Box<dyn ClipReader>> {
    open_with(path, options, Fallback::Ffmpeg)
}

/// As [`open`], but starts no other program: what is not decoded here is
/// [`Error::UnsupportedInput`].
///
/// # Errors
/// Those of [`open`].
pub fn open_without_ffmpeg(path: &Path, options: ReadOptions) -> Result<Box<dyn ClipReader>> {
    open_with(path, options, Fallback::None)
}

/// The files that [`open`] reads for this path: itself, or the pictures of a folder. None where it
/// is nothing that can be read.
pub fn files(path: &Path) -> Vec<PathBuf> {
    match path.is_dir() {
        #[cfg(feature = "codecs")]
        true => Folder::pictures(path).unwrap_or_default(),
        #[cfg(not(feature = "codecs"))]
        true => vec![],
        false => vec![path.into()],
    }
}

/// Without codecs nothing is left to others.
#[cfg(not(feature = "codecs"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fallback {
    Ffmpeg,
    None,
}

fn open_with(path: &Path, options: ReadOptions, fallback: Fallback) -> Result<Box<dyn ClipReader>> {
    options.check()?;
    let found = fs::metadata(path).map_err(|cause| match cause.kind() {
        ErrorKind::NotFound => {
            files::Error::MissingFile { path: path.into(), hint: format!("expected a clip: {KNOWN_INPUTS}") }
        }
        _ => files::Error::Read { path: path.into(), cause },
    })?;
    if found.is_dir() {
        return open_folder(path, options);
    }
    // Opening a named pipe would wait for a writer.
    if !found.is_file() {
        return Err(bad(path, "it is neither a regular file nor a folder"));
    }
    open_file(&ClipFile::open(path)?, options, fallback)
}

/// The clip that a folder's pictures are.
#[cfg(feature = "codecs")]
fn open_folder(path: &Path, options: ReadOptions) -> Result<Box<dyn ClipReader>> {
    match options.is_about_array() {
        true => Err(Error::NoArray { path: path.into() }),
        false => PictureReader::boxed(path, Box::new(Folder::open(path)?), options),
    }
}

/// The clip that a folder's pictures are.
#[cfg(not(feature = "codecs"))]
fn open_folder(path: &Path, _: ReadOptions) -> Result<Box<dyn ClipReader>> {
    Err(no_codecs(path, "a folder of pictures"))
}

/// The clip in an open file.
///
/// # Errors
/// Those of [`open`].
pub(super) fn open_file(clip: &ClipFile, options: ReadOptions, fallback: Fallback) -> Result<Box<dyn ClipReader>> {
    let path = &clip.name;
    options.check()?;
    let source = match Content::of(clip)? {
        Some(Content::Safetensors) => return ArrayReader::safetensors(clip, options),
        Some(Content::Npy) => return ArrayReader::npy(clip, options),
        _ if options.is_about_array() => return Err(Error::NoArray { path: path.into() }),
        Some(Content::Y4m) => or_by_ffmpeg(path, fallback, Y4m::open(clip))?,
        other => decoded(clip, other, options, fallback)?,
    };
    PictureReader::boxed(path, source, options)
}

/// What is not decoded here, decoded by ffmpeg.
#[cfg(feature = "codecs")]
fn or_by_ffmpeg(
    path: &Path,
    fallback: Fallback,
    clip: Result<impl PictureSource + 'static>,
) -> Result<Box<dyn PictureSource>> {
    match clip {
        Ok(clip) => Ok(Box::new(clip)),
        Err(Error::UnsupportedInput { problem, .. }) => Ok(Box::new(fallback.open(path, &problem)?)),
        Err(error) => Err(error),
    }
}

/// What is not decoded here is an error.
#[cfg(not(feature = "codecs"))]
fn or_by_ffmpeg(_: &Path, _: Fallback, clip: Result<impl PictureSource + 'static>) -> Result<Box<dyn PictureSource>> {
    Ok(Box::new(clip?))
}

/// A clip of a format that needs a codec; none: of no format that is known here.
#[cfg(feature = "codecs")]
fn decoded(
    clip: &ClipFile,
    content: Option<Content>,
    options: ReadOptions,
    fallback: Fallback,
) -> Result<Box<dyn PictureSource>> {
    Ok(match content {
        Some(Content::Gif) => Box::new(Gif::open(clip, options.frames)?),
        Some(Content::Mp4) => or_by_ffmpeg(&clip.name, fallback, Mp4::open(clip, fallback))?,
        Some(content) if content.is_picture() => picture_file::open(clip, content, options.frames)?,
        _ => Box::new(fallback.open(&clip.name, "it is of no format that is read without ffmpeg")?),
    })
}

/// A clip of a format that needs a codec; none: of no format that is known here.
#[cfg(not(feature = "codecs"))]
fn decoded(clip: &ClipFile, content: Option<Content>, _: ReadOptions, _: Fallback) -> Result<Box<dyn PictureSource>> {
    Err(no_codecs(&clip.name, content.map_or("a clip of no format that is known here", Content::name)))
}

#[cfg(not(feature = "codecs"))]
fn no_codecs(path: &Path, what: &str) -> Error {
    Error::NoCodecs { path: path.into(), what: format!("reading {what}") }
}
