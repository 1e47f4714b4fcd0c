//! `AutoencoderKLFlux2`: the network of `AutoencoderKL`, of which a batch norm keeps mean and
//! variance of the latents, over patches of 2x2. FLUX.2 and models on its latents.
//!
//! From diffusers' `autoencoder_kl_flux2.py`, and `pipeline_flux2.py` for what is done to latents:
//! nothing that the class computes reads the batch norm.

mod config;

use crate::autoencoder_kl::Network;
use crate::latent_scaling::{LatentScaling, Spread, StoredStatistics, Unscaling};
use crate::network::Describes;

pub use config::Config;

impl Describes for Config {
    type Network = Network;

    fn network(&self) -> Network {
        Network {
            channels: [self.in_channels, self.out_channels],
            encoder_widths: self.block_out_channels.clone(),
            decoder_widths: self.decoder_widths().to_vec(),
            layers: self.layers_per_block,
            latents: self.latent_channels,
            groups: self.norm_num_groups,
            sample_size: self.sample_size,
            quantizes: [self.use_quant_conv, self.use_post_quant_conv],
            attends: self.mid_block_add_attention,
        }
    }

    fn latent_scaling(&self) -> LatentScaling {
        LatentScaling { patch: self.patch_size[0], ..LatentScaling::default() }
    }

    fn stored_statistics(&self) -> Option<StoredStatistics> {
        let spread = Spread::Variance { name: "bn.running_var", epsilon: self.batch_norm_eps };
        Some(StoredStatistics { mean: "bn.running_mean", spread })
    }

    fn unscaling(&self) -> Unscaling {
        Unscaling::Inside
    }

    fn leaves_unread(&self, name: &str) -> bool {
        name.ends_with("bn.num_batches_tracked")
    }
}
