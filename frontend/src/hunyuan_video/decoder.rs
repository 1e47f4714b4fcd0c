//! The decoder: latents to video (`HunyuanVideoDecoder3D`, behind `post_quant_conv`).

use ir::{BuildError, Value};

use super::blocks::{causal_convolution, mid_block, norm, resnet_blocks, upsample};
use super::config::Config;
use crate::declaration::Declaration;
use crate::layers::pointwise_convolution;

/// Declares what a step makes of `latents` `[batch, latent_channels, time, height, width]`.
pub(super) fn decode(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let latents = d.scope("post_quant_conv", |d| pointwise_convolution(d, latents, config.latent_channels))?;
    d.scope("decoder", |d| {
        let sample = decoder(config, d, latents)?;
        d.returns(sample);
        Ok(sample)
    })
}

fn decoder(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let mut hidden = d.scope("conv_in", |d| causal_convolution(d, latents, config.lowest()))?;
    hidden = d.scope("mid_block", |d| mid_block(config, d, hidden))?;
    for (level, &outputs) in config.block_out_channels.iter().rev().enumerate() {
        hidden = d.scope(&format!("up_blocks.{level}"), |d| {
            let mut hidden = resnet_blocks(config, d, config.layers_per_block + 1, hidden, outputs)?;
            if let Some(factors) = config.sampling(level) {
                hidden = d.scope("upsamplers.0", |d| upsample(d, hidden, factors))?;
            }
            d.returns(hidden);
            Ok(hidden)
        })?;
    }
    hidden = d.scope("conv_norm_out", |d| norm(config, d, hidden))?;
    hidden = d.scope("conv_act", |d| d.silu(hidden))?;
    d.scope("conv_out", |d| causal_convolution(d, hidden, config.out_channels))
}
