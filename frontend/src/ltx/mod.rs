//! `AutoencoderKLLTXVideo`: 3D convolutions over patches of pixels, norms without parameters over
//! the channels of each position, pixel shuffles between levels. LTX-Video 0.9.0 to 0.9.8.
//!
//! From diffusers' `autoencoder_kl_ltx.py`. The encoder is causal. The decoder is not: each of its
//! convolutions sees one frame behind the one that it makes, so that a clip is one step. From 0.9.1
//! on the decoder is told how much noise is left in its latents (a timestep), and that of 0.9.1
//! adds noise of its own: see [`crate::condition`].
//!
//! What pipelines do beside that is theirs: they mix noise into the latents themselves, in front of
//! the decoder (`decode_noise_scale`).

mod blocks;
mod config;
mod decoder;
mod embedding;
mod encoder;
mod network;
mod original_names;
mod rules;

use ir::{BuildError, Value};

use crate::autoencoder::{Autoencoder, Channels, Dialect};
use crate::condition::Condition;
use crate::config_json::{self, ConfigProblem, Configuration};
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::{LatentScaling, StoredStatistics};
use crate::step::{Half, StepKind};
use crate::tile_rule::{FrameTileRule, TileRule};

pub use config::Config;
pub(crate) use config::{from_first, from_last};
pub(crate) use network::{
    Blocks, DecoderLevel, DecoderPlan, EncoderLevel, EncoderPlan, Generation, Network, STATISTICS, Sampler,
    frame_tile_rule, leaves_unread, tile_rule,
};
pub(crate) use rules::{Each, Stated, border_named, sampler_named};

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
        self.network().in_and_out()
    }

    fn spatial_compression(&self) -> usize {
        self.network().spatial_compression()
    }

    fn temporal_compression(&self) -> usize {
        self.network().temporal_compression()
    }

    fn size_unit(&self, half: Half) -> usize {
        self.network().size_unit(half)
    }

    fn least_latents(&self, half: Half) -> usize {
        self.network().least_latents(half)
    }

    fn training_size(&self) -> [usize; 2] {
        self.network().training_size()
    }

    fn frame_steps(&self, half: Half) -> FrameSteps {
        self.network().frame_steps(half)
    }

    fn result_frames(&self, kind: StepKind, frames: usize) -> usize {
        self.network().result_frames(kind, frames)
    }

    fn conditions(&self, half: Half) -> Vec<Condition> {
        self.network().conditions(half)
    }

    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
        self.network().declare(d, input)
    }

    fn latent_scaling(&self) -> LatentScaling {
        LatentScaling { scaling_factor: self.scaling_factor, ..LatentScaling::default() }
    }

    fn stored_statistics(&self) -> Option<StoredStatistics> {
        Some(STATISTICS)
    }

    fn leaves_unread(&self, name: &str) -> bool {
        leaves_unread(name)
    }

    fn tile_rule(&self, _half: Half) -> TileRule {
        tile_rule()
    }

    fn frame_tile_rule(&self, half: Half) -> Option<FrameTileRule> {
        Some(frame_tile_rule(half))
    }

    fn dialects(&self) -> Vec<Dialect> {
        self.network().dialects()
    }
}
