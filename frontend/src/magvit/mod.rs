//! `AutoencoderKLMagvit`: causal 3x3x3 convolutions, group norms of each frame or of a step's frames.
//! EasyAnimate 5.
//!
//! From diffusers' `autoencoder_kl_magvit.py`. The first frame is a step of its own, then a latent
//! frame, or four frames, are. Where norms are of each frame, steps of more give the same numbers;
//! else they do not.
//!
//! The reference's `tiled_encode` puts whole tiles beside each other where it means the part of
//! each that no other covers; encoded in tiles, latents here are stitched as its decoder's frames
//! are.

mod blocks;
mod config;
mod halves;
mod recognition;

use ir::{BuildError, Value};

use crate::autoencoder::{Autoencoder, Channels};
use crate::config_rules;
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::LatentScaling;
use crate::step::{Half, Position, StepKind};
use crate::tile_rule::TileRule;

pub use config::Config;

/// Frames of an encode step behind the first.
const ENCODE_FRAMES: usize = 4;

/// Height and width in pixels of the reference's tiles.
const TILE: usize = 512;
/// The share of a tile that the next one covers too: tiles begin every 448 pixels.
const OVERLAP: f64 = 0.125;

/// Height and width in pixels of videos that the published model makes.
const TRAINING_SIZE: [usize; 2] = [512, 512];

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
        config_rules::compression(self.levels())
    }

    fn temporal_compression(&self) -> usize {
        1 << self.time_samplers()[0]
    }

    fn training_size(&self) -> [usize; 2] {
        let unit = self.spatial_compression();
        TRAINING_SIZE.map(|pixels| (pixels / unit).max(1).saturating_mul(unit))
    }

    fn frame_steps(&self, half: Half) -> FrameSteps {
        let (unit, frames) = match half {
            Half::Decoder => (1, 1),
            Half::Encoder => (self.temporal_compression(), ENCODE_FRAMES),
        };
        if self.spatial_group_norm {
            FrameSteps::Free { first: 1, unit, frames }
        } else {
            FrameSteps::Chunks { first: 1, unit, frames }
        }
    }

    fn result_frames(&self, kind: StepKind, frames: usize) -> usize {
        match (kind.half, kind.position) {
            (_, Position::First | Position::Whole) => frames,
            (Half::Decoder, Position::Next) => frames.saturating_mul(self.temporal_compression()),
            (Half::Encoder, Position::Next) => frames / self.temporal_compression(),
        }
    }

    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
        match d.kind().half {
            Half::Decoder => halves::decode(self, d, input),
            Half::Encoder => halves::encode(self, d, input),
        }
    }

    fn latent_scaling(&self) -> LatentScaling {
        LatentScaling { scaling_factor: self.scaling_factor, ..LatentScaling::default() }
    }

    fn tile_rule(&self, _half: Half) -> TileRule {
        TileRule::new([TILE; 2], [OVERLAP; 2])
    }
}
