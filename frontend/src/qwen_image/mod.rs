//! `AutoencoderKLQwenImage`: the network of Wan 2.1 for images, which are videos of one frame; it
//! takes more of them too.
//!
//! From diffusers' `autoencoder_kl_qwenimage.py`.

mod config;

use crate::latent_scaling::LatentScaling;
use crate::network::Describes;
use crate::step::Half;
use crate::wan::Network;

pub use config::Config;

impl Describes for Config {
    type Network = Network;

    fn network(&self) -> Network {
        Network {
            encoder_base: self.base_dim,
            decoder_base: self.base_dim,
            multiples: self.dim_mult.clone(),
            latents: self.z_dim,
            layers: self.num_res_blocks,
            attention_scales: self.attn_scales.clone(),
            halves_time: self.temperal_downsample.clone(),
            is_residual: false,
            channels: [self.input_channels; 2],
            patch: 1,
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

    /// The reference brings no tiles into it.
    fn result_range(&self, half: Half, tiled: bool) -> Option<[f32; 2]> {
        (half == Half::Decoder && !tiled).then_some([-1.0, 1.0])
    }
}
