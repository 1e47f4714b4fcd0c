//! The encoder: an image to mean and log-variance of its latents (`Encoder` of diffusers' `vae.py`,
//! before the optional `quant_conv`).

use ir::{BuildError, Value};

use super::blocks::{convolution, downsample, mid_block, norm, resnet_blocks};
use super::config::Config;
use crate::declaration::Declaration;
use crate::layers::planar_pointwise;

/// Declares what an encode step makes of `sample` `[batch, in_channels, 1, height, width]`.
pub(crate) fn encode(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let moments = d.scope("encoder", |d| {
        let moments = encoder(config, d, sample)?;
        d.returns(moments);
        Ok(moments)
    })?;
    if config.use_quant_conv {
        d.scope("quant_conv", |d| planar_pointwise(d, moments, 2 * config.latent_channels))
    } else {
        Ok(moments)
    }
}

fn encoder(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let last = config.levels() - 1;
    let mut hidden = d.scope("conv_in", |d| convolution(d, sample, config.block_out_channels[0]))?;
    for (level, &outputs) in config.block_out_channels.iter().enumerate() {
        hidden = d.scope(&format!("down_blocks.{level}"), |d| {
            let mut hidden = resnet_blocks(config, d, config.layers_per_block, hidden, outputs)?;
            if level != last {
                hidden = d.scope("downsamplers.0", |d| downsample(d, hidden))?;
            }
            d.returns(hidden);
            Ok(hidden)
        })?;
    }
    hidden = d.scope("mid_block", |d| mid_block(config, d, hidden))?;
    hidden = d.scope("conv_norm_out", |d| norm(config, d, hidden))?;
    hidden = d.scope("conv_act", |d| d.silu(hidden))?;
    d.scope("conv_out", |d| convolution(d, hidden, 2 * config.latent_channels))
}
