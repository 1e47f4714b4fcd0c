//! The configuration of an `AutoencoderKL`: its fields, what follows from them, and which values
//! are allowed.
//!
//! Fields and defaults are those of diffusers' class. Reading them from text is in
//! [`crate::config_json`].

use super::network::{DOWN_BLOCK, UP_BLOCK};
use super::recognition;
use crate::config_json::{Configuration, Reader, Violation};
use crate::config_rules;
use crate::network::Describes;
use crate::recognition::{OfTensors, TensorShapes};

/// The configuration of the autoencoder. [`Config::default`] is that of a class without any fields,
/// which nobody published.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the image that is encoded.
    pub in_channels: usize,
    /// Channels of the image that is decoded.
    pub out_channels: usize,
    /// One `DownEncoderBlock2D` a level, from the highest resolution down.
    pub down_block_types: Vec<String>,
    /// One `UpDecoderBlock2D` a level, from the lowest resolution up.
    pub up_block_types: Vec<String>,
    /// Channels of each level, from the highest resolution down.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in each down block; up blocks have one more.
    pub layers_per_block: usize,
    /// The activation function: `silu`, or `swish`, its other name; in any case of letters.
    pub act_fn: String,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Height and width in pixels of the images that the model was trained on, and of its tiles.
    pub sample_size: usize,
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
    /// Whether a 1x1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// Whether attention stands between the two residual blocks of the lowest resolution.
    pub mid_block_add_attention: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![DOWN_BLOCK.to_owned()],
            up_block_types: vec![UP_BLOCK.to_owned()],
            block_out_channels: vec![64],
            layers_per_block: 1,
            act_fn: "silu".to_owned(),
            latent_channels: 4,
            norm_num_groups: 32,
            sample_size: 32,
            scaling_factor: 0.18215,
            shift_factor: None,
            latents_mean: None,
            latents_std: None,
            force_upcast: true,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
        }
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderKL";
    const OF_TENSORS: OfTensors<Self> = Self::of_tensors;

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("in_channels", &mut self.in_channels);
        reader.read("out_channels", &mut self.out_channels);
        reader.read("down_block_types", &mut self.down_block_types);
        reader.read("up_block_types", &mut self.up_block_types);
        reader.read("block_out_channels", &mut self.block_out_channels);
        reader.read("layers_per_block", &mut self.layers_per_block);
        reader.read("act_fn", &mut self.act_fn);
        reader.read("latent_channels", &mut self.latent_channels);
        reader.read("norm_num_groups", &mut self.norm_num_groups);
        reader.read("sample_size", &mut self.sample_size);
        reader.read("scaling_factor", &mut self.scaling_factor);
        reader.read("shift_factor", &mut self.shift_factor);
        reader.read("latents_mean", &mut self.latents_mean);
        reader.read("latents_std", &mut self.latents_std);
        reader.read("force_upcast", &mut self.force_upcast);
        reader.read("use_quant_conv", &mut self.use_quant_conv);
        reader.read("use_post_quant_conv", &mut self.use_post_quant_conv);
        reader.read("mid_block_add_attention", &mut self.mid_block_add_attention);
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = self.network().violations();
        found.extend(config_rules::levels(
            &self.block_out_channels,
            self.norm_num_groups,
            &[
                ("down_block_types", &self.down_block_types, DOWN_BLOCK),
                ("up_block_types", &self.up_block_types, UP_BLOCK),
            ],
        ));
        found.extend(config_rules::activation(&self.act_fn));
        found.extend(config_rules::scaling(self.scaling_factor, self.shift_factor));
        found.extend(config_rules::latent_statistics(
            "latent_channels",
            self.latent_channels,
            self.latents_mean.as_deref(),
            self.latents_std.as_deref(),
        ));
        found
    }
}

impl Config {
    /// The configuration that a file with these tensors may have.
    fn of_tensors(tensors: &TensorShapes<'_>) -> Option<Self> {
        let usual = Self::default();
        let network = recognition::network(tensors, usual.norm_num_groups, usual.sample_size)?;
        let levels = network.levels();
        (network.encoder_widths == network.decoder_widths).then(|| Self {
            in_channels: network.channels[0],
            out_channels: network.channels[1],
            down_block_types: vec![DOWN_BLOCK.to_owned(); levels],
            up_block_types: vec![UP_BLOCK.to_owned(); levels],
            block_out_channels: network.encoder_widths,
            layers_per_block: network.layers,
            latent_channels: network.latents,
            use_quant_conv: network.quantizes[0],
            use_post_quant_conv: network.quantizes[1],
            mid_block_add_attention: network.attends,
            ..usual
        })
    }
}
