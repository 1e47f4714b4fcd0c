//! One run with all of it in memory: latents to decode or a clip to encode, and what comes of it.
//! For looking at numbers; long clips are streamed, by [`Vae::decode`] and [`Vae::encode_stream`].

use frontend::{Half, Medium};

use crate::error::Result;
use crate::latents::Latents;
use crate::observer::Observer;
use crate::options::RunOptions;
use crate::posterior::Noise;
use crate::report::Report;
use crate::vae::Vae;
use crate::video::Video;

/// Latent frames, their height and their width, of a small clip.
pub const SMALL: [usize; 3] = [3, 4, 6];

/// What goes through a model.
#[derive(Debug, Clone, PartialEq)]
pub enum RunInput {
    /// Unscaled latents, through the decoder.
    Latents(Latents),
    /// A video in [-1, 1], through the encoder.
    Clip(Video),
}

impl RunInput {
    /// A tensor [B, C, T, H, W] for this half.
    pub fn of(half: Half, data: Vec<f32>, shape: [usize; 5]) -> RunInput {
        match half {
            Half::Decoder => RunInput::Latents(Latents { data, shape }),
            Half::Encoder => RunInput::Clip(Video { data, shape }),
        }
    }

    /// Normally distributed latents [B, C, T, H, W], the same on every machine.
    pub fn noise(shape: [usize; 5]) -> RunInput {
        let data = Noise::new(0).take(shape.iter().product()).map(|value| value as f32).collect();
        RunInput::of(Half::Decoder, data, shape)
    }

    /// Noise in the shape of a small clip's latents, or of a small image's: enough for every module
    /// of the model to run, and for its clips to fall into several steps.
    pub fn small(vae: &Vae) -> RunInput {
        let [frames, height, width] = SMALL;
        let frames = if vae.model().medium() == Medium::Image { 1 } else { frames };
        RunInput::noise([1, vae.model().channels().latents, frames, height, width])
    }

    /// The half of the model that it is for.
    pub fn half(&self) -> Half {
        match self {
            RunInput::Latents(_) => Half::Decoder,
            RunInput::Clip(_) => Half::Encoder,
        }
    }

    /// [B, C, T, H, W].
    pub fn shape(&self) -> [usize; 5] {
        match self {
            RunInput::Latents(latents) => latents.shape,
            RunInput::Clip(clip) => clip.shape,
        }
    }

    /// Row-major.
    pub fn data(&self) -> &[f32] {
        match self {
            RunInput::Latents(latents) => &latents.data,
            RunInput::Clip(clip) => &clip.data,
        }
    }

    /// Runs it: frames [B, C, T, H, W] of latents, moments [B, 2 C, T, H, W] of a clip.
    ///
    /// # Errors
    /// As [`Vae::decode`] and [`Vae::encode`].
    pub fn run(&self, vae: &Vae, options: &RunOptions, observer: &mut dyn Observer) -> Result<(Video, Report)> {
        match self {
            RunInput::Latents(latents) => vae.decode_to_memory(latents, options, observer),
            RunInput::Clip(clip) => vae.encode(clip, options, observer),
        }
    }
}
