//! `AutoencoderKLAllegro`: the blocks of `AutoencoderKL`, of single frames, with four convolutions over
//! time behind each residual block. Allegro.
//!
//! From diffusers' `autoencoder_kl_allegro.py`. Convolutions see frames on both sides and group norms
//! gather their statistics over all of them, so a clip in pieces has other numbers than whole. The
//! reference has no code for a clip in one piece: it takes cubes of 24 frames and `sample_size` pixels
//! a side, and blends them. Here clips are cut along time so by themselves, frames in height and width
//! as with any model; with the model's own tiles for both the numbers are the reference's, with
//! neither they are those of its `decoder` and `encoder`, called directly.
//!
//! The reference takes as many cubes as fit into a clip, and leaves what they do not reach black; a
//! clip smaller than a cube it does not take at all. Here a last tile is as large as what is left.
//! It returns `[batch, time, channel, height, width]`; here axes are in the order of all models.

mod blocks;
mod config;
mod decoder;
mod encoder;
mod recognition;

use ir::{BuildError, Value};

use crate::autoencoder::{Autoencoder, Channels};
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::LatentScaling;
use crate::step::{Half, StepKind};
use crate::tile_rule::{Corners, FrameTileRule, LastTile, TileRule};

pub use config::Config;

/// Rows and columns of a tile that the next one has too (`tile_overlap_h`, `tile_overlap_w`).
const OVERLAP: [usize; 2] = [120, 80];

/// Frames of a tile along time, and from one to the next.
const TILE_FRAMES: [usize; 2] = [24, 16];

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
        crate::config_rules::compression(self.levels())
    }

    fn temporal_compression(&self) -> usize {
        self.temporal_compression_ratio
    }

    fn training_size(&self) -> [usize; 2] {
        [self.sample_size; 2]
    }

    /// Encoders halve the frames of a clip from the first on.
    fn frame_steps(&self, half: Half) -> FrameSteps {
        match half {
            Half::Decoder => FrameSteps::Whole,
            Half::Encoder => FrameSteps::Units { unit: self.temporal_compression() },
        }
    }

    fn result_frames(&self, kind: StepKind, frames: usize) -> usize {
        match kind.half {
            Half::Decoder => frames.saturating_mul(self.temporal_compression()),
            Half::Encoder => frames / self.temporal_compression(),
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
        let overlap = OVERLAP.map(|pixels| pixels as f64 / self.sample_size as f64);
        let usual = TileRule::new([self.sample_size; 2], overlap);
        TileRule { last: LastTile::ReachesTheEnd, corners: Corners::Products, ..usual }
    }

    fn frame_tile_rule(&self, _half: Half) -> Option<FrameTileRule> {
        let [frames, stride] = TILE_FRAMES;
        Some(FrameTileRule { frames, stride, usual: true, surplus: None, last: LastTile::ReachesTheEnd })
    }
}
