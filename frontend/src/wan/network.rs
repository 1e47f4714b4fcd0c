//! The network of this family, whatever class describes it: its sizes, what follows from them,
//! which are allowed, and the steps of both halves. Reading a configuration is each class's own.

use ir::rearrange::{BlockOrder, depth_to_space, space_to_depth};
use ir::{Axis, BuildError, Value};

use super::blocks::pointwise;
use super::{decoder, encoder, original_names};
use crate::autoencoder::{Channels, Dialect, Medium};
use crate::config_json::Violation;
use crate::config_rules::{self, MOST_CHANNELS, MOST_LAYERS, MOST_LEVELS};
use crate::declaration::Declaration;
use crate::frame_steps::FrameSteps;
use crate::network;
use crate::step::{Half, Position, StepKind};
use crate::tile_rule::TileRule;

/// Largest height and width of a patch.
const MOST_PATCH: usize = 64;

/// Height and width in pixels of the reference's tiles.
const TILE: usize = 256;
/// The share of a tile that the next one covers too: tiles begin every 192 pixels.
const OVERLAP: f64 = 0.25;

/// Height and width in pixels of the smaller of the sizes that the published models were trained
/// on.
const TRAINING_SIZE: [usize; 2] = [480, 832];
/// The same of models of images.
const IMAGE_SIZE: [usize; 2] = [1024, 1024];

/// The order of a patch's channels: those of the video, then the columns, then the rows of the
/// patch.
const PATCH_ORDER: BlockOrder = [Axis::Channel, Axis::Time, Axis::Width, Axis::Height];

/// What the networks of the family differ in.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Channels of the encoder's first level, and of its first convolution.
    pub(crate) encoder_base: usize,
    /// Channels of the decoder's last level.
    pub(crate) decoder_base: usize,
    /// Channels of each level, as multiples, from the highest resolution down.
    pub(crate) multiples: Vec<usize>,
    /// Channels of the latents.
    pub(crate) latents: usize,
    /// Residual blocks of each level; the decoder has one more.
    pub(crate) layers: usize,
    /// Scales of the encoder, 1 the highest and each level half the one before, whose residual
    /// blocks attention follows.
    pub(crate) attention_scales: Vec<f64>,
    /// Whether the sampler behind each level but the last halves the number of frames.
    pub(crate) halves_time: Vec<bool>,
    /// Whether blocks have shortcuts without weights around them, and names by level.
    pub(crate) is_residual: bool,
    /// Channels of what the first convolution reads and of what the last one gives: those of
    /// patches.
    pub(crate) channels: [usize; 2],
    /// Height and width of the patches of pixels that the network takes for one.
    pub(crate) patch: usize,
    /// Whether it is of images: no convolution looks across time.
    pub(crate) is_planar: bool,
}

impl Network {
    fn levels(&self) -> usize {
        self.multiples.len()
    }

    /// Channels of each level of the encoder, from the highest resolution down.
    pub(super) fn encoder_widths(&self) -> Vec<usize> {
        self.multiples.iter().map(|multiple| self.encoder_base.saturating_mul(*multiple)).collect()
    }

    /// Channels of each level of the decoder, from the lowest resolution up.
    pub(super) fn decoder_widths(&self) -> Vec<usize> {
        self.multiples.iter().rev().map(|multiple| self.decoder_base.saturating_mul(*multiple)).collect()
    }

    /// Whether the decoder's sampler behind this level, from the lowest resolution up, doubles the
    /// number of frames.
    pub(super) fn doubles_time(&self, level: usize) -> bool {
        self.halves_time[self.halves_time.len() - 1 - level]
    }

    /// Whether attention follows the encoder's residual blocks of this level.
    pub(super) fn attends(&self, level: usize) -> bool {
        self.attention_scales.contains(&0.5_f64.powi(level as i32))
    }

    fn decode(&self, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
        let hidden = d.scope("post_quant_conv", |d| pointwise(self, d, latents, self.latents))?;
        let sample = d.scope("decoder", |d| {
            let sample = decoder::decoder(self, d, hidden)?;
            d.returns(sample);
            Ok(sample)
        })?;
        if self.patch == 1 { Ok(sample) } else { depth_to_space(d, sample, [1, self.patch, self.patch], PATCH_ORDER) }
    }

