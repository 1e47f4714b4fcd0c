//! `AutoencoderKL`: images by 3x3 convolutions, group norms, attention at the lowest resolution.
//! Stable Diffusion, SDXL, SD 3, FLUX.1 and many others.
//!
//! From diffusers' `autoencoder_kl.py` and `vae.py`. Norms and attention see the whole image, so
//! tiles give other numbers than the image in one piece.

pub(crate) mod blocks;
mod config;
mod decoder;
pub(crate) mod encoder;
pub(crate) mod other_names;

use ir::{BuildError, Value};

use crate::autoencoder::{Autoencoder, Channels, Dialect, Medium};
use crate::config_json::{self, ConfigProblem, Configuration};
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::LatentScaling;
use crate::step::{Half, StepKind};
use crate::tile_rule::TileRule;

pub use config::Config;

/// The share of a tile that the next one covers too (`tile_overlap_factor`).
const OVERLAP: f64 = 0.25;

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

    fn medium(&self) -> Medium {
        Medium::Image
    }

    fn channels(&self) -> Channels {
        Channels {
            input: self.in_channels,
            output: self.out_channels,
            latents: self.latent_channels,
            moments: 2 * self.latent_channels,
        }
    }

    fn spatial_compression(&self) -> usize {
        1 << self.levels().saturating_sub(1).min(usize::BITS as usize - 1)
    }

    fn temporal_compression(&self) -> usize {
        1
    }

    fn training_size(&self) -> [usize; 2] {
        [self.sample_size; 2]
    }

    fn frame_steps(&self, _half: Half) -> FrameSteps {
        FrameSteps::Whole
    }

    fn result_frames(&self, _kind: StepKind, frames: usize) -> usize {
        frames
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
            shift_factor: self.shift_factor,
            latents_mean: self.latents_mean.clone(),
            latents_std: self.latents_std.clone(),
            ..LatentScaling::default()
        }
    }

    /// `enable_tiling` has no arguments: a tile is as large as the images that the model was
    /// trained on.
    fn tile_rule(&self, _half: Half) -> TileRule {
        TileRule::new([self.sample_size; 2], [OVERLAP; 2])
    }

    fn dialects(&self) -> Vec<Dialect> {
        let levels = self.levels();
        vec![
            Dialect::new("LDM", move |name| other_names::of_ldm(levels, name)),
            Dialect::new("older diffusers", other_names::of_older_diffusers),
        ]
    }
}
