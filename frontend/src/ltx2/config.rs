//! The configuration of an `AutoencoderKLLTX2Video`: its fields, and the network of LTX that they
//! describe.
//!
//! Fields and defaults are those of diffusers' class. Reading them from text is in
//! [`crate::config_json`], which values are allowed in `ltx::rules`.

use serde_json::Value;

use crate::config_json::{Configuration, Field, Fields, Reader, Violation};
use crate::config_rules;
use crate::ltx::{
    Blocks, DecoderLevel, DecoderPlan, Each, EncoderLevel, EncoderPlan, FoundDecoder, Generation, Network, Sampler,
    Stated, authors_fields, border_named, from_first, from_last, network_of_tensors, sampler_name, sampler_named,
};
use crate::recognition::{OfTensors, TensorShapes};

/// The one kind of block that there is.
const BLOCK: &str = "LTX2VideoDownBlock3D";

/// A flag for each level, or one for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flags {
    /// For all.
    All(bool),
    /// For each.
    Each(Vec<bool>),
}

impl Flags {
    /// For each of so many levels.
    fn of(&self, levels: usize) -> Vec<bool> {
        match self {
            Self::All(flag) => vec![*flag; levels],
            Self::Each(flags) => flags.clone(),
        }
    }
}

impl Field for Flags {
    fn expected() -> String {
        "true, false or a list of them".to_owned()
    }

    fn from_json(json: &Value) -> Option<Self> {
        bool::from_json(json).map(Self::All).or_else(|| Vec::from_json(json).map(Self::Each))
    }

    fn to_json(&self) -> Value {
        match self {
            Self::All(flag) => flag.to_json(),
            Self::Each(flags) => flags.to_json(),
        }
    }
}

/// The configuration of the autoencoder. [`Config::default`] is diffusers'; LTX-2's has a decoder
/// that is not causal. Lists of the decoder begin at the highest resolution, as those of the
/// encoder do, but for `upsample_type`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the video that is encoded.
    pub in_channels: usize,
    /// Channels of the video that is decoded.
    pub out_channels: usize,
    /// Channels of the latents, and of the encoder's first convolution.
    pub latent_channels: usize,
    /// Channels behind each level of the encoder.
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
    pub spatio_temporal_scaling: Flags,
    /// Whether each level of the decoder has a sampler.
    pub decoder_spatio_temporal_scaling: Flags,
    /// Whether residual blocks of the decoder add noise, of each level and in front of them.
    pub decoder_inject_noise: Flags,
    /// What the samplers of the encoder are.
    pub downsample_type: Vec<String>,
    /// What the samplers of the decoder are, from the lowest resolution up.
    pub upsample_type: Vec<String>,
    /// Whether the input of each sampler of the decoder is led around it.
    pub upsample_residual: Flags,
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
    /// What the encoder's convolutions see beyond the borders of a frame.
    pub encoder_spatial_padding_mode: String,
    /// What the decoder's convolutions see beyond the borders of a frame.
    pub decoder_spatial_padding_mode: String,
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
            block_out_channels: vec![256, 512, 1024, 2048],
            down_block_types: vec![BLOCK.to_owned(); 4],
            decoder_block_out_channels: vec![256, 512, 1024],
            layers_per_block: vec![4, 6, 6, 2, 2],
            decoder_layers_per_block: vec![5, 5, 5, 5],
            spatio_temporal_scaling: Flags::Each(vec![true; 4]),
            decoder_spatio_temporal_scaling: Flags::Each(vec![true; 3]),
            decoder_inject_noise: Flags::Each(vec![false; 4]),
            downsample_type: ["spatial", "temporal", "spatiotemporal", "spatiotemporal"].map(str::to_owned).to_vec(),
            upsample_type: vec!["spatiotemporal".to_owned(); 3],
            upsample_residual: Flags::Each(vec![true; 3]),
            upsample_factor: vec![2; 3],
            timestep_conditioning: false,
            patch_size: 4,
            patch_size_t: 1,
            resnet_norm_eps: 1e-6,
            scaling_factor: 1.0,
            encoder_causal: true,
            decoder_causal: true,
            encoder_spatial_padding_mode: "zeros".to_owned(),
            decoder_spatial_padding_mode: "reflect".to_owned(),
            spatial_compression_ratio: None,
            temporal_compression_ratio: None,
        }
    }
}

impl Config {
    /// Whether each level of the encoder, and of the decoder, has a sampler. A flag for all is for
    /// as many levels as the layers tell.
    fn samplers(&self) -> [Vec<bool>; 2] {
        [
            self.spatio_temporal_scaling.of(self.layers_per_block.len().saturating_sub(1)),
            self.decoder_spatio_temporal_scaling.of(self.decoder_layers_per_block.len().saturating_sub(1)),
        ]
    }

    fn noise(&self) -> Vec<bool> {
        self.decoder_inject_noise.of(self.decoder_layers_per_block.len())
    }