    fn encode(&self, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
        let sample =
            if self.patch == 1 { sample } else { space_to_depth(d, sample, [1, self.patch, self.patch], PATCH_ORDER)? };
        let moments = d.scope("encoder", |d| {
            let moments = encoder::encoder(self, d, sample)?;
            d.returns(moments);
            Ok(moments)
        })?;
        d.scope("quant_conv", |d| pointwise(self, d, moments, 2 * self.latents))
    }
}

impl network::Network for Network {
    fn medium(&self) -> Medium {
        if self.is_planar { Medium::Image } else { Medium::Video }
    }

    fn channels(&self) -> Channels {
        let [input, output] = self.channels.map(|channels| channels / (self.patch * self.patch));
        Channels { input, output, latents: self.latents, moments: 2 * self.latents }
    }

    fn spatial_compression(&self) -> usize {
        self.patch << self.levels().saturating_sub(1)
    }

    fn temporal_compression(&self) -> usize {
        let halvings = self.halves_time.iter().filter(|halves| **halves && !self.is_planar);
        1 << halvings.count()
    }

    /// What the height and width of an input must be multiples of: patches are whole, and so are
    /// the blocks of which shortcuts take means. Convolutions round down.
    fn size_unit(&self, half: Half) -> usize {
        match half {
            Half::Decoder => 1,
            Half::Encoder if self.is_residual => self.spatial_compression(),
            Half::Encoder => self.patch,
        }
    }

    /// A size that all published models were trained on, as near as this one takes it.
    fn training_size(&self) -> [usize; 2] {
        let unit = self.spatial_compression();
        let size = if self.is_planar { IMAGE_SIZE } else { TRAINING_SIZE };
        size.map(|pixels| (pixels / unit).max(1) * unit)
    }

    /// One frame, and then as many as make one of the latents.
    fn frame_steps(&self, half: Half) -> FrameSteps {
        if self.is_planar {
            return FrameSteps::Whole;
        }
        let unit = match half {
            Half::Decoder => 1,
            Half::Encoder => self.temporal_compression(),
        };
        FrameSteps::Free { first: 1, unit, frames: unit }
    }

    fn result_frames(&self, kind: StepKind, frames: usize) -> usize {
        match (kind.half, kind.position) {
            (_, Position::First | Position::Whole) => frames,
            (Half::Decoder, Position::Next) => frames.saturating_mul(self.temporal_compression()),
            (Half::Encoder, Position::Next) => frames / self.temporal_compression(),
        }
    }

    /// Tiles of `enable_tiling`. Patches: the reference blends them whole; and when it encodes, it
    /// counts a tile's size in them, but not the size from which on frames are tiled.
    fn tile_rule(&self, half: Half) -> TileRule {
        let rule = TileRule::new([TILE, TILE], [OVERLAP, OVERLAP]);
        match half {
            Half::Decoder => TileRule { grain: self.patch, ..rule },
            Half::Encoder => TileRule { size: [TILE * self.patch; 2], whole_share: 1.0 / self.patch as f64, ..rule },
        }
    }

    /// The names that the model's authors gave.
    fn dialects(&self) -> Vec<Dialect> {
        let network = self.clone();
        vec![Dialect::new("original", move |name| original_names::own_name(&network, name))]
    }

    fn declare(&self, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
        match d.kind().half {
            Half::Decoder => self.decode(d, input),
            Half::Encoder => self.encode(d, input),
        }
    }
}

