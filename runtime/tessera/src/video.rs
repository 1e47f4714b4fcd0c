//! A tensor of a batch of videos in memory, and one that frames are put into as they come.

use std::ops::Range;

use media::{ClipShape, FrameBlock};

use crate::error::{Error, Result};
use crate::latents::Latents;

/// Videos in memory: what is encoded, in [-1, 1]; what is decoded; or the moments of latents, of
/// each sample first the means of all channels, then the log-variances.
#[derive(Debug, Clone, PartialEq)]
pub struct Video {
    /// Row-major.
    pub data: Vec<f32>,
    /// [B, C, T, H, W].
    pub shape: [usize; 5],
}

/// Videos or latents in somebody else's memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VideoView<'a> {
    /// Row-major.
    pub data: &'a [f32],
    /// [B, C, T, H, W].
    pub shape: [usize; 5],
}

impl<'a> From<&'a Video> for VideoView<'a> {
    fn from(video: &'a Video) -> Self {
        Self { data: &video.data, shape: video.shape }
    }
}

impl<'a> From<&'a Latents> for VideoView<'a> {
    fn from(latents: &'a Latents) -> Self {
        Self { data: &latents.data, shape: latents.shape }
    }
}

/// Where in a tensor [B, C, T, H, W] frames belong that come a block at a time, of each sample in
/// order.
#[derive(Debug)]
pub struct FramePlaces {
    shape: [usize; 5],
    /// Frames of each sample that came.
    filled: Vec<usize>,
}

impl FramePlaces {
    /// Of a tensor of this shape, of which no frame has come.
    pub fn new(shape: [usize; 5]) -> Self {
        Self { shape, filled: vec![0; shape[0]] }
    }

    /// The place in the row-major tensor of each channel of the next frames of a sample, [C, T, H,
    /// W], with the values that go there.
    ///
    /// # Panics
    /// When there is no such sample.
    pub fn next<'a>(
        &mut self,
        sample: usize,
        block: &FrameBlock<'a>,
    ) -> impl Iterator<Item = (Range<usize>, &'a [f32])> + use<'a> {
        let [_, channels, frames, height, width] = self.shape;
        let (plane, first) = (height * width, self.filled[sample]);
        self.filled[sample] += block.frames;
        let of_channels = block.data.chunks_exact((block.frames * plane).max(1)).enumerate();
        of_channels.map(move |(channel, values)| {
            let start = ((sample * channels + channel) * frames + first) * plane;
            (start..start + values.len(), values)
        })
    }
}

/// Videos whose frames come a block at a time: of each sample in order.
#[derive(Debug)]
pub struct VideoBuilder {
    video: Video,
    places: FramePlaces,
}

impl VideoBuilder {
    /// Room for videos of this shape; `what` they are is for the message.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(what: &str, shape: ClipShape) -> Result<Self> {
        let fail = |problem: String| Error::Memory { step: what.into(), problem };
        let axes = shape.axes();
        let elements = axes.into_iter().try_fold(1_usize, usize::checked_mul);
        let elements = elements.ok_or_else(|| fail(format!("their shape is {axes:?}")))?;
        let mut data = vec![];
        data.try_reserve_exact(elements).map_err(|cause| fail(cause.to_string()))?;
        data.resize(elements, 0.0);
        Ok(Self { video: Video { data, shape: axes }, places: FramePlaces::new(axes) })
    }

    /// Puts the next frames of a sample, [C, T, H, W], where they belong.
    ///
    /// # Panics
    /// When there is no such sample, or it has fewer frames.
    pub fn add(&mut self, sample: usize, block: &FrameBlock<'_>) {
        for (place, values) in self.places.next(sample, block) {
            self.video.data[place].copy_from_slice(values);
        }
    }

    /// The videos; zeros where no frame came.
    pub fn finish(self) -> Video {
        self.video
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_where_they_belong() {
        let shape = ClipShape { batch: 2, channels: 2, frames: 3, height: 1, width: 2 };
        let mut builder = VideoBuilder::new("the frames", shape).unwrap();
        builder.add(1, &FrameBlock { data: &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], frames: 2 });
        builder.add(0, &FrameBlock { data: &[9.0; 12], frames: 3 });
        builder.add(1, &FrameBlock { data: &[10.0, 11.0, 12.0, 13.0], frames: 1 });
        let Video { data, shape } = builder.finish();
        assert_eq!(shape, [2, 2, 3, 1, 2]);
        assert_eq!(data[..12], [9.0; 12]);
        assert_eq!(data[12..], [1.0, 2.0, 3.0, 4.0, 10.0, 11.0, 5.0, 6.0, 7.0, 8.0, 12.0, 13.0]);
        let huge =
            ClipShape { batch: usize::MAX, ..ClipShape { batch: 2, channels: 2, frames: 3, height: 1, width: 2 } };
        assert!(VideoBuilder::new("the frames", huge).unwrap_err().to_string().contains("the frames"));
    }
}
