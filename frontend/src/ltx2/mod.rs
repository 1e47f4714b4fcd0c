//! `AutoencoderKLLTX2Video`: the network of LTX-Video without a change of channels of its own, with
//! samplers of each kind in both halves and borders of each kind. LTX-2 and LTX-2.3.
//!
//! From diffusers' `autoencoder_kl_ltx2.py`. Whether a half is causal its configuration says; that
//! the reference can be asked to be so in a call is not offered here.

mod config;

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
        Some(crate::ltx::STATISTICS)
    }

    fn leaves_unread(&self, name: &str) -> bool {
        crate::ltx::leaves_unread(name)
    }

    fn tile_rule(&self, _half: Half) -> TileRule {
        crate::ltx::tile_rule()
    }

    fn frame_tile_rule(&self, half: Half) -> Option<FrameTileRule> {
        Some(crate::ltx::frame_tile_rule(half))
    }

    fn dialects(&self) -> Vec<Dialect> {
        self.network().dialects()
    }
}
