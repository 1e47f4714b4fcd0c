//! The configuration of an `AutoencoderKLLTXVideo`: its fields, and the network that they describe.
//!
//! Fields and defaults are those of diffusers' class. Reading them from text is in
//! [`crate::config_json`], what follows from them in `network`, which values are allowed in
//! `rules`.

use super::authors_config;
use super::network::{Blocks, DecoderLevel, DecoderPlan, EncoderLevel, EncoderPlan, Generation, Network, Sampler};
use super::recognition::{self, FoundDecoder, FoundEncoder, FoundEncoderLevel};
use super::rules::{Each, Stated, sampler_name, sampler_named};
use crate::config_json::{Configuration, Fields, Reader, Violation};
use crate::config_rules;
use crate::recognition::{OfTensors, TensorShapes};
use ir::PadMode;

/// The block whose sampler is a convolution of stride 2.
const OLDER_BLOCK: &str = "LTXVideoDownBlock3D";
/// The block whose sampler is a pixel shuffle.
const NEWER_BLOCK: &str = "LTXVideo095DownBlock3D";

/// The configuration of the autoencoder. [`Config::default`] is that of LTX-Video 0.9.0. Lists of
/// the decoder begin at the highest resolution, as those of the encoder do.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the video that is encoded.
    pub in_channels: usize,
    /// Channels of the video that is decoded.
    pub out_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Channels of each level of the encoder.
    pub block_out_channels: Vec<usize>,
    /// The kinds of the encoder's levels.
    pub down_block_types: Vec<String>,
    /// Channels of each level of the decoder.
    pub decoder_block_out_channels: Vec<usize>,
    /// Residual blocks of each level of the encoder, and behind them.
    pub layers_per_block: Vec<usize>,
    /// Residual blocks of each level of the decoder, and in front of them.
    pub decoder_layers_per_block: Vec<usize>,
    /// Whether each level of the encoder has a sampler.
    pub spatio_temporal_scaling: Vec<bool>,
    /// Whether each level of the decoder has a sampler.
    pub decoder_spatio_temporal_scaling: Vec<bool>,
    /// Whether residual blocks of the decoder add noise, of each level and in front of them.
    pub decoder_inject_noise: Vec<bool>,
    /// What the samplers of the encoder are.
    pub downsample_type: Vec<String>,
    /// Whether the input of each sampler of the decoder is led around it.
    pub upsample_residual: Vec<bool>,
    /// By what each level of the decoder divides the channels.
    pub upsample_factor: Vec<usize>,
    /// Whether the decoder is told how much noise is left in its latents.
    pub timestep_conditioning: bool,
    /// Height and width of the patches of pixels that the network takes for one.
    pub patch_size: usize,
    /// Frames of a patch.
    pub patch_size_t: usize,
    /// What is added to the variance in the norm of a shortcut.
    pub resnet_norm_eps: f64,
    /// What pipelines multiply latents with.
    pub scaling_factor: f64,
    /// Whether the encoder sees no later frame.
    pub encoder_causal: bool,
    /// Whether the decoder sees no later frame.
    pub decoder_causal: bool,
    /// Pixels for one latent.
    pub spatial_compression_ratio: Option<usize>,
    /// Frames for one latent frame.
    pub temporal_compression_ratio: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 128,
            block_out_channels: vec![128, 256, 512, 512],
            down_block_types: vec![OLDER_BLOCK.to_owned(); 4],
            decoder_block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: vec![4, 3, 3, 3, 4],
            decoder_layers_per_block: vec![4, 3, 3, 3, 4],
            spatio_temporal_scaling: vec![true, true, true, false],
            decoder_spatio_temporal_scaling: vec![true, true, true, false],
            decoder_inject_noise: vec![false; 5],
            downsample_type: vec!["conv".to_owned(); 4],
            upsample_residual: vec![false; 4],
            upsample_factor: vec![1; 4],
            timestep_conditioning: false,
            patch_size: 4,
            patch_size_t: 1,
            resnet_norm_eps: 1e-6,
            scaling_factor: 1.0,
            encoder_causal: true,
            decoder_causal: false,
            spatial_compression_ratio: None,
            temporal_compression_ratio: None,
        }
    }
}

