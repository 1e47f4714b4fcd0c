//! `AutoencoderKLWan`: causal 3D convolutions behind zeros, norms over the channels of each
//! position, attention in each frame.
//!
//! From diffusers' `autoencoder_kl_wan.py`. Nothing looks beyond a position but convolutions and
//! the attention of a frame, so a clip may be cut anywhere behind its first frame, which is a step
//! of its own: the samplers over time leave it alone.

mod blocks;
mod config;
mod decoder;
mod encoder;

use ir::{BuildError, Value};

use crate::autoencoder::{Autoencoder, Channels};
use crate::config_json::{self, ConfigProblem, Configuration};
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::LatentScaling;
use crate::step::{Half, Position, StepKind};
use crate::tile_rule::TileRule;

pub use config::Config;

/// Tiles of `enable_tiling`: 256 pixels, of which 192 lie between the beginning of one and that of
/// the next.
const TILES: TileRule = TileRule { size: [256, 256], overlap: [0.25, 0.25] };

/// Height and width in pixels of the smaller of the sizes that the published models were trained
/// on.
const TRAINING_SIZE: [usize; 2] = [480, 832];

impl Autoencoder for Config {
    fn class_name(&self) -> &'static str {
        Self::CLASS
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        config_json::fields(self)
    }

    fn problems(&self) -> Vec<ConfigProblem> {
        config_json::problems(self)
    }

    fn channels(&self) -> Channels {
        let patch = self.patch() * self.patch();
        Channels {
            input: self.in_channels / patch,
            output: self.out_channels / patch,
            latents: self.z_dim,
            moments: 2 * self.z_dim,
        }
    }

    fn spatial_compression(&self) -> usize {
        self.patch() << (self.levels() - 1)
    }

    fn temporal_compression(&self) -> usize {
        1 << self.temporal_stages()
    }

    fn training_size(&self) -> [usize; 2] {
        TRAINING_SIZE
    }

    fn frame_steps(&self, half: Half) -> FrameSteps {
        let unit = match half {
            Half::Decoder => 1,
            Half::Encoder => self.temporal_compression(),
        };
        FrameSteps::Free { first: 1, unit, frames: unit }
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
            Half::Decoder => decoder::decode(self, d, input),
            Half::Encoder => encoder::encode(self, d, input),
        }
    }

    fn latent_scaling(&self) -> LatentScaling {
        LatentScaling {
            scaling_factor: 1.0,
            shift_factor: None,
            latents_mean: Some(self.latents_mean.clone()),
            latents_std: Some(self.latents_std.clone()),
        }
    }

    fn tile_rule(&self) -> TileRule {
        TILES
    }

    fn result_range(&self, half: Half, _tiled: bool) -> Option<[f32; 2]> {
        (half == Half::Decoder).then_some([-1.0, 1.0])
    }
}
