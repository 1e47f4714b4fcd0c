//! Writing decoded frames, and reading frames to encode: clips, pictures, arrays.
//!
//! [`create`] chooses the format by the path's ending, one file of this module each. Every writer streams: it holds a
//! frame or two, whatever the clip's length. An output appears whole at [`ClipWriter::finish`] or not at all; a writer
//! that is dropped leaves nothing behind. What a person would learn after hours of work (a missing folder, no permission,
//! a format that cannot hold the clip) is refused at [`create`].
//!
//! Frames that are handed on as they come, into a pipe, are [`stream()`]'s. Reading clips is [`read`]; nothing here is about
//! tensors of other kinds.

pub(crate) mod array;
mod colour;
pub mod comparison;
mod frame_rate;
mod gif;
mod h264;
mod mp4;
mod pictures;
mod png;
pub mod read;
mod stream;
mod y4m;

use std::path::{Path, PathBuf};

use files::place::Place;

use crate::error::{Error, Result};

pub use frame_rate::FrameRate;
pub use stream::{check_stream, stream};

/// The formats, for messages and help texts.
pub const KNOWN_OUTPUTS: &str = ".mp4 (H.264), .gif, .y4m, .safetensors, .npy, or a folder of PNGs (a path without an \
                                 ending, or with / at its end)";

/// The shape of a clip, known before its first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClipShape {
    /// Samples of the batch.
    pub batch: usize,
    /// 3 for RGB, 1 for gray; other numbers go into arrays only.
    pub channels: usize,
    /// Frames of each sample.
    pub frames: usize,
    /// Rows of a frame.
    pub height: usize,
    /// Columns of a frame.
    pub width: usize,
}

/// Consecutive frames of one sample.
#[derive(Debug, Clone, Copy)]
pub struct FrameBlock<'a> {
    /// Row-major [C, T, H, W] with the clip's C, H, W; values nominally in [-1, 1].
    pub data: &'a [f32],
    /// T, the frames in this block.
    pub frames: usize,
}

/// What a finished writer has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// One path a sample (a folder of PNGs counts as one), or one for an array.
    pub paths: Vec<PathBuf>,
    /// Their size together.
    pub bytes: u64,
}

/// Takes a clip's frames in order and writes them.
///
/// A value x becomes the pixel round(clamp(x / 2 + 0.5, 0, 1) * 255), halves to the even number, as the postprocessing of
/// diffusers does; NaN becomes 0. Arrays keep values as they are. After an error the writer is of no more use: drop it.
pub trait ClipWriter: Send {
    /// Appends a block. Blocks of a sample come in the order of frames; samples one after the other.
    ///
    /// # Errors
    /// [`Error::FrameOrder`], [`files::Error::Encode`], [`files::Error::Write`], [`Error::Stream`].
    fn write(&mut self, sample: usize, frames: &FrameBlock<'_>) -> Result<()>;

    /// Puts the output in its place, replacing what was there. With several files, each appears whole, one by one.
    ///
    /// # Errors
    /// [`Error::FrameOrder`] if frames are missing, [`files::Error::Write`], [`files::Error::NotInPlace`].
    fn finish(self: Box<Self>) -> Result<Output>;
}

/// Opens a writer for `path`; see [`KNOWN_OUTPUTS`]. Arrays have no use for `rate`. A batch of more than one goes into
/// `stem-0.mp4`, `stem-1.mp4` and so on, subfolders `0`, `1` and so on of a folder of PNGs, or one array.
///
/// # Errors
/// [`files::Error::UnknownOutput`], [`Error::InvalidClip`], [`Error::UnsupportedClip`], [`files::Error::OutputPlace`].
pub fn create(path: &Path, shape: ClipShape, rate: FrameRate) -> Result<Box<dyn ClipWriter>> {
    let format = Format::of(path)?;
    shape.check()?;
    let picture = || check_pictures(path, shape);
    Ok(match format {
        Format::Safetensors => Box::new(array::ArrayWriter::safetensors(path, shape)?),
        Format::Npy => Box::new(array::ArrayWriter::npy(path, shape)?),
        Format::PngFolder => {
            picture()?;
            Box::new(png::PngFolder::create(path, shape)?)
        }
        Format::Mp4 => {
            picture()?;
            Box::new(pictures::PictureFiles::create(path, shape, move |path| mp4::open(path, shape, rate))?)
        }
        Format::Gif => {
            picture()?;
            Box::new(pictures::PictureFiles::create(path, shape, move |path| gif::open(path, shape, rate))?)
        }
        Format::Y4m => {
            picture()?;
            Box::new(pictures::PictureFiles::create(path, shape, move |path| y4m::open(path, shape, rate))?)
        }
    })
}

/// Refuses a clip whose frames are no pictures.
fn check_pictures(path: &Path, shape: ClipShape) -> Result<()> {
    match shape.channels {
        1 | 3 => Ok(()),
        channels => Err(Error::UnsupportedClip {
            path: path.into(),
            problem: format!(
                "a picture has 3 channels (RGB) or 1 (gray), this clip has {channels}; write .safetensors or .npy"
            ),
        }),
    }
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
        Format::Mp4 | Format::Gif | Format::Y4m => Outputs::Files(pictures::sample_paths(path, batch)),
    })
}

