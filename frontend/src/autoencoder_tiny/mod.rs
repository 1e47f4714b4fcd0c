//! `AutoencoderTiny`: small convolutional networks that stand in for larger ones' encoders and
//! decoders: TAESD, TAESDXL, TAESD3, TAEF1.
//!
//! From diffusers' `autoencoder_tiny.py` and `vae.py`. The encoder gives latents, without a
//! variance. Nothing is normalised, so that tiles differ from the whole by what they do not see
//! alone. diffusers blends them by masks, whose weights reach 1 a row and a column earlier than
//! ours; and of images with other than 3 channels it takes the compression wrong, so its tiles are
//! followed where they are meant.

mod config;
mod network;
mod original_names;
mod recognition;

use ir::{BuildError, Value};

use crate::autoencoder::{Autoencoder, Channels, Dialect, Medium};
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::{LatentScaling, Unscaling};
use crate::step::{Half, StepKind};
use crate::tile_rule::TileRule;

pub use config::Config;

/// Height and width of a tile in pixels (`tile_sample_min_size`), and of the images that the
/// published models were trained on.
const TILE: usize = 512;
/// The share of a tile that the next one covers too (`tile_overlap_factor`).
const OVERLAP: f64 = 0.125;

impl Autoencoder for Config {
    fn medium(&self) -> Medium {
        Medium::Image
    }

    fn channels(&self) -> Channels {
        Channels {
            input: self.in_channels,
            output: self.out_channels,
            latents: self.latent_channels,
            moments: self.latent_channels,
        }
    }

    fn spatial_compression(&self) -> usize {
        self.compression()
    }

    fn temporal_compression(&self) -> usize {
        1
    }

    /// The encoder rounds sizes up, and the decoder cannot give them back.
    fn size_unit(&self, half: Half) -> usize {
        match half {
            Half::Decoder => 1,
            Half::Encoder => self.compression(),
        }
    }

    fn training_size(&self) -> [usize; 2] {
        [TILE; 2]
    }

    fn frame_steps(&self, _half: Half) -> FrameSteps {
        FrameSteps::Whole
    }

    fn result_frames(&self, _kind: StepKind, frames: usize) -> usize {
        frames
    }

    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
        match d.kind().half {
            Half::Decoder => network::decode(self, d, input),
            Half::Encoder => network::encode(self, d, input),
        }
    }

    fn latent_scaling(&self) -> LatentScaling {
        LatentScaling {
            scaling_factor: self.scaling_factor,
            shift_factor: Some(self.shift_factor),
            ..LatentScaling::default()
        }
    }

    fn unscaling(&self) -> Unscaling {
        Unscaling::Nowhere
    }

    fn tile_rule(&self, _half: Half) -> TileRule {
        TileRule::new([TILE; 2], [OVERLAP; 2])
    }

    fn dialects(&self) -> Vec<Dialect> {
        vec![
            Dialect::new("the authors' encoder", |name| original_names::own_name(Half::Encoder, name)),
            Dialect::new("the authors' decoder", |name| original_names::own_name(Half::Decoder, name)),
        ]
    }
}
