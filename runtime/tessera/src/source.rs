//! Where the frames come from that a clip's steps read: a tensor in memory, or a caller that has
//! them one after the other.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::route::Batch;
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

/// Room for so many elements.
fn reserved(elements: usize) -> Result<Vec<f32>> {
    let mut room = vec![];
    room.try_reserve_exact(elements)
        .map_err(|cause| Error::Memory { step: "the frames of a step".into(), problem: cause.to_string() })?;
    Ok(room)
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

/// A source whose frames come once, for batches that have frames in common: the last ones are kept.
pub(crate) struct Overlapping<'a> {
    source: &'a mut dyn Source,
    /// Channels of a frame.
    channels: usize,
    /// How many frames a batch has in common with those before it, at most.
    shared: usize,
    sample: usize,
    /// Which frames of the sample are kept.
    kept: Range<usize>,
    /// Those, [C, T, H, W].
    frames: Vec<f32>,
    /// The ones that came last, [C, T, H, W].
    fresh: Vec<f32>,
}

impl<'a> Overlapping<'a> {
    /// Frames of so many channels, of which so many come again.
    pub(crate) fn new(source: &'a mut dyn Source, channels: usize, shared: usize) -> Self {
        Self { source, channels, shared, sample: 0, kept: 0..0, frames: vec![], fresh: vec![] }
    }
}

impl Source for Overlapping<'_> {
    fn load(&mut self, sample: usize, frames: &Range<usize>, to: &mut Vec<f32>) -> Result<()> {
        if self.sample != sample {
            (self.sample, self.kept) = (sample, 0..0);
            self.frames.clear();
        }
        let new = self.kept.end..self.kept.end.max(frames.end);
        self.fresh.clear();
        if !new.is_empty() {
            self.source.load(sample, &new, &mut self.fresh)?;
        }
        let all = self.kept.start..new.end;
        let plane = (self.frames.len() + self.fresh.len()) / (self.channels * all.len()).max(1);
        let mut joined = reserved(self.channels * all.len() * plane)?;
        for channel in 0..self.channels {
            for (data, frames) in [(&self.frames, self.kept.len()), (&self.fresh, new.len())] {
                joined.extend_from_slice(&data[channel * frames * plane..(channel + 1) * frames * plane]);
            }
        }
        let window = |range: &Range<usize>| {
            let mut window = reserved(self.channels * range.len() * plane)?;
            for channel in joined.chunks_exact((all.len() * plane).max(1)) {
                window.extend_from_slice(&channel[(range.start - all.start) * plane..(range.end - all.start) * plane]);
            }
            Ok::<_, Error>(window)
        };
        let last = all.end.saturating_sub(self.shared).max(all.start)..all.end;
        *to = window(frames)?;
        (self.frames, self.kept) = (window(&last)?, last);
        Ok(())
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
    batches: &'a [Batch],
    seen: Option<Spill>,
}

impl<'a> Replay<'a> {
    /// The frames of `sample`, batch by batch.
    pub(crate) fn new(source: &'a mut dyn Source, sample: usize, batches: &'a [Batch]) -> Result<Self> {
        let seen = if source.is_random_access() { None } else { Some(Spill::new()?) };
        Ok(Self { source, sample, batches, seen })
    }

    /// Puts the frames of a batch to `to`. On the first pass batches come in order.
    pub(crate) fn load(&mut self, batch: usize, to: &mut Vec<f32>) -> Result<()> {
        match &mut self.seen {
            Some(seen) if batch < seen.len() => Ok(seen.read(batch, to)?),
            Some(seen) => {
                self.source.load(self.sample, &self.batches[batch].frames, to)?;
                Ok(seen.push(to)?)
            }
            None => self.source.load(self.sample, &self.batches[batch].frames, to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_come_once_are_kept_for_batches_that_share_them() {
        // Two channels of one pixel; frame t of sample s is 100 s + t, and negative in the second.
        let mut asked = vec![];
        let mut given = [0, 0];
        let mut next = |sample: usize, count: usize| {
            let frames = given[sample]..given[sample] + count;
            given[sample] = frames.end;
            asked.push((sample, frames.clone()));
            let value = |t: usize| (100 * sample + t) as f32;
            Ok(frames.clone().map(value).chain(frames.map(|t| -value(t))).collect())
        };
        let mut stream = Stream { next: &mut next, shape: [2, 2, 9, 1, 1] };
        let mut source = Overlapping::new(&mut stream, 2, 3);
        let mut found = vec![];
        for sample in 0..2 {
            for frames in [0..3, 3..5, 2..5, 5..7, 4..7, 7..9] {
                source.load(sample, &frames, &mut found).unwrap();
                let value = |t: usize| (100 * sample + t) as f32;
                let expected: Vec<f32> = frames.clone().map(value).chain(frames.map(|t| -value(t))).collect();
                assert_eq!(found, expected);
            }
        }
        assert_eq!(asked.len(), 8, "each frame is asked for once");
        assert_eq!(asked[..4], [(0, 0..3), (0, 3..5), (0, 5..7), (0, 7..9)]);
    }
}
