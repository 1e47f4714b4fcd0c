//! `AutoencoderKLCosmos`: patches of wavelet coefficients, convolutions factored into space and time,
//! norms of each frame, attention in each frame and over time. Cosmos 1.0.
//!
//! From diffusers' `autoencoder_kl_cosmos.py`. The reference takes whole clips, and so does this:
//! attention over time stands between the convolutions at the lowest resolution and sees all earlier
//! frames, whose keys and values would be a state that grows; what a clip takes is little, since
//! patches make the highest resolution a small one. It says nothing of tiles but sizes that nobody
//! reads; tiles here have these.

mod blocks;
mod config;
mod halves;
mod latent_statistics;
mod other_names;
mod patches;
mod recognition;

use ir::{BuildError, Value};

use crate::autoencoder::{Autoencoder, Channels, Dialect};
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::{LatentScaling, Unscaling};
use crate::step::{Half, StepKind};
use crate::tile_rule::TileRule;

pub use config::{Config, PatchType};

/// Height and width in pixels of a tile.
const TILE: usize = 512;
/// The share of a tile that the next one covers too: tiles begin every 448 pixels.
const OVERLAP: f64 = 0.125;

/// Height and width in pixels of the videos that the published models make.
const TRAINING_SIZE: [usize; 2] = [704, 1280];

/// By what pipelines multiply latents, beside mean and deviation: the `sigma_data` of their
/// scheduler.
const SIGMA: f64 = 0.5;

impl Autoencoder for Config {
    /// The encoder gives latents, and no variance of them (`IdentityDistribution`).
    fn channels(&self) -> Channels {
        Channels {
            input: self.in_channels,
            output: self.out_channels,
            latents: self.latent_channels,
            moments: self.latent_channels,
        }
    }

    fn spatial_compression(&self) -> usize {
        self.compression()[0]
    }

    fn temporal_compression(&self) -> usize {
        self.compression()[1]
    }

    /// Patches are whole, and samplers halve even sizes alone.
    fn size_unit(&self, half: Half) -> usize {
        match half {
            Half::Decoder => 1,
            Half::Encoder => self.spatial_compression(),
        }
    }

    fn training_size(&self) -> [usize; 2] {
        let unit = self.spatial_compression();
        TRAINING_SIZE.map(|pixels| (pixels / unit).max(1).saturating_mul(unit))
    }

    fn frame_steps(&self, half: Half) -> FrameSteps {
        match half {
            Half::Decoder => FrameSteps::Whole,
            Half::Encoder => FrameSteps::WholeUnits { unit: self.temporal_compression(), streams: false },
        }
    }

    fn result_frames(&self, kind: StepKind, frames: usize) -> usize {
        let by = self.temporal_compression();
        match kind.half {
            Half::Decoder => frames.saturating_mul(by).saturating_sub(by - 1),
            Half::Encoder => frames.div_ceil(by),
        }
    }

    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
        match d.kind().half {
            Half::Decoder => halves::decode(self, d, input),
            Half::Encoder => halves::encode(self, d, input),
        }
    }

    /// Mean and deviation are of each of the first latent frames. The factor of latents is none of
    /// the configuration's, whose own no pipeline reads.
    fn latent_scaling(&self) -> LatentScaling {
        let frames = self.latents_mean.as_ref().map_or(1, |mean| mean.len() / self.latent_channels.max(1));
        LatentScaling {
            scaling_factor: SIGMA,
            latents_mean: self.latents_mean.clone(),
            latents_std: self.latents_std.clone(),
            frames,
            ..LatentScaling::default()
        }
    }

    fn unscaling(&self) -> Unscaling {
        Unscaling::Inside
    }

    fn tile_rule(&self, _half: Half) -> TileRule {
        TileRule::new([TILE; 2], [OVERLAP; 2])
    }

    fn dialects(&self) -> Vec<Dialect> {
        let up_blocks = self.up_blocks().len();
        vec![Dialect::new("original", move |name| other_names::of_authors(up_blocks, name))]
    }

    /// Constants that the authors' files hold.
    fn leaves_unread(&self, name: &str) -> bool {
        ["wavelets", "_arange", "patch_size_buffer"].iter().any(|constant| name.ends_with(constant))
    }
}
