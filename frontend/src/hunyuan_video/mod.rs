//! `AutoencoderKLHunyuanVideo`: causal 3D convolutions whose borders are replicated, group norms and
//! attention over all frames, and tiles along time. HunyuanVideo, FramePack, Kandinsky 5, SkyReels.
//!
//! From diffusers' `autoencoder_kl_hunyuan_video.py`. Norms see all frames, so a clip in tiles along
//! time has other numbers than in one piece: the reference always cuts clips of more than 4 latent
//! frames, or 16 frames, and so is it done here.
//!
//! The encoder makes a latent of what is left over of height and width. In tiles the reference then
//! leaves that latent out again; here frames have it in tiles, too.

mod blocks;
mod config;
mod decoder;
mod encoder;
mod other_names;
mod recognition;

use ir::{BuildError, Value};

use crate::autoencoder::{Autoencoder, Channels, Dialect};
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::LatentScaling;
use crate::step::{Half, StepKind};
use crate::tile_rule::{FrameTileRule, LastTile, SurplusFrame, TileRule};

pub use config::Config;

/// Height and width of the videos that the published model was trained on.
const TRAINING_SIZE: [usize; 2] = [720, 1280];

/// Height and width of a tile in pixels (`tile_sample_min_height`, `tile_sample_min_width`).
const TILE: usize = 256;

/// The share of a tile that the next one covers too: a stride is 192 pixels
/// (`tile_sample_stride_height`, `tile_sample_stride_width`).
const OVERLAP: f64 = 0.25;

/// Frames of a tile along time, and from one to the next (`tile_sample_min_num_frames`,
/// `tile_sample_stride_num_frames`).
const TILE_FRAMES: [usize; 2] = [16, 12];

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
        1 << self.spatial_levels()
    }

    fn temporal_compression(&self) -> usize {
        self.temporal_compression_ratio
    }

    fn rounds_up(&self) -> bool {
        true
    }

    fn training_size(&self) -> [usize; 2] {
        TRAINING_SIZE.map(|pixels| pixels.next_multiple_of(self.spatial_compression()))
    }

    fn frame_steps(&self, _half: Half) -> FrameSteps {
        FrameSteps::Whole
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

    fn frame_tile_rule(&self, _half: Half) -> Option<FrameTileRule> {
        let [frames, stride] = TILE_FRAMES;
        let surplus = Some(SurplusFrame::First);
        Some(FrameTileRule { frames, stride, usual: true, surplus, last: LastTile::BeginsInside })
    }

    fn dialects(&self) -> Vec<Dialect> {
        let levels = self.levels();
        vec![Dialect::new("LDM", move |name| other_names::of_ldm(levels, name))]
    }
}
