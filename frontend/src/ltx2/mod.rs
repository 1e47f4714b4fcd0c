//! `AutoencoderKLLTX2Video`: the network of LTX-Video without a change of channels of its own, with
//! samplers of each kind in both halves and borders of each kind. LTX-2 and LTX-2.3.
//!
//! From diffusers' `autoencoder_kl_ltx2.py`. Whether a half is causal its configuration says; that
//! the reference can be asked to be so in a call is not offered here.

mod config;

use crate::latent_scaling::{LatentScaling, StoredStatistics, Unscaling};
use crate::ltx::{Network, STATISTICS, leaves_unread};
use crate::network::Describes;

pub use config::Config;

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
