//! The configuration of an `AutoencoderKLCogVideoX`: its fields, what follows from them, and which
//! values are allowed.
//!
//! Fields and defaults are those of diffusers' class. Reading them from text is in
//! [`crate::config_json`].

use std::fmt;

use serde_json::Value;

use super::recognition;
use crate::config_json::{Configuration, Field, Reader, Violation};
use crate::config_rules::{self, MOST_CHANNELS, MOST_LAYERS, MOST_PIXELS};
use crate::recognition::{OfTensors, TensorShapes};

/// How a causal convolution continues its input past the borders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CausalPadding {
    /// In time by the last two frames of the step before, or the first frame twice; in height and
    /// width by zeros.
    #[default]
    First,
    /// By the nearest element, in time as in height and width; nothing is carried from step to
    /// step.
    Replicate,
}

impl CausalPadding {
    /// Every padding.
    pub const ALL: [Self; 2] = [Self::First, Self::Replicate];

    /// The value of `pad_mode`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Replicate => "replicate",
        }
    }
}

impl fmt::Display for CausalPadding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Field for CausalPadding {
    fn expected() -> String {
        let names: Vec<_> = Self::ALL.iter().map(|padding| format!("\"{padding}\"")).collect();
        names.join(" or ")
    }

    fn from_json(json: &Value) -> Option<Self> {
        Self::ALL.into_iter().find(|padding| json == padding.name())
    }

    fn to_json(&self) -> Value {
        self.name().into()
    }
}

/// The configuration of the autoencoder. [`Config::default`] is that of the published CogVideoX
/// checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the video that is encoded.
    pub in_channels: usize,
    /// Channels of the video that is decoded.
    pub out_channels: usize,
    /// One `CogVideoXDownBlock3D` a level, from the highest resolution down.
    pub down_block_types: Vec<String>,
    /// One `CogVideoXUpBlock3D` a level, from the lowest resolution up.
    pub up_block_types: Vec<String>,
    /// Channels of each level, from the highest resolution down.
    pub block_out_channels: Vec<usize>,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Residual blocks in each down block; up blocks have one more.
    pub layers_per_block: usize,
    /// The activation function: `silu`, or `swish`, its other name; in any case of letters.
    pub act_fn: String,
    /// Epsilon of the group norms in the encoder's residual blocks. All other norms have a fixed
    /// 1e-6.
    pub norm_eps: f64,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// How much shorter than the video the latents are to be; realised as `2^temporal_stages`.
    pub temporal_compression_ratio: f64,
    /// Height in pixels of the video that the model was trained on.
    pub sample_height: usize,
    /// Width in pixels of the video that the model was trained on.
    pub sample_width: usize,
    /// Latents are multiplied by it when they leave the autoencoder for the diffusion model.
    pub scaling_factor: f64,
    /// Subtracted from latents before they are scaled.
    pub shift_factor: Option<f64>,
    /// Mean of each latent channel.
    pub latents_mean: Option<Vec<f64>>,
    /// Standard deviation of each latent channel.
    pub latents_std: Option<Vec<f64>>,
    /// Whether pipelines should run the autoencoder in f32.
    pub force_upcast: bool,
    /// Whether a 1x1x1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1x1x1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// Whether pipelines divide by `scaling_factor` where they would multiply (image-to-video
    /// models of CogVideoX 1.5).
    pub invert_scale_latents: bool,
    /// `pad_mode` of the causal convolutions. diffusers' encoder and decoder take it as an
    /// argument; the encoder does not pass it to its down blocks, which keep `first`.
    pub pad_mode: CausalPadding,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![DOWN_BLOCK.to_owned(); 4],
            up_block_types: vec![UP_BLOCK.to_owned(); 4],
            block_out_channels: vec![128, 256, 256, 512],
            latent_channels: 16,
            layers_per_block: 3,
            act_fn: "silu".to_owned(),
            norm_eps: 1e-6,
            norm_num_groups: 32,
            temporal_compression_ratio: 4.0,
            sample_height: 480,
            sample_width: 720,
            scaling_factor: 1.15258426,
            shift_factor: None,
            latents_mean: None,
            latents_std: None,
            force_upcast: true,
            use_quant_conv: false,
            use_post_quant_conv: false,
            invert_scale_latents: false,
            pad_mode: CausalPadding::First,
        }
    }
}

