//! What every model answers, and what follows from the answers whatever the model is.
//!
//! Who runs a model asks this interface alone; which models there are is in [`crate::registry`].

use std::fmt;

use ir::{BuildError, Value};

use crate::condition::Condition;
use crate::config_json::Configured;
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::{LatentScaling, StoredStatistics, Unscaling};
use crate::step::{Half, StepKind};
use crate::tile_rule::{FrameTileRule, TileRule};

/// Channels of what goes into a model and comes out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Of the video that is encoded.
    pub input: usize,
    /// Of the video that is decoded.
    pub output: usize,
    /// Of the latents.
    pub latents: usize,
    /// Of what the encoder gives: means and log-variances of all latents, or the latents alone,
    /// as many as there are.
    pub moments: usize,
}

/// What a model works on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Medium {
    /// Videos: the reference's tensors are `[batch, channel, time, height, width]`.
    #[default]
    Video,
    /// Images, here videos of one frame: the reference's tensors are `[batch, channel, height,
    /// width]`.
    Image,
}

/// Another spelling of a checkpoint's tensors than the declaration's own, as the files have it that
/// the model's authors or other programs wrote.
pub struct Dialect {
    /// What it is called in messages.
    pub name: &'static str,
    /// The declaration's name for a name of this spelling, without whatever stands in front of the
    /// model's names; `None` where the spelling has no such name.
    pub translate: Box<Translate>,
}

/// The declaration's name for a name of another spelling.
pub type Translate = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Dialect {
    /// The spelling of this name.
    pub fn new(name: &'static str, translate: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { name, translate: Box::new(translate) }
    }
}

/// A video or image autoencoder with its configuration.
///
/// Sizes are of one axis: height and width are treated alike. Nothing here overflows for sizes of
/// any length; what is beyond the address space comes out as `usize::MAX`, and is refused when it
/// is declared.
pub trait Autoencoder: Configured + fmt::Debug + Send + Sync {
    /// What it works on. Clips of a model of images have one frame.
    fn medium(&self) -> Medium {
        Medium::Video
    }

    /// Channels of what goes in and out.
    fn channels(&self) -> Channels;

    /// Pixels of a frame for one latent, in height as in width.
    fn spatial_compression(&self) -> usize;

    /// Frames for one latent frame, the first one aside.
    fn temporal_compression(&self) -> usize;

    /// Whether the encoder makes a latent of what is left over of height and width, when so many
    /// latents are taken from them as go into them; else it is left out.
    fn rounds_up(&self) -> bool {
        false
    }

    /// What the height and width of the input of `half` must be multiples of: 1 where it rounds
    /// down by itself.
    fn size_unit(&self, half: Half) -> usize {
        let _ = half;
        1
    }

    /// The least height and width of latents that `half` takes, or makes.
    fn least_latents(&self, half: Half) -> usize {
        let _ = half;
        1
    }

    /// Height and width in pixels of the videos that the model was trained on.
    fn training_size(&self) -> [usize; 2];

    /// How a clip's frames fall into the steps of `half`, and where else they may be cut with the
    /// same result.
    fn frame_steps(&self, half: Half) -> FrameSteps;

    /// The steps of the reference, in which activations are looked at, where those of
    /// [`Self::frame_steps`] give the same numbers in less memory. Where these are
    /// [`FrameSteps::Whole`], a step over a whole clip may have any number of frames.
    fn reference_steps(&self, half: Half) -> FrameSteps {
        self.frame_steps(half)
    }

    /// Frames that a step of this kind makes of so many frames of its input.
    fn result_frames(&self, kind: StepKind, frames: usize) -> usize;

    /// What steps of `half` read beside the video, in the order of their inputs.
    fn conditions(&self, half: Half) -> Vec<Condition> {
        let _ = half;
        vec![]
    }

    /// Frames at the beginning of a decoded clip that the reference drops unless it is told to
    /// keep all. They are among those of [`Self::result_frames`], and fewer than those of a first
    /// step.
    fn dropped_frames(&self) -> usize {
        0
    }

    /// Declares what a step makes of its input `[batch, channel, time, height, width]`: the sample
    /// of latents, the moments of a sample.
    ///
    /// # Errors
    /// With a configuration without [`Configured::problems`], only where tensors do not fit the address
    /// space.
    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError>;

    /// The numbers by which pipelines scale latents, as far as the configuration has them.
    fn latent_scaling(&self) -> LatentScaling;

    /// The tensors that hold the latents' mean and spread, which [`Self::latent_scaling`] then
    /// lacks.
    fn stored_statistics(&self) -> Option<StoredStatistics> {
        None
    }

