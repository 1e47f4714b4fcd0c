//! The decoder: latents to an image (`Decoder` of diffusers' `vae.py`, behind the optional
//! `post_quant_conv`).

use ir::{BuildError, Value};

use super::blocks::{convolution, mid_block, norm, resnet_blocks, upsample};
use super::config::Config;
use crate::declaration::Declaration;
use crate::layers::planar_pointwise;

/// Declares what a decode step makes of `latents` `[batch, latent_channels, 1, height, width]`.
pub(super) fn decode(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let latents = if config.use_post_quant_conv {
        d.scope("post_quant_conv", |d| planar_pointwise(d, latents, config.latent_channels))?
    } else {
        latents
    };
    d.scope("decoder", |d| {
        let sample = decoder(config, d, latents)?;
        d.returns(sample);
        Ok(sample)
    })
}

fn decoder(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let last = config.levels() - 1;
    let mut hidden = d.scope("conv_in", |d| convolution(d, latents, config.lowest()))?;
    hidden = d.scope("mid_block", |d| mid_block(config, d, hidden))?;
    for (level, &outputs) in config.block_out_channels.iter().rev().enumerate() {
        hidden = d.scope(&format!("up_blocks.{level}"), |d| {
            let mut hidden = resnet_blocks(config, d, config.layers_per_block + 1, hidden, outputs)?;
            if level != last {
                hidden = d.scope("upsamplers.0", |d| upsample(d, hidden))?;
            }
            d.returns(hidden);
            Ok(hidden)
        })?;
    }
    hidden = d.scope("conv_norm_out", |d| norm(config, d, hidden))?;
    hidden = d.scope("conv_act", |d| d.silu(hidden))?;
    d.scope("conv_out", |d| convolution(d, hidden, config.out_channels))
}
