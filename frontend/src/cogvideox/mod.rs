//! `AutoencoderKLCogVideoX`: causal 3D convolutions, group norms that the latents modulate in the
//! decoder.
//!
//! From diffusers' `autoencoder_kl_cogvideox.py`. Steps are the reference's, 2 latent frames or 8
//! frames: group norms gather their statistics over a step's frames.

mod blocks;
mod config;
mod decoder;
mod encoder;
mod recognition;

use ir::{BuildError, Value};

use crate::autoencoder::{Autoencoder, Channels};
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::LatentScaling;
use crate::step::{Half, StepKind};
use crate::tile_rule::TileRule;

pub use config::{CausalPadding, Config};

/// Latent frames of a decode step.
const DECODE_FRAMES: usize = 2;

/// Frames of an encode step.
const ENCODE_FRAMES: usize = 8;

impl Autoencoder for Config {
    fn channels(&self) -> Channels {
        Channels {
            input: self.in_channels,
            output: self.out_channels,
            latents: self.latent_channels,
            moments: 2 * self.latent_channels,
        }
    }

    fn spatial_compression(&self) -> usize {
        power_of_two(self.levels().saturating_sub(1))
    }

    fn temporal_compression(&self) -> usize {
        power_of_two(self.temporal_stages())
    }

    fn training_size(&self) -> [usize; 2] {
        [self.sample_height, self.sample_width]
    }

    fn frame_steps(&self, half: Half) -> FrameSteps {
        FrameSteps::Fixed {
            frames: match half {
                Half::Decoder => DECODE_FRAMES,
                Half::Encoder => ENCODE_FRAMES,
            },
        }
    }

    fn result_frames(&self, kind: StepKind, frames: usize) -> usize {
        match kind.half {
            Half::Decoder => self.decoded_step_frames(frames),
            Half::Encoder => self.encoded_step_frames(frames),
        }
    }

    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
        match d.kind().half {
            Half::Decoder => decoder::decode(self, d, input),
            Half::Encoder => encoder::encode(self, d, input),
        }
    }

    /// `invert_scale_latents` is not among the numbers: it concerns the image that conditions the
    /// image-to-video pipeline of diffusers, whose latents it divides rather than multiplies,
    /// and never decoding.
    fn latent_scaling(&self) -> LatentScaling {
        LatentScaling {
            scaling_factor: self.scaling_factor,
            shift_factor: self.shift_factor,
            latents_mean: self.latents_mean.clone(),
            latents_std: self.latents_std.clone(),
            ..LatentScaling::default()
        }
    }

    /// Half the height and width of the videos that the model was trained on, with a sixth and a
    /// fifth in common.
    fn tile_rule(&self, _half: Half) -> TileRule {
        TileRule::new([self.sample_height / 2, self.sample_width / 2], [1.0 / 6.0, 1.0 / 5.0])
    }
}

/// `2^exponent`, or the largest number where that is too small to hold it.
fn power_of_two(exponent: usize) -> usize {
    u32::try_from(exponent).ok().and_then(|exponent| 1_usize.checked_shl(exponent)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_have_the_published_lengths() {
        let config = Config::default();
        let model: &dyn Autoencoder = &config;
        for (latents, frames) in [(0, 0), (1, 1), (2, 8), (3, 9), (5, 17), (13, 49), (21, 81)] {
            assert_eq!(model.decoded_frames(latents), frames);
            assert_eq!(model.encoded_frames(frames), latents);
        }
        assert_eq!((model.encoded_frames(4), model.encoded_frames(12), model.encoded_frames(6)), (1, 3, 2));
        assert_eq!(model.decoded_frames(usize::MAX), usize::MAX);
        let still = Config { temporal_compression_ratio: 1.0, ..config };
        let still: &dyn Autoencoder = &still;
        assert_eq!((still.decoded_frames(7), still.encoded_frames(7)), (7, 7));
    }
}