pub(super) const DOWN_BLOCK: &str = "CogVideoXDownBlock3D";
pub(super) const UP_BLOCK: &str = "CogVideoXUpBlock3D";

/// Largest temporal compression ratio.
const MOST_COMPRESSION: f64 = 4096.0;

impl Config {
    /// Number of resolutions, each half the one before.
    pub fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Samplers that change the number of frames: `int(log2(temporal_compression_ratio))`, but at
    /// most `levels - 1`, since the last level has no sampler.
    pub fn temporal_stages(&self) -> usize {
        (self.temporal_compression_ratio.log2() as usize).min(self.levels().saturating_sub(1))
    }

    /// Whether the level'th sampler (from the highest resolution in the encoder, from the lowest in
    /// the decoder) halves or doubles the number of frames.
    pub(super) fn compresses_time(&self, level: usize) -> bool {
        level < self.temporal_stages()
    }

    /// Frames that an upsampler over time makes: each frame becomes two, but an odd first one stays
    /// one.
    pub(super) fn upsampled_frames(frames: usize) -> usize {
        frames.saturating_mul(2) - frames % 2
    }

    /// Frames that a downsampler over time leaves: two become one, but an odd first one stays one.
    fn downsampled_frames(frames: usize) -> usize {
        frames.div_ceil(2)
    }

    /// Frames that one decode step makes of its latent frames, wherever in a clip.
    pub fn decoded_step_frames(&self, latent_frames: usize) -> usize {
        (0..self.temporal_stages()).fold(latent_frames, |frames, _| Self::upsampled_frames(frames))
    }