/// The value of a level, counted from the last of a list.
pub(crate) fn from_last<T: Copy + Default>(list: &[T], level: usize) -> T {
    list.iter().rev().nth(level).copied().unwrap_or_default()
}

/// The value of a level, counted from the first of a list.
pub(crate) fn from_first<T: Copy + Default>(list: &[T], level: usize) -> T {
    list.get(level).copied().unwrap_or_default()
}

impl Config {
    /// Blocks of the encoder: those of the newer kind have the channels of what is in front of them
    /// in the same list.
    fn encoder_blocks(&self) -> usize {
        self.block_out_channels.len().saturating_sub(usize::from(self.begins_with_channels()))
    }

    fn begins_with_channels(&self) -> bool {
        self.down_block_types.last().is_some_and(|kind| kind == NEWER_BLOCK)
    }

    fn is_older(&self, level: usize) -> bool {
        self.down_block_types.get(level).is_some_and(|kind| kind == OLDER_BLOCK)
    }

    /// The network that this describes.
    pub(super) fn described(&self) -> Network {
        Network {
            generation: Generation::First,
            channels: [self.in_channels, self.out_channels],
            latents: self.latent_channels,
            patch: self.patch_size,
            encoder: EncoderPlan {
                first: from_first(&self.block_out_channels, 0),
                levels: (0..self.encoder_blocks()).map(|level| self.encoder_level(level)).collect(),
                layers: from_last(&self.layers_per_block, 0),
                causal: self.encoder_causal,
                border: PadMode::Zero,
            },
            decoder: DecoderPlan {
                first: from_last(&self.decoder_block_out_channels, 0),
                blocks: Blocks {
                    layers: from_last(&self.decoder_layers_per_block, 0),
                    noise: from_last(&self.decoder_inject_noise, 0),
                },
                levels: self.decoder_levels(),
                causal: self.decoder_causal,
                border: PadMode::Zero,
                timestep: self.timestep_conditioning,
            },
            epsilon: self.resnet_norm_eps,
        }
    }

    fn encoder_level(&self, level: usize) -> EncoderLevel {
        let is_last = level + 1 == self.encoder_blocks() && !self.begins_with_channels();
        let widens = self.is_older(level);
        let named = || self.downsample_type.get(level).and_then(|name| sampler_named(name));
        let sampler = if widens { Some(Sampler::Strided) } else { named() };
        EncoderLevel {
            outputs: from_first(&self.block_out_channels, if is_last { level } else { level + 1 }),
            layers: from_first(&self.layers_per_block, level),
            sampler: sampler.filter(|_| from_first(&self.spatio_temporal_scaling, level)),
            widens,
        }
    }

    fn decoder_levels(&self) -> Vec<DecoderLevel> {
        let mut made = from_last(&self.decoder_block_out_channels, 0);
        let level = |level: usize| {
            let divisor = from_last(&self.upsample_factor, level);
            let inputs = made / divisor.max(1);
            made = from_last(&self.decoder_block_out_channels, level) / divisor.max(1);
            DecoderLevel {
                inputs,
                outputs: made,
                blocks: Blocks {
                    layers: from_last(&self.decoder_layers_per_block, level + 1),
                    noise: from_last(&self.decoder_inject_noise, level + 1),
                },
                factors: from_last(&self.decoder_spatio_temporal_scaling, level).then_some([2, 2, 2]),
                divisor,
                residual: from_last(&self.upsample_residual, level),
            }
        };
        (0..self.decoder_block_out_channels.len()).map(level).collect()
    }

