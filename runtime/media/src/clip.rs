//! The shape of a clip, and blocks of its frames.

use crate::error::{Error, Result};

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

impl ClipShape {
    /// [B, C, T, H, W].
    pub fn axes(&self) -> [usize; 5] {
        [self.batch, self.channels, self.frames, self.height, self.width]
    }

    /// Refuses a shape that no file can hold.
    ///
    /// # Errors
    /// [`Error::InvalidClip`] for an empty axis, or more values than a file has room for.
    pub fn check(&self) -> Result<()> {
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