    /// Latent frames that one encode step makes of its frames, wherever in a clip.
    pub fn encoded_step_frames(&self, frames: usize) -> usize {
        (0..self.temporal_stages()).fold(frames, |frames, _| Self::downsampled_frames(frames))
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderKLCogVideoX";
    const OF_TENSORS: OfTensors<Self> = Self::of_tensors;

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("in_channels", &mut self.in_channels);
        reader.read("out_channels", &mut self.out_channels);
        reader.read("down_block_types", &mut self.down_block_types);
        reader.read("up_block_types", &mut self.up_block_types);
        reader.read("block_out_channels", &mut self.block_out_channels);
        reader.read("latent_channels", &mut self.latent_channels);
        reader.read("layers_per_block", &mut self.layers_per_block);
        reader.read("act_fn", &mut self.act_fn);
        reader.read("norm_eps", &mut self.norm_eps);
        reader.read("norm_num_groups", &mut self.norm_num_groups);
        reader.read("temporal_compression_ratio", &mut self.temporal_compression_ratio);
        reader.read("sample_height", &mut self.sample_height);
        reader.read("sample_width", &mut self.sample_width);
        reader.read("scaling_factor", &mut self.scaling_factor);
        reader.read("shift_factor", &mut self.shift_factor);
        reader.read("latents_mean", &mut self.latents_mean);
        reader.read("latents_std", &mut self.latents_std);
        reader.read("force_upcast", &mut self.force_upcast);
        reader.read("use_quant_conv", &mut self.use_quant_conv);
        reader.read("use_post_quant_conv", &mut self.use_post_quant_conv);
        reader.read("invert_scale_latents", &mut self.invert_scale_latents);
        reader.read("pad_mode", &mut self.pad_mode);
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut report = |fields: &[&'static str], message: String| found.push(Violation::new(fields, message));

        for (field, value, most) in [
            ("in_channels", self.in_channels, MOST_CHANNELS),
            ("out_channels", self.out_channels, MOST_CHANNELS),
            ("latent_channels", self.latent_channels, MOST_CHANNELS),
            ("norm_num_groups", self.norm_num_groups, MOST_CHANNELS),
            ("sample_height", self.sample_height, MOST_PIXELS),
            ("sample_width", self.sample_width, MOST_PIXELS),
        ] {
            if !(1..=most).contains(&value) {
                report(&[field], format!("expected a whole number from 1 to {most}, found {value}"));
            }
        }

        // Without layers a decoder's blocks still have one; the reference builds such models too.
        if self.layers_per_block > MOST_LAYERS {
            let found = self.layers_per_block;
            report(&["layers_per_block"], format!("expected a whole number from 0 to {MOST_LAYERS}, found {found}"));
        }

        found.extend(config_rules::levels(
            &self.block_out_channels,
            self.norm_num_groups,
            &[
                ("down_block_types", &self.down_block_types, DOWN_BLOCK),
                ("up_block_types", &self.up_block_types, UP_BLOCK),
            ],
        ));
        found.extend(config_rules::activation(&self.act_fn));
        let mut report = |fields: &[&'static str], message: String| found.push(Violation::new(fields, message));
        if !(self.norm_eps > 0.0 && self.norm_eps.is_finite()) {
            report(&["norm_eps"], format!("expected a finite number greater than 0, found {:?}", self.norm_eps));
        }
        let ratio = self.temporal_compression_ratio;
        if !(1.0..=MOST_COMPRESSION).contains(&ratio) {
            report(
                &["temporal_compression_ratio"],
                format!("expected a number from 1 to {MOST_COMPRESSION}, found {ratio:?}"),
            );
        }
        found.extend(config_rules::scaling(self.scaling_factor, self.shift_factor));
        found.extend(config_rules::latent_statistics(
            "latent_channels",
            self.latent_channels,
            self.latents_mean.as_deref(),
            self.latents_std.as_deref(),
        ));
        let mut report = |fields: &[&'static str], message: String| found.push(Violation::new(fields, message));
        for (field, used) in
            [("use_quant_conv", self.use_quant_conv), ("use_post_quant_conv", self.use_post_quant_conv)]
        {
            if used && self.out_channels != self.latent_channels {
                report(
                    &[field, "out_channels", "latent_channels"],
                    format!(
                        "expected false: the reference builds this convolution for out_channels ({}) and gives it \
                         latent_channels ({}), which only works where they are equal",
                        self.out_channels, self.latent_channels
                    ),
                );
            }
        }
        found
    }
}

impl Config {
    /// The configuration that a file with these tensors may have.
    fn of_tensors(tensors: &TensorShapes<'_>) -> Option<Self> {
        recognition::config(tensors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoencoder::Autoencoder;
    use crate::config_json::Configured;

    fn with(levels: usize, ratio: f64) -> Config {
        Config { block_out_channels: vec![32; levels], temporal_compression_ratio: ratio, ..Config::default() }
    }

    #[test]
    fn the_default_has_no_problem() {
        assert_eq!(Config::default().problems(), []);
    }

    #[test]
    fn compression_follows_from_levels_and_ratio() {
        let published = Config::default();
        assert_eq!((published.levels(), published.spatial_compression(), published.temporal_compression()), (4, 8, 4));
        let model: &dyn Autoencoder = &published;
        assert_eq!((model.latent_size(480), model.latent_size(725), model.sample_size(60)), (60, 90, 480));
        // int(log2(r)), and never more than there are samplers.
        for (levels, ratio, stages) in
            [(4, 1.0, 0), (4, 3.9, 1), (4, 4.0, 2), (4, 7.9, 2), (4, 8.0, 3), (4, 16.0, 3), (2, 4.0, 1), (1, 4.0, 0)]
        {
            assert_eq!(with(levels, ratio).temporal_stages(), stages, "{levels} levels, ratio {ratio}");
        }
    }

    #[test]
    fn a_config_made_by_hand_is_checked_too() {
        let config = Config {
            norm_eps: f64::NAN,
            scaling_factor: f64::INFINITY,
            shift_factor: Some(f64::NAN),
            temporal_compression_ratio: f64::NAN,
            block_out_channels: vec![],
            ..Config::default()
        };
        let fields: Vec<_> = config.problems().into_iter().map(|p| p.field).collect();
        assert_eq!(
            fields,
            [
                "block_out_channels",
                "down_block_types",
                "up_block_types",
                "norm_eps",
                "temporal_compression_ratio",
                "scaling_factor",
                "shift_factor"
            ]
        );
        assert_eq!((config.spatial_compression(), config.temporal_compression()), (1, 1));
    }
}
