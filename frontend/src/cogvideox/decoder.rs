//! The decoder: latents to video (`CogVideoXDecoder3D`, behind the optional `post_quant_conv`).

use ir::{BuildError, Value};

use super::blocks::{causal_convolution, mid_block, resnet_blocks, spatial_norm, upsample};
use super::config::Config;
use crate::declaration::Declaration;
use crate::layers::pointwise_convolution;

/// Declares what a decode step makes of `latents` `[batch, latent_channels, time, height, width]`.
pub(super) fn decode(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let latents = if config.use_post_quant_conv {
        d.scope("post_quant_conv", |d| pointwise_convolution(d, latents, config.out_channels))?
    } else {
        latents
    };
    d.scope("decoder", |d| decoder(config, d, latents))
}

fn decoder(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let padding = config.pad_mode;
    let levels = config.block_out_channels.iter().rev().copied();
    let (lowest, last) = (config.block_out_channels[config.levels() - 1], config.levels() - 1);

    let mut hidden = d.scope("conv_in", |d| causal_convolution(d, latents, lowest, padding))?;
    hidden = d.scope("mid_block", |d| mid_block(config, d, hidden, Some(latents)))?;
    for (level, outputs) in levels.enumerate() {
        hidden = d.scope(&format!("up_blocks.{level}"), |d| {
            let layers = config.layers_per_block + 1;
            let mut hidden = resnet_blocks(config, d, layers, hidden, outputs, Some(latents), padding)?;
            if level != last {
                hidden = d.scope("upsamplers.0", |d| upsample(d, hidden, config.compresses_time(level)))?;
            }
            d.returns(hidden);
            Ok(hidden)
        })?;
    }
    hidden = d.scope("norm_out", |d| spatial_norm(config, d, hidden, latents))?;
    hidden = d.scope("conv_act", |d| d.silu(hidden))?;
    d.scope("conv_out", |d| causal_convolution(d, hidden, config.out_channels, padding))
}