    /// Kinds of blocks and samplers that there are not.
    fn kind_violations(&self) -> Vec<Violation> {
        let mut found = vec![];
        let kinds = self.down_block_types.iter().enumerate().take(self.encoder_blocks());
        for (i, kind) in kinds.filter(|(_, kind)| ![OLDER_BLOCK, NEWER_BLOCK].contains(&kind.as_str())) {
            let message = format!("expected \"{OLDER_BLOCK}\" or \"{NEWER_BLOCK}\", found {kind:?} at index {i}");
            found.push(Violation::new(&["down_block_types"], message));
        }
        let samplers = self.downsample_type.iter().enumerate().take(self.encoder_blocks());
        let samplers = samplers.filter(|(i, _)| !self.is_older(*i) && from_first(&self.spatio_temporal_scaling, *i));
        for (i, kind) in samplers.filter(|(_, kind)| sampler_named(kind).is_none()) {
            let expected = "expected \"conv\", \"spatial\", \"temporal\" or \"spatiotemporal\"";
            found.push(Violation::new(&["downsample_type"], format!("{expected}, found {kind:?} at index {i}")));
        }
        found
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderKLLTXVideo";
    const OF_TENSORS: OfTensors<Self> = Self::of_tensors;

    fn of_authors(config: &Fields) -> Option<Fields> {
        authors_config::fields(config)
    }

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("in_channels", &mut self.in_channels);
        reader.read("out_channels", &mut self.out_channels);
        reader.read("latent_channels", &mut self.latent_channels);
        reader.read("block_out_channels", &mut self.block_out_channels);
        reader.read("down_block_types", &mut self.down_block_types);
        reader.read("decoder_block_out_channels", &mut self.decoder_block_out_channels);
        reader.read("layers_per_block", &mut self.layers_per_block);
        reader.read("decoder_layers_per_block", &mut self.decoder_layers_per_block);
        reader.read("spatio_temporal_scaling", &mut self.spatio_temporal_scaling);
        reader.read("decoder_spatio_temporal_scaling", &mut self.decoder_spatio_temporal_scaling);
        reader.read("decoder_inject_noise", &mut self.decoder_inject_noise);
        reader.read("downsample_type", &mut self.downsample_type);
        reader.read("upsample_residual", &mut self.upsample_residual);
        reader.read("upsample_factor", &mut self.upsample_factor);
        reader.read("timestep_conditioning", &mut self.timestep_conditioning);
        reader.read("patch_size", &mut self.patch_size);
        reader.read("patch_size_t", &mut self.patch_size_t);
        reader.read("resnet_norm_eps", &mut self.resnet_norm_eps);
        reader.read("scaling_factor", &mut self.scaling_factor);
        reader.read("encoder_causal", &mut self.encoder_causal);
        reader.read("decoder_causal", &mut self.decoder_causal);
        reader.read("spatial_compression_ratio", &mut self.spatial_compression_ratio);
        reader.read("temporal_compression_ratio", &mut self.temporal_compression_ratio);
    }

    fn violations(&self) -> Vec<Violation> {
        let (encoder, decoder) = (self.encoder_blocks(), self.decoder_block_out_channels.len());
        let (wide, decoder_wide) = ("block_out_channels", "decoder_block_out_channels");
        let each = |field, found, needed, of| Each { field, found, needed, of };
        let named_samplers = (0..encoder).filter(|level| !self.is_older(*level)).max().map_or(0, |level| level + 1);
        let stated = Stated {
            lists: vec![
                each("down_block_types", self.down_block_types.len(), encoder.max(1), wide),
                each("layers_per_block", self.layers_per_block.len(), encoder.max(1), wide),
                each("spatio_temporal_scaling", self.spatio_temporal_scaling.len(), encoder, wide),
                each("downsample_type", self.downsample_type.len(), named_samplers, wide),
                each("decoder_layers_per_block", self.decoder_layers_per_block.len(), decoder + 1, decoder_wide),
                each(
                    "decoder_spatio_temporal_scaling",
                    self.decoder_spatio_temporal_scaling.len(),
                    decoder,
                    decoder_wide,
                ),
                each("decoder_inject_noise", self.decoder_inject_noise.len(), decoder + 1, decoder_wide),
                each("upsample_residual", self.upsample_residual.len(), decoder, decoder_wide),
                each("upsample_factor", self.upsample_factor.len(), decoder, decoder_wide),
            ],
            block_out_channels: &self.block_out_channels,
            decoder_block_out_channels: &self.decoder_block_out_channels,
            upsample_factor: &self.upsample_factor,
            patch_size_t: self.patch_size_t,
            compression: [self.temporal_compression_ratio, self.spatial_compression_ratio],
        };
        let mut found = self.kind_violations();
        if found.is_empty() {
            found.extend(self.described().violations(&stated));
        }
        found.extend(config_rules::scaling(self.scaling_factor, None));
        found
    }
}