    fn residual(&self) -> Vec<bool> {
        self.upsample_residual.of(self.decoder_layers_per_block.len().saturating_sub(1))
    }

    /// The network that this describes.
    pub(super) fn described(&self) -> Network {
        let [encoder, _] = self.samplers();
        let encoder_level = |(level, &outputs): (usize, &usize)| EncoderLevel {
            outputs,
            layers: from_first(&self.layers_per_block, level),
            sampler: self
                .downsample_type
                .get(level)
                .and_then(|name| sampler_named(name))
                .filter(|_| from_first(&encoder, level)),
            widens: false,
        };
        Network {
            generation: Generation::Second,
            channels: [self.in_channels, self.out_channels],
            latents: self.latent_channels,
            patch: self.patch_size,
            encoder: EncoderPlan {
                first: self.latent_channels,
                levels: self.block_out_channels.iter().enumerate().map(encoder_level).collect(),
                layers: from_last(&self.layers_per_block, 0),
                causal: self.encoder_causal,
                border: border_named(&self.encoder_spatial_padding_mode).unwrap_or(ir::PadMode::Zero),
            },
            decoder: DecoderPlan {
                first: from_last(&self.decoder_block_out_channels, 0),
                blocks: Blocks {
                    layers: from_last(&self.decoder_layers_per_block, 0),
                    noise: from_last(&self.noise(), 0),
                },
                levels: self.decoder_levels(),
                causal: self.decoder_causal,
                border: border_named(&self.decoder_spatial_padding_mode).unwrap_or(ir::PadMode::Zero),
                timestep: self.timestep_conditioning,
            },
            epsilon: self.resnet_norm_eps,
        }
    }

    fn decoder_levels(&self) -> Vec<DecoderLevel> {
        let ([_, samplers], noise, residual) = (self.samplers(), self.noise(), self.residual());
        let mut made = from_last(&self.decoder_block_out_channels, 0);
        let level = |level: usize| {
            let divisor = from_last(&self.upsample_factor, level);
            let inputs = made / divisor.max(1);
            made = from_last(&self.decoder_block_out_channels, level) / divisor.max(1);
            let sampler = self.upsample_type.get(level).and_then(|name| sampler_named(name));
            DecoderLevel {
                inputs,
                outputs: made,
                blocks: Blocks {
                    layers: from_last(&self.decoder_layers_per_block, level + 1),
                    noise: from_last(&noise, level + 1),
                },
                factors: match sampler {
                    Some(Sampler::Shuffled(factors)) if from_last(&samplers, level) => Some(factors),
                    _ => None,
                },
                divisor,
                residual: from_last(&residual, level),
            }
        };
        (0..self.decoder_block_out_channels.len()).map(level).collect()
    }

    /// Kinds of blocks, samplers and borders that there are not.
    fn kind_violations(&self) -> Vec<Violation> {
        let mut found = vec![];
        let mut report = |field: &'static str, expected: &str, kind: &str, place: &str| {
            found.push(Violation::new(&[field], format!("expected {expected}, found {kind:?}{place}")));
        };
        let [encoder, decoder] = self.samplers();
        for (i, kind) in self.down_block_types.iter().enumerate().take(self.block_out_channels.len()) {
            if kind != BLOCK {
                report("down_block_types", &format!("\"{BLOCK}\""), kind, &format!(" at index {i}"));
            }
        }
        let kinds = "\"spatial\", \"temporal\" or \"spatiotemporal\"";
        for (i, kind) in self.downsample_type.iter().enumerate().take(self.block_out_channels.len()) {
            if from_first(&encoder, i) && sampler_named(kind).is_none() {
                report("downsample_type", &format!("\"conv\", {kinds}"), kind, &format!(" at index {i}"));
            }
        }
        for (i, kind) in self.upsample_type.iter().enumerate().take(self.decoder_block_out_channels.len()) {
            if from_last(&decoder, i) && !matches!(sampler_named(kind), Some(Sampler::Shuffled(_))) {
                report("upsample_type", kinds, kind, &format!(" at index {i}"));
            }
        }
        for (field, kind) in [
            ("encoder_spatial_padding_mode", &self.encoder_spatial_padding_mode),
            ("decoder_spatial_padding_mode", &self.decoder_spatial_padding_mode),
        ] {
            if border_named(kind).is_none() {
                report(field, "\"zeros\", \"reflect\" or \"replicate\"", kind, "");
            }
        }
        found
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderKLLTX2Video";
    const OF_TENSORS: OfTensors<Self> = Self::of_tensors;

