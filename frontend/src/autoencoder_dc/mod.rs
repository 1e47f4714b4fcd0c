//! `AutoencoderDC`: a deep compression autoencoder: residual blocks, linear attention over several
//! scales at low resolutions, shortcuts without weights around samplers. Sana, DC-AE.
//!
//! From diffusers' `autoencoder_dc.py`, `SanaMultiscaleLinearAttention` of `attention_processor.py`
//! and `GLUMBConv` of `transformers/sana_transformer.py`. The encoder gives latents, without a
//! variance. Attention sees the whole image, so tiles give other numbers than the image in one
//! piece.

mod blocks;
mod config;
mod decoder;
mod encoder;
mod recognition;
mod samplers;

use ir::{BuildError, Value};

use crate::autoencoder::{Autoencoder, Channels, Medium};
use crate::config_rules;
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::LatentScaling;
use crate::step::{Half, StepKind};
use crate::tile_rule::TileRule;

pub use config::Config;

/// Height and width of a tile in pixels.
const TILE: usize = 512;
/// The share of a tile that the next one covers too: tiles begin every 448 pixels.
const OVERLAP: f64 = 0.125;

/// A size of the images that the published models were trained on.
const TRAINING_SIZE: usize = 1024;

impl Autoencoder for Config {
    fn medium(&self) -> Medium {
        Medium::Image
    }

    fn channels(&self) -> Channels {
        Channels {
            input: self.in_channels,
            output: self.in_channels,
            latents: self.latent_channels,
            moments: self.latent_channels,
        }
    }

    fn spatial_compression(&self) -> usize {
        config_rules::compression(self.encoder_block_out_channels.len())
    }

    fn temporal_compression(&self) -> usize {
        1
    }

    /// Shortcuts take means of whole blocks of pixels.
    fn size_unit(&self, half: Half) -> usize {
        match half {
            Half::Decoder => 1,
            Half::Encoder => self.spatial_compression(),
        }
    }

    fn training_size(&self) -> [usize; 2] {
        [TRAINING_SIZE.max(self.spatial_compression()); 2]
    }

    fn frame_steps(&self, _half: Half) -> FrameSteps {
        FrameSteps::Whole
    }

    fn result_frames(&self, _kind: StepKind, frames: usize) -> usize {
        frames
    }

    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
        match d.kind().half {
            Half::Decoder => d.scope("decoder", |d| decoder::decoder(self, d, input)),
            Half::Encoder => d.scope("encoder", |d| encoder::encoder(self, d, input)),
        }
    }

    fn latent_scaling(&self) -> LatentScaling {
        LatentScaling { scaling_factor: self.scaling_factor, ..LatentScaling::default() }
    }

    fn tile_rule(&self, _half: Half) -> TileRule {
        TileRule::new([TILE; 2], [OVERLAP; 2])
    }
}
