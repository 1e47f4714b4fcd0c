//! Where the frames come from that a clip's steps read: a tensor in memory, or a caller that has
//! them one after the other.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::spill::Spill;

/// Gives the next frames of a sample: its number in the batch, and how many frames; row-major [C,
/// frames, H, W].
pub type NextFrames<'a> = dyn FnMut(usize, usize) -> Result<Vec<f32>> + 'a;

/// Frames in order.
pub(crate) trait Source {
    /// Puts `frames` of `sample` to `to`, [C, frames, H, W], in place of what is there.
    ///
    /// # Errors
    /// Memory runs out; what the caller's source returns, [`media::Error::InvalidClip`] if it gives
    /// another number of values.
    fn load(&mut self, sample: usize, frames: &Range<usize>, to: &mut Vec<f32>) -> Result<()>;

    /// Whether frames can be had more than once, and in any order.
    fn is_random_access(&self) -> bool;
}

/// A whole clip in memory, [B, C, T, H, W].
pub(crate) struct InMemory<'a> {
    pub data: &'a [f32],
    pub shape: [usize; 5],
}

impl Source for InMemory<'_> {
    fn load(&mut self, sample: usize, frames: &Range<usize>, to: &mut Vec<f32>) -> Result<()> {
        let [_, channels, total, height, width] = self.shape;
        let plane = height * width;
        to.clear();
        to.try_reserve_exact(channels * frames.len() * plane)
            .map_err(|cause| Error::Memory { step: "the frames of a step".into(), problem: cause.to_string() })?;
        for channel in 0..channels {
            let start = (sample * channels + channel) * total;
            to.extend_from_slice(&self.data[(start + frames.start) * plane..(start + frames.end) * plane]);
        }
        Ok(())
    }

    fn is_random_access(&self) -> bool {
        true
    }
}

/// A clip [B, C, T, H, W] whose frames a caller gives as they are asked for.
pub(crate) struct Stream<'a> {
    pub next: &'a mut NextFrames<'a>,
    pub shape: [usize; 5],
}

impl Source for Stream<'_> {
    fn load(&mut self, sample: usize, frames: &Range<usize>, to: &mut Vec<f32>) -> Result<()> {
        *to = (self.next)(sample, frames.len())?;
        let [_, channels, _, height, width] = self.shape;
        let expected = channels * frames.len() * height * width;
        if to.len() == expected {
            return Ok(());
        }
        let problem = format!(
            "frames {} to {} of sample {sample} came as {} values, expected {expected}: [C, T, H, W] = {:?}",
            frames.start,
            frames.end - 1,
            to.len(),
            [channels, frames.len(), height, width]
        );
        Err(media::Error::InvalidClip { problem }.into())
    }

    fn is_random_access(&self) -> bool {
        false
    }
}

/// One sample's frames for several passes over its batches: what can be had only once is put aside
/// on the first pass.
pub(crate) struct Replay<'a> {
    source: &'a mut dyn Source,
    sample: usize,
    batches: &'a [Range<usize>],
    seen: Option<Spill>,
}

impl<'a> Replay<'a> {
    /// The frames of `sample`, batch by batch.
    pub(crate) fn new(source: &'a mut dyn Source, sample: usize, batches: &'a [Range<usize>]) -> Result<Self> {
        let seen = if source.is_random_access() { None } else { Some(Spill::new()?) };
        Ok(Self { source, sample, batches, seen })
    }

    /// Puts the frames of a batch to `to`. On the first pass batches come in order.
    pub(crate) fn load(&mut self, batch: usize, to: &mut Vec<f32>) -> Result<()> {
        match &mut self.seen {
            Some(seen) if batch < seen.len() => Ok(seen.read(batch, to)?),
            Some(seen) => {
                self.source.load(self.sample, &self.batches[batch], to)?;
                Ok(seen.push(to)?)
            }
            None => self.source.load(self.sample, &self.batches[batch], to),
        }
    }
}
