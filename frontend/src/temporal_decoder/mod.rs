//! `AutoencoderKLTemporalDecoder`: the encoder of `AutoencoderKL`, of single images; its decoder with
//! a residual block over time behind every one of single frames. Stable Video Diffusion.
//!
//! From diffusers' `autoencoder_kl_temporal_decoder.py`, `unets/unet_3d_blocks.py` and `resnet.py`.
//! Frames are decoded some at a time, by themselves: as many as the pipeline's `decode_chunk_size`
//! says. Group norms gather their statistics over them, so that other numbers give other videos.
//! The class has no tiles; those here are `AutoencoderKL`'s.

mod config;
mod decoder;
mod other_names;
mod recognition;

use ir::{BuildError, Value};

use crate::autoencoder::{Autoencoder, Channels, Dialect};
use crate::autoencoder_kl;
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::LatentScaling;
use crate::layers::frame_by_frame;
use crate::network::Network;
use crate::step::{Half, StepKind};
use crate::tile_rule::TileRule;

pub use config::Config;

/// Frames that are decoded at once (the pipeline's `decode_latents`), and of which the smaller of
/// the published models makes videos.
const DECODED_AT_ONCE: usize = 14;

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
        self.of_images().spatial_compression()
    }

    fn temporal_compression(&self) -> usize {
        1
    }

    fn training_size(&self) -> [usize; 2] {
        [self.sample_size; 2]
    }

    fn frame_steps(&self, half: Half) -> FrameSteps {
        match half {
            Half::Decoder => FrameSteps::Parts { frames: DECODED_AT_ONCE },
            Half::Encoder => FrameSteps::Free { first: 1, unit: 1, frames: 1 },
        }
    }

    fn result_frames(&self, _kind: StepKind, frames: usize) -> usize {
        frames
    }

    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
        match d.kind().half {
            Half::Decoder => decoder::decode(self, d, input),
            Half::Encoder => {
                frame_by_frame(d, input, |d, frames| autoencoder_kl::encoder::encode(&self.of_images(), d, frames))
            }
        }
    }

    fn latent_scaling(&self) -> LatentScaling {
        LatentScaling { scaling_factor: self.scaling_factor, ..LatentScaling::default() }
    }

    fn frames_in_batch(&self) -> bool {
        true
    }

    /// Where the reference has other than two layers between the levels and the latents, it does
    /// not run some of the modules that it has there.
    fn leaves_unread(&self, name: &str) -> bool {
        let layer = |module: &str| name.rsplit_once(module).and_then(|(_, rest)| rest.split('.').next());
        match layer("decoder.mid_block.resnets.").and_then(|layer| layer.parse::<usize>().ok()) {
            Some(layer) => layer > 1,
            None => self.layers_per_block == 1 && name.contains("decoder.mid_block.attentions."),
        }
    }

    fn tile_rule(&self, half: Half) -> TileRule {
        self.of_images().tile_rule(half)
    }

    fn dialects(&self) -> Vec<Dialect> {
        let levels = self.levels();
        vec![Dialect::new("LDM", move |name| other_names::of_ldm(levels, name))]
    }
}
