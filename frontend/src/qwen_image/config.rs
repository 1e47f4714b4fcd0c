//! The configuration of an `AutoencoderKLQwenImage`: its fields, and the network of Wan that they
//! describe.
//!
//! Fields and defaults are those of diffusers' class, spelling included. Reading them from text is
//! in [`crate::config_json`].

use crate::config_json::{Configuration, Reader, Violation};
use crate::network::Describes;
use crate::recognition::{OfTensors, TensorShapes};
use crate::wan;

/// The configuration of the autoencoder. [`Config::default`] is that of the checkpoints of
/// Qwen-Image.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the first level.
    pub base_dim: usize,
    /// Channels of the latents.
    pub z_dim: usize,
    /// Channels of each level, as multiples of the first's, from the highest resolution down.
    pub dim_mult: Vec<usize>,
    /// Residual blocks of each level; the decoder has one more.
    pub num_res_blocks: usize,
    /// Scales of the encoder, 1 the highest and each level half the one before, whose residual
    /// blocks attention follows.
    pub attn_scales: Vec<f64>,
    /// Whether the sampler behind each level but the last halves the number of frames.
    pub temperal_downsample: Vec<bool>,
    /// Of training alone.
    pub dropout: f64,
    /// Channels of an image: 3, or 4 with its transparency.
    pub input_channels: usize,
    /// Mean of each latent channel; none where they are not known.
    pub latents_mean: Vec<f64>,
    /// Standard deviation of each latent channel; none where they are not known.
    pub latents_std: Vec<f64>,
}

/// What the class has in common with Wan 2.1 it has with the same values.
impl Default for Config {
    fn default() -> Self {
        let wan::Config {
            base_dim,
            z_dim,
            dim_mult,
            num_res_blocks,
            attn_scales,
            temperal_downsample,
            dropout,
            in_channels: input_channels,
            latents_mean,
            latents_std,
            ..
        } = wan::Config::default();
        Self {
            base_dim,
            z_dim,
            dim_mult,
            num_res_blocks,
            attn_scales,
            temperal_downsample,
            dropout,
            input_channels,
            latents_mean,
            latents_std,
        }
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderKLQwenImage";
    const OF_TENSORS: OfTensors<Self> = Self::of_tensors;

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("base_dim", &mut self.base_dim);
        reader.read("z_dim", &mut self.z_dim);
        reader.read("dim_mult", &mut self.dim_mult);
        reader.read("num_res_blocks", &mut self.num_res_blocks);
        reader.read("attn_scales", &mut self.attn_scales);
        reader.read("temperal_downsample", &mut self.temperal_downsample);
        reader.read("dropout", &mut self.dropout);
        reader.read("input_channels", &mut self.input_channels);
        reader.read("latents_mean", &mut self.latents_mean);
        reader.read("latents_std", &mut self.latents_std);
    }

    fn violations(&self) -> Vec<Violation> {
        let network = self.network();
        let mut found = network.violations(&["input_channels"]);
        found.extend(network.scaling_violations(&self.latents_mean, &self.latents_std));
        found
    }
}

impl Config {
    /// The configuration that a file with these tensors may have.
    fn of_tensors(tensors: &TensorShapes<'_>) -> Option<Self> {
        let found = wan::Config::of_tensors(tensors)?;
        let is_this = !found.is_residual && found.decoder_base_dim.is_none() && found.in_channels == found.out_channels;
        is_this.then_some(Self {
            base_dim: found.base_dim,
            z_dim: found.z_dim,
            dim_mult: found.dim_mult,
            num_res_blocks: found.num_res_blocks,
            attn_scales: found.attn_scales,
            temperal_downsample: found.temperal_downsample,
            dropout: found.dropout,
            input_channels: found.in_channels,
            latents_mean: found.latents_mean,
            latents_std: found.latents_std,
        })
    }
}