/// Violations of the fields that all classes of the family have by the same names.
impl Network {
    /// Whatever of the shared fields cannot be honoured. `patch_size` and the fields of `channels`
    /// are named by the class.
    pub(crate) fn violations(&self, channels: &[&'static str]) -> Vec<Violation> {
        let mut found = vec![];
        let mut report = |fields: &[&'static str], message: String| found.push(Violation::new(fields, message));
        let from_one = |most: usize, value: usize| format!("expected a whole number from 1 to {most}, found {value}");

        let sizes = [("base_dim", self.encoder_base), ("decoder_base_dim", self.decoder_base), ("z_dim", self.latents)];
        // A decoder that is as wide as the encoder has no field of its own.
        let sizes =
            sizes.into_iter().filter(|&(field, value)| field != "decoder_base_dim" || value != self.encoder_base);
        for (field, value) in sizes.chain(channels.iter().copied().zip(self.channels)) {
            if !(1..=MOST_CHANNELS).contains(&value) {
                report(&[field], from_one(MOST_CHANNELS, value));
            }
        }
        if !(1..=MOST_PATCH).contains(&self.patch) {
            report(&["patch_size"], from_one(MOST_PATCH, self.patch));
        } else {
            let pixels = self.patch * self.patch;
            for (field, value) in channels.iter().copied().zip(self.channels) {
                if !value.is_multiple_of(pixels) {
                    let message = format!("expected a multiple of {pixels}, the pixels of a patch, found {value}");
                    report(&[field, "patch_size"], message);
                }
            }
        }
        if self.layers > MOST_LAYERS {
            let found = self.layers;
            report(&["num_res_blocks"], format!("expected a whole number from 0 to {MOST_LAYERS}, found {found}"));
        }
        let levels = self.levels();
        if !(1..=MOST_LEVELS).contains(&levels) {
            report(&["dim_mult"], format!("expected a list of 1 to {MOST_LEVELS} numbers, found {levels}"));
        }
        for (i, multiple) in self.multiples.iter().enumerate() {
            let widest = self.encoder_base.max(self.decoder_base).saturating_mul(*multiple);
            if *multiple == 0 || widest > MOST_CHANNELS {
                let message = format!(
                    "expected channel counts from 1 to {MOST_CHANNELS}, found a multiple of {multiple} at index {i}"
                );
                report(&["dim_mult", "base_dim", "decoder_base_dim"], message);
            }
        }
        let samplers = levels.saturating_sub(1);
        if self.halves_time.len() != samplers {
            let found = self.halves_time.len();
            let message = format!(
                "expected {samplers} values, one for each sampler between the levels of dim_mult, found {found}"
            );
            report(&["temperal_downsample", "dim_mult"], message);
        }
        if found.is_empty() {
            found.extend(self.width_violations());
        }
        found
    }

    /// Channel counts that do not go together; of sizes that are right one by one.
    fn width_violations(&self) -> Vec<Violation> {
        let mut found = vec![];
        let widths = ["dim_mult", "base_dim", "decoder_base_dim", "is_residual"];
        let encoder = self.encoder_widths();
        let decoder = self.decoder_widths();
        // What comes into each level.
        let entering = |first: usize, widths: &[usize]| -> Vec<usize> {
            std::iter::once(first).chain(widths.iter().copied()).take(widths.len()).collect()
        };
        let into_encoder = entering(self.encoder_base, &encoder);
        let into_decoder = entering(decoder[0], &decoder);
        if self.layers == 0 && into_encoder != encoder {
            let message = format!(
                "expected at least 1 where the channels of the encoder's levels differ ({encoder:?} behind {}): residual \
                 blocks alone change them",
                self.encoder_base
            );
            found.push(Violation::new(&["num_res_blocks", "dim_mult", "base_dim"], message));
        }
        let samplers = self.halves_time.len();
        if !self.is_residual {
            // A sampler halves the channels that the next level reads.
            for (i, _) in decoder.iter().enumerate().take(samplers).filter(|(_, width)| **width < 2) {
                let message =
                    format!("expected at least 2 channels in the decoder's levels but the last, found 1 at level {i}");
                found.push(Violation::new(&widths, message));
            }
            return found;
        }
        for (i, (inputs, outputs)) in into_encoder.into_iter().zip(encoder).enumerate() {
            let places = if i == samplers { 1 } else { 4 << usize::from(self.halves_time[i]) };
            if !(inputs * places).is_multiple_of(outputs) {
                let message = format!(
                    "expected channel counts of the encoder's levels that divide those of the blocks before them, but level \
                     {i} makes {outputs} channels of {inputs} times {places}"
                );
                found.push(Violation::new(&widths, message));
            }
        }
        for (i, (inputs, outputs)) in into_decoder.into_iter().zip(decoder).enumerate().take(samplers) {
            let places = 4 << usize::from(self.doubles_time(i));
            if !(outputs * places).is_multiple_of(inputs) {
                let message = format!(
                    "expected channel counts of the decoder's levels that are divided by those before them, but level {i} \
                     makes {outputs} times {places} channels of {inputs}"
                );
                found.push(Violation::new(&widths, message));
            }
        }
        found
    }

    /// Means and deviations of the latents that do not fit. Without any, latents cannot be scaled,
    /// but decoded all the same.
    pub(crate) fn scaling_violations(&self, mean: &[f64], deviation: &[f64]) -> Vec<Violation> {
        let known = |values| Some(values).filter(|values: &&[f64]| !values.is_empty());
        config_rules::latent_statistics("z_dim", self.latents, known(mean), known(deviation))
    }
}
