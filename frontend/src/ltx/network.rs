//! The network of this family, whatever class describes it: its levels, what follows from them, and
//! the steps of both halves. Reading a configuration is each class's own, what is allowed is in
//! `rules`.

use ir::rearrange::{BlockOrder, depth_to_space, space_to_depth};
use ir::{Axis, BuildError, PadMode, Value};

use super::{decoder, encoder, original_names};
use crate::autoencoder::{Channels, Dialect, Medium};
use crate::condition::{Condition, ConditionKind, TIMESTEP};
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::latent_scaling::{Spread, StoredStatistics};
use crate::network;
use crate::step::{Half, Position, StepKind};
use crate::tile_rule::{FrameTileRule, LastTile, SurplusFrame, TileRule};

/// Height and width in pixels of the reference's tiles.
const TILE: usize = 512;
/// The share of a tile that the next one covers too: tiles begin every 448 pixels.
const OVERLAP: f64 = 0.125;

/// Frames of a tile along time, and from the beginning of one to that of the next.
const TILE_FRAMES: usize = 16;
const TILE_STRIDE_FRAMES: usize = 8;

/// Height and width in pixels that pipelines make unless told otherwise.
const USUAL_SIZE: [usize; 2] = [512, 704];

/// What pipelines take for the time of a diffusion at which latents are decoded.
const USUAL_TIMESTEP: f64 = 0.0;

/// The order of a patch's channels: those of the video, then the columns, then the rows of the
/// patch.
const PATCH_ORDER: BlockOrder = [Axis::Channel, Axis::Time, Axis::Width, Axis::Height];

/// Which class a network is of, where modules of the two are not the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// `AutoencoderKLLTXVideo`: norms are given channels last, and return them so; shortcuts are
    /// causal convolutions.
    First,
    /// `AutoencoderKLLTX2Video`.
    Second,
}

/// What a sampler does: frames, rows and columns that become one, or that one becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sampler {
    /// Halves all three, by a convolution of stride 2.
    Strided,
    /// By so much, by a convolution and a pixel shuffle.
    Shuffled([usize; 3]),
}

impl Sampler {
    /// Frames, rows and columns that become one, or that one becomes.
    pub(super) fn factors(self) -> [usize; 3] {
        match self {
            Self::Strided => [2, 2, 2],
            Self::Shuffled(factors) => factors,
        }
    }
}

/// Residual blocks in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// How many.
    pub(crate) layers: usize,
    /// Whether each adds noise behind both of its convolutions.
    pub(crate) noise: bool,
}

/// A level of the encoder: residual blocks, then a sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EncoderLevel {
    /// Channels behind it.
    pub(crate) outputs: usize,
    /// Residual blocks.
    pub(crate) layers: usize,
    /// What makes less of it.
    pub(crate) sampler: Option<Sampler>,
    /// Whether a residual block behind the sampler changes the number of channels, where that
    /// changes; else the sampler does.
    pub(crate) widens: bool,
}

/// A level of the decoder: a residual block that changes the number of channels, where that
/// changes; a sampler; residual blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DecoderLevel {
    /// Channels that its first module is made for.
    pub(crate) inputs: usize,
    /// Channels behind it.
    pub(crate) outputs: usize,
    /// The residual blocks.
    pub(crate) blocks: Blocks,
    /// By how much the sampler enlarges, if there is one.
    pub(crate) factors: Option<[usize; 3]>,
    /// What the sampler divides the channels by.
    pub(crate) divisor: usize,
    /// Whether the sampler's input is led around its convolution.
    pub(crate) residual: bool,
}

/// The encoder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EncoderPlan {
    /// Channels of the first convolution.
    pub(crate) first: usize,
    /// From the highest resolution down.
    pub(crate) levels: Vec<EncoderLevel>,
    /// Residual blocks behind them.
    pub(crate) layers: usize,
    /// Whether convolutions see no later frame.
    pub(crate) causal: bool,
    /// What they see beyond the borders of a frame.
    pub(crate) border: PadMode,
}