    /// Where, in the authors' code, [`Self::latent_scaling`] is undone before latents are decoded;
    /// here always outside of what is declared.
    fn unscaling(&self) -> Unscaling {
        Unscaling::Outside
    }

    /// Whether the reference's tensors are of single frames, `[batch * time, channel, height,
    /// width]`, for all that the model is one of videos.
    fn frames_in_batch(&self) -> bool {
        false
    }

    /// Whether checkpoints of this model hold a tensor of this name, which may have a prefix, that
    /// nothing reads.
    fn leaves_unread(&self, name: &str) -> bool {
        let _ = name;
        false
    }

    /// The tiles into which the reference cuts the input of `half` unless told otherwise.
    fn tile_rule(&self, half: Half) -> TileRule;

    /// The tiles along time into which the reference cuts the input of `half`, by itself or when
    /// asked to; `None` where it has none. Each is a clip of its own, which falls into steps as any
    /// clip does.
    fn frame_tile_rule(&self, half: Half) -> Option<FrameTileRule> {
        let _ = half;
        None
    }

    /// The range into which the reference brings results of `half`, behind the blending of tiles,
    /// if it does.
    fn result_range(&self, half: Half, tiled: bool) -> Option<[f32; 2]> {
        let _ = (half, tiled);
        None
    }

    /// Other spellings in which checkpoints of this model come.
    fn dialects(&self) -> Vec<Dialect> {
        vec![]
    }
}

impl dyn Autoencoder + '_ {
    /// Height or width of the latents of a sample with this height or width in pixels, rounded as
    /// the encoder does.
    pub fn latent_size(&self, pixels: usize) -> usize {
        match self.rounds_up() {
            true => pixels.div_ceil(self.spatial_compression()),
            false => pixels / self.spatial_compression(),
        }
    }

    /// Height or width in pixels of what latents of this height or width decode to.
    pub fn sample_size(&self, latents: usize) -> usize {
        latents.saturating_mul(self.spatial_compression())
    }

    /// Height or width of the result of `half` for an input of this height or width.
    pub fn result_size(&self, half: Half, size: usize) -> usize {
        match half {
            Half::Decoder => self.sample_size(size),
            Half::Encoder => self.latent_size(size),
        }
    }

    /// The least height and width that `half` takes.
    pub fn least_size(&self, half: Half) -> usize {
        let latents = self.least_latents(half);
        match half {
            Half::Encoder if !self.rounds_up() => self.sample_size(latents),
            Half::Decoder | Half::Encoder => latents,
        }
    }

    /// Channels of the input of `half`.
    pub fn input_channels(&self, half: Half) -> usize {
        match half {
            Half::Decoder => self.channels().latents,
            Half::Encoder => self.channels().input,
        }
    }

    /// Channels of the result of `half`.
    pub fn result_channels(&self, half: Half) -> usize {
        match half {
            Half::Decoder => self.channels().output,
            Half::Encoder => self.channels().moments,
        }
    }

    /// Frames that `half` makes of a clip, over all its steps, with those that are dropped.
    pub fn clip_frames(&self, half: Half, frames: usize) -> usize {
        let steps = self.frame_steps(half).of_clip(frames);
        // All steps between the first and the last are alike.
        let of = |step: usize| {
            let kind = StepKind::of_clip(half, step, steps.len());
            steps.clone().nth(step).map_or(0, |frames| self.result_frames(kind, frames.len()))
        };
        match steps.len() {
            0 => 0,
            1 => of(0),
            2 => of(0).saturating_add(of(1)),
            count => of(0).saturating_add(of(1).saturating_mul(count - 2)).saturating_add(of(count - 1)),
        }
    }

    /// Frames of the input of `half` that a step takes where nothing is said: those of a step, or of
    /// a tile along time where the reference always cuts clips into such tiles; else one.
    pub fn usual_frames(&self, half: Half) -> usize {
        let of_tile = || {
            let FrameTileRule { frames, surplus, .. } = self.frame_tile_rule(half).filter(|rule| rule.usual)?;
            let frames = match half {
                Half::Decoder => frames / self.temporal_compression(),
                Half::Encoder => frames,
            };
            Some(frames + usize::from(surplus.is_some()))
        };
        self.frame_steps(half).usual().or_else(of_tile).unwrap_or(1)
    }

    /// Frames that a clip of latents decodes to, unless all are to be kept.
    pub fn decoded_frames(&self, latent_frames: usize) -> usize {
        self.clip_frames(Half::Decoder, latent_frames).saturating_sub(self.dropped_frames())
    }

    /// Latent frames that a clip encodes to.
    pub fn encoded_frames(&self, frames: usize) -> usize {
        self.clip_frames(Half::Encoder, frames)
    }
}
