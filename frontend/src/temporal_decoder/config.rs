//! The configuration of an `AutoencoderKLTemporalDecoder`: its fields, what follows from them, and
//! which values are allowed.
//!
//! Fields and defaults are those of diffusers' class. Reading them from text is in
//! [`crate::config_json`].

use super::recognition;
use crate::autoencoder_kl::{DOWN_BLOCK, Network};
use crate::config_json::{Configuration, Reader, Violation};
use crate::config_rules;
use crate::recognition::OfTensors;

/// Groups of every group norm.
pub(super) const GROUPS: usize = 32;

/// The configuration of the autoencoder. [`Config::default`] is that of a class without any fields,
/// which nobody published.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the image that is encoded.
    pub in_channels: usize,
    /// Channels of the video that is decoded.
    pub out_channels: usize,
    /// One `DownEncoderBlock2D` a level, from the highest resolution down.
    pub down_block_types: Vec<String>,
    /// Channels of each level, from the highest resolution down.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in each down block; up blocks have one more.
    pub layers_per_block: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Height and width in pixels of the images that the model was trained on.
    pub sample_size: usize,
    /// Latents are multiplied by it when they leave the autoencoder for the diffusion model.
    pub scaling_factor: f64,
    /// Whether pipelines should run the autoencoder in f32.
    pub force_upcast: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![DOWN_BLOCK.to_owned()],
            block_out_channels: vec![64],
            layers_per_block: 1,
            latent_channels: 4,
            sample_size: 32,
            scaling_factor: 0.18215,
            force_upcast: true,
        }
    }
}

impl Config {
    /// Number of resolutions, each half the one before.
    pub(super) fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// The network of images whose encoder this one has, and whose blocks are those of single frames
    /// in the decoder.
    pub(super) fn of_images(&self) -> Network {
        Network {
            channels: [self.in_channels, self.out_channels],
            encoder_widths: self.block_out_channels.clone(),
            decoder_widths: self.block_out_channels.clone(),
            layers: self.layers_per_block,
            latents: self.latent_channels,
            groups: GROUPS,
            sample_size: self.sample_size,
            quantizes: [true, false],
            attends: true,
        }
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderKLTemporalDecoder";
    const OF_TENSORS: OfTensors<Self> = recognition::config;

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("in_channels", &mut self.in_channels);
        reader.read("out_channels", &mut self.out_channels);
        reader.read("down_block_types", &mut self.down_block_types);
        reader.read("block_out_channels", &mut self.block_out_channels);
        reader.read("layers_per_block", &mut self.layers_per_block);
        reader.read("latent_channels", &mut self.latent_channels);
        reader.read("sample_size", &mut self.sample_size);
        reader.read("scaling_factor", &mut self.scaling_factor);
        reader.read("force_upcast", &mut self.force_upcast);
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = self.of_images().violations();
        let types = [("down_block_types", self.down_block_types.as_slice(), DOWN_BLOCK)];
        found.extend(config_rules::levels(&self.block_out_channels, GROUPS, &types));
        found.extend(config_rules::scaling(self.scaling_factor, None));
        found
    }
}