/// The decoder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DecoderPlan {
    /// Channels of the first convolution.
    pub(crate) first: usize,
    /// Residual blocks in front of the levels.
    pub(crate) blocks: Blocks,
    /// From the lowest resolution up.
    pub(crate) levels: Vec<DecoderLevel>,
    /// Whether convolutions see no later frame.
    pub(crate) causal: bool,
    /// What they see beyond the borders of a frame.
    pub(crate) border: PadMode,
    /// Whether norms are scaled and moved by what is made of a timestep.
    pub(crate) timestep: bool,
}

/// What the networks of the family differ in.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub(crate) generation: Generation,
    /// Channels of the video that goes in, and of the one that comes out.
    pub(crate) channels: [usize; 2],
    /// Channels of the latents.
    pub(crate) latents: usize,
    /// Height and width of the patches of pixels that the network takes for one.
    pub(crate) patch: usize,
    pub(crate) encoder: EncoderPlan,
    pub(crate) decoder: DecoderPlan,
    /// What is added to the variance in the norm of a shortcut.
    pub(crate) epsilon: f64,
}

/// The product of what samplers do to time and to height or width.
fn compression(samplers: impl Iterator<Item = [usize; 3]>) -> [usize; 2] {
    samplers.fold([1, 1], |[time, space], [by_time, by_height, _]| {
        [time.saturating_mul(by_time), space.saturating_mul(by_height)]
    })
}

impl Network {
    /// Frames for one latent frame and pixels for one latent, by what the encoder does.
    pub(super) fn encoder_compression(&self) -> [usize; 2] {
        let samplers = self.encoder.levels.iter().filter_map(|level| level.sampler).map(Sampler::factors);
        let [time, space] = compression(samplers);
        [time, space.saturating_mul(self.patch)]
    }

    /// The same by what the decoder does.
    pub(super) fn decoder_compression(&self) -> [usize; 2] {
        let [time, space] = compression(self.decoder.levels.iter().filter_map(|level| level.factors));
        [time, space.saturating_mul(self.patch)]
    }
}

impl network::Network for Network {
    fn medium(&self) -> Medium {
        Medium::Video
    }

    fn channels(&self) -> Channels {
        let [input, output] = self.channels;
        Channels { input, output, latents: self.latents, moments: self.latents.saturating_mul(2) }
    }

    fn spatial_compression(&self) -> usize {
        self.encoder_compression()[1]
    }

    fn temporal_compression(&self) -> usize {
        self.encoder_compression()[0]
    }

    /// Whole latents, as pipelines take them. (Where samplers are convolutions the reference rounds
    /// up what is left over, but not in tiles.)
    fn size_unit(&self, half: Half) -> usize {
        match half {
            Half::Decoder => 1,
            Half::Encoder => self.spatial_compression(),
        }
    }

    /// Two rows are needed to mirror one.
    fn least_latents(&self, half: Half) -> usize {
        let border = match half {
            Half::Decoder => self.decoder.border,
            Half::Encoder => self.encoder.border,
        };
        if border == PadMode::Reflect { 2 } else { 1 }
    }

    /// A size that pipelines make, as near as this network takes it.
    fn training_size(&self) -> [usize; 2] {
        let unit = self.spatial_compression();
        USUAL_SIZE.map(|pixels| (pixels / unit).max(self.least_latents(Half::Decoder)) * unit)
    }

    /// Convolutions alone look across time, so that a causal half may be cut, and the encoder is,
    /// which reads many frames for few latents. (An encoder that is not causal, of which there is
    /// none, could read what is behind the last unit where its samplers are convolutions.)
    fn frame_steps(&self, half: Half) -> FrameSteps {
        let unit = self.temporal_compression();
        match half {
            Half::Decoder => FrameSteps::WholeUnits { unit: 1, streams: self.decoder.causal },
            Half::Encoder if self.encoder.causal => FrameSteps::Free { first: 1, unit, frames: unit },
            Half::Encoder => FrameSteps::WholeUnits { unit, streams: false },
        }
    }

