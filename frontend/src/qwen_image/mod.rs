//! `AutoencoderKLQwenImage`: the network of Wan 2.1 for images, which are videos of one frame; it
//! takes more of them too.
//!
//! From diffusers' `autoencoder_kl_qwenimage.py`.

mod config;

use ir::{BuildError, Value};

use crate::autoencoder::{Autoencoder, Channels, Dialect};
use crate::config_json::{self, ConfigProblem, Configuration};
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::LatentScaling;
use crate::step::{Half, StepKind};
use crate::tile_rule::TileRule;

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

    fn training_size(&self) -> [usize; 2] {
        self.network().training_size()
    }

    fn frame_steps(&self, half: Half) -> FrameSteps {
        self.network().frame_steps(half)
    }

    fn result_frames(&self, kind: StepKind, frames: usize) -> usize {
        self.network().result_frames(kind, frames)
    }

    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
        self.network().declare(d, input)
    }

    fn latent_scaling(&self) -> LatentScaling {
        LatentScaling {
            latents_mean: Some(self.latents_mean.clone()),
            latents_std: Some(self.latents_std.clone()),
            ..LatentScaling::default()
        }
    }

    fn tile_rule(&self, half: Half) -> TileRule {
        self.network().tile_rule(half)
    }

    /// The reference brings no tiles into it.
    fn result_range(&self, half: Half, tiled: bool) -> Option<[f32; 2]> {
        (half == Half::Decoder && !tiled).then_some([-1.0, 1.0])
    }

    fn dialects(&self) -> Vec<Dialect> {
        self.network().dialects()
    }
}
