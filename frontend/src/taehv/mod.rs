//! TAEHV: a small network of convolutions over height and width, in which each block also sees the
//! frame before it; a stand-in for the decoders and encoders of video models. `taehv` for
//! HunyuanVideo, `taew2_1` and `taew2_2` for Wan, `taehv1_5` for HunyuanVideo-1.5, `taeltx_2` for
//! LTX-2.
//!
//! From its authors' `taehv.py` (madebyollin/taehv); diffusers has no such class, so the name that
//! `config.json` gives it, `TAEHV`, and its fields are ours. It takes latents as pipelines have
//! them, scaled, and needs no other numbers. Nothing is normalised, so that a clip may be cut
//! anywhere. The authors have no tiles; those here are so large that neighbours see the same.
//!
//! What the authors do for CogVideoX (`taecvx`) alone, keeping all frames of a clip with an even
//! number of latent frames, is not done.

mod config;
mod network;
mod recognition;

use ir::{BuildError, Value};

use crate::autoencoder::{Autoencoder, Channels};
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::{LatentScaling, Unscaling};
use crate::step::{Half, Position, StepKind};
use crate::tile_rule::TileRule;

pub use config::Config;

/// Height and width of a tile in pixels.
const TILE: usize = 512;
/// The share of a tile that the next one covers too.
const OVERLAP: f64 = 0.25;

/// A size of the videos that the models were trained for.
const TRAINING_SIZE: [usize; 2] = [480, 832];

impl Autoencoder for Config {
    fn channels(&self) -> Channels {
        Channels {
            input: self.image_channels,
            output: self.image_channels,
            latents: self.latent_channels,
            moments: self.latent_channels,
        }
    }

    fn spatial_compression(&self) -> usize {
        self.patch_size << self.levels()
    }

    fn temporal_compression(&self) -> usize {
        self.frames_of_latent()
    }

    /// The encoder rounds sizes up, and the decoder cannot give them back.
    fn size_unit(&self, half: Half) -> usize {
        match half {
            Half::Decoder => 1,
            Half::Encoder => self.patch_size << self.levels(),
        }
    }

    fn training_size(&self) -> [usize; 2] {
        let unit = self.patch_size << self.levels();
        TRAINING_SIZE.map(|pixels| (pixels / unit).max(1) * unit)
    }

    /// The encoder's frames behind the last whole unit are filled up to one by repeating the last.
    fn frame_steps(&self, half: Half) -> FrameSteps {
        let unit = match half {
            Half::Decoder => 1,
            Half::Encoder => self.frames_of_latent(),
        };
        FrameSteps::Ragged { unit, frames: unit }
    }

    /// What the first latent frame decodes to is one frame: those before it are dropped.
    fn result_frames(&self, kind: StepKind, frames: usize) -> usize {
        let each = self.frames_of_latent();
        match (kind.half, kind.position) {
            (Half::Encoder, _) => frames.div_ceil(each),
            (Half::Decoder, Position::Next) => frames.saturating_mul(each),
            (Half::Decoder, _) => frames.saturating_mul(each).saturating_sub(each - 1),
        }
    }

    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
        match d.kind().half {
            Half::Decoder => network::decode(self, d, input),
            Half::Encoder => network::encode(self, d, input),
        }
    }

    fn latent_scaling(&self) -> LatentScaling {
        LatentScaling::default()
    }

    fn unscaling(&self) -> Unscaling {
        Unscaling::Nowhere
    }

    fn tile_rule(&self, _half: Half) -> TileRule {
        TileRule::new([TILE; 2], [OVERLAP; 2])
    }

    fn result_range(&self, half: Half, _tiled: bool) -> Option<[f32; 2]> {
        (half == Half::Decoder).then_some([-1.0, 1.0])
    }
}
