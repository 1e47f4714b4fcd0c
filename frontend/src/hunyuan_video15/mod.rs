//! `AutoencoderKLHunyuanVideo15`: causal 3D convolutions whose borders are replicated, norms over
//! channels, attention over all frames of a clip, samplers that shuffle channels.
//!
//! From diffusers' `autoencoder_kl_hunyuanvideo15.py`. A clip is one step, as in the reference: its
//! attention sees all earlier frames. The reference decodes and encodes one sample at a time alone
//! (`use_slicing`); batches run so here, too. In tiles it leaves results as large as they come, so
//! that some have frames of a wrong size; tiles that do not fit together are refused here.

mod blocks;
mod config;
mod decoder;
mod encoder;
mod other_names;
mod recognition;
mod samplers;

use ir::{BuildError, Value};

use crate::autoencoder::{Autoencoder, Channels, Dialect};
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::LatentScaling;
use crate::step::{Half, StepKind};
use crate::tile_rule::TileRule;

pub use config::Config;

/// Height and width of the videos that the published model was trained on.
const TRAINING_SIZE: [usize; 2] = [480, 848];

/// Height and width of a tile in pixels (`tile_sample_min_height`, `tile_sample_min_width`).
const TILE: usize = 256;

/// The share of a tile that the next one covers too (`tile_overlap_factor`).
const OVERLAP: f64 = 0.25;

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
        self.spatial_compression_ratio
    }

    fn temporal_compression(&self) -> usize {
        self.temporal_compression_ratio
    }

    fn size_unit(&self, half: Half) -> usize {
        match half {
            Half::Decoder => 1,
            Half::Encoder => self.spatial_compression(),
        }
    }

    fn training_size(&self) -> [usize; 2] {
        TRAINING_SIZE.map(|pixels| pixels.next_multiple_of(self.spatial_compression()))
    }

    fn frame_steps(&self, half: Half) -> FrameSteps {
        match half {
            Half::Decoder => FrameSteps::Whole,
            Half::Encoder => FrameSteps::WholeUnits { unit: self.temporal_compression(), streams: false },
        }
    }

    fn result_frames(&self, kind: StepKind, frames: usize) -> usize {
        let behind = frames.saturating_sub(1);
        1 + match kind.half {
            Half::Decoder => behind.saturating_mul(self.temporal_compression()).min(usize::MAX - 1),
            Half::Encoder => behind / self.temporal_compression(),
        }
    }

    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
        match d.kind().half {
            Half::Decoder => decoder::decode(self, d, input),
            Half::Encoder => encoder::encode(self, d, input),
        }
    }

    fn latent_scaling(&self) -> LatentScaling {
        LatentScaling { scaling_factor: self.scaling_factor, ..LatentScaling::default() }
    }

    fn tile_rule(&self, _half: Half) -> TileRule {
        TileRule::new([TILE; 2], [OVERLAP; 2])
    }

    fn dialects(&self) -> Vec<Dialect> {
        vec![Dialect::new("original", other_names::of_original)]
    }
}
