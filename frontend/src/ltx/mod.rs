//! `AutoencoderKLLTXVideo`: 3D convolutions over patches of pixels, norms without parameters over
//! the channels of each position, pixel shuffles between levels. LTX-Video 0.9.0 to 0.9.8.
//!
//! From diffusers' `autoencoder_kl_ltx.py`. The encoder is causal. The decoder is not: each of its
//! convolutions sees one frame behind the one that it makes, so that a clip is one step. From 0.9.1
//! on the decoder is told how much noise is left in its latents (a timestep), and that of 0.9.1
//! adds noise of its own: see [`crate::condition`].
//!
//! What pipelines do beside that is theirs: they mix noise into the latents themselves, in front of
//! the decoder (`decode_noise_scale`).

mod authors_config;
mod blocks;
mod config;
mod decoder;
mod embedding;
mod encoder;
mod network;
mod original_names;
mod recognition;
mod rules;

use crate::latent_scaling::{LatentScaling, StoredStatistics, Unscaling};
use crate::network::Describes;

pub(crate) use authors_config::fields as authors_fields;
pub use config::Config;
pub(crate) use config::{from_first, from_last};
pub(crate) use network::{
    Blocks, DecoderLevel, DecoderPlan, EncoderLevel, EncoderPlan, Generation, Network, STATISTICS, Sampler,
    leaves_unread,
};
pub(crate) use recognition::{FoundDecoder, network as network_of_tensors};
pub(crate) use rules::{Each, Stated, border_named, sampler_name, sampler_named};

impl Describes for Config {
    type Network = Network;

    fn network(&self) -> Network {
        self.described()
    }

    fn latent_scaling(&self) -> LatentScaling {
        LatentScaling { scaling_factor: self.scaling_factor, ..LatentScaling::default() }
    }

    fn stored_statistics(&self) -> Option<StoredStatistics> {
        Some(STATISTICS)
    }

    fn unscaling(&self) -> Unscaling {
        Unscaling::Inside
    }

    fn leaves_unread(&self, name: &str) -> bool {
        leaves_unread(name)
    }
}