    /// All frames at once.
    fn reference_steps(&self, half: Half) -> FrameSteps {
        match half {
            Half::Decoder => self.frame_steps(half),
            Half::Encoder => FrameSteps::WholeUnits { unit: self.temporal_compression(), streams: false },
        }
    }

    fn result_frames(&self, kind: StepKind, frames: usize) -> usize {
        let (unit, first) = (self.temporal_compression(), usize::from(kind.position != Position::Next));
        match kind.half {
            Half::Decoder => frames.saturating_sub(first).saturating_mul(unit).saturating_add(first.min(frames)),
            Half::Encoder => frames.saturating_sub(first) / unit + first.min(frames),
        }
    }

    /// The timestep, and a plane of noise for each time that it is added.
    fn conditions(&self, half: Half) -> Vec<Condition> {
        if half == Half::Encoder {
            return vec![];
        }
        let timestep = ConditionKind::Number { usual: Some(USUAL_TIMESTEP) };
        let timestep = self.decoder.timestep.then(|| Condition { name: TIMESTEP.to_owned(), kind: timestep });
        let mut found: Vec<Condition> = timestep.into_iter().collect();
        let mut scale = 1_usize;
        let levels = self.decoder.levels.iter().map(|level| (level.blocks, level.factors));
        let mut draw = 0;
        for (blocks, factors) in std::iter::once((self.decoder.blocks, None)).chain(levels) {
            scale = scale.saturating_mul(factors.map_or(1, |[_, by_height, _]| by_height));
            for _ in 0..if blocks.noise { 2 * blocks.layers } else { 0 } {
                found.push(Condition { name: noise_name(draw), kind: ConditionKind::Noise { scale } });
                draw += 1;
            }
        }
        found
    }

    fn tile_rule(&self, _half: Half) -> TileRule {
        TileRule::new([TILE, TILE], [OVERLAP, OVERLAP])
    }

    /// Tiles along time, where the attribute `use_framewise_decoding` is set (for either half). When
    /// it decodes, the reference leaves out the last frame of every tile but the first, and not the
    /// first, which the tile before has: from the second tile on frames come one late. That is done
    /// here too, for whoever asks for such tiles.
    fn frame_tile_rule(&self, half: Half) -> Option<FrameTileRule> {
        let surplus = match half {
            Half::Decoder => SurplusFrame::Last,
            Half::Encoder => SurplusFrame::First,
        };
        Some(FrameTileRule {
            frames: TILE_FRAMES,
            stride: TILE_STRIDE_FRAMES,
            usual: false,
            surplus: Some(surplus),
            last: LastTile::BeginsInside,
        })
    }

    /// The names of the model's authors.
    fn dialects(&self) -> Vec<Dialect> {
        let network = self.clone();
        vec![Dialect::new("original", move |name| original_names::own_name(&network, name))]
    }

    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
        let patch = [1, self.patch, self.patch];
        match d.kind().half {
            Half::Decoder => d.scope("decoder", |d| {
                let patches = decoder::decoder(self, d, input)?;
                let sample = depth_to_space(d, patches, patch, PATCH_ORDER)?;
                d.returns(sample);
                Ok(sample)
            }),
            Half::Encoder => d.scope("encoder", |d| {
                let patches = space_to_depth(d, input, patch, PATCH_ORDER)?;
                let moments = encoder::encoder(self, d, patches)?;
                d.returns(moments);
                Ok(moments)
            }),
        }
    }
}

/// The name of the noise that is added so many times after the first.
pub(super) fn noise_name(draw: usize) -> String {
    format!("noise.{draw}")
}

/// Pipelines scale by numbers of the checkpoint, and a factor of the configuration.
pub(crate) const STATISTICS: StoredStatistics =
    StoredStatistics { mean: "latents_mean", spread: Spread::Deviation { name: "latents_std" } };

/// Whether a tensor of this name is one of the statistics that the authors' files have beside those
/// two.
pub(crate) fn leaves_unread(name: &str) -> bool {
    name.split('.').any(|part| part == "per_channel_statistics")
}