    fn of_authors(config: &Fields) -> Option<Fields> {
        authors_fields(config)
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
        reader.read("upsample_type", &mut self.upsample_type);
        reader.read("upsample_residual", &mut self.upsample_residual);
        reader.read("upsample_factor", &mut self.upsample_factor);
        reader.read("timestep_conditioning", &mut self.timestep_conditioning);
        reader.read("patch_size", &mut self.patch_size);
        reader.read("patch_size_t", &mut self.patch_size_t);
        reader.read("resnet_norm_eps", &mut self.resnet_norm_eps);
        reader.read("scaling_factor", &mut self.scaling_factor);
        reader.read("encoder_causal", &mut self.encoder_causal);
        reader.read("decoder_causal", &mut self.decoder_causal);
        reader.read("encoder_spatial_padding_mode", &mut self.encoder_spatial_padding_mode);
        reader.read("decoder_spatial_padding_mode", &mut self.decoder_spatial_padding_mode);
        reader.read("spatial_compression_ratio", &mut self.spatial_compression_ratio);
        reader.read("temporal_compression_ratio", &mut self.temporal_compression_ratio);
    }

    fn violations(&self) -> Vec<Violation> {
        let (encoder, decoder) = (self.block_out_channels.len(), self.decoder_block_out_channels.len());
        let [samplers, decoder_samplers] = self.samplers();
        let (wide, decoder_wide) = ("block_out_channels", "decoder_block_out_channels");
        let each = |field, found, needed, of| Each { field, found, needed, of };
        let stated = Stated {
            lists: vec![
                each("down_block_types", self.down_block_types.len(), encoder, wide),
                each("layers_per_block", self.layers_per_block.len(), encoder.max(1), wide),
                each("spatio_temporal_scaling", samplers.len(), encoder, wide),
                each("downsample_type", self.downsample_type.len(), encoder, wide),
                each("decoder_layers_per_block", self.decoder_layers_per_block.len(), decoder + 1, decoder_wide),
                each("decoder_spatio_temporal_scaling", decoder_samplers.len(), decoder, decoder_wide),
                each("decoder_inject_noise", self.noise().len(), decoder + 1, decoder_wide),
                each("upsample_type", self.upsample_type.len(), decoder, decoder_wide),
                each("upsample_residual", self.residual().len(), decoder, decoder_wide),
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
        let found = network_of_tensors(tensors).filter(|found| found.generation == Generation::Second)?;
        let mut config = Self {
            in_channels: found.channels,
            out_channels: found.channels,
            latent_channels: found.latents,
            patch_size: found.patch,
            decoder_causal: false,
            ..Self::default()
        };
        let names = |samplers: &[Option<Sampler>]| -> Vec<String> {
            samplers.iter().map(|sampler| sampler.map_or("spatiotemporal", sampler_name).to_owned()).collect()
        };
        let flags = |samplers: &[Option<Sampler>]| Flags::Each(samplers.iter().map(Option::is_some).collect());
        let down = found.encoder.as_ref().map(|half| half.levels.iter().map(|level| level.sampler).collect());
        let up = found.decoder.as_ref().map(|half| half.levels.iter().map(|level| level.sampler).collect());
        let down: Vec<Option<Sampler>> = down.or_else(|| up.clone())?;
        let up: Vec<Option<Sampler>> = up.unwrap_or_else(|| down.clone());
        config.down_block_types = vec![BLOCK.to_owned(); down.len()];
        config.downsample_type = names(&down);
        config.spatio_temporal_scaling = flags(&down);
        config.upsample_type = names(&up);
        let from_highest: Vec<_> = up.iter().rev().copied().collect();
        config.decoder_spatio_temporal_scaling = flags(&from_highest);
        match &found.encoder {
            Some(encoder) => {
                config.block_out_channels = encoder.levels.iter().map(|level| level.outputs).collect();
                let layers = encoder.levels.iter().map(|level| level.layers).chain([encoder.layers]);
                config.layers_per_block = layers.collect();
            }
            None => {
                config.block_out_channels = vec![found.latents; down.len()];
                config.layers_per_block = vec![0; down.len() + 1];
            }
        }
        match &found.decoder {
            Some(decoder) => config.take_decoder(decoder),
            None => {
                config.decoder_block_out_channels = vec![found.latents; up.len()];
                config.decoder_layers_per_block = vec![0; up.len() + 1];
                config.decoder_inject_noise = Flags::All(false);
                config.upsample_residual = Flags::All(false);
                config.upsample_factor = vec![1; up.len()];
            }
        }
        Some(config)
    }

    /// Borders, and whether the input of samplers is led around them, tensors do not show. They are
    /// LTX-2's where all samplers double time, height and width, as its do, else LTX-2.3's.
    fn take_decoder(&mut self, decoder: &FoundDecoder) {
        let levels = || decoder.levels.iter().rev();
        self.decoder_block_out_channels = levels().map(|level| level.outputs * level.divisor).collect();
        self.decoder_layers_per_block = levels().map(|level| level.layers).chain([decoder.layers]).collect();
        self.decoder_inject_noise = Flags::Each(levels().map(|level| level.noise).chain([decoder.noise]).collect());
        self.upsample_factor = levels().map(|level| level.divisor).collect();
        self.upsample_residual = Flags::Each(vec![decoder.doubles_all(); decoder.levels.len()]);
        let border = if decoder.doubles_all() { "reflect" } else { "zeros" };
        border.clone_into(&mut self.decoder_spatial_padding_mode);
    }
}
