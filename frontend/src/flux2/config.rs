//! The configuration of an `AutoencoderKLFlux2`: its fields, and which values are allowed.
//!
//! Fields and defaults are those of diffusers' class. Reading them from text is in
//! [`crate::config_json`].

use crate::autoencoder_kl::{self, DOWN_BLOCK, UP_BLOCK};
use crate::config_json::{Configuration, Reader, Violation};
use crate::config_rules;
use crate::network::Describes;
use crate::recognition::{OfTensors, TensorShapes};

/// Largest height and width of a patch.
const MOST_PATCH: usize = 64;

/// The configuration of the autoencoder. [`Config::default`] is that of the checkpoints of FLUX.2.
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
    /// The same of the decoder, where it has others.
    pub decoder_block_out_channels: Option<Vec<usize>>,
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
    /// Whether a 1x1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// Whether attention stands between the two residual blocks of the lowest resolution.
    pub mid_block_add_attention: bool,
    /// Added to the variances of the latents.
    pub batch_norm_eps: f64,
    /// Of training alone.
    pub batch_norm_momentum: f64,
    /// Height and width of the patches of latents that mean and variance are of.
    pub patch_size: Vec<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![DOWN_BLOCK.to_owned(); 4],
            up_block_types: vec![UP_BLOCK.to_owned(); 4],
            block_out_channels: vec![128, 256, 512, 512],
            decoder_block_out_channels: None,
            layers_per_block: 2,
            act_fn: "silu".to_owned(),
            latent_channels: 32,
            norm_num_groups: 32,
            sample_size: 1024,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
            batch_norm_eps: 1e-4,
            batch_norm_momentum: 0.1,
            patch_size: vec![2, 2],
        }
    }
}

impl Config {
    /// Channels of the decoder's levels. No numbers are none of its own, as in the reference.
    pub(super) fn decoder_widths(&self) -> &[usize] {
        let own = self.decoder_block_out_channels.as_deref().filter(|widths| !widths.is_empty());
        own.unwrap_or(&self.block_out_channels)
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderKLFlux2";
    const OF_TENSORS: OfTensors<Self> = Self::of_tensors;

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("in_channels", &mut self.in_channels);
        reader.read("out_channels", &mut self.out_channels);
        reader.read("down_block_types", &mut self.down_block_types);
        reader.read("up_block_types", &mut self.up_block_types);
        reader.read("block_out_channels", &mut self.block_out_channels);
        reader.read("decoder_block_out_channels", &mut self.decoder_block_out_channels);
        reader.read("layers_per_block", &mut self.layers_per_block);
        reader.read("act_fn", &mut self.act_fn);
        reader.read("latent_channels", &mut self.latent_channels);
        reader.read("norm_num_groups", &mut self.norm_num_groups);
        reader.read("sample_size", &mut self.sample_size);
        reader.read("use_quant_conv", &mut self.use_quant_conv);
        reader.read("use_post_quant_conv", &mut self.use_post_quant_conv);
        reader.read("mid_block_add_attention", &mut self.mid_block_add_attention);
        reader.read("batch_norm_eps", &mut self.batch_norm_eps);
        reader.read("batch_norm_momentum", &mut self.batch_norm_momentum);
        reader.read("patch_size", &mut self.patch_size);
    }

    fn violations(&self) -> Vec<Violation> {
        let &[height, width] = &self.patch_size[..] else {
            let message = format!("expected height and width, found {} numbers", self.patch_size.len());
            return vec![Violation::new(&["patch_size"], message)];
        };
        let mut found = self.network().violations();
        found.extend(config_rules::levels(
            &self.block_out_channels,
            self.norm_num_groups,
            &[
                ("down_block_types", &self.down_block_types, DOWN_BLOCK),
                ("up_block_types", &self.up_block_types, UP_BLOCK),
            ],
        ));
        if self.decoder_widths() != self.block_out_channels {
            let decoder =
                config_rules::widths("decoder_block_out_channels", self.decoder_widths(), self.norm_num_groups);
            found.extend(decoder);
        }
        let [encoder_levels, decoder_levels] = [&self.block_out_channels[..], self.decoder_widths()].map(<[_]>::len);
        if encoder_levels != decoder_levels {
            let message = format!(
                "expected {encoder_levels} numbers, as block_out_channels has, so that what is decoded is as large as what was \
                 encoded; found {decoder_levels}"
            );
            found.push(Violation::new(&["decoder_block_out_channels", "block_out_channels"], message));
        }
        found.extend(config_rules::activation(&self.act_fn));
        if !(self.batch_norm_eps.is_finite() && self.batch_norm_eps >= 0.0) {
            let message = format!("expected a finite number, 0 or more, found {:?}", self.batch_norm_eps);
            found.push(Violation::new(&["batch_norm_eps"], message));
        }
        if height != width || !(1..=MOST_PATCH).contains(&height) {
            let message = format!("expected a square of 1 to {MOST_PATCH}, found {height}x{width}");
            found.push(Violation::new(&["patch_size"], message));
        }
        found
    }
}

impl Config {
    /// The configuration that a file with these tensors may have.
    fn of_tensors(tensors: &TensorShapes<'_>) -> Option<Self> {
        let usual = Self::default();
        let network = autoencoder_kl::network_of_tensors(tensors, usual.norm_num_groups, usual.sample_size)?;
        let levels = network.levels();
        tensors.has("bn.running_mean").then(|| Self {
            in_channels: network.channels[0],
            out_channels: network.channels[1],
            down_block_types: vec![DOWN_BLOCK.to_owned(); levels],
            up_block_types: vec![UP_BLOCK.to_owned(); levels],
            decoder_block_out_channels: Some(network.decoder_widths).filter(|widths| *widths != network.encoder_widths),
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
