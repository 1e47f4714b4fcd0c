//! `AutoencoderKL`: images by 3x3 convolutions, group norms, attention at the lowest resolution.
//! Stable Diffusion, SDXL, SD 3, FLUX.1 and many others.
//!
//! From diffusers' `autoencoder_kl.py` and `vae.py`. Norms and attention see the whole image, so
//! tiles give other numbers than the image in one piece.

pub(crate) mod blocks;
mod config;
mod decoder;
pub(crate) mod encoder;
mod network;
pub(crate) mod other_names;
mod recognition;

use crate::latent_scaling::LatentScaling;
use crate::network::Describes;

pub use config::Config;
pub(crate) use network::{DOWN_BLOCK, Network, UP_BLOCK};
pub(crate) use other_names::of_ldm;
pub(crate) use recognition::network as network_of_tensors;

impl Describes for Config {
    type Network = Network;

    fn network(&self) -> Network {
        Network {
            channels: [self.in_channels, self.out_channels],
            encoder_widths: self.block_out_channels.clone(),
            decoder_widths: self.block_out_channels.clone(),
            layers: self.layers_per_block,
            latents: self.latent_channels,
            groups: self.norm_num_groups,
            sample_size: self.sample_size,
            quantizes: [self.use_quant_conv, self.use_post_quant_conv],
            attends: self.mid_block_add_attention,
        }
    }

    fn latent_scaling(&self) -> LatentScaling {
        LatentScaling {
            scaling_factor: self.scaling_factor,
            shift_factor: self.shift_factor,
            latents_mean: self.latents_mean.clone(),
            latents_std: self.latents_std.clone(),
            ..LatentScaling::default()
        }
    }
}
