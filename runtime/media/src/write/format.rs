//! The formats that are written, told by a path's ending.

use std::path::Path;

use files::place::Place;

use crate::clip::ClipShape;
use crate::error::{Error, Result};

/// The formats, for messages and help texts.
#[cfg(feature = "codecs")]
pub const KNOWN_OUTPUTS: &str = ".mp4 (H.264), .gif, .y4m, .png, .jpg or .webp (of one frame), .safetensors, .npy, or a folder \
                                 of PNGs (a path without an ending, or with / at its end)";

/// The formats, for messages and help texts.
#[cfg(not(feature = "codecs"))]
pub const KNOWN_OUTPUTS: &str = ".y4m, .safetensors, .npy";

/// A format that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Mp4,
    Gif,
    Y4m,
    Picture(Picture),
    PngFolder,
    Safetensors,
    Npy,
}

/// A format of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Picture {
    Png,
    Jpeg,
    WebP,
}

impl Picture {
    /// What people call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Picture::Png => "PNG",
            Picture::Jpeg => "JPEG",
            Picture::WebP => "WebP",
        }
    }
}

impl Format {
    /// The format that a path says.
    ///
    /// # Errors
    /// [`files::Error::UnknownOutput`].
    pub(super) fn of(path: &Path) -> Result<Format> {
        let ends_in_slash = path.as_os_str().to_string_lossy().ends_with(std::path::is_separator);
        // A link that says nothing says what it leads to.
        let behind = match path.extension() {
            None if path.is_symlink() => Place::of(path)?,
            _ => Place::File(path.into()),
        };
        let Place::File(named) = behind else { return Ok(Format::PngFolder) };
        let Some(ending) = named.extension().filter(|_| !ends_in_slash) else { return Ok(Format::PngFolder) };
        Ok(match ending.to_ascii_lowercase().to_str() {
            Some("mp4") => Format::Mp4,
            Some("gif") => Format::Gif,
            Some("y4m") => Format::Y4m,
            Some("png") => Format::Picture(Picture::Png),
            Some("jpg" | "jpeg") => Format::Picture(Picture::Jpeg),
            Some("webp") => Format::Picture(Picture::WebP),
            Some("safetensors") => Format::Safetensors,
            Some("npy") => Format::Npy,
            _ => {
                let ending = format!(".{}", ending.to_string_lossy());
                return Err(files::Error::UnknownOutput { path: path.into(), ending, known: KNOWN_OUTPUTS }.into());
            }
        })
    }
}

#[cfg(not(feature = "codecs"))]
impl Format {
    /// The error for a format that is not written without codecs.
    pub(super) fn no_codecs(self, path: &Path) -> Error {
        let what = match self {
            Format::Mp4 => "MP4",
            Format::Gif => "GIF",
            Format::Picture(picture) => picture.name(),
            _ => "a folder of PNGs",
        };
        Error::NoCodecs { path: path.into(), what: what.into() }
    }
}

/// Refuses a clip whose frames are no pictures of this format.
pub(super) fn check_pictures(format: Format, path: &Path, shape: ClipShape) -> Result<()> {
    let may_be_transparent = matches!(format, Format::PngFolder | Format::Picture(Picture::Png | Picture::WebP));
    let problem = match shape.channels {
        1 | 3 => return Ok(()),
        4 if may_be_transparent => return Ok(()),
        4 => "this clip has 4 channels (RGB and transparency), and the format has none; write .png or .webp".to_owned(),
        channels => format!(
            "a picture has 3 channels (RGB), 4 with transparency, or 1 (gray), this clip has {channels}; write .safetensors \
             or .npy"
        ),
    };
    Err(Error::UnsupportedClip { path: path.into(), problem })
}
