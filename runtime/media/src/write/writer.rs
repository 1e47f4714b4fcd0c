//! What takes a clip's frames in order: the trait of all writers, and the check that they make of
//! their caller.

use std::path::{Path, PathBuf};

use crate::clip::{ClipShape, FrameBlock};
use crate::error::{Error, Result};

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
/// A value x becomes the pixel round(clamp(x / 2 + 0.5, 0, 1) * 255), halves to the even number, as
/// the postprocessing of diffusers does; NaN becomes 0. Arrays keep values as they are. After an
/// error the writer is of no more use: drop it.
pub trait ClipWriter: Send {
    /// Appends a block. Blocks of a sample come in the order of frames; samples one after the
    /// other.
    ///
    /// # Errors
    /// [`Error::FrameOrder`], [`files::Error::Encode`], [`files::Error::Write`], [`Error::Stream`].
    fn write(&mut self, sample: usize, frames: &FrameBlock<'_>) -> Result<()>;

    /// Puts the output in its place, replacing what was there. With several files, each appears
    /// whole, one by one.
    ///
    /// # Errors
    /// [`Error::FrameOrder`] if frames are missing, [`files::Error::Write`],
    /// [`files::Error::NotInPlace`].
    fn finish(self: Box<Self>) -> Result<Output>;
}

/// Which frame is due: the check that every writer makes of its caller.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) path: PathBuf,
    shape: ClipShape,
    pub(super) sample: usize,
    frame: usize,
}

impl Progress {
    pub(super) fn new(path: &Path, shape: ClipShape) -> Progress {
        Progress { path: path.into(), shape, sample: 0, frame: 0 }
    }

    /// Checks the block and counts it; returns its first frame's number within the sample.
    pub(super) fn advance(&mut self, sample: usize, block: &FrameBlock<'_>) -> Result<usize> {
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

    pub(super) fn check_complete(&self) -> Result<()> {
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
