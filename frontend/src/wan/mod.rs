//! `AutoencoderKLWan`: causal 3D convolutions behind zeros, norms over the channels of each
//! position, attention in each frame; in Wan 2.2 over patches of pixels, with shortcuts around
//! blocks.
//!
//! From diffusers' `autoencoder_kl_wan.py`. Nothing looks beyond a position but convolutions and
//! the attention of a frame, so a clip may be cut anywhere behind its first frame, which is a step
//! of its own: the samplers over time leave it alone.

mod blocks;
mod config;
mod decoder;
mod encoder;
mod network;
mod original_names;
mod recognition;
mod shortcuts;

use crate::latent_scaling::LatentScaling;
use crate::network::Describes;
use crate::step::Half;

pub use config::Config;
pub(crate) use network::Network;
pub(crate) use recognition::network as network_of_tensors;

impl Describes for Config {
    type Network = Network;

    fn network(&self) -> Network {
        Network {
            encoder_base: self.base_dim,
            decoder_base: self.decoder_base_dim.unwrap_or(self.base_dim),
            multiples: self.dim_mult.clone(),
            latents: self.z_dim,
            layers: self.num_res_blocks,
            attention_scales: self.attn_scales.clone(),
            halves_time: self.temperal_downsample.clone(),
            is_residual: self.is_residual,
            channels: [self.in_channels, self.out_channels],
            patch: self.patch_size.unwrap_or(1),
            is_planar: false,
        }
    }

    fn latent_scaling(&self) -> LatentScaling {
        LatentScaling {
            latents_mean: Some(self.latents_mean.clone()),
            latents_std: Some(self.latents_std.clone()),
            ..LatentScaling::default()
        }
    }

    fn result_range(&self, half: Half, _tiled: bool) -> Option<[f32; 2]> {
        (half == Half::Decoder).then_some([-1.0, 1.0])
    }
}
