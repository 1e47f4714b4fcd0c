//! `AutoencoderKLMochi`: causal 3x3x3 convolutions over replicated edges, group norms of each frame,
//! blocks of places made by linear layers; attention over time in the encoder. Mochi 1.
//!
//! From diffusers' `autoencoder_kl_mochi.py`. The reference takes whole clips. Its decoder gives the
//! same numbers in steps of any number of latent frames, since norms are of each frame; its own
//! steps (`_enable_framewise_decoding`) do not run.
//!
//! Each latent frame decodes to as many frames as it stands for, also the first, which stands for
//! one: the others are dropped ([`Autoencoder::dropped_frames`]), the reference's
//! `drop_last_temporal_frames`, unless all are to be kept.

mod blocks;
mod config;
mod decoder;
mod encoder;
mod other_names;
mod recognition;

use ir::{BuildError, Value};

use crate::autoencoder::{Autoencoder, Channels, Dialect};
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::LatentScaling;
use crate::step::{Half, StepKind};
use crate::tile_rule::TileRule;

pub use config::Config;

/// Height and width in pixels of the reference's tiles.
const TILE: usize = 256;
/// The share of a tile that the next one covers too: tiles begin every 192 pixels.
const OVERLAP: f64 = 0.25;

/// Height and width in pixels of the videos that the published model was trained on.
const TRAINING_SIZE: [usize; 2] = [480, 848];

impl Autoencoder for Config {
    fn channels(&self) -> Channels {
        Channels {
            input: self.in_channels / config::FEATURES,
            output: self.out_channels,
            latents: self.latent_channels,
            moments: 2 * self.latent_channels,
        }
    }

    fn spatial_compression(&self) -> usize {
        self.spatial_expansions.iter().fold(1, |all, by| all.saturating_mul(*by))
    }

    fn temporal_compression(&self) -> usize {
        self.temporal_expansions.iter().fold(1, |all, by| all.saturating_mul(*by))
    }

    /// Convolutions of stride 2 round down; of larger ones, whose windows stand over the edges,
    /// sizes that do not divide come out otherwise than tiles of them.
    fn size_unit(&self, half: Half) -> usize {
        match half {
            Half::Encoder if self.spatial_expansions.iter().any(|by| *by > 2) => self.spatial_compression(),
            Half::Encoder | Half::Decoder => 1,
        }
    }

    fn training_size(&self) -> [usize; 2] {
        let unit = self.spatial_compression();
        TRAINING_SIZE.map(|pixels| (pixels / unit).max(1).saturating_mul(unit))
    }

    fn frame_steps(&self, half: Half) -> FrameSteps {
        match half {
            Half::Decoder => FrameSteps::Free { first: 1, unit: 1, frames: 1 },
            Half::Encoder => FrameSteps::Whole,
        }
    }

    fn reference_steps(&self, _half: Half) -> FrameSteps {
        FrameSteps::Whole
    }

    fn result_frames(&self, kind: StepKind, frames: usize) -> usize {
        let by = self.temporal_compression();
        match kind.half {
            Half::Decoder => frames.saturating_mul(by),
            // Each convolution makes one of its first frame, and then one of every so many.
            Half::Encoder => frames.div_ceil(by),
        }
    }

    fn dropped_frames(&self) -> usize {
        self.temporal_compression() - 1
    }

    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
        match d.kind().half {
            Half::Decoder => decoder::decode(self, d, input),
            Half::Encoder => encoder::encode(self, d, input),
        }
    }

    fn latent_scaling(&self) -> LatentScaling {
        LatentScaling {
            scaling_factor: self.scaling_factor,
            latents_mean: self.latents_mean.clone(),
            latents_std: self.latents_std.clone(),
            ..LatentScaling::default()
        }
    }

    fn tile_rule(&self, _half: Half) -> TileRule {
        TileRule::new([TILE; 2], [OVERLAP; 2])
    }

    fn dialects(&self) -> Vec<Dialect> {
        let levels = self.levels();
        vec![Dialect::new("original", move |name| other_names::of_authors(levels, name))]
    }
}
