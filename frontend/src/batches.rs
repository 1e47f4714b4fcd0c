//! Frames: how a clip falls into steps, and how many frames come out of a step and of a clip.
//!
//! As in diffusers' `_decode` and `_encode`: 2 latent frames or 8 frames a step, and what is left over joins the first
//! step. Group norms gather their statistics over a step's frames, so the same clip in other steps gives other numbers.

use std::ops::Range;

use crate::config::Config;

/// Latent frames of a decode step.
pub const DECODE_FRAMES: usize = 2;

/// Frames of an encode step.
pub const ENCODE_FRAMES: usize = 8;

/// The latent frames of each decode step of a clip: 13 fall into 3 + 2 + 2 + 2 + 2 + 2, 1 into 1. No frames, no steps.
pub fn decode_batches(latent_frames: usize) -> impl ExactSizeIterator<Item = Range<usize>> + Clone {
    batches(latent_frames, DECODE_FRAMES)
}

/// The frames of each encode step of a clip: 17 fall into 9 + 8, 12 into 12, 5 into 5. No frames, no steps.
pub fn encode_batches(frames: usize) -> impl ExactSizeIterator<Item = Range<usize>> + Clone {
    batches(frames, ENCODE_FRAMES)
}

fn batches(frames: usize, batch: usize) -> impl ExactSizeIterator<Item = Range<usize>> + Clone {
    let steps = if frames == 0 { 0 } else { (frames / batch).max(1) };
    let rest = frames % batch;
    (0..steps).map(move |step| {
        let start = if step == 0 { 0 } else { batch * step + rest };
        start..frames.min(batch * (step + 1) + rest)
    })
}

/// Frames that an upsampler over time makes: each frame becomes two, but an odd first one stays one.
pub(crate) fn upsampled_frames(frames: usize) -> usize {
    frames.saturating_mul(2) - frames % 2
}

/// Frames that a downsampler over time leaves: two become one, but an odd first one stays one.
pub(crate) fn downsampled_frames(frames: usize) -> usize {
    frames.div_ceil(2)
}

impl Config {
    /// Frames that one decode step makes of its latent frames.
    pub fn decoded_step_frames(&self, latent_frames: usize) -> usize {
        (0..self.temporal_stages()).fold(latent_frames, |frames, _| upsampled_frames(frames))
    }

    /// Latent frames that one encode step makes of its frames.
    pub fn encoded_step_frames(&self, frames: usize) -> usize {
        (0..self.temporal_stages()).fold(frames, |frames, _| downsampled_frames(frames))
    }

    /// Frames that a clip of latents decodes to, over all its steps: 49 for 13 with temporal compression 4.
    pub fn decoded_frames(&self, latent_frames: usize) -> usize {
        clip_frames(decode_batches(latent_frames), |frames| self.decoded_step_frames(frames))
    }

    /// Latent frames that a clip encodes to, over all its steps: 13 for 49 with temporal compression 4.
    pub fn encoded_frames(&self, frames: usize) -> usize {
        clip_frames(encode_batches(frames), |frames| self.encoded_step_frames(frames))
    }
}

/// The sum over all steps; all but the first are alike.
fn clip_frames(mut steps: impl ExactSizeIterator<Item = Range<usize>>, step_frames: impl Fn(usize) -> usize) -> usize {
    let first = steps.next().map_or(0, |step| step_frames(step.len()));
    let others = steps.len();
    let other = steps.next().map_or(0, |step| step_frames(step.len()));
    first.saturating_add(other.saturating_mul(others))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(steps: impl Iterator<Item = Range<usize>>) -> Vec<usize> {
        steps.map(|step| step.len()).collect()
    }

    #[test]
    fn what_is_left_over_joins_the_first_step() {
        assert_eq!(lengths(decode_batches(13)), [3, 2, 2, 2, 2, 2]);
        assert_eq!(lengths(decode_batches(1)), [1]);
        assert_eq!(lengths(decode_batches(4)), [2, 2]);
        assert_eq!(lengths(encode_batches(9)), [9]);
        assert_eq!(lengths(encode_batches(12)), [12]);
        assert_eq!(lengths(encode_batches(17)), [9, 8]);
        assert_eq!(lengths(encode_batches(5)), [5]);
        assert_eq!(lengths(encode_batches(0)), [0; 0]);
        assert_eq!(encode_batches(23).collect::<Vec<_>>(), [0..15, 15..23]);
    }

    #[test]
    fn steps_cover_every_clip_without_gaps() {
        for frames in 1..100 {
            for steps in [decode_batches(frames).collect::<Vec<_>>(), encode_batches(frames).collect()] {
                assert_eq!(steps.iter().flat_map(Clone::clone).collect::<Vec<_>>(), (0..frames).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn clips_have_the_published_lengths() {
        let config = Config::default();
        for (latents, frames) in [(0, 0), (1, 1), (2, 8), (3, 9), (5, 17), (13, 49), (21, 81)] {
            assert_eq!(config.decoded_frames(latents), frames);
            assert_eq!(config.encoded_frames(frames), latents);
        }
        assert_eq!((config.encoded_frames(4), config.encoded_frames(12), config.encoded_frames(6)), (1, 3, 2));
        assert_eq!(config.decoded_frames(usize::MAX), usize::MAX);
        let still = Config { temporal_compression_ratio: 1.0, ..config };
        assert_eq!((still.decoded_frames(7), still.encoded_frames(7)), (7, 7));
    }
}
