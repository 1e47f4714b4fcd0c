//! The configuration of an `AutoencoderKLWan`: its fields, and the network that they describe.
//!
//! Fields and defaults are those of diffusers' class, spelling included. Reading them from text is
//! in [`crate::config_json`], what follows from them and which values are allowed in `network`.

use super::network::Network;
use super::recognition;
use crate::config_json::{Configuration, Reader, Violation};
use crate::network::Describes;
use crate::recognition::{OfTensors, TensorShapes};

/// The configuration of the autoencoder. [`Config::default`] is that of the checkpoints of Wan 2.1.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Channels of the first level.
    pub base_dim: usize,
    /// The same of the decoder, where it has others.
    pub decoder_base_dim: Option<usize>,
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
    /// Mean of each latent channel; none where they are not known.
    pub latents_mean: Vec<f64>,
    /// Standard deviation of each latent channel; none where they are not known.
    pub latents_std: Vec<f64>,
    /// Whether blocks have shortcuts without weights around them, as in Wan 2.2.
    pub is_residual: bool,
    /// Channels of what the encoder's first convolution reads: those of a patch.
    pub in_channels: usize,
    /// Channels of what the decoder's last convolution gives: those of a patch.
    pub out_channels: usize,
    /// Height and width of the patches of pixels that the network takes for one.
    pub patch_size: Option<usize>,
    /// Of pipelines alone: frames for one latent frame.
    pub scale_factor_temporal: Option<usize>,
    /// Of pipelines alone: pixels for one latent.
    pub scale_factor_spatial: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_dim: 96,
            decoder_base_dim: None,
            z_dim: 16,
            dim_mult: vec![1, 2, 4, 4],
            num_res_blocks: 2,
            attn_scales: vec![],
            temperal_downsample: vec![false, true, true],
            dropout: 0.0,
            latents_mean: vec![
                -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632,
                -0.1922, -0.9497, 0.2503, -0.2921,
            ],
            latents_std: vec![
                2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382,
                1.1253, 2.8251, 1.9160,
            ],
            is_residual: false,
            in_channels: 3,
            out_channels: 3,
            patch_size: None,
            scale_factor_temporal: Some(4),
            scale_factor_spatial: Some(8),
        }
    }
}

impl Configuration for Config {
    const CLASS: &'static str = "AutoencoderKLWan";
    const OF_TENSORS: OfTensors<Self> = Self::of_tensors;

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        reader.read("base_dim", &mut self.base_dim);
        reader.read("decoder_base_dim", &mut self.decoder_base_dim);
        reader.read("z_dim", &mut self.z_dim);
        reader.read("dim_mult", &mut self.dim_mult);
        reader.read("num_res_blocks", &mut self.num_res_blocks);
        reader.read("attn_scales", &mut self.attn_scales);
        reader.read("temperal_downsample", &mut self.temperal_downsample);
        reader.read("dropout", &mut self.dropout);
        reader.read("latents_mean", &mut self.latents_mean);
        reader.read("latents_std", &mut self.latents_std);
        reader.read("is_residual", &mut self.is_residual);
        reader.read("in_channels", &mut self.in_channels);
        reader.read("out_channels", &mut self.out_channels);
        reader.read("patch_size", &mut self.patch_size);
        reader.read("scale_factor_temporal", &mut self.scale_factor_temporal);
        reader.read("scale_factor_spatial", &mut self.scale_factor_spatial);
    }

    fn violations(&self) -> Vec<Violation> {
        let network = self.network();
        let mut found = network.violations(&["in_channels", "out_channels"]);
        found.extend(network.scaling_violations(&self.latents_mean, &self.latents_std));
        found
    }
}

impl Config {
    /// The configuration that a file with these tensors may have.
    pub(crate) fn of_tensors(tensors: &TensorShapes<'_>) -> Option<Self> {
        Some(Self::of_network(recognition::network(tensors).filter(|network| !network.is_planar)?))
    }

    /// The configuration of a network, of which only tensors are known: without the numbers by which
    /// latents are scaled.
    pub(crate) fn of_network(network: Network) -> Self {
        Self {
            base_dim: network.encoder_base,
            decoder_base_dim: Some(network.decoder_base).filter(|&base| base != network.encoder_base),
            z_dim: network.latents,
            dim_mult: network.multiples,
            num_res_blocks: network.layers,
            attn_scales: network.attention_scales,
            temperal_downsample: network.halves_time,
            latents_mean: vec![],
            latents_std: vec![],
            is_residual: network.is_residual,
            in_channels: network.channels[0],
            out_channels: network.channels[1],
            patch_size: Some(network.patch).filter(|&patch| patch > 1),
            ..Self::default()
        }
    }
}
