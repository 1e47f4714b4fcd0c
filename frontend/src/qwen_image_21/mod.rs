//! `AutoencoderKLQwenImage21`: the network of Wan 2.2 in two dimensions, for images with
//! transparency. Qwen-Image 2.1.
//!
//! From diffusers' `autoencoder_kl_qwenimage21.py`, which takes one frame: its convolutions over
//! time, which checkpoints have, never run.

mod config;

use crate::latent_scaling::LatentScaling;
use crate::network::Describes;
use crate::step::Half;
use crate::wan::Network;

pub use config::Config;

impl Describes for Config {
    type Network = Network;

    fn network(&self) -> Network {
        Network { is_planar: true, ..self.0.network() }
    }

    fn latent_scaling(&self) -> LatentScaling {
        Describes::latent_scaling(&self.0)
    }

    fn leaves_unread(&self, name: &str) -> bool {
        name.contains(".time_conv.")
    }

    fn result_range(&self, half: Half, tiled: bool) -> Option<[f32; 2]> {
        Describes::result_range(&self.0, half, tiled)
    }
}
