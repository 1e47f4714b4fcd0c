//! What a reader returns and what may be asked of it: the trait of all readers, and the checks that
//! they share.

use std::path::Path;

use crate::error::{Error, Result, bad};
use crate::frame_rate::FrameRate;
use crate::layout::{Axes, ValueRange};

/// A picture's pixels, at most: 8192 by 8192. Beyond it a small damaged file could ask for all
/// memory.
pub(super) const MAX_PIXELS: u64 = 1 << 26;

/// What to read of a clip, and how large.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadOptions {
    /// Height and width to resize to, with Lanczos of three lobes: the frame is scaled, its aspect
    /// kept, until it covers this size, and what juts out is cut off equally on both sides.
    pub size: Option<(usize, usize)>,
    /// The first so many frames of each sample only; a clip with fewer is an error.
    pub frames: Option<usize>,
    /// The axes of an array, if they are not to be told by its shape. Of other clips an error.
    pub axes: Option<Axes>,
    /// Which values of an array are black and white, if it is not to be told from them. Of other
    /// clips an error.
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
    /// A pixel p becomes 2 (p / 255) - 1, in f32, as the `VideoProcessor` of diffusers does (which
    /// is the same as p / 127.5 - 1 in f32: doubling is exact). Floats in [-1, 1] are as they
    /// are, and v in [0, 1] becomes 2 v - 1.
    pub data: Vec<f32>,
}

/// What was found out of a clip that nobody said.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// As one line.
    pub text: String,
    /// What else its axes may be; see [`ReadOptions::axes`].
    pub other_axes: Vec<Axes>,
}

/// Returns a clip's frames in order. After an error the reader is of no more use: drop it.
pub trait ClipReader: Send {
    /// The clip's shape; it does not change.
    fn shape(&self) -> ReadShape;

    /// What was found out of the clip that nobody said, and should be known before it is believed.
    fn note(&self) -> Option<&Note> {
        None
    }

    /// The next frames: `frames` of them, fewer only at a sample's end, `None` behind the last
    /// frame of the last sample. `usize::MAX` is all that is left of a sample.
    ///
    /// # Errors
    /// [`files::Error::Read`], [`Error::BadClip`], [`Error::TooFewFrames`];
    /// [`Error::UnsupportedInput`] if the clip turns out to hold what cannot be decoded;
    /// [`Error::InvalidClip`] if `frames` is 0.
    fn read(&mut self, frames: usize) -> Result<Option<Frames>>;
}

impl ReadOptions {
    /// Sets [`Self::size`].
    #[must_use]
    pub fn with_size(self, size: impl Into<Option<(usize, usize)>>) -> Self {
        Self { size: size.into(), ..self }
    }

    /// Sets [`Self::frames`].
    #[must_use]
    pub fn with_frames(self, frames: impl Into<Option<usize>>) -> Self {
        Self { frames: frames.into(), ..self }
    }

    /// Sets [`Self::axes`].
    #[must_use]
    pub fn with_axes(self, axes: impl Into<Option<Axes>>) -> Self {
        Self { axes: axes.into(), ..self }
    }

    /// Sets [`Self::range`].
    #[must_use]
    pub fn with_range(self, range: impl Into<Option<ValueRange>>) -> Self {
        Self { range: range.into(), ..self }
    }

    /// Refuses options that make no sense.
    ///
    /// # Errors
    /// [`Error::InvalidClip`], also for a size where nothing can resize.
    pub(super) fn check(&self) -> Result<()> {
        let fail = |problem| Err(Error::InvalidClip { problem });
        if self.frames == Some(0) {
            return fail("0 frames of it were asked for".into());
        }
        match self.size {
            Some((height, width)) if !is_picture_size(width as u64, height as u64) => fail(format!(
                "a size of {width}x{height} (width x height) was asked for; expected 1 to {MAX_PIXELS} pixels"
            )),
            #[cfg(not(feature = "codecs"))]
            Some(_) => fail("a size was asked for: resizing needs codecs, and this build has none".into()),
            _ => Ok(()),
        }
    }

    /// Whether they tell what an array may not tell of itself.
    pub(super) fn is_about_array(&self) -> bool {
        self.axes.is_some() || self.range.is_some()
    }
}

/// Whether a picture may be so large.
fn is_picture_size(width: u64, height: u64) -> bool {
    width > 0 && height > 0 && width.checked_mul(height).is_some_and(|pixels| pixels <= MAX_PIXELS)
}

/// [`Error::BadClip`] unless a picture may be so large.
pub(super) fn check_size(path: &Path, width: u64, height: u64) -> Result<()> {
    match is_picture_size(width, height) {
        true => Ok(()),
        false => {
            Err(bad(path, format!("a frame of {width}x{height} (width x height); expected 1 to {MAX_PIXELS} pixels")))
        }
    }
}

/// How many frames of each sample will be returned, of `found` that are there as far as is known.
pub(super) fn frames_to_read(path: &Path, options: ReadOptions, found: Option<usize>) -> Result<Option<usize>> {
    match (options.frames, found) {
        (_, Some(0)) => Err(bad(path, "it has no frames")),
        (Some(asked), Some(found)) if asked > found => Err(Error::TooFewFrames { path: path.into(), asked, found }),
        (asked, found) => Ok(asked.or(found)),
    }
}

pub(super) fn no_frames_asked() -> Error {
    Error::InvalidClip { problem: "a block of 0 frames was asked for".into() }
}
