//! Writing frames: clips, pictures, arrays.
//!
//! [`create`] chooses the format by the path's ending, one file of this module each. Every writer
//! streams: it holds a frame or two, whatever the clip's length. An output appears whole at
//! [`ClipWriter::finish`] or not at all; a writer that is dropped leaves nothing behind. What a
//! person would learn after hours of work (a missing folder, no permission, a format that cannot
//! hold the clip) is refused at [`create`].
//!
//! Instead of a path, y4m goes into any `Write`, each frame as it comes ([`stream()`]); y4m, GIF,
//! MP4 and arrays go into anything that is `Write` and `Seek` ([`write_to`]). A folder of PNGs is a
//! folder.

mod array;
mod format;
#[cfg(feature = "codecs")]
mod gif;
#[cfg(feature = "codecs")]
mod h264;
#[cfg(feature = "codecs")]
mod mp4;
#[cfg(feature = "codecs")]
mod picture_file;
mod pictures;
#[cfg(feature = "codecs")]
mod png;
#[cfg(feature = "codecs")]
mod png_file;
mod sink;
mod stream;
#[cfg(test)]
mod tests;
mod writer;
mod y4m;

use std::path::{Path, PathBuf};

use files::staging::StagedFile;

use crate::clip::ClipShape;
use crate::error::{Error, Result};
use crate::frame_rate::FrameRate;
use array::Header;
use format::{Format, check_pictures};
use pictures::PictureFiles;

pub use array::{ArrayAxes, ArrayWriter, TensorLabel};
pub use format::KNOWN_OUTPUTS;
pub use stream::{check_stream, stream, write_to};
pub use writer::{ClipWriter, Output};

/// Opens a writer for `path`; see [`KNOWN_OUTPUTS`]. Arrays have no use for `rate`. A batch of more
/// than one goes into `stem-0.mp4`, `stem-1.mp4` and so on, subfolders `0`, `1` and so on of a
/// folder of PNGs, or one array.
///
/// # Errors
/// [`files::Error::UnknownOutput`], [`Error::InvalidClip`],
/// [`Error::UnsupportedClip`], [`files::Error::OutputPlace`];
/// [`Error::NoCodecs`].
pub fn create(path: &Path, shape: ClipShape, rate: FrameRate) -> Result<Box<dyn ClipWriter>> {
    create_as(path, shape, rate, ArrayAxes::Bcthw)
}

/// Opens a writer for images, clips of one frame: [`create`], but that arrays are [B, C, H, W].
///
/// # Errors
/// As [`create`]; [`Error::UnsupportedClip`] for more than one
/// frame.
pub fn create_images(path: &Path, shape: ClipShape, rate: FrameRate) -> Result<Box<dyn ClipWriter>> {
    if shape.frames > 1 {
        let problem = format!("an image is one frame, and this clip has {}", shape.frames);
        return Err(Error::UnsupportedClip { path: path.into(), problem });
    }
    create_as(path, shape, rate, ArrayAxes::Bchw)
}

fn create_as(path: &Path, shape: ClipShape, rate: FrameRate, axes: ArrayAxes) -> Result<Box<dyn ClipWriter>> {
    let format = Format::of(path)?;
    shape.check()?;
    let picture = || check_pictures(format, path, shape);
    Ok(match format {
        Format::Safetensors => Box::new(ArrayWriter::create(path, shape, &Header::safetensors(path, shape, axes)?)?),
        Format::Npy => Box::new(ArrayWriter::create(path, shape, &Header::npy(shape, axes))?),
        #[cfg(feature = "codecs")]
        Format::PngFolder => {
            picture()?;
            Box::new(png::PngFolder::create(path, shape)?)
        }
        #[cfg(feature = "codecs")]
        Format::Mp4 => {
            picture()?;
            let open = move |path: &Path| mp4::open(path, shape, rate, || Ok(StagedFile::create(path)?));
            Box::new(PictureFiles::create(path, shape, open)?)
        }
        #[cfg(feature = "codecs")]
        Format::Gif => {
            picture()?;
            let open = move |path: &Path| gif::open(path, shape, rate, || Ok(StagedFile::create(path)?));
            Box::new(PictureFiles::create(path, shape, open)?)
        }
        #[cfg(feature = "codecs")]
        Format::Picture(of) => {
            picture()?;
            let open = move |path: &Path| picture_file::open(of, path, shape, || Ok(StagedFile::create(path)?));
            Box::new(PictureFiles::create(path, shape, open)?)
        }
        #[cfg(not(feature = "codecs"))]
        Format::PngFolder | Format::Picture(_) | Format::Mp4 | Format::Gif => return Err(format.no_codecs(path)),
        Format::Y4m => {
            picture()?;
            let open = move |path: &Path| y4m::open(shape, rate, || Ok(StagedFile::create(path)?));
            Box::new(PictureFiles::create(path, shape, open)?)
        }
    })
}

/// What [`create`] makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outputs {
    /// Files, one or one a sample.
    Files(Vec<PathBuf>),
    /// A folder, which is replaced as a whole.
    Folder(PathBuf),
}

/// What [`create`] makes at `path` of a batch of so many samples.
///
/// # Errors
/// [`files::Error::UnknownOutput`].
pub fn outputs(path: &Path, batch: usize) -> Result<Outputs> {
    Ok(match Format::of(path)? {
        Format::PngFolder => Outputs::Folder(path.into()),
        Format::Safetensors | Format::Npy => Outputs::Files(vec![path.into()]),
        Format::Mp4 | Format::Gif | Format::Y4m | Format::Picture(_) => {
            Outputs::Files(pictures::sample_paths(path, batch))
        }
    })
}

/// The rate at which a clip is played that is written to `path` at `rate`: a GIF has at most 50
/// frames a second. `None` if the format has none, as arrays and folders of PNGs, or is not known.
pub fn played_rate(path: &Path, rate: FrameRate) -> Option<FrameRate> {
    match Format::of(path).ok()? {
        #[cfg(feature = "codecs")]
        Format::Gif => Some(gif::played_rate(rate)),
        #[cfg(not(feature = "codecs"))]
        Format::Gif => None,
        Format::Mp4 | Format::Y4m => Some(rate),
        Format::Picture(_) | Format::PngFolder | Format::Safetensors | Format::Npy => None,
    }
}