/// The rate at which a clip is played that is written to `path` at `rate`: a GIF has at most 50 frames a second. `None` if the
/// format has none, as arrays and folders of PNGs, or is not known.
pub fn played_rate(path: &Path, rate: FrameRate) -> Option<FrameRate> {
    match Format::of(path).ok()? {
        Format::Gif => Some(gif::played_rate(rate)),
        Format::Mp4 | Format::Y4m => Some(rate),
        Format::PngFolder | Format::Safetensors | Format::Npy => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Mp4,
    Gif,
    Y4m,
    PngFolder,
    Safetensors,
    Npy,
}

impl Format {
    fn of(path: &Path) -> Result<Format> {
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
            Some("safetensors") => Format::Safetensors,
            Some("npy") => Format::Npy,
            _ => {
                let ending = format!(".{}", ending.to_string_lossy());
                return Err(files::Error::UnknownOutput { path: path.into(), ending, known: KNOWN_OUTPUTS }.into());
            }
        })
    }
}

impl ClipShape {
    /// [B, C, T, H, W].
    pub fn axes(&self) -> [usize; 5] {
        [self.batch, self.channels, self.frames, self.height, self.width]
    }

    pub(crate) fn check(&self) -> Result<()> {
        let fail = |problem| Err(Error::InvalidClip { problem });
        if self.axes().contains(&0) {
            return fail(format!("its shape [B, C, T, H, W] = {:?} has an empty axis", self.axes()));
        }
        let bytes = self.axes().into_iter().try_fold(size_of::<f32>(), usize::checked_mul);
        if bytes.is_none_or(|bytes| i64::try_from(bytes).is_err()) {
            return fail(format!("its shape [B, C, T, H, W] = {:?} is beyond any file's size", self.axes()));
        }
        Ok(())
    }
}

/// Which frame is due: the check that every writer makes of its caller.
#[derive(Debug)]
struct Progress {
    path: PathBuf,
    shape: ClipShape,
    sample: usize,
    frame: usize,
}

impl Progress {
    fn new(path: &Path, shape: ClipShape) -> Progress {
        Progress { path: path.into(), shape, sample: 0, frame: 0 }
    }

    /// Checks the block and counts it; returns its first frame's number within the sample.
    fn advance(&mut self, sample: usize, block: &FrameBlock<'_>) -> Result<usize> {
        let ClipShape { batch, channels, frames, height, width } = self.shape;
        let fail = |problem| Err(Error::FrameOrder { path: self.path.clone(), problem });
        if self.sample == batch {
            return fail(format!("all {batch} samples are written, and then came frames of sample {sample}"));
        }
        if sample != self.sample {
            return fail(format!("frame {} of sample {} was due, sample {sample} came", self.frame, self.sample));
        }
        if block.frames == 0 || block.frames > frames - self.frame {
            return fail(format!("a block of {} frames came after {} of {frames}", block.frames, self.frame));
        }
        let expected = channels * block.frames * height * width;
        if block.data.len() != expected {
            let shape = [channels, block.frames, height, width];
            return fail(format!("a block of shape {shape:?} has {expected} values, {} came", block.data.len()));
        }
        let first = self.frame;
        self.frame += block.frames;
        if self.frame == frames {
            (self.sample, self.frame) = (self.sample + 1, 0);
        }
        Ok(first)
    }

    fn check_complete(&self) -> Result<()> {
        if self.sample == self.shape.batch {
            return Ok(());
        }
        let problem = format!(
            "only {} of {} frames of sample {} came (of {} samples)",
            self.frame, self.shape.frames, self.sample, self.shape.batch
        );
        Err(Error::FrameOrder { path: self.path.clone(), problem })
    }
}

#[cfg(test)]
mod tests;