impl Config {
    /// The configuration that a file with these tensors may have. Of a file of one half, the other
    /// undoes it with as little as will do.
    fn of_tensors(tensors: &TensorShapes<'_>) -> Option<Self> {
        let found = recognition::network(tensors).filter(|found| found.generation == Generation::First)?;
        let usual = Self::default();
        let mut config = Self {
            in_channels: found.channels,
            out_channels: found.channels,
            latent_channels: found.latents,
            patch_size: found.patch,
            ..usual
        };
        match (&found.encoder, &found.decoder) {
            (Some(encoder), _) => config.take_encoder(encoder),
            (None, decoder) => {
                let samplers = decoder.as_ref()?.levels.iter().filter(|level| level.sampler.is_some()).count();
                config.block_out_channels = vec![decoder.as_ref()?.first; samplers + 1];
                config.down_block_types = vec![OLDER_BLOCK.to_owned(); samplers + 1];
                config.layers_per_block = vec![0; samplers + 2];
                config.spatio_temporal_scaling = (0..=samplers).map(|level| level < samplers).collect();
                config.downsample_type = vec!["conv".to_owned(); samplers + 1];
            }
        }
        match (&found.decoder, &found.encoder) {
            (Some(decoder), _) => config.take_decoder(decoder),
            (None, encoder) => {
                let halve = |level: &FoundEncoderLevel| level.sampler.map(|sampler| sampler.factors()[1]);
                let samplers = encoder.as_ref()?.levels.iter().filter_map(halve).filter(|by| *by > 1).count();
                config.decoder_block_out_channels = vec![encoder.as_ref()?.first; samplers];
                config.decoder_layers_per_block = vec![0; samplers + 1];
                config.decoder_inject_noise = vec![false; samplers + 1];
                config.decoder_spatio_temporal_scaling = vec![true; samplers];
                config.upsample_residual = vec![false; samplers];
                config.upsample_factor = vec![1; samplers];
            }
        }
        Some(config)
    }

    fn take_encoder(&mut self, encoder: &FoundEncoder) {
        let outputs = encoder.levels.iter().map(|level| level.outputs);
        self.block_out_channels = std::iter::once(encoder.first).chain(outputs).collect();
        if encoder.is_older {
            // The last level has the channels of the one before.
            self.block_out_channels.pop();
        }
        let kind = if encoder.is_older { OLDER_BLOCK } else { NEWER_BLOCK };
        self.down_block_types = vec![kind.to_owned(); encoder.levels.len()];
        self.layers_per_block = encoder.levels.iter().map(|level| level.layers).chain([encoder.layers]).collect();
        self.spatio_temporal_scaling = encoder.levels.iter().map(|level| level.sampler.is_some()).collect();
        let names = encoder.levels.iter().map(|level| level.sampler.map_or("conv", sampler_name).to_owned());
        self.downsample_type = names.collect();
    }

    /// What leads the input of a sampler around it, tensors do not show: it is there where the
    /// sampler divides channels, as in all published models from 0.9.1 on.
    fn take_decoder(&mut self, decoder: &FoundDecoder) {
        let levels = || decoder.levels.iter().rev();
        self.decoder_block_out_channels = levels().map(|level| level.outputs * level.divisor).collect();
        self.decoder_layers_per_block = levels().map(|level| level.layers).chain([decoder.layers]).collect();
        self.decoder_inject_noise = levels().map(|level| level.noise).chain([decoder.noise]).collect();
        self.decoder_spatio_temporal_scaling = levels().map(|level| level.sampler.is_some()).collect();
        self.upsample_factor = levels().map(|level| level.divisor).collect();
        self.upsample_residual = levels().map(|level| level.divisor > 1).collect();
        self.timestep_conditioning = decoder.timestep;
    }
}
